defmodule Mix.Tasks.Compile.ShapeDbNif do
  @moduledoc """
  Builds the NIF with cargo, in release mode, into `priv/native/`.

  Cargo runs only when a Rust source or manifest is newer than the library that
  was built last, so an unchanged tree compiles without Rust being asked. When
  cargo fails, its own message is what is shown and the compilation stops.
  """

  use Mix.Task.Compiler

  @root Path.expand("..", __DIR__)
  @library Path.join(@root, "priv/native/shape_db_nif.so")

  @impl true
  def run(args) do
    if "--force" in args or Mix.Utils.stale?(sources(), [@library]) do
      build()
    else
      {:noop, []}
    end
  end

  @impl true
  def manifests, do: [@library]

  @impl true
  def clean do
    File.rm(@library)
    :ok
  end

  defp sources do
    [
      "Cargo.toml",
      "Cargo.lock",
      "native/*/Cargo.toml",
      "native/*/build.rs",
      "native/*/src/**/*.rs"
    ]
    |> Enum.flat_map(&Path.wildcard(Path.join(@root, &1)))
  end

  defp build do
    cargo =
      System.find_executable("cargo") ||
        Mix.raise(
          "cargo was not found: install Rust (https://rustup.rs) to build electric_shape_db"
        )

    args = ~w(build --release --locked --package shape_db_nif)

    case System.cmd(cargo, args, cd: @root, into: IO.stream(), stderr_to_stdout: true) do
      {_, 0} ->
        install(built(), @library)
        # priv/ may be new: link it into _build so that the NIF is found.
        Mix.Project.build_structure()
        {:ok, []}

      {_, status} ->
        Mix.raise(
          "cargo #{Enum.join(args, " ")} failed with status #{status}, see its message above"
        )
    end
  end

  defp built do
    extension = if match?({:unix, :darwin}, :os.type()), do: "dylib", else: "so"
    Path.join([target_dir(), "release", "libshape_db_nif.#{extension}"])
  end

  # By way of a rename: a running VM has the old library mapped, and overwriting
  # it in place would change code under that VM. Under a name of its own until then: two
  # hosts that have the library as a dependency may be built at once.
  @doc false
  def install(built, library) do
    File.mkdir_p!(Path.dirname(library))
    staged = "#{library}.#{System.pid()}-#{System.unique_integer([:positive])}.new"

    try do
      File.cp!(built, staged)
      # cargo keeps the time of an unchanged library; ours says when we last asked.
      File.touch!(staged)
      File.rename!(staged, library)
    after
      File.rm(staged)
    end
  end

  defp target_dir do
    case System.get_env("CARGO_TARGET_DIR") do
      nil -> Path.join(@root, "target")
      dir -> Path.expand(dir, @root)
    end
  end
end
