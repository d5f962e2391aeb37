defmodule Mix.Tasks.Compile.ShapeDbNif do
  @moduledoc """
  Builds the NIF with cargo, in release mode, into `priv/native/`.

  With `config :electric_shape_db, nif: path`, or `ELECTRIC_SHAPE_DB_NIF=path` in the
  environment, a library that was built elsewhere takes its place, and Rust is not asked
  for, whatever is newer. It is loaded, and so checked, when the application starts.

  Debug information goes to `target/release/shape_db_nif.so.debug`, for backtraces, where
  `objcopy` is there to do that: the library has 4 MB without it, and 23 MB with it.

  Cargo runs only when a Rust source or manifest is newer than the library that
  was built last, so an unchanged tree compiles without Rust being asked. When
  cargo fails, its own message is what is shown and the compilation stops.
  """

  use Mix.Task.Compiler

  @root Path.expand("..", __DIR__)
  @library Path.join(@root, "priv/native/shape_db_nif.so")

  @impl true
  def run(args) do
    cond do
      prebuilt = prebuilt() -> take(prebuilt)
      "--force" in args or Mix.Utils.stale?(sources(), [@library]) -> build()
      true -> {:noop, []}
    end
  end

  defp prebuilt do
    case System.get_env("ELECTRIC_SHAPE_DB_NIF", "") do
      "" -> Application.get_env(:electric_shape_db, :nif)
      path -> path
    end
  end

  defp take(prebuilt) do
    path = Path.expand(prebuilt)

    cond do
      path == @library and File.regular?(path) ->
        {:noop, []}

      File.regular?(path) ->
        if same?(path, @library), do: {:noop, []}, else: take_copy(path)

      true ->
        Mix.raise(
          "#{prebuilt} is not there, which ELECTRIC_SHAPE_DB_NIF or " <>
            "config :electric_shape_db, nif: names"
        )
    end
  end

  defp take_copy(path) do
    install(path, @library)
    Mix.Project.build_structure()
    {:ok, []}
  end

  defp same?(one, other) do
    with {:ok, %{size: size}} <- File.stat(one), {:ok, %{size: ^size}} <- File.stat(other) do
      File.read!(one) == File.read!(other)
    else
      _ -> false
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
          "cargo was not found: install Rust (https://rustup.rs) to build electric_shape_db, or " <>
            "name a library that was built elsewhere: ELECTRIC_SHAPE_DB_NIF=path"
        )

    args = ~w(build --release --locked --package shape_db_nif)

    case System.cmd(cargo, args, cd: @root, into: IO.stream(), stderr_to_stdout: true) do
      {_, 0} ->
        install(built(), @library, &split/2)
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
  def install(built, library, make \\ &File.cp!/2) do
    File.mkdir_p!(Path.dirname(library))
    staged = "#{library}.#{System.pid()}-#{System.unique_integer([:positive])}.new"

    try do
      make.(built, staged)
      # cargo keeps the time of an unchanged library; ours says when we last asked.
      File.touch!(staged)
      File.rename!(staged, library)
    after
      File.rm(staged)
    end
  end

  defp split(built, to) do
    # Not beside the library: it would be part of every release.
    debug = Path.join([target_dir(), "release", "shape_db_nif.so.debug"])
    staged = "#{debug}.#{System.pid()}.new"
    link = "--add-gnu-debuglink=#{debug}"

    with objcopy when objcopy != nil <- System.find_executable("objcopy"),
         :ok <- tool(objcopy, ["--only-keep-debug", built, staged]),
         :ok <- File.rename(staged, debug),
         :ok <- tool(objcopy, ["--strip-unneeded", link, built, to]) do
      :ok
    else
      _ ->
        File.rm(staged)
        File.cp!(built, to)
    end
  end

  defp tool(program, args) do
    case System.cmd(program, args, stderr_to_stdout: true) do
      {_, 0} -> :ok
      {_, _} -> :error
    end
  end

  defp target_dir do
    case System.get_env("CARGO_TARGET_DIR") do
      nil -> Path.join(@root, "target")
      dir -> Path.expand(dir, @root)
    end
  end
end
