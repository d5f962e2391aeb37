# Latency of operations that arrive at a rate: MIX_ENV=prod mix run bench/open_loop.exs
# See bench/README.md for the method and for the settings (ROUNDS, QUICK, ONLY, SIDES).
Code.require_file("load.exs", __DIR__)
Bench.Runner.main("open_loop", [Bench.Workloads.OpenLoop])
