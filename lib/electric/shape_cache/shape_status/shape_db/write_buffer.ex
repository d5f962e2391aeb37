defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.WriteBuffer do
  @moduledoc """
  The owner of a stack's store, and the view of what is buffered: acknowledged and
  not yet in SQLite.

  The process holds the store, hears what its writer does, and turns that into
  telemetry and log lines. It is no one's bottleneck: changes and lookups go to
  the store directly. When it dies the store takes no more changes, and commits
  those it has.

  The functions on shapes answer only for what is buffered; `ShapeDb` has those
  that answer for everything.
  """

  use GenServer, shutdown: 30_000

  require Logger

  import Electric.ShapeCache.ShapeStatus.ShapeDb.Shapes, only: [is_shape: 1]

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Files
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Options
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Registry
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Shapes
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Stores
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Telemetry
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Writes

  @type stack_id :: String.t()
  @type handle :: String.t()
  @type relation :: {non_neg_integer(), term()}

  @synchronous %{"OFF" => :off, "NORMAL" => :normal, "FULL" => :full}

  # How long a new owner waits for the one before it to end.
  @successor_timeout 5_000

  # Left for the supervisor's own work when the time to shut down runs out.
  @shutdown_margin 500

  @doc "A name of the owner of a stack's store, for `GenServer.whereis/1`."
  @spec name(stack_id() | keyword()) :: GenServer.name()
  def name(stack_ref), do: Registry.name(stack_ref, __MODULE__)

  @doc """
  Opens the store of a stack, and owns it. Takes `stack_id` and either `options`,
  validated, or the options themselves.
  """
  @spec start_link(keyword()) :: GenServer.on_start()
  def start_link(args) do
    {stack_id, args} = Keyword.pop!(args, :stack_id)

    with {:ok, options} <- options(args) do
      start(stack_id, options)
    end
  end

  defp start(stack_id, options) do
    # Opening reads the whole file, however long that takes.
    opts = [name: name(stack_id), timeout: :infinity]

    with {:error, {:already_started, owner}} <-
           GenServer.start_link(__MODULE__, {stack_id, options}, opts) do
      # The owner before us, whose supervisor was killed, may be about to end.
      monitor = Process.monitor(owner)

      receive do
        {:DOWN, ^monitor, :process, _owner, _reason} -> start(stack_id, options)
      after
        @successor_timeout ->
          Process.demonitor(monitor, [:flush])
          {:error, {:already_started, owner}}
      end
    end
  end

  defp options(options: %Options{} = options), do: {:ok, options}
  defp options(opts), do: Options.new(opts)

  # --- flushing

  @doc """
  Waits until everything that was buffered when it was called is in SQLite, also
  while flushing is paused or manual. Exits after `timeout` milliseconds; what is
  buffered stays so.
  """
  @spec flush_sync(stack_id(), timeout()) :: :ok | {:error, term()}
  def flush_sync(stack_id, timeout \\ 5_000) do
    store = Stores.fetch!(stack_id, :flush_sync)

    case Writes.await_commit(store, Native.last(store), timeout) do
      # Set aside: everything that SQLite takes is there.
      outcome when outcome in [:durable, :set_aside] -> :ok
      :timeout -> exit({:timeout, {__MODULE__, :flush_sync, [stack_id, timeout]}})
      reason -> {:error, reason}
    end
  end

  @doc "Stops committing in the background, until `resume_flush/1` or a `flush_sync/2`."
  @spec pause_flush(stack_id()) :: :ok
  def pause_flush(stack_id), do: Native.pause(Stores.fetch!(stack_id, :pause_flush), true)

  @doc "Commits in the background again, unless the store is `manual_flush_only`."
  @spec resume_flush(stack_id()) :: :ok
  def resume_flush(stack_id) do
    store = Stores.fetch!(stack_id, :resume_flush)
    {_store, options} = Stores.get(stack_id)
    Native.pause(store, options.manual_flush_only)
  end

  # --- lookups

  @doc "The shape of a handle whose add is buffered."
  @spec lookup_shape(stack_id(), handle()) :: {:ok, Shapes.shape()} | :not_found
  def lookup_shape(stack_id, handle) do
    case stack_id |> Stores.fetch!(:lookup_shape) |> Native.pending_body(handle) do
      {:ok, body} -> {:ok, Shapes.parse(body)}
      _ -> :not_found
    end
  end

  @doc "The handle of a shape whose add is buffered, by its comparable term."
  @spec lookup_handle(stack_id(), term()) :: {:ok, handle()} | :not_found
  def lookup_handle(stack_id, comparable) do
    store = Stores.fetch!(stack_id, :lookup_handle)

    case Native.pending_handle(store, Shapes.serialise(comparable)) do
      {:ok, handle} -> {:ok, handle}
      _ -> :not_found
    end
  end

  @doc "Whether the handle's removal is buffered, and no shape has it again. Looks at each."
  @spec is_tombstoned?(stack_id(), handle()) :: boolean()
  def is_tombstoned?(stack_id, handle) do
    handle in readable!(stack_id, :is_tombstoned?, &Native.pending_removals/1)
  end

  @doc """
  `true` when the handle's add is buffered, `false` when its removal is,
  `:unknown` otherwise.
  """
  @spec has_handle?(stack_id(), handle()) :: boolean() | :unknown
  def has_handle?(stack_id, handle) do
    store = Stores.fetch!(stack_id, :has_handle?)

    case Native.pending_body(store, handle) do
      {:ok, _} -> true
      _ -> if is_tombstoned?(stack_id, handle), do: false, else: :unknown
    end
  end

  @doc "Operations not yet in SQLite; both halves of an add that was removed again count."
  @spec pending_operations_count(stack_id()) :: non_neg_integer()
  def pending_operations_count(stack_id) do
    case Stores.fetch(stack_id) do
      {:ok, store} -> Native.pending_ops(store)
      {:error, _not_running} -> 0
    end
  end

  @doc "Buffered adds less buffered removes."
  @spec pending_count_diff(stack_id()) :: integer()
  def pending_count_diff(stack_id) do
    stack_id |> Stores.fetch!(:pending_count_diff) |> Native.pending_count_diff()
  end

  @doc "The shapes whose adds are buffered, sorted by handle."
  @spec list_buffered_shapes(stack_id()) :: [{handle(), Shapes.shape()}]
  def list_buffered_shapes(stack_id) do
    handles = for {handle, _oids} <- pending_shapes(stack_id, :list_buffered_shapes), do: handle

    for handle <- Enum.sort(handles), {:ok, shape} <- [lookup_shape(stack_id, handle)] do
      {handle, shape}
    end
  end

  @doc "The handles whose adds are buffered and that read one of the relations, sorted."
  @spec handles_for_relations(stack_id(), [relation()]) :: [handle()]
  def handles_for_relations(stack_id, relations) do
    wanted = MapSet.new(Shapes.oids_of(relations))

    handles =
      for {handle, oids} <- pending_shapes(stack_id, :handles_for_relations),
          Enum.any?(oids, &MapSet.member?(wanted, &1)),
          do: handle

    Enum.sort(handles)
  end

  @doc "The handles whose removal is buffered, and that no shape has again."
  @spec tombstoned_handles(stack_id()) :: MapSet.t(handle())
  def tombstoned_handles(stack_id) do
    MapSet.new(readable!(stack_id, :tombstoned_handles, &Native.pending_removals/1))
  end

  defp pending_shapes(stack_id, action), do: readable!(stack_id, action, &Native.pending_shapes/1)

  defp readable!(stack_id, action, read) do
    case read.(Stores.fetch!(stack_id, action)) do
      list when is_list(list) -> list
      _ -> raise ShapeDb.Error, action: action, error: Stores.not_running(stack_id)
    end
  end

  # --- changes

  @doc """
  Buffers the add of a shape. `comparable` is its comparable term, `hash` the
  host's hash of that.
  """
  @spec add_shape(stack_id(), handle(), Shapes.shape(), term(), non_neg_integer(), [relation()]) ::
          :ok | {:error, term()}
  def add_shape(stack_id, handle, shape, comparable, hash, relations)
      when is_binary(handle) and is_shape(shape) do
    oids = Shapes.oids_of(relations)
    add(stack_id, handle, shape, {Shapes.serialise(comparable), hash}, oids, [])
  end

  @doc false
  # Used by `ShapeDb`, which has the comparable serialised.
  def add(stack_id, handle, shape, {comparable, hash}, oids, opts) do
    body = Shapes.serialise(shape)
    log = Writes.log?()

    Writes.run(stack_id, byte_size(body), opts, fn store, ticket ->
      Native.add(store, handle, comparable, hash, oids, body, ticket, log)
    end)
  end

  @doc """
  Buffers the removal of a shape. One that is not there takes its turn all the
  same: it counts as pending, and is warned of when its turn comes.
  """
  @spec remove_shape(stack_id(), handle()) :: :ok | {:error, term()}
  def remove_shape(stack_id, handle) when is_binary(handle) do
    known_or_noted(stack_id, handle, :remove, &Native.remove(&1, handle, &2, &3))
  end

  @doc "Buffers the start of a snapshot; of an unknown shape as `remove_shape/2`."
  @spec queue_snapshot_started(stack_id(), handle()) :: :ok | {:error, term()}
  def queue_snapshot_started(stack_id, handle) when is_binary(handle) do
    known_or_noted(
      stack_id,
      handle,
      :snapshot_started,
      &Native.mark(&1, handle, :started, &2, &3)
    )
  end

  @doc "Buffers the end of a snapshot; of an unknown shape as `remove_shape/2`."
  @spec queue_snapshot_complete(stack_id(), handle()) :: :ok | {:error, term()}
  def queue_snapshot_complete(stack_id, handle) when is_binary(handle) do
    known_or_noted(
      stack_id,
      handle,
      :snapshot_complete,
      &Native.mark(&1, handle, :complete, &2, &3)
    )
  end

  defp known_or_noted(stack_id, handle, operation, change) do
    log = Writes.log?()

    Writes.run(stack_id, 0, [], fn store, ticket ->
      with {:error, :unknown} <- change.(store, ticket, log) do
        Native.note_unknown(store, operation, handle, ticket)
      end
    end)
  end

  @doc "Forgets every shape, buffered or not, and waits until SQLite has none."
  @spec clear(stack_id()) :: :ok | {:error, term()}
  def clear(stack_id), do: ShapeDb.reset(stack_id)

  # --- the owner

  @impl GenServer
  def init({stack_id, options}) do
    # So that the store is closed in order when the supervisor says so.
    Process.flag(:trap_exit, true)
    # The first look at the level fills a cache of Logger's, for all at once.
    _ = Writes.log?()
    label({:shape_db_write_buffer, stack_id})
    Logger.metadata(stack_id: stack_id)
    {:ok, path} = Files.database(options)

    case Native.open(native(options, path)) do
      {:ok, store} ->
        state = %{stack_id: stack_id, store: store, shutdown: 30_000}
        await_opened(state, options)

      {:error, reason} ->
        {:stop, reason}
    end
  end

  # Only on Elixir 1.17 and later.
  defp label(term) do
    if function_exported?(Process, :set_label, 1), do: apply(Process, :set_label, [term])
  end

  defp native(options, path) do
    options
    |> Map.from_struct()
    |> Map.take([
      :exclusive_mode,
      :cache_size,
      :read_pool_size,
      :connection_idle_timeout,
      :manual_flush_only,
      :max_pending_ops,
      :max_pending_bytes
    ])
    |> Map.merge(%{
      path: path,
      synchronous: Map.fetch!(@synchronous, options.synchronous),
      sources: Files.sources(options)
    })
  end

  defp await_opened(state, options) do
    receive do
      {:shape_db, :verify, rows} ->
        Native.verified(state.store, Enum.map(rows, &Shapes.verify/1))

        await_opened(state, options)

      {:shape_db, :log, line} ->
        log(line)
        await_opened(state, options)

      {:shape_db, :opened, opened} ->
        :ok = Stores.put(state.stack_id, state.store, options)
        opened(opened, state)
        {:ok, state}

      {:shape_db, :open_failed, reason} ->
        {:stop, reason}

      {:shape_db, :poisoned, reason} ->
        {:stop, {:poisoned, reason}}

      {:EXIT, _parent, reason} ->
        {:stop, reason}
    end
  end

  @impl GenServer
  def handle_info({:shape_db, :poisoned, reason}, state) do
    event(state, [:store, :poisoned], %{count: 1}, %{reason: reason})
    {:stop, {:poisoned, reason}, state}
  end

  def handle_info({:shape_db, event, details}, state) do
    happened(event, details, state)
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
        happened(event, details, state)
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

  # --- what the writer tells

  defp happened(:committed, %{ops: ops, duration_us: duration, log: log}, state) do
    Enum.each(log, fn operation -> Logger.debug(["ShapeDb: committed ", inspect(operation)]) end)
    Telemetry.flush(state.stack_id, ops, duration)
  end

  defp happened(:commit_failed, failed, state) do
    Telemetry.flush(state.stack_id, failed.ops, failed.duration_us, {:error, failed.reason})

    event(state, [:fault, :failed], %{operations: failed.ops, retry_in_ms: failed.retry_in_ms}, %{
      reason: failed.reason
    })
  end

  defp happened(:recovered, {failures, duration}, state) do
    event(state, [:fault, :recovered], %{failures: failures, duration_ms: duration})
  end

  defp happened(:set_aside, {{operation, handle}, reason}, state) do
    metadata = %{operation: operation, handle: handle, reason: reason}
    event(state, [:fault, :set_aside], %{count: 1}, metadata)
  end

  defp happened(:pressure_started, {ops, bytes}, state) do
    Logger.warning("ShapeDb: the write queue is full with #{ops} operations, callers wait")
    event(state, [:pressure, :start], %{operations: ops, bytes: bytes})
  end

  defp happened(:pressure_ended, duration, state) do
    Logger.info(
      "ShapeDb: the write queue had callers waiting for #{duration} ms, and has none now"
    )

    event(state, [:pressure, :stop], %{duration_ms: duration})
  end

  defp happened(:rebuilt, {path, shapes, lost}, state) do
    metadata = %{path: path, lost_handles: lost}
    event(state, [:store, :rebuilt], %{shapes: shapes, lost: length(lost)}, metadata)
  end

  defp happened(:promoted, epoch, state), do: event(state, [:store, :promoted], %{epoch: epoch})

  defp happened(:fenced, {epoch, ops}, state) do
    event(state, [:store, :fenced], %{epoch: epoch, operations: ops})
  end

  defp happened(:log, line, _state), do: log(line)
  defp happened(_event, _details, _state), do: :ok

  defp opened(opened, state) do
    measurements = %{shapes: opened.shapes}
    event(state, [:store, :opened], measurements, %{standby: opened.standby})

    with {from, shapes, left_out} <- opened.imported do
      if left_out > 0 do
        Logger.warning("ShapeDb: left out #{left_out} shapes of #{from} that do not verify")
      end

      event(state, [:store, :imported], %{shapes: shapes, left_out: left_out}, %{from: from})
    end

    if path = opened.quarantined do
      event(state, [:store, :quarantined], %{count: 1}, %{path: path})
    end
  end

  # A line that the native side traced.
  defp log({level, target, message}) do
    Logger.log(level, ["ShapeDb: ", message], native_target: target)
  end

  defp event(state, event, measurements, metadata \\ %{}) do
    Telemetry.execute(event, measurements, Map.put(metadata, :stack_id, state.stack_id))
  end
end
