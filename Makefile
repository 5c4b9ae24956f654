# Two commands: `make run` and `make test`. Everything they need is installed into this directory and printed; only the
# Debian packages of the integration tests go into the system. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := realtime_svc twisted tests tools examples bench setup.py

export PYTHON
.DEFAULT_GOAL := help
.PHONY: help run test check bench bench-peers soak model format lock clean environment dev-environment system-packages node-packages

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' Makefile | expand -t 16

run: environment ## start a development server in the foreground (configuration and tokens: var/dev.toml)
	@exec $(BIN)/realtime-svc dev $(ARGS)

test: system-packages dev-environment node-packages ## every test once, with the coverage floor
	@$(BIN)/python tools/run_tests.py

check: dev-environment ## format, lint, types, architecture
	@failed=; \
	$(BIN)/ruff format --check $(wildcard $(SOURCES)) || failed="$$failed format"; \
	$(BIN)/ruff check $(wildcard $(SOURCES)) || failed="$$failed lint"; \
	$(BIN)/mypy || failed="$$failed types"; \
	$(BIN)/python -m twisted.trial tests.test_architecture || failed="$$failed architecture"; \
	if [ -n "$$failed" ]; then echo "not good:$$failed" >&2; exit 1; fi

bench: dev-environment ## measure: memory of 10,000 idle connections, cost of schemas, timing of refused tokens
	$(BIN)/python bench/idle_connections.py
	$(BIN)/python bench/validation.py
	$(BIN)/python bench/timing.py

bench-peers: dev-environment ## realtime_svc beside its peers and a bare loop in C; up to 40 minutes (ARGS="--quick": 3)
	@$(BIN)/python -m bench.compare $(ARGS)

soak: dev-environment ## 1,000 clients that come and go for 5 minutes: is anything lost? (ARGS="--seconds 60")
	@$(BIN)/python -m tests.soak $(ARGS)

model: dev-environment ## the core against its reference model, 200,000 steps (ARGS="STEPS SEED")
	@$(BIN)/python -m tests.model $(ARGS)

format: dev-environment ## put the code into its form
	$(BIN)/ruff check --fix-only $(wildcard $(SOURCES))
	$(BIN)/ruff format $(wildcard $(SOURCES))

lock: ## newest versions that pyproject.toml and package.json allow, into the lock files
	@tools/lock.sh .make/lock

clean: ## remove what was installed and built here (not var/)
	rm -rf $(VENV) .make build dist *.egg-info tests/integration/node/node_modules
	rm -rf _trial_temp* .coverage .coverage.* .mypy_cache .ruff_cache .hypothesis
	find realtime_svc twisted tests tools -name __pycache__ -prune -exec rm -rf {} +
	rm -f realtime_svc/transports/*.so
	rm -f twisted/plugins/dropin.cache

environment:
	@tools/environment.sh $(VENV) run

dev-environment:
	@tools/environment.sh $(VENV) dev

system-packages:
	@tools/system_packages.sh

node-packages:
	@tools/node_packages.sh
