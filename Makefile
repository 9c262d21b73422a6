# The manual of this repository: `make help`. Needs Rust, Python 3.10 or newer with venv, and make.

PYTHON ?= python3
VENV := .venv
SECONDS ?= 60
ifeq ($(OS),Windows_NT)
  BIN := $(VENV)/Scripts
else
  BIN := $(VENV)/bin
endif

# Cargo sees the same interpreter from make as from maturin, so that neither builds again what the other built.
export PYO3_PYTHON := $(abspath $(BIN))/python
export PYO3_BUILD_EXTENSION_MODULE := 1
export VIRTUAL_ENV := $(abspath $(VENV))
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Stamps say what was done and is still true; make does a step again only when something it depends on is newer.
TOOLS := $(VENV)/tools.stamp
BUILT := $(VENV)/built.stamp
RUST := $(shell find crates shaders .cargo -name '*.rs' -o -name '*.wgsl' -o -name '*.toml' 2>/dev/null) Cargo.toml Cargo.lock

.DEFAULT_GOAL := help
.PHONY: help build test test-rust test-python check-shaders lint format docs bench demo wheel fuzz sanitize clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: $(BUILT) ## build the library in release and install it, editable, in .venv

demo: $(BUILT) ## train a convolutional net on handwritten digits; saves it and a picture
	$(BIN)/python examples/convnet.py

test: test-rust test-python ## run every test: Rust, Python, the documentation's examples
	@$(BIN)/python tools/gpu_note.py

test-rust: $(TOOLS) # Rust alone
	cargo test --locked --release --workspace

test-python: $(BUILT) # Python alone; for one file: .venv/bin/pytest tests/test_….py
	$(BIN)/python -m pytest

check-shaders: $(TOOLS) ## the GPU's kernels: valid, translated to each backend's language, and right as a fast-math compiler takes them
	FLUXRS_REQUIRE_CXX=1 cargo test --locked --release -p fluxrs-wgpu --lib -- fast_math shaders recorder programs uniform

lint: $(BUILT) ## formatting, clippy, types of the package and of every page, stubs against the module
	cargo fmt --all --check
	cargo clippy --locked --release --workspace --all-targets -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/typecheck.py
	$(BIN)/python -m mypy.stubtest fluxrs._core --ignore-disjoint-bases
	$(BIN)/python tools/stubs.py --check
	$(BIN)/python tools/docs.py --check
	$(BIN)/python tools/licences.py --check

format: $(TOOLS) ## write Rust and Python the way lint wants them
	cargo fmt --all
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(BUILT) ## write docs/ops.md, the module's stub and the crates' licences; check every link
	$(BIN)/python tools/stubs.py
	$(BIN)/python tools/docs.py
	$(BIN)/python tools/licences.py

fuzz: $(BUILT) ## random programs against the reference, random files, hostile values; SECONDS=600 for ten minutes
	FLUXRS_FUZZ_SECONDS=$(SECONDS) cargo test --locked --release -p fluxrs --test fuzz -- --nocapture
	FLUXRS_FUZZ_SECONDS=$(SECONDS) $(BIN)/python -m pytest --timeout=0 tests/test_programs.py tests/test_properties.py tests/test_files_fuzz.py tests/test_hostile.py

wheel: $(TOOLS) ## one abi3 wheel in dist/; prints its size and its import time
	rm -rf dist
	$(BIN)/maturin build --profile dist --out dist
	$(BIN)/python tools/wheel.py dist

bench: $(TOOLS) ## speed beside PyTorch and JAX, in an environment of its own (some 6 GB on Linux)
	$(BIN)/python tools/bench_env.py .venv-bench
	$(BIN)/maturin build --profile dist --out .venv-bench/wheel
	.venv-bench/bin/python -m pip install -q --force-reinstall --no-deps .venv-bench/wheel/*.whl
	cargo build --locked --release -q -p fluxrs --example page_step
	.venv-bench/bin/python benchmarks/run.py
	.venv-bench/bin/python benchmarks/arrays.py
	.venv-bench/bin/python benchmarks/start.py
	.venv-bench/bin/python benchmarks/growth.py target/growth.png
	.venv-bench/bin/python benchmarks/split.py target/release/examples/page_step

sanitize: $(TOOLS) ## Miri, address and thread sanitizers, where the toolchain has them
	PYTHON=$(BIN)/python tools/sanitize.sh

clean: ## remove everything that was built or installed here
	rm -rf target dist $(VENV) .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find python tests examples benchmarks tools -name __pycache__ -prune -exec rm -rf {} +
	rm -f python/fluxrs/_core.*.so python/fluxrs/_core.*.pyd python/fluxrs/*.dylib

$(VENV)/made.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "fluxrs needs Python 3.10 or newer, and %s is %s: say PYTHON=…" % (sys.executable, sys.version.split()[0]))'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# The tools come first and by themselves: cargo and maturin can start without the library's dependencies.
$(TOOLS): pyproject.toml $(VENV)/made.stamp
	$(BIN)/python tools/requirements.py dev > $(VENV)/requirements.txt
	$(BIN)/python -m pip install -q -r $(VENV)/requirements.txt
	@touch $@

$(BUILT): $(RUST) $(TOOLS)
	PIP_QUIET=1 $(BIN)/maturin develop --release
	@touch $@
