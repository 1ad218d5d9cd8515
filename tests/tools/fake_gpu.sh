# A GPU that only writes down what is asked of it, and a small network for it: sourced.
# shellcheck shell=bash

# build_fake OUT SOURCE [FLAG...]: a library of tests/tools/.
build_fake() {
    ${CC:-gcc} -std=c11 -D_GNU_SOURCE -shared -fPIC "${@:3}" -o "$1" "tests/tools/$2" ||
        { fail "build $2"; finish; exit; }
}

# tiny_network CLASS: a block, and a layer of that class.
tiny_network() {
    cat <<END
model: tiny
input: {dataset: fashion-mnist, shape: [1, 28, 28]}
layers:
  - mlpconv: {name: conv.0, out_channels: 16, kernel_size: 5, stride: 4}
  - maxpool: {kernel_size: 2}
  - $1: {name: conv.2, out_channels: 10, kernel_size: 3, padding: 1}
  - gap
  - flatten
loss: cross_entropy
optimizer: {sgd: {lr: 0.01}}
train: {batch_size: 4, epochs: 1}
END
}
