defmodule Bench.Peer.Connection do
  @moduledoc """
  A SQLite connection with its settings made and its statements prepared.

  `fetch` says how rows are taken: `:whole` in one call for all, which is the peer
  at its best, or `:row` in one call for each, as the binding of the replaced
  service does.
  """

  alias Bench.Peer.{Native, Query}

  @enforce_keys [:native, :fetch]
  defstruct @enforce_keys

  @type t :: %__MODULE__{native: Native.connection(), fetch: :whole | :row}

  @settings """
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = OFF;
  PRAGMA cache_size = -4096;
  PRAGMA busy_timeout = 10000;
  """

  @doc "Opens the file, creates the schema where there is none, and checks what is there."
  @spec open_writer!(Path.t(), :whole | :row) :: t()
  def open_writer!(path, fetch) do
    connection = open!(path, fetch)
    if schema_version(connection) == 0, do: execute!(connection, Query.schema_sql())
    prepare!(connection, Query.statements())
    [["ok"]] = Query.rows!(connection, :quick_check)
    connection
  end

  @spec open_reader!(Path.t(), :whole | :row) :: t()
  def open_reader!(path, fetch) do
    connection = open!(path, fetch)
    prepare!(connection, Query.statements())
    connection
  end

  defp open!(path, fetch) do
    {:ok, native} = Native.open(path)
    connection = %__MODULE__{native: native, fetch: fetch}
    execute!(connection, @settings)
    connection
  end

  defp prepare!(connection, statements) do
    {:ok, :ok} = Native.prepare(connection.native, statements)
  end

  @spec close(t()) :: :ok
  def close(connection), do: Native.close(connection.native)

  @spec execute!(t(), String.t()) :: :ok
  def execute!(connection, sql) do
    {:ok, :ok} = Native.execute(connection.native, sql)
    :ok
  end

  @spec fetch(t(), Native.statement(), [Native.bind()]) ::
          {:ok, [Native.row()]} | {:error, String.t()}
  def fetch(%{fetch: :whole} = connection, statement, binds) do
    Native.fetch_all(connection.native, statement, binds)
  end

  def fetch(%{fetch: :row, native: native}, statement, binds) do
    with {:ok, :ok} <- Native.bind(native, statement, binds) do
      step(native, statement, [])
    end
  end

  defp step(native, statement, rows) do
    case Native.step(native, statement) do
      {:ok, :done} -> {:ok, Enum.reverse(rows)}
      {:ok, row} -> step(native, statement, [row | rows])
      {:error, _} = error -> error
    end
  end

  defp schema_version(connection) do
    {:ok, [[version]]} = Native.query(connection.native, "PRAGMA user_version")
    version
  end
end
