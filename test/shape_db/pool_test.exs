defmodule ElectricShapeDb.PoolTest do
  @moduledoc "Who gets which connection, when, and that each comes back."

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.Holder
  alias ElectricShapeDb.Tap

  @checkout [:electric, :shape_db, :pool, :checkout]

  test "two readers hold different connections, the writer a third", context do
    start_store!(context, read_pool_size: 2)
    assert context.stack_id |> three_connections() |> Enum.uniq() |> length() == 3
  end

  @tag store: [exclusive_mode: true]
  test "in exclusive mode there is one connection for everything", context do
    start_store!(context)
    read = Connection.checkout!(context.stack_id, :test, & &1.conn)
    {:ok, write} = Connection.checkout_write!(context.stack_id, :test, &{:ok, &1.conn})
    assert read == write
    holder = Holder.hold!(context.stack_id, :write)
    assert_times_out(fn -> Connection.checkout!(context.stack_id, :test, & &1, 30) end)
    Holder.release!(holder)
  end

  test "a checkout that gets no connection in time exits", %{stack_id: stack_id} = context do
    start_store!(context, read_pool_size: 1)
    reader = Holder.hold!(stack_id, :read)
    writer = Holder.hold!(stack_id, :write)
    assert_times_out(fn -> Connection.checkout!(stack_id, :test, & &1, 30) end)
    assert_times_out(fn -> Connection.checkout_write!(stack_id, :test, fn _ -> :ok end, 30) end)
    Holder.release!(reader)
    Holder.release!(writer)
    assert Connection.checkout!(stack_id, :test, fn _ -> :ok end) == :ok
    assert Connection.checkout_write!(stack_id, :test, fn _ -> :ok end) == :ok
  end

  test "the connection of a caller that dies comes back", %{stack_id: stack_id} = context do
    start_store!(context, read_pool_size: 1)

    for kind <- [:read, :write], _ <- 1..20 do
      stack_id |> Holder.hold!(kind) |> Holder.kill!()
    end

    assert Connection.checkout!(stack_id, :test, fn _ -> :ok end) == :ok
    assert Connection.checkout_write!(stack_id, :test, fn _ -> :ok end) == :ok
  end

  test "a caller that dies waiting leaves nothing behind", %{stack_id: stack_id} = context do
    start_store!(context, read_pool_size: 1)
    holder = Holder.hold!(stack_id, :read)
    Tap.events(stack_id, [@checkout])
    waiters = for _ <- 1..20, do: spawn(fn -> Connection.checkout!(stack_id, :dead, & &1) end)
    Enum.each(waiters, &Holder.kill!/1)
    Holder.release!(holder)
    assert Connection.checkout!(stack_id, :alive, fn _ -> :ok end) == :ok
    assert_receive {:event, @checkout, _, %{label: :alive}}
  end

  test "waiters are served in their order", %{stack_id: stack_id} = context do
    start_store!(context, read_pool_size: 1)
    holder = Holder.hold!(stack_id, :read)
    test = self()

    waiters =
      for n <- 1..10 do
        waiter =
          spawn_link(fn ->
            Connection.checkout!(stack_id, :test, fn _ -> send(test, {:served, n}) end)
          end)

        eventually(fn -> Process.info(waiter, :status) == {:status, :waiting} end)
        waiter
      end

    Holder.release!(holder)
    served = for _ <- waiters, do: receive(do: ({:served, n} -> n))
    assert served == Enum.to_list(1..10)
  end

  test "a raising reader gives its connection back", %{stack_id: stack_id} = context do
    start_store!(context, read_pool_size: 1)

    for _ <- 1..3 do
      assert_raise RuntimeError, fn ->
        Connection.checkout!(stack_id, :test, fn _ -> raise "x" end)
      end
    end

    assert Connection.checkout!(stack_id, :test, fn _ -> :ok end) == :ok
  end

  test "connections open when needed and close when idle", %{stack_id: stack_id} = context do
    start_store!(context, read_pool_size: 3, connection_idle_timeout: 30)
    three_connections(stack_id)
    eventually(fn -> connections(stack_id) == 0 end)
    add!(stack_id, shape(1), handle(1))
    flush!(stack_id)
    assert stored_handles(stack_id) == [handle(1)]
    assert connections(stack_id) > 0
    eventually(fn -> connections(stack_id) == 0 end)
  end

  test "open connections are counted", %{stack_id: stack_id} = context do
    start_store!(context, read_pool_size: 3)
    readers = for _ <- 1..3, do: Holder.hold!(stack_id, :read)
    assert connections(stack_id) in 3..4
    Enum.each(readers, &Holder.release!/1)
  end

  @tag store: [exclusive_mode: true, connection_idle_timeout: 10]
  test "exclusive mode keeps its one connection", %{stack_id: stack_id} = context do
    start_store!(context)
    conn = Connection.checkout!(stack_id, :test, & &1.conn)
    refute_receive :never, 60
    assert connections(stack_id) == 1
    assert Connection.checkout!(stack_id, :test, & &1.conn) == conn
  end

  test "a connection is of no use after its checkout", %{stack_id: stack_id} = context do
    start_store!(context, read_pool_size: 1)
    stale = Connection.checkout!(stack_id, :test, & &1.conn)
    holder = Holder.hold!(stack_id, :read)
    assert {:error, _} = Connection.fetch_one(stale, "SELECT 1", [])
    Holder.release!(holder)
  end

  defp three_connections(stack_id) do
    Connection.checkout!(stack_id, :test, fn %{conn: first} ->
      second = fn -> Connection.checkout!(stack_id, :test, & &1.conn) end
      second = second |> Task.async() |> Task.await()
      {:ok, write} = Connection.checkout_write!(stack_id, :test, &{:ok, &1.conn})
      [first, second, write]
    end)
  end

  defp connections(stack_id) do
    {:ok, %{connections: connections}} = ShapeDb.statistics(stack_id)
    connections
  end

  defp assert_times_out(fun), do: assert({:timeout, _} = catch_exit(fun.()))
end
