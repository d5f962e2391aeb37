defmodule ElectricShapeDb.SupervisorTest do
  @moduledoc "The processes of a stack: their names, and who falls with whom."

  use ElectricShapeDb.StoreCase, async: true

  test "a child spec starts it", %{stack_id: stack_id} = context do
    args = [stack_id: stack_id, shape_db_opts: store_opts(context)]
    spec = ShapeDb.Supervisor.child_spec(args)
    assert %{id: _, start: {ShapeDb.Supervisor, :start_link, [^args]}} = spec
    assert spec.type == :supervisor
    pid = start_supervised!({ShapeDb.Supervisor, args})
    assert GenServer.whereis(ShapeDb.Supervisor.name(stack_id)) == pid
    assert ShapeDb.count_shapes(stack_id) == {:ok, 0}
  end

  test "a stack is started only once", %{stack_id: stack_id} = context do
    start_store!(context)
    args = [stack_id: stack_id, shape_db_opts: store_opts(context, storage_dir: tmp_dir!())]
    pid = GenServer.whereis(ShapeDb.Supervisor.name(stack_id))
    assert {:error, {:already_started, ^pid}} = ShapeDb.Supervisor.start_link(args)
    assert ShapeDb.count_shapes(stack_id) == {:ok, 0}
  end

  test "the write buffer's name can be resolved", %{stack_id: stack_id} = context do
    start_store!(context)
    assert stack_id |> WriteBuffer.name() |> GenServer.whereis() |> is_pid()
    stop_store!(context)
    assert stack_id |> WriteBuffer.name() |> GenServer.whereis() == nil
  end

  test "killing the write buffer takes the supervisor down", %{stack_id: stack_id} = context do
    start_store!(context)
    supervisor = stack_id |> ShapeDb.Supervisor.name() |> GenServer.whereis()
    monitor = Process.monitor(supervisor)
    kill_write_buffer(stack_id)
    assert_receive {:DOWN, ^monitor, :process, _, :shutdown}, 5_000
    refute ShapeDb.statistics(stack_id) |> elem(0) == :ok
  end

  test "what was acknowledged before the kill is there after it", context do
    %{stack_id: stack_id} = context
    start_store!(context)
    supervisor = stack_id |> ShapeDb.Supervisor.name() |> GenServer.whereis()
    monitor = Process.monitor(supervisor)
    :ok = WriteBuffer.pause_flush(stack_id)
    handles = add_samples!(stack_id, 1..2_000)
    :ok = ShapeDb.mark_snapshot_complete(stack_id, handle(1))
    kill_write_buffer(stack_id)
    assert_receive {:DOWN, ^monitor, :process, _, _}, 5_000

    start_store!(context)
    assert Enum.map(ShapeDb.list_shapes!(stack_id), &elem(&1, 0)) == handles
    assert ShapeDb.snapshot_complete?(stack_id, handle(1))
  end

  test "a stack that is stopped answers as one that never ran", context do
    %{stack_id: stack_id} = context
    start_store!(context)
    add!(stack_id, shape(1), handle(1))
    stop_store!(context)
    assert ShapeDb.pending_buffer_size(stack_id) == 0
    assert ShapeDb.count_shapes!(stack_id) == :error
    assert {:error, _} = ShapeDb.statistics(stack_id)
  end

  defp kill_write_buffer(stack_id) do
    stack_id |> WriteBuffer.name() |> GenServer.whereis() |> Process.exit(:kill)
  end
end
