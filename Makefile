# Two commands: `make demo` shows a table read from real scans, `make test` checks everything.
# `make test-busy` runs the tests three times while three busy loops take the processor: no test may depend on speed.
# For maintainers: `make lock` pins new versions, `make test-newest` tries them, `make audit` looks for known faults.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PINS ?= -c constraints.txt
UPGRADE ?= --upgrade
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PINS)
TOOLS := .venv-tools/bin

.PHONY: demo test test-busy lint lock test-newest audit clean

demo: $(VENV)/base
	$(BIN)/python run_batch.py demo

test: $(VENV)/test lint
	$(BIN)/python -m pytest

test-busy: $(VENV)/test
	$(BIN)/python tests/stress/busy.py --loops 3 --times 3

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The stamps are made again when the dependencies change.
$(VENV)/base: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	touch $@

$(VENV)/test: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[test]'
	touch $@ $(VENV)/base

# Pins what pyproject.toml asks for, for every supported Python and platform. `make lock UPGRADE=` changes no pin that
# still fits. torch is left out (constraints-gpu.txt has it), and setuptools, on which releases of torch set bounds.
lock: $(TOOLS)/uv
	$(TOOLS)/uv pip compile pyproject.toml --quiet --universal --python $(TOOLS)/python --python-version 3.11 \
		--all-extras $(UPGRADE) --no-emit-package torch --no-emit-package setuptools \
		--custom-compile-command 'make lock' --output-file constraints.txt

# All tests with the newest versions that pyproject.toml allows; first, what its bounds hold back.
test-newest:
	rm -rf .venv-newest
	$(MAKE) .venv-newest/test VENV=.venv-newest PINS=
	.venv-newest/bin/python -m pip list --outdated --disable-pip-version-check
	$(MAKE) test VENV=.venv-newest PINS=

# Exits 1 for a pin with a known fault, and where the service that knows them cannot be asked about every pin.
audit: $(TOOLS)/uv
	$(TOOLS)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

$(TOOLS)/uv:
	$(PYTHON) -m venv .venv-tools
	$(TOOLS)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1' 'pip-audit>=2.9,<3'

clean:
	rm -rf .venv .venv-* demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
