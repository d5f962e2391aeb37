defmodule ElectricShapeDb.AdminTasksTest do
  @moduledoc "The functions of `Admin` at a shell."

  use ElectricShapeDb.StoreCase, async: true

  import ExUnit.CaptureIO

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Cli
  alias ElectricShapeDb.Fixtures

  @names [:stacks, :info, :health, :inspect, :check, :repair] ++
           [:watch, :backup, :restore, :move, :salvage, :export]

  # In this VM: its exit code, and what it printed.
  defp cli(name, args) do
    parent = self()
    output = capture_io(fn -> send(parent, {:code, Cli.run(name, args, "the help")}) end)
    receive do: ({:code, code} -> {code, output})
  end

  # At a shell.
  defp mix(args, opts \\ []) do
    env = [{"MIX_ENV", "test"}, {"ELECTRIC_SHAPE_DB_NIF", nil}]
    System.cmd("mix", args, Keyword.merge([env: env, stderr_to_stdout: true], opts))
  end

  defp closed!(context) do
    start_store!(context)
    add_samples!(context.stack_id, 1..20)
    stop_store!(context)
    Fixtures.path(context.storage_dir, 5)
  end

  test "each has a task, with help of its own" do
    for name <- @names do
      task = Module.concat(Mix.Tasks.ShapeDb, Macro.camelize("#{name}"))
      assert {:module, ^task} = Code.ensure_loaded(task)
      assert Mix.Task.shortdoc(task)
      assert Mix.Task.moduledoc(task) =~ "mix shape_db.#{name}"
      assert {0, "the help\n"} = cli(name, ["--help"])
    end
  end

  test "the exit code says how it went", context do
    path = closed!(context)
    assert {0, output} = cli(:health, [path])
    assert output =~ "ok"
    assert {0, _} = cli(:check, [path])
    assert {2, output} = cli(:inspect, [path <> "-absent"])
    assert output =~ "error:"
    File.write!(path <> ".corrupt-5", "x")
    assert {1, output} = cli(:health, [path])
    assert output =~ "degraded"
    assert capture_io(:stderr, fn -> send(self(), cli(:health, [])) end) =~ "takes 1 arguments"
    assert_received {3, ""}
    assert capture_io(:stderr, fn -> send(self(), cli(:health, ["--wrong"])) end) =~ "--wrong"
    assert_received {3, ""}
  end

  test "--json is one line and nothing else", context do
    path = closed!(context)

    for {name, args} <- [
          stacks: [],
          info: [path],
          health: [path],
          inspect: [path],
          check: [path],
          backup: [path, path <> "-copy"],
          export: [path, path <> "-old"],
          salvage: [path, path <> "-new"],
          restore: [path <> "-copy", path],
          move: [path <> "-copy", path <> "-moved"],
          repair: [path]
        ] do
      assert {0, output} = cli(name, args ++ ["--json"])
      assert [line] = String.split(output, "\n", trim: true)
      assert String.starts_with?(line, "{") and String.ends_with?(line, "}")
    end

    assert {2, ~s({"error":) <> _} = cli(:check, [path <> "-absent", "--json"])
  end

  @tag timeout: 120_000
  test "at a shell", context do
    path = closed!(context)
    assert {output, 0} = mix(["shape_db.inspect", path, "--samples", "2"])
    assert output =~ "id = 1" and output =~ "snapshot"
    assert {output, 2} = mix(["shape_db.check", path <> "-absent"])
    assert output =~ "error:"
    assert {output, 0} = mix(["shape_db.health", "--help"])
    assert output =~ "Exit codes"
    assert {_, 3} = mix(["shape_db.backup", path])
    assert {output, 2} = mix(["shape_db.health", path, "--node", "nobody@localhost"])
    assert output =~ "cannot"
  end
end
