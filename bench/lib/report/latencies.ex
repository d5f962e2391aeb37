defmodule Bench.Report.Latencies do
  @moduledoc """
  Distributions of latency: for each side a line from the median to the maximum,
  thick up to the 99th percentile, with a mark at each quantile.
  """

  alias Bench.Report.Svg
  alias Bench.Sample

  @label_width 210
  @plot_width 620
  @row_height 30

  @type quantiles :: %{(suffix :: String.t()) => microseconds :: number()}

  @doc "`rows` are labels with the quantiles of the sides that were measured."
  @spec draw(String.t(), [{String.t(), %{(:ours | :peer) => quantiles()}}]) :: iodata()
  def draw(title, rows) do
    values = for {_, sides} <- rows, {_, quantiles} <- sides, {_, value} <- quantiles, do: value
    scale = Svg.scale(values, @label_width, @label_width + @plot_width)
    bottom = length(rows) * @row_height + 6

    Svg.document(@label_width + @plot_width + 24, bottom + 22, title, [
      Svg.vertical_grid(scale, 0, bottom),
      for({{label, sides}, index} <- Enum.with_index(rows), do: row(scale, label, sides, index))
    ])
  end

  defp row(scale, label, sides, index) do
    top = index * @row_height + 6

    [
      Svg.text(@label_width - 8, top + 14, label, "text-anchor": "end"),
      for({side, offset} <- [ours: 5, peer: 17], quantiles = sides[side]) do
        distribution(scale, quantiles, side, top + offset)
      end
    ]
  end

  defp distribution(scale, quantiles, side, y) do
    at = fn suffix -> Svg.position(scale, quantiles[suffix]) end
    colour = Svg.colour(side)

    [
      Svg.line({at.("p50"), y}, {at.("max"), y}, stroke: colour, "stroke-width": 1),
      Svg.line({at.("p50"), y}, {at.("p99"), y}, stroke: colour, "stroke-width": 5),
      for({suffix, _quantile} <- Sample.latencies(), do: mark(suffix, at.(suffix), y, colour))
    ]
  end

  defp mark("p50", x, y, colour), do: Svg.element("circle", cx: x, cy: y, r: 4.5, fill: colour)

  defp mark("max", x, y, colour) do
    Svg.element("circle", cx: x, cy: y, r: 3, fill: "white", stroke: colour)
  end

  defp mark(_quantile, x, y, colour) do
    Svg.line({x, y - 5}, {x, y + 5}, stroke: colour, "stroke-width": 1.5)
  end
end
