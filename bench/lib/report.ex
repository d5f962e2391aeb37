defmodule Bench.Report do
  @moduledoc """
  The results of the last whole runs as one page that needs nothing else, and as the tables
  of the README.
  """

  alias Bench.{Config, Files, Readme, Results, Sample, Service, Shapes, Targets, Workload}
  alias Bench.Report.{Bars, Html, Latencies, Summary, Words}

  @functions [
    {"add_shape", "add_shape"},
    {"mark_snapshot_complete", "mark_snapshot_complete"},
    {"remove_shape", "remove_shape"},
    {"handle_for_shape_hit", "handle_for_shape, found"},
    {"handle_for_shape_miss", "handle_for_shape, not found"},
    {"handle_for_shape_critical", "handle_for_shape_critical"},
    {"handle_for_shape_buffered", "handle_for_shape, not yet committed"},
    {"shape_for_handle_warm", "shape_for_handle, warm"},
    {"shape_for_handle_cold", "shape_for_handle, cold"},
    {"shape_for_handle_buffered", "shape_for_handle, not yet committed"},
    {"handle_exists", "handle_exists?"},
    {"count_shapes", "count_shapes"},
    {"relations_100", "100 handles of a relation"},
    {"relations_100_whole", "the same, all rows fetched in one call"}
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

  @growing ["lookup_~", "add_~", "restart_~_ms", "list_shapes_~_ms", "reduce_meta_~_ms"]
  @sizes [20_000, 100_000, 1_000_000]

  @page Path.expand("../report.html", __DIR__)

  @doc "Writes the page and the README's tables anew, from the files of results."
  @spec write() :: :ok
  def write do
    case Files.read("latest") do
      nil ->
        IO.puts("no results yet: run bench/run.exs")

      %{machine: machine, entries: entries} ->
        open_loop = Files.read("open_loop") || %{entries: []}
        File.write!(@page, html(entries, open_loop.entries, machine))
        Readme.write(entries ++ open_loop.entries, machine)
        IO.puts("written: #{@page}, README.md")
    end
  end

  @spec html([Results.entry()], [Results.entry()], map()) :: iodata()
  def html(entries, open_loop, machine) do
    by_name = Map.new(entries, &{&1.name, &1})

    [
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
      "<title>Shape store: the bench</title><style>#{Html.style()}</style></head><body>\n",
      "<h1>This store and the design it replaces</h1>\n",
      ~s(<div class="summary">),
      for sentence <- Summary.sentences(entries ++ open_loop, machine) do
        ["<p>", Html.escape(sentence), "</p>\n"]
      end,
      "</div>\n",
      introduction(),
      Html.section("Beside the service's own figures", service(entries)),
      Html.section("Aims", aims(entries ++ open_loop)),
      Html.section("Latency at a rate of arrivals", Bench.Report.OpenLoop.html(open_loop)),
      for processes <- Workload.processes() do
        throughput(by_name, suffixed(@functions, processes), "Calls per second, #{of(processes)}")
      end,
      Html.section(
        "Latency, 16 processes that ask without end",
        latencies(by_name, suffixed(@functions, 16))
      ),
      Html.section("What a request asks of a shape, beside the tables of the host", [
        bars(by_name, @meta),
        latencies(by_name, @meta)
      ]),
      Html.section("Reads beside writes, and on a stalled disk", [
        bars(by_name, @together),
        latencies(by_name, @together)
      ]),
      Html.section("From 20,000 to 1,000,000 shapes", growing(by_name)),
      Html.section("Every figure", everything(entries)),
      Html.section("The machine", machine(machine)),
      "</body></html>\n"
    ]
  end

  defp introduction do
    """
    <p>Both sides ran in turn in one VM on one machine. Figures are medians of the rounds; the
    axes of plots are logarithmic. A ratio above 1 always means that this store is ahead. The
    floor is what the term work of the same calls costs by itself, without any store.</p>
    <p class="key"><span style="background:var(--ours)">#{Words.side(:ours)}</span><span
    style="background:var(--peer)">#{Words.side(:peer)}</span><span
    style="background:var(--floor)">#{Words.side(:floor)}</span></p>
    """
  end

  defp of(1), do: "1 process"
  defp of(processes), do: "#{processes} processes"

  defp suffixed(names, processes),
    do: for({name, label} <- names, do: {"#{name}/#{processes}", label})

  defp throughput(by_name, names, title),
    do: Html.section(title <> ": higher is better", bars(by_name, names))

  defp bars(by_name, names) do
    case for {name, label} <- names, entry = by_name[name], do: {label, entry} do
      [] -> []
      rows -> Bars.draw("calls/s", rows)
    end
  end

  defp latencies(by_name, names) do
    case for {name, label} <- names, by_name[name], do: {label, quantiles(by_name, name)} do
      [] ->
        []

      rows ->
        [
          "<h3>Microseconds, lower is better</h3><p><small>median (dot), 99 % (end of the ",
          "thick line, and in figures), 99.9 % (mark), maximum (end of the line)</small></p>\n",
          Latencies.draw(rows)
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

  defp service(entries) do
    case for entry <- entries, figure = Service.figure(entry.name), do: {entry, figure} do
      [] ->
        []

      rows ->
        [
          "<p>The last two columns were measured inside the service (#{Service.words()}) on ",
          "another machine: its own modules, and how many times better this store was there.</p>\n",
          Html.by_unit(
            rows,
            ["work", "this store", "replaced design", "ratio", "service", "ratio there"],
            &elem(&1, 0),
            fn {entry, figure} ->
              [
                Html.name(Words.work(entry)),
                Words.number(entry.ours),
                Words.number(entry.peer),
                Words.ratio(entry.ratio),
                Words.span(figure.own),
                if(figure.ratio, do: Words.span(figure.ratio) <> "×", else: "–")
              ]
            end
          )
        ]
    end
  end

  defp aims(entries) do
    Html.by_unit(
      Targets.judge(entries),
      ["work", "this store", "replaced design", "aim", "reached"],
      &elem(&1, 0),
      fn {entry, target, met?} ->
        verdict = if met?, do: "met", else: "missed"
        reached = entry |> Targets.reached(target) |> reached(target)

        [
          Html.name(Words.work(entry)),
          Words.number(entry.ours),
          Words.number(entry.peer),
          aim(target),
          ~s(<span class="#{verdict}">#{reached} #{verdict}</span>)
        ]
      end
    )
  end

  defp aim({:ratio, least}), do: "≥ #{least}×"
  defp aim({:at_most, most}), do: "≤ #{Words.number(most)}"
  defp aim({:times_floor, most}), do: "≤ #{most}× the floor’s time"

  defp reached(reached, {:at_most, _most}), do: Words.number(reached)
  defp reached(reached, _ratio), do: Words.ratio(reached)

  defp growing(by_name) do
    entries =
      for pattern <- @growing,
          size <- @sizes,
          entry = by_name[String.replace(pattern, "~", Config.size_name(size))],
          do: entry

    figures(entries)
  end

  defp everything(entries), do: figures(entries)

  defp figures(entries) do
    Html.by_unit(
      entries,
      ["name", Words.side(:ours), Words.side(:peer), Words.side(:floor), "ratio"],
      fn entry ->
        [
          Html.name(entry.name),
          figure(entry, :ours),
          figure(entry, :peer),
          Words.number(entry.floor),
          Words.ratio(entry.ratio)
        ]
      end
    )
  end

  # With the lowest and the highest of the rounds.
  defp figure(entry, side) do
    case entry.spread[side] do
      nil -> "–"
      %{min: same, max: same} -> Words.number(entry[side])
      %{min: min, max: max} -> [Words.number(entry[side]), spread(min, max)]
    end
  end

  defp spread(min, max), do: "<small>#{Words.short(min)} – #{Words.short(max)}</small>"

  defp machine(machine) do
    pairs = Enum.sort(machine)
    shapes = "20,000 of the service, spread over #{Shapes.tables()} tables"

    [
      "<dl>",
      for({name, value} <- pairs ++ [shapes: shapes]) do
        "<dt>#{label(name)}</dt><dd>#{Html.escape("#{value}")}</dd>"
      end,
      "</dl>"
    ]
  end

  defp label(name), do: name |> Atom.to_string() |> String.replace("_", " ")
end
