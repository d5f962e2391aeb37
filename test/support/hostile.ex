defmodule ElectricShapeDb.Hostile do
  @moduledoc """
  Calls every function of `Native` with whatever there is: the arguments it takes,
  random terms, stores and connections of stacks that live, have closed or lost
  their owner, what earlier calls returned or sent. Many processes at once, some
  of them killed in their call, in a VM that may fall.
  """

  import ElectricShapeDb.Samples

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores
  alias ElectricShapeDb.Hostile.Arguments
  alias ElectricShapeDb.PeerVM

  @workers 16
  @stuck_after 10_000
  # What ends a store for all, or empties it, comes seldom.
  @seldom [:close, :reset, :remove_incomplete]

  @doc "The functions that are called."
  @spec functions() :: [{atom(), arity()}]
  def functions do
    for {name, arity} <- Native.__info__(:functions),
        arity > 0,
        _ <- if(name in @seldom, do: [1], else: 1..20),
        do: {name, arity}
  end

  @doc """
  Makes about `calls` calls and gives how many came back. Run it in the VM that
  is to be tried. Whoever is stuck in a call is killed, and is an error.
  """
  @spec run(pos_integer(), integer(), Path.t()) ::
          {:ok, non_neg_integer()} | {:error, {:stuck, {atom(), [term()]}}}
  def run(calls, seed, dir) do
    :ok = :file.set_cwd(String.to_charlist(dir))
    pool = Arguments.pool(stores(dir), dir)
    functions = List.to_tuple(functions())
    share = div(calls, @workers)

    workers =
      for n <- 1..@workers do
        spawn_monitor(fn -> work(share, {seed, n, 0}, functions, pool) end)
      end

    await(workers, %{}, share * @workers)
  end

  @doc "Whether a store can be opened and used, after all this."
  @spec well?(Path.t()) :: boolean()
  def well?(dir) do
    :ok = PeerVM.run_store("well", storage_dir: Path.join(dir, "well"))
    {:ok, _} = ShapeDb.add_shape("well", shape(1), handle(1))
    :ok = ShapeDb.WriteBuffer.flush_sync("well")
    ShapeDb.list_shapes!("well") == [{handle(1), shape(1)}]
  end

  defp work(calls, seed, functions, pool) do
    :rand.seed(:exsss, seed)

    Enum.reduce(1..calls, pool, fn _, pool ->
      {name, arity} = elem(functions, :rand.uniform(tuple_size(functions)) - 1)
      args = Arguments.for_call(name, arity, pool)
      Process.put(:call, {name, args})

      if :rand.uniform(100) == 1 do
        die_calling(name, args)
        pool
      else
        received(Arguments.keep(pool, name, call(name, args)))
      end
    end)
  end

  defp call(name, args) do
    apply(Native, name, args)
  catch
    _kind, _reason -> :refused
  end

  # In the call or, when that is quicker, with what it was given.
  defp die_calling(name, args) do
    pid = spawn(fn -> {call(name, args), receive(do: (:never -> :ok))} end)
    if :rand.uniform(2) == 1, do: :erlang.yield()
    Process.exit(pid, :kill)
  end

  # Leases come as messages, and what a store tells its owner.
  defp received(pool) do
    receive do
      message -> received(Arguments.keep(pool, :message, message))
    after
      0 -> pool
    end
  end

  # Looks in on the workers; one that is in the same call for too long is stuck.
  defp await([], _seen, calls), do: {:ok, calls}

  defp await([{pid, monitor} | rest] = workers, seen, calls) do
    receive do
      {:DOWN, ^monitor, :process, ^pid, :normal} ->
        await(rest, seen, calls)

      {:DOWN, ^monitor, :process, ^pid, reason} ->
        {:error, reason}
    after
      @stuck_after ->
        now = {reductions(pid), current_call(pid)}

        if seen[pid] == now do
          for {worker, _} <- workers, do: Process.exit(worker, :kill)
          {:error, {:stuck, elem(now, 1)}}
        else
          await(workers, Map.put(seen, pid, now), calls)
        end
    end
  end

  defp reductions(pid), do: Process.info(pid, :reductions)

  defp current_call(pid) do
    with {:dictionary, dictionary} <- Process.info(pid, :dictionary), do: dictionary[:call]
  end

  defp stores(dir) do
    for {name, opts, ending} <- [
          {"alive", [], nil},
          {"narrow", [max_pending_ops: 5], nil},
          {"memory", [storage_dir: ":memory:", exclusive_mode: true], nil},
          {"closed", [], &Supervisor.stop/1},
          {"killed", [], &Process.exit(&1, :kill)}
        ],
        do: store(name, Keyword.put_new(opts, :storage_dir, Path.join(dir, name)), ending)
  end

  defp store(stack_id, opts, nil) do
    :ok = PeerVM.run_store(stack_id, opts)
    filled(stack_id)
  end

  defp store(stack_id, opts, ending) do
    Process.flag(:trap_exit, true)
    {:ok, supervisor} = ShapeDb.Supervisor.start_link(stack_id: stack_id, shape_db_opts: opts)
    store = filled(stack_id)
    ending.(supervisor)
    receive do: ({:EXIT, ^supervisor, _reason} -> store)
  end

  defp filled(stack_id) do
    for n <- 1..20, do: {:ok, _} = ShapeDb.add_shape(stack_id, shape(n), handle(n))
    {:ok, store} = Stores.fetch(stack_id)
    store
  end
end
