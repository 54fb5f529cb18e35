# Two commands do everything on a fresh machine: `make repro` and `make test`. Only CPython 3.11 is needed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
DATATROVE := $(VENV)/datatrove
TRANSFORMERS4 := $(VENV)/transformers4
SKYPILOT := $(VENV)/skypilot
export PATH := $(CURDIR)/$(BIN):$(PATH)
LOCKER := $(VENV)/locker
# cpu or cuda; empty takes cuda where there is an NVIDIA GPU
LOCK ?=
HASHED := -m pip install -qq --disable-pip-version-check --no-deps --require-hashes

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

lint: $(VENV)/dev ## rules and format (ruff), types (mypy), the Dockerfile (hadolint)
	ruff check .
	ruff format --check .
	mypy
	hadolint Dockerfile

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

lock: $(LOCKER)/done ## write locks/ from the pins of pyproject.toml: all packages with the hashes of their files (a few minutes)
	@$(LOCKER)/bin/python locks/make_locks.py

clean: ## remove the venv and the checkpoints; what DVC tracks stays
	rm -rf $(VENV) .ckpt

# Built anew when a version changes, by the code with which hosts build theirs: no file whose hash is not in the lock.
# The tools of the tests come apart: trackers that are merely installed cost every start of a trainer seconds.
# An existing venv keeps its Python: another one written over it would not work.
$(VENV)/done: pyproject.toml locks/cpu.txt locks/cuda.txt tunelock/launcher.sh
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@"$(PYTHON)" -m tunelock.remote.there.installing $(VENV) $(LOCK)
	@touch $@

$(VENV)/dev: $(VENV)/done locks/dev.txt
	$(BIN)/python $(HASHED) --no-build-isolation -r locks/dev.txt
	@touch $@

$(LOCKER)/done: locks/locking.txt
	"$(PYTHON)" -m venv $(LOCKER)
	$(LOCKER)/bin/python $(HASHED) -r locks/locking.txt
	@touch $@

$(DATATROVE)/done: locks/datatrove.txt | $(VENV)/done
	"$(PYTHON)" -m venv $(DATATROVE)
	$(DATATROVE)/bin/python $(HASHED) -r locks/datatrove.txt
	@touch $@

$(TRANSFORMERS4)/done: locks/transformers4.txt | $(VENV)/done
	$(BIN)/python $(HASHED) --no-compile --target $(TRANSFORMERS4) --upgrade -r locks/transformers4.txt
	@touch $@

# SkyPilot, which reads the task that `engine: sky` writes. It wants other versions than the venv has, so it stands apart.
$(SKYPILOT)/done: locks/skypilot.txt | $(VENV)/done
	$(BIN)/python $(HASHED) --no-compile --target $(SKYPILOT) --upgrade -r locks/skypilot.txt
	@touch $@
