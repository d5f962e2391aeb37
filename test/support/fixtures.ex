defmodule ElectricShapeDb.Fixtures do
  @moduledoc """
  Version-4 files that the real service wrote, with their manifests, see
  `test/fixtures/README.md`. They are copied before use: SQLite changes what it
  opens.
  """

  @root Path.expand("../fixtures", __DIR__)
  @written_as "v10_4@otp-27.sqlite"

  @type entry :: %{
          handle: String.t(),
          hash: non_neg_integer(),
          snapshot_complete: boolean(),
          oids: [pos_integer()],
          comparable_sha256: String.t(),
          shape_sha256: String.t(),
          shape_bytes: pos_integer()
        }

  @doc "What the fixture holds, sorted by handle."
  @spec manifest(String.t()) :: [entry()]
  def manifest(name) do
    {:ok, entries} = :file.consult(Path.join(@root, name <> ".eterm"))
    entries
  end

  @doc "Copies the fixture to where a store of `otp` looks for it; gives the path."
  @spec copy!(String.t(), Path.t(), pos_integer()) :: Path.t()
  def copy!(name, storage_dir, otp \\ otp_major()) do
    path = path(storage_dir, 4, otp)
    File.mkdir_p!(Path.dirname(path))

    for suffix <- ["", "-wal"],
        packed = Path.join([@root, name, @written_as <> suffix <> ".gz"]),
        File.exists?(packed) do
      File.write!(path <> suffix, :zlib.gunzip(File.read!(packed)))
    end

    path
  end

  @doc "Where the file of a schema version and an OTP major lies."
  @spec path(Path.t(), pos_integer(), pos_integer()) :: Path.t()
  def path(storage_dir, schema_version, otp \\ otp_major()) do
    Path.join([storage_dir, "meta", "shape-db", "v10_#{schema_version}@otp-#{otp}.sqlite"])
  end

  @spec otp_major() :: pos_integer()
  def otp_major, do: String.to_integer(System.otp_release())

  @doc "20,000 real shapes over 200 tables, `[{handle, shape}]`."
  @spec bench_shapes() :: [{String.t(), Electric.Shapes.Shape.t()}]
  def bench_shapes do
    [@root, "bench-20k.etf"] |> Path.join() |> File.read!() |> :erlang.binary_to_term()
  end
end
