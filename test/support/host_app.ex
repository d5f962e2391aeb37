defmodule ElectricShapeDb.HostApp do
  @moduledoc "A host as far as an ending is concerned: an application that supervises a stack."

  use Application

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Connection
  alias ElectricShapeDb.Samples
  alias ElectricShapeDb.StoreCase

  @impl true
  def start(_type, args),
    do: Supervisor.start_link([{ShapeDb.Supervisor, args}], strategy: :one_for_one)

  @doc "Loads and starts it with a stack; run it in the VM that is to end."
  @spec run(String.t(), keyword()) :: :ok
  def run(stack_id, opts) do
    args = [stack_id: stack_id, shape_db_opts: opts]
    keys = [mod: {__MODULE__, args}, applications: [:kernel, :stdlib, :electric_shape_db]]
    :ok = :application.load({:application, :shape_db_host, keys})
    :ok = Application.start(:shape_db_host)
  end

  @doc "Adds samples."
  @spec add(String.t(), Range.t()) :: :ok
  def add(stack_id, numbers) do
    StoreCase.add_samples!(stack_id, numbers)
    :ok
  end

  @doc "Adds a shape with an operator and a closure in it, as the service's parser makes them."
  @spec add_functions(String.t(), integer()) :: :ok
  def add_functions(stack_id, taken) do
    shape = Samples.shape(1, storage: {&:erlang.==/2, &(&1 + taken)})
    StoreCase.add!(stack_id, shape, Samples.handle(1))
    :ok = ShapeDb.WriteBuffer.flush_sync(stack_id)
  end

  @doc "Calls both."
  @spec call_functions(String.t()) :: {boolean(), integer()}
  def call_functions(stack_id) do
    {:ok, %{storage: {same?, plus}}} = ShapeDb.shape_for_handle(stack_id, Samples.handle(1))
    {same?.(1, 1), plus.(1)}
  end

  @doc "Adds samples that nothing commits until the store closes."
  @spec queue(String.t(), Range.t()) :: :ok
  def queue(stack_id, numbers) do
    :ok = ShapeDb.WriteBuffer.pause_flush(stack_id)
    add(stack_id, numbers)
  end

  @doc "Begins a transaction and changes something in it."
  @spec begin(String.t()) :: :ok
  def begin(stack_id) do
    caller = self()
    pid = spawn(fn -> exit({:ended, transaction(stack_id, caller)}) end)
    Process.register(pid, __MODULE__.Transaction)
    receive do: ({^pid, :begun} -> :ok)
  end

  defp transaction(stack_id, caller) do
    Connection.checkout_write!(stack_id, :test, fn %{conn: conn} ->
      :ok = Connection.execute(conn, "INSERT INTO meta VALUES ('nobody asks for', 1)")
      send(caller, {self(), :begun})
      receive do: (:commit -> :ok)
    end)
  end

  @doc "Commits it, and gives what that gave."
  @spec commit() :: term()
  def commit do
    pid = Process.whereis(__MODULE__.Transaction)
    monitor = Process.monitor(pid)
    send(pid, :commit)
    receive do: ({:DOWN, ^monitor, :process, ^pid, reason} -> reason)
  end
end
