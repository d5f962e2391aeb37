defmodule ElectricShapeDb.Schedules do
  @moduledoc """
  How long each NIF keeps a normal scheduler, by the VM's own trace of who runs where. For a
  VM of its own: it traces, and its calls leave nothing as it was.
  """

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native

  # As long as a timeslice of the VM.
  @limit_us 1_000

  # What takes that long by itself takes it each time. A scheduler that lost its processor
  # in the middle of a call to somebody else loses it elsewhere the next time.
  @tries 30

  # Far above what a call takes on a busy machine, and far below the limit of a test.
  @patience 60_000

  @flags [:call, :arity, :return_to, :running, :scheduler_id, :monotonic_timestamp, :set_on_spawn]

  @typedoc "A function, or what is to be done before, whose result it takes."
  @type call :: (... -> term()) | {(... -> term()), (term() -> term())}

  @doc """
  Makes the calls that the function `calls` of a module gives, and gives the NIFs that were longer on a normal scheduler than a timeslice each time, with the least
  they took, and all NIFs that were called. A call that fails is the answer, by name and in
  short: what it was called with may have megabytes, which nobody is to format or to send.
  """
  @spec kept(module(), [term()]) ::
          {[{atom(), atom(), pos_integer()}], [atom()]} | {:failed, atom(), String.t()}
  def kept(module, args) do
    # Of a call that fails there is the answer; the text of a report takes minutes.
    Logger.configure(level: :none)
    # What returns is not sent along: it may have megabytes.
    :erlang.trace_pattern({Native, :_, :_}, true, [:local])
    kept_by(apply(module, :calls, args), [], MapSet.new())
  end

  defp kept_by([], kept, seen), do: {Enum.reverse(kept), MapSet.to_list(seen)}

  defp kept_by([{name, call} | calls], kept, seen) do
    case least(call, @tries, nil) do
      {:failed, reason} ->
        {:failed, name, reason}

      times ->
        long = for {{nif, _nth}, us} <- times, us >= @limit_us, do: {name, nif, us}
        seen = for {{nif, _nth}, _us} <- times, into: seen, do: nif
        kept_by(calls, Enum.reverse(long, kept), seen)
    end
  end

  # The least of several runs, for each call of a NIF in the order of those calls. Only
  # what was too long is looked at again.
  defp least(call, tries, before) do
    with {:ok, times} <- measured(call) do
      times = if before, do: lesser(before, times), else: times
      long? = Enum.any?(times, fn {_nth, us} -> us >= @limit_us end)
      if long? and tries > 1, do: least(call, tries - 1, times), else: times
    end
  end

  # What one of them did not call took it no time.
  defp lesser(one, other) do
    calls = Map.keys(one) ++ Map.keys(other)
    Map.new(calls, &{&1, min(Map.get(one, &1, 0), Map.get(other, &1, 0))})
  end

  defp measured({prepare, call}) do
    prepared = prepare.()
    measured(fn -> call.(prepared) end)
  end

  defp measured(call) do
    caller = self()

    {worker, monitor} =
      spawn_monitor(fn ->
        receive do: (:go -> send(caller, {:called, self(), in_short(call)}))
      end)

    1 = :erlang.trace(worker, true, @flags)
    send(worker, :go)
    answer = answer_of(worker, monitor)
    # All there is to tell of those that are gone by now is here after this.
    delivered = :erlang.trace_delivered(:all)
    receive do: ({:trace_delivered, :all, ^delivered} -> :ok)
    times = times(%{}, %{}, %{})
    with :ok <- answer, do: {:ok, times}
  end

  defp answer_of(worker, monitor) do
    receive do
      {:called, ^worker, answer} ->
        # It does nothing more than end.
        receive do: ({:DOWN, ^monitor, :process, ^worker, _reason} -> answer)

      {:DOWN, ^monitor, :process, ^worker, reason} ->
        {:failed, shown(reason)}
    after
      @patience ->
        {:current_stacktrace, where} = Process.info(worker, :current_stacktrace)
        Process.demonitor(monitor, [:flush])
        Process.exit(worker, :kill)
        {:failed, "no answer within #{@patience} ms, at " <> Exception.format_stacktrace(where)}
    end
  end

  defp in_short(call) do
    _ = call.()
    :ok
  catch
    kind, reason -> {:failed, "#{kind} #{shown(reason)}, at #{shown(places(__STACKTRACE__))}"}
  end

  defp places(stacktrace) do
    for {module, function, arity, where} <- stacktrace do
      arity = if is_list(arity), do: length(arity), else: arity
      {module, function, arity, where[:line]}
    end
  end

  defp shown(term), do: inspect(term, limit: 20, printable_limit: 200)

  # By process, the NIF that it is in, how long that had a normal scheduler, and since when
  # it has one again; by NIF, how often it was called.
  defp times(within, nth, times) do
    receive do
      {:trace_ts, pid, :call, {_native, nif, _arity}, _scheduler, time} ->
        n = Map.get(nth, nif, 0)
        within |> Map.put(pid, {{nif, n}, 0, time}) |> times(Map.put(nth, nif, n + 1), times)

      # Dirty ones have no number.
      {:trace_ts, _pid, _in_or_out, _where, 0, _time} ->
        times(within, nth, times)

      {:trace_ts, pid, :in, _where, _scheduler, time} ->
        times(since(within, pid, time), nth, times)

      {:trace_ts, pid, :out, _where, _scheduler, time} ->
        times(until(within, pid, time), nth, times)

      {:trace_ts, pid, :return_to, _where, _scheduler, time} ->
        {returned, within} = within |> until(pid, time) |> Map.pop(pid)
        times(within, nth, put(times, returned))
    after
      0 -> times
    end
  end

  defp put(times, nil), do: times

  defp put(times, {call, kept, _since}),
    do: Map.put(times, call, System.convert_time_unit(kept, :native, :microsecond))

  defp since(within, pid, time) do
    case within do
      %{^pid => {call, kept, _since}} -> %{within | pid => {call, kept, time}}
      _in_none -> within
    end
  end

  defp until(within, pid, time) do
    case within do
      %{^pid => {call, kept, since}} when is_integer(since) ->
        %{within | pid => {call, kept + time - since, nil}}

      _in_none ->
        within
    end
  end
end
