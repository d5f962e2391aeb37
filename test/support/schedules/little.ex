defmodule ElectricShapeDb.Schedules.Little do
  @moduledoc """
  What takes and gives little, and stacks that start and stop, with folders of their own in
  `dir`. Of the last one's shapes there are so many, from another release of OTP.
  """

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Connection
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.WriteBuffer
  alias ElectricShapeDb.HostApp
  alias ElectricShapeDb.Samples
  alias ElectricShapeDb.Schedules

  @spec calls(String.t(), pos_integer(), Path.t()) :: [{atom(), Schedules.call()}]
  def calls(stack_id, count, dir) do
    {:ok, store} = Stores.fetch(stack_id)
    handle = Samples.handle(0)
    {:ok, _hash} = ShapeDb.add_shape(stack_id, Samples.shape(0), handle)
    :ok = WriteBuffer.flush_sync(stack_id)

    [
      looks: fn ->
        :active = Native.state(store)
        1 = Native.count(store)
        0 = Native.pending_ops(store)
        0 = Native.pending_count_diff(store)
        _exclusive? = Native.is_exclusive(store)
        _version = Native.flags_version(store)
        [_ | _] = Native.statements()
        {:ok, _holder} = Native.admin_holder("none.sqlite")
      end,
      marks: fn ->
        :ok = ShapeDb.mark_snapshot_complete(stack_id, handle)
        {:ok, _seq} = Native.set_flags_version(store, "#{System.unique_integer()}")
        :ok = WriteBuffer.flush_sync(stack_id)
      end,
      waits: fn ->
        :ok = Native.pause(store, true)
        {:ok, seq} = Native.note_unknown(store, :remove, "none", nil)
        {:wait, wait} = Native.wait(store, Native.last(store), make_ref())
        true = Native.take_back(wait)
        :ok = Native.pause(store, false)
        :ok = Native.flush_to(store, seq)
        Native.take_back(Native.promote(store, make_ref()))
        :ok = WriteBuffer.flush_sync(stack_id)
      end,
      cold: fn ->
        ref = make_ref()
        owed = Native.ask_body(store, handle, false, ref)
        receive do: ({^ref, :here} -> {:ok, _shape} = Native.take_body(store, owed))
        0 = Native.waiting_reads(store)
      end,
      line: fn ->
        Connection.checkout_write!(stack_id, :test, fn _ ->
          {:wait, owed, _} = Native.ask_writer(store, make_ref())
          true = Native.take_back(owed)
          :ok
        end)
      end,
      full: {
        fn -> [storage_dir: folder(dir), max_pending_ops: 1, manual_flush_only: true] end,
        fn opts ->
          with_stack(opts, fn stack_id, store ->
            {:ok, _hash} = ShapeDb.add_shape(stack_id, Samples.shape(1), "1")
            {:wait, _ticket, owed} = Native.wait_for_room(store, 1, make_ref())
            true = Native.take_back(owed)
            :ok = Native.not_verified(store, "nobody asked")
          end)
        end
      },
      take_over: {
        fn -> of_another_otp(folder(dir), count) end,
        fn opts ->
          with_stack(opts, fn id, _store -> {:ok, ^count} = ShapeDb.count_shapes(id) end)
        end
      }
    ]
  end

  defp folder(dir) do
    dir = Path.join(dir, "#{System.unique_integer([:positive])}")
    File.mkdir_p!(dir)
    dir
  end

  defp of_another_otp(dir, count) do
    opts = [storage_dir: dir]
    with_stack(opts, fn stack_id, _store -> HostApp.add(stack_id, 1..count) end)
    path = Connection.db_path!(opts)
    File.rename!(path, String.replace(path, ~r/@otp-\d+/, "@otp-1"))
    opts
  end

  defp with_stack(opts, work) do
    stack_id = "stack-#{System.unique_integer([:positive])}"
    {:ok, stack} = ShapeDb.Supervisor.start_link(stack_id: stack_id, shape_db_opts: opts)
    {:ok, store} = Stores.fetch(stack_id)
    work.(stack_id, store)
    :ok = Supervisor.stop(stack)
  end
end
