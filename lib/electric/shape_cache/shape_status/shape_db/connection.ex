defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Connection do
  @moduledoc """
  SQLite connections to the database of a stack, for whoever wants to look at it
  or to change it by hand.

  A checkout waits in line without holding a scheduler, and what was checked out
  comes back when its function ends, however that is, and when its process dies.
  No function of `ShapeDb` needs one: while the write connection is checked out
  changes and lookups go on, and what is queued is committed afterwards. Changes
  made here to the store's own tables are not seen by its index.

  Who has the write connection checked out cannot do what waits for it: another
  checkout of it, a change with `durability: :sync`, `WriteBuffer.flush_sync/2`,
  `ShapeDb.reset/1`, `ShapeDb.validate_existing_shapes/1`. These give or raise an error
  that says so. In exclusive mode there is one connection for everything.
  """

  import Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Arguments, only: [is_timeout: 1]

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Arguments
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Checkout
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Files
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Options

  @enforce_keys [:conn, :mode]
  defstruct [:conn, :mode]

  @typedoc "A connection on loan to the process that checked it out."
  @opaque conn :: {Native.store(), non_neg_integer()}
  @type t :: %__MODULE__{conn: conn(), mode: :read | :write}
  @type bind :: integer() | float() | binary() | nil | {:blob, binary()}
  @type binds :: [bind()] | %{String.t() => bind()}
  @type row :: [integer() | float() | binary() | nil]

  @checkout_timeout 10_000
  @no_limit 0xFFFFFFFF

  defguardp is_conn(store, slot) when is_reference(store) and is_integer(slot) and slot >= 0

  @doc """
  Runs `fun` with a read connection of its own, and gives what it returned.

  Waits at most `timeout` milliseconds for one, then exits with
  `{:timeout, {#{inspect(__MODULE__)}, :checkout!, …}}`. `label` goes into the
  telemetry of the checkout.

      iex> Connection.checkout!("my-stack", :how_many, fn %{conn: conn} ->
      ...>   Connection.fetch_one(conn, "SELECT count(*) FROM shapes", [])
      ...> end)
      {:ok, [0]}
  """
  @spec checkout!(String.t(), term(), (t() -> result), timeout()) :: result when result: term()
  def checkout!(stack_id, label, fun, timeout \\ @checkout_timeout)

  def checkout!(stack_id, label, fun, timeout)
      when is_binary(stack_id) and is_function(fun, 1) and is_timeout(timeout) do
    Checkout.run(:read, stack_id, label, &fun.(lent(&1, :read)), timeout)
  end

  def checkout!(stack_id, _label, fun, timeout),
    do: Arguments.refuse!(stack_id: stack_id, fun: fun, timeout: timeout)

  @doc """
  Runs `fun` with the write connection, in a transaction.

  It is committed when `fun` returns `:ok` or `{:ok, _}`, and rolled back when it
  returns anything else, raises, throws or exits. Otherwise as `checkout!/4`.

      iex> Connection.checkout_write!("my-stack", :a_table, fn %{conn: conn} ->
      ...>   Connection.execute(conn, "CREATE TABLE mine (id INTEGER)")
      ...> end)
      :ok
  """
  @spec checkout_write!(String.t(), term(), (t() -> result), timeout()) :: result
        when result: term()
  def checkout_write!(stack_id, label, fun, timeout \\ @checkout_timeout)

  def checkout_write!(stack_id, label, fun, timeout)
      when is_binary(stack_id) and is_function(fun, 1) and is_timeout(timeout) do
    Checkout.run(:write, stack_id, label, &transaction(lent(&1, :write), fun), timeout)
  end

  def checkout_write!(stack_id, _label, fun, timeout),
    do: Arguments.refuse!(stack_id: stack_id, fun: fun, timeout: timeout)

  @doc """
  Runs SQL that gives no rows; several statements, if there are.

      iex> Connection.checkout_write!("my-stack", :a_table, fn %{conn: conn} ->
      ...>   Connection.execute(conn, "CREATE TABLE mine (id INTEGER); INSERT INTO mine VALUES (7)")
      ...> end)
      :ok
      iex> Connection.checkout!("my-stack", :a_mistake, fn %{conn: conn} ->
      ...>   {:error, reason} = Connection.execute(conn, "SELEKT 1")
      ...>   reason =~ "syntax error"
      ...> end)
      true
  """
  @spec execute(conn(), String.t()) :: :ok | {:error, String.t()}
  def execute({store, slot}, sql) when is_conn(store, slot) and is_binary(sql) do
    Native.execute(store, slot, sql)
  rescue
    # The conn has a reference to something else.
    ArgumentError -> Arguments.refuse!(conn: {store, slot})
  end

  def execute(conn, sql), do: Arguments.refuse!(conn: conn, sql: sql)

  @doc """
  Runs each SQL in turn, up to the first error.

      iex> Connection.checkout_write!("my-stack", :a_table, fn %{conn: conn} ->
      ...>   Connection.execute_all(conn, ["CREATE TABLE mine (id INTEGER)", "DROP TABLE mine"])
      ...> end)
      :ok
  """
  @spec execute_all(conn(), [String.t()]) :: :ok | {:error, String.t()}
  def execute_all(conn, sqls) do
    # All of them are checked before the first is run.
    Arguments.check!(conn: conn, sqls: sqls)

    Enum.reduce_while(sqls, :ok, fn sql, :ok ->
      case execute(conn, sql) do
        :ok -> {:cont, :ok}
        error -> {:halt, error}
      end
    end)
  end

  @doc """
  The first row that a statement gives, `:error` when there is none.

      iex> Connection.checkout!("my-stack", :binds, fn %{conn: conn} ->
      ...>   Connection.fetch_one(conn, "SELECT ?1 + 1, :name", %{"?1" => 1, ":name" => "Ada"})
      ...> end)
      {:ok, [2, "Ada"]}
  """
  @spec fetch_one(conn(), String.t(), binds()) :: {:ok, row()} | :error | {:error, String.t()}
  def fetch_one(conn, sql, binds) do
    case fetch(conn, sql, binds, 1) do
      {:ok, [row]} -> {:ok, row}
      {:ok, []} -> :error
      error -> error
    end
  end

  @doc """
  All rows that a statement gives, as lists or as `mapper` makes them.

      iex> Connection.checkout!("my-stack", :two_rows, fn %{conn: conn} ->
      ...>   Connection.fetch_all(conn, "VALUES (1), (2)", [], fn [number] -> 10 * number end)
      ...> end)
      {:ok, [10, 20]}
  """
  @spec fetch_all(conn(), String.t(), binds(), (row() -> mapped)) ::
          {:ok, [mapped]} | {:error, String.t()}
        when mapped: term()
  def fetch_all(conn, sql, binds, mapper \\ &Function.identity/1)

  def fetch_all(conn, sql, binds, mapper) when is_function(mapper, 1) do
    with {:ok, rows} <- fetch(conn, sql, binds, @no_limit), do: {:ok, Enum.map(rows, mapper)}
  end

  def fetch_all(conn, sql, binds, mapper),
    do: Arguments.refuse!(conn: conn, sql: sql, binds: binds, mapper: mapper)

  @doc """
  The path of the database file these options lead to; `":memory:"` for a store in
  memory.

      iex> {:ok, path} = Connection.db_path(storage_dir: "/var/lib/electric")
      iex> Path.dirname(path)
      "/var/lib/electric/meta/shape-db"
      iex> Connection.db_path(storage_dir: ":memory:", exclusive_mode: true)
      {:ok, ":memory:"}
  """
  @spec db_path(keyword()) :: {:ok, Path.t()} | {:error, String.t()}
  def db_path(opts) do
    with {:ok, options} <- Options.new(opts), do: Files.database(options)
  end

  @doc """
  As `db_path/1`, raising the error.

      iex> Path.extname(Connection.db_path!(storage_dir: "/var/lib/electric"))
      ".sqlite"
  """
  @spec db_path!(keyword()) :: Path.t()
  def db_path!(opts) do
    case db_path(opts) do
      {:ok, path} -> path
      {:error, reason} -> raise ArgumentError, reason
    end
  end

  @doc """
  The default of `:synchronous` or of `:cache_size`.

      iex> {Connection.default!(:synchronous), Connection.default!(:cache_size)}
      {"OFF", 4_194_304}
  """
  @spec default!(:synchronous | :cache_size) :: String.t() | non_neg_integer()
  def default!(option) when option in [:synchronous, :cache_size],
    do: Keyword.fetch!(defaults(), option)

  def default!(option), do: Arguments.refuse!(option: option)

  @doc """
  The defaults of the options that are SQLite's own.

      iex> Connection.defaults()[:synchronous]
      "OFF"
  """
  @spec defaults() :: keyword()
  def defaults, do: Options.sqlite_defaults()

  @doc """
  Prints the query plan of every statement of the store.

      iex> ExUnit.CaptureIO.capture_io(fn -> :ok = Connection.explain("my-stack") end) =~ "SEARCH"
      true
  """
  @spec explain(String.t()) :: :ok
  def explain(stack_id) when is_binary(stack_id) do
    plans =
      checkout!(stack_id, :explain, fn %{conn: conn} ->
        for {name, sql} <- Native.statements(), do: {name, sql, plan(conn, sql)}
      end)

    for {name, sql, plan} <- plans do
      IO.puts([
        IO.ANSI.format([:bright, name, :reset, "\n  ", :faint, sql, :reset, "\n"]),
        for(step <- plan, do: IO.ANSI.format(["  ", colour(step), step, :reset, "\n"]))
      ])
    end

    :ok
  end

  def explain(stack_id), do: Arguments.refuse!(stack_id: stack_id)

  defp plan(conn, sql) do
    # A plan does not depend on the values.
    binds = List.duplicate(nil, length(Regex.scan(~r/\?\d/, sql)))

    case fetch_all(conn, "EXPLAIN QUERY PLAN " <> sql, binds, &List.last/1) do
      {:ok, []} -> ["INSERT of one row"]
      {:ok, steps} -> steps
      {:error, reason} -> ["no plan: " <> reason]
    end
  end

  # A scan reads a whole table, a search does not.
  defp colour("SCAN" <> _), do: :yellow
  defp colour(_), do: :green

  defp fetch({store, slot}, sql, binds, limit) when is_conn(store, slot) and is_binary(sql) do
    Native.query(store, slot, sql, binds, limit)
  rescue
    ArgumentError -> Arguments.refuse!(conn: {store, slot}, binds: binds)
  end

  defp fetch(conn, sql, binds, _limit),
    do: Arguments.refuse!(conn: conn, sql: sql, binds: binds)

  defp lent(conn, mode), do: %__MODULE__{conn: conn, mode: mode}

  defp transaction(%__MODULE__{conn: conn} = connection, fun) do
    ok!(execute(conn, "BEGIN IMMEDIATE"))

    try do
      fun.(connection)
    catch
      kind, reason ->
        # Failing to roll back must not hide why it was tried.
        _ = execute(conn, "ROLLBACK")
        :erlang.raise(kind, reason, __STACKTRACE__)
    else
      result ->
        if result == :ok or match?({:ok, _}, result),
          do: commit!(conn),
          else: ok!(execute(conn, "ROLLBACK"))

        result
    end
  end

  defp commit!(conn) do
    with {:error, reason} <- execute(conn, "COMMIT") do
      _ = execute(conn, "ROLLBACK")
      ok!({:error, reason})
    end
  end

  defp ok!(:ok), do: :ok

  defp ok!({:error, reason}) do
    raise Electric.ShapeCache.ShapeStatus.ShapeDb.Error, action: :checkout_write, error: reason
  end
end
