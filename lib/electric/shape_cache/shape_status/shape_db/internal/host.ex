defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Host do
  @moduledoc false
  # Runs functions of the host in a process of their own: no process that a stack
  # depends on is to raise, hang or be killed by them, or to get their messages.

  @doc """
  Gives what `fun` returns, or how it ended instead. Takes at most `timeout`
  milliseconds, and only for as long as `parent`, whose exits the caller traps, lives.
  """
  @spec run((... -> result), timeout(), pid() | nil) ::
          {:ok, result} | {:error, String.t()} | {:exit, term()}
        when result: term()
  def run(fun, timeout, parent \\ nil) do
    {pid, monitor} = spawn_monitor(fn -> exit({:returned, caught(fun)}) end)

    receive do
      {:DOWN, ^monitor, :process, ^pid, {:returned, result}} -> result
      {:DOWN, ^monitor, :process, ^pid, reason} -> {:error, "was killed: #{inspect(reason)}"}
      {:EXIT, ^parent, reason} -> ended(pid, monitor, {:exit, reason})
    after
      timeout -> ended(pid, monitor, {:error, "did not return within #{timeout} ms"})
    end
  end

  defp ended(pid, monitor, result) do
    Process.demonitor(monitor, [:flush])
    Process.exit(pid, :kill)
    result
  end

  defp caught(fun) do
    {:ok, fun.()}
  catch
    kind, reason -> {:error, "failed with #{Exception.format_banner(kind, reason)}"}
  end
end
