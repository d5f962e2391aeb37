defmodule ElectricShapeDb.DocsTest do
  @moduledoc """
  The examples of the documentation. In them `"my-stack"` runs and is empty, `shape/1` is
  a shape of the host's, and `tmp/1` names a path in a folder of the example's own.
  """

  use ElectricShapeDb.StoreCase, async: true

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Admin
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Error
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.LiveDashboardPage
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Options
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Statistics
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Telemetry

  # What a host or an operator calls; everything else has no documentation.
  @public [
    ShapeDb,
    Admin,
    Connection,
    Error,
    LiveDashboardPage,
    Options,
    Statistics,
    ShapeDb.Supervisor,
    Telemetry,
    WriteBuffer
  ]

  # What behaviours ask for, which a host does not call.
  @callbacks [child_spec: 1, exception: 1, message: 1, init: 1]

  setup context do
    Process.put(__MODULE__, context.storage_dir)
    start_store!(%{stack_id: "my-stack", storage_dir: Path.join(context.storage_dir, "storage")})
  end

  defp tmp(name), do: Path.join(Process.get(__MODULE__), name)

  for module <- @public, do: doctest(module)

  test "the modules that are documented are those that hosts and operators call" do
    {:ok, modules} = :application.get_key(:electric_shape_db, :modules)

    documented =
      for module <- modules,
          String.starts_with?(inspect(module), inspect(ShapeDb)),
          match?({:docs_v1, _, _, _, %{}, _, _}, Code.fetch_docs(module)),
          do: module

    assert Enum.sort(documented) == Enum.sort(@public)
  end

  test "every function that is documented has an example" do
    for module <- @public,
        {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(module),
        {{:function, name, arity}, _, _, doc, _} <- docs,
        doc != :hidden and {name, arity} not in @callbacks do
      assert %{"en" => text} = doc, "#{inspect(module)}.#{name}/#{arity} is not documented"
      assert text =~ "iex>", "#{inspect(module)}.#{name}/#{arity} has no example"
    end
  end
end
