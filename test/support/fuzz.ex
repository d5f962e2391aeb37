defmodule ElectricShapeDb.Fuzz do
  @moduledoc """
  What parses bytes of a file, with bytes that nobody wrote: shapes of the fixtures and
  terms of every kind, damaged. The parser of lists gives what `binary_to_term/1` gives,
  or the bytes where that gives nothing; what is found to be storable is.
  """

  import ElectricShapeDb.Samples

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Storable
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores
  alias ElectricShapeDb.Bodies
  alias ElectricShapeDb.Fixtures
  alias ElectricShapeDb.PeerVM

  # The tags of the external format, and what stands for sizes. Not that of a function that
  # is no external one: the VM itself falls over some that are damaged.
  @telling [131, 70, 77, 80, 82, 88, 89, 90, 97, 98, 99, 100, 101, 102, 103, 104, 105, 106] ++
             [107, 108, 109, 110, 111, 113, 114, 115, 116, 117, 118, 119, 120, 0, 1, 255]

  @doc "Parses so many; gives the first that went wrong. Run it in the VM that is to be tried."
  @spec run(pos_integer(), integer()) :: :ok | {:wrong, String.t(), binary(), binary()}
  def run(count, seed) do
    :rand.seed(:exsss, seed)
    :ok = PeerVM.run_store("fuzz", storage_dir: ":memory:", exclusive_mode: true)
    {:ok, store} = Stores.fetch("fuzz")
    corpus = List.to_tuple(corpus())

    Enum.reduce_while(1..count, :ok, fn _, :ok ->
      model = pick(corpus)
      bytes = damaged(pick(corpus), corpus, :rand.uniform(5))

      case if(deadly?(bytes), do: nil, else: wrong(store, model, bytes)) do
        nil -> {:cont, :ok}
        what -> {:halt, {:wrong, what, model, bytes}}
      end
    end)
  end

  # OTP 27 takes any number for the arity of a function that has a name, and dies when such
  # a term is copied or written: `:erlang.binary_to_term/1` alone brings it there.
  defp deadly?(<<113, rest::binary>>) do
    with {:ok, rest} <- after_atom(rest), {:ok, <<98, _::binary>>} <- after_atom(rest) do
      true
    else
      _ -> deadly?(rest)
    end
  end

  defp deadly?(<<_, rest::binary>>), do: deadly?(rest)
  defp deadly?(<<>>), do: false

  defp after_atom(<<tag, n, _::binary-size(n), rest::binary>>) when tag in [115, 119],
    do: {:ok, rest}

  defp after_atom(<<tag, n::16, _::binary-size(n), rest::binary>>) when tag in [100, 118],
    do: {:ok, rest}

  defp after_atom(_other), do: :error

  @doc "What is wrong about these bytes, beside that model."
  @spec wrong(reference(), binary(), binary()) :: String.t() | nil
  def wrong(store, model, bytes) do
    term = term(bytes)
    [{"0", whole}, {"1", parsed}] = Bodies.listed(store, [{"0", 1, model}, {"1", 1, bytes}])

    cond do
      whole !== elem(term(model), 0) -> "another term of the model: #{inspect(whole)}"
      term == :none and parsed !== bytes -> "parsed: #{inspect(parsed)}"
      # The bytes are what the VM is left to parse: a name may be new to it.
      parsed === bytes -> unstorable(store, term)
      term != :none and parsed !== elem(term, 0) -> "another term: #{inspect(parsed)}"
      true -> unstorable(store, term)
    end
  end

  defp unstorable(_store, :none), do: nil

  # As this VM writes it, which is what an add brings: it reads tags that it writes no more.
  defp unstorable(store, {term}) do
    bytes = :erlang.term_to_binary(term, minor_version: 2)
    # For an add that is not made, for want of a handle.
    suspicious? =
      Native.add(store, "", "", 1, [], 0, bytes, false, nil, false) == {:error, :suspicious}

    with false <- suspicious?,
         {:error, {:not_storable, text}} <- Storable.check(struct(URI, path: term), bytes) do
      "taken for storable: #{text}"
    else
      _ -> nil
    end
  end

  defp term(bytes) do
    {:erlang.binary_to_term(bytes)}
  rescue
    ArgumentError -> :none
  end

  defp corpus do
    shapes = for {_handle, shape} <- Enum.take_every(Fixtures.bench_shapes(), 100), do: shape
    for term <- shapes ++ terms(), do: :erlang.term_to_binary(term, minor_version: 2)
  end

  defp terms do
    [
      0,
      255,
      -1,
      2 ** 31,
      -(2 ** 70),
      2 ** 2_100,
      1.5,
      :atom,
      nil,
      "",
      "text",
      <<5::3>>,
      [],
      [1, 2]
    ] ++
      [
        [:a | :b],
        {},
        {1},
        %{},
        %{a: 1},
        %{"a" => %{b: []}},
        ~c"string",
        "Xw",
        [self(), make_ref()]
      ] ++
      [List.duplicate(:x, 300), Map.new(1..40, &{&1, [&1]}), List.to_tuple(Enum.to_list(1..300))] ++
      [&:erlang.==/2, hd(Port.list()), shape(1)] ++
      [Enum.reduce(1..200, [], fn n, term -> %{n => [term]} end), URI.parse("http://a.b/c")]
  end

  defp pick(corpus), do: elem(corpus, :rand.uniform(tuple_size(corpus)) - 1)

  defp damaged(bytes, _corpus, 0), do: bytes

  defp damaged(bytes, corpus, times) do
    at = :rand.uniform(byte_size(bytes) + 1) - 1
    {before, rest} = :erlang.split_binary(bytes, at)

    bytes =
      case {:rand.uniform(7), rest} do
        {1, <<_byte, rest::binary>>} -> <<before::binary, :rand.uniform(256) - 1, rest::binary>>
        {2, <<_byte, rest::binary>>} -> <<before::binary, Enum.random(@telling), rest::binary>>
        {3, rest} -> <<before::binary, Enum.random(@telling), rest::binary>>
        {4, <<_byte, rest::binary>>} -> before <> rest
        {5, _rest} -> before <> tail(pick(corpus))
        {6, rest} -> before <> binary_part(rest, 0, :rand.uniform(byte_size(rest) + 1) - 1)
        {_, rest} -> before <> rest
      end

    damaged(bytes, corpus, times - 1)
  end

  defp tail(bytes) do
    at = :rand.uniform(byte_size(bytes)) - 1
    binary_part(bytes, at, byte_size(bytes) - at)
  end
end
