for {name, opts, moment} <- ElectricShapeDb.Matrix.cells() do
  defmodule Module.concat(ElectricShapeDb.ContractTest, name) do
    @moduledoc "Every function of `ShapeDb`, in one cell of the matrix."

    use ElectricShapeDb.StoreCase, async: true

    import ElectricShapeDb.Matrix, only: [settle: 1, start_cell!: 1]

    @moduletag store: opts, moment: moment

    setup :start_cell!

    test "a shape that was added is found by every function", %{stack_id: stack_id} = context do
      shape = shape(1)
      handle = handle(1)
      assert ShapeDb.add_shape(stack_id, shape, handle) == {:ok, hash(shape)}
      settle(context)

      assert ShapeDb.handle_exists?(stack_id, handle)
      assert ShapeDb.handle_for_shape(stack_id, shape) == {:ok, handle}
      assert ShapeDb.handle_for_shape_critical(stack_id, shape) == {:ok, handle}
      assert ShapeDb.handle_for_shape_critical(stack_id, shape, 100) == {:ok, handle}
      assert ShapeDb.shape_for_handle(stack_id, handle) == {:ok, shape}
      assert ShapeDb.list_shapes(stack_id) == {:ok, [{handle, shape}]}
      assert ShapeDb.list_shapes!(stack_id) == [{handle, shape}]
      assert ShapeDb.reduce_shapes(stack_id, [], &[&1 | &2]) == [{handle, shape}]
      assert ShapeDb.reduce_shape_meta(stack_id, [], &[&1 | &2]) == [{handle, hash(shape), false}]
      assert ShapeDb.shape_handles_for_relations(stack_id, [relation(0)]) == {:ok, [handle]}
      assert ShapeDb.shape_handles_for_relations!(stack_id, [relation(0)]) == [handle]
      assert ShapeDb.count_shapes(stack_id) == {:ok, 1}
      assert ShapeDb.count_shapes!(stack_id) == 1
    end

    test "an empty store finds nothing", %{stack_id: stack_id} = context do
      settle(context)
      assert_nothing_found(stack_id, shape(1), handle(1))
      assert ShapeDb.remove_shape(stack_id, handle(1)) == {:error, {:enoshape, handle(1)}}
      assert ShapeDb.mark_snapshot_started(stack_id, handle(1)) == :error
      assert ShapeDb.mark_snapshot_complete(stack_id, handle(1)) == :error
      assert ShapeDb.validate_existing_shapes(stack_id) == {:ok, [], 0}
    end

    test "a removed shape is gone from every function", %{stack_id: stack_id} = context do
      add!(stack_id, shape(1), handle(1))
      :ok = ShapeDb.mark_snapshot_complete(stack_id, handle(1))
      settle(context)
      assert ShapeDb.remove_shape(stack_id, handle(1)) == :ok
      assert_nothing_found(stack_id, shape(1), handle(1))
      assert ShapeDb.remove_shape(stack_id, handle(1)) == {:error, {:enoshape, handle(1)}}
      assert ShapeDb.mark_snapshot_complete(stack_id, handle(1)) == :error

      settle(context)
      assert_nothing_found(stack_id, shape(1), handle(1))
    end

    test "a handle or a shape can be there only once", %{stack_id: stack_id} = context do
      add!(stack_id, shape(1), handle(1))
      settle(context)
      assert {:error, _} = ShapeDb.add_shape(stack_id, shape(2), handle(1))
      assert {:error, _} = ShapeDb.add_shape(stack_id, shape(1), handle(2))
      assert {:error, _} = ShapeDb.add_shape(stack_id, shape(1), handle(1))

      settle(context)
      assert ShapeDb.list_shapes!(stack_id) == [{handle(1), shape(1)}]
      assert ShapeDb.handle_for_shape(stack_id, shape(2)) == :error
      refute ShapeDb.handle_exists?(stack_id, handle(2))
      add!(stack_id, shape(2), handle(2))
    end

    test "two shapes are the same when their comparable terms are", context do
      %{stack_id: stack_id} = context
      add!(stack_id, shape(1), handle(1))
      settle(context)

      alike =
        shape(1, storage: %{compaction: :enabled}, flags: %{selects_all_columns: true, x: false})

      assert ShapeDb.handle_for_shape(stack_id, alike) == {:ok, handle(1)}
      assert {:error, _} = ShapeDb.add_shape(stack_id, alike, handle(2))
      assert ShapeDb.shape_for_handle(stack_id, handle(1)) == {:ok, shape(1)}
    end

    test "a handle can come back with another shape", %{stack_id: stack_id} = context do
      add!(stack_id, shape(1), handle(1))
      :ok = ShapeDb.mark_snapshot_complete(stack_id, handle(1))
      settle(context)
      :ok = ShapeDb.remove_shape(stack_id, handle(1))
      add!(stack_id, shape(2), handle(1))

      for _moment <- [:before, :after] do
        assert ShapeDb.shape_for_handle(stack_id, handle(1)) == {:ok, shape(2)}
        assert ShapeDb.handle_for_shape(stack_id, shape(2)) == {:ok, handle(1)}
        assert ShapeDb.handle_for_shape(stack_id, shape(1)) == :error
        assert ShapeDb.list_shapes!(stack_id) == [{handle(1), shape(2)}]
        refute ShapeDb.snapshot_started?(stack_id, handle(1))
        refute ShapeDb.snapshot_complete?(stack_id, handle(1))
        settle(context)
      end
    end

    test "a shape can come back with another handle", %{stack_id: stack_id} = context do
      add!(stack_id, shape(1), handle(1))
      settle(context)
      :ok = ShapeDb.remove_shape(stack_id, handle(1))
      add!(stack_id, shape(1), handle(2))
      settle(context)
      assert ShapeDb.list_shapes!(stack_id) == [{handle(2), shape(1)}]
      assert ShapeDb.handle_for_shape(stack_id, shape(1)) == {:ok, handle(2)}
      refute ShapeDb.handle_exists?(stack_id, handle(1))
    end

    test "snapshots start, then complete", %{stack_id: stack_id} = context do
      add!(stack_id, shape(1), handle(1))
      assert snapshot(stack_id, handle(1)) == {false, false}
      assert ShapeDb.mark_snapshot_started(stack_id, handle(1)) == :ok
      settle(context)
      assert snapshot(stack_id, handle(1)) == {true, false}
      assert ShapeDb.mark_snapshot_complete(stack_id, handle(1)) == :ok
      settle(context)
      assert snapshot(stack_id, handle(1)) == {true, true}

      assert ShapeDb.reduce_shape_meta(stack_id, [], &[&1 | &2]) == [
               {handle(1), hash(shape(1)), true}
             ]
    end

    test "a snapshot may complete before it started", %{stack_id: stack_id} = context do
      add!(stack_id, shape(1), handle(1))
      settle(context)
      assert ShapeDb.mark_snapshot_complete(stack_id, handle(1)) == :ok
      assert snapshot(stack_id, handle(1)) == {true, true}
      assert ShapeDb.mark_snapshot_started(stack_id, handle(1)) == :ok
      settle(context)
      assert snapshot(stack_id, handle(1)) == {true, true}
    end

    test "lists are sorted by handle", %{stack_id: stack_id} = context do
      handles = [
        "b",
        "a",
        "10-1",
        "9-2",
        "é",
        <<0, 255>>,
        String.duplicate("long", 100),
        handle(1)
      ]

      for {handle, n} <- Enum.with_index(handles), do: add!(stack_id, shape(n), handle)
      settle(context)
      sorted = Enum.sort(handles)

      assert Enum.map(ShapeDb.list_shapes!(stack_id), &elem(&1, 0)) == sorted
      assert ShapeDb.shape_handles_for_relations!(stack_id, [relation(0)]) == sorted

      for {handle, n} <- Enum.with_index(handles) do
        assert ShapeDb.shape_for_handle(stack_id, handle) == {:ok, shape(n)}
        assert ShapeDb.handle_for_shape(stack_id, shape(n)) == {:ok, handle}
      end
    end

    test "relations are matched by oid alone", %{stack_id: stack_id} = context do
      for n <- 1..6, do: add!(stack_id, shape_on(rem(n, 3), n), handle(n))
      settle(context)
      find = &ShapeDb.shape_handles_for_relations(stack_id, &1)

      assert find.([]) == {:ok, []}
      assert find.([relation(9)]) == {:ok, []}
      assert find.([relation(1)]) == {:ok, [handle(1), handle(4)]}
      assert find.([{oid(1), {"another", "name"}}]) == {:ok, [handle(1), handle(4)]}
      assert find.([relation(2), relation(1)]) == {:ok, Enum.map([1, 2, 4, 5], &handle/1)}
      assert find.([relation(1), relation(1)]) == {:ok, [handle(1), handle(4)]}
      assert ShapeDb.shape_handles_for_relations!(stack_id, []) == []
    end

    test "a shape on two tables is listed once", %{stack_id: stack_id} = context do
      relations = [relation(1), relation(2)]

      :ok =
        WriteBuffer.add_shape(stack_id, handle(1), shape(1), comparable(shape(1)), 1, relations)

      settle(context)
      find = &ShapeDb.shape_handles_for_relations!(stack_id, &1)
      assert find.(relations) == [handle(1)]
      assert find.([relation(1)]) == [handle(1)]
      assert find.([relation(2)]) == [handle(1)]

      :ok = ShapeDb.remove_shape(stack_id, handle(1))
      settle(context)
      assert find.(relations) == []
    end

    test "folds see every shape once", %{stack_id: stack_id} = context do
      handles = add_samples!(stack_id, 1..300)

      for n <- 1..300,
          rem(n, 3) == 0,
          do: :ok = ShapeDb.mark_snapshot_complete(stack_id, handle(n))

      settle(context)

      shapes = ShapeDb.reduce_shapes(stack_id, [], &[&1 | &2])
      assert Enum.sort(shapes) == Enum.map(1..300, &{handle(&1), shape(&1)})
      meta = ShapeDb.reduce_shape_meta(stack_id, [], &[&1 | &2])
      assert Enum.sort(meta) == Enum.map(1..300, &{handle(&1), hash(shape(&1)), rem(&1, 3) == 0})
      assert ShapeDb.list_shapes!(stack_id) |> Enum.map(&elem(&1, 0)) == handles
      assert ShapeDb.count_shapes(stack_id) == {:ok, 300}
    end

    test "validation removes what has no complete snapshot", %{stack_id: stack_id} = context do
      add_samples!(stack_id, 1..5)
      :ok = ShapeDb.mark_snapshot_started(stack_id, handle(1))
      for n <- [2, 4], do: :ok = ShapeDb.mark_snapshot_complete(stack_id, handle(n))
      settle(context)

      assert {:ok, removed, 2} = ShapeDb.validate_existing_shapes(stack_id)
      assert Enum.sort(removed) == Enum.map([1, 3, 5], &handle/1)
      assert stored_handles(stack_id) |> Enum.all?(&(&1 in [handle(2), handle(4)]))
      settle(context)
      assert ShapeDb.list_shapes!(stack_id) == Enum.map([2, 4], &{handle(&1), shape(&1)})
      assert ShapeDb.validate_existing_shapes(stack_id) == {:ok, [], 2}
      add!(stack_id, shape(1), handle(1))
    end

    test "a reset leaves nothing", %{stack_id: stack_id} = context do
      add_samples!(stack_id, 1..5)
      settle(context)
      assert ShapeDb.reset(stack_id) == :ok
      assert_nothing_found(stack_id, shape(1), handle(1))
      settle(context)
      assert_nothing_found(stack_id, shape(1), handle(1))
      add!(stack_id, shape(1), handle(1))
      settle(context)
      assert ShapeDb.list_shapes!(stack_id) == [{handle(1), shape(1)}]
    end

    test "nothing is pending after a flush", %{stack_id: stack_id} = context do
      add_samples!(stack_id, 1..10)
      if context.moment == :buffered, do: assert(ShapeDb.pending_buffer_size(stack_id) == 10)
      flush!(stack_id)
      assert ShapeDb.pending_buffer_size(stack_id) == 0
      assert stored_handles(stack_id) == Enum.map(1..10, &handle/1)
    end

    test "statistics are numbers", %{stack_id: stack_id} = context do
      add_samples!(stack_id, 1..3)
      settle(context)
      assert {:ok, %{connections: connections} = statistics} = ShapeDb.statistics(stack_id)
      assert connections >= 0
      assert Enum.all?(statistics, fn {key, value} -> is_atom(key) and is_number(value) end)
    end

    test "query plans are printed", %{stack_id: stack_id} = context do
      settle(context)
      plans = ExUnit.CaptureIO.capture_io(fn -> assert ShapeDb.explain(stack_id) == :ok end)
      assert plans =~ ~r/SEARCH|SCAN/
    end

    defp snapshot(stack_id, handle) do
      {ShapeDb.snapshot_started?(stack_id, handle), ShapeDb.snapshot_complete?(stack_id, handle)}
    end

    defp assert_nothing_found(stack_id, shape, handle) do
      refute ShapeDb.handle_exists?(stack_id, handle)
      assert ShapeDb.handle_for_shape(stack_id, shape) == :error
      assert ShapeDb.handle_for_shape_critical(stack_id, shape) == :error
      assert ShapeDb.shape_for_handle(stack_id, handle) == :error
      assert snapshot(stack_id, handle) == {false, false}
      assert ShapeDb.list_shapes(stack_id) == {:ok, []}
      assert ShapeDb.reduce_shapes(stack_id, 0, fn _, n -> n + 1 end) == 0
      assert ShapeDb.reduce_shape_meta(stack_id, 0, fn _, n -> n + 1 end) == 0
      assert ShapeDb.shape_handles_for_relations(stack_id, [relation(0)]) == {:ok, []}
      assert ShapeDb.count_shapes(stack_id) == {:ok, 0}
    end
  end
end
