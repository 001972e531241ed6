# Everything runs in .venv of this checkout. `make help` lists the targets.
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
APT := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get
# What the demo needs, and what the tests need besides: real SSH servers, a real iSCSI target and initiator, and the
# shells the scripts must run under.
DEMO_PACKAGES := openssh-client tgt libiscsi7
# Prometheus itself scrapes the exporter, and its promtool checks metrics and rules; Debian 13 has promtool by itself.
PROMTOOL := $(shell apt-cache show promtool >/dev/null 2>&1 && echo promtool)
TEST_PACKAGES := $(DEMO_PACKAGES) openssh-server libiscsi-bin ksh93u+m mksh busybox yash csh tcsh \
  prometheus $(PROMTOOL) openssl original-awk
# A real zfs of 2010, and what it is linked with: unpacked and never installed, for the package starts a daemon.
OLD_ZFS := zfs-fuse libfuse2
# Xen's own parser of disk lines; other Debian releases have another version, and the test that asks it is skipped.
ORACLE := libxenmisc4.17
# What builds and runs the lab; shellcheck and vagrant check the parts of it that are not run.
LAB_PACKAGES := $(DEMO_PACKAGES) libiscsi-bin qemu-system-x86 qemu-utils mmdebstrap cpio e2fsprogs xz-utils \
  prometheus $(PROMTOOL)
CHECK_PACKAGES := shellcheck vagrant vagrant-libvirt
LAB := $(BIN)/python -m vagrant.lab

.DEFAULT_GOAL := help
.PHONY: help setup demo check test bench lock clean lab-build lab-up lab-down lab-reset lab-ssh lab-log lab-test vagrant-check

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-14s %s\n", $$1, $$2 }'

setup: .venv/ready ## make .venv with everything pinned, and nothing else

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv || { $(APT) update && $(APT) install -y python3-venv && $(PYTHON) -m venv .venv; }
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

# Only asks for rights where something is missing.
define install
	@missing=; for package in $(1); do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	done; \
	[ -z "$$missing" ] || { $(APT) update && $(APT) install -y --no-install-recommends $$missing; }
endef

demo: setup ## the main job on an embedded node: a volume, exported, written and read over iSCSI
	$(call install,$(DEMO_PACKAGES))
	$(BIN)/xvmstore demo

check: setup ## format, lint, types, layers and the quick tests: seconds, offline
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n 2 -m "not node and not sshd and not slow and not shells and not lab"

test: setup ## all that this machine can run: real sshd, real iSCSI, the embedded node; minutes
	$(call install,$(TEST_PACKAGES))
	@dpkg-query -W $(ORACLE) >/dev/null 2>&1 || $(APT) install -y --no-install-recommends $(ORACLE) || true
	@test -e .venv/zfs-fuse/sbin/zfs-fuse || { mkdir -p .venv/zfs-fuse.debs && cd .venv/zfs-fuse.debs && \
	  apt-get download $(OLD_ZFS) && for file in *.deb; do dpkg-deb -x $$file ../zfs-fuse; done; } || true
	rm -rf .proofs
	XVMSTORE_PROOFS=$(CURDIR)/.proofs $(BIN)/pytest -q -n 2 --dist worksteal
	$(BIN)/python -m tests.platforms --check .proofs

lab-packages:
	$(call install,$(LAB_PACKAGES))

lab-build: setup lab-packages ## build the lab's images; needs root, takes some minutes, once
	$(SUDO) env XVMSTORE_LAB_CACHE="$${XVMSTORE_LAB_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/xvmstore-lab}" $(LAB) build

lab-up: setup lab-packages ## start the lab: a real OpenZFS and LIO node and a Xen dom0, in QEMU (builds it, as root)
	$(LAB) up

lab-down: setup ## stop the lab
	$(LAB) down

lab-reset: setup ## set the running lab back to how it was when it was new
	$(LAB) reset

lab-ssh: setup ## log in to the lab: make lab-ssh HOST=storage or HOST=dom0
	@$(LAB) ssh $(HOST)

lab-log: setup ## the end of both serial consoles
	$(LAB) log

lab-test: setup lab-packages ## the tests on the lab, which is started for them; minutes
	$(LAB) up || { $(LAB) log; exit 1; }
	rm -rf .proofs-lab
	XVMSTORE_PROOFS=$(CURDIR)/.proofs-lab $(BIN)/pytest -q -m lab tests/lab || { $(LAB) log; $(LAB) down; exit 1; }
	$(LAB) down
	$(BIN)/python -m tests.platforms --check .proofs-lab

vagrant-check: ## shellcheck of all scripts; Vagrant's own look at the Vagrantfile for both providers
	$(call install,$(CHECK_PACKAGES))
	shellcheck -x -P SCRIPTDIR vagrant/provision/*.sh vagrant/image/*.sh vagrant/image/lab-init dom0/files/block-xvmstore \
	  xvmstore/hooks/xvmstore-hook xvmstore/hooks/wrapper
	ruby -wc vagrant/Vagrantfile
	@# Vagrant looks at VirtualBox's settings only where it finds VBoxManage: a stand-in that tells a version will do.
	@home=$$(mktemp -d) && trap 'rm -rf "$$home"' EXIT && \
	export VAGRANT_CWD=vagrant VAGRANT_HOME="$$home/home" VAGRANT_DOTFILE_PATH="$$home/dot" VAGRANT_CHECKPOINT_DISABLE=1 && \
	VAGRANT_DEFAULT_PROVIDER=libvirt vagrant validate && \
	printf '#!/bin/sh\necho 7.0.20r163906\n' >"$$home/VBoxManage" && chmod +x "$$home/VBoxManage" && \
	PATH="$$home:$$PATH" VAGRANT_EXPERIMENTAL=disks VAGRANT_DEFAULT_PROVIDER=virtualbox vagrant validate

bench: setup ## ratios of round trips, and what a scrape costs, side by side in one run
	$(call install,$(DEMO_PACKAGES))
	$(BIN)/python -m benchmarks.roundtrips
	$(BIN)/python -m benchmarks.scrape

lock: setup ## write requirements.lock anew from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --quiet --output-file requirements.lock

clean: ## remove .venv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
