#!/bin/bash
# Validation images, the balanced sampler, --save-best: what a run evaluates and keeps, also when it
# is stopped and gone on with.
# shellcheck source=tests/lib.sh
. tests/lib.sh
light_kernels

# model [INPUT] [TRAIN]: what stands in the two beside what must.
model() {
    cat <<END
model: small
input: {dataset: idx, classes: 3, shape: [1, 8, 8]${1:+, $1}}
layers:
  - conv2d: {name: c, out_channels: 4, kernel_size: 4, stride: 4}
  - relu
  - flatten
  - linear: {name: l, out_features: 3}
loss: cross_entropy
optimizer: {adam: {lr: 0.01}}
train: {batch_size: 8, epochs: 4, log_every: 3, checkpoint_every: 5${2:+, $2}}
END
}

compile() {
    cat >"$work/$1.yaml"
    "$NINC" -q --target=cpu "$one_level" -o "$work/$1" "$work/$1.yaml" >"$work/output" 2>&1 ||
        fail "compile $1" "$work/output"
}

# bytes NUMBER...: each as a byte.
bytes() {
    local text
    printf -v text '\\x%02x' "$@"
    printf '%b' "$text"
}

# split NAME COUNT SEED FIRST: IDX files of so many images, whose labels are 0 0 0 0 1 1 2 over and
# over, FIRST added; each class is brighter than the one before.
split() {
    local labels
    labels=$(awk -v n="$2" -v f="$4" 'BEGIN {
        for (i = 0; i < n; i++) print f + (i % 7 < 4 ? 0 : i % 7 < 6 ? 1 : 2)}')
    # shellcheck disable=SC2086
    bytes 0 0 8 1 0 0 0 "$2" $labels >"$data/$1-labels-idx1-ubyte"
    # shellcheck disable=SC2046
    bytes 0 0 8 3 0 0 0 "$2" 0 0 0 8 0 0 0 8 $(awk -v s="$3" -v f="$4" '
        BEGIN { srand(s) } { for (k = 0; k < 64; k++) print int(60 * ($1 - f) + 120 * rand()) }' \
        <<<"$labels") >"$data/$1-images-idx3-ubyte"
}

data=$work/data
mkdir "$data"
split train 70 1 0
split t10k 28 2 0

model "validation_split: 0.2" "sampler: balanced" | compile both
model | compile plain

# train MODEL OPTIONS...
train() {
    local model=$1
    shift
    "$work/$model/trainer" train --device cpu --data "$data" --seed 7 --no-progress "$@"
}

# The log without speeds.
losses() {
    sed 's/,"images_per_second[^}]*//' "$1"
}

train both --threads 1 --save "$work/end.st" --save-best "$work/best.st" --log "$work/run.jsonl" \
    --csv "$work/run.csv" --checkpoint-dir "$work/c" >"$work/said" 2>&1 ||
    fail "a run with validation images" "$work/said"
losses "$work/run.jsonl" >"$work/run.losses"
check "a fifth of each class validates" grep -q '^14 validation images; the test' "$work/said"
check "the others are trained on" grep -q ' 56 training images' "$work/said"
check "lines of validation" grep -q '  validation loss .*  validation accuracy ' "$work/said"
check "the log says so" test "$(grep -c '"event":"eval".*"split":"validation"' \
    "$work/run.jsonl")" -eq 4
check "the CSV says so" test "$(grep -c '^validation,' "$work/run.csv")" -eq 4
check "no word of test images" test "$(grep -c ' test ' "$work/said")" -eq 1
check "the best is told" grep -q "^best validation accuracy .*: $work/best.st" "$work/said"
check "the best is that of the checkpoints" cmp "$work/best.st" "$work/c/best/model.safetensors"

without_test_images() {
    mkdir -p "$work/half" && cp "$data"/train* "$work/half" &&
        train both --no-save --data "$work/half"
}
check "test images are not read" without_test_images

train plain --no-save --log "$work/plain.jsonl" >"$work/said" 2>&1
check "without, evaluations are of the test images" test "$(grep -c '"event":"eval"' \
    "$work/plain.jsonl")" -eq 4 -a "$(grep -c split "$work/plain.jsonl")" -eq 0

# ---- the same images, wherever they are asked for ----

# evaluated OPTIONS...: loss and accuracy of them.
evaluated() {
    "$work/both/trainer" eval --device cpu --data "$data" --json "$work/eval.json" "$@" \
        >"$work/said" 2>&1 && tr -d ' \n' <"$work/eval.json" |
        grep -o '"split".*"images":[0-9]*' | grep -o '"loss":[^,]*,"accuracy":[^,]*,"images":.*'
}
in_log=$(grep '"eval"' "$work/run.jsonl" | tail -n 1 | sed 's/.*\("loss":.*\),"split".*/\1/')
# The log has 9 digits.
as_in_log() {
    local loss
    loss=$(evaluated "$@") || { cat "$work/said"; return 1; }
    awk -v a="$loss" -v b="$in_log" 'BEGIN {
        split(a, x, "[:,]"); split(b, y, "[:,]"); d = x[2] - y[2]
        exit !(d * d < 1e-12 && x[4] - y[4] < 1e-6 && y[4] - x[4] < 1e-6)}' ||
        { echo "$loss, in the log $in_log"; return 1; }
}
other_seed() {
    ! as_in_log --split validation --weights "$work/end.st" --seed 8
}
check "eval of a checkpoint has its run's" as_in_log --split validation --weights "$work/c"
check "eval of a file has those of --seed" as_in_log --split validation --weights "$work/end.st" \
    --seed 7
check "another seed has others" other_seed
eval_says() {
    "$work/both/trainer" eval --device cpu --data "$data" --weights "$work/end.st" --seed 7 \
        --split "$1" | grep -q "^$1 loss .*  $1 accuracy .*($2 images)"
}
check "eval of the training images" eval_says train 56
check "eval of the validation images" eval_says validation 14
check "eval of the test images" eval_says test 28
check "eval says whose images it takes for them" bash -c "'$work/both/trainer' eval --device cpu \
    --data '$data' --weights '$work/end.st' --split validation 2>&1 | grep -q 'those of --seed 1;'"

# ---- stopped and gone on with ----

for step in 3 14 20; do
    rm -rf "$work/d" "$work/part".*
    train both --threads 3 --max-steps $step --checkpoint-dir "$work/d" --log "$work/part.jsonl" \
        --save-best "$work/part.best" >"$work/said" 2>&1 || fail "to $step" "$work/said"
    train both --resume "$work/d" --threads 2 --save "$work/part.st" --log "$work/part.jsonl" \
        --save-best "$work/part.best" >"$work/said" 2>&1 || fail "from $step" "$work/said"
    losses "$work/part.jsonl" >"$work/losses"
    check "stopped at $step: parameters" cmp "$work/end.st" "$work/part.st"
    check "stopped at $step: log" diff "$work/run.losses" "$work/losses"
    check "stopped at $step: the best" cmp "$work/best.st" "$work/part.best"
done

# The run that went on cannot better an accuracy of 1: it leaves the file alone.
perfect() {
    rm -rf "$work/d"
    train both --epochs 4 --checkpoint-dir "$work/d" >/dev/null &&
        train both --resume "$work/d" --epochs 5 --save-best "$work/new.st" >"$work/said" 2>&1 || {
        cat "$work/said"
        return 1
    }
    [ -e "$work/new.st" ] || grep -q "no accuracy was better than the best so far: $work/new.st is" \
        "$work/said"
}
check "a best that is not bettered" perfect

# ---- what cannot be ----

# refuses STATUS MESSAGE COMMAND...
refuses() {
    local status=$1 wanted=$2
    shift 2
    "$@" >"$work/said" 2>&1
    [ $? -eq "$status" ] && grep -qF -- "$wanted" "$work/said" || { cat "$work/said"; false; }
}
check "--no-shuffle with a sampler" refuses 1 "--no-shuffle contradicts the model's sampler" \
    train both --no-save --no-shuffle
check "--save-best without evaluations" refuses 2 "--save-best follows the evaluations" \
    train both --no-eval --save-best x
check "two files in one" refuses 2 "give two files" train both --save x --save-best x
check "--save-best in no directory" refuses 1 "$work/none" \
    train both --save-best "$work/none/x.st"
check "eval of val" refuses 2 "did you mean validation?" \
    "$work/plain/trainer" eval --weights x --split val
check "eval of no validation images" refuses 1 "no validation images of its own" \
    "$work/plain/trainer" eval --device cpu --data "$data" --weights "$work/end.st" \
    --split validation

split train 70 1 1
check "labels from 1" refuses 1 "the labels are from 1 to 3, none is 0; classes are counted from 0" \
    train plain --no-save
split train 7 1 0
check "a class of one image" refuses 1 "would leave class 2, which has 1 training image" \
    train both --no-save
split train 6 1 0
check "a class without images" refuses 0 "class 2 has no training image: it will not be learnt" \
    train plain --no-save
finish
