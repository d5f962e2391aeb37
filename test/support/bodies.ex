defmodule ElectricShapeDb.Bodies do
  @moduledoc "Bodies that no shape of a test would have, in a store."

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.ColdReads
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native

  @doc "What a list gives for bodies of tables, in the order given. Empties the store."
  @spec listed(reference(), [{binary(), non_neg_integer(), binary()}]) :: [{binary(), term()}]
  def listed(store, bodies) do
    for {handle, table, body} <- bodies do
      {:ok, _seq} = Native.add(store, handle, handle, 0, [table], 0, body, true, nil, false)
    end

    shapes = store |> pieces(Native.cursor(store)) |> Map.new()
    {:ok, _seq} = Native.reset(store)
    for {handle, _table, _body} <- bodies, do: {handle, Map.fetch!(shapes, handle)}
  end

  defp pieces(store, cursor) do
    case ColdReads.shapes(store, cursor, 512) do
      {:ok, shapes} -> shapes ++ pieces(store, cursor)
      :done -> []
    end
  end
end
