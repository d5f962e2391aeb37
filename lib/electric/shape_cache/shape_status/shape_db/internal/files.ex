defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Files do
  @moduledoc false
  # Where a store keeps its database, and which older files it may take over.
  #
  # `<storage_dir>/meta/shape-db/v<shape_version>_<schema_version>@otp-<major>.sqlite`

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Host
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Options

  @compile {:no_warn_undefined, Electric.ShapeCache.ShapeStatus}

  @schema 5
  @old_schema 4

  # How long the host may take to tell the version of its shapes.
  @version_timeout 5_000

  @typedoc "A file, its schema, and whether its digests have to be computed anew."
  @type source :: {Path.t(), 4 | 5, boolean()}

  @doc "The path of our file, or `:memory:`."
  @spec database(Options.t()) :: {:ok, Path.t()} | {:error, String.t()}
  def database(%Options{storage_dir: ":memory:"}), do: {:ok, ":memory:"}

  def database(%Options{storage_dir: dir}) do
    with {:ok, version} <- shape_version() do
      {:ok, path(dir, version, @schema, otp())}
    end
  end

  @doc """
  The files to take over when ours is not there, best first: the old schema of
  this OTP release, then the other releases from the latest down, ours before
  the old schema's.
  """
  @spec sources(Options.t()) :: {:ok, [source()]} | {:error, String.t()}
  def sources(%Options{storage_dir: ":memory:"}), do: {:ok, []}

  def sources(%Options{storage_dir: dir}) do
    with {:ok, version} <- shape_version() do
      # OTP 25 wrote atoms in another way than we do.
      here = {path(dir, version, @old_schema, otp()), @old_schema, otp() < 26}

      elsewhere =
        for {major, schema} <- found(dir, version), major != otp() do
          {path(dir, version, schema, major), schema, true}
        end

      {:ok, [here | elsewhere]}
    end
  end

  @doc """
  The names of the database files that lie in the folder and are of no use to this
  start, when there is none that is: of another version of the shapes, or of a newer
  schema.
  """
  @spec passed_over(Options.t(), Path.t(), [source()]) :: [String.t()]
  def passed_over(%Options{storage_dir: ":memory:"}, _path, _sources), do: []

  def passed_over(%Options{storage_dir: dir}, path, sources) do
    ours = [path | for({source, _schema, _verify?} <- sources, do: source)]
    names = for name <- names(dir), name =~ ~r/^v.+_\d+@otp-\d+\.sqlite$/, do: name
    if Enum.any?(ours, &File.exists?/1), do: [], else: Enum.sort(names)
  end

  @doc "The name of the older schema's file in the place of ours."
  @spec old(Path.t()) :: Path.t()
  def old(path) do
    name = path |> Path.basename() |> String.replace("_#{@schema}@", "_#{@old_schema}@")
    Path.join(Path.dirname(path), name)
  end

  defp found(dir, version) do
    pattern = ~r/^v#{Regex.escape("#{version}")}_([#{@old_schema}#{@schema}])@otp-(\d+)\.sqlite$/

    names(dir)
    |> Enum.map(&Regex.run(pattern, &1, capture: :all_but_first))
    |> Enum.reject(&is_nil/1)
    |> Enum.map(fn [schema, major] -> {String.to_integer(major), String.to_integer(schema)} end)
    |> Enum.sort(:desc)
  end

  defp names(dir) do
    case File.ls(folder(dir)) do
      {:ok, names} -> names
      {:error, _} -> []
    end
  end

  defp folder(dir), do: Path.join([dir, "meta", "shape-db"])

  defp path(dir, version, schema, otp) do
    Path.join(folder(dir), "v#{version}_#{schema}@otp-#{otp}.sqlite")
  end

  defp otp, do: :erlang.system_info(:otp_release) |> List.to_integer()

  # The host's module is looked for at run time: it is compiled after us.
  defp shape_version do
    host = Electric.ShapeCache.ShapeStatus

    cond do
      Code.ensure_loaded?(host) and function_exported?(host, :version, 0) ->
        case Host.run(&host.version/0, @version_timeout) do
          {:ok, version} -> printable(version, "#{inspect(host)}.version/0 gave")
          {:error, how} -> {:error, "#{inspect(host)}.version/0 #{how}"}
        end

      version = Application.get_env(:electric_shape_db, :shape_version) ->
        printable(version, "config :electric_shape_db, :shape_version is")

      true ->
        {:error,
         "the version of the shapes is not known: #{inspect(host)}.version/0 is not there, and " <>
           "config :electric_shape_db, :shape_version is not set"}
    end
  end

  # The version becomes part of the file's name.
  defp printable(version, _whence) when is_integer(version), do: {:ok, version}

  defp printable(version, whence) do
    if (is_binary(version) or (is_atom(version) and version != nil)) and
         "#{version}" =~ ~r/^[^\/\0]+$/,
       do: {:ok, version},
       else: {:error, "#{whence} #{inspect(version)}, which cannot be part of a file's name"}
  end
end
