defmodule ElectricShapeDb.Demo.Latencies do
  @moduledoc """
  The time of each of many operations, at the price of one look at the clock each:
  the end of one is the start of the next.
  """

  @type t :: [integer()]

  @doc "Does `fun` for each item, in turn; gives the times and when the last ended."
  @spec each([item], (item -> term())) :: {t(), ended :: integer()} when item: term()
  def each(items, fun), do: each(items, fun, System.monotonic_time(), [])

  defp each([item | items], fun, started, times) do
    fun.(item)
    ended = System.monotonic_time()
    each(items, fun, ended, [ended - started | times])
  end

  defp each([], _fun, ended, times), do: {times, ended}

  @doc """
  As `each/2` round and round, until `done?` says so, with a `rest` after each that
  does not count.
  """
  @spec cycle([item], (item -> term()), (... -> boolean()), (... -> term())) ::
          {t(), ended :: integer()}
        when item: term()
  def cycle(items, fun, done?, rest \\ fn -> :ok end) do
    round(items, {items, fun, done?, rest}, System.monotonic_time(), [])
  end

  defp round([], {items, _, _, _} = work, ended, times), do: round(items, work, ended, times)

  defp round([item | items], {_all, fun, done?, rest} = work, ended, times) do
    if done?.() do
      {times, ended}
    else
      rest.()
      started = System.monotonic_time()
      fun.(item)
      ended = System.monotonic_time()
      round(items, work, ended, [ended - started | times])
    end
  end

  @doc "When the last of them ended, and their times."
  @spec together([{t(), integer()}]) :: {[t()], integer()}
  def together(done) do
    {times, ended} = Enum.unzip(done)
    {times, Enum.max(ended)}
  end

  @doc "How many there are, and the times in µs that one in two and one in a hundred exceed."
  @spec summary([t()]) :: %{count: non_neg_integer(), p50: float(), p99: float()}
  def summary(lists) do
    sorted = lists |> Enum.concat() |> Enum.sort() |> List.to_tuple()

    %{
      count: tuple_size(sorted),
      p50: microseconds(sorted, 0.50),
      p99: microseconds(sorted, 0.99)
    }
  end

  defp microseconds({}, _share), do: 0.0

  defp microseconds(sorted, share) do
    native = elem(sorted, trunc(share * (tuple_size(sorted) - 1)))
    System.convert_time_unit(native, :native, :nanosecond) / 1000
  end
end
