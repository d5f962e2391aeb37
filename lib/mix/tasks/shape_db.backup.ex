defmodule Mix.Tasks.ShapeDb.Backup do
  @shortdoc "Copies a store, while it writes"

  @moduledoc """
  Copies a store, while it writes.

      mix shape_db.backup TARGET FILE

  FILE must not be there.

  A target is a database file, a storage_dir or, with `--node`, the id of a stack that runs
  there.

    * `--json` - the answer as JSON on a line, and nothing else
    * `--node NAME` - asks the VM of a running service; `--cookie COOKIE` as it needs
    * `--help` - this text

  Exit codes: 0 well, 1 not well, 2 it could not be done (and nothing was changed), 3 called in
  a wrong way. In a release, without mix: `Electric.ShapeCache.ShapeStatus.ShapeDb.Admin.backup`.
  """

  use Mix.Task

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Cli

  @impl Mix.Task
  def run(args), do: Cli.main(:backup, args, @moduledoc)
end
