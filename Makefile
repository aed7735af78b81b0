# `make help` lists the targets. PYTHON names the interpreter that makes the virtual environment.
# TORCH_INDEX_URL names an index with another build of torch (on Linux the default index serves the CUDA build);
# PIP_INDEX_URL and PIP_EXTRA_INDEX_URL are read by pip itself.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
TORCH  := $(shell sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check up bench architectures openapi clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## Prune a real model over HTTP and print what it cost (first run installs)
	@$(BIN)/python examples/digits/demo.py

test: $(VENV)/.dev ## Run every test that takes seconds
	@$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/.dev ## Run the tests that take minutes of CPU
	@$(BIN)/python -m pytest -m slow

check: $(VENV)/.dev ## Lint, format, types, import contracts, OpenAPI drift
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/secateur openapi --check openapi/openapi.yaml

up: $(VENV)/.worker ## Start the service on this machine; Ctrl-C stops it
	@$(BIN)/secateur up

bench: $(VENV)/.dev ## Run every script in benchmarks/; each prints its ratio (an hour or more)
	@set -e; for script in $(filter-out benchmarks/architectures.py,$(wildcard benchmarks/[a-z]*.py)); do echo "== $$script"; PYTHONPATH=. $(BIN)/python "$$script"; done

architectures: $(VENV)/.dev ## Write docs/architectures.md: every network in every format (an hour)
	@$(BIN)/python benchmarks/architectures.py --output docs/architectures.md

openapi: $(VENV)/.dev ## Write openapi/openapi.yaml anew from the code
	@$(BIN)/secateur openapi --output openapi/openapi.yaml

clean: ## Remove the virtual environment, caches and what the demo wrote
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .schemathesis
	rm -rf build dist *.egg-info demo-output bench-output

# Each stamp is a state of the environment; touching pyproject.toml brings the installed packages up to date.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Secateur needs Python 3.11 or newer; $(PYTHON) is %d.%d. Try: make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch goes first, on its own: only it comes from TORCH_INDEX_URL, and pip then finds the requirement met.
$(VENV)/.torch: $(VENV)/.python pyproject.toml
	$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL)) "$(TORCH)"
	@touch $@

$(VENV)/.worker: $(VENV)/.torch
	$(BIN)/python -m pip install --quiet --editable ".[worker]"
	@touch $@

$(VENV)/.demo: $(VENV)/.torch
	$(BIN)/python -m pip install --quiet --editable ".[worker,demo]"
	@touch $@ $(VENV)/.worker

$(VENV)/.dev: $(VENV)/.torch
	$(BIN)/python -m pip install --quiet --editable ".[worker,dev]"
	@touch $@ $(VENV)/.worker $(VENV)/.demo
