#!/bin/bash
# kill -9 at random moments of a run that writes a checkpoint every other step, again and again: the
# latest checkpoint can always be gone on from, and the end has the bits of an uninterrupted run.
# $CRASHES: how often (20; `make test-crash`: 200); $SEED: of the moments.
# shellcheck source=tests/lib.sh
. tests/lib.sh
light_kernels

crashes=${CRASHES:-20}
SEED=${SEED:-$RANDOM}
RANDOM=$SEED
echo "seed $SEED"
cat >"$work/crash.yaml" <<'END'
model: crash
input: {dataset: fashion-mnist, shape: [1, 28, 28]}
layers:
  - conv2d: {name: first, out_channels: 32, kernel_size: 4, stride: 4}
  - relu
  - conv2d: {name: last, out_channels: 10, kernel_size: 1}
  - gap
  - flatten
loss: cross_entropy
optimizer: {adam: {lr: 0.01}}
train: {batch_size: 48, epochs: 12, log_every: 5}
END
if ! "$NINC" -q --target=cpu "$one_level" -o "$work/kernels" "$work/crash.yaml" \
    >"$work/output" 2>&1; then
    fail "compile a small model" "$work/output"
    finish
    exit
fi
trainer=$work/kernels/trainer
run=$work/run

# The log without speeds.
losses() {
    sed 's/,"images_per_second.*//' "$1"
}

# Starts the run, or goes on with it, in the background.
start() {
    local from=(--data random)
    compgen -G "$run/step-*" >/dev/null && from=(--resume "$run")
    "$trainer" train "${from[@]}" --device cpu --checkpoint-dir "$run" --checkpoint-every 2 \
        --keep 3 --log "$work/run.jsonl" --save "$work/run.safetensors" >"$work/said" 2>&1 &
    child=$!
}

# After a crash: what has its name is whole. `latest` may be missing before the first checkpoint.
sound() {
    local step
    if [ -L "$run/latest" ] && [ ! -f "$run/latest/state.json" ]; then
        echo "latest names nothing"
        return 1
    fi
    for step in "$run"/step-*; do
        [ -d "$step" ] || continue
        for file in model.safetensors optimizer.safetensors state.json; do
            [ -s "$step/$file" ] || { echo "$step lacks $file"; return 1; }
        done
    done
}

# The run came to its end: its bits, then all is removed.
finished() {
    cat "$work/said"
    cmp "$work/run.safetensors" "$work/whole.safetensors" &&
        diff <(losses "$work/run.jsonl") <(losses "$work/whole.jsonl") &&
        ! find "$run" -name '.*partial*' | grep . && rm -r "$run" "$work/run.jsonl"
}

check "uninterrupted" "$trainer" train --data random --device cpu --log "$work/whole.jsonl" \
    --save "$work/whole.safetensors"
killed=0 whole=0 faults=0
while [ $killed -lt "$crashes" ] && [ $faults -eq 0 ]; do
    start
    sleep "0.$(printf %03d $((30 + RANDOM % 500)))"
    kill -9 $child 2>/dev/null
    wait $child 2>/dev/null
    status=$?
    if [ $status -eq 137 ]; then
        killed=$((killed + 1))
        sound >"$work/output" 2>&1 || faults=1
        ! grep error "$work/said" >>"$work/output" || faults=1
        # Only the very first link may be missing, when its step is there already.
        ! grep 'cannot be used' "$work/said" | grep -v 'it is missing' >>"$work/output" || faults=1
    elif [ $status -eq 0 ]; then
        whole=$((whole + 1))
        finished >"$work/output" 2>&1 || faults=1
    else
        cat "$work/said" >"$work/output"
        faults=1
    fi
done
[ $faults -eq 0 ] || fail "after $killed crashes (SEED=$SEED)" "$work/output"
if [ $faults -eq 0 ]; then
    start
    wait $child
    check "the end after $killed crashes has the bits of an uninterrupted run" finished
fi
echo "$killed crashes, $whole ends between them"
finish
