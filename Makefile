# Two commands set everything up: `make demo` and `make test`. All of it lives in .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

export BENTOML_DO_NOT_TRACK := True

.PHONY: demo test test-all test-slow coverage imports lowest crosscheck-hub lint format serve avatars bricks bench bench-train bench-inference bench-evaluation bench-serve bench-robustness bench-hub clean

demo: .venv/runtime  ## install the runtime (no torch) and sample a grid of avatars
	$(BIN)/gan-serve generate avatars-cgan --seeds 0-63 --scale 2 --out demo/avatars.png

serve: .venv/runtime  ## serve the bundled checkpoints on http://localhost:3000
	$(BIN)/gan-serve serve

# A test process on each core and one more, since tests wait for servers and browsers; each computes with one thread.
PROCESSES ?= $$(($$(getconf _NPROCESSORS_ONLN) + 1))
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --dist worksteal --numprocesses $(PROCESSES)

test: .venv/dev  ## run the everyday tests, on all cores
	$(PYTEST) -m "not slow"

test-all: .venv/dev  ## run every test
	$(PYTEST)

test-slow: .venv/dev  ## run the tests that `make test` leaves out
	$(PYTEST) -m slow

coverage: .venv/dev  ## measure which lines the everyday tests run
	$(PYTEST) -m "not slow" \
	    --cov --cov-report=term-missing:skip-covered --cov-report=html:build/coverage

lint: .venv/dev  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory types imports

# mypy and import-linter do not know setuptools' package-dir: show them the tree as it is installed.
.PHONY: build/tree types
build/tree:
	rm -rf $@ && mkdir -p $@/gan_serve
	ln -s $(CURDIR)/gan_serve/* $@/gan_serve/
	ln -s $(CURDIR)/training $(CURDIR)/exports $@/gan_serve/

types: .venv/dev build/tree
	cd build/tree && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p gan_serve

imports: .venv/dev build/tree  ## check which package imports which
	cd build/tree && PYTHONPATH=. $(CURDIR)/$(BIN)/lint-imports --no-cache $(CURDIR)/pyproject.toml

.PHONY: dist release-check
dist: .venv/dev  ## build the wheel and the source distribution
	rm -rf dist && $(BIN)/python -m build --outdir dist .

# The tools that lock, check and describe what the runtime installs.
.venv-audit/ready:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check \
	    "cyclonedx-bom==7.5.0" "pip-audit==2.10.1" "pip-licenses==5.5.5" "uv==0.13.9"
	touch $@

.PHONY: lock audit sbom hostile fuzz
LOCK := .venv-audit/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --constraint constraints.txt \
    --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links --quiet
lock: .venv-audit/ready  ## write the versions and hashes that the runtime installs to requirements*.lock
	$(LOCK) --output-file requirements.lock
	$(LOCK) --extra cuda --output-file requirements-cuda.lock

audit: .venv-audit/ready .venv/runtime  ## check licences and known vulnerabilities of what the runtime installs
	.venv-audit/bin/python .ci/audit.py $(BIN)/python

sbom: .venv-audit/ready  ## write build/gan-serve.cdx.json, the parts of a release, as CycloneDX
	mkdir -p build
	.venv-audit/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --mc-type library \
	    --output-reproducible --output-format JSON --output-file build/gan-serve.cdx.json

hostile: .venv/dev  ## measure the error, time and memory of each hostile file
	PYTHONPATH=tests:tests/hostile $(BIN)/python tests/hostile/report.py

MINUTES ?= 10
fuzz: .venv/dev  ## give what reads strangers' files damaged ones for MINUTES (atheris, Linux)
	$(PIP_INSTALL) --no-deps "atheris==3.0.0"
	PYTHONPATH=tests:tests/hostile $(BIN)/python tests/hostile/fuzz.py --minutes $(MINUTES)

release-check: .venv/dev  ## check that the tree is ready to be released as TAG
	$(BIN)/python .ci/release_check.py "$(TAG)"

# DEMO: a folder that `gan-serve export-web` wrote, which becomes the live demo of the site.
.PHONY: docs
docs: .venv/dev .venv-docs/ready build/tree  ## build the documentation site in build/site, and check it
	$(BIN)/python docs/site/build.py $(if $(DEMO),--demo)
	cd build && PYTHONPATH=../docs/site ../.venv-docs/bin/zensical build --strict --clean
	$(if $(DEMO),cp -R $(DEMO) build/site/demo)
	$(BIN)/python docs/site/check.py build/site

.venv-docs/ready: docs/site/requirements.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

format: .venv/dev  ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The lowest versions that pyproject.toml admits, in an environment of their own. torch is that of constraints.txt: older
# ones warn and export otherwise, and are gigabytes. The tests are those of what calls these libraries: the service, the
# clients, the Hub, files of images and of checkpoints. Left out are those of formulas, of networks and of training, which
# compute with torch, and those of the page, the documents and the zoo; and test_quantize.py, which counts the layers that
# int8 takes: of the graphs of the lowest versions it takes fewer.
LOWEST_UV := .venv-audit/bin/uv pip install --quiet --python .venv-lowest
LOWEST_TESTS := cli* data* display engine export* extractor generator hub* images import_* machine_load monitor \
    plan png round_weights seeds_and_latents serve service* train_api translate* triton video weights_from_onnx
lowest: .venv-audit/ready  ## run the tests of what calls other libraries with the lower bounds of the dependencies
	.venv-audit/bin/uv venv --quiet --allow-existing --python $(PYTHON) .venv-lowest
	$(LOWEST_UV) --no-deps --constraint constraints.txt torch
	$(LOWEST_UV) --resolution lowest-direct --editable ".[train,hf,keras,otel,tensorboard,video,wandb]"
	$(LOWEST_UV) --editable ".[test]"
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -m "not slow" --numprocesses auto --override-ini filterwarnings=default \
	    $(wildcard $(patsubst %,tests/test_%.py,$(LOWEST_TESTS)))

# olah is a mirror of the Hub that others wrote; its dependencies are not ours, so it has an environment of its own.
crosscheck-hub: .venv/runtime  ## pull a checkpoint from a mirror server and compare every byte
	test -x .venv-olah/bin/olah-cli || { $(PYTHON) -m venv .venv-olah && \
	    .venv-olah/bin/python -m pip install --quiet --disable-pip-version-check "olah>=0.5.4"; }
	$(BIN)/python tests/crosscheck_hub.py .venv-olah/bin/olah-cli

avatars: .venv/dev  ## render the free data set avatars (needs Node.js 20; two minutes)
	$(BIN)/python zoo/avatars/make.py

bricks: .venv/dev  ## render the free data set bricks (an hour and a half on one core)
	$(BIN)/python zoo/bricks/make.py

bench: .venv/dev  ## measure; figures go to benchmarks/
	$(BIN)/python benchmarks/sampling.py

bench-train: .venv/dev  ## measure training beside PyTorch's DCGAN tutorial (ten minutes on two cores)
	$(BIN)/python benchmarks/training.py --quality 20

# OpenVINO is there to compare with, so it is in no extra (NumPy is all that it needs to run). CHECKPOINTS: names or
# directories, by default those of the package.
bench-inference: .venv/dev  ## measure networks beside PyTorch, torch.compile and OpenVINO
	$(PIP_INSTALL) --no-deps "openvino==2026.4.1"
	$(BIN)/python benchmarks/inference.py $(CHECKPOINTS)

# For a machine with a GPU and no network: it installs nothing, and runs with the Python of .venv or else python3. Called
# again, it continues. These are the defaults; `make gpu-data` writes DATA beforehand. zoo/gpu.py tells the rest.
BUDGET ?= 540
DATA ?= data/avatars.zip
CHECKPOINT ?= avatars-cgan
CALLS ?= 1
OUT ?= build/gpu-results
.PHONY: gpu gpu-data
gpu:  ## train CHECKPOINT (avatars-cgan) on DATA (data/avatars.zip) for BUDGET seconds (540); results go to OUT
	$(or $(wildcard $(BIN)/python),$(PYTHON)) zoo/gpu.py run --budget $(BUDGET) --data $(DATA) \
	    --checkpoint $(CHECKPOINT) --calls $(CALLS) --out $(OUT) $(if $(RESUME),--resume-from $(RESUME)) \
	    $(foreach setting,$(SET),--set $(setting))

gpu-data: .venv/dev  ## pack a part of a data set, 40 MB of PNG, for make gpu
	mkdir -p $(dir $(DATA))
	$(BIN)/python zoo/gpu.py pack --data $(firstword $(subst -, ,$(CHECKPOINT))) --out $(DATA)

bench-evaluation: .venv/dev  ## measure how long 10,000 images take to evaluate (needs Fashion-MNIST)
	$(BIN)/python benchmarks/evaluation.py

# MODEL: a checkpoint's directory; by default that of faces-wgan-gp. The peers have an environment of their own.
bench-serve: .venv/dev .venv-serving-peers/ready  ## measure the service beside its peers (needs wrk and java)
	$(BIN)/python benchmarks/serving.py $(if $(MODEL),--model $(MODEL))

# CONDITIONAL: the directory of a conditional checkpoint.
bench-robustness: .venv/dev  ## four times the capacity for a minute, the memory of a worker, half an hour of a mixture of everything
	$(BIN)/python benchmarks/overload.py
	$(BIN)/python benchmarks/worker_memory.py
	$(BIN)/python benchmarks/soak.py --model fashion-dcgan $(if $(CONDITIONAL),--model $(CONDITIONAL)) --minutes 30

bench-hub: .venv/dev  ## measure downloads and pushes beside snapshot_download and upload_folder (ten minutes)
	$(BIN)/python benchmarks/hub.py

.venv-serving-peers/ready: benchmarks/serving_peers/requirements.txt
	$(PYTHON) -m venv .venv-serving-peers
	.venv-serving-peers/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	.venv-serving-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

clean:
	rm -rf .venv .venv-audit .venv-docs .venv-lowest .venv-olah .venv-serving-peers build dist *.egg-info demo

.venv/python:
	$(PYTHON) -m venv .venv
	touch $@

# Hashed: what is installed is what was locked. setuptools, which builds the package, is not.
.venv/runtime: .venv/python pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# Not hashed: torch is the build of the machine. The versions are those of requirements.lock, as constraints.txt has them.
# tritonclient has Triton's own schema, with which tests read what we write for it; its pins do not fit onnx's.
.venv/dev: .venv/python pyproject.toml constraints.txt zoo/bricks/requirements.txt
	$(PIP_INSTALL) --editable ".[dev]" --requirement zoo/bricks/requirements.txt
	$(PIP_INSTALL) --no-deps "tritonclient==2.73.0"
	touch .venv/runtime $@
