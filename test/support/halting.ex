defmodule ElectricShapeDb.Halting do
  @moduledoc "What a stack may be doing when its VM halts; run in that VM, after some adds."

  import ElectricShapeDb.Samples
  import ElectricShapeDb.StoreCase, only: [add_samples!: 2, flush!: 1]

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Connection
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.WriteBuffer

  @doc "Everything is committed."
  def idle(stack_id, numbers) do
    add_samples!(stack_id, numbers)
    flush!(stack_id)
  end

  @doc "Nothing is committed."
  def queued(stack_id, numbers) do
    :ok = WriteBuffer.pause_flush(stack_id)
    add_samples!(stack_id, numbers)
    :ok
  end

  @doc "Processes add without end."
  def adding(stack_id, numbers) do
    add_samples!(stack_id, numbers)

    for _ <- 1..8 do
      start(fn ready ->
        ready.()
        for name <- Stream.repeatedly(&name/0), do: ShapeDb.add_shape(stack_id, shape(name), name)
      end)
    end

    :ok
  end

  # Another one in each VM.
  defp name, do: "#{System.os_time()}-#{System.unique_integer([:positive])}"

  @doc "A read connection is lent."
  def reading(stack_id, numbers) do
    idle(stack_id, numbers)
    hold(&Connection.checkout!(stack_id, :test, &1), fn _conn -> :ok end)
  end

  @doc "A query runs that never ends."
  def running_a_query(stack_id, numbers) do
    idle(stack_id, numbers)

    endless =
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"

    start(fn ready ->
      Connection.checkout!(stack_id, :test, fn %{conn: conn} ->
        ready.()
        Connection.fetch_all(conn, endless, [])
      end)
    end)
  end

  @doc "The connection that writes is lent, and something was written with it."
  def in_a_transaction(stack_id, numbers) do
    idle(stack_id, numbers)
    insert = "INSERT INTO meta VALUES ('half', 1)"

    hold(
      &Connection.checkout_write!(stack_id, :test, &1),
      &(:ok = Connection.execute(&1, insert))
    )
  end

  # A process that keeps its connection for ever.
  defp hold(checkout, work) do
    start(fn ready ->
      checkout.(fn %{conn: conn} ->
        work.(conn)
        ready.()
        receive do: (:never -> :ok)
      end)
    end)
  end

  # Returns once the function has said that it is there.
  defp start(fun) do
    {caller, ref} = {self(), make_ref()}
    spawn(fn -> fun.(fn -> send(caller, ref) end) end)
    receive do: (^ref -> :ok)
  end
end
