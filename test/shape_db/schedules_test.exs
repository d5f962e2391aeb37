defmodule ElectricShapeDb.SchedulesTest do
  @moduledoc """
  Nothing keeps a scheduler that others need, however large or many what it is about. Runs
  beside no other test, which would.
  """

  use ElectricShapeDb.StoreCase, async: false

  alias ElectricShapeDb.HostApp
  alias ElectricShapeDb.PeerVM
  alias ElectricShapeDb.Schedules

  @mebibyte 1024 * 1024
  @many 50_000

  for {opts, n} <- Enum.with_index([[], [exclusive_mode: true, cache_size: 0]]) do
    @tag store: opts
    @tag timeout: 120_000
    test "no scheduler is kept by large ones (#{n})", %{stack_id: stack_id} = context do
      vm = PeerVM.start!()
      PeerVM.start_store!(vm, stack_id, store_opts(context))
      args = [stack_id, 16 * @mebibyte]
      assert PeerVM.call(vm, Schedules, :kept, [:of_large, args], 120_000) == []
    end

    @tag store: opts
    @tag timeout: 120_000
    test "no scheduler is kept by many (#{n})", %{stack_id: stack_id} = context do
      vm = PeerVM.start!()
      PeerVM.start_store!(vm, stack_id, store_opts(context))
      :ok = PeerVM.call(vm, HostApp, :add, [stack_id, 1..@many], 120_000)
      args = [stack_id, @many, tmp_dir!()]
      assert PeerVM.call(vm, Schedules, :kept, [:of_many, args], 120_000) == []
    end
  end
end
