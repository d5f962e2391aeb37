defmodule Bench.Report.Summary do
  @moduledoc "The results in three sentences, which the report and the README begin with."

  alias Bench.{Results, Service, Targets}
  alias Bench.Report.Words

  # What the first sentence tells, and how.
  @told [
    {"add_shape/16", "adds"},
    {"handle_for_shape_hit/16", "finds handles"},
    {"shape_for_handle_warm/16", "reads shapes"},
    {"handle_exists/16", "knows whether a handle is there"},
    {"relations_100/16", "lists the handles of a table"}
  ]

  @spec sentences([Results.entry()], map()) :: [String.t()]
  def sentences(entries, machine) do
    by_name = Map.new(entries, &{&1.name, &1})
    [of_ratios(by_name, machine), of_service(machine), of_aims(entries)]
  end

  defp of_ratios(by_name, machine) do
    told =
      for {name, words} <- @told,
          ratio = by_name[name][:ratio],
          do: "#{words} #{Words.ratio(ratio)}"

    restart =
      if ratio = by_name["restart_100k_ms"][:ratio],
        do: " and starts with 100,000 shapes #{Words.ratio(ratio)}",
        else: ""

    "On #{machine.date}, at commit #{machine.commit}, on #{machine.cores} cores of an " <>
      "#{machine.processor} (#{machine.memory}, #{machine.kernel}, #{machine.erlang}), this store " <>
      "#{Enum.join(told, ", ")}#{restart} as fast as the replaced design, at 16 processes."
  end

  defp of_service(machine) do
    how =
      case machine.replaced_design do
        "row" -> "reads row by row as the service does"
        "whole" -> "fetches all rows of a query in one call, which is its best"
      end

    "The replaced design is one rebuilt for this bench, which #{how}; inside the service itself " <>
      "(#{Service.words()}) this store added 1.7 to 2.1 times as fast as its own modules, looked " <>
      "up by shape 14 to 27 times, listed the handles of a table 69 to 150 times, and started " <>
      "15 to 17 times."
  end

  defp of_aims(entries) do
    judged = Targets.judge(entries)
    missed = for {entry, target, false} <- judged, do: {entry, target}

    {at_half, alone} =
      Enum.split_with(missed, fn {entry, _} -> String.starts_with?(entry.name, "load50_") end)

    told = for({entry, target} <- alone, do: "#{Words.work(entry)} #{reached(entry, target)}")

    "It reaches #{length(judged) - length(missed)} of its #{length(judged)} aims" <>
      case told ++ at_half(at_half) do
        [] -> "."
        told -> "; short of them are #{Enum.join(told, ", ")}."
      end
  end

  defp at_half([]), do: []

  defp at_half(missed) do
    of_floor =
      if Enum.all?(missed, fn {entry, {:at_most, most}} -> (entry.floor || 0) > most end),
        do: ", which the term work alone, without any store, misses too"

    [
      "and #{length(missed)} latencies of what arrives at half of what a function can do#{of_floor}"
    ]
  end

  defp reached(entry, {:ratio, least}), do: "(#{Words.ratio(entry.ratio)} of #{least}×)"

  defp reached(entry, {:at_most, most}),
    do: "(#{Words.number(entry.ours)} of #{Words.number(most)} #{entry.unit})"

  defp reached(entry, {:times_floor, most} = target),
    do: "(#{Words.ratio(Targets.reached(entry, target))} of #{most}× the floor's time)"
end
