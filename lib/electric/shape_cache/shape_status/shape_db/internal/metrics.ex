defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Metrics do
  @moduledoc false
  # What of the events and numbers is worth a graph. Plain data, from which `Telemetry.metrics/0`
  # makes definitions where `Telemetry.Metrics` is loaded: it is no dependency of ours.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Target
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Statistics
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Telemetry

  @type kind :: :counter | :sum | :last_value | :distribution
  @type definition :: %{
          kind: kind(),
          name: [atom()],
          event: [atom()],
          measurement: atom(),
          description: String.t(),
          options: keyword()
        }

  # Reporters that have no buckets of their own need these: milliseconds.
  @buckets [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1_000, 5_000, 30_000]
  @wait_buckets [10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000]

  @flush [:write_buffer, :flush]

  # `kind, event, measurement, description, options`
  @events [
    {:distribution, [:pool, :checkout], :queue_time_μs, "How long a checkout waited",
     reporter_options: [buckets: @wait_buckets]},
    {:distribution, @flush ++ [:stop], :duration, "How long a batch took",
     unit: {:native, :millisecond}, reporter_options: [buckets: @buckets]},
    {:sum, @flush ++ [:stop], :entry_count, "Operations committed", []},
    {:counter, @flush ++ [:exception], :duration, "Batches that failed", []},
    {:last_value, [:write_buffer, :pending_writes], :count, "Operations not yet in SQLite", []},
    {:last_value, [:store, :opened], :shapes, "Shapes at the start", []},
    {:sum, [:store, :imported], :left_out, "Shapes that a take-over left out", []},
    {:sum, [:store, :flags], :failed, "Shapes whose flags could not be computed", []},
    {:counter, [:store, :quarantined], :count, "Files moved aside", []},
    {:counter, [:store, :rebuilt], :shapes, "Times the file was written anew", []},
    {:sum, [:store, :rebuilt], :lost, "Shapes lost when the file was written anew", []},
    {:counter, [:store, :rebuild_failed], :retry_in_ms, "Failed tries to write it anew", []},
    {:counter, [:shape, :lost], :count, "Shapes lost one by one", []},
    {:counter, [:store, :promoted], :epoch, "Times it became the writer", []},
    {:counter, [:store, :fenced], :epoch, "Times another became the writer", []},
    {:sum, [:store, :fenced], :operations, "Operations given up to another writer", []},
    {:counter, [:store, :poisoned], :count, "Writers that died", []},
    {:counter, [:pressure, :start], :operations, "Times callers began to wait for room", []},
    {:sum, [:pressure, :stop], :duration_ms, "Milliseconds with callers that waited", []},
    {:counter, [:fault, :failed], :operations, "Commits that failed", []},
    {:counter, [:fault, :recovered], :failures, "Times commits worked again", []},
    {:counter, [:fault, :set_aside], :count, "Operations that SQLite refused", []},
    {:counter, [:durability, :degraded], :waited_ms, "Changes acknowledged before their commit",
     []}
  ]

  # What `measure/0` sends, by the names of `Statistics`.
  @measured [
    verdict: "0 ok, 1 degraded, 2 failing",
    role: "0 opening, 1 follower, 2 writer, 3 fenced",
    shapes: "Shapes",
    pending_ops: "Operations not yet in SQLite",
    pending_bytes: "Bytes of these",
    queue_fill: "How full the queue is, from 0 to 1",
    drain_ms: "How long the queue takes to empty",
    waiting: "Callers that wait for room",
    failing_since_ms: "Since when commits fail, in Unix milliseconds; 0 while they do not",
    committing_since_ms: "Since when a commit is under way, in Unix milliseconds",
    commits: "Batches committed",
    commit_ops: "Operations committed",
    commit_us: "Microseconds in commits",
    last_commit_us: "Microseconds of the last commit",
    cache_hits: "Definitions found in memory",
    cache_misses: "Definitions read from the file",
    faults: "Tries that failed",
    set_aside: "Operations that SQLite refused",
    lost: "Shapes lost",
    rebuilds: "Times the file was written anew",
    given_up: "Operations given up to another writer",
    quarantined_files: "Damaged files beside the database",
    connections: "SQLite connections",
    index_bytes: "Bytes of the index",
    cache_bytes: "Bytes of definitions in memory",
    total_memory: "Bytes of memory",
    disk_size: "Bytes of the database",
    log_size: "Bytes of its write-ahead log",
    disk_free: "Bytes left on the disk",
    disk_total: "Bytes of the disk"
  ]

  @doc "All definitions."
  @spec definitions() :: [definition()]
  def definitions do
    prefix = Telemetry.prefix()

    events =
      for {kind, event, measurement, description, options} <- @events do
        event = prefix ++ event
        definition(kind, event ++ [measurement], event, measurement, description, options)
      end

    event = prefix ++ [:store, :statistics]

    measured =
      for {key, description} <- @measured do
        definition(:last_value, event ++ [key], event, key, description, [])
      end

    events ++ measured
  end

  defp definition(kind, name, event, measurement, description, options) do
    %{
      kind: kind,
      name: name,
      event: event,
      measurement: measurement,
      description: description,
      options: options
    }
  end

  @doc "Sends the numbers of every stack that runs here."
  @spec measure() :: :ok
  def measure do
    for stack_id <- Target.stack_ids(), {:ok, statistics} <- [Statistics.current(stack_id)] do
      Telemetry.execute([:store, :statistics], statistics, %{stack_id: stack_id})
    end

    :ok
  end

  @doc "The definitions as `Telemetry.Metrics` has them, which is the module given."
  @spec metrics(module()) :: [struct()]
  def metrics(module) do
    for %{kind: kind, name: name} = definition <- definitions() do
      options =
        [
          event_name: definition.event,
          measurement: measurement(definition.measurement),
          description: definition.description,
          tags: [:stack_id]
        ] ++ definition.options

      apply(module, kind, [name, options])
    end
  end

  # In the metadata of a flush, as the replaced design had it.
  defp measurement(:entry_count), do: fn _measurements, metadata -> metadata.entry_count end
  defp measurement(key), do: key
end
