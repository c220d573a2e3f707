# make up     a fleet on this machine: cloud, edge and six devices answer real photographs; BUNDLE=mnist5k: digits
# make check  style, types, layers and the fast tests: a minute and a half
# make test   what every change is checked by: style, types, layers, tests
# make long   whole loops of fleets and trainings, minutes each, that make test leaves out
# make docs   the pages as a site in site/, strict about dead links
# make lock   requirements.lock anew: what containers are made of, each package by version and hash
# make pin    .env with the digests of the images that docker-compose.yml names, where their registries can be reached
# make sbom   sbom.cdx.json: the same as a bill of materials (CycloneDX)
# make clean  remove what these made

VENV := .venv
BIN := $(VENV)/bin
# What `make up` serves: a shipped bundle's name, or a folder.
BUNDLE := grocery6
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
# The first interpreter that is new enough; `make up PYTHON=/path/to/python` takes another.
PYTHON := $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
  $$python -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

PYTEST := $(BIN)/pytest -q -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: up check fast test suite long lint docs lock pin sbom clean
.DEFAULT_GOAL := up
.DELETE_ON_ERROR:

up: $(VENV)/.serving
	@exec $(BIN)/ddnn up $(BUNDLE) $(ARGS)

check: $(VENV)/.testing
	@$(MAKE) --no-print-directory -j2 lint fast

test: lint suite

suite: $(VENV)/.testing
	$(PYTEST)

fast: $(VENV)/.testing
	$(PYTEST) -m "not compose and not slow and not long"

long: $(VENV)/.testing
	$(PYTEST) -m "long and not compose"

lint: $(VENV)/.testing
	$(BIN)/ruff check
	$(BIN)/bandit -q -c pyproject.toml -r shared/ddnn shared/ddnn_lab device edge cloud
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.testing
	$(BIN)/sphinx-build -q -W --keep-going -d site/.doctrees shared/docs site
	@echo "site/index.html"

lock: $(VENV)/.serving
	@$(PIP) install uv
	$(BIN)/uv pip compile pyproject.toml --extra traces --quiet --universal --upgrade --generate-hashes --python-version 3.11 \
	  --no-header --no-annotate --no-emit-index-url --output-file requirements.lock

pin: $(VENV)/.serving
	@$(BIN)/ddnn deploy pin

sbom: $(VENV)/.testing
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible -o sbom.cdx.json
	@echo "sbom.cdx.json"

clean:
	rm -rf $(VENV) build dist site sbom.cdx.json .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer with the venv module was found" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV)

# A stamp is newer than pyproject.toml as long as nothing needs to be installed.
$(VENV)/.serving: pyproject.toml | $(BIN)/python
	@echo "Installing what serving needs into $(VENV), no torch: half a minute or so, only this once."
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.testing: pyproject.toml $(VENV)/.serving | $(BIN)/python
	@echo "Installing what training and the tests need into $(VENV), with torch: a few minutes, only this once."
	@$(PIP) install --editable '.[test]'
	@touch $@
