defmodule ElectricShapeDb.LargeTest do
  @moduledoc """
  Shapes with where-clauses of megabytes: on schedulers that nobody else needs, and in
  pieces of bounded size.
  """

  use ElectricShapeDb.StoreCase, async: true

  @mebibyte 1024 * 1024

  defp large(n, bytes), do: shape(n, where: %{query: query(n, bytes), returns: :bool})
  defp query(n, bytes), do: "#{n} = " <> String.duplicate("x", bytes)

  for opts <- [[], [exclusive_mode: true], [cache_size: 0], [durability: :sync]] do
    @tag store: opts
    test "of every size they are as others are #{inspect(opts)}", context do
      %{stack_id: stack_id} = context
      start_store!(context)
      sizes = [8_000, 8_300, 65_000, 66_000, 140_000, @mebibyte, 16 * @mebibyte]
      shapes = for {size, n} <- Enum.with_index(sizes), do: {handle(n), large(n, size)}
      for {handle, shape} <- shapes, do: add!(stack_id, shape, handle)

      for moment <- [:buffered, :flushed] do
        if moment == :flushed, do: flush!(stack_id)

        for {handle, shape} <- shapes do
          assert ShapeDb.handle_for_shape(stack_id, shape) == {:ok, handle}
          assert ShapeDb.shape_for_handle(stack_id, handle) == {:ok, shape}
          assert ShapeDb.add_shape(stack_id, shape, "h") == {:error, {:duplicate_shape, handle}}
        end

        assert ShapeDb.list_shapes(stack_id) == {:ok, shapes}

        sum =
          ShapeDb.reduce_shapes(stack_id, 0, fn {_, shape}, n ->
            n + byte_size(shape.where.query)
          end)

        assert sum == Enum.sum(for {_, shape} <- shapes, do: byte_size(shape.where.query))
      end
    end
  end

  @tag store: [manual_flush_only: true]
  test "while they are buffered", %{stack_id: stack_id} = context do
    start_store!(context)
    shape = large(1, 16 * @mebibyte)
    add!(stack_id, shape, handle(1))
    assert WriteBuffer.lookup_shape(stack_id, handle(1)) == {:ok, shape}
    assert WriteBuffer.lookup_handle(stack_id, comparable(shape)) == {:ok, handle(1)}
    assert WriteBuffer.has_handle?(stack_id, handle(1)) == true
    assert WriteBuffer.list_buffered_shapes(stack_id) == [{handle(1), shape}]
  end

  for opts <- [[], [exclusive_mode: true], [cache_size: 0], [exclusive_mode: true, cache_size: 0]] do
    @tag store: opts
    test "a list is read in pieces of bounded size #{inspect(opts)}", context do
      %{stack_id: stack_id} = context
      start_store!(context)
      for n <- 1..30, do: add!(stack_id, large(n, div(@mebibyte, 2)), handle(n))
      # Behind them some that are small, in pieces that grow again.
      add_samples!(stack_id, 31..2_000)
      flush!(stack_id)

      # In a process of its own, whose memory is that of the fold.
      fold = fn ->
        ShapeDb.reduce_shapes(stack_id, {0, 0}, fn {_handle, _shape}, {count, most} ->
          {:binary, binaries} = Process.info(self(), :binary)
          {count + 1, max(most, binaries |> Enum.map(&elem(&1, 1)) |> Enum.sum())}
        end)
      end

      {count, most} = fold |> Task.async() |> Task.await(30_000)
      assert count == 2_000
      # Two pieces of 2.5 MiB at most, in bytes and as terms.
      assert most < 12 * @mebibyte
    end
  end

  test "a list of very many relations, known and unknown", %{stack_id: stack_id} = context do
    start_store!(context)
    add_samples!(stack_id, 1..3)
    relations = for oid <- 1..100_000, do: {oid, {"public", "t"}}
    handles = Enum.map(1..3, &handle/1)
    assert ShapeDb.shape_handles_for_relations(stack_id, relations) == {:ok, handles}
    # More than a shape may have.
    add = &WriteBuffer.add_shape(stack_id, handle(9), shape(9), 9, 9, &1)
    assert {:error, {:too_many_relations, _}} = add.(relations)
    assert add.(Enum.take(relations, 2_000)) == :ok
    assert ShapeDb.shape_handles_for_relations!(stack_id, [{1, nil}]) == [handle(9)]
  end
end
