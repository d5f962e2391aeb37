defmodule ElectricShapeDb.SharedProcessesTest do
  @moduledoc """
  What all stacks of a VM share: killed, it finds its stacks again. Not async: there is
  one of it.
  """

  use ElectricShapeDb.StoreCase, async: false

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Names
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores
  alias ElectricShapeDb.PeerVM

  test "a stack that stops after the shared process was killed leaves nothing behind", context do
    %{stack_id: stack_id} = context
    start_store!(context)
    kill_shared!()
    assert_works(stack_id)
    owner = stack_id |> WriteBuffer.name() |> GenServer.whereis()
    assert is_pid(owner)
    kill!(owner)
    assert_nothing_left(stack_id)
  end

  test "a stack that is killed while the shared process is not there leaves nothing", context do
    %{stack_id: stack_id} = context
    start_store!(context)
    owner = stack_id |> WriteBuffer.name() |> GenServer.whereis()
    :sys.suspend(Stores)
    kill!(owner)
    kill_shared!()
    assert_nothing_left(stack_id)
  end

  test "a stack starts while the shared process does not answer", context do
    %{stack_id: stack_id} = context
    :sys.suspend(Stores)
    start_store!(context)
    assert_works(stack_id)
    kill_shared!()
    stop_store!(context)
    assert_nothing_left(stack_id)
  end

  test "a name that was its process's last trace is free again", context do
    start_store!(context)
    :sys.suspend(Stores)
    stop_store!(context)
    start_store!(context)
    assert_works(context.stack_id)
    :sys.resume(Stores)
    assert_works(context.stack_id)
  end

  test "a second stack of the same name is refused", context do
    start_store!(context)

    assert {:error, {:already_started, _}} =
             ShapeDb.Supervisor.start_link(
               stack_id: context.stack_id,
               shape_db_opts: store_opts(context)
             )
  end

  test "an application that is not started is named, with what starts it", context do
    %{stack_id: stack_id} = context
    vm = PeerVM.start!()
    :ok = PeerVM.call(vm, Application, :stop, [:electric_shape_db])
    start = [[stack_id: stack_id, shape_db_opts: store_opts(context)]]
    assert {:error, reason} = PeerVM.call(vm, ShapeDb.Supervisor, :start_link, start)
    assert reason =~ "ensure_all_started(:electric_shape_db)"

    calls = [
      {ShapeDb, :add_shape, [shape(1), handle(1)]},
      {ShapeDb, :remove_shape, [handle(1)]},
      {ShapeDb, :mark_snapshot_started, [handle(1)]},
      {ShapeDb, :mark_snapshot_complete, [handle(1)]},
      {ShapeDb, :reset, []},
      {ShapeDb, :validate_existing_shapes, []},
      {ShapeDb, :handle_for_shape, [shape(1)]},
      {ShapeDb, :handle_for_shape_critical, [shape(1)]},
      {ShapeDb, :shape_for_handle, [handle(1)]},
      {ShapeDb, :handle_exists?, [handle(1)]},
      {ShapeDb, :snapshot_started?, [handle(1)]},
      {ShapeDb, :snapshot_complete?, [handle(1)]},
      {ShapeDb, :count_shapes, []},
      {ShapeDb, :list_shapes, []},
      {ShapeDb, :list_shapes!, []},
      {ShapeDb, :reduce_shapes, [0, &Kernel.max/2]},
      {ShapeDb, :reduce_shape_meta, [0, &Kernel.max/2]},
      {ShapeDb, :shape_handles_for_relations, [[]]},
      {ShapeDb, :shape_handles_for_relations!, [[]]},
      {ShapeDb, :unknown_handles, [[handle(1)]]},
      {ShapeDb, :statistics, []},
      {ShapeDb, :explain, []},
      {WriteBuffer, :flush_sync, []},
      {WriteBuffer, :pause_flush, []},
      {WriteBuffer, :resume_flush, []},
      {WriteBuffer, :lookup_shape, [handle(1)]},
      {WriteBuffer, :lookup_handle, [comparable(shape(1))]},
      {WriteBuffer, :is_tombstoned?, [handle(1)]},
      {WriteBuffer, :has_handle?, [handle(1)]},
      {WriteBuffer, :pending_count_diff, []},
      {WriteBuffer, :list_buffered_shapes, []},
      {WriteBuffer, :handles_for_relations, [[relation(1)]]},
      {WriteBuffer, :tombstoned_handles, []},
      {WriteBuffer, :remove_shape, [handle(1)]},
      {WriteBuffer, :queue_snapshot_started, [handle(1)]},
      {WriteBuffer, :queue_snapshot_complete, [handle(1)]},
      {WriteBuffer, :clear, []},
      {Connection, :checkout!, [:test, &Function.identity/1]},
      {Connection, :checkout_write!, [:test, &Function.identity/1]}
    ]

    for {module, function, args} <- calls do
      text =
        case attempt(fn -> PeerVM.call(vm, module, function, [stack_id | args]) end) do
          {:returned, {:error, reason}} -> reason
          {:raised, message} -> message
          other -> flunk("#{function}: #{inspect(other)}")
        end

      assert text =~ "is not started", "#{function}: #{text}"
      assert text =~ stack_id
    end

    assert PeerVM.call(vm, GenServer, :whereis, [WriteBuffer.name(stack_id)]) == nil
    assert PeerVM.call(vm, ShapeDb, :count_shapes!, [stack_id]) == :error
    assert PeerVM.call(vm, ShapeDb, :pending_buffer_size, [stack_id]) == 0
  end

  defp attempt(fun) do
    {:returned, fun.()}
  rescue
    error -> {:raised, Exception.message(error)}
  end

  defp kill_shared! do
    kill!(Process.whereis(Stores))
    eventually(fn -> Process.whereis(Stores) != nil end)
  end

  defp kill!(pid) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}, 5_000
  end

  defp assert_works(stack_id) do
    add!(stack_id, shape(1), handle(1))
    flush!(stack_id)
    assert ShapeDb.list_shapes(stack_id) == {:ok, [{handle(1), shape(1)}]}
    :ok = ShapeDb.remove_shape(stack_id, handle(1))
  end

  defp assert_nothing_left(stack_id) do
    eventually(fn ->
      Stores.get(stack_id) == nil and
        :ets.match_object(Names, {{:_, stack_id}, :_, :_}) == [] and
        :ets.match_object(Names, {{:name, {stack_id, :_}}, :_, :_}) == []
    end)

    assert GenServer.whereis(WriteBuffer.name(stack_id)) == nil
  end
end
