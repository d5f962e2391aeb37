defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Statistics do
  @moduledoc """
  The numbers of a store.

  | key | what |
  |---|---|
  | `connections` | SQLite connections open |
  | `shapes`, `index_bytes` | shapes, and the memory of their index |
  | `pending_ops`, `pending_bytes` | operations not yet in SQLite, and what they count for |
  | `cache_bytes`, `cache_terms` | shapes kept warm, and how many of them as terms |
  | `cache_hits`, `cache_misses` | lookups of shapes answered from there or not, besides those that were pending only |
  | `commits`, `last_commit_ops`, `last_commit_us` | batches committed, and the last one |
  | `durable` | the number of the last change in SQLite |
  | `faults`, `set_aside` | tries that failed, and operations SQLite refused for themselves |
  | `epoch` | how often the file changed its writer; 0 for a store that never was it |
  | `lost` | shapes whose definitions were damaged in the file or taken out of it, and which are gone |
  | `rebuilds`, `rebuilding` | how often the file was written anew from memory; 1 while it has to be and cannot be yet |
  | `quarantined` | files that were moved aside |
  | `given_up` | operations given up when another instance became the writer |
  | `commit_ops`, `commit_us` | operations in all batches, and how long these took together |
  | `role`, `role_since_ms` | 0 opening, 1 follower, 2 writer, 3 fenced; since when, in Unix milliseconds |
  | `found_clean` | 1 when the file was found closed in order at the start |
  | `failing_since_ms`, `failures` | since when commits fail (or, of a follower, the following), in Unix milliseconds, and how often; 0 while they do not |
  | `committing_since_ms` | since when a commit is under way, in Unix milliseconds; 0 while none is. One that takes long is a disk that stalls |
  | `waiting` | callers that wait for room in the queue |
  | `max_pending_ops`, `max_pending_bytes`, `queue_fill` | the bounds of the queue, and how full it is, from 0 to 1 |
  | `drain_ms` | how long the queue takes to empty at the pace of the last commit |
  | `log_size` | bytes of the write-ahead log |
  | `disk_total`, `disk_free` | bytes of the disk, and those still to be had; 0 when it cannot be asked |
  | `quarantined_files` | damaged files that lie beside the database |
  | `verdict` | that of `ShapeDb.Admin.health/2`: 0 ok, 1 degraded, 2 failing |
  | `events_dropped` | events that were passed over, because handlers of telemetry or of Logger were slower |
  | `disk_size`, `data_size` | bytes of the database file |
  | `total_memory` | `index_bytes`, `pending_bytes` and `cache_bytes` together |
  """

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Beside
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Health
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Numbers
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores

  @doc """
  The numbers now; all of them are numbers, as telemetry wants its measurements.

      iex> {:ok, statistics} = Statistics.current("my-stack")
      iex> {statistics.role, statistics.pending_ops}
      {2, 0}
  """
  @spec current(String.t()) :: {:ok, %{atom() => number()}} | {:error, String.t()}
  def current(stack_id) do
    with {store, _options, about} <- Stores.get(stack_id),
         true <- Native.state(store) not in [:closing, :closed, :poisoned] do
      statistics = Native.statistics(store)
      path = path(about)
      size = if path, do: Beside.size(path), else: 0

      statistics =
        statistics
        |> Map.merge(Numbers.disk(path))
        |> Map.merge(Numbers.queue(statistics))
        |> Map.merge(%{
          events_dropped: :counters.get(about.dropped, 1),
          disk_size: size,
          data_size: size,
          total_memory: statistics.index_bytes + statistics.pending_bytes + statistics.cache_bytes
        })

      {:ok, Map.put(statistics, :verdict, Health.number(statistics, path))}
    else
      _ -> {:error, Stores.not_running(stack_id)}
    end
  end

  defp path(%{path: ":memory:"}), do: nil
  defp path(%{path: path}), do: path
end
