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

# the pictures that the built-in model drew for README, docs/first-edit.md and other guides, after new weights
figures: $(STAMP)
	$(BIN)/python scripts/pictures.py

# Most of what docs say about the built-in model, after new weights: half a day of one core. The same command goes on with what is
# long, and makes what is short again. Pages name the command of each of their tables.
M := runs/measured
STUDY := $(BIN)/python -m scumble.bench.studies
SCENES := $(BIN)/scumble bench scenes --no-back --dtype bfloat16
INVERSIONS := "ddim;ddim, told source;ddim, refined 3 times;ddim, inverted with guidance;regularised;npi;npi, told source;edit_friendly;direct"
NIGHT := "a picture by day" "a picture at night" --clip scenes --n 16
measured: figures
	$(BIN)/python scripts/bench_page.py $(M)/all
	$(SCENES) --method dds_fast --method sdedit:strength=0.6 --method flowedit --method ddim_inversion --n 600 -o $(M)/test
	$(STUDY) misses $(M)/test/dds_fast.jsonl
	$(SCENES) --method dds --n 333 -o $(M)/dds
	$(STUDY) layer --bench $(M)/dds/dds.jsonl
	$(BIN)/scumble bench drawings --method dds_fast --method dds --dtype bfloat16 -o $(M)/drawings
	$(BIN)/scumble reproduce dds --dtype bfloat16 -o $(M)/paper
	$(STUDY) attention_maps
	$(STUDY) attention --n 60 --dear 20 --out $(M)/attention
	$(STUDY) inversion --pictures 8 --steps 20,50 --kinds $(INVERSIONS) --out $(M)/inversion.jsonl
	$(STUDY) inversion --pictures 8 --steps 20 --kinds null_text --out $(M)/inversion.jsonl
	$(SCENES) --split validation --n 60 --method p2p:steps=20 --method p2p:steps=20,inversion=ddim \
	  --method p2p:steps=20,inversion=edit_friendly -o $(M)/p2p
	$(STUDY) constrained ilvr --n 24 --sheet $(M)/ilvr.png
	$(STUDY) constrained seam --n 24 --sheet $(M)/seam.png
	$(STUDY) constrained background --n 12 --sheet $(M)/masked.png
	$(STUDY) guided two --n 48 --sheet $(M)/two.png
	$(STUDY) guided scale --n 48 --sheet $(M)/classifier_scale.png
	$(STUDY) guided words --n 24
	$(STUDY) dtypes --edits 8 --steps 10
	$(BIN)/scumble train direction $(NIGHT) -o $(M)/night.safetensors
	$(STUDY) guided directions --n 6 --given direction=$(M)/night.safetensors --sheet $(M)/asyrp.png
	$(BIN)/scumble train direction $(NIGHT) --method diffusionclip --set rate=0.0001 -o $(M)/tuned.safetensors
	$(STUDY) guided directions --n 12 --given tuned=$(M)/tuned.safetensors --sheet $(M)/diffusionclip.png
	$(BIN)/python scripts/identity.py --sheet $(M)/dreambooth.png
	$(BIN)/python scripts/tuned_edits.py imagic:guidance=3 imagic:guidance=3,eta=1.2 --n 30 \
	  --tune steps=300 embedding_steps=200 rate=0.00001 -o $(M)/tuned
	$(BIN)/python scripts/tuned_edits.py unitune:guidance=3 --tune rate=0.000008 --n 30 -o $(M)/tuned
	$(STUDY) editors success
	$(BIN)/python scripts/editor_ablations.py train -o $(M)/ablations
	$(BIN)/python scripts/editor_ablations.py show -o $(M)/ablations --figure $(M)/ablations.png --sheet $(M)/ablations_tasks.png

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
