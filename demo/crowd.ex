defmodule ElectricShapeDb.Demo.Crowd do
  @moduledoc """
  Processes that get ready, start together, and hand back what they found.

  Whoever gathers a crowd waits for it with a limit, and fails when a member dies.
  """

  import ElectricShapeDb.Demo.Failure, only: [fail!: 1]

  defstruct [:ref, :members]

  @type t :: %__MODULE__{ref: reference(), members: %{reference() => pid()}}

  @prepare_timeout 120_000
  @tick 50

  @doc """
  Starts `size` processes. Each calls `prepare` with its number, from 0, and has
  the function that this gives ready for `go/1`.
  """
  @spec gather(pos_integer(), (non_neg_integer() -> (... -> term()))) :: t()
  def gather(size, prepare) do
    ref = make_ref()
    owner = self()

    members =
      Map.new(0..(size - 1), fn number ->
        {pid, monitor} = spawn_monitor(fn -> member(owner, ref, prepare.(number)) end)
        {monitor, pid}
      end)

    crowd = %__MODULE__{ref: ref, members: members}
    _ = collect(crowd, :ready, @prepare_timeout, fn -> :ok end)
    crowd
  end

  defp member(owner, ref, work) do
    # So that the clock does not pay for the garbage of getting ready.
    :erlang.garbage_collect()
    send(owner, {ref, :ready, self(), nil})

    receive do
      {^ref, :go} -> send(owner, {ref, :done, self(), work.()})
    end

    # Stays until its result is taken: its end is told by the monitor.
    receive do
      {^ref, :leave} -> :ok
    end
  end

  @doc "Lets all of them start."
  @spec go(t()) :: :ok
  def go(crowd) do
    Enum.each(crowd.members, fn {_monitor, pid} -> send(pid, {crowd.ref, :go}) end)
  end

  @doc "What each found, once all are done; calls `tick` now and then meanwhile."
  @spec results(t(), timeout(), (... -> term())) :: [term()]
  def results(crowd, timeout, tick \\ fn -> :ok end) do
    results = collect(crowd, :done, timeout, tick)

    Enum.each(crowd.members, fn {monitor, pid} ->
      Process.demonitor(monitor, [:flush])
      send(pid, {crowd.ref, :leave})
    end)

    results
  end

  defp collect(crowd, stage, timeout, tick) do
    until = now() + timeout
    collect(crowd, stage, map_size(crowd.members), [], until, tick)
  end

  defp collect(_crowd, _stage, 0, found, _until, _tick), do: found

  defp collect(%{ref: ref, members: members} = crowd, stage, left, found, until, tick) do
    receive do
      {^ref, ^stage, _pid, result} ->
        collect(crowd, stage, left - 1, [result | found], until, tick)

      {:DOWN, monitor, _, _, reason} when is_map_key(members, monitor) ->
        fail!("a process of the wave died: #{Exception.format_exit(reason)}")
    after
      @tick ->
        tick.()
        if now() > until, do: fail!("#{left} processes of the wave were not #{stage} in time")
        collect(crowd, stage, left, found, until, tick)
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
