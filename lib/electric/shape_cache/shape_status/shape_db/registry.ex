defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Registry do
  @moduledoc false
  # Names of the processes of a stack.

  @doc "`stack_ref` is a stack id, or a keyword list that has one."
  @spec name(String.t() | keyword(), module()) :: GenServer.name()
  def name(stack_id, module) when is_binary(stack_id) do
    {:via, Registry, {__MODULE__, {stack_id, module}}}
  end

  def name(opts, module) when is_list(opts), do: name(Keyword.fetch!(opts, :stack_id), module)
end
