defmodule Bench.Workloads.OpenLoop do
  @moduledoc """
  Latency as users meet it: operations arrive at a rate, see `Bench.OpenLoop`.

  | results | what arrives |
  |---|---|
  | `open_1k_10k_…` | 1,000 adds and 10,000 lookups a second, on 20,000 shapes that were read before; half of the lookups by shape, half by handle (2,000 warm ones) |
  | `capacity_…` | as many as a side can take: how fast it is through a number that arrive at once |
  | `load30_…` to `load90_…` | that share of its own capacity |

  The floor of a rate is the term work of the same calls, arriving at the rate of ours: what
  the VM, the machine and the instrument make of it without any store.
  """

  @behaviour Bench.Workload

  alias Bench.{Config, Floor, OpenLoop, Sample, Shapes, Stock, Store, Workload}
  alias Bench.OpenLoop.Kind

  @size 20_000
  @adds [1_000, 10_000, 50_000]
  @lookups [10_000, 50_000]
  @loads [30, 50, 60, 90]
  @at_once 20_000
  @warm_reads 8

  # Where each function starts, what it is called with, and the floor's operation; those
  # that take a shape away or are done once a shape can do no more than there are.
  @functions [
    add_shape: %{store: :empty, inputs: :each},
    mark_snapshot_complete: %{store: :added, inputs: :once},
    remove_shape: %{store: :stock, inputs: :once},
    handle_for_shape: %{store: :stock, inputs: :any},
    shape_for_handle: %{store: :stock, inputs: :warm},
    handle_exists?: %{store: :stock, inputs: :any},
    count_shapes: %{store: :stock, inputs: :any},
    shape_handles_for_relations: %{store: :stock, inputs: :any}
  ]

  @impl true
  def workloads(config) do
    Enum.map(@functions, &loads(config, &1)) ++
      for(adds <- @adds, lookups <- @lookups, do: beside(config, adds, lookups))
  end

  # --- adds beside lookups

  defp beside(config, adds, lookups) do
    name = "open_#{Config.size_name(adds)}_#{Config.size_name(lookups)}"

    measure = fn operation ->
      kinds = [
        kind(:add_shape, adds, :beside, operation),
        kind(:handle_for_shape, div(lookups, 2), :any, operation),
        kind(:shape_for_handle, div(lookups, 2), :warm, operation)
      ]

      for {kind, outcome} <- OpenLoop.run(kinds, config.mixed_ms),
          sample <- samples("#{name}_#{kind}", outcome),
          do: sample
    end

    %Workload{
      names: [name],
      run: fn side ->
        Store.with_temporary_store(side, Stock.copy(config, side, @size), fn store ->
          warm_up(store)
          measure.(&operation(store, &1))
        end)
      end,
      floor: fn -> measure.(&term_work/1) end
    }
  end

  # --- one function alone, by its load

  defp loads(config, {function, about}) do
    names = ["capacity_#{function}" | Enum.map(@loads, &"load#{&1}_#{function}")]

    %Workload{
      names: names,
      run: fn side ->
        capacity = capacity(config, side, function, about)
        if side.name == :ours, do: :persistent_term.put({__MODULE__, function}, capacity)

        samples =
          for load <- @loads do
            with_store(config, side, about.store, fn store ->
              loaded(config, function, about, load, capacity, &operation(store, &1))
            end)
          end

        [Sample.new("capacity_#{function}", "ops/s", capacity) | List.flatten(samples)]
      end,
      floor: fn ->
        case :persistent_term.get({__MODULE__, function}, nil) do
          nil ->
            []

          rate ->
            Enum.flat_map(
              @loads,
              &loaded(config, function, about, &1, rate, fn f -> term_work(f) end)
            )
        end
      end
    }
  end

  defp capacity(config, side, function, about) do
    with_store(config, side, about.store, fn store ->
      kind = kind(function, :burst, about.inputs, &operation(store, &1))
      %{^function => outcome} = OpenLoop.run([%{kind | most: @at_once}], 10_000)
      round(outcome.operations * 1.0e9 / outcome.elapsed_ns)
    end)
  end

  defp loaded(config, function, about, load, capacity, operation) do
    rate = max(div(capacity * load, 100), 1)
    kind = kind(function, rate, about.inputs, operation)
    outcomes = OpenLoop.run([kind], config.mixed_ms)

    samples("load#{load}_#{function}", outcomes[function]) ++
      samples("load#{load}_#{function}_pacer", outcomes.pacer)
  end

  defp samples(name, outcome) do
    all = outcome.operations + outcome.undone
    undone = Sample.new("#{name}_undone", "%", 100 * outcome.undone / all)

    work =
      if outcome.work_ns == [],
        do: [],
        else: Sample.latencies("#{name}_work", %{outcome | latencies_ns: outcome.work_ns})

    Sample.rate_and_latencies(name, outcome) ++ work ++ [undone]
  end

  defp with_store(config, side, :empty, fun), do: Store.with_fresh_store(config, side, fun)

  defp with_store(config, side, :added, fun) do
    Store.with_fresh_store(config, side, fn store ->
      for {handle, shape} <- Shapes.range(0..(@size - 1)),
          do: {:ok, _hash} = store.db.add_shape(store.stack_id, shape, handle)

      Store.flush(store)
      fun.(store)
    end)
  end

  defp with_store(config, side, :stock, fun) do
    Store.with_temporary_store(side, Stock.copy(config, side, @size), fn store ->
      warm_up(store)
      fun.(store)
    end)
  end

  # Every shape read once, and the warm ones as often as clients that ask for them.
  defp warm_up(store) do
    Store.read_all(store, Shapes.range(0..(@size - 1)))
    warm = Shapes.range(0..(Shapes.warm() - 1))
    for _ <- 1..@warm_reads, do: Store.read_all(store, warm)
  end

  # --- operations and their inputs

  defp kind(function, rate, inputs, operation) do
    %Kind{
      name: function,
      rate: rate,
      input: input(inputs),
      operation: operation.(function),
      most: if(inputs == :once, do: @size)
    }
  end

  defp input(inputs) when inputs in [:each, :once], do: & &1
  # Behind those that are there.
  defp input(:beside), do: &(@size + &1)
  defp input(:any), do: &:erlang.phash2({:any, &1}, @size)
  defp input(:warm), do: &:erlang.phash2({:warm, &1}, Shapes.warm())

  defp operation(%{db: db, stack_id: id}, function) do
    case function do
      :add_shape ->
        on_shape(fn {handle, shape} -> {:ok, _hash} = db.add_shape(id, shape, handle) end)

      :mark_snapshot_complete ->
        on_shape(fn {handle, _} -> :ok = db.mark_snapshot_complete(id, handle) end)

      :remove_shape ->
        on_shape(fn {handle, _} -> :ok = db.remove_shape(id, handle) end)

      :handle_for_shape ->
        on_shape(fn {handle, shape} -> {:ok, ^handle} = db.handle_for_shape(id, shape) end)

      :shape_for_handle ->
        on_shape(fn {handle, _} -> {:ok, _} = db.shape_for_handle(id, handle) end)

      :handle_exists? ->
        on_shape(fn {handle, _} -> true = db.handle_exists?(id, handle) end)

      :count_shapes ->
        fn _input -> {:ok, _} = db.count_shapes(id) end

      :shape_handles_for_relations ->
        on_shape(fn {_, shape} ->
          {:ok, [_ | _]} = db.shape_handles_for_relations(id, [relation(shape)])
        end)
    end
  end

  defp term_work(function) do
    case function do
      :add_shape -> on_shape(&Floor.add/1)
      :handle_for_shape -> on_shape(&Floor.find/1)
      _no_term -> on_shape(&Floor.look_up_stack/1)
    end
  end

  defp on_shape(fun), do: fn input -> input |> Shapes.at() |> fun.() end

  defp relation(shape), do: {shape.root_table_id, shape.root_table}
end
