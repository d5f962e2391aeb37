defmodule Bench.Report.Scale do
  @moduledoc "A logarithmic scale over whole decades, as shares of a track."

  alias Bench.Report.Words

  @enforce_keys [:low, :high]
  defstruct @enforce_keys

  @type t :: %__MODULE__{low: integer(), high: integer()}

  @doc "The scale that has room for all of the values."
  @spec of([number()]) :: t()
  def of(values) do
    logs = for value <- values, value > 0, do: :math.log10(value)
    low = logs |> Enum.min(fn -> 0.0 end) |> :math.floor() |> trunc()
    high = logs |> Enum.max(fn -> 1.0 end) |> :math.ceil() |> trunc()
    %__MODULE__{low: low, high: max(high, low + 1)}
  end

  @doc "Where a value is, in percent of the track."
  @spec percent(t(), number()) :: float()
  def percent(scale, value) do
    share = (:math.log10(max(value, 1.0e-9)) - scale.low) / (scale.high - scale.low)
    Float.round(100 * min(max(share, 0.0), 1.0), 2)
  end

  @doc "The grid lines of a track."
  @spec grid(t()) :: iodata()
  def grid(scale) do
    for decade <- inner(scale),
        do: ~s(<i class="grid" style="left:#{percent(scale, :math.pow(10, decade))}%"></i>)
  end

  @doc "The row that names the grid lines."
  @spec axis(t(), String.t()) :: iodata()
  def axis(scale, unit) do
    labels =
      for decade <- inner(scale) do
        value = :math.pow(10, decade)
        ~s(<span style="left:#{percent(scale, value)}%">#{Words.short(value)}</span>)
      end

    ~s(<div class="row axis"><span></span><div class="track">#{labels}</div>) <>
      ~s(<span class="values"><small>#{unit}</small></span></div>\n)
  end

  # At its ends there would be no room for a label.
  defp inner(scale), do: Enum.to_list((scale.low + 1)..(scale.high - 1)//1)
end
