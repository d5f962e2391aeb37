defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Borrowed do
  @moduledoc false
  # Which connections the calling process has on loan. Who has the one that writes would
  # wait for itself with whatever waits for that connection: it is told so instead.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native

  @doc "Runs `fun` while the process has a connection of the store on loan."
  @spec within(Native.store(), :read | :write, (... -> result)) :: result when result: term()
  def within(store, mode, fun) do
    key = {__MODULE__, store, kind(store, mode)}
    before = Process.put(key, Process.get(key, 0) + 1)

    try do
      fun.()
    after
      if before, do: Process.put(key, before), else: Process.delete(key)
    end
  end

  @doc "Whether the process may wait for the connection that writes."
  @spec check(Native.store(), String.t()) :: :ok | {:error, String.t()}
  def check(store, what) do
    if writer?(store), do: refusal(what), else: :ok
  end

  @doc "Whether the process has the connection that writes."
  @spec writer?(Native.store()) :: boolean()
  def writer?(store), do: Process.get({__MODULE__, store, :write}) != nil

  @doc "The answer to one who would wait for itself."
  @spec refusal(String.t()) :: {:error, String.t()}
  def refusal(what) do
    {:error,
     "this process has the write connection of the stack checked out, for which " <>
       "#{what} would wait; do it after the checkout, or in it by SQL"}
  end

  @doc "Whether the process may wait for another connection of this kind."
  @spec check_checkout(Native.store(), :read | :write, pos_integer()) ::
          :ok | {:error, String.t()}
  def check_checkout(store, mode, readers) do
    if kind(store, mode) == :write or Process.get({__MODULE__, store, :read}, 0) < readers do
      if kind(store, mode) == :write, do: check(store, "another checkout of it"), else: :ok
    else
      {:error, "this process has all #{readers} read connections of the stack checked out"}
    end
  end

  # In exclusive mode there is one for everything.
  defp kind(store, mode), do: if(Native.is_exclusive(store), do: :write, else: mode)
end
