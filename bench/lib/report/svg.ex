defmodule Bench.Report.Svg do
  @moduledoc "The parts that the report's plots are drawn with; distances are in pixels."

  @colours %{ours: "#0b6e6e", peer: "#b8860b", floor: "#222222"}

  defmodule Scale do
    @moduledoc "A logarithmic scale over whole decades, from `from` to `to` pixels."

    @enforce_keys [:low, :high, :from, :to]
    defstruct @enforce_keys

    @type t :: %__MODULE__{low: integer(), high: integer(), from: number(), to: number()}
  end

  @spec colour(:ours | :peer | :floor) :: String.t()
  def colour(side), do: @colours[side]

  @doc "The scale that has room for all of the values."
  @spec scale([number()], number(), number()) :: Scale.t()
  def scale(values, from, to) do
    logs = for value <- values, value > 0, do: :math.log10(value)
    low = logs |> Enum.min() |> :math.floor() |> trunc()
    high = logs |> Enum.max() |> :math.ceil() |> trunc()
    %Scale{low: low, high: max(high, low + 1), from: from, to: to}
  end

  @spec position(Scale.t(), number()) :: float()
  def position(scale, value) do
    share = (:math.log10(max(value, 1.0e-9)) - scale.low) / (scale.high - scale.low)
    Float.round(scale.from + max(share, 0.0) * (scale.to - scale.from), 1)
  end

  @doc "The values that the scale's grid lines stand at."
  @spec decades(Scale.t()) :: [number()]
  def decades(scale), do: Enum.map(scale.low..scale.high, &:math.pow(10, &1))

  @spec document(number(), number(), String.t(), iodata()) :: iodata()
  def document(width, height, title, content) do
    [
      ~s(<svg viewBox="0 0 #{width} #{height}" width="#{width}" height="#{height}" role="img">),
      "<title>#{escape(title)}</title>",
      content,
      "</svg>"
    ]
  end

  @spec text(number(), number(), String.t(), keyword()) :: iodata()
  def text(x, y, text, attributes \\ []) do
    ["<text", attributes([x: x, y: y] ++ attributes), ">", escape(text), "</text>"]
  end

  @doc "An element without content."
  @spec element(String.t(), keyword()) :: iodata()
  def element(name, attributes), do: ["<", name, attributes(attributes), "/>"]

  @spec line({number(), number()}, {number(), number()}, keyword()) :: iodata()
  def line({x1, y1}, {x2, y2}, attributes) do
    element("line", [x1: x1, y1: y1, x2: x2, y2: y2] ++ attributes)
  end

  @doc "Vertical grid lines with their values below."
  @spec vertical_grid(Scale.t(), number(), number()) :: iodata()
  def vertical_grid(scale, top, bottom) do
    for value <- decades(scale) do
      x = position(scale, value)

      [
        line({x, top}, {x, bottom}, class: "grid"),
        text(x, bottom + 14, short(value), class: "axis", "text-anchor": "middle")
      ]
    end
  end

  @doc "A number as a person reads it: `1.2M`, `340k`, `12.5`."
  @spec short(number()) :: String.t()
  def short(value) when value >= 1_000_000, do: "#{significant(value / 1_000_000)}M"
  def short(value) when value >= 1_000, do: "#{significant(value / 1_000)}k"
  def short(value), do: significant(value)

  defp significant(value) when value >= 100, do: value |> round() |> Integer.to_string()
  defp significant(value) when value >= 10, do: decimals(value, 1)
  defp significant(value), do: decimals(value, 2)

  defp decimals(value, count) do
    (value * 1.0)
    |> :erlang.float_to_binary(decimals: count)
    |> String.replace(~r/\.?0+$/, "")
  end

  @spec escape(String.t()) :: String.t()
  def escape(text) do
    text
    |> String.replace("&", "&amp;")
    |> String.replace("<", "&lt;")
    |> String.replace(">", "&gt;")
  end

  defp attributes(attributes) do
    for {name, value} <- attributes, do: [" ", to_string(name), ~s(="), to_string(value), ~s(")]
  end
end
