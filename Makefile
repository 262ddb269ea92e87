# Everything runs in .venv, which each target builds by itself from a bare python3 (3.11 or 3.12, Linux).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JAX_VENV := .venv-jax
JAX_TESTS := tests/jax_backend tests/benchmarks/test_gpu_benchmark.py tests/carcls/training/test_replicas.py \
	tests/carcls/training/test_constant_batches.py tests/carcls/training/test_compiled_once.py \
	tests/carcls/training/test_weight_averages.py tests/carcls/training/test_step_clock.py \
	tests/carcls/training/test_rate_test.py
JAX_STAMP := $(JAX_VENV)/.installed
HUB_VENV := .venv-hub
HUB_STAMP := $(HUB_VENV)/.installed
S3_VENV := .venv-s3
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: install s3-server demo test check docs faults kills slow slow-models slow-training release-check fuzz jax jax-release hub benchmarks wheelhouse clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@sh .ci/check-python.sh "$(PYTHON)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# The S3 server of the tests, which needs other versions of packages than carsearch; without it they are skipped.
s3-server: $(S3_VENV)/.installed

$(S3_VENV)/.installed: tests/helpers/network/s3_server.txt
	@test -x $(S3_VENV)/bin/python || $(PYTHON) -m venv $(S3_VENV)
	$(S3_VENV)/bin/python -m pip install --quiet --requirement tests/helpers/network/s3_server.txt
	@touch $@

demo: $(STAMP)
	$(BIN)/carsearch demo

# Processes of `make test`; 0: the one that collects them. Tests of one file share fixtures, and so a process.
TEST_WORKERS ?= 2

# NICE="nice -n 19" where it runs beside `kills`, as in .ci/run; `jax` too.
test: $(STAMP)
	$(NICE) $(BIN)/python -m pytest --numprocesses=$(TEST_WORKERS) --dist=loadfile -m "not slow and not fault"

check: $(STAMP) docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, into docs/_build; a dead link or a page in no table of contents is an error. `python docs/reference.py`
# rewrites the two pages that are made from the code.
docs: $(STAMP)
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --nitpicky docs docs/_build

# Two at once: kills wait for processes to start and to end, what is slow computes. Niced, so that limits of time hold.
faults: $(STAMP)
	$(MAKE) --jobs=2 --output-sync=target kills slow

kills: $(STAMP)
	$(BIN)/python -m pytest -m "(fault or slow) and not release" --ignore=tests/carcls tests

slow: slow-models slow-training

slow-models: $(STAMP)
	nice -n 19 $(BIN)/python -m pytest -m "(fault or slow) and not release" tests/carcls/models tests/carcls/inference

slow-training: $(STAMP)
	nice -n 19 $(BIN)/python -m pytest -m "(fault or slow) and not release" tests/carcls \
		--ignore=tests/carcls/models --ignore=tests/carcls/inference

# What CI runs and what it has no time for; before an issue is closed.
release-check: check test faults jax jax-release hub
	$(BIN)/python -m pytest -m release

# About six minutes: damaged files of every kind, and what becomes of them (docs/reliability.md has the figures).
fuzz: $(STAMP)
	$(BIN)/python -m benchmarks.fuzz

$(JAX_STAMP): pyproject.toml constraints.txt Makefile
	@sh .ci/check-python.sh "$(PYTHON)"
	@test -x $(JAX_VENV)/bin/python || $(PYTHON) -m venv $(JAX_VENV)
	$(JAX_VENV)/bin/python .ci/jax_packages.py | $(JAX_VENV)/bin/python -m pip install --quiet \
		--constraint constraints.txt --requirement /dev/stdin
	$(JAX_VENV)/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

# Training and prediction on JAX without TensorFlow.
jax: $(JAX_STAMP)
	KERAS_BACKEND=jax $(NICE) $(JAX_VENV)/bin/python -m pytest -m "not release" $(JAX_TESTS) -k "not bfloat16 and not backbone"

# A whole search, one training on several logical devices, one GPU's benchmark in its small form: minutes.
jax-release: $(JAX_STAMP)
	KERAS_BACKEND=jax $(JAX_VENV)/bin/python -m pytest -m release $(JAX_TESTS) -k "not bfloat16 and not backbone"

$(HUB_STAMP): pyproject.toml constraints.txt Makefile
	@sh .ci/check-python.sh "$(PYTHON)"
	@test -x $(HUB_VENV)/bin/python || $(PYTHON) -m venv $(HUB_VENV)
	$(HUB_VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,hub,onnx]'
	@touch $@

# Backbones of KerasHub, which brings TensorFlow Text and more, and so has an environment of its own.
hub: $(HUB_STAMP)
	$(HUB_VENV)/bin/python -m pytest tests/hub

# Several hours on 2 idle cores; `python -m benchmarks NAME` runs one.
benchmarks: $(STAMP)
	$(BIN)/python -m benchmarks

# carsearch and everything that it needs as wheels, for machines without a network: dist/wheelhouse/.
wheelhouse: $(STAMP)
	$(BIN)/python -m pip wheel --quiet --constraint constraints.txt --wheel-dir dist/wheelhouse .

clean:
	rm -rf $(VENV) $(JAX_VENV) $(HUB_VENV) $(S3_VENV) build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
