defmodule Bench.Service do
  @moduledoc """
  What the service itself was measured at, with its own modules and with this store in
  their place: its release 1.7.12 on OTP 27, two cores, two rounds in turn. The bench's own
  figures stand beside them in the report, so that one sees how near the rebuilt design
  comes to the one in service.

  `own` is the service's figure with its own modules, in the unit of the entry; `ratio` how
  many times better it was with this store. The spans are those of the numbers of processes
  that were measured. Where one was not noted it is `nil`.
  """

  @figures %{
    "add_shape/1" => %{own: {117_000}, ratio: {1.7, 2.1}},
    "add_shape/16" => %{own: {136_000}, ratio: {1.7, 2.1}},
    "add_shape/100" => %{own: {167_000}, ratio: {1.7, 2.1}},
    "persisted_per_s" => %{own: {8_000}, ratio: {25, 35}},
    "handle_for_shape_hit/16" => %{own: {66_000}, ratio: {14, 27}},
    "handle_for_shape_miss/16" => %{own: {104_000}, ratio: nil},
    "handle_for_shape_buffered/1" => %{own: {228_000}, ratio: {1.4}},
    "handle_for_shape_buffered/16" => %{own: {492_000}, ratio: {1.4}},
    "shape_for_handle_buffered/1" => %{own: {366_000}, ratio: nil},
    "shape_for_handle_buffered/16" => %{own: {728_000}, ratio: nil},
    "shape_for_handle_warm/1" => %{own: {24_000}, ratio: nil},
    "shape_for_handle_warm/16" => %{own: {31_000}, ratio: nil},
    "handle_exists/16" => %{own: {116_000}, ratio: {21, 32}},
    "count_shapes/16" => %{own: {125_000}, ratio: nil},
    "relations_100/16" => %{own: {2_100}, ratio: {69, 150}},
    "mark_snapshot_complete/16" => %{own: nil, ratio: {24, 47}},
    "mixed_handle_for_shape" => %{own: nil, ratio: {72}},
    "paced_shape_for_handle_p99_us" => %{own: {1_400}, ratio: nil},
    "restart_100k_ms" => %{own: {500, 1_100}, ratio: {15, 17}},
    "boot_100k_ms" => %{own: {3_800}, ratio: nil},
    "list_shapes_20k_ms" => %{own: {460}, ratio: {5, 6}},
    "list_shapes_100k_ms" => %{own: {3_000, 3_700}, ratio: {5, 6}},
    "file_bytes_per_shape" => %{own: {6_400}, ratio: nil}
  }

  @type span :: {number()} | {number(), number()}

  @doc "What was measured of an entry's work; `nil` where it was not."
  @spec figure(String.t()) :: %{own: span() | nil, ratio: span() | nil} | nil
  def figure(name), do: @figures[name]

  @spec words() :: String.t()
  def words, do: "release 1.7.12 of the service, OTP 27, 2 cores"
end
