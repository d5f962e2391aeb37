defmodule ElectricShapeDb.HostileTest do
  @moduledoc """
  Every native function under hostile arguments, in a VM that has to live
  through it. `HOSTILE_CALLS=1000000 HOSTILE_SEED=7` for more, or for one again.
  """

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.Hostile
  alias ElectricShapeDb.PeerVM

  @moduletag :hostile
  @moduletag timeout: :infinity

  test "the VM lives", %{storage_dir: storage_dir} do
    calls = "HOSTILE_CALLS" |> System.get_env("20000") |> String.to_integer()
    seed = "HOSTILE_SEED" |> System.get_env("#{:rand.uniform(1_000_000)}") |> String.to_integer()
    vm = PeerVM.start!()

    case attempt(vm, calls, seed, storage_dir) do
      {:ok, made} -> IO.puts("hostile: calls=#{made} crashes=0")
      error -> flunk("hostile: calls=#{calls} crashes=1 (seed #{seed}): #{inspect(error)}")
    end
  end

  defp attempt(vm, calls, seed, dir) do
    result = PeerVM.call(vm, Hostile, :run, [calls, seed, dir], :infinity)
    if PeerVM.call(vm, Hostile, :well?, [dir]), do: result, else: {:error, :unwell}
  catch
    :exit, reason -> {:error, {:vm_died, reason}}
  end
end
