defmodule ElectricShapeDb.Hostile.Arguments do
  @moduledoc """
  Arguments for the functions of `Native`: mostly of the kind that a function
  takes, so that calls get to the store, and now and then anything else.
  """

  import ElectricShapeDb.Samples

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native

  @kinds %{
    open: [:options],
    verified: [:store, :digests],
    not_verified: [:store, :bytes],
    promote: [:store, :ref],
    add: [:store, :handle, :bytes, :number, :oids, :flags, :body, :flag, :ticket, :flag],
    add_large: [:store, :handle, :bytes, :number, :oids, :flags, :body, :flag, :ticket, :flag],
    take_back: [:owed],
    remove: [:store, :handle, :ticket, :flag],
    mark: [:store, :handle, :snapshot, :ticket, :flag],
    note_unknown: [:store, :operation, :handle, :ticket],
    wait_for_room: [:store, :number, :ref],
    wait: [:store, :number, :ref],
    flush_to: [:store, :number],
    pause: [:store, :flag],
    handle_for: [:store, :bytes],
    handle_for_large: [:store, :bytes],
    shape: [:store, :handle],
    large_shape: [:store, :handle],
    ask_body: [:store, :handle, :flag, :ref],
    take_body: [:store, :owed],
    take_large_body: [:store, :owed],
    snapshot: [:store, :handle],
    handle_exists: [:store, :handle],
    unknown_handles: [:store, :handles],
    handles_for_relations: [:store, :oids],
    all_handles_for_relations: [:store, :oids],
    cursor: [:store],
    cursors: [:store, :number],
    next_meta: [:store, :cursor, :number],
    shapes_at_once: [:store, :cursor, :number],
    ask_shapes: [:store, :cursor, :number, :flag, :ref],
    take_shapes: [:store, :owed],
    pending_change: [:store, :handle],
    touch: [:store, :handle, :time],
    set_last_read: [:store, :handle, :time],
    validate: [:store, :handle, :number],
    validate_shape: [:store, :handle, :bytes],
    validate_large_shape: [:store, :handle, :bytes],
    meta: [:store, :handle],
    lookup: [:store, :bytes, :time],
    lookup_large: [:store, :bytes, :time],
    next_whole_meta: [:store, :cursor, :number],
    least_recently_used: [:store, :number, :time],
    mark_in_memory: [:store, :handle, :snapshot],
    set_flags: [:store, :handle, :flags, :ticket],
    set_many_flags: [:store, :flagged],
    count_by_flags: [:store, :flags, :flags],
    handles_by_flags: [:store, :flags, :flags],
    set_flags_version: [:store, :bytes],
    pending_body: [:store, :handle],
    pending_handle: [:store, :bytes],
    ask_reader: [:store, :ref],
    ask_writer: [:store, :ref],
    give_back: [:lease],
    execute: [:store, :slot, :sql],
    query: [:store, :slot, :sql, :binds, :number],
    admin_holder: [:file],
    admin_room: [:file],
    admin_open: [:file, :flag, :flag],
    admin_close: [:reader],
    admin_summary: [:reader],
    admin_rows: [:reader, :number],
    admin_check: [:file, :flag, :pid],
    admin_backup: [:file, :file, :flag, :pid],
    admin_restore: [:file, :file, :pid],
    admin_move: [:file, :file, :pid],
    admin_salvage: [:file, :file, :ids, :pid],
    admin_repair: [:file, :ids, :pid],
    admin_export: [:file, :file, :flag, :ids, :row_digests, :pid]
  }

  # What a call gave or sent, by its kind, as later calls take it.
  @made [:store, :ticket, :cursor, :lease, :slot, :owed, :reader]
  @kept 20

  @atoms [nil, true, false, :ok, :error, :sync, :buffered, :read, :write, :infinity, :undefined] ++
           [:storage_dir, :path, :started, :complete, Native, Electric.Shapes.Shape]
  @integers [0, 1, -1, 2, 255, 256, 65_535, 0x7FFFFFFF, 0x80000000, -0x80000000] ++
              [0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, -0x8000000000000000, 0xFFFFFFFFFFFFFFFF, 2 ** 100]
  @sql ["SELECT 1", "SELECT ?", "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK", "PRAGMA user_version"] ++
         ["SELECT * FROM shapes", "DELETE FROM bodies", "DROP TABLE meta", "nonsense", "", "\0"]

  @type pool :: %{atom() => [term()]}

  @doc "A pool with these stores; `dir` is for more of them."
  @spec pool([reference()], Path.t()) :: pool()
  def pool(stores, dir) do
    Map.merge(Map.from_keys(@made, []), %{store: stores, dir: [dir]})
  end

  @doc "Adds what a call gave to the pool, and forgets the oldest."
  @spec keep(pool(), atom(), term()) :: pool()
  def keep(pool, :open, {:ok, store}), do: put(pool, :store, store)
  def keep(pool, :cursor, cursor) when is_reference(cursor), do: put(pool, :cursor, cursor)
  def keep(pool, :admin_open, {:ok, reader}), do: put(pool, :reader, reader)

  def keep(pool, :wait_for_room, {:wait, ticket, owed}),
    do: pool |> put(:ticket, ticket) |> put(:owed, owed)

  def keep(pool, _ask, {:wait, owed}), do: put(pool, :owed, owed)
  def keep(pool, _ask, {:wait, owed, _at_once?}), do: put(pool, :owed, owed)

  def keep(pool, ask, owed) when ask in [:promote, :ask_body, :ask_shapes] and is_reference(owed),
    do: put(pool, :owed, owed)

  def keep(pool, :message, {_ref, {:ok, lease, slot}}),
    do: pool |> put(:lease, lease) |> put(:slot, slot)

  def keep(pool, _name, _result), do: pool

  defp put(pool, kind, value), do: Map.update!(pool, kind, &Enum.take([value | &1], @kept))

  @doc "Arguments for a call."
  @spec for_call(atom(), arity(), pool()) :: [term()]
  def for_call(name, arity, pool) do
    kinds = Map.get(@kinds, name, List.duplicate(:store, arity))
    # In one call of four, something is not as it should be.
    wrong = if :rand.uniform(4) == 1, do: 3, else: 1_000_000

    for kind <- kinds do
      if :rand.uniform(wrong) == 1, do: anything(pool), else: proper(kind, pool)
    end
  end

  defp proper(:ticket, %{ticket: tickets}), do: Enum.random([nil, nil, nil | tickets])
  defp proper(:slot, %{slot: slots}), do: Enum.random([0, 1 | slots])
  defp proper(kind, pool) when kind in @made, do: Enum.random(pool[kind] ++ [make_ref()])
  # Files that come and go, in the folder of this VM.
  defp proper(:file, _pool), do: "file-#{:rand.uniform(6)}.sqlite"
  defp proper(:pid, _pool), do: Enum.random([nil, self()])
  defp proper(:ids, _pool), do: some(fn -> :rand.uniform(40) end)
  defp proper(:ref, _pool), do: make_ref()
  defp proper(:handle, _pool), do: handle(:rand.uniform(40))
  defp proper(:handles, pool), do: some(fn -> proper(:handle, pool) end)
  defp proper(:bytes, _pool), do: :erlang.term_to_binary(shape(:rand.uniform(200)))
  defp proper(:body, pool), do: :bytes |> proper(pool) |> damaged(:rand.uniform(4))

  defp proper(:digests, _pool), do: some(fn -> Enum.random([nil, :rand.bytes(32), ""]) end)
  defp proper(:row_digests, _pool), do: some(fn -> {:rand.uniform(40), :rand.bytes(32)} end)
  defp proper(:number, _pool), do: Enum.random([0, 1, 2, 50, :rand.uniform(10_000)])
  defp proper(:oids, _pool), do: some(fn -> oid(:rand.uniform(20)) end)
  defp proper(:flags, _pool), do: :rand.uniform(256) - 1
  defp proper(:flagged, pool), do: some(fn -> {proper(:handle, pool), proper(:flags, pool)} end)
  defp proper(:time, _pool), do: Enum.random([nil, 0, System.monotonic_time() | @integers])
  defp proper(:flag, _pool), do: Enum.random([true, false])
  defp proper(:snapshot, _pool), do: Enum.random([:started, :complete])

  defp proper(:operation, _pool),
    do: Enum.random([:remove, :snapshot_started, :snapshot_complete])

  defp proper(:sql, _pool), do: Enum.random(@sql)
  defp proper(:binds, _pool), do: Enum.random([[], [], [1], [nil], ["a", 1.5, {:blob, "b"}]])

  defp proper(:options, %{dir: [dir]}),
    do: options(Enum.random([":memory:", Path.join(dir, "open")]))

  # A list parses what it finds in the file.
  defp damaged(bytes, 1) do
    {before, <<_byte, rest::binary>>} =
      :erlang.split_binary(bytes, :rand.uniform(byte_size(bytes)) - 1)

    <<before::binary, :rand.uniform(256) - 1, rest::binary>>
  end

  defp damaged(bytes, 2), do: binary_part(bytes, 0, :rand.uniform(byte_size(bytes)))
  defp damaged(bytes, _sound), do: bytes

  # As the owner of a store gives them.
  defp options(path) do
    sizes =
      ~w(cache_size read_pool_size connection_idle_timeout max_pending_ops max_pending_bytes)a

    sizes
    |> Map.new(&{&1, Enum.random([1, 10, 1_000, 1_000_000])})
    |> Map.merge(%{synchronous: Enum.random([:off, :normal, :full]), sources: []})
    |> Map.merge(%{keep_last_read_times: Enum.random([true, false]), clock: {0, 1_000_000_000}})
    |> Map.merge(%{external_checkpoint: Enum.random([true, false])})
    |> Map.merge(%{exclusive_mode: path == ":memory:", manual_flush_only: false, path: path})
  end

  defp some(fun), do: Enum.map(1..:rand.uniform(5), fn _ -> fun.() end)

  defp anything(pool) do
    case :rand.uniform(3) do
      1 -> pool |> Map.values() |> List.flatten() |> Enum.random()
      _ -> term(3)
    end
  end

  defp term(0), do: Enum.random(@integers)

  defp term(depth) do
    case :rand.uniform(15) do
      1 -> Enum.random(@integers)
      2 -> :rand.uniform(1_000)
      3 -> :rand.normal() * 1.0e10
      4 -> Enum.random(@atoms)
      5 -> :rand.bytes(:rand.uniform(64) - 1)
      6 -> :binary.copy(<<0>>, Enum.random([0, 1, 4_096, 1_000_000]))
      7 -> <<:rand.uniform(7)::3>>
      8 -> for _ <- 1..:rand.uniform(4), do: term(depth - 1)
      9 -> [term(depth - 1) | term(depth - 1)]
      10 -> List.to_tuple(for _ <- 1..:rand.uniform(5), do: term(depth - 1))
      11 -> %{term(depth - 1) => term(depth - 1)}
      12 -> {Enum.random(@atoms), term(depth - 1)}
      13 -> self()
      14 -> make_ref()
      15 -> Enum.random([[], %{}, {}, &Function.identity/1])
    end
  end
end
