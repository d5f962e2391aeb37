defmodule Bench.Workloads.Stall do
  @moduledoc """
  A disk that hangs: every write to the store's files waits for three seconds, by
  way of a preloaded library (`bench/stall/stall.c`) that stands for both sides
  alike. Meanwhile one process adds 1,000 shapes a second, and of each kind of read
  four processes make 500 calls a second each, so that the processors are not what
  anybody waits for.
  """

  @behaviour Bench.Workload

  alias Bench.{Crew, Probe, Sample, Shapes, Stock, Store, Workload}

  @source Path.expand("../../stall/stall.c", __DIR__)
  @library Path.expand("../../_build/stall.so", __DIR__)

  @size 20_000
  @per_process 2_000
  @stall_ms 3_000
  @adds_per_s 1_000
  @reads_per_s 500
  # Writes are made to hang only once some adds are on their way.
  @head_start_ms 200

  @impl true
  def workloads(config) do
    kinds = ~w(handle_for_shape handle_for_shape_critical shape_for_handle add_shape drain_ms)

    [
      %Workload{
        names: Enum.map(kinds, &"stalled_#{&1}"),
        run: fn side -> in_fresh_vm(side, Stock.copy(config, side, @size)) end,
        rounds: 3
      }
    ]
  end

  defp in_fresh_vm(side, directory) do
    {_, 0} = System.cmd("cc", ~w(-O2 -shared -fPIC -o) ++ [@library, @source, "-ldl"])
    flag = Path.join(directory, "stalled")
    environment = [{"LD_PRELOAD", @library}, {"BENCH_STALL_FLAG", flag}]
    Probe.run({__MODULE__, :measure}, {side, directory, flag}, environment)
  after
    File.rm_rf!(directory)
  end

  @doc "A probe: what the calls achieve while writes hang, and the drain afterwards."
  def measure({side, directory, flag}) do
    Store.with_store(side, directory, fn store ->
      Store.read_all(store, Shapes.range(0..(Shapes.warm() - 1)))
      stall = Task.async(fn -> stall(flag) end)
      outcomes = Crew.run_all(jobs(store))
      Task.await(stall)
      {drain_us, :ok} = :timer.tc(fn -> Store.flush(store) end)

      Enum.flat_map(outcomes, fn {kind, outcome} ->
        Sample.rate_and_latencies("stalled_#{kind}", outcome)
      end) ++ [Sample.new("stalled_drain_ms", "ms", drain_us / 1_000)]
    end)
  end

  defp stall(flag) do
    Process.sleep(@head_start_ms)
    File.touch!(flag)
    Process.sleep(@stall_ms)
    File.rm!(flag)
  end

  defp jobs(%{db: db, stack_id: id}) do
    find = %Crew.Job{
      name: :handle_for_shape,
      processes: 4,
      inputs: &Shapes.scattered(Shapes.warm(), &1, @per_process),
      operation: fn {handle, shape} -> {:ok, ^handle} = db.handle_for_shape(id, shape) end,
      until: {:for, @head_start_ms + @stall_ms},
      pace: @reads_per_s
    }

    critical = fn {handle, shape} -> {:ok, ^handle} = db.handle_for_shape_critical(id, shape) end
    read = fn {handle, _shape} -> {:ok, _} = db.shape_for_handle(id, handle) end
    add = fn {handle, shape} -> {:ok, _hash} = db.add_shape(id, shape, handle) end
    adds = div(@adds_per_s * (@head_start_ms + @stall_ms), 1_000) * 2

    [
      find,
      %{find | name: :handle_for_shape_critical, operation: critical},
      %{find | name: :shape_for_handle, operation: read},
      %{
        find
        | name: :add_shape,
          processes: 1,
          inputs: fn 1 -> Shapes.range(@size..(@size + adds)) end,
          operation: add,
          pace: @adds_per_s
      }
    ]
  end
end
