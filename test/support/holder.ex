defmodule ElectricShapeDb.Holder do
  @moduledoc "A process that holds a connection until it is told to let go."

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Connection

  @doc "Checks a connection out, does `work` with it, and keeps it."
  @spec hold!(String.t(), :read | :write, (term() -> term())) :: pid()
  def hold!(stack_id, kind, work \\ fn _conn -> :ok end) do
    test = self()

    {holder, monitor} =
      spawn_monitor(fn ->
        checkout!(kind, stack_id, fn %{conn: conn} ->
          work.(conn)
          send(test, {self(), :holds, conn})
          receive do: (:release -> :ok)
        end)
      end)

    receive do
      {^holder, :holds, _conn} ->
        Process.demonitor(monitor, [:flush])
        holder

      {:DOWN, ^monitor, :process, ^holder, reason} ->
        raise "no connection to hold: #{Exception.format_exit(reason)}"
    end
  end

  @doc "Lets go and waits until the connection is back."
  @spec release!(pid()) :: :ok
  def release!(holder) do
    monitor = Process.monitor(holder)
    send(holder, :release)
    receive do: ({:DOWN, ^monitor, :process, ^holder, :normal} -> :ok)
  end

  @spec kill!(pid()) :: :ok
  def kill!(holder) do
    monitor = Process.monitor(holder)
    Process.exit(holder, :kill)
    receive do: ({:DOWN, ^monitor, :process, ^holder, _reason} -> :ok)
  end

  defp checkout!(:read, stack_id, fun), do: Connection.checkout!(stack_id, :holder, fun)
  defp checkout!(:write, stack_id, fun), do: Connection.checkout_write!(stack_id, :holder, fun)
end
