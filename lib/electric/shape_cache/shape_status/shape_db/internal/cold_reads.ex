defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.ColdReads do
  @moduledoc false
  # Reads of the file, for a body that is not in memory. The stores have threads for them:
  # a process waits for a message, and no scheduler for the disk. Of a list, what can
  # be had without waiting is read where it is parsed.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Borrowed
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Waits

  @timeout 30_000

  # So many shapes are looked up on a normal scheduler.
  @asked_at_once 256

  @doc """
  The shape that has this handle; `:gone` when there is none any more, and its body in
  place of one that only `:erlang.binary_to_term/1` can parse, if anything can.
  """
  @spec body(Native.store(), binary(), timeout()) :: Native.read_body() | {:error, String.t()}
  def body(store, handle, timeout \\ @timeout) do
    read(store, timeout, &Native.ask_body(store, handle, &1, &2), fn owed ->
      # Not for a scheduler that others need.
      with :large <- Native.take_body(store, owed), do: Native.take_large_body(store, owed)
    end)
  end

  @doc """
  The next shapes of a cursor, up to `len`. There is `nil` in place of one that is gone, and
  a body as above.
  """
  @spec shapes(Native.store(), reference(), pos_integer(), timeout()) ::
          Native.read_shapes() | {:error, String.t()}
  def shapes(store, cursor, len, timeout \\ @timeout) do
    with :ask <- Native.shapes_at_once(store, cursor, len) do
      ask = &Native.ask_shapes(store, cursor, min(len, @asked_at_once), &1, &2)
      read(store, timeout, ask, &Native.take_shapes(store, &1))
    end
  end

  defp read(store, timeout, ask, take) do
    ref = make_ref()
    owed = ask.(Borrowed.writer?(store), ref)

    with {:ok, :here} <- Waits.await(ref, timeout, owed),
         :borrowed <- take.(owed) do
      Borrowed.refusal("a shape that is not in memory")
    else
      :timeout -> {:error, overdue(store, timeout)}
      answer -> answer
    end
  end

  defp overdue(store, timeout) do
    "a shape that is not in memory was not read within #{timeout} ms, and " <>
      "#{Native.waiting_reads(store)} reads wait for those before them: " <>
      "the disk is slow, `cache_size` too small, or the one connection of exclusive mode lent"
  end
end
