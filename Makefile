# `make demo` and `make test` set up everything on a machine with Python 3.11+, pip, make and gcc.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# As a variable it holds for the build's isolated environment too.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: setup demo test lint types bench clean

setup: $(VENV)/.installed

# Some distributions ship Python without ensurepip: then the outer pip fills the environment.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "trioagent needs Python 3.11 or newer; set PYTHON=..."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || $(PYTHON) -m venv --clear --without-pip $(VENV)
	@if $(BIN)/python -m pip --version >/dev/null 2>&1; \
	 then $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'; \
	 else $(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check -e '.[test]'; fi
	@touch $@

demo: setup
	@$(BIN)/python -m trioagent.cli.demo

test: setup lint types
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: setup
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: setup
	$(BIN)/python -m mypy

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .bench dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
