# run: build and start the demo · test: everything, in a real browser too · lint: what a change must pass · bench: measure

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := run
.PHONY: run build test test-rust test-browser lint bench cargo

# C and C++ compilers for ring, libopus and openh264, cmake for libopus, nasm for openh264's assembly; OpenSSL and libvpx with
# their headers
BUILD_PACKAGES := build-essential cmake libssl-dev libvpx-dev nasm pkg-config
CARGO_FLAGS := --locked --features vp8

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

define build_needs
$(call packages,$(BUILD_PACKAGES)); \
if [[ $$(uname -m) == x86_64 ]] && ! command -v nasm >/dev/null; then \
	echo "nasm is missing, without which H.264 takes three times as long: please install it" >&2; exit 1; \
fi
endef

run: build
	target/release/costage serve --demo $(ARGS)

build: cargo
	@$(build_needs)
	cargo build --release $(CARGO_FLAGS)

cargo:
	@command -v cargo >/dev/null || { echo "Rust is missing: see https://rustup.rs (1.90 or later)" >&2; exit 1; }

test: test-rust test-browser

test-rust: cargo
	@$(build_needs)
	@if cargo nextest --version >/dev/null 2>&1; then \
		set -x; cargo nextest run $(CARGO_FLAGS); cargo test $(CARGO_FLAGS) --doc; \
	else \
		set -x; cargo test $(CARGO_FLAGS); \
	fi

# The browser tests start the development binary; COSTAGE_BIN names another.
test-browser: cargo
	@{ command -v node && command -v npm; } >/dev/null || { $(call packages,nodejs npm); }
	@[[ -n "$${CHROMIUM:-}" ]] || command -v chromium chromium-browser google-chrome >/dev/null || { $(call packages,chromium); }
	cargo build $(CARGO_FLAGS)
	cd tests/browser && npm ci --no-audit --no-fund && node --test

lint: cargo
	@$(build_needs)
	cargo fmt --check
	cargo clippy --all-targets $(CARGO_FLAGS) -- -D warnings

bench: cargo
	@$(build_needs)
	cargo bench $(CARGO_FLAGS) --bench forward
	cargo bench $(CARGO_FLAGS) --bench load -- --matrix --runs 3
	cargo bench $(CARGO_FLAGS) --bench stage
	cargo bench $(CARGO_FLAGS) --bench mix -- --rounds 3
