# Everything a newcomer needs: make compare, make test. Set PYTHON to choose the interpreter (3.11+).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	--config-settings editable_mode=compat
OUT ?= runs/compare

.PHONY: help compare test example notebooks lint docs clean

help:
	@echo "make compare   install if needed, run the head-to-head, write $(OUT)/report.html"
	@echo "make test      install if needed, run the whole test suite"
	@echo "make example   install the example package apart, use it and test it"
	@echo "make notebooks run the tutorial notebooks from top to bottom"
	@echo "make lint      ruff, mypy, import-linter"
	@echo "make docs      build the documentation into docs/_build"
	@echo "make clean     remove the virtual environment and build leftovers (not runs/)"

compare: $(VENV)/.installed
	$(BIN)/unicrs-rl compare --out $(OUT) --force

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

# Beside the environment, not in it: the tests of the package itself are to find nothing plugged in.
EXAMPLE := build/example
example: $(VENV)/.installed-dev
	rm -rf $(EXAMPLE)
	$(INSTALL) --no-deps --target $(EXAMPLE) ./examples/unicrs-rl-example
	rm -rf examples/unicrs-rl-example/build
	PYTHONPATH=$(EXAMPLE) $(BIN)/unicrs-rl compare --world example-world --arms example-arm,max-entropy \
		--dialogues 40 --out $(EXAMPLE)/run
	PYTHONPATH=$(EXAMPLE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q examples/unicrs-rl-example/tests

notebooks: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --nbmake --nbmake-timeout=300 docs/notebooks

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check unicrs_rl tests benchmarks examples
	$(BIN)/ruff format --check unicrs_rl tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Setting up $(VENV) (once; a few minutes)"
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) --editable ".[dev]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(INSTALL) --editable ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) build docs/_build *.egg-info
