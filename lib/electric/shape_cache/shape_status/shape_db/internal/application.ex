defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Application do
  @moduledoc false
  # What all stacks of a VM share: the names of their processes, and the table of
  # their stores.

  use Application

  alias Electric.ShapeCache.ShapeStatus.ShapeDb

  @impl true
  def start(_type, _args) do
    # Loaded here: `function_exported?/3`, which asks for it later, loads nothing.
    _ = Code.ensure_loaded(:telemetry)

    # Said here, in words: later the VM would only say that a module is undefined.
    case Code.ensure_loaded(ShapeDb.Internal.Native) do
      {:module, _native} -> start_children()
      {:error, _reason} -> {:error, ShapeDb.Internal.NativeLibrary.error()}
    end
  end

  defp start_children do
    # The table is this process's, which lives as long as the application.
    :ok = ShapeDb.Internal.Names.create()

    Supervisor.start_link([ShapeDb.Internal.Stores], strategy: :one_for_one, name: __MODULE__)
  end
end
