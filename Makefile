# Two commands do everything on a fresh machine: `make repro` and `make test`. Only CPython 3.11 is needed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
DATATROVE := $(VENV)/datatrove
TRANSFORMERS4 := $(VENV)/transformers4
SKYPILOT := $(VENV)/skypilot
export PATH := $(CURDIR)/$(BIN):$(PATH)
PINNED := import sys, tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	print(*{"run": p["dependencies"], **p["optional-dependencies"]}[sys.argv[1]], sep="\n")
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help repro forecast test lint bench bench-data bench-scale bench-memory bench-diagnosis bench-interrupt \
	bench-generation bench-agreement bench-controls chromium remote-tools cluster cluster-stop docs schema pictures lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

repro: forecast $(VENV)/done ## rebuild what changed, all of it the first time, and print the result table
	dvc repro
	@tunelock report --table
	@echo "To commit this result: git add params.yaml dvc.lock metrics data/README.md"

forecast:
	@"$(PYTHON)" -m tunelock.planning.before_repro $(VENV)

test: $(VENV)/dev $(TRANSFORMERS4)/done $(SKYPILOT)/done lint chromium remote-tools ## lint and the whole test suite
	python -m pytest

lint: $(VENV)/dev ## rules and format (ruff), types (mypy)
	ruff check .
	ruff format --check .
	mypy

bench: $(VENV)/done ## compare training speed with plain SFTTrainer (about 5 minutes; needs a quiet machine)
	python -m benchmarks.training

bench-data: $(VENV)/done $(DATATROVE)/done ## compare near-duplicate removal with datatrove (about 5 minutes)
	python -m benchmarks.data --datatrove $(DATATROVE)/bin/python

bench-scale: $(VENV)/done ## time and memory of ingest, clean and split for 100,000 and 1,000,000 rows (about 15 minutes)
	python -m benchmarks.scale

bench-memory: $(VENV)/done ## peak memory of each training method beside its estimate (about 3 minutes)
	python -m benchmarks.memory

bench-diagnosis: $(VENV)/dev ## faults injected into small runs, and the verdicts on them (about 10 minutes)
	python -m benchmarks.diagnosis

bench-interrupt: $(VENV)/dev ## training killed at 20 random moments: the same bits? (about half an hour)
	python -m benchmarks.interrupt

bench-generation: $(VENV)/done ## greedy answers one by one, by transformers and by tunelock: the same, and how fast? (about 10 minutes)
	python -m benchmarks.generation

bench-agreement: $(VENV)/done ## perplexity and answers beside a few lines of plain transformers (about 5 minutes)
	python -m benchmarks.agreement

bench-controls: $(VENV)/dev ## no gain is claimed where there is none: A/A, shuffled answers, a planted leak (about 25 minutes)
	python -m benchmarks.controls

# The tests open the pages in it. Who may not install it, or has no Debian, is told; those tests then fail and say so too.
chromium: ## Debian's Chromium, where there is none and you may install it
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do command -v $$name > /dev/null && exit 0; done; \
	if ! command -v apt-get > /dev/null; then may=false; elif [ "$$(id -u)" = 0 ]; then may=; else may="sudo -n"; fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	$$may apt-get update -q && $$may apt-get install -yq --no-install-recommends chromium || \
	echo "chromium is missing and could not be installed; put it on the PATH (Debian: sudo apt-get install chromium)" >&2

remote-tools: ## Debian's Slurm, munge and sshd, where they are missing and you may install them; starts no service
	@tests/remote/install_tools.sh

cluster: $(VENV)/done remote-tools ## a one-node Slurm and an sshd on loopback, to try docs/remote.md with
	@python -m tests.remote.cluster start

cluster-stop: $(VENV)/done ## end what `make cluster` started
	@python -m tests.remote.cluster stop

docs: $(VENV)/done ## write docs/errors.md, from the code, docs/chat-templates.md and docs/architectures.md, by trying them all (a minute or two)
	python -m docs.make_errors
	python -m docs.make_remote_keys
	python -m docs.make_templates
	python -m docs.make_architectures

schema: $(VENV)/done ## write params.schema.json, by which editors complete and check params.yaml
	python -m tunelock.schema.json_schema

BASE ?=
pictures: $(VENV)/dev chromium ## docs/images out of the run that is here; BASE=REVISION is what the comment compares with
	python -m docs.make_pictures $(if $(BASE),--base "$(BASE)")

lock: $(VENV)/dev ## write constraints.txt from what is installed
	@{ sed -n '1{/^#/p}' constraints.txt; pip freeze | grep -vE '^(torch|pip|setuptools)=='; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## remove the venv and the checkpoints; what DVC tracks stays
	rm -rf $(VENV) .ckpt

# Built anew when a version changes. torch is pinned in pyproject.toml alone, so that pip may take a CPU or a CUDA build.
# The tools of the tests come apart: trackers that are merely installed cost every start of a trainer seconds.
# An existing venv keeps its Python: another one written over it would not work.
$(VENV)/done: pyproject.toml constraints.txt tunelock/launcher.sh
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@python -c '$(PINNED)' run > $(VENV)/requirements.txt
	$(INSTALL) -c constraints.txt -r $(VENV)/requirements.txt
	@install -m 755 tunelock/launcher.sh $(BIN)/tunelock
	@touch $@

$(VENV)/dev: $(VENV)/done
	@python -c '$(PINNED)' dev > $(VENV)/requirements-dev.txt
	$(INSTALL) -c constraints.txt -r $(VENV)/requirements-dev.txt
	@touch $@

# datatrove 0.10.1 fails with the xxhash that the rest uses, so it gets a venv of its own.
$(DATATROVE)/done: | $(VENV)/done
	"$(PYTHON)" -m venv $(DATATROVE)
	$(DATATROVE)/bin/python -m pip install -qq --disable-pip-version-check datatrove==0.10.1 xxhash==3.8.2 \
		spacy==3.8.18 tokenizers==0.23.3 orjson==3.13.0 regex==2026.11.15
	@touch $@

# The last Transformers 4, with which a test loads what was written with version 5. The rest is that of the venv.
$(TRANSFORMERS4)/done: | $(VENV)/done
	$(INSTALL) --no-deps --no-compile --target $(TRANSFORMERS4) transformers==4.57.6 huggingface_hub==0.36.2 tokenizers==0.22.2
	@touch $@

# SkyPilot, which reads the task that `engine: sky` writes. It wants other versions than the venv has, so it stands apart.
$(SKYPILOT)/done: tests/remote/skypilot.txt | $(VENV)/done
	$(INSTALL) --no-deps --no-compile --upgrade --target $(SKYPILOT) -r tests/remote/skypilot.txt
	@touch $@
