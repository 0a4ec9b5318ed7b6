# The commands of developers and CI. Each target sets up what it needs, so
# `make demo` and `make test` work in a clean clone with Python 3.11 and pip.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# What `make demo` and `make serve` need: a third of the files, and no tools of developers. An
# environment with these tools serves as well.
RUNNABLE := $(if $(wildcard $(READY)),$(READY),$(VENV)/.runnable)
DATA_DIR ?= data
SECONDS ?= 600
ROUNDS ?= 50
BUF := 1.75.0
# In a terminal, pip shows its progress; in a pipe, only the large packages; and in CI, nothing.
PIP_OUTPUT := $(if $(CI),--quiet)
LARGE := '(Downloading|Using cached) .*\(([0-9]{2,}\.[0-9] MB|[0-9.]+ GB)\)'
PIP_FILTER := $(if $(shell test -t 2 && echo terminal),,| { grep --line-buffered -E $(LARGE) || true; })

# Each start of the server and of a command would otherwise compile all our modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-grpc-aio test-ray fuzz chaos serve lesson bench scale dashboards docs docs-serve lint format types proto stubs requirements sbom audit check clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

$(VENV)/.runnable: EXTRAS := server,exporter,web,tables
$(VENV)/.runnable: CONTENT := the server, the exporter and the web page
$(READY): EXTRAS := server,exporter,dev
$(READY): CONTENT := the server, the exporter and the tools of developers

$(READY) $(VENV)/.runnable: pyproject.toml
	@echo "Setting up $(VENV): $(CONTENT). The first time, pip"
	@echo "installs about 6 GB on x86-64, mostly PyTorch with CUDA, which takes some minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install $(PIP_OUTPUT) --editable '.[$(EXTRAS)]' $(PIP_FILTER)
	@echo "$(VENV) is ready: $$(du -sh $(VENV) | cut -f1)"
	touch $@

models/efficientnet_lite0/1/manifest.json: | $(RUNNABLE)
	$(BIN)/convscope-exporter export efficientnet_lite0 --repository models --version 1

models/digits/1/manifest.json: | $(RUNNABLE)
	$(BIN)/convscope-exporter train digits --repository models --version 1

demo: $(RUNNABLE) ## Export two models, serve them, classify images and save pictures
	$(BIN)/python demo/demo.py

# Four processes keep two cores busy, because many tests mostly wait.
test: $(READY) ## Run all tests
	$(BIN)/python -m pytest -n 4 --dist worksteal

test-grpc-aio: $(READY) ## Run the tests of servers again, on the transport grpc-aio
	CONVSCOPE_TRANSPORT=grpc-aio $(BIN)/python -m pytest -n 3 --dist worksteal -m 'server and not one_transport'

test-ray: $(READY) ## Run the tests of deploy/ray/ with Ray, in an environment of its own
	$$(scripts/ray.sh) -m pytest tests/ray -W default

# One fuzzer after the other: images, messages, bundles, texts, conversations.
fuzz: $(READY) ## Send mutated inputs of every kind for SECONDS=600 in all, from other seeds than `make test`
	CONVSCOPE_FUZZ_SECONDS=$$(( $(SECONDS) / 5 )) $(BIN)/python -m pytest tests/fuzz --capture=no

chaos: $(READY) ## Kill, stop and starve servers under load, ROUNDS=50 times each
	CONVSCOPE_CHAOS_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest tests/chaos --capture=no

serve: $(RUNNABLE) models/efficientnet_lite0/1/manifest.json models/digits/1/manifest.json ## Serve the models of the demo until interrupted; ARGS='--grpc-address ...' adds flags
	exec $(BIN)/convscope-server --models models $(ARGS)

lesson: $(READY) ## Train the networks of the lesson on MNIST and Fashion-MNIST, and measure the served models
	$(BIN)/python -m bench.lesson --data-dir $(DATA_DIR)

bench: $(READY) models/efficientnet_lite0/1/manifest.json models/digits/1/manifest.json ## Measure the server and other model servers, in about 16 minutes
	PYTHON=$(PYTHON) bench/setup.sh
	$(BIN)/python -m bench

# The page is written in any case: it states why something was not measured.
scale: $(READY) models/efficientnet_lite0/1/manifest.json models/digits/1/manifest.json ## Measure one and two replicas and queues, and write docs/scaling.md
	PYTHON=$(PYTHON) bench/setup.sh --only-h2load
	scripts/ray.sh
	status=0; $(BIN)/python -m bench.scaling.measure || status=$$?; $(BIN)/python -m bench.scaling; exit $$status

dashboards: $(READY) ## Write the Prometheus rules and Grafana dashboards from deploy/objectives.toml
	$(BIN)/python -m deploy.monitoring

# The variable hides a notice of the theme about its successor.
docs: $(READY) ## Build the site of docs/ into dist/site, and fail on warnings
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

docs-serve: $(READY) ## Show the site of docs/ on localhost:8000 while you write
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

lint: $(READY) ## Check the style of the code and, if npm is installed, of the .proto files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@if command -v npm >/dev/null; then \
	  echo "buf lint"; npm exec --yes --silent --package=@bufbuild/buf@$(BUF) -- buf lint; \
	else echo "npm is not installed; skipping buf lint of proto/"; fi

format: $(READY) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## Check the types
	$(BIN)/mypy --num-workers 2

proto: ## Generate the stubs from the .proto files
	PYTHON=$(PYTHON) scripts/proto.sh

stubs: ## Check that the stubs match the .proto files
	PYTHON=$(PYTHON) scripts/proto.sh --check

requirements: $(READY) ## Write deploy/requirements/: the versions and hashes of the images
	$(BIN)/python -m deploy.supply_chain.pins

sbom: $(READY) ## Write an SBOM of each image's environment into dist/sbom/
	$(BIN)/python -m deploy.supply_chain.sbom

audit: $(READY) ## Look up known vulnerabilities, if an index of advisories is reachable
	$(BIN)/python -m deploy.supply_chain.audit

# The first checks keep one core busy each, and the tests need all of them.
check: $(READY) ## Run all checks: lint, types, stubs, vulnerabilities, tests on both transports and with Ray
	$(MAKE) --jobs 2 types lint stubs audit docs
	$(MAKE) test
	$(MAKE) test-grpc-aio
	$(MAKE) test-ray

clean: ## Remove what the other targets created
	rm -rf $(VENV) .venv-proto .cache models demo-output runs dist build .mypy_cache .pytest_cache .ruff_cache
