defmodule Bench.Peer.ShapeDb do
  @moduledoc """
  The function contract of the replaced `ShapeDb` over the buffer and SQLite.

  A read asks the buffer first, then SQLite, and then the buffer again: a shape
  whose removal is still buffered has a tombstone there, which wins over its row.
  """

  alias Bench.Peer.{Buffer, Pool, Query, Stack, WriteBuffer}
  alias Electric.Shapes.Shape

  @type handle :: binary()

  @spec add_shape(String.t(), term(), handle()) :: {:ok, non_neg_integer()} | {:error, term()}
  def add_shape(stack_id, shape, handle) do
    {comparable, hash} = Shape.comparable_hash(shape)
    relations = Shape.list_relations(shape)

    with :ok <- Buffer.add(Stack.get(stack_id), handle, shape, comparable, hash, relations) do
      {:ok, hash}
    end
  end

  @spec remove_shape(String.t(), handle()) :: :ok | {:error, {:enoshape, handle()}}
  def remove_shape(stack_id, handle) do
    if handle_exists?(stack_id, handle) do
      Buffer.remove(Stack.get(stack_id), handle)
    else
      {:error, {:enoshape, handle}}
    end
  end

  @doc "Schema 4 has no column for this, so knowing the handle is all there is to it."
  @spec mark_snapshot_started(String.t(), handle()) :: :ok | :error
  def mark_snapshot_started(stack_id, handle) do
    if handle_exists?(stack_id, handle), do: :ok, else: :error
  end

  @spec mark_snapshot_complete(String.t(), handle()) :: :ok | :error
  def mark_snapshot_complete(stack_id, handle) do
    if handle_exists?(stack_id, handle) do
      Buffer.complete_snapshot(Stack.get(stack_id), handle)
    else
      :error
    end
  end

  @spec snapshot_complete?(String.t(), handle()) :: boolean()
  def snapshot_complete?(stack_id, handle) do
    stack = Stack.get(stack_id)

    cond do
      Buffer.tombstoned?(stack, handle) -> false
      Buffer.snapshot_complete?(stack, handle) -> true
      true -> read(stack, :snapshot_complete, [handle]) == [[1]] and live?(stack, handle)
    end
  end

  @spec handle_for_shape(String.t(), term()) :: {:ok, handle()} | :error
  def handle_for_shape(stack_id, shape) do
    stack = Stack.get(stack_id)
    find_handle(stack, stack.readers, shape)
  end

  @doc "The same on the write connection, behind every commit that is under way."
  @spec handle_for_shape_critical(String.t(), term(), timeout()) :: {:ok, handle()} | :error
  def handle_for_shape_critical(stack_id, shape, _timeout \\ 10_000) do
    stack = Stack.get(stack_id)
    find_handle(stack, stack.writer, shape)
  end

  defp find_handle(stack, pool, shape) do
    {comparable, _hash} = Shape.comparable_hash(shape)

    with :not_found <- Buffer.lookup_handle(stack, comparable) do
      digest = WriteBuffer.digest(comparable)

      case Pool.run(pool, &Query.rows!(&1, :handle_for_comparable, [digest])) do
        [[handle]] -> if live?(stack, handle), do: {:ok, handle}, else: :error
        [] -> :error
      end
    end
  end

  @spec shape_for_handle(String.t(), handle()) :: {:ok, term()} | :error
  def shape_for_handle(stack_id, handle) do
    stack = Stack.get(stack_id)

    with :not_found <- Buffer.lookup_shape(stack, handle) do
      case read(stack, :shape_for_handle, [handle]) do
        [[body]] -> if live?(stack, handle), do: {:ok, :erlang.binary_to_term(body)}, else: :error
        [] -> :error
      end
    end
  end

  @spec handle_exists?(String.t(), handle()) :: boolean()
  def handle_exists?(stack_id, handle) do
    stack = Stack.get(stack_id)

    with :unknown <- Buffer.has_handle?(stack, handle) do
      read(stack, :handle_exists, [handle]) != [] and live?(stack, handle)
    end
  end

  @spec list_shapes(String.t()) :: {:ok, [{handle(), term()}]}
  def list_shapes(stack_id) do
    stack = Stack.get(stack_id)
    buffered = for {handle, shape, _hash} <- Buffer.shapes(stack), do: {handle, shape}
    rows = read(stack, :all_shapes)
    tombstones = Buffer.tombstones(stack)

    stored =
      for [handle, body] <- rows, handle not in tombstones do
        {handle, :erlang.binary_to_term(body)}
      end

    {:ok, merge(stored, buffered)}
  end

  @spec reduce_shapes(String.t(), acc, ({handle(), term()}, acc -> acc)) :: acc when acc: term()
  def reduce_shapes(stack_id, acc, fun) do
    {:ok, shapes} = list_shapes(stack_id)
    Enum.reduce(shapes, acc, fun)
  end

  @spec reduce_shape_meta(String.t(), acc, ({handle(), non_neg_integer(), boolean()}, acc -> acc)) ::
          acc
        when acc: term()
  def reduce_shape_meta(stack_id, acc, fun) do
    stack = Stack.get(stack_id)

    buffered =
      for {handle, _shape, hash} <- Buffer.shapes(stack), into: %{} do
        {handle, hash}
      end

    rows = read(stack, :all_meta)
    tombstones = Buffer.tombstones(stack)

    acc =
      for [handle, hash, complete] <- rows,
          not is_map_key(buffered, handle),
          handle not in tombstones,
          reduce: acc do
        acc ->
          fun.({handle, hash, complete == 1 or Buffer.snapshot_complete?(stack, handle)}, acc)
      end

    for {handle, hash} <- buffered, reduce: acc do
      acc -> fun.({handle, hash, Buffer.snapshot_complete?(stack, handle)}, acc)
    end
  end

  @spec shape_handles_for_relations(String.t(), [{non_neg_integer(), term()}]) ::
          {:ok, [handle()]}
  def shape_handles_for_relations(_stack_id, []), do: {:ok, []}

  def shape_handles_for_relations(stack_id, relations) do
    stack = Stack.get(stack_id)
    oids = for {oid, _relation} <- relations, uniq: true, do: oid
    buffered = Buffer.handles_for_oids(stack, oids)

    rows =
      Pool.run(stack.readers, fn connection ->
        Enum.map(oids, &Query.rows!(connection, :handles_for_oid, [&1]))
      end)

    tombstones = Buffer.tombstones(stack)

    stored =
      for table <- rows do
        for [handle] <- table, handle not in tombstones, do: handle
      end

    {:ok, :lists.umerge([Enum.sort(buffered) | stored])}
  end

  @spec count_shapes(String.t()) :: {:ok, non_neg_integer()}
  def count_shapes(stack_id) do
    stack = Stack.get(stack_id)
    [[count]] = read(stack, :count)
    {:ok, count + Buffer.count_diff(stack)}
  end

  @spec validate_existing_shapes(String.t()) :: {:ok, [handle()], non_neg_integer()}
  def validate_existing_shapes(stack_id) do
    stack = Stack.get(stack_id)
    incomplete = fn -> for [handle] <- read(stack, :incomplete_handles), do: handle end
    flush_sync(stack_id)
    removed = incomplete.()
    Enum.each(removed, &Buffer.remove(stack, &1))
    flush_sync(stack_id)
    {:ok, count} = count_shapes(stack_id)
    {:ok, removed, count}
  end

  @spec flush_sync(String.t()) :: :ok
  def flush_sync(stack_id), do: WriteBuffer.flush_sync(stack_id, :infinity)

  @spec pending_buffer_size(String.t()) :: non_neg_integer()
  def pending_buffer_size(stack_id), do: Buffer.pending(Stack.get(stack_id))

  defp read(stack, statement, binds \\ []) do
    Pool.run(stack.readers, &Query.rows!(&1, statement, binds))
  end

  defp live?(stack, handle), do: not Buffer.tombstoned?(stack, handle)

  defp merge(stored, []), do: stored
  defp merge(stored, buffered), do: :lists.ukeysort(1, buffered ++ stored)
end
