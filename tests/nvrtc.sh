#!/bin/bash
# Every CUDA kernel of every model, in each precision, compiled by NVRTC for each kind of GPU: no
# spills, no stack, shared memory and registers within the GPU's, no warnings. Prints a table of
# what the kernels use at the end. $TARGETS: other architectures; $NVRTC_OUT: a file for the long
# tables, one an architecture.
# shellcheck source=tests/lib.sh
. tests/lib.sh

tool=$BUILD/nvrtc_tool
tables=${NVRTC_OUT:-$work/tables}
export NINC_CACHE_DIR=$work/cache
newest=$("$tool" newest 2>"$work/errors") || {
    skip "kernels by NVRTC" "$(head -n 1 "$work/errors")"
    finish
    exit
}
targets=${TARGETS:-sm_80 sm_86 sm_89 sm_90a $newest}
: >"$tables"

# The text without comments and positions: models that differ in nothing else are compiled once.
digest() {
    "$NINC" --target=cuda --emit=cuda "$@" | sed 's,/\*.*\*/,,; /^ \*/d; /^\/\*/d' | md5sum
}

# compiles TARGET NAME OPTION... MODEL
compiles() {
    local target=$1 name=$2
    "$NINC" --target=cuda --emit=ir "${@:3}" >"$work/model.ir" || return 1
    "$tool" check "$work/model.ir" "$target" >"$work/table"
    local status=$?
    { echo "# $name"; cat "$work/table"; echo; } >>"$tables"
    [ $status -eq 0 ] || grep -A 8 '^kernel ' "$work/table"
    return $status
}

seen=
# all_targets NAME TARGETS OPTION... MODEL
all_targets() {
    local name=$1 target sum
    sum=$(digest "${@:3}")
    [[ $seen != *"$sum"* ]] || return 0
    seen+=$sum
    for target in $2; do
        check "$name $target" compiles "$target" "$name" "${@:3}"
    done
}

# blocks_of CHANNELS PRECISION: two blocks of widths that no model has; one reads a map that wide.
blocks_of() {
    local block=() layer
    for layer in 0 1; do
        block+=("--set=layers.$layer.mlpconv.out_channels=$1")
    done
    all_targets "blocks of $1 channels $2" "${TARGETS:-sm_86 sm_90a}" --precision="$2" \
        "${block[@]}" tests/models/golden/cuda/blocks.yaml
}

# What each kernel uses, a column an architecture.
print_usage() {
    awk '
        function finish_case(i) {
            if (name == "") return
            printf "\n%-36s%s\n", name, heading
            for (i = 0; i < kernels; i++) printf "%-36s%s\n", kernel[i], row[kernel[i]]
            split("", row)
            heading = ""
            kernels = 0
        }
        /^# / { if (substr($0, 3) != name) { finish_case(); name = substr($0, 3) } next }
        $2 == "registers" { heading = heading sprintf("  %14s", $1); next }
        $NF == "kB" {
            if (!($1 in row)) kernel[kernels++] = $1
            row[$1] = row[$1] sprintf("  %3d %7d %2d", $2, $5, $6)
        }
        BEGIN { print "registers, bytes of shared memory, blocks a processor" }
        END { finish_case() }' "$tables"
}

# How a training step on a GPU starts, with a driver that only writes down what is asked of it, for
# what NVRTC compiles and the cache gives back. In seconds of processor time, which other processes
# do not lengthen: the first time half of them on each of two processors, then the least of a few.

# seconds_of_start: user and system.
seconds_of_start() {
    local TIMEFORMAT='%3U %3S' spent
    spent=$({ time env LD_LIBRARY_PATH="$work/fake" FAKE_CUDA=arch=90 FAKE_LOG="$work/log" \
        "$work/nin/trainer" train --device cuda --data random --max-steps 1 --no-eval \
        --no-progress >"$work/said" 2>&1; } 2>&1) || { cat "$work/said" >&2; return 1; }
    awk '{ print $1 + $2 }' <<<"$spent"
}

# starts_within COLD WARM
starts_within() {
    local cold warm best=9 i
    "$NINC" -q --target=cuda -o "$work/nin" models/nin.yaml || return 1
    rm -rf "$NINC_CACHE_DIR"
    cold=$(seconds_of_start) || return 1
    grep -q "compiling [0-9]* CUDA kernels" "$work/said" || return 1
    for i in 1 2 3 4 5; do
        warm=$(seconds_of_start) || return 1
        ! grep -q "compiling" "$work/said" || return 1
        best=$(awk -v a="$best" -v b="$warm" 'BEGIN { print a < b ? a : b }')
    done
    started="nin starts in $cold seconds of processor time, from the cache in $best"
    echo "$started"
    awk -v cold="$cold" -v warm="$best" -v most="$1" -v least="$2" \
        'BEGIN { exit !(cold / 2 < most && warm < least) }'
}

for model in models/nin.yaml models/nin_bn.yaml tests/models/plain/nin_cifar10.yaml \
    models/nin_fashion.yaml; do
    name=$(basename "$model" .yaml)
    all_targets "$name fp32" "sm_75 $targets" --precision=fp32 "$model"
    all_targets "$name tf32" "$targets" --precision=tf32 "$model"
    all_targets "$name bf16" "$targets" --precision=bf16 "$model"
done
blocks_of '[129,65,100]' tf32
blocks_of 136 bf16
blocks_of '[200,97,33]' tf32
blocks_of 40 tf32
blocks_of 184 tf32
blocks_of 72 bf16
all_targets "resnet20 bf16" "sm_90a" --precision=bf16 models/resnet20.yaml
all_targets "activations fp32" "sm_75 sm_90a" tests/models/chains/activations.yaml
all_targets "activations bf16" "sm_80" --precision=bf16 tests/models/chains/activations.yaml
all_targets "local response norms fp32" "sm_75 sm_90a" tests/models/chains/lrn.yaml
all_targets "averages fp32" "sm_75" tests/models/chains/averages.yaml
all_targets "local response norms bf16" "sm_80" --precision=bf16 tests/models/chains/lrn.yaml
all_targets "augmentation fp32" "sm_75 sm_90a" tests/models/chains/augment.yaml
all_targets "augmentation bf16" "sm_80" --precision=bf16 tests/models/chains/augment.yaml
all_targets "normalization fp32" "sm_75 sm_90a" tests/models/normalize/all.yaml
all_targets "normalization bf16" "sm_80" --precision=bf16 tests/models/normalize/all.yaml
all_targets "augmentation -O0" "sm_90a" -O0 tests/models/chains/augment.yaml
all_targets "grouped fp32" "sm_75" tests/models/pytorch/grouped_sgd.yaml
all_targets "grouped bf16" "sm_90a" --precision=bf16 tests/models/pytorch/grouped_sgd.yaml
for case in weighted_smoothed clip; do
    all_targets "flatten_$case" "sm_75 sm_90a" "tests/models/pytorch/flatten_$case.yaml"
done
all_targets "norms_ema bf16" "sm_90a" --precision=bf16 tests/models/pytorch/norms_ema.yaml
all_targets "nin -O0" "sm_80" -O0 models/nin.yaml
all_targets "nin bf16 -O0" "sm_90a" -O0 --precision=bf16 models/nin.yaml
# A row for each kernel of the step, their sum, and, where there is a disassembler, instructions of
# the tensor cores in the main loops.
predicts() {
    bench/predict.sh --model=models/nin_fashion.yaml --batch=16 >"$work/predicted" || return 1
    "$NINC" --target=cuda --emit=ir --precision=bf16 --batch=16 models/nin_fashion.yaml |
        sed -n '/^graph [^ ]*train /,/^}/s/^  kernel \([^ ]*\) .*/\1/p' >"$work/kernels"
    [ -s "$work/kernels" ] || return 1
    awk 'NR == FNR { wanted[$1]; next } $1 in wanted && $2 > 0 { rows++; sum += $2 }
        $1 == "gaps" { sum += $4 } $1 == "step" { step = $2 }
        END { exit !(rows == length(wanted) && step > 0 && (sum - step) ^ 2 < 4) }' \
        "$work/kernels" "$work/predicted" || return 1
}
check "a step's time is predicted" predicts
mkdir "$work/fake"
${CC:-gcc} -std=c11 -D_GNU_SOURCE -shared -fPIC \
    -o "$work/fake/libcuda.so.1" tests/tools/fake_cuda.c ||
    fail "build fake_cuda.c"
check "nin starts within 10 s, from the cache within 0.1 s" starts_within 10 0.1
echo "$started"
print_usage
finish
