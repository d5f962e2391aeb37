defmodule ElectricShapeDb.Schedules.Many do
  @moduledoc """
  Every function that takes or gives many, of a store with so many sample shapes.
  """

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Admin
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Connection
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.WriteBuffer
  alias ElectricShapeDb.HostApp
  alias ElectricShapeDb.Samples
  alias ElectricShapeDb.Schedules

  @spec calls(String.t(), pos_integer()) :: [{atom(), Schedules.call()}]
  def calls(stack_id, count) do
    {:ok, store} = Stores.fetch(stack_id)
    handles = for n <- 1..count, do: Samples.handle(n)
    relations = for oid <- 1..count, do: {oid, {"public", "items"}}
    there = [Samples.relation(0)]
    # There is room for as many in the queue.
    few = div(count, 10)
    quiet = [print: false]

    [
      unknown_handles: fn -> [] = ShapeDb.unknown_handles(stack_id, handles) end,
      of_many_relations: fn ->
        {:ok, _} = ShapeDb.shape_handles_for_relations(stack_id, relations)
      end,
      of_one_relation: fn -> {:ok, _} = ShapeDb.shape_handles_for_relations(stack_id, there) end,
      with_many_relations: fn ->
        {:error, _} =
          WriteBuffer.add_shape(stack_id, "many", Samples.shape("many"), "many", 1, relations)
      end,
      reduce_shape_meta: fn -> ShapeDb.reduce_shape_meta(stack_id, 0, &count/2) end,
      reduce_meta: fn -> ShapeDb.reduce_meta(stack_id, 0, &count/2) end,
      reduce_shapes: fn -> ShapeDb.reduce_shapes(stack_id, 0, &count/2) end,
      least_recently_used: {
        fn -> for handle <- handles, do: true = ShapeDb.touch(stack_id, handle) end,
        fn _ -> {[_ | _], _minutes} = ShapeDb.least_recently_used(stack_id, count) end
      },
      handles_by_flags: fn -> [_ | _] = ShapeDb.handles_by_flags(stack_id, 0, 0) end,
      count_by_flags: fn -> ShapeDb.count_by_flags(stack_id, 0, 0) end,
      set_many_flags: fn -> Native.set_many_flags(store, Enum.map(handles, &{&1, 1})) end,
      cursors: fn -> Native.cursors(store, 4) end,
      sort_shapes: fn -> Native.sort_shapes(Enum.map(handles, &{&1, &1})) end,
      statistics: fn -> {:ok, _} = ShapeDb.statistics(stack_id) end,
      trouble: fn -> Native.trouble(store) end,
      many_rows: fn ->
        Connection.checkout!(stack_id, :test, fn %{conn: conn} ->
          {:ok, _rows} = Connection.fetch_all(conn, "SELECT handle, hash FROM shapes", [])
        end)
      end,
      admin_stacks: fn -> {:ok, _} = Admin.stacks(quiet) end,
      admin_info: fn -> {:ok, _} = Admin.info(stack_id, quiet) end,
      admin_health: fn -> {:ok, _} = Admin.health(stack_id, quiet) end,
      admin_inspect: fn -> {:ok, _} = Admin.inspect(stack_id, quiet) end,
      whole_meta: fn ->
        [_ | _] = Native.next_whole_meta(store, Native.cursor(store), 500)
      end,
      pieces_at_once: fn ->
        case Native.shapes_at_once(store, Native.cursor(store), 512) do
          :ask -> :ok
          {:ok, [_ | _]} -> :ok
        end
      end,
      pieces: fn ->
        ref = make_ref()
        owed = Native.ask_shapes(store, Native.cursor(store), 256, false, ref)
        receive do: ({^ref, :here} -> {:ok, [_ | _]} = Native.take_shapes(store, owed))
      end,
      # Each finds what the other left.
      remove_incomplete: {fn -> refill(stack_id, count) end, fn _ -> validate(stack_id) end},
      reset: {fn -> refill(stack_id, count) end, fn _ -> :ok = ShapeDb.reset(stack_id) end},
      pending_shapes: {
        fn -> add_pending(stack_id, few) end,
        fn _ ->
          [_ | _] = WriteBuffer.handles_for_relations(stack_id, there)
          {:ok, _list, ^few} = Native.list_pending(store)
        end
      },
      pending_removals: {
        fn -> remove_pending(stack_id, few) end,
        fn _ -> ^few = MapSet.size(WriteBuffer.tombstoned_handles(stack_id)) end
      }
    ]
  end

  defp add_pending(stack_id, count) do
    :ok = WriteBuffer.pause_flush(stack_id)
    refill(stack_id, count)
  end

  defp remove_pending(stack_id, count) do
    :ok = WriteBuffer.resume_flush(stack_id)
    refill(stack_id, count)
    :ok = WriteBuffer.flush_sync(stack_id, 60_000)
    :ok = WriteBuffer.pause_flush(stack_id)
    for n <- 1..count, do: WriteBuffer.remove_shape(stack_id, Samples.handle(n))
  end

  defp refill(stack_id, count) do
    if ShapeDb.count_shapes(stack_id) == {:ok, 0}, do: HostApp.add(stack_id, 1..count)
  end

  defp count(_item, count), do: count + 1

  defp validate(stack_id), do: {:ok, _removed, 0} = ShapeDb.validate_existing_shapes(stack_id)
end
