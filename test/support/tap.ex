defmodule ElectricShapeDb.Tap do
  @moduledoc """
  Sends telemetry events and log lines of one test's stack to the test, so that
  it can wait for them.
  """

  import ExUnit.Callbacks, only: [on_exit: 1]

  @doc "Events with this `stack_id` arrive as `{:event, name, measurements, metadata}`."
  @spec events(String.t(), [[atom()]]) :: :ok
  def events(stack_id, names) do
    id = make_ref()
    :ok = :telemetry.attach_many(id, names, &__MODULE__.forward_event/4, {self(), stack_id})
    on_exit(fn -> :telemetry.detach(id) end)
  end

  @doc "Runs `fun` as a handler of the events with this `stack_id`, in whatever process that is."
  @spec handler(String.t(), [[atom()]], (... -> term())) :: :ok
  def handler(stack_id, names, fun) do
    id = make_ref()
    :ok = :telemetry.attach_many(id, names, &__MODULE__.run_handler/4, {stack_id, fun})
    on_exit(fn -> :telemetry.detach(id) end)
  end

  @doc false
  def run_handler(_name, _measurements, metadata, {stack_id, fun}) do
    if metadata[:stack_id] == stack_id, do: fun.()
  end

  @doc false
  def forward_event(name, measurements, metadata, {test, stack_id}) do
    if metadata[:stack_id] == stack_id, do: send(test, {:event, name, measurements, metadata})
  end

  @doc "Log lines that contain `text` arrive as `{:log, level, line}`."
  @spec logs(String.t()) :: :ok
  def logs(text) do
    id = :"tap_#{System.unique_integer([:positive])}"
    :ok = :logger.add_handler(id, __MODULE__, %{config: {self(), text}})
    on_exit(fn -> :logger.remove_handler(id) end)
  end

  @doc false
  def log(event, %{config: {test, text}}) do
    line = event |> :logger_formatter.format(%{template: [:msg]}) |> IO.chardata_to_string()
    if String.contains?(line, text), do: send(test, {:log, event.level, line})
  end
end
