# Everything that is done with this project, one word each. `make` alone says which.

.DEFAULT_GOAL := help
.PHONY: help demo test lint types bench soak torture ci schemas pins clean

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PINS := deploy/requirements.txt deploy/requirements-demo.txt deploy/requirements-dev.txt
# Newer than all pins exactly when they are installed.
READY := $(VENV)/.ready

help: ## print this list
	@echo "make WORD [ARGS='…']    (needs python3, 3.11 or later, and nothing else)"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## see everything work, on this machine alone, in less than a minute
	@$(BIN)/tradovate-worker demo $(ARGS)

# What pytest makes of the tests' code is kept for the next run, whatever the caller's environment says: a sixth of a
# minute of CPU time.
test: $(READY) ## run the tests; what they need besides (Java, Maven, Node, PostgreSQL, PgBouncer …) they name
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --durations 10 $(ARGS)

lint: $(READY) ## check the style
	@$(BIN)/ruff check .

types: $(READY) ## check the types
	@$(BIN)/mypy

bench: $(READY) ## measure each target on PostgreSQL with fsync on and off (ARGS="--only lone,burst --rounds 1")
	@$(BIN)/python -m tests.bench $(ARGS)

soak: $(READY) ## five minutes of signatures and dropped connections (ARGS="--seconds 60")
	@$(BIN)/python -m tests.soak $(ARGS)

torture: $(READY) ## kill, freeze and cut everything for three minutes (ARGS="--seed 7 --verbose", "--kills 1000", "--breaks")
	@$(BIN)/python -m tests.torture $(ARGS)

ci: lint types ## do what CI does: style, types, all tests, none skipped
	@CI=true $(MAKE) --no-print-directory test

schemas: $(READY) ## write schemas/export, and the table of schemas/README.md, again from the models
	@$(BIN)/tradovate-worker schemas export schemas/export
	@$(BIN)/python -m schemas.readme

# On the oldest Python that is promised: what it needs beside the newer ones is pinned too.
# No address of an index is written: a hash says what a package is, wherever it comes from.
pins: $(READY) ## pin the newest dependencies again, with hashes
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo 'Pins are made on Python 3.11: make clean, then make pins PYTHON=python3.11' >&2; exit 1; }
	$(COMPILE) --upgrade --output-file deploy/requirements.txt pyproject.toml
	$(COMPILE) --upgrade --extra demo --constraint deploy/requirements.txt --output-file deploy/requirements-demo.txt pyproject.toml
	$(COMPILE) --upgrade --extra demo --extra dev --constraint deploy/requirements-demo.txt --output-file deploy/requirements-dev.txt \
	  pyproject.toml

COMPILE = CUSTOM_COMPILE_COMMAND='make pins' $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links

clean: ## remove what was made: the virtual environment, caches, build output
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): $(PINS) pyproject.toml
	@command -v $(PYTHON) >/dev/null \
	  || { echo 'No $(PYTHON) here: install Python 3.11 or later, or name it: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed and $(PYTHON) is $$($(PYTHON) -V): make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo '$(PYTHON) cannot make a virtual environment: install its venv module (Debian: apt-get install python3-venv)' >&2; exit 1; }
	@echo 'Making $(VENV) (once, and when the pins change) …' >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes $(PINS:%=-r %)
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
	  --no-build-isolation --editable .
	@touch $(READY)
