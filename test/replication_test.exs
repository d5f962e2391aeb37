defmodule ElectricShapeDb.ReplicationTest do
  @moduledoc """
  Litestream beside a store under load, with `kill -9` of either. `CYCLES=100
  REPLICATE_SEED=7 SYNC=1s` for more, for the same steps again, and for another interval.
  """

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.Replication

  @moduletag :litestream
  @moduletag timeout: :infinity

  test "what was replicated is there, and nothing is malformed", %{storage_dir: dir} do
    cycles = "CYCLES" |> System.get_env("4") |> String.to_integer()
    interval = System.get_env("SYNC", "100ms")

    seed =
      "REPLICATE_SEED" |> System.get_env("#{:rand.uniform(1_000_000)}") |> String.to_integer()

    result = Replication.run(cycles, seed, interval, dir)
    # The last restore is of a store at rest.
    [0 | behind] = result.behind_ms

    IO.puts(
      "replicate: cycles=#{cycles} interval=#{interval} restores=#{result.restores} " <>
        "acknowledged=#{result.acknowledged} malformed=#{result.malformed} " <>
        "behind_ms_median=#{median(behind)} behind_ms_most=#{Enum.max(behind)} " <>
        "restarted_ms_median=#{median(result.back_ms)} restarted_ms_most=#{Enum.max(result.back_ms)} " <>
        "behind_steps_most=#{Enum.max(result.behind_steps)}"
    )

    assert result.malformed == 0, "seed #{seed}"
  end

  defp median(numbers), do: numbers |> Enum.sort() |> Enum.at(div(length(numbers), 2))
end
