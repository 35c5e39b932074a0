# make quickstart   install, then data -> SFT -> EMA-GRPO -> evaluation -> report on this machine
# make test         install, then every test
# make check        format, lint, strict types
# make test-long    the tests that take minutes

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev

.PHONY: help install quickstart test test-long check clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# //p' Makefile

install: $(INSTALLED)

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

# The stamps make a second run quick; they age when the pins or the dependencies change.
$(INSTALLED): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(INSTALLED_DEV): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@ $(INSTALLED)

quickstart: $(INSTALLED)
	$(VENV)/bin/onethinker quickstart

# Two workers with one thread each: torch's own threads would fight over the cores.
test: $(INSTALLED_DEV)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 -m 'not long'

test-long: $(INSTALLED_DEV)
	OMP_NUM_THREADS=2 $(VENV)/bin/python -m pytest -m long

check: $(INSTALLED_DEV)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy --strict

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache
