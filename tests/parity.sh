#!/bin/bash
# PyTorch parity: each case of tests/pytorch, trained by ninc at -O0 and -O2 from the same weights
# on the same images, against committed float64 values of real PyTorch. Then that a small error
# would be seen, and that the number of threads, images a chunk and instruction set do not matter.
# $NINC and $BUILD name the compiler and the build directory; $QUICK leaves out the seed network;
# $DEVICE is the trainer's --device (default cpu).
. tests/lib.sh

cases=tests/pytorch
tool=$BUILD/parity_tool
device=${DEVICE:-cpu}
target=cuda
[ "$device" != cpu ] || target=cpu

# compile CASE LEVEL -> $work/CASE-LEVEL/trainer
compile() {
    [ -x "$work/$1-O$2/trainer" ] ||
        "$NINC" -q "-O$2" --target=$target -o "$work/$1-O$2" "$cases/$1.yaml"
}

# train CASE LEVEL STEPS [WEIGHTS] -> $work/log.jsonl, $work/saved.safetensors
train() {
    [ -d "$work/$1-data" ] || {
        mkdir -p "$work/$1-data"
        "$tool" data "$cases/$1.json" "$work/$1-data" || return 1
        "$tool" init "$cases/$1.json" "$work/$1.safetensors" || return 1
    }
    rm -f "$work/log.jsonl" "$work/saved.safetensors"
    "$work/$1-O$2/trainer" train --device "$device" --data "$work/$1-data" \
        --init "${4:-$work/$1.safetensors}" --no-shuffle --no-eval --no-progress --max-steps "$3" \
        --log-every 1 --log "$work/log.jsonl" --save "$work/saved.safetensors" >/dev/null
}

# parity CASE LEVEL STEPS
parity() {
    compile "$1" "$2" && train "$1" "$2" "$3" &&
        "$tool" compare "$cases/$1.json" "$work/log.jsonl" "$work/saved.safetensors"
}

small="strides pools flatten blocks"
for case in $small; do
    for level in 0 2; do
        check "parity $case sgd -O$level, 20 steps" parity "${case}_sgd" $level 20
        check "parity $case adam -O$level, 3 steps" parity "${case}_adam" $level 3
    done
done
if [ -z "${QUICK:-}" ]; then
    for level in 0 2; do
        check "parity nin sgd -O$level, 8 steps" parity nin_sgd $level 8
        check "parity nin adam -O$level, 3 steps" parity nin_adam $level 3
    done
fi

# One tap that is 1 % off must show in the losses and in the other parameters.
planted() {
    "$tool" init "$cases/$1.json" "$work/planted.safetensors" "$2" &&
        train "$1" 2 "$3" "$work/planted.safetensors" || return 1
    ! "$tool" compare "$cases/$1.json" "$work/log.jsonl" "$work/saved.safetensors" "$2"
}
check "1 % at one tap of blocks is seen" planted blocks_sgd b.0.weight 20
check "1 % at one tap of strides is seen" planted strides_sgd b.weight 20
if [ -z "${QUICK:-}" ]; then
    check "1 % at one tap of nin is seen" planted nin_sgd conv.2.0.weight 1
fi

if [ "$device" != cpu ]; then
    finish
    exit
fi

# bf16 CASE LEVEL STEPS: bf16 maps round at 0.4 %, and the losses begin above 1.
bf16() {
    "$NINC" -q "-O$2" --target=cpu --precision=bf16 -o "$work/$1-O$2-bf16" "$cases/$1.yaml" &&
        train "$1" "$2-bf16" "$3" && "$tool" losses "$cases/$1.json" "$work/log.jsonl" 0.1
}
for case in $small; do
    for level in 0 2; do
        check "losses of $case in bf16 -O$level, 8 steps" bf16 "${case}_sgd" $level 8
    done
done

# few_steps TRAINER CASE THREADS SAVED: shuffled, the last batch of an epoch is a part.
few_steps() {
    "$1/trainer" train --data "$work/$2-data" --seed 7 --no-eval --no-progress --max-steps 7 \
        --threads "$3" --save "$4" >/dev/null
}

# threads CASE LEVEL BATCH [PRECISION]: the same bits with any number of threads.
threads() {
    local n
    "$NINC" -q "-O$2" --target=cpu --batch="$3" --precision="${4:-fp32}" -o "$work/threads" \
        "$cases/$1.yaml" || return 1
    for n in 1 2 3 8; do
        few_steps "$work/threads" "$1" $n "$work/threads-$n.safetensors" &&
            cmp "$work/threads-1.safetensors" "$work/threads-$n.safetensors" || return 1
    done
}
check "threads 1, 2, 3, 8 give the same bits: blocks" threads blocks_sgd 2 4
check "threads 1, 2, 3, 8 give the same bits: pools" threads pools_adam 2 4
check "threads 1, 2, 3, 8 give the same bits: blocks bf16" threads blocks_sgd 2 4 bf16
check "threads 1, 2, 3, 8 give the same bits: pools bf16" threads pools_adam 2 4 bf16
check "threads 1, 2, 3, 8 give the same bits: one image" threads blocks_sgd 2 1
check "threads 1, 2, 3, 8 give the same bits: -O0" threads blocks_sgd 0 4

# chunks CASE LEVEL: the same bits however a batch of 7 is cut into chunks, the last one a part.
chunks() {
    local n
    "$NINC" "-O$2" --target=cpu --batch=7 --emit=ir --dump=schedule --dump-dir="$work/chunks" \
        "$cases/$1.yaml" >/dev/null || return 1
    [ "$(grep -c '^graph.* chunk=7 ' "$work"/chunks/*-schedule.ir)" -eq 2 ] || return 1
    for n in 7 1 2 3; do
        sed "/^graph/s/ chunk=7 / chunk=$n /" "$work"/chunks/*-schedule.ir >"$work/chunk.ir"
        "$NINC" -q "-O$2" --target=cpu -o "$work/chunked" "$work/chunk.ir" &&
            few_steps "$work/chunked" "$1" 3 "$work/chunk-$n.safetensors" &&
            cmp "$work/chunk-7.safetensors" "$work/chunk-$n.safetensors" || return 1
    done
}
check "chunks of 7, 1, 2, 3 images give the same bits: blocks" chunks blocks_sgd 2
check "chunks of 7, 1, 2, 3 images give the same bits: pools" chunks pools_adam 2
check "chunks of 7, 1, 2, 3 images give the same bits: -O0" chunks strides_sgd 0

# Every instruction set in the trainer that this machine has.
for level in avx512 avx2 baseline; do
    export NINC_CPU_LEVEL=$level
    if ! "$work/blocks_sgd-O2/trainer" info >/dev/null 2>&1; then
        skip "kernels for $level" "this machine or build does not have it"
        continue
    fi
    for case in $small; do
        check "parity $case sgd, kernels for $level" parity "${case}_sgd" 2 20
    done
done
unset NINC_CPU_LEVEL
finish
