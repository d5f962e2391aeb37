# The compiler step that builds the NIF. Mix loads this file again whenever the
# project is somebody's dependency, so the module may already be there.
unless Code.ensure_loaded?(Mix.Tasks.Compile.ShapeDbNif) do
  Code.require_file("mix/compile_shape_db_nif.ex", __DIR__)
end

defmodule ElectricShapeDb.MixProject do
  use Mix.Project

  def project do
    [
      app: :electric_shape_db,
      version: "0.1.0",
      elixir: "~> 1.14",
      compilers: [:shape_db_nif | Mix.compilers()],
      elixirc_paths: elixirc_paths(Mix.env()),
      start_permanent: Mix.env() == :prod,
      description: "The metadata store of Electric's shapes, in Rust",
      package: [licenses: ["Apache-2.0"]],
      test_ignore_filters: [&String.starts_with?(&1, "test/host/")],
      deps: []
    ]
  end

  # `:telemetry` is called where the host has it and is no dependency of ours.
  def application do
    [
      mod: {Electric.ShapeCache.ShapeStatus.ShapeDb.Application, []},
      extra_applications: [:logger, :crypto]
    ]
  end

  defp elixirc_paths(:test), do: ["lib", "test/support"]

  # The demo borrows the stand-ins for the host's modules.
  defp elixirc_paths(:demo) do
    ["lib", "demo", "test/support/shape.ex", "test/support/shape_status.ex"]
  end

  defp elixirc_paths(_), do: ["lib"]
end
