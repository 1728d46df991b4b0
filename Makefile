# Two commands for a fresh clone: `make demo` and `make test`. `make help` lists the others.
# Another interpreter gets an environment of its own: `make PYTHON=python3.13 test` uses .venv-python3.13.

PYTHON ?= python3
ifeq ($(PYTHON),python3)
VENV := .venv
else
VENV := .venv-$(notdir $(PYTHON))
endif
BIN := $(VENV)/bin

.PHONY: help demo quickstart gallery test test-oldest test-gpu bench study lint docs dist clean
.DEFAULT_GOAL := help

help:
	@echo "make demo        install, identify an unknown blur of an ECG under several losses, write the report (minutes)"
	@echo "make quickstart  install, run a small synthetic experiment (less than a minute)"
	@echo "make gallery     install, run every experiment of the catalogue at a small scale, one page over all of them (half an hour)"
	@echo "make test        install, then lint, types and tests"
	@echo "make bench       install, then measure against other codes; writes benchmarks/RESULTS.md and figures (half an hour)"
	@echo "make test-oldest install the lowest versions that are allowed, in an environment of their own, then the tests"
	@echo "make test-gpu    install with CUDA 13 (CUDA=cuda12 for 12), then the tests of the engine on the GPU"
	@echo "make study       install, compute again how often flows end in spurious minima, into docs/study (ten minutes)"
	@echo "make docs        install Sphinx, run the tutorials, build the documentation into docs/_build/html (minutes)"
	@echo "make dist        build wheel and sdist, and try both in clean environments"
	@echo "make clean       remove environments, caches and runs/"
	@echo "PYTHON=python3.13 before any of them uses another interpreter, in an environment of its own"

demo: $(VENV)/.installed
	$(BIN)/python -m experiments run configs/losses_on_ecg.toml

quickstart: $(VENV)/.installed
	$(BIN)/python -m experiments run configs/quickstart.toml

CATALOGUE := spurious_minima landscape strides rates repeated_filters imbalance saddle_to_saddle bounds convergence data_conditions \
    flow_vs_descent edge_of_stability conservation lazy_and_rich separable dense_vs_convolution activations losses_on_ecg robustness imaging tuned_loss

# What is there is not computed again: remove runs/gallery to start anew.
gallery: $(VENV)/.installed
	for name in $(CATALOGUE); do \
	    if test -e runs/gallery/$$name/report.html; then continue; fi; \
	    if test -e runs/gallery/$$name; then $(BIN)/python -m experiments resume runs/gallery/$$name || exit 1; \
	    else $(BIN)/python -m experiments run $$name --scale small --out runs/gallery/$$name || exit 1; fi; \
	done
	$(BIN)/python -m experiments gallery runs/gallery

test: $(VENV)/.installed-test lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

# Only what is asked for directly is taken at its lowest version: the lower bounds are promises of this project alone.
test-oldest: | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m uv venv --quiet --clear --python $(BIN)/python .venv-oldest
	$(BIN)/python -m uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct -e ".[test]"
	.venv-oldest/bin/python -m pytest -n 2 --dist loadfile -m "not slow" -W "ignore::DeprecationWarning"  # of old packages that use what newer ones deprecate

CUDA ?= cuda13
test-gpu: $(VENV)/.installed-test
	@command -v nvidia-smi >/dev/null 2>&1 || { echo "no NVIDIA GPU was found (nvidia-smi is missing): nothing was tested"; exit 2; }
	$(BIN)/python -m pip install --quiet -e ".[test,$(CUDA)]"
	@$(BIN)/python -c 'import jax, sys; sys.exit(jax.default_backend() != "gpu" and "JAX does not see the GPU: is the driver new enough for $(CUDA)?")'
	$(BIN)/python -m pytest -m "not slow" tests/ensemble tests/flow tests/numerics tests/risk tests/limits tests/solvers tests/critical

# The wheel is tried in a folder that has an experiments/ of its own, as users' folders do.
dist: | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet "build>=1.2"
	rm -rf dist build/clean
	$(BIN)/python -m build --outdir dist .
	for archive in dist/*.whl dist/*.tar.gz; do \
	    rm -rf build/clean && mkdir -p build/clean/folder/experiments && \
	    $(BIN)/python -m venv build/clean/venv && build/clean/venv/bin/pip install --quiet "$$archive[experiments]" && \
	    touch build/clean/folder/experiments/__init__.py && \
	    (cd build/clean/folder && ../venv/bin/lcnn-flow list && ../venv/bin/lcnn-flow run quickstart.toml --out run && rm -r run experiments && \
	     ../venv/bin/python -m experiments list >/dev/null && ../venv/bin/python -c "import lcnn_flow as lf; print(lf.__version__, lf.data.ecg().shape)") || exit 1; \
	done
	rm -rf build/clean

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks

# Flows, censuses and figures anew, into docs/study: about ten minutes on two cores.
study: $(VENV)/.installed-bench
	PYTHONPATH=docs $(BIN)/python -m study

docs: | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html
	@echo "documentation: docs/_build/html/index.html"

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
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
	rm -rf .venv .venv-* runs build dist docs/_build docs/_extra docs/reference .pytest_cache .ruff_cache .hypothesis .jax_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
