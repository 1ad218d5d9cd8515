#!/bin/bash
# Chains of pointwise ops behind convolutions, pools and their gradients, with other maps and scalars
# beside them: that they are done where the map is made, and right, for each instruction set and in
# the simulator; and that what a map has no channels for stays zero.
. tests/lib.sh

levels=$(machine_levels)

# verified MODEL LEVEL PRECISION: on each instruction set that this machine and build have.
verified() {
    local set ran=0
    rm -rf "$work/chains"
    "$NINC" -q "-O$2" --target=cpu --cpu-levels="$levels" --precision="$3" -o "$work/chains" "$1" ||
        return 1
    for set in ${levels//,/ }; do
        NINC_CPU_LEVEL=$set "$work/chains/trainer" info >/dev/null 2>&1 || continue
        ran=$((ran + 1))
        NINC_CPU_LEVEL=$set "$work/chains/trainer" verify --device cpu || return 1
    done
    [ $ran -gt 0 ]
}

# kernels TARGET MODEL [OPTION...]: the kernels of a graph, a line each, without what lies behind
# their classes.
kernels() {
    "$NINC" --target="$1" --emit=ir "${@:3}" "$2" | sed -nE 's/^  kernel ([a-z0-9_]+ [a-z0-9_]+).*/\1/p'
}

# Of all pointwise ops on maps only one chain begins with one: its operand is read twice.
one_alone() {
    kernels cpu tests/models/chains/chains.ir | grep -E ' (rows|pointwise|generic)$' >"$work/alone"
    [ "$(cat "$work/alone")" = $'add rows\neval_add rows' ]
}

# Adds the rate, a scalar, before each relu of the train graph.
with_rate() {
    "$NINC" --target=cpu --dump=autodiff --dump-dir="$work/dump" --emit=ir "$1" >/dev/null &&
        awk '/^graph / { train = $2 ~ /\.train$/ }
            train && / = relu %/ {
                line = $0
                sub(/%[0-9]+ +:/, "%" ++number + 900 " :", line)
                sub(/= relu %[0-9]+/, "&, %lr", line)
                sub(/= relu/, "= add", line)
                print line
                sub(/relu %[0-9]+/, "relu %" number + 900)
            }
            { print }' "$work"/dump/*-autodiff.ir
}

# A zeroing of lanes behind each call whose chain adds the rate; none behind others.
lanes_are_zeroed() {
    "$NINC" --target=cpu --emit=c "$work/rate.ir" >"$work/rate.c"
    grep -A1 '&(Epilogue)' "$work/rate.c" | grep -B1 zero_lanes | grep -c '{lr\[0\]}' >"$work/zeroed"
    [ "$(cat "$work/zeroed")" -gt 2 ] &&
        [ "$(cat "$work/zeroed")" = "$(grep -c '{lr\[0\]}' "$work/rate.c")" ] &&
        [ "$(cat "$work/zeroed")" = "$(grep -c '^ *zero_lanes(' "$work/rate.c")" ]
}

# losses LEVEL: of some steps.
losses() {
    rm -rf "$work/steps"
    "$NINC" -q "-O$1" --target=cpu --cpu-levels="$(best_levels)" -o "$work/steps" "$work/rate.ir" &&
        "$work/steps/trainer" train --device cpu --data random --max-steps 4 --lr 0.2 --log-every 1 \
            --no-save --no-eval --log "$work/steps.jsonl" >/dev/null 2>&1 &&
        sed -nE 's/.*"loss":([0-9.e+-]+).*/\1/p' "$work/steps.jsonl"
}

# What is in lanes without channels would get into the filters, and from there into the next steps.
same_steps() {
    losses 0 >"$work/plain" && losses 2 >"$work/fused" && [ "$(wc -l <"$work/plain")" -eq 4 ] &&
        paste "$work/plain" "$work/fused" | awk '{
            difference = $1 > $2 ? $1 - $2 : $2 - $1
            if (!(difference <= 1e-3 * $1)) { print; bad = 1 }
        } END { exit bad }'
}

check "chains are done where their maps are made" one_alone
for precision in fp32 bf16; do
    check "chains $precision -O2" verified tests/models/chains/chains.ir 2 $precision
    check "chains $precision -O1" verified tests/models/chains/chains.ir 1 $precision
    check "chains behind tiles $precision -O2" verified tests/models/chains/tiles.ir 2 $precision
done
sed 's/ = relu / = sigmoid /' tests/models/chains/tiles.ir >"$work/sigmoid.ir"
for precision in fp32 bf16; do
    check "chains of sigmoids $precision -O2" verified "$work/sigmoid.ir" 2 $precision
done
with_rate tests/models/chains/tiles.ir >"$work/rate.ir"
check "chains with a scalar -O2" verified "$work/rate.ir" 2 fp32
check "lanes without channels are zeroed where a chain makes something of zeros" lanes_are_zeroed
check "and so steps are those of plain loops" same_steps
finish
