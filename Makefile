# make demo        maps the bundled scene
# make test        lint and tests              make test-slow   what takes minutes, processes that are killed by themselves
# make benchmarks  figures of tests/benchmarks/RESULTS.md (DATA=DIR for real imagery); takes an hour
# TORCH_INDEX=URL takes torch from another package index (see README: the CPU build is much smaller).

VENV := .venv
BIN := $(VENV)/bin
TORCH := $(shell grep '^torch==' constraints.txt)
# Builds in isolation (our own wheel's among them) keep to the pinned versions too.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export DATA

.PHONY: demo test test-slow benchmarks lint clean

demo: $(VENV)/.runtime
	$(BIN)/geoseg map geoseg/bundled/demo/dubai.tif -o demo-run
	@echo
	@echo "Open demo-run/report.html in a browser, or demo-run/map.qgs in QGIS."
	@echo "The scene's place on earth is approximate (about 1 km)."

test: lint
	$(BIN)/pytest -m "not slow" -n 2

test-slow: $(VENV)/.dev
	$(BIN)/pytest -m slow -n 2

benchmarks: $(VENV)/.dev
	$(BIN)/python tests/benchmarks/control_plane.py --write
	$(BIN)/python tests/benchmarks/efficiency.py --workers 1 --write
	$(BIN)/python tests/benchmarks/efficiency.py --workers 2 --write
	$(BIN)/python tests/benchmarks/memory.py --write
	$(BIN)/python tests/benchmarks/vectors.py --write
	$(BIN)/python tests/benchmarks/cleaning.py --write
	$(BIN)/python tests/benchmarks/loader.py --write
	$(BIN)/python tests/benchmarks/workers.py --write
	$(BIN)/python tests/benchmarks/export.py --write

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/bin/python:
	@for candidate in python3 python3.13 python3.12 python3.11; do \
	  if $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then \
	    $$candidate -m venv $(VENV) && exit 0 || exit 1; \
	  fi; \
	done; \
	echo "geoseg needs Python 3.11, 3.12 or 3.13; found $$(python3 --version 2>&1 || echo none): install one of them" >&2; \
	exit 1

$(VENV)/.runtime: $(VENV)/bin/python pyproject.toml constraints.txt
ifdef TORCH_INDEX
	$(BIN)/pip install --quiet --no-deps --index-url $(TORCH_INDEX) $(TORCH)
endif
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) demo-run build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
