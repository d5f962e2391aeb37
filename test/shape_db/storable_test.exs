defmodule ElectricShapeDb.StorableTest do
  @moduledoc "What a shape may have in it: nothing that means nothing after a restart."

  use ElectricShapeDb.StoreCase, async: true

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores
  alias ElectricShapeDb.HostApp
  alias ElectricShapeDb.PeerVM

  setup :start_store!

  defp odd(kind) do
    case kind do
      :pid -> self()
      :reference -> make_ref()
      :port -> hd(Port.list())
    end
  end

  for kind <- [:pid, :reference, :port] do
    test "a #{kind} anywhere in a shape is refused by name", %{stack_id: stack_id} do
      odd = odd(unquote(kind))

      places = [
        {odd, "shape.storage"},
        {[1, 2, odd], "shape.storage[2]"},
        {[1 | odd], "shape.storage[1]"},
        {{:a, %{b: odd}}, "shape.storage[1].b"},
        {%{odd => 1}, "shape.storage.key"},
        {URI.parse("/") |> Map.put(:path, [odd]), "shape.storage.path[0]"},
        {fn -> odd end, "shape.storage (a function)[0]"},
        {String.duplicate("x", 100_000) |> then(&{&1, odd}), "shape.storage[1]"}
      ]

      for {value, where} <- places do
        shape = shape(1, storage: value)
        assert {:error, {:not_storable, text}} = ShapeDb.add_shape(stack_id, shape, handle(1))
        assert text =~ "#{where} is #{inspect(odd)}, which means nothing after a restart"
        relations = [relation(0)]

        assert {:error, {:not_storable, ^text}} =
                 WriteBuffer.add_shape(stack_id, handle(1), shape, 1, 1, relations)
      end

      assert {:error, {:not_storable, text}} =
               WriteBuffer.add_shape(stack_id, handle(1), shape(1), {1, odd}, 1, [relation(0)])

      assert text =~ "the comparable term[1] is"
      assert ShapeDb.count_shapes(stack_id) == {:ok, 0}
      assert ShapeDb.pending_buffer_size(stack_id) == 0
    end
  end

  test "whatever else there is is stored, also what looks alike",
       %{stack_id: stack_id} = context do
    taken = {1, "two"}

    values = [
      # The tag of a process or port and that of an atom, as text.
      "XwXvYwYvxwxvZ\0",
      ["Xw", :Xw, {"Z" <> <<0>>}],
      &String.length/1,
      &(not is_nil(&1)),
      fn -> taken end,
      [1.5, -1, 300, -70_000, 2 ** 80, -(2 ** 4_000), <<1::3>>, ~c"Xw", [1 | 2]],
      %{{:a, "Xw"} => nil, List.duplicate(1.0, 300) => List.to_tuple(Enum.to_list(1..300))},
      String.to_atom("Xw" <> String.duplicate("ü", 150))
    ]

    for {value, n} <- Enum.with_index(values) do
      shape = shape(n, storage: value)
      assert {:ok, _hash} = ShapeDb.add_shape(stack_id, shape, handle(n))
      refute suspicious?(stack_id, :erlang.term_to_binary(value, minor_version: 2))
    end

    restart_store!(context)

    for {value, n} <- Enum.with_index(values) do
      assert ShapeDb.shape_for_handle(stack_id, handle(n)) == {:ok, shape(n, storage: value)}
    end
  end

  test "functions work in the next VM, with what they took along", context do
    context = %{context | stack_id: unique("stack"), storage_dir: tmp_dir!()}

    for {call, args, expected} <- [
          {:add_functions, [20], :ok},
          {:call_functions, [], {true, 21}}
        ] do
      vm = PeerVM.start!()
      PeerVM.start_store!(vm, context.stack_id, store_opts(context))
      assert PeerVM.call(vm, HostApp, call, [context.stack_id | args]) == expected
      PeerVM.stop(vm)
    end
  end

  test "names that are new to the VM come into being when the shape is read", context do
    %{stack_id: stack_id} = context
    {:ok, store} = Stores.fetch(stack_id)

    for {fill, n} <- [{"", 1}, {String.duplicate("x", 10_000), 2}] do
      name = unique("never_seen")
      # An atom, a function of a module that is not loaded, and something to make it long.
      part =
        <<104, 3, 119, byte_size(name), name::binary, 113, 119, byte_size(name), name::binary,
          119, 1, "f", 97, 1, 109, byte_size(fill)::32, fill::binary>>

      [key, struct, field] =
        for atom <- [:__struct__, Electric.Shapes.Shape, :storage], do: etf(atom)

      body = <<131, 116, 2::32, key::binary, struct::binary, field::binary, part::binary>>

      digest = "comparable-#{n}"
      {:ok, _} = Native.add(store, handle(n), digest, 1, [n], 0, body, false, nil, false)

      assert {:ok, %{storage: {atom, function, ^fill}}} =
               ShapeDb.shape_for_handle(stack_id, handle(n))

      assert Atom.to_string(atom) == name
      assert function == Function.capture(atom, :f, 1)
    end
  end

  # An atom without the version that begins a term.
  defp etf(atom) do
    <<131, bytes::binary>> = :erlang.term_to_binary(atom, minor_version: 2)
    bytes
  end

  test "bytes that are cut off or no term are looked at twice", %{stack_id: stack_id} do
    bytes =
      :erlang.term_to_binary({"Xw", [fn -> "Xw" end, 2 ** 80], %{1 => 2.0}}, minor_version: 2)

    refute suspicious?(stack_id, bytes)
    {at, _} = :binary.match(bytes, "Xw")

    for len <- (at + 2)..(byte_size(bytes) - 1) do
      assert suspicious?(stack_id, binary_part(bytes, 0, len))
    end

    assert suspicious?(stack_id, bytes <> "x")
    assert suspicious?(stack_id, "Xw")
  end

  # For an add that cannot be made for another reason.
  defp suspicious?(stack_id, bytes) do
    {:ok, store} = Stores.fetch(stack_id)
    Native.add(store, "", "", 1, [], 0, bytes, false, nil, false) == {:error, :suspicious}
  end
end
