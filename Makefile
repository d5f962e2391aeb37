# `make demo` shows what it does, `make test` is exactly what CI runs. The longer
# forms of the same checks are commands of their own; each ends with a line that a
# script can read.

.PHONY: demo test setup format bench bench-core bench-open-loop bench-report metrics \
        faults power corrupt torture replicate hostile fuzz soak models simulate telemetry \
        sanitize sanitize-memory sanitize-threads sanitize-nif

CYCLES ?= 1000
CALLS ?= 1000000
SECONDS ?= 3600
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

# Latency of operations that arrive at a rate.
bench-open-loop: setup
	MIX_ENV=prod mix run bench/open_loop.exs

# The page and the README's tables anew, from the results that are there.
bench-report: setup
	MIX_ENV=prod mix run bench/report.exs

# The dashboard and the alert rules, by promtool and Grafana's schema where they are.
metrics:
	@scripts/check_metrics

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
	  --target-dir target/models --lib loom_tests

# Whole stores on a simulated disk, each history from a seed. One again, as short as
# it fails: cargo run --release --package simulate -- --seed N
simulate:
	cargo run --locked --release --package simulate -- --seeds $(SEEDS)

# The whole suite beside a handler of telemetry that does not behave.
telemetry: setup
	@for how in slow raises exits throws messages; do \
	  echo "telemetry: $$how"; \
	  MIX_ENV=test TELEMETRY=$$how mix test || exit 1; \
	done
	@echo "telemetry: modes=5 failed=0"

# What parses bytes of a file, with bytes that nobody wrote: a third of the time each for
# terms, for rows, and for pages.
fuzz: setup
	MIX_ENV=test FUZZ_SECONDS=$$(($(SECONDS) / 3)) mix test test/fuzz_test.exs
	scripts/fuzz rows $$(($(SECONDS) / 3))
	scripts/fuzz carve $$(($(SECONDS) / 3))

# The stable compiler can do what follows, if it is told to let us.
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
SANITIZED := target/sanitize/$(HOST)

sanitize: sanitize-memory sanitize-threads sanitize-nif

# The core's tests with every access to memory checked.
sanitize-memory:
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address \
	  cargo test --locked --package shape_store --target-dir target/sanitize \
	  --target $(HOST) --lib --tests --no-fail-fast

# The same with every race seen. The standard library is built along, from its source:
# otherwise what threads hand over by it passes for a race.
sanitize-threads:
	rustup component add rust-src
	RUST_BACKTRACE=0 TSAN_OPTIONS=suppressions=$(CURDIR)/native/shape_store/tests/sanitize_threads.supp \
	  RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=thread \
	  cargo test --locked --package shape_store --target-dir target/sanitize-threads \
	  -Zbuild-std --target $(HOST) --lib --tests --no-fail-fast

# The suite in a VM that has every access of the NIFs to memory checked, but for the tests
# that measure time and memory, of which it takes several times as much. So it does of the
# stack, whose sizes are in words of the VM.
sanitize-nif: setup
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address \
	  cargo build --locked --package shape_db_nif --target-dir target/sanitize --target $(HOST)
	MIX_ENV=test mix compile
	MIX_ENV=test ELECTRIC_SHAPE_DB_NIF=$(CURDIR)/$(SANITIZED)/debug/libshape_db_nif.so \
	  LD_PRELOAD=$$(cc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
	  ERL_AFLAGS="+sss 1024 +sssdcpu 1024 +sssdio 1024" \
	  mix test --no-compile --exclude measures --timeout 600000
