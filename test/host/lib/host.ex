defmodule Host do
  @moduledoc """
  Stands in for the sync service: it compiles after the library, asks it for
  defaults while it compiles, and runs it under a supervisor of its own.
  """

  alias Electric.ShapeCache.ShapeStatus.ShapeDb

  @defaults [
    shape_db_synchronous: ShapeDb.Connection.default!(:synchronous),
    shape_db_cache_size: ShapeDb.Connection.default!(:cache_size)
  ]

  @stack_id "host"

  def default(key), do: Keyword.fetch!(@defaults, key)

  def stack_id, do: @stack_id

  def shape_db do
    {ShapeDb.Supervisor,
     stack_id: @stack_id, shape_db_opts: Application.fetch_env!(:host, :shape_db_opts)}
  end
end
