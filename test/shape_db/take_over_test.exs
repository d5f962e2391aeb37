defmodule ElectricShapeDb.TakeOverTest do
  @moduledoc "Files of the service that this library replaces, written by the real one."

  use ElectricShapeDb.StoreCase, async: true

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Host
  alias ElectricShapeDb.Fixtures
  alias ElectricShapeDb.Tap

  @fixtures ["real-500", "real-100-unclean"]
  @own_otp Fixtures.otp_major()

  for fixture <- @fixtures, otp <- [@own_otp, @own_otp + 1, @own_otp - 1] do
    test "#{fixture}, written on OTP #{otp}, is taken over whole", context do
      Fixtures.copy!(unquote(fixture), context.storage_dir, unquote(otp))
      start_store!(context)
      assert_holds(context.stack_id, Fixtures.manifest(unquote(fixture)))
    end
  end

  for fixture <- @fixtures do
    test "#{fixture} is there after a restart", context do
      Fixtures.copy!(unquote(fixture), context.storage_dir)
      start_store!(context)
      restart_store!(context)
      assert_holds(context.stack_id, Fixtures.manifest(unquote(fixture)))
    end

    test "#{fixture} is stored byte for byte", %{stack_id: stack_id} = context do
      Fixtures.copy!(unquote(fixture), context.storage_dir)
      start_store!(context)
      assert stored(stack_id) == Enum.map(Fixtures.manifest(unquote(fixture)), &stored_form/1)
    end
  end

  test "in exclusive mode too", context do
    Fixtures.copy!("real-500", context.storage_dir)
    start_store!(context, exclusive_mode: true)
    assert_holds(context.stack_id, Fixtures.manifest("real-500"))
  end

  test "the old file is renamed, so that a rollback starts clean", context do
    old = Fixtures.copy!("real-500", context.storage_dir)
    start_store!(context)
    assert File.regular?(old <> ".imported")
    refute File.exists?(old)
    refute File.exists?(old <> "-wal")
    refute File.exists?(old <> "-shm")
    assert File.regular?(Fixtures.path(context.storage_dir, 5))
  end

  test "it happens once", %{stack_id: stack_id} = context do
    Fixtures.copy!("real-100-unclean", context.storage_dir)
    start_store!(context)
    :ok = ShapeDb.reset(stack_id)
    restart_store!(context)
    assert ShapeDb.count_shapes(stack_id) == {:ok, 0}
  end

  test "our own file goes before an old one", %{stack_id: stack_id} = context do
    start_store!(context)
    add!(stack_id, shape(1), handle(1))
    stop_store!(context)
    old = Fixtures.copy!("real-100-unclean", context.storage_dir)
    start_store!(context)
    assert ShapeDb.list_shapes!(stack_id) == [{handle(1), shape(1)}]
    assert File.regular?(old)
  end

  test "the file of this OTP goes before another's", %{stack_id: stack_id} = context do
    Fixtures.copy!("real-500", context.storage_dir, @own_otp + 1)
    Fixtures.copy!("real-100-unclean", context.storage_dir)
    start_store!(context)
    assert_holds(stack_id, Fixtures.manifest("real-100-unclean"))
  end

  test "our own file of another OTP is taken over", %{stack_id: stack_id} = context do
    start_store!(context)
    handles = add_samples!(stack_id, 1..50)
    for n <- 1..10, do: :ok = ShapeDb.mark_snapshot_started(stack_id, handle(n))
    for n <- 5..20, do: :ok = ShapeDb.mark_snapshot_complete(stack_id, handle(n))
    stop_store!(context)
    other = Fixtures.path(context.storage_dir, 5, @own_otp + 1)
    File.rename!(Fixtures.path(context.storage_dir, 5), other)

    start_store!(context)
    assert ShapeDb.list_shapes!(stack_id) == Enum.map(1..50, &{handle(&1), shape(&1)})

    assert Enum.filter(handles, &ShapeDb.snapshot_complete?(stack_id, &1)) ==
             Enum.map(5..20, &handle/1)

    assert Enum.filter(handles, &ShapeDb.snapshot_started?(stack_id, &1)) ==
             Enum.map(1..20, &handle/1)

    assert ShapeDb.shape_handles_for_relations!(stack_id, [relation(0)]) == handles
  end

  test "another shape version is another file", %{stack_id: stack_id} = context do
    path = Fixtures.copy!("real-100-unclean", context.storage_dir)
    older = String.replace(path, "v10_", "v9_")
    for suffix <- ["", "-wal"], do: File.rename!(path <> suffix, older <> suffix)
    start_store!(context)
    assert ShapeDb.count_shapes(stack_id) == {:ok, 0}
    assert File.regular?(older)
  end

  test "what does not verify is left out and counted", %{stack_id: stack_id} = context do
    Fixtures.copy!("tampered-8", context.storage_dir, @own_otp + 1)
    Tap.logs(context.storage_dir)
    start_store!(context)
    assert_holds(stack_id, Fixtures.manifest("tampered-8"))
    assert_receive {:log, :warning, line}, 1_000
    assert line =~ ~r{\s3\s}
  end

  test "a failed import leaves the old file as it was", context do
    start_store!(context)
    add!(context.stack_id, shape(1), handle(1))
    stop_store!(context)
    # A database, and none of the old service's.
    old = Fixtures.path(context.storage_dir, 4)
    File.rename!(Fixtures.path(context.storage_dir, 5), old)
    before = File.read!(old)

    assert start_error(context) =~ Path.basename(old)
    assert File.read!(old) == before
    refute File.exists?(old <> ".imported")
  end

  describe "when the host's function, asked to verify," do
    for {how, behaviour} <- [
          {"raises", quote(do: raise("boom"))},
          {"exits", quote(do: exit(:boom))},
          {"throws", quote(do: throw(:boom))},
          {"kills its process", quote(do: Process.exit(self(), :kill))}
        ] do
      test "#{how}, the start fails and the shapes are kept", %{stack_id: stack_id} = context do
        well = fn -> :as_ever end
        :persistent_term.put({__MODULE__, stack_id}, well)
        on_exit(fn -> :persistent_term.erase({__MODULE__, stack_id}) end)
        other = written_elsewhere(context)

        :persistent_term.put({__MODULE__, stack_id}, fn -> unquote(behaviour) end)
        error = start_error(context)
        assert error =~ "comparable_hash/1"
        assert error =~ Path.basename(other)
        assert File.regular?(other)

        :persistent_term.put({__MODULE__, stack_id}, well)
        start_store!(context)
        assert ShapeDb.count_shapes(stack_id) == {:ok, 3}
      end
    end
  end

  test "a function of the host that never returns is not waited for" do
    hang = fn -> Process.sleep(:infinity) end
    assert {:error, "did not return within 10 ms"} = Host.run(hang, 10)
    assert {:error, how} = Host.run(fn -> Process.exit(self(), :kill) end, 1_000)
    assert how =~ "killed"
    linked = fn -> {spawn_link(fn -> :ok end), :done} end
    assert {:ok, {_pid, :done}} = Host.run(linked, 1_000)
    assert Process.info(self(), :messages) == {:messages, []}
  end

  @doc false
  def asked(stack_id), do: :persistent_term.get({__MODULE__, stack_id}).()

  defp written_elsewhere(%{stack_id: stack_id} = context) do
    start_store!(context)

    for n <- 1..3 do
      where = {:call, __MODULE__, :asked, [stack_id]}
      add!(stack_id, shape(n, where: where, root_pk: [n]), handle(n))
    end

    stop_store!(context)
    other = Fixtures.path(context.storage_dir, 5, @own_otp + 1)
    File.rename!(Fixtures.path(context.storage_dir, 5), other)
    other
  end

  defp assert_holds(stack_id, manifest) do
    handles = Enum.map(manifest, & &1.handle)
    assert Enum.map(ShapeDb.list_shapes!(stack_id), &elem(&1, 0)) == handles
    assert ShapeDb.count_shapes(stack_id) == {:ok, length(manifest)}

    meta = ShapeDb.reduce_shape_meta(stack_id, [], &[&1 | &2])
    assert Enum.sort(meta) == Enum.map(manifest, &{&1.handle, &1.hash, &1.snapshot_complete})

    for entry <- manifest do
      {:ok, shape} = ShapeDb.shape_for_handle(stack_id, entry.handle)
      assert hash(shape) == entry.hash
      assert ShapeDb.handle_for_shape(stack_id, shape) == {:ok, entry.handle}
      assert ShapeDb.snapshot_complete?(stack_id, entry.handle) == entry.snapshot_complete
    end

    for {oid, entries} <- Enum.group_by(manifest, &hd(&1.oids)) do
      found = ShapeDb.shape_handles_for_relations!(stack_id, [{oid, {"any", "name"}}])
      assert found == Enum.map(entries, & &1.handle)
    end
  end

  # A manifest entry as the row that it becomes in our file.
  defp stored_form(entry) do
    relations = for oid <- entry.oids, into: <<>>, do: <<oid::32-little>>
    snapshot = if entry.snapshot_complete, do: 2, else: 0

    [entry.handle, entry.hash, snapshot, relations] ++
      [entry.comparable_sha256, entry.shape_sha256, entry.shape_bytes]
  end

  defp stored(stack_id) do
    sql = """
    SELECT handle, hash, snapshot, relations, comparable, shape
    FROM shapes JOIN bodies USING (id) ORDER BY handle
    """

    for [handle, hash, snapshot, relations, comparable, shape] <- rows(stack_id, sql) do
      [handle, hash, snapshot, relations] ++
        [hex(comparable), hex(:crypto.hash(:sha256, shape)), byte_size(shape)]
    end
  end

  defp hex(binary), do: Base.encode16(binary, case: :lower)
end
