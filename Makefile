# make demo: install into .venv and run the comparison; make test: install and test. Nothing else is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint clean

demo: $(VENV)/benchmark
	$(BIN)/python benchmarks/run.py --quick --output demo

test: $(VENV)/test
	$(BIN)/python -m pytest --numprocesses auto
	TRITON_INTERPRET=1 $(BIN)/python -m pytest --numprocesses auto tests/ops/test_every_op.py tests/kernels

lint: $(VENV)/lint $(VENV)/benchmark
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/%: pyproject.toml setup.py constraints.txt | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) build dist demo *.egg-info
