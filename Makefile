# Two commands for a fresh clone: `make demo` and `make test`. `make help` lists the others.
# Another interpreter gets an environment of its own: `make PYTHON=python3.13 test` uses .venv-python3.13.

PYTHON ?= python3
ifeq ($(PYTHON),python3)
VENV := .venv
else
VENV := .venv-$(notdir $(PYTHON))
endif
BIN := $(VENV)/bin

.PHONY: help demo quickstart test bench lint clean
.DEFAULT_GOAL := help

help:
	@echo "make demo        install, identify an unknown blur of an ECG under several losses, write the report (minutes)"
	@echo "make quickstart  install, run a small synthetic experiment (less than a minute)"
	@echo "make test        install, then lint, types and tests"
	@echo "make bench       install, then measure against other codes; writes benchmarks/RESULTS.md and figures (a quarter of an hour)"
	@echo "make clean       remove environments, caches and runs/"
	@echo "PYTHON=python3.13 before any of them uses another interpreter, in an environment of its own"

demo: $(VENV)/.installed
	$(BIN)/python -m experiments run configs/losses_on_ecg.toml

quickstart: $(VENV)/.installed
	$(BIN)/python -m experiments run configs/quickstart.toml

test: $(VENV)/.installed-test lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# Stamps: installation runs again only when pyproject.toml has changed.
$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[experiments]"
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[test]"
	@touch $@ $(VENV)/.installed $(VENV)/.installed-bench

$(VENV)/.installed-bench: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[bench]"
	@touch $@ $(VENV)/.installed

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "$(PYTHON) was not found: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12 ..."; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..."; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module: install it (Debian and Ubuntu: apt install python3-venv)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf .venv .venv-* runs build dist .pytest_cache .ruff_cache .hypothesis .jax_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
