defmodule ElectricShapeDb.BackPressureTest do
  @moduledoc """
  A full queue: who comes waits, in line, for room or until its time is up. The
  queue here holds one operation, unless a test says otherwise, and flushing is
  paused, so that the first add fills it.
  """

  use ElectricShapeDb.StoreCase, async: true

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Waits
  alias ElectricShapeDb.Tap

  @started [:electric, :shape_db, :pressure, :start]
  @stopped [:electric, :shape_db, :pressure, :stop]

  setup context do
    opts = [max_pending_ops: 1, pending_timeout: 60_000] |> Keyword.merge(context[:store] || [])
    start_store!(context, opts)
    WriteBuffer.pause_flush(context.stack_id)
    :ok
  end

  describe "a full queue" do
    test "is entered in the order of arrival", %{stack_id: stack_id} do
      add_samples!(stack_id, 1..1)
      # Neither sorted nor the reverse.
      numbers = [5, 3, 8, 2, 9, 4]
      callers = for n <- numbers, do: caller(fn -> add_samples!(stack_id, [n]) end)
      refute ShapeDb.handle_exists?(stack_id, handle(5))

      WriteBuffer.resume_flush(stack_id)
      for caller <- callers, do: assert(done?(caller))
      flush!(stack_id)
      in_order = rows(stack_id, "SELECT handle FROM shapes ORDER BY id") |> List.flatten()
      assert in_order == Enum.map([1 | numbers], &handle/1)
    end

    @tag store: [max_pending_ops: 2]
    test "holds up removals and marks of known shapes too", %{stack_id: stack_id} do
      add_samples!(stack_id, 1..2)
      removal = caller(fn -> ShapeDb.remove_shape(stack_id, handle(1)) end)
      mark = caller(fn -> ShapeDb.mark_snapshot_complete(stack_id, handle(2)) end)
      assert ShapeDb.handle_exists?(stack_id, handle(1))
      refute ShapeDb.snapshot_complete?(stack_id, handle(2))

      flush!(stack_id)
      assert done?(removal) and done?(mark)
      refute ShapeDb.handle_exists?(stack_id, handle(1))
      assert ShapeDb.snapshot_complete?(stack_id, handle(2))
    end

    test "holds up no lookup, and nothing that is refused anyway", %{stack_id: stack_id} do
      add_samples!(stack_id, 1..1)
      assert ShapeDb.shape_for_handle(stack_id, handle(1)) == {:ok, shape(1)}
      assert ShapeDb.remove_shape(stack_id, "unknown") == {:error, {:enoshape, "unknown"}}
      assert ShapeDb.mark_snapshot_complete(stack_id, "unknown") == :error
    end

    test "is emptied by a reset, which does not wait for room", %{stack_id: stack_id} do
      add_samples!(stack_id, 1..1)
      caller = caller(fn -> add_samples!(stack_id, 2..2) end)
      assert ShapeDb.reset(stack_id) == :ok
      assert done?(caller)
      assert Enum.map(ShapeDb.list_shapes!(stack_id), &elem(&1, 0)) == [handle(2)]
    end

    test "lets a caller that waited find its shape taken", %{stack_id: stack_id} do
      add_samples!(stack_id, 1..1)
      caller = caller(fn -> {:error, _} = ShapeDb.add_shape(stack_id, shape(1), handle(2)) end)
      flush!(stack_id)
      assert done?(caller)
      assert_empty(stack_id)
    end

    test "sends those in line away when the store closes", %{stack_id: stack_id} = context do
      add_samples!(stack_id, 1..1)
      caller = caller(fn -> {:error, _} = ShapeDb.add_shape(stack_id, shape(2), handle(2)) end)
      stop_store!(context)
      assert done?(caller)
      start_store!(context)
      assert ShapeDb.list_shapes!(stack_id) == [{handle(1), shape(1)}]
    end
  end

  describe "time is up" do
    @describetag store: [pending_timeout: 20]

    test "and nothing is changed", %{stack_id: stack_id} do
      add_samples!(stack_id, 1..1)
      overloaded = {:error, :overloaded}
      assert ShapeDb.add_shape(stack_id, shape(2), handle(2)) == overloaded
      assert ShapeDb.remove_shape(stack_id, handle(1)) == overloaded
      assert ShapeDb.mark_snapshot_complete(stack_id, handle(1)) == overloaded
      assert ShapeDb.add_shape(stack_id, shape(2), handle(2), durability: :sync) == overloaded

      assert ShapeDb.handle_for_shape(stack_id, shape(2)) == :error
      refute ShapeDb.handle_exists?(stack_id, handle(2))
      refute ShapeDb.snapshot_complete?(stack_id, handle(1))
      assert ShapeDb.list_shapes!(stack_id) == [{handle(1), shape(1)}]
      assert ShapeDb.pending_buffer_size(stack_id) == 1
    end

    test "and the place in line is free, and no message left", %{stack_id: stack_id} do
      add_samples!(stack_id, 1..1)
      assert ShapeDb.add_shape(stack_id, shape(2), handle(2)) == {:error, :overloaded}
      flush!(stack_id)
      add_samples!(stack_id, 3..3)
      flush!(stack_id)
      assert_empty(stack_id)
      refute_received _
    end
  end

  describe "a caller that dies" do
    test "in line makes way for the next", %{stack_id: stack_id} do
      add_samples!(stack_id, 1..1)
      dies = caller(fn -> add_samples!(stack_id, 2..2) end)
      next = caller(fn -> add_samples!(stack_id, 3..3) end)
      kill!(dies)
      flush!(stack_id)
      assert done?(next)
      flush!(stack_id)
      assert stored_handles(stack_id) == [handle(1), handle(3)]
      assert_empty(stack_id)
    end

    test "with the room promised to it gives it to the next", %{stack_id: stack_id} do
      add_samples!(stack_id, 1..1)
      dies = caller(fn -> add_samples!(stack_id, 2..2) end)
      next = caller(fn -> add_samples!(stack_id, 3..3) end)
      # It is told, and cannot act on it.
      :erlang.suspend_process(dies)
      flush!(stack_id)
      assert ShapeDb.pending_buffer_size(stack_id) == 1
      assert in_line?(next)
      kill!(dies)
      assert done?(next)
      flush!(stack_id)
      assert stored_handles(stack_id) == [handle(1), handle(3)]
      assert_empty(stack_id)
    end
  end

  describe "bytes" do
    @describetag store: [max_pending_ops: 1_000, max_pending_bytes: 10_000]

    test "are bounded as operations are", %{stack_id: stack_id} do
      callers =
        for n <- 1..20, do: spawn_link(fn -> add!(stack_id, long(n, 1_500), handle(n)) end)

      eventually(fn -> Enum.count(callers, &in_line?/1) == 16 end)
      assert {:ok, %{pending_bytes: bytes, pending_ops: 4}} = ShapeDb.statistics(stack_id)
      assert bytes <= 10_000
      WriteBuffer.resume_flush(stack_id)
      for caller <- callers, do: assert(done?(caller))
      flush!(stack_id)
      assert length(stored_handles(stack_id)) == 20
      assert_empty(stack_id)
    end

    test "of one shape that never fits are refused, and said", %{stack_id: stack_id} do
      assert {:error, {:too_large, message}} =
               ShapeDb.add_shape(stack_id, long(1, 20_000), handle(1))

      assert message =~ "10000"
      assert ShapeDb.count_shapes(stack_id) == {:ok, 0}
      assert_empty(stack_id)
    end

    @tag store: [max_pending_bytes: 1_000]
    test "of one that fits an empty queue only are let in then", %{stack_id: stack_id} do
      add_samples!(stack_id, 1..1)
      caller = caller(fn -> add_samples!(stack_id, 2..2) end)
      flush!(stack_id)
      assert done?(caller)
    end
  end

  test "pressure is told when it starts and when it ends", %{stack_id: stack_id} do
    Tap.events(stack_id, [@started, @stopped])
    add_samples!(stack_id, 1..1)
    refute_received {:event, @started, _, _}
    callers = for n <- 2..4, do: caller(fn -> add_samples!(stack_id, [n]) end)
    assert_receive {:event, @started, %{operations: 1, bytes: bytes}, %{stack_id: ^stack_id}}
    assert bytes > 0
    refute_received {:event, @stopped, _, _}

    WriteBuffer.resume_flush(stack_id)
    for caller <- callers, do: assert(done?(caller))
    assert_receive {:event, @stopped, %{duration_ms: _}, %{stack_id: ^stack_id}}
  end

  test "a crowd on a narrow queue gets everything through", context do
    %{stack_id: stack_id} = context
    WriteBuffer.resume_flush(stack_id)
    add = fn n -> add_samples!(stack_id, [n]) end
    1..500 |> Task.async_stream(add, max_concurrency: 100, timeout: 60_000) |> Stream.run()
    flush!(stack_id)
    assert stored_handles(stack_id) == Enum.map(1..500, &handle/1)
    assert_empty(stack_id)
  end

  # A process that stands in line before this returns.
  defp caller(fun) do
    pid = spawn(fun)
    eventually(fn -> in_line?(pid) end)
    pid
  end

  defp in_line?(pid) do
    match?(
      [current_function: {Waits, _function, _arity}, status: :waiting],
      Process.info(pid, [:current_function, :status])
    )
  end

  defp done?(pid) do
    monitor = Process.monitor(pid)

    receive do
      {:DOWN, ^monitor, :process, ^pid, reason} -> reason in [:normal, :noproc]
    after
      10_000 -> false
    end
  end

  defp kill!(pid) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    receive do: ({:DOWN, ^monitor, :process, ^pid, :killed} -> :ok)
  end

  defp long(n, bytes) do
    shape(n, where: %{query: "#{n}" <> String.duplicate("x", bytes), returns: :bool})
  end

  defp assert_empty(stack_id) do
    assert {:ok, %{pending_ops: 0, pending_bytes: 0}} = ShapeDb.statistics(stack_id)
  end
end
