defmodule ElectricShapeDb.Demo.Words do
  @moduledoc "Numbers and tables for people."

  @spec count(number()) :: String.t()
  def count(number) do
    number
    |> round()
    |> Integer.to_string()
    |> String.replace(~r/\B(?=(\d{3})+$)/, ",")
  end

  @spec microseconds(number()) :: String.t()
  def microseconds(us) when us >= 100_000, do: decimal(us / 1_000, 0) <> " ms"
  def microseconds(us) when us >= 1_000, do: decimal(us / 1_000, 1) <> " ms"
  def microseconds(us), do: decimal(us, 1) <> " µs"

  @spec megabytes(number()) :: String.t()
  def megabytes(bytes), do: decimal(bytes / 1_000_000, 1) <> " MB"

  @spec decimal(number(), non_neg_integer()) :: String.t()
  def decimal(number, places), do: :erlang.float_to_binary(number / 1, decimals: places)

  @doc "Prints rows in columns: the first to the left, numbers to the right, the last as it is."
  @spec table([[String.t()]]) :: :ok
  def table(rows) do
    widths =
      rows
      |> Enum.zip_with(& &1)
      |> Enum.map(&(&1 |> Enum.map(fn s -> String.length(s) end) |> Enum.max()))

    for row <- rows do
      last = length(row) - 1

      cells =
        for {{cell, width}, column} <- Enum.with_index(Enum.zip(row, widths)) do
          cond do
            column == 0 -> String.pad_trailing(cell, width)
            column == last -> cell
            true -> String.pad_leading(cell, width)
          end
        end

      IO.puts("   " <> String.trim_trailing(Enum.join(cells, "  ")))
    end

    :ok
  end
end
