defmodule Bench.Files do
  @moduledoc "The files of results: the machine, and an entry a line."

  alias Bench.{Json, Results}

  @bench Path.expand("..", __DIR__)

  @doc "Writes the results of a run under a name; gives the file."
  @spec write(String.t(), keyword(), [Results.entry()], partial? :: boolean()) :: Path.t()
  def write(name, machine, entries, partial?) do
    file = path(name, partial?)
    File.mkdir_p!(Path.dirname(file))
    lines = entries |> Enum.map(&["  ", Json.encode(&1)]) |> Enum.intersperse(",\n")

    File.write!(file, [
      ~s({"machine": ),
      Json.encode(machine),
      ~s(,\n"entries": [\n),
      lines,
      "\n]}\n"
    ])

    file
  end

  @doc "The machine and the entries of the last whole run under a name; `nil` without one."
  @spec read(String.t()) :: %{machine: map(), entries: [Results.entry()]} | nil
  def read(name) do
    file = path(name, false)
    if File.exists?(file), do: file |> File.read!() |> Json.decode!()
  end

  defp path(name, false), do: Path.join(@bench, "results/#{name}.json")
  defp path(name, true), do: Path.join(@bench, "_build/#{name}.json")
end
