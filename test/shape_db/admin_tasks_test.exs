defmodule ElectricShapeDb.AdminTasksTest do
  @moduledoc "The functions of `Admin` at a shell."

  use ElectricShapeDb.StoreCase, async: true

  import ExUnit.CaptureIO

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Cli
  alias ElectricShapeDb.Fixtures
  alias ElectricShapeDb.Nobody
  alias ElectricShapeDb.PeerVM

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

  # Each with its exit code, what its text says, and what --json has.
  defp assert_ends(cases) do
    for {name, args, code, text, json} <- cases do
      assert {^code, output} = cli(name, args), inspect({name, cli(name, args)})
      assert output =~ text, "#{name}: #{output}"
      # What is made by the first is not in the way of the second.
      args = Enum.map(args, &String.replace_suffix(&1, "made", "made as well"))
      assert {^code, output} = cli(name, args ++ ["--json"])
      assert output =~ json, "#{name}: #{output}"
    end
  end

  test "a damaged definition", context do
    path = closed!(context)
    bytes = File.read!(path)
    [before, rest] = String.split(bytes, "id = 7", parts: 2)
    File.write!(path, before <> "id = 8" <> rest)
    made = path <> "-made"

    assert_ends([
      {:check, [path], 1, "1 × not what was written", ~s("sound":false)},
      {:inspect, [path], 0, "20", ~s("shapes":20)},
      {:backup, [path, made], 0, "20 shapes", ~s("shapes":20)},
      {:export, [path, path <> "-4-made"], 1, "1 left out", ~s("left_out":1)},
      {:salvage, [path, path <> "-5-made"], 1, "damaged", ~s("damaged":1)},
      {:repair, [made], 1, "before-repair", ~s("damaged":1)},
      # What was mended is.
      {:check, [made], 0, "19 shapes", ~s("sound":true)}
    ])
  end

  test "a file whose pages are gone", context do
    path = closed!(context)
    {:ok, file} = :file.open(path, [:read, :write, :raw, :binary])
    # The second to the fourth have the rows and the definitions, and not the numbers of rows.
    :ok = :file.pwrite(file, 16_384, :binary.copy(<<0xA5>>, 3 * 16_384))
    :ok = :file.close(file)
    made = path <> "-made"

    assert_ends([
      {:check, [path], 1, "rows that cannot be read", ~s("sound":false)},
      {:inspect, [path], 2, "is damaged", ~s({"error":)},
      {:backup, [path, made], 2, "is damaged", ~s({"error":)},
      {:export, [path, made], 2, "none of its shapes", ~s({"error":)},
      {:restore, [path, made], 2, "is damaged", ~s({"error":)},
      {:move, [path, made], 2, "is damaged", ~s({"error":)},
      {:salvage, [path, made], 1, "unreadable_ids", ~s("shapes":0,)}
    ])

    refute File.exists?(path <> ".draft")
  end

  test "a file that somebody has", %{stack_id: stack_id} = context do
    path = closed!(context)
    File.cp!(path, copy = path <> "-copy")
    peer = PeerVM.start!()
    :ok = PeerVM.start_store!(peer, "other", store_opts(context))
    made = path <> "-made"

    for holder <- ["other", stack_id] do
      assert_ends([
        {:info, [path], 0, holder, ~s("holder":")},
        {:health, [path], 0, holder, ~s("verdict":"ok")},
        {:check, [path], 2, "in use by", ~s({"error":)},
        {:backup, [path, made], 2, "in use by", ~s({"error":)},
        {:export, [path, made], 2, "in use by", ~s({"error":)},
        {:restore, [copy, path], 2, "in use by", ~s({"error":)},
        {:move, [path, made], 2, "in use by", ~s({"error":)},
        {:salvage, [path, made], 2, "in use by", ~s({"error":)},
        {:repair, [path], 2, "in use by", ~s({"error":)}
      ])

      if holder == "other" do
        PeerVM.stop_store!(peer, "other")
        start_store!(context)
      end
    end
  end

  test "a fenced stack", %{stack_id: stack_id} = context do
    start_store!(context)
    add_samples!(stack_id, 1..5)
    flush!(stack_id)
    peer = PeerVM.start!()
    :ok = PeerVM.start_store!(peer, "other", store_opts(context))
    {:ok, _, _} = PeerVM.call(peer, ShapeDb, :validate_existing_shapes, ["other"])
    eventually(fn -> cli(:info, [stack_id]) |> elem(1) =~ "fenced" end)
    path = Fixtures.path(context.storage_dir, 5)
    made = Path.join(tmp_dir!(), "made")

    assert_ends([
      {:health, [stack_id], 1, "failing", ~s("verdict":"failing")},
      {:check, [stack_id], 0, "sound", ~s("sound":true)},
      {:backup, [stack_id, made], 0, "shapes", ~s("shapes":0)},
      {:move, [stack_id, made], 2, "stop it first", ~s({"error":)},
      {:repair, [stack_id], 2, "stop it first", ~s({"error":)},
      {:restore, [made, path], 2, "in use by", ~s({"error":)}
    ])
  end

  @tag :mount
  test "what this user may not read or write", context do
    path = closed!(context)
    dir = tmp_dir!()
    File.cp!(path, Path.join(dir, "closed"))
    File.cp!(path, Path.join(dir, "open"))
    File.chmod!(Path.join(dir, "closed"), 0o600)
    File.chmod!(Path.join(dir, "open"), 0o644)

    said =
      Nobody.run("""
      for {name, args} <- [
            check: ["closed"], inspect: ["closed"], backup: ["open", "copy"],
            export: ["open", "copy"], move: ["open", "moved"], repair: ["open"], check: ["open"]
          ] do
        args = Enum.map(args, &Path.join("#{dir}", &1))
        code = #{inspect(Cli)}.run(name, args, "")
        IO.puts("\#{name} ends with \#{code}")
      end
      """)

    if said do
      for name <- ~w(check inspect backup export move repair),
          do: assert(said =~ ~r/this user may[^\n]*\n#{name} ends with 2/, said)

      assert said =~ "check ends with 0"
    end
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
