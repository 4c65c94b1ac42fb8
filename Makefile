# make demo   the main job, against a local ECR, on a machine without AWS
# make test   everything that CI checks

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := docker_pull.py docker_push.py ecrdrag tests

.PHONY: demo test bench clean

demo: $(VENV)/.local
	$(BIN)/python -m tests.demo

test: $(VENV)/.dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench.pull --json .bench/pull.json
	$(BIN)/python -m tests.bench.push
	$(BIN)/python -m tests.bench.kinds
	$(BIN)/python -m tests.bench.serving
	$(BIN)/python -m tests.bench.crowd
	$(BIN)/python -m tests.bench.everyday

clean:
	rm -rf $(VENV) .demo .bench build dist *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "ecrdrag needs Python 3.10 or newer; try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.local: $(BIN)/python setup.cfg requirements.txt
	$(BIN)/pip install --quiet --editable '.[local]'
	touch $@

$(VENV)/.dev: $(VENV)/.local
	$(BIN)/pip install --quiet --editable '.[local,dev]'
	touch $@
