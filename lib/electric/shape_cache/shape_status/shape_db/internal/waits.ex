defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Waits do
  @moduledoc false
  # How a process waits for an answer of the native side. The wait ends in the answer or in
  # time, and nothing comes later: the request is taken back, or its answer, which is
  # on its way by then, is received.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native

  @doc "Waits for `{ref, answer}`. `nil` in place of what is owed: the answer is on its way."
  @spec await(reference(), timeout(), Native.owed() | nil) :: {:ok, term()} | :timeout
  def await(ref, timeout, owed) do
    receive do
      {^ref, answer} -> {:ok, answer}
    after
      timeout ->
        if owed != nil and Native.take_back(owed) do
          :timeout
        else
          receive do
            {^ref, answer} -> {:ok, answer}
          end
        end
    end
  end
end
