defmodule ElectricShapeDb.FlagsTest do
  @moduledoc "Flags that are a function of the shape, whose version changes."

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.Fixtures
  alias ElectricShapeDb.PeerVM
  alias ElectricShapeDb.Tap

  @shapes 1..1_500

  for {name, opts} <- ElectricShapeDb.Matrix.configurations(), opts[:storage_dir] != ":memory:" do
    @tag store: opts
    test "another version has all of them computed anew, once (#{name})", context do
      %{stack_id: stack_id} = context
      start_store!(context, flags: {1, &constant(&1, 1)})
      add_samples!(stack_id, @shapes)
      assert ShapeDb.count_by_flags(stack_id, 255, 1) == 1_500
      restart_store!(context, flags: {1, &raise_on/1})
      assert ShapeDb.count_by_flags(stack_id, 255, 1) == 1_500

      restart_store!(context, flags: {"two", &parity/1})
      assert_parity(stack_id)
      restart_store!(context, flags: {"two", &raise_on/1})
      assert_parity(stack_id)
      # Flags that are nobody's function stay as they are.
      restart_store!(context)
      assert_parity(stack_id)
    end
  end

  test "a file of schema 4 has its flags computed when it is taken over", context do
    Fixtures.copy!("real-500", context.storage_dir)
    start_store!(context, flags: {1, &constant(&1, 9)})
    count = length(Fixtures.manifest("real-500"))
    assert ShapeDb.count_by_flags(context.stack_id, 255, 9) == count
  end

  test "flags that are given go before those of the function", %{stack_id: stack_id} = context do
    start_store!(context, flags: {1, &constant(&1, 1)})
    {:ok, _} = ShapeDb.add_shape(stack_id, shape(1), handle(1), flags: 2)
    {:ok, _} = ShapeDb.add_shape(stack_id, shape(2), handle(2), durability: :sync)
    assert {ShapeDb.flags(stack_id, handle(1)), ShapeDb.flags(stack_id, handle(2))} == {2, 1}

    for wrong <- [256, -1, :indexed] do
      assert_raise ArgumentError, fn ->
        ShapeDb.add_shape(stack_id, shape(3), handle(3), flags: wrong)
      end
    end
  end

  test "a function that fails leaves the flags of its shape 0, and is told", context do
    %{stack_id: stack_id} = context
    start_store!(context)
    add_samples!(stack_id, 1..10)

    fun = fn shape ->
      case shape.where.query do
        "id = 1" -> raise "no flags"
        "id = 2" -> throw(:no_flags)
        "id = 3" -> exit(:no_flags)
        "id = 4" -> 256
        _ -> 7
      end
    end

    {_, log} = ExUnit.CaptureLog.with_log(fn -> restart_store!(context, flags: {1, fun}) end)
    assert log =~ "failed for 4 shapes"
    assert ShapeDb.count_by_flags(stack_id, 255, 0) == 4
    assert ShapeDb.count_by_flags(stack_id, 255, 7) == 6
  end

  test "an add whose flags are none is refused, and nothing is added", context do
    %{stack_id: stack_id} = context
    fun = fn shape -> if shape.where.query == "id = 1", do: nil, else: 256 end
    start_store!(context, flags: {1, fun})

    for n <- 1..2, opts <- [[], [durability: :sync]] do
      assert_raise ArgumentError, fn -> ShapeDb.add_shape(stack_id, shape(n), handle(n), opts) end
    end

    assert ShapeDb.count_shapes(stack_id) == {:ok, 0}
    assert {:ok, _} = ShapeDb.add_shape(stack_id, shape(1), handle(1), flags: 9)
  end

  test "a worker that is killed does not keep the stack from starting", context do
    %{stack_id: stack_id} = context
    start_store!(context)
    add_samples!(stack_id, 1..10)
    kill = fn _shape -> Process.exit(self(), :kill) end
    {_, log} = ExUnit.CaptureLog.with_log(fn -> restart_store!(context, flags: {1, kill}) end)
    assert log =~ "cannot compute the flags"
    assert ShapeDb.count_shapes!(stack_id) == 10
    restart_store!(context, flags: {1, &constant(&1, 3)})
    assert ShapeDb.count_by_flags(stack_id, 255, 3) == 10
  end

  test "an owner that is killed meanwhile leaves them to the next", context do
    %{stack_id: stack_id} = context
    start_store!(context)
    add_samples!(stack_id, 1..10)
    stop_store!(context)

    killer =
      Task.async(fn ->
        assert_receive :computing, 5_000
        stack_id |> WriteBuffer.name() |> GenServer.whereis() |> Process.exit(:kill)
      end)

    never = fn _shape ->
      send(killer.pid, :computing)
      Process.sleep(:infinity)
    end

    assert start_error(context, flags: {1, never}) =~ "killed"
    start_store!(context, flags: {1, &constant(&1, 3)})
    assert ShapeDb.count_by_flags(stack_id, 255, 3) == 10
  end

  test "a standby computes them when it takes over", %{stack_id: stack_id} = context do
    active = PeerVM.start!()
    PeerVM.start_store!(active, stack_id, store_opts(context))

    for n <- 1..20 do
      args = [stack_id, shape(n), handle(n), [flags: 1]]
      {:ok, _} = PeerVM.call(active, ShapeDb, :add_shape, args)
      :ok = PeerVM.call(active, ShapeDb, :mark_snapshot_complete, [stack_id, handle(n)])
    end

    :ok = PeerVM.call(active, WriteBuffer, :flush_sync, [stack_id])
    start_store!(context, flags: {2, &parity/1})
    eventually(fn -> ShapeDb.count_by_flags(stack_id, 255, 1) == 20 end)
    :ok = PeerVM.call(active, ShapeDb, :set_flags, [stack_id, handle(1), 8])
    eventually(fn -> ShapeDb.flags(stack_id, handle(1)) == 8 end)
    assert {:ok, [], 20} = ShapeDb.validate_existing_shapes(stack_id)
    assert ShapeDb.count_by_flags(stack_id, 1, 1) == 10
    assert ShapeDb.count_by_flags(stack_id, 1, 0) == 10
    PeerVM.stop(active)
    restart_store!(context, flags: {2, &raise_on/1})
    assert ShapeDb.count_by_flags(stack_id, 1, 1) == 10
  end

  test "the end is told", %{stack_id: stack_id} = context do
    start_store!(context)
    add_samples!(stack_id, 1..3)
    event = [:electric, :shape_db, :store, :flags]
    Tap.events(stack_id, [event])
    restart_store!(context, flags: {"x", &constant(&1, 1)})
    assert_receive {:event, ^event, %{shapes: 3, failed: 0}, %{version: "x"}}
  end

  defp constant(_shape, flags), do: flags
  defp parity(%{where: %{query: "id = " <> n}}), do: rem(String.to_integer(n), 2)
  defp raise_on(_shape), do: raise("it is not to be called")

  defp assert_parity(stack_id) do
    odd = for n <- @shapes, rem(n, 2) == 1, do: handle(n)
    assert ShapeDb.handles_by_flags(stack_id, 255, 1) == odd
    assert ShapeDb.count_by_flags(stack_id, 255, 0) == 1_500 - length(odd)
  end
end
