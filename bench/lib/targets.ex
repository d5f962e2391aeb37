defmodule Bench.Targets do
  @moduledoc """
  What the store set out to reach, and whether an entry reaches it.

  A target is a least ratio to the peer, a most value, or a most multiple of the
  time that the floor takes.
  """

  alias Bench.Results

  @type target :: {:ratio, number()} | {:at_most, number()} | {:times_floor, number()}

  @body_bytes 1_055

  @targets [
    {"add_shape/16", {:ratio, 2}},
    {"add_shape/100", {:ratio, 2}},
    {"add_shape/16_p99_us", {:at_most, 30}},
    {"add_shape/100_p99_us", {:at_most, 30}},
    {"persisted_per_s", {:ratio, 12}},
    {"drain_ms", {:at_most, 50}},
    {"handle_for_shape_hit/16", {:ratio, 9}},
    {"handle_for_shape_hit/16", {:times_floor, 1.5}},
    {"handle_for_shape_miss/16", {:ratio, 6}},
    {"handle_for_shape_miss/16", {:times_floor, 1.5}},
    {"handle_for_shape_critical/16", {:ratio, 14}},
    {"handle_for_shape_critical/16", {:times_floor, 1.5}},
    {"shape_for_handle_warm/16", {:ratio, 5}},
    {"shape_for_handle_cold/16", {:ratio, 1.5}},
    {"handle_exists/16", {:ratio, 30}},
    {"count_shapes/16", {:ratio, 30}},
    {"relations_100/16", {:ratio, 25}},
    {"mark_snapshot_complete/16", {:ratio, 12}},
    {"remove_shape/16", {:ratio, 10}},
    {"touch/16", {:ratio, 1.5}},
    {"validate_shape_handle/16", {:ratio, 1}},
    {"lookup_touched/16", {:ratio, 2}},
    {"count_by_flags/16", {:ratio, 1}},
    {"least_recently_used_200k_ms", {:ratio, 50}},
    {"boot_100k_ms", {:ratio, 50}},
    {"list_shapes_20k_ms", {:ratio, 2.5}},
    {"reduce_meta_20k_ms", {:ratio, 12}},
    {"restart_100k_ms", {:ratio, 10}},
    {"mixed_handle_for_shape", {:ratio, 150}},
    {"mixed_handle_for_shape_p99_us", {:at_most, 1_000}},
    {"mixed_shape_for_handle", {:ratio, 150}},
    {"mixed_shape_for_handle_p99_us", {:at_most, 1_000}},
    {"mixed_drain_ms", {:at_most, 1_000}},
    {"growth_lookup_1m", {:at_most, 1.3}},
    {"growth_add_1m", {:at_most, 1.3}},
    {"file_bytes_per_shape", {:at_most, 1_250}},
    {"resident_bytes_per_shape_1m", {:at_most, 200}},
    {"pending_bytes_per_shape", {:at_most, @body_bytes + 300}}
  ]

  # At half of what each function can do.
  @at_half for function <- ~w(add_shape mark_snapshot_complete remove_shape handle_for_shape
                              shape_for_handle handle_exists? count_shapes
                              shape_handles_for_relations),
               {quantile, most} <- [{"p99", 50}, {"p999", 1_000}],
               do: {"load50_#{function}_#{quantile}_us", {:at_most, most}}

  @doc "The targets that the run has a figure for, in order, each with its entry."
  @spec judge([Results.entry()]) :: [{Results.entry(), target(), met? :: boolean()}]
  def judge(entries) do
    by_name = Map.new(entries, &{&1[:name], &1})

    for {name, target} <- @targets ++ @at_half,
        entry = by_name[name],
        reached = reached(entry, target),
        do: {entry, target, met?(reached, target)}
  end

  @doc "The figure that is compared with the target; `nil` when the run lacks it."
  @spec reached(Results.entry(), target()) :: number() | nil
  def reached(entry, {:ratio, _}), do: entry[:ratio]
  def reached(entry, {:at_most, _}), do: entry[:ours]

  def reached(entry, {:times_floor, _}) do
    if entry[:ours] && entry[:floor], do: entry[:floor] / entry[:ours]
  end

  defp met?(reached, {:ratio, least}), do: reached >= least
  defp met?(reached, {_at_most_or_times_floor, most}), do: reached <= most
end
