defmodule Bench.Workloads.Meta do
  @moduledoc """
  What the host asks of a shape on each request, and what it does with all of them: by the
  store's index, and as `peer` by the host's own tables (`Bench.HostTables`) beside **this**
  store, so that the ratio is that of the tables alone. Only the start is compared with the
  start of the replaced design.
  """

  @behaviour Bench.Workload

  alias Bench.{Crew, HostTables, Sample, Shapes, Side, Stock, Store, Workload}

  @size 20_000
  @many 200_000
  @boot 100_000
  @per_process 2_000
  @coldest 100

  @impl true
  def workloads(config) do
    operations = [
      {"touch", &touch/1},
      {"validate_shape_handle", &validate/1},
      {"lookup_touched", &lookup/1},
      {"count_by_flags", &count/1},
      {"shape_counts", &counts/1}
    ]

    for({name, operation} <- operations, do: repeated(config, name, operation)) ++
      [least_recently_used(config), beside_touches(config), boot(config)]
  end

  # Each by the side it is of.

  defp touch({:ours, %{db: db, stack_id: id}}),
    do: fn {handle, _} -> true = db.touch(id, handle) end

  defp touch({:peer, %{stack_id: id}}),
    do: fn {handle, _} -> true = HostTables.touch(id, handle) end

  defp validate({:ours, %{db: db, stack_id: id}}) do
    fn {handle, hash} -> :ok = db.validate_shape_handle(id, handle, hash) end
  end

  defp validate({:peer, %{stack_id: id}}) do
    fn {handle, hash} -> :ok = HostTables.validate(id, handle, hash) end
  end

  defp lookup({:ours, %{db: db, stack_id: id}}) do
    fn {handle, shape} ->
      {:ok, %{handle: ^handle, snapshot_started?: true}} = db.lookup(id, shape, touch: true)
    end
  end

  defp lookup({:peer, %{db: db, stack_id: id}}) do
    fn {handle, shape} ->
      {:ok, ^handle} = db.handle_for_shape(id, shape)
      true = HostTables.snapshot_started?(id, handle)
      true = HostTables.touch(id, handle)
    end
  end

  defp count({:ours, %{db: db, stack_id: id}}),
    do: fn _ -> true = db.count_by_flags(id, 1, 1) > 0 end

  defp count({:peer, %{stack_id: id}}), do: fn _ -> true = HostTables.indexed_count(id) > 0 end

  # Two calls beside one.
  defp counts({:ours, %{db: db, stack_id: id}}) do
    fn _ ->
      {indexed, unindexed} = {db.count_by_flags(id, 1, 1), db.count_by_flags(id, 1, 0)}
      {@size, ^indexed, ^unindexed} = {indexed + unindexed, indexed, unindexed}
    end
  end

  defp counts({:peer, %{stack_id: id}}), do: fn _ -> {@size, _, _} = HostTables.counts(id) end

  defp repeated(config, name, operation) do
    inputs = if name == "validate_shape_handle", do: &hashes/1, else: &known/1

    %Workload{
      names: [name],
      run: fn side ->
        with_stock(config, side, @size, fn store ->
          for processes <- Workload.processes(), reduce: [] do
            samples ->
              job = %Crew.Job{
                name: :meta,
                processes: processes,
                inputs: inputs,
                operation: operation.({side.name, store}),
                until: {:for, config.read_ms}
              }

              samples ++ Sample.rate_and_latencies("#{name}/#{processes}", Crew.run(job))
          end
        end)
      end
    }
  end

  defp known(number), do: Shapes.scattered(@size, number, @per_process)

  defp hashes(number) do
    for {handle, shape} <- known(number) do
      {_comparable, hash} = Electric.Shapes.Shape.comparable_hash(shape)
      {handle, hash}
    end
  end

  defp least_recently_used(config) do
    %Workload{
      names: ["least_recently_used_200k_ms"],
      run: fn side ->
        with_stock(config, side, @many, fn store ->
          spread_times(side, store, @many)
          us = for _ <- 1..5, do: timed(fn -> coldest(side, store) end)
          [Sample.new("least_recently_used_200k_ms", "ms", median(us) / 1_000)]
        end)
      end,
      rounds: 2
    }
  end

  # Ten times a second, while others read: what they wait.
  defp beside_touches(config) do
    %Workload{
      names: ["touch_beside_least_recently_used"],
      run: fn side ->
        with_stock(config, side, @many, fn store ->
          spread_times(side, store, @many)

          touching = %Crew.Job{
            name: :touch,
            processes: 4,
            inputs: &known/1,
            operation: touch({side.name, store}),
            until: {:for, config.read_ms}
          }

          looking = %Crew.Job{
            name: :look,
            processes: 1,
            inputs: fn _ -> [:once] end,
            operation: fn _ -> coldest(side, store) end,
            until: {:for, config.read_ms},
            pace: 10
          }

          %{touch: outcome} = Crew.run_all([touching, looking])
          Sample.rate_and_latencies("touch_beside_least_recently_used", outcome)
        end)
      end,
      rounds: 2
    }
  end

  defp coldest(%{name: :ours}, %{db: db, stack_id: id}) do
    {handles, _minutes} = db.least_recently_used(id, @coldest)
    @coldest = length(handles)
  end

  defp coldest(%{name: :peer}, %{stack_id: id}) do
    {handles, _minutes} = HostTables.least_recently_used(id, @coldest)
    @coldest = length(handles)
  end

  # In no order.
  defp spread_times(side, store, size) do
    for index <- Enum.sort_by(0..(size - 1), &:erlang.phash2/1) do
      {handle, _shape} = Shapes.at(index)
      touch({side.name, store}).({handle, nil})
    end
  end

  # From nothing to a host that serves: ours with flags and counts in the file, the other
  # with the replaced design, and what the host does then.
  defp boot(config) do
    name = "boot_100k_ms"

    %Workload{
      names: [name],
      run: fn side ->
        directory = Stock.directory(config, side, @boot)
        # The flags of the stock are computed once, as after a deploy that changes them.
        if side.name == :ours, do: Store.with_store(flagged(side), directory, fn _ -> :ok end)
        {us, store} = :timer.tc(fn -> boot(side, directory) end)
        if side.name == :peer, do: HostTables.stop(store.stack_id)
        Store.stop(store)
        [Sample.new(name, "ms", us / 1_000)]
      end
    }
  end

  defp boot(%{name: :ours} = side, directory) do
    store = Store.start(flagged(side), directory)
    {:ok, [], @boot} = store.db.validate_existing_shapes(store.stack_id)
    indexed = store.db.count_by_flags(store.stack_id, 1, 1)
    @boot = indexed + store.db.count_by_flags(store.stack_id, 1, 0)
    [] = store.db.handles_by_flags(store.stack_id, 2, 2)
    store
  end

  defp boot(%{name: :peer} = side, directory) do
    store = Store.start(side, directory)
    {:ok, [], @boot} = store.db.validate_existing_shapes(store.stack_id)
    HostTables.start(store.stack_id)
    HostTables.boot(store.stack_id, store.db, &indexed?/1)
    # Those that take part in a subquery.
    {:ok, shapes} = store.db.list_shapes(store.stack_id)
    [] = for {handle, %{shape_dependencies: [_ | _]}} <- shapes, do: handle
    store
  end

  defp flagged(side), do: %{side | options: [flags: {1, &flags/1}]}

  @doc "The flags of a shape: indexed by the filter, part of a subquery."
  @spec flags(struct()) :: byte()
  def flags(shape) do
    indexed = if indexed?(shape), do: 1, else: 0
    if shape.shape_dependencies == [], do: indexed, else: indexed + 2
  end

  defp indexed?(shape), do: rem(shape.root_table_id, 2) == 0

  # Of either side on our store, with flags; the host's tables are filled from it.
  defp with_stock(config, side, size, fun) do
    ours = Side.ours()

    Store.with_store(flagged(ours), Stock.directory(config, ours, size), fn store ->
      if side.name == :peer do
        HostTables.start(store.stack_id)
        HostTables.boot(store.stack_id, store.db, &indexed?/1)
      end

      try do
        fun.(store)
      after
        if side.name == :peer, do: HostTables.stop(store.stack_id)
      end
    end)
  end

  defp timed(fun), do: fun |> :timer.tc() |> elem(0)
  defp median(values), do: values |> Enum.sort() |> Enum.at(div(length(values), 2))
end
