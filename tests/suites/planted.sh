#!/bin/bash
# Planted faults of every kind are found by `make test`: each is put into a copy of the sources,
# ninc is built there, and the quick check that is there for its kind must fail. (Faults within what
# a suite itself compiles are planted by test_verify, test_sim, test_races and parity.)
. tests/lib.sh
checks_stand_alone

# The sources and what was built of them, in a copy that is built as this one was.
copy_sources() {
    [ ! -d "$work/tree" ] || return 0
    mkdir "$work/tree" &&
        tar -c Makefile .ci bench codegen frontend ir models passes runtime tests |
        tar -x -C "$work/tree" &&
        mkdir "$work/tree/build" && cp -a ninc "$work/tree/" &&
        tar -c -C "$BUILD" --exclude=./asan --exclude=./cache --exclude=./python --exclude=./kept . |
        tar -x -C "$work/tree/build"
}

# found FILE EDIT SUITE CHECK: with the file edited by sed the check fails, and not for another
# reason.
found() (
    local file=$1 edit=$2 suite=$3 name=$4 status=0
    copy_sources && cd "$work/tree" || return 1
    cp -a "$file" "$work/original" && sed -i -E "$edit" "$file" && ! cmp "$file" "$work/original" &&
        make -s all build/parity_tool || status=2
    if [ $status -eq 0 ]; then
        unset BUILD NINC TESTS
        CHECK=$name NINC_CACHE_DIR=$work/tree/cache tests/run.sh "$suite" >"$work/said" 2>&1 &&
            status=1
        cat "$work/said"
        grep -q '^not ok ' "$work/said" || status=1
    fi
    cp "$work/original" "$file"
    return $status
)

[ "$NINC" = ./ninc ] || {
    skip "planted faults" "another build than ./ninc"
    finish
    exit
}
long_check "a sum of weight gradients that is subtracted" found codegen/cpu/ninc_wgrad.h \
    's/: acc\[at\] \+ \(Vector\)s/: acc[at] - (Vector)s/' kernels "drawn network 3 -O2"
long_check "a halo that is not cleared" found codegen/cpu/ninc_pool.h \
    '/^ +zero_pixels\(left, side\);/d' kernels "drawn network 3 -O2"
long_check "bf16 cut off instead of rounded" found codegen/cpu/ninc_map.h \
    's/bits \+ 0x7FFF \+ \(bits >> 16 & 1\)/bits/' kernels "elements by gcc -DNINC_BF16"
long_check "a momentum that is 1 % too small" found passes/autodiff.c \
    's/direction, o->momentum\)/direction, o->momentum * 0.99)/' parity "parity blocks sgd -O2"
long_check "a missing barrier of a pipeline" found codegen/cuda/tile.cuh \
    '/__syncthreads\(\); .. the tile of this step is there/d' sim_kernels \
    "nin_fashion fp32 -O2"
long_check "a missing barrier between convolutions" found codegen/cuda/mlpconv.cuh \
    '/__syncthreads\(\); .. the tile is whole/d' sim_kernels "nin_fashion fp32 -O2"
long_check "a thread that does not wait for others" found runtime/device/cpu_step.c \
    '/^ +shares_wait\(/d' test_races "no races: blocks"
long_check "an augmentation that takes the row beside" found codegen/cpu/ninc_augment.h \
    's/in \+ \(size_t\)\(y \+ down\) \* row/in + (size_t)(y + down - (down > 0)) * row/' test_augment \
    "verified op by op"
# The last, as all is built anew for it.
long_check "a step in the wrong direction" found ir/ops.h \
    's/"a - c \* b",/"a + c * b",/' kernels "drawn network 4 -O0"
finish
