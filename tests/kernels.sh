#!/bin/bash
# Every kernel of the emitted code against the naive evaluator, on fresh random data: the models,
# and networks of layer shapes drawn from fixed seeds. $QUICK leaves out the large models.
. tests/lib.sh
. tests/draw.sh

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

wanted=8
[ -z "${QUICK:-}" ] || wanted=2
drawn=0
for ((seed = 1; seed <= 3 * wanted && drawn < wanted; seed++)); do
    drawn_network $seed >"$work/drawn.yaml"
    # A window may be too large for what the layers before it left.
    grep -q 'does not fit' <("$NINC" --check "$work/drawn.yaml" 2>&1) && continue
    drawn=$((drawn + 1))
    for level in 0 2; do
        check "kernels of drawn network $seed -O$level" \
            verified_everywhere "$work/drawn.yaml" $level
    done
done
check "$wanted networks drawn" [ $drawn -eq $wanted ]

in_tiles() {
    "$NINC" --emit=ir --dump=winograd "$work/wide.yaml" >"$work/wide.ir" &&
        [ "$(grep -c '= winograd_wgrad .*kernel=5x5' "$work/wide.ir")" -gt 0 ] &&
        [ "$(grep -c '= winograd_wgrad .*kernel=3x3' "$work/wide.ir")" -gt 0 ]
}

unfused() {
    rm -rf "$work/kernels"
    "$NINC" -q --disable-pass=fuse -o "$work/kernels" "$work/wide.yaml" &&
        "$work/kernels/trainer" verify --full
}

wide_network >"$work/wide.yaml"
check "a wide network is in tiles" in_tiles
check "kernels of a wide network -O2" verified_everywhere "$work/wide.yaml" 2
check "kernels of a wide network, a kernel an op" unfused

check "kernels of nin_fashion -O2" verified_everywhere models/nin_fashion.yaml 2
check "kernels of nin_fashion -O0" verified_everywhere models/nin_fashion.yaml 0
if [ -z "${QUICK:-}" ]; then
    check "kernels of nin_cifar10 -O2" verified_everywhere models/nin_cifar10.yaml 2
    check "kernels of nin -O2" verified_everywhere models/nin.yaml 2
fi
finish
