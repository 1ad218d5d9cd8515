#!/bin/bash
# Dropout: the same values are dropped by the evaluator, each instruction set and a GPU, however a
# batch is cut into chunks, and on any number of threads; others at each step and of each seed; none
# in an evaluation. (On resume: test_resume. Mean, variance, scale: test_eval_dropout.)
. tests/lib.sh
. tests/tools/kernels.sh
checks_stand_alone

network=tests/models/chains/dropout.yaml

# in_chunks IMAGES: the network with chunks of so many of its five images.
in_chunks() {
    rm -rf "$work/dump"
    "$NINC" --target=cpu --emit=ir --dump=schedule --dump-dir="$work/dump" $network >/dev/null &&
        sed "/^graph/s/ chunk=5 / chunk=$1 /" "$work"/dump/*-schedule.ir >"$work/chunks.ir" &&
        [ "$(grep -c "^graph.* chunk=$1 " "$work/chunks.ir")" -eq 2 ]
}

# The step is of two images, a chunk each.
second_chunk() {
    in_chunks 1 && verified "$work/chunks.ir" 2
}

# losses TRAINER NAME OPTION... -> $work/NAME.losses, of $data or random images
losses() {
    "$1/trainer" train --data "${data:-random}" --no-eval --no-save --no-progress --log-every 1 \
        --log "$work/$2.jsonl" "${@:3}" >/dev/null 2>&1 &&
        sed -nE 's/.*"loss":([0-9.e+-]+).*/\1/p' "$work/$2.jsonl" >"$work/$2.losses"
}

# same_losses A B: within rounding.
same_losses() {
    paste "$work/$1.losses" "$work/$2.losses" | awk '{
        difference = $1 > $2 ? $1 - $2 : $2 - $1
        if (!(difference <= 1e-4 * $1)) { print; bad = 1 }
    } END { exit bad || NR != 4 }'
}

cpu_losses() {
    [ -s "$work/cpu.losses" ] || {
        compiled $network 2 && mv "$work/kernels" "$work/cpu" &&
            losses "$work/cpu" cpu --max-steps 4 --threads 1
    }
}

same_on_threads() {
    cpu_losses && losses "$work/cpu" threads --max-steps 4 --threads 3 &&
        cmp "$work/cpu.losses" "$work/threads.losses"
}

same_in_chunks() {
    cpu_losses && in_chunks 2 && compiled "$work/chunks.ir" 2 &&
        losses "$work/kernels" chunks --max-steps 4 && same_losses cpu chunks
}

same_in_plain_loops() {
    cpu_losses && compiled $network 0 && losses "$work/kernels" plain --max-steps 4 &&
        same_losses cpu plain
}

# simulated PRECISION LEVEL
simulated() {
    rm -rf "$work/sim"
    "$NINC" -q "-O$2" --target=cuda --precision="$1" -o "$work/sim" $network &&
        "$work/sim/trainer" verify --device sim
}

same_on_a_gpu() {
    cpu_losses && "$NINC" -q --target=cuda -o "$work/sim" $network &&
        NINC_SIM=checks=0 losses "$work/sim" sim --device sim --max-steps 4 && same_losses cpu sim
}

# of_seed SEED: losses of an epoch's one batch of all images, in order, at hardly a rate: what
# differs between steps, and between runs from the same weights, is what is dropped.
of_seed() {
    losses "$work/whole" "$1" --max-steps 2 --epochs 2 --no-shuffle --lr 1e-30 --seed "$1" \
        --init "$work/whole.safetensors"
}

other_at_each_step() {
    local data=$work/images
    echo '{"images": 64, "height": 14, "width": 15, "channels": 3, "classes": 10}' >"$data.json"
    sed 's/batch_size: 5/batch_size: 64/' $network >"$work/whole.yaml"
    mkdir "$data" && "$BUILD/parity_tool" data "$data.json" "$data" &&
        compiled "$work/whole.yaml" 2 && mv "$work/kernels" "$work/whole" &&
        "$work/whole/trainer" train --data "$data" --no-eval --no-progress --max-steps 1 \
            --save "$work/whole.safetensors" >/dev/null && of_seed 7 && of_seed 4294967303 &&
        [ "$(sort -u "$work"/{7,4294967303}.losses | wc -l)" -eq 4 ]
}

# On a CPU what a convolution or a gradient gives is dropped in the same kernel, strip by strip, and
# of a ReLU what is left alone is kept.
dropped_where_made() {
    "$NINC" --target=cpu --emit=ir $network >"$work/fused.ir" &&
        [ "$(awk '/^ *kernel / { name = $2 } / = dropout / && name ~ /^[ab]_/' "$work/fused.ir" |
            wc -l)" -eq 4 ] &&
        grep -qE ' strip=[0-9]+\} += relu ' "$work/fused.ir"
}

check "values are dropped where they are made" dropped_where_made
check "verified fp32 -O2" light verified $network 2
check "verified in a chunk behind the first" light second_chunk
check "the same losses on threads" light same_on_threads
check "the same losses in chunks" light same_in_chunks
check "others are dropped at each step, and of each seed" light other_at_each_step
long_check "the same losses in plain loops" light same_in_plain_loops
for precision in fp32 bf16; do
    long_check "verified $precision -O0" in_precision $precision light everywhere $network 0
    long_check "verified $precision -O2, everywhere" \
        in_precision $precision mixed everywhere $network 2
done
if "${CXX:-c++}" --version >/dev/null 2>&1; then
    check "simulated bf16 -O2" simulated bf16 2
    check "the same losses on a simulated GPU" same_on_a_gpu
    long_check "simulated fp32 -O0" simulated fp32 0
    long_check "simulated tf32 -O2" simulated tf32 2
else
    skip "simulated dropout" "no C++ compiler (\$CXX or c++; Debian: apt-get install g++)"
fi
finish
