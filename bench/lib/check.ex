defmodule Bench.Check do
  @moduledoc """
  What both sides must get right before their speed means anything: the same calls,
  with the same answers, on shapes that are pending, committed, removed, added again
  and found after a restart.
  """

  alias Bench.{Shapes, Side, Store}

  @shapes 500

  @spec main([String.t()]) :: :ok
  def main(names) do
    Shapes.load!()

    for side <- Side.select(names) do
      run(side)
      IO.puts("#{side.name}: all checks passed")
    end

    :ok
  end

  @doc "Runs every check on a side; the first that fails raises."
  @spec run(Side.t()) :: :ok
  def run(side) do
    directory = Path.join(System.tmp_dir!(), "bench-check-#{System.unique_integer([:positive])}")
    File.mkdir_p!(directory)

    try do
      Store.with_store(side, directory, &first_run/1)
      Store.with_store(side, directory, &after_restart/1)
      Store.with_store(side, directory, &while_writing/1)
      :ok
    after
      File.rm_rf!(directory)
    end
  end

  defp first_run(store) do
    expect(store, :empty, :count_shapes, [], {:ok, 0})
    add(store, 0..(@shapes - 1))
    duplicates_are_refused(store)
    all_answers(store, :pending, 0..(@shapes - 1))
    Store.flush(store)
    expect(store, :flushed, :pending_buffer_size, [], 0)
    all_answers(store, :committed, 0..(@shapes - 1))

    remove(store, 0..9)
    all_answers(store, :removal_pending, 10..(@shapes - 1))
    no_answers(store, :removal_pending, 0..9)
    Store.flush(store)
    all_answers(store, :removed, 10..(@shapes - 1))
    no_answers(store, :removed, 0..9)

    removing_and_adding_again(store)
    snapshots(store)
  end

  defp duplicates_are_refused(store) do
    {handle, shape} = Shapes.at(0)
    {_, other_shape} = Shapes.at(@shapes)
    {:error, _} = call(store, :add_shape, [shape, "1-2"])
    {:error, _} = call(store, :add_shape, [other_shape, handle])
  end

  # A handle and a shape of a pending removal are free again at once.
  defp removing_and_adding_again(store) do
    {old_handle, shape} = Shapes.at(10)
    :ok = call(store, :remove_shape, [old_handle])
    {:ok, _} = call(store, :add_shape, [shape, "10-1"])
    expect(store, :readded, :handle_for_shape, [shape], {:ok, "10-1"})
    expect(store, :readded, :shape_for_handle, [old_handle], :error)
    Store.flush(store)
    expect(store, :readded_committed, :handle_for_shape, [shape], {:ok, "10-1"})
    :ok = call(store, :remove_shape, ["10-1"])
    {:ok, _} = call(store, :add_shape, [shape, old_handle])
    expect(store, :readded_twice, :handle_for_shape_critical, [shape, 10_000], {:ok, old_handle})
    Store.flush(store)
    all_answers(store, :readded_twice, 10..(@shapes - 1))
  end

  defp snapshots(store) do
    [first, second | rest] = for {handle, _} <- Shapes.range(10..(@shapes - 1)), do: handle
    expect(store, :before, :snapshot_complete?, [first], false)
    expect(store, :before, :mark_snapshot_started, [first], :ok)
    expect(store, :before, :mark_snapshot_complete, [first], :ok)
    expect(store, :pending, :snapshot_complete?, [first], true)
    expect(store, :unknown, :mark_snapshot_complete, ["0-0"], :error)
    expect(store, :unknown, :mark_snapshot_started, ["0-0"], :error)
    expect(store, :unknown, :remove_shape, ["0-0"], {:error, {:enoshape, "0-0"}})
    Store.flush(store)
    expect(store, :committed, :snapshot_complete?, [first], true)
    expect(store, :committed, :snapshot_complete?, [second], false)
    for handle <- rest, do: :ok = call(store, :mark_snapshot_complete, [handle])
  end

  # The second shape's snapshot was not completed, so the start removes it.
  defp after_restart(store) do
    {incomplete, _} = Shapes.at(11)
    left = @shapes - 11
    expect(store, :restart, :validate_existing_shapes, [], {:ok, [incomplete], left})
    no_answers(store, :restart, 0..9)
    no_answers(store, :restart, 11..11)
    all_answers(store, :restart, [10 | Enum.to_list(12..(@shapes - 1))])

    complete = call(store, :reduce_shape_meta, [0, fn {_, _, true}, sum -> sum + 1 end])
    same!(store, {:restart, :reduce_shape_meta}, complete, left)
  end

  # Nothing that was added may be missing at any time while batches are committed.
  defp while_writing(store) do
    writer = Task.async(fn -> add(store, 1000..2999) end)
    look_up_until_done(store, writer)
    Store.flush(store)
    {:ok, count} = call(store, :count_shapes, [])
    same!(store, :while_writing, count, @shapes - 11 + 2000)
  end

  defp look_up_until_done(store, writer) do
    {handle, shape} = Shapes.at(10)
    expect(store, :while_writing, :handle_for_shape, [shape], {:ok, handle})
    expect(store, :while_writing, :shape_for_handle, [handle], {:ok, shape})
    if Task.yield(writer, 0) == nil, do: look_up_until_done(store, writer)
  end

  defp add(store, indexes) do
    for {handle, shape} <- Shapes.range(indexes) do
      {_comparable, hash} = Electric.Shapes.Shape.comparable_hash(shape)
      {:ok, ^hash} = call(store, :add_shape, [shape, handle])
      expect(store, :just_added, :handle_for_shape, [shape], {:ok, handle})
    end
  end

  defp remove(store, indexes) do
    for {handle, _} <- Shapes.range(indexes) do
      expect(store, :remove, :remove_shape, [handle], :ok)
      expect(store, :remove_twice, :remove_shape, [handle], {:error, {:enoshape, handle}})
    end
  end

  defp all_answers(store, stage, indexes) do
    shapes = Shapes.range(indexes)

    for {handle, shape} <- shapes do
      expect(store, stage, :handle_for_shape, [shape], {:ok, handle})
      expect(store, stage, :handle_for_shape_critical, [shape, 10_000], {:ok, handle})
      expect(store, stage, :shape_for_handle, [handle], {:ok, shape})
      expect(store, stage, :handle_exists?, [handle], true)
    end

    expect(store, stage, :count_shapes, [], {:ok, length(shapes)})
    expect(store, stage, :list_shapes, [], {:ok, Enum.sort_by(shapes, &elem(&1, 0))})
    expect(store, stage, :reduce_shapes, [0, fn {_, _}, sum -> sum + 1 end], length(shapes))

    meta =
      call(store, :reduce_shape_meta, [[], fn {handle, _, _}, handles -> [handle | handles] end])

    same!(store, {stage, :reduce_shape_meta}, Enum.sort(meta), handles(shapes))
    relations(store, stage, shapes)
  end

  defp relations(store, stage, shapes) do
    expect(store, stage, :shape_handles_for_relations, [[]], {:ok, []})
    expect(store, stage, :shape_handles_for_relations, [[{1, {"public", "none"}}]], {:ok, []})

    by_table = Enum.group_by(shapes, fn {_, shape} -> {shape.root_table_id, shape.root_table} end)

    for {relation, of_table} <- by_table do
      expect(store, stage, :shape_handles_for_relations, [[relation]], {:ok, handles(of_table)})
    end

    every = Map.keys(by_table)
    expect(store, stage, :shape_handles_for_relations, [every], {:ok, handles(shapes)})
  end

  defp no_answers(store, stage, indexes) do
    for {handle, shape} <- Shapes.range(indexes) do
      expect(store, stage, :handle_for_shape, [shape], :error)
      expect(store, stage, :handle_for_shape_critical, [shape, 10_000], :error)
      expect(store, stage, :shape_for_handle, [handle], :error)
      expect(store, stage, :handle_exists?, [handle], false)
      expect(store, stage, :snapshot_complete?, [handle], false)
    end
  end

  defp handles(shapes), do: Enum.sort(for {handle, _} <- shapes, do: handle)

  defp call(store, function, arguments),
    do: apply(store.db, function, [store.stack_id | arguments])

  defp expect(store, stage, function, arguments, expected) do
    same!(store, {stage, function}, call(store, function, arguments), expected)
  end

  defp same!(_store, _what, same, same), do: :ok

  defp same!(store, what, got, expected) do
    raise "#{store.side.name}, #{inspect(what)}: #{inspect(got, limit: 5)} instead of " <>
            inspect(expected, limit: 5)
  end
end
