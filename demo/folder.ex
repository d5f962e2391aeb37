defmodule ElectricShapeDb.Demo.Folder do
  @moduledoc """
  Where one run keeps its files: always a new folder, in the system's place for
  temporary files, where it does not stay, or in one that was given, where it
  does.
  """

  import ElectricShapeDb.Demo.Failure, only: [fail!: 1]

  defstruct [:path, :kept?]

  @type t :: %__MODULE__{path: Path.t(), kept?: boolean()}

  @doc "Makes the folder of this run."
  @spec make!([String.t()]) :: t()
  def make!(arguments) do
    case Enum.reject(arguments, &(&1 == "")) do
      [] -> %__MODULE__{path: make_in!(temporary!()), kept?: false}
      [dir] -> %__MODULE__{path: make_in!(Path.expand(dir)), kept?: true}
      more -> fail!("one folder at most, not #{length(more)}: #{Enum.join(more, " ")}")
    end
  end

  @doc "Takes it away again, if it does not stay; gives what is left."
  @spec leave(t()) :: Path.t() | nil
  def leave(%{kept?: true, path: path}), do: path

  def leave(%{kept?: false, path: path}) do
    File.rm_rf(path)
    nil
  end

  defp temporary! do
    System.tmp_dir() || fail!("there is no place for temporary files; give one: make demo DIR=…")
  end

  defp make_in!(parent) do
    name = Calendar.strftime(DateTime.utc_now(), "shape-db-demo-%Y%m%d-%H%M%S")
    path = Path.join(parent, "#{name}-#{System.pid()}")

    with :ok <- File.mkdir_p(parent), :ok <- File.mkdir(path) do
      path
    else
      {:error, reason} -> fail!("cannot make the folder #{path}: #{:file.format_error(reason)}")
    end
  end
end
