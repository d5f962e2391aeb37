defmodule ElectricShapeDb.Demo.Shapes do
  @moduledoc """
  As many shapes as the demo wants, made of the real ones of the fixture: each is a
  real one on another table, so that no two are equal. A shape is known by its
  number; who has the real ones can build it again, with its handle.
  """

  alias Electric.Shapes.Shape

  @first_oid 100_000
  @first_microsecond 1_790_000_000_000_000

  @type n :: non_neg_integer()

  @doc "Makes the real shapes, as listed, ready to be built from."
  @spec keep([{String.t(), Shape.t()}]) :: :ok
  def keep(listed) do
    # Not copied to the processes that read it.
    real = for {_handle, shape} <- listed, do: shape
    :persistent_term.put(__MODULE__, List.to_tuple(real))
  end

  @doc "The shape of a number, and its handle."
  @spec build(n()) :: {String.t(), Shape.t()}
  def build(n) do
    real = :persistent_term.get(__MODULE__)
    kinds = tuple_size(real)
    shape = elem(real, rem(n, kinds))
    shape = %{shape | root_table_id: @first_oid + div(n, kinds)}
    {_comparable, hash} = Shape.comparable_hash(shape)
    {"#{hash}-#{@first_microsecond + n}", shape}
  end
end
