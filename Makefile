# ninc: builds the compiler, the runtime that every trainer links, and the tests. GNU make.
#
#   make          ./ninc                         make test     all tests
#   make demo     train on Fashion-MNIST         make asan     the same tests under sanitizers
#   make test-long  what `make test` has no time for
#   make deps     install what is missing        make bench    ninc beside PyTorch
#   make python   PyTorch, TensorBoard, ONNX Runtime for the tests that need them
#   make test-crash  200 kill -9 during checkpoints    make fuzz  corrupt files under ASan
#   make readme, make readme-check  the commands in Markdown files and what they print
#   make test-nvrtc  every CUDA kernel for every architecture
#   make install, make uninstall  with man pages and completions
#   make deb, make test-deb  a Debian package, and that it works in a fresh Debian 12 and 13
#   make bench-checkpoint  what checkpoints take of training
#   make bench-learning  what the recipes learn, in which time
#   make test-gpu, make bench-gpu  tests and benchmark on an NVIDIA GPU
#   make predict-gpu  what a step is predicted to take there, where there is none
#   make first-contact-kit, make first-contact  the same from files alone
#
# `make SANITIZE=1 BUILD=build/asan` is the same build with the sanitizers on; `make V=1` prints
# each command in full.

CC       = gcc
AR       = ar
VERSION  = 0.1.0
PREFIX   = /usr/local
BUILD    = build
# ONNX's schema, of libonnx-dev.
ONNX     = /usr/include/onnx
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
STANDARD = -std=c11 -D_GNU_SOURCE -DNINC_VERSION='"$(VERSION)"' -fPIC $(WARNINGS) $(SANITIZERS)

# A line a file, such as `CC frontend/main.o`, instead of its command: `$(call say,CC)` and $(Q).
Q   = $(if $(filter-out 0,$(V)),,@)
say = $(if $(Q),@echo '  $(1) $(patsubst $(BUILD)/%,%,$@)')

# Static where the library is installed so, that what we build runs where only libc is.
library = $(if $(filter /%,$(shell $(CC) -print-file-name=lib$(1).a)),-l:lib$(1).a,-l$(1))

# gcc's OpenMP or, where clang compiles, LLVM's, which Debian ships as a shared library alone.
CLANG           := $(findstring clang,$(shell $(CC) --version))
OPENMP_LIBRARY   = $(if $(CLANG),:libomp.so.5,gomp)
OPENMP           = $(call library,$(OPENMP_LIBRARY)) -lpthread -ldl -lm

SOURCES         = $(wildcard frontend/*.c passes/*.c passes/*/*.c codegen/*.c codegen/*/*.c \
                  codegen/*/*/*.c)
IR_OBJECTS      = $(patsubst %.c,$(BUILD)/%.o,$(wildcard ir/*.c ir/*/*.c))
RUNTIME_OBJECTS = $(patsubst %.c,$(BUILD)/%.o,$(wildcard runtime/*/*.c)) \
                  $(BUILD)/proto/tfevents.pb-c.o \
                  $(BUILD)/proto/onnx.pb-c.o \
                  $(patsubst %.S,$(BUILD)/%.o,$(wildcard runtime/*/*.S))
EMBED_OBJECTS   = $(patsubst %.S,$(BUILD)/%.o,$(wildcard codegen/*.S))
NINC_OBJECTS    = $(patsubst %.c,$(BUILD)/%.o,$(SOURCES)) $(EMBED_OBJECTS)
LIBRARY_OBJECTS = $(filter-out $(BUILD)/frontend/main.o,$(NINC_OBJECTS))
RUNTIME         = $(BUILD)/libninc_runtime.a
LIBRARY         = $(BUILD)/libninc.a
TESTS           = $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
TOOLS           = $(patsubst tests/tools/%.c,$(BUILD)/%,$(wildcard tests/tools/*_tool.c))
# Compiled into ninc as data: the runtime, without what trainers leave out of it (STRIP below), and
# the headers that emitted code carries along.
CARRIED         = $(if $(SANITIZERS),$(RUNTIME),$(BUILD)/carried/libninc_runtime.a)
EMBEDDED        = $(CARRIED) ir/tensor.h ir/rate.h ir/images.h ir/tiles.h runtime/plan.h runtime/library.h \
                  $(wildcard codegen/cpu/*.h codegen/cuda/*.cuh codegen/library/*.in)

all: $(NINC)

# Of the runtime ninc takes what compiles CUDA kernels.
$(NINC): $(NINC_OBJECTS) $(IR_OBJECTS) $(RUNTIME)
	$(call say,LD)
	$(Q)$(CC) $(SANITIZERS) $(LDFLAGS) -o $@ $^ $(call library,yaml) $(OPENMP)

# An archive is made afresh, so that the object of a deleted source does not stay in it.
$(RUNTIME): $(RUNTIME_OBJECTS) $(IR_OBJECTS)
	$(call say,AR)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/carried/%.a: $(BUILD)/%.a
	@mkdir -p $(@D)
	$(call say,STRIP)
	$(Q)strip --strip-debug -o $@ $<

$(LIBRARY): $(LIBRARY_OBJECTS)
	$(call say,AR)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(STANDARD) -fopenmp $(DEFINES) $(CFLAGS) -Iir -I$(BUILD)/proto -MMD -MP -c -o $@ $<

# What protoc-c makes of a schema: one run for both files, as the rule has a pattern.
$(BUILD)/proto/%.pb-c.c $(BUILD)/proto/%.pb-c.h: $(ONNX)/%.proto
	@mkdir -p $(@D)
	$(call say,GEN)
	$(Q)protoc-c --c_out=$(@D) -I$(<D) $<

$(BUILD)/proto/%.pb-c.c $(BUILD)/proto/%.pb-c.h: runtime/formats/%.proto
	@mkdir -p $(@D)
	$(call say,GEN)
	$(Q)protoc-c --c_out=$(@D) -I$(<D) $<

$(BUILD)/proto/%.o: $(BUILD)/proto/%.c Makefile
	$(call say,CC)
	$(Q)$(CC) $(STANDARD) $(CFLAGS) -I$(@D) -c -o $@ $<

$(BUILD)/runtime/formats/tensorboard.o: $(BUILD)/proto/tfevents.pb-c.h
$(BUILD)/runtime/formats/onnx.o $(BUILD)/tests/unit/test_onnx.o: $(BUILD)/proto/onnx.pb-c.h

# A trainer must be linked with the sanitizers that its runtime was compiled with; their reports
# name lines, so only without them the runtime's debugging information stays out.
STRIP      = -Wl,--strip-debug
LINK_FLAGS = $(or $(SANITIZERS),$(STRIP))
$(BUILD)/codegen/build.o $(BUILD)/codegen/library.o: \
    DEFINES = -DNINC_LINK_FLAGS='"$(LINK_FLAGS)"' -DNINC_OPENMP='"$(OPENMP_LIBRARY)"'

$(BUILD)/codegen/%.o: codegen/%.S $(EMBEDDED) runtime/base/embed.inc Makefile
	@mkdir -p $(@D)
	$(call say,AS)
	$(Q)$(CC) -DRUNTIME_ARCHIVE='"$(CARRIED)"' -Wa,-I. -c -o $@ $<

$(BUILD)/runtime/%.o: runtime/%.S $(wildcard runtime/sim/*) runtime/base/embed.inc Makefile
	@mkdir -p $(@D)
	$(call say,AS)
	$(Q)$(CC) -Wa,-I. -c -o $@ $<

# ---- tests ----

# What a trainer is linked with too: codegen/build.c.
IMAGE_LIBRARIES = png16 jpeg webpdemux webp gif archive nettle lzma zstd bz2 minizip
TOOL_LIBRARIES  = $(LIBRARY) $(RUNTIME) $(call library,yaml) \
                  $(foreach name,$(IMAGE_LIBRARIES),$(call library,$(name))) \
                  $(call library,protobuf-c) $(call library,jansson) $(call library,z) $(OPENMP)
TEST_LIBRARIES = -lcheck -lsubunit $(TOOL_LIBRARIES) -lrt

NAMED = $(BUILD)/tests/unit/named.o

$(BUILD)/tests/test_%: $(BUILD)/tests/unit/test_%.o $(NAMED) $(LIBRARY) $(RUNTIME)
	$(call say,LD)
	$(Q)$(CC) $(SANITIZERS) $(LDFLAGS) -o $@ $< $(NAMED) -Wl,--wrap=_tcase_add_test $(TEST_LIBRARIES)

$(BUILD)/%_tool: $(BUILD)/tests/tools/%_tool.o $(LIBRARY) $(RUNTIME)
	$(call say,LD)
	$(Q)$(CC) $(SANITIZERS) $(LDFLAGS) -o $@ $< $(TOOL_LIBRARIES)

tests: $(NINC) $(TESTS) $(TOOLS)

# As many compilers at once as there are processors, where `make -j` does not say how many.
PARALLEL = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

test: deps
	@$(MAKE) $(PARALLEL) tests
	@NINC=./$(NINC) BUILD=$(BUILD) tests/run.sh

# What `make test` leaves out, as it takes longer: other networks, sets and options, fresh seeds.
test-long: deps
	@$(MAKE) $(PARALLEL) tests
	@TESTS=long NINC=./$(NINC) BUILD=$(BUILD) tests/run.sh

asan: deps
	@$(MAKE) $(PARALLEL) SANITIZE=1 BUILD=build/asan tests
	@QUICK=1 NINC=./build/asan/ninc BUILD=build/asan tests/run.sh

# Every truncation and 10,000 corruptions of each kind of file that a trainer reads.
fuzz: deps
	@$(MAKE) $(PARALLEL) SANITIZE=1 BUILD=build/asan build/asan/tests/test_fuzz
	FUZZ=10000 build/asan/tests/test_fuzz

# A run killed 200 times at random moments ends with the bits of one that was not.
test-crash: deps
	@$(MAKE) $(PARALLEL) all
	@CRASHES=200 NINC=./$(NINC) BUILD=$(BUILD) tests/suites/test_crash.sh

# Every kernel of every model compiled for each architecture by NVRTC: no spills, resources.
test-nvrtc: deps
	@$(MAKE) $(PARALLEL) tests
	@NINC=./$(NINC) BUILD=$(BUILD) tests/nvrtc.sh

# On a GPU, without installing anything.
test-gpu: $(NINC) $(BUILD)/parity_tool $(BUILD)/cuda_tool
	@NINC=./$(NINC) BUILD=$(BUILD) tests/gpu.sh

# What tests/first_contact.sh needs on a machine with a GPU and none of our libraries: one directory
# to carry there. first-contact runs it here, too.
KIT = $(BUILD)/first-contact

first-contact-kit: $(NINC) $(BUILD)/parity_tool $(BUILD)/cuda_tool
	@NINC=./$(NINC) BUILD=$(BUILD) tests/first_contact_kit.sh $(KIT)

first-contact: first-contact-kit
	@KIT=$(KIT) tests/first_contact.sh

# The package, and a build of the sources, in fresh Debians 12 and 13, which are made for it and
# deleted.
test-deb: deb
	@for release in bookworm trixie; do \
	    tests/debian.sh $(BUILD)/ninc_$(VERSION)_$$(dpkg --print-architecture).deb $$release || \
	        exit 1; \
	done

# The commands in our Markdown files are run, and what they print is written there; minutes. What
# nothing but time changes is compared by `make readme-check`, and in `make test`.
readme: all
	@bench/readme.py --picture >bench/speed.svg
	@NINC=./$(NINC) tests/readme.sh

readme-check: all
	@NINC=./$(NINC) tests/readme.sh --check

# ---- using it ----

demo: deps
	@$(MAKE) $(PARALLEL) all
	@NINC=./$(NINC) tests/demo.sh

# Beside PyTorch on the CPU; writes bench/results/cpu-KIND.json. PYTHON: the one that has torch.
bench: all
	@command -v $(PYTHON) >/dev/null || { echo "SKIP: make bench needs python3"; exit 0; }; \
	    $(PYTHON) bench/bench.py $(BENCH_OPTIONS)

# What the recipes of models/ learn, and how long they take; writes bench/results/learning-KIND.json.
bench-learning: all
	@command -v $(PYTHON) >/dev/null || { echo "SKIP: make bench-learning needs python3"; exit 0; }; \
	    $(PYTHON) bench/learning.py $(LEARNING_OPTIONS)

# What checkpoints take of training: images/s with one every 100 steps beside none.
bench-checkpoint: all
	@command -v $(PYTHON) >/dev/null || \
	    { echo "SKIP: make bench-checkpoint needs python3"; exit 0; }; \
	    $(PYTHON) bench/checkpoint.py $(BENCH_OPTIONS)

# Beside PyTorch on the GPU, by the Python that has it; writes bench/results/DEVICE.json.
bench-gpu: all
	@for python in $(PYTHON) python3; do $$python -c 'import torch' 2>/dev/null && break; done; \
	    command -v $$python >/dev/null || { echo "SKIP: make bench-gpu needs python3"; exit 0; }; \
	    $$python bench/gpu.py $(BENCH_OPTIONS)

# What each kernel of a training step is predicted to take on a GPU, from its machine code; needs
# NVRTC, and nvdisasm for the instructions. PREDICT_OPTIONS="--model=models/nin.yaml --batch=16
# --precision=bf16 --device=sm_80,sm_90a".
predict-gpu: $(NINC) $(BUILD)/predict_tool
	@NINC=./$(NINC) BUILD=$(BUILD) bench/predict.sh $(PREDICT_OPTIONS)

# Debian's packages, and what each is for.
PACKAGES = gcc g++ libc6-dev libyaml-dev libjansson-dev zlib1g-dev libpng-dev libjpeg-dev \
           libwebp-dev libgif-dev libstb-dev libarchive-dev nettle-dev liblzma-dev libzstd-dev \
           libbz2-dev libminizip-dev libprotobuf-c-dev protobuf-c-compiler libonnx-dev check \
           libsubunit-dev liblapack-dev pkg-config dataset-fashion-mnist $(if $(CLANG),libomp-dev)

deps:
	@PACKAGES="$(PACKAGES)" tests/deps.sh

# What reads our files in the tests, as others will: PyTorch, TensorBoard, ONNX Runtime. Without it
# those tests say SKIP.
python:
	@BUILD=build tests/python.sh

# ---- a place on a system ----

BINDIR  = $(PREFIX)/bin
DATADIR = $(PREFIX)/share
MANDIR  = $(DATADIR)/man
BASHDIR = $(DATADIR)/bash-completion/completions
ZSHDIR  = $(DATADIR)/zsh/site-functions
FISHDIR = $(DATADIR)/fish/vendor_completions.d

MODELS      = $(wildcard models/*.yaml)
COMPLETIONS = $(addprefix $(BUILD)/completion/,ninc.bash _ninc ninc.fish trainer.fish)

# All that `make install` makes, for `make uninstall`.
INSTALLED = $(BINDIR)/ninc $(MANDIR)/man1/ninc.1 $(MANDIR)/man1/ninc-trainer.1 \
            $(MANDIR)/man5/ninc-model.5 $(BASHDIR)/ninc $(BASHDIR)/trainer $(ZSHDIR)/_ninc \
            $(FISHDIR)/ninc.fish $(FISHDIR)/trainer.fish \
            $(addprefix $(DATADIR)/ninc/,$(MODELS))

# What ninc and a trainer, of any model, say of their options; see table.sh.
$(BUILD)/completion/table: $(NINC) frontend/completion/table.sh models/nin_fashion.yaml
	@mkdir -p $(@D)
	$(call say,GEN)
	$(Q)./$(NINC) -q -O0 --target=cuda -o $(@D)/kernels models/nin_fashion.yaml
	$(Q)frontend/completion/table.sh ./$(NINC) $(@D)/kernels/trainer >$@

$(BUILD)/completion/ninc.bash: frontend/completion/bash.awk $(BUILD)/completion/table \
                               frontend/completion/ninc.bash
	$(call say,GEN)
	$(Q)awk -f $^ >$@

$(BUILD)/completion/_ninc: frontend/completion/zsh.awk $(BUILD)/completion/table
	$(call say,GEN)
	$(Q)awk -f $^ >$@

$(BUILD)/completion/%.fish: frontend/completion/fish.awk $(BUILD)/completion/table
	$(call say,GEN)
	$(Q)awk -v program=$* -f $^ >$@

completion: $(COMPLETIONS)

install: all $(COMPLETIONS)
	install -D -m 755 $(NINC) "$(DESTDIR)$(BINDIR)/ninc"
	install -D -m 644 -t "$(DESTDIR)$(MANDIR)/man1" frontend/ninc.1 runtime/ninc-trainer.1
	install -D -m 644 -t "$(DESTDIR)$(MANDIR)/man5" models/ninc-model.5
	install -D -m 644 -t "$(DESTDIR)$(DATADIR)/ninc/models" $(MODELS)
	install -D -m 644 $(BUILD)/completion/ninc.bash "$(DESTDIR)$(BASHDIR)/ninc"
	ln -sf ninc "$(DESTDIR)$(BASHDIR)/trainer"
	install -D -m 644 -t "$(DESTDIR)$(ZSHDIR)" $(BUILD)/completion/_ninc
	install -D -m 644 -t "$(DESTDIR)$(FISHDIR)" $(filter %.fish,$(COMPLETIONS))

uninstall:
	for file in $(INSTALLED); do rm -f "$(DESTDIR)$$file"; done
	rmdir "$(DESTDIR)$(DATADIR)/ninc/models" "$(DESTDIR)$(DATADIR)/ninc" 2>/dev/null || true

# A package for this Debian: $(BUILD)/ninc_VERSION_ARCHITECTURE.deb.
deb: all $(COMPLETIONS)
	@BUILD=$(BUILD) MAKE='$(MAKE)' frontend/package/deb.sh $(VERSION)

clean:
	rm -rf build ninc

format:
	clang-format -i $(FORMATTED)

tidy:
	clang-tidy --quiet $(filter %.c,$(FORMATTED)) -- -std=c11 -D_GNU_SOURCE \
	    -DNINC_VERSION='"$(VERSION)"' -Iir

FORMATTED = $(wildcard frontend/*.[ch] ir/*.[ch] ir/*/*.[ch] passes/*.[ch] passes/*/*.[ch] \
                       codegen/*.[ch] codegen/*/*.[ch] codegen/*/*/*.[ch] runtime/*.h \
                       runtime/*/*.[ch] tests/*/*.[ch])

.PHONY: all readme readme-check fuzz python tests test test-long test-nvrtc test-gpu test-crash \
        test-deb asan demo bench bench-gpu bench-learning predict-gpu bench-checkpoint \
        first-contact first-contact-kit deps completion install uninstall deb clean format tidy
.SECONDARY:
.DELETE_ON_ERROR:

-include $(wildcard $(BUILD)/*/*.d $(BUILD)/*/*/*.d $(BUILD)/*/*/*/*.d)
