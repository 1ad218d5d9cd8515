#!/bin/bash
# PyTorch parity: each case of tests/models/pytorch, trained by ninc at -O0 and -O2 from the same
# weights on the same images, against committed float64 values of real PyTorch. Then that a small
# error would be seen, that the number of threads changes no bit, and that images a chunk and
# instruction set do not matter.
# Quick checks take each case and each optimizer once, long ones all of their pairs and the seed
# network. $DEVICE is the trainer's --device (default cpu), $QUICK an instrumented build.
. tests/lib.sh
. tests/models/draw.sh
. tests/tools/kernels.sh
checks_stand_alone

cases=tests/models/pytorch
tool=$BUILD/parity_tool
device=${DEVICE:-cpu}
target=cuda
[ "$device" != cpu ] || target=cpu

# compiled_to OUT MODEL LEVEL [OPTION...]: for $levels, or this machine's best instruction set.
compiled_to() {
    if [ $target = cpu ]; then
        compiled "${@:2}" && rm -rf "$1" && mv "$work/kernels" "$1"
    else
        "$NINC" -q --target=$target "-O$3" "${@:4}" -o "$1" "$2"
    fi
}

# compile CASE LEVEL [OPTION...] -> $work/CASE-LEVEL/trainer
compile() {
    [ -x "$work/$1-O$2/trainer" ] ||
        compiled_to "$work/$1-O$2" "$cases/$1.yaml" "$2" "${@:3}"
}

# data_of CASE -> $work/CASE-data, $work/CASE.safetensors
data_of() {
    [ -d "$work/$1-data" ] || {
        mkdir -p "$work/$1-data" && "$tool" data "$cases/$1.json" "$work/$1-data" &&
            "$tool" init "$cases/$1.json" "$work/$1.safetensors"
    }
}

# train CASE LEVEL STEPS [WEIGHTS] -> $work/log.jsonl, $work/saved.safetensors
# Dropout is drawn by the seed; $evaluated, for schedules that follow the test images.
train() {
    data_of "$1" || return 1
    rm -f "$work/log.jsonl" "$work/saved.safetensors"
    # shellcheck disable=SC2046 # an option or none
    "$work/$1-O$2/trainer" train --device "$device" --data "$work/$1-data" \
        --init "${4:-$work/$1.safetensors}" --no-shuffle --no-progress --max-steps "$3" --seed 7 \
        $([ -n "${evaluated:-}" ] || echo --no-eval) \
        --log-every 1 --log "$work/log.jsonl" --save "$work/saved.safetensors" >/dev/null
}

# parity CASE LEVEL STEPS
parity() {
    compile "$1" "$2" && train "$1" "$2" "$3" &&
        "$tool" compare "$cases/$1.json" "$work/log.jsonl" "$work/saved.safetensors"
}

# scheduled OPTIMIZER SCHEDULE: the case of the optimizer with one of its schedules.
scheduled() {
    local from=$cases/scheduled_$1 cases=$work/scheduled name=$1_$2 text evaluated=
    mkdir -p "$cases"
    text=$("$tool" variant "$from.json" "$2" "$cases/$name.json") || return 1
    sed "s/^train: {/&schedule: $text, /" "$from.yaml" >"$cases/$name.yaml"
    [ "$2" != reduce_on_plateau ] || evaluated=1
    parity "$name" 2 8
}

small="strides pools flatten blocks linear norms grouped lrns averages curves"
small+=" residual inception dropout"
check "parity blocks sgd -O2, 20 steps" parity blocks_sgd 2 20
check "parity pools adam -O2, 3 steps" light parity pools_adam 2 3
check "parity strides sgd -O2, 20 steps" light parity strides_sgd 2 20
check "parity linear sgd -O2, 20 steps" light parity linear_sgd 2 20
check "parity norms sgd -O2, 20 steps" light parity norms_sgd 2 20
check "parity grouped sgd -O2, 20 steps" light parity grouped_sgd 2 20
check "parity lrns sgd -O2, 20 steps" light parity lrns_sgd 2 20
check "parity averages sgd -O2, 20 steps" light parity averages_sgd 2 20
check "parity flatten adam -O0, 3 steps" light parity flatten_adam 0 3
check "parity residual sgd -O2, 20 steps" light parity residual_sgd 2 20
check "parity inception sgd -O2, 20 steps" light parity inception_sgd 2 20
check "parity dropout sgd -O2, 20 steps" light parity dropout_sgd 2 20
long_check "parity flatten nesterov -O2, 20 steps" light parity flatten_nesterov 2 20
check "parity flatten with clipped gradients -O2, 20 steps" light parity flatten_clip 2 20
check "parity norms with averaged parameters -O2, 20 steps" light parity norms_ema 2 20
check "parity flatten with rates of its own -O2, 20 steps" light parity flatten_own 2 20
check "parity flatten with smoothed labels -O2, 20 steps" light parity flatten_smoothed 2 20
check "parity flatten with weighted classes -O2, 20 steps" light parity flatten_weighted 2 20
long_check "parity flatten with weighted classes and smoothed labels -O2, 20 steps" \
    parity flatten_weighted_smoothed 2 20
long_check "parity flatten adamw -O2, 3 steps" light parity flatten_adamw 2 3
long_check "parity flatten rmsprop -O2, 3 steps" light parity flatten_rmsprop 2 3
# Some pairs of an optimizer and a schedule, all of them in the long tests.
quick_pairs=" nesterov+reduce_on_plateau adam+cosine_annealing adamw+poly rmsprop+one_cycle "
for optimizer in sgd nesterov adam adamw rmsprop; do
    for schedule in step multi_step exponential cosine_annealing linear poly reduce_on_plateau \
        one_cycle; do
        kind=long_check
        [[ $quick_pairs != *" $optimizer+$schedule "* ]] || kind=check
        $kind "parity $optimizer with the schedule $schedule, 8 steps" \
            light scheduled $optimizer $schedule
    done
done
# Both optimizers on one machine's plain loops and tiles, as they ship.
for case in $small; do
    for level in 0 2; do
        [[ $case$level == blocks2 ]] ||
            long_check "parity $case sgd -O$level, 20 steps" parity "${case}_sgd" $level 20
        long_check "parity $case adam -O$level, 3 steps" parity "${case}_adam" $level 3
    done
done
# Adam divides a gradient by its own size: one of the size of a rounding moves its parameter as far
# as any other. Winograd and fold round otherwise, so behind them Adam's losses are compared, as
# SGD's are with the parameters, and Adam's parameters without them.
# adam_losses [OPTION...]
adam_losses() {
    local bound
    bound=$(sed -n 's/.*"loss_tolerance": *\([0-9.e-]*\).*/\1/p' "$cases/nin_adam.json")
    rm -rf "$work/nin_adam-O2" && compile nin_adam 2 "$@" && train nin_adam 2 3 &&
        "$tool" losses "$cases/nin_adam.json" "$work/log.jsonl" "$bound"
}
# without PASSES CASE LEVEL STEPS
without() {
    rm -rf "$work/$2-O$3"
    compile "$2" "$3" --disable-pass="$1" && parity "${@:2}" && rm -rf "$work/$2-O$3"
}
# $QUICK: tests/suites/parity_sim.sh, which has no time for the seed network.
if [ -z "${QUICK:-}" ]; then
    long_check "parity nin sgd -O2 without Winograd, 8 steps" without winograd nin_sgd 2 8
    for level in 0 2; do
        long_check "parity nin sgd -O$level, 8 steps" parity nin_sgd $level 8
    done
    long_check "parity nin adam -O2 without Winograd and fold, 3 steps" \
        without winograd,fold nin_adam 2 3
    long_check "parity nin_bn sgd -O2, 3 steps" parity nin_bn 2 3
    long_check "parity nin_cifar10 with dropout, rates and schedule, 4 steps" \
        parity nin_cifar10 2 4
    long_check "losses of nin adam -O2, 3 steps" adam_losses
    long_check "losses of nin adam -O2 without Winograd, 3 steps" \
        adam_losses --disable-pass=winograd
fi

# One tap that is 1 % off must show in the losses and in the other parameters.
planted() {
    compile "$1" 2 && "$tool" init "$cases/$1.json" "$work/planted.safetensors" "$2" &&
        train "$1" 2 "$3" "$work/planted.safetensors" || return 1
    ! "$tool" compare "$cases/$1.json" "$work/log.jsonl" "$work/saved.safetensors" "$2"
}
check "1 % at one tap of blocks is seen" planted blocks_sgd b.0.weight 20
check "1 % at one tap of strides is seen" planted strides_sgd b.weight 20
[ -n "${QUICK:-}" ] ||
    long_check "1 % at one tap of nin is seen" planted nin_sgd conv.2.0.weight 1

if [ "$device" != cpu ]; then
    finish
    exit
fi

# bf16 CASE LEVEL STEPS: bf16 maps round at 0.4 %, and the losses begin above 1.
bf16() {
    in_precision bf16 compiled_to "$work/$1-O$2-bf16" "$cases/$1.yaml" "$2" &&
        train "$1" "$2-bf16" "$3" && "$tool" losses "$cases/$1.json" "$work/log.jsonl" 0.1
}
check "losses of blocks in bf16 -O2, 8 steps" bf16 blocks_sgd 2 8
for case in strides pools flatten; do
    long_check "losses of $case in bf16 -O2, 8 steps" bf16 "${case}_sgd" 2 8
done
long_check "losses of blocks in bf16 -O0, 8 steps" bf16 blocks_sgd 0 8

# few_steps TRAINER DATA THREADS SAVED: shuffled, the last batch of an epoch is a part.
few_steps() {
    "$1/trainer" train --data "$2" --seed 7 --no-eval --no-progress --max-steps 7 \
        --threads "$3" --save "$4" >/dev/null
}

# same_bits TRAINER DATA: with any number of threads.
same_bits() {
    local n
    for n in 1 2 3 8; do
        few_steps "$1" "$2" $n "$work/threads-$n.safetensors" &&
            cmp "$work/threads-1.safetensors" "$work/threads-$n.safetensors" || return 1
    done
}

# threads CASE LEVEL BATCH [PRECISION]
threads() {
    in_precision "${4:-fp32}" compiled_to "$work/threads" "$cases/$1.yaml" "$2" --batch="$3" &&
        data_of "$1" && same_bits "$work/threads" "$work/$1-data"
}
check "threads 1, 2, 3, 8 give the same bits: blocks" light threads blocks_sgd 2 4
check "threads 1, 2, 3, 8 give the same bits: pools bf16" light threads pools_adam 2 4 bf16
check "threads 1, 2, 3, 8 give the same bits: norms" light threads norms_sgd 2 4
long_check "threads 1, 2, 3, 8 give the same bits: pools" threads pools_adam 2 4
long_check "threads 1, 2, 3, 8 give the same bits: blocks bf16" threads blocks_sgd 2 4 bf16
long_check "threads 1, 2, 3, 8 give the same bits: one image" threads blocks_sgd 2 1
long_check "threads 1, 2, 3, 8 give the same bits: -O0" threads blocks_sgd 0 4

# steps_of_authors RUN STEPS THREADS [OPTION...]: a run of models/nin_cifar10.yaml.
steps_of_authors() {
    "$work/authors/trainer" train --threads "$3" --no-eval --no-progress --max-steps "$2" \
        --save "$work/$1.safetensors" "${@:4}" >/dev/null
}

# Its dropout, its rates and its schedule, which falls within the steps that are made: two an epoch.
authors_network() {
    local data="--data $work/authors-data"
    echo '{"images": 256, "height": 32, "width": 32, "channels": 3, "classes": 10}' \
        >"$work/authors.json"
    sed 's/milestones: \[80, 120\]/milestones: [1, 2]/' models/nin_cifar10.yaml \
        >"$work/authors.yaml"
    grep -q 'milestones: \[1, 2\]' "$work/authors.yaml" && mkdir "$work/authors-data" &&
        "$tool" data "$work/authors.json" "$work/authors-data" &&
        compiled_to "$work/authors" "$work/authors.yaml" 2 || return 1
    # shellcheck disable=SC2086 # words
    steps_of_authors one 5 1 $data && steps_of_authors two 5 2 $data &&
        steps_of_authors part 3 2 $data --checkpoint-dir "$work/authors-run" &&
        steps_of_authors rest 5 1 $data --resume "$work/authors-run" &&
        cmp "$work/one.safetensors" "$work/two.safetensors" &&
        cmp "$work/one.safetensors" "$work/rest.safetensors" &&
        ! cmp -s "$work/one.safetensors" "$work/part.safetensors"
}
long_check "nin_cifar10 gives the same bits on 1 and 2 threads and resumed" authors_network

# with_chunk IMAGES MODEL BATCH LEVEL OUT: compiled with chunks of so many images of a batch.
with_chunk() {
    rm -rf "$work/chunks"
    "$NINC" "-O$4" --target=cpu --batch="$3" --emit=ir --dump=schedule --dump-dir="$work/chunks" \
        "$2" >/dev/null || return 1
    sed "/^graph/s/ chunk=$3 / chunk=$1 /" "$work"/chunks/*-schedule.ir >"$work/chunk.ir"
    [ "$(grep -c "^graph.* chunk=$1 " "$work/chunk.ir")" -eq 2 ] &&
        compiled_to "$5" "$work/chunk.ir" "$4"
}

# Sums in parts, Winograd's sums over the tiles of a chunk; the last chunk is a part.
threads_of_wide() {
    wide_network 18 16 >"$work/wide.yaml"
    with_chunk 5 "$work/wide.yaml" 16 2 "$work/threads" &&
        grep -q '= winograd_wgrad .* kernel=5x5' "$work/threads/wide.ir" &&
        grep -q ' at partial+' "$work/threads/wide.ir" &&
        same_bits "$work/threads" random
}
check "threads 1, 2, 3, 8 give the same bits: in tiles, chunks of 5 of 16 images" \
    light threads_of_wide

threads_of_folded() {
    folded_network >"$work/folded.yaml"
    with_chunk 3 "$work/folded.yaml" 5 2 "$work/threads" &&
        grep -q '= conv2d_folded_wgrad ' "$work/threads/folded.ir" &&
        same_bits "$work/threads" random
}
long_check "threads 1, 2, 3, 8 give the same bits: folded, chunks of 3 of 5 images" \
    threads_of_folded

# chunks CASE LEVEL STEPS IMAGES...: the reference, however a batch of 4 is cut into chunks.
chunks() {
    local n
    for n in "${@:4}"; do
        with_chunk "$n" "$cases/$1.yaml" 4 "$2" "$work/$1-O$2-chunk$n" &&
            train "$1" "$2-chunk$n" "$3" &&
            "$tool" compare "$cases/$1.json" "$work/log.jsonl" "$work/saved.safetensors" || return 1
    done
}
check "parity in chunks of 3 images: blocks sgd" light chunks blocks_sgd 2 20 3
check "parity in chunks of 1 image: pools adam" light chunks pools_adam 2 3 1
long_check "parity in chunks of 1, 2, 3 images: blocks sgd" chunks blocks_sgd 2 20 1 2 3
check "parity in chunks of 3 images: weighted classes" \
    light chunks flatten_weighted_smoothed 2 20 3
long_check "parity in chunks of 1, 2, 3 images: pools adam" chunks pools_adam 2 3 1 2 3
long_check "parity in chunks of 1, 2, 3 images: strides sgd -O0" chunks strides_sgd 0 20 1 2 3

# on_level LEVEL CASE: in a trainer that has every instruction set of this machine.
on_level() {
    local levels
    levels=$(machine_levels)
    compiled_to "$work/$2-Oany" "$cases/$2.yaml" 2 && NINC_CPU_LEVEL=$1 train "$2" any 20 &&
        "$tool" compare "$cases/$2.json" "$work/log.jsonl" "$work/saved.safetensors"
}
for level in avx512 avx2 baseline; do
    if [[ ,$(machine_levels), != *,$level,* ]]; then
        skip "kernels for $level" "this machine does not have it"
        continue
    fi
    check "parity blocks sgd, kernels for $level" light on_level $level blocks_sgd
    for case in strides pools flatten; do
        long_check "parity $case sgd, kernels for $level" on_level $level "${case}_sgd"
    done
done
finish
