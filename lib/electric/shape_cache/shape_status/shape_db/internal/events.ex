defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Events do
  @moduledoc false
  # What the writer of a store tells, as telemetry and log lines. Runs in the process of
  # the reporter: what listens is code of the host.

  require Logger

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Telemetry

  @doc "Tells of an event of a stack's store."
  @spec happened(atom(), term(), String.t()) :: :ok
  def happened(:committed, %{ops: ops, duration_us: duration, log: log}, stack_id) do
    Enum.each(log, fn operation -> Logger.debug(["ShapeDb: committed ", inspect(operation)]) end)
    Telemetry.flush(stack_id, ops, duration)
  end

  def happened(:commit_failed, failed, stack_id) do
    Telemetry.flush(stack_id, failed.ops, failed.duration_us, {:error, failed.reason})

    event(
      stack_id,
      [:fault, :failed],
      %{operations: failed.ops, retry_in_ms: failed.retry_in_ms},
      %{
        reason: failed.reason
      }
    )
  end

  def happened(:recovered, {failures, duration}, stack_id) do
    event(stack_id, [:fault, :recovered], %{failures: failures, duration_ms: duration})
  end

  def happened(:set_aside, {{operation, handle}, reason}, stack_id) do
    metadata = %{operation: operation, handle: handle, reason: reason}
    event(stack_id, [:fault, :set_aside], %{count: 1}, metadata)
  end

  def happened(:pressure_started, {ops, bytes}, stack_id) do
    Logger.warning("ShapeDb: the write queue is full with #{ops} operations, callers wait")
    event(stack_id, [:pressure, :start], %{operations: ops, bytes: bytes})
  end

  def happened(:pressure_ended, duration, stack_id) do
    Logger.info(
      "ShapeDb: the write queue had callers waiting for #{duration} ms, and has none now"
    )

    event(stack_id, [:pressure, :stop], %{duration_ms: duration})
  end

  def happened(:rebuilt, %{lost: lost} = rebuilt, stack_id) do
    measurements = %{shapes: rebuilt.shapes, lost: length(lost)}
    metadata = Map.take(rebuilt, [:path, :reason, :list])
    event(stack_id, [:store, :rebuilt], measurements, Map.put(metadata, :lost_handles, lost))
  end

  def happened(:rebuild_failed, {problem, reason, retry_in_ms}, stack_id) do
    metadata = %{problem: problem, reason: reason}
    event(stack_id, [:store, :rebuild_failed], %{retry_in_ms: retry_in_ms}, metadata)
  end

  def happened(:lost, {handle, reason}, stack_id) do
    event(stack_id, [:shape, :lost], %{count: 1}, %{handle: handle, reason: reason})
  end

  def happened(:promoted, epoch, stack_id),
    do: event(stack_id, [:store, :promoted], %{epoch: epoch})

  def happened(:fenced, {epoch, ops, list}, stack_id) do
    event(stack_id, [:store, :fenced], %{epoch: epoch, operations: ops}, %{list: list})
  end

  def happened(:poisoned, reason, stack_id) do
    event(stack_id, [:store, :poisoned], %{count: 1}, %{reason: reason})
  end

  def happened(:opened, opened, stack_id) do
    event(stack_id, [:store, :opened], %{shapes: opened.shapes}, %{standby: opened.standby})
    imported(opened.imported, stack_id)

    if path = opened.quarantined do
      event(stack_id, [:store, :quarantined], %{count: 1}, %{path: path})
    end

    if opened.shapes == 0 and opened.passed_over != [] do
      Logger.warning([
        "ShapeDb of #{inspect(stack_id)}: started empty beside files of another version of the ",
        "shapes or of a newer schema, which it does not take over: ",
        Enum.map_join(opened.passed_over, ", ", &inspect/1)
      ])
    end
  end

  def happened(:remains, {ops, listed}, stack_id) do
    Logger.error([
      "ShapeDb of #{inspect(stack_id)}: time to shut down ran out with ",
      "#{ops} operations not committed; ",
      case listed do
        {:ok, path, count} -> "#{count} adds and removals are listed in #{path}"
        nil -> "none of them adds or removals"
        {:error, reason} -> "their handles could not be listed: #{reason}"
        _unreadable -> "the store is closed"
      end
    ])
  end

  def happened(:log, {level, target, message}, _stack_id) do
    Logger.log(level, ["ShapeDb: ", message], native_target: target)
  end

  def happened(_event, _details, _stack_id), do: :ok

  defp imported(nil, _stack_id), do: :ok

  defp imported({from, shapes, left_out}, stack_id) do
    if left_out > 0 do
      Logger.warning("ShapeDb: left out #{left_out} shapes of #{from} that do not verify")
    end

    event(stack_id, [:store, :imported], %{shapes: shapes, left_out: left_out}, %{from: from})
  end

  defp event(stack_id, event, measurements, metadata \\ %{}) do
    Telemetry.execute(event, measurements, Map.put(metadata, :stack_id, stack_id))
  end
end
