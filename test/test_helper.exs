# Committed operations are logged one by one at debug level: only the tests of
# those lines turn it on.
Logger.configure(level: :info)
:telemetry.start()

# With a handler that does not behave, everything goes on as without.
if how = System.get_env("TELEMETRY"), do: ElectricShapeDb.Handlers.attach(how)

# Elixir 1.15 and later hide the libraries that no dependency asks for.
if Version.match?(System.version(), ">= 1.15.0") do
  try do
    apply(Mix, :ensure_application!, [:proper])
  rescue
    _missing in Mix.Error -> :ok
  end
end

without_proper =
  if ElectricShapeDb.Property.available?() do
    []
  else
    IO.puts("PropEr is not installed: the properties are left out")
    [:property]
  end

# Full disks are made by mounting small ones.
mounted = Path.join(System.tmp_dir!(), "shape-db-mount-#{System.pid()}")
File.mkdir_p!(mounted)

without_mount =
  case System.cmd("mount", ["-t", "tmpfs", "tmpfs", mounted], stderr_to_stdout: true) do
    {_, 0} ->
      System.cmd("umount", [mounted])
      []

    _ ->
      IO.puts("nothing can be mounted here: the tests of full disks are left out")
      [:mount]
  end

File.rm_rf!(mounted)

# Limits are those of a user, and the system's own user has none.
without_limits =
  if ElectricShapeDb.LimitedVM.available?() do
    []
  else
    IO.puts("no VM of another user can be had: the tests of limits are left out")
    [:limits]
  end

without_litestream =
  if ElectricShapeDb.Litestream.binary() do
    []
  else
    IO.puts("Litestream is not installed (scripts/litestream): replication is not tested")
    [:litestream]
  end

without_fuse =
  if without_mount == [] and File.exists?("/dev/fuse") and System.find_executable("bindfs") do
    []
  else
    IO.puts("bindfs or FUSE is missing: file systems of several machines are left out")
    [:fuse]
  end

ExUnit.start(
  capture_log: true,
  # What is waited for comes; how soon is the machine's matter.
  assert_receive_timeout: 30_000,
  exclude: without_proper ++ without_mount ++ without_limits ++ without_litestream ++ without_fuse
)
