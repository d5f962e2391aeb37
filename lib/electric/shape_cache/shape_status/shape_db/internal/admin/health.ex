defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Health do
  @moduledoc false
  # One verdict, and why.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Beside
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Numbers
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Rows
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Target
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Text
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Statistics

  # Below this nothing is safe from the next commit.
  @least_room 64 * 1024 * 1024
  # Four times that at which it is written back.
  @large_log 64 * 1024 * 1024
  @full_queue 0.5
  # A commit takes a millisecond or two.
  @slow_ms 1_000
  @stalled_ms 10_000

  @levels %{note: 0, degraded: 1, failing: 2}

  @type level :: :note | :degraded | :failing
  @type reason :: %{code: atom(), level: level(), text: String.t()}

  @spec of(Target.t()) :: {:ok, map()} | {:error, String.t()}
  def of(%Target{store: nil, path: path}), do: of_file(path)

  def of(%Target{stack_id: stack_id, store: store, path: path}) do
    with {:ok, statistics} <- Statistics.current(stack_id) do
      reasons = reasons(statistics, Native.trouble(store), path)

      {:ok,
       %{
         verdict: verdict(reasons),
         reasons: sorted(reasons),
         stack_id: stack_id,
         path: path,
         role: Numbers.role(statistics),
         since: Numbers.since(statistics),
         numbers: statistics
       }}
    end
  end

  @doc "The verdict as a number: 0 ok, 1 degraded, 2 failing."
  @spec number(map(), Path.t() | nil) :: 0..2
  def number(statistics, path) do
    reasons = reasons(statistics, nil, path)
    Map.fetch!(%{ok: 0, degraded: 1, failing: 2}, verdict(reasons))
  end

  @doc "What these numbers give reason to."
  @spec reasons(map(), tuple() | nil, Path.t() | nil) :: [reason()]
  def reasons(statistics, trouble, path) do
    of_role(statistics) ++
      of_commits(statistics, trouble) ++
      of_stall(statistics) ++
      of_queue(statistics) ++
      of_past(statistics) ++
      of_disk(statistics, path)
  end

  defp of_file(path) do
    disk = Numbers.disk(path)
    statistics = Map.merge(disk, %{disk_size: Beside.size(path), quarantined: 0, role: 5})

    with {:ok, holder} <- holder(path) do
      {label, reasons} = if holder, do: {nil, []}, else: of_label(path)
      reasons = reasons ++ of_disk(statistics, path) ++ of_holder(holder)

      {:ok,
       %{
         verdict: verdict(reasons),
         reasons: sorted(reasons),
         stack_id: label && label.stack,
         path: path,
         role: :closed,
         holder: holder,
         numbers: disk
       }}
    end
  end

  defp holder(path) do
    case Native.admin_holder(path) do
      {:ok, holder} -> {:ok, holder}
      {:error, {_what, text}} -> {:error, text}
    end
  end

  defp of_holder(nil), do: []

  defp of_holder(holder) do
    [reason(:in_use, :note, "#{holder} has it: ask that instance for its health")]
  end

  defp of_label(path) do
    Rows.with_reader(path, [], fn reader ->
      case Native.admin_summary(reader) do
        {:ok, %{label: %{clean: false} = label}} ->
          text = "it was not closed in order: the next start checks all of it"
          {label, [reason(:unclean, :note, text)]}

        {:ok, %{label: label}} ->
          {label, []}

        {:error, {_what, text}} ->
          {nil, [reason(:unreadable, :failing, text)]}
      end
    end)
    |> case do
      {:error, text} -> {nil, [reason(:unreadable, :failing, text)]}
      found -> found
    end
  end

  defp of_role(statistics) do
    case Numbers.role(statistics) do
      :writer ->
        []

      :follower ->
        text = "it follows another writer, and becomes the writer with its first change"
        [reason(:follower, :note, text)]

      :fenced ->
        since = Numbers.since(statistics)

        [
          reason(
            :fenced,
            :failing,
            "another instance became the writer at #{since}: this one refuses changes. " <>
              "Expected of the old instance in a deploy only"
          )
        ]

      other ->
        [reason(:not_open, :failing, "it is #{other}")]
    end
  end

  defp of_commits(%{failing_since_ms: 0, rebuilding: 0}, _trouble), do: []

  defp of_commits(%{failing_since_ms: 0}, _trouble) do
    [reason(:rebuilding, :failing, "its file is not what was written, and is being written anew")]
  end

  defp of_commits(statistics, trouble) do
    what = if statistics.role == 2, do: "commits fail", else: "the writer cannot be followed"
    because = with {_since, _failures, reason} <- trouble, do: ": #{reason}"
    since = Numbers.time(statistics.failing_since_ms)

    [
      reason(
        :commits_failing,
        :failing,
        "#{what} since #{since}, #{statistics.failures} times#{because}"
      )
    ]
  end

  defp of_stall(%{committing_since_ms: 0}), do: []

  defp of_stall(%{committing_since_ms: since}) do
    ms = System.system_time(:millisecond) - since
    text = "a commit has taken #{Float.round(ms / 1000, 1)} s so far: the disk stalls"

    cond do
      ms > @stalled_ms -> [reason(:stalled, :failing, text)]
      ms > @slow_ms -> [reason(:slow, :degraded, text)]
      true -> []
    end
  end

  defp of_queue(%{queue_fill: fill} = statistics) do
    percent = round(fill * 100)
    ends = if statistics.failing_since_ms == 0, do: ", empty in about #{statistics.drain_ms} ms"

    cond do
      statistics.waiting > 0 ->
        text = "the queue is #{percent} % full#{ends}, and #{statistics.waiting} callers wait"
        [reason(:callers_waiting, :failing, text)]

      fill > @full_queue ->
        [reason(:queue, :degraded, "the queue is #{percent} % full#{ends}")]

      true ->
        []
    end
  end

  defp of_past(statistics) do
    List.flatten([
      many(statistics.lost, :lost, :degraded, "shapes were lost with their definitions"),
      many(statistics.rebuilds, :rebuilt, :degraded, "times the file was written anew"),
      many(statistics.set_aside, :set_aside, :degraded, "operations were refused by SQLite"),
      many(
        statistics.given_up,
        :given_up,
        :degraded,
        "operations were given up to another writer"
      ),
      if statistics.role == 2 and statistics.found_clean == 0 do
        text = "the file was not closed in order before this start"
        reason(:unclean, :note, text)
      else
        []
      end
    ])
  end

  defp many(0, _code, _level, _text), do: []
  defp many(count, code, level, text), do: reason(code, level, "#{count} #{text}")

  defp of_disk(_statistics, nil), do: []

  defp of_disk(%{disk_free: free, disk_size: size} = statistics, path) do
    beside = Beside.files(path)

    List.flatten([
      cond do
        # A disk that cannot be asked says nothing.
        statistics.disk_total == 0 ->
          []

        free < @least_room ->
          reason(:disk_full, :failing, "the disk has #{Text.bytes(free)} left")

        free < size ->
          text = "the disk has #{Text.bytes(free)} left, too little to write the file anew"
          reason(:disk_room, :degraded, text)

        true ->
          []
      end,
      if statistics.log_size > @large_log do
        text =
          "the write-ahead log has #{Text.bytes(statistics.log_size)}: a reader holds on to " <>
            "an old moment, the disk is slow, or the replicator that checkpoints are left to " <>
            "does not run"

        reason(:log, :degraded, text)
      else
        []
      end,
      lying(
        beside.quarantined,
        :quarantined,
        :degraded,
        "was moved aside as damaged: salvage it, then remove it"
      ),
      lying(beside.list, :lists, :degraded, "names shapes that were lost or given up"),
      lying(beside.unfinished, :unfinished, :note, "was begun and not finished")
    ])
  end

  defp lying(files, code, level, text) do
    for %{path: path, bytes: bytes} <- files do
      reason(code, level, "#{Path.basename(path)} (#{Text.bytes(bytes)}) #{text}")
    end
  end

  defp reason(code, level, text), do: %{code: code, level: level, text: text}

  defp sorted(reasons), do: Enum.sort_by(reasons, &(-@levels[&1.level]))

  defp verdict(reasons) do
    case reasons |> Enum.map(&@levels[&1.level]) |> Enum.max(fn -> 0 end) do
      2 -> :failing
      1 -> :degraded
      0 -> :ok
    end
  end
end
