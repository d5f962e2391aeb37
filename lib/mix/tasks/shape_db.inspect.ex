defmodule Mix.Tasks.ShapeDb.Inspect do
  @shortdoc "Shows what is in a store"

  @moduledoc """
  Shows what is in a store.

      mix shape_db.inspect TARGET [--samples N]

  Counts, snapshots, tables, sizes, some shapes with their where-clauses. Schema 4 and 5.

  A target is a database file, a storage_dir or, with `--node`, the id of a stack that runs
  there.

    * `--json` - the answer as JSON on a line, and nothing else
    * `--node NAME` - asks the VM of a running service; `--cookie COOKIE` as it needs
    * `--help` - this text

  Exit codes: 0 well, 1 not well, 2 it could not be done (and nothing was changed), 3 called in
  a wrong way. In a release, without mix: `Electric.ShapeCache.ShapeStatus.ShapeDb.Admin.inspect`.
  """

  use Mix.Task

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Cli

  @impl Mix.Task
  def run(args), do: Cli.main(:inspect, args, @moduledoc)
end
