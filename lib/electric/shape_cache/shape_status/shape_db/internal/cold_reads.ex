defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.ColdReads do
  @moduledoc false
  # Reads of the disk, so few at a time that a stalled one does not take all the threads
  # that the VM has for files. Who comes when there is no room stands in line, without
  # holding anything.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Waits

  @timeout 30_000

  @doc "Runs `read` with a permit, which it uses up. Waits for one at most `timeout`."
  @spec read((Native.permit() -> result), timeout()) :: result | {:error, String.t()}
        when result: term()
  def read(read, timeout \\ @timeout) do
    ref = make_ref()

    case Native.ask_permit(ref) do
      {:ok, permit} ->
        read.(permit)

      {:wait, owed} ->
        case Waits.await(ref, timeout, owed) do
          {:ok, permit} -> read.(permit)
          :timeout -> {:error, overdue(timeout)}
        end
    end
  end

  defp overdue(timeout) do
    {reading, waiting} = Native.permits()

    "shapes that are not in memory are read by #{reading} others, and #{waiting} more wait: " <>
      "there was no turn within #{timeout} ms; the disk is slow, or `cache_size` too small"
  end
end
