# One vocabulary of tasks for people, hooks and CI. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)
export HF_HUB_OFFLINE ?= 1
export GX_ANALYTICS_ENABLED ?= false
export MLFLOW_DISABLE_TELEMETRY ?= true

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format lock ui

help: ## list the tasks
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(STAMP) ## install the locked environment into .venv

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else 'error: m3tr needs Python 3.11 to 3.13; run make with PYTHON=python3.11')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

demo: setup ## the whole pipeline on the bundled sample, then its results
	dvc pull --quiet data
	dvc repro
	m3tr results

test: setup ## all tests
	lint-imports
	pytest -n 2 --dist loadfile

lint: setup ## style, types and layers
	ruff check .
	ruff format --check .
	mypy
	lint-imports

format: setup ## mend style
	ruff check --fix .
	ruff format .

lock: setup ## resolve requirements.lock anew
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	  --no-strip-extras --no-emit-package torch --generate-hashes --quiet -o requirements.lock

ui: setup ## Dagster and MLflow in the browser
	python -m orchestration.ui
