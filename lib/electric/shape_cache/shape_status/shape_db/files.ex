defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Files do
  @moduledoc false
  # Where a store keeps its database, and which older files it may take over.
  #
  # `<storage_dir>/meta/shape-db/v<shape_version>_<schema_version>@otp-<major>.sqlite`

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Options

  @compile {:no_warn_undefined, Electric.ShapeCache.ShapeStatus}

  @schema 5
  @old_schema 4

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
  @spec sources(Options.t()) :: [source()]
  def sources(%Options{storage_dir: ":memory:"}), do: []

  def sources(%Options{storage_dir: dir}) do
    {:ok, version} = shape_version()
    # OTP 25 wrote atoms in another way than we do.
    here = {path(dir, version, @old_schema, otp()), @old_schema, otp() < 26}

    elsewhere =
      for {major, schema} <- found(dir, version), major != otp() do
        {path(dir, version, schema, major), schema, true}
      end

    [here | elsewhere]
  end

  @doc "The name of the older schema's file in the place of ours."
  @spec old(Path.t()) :: Path.t()
  def old(path) do
    name = path |> Path.basename() |> String.replace("_#{@schema}@", "_#{@old_schema}@")
    Path.join(Path.dirname(path), name)
  end

  defp found(dir, version) do
    pattern = ~r/^v#{version}_([#{@old_schema}#{@schema}])@otp-(\d+)\.sqlite$/

    case File.ls(folder(dir)) do
      {:ok, names} ->
        names
        |> Enum.map(&Regex.run(pattern, &1, capture: :all_but_first))
        |> Enum.reject(&is_nil/1)
        |> Enum.map(fn [schema, major] ->
          {String.to_integer(major), String.to_integer(schema)}
        end)
        |> Enum.sort(:desc)

      {:error, _} ->
        []
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
        {:ok, host.version()}

      version = Application.get_env(:electric_shape_db, :shape_version) ->
        {:ok, version}

      true ->
        {:error,
         "the version of the shapes is not known: #{inspect(host)}.version/0 is not there, and " <>
           "config :electric_shape_db, :shape_version is not set"}
    end
  end
end
