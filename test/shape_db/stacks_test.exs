defmodule ElectricShapeDb.StacksTest do
  @moduledoc "Several stacks in one VM, and one path that two of them want."

  use ElectricShapeDb.StoreCase, async: true

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

  describe "a stack that has ended" do
    test "is not running, whoever asks, until it starts again", context do
      memory = [storage_dir: ":memory:", exclusive_mode: true]
      id = context.stack_id
      {:ok, supervisor} = ShapeDb.Supervisor.start_link(stack_id: id, shape_db_opts: memory)
      add_samples!(id, 1..3)
      :ok = Supervisor.stop(supervisor)

      # The entry is there: to erase it costs every process of the VM.
      assert {_store, _options, _about} = Stores.get(id)
      assert Stores.running(id) == nil
      {:error, reason} = ShapeDb.add_shape(id, shape(1), handle(1))
      assert reason =~ "is not running"
      assert {:error, ^reason} = ShapeDb.reset(id)
      assert {:error, ^reason} = ShapeDb.statistics(id)
      assert ShapeDb.count_shapes!(id) == :error
      assert ShapeDb.pending_buffer_size(id) == 0
      assert_raise ShapeDb.Error, ~r/is not running/, fn -> ShapeDb.list_shapes!(id) end
      assert_raise ShapeDb.Error, ~r/is not running/, fn -> ShapeDb.shape_for_handle(id, "1") end
      refute id in ShapeDb.Internal.Admin.Target.stack_ids()

      {:ok, supervisor} = ShapeDb.Supervisor.start_link(stack_id: id, shape_db_opts: memory)
      assert ShapeDb.count_shapes(id) == {:ok, 0}
      add_samples!(id, 1..3)
      assert ShapeDb.count_shapes(id) == {:ok, 3}
      :ok = Supervisor.stop(supervisor)
    end

    test "leaves its entry until those are erased, and one that runs keeps its own" do
      run = fn id ->
        opts = [storage_dir: ":memory:", exclusive_mode: true]
        {:ok, supervisor} = ShapeDb.Supervisor.start_link(stack_id: id, shape_db_opts: opts)
        supervisor
      end

      for id <- ["ended-again", "ended-ended"], do: :ok = Supervisor.stop(run.(id))
      again = run.("ended-again")
      # What tells of the ends is on its way, or there.
      eventually(fn -> Stores.erase_ended() == :ok and Stores.get("ended-ended") == nil end)
      assert ShapeDb.count_shapes("ended-again") == {:ok, 0}
      :ok = Supervisor.stop(again)
    end
  end
end
