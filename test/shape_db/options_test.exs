defmodule ElectricShapeDb.OptionsTest do
  @moduledoc "What a stack can be configured with, and what is refused by name."

  use ElectricShapeDb.StoreCase, async: true

  @ill_typed [
    storage_dir: 42,
    storage_dir: :memory,
    exclusive_mode: "yes",
    synchronous: "SOMETIMES",
    synchronous: 1,
    cache_size: "4MB",
    cache_size: -1,
    read_pool_size: 0,
    read_pool_size: "many",
    connection_idle_timeout: -1,
    connection_idle_timeout: "30s",
    manual_flush_only: 1,
    durability: :sometimes,
    durability: {:sync, -1},
    durability: {:sync, 5_000_000_000},
    durability: {:sync, 0x100000000},
    durability: {:sync, :infinity},
    durability: {:sync, "100"},
    pending_timeout: 5_000_000_000,
    pending_timeout: -1,
    pending_timeout: :infinity,
    connection_idle_timeout: 0x100000000,
    connection_idle_timeout: 2 ** 63,
    cache_size: 2 ** 63,
    cache_size: 0x10000000001,
    read_pool_size: 10_001,
    max_pending_ops: 0,
    max_pending_ops: 2 ** 64,
    max_pending_bytes: 0,
    max_pending_bytes: 2 ** 63,
    storage_dir: "",
    storage_dir: "a\0b",
    keep_last_read_times: 1,
    external_checkpoint: "yes",
    flags: 1,
    flags: {-1, &Function.identity/1},
    flags: {1, &Kernel.+/2}
  ]

  for {{option, value}, n} <- Enum.with_index(@ill_typed) do
    test "#{n}: #{option}: #{inspect(value)} is refused by name", context do
      error = start_error(context, [{unquote(option), unquote(Macro.escape(value))}])
      assert error =~ "option :#{unquote(option)} takes"

      assert error =~
               "not #{inspect(unquote(Macro.escape(value)))}" |> inspect() |> String.trim("\"")
    end
  end

  test "the largest of each are accepted", %{stack_id: stack_id} = context do
    start_store!(context,
      cache_size: 0x10000000000,
      read_pool_size: 10_000,
      connection_idle_timeout: 0xFFFFFFFF,
      max_pending_ops: 1_000_000_000,
      max_pending_bytes: 0x10000000000,
      pending_timeout: 0xFFFFFFFF,
      durability: {:sync, 0xFFFFFFFF}
    )

    add!(stack_id, shape(1), handle(1))
    assert rows(stack_id, "SELECT count(*) FROM shapes") == [[1]]
    assert ShapeDb.list_shapes!(stack_id) == [{handle(1), shape(1)}]
  end

  test "an unknown option is refused by name", context do
    assert start_error(context, read_pool_sise: 2) =~ "read_pool_sise"
  end

  test "without a storage_dir the error says so", context do
    assert start_error(context, storage_dir: nil) =~ "storage_dir"
    args = [stack_id: context.stack_id, shape_db_opts: []]
    assert {:error, reason} = start_supervised({ShapeDb.Supervisor, args})
    assert inspect(reason) =~ "storage_dir"
  end

  test "a store in memory needs exclusive mode", context do
    assert start_error(context, storage_dir: ":memory:") =~ "exclusive_mode"
  end

  test "checkpoints cannot be left to others without a log", context do
    error = start_error(context, external_checkpoint: true, exclusive_mode: true)
    assert error =~ ":external_checkpoint does not go together with exclusive_mode"
  end

  test "checkpoints are left to others on every connection", %{stack_id: stack_id} = context do
    start_store!(context, external_checkpoint: true, connection_idle_timeout: 0)
    add!(stack_id, shape(1), handle(1))
    flush!(stack_id)
    assert pragma_of_writer(stack_id, "wal_autocheckpoint") == 0
    assert rows(stack_id, "PRAGMA wal_autocheckpoint") == [[0]]
    # The one that a replicator counts on has no use, and stays.
    assert {:ok, %{connections: n}} = ShapeDb.statistics(stack_id)
    assert n >= 1
    stop_store!(context)
    log = Connection.db_path!(store_opts(context)) <> "-wal"
    assert File.stat!(log).size > 0

    # What is in the log alone is no reason for a check of the file.
    told =
      ExUnit.CaptureLog.capture_log(fn -> start_store!(context, external_checkpoint: true) end)

    refute told =~ "checking a shape database"
    assert ShapeDb.list_shapes!(stack_id) == [{handle(1), shape(1)}]
  end

  test "nil means the default", %{stack_id: stack_id} = context do
    start_store!(context,
      exclusive_mode: nil,
      synchronous: nil,
      cache_size: nil,
      read_pool_size: nil,
      connection_idle_timeout: nil,
      manual_flush_only: nil
    )

    assert rows(stack_id, "PRAGMA journal_mode") == [["wal"]]
    assert pragma_of_writer(stack_id, "synchronous") == 0
  end

  for {synchronous, level} <- [{"OFF", 0}, {"NORMAL", 1}, {"FULL", 2}] do
    test "synchronous #{synchronous} reaches the writer", %{stack_id: stack_id} = context do
      start_store!(context, synchronous: unquote(synchronous))
      assert pragma_of_writer(stack_id, "synchronous") == unquote(level)
    end
  end

  test "exclusive mode uses a rollback journal", %{stack_id: stack_id} = context do
    start_store!(context, exclusive_mode: true)
    assert rows(stack_id, "PRAGMA journal_mode") == [["delete"]]
    add!(stack_id, shape(1), handle(1))
    flush!(stack_id)
    refute File.exists?(Connection.db_path!(store_opts(context)) <> "-wal")
  end

  test "a file changes between the modes and keeps its shapes", %{stack_id: stack_id} = context do
    start_store!(context)
    add!(stack_id, shape(1), handle(1))
    restart_store!(context, exclusive_mode: true)
    assert rows(stack_id, "PRAGMA journal_mode") == [["delete"]]
    add!(stack_id, shape(2), handle(2))
    restart_store!(context)
    assert rows(stack_id, "PRAGMA journal_mode") == [["wal"]]
    assert ShapeDb.list_shapes!(stack_id) == Enum.map(1..2, &{handle(&1), shape(&1)})
  end

  @tag store: [exclusive_mode: true, storage_dir: ":memory:"]
  test "a store in memory has no file and starts empty", %{stack_id: stack_id} = context do
    start_store!(context)
    assert rows(stack_id, "SELECT file FROM pragma_database_list WHERE name = 'main'") == [[""]]
    add!(stack_id, shape(1), handle(1))
    restart_store!(context)
    assert ShapeDb.count_shapes(stack_id) == {:ok, 0}
  end

  defp pragma_of_writer(stack_id, pragma) do
    {:ok, [value]} =
      Connection.checkout_write!(stack_id, :test, fn %{conn: conn} ->
        Connection.fetch_one(conn, "PRAGMA #{pragma}", [])
      end)

    value
  end
end
