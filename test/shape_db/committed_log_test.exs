defmodule ElectricShapeDb.CommittedLogTest do
  @moduledoc """
  The debug lines that a host's integration tests wait for. Not async: the log
  level belongs to the whole VM.
  """

  use ElectricShapeDb.StoreCase, async: false

  alias ElectricShapeDb.Tap

  setup context do
    level = Logger.level()
    Logger.configure(level: :debug)
    on_exit(fn -> Logger.configure(level: level) end)
    start_store!(context)
  end

  test "each committed operation is logged", %{stack_id: stack_id} do
    handle = "#{stack_id}-handle"
    Tap.logs(handle)
    add!(stack_id, shape(1), handle)
    assert_committed(:add, handle)
    :ok = ShapeDb.mark_snapshot_started(stack_id, handle)
    assert_committed(:snapshot_started, handle)
    :ok = ShapeDb.mark_snapshot_complete(stack_id, handle)
    assert_committed(:snapshot_complete, handle)
    :ok = ShapeDb.remove_shape(stack_id, handle)
    assert_committed(:remove, handle)
  end

  test "what is not committed is not logged", %{stack_id: stack_id} do
    handle = "#{stack_id}-handle"
    :ok = WriteBuffer.pause_flush(stack_id)
    Tap.logs(handle)
    add!(stack_id, shape(1), handle)
    refute_receive {:log, :debug, _line}, 100
    flush!(stack_id)
    assert_committed(:add, handle)
  end

  defp assert_committed(operation, handle) do
    assert_receive {:log, :debug, line}, 1_000
    assert line =~ "ShapeDb: committed {#{inspect(operation)}, #{inspect(handle)}}"
  end
end
