#!/bin/bash
# Emitted code: it compiles without warnings, no model falls back to plain loops, names of layers
# cannot break it, and the same input gives the same trainer. IR text from a user that no program
# can be made of is a diagnostic.
. tests/lib.sh

# clean COMPILER MODEL LEVEL: MODEL.c and plan.c without a warning.
clean() {
    local kind
    for kind in c plan; do
        "$NINC" "-O$3" --emit=$kind "$2" >"$work/emitted.c" || return 1
        "$1" -std=gnu11 -Wall -Wextra -fsyntax-only "$work/emitted.c" 2>"$work/warnings" || return 1
        [ ! -s "$work/warnings" ] || { head -n 5 "$work/warnings"; return 1; }
    done
}

emitted=(models/nin.yaml models/nin_cifar10.yaml tests/pytorch/{strides,pools,flatten}_adam.yaml)
for compiler in gcc clang; do
    for model in "${emitted[@]}"; do
        for level in 0 2; do
            name="$compiler has no warning for ${model##*/} -O$level"
            if command -v $compiler >/dev/null; then
                check "$name" clean $compiler "$model" $level
            else
                skip "$name" "there is no $compiler"
            fi
        done
    done
done

# The convolutions that a step needs run in register tiles, not in plain loops.
fast() {
    "$NINC" --emit=ir "$1" >"$work/model.ir" &&
        grep -q ' mlpconv_forward chunk' "$work/model.ir" &&
        ! grep '^ *kernel [^ ]* generic' "$work/model.ir" &&
        ! awk '/^ *kernel / {rows = $3 ~ /^(rows|conv|mlpconv)/}
               / = conv2d/ && (!rows || !/ tile=/)' "$work/model.ir" | grep .
}

for model in models/*.yaml; do
    check "all kernels of ${model##*/} are fast" fast "$model"
done

# Names that become one identifier, that C or the kernel library has, or that start with a digit.
cat >"$work/names.yaml" <<'END'
model: int.main
input: {dataset: idx, classes: 10, data_shape: [1, 6, 6], shape: [1, 6, 6]}
layers:
  - conv2d: {name: a.b.c, out_channels: 3, kernel_size: 3, padding: 1}
  - conv2d: {name: a_b.c, out_channels: 3, kernel_size: 1}
  - conv2d: {name: a.b_c, out_channels: 3, kernel_size: 1}
  - conv2d: {name: "0", out_channels: 3, kernel_size: 1}
  - conv2d: {name: layer.0, out_channels: 3, kernel_size: 1}
  - conv2d: {name: eval_x, out_channels: 3, kernel_size: 3, padding: 1}
  - conv2d: {name: x, out_channels: 3, kernel_size: 3, padding: 1}
  - conv2d: {name: conv, out_channels: 3, kernel_size: 1}
  - conv2d: {name: load, out_channels: 3, kernel_size: 1}
  - conv2d: {name: "n", out_channels: 3, kernel_size: 1}
  - conv2d: {name: head, out_channels: 3, kernel_size: 1}
  - relu
  - conv2d: {name: update, out_channels: 3, kernel_size: 1}
  - conv2d: {name: image, out_channels: 3, kernel_size: 1}
  - conv2d: {name: relu, out_channels: 3, kernel_size: 1}
  - relu
  - conv2d: {name: main, out_channels: 3, kernel_size: 1}
  - conv2d: {name: int, out_channels: 3, kernel_size: 1}
  - maxpool: {kernel_size: 2}
  - conv2d: {name: maxpool_1, out_channels: 10, kernel_size: 1}
  - gap
  - flatten
loss: cross_entropy
optimizer: {adam: {lr: 0.001}}
train: {batch_size: 2, epochs: 1}
END

named() {
    rm -rf "$work/names"
    "$NINC" -q "-O$1" -o "$work/names" "$work/names.yaml" && "$work/names/trainer" verify
}
for level in 0 2; do
    check "names of layers -O$level" named $level
done

# The same sources and compiler make the same program.
same_trainer() {
    local name
    for name in one two; do
        "$NINC" -q -o "$work/$name" tests/pytorch/flatten_sgd.yaml || return 1
    done
    for name in "$work/one"/*; do
        cmp "$name" "$work/two/${name##*/}" || return 1
    done
}
check "the same input gives the same trainer" same_trainer

# ---- IR text that is no program ----

# no_program NAME DUMP TEXT SED...: the dump after that pass, edited, is rejected with TEXT, by any
# --emit, at a place in the file.
no_program() {
    local name=$1 dump=$2 text=$3 kind
    shift 3
    sed "$@" "$work/dumps/"*"-$dump.ir" >"$work/edited.ir"
    if cmp -s "$work/edited.ir" "$work/dumps/"*"-$dump.ir"; then
        echo "the edit changes nothing" >"$work/why"
        fail "$name" "$work/why"
        return
    fi
    for kind in summary c plan; do
        "$NINC" --color=never --emit=$kind "$work/edited.ir" >"$work/stdout" 2>"$work/why"
        local status=$?
        if [ $status -ne 1 ] || ! grep -q '^[^ ]*:[0-9]*:[0-9]*: error: .*'"$text" "$work/why"; then
            echo "exit status $status" >>"$work/why"
            fail "$name" "$work/why"
            return
        fi
    done
    pass "$name"
}

"$NINC" --emit=ir --dump=all --dump-dir="$work/dumps" tests/pytorch/pools_sgd.yaml >/dev/null
no_program "loss of another op" simplify 'loss must be mean_valid' \
    's/return loss=%[0-9]*/return loss=%0/'
no_program "no train graph" simplify 'train' 's/\.train batch/.other batch/'
no_program "a backward op before autodiff" simplify 'forward ops only' \
    's/= relu %\([0-9]*\) /= relu_grad %\1, %\1 /'
loss=$(sed -n 's/^ *\(%[0-9]*\) *: f32\[\] *= mean_valid.*/\1/p' "$work/dumps/"*-autodiff.ir |
    head -n 1)
no_program "a sum read too early" autodiff 'after all of them' \
    "s/= relu_grad %\([0-9]*\), %[0-9]*/= relu_grad %\1, $loss/"
no_program "another tile" schedule 'tile' '0,/tile=[0-9]*x[0-9]*/s//tile=0x0/'
no_program "a missing halo" layout 'halo' '0,/ halo=[0-9x]*/s///'
no_program "a moved place" memory 'aligned' '0,/at worker+[0-9]*/s//at worker+4/'
finish
