#!/bin/bash
# What decides a step beside the network: optimizers, against the evaluator on the CPU and in the
# simulator.
# shellcheck source=tests/lib.sh
. tests/lib.sh
light_kernels

# model OPTIMIZER [TRAIN...] -> $work/NAME.yaml
model() {
    cat <<END
model: small
input: {dataset: idx, classes: 5, data_shape: [1, 12, 12], shape: [1, 12, 12]}
layers:
  - conv2d: {name: first, out_channels: 12, kernel_size: 3, stride: 2}
  - relu
  - conv2d: {name: last, out_channels: 5, kernel_size: 1}
  - gap
  - flatten
loss: cross_entropy
optimizer: {$1}
train: {batch_size: 6, epochs: 3, log_every: 1${2:+, $2}}
END
}

# compile NAME [OPTION...]: the model on stdin, for all targets.
compile() {
    local name=$1
    shift
    cat >"$work/$name.yaml"
    "$NINC" -q "$one_level" "$@" -o "$work/$name" "$work/$name.yaml"
}

# verified NAME DEVICE
verified() {
    "$work/$1/trainer" verify --device "$2" --threads 1 >"$work/verify" 2>&1 && return
    grep -v '^ok ' "$work/verify"
    return 1
}

# ---- optimizers ----

sim=sim
"${CXX:-c++}" --version >/dev/null 2>&1 || sim=

# step_of NAME LEVEL OPTIMIZER [TRAIN]: a compiled step against the evaluator.
step_of() {
    local device
    model "$3" "${4:-}" | compile "$1" "-O$2" || return 1
    for device in cpu $sim; do
        verified "$1" $device || return 1
    done
}

nesterov="sgd: {lr: 0.1, momentum: 0.9, weight_decay: 0.001, nesterov: true}"
adamw="adamw: {lr: 0.01, weight_decay: 0.1}"
rmsprop="rmsprop: {lr: 0.01, momentum: 0.9, weight_decay: 0.001}"
check "a step of nesterov -O2" step_of nesterov 2 "$nesterov"
check "a step of adamw -O2" step_of adamw 2 "$adamw"
check "a step of rmsprop -O2" step_of rmsprop 2 "$rmsprop"
long_check "a step of nesterov -O0" step_of nesterov0 0 "$nesterov"
long_check "a step of adamw -O0" step_of adamw0 0 "$adamw"
long_check "a step of rmsprop -O0" step_of rmsprop0 0 "$rmsprop"

finish
