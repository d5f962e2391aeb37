defmodule Bench.HostTables do
  @moduledoc """
  What the host keeps beside its store, as it keeps it: a table of metadata that each
  request writes to, a table of which shapes its filter has indexed, and a row of counts.
  Written for this bench from the description; no code of the host is in it.

  The host finds a table by an atom that it makes of the stack's id at each call; found by a
  persistent term, a touch takes about 100 ns less.
  """

  @hash 2
  @started 3
  @read 4

  @spec start(String.t()) :: :ok
  def start(stack_id) do
    opts = [:named_table, :public, :set, read_concurrency: true, write_concurrency: true]

    for table <- [meta(stack_id), indexed(stack_id), counts_table(stack_id)],
        do: :ets.new(table, opts)

    :ets.insert(counts_table(stack_id), {:counts, 0, 0, 0})
    :ok
  end

  @spec stop(String.t()) :: :ok
  def stop(stack_id) do
    for table <- [meta(stack_id), indexed(stack_id), counts_table(stack_id)],
        do: :ets.delete(table)

    :ok
  end

  @doc "What the host does at its start, with all that the store has."
  @spec boot(String.t(), module(), (struct() -> boolean())) :: :ok
  def boot(stack_id, db, indexed?) do
    {meta, indexed_table} = {meta(stack_id), indexed(stack_id)}
    now = System.monotonic_time()

    {indexed, total} =
      db.reduce_shapes(stack_id, {0, 0}, fn {handle, shape}, {indexed, total} ->
        is_indexed = indexed?.(shape)
        :ets.insert(indexed_table, {handle, is_indexed})
        {indexed + if(is_indexed, do: 1, else: 0), total + 1}
      end)

    db.reduce_shape_meta(stack_id, :ok, fn {handle, hash, _complete?}, :ok ->
      true = :ets.insert(meta, {handle, hash, true, now, 0})
      :ok
    end)

    :ets.insert(counts_table(stack_id), {:counts, total, indexed, total - indexed})
    :ok
  end

  @spec touch(String.t(), String.t()) :: boolean()
  def touch(stack_id, handle) do
    :ets.update_element(meta(stack_id), handle, {@read, System.monotonic_time()})
  end

  @spec validate(String.t(), String.t(), non_neg_integer()) :: :ok | :error
  def validate(stack_id, handle, hash) do
    case :ets.lookup_element(meta(stack_id), handle, @hash) do
      ^hash -> :ok
      _other -> :error
    end
  rescue
    ArgumentError -> :error
  end

  @spec snapshot_started?(String.t(), String.t()) :: boolean()
  def snapshot_started?(stack_id, handle) do
    :ets.lookup_element(meta(stack_id), handle, @started)
  rescue
    ArgumentError -> false
  end

  @spec counts(String.t()) :: {non_neg_integer(), non_neg_integer(), non_neg_integer()}
  def counts(stack_id) do
    [{:counts, total, indexed, unindexed}] = :ets.lookup(counts_table(stack_id), :counts)
    {total, indexed, unindexed}
  end

  @spec indexed_count(String.t()) :: non_neg_integer()
  def indexed_count(stack_id), do: :ets.lookup_element(counts_table(stack_id), :counts, 3)

  @doc "Folds over all, keeping the `n` read longest ago in a balanced tree."
  @spec least_recently_used(String.t(), pos_integer()) :: {[String.t()], number()}
  def least_recently_used(stack_id, n) do
    now = System.monotonic_time()

    kept =
      :ets.foldl(
        fn
          {_handle, _hash, _started?, nil, _generation}, kept ->
            kept

          {handle, _hash, _started?, read, _generation}, kept ->
            keep(kept, {read, handle}, n)
        end,
        :gb_trees.empty(),
        meta(stack_id)
      )

    case :gb_trees.keys(kept) do
      [] ->
        {[], 0}

      keys ->
        {read, _handle} = List.last(keys)
        minute = System.convert_time_unit(60, :second, :native)
        {for({_read, handle} <- keys, do: handle), (now - read) / minute}
    end
  end

  defp keep(kept, key, n) do
    if :gb_trees.size(kept) < n do
      :gb_trees.insert(key, true, kept)
    else
      {largest, _} = :gb_trees.largest(kept)

      if key < largest,
        do: :gb_trees.insert(key, true, :gb_trees.delete(largest, kept)),
        else: kept
    end
  end

  defp meta(stack_id), do: :"#{stack_id}:bench_meta"
  defp indexed(stack_id), do: :"#{stack_id}:bench_indexed"
  defp counts_table(stack_id), do: :"#{stack_id}:bench_counts"
end
