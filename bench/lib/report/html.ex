defmodule Bench.Report.Html do
  @moduledoc """
  The parts of the page. Plots are boxes of HTML: their text keeps its size however narrow
  the page is, and stands in columns of its own, where no line crosses it.
  """

  alias Bench.Report.Words

  @spec section(String.t(), iodata()) :: iodata()
  def section(title, content) do
    if IO.iodata_length(content) == 0, do: [], else: ["<h2>", title, "</h2>\n", content]
  end

  @doc "A table whose first column is text and whose others are numbers."
  @spec table([String.t()], [[iodata()]]) :: iodata()
  def table(heads, rows) do
    [
      ~s(<div class="wide"><table><tr>),
      for(head <- heads, do: ["<th>", head, "</th>"]),
      "</tr>\n",
      for(row <- rows, do: ["<tr>", for(cell <- row, do: ["<td>", cell, "</td>"]), "</tr>\n"]),
      "</table></div>\n"
    ]
  end

  @doc "The entries in a table for each unit, headed by it and by which direction is better."
  @spec by_unit([entry], [String.t()], (entry -> map()), (entry -> [iodata()])) :: iodata()
        when entry: term()
  def by_unit(entries, heads, entry \\ & &1, row) do
    for {unit, entries} <- Words.by_unit(entries, entry) do
      ["<h3>", Words.unit(unit), "</h3>\n", table(heads, Enum.map(entries, row))]
    end
  end

  @doc "A name that may be broken where its parts meet."
  @spec name(String.t()) :: iodata()
  def name(name), do: name |> escape() |> String.replace("_", "_<wbr>")

  @spec escape(String.t()) :: String.t()
  def escape(text) do
    text
    |> String.replace("&", "&amp;")
    |> String.replace("<", "&lt;")
    |> String.replace(">", "&gt;")
  end

  @spec style() :: String.t()
  def style do
    """
    :root { --ours: #0b6e6e; --peer: #b8860b; --floor: #222; }
    body { font: 15px/1.5 system-ui, sans-serif; max-width: 900px; margin: 1.5rem auto; padding: 0 .8rem; color: #222; overflow-wrap: anywhere; }
    h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
    h3 { font-size: 15px; margin: 1.4rem 0 .3rem; }
    .summary { border-left: 4px solid var(--ours); padding-left: .8rem; }
    .wide { overflow-x: auto; }
    table { border-collapse: collapse; width: 100%; font-size: 13px; }
    th, td { text-align: right; padding: 2px 6px; border-bottom: 1px solid #eee; font-variant-numeric: tabular-nums; vertical-align: top; overflow-wrap: normal; }
    th:first-child, td:first-child { text-align: left; }
    small { color: #666; display: block; } td small { white-space: nowrap; }
    .met { color: #1a7f37; } .missed { color: #b42318; font-weight: 600; }
    .key span { display: inline-block; padding: 0 .5em; margin: 0 .6em .3em 0; color: white; border-radius: 3px; }
    .row { display: grid; grid-template-columns: 15em 1fr 5.5em; column-gap: .6em; align-items: center; margin: .35em 0; font-size: 13px; }
    .row .values { text-align: right; font-variant-numeric: tabular-nums; line-height: 15px; white-space: nowrap; }
    .row b { font-weight: 600; white-space: nowrap; }
    .track { position: relative; height: 30px; background: #f6f6f6; }
    .track i { position: absolute; display: block; }
    .ours { color: var(--ours); } .peer { color: var(--peer); }
    i.ours { background: var(--ours); } i.peer { background: var(--peer); } i.floor { background: var(--floor); }
    i.grid { background: #e0e0e0; width: 1px; top: 0; bottom: 0; }
    .axis .track { height: 16px; background: none; }
    .axis .track span { position: absolute; transform: translateX(-50%); font-size: 11px; color: #666; }
    dl { display: grid; grid-template-columns: max-content auto; gap: 0 1rem; } dd { margin: 0; }
    @media (max-width: 600px) {
      .row { grid-template-columns: 1fr 5em; } .row > :first-child { grid-column: 1 / 3; }
      .axis > :first-child { display: none; }
      tr { display: flex; flex-wrap: wrap; border-bottom: 1px solid #ddd; }
      th, td { flex: 1 1 0; min-width: 0; padding: 1px 3px; border: 0; }
      td:first-child { flex: 0 0 100%; } th:first-child { display: none; }
    }
    """
  end
end
