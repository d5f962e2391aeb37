defmodule ElectricShapeDb.UnknownHandlesTest do
  @moduledoc "Which handles found on a disk no shape owns."

  use ElectricShapeDb.StoreCase, async: true

  setup :start_store!

  test "those that no shape has, in the order given", %{stack_id: stack_id} do
    add_samples!(stack_id, 1..5)
    given = Enum.map([9, 3, 7, 1, 8], &handle/1)
    assert ShapeDb.unknown_handles(stack_id, given) == Enum.map([9, 7, 8], &handle/1)
  end

  test "none of none, and all of an empty store", %{stack_id: stack_id} do
    assert ShapeDb.unknown_handles(stack_id, []) == []
    assert ShapeDb.unknown_handles(stack_id, ["a", "b"]) == ["a", "b"]
    add_samples!(stack_id, 1..5)
    assert ShapeDb.unknown_handles(stack_id, Enum.map(1..5, &handle/1)) == []
  end

  test "one that is given twice is told twice", %{stack_id: stack_id} do
    assert ShapeDb.unknown_handles(stack_id, ["a", "b", "a"]) == ["a", "b", "a"]
  end

  test "a shape counts from its add to its removal, buffered or not", %{stack_id: stack_id} do
    WriteBuffer.pause_flush(stack_id)
    add_samples!(stack_id, 1..2)
    flush!(stack_id)
    assert ShapeDb.unknown_handles(stack_id, [handle(1), handle(2)]) == []
    :ok = ShapeDb.remove_shape(stack_id, handle(1))
    assert ShapeDb.unknown_handles(stack_id, [handle(1), handle(2)]) == [handle(1)]
    flush!(stack_id)
    assert ShapeDb.unknown_handles(stack_id, [handle(1), handle(2)]) == [handle(1)]
    add_samples!(stack_id, 1..1)
    assert ShapeDb.unknown_handles(stack_id, [handle(1), handle(2)]) == []
  end

  test "any enumerable, of any length, any bytes", %{stack_id: stack_id} do
    add_samples!(stack_id, 1..3_000)
    odd = ["", <<0>>, <<255, 254>>, String.duplicate("x", 100_000)]
    every_other = Stream.map(1..3_000, &if(rem(&1, 2) == 0, do: handle(&1), else: "no-#{&1}"))
    wanted = odd ++ for n <- 1..2_999//2, do: "no-#{n}"
    assert ShapeDb.unknown_handles(stack_id, Stream.concat(odd, every_other)) == wanted
    assert ShapeDb.unknown_handles(stack_id, MapSet.new([handle(1), "a"])) == ["a"]
  end

  test "an enumerable is taken some at a time, while others change the store", context do
    %{stack_id: stack_id} = context
    handles = Stream.each(1..2_000, &if(&1 == 1_999, do: add_samples!(stack_id, [2_000])))
    unknown = ShapeDb.unknown_handles(stack_id, Stream.map(handles, &handle/1))
    assert length(unknown) == 1_999
  end

  test "folders left by a crash are culled", %{stack_id: stack_id} = context do
    root = Path.join(context.storage_dir, "shapes")
    for n <- 1..20, do: File.mkdir_p!(Path.join(root, handle(n)))
    add_samples!(stack_id, 1..15)
    flush!(stack_id)
    restart_store!(context)
    unknown = ShapeDb.unknown_handles(stack_id, File.ls!(root))
    for handle <- unknown, do: File.rm_rf!(Path.join(root, handle))
    assert Enum.sort(File.ls!(root)) == Enum.map(1..15, &handle/1)
  end

  test "a stack that does not run is an error, not everything unknown", context do
    stop_store!(context)
    assert {:error, reason} = ShapeDb.unknown_handles(context.stack_id, ["a"])
    assert reason =~ "not running"
  end
end
