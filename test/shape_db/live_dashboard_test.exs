defmodule ElectricShapeDb.LiveDashboardTest do
  @moduledoc """
  The page of LiveDashboard, compiled against a stand-in: the library comes from Hex, of
  which nothing is fetched here. The stand-in takes what version 0.8 documents, and its
  `~H` gives what the page says of its table as data.
  """

  use ElectricShapeDb.StoreCase

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.LiveDashboardPage

  @stand_in """
  defmodule Phoenix.LiveDashboard.PageBuilder do
    @callback menu_link(map(), map()) :: {:ok, String.t()} | :skip
    @callback render(map()) :: term()

    defmacro __using__(_opts) do
      quote do
        @behaviour Phoenix.LiveDashboard.PageBuilder
        import Phoenix.LiveDashboard.PageBuilder
      end
    end

    # Tags with their attributes: strings, and expressions of Elixir.
    defmacro sigil_H({:<<>>, _, [template]}, []) do
      unless Macro.Env.has_var?(__CALLER__, {:assigns, nil}),
        do: raise("~H needs a variable named assigns")

      for [_, tag, attributes] <- Regex.scan(~r/<([.:]\\w+)((?:[^>]|=>)*?)\\/?>/s, template) do
        pairs =
          for [_, name, text, code] <-
                Regex.scan(~r/(\\w+)=(?:"([^"]*)"|\\{([^}]*)\\})/s, attributes <> " ", capture: :all)
                |> Enum.map(&Enum.take(&1 ++ [""], 4)) do
            {String.to_atom(name), if(code == "", do: text, else: value(code))}
          end

        {String.to_atom(tag), pairs}
      end
    end

    defp value("@" <> name), do: quote(do: Map.fetch!(var!(assigns), unquote(String.to_atom(name))))
    defp value(code), do: Code.string_to_quoted!(code)
  end
  """

  defp compile!(source) do
    modules = for {module, _} <- Code.compile_string(source), do: module

    on_exit(fn ->
      for module <- modules do
        :code.purge(module)
        :code.delete(module)
      end
    end)
  end

  @page """
  defmodule ElectricShapeDb.ShapesPage do
    use Electric.ShapeCache.ShapeStatus.ShapeDb.LiveDashboardPage
  end
  """

  test "without LiveDashboard the error says what is missing" do
    error = assert_raise ArgumentError, fn -> Code.compile_string(@page) end
    assert error.message =~ "phoenix_live_dashboard"
  end

  test "the page is a table whose columns the rows have", %{stack_id: stack_id} = context do
    compile!(@stand_in)
    compile!(@page)
    start_store!(context)
    add_samples!(stack_id, 1..3)
    flush!(stack_id)

    page = Module.concat(ElectricShapeDb, ShapesPage)
    assert apply(page, :menu_link, [%{}, %{}]) == {:ok, "Shapes"}
    [{:".live_table", table} | columns] = apply(page, :render, [%{page: :this}])
    assert table[:page] == :this
    assert table[:id] == table[:dom_id]

    params = %{search: stack_id, sort_by: :stack_id, sort_dir: :asc, limit: 50}
    assert {[row], 1} = table[:row_fetcher].(params, node())
    assert %{stack_id: ^stack_id, role: :writer, verdict: :ok, shapes: 3, pending_ops: 0} = row

    assert length(columns) == 11

    for {:":col", column} <- columns do
      assert is_map_key(row, column[:field])
      assert column[:sortable] in [:asc, :desc]
    end
  end

  test "rows are searched, sorted and limited", %{stack_id: stack_id} = context do
    for {name, shapes} <- [{"a", 1}, {"b", 3}, {"c", 2}] do
      context = %{stack_id: stack_id <> name, storage_dir: Path.join(context.storage_dir, name)}
      start_store!(context)
      add_samples!(context.stack_id, 1..shapes)
    end

    params = %{search: stack_id, sort_by: :shapes, sort_dir: :desc, limit: 2}
    assert {[%{shapes: 3}, %{shapes: 2}], 3} = LiveDashboardPage.rows(params, node())
    assert {[], 0} = LiveDashboardPage.rows(%{params | search: "no such stack"}, node())
  end
end
