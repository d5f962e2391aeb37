defmodule ElectricShapeDb.ConnectionTest do
  @moduledoc "Connections and the SQL that can be run on them."

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.Fixtures

  setup :start_store!

  setup %{stack_id: stack_id} do
    tamper!(stack_id, ["CREATE TABLE notes (i, f, b, n)"])
  end

  test "the function runs in the caller, and its result is the result", %{stack_id: stack_id} do
    for checkout! <- [&Connection.checkout!/3, &Connection.checkout_write!/3] do
      assert checkout!.(stack_id, :test, fn %{conn: _} -> {:ok, self()} end) == {:ok, self()}
      assert checkout!.(stack_id, :test, fn _ -> :ok end) == :ok
      assert checkout!.(stack_id, :test, fn _ -> {:error, :why} end) == {:error, :why}
      assert checkout!.(stack_id, :test, fn _ -> 42 end) == 42
    end

    assert Connection.checkout!(stack_id, :test, fn _ -> :ok end, 1_000) == :ok
    assert Connection.checkout_write!(stack_id, :test, fn _ -> :ok end, 1_000) == :ok
  end

  test "statements are executed one by one or together", %{stack_id: stack_id} do
    write(stack_id, fn conn ->
      assert Connection.execute(conn, "INSERT INTO notes (i) VALUES (1)") == :ok
      insert_two = for n <- 2..3, do: "INSERT INTO notes (i) VALUES (#{n})"
      assert Connection.execute_all(conn, insert_two) == :ok
      assert Connection.execute_all(conn, []) == :ok
    end)

    assert rows(stack_id, "SELECT i FROM notes ORDER BY i") == [[1], [2], [3]]
  end

  test "rows are fetched one or all", %{stack_id: stack_id} do
    read(stack_id, fn conn ->
      numbers = "SELECT 1 AS n UNION SELECT 2"
      assert Connection.fetch_one(conn, "SELECT 1, 'a'", []) == {:ok, [1, "a"]}
      assert Connection.fetch_one(conn, "SELECT 1 WHERE 0", []) == :error
      assert Connection.fetch_all(conn, numbers, []) == {:ok, [[1], [2]]}
      assert Connection.fetch_all(conn, "SELECT 1 WHERE 0", []) == {:ok, []}
      assert Connection.fetch_all(conn, numbers, [], fn [n] -> n * 2 end) == {:ok, [2, 4]}
    end)
  end

  test "values go in by position or by name, and come back", %{stack_id: stack_id} do
    values = [[9_223_372_036_854_775_807, -1.5, "grüße", nil], [-1, 0.0, "", "text"]]

    for [i, f, b, n] = row <- values do
      write(stack_id, fn conn ->
        by_position = "INSERT INTO notes VALUES (?, ?, ?, ?) RETURNING i, f, b, n"
        assert Connection.fetch_one(conn, by_position, row) == {:ok, row}
        by_name = "INSERT INTO notes VALUES (:i, $f, @b, :n) RETURNING i, f, b, n"
        binds = %{":i" => i, "$f" => f, "@b" => b, ":n" => n}
        assert Connection.fetch_one(conn, by_name, binds) == {:ok, row}
        :ok
      end)
    end
  end

  test "a binary can be bound as text or as a blob", %{stack_id: stack_id} do
    read(stack_id, fn conn ->
      sql = "SELECT typeof(?1), ?1"
      assert Connection.fetch_one(conn, sql, ["a"]) == {:ok, ["text", "a"]}
      assert Connection.fetch_one(conn, sql, [{:blob, <<0, 255>>}]) == {:ok, ["blob", <<0, 255>>]}
      assert Connection.fetch_one(conn, sql, [{:blob, ""}]) == {:ok, ["blob", ""]}
    end)
  end

  test "SQL errors come back as errors", %{stack_id: stack_id} do
    read(stack_id, fn conn ->
      assert {:error, _} = Connection.execute(conn, "NOT SQL")
      assert {:error, _} = Connection.execute_all(conn, ["SELECT 1", "NOT SQL"])
      assert {:error, reason} = Connection.fetch_one(conn, "SELECT * FROM nowhere", [])
      assert inspect(reason) =~ "nowhere"
      assert {:error, _} = Connection.fetch_all(conn, "SELECT * FROM nowhere", [])
      assert {:error, _} = Connection.fetch_one(conn, "SELECT ?, ?", [1])
      assert {:error, _} = Connection.fetch_all(conn, "SELECT ?", [1, 2])
      assert {:error, _} = Connection.fetch_all(conn, "SELECT :a", %{":b" => 1})
    end)
  end

  test "a read connection does not write", %{stack_id: stack_id} do
    read(stack_id, fn conn ->
      assert {:error, _} = Connection.execute(conn, "INSERT INTO notes (i) VALUES (1)")
    end)
  end

  test "the file is the one of db_path", %{stack_id: stack_id, storage_dir: storage_dir} do
    path = Fixtures.path(storage_dir, 5)
    assert Connection.db_path(storage_dir: storage_dir) == {:ok, path}
    assert Connection.db_path!(storage_dir: storage_dir) == path
    assert rows(stack_id, "SELECT file FROM pragma_database_list") == [[path]]
  end

  test "a path needs a directory", %{storage_dir: storage_dir} do
    assert {:error, reason} = Connection.db_path([])
    assert inspect(reason) =~ "storage_dir"
    error = catch_error(Connection.db_path!([]))
    assert Exception.message(error) =~ "storage_dir"

    in_memory = [storage_dir: ":memory:", exclusive_mode: true]
    assert Connection.db_path(in_memory) == {:ok, ":memory:"}
    assert {:error, _} = Connection.db_path(storage_dir: ":memory:")
    assert {:ok, _} = Connection.db_path(storage_dir: storage_dir, exclusive_mode: nil)
  end

  test "defaults can be asked for" do
    assert Connection.default!(:synchronous) == "OFF"
    assert Connection.default!(:cache_size) == 4 * 1024 * 1024
    assert Connection.defaults()[:synchronous] == "OFF"
    assert Connection.defaults()[:cache_size] == 4 * 1024 * 1024
    assert catch_error(Connection.default!(:unheard_of))
  end

  defp read(stack_id, fun) do
    Connection.checkout!(stack_id, :test, fn %{conn: conn} -> fun.(conn) end)
  end

  defp write(stack_id, fun) do
    Connection.checkout_write!(stack_id, :test, fn %{conn: conn} ->
      fun.(conn)
      :ok
    end)
  end
end
