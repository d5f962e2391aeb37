# Many stacks in one VM: MIX_ENV=prod mix run bench/stacks.exs
#
#   STACKS=5000   how many idle ones
#   BUSY=200      how many are written to at once, beside one that is written to alone
#   SHAPES=10     how many shapes an idle one has
#
# Each stack needs three descriptors when idle, and some more while it starts.
root = __DIR__
Logger.configure(level: :error)

for {module, file} <- [
      {Electric.Shapes.Shape, "../test/support/shape.ex"},
      {Electric.ShapeCache.ShapeStatus, "../test/support/shape_status.ex"},
      {Bench.Shapes, "lib/shapes.ex"}
    ],
    not Code.ensure_loaded?(module),
    do: Code.require_file(file, root)

defmodule Bench.Stacks do
  alias Electric.ShapeCache.ShapeStatus.ShapeDb

  @directory System.get_env("PREPARE") ||
               Path.join(System.tmp_dir!(), "shape-db-stacks-#{System.pid()}")
  # So that connections are closed soon after a start.
  @idle_ms 1_000
  @alive 100_000

  def main do
    Bench.Shapes.load!()
    Process.flag(:trap_exit, true)

    [stacks, busy, shapes] =
      for {n, d} <- [STACKS: 5_000, BUSY: 200, SHAPES: 10], do: number(n, d)

    case System.get_env("PREPARE") do
      nil ->
        try do
          prepare()
          idle(stacks)
          ended()
          busy(busy)
        after
          File.rm_rf!(@directory)
        end

      _directory ->
        # Each has been there before, and has shapes.
        each(0..stacks, fn n ->
          supervisor = start(n)
          for i <- shapes(n, shapes), do: add(n, i)
          Supervisor.stop(supervisor)
        end)
    end
  end

  # In a VM of its own, whose memory is not counted.
  defp prepare do
    mix = System.find_executable("mix")
    arguments = ["run", "--no-compile", __ENV__.file]
    {_output, 0} = System.cmd(mix, arguments, env: [{"PREPARE", @directory}], into: IO.stream())
  end

  defp number(name, default) do
    case System.get_env(Atom.to_string(name)) do
      nil -> default
      text -> String.to_integer(text)
    end
  end

  # --- idle ones

  defp idle(stacks) do
    first = start(0)
    :erlang.garbage_collect()
    Process.sleep(2 * @idle_ms)
    before = look()
    {started, supervisors} = Enum.unzip(for n <- 1..stacks//1, do: timed(fn -> start(n) end))
    show("#{stacks} stacks are started", started)
    eventually(fn -> Enum.all?([1, div(stacks, 2) + 1, stacks], &(connections(&1) == 0)) end)
    # Those that were looked at are closed; the others follow, and every process shrinks.
    Process.sleep(5 * @idle_ms)
    after_all = look()

    IO.puts(
      "idle: #{per(after_all.rss - before.rss, stacks)} KiB each, of which the VM " <>
        "#{per(after_all.vm - before.vm, stacks)}; #{after_all.threads} threads of writers; " <>
        "#{div(after_all.processes - before.processes, stacks)} processes each"
    )

    runtime = fn -> elem(:erlang.statistics(:runtime), 0) end
    was = runtime.()
    Process.sleep(10_000)
    IO.puts("idle: #{(runtime.() - was) / 10} ms of processor a second for all of them")

    {stopped, _} = Enum.unzip(for s <- supervisors, do: timed(fn -> Supervisor.stop(s) end))
    show("they are stopped", stopped)
    Supervisor.stop(first)
  end

  # What starts and ends of a stack cost the other processes of the VM.
  defp ended do
    alone = for _ <- 1..5, do: restarts(20)
    waiting = for _ <- 1..@alive, do: spawn(fn -> receive do: (:stop -> :ok) end)
    beside = for _ <- 1..5, do: restarts(20)
    Enum.each(waiting, &Process.exit(&1, :kill))
    [alone, beside] = for ms <- [alone, beside], do: Enum.at(Enum.sort(ms), 2)
    IO.puts("20 starts and ends: #{alone} ms of processor, #{beside} beside #{@alive} processes")
  end

  defp restarts(count) do
    # What was spawned or killed before is done with.
    Process.sleep(500)
    was = elem(:erlang.statistics(:runtime), 0)
    for _ <- 1..count, do: Supervisor.stop(start(0))
    Process.sleep(500)
    elem(:erlang.statistics(:runtime), 0) - was
  end

  # --- busy ones

  # In turn, and the median of the rounds.
  defp busy(stacks) do
    rounds = for _ <- 1..5, do: {rate(1, 200_000), rate(stacks, 200_000)}
    {alone, many} = Enum.unzip(rounds)
    [alone, many] = for rates <- [alone, many], do: Enum.at(Enum.sort(rates), 2)
    share = round(100 * many / alone)
    IO.puts("busy: 1 stack #{alone} adds/s, #{stacks} stacks #{many}: #{share} %")
    IO.puts("rounds: #{inspect(rounds)}")
  end

  # Until all is committed; by 16 processes in either case.
  defp rate(stacks, adds) do
    numbers = Enum.map(1..stacks, &"busy-#{stacks}-#{&1}-#{System.unique_integer([:positive])}")
    supervisors = for n <- numbers, do: start(n)
    # The first batch of each notes, synced, that its file is in use.
    each(numbers, fn n ->
      add(n, 0)
      ShapeDb.WriteBuffer.flush_sync(id(n), :infinity)
    end)

    each = div(adds, stacks)
    # Each process to another stack with each add.
    parts = for i <- 1..each, {n, k} <- Enum.with_index(numbers), do: {rem(k + i, 16), n, i}
    parts = Enum.group_by(parts, &elem(&1, 0))

    {took, _} =
      timed(fn ->
        parts
        |> Enum.map(fn {_, mine} ->
          Task.async(fn -> for {_, n, i} <- mine, do: add(n, i) end)
        end)
        |> Task.await_many(:infinity)

        for n <- numbers, do: ShapeDb.WriteBuffer.flush_sync(id(n), :infinity)
      end)

    Enum.each(supervisors, &Supervisor.stop/1)
    div(each * stacks * 1_000_000, took)
  end

  # --- helpers

  defp id(n), do: "stack-#{n}"

  defp start(n) do
    opts = [storage_dir: Path.join(@directory, "#{n}"), connection_idle_timeout: @idle_ms]
    {:ok, supervisor} = ShapeDb.Supervisor.start_link(stack_id: id(n), shape_db_opts: opts)
    supervisor
  end

  defp shapes(_n, 0), do: []
  defp shapes(n, shapes), do: (n * shapes)..((n + 1) * shapes - 1)

  defp add(n, index) do
    {handle, shape} = Bench.Shapes.at(index)
    {:ok, _hash} = ShapeDb.add_shape(id(n), shape, handle)
  end

  # Before the clock runs, by several at once: what waits for the disk here is no part of it.
  defp each(numbers, fun) do
    numbers
    |> Task.async_stream(fun, max_concurrency: 16, timeout: :infinity)
    |> Stream.run()
  end

  defp connections(n) do
    {:ok, statistics} = ShapeDb.statistics(id(n))
    statistics.connections
  end

  defp eventually(fun) do
    unless fun.() do
      Process.sleep(100)
      eventually(fun)
    end
  end

  defp timed(fun), do: :timer.tc(fun)

  defp look do
    status = File.read!("/proc/self/status")
    [_, rss] = Regex.run(~r/VmRSS:\s+(\d+)/, status)
    comm = fn task -> File.read!("/proc/self/task/#{task}/comm") end

    %{
      rss: String.to_integer(rss) * 1024,
      vm: :erlang.memory(:total),
      processes: :erlang.system_info(:process_count),
      threads: Enum.count(File.ls!("/proc/self/task"), &(comm.(&1) == "shape_db_writer\n"))
    }
  end

  defp per(bytes, count), do: Float.round(bytes / count / 1024, 1)

  defp show(what, times) do
    sorted = Enum.sort(times)
    at = fn part -> Enum.at(sorted, min(trunc(length(sorted) * part), length(sorted) - 1)) end
    IO.puts("#{what}: median #{at.(0.5)} us, p90 #{at.(0.9)}, p99 #{at.(0.99)}, max #{at.(1.0)}")
  end
end

Bench.Stacks.main()
