# What a user types. Everything else is `kedro`: see README.md.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help install compress smoke test lint types imports unit test-gpu notebook docs screenshots benchmark benchmark-gpu viz viz-build mlflow lock clean

help: ## List what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s '	'

install: $(INSTALLED) ## Create .venv and install the locked dependencies

$(INSTALLED): pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --constraint requirements.lock --editable '.[dev]'
	touch $@

compress: install ## Teacher → student → pruned → quantized → report, on the embedded images
	$(BIN)/kedro run --pipeline=compress

smoke: install ## The same on a few hundred images, from a clean folder, in under a minute
	rm -rf data/smoke
	$(BIN)/kedro run --pipeline=compress --env=smoke

test: lint types imports unit smoke notebook docs ## Everything that CI checks, and coverage

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

# Until Python 3.12, to look at coverage takes about three quarters of the tests' own time: make test COVERAGE= leaves it out.
unit: COVERAGE ?= --cov --cov-report=term
unit: install
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=2 --dist=worksteal $(COVERAGE)

test-gpu: install ## The tests that need a GPU; without one they fail
	PYTHON=$(BIN)/python scripts/test_gpu.sh

notebook: smoke
	KEDRO_ENV=smoke $(BIN)/jupyter-execute --timeout=120 notebooks/*.ipynb

docs: install ## The documentation as a site, site/, from docs/ and the docstrings
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

screenshots: viz-build ## docs/images/*.png, of the real pages and the results that are there
	$(BIN)/python scripts/screenshots.py

benchmark: WAYS := bare,product,dataloader,lightning
benchmark: install ## How fast it trains and starts, against what else one could write: docs/benchmarks/training_speed.md
	$(BIN)/python -m pip install --quiet --no-compile --constraint requirements.lock --editable '.[benchmark]'
	$(BIN)/python benchmarks/training_epoch.py --model=resnet20 --images=4800 --rounds=5 --ways=$(WAYS)
	$(BIN)/python benchmarks/training_epoch.py --model=net --batch=256 --images=24000 --rounds=5 --ways=$(WAYS)
	$(BIN)/python benchmarks/training_epoch.py --model=net --teacher=resnet20 --images=6400 --rounds=5 --ways=$(WAYS)
	$(BIN)/python benchmarks/start_up.py --repeats=3
	$(BIN)/python benchmarks/whole_run.py --env=smoke
	$(BIN)/python benchmarks/growth.py --unit=4000 --epochs=3
	$(BIN)/python benchmarks/time_to_accuracy.py --model=net --epochs=8 --seeds=0,1
	$(BIN)/python benchmarks/time_to_accuracy.py --model=resnet8 --epochs=8 --seeds=0
	$(BIN)/python benchmarks/distillation_epoch.py
	$(BIN)/python benchmarks/distillation_epoch.py --methods=all --images=3200

benchmark-gpu: install ## Images a second on a GPU: the bare step, the product, and images varied all at once
	$(BIN)/python benchmarks/gpu_epoch.py

viz: install ## Kedro-Viz on http://127.0.0.1:4141
	$(BIN)/python -m model_compression colour-graph
	$(BIN)/kedro viz run --host=127.0.0.1

viz-build: install ## The graph with all previews as a static site, build/, for any web server
	$(BIN)/python -m model_compression colour-graph
	$(BIN)/kedro viz build --include-previews

mlflow: install ## MLflow's UI on http://127.0.0.1:5000
	$(BIN)/mlflow ui --backend-store-uri=$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db} --host=127.0.0.1 --port=5000

lock: install ## Write what is installed to requirements.lock
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

clean: ## Remove everything that the pipelines made, but not MLflow's runs
	find data -mindepth 1 -not -path 'data/01_raw*' -not -name .gitkeep -type f -delete
