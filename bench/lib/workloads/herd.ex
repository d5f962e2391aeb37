defmodule Bench.Workloads.Herd do
  @moduledoc """
  The crowd after a redeploy: 100,000 shapes, a store that has just started, and
  5,000 clients that come back at once. Each asks for its shape's handle and then
  for the shape, as a request does.
  """

  @behaviour Bench.Workload

  alias Bench.{Crew, Sample, Shapes, Stock, Store, Workload}

  @size 100_000
  @clients 5_000

  @impl true
  def workloads(config) do
    [
      %Workload{
        names: ["herd_#{@clients}"],
        run: fn side ->
          Store.with_store(side, Stock.directory(config, side, @size), &measure/1)
        end
      }
    ]
  end

  defp measure(%{db: db, stack_id: id}) do
    outcome =
      Crew.run(%Crew.Job{
        name: :client,
        processes: @clients,
        inputs: &Shapes.scattered(@size, &1, 1),
        operation: fn {handle, shape} ->
          {:ok, ^handle} = db.handle_for_shape(id, shape)
          {:ok, _shape} = db.shape_for_handle(id, handle)
        end,
        sample: 1
      })

    [
      Sample.new("herd_#{@clients}_ms", "ms", outcome.elapsed_ns / 1.0e6)
      | Sample.latencies("herd_#{@clients}", outcome)
    ]
  end
end
