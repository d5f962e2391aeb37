defmodule ElectricShapeDb.BadInputTest do
  @moduledoc "Wrong arguments and stacks that do not run: clear errors, and no harm."

  use ElectricShapeDb.StoreCase, async: true

  test "a stack that is not running is named in the error", %{stack_id: stack_id} do
    calls = [
      &ShapeDb.add_shape(&1, shape(1), handle(1)),
      &ShapeDb.remove_shape(&1, handle(1)),
      &ShapeDb.list_shapes(&1),
      &ShapeDb.shape_handles_for_relations(&1, [relation(0)]),
      &ShapeDb.count_shapes(&1),
      &ShapeDb.validate_existing_shapes(&1),
      &ShapeDb.reset(&1),
      &ShapeDb.list_shapes!(&1),
      &ShapeDb.shape_handles_for_relations!(&1, [relation(0)]),
      &ShapeDb.mark_snapshot_started(&1, handle(1)),
      &ShapeDb.mark_snapshot_complete(&1, handle(1)),
      &ShapeDb.snapshot_started?(&1, handle(1)),
      &ShapeDb.snapshot_complete?(&1, handle(1)),
      &ShapeDb.handle_for_shape(&1, shape(1)),
      &ShapeDb.handle_for_shape_critical(&1, shape(1)),
      &ShapeDb.shape_for_handle(&1, handle(1)),
      &ShapeDb.handle_exists?(&1, handle(1)),
      &ShapeDb.reduce_shapes(&1, 0, fn _, n -> n end),
      &ShapeDb.reduce_shape_meta(&1, 0, fn _, n -> n end),
      &WriteBuffer.lookup_shape(&1, handle(1)),
      &WriteBuffer.pending_count_diff(&1)
    ]

    for {call, n} <- Enum.with_index(calls) do
      case attempt(fn -> call.(stack_id) end) do
        {:raised, %ShapeDb.Error{message: message}} -> assert message =~ stack_id
        {:returned, {:error, _reason}} -> :ok
        {:returned, :error} -> :ok
        other -> flunk("call #{n} of a stack that is not running: #{inspect(other)}")
      end
    end
  end

  test "what a stack that is not running answers without an error", %{stack_id: stack_id} do
    assert ShapeDb.pending_buffer_size(stack_id) == 0
    assert ShapeDb.count_shapes!(stack_id) == :error
    assert {:error, _} = ShapeDb.statistics(stack_id)
    assert stack_id |> WriteBuffer.name() |> GenServer.whereis() == nil
  end

  test "errors read as one line", %{stack_id: stack_id} do
    error = assert_raise ShapeDb.Error, fn -> ShapeDb.list_shapes!(stack_id) end
    assert Exception.message(error) =~ ~r/^ShapeDb list_shapes failed: /
    handles_of = fn -> ShapeDb.shape_handles_for_relations!(stack_id, [relation(0)]) end
    error = assert_raise ShapeDb.Error, handles_of
    assert Exception.message(error) =~ ~r/^ShapeDb shape_handles_for_relations failed: /
  end

  test "a handle that is not a binary is refused", %{stack_id: stack_id} = context do
    start_store!(context)

    for handle <- [nil, :handle, 42, ~c"handle", {"a"}, <<1::3>>, self()] do
      assert_refused(fn -> ShapeDb.add_shape(stack_id, shape(1), handle) end)
      assert_refused(fn -> ShapeDb.remove_shape(stack_id, handle) end)
      assert_refused(fn -> ShapeDb.mark_snapshot_complete(stack_id, handle) end)
      assert_refused(fn -> ShapeDb.shape_for_handle(stack_id, handle) end)
    end

    assert_unharmed(stack_id)
  end

  test "what is not a shape is refused", %{stack_id: stack_id} = context do
    start_store!(context)

    for shape <- [nil, :shape, %{}, %{where: "id = 1"}, URI.parse("/"), {:shape, 1}, "shape"] do
      assert_refused(fn -> ShapeDb.add_shape(stack_id, shape, handle(1)) end)
      assert_refused(fn -> ShapeDb.handle_for_shape(stack_id, shape) end)
      assert_refused(fn -> ShapeDb.handle_for_shape_critical(stack_id, shape) end)
    end

    assert_unharmed(stack_id)
  end

  test "relations that are none are refused", %{stack_id: stack_id} = context do
    start_store!(context)

    for relations <- [nil, [1], [{"oid", {"public", "items"}}], [{-1, nil}], {1, nil}] do
      assert_refused(fn -> ShapeDb.shape_handles_for_relations(stack_id, relations) end)
    end

    assert_unharmed(stack_id)
  end

  test "a stack id that is not a binary is refused" do
    for stack_id <- [nil, :stack, 42] do
      assert_refused(fn -> ShapeDb.add_shape(stack_id, shape(1), handle(1)) end)
      assert_refused(fn -> ShapeDb.handle_for_shape(stack_id, shape(1)) end)
    end
  end

  test "a fold that raises leaves the store as it was", %{stack_id: stack_id} = context do
    start_store!(context)
    add!(stack_id, shape(2), handle(2))
    boom = fn _, _ -> raise "boom" end
    assert_raise RuntimeError, "boom", fn -> ShapeDb.reduce_shapes(stack_id, 0, boom) end
    assert_raise RuntimeError, "boom", fn -> ShapeDb.reduce_shape_meta(stack_id, 0, boom) end
    :ok = ShapeDb.remove_shape(stack_id, handle(2))
    assert_unharmed(stack_id)
  end

  test "a store that cannot start harms no other", %{stack_id: stack_id} = context do
    start_store!(context)
    file = Path.join(context.storage_dir, "file")
    File.write!(file, "")
    start_error(%{context | stack_id: unique("stack")}, storage_dir: file)
    assert_unharmed(stack_id)
  end

  defp assert_refused(fun) do
    case attempt(fun) do
      {:raised, error} when is_exception(error) -> :ok
      {:returned, {:error, _reason}} -> :ok
      {:returned, :error} -> :ok
      other -> flunk("not refused: #{inspect(other)}")
    end
  end

  defp attempt(fun) do
    {:returned, fun.()}
  rescue
    error -> {:raised, error}
  end

  defp assert_unharmed(stack_id) do
    assert ShapeDb.list_shapes(stack_id) == {:ok, []}
    add!(stack_id, shape(1), handle(1))
    flush!(stack_id)
    assert ShapeDb.list_shapes(stack_id) == {:ok, [{handle(1), shape(1)}]}
    :ok = ShapeDb.remove_shape(stack_id, handle(1))
  end
end
