# Everything runs in .venv, which the first target that needs it makes. Another Python: make test PYTHON=python3.13
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: demo test coverage ruff lint generate bench bench-long docs soak clean chromium
.DEFAULT_GOAL := demo

demo: .venv/.demo
	@$(BIN)/python examples/orders_demo.py

# mypy is the first of the tests: alone it would leave all processors but one without work.
test: .venv/.test
	@$(MAKE) --no-print-directory --jobs=2 ruff chromium
	$(BIN)/python -m pytest -n auto --dist worksteal

# Twice as slow as `test`.
coverage: .venv/.test chromium
	$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term

ruff: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint: ruff
	$(BIN)/mypy

# The blocking faces, from the async ones; the reference of the command line, from its commands; the messages of the wire, from their description.
generate: .venv/.test
	$(BIN)/python -m tests.house.generate_blocking
	$(BIN)/python -m tests.house.generate_cli_page
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. stepflow/wire/flowstate.proto

soak: .venv/.test chromium
	HYPOTHESIS_PROFILE=exploring $(BIN)/python -m pytest -m soak -s -v --timeout 3600

bench: .venv/.bench
	$(BIN)/python -m tests.bench

# Also beside a million rows on PostgreSQL and RocksDB.
bench-long: .venv/.bench
	$(BIN)/python -m tests.bench --long

docs: .venv/.test
	$(BIN)/python -m mkdocs build --strict

# The tests of pages drive a real one, which no package of Python brings. The shell without windows is quicker, and half the download.
chromium:
	@command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null && echo 'Installing Chromium' && apt-get -qq update && \
		DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends chromium-headless-shell >/dev/null; } || { \
		echo 'the tests of pages need Chromium: install it (Debian: apt-get install chromium-headless-shell) and try again'; exit 1; }

clean:
	rm -rf .venv site dist build demo.db* demo-ledger.db* .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

# A half-made environment would look finished to the next call: it is removed again.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'stepflow needs Python 3.11 or newer; name one: make PYTHON=python3.11'; exit 1; }
	@echo 'Making the environment .venv'
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo 'python3 has no venv module: install it (Debian, Ubuntu: apt install python3-venv) and try again'; exit 1; }

.venv/.demo: pyproject.toml | $(BIN)/python
	@echo 'Installing stepflow'
	@$(PIP) --editable '.[cli]'
	@touch $@

# Dependency groups need a recent pip.
.venv/.pip: | $(BIN)/python
	@$(PIP) --upgrade 'pip>=25.1'
	@touch $@

.venv/.test: pyproject.toml .venv/.pip
	@echo 'Installing the tools for tests, types and docs'
	@$(PIP) --editable '.[cli,testing]' --group test --group docs
	@touch $@ .venv/.demo

# dura asks for Python 3.13, but is pure Python that works on 3.11 as it is.
.venv/.bench: pyproject.toml .venv/.pip
	@echo 'Installing the peers to compare with'
	@$(PIP) --editable '.[cli,http,server]' --group bench
	@$(PIP) --no-deps --ignore-requires-python 'dura>=1.3'
	@touch $@
