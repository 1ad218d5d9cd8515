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
mkdir -p "$work/run/step-00000001" && ln -sfn step-00000001 "$work/run/latest"
cp "$good" "$work/run/latest/model.safetensors"
expect "weights are a run's directory" 1 "give the file $work/run/latest/model.safetensors" \
    "$trainer" eval --weights "$work/run" --data "$data"
expect "weights are a checkpoint" 1 "give the file $work/run/latest/model.safetensors" \
    "$trainer" eval --weights "$work/run/latest" --data "$data"
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
(head -c -4 "$good" && bytes 0 0 192 127) >"$bad"
for command in "train --init $bad --data $data" "train --init-partial $bad --data $data" \
    "eval --weights $bad --data $data" "predict --weights $bad $work/image.pgm" \
    "export --weights $bad --onnx $work/bad.onnx"; do
    # shellcheck disable=SC2086
    expect "${command%% *} with a NaN in the weights" 1 \
        "of $bad has 1 value that is not finite" "$trainer" $command
done
check "nothing was exported" test ! -e "$work/bad.onnx"
head -c -4 "$good" >"$bad"
expect "eval with bad weights" 1 "$bad" "$trainer" eval --weights "$bad" --data "$data"

# ---- places that cannot be written ----

expect "save into nowhere" 1 "$work/none" train --save "$work/none/w.safetensors"
expect "save onto a directory" 1 "it is a directory" train --save "$work"
expect "checkpoints without a directory" 2 "--checkpoint-dir" train --checkpoint-every 5
expect "checkpoints into a new directory in a new one" 0 "done" train --checkpoint-dir "$work/n/c"
expect "TensorBoard into a new directory in a new one" 0 "done" train --tensorboard "$work/n/b/t"
expect "checkpoints into a file" 1 "cannot make the checkpoint directory $good/c: Not a directory" \
    train --checkpoint-dir "$good/c"
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

# ---- files beside their place ----

# One that is not ours, with our process id in its name.
same_process_id() {
    bash -c 'touch "$2.partial-$$"; exec "$1" train --data "$3" --max-steps 1 --save "$2"' - \
        "$trainer" "$work/pid.safetensors" "$data" && [ -s "$work/pid.safetensors" ] &&
        rm "$work"/pid.safetensors.partial-*
}
check "a file that is named after our process id" same_process_id

# What a killed writer left goes, what another one is writing or the user named so stays.
leftovers() {
    local dir=$work/leftovers
    rm -rf "$dir" && mkdir "$dir"
    touch "$dir/w.st.partial-ninc-0123abcd" "$dir/w.st.partial-ninc-89ab4567" \
        "$dir/w.st.partial-ninc-mine" "$dir/other.st.partial-ninc-0123abcd"
    flock "$dir/w.st.partial-ninc-89ab4567" \
        "$trainer" train --data "$data" --max-steps 1 --save "$dir/w.st" || return 1
    ls "$dir"
    [ "$(ls "$dir" | tr '\n' ' ')" = "other.st.partial-ninc-0123abcd w.st $(
    )w.st.partial-ninc-89ab4567 w.st.partial-ninc-mine " ]
}
check_with flock "leftovers of a killed writer go, others stay" leftovers

modes() {
    (umask 027 && train --save "$work/mode.st") && [ "$(stat -c %a "$work/mode.st")" = 640 ]
}
check "a saved file has the mode that umask leaves" modes

through_links() {
    rm -rf "$work/far" && mkdir "$work/far" && ln -sfn far/w.st "$work/link2" &&
        ln -sfn link2 "$work/link1" && train --save "$work/link1" &&
        [ -L "$work/link1" ] && [ -L "$work/link2" ] && [ -f "$work/far/w.st" ] &&
        rm "$work/far/w.st" && echo old >"$work/far/w.st" && train --save "$work/link1" &&
        [ -L "$work/link1" ] && [ -L "$work/link2" ] && cmp "$work/far/w.st" "$good"
}
check "through symbolic links, also to what is not there yet" through_links
ln -sfn none/w.st "$work/link1"
expect "a link into nowhere" 1 "directory $work/none: No such file" train --save "$work/link1"
ln -sfn circle "$work/circle"
expect "a link to itself" 1 "cannot write $work/circle: Too many levels" train --save "$work/circle"

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
expect "bad learning rate" 2 "1.2e-38 to 3.4e38" train --lr nan
for flag in --save --init --weights --data --checkpoint-dir --log --json; do
    command=train
    [[ "--weights --json" != *$flag* ]] || command="eval"
    expect "an empty value of $flag" 2 "$flag '': the value is empty" "$trainer" $command $flag ""
done
for flag in train:--save train:--log train:--csv export:--onnx predict:--heatmap profile:--json; do
    expect "$flag to standard output" 2 "write /dev/stdout for standard output" \
        "$trainer" "${flag%:*}" "${flag#*:}" -
done
expect "unknown command" 2 "no command" "$trainer" fly
expect "eval without weights" 2 "--weights" "$trainer" eval
expect "unknown instruction set" 1 "NINC_CPU_LEVEL" env NINC_CPU_LEVEL=avx9 "$trainer" train \
    --data "$data"

# stopped_by_sigterm NAME TEXT OPTIONS...: a run that is stopped says so, and TEXT.
stopped_by_sigterm() {
    local name=$1 text=$2 child status
    shift 2
    "$trainer" train --data "$data" --epochs 1000000 --no-eval "$@" >"$work/output" 2>&1 \
        </dev/null &
    child=$!
    for _ in $(seq 100); do
        grep -q '^step' "$work/output" && break
        sleep 0.1
    done
    kill -TERM $child
    wait $child
    status=$?
    if [ $status -eq 143 ] && grep 'stopped by SIGTERM' "$work/output" | grep -qF -- "$text"; then
        pass "$name"
    else
        echo "exit status $status" >>"$work/output"
        fail "$name" "$work/output"
    fi
}
stopped_by_sigterm "SIGTERM finishes the step and says so" "--checkpoint-dir DIR would have kept" \
    --save "$work/stopped.safetensors"
check "SIGTERM saves" test -s "$work/stopped.safetensors"
stopped_by_sigterm "SIGTERM without a place to save" \
    "nothing was saved; --checkpoint-dir DIR saves a run to go on with"
finish
