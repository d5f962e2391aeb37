defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Salvage do
  @moduledoc false
  # What can still be read of a damaged file.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Copies
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Job
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Rows
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Target
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Shapes

  @none %{
    added: 0,
    there: 0,
    refused: 0,
    damaged: 0,
    unreadable: 0,
    bodiless: 0,
    wrong: 0,
    unreadable_ids: 0
  }

  @spec run(Path.t(), String.t(), keyword()) :: {:ok, map()} | {:error, String.t()}
  def run(from, to, opts) do
    if to in Target.stack_ids(), do: into_stack(from, to), else: into_file(from, to, opts)
  end

  @spec repair(Target.t(), keyword()) :: {:ok, map()} | {:error, String.t()}
  def repair(%Target{stack_id: nil, path: path}, opts) do
    with {:ok, leave_out} <- Copies.wrong(path, damaged: true),
         {:ok, done} <- Job.run("shapes", opts, &Native.admin_repair(path, leave_out, &1)) do
      {:ok, Map.merge(done, %{from: path, to: path})}
    end
  end

  def repair(%Target{stack_id: stack_id}, _opts) do
    {:error, "the stack #{inspect(stack_id)} runs: it mends its file itself, or stop it first"}
  end

  defp into_file(from, to, opts) do
    with :ok <- verifiable(from),
         false <- File.dir?(to) and {:error, "#{to} is a folder: name a file in it"},
         {:ok, leave_out} <- Copies.wrong(from, damaged: true),
         {:ok, done} <- Job.run("shapes", opts, &Native.admin_salvage(from, to, leave_out, &1)) do
      {:ok, Map.merge(done, %{from: from, to: to})}
    end
  end

  defp into_stack(from, stack_id) do
    with :ok <- host(),
         {:ok, done} <-
           Rows.with_reader(from, [damaged: true], fn reader ->
             with {:ok, done, unreadable} <- Rows.reduce(reader, @none, &take(&1, &2, stack_id)) do
               {:ok, %{done | unreadable_ids: unreadable}}
             end
           end) do
      {:ok, Map.merge(done, %{from: from, to: stack_id})}
    end
  end

  # Whatever it is called, of schema 4 nothing but the host's module can tell what is true.
  defp verifiable(from) do
    Rows.with_reader(from, [damaged: true], fn reader ->
      case Native.admin_rows(reader, 1) do
        {:ok, {[%{condition: :unverified} | _], _}} -> host()
        _ -> :ok
      end
    end)
  end

  defp host do
    if Rows.host?(),
      do: :ok,
      else: {:error, "the host's module Electric.Shapes.Shape is not loaded, which has to verify"}
  end

  defp take(%{condition: condition} = row, done, stack_id)
       when condition in [:sound, :unverified] do
    with :ok <- Rows.verdict(row),
         {:ok, shape} <- Shapes.parse(row.body),
         {:ok, _hash} <- ShapeDb.add_shape(stack_id, shape, row.handle),
         :ok <- mark(stack_id, row) do
      count(done, :added)
    else
      {:error, :duplicate_handle} -> count(done, :there)
      {:error, {:duplicate_shape, _handle}} -> count(done, :there)
      {:error, _reason} -> count(done, :refused)
      _wrong -> count(done, :wrong)
    end
  end

  defp take(%{condition: condition}, done, _stack_id), do: count(done, condition)

  defp mark(_stack_id, %{snapshot: 0}), do: :ok

  defp mark(stack_id, %{snapshot: 1} = row),
    do: ShapeDb.mark_snapshot_started(stack_id, row.handle)

  defp mark(stack_id, row), do: ShapeDb.mark_snapshot_complete(stack_id, row.handle)

  defp count(done, what), do: Map.update!(done, what, &(&1 + 1))
end
