defmodule ElectricShapeDb.Demo.SecondWave do
  @moduledoc """
  The wave in the middle of which the second VM is killed: processes add shapes
  with each durability, without end, and this VM notes what is acknowledged.
  """

  import ElectricShapeDb.Demo.Failure, only: [fail!: 1]

  alias ElectricShapeDb.Demo.Pipe
  alias ElectricShapeDb.Demo.Progress
  alias ElectricShapeDb.Demo.VM
  alias ElectricShapeDb.Demo.Words

  defstruct [:acknowledged, :milliseconds]

  @type t :: %__MODULE__{acknowledged: [Pipe.told()], milliseconds: pos_integer()}

  # When it is killed, in ms; later when a durability has acknowledged nothing yet.
  @mid_wave 300..700
  @timeout 60_000

  # So many acknowledgements between two looks at the clock and the screen.
  @look_every 100

  @doc "Starts it, kills the VM in the middle, and gives what was acknowledged."
  @spec cut_short!(VM.t(), pos_integer()) :: t()
  def cut_short!(vm, adders) do
    started = now()
    VM.tell(vm, {:second_wave, adders})
    progress = Progress.new()
    enough_at = started + Enum.random(@mid_wave)
    heard = watch(vm, progress, [], 0, MapSet.new(), {enough_at, started + @timeout})
    milliseconds = now() - started
    # What it wrote to the pipe before it was killed was acknowledged.
    rest = VM.kill!(vm)
    Progress.clear(progress)
    %__MODULE__{acknowledged: rest ++ heard, milliseconds: milliseconds}
  end

  defp watch(vm, progress, heard, count, seen, {enough_at, too_late_at} = times) do
    all_seen? = MapSet.size(seen) == tuple_size(Pipe.durabilities())
    until = if all_seen?, do: enough_at, else: too_late_at
    look? = rem(count, @look_every) == 0

    case if(look? and now() >= until, do: :timeout, else: VM.hear!(vm, max(until - now(), 0))) do
      {:told, {:acknowledged, index, _degraded, _number} = acknowledged} ->
        progress =
          if look?,
            do: Progress.show(progress, "   #{Words.count(count)} acknowledged"),
            else: progress

        watch(vm, progress, [acknowledged | heard], count + 1, MapSet.put(seen, index), times)

      :timeout when all_seen? ->
        heard

      :timeout ->
        Progress.clear(progress)
        fail!("not every durability had acknowledged a shape after #{@timeout} ms")
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
