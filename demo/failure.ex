defmodule ElectricShapeDb.Demo.Failure do
  @moduledoc "Why the demo could not go on, in words for the person who ran it."

  defexception [:message]

  @spec fail!(String.t()) :: no_return()
  def fail!(message), do: raise(__MODULE__, message: message)
end
