defmodule ElectricShapeDb.LibraryTest do
  @moduledoc "Which library is loaded, and what is said of one that cannot be."

  use ElectricShapeDb.StoreCase, async: true

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.NativeLibrary

  @project Path.expand("../..", __DIR__)

  # A VM of its own, in which the application starts or says why it does not.
  defp start(library) do
    code = """
    case Application.ensure_all_started(:electric_shape_db) do
      {:ok, _} -> IO.puts("started")
      {:error, {_, {reason, _}}} -> IO.puts("refused: " <> inspect(reason, limit: :infinity, printable_limit: :infinity))
      {:error, {_, reason}} -> IO.puts("refused: " <> inspect(reason, limit: :infinity, printable_limit: :infinity))
    end
    """

    paths = Enum.flat_map(:code.get_path(), &["-pa", List.to_string(&1)])
    env = [{"ELECTRIC_SHAPE_DB_NIF", library}]
    {output, 0} = System.cmd("elixir", paths ++ ["-e", code], env: env, stderr_to_stdout: true)
    output
  end

  # The library with another version in it, or something else.
  defp changed(dir, name, change) do
    path = Path.join(dir, name)
    File.write!(path, change.(File.read!(NativeLibrary.file())))
    path
  end

  test "a library that was built elsewhere is taken", %{storage_dir: dir} do
    assert start(changed(dir, "elsewhere.so", & &1)) =~ "started"
    assert start("") =~ "started"
    assert NativeLibrary.version(NativeLibrary.file()) == "0.1.0"
  end

  test "one that is not there, not ours, or of another version is refused in words", context do
    dir = context.storage_dir
    absent = Path.join(dir, "absent.so")
    assert start(absent) =~ "#{absent} (named by ELECTRIC_SHAPE_DB_NIF) is not there"
    text = changed(dir, "text.so", fn _ -> "no library" end)
    assert start(text) =~ "cannot be loaded"
    # What it compares itself, and what it says of itself.
    other = changed(dir, "other.so", &String.replace(&1, "0.1.0", "0.0.9"))
    assert start(other) =~ "is of version 0.0.9 or of another build"
  end

  @tag timeout: 300_000
  test "with a library there is, nothing is built, whatever is newer", %{storage_dir: dir} do
    # All but what cargo and git keep.
    copy = Path.join(dir, "project")
    File.mkdir_p!(copy)

    for name <- ~w(lib mix mix.exs native Cargo.toml Cargo.lock) do
      File.cp_r!(Path.join(@project, name), Path.join(copy, name))
    end

    library = changed(dir, "prebuilt.so", & &1)
    bin = Path.join(dir, "bin")
    File.mkdir_p!(bin)
    for tool <- ["elixir", "erl", "mix"], do: link(tool, bin)
    base = [{"MIX_ENV", "prod"}, {"PATH", bin <> ":/usr/bin:/bin"}, {"CARGO_HOME", dir}]
    refute System.find_executable("cargo") |> to_string() |> String.starts_with?("/usr/bin")

    mix = fn args, env ->
      System.cmd("mix", args, cd: copy, env: base ++ env, stderr_to_stdout: true)
    end

    {output, status} = mix.(["compile"], [{"ELECTRIC_SHAPE_DB_NIF", nil}])
    assert status != 0 and output =~ "cargo was not found" and output =~ "ELECTRIC_SHAPE_DB_NIF"
    {output, status} = mix.(["compile"], [{"ELECTRIC_SHAPE_DB_NIF", dir <> "/nothing.so"}])
    assert status != 0 and output =~ "nothing.so is not there"
    assert {_, 0} = mix.(["compile"], [{"ELECTRIC_SHAPE_DB_NIF", library}])
    assert File.read!(Path.join(copy, "priv/native/shape_db_nif.so")) == File.read!(library)
    File.touch!(Path.join(copy, "native/shape_store/src/lib.rs"), {{2050, 1, 1}, {0, 0, 0}})
    assert {_, 0} = mix.(["compile"], [{"ELECTRIC_SHAPE_DB_NIF", library}])
  end

  defp link(tool, bin) do
    File.ln_s!(System.find_executable(tool), Path.join(bin, tool))
  end
end
