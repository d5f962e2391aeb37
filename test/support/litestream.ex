defmodule ElectricShapeDb.Litestream do
  @moduledoc """
  Litestream beside a store, as an operator runs it: the real program, with a replica in
  a folder.
  """

  @enforce_keys [:binary, :config, :database, :replica]
  defstruct [:binary, :config, :database, :replica, :port]

  @type t :: %__MODULE__{}

  @doc "Where the program is; `nil` without it. `scripts/litestream` gets it."
  @spec binary() :: Path.t() | nil
  def binary do
    System.get_env("LITESTREAM") || System.find_executable("litestream") || installed()
  end

  defp installed do
    path = Path.expand("target/litestream/bin/litestream")
    if File.exists?(path), do: path
  end

  @doc """
  Writes the configuration for a database. The log is written back, and cut, after few
  pages, so that there is much of it in a short time.
  """
  @spec new(Path.t(), Path.t(), String.t()) :: t()
  def new(database, dir, interval) do
    replica = Path.join(dir, "replica")
    config = Path.join(dir, "litestream.yml")

    File.write!(config, """
    logging:
      level: error
    dbs:
      - path: #{database}
        monitor-interval: #{interval}
        min-checkpoint-page-count: 50
        truncate-page-n: 300
        replica:
          type: file
          path: #{replica}
          sync-interval: #{interval}
    """)

    %__MODULE__{binary: binary(), config: config, database: database, replica: replica}
  end

  @spec start(t()) :: t()
  def start(%{port: nil} = litestream) do
    port =
      Port.open({:spawn_executable, litestream.binary}, [
        :binary,
        :exit_status,
        :stderr_to_stdout,
        args: ["replicate", "-config", litestream.config]
      ])

    {:os_pid, os_pid} = Port.info(port, :os_pid)
    ExUnit.Callbacks.on_exit({:litestream, os_pid}, fn -> signal("-9", os_pid) end)
    %{litestream | port: port}
  end

  @spec kill(t()) :: t()
  def kill(litestream), do: stop(litestream, "-9")

  @doc "Stops it as an init system does: it replicates what there is before it ends."
  @spec stop(t(), String.t()) :: t()
  def stop(%{port: port} = litestream, signal \\ "-TERM") do
    {:os_pid, os_pid} = Port.info(port, :os_pid)
    signal(signal, os_pid)
    receive do: ({^port, {:exit_status, _status}} -> :ok)
    %{litestream | port: nil}
  end

  defp signal(signal, os_pid),
    do: System.cmd("kill", [signal, "#{os_pid}"], stderr_to_stdout: true)

  @doc "What it said, which is nothing as long as all is well."
  @spec said(t()) :: String.t()
  def said(%{port: port}) do
    receive do
      {^port, {:data, text}} -> text <> said(%{port: port})
    after
      0 -> ""
    end
  end

  @doc "Restores the database into a file that is not there yet; `:empty` before anything was replicated."
  @spec restore(t(), Path.t()) :: :ok | :empty
  def restore(litestream, to) do
    File.mkdir_p!(Path.dirname(to))

    args = ~w(restore -if-replica-exists -config #{litestream.config} -o #{to})

    {said, status} =
      System.cmd(litestream.binary, args ++ [litestream.database], stderr_to_stdout: true)

    if status != 0, do: raise("restoring failed: #{said}")
    if File.exists?(to), do: :ok, else: :empty
  end
end
