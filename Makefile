# Each target is complete on a fresh machine: it builds .venv first where there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install study real test test-slow test-kills test-vllm test-versions package lint docs clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

install: $(STAMP)  ## build .venv

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

study: $(STAMP)  ## the main job: the miniature study (about 12 minutes on 2 cores)
	$(BIN)/kkwarm study mini

test: $(STAMP)  ## the fast tests, on two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal

test-slow: $(STAMP)  ## the tests that train, and kill, for real
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m slow -o timeout=1800 --durations=12

test-vllm: .venv-vllm/.installed  ## a real vLLM on the CPU: bench, distill, colocated RLVR, servers (opt-in)
	OMP_NUM_THREADS=$$(nproc) .venv-vllm/bin/python -m pytest -q -m vllm -o timeout=3600 tests/engines

.venv-vllm/.installed: tests/engines/environment.py constraints.txt
	$(PYTHON) tests/engines/environment.py .venv-vllm
	touch $@

real: $(STAMP)  ## a real language model: benchmarks, warm-up for five minutes, two RLVR steps, a report
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt gguf
	$(BIN)/python benchmarks/real/run.py

test-kills: $(STAMP)  ## kill -9 at random moments, 30 times each of 5 commands; full disks (an hour)
	$(BIN)/python tests/kills/kill.py --kills 30
	$(BIN)/python tests/kills/hinder.py

package: $(STAMP)  ## build the wheel, and run it in an environment of its own
	$(BIN)/python .ci/environments.py package

test-versions: $(STAMP)  ## lowest and highest versions of transformers, trl and lm-eval
	$(BIN)/python .ci/environments.py versions

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)  ## the documentation, strictly built, into site/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict -f docs/mkdocs.yml

clean:  ## remove .venv and what was built
	rm -rf $(VENV) .venv-vllm site dist build
