defmodule ElectricShapeDb.EndingsTest do
  @moduledoc """
  However a store ends, what it acknowledged is committed first. Only a VM that is
  killed leaves the last of it behind.
  """

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.Holder
  alias ElectricShapeDb.HostApp
  alias ElectricShapeDb.PeerVM
  alias ElectricShapeDb.Tap

  @committed 1..100
  @queued 101..10_100

  describe "10,000 queued operations are committed when" do
    test "the owner is killed", context do
      queue_here(context)
      kill!(WriteBuffer.name(context.stack_id))
      assert_all_there(context)
    end

    test "the supervisor is killed", context do
      queue_here(context)
      kill!(ShapeDb.Supervisor.name(context.stack_id))
      assert_all_there(context)
    end

    test "the supervisor stops", context do
      queue_here(context)
      stop_store!(context)
      assert_all_there(context)
    end

    test "the system stops", context do
      vm = queue_there(context)
      end_vm(vm, System, :stop)
      assert_all_there(context)
    end

    test "the system halts", context do
      vm = queue_there(context)
      end_vm(vm, System, :halt)
      assert_all_there(context)
    end
  end

  test "what is not committed in time is named, and committed afterwards", context do
    %{stack_id: stack_id} = context
    start_store!(context)
    add_samples!(stack_id, 1..3)
    flush!(stack_id)
    holder = Holder.hold!(stack_id, :write)
    add_samples!(stack_id, 4..5)
    :ok = ShapeDb.remove_shape(stack_id, handle(1))
    # No time at all, instead of 30 seconds.
    owner = stack_id |> WriteBuffer.name() |> GenServer.whereis()
    :sys.replace_state(owner, &%{&1 | shutdown: 0})
    Tap.logs("time to shut down ran out")

    stop_store!(context)
    assert_receive {:log, :error, line}
    assert line =~ stack_id
    assert line =~ "3 operations"
    [path] = Regex.run(~r{/\S+\.not-committed-\d+}, line)
    listed = path |> File.read!() |> String.split("\n", trim: true) |> Enum.sort()
    assert listed == ["add #{handle(4)}", "add #{handle(5)}", "remove #{handle(1)}"]

    Holder.release!(holder)
    start_store!(context)
    assert Enum.map(ShapeDb.list_shapes!(stack_id), &elem(&1, 0)) == Enum.map(2..5, &handle/1)
  end

  test "who holds the write connection holds up no stop with nothing queued", context do
    %{stack_id: stack_id} = context
    start_store!(context)
    add_samples!(stack_id, 1..3)
    flush!(stack_id)
    holder = Holder.hold!(stack_id, :write)
    # All of it would pass if the stop waited: there is nothing to wait for.
    owner = stack_id |> WriteBuffer.name() |> GenServer.whereis()
    :sys.replace_state(owner, &%{&1 | shutdown: 10_000})
    Tap.logs("time to shut down ran out")
    stop_store!(context)
    refute_received {:log, :error, _line}
    Holder.release!(holder)
    start_store!(context)
    assert ShapeDb.count_shapes(stack_id) == {:ok, 3}
  end

  defp queue_here(context) do
    start_store!(context)
    HostApp.queue(context.stack_id, @queued)
    assert ShapeDb.pending_buffer_size(context.stack_id) == Enum.count(@queued)
  end

  defp kill!(name) do
    pid = GenServer.whereis(name)
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}, 5_000
  end

  # With some that are committed before.
  defp queue_there(%{stack_id: stack_id} = context) do
    vm = PeerVM.start!()
    # That it lost touch with us in the end is no news.
    :ok = PeerVM.call(vm, Logger, :configure, [[level: :none]])
    :ok = PeerVM.call(vm, HostApp, :run, [stack_id, store_opts(context)])
    :ok = PeerVM.call(vm, HostApp, :add, [stack_id, @committed])
    :ok = PeerVM.call(vm, WriteBuffer, :flush_sync, [stack_id])
    :ok = PeerVM.call(vm, HostApp, :queue, [stack_id, @queued])
    vm
  end

  defp end_vm(vm, module, function) do
    monitor = Process.monitor(vm)
    end_by_call(vm, module, function)
    assert_receive {:DOWN, ^monitor, :process, ^vm, _reason}, 30_000
  end

  # Its answer may not come through any more.
  defp end_by_call(vm, module, function) do
    PeerVM.call(vm, module, function, [])
  catch
    :exit, _gone -> :ok
  end

  # At once: the old owner may still be committing.
  defp assert_all_there(context) do
    _ = stop_supervised({:store, context.stack_id})
    start_store!(context)
    shapes = ShapeDb.list_shapes!(context.stack_id)
    there = for {handle, shape} <- shapes, into: %{}, do: {handle, shape}
    for n <- @queued, do: assert(there[handle(n)] == shape(n))
  end
end
