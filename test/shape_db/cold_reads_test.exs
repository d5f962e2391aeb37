defmodule ElectricShapeDb.ColdReadsTest do
  @moduledoc "Bodies that are not in memory come by message, and whoever leaves gets none."

  use ElectricShapeDb.StoreCase, async: true

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.ColdReads
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias ElectricShapeDb.Holder

  setup context do
    if context[:idle], do: :ok, else: start!(context, [])
  end

  # With nothing in memory.
  defp start!(context, opts) do
    start_store!(Map.put(context, :store, [cache_size: 0] ++ opts))
    add_samples!(context.stack_id, 1..20)
    flush!(context.stack_id)
    :ok
  end

  test "a crowd is told, each of what they asked for", %{stack_id: stack_id} do
    readers =
      for n <- 1..200 do
        Task.async(fn -> ShapeDb.shape_for_handle(stack_id, handle(rem(n, 20) + 1)) end)
      end

    lister = Task.async(fn -> ShapeDb.list_shapes!(stack_id) end)
    assert Task.await_many(readers) == for(n <- 1..200, do: {:ok, shape(rem(n, 20) + 1)})
    assert length(Task.await(lister)) == 20
    eventually(fn -> Native.waiting_reads(store!(stack_id)) == 0 end)
  end

  @tag :idle
  test "no answer in time is an error, and nothing comes later",
       %{stack_id: stack_id} = context do
    start!(context, exclusive_mode: true)
    # The one connection, which reads.
    holder = Holder.hold!(stack_id, :write)
    assert {:error, reason} = ColdReads.body(store!(stack_id), handle(1), 10)
    assert reason =~ "within 10 ms"
    cursor = Native.cursor(store!(stack_id))
    assert {:error, reason} = ColdReads.shapes(store!(stack_id), cursor, 10, 10)
    assert reason =~ "within 10 ms"
    Holder.release!(holder)
    assert ShapeDb.shape_for_handle(stack_id, handle(1)) == {:ok, shape(1)}
    assert Process.info(self(), :messages) == {:messages, []}
  end

  @tag :idle
  test "who dies while it waits holds nobody up", %{stack_id: stack_id} = context do
    start!(context, exclusive_mode: true)
    holder = Holder.hold!(stack_id, :write)

    waiting = for n <- 1..20, do: spawn(fn -> ShapeDb.shape_for_handle(stack_id, handle(n)) end)

    for pid <- waiting do
      eventually(fn -> Process.info(pid, :status) == {:status, :waiting} end)
      kill(pid)
    end

    Holder.release!(holder)
    assert ShapeDb.shape_for_handle(stack_id, handle(1)) == {:ok, shape(1)}
  end

  test "a read that fails is the writer's to see to", %{stack_id: stack_id} do
    # The file is looked into and written anew without what is in no memory.
    tamper!(stack_id, ["ALTER TABLE bodies RENAME TO elsewhere"])
    assert ShapeDb.shape_for_handle(stack_id, handle(1)) == :error
    assert ShapeDb.list_shapes(stack_id) == {:ok, []}
  end

  @tag :idle
  test "a large body is parsed where it keeps nobody waiting", %{stack_id: stack_id} = context do
    start!(context, [])
    large = shape(99, tag_structure: List.duplicate("one of many parts", 10_000))
    add!(stack_id, large, handle(99))
    flush!(stack_id)
    ref = make_ref()
    owed = Native.ask_body(store!(stack_id), handle(99), false, ref)
    assert_receive {^ref, :here}, 5_000
    assert Native.take_body(store!(stack_id), owed) == :large
    assert Native.take_large_body(store!(stack_id), owed) == {:ok, large}
    # It is there to be taken once.
    assert Native.take_large_body(store!(stack_id), owed) == :gone
    assert ShapeDb.shape_for_handle(stack_id, handle(99)) == {:ok, large}
  end

  defp kill(pid) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}, 1_000
  end
end
