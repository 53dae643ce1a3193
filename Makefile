# make demo: install into .venv, restore a photograph and compare speed; make test: install and
# test, without what is slow; make test-all: with it; make docs: build the site. Nothing else is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all lint docs clean

# Compiles kernels that changed; where there is no compiler this says so, and the rest goes on without them.
COMPILE := $(BIN)/python -m dasr_fast.build

demo: $(VENV)/benchmark
	$(COMPILE)
	$(BIN)/python benchmarks/run.py --quick --output demo

test: SELECTED := -m "not slow"
test test-all: $(VENV)/test
	$(COMPILE)
	$(BIN)/python -m pytest --numprocesses auto $(SELECTED)
	TRITON_INTERPRET=1 $(BIN)/python -m pytest --numprocesses auto $(SELECTED) \
	    tests/ops/test_every_op.py tests/kernels tests/benchmarks/test_tune.py

lint: $(VENV)/lint $(VENV)/benchmark
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --package dasr_fast  # Which lacks most.
	$(BIN)/mypy .ci/release.py

docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

$(VENV)/%: pyproject.toml setup.py constraints.txt | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) build dist demo site *.egg-info dasr_fast/compiled/_library.abi3.so dasr_fast/compiled/build.json
