defmodule ElectricShapeDb.TelemetryTest do
  @moduledoc "The events that a host listens to, as it does."

  use ElectricShapeDb.StoreCase, async: true

  alias ElectricShapeDb.Holder
  alias ElectricShapeDb.Tap

  @checkout [:electric, :shape_db, :pool, :checkout]
  @flush [:electric, :shape_db, :write_buffer, :flush]

  test "checkouts that did not wait say 0", %{stack_id: stack_id} = context do
    start_store!(context)
    Tap.events(stack_id, [@checkout])
    Connection.checkout!(stack_id, :a_read, fn _ -> :ok end)
    assert_received {:event, @checkout, measurements, %{label: :a_read, stack_id: ^stack_id}}
    assert measurements == %{queue_time_μs: 0}

    # After its start, and after each loan, the writer is at work for a moment.
    eventually(fn ->
      Connection.checkout_write!(stack_id, :a_write, fn _ -> :ok end)
      assert_received {:event, @checkout, measurements, %{label: :a_write, stack_id: ^stack_id}}
      measurements == %{queue_time_μs: 0}
    end)
  end

  test "checkouts that waited say how long", %{stack_id: stack_id} = context do
    start_store!(context, read_pool_size: 1)

    for {kind, checkout!} <- [read: &Connection.checkout!/3, write: &Connection.checkout_write!/3] do
      holder = Holder.hold!(stack_id, kind)
      Tap.events(stack_id, [@checkout])
      waiter = Task.async(fn -> checkout!.(stack_id, kind, fn _ -> :ok end) end)
      refute_receive {:event, @checkout, _, %{label: ^kind}}, 20
      Holder.release!(holder)
      assert Task.await(waiter) == :ok
      assert_received {:event, @checkout, %{queue_time_μs: waited}, %{label: ^kind}}
      assert waited >= 10_000
    end
  end

  test "a flush is a span with the number of its operations", %{stack_id: stack_id} = context do
    start_store!(context)
    :ok = WriteBuffer.pause_flush(stack_id)
    Tap.events(stack_id, [@flush ++ [:start], @flush ++ [:stop], @flush ++ [:exception]])
    add_samples!(stack_id, 1..7)
    flush!(stack_id)
    start = @flush ++ [:start]
    stop = @flush ++ [:stop]

    assert_receive {:event, ^start, started, %{entry_count: 7, stack_id: ^stack_id}}, 1_000
    assert is_integer(started.system_time) and is_integer(started.monotonic_time)
    assert_receive {:event, ^stop, ended, %{entry_count: 7, stack_id: ^stack_id}}, 1_000
    assert is_integer(ended.duration) and ended.duration >= 0
    refute_received {:event, _, _, _}
  end

  test "each operation is in one flush", %{stack_id: stack_id} = context do
    start_store!(context)
    stop = @flush ++ [:stop]
    Tap.events(stack_id, [stop])
    add_samples!(stack_id, 1..500)
    flush!(stack_id)
    assert count_entries(stop, 500) == 500
  end

  defp count_entries(_stop, left) when left <= 0, do: 500 - left

  defp count_entries(stop, left) do
    receive do
      {:event, ^stop, _, %{entry_count: entries}} -> count_entries(stop, left - entries)
    after
      1_000 -> 500 - left
    end
  end
end
