#!/bin/bash
# IR text whose words were changed by hand is refused at its place, or it compiles and does what it
# says: every kernel of a text under every other class, and a fixed sample of other words.
#   test_texts.sh [SEED COUNT]    so many changes of other words, drawn from that seed
. tests/lib.sh
. tests/tools/kept.sh

seed=${1:-1} count=${2:-60}
"$NINC" -O2 --target=cuda --batch=2 --emit=ir tests/models/pytorch/pools_adam.yaml \
    >"$work/cuda.ir" &&
    "$NINC" -O2 --target=cpu --batch=2 --emit=ir tests/models/pytorch/pools_adam.yaml \
        >"$work/c.ir" || fail "the texts to change"
"$NINC" -O2 --target=cpu --batch=2 --precision=bf16 --disable-pass=fixed --emit=ir \
    tests/models/pytorch/nin_adam.yaml >"$work/wide.ir" || fail "the texts to change"

classes="generic image rows pointwise conv_forward mlpconv_forward pool_forward head pool_backward
    conv_dgrad conv_wgrad mlpconv_backward filter winograd metrics update norm lrn statistics dense
    dense_wgrad"

# outcome KIND TEXT: "refused", "accepted", or what went wrong.
outcome() {
    "$NINC" --emit="$1" "$2" >"$work/out" 2>"$work/err"
    case $? in
    0) [ -s "$work/out" ] && echo accepted || echo "nothing printed" ;;
    1) grep -qE '^[^ ]*:[0-9]+:[0-9]+: error: ' "$work/err" && ! grep -q internal "$work/err" &&
        echo refused || head -1 "$work/err" ;;
    *) echo "exit $?: $(head -1 "$work/err")" ;;
    esac
}

# C++ as the simulator takes it, or C.
is_text() {
    if [ "$1" = c ]; then
        kept_silence ${CC:-gcc} -std=gnu11 -w -x c "$work/out"
    else
        command -v "${CXX:-c++}" >/dev/null || return 0
        kept_silence ${CXX:-c++} -std=c++17 -DNINC_SIM -Iruntime/sim -include sim.h -x c++ -w \
            "$work/out"
    fi
}

# classes KIND COMPILED: each kernel of KIND.ir under each other class, one of each list of ops;
# what is accepted compiles, the first COMPILED of them.
classes() {
    local line number compiled=0 accepted=0 refused=0 class found
    while IFS=: read -r number line; do
        for class in $classes; do
            [ "$class" != "$line" ] || continue
            sed "${number}s/^\( *kernel [a-z0-9_]*\) [a-z_]*/\1 $class/" "$work/$1.ir" \
                >"$work/changed.ir"
            found=$(outcome "$1" "$work/changed.ir")
            case $found in
            refused) refused=$((refused + 1)) ;;
            accepted)
                accepted=$((accepted + 1))
                [ $compiled -lt "$2" ] || continue
                compiled=$((compiled + 1))
                is_text "$1" || { echo "line $number: $line -> $class"; return 1; } ;;
            *) echo "line $number: $line -> $class: $found"; return 1 ;;
            esac
        done
    done < <(awk '/^ *kernel / { if (ops) print at; split($0, word); ops = " "
                                 at = NR ":" word[3]; next }
                  /^  }/ && ops { if (!(ops in seen)) print at; seen[ops]; ops = "" }
                  ops && / = / { sub(/.* = /, ""); ops = ops " " $1 }' "$work/$1.ir")
    echo "$accepted accepted, $refused refused"
    [ $refused -gt 100 ]
}
check "kernels of a GPU under other classes" classes cuda 8
check "kernels of a CPU under other classes" classes c 2

# change TEXT: one word of one line is another; which, is drawn.
change() {
    awk -v seed="$2" '
        function draw(n) { seed = (seed * 16807) % 2147483647; return seed % n }
        function other(number, pick) {
            pick = draw(6)
            return pick == 0 ? 0 : pick == 1 ? 1 : pick == 2 ? number + 1 : pick == 3 ? number * 2 :
                pick == 4 ? int(number / 2) : 7
        }
        BEGIN { for (i = 0; i < 8; i++) draw(2) }
        { text[NR] = $0 }
        /strip=|tile=|threads=|\{(nchw|nhwc|filter|vector|taps|hcnw)|(before|chunk|after) | at [a-z]+\+/ {
            line[lines++] = NR
        }
        END {
            at = line[draw(lines)]
            word = draw(4) == 0 ? "(before|chunk|after) " : draw(3) == 0 ? "(f32|bf16|i32|u8)\\[" :
                "[0-9]+"
            head = ""; tail = text[at]
            sub(/  +loc .*/, "", tail)
            for (skip = draw(8); match(tail, word) && skip >= 0; skip--) {
                head = head last; last = substr(tail, 1, RSTART + RLENGTH - 1)
                tail = substr(tail, RSTART + RLENGTH)
            }
            if (match(last, word "$")) {
                old = substr(last, RSTART)
                split("before chunk after f32 bf16 i32 u8", words, " ")
                new = word ~ /before/ ? words[1 + draw(3)] " " : word ~ /f32/ ?
                    words[4 + draw(4)] "[" : other(old)
                text[at] = head substr(last, 1, RSTART - 1) new tail
            }
            for (i = 1; i <= NR; i++) print text[i]
        }' "$1"
}

# words KIND TEXT: $count changes, each alone.
words() {
    local i found accepted=0 refused=0
    for ((i = 0; i < count; i++)); do
        change "$work/$2.ir" $((seed * 1000 + i)) >"$work/changed.ir"
        found=$(outcome "$1" "$work/changed.ir")
        case $found in
        refused) refused=$((refused + 1)) ;;
        accepted) accepted=$((accepted + 1)) ;;
        *) echo "change $i of seed $seed: $found"; return 1 ;;
        esac
    done
    echo "$accepted accepted, $refused refused"
    [ $((2 * refused)) -gt "$count" ]
}
check "other words in text for a GPU" words cuda cuda
check "other words in text for a CPU" words c c
check "other words in text with Winograd convolutions in bf16" words c wide

# refused MESSAGE SED TEXT
refused() {
    local kind=${3/wide/c}
    sed "$2" "$work/$3.ir" >"$work/changed.ir"
    [ "$(outcome "${kind/norms/cuda}" "$work/changed.ir")" = refused ] && grep -q -- "$1" "$work/err" ||
        { head -3 "$work/err"; return 1; }
}
check "a convolution is no head" refused "a kernel of class head is the end of the network" \
    's/^\( *kernel a_forward\) conv_forward/\1 head/' cuda
check "a tile that no block can share" refused "is not one that its class can run with" \
    '/^ *kernel a_forward/s/schedule=.[0-9]*x/schedule=[120x/' cuda
check "less shared memory than the tile takes" refused "is not one that its class can run with" \
    '/^ *kernel a_forward/s/shared=[0-9]*/shared=64/' cuda
"$NINC" -O2 --target=cuda --batch=2 --emit=ir tests/models/pytorch/norms_sgd.yaml >"$work/norms.ir"
check "fewer blocks than a batch norm's map has" refused "is not one that its class can run with" \
    '/^ *kernel a_norm_forward/s/grid=4x/grid=3x/' norms
check "a map whose channels lie otherwise" refused "cannot read how it or its operands lie" \
    's/{nhwc c8}   *= maxpool /{nhwc c16} = maxpool /' cuda
# Two layers' steps in one kernel, each with a rate of its own.
two_steps() {
    [ "$(outcome c tests/models/texts/two_steps.ir)" = refused ] &&
        grep -q "the gradients of one linear layer and the step of its filter" "$work/err"
}
check "the steps of two linear layers are no kernel" two_steps
check "an input in parts" refused "only sums in parts lie in partial" \
    '/= input/s/at shared/at partial/' c

# Classes that run alike, other strips and tiles: the program says the same.
runs() {
    sed 's/^\( *kernel [a-z0-9_]*\) conv_forward/\1 rows/
        s/^\( *kernel [a-z0-9_]*\) conv_dgrad/\1 mlpconv_backward/
        s/^\( *kernel [a-z0-9_]*\) metrics/\1 head/; s/^\( *kernel filters\) filter/\1 generic/
        s/= conv2d \(.*\) tile=[0-9]*x/= conv2d \1 tile=5x/' "$work/c.ir" >"$work/changed.ir"
    ! cmp -s "$work/c.ir" "$work/changed.ir" &&
        CC=$PWD/tests/tools/light_cc "$NINC" -q --cpu-levels=baseline -o "$work/other" \
            "$work/changed.ir" &&
        "$work/other/trainer" verify
}
[ "$(uname -m)" != x86_64 ] || check "a trainer of changed text" runs
finish
