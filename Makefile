# Every target creates .venv from a bare checkout: Python 3.11 or newer is all that is needed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint format docs install clean

demo: .venv/installed
	$(BIN)/ecad demo --out demo

test: .venv/installed
	$(BIN)/python -m pytest -n auto

lint: .venv/installed
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	# Types are checked on the package as it is installed, with the top-level folders in their places.
	rm -rf build/types
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/types .
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p ecad_dsl

format: .venv/installed
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: .venv/installed
	$(BIN)/python docs/make.py
	$(BIN)/python docs/models.py

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv build *.egg-info
