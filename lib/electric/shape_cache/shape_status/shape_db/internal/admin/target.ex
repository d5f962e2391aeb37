defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Target do
  @moduledoc false
  # What an operator means: a stack that runs here, or a file.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Files
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Options
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Names
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores

  @enforce_keys [:path]
  defstruct [:path, :stack_id, :store, :options]

  # A store in memory has no path.
  @type t :: %__MODULE__{
          path: Path.t() | nil,
          stack_id: String.t() | nil,
          store: Native.store() | nil,
          options: Options.t() | nil
        }

  @doc "The ids of the stacks that run here, sorted."
  @spec stack_ids() :: [String.t()]
  def stack_ids do
    # One row a stack; this is for people, not for requests.
    Enum.sort(Names.stack_ids())
  end

  @spec find(String.t()) :: {:ok, t()} | {:error, String.t()}
  def find(target) do
    case Stores.get(target) do
      {store, options, about} -> {:ok, of_stack(target, store, options, about.path)}
      nil -> of_path(target)
    end
  end

  defp of_stack(stack_id, store, options, path) do
    path = if path == ":memory:", do: nil, else: path
    %__MODULE__{path: path, stack_id: stack_id, store: store, options: options}
  end

  defp of_path(target) do
    cond do
      File.regular?(target) ->
        {:ok, %__MODULE__{path: target}}

      storage_dir?(target) ->
        with {:ok, path} <- place(target), do: {:ok, %__MODULE__{path: path}}

      File.dir?(target) ->
        {:error, "#{target} is a folder, and no storage_dir: there is no meta/shape-db in it"}

      true ->
        {:error, "#{target} is neither a stack that runs here, nor a file, nor a storage_dir"}
    end
  end

  @doc "The file a place stands for: itself, or that of this version in a `storage_dir`."
  @spec place(Path.t()) :: {:ok, Path.t()} | {:error, String.t()}
  def place(place) do
    if File.dir?(place) do
      with {:ok, options} <- Options.new(storage_dir: place),
           {:ok, path} <- Files.database(options) do
        {:ok, path}
      end
    else
      {:ok, place}
    end
  end

  defp storage_dir?(dir), do: File.dir?(Path.join([dir, "meta", "shape-db"]))

  @doc "A file that can be copied: a store in memory has none."
  @spec file(t()) :: {:ok, Path.t()} | {:error, String.t()}
  def file(%__MODULE__{path: nil, stack_id: id}),
    do: {:error, "the stack #{Kernel.inspect(id)} is in memory and has no file"}

  def file(%__MODULE__{path: path}), do: {:ok, path}

  @doc "Whether the file is read beside the store that has it."
  @spec live?(t()) :: boolean()
  def live?(%__MODULE__{store: store}), do: store != nil
end
