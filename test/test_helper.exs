# Committed operations are logged one by one at debug level: only the tests of
# those lines turn it on.
Logger.configure(level: :info)
:telemetry.start()

# Elixir 1.15 and later hide the libraries that no dependency asks for.
if function_exported?(Mix, :ensure_application!, 1) and
     :code.lib_dir(:proper) != {:error, :bad_name} do
  apply(Mix, :ensure_application!, [:proper])
end

without_proper = if ElectricShapeDb.Property.available?(), do: [], else: [:property]

ExUnit.start(capture_log: true, exclude: without_proper)
