defmodule Bench.Workload do
  @moduledoc """
  One measurement that both sides go through in turn.

  `names` are the results it gives (without process counts and latency suffixes),
  `run` measures one side, `floor` measures what the term work of the same calls
  costs by itself, and `rounds` is the most rounds that it is worth.
  """

  alias Bench.{Config, Sample, Side}

  @enforce_keys [:names, :run]
  defstruct @enforce_keys ++ [floor: nil, rounds: :all]

  @type t :: %__MODULE__{
          names: [String.t()],
          run: (Side.t() -> [Sample.t()]),
          floor: nil | (... -> [Sample.t()]),
          rounds: :all | pos_integer()
        }

  @callback workloads(Config.t()) :: [t()]

  @doc "At how many processes each function is measured alone."
  @spec processes() :: [pos_integer()]
  def processes, do: [1, 16, 100]

  @spec in_round?(t(), pos_integer()) :: boolean()
  def in_round?(workload, round), do: workload.rounds == :all or round <= workload.rounds

  @spec selected?(t(), Regex.t()) :: boolean()
  def selected?(workload, only), do: Enum.any?(workload.names, &Regex.match?(only, &1))
end
