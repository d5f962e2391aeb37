defmodule ElectricShapeDb.IdleTest do
  @moduledoc "What 200 stacks cost that nobody uses: some memory each, no thread, and a look at the file now and then."

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.PeerVM
  alias ElectricShapeDb.Threads

  @moduletag :measures

  @stacks 200
  # Half as much again as is measured: what a stack left behind in the allocators counts too.
  @most 72 * 1024

  # Each looks every ten seconds; in one second no more than a part of them does. A thread
  # wakes once for it.
  @looks div(@stacks, 4)
  @threads 64

  test "200 idle stacks are small, and hardly wake a thread", %{storage_dir: storage_dir} do
    vm = PeerVM.start!()

    start = fn n ->
      opts = [storage_dir: Path.join(storage_dir, "#{n}"), connection_idle_timeout: 50]
      PeerVM.start_store!(vm, "idle-#{n}", opts)
    end

    # What the first one loads is shared by all.
    start.(0)
    before = PeerVM.call(vm, Threads, :rss, [])
    for n <- 1..@stacks, do: start.(n)
    eventually(fn -> Enum.all?(0..@stacks, &(connections(vm, &1) == 0)) end, 30_000)

    each = div(PeerVM.call(vm, Threads, :rss, []) - before, @stacks)
    assert each <= @most, "a stack takes #{each} bytes"

    writers = fn -> PeerVM.call(vm, Threads, :switches, ["shape_db_writer"]) end
    assert map_size(writers.()) <= @threads

    # Some may be on their way to sleep still.
    eventually(fn ->
      asleep = writers.()
      receive after: (1_000 -> awoken(asleep, writers.()) <= @looks)
    end)
  end

  defp awoken(before, now) do
    Enum.sum(for {id, switches} <- now, is_map_key(before, id), do: switches - before[id])
  end

  defp connections(vm, n) do
    {:ok, %{connections: open}} = PeerVM.call(vm, ShapeDb, :statistics, ["idle-#{n}"])
    open
  end
end
