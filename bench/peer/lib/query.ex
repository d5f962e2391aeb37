defmodule Bench.Peer.Query do
  @moduledoc """
  Schema 4 with its indexes, and the statements that every connection has prepared.
  """

  alias Bench.Peer.Connection

  @schema """
  CREATE TABLE shapes (
    handle BLOB NOT NULL, shape BLOB NOT NULL, comparable BLOB NOT NULL,
    hash INTEGER NOT NULL, snapshot_complete INTEGER NOT NULL DEFAULT 0
  );
  CREATE TABLE relations (handle BLOB NOT NULL, oid INTEGER NOT NULL);
  CREATE TABLE shape_count (id INTEGER PRIMARY KEY, count INTEGER NOT NULL);
  INSERT INTO shape_count (id, count) VALUES (1, 0);
  """

  @indexes """
  CREATE UNIQUE INDEX shapes_handle ON shapes (handle);
  CREATE UNIQUE INDEX shapes_comparable ON shapes (comparable);
  CREATE INDEX shapes_comparable_handle ON shapes (comparable, handle);
  CREATE INDEX shapes_all ON shapes (handle, shape, hash, snapshot_complete);
  CREATE INDEX shapes_complete_handle ON shapes (snapshot_complete, handle);
  CREATE UNIQUE INDEX relations_handle_oid ON relations (handle, oid);
  CREATE INDEX relations_oid_handle ON relations (oid, handle);
  CREATE INDEX relations_handle ON relations (handle);
  """

  @statements [
    begin: "BEGIN IMMEDIATE",
    commit: "COMMIT",
    rollback: "ROLLBACK",
    insert_shape:
      "INSERT INTO shapes (handle, shape, comparable, hash, snapshot_complete) VALUES (?1, ?2, ?3, ?4, ?5)",
    insert_relation: "INSERT INTO relations (handle, oid) VALUES (?1, ?2)",
    delete_shape: "DELETE FROM shapes WHERE handle = ?1 RETURNING 1",
    delete_relations: "DELETE FROM relations WHERE handle = ?1",
    complete_snapshot: "UPDATE shapes SET snapshot_complete = 1 WHERE handle = ?1",
    change_count: "UPDATE shape_count SET count = count + ?1 WHERE id = 1",
    handle_for_comparable: "SELECT handle FROM shapes WHERE comparable = ?1",
    shape_for_handle: "SELECT shape FROM shapes WHERE handle = ?1",
    handle_exists: "SELECT 1 FROM shapes WHERE handle = ?1",
    snapshot_complete: "SELECT snapshot_complete FROM shapes WHERE handle = ?1",
    handles_for_oid: "SELECT handle FROM relations WHERE oid = ?1 ORDER BY handle",
    incomplete_handles: "SELECT handle FROM shapes WHERE snapshot_complete = 0",
    all_shapes: "SELECT handle, shape FROM shapes ORDER BY handle",
    all_meta: "SELECT handle, hash, snapshot_complete FROM shapes",
    count: "SELECT count FROM shape_count WHERE id = 1",
    quick_check: "PRAGMA quick_check(1)"
  ]

  @spec schema_sql() :: String.t()
  def schema_sql, do: @schema <> @indexes <> "PRAGMA user_version = 4;"

  @doc "Drops the indexes: rows written by the million go faster without, see `Bench.Peer.Bulk`."
  @spec drop_indexes_sql() :: String.t()
  def drop_indexes_sql do
    for [name] <- Regex.scan(~r/(?<=INDEX )\w+/, @indexes), into: "", do: "DROP INDEX #{name};"
  end

  @spec create_indexes_sql() :: String.t()
  def create_indexes_sql, do: @indexes

  @spec statements() :: [String.t()]
  def statements, do: Keyword.values(@statements)

  @doc "The rows that a statement answers; an SQL error raises."
  @spec rows!(Connection.t(), atom(), [Bench.Peer.Native.bind()]) :: [Bench.Peer.Native.row()]
  def rows!(connection, name, binds \\ []) do
    {:ok, rows} = rows(connection, name, binds)
    rows
  end

  @spec rows(Connection.t(), atom(), [Bench.Peer.Native.bind()]) ::
          {:ok, [Bench.Peer.Native.row()]} | {:error, String.t()}
  def rows(connection, name, binds), do: Connection.fetch(connection, position(name), binds)

  for {{name, _sql}, position} <- Enum.with_index(@statements) do
    defp position(unquote(name)), do: unquote(position)
  end
end
