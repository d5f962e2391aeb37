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
  | `lost` | shapes whose definitions were lost to damage, and which are gone |
  | `rebuilds`, `rebuilding` | how often the file was written anew from memory; 1 while it has to be and cannot be yet |
  | `quarantined` | files that were moved aside |
  | `given_up` | operations given up when another instance became the writer |
  | `events_dropped` | events that were passed over, because handlers of telemetry or of Logger were slower |
  | `disk_size`, `data_size` | bytes of the database file |
  | `total_memory` | `index_bytes`, `pending_bytes` and `cache_bytes` together |
  """

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Stores

  @doc "The numbers now; all of them are numbers, as telemetry wants its measurements."
  @spec current(String.t()) :: {:ok, %{atom() => number()}} | {:error, String.t()}
  def current(stack_id) do
    with {store, _options, about} <- Stores.get(stack_id),
         true <- Native.state(store) not in [:closing, :closed, :poisoned] do
      statistics = Native.statistics(store)
      size = file_size(about.path)

      {:ok,
       Map.merge(statistics, %{
         events_dropped: :counters.get(about.dropped, 1),
         disk_size: size,
         data_size: size,
         total_memory: statistics.index_bytes + statistics.pending_bytes + statistics.cache_bytes
       })}
    else
      _ -> {:error, Stores.not_running(stack_id)}
    end
  end

  defp file_size(path) do
    case File.stat(path) do
      {:ok, %{size: size}} -> size
      # In memory, or moved away.
      {:error, _} -> 0
    end
  end
end
