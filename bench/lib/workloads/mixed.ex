defmodule Bench.Workloads.Mixed do
  @moduledoc """
  Reads beside writes on 20,000 committed shapes: 16 readers, half of them by shape
  and half by handle, with writers.

  | results | readers ask for | writers |
  |---|---|---|
  | `mixed_…` | a warm set of shapes | 4, as fast as they can |
  | `paced_…` | a warm set of shapes | 1, with 1,000 adds a second |
  | `paced_cold_…` | any of the 20,000 | 1, with 1,000 adds a second |
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
    unthrottled = %{processes: 4, pace: nil}
    paced = %{processes: 1, pace: 1_000}

    [
      workload(config, "mixed", Shapes.warm(), unthrottled, 3),
      workload(config, "paced", Shapes.warm(), paced, :all),
      workload(config, "paced_cold", @size, paced, :all)
    ]
  end

  defp workload(config, name, asked_for, writers, rounds) do
    kinds = ~w(handle_for_shape shape_for_handle add_shape drain_ms backlog)

    %Workload{
      names: Enum.map(kinds, &"#{name}_#{&1}"),
      run: fn side -> measure(config, side, name, asked_for, writers) end,
      rounds: rounds
    }
  end

  defp measure(config, side, name, asked_for, writers) do
    Store.with_temporary_store(side, Stock.copy(config, side, @size), fn store ->
      Store.read_all(store, Shapes.range(0..(asked_for - 1)))

      outcomes =
        Crew.run_all([writer(config, store, writers) | readers(config, store, asked_for)])

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

  defp readers(config, %{db: db, stack_id: id}, asked_for) do
    find = %Crew.Job{
      name: :handle_for_shape,
      processes: @readers_of_a_kind,
      inputs: &Shapes.scattered(asked_for, &1, @per_process),
      operation: fn {handle, shape} -> {:ok, ^handle} = db.handle_for_shape(id, shape) end,
      until: {:for, config.mixed_ms}
    }

    read = fn {handle, _shape} -> {:ok, _} = db.shape_for_handle(id, handle) end
    [find, %{find | name: :shape_for_handle, operation: read}]
  end

  defp writer(config, %{db: db, stack_id: id}, %{processes: processes, pace: pace}) do
    share = div(@most_added, processes)

    %Crew.Job{
      name: :add_shape,
      processes: processes,
      inputs: fn number ->
        first = @size + (number - 1) * share
        Enum.to_list(first..(first + share - 1))
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
