defmodule Bench.Results do
  @moduledoc """
  The values of all rounds by name and side, and the entries made of them: the
  median of each side, their ratio (above 1 always means that ours is better), and
  the values of every round.
  """

  alias Bench.{Config, Sample, Stats}

  defstruct names: [], values: %{}, units: %{}

  @type t :: %__MODULE__{}
  @type side :: :ours | :peer | :floor
  @type entry :: keyword()

  @sides [:ours, :peer, :floor]

  @spec add(t(), side(), [Sample.t()]) :: t()
  def add(results, side, samples), do: Enum.reduce(samples, results, &add_sample(&2, side, &1))

  defp add_sample(results, side, %Sample{name: name, unit: unit, value: value}) do
    names = if is_map_key(results.units, name), do: results.names, else: [name | results.names]
    values = Map.update(results.values, {name, side}, [value], &(&1 ++ [value]))
    %{results | names: names, units: Map.put(results.units, name, unit), values: values}
  end

  @doc "How many times slower lookups and adds are at each size than at the smallest."
  @spec add_growth(t(), [pos_integer()]) :: t()
  def add_growth(results, [base | sizes]) do
    for kind <- ["lookup", "add"], size <- sizes, side <- [:ours, :peer], reduce: results do
      results ->
        at_base = values(results, "#{kind}_#{Config.size_name(base)}", side)
        at_size = values(results, "#{kind}_#{Config.size_name(size)}", side)
        name = "growth_#{kind}_#{Config.size_name(size)}"
        factors = for {few, many} <- Enum.zip(at_base, at_size), do: few / many
        add(results, side, Enum.map(factors, &Sample.new(name, "times slower", &1)))
    end
  end

  @spec entries(t()) :: [entry()]
  def entries(results), do: results.names |> Enum.reverse() |> Enum.map(&entry(results, &1))

  defp entry(results, name) do
    unit = results.units[name]
    rounds = for side <- @sides, do: {side, results |> values(name, side) |> Enum.map(&tidy/1)}
    medians = for {side, values} <- rounds, do: {side, values != [] && Stats.median(values)}
    [ours, peer, floor] = for {_side, median} <- medians, do: if(median, do: tidy(median))

    spread =
      for {side, [_ | _] = values} <- rounds,
          do: {side, [min: Enum.min(values), max: Enum.max(values)]}

    [
      name: name,
      unit: unit,
      ours: ours,
      peer: peer,
      floor: floor,
      ratio: ratio(unit, ours, peer),
      spread: spread,
      rounds: rounds
    ]
  end

  defp values(results, name, side), do: Map.get(results.values, {name, side}, [])

  defp ratio(_unit, ours, peer) when is_nil(ours) or is_nil(peer), do: nil
  defp ratio(_unit, ours, peer) when ours == 0 or peer == 0, do: nil

  defp ratio(unit, ours, peer) do
    Float.round(if(Sample.higher_is_better?(unit), do: ours / peer, else: peer / ours) * 1.0, 2)
  end

  # More digits than a measurement has only make the files hard to read.
  defp tidy(value) when is_integer(value), do: value
  defp tidy(value) when abs(value) >= 1_000, do: round(value)
  defp tidy(value), do: Float.round(value, 2)
end
