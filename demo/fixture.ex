defmodule ElectricShapeDb.Demo.Fixture do
  @moduledoc """
  The file that the real service wrote, packed in the repository: a version-4
  database with its write-ahead log, and the list of what it holds.
  """

  import ElectricShapeDb.Demo.Failure, only: [fail!: 1]

  @root Path.expand("../test/fixtures", __DIR__)
  @written_as "real-500/v10_4@otp-27.sqlite"
  @manifest "real-500.eterm"

  @doc "How many shapes it holds, by its manifest."
  @spec count!() :: pos_integer()
  def count! do
    case :file.consult(Path.join(@root, @manifest)) do
      {:ok, entries} -> length(entries)
      {:error, reason} -> missing!(@manifest, :file.format_error(reason))
    end
  end

  @doc "Unpacks it to where a store under `storage_dir` looks for a file to take over."
  @spec unpack!(Path.t()) :: :ok
  def unpack!(storage_dir) do
    folder = Path.join([storage_dir, "meta", "shape-db"])
    make_folder!(folder)

    for suffix <- ["", "-wal"] do
      packed = @written_as <> suffix <> ".gz"
      path = Path.join(folder, "v10_4@otp-#{System.otp_release()}.sqlite" <> suffix)

      with {:ok, bytes} <- File.read(Path.join(@root, packed)),
           :ok <- File.write(path, :zlib.gunzip(bytes)) do
        :ok
      else
        {:error, reason} -> missing!(packed, :file.format_error(reason))
      end
    end

    :ok
  end

  defp make_folder!(folder) do
    with {:error, reason} <- File.mkdir_p(folder) do
      fail!("cannot make the folder #{folder}: #{:file.format_error(reason)}")
    end
  end

  defp missing!(file, reason) do
    fail!("cannot unpack test/fixtures/#{file}: #{reason}; it is part of the repository")
  end
end
