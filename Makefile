# run: build and start the demo · test: everything, in a real browser too · lint: what a change must pass · bench: measure

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := run
.PHONY: run build test test-rust test-browser lint bench cargo

# a C compiler for ring, OpenSSL with its headers
BUILD_PACKAGES := build-essential libssl-dev pkg-config

# $(call packages,NAME…): install those Debian packages that are missing
define packages
if command -v apt-get >/dev/null; then \
	missing=(); \
	for package in $(1); do dpkg -s "$$package" >/dev/null 2>&1 || missing+=("$$package"); done; \
	if (( $${#missing[@]} )); then \
		if [[ $$(id -u) == 0 ]]; then as_root=; \
		elif command -v sudo >/dev/null; then as_root=sudo; \
		else echo "Please install: $${missing[*]}" >&2; exit 1; fi; \
		echo "Installing $${missing[*]}"; \
		$$as_root apt-get update -q; \
		DEBIAN_FRONTEND=noninteractive $$as_root apt-get install -qy --no-install-recommends "$${missing[@]}"; \
	fi; \
else \
	echo "No apt-get here; this needs what Debian calls: $(1)"; \
fi
endef

run: build
	target/release/costage serve --demo $(ARGS)

build: cargo
	@$(call packages,$(BUILD_PACKAGES))
	cargo build --release --locked

cargo:
	@command -v cargo >/dev/null || { echo "Rust is missing: see https://rustup.rs (1.90 or later)" >&2; exit 1; }

test: test-rust test-browser

test-rust: cargo
	@$(call packages,$(BUILD_PACKAGES))
	@if cargo nextest --version >/dev/null 2>&1; then \
		set -x; cargo nextest run --locked; cargo test --locked --doc; \
	else \
		set -x; cargo test --locked; \
	fi

# The browser tests start the development binary; COSTAGE_BIN names another.
test-browser: cargo
	@{ command -v node && command -v npm; } >/dev/null || { $(call packages,nodejs npm); }
	@[[ -n "$${CHROMIUM:-}" ]] || command -v chromium chromium-browser google-chrome >/dev/null || { $(call packages,chromium); }
	cargo build --locked
	cd tests/browser && npm ci --no-audit --no-fund && node --test

lint: cargo
	@$(call packages,$(BUILD_PACKAGES))
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings

bench: cargo
	@$(call packages,$(BUILD_PACKAGES))
	cargo bench --locked --bench forward
	cargo bench --locked --bench load -- --matrix --runs 3
	cargo bench --locked --bench stage
