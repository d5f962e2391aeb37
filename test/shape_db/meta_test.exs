for {name, opts, moment} <- ElectricShapeDb.Matrix.cells() do
  defmodule Module.concat(ElectricShapeDb.MetaTest, name) do
    @moduledoc "What a request asks of a shape and leaves there, in one cell of the matrix."

    use ElectricShapeDb.StoreCase, async: true

    import ElectricShapeDb.Matrix, only: [settle: 1, start_cell!: 1]

    @moduletag store: opts, moment: moment
    @restarted moment == :restarted

    setup :start_cell!

    test "a shape is found and validated by its handle", %{stack_id: stack_id} = context do
      add!(stack_id, shape(1), handle(1))
      settle(context)
      assert ShapeDb.has_shape_handle?(stack_id, handle(1))
      refute ShapeDb.has_shape_handle?(stack_id, handle(2))
      hash = hash(shape(1))
      assert ShapeDb.validate_shape_handle(stack_id, handle(1), hash) == :ok
      assert ShapeDb.validate_shape_handle(stack_id, handle(1), hash + 1) == :error
      assert ShapeDb.validate_shape_handle(stack_id, handle(2), hash) == :error
      assert ShapeDb.validate_shape_handle(stack_id, handle(1), shape(1)) == :ok
      assert ShapeDb.validate_shape_handle(stack_id, handle(1), shape(2)) == :error
      assert ShapeDb.validate_shape_handle(stack_id, handle(2), shape(1)) == :error
    end

    test "a new shape was never read; one that was loaded was read then", context do
      %{stack_id: stack_id} = context
      add!(stack_id, shape(1), handle(1))
      before = System.monotonic_time()
      settle(context)
      read = ShapeDb.last_read_time(stack_id, handle(1))

      if @restarted,
        do: assert(read in before..System.monotonic_time()),
        else: assert(read == nil)

      assert ShapeDb.shape_has_been_activated?(stack_id, handle(1)) == @restarted
      assert ShapeDb.last_read_time(stack_id, handle(2)) == nil
      refute ShapeDb.shape_has_been_activated?(stack_id, handle(2))
    end

    test "a touch is the time of reading", %{stack_id: stack_id} = context do
      add!(stack_id, shape(1), handle(1))
      settle(context)
      before = System.monotonic_time()
      assert ShapeDb.touch(stack_id, handle(1))
      assert ShapeDb.last_read_time(stack_id, handle(1)) in before..System.monotonic_time()
      assert ShapeDb.shape_has_been_activated?(stack_id, handle(1))
      refute ShapeDb.touch(stack_id, handle(2))
      assert ShapeDb.last_read_time(stack_id, handle(2)) == nil
    end

    test "a time of reading can be any", %{stack_id: stack_id} = context do
      add!(stack_id, shape(1), handle(1))
      settle(context)

      for time <- [System.monotonic_time(), -1, 0, 1, -(2 ** 62), 2 ** 62] do
        assert ShapeDb.update_last_read_time(stack_id, handle(1), time)
        assert ShapeDb.last_read_time(stack_id, handle(1)) == time
      end

      refute ShapeDb.update_last_read_time(stack_id, handle(2), 0)
    end

    test "a handle that is added again was never read", %{stack_id: stack_id} = context do
      add!(stack_id, shape(1), handle(1))
      assert ShapeDb.touch(stack_id, handle(1))
      settle(context)
      :ok = ShapeDb.remove_shape(stack_id, handle(1))
      refute ShapeDb.touch(stack_id, handle(1))
      refute ShapeDb.shape_has_been_activated?(stack_id, handle(1))
      add!(stack_id, shape(2), handle(1))
      refute ShapeDb.shape_has_been_activated?(stack_id, handle(1))
    end

    test "lookup gives all at once", %{stack_id: stack_id} = context do
      {:ok, hash} = ShapeDb.add_shape(stack_id, shape(1), handle(1), flags: 5)
      :ok = ShapeDb.mark_snapshot_complete(stack_id, handle(1))
      settle(context)
      assert {:ok, meta} = ShapeDb.lookup(stack_id, shape(1))

      assert meta == %{
               handle: handle(1),
               hash: hash,
               snapshot_started?: true,
               snapshot_complete?: true,
               last_read_time: ShapeDb.last_read_time(stack_id, handle(1)),
               flags: 5
             }

      before = System.monotonic_time()
      assert {:ok, touched} = ShapeDb.lookup(stack_id, shape(1), touch: true)
      assert touched.last_read_time in before..System.monotonic_time()
      assert ShapeDb.lookup(stack_id, shape(1), touch: false) == {:ok, touched}
      assert ShapeDb.reduce_meta(stack_id, [], &[&1 | &2]) == [touched]
      assert ShapeDb.lookup(stack_id, shape(2), touch: true) == :error
      assert_raise ArgumentError, fn -> ShapeDb.lookup(stack_id, shape(1), tuch: true) end
    end

    test "a start that is not persisted stays in memory", %{stack_id: stack_id} = context do
      add!(stack_id, shape(1), handle(1))
      settle(context)
      pending = ShapeDb.pending_buffer_size(stack_id)
      assert ShapeDb.mark_snapshot_started(stack_id, handle(1), persist: false) == :ok
      assert ShapeDb.snapshot_started?(stack_id, handle(1))
      refute ShapeDb.snapshot_complete?(stack_id, handle(1))
      assert ShapeDb.pending_buffer_size(stack_id) <= pending
      assert ShapeDb.mark_snapshot_started(stack_id, handle(2), persist: false) == :error
      settle(context)
      assert ShapeDb.snapshot_started?(stack_id, handle(1)) == not @restarted
      :ok = ShapeDb.mark_snapshot_complete(stack_id, handle(1))
      :ok = ShapeDb.mark_snapshot_started(stack_id, handle(1), persist: false)
      assert ShapeDb.snapshot_complete?(stack_id, handle(1))
      settle(context)
      assert ShapeDb.snapshot_complete?(stack_id, handle(1))
    end

    test "those read longest ago come first", %{stack_id: stack_id} = context do
      add_samples!(stack_id, 1..6)
      minute = System.convert_time_unit(60, :second, :native)
      now = System.monotonic_time()

      for {n, ago} <- [{1, 1}, {2, 5}, {3, 3}, {4, 5}, {5, 0}] do
        assert ShapeDb.update_last_read_time(stack_id, handle(n), now - ago * minute)
      end

      settle(context)
      # Never read, and after a restart read at its start.
      all = Enum.map([2, 4, 3, 1, 5], &handle/1)
      assert {^all, _} = ShapeDb.least_recently_used(stack_id, 5)
      assert {handles, minutes} = ShapeDb.least_recently_used(stack_id, 3)
      assert handles == Enum.take(all, 3)
      assert is_float(minutes) and minutes >= 2.9 and minutes < 4
      assert {[first], minutes} = ShapeDb.least_recently_used(stack_id, 1)
      assert {first, minutes >= 4.9} == {handle(2), true}
      assert ShapeDb.least_recently_used(stack_id, 0) == {[], 0}
      assert {more, _} = ShapeDb.least_recently_used(stack_id, 1_000)
      assert length(more) == if(@restarted, do: 6, else: 5)
    end

    test "flags are kept, counted and found", %{stack_id: stack_id} = context do
      for n <- 1..6 do
        {:ok, _} = ShapeDb.add_shape(stack_id, shape(n), handle(n), flags: rem(n, 4))
      end

      add!(stack_id, shape(7), handle(7))
      settle(context)
      assert ShapeDb.flags(stack_id, handle(7)) == 0
      assert ShapeDb.flags(stack_id, handle(8)) == nil
      assert ShapeDb.count_by_flags(stack_id, 1, 1) == 3
      assert ShapeDb.count_by_flags(stack_id, 1, 0) == 4
      assert ShapeDb.count_by_flags(stack_id, 3, 3) == 1
      assert ShapeDb.count_by_flags(stack_id, 1, 2) == 0
      assert ShapeDb.count_by_flags(stack_id, 0, 0) == 7

      assert ShapeDb.set_flags(stack_id, handle(1), 255) == :ok
      assert ShapeDb.set_flags(stack_id, handle(8), 255) == :error
      settle(context)
      assert ShapeDb.flags(stack_id, handle(1)) == 255
      assert ShapeDb.count_by_flags(stack_id, 128, 128) == 1
      assert ShapeDb.handles_by_flags(stack_id, 2, 2) == Enum.map([1, 2, 3, 6], &handle/1)

      :ok = ShapeDb.remove_shape(stack_id, handle(1))
      assert ShapeDb.count_by_flags(stack_id, 128, 128) == 0
      assert ShapeDb.handles_by_flags(stack_id, 2, 2) == Enum.map([2, 3, 6], &handle/1)
      settle(context)
      :ok = ShapeDb.reset(stack_id)
      assert ShapeDb.count_by_flags(stack_id, 0, 0) == 0
    end

    test "a stack that is not there has an answer for each", context do
      %{stack_id: stack_id} = context
      add!(stack_id, shape(1), handle(1))
      stop_store!(context)
      refute ShapeDb.has_shape_handle?(stack_id, handle(1))
      assert ShapeDb.validate_shape_handle(stack_id, handle(1), 1) == :error
      assert ShapeDb.validate_shape_handle(stack_id, handle(1), shape(1)) == :error
      refute ShapeDb.touch(stack_id, handle(1))
      refute ShapeDb.update_last_read_time(stack_id, handle(1), 1)
      assert ShapeDb.last_read_time(stack_id, handle(1)) == nil
      refute ShapeDb.shape_has_been_activated?(stack_id, handle(1))
      assert ShapeDb.least_recently_used(stack_id, 1) == {[], 0}
      assert ShapeDb.lookup(stack_id, shape(1), touch: true) == :error
      assert ShapeDb.flags(stack_id, handle(1)) == nil
      assert {:error, _} = ShapeDb.set_flags(stack_id, handle(1), 1)
      assert ShapeDb.count_by_flags(stack_id, 1, 0) == 0
      assert ShapeDb.handles_by_flags(stack_id, 1, 0) == []
      assert {:error, _} = ShapeDb.mark_snapshot_started(stack_id, handle(1), persist: false)
    end
  end
end
