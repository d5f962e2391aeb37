defmodule Bench.Peer.Supervisor do
  @moduledoc """
  One stack of the peer: the write connection, the read connections and the write
  buffer, started in this order and stopped in the reverse one, so that the buffer
  can still commit what it holds.

  Options in `shape_db_opts`: `storage_dir`, and `fetch` (see `Bench.Peer.Connection`).
  """

  use Supervisor

  alias Bench.Peer.{Connection, Pool, Stack, WriteBuffer}

  @spec start_link(keyword()) :: Supervisor.on_start()
  def start_link(opts), do: Supervisor.start_link(__MODULE__, opts)

  @doc "Where the database of a storage directory is."
  @spec db_path(Path.t()) :: Path.t()
  def db_path(storage_dir) do
    Path.join(storage_dir, "meta/shape-db/v10_4@otp-#{System.otp_release()}.sqlite")
  end

  @impl true
  def init(opts) do
    stack = Stack.register(opts[:stack_id])
    shape_db_opts = opts[:shape_db_opts]
    path = db_path(shape_db_opts[:storage_dir])
    fetch = shape_db_opts[:fetch] || :whole
    File.mkdir_p!(Path.dirname(path))

    children = [
      {Pool, name: stack.writer, open: fn -> [Connection.open_writer!(path, fetch)] end},
      {Pool, name: stack.readers, open: fn -> readers(path, fetch) end},
      {WriteBuffer, stack_id: opts[:stack_id]}
    ]

    Supervisor.init(children, strategy: :one_for_all, max_restarts: 0)
  end

  defp readers(path, fetch) do
    for _ <- 1..(System.schedulers_online() * 2), do: Connection.open_reader!(path, fetch)
  end
end
