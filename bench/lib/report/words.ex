defmodule Bench.Report.Words do
  @moduledoc "Numbers, units and names as the report and the README have them."

  alias Bench.Results

  # Of each unit: what a column of it says, and which direction is better.
  @units %{
    "ops/s" => {"Calls per second", "higher is better"},
    "ms" => {"Milliseconds", "lower is better"},
    "µs" => {"Microseconds", "lower is better"},
    "bytes" => {"Bytes", "lower is better"},
    "times slower" => {"Times slower than with 20,000 shapes", "lower is better"},
    "operations" => {"Operations not yet committed at the end", "lower is better"},
    "%" => {"Percent of the arrivals that were not made in time", "lower is better"}
  }

  @spec side(:ours | :peer | :floor) :: String.t()
  def side(:ours), do: "this store"
  def side(:peer), do: "replaced design"
  def side(:floor), do: "floor"

  @doc "What a table of this unit is headed by."
  @spec unit(String.t()) :: String.t()
  def unit(unit) do
    {name, better} = Map.get(@units, unit, {unit, "lower is better"})
    "#{name} (#{better})"
  end

  @doc "The entries by their unit, in the order in which units come first."
  @spec by_unit([entry]) :: [{String.t(), [entry]}] when entry: term()
  def by_unit(entries, entry \\ & &1) do
    units = entries |> Enum.map(&entry.(&1).unit) |> Enum.uniq()
    for unit <- units, do: {unit, Enum.filter(entries, &(entry.(&1).unit == unit))}
  end

  @doc "A number as it stands in tables, with thousands apart."
  @spec number(number() | nil) :: String.t()
  def number(nil), do: "–"

  def number(value) when abs(value) >= 1_000 do
    value |> round() |> Integer.to_string() |> String.replace(~r/(?<=\d)(?=(\d{3})+$)/, ",")
  end

  def number(value) when is_integer(value), do: Integer.to_string(value)
  def number(value) when abs(value) >= 100, do: value |> round() |> Integer.to_string()

  def number(value),
    do: value |> Float.round(2) |> Float.to_string() |> String.replace(~r/\.0$/, "")

  @doc "A number in as little room as it takes: `1.2M`, `340k`, `12.5`."
  @spec short(number()) :: String.t()
  def short(value) when value >= 1_000_000, do: significant(value / 1_000_000) <> "M"
  def short(value) when value >= 1_000, do: significant(value / 1_000) <> "k"
  def short(value), do: significant(value)

  defp significant(value) when value >= 100, do: value |> round() |> Integer.to_string()
  defp significant(value) when value >= 10, do: decimals(value, 1)
  defp significant(value), do: decimals(value, 2)

  defp decimals(value, count) do
    (value * 1.0)
    |> :erlang.float_to_binary(decimals: count)
    |> String.replace(~r/\.?0+$/, "")
  end

  @spec ratio(number() | nil) :: String.t()
  def ratio(nil), do: "–"
  def ratio(ratio), do: short(ratio) <> "×"

  @doc "A figure of the service, or two."
  @spec span(Bench.Service.span() | nil) :: String.t()
  def span(nil), do: "–"
  def span({value}), do: number(value)
  def span({low, high}), do: "#{number(low)}–#{number(high)}"

  @doc "What an entry measures, for people."
  @spec work(Results.entry() | String.t()) :: String.t()
  def work(%{name: name}), do: work(name)

  def work(name) do
    case Regex.run(~r/^(.*)_(p\d+|max)_us$/, name) do
      [_, work, "p999"] -> "#{work(work)}, p99.9"
      [_, work, quantile] -> "#{work(work)}, #{quantile}"
      nil -> name |> String.replace(~r/_ms$/, "") |> with_processes()
    end
  end

  defp with_processes(name) do
    case String.split(name, "/") do
      [function, "1"] -> "#{function}, 1 process"
      [function, processes] -> "#{function}, #{processes} processes"
      [name] -> name
    end
  end
end
