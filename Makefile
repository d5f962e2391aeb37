# `make demo` shows what it does, `make test` is exactly what CI runs. The longer
# forms of the same checks are commands of their own; each ends with a line that a
# script can read.

.PHONY: demo test setup format bench bench-core \
        faults power corrupt torture replicate hostile fuzz soak sanitize models simulate

CYCLES ?= 1000
CALLS ?= 1000000
RUNS ?= 10000000
MINUTES ?= 60
SEEDS ?= 100000

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

# Both sides, interleaved; about half an hour. QUICK=1 for a first look.
bench: setup
	MIX_ENV=prod mix run bench/run.exs

# The core alone, without the BEAM.
bench-core:
	cargo bench --locked --package shape_store --bench core

# Each operation of a workload on the disk fails in its turn.
faults:
	FAULTS=full cargo test --locked --release --package shape_store --test faults

# The power is lost at each sync, and between.
power:
	POWER=full cargo test --locked --release --package shape_store --test power

# Bytes flipped and files cut off.
corrupt:
	CORRUPT=full cargo test --locked --release --package shape_store --test corrupt

# kill -9, and a look at what is there.
torture: setup
	MIX_ENV=test CYCLES=$(CYCLES) mix test test/torture_test.exs

# Litestream beside a store under load, kill -9 of either, and a look at what is restored.
# SYNC=1s for its own interval.
replicate: setup
	MIX_ENV=test CYCLES=$(CYCLES) mix test test/replication_test.exs

# Every NIF with whatever there is.
hostile: setup
	MIX_ENV=test RUST_BACKTRACE=0 HOSTILE_CALLS=$(CALLS) mix test test/hostile_test.exs

soak: setup
	MIX_ENV=test MINUTES=$(MINUTES) mix test test/soak_test.exs

# Every interleaving of the core's own protocols.
models:
	RUSTFLAGS="--cfg loom" cargo test --locked --release --package shape_store \
	  --target-dir target/models --lib models

# Whole stores on a simulated disk, each history from a seed. One again, as short as
# it fails: cargo run --release --package simulate -- --seed N
simulate:
	cargo run --locked --release --package simulate -- --seeds $(SEEDS)

# What parses bytes of a file, with bytes that nobody wrote.
fuzz: setup
	MIX_ENV=test FUZZ_RUNS=$(RUNS) mix test test/fuzz_test.exs

# The core's tests with every access to memory checked. The stable compiler can do that,
# if it is told to let us.
sanitize:
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address RUSTDOCFLAGS=-Zsanitizer=address \
	  cargo test --locked --package shape_store --target-dir target/sanitize \
	  --target $$(rustc -vV | sed -n 's/^host: //p') --lib --tests
