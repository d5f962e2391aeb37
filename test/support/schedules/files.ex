defmodule ElectricShapeDb.Schedules.Files do
  @moduledoc "What an operator does with a file of so many sample shapes."

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Admin
  alias ElectricShapeDb.HostApp
  alias ElectricShapeDb.Schedules

  @spec calls(String.t(), pos_integer(), Path.t()) :: [{atom(), Schedules.call()}]
  def calls(stack_id, count, dir) do
    :ok = HostApp.add(stack_id, 1..count)
    named = fn name -> Path.join(dir, "#{name}-#{System.unique_integer([:positive])}") end
    quiet = [print: false]

    [
      admin_check: fn -> {:ok, _} = Admin.check(stack_id, quiet) end,
      admin_backup: fn -> {:ok, _} = Admin.backup(stack_id, named.("backup"), quiet) end,
      admin_export: fn -> {:ok, _} = Admin.export(stack_id, named.("export"), quiet) end,
      admin_salvage: fn ->
        {:ok, _} = Admin.backup(stack_id, copy = named.("copy"), quiet)
        {:ok, _} = Admin.salvage(copy, named.("salvaged"), quiet)
        {:ok, _} = Admin.move(copy, moved = named.("moved"), quiet)
        {:ok, _} = Admin.repair(moved, quiet)
        {:ok, _} = Admin.restore(moved, named.("restored"), quiet)
      end
    ]
  end
end
