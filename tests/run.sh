#!/bin/bash
# Runs every test and prints, as the last line, `N passed, N failed, N skipped`. Exit 1 when one
# failed. $NINC and $BUILD name the compiler and the build directory; $QUICK says that they are
# instrumented, and leaves out suites of what is not. Arguments: names of suites to run (default:
# all). $TESTS and $CHECK say which checks of a suite, and $CHECK_TIMES what each takes:
# tests/lib.sh.
#
# One suite more at once than there are processors, as some wait for something; those that take
# longest first; each is printed when it is done.
cd "$(dirname "$0")/.." || exit 1
. tests/tools/times.sh
export NINC=${NINC:-./ninc} BUILD=${BUILD:-build}
unset COLUMNS # messages would break at it
# Suites share the processors: threads of the evaluator that spin while they wait would take them
# from one another, a hundred times what they need.
export OMP_WAIT_POLICY=passive
# What was compiled for one suite, or one run, is there for the others, the instrumented ones too.
export NINC_CACHE_DIR=${NINC_CACHE_DIR:-$PWD/build/cache}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

wanted() {
    [ ${#suites[@]} -eq 0 ] || [[ " ${suites[*]} " == *" $1 "* ]]
}

# report NAME PASSED FAILED SKIPPED SECONDS: and what the processors spent, of this shell and what
# it waited for.
report() {
    local spent
    processor_ms "$scratch/$1.times"
    printf '%-22s %4d passed %3d failed %3d skipped  %3ds, %3ds of a processor\n' \
        "$1" "$2" "$3" "$4" "$5" $((spent / 1000))
    echo "$2 $3 $4" >>"$scratch/counts"
}

# A Check program: its own summary lines are counted.
run_program() {
    local name=${1##*/} start=$SECONDS status checks bad
    "$1" >"$output" 2>&1 </dev/null
    status=$?
    checks=$(sed -n 's/^[0-9]*%: Checks: \([0-9]*\),.*/\1/p' "$output" | paste -sd+ | bc_sum)
    bad=$(sed -n 's/.*Failures: \([0-9]*\), Errors: \([0-9]*\)$/\1+\2/p' "$output" |
        paste -sd+ | bc_sum)
    if [ $status -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1 checks=$((checks + 1)) # it died
    elif [ "$checks" -eq 0 ] && [ -z "${CHECK:-}" ]; then
        bad=1 checks=1 # it tested nothing
    fi
    [ "$bad" -eq 0 ] || grep -v ':P:' "$output" | tail -n 40
    report "$name" $((checks - bad)) "$bad" 0 $((SECONDS - start))
}

# Adds up "1+2+3" from stdin; 0 where there is nothing.
bc_sum() {
    local sum
    read -r sum
    echo $((${sum:-0}))
}

# A script that prints ok, not ok and skip lines.
run_script() {
    local name=${1##*/} start=$SECONDS status good bad left
    name=${name%.sh}
    "$1" >"$output" 2>&1 </dev/null
    status=$?
    good=$(grep -c '^ok ' "$output")
    bad=$(grep -c '^not ok ' "$output")
    left=$(grep -c '^skip ' "$output")
    # One that ran nothing is broken, unless it was asked for what it need not have.
    [ $((good + bad + left)) -gt 0 ] || [ -n "${CHECK:-}" ] || [ "${TESTS:-}" = long ] || status=1
    if [ $status -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1
        tail -n 20 "$output"
    else
        grep -v '^ok ' "$output" | head -n 80
    fi
    report "$name" "$good" "$bad" "$left" $((SECONDS - start))
}

# run_suite NAME: what it prints comes out in one piece.
run_suite() {
    local output=$scratch/$1.output
    if [ -x "tests/suites/$1.sh" ]; then
        run_script "tests/suites/$1.sh"
    elif [ -x "$BUILD/tests/$1" ]; then
        run_program "$BUILD/tests/$1"
    else
        echo "not ok there is no $1" && report "$1" 0 1 0 0
    fi >"$scratch/$1.said"
    flock "$scratch/lock" cat "$scratch/$1.said"
}

# What training keeps by default, and its locks: tests leave none in the repository.
litter() {
    find . -maxdepth 1 \( -name '*.safetensors' -o -name '.*.lock' \) | sort
}

# Whether it has checks of the kind that is asked for. Kernels are not instrumented, by ASan: suites
# of nothing else find there what they find without.
has_checks() {
    case $1 in
    kernels | sim_kernels | parity_sim | test_chains | test_dropout | test_augment | test_amx | \
        test_races | test_deb | test_readme | test_aarch64)
        [ -z "${QUICK:-}" ] || return 1
        ;;
    esac
    case ${TESTS:-quick} in
    long) [ "$1" = parity_sim ] || grep -q long_check "tests/suites/$1.sh" 2>/dev/null ;;
    quick) [[ $1 != planted && $1 != test_torchvision ]] ;;
    esac
}

suites=("$@")
order=(planted test_torchvision kernels test_chains parity sim_kernels test_sim test_library test_cuda parity_sim
    test_dropout test_augment test_races test_codegen test_optimizers test_norm test_amx test_models test_deep
    test_device test_first_contact test_cli test_export test_resume test_crash test_system
    test_verify test_texts test_deb roundtrip test_cache test_names test_faults test_ends test_predict
    test_tensorboard test_words test_pytorch test_aarch64 test_badinput test_options test_progress
    test_readme golden)
for script in tests/suites/*.sh; do # those that the list above has forgotten, too
    name=${script##*/}
    [[ " ${order[*]} " == *" ${name%.sh} "* ]] || order+=("${name%.sh}")
done
for program in "$BUILD"/tests/test_*; do
    [[ ! -x $program || ! -f $program || $program == *.[od] ]] || order+=("${program##*/}")
done
there=$(litter)
begun=0
: >"$scratch/counts"
trap 'kill $(jobs -p) 2>/dev/null; exit 1' INT TERM
for suite in "${order[@]}"; do
    wanted "$suite" || continue
    [ ${#suites[@]} -gt 0 ] || has_checks "$suite" || continue
    while [ "$(jobs -rp | wc -l)" -gt "$(nproc)" ]; do wait -n; done
    begun=$((begun + 1))
    run_suite "$suite" &
done
for suite in "${suites[@]}"; do
    [[ " ${order[*]} " != *" $suite "* ]] || continue
    begun=$((begun + 1))
    run_suite "$suite"
done
wait
left_out=$((begun - $(wc -l <"$scratch/counts")))
[ $left_out -eq 0 ] || report "suites that were killed" 0 $left_out 0 0

if [ "$(litter)" != "$there" ]; then
    comm -13 <(echo "$there") <(litter) | sed 's/^/not ok left in the repository: /'
    report "litter" 0 1 0 0
fi
read -r passed failed skipped < <(awk '{ p += $1; f += $2; s += $3 }
    END { print p + 0, f + 0, s + 0 }' "$scratch/counts")
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && { [ "$passed" -gt 0 ] || [ "${TESTS:-}" = long ]; }
