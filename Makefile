# Everything runs in .venv of this checkout. `make help` lists the targets.
SHELL := /bin/sh
BIN := .venv/bin
SOURCES := remote storage iscsi dom0 exporters embedded xvmstore tests benchmarks

check: ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
