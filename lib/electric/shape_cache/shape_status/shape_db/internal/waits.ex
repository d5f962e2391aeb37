defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Waits do
  @moduledoc false
  # How a process waits for an answer of the native side. It ends in the answer or in
  # time, and then nothing comes later: the request is taken back, or its answer, which is
  # on its way by then, is taken.

  @doc """
  Waits for `{ref, answer}`. `take_back` takes the request back, and gives false when
  its answer is on its way.
  """
  @spec await(reference(), timeout(), (... -> boolean())) :: {:ok, term()} | :timeout
  def await(ref, timeout, take_back) do
    receive do
      {^ref, answer} -> {:ok, answer}
    after
      timeout ->
        if take_back.() do
          :timeout
        else
          receive do
            {^ref, answer} -> {:ok, answer}
          end
        end
    end
  end
end
