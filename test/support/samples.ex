defmodule ElectricShapeDb.Samples do
  @moduledoc """
  Shapes and handles to test with. `shape(1)` and `shape(2)` differ, two calls of
  `shape(1)` give equal shapes, and `fields` change what a test is about.
  """

  alias Electric.Shapes.Shape

  @first_oid 10_000

  @spec shape(term(), keyword()) :: Shape.t()
  def shape(n, fields \\ []) do
    %Shape{
      root_table: {"public", "items"},
      root_table_id: @first_oid,
      root_pk: ["id"],
      root_column_count: 2,
      where: %{query: "id = #{n}", returns: :bool},
      selected_columns: ["id", "value"],
      explicitly_selected_columns: ["id", "value"],
      flags: %{selects_all_columns: true}
    }
    |> struct!(fields)
  end

  @doc "A shape on table number `table`, counted from 0."
  @spec shape_on(non_neg_integer(), term()) :: Shape.t()
  def shape_on(table, n) do
    shape(n, root_table: {"public", "table_#{table}"}, root_table_id: oid(table))
  end

  @spec oid(non_neg_integer()) :: pos_integer()
  def oid(table), do: @first_oid + table

  @doc "What the lookups by relation take; only the oid matters to them."
  @spec relation(non_neg_integer()) :: {pos_integer(), {String.t(), String.t()}}
  def relation(table), do: {oid(table), {"public", "table_#{table}"}}

  @doc "A handle of the host's form, hash, dash, microseconds; sorted like `n`."
  @spec handle(non_neg_integer()) :: String.t()
  def handle(n), do: "#{10_000_000 + n}-#{1_790_000_000_000_000 + n}"

  @spec hash(Shape.t()) :: non_neg_integer()
  def hash(shape), do: shape |> Shape.comparable_hash() |> elem(1)

  @spec comparable(Shape.t()) :: term()
  def comparable(shape), do: shape |> Shape.comparable_hash() |> elem(0)
end
