defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Change do
  @moduledoc false
  # A change as it is asked for, and how the native side is asked to make it. A tuple and no
  # function: to make one takes a hundredth of an add.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Shapes
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Storable

  @type t ::
          {:add, Shapes.shape(), handle(), comparable :: binary(), hash :: non_neg_integer(),
           oids :: [non_neg_integer()], flags :: byte() | nil, body :: binary()}
          | {:remove, handle()}
          | {:mark, handle(), :started | :complete}
          | {:set_flags, handle(), byte()}
          | {:noted, t(), handle(), :remove | :snapshot_started | :snapshot_complete}

  @type handle :: binary()
  @type ticket :: reference() | nil

  # What takes long to hash and to copy goes to a dirty scheduler.
  @large 65_536
  @many_oids 1_000

  @doc "How many bytes it brings."
  @spec bytes(t()) :: non_neg_integer()
  def bytes({:add, _shape, _handle, _comparable, _hash, _oids, _flags, body}),
    do: byte_size(body)

  def bytes(_other), do: 0

  @doc """
  Makes it, with a ticket for room if there is one. One that is `:noted` takes its turn in
  the queue also when no shape has the handle.
  """
  @spec make(t(), Native.stack(), ticket()) :: Native.changed()
  def make({:add, shape, _handle, comparable, _hash, _oids, _flags, _body} = add, stack, ticket) do
    with {:error, :suspicious} <- add(add, stack, false, ticket),
         :ok <- Storable.check(shape, comparable) do
      add(add, stack, true, ticket)
    end
  end

  def make({:remove, handle}, stack, ticket), do: Native.remove(stack, handle, ticket, log?())

  def make({:mark, handle, snapshot}, stack, ticket),
    do: Native.mark(stack, handle, snapshot, ticket, log?())

  def make({:set_flags, handle, flags}, stack, ticket),
    do: Native.set_flags(stack, handle, flags, ticket)

  def make({:noted, change, handle, operation}, stack, ticket) do
    with {:error, :unknown} <- make(change, stack, ticket),
         do: Native.note_unknown(stack, operation, handle, ticket)
  end

  defp add({:add, _, handle, comparable, hash, oids, flags, body}, stack, known?, ticket) do
    if byte_size(comparable) + byte_size(body) > @large or length(oids) > @many_oids do
      Native.add_large(
        stack,
        handle,
        comparable,
        hash,
        oids,
        flags,
        body,
        known?,
        ticket,
        log?()
      )
    else
      Native.add(stack, handle, comparable, hash, oids, flags, body, known?, ticket, log?())
    end
  end

  @doc "Whether commits are to be told by name: `Logger` is at debug."
  @spec log?() :: boolean()
  def log?, do: :logger.allow(:debug, __MODULE__)
end
