defmodule ElectricShapeDb.StacksTest do
  @moduledoc "Several stacks in one VM, and one path that two of them want."

  use ElectricShapeDb.StoreCase, async: true

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
    assert reason =~ "within 0 ms"
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
end
