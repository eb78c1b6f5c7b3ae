# The two commands are `make demo` and `make test`; each sets .venv up by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
OLDEST := .venv-oldest

.PHONY: demo docs test test-all test-oldest clean

# Everything is in the package: nothing is fetched from a model hub.
demo: $(INSTALLED)
	HF_HUB_OFFLINE=1 $(BIN)/python recipes/demo/run.py --out demo

# The site, at docs/_build/html/index.html; needs no network. A warning is an error.
docs: $(INSTALLED)
	$(BIN)/sphinx-build -q -W --keep-going -j auto -b html docs docs/_build/html

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) docs
	$(BIN)/pytest -n 2 -m "not slow" --doctest-modules tests promptscope

test-all: $(INSTALLED)
	$(BIN)/pytest -n 2 --doctest-modules tests promptscope

# The lower bound of every range in pyproject.toml, with the fast tests.
test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/pytest -n 2 -m "not slow" --doctest-modules tests promptscope

clean:
	rm -rf $(VENV) $(OLDEST) demo build dist docs/_build docs/api docs/source *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): a few minutes, the first time only."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,docs]"
	@touch $@

$(OLDEST)/.installed: pyproject.toml constraints-oldest.txt
	@echo "Setting up $(OLDEST): a few minutes, the first time only."
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable ".[dev,docs]"
	@touch $@
