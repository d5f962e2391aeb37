defmodule ElectricShapeDb.MetricsTest do
  @moduledoc "What a host's reporters get, and what the dashboard and the alerts ask for."

  use ElectricShapeDb.StoreCase, async: true

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Metrics
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Telemetry
  alias ElectricShapeDb.Tap

  @guides Path.expand("../../guides", __DIR__)

  # As `Telemetry.Metrics` makes them.
  for kind <- [:counter, :sum, :last_value, :distribution] do
    def unquote(kind)(name, options), do: {unquote(kind), name, Map.new(options)}
  end

  # The events of the tables in the documentation.
  defp documented do
    {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(Telemetry)

    for [_, event, measurements] <-
          Regex.scan(~r/^\s*\| `\[(:electric[^\]]*)\]` \| ([^|]*) \|/m, text),
        into: %{} do
      name =
        event |> String.split(", ") |> Enum.map(&String.to_atom(String.trim_leading(&1, ":")))

      {name, for([_, key] <- Regex.scan(~r/`(\w+)`/u, measurements), do: String.to_atom(key))}
    end
  end

  test "every definition is of an event and a measurement that are sent" do
    documented = documented()
    assert map_size(documented) > 15
    pending = [:electric, :shape_db, :write_buffer, :pending_writes]

    for %{event: event, measurement: measurement} <- Telemetry.definitions(), event != pending do
      assert measurements = documented[event]

      unless measurement == :entry_count or List.last(event) == :statistics do
        assert measurement in measurements
      end
    end
  end

  test "every event has a definition" do
    defined = MapSet.new(Telemetry.definitions(), & &1.event)
    started = [:electric, :shape_db, :write_buffer, :flush, :start]
    for {event, _} <- documented(), event != started, do: assert(event in defined)
  end

  test "definitions are tagged, and each name is there once" do
    metrics = Metrics.metrics(__MODULE__)
    assert Enum.all?(metrics, fn {_kind, _name, options} -> options.tags == [:stack_id] end)
    names = Enum.map(metrics, &elem(&1, 1))
    assert names == Enum.uniq(names)
    # Neither is here.
    assert Telemetry.metrics() == []
  end

  test "the numbers of a stack are sent", %{stack_id: stack_id} = context do
    start_store!(context)
    Tap.events(stack_id, [[:electric, :shape_db, :store, :statistics]])
    add_samples!(stack_id, 1..3)
    flush!(stack_id)
    :ok = Telemetry.measure()
    assert_received {:event, _, numbers, %{stack_id: ^stack_id}}
    assert %{shapes: 3, role: 2, pending_ops: 0, verdict: 0} = numbers

    for %{event: event, measurement: key} <- Telemetry.definitions(),
        List.last(event) == :statistics,
        do: assert(is_number(numbers[key]), "#{key}")
  end

  test "the dashboard and the alerts ask for what there is" do
    # As reporters for Prometheus name them.
    names = MapSet.new(Telemetry.definitions(), &Enum.join(&1.name, "_"))

    for file <- ["dashboard.json", "alerts.yml"] do
      text = File.read!(Path.join(@guides, file))
      asked = ~r/electric_shape_db_[a-z_μ]+/u |> Regex.scan(text) |> List.flatten() |> Enum.uniq()
      assert length(asked) > 8

      for name <- asked do
        assert String.replace(name, ~r/_(bucket|count|sum)$/, "") in names or name in names, name
      end
    end
  end
end
