defmodule ElectricShapeDb.Schedules.Large do
  @moduledoc """
  Every function that takes bytes, with so many: shapes, handles, SQL and values.
  """

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Connection
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.WriteBuffer
  alias ElectricShapeDb.Samples
  alias ElectricShapeDb.Schedules

  @spec calls(String.t(), pos_integer()) :: [{atom(), Schedules.call()}]
  def calls(stack_id, bytes) do
    {:ok, store} = Stores.fetch(stack_id)
    :ok = WriteBuffer.pause_flush(stack_id)
    shape = Samples.shape(1, where: %{query: String.duplicate("x", bytes), returns: :bool})
    term = Samples.comparable(shape)
    comparable = :erlang.term_to_binary(term)
    body = :erlang.term_to_binary(shape)
    # To the look for what cannot be stored, so many of one byte may be suspicious.
    add = &Native.add_large(store, "other", &1, 1, [1], 0, body, true, nil, false)
    long = :binary.copy(body, 4)
    sql = "SELECT length(?) -- " <> String.duplicate("x", bytes)
    # Not an equal one.
    {:ok, _} = add.("other" <> comparable)
    {:ok, _} = ShapeDb.add_shape(stack_id, shape, "handle")

    [
      # What the host calls, with a shape that is large.
      add_shape: fn -> {:error, _} = ShapeDb.add_shape(stack_id, shape, "handle") end,
      handle_for_shape: fn -> {:ok, _} = ShapeDb.handle_for_shape(stack_id, shape) end,
      lookup: fn -> {:ok, _} = ShapeDb.lookup(stack_id, shape, touch: true) end,
      validate_shape_handle: fn ->
        :ok = ShapeDb.validate_shape_handle(stack_id, "handle", shape)
      end,
      shape_for_handle: fn -> {:ok, _} = ShapeDb.shape_for_handle(stack_id, "handle") end,
      list_shapes: fn -> {:ok, [_, _]} = ShapeDb.list_shapes(stack_id) end,
      lookup_shape: fn -> {:ok, _} = WriteBuffer.lookup_shape(stack_id, "handle") end,
      lookup_handle: fn -> {:ok, _} = WriteBuffer.lookup_handle(stack_id, term) end,
      list_buffered_shapes: fn -> [_, _] = WriteBuffer.list_buffered_shapes(stack_id) end,
      # A handle that is, which none can be.
      handle_exists: fn -> false = Native.handle_exists(store, long) end,
      snapshot: fn -> :error = Native.snapshot(store, long) end,
      shape: fn -> :error = Native.shape(store, long) end,
      remove: fn -> {:error, :unknown} = Native.remove(store, long, nil, false) end,
      mark: fn -> {:error, :unknown} = Native.mark(store, long, :started, nil, false) end,
      note_unknown: fn -> {:error, {_, _}} = Native.note_unknown(store, :remove, long, nil) end,
      pending_change: fn -> :unknown = Native.pending_change(store, long) end,
      unknown_handles: fn -> [_] = Native.unknown_handles(store, [long]) end,
      touch: fn -> false = Native.touch(store, long, 1) end,
      set_last_read: fn -> false = Native.set_last_read(store, long, 1) end,
      validate: fn -> :error = Native.validate(store, long, 1) end,
      meta: fn -> :error = Native.meta(store, long) end,
      mark_in_memory: fn -> {:error, _} = Native.mark_in_memory(store, long, :started) end,
      set_flags: fn -> {:error, _} = Native.set_flags(store, long, 1, nil) end,
      row: fn -> nil = Native.row(store, long) end,
      lose: fn -> :ok = Native.lose(store, long, 1, "of no use") end,
      ask_body: fn -> Native.ask_body(store, long, false, make_ref()) end,
      take_body: fn ->
        ref = make_ref()
        owed = Native.ask_body(store, "handle", false, ref)
        receive do: ({^ref, :here} -> :ok)
        with :large <- Native.take_body(store, owed), do: Native.take_large_body(store, owed)
      end,
      # SQL and values, inside and out.
      fetch_one: fn ->
        Connection.checkout!(stack_id, :test, fn %{conn: conn} ->
          {:ok, [_]} = Connection.fetch_one(conn, sql, [{:blob, body}])
          {:ok, [[_]]} = Connection.fetch_all(conn, "SELECT ?", [{:blob, body}])
          {:error, _} = Connection.execute(conn, body)
        end)
      end
    ]
  end
end
