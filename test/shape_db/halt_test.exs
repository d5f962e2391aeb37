defmodule ElectricShapeDb.HaltTest do
  @moduledoc """
  `System.halt/1` asks no process, and the file is closed in order all the same, whatever
  the stack does at that moment: the next start has nothing to check.
  """

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.Halting
  alias ElectricShapeDb.PeerVM

  @rounds 3
  @added 200

  for {state, opts} <- [
        idle: [],
        idle: [exclusive_mode: true],
        queued: [],
        adding: [],
        reading: [],
        running_a_query: [],
        in_a_transaction: [],
        in_a_transaction: [exclusive_mode: true]
      ] do
    @tag store: opts
    test "while it is #{state} #{inspect(opts)}", %{stack_id: stack_id} = context do
      for round <- 1..@rounds do
        vm = PeerVM.start!()
        :ok = PeerVM.call(vm, Logger, :configure, [[level: :none]])
        PeerVM.start_store!(vm, stack_id, store_opts(context))
        assert {:ok, %{found_clean: 1}} = PeerVM.call(vm, ShapeDb, :statistics, [stack_id])
        numbers = (round * @added)..(round * @added + @added - 1)
        :ok = PeerVM.call(vm, Halting, unquote(state), [stack_id, numbers])
        halt!(vm)
      end

      start_store!(context)
      assert {:ok, %{found_clean: 1}} = ShapeDb.statistics(stack_id)

      there =
        for {handle, shape} <- ShapeDb.list_shapes!(stack_id), into: %{}, do: {handle, shape}

      for n <- @added..(@rounds * @added + @added - 1), do: assert(there[handle(n)] == shape(n))
    end
  end

  defp halt!(vm) do
    monitor = Process.monitor(vm)

    try do
      PeerVM.call(vm, System, :halt, [])
    catch
      :exit, _gone -> :ok
    end

    assert_receive {:DOWN, ^monitor, :process, ^vm, _reason}, 30_000
  end
end
