# CPU kernels for the tests: sourced after tests/lib.sh. A trainer is compiled for $levels (default:
# the best instruction set) in $precision (default fp32) to $work/kernels.
# shellcheck shell=bash

# compiled MODEL LEVEL [OPTION...]
compiled() {
    rm -rf "$work/kernels"
    "$NINC" -q "-O$2" --target=cpu --cpu-levels="${levels:-$(best_levels)}" \
        --precision="${precision:-fp32}" "${@:3}" -o "$work/kernels" "$1"
}

# light COMMAND...: with kernels at -O1.
light() {
    CC=$PWD/tests/tools/light_cc "$@"
}

# mixed COMMAND...: the best instruction set as it ships, the others at -O1.
mixed() {
    local shipped
    shipped=" $(best_levels)"
    CC="$PWD/tests/tools/light_cc ${shipped//[ ,]/ -DSHIPPED_}" "$@"
}

# verified MODEL LEVEL [ARGUMENT...]
verified() {
    compiled "$1" "$2" && "$work/kernels/trainer" verify --device cpu "${@:3}"
}

# everywhere MODEL LEVEL [ARGUMENT...]: on each instruction set that this machine has, against one
# evaluation.
everywhere() {
    local levels
    levels=$(machine_levels)
    verified "$@" --levels=all
}

# in_precision PRECISION COMMAND...
in_precision() {
    local precision=$1
    "${@:2}"
}
