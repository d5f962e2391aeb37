defmodule Bench.Peer.Pool do
  @moduledoc """
  Hands connections out one process at a time. The process that got one runs its
  statements itself and gives it back; when it dies first, a monitor brings the
  connection back. Who finds none waits its turn, up to a timeout.

  The connection used last is handed out first, because its page cache is warm.
  """

  use GenServer

  alias Bench.Peer.Connection

  @timeout 10_000

  @spec start_link(name: atom(), open: (... -> [Connection.t()])) :: GenServer.on_start()
  def start_link(opts), do: GenServer.start_link(__MODULE__, opts[:open], name: opts[:name])

  @spec child_spec(keyword()) :: Supervisor.child_spec()
  def child_spec(opts), do: %{id: opts[:name], start: {__MODULE__, :start_link, [opts]}}

  @doc "Runs `fun` with a connection in the calling process; exits when none frees up in time."
  @spec run(atom(), (Connection.t() -> result)) :: result when result: term()
  def run(pool, fun) do
    {lease, connection} = checkout(pool)

    try do
      fun.(connection)
    after
      GenServer.cast(pool, {:checkin, lease})
    end
  end

  defp checkout(pool) do
    GenServer.call(pool, :checkout, @timeout)
  catch
    :exit, reason ->
      GenServer.cast(pool, {:cancel, self()})
      exit(reason)
  end

  @impl true
  def init(open) do
    Process.flag(:trap_exit, true)
    {:ok, %{idle: open.(), leases: %{}, waiting: :queue.new()}}
  end

  @impl true
  def handle_call(:checkout, from, %{idle: []} = state) do
    {:noreply, %{state | waiting: :queue.in(from, state.waiting)}}
  end

  def handle_call(:checkout, from, %{idle: [connection | idle]} = state) do
    {:noreply, lease(from, connection, %{state | idle: idle})}
  end

  @impl true
  def handle_cast({:checkin, lease}, state) do
    Process.demonitor(lease, [:flush])
    {:noreply, release(lease, state)}
  end

  def handle_cast({:cancel, pid}, state) do
    waiting = :queue.filter(fn {waiter, _tag} -> waiter != pid end, state.waiting)
    {lost, _} = Enum.split_with(state.leases, fn {_, {owner, _}} -> owner == pid end)
    {:noreply, Enum.reduce(lost, %{state | waiting: waiting}, &reclaim/2)}
  end

  @impl true
  def handle_info({:DOWN, lease, :process, _pid, _reason}, state) do
    case state.leases do
      %{^lease => held} -> {:noreply, reclaim({lease, held}, state)}
      %{} -> {:noreply, state}
    end
  end

  def handle_info({:EXIT, _pid, reason}, state), do: {:stop, reason, state}

  @impl true
  def terminate(_reason, state) do
    held = for {_lease, {_pid, connection}} <- state.leases, do: connection
    Enum.each(state.idle ++ held, &Connection.close/1)
  end

  # A waiter that died meanwhile is noticed at once: its monitor fires when it is made.
  defp lease({pid, _tag} = from, connection, state) do
    lease = Process.monitor(pid)
    GenServer.reply(from, {lease, connection})
    %{state | leases: Map.put(state.leases, lease, {pid, connection})}
  end

  defp release(lease, state) do
    {{_pid, connection}, leases} = Map.pop!(state.leases, lease)
    state = %{state | leases: leases}

    case :queue.out(state.waiting) do
      {{:value, from}, waiting} -> lease(from, connection, %{state | waiting: waiting})
      {:empty, _} -> %{state | idle: [connection | state.idle]}
    end
  end

  # Its owner may have left a transaction open, or there is none to roll back.
  defp reclaim({lease, {_pid, connection}}, state) do
    Process.demonitor(lease, [:flush])
    Bench.Peer.Query.rows(connection, :rollback, [])
    release(lease, state)
  end
end
