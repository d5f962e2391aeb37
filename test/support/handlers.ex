defmodule ElectricShapeDb.Handlers do
  @moduledoc """
  A handler of all events of all stacks that does not behave, for the whole suite:
  `TELEMETRY=slow mix test`, and `raises`, `exits`, `throws`, `messages`.

  It lets those events alone that are told in the process of the caller, where a host's
  handler does what it does to the host's own process.
  """

  @events [
    [:write_buffer, :flush, :start],
    [:write_buffer, :flush, :stop],
    [:write_buffer, :flush, :exception],
    [:store, :opened],
    [:store, :imported],
    [:store, :quarantined],
    [:store, :rebuilt],
    [:store, :promoted],
    [:store, :fenced],
    [:store, :poisoned],
    [:pressure, :start],
    [:pressure, :stop],
    [:fault, :failed],
    [:fault, :recovered],
    [:fault, :set_aside]
  ]

  @doc "Attaches one that behaves like this."
  @spec attach(String.t()) :: :ok
  def attach(how) when how in ~w(slow raises exits throws messages) do
    events = for event <- @events, do: [:electric, :shape_db | event]
    # One of the name, however many processes it fails in at once.
    _ = :telemetry.attach_many({__MODULE__, how}, events, &__MODULE__.handle/4, how)
    :ok
  end

  @doc false
  def handle(_event, _measurements, _metadata, "slow"), do: Process.sleep(2)

  def handle(_event, _measurements, _metadata, "messages") do
    for n <- 1..10, do: send(self(), {n, make_ref()})
  end

  # Who fails is detached, and comes back.
  def handle(_event, _measurements, _metadata, how) do
    spawn(fn ->
      Process.sleep(5)
      attach(how)
    end)

    case how do
      "raises" -> raise "as asked for"
      "exits" -> exit(:as_asked_for)
      "throws" -> throw(:as_asked_for)
    end
  end
end
