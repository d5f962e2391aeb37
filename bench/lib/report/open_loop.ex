defmodule Bench.Report.OpenLoop do
  @moduledoc "The open loop in tables: a row for each rate, a column for each quantile."

  alias Bench.Report.{Html, Words}
  alias Bench.Results

  @quantiles ["p50", "p99", "p999", "max"]
  @heads ["", "arrivals/s", "p50", "p99", "p99.9", "max"]

  @spec html([Results.entry()]) :: iodata()
  def html([]), do: []

  def html(entries) do
    by_name = Map.new(entries, &{&1.name, &1})
    names = for %{name: name, unit: "ops/s"} <- entries, do: name
    loads = Enum.filter(names, &(&1 =~ ~r/^load\d/ and not (&1 =~ "_pacer")))
    beside = Enum.filter(names, &(&1 =~ ~r/^open_/ and not (&1 =~ "_pacer")))

    [
      """
      <p>Microseconds from the moment when an operation was due to its end; lower is better.
      Operations arrive at a rate, whether or not those before are done, at 100 processes. The
      arrivals are messages of a thread, which sent them late as the last line says; the floor
      is the term work alone at the same rate. Of this store the work alone is told as well:
      the rest is waiting, for the message, for a scheduler, for those before.</p>
      """,
      sections(by_name, loads, &of_load/1, &"#{&1}_pacer"),
      # One for all that arrive together.
      sections(
        by_name,
        beside,
        &of_beside/1,
        &Regex.replace(~r/^(open_[^_]*_[^_]*).*/, &1, "\\1_pacer")
      )
    ]
  end

  defp sections(by_name, names, title, pacer) do
    for name <- names do
      rows =
        for side <- [:ours, :peer, :floor], rate = by_name[name][side] do
          [label(side) | figures(by_name, name, side, rate)]
        end

      pacer = pacer.(name)

      beside =
        for {label, beside} <- [{"its work alone", name <> "_work"}, {"sent late", pacer}],
            by_name["#{beside}_p50_us"][:ours],
            do: [label | figures(by_name, beside, :ours, nil)]

      ["<h3>", Html.name(title.(name)), "</h3>\n", Html.table(@heads, rows ++ beside)]
    end
  end

  defp figures(by_name, name, side, rate) do
    [Words.number(rate && round(rate)) <> undone(by_name["#{name}_undone"][side])] ++
      for quantile <- @quantiles, do: Words.number(by_name["#{name}_#{quantile}_us"][side])
  end

  defp undone(none) when none in [nil, 0, 0.0], do: ""
  defp undone(percent), do: "<small>#{Words.number(percent)} % not made</small>"

  defp label(side), do: ~s(<span class="#{side}">#{Words.side(side)}</span>)

  defp of_load("load" <> rest) do
    [load, function] = String.split(rest, "_", parts: 2)
    "#{function} at #{load} % of what each can do"
  end

  defp of_beside("open_" <> rest) do
    [adds, lookups, function] = String.split(rest, "_", parts: 3)
    "#{function}, with #{adds} adds/s beside #{lookups} lookups/s"
  end
end
