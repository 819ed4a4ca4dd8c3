# Naru: what people type every day. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
BENTO := bentos/menu_writer

.PHONY: help
help: ## list these commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: setup
setup: .venv/.done $(BENTO)/.venv/.done ## make .venv, and the demo model's own, from pinned wheels

.venv/.done: requirements.lock pyproject.toml
	@echo "setup: the gateway's environment (.venv) …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Naru needs Python 3.11 or newer; set PYTHON=…")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(BENTO)/.venv/.done: $(BENTO)/requirements.lock
	@echo "setup: the demo model's environment ($(BENTO)/.venv), with a model of 253 MB …"
	@$(PYTHON) -m venv $(BENTO)/.venv
	@$(BENTO)/.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r $(BENTO)/requirements.lock
	@touch $@

.PHONY: demo
demo: setup ## start everything, make one real call, keep serving until Ctrl-C
	@$(BIN)/naru up --demo

.PHONY: test
test: setup ## all tests, on real parts
	@cd $(BENTO) && .venv/bin/python -m pytest -q tests
	@$(BIN)/python -m pytest

.PHONY: e2e
e2e: setup ## only the tests with real Envoy, etcd and model
	@$(BIN)/python -m pytest tests/e2e

.PHONY: check
check: setup ## lint, format, strict types, golden drift
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/unit/control_plane/compile/test_golden.py

.PHONY: fix
fix: setup ## mend what lint and format can mend by themselves
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

.PHONY: golden
golden: setup ## rewrite the compiler's expected outputs; look at the diff
	@$(BIN)/python -m tests.support.golden

.PHONY: bench
bench: setup ## measure: speed beside bare Envoy, LiteLLM and Portkey; how soon an edit is live
	@$(BIN)/python -m bench.gateway
	@$(BIN)/python -m bench.propagation

.PHONY: bench-control-plane
bench-control-plane: setup ## measure: 1,000 and 10,000 proxies, how soon a change is everywhere
	@$(BIN)/python -m bench.control_plane

.PHONY: h2load
h2load: setup ## another HTTP/2 implementation against the native transport; needs nghttp2-client
	@$(BIN)/python -m bench.h2load

.PHONY: fuzz
fuzz: setup ## look for bytes that break the HTTP/2 connection, for five minutes
	@mkdir -p .naru/fuzz
	@$(BIN)/python -m tests.fuzz.run 300 .naru/fuzz

.PHONY: soak
soak: setup ## measure: ten minutes at the peak rate, five million requests, ten minutes of chaos
	@$(BIN)/python -m bench.soak
	@$(BIN)/python -m bench.chaos

.PHONY: lock
lock: ## pin the newest versions that pyproject.toml allows
	@$(PYTHON) -m venv .venv && $(BIN)/python -m pip install -q uv
	@$(BIN)/uv pip compile -q --upgrade --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --extra server --extra local --extra dev pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate bench/peers/litellm.in -o bench/peers/litellm.lock

.PHONY: clean
clean: ## remove environments, caches and the demo's data
	@rm -rf .venv $(BENTO)/.venv bench/.cache .naru build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
