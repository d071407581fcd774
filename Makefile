# Two commands: `make demo` runs the whole road on real hands; `make test` runs every test.
# Both set up .venv first, once: it is made anew only when a pinned version or a package's metadata changes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PACKAGES := hand-geometry shift-tokenizer hiw-data clutch-llm
METADATA := $(PACKAGES:%=packages/%/pyproject.toml)

WEB := packages/hand-geometry/web

.PHONY: demo test check docs mutants setup web clean

demo: setup
	$(BIN)/kedro run --pipeline full
	@echo "Open reports/index.html to see it."

# On all cores, at most eight: a file's tests in one process, one thread each. `.venv/bin/pytest FILE` runs a file alone.
test: setup web
	OMP_NUM_THREADS=1 $(BIN)/pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html to read it."

# Mutation testing of one module, on demand: make mutants MODULE=packages/X/src/x/y.py TESTS=packages/X/tests/test_y.py
# The last commit is changed, one place at a time, in a worktree of its own; what survives is a line that no test holds.
mutants: setup
	@test -n "$(MODULE)" -a -n "$(TESTS)" || { echo "Say MODULE=… and TESTS=…, see CONTRIBUTING.md."; exit 1; }
	$(BIN)/python -m pip install --quiet --constraint requirements.lock cosmic-ray
	git worktree remove --force .mutants 2>/dev/null || true
	git worktree add --quiet --detach .mutants
	cd .mutants && printf '[cosmic-ray]\nmodule-path = "%s"\ntimeout = 120.0\nexcluded-modules = []\n' "$(MODULE)" > mutants.toml \
	  && printf 'test-command = "%s -m pytest -q -x %s"\n' "$(abspath $(BIN))/python" "$(TESTS)" >> mutants.toml \
	  && printf '[cosmic-ray.distributor]\nname = "local"\n' >> mutants.toml \
	  && export PYTHONPATH="$$(ls -d $$PWD/packages/*/src | tr '\n' ':')$$PWD" PATH="$(abspath $(BIN)):$$PATH" \
	  && cosmic-ray baseline mutants.toml && cosmic-ray init mutants.toml mutants.sqlite \
	  && cosmic-ray exec mutants.toml mutants.sqlite \
	  && cr-report --show-diff --surviving-only mutants.sqlite
	git worktree remove --force .mutants

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
