defmodule :telemetry do
  @moduledoc """
  Stands in for the `telemetry` library, which every host has and the demo has
  not. Notes one event: that a change with a bounded wait was acknowledged before
  it was committed. The event is sent by the process that waited, so the note is
  in that process.
  """

  @noted [:electric, :shape_db, :durability, :degraded]

  def execute(event, measurements, metadata \\ %{})

  def execute(@noted, _measurements, _metadata) do
    Process.put(@noted, true)
    :ok
  end

  def execute(_event, _measurements, _metadata), do: :ok

  @doc "Whether this process was sent the event since it last asked."
  @spec degraded?() :: boolean()
  def degraded?, do: Process.delete(@noted) == true
end
