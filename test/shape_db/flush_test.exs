defmodule ElectricShapeDb.FlushTest do
  @moduledoc "When changes are written, and what is said of it."

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.Holder
  alias ElectricShapeDb.Tap

  @flushed [:electric, :shape_db, :write_buffer, :flush, :stop]

  test "the background flush starts by itself", %{stack_id: stack_id} = context do
    Tap.events(stack_id, [@flushed])
    start_store!(context)
    add!(stack_id, shape(1), handle(1))
    assert_receive {:event, @flushed, _, %{entry_count: 1}}, 1_000
    assert stored_handles(stack_id) == [handle(1)]
  end

  test "nothing is flushed while paused, all after resuming", %{stack_id: stack_id} = context do
    start_store!(context)
    assert WriteBuffer.pause_flush(stack_id) == :ok
    Tap.events(stack_id, [@flushed])
    add_samples!(stack_id, 1..3)
    refute_receive {:event, @flushed, _, _}, 150
    assert ShapeDb.pending_buffer_size(stack_id) == 3
    assert WriteBuffer.resume_flush(stack_id) == :ok
    assert_receive {:event, @flushed, _, _}, 1_000
    flush!(stack_id)
    assert length(stored_handles(stack_id)) == 3
  end

  @tag store: [manual_flush_only: true]
  test "manual_flush_only turns the background off, resume or not", context do
    %{stack_id: stack_id} = context
    start_store!(context)
    Tap.events(stack_id, [@flushed])
    :ok = WriteBuffer.resume_flush(stack_id)
    add_samples!(stack_id, 1..3)
    refute_receive {:event, @flushed, _, _}, 150
    flush!(stack_id)
    assert_receive {:event, @flushed, _, %{entry_count: 3}}, 1_000
  end

  test "an add whose remove follows in the same batch writes nothing", context do
    %{stack_id: stack_id} = context
    start_store!(context, manual_flush_only: true)
    add!(stack_id, shape(1), handle(1))
    :ok = ShapeDb.remove_shape(stack_id, handle(1))
    assert ShapeDb.pending_buffer_size(stack_id) == 2
    flush!(stack_id)
    assert ShapeDb.pending_buffer_size(stack_id) == 0
    assert stored_handles(stack_id) == []
    assert rows(stack_id, "SELECT id FROM bodies") == []
  end

  test "a flush that cannot finish in time exits, and the changes stay queued", context do
    %{stack_id: stack_id} = context
    start_store!(context)
    holder = Holder.hold!(stack_id, :write)
    add!(stack_id, shape(1), handle(1))
    assert {:timeout, _} = catch_exit(WriteBuffer.flush_sync(stack_id, 30))
    assert ShapeDb.pending_buffer_size(stack_id) == 1
    assert ShapeDb.shape_for_handle(stack_id, handle(1)) == {:ok, shape(1)}
    Holder.release!(holder)
    flush!(stack_id)
    assert stored_handles(stack_id) == [handle(1)]
  end

  test "callers are served while a flush has to wait", %{stack_id: stack_id} = context do
    start_store!(context)
    add_samples!(stack_id, 1..2)
    flush!(stack_id)
    holder = Holder.hold!(stack_id, :write)

    add!(stack_id, shape(3), handle(3))
    :ok = ShapeDb.remove_shape(stack_id, handle(1))
    :ok = ShapeDb.mark_snapshot_complete(stack_id, handle(2))
    assert ShapeDb.handle_for_shape_critical(stack_id, shape(3), 50) == {:ok, handle(3)}
    assert ShapeDb.handle_for_shape(stack_id, shape(2)) == {:ok, handle(2)}
    assert ShapeDb.shape_for_handle(stack_id, handle(2)) == {:ok, shape(2)}
    assert ShapeDb.shape_for_handle(stack_id, handle(1)) == :error
    assert ShapeDb.snapshot_complete?(stack_id, handle(2))
    assert ShapeDb.count_shapes!(stack_id) == 2
    assert ShapeDb.list_shapes!(stack_id) == [{handle(2), shape(2)}, {handle(3), shape(3)}]
    assert stored_handles(stack_id) == [handle(1), handle(2)]

    Holder.release!(holder)
    flush!(stack_id)
    assert stored_handles(stack_id) == [handle(2), handle(3)]
  end

  for opts <- [[], [manual_flush_only: true], [exclusive_mode: true]] do
    @tag store: opts
    test "what is queued when the store stops is written, with #{inspect(opts)}", context do
      %{stack_id: stack_id} = context
      start_store!(context)
      :ok = WriteBuffer.pause_flush(stack_id)
      handles = add_samples!(stack_id, 1..1_000)
      restart_store!(context)
      assert stored_handles(stack_id) == handles
      assert length(ShapeDb.list_shapes!(stack_id)) == 1_000
    end
  end
end
