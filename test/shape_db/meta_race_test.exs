defmodule ElectricShapeDb.MetaRaceTest do
  @moduledoc "Sixteen processes that read shapes, while shapes come, go, expire and change their writer."

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.PeerVM

  @readers 16

  # A shape's time tells which it is: one that was marked for another shows.
  test "a touch meets the shape it is for, while shapes come and go", context do
    %{stack_id: stack_id} = context
    start_store!(context)
    newest = :counters.new(1, [])

    reading =
      readers(fn ->
        n = max(:counters.get(newest, 1) - :rand.uniform(3) + 1, 0)
        ShapeDb.update_last_read_time(stack_id, handle(n), n)
        assert ShapeDb.last_read_time(stack_id, handle(n)) in [nil, n]

        with {:ok, meta} <- ShapeDb.lookup(stack_id, shape(n)),
             do: assert(meta.handle == handle(n))
      end)

    for n <- 1..4_000 do
      add!(stack_id, shape(n), handle(n))
      :counters.put(newest, 1, n)

      if n > 2 do
        assert ShapeDb.last_read_time(stack_id, handle(n - 2)) in [nil, n - 2]
        :ok = ShapeDb.remove_shape(stack_id, handle(n - 2))
      end
    end

    stop(reading)
    assert ShapeDb.count_shapes!(stack_id) == 2
  end

  test "expiry beside adds takes the coldest, each once", %{stack_id: stack_id} = context do
    start_store!(context)
    added = :counters.new(1, [])

    adding =
      readers(fn ->
        :counters.add(added, 1, 1)
        n = System.unique_integer([:positive])
        {:ok, _} = ShapeDb.add_shape(stack_id, shape(n), handle(n), flags: rem(n, 2))
        assert ShapeDb.touch(stack_id, handle(n))
      end)

    expired =
      for _ <- 1..200, reduce: MapSet.new() do
        expired ->
          {handles, minutes} = ShapeDb.least_recently_used(stack_id, 20)
          assert minutes >= 0

          for handle <- handles, reduce: expired do
            expired ->
              refute handle in expired
              :ok = ShapeDb.remove_shape(stack_id, handle)
              MapSet.put(expired, handle)
          end
      end

    stop(adding)
    left = ShapeDb.count_shapes!(stack_id)
    assert left + MapSet.size(expired) == :counters.get(added, 1)
    odd = ShapeDb.reduce_meta(stack_id, 0, fn meta, odd -> odd + meta.flags end)
    assert ShapeDb.count_by_flags(stack_id, 1, 1) == odd
    assert ShapeDb.count_by_flags(stack_id, 1, 0) == left - odd
  end

  test "taking over makes nothing vanish and forgets no reading", context do
    %{stack_id: stack_id} = context
    active = PeerVM.start!()
    PeerVM.start_store!(active, stack_id, store_opts(context))
    add_there(active, stack_id, 1..300)
    start_store!(context)
    eventually(fn -> ShapeDb.count_shapes!(stack_id) == 300 end)
    for n <- 1..100, do: assert(ShapeDb.update_last_read_time(stack_id, handle(n), long_ago(n)))

    reading =
      readers(fn ->
        n = 100 + :rand.uniform(200)
        assert ShapeDb.touch(stack_id, handle(n))
        assert {:ok, %{flags: 3}} = ShapeDb.lookup(stack_id, shape(n), touch: true)
        assert ShapeDb.validate_shape_handle(stack_id, handle(n), shape(n)) == :ok
        coldest = Enum.map(1..10, &handle/1)
        assert {^coldest, _} = ShapeDb.least_recently_used(stack_id, 10)
      end)

    add_there(active, stack_id, 301..350)
    before = System.monotonic_time()
    assert {:ok, [], 350} = ShapeDb.validate_existing_shapes(stack_id)
    stop(reading)

    for n <- 1..100, do: assert(ShapeDb.last_read_time(stack_id, handle(n)) == long_ago(n))
    a_minute = System.convert_time_unit(60, :second, :native)

    for n <- 301..350 do
      assert abs(ShapeDb.last_read_time(stack_id, handle(n)) - before) < a_minute
    end
  end

  # Before the clock of this VM started.
  defp long_ago(n), do: -(2 ** 59) - 1_000_000 + n

  defp add_there(active, stack_id, numbers) do
    for n <- numbers do
      {:ok, _} =
        PeerVM.call(active, ShapeDb, :add_shape, [stack_id, shape(n), handle(n), [flags: 3]])

      :ok = PeerVM.call(active, ShapeDb, :mark_snapshot_complete, [stack_id, handle(n)])
    end

    :ok = PeerVM.call(active, WriteBuffer, :flush_sync, [stack_id])
  end

  # Each does it over and over, until `stop/1`.
  defp readers(fun) do
    for _ <- 1..@readers, do: Task.async(fn -> repeat(fun, 0) end)
  end

  defp repeat(fun, rounds) do
    receive do
      :enough -> rounds
    after
      0 ->
        fun.()
        repeat(fun, rounds + 1)
    end
  end

  defp stop(tasks) do
    for %Task{pid: pid} <- tasks, do: send(pid, :enough)
    assert Enum.sum(Task.await_many(tasks, 60_000)) > 0
  end
end
