defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Shapes do
  @moduledoc false
  # The term work: what of a shape goes over the boundary, and back.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Arguments
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Host
  alias Electric.Shapes.Shape

  # The host's module, compiled after us.
  @compile {:no_warn_undefined, Shape}

  @compile {:inline, serialise: 1, body: 1}

  @type shape :: %{:__struct__ => Shape, optional(atom()) => term()}

  # These bytes are hashed and compared across restarts and releases of OTP:
  # without the first option a map may be written in another order, without the
  # second OTP 25 writes atoms in another way.
  @stable [:deterministic, {:minor_version, 2}]

  # What `[:deterministic]` alone gave there, on any release.
  @before_otp_26 [:deterministic, {:minor_version, 1}]

  defguard is_shape(term) when is_struct(term, Shape)

  @doc "The comparable term, serialised, and the host's hash of it."
  @spec comparable(shape()) :: {binary(), non_neg_integer()}
  def comparable(shape) do
    {comparable, hash} = Shape.comparable_hash(shape)
    {serialise(comparable), hash}
  end

  @doc "Any term, as bytes that are always the same."
  @spec serialise(term()) :: binary()
  def serialise(term), do: :erlang.term_to_binary(term, @stable)

  # Nothing needs equal shapes to have equal bodies, and to put the keys of a shape's
  # maps in order takes up to as long as all the rest (measured on OTP 27 and 29).
  @doc "A shape, as bytes for `parse/1`, which may be others in another run of the VM."
  @spec body(shape()) :: binary()
  def body(shape), do: :erlang.term_to_binary(shape, minor_version: 2)

  @doc "The shape that these bytes are, or `:error` for bytes that are none."
  @spec parse(binary()) :: {:ok, shape()} | :error
  def parse(body) do
    case :erlang.binary_to_term(body) do
      shape when is_shape(shape) -> {:ok, shape}
      _other -> :error
    end
  rescue
    # Bytes that are no term are no shape either.
    ArgumentError -> :error
  end

  @spec oids(shape()) :: [non_neg_integer()]
  def oids(shape), do: oids_of(Shape.list_relations(shape))

  @doc "The oids of relations; only these matter."
  @spec oids_of([{non_neg_integer(), term()}]) :: [non_neg_integer()]
  def oids_of(relations), do: oids_of(relations, relations)

  defp oids_of([{oid, _relation} | rest], all) when oid in 0..0xFFFFFFFF,
    do: [oid | oids_of(rest, all)]

  defp oids_of([], _all), do: []
  defp oids_of(_other, all), do: Arguments.refuse!(relations: all)

  # For so many milliseconds the host may compute the digests of some hundred shapes.
  @verify_timeout 60_000

  @doc """
  The digests of stored shapes as we compute them, `nil` for one whose body, digest and
  hash do not belong together. As `Host.run/3`, for a parent of the caller's.
  """
  @spec verify([{binary(), binary(), non_neg_integer()}], pid()) ::
          {:ok, [binary() | nil]} | {:error, String.t()} | {:exit, term()}
  def verify(rows, parent) do
    case Host.run(fn -> Enum.map(rows, &digest/1) end, @verify_timeout, parent) do
      {:ok, digests} -> verdict(digests)
      {:error, how} -> {:error, "#{inspect(Shape)}.comparable_hash/1 #{how}"}
      {:exit, reason} -> {:exit, reason}
    end
  end

  @doc "Whether a stored body, digest and hash belong together. Runs the host's code, here."
  @spec verified?({binary(), binary(), non_neg_integer()}) :: boolean()
  def verified?(row), do: is_binary(digest(row))

  # A shape that the host's module does not understand is one that does not verify. When
  # it understands none, something is wrong with the module, and the shapes are kept.
  defp verdict(digests) do
    raised = for {:raised, error} <- digests, do: error

    if raised != [] and length(raised) == length(digests),
      do: {:error, "#{inspect(Shape)}.comparable_hash/1 raised #{inspect(hd(raised))}"},
      else: {:ok, Enum.map(digests, &if(is_binary(&1), do: &1))}
  end

  defp digest({body, digest, hash}) do
    with {:ok, shape} <- parse(body),
         do: digest(shape, digest, hash),
         else: (:error -> nil)
  end

  defp digest(shape, digest, hash) do
    with {comparable, ^hash} <- Shape.comparable_hash(shape),
         ours = sha256(serialise(comparable)),
         true <- digest in [ours, sha256(:erlang.term_to_binary(comparable, @before_otp_26))] do
      ours
    else
      _ -> nil
    end
  rescue
    error -> {:raised, error}
  end

  @doc "Whether the replaced design computes other digests here than we do."
  @spec old_digests?() :: boolean()
  def old_digests?, do: :erlang.term_to_binary(:a, [:deterministic]) != serialise(:a)

  @doc "The digest of a shape as the replaced design computes it. Runs the host's code, here."
  @spec old_digest(shape()) :: binary()
  def old_digest(shape) do
    {comparable, _hash} = Shape.comparable_hash(shape)
    sha256(:erlang.term_to_binary(comparable, [:deterministic]))
  end

  defp sha256(bytes), do: :crypto.hash(:sha256, bytes)
end
