defmodule ElectricShapeDb.ColdReadsTest do
  @moduledoc """
  Cold reads take turns, all stacks together. Not async: the permits belong to the VM.
  """

  use ElectricShapeDb.StoreCase, async: false

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.ColdReads
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native

  @tag store: [cache_size: 0]
  setup context do
    start_store!(Map.put(context, :store, cache_size: 0))
    add_samples!(context.stack_id, 1..20)
    flush!(context.stack_id)
    limit = Native.limit_permits(2)
    on_exit(fn -> Native.limit_permits(limit) end)
    {:ok, limit: limit}
  end

  test "half of the threads are for them", %{limit: limit} do
    assert limit == div(:erlang.system_info(:dirty_io_schedulers), 2)
  end

  test "who finds no permit waits, and reads when one comes back", %{stack_id: stack_id} do
    [first, second] = for _ <- 1..2, do: hold_permit()

    readers =
      for n <- 1..20, do: Task.async(fn -> ShapeDb.shape_for_handle(stack_id, handle(n)) end)

    lister = Task.async(fn -> ShapeDb.list_shapes!(stack_id) end)
    eventually(fn -> Native.permits() == {2, 21} end)
    # What is in memory waits for none.
    assert ShapeDb.handle_for_shape(stack_id, shape(1)) == {:ok, handle(1)}
    let_go(first)
    assert Task.await_many(readers) == for(n <- 1..20, do: {:ok, shape(n)})
    assert length(Task.await(lister)) == 20
    let_go(second)
    assert Native.permits() == {0, 0}
  end

  test "no turn in time is an error, and the place in line is given up" do
    holders = for _ <- 1..2, do: hold_permit()
    assert {:error, reason} = ColdReads.with_permit(fn _ -> flunk("there is none") end, 10)
    assert reason =~ "2 others"
    assert reason =~ "within 10 ms"
    assert Native.permits() == {2, 0}
    Enum.each(holders, &let_go/1)
    assert ColdReads.with_permit(fn permit -> Native.give_permit_back(permit) end, 10) == :ok
    assert Native.permits() == {0, 0}
    assert Process.info(self(), :messages) == {:messages, []}
  end

  test "who dies gives it back, having it, in line, or with it on the way" do
    holders = for _ <- 1..2, do: hold_permit()

    waiting =
      for _ <- 1..3,
          do: spawn(fn -> ColdReads.with_permit(fn _ -> Process.sleep(:infinity) end) end)

    eventually(fn -> Native.permits() == {2, 3} end)
    kill(hd(waiting))
    for holder <- holders, do: kill(holder)
    # The first in line is dead: what was meant for it goes on.
    eventually(fn -> Native.permits() == {2, 0} end)
    for pid <- tl(waiting), do: kill(pid)
    eventually(fn -> Native.permits() == {0, 0} end)
  end

  test "it is given back however the read ends", %{stack_id: stack_id} = context do
    # The read fails, the file is looked into and written anew without what is in no memory.
    tamper!(stack_id, ["ALTER TABLE bodies RENAME TO elsewhere"])
    assert ShapeDb.shape_for_handle(stack_id, handle(1)) == :error
    assert ShapeDb.list_shapes(stack_id) == {:ok, []}
    stop_store!(context)
    assert Native.permits() == {0, 0}
  end

  # A process that keeps a permit until it is told, or killed.
  defp hold_permit do
    test = self()

    pid =
      spawn(fn ->
        ColdReads.with_permit(fn permit ->
          send(test, {:holds, self()})
          receive do: (:let_go -> Native.give_permit_back(permit))
        end)
      end)

    assert_receive {:holds, ^pid}, 1_000
    pid
  end

  defp let_go(pid) do
    monitor = Process.monitor(pid)
    send(pid, :let_go)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :normal}, 1_000
  end

  defp kill(pid) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}, 1_000
  end
end
