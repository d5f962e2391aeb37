# A great many shapes in one stack: MIX_ENV=prod mix run bench/many.exs
#
#   SHAPES=10000000   how many
#   BENCH_DIR=/tmp    where the store is put
#
# Ten million take a file of 12 GB, and 2 GB of memory.
Code.require_file("load.exs", __DIR__)

defmodule Bench.Many do
  alias Bench.{Crew, Probe, Shapes, Side, Store}

  @processes 16
  @step 1_000_000
  @looked_up_ms 5_000
  @looks 100_000

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
      parts = &((first + &1 - 1)..last//@processes)
      added = crew(parts, fn i -> add(store, i) end, :once)
      say("#{last + 1} added", "#{rate(added)} a second, " <> memory(store))
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

    looked_up("handle_for_shape", count, fn {h, s} ->
      {:ok, ^h} = db.handle_for_shape(id, s)
    end)

    looked_up("handle_exists?", count, fn {h, _} ->
      true = db.handle_exists?(id, h)
    end)

    looked_up("shape_for_handle, cold", count, fn {h, _} ->
      {:ok, _} = db.shape_for_handle(id, h)
    end)

    timed("reduce_shape_meta", fn -> db.reduce_shape_meta(id, 0, fn _, n -> n + 1 end) end)
    timed("least_recently_used(100)", fn -> db.least_recently_used(id, 100) end)
    say("memory", memory(store))
  end

  defp add(%{db: db, stack_id: id}, i) do
    {handle, shape} = Shapes.at(i)
    {:ok, _hash} = db.add_shape(id, shape, handle)
  end

  defp looked_up(name, count, fun) do
    any = fn _number -> for _ <- 1..@looks, do: :rand.uniform(count) - 1 end
    looked = crew(any, &fun.(Shapes.at(&1)), {:for, @looked_up_ms})
    say(name, "#{rate(looked)} a second by #{@processes} processes")
  end

  defp crew(inputs, operation, until) do
    Crew.run(%Crew.Job{
      name: :many,
      processes: @processes,
      inputs: &Enum.to_list(inputs.(&1)),
      operation: operation,
      until: until
    })
  end

  defp rate(outcome), do: div(outcome.operations * 1_000_000_000, outcome.elapsed_ns)

  defp timed(name, fun) do
    {us, _} = :timer.tc(fn -> Task.await(Task.async(fun), :infinity) end)
    say(name, "#{div(us, 1000)} ms")
  end

  defp memory(%{stack_id: id, side: side}) do
    pending = side.write_buffer.pending_operations_count(id)
    "resident #{div(Probe.resident_bytes(), 1_000_000)} MB of the VM, #{pending} pending"
  end

  defp disk(directory) do
    files = Path.wildcard(Path.join(directory, "**/*"))
    div(Enum.sum(for f <- files, File.regular?(f), do: File.stat!(f).size), 1_000_000)
  end

  defp say(what, figure), do: IO.puts("#{String.pad_trailing(what, 28)} #{figure}")
end

Bench.Many.main()
