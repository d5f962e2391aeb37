defmodule Bench.Sample do
  @moduledoc "One measured value under the name it is reported by."

  alias Bench.Crew.Outcome
  alias Bench.Stats

  @enforce_keys [:name, :unit, :value]
  defstruct @enforce_keys

  @type t :: %__MODULE__{name: String.t(), unit: String.t(), value: number()}

  @latencies [{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1.0}]

  @doc "The latencies reported beside each rate, as `{suffix, quantile}`."
  @spec latencies() :: [{String.t(), float()}]
  def latencies, do: @latencies

  @spec new(String.t(), String.t(), number()) :: t()
  def new(name, unit, value), do: %__MODULE__{name: name, unit: unit, value: value}

  @spec rate(String.t(), Outcome.t()) :: t()
  def rate(name, outcome) do
    new(name, "ops/s", outcome.operations * 1.0e9 / outcome.elapsed_ns)
  end

  @doc "The rate, and `<name>_p50_us`, `<name>_p99_us` and so on."
  @spec rate_and_latencies(String.t(), Outcome.t()) :: [t()]
  def rate_and_latencies(name, outcome), do: [rate(name, outcome) | latencies(name, outcome)]

  @spec latencies(String.t(), Outcome.t()) :: [t()]
  def latencies(name, outcome) do
    {suffixes, quantiles} = Enum.unzip(@latencies)
    values = Stats.quantiles(outcome.latencies_ns, quantiles)

    for {suffix, ns} <- Enum.zip(suffixes, values) do
      new("#{name}_#{suffix}_us", "µs", ns / 1_000)
    end
  end

  @doc "Whether more of this unit is better."
  @spec higher_is_better?(String.t()) :: boolean()
  def higher_is_better?(unit), do: unit == "ops/s"
end
