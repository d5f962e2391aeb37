defmodule ElectricShapeDb.PoisonTest do
  @moduledoc "A store whose writer died takes its stack down, and no other."

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.Tap

  test "the owner ends, and its supervisor with it", %{stack_id: stack_id} = context do
    start_store!(context)
    other = %{context | stack_id: unique("stack"), storage_dir: tmp_dir!()}
    start_store!(other)
    poisoned = [:electric, :shape_db, :store, :poisoned]
    Tap.events(stack_id, [poisoned])
    supervisor = stack_id |> ShapeDb.Supervisor.name() |> GenServer.whereis()
    monitor = Process.monitor(supervisor)

    # As the writer tells it when it panics; that it does is the core's own test.
    stack_id |> WriteBuffer.name() |> GenServer.whereis() |> send({:shape_db, :poisoned, "boom"})

    assert_receive {:DOWN, ^monitor, :process, _, _}, 5_000
    assert_received {:event, ^poisoned, %{count: 1}, %{reason: "boom", stack_id: ^stack_id}}
    add!(other.stack_id, shape(1), handle(1))
  end
end
