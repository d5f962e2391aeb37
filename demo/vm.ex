defmodule ElectricShapeDb.Demo.VM do
  @moduledoc """
  The VM that will be killed, as the one that watches it sees it: an
  operating-system process with the same Erlang and the same code, at the other
  end of the `Pipe`. What it prints goes to a file, of which the end is shown when
  it dies by itself.
  """

  import ElectricShapeDb.Demo.Failure, only: [fail!: 1]

  alias ElectricShapeDb.Demo.Pipe
  alias ElectricShapeDb.Demo.Service

  defstruct [:port, :os_pid, :log]

  @type t :: %__MODULE__{port: port(), os_pid: pos_integer(), log: Path.t()}

  @kill_timeout 10_000

  # The exit status of a process that was sent signal 9.
  @killed 128 + 9

  # The pipe is file descriptors 3 and 4; those below are not for us.
  @shell ~s(log="$1"; shift; exec "$@" </dev/null >"$log" 2>&1)

  @doc "Starts it."
  @spec start!(Path.t()) :: t()
  def start!(log) do
    arguments = ["-c", @shell, "sh", log, erl!(), "-noinput"] ++ code_paths() ++ main()
    # Its last words say enough.
    environment = [{~c"ERL_CRASH_DUMP_BYTES", ~c"0"}]
    options = [:nouse_stdio, :exit_status, args: arguments, env: environment] ++ Pipe.framing()
    port = Port.open({:spawn_executable, "/bin/sh"}, options)

    case Port.info(port, :os_pid) do
      {:os_pid, os_pid} -> %__MODULE__{port: port, os_pid: os_pid, log: log}
      nil -> fail!("a second VM cannot be started")
    end
  end

  # That of this VM, wherever PATH leads to.
  defp erl! do
    erl = Path.join([:code.root_dir(), "bin", "erl"])
    (File.exists?(erl) && erl) || System.find_executable("erl") || fail!("erl was not found")
  end

  defp code_paths do
    for path <- :code.get_path(), path != ~c".", path = Path.expand(path), File.dir?(path) do
      ["-pa", path]
    end
    |> Enum.concat()
  end

  defp main, do: ["-s", Atom.to_string(Service), "main"]

  @spec tell(t(), term()) :: true
  def tell(vm, term), do: Port.command(vm.port, :erlang.term_to_binary(term))

  @doc """
  The next thing it tells, as parsed by the `Pipe`, or `:timeout`. Fails when it
  cannot go on.
  """
  @spec hear!(t(), timeout()) :: {:told, term()} | :timeout
  def hear!(%{port: port} = vm, timeout) do
    receive do
      {^port, {:data, bytes}} ->
        {:told, parse!(bytes)}

      {^port, {:exit_status, status}} ->
        ended_by_itself!(vm, status)
    after
      timeout -> :timeout
    end
  end

  defp parse!(bytes) do
    case Pipe.parse(bytes) do
      {:failed, why} -> fail!("the second VM cannot go on: #{why}")
      told -> told
    end
  end

  @doc "Kills it, as `kill -9` does, and gives all that it told until then."
  @spec kill!(t()) :: [term()]
  def kill!(vm) do
    kill(vm)
    told = until_its_end(vm, [], %{})
    Port.close(vm.port)
    told
  end

  # The pipe is read to its end, and the process is gone.
  defp until_its_end(_vm, told, %{eof: true, status: @killed}), do: told
  defp until_its_end(vm, _told, %{eof: true, status: status}), do: ended_by_itself!(vm, status)

  defp until_its_end(%{port: port} = vm, told, ends) do
    receive do
      {^port, {:data, bytes}} -> until_its_end(vm, [parse!(bytes) | told], ends)
      {^port, :eof} -> until_its_end(vm, told, Map.put(ends, :eof, true))
      {^port, {:exit_status, status}} -> until_its_end(vm, told, Map.put(ends, :status, status))
    after
      @kill_timeout -> fail!("the second VM did not end when it was killed")
    end
  end

  @doc "Makes sure that it is gone, whatever happened before."
  @spec stop(t()) :: :ok
  def stop(%{port: port} = vm) do
    receive do
      {^port, {:exit_status, _status}} -> Port.close(port)
    after
      # The port of one that was seen to end is closed. Until then the process id
      # is its own.
      0 ->
        if Port.info(port) != nil do
          kill(vm)
          Port.close(port)
        end
    end

    :ok
  end

  defp ended_by_itself!(vm, status) do
    Port.close(vm.port)
    fail!("the second VM ended by itself with status #{status}#{last_words(vm)}")
  end

  # By the shell's own `kill`: a small machine may have no other.
  defp kill(vm) do
    System.cmd("/bin/sh", ["-c", "kill -9 #{vm.os_pid}"], stderr_to_stdout: true)
  end

  defp last_words(vm) do
    case File.read(vm.log) do
      {:ok, text} when text != "" ->
        lines = text |> String.split("\n", trim: true) |> Enum.take(-10)
        ". Its last words:\n" <> Enum.map_join(lines, "\n", &("  " <> &1))

      _ ->
        ", and printed nothing"
    end
  end
end
