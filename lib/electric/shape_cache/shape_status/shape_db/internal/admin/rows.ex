defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Rows do
  @moduledoc false
  # The shapes of a file, some at a time, and what the host says to them.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Shapes
  alias Electric.Shapes.Shape

  @compile {:no_warn_undefined, Shape}

  @piece 256

  @doc "Opens a file for as long as `fun` runs."
  @spec with_reader(Path.t(), keyword(), (Native.reader() -> result)) ::
          result | {:error, String.t()}
        when result: term()
  def with_reader(path, opts, fun) do
    case Native.admin_open(path, opts[:live] || false, opts[:damaged] || false) do
      {:ok, reader} ->
        try do
          fun.(reader)
        after
          Native.admin_close(reader)
        end

      {:error, {_what, text}} ->
        {:error, text}
    end
  end

  @doc "Folds over all rows. `{:ok, acc, unreadable_ids}`"
  @spec reduce(Native.reader(), acc, (map(), acc -> acc)) ::
          {:ok, acc, non_neg_integer()} | {:error, String.t()}
        when acc: term()
  def reduce(reader, acc, fun) do
    case Native.admin_rows(reader, @piece) do
      {:ok, {[], unreadable}} -> {:ok, acc, unreadable}
      {:ok, {rows, _unreadable}} -> reduce(reader, Enum.reduce(rows, acc, fun), fun)
      {:error, {_what, text}} -> {:error, text}
    end
  end

  @doc "Whether the host's module can be asked."
  @spec host?() :: boolean()
  def host? do
    Code.ensure_loaded?(Shape) and function_exported?(Shape, :comparable_hash, 1)
  end

  @doc """
  What the host's module says to a row: `:ok`, or what is wrong with it. Only its own
  code may know of a shape's inside, so whatever it raises is "not a shape".
  """
  @spec verdict(map()) :: :ok | String.t()
  def verdict(row) do
    with {:ok, shape} <- Shapes.parse(row.body),
         true <- Shapes.verified?({row.body, row.digest, row.hash}) || "of another shape",
         true <- Enum.sort(Enum.uniq(Shapes.oids(shape))) == row.oids || "of other tables" do
      :ok
    else
      :error -> "not a shape"
      text -> text
    end
  rescue
    _ -> "not a shape"
  end
end
