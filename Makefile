# Two commands do everything on a fresh machine: `make repro` and `make test`. Only CPython 3.11 is needed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
REQUIREMENTS := import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	print(*p["dependencies"], *p["optional-dependencies"]["dev"], sep="\n")

.DEFAULT_GOAL := help
.PHONY: help repro test lint bench lock clean

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

repro: $(VENV)/done ## rebuild what changed, all of it the first time, and print the result table
	dvc repro
	@python -m stages.report table

test: $(VENV)/done lint ## lint and the whole test suite
	python -m pytest

lint: $(VENV)/done ## ruff: rules and format
	ruff check .
	ruff format --check .

bench: $(VENV)/done ## compare training speed with plain SFTTrainer (about 5 minutes; needs a quiet machine)
	python -m benchmarks.training

lock: $(VENV)/done ## write constraints.txt from what is installed
	@{ sed -n '1{/^#/p}' constraints.txt; pip freeze | grep -vE '^(torch|pip|setuptools)=='; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## remove the venv and the checkpoints; what DVC tracks stays
	rm -rf $(VENV) .ckpt

# Built anew when a version changes. torch is pinned in pyproject.toml alone, so that pip may take a CPU or a CUDA build.
$(VENV)/done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@python -c '$(REQUIREMENTS)' > $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r $(VENV)/requirements.txt
	@touch $@
