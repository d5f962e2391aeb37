defmodule ElectricShapeDb.StandbyTest do
  @moduledoc """
  Two instances on one file, as in a rolling deploy. The active one runs in a VM
  of its own; this VM is the standby that takes over.
  """

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.PeerVM

  setup context do
    active = PeerVM.start!()
    PeerVM.start_store!(active, context.stack_id, store_opts(context))
    {:ok, active: active}
  end

  test "the standby sees what the active one writes, soon", context do
    %{stack_id: stack_id} = context
    add_there(context, 1..10)
    start_store!(context)
    eventually(fn -> ShapeDb.count_shapes(stack_id) == {:ok, 10} end)

    add_there(context, 11..11)
    there(context, ShapeDb, :remove_shape, [handle(1)])
    there(context, ShapeDb, :mark_snapshot_complete, [handle(2)])
    there(context, WriteBuffer, :flush_sync, [])

    eventually(fn -> ShapeDb.handle_for_shape(stack_id, shape(11)) == {:ok, handle(11)} end, 500)
    eventually(fn -> ShapeDb.shape_for_handle(stack_id, handle(1)) == :error end, 500)
    eventually(fn -> ShapeDb.snapshot_complete?(stack_id, handle(2)) end, 500)
    assert ShapeDb.shape_for_handle(stack_id, handle(11)) == {:ok, shape(11)}
    assert ShapeDb.list_shapes!(stack_id) == Enum.map(2..11, &{handle(&1), shape(&1)})
  end

  test "validation picks up all that was written, and makes it the writer", context do
    %{stack_id: stack_id} = context
    start_store!(context)
    add_there(context, 1..100)
    for n <- 1..60, do: there(context, ShapeDb, :mark_snapshot_complete, [handle(n)])
    there(context, WriteBuffer, :flush_sync, [])

    assert {:ok, removed, 60} = ShapeDb.validate_existing_shapes(stack_id)
    assert Enum.sort(removed) == Enum.map(61..100, &handle/1)
    add!(stack_id, shape(101), handle(101))
    flush!(stack_id)
    assert handle(101) in stored_handles(stack_id)
  end

  test "the old writer is fenced as a whole, and goes on reading", context do
    %{stack_id: stack_id} = context
    add_there(context, 1..2)
    for n <- 1..2, do: there(context, ShapeDb, :mark_snapshot_complete, [handle(n)])
    there(context, WriteBuffer, :flush_sync, [])
    start_store!(context)
    assert {:ok, [], 2} = ShapeDb.validate_existing_shapes(stack_id)

    # Each of these may be refused or acknowledged; none may reach the file.
    for n <- 3..5 do
      catch_anything(fn -> there(context, ShapeDb, :add_shape, [shape(n), handle(n)]) end)
    end

    catch_anything(fn -> there(context, WriteBuffer, :flush_sync, [1_000]) end)
    assert stored_handles(stack_id) == [handle(1), handle(2)]
    assert there(context, ShapeDb, :shape_for_handle, [handle(1)]) == {:ok, shape(1)}
    assert there(context, ShapeDb, :handle_for_shape, [shape(2)]) == {:ok, handle(2)}

    add!(stack_id, shape(3), handle(3))
    flush!(stack_id)
    assert stored_handles(stack_id) == Enum.map(1..3, &handle/1)
  end

  test "what the old writer had queued is listed beside the file", context do
    %{stack_id: stack_id, storage_dir: storage_dir} = context
    add_there(context, [1])
    :ok = there(context, ShapeDb, :mark_snapshot_complete, [handle(1)])
    there(context, WriteBuffer, :flush_sync, [])
    :ok = there(context, WriteBuffer, :pause_flush, [])
    add_there(context, 2..3)
    :ok = there(context, ShapeDb, :remove_shape, [handle(1)])
    start_store!(context)
    assert {:ok, [], 1} = ShapeDb.validate_existing_shapes(stack_id)
    :ok = there(context, WriteBuffer, :resume_flush, [])
    lists = Connection.db_path!(storage_dir: storage_dir) <> ".given-up-*"
    eventually(fn -> match?({:ok, %{given_up: 3}}, there(context, ShapeDb, :statistics, [])) end)
    assert [list] = Path.wildcard(lists)
    listed = list |> File.read!() |> String.split("\n", trim: true) |> Enum.sort()
    assert listed == ["add #{handle(2)}", "add #{handle(3)}", "remove #{handle(1)}"]
    assert ShapeDb.list_shapes!(stack_id) == [{handle(1), shape(1)}]
  end

  test "the standby takes over from one that was killed", context do
    %{stack_id: stack_id} = context
    add_there(context, 1..50)
    for n <- 1..50, do: there(context, ShapeDb, :mark_snapshot_complete, [handle(n)])
    there(context, WriteBuffer, :flush_sync, [])
    start_store!(context)
    PeerVM.kill!(context.active)
    assert {:ok, [], 50} = ShapeDb.validate_existing_shapes(stack_id)
    assert ShapeDb.list_shapes!(stack_id) == Enum.map(1..50, &{handle(&1), shape(&1)})
    add!(stack_id, shape(51), handle(51))
    flush!(stack_id)
  end

  defp add_there(context, numbers) do
    for n <- numbers, do: {:ok, _} = there(context, ShapeDb, :add_shape, [shape(n), handle(n)])
  end

  defp there(context, module, function, args) do
    PeerVM.call(context.active, module, function, [context.stack_id | args])
  end

  defp catch_anything(fun) do
    fun.()
  catch
    _kind, _reason -> :caught
  end
end
