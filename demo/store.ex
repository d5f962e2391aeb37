defmodule ElectricShapeDb.Demo.Store do
  @moduledoc "The one store of this VM: started and stopped within a time, with its defaults."

  import ElectricShapeDb.Demo.Failure, only: [fail!: 1]

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Connection

  @stack_id "demo"
  @start_timeout 120_000
  @stop_timeout 60_000

  @spec stack_id() :: String.t()
  def stack_id, do: @stack_id

  @doc "Starts it; gives the process that holds it, and how long that took in µs."
  @spec start!(Path.t()) :: {pid(), non_neg_integer()}
  def start!(storage_dir) do
    caller = self()
    started = System.monotonic_time()
    {holder, monitor} = spawn_monitor(fn -> hold(caller, storage_dir) end)

    receive do
      {^holder, {:ok, _supervisor}} ->
        Process.demonitor(monitor, [:flush])
        {holder, since(started)}

      {^holder, {:error, reason}} ->
        fail!("the store did not start: #{words(reason)}")

      {:DOWN, ^monitor, _, _, reason} ->
        fail!("the store did not start: #{words(reason)}")
    after
      @start_timeout -> fail!("the store did not start within #{@start_timeout} ms")
    end
  end

  # The supervisor ends with the process that started it.
  defp hold(caller, storage_dir) do
    Process.flag(:trap_exit, true)
    opts = [stack_id: @stack_id, shape_db_opts: [storage_dir: storage_dir]]
    started = ShapeDb.Supervisor.start_link(opts)
    send(caller, {self(), started})

    with {:ok, supervisor} <- started do
      receive do
        {:EXIT, ^supervisor, reason} -> exit(reason)
        :stop -> Supervisor.stop(supervisor)
      end
    end
  end

  @spec stop!(pid()) :: :ok
  def stop!(holder) do
    monitor = Process.monitor(holder)
    send(holder, :stop)

    receive do
      {:DOWN, ^monitor, _, _, _reason} -> :ok
    after
      @stop_timeout -> fail!("the store did not stop within #{@stop_timeout} ms")
    end
  end

  @doc """
  The size of the database in bytes: of the file once the write-ahead log is
  folded into it.
  """
  @spec bytes!() :: pos_integer()
  def bytes! do
    sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"

    read = fn %{conn: conn} -> Connection.fetch_one(conn, sql, []) end

    case Connection.checkout!(@stack_id, :demo, read) do
      {:ok, [bytes]} -> bytes
      other -> fail!("the size of the database cannot be read: #{inspect(other)}")
    end
  end

  defp since(started) do
    System.convert_time_unit(System.monotonic_time() - started, :native, :microsecond)
  end

  defp words(reason) when is_binary(reason), do: reason
  defp words({:shutdown, {:failed_to_start_child, _child, reason}}), do: words(reason)
  defp words(reason), do: inspect(reason)
end
