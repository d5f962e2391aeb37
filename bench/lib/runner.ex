defmodule Bench.Runner do
  @moduledoc """
  Takes both sides through every workload, round by round. Within a round the sides
  follow each other workload by workload, and the order turns with each round, so
  that whatever the machine does meanwhile hits both.
  """

  alias Bench.{Check, Config, Files, Machine, Report, Results, Service, Shapes, Workload}
  alias Bench.Report.Words

  @workloads [
    Bench.Workloads.Writes,
    Bench.Workloads.Reads,
    Bench.Workloads.Buffered,
    Bench.Workloads.Meta,
    Bench.Workloads.Sizes,
    Bench.Workloads.Mixed,
    Bench.Workloads.Herd,
    Bench.Workloads.Stall,
    Bench.Workloads.Memory
  ]

  @doc "The workloads of `bench/run.exs`."
  @spec workloads() :: [module()]
  def workloads, do: @workloads

  @doc """
  Runs the workloads of these modules, and writes what comes of it under a name to
  `bench/results`, and the report. A run of a part, or a quick one, leaves both alone, and
  writes beside the bench's compiled code.
  """
  @spec main(String.t(), [module()]) :: :ok
  def main(name, modules) do
    config = Config.from_environment()
    Shapes.load!()
    File.mkdir_p!(config.directory)

    try do
      Enum.each(config.sides, &Check.run/1)
      entries = config |> run(modules) |> Results.entries()
      file = Files.write(name, Machine.describe(), entries, config.partial?)
      IO.puts("written: #{file}")
      beside_service(entries)
    after
      File.rm_rf!(config.directory)
    end

    unless config.partial?, do: Report.write()
    :ok
  end

  @spec run(Config.t(), [module()]) :: Results.t()
  def run(config, modules) do
    workloads =
      modules
      |> Enum.flat_map(& &1.workloads(config))
      |> Enum.filter(&Workload.selected?(&1, config.only))

    results =
      for round <- 1..config.rounds,
          workload <- workloads,
          Workload.in_round?(workload, round),
          reduce: %Results{} do
        results -> round_of(workload, round, config, results)
      end

    Results.add_growth(results, config.sizes)
  end

  defp round_of(workload, round, config, results) do
    sides = if rem(round, 2) == 1, do: config.sides, else: Enum.reverse(config.sides)

    measured =
      for side <- sides, reduce: results do
        results -> Results.add(results, side.name, show(round, side.name, workload.run.(side)))
      end

    if workload.floor do
      Results.add(measured, :floor, show(round, :floor, workload.floor.()))
    else
      measured
    end
  end

  # The tails are for the report; a line each would hide what one looks for.
  defp show(round, side, samples) do
    for %{name: name, unit: unit, value: value} <- samples,
        not String.ends_with?(name, ["_p50_us", "_p90_us", "_p999_us"]) do
      IO.puts("#{round} #{side} #{String.pad_trailing(name, 40)} #{Words.number(value)} #{unit}")
    end

    samples
  end

  defp beside_service(entries) do
    rows =
      for entry <- entries, figure = Service.figure(entry[:name]) do
        ratio_there = if figure.ratio, do: Words.span(figure.ratio) <> "×", else: "–"

        [
          Words.work(entry[:name]),
          Words.number(entry[:ours]),
          Words.number(entry[:peer]),
          Words.ratio(entry[:ratio]),
          Words.span(figure.own),
          ratio_there,
          entry[:unit]
        ]
      end

    if rows != [] do
      IO.puts("\nbeside the service's own figures (#{Service.words()}):")
      heads = ["", "this store", "replaced", "ratio", "service", "ratio there", ""]
      for row <- [heads | rows], do: IO.puts(line(row))
    end

    :ok
  end

  defp line([work | figures]) do
    columns = for figure <- figures, do: String.pad_leading(figure, 12)
    String.pad_trailing(work, 42) <> Enum.join(columns)
  end
end
