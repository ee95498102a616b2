# make demo    a look at it: a plan and a refusal on two real QEMUs
# make test    everything that CI checks
# make help    the rest

.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := bitmapmig tests fixtures docs
N ?= 1000
SEED ?= 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test check unit qemu redis fetch-qemu fixtures schemas format bench fuzz clean

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/ready ## plan on two real QEMUs, or on recorded captures where QEMU cannot be had
	@$(MAKE) --no-print-directory qemu || echo "QEMU cannot be had here: the demo uses recorded captures"
	@$(BIN)/python docs/demo.py

test: $(VENV)/ready qemu fetch-qemu redis check unit ## everything that CI checks, on real QEMU

check: $(VENV)/ready ## format, lint, types, import contracts
	$(BIN)/ruff format --check $(PACKAGES)
	$(BIN)/ruff check $(PACKAGES)
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/ready ## the tests
	$(BIN)/pytest -n auto

qemu: ## install QEMU if it is missing
	@command -v qemu-system-x86_64 >/dev/null && command -v qemu-img >/dev/null || { \
	  test "$$(id -u)" = 0 || { echo "QEMU is missing: install it (on Debian: apt-get install qemu-system-x86 qemu-utils)" >&2; exit 1; }; \
	  apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install qemu-system-x86 qemu-utils; }

redis: ## install Redis, which the tests of locks need, if it is missing
	@command -v redis-server >/dev/null || { \
	  test "$$(id -u)" = 0 || { echo "Redis is missing: install it (on Debian: apt-get install redis-server)" >&2; exit 1; }; \
	  apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends redis-server; }

fetch-qemu: $(VENV)/ready ## other versions of QEMU into a cache, where they can be had
	@$(BIN)/python -m tests.live.fetch_qemu || echo "the tests run without the versions that cannot be had"

fixtures: $(VENV)/ready qemu fetch-qemu ## record fixtures/ anew from real QEMUs
	$(BIN)/python fixtures/record.py

schemas: $(VENV)/ready ## write schemas/ anew from the models
	$(BIN)/python -m bitmapmig.schemas schemas

format: $(VENV)/ready ## format the code
	$(BIN)/ruff format $(PACKAGES)
	$(BIN)/ruff check --fix $(PACKAGES)

bench: $(VENV)/ready qemu ## measure, as JSON
	@$(BIN)/python -m tests.bench

fuzz: $(VENV)/ready qemu fetch-qemu ## hold the model against real QEMUs on N random worlds, and publish the agreement
	$(BIN)/python -m tests.live.fuzz --count $(N) --seed $(SEED) --figures docs/agreement.json --page docs/agreement.md

clean: ## remove what was installed and made here
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -m venv $(VENV) || { \
	  test "$$(id -u)" = 0 || { echo "the venv module is missing: install it (on Debian: apt-get install python3-venv)" >&2; exit 1; }; \
	  apt-get -q update && apt-get -q -y install python3-venv && $(PYTHON) -m venv --clear $(VENV); }
	@$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/pip install --quiet --editable '.[lock]' --group dev
	@touch $@
