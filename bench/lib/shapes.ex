defmodule Bench.Shapes do
  @moduledoc """
  The shapes of the bench: the 20,000 real ones of the fixtures, and as many more as
  are asked for, as copies on other tables.

  The real ones live in a persistent term, which processes refer to without copying,
  so that handing shapes to the measured processes costs them no memory.
  """

  @count 20_000
  @tables 200
  @warm 2_000

  @type entry :: {handle :: binary(), shape :: struct()}

  @doc "Reads the fixtures from the directory `FIXTURES` or where they usually are."
  @spec load!() :: :ok
  def load! do
    root = Path.expand("../..", __DIR__)

    directory =
      [System.get_env("FIXTURES"), "test/fixtures"]
      |> Enum.reject(&is_nil/1)
      |> Enum.map(&Path.expand(&1, root))
      |> Enum.find(&File.exists?(Path.join(&1, "bench-20k.etf")))

    directory || raise "bench-20k.etf was not found: set FIXTURES to its directory"

    shapes =
      directory
      |> Path.join("bench-20k.etf")
      |> File.read!()
      |> :erlang.binary_to_term()
      |> List.to_tuple()

    @count = tuple_size(shapes)
    :persistent_term.put(__MODULE__, shapes)
  end

  @doc "How many tables the real shapes are spread over."
  @spec tables() :: pos_integer()
  def tables, do: @tables

  @doc """
  How many shapes the clients of a warm workload ask for: their bodies fit into the
  4 MiB of cache that either side has by default.
  """
  @spec warm() :: pos_integer()
  def warm, do: @warm

  @doc "The shape at an index; any number of them is there."
  @spec at(non_neg_integer()) :: entry()
  def at(index) do
    {handle, shape} = elem(:persistent_term.get(__MODULE__), rem(index, @count))

    case div(index, @count) do
      0 -> {handle, shape}
      copy -> {"#{handle}#{copy}", %{shape | root_table_id: shape.root_table_id + copy * @tables}}
    end
  end

  @spec range(Range.t()) :: [entry()]
  def range(indexes), do: Enum.map(indexes, &at/1)

  @doc """
  The share of one of `of` processes in the first `count` indexes, scattered but
  the same in every run.
  """
  @spec share(pos_integer(), pos_integer(), pos_integer()) :: [non_neg_integer()]
  def share(count, number, of) do
    number
    |> Stream.iterate(&(&1 + of))
    |> Enum.take_while(&(&1 <= count))
    |> Enum.map(&(&1 - 1))
    |> Enum.sort_by(&:erlang.phash2/1)
  end

  @doc """
  The same `per_process` shapes in every run for the process of a number, spread
  over the first `count`.
  """
  @spec scattered(pos_integer(), pos_integer(), pos_integer()) :: [entry()]
  def scattered(count, number, per_process) do
    for k <- 1..per_process, do: at(:erlang.phash2({number, k}, count))
  end
end
