defmodule Electric.ShapeCache.ShapeStatus.ShapeDb do
  @moduledoc """
  The metadata of a stack's shapes: which there are, under which handle, and
  whether their snapshots are done.

  An index in memory is the truth, and SQLite its copy, a moment behind. A change
  is seen by every lookup that starts after the change returned, and no lookup
  waits for the disk, but that of a shape's definition which is not in memory.

  A change is acknowledged once it is queued for SQLite, or once it is committed,
  as the stack's `durability` says; `add_shape/4`, `remove_shape/3` and the
  `mark_` functions take a `durability:` of their own. They wait when the queue is
  full, and give `{:error, :overloaded}` when there is no room in time.

  A function that has an error to return gives one when the stack is not running;
  the others raise `#{inspect(__MODULE__)}.Error`, which names the stack.

  In the examples `"my-stack"` runs and is empty, `shape(n)` is a shape of the host's, an
  `Electric.Shapes.Shape`, and `tmp(name)` a path in an empty folder. `ShapeDb` stands for
  `Electric.ShapeCache.ShapeStatus.ShapeDb`, and so do the names of its modules. Each of
  them is run by the tests.
  """

  import __MODULE__.Internal.Arguments, only: [is_timeout: 1]
  import __MODULE__.Internal.Shapes, only: [is_shape: 1]

  alias __MODULE__.Internal.Arguments
  alias __MODULE__.Internal.Borrowed
  alias __MODULE__.Internal.Definitions
  alias __MODULE__.Connection
  alias __MODULE__.Error
  alias __MODULE__.Internal.Native
  alias __MODULE__.Options
  alias __MODULE__.Internal.Shapes
  alias __MODULE__.Statistics
  alias __MODULE__.Internal.Stores
  alias __MODULE__.WriteBuffer
  alias __MODULE__.Internal.Writes

  @type stack_id :: String.t()
  @type handle :: String.t()
  @type shape :: Shapes.shape()
  @type relation :: {non_neg_integer(), {String.t(), String.t()}}
  @type durability :: {:durability, Options.durability()}
  @type durable :: [durability()]
  @type flags :: byte()

  @typedoc "All that is known of a shape, but for its definition."
  @type meta :: %{
          handle: handle(),
          hash: non_neg_integer(),
          snapshot_started?: boolean(),
          snapshot_complete?: boolean(),
          last_read_time: integer() | nil,
          flags: flags()
        }

  # Shapes whose metadata is handed over in one go, and handles that are looked up.
  @metas_at_once 500

  # On every request: each call counts against the timeslice of the process.
  @compile {:inline, answer: 3}

  # A comparable or body above this is hashed and copied on a dirty scheduler: 50 µs of
  # work are worth the 10 µs it takes to get there.
  @large 65_536
  # A list of more oids is as well.
  @many_oids 1_000

  defguardp is_stack_id(term) when is_binary(term)
  defguardp is_handle(term) when is_binary(term)

  # --- changes

  @doc """
  Adds a shape under a handle. Gives the host's hash of it.

  `{:error, :duplicate_handle}` when the handle is taken, and
  `{:error, {:duplicate_shape, handle}}` when an equal shape is there under
  another. Of several callers with one handle or one shape exactly one succeeds.

  `flags: 0..255` are the shape's flags; without them they are what the stack's option
  `flags` says, or 0.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> ShapeDb.add_shape("my-stack", shape(2), "1-1")
      {:error, :duplicate_handle}
      iex> ShapeDb.add_shape("my-stack", shape(1), "2-2", durability: :sync, flags: 1)
      {:error, {:duplicate_shape, "1-1"}}
  """
  @spec add_shape(stack_id(), shape(), handle(), [durability() | {:flags, flags()}]) ::
          {:ok, non_neg_integer()} | {:error, term()}
  def add_shape(stack_id, shape, handle, opts \\ [])

  def add_shape(stack_id, shape, handle, opts)
      when is_stack_id(stack_id) and is_shape(shape) and is_handle(handle) do
    {_bytes, hash} = comparable = Shapes.comparable(shape)

    with :ok <- WriteBuffer.add(stack_id, handle, shape, comparable, Shapes.oids(shape), opts) do
      {:ok, hash}
    end
  end

  def add_shape(stack_id, shape, handle, _opts),
    do: Arguments.refuse!(stack_id: stack_id, shape: shape, handle: handle)

  @doc """
  Removes a shape; `{:error, {:enoshape, handle}}` when there is none. No function
  gives the shape once this has returned.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> ShapeDb.remove_shape("my-stack", "1-1")
      :ok
      iex> ShapeDb.remove_shape("my-stack", "1-1")
      {:error, {:enoshape, "1-1"}}
  """
  @spec remove_shape(stack_id(), handle(), durable()) :: :ok | {:error, term()}
  def remove_shape(stack_id, handle, opts \\ [])

  def remove_shape(stack_id, handle, opts) when is_stack_id(stack_id) and is_handle(handle) do
    with {:error, :unknown} <-
           Writes.run(stack_id, {:remove, handle}, opts) do
      {:error, {:enoshape, handle}}
    end
  end

  def remove_shape(stack_id, handle, _opts),
    do: Arguments.refuse!(stack_id: stack_id, handle: handle)

  @doc """
  Notes that the first snapshot of a shape is being written; `:error` when there is none.

  With `persist: false` in memory alone, which costs SQLite nothing and is forgotten
  when the stack stops. What has to be known after a restart is whether it is complete.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> ShapeDb.mark_snapshot_started("my-stack", "1-1", persist: false)
      :ok
      iex> ShapeDb.mark_snapshot_started("my-stack", "2-2")
      :error
  """
  @spec mark_snapshot_started(stack_id(), handle(), [{:persist, boolean()} | durability()]) ::
          :ok | :error | {:error, term()}
  def mark_snapshot_started(stack_id, handle, opts \\ []) do
    case pop_persist(opts) do
      {true, opts} ->
        mark(stack_id, handle, :started, opts)

      {false, []} ->
        mark_in_memory(stack_id, handle, :started)

      {_persist, _opts} ->
        raise ArgumentError,
              "option :persist is true, or false and the only one, in #{inspect(opts)}"
    end
  end

  # What is no list of options is refused where the others are.
  defp pop_persist(opts) do
    if Keyword.keyword?(opts), do: Keyword.pop(opts, :persist, true), else: {true, opts}
  end

  defp mark_in_memory(stack_id, handle, snapshot)
       when is_stack_id(stack_id) and is_handle(handle) do
    case Native.mark_in_memory(stack_id, handle, snapshot) do
      {:error, :unknown} -> :error
      {:error, :closed} -> {:error, Stores.closed(stack_id)}
      done_or_refused -> done_or_refused
    end
  end

  defp mark_in_memory(stack_id, handle, _snapshot),
    do: Arguments.refuse!(stack_id: stack_id, handle: handle)

  @doc """
  Notes that the first snapshot of a shape is written; `:error` when there is none.
  It may come without `mark_snapshot_started/3`, and is not undone by it.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> ShapeDb.mark_snapshot_complete("my-stack", "1-1")
      :ok
      iex> ShapeDb.snapshot_started?("my-stack", "1-1")
      true
  """
  @spec mark_snapshot_complete(stack_id(), handle(), durable()) :: :ok | :error | {:error, term()}
  def mark_snapshot_complete(stack_id, handle, opts \\ []) do
    mark(stack_id, handle, :complete, opts)
  end

  defp mark(stack_id, handle, snapshot, opts) when is_stack_id(stack_id) and is_handle(handle) do
    with {:error, :unknown} <-
           Writes.run(stack_id, {:mark, handle, snapshot}, opts) do
      :error
    end
  end

  defp mark(stack_id, handle, _snapshot, _opts),
    do: Arguments.refuse!(stack_id: stack_id, handle: handle)

  @doc """
  Removes everything, and waits until SQLite has nothing.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> ShapeDb.reset("my-stack")
      :ok
      iex> ShapeDb.count_shapes("my-stack")
      {:ok, 0}
  """
  @spec reset(stack_id()) :: :ok | {:error, term()}
  def reset(stack_id) when is_stack_id(stack_id) do
    with {:ok, store} <- Stores.fetch(stack_id),
         :ok <- Borrowed.check(store, "the removal of everything"),
         {:ok, seq} <- as_writer(stack_id, store, &Native.reset/1) do
      flushed(store, seq)
    end
  end

  def reset(stack_id), do: Arguments.refuse!(stack_id: stack_id)

  @doc """
  Removes every shape whose snapshot is not complete, and counts the rest. Gives
  the removed handles, sorted.

  Makes this store the writer of its file first, with all that another instance
  wrote there, and returns when the removals are in SQLite.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(2), "2-2")
      iex> :ok = ShapeDb.mark_snapshot_complete("my-stack", "2-2")
      iex> ShapeDb.validate_existing_shapes("my-stack")
      {:ok, ["1-1"], 1}
  """
  @spec validate_existing_shapes(stack_id()) ::
          {:ok, [handle()], non_neg_integer()} | {:error, term()}
  def validate_existing_shapes(stack_id) when is_stack_id(stack_id) do
    with {:ok, store} <- Stores.fetch(stack_id),
         :ok <- promote(stack_id, store),
         {:ok, removed, seq} <- as_writer(stack_id, store, &Native.remove_incomplete/1),
         :ok <- flushed(store, seq),
         {:ok, count} <- count_shapes(stack_id) do
      {:ok, removed, count}
    end
  end

  def validate_existing_shapes(stack_id), do: Arguments.refuse!(stack_id: stack_id)

  # --- lookups

  @doc """
  The handle of the shape that is equal to this one.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> ShapeDb.handle_for_shape("my-stack", shape(1))
      {:ok, "1-1"}
      iex> ShapeDb.handle_for_shape("my-stack", shape(2))
      :error
  """
  @spec handle_for_shape(stack_id(), shape()) :: {:ok, handle()} | :error
  def handle_for_shape(stack_id, shape) when is_stack_id(stack_id) and is_shape(shape) do
    {comparable, _hash} = Shapes.comparable(shape)
    answer(handle_for(stack_id, comparable), stack_id, :handle_for_shape)
  end

  def handle_for_shape(stack_id, shape),
    do: Arguments.refuse!(stack_id: stack_id, shape: shape)

  defp handle_for(stack_id, comparable) when byte_size(comparable) <= @large,
    do: Native.handle_for(stack_id, comparable)

  defp handle_for(stack_id, comparable), do: Native.handle_for_large(stack_id, comparable)

  @doc """
  As `handle_for_shape/2`, which sees every finished `add_shape/4` too. It waits
  for nothing, so `timeout` is there for callers only.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> ShapeDb.handle_for_shape_critical("my-stack", shape(1), 5_000)
      {:ok, "1-1"}
  """
  @spec handle_for_shape_critical(stack_id(), shape(), timeout()) :: {:ok, handle()} | :error
  def handle_for_shape_critical(stack_id, shape, timeout \\ 10_000)

  def handle_for_shape_critical(stack_id, shape, timeout) when is_timeout(timeout),
    do: handle_for_shape(stack_id, shape)

  def handle_for_shape_critical(stack_id, shape, timeout),
    do: Arguments.refuse!(stack_id: stack_id, shape: shape, timeout: timeout)

  @doc """
  The shape that has this handle.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> {:ok, found} = ShapeDb.shape_for_handle("my-stack", "1-1")
      iex> found == shape(1)
      true
      iex> ShapeDb.shape_for_handle("my-stack", "2-2")
      :error
  """
  @spec shape_for_handle(stack_id(), handle()) :: {:ok, shape()} | :error
  def shape_for_handle(stack_id, handle) when is_stack_id(stack_id) and is_handle(handle) do
    Definitions.shape(stack_id, handle)
  end

  def shape_for_handle(stack_id, handle),
    do: Arguments.refuse!(stack_id: stack_id, handle: handle)

  @doc """
  Whether a shape has this handle.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> {ShapeDb.handle_exists?("my-stack", "1-1"), ShapeDb.handle_exists?("my-stack", "2-2")}
      {true, false}
  """
  @spec handle_exists?(stack_id(), handle()) :: boolean()
  def handle_exists?(stack_id, handle) when is_stack_id(stack_id) and is_handle(handle) do
    answer(Native.handle_exists(stack_id, handle), stack_id, :handle_exists?)
  end

  def handle_exists?(stack_id, handle),
    do: Arguments.refuse!(stack_id: stack_id, handle: handle)

  @doc """
  Whether the first snapshot of a shape is being written, or is.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> ShapeDb.snapshot_started?("my-stack", "1-1")
      false
      iex> :ok = ShapeDb.mark_snapshot_started("my-stack", "1-1")
      iex> ShapeDb.snapshot_started?("my-stack", "1-1")
      true
  """
  @spec snapshot_started?(stack_id(), handle()) :: boolean()
  def snapshot_started?(stack_id, handle) when is_stack_id(stack_id) and is_handle(handle) do
    answer(Native.snapshot(stack_id, handle), stack_id, :snapshot_started?) in [
      :started,
      :complete
    ]
  end

  def snapshot_started?(stack_id, handle),
    do: Arguments.refuse!(stack_id: stack_id, handle: handle)

  @doc """
  Whether the first snapshot of a shape is written.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> :ok = ShapeDb.mark_snapshot_started("my-stack", "1-1")
      iex> ShapeDb.snapshot_complete?("my-stack", "1-1")
      false
      iex> :ok = ShapeDb.mark_snapshot_complete("my-stack", "1-1")
      iex> ShapeDb.snapshot_complete?("my-stack", "1-1")
      true
  """
  @spec snapshot_complete?(stack_id(), handle()) :: boolean()
  def snapshot_complete?(stack_id, handle) when is_stack_id(stack_id) and is_handle(handle) do
    answer(Native.snapshot(stack_id, handle), stack_id, :snapshot_complete?) == :complete
  end

  def snapshot_complete?(stack_id, handle),
    do: Arguments.refuse!(stack_id: stack_id, handle: handle)

  # --- what a request asks of a shape, and leaves there

  @doc """
  As `handle_exists?/2`; false when the stack is not running.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> ShapeDb.has_shape_handle?("my-stack", "1-1")
      true
      iex> ShapeDb.has_shape_handle?("not-running", "1-1")
      false
  """
  @spec has_shape_handle?(stack_id(), handle()) :: boolean()
  def has_shape_handle?(stack_id, handle) when is_stack_id(stack_id) and is_handle(handle) do
    Native.handle_exists(stack_id, handle) == true
  end

  def has_shape_handle?(stack_id, handle),
    do: Arguments.refuse!(stack_id: stack_id, handle: handle)

  @doc """
  Whether the shape that has this handle is the one with this hash, as the host computes
  it, or is equal to this one. `:error` also when there is none.

      iex> {:ok, hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> ShapeDb.validate_shape_handle("my-stack", "1-1", hash)
      :ok
      iex> ShapeDb.validate_shape_handle("my-stack", "1-1", shape(2))
      :error
  """
  @spec validate_shape_handle(stack_id(), handle(), non_neg_integer() | shape()) :: :ok | :error
  def validate_shape_handle(stack_id, handle, hash)
      when is_stack_id(stack_id) and is_handle(handle) and hash in 0..0xFFFFFFFF do
    ok_or_error(Native.validate(stack_id, handle, hash))
  end

  def validate_shape_handle(stack_id, handle, shape)
      when is_stack_id(stack_id) and is_handle(handle) and is_shape(shape) do
    {comparable, _hash} = Shapes.comparable(shape)
    ok_or_error(validate_shape(stack_id, handle, comparable))
  end

  def validate_shape_handle(stack_id, handle, hash_or_shape),
    do: Arguments.refuse!(stack_id: stack_id, handle: handle, hash_or_shape: hash_or_shape)

  defp validate_shape(stack_id, handle, comparable) when byte_size(comparable) <= @large,
    do: Native.validate_shape(stack_id, handle, comparable)

  defp validate_shape(stack_id, handle, comparable),
    do: Native.validate_large_shape(stack_id, handle, comparable)

  defp ok_or_error(:ok), do: :ok
  defp ok_or_error(_error_or_unreadable), do: :error

  @doc """
  All that a request for a shape needs, in one call. With `touch: true` the shape was
  read now, which `last_read_time` then says.

      iex> {:ok, hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1", flags: 2)
      iex> {:ok, meta} = ShapeDb.lookup("my-stack", shape(1), touch: true)
      iex> {meta.handle, meta.hash == hash, meta.snapshot_started?, meta.flags}
      {"1-1", true, false, 2}
      iex> ShapeDb.shape_has_been_activated?("my-stack", "1-1")
      true
      iex> ShapeDb.lookup("my-stack", shape(2))
      :error
  """
  @spec lookup(stack_id(), shape(), touch: boolean()) :: {:ok, meta()} | :error
  def lookup(stack_id, shape, opts \\ [])

  def lookup(stack_id, shape, opts) when is_stack_id(stack_id) and is_shape(shape) do
    now = if touch?(opts), do: :erlang.monotonic_time()

    {comparable, _hash} = Shapes.comparable(shape)

    case lookup_comparable(stack_id, comparable, now) do
      {_, _, _, _, _} = meta -> {:ok, meta(meta)}
      _none_or_unreadable -> :error
    end
  end

  def lookup(stack_id, shape, _opts),
    do: Arguments.refuse!(stack_id: stack_id, shape: shape)

  defp lookup_comparable(stack_id, comparable, now) when byte_size(comparable) <= @large,
    do: Native.lookup(stack_id, comparable, now)

  defp lookup_comparable(stack_id, comparable, now),
    do: Native.lookup_large(stack_id, comparable, now)

  defp touch?([]), do: false
  defp touch?(touch: touch) when is_boolean(touch), do: touch

  defp touch?(other) do
    raise ArgumentError, "the one option is :touch, true or false, not #{inspect(other)}"
  end

  defp meta({handle, hash, snapshot, last_read_time, flags}) do
    %{
      handle: handle,
      hash: hash,
      snapshot_started?: snapshot != :none,
      snapshot_complete?: snapshot == :complete,
      last_read_time: last_read_time,
      flags: flags
    }
  end

  @doc """
  Notes that a shape was read now; false when there is none.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> {ShapeDb.touch("my-stack", "1-1"), ShapeDb.touch("my-stack", "2-2")}
      {true, false}
  """
  @spec touch(stack_id(), handle()) :: boolean()
  def touch(stack_id, handle) when is_stack_id(stack_id) and is_handle(handle) do
    Native.touch(stack_id, handle, :erlang.monotonic_time())
  end

  def touch(stack_id, handle), do: Arguments.refuse!(stack_id: stack_id, handle: handle)

  @doc """
  Says when a shape was last read, in native monotonic time, be it earlier or later than
  what was known; false when there is none.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> an_hour_ago = System.monotonic_time() - System.convert_time_unit(3600, :second, :native)
      iex> ShapeDb.update_last_read_time("my-stack", "1-1", an_hour_ago)
      true
      iex> ShapeDb.last_read_time("my-stack", "1-1") == an_hour_ago
      true
  """
  @spec update_last_read_time(stack_id(), handle(), integer()) :: boolean()
  def update_last_read_time(stack_id, handle, monotonic_native)
      when is_stack_id(stack_id) and is_handle(handle) and is_integer(monotonic_native) and
             monotonic_native in -0x8000000000000000..0x7FFFFFFFFFFFFFFF do
    Native.set_last_read(stack_id, handle, monotonic_native)
  end

  def update_last_read_time(stack_id, handle, time),
    do: Arguments.refuse!(stack_id: stack_id, handle: handle, monotonic_native: time)

  @doc """
  When a shape was last read, in native monotonic time. `nil` until it is read for the
  first time, and when there is none. A shape that was there when the store opened, or
  that came with another instance, was read then.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> ShapeDb.last_read_time("my-stack", "1-1")
      nil
      iex> true = ShapeDb.touch("my-stack", "1-1")
      iex> ShapeDb.last_read_time("my-stack", "1-1") <= System.monotonic_time()
      true
  """
  @spec last_read_time(stack_id(), handle()) :: integer() | nil
  def last_read_time(stack_id, handle), do: of_meta(stack_id, handle, 3)

  @doc """
  Whether a shape was ever read; see `last_read_time/2`.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> ShapeDb.shape_has_been_activated?("my-stack", "1-1")
      false
      iex> true = ShapeDb.touch("my-stack", "1-1")
      iex> ShapeDb.shape_has_been_activated?("my-stack", "1-1")
      true
  """
  @spec shape_has_been_activated?(stack_id(), handle()) :: boolean()
  def shape_has_been_activated?(stack_id, handle), do: last_read_time(stack_id, handle) != nil

  @doc """
  The handles of the `n` shapes that were read longest ago, least recent first, by handle
  where that is the same time, and the minutes since the last of these was read. Shapes
  that were never read are left out. `{[], 0}` when there are none.

  The answer is that of one moment, however many shapes are read meanwhile; one that is
  removed meanwhile may be left out. It looks at all shapes, on a dirty scheduler.

      iex> for n <- 1..3, do: {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(n), to_string(n))
      iex> for handle <- ["2", "1"], do: true = ShapeDb.touch("my-stack", handle)
      iex> {handles, minutes} = ShapeDb.least_recently_used("my-stack", 10)
      iex> {handles, minutes < 1}
      {["2", "1"], true}
  """
  @spec least_recently_used(stack_id(), non_neg_integer()) :: {[handle()], number()}
  def least_recently_used(stack_id, n)
      when is_stack_id(stack_id) and is_integer(n) and n >= 0 do
    now = System.monotonic_time()

    case Native.least_recently_used(stack_id, min(n, 0xFFFFFFFF), now) do
      {[_ | _] = handles, last_read} ->
        # It may have been read after we looked at the clock.
        {handles, max(now - last_read, 0) / System.convert_time_unit(60, :second, :native)}

      _none_or_unreadable ->
        {[], 0}
    end
  end

  def least_recently_used(stack_id, n), do: Arguments.refuse!(stack_id: stack_id, n: n)

  # --- flags

  @doc """
  The flags of a shape, eight bits that are the host's; `nil` when there is none.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1", flags: 5)
      iex> {ShapeDb.flags("my-stack", "1-1"), ShapeDb.flags("my-stack", "2-2")}
      {5, nil}
  """
  @spec flags(stack_id(), handle()) :: flags() | nil
  def flags(stack_id, handle), do: of_meta(stack_id, handle, 4)

  defp of_meta(stack_id, handle, element) when is_stack_id(stack_id) and is_handle(handle) do
    case Native.meta(stack_id, handle) do
      {_, _, _, _, _} = meta -> elem(meta, element)
      _none_or_unreadable -> nil
    end
  end

  defp of_meta(stack_id, handle, _element),
    do: Arguments.refuse!(stack_id: stack_id, handle: handle)

  @doc """
  Sets all flags of a shape; `:error` when there is none.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> ShapeDb.set_flags("my-stack", "1-1", 3)
      :ok
      iex> ShapeDb.set_flags("my-stack", "2-2", 3)
      :error
  """
  @spec set_flags(stack_id(), handle(), flags(), durable()) :: :ok | :error | {:error, term()}
  def set_flags(stack_id, handle, flags, opts \\ [])

  def set_flags(stack_id, handle, flags, opts)
      when is_stack_id(stack_id) and is_handle(handle) and flags in 0..255 do
    with {:error, :unknown} <-
           Writes.run(stack_id, {:set_flags, handle, flags}, opts) do
      :error
    end
  end

  def set_flags(stack_id, handle, flags, _opts),
    do: Arguments.refuse!(stack_id: stack_id, handle: handle, flags: flags)

  @doc """
  How many shapes have flags that are `value` under `mask`. For a mask of one bit a look
  at a counter, and not much more for others. 0 when the stack is not running.

      iex> for n <- 1..3, do: {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(n), to_string(n), flags: n)
      iex> ShapeDb.count_by_flags("my-stack", 1, 1)
      2
      iex> ShapeDb.count_by_flags("my-stack", 3, 2)
      1
  """
  @spec count_by_flags(stack_id(), flags(), flags()) :: non_neg_integer()
  def count_by_flags(stack_id, mask, value)
      when is_stack_id(stack_id) and mask in 0..255 and value in 0..255 do
    case Native.count_by_flags(stack_id, mask, value) do
      count when is_integer(count) -> count
      _unreadable -> 0
    end
  end

  def count_by_flags(stack_id, mask, value),
    do: Arguments.refuse!(stack_id: stack_id, mask: mask, value: value)

  @doc """
  The handles of these shapes, sorted. Looks at all, on a dirty scheduler.

      iex> for n <- 1..3, do: {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(n), to_string(n), flags: n)
      iex> ShapeDb.handles_by_flags("my-stack", 1, 1)
      ["1", "3"]
  """
  @spec handles_by_flags(stack_id(), flags(), flags()) :: [handle()]
  def handles_by_flags(stack_id, mask, value)
      when is_stack_id(stack_id) and mask in 0..255 and value in 0..255 do
    case Native.handles_by_flags(stack_id, mask, value) do
      handles when is_list(handles) -> handles
      _unreadable -> []
    end
  end

  def handles_by_flags(stack_id, mask, value),
    do: Arguments.refuse!(stack_id: stack_id, mask: mask, value: value)

  # --- counting

  @doc """
  How many shapes there are.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> ShapeDb.count_shapes("my-stack")
      {:ok, 1}
  """
  @spec count_shapes(stack_id()) :: {:ok, non_neg_integer()} | {:error, term()}
  def count_shapes(stack_id) when is_stack_id(stack_id) do
    case Native.count(stack_id) do
      count when is_integer(count) -> {:ok, count}
      _unreadable -> {:error, Stores.not_running(stack_id)}
    end
  end

  def count_shapes(stack_id), do: Arguments.refuse!(stack_id: stack_id)

  @doc """
  As `count_shapes/1` without the tuple; `:error` when the stack is not running.

      iex> {ShapeDb.count_shapes!("my-stack"), ShapeDb.count_shapes!("not-running")}
      {0, :error}
  """
  @spec count_shapes!(stack_id()) :: non_neg_integer() | :error
  def count_shapes!(stack_id) do
    case count_shapes(stack_id) do
      {:ok, count} -> count
      {:error, _reason} -> :error
    end
  end

  @doc """
  The handles of all shapes that read one of these relations, sorted, each once.
  Only the oid of a relation matters.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> relations = Electric.Shapes.Shape.list_relations(shape(1))
      iex> ShapeDb.shape_handles_for_relations("my-stack", relations)
      {:ok, ["1-1"]}
  """
  @spec shape_handles_for_relations(stack_id(), [relation()]) ::
          {:ok, [handle()]} | {:error, term()}
  def shape_handles_for_relations(stack_id, relations)
      when is_stack_id(stack_id) and is_list(relations) do
    case handles_of(stack_id, Shapes.oids_of(relations)) do
      handles when is_list(handles) -> {:ok, handles}
      _unreadable -> {:error, Stores.not_running(stack_id)}
    end
  end

  def shape_handles_for_relations(stack_id, relations),
    do: Arguments.refuse!(stack_id: stack_id, relations: relations)

  # Too many are not for a scheduler that others need.
  defp handles_of(stack_id, oids) do
    with true <- length(oids) <= @many_oids,
         handles when handles != :many <- Native.handles_for_relations(stack_id, oids) do
      handles
    else
      _many -> Native.all_handles_for_relations(stack_id, oids)
    end
  end

  @doc """
  As `shape_handles_for_relations/2` without the tuple, raising the error.

      iex> ShapeDb.shape_handles_for_relations!("my-stack", [{1, {"public", "no_such_table"}}])
      []
  """
  @spec shape_handles_for_relations!(stack_id(), [relation()]) :: [handle()]
  def shape_handles_for_relations!(stack_id, relations) do
    stack_id
    |> shape_handles_for_relations(relations)
    |> ok!(:shape_handles_for_relations)
  end

  @doc """
  Which of these handles no shape has, in the order given.

  For a host that looks through the folders of its storage after a crash: what the
  store does not know was never acknowledged as durable, or was removed. Takes any
  enumerable, some handles at a time. A shape that is added in the meantime may
  still be among the unknown: ask before the stack takes requests.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> ShapeDb.unknown_handles("my-stack", ["3-3", "1-1", "2-2"])
      ["3-3", "2-2"]
  """
  @spec unknown_handles(stack_id(), Enumerable.t()) :: [handle()] | {:error, term()}
  def unknown_handles(stack_id, handles) do
    # Checked before the first handle is taken.
    if not is_stack_id(stack_id) or Enumerable.impl_for(handles) == nil,
      do: Arguments.refuse!(stack_id: stack_id, handles: handles)

    with {:ok, store} <- Stores.fetch(stack_id) do
      handles
      |> Stream.each(&if not is_handle(&1), do: Arguments.refuse!(handle: &1))
      |> Stream.chunk_every(@metas_at_once)
      |> Enum.flat_map(&answer(Native.unknown_handles(store, &1), stack_id, :unknown_handles))
    end
  rescue
    error in Error -> {:error, error.reason}
  end

  # --- listing

  @doc """
  All shapes there were at the call and are still there, sorted by handle.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> {:ok, [{handle, listed}]} = ShapeDb.list_shapes("my-stack")
      iex> {handle, listed == shape(1)}
      {"1-1", true}
  """
  @spec list_shapes(stack_id()) :: {:ok, [{handle(), shape()}]} | {:error, term()}
  def list_shapes(stack_id) when is_stack_id(stack_id) do
    # Read in the order of the file, in which each page of it is read once.
    {:ok, Native.sort_shapes(Definitions.fold(stack_id, :list_shapes, [], &[&1 | &2]))}
  rescue
    error in Error -> {:error, error.reason}
  end

  def list_shapes(stack_id), do: Arguments.refuse!(stack_id: stack_id)

  @doc """
  As `list_shapes/1` without the tuple, raising the error.

      iex> ShapeDb.list_shapes!("my-stack")
      []
  """
  @spec list_shapes!(stack_id()) :: [{handle(), shape()}]
  def list_shapes!(stack_id), do: stack_id |> list_shapes() |> ok!(:list_shapes)

  @doc """
  Folds over all shapes there were at the call and are still there when their turn
  comes, in no order, some at a time.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> ShapeDb.reduce_shapes("my-stack", [], fn {_handle, shape}, acc -> [shape.root_table | acc] end)
      [{"public", "items"}]
  """
  @spec reduce_shapes(stack_id(), acc, ({handle(), shape()}, acc -> acc)) :: acc when acc: term()
  def reduce_shapes(stack_id, acc, fun) when is_stack_id(stack_id) and is_function(fun, 2) do
    Definitions.fold(stack_id, :reduce_shapes, acc, fun)
  end

  def reduce_shapes(stack_id, _acc, fun),
    do: Arguments.refuse!(stack_id: stack_id, reducer: fun)

  @doc """
  As `reduce_shapes/3`, over `{handle, hash, snapshot_complete?}`, without reading shapes.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> ShapeDb.reduce_shape_meta("my-stack", 0, fn
      ...>   {_handle, _hash, true}, done -> done + 1
      ...>   {_handle, _hash, false}, done -> done
      ...> end)
      0
  """
  @spec reduce_shape_meta(stack_id(), acc, ({handle(), non_neg_integer(), boolean()}, acc -> acc)) ::
          acc
        when acc: term()
  def reduce_shape_meta(stack_id, acc, fun) when is_stack_id(stack_id) and is_function(fun, 2) do
    store = Stores.fetch!(stack_id, :reduce_shape_meta)
    cursor = answer(Native.cursor(store), stack_id, :reduce_shape_meta)
    fold_meta(store, cursor, stack_id, acc, fun)
  end

  def reduce_shape_meta(stack_id, _acc, fun),
    do: Arguments.refuse!(stack_id: stack_id, reducer: fun)

  defp fold_meta(store, cursor, stack_id, acc, fun) do
    case answer(Native.next_meta(store, cursor, @metas_at_once), stack_id, :reduce_shape_meta) do
      :done -> acc
      metas -> fold_meta(store, cursor, stack_id, :lists.foldl(fun, acc, metas), fun)
    end
  end

  @doc """
  As `reduce_shape_meta/3`, over all that is known of each shape, as `lookup/3` gives it.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1", flags: 4)
      iex> ShapeDb.reduce_meta("my-stack", %{}, &Map.put(&2, &1.handle, &1.flags))
      %{"1-1" => 4}
  """
  @spec reduce_meta(stack_id(), acc, (meta(), acc -> acc)) :: acc when acc: term()
  def reduce_meta(stack_id, acc, fun) when is_stack_id(stack_id) and is_function(fun, 2) do
    store = Stores.fetch!(stack_id, :reduce_meta)
    cursor = answer(Native.cursor(store), stack_id, :reduce_meta)
    fold_whole_meta(store, cursor, acc, fun)
  end

  def reduce_meta(stack_id, _acc, fun),
    do: Arguments.refuse!(stack_id: stack_id, reducer: fun)

  defp fold_whole_meta(store, cursor, acc, fun) do
    case Native.next_whole_meta(store, cursor, @metas_at_once) do
      :done ->
        acc

      metas ->
        acc = Enum.reduce(metas, acc, fn meta, acc -> fun.(meta(meta), acc) end)
        fold_whole_meta(store, cursor, acc, fun)
    end
  end

  # --- the store itself

  @doc """
  Operations not yet in SQLite; 0 when the stack is not running.

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1", durability: :sync)
      iex> ShapeDb.pending_buffer_size("my-stack")
      0
  """
  @spec pending_buffer_size(stack_id()) :: non_neg_integer()
  def pending_buffer_size(stack_id) when is_stack_id(stack_id) do
    WriteBuffer.pending_operations_count(stack_id)
  end

  def pending_buffer_size(stack_id), do: Arguments.refuse!(stack_id: stack_id)

  @doc """
  The numbers of the store; see `#{inspect(__MODULE__)}.Statistics`.

      iex> {:ok, statistics} = ShapeDb.statistics("my-stack")
      iex> {statistics.shapes, statistics.faults}
      {0, 0}
  """
  @spec statistics(stack_id()) :: {:ok, %{atom() => number()}} | {:error, term()}
  def statistics(stack_id) when is_stack_id(stack_id), do: Statistics.current(stack_id)
  def statistics(stack_id), do: Arguments.refuse!(stack_id: stack_id)

  @doc """
  Prints the query plan of every statement of the store.

      iex> ExUnit.CaptureIO.capture_io(fn -> :ok = ShapeDb.explain("my-stack") end) =~ "SEARCH"
      true
  """
  @spec explain(stack_id()) :: :ok
  def explain(stack_id), do: Connection.explain(stack_id)

  # --- helpers

  # What must be written by the writer of the file, which a standby becomes.
  defp as_writer(stack_id, store, change) do
    with {:error, :standby} <- change.(store),
         :ok <- promote(stack_id, store) do
      change.(store)
    else
      {:error, :closed} -> {:error, Stores.closed(stack_id)}
      done_or_refused -> done_or_refused
    end
  end

  defp promote(stack_id, store) do
    case Stores.get(stack_id) do
      {^store, options, _about} -> Writes.promote(stack_id, store, options)
      _another_or_none -> {:error, Stores.not_running(stack_id)}
    end
  end

  defp flushed(store, seq) do
    case Writes.await_commit(store, seq, :infinity) do
      :durable -> :ok
      reason -> {:error, {:not_durable, reason}}
    end
  end

  defp answer(unreadable, stack_id, action) when unreadable in [:closed, :opening, :poisoned] do
    raise Error, action: action, error: Stores.not_running(stack_id)
  end

  defp answer(answer, _stack_id, _action), do: answer

  defp ok!({:ok, result}, _action), do: result
  defp ok!({:error, reason}, action), do: raise(Error, action: action, error: reason)
end
