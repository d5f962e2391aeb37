defmodule Bench.Workloads.Reads do
  @moduledoc "Each reading function alone, at 1, 16 and 100 processes, on 20,000 committed shapes."

  @behaviour Bench.Workload

  alias Bench.{Crew, Floor, Sample, Shapes, Side, Stock, Store, Workload}

  @size 20_000
  @per_process 2_000

  @impl true
  def workloads(config) do
    [
      repeated(
        config,
        "handle_for_shape_hit",
        &known/1,
        &handle_for_shape/1,
        {&known/1, &Floor.find/1}
      ),
      repeated(config, "handle_for_shape_miss", &unknown/1, &miss/1, {&unknown/1, &Floor.find/1}),
      repeated(
        config,
        "handle_for_shape_critical",
        &known/1,
        &critical/1,
        {&known/1, &Floor.find/1}
      ),
      repeated(
        config,
        "shape_for_handle_warm",
        &warm/1,
        &shape_for_handle/1,
        {&bodies/1, &Floor.decode/1}
      ),
      cold(config),
      repeated(
        config,
        "handle_exists",
        &known/1,
        &handle_exists/1,
        {&known/1, &Floor.look_up_stack/1}
      ),
      repeated(config, "count_shapes", &known/1, &count/1, {&known/1, &Floor.look_up_stack/1}),
      repeated(
        config,
        "relations_100",
        &relations/1,
        &handles/1,
        {&handle_lists/1, &Floor.decode/1}
      ),
      repeated(
        config,
        "relations_100_whole",
        &relations/1,
        &handles/1,
        {&handle_lists/1, &Floor.decode/1},
        &Side.whole/1
      )
    ]
  end

  # Operations: each makes the call of one input and insists on the right answer.

  defp handle_for_shape(%{db: db, stack_id: id}) do
    fn {handle, shape} -> {:ok, ^handle} = db.handle_for_shape(id, shape) end
  end

  defp miss(%{db: db, stack_id: id}) do
    fn {_handle, shape} -> :error = db.handle_for_shape(id, shape) end
  end

  defp critical(%{db: db, stack_id: id}) do
    fn {handle, shape} -> {:ok, ^handle} = db.handle_for_shape_critical(id, shape) end
  end

  defp shape_for_handle(%{db: db, stack_id: id}) do
    fn {handle, _shape} -> {:ok, _} = db.shape_for_handle(id, handle) end
  end

  defp handle_exists(%{db: db, stack_id: id}) do
    fn {handle, _shape} -> true = db.handle_exists?(id, handle) end
  end

  defp count(%{db: db, stack_id: id}) do
    fn _input -> {:ok, @size} = db.count_shapes(id) end
  end

  defp handles(%{db: db, stack_id: id}) do
    fn relation -> {:ok, [_ | _]} = db.shape_handles_for_relations(id, [relation]) end
  end

  # Inputs of the process of a number.

  defp known(number), do: Shapes.scattered(@size, number, @per_process)

  defp unknown(number) do
    for {handle, shape} <- known(number) do
      {handle, %{shape | root_table_id: shape.root_table_id + Shapes.tables()}}
    end
  end

  defp warm(number), do: Shapes.scattered(Shapes.warm(), number, @per_process)

  defp bodies(number), do: for({_handle, shape} <- known(number), do: Floor.encode(shape))

  defp relations(number) do
    for {_handle, shape} <- known(number), do: {shape.root_table_id, shape.root_table}
  end

  defp handle_lists(_number) do
    handles = for {handle, _shape} <- Shapes.range(0..99), do: handle
    [Floor.encode(handles)]
  end

  defp repeated(config, name, inputs, operation, floor, adapt \\ & &1) do
    {floor_inputs, floor_operation} = floor

    measure = fn inputs, operation ->
      for processes <- Workload.processes() do
        job = %Crew.Job{
          name: :read,
          processes: processes,
          inputs: inputs,
          operation: operation,
          until: {:for, config.read_ms}
        }

        {"#{name}/#{processes}", Crew.run(job)}
      end
    end

    %Workload{
      names: [name],
      run: fn side ->
        Store.with_store(adapt.(side), Stock.directory(config, side, @size), fn store ->
          Store.read_all(store, Shapes.range(0..(@size - 1)))
          outcomes = measure.(inputs, operation.(store))

          Enum.flat_map(outcomes, fn {name, outcome} ->
            Sample.rate_and_latencies(name, outcome)
          end)
        end)
      end,
      floor: fn ->
        for {name, outcome} <- measure.(floor_inputs, floor_operation),
            do: Sample.rate(name, outcome)
      end
    }
  end

  # Every body read once after a start, so that none is in the store's memory yet.
  defp cold(config) do
    job = fn processes, inputs, operation ->
      Crew.run(%Crew.Job{
        name: :read,
        processes: processes,
        inputs: fn number -> Shapes.share(@size, number, processes) |> Enum.map(inputs) end,
        operation: operation
      })
    end

    %Workload{
      names: ["shape_for_handle_cold"],
      run: fn side ->
        directory = Stock.directory(config, side, @size)

        for processes <- Workload.processes(), reduce: [] do
          samples ->
            Store.with_store(side, directory, fn store ->
              outcome = job.(processes, &Shapes.at/1, shape_for_handle(store))
              samples ++ Sample.rate_and_latencies("shape_for_handle_cold/#{processes}", outcome)
            end)
        end
      end,
      floor: fn ->
        for processes <- Workload.processes() do
          body = fn index -> index |> Shapes.at() |> elem(1) |> Floor.encode() end

          Sample.rate(
            "shape_for_handle_cold/#{processes}",
            job.(processes, body, &Floor.decode/1)
          )
        end
      end
    }
  end
end
