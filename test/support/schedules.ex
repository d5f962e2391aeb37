defmodule ElectricShapeDb.Schedules do
  @moduledoc """
  Which calls keep a scheduler, run in a VM of its own: what the system tells of
  schedulers it tells one process.
  """

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Admin
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Connection
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.WriteBuffer
  alias ElectricShapeDb.Samples

  # The work on megabytes takes more on the fastest machine.
  @kept_ms 15
  @tries 6
  # A machine that is so busy for so long tells nothing.
  @busy_ms 2_000

  # So that no collection of garbage comes in between, which is none of ours.
  @heap [:monitor, min_heap_size: 8_000_000]

  # Far above what a call takes on a busy machine, and far below the limit of a test.
  @patience 60_000

  @doc """
  Makes each of the calls of a function below some times, and gives those that were told of
  each time, with what was told. A call that fails is the answer, by name and in short: what
  it was called with may have megabytes, which nobody is to format or to send.
  """
  @spec kept(:of_large | :of_many, [term()]) :: [{atom(), term()}] | {:failed, atom(), String.t()}
  def kept(calls, args) do
    # Of a call that fails there is the answer; the text of a report takes minutes.
    Logger.configure(level: :none)
    :erlang.system_monitor(self(), long_schedule: @kept_ms)

    case called(fn -> apply(__MODULE__, calls, args) end) do
      {:ok, calls, _told} -> kept_of(calls, [])
      {:failed, reason} -> {:failed, calls, reason}
    end
  end

  defp kept_of([], kept), do: Enum.reverse(kept)

  defp kept_of([{name, call} | calls], kept) do
    case told_each_time(call, @tries, now() + @busy_ms, nil) do
      {:failed, reason} -> {:failed, name, reason}
      nil -> kept_of(calls, kept)
      told -> kept_of(calls, [{name, told} | kept])
    end
  end

  # What takes that long itself does each time. A scheduler that lost its processor to
  # somebody else for as long is told of as well, and a try does not count when the VM's own
  # work with a large term, beside the call, is told of too.
  defp told_each_time(_call, 0, _busy_until, told), do: told

  defp told_each_time(call, tries, busy_until, _told) do
    with {:ok, _result, [_ | _] = told} <- called(call),
         {:ok, _result, meanwhile} <- called(&terms/0) do
      cond do
        meanwhile == [] -> told_each_time(call, tries - 1, busy_until, told)
        now() < busy_until -> told_each_time(call, tries, busy_until, told)
        true -> nil
      end
    else
      {:ok, _result, []} -> nil
      {:failed, reason} -> {:failed, reason}
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  # What a host's own functions do with the bytes of a large shape.
  defp terms do
    text = :binary.copy("x", 16 * 1024 * 1024)
    {:erlang.phash2(text), byte_size(:erlang.term_to_binary(text))}
  end

  # In a process of its own, so that no other's work is taken for that of the call.
  defp called(call) do
    caller = self()

    {worker, monitor} =
      :erlang.spawn_opt(
        fn ->
          send(caller, {:called, self(), in_short(call)})
          # Off its scheduler: what there is to tell of the call is told.
          receive do: (:sync -> send(caller, {:synced, self()}))
        end,
        @heap
      )

    with {:called, answer} <- heard_of(worker, monitor, :called),
         send(worker, :sync),
         :synced <- heard_of(worker, monitor, :synced) do
      Process.demonitor(monitor, [:flush])

      case {answer, told_of(worker, [])} do
        {{:ok, result}, told} -> {:ok, result, told}
        {{:failed, reason}, _told} -> {:failed, reason}
      end
    end
  end

  defp heard_of(worker, monitor, what) do
    receive do
      {^what, ^worker, answer} ->
        {what, answer}

      {^what, ^worker} ->
        what

      {:DOWN, ^monitor, :process, ^worker, reason} ->
        {:failed, shown(reason)}
    after
      @patience ->
        {:current_stacktrace, where} = Process.info(worker, :current_stacktrace)
        Process.demonitor(monitor, [:flush])
        Process.exit(worker, :kill)
        {:failed, "no answer within #{@patience} ms, at " <> Exception.format_stacktrace(where)}
    end
  end

  defp in_short(call) do
    {:ok, call.()}
  catch
    kind, reason -> {:failed, "#{kind} #{shown(reason)}, at #{shown(places(__STACKTRACE__))}"}
  end

  defp places(stacktrace) do
    for {module, function, arity, where} <- stacktrace do
      arity = if is_list(arity), do: length(arity), else: arity
      {module, function, arity, where[:line]}
    end
  end

  defp shown(term), do: inspect(term, limit: 20, printable_limit: 200)

  defp told_of(worker, told) do
    receive do
      {:monitor, ^worker, :long_schedule, info} -> told_of(worker, [info | told])
    after
      0 -> told
    end
  end

  @doc "Every function that takes bytes, with so many: shapes, handles, SQL and values."
  @spec of_large(String.t(), pos_integer()) :: [{atom(), (... -> term())}]
  def of_large(stack_id, bytes) do
    {:ok, store} = Stores.fetch(stack_id)
    :ok = WriteBuffer.pause_flush(stack_id)
    shape = Samples.shape(1, where: %{query: String.duplicate("x", bytes), returns: :bool})
    term = Samples.comparable(shape)
    comparable = :erlang.term_to_binary(term)
    body = :erlang.term_to_binary(shape)
    # To the look for what cannot be stored, so many of one byte may be suspicious.
    add = &Native.add_large(store, "other", &1, 1, [1], 0, body, true, nil, false)
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
      # A handle that is.
      handle_exists: fn -> false = Native.handle_exists(store, body) end,
      snapshot: fn -> :error = Native.snapshot(store, body) end,
      shape: fn -> :error = Native.shape(store, body) end,
      remove: fn -> {:error, :unknown} = Native.remove(store, body, nil, false) end,
      mark: fn -> {:error, :unknown} = Native.mark(store, body, :started, nil, false) end,
      note_unknown: fn -> {:error, {_, _}} = Native.note_unknown(store, :remove, body, nil) end,
      pending_change: fn -> :unknown = Native.pending_change(store, body) end,
      unknown_handles: fn -> [_] = Native.unknown_handles(store, [body]) end,
      touch: fn -> false = Native.touch(store, body, 1) end,
      set_last_read: fn -> false = Native.set_last_read(store, body, 1) end,
      validate: fn -> :error = Native.validate(store, body, 1) end,
      meta: fn -> :error = Native.meta(store, body) end,
      mark_in_memory: fn -> {:error, _} = Native.mark_in_memory(store, body, :started) end,
      set_flags: fn -> {:error, _} = Native.set_flags(store, body, 1, nil) end,
      lose: fn -> :ok = Native.lose(store, body, "of no use") end,
      ask_body: fn -> Native.ask_body(store, body, make_ref()) end,
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

  @doc "Every function that takes or gives many, of a store with so many sample shapes."
  @spec of_many(String.t(), pos_integer(), Path.t()) :: [{atom(), (... -> term())}]
  def of_many(stack_id, count, dir) do
    {:ok, store} = Stores.fetch(stack_id)
    handles = for n <- 1..count, do: Samples.handle(n)
    relations = for oid <- 1..count, do: {oid, {"public", "items"}}
    there = [Samples.relation(0)]
    named = fn name -> Path.join(dir, "#{name}-#{System.unique_integer([:positive])}") end
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
      least_recently_used: fn -> ShapeDb.least_recently_used(stack_id, count) end,
      handles_by_flags: fn -> [_ | _] = ShapeDb.handles_by_flags(stack_id, 0, 0) end,
      count_by_flags: fn -> ShapeDb.count_by_flags(stack_id, 0, 0) end,
      set_many_flags: fn -> Native.set_many_flags(store, Enum.map(handles, &{&1, 1})) end,
      pending_shapes: fn -> Native.pending_shapes(store) end,
      list_pending: fn -> Native.list_pending(store) end,
      handles_for_relations: fn -> WriteBuffer.handles_for_relations(stack_id, there) end,
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
      admin_check: fn -> {:ok, _} = Admin.check(stack_id, quiet) end,
      admin_backup: fn -> {:ok, _} = Admin.backup(stack_id, named.("backup"), quiet) end,
      admin_export: fn -> {:ok, _} = Admin.export(stack_id, named.("export"), quiet) end,
      admin_salvage: fn ->
        {:ok, _} = Admin.backup(stack_id, copy = named.("copy"), quiet)
        {:ok, _} = Admin.salvage(copy, named.("salvaged"), quiet)
        {:ok, _} = Admin.move(copy, moved = named.("moved"), quiet)
        {:ok, _} = Admin.repair(moved, quiet)
        {:ok, _} = Admin.restore(moved, named.("restored"), quiet)
      end,
      validate_and_reset: fn ->
        {:ok, _, _} = ShapeDb.validate_existing_shapes(stack_id)
        :ok = ShapeDb.reset(stack_id)
      end
    ]
  end

  defp count(_item, count), do: count + 1
end
