defmodule ElectricShapeDb.Demo.Progress do
  @moduledoc """
  One line that says how far something is: written over and over on a terminal,
  and now and then a line of its own elsewhere.
  """

  defstruct [:live?, :next]

  @type t :: %__MODULE__{live?: boolean(), next: integer()}

  # In ms; more often nobody could read it.
  @live_every 50
  @else_every 1_000

  @spec new() :: t()
  # With colours there is a terminal, on every version of Elixir.
  def new, do: due(%__MODULE__{live?: IO.ANSI.enabled?()})

  @spec show(t(), String.t()) :: t()
  def show(progress, line) do
    if now() >= progress.next do
      write(progress, line)
      due(progress)
    else
      progress
    end
  end

  defp write(%{live?: true}, line), do: IO.write(["\r", line, "\e[K"])
  defp write(%{live?: false}, line), do: IO.puts(line)

  defp due(progress) do
    %{progress | next: now() + if(progress.live?, do: @live_every, else: @else_every)}
  end

  @doc "Makes room for what comes after it."
  @spec clear(t()) :: :ok
  def clear(%{live?: true}), do: IO.write("\r\e[K")
  def clear(_progress), do: :ok

  defp now, do: System.monotonic_time(:millisecond)
end
