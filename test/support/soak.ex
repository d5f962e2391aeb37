defmodule ElectricShapeDb.Soak do
  @moduledoc """
  A steady load on one store for a long time, in a VM of its own whose memory is
  watched. Each worker knows what its shapes are, and takes any other answer for
  an error.
  """

  import ElectricShapeDb.Samples

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias ElectricShapeDb.PeerVM
  alias ElectricShapeDb.Threads

  @stack "soak"
  @workers 5
  @a_second 5_000
  @tick 20
  @at_once div(@a_second * @tick, @workers * 1_000)
  @samples 10
  @tables 50
  # Of each worker.
  @shapes 300
  @long 20

  @type counts :: %{atom() => non_neg_integer()}

  @doc """
  Loads a store in `dir` for so many milliseconds, of which a fifth is to get
  warm. The sizes are the least of some looks in the tenth after that and in the
  last one: what garbage there is at the moment is nobody's leak.
  """
  @spec run(pos_integer(), Path.t()) :: counts()
  def run(duration, dir) do
    :ok = PeerVM.run_store(@stack, storage_dir: dir)
    workers = for n <- 1..@workers, do: spawn_monitor(fn -> work(worker(n)) end)
    watcher = watch_schedules()
    pass(div(duration, 10) * 2)
    start = least_rss(div(duration, 10))
    pass(div(duration, 10) * 6)
    finish = least_rss(div(duration, 10))
    done = Enum.map(workers, &stop/1)
    :ok = ShapeDb.WriteBuffer.flush_sync(@stack, 60_000)
    shapes = done |> Enum.map(& &1.count) |> Enum.sum()
    errors = done |> Enum.map(& &1.errors) |> Enum.sum()
    miscounted = if ShapeDb.count_shapes(@stack) == {:ok, shapes}, do: 0, else: 1

    %{
      ops: done |> Enum.map(& &1.ops) |> Enum.sum(),
      rss_start: start,
      rss_end: finish,
      long_schedules: ask(watcher, :count),
      errors: errors + miscounted
    }
  end

  # --- a worker: its shapes are numbers, the oldest and the youngest known

  defp worker(n) do
    :rand.seed(:exsss, n)
    send(self(), :tick)
    %{base: n * 1_000_000_000, oldest: 0, youngest: 0, count: 0, ops: 0, errors: 0}
  end

  # Ticks are counted from the start, so that a late one is made up for.
  defp work(worker, next \\ System.monotonic_time(:millisecond)) do
    receive do
      :tick ->
        Process.send_after(self(), :tick, next + @tick, abs: true)
        work(Enum.reduce(1..@at_once, worker, fn _, worker -> step(worker) end), next + @tick)

      {:stop, to} ->
        send(to, {self(), worker})
    end
  end

  defp step(%{count: count} = worker) do
    {worker, expected, got} =
      case :rand.uniform(1_000) do
        n when n <= 500 or count == 0 -> add_or_remove(worker)
        n when n <= 600 -> mark(worker)
        n when n <= 996 -> look_up(worker)
        n -> list(worker, n)
      end

    errors = if expected == got, do: worker.errors, else: worker.errors + 1
    %{worker | ops: worker.ops + 1, errors: errors}
  end

  # The more it has the more it removes.
  defp add_or_remove(worker) do
    if :rand.uniform(2 * @shapes) > worker.count, do: add(worker), else: remove(worker)
  end

  defp add(worker) do
    n = worker.youngest + 1
    shape = sample(worker, n)
    got = ShapeDb.add_shape(@stack, shape, name(worker, n))
    {%{worker | youngest: n, count: worker.count + 1}, {:ok, hash(shape)}, got}
  end

  defp remove(worker) do
    n = worker.oldest + 1
    got = ShapeDb.remove_shape(@stack, name(worker, n))
    {%{worker | oldest: n, count: worker.count - 1}, :ok, got}
  end

  defp mark(worker) do
    n = worker.oldest + :rand.uniform(worker.count)
    {worker, :ok, ShapeDb.mark_snapshot_complete(@stack, name(worker, n))}
  end

  defp look_up(worker) do
    n = any(worker)
    there? = n > worker.oldest and n <= worker.youngest
    {shape, name} = {sample(worker, n), name(worker, n)}

    case :rand.uniform(3) do
      1 -> {worker, found(there?, name), ShapeDb.handle_for_shape(@stack, shape)}
      2 -> {worker, found(there?, shape), ShapeDb.shape_for_handle(@stack, name)}
      3 -> {worker, there?, ShapeDb.handle_exists?(@stack, name)}
    end
  end

  defp found(true, value), do: {:ok, value}
  defp found(false, _value), do: :error

  # Those of the others come and go: only its own are known.
  defp list(worker, 997) do
    own =
      for n <- (worker.oldest + 1)..worker.youngest//1, do: {name(worker, n), sample(worker, n)}

    # In a process of its own, so that no heap keeps the size of a list.
    list = fn -> Map.take(Map.new(ShapeDb.list_shapes!(@stack)), Enum.map(own, &elem(&1, 0))) end
    {worker, Map.new(own), list |> Task.async() |> Task.await(:infinity)}
  end

  defp list(worker, 998) do
    metas = ShapeDb.reduce_shape_meta(@stack, 0, fn _, n -> n + 1 end)
    {worker, true, metas >= worker.count}
  end

  defp list(worker, _) do
    n = any(worker)
    handles = ShapeDb.shape_handles_for_relations!(@stack, [relation(rem(n, @tables))])
    there? = n > worker.oldest and n <= worker.youngest
    {worker, there?, name(worker, n) in handles}
  end

  # Mostly one that is there, now and then one that was.
  defp any(worker), do: max(worker.oldest - 5, 0) + :rand.uniform(worker.count + 5)

  defp name(worker, n), do: handle(worker.base + n)
  defp sample(worker, n), do: shape_on(rem(n, @tables), worker.base + n)

  defp stop({pid, monitor}) do
    send(pid, {:stop, self()})

    receive do
      {^pid, worker} -> worker
      {:DOWN, ^monitor, :process, ^pid, reason} -> exit(reason)
    end
  end

  # --- what is watched

  # Of all processes: nothing else runs here, and a long native call is reported
  # wherever its process goes on afterwards.
  defp watch_schedules do
    spawn(fn ->
      :erlang.system_monitor(self(), long_schedule: @long)
      count_schedules(0)
    end)
  end

  defp count_schedules(count) do
    receive do
      {:monitor, _process, :long_schedule, _info} -> count_schedules(count + 1)
      {:count, from} -> send(from, {self(), count})
    end
  end

  defp ask(watcher, question) do
    send(watcher, {question, self()})
    receive do: ({^watcher, answer} -> answer)
  end

  defp least_rss(duration) do
    Enum.min(
      for _ <- 1..@samples do
        pass(div(duration, @samples))
        Threads.rss()
      end
    )
  end

  defp pass(milliseconds) do
    receive after: (milliseconds -> :ok)
  end
end
