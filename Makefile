# Every target does its own set-up in .venv: nothing but python3 (3.11 or newer) and make has to be there, and of the
# network only the package index. What needs programs beside that (Debian's redis-server, postgresql, luacheck and
# chromium-headless-shell) says so; it is skipped on a laptop and fails where CI=true.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# Tests start hundreds of Python processes, which are not to compile the package one by one.
unexport PYTHONDONTWRITEBYTECODE

# Workers as tests/conftest.py says; what shares a fixture that is dear to make stays on one of them.
PARALLEL ?= --numprocesses auto --dist loadgroup --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help
help: ## Show the targets.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 10

# Written in one step at the end, so that a set-up that was broken off is done again.
$(VENV)/.installed: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

.PHONY: setup
setup: $(VENV)/.installed ## Make .venv with everything, by pip and with hashes.

.PHONY: run
run: $(VENV)/.installed ## Set up, then run the demo: a gateway with its own stores, an office's day, and live calls.
	$(BIN)/tollgate demo

.PHONY: test
test: $(VENV)/.installed ## Set up, then run every test that needs nothing but Python packages, and no minute of its own.
	HYPOTHESIS_PROFILE=quick $(BIN)/pytest $(PARALLEL) -m "not servers and not slow and not switches and not browser"

.PHONY: test-all
test-all: $(VENV)/.installed ## All tests, on Debian's redis-server, PostgreSQL and Chromium too, and those that take real time.
	$(BIN)/pytest $(PARALLEL)

.PHONY: switches
switches: $(VENV)/.installed ## Install real switches from Debian, and run the tests that drive them.
	bash tools/install_debian.sh switches
	CI=true $(BIN)/pytest -m switches

.PHONY: screenshots
screenshots: $(VENV)/.installed ## Install Chromium from Debian, and take the pictures in docs/screenshots anew.
	bash tools/install_debian.sh page
	CI=true TOLLGATE_SCREENSHOTS=1 $(BIN)/pytest -m browser

.PHONY: lint
lint: $(VENV)/.installed ## ruff, luacheck on the scripts and the library made of them, hadolint on the Dockerfile.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python tools/lint_lua.py
	$(BIN)/hadolint Dockerfile

.PHONY: types
types: $(VENV)/.installed ## mypy --strict.
	$(BIN)/mypy

.PHONY: proto
proto: $(VENV)/.installed ## Generate gateway/v1 from proto/.
	$(BIN)/python tools/generate_proto.py

.PHONY: bench
bench: $(VENV)/.installed ## Measure for less than ten minutes, print tables and write loadtest/results/*.json.
	$(BIN)/python -m loadtest.bench

.PHONY: bench-full
bench-full: $(VENV)/.installed ## The sweeps by size and what else takes long: an hour. Plots go to docs/benchmarks.
	$(BIN)/python -m loadtest.sweeps

PROFILE ?= steady
SECONDS ?= 60

.PHONY: load
load: $(VENV)/.installed ## Load a gateway with users, and audit its books: PROFILE=steady SECONDS=60 OPTIONS=.
	$(BIN)/python -m loadtest.users --profile $(PROFILE) --seconds $(SECONDS) --results loadtest/results $(OPTIONS)

.PHONY: soak
soak: $(VENV)/.installed ## Half an hour of steady load: whether memory, file handles and lag stay what they are.
	$(BIN)/python -m loadtest.soak --results loadtest/results $(OPTIONS)
.PHONY: fuzz
fuzz: $(VENV)/.installed ## Try bytes at each way in for SECONDS, led by what the code does with them (atheris, by pip).
	$(BIN)/pip install --quiet --disable-pip-version-check 'atheris>=3'
	$(BIN)/python tools/fuzz.py | while read -r entrance; do \
		$(BIN)/python tools/fuzz.py "$$entrance" -max_total_time=$(SECONDS) -max_len=4096 || exit 1; \
	done

.PHONY: audit-dependencies
audit-dependencies: $(VENV)/.installed ## Ask for known vulnerabilities of what is locked; fails only where some are known.
	$(BIN)/python tools/audit_dependencies.py

SBOM := $(BIN)/cyclonedx-py requirements requirements/run.txt --pyproject pyproject.toml --output-reproducible --of JSON

.PHONY: sbom
sbom: $(VENV)/.installed ## Write what a gateway is made of to dist/tollgate.cdx.json (CycloneDX), from the lock.
	mkdir -p dist
	$(SBOM) --output-file dist/tollgate.cdx.json

SEED ?=

.PHONY: chaos
chaos: $(VENV)/.installed ## Faults at random under load, and an audit of every answer: SECONDS=60 SEED=.
	$(BIN)/python -m loadtest.chaos --seconds $(SECONDS) --results loadtest/results $(if $(SEED),--seed $(SEED))

.PHONY: fmt
fmt: $(VENV)/.installed ## Format the Python code, and sort its imports.
	$(BIN)/ruff check --select I --fix
	$(BIN)/ruff format

# To be made with the oldest Python there is, 3.11.0 to 3.11.2: newer ones leave out what those need (PYTHON=python3.11).
# No index and no path of this machine gets into the files: they hold for every index that serves the same packages.
LOCK := $(BIN)/pip-compile --quiet --strip-extras --generate-hashes --no-emit-index-url --no-emit-find-links --no-header

.PHONY: lock
lock: $(VENV)/.installed ## Lock what pyproject.toml asks for; UPGRADE=--upgrade takes the newest versions.
	$(LOCK) $(UPGRADE) --extra postgresql --output-file requirements/run.txt pyproject.toml
	$(LOCK) $(UPGRADE) --extra dev --allow-unsafe --output-file requirements/dev.txt pyproject.toml
