# Makes report.html and the tables in README.md anew, from bench/results.
Code.require_file("load.exs", __DIR__)
Bench.Report.write()
