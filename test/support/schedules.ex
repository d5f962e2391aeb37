defmodule ElectricShapeDb.Schedules do
  @moduledoc "Which of the functions of `Native` keep a scheduler, run in a VM of its own."

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Stores
  alias ElectricShapeDb.Samples

  # The work on megabytes takes more on the fastest machine, and a scheduler that lost
  # its processor to somebody else for so long is rare.
  @kept_ms 15

  @doc "Calls those that take bytes with so many, and gives what the system told of."
  @spec kept_by_large(String.t(), pos_integer()) :: [term()]
  def kept_by_large(stack_id, bytes) do
    {:ok, store} = Stores.fetch(stack_id)
    :ok = ShapeDb.WriteBuffer.pause_flush(stack_id)
    shape = Samples.shape(1, where: %{query: String.duplicate("x", bytes), returns: :bool})
    comparable = :erlang.term_to_binary(Samples.comparable(shape))
    body = :erlang.term_to_binary(shape)

    {worker, monitor} =
      spawn_monitor(fn -> receive(do: (:go -> call(store, comparable, body))) end)

    :erlang.system_monitor(self(), long_schedule: @kept_ms)
    send(worker, :go)
    receive do: ({:DOWN, ^monitor, :process, ^worker, :normal} -> told_of(worker))
  end

  defp call(store, comparable, body) do
    {:ok, _} = Native.add_large(store, "handle", comparable, 1, [1], body, false, nil, false)
    :error = Native.handle_for_large(store, body)
    {:ok, _} = Native.handle_for_large(store, comparable)
    :large = Native.shape(store, "handle")
    {:ok, _shape} = Native.large_shape(store, "handle")
    false = Native.handle_exists(store, body)
    :error = Native.snapshot(store, body)
    :error = Native.shape(store, body)
    {:error, :unknown} = Native.remove(store, body, nil, false)
    {:error, :unknown} = Native.mark(store, body, :started, nil, false)
    {:error, {:handle_length, _}} = Native.note_unknown(store, :remove, body, nil)
    :unknown = Native.pending_change(store, body)
    [_] = Native.unknown_handles(store, [body])
    {:ok, _} = Native.pending_handle(store, comparable)
    {:ok, _} = Native.pending_body(store, "handle")
  end

  defp told_of(worker) do
    receive do
      {:monitor, ^worker, :long_schedule, info} -> [info | told_of(worker)]
    after
      100 -> []
    end
  end
end
