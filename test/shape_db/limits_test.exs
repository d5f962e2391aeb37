defmodule ElectricShapeDb.LimitsTest do
  @moduledoc """
  No more threads, no more descriptors, no room, no permission, a path too long: the
  reason in words, and a start that succeeds as soon as it can.
  """

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.LimitedVM
  alias ElectricShapeDb.PeerVM

  # With more, a start reads and sorts on several threads.
  @many 10_000

  describe "in a VM with limits" do
    @describetag :limits

    setup context do
      start_store!(context)
      add_samples!(context.stack_id, 1..@many)
      stop_store!(context)
      {:ok, vm: LimitedVM.start!(context.storage_dir)}
    end

    test "each thread that a start needs may be missing", %{vm: vm} = context do
      started =
        for more <- 0..8, do: {more, try_start(context, &LimitedVM.allow_threads!(&1, more))}

      for {more, {:error, reason}} <- started do
        assert reason =~ "cannot start a thread of the store: ", "#{more}: #{reason}"
        assert reason =~ "raise ulimit -u", "#{more}: #{reason}"
      end

      # One each is needed for messages, for writers and for readers, all others are help. One
      # of the VM's own that ends meanwhile leaves its place.
      assert [{:error, _}, _with_one, _with_two | rest] =
               for({_, started} <- started, do: started)

      assert Enum.all?(rest, &(&1 == {:ok, @many})), inspect(started)
      LimitedVM.allow_threads!(vm, 100)
    end

    test "each descriptor that a start needs may be missing", context do
      started =
        for more <- 0..24, do: {more, try_start(context, &LimitedVM.allow_descriptors!(&1, more))}

      for {more, {:error, reason}} <- started do
        assert reason =~ "ulimit -n", "#{more}: #{reason}"
      end

      assert {0, {:error, _}} = hd(started)
      assert {24, {:ok, @many}} = List.last(started)
    end

    test "a running store without descriptors says so, and goes on with them", context do
      %{vm: {peer, _} = vm, stack_id: stack_id} = context
      PeerVM.start_store!(peer, stack_id, store_opts(context, cache_size: 0))
      LimitedVM.allow_descriptors!(vm, 0)
      checkout = [stack_id, :test, &Function.identity/1, 1_000]

      reason = failure(peer, Connection, :checkout!, checkout)
      assert reason =~ "opening a connection failed" and reason =~ "ulimit -n", reason

      LimitedVM.allow_descriptors!(vm, 100)
      assert %{conn: _} = PeerVM.call(peer, Connection, :checkout!, checkout)
      assert length(PeerVM.call(peer, ShapeDb, :list_shapes!, [stack_id])) == @many
    end

    test "a file or folder that is not the user's", %{vm: {peer, _} = vm} = context do
      path = Connection.db_path!(storage_dir: context.storage_dir)

      for {place, mode, expected} <- [
            {path, 0o444, "this user may not"},
            {path, 0o000, "this user may not"},
            {Path.dirname(path), 0o000, "this user may not"}
          ] do
        before = File.stat!(place).mode
        {_, 0} = System.cmd("chown", ["0", place])
        File.chmod!(place, mode)
        assert {:error, reason} = try_start(context, fn _ -> :ok end)
        assert reason =~ expected and reason =~ "owner", reason
        File.chmod!(place, before)
        {_, 0} = System.cmd("chown", ["#{elem(vm, 1)}", place])
        assert {:ok, @many} = try_start(context, fn _ -> :ok end)
      end

      assert PeerVM.call(peer, ShapeDb, :count_shapes!, [context.stack_id]) == :error
    end
  end

  describe "on a disk of its own" do
    @describetag :mount

    setup context do
      {_, 0} = System.cmd("mount", ["-t", "tmpfs", "-o", "size=2m", "tmpfs", context.storage_dir])
      on_exit(fn -> System.cmd("umount", ["-l", context.storage_dir]) end)
    end

    for opts <- [[], [exclusive_mode: true]] do
      @tag store: opts
      test "that is full: #{inspect(opts)}", context do
        filler = Path.join(context.storage_dir, "filler")
        assert {:error, :enospc} = File.write(filler, :binary.copy("x", 3_000_000))
        reason = start_error(context)
        assert reason =~ "make room", reason
        File.rm!(filler)
        start_store!(context)
        add_samples!(context.stack_id, 1..3)
        stop_store!(context)

        # With shapes in it: room is needed for a change only, or for the log's index.
        File.write(filler, :binary.copy("x", 3_000_000))

        case start_supervised(
               {ShapeDb.Supervisor,
                [stack_id: context.stack_id, shape_db_opts: store_opts(context)]}
             ) do
          {:ok, _} ->
            assert ShapeDb.count_shapes(context.stack_id) == {:ok, 3}

          {:error, reason} ->
            assert inspect(reason) =~ "disk is full", inspect(reason)
        end
      end

      @tag store: opts
      test "that is read-only: #{inspect(opts)}", context do
        start_store!(context)
        add_samples!(context.stack_id, 1..3)
        stop_store!(context)
        {_, 0} = System.cmd("mount", ["-o", "remount,ro", context.storage_dir])
        reason = start_error(context)
        assert reason =~ "read-only", reason
        {_, 0} = System.cmd("mount", ["-o", "remount,rw", context.storage_dir])
        start_store!(context)
        assert ShapeDb.count_shapes(context.stack_id) == {:ok, 3}
      end
    end
  end

  test "a name or a path that is too long", context do
    for dir <- [
          String.duplicate("x", 300),
          Path.join(for _ <- 1..40, do: String.duplicate("x", 100))
        ] do
      reason = start_error(context, storage_dir: Path.join(context.storage_dir, dir))
      assert reason =~ "name too long" and reason =~ "shorter storage_dir", reason
    end

    start_store!(context)
  end

  # Limits the VM, starts a store there and counts its shapes, or gives the reason why not.
  defp try_start(%{vm: {peer, _} = vm, stack_id: stack_id} = context, limit) do
    limit.(vm)

    case PeerVM.call(peer, PeerVM, :run_store, [stack_id, store_opts(context)]) do
      :ok ->
        count = PeerVM.call(peer, ShapeDb, :count_shapes, [stack_id])
        PeerVM.stop_store!(peer, stack_id)
        count

      {:error, reason} ->
        {:error, inspect(reason, limit: :infinity, printable_limit: :infinity)}
    end
  end

  defp failure(peer, module, function, args) do
    flunk("it did: #{inspect(PeerVM.call(peer, module, function, args), limit: 3)}")
  rescue
    error in ErlangError -> inspect(error, limit: :infinity, printable_limit: :infinity)
    error in ShapeDb.Error -> Exception.message(error)
  catch
    :exit, reason -> inspect(reason, limit: :infinity, printable_limit: :infinity)
  end
end
