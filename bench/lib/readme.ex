defmodule Bench.Readme do
  @moduledoc "The figures of the README, between two comments; what is around them stays."

  alias Bench.{Results, Targets}
  alias Bench.Report.{Summary, Words}

  @file_name Path.expand("../../README.md", __DIR__)
  @first "<!-- figures: made by bench/report.exs -->"
  @last "<!-- end of the figures -->"

  # Of each unit the work that is told, and how.
  @told [
    {"add_shape/16", "`add_shape`, 16 processes"},
    {"add_shape/100", "`add_shape`, 100 processes"},
    {"persisted_per_s", "added and committed"},
    {"handle_for_shape_hit/16", "`handle_for_shape`, found"},
    {"handle_for_shape_miss/16", "`handle_for_shape`, not found"},
    {"handle_for_shape_critical/16", "`handle_for_shape_critical`"},
    {"handle_for_shape_buffered/16", "`handle_for_shape`, not yet committed"},
    {"shape_for_handle_warm/16", "`shape_for_handle`, warm"},
    {"shape_for_handle_cold/16", "`shape_for_handle`, cold"},
    {"shape_for_handle_buffered/16", "`shape_for_handle`, not yet committed"},
    {"handle_exists/16", "`handle_exists?`"},
    {"count_shapes/16", "`count_shapes`"},
    {"relations_100/16", "handles of a relation, 100 of them"},
    {"mark_snapshot_complete/16", "`mark_snapshot_complete`"},
    {"remove_shape/16", "`remove_shape`"},
    {"mixed_handle_for_shape", "`handle_for_shape` beside 4 unthrottled writers"},
    {"mixed_shape_for_handle", "`shape_for_handle`, warm, beside them"},
    {"drain_ms", "left to commit after 20,000 adds"},
    {"list_shapes_20k_ms", "`list_shapes` of 20,000"},
    {"reduce_meta_20k_ms", "`reduce_shape_meta` of 20,000"},
    {"restart_100k_ms", "start with 100,000"},
    {"open_10k_10k_add_shape_p99_us",
     "p99 of `add_shape`, 10,000 a second, beside 10,000 lookups"},
    {"open_10k_10k_handle_for_shape_p99_us", "p99 of `handle_for_shape`, half of those lookups"},
    {"open_10k_10k_shape_for_handle_p99_us", "p99 of `shape_for_handle`, the other half"},
    {"paced_shape_for_handle_p99_us", "p99 of 16 readers by handle beside 1,000 adds/s"},
    {"file_bytes_per_shape", "of file a shape, 1,055 of them its definition"},
    {"resident_bytes_per_shape_1m", "of memory a committed shape, at a million"},
    {"pending_bytes_per_shape", "of memory a pending shape, its definition included"}
  ]

  @spec write([Results.entry()], map()) :: :ok
  def write(entries, machine) do
    text = File.read!(@file_name)
    [before, rest] = String.split(text, @first, parts: 2)
    [_old, behind] = String.split(rest, @last, parts: 2)
    content = [@first, "\n", figures(entries, machine), @last]
    File.write!(@file_name, [before, content, behind])
  end

  defp figures(entries, machine) do
    by_name = Map.new(entries, &{&1.name, &1})
    told = for {name, words} <- @told, entry = by_name[name], do: {words, entry}
    # The ratio of a row says nothing of the floor's time.
    missed =
      for {entry, {kind, _}, false} <- Targets.judge(entries),
          kind != :times_floor,
          do: entry.name

    [
      Enum.map(Summary.sentences(entries, machine), &[wrap(&1), "\n"]),
      for {unit, rows} <- Words.by_unit(told, &elem(&1, 1)) do
        [
          "\n| #{Words.unit(unit)} | this store | replaced design | ratio |\n|---|---:|---:|---:|\n",
          Enum.map(rows, &row(&1, missed))
        ]
      end,
      "\nIn bold: short of its aim.\n"
    ]
  end

  defp row({words, entry}, missed) do
    ratio = Words.ratio(entry.ratio)
    ratio = if entry.name in missed, do: "**#{ratio}**", else: ratio
    "| #{words} | #{Words.number(entry.ours)} | #{Words.number(entry.peer)} | #{ratio} |\n"
  end

  # As the rest of the README.
  defp wrap(sentence) do
    sentence
    |> String.split(" ")
    |> Enum.chunk_while([], &chunk/2, &{:cont, line(&1), []})
    |> Enum.intersperse("\n")
  end

  defp chunk(word, words) do
    if words != [] and String.length(line([word | words])) > 96,
      do: {:cont, line(words), [word]},
      else: {:cont, [word | words]}
  end

  defp line(words), do: words |> Enum.reverse() |> Enum.join(" ")
end
