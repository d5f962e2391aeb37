defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Reporter do
  @moduledoc false
  # What a store tells goes out from a process of its own, one a stack: the handlers of
  # telemetry and of Logger are code of the host. However slow they are, and whatever
  # they do to the process they run in, the owner does not wait for them.
  #
  # Events go out in their order. How many may be on their way is bounded; what comes
  # beyond that is passed over, counted, and told of in one line a minute.

  require Logger

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Events
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Names

  # What may be on its way: as many events as that, or lines of the debug log.
  @most 20_000
  # What an event counts for; each line of its log counts for one.
  @event 20

  # These come with each batch and with each burst. What is told seldom matters more,
  # and may take up to twice the bound.
  @frequent [:committed, :commit_failed, :pressure_started, :pressure_ended]

  # Milliseconds without an event after which it shrinks.
  @quiet 1_000

  # Milliseconds between two lines about what is passed over.
  @told_every 60_000

  defstruct [
    :stack_id,
    :pid,
    :progress,
    :dropped,
    :told_at,
    :teller,
    weight: 0,
    events: 0,
    untold: 0
  ]

  @opaque t :: %__MODULE__{}

  @doc "Starts a process that reports for the caller, and ends some time after it."
  @spec start(String.t()) :: t()
  def start(stack_id) do
    start_process(%__MODULE__{stack_id: stack_id, dropped: :counters.new(1, [])})
  end

  @doc "Counts the events that were passed over."
  @spec dropped(t()) :: :counters.counters_ref()
  def dropped(%__MODULE__{dropped: dropped}), do: dropped

  @doc "Hands an event over, to be told by `Events.happened/3`; does not wait."
  @spec tell(t(), atom(), term()) :: t()
  def tell(reporter, event, details) do
    reporter = if Process.alive?(reporter.pid), do: reporter, else: replace(reporter)
    {weight, _events} = done(reporter)

    if reporter.weight - weight < bound(event, details) do
      weight = reporter.weight + weight(event, details)
      events = reporter.events + 1
      send(reporter.pid, {reporter.progress, weight, events, event, details})
      %{reporter | weight: weight, events: events}
    else
      pass_over(reporter, 1)
    end
  end

  defp bound(event, _details) when event in @frequent, do: @most
  defp bound(:log, {level, _target, _line}) when level in [:debug, :info], do: @most
  defp bound(_seldom, _details), do: 2 * @most

  defp weight(:committed, %{log: log}), do: @event + length(log)
  defp weight(_event, _details), do: @event

  # A handler killed it. What it had to tell went with it.
  defp replace(reporter) do
    {_weight, events} = done(reporter)

    reporter
    |> pass_over(reporter.events - events)
    |> start_process()
  end

  defp done(%{progress: progress}), do: {:atomics.get(progress, 1), :atomics.get(progress, 2)}

  defp pass_over(reporter, 0), do: reporter

  defp pass_over(reporter, count) do
    :counters.add(reporter.dropped, 1, count)
    tell_of_it(%{reporter | untold: reporter.untold + count})
  end

  # Another process tells of it, as the reporter is stuck.
  defp tell_of_it(reporter) do
    now = System.monotonic_time(:millisecond)
    late? = reporter.told_at == nil or now - reporter.told_at >= @told_every

    if late? and not stuck?(reporter.teller) do
      %{stack_id: stack_id, untold: untold} = reporter
      teller = spawn(fn -> log(stack_id, untold) end)
      %{reporter | told_at: now, untold: 0, teller: teller}
    else
      reporter
    end
  end

  defp stuck?(teller), do: teller != nil and Process.alive?(teller)

  defp log(stack_id, untold) do
    Logger.warning(
      "ShapeDb of #{inspect(stack_id)}: handlers of telemetry or of Logger are slower than its " <>
        "events, or kill their process: #{untold} were passed over. See `events_dropped` of its " <>
        "statistics.",
      stack_id: stack_id
    )
  end

  # --- its process

  defp start_process(%{stack_id: stack_id} = reporter) do
    owner = self()
    progress = :atomics.new(2, [])
    pid = spawn(fn -> run(owner, stack_id, progress) end)
    # A handler that never returns is not waited for when its stack is gone.
    :ok = Names.note({:reporter, owner}, owner, pid)
    %{reporter | pid: pid, progress: progress, weight: 0, events: 0}
  end

  defp run(owner, stack_id, progress) do
    # What a handler links to it may end as it likes.
    Process.flag(:trap_exit, true)
    Logger.metadata(stack_id: stack_id)
    report(Process.monitor(owner), stack_id, progress)
  end

  @doc false
  # What the owner told before it ended comes before the news of that.
  def report(owner, stack_id, progress) do
    receive do
      {^progress, weight, events, event, details} ->
        happened(event, details, stack_id)
        # Set, not counted up: a handler that takes a message of ours must not have it
        # counted as on its way for ever.
        :atomics.put(progress, 1, weight)
        :atomics.put(progress, 2, events)
        report(owner, stack_id, progress)

      {:DOWN, ^owner, :process, _pid, _reason} ->
        :ok

      _what_a_handler_left ->
        report(owner, stack_id, progress)
    after
      # What handlers left on its heap goes while nothing is told.
      @quiet -> :erlang.hibernate(__MODULE__, :report, [owner, stack_id, progress])
    end
  end

  defp happened(event, details, stack_id) do
    Events.happened(event, details, stack_id)
  catch
    _kind, _reason -> :ok
  end
end
