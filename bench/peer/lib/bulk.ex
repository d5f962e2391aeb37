defmodule Bench.Peer.Bulk do
  @moduledoc """
  Writes a whole database of the peer at once: rows first, in large transactions,
  indexes last. What comes out reads a little better than a file that grew, which
  favours the peer.
  """

  alias Bench.Peer.{Connection, Query, Supervisor, WriteBuffer}
  alias Electric.Shapes.Shape

  @batch 50_000

  @doc "Makes the database in a storage directory; every snapshot is complete."
  @spec write!(Path.t(), Enumerable.t({binary(), struct()})) :: :ok
  def write!(storage_dir, shapes) do
    path = Supervisor.db_path(storage_dir)
    File.mkdir_p!(Path.dirname(path))
    connection = Connection.open_writer!(path, :whole)
    Connection.execute!(connection, Query.drop_indexes_sql())

    shapes
    |> Stream.chunk_every(@batch)
    |> Enum.each(&insert(connection, &1))

    Connection.execute!(connection, Query.create_indexes_sql())
    Connection.close(connection)
  end

  defp insert(connection, shapes) do
    Query.rows!(connection, :begin)

    for {handle, shape} <- shapes do
      {comparable, hash} = Shape.comparable_hash(shape)
      binds = [handle, WriteBuffer.encode(shape), WriteBuffer.digest(comparable), hash, 1]
      Query.rows!(connection, :insert_shape, binds)

      for {oid, _relation} <- Shape.list_relations(shape) do
        Query.rows!(connection, :insert_relation, [handle, oid])
      end
    end

    Query.rows!(connection, :change_count, [length(shapes)])
    Query.rows!(connection, :commit)
  end
end
