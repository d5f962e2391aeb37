defmodule Bench.Peer.WriteBuffer do
  @moduledoc """
  Commits the buffered operations: every 100 ms all there are, at most 100 in a
  transaction, on the one write connection.
  """

  use GenServer

  alias Bench.Peer.{Buffer, Pool, Query, Stack}

  require Logger

  @interval 100
  @batch 100

  @spec start_link(keyword()) :: GenServer.on_start()
  def start_link(opts) do
    GenServer.start_link(__MODULE__, opts, name: Stack.get(opts[:stack_id]).write_buffer)
  end

  @spec child_spec(keyword()) :: Supervisor.child_spec()
  def child_spec(opts) do
    %{id: __MODULE__, start: {__MODULE__, :start_link, [opts]}, shutdown: :infinity}
  end

  @doc "Returns when everything accepted before is committed."
  @spec flush_sync(String.t(), timeout()) :: :ok
  def flush_sync(stack_id, timeout \\ 5_000), do: call(stack_id, :flush, timeout)

  @spec pause_flush(String.t()) :: :ok
  def pause_flush(stack_id), do: call(stack_id, {:paused, true}, 5_000)

  @spec resume_flush(String.t()) :: :ok
  def resume_flush(stack_id), do: call(stack_id, {:paused, false}, 5_000)

  defp call(stack_id, request, timeout) do
    GenServer.call(Stack.get(stack_id).write_buffer, request, timeout)
  end

  @impl true
  def init(opts) do
    Process.flag(:trap_exit, true)
    stack = Stack.get(opts[:stack_id])
    Buffer.create(stack)
    schedule_poll()
    {:ok, %{stack: stack, paused?: false}}
  end

  @impl true
  def handle_call(:flush, _from, state) do
    flush(state.stack)
    {:reply, :ok, state}
  end

  def handle_call({:paused, paused?}, _from, state) do
    {:reply, :ok, %{state | paused?: paused?}}
  end

  @impl true
  def handle_info(:poll, state) do
    unless state.paused?, do: flush(state.stack)
    schedule_poll()
    {:noreply, state}
  end

  def handle_info({:EXIT, _pid, reason}, state), do: {:stop, reason, state}

  @impl true
  def terminate(_reason, state), do: flush(state.stack)

  defp schedule_poll, do: Process.send_after(self(), :poll, @interval)

  # As many as there are now: what comes in meanwhile waits for the next flush.
  defp flush(stack), do: flush(stack, Buffer.pending(stack))

  defp flush(_stack, left) when left <= 0, do: :ok

  defp flush(stack, left) do
    case Buffer.first(stack, min(left, @batch)) do
      [] ->
        :ok

      operations ->
        Pool.run(stack.writer, &commit(&1, operations))
        Enum.each(operations, &Buffer.forget(stack, &1))
        flush(stack, left - length(operations))
    end
  end

  defp commit(connection, operations) do
    Query.rows!(connection, :begin)

    change =
      Enum.reduce(operations, 0, fn {_key, operation}, sum ->
        sum + apply_to(connection, operation)
      end)

    if change != 0, do: Query.rows!(connection, :change_count, [change])
    Query.rows!(connection, :commit)
  end

  # What the operation does to the number of shapes. One that SQLite refuses is
  # reported and left out, so that the others go on.
  defp apply_to(connection, {:add, handle, shape, comparable, hash, relations}) do
    binds = [handle, encode(shape), digest(comparable), hash, 0]

    case Query.rows(connection, :insert_shape, binds) do
      {:ok, []} ->
        for {oid, _relation} <- relations,
            do: Query.rows!(connection, :insert_relation, [handle, oid])

        1

      {:error, reason} ->
        Logger.warning("shape #{handle} was not added: #{reason}")
        0
    end
  end

  defp apply_to(connection, {:remove, handle}) do
    removed = Query.rows!(connection, :delete_shape, [handle])
    Query.rows!(connection, :delete_relations, [handle])
    -length(removed)
  end

  defp apply_to(connection, {:snapshot_complete, handle}) do
    Query.rows!(connection, :complete_snapshot, [handle])
    0
  end

  @doc "The stored form of a shape."
  @spec encode(term()) :: binary()
  def encode(term), do: :erlang.term_to_binary(term, [:deterministic, minor_version: 2])

  @doc "The stored form of a comparable."
  @spec digest(term()) :: binary()
  def digest(comparable), do: :crypto.hash(:sha256, encode(comparable))
end
