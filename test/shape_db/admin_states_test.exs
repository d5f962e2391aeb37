defmodule ElectricShapeDb.AdminStatesTest do
  @moduledoc """
  Every function of `Admin` that takes a target, on whatever that may be: a store under
  load, a fenced one, a damaged file, what is no shape database. What cannot be done is
  refused in words, and leaves everything as it was.
  """

  use ElectricShapeDb.StoreCase, async: true

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Admin
  alias ElectricShapeDb.Fixtures
  alias ElectricShapeDb.Nobody
  alias ElectricShapeDb.PeerVM

  @quiet [print: false]
  @reading [:info, :health, :inspect, :check, :backup, :export]
  @changing [:restore, :move, :repair]

  # On a target, with a place that is free.
  defp call(name, target, _free) when name in [:info, :health, :inspect, :check, :repair],
    do: apply(Admin, name, [target, @quiet])

  defp call(name, target, free), do: apply(Admin, name, [target, free, @quiet])

  defp content(dir) do
    for path <- Path.wildcard(Path.join(dir, "**"), match_dot: true),
        Path.extname(path) not in [".lock", ".turn"],
        into: %{},
        do: {path, File.lstat!(path).type == :regular && File.read!(path)}
  end

  # A copy that says it is of another schema; 0 is what any database says that says nothing.
  defp version!(context, file, version) do
    {:ok, _} = Admin.backup(context.stack_id, file, @quiet)
    {:ok, made} = :file.open(file, [:read, :write, :raw, :binary])
    :ok = :file.pwrite(made, 60, <<version::32>>)
    :ok = :file.close(made)
  end

  for {state, fixture} <- [real_500: "real-500", real_100: "real-100-unclean"] do
    test "the fixture #{state}", context do
      old = Fixtures.copy!(unquote(fixture), context.storage_dir)
      before = content(context.storage_dir)
      made = tmp_dir!()

      for name <- @reading do
        answer = call(name, old, Path.join(made, "#{name}"))
        assert match?({:ok, _}, answer), inspect({name, answer})
      end

      assert {:ok, %{sound: true}} = Admin.check(Path.join(made, "backup"), @quiet)
      assert {:ok, %{sound: true}} = Admin.check(Path.join(made, "export"), @quiet)
      salvaged = Path.join(made, "salvaged")
      assert {:ok, %{damaged: 0, left_out: 0}} = Admin.salvage(old, salvaged, @quiet)
      assert {:ok, %{sound: true, version: 5}} = Admin.check(salvaged, @quiet)

      # A file of that schema has a place of its own, and is not mended in it.
      for name <- [:restore, :repair] do
        assert {:error, text} = call(name, old, Path.join(made, "other"))
        assert text =~ "schema 4"
      end

      assert content(context.storage_dir) == before
    end
  end

  test "a store under load", %{stack_id: stack_id} = context do
    start_store!(context)
    test = self()

    load =
      for worker <- 1..3 do
        spawn_link(fn ->
          Stream.iterate(worker * 10_000_000, &(&1 + 1))
          |> Enum.each(fn n ->
            add!(stack_id, shape(n), handle(n))
            if rem(n, 100) == 50, do: send(test, {:at, worker})
            # So that there are some hundred at any time, however long it takes.
            if rem(n, 20) == 0, do: flush!(stack_id)
            old = n - 100
            if old > worker * 10_000_000, do: :ok = ShapeDb.remove_shape(stack_id, handle(old))
          end)
        end)
      end

    for worker <- 1..3, do: receive(do: ({:at, ^worker} -> :ok))
    made = tmp_dir!()

    for name <- @reading do
      answer = call(name, stack_id, Path.join(made, "#{name}"))
      assert match?({:ok, _}, answer), inspect({name, answer})
    end

    for name <- ["backup", "export"],
        do: assert({:ok, %{sound: true}} = Admin.check(Path.join(made, name), @quiet))

    for name <- @changing -- [:restore] do
      assert {:error, text} = call(name, stack_id, Path.join(made, "other"))
      assert text =~ "stop it first"
    end

    refused = Admin.restore(Path.join(made, "backup"), context.storage_dir, @quiet)
    assert {:error, text} = refused
    assert text =~ "in use by stack"
    assert {:ok, %{there: there}} = Admin.salvage(Path.join(made, "backup"), stack_id, @quiet)
    assert there > 0
    for worker <- load, do: Process.unlink(worker) && Process.exit(worker, :kill)
    assert {:ok, %{verdict: :ok}} = Admin.health(stack_id, @quiet)
    assert {:ok, %{sound: true}} = Admin.check(stack_id, @quiet)
  end

  test "a fenced store", %{stack_id: stack_id} = context do
    start_store!(context)
    add_samples!(stack_id, 1..20)
    flush!(stack_id)
    peer = PeerVM.start!()
    :ok = PeerVM.start_store!(peer, "other", store_opts(context))
    {:ok, _, _} = PeerVM.call(peer, ShapeDb, :validate_existing_shapes, ["other"])
    :ok = PeerVM.call(peer, ElectricShapeDb.HostApp, :add, ["other", 30..39])
    :ok = PeerVM.call(peer, WriteBuffer, :flush_sync, ["other"])
    eventually(fn -> ShapeDb.count_shapes(stack_id) == {:ok, 10} end)
    made = tmp_dir!()

    for name <- @reading do
      answer = call(name, stack_id, Path.join(made, "#{name}"))
      assert match?({:ok, _}, answer), inspect({name, answer})
    end

    # What the other one wrote is what is copied.
    assert {:ok, %{sound: true, shapes: 10}} = Admin.check(Path.join(made, "backup"), @quiet)
    assert {:ok, %{verdict: :failing}} = Admin.health(stack_id, @quiet)

    for name <- @changing -- [:restore] do
      assert {:error, _} = call(name, stack_id, Path.join(made, "other"))
    end

    # It takes no change, and says so for each shape or at once.
    case Admin.salvage(Path.join(made, "backup"), stack_id, @quiet) do
      {:ok, salvaged} -> assert salvaged.added == 0
      {:error, text} -> assert text =~ "fenced"
    end

    assert PeerVM.call(peer, ShapeDb, :count_shapes, ["other"]) == {:ok, 10}
  end

  test "a damaged file", context do
    start_store!(context)
    add_samples!(context.stack_id, 1..3000)
    stop_store!(context)
    path = Fixtures.path(context.storage_dir, 5)
    size = File.stat!(path).size
    {:ok, file} = :file.open(path, [:read, :write, :raw, :binary])
    # All but the first and last pages.
    :ok = :file.pwrite(file, 3 * 16_384, :binary.copy(<<0xA5>>, size - 5 * 16_384))
    :ok = :file.close(file)
    made = tmp_dir!()
    before = content(context.storage_dir)

    for name <- [:inspect, :backup] do
      assert {:error, text} = call(name, path, Path.join(made, "#{name}"))
      assert text =~ "damaged"
    end

    assert {:ok, %{sound: false}} = Admin.check(path, @quiet)

    # Each is written or counted, unless there is nothing to write.
    case Admin.export(path, Path.join(made, "export"), @quiet) do
      {:error, text} ->
        assert text =~ "damaged"

      {:ok, done} ->
        assert done.shapes in 1..2999
        assert done.shapes + done.left_out + done.unreadable_ids >= 3000
    end

    assert content(context.storage_dir) == before
    assert {:ok, salvaged} = Admin.salvage(path, Path.join(made, "salvaged"), @quiet)
    assert salvaged.shapes < 3000
    assert salvaged.unreadable + salvaged.unreadable_ids > 0
    assert {:ok, %{sound: true}} = Admin.check(Path.join(made, "salvaged"), @quiet)
    assert content(context.storage_dir) == before
    assert {:ok, %{kept: kept}} = Admin.repair(path, @quiet)
    assert File.read!(kept) == before[path]
    assert {:ok, %{sound: true}} = Admin.check(path, @quiet)
  end

  test "what is no shape database, or cannot be reached", context do
    start_store!(context)
    dir = tmp_dir!()
    at = &Path.join(dir, &1)
    File.write!(at.("text"), String.duplicate("no database ", 2_000))
    File.write!(at.("empty"), "")
    File.mkdir_p!(at.("folder"))
    File.ln_s!("loop", at.("loop"))
    version!(context, at.("foreign"), 0)
    version!(context, at.("newer"), 6)
    add_samples!(context.stack_id, 1..5)
    {:ok, _} = Admin.backup(context.stack_id, at.("sound"), @quiet)
    before = content(dir)

    bad = ~w(text empty folder loop foreign newer absent text/below absent/below)

    for name <- @reading ++ @changing ++ [:salvage], target <- bad do
      case {name, call(name, at.(target), at.("free"))} do
        # By what the operator called it, whatever of it is not there.
        {_, {:error, text}} -> assert text =~ at.(target), "#{name} #{target}: #{text}"
        {:health, {:ok, health}} -> assert health.verdict == :failing, target
        # Where the file is can be told of any.
        {:info, {:ok, info}} -> assert info.role == :closed
        other -> flunk("#{target}: #{inspect(other)}")
      end

      assert content(dir) == before, "#{name} #{target}"
    end

    # Nor is anything put where something is.
    for name <- [:backup, :export, :salvage, :move],
        there <- ~w(text newer text/below absent/below) do
      assert {:error, text} = call(name, at.("sound"), at.(there))
      assert text =~ at.(there), "#{name} to #{there}: #{text}"
      assert content(dir) == before, "#{name} to #{there}"
    end
  end

  # Where root runs the tests, somebody else has to be refused.
  @tag :mount
  test "what somebody may not read or write", context do
    start_store!(context)
    add_samples!(context.stack_id, 1..5)
    dir = tmp_dir!()
    {:ok, _} = Admin.backup(context.stack_id, Path.join(dir, "closed"), @quiet)
    {:ok, _} = Admin.backup(context.stack_id, Path.join(dir, "open"), @quiet)
    File.chmod!(Path.join(dir, "closed"), 0o600)
    File.chmod!(Path.join(dir, "open"), 0o644)
    before = content(dir)

    code = """
    alias #{inspect(Admin)}
    quiet = [print: false]
    IO.inspect(inspect: Admin.inspect("#{dir}/closed", quiet))
    IO.inspect(check: Admin.check("#{dir}/closed", quiet))
    IO.inspect(salvage: Admin.salvage("#{dir}/closed", "/tmp/never", quiet))
    IO.inspect(repair: Admin.repair("#{dir}/open", quiet))
    IO.inspect(backup: Admin.backup("#{dir}/open", "#{dir}/copy", quiet))
    IO.inspect(move: Admin.move("#{dir}/open", "#{dir}/moved", quiet))
    IO.inspect(sound: elem(Admin.check("#{dir}/open", quiet), 0))
    """

    # Where the code itself is not everybody's to read there is nothing to try.
    if said = Nobody.run(code) do
      for name <- ~w(inspect check salvage repair backup move),
          do: assert(said =~ ~r/#{name}: \{:error,\s+"[^"]*this user may/, said)

      assert said =~ "sound: :ok"
    end

    assert content(dir) == before
  end
end
