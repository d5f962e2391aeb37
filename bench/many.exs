# A great many shapes in one stack: MIX_ENV=prod mix run bench/many.exs
#
#   SHAPES=10000000   how many
#   BENCH_DIR=/tmp    where the store is put
#
# Ten million take 13 GB of disk, as much again while they are written, and 3 GB of memory.
Code.require_file("load.exs", __DIR__)

defmodule Bench.Many do
  alias Bench.{Shapes, Side, Store}

  @processes 16
  @step 1_000_000
  @seconds 5

  def main do
    Shapes.load!()
    Process.flag(:trap_exit, true)
    count = String.to_integer(System.get_env("SHAPES") || "10000000")

    directory =
      Path.join(System.get_env("BENCH_DIR") || System.tmp_dir!(), "shape-db-many-#{System.pid()}")

    try do
      run(directory, count)
    after
      File.rm_rf!(directory)
    end
  end

  defp run(directory, count) do
    File.mkdir_p!(directory)
    store = Store.start(Side.ours(), directory)

    for first <- 0..(count - 1)//@step do
      last = min(first + @step, count) - 1
      us = each(first..last, fn i -> add(store, i) end)

      say(
        "#{last + 1} added",
        "#{div((last - first + 1) * 1_000_000, us)} a second, " <> memory(store)
      )
    end

    {us, _} = :timer.tc(fn -> Store.flush(store) end)
    say("the last committed after", "#{div(us, 1000)} ms")
    looks(store, count)
    {us, _} = :timer.tc(fn -> Store.stop(store) end)
    say("stopped in", "#{div(us, 1000)} ms; #{disk(directory)} MB of disk")
    {us, store} = :timer.tc(fn -> Store.start(Side.ours(), directory) end)
    say("started in", "#{div(us, 1000)} ms, " <> memory(store))
    looks(store, count)
    Store.stop(store)
  end

  defp looks(%{db: db, stack_id: id} = store, count) do
    {us, ^count} = :timer.tc(fn -> db.count_shapes!(id) end)
    say("counted in", "#{us} us")

    rate("handle_for_shape", fn ->
      {h, s} = at(count)
      {:ok, ^h} = db.handle_for_shape(id, s)
    end)

    rate("handle_exists?", fn ->
      {h, _} = at(count)
      true = db.handle_exists?(id, h)
    end)

    rate("shape_for_handle, cold", fn ->
      {h, _} = at(count)
      {:ok, _} = db.shape_for_handle(id, h)
    end)

    timed("reduce_shape_meta", fn -> db.reduce_shape_meta(id, 0, fn _, n -> n + 1 end) end)
    timed("least_recently_used(100)", fn -> db.least_recently_used(id, 100) end)
    say("memory", memory(store))
  end

  defp at(count), do: Shapes.at(:rand.uniform(count) - 1)

  defp add(%{db: db, stack_id: id}, i) do
    {handle, shape} = Shapes.at(i)
    {:ok, _hash} = db.add_shape(id, shape, handle)
  end

  defp each(range, fun) do
    parts = for n <- 0..(@processes - 1), do: (range.first + n)..range.last//@processes
    {us, _} = :timer.tc(fn -> together(parts, fn part -> Enum.each(part, fun) end) end)
    max(us, 1)
  end

  defp rate(name, fun) do
    parts = List.duplicate(System.monotonic_time(:millisecond) + @seconds * 1000, @processes)
    counts = together(parts, fn until -> repeat(fun, until, 0) end)
    say(name, "#{div(Enum.sum(counts), @seconds)} a second by #{@processes} processes")
  end

  defp repeat(fun, until, count) do
    if rem(count, 64) == 0 and System.monotonic_time(:millisecond) > until do
      count
    else
      fun.()
      repeat(fun, until, count + 1)
    end
  end

  defp together(parts, fun) do
    parts |> Enum.map(&Task.async(fn -> fun.(&1) end)) |> Task.await_many(:infinity)
  end

  defp timed(name, fun) do
    {us, _} = :timer.tc(fn -> Task.await(Task.async(fun), :infinity) end)
    say(name, "#{div(us, 1000)} ms")
  end

  defp memory(%{stack_id: id, side: side}) do
    [_, kb] = Regex.run(~r/VmRSS:\s+(\d+)/, File.read!("/proc/self/status"))
    pending = side.write_buffer.pending_operations_count(id)
    "resident #{div(String.to_integer(kb), 1024)} MB of the VM, #{pending} pending"
  end

  defp disk(directory) do
    files = Path.wildcard(Path.join(directory, "**/*"))
    div(Enum.sum(for f <- files, File.regular?(f), do: File.stat!(f).size), 1_000_000)
  end

  defp say(what, figure), do: IO.puts("#{String.pad_trailing(what, 28)} #{figure}")
end

Bench.Many.main()
