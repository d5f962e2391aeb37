defmodule ElectricShapeDb.StacksTest do
  @moduledoc "Several stacks in one VM, and one path that two of them want."

  use ElectricShapeDb.StoreCase, async: true

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores

  test "stacks know nothing of each other", context do
    stacks = for _ <- 1..5, do: another(context)
    Enum.each(stacks, &start_store!/1)

    stacks
    |> Enum.with_index()
    |> Task.async_stream(fn {%{stack_id: stack_id}, n} ->
      add_samples!(stack_id, 1..(100 + n))
      flush!(stack_id)
    end)
    |> Stream.run()

    for {%{stack_id: stack_id}, n} <- Enum.with_index(stacks) do
      assert ShapeDb.count_shapes(stack_id) == {:ok, 100 + n}
    end

    :ok = ShapeDb.reset(hd(stacks).stack_id)
    assert ShapeDb.count_shapes(List.last(stacks).stack_id) == {:ok, 104}
  end

  test "stacks come and go while others work", context do
    start_store!(context)
    worker = Task.async(fn -> add_samples!(context.stack_id, 1..5_000) end)

    for _ <- 1..10 do
      guest = another(context)
      start_store!(guest)
      add_samples!(guest.stack_id, 1..10)
      restart_store!(guest)
      assert ShapeDb.count_shapes(guest.stack_id) == {:ok, 10}
      stop_store!(guest)
    end

    Task.await(worker, 30_000)
    flush!(context.stack_id)
    assert length(stored_handles(context.stack_id)) == 5_000
  end

  test "what was acknowledged as durable while the stack was started again is there", context do
    start_store!(context)
    test = self()

    # What is refused, or of no known outcome, was not acknowledged.
    add = fn n ->
      case ShapeDb.add_shape(context.stack_id, shape(n), handle(n), durability: :sync) do
        {:ok, _hash} -> handle(n)
        {:error, _reason} -> nil
      end
    end

    work = fn work, n, acknowledged ->
      if n == 100, do: send(test, :busy)

      receive do
        :enough -> acknowledged
      after
        0 -> work.(work, n + 4, [add.(n) | acknowledged])
      end
    end

    workers = for k <- 0..3, do: Task.async(fn -> work.(work, k, []) end)
    assert_receive :busy, 30_000
    for _ <- 1..5, do: restart_store!(context)
    for worker <- workers, do: send(worker.pid, :enough)
    acknowledged = workers |> Task.await_many(30_000) |> Enum.concat() |> Enum.filter(& &1)
    assert length(acknowledged) > 20
    restart_store!(context)
    assert acknowledged -- stored_handles(context.stack_id) == []
  end

  test "a path that another stack has is refused at once, and says whose it is", context do
    start_store!(context)
    add!(context.stack_id, shape(1), handle(1))
    reason = start_error(%{context | stack_id: unique("stack")})
    assert reason =~ context.storage_dir
    # In the text, as it is shown.
    assert reason =~ ~s(stack \\"#{context.stack_id}\\")
    # It did not wait out the time that one which closes is given.
    [_, waited] = Regex.run(~r/within (\d+) ms/, reason)
    assert String.to_integer(waited) < 5_000
    assert ShapeDb.list_shapes!(context.stack_id) == [{handle(1), shape(1)}]
  end

  test "a path is free once its store has closed", context do
    start_store!(context)
    handles = add_samples!(context.stack_id, 1..1_000)
    stop_store!(context)
    second = %{context | stack_id: unique("stack")}
    start_store!(second)
    assert Enum.map(ShapeDb.list_shapes!(second.stack_id), &elem(&1, 0)) == handles
  end

  defp another(context), do: %{context | stack_id: unique("stack"), storage_dir: tmp_dir!()}

  test "a change by the id alone is refused where the options of its stack say more" do
    add = &Native.add(&1, &2, &2, 1, [1], &3, :erlang.term_to_binary(&2), true, nil, false)

    opened = fn options ->
      id = unique("stack")
      {:ok, store} = Native.open(Map.merge(native_options(id), options))
      assert_receive {:shape_db, :opened, _opened}, 5_000
      :ok = Native.enter(store)
      {id, store}
    end

    {id, store} = opened.(%{flags: fn _shape -> 3 end})
    assert add.(id, "1", nil) == {:error, :options}
    assert {^store, fun} = Native.flags_function(id)
    assert fun.(shape(1)) == 3
    assert {:ok, _seq} = add.(id, "1", 5)
    assert {:ok, _seq} = add.(store, "2", nil)
    assert {:ok, _seq} = Native.remove(id, "1", nil, false)

    {id, store} = opened.(%{buffered: false, flags: fn _shape -> 3 end})
    assert Native.flags_function(id) == nil
    assert add.(id, "1", 5) == {:error, :options}
    assert Native.remove(id, "1", nil, false) == {:error, :options}
    assert {:ok, _seq} = add.(store, "1", nil)
    assert Native.count(id) == 1
  end

  describe "a stack that has ended" do
    test "is not running, whoever asks, until it starts again", context do
      id = context.stack_id
      supervisor = in_memory!(id)
      add_samples!(id, 1..3)
      :ok = Supervisor.stop(supervisor)

      assert Stores.get(id) == nil
      {:error, reason} = ShapeDb.add_shape(id, shape(1), handle(1))
      assert reason =~ "is not running"
      assert {:error, ^reason} = ShapeDb.reset(id)
      assert {:error, ^reason} = ShapeDb.statistics(id)
      assert ShapeDb.count_shapes!(id) == :error
      assert ShapeDb.pending_buffer_size(id) == 0
      assert_raise ShapeDb.Error, ~r/is not running/, fn -> ShapeDb.list_shapes!(id) end
      assert_raise ShapeDb.Error, ~r/is not running/, fn -> ShapeDb.shape_for_handle(id, "1") end
      refute id in ShapeDb.Internal.Admin.Target.stack_ids()

      supervisor = in_memory!(id)
      assert ShapeDb.count_shapes(id) == {:ok, 0}
      add_samples!(id, 1..3)
      assert ShapeDb.count_shapes(id) == {:ok, 3}
      :ok = Supervisor.stop(supervisor)
    end

    test "is not running for what is asked of its id, and its store is closed", context do
      supervisor = in_memory!(context.stack_id)
      {store, _options, _about} = Stores.get(context.stack_id)
      :ok = Supervisor.stop(supervisor)

      for stack <- [context.stack_id, store] do
        assert Native.count(stack) == :closed
        assert Native.shape(stack, "1") == :closed
        assert Native.touch(stack, "1", 0) == false
        assert Native.remove(stack, "1", nil, false) == {:error, :closed}
        assert Native.mark_in_memory(stack, "1", :started) == {:error, :closed}
      end
    end

    test "leaves the place to the next one of its id, however late its owner ends", context do
      supervisor = in_memory!(context.stack_id)
      add_samples!(context.stack_id, 1..3)
      {store, _options, _about} = Stores.get(context.stack_id)

      # As after a restart: another store has the id, and the first one's end comes later.
      {:ok, next} = Native.open(native_options(context.stack_id))
      assert_receive {:shape_db, :opened, _opened}, 5_000
      :ok = Native.enter(next)
      assert Native.count(context.stack_id) == 0
      assert Native.count(store) == 3

      :ok = Supervisor.stop(supervisor)
      assert Native.count(store) == :closed
      assert Native.count(context.stack_id) == 0
      :ok = Native.close(next)
      assert_receive {:shape_db, :closed, _durable}, 5_000
      assert Native.count(context.stack_id) == :closed
    end

    test "whose owner was killed is not found any more", context do
      start_store!(context)
      add_samples!(context.stack_id, 1..3)
      owner = context.stack_id |> WriteBuffer.name() |> GenServer.whereis()
      Process.exit(owner, :kill)
      eventually(fn -> Native.count(context.stack_id) == :closed end)
      assert ShapeDb.count_shapes!(context.stack_id) == :error
      eventually(fn -> Stores.get(context.stack_id) == nil end)
    end

    test "leaves nothing in the VM's persistent terms", context do
      supervisor = in_memory!(context.stack_id)

      ours = fn ->
        for {key, _} <- :persistent_term.get(), inspect(key) =~ context.stack_id, do: key
      end

      assert ours.() == []
      :ok = Supervisor.stop(supervisor)
      assert ours.() == []
    end

    defp in_memory!(id) do
      memory = [storage_dir: ":memory:", exclusive_mode: true]
      {:ok, supervisor} = ShapeDb.Supervisor.start_link(stack_id: id, shape_db_opts: memory)
      supervisor
    end

    # As the owner makes them.
    defp native_options(id) do
      %{
        path: ":memory:",
        stack_id: id,
        exclusive_mode: true,
        synchronous: :off,
        cache_size: 1_048_576,
        read_pool_size: 2,
        connection_idle_timeout: 1_000,
        manual_flush_only: false,
        max_pending_ops: 1_000,
        max_pending_bytes: 1_048_576,
        external_checkpoint: false,
        keep_last_read_times: false,
        sources: [],
        buffered: true,
        flags: nil,
        clock: {System.monotonic_time(), System.convert_time_unit(1, :second, :native)}
      }
    end
  end
end
