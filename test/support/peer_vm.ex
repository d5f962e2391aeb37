defmodule ElectricShapeDb.PeerVM do
  @moduledoc """
  Another VM, an operating-system process of its own, with this project's code:
  for two instances on one file, and for what may end a VM.
  """

  alias Electric.ShapeCache.ShapeStatus.ShapeDb

  @spec start!(map()) :: pid()
  def start!(options \\ %{}) do
    args = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
    options = Map.merge(%{connection: :standard_io, args: args}, options)
    {:ok, peer, _node} = :peer.start(options)
    ExUnit.Callbacks.on_exit(fn -> stop(peer) end)
    call(peer, Application, :ensure_all_started, [:logger])
    call(peer, Logger, :configure, [[level: :error]])
    {:ok, _} = call(peer, Application, :ensure_all_started, [:electric_shape_db])
    peer
  end

  @spec call(pid(), module(), atom(), list(), timeout()) :: term()
  def call(peer, module, function, args, timeout \\ 30_000) do
    :peer.call(peer, module, function, args, timeout)
  end

  @doc "Starts a store over there; it lives as long as that VM."
  @spec start_store!(pid(), String.t(), keyword()) :: :ok
  def start_store!(peer, stack_id, opts) do
    :ok = call(peer, __MODULE__, :run_store, [stack_id, opts])
  end

  @doc false
  def run_store(stack_id, opts) do
    caller = self()

    spawn(fn ->
      Process.flag(:trap_exit, true)
      started = ShapeDb.Supervisor.start_link(stack_id: stack_id, shape_db_opts: opts)
      send(caller, {:started, started})
      receive do: ({:EXIT, _pid, reason} -> exit(reason))
    end)

    receive do
      {:started, {:ok, _pid}} -> :ok
      {:started, error} -> error
    end
  end

  @doc "Stops a store over there, and waits until it is closed."
  @spec stop_store!(pid(), String.t()) :: :ok
  def stop_store!(peer, stack_id) do
    :ok = call(peer, Supervisor, :stop, [ShapeDb.Supervisor.name(stack_id)])
  end

  @doc "Kills it as `kill -9` does, and waits until it is gone."
  @spec kill!(pid()) :: :ok
  def kill!(peer) do
    os_pid = call(peer, System, :pid, [])
    monitor = Process.monitor(peer)
    {_, 0} = System.cmd("kill", ["-9", os_pid])
    receive do: ({:DOWN, ^monitor, :process, ^peer, _reason} -> :ok)
  end

  @spec stop(pid()) :: :ok
  def stop(peer) do
    if Process.alive?(peer), do: :peer.stop(peer)
    :ok
  catch
    :exit, _already_gone -> :ok
  end
end
