defmodule ElectricShapeDb.FilesTest do
  @moduledoc "Bad files: moved aside for the operator, and the service starts."

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.Fixtures
  alias ElectricShapeDb.Tap

  setup context do
    {:ok, path: Fixtures.path(context.storage_dir, 5)}
  end

  for mode <- [[], [exclusive_mode: true]] do
    @tag store: mode
    test "a file that is not a database is kept aside #{inspect(mode)}", context do
      File.mkdir_p!(Path.dirname(context.path))
      File.write!(context.path, "no database at all")
      assert_quarantined(context, "no database at all")
    end

    @tag store: mode
    test "a truncated file is kept aside #{inspect(mode)}", context do
      fill(context)
      half = File.read!(context.path) |> binary_part(0, 40_960)
      File.write!(context.path, half)
      assert_quarantined(context, half)
    end

    @tag store: mode
    test "a file with another version inside is kept aside #{inspect(mode)}", context do
      start_store!(context)
      tamper!(context.stack_id, ["PRAGMA user_version = 3"])
      stop_store!(context)
      assert_quarantined(context, File.read!(context.path))
    end

    @tag store: mode
    test "a file of a later version is left alone, and nothing starts #{inspect(mode)}",
         context do
      start_store!(context)
      tamper!(context.stack_id, ["PRAGMA user_version = 77"])
      stop_store!(context)
      before = File.read!(context.path)
      assert_raise RuntimeError, ~r/has schema 77/, fn -> start_store!(context) end
      assert File.read!(context.path) == before
      assert Path.wildcard(context.path <> ".corrupt-*") == []
    end
  end

  test "a directory in the file's place is kept aside", context do
    File.mkdir_p!(context.path)
    File.write!(Path.join(context.path, "note"), "a note")
    Tap.logs(context.storage_dir)
    start_store!(context)
    assert_receive {:log, :warning, _line}, 1_000
    assert File.regular?(context.path)
    assert works?(context)
    assert context.path |> Path.dirname() |> Path.join("**/note") |> Path.wildcard() != []
  end

  test "an empty file is a new database", context do
    File.mkdir_p!(Path.dirname(context.path))
    File.write!(context.path, "")
    Tap.logs(context.path)
    start_store!(context)
    assert_receive {:log, :warning, line}, 1_000
    assert line =~ "empty file"
    assert works?(context)
  end

  test "a table that is dropped under the store costs what was nowhere else",
       %{stack_id: stack_id} = context do
    fill(context)
    start_store!(context)
    warm = for n <- 1..3, do: {:ok, _} = ShapeDb.shape_for_handle(stack_id, handle(n))
    rebuilt = [:electric, :shape_db, :store, :rebuilt]
    Tap.events(stack_id, [rebuilt])
    Tap.logs(context.path)
    tamper!(stack_id, ["DROP TABLE bodies"])

    {:ok, _} = ShapeDb.add_shape(stack_id, shape(:new), "new", durability: :sync)
    assert_receive {:event, ^rebuilt, %{shapes: 3, lost: 497}, metadata}
    assert metadata.reason =~ "bodies" and File.regular?(metadata.path)
    lost = metadata.list |> File.read!() |> String.split("\n", trim: true)
    assert Enum.sort(lost) == metadata.lost_handles |> Enum.map(&"lost #{&1}") |> Enum.sort()
    assert {:ok, %{lost: 497, rebuilds: 1, rebuilding: 0}} = ShapeDb.statistics(stack_id)
    # One line says that it is written anew and one that it was, however many were lost.
    assert_receive {:log, :error, anew}, 1_000
    assert anew =~ "no such table"
    assert_receive {:log, :error, lost}, 1_000
    assert lost =~ "lost=497" and lost =~ metadata.list
    refute_received {:log, :error, _line}

    restart_store!(context)
    assert ShapeDb.count_shapes(stack_id) == {:ok, 4}
    assert for(n <- 1..3, do: ShapeDb.shape_for_handle(stack_id, handle(n))) == warm
  end

  test "a left-over write-ahead log of another file does no harm", context do
    File.mkdir_p!(Path.dirname(context.path))
    File.write!(context.path <> "-wal", "no log at all")
    start_store!(context)
    assert works?(context)
  end

  test "a directory that cannot be made is a clear error", context do
    file = Path.join(context.storage_dir, "file")
    File.write!(file, "")
    assert start_error(context, storage_dir: file) =~ file
  end

  test "a start beside files that it does not use names them", context do
    %{stack_id: stack_id, path: path} = context
    fill(context)
    folder = Path.dirname(path)
    newer = String.replace(Path.basename(path), "_5@", "_6@")
    older = String.replace(Path.basename(path), "v10_", "v9_")
    File.rename!(path, Path.join(folder, newer))
    File.write!(Path.join(folder, older), "")
    Tap.logs(inspect(stack_id))
    start_store!(context)
    assert_receive {:log, :warning, line}, 1_000
    assert line =~ inspect(newer)
    assert line =~ inspect(older)
    assert works?(context)
    refute_received {:log, :warning, _line}
  end

  for dir <- [
        "file:store",
        "file:///store?mode=memory",
        <<"not-utf8-", 0xFF, 0xFE>>,
        "ünïcode%20?#"
      ] do
    test "a folder of the name #{inspect(dir)} is a folder", context do
      dir = Path.join(context.storage_dir, unquote(dir))
      context = Map.put(context, :store, storage_dir: dir)
      path = Connection.db_path!(storage_dir: dir)
      start_store!(context)
      assert works?(context)
      assert File.regular?(path)
      assert {:ok, %{disk_size: size}} = ShapeDb.statistics(context.stack_id)
      assert size > 0
      assert rows(context.stack_id, "SELECT count(*) FROM shapes") == [[1]]
    end
  end

  test "the tables are those that the guide draws", %{stack_id: stack_id} = context do
    start_store!(context)
    add!(stack_id, shape_on(3, 1), handle(1))
    :ok = ShapeDb.mark_snapshot_started(stack_id, handle(1))
    flush!(stack_id)

    comparable =
      :erlang.term_to_binary(comparable(shape_on(3, 1)), [:deterministic, minor_version: 2])

    body = :erlang.term_to_binary(shape_on(3, 1), minor_version: 2)

    sql =
      "SELECT handle, comparable, hash, snapshot, relations, shape FROM shapes JOIN bodies USING (id)"

    assert rows(stack_id, sql) == [
             [
               handle(1),
               :crypto.hash(:sha256, comparable),
               hash(shape_on(3, 1)),
               1,
               <<oid(3)::32-little>>,
               body
             ]
           ]

    assert rows(stack_id, "PRAGMA user_version") == [[5]]
  end

  defp fill(context) do
    start_store!(context)
    add_samples!(context.stack_id, 1..500)
    stop_store!(context)
  end

  defp assert_quarantined(context, content) do
    Tap.logs(context.storage_dir)
    start_store!(context)
    assert_receive {:log, :warning, line}, 1_000
    assert line =~ Path.basename(context.path)
    assert ShapeDb.count_shapes(context.stack_id) == {:ok, 0}
    assert works?(context)
    assert Enum.any?(beside(context.path), &(File.read!(&1) == content))
  end

  defp beside(path) do
    path |> Path.dirname() |> Path.join("**") |> Path.wildcard() |> Enum.filter(&File.regular?/1)
  end

  defp works?(context) do
    add!(context.stack_id, shape(:new), "new")
    restart_store!(context)
    ShapeDb.list_shapes!(context.stack_id) == [{"new", shape(:new)}]
  end
end
