defmodule Bench.Stats do
  @moduledoc "The few statistics that the bench reports."

  @spec median([number()]) :: number()
  def median(values) do
    sorted = Enum.sort(values)
    middle = div(length(sorted), 2)

    if rem(length(sorted), 2) == 1 do
      Enum.at(sorted, middle)
    else
      (Enum.at(sorted, middle - 1) + Enum.at(sorted, middle)) / 2
    end
  end

  @doc "The values at several quantiles (0 to 1) of a sorted list."
  @spec quantiles([number(), ...], [float()]) :: [number()]
  def quantiles(sorted, quantiles) do
    values = List.to_tuple(sorted)
    last = tuple_size(values) - 1
    Enum.map(quantiles, &elem(values, round(&1 * last)))
  end
end
