# `make help` lists what there is to do.

PREFIX       ?= /usr/local
CARGO        ?= cargo
RUNS         ?= 100
FUZZ_SECONDS ?= 30

# rustup puts cargo here, where `sudo` and a new shell do not look.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Nothing is specific to one architecture: the compiler says what it builds for. Where it cannot be
# asked (`sudo make install`), whatever has been built is meant.
TRIPLE := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
TARGET := $(or $(CARGO_TARGET_DIR),target)
HAKO   ?= $(or $(if $(TRIPLE),$(TARGET)/$(TRIPLE)/release/hako),$(firstword $(wildcard $(TARGET)/*/release/hako)))
export HAKO := $(abspath $(HAKO))

# Shown by `hako --version`.
export HAKO_COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

.PHONY: all build demo test unit guest guest-test engines bench layout conformance conformance-table fuzz memcheck miri lint install uninstall clean help

all: build

build: ## build the release binary (the default)
	@integration/setup.sh build
	$(CARGO) build --release --package hako
	@ls -lh '$(HAKO)'

demo: build ## run an example container and see what a container is (needs root)
	@integration/setup.sh demo
	@integration/demo.sh

test: ## run every test there is (needs root)
	@integration/setup.sh test
	@integration/test.sh

unit: ## run the tests that need no root
	@integration/setup.sh build
	$(CARGO) test --workspace --exclude hako-integration

guest: ## build the guest in which limits and systemd are tested, if it is not there (needs root)
	@integration/vm/build

guest-test: build ## run all the tests in the guest: another host, another kernel (needs root; minutes)
	@integration/setup.sh test
	@integration/vm/test --all
	@HAKO_GUEST=1 integration/vm/test

engines: build ## run docker, containerd and podman with hako (needs root; PEERS=1 writes docs/engines-compared.md)
ifdef PEERS
	@integration/engines/compare docs/engines-compared.md
else
	@integration/engines/test
endif

bench: build ## measure hako beside crun, runc and a hand-written floor (needs root; RUNS=100)
	@integration/setup.sh bench
	@result=0; peers=$$(mktemp -d); \
	    $(CARGO) run --quiet --release --package hako-bench -- --runs $(RUNS) $$(integration/bench/peers "$$peers") || result=$$?; \
	    rm -r "$$peers"; integration/vm/bench $(RUNS) || result=$$?; exit $$result

layout: ## have the linker place what hako executes together: writes src/layout.ld (needs root; minutes)
	@integration/setup.sh bench
	$(CARGO) rustc --release --package hako --bin hako --target-dir $(TARGET)/layout -- \
	    -C link-arg=-Wl,-Map=$(abspath $(TARGET))/layout/hako.map
	HAKO=$(abspath $(TARGET))/layout/$(TRIPLE)/release/hako $(CARGO) run --quiet --release \
	    --package hako-bench -- --layout $(TARGET)/layout/hako.map >$(TARGET)/layout/layout.ld
	cp $(TARGET)/layout/layout.ld src/layout.ld

conformance: build ## run the OCI conformance suite with hako and its peers (needs root)
	@integration/setup.sh test
	@integration/conformance.sh test

conformance-table: build ## the same side by side, into docs/conformance.md (needs root)
	@integration/setup.sh test
	@integration/conformance.sh table

fuzz: ## fuzz each target for a short while (FUZZ_SECONDS=30; installs cargo-fuzz)
	@integration/setup.sh fuzz
	@integration/fuzz.sh $(FUZZ_SECONDS)

memcheck: ## run the unit tests with AddressSanitizer (needs a nightly Rust)
	@integration/setup.sh build
	@integration/memcheck.sh

miri: ## run what Miri can run of the unsafe code (needs a nightly Rust with miri and rust-src)
	@integration/setup.sh build
	$(CARGO) +nightly miri test --package hako --lib sys::

lint: ## check formatting, clippy, dependencies and shell scripts
	@integration/lint.sh

install: ## install the binary that was built (PREFIX=/usr/local, DESTDIR)
	@test -x '$(HAKO)' || { echo 'nothing is built yet: run `make` first, as yourself'; exit 1; }
	install -D -m 0755 '$(HAKO)' '$(DESTDIR)$(PREFIX)/bin/hako'

uninstall: ## remove it again
	rm -f '$(DESTDIR)$(PREFIX)/bin/hako'

clean: ## remove everything that was built
	$(CARGO) clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name what; do \
	    printf '  make %-17s %s\n' "$$name" "$$what"; done
