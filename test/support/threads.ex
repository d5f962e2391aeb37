defmodule ElectricShapeDb.Threads do
  @moduledoc "What Linux knows of this VM's memory and threads."

  @doc "The bytes of memory this VM has."
  @spec rss() :: non_neg_integer()
  def rss, do: 1024 * number("/proc/self/status", "VmRSS")

  @doc "How often each thread of this name gave up its processor, by number."
  @spec switches(String.t()) :: %{String.t() => non_neg_integer()}
  def switches(name) do
    for thread <- File.ls!("/proc/self/task"),
        path = "/proc/self/task/#{thread}/",
        File.read!(path <> "comm") == name <> "\n",
        into: %{},
        do: {thread, number(path <> "status", "voluntary_ctxt_switches")}
  end

  defp number(file, key) do
    [_, number] = Regex.run(~r/^#{key}:\s+(\d+)/m, File.read!(file))
    String.to_integer(number)
  end
end
