# make demo   install into .venv and run the main job      make test   everything that CI runs
# make setup  a ready checkout with tools and git hooks    make nightly  search every property at random
# make docs   the documentation site, in build/site/html    make docs-quick   without running gallery and notebooks
# make fmt / types / kernels / wheel / pytest / notebooks / test-gpu / bench / pins / clean-kernels

PYTHON ?= python3
# Pins every package, torch to a release with a small CPU wheel; `make CONSTRAINTS= ...` takes what pyproject.toml allows.
CONSTRAINTS ?= constraints.txt

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
PACKAGES := blurphys synth solvers nets

.PHONY: setup demo test lint types layers kernels wheel pytest nightly notebooks test-gpu fmt bench docs docs-quick pins clean-kernels clean

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "blurphys needs Python 3.11 or later; $$($(PYTHON) --version) was found. Try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/runtime.stamp: .venv/bin/python pyproject.toml $(CONSTRAINTS)
	@echo "installing blurphys into .venv (once, a minute or two)"
	$(PIP) -e .
	@touch $@

.venv/dev.stamp: .venv/bin/python pyproject.toml $(CONSTRAINTS)
	@echo "installing blurphys and its development tools into .venv (once, a minute or two)"
	$(PIP) -e ".[dev]"
	@touch $@ .venv/runtime.stamp

setup: .venv/dev.stamp
	$(BIN)/pre-commit install

demo: .venv/runtime.stamp
	$(BIN)/blurphys demo --force

test: lint types layers kernels wheel pytest

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/tools/house.py

types: .venv/dev.stamp
	$(BIN)/mypy

layers: .venv/dev.stamp
	$(BIN)/lint-imports --no-cache

pytest: export CI = true  # the notebooks take their small sizes, as in CI
pytest: .venv/dev.stamp kernels
	$(BIN)/python -m pytest -n auto --dist worksteal --doctest-modules --nbmake tests examples $(PACKAGES)

kernels: .venv/dev.stamp
	$(BIN)/python -m tests.tools.kernels

# It takes the kernels that the checkout keeps.
wheel: export NUMBA_CACHE_DIR = $(CURDIR)/blurphys/engines/cpu/__pycache__
wheel: .venv/dev.stamp kernels
	$(BIN)/python tests/tools/wheel.py

# Every property at random, with other numbers each time, and every test too slow for each change; ends with the
# commands that repeat what failed.
EXAMPLES ?= 400  # of most tests; the laws of operators take five times as many
SEED ?= $(shell $(PYTHON) -c 'import secrets; print(secrets.randbelow(2**32))')
nightly: .venv/dev.stamp
	BLURPHYS_HYPOTHESIS_PROFILE=nightly BLURPHYS_EXAMPLES=$(EXAMPLES) \
		$(BIN)/python -m pytest -n auto --dist worksteal --hypothesis-seed=$(SEED) tests

notebooks: .venv/dev.stamp
	$(BIN)/python -m pytest --nbmake examples

test-gpu: .venv/dev.stamp
	$(BIN)/python -m pytest -m gpu tests

fmt: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout examples/*.ipynb

bench: .venv/runtime.stamp
	$(BIN)/blurphys bench --force

.venv/docs.stamp: .venv/bin/python pyproject.toml $(CONSTRAINTS)
	@echo "installing blurphys and the tools of its site into .venv (once, a minute or two)"
	$(PIP) -e ".[docs]"
	@touch $@ .venv/runtime.stamp

docs: .venv/docs.stamp
	$(BIN)/python docs/site/build.py

docs-quick: .venv/docs.stamp
	$(BIN)/python docs/site/build.py --quick

# What a fresh environment takes today, except torch, whose pin is moved by hand.
pins:
	rm -rf build/pins
	$(PYTHON) -m venv build/pins
	grep '^torch==' constraints.txt > build/pins/torch.txt
	build/pins/bin/python -m pip install --quiet --disable-pip-version-check -c build/pins/torch.txt -e ".[dev,docs]"
	build/pins/bin/python -m pip freeze --disable-pip-version-check --exclude-editable > build/pins/installed.txt
	grep '^#' constraints.txt | grep -v '^# Written' > build/pins/constraints.txt
	echo "# Written by \`make pins\` with $$($(PYTHON) --version)." >> build/pins/constraints.txt
	sed 's/+[a-z0-9.]*$$//' build/pins/installed.txt >> build/pins/constraints.txt
	mv build/pins/constraints.txt constraints.txt
	rm -rf build/pins

clean-kernels:
	find blurphys -type d -name 'kernels-*' -prune -exec rm -r {} +

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
