defmodule ElectricShapeDb.DurabilityTest do
  @moduledoc "What an acknowledgement promises, per mode."

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.Holder
  alias ElectricShapeDb.PeerVM

  test "a durable change is in the file when it returns", %{stack_id: stack_id} = context do
    start_store!(context)
    assert {:ok, _} = ShapeDb.add_shape(stack_id, shape(1), handle(1), durability: :sync)
    assert stored_handles(stack_id) == [handle(1)]
    assert ShapeDb.mark_snapshot_complete(stack_id, handle(1), durability: :sync) == :ok
    assert rows(stack_id, "SELECT snapshot FROM shapes") == [[2]]
    assert ShapeDb.remove_shape(stack_id, handle(1), durability: :sync) == :ok
    assert stored_handles(stack_id) == []
  end

  @tag store: [durability: :sync]
  test "the mode can be the store's", %{stack_id: stack_id} = context do
    start_store!(context)
    add!(stack_id, shape(1), handle(1))
    assert stored_handles(stack_id) == [handle(1)]
  end

  @tag store: [durability: :sync]
  test "a call's own mode counts more than the store's", %{stack_id: stack_id} = context do
    start_store!(context)
    add!(stack_id, shape(1), handle(1))
    holder = Holder.hold!(stack_id, :write)
    buffered = [durability: :buffered]
    assert {:ok, _} = ShapeDb.add_shape(stack_id, shape(2), handle(2), buffered)
    assert ShapeDb.mark_snapshot_complete(stack_id, handle(2), buffered) == :ok
    assert ShapeDb.set_flags(stack_id, handle(2), 7, buffered) == :ok
    assert ShapeDb.remove_shape(stack_id, handle(1), buffered) == :ok
    assert stored_handles(stack_id) == [handle(1)]
    Holder.release!(holder)
    # What comes after them waits for them all.
    assert ShapeDb.set_flags(stack_id, handle(2), 8) == :ok
    assert rows(stack_id, "SELECT handle, snapshot, flags FROM shapes") == [[handle(2), 2, 8]]
  end

  test "buffered changes do not wait for the disk", %{stack_id: stack_id} = context do
    start_store!(context)
    holder = Holder.hold!(stack_id, :write)
    assert {:ok, _} = ShapeDb.add_shape(stack_id, shape(1), handle(1), durability: :buffered)
    assert stored_handles(stack_id) == []
    Holder.release!(holder)
  end

  test "a bounded wait ends as buffered", %{stack_id: stack_id} = context do
    start_store!(context)
    holder = Holder.hold!(stack_id, :write)
    assert {:ok, _} = ShapeDb.add_shape(stack_id, shape(1), handle(1), durability: {:sync, 20})
    assert stored_handles(stack_id) == []
    assert ShapeDb.handle_for_shape(stack_id, shape(1)) == {:ok, handle(1)}
    Holder.release!(holder)
    assert {:ok, _} = ShapeDb.add_shape(stack_id, shape(2), handle(2), durability: {:sync, 5_000})
    assert stored_handles(stack_id) == [handle(1), handle(2)]
  end

  test "durable changes of many callers share commits", %{stack_id: stack_id} = context do
    start_store!(context)

    1..200
    |> Task.async_stream(
      fn n -> {:ok, _} = ShapeDb.add_shape(stack_id, shape(n), handle(n), durability: :sync) end,
      max_concurrency: 50
    )
    |> Stream.run()

    assert length(stored_handles(stack_id)) == 200
  end

  test "a refused change does not wait", %{stack_id: stack_id} = context do
    start_store!(context)
    add!(stack_id, shape(1), handle(1))
    flush!(stack_id)
    holder = Holder.hold!(stack_id, :write)
    assert {:error, _} = ShapeDb.add_shape(stack_id, shape(1), handle(2), durability: :sync)
    assert {:error, {:enoshape, _}} = ShapeDb.remove_shape(stack_id, "unknown", durability: :sync)
    Holder.release!(holder)
  end

  test "an unheard-of mode is refused", %{stack_id: stack_id} = context do
    start_store!(context)
    error = catch_error(ShapeDb.add_shape(stack_id, shape(1), handle(1), durability: :perhaps))
    assert Exception.message(error) =~ "durability"
    assert ShapeDb.count_shapes(stack_id) == {:ok, 0}
  end

  test "durable changes survive kill -9", %{stack_id: stack_id} = context do
    vm = PeerVM.start!()
    PeerVM.start_store!(vm, stack_id, store_opts(context))

    for n <- 1..50 do
      args = [stack_id, shape(n), handle(n), [durability: :sync]]
      {:ok, _} = PeerVM.call(vm, ShapeDb, :add_shape, args)
    end

    PeerVM.kill!(vm)
    start_store!(context)
    assert ShapeDb.list_shapes!(stack_id) == Enum.map(1..50, &{handle(&1), shape(&1)})
  end
end
