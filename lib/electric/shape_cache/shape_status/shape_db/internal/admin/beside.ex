defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Beside do
  @moduledoc false
  # What lies beside a database. Looks at names and sizes only: to open a database as an
  # ordinary file would drop the locks of a store that has it.

  @kinds [
    {~r/\.corrupt-\d+$/, :quarantined},
    {~r/\.imported$/, :imported},
    {~r/\.(replaced|moved|before-repair)-\d+$/, :kept},
    {~r/\.(lost|given-up)-\d+$/, :list},
    {~r/\.(draft|partial|replacement)$/, :unfinished}
  ]

  @doc "Files of the folder by what they are: `%{quarantined: [%{path:, bytes:}], …}`."
  @spec files(Path.t()) :: %{atom() => [%{path: Path.t(), bytes: non_neg_integer()}]}
  def files(path) do
    folder = Path.dirname(path)
    none = Map.new(@kinds, fn {_pattern, kind} -> {kind, []} end)

    with {:ok, names} <- File.ls(folder) do
      names
      |> Enum.sort()
      |> Enum.flat_map(fn name ->
        for {pattern, kind} <- @kinds, Regex.match?(pattern, name), do: {kind, name}
      end)
      |> Enum.reduce(none, fn {kind, name}, found ->
        file = Path.join(folder, name)
        Map.update!(found, kind, &(&1 ++ [%{path: file, bytes: size(file)}]))
      end)
    else
      {:error, _reason} -> none
    end
  end

  @doc "Bytes of a file; 0 when it is not there."
  @spec size(Path.t()) :: non_neg_integer()
  def size(path) do
    case File.stat(path) do
      {:ok, %{size: size}} -> size
      {:error, _reason} -> 0
    end
  end

  @doc "Bytes of the write-ahead log."
  @spec log_size(Path.t()) :: non_neg_integer()
  def log_size(path), do: size(path <> "-wal")
end
