defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Flags do
  @moduledoc false
  # The flags of shapes, where they are a function of the shape: those of a new shape, and
  # all of them anew when the function is another one than that by which the file was
  # written.
  #
  # The function is the host's, so it runs in processes that nothing depends on. One that
  # fails leaves the flags of its shape 0.

  require Logger

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Change
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.ColdReads
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Options
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Names
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Shapes
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Telemetry
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.WriteBuffer

  # Shapes that are read in one go, and flags that are set under one lock.
  @shapes_at_once 512
  @flags_at_once 128

  @progress_ms 1_000

  @type renewing :: :current | {pid(), reference()}

  @doc "The flags that a shape is added with, `nil` where none are given, and the other options."
  @spec take(keyword()) :: {byte() | nil, keyword()}
  # Most adds come this way, and each step counts against the timeslice of the process.
  def take([]), do: {nil, []}

  def take(opts) do
    # What is no list of options is refused where the others are.
    {flags, opts} = if Keyword.keyword?(opts), do: Keyword.pop(opts, :flags), else: {nil, opts}

    if flags == nil or flags in 0..255 do
      {flags, opts}
    else
      raise ArgumentError, "option :flags takes a whole number in 0..255, not #{inspect(flags)}"
    end
  end

  @doc """
  A change with its flags, and the stack or store to make it with: flags by a function are for
  the store that the function belongs to.
  """
  @spec at_once(String.t(), Change.t()) :: {Native.stack(), Change.t()}
  def at_once(stack_id, {:add, _, _, _, _, _, nil, _} = add) do
    case Native.flags_function(stack_id) do
      nil -> {stack_id, add}
      {store, fun} -> {store, by_function(add, fun)}
    end
  end

  def at_once(stack_id, change), do: {stack_id, change}

  @doc "An add without flags with those by the function of its stack; any other change as it is."
  @spec given(Change.t(), Options.t()) :: Change.t()
  def given({:add, _, _, _, _, _, nil, _} = add, %Options{flags: {_version, fun}}),
    do: by_function(add, fun)

  def given(change, _options), do: change

  defp by_function({:add, shape, handle, comparable, hash, oids, nil, body}, fun) do
    case fun.(shape) do
      flags when flags in 0..255 ->
        {:add, shape, handle, comparable, hash, oids, flags, body}

      other ->
        raise ArgumentError,
              "the function of option :flags gives a whole number in 0..255, not #{inspect(other)}"
    end
  end

  @doc "Makes all flags anew, if they are to be, and waits for it."
  @spec renew(String.t(), Native.store(), Options.t()) :: :ok
  def renew(stack_id, store, options) do
    case start_renewal(stack_id, store, options) do
      :current ->
        :ok

      {renewer, monitor} ->
        receive do
          {:DOWN, ^monitor, :process, ^renewer, _reason} -> :ok
        end
    end
  end

  @doc """
  Starts to make all flags anew, if they are to be: in a process that is gone when they
  are, or when they cannot be. Then the next writer of the file tries again.
  """
  @spec start_renewal(String.t(), Native.store(), Options.t()) :: renewing()
  def start_renewal(_stack_id, _store, %Options{flags: nil}), do: :current

  def start_renewal(stack_id, store, %Options{flags: {version, fun}}) do
    version = to_string(version)

    if due?(store, version),
      do: spawn_monitor(fn -> renew_once(stack_id, store, version, fun) end),
      else: :current
  end

  # A standby has the flags of the file until it takes over.
  defp due?(store, version) do
    Native.state(store) == :active and Native.flags_version(store) != version
  end

  # Many processes may find at once that a store has become the writer: one of them makes
  # the flags anew, the others wait. One that was killed, or went with its store, has not
  # tried: then another does.
  defp renew_once(stack_id, store, version, fun) do
    name = {stack_id, __MODULE__}

    with :no <- Names.register_name(name, self()),
         other when is_pid(other) <- Names.whereis_name(name) do
      monitor = Process.monitor(other)

      receive do
        {:DOWN, ^monitor, :process, ^other, :normal} -> :ok
        {:DOWN, ^monitor, :process, ^other, _} -> renew_once(stack_id, store, version, fun)
      end
    else
      :yes -> if due?(store, version), do: renew_all(stack_id, store, version, fun)
      :undefined -> renew_once(stack_id, store, version, fun)
    end
  end

  defp renew_all(stack_id, store, version, fun) do
    # So that it hears of workers that end, which end with it.
    Process.flag(:trap_exit, true)
    started = now_ms()
    total = Native.count(store)
    log(:info, stack_id, "computing the flags of #{total} shapes for version #{version}")
    renewer = self()

    with {:ok, owner} <- monitor_owner(stack_id),
         cursors when is_list(cursors) <- Native.cursors(store, System.schedulers_online()),
         workers = for(c <- cursors, do: spawn_link(fn -> work(store, c, fun, renewer) end)),
         {:ok, done, failed} <- await(workers, {stack_id, owner}, {0, []}, total, started),
         {:ok, _seq} <- Native.set_flags_version(store, version) do
      told(stack_id, version, done, failed, now_ms() - started)
    else
      {:error, reason} ->
        log(:error, stack_id, "cannot compute the flags of all shapes: #{inspect(reason)}")

      unreadable ->
        log(:error, stack_id, "cannot compute the flags of all shapes: #{unreadable}")
    end
  end

  defp monitor_owner(stack_id) do
    case stack_id |> WriteBuffer.name() |> GenServer.whereis() do
      nil -> :closed
      owner -> {:ok, Process.monitor(owner)}
    end
  end

  defp await([], _of, {done, failed}, _total, _told), do: {:ok, done, failed}

  defp await(workers, {stack_id, owner} = of, {done, failed}, total, told) do
    receive do
      {:computed, count, more_failed} ->
        done = done + count
        told = progress(stack_id, done, total, told)
        await(workers, of, {done, more_failed ++ failed}, total, told)

      {:EXIT, worker, :normal} ->
        await(List.delete(workers, worker), of, {done, failed}, total, told)

      {:EXIT, _worker, reason} ->
        kill(workers)
        {:error, reason}

      # Whoever has the stack now makes them for its own store.
      {:DOWN, ^owner, :process, _owner, _reason} ->
        kill(workers)
        exit(:shutdown)
    end
  end

  # The host's code may never end, and need not heed the end of who it is linked to.
  defp kill(workers), do: for(worker <- workers, do: Process.exit(worker, :kill))

  defp progress(stack_id, done, total, told) do
    if now_ms() - told >= @progress_ms do
      log(:info, stack_id, "computed the flags of #{done} of #{total} shapes")
      now_ms()
    else
      told
    end
  end

  defp told(stack_id, version, done, failed, duration) do
    log(:info, stack_id, "computed the flags of #{done} shapes in #{duration} ms")

    with [{handle, reason} | _] <- failed do
      text = "the function of flags failed for #{length(failed)} shapes, whose flags are 0; "
      log(:warning, stack_id, text <> "for #{inspect(handle)}: #{inspect(reason)}")
    end

    measurements = %{shapes: done, failed: length(failed), duration_ms: duration}
    Telemetry.execute([:store, :flags], measurements, %{stack_id: stack_id, version: version})
  end

  defp work(store, cursor, fun, renewer) do
    case ColdReads.shapes(store, cursor, @shapes_at_once, :infinity) do
      :done ->
        :ok

      {:ok, items} ->
        # What went in the meantime has none.
        results = for {handle, shape} <- items, shape != nil, do: {handle, flags(fun, shape)}
        flags = for {handle, result} <- results, do: {handle, with({:error, _} <- result, do: 0)}

        for some <- Enum.chunk_every(flags, @flags_at_once) do
          {:ok, _seq} = Native.set_many_flags(store, some)
        end

        failed = for {handle, {:error, reason}} <- results, do: {handle, reason}
        send(renewer, {:computed, length(flags), failed})
        work(store, cursor, fun, renewer)

      unread ->
        exit(unread)
    end
  end

  defp flags(fun, body) when is_binary(body) do
    case Shapes.parse(body) do
      {:ok, shape} -> flags(fun, shape)
      :error -> {:error, :not_a_shape}
    end
  end

  defp flags(fun, shape) do
    case fun.(shape) do
      flags when flags in 0..255 -> flags
      other -> {:error, {:not_flags, other}}
    end
  catch
    kind, reason -> {:error, {kind, reason}}
  end

  defp log(level, stack_id, text) do
    Logger.log(level, "ShapeDb of #{inspect(stack_id)}: #{text}", stack_id: stack_id)
  end

  defp now_ms, do: System.monotonic_time(:millisecond)
end
