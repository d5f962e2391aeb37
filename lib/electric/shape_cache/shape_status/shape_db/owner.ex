defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Owner do
  @moduledoc false
  # The process that owns a stack's store. It has no part in changes and lookups,
  # which go to the store directly.

  use GenServer

  require Logger

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Events
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Files
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Flags
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Options
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Shapes
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Stores
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.WriteBuffer
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Writes

  @synchronous %{"OFF" => :off, "NORMAL" => :normal, "FULL" => :full}

  # How long a new owner waits for the one before it to end.
  @successor_timeout 5_000

  # Enough to drain a queue; what is not committed by then is named in the log.
  @shutdown 30_000

  # Left for the supervisor's own work when that time runs out.
  @shutdown_margin 500

  @doc "How long its supervisor is to wait for it to end, in milliseconds."
  @spec shutdown() :: pos_integer()
  def shutdown, do: @shutdown

  @doc "Opens the store, and returns when every lookup answers."
  @spec start_link(String.t(), Options.t()) :: GenServer.on_start()
  def start_link(stack_id, options) do
    # Opening reads the whole file, however long that takes.
    opts = [name: WriteBuffer.name(stack_id), timeout: :infinity]

    with {:error, {:already_started, owner}} <-
           GenServer.start_link(__MODULE__, {stack_id, options}, opts) do
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
  def init({stack_id, options}) do
    # So that the store is closed in order when the supervisor says so.
    Process.flag(:trap_exit, true)
    # The first look at the level fills a cache of Logger's, for all at once.
    _ = Writes.log?()
    label({:shape_db_write_buffer, stack_id})
    Logger.metadata(stack_id: stack_id)
    {:ok, path} = Files.database(options)

    case Native.open(native(stack_id, options, path)) do
      {:ok, store} ->
        state = %{stack_id: stack_id, store: store, shutdown: @shutdown}
        await_opened(state, options)

      {:error, reason} ->
        {:stop, reason}
    end
  end

  # Only on Elixir 1.17 and later.
  defp label(term) do
    if function_exported?(Process, :set_label, 1), do: apply(Process, :set_label, [term])
  end

  defp native(stack_id, options, path) do
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
      :keep_last_read_times
    ])
    |> Map.merge(%{
      path: path,
      stack_id: stack_id,
      synchronous: Map.fetch!(@synchronous, options.synchronous),
      sources: Files.sources(options),
      clock: {System.monotonic_time(), System.convert_time_unit(1, :second, :native)}
    })
  end

  defp await_opened(state, options) do
    receive do
      {:shape_db, :verify, rows} ->
        Native.verified(state.store, Enum.map(rows, &Shapes.verify/1))

        await_opened(state, options)

      {:shape_db, :log, line} ->
        Events.log(line)
        await_opened(state, options)

      {:shape_db, :opened, opened} ->
        Events.opened(opened, state.stack_id)
        renewing = Flags.start_renewal(state.stack_id, state.store, options)
        await_flags(state, options, renewing)

      {:shape_db, :open_failed, reason} ->
        {:stop, reason}

      {:shape_db, :poisoned, reason} ->
        {:stop, {:poisoned, reason}}

      {:EXIT, _parent, reason} ->
        {:stop, reason}
    end
  end

  # Nobody finds the store before its flags mean what the host says.
  defp await_flags(state, options, :current) do
    :ok = Stores.put(state.stack_id, state.store, options)
    {:ok, state}
  end

  defp await_flags(state, options, {renewer, monitor} = renewing) do
    receive do
      {:DOWN, ^monitor, :process, ^renewer, _reason} ->
        await_flags(state, options, :current)

      {:shape_db, :poisoned, reason} ->
        {:stop, {:poisoned, reason}}

      {:shape_db, event, details} ->
        Events.happened(event, details, state.stack_id)
        await_flags(state, options, renewing)

      {:EXIT, _parent, reason} ->
        Process.exit(renewer, :kill)
        {:stop, reason}
    end
  end

  @impl GenServer
  def handle_info({:shape_db, :poisoned, reason}, state) do
    Events.happened(:poisoned, reason, state.stack_id)
    {:stop, {:poisoned, reason}, state}
  end

  def handle_info({:shape_db, event, details}, state) do
    Events.happened(event, details, state.stack_id)
    {:noreply, state}
  end

  def handle_info({:EXIT, _from, reason}, state), do: {:stop, reason, state}
  def handle_info(_other, state), do: {:noreply, state}

  @impl GenServer
  # A poisoned store has nobody who would close it.
  def terminate({:poisoned, _reason}, _state), do: :ok
  # Whoever killed the supervisor waits for nothing. The store goes on by itself.
  def terminate(:killed, %{store: store}), do: Native.close(store)

  def terminate(_reason, %{store: store} = state) do
    :ok = Native.close(store)
    await_closed(state, System.monotonic_time(:millisecond) + state.shutdown - @shutdown_margin)
  end

  # The writer commits what is queued at full speed. What it has not committed
  # when the time is up it goes on committing, for as long as the VM lives.
  defp await_closed(state, deadline) do
    receive do
      {:shape_db, :closed, _durable} ->
        :ok

      {:shape_db, :poisoned, _reason} ->
        :ok

      {:shape_db, event, details} ->
        Events.happened(event, details, state.stack_id)
        await_closed(state, deadline)
    after
      max(deadline - System.monotonic_time(:millisecond), 0) -> name_what_remains(state)
    end
  end

  defp name_what_remains(%{store: store, stack_id: stack_id}) do
    adds = for {handle, _oids} <- list(Native.pending_shapes(store)), do: handle

    Logger.error([
      "ShapeDb of #{inspect(stack_id)}: time to shut down ran out with ",
      "#{Native.pending_ops(store)} operations not committed; adds of ",
      inspect(adds, limit: :infinity),
      ", removals of ",
      inspect(list(Native.pending_removals(store)), limit: :infinity)
    ])
  end

  defp list(list) when is_list(list), do: list
  defp list(_unreadable), do: []
end
