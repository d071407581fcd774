# Two commands: `make demo` runs the whole road on real hands; `make test` runs every test.
# Both set up .venv first, once: it is made anew only when a pinned version or a package's metadata changes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PACKAGES := hand-geometry shift-tokenizer hiw-data clutch-llm
METADATA := $(PACKAGES:%=packages/%/pyproject.toml)

WEB := packages/hand-geometry/web

.PHONY: demo test check docs setup web clean

demo: setup
	$(BIN)/kedro run --pipeline full
	@echo "Open reports/index.html to see it."

test: setup web
	$(BIN)/pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html to read it."

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock $(METADATA)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' \
	  || { echo "clutch needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(PACKAGES:%=-e packages/%)
	@touch $@

# The glTF validator and three.js for tests of exported files; without npm or a network those tests are skipped.
web: $(WEB)/node_modules/.ready

$(WEB)/node_modules/.ready: $(WEB)/package.json
	@mkdir -p $(@D)
	@{ command -v npm >/dev/null && cd $(WEB) && npm install --silent --no-package-lock --no-audit --no-fund \
	  && touch node_modules/.ready; } || echo "No npm packages: the tests that need them are skipped."

clean:
	rm -rf data reports mlruns mlflow.db logs site
