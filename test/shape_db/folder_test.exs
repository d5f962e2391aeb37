defmodule ElectricShapeDb.FolderTest do
  @moduledoc "A storage folder that is not absolute, in a VM that goes to another folder."

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.PeerVM

  @shapes 1..20

  test "a relative folder stays where it was when the VM goes elsewhere", context do
    %{stack_id: stack_id, storage_dir: storage_dir} = context
    [here, elsewhere] = for name <- ["here", "elsewhere"], do: Path.join(storage_dir, name)
    Enum.each([here, elsewhere], &File.mkdir_p!/1)
    # Closes its connections at once, so that it opens the file again over there.
    opts = [storage_dir: "relative", connection_idle_timeout: 1]

    vm = PeerVM.start!()
    :ok = PeerVM.call(vm, File, :cd!, [here])
    PeerVM.start_store!(vm, stack_id, opts)
    add_durable(vm, stack_id, 1..10)

    :ok = PeerVM.call(vm, File, :cd!, [elsewhere])
    eventually(fn -> connections(vm, stack_id) == 0 end)
    add_durable(vm, stack_id, 11..20)
    assert {:ok, 20} = PeerVM.call(vm, ShapeDb, :count_shapes, [stack_id])
    assert File.ls!(elsewhere) == []
    PeerVM.kill!(vm)

    vm = PeerVM.start!()
    :ok = PeerVM.call(vm, File, :cd!, [here])
    PeerVM.start_store!(vm, stack_id, opts)
    stored = PeerVM.call(vm, ShapeDb, :list_shapes!, [stack_id])
    assert stored == Enum.sort(Enum.map(@shapes, &{handle(&1), shape(&1)}))
    assert File.ls!(elsewhere) == []
    assert File.ls!(here) == ["relative"]
  end

  defp add_durable(vm, stack_id, range) do
    for n <- range do
      assert {:ok, _hash} =
               PeerVM.call(vm, ShapeDb, :add_shape, [
                 stack_id,
                 shape(n),
                 handle(n),
                 [durability: :sync]
               ])
    end
  end

  defp connections(vm, stack_id) do
    {:ok, %{connections: open}} = PeerVM.call(vm, ShapeDb, :statistics, [stack_id])
    open
  end
end
