defmodule Electric.Shapes.Shape do
  @moduledoc """
  Stands in for the host's shape: the same fields, and the two functions that
  the library calls. Bodies of the fixtures decode to this struct, with structs
  of the host inside that are not loaded here; they are carried, never looked
  into.
  """

  defstruct root_table: nil,
            root_table_id: nil,
            root_pk: [],
            root_column_count: 0,
            where: nil,
            selected_columns: [],
            explicitly_selected_columns: [],
            queryable_columns: nil,
            flags: %{},
            replica: :default,
            log_mode: :full,
            storage: %{compaction: :disabled},
            shape_dependencies: [],
            shape_dependencies_handles: [],
            subquery_comparison_expressions: %{},
            tag_structure: []

  @type t :: %__MODULE__{}

  @doc "What makes two shapes the same shape, and its hash."
  @spec comparable_hash(t()) :: {comparable :: term(), hash :: non_neg_integer()}
  def comparable_hash(%{__struct__: __MODULE__} = shape) do
    comparable =
      {:shape, {shape.root_table_id, shape.root_table}, shape.root_pk,
       comparable_where(shape.where), shape.selected_columns, shape.explicitly_selected_columns,
       true_flags(shape.flags), shape.replica, shape.log_mode}

    {comparable, :erlang.phash2(comparable)}
  end

  @doc "The tables that the shape reads, by oid."
  @spec list_relations(t()) :: [{oid :: non_neg_integer(), {String.t(), String.t()}}]
  def list_relations(%{__struct__: __MODULE__} = shape) do
    [{shape.root_table_id, shape.root_table}]
  end

  defp comparable_where(nil), do: nil
  # A host whose function does as a test wants it to.
  defp comparable_where({:call, module, function, args}), do: apply(module, function, args)
  defp comparable_where(%{query: query, returns: returns}), do: {:eval_expr, query, returns}

  defp true_flags(flags), do: Enum.sort(for {flag, true} <- flags, do: flag)
end
