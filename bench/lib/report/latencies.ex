defmodule Bench.Report.Latencies do
  @moduledoc """
  Distributions of latency: for each side a line from the median to the maximum, thick up
  to the 99th percentile, with a dot at the median and a mark at 99.9 %; the 99th percentile
  in figures.
  """

  alias Bench.Report.{Html, Scale, Words}

  @type quantiles :: %{(suffix :: String.t()) => microseconds :: number()}

  @doc "`rows` are labels with the quantiles of the sides that were measured."
  @spec draw([{String.t(), %{(:ours | :peer) => quantiles()}}]) :: iodata()
  def draw(rows) do
    values = for {_, sides} <- rows, {_, quantiles} <- sides, {_, value} <- quantiles, do: value
    scale = Scale.of(values)
    [for({label, sides} <- rows, do: row(scale, label, sides)), Scale.axis(scale, "p99, µs")]
  end

  defp row(scale, label, sides) do
    [
      ~s(<div class="row"><span>),
      Html.name(label),
      ~s(</span><div class="track">),
      Scale.grid(scale),
      for({side, middle} <- [ours: 8, peer: 22], quantiles = sides[side]) do
        distribution(scale, quantiles, side, middle)
      end,
      ~s(</div><span class="values">),
      ~s(<span class="ours">#{p99(sides[:ours])}</span><br>),
      ~s(<span class="peer">#{p99(sides[:peer])}</span></span></div>\n)
    ]
  end

  defp p99(nil), do: "–"
  defp p99(quantiles), do: Words.short(quantiles["p99"])

  defp distribution(scale, quantiles, side, middle) do
    at = fn suffix -> Scale.percent(scale, quantiles[suffix]) end

    [
      line(side, at.("p50"), at.("max"), middle, 1),
      line(side, at.("p50"), at.("p99"), middle, 5),
      box(side, at.("p999"), middle, 2, 11, 0),
      box(side, at.("p50"), middle, 9, 9, 5)
    ]
  end

  defp line(side, from, to, middle, height) do
    style = "left:#{from}%;width:#{Float.round(max(to - from, 0.3), 2)}%"

    ~s(<i class="#{side}" style="#{style};top:#{middle - div(height, 2)}px;height:#{height}px"></i>)
  end

  defp box(side, at, middle, width, height, radius) do
    ~s(<i class="#{side}" style="left:calc(#{at}% - #{div(width, 2)}px\);top:#{middle - div(height, 2)}px;) <>
      ~s(width:#{width}px;height:#{height}px;border-radius:#{radius}px"></i>)
  end
end
