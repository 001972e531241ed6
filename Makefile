# Everything runs in .venv of this checkout. `make help` lists the targets.
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
APT := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get
# What the demo needs, and what the tests need besides: real SSH servers, a real iSCSI target and initiator, and the
# shells the scripts must run under.
DEMO_PACKAGES := openssh-client tgt libiscsi7
TEST_PACKAGES := $(DEMO_PACKAGES) openssh-server libiscsi-bin ksh93u+m mksh busybox yash csh tcsh
# Xen's own parser of disk lines; other Debian releases have another version, and the test that asks it is skipped.
ORACLE := libxenmisc4.17

.DEFAULT_GOAL := help
.PHONY: help setup demo check test bench lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-10s %s\n", $$1, $$2 }'

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
	$(BIN)/pytest -q -m "not node and not sshd and not lab"

test: setup ## all that this machine can run: real sshd, real iSCSI, the embedded node; minutes
	$(call install,$(TEST_PACKAGES))
	@dpkg-query -W $(ORACLE) >/dev/null 2>&1 || $(APT) install -y --no-install-recommends $(ORACLE) || true
	$(BIN)/pytest -q -n 2

bench: setup ## ratios of round trips, side by side in one run
	$(call install,$(DEMO_PACKAGES))
	$(BIN)/python -m benchmarks.roundtrips

lock: setup ## write requirements.lock anew from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --quiet --output-file requirements.lock

clean: ## remove .venv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
