# trailweave. `make help` is the front door; demo and test set up their own environment, fast on the second run.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PRISM := .cache/bin/prism
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help

##@ Use
demo: $(VENV)/.demo ## See it work, offline: an emulated AWS, an attack in the trail, the answers
	$(BIN)/trailweave demo

##@ Develop
# Three at a time on two cores: a third of the time tests wait for processes, queues and clocks.
test: $(VENV)/.test ## Run the tests (not the soak ones)
	$(PYTEST) -n 3 --dist worksteal -m "not soak and not portable"

check: lint test ## Format, lint, types, contracts, tests

lint: $(VENV)/.check ## Format, lint, types and import contracts, without the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.check ## Format the code in place
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

portable-test: $(VENV)/.test $(PRISM) ## The graph unbounded on Prism, a portable engine (built with Go; skipped without)
	TRAILWEAVE_PRISM=$(PRISM) $(PYTEST) -m "portable and not soak" tests/integration

flink-test: $(VENV)/.test ## The same on Flink: make flink-test FLINK_JOB_SERVER_JAR=... [FLINK_HOME=...: a cluster too]
	FLINK_JOB_SERVER_JAR=$(FLINK_JOB_SERVER_JAR) FLINK_HOME=$(FLINK_HOME) $(PYTEST) -m "portable and not soak" -k flink tests/integration

soak: $(VENV)/.test $(PRISM) ## Run the long fault and load tests
	TRAILWEAVE_PRISM=$(PRISM) TRAILWEAVE_EXAMPLES=others $(PYTEST) -s -m soak tests
	TRAILWEAVE_EXAMPLES=others $(PYTEST) -n 2 --dist worksteal tests/laws tests/unit

bench: $(VENV)/.bench ## Measure speed and memory against the floor, DuckDB and chDB, as ratios within one run
	$(BIN)/python -m bench

coverage: $(VENV)/.check ## Write docs/coverage.md: what the shipped rules find in labelled attacks and on benign events
	$(BIN)/python -m bench.coverage

datasets: $(VENV)/.check ## Write docs/datasets.md: what each column means, from the schemas and views
	$(BIN)/python -m pipeline.sql.datasets_page

scaling: $(VENV)/.bench ## Write docs/scaling.md: what a record and an object cost here, and what days take
	$(BIN)/python -m bench.scale

##@ Tidy
clean: ## Remove the environment, caches and the demo's output
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist \
		*.egg-info trailweave-demo

help: ## Show this
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' \
		$(MAKEFILE_LIST)

# As this Beam release has it. Without Go nothing is built, and the tests say that they were skipped.
$(PRISM):
	@if command -v go >/dev/null; then \
		GOBIN=$(abspath $(@D)) go install github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0; \
	else echo "no Go here: the tests on Prism are skipped"; fi

# One environment; each stamp adds an extra and depends on what declares it.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.%: pyproject.toml setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

.PHONY: demo test check lint format portable-test flink-test soak bench coverage datasets scaling clean help
.PRECIOUS: $(VENV)/.%
