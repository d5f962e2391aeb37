defmodule Bench.Workloads.Writes do
  @moduledoc """
  Each writing function alone, at 1, 16 and 100 processes, on a store that starts
  empty: 20,000 shapes are added, completed and removed, each step once the one
  before is committed.
  """

  @behaviour Bench.Workload

  alias Bench.{Crew, Floor, Sample, Shapes, Store, Workload}

  @size 20_000
  # The number of processes that end-to-end figures are taken at.
  @end_to_end 16

  @impl true
  def workloads(config) do
    [
      %Workload{
        names: ~w(add_shape persisted_per_s drain_ms mark_snapshot_complete remove_shape),
        run: fn side -> Enum.flat_map(Workload.processes(), &measure(config, side, &1)) end,
        floor: fn -> Enum.flat_map(Workload.processes(), &floors/1) end
      }
    ]
  end

  defp measure(config, side, processes) do
    Store.with_fresh_store(config, side, fn store ->
      added = run(processes, add(store))
      {drain_us, :ok} = :timer.tc(fn -> Store.flush(store) end)
      completed = run(processes, complete(store))
      Store.flush(store)
      removed = run(processes, remove(store))
      Store.flush(store)

      end_to_end(processes, added, drain_us) ++
        Sample.rate_and_latencies("add_shape/#{processes}", added) ++
        Sample.rate_and_latencies("mark_snapshot_complete/#{processes}", completed) ++
        Sample.rate_and_latencies("remove_shape/#{processes}", removed)
    end)
  end

  defp end_to_end(@end_to_end, added, drain_us) do
    seconds = added.elapsed_ns / 1.0e9 + drain_us / 1.0e6

    [
      Sample.new("persisted_per_s", "ops/s", @size / seconds),
      Sample.new("drain_ms", "ms", drain_us / 1_000)
    ]
  end

  defp end_to_end(_processes, _added, _drain_us), do: []

  defp floors(processes) do
    added = run(processes, &Floor.add/1)
    looked_up = run(processes, &Floor.look_up_stack/1)

    end_to_end_floor(processes, added) ++
      [
        Sample.rate("add_shape/#{processes}", added),
        Sample.rate("mark_snapshot_complete/#{processes}", looked_up),
        Sample.rate("remove_shape/#{processes}", looked_up)
      ]
  end

  defp end_to_end_floor(@end_to_end, added), do: [Sample.rate("persisted_per_s", added)]
  defp end_to_end_floor(_processes, _added), do: []

  defp run(processes, operation) do
    Crew.run(%Crew.Job{
      name: :write,
      processes: processes,
      inputs: fn number -> Shapes.share(@size, number, processes) |> Enum.map(&Shapes.at/1) end,
      operation: operation
    })
  end

  defp add(%{db: db, stack_id: id}) do
    fn {handle, shape} -> {:ok, _hash} = db.add_shape(id, shape, handle) end
  end

  defp complete(%{db: db, stack_id: id}) do
    fn {handle, _shape} -> :ok = db.mark_snapshot_complete(id, handle) end
  end

  defp remove(%{db: db, stack_id: id}) do
    fn {handle, _shape} -> :ok = db.remove_shape(id, handle) end
  end
end
