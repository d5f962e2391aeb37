defmodule ElectricShapeDb.ReleaseTest do
  @moduledoc """
  A release of the small host in `test/host`, where there is neither cargo nor mix, operated
  by `rpc` alone: the steps of the runbooks, in the order of a bad night.
  """

  use ElectricShapeDb.StoreCase, async: true

  @host Path.expand("host", __DIR__)
  @absent ~w(mix elixir elixirc iex erl erlc escript cargo rustc)

  @moduletag :host
  @moduletag timeout: 600_000

  setup context do
    env = [{"MIX_ENV", "prod"}, {"MIX_BUILD_PATH", Path.join(context.storage_dir, "_build")}]
    root = Path.join(context.storage_dir, "release")
    args = ["release", "--path", root, "--quiet"]
    {output, status} = System.cmd("mix", args, cd: @host, env: env, stderr_to_stdout: true)
    assert status == 0, output

    # Everything of this machine but what a build has.
    bin = Path.join(context.storage_dir, "bin")
    File.mkdir_p!(bin)

    for tool <- Path.wildcard("/usr/bin/*") ++ Path.wildcard("/bin/*"),
        name = Path.basename(tool),
        name not in @absent,
        do: File.ln_s(tool, Path.join(bin, name))

    storage = Path.join(context.storage_dir, "storage")

    env = [
      {"PATH", bin},
      {"HOST_STORAGE_DIR", storage},
      {"RELEASE_NODE", "host-#{System.pid()}-#{System.unique_integer([:positive])}"},
      {"RELEASE_TMP", Path.join(context.storage_dir, "tmp")},
      {"ELECTRIC_SHAPE_DB_NIF", nil}
    ]

    {:ok,
     storage: storage, env: env, script: Path.join(root, "bin/host"), aside: context.storage_dir}
  end

  defp script(context, args) do
    System.cmd(context.script, args, env: context.env, stderr_to_stdout: true)
  end

  defp rpc(context, code) do
    prelude = """
    alias Electric.ShapeCache.ShapeStatus.ShapeDb
    alias Electric.ShapeCache.ShapeStatus.ShapeDb.Admin
    """

    {output, status} = script(context, ["rpc", prelude <> code])
    assert status == 0, output
    output
  end

  defp start!(context) do
    {output, status} = script(context, ["daemon"])
    assert status == 0, output

    eventually(
      fn -> match?({_, 0}, script(context, ["rpc", "{:ok, _} = #{count()}"])) end,
      60_000
    )

    on_exit(fn -> script(context, ["stop"]) end)
  end

  defp count, do: ~s|Electric.ShapeCache.ShapeStatus.ShapeDb.count_shapes("host")|

  defp stop!(context) do
    {output, status} = script(context, ["stop"])
    assert status == 0, output
  end

  defp kill!(context) do
    pid = String.trim(elem(script(context, ["pid"]), 0))
    {_, 0} = System.cmd("kill", ["-9", pid])
    eventually(fn -> not File.exists?("/proc/#{pid}") end)
  end

  test "backup, kill -9, a damaged file, salvage, restore, export", context do
    start!(context)
    copy = Path.join(context.aside, "copy.sqlite")

    rpc(context, """
    for n <- 1..200 do
      shape = %Electric.Shapes.Shape{table: {"public", "items"}, oid: n, where: "id = \#{n}"}
      {:ok, _} = ShapeDb.add_shape("host", shape, "handle-\#{n}")
      :ok = ShapeDb.mark_snapshot_complete("host", "handle-\#{n}")
    end
    """)

    assert rpc(context, ~s|Admin.health("host")|) =~ "ok"
    assert rpc(context, ~s|Admin.stacks()|) =~ "writer"
    assert rpc(context, ~s|Admin.check("host")|) =~ "sound"
    assert rpc(context, ~s|Admin.backup("host", "#{copy}")|) =~ "200 shapes"

    kill!(context)
    [file] = Path.wildcard(Path.join(context.storage, "meta/shape-db/*.sqlite"))
    # Its log goes with it, and of its first page nothing is left.
    Enum.each(["-wal", "-shm"], &File.rm(file <> &1))
    {:ok, damaged} = :file.open(file, [:read, :write, :raw])
    :ok = :file.pwrite(damaged, 0, :binary.copy(<<0xA5>>, 16_384))
    :ok = :file.close(damaged)

    start!(context)
    assert rpc(context, ~s|Admin.health("host")|) =~ "moved aside as damaged"
    [aside] = Path.wildcard(file <> ".corrupt-*")
    salvaged = rpc(context, ~s|Admin.salvage("#{aside}", "host")|)
    assert salvaged =~ "added"
    # What was in the log alone is not in the file: the copy has it.
    assert rpc(context, ~s|Admin.salvage("#{copy}", "host")|) =~ "there"
    assert rpc(context, "IO.inspect(#{count()})") =~ "{:ok, 200}"

    back = Path.join(context.aside, "back.sqlite")
    assert rpc(context, ~s|Admin.export("host", "#{back}")|) =~ "200 shapes, in schema 4"
    assert rpc(context, ~s|Admin.check("#{back}")|) =~ "sound"
    assert rpc(context, ~s|for n <- 1..200, do: ShapeDb.remove_shape("host", "handle-\#{n}")|)
    refused = rpc(context, ~s|Admin.restore("#{copy}", "#{context.storage}")|)
    assert refused =~ "in use by stack"

    # The stack alone is stopped; the VM and its console go on.
    stop = ~s|:ok = Supervisor.terminate_child(Host.Supervisor, #{supervisor()})|
    rpc(context, stop)
    assert rpc(context, ~s|Admin.restore("#{copy}", "#{context.storage}")|) =~ "200 shapes"
    rpc(context, ~s|{:ok, _} = Supervisor.restart_child(Host.Supervisor, #{supervisor()})|)
    assert rpc(context, "IO.inspect(#{count()})") =~ "{:ok, 200}"
    assert rpc(context, ~s|Admin.check("host")|) =~ "sound"
    stop!(context)
  end

  defp supervisor, do: "Electric.ShapeCache.ShapeStatus.ShapeDb.Supervisor"
end
