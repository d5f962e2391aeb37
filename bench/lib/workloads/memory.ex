defmodule Bench.Workloads.Memory do
  @moduledoc """
  What a shape costs: bytes of memory once committed, bytes of memory while it is
  pending, and bytes of file. Memory is measured in a fresh VM, as the growth of
  what is not backed by a file.
  """

  @behaviour Bench.Workload

  alias Bench.{Config, Probe, Sample, Shapes, Stock, Store, Workload}

  @file_size 20_000
  @pending 20_000
  @looked_up 20_000

  @impl true
  def workloads(config) do
    size = Enum.max(config.sizes)
    resident = "resident_bytes_per_shape_#{Config.size_name(size)}"

    [
      %Workload{
        names: ["file_bytes_per_shape"],
        run: fn side ->
          bytes = Stock.bytes(Stock.directory(config, side, @file_size))
          [Sample.new("file_bytes_per_shape", "bytes", bytes / @file_size)]
        end,
        rounds: 1
      },
      %Workload{
        names: [resident],
        run: fn side ->
          arguments =
            {side, Stock.directory(config, side, size), Config.fresh_directory(config), size}

          [Sample.new(resident, "bytes", Probe.run({__MODULE__, :resident}, arguments) / size)]
        end,
        rounds: 2
      },
      %Workload{
        names: ["pending_bytes_per_shape"],
        run: fn side ->
          arguments = {side, Config.fresh_directory(config)}
          bytes = Probe.run({__MODULE__, :pending}, arguments)
          [Sample.new("pending_bytes_per_shape", "bytes", bytes / @pending)]
        end,
        rounds: 2
      }
    ]
  end

  @doc "A probe: the memory that a store of `size` shapes takes after a restart and some lookups."
  def resident({side, stock, empty, size}) do
    Store.with_store(side, empty, fn _store -> :ok end)
    before = Probe.resident_bytes()

    Store.with_store(side, stock, fn %{db: db, stack_id: id} ->
      {:ok, [], ^size} = db.validate_existing_shapes(id)

      in_another_process(fn ->
        for {handle, shape} <- Shapes.scattered(size, 1, @looked_up) do
          {:ok, ^handle} = db.handle_for_shape(id, shape)
        end
      end)

      Probe.resident_bytes() - before
    end)
  end

  @doc "A probe: the memory that added shapes take while none of them can be committed."
  def pending({side, directory}) do
    Store.with_store(side, directory, fn %{db: db, stack_id: id} ->
      :ok = side.write_buffer.pause_flush(id)
      before = Probe.resident_bytes()

      in_another_process(fn ->
        for index <- 0..(@pending - 1) do
          {handle, shape} = Shapes.at(index)
          {:ok, _hash} = db.add_shape(id, shape, handle)
        end
      end)

      bytes = Probe.resident_bytes() - before
      @pending = db.pending_buffer_size(id)
      :ok = side.write_buffer.resume_flush(id)
      bytes
    end)
  end

  # So that the garbage of the calls goes away with it.
  defp in_another_process(fun) do
    fn -> fun.() && :ok end |> Task.async() |> Task.await(:infinity)
  end
end
