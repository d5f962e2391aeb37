defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Definitions do
  @moduledoc false
  # The definitions of shapes: that of one, and those of all, some at a time. What is in
  # memory is parsed from there; `ColdReads` reads what is not.

  import Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Shapes, only: [is_shape: 1]

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Error
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.ColdReads
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Shapes
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores

  # Shapes that are read in one go, and share what they have in common.
  @shapes_at_once 1024

  # How often a row may be gone when it is read.
  @tries 3

  @doc "The shape that has this handle. Raises when the store does not answer."
  @spec shape(String.t(), binary()) :: {:ok, Shapes.shape()} | :error
  def shape(stack_id, handle), do: shape(stack_id, stack_id, handle)

  # `stack` is the id, or the store of who goes on with what it began.
  defp shape(stack, stack_id, handle) do
    with :unusable <- read(stack, stack_id, handle, @tries),
         do: give_up(store!(stack, stack_id), stack_id, handle)
  end

  defp store!(stack_id, stack_id), do: Stores.fetch!(stack_id, :shape_for_handle)
  defp store!(store, _stack_id), do: store

  # A definition that is none would be read again and again. Now that it is known in which row
  # the handle is, it is read once more: what was added under it since is not given up.
  defp give_up(store, stack_id, handle) do
    row = Native.row(store, handle)

    with :unusable <- read(store, stack_id, handle, @tries) do
      :ok = Native.lose(store, handle, row, "its definition is not a shape")
      :error
    end
  end

  # A row that is gone when it is read was removed, by this store or by the one it
  # follows, and its handle may be there again under another row.
  defp read(_stack, _stack_id, _handle, 0), do: :error

  defp read(stack, stack_id, handle, tries) do
    case Native.shape(stack, handle) do
      {:ok, shape} when is_shape(shape) ->
        {:ok, shape}

      # Not for a scheduler that others need.
      :large ->
        found(Native.large_shape(stack, handle), stack, stack_id, handle, tries)

      other ->
        found(other, stack, stack_id, handle, tries)
    end
  end

  defp found({:ok, shape}, _stack, _stack_id, _handle, _tries) when is_shape(shape),
    do: {:ok, shape}

  defp found({:ok, _other}, _stack, _stack_id, _handle, _tries), do: :unusable

  defp found({:body, body}, _stack, _stack_id, _handle, _tries) do
    with :error <- Shapes.parse(body), do: :unusable
  end

  defp found(:cold, stack, stack_id, handle, tries) do
    case ColdReads.body(store!(stack, stack_id), handle) do
      :gone -> read(stack, stack_id, handle, tries - 1)
      {:error, reason} -> raise Error, action: :shape_for_handle, error: reason
      read -> found(read, stack, stack_id, handle, tries)
    end
  end

  defp found(other, _stack, stack_id, _handle, _tries),
    do: answer(other, stack_id, :shape_for_handle)

  @doc """
  Folds over all shapes there were at the call and are still there when their turn comes, in
  no order. Raises when the store does not answer; `action` names what failed.
  """
  @spec fold(String.t(), atom(), acc, ({binary(), Shapes.shape()}, acc -> acc)) :: acc
        when acc: term()
  def fold(stack_id, action, acc, fun) do
    store = Stores.fetch!(stack_id, action)
    cursor = answer(Native.cursor(store), stack_id, action)
    fold_pieces(store, cursor, {stack_id, action}, acc, fun)
  end

  defp fold_pieces(store, cursor, {stack_id, action} = whose, acc, fun) do
    case ColdReads.shapes(store, cursor, @shapes_at_once) do
      :done ->
        acc

      piece ->
        items = read!(piece, stack_id, action)
        acc = fold_items(items, acc, fun, &shape(store, stack_id, &1))
        fold_pieces(store, cursor, whose, acc, fun)
    end
  end

  defp fold_items([], acc, _fun, _again), do: acc

  defp fold_items([{_handle, shape} = item | items], acc, fun, again) when is_shape(shape),
    do: fold_items(items, fun.(item, acc), fun, again)

  defp fold_items([{handle, other} | items], acc, fun, again) do
    case is_binary(other) && Shapes.parse(other) do
      {:ok, shape} ->
        fold_items(items, fun.({handle, shape}, acc), fun, again)

      # It went in the meantime and may have been added again, or it is no shape.
      _none ->
        case again.(handle) do
          {:ok, shape} -> fold_items(items, fun.({handle, shape}, acc), fun, again)
          :error -> fold_items(items, acc, fun, again)
        end
    end
  end

  defp read!({:ok, read}, _stack_id, _action), do: read
  defp read!({:error, reason}, _stack_id, action), do: raise(Error, action: action, error: reason)

  defp read!(_unreadable, stack_id, action) do
    raise Error, action: action, error: Stores.not_running(stack_id)
  end

  defp answer(unreadable, stack_id, action) when unreadable in [:closed, :opening, :poisoned] do
    raise Error, action: action, error: Stores.not_running(stack_id)
  end

  defp answer(answer, _stack_id, _action), do: answer
end
