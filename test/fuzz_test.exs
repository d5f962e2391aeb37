defmodule ElectricShapeDb.FuzzTest do
  @moduledoc """
  What parses the terms of a file, with bytes that nobody wrote. `make fuzz` for an hour's
  worth, together with what parses its rows. `FUZZ_SECONDS` bounds it by time and not by
  `FUZZ_RUNS`. A failure prints its seed; `FUZZ_SEED` repeats it.
  """

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.Fuzz
  alias ElectricShapeDb.PeerVM

  # A VM has no more atoms than a million, and damaged ones are new.
  @in_one_vm 100_000

  @tag timeout: :infinity
  test "damaged bytes are parsed as the VM does, or not at all" do
    runs = "FUZZ_RUNS" |> System.get_env("20000") |> String.to_integer()
    seconds = System.get_env("FUZZ_SECONDS")
    seed = "FUZZ_SEED" |> System.get_env("#{:rand.uniform(1_000_000)}") |> String.to_integer()

    shares = if seconds, do: shares_for(String.to_integer(seconds)), else: shares(runs)

    made =
      for {vm, n} <- Stream.with_index(shares) do
        peer = PeerVM.start!()
        # Of modules with names that no file has.
        :ok = PeerVM.call(peer, Logger, :configure, [[level: :none]])

        case attempt(peer, vm, seed + n) do
          :ok ->
            :ok

          error ->
            flunk(
              "fuzz: runs=#{vm} found=1 (seed #{seed + n}): #{inspect(error, limit: :infinity)}"
            )
        end

        PeerVM.stop(peer)
        vm
      end

    IO.puts("fuzz: runs=#{Enum.sum(made)} found=0")
  end

  defp shares(runs) when runs <= @in_one_vm, do: [runs]
  defp shares(runs), do: [@in_one_vm | shares(runs - @in_one_vm)]

  defp shares_for(seconds) do
    deadline = System.monotonic_time(:second) + seconds
    share = fn -> if System.monotonic_time(:second) < deadline, do: div(@in_one_vm, 4) end
    share |> Stream.repeatedly() |> Stream.take_while(& &1)
  end

  defp attempt(peer, runs, seed) do
    PeerVM.call(peer, Fuzz, :run, [runs, seed], :infinity)
  catch
    :exit, reason -> {:vm_died, reason}
  end
end
