defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Numbers do
  @moduledoc false
  # What is told of a store besides its own counters: what lies on the disk, and what
  # follows from the counters.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Beside
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native

  @doc "Numbers of the place of a file; `nil` for a store in memory."
  @spec disk(Path.t() | nil) :: %{atom() => number()}
  def disk(nil), do: %{log_size: 0, disk_total: 0, disk_free: 0, quarantined_files: 0}

  def disk(path) do
    {total, free} = room(path)

    %{
      log_size: Beside.log_size(path),
      disk_total: total,
      disk_free: free,
      quarantined_files: length(Beside.files(path).quarantined)
    }
  end

  defp room(path) do
    case Native.admin_room(Path.dirname(path)) do
      {:ok, room} -> room
      {:error, _reason} -> {0, 0}
    end
  end

  @doc "How full the queue is, from 0 to 1, and how long it takes to empty it at the pace of the last commit."
  @spec queue(map()) :: %{queue_fill: float(), drain_ms: non_neg_integer()}
  def queue(statistics) do
    fill =
      max(
        ratio(statistics.pending_ops, statistics.max_pending_ops),
        ratio(statistics.pending_bytes, statistics.max_pending_bytes)
      )

    %{queue_fill: min(fill, 1.0), drain_ms: drain_ms(statistics)}
  end

  # Of the last commit: that is what the disk can do now.
  defp drain_ms(%{pending_ops: 0}), do: 0
  defp drain_ms(%{last_commit_ops: 0}), do: 0

  defp drain_ms(statistics) do
    div(statistics.pending_ops * statistics.last_commit_us, statistics.last_commit_ops * 1000)
  end

  defp ratio(_part, 0), do: 0.0
  defp ratio(part, whole), do: part / whole

  # As the states of the core are numbered.
  @roles %{
    0 => :opening,
    1 => :follower,
    2 => :writer,
    3 => :fenced,
    4 => :closing,
    5 => :closed,
    6 => :dead
  }

  @doc "The role that a number stands for."
  @spec role(map()) :: atom()
  def role(%{role: number}), do: Map.fetch!(@roles, number)

  @doc "When its role began."
  @spec since(map()) :: DateTime.t()
  def since(%{role_since_ms: ms}), do: time(ms)

  @spec time(non_neg_integer()) :: DateTime.t()
  def time(ms), do: ms |> DateTime.from_unix!(:millisecond) |> DateTime.truncate(:second)
end
