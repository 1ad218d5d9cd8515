#!/bin/bash
# Model files that cannot stand in the repository as text: NUL bytes, bad UTF-8, deep nesting,
# alias bombs, huge files, directories. Each must end quickly with a diagnostic and exit code 1.
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
. tests/models/draw.sh

# rejects NAME PLACE TEXT: ninc --check "$work/NAME.yaml" exits 1 within 5 seconds of the processor,
# and its first line has that place and text.
rejects() {
    local file="$work/$1.yaml" line status
    (ulimit -t 5 && exec "$NINC" --check --color=never "$file") >"$work/stdout" 2>"$work/stderr"
    status=$?
    line=$(head -n 1 "$work/stderr")
    if [ $status -ne 1 ] || [ -s "$work/stdout" ] ||
        [[ $line != "$file:$2: error: "*"$3"* ]]; then
        echo "exit status $status, expected '$2: error: ... $3'" >"$work/why"
        head -n 5 "$work/stderr" >>"$work/why"
        fail "$1" "$work/why"
    else
        pass "$1"
    fi
}

# repeat COUNT TEXT
repeat() {
    head -c "$1" /dev/zero | sed "s/\x00/$2/g"
}

# The start of a sound model, for faults further down.
head='model: small
input: {dataset: mnist, shape: [1, 28, 28]}
'
tail='loss: cross_entropy
optimizer: adam
train: {batch_size: 4, epochs: 1}
'

printf '%sloss: a\0b\n' "$head" >"$work/nul.yaml"
rejects nul 3:8 'NUL'
printf '%sloss: \xff\xfe\n' "$head" >"$work/bad_byte.yaml"
rejects bad_byte 3:7 '0xff is not valid UTF-8'
printf '%s# \xc3\xa9 \xc3\x28\n' "$head" >"$work/cut_sequence.yaml"
rejects cut_sequence 3:5 '0xc3 is not valid UTF-8'
printf 'model: \xc0\xaf\n' >"$work/overlong.yaml"
rejects overlong 1:8 'not valid UTF-8'
printf 'model: \xed\xa0\x80\n' >"$work/surrogate.yaml"
rejects surrogate 1:8 'not valid UTF-8'
printf 'model: a\033[31m\n' >"$work/escape.yaml"
rejects escape 1:9 'control character U+001B'
printf '\xff\xfem\0o\0' >"$work/utf16.yaml"
rejects utf16 1:1 'UTF-16'
: >"$work/empty.yaml"
rejects empty 1:1 'empty'
printf '\xef\xbb\xbf' >"$work/only_mark.yaml"
rejects only_mark 1:1 'empty'
mkdir "$work/directory.yaml"
rejects directory 1:1 'directory'
rejects missing 1:1 'No such file'
ln -s loop.yaml "$work/loop.yaml"
rejects loop 1:1 'cannot read'
head -c 2000000 /dev/urandom >"$work/large.yaml"
rejects large 1:1 'larger than 1 MB'
ln -s /dev/zero "$work/endless.yaml"
rejects endless 1:1 'larger than 1 MB'

repeat 100000 '[' >"$work/deep_flow.yaml"
rejects deep_flow 1:65 'nested more than 64'
repeat 100000 '{a: ' >"$work/deep_mapping.yaml"
rejects deep_mapping 1:257 'nested more than 64'
repeat 100000 '- ' >"$work/deep_block.yaml"
rejects deep_block 1:129 'nested more than 64'
repeat 100000 '? ' >"$work/deep_keys.yaml"
rejects deep_keys 1:129 'nested more than 64'

{
    echo 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]'
    for i in 1 2 3 4 5 6 7 8 9; do
        printf 'a%d: &a%d [' "$i" "$i"
        printf "*a$((i - 1)),%.0s" 1 2 3 4 5 6 7 8 9 10
        echo ']'
    done
} >"$work/alias_bomb.yaml"
rejects alias_bomb 5:46 'grows past 100000 values'
{
    printf 'x-a: [&a b'
    repeat 150000 ', *a'
    echo ']'
} >"$work/many_aliases.yaml"
rejects many_aliases 1:400005 'grows past 100000 values'
for i in $(seq 1001); do echo "x-$i: &a$i b"; done >"$work/many_anchors.yaml"
rejects many_anchors 1001:9 'anchors'
for i in $(seq 1001); do echo "x-$i: b"; done >"$work/many_keys.yaml"
rejects many_keys 1001:1 'more than 1000 keys'
{
    printf '%slayers:\n' "$head"
    repeat 1001 '- relu\n'
    printf '%s' "$tail"
} >"$work/many_layers.yaml"
rejects many_layers 1004:3 'more than 1000 layers'
{
    printf 'model: '
    repeat 900000 'n'
} >"$work/long_name.yaml"
rejects long_name 1:1 'the model file needs the key'
repeat 900000 'n' >"$work/long_word.yaml"
rejects long_word 1:1 'the model file must be a mapping'

# ---- IR that promises what no kernel keeps: a sum in parts is whole in the update alone ----

"$NINC" --emit=ir --target=cpu models/nin_fashion.yaml >"$work/sound.ir"
part=$(sed -n 's/^ *%\([0-9]*\) *: f32\[10\].* = bias_grad .* at partial.*/\1/p' "$work/sound.ir")

# parts NAME MESSAGE SED-SCRIPT
parts() {
    sed -e "$3" "$work/sound.ir" >"$work/$1.ir"
    check "$1" refused "$work/$1.ir" "$2"
}

refused() {
    if "$NINC" --check --color=never "$1" 2>"$work/stderr"; then
        echo "accepted"
        return 1
    fi
    cat "$work/stderr"
    grep -q "$2" "$work/stderr"
}

parts returned_in_parts 'returned, but lies in parts' "0,/return loss/s/logits=.*/&, x=%$part/"
parts read_in_parts 'only an update kernel and square_sum add up' "
0,/chunk=64 shared=/s/shared=[0-9]*/shared=9100000/
0,/kernel update update/{/kernel update update/i\\
  kernel extra generic after (%$part) -> (%900) {\\
    %900 : f32[10] {vector 16} = relu %$part at shared+9000000:64\\
  }
}
0,/return loss/s/logits=.*/&, x=%900/"

# ---- programs for AMX: beside those for the CPU, in bf16, without tiles ----

amx_text() {
    rm -rf "$work/amx"
    "$NINC" --emit=ir --target=cpu --precision="$1" --dump="$2" --dump-dir="$work/amx" \
        tests/models/plain/nin_cifar10.yaml >/dev/null && cat "$work"/amx/*-"$2".ir
}

# graphs TARGET: those of stdin alone.
graphs() {
    awk -v target="target=$1" '/^graph/ { on = index($0, target) > 0 } on'
}

# amx_refused MESSAGE: of $work/amx.ir.
amx_refused() {
    ! "$NINC" --check "$work/amx.ir" >"$work/said" 2>&1 && grep -q "$1" "$work/said"
}

check "programs for AMX are sound" eval 'amx_text bf16 winograd >"$work/amx.ir" &&
    "$NINC" --check --precision=bf16 "$work/amx.ir"'
{ amx_text bf16 precision | sed '/^graph/,$d'
  amx_text bf16 precision | graphs amx; } >"$work/amx.ir"
check "AMX without the CPU is refused" amx_refused 'stand beside those for cpu'
{ amx_text fp32 precision; amx_text bf16 precision | graphs amx; } >"$work/amx.ir"
check "AMX beside a CPU in fp32 is refused" amx_refused 'have maps of one dtype'
{ amx_text bf16 winograd | sed '/^graph/,$d'
  amx_text bf16 winograd | graphs cpu
  amx_text bf16 winograd | graphs cpu | sed 's/target=cpu/target=amx/'; } >"$work/amx.ir"
check "AMX in tiles is refused" amx_refused 'AMX convolves directly'

# ---- folded convolutions: what their kernels take for granted ----

folded_network >"$work/folded.yaml"
"$NINC" --emit=ir --target=cpu --dump=fold --dump-dir="$work/folded" "$work/folded.yaml" \
    >"$work/sound-planned.ir"
cp "$work"/folded/*-fold.ir "$work/sound-folded.ir"

# folds NAME STAGE MESSAGE SED-SCRIPT: of the text after pass fold (folded) or at the end (planned);
# %FILTER in the script is the folded filter, whatever its number is.
folds() {
    sed -E -e "${4//%FILTER/%$filter}" "$work/sound-$2.ir" >"$work/$1.ir"
    check "$1" refused "$work/$1.ir" "$3"
}

filter=$(sed -nE '0,/= fold_filter/s/.*%([0-9]+) *: .*= fold_filter.*/\1/p' "$work/sound-folded.ir")
normalized=$(sed -nE '0,/= normalize/s/.*%([0-9]+) *: .*= normalize.*/\1/p' "$work/sound-folded.ir")
check "folded text is sound" "$NINC" --check "$work/sound-folded.ir"
check "planned text is sound" "$NINC" --check "$work/sound-planned.ir"
folds folded_on_a_gpu folded 'only a CPU without AMX has it' 's/target=cpu/target=cuda/'
folds image_read_twice folded 'which nothing else may read' \
    "0,/= normalize/s/^(.*)= normalize.*/&\\n%900 : f32[5,10,13,3] = relu %$normalized/"
folds filter_not_folded_alike folded 'of a parameter, folded alike' \
    '0,/= fold_filter/s/(.*)%FILTER( *: .*)= fold_filter (@[^ ]*) (.*)/\1%FILTER\2= fold_filter \3 \4\
\1%901\2= relu %FILTER/
     0,/= conv2d_folded /s/(= conv2d_folded [^,]*), %FILTER/\1, %901/'
folds gradient_of_no_convolution folded 'of no conv2d_folded of the same image' \
    "0,/= normalize/s/^(.*)%$normalized( .*= normalize .*)/&\\n\\1%900\\2/
     s/= conv2d_folded_wgrad %$normalized/= conv2d_folded_wgrad %900/"
folds filter_read_twice folded 'another convolution has its filter' \
    '0,/= fold_filter/s/(.*)%FILTER( .*= fold_filter .*)/&\n\1%900\2/'
folds folded_filter_unpacked planned 'not packed for its image and tile' \
    's/(= conv2d_folded(_wgrad)? .*) tile=([0-9]+)x1/\1 tile=\3x2/'
folds parameter_unpacked planned 'not packed alike' \
    's/^(@a.0.weight[.mv]* .*) cpu \{filter c3 o16\}/\1 cpu {filter c3 o80}/
     s/(f32\[70,3,9,5\]) \{filter c3 o16\}/\1 {filter c3 o80}/'
finish
