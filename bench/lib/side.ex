defmodule Bench.Side do
  @moduledoc """
  One of the two implementations that the bench compares. Both have the same
  function contract, so a side is the names of its modules and its options.
  """

  @enforce_keys [:name, :db, :supervisor, :write_buffer]
  defstruct @enforce_keys ++ [options: []]

  @type t :: %__MODULE__{
          name: :ours | :peer,
          db: module(),
          supervisor: module(),
          write_buffer: module(),
          options: keyword()
        }

  @spec ours() :: t()
  def ours do
    db = Electric.ShapeCache.ShapeStatus.ShapeDb

    %__MODULE__{
      name: :ours,
      db: db,
      supervisor: Module.concat(db, Supervisor),
      write_buffer: Module.concat(db, WriteBuffer)
    }
  end

  @doc """
  The design that is replaced. It reads row by row, as the service does;
  `PEER_FETCH=whole` has it fetch all rows of a query in one call, which is its best.
  """
  @spec peer() :: t()
  def peer do
    fetch = System.get_env("PEER_FETCH", "row") |> String.to_existing_atom()

    %__MODULE__{
      name: :peer,
      db: Bench.Peer.ShapeDb,
      supervisor: Bench.Peer.Supervisor,
      write_buffer: Bench.Peer.WriteBuffer,
      options: [fetch: fetch]
    }
  end

  @doc "The side as it is, but that the replaced design fetches all rows in one call."
  @spec whole(t()) :: t()
  def whole(%{name: :peer} = side), do: %{side | options: [fetch: :whole]}
  def whole(side), do: side

  @doc "The sides named, or those that are there: ours may not be built yet."
  @spec select([String.t()]) :: [t()]
  def select([]), do: Enum.filter([ours(), peer()], &Code.ensure_loaded?(&1.db))
  def select(names), do: Enum.filter([ours(), peer()], &(Atom.to_string(&1.name) in names))
end
