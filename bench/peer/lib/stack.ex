defmodule Bench.Peer.Stack do
  @moduledoc """
  The names that belong to one stack: its two tables, its two pools and its write
  buffer. They are made once and kept in a persistent term, so that no request
  pays for building an atom.
  """

  @names [:operations, :shapes, :readers, :writer, :write_buffer]
  @enforce_keys @names
  defstruct @names

  @type t :: %__MODULE__{}

  @spec register(String.t()) :: t()
  def register(stack_id) do
    names = for key <- @names, do: {key, :"bench_peer_#{key}:#{stack_id}"}
    stack = struct!(__MODULE__, names)
    :persistent_term.put({__MODULE__, stack_id}, stack)
    stack
  end

  @spec get(String.t()) :: t()
  def get(stack_id), do: :persistent_term.get({__MODULE__, stack_id})
end
