defmodule Bench.Floor do
  @moduledoc """
  The term work that no implementation can avoid, as operations for a crew: what
  is left of a call when the store itself costs nothing.

  Calls that work on no term still have to find their store by the stack's name;
  for them the floor is one persistent term.
  """

  alias Bench.Shapes
  alias Electric.Shapes.Shape

  @doc "A lookup by shape: its comparable, encoded."
  @spec find({binary(), struct()}) :: binary()
  def find({_handle, shape}) do
    {comparable, _hash} = Shape.comparable_hash(shape)
    encode(comparable)
  end

  @doc """
  An add: comparable and shape, encoded, and the relations. Only of the comparable do
  the bytes have to be the same each time.
  """
  @spec add({binary(), struct()}) :: {binary(), binary(), list()}
  def add({_handle, shape}) do
    {comparable, _hash} = Shape.comparable_hash(shape)
    body = :erlang.term_to_binary(shape, minor_version: 2)
    {encode(comparable), body, Shape.list_relations(shape)}
  end

  @doc "A read of a shape, or of handles: the bytes, decoded."
  @spec decode(binary()) :: term()
  def decode(bytes), do: :erlang.binary_to_term(bytes)

  @doc "A call without terms: the stack is looked up."
  @spec look_up_stack(term()) :: term()
  def look_up_stack(_input), do: :persistent_term.get(Shapes)

  @spec encode(term()) :: binary()
  def encode(term), do: :erlang.term_to_binary(term, [:deterministic, minor_version: 2])
end
