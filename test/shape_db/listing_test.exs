defmodule ElectricShapeDb.ListingTest do
  @moduledoc """
  Shapes in a list share what they have in common, and are the same terms as without.
  `LISTING_RUNS=1000` for more.
  """

  use ElectricShapeDb.StoreCase, async: true

  import ElectricShapeDb.Property

  alias ElectricShapeDb.Bodies
  alias ElectricShapeDb.Tap
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.ColdReads
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native

  @runs String.to_integer(System.get_env("LISTING_RUNS", "100"))

  # What stands in the place of a part: each kind of the external format, and some
  # that look like others.
  @parts [0, 255, 256, -1, 2 ** 31, -(2 ** 70), 1.5, :atom, nil, true, "", "text", <<5::3>>] ++
           [[], [1, 2], [:a | :b], [[]], {}, {1}, {:a, "b"}, %{}, %{a: 1}, %{"a" => %{b: []}}] ++
           [&:erlang.==/2, ~c"string", String.duplicate("long", 100), List.duplicate(:x, 300)] ++
           [Map.new(1..40, &{&1, [&1]}), %{a: 1, b: 2}, %{a: %{}, c: 2}, [%{a: 1}, %{a: 2}]]

  for {name, opts} <- ElectricShapeDb.Matrix.configurations() do
    @tag store: opts
    @tag :property
    @tag timeout: :infinity
    test "a list has the terms that were added (#{name})", context do
      check!(variation(), @runs, fn variations ->
        run = %{context | stack_id: unique("stack"), storage_dir: tmp_dir!()}
        start_store!(run)

        added =
          for {variation, n} <- Enum.with_index(variations) do
            {add!(run.stack_id, shape(n, varied(variation)), handle(n)),
             shape(n, varied(variation))}
          end

        assert ShapeDb.list_shapes!(run.stack_id) == added
        flush!(run.stack_id)
        assert ShapeDb.list_shapes!(run.stack_id) === added

        # Those that are read often share as well.
        for _ <- 1..4, {handle, shape} <- added do
          assert ShapeDb.shape_for_handle(run.stack_id, handle) === {:ok, shape}
        end

        stop_store!(run)
      end)
    end
  end

  # A table, and two places in a term with what stands there.
  defp variation do
    [integer(0, 2), integer(0, 5), part(), integer(0, 5), part()]
  end

  defp part, do: integer(0, length(@parts) - 1)

  defp varied([table, place, part, other_place, other_part]) do
    term = %{a: [1, {:b, %{c: "d", e: nil}}, "f"], g: {:h, [~c"i" | :j]}, k: %{}}

    term =
      term |> put(place, Enum.at(@parts, part)) |> put(other_place, Enum.at(@parts, other_part))

    [root_table_id: oid(table), storage: term, tag_structure: [term]]
  end

  defp put(term, 0, part), do: Map.put(term, :a, part)
  defp put(term, 1, part), do: Map.put(term, :g, {:h, part})
  defp put(term, 2, part), do: Map.put(term, :g, {part, [:i | part]})
  defp put(term, 3, part), do: Map.put(term, :a, [1, part, "f"])
  defp put(term, 4, part), do: Map.put(term, part, part)
  defp put(term, 5, part), do: Map.put(term, :k, %{part => 1, c: part})

  test "equal parts of a list are one term in memory", %{stack_id: stack_id} = context do
    start_store!(context)
    long = List.duplicate("a part that all of them have", 100)
    for n <- 1..50, do: add!(stack_id, shape(n, tag_structure: long), handle(n))
    shapes = ShapeDb.list_shapes!(stack_id)

    assert :erts_debug.flat_size(shapes) > 50 * :erts_debug.flat_size(long)
    assert :erts_debug.size(shapes) < 5 * :erts_debug.flat_size(long)
  end

  # What the parser gives is what the VM's own function gives, or nothing: then that
  # function is asked. `LISTING_SEED` repeats a run.
  @tag timeout: :infinity
  test "damaged bodies beside sound ones are parsed as the VM parses them",
       %{stack_id: stack_id} = context do
    start_store!(context)
    store = store!(stack_id)
    seed = String.to_integer(System.get_env("LISTING_SEED", "#{System.unique_integer()}"))
    :rand.seed(:exsss, seed)

    for _ <- 1..@runs do
      bodies = for n <- 1..50, do: {handle(n), :rand.uniform(3), damaged(body())}
      items = Bodies.listed(store, bodies)

      for {{handle, _table, body}, {handle, parsed}} <- Enum.zip(bodies, items) do
        unless parsed === body or parsed === :erlang.binary_to_term(body) do
          flunk("seed #{seed}: #{inspect(body, limit: :infinity)} gave #{inspect(parsed)}")
        end
      end
    end
  end

  defp body do
    [table, place, part, other_place, other_part] =
      for most <- [3, 6, length(@parts), 6, length(@parts)], do: :rand.uniform(most) - 1

    shape = shape(:rand.uniform(3), varied([table, place, part, other_place, other_part]))
    if :rand.uniform(2) == 1, do: :erlang.term_to_binary(shape), else: reordered(shape)
  end

  # A body as another run of the VM may write it: the keys of maps in another order.
  defp reordered(shape), do: IO.iodata_to_binary([131, external(shape)])

  defp external(map) when is_map(map) do
    pairs = map |> Map.to_list() |> Enum.shuffle()
    [<<116, map_size(map)::32>>, for({key, value} <- pairs, do: [external(key), external(value)])]
  end

  defp external(tuple) when is_tuple(tuple) do
    [<<105, tuple_size(tuple)::32>>, for(element <- Tuple.to_list(tuple), do: external(element))]
  end

  defp external([_ | _] = list) do
    if List.improper?(list) do
      leaf(list)
    else
      [<<108, length(list)::32>>, Enum.map(list, &external/1), 106]
    end
  end

  defp external(leaf), do: leaf(leaf)

  defp leaf(term) do
    <<131, bytes::binary>> = :erlang.term_to_binary(term)
    bytes
  end

  test "the order of their keys keeps no maps from being shared",
       %{stack_id: stack_id} = context do
    start_store!(context)
    long = Map.new(1..30, &{"a part that #{&1}", %{a: "all of them", b: "have"}})
    shapes = for n <- 1..50, do: shape(n, tag_structure: long, storage: %{c: %{d: n}, e: long})
    bodies = for {shape, n} <- Enum.with_index(shapes, 1), do: {handle(n), 1, reordered(shape)}
    items = Bodies.listed(store!(stack_id), bodies)
    parsed = for {_handle, shape} <- items, do: shape

    assert parsed === shapes
    assert :erts_debug.size(parsed) < div(:erts_debug.flat_size(parsed), 10)
  end

  defp damaged(body) do
    {before, <<byte, rest::binary>>} =
      :erlang.split_binary(body, :rand.uniform(byte_size(body)) - 1)

    case :rand.uniform(5) do
      1 -> <<before::binary, :rand.uniform(256) - 1, rest::binary>>
      2 -> <<before::binary, byte + 1, rest::binary>>
      3 -> before
      4 -> <<before::binary, Enum.random([104, 105, 106, 107, 108, 109, 116, 119]), rest::binary>>
      5 -> body
    end
  end

  test "a large map with a key twice is no term in a list either", context do
    %{stack_id: stack_id} = context
    pair = <<97, 1, 106>>
    large = <<131, 116, 34::32, :binary.copy(pair, 34)::binary>>
    assert_raise ArgumentError, fn -> :erlang.binary_to_term(large) end

    start_store!(context)
    add_samples!(stack_id, 1..2)
    flush!(stack_id)
    tamper!(stack_id, ["UPDATE bodies SET shape = x'#{Base.encode16(large)}' WHERE id = 2"])
    restart_store!(context)

    assert ShapeDb.list_shapes(stack_id) == {:ok, [{handle(1), shape(1)}]}
  end

  test "a list is the same by whichever way its bodies come", %{stack_id: stack_id} = context do
    start_store!(context)
    handles = add_samples!(stack_id, 1..40)
    flush!(stack_id)
    restart_store!(context)
    store = store!(stack_id)
    # Some warm, the others cold; and it is known now whether the file can be read at once.
    for n <- [1, 7, 8, 20, 40], do: {:ok, _shape} = ShapeDb.shape_for_handle(stack_id, handle(n))

    [one, other] = for _ <- 1..2, do: Native.cursor(store)
    for n <- [2, 7, 39], do: :ok = ShapeDb.remove_shape(stack_id, handle(n))
    add!(stack_id, shape(100), handle(39))
    flush!(stack_id)

    # In pieces whose ends are anywhere.
    at_once = pieces(fn -> ColdReads.shapes(store, one, 7) end)
    asked = pieces(fn -> asked(store, other, 7) end)
    assert at_once === asked

    expected =
      for handle <- handles do
        case ShapeDb.shape_for_handle(stack_id, handle) do
          {:ok, shape} -> {handle, shape}
          :error -> {handle, nil}
        end
      end

    assert List.keysort(at_once, 0) == Enum.sort(expected)
  end

  defp pieces(next) do
    case next.() do
      {:ok, [_ | _] = items} -> items ++ pieces(next)
      :done -> []
    end
  end

  defp asked(store, cursor, len) do
    ref = make_ref()
    owed = Native.ask_shapes(store, cursor, len, false, ref)
    assert_receive {^ref, :here}, 30_000
    Native.take_shapes(store, owed)
  end

  @tag store: [exclusive_mode: true]
  test "a list that is in memory does not wait for the one connection", context do
    %{stack_id: stack_id} = context
    start_store!(context)
    handles = add_samples!(stack_id, 1..3)
    flush!(stack_id)

    :ok =
      Connection.checkout_write!(stack_id, :test, fn _conn ->
        assert for({handle, _shape} <- ShapeDb.list_shapes!(stack_id), do: handle) == handles
        :ok
      end)
  end

  for mode <- [[], [exclusive_mode: true]] do
    @tag store: mode
    test "a damaged body costs its own shape, which is named #{inspect(mode)}", context do
      %{stack_id: stack_id} = context
      start_store!(context)
      add_samples!(stack_id, 1..4)
      flush!(stack_id)
      # The one is no term, the other another shape's.
      tamper!(stack_id, ["UPDATE bodies SET shape = x'8374' WHERE id = 2"])

      tamper!(stack_id, [
        "UPDATE bodies SET shape = (SELECT shape FROM bodies WHERE id = 1) WHERE id = 3"
      ])

      restart_store!(context)
      lost = [:electric, :shape_db, :shape, :lost]
      Tap.events(stack_id, [lost])
      Tap.logs("a shape is lost")

      kept = [{handle(1), shape(1)}, {handle(4), shape(4)}]
      assert ShapeDb.list_shapes(stack_id) == {:ok, kept}

      for n <- [2, 3] do
        handle = handle(n)
        assert_receive {:event, ^lost, %{count: 1}, %{handle: ^handle, reason: reason}}
        assert reason =~ "damaged"
        assert_receive {:log, :error, line}, 1_000
        assert line =~ "definition is damaged"
      end

      assert ShapeDb.reduce_shapes(stack_id, [], &[&1 | &2]) |> Enum.sort() == kept
      assert ShapeDb.shape_for_handle(stack_id, handle(2)) == :error
      assert {:ok, %{lost: 2}} = ShapeDb.statistics(stack_id)
      restart_store!(context)
      assert ShapeDb.list_shapes(stack_id) == {:ok, kept}
    end
  end

  for opts <- [[], [exclusive_mode: true], [cache_size: 0], [exclusive_mode: true, cache_size: 0]] do
    @tag store: opts
    test "a list that outlives its store ends in an error #{inspect(opts)}", context do
      %{stack_id: stack_id} = context

      for list <- [&ShapeDb.reduce_shapes/3, &ShapeDb.reduce_shape_meta/3] do
        start_store!(context)
        add_samples!(stack_id, 1..1_200)
        flush!(stack_id)

        stop_early = fn _shape, n ->
          if n == 3, do: stop_store!(context)
          n + 1
        end

        error = assert_raise ShapeDb.Error, fn -> list.(stack_id, 0, stop_early) end
        assert Exception.message(error) =~ stack_id
        File.rm_rf!(context.storage_dir)
      end
    end
  end
end
