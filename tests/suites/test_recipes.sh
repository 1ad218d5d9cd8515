#!/bin/bash
# The recipe for a layer in CONTRIBUTING.md, followed in a copy of the tree: what its blocks say is
# put where they say; the tree builds without a warning, the layer's kernels agree with the
# evaluator, on the CPU and in the simulator, and a network with it trains.
. tests/lib.sh

copy=$work/tree
mkdir -p "$copy"

# follow FILE: the blocks `<!-- add to FILE behind TEXT -->` and `<!-- add to FILE at the end -->`.
follow() {
    awk -v root="$copy/" '
        function put() {
            file = root at
            while ((getline line < file) > 0) {
                text = text line "\n"
                if (behind != "" && !found && index(line, behind) && (found = 1)) text = text block
            }
            close(file)
            if (behind == "") { text = text "\n" block; found = 1 }
            if (!found) { print "nothing like: " behind " in " at; failed = 1 }
            printf "%s", text > file
            close(file)
            text = ""; blocks++
        }
        /^<!-- add to / {
            at = $4; block = ""; found = 0; inside = 1
            behind = $5 == "behind" ? substr($0, index($0, " behind ") + 8) : ""
            sub(/ -->$/, "", behind)
            next
        }
        /^<!-- end -->/ { if (inside) put(); inside = 0; next }
        inside { sub(behind == "" ? "^    " : "^$", ""); block = block $0 "\n" }
        END { print blocks " blocks"; exit failed || blocks < 3 }' "$1"
}

copy_tree() {
    git ls-files -z | xargs -0 cp -P --parents -t "$copy"
}

builds() {
    make -C "$copy" -s -j2 ninc BUILD="$work/build" >"$work/make" 2>&1 && [ -x "$copy/ninc" ] &&
        ! grep -i warning "$work/make" || { cat "$work/make"; return 1; }
}

model() {
    cat <<'END'
model: squares
input: {dataset: fashion-mnist, shape: [1, 28, 28]}
layers:
  - conv2d: {name: a, out_channels: 6, kernel_size: 5, stride: 3}
  - square
  - maxpool: {kernel_size: 2}
  - square: {name: again}
  - conv2d: {name: b, out_channels: 10, kernel_size: 3}
  - gap
loss: cross_entropy
optimizer: {sgd: {lr: 0.01}}
train: {batch_size: 2, epochs: 1}
END
}

# verified LEVEL TARGET
verified() {
    local levels=(--cpu-levels=baseline)
    [ "$2" = cpu ] && [ "$(uname -m)" = x86_64 ] || levels=()
    "$copy/ninc" -q "-O$1" --target="$2" "${levels[@]}" -o "$work/squares" \
        "$work/squares.yaml" && grep -q square_grad "$work/squares/squares.ir" &&
        "$work/squares/trainer" verify --device "${2/cuda/sim}"
}

model >"$work/squares.yaml"
copy_tree
follow CONTRIBUTING.md >"$work/followed"
followed=$?
followed() {
    cat "$work/followed"
    return $followed
}
check "the places of the recipe for a layer are there" followed
long_check "the tree builds without a warning" builds
long_check "the layer's kernels on a CPU, -O0" verified 0 cpu
long_check "the layer's kernels on a CPU, -O2" verified 2 cpu
long_check "a network with the layer trains" "$work/squares/trainer" train --data random \
    --max-steps 3 --no-save
long_check_with "${CXX:-c++}" "the layer's kernels of a GPU, in the simulator" verified 2 cuda
finish
