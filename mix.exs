# The compiler step that builds the NIF. Mix loads this file again whenever the
# project is somebody's dependency, so the module may already be there.
unless Code.ensure_loaded?(Mix.Tasks.Compile.ShapeDbNif) do
  Code.require_file("mix/compile_shape_db_nif.ex", __DIR__)
end

defmodule ElectricShapeDb.MixProject do
  use Mix.Project

  @version "0.1.0"

  # Where the repository is published. This is the name of nothing, for documentation.
  @source_url "https://example.com/electric_shape_db"

  def project do
    [
      app: :electric_shape_db,
      version: @version,
      elixir: "~> 1.14",
      compilers: [:shape_db_nif | Mix.compilers()],
      elixirc_paths: elixirc_paths(Mix.env()),
      start_permanent: Mix.env() == :prod,
      description: "The metadata store of Electric's shapes, in Rust",
      source_url: @source_url,
      docs: docs(),
      package: package(),
      test_ignore_filters: [&String.starts_with?(&1, "test/host/")],
      deps: []
    ]
  end

  # For ExDoc, which whoever wants the pages brings: it is no dependency either.
  defp docs do
    guides = ~w(replacing_the_genserver_buffer operations durability architecture building)
    shape_db = Electric.ShapeCache.ShapeStatus.ShapeDb

    [
      main: "readme",
      source_ref: "v#{@version}",
      extras:
        ["README.md" | Enum.map(guides, &"guides/#{&1}.md")] ++
          ["bench/README.md": [filename: "bench", title: "The bench"]] ++
          ["CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"],
      groups_for_extras: [Guides: ~r"guides/"],
      groups_for_modules: [
        "For the host":
          [shape_db] ++
            Enum.map([Supervisor, Options, WriteBuffer, Error], &Module.concat(shape_db, &1)),
        "For operators":
          Enum.map(
            [Admin, Connection, Statistics, Telemetry, LiveDashboardPage],
            &Module.concat(shape_db, &1)
          )
      ]
    ]
  end

  # All that a host compiles. Cargo wants every member of the workspace to be there.
  defp package do
    [
      licenses: ["Apache-2.0"],
      links: %{
        "Source" => @source_url,
        "Changelog" => @source_url <> "/blob/main/CHANGELOG.md",
        "Electric" => "https://electric-sql.com"
      },
      files:
        ~w(lib mix native .cargo Cargo.toml Cargo.lock mix.exs .formatter.exs guides README.md) ++
          ~w(CONTRIBUTING.md CHANGELOG.md LICENSE)
    ]
  end

  # `:telemetry` is called where the host has it and is no dependency of ours.
  def application do
    [
      mod: {Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Application, []},
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
