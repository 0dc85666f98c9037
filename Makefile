# Everything runs on this machine alone: the first call makes .venv from the lock files, later ones start at once.
# Arguments for pytest or the demo: make test ARGS="tests/config -x"
BURSAR = python3 config/embedded/bootstrap.py
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo up test clients lint audit coverage bench chaos clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## set everything up, run four jobs through it, show what they cost, stop
	@$(BURSAR) demo $(ARGS)

up: ## start Bursar on http://127.0.0.1:8000 (or BURSAR_PORT) and stay until Ctrl-C
	@$(BURSAR) up $(ARGS)

test: ## every check and test, on PostgreSQL and Valkey servers of their own
	@$(BURSAR) test $(ARGS)

clients: ## installs other clients of the provider (needs the network), and tries each of them
	@python3 tests/front_door/install_clients.py
	@$(BURSAR) test tests/front_door/test_other_clients.py $(ARGS)

lint: ## the checks without the tests
	@$(BURSAR) lint $(ARGS)

audit: ## is an advisory known for any dependency? (needs the network)
	@python3 tests/audit/run.py

coverage: ## the tests, and which branches of the money and of the work they take: 95 percent at least
	@$(BURSAR) coverage $(ARGS)

bench: ## the benchmarks, on servers with durable settings
	@$(BURSAR) bench $(ARGS)

chaos: ## load on all of Bursar while its processes and servers are killed: is every cent still there?
	@$(BURSAR) chaos $(ARGS)

clean: ## remove all data, the virtual environment and the caches
	@$(BURSAR) clean $(ARGS)
