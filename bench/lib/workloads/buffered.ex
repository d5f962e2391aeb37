defmodule Bench.Workloads.Buffered do
  @moduledoc """
  Reads of shapes that were added and are not committed yet: commits are paused, and
  1, 16 and 100 processes ask for any of 2,000.
  """

  @behaviour Bench.Workload

  alias Bench.{Crew, Sample, Shapes, Store, Workload}

  @per_process 2_000

  @impl true
  def workloads(config) do
    [
      %Workload{
        names: ["handle_for_shape_buffered", "shape_for_handle_buffered"],
        run: fn side -> Store.with_fresh_store(config, side, &measure(config, &1)) end
      }
    ]
  end

  defp measure(config, %{side: side, db: db, stack_id: id}) do
    :ok = side.write_buffer.pause_flush(id)

    for {handle, shape} <- Shapes.range(0..(Shapes.warm() - 1)),
        do: {:ok, _hash} = db.add_shape(id, shape, handle)

    find = fn {handle, shape} -> {:ok, ^handle} = db.handle_for_shape(id, shape) end
    read = fn {handle, _shape} -> {:ok, _} = db.shape_for_handle(id, handle) end

    for {name, operation} <- [handle_for_shape_buffered: find, shape_for_handle_buffered: read],
        processes <- Workload.processes(),
        sample <-
          Sample.rate_and_latencies("#{name}/#{processes}", run(config, operation, processes)),
        do: sample
  end

  defp run(config, operation, processes) do
    Crew.run(%Crew.Job{
      name: :read,
      processes: processes,
      inputs: &Shapes.scattered(Shapes.warm(), &1, @per_process),
      operation: operation,
      until: {:for, config.read_ms}
    })
  end
end
