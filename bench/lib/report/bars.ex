defmodule Bench.Report.Bars do
  @moduledoc "Bars of this store and of the replaced design, one pair a row, and a line where the floor is."

  alias Bench.Report.{Html, Scale, Words}
  alias Bench.Results

  @spec draw(String.t(), [{label :: String.t(), Results.entry()}]) :: iodata()
  def draw(unit, rows) do
    values =
      for {_, entry} <- rows, side <- [:ours, :peer, :floor], value = entry[side], do: value

    scale = Scale.of(values)
    [for({label, entry} <- rows, do: row(scale, label, entry)), Scale.axis(scale, unit)]
  end

  defp row(scale, label, entry) do
    [
      ~s(<div class="row"><span>),
      Html.name(label),
      ratio(entry.ratio),
      ~s(</span><div class="track">),
      Scale.grid(scale),
      bar(scale, entry.ours, "ours", 2),
      bar(scale, entry.peer, "peer", 16),
      floor_line(scale, entry.floor),
      ~s(</div><span class="values"><span class="ours">),
      value(entry.ours),
      ~s(</span><br><span class="peer">),
      value(entry.peer),
      "</span></span></div>\n"
    ]
  end

  defp ratio(nil), do: []
  defp ratio(ratio), do: [" <b>", Words.ratio(ratio), "</b>"]

  defp bar(_scale, nil, _side, _top), do: []

  defp bar(scale, value, side, top) do
    width = Scale.percent(scale, value)
    ~s(<i class="#{side}" style="left:0;top:#{top}px;height:12px;width:#{width}%"></i>)
  end

  defp floor_line(_scale, nil), do: []

  defp floor_line(scale, value) do
    left = Scale.percent(scale, value)
    ~s(<i class="floor" style="left:#{left}%;top:0;height:30px;width:2px"></i>)
  end

  defp value(nil), do: "–"
  defp value(value), do: Words.short(value)
end
