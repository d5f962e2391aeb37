defmodule ElectricShapeDb.ModelTest do
  @moduledoc """
  Random changes, flushes, pauses and restarts against a plain map of
  `handle => {shape, snapshot}`: after each, every lookup agrees with the map.
  `MODEL_RUNS=1000` for more.
  """

  use ElectricShapeDb.StoreCase, async: true

  import ElectricShapeDb.Property

  @moduletag :property
  @moduletag timeout: :infinity

  @runs String.to_integer(System.get_env("MODEL_RUNS", "100"))

  # Few handles and few shapes, so that commands meet each other.
  @handles 0..3
  @shapes 0..3

  for {name, opts} <- ElectricShapeDb.Matrix.configurations() do
    @tag store: opts
    test "the store agrees with a map (#{name})", context do
      restarts? = context.store[:storage_dir] != ":memory:"

      check!(command(restarts?), @runs, fn commands ->
        run = %{context | stack_id: unique("stack"), storage_dir: tmp_dir!()}
        start_store!(run)
        Enum.reduce(commands, %{}, &step(run, &1, &2))
        stop_store!(run)
      end)
    end
  end

  defp command(restarts?) do
    handle = integer(@handles.first, @handles.last)
    shape = integer(@shapes.first, @shapes.last)

    weighted([
      {8, {:add, handle, shape}},
      {5, {:remove, handle}},
      {3, {:start_snapshot, handle}},
      {4, {:complete_snapshot, handle}},
      {2, :flush},
      {1, :pause},
      {1, :resume},
      {1, :validate},
      {1, :reset},
      {if(restarts?, do: 1, else: 0), :restart}
    ])
  end

  defp step(context, command, model) do
    {expected, model} = model(command, model)
    assert outcome(run(context, command)) == expected, "#{inspect(command)} on #{inspect(model)}"
    assert_agrees(context.stack_id, model)
    model
  end

  defp run(%{stack_id: stack_id} = context, command) do
    case command do
      {:add, handle, n} -> ShapeDb.add_shape(stack_id, sample(n), handle(handle))
      {:remove, handle} -> ShapeDb.remove_shape(stack_id, handle(handle))
      {:start_snapshot, handle} -> ShapeDb.mark_snapshot_started(stack_id, handle(handle))
      {:complete_snapshot, handle} -> ShapeDb.mark_snapshot_complete(stack_id, handle(handle))
      :flush -> WriteBuffer.flush_sync(stack_id)
      :pause -> WriteBuffer.pause_flush(stack_id)
      :resume -> WriteBuffer.resume_flush(stack_id)
      :validate -> ShapeDb.validate_existing_shapes(stack_id)
      :reset -> ShapeDb.reset(stack_id)
      :restart -> restart_store!(context)
    end
  end

  defp outcome({:ok, removed, count}), do: {:ok, Enum.sort(removed), count}
  defp outcome({result, _detail}), do: result
  defp outcome(result), do: result

  # What a command gives, and what is there after it.
  defp model({:add, handle, n}, model) do
    taken? = Map.has_key?(model, handle) or Enum.any?(model, fn {_, {shape, _}} -> shape == n end)
    if taken?, do: {:error, model}, else: {:ok, Map.put(model, handle, {n, 0})}
  end

  defp model({:remove, handle}, model) do
    if Map.has_key?(model, handle), do: {:ok, Map.delete(model, handle)}, else: {:error, model}
  end

  defp model({:start_snapshot, handle}, model), do: mark(model, handle, 1)
  defp model({:complete_snapshot, handle}, model), do: mark(model, handle, 2)

  defp model(:validate, model) do
    {valid, invalid} = Enum.split_with(model, fn {_, {_, snapshot}} -> snapshot == 2 end)
    removed = invalid |> Enum.map(fn {handle, _} -> handle(handle) end) |> Enum.sort()
    {{:ok, removed, length(valid)}, Map.new(valid)}
  end

  defp model(:reset, _model), do: {:ok, %{}}
  defp model(_flush_or_restart, model), do: {:ok, model}

  defp mark(model, handle, level) do
    case model do
      %{^handle => {n, snapshot}} -> {:ok, %{model | handle => {n, max(snapshot, level)}}}
      _ -> {:error, model}
    end
  end

  defp assert_agrees(stack_id, model) do
    listed = for {handle, {n, _}} <- Enum.sort(model), do: {handle(handle), sample(n)}
    assert ShapeDb.list_shapes(stack_id) == {:ok, listed}
    assert ShapeDb.count_shapes(stack_id) == {:ok, map_size(model)}

    meta =
      for {handle, {n, snapshot}} <- model, do: {handle(handle), hash(sample(n)), snapshot == 2}

    assert ShapeDb.reduce_shape_meta(stack_id, [], &[&1 | &2]) |> Enum.sort() == Enum.sort(meta)

    for handle <- @handles, do: assert_handle(stack_id, handle(handle), model[handle])

    for n <- @shapes do
      found =
        Enum.find_value(model, :error, fn {handle, {m, _}} -> m == n && {:ok, handle(handle)} end)

      assert ShapeDb.handle_for_shape(stack_id, sample(n)) == found
      assert ShapeDb.handle_for_shape_critical(stack_id, sample(n)) == found
    end

    for table <- 0..1 do
      on_table = for {handle, {n, _}} <- Enum.sort(model), rem(n, 2) == table, do: handle(handle)
      assert ShapeDb.shape_handles_for_relations!(stack_id, [relation(table)]) == on_table
    end
  end

  defp assert_handle(stack_id, handle, nil) do
    refute ShapeDb.handle_exists?(stack_id, handle)
    assert ShapeDb.shape_for_handle(stack_id, handle) == :error
    refute ShapeDb.snapshot_started?(stack_id, handle)
    refute ShapeDb.snapshot_complete?(stack_id, handle)
  end

  defp assert_handle(stack_id, handle, {n, snapshot}) do
    assert ShapeDb.handle_exists?(stack_id, handle)
    assert ShapeDb.shape_for_handle(stack_id, handle) == {:ok, sample(n)}
    assert ShapeDb.snapshot_started?(stack_id, handle) == snapshot >= 1
    assert ShapeDb.snapshot_complete?(stack_id, handle) == (snapshot == 2)
  end

  defp sample(n), do: shape_on(rem(n, 2), n)
end
