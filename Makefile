# Every target sets up what it needs. `make help` lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
FOR ?= 2m
GPUS ?= 256
MINUTES ?= 10

.PHONY: help setup demo test lint bench soak examples lock clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

setup: $(VENV)/.ready  ## make .venv with everything, from locked and hashed requirements

# uv installs the same locked files several times faster than pip; where it cannot run, pip does it.
$(VENV)/.ready: requirements.txt requirements-bootstrap.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --require-hashes -r requirements-bootstrap.txt
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements.txt \
	  || $(BIN)/python -m pip install -q --require-hashes -r requirements.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

demo: setup  ## the whole platform on a simulated fabric: make demo FOR=2m GPUS=256
	$(BIN)/commonwatt demo --for $(FOR) --gpus $(GPUS)

test: setup  ## every test
	$(BIN)/python -m tests.kafka
	$(BIN)/python -m pytest -n 3 --dist loadfile

lint: setup  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .

bench: setup  ## measured speeds, side by side in one run
	$(BIN)/python -m tests.bench

soak: setup  ## faults of every kind, and the same ledger: make soak SEED=7 MINUTES=10 BROKERS=3|1|embedded [PLAN=FILE]
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(BROKERS),--brokers $(BROKERS)) \
	  $(if $(PLAN),--plan $(PLAN))

examples: setup  ## a month of the demonstration as finance sees it: writes docs/examples
	$(BIN)/python -m tests.examples

lock: setup  ## resolve the requirements anew
	$(BIN)/uv pip compile pyproject.toml --extra dev --generate-hashes --universal --python-version 3.11 \
	  --no-emit-index-url --no-annotate --custom-compile-command "make lock" -q -o requirements.txt
	$(BIN)/uv pip compile requirements-focus-validator.in --generate-hashes --universal --python-version 3.11 \
	  --no-emit-index-url --no-annotate --custom-compile-command "make lock" -q -o requirements-focus-validator.txt

clean:  ## remove what setup and runs made
	rm -rf $(VENV) out commonwatt-data commonwatt-spool build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
