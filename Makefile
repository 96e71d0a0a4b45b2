# Every target sets up what it needs. Needed beforehand: make, Python 3.10 or later, and a network
# for the first set-up; `make test` needs Java 17 or later, too, for Spark, Node for Azurite, Chromium for the pages.
# `make PYTHON=python3.12 test` chooses the interpreter of a new .venv.

VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .venv-bench
FLOOR_VENV := .venv-mlflow-floor
EXPORT_IMPORT_VENV := .venv-export-import
LOCK_VENV := .venv-lock
SAGEMAKER_VENV := .venv-sagemaker
TERRAFORM_VENV := .venv-terraform
AZUREML_FLOOR_VENV := .venv-azureml-floor
AZUREML_VENV := .venv-azureml-newest
AZUREML_MLFLOW_VENV := .venv-azureml-mlflow
AZUREML_READY := $(addsuffix /.ready-azureml,$(AZUREML_FLOOR_VENV) $(AZUREML_VENV) $(AZUREML_MLFLOW_VENV))
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.10)
IS_RECENT := import sys; sys.exit(sys.version_info < (3, 10))
IS_WHOLE := import pip, sys; sys.exit(sys.version_info < (3, 10))
PIP_FLAGS := --quiet --no-input --disable-pip-version-check
# One more than there are cores, for tests wait, too; four at most, for each has servers of its own, a gigabyte of them.
WORKERS := $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 3 ? n + 1 : 4)))
PYTEST_FLAGS ?= -n $(WORKERS) --dist loadfile

# Tests start thousands of processes; each would compile every module that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test lint bench peers-sagemaker peers-azureml azurite live-aws live-azure docs docs-serve sbom audit lock clean python
.DELETE_ON_ERROR:

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | awk -F@ '{printf "%-20s %s\n", $$1, $$2}'

demo: $(VENV)/.ready-demo  ## train on real data, kill a run, see that nothing is lost
	@$(BIN)/bridge demo

# Set-up is mostly one process at a time that unpacks: two targets at once, mypy beside pip.
test:  ## everything that CI checks; PYTEST_FLAGS="-k journal" narrows it
	@$(MAKE) --no-print-directory --jobs=2 lint azurite $(FLOOR_VENV)/.ready-floor $(TERRAFORM_VENV)/.ready-terraform
	@$(BIN)/python -m pytest --quiet $(PYTEST_FLAGS)

lint: $(VENV)/.ready-dev  ## style, types and layers, without the tests
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo 'Badly formatted; run $(BIN)/ruff format' >&2; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports > $(VENV)/layers.txt || { cat $(VENV)/layers.txt >&2; exit 1; }

bench: $(BENCH_VENV)/.ready-bench $(EXPORT_IMPORT_VENV)/.ready-export-import  ## measure every figure of docs/benchmarks.md, peers and ours in one run
	@$(BENCH_VENV)/bin/bridge emulate azureml --setup
	@$(BENCH_VENV)/bin/python -m benchmarks

peers-sagemaker: $(VENV)/.ready-dev $(SAGEMAKER_VENV)/.ready-sagemaker  ## AWS's own SDK reads what we wrote, and we what it wrote
	@$(BIN)/python -m pytest --quiet tests/peers/sagemaker_sdk

peers-azureml: azurite $(AZUREML_READY)  ## the same with Azure ML's SDK, an old one and the newest, and its plugin of mlflow
	@$(AZUREML_FLOOR_VENV)/bin/python -m pytest --quiet --disable-warnings tests/peers/azure_ml_sdk
	@$(AZUREML_VENV)/bin/python -m pytest --quiet --disable-warnings tests/peers/azure_ml_sdk
	@$(BIN)/python -m pytest --quiet tests/peers/azureml_mlflow

docs: $(VENV)/.ready-dev  ## build the site of the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

docs-serve: $(VENV)/.ready-dev  ## show the site while you write, at http://127.0.0.1:8000
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

sbom: $(VENV)/.ready-dev  ## bills of materials (CycloneDX) of the core and of all extras into dist/
	@$(BIN)/python -m tests.support.sbom dist

audit: $(VENV)/.ready-dev  ## known vulnerabilities of what is pinned, by pip-audit; needs a network that reaches its service
	@$(BIN)/pip-audit --requirement requirements/dev.txt --no-deps --disable-pip
	@$(BIN)/python -m pytest --quiet tests/packaging/test_security.py

azurite: $(VENV)/.ready-dev  ## fetch the Blob storage that the emulator of Azure ML stands on
	@$(BIN)/bridge emulate azureml --setup

live-aws: $(VENV)/.ready-dev  ## the contract suites against AWS itself; needs credentials, AWS_REGION and BRIDGE_LIVE_AWS_BUCKET
	@$(BIN)/python -m pytest --quiet tests/live/test_aws.py

live-azure: $(VENV)/.ready-dev  ## the contract suites against Azure ML itself; needs az login and BRIDGE_LIVE_AZURE_WORKSPACE
	@$(BIN)/python -m pytest --quiet tests/live/test_azure.py

# demo.txt and bench.txt are compiled against dev.txt, so that all three agree on every version.
lock: $(LOCK_VENV)/.ready-lock  ## pin the newest versions in requirements/*.txt
	@$(compile) requirements/dev.in --extra all --extra testing --upgrade --output-file requirements/dev.txt
	@$(compile) requirements/demo.in --extra demo --extra images --extra system --extra mlflow --extra serve --upgrade \
	    --constraints requirements/dev.txt --output-file requirements/demo.txt
	@$(compile) requirements/bench.in --extra system --extra mlflow --extra serve --extra ui --extra jobs --extra sweeps --extra aws --extra emulators --upgrade \
	    --constraints requirements/dev.txt --output-file requirements/bench.txt
	@$(LOCK_VENV)/bin/uv pip compile requirements/export-import.in --quiet --universal --python-version 3.10 \
	    --no-header --no-annotate --constraints requirements/dev.txt --output-file requirements/export-import.txt
	@$(LOCK_VENV)/bin/uv pip compile requirements/terraform.in --quiet --universal --python-version 3.10 \
	    --no-header --no-annotate --output-file requirements/terraform.txt
	@$(LOCK_VENV)/bin/uv pip compile requirements/mlflow-floor.in --quiet --universal --python-version 3.10 \
	    --no-header --no-annotate --output-file requirements/mlflow-floor.txt
	@$(LOCK_VENV)/bin/uv pip compile requirements/sagemaker-peer.in --quiet --universal --python-version 3.10 \
	    --no-header --no-annotate --output-file requirements/sagemaker-peer.txt
	@$(compile) requirements/azureml-floor.in $(azureml_extras) --output-file requirements/azureml-floor.txt
	@$(compile) requirements/azureml-newest.in $(azureml_extras) --output-file requirements/azureml-newest.txt
	@$(LOCK_VENV)/bin/uv pip compile requirements/azureml-mlflow.in --quiet --universal --python-version 3.10 \
	    --no-header --no-annotate --output-file requirements/azureml-mlflow.txt

compile = $(LOCK_VENV)/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.10 \
    --no-header --no-annotate

azureml_extras = --extra azure --extra emulators --extra mlflow --extra serve --extra testing

clean:  ## remove environments, caches and built files; tracked runs in .bridge stay
	@rm -rf $(VENV) $(BENCH_VENV) $(EXPORT_IMPORT_VENV) $(FLOOR_VENV) $(LOCK_VENV) $(SAGEMAKER_VENV) $(TERRAFORM_VENV) \
	    $(AZUREML_FLOOR_VENV) $(AZUREML_VENV) $(AZUREML_MLFLOW_VENV) dist build site .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find src adapters tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

python:  ## print the interpreter that a new environment is made from
	@$(find_python); echo $$python

# The stamps. A missing or broken interpreter counts as new, and makes the environment anew.
$(VENV)/.ready-demo: requirements/demo.txt pyproject.toml $(BIN)/python
	@$(call make_venv,$(VENV))
	@$(call install,$(VENV),requirements/demo.txt,--no-compile)
	@touch $@

# PyTorch comes by itself: of its many builds, pip takes the one that fits the machine.
$(VENV)/.ready-dev: requirements/dev.txt requirements/torch.txt pyproject.toml $(BIN)/python
	@$(call make_venv,$(VENV))
	@$(call install,$(VENV),requirements/dev.txt,--no-compile)
	@$(VENV)/bin/python -m pip install $(PIP_FLAGS) --no-compile --requirement requirements/torch.txt
	@touch $(VENV)/.ready-demo $@

$(BENCH_VENV)/.ready-bench: requirements/bench.txt pyproject.toml $(BENCH_VENV)/bin/python
	@$(call make_venv,$(BENCH_VENV))
	@$(call install,$(BENCH_VENV),requirements/bench.txt)
	@touch $@

# mlflow-export-import beside ours; our package is not installed there.
$(EXPORT_IMPORT_VENV)/.ready-export-import: requirements/export-import.txt $(EXPORT_IMPORT_VENV)/bin/python
	@$(call make_venv,$(EXPORT_IMPORT_VENV))
	@echo 'Installing requirements/export-import.txt into $(EXPORT_IMPORT_VENV) (only when it changed) ...' >&2
	@$(EXPORT_IMPORT_VENV)/bin/python -m pip install $(PIP_FLAGS) --requirement requirements/export-import.txt
	@touch $@

# The oldest mlflow that we support, as a server for the tests; our package is not installed there.
$(FLOOR_VENV)/.ready-floor: requirements/mlflow-floor.txt $(FLOOR_VENV)/bin/python
	@$(call make_venv,$(FLOOR_VENV))
	@echo 'Installing requirements/mlflow-floor.txt into $(FLOOR_VENV) (a minute, only when it changed) ...' >&2
	@$(FLOOR_VENV)/bin/python -m pip install $(PIP_FLAGS) --no-compile --requirement requirements/mlflow-floor.txt
	@touch $@

# checkov, which looks at the Terraform modules; our package is not installed there.
$(TERRAFORM_VENV)/.ready-terraform: requirements/terraform.txt $(TERRAFORM_VENV)/bin/python
	@$(call make_venv,$(TERRAFORM_VENV))
	@echo 'Installing requirements/terraform.txt into $(TERRAFORM_VENV) (a minute, only when it changed) ...' >&2
	@$(TERRAFORM_VENV)/bin/python -m pip install $(PIP_FLAGS) --no-compile --requirement requirements/terraform.txt
	@touch $@

# AWS's SDK, which pins what others need otherwise; our package is not installed there.
$(SAGEMAKER_VENV)/.ready-sagemaker: requirements/sagemaker-peer.txt $(SAGEMAKER_VENV)/bin/python
	@$(call make_venv,$(SAGEMAKER_VENV))
	@echo 'Installing requirements/sagemaker-peer.txt into $(SAGEMAKER_VENV) (300 MB, only when it changed) ...' >&2
	@$(SAGEMAKER_VENV)/bin/python -m pip install $(PIP_FLAGS) --no-compile --requirement requirements/sagemaker-peer.txt
	@touch $@

# Azure's SDK runs in our tests' own process, beside the emulator: our package is installed there as well.
$(AZUREML_FLOOR_VENV)/.ready-azureml: requirements/azureml-floor.txt pyproject.toml $(AZUREML_FLOOR_VENV)/bin/python
	@$(call make_venv,$(AZUREML_FLOOR_VENV))
	@$(call install,$(AZUREML_FLOOR_VENV),requirements/azureml-floor.txt,--no-compile)
	@touch $@

$(AZUREML_VENV)/.ready-azureml: requirements/azureml-newest.txt pyproject.toml $(AZUREML_VENV)/bin/python
	@$(call make_venv,$(AZUREML_VENV))
	@$(call install,$(AZUREML_VENV),requirements/azureml-newest.txt,--no-compile)
	@touch $@

# Microsoft's plugin and the mlflow that it asks for, which is not ours.
$(AZUREML_MLFLOW_VENV)/.ready-azureml: requirements/azureml-mlflow.txt $(AZUREML_MLFLOW_VENV)/bin/python
	@$(call make_venv,$(AZUREML_MLFLOW_VENV))
	@echo 'Installing requirements/azureml-mlflow.txt into $(AZUREML_MLFLOW_VENV) (only when it changed) ...' >&2
	@$(AZUREML_MLFLOW_VENV)/bin/python -m pip install $(PIP_FLAGS) --no-compile --requirement requirements/azureml-mlflow.txt
	@touch $@

$(LOCK_VENV)/.ready-lock: $(LOCK_VENV)/bin/python
	@$(call make_venv,$(LOCK_VENV))
	@$(LOCK_VENV)/bin/python -m pip install $(PIP_FLAGS) uv
	@touch $@

$(BIN)/python $(BENCH_VENV)/bin/python $(EXPORT_IMPORT_VENV)/bin/python $(FLOOR_VENV)/bin/python $(LOCK_VENV)/bin/python \
    $(SAGEMAKER_VENV)/bin/python $(TERRAFORM_VENV)/bin/python $(AZUREML_FLOOR_VENV)/bin/python $(AZUREML_VENV)/bin/python \
    $(AZUREML_MLFLOW_VENV)/bin/python: ;

# Sets the shell variable python, or says what is missing.
define find_python
python=; for candidate in $(CANDIDATES); do \
    if $$candidate -c '$(IS_RECENT)' >/dev/null 2>&1; then python=$$candidate; break; fi; \
done; \
if [ -z "$$python" ]; then \
    echo 'trackbridge needs Python 3.10 or later; tried: $(CANDIDATES). Name one: make PYTHON=/path/to/python3' >&2; \
    exit 1; \
fi
endef

# An environment that is there and works is kept; half of one, left by an interruption, is made anew.
define make_venv
if ! $(1)/bin/python -c '$(IS_WHOLE)' >/dev/null 2>&1; then \
    $(find_python); \
    $$python -m venv --clear $(1) || { \
        echo "$$python -m venv failed; on Debian and Ubuntu: apt install $${python##*/}-venv" >&2; exit 1; }; \
fi
endef

# Without compiling, half of the time is saved; Python compiles what is really imported.
define install
echo 'Installing $(2) into $(1) (a minute or two, only when it changed) ...' >&2; \
$(1)/bin/python -m pip install $(PIP_FLAGS) $(3) --requirement $(2) && \
$(1)/bin/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation --editable .
endef
