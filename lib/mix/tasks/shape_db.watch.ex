defmodule Mix.Tasks.ShapeDb.Watch do
  @shortdoc "Shows a running stack on one screen, refreshed"

  @moduledoc """
  Shows a running stack on one screen, refreshed.

      mix shape_db.watch STACK --node NAME [--interval MS] [--times N]

  A target is a database file, a storage_dir or, with `--node`, the id of a stack that runs
  there.

    * `--json` - the answer as JSON on a line, and nothing else
    * `--node NAME` - asks the VM of a running service; `--cookie COOKIE` as it needs
    * `--help` - this text

  Exit codes: 0 well, 1 not well, 2 it could not be done (and nothing was changed), 3 called in
  a wrong way. In a release, without mix: `Electric.ShapeCache.ShapeStatus.ShapeDb.Admin.watch`.
  """

  use Mix.Task

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Cli

  @impl Mix.Task
  def run(args) do
    Mix.Task.run("app.config")
    {:ok, _started} = Application.ensure_all_started(:electric_shape_db)

    case Cli.run(:watch, args, @moduledoc) do
      0 -> :ok
      code -> exit({:shutdown, code})
    end
  end
end
