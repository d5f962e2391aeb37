defmodule Bench.Report.Bars do
  @moduledoc "Bars of ours and the peer's, one pair a row, with a line where the floor is."

  alias Bench.Report.Svg
  alias Bench.Results

  @label_width 210
  @plot_width 560
  @value_width 90
  @row_height 34
  @bar_height 11

  @spec draw(String.t(), [{label :: String.t(), Results.entry()}]) :: iodata()
  def draw(title, rows) do
    values =
      for {_, entry} <- rows, side <- [:ours, :peer, :floor], value = entry[side], do: value

    scale = Svg.scale(values, @label_width, @label_width + @plot_width)
    bottom = length(rows) * @row_height + 6

    Svg.document(@label_width + @plot_width + @value_width, bottom + 22, title, [
      Svg.vertical_grid(scale, 0, bottom),
      for({{label, entry}, index} <- Enum.with_index(rows), do: row(scale, label, entry, index))
    ])
  end

  defp row(scale, label, entry, index) do
    top = index * @row_height + 6

    [
      Svg.text(@label_width - 8, top + 15, label, "text-anchor": "end"),
      bar(scale, entry, :ours, top),
      bar(scale, entry, :peer, top + @bar_height + 1),
      floor_line(scale, entry[:floor], top),
      ratio(entry[:ratio], top)
    ]
  end

  defp bar(scale, entry, side, top) do
    case entry[side] do
      nil ->
        []

      value ->
        right = Svg.position(scale, value)

        [
          Svg.element("rect",
            x: @label_width,
            y: top,
            width: right - @label_width,
            height: @bar_height,
            fill: Svg.colour(side)
          ),
          Svg.text(right + 4, top + 9, Svg.short(value), class: "value")
        ]
    end
  end

  defp floor_line(_scale, nil, _top), do: []

  defp floor_line(scale, value, top) do
    x = Svg.position(scale, value)
    Svg.line({x, top - 2}, {x, top + 2 * @bar_height + 3}, class: "floor")
  end

  defp ratio(nil, _top), do: []

  defp ratio(ratio, top) do
    x = @label_width + @plot_width + @value_width - 4
    Svg.text(x, top + 16, "#{Svg.short(ratio)}×", class: "ratio", "text-anchor": "end")
  end
end
