defmodule ElectricShapeDb.RunbooksTest do
  @moduledoc """
  The runbooks of `guides/operations.md`: what they name is there, and those that no other
  test goes through are gone through here.
  """

  use ElectricShapeDb.StoreCase, async: true

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Admin
  alias ElectricShapeDb.PeerVM

  @quiet [print: false]
  @guides Path.wildcard(Path.expand("../../guides/*.md", __DIR__))
  for guide <- @guides, do: @external_resource(guide)

  # Calls in the guides' code, with how many arguments they have: `{module, function, n}`.
  @calls @guides
         |> Enum.flat_map(
           &Regex.scan(~r/\b(Admin|WriteBuffer|ShapeDb)\.(\w+[!?]?)(\([^()`]*\))/, File.read!(&1))
         )
         |> Enum.map(fn [_, module, name, arguments] ->
           {module, String.to_atom(name), Code.string_to_quoted("f" <> arguments)}
         end)
         |> Enum.filter(&match?({_, _, {:ok, _}}, &1))
         |> Enum.map(fn {module, name, {:ok, {:f, _, arguments}}} ->
           {module, name, length(arguments)}
         end)
         |> Enum.uniq()

  @modules %{"Admin" => Admin, "WriteBuffer" => WriteBuffer, "ShapeDb" => ShapeDb}

  test "every call in a guide is one that there is" do
    assert {"Admin", :health, 1} in @calls and {"Admin", :restore, 2} in @calls

    for {module, name, arity} <- @calls do
      module = Map.fetch!(@modules, module)
      Code.ensure_loaded!(module)
      assert function_exported?(module, name, arity), "#{inspect(module)}.#{name}/#{arity}"
    end
  end

  defp filled!(context, opts \\ []) do
    start_store!(context, opts)
    add_samples!(context.stack_id, 1..400)
    for n <- 1..400, do: :ok = ShapeDb.mark_snapshot_complete(context.stack_id, handle(n))
    flush!(context.stack_id)
  end

  test "the disk is full: a file is made small", %{stack_id: stack_id} = context do
    filled!(context)
    for n <- 11..400, do: :ok = ShapeDb.remove_shape(stack_id, handle(n))
    stop_store!(context)
    file = Connection.db_path!(store_opts(context))
    large = File.stat!(file).size
    new = Path.join(tmp_dir!(), "new.sqlite")
    assert {:ok, %{shapes: 10}} = Admin.salvage(file, new, @quiet)
    assert {:ok, %{shapes: 10}} = Admin.restore(new, context.storage_dir, @quiet)
    assert File.stat!(file).size < large
    start_store!(context)
    assert ShapeDb.list_shapes!(stack_id) == Enum.map(1..10, &{handle(&1), shape(&1)})
    assert ShapeDb.snapshot_complete?(stack_id, handle(10))
  end

  test "to another machine", %{stack_id: stack_id} = context do
    filled!(context)
    shapes = ShapeDb.list_shapes!(stack_id)
    stop_store!(context)
    carried = Path.join(tmp_dir!(), "carried.sqlite")
    assert {:ok, %{shapes: 400}} = Admin.backup(context.storage_dir, carried, @quiet)
    there = tmp_dir!()
    assert {:ok, %{shapes: 400}} = Admin.restore(carried, there, @quiet)
    start_store!(%{context | storage_dir: there})
    assert {:ok, %{sound: true}} = Admin.check(stack_id, @quiet)
    assert ShapeDb.list_shapes!(stack_id) == shapes
    assert {:ok, removed, 400} = ShapeDb.validate_existing_shapes(stack_id)
    assert removed == []
  end

  test "a replica back, where a file is", %{stack_id: stack_id} = context do
    filled!(context, external_checkpoint: true)
    copy = Path.join(tmp_dir!(), "replica.sqlite")
    assert {:ok, _} = Admin.backup(stack_id, copy, @quiet)
    add_samples!(stack_id, 500..509)
    stop_store!(context)
    other = tmp_dir!()
    # With what is in the log alone.
    assert {:ok, %{shapes: 410}} = Admin.move(context.storage_dir, other, @quiet)
    file = Connection.db_path!(store_opts(context))
    refute File.exists?(file) or File.exists?(file <> "-wal")
    File.cp!(copy, file)
    start_store!(context, external_checkpoint: true)
    assert ShapeDb.count_shapes(stack_id) == {:ok, 400}
    assert ShapeDb.unknown_handles(stack_id, [handle(1), handle(500)]) == [handle(500)]
  end

  test "a fenced instance is the writer again", %{stack_id: stack_id} = context do
    filled!(context)
    peer = PeerVM.start!()
    :ok = PeerVM.start_store!(peer, "other", store_opts(context))
    {:ok, _, _} = PeerVM.call(peer, ShapeDb, :validate_existing_shapes, ["other"])
    add!(stack_id, shape(500), handle(500))
    eventually(fn -> match?({:ok, %{role: :fenced}}, Admin.info(stack_id, @quiet)) end)
    assert {:ok, %{role: :writer}} = PeerVM.call(peer, Admin, :info, ["other", @quiet])
    lists = Path.wildcard(Connection.db_path!(store_opts(context)) <> ".given-up-*")
    assert Enum.map(lists, &File.read!/1) |> Enum.join() =~ handle(500)
    PeerVM.kill!(peer)
    assert {:ok, [], 400} = ShapeDb.validate_existing_shapes(stack_id)
    assert {:ok, %{role: :writer}} = Admin.info(stack_id, @quiet)
    assert {:ok, _} = ShapeDb.add_shape(stack_id, shape(501), handle(501))
  end

  test "the queue grows: flushing is paused, or the connection is lent", context do
    %{stack_id: stack_id} = context
    filled!(context)
    :ok = WriteBuffer.pause_flush(stack_id)
    add_samples!(stack_id, 500..509)
    assert {:ok, %{pending_ops: 10, failing_since_ms: 0}} = ShapeDb.statistics(stack_id)
    :ok = WriteBuffer.resume_flush(stack_id)
    eventually(fn -> ShapeDb.pending_buffer_size(stack_id) == 0 end)

    Connection.checkout_write!(stack_id, :test, fn _ ->
      add_samples!(stack_id, 510..519)
      assert {:ok, %{pending_ops: 10, failing_since_ms: 0}} = ShapeDb.statistics(stack_id)
      :ok
    end)

    flush!(stack_id)
    assert {:ok, %{verdict: :ok}} = Admin.health(stack_id, @quiet)
  end
end
