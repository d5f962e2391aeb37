defmodule Bench.Workloads.Mixed do
  @moduledoc """
  Reads beside writes on 20,000 committed shapes: 16 readers, half of them by shape
  and half by handle, with 4 writers that add as fast as they can (`mixed_…`), or
  with one that adds 1,000 shapes a second (`paced_…`).
  """

  @behaviour Bench.Workload

  alias Bench.{Crew, Sample, Shapes, Stock, Store, Workload}

  @size 20_000
  @readers_of_a_kind 8
  @per_process 2_000
  # More than any side can add while it is measured.
  @most_added 2_000_000

  @impl true
  def workloads(config) do
    [
      workload(config, "mixed", 4, nil, 3),
      workload(config, "paced", 1, 1_000, :all)
    ]
  end

  defp workload(config, name, writers, pace, rounds) do
    kinds = ~w(handle_for_shape shape_for_handle add_shape)

    %Workload{
      names: for(kind <- kinds ++ ["drain_ms", "backlog"], do: "#{name}_#{kind}"),
      run: fn side -> measure(config, side, name, writers, pace) end,
      rounds: rounds
    }
  end

  defp measure(config, side, name, writers, pace) do
    Store.with_temporary_store(side, Stock.copy(config, side, @size), fn store ->
      outcomes = Crew.run_all(readers(config, store) ++ [writer(config, store, writers, pace)])
      backlog = store.db.pending_buffer_size(store.stack_id)
      {drain_us, :ok} = :timer.tc(fn -> Store.flush(store) end)

      Enum.flat_map(outcomes, fn {kind, outcome} ->
        Sample.rate_and_latencies("#{name}_#{kind}", outcome)
      end) ++
        [
          Sample.new("#{name}_drain_ms", "ms", drain_us / 1_000),
          Sample.new("#{name}_backlog", "operations", backlog)
        ]
    end)
  end

  defp readers(config, %{db: db, stack_id: id}) do
    reader = %Crew.Job{
      name: :handle_for_shape,
      processes: @readers_of_a_kind,
      inputs: &Shapes.scattered(@size, &1, @per_process),
      operation: fn {handle, shape} -> {:ok, ^handle} = db.handle_for_shape(id, shape) end,
      until: {:for, config.mixed_ms}
    }

    [
      reader,
      %{
        reader
        | name: :shape_for_handle,
          operation: fn {handle, _shape} -> {:ok, _} = db.shape_for_handle(id, handle) end
      }
    ]
  end

  defp writer(config, %{db: db, stack_id: id}, writers, pace) do
    share = div(@most_added, writers)

    %Crew.Job{
      name: :add_shape,
      processes: writers,
      inputs: fn number ->
        Enum.to_list((@size + (number - 1) * share)..(@size + number * share - 1))
      end,
      operation: fn index ->
        {handle, shape} = Shapes.at(index)
        {:ok, _hash} = db.add_shape(id, shape, handle)
      end,
      until: {:for, config.mixed_ms},
      pace: pace
    }
  end
end
