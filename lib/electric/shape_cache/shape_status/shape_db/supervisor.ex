defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Supervisor do
  @moduledoc """
  The store of one stack.

      {Electric.ShapeCache.ShapeStatus.ShapeDb.Supervisor,
       stack_id: "my-stack", shape_db_opts: [storage_dir: "/var/lib/electric"]}

  `shape_db_opts` are those of `Electric.ShapeCache.ShapeStatus.ShapeDb.Options`.

  There is one child, the owner of the store. When it dies this supervisor does
  not start another but ends, because what the host keeps of the shapes elsewhere
  has to be built again from the store that comes after it.
  """

  use Supervisor

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Arguments
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Files
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Options
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Names
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.WriteBuffer

  @doc """
  A name of the supervisor of a stack, for `GenServer.whereis/1`.

      iex> "my-stack" |> ShapeDb.Supervisor.name() |> GenServer.whereis() |> is_pid()
      true
  """
  @spec name(String.t() | keyword()) :: GenServer.name()
  def name(stack_ref), do: Names.name(stack_ref, __MODULE__)

  @doc """
  Starts the store of a stack.

  Returns when every lookup answers: the file is read, or taken over from an older
  one. `{:error, reason}` says which option is wrong, or why the file cannot be
  had.

      iex> ShapeDb.Supervisor.start_link(shape_db_opts: [storage_dir: "/var/lib/electric"])
      {:error, "stack_id is missing"}
  """
  @spec start_link(keyword()) :: Supervisor.on_start()
  def start_link(args) do
    with :ok <- Names.check_started(),
         {:ok, stack_id} <- stack_id(args),
         {:ok, options} <- Options.new(Keyword.get(args, :shape_db_opts) || []),
         {:ok, _path} <- Files.database(options) do
      Supervisor.start_link(__MODULE__, {stack_id, options}, name: name(stack_id))
    end
  end

  defp stack_id(args) do
    case Keyword.keyword?(args) and Keyword.fetch(args, :stack_id) do
      {:ok, stack_id} when is_binary(stack_id) -> {:ok, stack_id}
      {:ok, other} -> {:error, "stack_id is a binary, not #{Arguments.shown(other)}"}
      :error -> {:error, "stack_id is missing"}
      false -> {:error, "a stack is started with a keyword list, not #{Arguments.shown(args)}"}
    end
  end

  @impl true
  def init({stack_id, options}) do
    children = [WriteBuffer.child_spec(stack_id: stack_id, options: options)]
    Supervisor.init(children, strategy: :one_for_all, max_restarts: 0)
  end
end
