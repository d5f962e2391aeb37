defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Owner do
  @moduledoc false
  # The process that owns a stack's store. It has no part in changes and lookups,
  # which go to the store directly, and runs no code of the host: what it hears it
  # hands to the reporter.

  use GenServer

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Files
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Flags
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Options
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Names
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Reporter
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Shapes
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.WriteBuffer
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Change

  @synchronous %{"OFF" => :off, "NORMAL" => :normal, "FULL" => :full}

  # How long a new owner waits for the one before it to end.
  @successor_timeout 5_000

  # Enough to drain a queue; what is not committed by then is named in the log.
  @shutdown 30_000

  # Left for the supervisor's own work when that time runs out, and for a list of what is
  # not committed then.
  @shutdown_margin 500
  @list_timeout 300

  @doc "How long its supervisor is to wait for it to end, in milliseconds."
  @spec shutdown() :: pos_integer()
  def shutdown, do: @shutdown

  @doc "Opens the store, and returns when every lookup answers."
  @spec start_link(String.t(), Options.t()) :: GenServer.on_start()
  def start_link(stack_id, options) do
    # Opening reads the whole file, however long that takes.
    opts = [name: WriteBuffer.name(stack_id), timeout: :infinity]

    with :ok <- Names.check_started(),
         {:error, {:already_started, owner}} <-
           GenServer.start_link(__MODULE__, {stack_id, options, self()}, opts) do
      # The owner before us, whose supervisor was killed, may be about to end.
      monitor = Process.monitor(owner)

      receive do
        {:DOWN, ^monitor, :process, _owner, _reason} -> start_link(stack_id, options)
      after
        @successor_timeout ->
          Process.demonitor(monitor, [:flush])
          {:error, {:already_started, owner}}
      end
    end
  end

  @impl GenServer
  def init({stack_id, options, parent}) do
    # Without it a supervisor's exit would end this process before it closes the store.
    Process.flag(:trap_exit, true)
    # The first look at the level fills a cache of Logger's, for all at once.
    _ = Change.log?()
    label({:shape_db_write_buffer, stack_id})

    with {:ok, path} <- Files.database(options),
         {:ok, sources} <- Files.sources(options),
         passed_over = Files.passed_over(options, path, sources),
         {:ok, store} <- Native.open(native(stack_id, options, path, sources)) do
      state = %{
        stack_id: stack_id,
        store: store,
        reporter: Reporter.start(stack_id),
        shutdown: @shutdown
      }

      await_opened(state, %{options: options, path: path, passed_over: passed_over}, parent)
    else
      {:error, reason} -> {:stop, reason}
    end
  end

  # Only on Elixir 1.17 and later.
  defp label(term) do
    if function_exported?(Process, :set_label, 1), do: apply(Process, :set_label, [term])
  end

  defp native(stack_id, options, path, sources) do
    options
    |> Map.from_struct()
    |> Map.take([
      :exclusive_mode,
      :cache_size,
      :read_pool_size,
      :connection_idle_timeout,
      :manual_flush_only,
      :max_pending_ops,
      :max_pending_bytes,
      :external_checkpoint,
      :keep_last_read_times
    ])
    |> Map.merge(%{
      path: path,
      stack_id: stack_id,
      synchronous: Map.fetch!(@synchronous, options.synchronous),
      sources: sources,
      buffered: options.durability == :buffered,
      flags: with({_version, fun} <- options.flags, do: fun),
      clock: {System.monotonic_time(), System.convert_time_unit(1, :second, :native)}
    })
  end

  defp await_opened(state, start, parent) do
    receive do
      {:shape_db, :verify, rows} ->
        with :ok <- verify(state.store, rows, parent), do: await_opened(state, start, parent)

      {:shape_db, :opened, opened} ->
        state = tell(state, :opened, Map.put(opened, :passed_over, start.passed_over))
        renewing = Flags.start_renewal(state.stack_id, state.store, start.options)
        await_flags(state, start, parent, renewing)

      {:shape_db, :open_failed, reason} ->
        {:stop, reason}

      {:shape_db, :poisoned, reason} ->
        poisoned(state, reason)

      {:shape_db, event, details} ->
        state |> tell(event, details) |> await_opened(start, parent)

      {:EXIT, ^parent, reason} ->
        {:stop, reason}
    end
  end

  # An import that needs the host for its digests waits for the answer.
  defp verify(store, rows, parent) do
    case Shapes.verify(rows, parent) do
      {:ok, digests} -> Native.verified(store, digests)
      {:error, reason} -> Native.not_verified(store, reason)
      {:exit, reason} -> {:stop, reason}
    end
  end

  defp tell(state, event, details) do
    %{state | reporter: Reporter.tell(state.reporter, event, details)}
  end

  # Nobody finds the store before its flags mean what the host says.
  defp await_flags(state, start, _parent, :current) do
    about = %{path: start.path, dropped: Reporter.dropped(state.reporter)}
    :ok = Stores.put(state.stack_id, state.store, start.options, about)
    # What opening left on its heap goes: there may be thousands of stacks that do nothing.
    {:ok, state, :hibernate}
  end

  defp await_flags(state, start, parent, {renewer, monitor} = renewing) do
    receive do
      {:DOWN, ^monitor, :process, ^renewer, _reason} ->
        await_flags(state, start, parent, :current)

      {:shape_db, :poisoned, reason} ->
        poisoned(state, reason)

      {:shape_db, event, details} ->
        state |> tell(event, details) |> await_flags(start, parent, renewing)

      {:EXIT, ^parent, reason} ->
        {:stop, reason}
    end
  end

  defp poisoned(state, reason) do
    _ = tell(state, :poisoned, reason)
    {:stop, {:poisoned, reason}}
  end

  @impl GenServer
  def handle_info({:shape_db, :poisoned, reason}, state) do
    {:stop, {:poisoned, reason}, tell(state, :poisoned, reason)}
  end

  def handle_info({:shape_db, event, details}, state) do
    {:noreply, tell(state, event, details)}
  end

  # Among these are the exits of strangers that linked themselves to it. GenServer itself
  # sees to the exit of its parent.
  def handle_info(_other, state), do: {:noreply, state}

  @impl GenServer
  def terminate(reason, state) do
    close(reason, state)
    # What comes from now on is told that the stack is not running.
    Names.forget({:store, state.stack_id}, self())
  end

  # Nobody is left who would close a poisoned store.
  defp close({:poisoned, _reason}, _state), do: :ok
  # Whoever killed the supervisor waits for nothing. The store goes on by itself.
  defp close(:killed, %{store: store}), do: Native.close(store)

  defp close(_reason, %{store: store} = state) do
    :ok = Native.close(store)
    await_closed(state, System.monotonic_time(:millisecond) + state.shutdown - @shutdown_margin)
  end

  # The writer commits what is queued at full speed. What it has not committed
  # when the time is up it goes on committing, for as long as the VM lives.
  defp await_closed(state, deadline) do
    receive do
      {:shape_db, :closed, _durable} ->
        :ok

      {:shape_db, :poisoned, reason} ->
        _ = tell(state, :poisoned, reason)
        :ok

      {:shape_db, event, details} ->
        state |> tell(event, details) |> await_closed(deadline)
    after
      max(deadline - System.monotonic_time(:millisecond), 0) -> name_what_remains(state)
    end
  end

  # In a file beside the database: a line of the log holds a few hundred handles, and to
  # make one of hundreds of thousands takes longer than there is time. The disk may be what
  # holds up the commits, so nobody waits longer than the time there is for the file.
  defp name_what_remains(%{store: store} = state) do
    {lister, monitor} = spawn_monitor(fn -> exit({:listed, Native.list_pending(store)}) end)

    listed =
      receive do
        {:DOWN, ^monitor, :process, ^lister, {:listed, listed}} -> listed
        {:DOWN, ^monitor, :process, ^lister, reason} -> {:error, inspect(reason)}
      after
        @list_timeout ->
          Process.demonitor(monitor, [:flush])
          {:error, "the disk took too long"}
      end

    tell(state, :remains, {Native.pending_ops(store), listed})
  end
end
