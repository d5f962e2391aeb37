defmodule Bench.Report.Curves do
  @moduledoc "How a figure changes with the number of shapes: a line for each side, both axes logarithmic."

  alias Bench.Config
  alias Bench.Report.Svg
  alias Bench.Results

  @width 400
  @height 230
  @left 52
  @right 380
  @top 30
  @bottom 200

  @spec draw(String.t(), [{size :: pos_integer(), Results.entry()}]) :: iodata()
  def draw(title, points) do
    sides = [:ours, :peer, :floor]
    values = for {_, entry} <- points, side <- sides, value = entry[side], do: value
    sizes = for {size, _} <- points, do: size
    across = Svg.scale([10_000, Enum.max(sizes)], @left, @right)
    up = Svg.scale(values, @bottom, @top)

    Svg.document(@width, @height, title, [
      Svg.text(@left, 16, title, class: "title"),
      for(value <- Svg.decades(up), do: level(up, value)),
      for(size <- sizes, do: size_label(across, size)),
      for(side <- sides, do: curve(across, up, points, side))
    ])
  end

  defp level(up, value) do
    y = Svg.position(up, value)

    [
      Svg.line({@left, y}, {@right, y}, class: "grid"),
      Svg.text(@left - 6, y + 4, Svg.short(value), class: "axis", "text-anchor": "end")
    ]
  end

  defp size_label(across, size) do
    label = Config.size_name(size)

    Svg.text(Svg.position(across, size), @bottom + 16, label,
      class: "axis",
      "text-anchor": "middle"
    )
  end

  defp curve(across, up, points, side) do
    places =
      for {size, entry} <- points, value = entry[side] do
        {Svg.position(across, size), Svg.position(up, value), value}
      end

    colour = Svg.colour(side)
    path = Enum.map_join(places, " ", fn {x, y, _} -> "#{x},#{y}" end)
    dash = if side == :floor, do: ["stroke-dasharray": "3 3"], else: []

    [
      Svg.element(
        "polyline",
        [points: path, fill: "none", stroke: colour, "stroke-width": 2] ++ dash
      ),
      if(side != :floor, do: Enum.map(places, &point(&1, side)), else: [])
    ]
  end

  # One side's values stand above its line, the other's below.
  defp point({x, y, value}, side) do
    [
      Svg.element("circle", cx: x, cy: y, r: 3.5, fill: Svg.colour(side)),
      Svg.text(x, y + if(side == :ours, do: -7, else: 15), Svg.short(value),
        class: "value",
        "text-anchor": "middle"
      )
    ]
  end
end
