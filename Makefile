# make demo · make test · make help
# PYTHON=path/to/python uses an existing environment instead of .venv; TORCH=cpu or cu128 … picks another torch build.
# SEEDS=0,1,2 are the demo's seeds, JOBS how many of its runs are made at once (one core each).
VENV   := .venv
PYTHON ?= $(VENV)/bin/python
TORCH  ?=
BASE   ?= python3
STAMP  := $(VENV)/.installed
SEEDS  ?= 0,1
JOBS   ?= $(shell getconf _NPROCESSORS_ONLN)

.PHONY: help setup demo report judge verify test test-all test-slurm rehearsal lint lock gallery clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/  /' | column -t -l 2

ifeq ($(PYTHON),$(VENV)/bin/python)
setup: $(STAMP)  ## create .venv with the locked versions
else
setup:
	@$(PYTHON) -c "import digrap, torch, hydra, accelerate, timm" || { echo "$(PYTHON) lacks packages: $(PYTHON) -m pip install -e '.[all,dev]'"; exit 2; }
endif

PIP := $(VENV)/bin/python -m pip install --progress-bar off -q
OTHER_TORCH := ^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)(==|\[)

$(STAMP): requirements.lock pyproject.toml
	@$(BASE) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make setup BASE=python3.12")'
	@echo "setup 1 of 3: an environment in $(VENV)"
	@test -x $(VENV)/bin/python || $(BASE) -m venv $(VENV)
	@$(PIP) --upgrade pip
	@echo "setup 2 of 3: the packages of requirements.lock, a few minutes of download$(if $(TORCH),, (torch with CUDA alone is several GB; make setup TORCH=cpu is smaller))"
	@$(if $(TORCH),$(PIP) torch torchvision --index-url https://download.pytorch.org/whl/$(TORCH))
	@$(if $(TORCH),grep -vE '$(OTHER_TORCH)' requirements.lock > $(VENV)/lock.txt,cp requirements.lock $(VENV)/lock.txt)
	@$(PIP) --no-deps -r $(VENV)/lock.txt
	@echo "setup 3 of 3: this repository"
	@$(PIP) --no-deps --no-build-isolation -e . > $(VENV)/install.log 2>&1 || { cat $(VENV)/install.log; exit 1; }
	@touch $(STAMP)

demo: setup  ## zero-shot, vanilla and DiGraP on the miniature; prints the table and writes a page
	$(PYTHON) train.py -m table=demo seed=$(SEEDS) hydra/launcher=joblib hydra.launcher.n_jobs=$(JOBS)
	$(PYTHON) scripts/make_tables.py table=demo seeds=$(SEEDS) dirty=allow
	$(PYTHON) scripts/report.py table=demo seeds=$(SEEDS)
	@echo "The ten VQA shifts in miniature, answered by a tiny PaliGemma: python train.py dataset=minivqa (2 minutes); every method on them: -m table=mini_3"

report: setup  ## one HTML page of every table, figure and run: outputs/report.html (docs/report.md)
	@$(PYTHON) scripts/report.py $(ARGS)

judge: setup  ## METHOD=my_rule.py: compares your own optimizer with the others on the miniature (docs/judge.md)
	@$(PYTHON) scripts/judge.py $(if $(METHOD),"method=$(METHOD)") seeds=$(SEEDS) jobs=$(JOBS) $(ARGS)

verify: setup  ## rebuild every committed table from its predictions and compare
	$(PYTHON) scripts/verify.py

test: setup  ## the fast tests
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m pytest -n 3 --dist worksteal -m "not slow"

test-all: setup  ## all tests, with a run killed before each of its file changes
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	KILLS=all $(PYTHON) -m pytest -n 3 --dist worksteal

test-slurm: setup  ## runs a table on real Slurm clusters of one and two nodes, with disturbances; needs slurm-wlm and munge
	$(PYTHON) -m pytest -p no:xdist tests/slurm

rehearsal: setup  ## TABLE=3 (1 2 4b 8 9 10) [BACKBONE=blip_vqa]: a table of the paper on small data in the official layouts and tiny weights
	@$(PYTHON) -m tests.rehearsal table=$(TABLE) backbone=$(BACKBONE)

lint: setup  ## format, and fix what ruff can
	$(PYTHON) -m ruff check --fix . ; $(PYTHON) -m ruff format .

lock:  ## update requirements.lock to the newest versions that pyproject.toml allows
	$(PYTHON) -m uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --upgrade \
		--no-annotate --custom-compile-command "make lock" --output-file requirements.lock

gallery: setup  ## contact sheets of the miniature's six domains and of minivqa's ten sets
	$(PYTHON) scripts/gallery.py
	$(PYTHON) scripts/gallery.py of=minivqa

clean:  ## remove the environment; runs and data stay
	rm -rf $(VENV)
