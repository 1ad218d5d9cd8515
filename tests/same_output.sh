#!/bin/bash
# Whether two builds of ninc print the same, byte for byte, for every model at every level, for
# every target, precision and kind of text: for changes that must not change what is emitted. Not a
# suite.
#   tests/same_output.sh OLD NEW [MODEL...]    OLD, NEW: the ninc programs; default: all models
# Prints the command of each difference and exits 1 when there was one.
cd "$(dirname "$0")/.." || exit 1
[ $# -ge 2 ] || { sed -n '2,5s/^# *//p' "$0"; exit 2; }

# texts NINC MODEL LEVEL TARGET PRECISION: a line a kind: the kind and the sum of what it prints.
texts() {
    local kind kinds="ir dot plan summary"
    [ "$4" = cuda ] || kinds+=" c"
    [ "$4" = cpu ] || kinds+=" cuda"
    for kind in $kinds; do
        echo "--emit=$kind $("$1" "-O$3" --target="$4" --precision="$5" --emit="$kind" -v "$2" 2>&1 |
            cksum)"
    done
    echo "--memory-report $("$1" "-O$3" --target="$4" --precision="$5" --memory-report --emit=ir \
        "$2" 2>&1 | cksum)"
}

compare() {
    local level target precision status=0 lines
    for level in 0 1 2; do
        for target in cpu cuda all; do
            for precision in fp32 tf32 bf16; do
                lines=$(diff <(texts "$1" "$3" $level $target $precision) \
                    <(texts "$2" "$3" $level $target $precision)) && continue
                status=1
                sed -n "s/^> \([^ ]*\) .*/differs: -O$level --target=$target \
--precision=$precision \1 ${3//\//\\/}/p" <<<"$lines"
            done
        done
    done
    return $status
}
export -f texts compare

old=$1 new=$2
shift 2
[ $# -gt 0 ] || set -- models/*.yaml tests/models/pytorch/*.yaml tests/models/golden/cuda/*.yaml
printf '%s\0' "$@" | xargs -0 -n 1 -P "$(nproc)" bash -c 'compare "$@"' same "$old" "$new" || exit 1
echo "the same: $#"
