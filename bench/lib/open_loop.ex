defmodule Bench.OpenLoop do
  @moduledoc """
  Operations that arrive at a rate, whether or not those before are done, as those of
  clients do who do not know of each other.

  The arrivals of each kind are a Poisson process with the same seed in every run. A
  hundred processes take them in turn. Each arrival is a message that a thread outside
  the VM's schedulers sends when it is due, as a socket would; how late it was sent is
  reported with the rest. Latency is counted from the moment when the operation was due
  to the end of its work, so what waits behind something slow counts with its wait. The
  work alone, from its begin, is reported beside it: what is left of the latency is waiting,
  for the message, for a scheduler, for those before.

  Every latency is kept, so quantiles are exact. An operation that was still waiting when
  the time was over (three times that of the arrivals, and a second) is not made; it
  counts with the time that it had waited, which is less than it would have taken.
  """

  alias Bench.Peer.Native

  defmodule Kind do
    @moduledoc """
    One kind of operation: so many a second, the inputs `input.(0)`, `input.(1)` and so on,
    which are whole numbers, and what is done with one. `most` bounds how many there are.
    A rate of `:burst` lets `most` of them arrive at once.
    """

    @enforce_keys [:name, :rate, :input, :operation]
    defstruct @enforce_keys ++ [most: nil]

    @type t :: %__MODULE__{
            name: atom(),
            rate: pos_integer() | :burst,
            input: (non_neg_integer() -> non_neg_integer()),
            operation: (non_neg_integer() -> term()),
            most: nil | pos_integer()
          }
  end

  defmodule Outcome do
    @moduledoc """
    What became of the operations of a kind. Latencies are sorted, and so are the times of
    the work alone, of those that were made.
    """

    @enforce_keys [:operations, :undone, :elapsed_ns, :latencies_ns]
    defstruct @enforce_keys ++ [work_ns: []]

    @type t :: %__MODULE__{
            operations: non_neg_integer(),
            undone: non_neg_integer(),
            elapsed_ns: pos_integer(),
            latencies_ns: [non_neg_integer(), ...],
            work_ns: [non_neg_integer()]
          }
  end

  @processes 100

  # Until all processes are ready for the first arrival.
  @lead_ns 20_000_000

  @spec processes() :: pos_integer()
  def processes, do: @processes

  @doc """
  Lets operations arrive for so many milliseconds. Gives the outcome of each kind, and
  under `:pacer` how late the arrivals were sent.
  """
  @spec run([Kind.t()], pos_integer()) :: %{atom() => Outcome.t()}
  def run(kinds, ms) do
    arrivals = arrivals(kinds, ms * 1_000_000)
    operations = kinds |> Enum.map(& &1.operation) |> List.to_tuple()
    start = :os.system_time(:nanosecond) + @lead_ns
    deadline = start + 3 * ms * 1_000_000 + 1_000_000_000
    ref = make_ref()
    caller = self()

    processes =
      for _ <- 1..@processes, do: spawn_link(fn -> work(operations, deadline, {caller, ref}) end)

    turns = processes |> Stream.cycle() |> Enum.take(length(arrivals))

    sends =
      for {{due, kind, input}, process} <- Enum.zip(arrivals, turns),
          do: {due, process, kind, input}

    {:ok, :ok} = Native.pace(ref, sends, start)
    lateness = receive do: ({^ref, lateness} -> lateness)
    # Behind all arrivals in each mailbox.
    for process <- processes, do: send(process, ref)
    done = for _ <- processes, do: receive(do: ({^ref, :done, done} -> done))
    ended = :os.system_time(:nanosecond)

    kinds
    |> outcomes(List.flatten(done), ended - start)
    |> Map.put(:pacer, outcome(Enum.map(lateness, &{&1, nil}), ended - start))
  end

  defp outcomes(kinds, done, elapsed) do
    by_kind = Enum.group_by(done, &elem(&1, 0), fn {_kind, latency, work} -> {latency, work} end)

    for {kind, index} <- Enum.with_index(kinds), into: %{} do
      {kind.name, outcome(Map.fetch!(by_kind, index), elapsed)}
    end
  end

  # Of what was not made there is no work.
  defp outcome(done, elapsed) do
    undone = Enum.count(done, &(elem(&1, 1) == :undone))

    %Outcome{
      operations: length(done) - undone,
      undone: undone,
      elapsed_ns: elapsed,
      latencies_ns: done |> Enum.map(&elem(&1, 0)) |> Enum.sort(),
      work_ns: Enum.sort(for {_latency, work} <- done, is_integer(work), do: work)
    }
  end

  defp work(operations, deadline, whose, done \\ [])

  defp work(operations, deadline, {caller, ref} = whose, done) do
    receive do
      {due, kind, input} ->
        begun = :os.system_time(:nanosecond)

        if begun < deadline do
          elem(operations, kind).(input)
          ended = :os.system_time(:nanosecond)
          work(operations, deadline, whose, [{kind, ended - due, ended - begun} | done])
        else
          work(operations, deadline, whose, [{kind, begun - due, :undone} | done])
        end

      ^ref ->
        send(caller, {ref, :done, done})
    end
  end

  # When each is due, in nanoseconds from the start, its kind by number, its input.
  defp arrivals(kinds, ns) do
    kinds
    |> Enum.with_index()
    |> Enum.flat_map(fn {kind, index} ->
      dues = dues(kind, index, ns)
      for {due, nth} <- Enum.with_index(dues), do: {due, index, kind.input.(nth)}
    end)
    |> Enum.sort()
  end

  defp dues(%{rate: :burst, most: most}, _index, _ns), do: List.duplicate(0, most)

  defp dues(%{rate: rate, most: most}, index, ns) do
    # The times between the arrivals of a Poisson process are exponential.
    dues =
      {0, :rand.seed_s(:exsss, {index, rate, 1})}
      |> Stream.iterate(fn {due, random} ->
        {uniform, random} = :rand.uniform_real_s(random)
        {due + round(-:math.log(uniform) * 1.0e9 / rate), random}
      end)
      |> Stream.map(&elem(&1, 0))
      |> Stream.drop(1)
      |> Stream.take_while(&(&1 < ns))

    if most, do: Enum.take(dues, most), else: Enum.to_list(dues)
  end
end
