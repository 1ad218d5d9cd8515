# ninc: builds the compiler, the runtime that every trainer links, and the tests. GNU make.
#
#   make          ./ninc                         make test     all tests
#   make demo     train on Fashion-MNIST         make asan     the same tests under sanitizers
#   make deps     install what is missing        make bench    ninc beside PyTorch
#   make python   PyTorch, TensorBoard, ONNX Runtime for the tests that need them
#   make test-crash  200 kill -9 during checkpoints
#   make test-nvrtc  every CUDA kernel for every architecture
#   make test-gpu, make bench-gpu  tests and benchmark on an NVIDIA GPU
#
# `make SANITIZE=1 BUILD=build/asan` is the same build with the sanitizers on.

CC       = gcc
AR       = ar
PREFIX   = /usr/local
BUILD    = build
PYTHON  ?= /usr/bin/python3
CFLAGS   = -O2 -g
WARNINGS = -Wall -Wextra -Wswitch-enum -Wshadow -pedantic

ifdef SANITIZE
SANITIZERS = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
NINC       = $(BUILD)/ninc
else
NINC       = ninc
endif

# Position-independent, as the runtime also goes into shared libraries.
STANDARD = -std=c11 -D_GNU_SOURCE -fPIC $(WARNINGS) $(SANITIZERS)

# Static where the library is installed so, that what we build runs where only libc is.
library = $(if $(filter /%,$(shell $(CC) -print-file-name=lib$(1).a)),-l:lib$(1).a,-l$(1))

OPENMP  = $(call library,gomp) -lpthread -ldl -lm

SOURCES         = $(wildcard frontend/*.c passes/*.c codegen/*.c codegen/cpu/*.c \
                             codegen/cuda/*.c)
IR_OBJECTS      = $(patsubst %.c,$(BUILD)/%.o,$(wildcard ir/*.c))
RUNTIME_OBJECTS = $(patsubst %.c,$(BUILD)/%.o,$(wildcard runtime/*.c)) \
                  $(patsubst %.S,$(BUILD)/%.o,$(wildcard runtime/*.S))
EMBED_OBJECTS   = $(patsubst %.S,$(BUILD)/%.o,$(wildcard codegen/*.S))
NINC_OBJECTS    = $(patsubst %.c,$(BUILD)/%.o,$(SOURCES)) $(EMBED_OBJECTS)
LIBRARY_OBJECTS = $(filter-out $(BUILD)/frontend/main.o,$(NINC_OBJECTS))
RUNTIME         = $(BUILD)/libninc_runtime.a
LIBRARY         = $(BUILD)/libninc.a
TESTS           = $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_*.c))
TOOLS           = $(patsubst tests/%.c,$(BUILD)/%,$(wildcard tests/*_tool.c))
# Compiled into ninc as data: the runtime, and the headers that emitted code carries along.
EMBEDDED        = $(RUNTIME) ir/tensor.h ir/tiles.h runtime/plan.h $(wildcard codegen/cpu/*.h) \
                  $(wildcard codegen/cuda/*.cuh)

all: $(NINC)

# Of the runtime ninc takes what compiles CUDA kernels.
$(NINC): $(NINC_OBJECTS) $(IR_OBJECTS) $(RUNTIME)
	$(CC) $(SANITIZERS) $(LDFLAGS) -o $@ $^ $(call library,yaml) $(OPENMP)

# An archive is made afresh, so that the object of a deleted source does not stay in it.
$(RUNTIME): $(RUNTIME_OBJECTS) $(IR_OBJECTS)
	rm -f $@ && $(AR) rcs $@ $^

$(LIBRARY): $(LIBRARY_OBJECTS)
	rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(STANDARD) -fopenmp $(DEFINES) $(CFLAGS) -Iir -MMD -MP -c -o $@ $<

# A trainer must be linked with the sanitizers that its runtime was compiled with.
$(BUILD)/codegen/build.o: DEFINES = -DNINC_TRAINER_FLAGS='"$(SANITIZERS)"'

$(BUILD)/codegen/%.o: codegen/%.S $(EMBEDDED) Makefile
	@mkdir -p $(@D)
	$(CC) -DRUNTIME_ARCHIVE='"$(RUNTIME)"' -Wa,-I. -c -o $@ $<

$(BUILD)/runtime/%.o: runtime/%.S $(wildcard runtime/sim/*) Makefile
	@mkdir -p $(@D)
	$(CC) -Wa,-I. -c -o $@ $<

# ---- tests ----

TOOL_LIBRARIES = $(LIBRARY) $(RUNTIME) $(call library,yaml) $(call library,png16) \
                 $(call library,jpeg) $(call library,protobuf-c) $(call library,jansson) \
                 $(call library,z) $(OPENMP)
TEST_LIBRARIES = -lcheck -lsubunit $(TOOL_LIBRARIES) -lrt

$(BUILD)/tests/test_%: $(BUILD)/tests/test_%.o $(LIBRARY) $(RUNTIME)
	$(CC) $(SANITIZERS) $(LDFLAGS) -o $@ $< $(TEST_LIBRARIES)

$(BUILD)/%_tool: $(BUILD)/tests/%_tool.o $(LIBRARY) $(RUNTIME)
	$(CC) $(SANITIZERS) $(LDFLAGS) -o $@ $< $(TOOL_LIBRARIES)

tests: $(NINC) $(TESTS) $(TOOLS)

test: deps
	@$(MAKE) tests
	@NINC=./$(NINC) BUILD=$(BUILD) tests/run.sh

asan: deps
	@$(MAKE) SANITIZE=1 BUILD=build/asan tests
	@QUICK=1 NINC=./build/asan/ninc BUILD=build/asan tests/run.sh

# A run killed 200 times at random moments ends with the bits of one that was not.
test-crash: deps
	@$(MAKE) all
	@CRASHES=200 NINC=./$(NINC) BUILD=$(BUILD) tests/test_crash.sh

# Every kernel of every model compiled for each architecture by NVRTC: no spills, resources.
test-nvrtc: deps
	@$(MAKE) tests
	@NINC=./$(NINC) BUILD=$(BUILD) tests/nvrtc.sh

# On a GPU, without installing anything.
test-gpu: $(NINC) $(BUILD)/parity_tool $(BUILD)/cuda_tool
	@NINC=./$(NINC) BUILD=$(BUILD) tests/gpu.sh

# ---- using it ----

demo: deps
	@$(MAKE) all
	@NINC=./$(NINC) tests/demo.sh

# Beside PyTorch on the CPU; writes bench/results/cpu-KIND.json. PYTHON: the one that has torch.
bench: all
	@command -v $(PYTHON) >/dev/null || { echo "SKIP: make bench needs python3"; exit 0; }; \
	    $(PYTHON) bench/bench.py $(BENCH_OPTIONS)

# Beside PyTorch on the GPU, by the Python that has it; writes bench/results/DEVICE.json.
bench-gpu: all
	@for python in $(PYTHON) python3; do $$python -c 'import torch' 2>/dev/null && break; done; \
	    command -v $$python >/dev/null || { echo "SKIP: make bench-gpu needs python3"; exit 0; }; \
	    $$python bench/gpu.py $(BENCH_OPTIONS)

# Debian's packages, and what each is for.
PACKAGES = gcc g++ libc6-dev libyaml-dev libjansson-dev zlib1g-dev libpng-dev libjpeg-dev \
           libprotobuf-c-dev protobuf-c-compiler libonnx-dev check libsubunit-dev \
           dataset-fashion-mnist

deps:
	@PACKAGES="$(PACKAGES)" tests/deps.sh

# What reads our files in the tests, as others will: PyTorch, TensorBoard, ONNX Runtime. Without it
# those tests say SKIP.
python:
	@BUILD=build tests/python.sh

install: all
	install -D -m 755 ninc $(DESTDIR)$(PREFIX)/bin/ninc
	install -d $(DESTDIR)$(PREFIX)/share/ninc/models
	install -m 644 models/*.yaml $(DESTDIR)$(PREFIX)/share/ninc/models

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/ninc
	rm -rf $(DESTDIR)$(PREFIX)/share/ninc

clean:
	rm -rf build ninc

format:
	clang-format -i $(FORMATTED)

tidy:
	clang-tidy --quiet $(filter %.c,$(FORMATTED)) -- -std=c11 -D_GNU_SOURCE -Iir

FORMATTED = $(wildcard frontend/*.[ch] ir/*.[ch] passes/*.[ch] codegen/*.[ch] codegen/cpu/*.[ch] \
                       codegen/cuda/*.[ch] runtime/*.[ch] tests/*.[ch])

.PHONY: all python tests test test-crash test-nvrtc test-gpu asan demo bench bench-gpu deps install uninstall clean format tidy
.SECONDARY:
.DELETE_ON_ERROR:

-include $(wildcard $(BUILD)/*/*.d $(BUILD)/codegen/cpu/*.d \
                    $(BUILD)/codegen/cuda/*.d)
