#!/bin/bash
# No two threads of a step touch the same bytes without an order: steps under ThreadSanitizer, and a
# wait that is left out is found.
. tests/lib.sh
. tests/models/draw.sh
. tests/tools/kept.sh
checks_stand_alone
export TSAN_OPTIONS=halt_on_error=1

compiler=${CC:-gcc}
sanitized="$compiler -std=gnu11 -g -fsanitize=thread -D_GNU_SOURCE -Iir -I."
# The kernels for any CPU stand for all.
one_level="-Dninc_cpu_avx512=ninc_cpu_baseline -Dninc_cpu_avx2=ninc_cpu_baseline
    -Dninc_cpu_neon=ninc_cpu_baseline"
team=(base/wait base/threads device/{team,shares,pace,cpu,cpu_level})
team_objects=("${team[@]/#*\//$work/}")
team_objects=("${team_objects[@]/%/.o}")
library=(runtime/base/fault.c ir/fatal.c ir/pool.c ir/tensor.c ir/diagnostics.c ir/words.c)

# object SOURCE [ROOM] -> $made: compiled once, as long as its text is the same, which belongs in
# that room.
object() {
    made=$work/$(md5sum <"$1" | cut -c -32)${speed:--Og}.o
    # shellcheck disable=SC2086
    [ -e "$made" ] || kept_object "$made" $sanitized ${speed:--Og} $one_level \
        -iquote "${2:-runtime/device}" "$1"
}

# fast COMMAND...: where steps take longer than the compiler.
fast() {
    local speed=-O1
    "$@"
}

# objects SOURCE... -> ${made_of[@]}
objects() {
    local source
    made_of=()
    for source; do
        object "$source" && made_of+=("$made") || return 1
    done
}

# The runtime's side of the program, with runtime/device/cpu_step.c or another.
runtime() {
    local part
    object "$1" && cp "$made" "$work/cpu_step.o" || return 1
    for part in "${team[@]}"; do
        object "runtime/$part.c" && cp "$made" "$work/${part#*/}.o" || return 1
    done
}

# link LEVEL MODEL [OPTION...] -> $work/races
link() {
    local level=$1 model=$2
    shift 2
    "$NINC" "-O$level" --target=cpu "$@" --emit=c "$model" >"$work/model.c" &&
        "$NINC" "-O$level" --target=cpu "$@" --emit=plan "$model" >"$work/plan.c" &&
        objects tests/tools/races.c "$work/model.c" "$work/plan.c" "${library[@]}" &&
        $sanitized -o "$work/races" "${made_of[@]}" "$work/cpu_step.o" "${team_objects[@]}" \
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
        grep -q "data race" "$work/races.log"
}

# Threads that neither spin nor yield before they sleep: each wait ends with a call.
races_of_sleepers() {
    sed 's/ SPINS = 4096,/ SPINS = 1,/; s/FEW_SPINS = 128,/FEW_SPINS = 1,/
        s/ YIELDING = 2000000,/ YIELDING = 0,/' runtime/base/wait.c >"$work/wait.c" &&
        [ "$(diff "$work/wait.c" runtime/base/wait.c | grep -c '^<')" -eq 3 ] &&
        object "$work/wait.c" runtime/base && cp "$made" "$work/wait.o" && races 2 "$1" &&
        runtime runtime/device/cpu_step.c
}

# The network of a library, used by several threads: the functions behind those that it exports. Of
# the runtime only what a CPU runs is instrumented.
library_races() {
    local model=tests/models/pytorch/pools_sgd
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
    objects runtime/{tools/library,device/devices,train/weights,formats/safetensors}.c \
        runtime/base/{files,random}.c \
        "${library[@]}" "$work/model.c" "$work/plan.c" "$work/texts.c" &&
        kept_object "$work/client.o" $sanitized -DNAME=library -DCONSTANTS=LIBRARY \
            -include "$work/network.h" tests/tools/library_client.c &&
        $sanitized -o "$work/network" "$work/client.o" "$work/cpu_step.o" \
            "${team_objects[@]}" "${made_of[@]}" "$BUILD/libninc_runtime.a" -ljansson \
            -lpng16 -ljpeg -lwebpdemux -lwebp -lgif -larchive -lminizip -lz \
            -lpthread -ldl -lm &&
        NINC_CPU_LEVEL=baseline "$work/network" threads "$work/weights"
}

echo 'int main(void) { return 0; }' >"$work/empty.c"
if ! $sanitized -o "$work/empty" "$work/empty.c" 2>/dev/null || ! "$work/empty"; then
    skip "steps under ThreadSanitizer" "$compiler does not have it here"
    finish
    exit
fi
runtime runtime/device/cpu_step.c >/dev/null 2>&1 # all checks need it; the first says what is wrong
check "the CPU under ThreadSanitizer" runtime runtime/device/cpu_step.c
check "no races: blocks" races 2 tests/models/pytorch/blocks_sgd.yaml
check "no races: one op a kernel" races 0 tests/models/pytorch/strides_sgd.yaml
wide_network >"$work/wide.yaml"
wide_network 18 6 >"$work/less.yaml"

# The kinds of kernels that the wide network is for are in a smaller one, too.
races_in_tiles() {
    races 2 "$work/less.yaml" && grep -q '= winograd_wgrad ' "$work/model.c" &&
        grep -q ' at partial+' "$work/model.c"
}
check "no races: in tiles, sums in parts" fast races_in_tiles
long_check "no races: in tiles of both kernel sizes" fast races 2 "$work/wide.yaml"
check "no races: asleep" fast races_of_sleepers tests/models/pytorch/pools_adam.yaml
check "no races: chunks" races_of_chunks tests/models/pytorch/pools_adam.yaml
if [[ $BUILD = *asan* ]]; then
    skip "no races: a library" fast "the rest of the runtime has other sanitizers"
else
    check "no races: a library" fast library_races
fi
check "a race is found" fast without_wait
finish
