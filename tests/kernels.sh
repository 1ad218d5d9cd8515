#!/bin/bash
# Every kernel of the emitted code against the naive evaluator, on fresh random data: the models,
# and networks of layer shapes drawn from fixed seeds. $QUICK leaves out the large models.
. tests/lib.sh

# verified MODEL LEVEL [ARGUMENT...]
verified() {
    local model=$1 level=$2
    shift 2
    rm -rf "$work/kernels"
    "$NINC" -q "-O$level" -o "$work/kernels" "$model" && "$work/kernels/trainer" verify "$@"
}

# The same, for each instruction set that this machine and build have.
verified_everywhere() {
    local set
    verified "$@" || return 1
    for set in avx2 baseline; do
        if NINC_CPU_LEVEL=$set "$work/kernels/trainer" info >/dev/null 2>&1; then
            NINC_CPU_LEVEL=$set "$work/kernels/trainer" verify || return 1
        fi
    done
}

# pick A B C ...: one of them, by the next number of the sequence that $state holds.
pick() {
    state=$(((state * 1103515245 + 12345) & 0x7fffffff))
    shift $(((state >> 16) % $#))
    picked=$1
}

# window KERNELS...: a kernel, stride and padding with padding <= kernel / 2.
window() {
    pick "$@"
    local kernel=$picked stride padding
    pick 1 1 2 3
    stride=$picked
    pick 0 $((kernel / 2))
    padding=$picked
    keys="kernel_size: $kernel, stride: $stride, padding: $padding"
}

# A network of two to four drawn layers, on 1 or 3 channels.
draw() {
    state=$((($1 * 2654435761) & 0x7fffffff))
    local i layers size channels
    pick 1 3
    channels=$picked
    pick 17 20 23 28
    size=$picked
    echo "model: drawn_$1"
    echo "input: {dataset: idx, classes: 10, data_shape: [$channels, $size, $size]," \
        "shape: [$channels, $size, $size], mean: 0.5, std: 0.5}"
    echo "layers:"
    pick 1 2 2
    layers=$picked
    for ((i = 0; i < layers; i++)); do
        local outputs=()
        for _ in 1 2 3; do
            pick 3 8 16 17 24 33 48
            outputs+=("$picked")
        done
        window 1 2 3 5
        pick mlpconv conv2d
        if [ "$picked" = mlpconv ]; then
            echo "  - mlpconv: {name: layer.$i, out_channels: [${outputs[0]}, ${outputs[1]}," \
                "${outputs[2]}], $keys}"
        else
            echo "  - conv2d: {name: layer.$i, out_channels: ${outputs[0]}, $keys}"
            echo "  - relu"
        fi
        if [ $i -eq 0 ]; then
            window 2 3
            pick maxpool avgpool
            local pool=$picked
            pick true false
            echo "  - $pool: {$keys, ceil_mode: $picked}"
        fi
    done
    echo "  - conv2d: {name: last, out_channels: 10, kernel_size: 1}"
    echo "  - gap"
    echo "  - flatten"
    echo "loss: cross_entropy"
    pick "sgd: {lr: 0.1, momentum: 0.9}" "adam: {lr: 0.001, weight_decay: 0.01}" "sgd: {lr: 0.1}"
    echo "optimizer: {$picked}"
    pick 1 3 8 13
    echo "train: {batch_size: $picked, epochs: 1}"
}

wanted=8
[ -z "${QUICK:-}" ] || wanted=2
drawn=0
for ((seed = 1; seed <= 3 * wanted && drawn < wanted; seed++)); do
    draw $seed >"$work/drawn.yaml"
    # A window may be too large for what the layers before it left.
    grep -q 'does not fit' <("$NINC" --check "$work/drawn.yaml" 2>&1) && continue
    drawn=$((drawn + 1))
    for level in 0 2; do
        check "kernels of drawn network $seed -O$level" \
            verified_everywhere "$work/drawn.yaml" $level
    done
done
check "$wanted networks drawn" [ $drawn -eq $wanted ]

check "kernels of nin_fashion -O2" verified_everywhere models/nin_fashion.yaml 2
check "kernels of nin_fashion -O0" verified_everywhere models/nin_fashion.yaml 0
if [ -z "${QUICK:-}" ]; then
    check "kernels of nin_cifar10 -O2" verified models/nin_cifar10.yaml 2
    check "kernels of nin -O2" verified models/nin.yaml 2
fi
finish
