# Every target works from a bare clone: what it needs is installed into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BASE := $(VENV)/.base
READY := $(VENV)/.ready
DEMO ?= demo
JOBS ?= 2

.PHONY: help install demo demo-full demo-weights docs test test-fast coverage lint format wheel test-wheel clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

install: $(READY)  ## create .venv with everything, pinned by constraints.txt

# What users install, without the tools of developers.
$(BASE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("pedseg needs Python >= 3.11, found " + sys.version.split()[0] + "; use make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]'
	@touch $@

$(READY): $(BASE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group dev
	@touch $@

demo: $(BASE)  ## fine-tune, export, verify, predict, benchmark, a page; DATA=DIR uses your dataset
	$(BIN)/python -m examples.demo --output $(DEMO) $(if $(DATA),--data $(DATA)) $(if $(TRAIN),--train='$(TRAIN)')

demo-full: $(BASE)  ## the same with 400 streets, trained from random weights; 12 to 28 minutes
	$(BIN)/python -m examples.demo --output $(DEMO)-full --full $(if $(TRAIN),--train='$(TRAIN)')

demo-weights: $(BASE)  ## make the checkpoint that the demo starts from anew; about half an hour
	$(BIN)/python -m examples.demo.make_weights build/weights

docs: $(READY)  ## build the handbook into build/handbook; a broken link or reference fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test: $(READY)  ## run all tests, two at a time; JOBS=0 runs one after the other
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses $(JOBS) $(ARGS)

test-fast: $(READY)  ## the tests that are not marked slow, in less than 2 minutes
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses $(JOBS) -m "not slow" $(ARGS)

coverage: $(READY)  ## all tests with branch coverage; the runtime must have 95 % of its branches
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses $(JOBS) --cov --cov-report= $(ARGS)
	$(BIN)/coverage report
	$(BIN)/coverage json --quiet --include 'runtime/*' -o - | $(BIN)/python -c 'import json, sys; percent = json.load(sys.stdin)["totals"]["percent_branches_covered"]; print(f"branches of the runtime: {percent:.1f} %"); sys.exit(percent < 95)'

lint: $(READY)  ## formatting, style, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## rewrite the code as `make lint` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheel: $(READY)  ## build the wheel into dist/
	rm -rf dist
	$(BIN)/python -m build --quiet --wheel --installer pip .

test-wheel: wheel  ## install the wheel with base dependencies only, without torch, and test the runtime
	rm -rf build/bare
	$(PYTHON) -m venv build/bare
	build/bare/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/*.whl pytest pytest-timeout pytest-xdist hypothesis
	build/bare/bin/python tests/runtime/bare.py
	build/bare/bin/python -m pytest tests/runtime -p no:cacheprovider --numprocesses $(JOBS)

clean:  ## remove what was built, not .venv
	rm -rf build dist $(DEMO) $(DEMO)-full .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage coverage.json htmlcov
