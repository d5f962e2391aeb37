defmodule Mix.Tasks.ShapeDb.Move do
  @shortdoc "Moves a database to another place"

  @moduledoc """
  Moves a database to another place.

      mix shape_db.move FROM TO

  The stack must not run. FROM is kept as `FROM.moved-<microseconds>`.

  A target is a database file, a storage_dir or, with `--node`, the id of a stack that runs
  there.

    * `--json` - the answer as JSON on a line, and nothing else
    * `--node NAME` - asks the VM of a running service; `--cookie COOKIE` as it needs
    * `--help` - this text

  Exit codes: 0 well, 1 not well, 2 it could not be done (and nothing was changed), 3 called in
  a wrong way. In a release, without mix: `Electric.ShapeCache.ShapeStatus.ShapeDb.Admin.move`.
  """

  use Mix.Task

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Cli

  @impl Mix.Task
  def run(args), do: Cli.main(:move, args, @moduledoc)
end
