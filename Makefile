# Two commands for a newcomer: `make demo` and `make test`. On a machine with Python 3.11 or newer, make and PyPI they
# do the whole set-up themselves, once, into .venv. `make` alone lists everything.

SHELL := bash
PYTHON ?= python3
VENV ?= .venv
DIR ?= .

BIN := $(abspath $(VENV))/bin
INSTALLED := $(VENV)/.dj-assets-installed
LOG := $(VENV)/install.log

.DEFAULT_GOAL := help
.PHONY: help demo test check ui bench bench-speed clean

help: ## this list
	@echo "dj_assets: Data-Juicer video recipes as Dagster assets. Targets:"
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1 | \2/p' $(firstword $(MAKEFILE_LIST)) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1: \2/p' $(firstword $(MAKEFILE_LIST))
	@echo "Variables: PYTHON=$(PYTHON) (3.11 or newer), VENV=$(VENV), DIR=$(DIR) (project that \`make ui\` shows)"

demo: $(INSTALLED) ## the tutorial's two recipes over real clips: set-up, run, table, what to do next
	@$(BIN)/dj-assets demo

test: $(INSTALLED) ## everything that CI runs: ruff, mypy, import contracts, tests
	@set -e; \
	step() { echo ">> $$*"; "$(BIN)/$$@"; }; \
	step ruff check .; \
	step ruff format --check .; \
	step mypy; \
	step lint-imports; \
	step pytest

check: $(INSTALLED) ## whether the recipes in recipes/ can be right, before anything is decoded
	@$(BIN)/dj-assets check

ui: $(INSTALLED) ## Dagster's web interface on this project's recipes (DIR=.demo: on the demo's)
	@cd "$(DIR)" && $(BIN)/dj-assets ui

bench: $(INSTALLED) ## the measured comparisons in benchmarks/ but those of speed, which want a quiet machine: most of an hour
	@set -e; \
	step() { echo ">> $$*"; "$(BIN)/$$@"; }; \
	step python -m benchmarks.reruns; \
	step python -m benchmarks.chaos; \
	step python -m benchmarks.daily; \
	step python -m benchmarks.studio

bench-speed: $(INSTALLED) ## those of speed, beside py-data-juicer where benchmarks/peer.py has built it: two hours, quiet
	@set -e; \
	step() { echo ">> $$*"; "$(BIN)/$$@"; }; \
	for name in tutorial sixty fused fast memory flow scale; do step python -m "benchmarks.$$name"; done

clean: ## remove the demo and the tools' caches; recipes, outputs, the store and .venv stay
	rm -rf .demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
	find . -path "./$(VENV)" -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# One resolution of everything: EasyOCR brings torchvision, and torchvision the torch that it was built for. The stamp
# comes last, so that an interrupted installation is taken up again.
$(INSTALLED): pyproject.toml | $(VENV)/bin/pip
	@echo ">> Installing dj_assets and its libraries into $(VENV): about 6 GB (torch is most of it), some minutes, once."
	@set -o pipefail; \
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -e ".[dev,demo]" 2>&1 | tee $(LOG) \
	| while IFS= read -r line; do \
	    case "$$line" in \
	      *"Downloading "*" MB)"*) echo "   Downloading $${line#*Downloading }" ;; \
	      "Installing collected packages"*) echo "   Unpacking (a minute or more without a word) ..." ;; \
	      ERROR*) echo "   $$line" ;; \
	    esac; \
	  done \
	|| { echo "The installation failed; the whole log is in $(LOG), its end:"; tail -n 15 $(LOG); \
	     echo "  allowed: a machine that reaches PyPI, with 10 GB of free disk"; \
	     echo "  try: mend that, then run make again; it goes on where it stopped"; exit 1; } >&2
	@touch $@
	@echo ">> Installed."

# pip's own script is the last thing that venv makes, so a venv that was interrupted is made again.
$(VENV)/bin/pip:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "$(PYTHON) was not found."; \
	  echo "  allowed: Python 3.11 or newer"; \
	  echo "  try: install it, or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12"; exit 1; } >&2
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is $$("$(PYTHON)" --version 2>&1)."; \
	  echo "  allowed: Python 3.11 or newer"; \
	  echo "  try: make $(MAKECMDGOALS) PYTHON=python3.12, or any newer one that is installed"; exit 1; } >&2
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: its module venv or ensurepip is missing."; \
	  echo "  allowed: a Python with venv and ensurepip"; \
	  echo "  try: on Debian and Ubuntu, apt-get install python3-venv; or name another one with PYTHON=..."; exit 1; } >&2
	@echo ">> Making the virtual environment $(VENV) with $$("$(PYTHON)" --version)."
	@"$(PYTHON)" -m venv "$(VENV)"
