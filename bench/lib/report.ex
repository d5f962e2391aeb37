defmodule Bench.Report do
  @moduledoc "The results as one page that needs nothing else: plots, targets, and every figure."

  alias Bench.{Config, Results, Sample, Targets, Workload}
  alias Bench.Report.{Bars, Curves, Latencies, Svg}

  @functions [
    {"add_shape", "add_shape"},
    {"mark_snapshot_complete", "mark_snapshot_complete"},
    {"remove_shape", "remove_shape"},
    {"handle_for_shape_hit", "handle_for_shape, found"},
    {"handle_for_shape_miss", "handle_for_shape, not found"},
    {"handle_for_shape_critical", "handle_for_shape_critical"},
    {"shape_for_handle_warm", "shape_for_handle, warm"},
    {"shape_for_handle_cold", "shape_for_handle, cold"},
    {"handle_exists", "handle_exists?"},
    {"count_shapes", "count_shapes"},
    {"relations_100", "100 handles of a relation"},
    {"relations_100_by_row", "the same, the peer row by row"}
  ]

  @meta [
    {"touch/16", "touch"},
    {"validate_shape_handle/16", "validate_shape_handle"},
    {"lookup_touched/16", "lookup, touch: true"},
    {"count_by_flags/16", "count_by_flags"},
    {"shape_counts/16", "all counts"}
  ]

  @together [
    {"mixed_handle_for_shape", "handle_for_shape, 4 writers"},
    {"mixed_shape_for_handle", "shape_for_handle, 4 writers"},
    {"mixed_add_shape", "add_shape, the 4 writers"},
    {"paced_handle_for_shape", "handle_for_shape, 1,000 adds/s"},
    {"paced_shape_for_handle", "shape_for_handle, 1,000 adds/s"},
    {"paced_add_shape", "add_shape, 1,000 adds/s"},
    {"paced_cold_handle_for_shape", "handle_for_shape, any shape"},
    {"paced_cold_shape_for_handle", "shape_for_handle, any shape"},
    {"stalled_handle_for_shape", "handle_for_shape, disk stalled"},
    {"stalled_handle_for_shape_critical", "…_critical, disk stalled"},
    {"stalled_shape_for_handle", "shape_for_handle, disk stalled"},
    {"stalled_add_shape", "add_shape, disk stalled"}
  ]

  @curves [
    {"lookup_~", "handle_for_shape, calls/s"},
    {"add_~", "add_shape, calls/s"},
    {"restart_~_ms", "restart, ms"},
    {"list_shapes_~_ms", "list_shapes, ms"},
    {"reduce_meta_~_ms", "reduce_shape_meta, ms"}
  ]

  @sizes [20_000, 100_000, 1_000_000]

  @style """
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2rem auto; padding: 0 1rem; color: #222; }
  h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
  svg { max-width: 100%; height: auto; font: 12px system-ui, sans-serif; }
  svg .grid { stroke: #e3e3e3; } svg .axis { fill: #777; font-size: 11px; }
  svg .value { fill: #444; font-size: 10px; } svg .ratio { font-weight: 600; font-size: 13px; }
  svg .title { font-weight: 600; } svg .floor { stroke: #222; stroke-width: 2; }
  table { border-collapse: collapse; width: 100%; font-size: 13px; }
  th, td { text-align: right; padding: 2px 8px; border-bottom: 1px solid #eee; font-variant-numeric: tabular-nums; }
  th:first-child, td:first-child { text-align: left; }
  .met { color: #1a7f37; } .missed { color: #b42318; font-weight: 600; }
  .key span { display: inline-block; padding: 0 .5em; margin-right: .8em; color: white; border-radius: 3px; }
  dl { display: grid; grid-template-columns: max-content auto; gap: 0 1rem; } dd { margin: 0; }
  """

  @spec html([Results.entry()], keyword()) :: iodata()
  def html(entries, machine) do
    by_name = Map.new(entries, &{&1[:name], &1})

    [
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
      "<meta name=\"viewport\" content=\"width=device-width\">",
      "<title>Shape store: the bench</title><style>#{@style}</style></head><body>\n",
      "<h1>The shape store and the design it replaces</h1>\n",
      introduction(),
      section("Targets", targets(entries)),
      for processes <- Workload.processes() do
        section("Calls per second, #{of_processes(processes)}", throughput(by_name, processes))
      end,
      section("Latency, #{of_processes(16)}", latencies(by_name, suffixed(@functions, "/16"))),
      section("What a request asks of a shape, beside the host's own tables", [
        bars(by_name, @meta),
        latencies(by_name, @meta)
      ]),
      section("Reads beside writes, and on a stalled disk", [
        bars(by_name, @together),
        latencies(by_name, @together)
      ]),
      section("From 20,000 to 1,000,000 shapes", curves(by_name)),
      section("Every figure", everything(entries)),
      section("The machine", machine(machine)),
      "</body></html>\n"
    ]
  end

  @doc "A number as it stands in tables."
  @spec number(number() | nil) :: String.t()
  def number(nil), do: "–"

  def number(value) when abs(value) >= 1_000 do
    value |> round() |> Integer.to_string() |> String.replace(~r/(?<=\d)(?=(\d{3})+$)/, " ")
  end

  def number(value) when is_integer(value), do: Integer.to_string(value)
  def number(value), do: value |> Float.round(2) |> Float.to_string()

  defp introduction do
    """
    <p>Both sides ran in turn in one VM on one machine. Figures are medians of the rounds; the
    axes are logarithmic. A ratio above 1 always means that the shape store is ahead. The floor
    is what the term work of the same calls costs by itself, without any store.</p>
    <p class="key"><span style="background:#{Svg.colour(:ours)}">shape store</span>
    <span style="background:#{Svg.colour(:peer)}">replaced design</span>
    <span style="background:#{Svg.colour(:floor)}">floor</span></p>
    """
  end

  # A section without figures, as after a run of a few workloads, is left out.
  defp section(title, content) do
    if IO.iodata_length(content) == 0, do: [], else: ["<h2>#{title}</h2>\n", content]
  end

  defp of_processes(1), do: "1 process"
  defp of_processes(processes), do: "#{processes} processes"

  defp throughput(by_name, processes), do: bars(by_name, suffixed(@functions, "/#{processes}"))

  defp suffixed(names, suffix), do: for({name, label} <- names, do: {name <> suffix, label})

  defp bars(by_name, names) do
    case for {name, label} <- names, entry = by_name[name], do: {label, entry} do
      [] -> []
      rows -> Bars.draw("calls per second", rows)
    end
  end

  defp latencies(by_name, names) do
    case for {name, label} <- names, by_name[name], do: {label, quantiles(by_name, name)} do
      [] ->
        []

      rows ->
        [
          "<h3>Microseconds: median (dot), 90%, 99% (end of the thick line), 99.9%, maximum (ring)</h3>",
          Latencies.draw("latency in microseconds", rows)
        ]
    end
  end

  defp quantiles(by_name, name) do
    for side <- [:ours, :peer],
        quantiles = quantiles(by_name, name, side),
        map_size(quantiles) > 0,
        into: %{},
        do: {side, quantiles}
  end

  defp quantiles(by_name, name, side) do
    for {suffix, _quantile} <- Sample.latencies(),
        value = by_name["#{name}_#{suffix}_us"][side],
        into: %{},
        do: {suffix, value}
  end

  defp curves(by_name) do
    for {pattern, title} <- @curves do
      points =
        for size <- @sizes,
            entry = by_name[String.replace(pattern, "~", Config.size_name(size))],
            do: {size, entry}

      if length(points) > 1, do: Curves.draw(title, points), else: []
    end
  end

  defp targets(entries) do
    case Targets.judge(entries) do
      [] ->
        []

      judged ->
        [
          "<table><tr><th>work</th><th>ours</th><th>peer</th><th>unit</th><th>target</th><th>reached</th></tr>\n",
          Enum.map(judged, &target/1),
          "</table>\n"
        ]
    end
  end

  defp target({entry, target, met?}) do
    verdict = if met?, do: "met", else: "missed"
    reached = entry |> Targets.reached(target) |> number()

    row([
      entry[:name],
      number(entry[:ours]),
      number(entry[:peer]),
      entry[:unit],
      describe(target),
      ~s(<span class="#{verdict}">#{reached} #{verdict}</span>)
    ])
  end

  defp describe({:ratio, least}), do: "≥ #{least}× peer"
  defp describe({:at_most, most}), do: "≤ #{number(most)}"
  defp describe({:times_floor, most}), do: "≤ #{most}× floor"

  defp everything(entries) do
    [
      "<table><tr><th>name</th><th>unit</th><th>ours</th><th>min – max</th>",
      "<th>peer</th><th>min – max</th><th>floor</th><th>ratio</th></tr>\n",
      for entry <- entries do
        row([
          entry[:name],
          entry[:unit],
          number(entry[:ours]),
          spread(entry, :ours),
          number(entry[:peer]),
          spread(entry, :peer),
          number(entry[:floor]),
          number(entry[:ratio])
        ])
      end,
      "</table>\n"
    ]
  end

  defp spread(entry, side) do
    case entry[:spread][side] do
      nil -> "–"
      [min: min, max: max] -> "#{number(min)} – #{number(max)}"
    end
  end

  defp machine(machine) do
    [
      "<dl>",
      for(
        {name, value} <- machine,
        do: "<dt>#{label(name)}</dt><dd>#{Svg.escape("#{value}")}</dd>"
      ),
      "</dl>"
    ]
  end

  defp label(name), do: name |> Atom.to_string() |> String.replace("_", " ")

  defp row(cells), do: ["<tr>", for(cell <- cells, do: ["<td>", cell, "</td>"]), "</tr>\n"]
end
