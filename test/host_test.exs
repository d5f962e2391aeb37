defmodule ElectricShapeDb.HostTest do
  @moduledoc "The small host in `test/host`, compiled and run in a VM of its own."

  use ElectricShapeDb.StoreCase, async: true

  @host Path.expand("host", __DIR__)

  @moduletag :host
  @moduletag timeout: 300_000

  test "a host compiles after the library without a warning, and runs", context do
    env = [
      {"MIX_ENV", "prod"},
      {"MIX_BUILD_PATH", Path.join(context.storage_dir, "_build")},
      {"HOST_STORAGE_DIR", Path.join(context.storage_dir, "storage")}
    ]

    {output, status} =
      System.cmd("mix", ["run", "round_trip.exs"], cd: @host, env: env, stderr_to_stdout: true)

    assert status == 0, output
    assert output =~ "round trip: ok"
    refute output =~ "warning", output
  end
end
