defmodule ElectricShapeDb.PoisonTest do
  @moduledoc "A store whose writer died takes its stack down, and no other."

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.Tap

  @poisoned [:electric, :shape_db, :store, :poisoned]

  test "the owner ends, and its supervisor with it", %{stack_id: stack_id} = context do
    start_store!(context)
    other = %{context | stack_id: unique("stack"), storage_dir: tmp_dir!()}
    start_store!(other)
    Tap.events(stack_id, [@poisoned])
    supervisor = stack_id |> ShapeDb.Supervisor.name() |> GenServer.whereis()
    monitor = Process.monitor(supervisor)

    poison(stack_id)

    assert_receive {:DOWN, ^monitor, :process, _, _}, 5_000
    # A process of its own tells of it.
    assert_receive {:event, @poisoned, %{count: 1}, %{reason: "boom"}}, 5_000
    add!(other.stack_id, shape(1), handle(1))
  end

  test "a start that is computing flags fails, and the host's code ends", context do
    %{stack_id: stack_id} = context
    start_store!(context)
    add_samples!(stack_id, 1..3)
    stop_store!(context)
    Tap.events(stack_id, [@poisoned])

    poisoner =
      Task.async(fn ->
        assert_receive {:computing, worker}, 5_000
        monitor = Process.monitor(worker)
        poison(stack_id)
        assert_receive {:DOWN, ^monitor, :process, _, :killed}, 5_000
      end)

    assert start_error(context, flags: {1, &never(&1, poisoner.pid)}) =~ "poisoned"
    Task.await(poisoner)
    assert_receive {:event, @poisoned, %{count: 1}, %{reason: "boom"}}, 5_000
  end

  # As the writer tells it when it panics; that it does is the core's own test.
  defp poison(stack_id) do
    stack_id |> WriteBuffer.name() |> GenServer.whereis() |> send({:shape_db, :poisoned, "boom"})
  end

  defp never(_shape, told) do
    send(told, {:computing, self()})
    Process.sleep(:infinity)
  end
end
