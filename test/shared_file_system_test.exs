defmodule ElectricShapeDb.SharedFileSystemTest do
  @moduledoc """
  A folder that two machines have mounted, without memory maps: two mounts of one folder
  by FUSE. Locks are of the folder, or of each mount alone.
  """

  use ElectricShapeDb.StoreCase, async: true

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Admin
  alias ElectricShapeDb.HostApp
  alias ElectricShapeDb.PeerVM

  @moduletag :fuse
  @uncached ~w(-o direct_io,attr_timeout=0,entry_timeout=0,negative_timeout=0)
  @shared_locks ~w(--multithreaded --enable-lock-forwarding)
  @quiet [print: false]

  defp mount!(folder, args) do
    at = tmp_dir!()
    on_exit(fn -> System.cmd("umount", ["-l", at], stderr_to_stdout: true) end)

    {said, status} =
      System.cmd("bindfs", @uncached ++ args ++ [folder, at], stderr_to_stdout: true)

    assert status == 0, said
    at
  end

  defp two!(context, args) do
    [here, there] = for _ <- 1..2, do: mount!(context.storage_dir, args)
    {%{context | storage_dir: here}, there}
  end

  test "a write-ahead log cannot be had, and the error says what can", context do
    {here, _there} = two!(context, [])
    assert start_error(here) =~ "the file system has no shared memory, and exclusive_mode is for"
    start_store!(here, exclusive_mode: true)
    add_samples!(context.stack_id, 1..3)
    assert {:ok, %{sound: true, shapes: 3}} = Admin.check(context.stack_id, @quiet)
  end

  test "where locks are shared, a second instance waits for the first", context do
    {here, there} = two!(context, @shared_locks)
    start_store!(here, exclusive_mode: true)
    add_samples!(context.stack_id, 1..20)
    flush!(context.stack_id)

    peer = PeerVM.start!()
    :ok = PeerVM.start_store!(peer, "second", storage_dir: there, exclusive_mode: true)
    assert {:ok, %{role: :follower}} = PeerVM.call(peer, Admin, :info, ["second", @quiet])
    add_samples!(context.stack_id, 21..30)
    flush!(context.stack_id)
    eventually(fn -> PeerVM.call(peer, ShapeDb, :count_shapes, ["second"]) == {:ok, 30} end)

    stop_store!(here)
    :ok = PeerVM.call(peer, HostApp, :add, ["second", 31..40])
    assert {:ok, %{role: :writer}} = PeerVM.call(peer, Admin, :info, ["second", @quiet])
    :ok = PeerVM.call(peer, ShapeDb.WriteBuffer, :flush_sync, ["second"])

    # And the other way round, after one that was killed.
    start_store!(here, exclusive_mode: true)
    assert {:ok, %{role: :follower}} = Admin.info(context.stack_id, @quiet)
    PeerVM.kill!(peer)
    add_samples!(context.stack_id, 41..50)
    assert {:ok, %{role: :writer}} = Admin.info(context.stack_id, @quiet)
    assert {:ok, %{sound: true, shapes: 50}} = Admin.check(context.stack_id, @quiet)
  end

  test "where each machine has locks of its own, the epoch fences the first", context do
    {here, there} = two!(context, [])
    start_store!(here, exclusive_mode: true)
    add_samples!(context.stack_id, 1..20)
    flush!(context.stack_id)

    peer = PeerVM.start!()
    :ok = PeerVM.start_store!(peer, "second", storage_dir: there, exclusive_mode: true)
    assert {:ok, %{role: :writer}} = PeerVM.call(peer, Admin, :info, ["second", @quiet])
    add_samples!(context.stack_id, 21..21)
    eventually(fn -> match?({:ok, %{role: :fenced}}, Admin.info(context.stack_id, @quiet)) end)
    assert {:error, :fenced} = ShapeDb.add_shape(context.stack_id, shape(22), handle(22))

    # Its transactions are its own, also to those who cannot see that it is in one.
    :ok = PeerVM.call(peer, HostApp, :begin, ["second"])
    journal = Connection.db_path!(storage_dir: context.storage_dir) <> "-journal"
    assert File.exists?(journal)
    before = faults(context)
    eventually(fn -> faults(context) > before or not File.exists?(journal) end)
    assert File.exists?(journal)
    assert PeerVM.call(peer, HostApp, :commit, []) == {:ended, :ok}

    :ok = PeerVM.call(peer, HostApp, :add, ["second", 31..40])

    assert {:ok, %{sound: true, shapes: 30}} =
             PeerVM.call(peer, Admin, :check, ["second", @quiet])

    eventually(fn -> ShapeDb.count_shapes(context.stack_id) == {:ok, 30} end)
  end

  defp faults(%{stack_id: stack_id}) do
    {:ok, %{faults: faults}} = ShapeDb.statistics(stack_id)
    faults
  end
end
