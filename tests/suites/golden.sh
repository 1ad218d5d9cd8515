#!/bin/bash
# Golden files: an input beside what must come out. UPDATE=1 writes the expected files instead.
#   tests/models/golden/frontend/X.yaml + X.err    the diagnostics of `ninc --check`, exit 1
#   tests/models/golden/frontend/X.yaml + X.notes  its notices, exit 0
#   tests/models/golden/frontend/X.yaml + X.ir     the IR of `ninc --emit=ir -O0`
#   tests/models/golden/passes/X.PASS.ir + X.PASS.expected    the IR before and after a pass at -O2;
#                                                      X.PASS0.ir: at -O0, and so on
#   tests/models/golden/cuda/MODEL.CHANNELS.PRECISION.expected    MODEL.yaml's kernels on a GPU
#                                                      with blocks of so many channels, and why
. tests/lib.sh

# same EXPECTED GOT
same() {
    if [ -n "${UPDATE:-}" ]; then
        cp "$2" "$1"
    else
        diff -u "$1" "$2"
    fi
}

# diagnostics NAME KIND STATUS
diagnostics() {
    "$NINC" --check --color=never "$1.yaml" >"$work/stdout" 2>"$work/stderr"
    local status=$?
    same "$1.$2" "$work/stderr" && [ ! -s "$work/stdout" ] && {
        [ $status -eq "$3" ] || { echo "exit status $status, not $3"; false; }
    }
}

text() {
    "$NINC" --emit=ir -O0 "$1.yaml" >"$work/stdout" && same "$1.ir" "$work/stdout"
}

accepted() {
    "$NINC" --check --color=never "$1.yaml"
}

one_pass() {
    local level=${2##*[a-z]}
    "$BUILD/pass_tool" "${2%[0-9]}" "${level:-2}" <"$1.ir" >"$work/stdout" &&
        same "$1.expected" "$work/stdout"
}

for input in tests/models/golden/frontend/*.yaml; do
    name=${input%.yaml}
    if [ -e "$name.err" ]; then
        check "diagnostics ${name##*/}" diagnostics "$name" err 1
    elif [ -e "$name.notes" ]; then
        check "notices ${name##*/}" diagnostics "$name" notes 0
    elif [ -e "$name.ir" ]; then
        check "text ${name##*/}" text "$name"
    elif [ -e "$input" ]; then
        check "accepted ${name##*/}" accepted "$name"
    fi
done

for input in tests/models/golden/passes/*.*.ir; do
    [ -e "$input" ] || continue
    name=${input%.ir}
    check "pass ${name##*/}" one_pass "$name" "${name##*.}"
done

# Each block's channels replaced by CHANNELS.
kernels_of_blocks() {
    local channels=$2 precision=$3 set=() block layer
    for block in 0 1; do
        layer=layers.$block.mlpconv.out_channels
        set+=("--set=$layer=$channels")
    done
    "$NINC" --target=cuda --precision="$precision" --emit=summary -v "${set[@]}" "$1.yaml" |
        sed -n '/^kernels of train/,/^$/p' >"$work/stdout" &&
        same "$1.$channels.$precision.expected" "$work/stdout"
}

for channels in 64 96 192 256; do
    for precision in fp32 tf32 bf16; do
        check "kernels of blocks of $channels channels, $precision" \
            kernels_of_blocks tests/models/golden/cuda/blocks $channels $precision
    done
done
finish
