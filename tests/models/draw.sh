# Networks for the kernel tests: sourced. Drawn layer shapes come from a sequence of numbers that
# starts from a seed in $state, so that a seed always draws the same network.
# shellcheck shell=bash

# seed N: starts the sequence; the first numbers of near seeds are alike and thrown away.
seed() {
    state=$((($1 * 2654435761 + 12345) & 0x7fffffff))
    local i
    for i in 1 2 3 4 5 6 7 8; do
        number 0 1
    done
}

# number LOW HIGH -> $picked
number() {
    state=$(((state * 1103515245 + 12345) & 0x7fffffff))
    picked=$(($1 + (state >> 13) % ($2 - $1 + 1)))
}

# pick A B C ...: one of them, in $picked.
pick() {
    number 1 $#
    shift $((picked - 1))
    picked=$1
}

# channels HIGH: 1 to HIGH; every other one beside a multiple of a vector or a tile.
channels() {
    local high=$1 whole
    pick 0 1
    if [ "$picked" = 0 ]; then
        number 1 "$high"
        return
    fi
    pick 8 16 32 64 96 128 192
    whole=$picked
    [ "$whole" -le "$high" ] || whole=$high
    pick -1 0 1
    picked=$((whole + picked))
    [ $picked -ge 1 ] && [ $picked -le "$high" ] || picked=$high
}

# drawn_network N [PRECISION]: a network of four to six convolutions on a small ragged map. A
# convolution has 1 to 200 channels, a kernel of 1 to 11, stride 1 to 4; wide kernels have few
# channels, so that a simulated step takes seconds. bf16, tf32: those within a block have 8 at
# least. What lies between two of them is rounded to 8 or 11 bits; where it is a sum or a product of
# a few values that cancel, that alone moves the result by more than the bound for kernels, which is
# right for averages over many.
drawn_network() {
    seed "$1"
    local least=1
    case ${2:-} in bf16 | tf32) least=8 ;; esac
    local i h w c kernel_h kernel_w most stride padding layers
    pick 1 1 3 4
    c=$picked
    number 13 24
    h=$picked
    number 13 24
    w=$picked
    echo "model: drawn_$1"
    echo "input: {dataset: idx, classes: 10, data_shape: [$c, $h, $w], shape: [$c, $h, $w]," \
        "mean: 0.5, std: 0.5}"
    echo "layers:"
    number 2 3
    layers=$picked
    for ((i = 0; i < layers; i++)); do
        number 1 11
        kernel_h=$picked
        pick "$kernel_h" 1 3 5
        kernel_w=$picked
        most=$((2400 / (kernel_h * kernel_w)))
        [ $most -le 200 ] || most=200
        [ $most -ge 20 ] || most=20
        pick 1 1 1 2 3 4
        stride=$picked
        [ $i -eq 0 ] || stride=$(((stride + 1) / 2))
        number $((kernel_h / 4)) $((kernel_h / 2))
        padding=$picked
        number $((kernel_w / 4)) $((kernel_w / 2))
        padding="[$padding, $picked]"
        local keys="kernel_size: [$kernel_h, $kernel_w], stride: $stride, padding: $padding"
        pick mlpconv mlpconv conv2d
        if [ "$picked" = mlpconv ]; then
            local list="" j
            for j in 1 2 3; do
                channels $most
                [ $picked -ge $least ] || picked=$least
                list="$list${list:+, }$picked"
            done
            echo "  - mlpconv: {name: layer.$i, out_channels: [$list], $keys}"
        else
            channels $most
            echo "  - conv2d: {name: layer.$i, out_channels: $picked, $keys}"
            pick relu none
            [ "$picked" = none ] || echo "  - relu"
        fi
        if [ $i -eq 0 ]; then
            pick 2 3
            local kernel=$picked
            pick maxpool maxpool avgpool
            local pool=$picked
            pick true false
            echo "  - $pool: {kernel_size: $kernel, stride: 2, padding: $((kernel / 2))," \
                "ceil_mode: $picked}"
        fi
    done
    echo "  - conv2d: {name: last, out_channels: 10, kernel_size: 1}"
    pick relu none
    [ "$picked" = none ] || echo "  - relu"
    echo "  - gap"
    echo "  - flatten"
    echo "loss: cross_entropy"
    pick "sgd: {lr: 0.1, momentum: 0.9}" "adam: {lr: 0.001, weight_decay: 0.01}" "sgd: {lr: 0.1}"
    echo "optimizer: {$picked}"
    pick 1 2 3 5
    echo "train: {batch_size: $picked, epochs: 1}"
}

# Wide enough for Winograd convolution, forward, dgrad and wgrad, of both kernel sizes. Channels are
# no multiples of a vector, maps none of a tile; a block's sums are in parts, its pool has a mask.
# wide_network [SIZE BATCH]: of images of so many rows and columns. Of 26 and 8 it still has all that,
# of 18 and 6 all but the 3x3 kernels; in bf16 of 18 and 16 all.
wide_network() {
    local size=${1:-28}
    cat <<END
model: wide
input: {dataset: idx, classes: 10, data_shape: [1, $size, $size], shape: [1, $size, $size]}
layers:
  - conv2d: {name: a, out_channels: 33, kernel_size: 2}
  - relu
  - mlpconv: {name: b, out_channels: [70, 40, 97], kernel_size: 5, padding: [2, 1]}
  - maxpool: {kernel_size: 3, stride: 2}
  - conv2d: {name: c, out_channels: 130, kernel_size: 3, padding: 1, bias: false}
  - relu
  - conv2d: {name: d, out_channels: 10, kernel_size: 3}
  - gap
loss: cross_entropy
optimizer: {sgd: {lr: 0.1}}
train: {batch_size: ${2:-16}, epochs: 1}
END
}

# Linear layers: on a map whose gradient has a halo and lanes past its channels, behind one another,
# of outputs that no vector divides, one with an epilogue that is not zero at zero.
dense_network() {
    cat <<'END'
model: dense
input: {dataset: idx, classes: 10, data_shape: [3, 7, 6], shape: [3, 7, 6]}
layers:
  - conv2d: {name: a, out_channels: 20, kernel_size: 3, padding: 1}
  - relu
  - conv2d: {name: b, out_channels: 24, kernel_size: 3, padding: 1}
  - sigmoid
  - flatten
  - linear: {name: c, out_features: 70}
  - sigmoid
  - linear: {name: d, out_features: 40, bias: false}
  - relu
  - linear: {name: e, out_features: 10}
loss: cross_entropy
optimizer: {sgd: {lr: 0.1}}
train: {batch_size: 37, epochs: 1}
END
}

# A resized image that is folded into the first convolution: not square, of three channels, four
# times as many rows, three times as many columns, outputs that no tile divides.
folded_network() {
    cat <<'END'
model: folded
input: {dataset: idx, classes: 10, data_shape: [3, 10, 13], shape: [3, 40, 39], resize: bilinear,
        mean: [0.1, 0.2, 0.3], std: [0.5, 1.0, 2.0]}
layers:
  - mlpconv: {name: a, out_channels: [70, 40, 20], kernel_size: [9, 5], stride: [2, 1],
      padding: [1, 0]}
  - maxpool: {kernel_size: 3, stride: 2}
  - conv2d: {name: b, out_channels: 10, kernel_size: 3}
  - gap
loss: cross_entropy
optimizer: {adam: {lr: 0.01}}
train: {batch_size: 5, epochs: 1}
END
}

# 1x1 convolutions behind ReLU and before a max pool, whose zeros are left out: rows longer than
# what has lists at one time, halos beside them, channels that are no multiples of a vector.
sparse_network() {
    cat <<'END'
model: sparse
input: {dataset: idx, classes: 10, data_shape: [2, 9, 301], shape: [2, 9, 301]}
layers:
  - mlpconv: {name: a, out_channels: [70, 161, 97], kernel_size: 3, padding: 1}
  - maxpool: {kernel_size: 3, stride: 2}
  - conv2d: {name: b, out_channels: 65, kernel_size: [3, 2], padding: 1}
  - relu
  - conv2d: {name: c, out_channels: 200, kernel_size: 1, bias: false}
  - relu
  - conv2d: {name: d, out_channels: 64, kernel_size: 1}
  - avgpool: {kernel_size: 2, stride: 2}
  - conv2d: {name: e, out_channels: 10, kernel_size: 1}
  - gap
loss: cross_entropy
optimizer: {sgd: {lr: 0.1}}
train: {batch_size: 3, epochs: 1}
END
}

# classes_network N: one pixel that is one of N classes.
classes_network() {
    cat <<END
model: classes
input: {dataset: idx, classes: $1, data_shape: [1, 1, 1], shape: [1, 1, 1]}
layers:
  - conv2d: {name: a, out_channels: $1, kernel_size: 1}
  - gap
  - flatten
loss: cross_entropy
optimizer: {sgd: {lr: 0.1}}
train: {batch_size: 1, epochs: 1}
END
}

# What the tiles of bf16 meet: rows shorter and longer than a tile of AMX and than what a weight
# gradient packs at once, strides, three channels, odd and wide filters, strips of one row.
tiles_network() {
    cat <<'END'
model: tiles
input: {dataset: idx, classes: 10, data_shape: [3, 20, 391], shape: [3, 20, 391]}
layers:
  - conv2d: {name: a, out_channels: 40, kernel_size: [3, 11], padding: [1, 5]}
  - relu
  - conv2d: {name: b, out_channels: 70, kernel_size: 3, stride: 2, padding: 1}
  - relu
  - maxpool: {kernel_size: 3, stride: 2}
  - conv2d: {name: c, out_channels: 33, kernel_size: [2, 4], padding: [1, 2]}
  - relu
  - conv2d: {name: d, out_channels: 96, kernel_size: 1}
  - relu
  - avgpool: {kernel_size: 2}
  - conv2d: {name: e, out_channels: 10, kernel_size: 1}
  - gap
loss: cross_entropy
optimizer: {sgd: {lr: 0.1}}
train: {batch_size: 3, epochs: 1}
END
}

# Convolutions in groups and with dilation: of a map's single channels with strides 1 and 2, two
# outputs for each, groups of whole vectors and of a part of one, the image's own channels, 1x1,
# taps further apart than the map's edge is wide.
grouped_network() {
    cat <<'END'
model: grouped
input: {dataset: idx, classes: 10, data_shape: [3, 19, 21], shape: [3, 19, 21]}
layers:
  - conv2d: {name: a, out_channels: 36, kernel_size: [3, 5], padding: [1, 2], groups: 3}
  - relu
  - conv2d: {name: b, out_channels: 36, kernel_size: 3, padding: 1, groups: 36, bias: false}
  - relu
  - conv2d: {name: c, out_channels: 64, kernel_size: 3, padding: [2, 3], dilation: [2, 3]}
  - relu
  - conv2d: {name: d, out_channels: 64, kernel_size: 3, stride: 2, padding: 1, groups: 64}
  - conv2d: {name: e, out_channels: 96, kernel_size: 3, padding: 1, groups: 2}
  - relu
  - conv2d: {name: f, out_channels: 40, kernel_size: 1, groups: 4}
  - relu
  - conv2d: {name: g, out_channels: 80, kernel_size: [5, 3], stride: [1, 2], padding: [4, 1],
             dilation: [2, 1], groups: 40}
  - conv2d: {name: h, out_channels: 33, kernel_size: 2, stride: 2, padding: 2, dilation: 4}
  - relu
  - conv2d: {name: i, out_channels: 10, kernel_size: 1}
  - gap
loss: cross_entropy
optimizer: {sgd: {lr: 0.1}}
train: {batch_size: 3, epochs: 1}
END
}
