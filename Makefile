# canhub: what one types. `make help` lists it.

PREFIX ?= /usr/local
DESTDIR ?=
GUESTS ?= trixie sid
HARDWARE ?= hardware

TARGET := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
# One static program serves everywhere: in the plugin's empty rootfs, in guests, on any distribution.
STATIC := RUSTFLAGS="-C target-feature=+crt-static" cargo --quiet
STATIC_FLAGS := --release --locked --target $(TARGET) --target-dir target/static
# Under sudo there may be no rustc; `make install` then takes what `make build` left.
OUT := $(if $(TARGET),target/static/$(TARGET)/release,$(firstword $(wildcard target/static/*/release)))

# Where shells look for them, under PREFIX/share: bash, zsh, fish.
COMPLETIONS := bash-completion/completions/canhub zsh/site-functions/_canhub fish/vendor_completions.d/canhub.fish

.PHONY: help build demo test test-hardware test-host-tools check plugin install uninstall bench soak guest-files clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile
	@echo "  Options: PREFIX=$(PREFIX) DESTDIR= GUESTS=\"$(GUESTS)\" HARDWARE=$(HARDWARE) (test; HARDWARE= for none) NATIVE=1 (demo)"

build: ## the program: one static file
	@if ! command -v cargo >/dev/null && test -x $(OUT)/canhub; then \
	    echo "there is no cargo on this PATH (sudo?), so $(OUT)/canhub is taken as it was built"; \
	else \
	    echo "building canhub (a minute or two the first time)"; \
	    $(STATIC) build $(STATIC_FLAGS) --bin canhub && echo "$(OUT)/canhub is ready"; \
	fi

demo: build ## two containers talk over a bus, the machine reboots, they talk again
	@CANHUB=$(OUT)/canhub tests/demo

test: ## everything: unit tests here, the rest on real kernels and engines in guests
	@GUESTS="$(GUESTS)" HARDWARE="$(HARDWARE)" tests/run

test-hardware: ## only the guest with CAN adapters, which are unplugged and plugged in again
	@tests/run hardware

test-host-tools: ## does the hardware guest get its tools, whatever of them is installed? In trees of Debian 12
	@tests/guest/test-host-tools

check: ## format, lints, documents, unit tests: what needs no guest
	@tests/check

plugin: build ## target/plugin, ready for `docker plugin create canhub target/plugin`
	@plugin/build $(OUT)/canhub target/plugin

install: ## into PREFIX, with units for systemd
	@test -x $(OUT)/canhub || $(MAKE) --no-print-directory build
	install -D -m 755 $(OUT)/canhub $(DESTDIR)$(PREFIX)/bin/canhub
	install -D -m 644 plugin/systemd/canhub.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub.socket
	sed 's|@BINDIR@|$(PREFIX)/bin|' plugin/systemd/canhub.service.in > target/canhub.service
	install -D -m 644 target/canhub.service $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub.service
	sed 's|@BINDIR@|$(PREFIX)/bin|' plugin/systemd/canhub-boot-check.service.in > target/canhub-boot-check.service
	install -D -m 644 target/canhub-boot-check.service $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub-boot-check.service
	install -D -m 644 plugin/modules-load.conf $(DESTDIR)$(PREFIX)/lib/modules-load.d/canhub.conf
	@# The program writes its own man pages and completions; one that was built for another machine cannot do so here.
	@install -d $(dir $(addprefix $(DESTDIR)$(PREFIX)/share/,man/man1/ $(COMPLETIONS)))
	@$(OUT)/canhub man $(DESTDIR)$(PREFIX)/share/man/man1 \
	    && $(OUT)/canhub completions bash > $(DESTDIR)$(PREFIX)/share/$(word 1,$(COMPLETIONS)) \
	    && $(OUT)/canhub completions zsh > $(DESTDIR)$(PREFIX)/share/$(word 2,$(COMPLETIONS)) \
	    && $(OUT)/canhub completions fish > $(DESTDIR)$(PREFIX)/share/$(word 3,$(COMPLETIONS)) \
	    || echo "no man pages and completions: $(OUT)/canhub does not run here"
	@echo "Installed. Start it now and at every boot, before Docker:"
	@echo "  systemctl daemon-reload && systemctl enable --now canhub.socket canhub.service"

uninstall: ## takes out what install put in; records in /var/lib/canhub stay
	@echo "If it runs: systemctl disable --now canhub.socket canhub.service"
	rm -f $(DESTDIR)$(PREFIX)/bin/canhub
	rm -f $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub.service
	rm -f $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub-boot-check.service
	rm -f $(DESTDIR)$(PREFIX)/share/man/man1/canhub.1 $(DESTDIR)$(PREFIX)/share/man/man1/canhub-*.1
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/share/,$(COMPLETIONS))
	rm -f $(DESTDIR)$(PREFIX)/lib/modules-load.d/canhub.conf

bench: ## speed beside a plugin that forks `ip` and `cangw`, as ratios
	@tests/bench

soak: ## the long campaigns: storms, cycles, many random calls (about an hour; GUEST=trixie)
	@tests/soak

# What a guest needs in its shared folder: the program, the tests, the plugin. Used by tests/*.
guest-files: build
	@$(STATIC) build $(STATIC_FLAGS) --example probe
	@$(STATIC) test $(STATIC_FLAGS) --test e2e --no-run

clean: ## what was built here; guests stay in their cache
	cargo clean
