defmodule Bench.Crew do
  @moduledoc """
  Processes that do the same operation over and over, started together.

  Each process builds its inputs before the clock starts. Latency is taken of one
  operation in `sample`, so that reading the clock stays a small part of what is
  measured; the end of a timed run is looked for at the same moments. How many go
  unsampled in between varies, and differently in each process: an operation always
  takes about the same part of a timeslice, so with a fixed number the ends of
  timeslices would fall on sampled operations always or never.
  """

  defmodule Job do
    @moduledoc """
    What one kind of process does.

    - `inputs` gives the inputs of the process of a number (from 1);
    - `operation` is called with one input at a time;
    - `until` is `:once` (every input once) or `{:for, ms}` (round and round);
    - `pace` limits each process to so many operations a second, every one sampled.
    """

    @enforce_keys [:name, :processes, :inputs, :operation]
    defstruct @enforce_keys ++ [until: :once, pace: nil, sample: 8]

    @type t :: %__MODULE__{
            name: atom(),
            processes: pos_integer(),
            inputs: (pos_integer() -> [input :: term()]),
            operation: (input :: term() -> term()),
            until: :once | {:for, pos_integer()},
            pace: nil | pos_integer(),
            sample: pos_integer()
          }
  end

  defmodule Outcome do
    @moduledoc "What the processes of a job achieved together; latencies are sorted."

    @enforce_keys [:operations, :elapsed_ns, :latencies_ns]
    defstruct @enforce_keys

    @type t :: %__MODULE__{
            operations: non_neg_integer(),
            elapsed_ns: pos_integer(),
            latencies_ns: [non_neg_integer()]
          }
  end

  @doc "Runs one job."
  @spec run(Job.t()) :: Outcome.t()
  def run(%Job{name: name} = job), do: run_all([job])[name]

  @doc "Runs several jobs at the same time. A process that fails takes the caller with it."
  @spec run_all([Job.t()]) :: %{atom() => Outcome.t()}
  def run_all(jobs) do
    crew = make_ref()
    coordinator = self()

    workers =
      for job <- jobs, number <- 1..job.processes do
        spawn_link(fn -> work(job, number, crew, coordinator) end)
      end

    for _ <- workers, do: receive(do: ({^crew, :ready} -> :ok))
    started = now()
    for worker <- workers, do: send(worker, {crew, started})

    workers
    |> Enum.map(fn _ -> receive(do: ({^crew, name, result} -> {name, result})) end)
    |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
    |> Map.new(fn {name, results} -> {name, outcome(results, started)} end)
  end

  defp outcome(results, started) do
    %Outcome{
      operations: results |> Enum.map(&elem(&1, 0)) |> Enum.sum(),
      elapsed_ns: (results |> Enum.map(&elem(&1, 1)) |> Enum.max()) - started,
      latencies_ns: results |> Enum.flat_map(&elem(&1, 2)) |> Enum.sort()
    }
  end

  defp work(job, number, crew, coordinator) do
    inputs = job.inputs.(number)
    :erlang.garbage_collect()
    send(coordinator, {crew, :ready})

    {count, latencies} =
      receive do
        {^crew, started} -> perform(job, inputs, seed(number), started)
      end

    send(coordinator, {crew, job.name, {count, now(), latencies}})
  end

  defp perform(%Job{until: :once} = job, inputs, seed, _started) do
    latencies = once(inputs, job.operation, stride(seed, job.sample), job.sample, seed, [])
    {length(inputs), latencies}
  end

  defp perform(%Job{until: {:for, ms}, pace: nil} = job, inputs, seed, started) do
    cycle(inputs, inputs, job.operation, started + ms * 1_000_000, {job.sample, seed}, 0, [])
  end

  defp perform(%Job{until: {:for, ms}} = job, inputs, _seed, started) do
    deadline = started + ms * 1_000_000
    paced(inputs, inputs, job.operation, deadline, started, div(1_000_000_000, job.pace), 0, [])
  end

  defp once([], _operation, _countdown, _sample, _seed, latencies), do: latencies

  defp once([input | inputs], operation, 1, sample, seed, latencies) do
    {_, took} = timed(operation, input)
    seed = next(seed)
    once(inputs, operation, stride(seed, sample), sample, seed, [took | latencies])
  end

  defp once([input | inputs], operation, countdown, sample, seed, latencies) do
    operation.(input)
    once(inputs, operation, countdown - 1, sample, seed, latencies)
  end

  defp cycle(inputs, all, operation, deadline, {sample, seed}, count, latencies) do
    [input | inputs] = or_again(inputs, all)
    {ended, took} = timed(operation, input)
    latencies = [took | latencies]

    if ended >= deadline do
      {count + 1, latencies}
    else
      seed = next(seed)
      stride = stride(seed, sample)
      inputs = unsampled(inputs, all, operation, stride - 1)
      cycle(inputs, all, operation, deadline, {sample, seed}, count + stride, latencies)
    end
  end

  defp unsampled(inputs, _all, _operation, 0), do: inputs

  defp unsampled(inputs, all, operation, left) do
    [input | inputs] = or_again(inputs, all)
    operation.(input)
    unsampled(inputs, all, operation, left - 1)
  end

  # From 1 to twice `sample` less one, `sample` on average.
  defp stride(seed, sample), do: rem(seed, 2 * sample - 1) + 1

  # Of its own for each process, and the same in every run.
  defp seed(number), do: rem(number * 7_919, 65_537)

  defp next(seed), do: rem(seed * 75 + 74, 65_537)

  defp paced(inputs, all, operation, deadline, due, interval, count, latencies) do
    sleep_until(due)
    [input | inputs] = or_again(inputs, all)
    {ended, took} = timed(operation, input)
    latencies = [took | latencies]

    if ended >= deadline do
      {count + 1, latencies}
    else
      paced(inputs, all, operation, deadline, due + interval, interval, count + 1, latencies)
    end
  end

  defp sleep_until(due) do
    left = div(due - now(), 1_000_000)
    if left > 0, do: Process.sleep(left)
  end

  defp or_again([], all), do: all
  defp or_again(inputs, _all), do: inputs

  defp timed(operation, input) do
    started = now()
    operation.(input)
    ended = now()
    {ended, ended - started}
  end

  defp now, do: :erlang.monotonic_time(:nanosecond)
end
