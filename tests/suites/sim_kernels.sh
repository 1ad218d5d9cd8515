#!/bin/bash
# Every CUDA kernel against the naive evaluator, in the simulator, on fresh random data: the models
# at a reduced size, and networks of drawn layer shapes, two of fixed seeds in quick checks, others
# each time in long ones ($NINC_TEST_SEED repeats them). And that no kernel at -O2 is a plain loop.
. tests/lib.sh
. tests/models/draw.sh
checks_stand_alone

if ! "${CXX:-c++}" --version >/dev/null 2>&1; then
    skip "simulated CUDA kernels" "no C++ compiler (\$CXX or c++; Debian: apt-get install g++)"
    finish
    exit
fi
export NINC_CACHE_DIR=${NINC_CACHE_DIR:-$work/cache}
first=${NINC_TEST_SEED:-1}
if with_long; then
    first=${NINC_TEST_SEED:-$((RANDOM * 32768 + RANDOM))}
    echo "data and drawn networks from seed $first on; NINC_TEST_SEED=$first repeats them"
fi

# simulated LEVEL PRECISION MODEL [OPTION...]: verify on the simulator.
simulated() {
    local level=$1 precision=$2 status
    shift 2
    rm -rf "$work/sim"
    "$NINC" -q "-O$level" --target=cuda --precision="$precision" -o "$work/sim" "$@" || return 1
    "$work/sim/trainer" verify --device sim --seed "$first" >"$work/verify" 2>&1
    status=$?
    grep -v '^ok ' "$work/verify"
    [ $status -eq 0 ] && grep -q '^ok ' "$work/verify" || return 1
    # A kernel at -O2 may not quietly be one of -O0, and the other way round.
    if [ "$level" = 0 ]; then
        ! "$NINC" -O0 --target=cuda --emit=ir "$@" | grep -E '^  kernel ' |
            grep -vE '^  kernel [a-z0-9_]+ generic '
    else
        ! "$NINC" "-O$level" --target=cuda --precision="$precision" --emit=ir "$@" |
            grep -E '^  kernel [a-z0-9_]+ generic '
    fi
}

# The network of grouped and dilated convolutions, which are plain loops at any level.
grouped_network >"$work/grouped.yaml"
# grouped LEVEL PRECISION
grouped() {
    rm -rf "$work/sim"
    "$NINC" -q "-O$1" --target=cuda --precision="$2" --batch=1 -o "$work/sim" \
        "$work/grouped.yaml" &&
        "$work/sim/trainer" verify --device sim --seed "$first" >"$work/verify" 2>&1
    local status=$?
    grep -v '^ok ' "$work/verify"
    [ $status -eq 0 ]
}
check "simulated grouped network fp32 -O2" grouped 2 fp32
check "simulated grouped network bf16 -O2" grouped 2 bf16
long_check "simulated grouped network tf32 -O2" grouped 2 tf32
long_check "simulated grouped network fp32 -O0" grouped 0 fp32
long_check "simulated grouped network bf16 -O0" grouped 0 bf16

precisions="fp32 tf32 bf16"
reduced_nin=(models/nin.yaml '--set=input.shape=[1,96,96]' '--set=layers.7.avgpool.kernel_size=2'
    --batch=2)
reduced_cifar10=(tests/models/plain/nin_cifar10.yaml '--set=input.shape=[3,16,16]'
    '--set=input.data_shape=[3,16,16]' --batch=2)
reduced_fashion=(models/nin_fashion.yaml --batch=2)
# For plain loops, which take longer: the same kernels on the least maps that the windows fit.
small_nin=(models/nin.yaml '--set=input.shape=[1,95,63]'
    '--set=layers.7.avgpool.kernel_size=[2,1]' --batch=1)
small_cifar10=(tests/models/plain/nin_cifar10.yaml '--set=input.shape=[3,8,8]'
    '--set=input.data_shape=[3,8,8]' --batch=1)
small_fashion=(models/nin_fashion.yaml --batch=1)
check "simulated nin_fashion fp32 -O2" simulated 2 fp32 "${reduced_fashion[@]}"
check "simulated nin_fashion bf16 -O2" simulated 2 bf16 "${reduced_fashion[@]}"
long_check "simulated nin_fashion tf32 -O2" simulated 2 tf32 "${reduced_fashion[@]}"
NINC_SIM=checks=0 long_check "simulated nin_fashion bf16 -O2, plain accesses not checked" \
    simulated 2 bf16 "${reduced_fashion[@]}"
long_check "simulated nin_fashion fp32 -O1" simulated 1 fp32 "${reduced_fashion[@]}"
for precision in $precisions; do
    long_check "simulated nin $precision -O2" simulated 2 $precision "${reduced_nin[@]}"
    long_check "simulated nin_cifar10 $precision -O2" simulated 2 $precision "${reduced_cifar10[@]}"
done
# The loops of tf32 are those of fp32.
for precision in fp32 bf16; do
    long_check "simulated nin $precision -O0" simulated 0 $precision "${small_nin[@]}"
    long_check "simulated nin_cifar10 $precision -O0" simulated 0 $precision "${small_cifar10[@]}"
    long_check "simulated nin_fashion $precision -O0" simulated 0 $precision "${small_fashion[@]}"
done

norms=tests/models/pytorch/norms_sgd.yaml
check "simulated batch norms bf16 -O2" simulated 2 bf16 $norms
for precision in $precisions; do
    long_check "simulated batch norms $precision -O2" simulated 2 $precision $norms
    long_check "simulated batch norms $precision -O0" simulated 0 $precision $norms
done

for chain in lrn averages; do
    model=tests/models/chains/$chain.yaml
    check "simulated $chain bf16 -O2" simulated 2 bf16 $model
    for precision in $precisions; do
        long_check "simulated $chain $precision -O2" simulated 2 $precision $model
        long_check "simulated $chain $precision -O0" simulated 0 $precision $model
    done
done

# too_many_classes CLASSES: a row of logits is too long for the head's shared memory.
too_many_classes() {
    classes_network "$1" >"$work/classes.yaml"
    rm -rf "$work/sim"
    "$NINC" -q --target=cuda -o "$work/sim" "$work/classes.yaml" &&
        "$work/sim/trainer" verify --device sim --seed "$first" >"$work/verify" 2>&1 &&
        [ "$(grep -c '^ok .* cross_entropy$' "$work/verify")" -eq 2 ]
}
long_check "simulated head of too many classes" too_many_classes 14337

# drawn NUMBER PRECISION LEVEL [OPTION...]
drawn() {
    drawn_network "$1" "$2" >"$work/drawn.yaml"
    simulated "$3" "$2" "$work/drawn.yaml" "${@:4}"
}
check "simulated drawn network 8 tf32 -O2" drawn 8 tf32 2
check "simulated drawn network 9 bf16 -O2" drawn 9 bf16 2
check "simulated drawn network 18 fp32 -O0" drawn 18 fp32 0 --batch=2
long_check "simulated drawn network 8 fp32 -O0" drawn 8 fp32 0 --batch=2

if with_long; then
    # At least this many convolutions of drawn shapes.
    wanted=40
    count=0
    for ((number = first; count < wanted; number++)); do
        drawn_network $number >"$work/drawn.yaml"
        # A window may be too large for what the layers before it left.
        grep -q 'does not fit' <("$NINC" --check "$work/drawn.yaml" 2>&1) && continue
        count=$((count + 3 * $(grep -c mlpconv "$work/drawn.yaml")))
        count=$((count + $(grep -c conv2d "$work/drawn.yaml")))
        for precision in $precisions; do
            long_check "simulated drawn network $number $precision -O2" drawn $number $precision 2
            [ $precision = tf32 ] ||
                long_check "simulated drawn network $number $precision -O0" \
                    drawn $number $precision 0 --batch=1
        done
    done
    long_check "$wanted convolutions drawn" [ $count -ge $wanted ]
fi
finish
