# A trainer of a small model for the tests, and what they do with it: sourced after tests/lib.sh.
# $NINC_TRAINER names a trainer of a model of 28x28 images in 10 classes; without it one is compiled.
# The working directory is then a new one, where training keeps what nobody names.
# shellcheck shell=bash disable=SC2119,SC2120
light_kernels

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
    if ! "$NINC" -q $one_level -o "$work/kernels" "$work/small.yaml" >"$work/output" 2>&1; then
        fail "compile a small model" "$work/output"
        finish
        exit
    fi
    NINC_TRAINER=$work/kernels/trainer
fi
trainer=$(realpath "$NINC_TRAINER")
ninc=$(realpath "$NINC")
repository=$PWD
mkdir "$work/here" && cd "$work/here" || exit # where training keeps what nobody names

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

# wait_for PATTERN FILE: until the file has it.
wait_for() {
    for _ in $(seq 200); do
        ! grep -qs -- "$1" "$2" || return 0
        sleep 0.05
    done
    return 1
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
