defmodule Bench.Probe do
  @moduledoc """
  Measurements that need an operating-system process of their own: memory, so that
  what other workloads left behind does not count, and the stalled disk, whose
  library must be loaded before the VM is.

  A probe is a function of a module that takes one argument and returns its result.
  """

  alias Bench.{Peer, Shapes}

  # No cache of freed segments: what heaps give back leaves the process at once, so
  # that memory differs by what is in use.
  @environment [{"ERL_FLAGS", "+MMmcs 0"}]

  @doc "Runs a probe in a fresh VM and returns its result."
  @spec run({module(), atom()}, argument :: term(), [{String.t(), String.t()}]) :: term()
  def run({module, function}, argument, environment \\ []) do
    output = Path.join(System.tmp_dir!(), "bench-probe-#{System.unique_integer([:positive])}")
    call = {module, function, argument, output} |> :erlang.term_to_binary() |> Base.encode64()
    paths = Enum.flat_map(code_paths(), &["-pa", &1])
    arguments = paths ++ ["-e", "Bench.Probe.main()", "--", call]

    {_, 0} = System.cmd("elixir", arguments, env: @environment ++ environment, into: IO.stream())
    result = output |> File.read!() |> :erlang.binary_to_term()
    File.rm!(output)
    result
  end

  @doc "What the fresh VM does."
  @spec main() :: :ok
  def main do
    Logger.configure(level: :warning)
    [call] = System.argv()
    {module, function, argument, output} = call |> Base.decode64!() |> :erlang.binary_to_term()
    _ = Application.ensure_all_started(:electric_shape_db)
    Peer.Native.load!()
    Shapes.load!()
    File.write!(output, :erlang.term_to_binary(apply(module, function, [argument])))
  end

  @doc "The memory of this VM that is not backed by a file, in bytes, once all heaps are collected."
  @spec resident_bytes() :: non_neg_integer()
  def resident_bytes do
    Enum.each(Process.list(), &:erlang.garbage_collect/1)
    Process.sleep(1_000)

    for line <- File.stream!("/proc/self/status"),
        [kind, kilobytes, "kB"] <- [String.split(line)],
        kind in ["RssAnon:", "RssShmem:"],
        reduce: 0 do
      sum -> sum + String.to_integer(kilobytes) * 1024
    end
  end

  # Only this project's and the bench's: the fresh VM has its own Elixir.
  defp code_paths do
    for path <- :code.get_path(),
        path = List.to_string(path),
        String.ends_with?(path, ["electric_shape_db/ebin", "bench/_build/ebin"]),
        do: Path.expand(path)
  end
end
