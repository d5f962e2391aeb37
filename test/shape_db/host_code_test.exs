defmodule ElectricShapeDb.HostCodeTest do
  @moduledoc "Whatever handlers of the host do, the stack goes on, and its end waits for none."

  use ElectricShapeDb.StoreCase, async: true

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Names
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Reporter
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores
  alias ElectricShapeDb.Tap

  @stop [:electric, :shape_db, :write_buffer, :flush, :stop]

  @handlers [
    {"runs a program", quote(do: System.cmd("true", []))},
    {"raises", quote(do: raise("boom"))},
    {"exits", quote(do: exit(:boom))},
    {"throws", quote(do: throw(:boom))},
    {"kills its process", quote(do: Process.exit(self(), :kill))},
    {"has a link that breaks", quote(do: spawn_link(fn -> exit(:boom) end))},
    {"sends itself messages", quote(do: Enum.each(1..100, &send(self(), {:stray, &1})))},
    {"takes all messages", quote(do: ElectricShapeDb.HostCodeTest.take_all())},
    {"never returns", quote(do: Process.sleep(:infinity))},
    {"links itself to the owner and exits",
     quote(do: ElectricShapeDb.HostCodeTest.link_to_owner(stack_id))}
  ]

  for {what, handler} <- @handlers do
    test "a handler that #{what}", %{stack_id: stack_id} = context do
      start_store!(context)
      owner = owner(stack_id)
      test = self()

      Tap.handler(stack_id, [@stop], fn ->
        _ = var!(stack_id)
        send(test, :handling)

        unquote(
          Macro.prewalk(handler, fn
            {:stack_id, meta, _} -> {:stack_id, meta, nil}
            other -> other
          end)
        )
      end)

      add_samples!(stack_id, 1..3)
      flush!(stack_id)
      assert_receive :handling, 1_000

      for n <- 4..20 do
        add_samples!(stack_id, [n])
        flush!(stack_id)
      end

      assert {:ok, %{pending_ops: 0, shapes: 20}} = ShapeDb.statistics(stack_id)
      assert owner(stack_id) == owner
      # The default supervisor would wait for 5 s, and kill then.
      stop_store!(context)
      refute Process.alive?(owner)
    end
  end

  test "a stranger's exit means nothing to the owner", %{stack_id: stack_id} = context do
    start_store!(context)
    owner = owner(stack_id)

    for reason <- [:normal, :shutdown, :boom] do
      {stranger, monitor} =
        spawn_monitor(fn ->
          Process.link(owner)
          exit(reason)
        end)

      assert_receive {:DOWN, ^monitor, :process, ^stranger, ^reason}
    end

    add_samples!(stack_id, 1..3)
    flush!(stack_id)
    assert owner(stack_id) == owner
    assert %{} = :sys.get_state(owner)
  end

  test "events keep their order, and those before the owner's end are told", %{stack_id: stack_id} do
    Tap.events(stack_id, [[:electric, :shape_db, :store, :promoted]])

    owner =
      spawn(fn ->
        Enum.reduce(1..500, Reporter.start(stack_id), &Reporter.tell(&2, :promoted, &1))
      end)

    monitor = Process.monitor(owner)
    assert_receive {:DOWN, ^monitor, :process, ^owner, :normal}

    for epoch <- 1..500 do
      assert_receive {:event, _, %{epoch: ^epoch}, _}, 1_000
    end
  end

  test "what is beyond the bound is passed over, counted and told once", %{stack_id: stack_id} do
    Tap.logs(inspect(stack_id))
    go = blocked_handler(stack_id, @stop)
    reporter = Reporter.start(stack_id)
    flushes = fn reporter -> Enum.reduce(1..3_000, reporter, fn _, r -> flush(r) end) end
    reporter = flushes.(reporter)
    dropped = :counters.get(Reporter.dropped(reporter), 1)
    assert dropped > 1_000 and dropped < 3_000
    assert_receive {:log, :warning, line}, 1_000
    assert line =~ "passed over"

    # What is told seldom still goes out.
    Tap.events(stack_id, [[:electric, :shape_db, :store, :fenced]])
    reporter = Reporter.tell(reporter, :fenced, {2, 17, nil})
    reporter = flushes.(reporter)
    assert :counters.get(Reporter.dropped(reporter), 1) == dropped + 3_000
    go.()
    assert_receive {:event, _, %{epoch: 2, operations: 17}, _}, 30_000
    refute_received {:log, _, _}
  end

  test "debug lines count for the bound as well", %{stack_id: stack_id} do
    _go = blocked_handler(stack_id, @stop)
    log = for n <- 1..4_000, do: {:add, handle(n)}
    reporter = Enum.reduce(1..50, Reporter.start(stack_id), fn _, r -> flush(r, log) end)
    assert :counters.get(Reporter.dropped(reporter), 1) > 40
  end

  test "what a killed reporter had to tell is counted", %{stack_id: stack_id} do
    Tap.events(stack_id, [@stop])
    _go = blocked_handler(stack_id, [:electric, :shape_db, :store, :promoted])
    reporter = stack_id |> Reporter.start() |> Reporter.tell(:promoted, 1)
    reporter = Enum.reduce(1..5, reporter, fn _, reporter -> flush(reporter) end)
    refute_received {:event, _, _, _}
    monitor = Process.monitor(reporter.pid)
    Process.exit(reporter.pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, _, :killed}
    reporter = flush(reporter)
    assert_receive {:event, @stop, _, _}, 1_000
    assert :counters.get(Reporter.dropped(reporter), 1) == 6
  end

  test "a handler that never returns is ended when its stack has been gone for long", %{
    stack_id: stack_id
  } do
    _go = blocked_handler(stack_id, [:electric, :shape_db, :store, :promoted])
    test = self()

    {owner, of_owner} =
      spawn_monitor(fn ->
        send(test, stack_id |> Reporter.start() |> Reporter.tell(:promoted, 1))
      end)

    assert_receive %Reporter{pid: reporter}
    of_reporter = Process.monitor(reporter)
    assert_receive {:DOWN, ^of_owner, :process, ^owner, :normal}
    # What it sends itself by a timer that began just now.
    send(Stores, {:end_reporter, {:reporter, owner}, owner})
    assert_receive {:DOWN, ^of_reporter, :process, ^reporter, :killed}
    _ = :sys.get_state(Stores)
    assert :error = Names.noted({:reporter, owner})
  end

  test "statistics count what was passed over", %{stack_id: stack_id} = context do
    start_store!(context)
    assert {:ok, %{events_dropped: 0}} = ShapeDb.statistics(stack_id)
    Tap.handler(stack_id, [@stop], fn -> Process.exit(self(), :kill) end)

    eventually(fn ->
      add!(stack_id, shape(System.unique_integer()), unique("handle"))
      flush!(stack_id)
      {:ok, statistics} = ShapeDb.statistics(stack_id)
      statistics.events_dropped > 0
    end)
  end

  @doc false
  def take_all do
    receive do
      _any -> take_all()
    after
      0 -> :ok
    end
  end

  @doc false
  def link_to_owner(stack_id) do
    Process.link(owner(stack_id))
    exit(:boom)
  end

  defp owner(stack_id), do: stack_id |> WriteBuffer.name() |> GenServer.whereis()

  defp flush(reporter, log \\ []) do
    Reporter.tell(reporter, :committed, %{ops: 1, duration_us: 1, log: log})
  end

  # The handler goes on once the function it gives is called.
  defp blocked_handler(stack_id, event) do
    gate = :atomics.new(1, [])

    Tap.handler(stack_id, [event], fn ->
      eventually(fn -> :atomics.get(gate, 1) == 1 end, 60_000)
    end)

    fn -> :atomics.put(gate, 1, 1) end
  end
end
