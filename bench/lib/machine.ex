defmodule Bench.Machine do
  @moduledoc "What the bench ran on, for the report."

  @spec describe() :: keyword()
  def describe do
    [
      date: Date.utc_today() |> Date.to_string(),
      replaced_design: System.get_env("PEER_FETCH", "row"),
      commit: command("git", ~w(rev-parse --short HEAD)),
      processor: processor(),
      cores: System.schedulers_online(),
      memory: memory(),
      kernel: command("uname", ~w(-sr)),
      file_system: command("stat", ["-f", "-c", "%T", System.tmp_dir!()]),
      erlang: "OTP #{System.otp_release()}, ERTS #{:erlang.system_info(:version)}",
      elixir: System.version(),
      rust: command("rustc", ["--version"])
    ]
  end

  defp processor do
    "/proc/cpuinfo" |> field(~r/^model name\s*:\s*(.+)$/m) |> String.trim()
  end

  defp memory do
    kilobytes = "/proc/meminfo" |> field(~r/^MemTotal:\s*(\d+) kB$/m) |> String.to_integer()
    "#{round(kilobytes / 1_048_576)} GiB"
  end

  defp field(path, regex) do
    [_, value] = Regex.run(regex, File.read!(path))
    value
  end

  defp command(name, arguments) do
    case System.cmd(name, arguments, stderr_to_stdout: true) do
      {output, 0} -> String.trim(output)
      {_, _status} -> "unknown"
    end
  end
end
