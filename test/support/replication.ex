defmodule ElectricShapeDb.Replication do
  @moduledoc """
  A store under load with Litestream beside it, of which now the one and now the other is
  killed. After each kill the replica is restored into another folder, opened there and
  judged.

  What is restored must look, for each worker, as if it had taken some first part of its
  steps and no more, never fewer than what was restored before. How far that is behind what
  was acknowledged by the moment of the kill is measured.
  """

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Admin
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Connection
  alias ElectricShapeDb.Litestream
  alias ElectricShapeDb.StoreCase
  alias ElectricShapeDb.Torture
  alias ElectricShapeDb.Torture.Plan
  alias ElectricShapeDb.Torture.Victim

  @workers 4

  # A load of some 1,500 steps a second: what a service has at most, and no more than
  # Litestream can copy.
  @pace 2

  # More steps than are on their way at that pace.
  @in_pipe 200

  @type result :: %{
          restores: non_neg_integer(),
          acknowledged: non_neg_integer(),
          malformed: non_neg_integer(),
          behind_ms: [non_neg_integer()],
          # The same just after Litestream was started again.
          back_ms: [non_neg_integer()],
          behind_steps: [non_neg_integer()]
        }

  @spec run(pos_integer(), integer(), String.t(), Path.t()) :: result()
  def run(cycles, seed, interval, dir) do
    :rand.seed(:exsss, seed)
    opts = [storage_dir: Path.join(dir, "store"), external_checkpoint: true]

    state = %{
      opts: opts,
      dir: dir,
      seed: seed,
      cycle: 0,
      # Of each cycle, the latest first: what it began with, and what it acknowledged when.
      logs: [],
      replicated: {0, %{}},
      # Whether Litestream has come back in this cycle, with what it missed to copy.
      back: false,
      litestream: Litestream.new(Connection.db_path!(opts), dir, interval),
      result: %{
        restores: 0,
        acknowledged: 0,
        malformed: 0,
        behind_ms: [],
        back_ms: [],
        behind_steps: []
      }
    }

    state = Enum.reduce(1..cycles, state, fn n, state -> cycle(state, n) end)
    finish(state)
  end

  # --- a cycle: a VM from its boot to its killing

  defp cycle(state, n) do
    state = %{state | cycle: n} |> with_litestream()
    {vm, state} = begin(state)
    state = listen(vm, frames(), state)

    state =
      if rem(n, 2) == 0 do
        # The other one goes first, and comes back while there is work.
        state = %{state | litestream: Litestream.kill(state.litestream)}
        killed = now()
        state = vm |> listen(:arrived, state) |> then(&listen(vm, @in_pipe, &1)) |> judge(killed)
        listen(vm, frames(), %{with_litestream(state) | back: true})
      else
        state
      end

    Torture.kill(vm)
    killed = now()
    state = vm |> listen(:all, state) |> judge(killed)
    %{state | back: false}
  end

  defp with_litestream(%{litestream: %{port: nil} = litestream} = state),
    do: %{state | litestream: Litestream.start(litestream)}

  defp with_litestream(state), do: state

  defp begin(state) do
    vm = Torture.boot()
    receive do: ({^vm, {:data, ready}} -> :ready = :erlang.binary_to_term(ready))

    job = %{
      opts: state.opts,
      seed: state.seed,
      cycle: state.cycle,
      workers: @workers,
      pace: @pace
    }

    Port.command(vm, :erlang.term_to_binary(job))

    receive do
      {^vm, {:data, frame}} ->
        {:found, found} = :erlang.binary_to_term(frame)
        log = %{cycle: state.cycle, shapes: by_worker(found), acknowledged: %{}}
        {vm, %{state | logs: [log | state.logs]}}
    end
  end

  defp frames, do: 50 + :rand.uniform(1_000)

  defp listen(_vm, 0, state), do: state

  defp listen(vm, frames, state) do
    receive do
      {^vm, {:data, <<worker, _kind, step::32>>}} ->
        [log | logs] = state.logs
        log = put_in(log.acknowledged[{worker, step}], now())
        state = update_in(state.result.acknowledged, &(&1 + 1))
        left = if is_atom(frames), do: frames, else: frames - 1
        listen(vm, left, %{state | logs: [log | logs]})

      {^vm, {:data, frame}} ->
        raise "the store refused: #{inspect(:erlang.binary_to_term(frame))}"

      {^vm, {:exit_status, _killed}} when frames == :all ->
        state

      {^vm, {:exit_status, status}} ->
        raise "the VM ended by itself, with status #{status}"
    after
      if(frames == :arrived, do: 0, else: 60_000) ->
        if frames == :arrived, do: state, else: raise("the VM stands still")
    end
  end

  # --- the judgement

  # What is there now, in another folder, against what was acknowledged when something was
  # killed.
  defp judge(state, killed) do
    {_found, state} = restore(state, killed)
    state
  end

  defp restore(state, killed) do
    storage_dir = Path.join(state.dir, "restored-#{state.result.restores}")
    opts = [storage_dir: storage_dir]
    found = open(Litestream.restore(state.litestream, Connection.db_path!(opts)), opts)
    File.rm_rf!(storage_dir)
    state = update_in(state.result.restores, &(&1 + 1))

    case found do
      {:ok, found} -> {by_worker(found), compare(by_worker(found), killed, state)}
      :malformed -> {nil, update_in(state.result.malformed, &(&1 + 1))}
    end
  end

  defp open(:empty, _opts), do: {:ok, []}

  defp open(:ok, opts) do
    stack = StoreCase.unique("restored")
    {:ok, checked} = Admin.check(Connection.db_path!(opts), print: false)

    with %{sound: true} <- checked,
         {:ok, store} <- ShapeDb.Supervisor.start_link(stack_id: stack, shape_db_opts: opts) do
      found = Victim.found(stack)
      for {handle, shape, _} <- found, do: ^shape = Plan.shape(handle)
      {:ok, %{quarantined_files: 0}} = ShapeDb.statistics(stack)
      Supervisor.stop(store)
      {:ok, found}
    else
      wrong ->
        IO.inspect(wrong, label: "malformed")
        :malformed
    end
  end

  defp compare(found, killed, state) do
    # All workers are at one moment, which is in one cycle.
    {cycle, kept} = moment!(found, state)
    place = {cycle, kept}

    if not follows?(place, state.replicated) do
      raise "what was replicated is gone: #{inspect(state.replicated)}, now #{inspect(place)}"
    end

    missing = for log <- state.logs, at <- missing(log, cycle, kept), at <= killed, do: at
    behind = if missing == [], do: 0, else: killed - Enum.min(missing)

    state
    |> Map.put(:replicated, place)
    |> update_in(
      [:result, if(state.back, do: :back_ms, else: :behind_ms)],
      &[div(behind, 1000) | &1]
    )
    |> update_in([:result, :behind_steps], &[length(missing) | &1])
  end

  # The latest cycle in which each worker can have had what was found of it.
  defp moment!(found, state) do
    state.logs |> Enum.find_value(&in_cycle(&1, found, state.seed)) ||
      if(found == %{}, do: {0, %{}}) ||
      raise "seed #{state.seed}: what was restored is no state that there was: #{inspect(found, limit: 20)}"
  end

  defp in_cycle(log, found, seed) do
    kept =
      for worker <- 1..@workers do
        steps = Enum.count(log.acknowledged, fn {{whose, _step}, _at} -> whose == worker end)
        plan = Plan.new(seed, log.cycle, worker, Map.get(log.shapes, worker, %{}))
        {worker, Torture.kept(plan, Map.get(found, worker, %{}), steps + 1)}
      end

    if Enum.all?(kept, &match?({_, {:ok, _}}, &1)),
      do: {log.cycle, Map.new(kept, fn {worker, {:ok, step}} -> {worker, step} end)}
  end

  defp follows?({cycle, _}, {before, _}) when cycle != before, do: cycle > before

  defp follows?({_, kept}, {_, before}),
    do: Enum.all?(before, fn {w, step} -> kept[w] >= step end)

  defp missing(%{cycle: of} = log, cycle, kept) when of >= cycle do
    for {{worker, step}, at} <- log.acknowledged, of > cycle or step > kept[worker], do: at
  end

  defp missing(_log, _cycle, _kept), do: []

  # --- the end: once both rest, nothing is behind

  defp finish(state) do
    state = with_litestream(%{state | cycle: state.cycle + 1})
    stack = StoreCase.unique("last")
    {:ok, store} = ShapeDb.Supervisor.start_link(stack_id: stack, shape_db_opts: state.opts)
    last = by_worker(Victim.found(stack))
    log = %{cycle: state.cycle, shapes: last, acknowledged: %{}}
    Supervisor.stop(store)
    state = %{state | logs: [log | state.logs], litestream: Litestream.stop(state.litestream)}
    {found, state} = restore(state, now())
    if found != last, do: raise("seed #{state.seed}: the last of it was not replicated")
    state.result
  end

  defp by_worker(found), do: found |> Torture.snapshots() |> Torture.by_worker()
  defp now, do: System.monotonic_time(:microsecond)
end
