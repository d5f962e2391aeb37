defmodule ElectricShapeDb.Torture.Victim do
  @moduledoc """
  A VM that is killed while it works. It gets its job over stdin, and over stdout
  tells what it found when it opened the store, then each step as it is
  acknowledged: written to the pipe before the next step, so that what it did not
  tell of is at most one step a worker.
  """

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias ElectricShapeDb.PeerVM
  alias ElectricShapeDb.Torture.Plan

  @stack "torture"
  @sync 1
  @buffered 0

  @type job :: %{
          required(:opts) => keyword(),
          required(:seed) => integer(),
          required(:cycle) => pos_integer(),
          required(:workers) => pos_integer(),
          # Milliseconds between two steps of a worker.
          optional(:pace) => pos_integer()
        }

  @doc "The life of the VM, from boot to its killing or to the end of stdin."
  @spec main() :: no_return()
  def main do
    {:ok, stdin} = :file.open("/dev/stdin", [:raw, :binary, :read])
    {:ok, _} = Application.ensure_all_started(:electric_shape_db)
    :telemetry.start()
    degraded = [:electric, :shape_db, :durability, :degraded]
    :ok = :telemetry.attach(:torture, degraded, &__MODULE__.note_degraded/4, nil)
    out = stdout()
    tell(out, :ready)

    with {:ok, <<length::32>>} <- :file.read(stdin, 4),
         {:ok, job} <- :file.read(stdin, length) do
      run(out, :erlang.binary_to_term(job))
      :file.read(stdin, 1)
    end

    System.halt(0)
  end

  defp run(out, job) do
    case PeerVM.run_store(@stack, job.opts) do
      :ok ->
        found = found()
        tell(out, {:found, found})
        for worker <- 1..job.workers, do: spawn(fn -> work(job, worker, found) end)

      error ->
        tell(out, {:unopenable, error})
    end
  end

  # Opened by name, so that a write is one system call and not a port's promise.
  defp stdout do
    {:ok, out} = :file.open("/dev/stdout", [:raw, :binary, :append])
    out
  end

  @doc "What lookups and lists say there is, which must be the same."
  @spec found(String.t()) :: [{String.t(), Electric.Shapes.Shape.t(), Plan.snapshot()}]
  def found(stack \\ @stack) do
    shapes = ShapeDb.list_shapes!(stack)
    {:ok, count} = ShapeDb.count_shapes(stack)
    ^count = length(shapes)

    for {handle, shape} <- shapes do
      {:ok, ^handle} = ShapeDb.handle_for_shape(stack, shape)
      {:ok, ^shape} = ShapeDb.shape_for_handle(stack, handle)
      {handle, shape, snapshot(stack, handle)}
    end
  end

  defp snapshot(stack, handle) do
    cond do
      ShapeDb.snapshot_complete?(stack, handle) -> :complete
      ShapeDb.snapshot_started?(stack, handle) -> :started
      true -> :none
    end
  end

  defp work(job, worker, found) do
    shapes =
      for {handle, _, snapshot} <- found, Plan.worker(handle) == worker, do: {handle, snapshot}

    plan = Plan.new(job.seed, job.cycle, worker, Map.new(shapes))
    take_steps(stdout(), plan, job[:pace])
  end

  defp take_steps(out, plan, pace) do
    {{operation, handle, durability} = step, plan} = Plan.next(plan)

    case take(operation, handle, durability: durability) do
      done when done == :ok or elem(done, 0) == :ok ->
        tell(out, <<plan.worker, kept(durability), plan.step::32>>)
        if pace, do: Process.sleep(pace)
        take_steps(out, plan, pace)

      refused ->
        tell(out, {:refused, step, refused})
    end
  end

  defp take(operation, handle, opts) when operation in [:add, :again],
    do: ShapeDb.add_shape(@stack, Plan.shape(handle), handle, opts)

  defp take(:remove, handle, opts), do: ShapeDb.remove_shape(@stack, handle, opts)
  defp take(:started, handle, opts), do: ShapeDb.mark_snapshot_started(@stack, handle, opts)
  defp take(:complete, handle, opts), do: ShapeDb.mark_snapshot_complete(@stack, handle, opts)

  # What an acknowledgement promised: a bounded wait that ran out says so.
  defp kept(:buffered), do: @buffered
  defp kept(_sync), do: if(Process.delete(:degraded), do: @buffered, else: @sync)

  @doc false
  def note_degraded(_event, _measurements, _metadata, _config), do: Process.put(:degraded, true)

  defp tell(out, frame) when is_binary(frame),
    do: :ok = :file.write(out, <<byte_size(frame)::32, frame::binary>>)

  defp tell(out, term), do: tell(out, :erlang.term_to_binary(term))
end
