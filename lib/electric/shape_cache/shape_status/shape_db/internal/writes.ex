defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Writes do
  @moduledoc false
  # How a change is made: tried at once, after a wait for room or for the store to
  # become the writer when it must, and acknowledged as the durability asks.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Arguments
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Borrowed
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Change
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Flags
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Options
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Telemetry
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Waits

  # How long becoming the writer may take: it reads all that another one wrote.
  @promote_timeout 60_000

  @doc "Makes a change. Gives `:ok`, or `{:error, reason}` with nothing changed."
  @spec run(String.t(), Change.t(), keyword()) :: :ok | {:error, term()}
  def run(stack_id, change, opts) do
    with {:error, :closed} <- change(durability!(opts), stack_id, change),
         do: {:error, Stores.closed(stack_id)}
  end

  defp change(durability, stack_id, change) when durability in [nil, :buffered] do
    {stack, given} = Flags.at_once(stack_id, change)

    case Change.make(given, stack, nil) do
      {:ok, _seq} ->
        :ok

      {:error, reason} when reason in [:full, :standby, :options] ->
        wait(durability, stack_id, change)

      refused ->
        refused
    end
  end

  defp change(durability, stack_id, change), do: wait(durability, stack_id, change)

  # Whoever waits goes on with the store that they began with, and its options: the stack may
  # have another by then, with numbers and a function of flags of its own.
  defp wait(durability, stack_id, change) do
    with {store, options, _about} <- Stores.get(stack_id),
         durability = durability || options.durability,
         :ok <- may_wait(store, durability),
         change = Flags.given(change, options),
         {:ok, seq} <- attempt({stack_id, store, options}, change, nil) do
      acknowledge(store, stack_id, seq, durability)
    else
      nil -> {:error, :closed}
      refused -> refused
    end
  end

  # Asked before anything is done. Other durabilities wait for a bounded time, if at all.
  defp may_wait(store, :sync), do: Borrowed.check(store, "a change that is to be durable")
  defp may_wait(_store, _durability), do: :ok

  # An ill-typed argument is the caller's mistake, not an outcome.
  defp durability!([]), do: nil
  # `nil` is the stack's own.
  defp durability!(durability: mode), do: checked!(Options.check(:durability, mode), mode)

  defp durability!(other) do
    raise ArgumentError, "the one option is :durability, not #{Arguments.shown(other)}"
  end

  defp checked!(:ok, mode), do: mode
  defp checked!({:error, reason}, _mode), do: raise(ArgumentError, reason)

  defp attempt({stack_id, store, options} = stack, change, ticket) do
    case Change.make(change, store, ticket) do
      {:ok, _seq} = done ->
        done

      {:error, :full} ->
        wait_for_room(stack, change)

      {:error, :standby} ->
        with :ok <- promote(stack_id, store, options), do: attempt(stack, change, ticket)

      {:error, reason} ->
        {:error, reason}
    end
  end

  defp wait_for_room({_stack_id, store, options} = stack, change) do
    ref = make_ref()

    with :ok <- Borrowed.check(store, "room in the full queue") do
      case Native.wait_for_room(store, Change.bytes(change), ref) do
        :room -> attempt(stack, change, nil)
        {:wait, ticket, owed} -> await_room(stack, options, change, {ref, ticket, owed})
      end
    end
  end

  defp await_room(stack, options, change, {ref, ticket, owed}) do
    case Waits.await(ref, options.pending_timeout, owed) do
      {:ok, :room} ->
        result = attempt(stack, change, ticket)
        # A change that was refused did not use the room: it goes to the next in line.
        Native.take_back(owed)
        result

      :timeout ->
        {:error, :overloaded}
    end
  end

  @doc """
  Makes the store the writer of its file, with all that another one wrote, and its
  flags what the options say.
  """
  @spec promote(String.t(), Native.store(), Options.t(), timeout()) :: :ok | {:error, term()}
  def promote(stack_id, store, options, timeout \\ @promote_timeout) do
    ref = make_ref()

    with :ok <- Borrowed.check(store, "becoming the writer of the file") do
      owed = Native.promote(store, ref)

      case Waits.await(ref, timeout, owed) do
        {:ok, :ok} -> Flags.renew(stack_id, store, options)
        {:ok, result} -> result
        :timeout -> {:error, :timeout}
      end
    end
  end

  defp acknowledge(_store, _stack_id, _seq, :buffered), do: :ok

  defp acknowledge(store, _stack_id, seq, :sync) do
    case await_commit(store, seq, :infinity) do
      :durable -> :ok
      reason -> {:error, {:not_durable, reason}}
    end
  end

  defp acknowledge(store, stack_id, seq, {:sync, timeout}) do
    case await_commit(store, seq, timeout) do
      :durable ->
        :ok

      :timeout ->
        Telemetry.execute([:durability, :degraded], %{waited_ms: timeout}, %{stack_id: stack_id})

      reason ->
        {:error, {:not_durable, reason}}
    end
  end

  @doc """
  Has everything up to this number committed, also while flushing is paused or
  manual: `:durable`, `:timeout`, or why it never will be.
  """
  @spec await_commit(Native.store(), Native.seq(), timeout()) :: atom()
  def await_commit(store, seq, timeout) do
    :ok = Native.flush_to(store, seq)
    await(store, seq, timeout)
  end

  defp await(store, seq, timeout) do
    ref = make_ref()

    case Native.wait(store, seq, ref) do
      {:wait, owed} ->
        with {:ok, outcome} <- Waits.await(ref, timeout, owed), do: outcome

      outcome ->
        outcome
    end
  end
end
