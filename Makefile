# Two commands set everything up: `make demo` and `make test`. All of it lives in .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

export BENTOML_DO_NOT_TRACK := True

.PHONY: demo test lowest lint format serve bench bench-train clean

demo: .venv/runtime  ## install the runtime (no torch) and draw a grid of clothes
	$(BIN)/gan-serve generate fashion-dcgan --seeds 0-63 --out demo/fashion.png

serve: .venv/runtime  ## serve the bundled checkpoints on http://localhost:3000
	$(BIN)/gan-serve serve

test: .venv/dev  ## run the tests
	$(BIN)/python -m pytest

lint: .venv/dev  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory types

# mypy does not know setuptools' package-dir: show it the tree as it is installed.
.PHONY: types
types: .venv/dev
	rm -rf build/types && mkdir -p build/types/gan_serve
	ln -s $(CURDIR)/gan_serve/* build/types/gan_serve/
	ln -s $(CURDIR)/training $(CURDIR)/exports build/types/gan_serve/
	cd build/types && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p gan_serve

format: .venv/dev  ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The lowest versions that pyproject.toml admits, in an environment of their own.
lowest:  ## run the tests with the lower bounds of the dependencies
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-lowest.txt --editable ".[test]"
	.venv-lowest/bin/python -m pytest --override-ini filterwarnings=default

bench: .venv/dev  ## measure; figures go to benchmarks/
	$(BIN)/python benchmarks/sampling.py

bench-train: .venv/dev  ## measure training beside PyTorch's DCGAN tutorial (ten minutes on two cores)
	$(BIN)/python benchmarks/training.py --quality 20

clean:
	rm -rf .venv .venv-lowest build dist *.egg-info demo

.venv/python:
	$(PYTHON) -m venv .venv
	touch $@

.venv/runtime: .venv/python pyproject.toml constraints.txt
	$(PIP_INSTALL) --editable .
	touch $@

.venv/dev: .venv/python pyproject.toml constraints.txt
	$(PIP_INSTALL) --editable ".[dev]"
	touch .venv/runtime $@
