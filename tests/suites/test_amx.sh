#!/bin/bash
# The CPU's programs for AMX on a processor without it: compiled as those of AVX-512, with the tile
# instructions in plain C (tests/tools/amx.h), against the naive evaluator. A processor with AMX
# runs them in the other suites too.
. tests/lib.sh
. tests/models/draw.sh
checks_stand_alone

export NINC_CPU_LEVEL=avx512
# What a processor with AMX has too, if this one has it.
with=
! grep -qsw avx512_bf16 /proc/cpuinfo || with=-mavx512bf16
cat >"$work/amx-cc" <<END
#!/bin/bash
case " \$* " in
*" -DNINC_LEVEL=avx512 "*) set -- "\$@" -include "$PWD/tests/tools/amx.h" -D__AMX_BF16__ $with ;;
esac
exec tests/tools/kept_cc $PWD/tests/tools/light_cc "\$@"
END
chmod +x "$work/amx-cc"

# compiled MODEL LEVEL: for $levels, $shipped words of the compiler's command.
compiled() {
    rm -rf "$work/kernels"
    CC="$work/amx-cc${shipped:-}" "$NINC" -q "-O$2" --precision=bf16 --target=cpu \
        --cpu-levels="${levels:-avx512}" --batch=3 -o "$work/kernels" "$1"
}

verified() {
    compiled "$@" && "$work/kernels/trainer" verify
}

as_it_ships() {
    local shipped=" -DSHIPPED_avx512"
    verified "$@"
}

# losses THREADS
losses() {
    "$work/kernels/trainer" train --data random --max-steps 2 --log-every 1 --no-eval \
        --threads "$1" --log "$work/log.$1" >/dev/null &&
        sed 's/,"images_per_second".*//' "$work/log.$1" >"$work/losses.$1" &&
        [ "$(grep -c '"loss":[0-9]' "$work/losses.$1")" -eq 2 ]
}

stepped() {
    compiled "$@" && losses 1 && losses 2 && cmp "$work/losses.1" "$work/losses.2"
}

# plan LEVEL: memory and kernels of the programs that it runs.
plan() {
    NINC_CPU_LEVEL=$1 "$work/kernels/trainer" info | grep -E '^(both|train|eval) ' >"$work/plan.$1"
}

# The programs for AMX have another plan than the CPU's, which its other instruction sets share.
chosen() {
    local levels=avx512,avx2,baseline
    compiled models/nin_fashion.yaml 2 && plan avx512 && plan avx2 && plan baseline &&
        grep -q '^eval .*kernels' "$work/plan.avx2" &&
        cmp "$work/plan.avx2" "$work/plan.baseline" &&
        ! cmp -s "$work/plan.avx512" "$work/plan.avx2"
}

# The loop that measures the peak of tiles multiplies as often as it is counted to.
cat >"$work/peak.c" <<'END'
#include "runtime/tools/peak.c"
bool cpu_has_amx(void)
{
    return true;
}
int main(void)
{
    Loop loop = tile_loop();
    return loop.run(3) == 3 * 32 * TILE_SUMS && loop.flop == 2. * 16 * 16 * 32 * TILE_SUMS ? 0 : 1;
}
END
# With the sanitizers of the runtime, if it has some.
sanitize=
! nm "$BUILD/libninc_runtime.a" 2>/dev/null | grep -q __asan_ ||
    sanitize=-fsanitize=address,undefined
peak_of_tiles() {
    # shellcheck disable=SC2086
    ${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -O1 -fopenmp $sanitize -Iir -I. \
        -include tests/tools/amx.h -o "$work/peak" "$work/peak.c" "$BUILD/libninc_runtime.a" \
        -lm -lpthread && "$work/peak"
}
if [ "$(uname -m)" = x86_64 ]; then
    check "the loop for the peak of tiles" peak_of_tiles
fi

drawn_network 5 bf16 >"$work/drawn.yaml"
compiled "$work/drawn.yaml" 0 || { fail "compile for AMX"; finish; exit; }
if ! "$work/kernels/trainer" info >/dev/null 2>&1; then
    skip "AMX" "this machine or build has no AVX-512"
    finish
    exit
fi
wide_network >"$work/wide.yaml"
tiles_network >"$work/tiles.yaml"
for level in 0 2; do
    check "AMX kernels of a drawn network -O$level" verified "$work/drawn.yaml" $level
    long_check "AMX kernels of a drawn network -O$level, as they ship" \
        as_it_ships "$work/drawn.yaml" $level
done
check "AMX kernels of a wide network -O2" verified "$work/wide.yaml" 2
check "AMX kernels of rows of all lengths -O2" verified "$work/tiles.yaml" 2
long_check "AMX kernels of nin_cifar10 -O2" verified tests/models/plain/nin_cifar10.yaml 2
long_check "AMX kernels of a wide network -O2, as they ship" as_it_ships "$work/wide.yaml" 2
long_check "AMX kernels of nin_cifar10 -O2, as they ship" as_it_ships tests/models/plain/nin_cifar10.yaml 2
long_check "AMX kernels of batch norms -O2" verified tests/models/pytorch/norms_sgd.yaml 2
check "AMX steps on one and two threads" stepped models/nin_fashion.yaml 2
check "AMX has programs of its own" chosen
finish
