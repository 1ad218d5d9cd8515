#!/bin/bash
# What a trainer says and leaves behind when its surroundings fail it: bad data and weights, full
# and read-only places, memory refused, signals. $NINC_TRAINER names a trainer of a model of 28x28
# images in 10 classes; without it one is compiled.
# shellcheck source=tests/lib.sh disable=SC2016,SC2119,SC2120
. tests/lib.sh

if [ -z "${NINC_TRAINER:-}" ]; then
    cat >"$work/small.yaml" <<'END'
model: small
input: {dataset: fashion-mnist, shape: [1, 28, 28]}
layers:
  - conv2d: {name: first, out_channels: 8, kernel_size: 4, stride: 4}
  - relu
  - conv2d: {name: last, out_channels: 10, kernel_size: 1}
  - gap
  - flatten
loss: cross_entropy
optimizer: {sgd: {lr: 0.1}}
train: {batch_size: 8, epochs: 1}
END
    if ! "$NINC" -q -o "$work/kernels" "$work/small.yaml" >"$work/output" 2>&1; then
        fail "compile a small model" "$work/output"
        finish
        exit
    fi
    NINC_TRAINER=$work/kernels/trainer
fi
trainer=$(realpath "$NINC_TRAINER")

# ---- helpers ----

# bytes NUMBER...: these bytes.
bytes() {
    local b
    for b in "$@"; do
        # shellcheck disable=SC2059
        printf "\\x$(printf %x "$b")"
    done
}

# images COUNT, labels COUNT: IDX files on stdout, all zero.
images() {
    bytes 0 0 8 3 0 0 0 "$1" 0 0 0 28 0 0 0 28
    head -c $(($1 * 784)) /dev/zero
}

labels() {
    bytes 0 0 8 1 0 0 0 "$1"
    head -c "$1" /dev/zero
}

# A directory $data of 20 training and 10 test images.
fresh_data() {
    data=$work/data
    rm -rf "$data"
    mkdir "$data"
    images 20 >"$data/train-images-idx3-ubyte"
    labels 20 >"$data/train-labels-idx1-ubyte"
    images 10 >"$data/t10k-images-idx3-ubyte"
    labels 10 >"$data/t10k-labels-idx1-ubyte"
}

# expect NAME STATUS TEXT COMMAND...: the command's exit status, and TEXT among its messages.
expect() {
    local name=$1 wanted=$2 text=$3 status
    shift 3
    "$@" >"$work/output" 2>&1 </dev/null
    status=$?
    if [ $status -eq "$wanted" ] && grep -qF -- "$text" "$work/output"; then
        pass "$name"
    else
        echo "exit status $status, wanted $wanted with: $text" >>"$work/output"
        fail "$name" "$work/output"
    fi
}

train() {
    "$trainer" train --data "$data" --max-steps 2 --threads 1 "$@"
}

# nothing_left NAME DIRECTORY: no file that was written halfway.
nothing_left() {
    if [ -z "$(find "$2" -name '*partial*')" ]; then
        pass "$1"
    else
        find "$2" >"$work/output"
        fail "$1" "$work/output"
    fi
}

# ---- data ----

fresh_data
expect "good data trains" 0 "saved" train --save "$work/good.safetensors"

images=$data/train-images-idx3-ubyte
expect "no data set" 1 "is not a directory" "$trainer" train --data "$work/none"
expect "no data set, and how to get it" 1 "dataset-fashion-mnist" \
    "$trainer" train --data "$work/none"
rm "$images"
expect "missing file" 1 "$images.gz: No such file" train
images 20 | head -c 5000 >"$images"
expect "truncated images" 1 "$images is truncated" train
images 20 | head -c 7 >"$images"
expect "truncated header" 1 "$images is truncated" train
: >"$images"
expect "empty file" 1 "$images is truncated" train
(images 20 && echo) >"$images"
expect "trailing bytes" 1 "$images has bytes after" train
labels 20 >"$images"
expect "labels in the place of images" 1 "bad magic number" train
(bytes 0 0 8 3 255 255 255 255 0 0 0 28 0 0 0 28) >"$images"
expect "count past all bounds" 1 "$images: its header says" train
(bytes 0 0 8 3 127 255 255 255 0 0 0 28 0 0 0 28) >"$images"
expect "count past the file" 1 "$images is truncated" train
(bytes 0 0 8 3 0 0 0 1 0 0 0 16 0 0 0 16 && head -c 256 /dev/zero) >"$images"
expect "images of another size" 1 "16x16x1" train
fresh_data
images 20 | gzip >"$images.gz"
rm "$images"
expect "gzipped images" 0 "done" train
images 20 | gzip | head -c -12 >"$images.gz"
expect "truncated gzip" 1 "$images.gz is" train
images 20 | gzip >"$images.gz"
printf '\377\377' | dd of="$images.gz" bs=1 seek=30 conv=notrunc 2>/dev/null
expect "corrupt gzip" 1 "$images.gz is" train
fresh_data
(bytes 0 0 8 1 0 0 0 20 && head -c 19 /dev/zero && bytes 10) >"$data/train-labels-idx1-ubyte"
expect "label out of range" 1 "label 10 of item 19 is out of range" train
labels 19 >"$data/train-labels-idx1-ubyte"
expect "fewer labels than images" 1 "19 labels for 20 images" train
fresh_data
rm "$data/t10k-labels-idx1-ubyte"
expect "missing test labels" 1 "t10k-labels-idx1-ubyte" train
expect "test data not needed" 0 "done" train --no-eval

# ---- weights ----

fresh_data
good=$work/good.safetensors bad=$work/bad.safetensors
expect "read back" 0 "done" train --init "$good"
expect "eval" 0 "test accuracy" "$trainer" eval --weights "$good" --data "$data"
expect "no weights" 1 "No such file" train --init "$work/none.safetensors"
expect "weights are a directory" 1 "not a regular file" train --init "$work"
head -c 100 "$good" >"$bad"
expect "truncated weights" 1 "$bad" train --init "$bad"
head -c -4 "$good" >"$bad"
expect "weights short of one number" 1 "$bad" train --init "$bad"
(cat "$good" && echo) >"$bad"
expect "bytes after the weights" 1 "after its last tensor" train --init "$bad"
(bytes 255 255 255 255 255 255 255 255 && tail -c +9 "$good") >"$bad"
expect "lying header length" 1 "claims 18446744073709551615 bytes" train --init "$bad"
printf '\002\0\0\0\0\0\0\0{}' >"$bad"
expect "no tensors" 1 "is missing" train --init "$bad"
sed 's/\.weight/.veight/' "$good" >"$bad"
expect "a tensor of another name" 1 "is not in the model" train --init "$bad"
sed 's/"F32"/"I32"/' "$good" >"$bad"
expect "another dtype" 1 "dtype I32; F32, F64, F16 or BF16 is needed" train --init "$bad"
expect "eval with bad weights" 1 "$bad" "$trainer" eval --weights "$bad" --data "$data"

# ---- places that cannot be written ----

expect "save into nowhere" 1 "$work/none" train --save "$work/none/w.safetensors"
expect "save onto a directory" 1 "it is a directory" train --save "$work"
expect "checkpoints without a directory" 2 "--checkpoint-dir" train --checkpoint-every 5
expect "checkpoints into nowhere" 1 "$work/none/c" train --checkpoint-dir "$work/none/c"
expect "log into nowhere" 1 "$work/none/l" train --log "$work/none/l"
if [ -w /dev/full ]; then
    expect "log onto a full disk" 1 "No space left" train --log /dev/full --log-every 1
    expect "save onto a full device" 1 "No space left" train --save /dev/full
    expect "output onto a full device" 1 "No space left" \
        bash -c '"$1" train --data "$2" --max-steps 1 >/dev/full' - "$trainer" "$data"
else
    skip "full devices" "there is no /dev/full"
fi
small=$work/mount
mkdir "$small"
if mount -t tmpfs -o size=8k tmpfs "$small" 2>/dev/null; then
    head -c 8192 /dev/zero >"$small/filler" 2>/dev/null
    expect "save onto a full disk" 1 "No space left" train --save "$small/w.safetensors"
    nothing_left "nothing is left on the full disk" "$small"
    mount -o remount,ro "$small"
    expect "read-only disk" 1 "Read-only file system" train --save "$small/w.safetensors"
    umount "$small"
else
    skip "full and read-only disk" "mounting is not allowed here"
fi
cp "$good" "$bad"
(
    ulimit -f 1
    "$trainer" train --data "$data" --max-steps 1 --save "$bad" >/dev/null 2>"$work/output"
) || true
if [ "$(stat -c %s "$good")" -gt 1024 ]; then
    check "a failed save keeps the old file" cmp "$good" "$bad"
fi
nothing_left "a failed save leaves nothing" "$work"

# ---- memory, flags, signals ----

# Less and less address space, until the trainer must say so.
memory_refused() {
    local limit status
    for limit in 40000 30000 20000 16000 12000 10000 8000 6000; do
        (
            ulimit -v $limit
            train
        ) >"$work/output" 2>&1 </dev/null
        status=$?
        [ $status -eq 0 ] || break
    done
    echo "exit status $status at $limit KB" >>"$work/output"
    cat "$work/output"
    [ $status -eq 1 ] && grep -qi memory "$work/output"
}

if bash -c 'ulimit -v 4000000; "$1" train --help; exit $?' - "$trainer" >/dev/null 2>&1; then
    check "memory refused" memory_refused
else
    skip "memory refused" "the trainer is instrumented"
fi

expect "unknown flag" 2 "--bogus" train --bogus
expect "a flag of another command" 2 "does not belong" "$trainer" info --epochs 3
expect "an argument too many" 2 "takes no argument" train 3
expect "unknown device" 2 "auto, cpu, cuda, cuda:N or sim is needed" train --device cuda:x
expect "bad number" 2 "whole number" train --epochs three
expect "bad learning rate" 2 "at least 0" train --lr nan
expect "unknown command" 2 "no command" "$trainer" fly
expect "eval without weights" 2 "--weights" "$trainer" eval
expect "unknown instruction set" 1 "NINC_CPU_LEVEL" env NINC_CPU_LEVEL=avx9 "$trainer" train \
    --data "$data"

"$trainer" train --data "$data" --epochs 1000000 --no-eval --save "$work/stopped.safetensors" \
    >"$work/output" 2>&1 </dev/null &
child=$!
for _ in $(seq 100); do
    grep -q '^step' "$work/output" && break
    sleep 0.1
done
kill -TERM $child
wait $child
status=$?
if [ $status -eq 143 ] && grep -q 'stopped by SIGTERM' "$work/output"; then
    pass "SIGTERM finishes the step and says so"
else
    echo "exit status $status" >>"$work/output"
    fail "SIGTERM finishes the step and says so" "$work/output"
fi
check "SIGTERM saves" test -s "$work/stopped.safetensors"
finish
