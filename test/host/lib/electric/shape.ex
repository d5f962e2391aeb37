defmodule Electric.Shapes.Shape do
  @moduledoc "The host's own shape, which the library finds only when it runs."

  defstruct [:table, :oid, :where]

  def comparable_hash(%__MODULE__{} = shape) do
    comparable = {shape.oid, shape.table, shape.where}
    {comparable, :erlang.phash2(comparable)}
  end

  def list_relations(%__MODULE__{} = shape), do: [{shape.oid, shape.table}]
end
