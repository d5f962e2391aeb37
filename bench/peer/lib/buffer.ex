defmodule Bench.Peer.Buffer do
  @moduledoc """
  What is accepted but not yet committed, in two public tables:

  - *operations*, ordered by `{monotonic time, unique integer}`, is what the write
    buffer commits, in this order;
  - *shapes* answers readers meanwhile: `{:shape, handle}` and `{:comparable, term}`
    for shapes added, `{:tombstone, handle}` for shapes removed, `{:complete, handle}`
    for snapshots completed, and `:count_diff`, buffered adds minus buffered removes.

  An entry carries the key of its operation and goes away when that one is committed.
  """

  alias Bench.Peer.Stack

  @type key :: {integer(), integer()}
  @type relations :: [{non_neg_integer(), term()}]
  @type operation ::
          {:add, handle :: binary(), shape :: term(), comparable :: term(),
           hash :: non_neg_integer(), relations()}
          | {:remove, handle :: binary()}
          | {:snapshot_complete, handle :: binary()}

  @spec create(Stack.t()) :: :ok
  def create(stack) do
    concurrent = [:named_table, :public, write_concurrency: true, read_concurrency: true]
    :ets.new(stack.operations, [:ordered_set | concurrent])
    :ets.new(stack.shapes, [:set | concurrent])
    :ets.insert(stack.shapes, {:count_diff, 0})
    :ok
  end

  @spec add(Stack.t(), binary(), term(), term(), non_neg_integer(), relations()) ::
          :ok | {:error, String.t()}
  def add(stack, handle, shape, comparable, hash, relations) do
    key = key()

    cond do
      not :ets.insert_new(
        stack.shapes,
        {{:shape, handle}, key, shape, comparable, hash, relations}
      ) ->
        {:error, "handle #{handle} is already buffered"}

      not :ets.insert_new(stack.shapes, {{:comparable, comparable}, key, handle}) ->
        :ets.delete(stack.shapes, {:shape, handle})
        {:error, "an equal shape is already buffered"}

      true ->
        :ets.delete(stack.shapes, {:tombstone, handle})
        :ets.insert(stack.operations, {key, {:add, handle, shape, comparable, hash, relations}})
        :ets.update_counter(stack.shapes, :count_diff, 1)
        :ok
    end
  end

  @spec remove(Stack.t(), binary()) :: :ok
  def remove(stack, handle) do
    key = key()
    :ets.insert(stack.shapes, {{:tombstone, handle}, key})

    for {_, _, _, comparable, _, _} <- :ets.take(stack.shapes, {:shape, handle}) do
      delete_if(stack.shapes, {:comparable, comparable}, 3, handle)
    end

    :ets.insert(stack.operations, {key, {:remove, handle}})
    :ets.update_counter(stack.shapes, :count_diff, -1)
    :ok
  end

  @spec complete_snapshot(Stack.t(), binary()) :: :ok
  def complete_snapshot(stack, handle) do
    key = key()
    :ets.insert(stack.shapes, {{:complete, handle}, key})
    :ets.insert(stack.operations, {key, {:snapshot_complete, handle}})
    :ok
  end

  @spec lookup_handle(Stack.t(), term()) :: {:ok, binary()} | :not_found
  def lookup_handle(stack, comparable) do
    case :ets.lookup(stack.shapes, {:comparable, comparable}) do
      [{_, _, handle}] -> {:ok, handle}
      [] -> :not_found
    end
  end

  @spec lookup_shape(Stack.t(), binary()) :: {:ok, term()} | :not_found
  def lookup_shape(stack, handle) do
    {:ok, :ets.lookup_element(stack.shapes, {:shape, handle}, 3)}
  rescue
    ArgumentError -> :not_found
  end

  @spec has_handle?(Stack.t(), binary()) :: boolean() | :unknown
  def has_handle?(stack, handle) do
    cond do
      :ets.member(stack.shapes, {:shape, handle}) -> true
      tombstoned?(stack, handle) -> false
      true -> :unknown
    end
  end

  @spec tombstoned?(Stack.t(), binary()) :: boolean()
  def tombstoned?(stack, handle), do: :ets.member(stack.shapes, {:tombstone, handle})

  @spec snapshot_complete?(Stack.t(), binary()) :: boolean()
  def snapshot_complete?(stack, handle), do: :ets.member(stack.shapes, {:complete, handle})

  @spec count_diff(Stack.t()) :: integer()
  def count_diff(stack), do: :ets.lookup_element(stack.shapes, :count_diff, 2)

  @spec pending(Stack.t()) :: non_neg_integer()
  def pending(stack), do: :ets.info(stack.operations, :size)

  @doc "All buffered shapes as `{handle, shape, hash}`: a scan of the table."
  @spec shapes(Stack.t()) :: [{binary(), term(), non_neg_integer()}]
  def shapes(stack) do
    :ets.select(stack.shapes, [
      {{{:shape, :"$1"}, :_, :"$2", :_, :"$3", :_}, [], [{{:"$1", :"$2", :"$3"}}]}
    ])
  end

  @doc "The handles of buffered shapes that read one of the tables: a scan as well."
  @spec handles_for_oids(Stack.t(), [non_neg_integer()]) :: [binary()]
  def handles_for_oids(stack, oids) do
    entries =
      :ets.select(stack.shapes, [
        {{{:shape, :"$1"}, :_, :_, :_, :_, :"$2"}, [], [{{:"$1", :"$2"}}]}
      ])

    for {handle, relations} <- entries, Enum.any?(relations, &(elem(&1, 0) in oids)), do: handle
  end

  @spec tombstones(Stack.t()) :: MapSet.t(binary())
  def tombstones(stack) do
    stack.shapes
    |> :ets.select([{{{:tombstone, :"$1"}, :_}, [], [:"$1"]}])
    |> MapSet.new()
  end

  @doc "The first operations in order, at most `limit` of them."
  @spec first(Stack.t(), pos_integer()) :: [{key(), operation()}]
  def first(stack, limit) do
    case :ets.select(stack.operations, [{:"$1", [], [:"$1"]}], limit) do
      {operations, _continuation} -> operations
      :"$end_of_table" -> []
    end
  end

  @doc "Forgets an operation that is committed, and the entries that answered for it."
  @spec forget(Stack.t(), {key(), operation()}) :: :ok
  def forget(stack, {key, operation}) do
    forget_entries(stack, key, operation)
    :ets.delete(stack.operations, key)
    :ok
  end

  defp forget_entries(stack, key, {:add, handle, _, comparable, _, _}) do
    delete_if(stack.shapes, {:shape, handle}, 2, key)
    delete_if(stack.shapes, {:comparable, comparable}, 2, key)
    :ets.update_counter(stack.shapes, :count_diff, -1)
  end

  defp forget_entries(stack, key, {:remove, handle}) do
    delete_if(stack.shapes, {:tombstone, handle}, 2, key)
    :ets.update_counter(stack.shapes, :count_diff, 1)
  end

  defp forget_entries(stack, key, {:snapshot_complete, handle}) do
    delete_if(stack.shapes, {:complete, handle}, 2, key)
  end

  # Only when it is still the entry of that operation, not a later one's.
  defp delete_if(table, entry, position, value) do
    if :ets.lookup_element(table, entry, position) == value, do: :ets.delete(table, entry)
  rescue
    ArgumentError -> :gone
  end

  defp key, do: {System.monotonic_time(), System.unique_integer([:monotonic])}
end
