defmodule ElectricShapeDb.TortureTest do
  @moduledoc """
  `kill -9` at any moment of a VM's work. `CYCLES=1000 TORTURE_SEED=7` for more,
  or for the same steps again.
  """

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.Torture

  @moduletag :torture
  @moduletag timeout: :infinity

  test "what was acknowledged as durable is there, in order", %{storage_dir: storage_dir} do
    cycles = "CYCLES" |> System.get_env("50") |> String.to_integer()
    seed = "TORTURE_SEED" |> System.get_env("#{:rand.uniform(1_000_000)}") |> String.to_integer()
    counts = Torture.run(cycles, seed, storage_dir)

    IO.puts(
      "torture: cycles=#{cycles} acknowledged=#{counts.acknowledged} found=#{counts.found} " <>
        "lost_sync=#{counts.lost_sync} lost_buffered=#{counts.lost_buffered} " <>
        "unopenable=#{counts.unopenable}"
    )

    assert {counts.lost_sync, counts.unopenable} == {0, 0}, "seed #{seed}"
  end
end
