defmodule ElectricShapeDb.Demo.Verdict do
  @moduledoc """
  What of the acknowledged shapes of a durability is there after the kill, and
  whether that is what the durability promised.

  | durability | an acknowledged shape may be lost |
  |---|---|
  | `:buffered` | when it was queued and not yet in SQLite: the newest ones, none older than one that is there |
  | `:sync` | never |
  | `{:sync, ms}` | when it was acknowledged late, as the event says; else never |

  A shape is there when it is found under its handle, equal to what was added.
  """

  alias ElectricShapeDb.Demo.Pipe
  alias ElectricShapeDb.Demo.Shapes
  alias ElectricShapeDb.Demo.Words

  defstruct [:durability, :acknowledged, :found, :lost, :degraded, :kept?]

  @type t :: %__MODULE__{
          durability: term(),
          acknowledged: non_neg_integer(),
          found: non_neg_integer(),
          lost: non_neg_integer(),
          degraded: non_neg_integer(),
          kept?: boolean()
        }

  @doc "One for each durability. `there` has the hash of each shape by its handle."
  @spec all([Pipe.told()], %{String.t() => non_neg_integer()}) :: [t()]
  def all(acknowledged, there) do
    by_index = Enum.group_by(acknowledged, fn {:acknowledged, index, _, _} -> index end)

    for {durability, index} <- Enum.with_index(Tuple.to_list(Pipe.durabilities())) do
      # In the order in which each process was acknowledged: by its numbers.
      mine =
        by_index
        |> Map.get(index, [])
        |> Enum.map(fn {:acknowledged, _, degraded, number} ->
          {number, degraded, there?(number, there)}
        end)
        |> Enum.sort()

      found = Enum.count(mine, fn {_, _, there?} -> there? end)

      %__MODULE__{
        durability: durability,
        acknowledged: length(mine),
        found: found,
        lost: length(mine) - found,
        degraded: Enum.count(mine, fn {_, degraded, _} -> degraded end),
        kept?: kept?(durability, mine)
      }
    end
  end

  @spec heading() :: [String.t()]
  def heading do
    ["durability", "acknowledged", "found", "lost", "what it promised when a VM is killed"]
  end

  @doc "What a person reads of it."
  @spec row(t()) :: [String.t()]
  def row(verdict) do
    [
      inspect(verdict.durability),
      Words.count(verdict.acknowledged),
      Words.count(verdict.found),
      Words.count(verdict.lost),
      promise(verdict) <> if(verdict.kept?, do: ": kept", else: ": BROKEN")
    ]
  end

  defp promise(%{durability: :buffered}), do: "only the newest may be lost, still in the queue"
  defp promise(%{durability: :sync}), do: "nothing is lost"

  defp promise(%{durability: {:sync, ms}, degraded: 0}) do
    "nothing is lost, as none waited #{ms} ms in vain"
  end

  defp promise(%{durability: {:sync, ms}, degraded: degraded}) do
    "nothing is lost, but of the #{Words.count(degraded)} that waited #{ms} ms in vain"
  end

  @doc "Whether a shape of `Shapes` is there, equal to what was added."
  @spec there?(Shapes.n(), %{String.t() => non_neg_integer()}) :: boolean()
  def there?(number, there) do
    {handle, shape} = Shapes.build(number)
    Map.get(there, handle) == :erlang.phash2(shape)
  end

  defp kept?(:sync, mine), do: Enum.all?(mine, fn {_, _, there?} -> there? end)
  defp kept?({:sync, _}, mine), do: Enum.all?(mine, fn {_, late, there?} -> there? or late end)

  # Each process added one after the other, so nothing is there after a lost one.
  # The next process's numbers start elsewhere.
  defp kept?(:buffered, mine) do
    mine
    |> Enum.zip(Enum.drop(mine, 1))
    |> Enum.all?(fn {{number, _, there?}, {next, _, next_there?}} ->
      there? or not next_there? or next != number + 1
    end)
  end
end
