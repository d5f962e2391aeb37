defmodule Bench.Config do
  @moduledoc """
  How a run is made, from the environment:

  | variable | meaning | default |
  |---|---|---|
  | `ROUNDS` | rounds of every workload | 5, or 2 when quick |
  | `QUICK` | `1`: short measurements, nothing with a million shapes | off |
  | `ONLY` | regular expression over names of workloads | all |
  | `SIDES` | `ours`, `peer` or `ours,peer` | those that are there |
  | `BENCH_DIR` | where the stores are put while the bench runs | the system's temporary directory |
  | `FIXTURES` | the directory of `bench-20k.etf` | `test/fixtures` |
  """

  alias Bench.Side

  @enforce_keys [
    :rounds,
    :quick?,
    :partial?,
    :only,
    :sides,
    :directory,
    :read_ms,
    :mixed_ms,
    :sizes
  ]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          rounds: pos_integer(),
          quick?: boolean(),
          partial?: boolean(),
          only: Regex.t(),
          sides: [Side.t()],
          directory: Path.t(),
          read_ms: pos_integer(),
          mixed_ms: pos_integer(),
          sizes: [pos_integer()]
        }

  @spec from_environment() :: t()
  def from_environment do
    quick? = System.get_env("QUICK", "") not in ["", "0"]
    base = System.get_env("BENCH_DIR") || System.tmp_dir!()
    part? = Enum.any?(["ONLY", "SIDES"], &(System.get_env(&1, "") != ""))

    %__MODULE__{
      rounds: rounds(quick?),
      quick?: quick?,
      partial?: quick? or part?,
      only: Regex.compile!(System.get_env("ONLY", "")),
      sides: Side.select(System.get_env("SIDES", "") |> String.split(",", trim: true)),
      directory: Path.join(base, "shape-db-bench-#{System.pid()}"),
      read_ms: if(quick?, do: 200, else: 500),
      mixed_ms: if(quick?, do: 500, else: 2_000),
      sizes: if(quick?, do: [20_000, 100_000], else: [20_000, 100_000, 1_000_000])
    }
  end

  defp rounds(quick?) do
    case System.get_env("ROUNDS") do
      nil -> if quick?, do: 2, else: 5
      rounds -> String.to_integer(rounds)
    end
  end

  @doc "A new empty directory for a store."
  @spec fresh_directory(t()) :: Path.t()
  def fresh_directory(config) do
    path = Path.join(config.directory, "store-#{System.unique_integer([:positive])}")
    File.mkdir_p!(path)
    path
  end

  @doc "How a size is written in names: `20k`, `1m`."
  @spec size_name(pos_integer()) :: String.t()
  def size_name(size) when rem(size, 1_000_000) == 0, do: "#{div(size, 1_000_000)}m"
  def size_name(size), do: "#{div(size, 1_000)}k"
end
