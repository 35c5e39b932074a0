# make quickstart   install, then: the model in the box is asked, improved by EMA-GRPO, compared with before
# make test         install, then all tests but the long ones
# make check        format, lint, strict types
# make test-long    the tests that take minutes
# make check-gpu    what only a machine with a GPU can show, in less than 8 minutes
# make test-integrations    our graders inside TRL, ms-swift, verifiers, verl and EasyR1, and exports to OpenVINO and GGUF, each in an environment of its own
# make test-cluster  RL sampled by two real vLLM servers on the CPU, in an environment of their own (4 GB), about half an hour; then test-in-verl

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev

# Where EasyR1 is cloned from: its address, or the folder of a clone.
EASYR1 ?= https://github.com/hiyouga/EasyR1
EASYR1_COMMIT := b44b311b669bf1fd1aa2fc36f2251482ba33cb16
PEERS := trl ms_swift verifiers verl easyr1
CONVERTERS := openvino gguf

.PHONY: help install quickstart test test-long test-integrations test-cluster check check-gpu clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# make /make /p' Makefile

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

# Two workers with one thread each: torch's own threads would fight over the cores. A test that fails is run once more, and named: shared machines
# stall.
test: $(INSTALLED_DEV)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 -m 'not long' --reruns 1 -r R

test-long: $(INSTALLED_DEV)
	OMP_NUM_THREADS=2 $(VENV)/bin/python -m pytest -m long

# Their pins are not ours: onethinker comes without its dependencies, beside those of them that graders need. uv resolves ms-swift's requirements in
# seconds; pip was still at it after 21 minutes.
test-integrations: $(PEERS:%=test-in-%) $(CONVERTERS:%=test-in-%)

PEER_INSTALL = .venv-peers/$*/bin/uv pip install --quiet --python .venv-peers/$*/bin/python

$(PEERS:%=test-in-%) $(CONVERTERS:%=test-in-%): test-in-%: .venv-peers/%/bin/uv

.venv-peers/%/bin/uv:
	$(PYTHON) -m venv .venv-peers/$*
	.venv-peers/$*/bin/python -m pip install --quiet uv

.PRECIOUS: .venv-peers/%/bin/uv

$(PEERS:%=test-in-%): test-in-%:
	$(PEER_INSTALL) -r tests/integrations/peers/$*.txt -r tests/integrations/peers/graders.txt
	$(PEER_INSTALL) --no-deps -e .
	PYTHONPATH=$(PEER_PATH) .venv-peers/$*/bin/python -m pytest --noconftest -o filterwarnings= tests/integrations/peers/in_$*.py

# EasyR1 is on no index, and its own requirements want a GPU: its modules are imported from a checkout.
test-in-easyr1: PEER_PATH := $(CURDIR)/.venv-peers/checkout
test-in-easyr1: .venv-peers/checkout

.venv-peers/checkout:
	rm -rf $@.new
	git clone --quiet $(EASYR1) $@.new
	git -C $@.new checkout --quiet $(EASYR1_COMMIT)
	mv $@.new $@

# `onethinker export --to` runs here, and the converter in the other environment.
$(CONVERTERS:%=test-in-%): test-in-%: $(INSTALLED_DEV)
	$(PEER_INSTALL) -r tests/integrations/peers/$*.txt
	ONETHINKER_$(shell echo $* | tr a-z A-Z)=$(CURDIR)/.venv-peers/$*/bin/python $(VENV)/bin/python -m pytest tests/report/test_conversion.py

test-cluster: $(INSTALLED_DEV)
	PYTHON=$(PYTHON) cluster/vllm/serve_cpu.sh .venv-vllm
	OMP_NUM_THREADS=1 ONETHINKER_VLLM_ENV=.venv-vllm $(VENV)/bin/python -m pytest -s -m cluster tests/cluster
	$(MAKE) test-in-verl

check: $(INSTALLED_DEV)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy --strict

# Leaves with 3 on a machine without a GPU.
check-gpu: $(INSTALLED_DEV)
	$(VENV)/bin/python scripts/check_gpu.py

clean:
	rm -rf $(VENV) .venv-peers .venv-vllm build dist *.egg-info .mypy_cache .ruff_cache
