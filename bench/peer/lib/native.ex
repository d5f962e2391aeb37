defmodule Bench.Peer.Native do
  @moduledoc """
  The peer's SQLite binding (`bench/peer/native`). Every function runs on a dirty
  I/O scheduler; a statement is named by its position in the list given to `prepare/2`.
  """

  @crate Path.expand("../native", __DIR__)

  @type connection :: reference()
  @type statement :: non_neg_integer()
  @type bind :: integer() | binary() | nil
  @type row :: [bind()]

  @doc "Builds the library with cargo, which does nothing when it is up to date."
  @spec build!() :: :ok
  def build! do
    case System.cmd("cargo", ~w(build --release --locked --quiet), cd: @crate, into: IO.stream()) do
      {_, 0} -> :ok
      {_, status} -> raise "cargo failed with status #{status} in #{@crate}"
    end
  end

  @doc "Loads the library that was built."
  @spec load!() :: :ok
  def load! do
    target = System.get_env("CARGO_TARGET_DIR", "target") |> Path.expand(@crate)
    library = Path.join(target, "release/libbench_peer_nif")
    :ok = library |> String.to_charlist() |> :erlang.load_nif(0)
  end

  @spec open(Path.t()) :: {:ok, connection()} | {:error, String.t()}
  def open(_path), do: :erlang.nif_error(:not_loaded)

  @spec close(connection()) :: :ok
  def close(_connection), do: :erlang.nif_error(:not_loaded)

  @spec execute(connection(), String.t()) :: {:ok, :ok} | {:error, String.t()}
  def execute(_connection, _sql), do: :erlang.nif_error(:not_loaded)

  @doc "Runs one statement that was not prepared."
  @spec query(connection(), String.t()) :: {:ok, [row()]} | {:error, String.t()}
  def query(_connection, _sql), do: :erlang.nif_error(:not_loaded)

  @spec prepare(connection(), [String.t()]) :: {:ok, :ok} | {:error, String.t()}
  def prepare(_connection, _statements), do: :erlang.nif_error(:not_loaded)

  @spec fetch_all(connection(), statement(), [bind()]) :: {:ok, [row()]} | {:error, String.t()}
  def fetch_all(_connection, _statement, _binds), do: :erlang.nif_error(:not_loaded)

  @spec bind(connection(), statement(), [bind()]) :: {:ok, :ok} | {:error, String.t()}
  def bind(_connection, _statement, _binds), do: :erlang.nif_error(:not_loaded)

  @spec step(connection(), statement()) :: {:ok, row() | :done} | {:error, String.t()}
  def step(_connection, _statement), do: :erlang.nif_error(:not_loaded)

  @doc """
  Sends `{due, kind, input}` to each process when it is due, which is so many nanoseconds
  after `start`, in order; in the end `{reference, nanoseconds late}` to the caller. For
  `Bench.OpenLoop`, not for the peer.
  """
  @spec pace(reference(), [{non_neg_integer(), pid(), integer(), integer()}], pos_integer()) ::
          {:ok, :ok} | {:error, String.t()}
  def pace(_reference, _arrivals, _start), do: :erlang.nif_error(:not_loaded)
end
