# Ours against the design it replaces: MIX_ENV=prod mix run bench/run.exs
# See bench/README.md for the method and for the settings (ROUNDS, QUICK, ONLY, SIDES).
Code.require_file("load.exs", __DIR__)
Bench.Runner.main("latest", Bench.Runner.workloads())
