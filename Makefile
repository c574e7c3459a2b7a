# `make help` lists the targets.

PREFIX ?= /usr/local
DESTDIR ?=
GUESTS ?= trixie sid
HARDWARE ?= hardware

TARGET := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
# A static program runs everywhere: in the empty rootfs of the plugin, in guests, on any distribution.
STATIC := RUSTFLAGS="-C target-feature=+crt-static" cargo --quiet
STATIC_FLAGS := --release --locked --target $(TARGET) --target-dir target/static
# Under sudo there may be no rustc; `make install` then uses the output of `make build`.
OUT := $(if $(TARGET),target/static/$(TARGET)/release,$(firstword $(wildcard target/static/*/release)))

# Completions for bash, zsh and fish, relative to PREFIX/share.
COMPLETIONS := bash-completion/completions/canhub zsh/site-functions/_canhub fish/vendor_completions.d/canhub.fish

.PHONY: help build demo test test-hardware test-host-tools check mutants plugin install uninstall bench soak guest-files clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile
	@echo "  Options: PREFIX=$(PREFIX) DESTDIR= GUESTS=\"$(GUESTS)\" HARDWARE=$(HARDWARE) (test; HARDWARE= skips it) NATIVE=1 (demo)"

build: ## build canhub as a single static executable
	@if ! command -v cargo >/dev/null && test -x $(OUT)/canhub; then \
	    echo "cargo not found in PATH (sudo?): using the existing $(OUT)/canhub"; \
	else \
	    echo "building canhub (a minute or two the first time)"; \
	    $(STATIC) build $(STATIC_FLAGS) --bin canhub && echo "$(OUT)/canhub is ready"; \
	fi

demo: build ## show it: two containers talk over a bus, the machine reboots, they talk again
	@CANHUB=$(OUT)/canhub tests/demo

test: ## run all tests: unit tests on this machine, the rest in guests with real kernels and Docker
	@GUESTS="$(GUESTS)" HARDWARE="$(HARDWARE)" tests/run

test-hardware: ## run only the tests with CAN adapters, which are unplugged and replugged
	@tests/run hardware

test-host-tools: ## check that the hardware guest gets its tools on Debian 12, whatever is installed
	@tests/guest/test-host-tools

check: ## run everything that needs no guest: format, lints, docs, unit tests
	@tests/check

mutants: ## break the core in many places, one at a time, and list what no test notices (hours; MUTANTS="-f src/state.rs")
	@tests/mutants $(MUTANTS)

plugin: build ## lay out target/plugin for `docker plugin create canhub target/plugin`
	@plugin/build $(OUT)/canhub target/plugin

install: ## install to PREFIX, with systemd units, man pages and completions
	@test -x $(OUT)/canhub || $(MAKE) --no-print-directory build
	install -D -m 755 $(OUT)/canhub $(DESTDIR)$(PREFIX)/bin/canhub
	install -D -m 644 plugin/systemd/canhub.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub.socket
	sed 's|@BINDIR@|$(PREFIX)/bin|' plugin/systemd/canhub.service.in | install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub.service
	sed 's|@BINDIR@|$(PREFIX)/bin|' plugin/systemd/canhub-boot-check.service.in | install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub-boot-check.service
	install -D -m 644 plugin/modules-load.conf $(DESTDIR)$(PREFIX)/lib/modules-load.d/canhub.conf
	install -D -m 644 plugin/sysctl.conf $(DESTDIR)$(PREFIX)/lib/sysctl.d/10-canhub.conf
	@# canhub generates its own man pages and completions, unless it was cross-compiled and cannot run here.
	@install -d $(dir $(addprefix $(DESTDIR)$(PREFIX)/share/,man/man1/ $(COMPLETIONS)))
	@$(OUT)/canhub man $(DESTDIR)$(PREFIX)/share/man/man1 \
	    && $(OUT)/canhub completions bash > $(DESTDIR)$(PREFIX)/share/$(word 1,$(COMPLETIONS)) \
	    && $(OUT)/canhub completions zsh > $(DESTDIR)$(PREFIX)/share/$(word 2,$(COMPLETIONS)) \
	    && $(OUT)/canhub completions fish > $(DESTDIR)$(PREFIX)/share/$(word 3,$(COMPLETIONS)) \
	    || echo "skipping man pages and completions: $(OUT)/canhub does not run on this machine"
	@echo "Installed. To make room for bursts of frames now, as it is done at every boot:"
	@echo "  sysctl --system --pattern 'net.core.(netdev_max_backlog|rmem_max)'"
	@echo "To start canhub now and at every boot, before Docker:"
	@echo "  systemctl daemon-reload && systemctl enable --now canhub.socket canhub.service"

uninstall: ## remove what `make install` installed; keeps /var/lib/canhub
	@echo "If canhub is running: systemctl disable --now canhub.socket canhub.service"
	rm -f $(DESTDIR)$(PREFIX)/bin/canhub
	rm -f $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub.service
	rm -f $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub-boot-check.service
	rm -f $(DESTDIR)$(PREFIX)/share/man/man1/canhub.1 $(DESTDIR)$(PREFIX)/share/man/man1/canhub-*.1
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/share/,$(COMPLETIONS))
	rm -f $(DESTDIR)$(PREFIX)/lib/modules-load.d/canhub.conf $(DESTDIR)$(PREFIX)/lib/sysctl.d/10-canhub.conf

bench: ## measure Joins against a plugin that forks `ip` and `cangw`, the time to heal, and bursts
	@tests/bench

soak: ## run the long tests: fault storms, network cycles, fuzzing (about an hour; GUEST=trixie)
	@tests/soak

# Everything that goes into a guest's shared folder: program, tests, plugin. Used by tests/*.
guest-files: build
	@$(STATIC) build $(STATIC_FLAGS) --example probe
	@$(STATIC) test $(STATIC_FLAGS) --test e2e --no-run

clean: ## remove build output; cached guests are kept
	cargo clean
