# What people type. How it is done is in CMakePresets.json and scripts/.
export CTEST_PARALLEL_LEVEL ?= $(shell nproc)
FUZZ_RUNS ?= 10000000
fuzz_targets = $(notdir $(wildcard tests/fuzz/corpus/*))
sources = $(shell git ls-files '*.h' '*.c' '*.cc')
demo_examples = example_4_5_grouped_query example_5_2_kv_cache

PYTHON ?= python3

.PHONY: build setup test test-all asan tsan emulated shared dev aarch64 fuzz python demo bench bench-peers performance lint format

build:  ## the library, build/release/bin/rapt, examples and tests
	cmake --preset release
	cmake --build --preset release

setup:  ## installs the Debian packages that are missing
	scripts/setup

test: setup build  ## everything that must pass before a change is taken; minutes
	ctest --preset release
	$(MAKE) python
	$(MAKE) asan
	grep -qw avx512_bf16 /proc/cpuinfo || $(MAKE) emulated
	test "$$(uname -m)" != x86_64 || $(MAKE) aarch64

test-all: setup build  ## the full grid of cases; hours
	RAPT_FULL_GRID=1 ctest --preset release --timeout 86400

asan tsan shared dev:  ## the tests under that preset
	cmake --preset $@
	cmake --build --preset $@
	ctest --preset $@

emulated:  ## the tests with AVX-512 emulated, on a CPU that has AVX2
	cmake --preset release
	cmake --build --preset emulated
	ctest --preset emulated

aarch64: setup  ## tests for AArch64: cross-compiled, under qemu
	scripts/setup g++-aarch64-linux-gnu qemu-user
	scripts/sysroot arm64 build/aarch64/sysroot
	cmake --preset aarch64
	cmake --build --preset aarch64
	ctest --preset aarch64
	ctest --preset aarch64-scalar

fuzz: setup  ## the loaders against FUZZ_RUNS arbitrary inputs each; clang
	scripts/setup clang
	scripts/setup libclang-rt-$$(clang -dumpversion | cut -d. -f1)-dev
	cmake --preset fuzz
	cmake --build --preset fuzz
	set -e; for target in $(fuzz_targets); do \
	  mkdir -p build/fuzz/corpus/$$target; \
	  build/fuzz/bin/fuzz_$$target -runs=$(FUZZ_RUNS) -max_len=4096 -timeout=10 -dict=tests/fuzz/json.dict \
	    -artifact_prefix=build/fuzz/ -print_final_stats=1 build/fuzz/corpus/$$target tests/fuzz/corpus/$$target; \
	done

python: setup .venv/requirements  ## the Python package, installed into .venv, and its tests
	cmake --preset release
	cmake --build --preset release --target rapt
	rm -rf build/library
	cmake --install build/release --prefix build/library --component library
	.venv/bin/pip install --quiet --no-build-isolation --no-deps --force-reinstall . \
	  --config-settings=cmake.define.RAPT_USE_INSTALLED=ON \
	  --config-settings=cmake.define.rapt_ROOT=$(CURDIR)/build/library
	.venv/bin/ruff check python examples
	.venv/bin/ruff format --check python examples
	.venv/bin/mypy
	.venv/bin/pytest

.venv/requirements: python/requirements-test.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet -r $<
	touch $@

demo: setup  ## text from a model and its loss on a text, two examples, the measurements
	cmake --preset release
	cmake --build --preset release --target rapt_program $(demo_examples)
	scripts/demo $(demo_examples)

bench: build  ## speed beside the ceilings of this machine
	build/release/bin/rapt bench

bench-peers: build  ## speed, memory and error beside other libraries; 10 minutes on an idle machine, 9 GB
	for name in main zentorch; do \
	  $(PYTHON) -m venv build/peers/$$name && \
	  build/peers/$$name/bin/pip install -q -r bench/peers/requirements-$$name.txt || exit 1; \
	done
	build/peers/main/bin/pip install -q .
	bench/peers/compare.py --python main=build/peers/main/bin/python \
	  --python zentorch=build/peers/zentorch/bin/python \
	  --ceilings build/release/bench/librapt_ceilings.so --json bench/results/peers.json
	bench/peers/table.py bench/results/peers.json

performance: build  ## the figures of docs/performance.md anew; minutes, on an idle machine
	build/release/bin/rapt bench --threads 0 --json > bench/results/best.json
	RAPT_FORCE_ISA=avx2 build/release/bin/rapt bench --case prefill/f32/causal/d128/t4096/h8 --json > bench/results/avx2.json
	bench/roofline.py bench/results/best.json bench/results/avx2.json

lint:  ## style and static analysis
	scripts/setup clang-format clang-tidy
	clang-format --dry-run -Werror $(sources)
	cmake --preset dev
	run-clang-tidy -quiet -p build/dev '(src|cli|examples|tests)/'

format:
	clang-format -i $(sources)
