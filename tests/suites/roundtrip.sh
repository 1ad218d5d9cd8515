#!/bin/bash
# The IR text of every model after every pass reads back to equal text, and compiling on from any
# of them gives the same program. A model spelled out gives the same code as its shorthand.
. tests/lib.sh
. tests/models/draw.sh

dump() {
    mkdir -p "$2" &&
        "$NINC" "-O$3" "--precision=$4" --emit=ir --dump=all --dump-dir="$2" "$1" >"$2.final"
}

# Every dump in the directory, parsed and printed again.
reads_back() {
    local file count=0
    for file in "$1"/*; do
        "$BUILD/pass_tool" none <"$file" >"$work/again" && cmp "$file" "$work/again" || return 1
        count=$((count + 1))
    done
    echo "$count dumps"
    [ $count -ge 5 ]
}

carries_on() {
    local file
    for file in "$1"/*; do
        cp "$file" "$work/dump.ir"
        # The precision is in the text once its pass has run; no level counts behind layout.
        local options=("-O$2")
        grep -q 'stage=\(laid_out\|planned\)' "$file" && options=()
        "$NINC" "${options[@]}" "--precision=$3" --emit=ir "$work/dump.ir" >"$work/final" ||
            return 1
        diff "$1.final" "$work/final" | head -n 5
        cmp "$1.final" "$work/final" || { echo "from $file"; return 1; }
    done
}

for model in models/*.yaml tests/models/pytorch/*_sgd.yaml tests/models/chains/augment.yaml \
    tests/models/normalize/all.yaml; do
    name=${model##*/}
    kind=check
    case $name in
    vgg* | resnet18.* | alexnet* | nin_cifar100.* | nin_d2l.* | nin_imagenet.* | nin_mnist.* | \
        nin_svhn.*) kind=long_check ;; # much like others
    esac
    for level in 0 2; do
        at=$work/${name%.yaml}-O$level
        precision=fp32
        [ $level = 0 ] || precision=bf16
        $kind "dump $name -O$level $precision" dump "$model" "$at" $level $precision
        $kind "round trip $name -O$level" reads_back "$at"
        $kind "carry on $name -O$level" carries_on "$at" $level $precision
    done
done

# A value that a pass leaves alone has its name in all dumps behind it; see --dump's help.
# kept_names DIRECTORY FROM TO: of the values of some ops after pass TO, those that have another
# name after FROM.
kept_names() {
    local pass ops='maxpool|maxpool_code|gap|flatten|cross_entropy|bias_grad|gap_grad'
    for pass in "$2" "$3"; do
        sed -nE "s/^ *(%[0-9]+) *: [^=]*= ($ops) .*/\1 \2/p" "$1"/*-"$pass.ir" | sort -u \
            >"$work/names-$pass"
    done
    comm -13 "$work/names-$2" "$work/names-$3" >"$work/other-names"
    cat "$work/other-names"
    [ "$(wc -l <"$work/names-$3")" -ge 10 ] && [ ! -s "$work/other-names" ]
}
check "values keep their names" kept_names "$work/nin_fashion-O2" autodiff memory
idle_passes() {
    "$NINC" --target=cpu --dump=simplify,precision,fixed --emit=ir models/nin_fashion.yaml |
        grep '^# after' >"$work/idle"
    diff - "$work/idle" <<'END'
# after simplify: nothing changed
# after precision: nothing changed
# after fixed: nothing changed
END
}
check "a pass that changed nothing says so" idle_passes

# In fp32 the CPU folds the resize of the image.
folded_network >"$work/folded.yaml"
check "dump a folded network" dump "$work/folded.yaml" "$work/folded" 2 fp32
check "round trip a folded network" reads_back "$work/folded"
check "carry on a folded network" carries_on "$work/folded" 2 fp32
check "a folded network has folded filters" grep -q '= fold_filter ' "$work/folded.final"

code() {
    "$NINC" --emit=c "$1" | sed 's/ *loc [^ ]*:[0-9]*:[0-9]*//'
}

spelled() {
    code models/nin.yaml >"$work/nin.c" && code models/nin_spelled.yaml >"$work/spelled.c" &&
        [ -s "$work/nin.c" ] && diff "$work/nin.c" "$work/spelled.c"
}
check "a model spelled out gives the same code" spelled

deterministic() {
    local kind
    for kind in ir c plan dot summary; do
        "$NINC" --emit=$kind models/nin.yaml >"$work/one" &&
            "$NINC" --emit=$kind models/nin.yaml >"$work/two" && [ -s "$work/one" ] &&
            cmp "$work/one" "$work/two" || return 1
    done
}
check "the same input gives the same text" deterministic
finish
