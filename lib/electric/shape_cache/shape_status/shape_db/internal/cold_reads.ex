defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.ColdReads do
  @moduledoc false
  # Reads of the file, for a body that is not in memory, in all modes. Who reads is decided
  # here and nowhere else:
  #
  # - the caller, on a dirty scheduler and a read connection of its own, with a permit.
  #   Permits are so few that a stalled disk does not take all the threads that the VM has
  #   for files. Who comes when there is none stands in line, without holding anything;
  # - the writer, between two batches, in exclusive mode, in which it has the only
  #   connection; and when the caller's read failed, since the writer sees to the file first.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Borrowed
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Waits

  # For a permit, and for the answer of the writer.
  @timeout 30_000

  @doc "The body of the shape that has this handle; `nil` when it is gone."
  @spec body(Native.store(), binary()) ::
          {:ok, binary() | nil} | {:error, String.t()} | Native.unreadable()
  def body(store, handle) do
    read(store, @timeout, &Native.read_body(store, handle, &1), fn ->
      with :ok <- may_wait(store), do: ask(@timeout, &Native.ask_body(store, handle, &1))
    end)
  end

  @doc """
  The next shapes of a cursor, up to `len`. There is `nil` in place of one that is gone, and
  its body in place of one that only `:erlang.binary_to_term/1` can parse, if anything can.
  """
  @spec shapes(Native.store(), reference(), pos_integer(), timeout()) ::
          {:ok, [{binary(), term()}]} | :done | {:error, String.t()} | Native.unreadable()
  def shapes(store, cursor, len, timeout \\ @timeout) do
    read(store, timeout, &Native.next_shapes(store, cursor, len, &1), fn ->
      waits = may_wait(store)

      case ask(timeout, &Native.ask_shapes(store, cursor, len, waits == :ok, &1)) do
        {:ok, bodies} -> Native.parse_shapes(bodies)
        # None of them is read that would have to wait.
        :cold -> waits
        other -> other
      end
    end)
  end

  defp read(store, timeout, by_caller, by_writer) do
    if Native.is_exclusive(store) do
      by_writer.()
    else
      with {:error, _reason} = read <- with_permit(by_caller, timeout),
           {:error, _reason} <- by_writer.(),
           do: read
    end
  end

  @doc "Runs `read` with a permit, which it uses up. Waits for one at most `timeout`."
  @spec with_permit((Native.permit() -> result), timeout()) :: result | {:error, String.t()}
        when result: term()
  def with_permit(read, timeout \\ @timeout) do
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

  defp may_wait(store), do: Borrowed.check(store, "a shape that is not in memory")

  defp ask(timeout, ask) do
    ref = make_ref()
    owed = ask.(ref)

    case Waits.await(ref, timeout, owed) do
      {:ok, answer} -> answer
      :timeout -> {:error, "the one connection did not answer within #{timeout} ms"}
    end
  end
end
