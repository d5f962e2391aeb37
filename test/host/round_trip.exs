# Adds a shape, finds it, stops and starts the application, finds it again.

alias Electric.ShapeCache.ShapeStatus.ShapeDb
alias Electric.Shapes.Shape

stack_id = Host.stack_id()
shape = %Shape{table: {"public", "items"}, oid: 1, where: "id = 1"}
{_comparable, hash} = Shape.comparable_hash(shape)

"OFF" = Host.default(:shape_db_synchronous)
{:ok, ^hash} = ShapeDb.add_shape(stack_id, shape, "handle")
{:ok, "handle"} = ShapeDb.handle_for_shape(stack_id, shape)
:ok = ShapeDb.mark_snapshot_complete(stack_id, "handle")
{:ok, ["handle"]} = ShapeDb.shape_handles_for_relations(stack_id, [{1, {"public", "items"}}])

Logger.configure(level: :error)
:ok = Application.stop(:host)
:ok = Application.start(:host)

{:ok, [], 1} = ShapeDb.validate_existing_shapes(stack_id)
{:ok, ^shape} = ShapeDb.shape_for_handle(stack_id, "handle")
:ok = ShapeDb.remove_shape(stack_id, "handle")
:error = ShapeDb.handle_for_shape(stack_id, shape)

[path] = Path.wildcard(Path.join(System.fetch_env!("HOST_STORAGE_DIR"), "meta/shape-db/*.sqlite"))
"v11_5@otp-" <> _ = Path.basename(path)
IO.puts("round trip: ok")
