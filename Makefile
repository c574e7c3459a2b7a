# `make help` lists the targets.

PREFIX ?= /usr/local
DESTDIR ?=
# Where container runtimes look for CNI plugins.
CNI_BIN ?= /opt/cni/bin
GUESTS ?= trixie sid
HARDWARE ?= hardware

# The processor to build for, as Debian calls it: amd64, arm64 or armhf. Empty: this machine's.
ARCH =
TARGET_amd64 := x86_64-unknown-linux-gnu
TARGET_arm64 := aarch64-unknown-linux-gnu
TARGET_armhf := armv7-unknown-linux-gnueabihf
# With RELEASE=yes, as for `make dist`, programs do not name the folders that they were built in; see plugin/cargo.
BUILT := target/$(if $(RELEASE),release,static)
# Under sudo there may be no rustc; `make install` then uses the output of `make build`.
HOST := $(or $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p'),$(notdir $(firstword \
    $(wildcard $(BUILT)/$(patsubst armv7l,armv7,$(shell uname -m))-*))))
DEB_ARCH = $(or $(ARCH),$(shell dpkg --print-architecture))
ARCHS ?= amd64 arm64 armhf
TARGET := $(if $(ARCH),$(or $(TARGET_$(ARCH)),$(error cannot build for ARCH=$(ARCH): choose amd64, arm64 or armhf)),$(HOST))
STATIC := TARGET=$(TARGET) plugin/cargo
OUT := $(BUILT)/$(TARGET)/release
# Built separately, because it takes several minutes: only who connects hosts needs it.
SPAN_PROFILE ?= span
SPAN_OUT := $(BUILT)/$(TARGET)/$(SPAN_PROFILE)

# Completions of a program for bash, zsh and fish, relative to PREFIX/share.
completions = bash-completion/completions/$(1) zsh/site-functions/_$(1) fish/vendor_completions.d/$(1).fish
# A program prints its own man pages and completions: the one for this machine's processor, which can run here.
define install_pages
@install -d $(dir $(addprefix $(DESTDIR)$(PREFIX)/share/,man/man1/ $(call completions,$(notdir $(1)))))
@$(2) man $(DESTDIR)$(PREFIX)/share/man/man1 \
    && $(2) completions bash > $(DESTDIR)$(PREFIX)/share/$(word 1,$(call completions,$(notdir $(1)))) \
    && $(2) completions zsh > $(DESTDIR)$(PREFIX)/share/$(word 2,$(call completions,$(notdir $(1)))) \
    && $(2) completions fish > $(DESTDIR)$(PREFIX)/share/$(word 3,$(call completions,$(notdir $(1)))) \
    || echo "skipping man pages and completions: $(2) does not run; make ARCH= build span, then install again"
endef

.PHONY: help build span demo test test-all test-hardware test-hosts test-host-tools test-packages test-arm64 test-dist check mutants plugin deb packed dist printers install install-span uninstall bench soak guest-files canhub-in-guests guest-tests folder span-of-another-protocol clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile
	@echo "  Options: PREFIX=$(PREFIX) DESTDIR= CNI_BIN=$(CNI_BIN) GUESTS=\"$(GUESTS)\" HARDWARE=$(HARDWARE) (test; HARDWARE= skips it) NATIVE=1 (demo) ARCH=arm64 (build, span, plugin, deb, install)"

build: ## build canhub as a single static executable
	@if ! command -v cargo >/dev/null && test -x $(OUT)/canhub; then \
	    echo "cargo not found in PATH (sudo?): using the existing $(OUT)/canhub"; \
	else \
	    echo "building canhub (a minute or two the first time)"; \
	    $(STATIC) build --release --bin canhub && echo "$(OUT)/canhub is ready"; \
	fi

span: ## build canhub-span, which makes the buses of several hosts one, as a single static executable
	@if ! command -v cargo >/dev/null && test -x $(SPAN_OUT)/canhub-span; then \
	    echo "cargo not found in PATH (sudo?): using the existing $(SPAN_OUT)/canhub-span"; \
	else \
	    echo "building canhub-span (five to ten minutes the first time)"; \
	    $(STATIC) build --profile $(SPAN_PROFILE) --package canhub-span && echo "$(SPAN_OUT)/canhub-span is ready"; \
	fi

demo: build ## show it: two containers talk over a bus, the machine reboots, they talk again
	@CANHUB=$(OUT)/canhub tests/demo

test: ## run all tests: unit tests on this machine, the rest in guests with real kernels and Docker
	@GUESTS="$(GUESTS)" HARDWARE="$(HARDWARE)" tests/run

test-all: ## like test, with every topic in every guest, in bookworm too, one bus on several hosts, the packages, a release made twice, and arm64 (over three hours)
	@EVERYWHERE=yes GUESTS="bookworm $(GUESTS)" HARDWARE="$(HARDWARE)" tests/run && $(MAKE) --no-print-directory test-hosts test-packages test-dist test-arm64

test-hardware: ## run only the tests with CAN adapters, which are unplugged and replugged
	@tests/run hardware

test-hosts: guest-files ## run the tests of one bus on several hosts, in full: three guests on one wire, about half an hour
	@tests/hosts/run long

test-packages: ## make the Debian packages and install, upgrade, remove and purge them in guests
	@tests/packages bookworm $(GUESTS)

test-arm64: ## build for arm64, and test its packages, a reboot, adapters and the managed plugin in an emulated guest
	@ARCH=arm64 tests/run arm64

test-dist: ## make a release twice, in two folders, and compare all files (two builds of all)
	@tests/dist

test-host-tools: ## check that the hardware guest gets its tools on Debian 12, whatever is installed
	@tests/guest/test-host-tools

check: ## run everything that needs no guest: format, lints, docs, unit tests
	@tests/check

mutants: ## break the core in many places, one at a time, and list what no test notices (hours; MUTANTS="-f src/state.rs")
	@tests/mutants $(MUTANTS)

plugin: build ## lay out target/plugin for `docker plugin create canhub target/plugin`; with ARCH=arm64 target/plugin-arm64
	@plugin/build $(OUT)/canhub target/plugin$(addprefix -,$(ARCH))

deb: build span printers ## make Debian packages of canhub and canhub-span in dist/, for this machine's processor or ARCH=arm64|armhf|amd64
	@rm -f dist/*_$(DEB_ARCH).deb
	@$(MAKE) --no-print-directory packed PACKAGES=dist

# A part of `deb`, and for tests: the packages of what is already built, in the folder PACKAGES.
packed:
	@rm -rf target/deb-$(DEB_ARCH)
	@$(MAKE) --no-print-directory install PREFIX=/usr CNI_BIN=/usr/lib/cni DESTDIR=target/deb-$(DEB_ARCH) >/dev/null
	@plugin/deb/build target/deb-$(DEB_ARCH) $(DEB_ARCH) $(PACKAGES)

dist: ## make all that is released in dist/: packages, archives, SBOM and checksums, for amd64, arm64 and armhf (ARCHS)
	@plugin/dist $(ARCHS)

# The programs that print the man pages.
printers:
	@$(if $(filter-out $(HOST),$(TARGET)),$(MAKE) --no-print-directory ARCH= build span)

install: ## install to PREFIX, with systemd units, plugins of Podman and CNI, man pages and completions; canhub-span too if it was built
	@test -x $(OUT)/canhub || $(MAKE) --no-print-directory build
	install -D -m 755 $(OUT)/canhub $(DESTDIR)$(PREFIX)/bin/canhub
	install -D -m 644 plugin/systemd/canhub.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub.socket
	sed 's|@BINDIR@|$(PREFIX)/bin|' plugin/systemd/canhub.service.in | install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub.service
	sed 's|@BINDIR@|$(PREFIX)/bin|' plugin/systemd/canhub-boot-check.service.in | install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub-boot-check.service
	install -D -m 644 plugin/modules-load.conf $(DESTDIR)$(PREFIX)/lib/modules-load.d/canhub.conf
	install -D -m 644 plugin/sysctl.conf $(DESTDIR)$(PREFIX)/lib/sysctl.d/10-canhub.conf
	install -d $(DESTDIR)$(PREFIX)/lib/netavark $(DESTDIR)$(CNI_BIN)
	ln -sf ../../bin/canhub $(DESTDIR)$(PREFIX)/lib/netavark/canhub
	ln -sf $(PREFIX)/bin/canhub $(DESTDIR)$(CNI_BIN)/canhub-cni
	$(call install_pages,$(OUT)/canhub,$(BUILT)/$(HOST)/release/canhub)
	@if test -x $(SPAN_OUT)/canhub-span; then $(MAKE) --no-print-directory install-span; fi
	@echo "Installed. To make room for bursts of frames now, as it is done at every boot:"
	@echo "  sysctl --system --pattern 'net.core.(netdev_max_backlog|rmem_max)'"
	@echo "To start canhub now and at every boot, before Docker:"
	@echo "  systemctl daemon-reload && systemctl enable --now canhub.socket canhub.service"

# A part of `install`.
install-span:
	install -D -m 755 $(SPAN_OUT)/canhub-span $(DESTDIR)$(PREFIX)/bin/canhub-span
	sed 's|@BINDIR@|$(PREFIX)/bin|' plugin/systemd/canhub-span.service.in | install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub-span.service
	install -D -m 644 plugin/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/canhub-span.conf
	$(call install_pages,$(SPAN_OUT)/canhub-span,$(BUILT)/$(HOST)/$(SPAN_PROFILE)/canhub-span)
	@echo "Installed canhub-span. To make its user now, as it is done at every boot:"
	@echo "  systemd-sysusers"

uninstall: ## remove what `make install` installed; keeps /etc/canhub, /var/lib/canhub and /var/lib/canhub-span
	@echo "If canhub is running: systemctl disable --now canhub.socket canhub.service canhub-span.service"
	rm -f $(DESTDIR)$(PREFIX)/bin/canhub $(DESTDIR)$(PREFIX)/bin/canhub-span
	rm -f $(DESTDIR)$(PREFIX)/lib/netavark/canhub $(DESTDIR)$(CNI_BIN)/canhub-cni
	rm -f $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub.service
	rm -f $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub-boot-check.service
	rm -f $(DESTDIR)$(PREFIX)/lib/systemd/system/canhub-span.service $(DESTDIR)$(PREFIX)/lib/sysusers.d/canhub-span.conf
	rm -f $(DESTDIR)$(PREFIX)/share/man/man1/canhub.1 $(DESTDIR)$(PREFIX)/share/man/man1/canhub-*.1
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/share/,$(call completions,canhub) $(call completions,canhub-span))
	rm -f $(DESTDIR)$(PREFIX)/lib/modules-load.d/canhub.conf $(DESTDIR)$(PREFIX)/lib/sysctl.d/10-canhub.conf

bench: ## measure Joins against a plugin that forks `ip` and `cangw`, the time to heal, and bursts
	@tests/bench

soak: ## run the long tests: fault storms, network cycles, fuzzing (about an hour; GUEST=trixie)
	@tests/soak

# Everything that goes into a guest's shared folder: programs, tests, plugin. Used by tests/*.
guest-files: canhub-in-guests span
	@$(if $(ARCH),,$(STATIC) test --test hosts --no-run)

# The part of it that tests canhub in one guest. The guests start with it, while `span` is built.
canhub-in-guests: build guest-tests

# With the settings of `tests/check`, so that crates are compiled once for both. At low priority: canhub's crates come first, because
# its link takes minutes on one core, and this then has the other.
guest-tests:
	@nice env $(STATIC) build --example probe
	@nice env $(STATIC) test --test e2e --no-run

# For scripts: the folder of all that is built.
folder:
	@echo $(BUILT)/$(TARGET)

# For a test of `tests/hosts/run long`.
span-of-another-protocol:
	@$(STATIC) build --profile $(SPAN_PROFILE) --package canhub-span --features another-protocol --example canhub-span-of-another-protocol

clean: ## remove build output; cached guests are kept
	cargo clean
