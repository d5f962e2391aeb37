defmodule ElectricShapeDb.TermsTest do
  @moduledoc """
  Shapes that are read often are kept as terms. They are what was added, within the bound
  of the cache, and gone with their store.
  """

  use ElectricShapeDb.StoreCase, async: true

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores
  alias ElectricShapeDb.Fixtures

  # The first read of a shape from memory is noted, the second makes the term.
  @often 4

  describe "a shape that is read often" do
    for {name, opts} <- ElectricShapeDb.Matrix.configurations() do
      @tag store: opts
      test "is the one that was added, pending and committed (#{name})", context do
        %{stack_id: stack_id} = context
        start_store!(context)
        shapes = for n <- 1..100, do: {handle(n), shape_on(rem(n, 7), n)}
        for {handle, shape} <- shapes, do: add!(stack_id, shape, handle)

        read_often!(stack_id, shapes)
        assert statistics!(stack_id).cache_terms == 100
        flush!(stack_id)
        read_often!(stack_id, shapes)

        if context.store[:storage_dir] != ":memory:" do
          restart_store!(context)
          read_often!(stack_id, shapes)
          assert statistics!(stack_id).cache_terms == 100
        end
      end
    end

    test "is not served once it was removed", %{stack_id: stack_id} = context do
      start_store!(context)

      for n <- 1..50 do
        read_often!(stack_id, [{add!(stack_id, shape(n), handle(1)), shape(n)}])
        assert ShapeDb.remove_shape(stack_id, handle(1)) == :ok
        assert ShapeDb.shape_for_handle(stack_id, handle(1)) == :error
      end
    end

    test "is not served after a reset", %{stack_id: stack_id} = context do
      start_store!(context)
      add_samples!(stack_id, 1..50)
      read_often!(stack_id, for(n <- 1..50, do: {handle(n), shape(n)}))
      assert ShapeDb.reset(stack_id) == :ok
      assert ShapeDb.shape_for_handle(stack_id, handle(1)) == :error
      assert %{cache_terms: 0, cache_bytes: 0} = statistics!(stack_id)
    end

    # Those beyond 64 bytes are shared by all copies.
    test "keeps its large binaries when its page is gone", %{stack_id: stack_id} = context do
      start_store!(context, cache_size: 1_000_000)
      long = fn n -> shape(String.duplicate("long #{n} ", 50)) end
      for n <- 1..2_000, do: add!(stack_id, long.(n), handle(n))
      kept = for n <- 1..2_000, do: often(fn -> ShapeDb.shape_for_handle(stack_id, handle(n)) end)
      stop_store!(context)
      assert kept == for(n <- 1..2_000, do: {:ok, long.(n)})
    end
  end

  # Each handle has a writer of its own, which knows at any time what may be read.
  @tag timeout: 120_000
  test "readers beside adds, removals and other shapes under the same handles", context do
    %{stack_id: stack_id} = context
    # So few bytes that pages come and go.
    start_store!(context, cache_size: 600_000)
    versions = :counters.new(200, [])
    add = fn n, version -> add!(stack_id, shape_on(rem(n, 5), "#{n}.#{version}"), handle(n)) end
    for n <- 1..200, do: add.(n, 0)

    readers =
      for _ <- 1..8 do
        Task.async(fn -> read_until_told(stack_id, versions, 0) end)
      end

    writers =
      for part <- Enum.chunk_every(1..200, 50) do
        Task.async(fn ->
          for version <- 1..40, n <- part do
            assert ShapeDb.remove_shape(stack_id, handle(n)) == :ok
            assert ShapeDb.shape_for_handle(stack_id, handle(n)) == :error
            # Before it can be read, so that a reader never sees more than it may.
            :counters.put(versions, n, version)
            add.(n, version)

            for _ <- 1..@often do
              assert ShapeDb.shape_for_handle(stack_id, handle(n)) ==
                       {:ok, shape_on(rem(n, 5), "#{n}.#{version}")}
            end
          end
        end)
      end

    Task.await_many(writers, :infinity)
    for %Task{pid: pid} <- readers, do: send(pid, :enough)
    assert Enum.all?(Task.await_many(readers), &(&1 > 0))
    read_often!(stack_id, for(n <- 1..200, do: {handle(n), shape_on(rem(n, 5), "#{n}.40")}))
  end

  defp read_until_told(stack_id, versions, reads) do
    receive do
      :enough -> reads
    after
      0 ->
        n = :rand.uniform(200)
        before = :counters.get(versions, n)

        with {:ok, shape} <- ShapeDb.shape_for_handle(stack_id, handle(n)) do
          # One that was there at some moment of the call.
          between = max(before - 1, 0)..:counters.get(versions, n)
          assert Enum.any?(between, &(shape == shape_on(rem(n, 5), "#{n}.#{&1}")))
        end

        read_until_told(stack_id, versions, reads + 1)
    end
  end

  describe "the cache" do
    test "is not larger for terms", %{stack_id: stack_id} = context do
      start_store!(context, cache_size: 1_000_000)
      shapes = Fixtures.bench_shapes() |> Enum.take(4_000)
      for {handle, shape} <- shapes, do: add!(stack_id, shape, handle)
      flush!(stack_id)

      for asked_for <- [300, 4_000, 300] do
        shapes = Enum.take(shapes, asked_for)

        for _ <- 1..20 do
          for {handle, shape} <- Enum.take_random(shapes, 500) do
            assert ShapeDb.shape_for_handle(stack_id, handle) == {:ok, shape}
          end

          assert statistics!(stack_id).cache_bytes <= 1_000_000
        end

        assert statistics!(stack_id).cache_terms > 0
      end
    end

    for size <- [0, 100_000] do
      test "has no terms when it is as small as #{size} bytes", %{stack_id: stack_id} = context do
        start_store!(context, cache_size: unquote(size))
        add_samples!(stack_id, 1..100)
        read_often!(stack_id, for(n <- 1..100, do: {handle(n), shape(n)}))
        assert statistics!(stack_id).cache_terms == 0
      end
    end

    test "is freed when the store closes, whoever still has it", context do
      %{stack_id: stack_id} = context
      start_store!(context)
      add_samples!(stack_id, 1..1_000)
      read_often!(stack_id, for(n <- 1..1_000, do: {handle(n), shape(n)}))
      {:ok, store} = Stores.fetch(stack_id)
      assert %{cache_terms: 1_000} = Native.statistics(store)
      stop_store!(context)
      eventually(fn -> match?(%{cache_terms: 0, cache_bytes: 0}, Native.statistics(store)) end)
    end
  end

  defp read_often!(stack_id, shapes) do
    for _ <- 1..@often, {handle, shape} <- shapes do
      assert ShapeDb.shape_for_handle(stack_id, handle) === {:ok, shape}
    end
  end

  defp often(fun), do: Enum.reduce(1..@often, nil, fn _, _ -> fun.() end)

  defp statistics!(stack_id) do
    {:ok, statistics} = ShapeDb.statistics(stack_id)
    statistics
  end
end
