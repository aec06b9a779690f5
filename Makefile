# Every command makes $(VENV) when it is missing and takes it as it is afterwards.
#   make demo | test | quick | lint | bench | figures | measured
#   make test PIP_ARGS="--extra-index-url ..."  options for pip, such as an index of CPU-only torch
#   make test PYTHON=python3.12 VENV=/tmp/v  another interpreter, another place
#   make test JOBS=0  in one process; JOBS=4 in four, each of one thread
PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
JOBS ?= 2
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
TORCH := $(shell grep '^torch==' constraints.txt)

.PHONY: demo test quick lint types bench figures measured
demo: $(STAMP)
	$(BIN)/scumble demo

test: $(STAMP)
	$(PYTEST)

quick: $(STAMP)
	$(PYTEST) -m "not slow"

lint: $(STAMP) types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(STAMP)
	$(BIN)/python benchmarks/speed.py

# the pictures that the built-in model drew for README and docs/first-edit.md, after new weights
figures: $(STAMP)
	$(BIN)/python scripts/pictures.py

# what docs say about the built-in model, after new weights: some hours of one core; the same command goes on
measured: $(STAMP)
	$(BIN)/python scripts/bench_page.py runs/measured/all
	$(BIN)/scumble bench scenes --method dds_fast --n 600 --no-back --dtype bfloat16 -o runs/measured/test
	$(BIN)/python -m scumble.bench.studies misses runs/measured/test/dds_fast.jsonl
	$(BIN)/scumble bench scenes --method dds --n 333 --no-back --dtype bfloat16 -o runs/measured/dds
	$(BIN)/scumble bench drawings --method dds_fast --method dds --dtype bfloat16 -o runs/measured/drawings
	$(BIN)/scumble reproduce dds --dtype bfloat16 -o runs/measured/paper
	$(BIN)/python -m scumble.bench.studies attention_maps
	$(BIN)/python -m scumble.bench.studies attention --n 60 --dear 20 --out runs/measured/attention

# torch first and alone: pip then takes the build that its indexes offer for this machine (CPU-only where one is named).
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "scumble needs Python 3.11 or newer; name one: make PYTHON=python3.11" >&2; exit 1; }
	@echo "Installing scumble into $(VENV), once: about 410 MB are fetched with CPU-only torch, 2 GB on disk."
	@echo "On Linux pip's usual index offers torch with CUDA, some 3 GB; PIP_ARGS can name another index."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt $(TORCH)
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@
