defmodule ElectricShapeDb.WaitsTest do
  @moduledoc """
  Every wait with each of its endings: what was waited for, the end of the time, the end
  of the store, the death of who waits. None leaves a message.
  """

  use ElectricShapeDb.StoreCase, async: true

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Waits
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Writes
  alias ElectricShapeDb.Holder

  # While somebody has the connection that writes, each of these waits. `{what, options,
  # wait, the answer in the end}`; the time of those that take one is `timeout`.
  defp waits do
    [
      {:room, [max_pending_ops: 1, pending_timeout: 60_000],
       fn stack_id, _ -> add_another(stack_id, []) end},
      {:sync, [], fn stack_id, _ -> add_another(stack_id, sync()) end},
      {:sync_for_a_time, [],
       fn stack_id, timeout ->
         ShapeDb.mark_snapshot_started(stack_id, handle(1), durability: {:sync, timeout})
       end},
      {:flush, [], &WriteBuffer.flush_sync/2},
      {:reset, [], fn stack_id, _ -> ShapeDb.reset(stack_id) end},
      {:validate, [], fn stack_id, _ -> ShapeDb.validate_existing_shapes(stack_id) end},
      {:checkout, [], &Connection.checkout_write!(&1, :test, fn _ -> :ok end, &2)},
      {:read_checkout, [exclusive_mode: true],
       &Connection.checkout!(&1, :test, fn _ -> :ok end, &2)},
      {:cold_body, [exclusive_mode: true, cache_size: 0],
       fn stack_id, _ -> ShapeDb.shape_for_handle(stack_id, handle(0)) end},
      {:cold_list, [exclusive_mode: true, cache_size: 0],
       fn stack_id, _ -> ShapeDb.list_shapes(stack_id) end}
    ]
  end

  defp sync, do: [durability: :sync]

  defp add_another(stack_id, opts) do
    n = System.unique_integer([:positive])
    ShapeDb.add_shape(stack_id, shape("another #{n}"), handle(n), opts)
  end

  for what <-
        ~w(room sync sync_for_a_time flush reset validate checkout read_checkout)a ++
          ~w(cold_body cold_list)a do
    test "#{what}: an answer", context do
      {waiter, holder} = waiting(context, unquote(what), 60_000)
      Holder.release!(holder)
      assert {result, []} = Task.await(waiter, 30_000)
      assert well?(result)
    end

    test "#{what}: death, of who waits and of who has it", context do
      {waiter, holder} = waiting(context, unquote(what), 60_000)
      Task.shutdown(waiter, :brutal_kill)
      {waiter, nil} = waiting(context, unquote(what), 60_000, holder)
      Holder.kill!(holder)
      assert {result, []} = Task.await(waiter, 30_000)
      assert well?(result)
    end

    test "#{what}: the store closes", context do
      {waiter, holder} = waiting(context, unquote(what), 60_000)
      kill_owner!(context.stack_id)
      Holder.release!(holder)
      assert {result, []} = Task.await(waiter, 30_000)
      # The connection is lent once more, or what was queued is committed, before it ends.
      assert well?(result) or ended?(result), inspect(result)
    end
  end

  for what <- ~w(sync_for_a_time flush checkout read_checkout)a do
    test "#{what}: its time ends, and nothing comes later", context do
      {waiter, holder} =
        waiting(context, unquote(what), 1, nil, fn -> receive do: (:go -> :ok) end)

      Holder.release!(holder)
      flush!(context.stack_id)
      # What would come to the waiter has gone the same way as this by now.
      assert promote(context.stack_id) == :ok
      send(waiter.pid, :go)
      assert {_result, []} = Task.await(waiter, 30_000)
    end
  end

  test "an answer and the end of its time, at once", %{stack_id: stack_id} = context do
    start_store!(context)

    for n <- 1..2_000 do
      timeout = rem(n, 2)
      _ = promote(stack_id, timeout)
      add!(stack_id, shape(n), handle(n))
      _ = catch_exit_of(fn -> WriteBuffer.flush_sync(stack_id, timeout) end)

      checkout = fn -> Connection.checkout_write!(stack_id, :t, fn _ -> :ok end, timeout) end
      _ = catch_exit_of(checkout)
    end

    flush!(stack_id)
    assert promote(stack_id) == :ok
    assert Process.info(self(), :messages) == {:messages, []}
  end

  @tag store: [exclusive_mode: true, cache_size: 0]
  test "an answer that was taken back does not come", %{stack_id: stack_id} = context do
    start_store!(context)
    add!(stack_id, shape(0), handle(0))
    flush!(stack_id)
    ref = make_ref()
    holder = Holder.hold!(stack_id, :write)
    owed = Native.ask_body(store!(stack_id), handle(0), false, ref)
    assert Waits.await(ref, 0, owed) == :timeout
    refute Native.take_back(owed)
    Holder.release!(holder)
    assert promote(stack_id) == :ok
    assert Process.info(self(), :messages) == {:messages, []}
  end

  describe "who has the connection that writes is told not to wait for it:" do
    test "with one of several connections", %{stack_id: stack_id} = context do
      start_store!(context, max_pending_ops: 3)
      add!(stack_id, shape(0), handle(0))
      flush!(stack_id)

      Connection.checkout_write!(stack_id, :test, fn _ ->
        assert_told(fn -> ShapeDb.add_shape(stack_id, shape(1), handle(1), sync()) end)
        assert_told(fn -> ShapeDb.remove_shape(stack_id, handle(0), sync()) end)
        assert_told(fn -> ShapeDb.mark_snapshot_complete(stack_id, handle(0), sync()) end)
        assert_told(fn -> WriteBuffer.flush_sync(stack_id) end)
        assert_told(fn -> WriteBuffer.clear(stack_id) end)
        assert_told(fn -> ShapeDb.reset(stack_id) end)
        assert_told(fn -> ShapeDb.validate_existing_shapes(stack_id) end)
        assert_told(fn -> Connection.checkout_write!(stack_id, :test, fn _ -> :ok end) end)
        # What waits for nothing, or not for ever, goes on; a reader is another connection.
        assert Connection.checkout!(stack_id, :test, fn _ -> :ok end) == :ok
        add_samples!(stack_id, 1..2)
        assert ShapeDb.mark_snapshot_started(stack_id, handle(1), durability: {:sync, 0}) == :ok
        # The queue is full, and nobody would make room.
        assert_told(fn -> ShapeDb.add_shape(stack_id, shape(9), handle(9)) end)
        # Others wait for it as ever.
        :ok
      end)

      # And nothing of it was done.
      assert ShapeDb.remove_shape(stack_id, handle(0), sync()) == :ok
      assert Enum.map(ShapeDb.list_shapes!(stack_id), &elem(&1, 0)) == [handle(1), handle(2)]
      assert Process.info(self(), :messages) == {:messages, []}
    end

    test "of another stack, they may", %{stack_id: stack_id} = context do
      start_store!(context)
      other = %{context | stack_id: unique("other"), storage_dir: tmp_dir!()}
      start_store!(other)

      Connection.checkout_write!(stack_id, :test, fn _ ->
        assert {:ok, _} = ShapeDb.add_shape(other.stack_id, shape(1), handle(1), sync())
        assert Connection.checkout_write!(other.stack_id, :test, fn _ -> :ok end) == :ok
      end)
    end

    @tag store: [exclusive_mode: true, cache_size: 0]
    test "in exclusive mode, with the one there is", %{stack_id: stack_id} = context do
      start_store!(context)
      add_samples!(stack_id, 1..3)
      flush!(stack_id)

      for checkout! <- [&Connection.checkout!/3, &Connection.checkout_write!/3] do
        checkout!.(stack_id, :test, fn _ ->
          assert_told(fn -> Connection.checkout!(stack_id, :test, fn _ -> :ok end) end)
          assert_told(fn -> Connection.checkout_write!(stack_id, :test, fn _ -> :ok end) end)
          assert_told(fn -> ShapeDb.shape_for_handle(stack_id, handle(1)) end)
          assert_told(fn -> ShapeDb.list_shapes(stack_id) end)
          assert_told(fn -> ShapeDb.reduce_shapes(stack_id, 0, fn _, n -> n + 1 end) end)
          assert_told(fn -> WriteBuffer.flush_sync(stack_id) end)
          assert ShapeDb.handle_exists?(stack_id, handle(1))
          :ok
        end)
      end

      assert ShapeDb.shape_for_handle(stack_id, handle(1)) == {:ok, shape(1)}
    end

    @tag store: [read_pool_size: 2]
    test "and so is who has all that read", %{stack_id: stack_id} = context do
      start_store!(context)

      Connection.checkout!(stack_id, :one, fn _ ->
        Connection.checkout!(stack_id, :two, fn _ ->
          error =
            assert_raise ShapeDb.Error, fn ->
              Connection.checkout!(stack_id, :three, fn _ -> :ok end)
            end

          assert Exception.message(error) =~ "all 2 read connections"
          assert Connection.checkout_write!(stack_id, :write, fn _ -> :ok end) == :ok
        end)

        assert Connection.checkout!(stack_id, :two, fn _ -> :ok end) == :ok
      end)

      # However the function ends, the mark goes.
      for _ <- 1..3 do
        assert catch_throw(Connection.checkout!(stack_id, :one, fn _ -> throw(:ball) end)) ==
                 :ball
      end

      assert Connection.checkout!(stack_id, :one, fn _ -> :ok end) == :ok
    end
  end

  defp assert_told(fun) do
    result =
      try do
        fun.()
      rescue
        error in ShapeDb.Error -> {:error, error.reason}
      end

    assert {:error, reason} = result
    assert reason =~ "this process has the write connection of the stack checked out"
  end

  # A task that waits, with the messages that are left to it when it is done, and who
  # has the connection that it waits for.
  defp waiting(context, what, timeout, holder \\ nil, then \\ fn -> :ok end) do
    %{stack_id: stack_id} = context
    {^what, opts, wait} = List.keyfind(waits(), what, 0)

    if holder == nil do
      start_store!(context, opts)
      add_samples!(stack_id, [0])
      flush!(stack_id)
    end

    held = holder || Holder.hold!(stack_id, :write)
    if holder == nil, do: add_samples!(stack_id, [1])

    waiter =
      Task.async(fn ->
        result = result_of(fn -> wait.(stack_id, timeout) end)
        then.()
        {:messages, messages} = Process.info(self(), :messages)
        {result, messages}
      end)

    eventually(fn -> Process.info(waiter.pid, :status) == {:status, :waiting} end)
    {waiter, if(holder == nil, do: held)}
  end

  defp result_of(fun) do
    fun.()
  rescue
    error in ShapeDb.Error -> {:error, error.reason}
  catch
    :exit, reason -> {:exit, reason}
  end

  defp catch_exit_of(fun) do
    fun.()
  catch
    :exit, reason -> reason
  end

  defp well?(result), do: result == :ok or (is_tuple(result) and elem(result, 0) == :ok)

  defp ended?({:error, reason}) do
    reason == :closed or match?({:not_durable, :closed}, reason) or
      (is_binary(reason) and reason =~ ~r/not running|closed|closing/)
  end

  defp ended?(_other), do: false

  defp kill_owner!(stack_id) do
    owner = stack_id |> WriteBuffer.name() |> GenServer.whereis()
    monitor = Process.monitor(owner)
    Process.exit(owner, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^owner, :killed}
  end

  defp promote(stack_id, timeout \\ 60_000) do
    {store, options, _about} = Stores.get(stack_id)
    Writes.promote(stack_id, store, options, timeout)
  end
end
