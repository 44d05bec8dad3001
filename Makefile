# `make test` and `make demo` install into .venv on first use and again when its inputs change.
SHELL  := /bin/bash
PYTHON ?= python3
VENV   ?= .venv
EXTRAS := bag,data,train,export,openvino,render,video,test
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# OpenMP threads that spin while they wait starve each other on busy cores.
export OMP_WAIT_POLICY ?= PASSIVE
# Source ROS 2 if its rclpy works with this environment's Python.
ROS    := for s in /opt/ros/*/setup.bash; do (source $$s && $(BIN)/python -c 'import rclpy') &>/dev/null && source $$s && break; done; true

.PHONY: test lint tests test-thorough demo test-py clean help

help:
	@echo "make test            linters, type checks and every test this machine can run"
	@echo "make demo            replay a recording while each sensor drops; report in out/demo"
	@echo "make test-thorough   100,000 property-test examples of the fallback"
	@echo "make test-py PY=3.12 the tests on another interpreter"

test: lint tests

$(READY): setup.py pyproject.toml Makefile
	@echo "Installing into $(VENV) (PyTorch is several GB; only the first time) ..."
# Debian's Python may lack ensurepip; in that case, this interpreter's pip installs pip into the venv.
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m venv --without-pip $(VENV)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m pip --python $(BIN)/python install -q pip
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[$(EXTRAS)]'
	@$(BIN)/python -c "import torch, torchvision" || { echo "torch and torchvision in $(VENV) do not match: remove $(VENV) and install a matching pair"; exit 1; }
	@touch $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

tests: $(READY)
	$(ROS); $(BIN)/python -m pytest $(PYTEST_ARGS)

test-thorough: $(READY)
	$(BIN)/python -m pytest test/fallback --thorough

demo: $(READY)
	$(BIN)/python -m training.demo --out out/demo --overwrite

test-py:
	@test -n "$(PY)" || { echo "specify the interpreter: make test-py PY=3.12"; exit 2; }
	@command -v python$(PY) >/dev/null || { echo "python$(PY) is not installed"; exit 2; }
	$(MAKE) tests PYTHON=python$(PY) VENV=.venv-$(PY)

clean:
	rm -rf .venv .venv-* out build install log *.egg-info
