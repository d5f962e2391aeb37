# `make demo` shows what it does, `make test` is exactly what CI runs. The longer
# forms of the same checks are commands of their own; each ends with a line that a
# script can read.

.PHONY: demo test setup format bench faults power corrupt torture hostile soak sanitize

CYCLES ?= 1000
CALLS ?= 1000000
MINUTES ?= 60

demo: setup
	@MIX_ENV=demo mix do compile + run --no-start demo/run.exs $(if $(DIR),"$(DIR)")

test: setup
	cargo fmt --check
	mix format --check-formatted
	MIX_ENV=test mix compile --warnings-as-errors
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --locked --quiet
	MIX_ENV=test mix test --warnings-as-errors

setup:
	@scripts/setup

format:
	cargo fmt
	mix format
