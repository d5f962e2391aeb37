for {name, opts} <- ElectricShapeDb.Matrix.configurations() do
  defmodule Module.concat(ElectricShapeDb.WriteBufferTest, Macro.camelize("#{name}")) do
    @moduledoc "What `WriteBuffer` says of changes that are not in the file yet."

    use ElectricShapeDb.StoreCase, async: true

    alias ElectricShapeDb.Tap

    @moduletag store: opts

    setup :start_store!

    setup %{stack_id: stack_id} do
      assert WriteBuffer.pause_flush(stack_id) == :ok
      :ok
    end

    test "an add is answered for until it is flushed", %{stack_id: stack_id} do
      add!(stack_id, shape(1), handle(1))
      assert WriteBuffer.lookup_shape(stack_id, handle(1)) == {:ok, shape(1)}
      assert WriteBuffer.lookup_handle(stack_id, comparable(shape(1))) == {:ok, handle(1)}
      assert WriteBuffer.has_handle?(stack_id, handle(1)) == true
      assert WriteBuffer.list_buffered_shapes(stack_id) == [{handle(1), shape(1)}]
      assert WriteBuffer.handles_for_relations(stack_id, [relation(0)]) == [handle(1)]
      assert stored_handles(stack_id) == []

      flush!(stack_id)
      assert WriteBuffer.lookup_shape(stack_id, handle(1)) == :not_found
      assert WriteBuffer.lookup_handle(stack_id, comparable(shape(1))) == :not_found
      assert WriteBuffer.has_handle?(stack_id, handle(1)) == :unknown
      assert WriteBuffer.list_buffered_shapes(stack_id) == []
      assert WriteBuffer.handles_for_relations(stack_id, [relation(0)]) == []
      assert stored_handles(stack_id) == [handle(1)]
    end

    test "a remove is a tombstone until it is flushed", %{stack_id: stack_id} do
      add!(stack_id, shape(1), handle(1))
      flush!(stack_id)
      :ok = ShapeDb.remove_shape(stack_id, handle(1))
      assert WriteBuffer.is_tombstoned?(stack_id, handle(1))
      assert WriteBuffer.tombstoned_handles(stack_id) == MapSet.new([handle(1)])
      assert WriteBuffer.has_handle?(stack_id, handle(1)) == false
      assert WriteBuffer.lookup_shape(stack_id, handle(1)) == :not_found
      assert stored_handles(stack_id) == [handle(1)]

      flush!(stack_id)
      refute WriteBuffer.is_tombstoned?(stack_id, handle(1))
      assert WriteBuffer.tombstoned_handles(stack_id) == MapSet.new()
      assert WriteBuffer.has_handle?(stack_id, handle(1)) == :unknown
      assert stored_handles(stack_id) == []
    end

    test "an unknown handle is no tombstone", %{stack_id: stack_id} do
      refute WriteBuffer.is_tombstoned?(stack_id, handle(1))
      assert WriteBuffer.has_handle?(stack_id, handle(1)) == :unknown
      assert WriteBuffer.lookup_shape(stack_id, handle(1)) == :not_found
      assert WriteBuffer.lookup_handle(stack_id, comparable(shape(1))) == :not_found
    end

    test "a pending remove does not hide the handle's next shape", %{stack_id: stack_id} do
      add!(stack_id, shape(1), handle(1))
      flush!(stack_id)
      :ok = ShapeDb.remove_shape(stack_id, handle(1))
      add!(stack_id, shape(2), handle(1))

      assert WriteBuffer.lookup_shape(stack_id, handle(1)) == {:ok, shape(2)}
      assert WriteBuffer.lookup_handle(stack_id, comparable(shape(2))) == {:ok, handle(1)}
      assert WriteBuffer.has_handle?(stack_id, handle(1)) == true
      refute WriteBuffer.is_tombstoned?(stack_id, handle(1))
    end

    test "the count difference is buffered adds minus buffered removes", %{stack_id: stack_id} do
      assert WriteBuffer.pending_count_diff(stack_id) == 0
      add_samples!(stack_id, 1..20)
      assert WriteBuffer.pending_count_diff(stack_id) == 20
      for n <- 11..20, do: :ok = ShapeDb.remove_shape(stack_id, handle(n))
      assert WriteBuffer.pending_count_diff(stack_id) == 10

      flush!(stack_id)
      assert WriteBuffer.pending_count_diff(stack_id) == 0
      for n <- 1..3, do: :ok = ShapeDb.remove_shape(stack_id, handle(n))
      assert WriteBuffer.pending_count_diff(stack_id) == -3
      flush!(stack_id)
      assert WriteBuffer.pending_count_diff(stack_id) == 0
      assert ShapeDb.count_shapes!(stack_id) == 7
    end

    test "operations are counted until they are flushed", %{stack_id: stack_id} do
      add_samples!(stack_id, 1..2)
      :ok = ShapeDb.mark_snapshot_started(stack_id, handle(1))
      :ok = ShapeDb.mark_snapshot_complete(stack_id, handle(1))
      :ok = ShapeDb.remove_shape(stack_id, handle(2))
      assert WriteBuffer.pending_operations_count(stack_id) == 5
      assert ShapeDb.pending_buffer_size(stack_id) == 5
      flush!(stack_id)
      assert WriteBuffer.pending_operations_count(stack_id) == 0
      assert ShapeDb.pending_buffer_size(stack_id) == 0
    end

    test "removing a shape again counts, and warns when flushed", %{stack_id: stack_id} do
      add!(stack_id, shape(1), handle(1))
      flush!(stack_id)
      :ok = ShapeDb.remove_shape(stack_id, handle(1))
      flush!(stack_id)
      Tap.logs(handle(1))

      assert WriteBuffer.remove_shape(stack_id, handle(1)) == :ok
      assert WriteBuffer.pending_operations_count(stack_id) == 1
      assert WriteBuffer.pending_count_diff(stack_id) == -1
      assert ShapeDb.count_shapes!(stack_id) == 0

      flush!(stack_id)
      assert WriteBuffer.pending_count_diff(stack_id) == 0
      assert WriteBuffer.pending_operations_count(stack_id) == 0
      assert_receive {:log, :warning, _line}, 1_000
    end

    test "two removes in one batch do not block the queue", %{stack_id: stack_id} do
      add_samples!(stack_id, 1..2)
      flush!(stack_id)
      assert WriteBuffer.remove_shape(stack_id, handle(1)) == :ok
      assert WriteBuffer.remove_shape(stack_id, handle(1)) == :ok
      add!(stack_id, shape(3), handle(3))
      flush!(stack_id)
      assert WriteBuffer.pending_operations_count(stack_id) == 0
      assert stored_handles(stack_id) == [handle(2), handle(3)]
      assert ShapeDb.count_shapes!(stack_id) == 2
    end

    test "a snapshot of an unknown shape does not block the queue", %{stack_id: stack_id} do
      assert WriteBuffer.queue_snapshot_complete(stack_id, "unknown") == :ok
      assert WriteBuffer.queue_snapshot_started(stack_id, "unknown") == :ok
      add!(stack_id, shape(1), handle(1))
      assert WriteBuffer.pending_operations_count(stack_id) == 3
      flush!(stack_id)
      assert WriteBuffer.pending_operations_count(stack_id) == 0
      assert stored_handles(stack_id) == [handle(1)]
    end

    test "snapshots can be queued at this level", %{stack_id: stack_id} do
      add_samples!(stack_id, 1..2)
      assert WriteBuffer.queue_snapshot_started(stack_id, handle(1)) == :ok
      assert WriteBuffer.queue_snapshot_complete(stack_id, handle(2)) == :ok
      flush!(stack_id)
      assert ShapeDb.snapshot_started?(stack_id, handle(1))
      refute ShapeDb.snapshot_complete?(stack_id, handle(1))
      assert ShapeDb.snapshot_complete?(stack_id, handle(2))
    end

    test "a shape can be added at this level, once", %{stack_id: stack_id} do
      add = fn n, handle ->
        shape = shape(n)

        WriteBuffer.add_shape(stack_id, handle, shape, comparable(shape), hash(shape), [
          relation(0)
        ])
      end

      assert add.(1, handle(1)) == :ok
      assert {:error, _} = add.(2, handle(1))
      assert {:error, _} = add.(1, handle(2))
      assert ShapeDb.list_shapes!(stack_id) == [{handle(1), shape(1)}]
    end

    test "buffered shapes are listed by handle, without the removed", %{stack_id: stack_id} do
      add_samples!(stack_id, [3, 1, 2])
      :ok = ShapeDb.remove_shape(stack_id, handle(2))
      buffered = [{handle(1), shape(1)}, {handle(3), shape(3)}]
      assert WriteBuffer.list_buffered_shapes(stack_id) == buffered
      found = WriteBuffer.handles_for_relations(stack_id, [relation(0)])
      assert Enum.sort(found) == [handle(1), handle(3)]
      assert WriteBuffer.handles_for_relations(stack_id, []) == []
      assert WriteBuffer.handles_for_relations(stack_id, [relation(1)]) == []
    end

    test "clearing forgets what is buffered", %{stack_id: stack_id} do
      add!(stack_id, shape(1), handle(1))
      flush!(stack_id)
      add!(stack_id, shape(2), handle(2))
      :ok = ShapeDb.remove_shape(stack_id, handle(1))
      assert WriteBuffer.clear(stack_id) == :ok
      assert WriteBuffer.pending_operations_count(stack_id) == 0
      assert WriteBuffer.pending_count_diff(stack_id) == 0
      assert WriteBuffer.list_buffered_shapes(stack_id) == []
      assert WriteBuffer.tombstoned_handles(stack_id) == MapSet.new()
    end

    test "a flush is done even while flushing is paused", %{stack_id: stack_id} do
      add!(stack_id, shape(1), handle(1))
      assert WriteBuffer.flush_sync(stack_id) == :ok
      assert WriteBuffer.flush_sync(stack_id, 1_000) == :ok
      add!(stack_id, shape(2), handle(2))
      assert stored_handles(stack_id) == [handle(1)]
      assert WriteBuffer.pending_operations_count(stack_id) == 1
    end
  end
end
