defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Examine do
  @moduledoc false
  # Looking: at stacks, files, and what is in them.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Beside
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Job
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Numbers
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Rows
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Target
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Shapes
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Statistics
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.WriteBuffer

  @flush_timeout 60_000

  @spec stacks() :: {:ok, %{stacks: [map()]}}
  def stacks do
    stacks =
      for stack_id <- Target.stack_ids(),
          {:ok, target} <- [Target.find(stack_id)],
          {:ok, statistics} <- [Statistics.current(stack_id)] do
        %{
          stack_id: stack_id,
          role: Numbers.role(statistics),
          since: Numbers.since(statistics),
          shapes: statistics.shapes,
          pending: statistics.pending_ops,
          path: target.path
        }
      end

    {:ok, %{stacks: stacks}}
  end

  @spec info(Target.t()) :: {:ok, map()} | {:error, String.t()}
  def info(%Target{store: nil, path: path}) do
    with {:ok, holder} <- Job.text(Native.admin_holder(path)) do
      {:ok, Map.merge(files(path), %{stack_id: nil, role: :closed, holder: holder})}
    end
  end

  def info(%Target{stack_id: stack_id, options: options, path: path}) do
    with {:ok, statistics} <- Statistics.current(stack_id) do
      {:ok,
       Map.merge(files(path), %{
         stack_id: stack_id,
         role: Numbers.role(statistics),
         since: Numbers.since(statistics),
         epoch: statistics.epoch,
         found_clean: statistics.found_clean == 1,
         options:
           options |> Map.from_struct() |> Map.drop([:enable_stats?, :enable_memory_stats?])
       })}
    end
  end

  defp files(nil), do: %{path: nil, bytes: 0, log_bytes: 0, beside: %{}}

  defp files(path) do
    %{
      path: path,
      bytes: Beside.size(path),
      log_bytes: Beside.log_size(path),
      beside: Beside.files(path)
    }
  end

  @spec inspect(Target.t(), non_neg_integer()) :: {:ok, map()} | {:error, String.t()}
  def inspect(target, samples) do
    with {:ok, path} <- Target.file(target),
         :ok <- settle(target) do
      Rows.with_reader(path, [live: Target.live?(target)], fn reader ->
        with {:ok, summary} <- Job.text(Native.admin_summary(reader)),
             {:ok, {rows, _}} <- Job.text(Native.admin_rows(reader, max(samples, 1))) do
          {:ok,
           Map.merge(summary, %{
             path: path,
             bytes: Beside.size(path),
             log_bytes: Beside.log_size(path),
             label: label(summary.label),
             samples: rows |> Enum.take(samples) |> Enum.map(&sample/1),
             columns: columns(summary.version)
           })}
        end
      end)
    end
  end

  @doc "What was acknowledged before is in the file, if it can be."
  @spec settle(Target.t()) :: :ok | {:error, String.t()}
  def settle(%Target{store: nil}), do: :ok

  def settle(%Target{stack_id: stack_id, store: store}) do
    # A follower has nothing to commit, and its writer's file is what there is.
    if Native.state(store) == :active do
      case WriteBuffer.flush_sync(stack_id, @flush_timeout) do
        :ok -> :ok
        {:error, reason} -> {:error, "what is pending was not committed: #{text(reason)}"}
      end
    else
      :ok
    end
  catch
    :exit, _timeout ->
      {:error, "what is pending was not committed within #{@flush_timeout} ms; see its health"}
  end

  defp text(reason) when is_binary(reason), do: reason
  defp text(reason), do: Kernel.inspect(reason)

  defp label(nil), do: nil
  defp label(label), do: Map.update!(label, :identity, &Base.encode16(&1, case: :lower))

  defp sample(row) do
    definition =
      if row.condition in [:sound, :unverified], do: Shapes.parse(row.body), else: :error

    Map.merge(Map.take(row, [:handle, :hash, :oids, :condition]), %{
      snapshot: Enum.at([:none, :started], row.snapshot, :complete),
      bytes: byte_size(row.body),
      table: table(definition),
      where: where(definition)
    })
  end

  # By name, as the module may be another version's, or not be there at all.
  defp table({:ok, %{root_table: {schema, table}}}) when is_binary(schema) and is_binary(table),
    do: "#{schema}.#{table}"

  defp table(_other), do: nil

  defp where({:ok, %{where: %{query: query}}}) when is_binary(query), do: query
  defp where(_other), do: nil

  defp columns(5) do
    [
      {"shapes.id", "the row id, in the order of adds, never given twice"},
      {"shapes.handle", "the handle"},
      {"shapes.comparable",
       "SHA-256 of the serialised comparable term: equal shapes, equal digests"},
      {"shapes.hash", "the host's hash of the comparable term"},
      {"shapes.snapshot", "0 none, 1 started, 2 complete"},
      {"shapes.relations", "each oid in four bytes, little-endian, ascending"},
      {"shapes.flags", "eight bits of the host's"},
      {"bodies.shape", "the definition, by term_to_binary"},
      {"bodies.checksum", "XXH3 over the row's identity and the definition"},
      {"changes", "the last batches, for followers"},
      {"meta", "identity, epoch, stack, clean, unsettled"}
    ]
  end

  defp columns(4) do
    [
      {"shapes.handle", "the handle"},
      {"shapes.shape", "the definition, by term_to_binary"},
      {"shapes.comparable", "SHA-256 of the serialised comparable term"},
      {"shapes.hash", "the host's hash of the comparable term"},
      {"shapes.snapshot_complete", "0 or 1"},
      {"relations", "a handle and an oid that its shape reads"},
      {"shape_count.count", "how many shapes there are"}
    ]
  end

  @spec check(Target.t(), keyword()) :: {:ok, map()} | {:error, String.t()}
  def check(target, opts) do
    with {:ok, path} <- Target.file(target),
         :ok <- settle(target),
         live = Target.live?(target),
         {:ok, checked} <- Job.run("checked", opts, &Native.admin_check(path, live, &1)),
         {:ok, host} <- ask_host(path, live) do
      problems = Enum.map(checked.problems, &problem/1) ++ host

      {:ok,
       %{
         path: path,
         version: checked.version,
         shapes: checked.shapes,
         sound: checked.sqlite == [] and problems == [],
         sqlite: checked.sqlite,
         problems: problems,
         host_asked: Rows.host?()
       }}
    end
  end

  defp problem({kind, count, examples}), do: %{kind: kind, count: count, examples: examples}

  # What is damaged was found already; this is about the rest.
  defp ask_host(path, live) do
    if Rows.host?() do
      Rows.with_reader(path, [live: live], fn reader ->
        with {:ok, found, _unreadable} <- Rows.reduce(reader, %{}, &judge/2) do
          {:ok,
           for({kind, handles} <- found, do: problem({kind, length(handles), some(handles)}))}
        end
      end)
    else
      {:ok, []}
    end
  end

  defp judge(%{condition: condition} = row, found) when condition in [:sound, :unverified] do
    case Rows.verdict(row) do
      :ok -> found
      kind -> Map.update(found, kind, [row.handle], &[row.handle | &1])
    end
  end

  defp judge(_row, found), do: found

  defp some(handles), do: handles |> Enum.reverse() |> Enum.take(10)
end
