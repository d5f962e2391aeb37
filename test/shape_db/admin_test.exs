defmodule ElectricShapeDb.AdminTest do
  @moduledoc "What an operator asks and does, of stacks and of files."

  use ElectricShapeDb.StoreCase, async: true

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Admin
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Health
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Json
  alias ElectricShapeDb.Fixtures
  alias ElectricShapeDb.PeerVM

  @quiet [print: false]
  @own_otp Fixtures.otp_major()
  @fixtures [{"real-500", 471}, {"real-100-unclean", 95}]

  defp path(context), do: Fixtures.path(context.storage_dir, 5)

  defp codes(health), do: Enum.map(health.reasons, & &1.code)

  # But for what locks leave.
  defp content(dir) do
    for path <- Path.wildcard(Path.join(dir, "**")),
        File.regular?(path),
        Path.extname(path) not in [".lock", ".turn"],
        into: %{},
        do: {path, File.read!(path)}
  end

  defp filled!(context, opts \\ []) do
    start_store!(context, opts)
    add_samples!(context.stack_id, 1..50)
    for n <- 1..20, do: :ok = ShapeDb.mark_snapshot_complete(context.stack_id, handle(n))
    flush!(context.stack_id)
    Enum.map(1..50, &{handle(&1), shape(&1)})
  end

  describe "a running stack" do
    test "is listed, with its role", %{stack_id: stack_id} = context do
      filled!(context)
      {:ok, %{stacks: stacks}} = Admin.stacks(@quiet)

      assert %{role: :writer, shapes: 50, path: path} =
               Enum.find(stacks, &(&1.stack_id == stack_id))

      assert path == path(context)
    end

    test "tells where its files are and how it was started", %{stack_id: stack_id} = context do
      filled!(context, cache_size: 1234)
      {:ok, info} = Admin.info(stack_id, @quiet)
      assert %{role: :writer, epoch: 1, options: %{cache_size: 1234}, bytes: bytes} = info
      assert bytes > 0
      assert DateTime.diff(DateTime.utc_now(), info.since) in 0..60
    end

    test "is well", %{stack_id: stack_id} = context do
      filled!(context)
      assert {:ok, %{verdict: :ok, reasons: []}} = Admin.health(stack_id, @quiet)
      assert {:ok, %{verdict: 0, role: 2, found_clean: 1}} = ShapeDb.statistics(stack_id)
    end

    test "is inspected, checked, copied and exported while it writes", context do
      %{stack_id: stack_id, storage_dir: dir} = context
      shapes = filled!(context)

      assert {:ok, %{shapes: 50, complete: 20, samples: [one | _]}} =
               Admin.inspect(stack_id, @quiet)

      assert %{table: "public.items", where: "id = 1", snapshot: :complete} = one
      assert {:ok, %{sound: true, shapes: 50, host_asked: true}} = Admin.check(stack_id, @quiet)
      copy = Path.join(dir, "copy.sqlite")
      assert {:ok, %{shapes: 50, to: ^copy}} = Admin.backup(stack_id, copy, @quiet)
      assert {:ok, %{sound: true, shapes: 50}} = Admin.check(copy, @quiet)
      assert {:ok, %{shapes: 50, left_out: 0}} = Admin.export(stack_id, copy <> "-4", @quiet)
      assert ShapeDb.list_shapes!(stack_id) == shapes
    end

    test "is read by its name, and its file is left to it", %{stack_id: stack_id} = context do
      filled!(context)
      path = path(context)
      new = Path.join(context.storage_dir, "new.sqlite")

      for refused <- [
            Admin.inspect(path, @quiet),
            Admin.check(path, @quiet),
            Admin.repair(path, @quiet),
            Admin.salvage(path, new, @quiet),
            Admin.move(path, new, @quiet),
            Admin.export(path, new, @quiet),
            Admin.backup(path, new, @quiet)
          ] do
        assert {:error, text} = refused
        assert text =~ "in use by stack" and text =~ stack_id
      end

      assert {:ok, %{role: :closed, reasons: [%{code: :in_use}]}} = Admin.health(path, @quiet)
      assert {:error, text} = Admin.repair(stack_id, @quiet)
      assert text =~ "runs"
      assert {:error, text} = Admin.move(stack_id, new, @quiet)
      assert text =~ "stop it first"
      refute File.exists?(new)
    end

    @tag store: [storage_dir: ":memory:", exclusive_mode: true]
    test "in memory has no file", %{stack_id: stack_id} = context do
      filled!(context)
      assert {:ok, %{verdict: :ok}} = Admin.health(stack_id, @quiet)
      assert {:ok, %{path: nil}} = Admin.info(stack_id, @quiet)
      assert {:error, text} = Admin.backup(stack_id, "/tmp/never", @quiet)
      assert text =~ "in memory"
    end

    @tag store: [exclusive_mode: true]
    test "in exclusive mode is copied too", %{stack_id: stack_id} = context do
      filled!(context)
      copy = Path.join(context.storage_dir, "copy.sqlite")
      assert {:ok, %{shapes: 50}} = Admin.backup(stack_id, copy, @quiet)
      assert {:ok, %{sound: true}} = Admin.check(stack_id, @quiet)
    end

    test "is fenced, and says so", %{stack_id: stack_id} = context do
      filled!(context)
      peer = PeerVM.start!()
      :ok = PeerVM.start_store!(peer, "other", store_opts(context))
      {:ok, %{role: :follower} = info} = PeerVM.call(peer, Admin, :info, ["other", @quiet])
      assert info.path == path(context)
      {:ok, _, _} = PeerVM.call(peer, ShapeDb, :validate_existing_shapes, ["other"])
      ShapeDb.add_shape(stack_id, shape(99), handle(99))
      eventually(fn -> match?({:ok, %{role: :fenced}}, Admin.info(stack_id, @quiet)) end)
      {:ok, health} = Admin.health(stack_id, @quiet)
      assert health.verdict == :failing and :fenced in codes(health)
      assert {:ok, %{role: 3, verdict: 2}} = ShapeDb.statistics(stack_id)
      # It reads on, and so does whoever asks it.
      assert {:ok, %{shapes: shapes}} = Admin.inspect(stack_id, @quiet)
      assert shapes > 0
    end

    test "whose queue fills up is degraded, and then callers wait", context do
      %{stack_id: stack_id} = context
      filled!(context, max_pending_ops: 10)
      :ok = WriteBuffer.pause_flush(stack_id)
      for n <- 100..106, do: add!(stack_id, shape(n), handle(n))
      {:ok, health} = Admin.health(stack_id, @quiet)
      assert health.verdict == :degraded and :queue in codes(health)
      assert health.numbers.queue_fill == 0.7
      for n <- 107..109, do: add!(stack_id, shape(n), handle(n))
      waiter = Task.async(fn -> ShapeDb.add_shape(stack_id, shape(110), handle(110)) end)
      eventually(fn -> match?({:ok, %{waiting: 1}}, ShapeDb.statistics(stack_id)) end)
      {:ok, health} = Admin.health(stack_id, @quiet)
      assert health.verdict == :failing and :callers_waiting in codes(health)
      :ok = WriteBuffer.resume_flush(stack_id)
      assert {:ok, _} = Task.await(waiter)
      flush!(stack_id)
      assert {:ok, %{verdict: :ok}} = Admin.health(stack_id, @quiet)
    end

    @tag :mount
    test "whose disk is full says since when and why, and is well again by itself", context do
      %{stack_id: stack_id, storage_dir: dir} = context
      {_, 0} = System.cmd("mount", ["-t", "tmpfs", "-o", "size=80m", "tmpfs", dir])
      on_exit(fn -> System.cmd("umount", ["-l", dir]) end)
      filled!(context)
      filler = Path.join(dir, "filler")
      # As much as there is room for.
      System.cmd("dd", ["if=/dev/zero", "of=#{filler}", "bs=64k"], stderr_to_stdout: true)
      for n <- 100..2000, do: add!(stack_id, shape(n), handle(n))
      eventually(fn -> match?({:ok, %{failures: n}} when n > 1, ShapeDb.statistics(stack_id)) end)
      {:ok, health} = Admin.health(stack_id, @quiet)
      assert health.verdict == :failing
      assert :commits_failing in codes(health) and :disk_full in codes(health)
      [reason | _] = for %{code: :commits_failing, text: text} <- health.reasons, do: text
      assert reason =~ "commits fail since" and reason =~ "full"
      File.rm!(filler)
      flush!(stack_id)
      {:ok, health} = Admin.health(stack_id, @quiet)
      refute :commits_failing in codes(health)
      assert {:ok, %{failing_since_ms: 0, failures: 0}} = ShapeDb.statistics(stack_id)
      assert length(stored_handles(stack_id)) == 1951
      stop_store!(context)
    end

    test "whose disk stalls or is slow is told from one that is well", context do
      filled!(context)
      {:ok, statistics} = ShapeDb.statistics(context.stack_id)
      now = System.system_time(:millisecond)

      for {ms, expected} <- [{0, []}, {2_000, [:slow]}, {20_000, [:stalled]}] do
        stalled = %{statistics | committing_since_ms: now - ms}
        assert stalled |> Health.reasons(nil, nil) |> Enum.map(& &1.code) == expected
      end
    end

    test "that lost shapes is degraded, with what lies beside it", context do
      %{stack_id: stack_id} = context
      filled!(context)
      stop_store!(context)
      File.write!(path(context), String.duplicate("no database", 3_000))
      start_store!(context)
      {:ok, health} = Admin.health(stack_id, @quiet)
      assert health.verdict == :degraded and :quarantined in codes(health)
      assert {:ok, %{quarantined_files: 1, verdict: 1}} = ShapeDb.statistics(stack_id)
      assert {:ok, %{beside: %{quarantined: [%{bytes: 33_000}]}}} = Admin.info(stack_id, @quiet)
    end
  end

  describe "a file that no one has" do
    for {fixture, count} <- @fixtures, otp <- [@own_otp] do
      test "#{fixture} is inspected and checked, and left as it is", context do
        old = Fixtures.copy!(unquote(fixture), context.storage_dir, unquote(otp))
        before = content(context.storage_dir)
        assert {:ok, found} = Admin.inspect(old, @quiet)
        manifest = Fixtures.manifest(unquote(fixture))
        assert found.version == 4 and found.shapes == unquote(count)
        assert found.complete == Enum.count(manifest, & &1.snapshot_complete)
        assert Enum.all?(found.samples, &is_binary(&1.table))
        assert {:ok, %{sound: true, host_asked: true}} = Admin.check(old, @quiet)
        assert content(context.storage_dir) == before
      end

      test "#{fixture} goes there and back again", %{stack_id: stack_id} = context do
        Fixtures.copy!(unquote(fixture), context.storage_dir, unquote(otp))
        start_store!(context)
        shapes = ShapeDb.list_shapes!(stack_id)
        meta = Enum.sort(ShapeDb.reduce_shape_meta(stack_id, [], &[&1 | &2]))
        back = tmp_dir!()

        assert {:ok, %{shapes: unquote(count), left_out: 0}} =
                 Admin.export(stack_id, back, @quiet)

        assert File.exists?(Fixtures.path(back, 4))
        assert {:ok, %{sound: true, version: 4}} = Admin.check(Fixtures.path(back, 4), @quiet)
        again = %{context | stack_id: unique("again"), storage_dir: back}
        start_store!(again)
        assert ShapeDb.list_shapes!(again.stack_id) == shapes
        assert Enum.sort(ShapeDb.reduce_shape_meta(again.stack_id, [], &[&1 | &2])) == meta
      end
    end

    test "is exported with the digests that the replaced design computes here", context do
      %{stack_id: stack_id} = context
      shapes = filled!(context)
      old = Path.join(context.storage_dir, "old.sqlite")
      assert {:ok, %{shapes: 50, left_out: 0}} = Admin.export(stack_id, old, @quiet)
      stop_store!(context)

      reader = %{context | stack_id: unique("reader"), storage_dir: tmp_dir!()}
      start_store!(reader)

      digests =
        Connection.checkout!(reader.stack_id, :test, fn %{conn: conn} ->
          :ok = Connection.execute(conn, "ATTACH '#{old}' AS old")

          {:ok, rows} =
            Connection.fetch_all(conn, "SELECT handle, comparable FROM old.shapes", [])

          Map.new(rows, &List.to_tuple/1)
        end)

      # As that design's own code has it.
      assert digests ==
               Map.new(shapes, fn {handle, shape} ->
                 {comparable, _hash} = Electric.Shapes.Shape.comparable_hash(shape)
                 bytes = :erlang.term_to_binary(comparable, [:deterministic])
                 {handle, :crypto.hash(:sha256, bytes)}
               end)
    end

    test "is restored, with what was there kept", %{stack_id: stack_id} = context do
      shapes = filled!(context)
      copy = Path.join(context.storage_dir, "copy.sqlite")
      {:ok, _} = Admin.backup(stack_id, copy, @quiet)
      for n <- 1..50, do: :ok = ShapeDb.remove_shape(stack_id, handle(n))
      assert {:error, text} = Admin.restore(copy, context.storage_dir, @quiet)
      assert text =~ "in use by stack"
      stop_store!(context)
      assert {:ok, %{shapes: 50, kept: kept}} = Admin.restore(copy, context.storage_dir, @quiet)
      assert {:ok, %{shapes: 0}} = Admin.inspect(kept, @quiet)
      start_store!(context)
      assert ShapeDb.list_shapes!(stack_id) == shapes
      assert {:ok, %{found_clean: 1}} = ShapeDb.statistics(stack_id)
    end

    test "is moved to another storage_dir", %{stack_id: stack_id} = context do
      shapes = filled!(context)
      stop_store!(context)
      to = tmp_dir!()
      assert {:ok, %{shapes: 50, kept: kept}} = Admin.move(context.storage_dir, to, @quiet)
      assert File.exists?(kept) and not File.exists?(path(context))
      start_store!(%{context | storage_dir: to})
      assert ShapeDb.list_shapes!(stack_id) == shapes
    end

    test "tells how it was closed", context do
      filled!(context)
      stop_store!(context)
      assert {:ok, %{verdict: :ok, reasons: []}} = Admin.health(context.storage_dir, @quiet)
      assert {:ok, %{label: %{clean: true, epoch: 1}}} = Admin.inspect(path(context), @quiet)
    end
  end

  test "a file that another VM has is left to it, which is named", context do
    peer = PeerVM.start!()
    :ok = PeerVM.start_store!(peer, "theirs", store_opts(context))
    :ok = PeerVM.call(peer, ElectricShapeDb.HostApp, :add, ["theirs", 1..9])
    path = path(context)
    new = Path.join(context.storage_dir, "new.sqlite")

    for refused <- [
          Admin.inspect(path, @quiet),
          Admin.check(context.storage_dir, @quiet),
          Admin.repair(path, @quiet),
          Admin.salvage(path, new, @quiet),
          Admin.restore(path, new, @quiet),
          Admin.move(context.storage_dir, tmp_dir!(), @quiet)
        ] do
      assert {:error, text} = refused
      assert text =~ ~s(in use by stack "theirs", process )
    end

    assert {:ok, %{holder: "stack \"theirs\"" <> _}} = Admin.info(path, @quiet)
    refute File.exists?(new)
    # It goes on, and is asked itself.
    assert {:ok, %{shapes: 9}} = PeerVM.call(peer, Admin, :inspect, ["theirs", @quiet])
    # Of one that was killed, what is in the log is read too.
    :ok = PeerVM.call(peer, ShapeDb.WriteBuffer, :flush_sync, ["theirs"])
    PeerVM.kill!(peer)
    before = content(context.storage_dir)
    assert {:ok, %{shapes: 9}} = Admin.inspect(path, @quiet)
    assert {:ok, %{sound: true}} = Admin.check(path, @quiet)
    assert {:ok, %{reasons: [%{code: :unclean}]}} = Admin.health(path, @quiet)
    assert content(context.storage_dir) == before
  end

  @tag :mount
  test "where nothing can be written it says so", context do
    filled!(context)
    dir = tmp_dir!()
    {_, 0} = System.cmd("mount", ["-t", "tmpfs", "-o", "ro", "tmpfs", dir])
    on_exit(fn -> System.cmd("umount", ["-l", dir]) end)
    to = Path.join(dir, "copy.sqlite")
    assert {:error, text} = Admin.backup(context.stack_id, to, @quiet)
    assert text =~ to
    assert {:error, text} = Admin.export(context.stack_id, dir, @quiet)
    assert text =~ "cannot make"
    stop_store!(context)
    assert {:error, text} = Admin.move(context.storage_dir, dir, @quiet)
    assert text =~ "cannot make"
    start_store!(context)
    assert {:ok, 50} = ShapeDb.count_shapes(context.stack_id)
  end

  describe "a damaged file" do
    setup context do
      shapes = filled!(context)
      stop_store!(context)
      damaged = path(context) <> ".corrupt-1"
      File.rename!(path(context), damaged)
      # The first page, without which SQLite finds nothing.
      {:ok, file} = :file.open(damaged, [:read, :write, :raw, :binary])
      :ok = :file.pwrite(file, 0, :binary.copy(<<0xA5>>, 16_384))
      :ok = :file.close(file)
      {:ok, damaged: damaged, shapes: shapes}
    end

    test "is salvaged into a new one", %{damaged: damaged, shapes: shapes} = context do
      before = File.read!(damaged)
      to = Path.join(context.storage_dir, "new.sqlite")
      assert {:error, _} = Admin.inspect(damaged, @quiet)
      assert {:ok, %{shapes: 50, damaged: 0}} = Admin.salvage(damaged, to, @quiet)
      assert {:ok, _} = Admin.restore(to, context.storage_dir, @quiet)
      start_store!(context)
      assert ShapeDb.list_shapes!(context.stack_id) == shapes
      assert File.read!(damaged) == before
    end

    test "is salvaged into a running stack, which takes what it does not have", context do
      %{damaged: damaged, stack_id: stack_id, shapes: shapes} = context
      start_store!(context)
      add!(stack_id, shape(1), handle(1))
      add!(stack_id, shape(2), "another-1")
      assert {:ok, %{added: 48, there: 2}} = Admin.salvage(damaged, stack_id, @quiet)
      assert {:ok, 50} = ShapeDb.count_shapes(stack_id)
      assert ShapeDb.shape_for_handle(stack_id, handle(50)) == {:ok, shape(50)}
      assert ShapeDb.snapshot_complete?(stack_id, handle(20))
      refute ShapeDb.snapshot_complete?(stack_id, handle(21))
      assert length(shapes) == 50
    end

    test "is mended in its place", %{damaged: damaged} do
      before = File.read!(damaged)
      assert {:ok, %{shapes: 50, kept: kept}} = Admin.repair(damaged, @quiet)
      assert File.read!(kept) == before
      assert {:ok, %{sound: true}} = Admin.check(damaged, @quiet)
    end
  end

  test "what the host does not take for a shape is named and left out", context do
    old = Fixtures.copy!("tampered-8", context.storage_dir)
    assert {:ok, %{sound: false, problems: problems}} = Admin.check(old, @quiet)
    assert problems |> Enum.map(& &1.count) |> Enum.sum() >= 3
    to = Path.join(context.storage_dir, "new.sqlite")
    assert {:ok, %{shapes: 5, left_out: 3}} = Admin.salvage(old, to, @quiet)
  end

  test "what cannot be used is named, and nothing is changed", context do
    dir = context.storage_dir
    text = Path.join(dir, "text")
    File.write!(text, String.duplicate("no database ", 2_000))
    File.write!(Path.join(dir, "empty"), "")
    copy = Path.join(dir, "copy")
    before = content(dir)

    for {target, word} <- [
          {text, "not a database"},
          {Path.join(dir, "empty"), "empty"},
          {Path.join(dir, "absent"), "neither"},
          {dir, "no storage_dir"},
          {"", "target is"}
        ],
        fun <- [&Admin.inspect/2, &Admin.check/2, &Admin.backup(&1, copy, &2)] do
      assert {:error, reason} = fun.(target, @quiet)
      assert reason =~ word
    end

    assert {:error, _} = Admin.salvage(text, text, @quiet)
    assert {:error, _} = Admin.salvage(Path.join(dir, "absent"), copy, @quiet)
    assert {:error, _} = Admin.restore(Path.join(dir, "absent"), copy, @quiet)
    assert {:error, _} = Admin.restore(text, Path.join([dir, "no", "such", "place"]), @quiet)
    assert content(dir) == before
  end

  test "answers are JSON for programs", %{stack_id: stack_id} = context do
    filled!(context)

    for answer <- [
          Admin.stacks(@quiet),
          Admin.info(stack_id, @quiet),
          Admin.health(stack_id, @quiet),
          Admin.inspect(stack_id, @quiet),
          Admin.check(stack_id, @quiet)
        ] do
      {:ok, data} = answer
      json = IO.iodata_to_binary(Json.encode(data))
      assert json =~ ~r/^\{".*\}$/s
      assert String.valid?(json)
    end

    json =
      IO.iodata_to_binary(Json.encode(%{a: [1, 1.5, nil, true, "q\"\\\n\u0001", {<<255>>, :b}]}))

    assert json == ~S({"a":[1,1.5,null,true,"q\"\\\n\u0001",["<<255>>","b"]]})
  end

  test "answers are printed for people", %{stack_id: stack_id} = context do
    import ExUnit.CaptureIO
    filled!(context)
    assert capture_io(fn -> Admin.health(stack_id) end) =~ "ok"
    assert capture_io(fn -> Admin.stacks() end) =~ stack_id
    assert capture_io(fn -> Admin.info(stack_id) end) =~ "writer"
    assert capture_io(fn -> Admin.inspect(stack_id) end) =~ "id = 1"
    assert capture_io(fn -> Admin.check(stack_id) end) =~ "sound"
    assert capture_io(fn -> Admin.info("nowhere") end) =~ "error: nowhere is neither"

    screen = capture_io(fn -> Admin.watch(stack_id, times: 2, interval: 10) end)

    for word <- [stack_id, "changes a second", "pending", "memory", "faults"],
        do: assert(screen =~ word)

    assert {:error, _} = Admin.watch("nowhere", times: 1)
  end
end
