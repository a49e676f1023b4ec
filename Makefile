# Everything a person or CI does with this project. Python 3.11 or newer (with venv) and make are all it needs;
# the rest is installed into .venv here, once, and again only when pyproject.toml changes.

PYTHON ?= python3
ARGS ?=
SEEDS ?= 1000
KILLS ?= 200
STORIES ?= 10
MINUTES ?= 5
# one more than cores: many tests wait for processes
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install test check lint types format demo acceptance simulate torture planted bench bench-full sandbox pictures docs clean

help: ## this list
	@echo "make TARGET [PYTHON=python3.12] [ARGS='...']"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-13s %s\n", $$1, $$2 }'

install: $(STAMP) ## set up .venv with the package and its tools
	@echo "Ready: $(VENV)/bin/bulk-issue --help"

test: $(STAMP) ## set up and run the tests (ARGS go to pytest)
	@$(PY) -m pytest -n $(WORKERS) $(ARGS)

check: lint types test ## everything CI runs: lint, types, tests

lint: $(STAMP) ## style, and formatting without changing it
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(STAMP) ## mypy --strict on package and tests
	@$(PY) -m mypy

format: $(STAMP) ## format the code and mend what ruff can mend
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

demo: $(STAMP) ## a whole campaign against the sandbox, on this machine only
	@$(PY) samples/demo.py

acceptance: $(STAMP) ## the sandbox at its real limit: 60 and 900 rows, some minutes
	@$(PY) -m tests.acceptance

simulate: $(STAMP) ## SEEDS histories on virtual time (1000): crashes, faults, several processes
	@$(PY) -m tests.simulation --seeds $(SEEDS)
	@$(PY) -m tests.simulation --people --seeds $(SEEDS)

torture: $(STAMP) ## KILLS real processes killed (200), half of them aimed; STORIES (10) of three hosts; MINUTES (5) of a busy page
	@$(PY) -m pytest -q tests/crash_points.py
	@$(PY) -m tests.torture --kills $(KILLS)
	@$(PY) -m tests.chaos --stories $(STORIES)
	@$(PY) -m tests.soak --minutes $(MINUTES)

planted: $(STAMP) ## known mistakes, each caught by the test that must catch it
	@$(PY) -m tests.planted

bench: $(STAMP) ## speed and memory side by side, at most ten minutes; one part: ARGS="use-of-limit"
	@$(PY) -m pip install --quiet --quiet --disable-pip-version-check --editable '.[dev,bench]'
	@$(PY) -m benchmarks $(ARGS)

bench-full: ## the same with the real limit and 10 M rows: about an hour, 10 GB of disk
	@$(MAKE) bench ARGS="--full $(ARGS)"

sandbox: $(STAMP) ## the stand-in API in the foreground (ARGS go to bulk-issue sandbox)
	@$(PY) -m bulk_issue sandbox $(ARGS)

pictures: $(STAMP) ## every page as a picture, into .pictures; those of docs/page.md anew (needs Chromium)
	@rm -rf .pictures && mkdir -p .pictures docs/pictures
	@PICTURES=.pictures $(PY) -m pytest -q tests/test_page.py
	@for name in new-1440-light campaign-1440-light running-1440-light in-doubt-390-dark; do \
	  cp .pictures/$$name.png docs/pictures/; done

docs: $(STAMP) ## the documentation as a site, in site/; every link checked
	@$(PY) -m tests.manual
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet --strict
	@echo "Ready: site/index.html"

clean: ## remove what make made: .venv, caches, the demo's folder (never result files)
	rm -rf $(VENV) .demo .pictures build dist site .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -type d -name __pycache__ -prune -exec rm -rf {} +

# A .venv whose python is gone or too old (the system's was replaced) is made anew.
$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "bulk-issue needs Python 3.11 or newer, and there is no '$(PYTHON)' here." >&2; \
	  echo "Install Python, or name yours: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "bulk-issue needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name a newer one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "'$(PYTHON)' comes without venv. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(PY) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Setting up $(VENV) ..."; $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing bulk-issue and its tools into $(VENV) ..."
	@$(PY) -m pip install --quiet --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
