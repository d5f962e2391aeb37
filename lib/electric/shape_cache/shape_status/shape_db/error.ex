defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Error do
  @moduledoc """
  Raised where a function has no error to return.

  Its message reads `ShapeDb <action> failed: <reason>`.
  """

  defexception [:message, :action, :reason]

  @type t :: %__MODULE__{message: String.t(), action: atom(), reason: term()}

  @impl true
  def exception(args) do
    action = Keyword.get(args, :action, :read)
    reason = Keyword.fetch!(args, :error)
    %__MODULE__{message: message(action, reason), action: action, reason: reason}
  end

  defp message(action, reason) when is_binary(reason), do: "ShapeDb #{action} failed: #{reason}"
  defp message(action, reason), do: "ShapeDb #{action} failed: #{inspect(reason)}"
end
