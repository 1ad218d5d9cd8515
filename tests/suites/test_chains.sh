#!/bin/bash
# Chains of pointwise ops behind convolutions, pools and their gradients, with other maps and
# scalars beside them: that they are done where the map is made, and right, for each instruction set
# and in the simulator; and that what a map has no channels for stays zero. Networks of
# layers that join several, whose sums are such ops, and maps side by side.
. tests/lib.sh
. tests/tools/kernels.sh
checks_stand_alone

# kernels TARGET MODEL [OPTION...]: the kernels of a graph, a line each, without what lies behind
# their classes.
kernels() {
    "$NINC" --target="$1" --emit=ir "${@:3}" "$2" |
        sed -nE 's/^  kernel ([a-z0-9_]+ [a-z0-9_]+).*/\1/p'
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
    grep -A1 '&(Epilogue)' "$work/rate.c" | grep -B1 zero_lanes |
        grep -c '{lr\[0\]}' >"$work/zeroed"
    [ "$(cat "$work/zeroed")" -gt 2 ] &&
        [ "$(cat "$work/zeroed")" = "$(grep -c '{lr\[0\]}' "$work/rate.c")" ] &&
        [ "$(cat "$work/zeroed")" = "$(grep -c '^ *zero_lanes(' "$work/rate.c")" ]
}

# losses LEVEL: of some steps.
losses() {
    rm -rf "$work/steps"
    "$NINC" -q "-O$1" --target=cpu --cpu-levels="$(best_levels)" -o "$work/steps" "$work/rate.ir" &&
        "$work/steps/trainer" train --device cpu --data random --max-steps 4 --lr 0.2 \
            --log-every 1 \
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

# simulated MODEL PRECISION [LEVEL]: CUDA's.
simulated() {
    rm -rf "$work/sim"
    "$NINC" -q "-O${3:-2}" --target=cuda --precision="$2" -o "$work/sim" "$1" &&
        "$work/sim/trainer" verify --device sim
}

# What of the chains stands in kernels of their own on a GPU: operands that the kernel itself makes.
few_alone() {
    kernels cuda tests/models/chains/chains.ir |
        grep -E '^eval_.* (pointwise|generic)$' >"$work/alone"
    [ "$(cat "$work/alone")" = $'eval_add pointwise\neval_add_2 pointwise' ]
}

# sums_alone TARGET COUNT: kernels that are a sum alone, of the residual network's many.
sums_alone() {
    "$NINC" --target="$1" --emit=ir $residual >"$work/residual.ir" &&
        [ "$(grep -c ' = add %' "$work/residual.ir")" -gt 8 ] &&
        [ "$(grep -cE '^  kernel (eval_)?add' "$work/residual.ir")" -eq "$2" ]
}

# A GPU's kernel of two matrices makes both operands of the sum behind them.
sums_are_fused() {
    sums_alone cpu 0 && sums_alone cuda 2
}

check "chains are done where their maps are made" one_alone
check "chains are done where their maps are made, on a GPU" few_alone
check "chains fp32 -O2" light everywhere tests/models/chains/chains.ir 2
check "chains bf16 -O2" in_precision bf16 light verified tests/models/chains/chains.ir 2
check "chains behind tiles bf16 -O2" in_precision bf16 light verified tests/models/chains/tiles.ir 2
for precision in fp32 bf16; do
    long_check "chains $precision -O2, as they ship" \
        in_precision $precision everywhere tests/models/chains/chains.ir 2
    long_check "chains $precision -O1" \
        in_precision $precision light everywhere tests/models/chains/chains.ir 1
    long_check "chains behind tiles $precision -O2, everywhere" \
        in_precision $precision mixed everywhere tests/models/chains/tiles.ir 2
done
sed 's/ = relu / = sigmoid /' tests/models/chains/tiles.ir >"$work/sigmoid.ir"
for precision in fp32 bf16; do
    check "chains of sigmoids $precision -O2" in_precision $precision \
        light verified "$work/sigmoid.ir" 2
done
check "sigmoids fp32 -O1" light verified tests/models/chains/sigmoids.yaml 1
long_check "sigmoids fp32 -O1, everywhere" light everywhere tests/models/chains/sigmoids.yaml 1
long_check "sigmoids bf16 -O2" in_precision bf16 light everywhere \
    tests/models/chains/sigmoids.yaml 2
acts=tests/models/chains/activations.yaml
check "activations fp32 -O2" light verified $acts 2
long_check "activations fp32 -O0" light everywhere $acts 0
for precision in fp32 bf16; do
    long_check "activations $precision -O2, everywhere" \
        in_precision $precision mixed everywhere $acts 2
done
residual=tests/models/chains/residual.yaml
check "sums of a residual network are done where their last operand is made" sums_are_fused
check "residual network fp32 -O2" light verified $residual 2
for precision in fp32 bf16; do
    long_check "residual network $precision -O2, everywhere" \
        in_precision $precision mixed everywhere $residual 2
done
concat=tests/models/chains/concat.yaml
check "maps side by side fp32 -O2" light verified $concat 2
for precision in fp32 bf16; do
    long_check "maps side by side $precision -O0, everywhere" \
        in_precision $precision light everywhere $concat 0
    long_check "maps side by side $precision -O2, everywhere" \
        in_precision $precision mixed everywhere $concat 2
done
with_rate tests/models/chains/tiles.ir >"$work/rate.ir"
check "chains with a scalar -O2" light verified "$work/rate.ir" 2
long_check "chains with a scalar -O2, everywhere" mixed everywhere "$work/rate.ir" 2
check "lanes without channels are zeroed where a chain makes something of zeros" lanes_are_zeroed
check "and so steps are those of plain loops" light same_steps
if "${CXX:-c++}" --version >/dev/null 2>&1; then
    check "simulated chains fp32 -O2" simulated tests/models/chains/chains.ir fp32
    check "simulated sigmoids fp32 -O1" simulated tests/models/chains/sigmoids.yaml fp32 1
    check "simulated maps side by side bf16 -O2" simulated $concat bf16
    long_check "simulated maps side by side fp32 -O0" simulated $concat fp32 0
    check "simulated residual network bf16 -O2" simulated $residual bf16
    long_check "simulated residual network fp32 -O0" simulated $residual fp32 0
    long_check "simulated residual network tf32 -O2" simulated $residual tf32
    check "simulated activations bf16 -O2" simulated $acts bf16
    long_check "simulated activations fp32 -O0" simulated $acts fp32 0
    long_check "simulated activations tf32 -O2" simulated $acts tf32
    long_check "simulated sigmoids bf16 -O2" simulated tests/models/chains/sigmoids.yaml bf16
    long_check "simulated chains bf16 -O2" simulated tests/models/chains/chains.ir bf16
    long_check "simulated chains tf32 -O2" simulated tests/models/chains/chains.ir tf32
    long_check "simulated chains fp32 -O1" simulated tests/models/chains/chains.ir fp32 1
    long_check "simulated chains of sigmoids bf16 -O2" simulated "$work/sigmoid.ir" bf16
else
    skip "simulated chains" "no C++ compiler (\$CXX or c++; Debian: apt-get install g++)"
fi
finish
