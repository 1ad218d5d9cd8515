#!/bin/bash
# Parameters go from ninc to PyTorch and back under their names: the same logits within 1e-5, the
# same losses of the next steps. The seed network is a module as PyTorch's users write it.
. tests/lib.sh
. tests/tools/logits.sh
. tests/tools/python_server.sh
light_kernels

tool=$BUILD/parity_tool
cases=tests/models/pytorch

python=$(python_with torch safetensors numpy)
if [ -z "$python" ]; then
    skip "parameters to PyTorch and back" "no Python with torch and safetensors; make python"
    finish
    exit
fi
python_server "$python" torch safetensors.torch

# make NAME CASE: trainer and logits program of the case, and its images.
make() {
    local model=$cases/$2.yaml
    mkdir "$work/$1" && "$tool" data "$cases/$2.json" "$work/$1" &&
        "$NINC" -q --target=cpu "$one_level" --set=train.init=kaiming_normal -o "$work/$1-trainer" "$model" &&
        build_logits "$model" "$work/$1-logits"
}

# train NAME STEPS OPTION...: on the case's images in their order.
train() {
    "$work/$1-trainer/trainer" train --data "$work/$1" --no-shuffle --no-eval --no-progress \
        --max-steps "$2" "${@:3}" >/dev/null
}

# same_logits NAME: PyTorch's with the parameters in NAME.safetensors, and the program's.
same_logits() {
    "$work/$1-logits" "$work/$1.safetensors" "$work/$1" "$work/$1.logits" &&
        served $cases/roundtrip.py load "$1" "$work/$1.safetensors" "$work/$1.logits"
}

to_pytorch() {
    train "$1" 3 --lr 0.0005 --save "$work/$1.safetensors" && same_logits "$1"
}

from_pytorch() {
    served $cases/roundtrip.py save "$1" "$work/$1.safetensors" "$work/$1.json" || return 1
    rm -f "$work/log.jsonl"
    train "$1" 3 --init "$work/$1.safetensors" --no-save --log-every 1 --log "$work/log.jsonl" &&
        "$tool" losses "$work/$1.json" "$work/log.jsonl" 1e-5 && same_logits "$1"
}

# round_trip CHECK NAME CASE
round_trip() {
    $1 "compile $2" make "$2" "$3"
    $1 "$2: from ninc to PyTorch" to_pytorch "$2"
    $1 "$2: from PyTorch to ninc" from_pytorch "$2"
}
round_trip check blocks_sgd blocks_sgd
round_trip check norms_sgd norms_sgd
round_trip long_check pools_adam pools_adam
round_trip long_check flatten_sgd flatten_sgd
[ -n "${QUICK:-}" ] || round_trip long_check nin nin_sgd
finish
