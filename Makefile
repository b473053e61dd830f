# Everything runs in .venv, which is built on first use and again when pyproject.toml or constraints.txt change.
PYTHON ?= python3
VENV   ?= .venv
STUDY  ?= nested_alpha
ARGS   ?=
BENCHMARKS ?= step_time packing theory_batching report_time study_time tune_overhead search_regret sema

PY     := $(VENV)/bin/python
# On all cores; the tests of a file share what they train, so they stay on one.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder
# MLflow and Ray would otherwise report usage over the network.
export MLFLOW_DISABLE_TELEMETRY ?= true
export RAY_USAGE_STATS_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help study test test-all check bench statistics constraints clean python

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

study: $(VENV)/.stamp-run  ## install and run a study: make study STUDY=nested_alpha ARGS="--seeds 3"
	$(PY) study/run.py $(STUDY) $(ARGS)

test: $(VENV)/.stamp-test  ## install and run the tests
	$(PY) -m pytest $(PARALLEL)

test-all: $(VENV)/.stamp-test  ## the tests, with the slow ones and those on a cluster of several nodes
	$(PY) -m pytest $(PARALLEL) -m "not gpu and not browser"

check: $(VENV)/.stamp-test  ## lint, formatting, types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

bench: $(VENV)/.stamp-test  ## run the benchmarks; results in benchmarks/results
	@set -e; for name in $(BENCHMARKS); do echo "$(PY) benchmarks/$$name.py"; $(PY) "benchmarks/$$name.py"; done

# rliable is not a dependency, and wants an older pandas.
statistics: $(VENV)/.stamp-test  ## measure how often the statistics are wrong: docs/statistics.md
	$(PYTHON) -m venv $(VENV)-rliable
	$(VENV)-rliable/bin/python -m pip install --quiet rliable 'pandas<3'
	$(PY) benchmarks/error_rates.py --rliable $(VENV)-rliable/bin/python
	rm -rf $(VENV)-rliable

# Resolved in an empty environment. torch names the CUDA packages and the triton that fit it, so these are left out.
constraints: python  ## resolve pyproject.toml again and write constraints.txt
	rm -rf $(VENV)-constraints
	$(PYTHON) -m venv $(VENV)-constraints
	$(VENV)-constraints/bin/python -m pip install --quiet -e '.[test,notebooks,dashboard,browser,docs]'
	$(VENV)-constraints/bin/python -m pip freeze --exclude-editable > $(VENV)-constraints/freeze.txt
	{ sed -n '/^#/p' constraints.txt; \
	  grep -viE '^(nvidia|triton|cuda)|^#' $(VENV)-constraints/freeze.txt | LC_ALL=C sort -f; } > constraints.new
	mv constraints.new constraints.txt
	rm -rf $(VENV)-constraints

clean:  ## remove the environment and caches; studies under runs/ stay
	rm -rf $(VENV) $(VENV)-constraints $(VENV)-rliable build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find study search_spaces trainables analysis tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("error: Python 3.11 or newer is needed, $(PYTHON) is %d.%d; choose another with: make PYTHON=python3.12" % v[:2])'

$(VENV)/.stamp-run: pyproject.toml constraints.txt | python
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.stamp-test: pyproject.toml constraints.txt | python
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet -c constraints.txt -e '.[test]'
	@touch $@ $(VENV)/.stamp-run
