defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Telemetry do
  @moduledoc """
  The events of a store, sent through `:telemetry` where that is loaded.

  Every event carries `stack_id` in its metadata.

  ### Those the replaced module tree sent

  | event | measurements | metadata |
  |---|---|---|
  | `[:electric, :shape_db, :pool, :checkout]` | `queue_time_μs` | `label` |
  | `[:electric, :shape_db, :write_buffer, :flush, :start]` | `monotonic_time`, `system_time` | `entry_count` |
  | `[:electric, :shape_db, :write_buffer, :flush, :stop]` | `monotonic_time`, `duration` | `entry_count` |
  | `[:electric, :shape_db, :write_buffer, :flush, :exception]` | `monotonic_time`, `duration` | `entry_count`, `kind`, `reason`, `stacktrace` |

  Times are in native units, as of `:telemetry.span/3`. A flush is one batch of
  operations in one transaction. A batch that fails is tried again, and each try
  is a flush. The writer is a thread of its own: the events of a flush are sent
  when it has ended, the times are those of its course.

  ### Those of this store

  | event | measurements | metadata |
  |---|---|---|
  | `[:electric, :shape_db, :store, :opened]` | `shapes` | `standby` |
  | `[:electric, :shape_db, :store, :imported]` | `shapes`, `left_out` | `from` |
  | `[:electric, :shape_db, :store, :quarantined]` | `count` | `path` |
  | `[:electric, :shape_db, :store, :rebuilt]` | `shapes`, `lost` | `path` of the one before, `reason`, `lost_handles`, `list` |
  | `[:electric, :shape_db, :store, :rebuild_failed]` | `retry_in_ms` | `problem`, `reason` |
  | `[:electric, :shape_db, :shape, :lost]` | `count` | `handle`, `reason` |
  | `[:electric, :shape_db, :store, :flags]` | `shapes`, `failed`, `duration_ms` | `version` |
  | `[:electric, :shape_db, :store, :promoted]` | `epoch` | |
  | `[:electric, :shape_db, :store, :fenced]` | `epoch`, `operations` | `list` |
  | `[:electric, :shape_db, :store, :poisoned]` | `count` | `reason` |
  | `[:electric, :shape_db, :pressure, :start]` | `operations`, `bytes` | |
  | `[:electric, :shape_db, :pressure, :stop]` | `duration_ms` | |
  | `[:electric, :shape_db, :fault, :failed]` | `operations`, `retry_in_ms` | `reason` |
  | `[:electric, :shape_db, :fault, :recovered]` | `failures`, `duration_ms` | |
  | `[:electric, :shape_db, :fault, :set_aside]` | `count` | `operation`, `handle`, `reason` |
  | `[:electric, :shape_db, :durability, :degraded]` | `waited_ms` | |
  | `[:electric, :shape_db, :store, :statistics]` | all of `ShapeDb.Statistics` | |

  The last is sent by `measure/0` only, which a poller calls.
  """

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Metrics

  # Before the names that `events.ex` gives.
  @prefix [:electric, :shape_db]

  @doc false
  @spec execute([atom()], map(), map()) :: :ok
  def execute(event, measurements, metadata) do
    if function_exported?(:telemetry, :execute, 3) do
      # By apply: the library may not be there when this is compiled.
      apply(:telemetry, :execute, [@prefix ++ event, measurements, metadata])
    end

    :ok
  end

  @doc false
  @spec flush(String.t(), non_neg_integer(), non_neg_integer(), {:error, term()} | nil) :: :ok
  def flush(stack_id, ops, duration_us, failure \\ nil) do
    duration = System.convert_time_unit(duration_us, :microsecond, :native)
    stopped = System.monotonic_time()

    metadata = %{
      entry_count: ops,
      stack_id: stack_id,
      telemetry_span_context: make_ref()
    }

    started = %{monotonic_time: stopped - duration, system_time: System.system_time() - duration}
    execute([:write_buffer, :flush, :start], started, metadata)
    ended = %{monotonic_time: stopped, duration: duration}

    case failure do
      nil ->
        execute([:write_buffer, :flush, :stop], ended, metadata)

      {:error, reason} ->
        metadata = Map.merge(metadata, %{kind: :error, reason: reason, stacktrace: []})
        execute([:write_buffer, :flush, :exception], ended, metadata)
    end
  end

  @doc false
  @spec prefix() :: [atom()]
  def prefix, do: @prefix

  @doc """
  Definitions for the reporters of `Telemetry.Metrics`, of all that is sent, tagged with
  `stack_id`; none where that library is not loaded.

      iex> is_list(Telemetry.metrics())
      true
  """
  @spec metrics() :: [struct()]
  def metrics do
    metrics = Module.concat(Telemetry, Metrics)
    if Code.ensure_loaded?(metrics), do: Metrics.metrics(metrics), else: []
  end

  @doc """
  The same as plain data: `kind`, `name`, `event`, `measurement`, `description`, `options`.

      iex> Enum.find(Telemetry.definitions(), &(&1.measurement == :verdict)).kind
      :last_value
  """
  @spec definitions() :: [map()]
  def definitions, do: Metrics.definitions()

  @doc """
  Sends `[:electric, :shape_db, :store, :statistics]` for every stack of this VM, for
  `:telemetry_poller`:

      {:telemetry_poller,
       measurements: [{Electric.ShapeCache.ShapeStatus.ShapeDb.Telemetry, :measure, []}],
       period: 10_000}

      iex> Electric.ShapeCache.ShapeStatus.ShapeDb.Telemetry.measure()
      :ok
  """
  @spec measure() :: :ok
  def measure, do: Metrics.measure()
end
