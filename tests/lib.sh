# What the test scripts share: sourced from the repository's root. Each check prints one line
# that starts with `ok`, `not ok` or `skip`; tests/run.sh counts them.
# shellcheck shell=bash

NINC=${NINC:-./ninc}
BUILD=${BUILD:-build}
. tests/tools/times.sh
[ -x "$NINC" ] || { echo "not ok $NINC is not built"; exit 1; }
failures=0 checks=0
work=$(mktemp -d "${TMPDIR:-/tmp}/ninc-test-XXXXXX")
# A process that is just being started still has the trap, and must not act for the script.
trap '[ $BASHPID -ne $$ ] || rm -rf "$work"' EXIT

# is_named NAME: whether $CHECK, part of a name or a shell pattern, leaves it in.
is_named() {
    # shellcheck disable=SC2053 # a pattern
    [ -z "${CHECK:-}" ] || [[ $1 == *$CHECK* ]]
}

pass() {
    ! is_named "$1" || echo "ok $1"
}

# fail NAME [FILE]: FILE holds what went wrong; its first lines are shown.
fail() {
    failures=$((failures + 1))
    echo "not ok $1"
    [ -z "${2:-}" ] || head -n 30 "$2" | sed 's/^/    /'
}

skip() {
    ! is_named "$1" || echo "skip $1: $2"
}

# Which checks run: $TESTS is quick (`make test`, the default), long (`make test-long`: what the
# other leaves out) or all; a check that $CHECK names runs, of whatever kind.
TESTS=${TESTS:-quick}
[ -z "${CHECK:-}" ] || TESTS=all

# In a suite whose checks need none of those before them, which says so, those that are not wanted
# do not run. In others they run, but are not reported.
checks_alone=
checks_stand_alone() {
    checks_alone=1
}

# run_check KIND NAME COMMAND...
run_check() {
    local kind=$1 name=$2 begun spent
    shift 2
    [ "$TESTS" = all ] || [ "$TESTS" = "$kind" ] || return 0
    if ! is_named "$name"; then
        [ -n "$checks_alone" ] || "$@" >"$work/output" 2>&1
        return 0
    fi
    checks=$((checks + 1))
    processor_ms "$work/times"
    begun=$spent
    if "$@" >"$work/output" 2>&1; then
        pass "$name"
    else
        fail "$name" "$work/output"
    fi
    processor_ms "$work/times"
    [ -z "${CHECK_TIMES:-}" ] ||
        printf '%8d ms  %s: %s\n' $((spent - begun)) "${0##*/}" "$name" >>"$CHECK_TIMES"
}

# check NAME COMMAND...: passes when the command does; its output is shown when it does not.
# $CHECK_TIMES names a file that gets the processor time of each.
check() {
    run_check quick "$@"
}

# long_check NAME COMMAND...: one for `make test-long`.
long_check() {
    run_check long "$@"
}

# For what is more than one check.
with_long() {
    [ "$TESTS" != quick ]
}

# interruptible COMMAND... &: with SIGINT, which a shell without jobs ignores in the background, and
# SIGHUP, which nohup shuts out.
interruptible() {
    exec env --default-signal=INT,HUP "$@"
}

# with_program CHECK PROGRAM NAME COMMAND...: a check that needs the program.
with_program() {
    if command -v "$2" >/dev/null; then
        "$1" "${@:3}"
    else
        skip "$3" "there is no $2"
    fi
}

# check_with PROGRAM NAME COMMAND...
check_with() {
    with_program check "$@"
}
long_check_with() {
    with_program long_check "$@"
}

# python_with MODULE...: prints the name of a Python that has the modules, which are looked for, not
# imported ($PYTHON, what `make python` made, the system's); fails where none has.
python_with() {
    local python
    for python in "${PYTHON:-}" build/python/bin/python python3 /usr/bin/python3; do
        if [ -n "$python" ] && "$python" -c 'import sys, importlib.util as find
sys.exit(not all(map(find.find_spec, sys.argv[1:])))' "$@" 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    return 1
}

# The instruction sets that this machine has, best first, as --cpu-levels takes them.
machine_levels() {
    local flags
    flags=" $(grep -m 1 '^flags' /proc/cpuinfo) "
    case $(uname -m) in
    x86_64)
        [[ $flags != *" amx_bf16 "* ]] || printf 'amx,'
        [[ $flags != *" avx512_bf16 "* ]] || printf 'avx512bf16,'
        [[ $flags != *" avx512bw "* ]] || printf 'avx512,'
        [[ $flags != *" avx2 "* ]] || printf 'avx2,'
        echo baseline
        ;;
    aarch64) echo neon ;;
    *) echo baseline ;;
    esac
}

# Those of them that a trainer picks here, in fp32 and in bf16.
best_levels() {
    machine_levels | sed -E 's/^((amx,)?(avx512bf16,)?)(avx512|avx2|baseline|neon).*/\1\4/'
}

# light_kernels: those that a suite compiles are there to be run, not to be fast: at -Og, and with
# "$one_level" for the best instruction set alone. A program of its own is compiled by $CC as
# before.
light_kernels() {
    one_level=--cpu-levels=$(best_levels)
    export CC=$PWD/tests/tools/light_cc
}

# The last line of a test script.
finish() {
    [ "$failures" -eq 0 ]
}
