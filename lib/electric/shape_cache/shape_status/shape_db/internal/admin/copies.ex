defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Copies do
  @moduledoc false
  # Copies: to keep, back again, to another place, to the older schema.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Examine
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Job
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Rows
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Target
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Files
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Shapes

  @type answer :: {:ok, map()} | {:error, String.t()}

  @spec backup(Target.t(), Path.t(), keyword()) :: answer()
  def backup(target, to, opts) do
    with {:ok, path} <- Target.file(target),
         :ok <- new_file(to),
         :ok <- Examine.settle(target),
         live = Target.live?(target),
         {:ok, done} <- Job.run("pages", opts, &Native.admin_backup(path, to, live, &1)) do
      {:ok, Map.merge(done, %{from: path, to: to})}
    end
  end

  @spec restore(Path.t(), Path.t(), keyword()) :: answer()
  def restore(from, to, opts) do
    with :ok <- not_running(to),
         {:ok, place} <- to_place(to),
         {:ok, done} <- Job.run("pages", opts, &Native.admin_restore(from, place, &1)) do
      {:ok, Map.merge(done, %{from: from, to: place})}
    end
  end

  @spec move(Path.t(), Path.t(), keyword()) :: answer()
  def move(from, to, opts) do
    with :ok <- not_running(from),
         {:ok, from} <- Target.place(from),
         {:ok, place} <- to_place(to),
         {:ok, done} <- Job.run("pages", opts, &Native.admin_move(from, place, &1)) do
      {:ok, Map.merge(done, %{from: from, to: place})}
    end
  end

  @spec export(Target.t(), Path.t(), keyword()) :: answer()
  def export(target, to, opts) do
    with {:ok, path} <- Target.file(target),
         {:ok, to} <- old_place(to),
         :ok <- Examine.settle(target),
         live = Target.live?(target),
         {:ok, leave_out} <- wrong(path, live: live),
         {:ok, digests} <- old_digests(path, leave_out, live: live),
         {:ok, {shapes, left_out, unreadable_ids}} <-
           Job.run("shapes", opts, &Native.admin_export(path, to, live, leave_out, digests, &1)) do
      done = %{from: path, to: to, version: 4, shapes: shapes}
      {:ok, Map.merge(done, %{left_out: left_out, unreadable_ids: unreadable_ids})}
    end
  end

  # Of OTP 25, which writes atoms in another way. A shape that is added meanwhile has ours,
  # which that design does not find there.
  defp old_digests(path, leave_out, opts) do
    cond do
      not Shapes.old_digests?() ->
        {:ok, []}

      not Rows.host?() ->
        {:error,
         "on OTP #{System.otp_release()} it takes the host's module to export: ask it there"}

      true ->
        Rows.with_reader(path, opts, fn reader ->
          leave_out = MapSet.new(leave_out)

          with {:ok, digests, _} <- Rows.reduce(reader, [], &old_digest(&1, &2, leave_out)),
               do: {:ok, digests}
        end)
    end
  end

  defp old_digest(%{condition: condition} = row, digests, leave_out)
       when condition in [:sound, :unverified] do
    with false <- row.id in leave_out, {:ok, shape} <- Shapes.parse(row.body) do
      [{row.id, Shapes.old_digest(shape)} | digests]
    else
      _ -> digests
    end
  end

  defp old_digest(_row, digests, _leave_out), do: digests

  @doc "The rows that the host's module does not take for what they say they are."
  @spec wrong(Path.t(), keyword()) :: {:ok, [integer()]} | {:error, String.t()}
  def wrong(path, opts) do
    if Rows.host?() do
      Rows.with_reader(path, opts, fn reader ->
        with {:ok, {wrong, right}, _unreadable} <- Rows.reduce(reader, {[], 0}, &judge/2) do
          # When it takes none, something is wrong with the module, and not with the shapes.
          if wrong != [] and right == 0 do
            {:error, "the host's module takes none of the #{length(wrong)} shapes for one"}
          else
            {:ok, wrong}
          end
        end
      end)
    else
      {:ok, []}
    end
  end

  defp judge(%{condition: condition} = row, {wrong, right})
       when condition in [:sound, :unverified] do
    if Rows.verdict(row) == :ok, do: {wrong, right + 1}, else: {[row.id | wrong], right}
  end

  defp judge(_row, judged), do: judged

  defp not_running(stack_id) do
    if stack_id in Target.stack_ids(),
      do: {:error, "the stack #{inspect(stack_id)} runs: stop it first, and name its file"},
      else: :ok
  end

  # A storage_dir may be new: its folders are made.
  defp to_place(to) do
    with {:ok, place} <- Target.place(to), :ok <- make_folder(place, to), do: {:ok, place}
  end

  # Under the name that the replaced design looks for, in a storage_dir.
  defp old_place(to) do
    with true <- File.dir?(to),
         {:ok, place} <- Target.place(to),
         old = Files.old(place),
         :ok <- make_folder(old, to) do
      {:ok, old}
    else
      false -> with :ok <- new_file(to), do: {:ok, to}
      error -> error
    end
  end

  defp make_folder(place, to) do
    with true <- File.dir?(to), {:error, reason} <- File.mkdir_p(Path.dirname(place)) do
      {:error, "cannot make #{Path.dirname(place)}: #{:file.format_error(reason)}"}
    else
      _ -> :ok
    end
  end

  defp new_file(to) do
    if File.dir?(to), do: {:error, "#{to} is a folder: name a file in it"}, else: :ok
  end
end
