defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Job do
  @moduledoc false
  # Long work in a process of its own, with its progress on a line of the terminal.

  @every_ms 200

  @doc """
  Runs `fun` with a process to tell of progress, or `nil` when nobody wants to see it.
  Gives its result with the error as text.
  """
  @spec run(String.t(), keyword(), (pid() | nil -> result)) :: result when result: term()
  def run(name, opts, fun) do
    if Keyword.get(opts, :progress, Keyword.get(opts, :print, true)) do
      # Not the caller: its mailbox is not ours.
      teller = spawn_link(fn -> tell(name, System.monotonic_time(:millisecond), false) end)

      try do
        text(fun.(teller))
      after
        monitor = Process.monitor(teller)
        send(teller, :done)
        receive do: ({:DOWN, ^monitor, :process, ^teller, _reason} -> :ok)
      end
    else
      text(fun.(nil))
    end
  end

  @doc "A refusal of the native side as text."
  @spec text(term()) :: term()
  def text({:error, {_what, text}}) when is_binary(text), do: {:error, text}
  def text(other), do: other

  defp tell(name, next, told?) do
    receive do
      {:shape_db_progress, done, total} ->
        now = System.monotonic_time(:millisecond)

        if now >= next + @every_ms do
          IO.write(:stderr, "\r#{name}: #{done} of #{total}  ")
          tell(name, now, true)
        else
          tell(name, next, told?)
        end

      :done ->
        if told?, do: IO.write(:stderr, "\n")
    end
  end
end
