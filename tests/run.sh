#!/bin/bash
# Runs every test and prints, as the last line, `N passed, N failed, N skipped`. Exit 1 when one
# failed. $NINC and $BUILD name the compiler and the build directory; $QUICK leaves out the tests
# that take long in an instrumented build. Arguments: names of suites to run (default: all).
#
# The suites of simulated GPUs, which compute on one thread, run beside the others.
cd "$(dirname "$0")/.." || exit 1
export NINC=${NINC:-./ninc} BUILD=${BUILD:-build}
# What was compiled for one suite, or one run, is there for the others, the instrumented ones too.
export NINC_CACHE_DIR=${NINC_CACHE_DIR:-$PWD/build/cache}
passed=0 failed=0 skipped=0
scratch=$(mktemp -d)
output=$scratch/output
trap 'rm -rf "$scratch"' EXIT

wanted() {
    [ ${#suites[@]} -eq 0 ] || [[ " ${suites[*]} " == *" $1 "* ]]
}

report() {
    printf '%-22s %4d passed %3d failed %3d skipped  %3ds\n' "$1" "$2" "$3" "$4" "$5"
    passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
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
    elif [ "$checks" -eq 0 ]; then
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
    [ $((good + bad + left)) -gt 0 ] || status=1
    if [ $status -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1
        tail -n 20 "$output"
    else
        grep -v '^ok ' "$output" | head -n 80
    fi
    report "$name" "$good" "$bad" "$left" $((SECONDS - start))
}

run_scripts() {
    local script
    for script in "$@"; do
        [ -x "tests/$script.sh" ] && wanted "$script" && run_script "tests/$script.sh"
    done
}

# What run_scripts prints, then its counts.
run_beside() {
    output=$scratch/output-beside passed=0 failed=0 skipped=0
    run_scripts "$@"
    echo "$passed $failed $skipped" >"$scratch/counts"
}

# What training keeps by default, and its locks: tests leave none in the repository.
litter() {
    find . -maxdepth 1 \( -name '*.safetensors' -o -name '.*.lock' \) | sort
}

suites=("$@")
there=$(litter)
trap 'kill $(jobs -p) 2>/dev/null; exit 1' INT TERM
run_beside parity_sim test_sim sim_kernels test_cuda >"$scratch/beside" 2>&1 &
beside=$!
for program in "$BUILD"/tests/test_*; do
    [[ -x $program && -f $program && $program != *.[od] ]] || continue
    wanted "${program##*/}" && run_program "$program"
done
run_scripts golden roundtrip test_deep test_cache test_codegen test_badinput test_options test_words test_cli test_system \
    test_deb test_library test_predict test_resume test_crash test_tensorboard test_export \
    test_pytorch kernels test_amx parity test_races test_aarch64 test_faults test_device test_progress test_readme \
    test_first_contact
wait $beside
cat "$scratch/beside"
read -r more_passed more_failed more_skipped <"$scratch/counts" || more_failed=1
passed=$((passed + more_passed)) failed=$((failed + more_failed))
skipped=$((skipped + more_skipped))

if [ "$(litter)" != "$there" ]; then
    comm -13 <(echo "$there") <(litter) | sed 's/^/not ok left in the repository: /'
    report "litter" 0 1 0 0
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
