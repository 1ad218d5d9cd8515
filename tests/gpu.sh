#!/bin/bash
# The kernels and PyTorch parity on a real GPU: `make test-gpu`. Prints SKIP without one. Ends
# within $LIMIT seconds (default 460): drawn networks come last.
. tests/lib.sh

export NINC BUILD work NINC_CACHE_DIR=$work/cache

# SKIP is for a machine without a GPU: not for one whose GPU cannot be used, nor for a tool that is
# not built.
if [ ! -x "$BUILD/cuda_tool" ]; then
    echo "not ok test-gpu: $BUILD/cuda_tool is not built; make test-gpu builds it"
    exit 1
fi
device=$("$BUILD/cuda_tool" list 2>&1)
if [[ $device != cuda:0* ]]; then
    if compgen -G '/dev/nvidia[0-9]*' >/dev/null || [ -e /dev/dxg ] ||
        [[ $device != *"no NVIDIA driver"* && $device != *CUDA_ERROR_NO_DEVICE* ]]; then
        echo "not ok test-gpu: the GPU cannot be used: $device"
        exit 1
    fi
    echo "SKIP: test-gpu needs an NVIDIA GPU: $device"
    exit 0
fi
echo "${device%%$'\n'*}"
limit=${LIMIT:-460} # seconds for all of it
skipped=0

# in_time NAME COMMAND...: check, while there is time, which ends the command too.
in_time() {
    local left=$((limit - SECONDS))
    if [ $left -lt 20 ]; then
        skip "$1" "$limit seconds are over (\$LIMIT)"
        skipped=$((skipped + 1))
        return
    fi
    check "$1" timeout $left bash -c '"$@"' check "${@:2}"
}

# bad_lines COMMAND...: what it prints, without what went well.
bad_lines() {
    "$@" >"$work/lines" 2>&1
    local status=$?
    grep -v '^ok ' "$work/lines"
    return $status
}

check "the driver's calls and NVRTC" "$BUILD/cuda_tool" numbers tests/models/cuda/kernels.cu
if ! "$NINC" -q --target=cuda -o "$work/probe" models/nin_fashion.yaml; then
    echo "not ok cannot compile models/nin_fashion.yaml"
    exit 1
fi
check "one training step" \
    "$work/probe/trainer" train --device cuda --data random --max-steps 1 --no-eval --no-progress

# verified LEVEL PRECISION MODEL [OPTION...]
verified() {
    local level=$1 precision=$2
    shift 2
    rm -rf "$work/gpu"
    "$NINC" -q "-O$level" --target=cuda --precision="$precision" -o "$work/gpu" "$@" &&
        bad_lines "$work/gpu/trainer" verify --full --device cuda
}
export -f bad_lines verified

# With the tiles that the benchmark measures, which depend on the batch.
in_time "kernels of nin bf16, batch 128, -O2" verified 2 bf16 models/nin.yaml --batch=128

for precision in fp32 tf32 bf16; do
    for model in nin_fashion nin_cifar10 nin; do
        in_time "kernels of $model $precision -O2" \
            verified 2 $precision models/$model.yaml --batch=8
    done
    in_time "kernels of nin_fashion $precision -O0" verified 0 $precision \
        models/nin_fashion.yaml --batch=8
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
export -f repeated
in_time "two runs give the same bits" repeated
TESTS=all DEVICE=cuda in_time "parity with PyTorch on the device" bad_lines tests/suites/parity.sh

. tests/models/draw.sh
for number in 1 2 3 4 5 6 7 8 9 10; do
    drawn_network $number >"$work/drawn.yaml"
    grep -q 'does not fit' <("$NINC" --check "$work/drawn.yaml" 2>&1) && continue
    for precision in fp32 tf32 bf16; do
        drawn_network $number $precision >"$work/drawn.yaml"
        in_time "kernels of drawn network $number $precision -O2" \
            verified 2 $precision "$work/drawn.yaml"
    done
done

passed=$((checks - failures))
echo "$passed passed, $failures failed, $skipped skipped"
finish
