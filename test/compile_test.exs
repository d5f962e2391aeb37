defmodule ElectricShapeDb.CompileTest do
  @moduledoc "The compiler step that builds the NIF."

  use ExUnit.Case, async: true

  import ElectricShapeDb.StoreCase, only: [tmp_dir!: 0]

  alias Mix.Tasks.Compile.ShapeDbNif

  test "builds at once do not get in each other's way" do
    dir = tmp_dir!()
    built = Path.join(dir, "built")
    library = Path.join([dir, "priv", "native", "library"])
    bytes = :rand.bytes(100_000)
    File.write!(built, bytes)

    1..50
    |> Task.async_stream(fn _ -> ShapeDbNif.install(built, library) end, max_concurrency: 10)
    |> Enum.each(fn {:ok, installed} -> assert installed in [:ok, {:error, :enoent}] end)

    assert File.read!(library) == bytes
    assert File.ls!(Path.dirname(library)) == ["library"]
  end
end
