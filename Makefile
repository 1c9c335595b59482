# Weir. Every target installs what it lacks (.ci/need) and can be run again at any time.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test clients lint bench prove

TARGET := $(or $(CARGO_TARGET_DIR),target)
E2E := $(TARGET)/e2e
REPS ?= 3
BENCH_ARGS ?=

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## build, then start the gateway and a mock provider on loopback (PORT=8080 MOCK_PORT=9000)
	@.ci/need cmake
	cargo build --release --locked --bin weir
	@WEIR="$(TARGET)/release/weir" .ci/demo

test: ## all tests: units, the whole over real sockets, the real client SDKs
	@.ci/need cmake python3 redis postgres prometheus
	cargo test --locked
	@.ci/need python-clients node-clients
	tests/clients/run

clients: ## one real turn each of Claude Code, Codex CLI and OpenClaw (installs close to a gigabyte)
	@.ci/need cmake python3 agent-clients
	cargo build --locked --bin weir
	tests/clients/agents/run

lint: ## format, clippy, documentation, licences and banned crates
	@.ci/need cmake python3
	cargo fmt --check
	cargo fmt --check --manifest-path benches/e2e/Cargo.toml
	cargo fmt --check --manifest-path benches/e2e/bare/Cargo.toml
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --lib --no-deps --locked
	.ci/deny

bench: ## micro-benchmarks, then nginx, bare Pingora and Weir side by side (REPS=3, BENCH_ARGS=...)
	@.ci/need cmake nginx python3 redis
	cargo build --locked --profile dist --bin weir
	cargo build --locked --release --manifest-path benches/e2e/Cargo.toml --target-dir "$(E2E)"
	cargo build --locked --release --manifest-path benches/e2e/bare/Cargo.toml --target-dir "$(E2E)"
	for file in benches/*.rs; do [ ! -e "$$file" ] || cargo bench --locked --bench "$$(basename "$$file" .rs)" -- --quick; done
	benches/e2e/run.py --bin "$(E2E)/release" --weir "$(TARGET)/dist/weir" --reps $(REPS) $(BENCH_ARGS)

prove: ## the long campaigns: races, kills, recorded answers, hostile peers (WEIR_PROVE_..., docs/proving.md)
	@.ci/need cmake redis postgres
	ulimit -n "$$(ulimit -Hn)"; PROVE=1 cargo test --locked --release --test it campaign -- --nocapture --test-threads 1
