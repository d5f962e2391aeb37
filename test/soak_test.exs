defmodule ElectricShapeDb.SoakTest do
  @moduledoc "A steady load for ten seconds. `MINUTES=60` for longer."

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.PeerVM
  alias ElectricShapeDb.Soak

  @moduletag :soak
  @moduletag :measures
  @moduletag timeout: :infinity

  # What a heap may be larger at one moment than at another.
  @slack 16 * 1024 * 1024

  test "memory stays flat, and every answer is right", %{storage_dir: storage_dir} do
    milliseconds =
      case System.get_env("MINUTES") do
        nil -> 10_000
        minutes -> String.to_integer(minutes) * 60_000
      end

    soak = PeerVM.call(PeerVM.start!(), Soak, :run, [milliseconds, storage_dir], :infinity)

    IO.puts(
      "soak: minutes=#{Float.round(milliseconds / 60_000, 1)} ops=#{soak.ops} " <>
        "rss_start=#{soak.rss_start} rss_end=#{soak.rss_end} " <>
        "long_schedules=#{soak.long_schedules} errors=#{soak.errors}"
    )

    assert soak.errors == 0
    assert soak.rss_end <= soak.rss_start + @slack
  end
end
