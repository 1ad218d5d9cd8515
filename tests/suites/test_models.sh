#!/bin/bash
# The models that come with ninc: as many parameters as are published, and every kernel right, at a
# reduced size where a model is large.
# shellcheck source=tests/lib.sh
. tests/lib.sh
light_kernels

check "all models are right" "$NINC" --check models/*.yaml
# Each of several files is checked, whatever the others are.
finds_the_wrong_ones() {
    sed 's/kernel_size: 7/kernel_size: 0/' models/resnet18.yaml >"$work/wrong.yaml"
    sed 's/lr: 0.1/lr: -1/' models/resnet20.yaml >"$work/worse.yaml"
    "$NINC" --check "$work/wrong.yaml" models/nin.yaml "$work/worse.yaml" 2>"$work/errors"
    [ $? -eq 1 ] && grep -q '/wrong.yaml:[0-9:]* error: ' "$work/errors" &&
        grep -q '/worse.yaml:[0-9:]* error: ' "$work/errors"
}
check "models that are not, among others" finds_the_wrong_ones

# has_parameters MODEL COUNT
has_parameters() {
    "$NINC" --emit=summary --target=cpu "models/$1.yaml" | grep -E "^total +$2 "
}

# reduced MODEL SHAPE: images of the shape in place of the model's.
reduced() {
    sed -E "s/shape: \[[0-9, ]*\]/shape: $2/g" "models/$1.yaml"
}

# right PRECISION TARGET MODEL SHAPE
right() {
    reduced "$3" "$4" >"$work/$3.yaml" && rm -rf "$work/kernels" || return 1
    local levels=()
    [ "$2" = cuda ] || levels=("$one_level")
    "$NINC" -q --target="$2" "${levels[@]}" --precision="$1" --batch=3 -o "$work/kernels" \
        "$work/$3.yaml" || return 1
    local device=$2
    [ "$2" = cpu ] || device=sim
    "$work/kernels/trainer" verify --device $device
}

# model NAME PARAMETERS SHAPE KIND...: the kernels of a kind: fp32 and bf16 on the CPU, sim of bf16.
model() {
    local kind
    check "$1 has $2 parameters" has_parameters "$1" "$2"
    for kind in "${@:4}"; do
        case $kind in
        sim) long_check "simulated kernels of $1, bf16" right bf16 cuda "$1" "$3" ;;
        *) long_check "kernels of $1, $kind" right "$kind" cpu "$1" "$3" ;;
        esac
    done
}

model alexnet 60,965,224 '[3, 67, 67]' fp32
model alexnet_torchvision 61,100,840 '[3, 64, 64]' fp32
# Table 1 of the paper, with 10 classes in place of 1000: 3 x 32 x 9 weights of the first convolution,
# for each depthwise one of C channels 9 C, for each 1x1 one C x O, all with batch norm.
mobilenet_has() {
    local channels=32 outputs count=$((3 * 32 * 9 + 2 * 32))
    for outputs in 64 128 128 256 256 512 512 512 512 512 512 1024 1024; do
        count=$((count + 9 * channels + 2 * channels + channels * outputs + 2 * outputs))
        channels=$outputs
    done
    echo $((count + channels * 10 + 10)) | sed -E 's/([0-9]+)([0-9]{3})([0-9]{3})$/\1,\2,\3/'
}
model mobilenet "$(mobilenet_has)" '[3, 16, 16]' fp32 bf16 sim
model nin_cifar10 966,986 '[3, 32, 32]' bf16
model nin_cifar100 984,356 '[3, 32, 32]'
model nin_d2l 1,992,166 '[1, 96, 96]' fp32
model nin_fashion_best 695,578 '[1, 28, 28]' fp32 sim
model nin_imagenet 7,595,176 '[3, 96, 96]' bf16
model nin_mnist 349,674 '[1, 28, 28]' fp32 sim
model nin_svhn 1,986,026 '[3, 32, 32]' bf16
model resnet18 11,689,512 '[3, 64, 64]' bf16
model resnet20 272,474 '[3, 32, 32]' fp32 bf16 sim
model vgg11 132,863,336 '[3, 32, 32]'
model vgg11_bn 132,868,840 '[3, 32, 32]' fp32
model vgg16 138,357,544 '[3, 32, 32]' bf16
model vgg_cifar10 9,231,114 '[3, 32, 32]' sim
finish
