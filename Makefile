# trailweave. `make help` is the front door; demo and test set up their own environment, fast on the second run.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help

##@ Use
demo: $(VENV)/.demo ## See it work, offline: an emulated AWS, an attack in the trail, the answers
	$(BIN)/trailweave demo

##@ Develop
test: $(VENV)/.test ## Run the tests (not the soak ones)
	$(PYTEST) -n 2 --dist worksteal -m "not soak"

check: lint test ## Format, lint, types, contracts, tests

lint: $(VENV)/.check ## Format, lint, types and import contracts, without the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.check ## Format the code in place
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

soak: $(VENV)/.test ## Run the long fault and load tests
	TRAILWEAVE_EXAMPLES=others $(PYTEST) -m soak tests
	TRAILWEAVE_EXAMPLES=others $(PYTEST) -n 2 --dist worksteal tests/laws tests/unit

bench: $(VENV)/.bench ## Measure speed and memory against the floor, DuckDB and chDB, as ratios within one run
	$(BIN)/python -m bench

##@ Tidy
clean: ## Remove the environment, caches and the demo's output
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist \
		*.egg-info trailweave-demo

help: ## Show this
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' \
		$(MAKEFILE_LIST)

# One environment; each stamp adds an extra and depends on what declares it.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.%: pyproject.toml setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

.PHONY: demo test check lint format soak bench clean help
.PRECIOUS: $(VENV)/.%
