defmodule ElectricShapeDb.BadInputTest do
  @moduledoc "Wrong arguments and stacks that do not run: clear errors, and no harm."

  use ElectricShapeDb.StoreCase, async: true

  import Electric.ShapeCache.ShapeStatus.ShapeDb.Arguments, only: [shown: 1]

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

  # What each public function takes. Arguments that take anything are `:any`.
  @functions %{
    ShapeDb => [
      add_shape: [:stack_id, :shape, :handle, :opts],
      remove_shape: [:stack_id, :handle, :opts],
      mark_snapshot_started: [:stack_id, :handle, :opts],
      mark_snapshot_complete: [:stack_id, :handle, :opts],
      reset: [:stack_id],
      validate_existing_shapes: [:stack_id],
      handle_for_shape: [:stack_id, :shape],
      handle_for_shape_critical: [:stack_id, :shape, :timeout],
      shape_for_handle: [:stack_id, :handle],
      handle_exists?: [:stack_id, :handle],
      snapshot_started?: [:stack_id, :handle],
      snapshot_complete?: [:stack_id, :handle],
      count_shapes: [:stack_id],
      count_shapes!: [:stack_id],
      shape_handles_for_relations: [:stack_id, :relations],
      shape_handles_for_relations!: [:stack_id, :relations],
      unknown_handles: [:stack_id, :handles],
      list_shapes: [:stack_id],
      list_shapes!: [:stack_id],
      reduce_shapes: [:stack_id, :any, :reducer],
      reduce_shape_meta: [:stack_id, :any, :reducer],
      reduce_meta: [:stack_id, :any, :reducer],
      has_shape_handle?: [:stack_id, :handle],
      validate_shape_handle: [:stack_id, :handle, :hash_or_shape],
      lookup: [:stack_id, :shape, :opts],
      touch: [:stack_id, :handle],
      update_last_read_time: [:stack_id, :handle, :monotonic_native],
      last_read_time: [:stack_id, :handle],
      shape_has_been_activated?: [:stack_id, :handle],
      least_recently_used: [:stack_id, :n],
      flags: [:stack_id, :handle],
      set_flags: [:stack_id, :handle, :flags, :opts],
      count_by_flags: [:stack_id, :mask, :value],
      handles_by_flags: [:stack_id, :mask, :value],
      pending_buffer_size: [:stack_id],
      statistics: [:stack_id],
      explain: [:stack_id]
    ],
    WriteBuffer => [
      name: [:stack_ref],
      start_link: [:start],
      flush_sync: [:stack_id, :timeout],
      pause_flush: [:stack_id],
      resume_flush: [:stack_id],
      lookup_shape: [:stack_id, :handle],
      lookup_handle: [:stack_id, :any],
      is_tombstoned?: [:stack_id, :handle],
      has_handle?: [:stack_id, :handle],
      pending_operations_count: [:stack_id],
      pending_count_diff: [:stack_id],
      list_buffered_shapes: [:stack_id],
      handles_for_relations: [:stack_id, :relations],
      tombstoned_handles: [:stack_id],
      add_shape: [:stack_id, :handle, :shape, :any, :hash, :relations],
      remove_shape: [:stack_id, :handle],
      queue_snapshot_started: [:stack_id, :handle],
      queue_snapshot_complete: [:stack_id, :handle],
      clear: [:stack_id]
    ],
    Connection => [
      checkout!: [:stack_id, :any, :fun, :timeout],
      checkout_write!: [:stack_id, :any, :fun, :timeout],
      execute: [:conn, :sql],
      execute_all: [:conn, :sqls],
      fetch_one: [:conn, :sql, :binds],
      fetch_all: [:conn, :sql, :binds, :mapper],
      db_path: [:start],
      db_path!: [:start],
      default!: [:option],
      defaults: [],
      explain: [:stack_id]
    ],
    ShapeDb.Supervisor => [name: [:stack_ref], start_link: [:start]],
    ShapeDb.Admin => [
      stacks: [:admin_opts],
      info: [:target, :admin_opts],
      health: [:target, :admin_opts],
      inspect: [:target, :admin_opts],
      check: [:target, :admin_opts],
      backup: [:target, :to, :admin_opts],
      restore: [:from, :to, :admin_opts],
      move: [:from, :to, :admin_opts],
      salvage: [:from, :to, :admin_opts],
      repair: [:target, :admin_opts],
      export: [:target, :to, :admin_opts],
      watch: [:stack_id, :admin_opts]
    ]
  }

  # Nobody calls these with arguments of their own.
  @inner [:__struct__, :child_spec, :init, :add]

  @binaries [nil, :atom, 42, -1, 1.5, ~c"chars", {"a"}, <<1::3>>, ["a" | "b"], %{}, 2 ** 200]
  @times [nil, -1, 0x100000000, 2 ** 70, 1.5, "5000", :never, {:sync, 1}]
  @functions_of_none [nil, :fun, "fun", 1, {:a, :b}]

  defp ill(:stack_id), do: @binaries
  defp ill(:stack_ref), do: @binaries ++ [[], [stack_id: nil], [:stack_id], [stack_id: :a]]
  defp ill(:handle), do: @binaries
  defp ill(:handles), do: [nil, :handles, 42, "handle", {"a"}, <<1::3>>]
  defp ill(:hash), do: [nil, -1, 0x100000000, 2 ** 70, 1.5, "1", [1]]
  defp ill(:hash_or_shape), do: [nil, -1, 0x100000000, "1", %{}, URI.parse("/")]
  defp ill(:n), do: [nil, -1, 1.5, "1", :all, [1]]
  defp ill(:monotonic_native), do: [nil, 1.5, 2 ** 63, -(2 ** 63) - 1, "1"]

  defp ill(flags) when flags in [:flags, :mask, :value],
    do: [nil, -1, 256, 2 ** 70, 1.5, "1", [1]]

  defp ill(:timeout), do: @times
  defp ill(:reducer), do: [(&Function.identity/1) | @functions_of_none]
  defp ill(fun) when fun in [:fun, :mapper], do: [(&Kernel.max/2) | @functions_of_none]
  defp ill(:conn), do: [nil, {}, {nil, 0}, {make_ref(), 1}, {make_ref(), -1}, 42, "conn"]
  defp ill(:sql), do: @binaries
  defp ill(:sqls), do: [nil, "SELECT 1", [1], ["SELECT 1" | "SELECT 2"], [nil], %{}, {}]
  defp ill(path) when path in [:target, :from, :to], do: ["", "a" <> <<0>> | @binaries]

  defp ill(:admin_opts) do
    [nil, :quiet, [1], [print: 1], [sample: 1], [samples: -1], [samples: 1.5], [times: 0]] ++
      [[times: "1"], [interval: 0], [interval: 2 ** 32], [{:print, false} | :samples]]
  end

  defp ill(:option), do: [nil, :storage_dir, "cache_size", 1]

  defp ill(:shape) do
    [nil, :shape, %{}, %{where: "id = 1"}, URI.parse("/"), {:shape, 1}, "shape", [shape(1)]]
  end

  defp ill(:relations) do
    [nil, [1], [{"oid", {"public", "items"}}], [{-1, nil}], {1, nil}, [{0x100000000, nil}]] ++
      [[{1, nil} | {2, nil}], [{2 ** 70, nil}], "relations", [{1}], [{1.0, nil}]]
  end

  defp ill(:binds) do
    [nil, [:a], [{:blob, 1}], [1 | 2], %{1 => 2}, %{":a" => self()}, "a", [2 ** 63], [<<1::3>>]]
  end

  defp ill(:opts) do
    [nil, :sync, [1], [durability: :sometimes], [durability: {:sync, -1}], [durabilty: :sync]] ++
      [
        [durability: {:sync, 5_000_000_000}],
        [durability: {:sync, 1.5}],
        [{:durability, :sync} | 1]
      ]
  end

  defp ill(:start) do
    [nil, :start, 42, "start", %{}, [1], [{"stack_id", "a"}], [{:stack_id, "a"} | :b]]
  end

  defp good(:stack_id, stack_id), do: stack_id
  defp good(:stack_ref, stack_id), do: stack_id
  defp good(:handle, _stack_id), do: handle(1)
  defp good(:handles, _stack_id), do: [handle(1)]
  defp good(:shape, _stack_id), do: shape(1)
  defp good(:hash, _stack_id), do: 1

  defp good(number, _stack_id)
       when number in [:hash_or_shape, :n, :monotonic_native, :flags, :mask, :value],
       do: 1

  defp good(:timeout, _stack_id), do: 1_000
  defp good(:reducer, _stack_id), do: &Kernel.max/2
  defp good(fun, _stack_id) when fun in [:fun, :mapper], do: &Function.identity/1
  defp good(:sql, _stack_id), do: "SELECT 1"
  defp good(:sqls, _stack_id), do: ["SELECT 1"]
  defp good(:binds, _stack_id), do: []
  defp good(:relations, _stack_id), do: [relation(0)]
  defp good(:opts, _stack_id), do: []
  defp good(:target, stack_id), do: stack_id
  defp good(path, _stack_id) when path in [:from, :to], do: "no/such/file"
  defp good(:admin_opts, _stack_id), do: [print: false, times: 1, interval: 1]
  defp good(:any, _stack_id), do: :any

  for {module, functions} <- @functions, {name, kinds} <- functions do
    test "#{inspect(module)}.#{name} names what is wrong", context do
      %{stack_id: stack_id} = context
      start_store!(context)

      # Any of them could be that of a connection.
      Connection.checkout!(stack_id, :test, fn %{conn: conn} ->
        good = fn kind -> if kind == :conn, do: conn, else: good(kind, stack_id) end

        for {kind, at} <- Enum.with_index(unquote(kinds)), kind != :any, ill <- ill(kind) do
          args =
            for {other, n} <- Enum.with_index(unquote(kinds)),
                do: if(n == at, do: ill, else: good.(other))

          assert_named(kind, ill, attempt(unquote(module), unquote(name), args))
        end
      end)

      assert ShapeDb.pending_buffer_size(stack_id) == 0
      assert_unharmed(stack_id)
    end
  end

  test "every public function is among these" do
    for {module, functions} <- @functions do
      there = for {name, _arity} <- module.__info__(:functions), name not in @inner, do: name
      assert Enum.sort(Enum.uniq(there)) == functions |> Keyword.keys() |> Enum.sort()
    end
  end

  defp assert_named(kind, ill, outcome) do
    message =
      case outcome do
        {:raised, %ArgumentError{message: message}} -> message
        {:raised, %ShapeDb.Error{message: message}} -> message
        {:returned, {:error, message}} when is_binary(message) -> message
        other -> flunk("#{kind} of #{inspect(ill)}: #{inspect(other)}")
      end

    # An option says its own name, and its own value.
    named? = kind in [:opts, :start, :admin_opts] or message =~ "#{kind}"
    value = if kind in [:opts, :start], do: deepest(ill), else: shown(ill)
    assert named? and message =~ value, "#{kind} of #{inspect(ill)}: #{message}"
    assert String.length(message) < 500
  end

  defp deepest([{_name, value} | _rest]) when value != "a", do: shown(value)
  defp deepest(other), do: shown(other)

  test "values of megabytes are shown in short" do
    for huge <- [:binary.copy("x", 10_000_000), Enum.to_list(1..1_000_000)] do
      assert {:raised, error} = attempt(fn -> ShapeDb.reduce_shapes("stack", 0, huge) end)
      assert String.length(Exception.message(error)) < 500
    end
  end

  test "a handle of an unknown handle among others is named", %{stack_id: stack_id} = context do
    start_store!(context)
    assert_named(:handle, 42, attempt(fn -> ShapeDb.unknown_handles(stack_id, ["a", 42]) end))
    assert ShapeDb.unknown_handles(stack_id, []) == []
  end

  test "handles are bytes, of a length that is told", %{stack_id: stack_id} = context do
    start_store!(context)
    odd = <<0, 0xFF, 0xFE>>
    longest = String.duplicate("h", 1024)

    for handle <- [odd, longest] do
      add!(stack_id, shape(handle |> :erlang.phash2()), handle)
      assert ShapeDb.handle_exists?(stack_id, handle)
      assert {:ok, _} = ShapeDb.shape_for_handle(stack_id, handle)
      flush!(stack_id)
      assert ShapeDb.mark_snapshot_complete(stack_id, handle) == :ok
      assert ShapeDb.remove_shape(stack_id, handle) == :ok
    end

    for handle <- ["", longest <> "h", :binary.copy("h", 5_000_000)] do
      assert {:error, {:handle_length, text}} = ShapeDb.add_shape(stack_id, shape(1), handle)
      assert text =~ "#{byte_size(handle)}"
      assert {:error, {:enoshape, ^handle}} = ShapeDb.remove_shape(stack_id, handle)
      assert ShapeDb.mark_snapshot_started(stack_id, handle) == :error
      assert {:error, {:handle_length, _}} = WriteBuffer.remove_shape(stack_id, handle)
      refute ShapeDb.handle_exists?(stack_id, handle)
      assert ShapeDb.shape_for_handle(stack_id, handle) == :error
      refute ShapeDb.snapshot_started?(stack_id, handle)
      assert WriteBuffer.has_handle?(stack_id, handle) == :unknown
      assert ShapeDb.unknown_handles(stack_id, [handle]) == [handle]
    end

    flush!(stack_id)
    assert_unharmed(stack_id)
  end

  for {timeout, durable} <- [{:infinity, []}, {0xFFFFFFFF, [[durability: {:sync, 0xFFFFFFFF}]]}] do
    test "a time of #{timeout} is one", %{stack_id: stack_id} = context do
      start_store!(context)
      timeout = unquote(timeout)
      add!(stack_id, shape(1), handle(1))
      assert WriteBuffer.flush_sync(stack_id, timeout) == :ok
      assert Connection.checkout!(stack_id, :test, fn _ -> 1 end, timeout) == 1
      assert Connection.checkout_write!(stack_id, :test, fn _ -> :ok end, timeout) == :ok
      assert {:ok, _} = ShapeDb.handle_for_shape_critical(stack_id, shape(1), timeout)

      for opts <- unquote(durable) do
        assert ShapeDb.mark_snapshot_complete(stack_id, handle(1), opts) == :ok
      end
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

  # An answer to a person is printed as well.
  defp attempt(ShapeDb.Admin, name, args) do
    ExUnit.CaptureIO.with_io(fn -> attempt(fn -> apply(ShapeDb.Admin, name, args) end) end)
    |> elem(0)
  end

  defp attempt(module, name, args), do: attempt(fn -> apply(module, name, args) end)

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
