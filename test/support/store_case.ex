defmodule ElectricShapeDb.StoreCase do
  @moduledoc """
  The case of every test with a store. Each test has a `stack_id` and a
  `storage_dir` of its own; `@tag store: [...]` gives the options of its store.
  A store that ends stays down, so that no restart hides a crash.
  """

  use ExUnit.CaseTemplate

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Connection
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.WriteBuffer

  using do
    quote do
      import ElectricShapeDb.Samples
      import ElectricShapeDb.StoreCase

      alias Electric.ShapeCache.ShapeStatus.ShapeDb
      alias Electric.ShapeCache.ShapeStatus.ShapeDb.Connection
      alias Electric.ShapeCache.ShapeStatus.ShapeDb.WriteBuffer
    end
  end

  setup do
    {:ok, stack_id: unique("stack"), storage_dir: tmp_dir!()}
  end

  @spec unique(String.t()) :: String.t()
  def unique(name), do: "#{name}-#{System.unique_integer([:positive])}"

  @doc "A directory that goes when the test ends."
  @spec tmp_dir!() :: Path.t()
  def tmp_dir! do
    dir = Path.join(System.tmp_dir!(), unique("electric-shape-db-#{System.pid()}"))
    File.mkdir_p!(dir)
    on_exit(fn -> File.rm_rf(dir) end)
    dir
  end

  @doc "The options of the test's store: directory, then tag, then `opts`."
  @spec store_opts(map(), keyword()) :: keyword()
  def store_opts(context, opts \\ []) do
    [storage_dir: context.storage_dir]
    |> Keyword.merge(Map.get(context, :store, []))
    |> Keyword.merge(opts)
  end

  @doc "Starts the test's store; usable as `setup :start_store!`."
  @spec start_store!(map(), keyword()) :: :ok
  def start_store!(context, opts \\ []) do
    start_supervised!(store_spec(context, opts))
    :ok
  end

  @doc "The native store of a stack that runs."
  @spec store!(String.t()) :: reference()
  def store!(stack_id) do
    {:ok, store} = Stores.fetch(stack_id)
    store
  end

  @spec stop_store!(map()) :: :ok
  def stop_store!(context), do: stop_supervised!(store_id(context))

  @spec restart_store!(map(), keyword()) :: :ok
  def restart_store!(context, opts \\ []) do
    stop_store!(context)
    start_store!(context, opts)
  end

  @doc "Starts a store that must not start; gives its error as text."
  @spec start_error(map(), keyword()) :: String.t()
  def start_error(context, opts \\ []) do
    result =
      try do
        start_supervised(store_spec(context, opts))
      rescue
        error -> {:error, error}
      end

    case result do
      {:error, reason} -> inspect(reason, limit: :infinity, printable_limit: :infinity)
      {:ok, _pid} -> flunk("the store started")
    end
  end

  defp store_spec(context, opts) do
    {ShapeDb.Supervisor, [stack_id: context.stack_id, shape_db_opts: store_opts(context, opts)]}
    |> Supervisor.child_spec(id: store_id(context), restart: :temporary)
  end

  defp store_id(context), do: {:store, context.stack_id}

  @doc "Adds a shape that must not be there yet."
  @spec add!(String.t(), Electric.Shapes.Shape.t(), String.t()) :: String.t()
  def add!(stack_id, shape, handle) do
    {:ok, _hash} = ShapeDb.add_shape(stack_id, shape, handle)
    handle
  end

  @doc "Adds `shape(n)` under `handle(n)` for each number."
  @spec add_samples!(String.t(), Enumerable.t()) :: [String.t()]
  def add_samples!(stack_id, numbers) do
    for n <- numbers do
      add!(stack_id, ElectricShapeDb.Samples.shape(n), ElectricShapeDb.Samples.handle(n))
    end
  end

  @spec flush!(String.t()) :: :ok
  def flush!(stack_id), do: :ok = WriteBuffer.flush_sync(stack_id)

  @doc "The rows that a read connection sees in the file."
  @spec rows(String.t(), String.t(), list()) :: [list()]
  def rows(stack_id, sql, binds \\ []) do
    {:ok, rows} =
      Connection.checkout!(stack_id, :test, fn %{conn: conn} ->
        Connection.fetch_all(conn, sql, binds)
      end)

    rows
  end

  @doc "The handles in the file, sorted."
  @spec stored_handles(String.t()) :: [String.t()]
  def stored_handles(stack_id) do
    stack_id |> rows("SELECT handle FROM shapes ORDER BY handle") |> List.flatten()
  end

  @doc "Changes the file behind the store's back, in a transaction."
  @spec tamper!(String.t(), [String.t()]) :: :ok
  def tamper!(stack_id, sqls) do
    :ok =
      Connection.checkout_write!(stack_id, :test, fn %{conn: conn} ->
        Connection.execute_all(conn, sqls)
      end)
  end

  @doc "Waits for what sends no message: another VM, an idle timer."
  @spec eventually((... -> as_boolean(term())), pos_integer()) :: true
  def eventually(fun, timeout \\ 5_000) do
    eventually_until(fun, System.monotonic_time(:millisecond) + timeout)
  end

  defp eventually_until(fun, deadline) do
    cond do
      fun.() ->
        true

      System.monotonic_time(:millisecond) > deadline ->
        flunk("it did not happen in time")

      true ->
        receive after: (5 -> eventually_until(fun, deadline))
    end
  end
end
