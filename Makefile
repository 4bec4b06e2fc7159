# What people type. How it is done is in CMakePresets.json and scripts/.
export CTEST_PARALLEL_LEVEL ?= $(shell nproc)
sources = $(shell git ls-files '*.h' '*.cc')

.PHONY: build setup test test-all asan tsan emulated dev demo bench lint format

build:  ## the library, build/release/bin/rapt, examples and tests
	cmake --preset release
	cmake --build --preset release

setup:  ## installs the Debian packages that are missing
	scripts/setup

test: setup build  ## everything that must pass before a change is taken; minutes
	ctest --preset release
	$(MAKE) asan
	grep -qw avx512vl /proc/cpuinfo || $(MAKE) emulated

test-all: setup build  ## the full grid of cases; hours
	RAPT_FULL_GRID=1 ctest --preset release --timeout 86400

asan tsan emulated dev:  ## the tests under that preset
	cmake --preset $@
	cmake --build --preset $@
	ctest --preset $@

demo: setup build  ## text from a model, two examples, the measurements
	scripts/demo

bench: build  ## speed beside the ceilings of this machine
	build/release/bin/rapt bench

lint:  ## style and static analysis
	scripts/setup clang-format clang-tidy
	clang-format --dry-run -Werror $(sources)
	cmake --preset dev
	run-clang-tidy -quiet -p build/dev '(src|cli|examples|tests)/'

format:
	clang-format -i $(sources)
