defmodule Host.MixProject do
  use Mix.Project

  def project do
    [
      app: :host,
      version: "0.1.0",
      elixir: "~> 1.14",
      deps: [{:electric_shape_db, path: "../.."}]
    ]
  end

  def application do
    [mod: {Host.Application, []}, extra_applications: [:logger]]
  end
end
