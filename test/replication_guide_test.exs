defmodule ElectricShapeDb.ReplicationGuideTest do
  @moduledoc """
  The commands of `guides/replication.md`, as they stand there, with other folders: from
  the set-up to the take-over on another machine.
  """

  use ElectricShapeDb.StoreCase, async: true

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Admin
  alias ElectricShapeDb.Litestream

  @moduletag :litestream
  @guide Path.expand("../guides/replication.md", __DIR__)
  @external_resource @guide

  @blocks ~r/^ *```(\w+)\n(.*?)^ *```/ms
          |> Regex.scan(File.read!(@guide), capture: :all_but_first)
          |> Enum.map(fn [language, text] -> {language, String.replace(text, ~r/^   /m, "")} end)

  # In the order in which they stand there.
  defp block(language, n), do: for({^language, text} <- @blocks, do: text) |> Enum.at(n)

  # One of the two machines.
  defp machine(context, name) do
    dir = Path.join(context.storage_dir, name)
    File.mkdir_p!(dir)

    %{
      stack_id: "#{context.stack_id}-#{name}",
      config: Path.join(dir, "litestream.yml"),
      storage_dir: Path.join(dir, "electric"),
      replica: Path.join(context.storage_dir, "replica"),
      file: Path.basename(Connection.db_path!(storage_dir: dir))
    }
  end

  defp on(text, machine) do
    for {there, here} <- [
          {"/var/lib/electric", machine.storage_dir},
          {"/mnt/replica/shapes", machine.replica},
          {"/etc/litestream.yml", machine.config},
          {"v10_5@otp-27.sqlite", machine.file},
          {"my-stack", machine.stack_id}
        ],
        reduce: text do
      text -> String.replace(text, there, here)
    end
  end

  defp start_stack!(machine) do
    {opts, _} = Code.eval_string("[#{on(block("elixir", 0), machine)}]")
    start_store!(machine, opts[:shape_db_opts])
  end

  # What is left of it is copied before it ends.
  defp start_litestream!(machine) do
    File.write!(machine.config, on(block("yaml", 0), machine))

    port =
      Port.open({:spawn_executable, "/bin/sh"}, [
        :exit_status,
        args: ["-c", "exec " <> on(block("sh", 0), machine)],
        env: [{~c"PATH", to_charlist(path())}]
      ])

    {:os_pid, os_pid} = Port.info(port, :os_pid)
    on_exit(fn -> System.cmd("kill", ["-9", "#{os_pid}"], stderr_to_stdout: true) end)

    fn ->
      System.cmd("kill", ["-TERM", "#{os_pid}"])
      receive do: ({^port, {:exit_status, status}} -> assert status == 0)
    end
  end

  defp path, do: Path.dirname(Litestream.binary()) <> ":" <> System.get_env("PATH")

  defp sh(n, machine) do
    System.cmd("sh", ["-ec", on(block("sh", n), machine)],
      stderr_to_stdout: true,
      env: [{"PATH", path()}]
    )
  end

  # Below the line with the names of the columns.
  defp await_copies(machine) do
    eventually(fn ->
      {listed, status} = sh(1, machine)
      status == 0 and length(String.split(listed, "\n", trim: true)) > 1
    end)
  end

  defp admin(n, machine) do
    for line <- String.split(on(block("elixir", n), machine), "\n", trim: true) do
      call = String.replace(line, ~r/\)$/, ", print: false)")
      {{:ok, answer}, _} = Code.eval_string("alias #{inspect(Admin)}\n" <> call)
      answer
    end
  end

  test "is followed from the set-up to the take-over elsewhere, and back", context do
    [first, second, third] = for name <- ~w(first second third), do: machine(context, name)
    start_stack!(first)
    stop_litestream = start_litestream!(first)
    add_samples!(first.stack_id, 1..100)
    for n <- 1..90, do: :ok = ShapeDb.mark_snapshot_complete(first.stack_id, handle(n))
    flush!(first.stack_id)

    await_copies(first)
    stop_litestream.()
    assert {:ok, %{log_size: log}} = ShapeDb.statistics(first.stack_id)
    assert log > 0
    stop_store!(first)

    File.write!(second.config, on(block("yaml", 0), second))
    assert {_, 0} = sh(2, second)
    assert {refused, status} = sh(2, second)
    assert status != 0 and refused =~ "already exists"
    assert [%{sound: true, shapes: 100}, %{shapes: 100, complete: 90}] = admin(1, second)

    second = %{second | replica: second.replica <> "-2"}
    start_stack!(second)
    assert {:ok, removed, 90} = ShapeDb.validate_existing_shapes(second.stack_id)
    assert Enum.sort(removed) == Enum.sort(for n <- 91..100, do: handle(n))
    unknown = ShapeDb.unknown_handles(second.stack_id, [handle(1), handle(95)])
    assert unknown == [handle(95)]
    stop_litestream = start_litestream!(second)
    add_samples!(second.stack_id, 200..209)
    flush!(second.stack_id)
    await_copies(second)
    stop_litestream.()
    shapes = ShapeDb.list_shapes!(second.stack_id)
    stop_store!(second)

    third = %{third | replica: second.replica}
    File.write!(third.config, on(block("yaml", 0), third))
    assert {_, 0} = sh(2, third)
    start_stack!(third)
    assert ShapeDb.list_shapes!(third.stack_id) == shapes
  end
end
