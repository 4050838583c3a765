# Every target does its own set-up in .venv; nothing but python3 (3.11 or newer) and make has to be there.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

$(VENV)/.installed: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

.PHONY: setup
setup: $(VENV)/.installed
