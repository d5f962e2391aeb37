defmodule ElectricShapeDb.Hostile do
  @moduledoc """
  Calls every function of `Native` with whatever there is: random terms, stores
  and connections of live and of closed stacks, what earlier calls returned.
  Many processes at once, in a VM that may fall.
  """

  import ElectricShapeDb.Samples

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Connection
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Native
  alias ElectricShapeDb.PeerVM

  @workers 16
  @stuck_after 10_000
  @atoms [nil, true, false, :ok, :error, :sync, :buffered, :read, :write, :infinity, :undefined] ++
           [:storage_dir, :path, :started, :complete, Native, Electric.Shapes.Shape]
  @integers [0, 1, -1, 2, 255, 256, 65_535, 0x7FFFFFFF, 0x80000000, -0x80000000] ++
              [0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, -0x8000000000000000, 0xFFFFFFFFFFFFFFFF, 2 ** 100]

  @doc "The functions that are called."
  @spec functions() :: [{atom(), arity()}]
  def functions do
    for {name, arity} <- Native.__info__(:functions), arity > 0, do: {name, arity}
  end

  @doc """
  Makes about `calls` calls and gives how many came back. Run it in the VM that
  is to be tried. Whoever is stuck in a call is killed, and is an error.
  """
  @spec run(pos_integer(), integer(), Path.t()) ::
          {:ok, non_neg_integer()} | {:error, {:stuck, {atom(), [term()]}}}
  def run(calls, seed, dir) do
    :ok = :file.set_cwd(String.to_charlist(dir))
    resources = resources(dir)
    functions = functions()
    share = div(calls, @workers)

    workers =
      for n <- 1..@workers do
        spawn_monitor(fn -> work(share, {seed, n, 0}, functions, [dir | resources]) end)
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
      {name, arity} = Enum.random(functions)
      args = for _ <- 1..arity, do: argument(pool)
      Process.put(:call, {name, args})
      keep(call(name, args), pool)
    end)
  end

  defp call(name, args) do
    apply(Native, name, args)
  catch
    _kind, _reason -> :refused
  end

  # What a call made is an argument of later ones.
  defp keep(result, pool) do
    case references(result) do
      [] -> pool
      found -> Enum.take(found ++ pool, 60)
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

  # Stores and connections: of two stacks that run, and of one that has closed.
  defp resources(dir) do
    alive = stack("alive", storage_dir: Path.join(dir, "alive"))
    memory = stack("memory", storage_dir: ":memory:", exclusive_mode: true)
    closed = closed_stack("closed", storage_dir: Path.join(dir, "closed"))
    alive ++ memory ++ closed
  end

  defp stack(stack_id, opts) do
    :ok = PeerVM.run_store(stack_id, opts)
    resources_of(stack_id)
  end

  defp closed_stack(stack_id, opts) do
    {:ok, supervisor} = ShapeDb.Supervisor.start_link(stack_id: stack_id, shape_db_opts: opts)
    resources = resources_of(stack_id)
    Supervisor.stop(supervisor)
    resources
  end

  defp resources_of(stack_id) do
    for n <- 1..20, do: {:ok, _} = ShapeDb.add_shape(stack_id, shape(n), handle(n))
    conn = Connection.checkout!(stack_id, :hostile, & &1.conn)
    stores = for {key, value} <- :persistent_term.get(), inspect(key) =~ stack_id, do: value
    [conn | references(stores)]
  end

  defp references(reference) when is_reference(reference), do: [reference]
  defp references([head | tail]), do: references(head) ++ references(tail)
  defp references(tuple) when is_tuple(tuple), do: references(Tuple.to_list(tuple))
  defp references(%{} = map), do: map |> Map.delete(:__struct__) |> Map.values() |> references()
  defp references(_), do: []

  # Mostly what a function might take, so that calls get past the first check.
  defp argument(pool) do
    case :rand.uniform(10) do
      n when n <= 5 -> Enum.random(pool)
      6 -> handle(:rand.uniform(20))
      7 -> :erlang.term_to_binary(shape(:rand.uniform(20)))
      _ -> term(3)
    end
  end

  defp term(0), do: Enum.random(@integers)

  defp term(depth) do
    case :rand.uniform(16) do
      1 -> Enum.random(@integers)
      2 -> :rand.uniform(1_000)
      3 -> :rand.normal() * 1.0e10
      4 -> Enum.random(@atoms)
      5 -> :rand.bytes(:rand.uniform(64) - 1)
      6 -> :binary.copy(<<0>>, Enum.random([0, 1, 4_096, 1_000_000]))
      7 -> <<:rand.uniform(7)::3>>
      8 -> for _ <- 1..:rand.uniform(4), do: term(depth - 1)
      9 -> [term(depth - 1) | term(depth - 1)]
      10 -> List.to_tuple(for _ <- 1..:rand.uniform(5), do: term(depth - 1))
      11 -> %{term(depth - 1) => term(depth - 1)}
      12 -> {Enum.random(@atoms), term(depth - 1)}
      13 -> self()
      14 -> make_ref()
      15 -> Enum.random(["SELECT 1", "SELECT ?", "PRAGMA user_version", "INSERT INTO shapes", ""])
      16 -> Enum.random([[], %{}, {}, &Function.identity/1])
    end
  end
end
