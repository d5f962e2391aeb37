defmodule ElectricShapeDb.RaceTest do
  @moduledoc "Callers that want the same thing at the same time."

  use ElectricShapeDb.StoreCase, async: true

  setup :start_store!

  @races 1_000

  test "one of two shapes gets the handle", %{stack_id: stack_id} do
    for n <- 1..@races do
      results = race(for side <- [:a, :b], do: fn -> add(stack_id, "#{side}#{n}", handle(n)) end)
      {:ok, shape} = ShapeDb.shape_for_handle(stack_id, handle(n))
      assert shape == shape("#{winner(results)}#{n}")
    end

    assert ShapeDb.count_shapes!(stack_id) == @races
    flush!(stack_id)
    assert length(stored_handles(stack_id)) == @races
  end

  test "one of two handles gets the shape", %{stack_id: stack_id} do
    for n <- 1..@races do
      results = race(for side <- [:a, :b], do: fn -> add(stack_id, n, "#{side}-#{n}") end)
      won = "#{winner(results)}-#{n}"
      assert ShapeDb.handle_for_shape(stack_id, shape(n)) == {:ok, won}
    end

    assert ShapeDb.count_shapes!(stack_id) == @races
    flush!(stack_id)
    assert length(stored_handles(stack_id)) == @races
  end

  test "one of two removes finds the shape", %{stack_id: stack_id} do
    for n <- 1..@races do
      add!(stack_id, shape(n), handle(n))
      remove = fn -> ShapeDb.remove_shape(stack_id, handle(n)) end
      assert Enum.sort(race([remove, remove])) == [:ok, {:error, {:enoshape, handle(n)}}]
    end

    flush!(stack_id)
    assert stored_handles(stack_id) == []
  end

  test "a shape that comes back is found around every flush", %{stack_id: stack_id} do
    add!(stack_id, shape(0), handle(1))
    flusher = spawn_link(fn -> flush_for_ever(stack_id) end)

    for n <- 1..@races do
      :ok = ShapeDb.remove_shape(stack_id, handle(1))
      assert ShapeDb.shape_for_handle(stack_id, handle(1)) == :error
      assert ShapeDb.handle_for_shape(stack_id, shape(n - 1)) == :error
      add!(stack_id, shape(n), handle(1))
      assert ShapeDb.shape_for_handle(stack_id, handle(1)) == {:ok, shape(n)}
      assert ShapeDb.handle_for_shape(stack_id, shape(n)) == {:ok, handle(1)}
      assert ShapeDb.list_shapes!(stack_id) == [{handle(1), shape(n)}]
    end

    Process.unlink(flusher)
    Process.exit(flusher, :kill)
    flush!(stack_id)
    assert ShapeDb.list_shapes!(stack_id) == [{handle(1), shape(@races)}]
    assert stored_handles(stack_id) == [handle(1)]
  end

  # Writers publish in `gone` what they removed before anybody may look; a reader
  # that takes the list first must not meet any of it.
  test "no reader meets a shape after its removal returned", %{stack_id: stack_id} do
    gone = :ets.new(:gone, [:public, read_concurrency: true, write_concurrency: true])
    writers = for writer <- 1..4, do: Task.async(fn -> churn(stack_id, gone, writer) end)
    readers = for _ <- 1..4, do: Task.async(fn -> read_until_told(stack_id, gone, 0) end)
    flusher = spawn_link(fn -> flush_for_ever(stack_id) end)

    Task.await_many(writers, 60_000)
    Process.unlink(flusher)
    Process.exit(flusher, :kill)
    for %Task{pid: pid} <- readers, do: send(pid, :enough)
    assert Enum.all?(Task.await_many(readers, 60_000), &(&1 > 0))
    assert ShapeDb.count_shapes!(stack_id) == 0
  end

  defp churn(stack_id, gone, writer) do
    for n <- 1..500 do
      handle = "#{writer}-#{n}"
      add!(stack_id, shape_on(writer, n), handle)
      :ok = ShapeDb.mark_snapshot_complete(stack_id, handle)
      :ok = ShapeDb.remove_shape(stack_id, handle)
      :ets.insert(gone, {handle, shape_on(writer, n)})
    end
  end

  defp read_until_told(stack_id, gone, rounds) do
    receive do
      :enough -> rounds
    after
      0 ->
        known = gone |> :ets.tab2list() |> Enum.take_random(20)
        listed = MapSet.new(ShapeDb.list_shapes!(stack_id), &elem(&1, 0))
        related = ShapeDb.shape_handles_for_relations!(stack_id, Enum.map(1..4, &relation/1))

        meta =
          ShapeDb.reduce_shape_meta(stack_id, [], fn {handle, _, _}, acc -> [handle | acc] end)

        met = listed |> MapSet.union(MapSet.new(related)) |> MapSet.union(MapSet.new(meta))

        for {handle, shape} <- known do
          refute handle in met
          refute ShapeDb.handle_exists?(stack_id, handle)
          refute ShapeDb.snapshot_complete?(stack_id, handle)
          assert ShapeDb.shape_for_handle(stack_id, handle) == :error
          assert ShapeDb.handle_for_shape(stack_id, shape) == :error
        end

        read_until_told(stack_id, gone, rounds + 1)
    end
  end

  defp flush_for_ever(stack_id) do
    flush!(stack_id)
    flush_for_ever(stack_id)
  end

  defp add(stack_id, n, handle), do: ShapeDb.add_shape(stack_id, shape(n), handle)

  # Starts all at once; the results come in the order of the functions.
  defp race(funs) do
    tasks = for fun <- funs, do: Task.async(fn -> receive(do: (:go -> fun.())) end)
    for %Task{pid: pid} <- tasks, do: send(pid, :go)
    Task.await_many(tasks)
  end

  defp winner([{:ok, _}, {:error, _}]), do: :a
  defp winner([{:error, _}, {:ok, _}]), do: :b
end
