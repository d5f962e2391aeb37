defmodule ElectricShapeDb.Torture do
  @moduledoc """
  Kills VMs at work and judges what the next one finds. This VM keeps the log of
  acknowledgements.

  What a worker changed must look as if it had taken some first part of its steps
  and no more: every step acknowledged as durable is in it, none that was not
  asked for is, and order is kept.
  """

  alias ElectricShapeDb.Torture.Plan

  @workers 8
  # A step acknowledged as durable, in a frame of the victim.
  @sync 1

  # The file is opened by one after the other of these.
  @configurations [[], [exclusive_mode: true], [synchronous: "FULL"]]

  @type counts :: %{atom() => non_neg_integer()}

  @doc "Kills `cycles` VMs on the store in `dir`. Raises when a shape is wrong."
  @spec run(pos_integer(), integer(), Path.t()) :: counts()
  def run(cycles, seed, dir) do
    # What a VM tells comes whether or not it is wanted yet. On a busy machine much of it
    # waits, and in the heap each collection would copy it.
    Process.flag(:message_queue_data, :off_heap)
    :rand.seed(:exsss, seed)
    counts = Map.from_keys(~w(acknowledged found lost_sync lost_buffered unopenable)a, 0)
    log = %{cycle: 0, shapes: %{}, acknowledged: []}
    state = %{seed: seed, dir: dir, cycle: 1, counts: counts, log: log}
    cycles(cycles, boot(), state).counts
  end

  # One more only looks. The next VM boots while this one works.
  defp cycles(0, vm, state), do: cycle(vm, 1, state)

  defp cycles(left, vm, state) do
    next = boot()
    cycles(left - 1, next, cycle(vm, moment(), state))
  end

  # After how many frames it is killed; now and then while it opens the file.
  defp moment do
    case :rand.uniform(8) do
      1 -> 0
      _ -> 1 + round(:math.pow(2, 11 * :rand.uniform()))
    end
  end

  defp cycle(vm, frames, state) do
    opts = Enum.at(@configurations, rem(state.cycle, length(@configurations)))
    opts = [storage_dir: state.dir] ++ opts
    job = %{opts: opts, seed: state.seed, cycle: state.cycle, workers: @workers}
    receive do: ({^vm, {:data, ready}} -> :ready = :erlang.binary_to_term(ready))
    Port.command(vm, :erlang.term_to_binary(job))
    state = listen(vm, frames, state)
    kill(vm)
    # What was in the pipe.
    %{listen(vm, :all, state) | cycle: state.cycle + 1}
  end

  defp listen(_vm, 0, state), do: state

  defp listen(vm, frames, state) do
    receive do
      {^vm, {:data, frame}} ->
        case note(frame, state) do
          {:ok, state} -> listen(vm, less(frames), state)
          {:end, state} -> state
        end

      {^vm, {:exit_status, _killed}} when frames == :all ->
        state

      {^vm, {:exit_status, status}} ->
        raise "the VM ended by itself, with status #{status}"
    end
  end

  defp less(:all), do: :all
  defp less(frames), do: frames - 1

  defp note(<<worker, kind, step::32>>, state),
    do: {:ok, update_in(state.log.acknowledged, &[{worker, kind, step} | &1])}

  defp note(frame, state) do
    case :erlang.binary_to_term(frame) do
      {:found, found} ->
        log = %{cycle: state.cycle, shapes: snapshots(found), acknowledged: []}
        {:ok, %{judge(found, state) | log: log}}

      {:unopenable, reason} ->
        IO.puts(:stderr, "cycle #{state.cycle} (seed #{state.seed}): #{inspect(reason)}")
        {:end, update_in(state.counts.unopenable, &(&1 + 1))}

      {:refused, step, reason} ->
        raise "#{inspect(step)} was refused: #{inspect(reason)}"
    end
  end

  # --- the judgement

  defp judge(found, %{log: log} = state) do
    for {handle, shape, _} <- found,
        shape != Plan.shape(handle),
        do: raise("#{handle} has the shape #{inspect(shape)}")

    found = by_worker(snapshots(found))
    before = by_worker(log.shapes)

    Enum.reduce(1..@workers, state, fn worker, state ->
      acknowledged = for {^worker, kind, step} <- log.acknowledged, do: {step, kind}
      plan = Plan.new(state.seed, log.cycle, worker, Map.get(before, worker, %{}))
      kept = kept!(plan, Map.get(found, worker, %{}), length(acknowledged) + 1)
      update_in(state.counts, &count(&1, acknowledged, kept))
    end)
  end

  defp count(counts, acknowledged, kept) do
    {found, lost} = Enum.split_with(acknowledged, fn {step, _kind} -> step <= kept end)
    {sync, buffered} = Enum.split_with(lost, fn {_step, kind} -> kind == @sync end)

    Map.merge(
      counts,
      %{
        acknowledged: length(acknowledged),
        found: length(found),
        lost_sync: length(sync),
        lost_buffered: length(buffered)
      },
      fn _key, a, b -> a + b end
    )
  end

  defp kept!(plan, found, steps) do
    case kept(plan, found, steps) do
      {:ok, kept} -> kept
      {:error, last} -> raise "worker #{plan.worker}: #{explain(last, found)}"
    end
  end

  @doc """
  How many of a worker's steps are in what was found; the most, when several numbers fit.
  When none does, what there would be after the last.
  """
  @spec kept(Plan.t(), Plan.shapes(), pos_integer()) ::
          {:ok, non_neg_integer()} | {:error, Plan.shapes()}
  def kept(plan, found, steps) do
    plans = Enum.scan(1..steps, plan, fn _, plan -> plan |> Plan.next() |> elem(1) end)

    case Enum.find(Enum.reverse([plan | plans]), &(&1.shapes == found)) do
      nil -> {:error, List.last(plans).shapes}
      plan -> {:ok, plan.step}
    end
  end

  defp explain(wanted, found) do
    "no number of its #{map_size(wanted)} shapes' steps gives what was found; against the last, " <>
      "missing or changed: #{inspect(Map.to_list(wanted) -- Map.to_list(found))}, " <>
      "not expected: #{inspect(Map.to_list(found) -- Map.to_list(wanted))}"
  end

  @doc "What was found, as a plan has it."
  @spec snapshots([{String.t(), term(), Plan.snapshot()}]) :: Plan.shapes()
  def snapshots(found),
    do: Map.new(found, fn {handle, _shape, snapshot} -> {handle, snapshot} end)

  @doc "The shapes of each worker."
  @spec by_worker(Plan.shapes()) :: %{pos_integer() => Plan.shapes()}
  def by_worker(shapes) do
    shapes
    |> Enum.group_by(fn {handle, _} -> Plan.worker(handle) end)
    |> Map.new(fn {worker, shapes} -> {worker, Map.new(shapes)} end)
  end

  # --- the VMs

  @doc "Boots a VM that waits for its job."
  @spec boot() :: port()
  def boot do
    paths = for app <- [:elixir, :logger, :electric_shape_db], do: ["-pa", ebin(app)]
    main = "'Elixir.ElectricShapeDb.Torture.Victim':main()."
    # Its stdout is for frames alone.
    args = ["-noinput", "-logger", "level", "none", paths, "-eval", main]

    Port.open({:spawn_executable, System.find_executable("erl")}, [
      :binary,
      :exit_status,
      packet: 4,
      args: List.flatten(args)
    ])
  end

  defp ebin(app), do: Path.join(to_string(:code.lib_dir(app)), "ebin")

  @doc "Kills the program of a port."
  @spec kill(port()) :: :ok
  def kill(vm) do
    {:os_pid, os_pid} = Port.info(vm, :os_pid)
    {_, 0} = System.cmd("kill", ["-9", "#{os_pid}"])
    :ok
  end
end
