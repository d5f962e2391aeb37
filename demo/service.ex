defmodule ElectricShapeDb.Demo.Service do
  @moduledoc """
  What runs in the VM that will be killed: the service on the morning after a
  redeploy. It does what it is told over the `Pipe` and tells how it goes:

  | is told | does | tells |
  |---|---|---|
  | `{:open, storage_dir}` | starts the store | `{:opened, shapes, µs}` |
  | `{:morning, adders, shapes, lookers}` | the first wave, and lookups and adds alone after it | `{:progress, …}`, `{:morning, results}` |
  | `{:second_wave, adders}` | adds shapes without end | acknowledgements |

  and `{:failed, why}` when it cannot go on.
  """

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.WriteBuffer
  alias ElectricShapeDb.Demo.Crowd
  alias ElectricShapeDb.Demo.Latencies
  alias ElectricShapeDb.Demo.Pipe
  alias ElectricShapeDb.Demo.Shapes
  alias ElectricShapeDb.Demo.Store

  @wave_timeout 120_000
  @flush_timeout 120_000
  @lookups_alone 1_000
  @adds_alone 2_000

  # Counters that both waves share.
  @added 1
  @found 2

  # How far apart the numbers are that two processes of the second wave start at.
  @stride 1_000_000_000

  @doc "The VM's whole life begins here."
  @spec main() :: pid()
  def main, do: spawn(&live/0)

  defp live do
    pipe = Pipe.open()

    try do
      {:ok, _apps} = Application.ensure_all_started(:electric_shape_db)
      # At debug level every committed operation is a log line.
      Logger.configure(level: :warning)
      # Tells how it goes also when all schedulers are busy.
      Process.flag(:priority, :high)
      serve(pipe)
    catch
      kind, reason ->
        Pipe.tell(pipe, {:failed, Exception.format(kind, reason, __STACKTRACE__)})
    end

    # The watcher ends this VM, or this does.
    Process.sleep(@wave_timeout)
    System.halt(1)
  end

  defp serve(pipe) do
    receive do
      {:told, {:open, storage_dir}} -> Pipe.tell(pipe, open(storage_dir))
      {:told, {:morning, adders, shapes, lookers}} -> morning(pipe, adders, shapes, lookers)
      {:told, {:second_wave, adders}} -> second_wave(pipe, adders)
    end

    serve(pipe)
  end

  defp open(storage_dir) do
    {_holder, microseconds} = Store.start!(storage_dir)
    listed = ShapeDb.list_shapes!(Store.stack_id())
    :ok = Shapes.keep(listed)
    {:opened, length(listed), microseconds}
  end

  # --- the first wave

  defp morning(pipe, adders, shapes, lookers) do
    counters = :counters.new(2, [:write_concurrency])
    over = :atomics.new(1, [])

    adding = Crowd.gather(adders, &adder(&1, adders, shapes, counters))
    looking = Crowd.gather(lookers, &looker(&1, lookers, shapes, counters, over))

    tick = fn ->
      found = :counters.get(counters, @found)
      Pipe.tell(pipe, {:progress, :counters.get(counters, @added), found})
    end

    started = System.monotonic_time()
    Crowd.go(looking)
    Crowd.go(adding)
    {adds, ended} = adding |> Crowd.results(@wave_timeout, tick) |> Latencies.together()
    :atomics.put(over, 1, 1)
    :ok = WriteBuffer.flush_sync(Store.stack_id(), @flush_timeout)
    on_disk = System.monotonic_time()
    {lookups, looking_ended} = looking |> Crowd.results(@wave_timeout) |> Latencies.together()

    alone = lookups_alone(lookers, shapes)
    {:ok, count} = ShapeDb.count_shapes(Store.stack_id())
    bytes = Store.bytes!()

    Pipe.tell(pipe, {
      :morning,
      %{
        adds: rate(adds, ended - started),
        lookups: rate(lookups, looking_ended - started),
        alone: alone,
        adds_alone: adds_alone(shapes),
        on_disk_ms: milliseconds(on_disk - ended),
        bytes: bytes,
        shapes: count
      }
    })
  end

  defp adder(number, adders, shapes, counters) do
    stack_id = Store.stack_id()
    mine = every(number, adders, shapes)

    add = fn {handle, shape} ->
      {:ok, _hash} = ShapeDb.add_shape(stack_id, shape, handle)
      :counters.add(counters, @added, 1)
    end

    fn -> Latencies.each(mine, add) end
  end

  # Looks for shapes that may not be there yet: their clients come as they like. A
  # client waits for its answer before it asks again, so a looker gives way.
  defp looker(number, lookers, shapes, counters, over) do
    stack_id = Store.stack_id()
    mine = every(number, lookers, shapes)

    look = fn {handle, shape} ->
      case ShapeDb.handle_for_shape(stack_id, shape) do
        {:ok, ^handle} -> :counters.add(counters, @found, 1)
        :error -> :ok
      end
    end

    over? = fn -> :atomics.get(over, 1) == 1 end
    fn -> Latencies.cycle(mine, look, over?, &:erlang.yield/0) end
  end

  defp lookups_alone(lookers, shapes) do
    over = :atomics.new(1, [])
    stack_id = Store.stack_id()

    crowd =
      Crowd.gather(lookers, fn number ->
        mine = every(number, lookers, shapes)

        # All are there now.
        look = fn {handle, shape} ->
          {:ok, ^handle} = ShapeDb.handle_for_shape(stack_id, shape)
        end

        fn -> Latencies.cycle(mine, look, fn -> :atomics.get(over, 1) == 1 end) end
      end)

    started = System.monotonic_time()
    Crowd.go(crowd)
    receive after: (@lookups_alone -> :ok)
    :atomics.put(over, 1, 1)
    {lookups, ended} = crowd |> Crowd.results(@wave_timeout) |> Latencies.together()
    rate(lookups, ended - started)
  end

  # By one process, which waits for no other. Leaves what was there.
  defp adds_alone(first) do
    crowd =
      Crowd.gather(1, fn _number ->
        mine = for n <- first..(first + @adds_alone - 1), do: Shapes.build(n)

        add = fn {handle, shape} ->
          {:ok, _hash} = ShapeDb.add_shape(Store.stack_id(), shape, handle)
        end

        fn -> Latencies.each(mine, add) end
      end)

    started = System.monotonic_time()
    Crowd.go(crowd)
    {adds, ended} = crowd |> Crowd.results(@wave_timeout) |> Latencies.together()

    for n <- first..(first + @adds_alone - 1) do
      {handle, _shape} = Shapes.build(n)
      :ok = ShapeDb.remove_shape(Store.stack_id(), handle)
    end

    :ok = WriteBuffer.flush_sync(Store.stack_id(), @flush_timeout)
    rate(adds, ended - started)
  end

  defp every(number, step, count) do
    for n <- number..(count - 1)//step, do: Shapes.build(n)
  end

  defp rate(times, native) do
    summary = Latencies.summary(times)
    seconds = System.convert_time_unit(native, :native, :microsecond) / 1_000_000
    Map.put(summary, :per_s, summary.count / seconds)
  end

  defp milliseconds(native), do: System.convert_time_unit(native, :native, :microsecond) / 1000

  # --- the second wave

  # Half of them `:buffered`, a quarter `:sync`, a quarter with a bounded wait.
  defp second_wave(pipe, adders) do
    crowd =
      Crowd.gather(adders, fn number ->
        index = elem({0, 1, 0, 2}, rem(number, 4))
        fn -> add_forever(pipe, index, @stride * (number + 1)) end
      end)

    Crowd.go(crowd)
    # Ends with the VM, or fails.
    Crowd.results(crowd, @wave_timeout)
  end

  defp add_forever(pipe, index, number) do
    {handle, shape} = Shapes.build(number)
    durability = elem(Pipe.durabilities(), index)
    {:ok, _hash} = ShapeDb.add_shape(Store.stack_id(), shape, handle, durability: durability)
    Pipe.acknowledge(pipe, index, :telemetry.degraded?(), number)
    add_forever(pipe, index, number + 1)
  end
end
