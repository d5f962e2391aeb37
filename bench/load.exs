# Compiles the bench's modules, and the stand-ins for the host's where the project
# was not compiled with them, to bench/_build/ebin, from where the fresh VMs of
# `Bench.Probe` load them as well. Then builds and loads the peer's library.
root = __DIR__
ebin = Path.join(root, "_build/ebin")
File.rm_rf!(ebin)
File.mkdir_p!(ebin)
Code.prepend_path(ebin)

stand_ins =
  for {module, file} <- [
        {Electric.Shapes.Shape, "shape.ex"},
        {Electric.ShapeCache.ShapeStatus, "shape_status.ex"}
      ],
      not Code.ensure_loaded?(module),
      do: Path.join([root, "../test/support", file])

modules = Enum.flat_map(["peer/lib/*.ex", "lib/**/*.ex"], &Path.wildcard(Path.join(root, &1)))

case Kernel.ParallelCompiler.compile_to_path(stand_ins ++ modules, ebin) do
  {:ok, _modules, []} -> :ok
  {:ok, _modules, _warnings} -> raise "the bench compiles with warnings"
  {:error, _errors, _warnings} -> raise "the bench does not compile"
end

Bench.Peer.Native.build!()
Bench.Peer.Native.load!()

# At debug level every committed operation is a log line.
Logger.configure(level: :warning)
