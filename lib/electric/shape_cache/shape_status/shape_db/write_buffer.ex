defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.WriteBuffer do
  @moduledoc """
  The owner of a stack's store, and the view of what is buffered: acknowledged and
  not yet in SQLite.

  The process holds the store, hears what its writer does, and turns that into
  telemetry and log lines. Changes and lookups do not pass through it. When it dies
  the store takes no more changes, and commits those it has.

  The functions on shapes answer only for what is buffered; `ShapeDb` has those
  that answer for everything.
  """

  import Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Arguments, only: [is_timeout: 1]
  import Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Shapes, only: [is_shape: 1]

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Arguments
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Borrowed
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Flags
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Options
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Owner
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Names
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Shapes
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Writes

  @type stack_id :: String.t()
  @type handle :: String.t()
  @type relation :: {non_neg_integer(), term()}

  @doc """
  A name of the owner of a stack's store, for `GenServer.whereis/1`.

      iex> "my-stack" |> WriteBuffer.name() |> GenServer.whereis() |> is_pid()
      true
      iex> "not-running" |> WriteBuffer.name() |> GenServer.whereis()
      nil
  """
  @spec name(stack_id() | keyword()) :: GenServer.name()
  def name(stack_ref), do: Names.name(stack_ref, __MODULE__)

  @doc false
  def child_spec(args) do
    %{id: __MODULE__, start: {__MODULE__, :start_link, [args]}, shutdown: Owner.shutdown()}
  end

  @doc """
  Opens the store of a stack, and owns it. Takes `stack_id` and either `options`,
  validated, or the options themselves.

      iex> WriteBuffer.start_link(stack_id: "another", storage_dir: 42)
      {:error, "option :storage_dir takes a path, not 42"}
  """
  @spec start_link(keyword()) :: GenServer.on_start()
  def start_link(args) do
    case Keyword.keyword?(args) and Keyword.pop(args, :stack_id) do
      {stack_id, args} when is_binary(stack_id) ->
        with {:ok, options} <- options(args), do: Owner.start_link(stack_id, options)

      _no_stack_id ->
        {:error,
         "a store is started with a keyword list that has a stack_id, which is a " <>
           "binary, not with #{Arguments.shown(args)}"}
    end
  end

  defp options(options: %Options{} = options), do: {:ok, options}
  defp options(opts), do: Options.new(opts)

  # --- flushing

  @doc """
  Waits until everything that was buffered when it was called is in SQLite, also
  while flushing is paused or manual. Exits after `timeout` milliseconds; what is
  buffered stays so.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> WriteBuffer.flush_sync("my-stack")
      :ok
      iex> WriteBuffer.pending_operations_count("my-stack")
      0
  """
  @spec flush_sync(stack_id(), timeout()) :: :ok | {:error, term()}
  def flush_sync(stack_id, timeout \\ 5_000)

  def flush_sync(stack_id, timeout) when is_binary(stack_id) and is_timeout(timeout) do
    store = Stores.fetch!(stack_id, :flush_sync)

    with :ok <- Borrowed.check(store, "a flush") do
      case Writes.await_commit(store, Native.last(store), timeout) do
        # Set aside means that everything that SQLite takes is there.
        outcome when outcome in [:durable, :set_aside] -> :ok
        :timeout -> exit({:timeout, {__MODULE__, :flush_sync, [stack_id, timeout]}})
        reason -> {:error, reason}
      end
    end
  end

  def flush_sync(stack_id, timeout), do: Arguments.refuse!(stack_id: stack_id, timeout: timeout)

  @doc """
  Stops committing in the background, until `resume_flush/1` or a `flush_sync/2`.

      iex> WriteBuffer.pause_flush("my-stack")
      :ok
      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> WriteBuffer.pending_operations_count("my-stack")
      1
  """
  @spec pause_flush(stack_id()) :: :ok
  def pause_flush(stack_id), do: Native.pause(store!(stack_id, :pause_flush), true)

  @doc """
  Commits in the background again, unless the store is `manual_flush_only`.

      iex> :ok = WriteBuffer.pause_flush("my-stack")
      iex> WriteBuffer.resume_flush("my-stack")
      :ok
  """
  @spec resume_flush(stack_id()) :: :ok
  def resume_flush(stack_id) do
    # The store is fetched first, as that raises where there is none.
    store = store!(stack_id, :resume_flush)
    Native.pause(store, match?({_, %{manual_flush_only: true}, _}, Stores.get(stack_id)))
  end

  # --- lookups

  @doc """
  The shape of a handle whose add is buffered.

      iex> :ok = WriteBuffer.pause_flush("my-stack")
      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> {:ok, buffered} = WriteBuffer.lookup_shape("my-stack", "1-1")
      iex> buffered == shape(1)
      true
      iex> :ok = WriteBuffer.flush_sync("my-stack")
      iex> WriteBuffer.lookup_shape("my-stack", "1-1")
      :not_found
  """
  @spec lookup_shape(stack_id(), handle()) :: {:ok, Shapes.shape()} | :not_found
  def lookup_shape(stack_id, handle) do
    case look(stack_id, :lookup_shape, handle, &Native.pending_body/2) do
      {:ok, body} -> with :error <- Shapes.parse(body), do: :not_found
      _ -> :not_found
    end
  end

  @doc """
  The handle of a shape whose add is buffered, by its comparable term.

      iex> :ok = WriteBuffer.pause_flush("my-stack")
      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> {comparable, _hash} = Electric.Shapes.Shape.comparable_hash(shape(1))
      iex> WriteBuffer.lookup_handle("my-stack", comparable)
      {:ok, "1-1"}
  """
  @spec lookup_handle(stack_id(), term()) :: {:ok, handle()} | :not_found
  def lookup_handle(stack_id, comparable) do
    case Native.pending_handle(store!(stack_id, :lookup_handle), Shapes.serialise(comparable)) do
      {:ok, handle} -> {:ok, handle}
      _ -> :not_found
    end
  end

  @doc """
  Whether the handle's removal is buffered, and no shape has it again.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1", durability: :sync)
      iex> :ok = WriteBuffer.pause_flush("my-stack")
      iex> :ok = ShapeDb.remove_shape("my-stack", "1-1")
      iex> WriteBuffer.is_tombstoned?("my-stack", "1-1")
      true
  """
  @spec is_tombstoned?(stack_id(), handle()) :: boolean()
  def is_tombstoned?(stack_id, handle) do
    look(stack_id, :is_tombstoned?, handle, &Native.pending_change/2) == :remove
  end

  @doc """
  `true` when the handle's add is buffered, `false` when its removal is,
  `:unknown` otherwise.

      iex> :ok = WriteBuffer.pause_flush("my-stack")
      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> {WriteBuffer.has_handle?("my-stack", "1-1"), WriteBuffer.has_handle?("my-stack", "2-2")}
      {true, :unknown}
  """
  @spec has_handle?(stack_id(), handle()) :: boolean() | :unknown
  def has_handle?(stack_id, handle) do
    case look(stack_id, :has_handle?, handle, &Native.pending_change/2) do
      :add -> true
      :remove -> false
      :unknown -> :unknown
    end
  end

  defp look(stack_id, action, handle, look) when is_binary(stack_id) and is_binary(handle) do
    case look.(Stores.fetch!(stack_id, action), handle) do
      unreadable when unreadable in [:closed, :opening, :poisoned] ->
        raise ShapeDb.Error, action: action, error: Stores.not_running(stack_id)

      found ->
        found
    end
  end

  defp look(stack_id, _action, handle, _look),
    do: Arguments.refuse!(stack_id: stack_id, handle: handle)

  @doc """
  Operations not yet in SQLite; both halves of an add that was removed again count.

      iex> :ok = WriteBuffer.pause_flush("my-stack")
      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> :ok = ShapeDb.mark_snapshot_complete("my-stack", "1-1")
      iex> WriteBuffer.pending_operations_count("my-stack")
      2
  """
  @spec pending_operations_count(stack_id()) :: non_neg_integer()
  def pending_operations_count(stack_id) when is_binary(stack_id) do
    case Stores.fetch(stack_id) do
      {:ok, store} -> Native.pending_ops(store)
      {:error, _not_running} -> 0
    end
  end

  def pending_operations_count(stack_id), do: Arguments.refuse!(stack_id: stack_id)

  @doc """
  Buffered adds less buffered removes.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1", durability: :sync)
      iex> :ok = WriteBuffer.pause_flush("my-stack")
      iex> :ok = ShapeDb.remove_shape("my-stack", "1-1")
      iex> WriteBuffer.pending_count_diff("my-stack")
      -1
  """
  @spec pending_count_diff(stack_id()) :: integer()
  def pending_count_diff(stack_id) do
    stack_id |> store!(:pending_count_diff) |> Native.pending_count_diff()
  end

  @doc """
  The shapes whose adds are buffered, sorted by handle.

      iex> :ok = WriteBuffer.pause_flush("my-stack")
      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> [{handle, buffered}] = WriteBuffer.list_buffered_shapes("my-stack")
      iex> {handle, buffered == shape(1)}
      {"1-1", true}
  """
  @spec list_buffered_shapes(stack_id()) :: [{handle(), Shapes.shape()}]
  def list_buffered_shapes(stack_id) do
    handles = for {handle, _oids} <- pending_shapes(stack_id, :list_buffered_shapes), do: handle

    for handle <- Enum.sort(handles), {:ok, shape} <- [lookup_shape(stack_id, handle)] do
      {handle, shape}
    end
  end

  @doc """
  The handles whose adds are buffered and that read one of the relations, sorted.

      iex> :ok = WriteBuffer.pause_flush("my-stack")
      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> relations = Electric.Shapes.Shape.list_relations(shape(1))
      iex> WriteBuffer.handles_for_relations("my-stack", relations)
      ["1-1"]
  """
  @spec handles_for_relations(stack_id(), [relation()]) :: [handle()]
  def handles_for_relations(stack_id, relations) when is_list(relations) do
    wanted = MapSet.new(Shapes.oids_of(relations))

    handles =
      for {handle, oids} <- pending_shapes(stack_id, :handles_for_relations),
          Enum.any?(oids, &MapSet.member?(wanted, &1)),
          do: handle

    Enum.sort(handles)
  end

  def handles_for_relations(stack_id, relations),
    do: Arguments.refuse!(stack_id: stack_id, relations: relations)

  @doc """
  The handles whose removal is buffered, and that no shape has again.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1", durability: :sync)
      iex> :ok = WriteBuffer.pause_flush("my-stack")
      iex> :ok = ShapeDb.remove_shape("my-stack", "1-1")
      iex> "my-stack" |> WriteBuffer.tombstoned_handles() |> MapSet.to_list()
      ["1-1"]
  """
  @spec tombstoned_handles(stack_id()) :: MapSet.t(handle())
  def tombstoned_handles(stack_id) do
    MapSet.new(readable!(stack_id, :tombstoned_handles, &Native.pending_removals/1))
  end

  defp pending_shapes(stack_id, action), do: readable!(stack_id, action, &Native.pending_shapes/1)

  defp readable!(stack_id, action, read) do
    case read.(store!(stack_id, action)) do
      list when is_list(list) -> list
      _ -> raise ShapeDb.Error, action: action, error: Stores.not_running(stack_id)
    end
  end

  defp store!(stack_id, action) when is_binary(stack_id), do: Stores.fetch!(stack_id, action)
  defp store!(stack_id, _action), do: Arguments.refuse!(stack_id: stack_id)

  # --- changes

  @doc """
  Buffers the add of a shape. `comparable` is its comparable term, `hash` the
  host's hash of that.

      iex> {comparable, hash} = Electric.Shapes.Shape.comparable_hash(shape(1))
      iex> relations = Electric.Shapes.Shape.list_relations(shape(1))
      iex> WriteBuffer.add_shape("my-stack", "1-1", shape(1), comparable, hash, relations)
      :ok
      iex> ShapeDb.handle_for_shape("my-stack", shape(1))
      {:ok, "1-1"}
  """
  @spec add_shape(stack_id(), handle(), Shapes.shape(), term(), non_neg_integer(), [relation()]) ::
          :ok | {:error, term()}
  def add_shape(stack_id, handle, shape, comparable, hash, relations)
      when is_binary(stack_id) and is_binary(handle) and is_shape(shape) and
             hash in 0..0xFFFFFFFF and is_list(relations) do
    oids = Shapes.oids_of(relations)
    add(stack_id, handle, shape, {Shapes.serialise(comparable), hash}, oids, [])
  end

  def add_shape(stack_id, handle, shape, _comparable, hash, relations) do
    Arguments.refuse!(
      stack_id: stack_id,
      handle: handle,
      shape: shape,
      hash: hash,
      relations: relations
    )
  end

  @doc false
  # Used by `ShapeDb`, which has the comparable serialised.
  def add(stack_id, handle, shape, {comparable, hash}, oids, opts) do
    body = Shapes.body(shape)
    {flags, opts} = Flags.take(opts)
    change = {:add, shape, handle, comparable, hash, oids, flags, body}
    Writes.run(stack_id, change, opts)
  end

  @doc """
  Buffers the removal of a shape. One that is not there takes its turn all the
  same: it counts as pending, and is warned of when its turn comes.

      iex> :ok = WriteBuffer.pause_flush("my-stack")
      iex> WriteBuffer.remove_shape("my-stack", "1-1")
      :ok
      iex> WriteBuffer.pending_operations_count("my-stack")
      1
  """
  @spec remove_shape(stack_id(), handle()) :: :ok | {:error, term()}
  def remove_shape(stack_id, handle) do
    noted(stack_id, handle, {:remove, handle}, :remove)
  end

  @doc """
  Buffers the start of a snapshot; of an unknown shape as `remove_shape/2`.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> :ok = WriteBuffer.queue_snapshot_started("my-stack", "1-1")
      iex> ShapeDb.snapshot_started?("my-stack", "1-1")
      true
  """
  @spec queue_snapshot_started(stack_id(), handle()) :: :ok | {:error, term()}
  def queue_snapshot_started(stack_id, handle) do
    noted(stack_id, handle, {:mark, handle, :started}, :snapshot_started)
  end

  @doc """
  Buffers the end of a snapshot; of an unknown shape as `remove_shape/2`.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> :ok = WriteBuffer.queue_snapshot_complete("my-stack", "1-1")
      iex> ShapeDb.snapshot_complete?("my-stack", "1-1")
      true
  """
  @spec queue_snapshot_complete(stack_id(), handle()) :: :ok | {:error, term()}
  def queue_snapshot_complete(stack_id, handle) do
    noted(stack_id, handle, {:mark, handle, :complete}, :snapshot_complete)
  end

  defp noted(stack_id, handle, change, operation)
       when is_binary(stack_id) and is_binary(handle) do
    Writes.run(stack_id, {:noted, change, handle, operation}, [])
  end

  defp noted(stack_id, handle, _change, _operation),
    do: Arguments.refuse!(stack_id: stack_id, handle: handle)

  @doc """
  Forgets every shape, buffered or not, and waits until SQLite has none.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> WriteBuffer.clear("my-stack")
      :ok
      iex> ShapeDb.handle_exists?("my-stack", "1-1")
      false
  """
  @spec clear(stack_id()) :: :ok | {:error, term()}
  def clear(stack_id), do: ShapeDb.reset(stack_id)
end
