# CPU kernels for the tests: sourced after tests/lib.sh. A trainer is compiled for $levels (default:
# the best instruction set) in $computed_in (default fp32) to $work/kernels.
# shellcheck shell=bash

# compiled MODEL LEVEL [OPTION...]
compiled() {
    rm -rf "$work/kernels"
    "$NINC" -q "-O$2" --target=cpu --cpu-levels="${levels:-$(best_level)}" \
        --precision="${computed_in:-fp32}" "${@:3}" -o "$work/kernels" "$1"
}

# light COMMAND...: with kernels at -Og.
light() {
    CC=$PWD/tests/tools/light_cc "$@"
}

# best_level: the instruction set that a trainer in $computed_in picks here.
best_level() {
    case ${computed_in:-fp32} in
    bf16) best_levels | sed 's/,.*//' ;;
    *) best_levels | sed 's/.*,//' ;;
    esac
}

# mixed COMMAND...: the best instruction set as it ships, the others at -Og.
mixed() {
    CC="$PWD/tests/tools/light_cc -DSHIPPED_$(best_level)" "$@"
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
    local computed_in=$1
    "${@:2}"
}
