defmodule Bench.Store do
  @moduledoc "A running stack of one side."

  alias Bench.{Config, Side}

  @enforce_keys [:side, :db, :stack_id, :directory, :supervisor]
  defstruct @enforce_keys

  @type t :: %__MODULE__{}

  @doc """
  Starts a stack on a directory, linked to the caller. One of a side runs at a time, always the
  same stack: a file of another's costs its start a warning.
  """
  @spec start(Side.t(), Path.t()) :: t()
  def start(side, directory) do
    stack_id = "bench-#{side.name}"
    options = [storage_dir: directory] ++ side.options
    child = {side.supervisor, [stack_id: stack_id, shape_db_opts: options]}
    {:ok, supervisor} = Supervisor.start_link([child], strategy: :one_for_one)

    %__MODULE__{
      side: side,
      db: side.db,
      stack_id: stack_id,
      directory: directory,
      supervisor: supervisor
    }
  end

  @doc "Stops the stack, which commits what is pending."
  @spec stop(t()) :: :ok
  def stop(store), do: :ok = Supervisor.stop(store.supervisor, :normal, :infinity)

  @doc "Runs `fun` with a stack on the directory."
  @spec with_store(Side.t(), Path.t(), (t() -> result)) :: result when result: term()
  def with_store(side, directory, fun) do
    store = start(side, directory)

    try do
      fun.(store)
    after
      stop(store)
    end
  end

  @doc "Runs `fun` with a stack on an empty directory, which is deleted afterwards."
  @spec with_fresh_store(Config.t(), Side.t(), (t() -> result)) :: result when result: term()
  def with_fresh_store(config, side, fun) do
    with_temporary_store(side, Config.fresh_directory(config), fun)
  end

  @doc "Runs `fun` with a stack on the directory, which is deleted afterwards."
  @spec with_temporary_store(Side.t(), Path.t(), (t() -> result)) :: result when result: term()
  def with_temporary_store(side, directory, fun) do
    with_store(side, directory, fun)
  after
    File.rm_rf!(directory)
  end

  @doc "Returns when everything accepted before is committed."
  @spec flush(t()) :: :ok
  def flush(store), do: store.side.write_buffer.flush_sync(store.stack_id, :infinity)

  @doc "Adds the shapes, completes their snapshots, and waits for the commit."
  @spec fill(t(), Enumerable.t()) :: :ok
  def fill(store, shapes) do
    for {handle, shape} <- shapes do
      {:ok, _hash} = store.db.add_shape(store.stack_id, shape, handle)
      :ok = store.db.mark_snapshot_complete(store.stack_id, handle)
    end

    flush(store)
  end

  @doc "Finds every shape and reads every body once, so that what a store keeps warm is warm."
  @spec read_all(t(), [Bench.Shapes.entry()]) :: :ok
  def read_all(%{db: db, stack_id: id}, shapes) do
    for {handle, shape} <- shapes do
      {:ok, ^handle} = db.handle_for_shape(id, shape)
      {:ok, _shape} = db.shape_for_handle(id, handle)
    end

    :ok
  end
end
