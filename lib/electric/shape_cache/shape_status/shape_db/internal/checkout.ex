defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Checkout do
  @moduledoc false
  # How a process gets a connection, and what becomes of the connection. It is returned when
  # the function ends, however that is, and by its resource when the process dies.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Connection
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Error
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Borrowed
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Waits
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Telemetry

  @doc "Runs `fun` with a store and the slot of a connection of it, as `Connection.checkout!/4`."
  @spec run(
          :read | :write,
          String.t(),
          term(),
          ({Native.store(), non_neg_integer()} -> result),
          timeout()
        ) :: result
        when result: term()
  def run(mode, stack_id, label, fun, timeout) do
    store = Stores.fetch!(stack_id, :checkout)
    check!(mode, store, stack_id)
    started = System.monotonic_time()
    {lease, slot, waited?} = ask(mode, store, stack_id, label, timeout)

    try do
      waited = if waited?, do: System.monotonic_time() - started, else: 0

      Telemetry.execute(
        [:pool, :checkout],
        %{queue_time_μs: System.convert_time_unit(waited, :native, :microsecond)},
        %{label: label, stack_id: stack_id}
      )

      Borrowed.within(store, mode, fn -> fun.({store, slot}) end)
    after
      Native.give_back(lease)
    end
  end

  defp check!(mode, store, stack_id) do
    # A stack that ends in this moment has no options; then the checkout says so.
    readers = with {_, options, _} <- Stores.get(stack_id), do: options.read_pool_size

    with {:error, reason} <- Borrowed.check_checkout(store, mode, readers || 1) do
      raise Error, action: :checkout, error: reason
    end
  end

  defp ask(mode, store, stack_id, label, timeout) do
    ref = make_ref()

    asked =
      if mode == :read, do: Native.ask_reader(store, ref), else: Native.ask_writer(store, ref)

    case Waits.await(ref, timeout, owed(asked)) do
      {:ok, answer} -> granted(answer, asked, label)
      :timeout -> exit({:timeout, {Connection, :checkout!, [stack_id, label, timeout]}})
    end
  end

  defp granted({:ok, lease, slot}, asked, _label) do
    {lease, slot, match?({:wait, _owed, false}, asked)}
  end

  defp granted({:error, reason}, _asked, label) do
    raise Error,
      action: :checkout,
      error: "#{reason} (#{inspect(label)})"
  end

  defp owed(:asked), do: nil
  defp owed({:wait, owed, _at_once?}), do: owed
end
