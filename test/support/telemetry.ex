defmodule :telemetry do
  @moduledoc """
  The part of the `telemetry` library that a host and these tests use; a package
  registry is not assumed to be reachable. Started by `test_helper.exs`; until
  then, events go nowhere.
  """

  require Logger

  @table __MODULE__

  @doc "Makes the table of handlers, which lives as long as the VM."
  def start do
    caller = self()

    spawn(fn ->
      :ets.new(@table, [:named_table, :public, :set, read_concurrency: true])
      send(caller, :telemetry_started)
      receive do: (:never -> :ok)
    end)

    receive do: (:telemetry_started -> :ok)
  end

  def attach(id, event, function, config), do: attach_many(id, [event], function, config)

  def attach_many(id, events, function, config) do
    handlers = for event <- events, do: {{event, id}, function, config}

    case list_ids(id) do
      [] -> :ets.insert(@table, handlers) && :ok
      _ -> {:error, :already_exists}
    end
  end

  def detach(id) do
    case :ets.select_delete(@table, [{{{:_, id}, :_, :_}, [], [true]}]) do
      0 -> {:error, :not_found}
      _ -> :ok
    end
  end

  def list_handlers(prefix) do
    for {{event, id}, function, config} <- :ets.tab2list(@table),
        List.starts_with?(event, prefix) do
      %{id: id, event_name: event, function: function, config: config}
    end
  end

  def execute(event, measurements, metadata \\ %{}) do
    for [id, function, config] <- handlers_of(event) do
      try do
        function.(event, measurements, metadata, config)
      catch
        kind, reason ->
          detach(id)
          Logger.error("telemetry handler #{inspect(id)} failed: #{inspect({kind, reason})}")
      end
    end

    :ok
  end

  def span(prefix, metadata, fun) do
    started = System.monotonic_time()
    metadata = Map.put_new(metadata, :telemetry_span_context, make_ref())
    start = %{monotonic_time: started, system_time: System.system_time()}
    execute(prefix ++ [:start], start, metadata)

    try do
      fun.()
    catch
      kind, reason ->
        failure = %{kind: kind, reason: reason, stacktrace: __STACKTRACE__}
        execute(prefix ++ [:exception], ended(started), Map.merge(metadata, failure))
        :erlang.raise(kind, reason, __STACKTRACE__)
    else
      {result, stop_metadata} ->
        stop(prefix, result, %{}, started, metadata, stop_metadata)

      {result, more, stop_metadata} ->
        stop(prefix, result, more, started, metadata, stop_metadata)
    end
  end

  defp stop(prefix, result, more, started, metadata, stop_metadata) do
    context = Map.take(metadata, [:telemetry_span_context])
    execute(prefix ++ [:stop], Map.merge(more, ended(started)), Map.merge(context, stop_metadata))
    result
  end

  defp ended(started) do
    now = System.monotonic_time()
    %{monotonic_time: now, duration: now - started}
  end

  defp handlers_of(event) do
    case :ets.whereis(@table) do
      :undefined -> []
      table -> :ets.match(table, {{event, :"$1"}, :"$2", :"$3"})
    end
  end

  defp list_ids(id), do: :ets.match(@table, {{:"$1", id}, :_, :_})
end
