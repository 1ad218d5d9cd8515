#!/bin/bash
# The kernels and PyTorch parity on a real GPU: `make test-gpu`. Prints SKIP without one.
. tests/lib.sh

export NINC_CACHE_DIR=$work/cache
if ! "$NINC" -q --target=cuda -o "$work/probe" models/nin_fashion.yaml; then
    echo "not ok cannot compile models/nin_fashion.yaml"
    exit 1
fi
if ! "$work/probe/trainer" train --device cuda --data random --max-steps 1 --no-eval --no-progress \
    >"$work/output" 2>&1; then
    if grep -qE 'no NVIDIA driver|no CUDA device|libcuda' "$work/output"; then
        echo "SKIP: test-gpu needs an NVIDIA GPU: $(head -n 1 "$work/output")"
        exit 0
    fi
fi
check "one training step" \
    "$work/probe/trainer" train --device cuda --data random --max-steps 1 --no-eval --no-progress

# verified LEVEL PRECISION MODEL [OPTION...]
verified() {
    local level=$1 precision=$2
    shift 2
    rm -rf "$work/gpu"
    "$NINC" -q "-O$level" --target=cuda --precision="$precision" -o "$work/gpu" "$@" &&
        "$work/gpu/trainer" verify --full --device cuda
}

. tests/draw.sh
for precision in fp32 tf32 bf16; do
    for model in nin_fashion nin_cifar10 nin; do
        check "kernels of $model $precision -O2" verified 2 $precision models/$model.yaml --batch=8
    done
    check "kernels of nin_fashion $precision -O0" verified 0 $precision models/nin_fashion.yaml \
        --batch=8
    for number in 1 2 3 4 5 6 7 8 9 10; do
        drawn_network $number >"$work/drawn.yaml"
        grep -q 'does not fit' <("$NINC" --check "$work/drawn.yaml" 2>&1) && continue
        check "kernels of drawn network $number $precision -O2" \
            verified 2 $precision "$work/drawn.yaml"
    done
done

# The same bits twice, by the whole step as one graph.
repeated() {
    local run
    for run in 1 2; do
        "$work/probe/trainer" train --device cuda --seed 7 --data random --no-eval --no-progress \
            --max-steps 50 --save "$work/run$run.safetensors" >/dev/null || return 1
    done
    cmp "$work/run1.safetensors" "$work/run2.safetensors"
}
check "two runs give the same bits" repeated
check "parity with PyTorch on the device" env DEVICE=cuda tests/parity.sh

passed=$((checks - failures))
echo "$passed passed, $failures failed, 0 skipped"
finish
