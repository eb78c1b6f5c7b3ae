# The two commands are `make demo` and `make test`; each sets .venv up by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
OLDEST := .venv-oldest

.PHONY: demo test test-all test-oldest clean

# Everything is in the package: nothing is fetched from a model hub.
demo: $(INSTALLED)
	HF_HUB_OFFLINE=1 $(BIN)/python recipes/demo/run.py --out demo

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 -m "not slow" --doctest-modules tests promptscope

test-all: $(INSTALLED)
	$(BIN)/pytest -n 2 --doctest-modules tests promptscope

# The lower bound of every range in pyproject.toml, with the fast tests.
test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/pytest -n 2 -m "not slow" --doctest-modules tests promptscope

clean:
	rm -rf $(VENV) $(OLDEST) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): a few minutes, the first time only."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

$(OLDEST)/.installed: pyproject.toml constraints-oldest.txt
	@echo "Setting up $(OLDEST): a few minutes, the first time only."
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable ".[dev]"
	@touch $@
