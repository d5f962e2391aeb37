defmodule Bench.Stock do
  @moduledoc """
  Stores of a given size, stopped cleanly with every snapshot complete, that
  workloads start from. Each is made once in a run.
  """

  alias Bench.{Config, Shapes, Side, Store}

  # Above this the peer's file is written in bulk: its own way takes minutes.
  @bulk_above 200_000

  @doc "The directory of the stock store. Who changes it must put it back as it was."
  @spec directory(Config.t(), Side.t(), pos_integer()) :: Path.t()
  def directory(config, side, size) do
    path = Path.join(config.directory, "stock-#{side.name}-#{size}")

    unless File.exists?(path) do
      IO.puts("  making #{side.name}'s stock of #{Config.size_name(size)} shapes")
      File.mkdir_p!(path)
      make(side, path, size)
    end

    path
  end

  @doc "A copy of the stock store, to be changed at will."
  @spec copy(Config.t(), Side.t(), pos_integer()) :: Path.t()
  def copy(config, side, size) do
    target = Config.fresh_directory(config)
    File.cp_r!(directory(config, side, size), target)
    target
  end

  @spec bytes(Path.t()) :: non_neg_integer()
  def bytes(directory) do
    Path.join(directory, "**")
    |> Path.wildcard()
    |> Enum.map(&File.stat!/1)
    |> Enum.filter(&(&1.type == :regular))
    |> Enum.map(& &1.size)
    |> Enum.sum()
  end

  defp make(%{name: :peer}, path, size) when size > @bulk_above do
    Bench.Peer.Bulk.write!(path, shapes(size))
  end

  defp make(side, path, size) do
    Store.with_store(side, path, &Store.fill(&1, shapes(size)))
  end

  defp shapes(size), do: Stream.map(0..(size - 1), &Shapes.at/1)
end
