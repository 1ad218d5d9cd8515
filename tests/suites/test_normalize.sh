#!/bin/bash
# What the training images say of how images are normalized: means, deviations and whitening against
# NumPy's (tests/models/normalize/reference.py), the kernels of it against the evaluator.
. tests/lib.sh
light_kernels

tool=$BUILD/parity_tool
cases=tests/models/normalize

# compiled CASE [OPTION...]
compiled() {
    "$NINC" -q "$one_level" "${@:2}" "$cases/$1.yaml" -o "$work/$1"
}

# The classifier's weights come from a file that has no more; all else is found out.
found_out() {
    mkdir -p "$work/$1-data" && "$tool" data "$cases/$1.json" "$work/$1-data" &&
        "$tool" init "$cases/$1.json" "$work/$1-init.st" &&
        "$work/$1/trainer" train --data "$work/$1-data" --init-partial "$work/$1-init.st" \
            --max-steps 0 --no-eval --save "$work/$1.st"
}

# The loss on the same images, that of float64 but for what rounding makes.
same_loss() {
    "$work/$1/trainer" eval --device "${2:-cpu}" --data "$work/$1-data" --weights "$work/$1.st" \
        --json "$work/eval.json" &&
        awk -F'"loss": ' '{ split($2, v, /[,}]/); loss[NR] = v[1]; print v[1] }
            END { d = loss[1] - loss[2]; exit !(loss[2] > 1 && d < 1e-5 && d > -1e-5) }' \
            "$work/eval.json" "$cases/$1.json"
}

for case in all means deviations contrast; do
    target=()
    [ $case = all ] || target=(--target=cpu)
    check "compile $case" compiled $case "${target[@]}"
    check "$case: found out" found_out $case
    [ $case = contrast ] ||
        check "$case: as NumPy finds it" "$tool" values "$cases/$case.json" "$work/$case.st" 2e-6
    check "$case: the loss as NumPy has it" same_loss $case
done
check_with g++ "all: the loss in the simulator" same_loss all sim

# verified CASE OPTIONS ARGUMENT...: OPTIONS for ninc.
verified() {
    # shellcheck disable=SC2086 # options
    "$NINC" -q $2 "$cases/$1.yaml" -o "$work/verified" &&
        "$work/verified/trainer" verify --full "${@:3}"
}

check "kernels on each instruction set" verified all -O2 --levels=all
check "kernels in bf16" verified all "-O2 --precision=bf16" --levels=all
long_check "kernels one by one" verified all -O0 --device cpu
check_with g++ "kernels in the simulator" verified all -O2 --device sim
long_check_with g++ "kernels in the simulator, bf16" verified all "-O2 --precision=bf16" --device sim
check_with g++ "kernels in the simulator, one by one" verified all -O0 --device sim

train() {
    "$work/all/trainer" train --device cpu --data "$work/all-data" --no-eval "$@"
}

any_threads() {
    train --max-steps 3 --threads 1 --save "$work/one.st" &&
        train --max-steps 3 --threads 3 --save "$work/three.st" && cmp "$work/one.st" "$work/three.st"
}
check "the same bits on any number of threads" any_threads

# A step of training leaves what was found out alone, and so does a run on other images.
kept() {
    train --max-steps 3 --lr 0.5 --save "$work/trained.st" &&
        "$tool" values "$cases/all.json" "$work/trained.st" 2e-6 &&
        "$work/all/trainer" train --data random --init "$work/trained.st" --max-steps 1 --no-eval \
            --save "$work/other.st" &&
        "$tool" values "$cases/all.json" "$work/other.st" 2e-6
}
check "kept in training, and by --init on other images" kept

resumed() {
    train --max-steps 4 --epochs 2 --save "$work/whole.st" &&
        train --max-steps 2 --epochs 2 --checkpoint-dir "$work/run" --no-save &&
        train --max-steps 4 --epochs 2 --resume "$work/run" --save "$work/resumed.st" &&
        cmp "$work/whole.st" "$work/resumed.st"
}
check "a resumed run has the bits of one that was not stopped" resumed

few_images() {
    sed 's/"images": 70/"images": 5/' "$cases/all.json" >"$work/few.json" && mkdir -p "$work/few" &&
        "$tool" data "$work/few.json" "$work/few" &&
        "$work/all/trainer" train --data "$work/few" --max-steps 1 --no-eval --no-save 2>&1 |
        tee "$work/said" | grep -q "zca: 5 training images of 24 values each say little" ||
        { cat "$work/said"; false; }
}
check "whitening by fewer images than values" few_images

# One value at all pixels of all images: nothing to divide by.
constant_channel() {
    mkdir -p "$work/flat" && cp "$work/means-data"/*-labels-* "$work/flat" &&
        for part in train t10k; do
            {
                head -c 20 "$work/means-data/$part-images-idx4-ubyte"
                yes "$(printf '\x46')" | tr -d '\n' | head -c $((70 * 24))
            } >"$work/flat/$part-images-idx4-ubyte"
        done
    sed 's/zca: .*}}/zca: {eps: 0.1}}}/' "$cases/deviations.yaml" >"$work/flat.yaml" &&
        "$NINC" -q "$one_level" --target=cpu "$work/flat.yaml" -o "$work/flatly" &&
        "$work/flatly/trainer" train --data "$work/flat" --max-steps 2 --save "$work/flat.st" \
            >"$work/said" 2>&1 &&
        grep -q "channel 1 of all training images has one value" "$work/said" ||
        { cat "$work/said"; false; }
}
check "a channel that is constant" constant_channel

text_reads_back() {
    "$NINC" --emit=ir "$cases/all.yaml" >"$work/all.ir" &&
        grep -q "mean=auto std=auto zca=0.1" "$work/all.ir" &&
        "$NINC" --emit=ir "$work/all.ir" | cmp - "$work/all.ir"
}
check "the text reads back" text_reads_back

# LAPACK is in the trainers that whiten alone.
lapack_where_needed() {
    nm "$work/all/trainer" | grep -q ' T dsytrd_' &&
        ! nm "$work/means/trainer" | grep -q dsytrd_
}
check "LAPACK is linked where it is needed" lapack_where_needed
finish
