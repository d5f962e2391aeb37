defmodule ElectricShapeDb.SchedulesTest do
  @moduledoc """
  No NIF keeps a normal scheduler longer than a timeslice, however large or many what it is
  about. Runs beside no other test.
  """

  use ElectricShapeDb.StoreCase, async: false

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias ElectricShapeDb.HostApp
  alias ElectricShapeDb.PeerVM
  alias ElectricShapeDb.Schedules

  @moduletag :measures

  # The largest that NIFs on normal schedulers are to parse, and to look through, and one
  # that is for others.
  @bytes [7_500, 62_000, 16 * 1024 * 1024]
  @many 200_000
  @few 1_000

  for {mode, opts} <- [shared: [], exclusive: [exclusive_mode: true, cache_size: 0]] do
    @tag store: opts
    @tag timeout: 600_000
    test "no NIF keeps a scheduler (#{mode})", context do
      calls = [
        {Schedules.Little, [@few, tmp_dir!()], 0},
        {Schedules.Files, [@few, tmp_dir!()], 0},
        {Schedules.Many, [@many], @many}
        | for(bytes <- @bytes, do: {Schedules.Large, [bytes], 0})
      ]

      seen =
        for {module, args, count} <- calls, {kept, seen} = kept(context, module, args, count) do
          assert kept == []
          seen
        end

      # Each of them was called.
      unseen =
        Enum.reject(Native.__info__(:functions), fn {name, _} -> name in List.flatten(seen) end)

      assert unseen == [load: 0]
    end
  end

  # In a VM of its own, with a stack of its own that has so many samples.
  defp kept(context, module, args, count) do
    vm = PeerVM.start!()
    stack_id = unique("stack")
    PeerVM.start_store!(vm, stack_id, store_opts(context, storage_dir: tmp_dir!()))
    :ok = PeerVM.call(vm, HostApp, :add, [stack_id, 1..count//1], 120_000)
    kept = PeerVM.call(vm, Schedules, :kept, [module, [stack_id | args]], 300_000)
    PeerVM.stop(vm)
    kept
  end
end
