defmodule ElectricShapeDb.ModelTest do
  @moduledoc """
  Random changes, flushes, pauses and restarts against a plain map of
  `handle => %{shape:, snapshot:, persisted:, read:, flags:}`: after each, every lookup
  agrees with the map.
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
      {2, {:add, handle, shape, integer(0, 255)}},
      {2, {:start_in_memory, handle}},
      {4, {:touch, handle}},
      {2, {:touch_shape, shape}},
      {3, {:set_read, handle, integer(-3, 3)}},
      {3, {:set_flags, handle, integer(0, 255)}},
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
    model = see_times(context.stack_id, model)
    assert_agrees(context.stack_id, model)
    model
  end

  defp run(%{stack_id: stack_id} = context, command) do
    case command do
      {:add, handle, n} ->
        ShapeDb.add_shape(stack_id, sample(n), handle(handle))

      {:add, handle, n, flags} ->
        ShapeDb.add_shape(stack_id, sample(n), handle(handle), flags: flags)

      {:start_in_memory, h} ->
        ShapeDb.mark_snapshot_started(stack_id, handle(h), persist: false)

      {:touch, handle} ->
        ShapeDb.touch(stack_id, handle(handle))

      {:touch_shape, n} ->
        ShapeDb.lookup(stack_id, sample(n), touch: true)

      {:set_read, handle, time} ->
        ShapeDb.update_last_read_time(stack_id, handle(handle), past(time))

      {:set_flags, handle, flags} ->
        ShapeDb.set_flags(stack_id, handle(handle), flags)

      {:remove, handle} ->
        ShapeDb.remove_shape(stack_id, handle(handle))

      {:start_snapshot, handle} ->
        ShapeDb.mark_snapshot_started(stack_id, handle(handle))

      {:complete_snapshot, handle} ->
        ShapeDb.mark_snapshot_complete(stack_id, handle(handle))

      :flush ->
        WriteBuffer.flush_sync(stack_id)

      :pause ->
        WriteBuffer.pause_flush(stack_id)

      :resume ->
        WriteBuffer.resume_flush(stack_id)

      :validate ->
        ShapeDb.validate_existing_shapes(stack_id)

      :reset ->
        ShapeDb.reset(stack_id)

      :restart ->
        restart_store!(context)
    end
  end

  defp outcome({:ok, removed, count}), do: {:ok, Enum.sort(removed), count}
  defp outcome({result, _detail}), do: result
  defp outcome(result), do: result

  # What a command gives, and what is there after it.
  defp model({:add, handle, n}, model), do: model({:add, handle, n, 0}, model)

  defp model({:add, handle, n, flags}, model) do
    if Map.has_key?(model, handle) or find(model, n) do
      {:error, model}
    else
      known = %{shape: n, snapshot: 0, persisted: 0, read: nil, flags: flags}
      {:ok, Map.put(model, handle, known)}
    end
  end

  defp model({:remove, handle}, model) do
    if Map.has_key?(model, handle), do: {:ok, Map.delete(model, handle)}, else: {:error, model}
  end

  defp model({:start_snapshot, handle}, model), do: mark(model, handle, 1)
  defp model({:complete_snapshot, handle}, model), do: mark(model, handle, 2)

  defp model({:start_in_memory, handle}, model) do
    change(model, handle, &%{&1 | snapshot: max(&1.snapshot, 1)})
  end

  # Later than all that was read before.
  defp model({:touch, handle}, model), do: told(change(model, handle, &%{&1 | read: :now}))

  defp model({:touch_shape, n}, model) do
    case find(model, n) do
      {handle, _} -> change(model, handle, &%{&1 | read: :now})
      nil -> {:error, model}
    end
  end

  defp model({:set_read, handle, time}, model),
    do: told(change(model, handle, &%{&1 | read: past(time)}))

  defp model({:set_flags, handle, flags}, model), do: change(model, handle, &%{&1 | flags: flags})

  defp model(:validate, model) do
    {valid, invalid} = Enum.split_with(model, fn {_, known} -> known.snapshot == 2 end)
    removed = invalid |> Enum.map(fn {handle, _} -> handle(handle) end) |> Enum.sort()
    {{:ok, removed, length(valid)}, Map.new(valid)}
  end

  defp model(:reset, _model), do: {:ok, %{}}

  # Never read means read at the start.
  defp model(:restart, model) do
    {:ok,
     Map.new(model, fn {handle, known} ->
       {handle, %{known | snapshot: known.persisted, read: {:restarted, known.read}}}
     end)}
  end

  defp model(_flush_or_pause, model), do: {:ok, model}

  defp mark(model, handle, level) do
    change(model, handle, fn known ->
      level = max(known.snapshot, level)
      %{known | snapshot: level, persisted: level}
    end)
  end

  defp change(model, handle, change) do
    if Map.has_key?(model, handle),
      do: {:ok, Map.update!(model, handle, change)},
      else: {:error, model}
  end

  defp told({result, model}), do: {result == :ok, model}

  defp find(model, n), do: Enum.find(model, fn {_, known} -> known.shape == n end)

  # The model knows which times are which, but not all times: they are what they are from
  # then on.
  defp see_times(stack_id, model) do
    Map.new(model, fn {handle, known} ->
      read = ShapeDb.last_read_time(stack_id, handle(handle))
      assert same_time?(known.read, read), "#{inspect(known.read)} is not #{inspect(read)}"
      {handle, %{known | read: read}}
    end)
  end

  defp same_time?(:now, read), do: recent?(read)
  defp same_time?({:restarted, nil}, read), do: recent?(read)
  defp same_time?({:restarted, time}, read), do: abs(time - read) < seconds(60)
  defp same_time?(time, read), do: time == read

  defp recent?(read), do: read in (System.monotonic_time() - seconds(60))..System.monotonic_time()
  defp seconds(n), do: System.convert_time_unit(n, :second, :native)

  defp assert_agrees(stack_id, model) do
    listed = for {handle, known} <- Enum.sort(model), do: {handle(handle), sample(known.shape)}
    assert ShapeDb.list_shapes(stack_id) == {:ok, listed}
    assert ShapeDb.count_shapes(stack_id) == {:ok, map_size(model)}

    metas = for {handle, known} <- Enum.sort(model), do: meta(handle, known)
    meta = for meta <- metas, do: {meta.handle, meta.hash, meta.snapshot_complete?}
    assert ShapeDb.reduce_shape_meta(stack_id, [], &[&1 | &2]) |> Enum.sort() == meta
    reduced = ShapeDb.reduce_meta(stack_id, [], &[&1 | &2])
    assert Enum.sort_by(reduced, & &1.handle) == metas
    for n <- [0, 1, 3, 10], do: assert_least_recently_used(stack_id, metas, n)

    for {mask, value} <- [{0, 0}, {1, 1}, {1, 0}, {128, 128}, {3, 2}, {255, 0}] do
      flagged = for meta <- metas, Bitwise.band(meta.flags, mask) == value, do: meta.handle
      assert ShapeDb.handles_by_flags(stack_id, mask, value) == flagged
      assert ShapeDb.count_by_flags(stack_id, mask, value) == length(flagged)
    end

    for handle <- @handles, do: assert_handle(stack_id, handle(handle), model[handle])

    for n <- @shapes do
      {found, looked_up} =
        case find(model, n) do
          {handle, known} -> {{:ok, handle(handle)}, {:ok, meta(handle, known)}}
          nil -> {:error, :error}
        end

      assert ShapeDb.handle_for_shape(stack_id, sample(n)) == found
      assert ShapeDb.handle_for_shape_critical(stack_id, sample(n)) == found
      assert ShapeDb.lookup(stack_id, sample(n)) == looked_up
    end

    for table <- 0..1 do
      on_table =
        for {handle, known} <- Enum.sort(model), rem(known.shape, 2) == table, do: handle(handle)

      assert ShapeDb.shape_handles_for_relations!(stack_id, [relation(table)]) == on_table
    end
  end

  # As the host does it: sorted by time, then by handle.
  defp assert_least_recently_used(stack_id, metas, n) do
    read = for %{last_read_time: time} = meta when time != nil <- metas, do: {time, meta.handle}
    expected = read |> Enum.sort() |> Enum.take(n)
    {handles, minutes} = ShapeDb.least_recently_used(stack_id, n)
    assert handles == for({_time, handle} <- expected, do: handle)

    case List.last(expected) do
      nil ->
        assert minutes == 0

      {time, _} ->
        assert abs(minutes * seconds(60) - System.monotonic_time() + time) < seconds(60)
    end
  end

  defp meta(handle, known) do
    %{
      handle: handle(handle),
      hash: hash(sample(known.shape)),
      snapshot_started?: known.snapshot >= 1,
      snapshot_complete?: known.snapshot == 2,
      last_read_time: known.read,
      flags: known.flags
    }
  end

  defp assert_handle(stack_id, handle, nil) do
    refute ShapeDb.has_shape_handle?(stack_id, handle)
    assert ShapeDb.flags(stack_id, handle) == nil
    assert ShapeDb.validate_shape_handle(stack_id, handle, 0) == :error
    refute ShapeDb.handle_exists?(stack_id, handle)
    assert ShapeDb.shape_for_handle(stack_id, handle) == :error
    refute ShapeDb.snapshot_started?(stack_id, handle)
    refute ShapeDb.snapshot_complete?(stack_id, handle)
  end

  defp assert_handle(stack_id, handle, %{shape: n, snapshot: snapshot} = known) do
    assert ShapeDb.has_shape_handle?(stack_id, handle)
    assert ShapeDb.flags(stack_id, handle) == known.flags
    assert ShapeDb.shape_has_been_activated?(stack_id, handle) == (known.read != nil)
    assert ShapeDb.validate_shape_handle(stack_id, handle, hash(sample(n))) == :ok
    assert ShapeDb.validate_shape_handle(stack_id, handle, hash(sample(n)) + 1) == :error
    assert ShapeDb.validate_shape_handle(stack_id, handle, sample(n)) == :ok
    assert ShapeDb.validate_shape_handle(stack_id, handle, sample(n + 1)) == :error
    assert ShapeDb.handle_exists?(stack_id, handle)
    assert ShapeDb.shape_for_handle(stack_id, handle) == {:ok, sample(n)}
    assert ShapeDb.snapshot_started?(stack_id, handle) == snapshot >= 1
    assert ShapeDb.snapshot_complete?(stack_id, handle) == (snapshot == 2)
  end

  # An hour before the clock of this VM started, by and large.
  defp past(n), do: -(2 ** 59) - seconds(3_600) + n

  defp sample(n), do: shape_on(rem(n, 2), n)
end
