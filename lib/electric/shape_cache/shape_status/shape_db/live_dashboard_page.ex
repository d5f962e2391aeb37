defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.LiveDashboardPage do
  @moduledoc """
  A page of Phoenix's LiveDashboard (0.8) with the stacks of a node: role and verdict,
  shapes, what is pending, commits, memory, faults.

      defmodule MyAppWeb.ShapesPage do
        use Electric.ShapeCache.ShapeStatus.ShapeDb.LiveDashboardPage
      end

      # in the router
      live_dashboard "/dashboard", additional_pages: [shapes: MyAppWeb.ShapesPage]

  The page is a module of the host's, because this library does not depend on
  LiveDashboard and may be compiled before it.
  """

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Numbers
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Target
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Statistics

  @verdicts %{0 => :ok, 1 => :degraded, 2 => :failing}
  @timeout 5_000

  defmacro __using__(_opts) do
    unless Code.ensure_loaded?(Phoenix.LiveDashboard.PageBuilder) do
      raise ArgumentError,
            "#{inspect(__MODULE__)} needs Phoenix.LiveDashboard: add {:phoenix_live_dashboard, " <>
              "\"~> 0.8\"} to the dependencies of the project"
    end

    quote do
      use Phoenix.LiveDashboard.PageBuilder

      @impl true
      def menu_link(_session, _capabilities), do: {:ok, "Shapes"}

      @impl true
      def render(var!(assigns)) do
        ~H"""
        <.live_table
          id="shape-db-stacks"
          dom_id="shape-db-stacks"
          page={@page}
          title="Shape stores"
          rows_name="stacks"
          row_fetcher={&Electric.ShapeCache.ShapeStatus.ShapeDb.LiveDashboardPage.rows/2}
        >
          <:col field={:stack_id} header="Stack" sortable={:asc} />
          <:col field={:role} header="Role" sortable={:asc} />
          <:col field={:verdict} header="Verdict" sortable={:asc} />
          <:col field={:shapes} header="Shapes" text_align="right" sortable={:desc} />
          <:col field={:pending_ops} header="Pending" text_align="right" sortable={:desc} />
          <:col field={:waiting} header="Callers waiting" text_align="right" sortable={:desc} />
          <:col field={:last_commit_us} header="Last commit, µs" text_align="right" sortable={:desc} />
          <:col field={:total_memory} header="Memory, bytes" text_align="right" sortable={:desc} />
          <:col field={:disk_size} header="File, bytes" text_align="right" sortable={:desc} />
          <:col field={:faults} header="Faults" text_align="right" sortable={:desc} />
          <:col field={:lost} header="Lost" text_align="right" sortable={:desc} />
        </.live_table>
        """
      end
    end
  end

  @doc """
  The rows of the page: those of a node's stacks whose id contains what is searched for,
  sorted and no more than the limit, and how many there are in all.

      iex> params = %{search: "my-", sort_by: :shapes, sort_dir: :desc, limit: 50}
      iex> {[row], 1} = LiveDashboardPage.rows(params, node())
      iex> {row.stack_id, row.role, row.shapes}
      {"my-stack", :writer, 0}
  """
  @spec rows(map(), node()) :: {[map()], non_neg_integer()}
  def rows(%{search: search, sort_by: by, sort_dir: direction, limit: limit}, node) do
    rows =
      for row <- :erpc.call(node, __MODULE__, :stacks, [], @timeout),
          search in [nil, ""] or String.contains?(row.stack_id, search),
          do: row

    {rows |> Enum.sort_by(&Map.get(&1, by), direction) |> Enum.take(limit), length(rows)}
  end

  @doc false
  def stacks do
    for stack_id <- Target.stack_ids(), {:ok, statistics} <- [Statistics.current(stack_id)] do
      Map.merge(statistics, %{
        stack_id: stack_id,
        role: Numbers.role(statistics),
        verdict: Map.fetch!(@verdicts, statistics.verdict)
      })
    end
  end
end
