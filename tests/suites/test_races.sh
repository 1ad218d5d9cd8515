#!/bin/bash
# No two threads of a step touch the same bytes without an order: steps under ThreadSanitizer, and a
# wait that is left out is found.
. tests/lib.sh
. tests/models/draw.sh

compiler=${CC:-gcc}
sanitized="$compiler -std=gnu11 -O1 -g -fsanitize=thread -D_GNU_SOURCE -Iir"
team=(base/wait base/threads device/{team,shares,pace,cpu,cpu_level})
team_objects=("${team[@]/#*\//$work/}")
team_objects=("${team_objects[@]/%/.o}")
library=(runtime/base/fault.c ir/fatal.c ir/pool.c ir/tensor.c ir/diagnostics.c ir/words.c)

# The runtime's side of the program, with runtime/device/cpu_step.c or another.
runtime() {
    local part
    $sanitized -iquote runtime/device -I. -c -o "$work/cpu_step.o" "$1" || return 1
    for part in "${team[@]}"; do
        $sanitized -c -o "$work/${part#*/}.o" "runtime/$part.c" || return 1
    done
}

# link LEVEL MODEL [OPTION...] -> $work/races: the kernels for any CPU stand for all.
link() {
    local level=$1 model=$2
    shift 2
    "$NINC" "-O$level" --target=cpu "$@" --emit=c "$model" >"$work/model.c" &&
        "$NINC" "-O$level" --target=cpu "$@" --emit=plan "$model" >"$work/plan.c" &&
        $sanitized -Dninc_cpu_avx512=ninc_cpu_baseline -Dninc_cpu_avx2=ninc_cpu_baseline \
            -Dninc_cpu_neon=ninc_cpu_baseline -o "$work/races" tests/tools/races.c \
            "$work/model.c" "$work/plan.c" "$work/cpu_step.o" "${team_objects[@]}" "${library[@]}" \
            -lpthread -lm
}

# races LEVEL MODEL [OPTION...]
races() {
    link "$@" && NINC_CPU_LEVEL=baseline "$work/races" 4
}

# Batches of 5 in chunks of 2.
races_of_chunks() {
    "$NINC" --target=cpu --batch=5 --emit=ir --dump=schedule --dump-dir="$work/chunks" "$1" \
        >/dev/null || return 1
    sed '/^graph/s/ chunk=5 / chunk=2 /' "$work"/chunks/*-schedule.ir >"$work/chunk.ir"
    [ "$(grep -c '^graph.* chunk=2 ' "$work/chunk.ir")" -eq 2 ] && races 2 "$work/chunk.ir"
}

without_wait() {
    sed '/^    *shares_wait(/d' runtime/device/cpu_step.c >"$work/cpu_step.c" &&
        ! cmp -s "$work/cpu_step.c" runtime/device/cpu_step.c &&
        runtime "$work/cpu_step.c" || return 1
    ! races 2 tests/models/pytorch/pools_adam.yaml >"$work/races.log" 2>&1 &&
        grep -q 'data race' "$work/races.log"
}

# Threads that neither spin nor yield before they sleep: each wait ends with a call.
races_of_sleepers() {
    sed 's/ SPINS = 4096,/ SPINS = 1,/; s/FEW_SPINS = 128,/FEW_SPINS = 1,/
        s/ YIELDING = 2000000,/ YIELDING = 0,/' runtime/base/wait.c >"$work/wait.c" &&
        [ "$(diff "$work/wait.c" runtime/base/wait.c | grep -c '^<')" -eq 3 ] &&
        $sanitized -iquote runtime/base -c -o "$work/wait.o" "$work/wait.c" && races 2 "$1" &&
        runtime runtime/device/cpu_step.c
}

# The network of a library, used by several threads: the functions behind those that it exports. Of
# the runtime only what a CPU runs is instrumented.
library_races() {
    local model=tests/models/pytorch/pools_sgd source objects=()
    link 2 $model.yaml && "$BUILD/parity_tool" init $model.json "$work/weights" || return 1
    cat >"$work/network.h" <<'END'
#include "runtime/library.h"
typedef struct Library library_network;
enum { LIBRARY_HEIGHT = 28, LIBRARY_WIDTH = 28, LIBRARY_CHANNELS = 1, LIBRARY_CLASSES = 10 };
enum { LIBRARY_BATCH = 4 };
END
    cat >"$work/texts.c" <<'END'
#include "runtime/plan.h"
const char ninc_cuda_text[] = "";
const size_t ninc_cuda_length = 0;
const NincCubin ninc_cubins[] = {{.kernel = NULL}};
END
    for source in runtime/{tools/library,device/devices,train/weights,formats/safetensors}.c \
        runtime/base/{files,random}.c \
        "${library[@]}" "$work/model.c" "$work/plan.c" "$work/texts.c"; do
        objects+=("$work/tsan-$(basename "$source").o")
        $sanitized -I. -Dninc_cpu_avx512=ninc_cpu_baseline -Dninc_cpu_avx2=ninc_cpu_baseline \
            -Dninc_cpu_neon=ninc_cpu_baseline -c -o "${objects[-1]}" "$source" || return 1
    done
    $sanitized -I. -DNAME=library -DCONSTANTS=LIBRARY -include "$work/network.h" \
        -o "$work/network" tests/tools/library_client.c "$work/cpu_step.o" "${team_objects[@]}" \
        "${objects[@]}" "$BUILD/libninc_runtime.a" -ljansson -lz -lpthread -ldl -lm &&
        NINC_CPU_LEVEL=baseline "$work/network" threads "$work/weights"
}

echo 'int main(void) { return 0; }' >"$work/empty.c"
if ! $sanitized -o "$work/empty" "$work/empty.c" 2>/dev/null || ! "$work/empty"; then
    skip "steps under ThreadSanitizer" "$compiler does not have it here"
    finish
    exit
fi
check "the CPU under ThreadSanitizer" runtime runtime/device/cpu_step.c
check "no races: blocks" races 2 tests/models/pytorch/blocks_sgd.yaml
check "no races: one op a kernel" races 0 tests/models/pytorch/strides_sgd.yaml
wide_network >"$work/wide.yaml"
check "no races: in tiles, sums in parts" races 2 "$work/wide.yaml"
check "no races: asleep" races_of_sleepers tests/models/pytorch/pools_adam.yaml
check "no races: chunks" races_of_chunks tests/models/pytorch/pools_adam.yaml
if [[ $BUILD = *asan* ]]; then
    skip "no races: a library" "the rest of the runtime has other sanitizers"
else
    check "no races: a library" library_races
fi
check "a race is found" without_wait
finish
