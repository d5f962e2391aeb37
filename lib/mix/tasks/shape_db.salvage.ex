defmodule Mix.Tasks.ShapeDb.Salvage do
  @shortdoc "Reads what can be read of a damaged file"

  @moduledoc """
  Reads what can be read of a damaged file.

      mix shape_db.salvage FILE TO

  TO is a new file or, with `--node`, a running stack.

  Exit code 1 when something could not be read, or was not taken.

  A target is a database file, a storage_dir or, with `--node`, the id of a stack that runs
  there.

    * `--json` - the answer as JSON on a line, and nothing else
    * `--node NAME` - asks the VM of a running service; `--cookie COOKIE` as it needs
    * `--help` - this text

  Exit codes: 0 well, 1 not well, 2 it could not be done (and nothing was changed), 3 called in
  a wrong way. In a release, without mix: `Electric.ShapeCache.ShapeStatus.ShapeDb.Admin.salvage`.
  """

  use Mix.Task

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Cli

  @impl Mix.Task
  def run(args), do: Cli.main(:salvage, args, @moduledoc)
end
