defmodule Bench.Workloads.Sizes do
  @moduledoc """
  What depends on how many shapes there are, at 20,000, 100,000 and 1,000,000:
  restart, reading all of them, and how lookups and adds slow down.

  A restart lasts until the boot's work is done: the store is up, has checked which
  shapes are complete, has handed every shape's metadata to the host, and has
  answered a first lookup.
  """

  @behaviour Bench.Workload

  alias Bench.{Config, Crew, Floor, Sample, Shapes, Side, Stock, Store, Workload}

  @processes 16
  @per_process 4_000
  @added 20_000
  @large 1_000_000
  # More than 20,000 decoded shapes need.
  @decoded_words 20_000_000

  @impl true
  def workloads(config), do: Enum.map(config.sizes, &workload(config, &1)) ++ [whole(config)]

  defp whole(config) do
    %Workload{
      names: ["list_shapes_20k_whole_ms"],
      run: fn side ->
        Store.with_store(Side.whole(side), Stock.directory(config, side, @added), fn store ->
          list_us = in_fresh_process(fn -> list(store) end)
          [Sample.new("list_shapes_20k_whole_ms", "ms", list_us / 1_000)]
        end)
      end
    }
  end

  defp workload(config, size) do
    label = Config.size_name(size)

    %Workload{
      names:
        for(name <- ~w(restart list_shapes reduce_meta), do: "#{name}_#{label}_ms") ++
          ["lookup_#{label}", "add_#{label}", "growth_lookup_#{label}", "growth_add_#{label}"],
      run: fn side -> measure(config, side, size, label) end,
      floor: fn -> floors(size, label) end,
      rounds: if(size >= @large, do: 3, else: :all)
    }
  end

  # Adding and removing leaves its traces in a file, which a copy keeps out of the
  # stock. With a million shapes they are small and the copies would take minutes.
  defp measure(config, side, size, label) when size < @large do
    directory = Stock.copy(config, side, size)
    samples = measure(config, side, size, label, directory)
    File.rm_rf!(directory)
    samples
  end

  defp measure(config, side, size, label) do
    measure(config, side, size, label, Stock.directory(config, side, size))
  end

  defp measure(config, side, size, label, directory) do
    {restart_us, store} = :timer.tc(fn -> restart(side, directory, size) end)
    reduce_us = in_fresh_process(fn -> reduce_meta(store, size) end)
    list_us = in_fresh_process(fn -> list(store) end)
    found = look_up(config, size, find(store))
    added = add_and_remove(store, size)
    Store.stop(store)

    [
      Sample.new("restart_#{label}_ms", "ms", restart_us / 1_000),
      Sample.new("reduce_meta_#{label}_ms", "ms", reduce_us / 1_000),
      Sample.new("list_shapes_#{label}_ms", "ms", list_us / 1_000)
    ] ++
      Sample.rate_and_latencies("lookup_#{label}", found) ++
      Sample.rate_and_latencies("add_#{label}", added)
  end

  defp restart(side, directory, size) do
    store = Store.start(side, directory)
    {:ok, [], ^size} = store.db.validate_existing_shapes(store.stack_id)
    reduce_meta(store, size)
    find(store).(Shapes.at(0))
    store
  end

  defp reduce_meta(store, size) do
    ^size = store.db.reduce_shape_meta(store.stack_id, 0, fn {_, _, true}, count -> count + 1 end)
  end

  defp list(store), do: {:ok, [_ | _]} = store.db.list_shapes(store.stack_id)

  defp find(%{db: db, stack_id: id}) do
    fn {handle, shape} -> {:ok, ^handle} = db.handle_for_shape(id, shape) end
  end

  defp look_up(config, size, operation) do
    Crew.run(%Crew.Job{
      name: :find,
      processes: @processes,
      inputs: &Shapes.scattered(size, &1, @per_process),
      operation: operation,
      until: {:for, config.read_ms}
    })
  end

  # The store is left with the shapes that it had.
  defp add_and_remove(%{db: db, stack_id: id} = store, size) do
    outcome =
      Crew.run(%Crew.Job{
        name: :add,
        processes: @processes,
        inputs: &new_shapes(size, &1),
        operation: fn {handle, shape} -> {:ok, _hash} = db.add_shape(id, shape, handle) end
      })

    Store.flush(store)

    for number <- 1..@processes,
        {handle, _} <- new_shapes(size, number),
        do: :ok = db.remove_shape(id, handle)

    Store.flush(store)
    outcome
  end

  defp new_shapes(size, number) do
    for index <- Shapes.share(@added, number, @processes), do: Shapes.at(size + index)
  end

  # Decoding 20,000 bodies stands for any number; the heap is large enough for what
  # they become, so that this is the decoding alone.
  defp floors(size, label) do
    bodies = for {_, shape} <- Shapes.range(0..(@added - 1)), do: Floor.encode(shape)
    meta = for index <- 0..(size - 1), do: {index, 1, true}
    count = fn {_, _, true}, count -> count + 1 end
    decode_us = in_fresh_process(fn -> Enum.map(bodies, &Floor.decode/1) end, @decoded_words)
    reduce_us = in_fresh_process(fn -> Enum.reduce(meta, 0, count) end)

    [
      Sample.new("list_shapes_#{label}_ms", "ms", decode_us / 1_000 * size / @added),
      Sample.new("reduce_meta_#{label}_ms", "ms", reduce_us / 1_000)
    ]
  end

  # With a heap of its own, so that no other work's garbage is collected in its time.
  defp in_fresh_process(fun, heap_words \\ 1_000) do
    caller = self()
    measure = fn -> send(caller, {:took, fun |> :timer.tc() |> elem(0)}) end
    :erlang.spawn_opt(measure, [:link, min_heap_size: heap_words])
    receive do: ({:took, microseconds} -> microseconds)
  end
end
