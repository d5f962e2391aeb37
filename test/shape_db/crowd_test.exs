defmodule ElectricShapeDb.CrowdTest do
  @moduledoc "The morning after a redeploy: 100 processes create 20,000 real shapes."

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.Fixtures

  @creators 100
  @lookers 16

  test "every shape is found at once, and all are in the file", %{stack_id: stack_id} = context do
    start_store!(context)
    shapes = Fixtures.bench_shapes()
    chunks = Enum.chunk_every(shapes, div(length(shapes), @creators))
    lookers = for _ <- 1..@lookers, do: Task.async(fn -> look(stack_id, shapes, 0) end)

    chunks
    |> Task.async_stream(&create(stack_id, &1), max_concurrency: @creators, timeout: 60_000)
    |> Stream.run()

    for %Task{pid: pid} <- lookers, do: send(pid, :enough)
    assert Enum.all?(Task.await_many(lookers), &(&1 > 0))
    assert ShapeDb.count_shapes!(stack_id) == length(shapes)

    :ok = WriteBuffer.flush_sync(stack_id, 60_000)
    handles = shapes |> Enum.map(&elem(&1, 0)) |> Enum.sort()
    assert stored_handles(stack_id) == handles

    restart_store!(context)
    assert ShapeDb.list_shapes!(stack_id) == Enum.sort_by(shapes, &elem(&1, 0))
  end

  defp create(stack_id, shapes) do
    for {handle, shape} <- shapes do
      assert {:ok, _} = ShapeDb.add_shape(stack_id, shape, handle)
      assert ShapeDb.handle_for_shape(stack_id, shape) == {:ok, handle}
    end
  end

  # What is there already has the right handle; the rest is not there yet.
  defp look(stack_id, shapes, looks) do
    receive do
      :enough -> looks
    after
      0 ->
        {handle, shape} = Enum.random(shapes)
        assert ShapeDb.handle_for_shape(stack_id, shape) in [:error, {:ok, handle}]
        assert ShapeDb.shape_for_handle(stack_id, handle) in [:error, {:ok, shape}]
        look(stack_id, shapes, looks + 1)
    end
  end
end
