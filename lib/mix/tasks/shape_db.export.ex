defmodule Mix.Tasks.ShapeDb.Export do
  @shortdoc "Writes a store into a file of schema 4"

  @moduledoc """
  Writes a store into a file of schema 4.

      mix shape_db.export TARGET TO

  TO is a new file, or a storage_dir. For the way back to the replaced design.

  Exit code 1 when shapes are not in it, as they are damaged or cannot be read; they are counted.

  A target is a database file, a storage_dir or, with `--node`, the id of a stack that runs
  there.

    * `--json` - the answer as JSON on a line, and nothing else
    * `--node NAME` - asks the VM of a running service; `--cookie COOKIE` as it needs
    * `--help` - this text

  Exit codes: 0 well, 1 not well, 2 it could not be done (and nothing was changed), 3 called in
  a wrong way. In a release, without mix: `Electric.ShapeCache.ShapeStatus.ShapeDb.Admin.export`.
  """

  use Mix.Task

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Cli

  @impl Mix.Task
  def run(args), do: Cli.main(:export, args, @moduledoc)
end
