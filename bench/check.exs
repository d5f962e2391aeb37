# The functional checks that both sides of the bench must pass:
#   mix run bench/check.exs [ours|peer]
Code.require_file("load.exs", __DIR__)
Bench.Check.main(System.argv())
