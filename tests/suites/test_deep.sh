#!/bin/bash
# The deepest models compile within bounds of time and memory, and in time that is about linear;
# what options ask of IR text that has passed where they decide is refused; names stay apart.
. tests/lib.sh

# deep LAYERS [LAYER [OPTIMIZER]]: a model of so many layers; LAYER: its YAML, with %d for the
# number.
deep() {
    local layer=${2:-"mlpconv: {name: c.%d, out_channels: 2, kernel_size: 3, padding: 1}"}
    local optimizer=${3:-"sgd: {lr: 0.01}"}
    echo "model: deep"
    echo "input: {dataset: fashion-mnist, shape: [1, 28, 28]}"
    echo "layers:"
    # shellcheck disable=SC2046,SC2059 # a line for each number
    printf "  - $layer\n" $(seq "$1")
    echo "  - conv2d: {name: out, out_channels: 10, kernel_size: 1}"
    echo "  - gap"
    echo "loss: cross_entropy"
    echo "optimizer: {$optimizer}"
    echo "train: {batch_size: 2, epochs: 1}"
}
deep 996 >"$work/deep.yaml"
deep 249 >"$work/quarter.yaml"
deep 996 "" "adam: {lr: 0.01}" >"$work/adam.yaml"
deep 996 "conv2d: {name: c.%d, out_channels: 2, kernel_size: 1}" >"$work/pointwise.yaml"

# Processor time in an instrumented build is several times as long, and its memory is shadowed.
limit=8 megabytes=300
[[ $BUILD != *asan* ]] || limit=120 megabytes=0

# bounded MODEL OPTION...: compiles it in $limit s of processor time and $megabytes MB.
bounded() {
    local model=$1
    shift
    (
        ulimit -t $limit
        [ $megabytes -eq 0 ] || ulimit -v $((megabytes * 1024))
        "$NINC" "$@" "$work/$model.yaml" >"$work/text"
    ) && [ -s "$work/text" ]
}

for options in "-O0 --target=cpu --emit=plan" "-O1 --target=cuda --emit=cuda" \
    "-O2 --target=all --emit=summary" "-O2 --target=cpu --emit=c"; do
    # shellcheck disable=SC2086
    check "996 mlpconvs, $options" bounded deep $options
done
# Two moments a parameter, a copy of each filter and maps of two types, for three targets.
moments=(bounded adam --precision=bf16 --target=all)
check "996 mlpconvs with Adam in bf16, -O2 --emit=c" "${moments[@]}" -O2 --emit=c
for options in "-O0 --emit=c" "-O1 --emit=cuda" "-O0 --emit=plan"; do
    # shellcheck disable=SC2086
    long_check "996 mlpconvs with Adam in bf16, $options" "${moments[@]}" $options
done
check "996 convolutions of 1x1" bounded pointwise -O2 --target=all --emit=plan

# Processor seconds in hundredths.
ticks() {
    local before after
    before=$(awk '{print $16 + $17}' /proc/$BASHPID/stat)
    "$NINC" "$@" >/dev/null || return 1
    after=$(awk '{print $16 + $17}' /proc/$BASHPID/stat)
    echo $((after - before))
}

# Four times the layers, four times the time; eight leave room for noise, cubes would be 64.
linear() {
    local few many
    few=$(ticks -O2 --target=all --emit=plan "$work/quarter.yaml") &&
        many=$(ticks -O2 --target=all --emit=plan "$work/deep.yaml") || return 1
    echo "249 layers: $few, 996 layers: $many"
    [ "$many" -le $((8 * few + 20)) ]
}
check "time is about linear in the layers" linear

# ---- options and the stage of IR text ----

tiny='conv2d: {name: c.%d, out_channels: 2, kernel_size: 3, padding: 1}'
deep 2 "$tiny" >"$work/tiny.yaml"
"$NINC" --target=cpu --emit=ir "$work/tiny.yaml" >"$work/cpu.ir"
"$NINC" --target=cuda --emit=ir "$work/tiny.yaml" >"$work/cuda.ir"
"$NINC" --emit=ir "$work/tiny.yaml" >"$work/all.ir"

# refused PATTERN OPTION... FILE: exit 1, nothing printed, the message at the file's start.
refused() {
    local pattern=$1
    shift
    "$NINC" "$@" >"$work/stdout" 2>"$work/stderr"
    [ $? -eq 1 ] && [ ! -s "$work/stdout" ] && head -1 "$work/stderr" | grep -q ":1:1: error: " &&
        ! grep -q internal "$work/stderr" && grep -q -- "$pattern" "$work/stderr" ||
        { cat "$work/stderr"; return 1; }
}

late="too late"
for case in "$late|--target=cuda --emit=ir|cpu" "$late|--target=all --emit=plan|cpu" \
    "needs programs for a GPU|--emit=cuda|cpu" "needs programs for a GPU|--cubin=sm_90a|cpu" \
    "$late|--target=cpu --emit=ir|cuda" "needs programs for a CPU|--emit=c|cuda" \
    "$late|--precision=bf16 --emit=ir|cpu" "$late|--precision=tf32 --emit=ir|cuda" \
    "$late|-O0 --emit=ir|cpu" "$late|--disable-pass=fuse --emit=ir|cpu" \
    "$late|--dump=fuse --emit=ir|cpu" "change a YAML model|--batch=4 --emit=ir|cpu"; do
    IFS='|' read -r pattern options file <<<"$case"
    # shellcheck disable=SC2086
    check "refused: $options of text for $file" refused "$pattern" $options "$work/$file.ir"
done
# One of the targets of text is what its own compile gives, but for what all targets share.
one_target() {
    "$NINC" --target="$1" --emit="$2" "$work/all.ir" >"$work/got" &&
        "$NINC" --emit="$2" "$work/$1.ir" >"$work/wanted" && cmp "$work/got" "$work/wanted"
}
check "the CPU's programs of text for both" one_target cpu c
check "the CPU's plan of text for both" one_target cpu plan
check "the GPU's programs of text for both" one_target cuda cuda
check "the same precision again" "$NINC" --precision=fp32 --emit=ir "$work/cpu.ir"

# ---- names ----

# hides NAME: a library of that name is refused at the model's name, nothing written.
hides() {
    sed "s/^model: .*/model: $1/" "$work/tiny.yaml" >"$work/named.yaml"
    "$NINC" -q --target=cpu --emit=library -o "$work/library" "$work/named.yaml" 2>"$work/stderr"
    [ $? -eq 1 ] && [ ! -e "$work/library" ] &&
        grep -q "named.yaml:1:8: error: .*would hide the system's" "$work/stderr" ||
        { cat "$work/stderr"; return 1; }
}
for name in c m pthread string stdio; do
    check "no library '$name'" hides $name
done

# One that ninc made before is no library of the system, wherever the compiler finds it.
made_again() {
    local library=("$NINC" -q -O0 --target=cpu --cpu-levels=baseline --emit=library
        "$work/tiny.yaml")
    [ "$(uname -m)" = x86_64 ] || library=("$NINC" -q -O0 --target=cpu --emit=library
        "$work/tiny.yaml")
    "${library[@]}" -o "$work/library" &&
        CPATH=$work/library LIBRARY_PATH=$work/library "${library[@]}" -o "$work/library" ||
        return 1
    echo "int deep_forward;" >"$work/library/deep.h"
    ! CPATH=$work/library "${library[@]}" -o "$work/library" 2>"$work/stderr" &&
        grep "would hide the system's deep.h" "$work/stderr"
}
check "a library that is where the compiler looks is made again" made_again

# Names of storage that become one identifier of C, one of which is what the other would be called.
cat >"$work/names.ir" <<'END2'
module col {
  dataset idx image=8x8x1 classes=3
  optimizer sgd lr=0.1 momentum=0 weight_decay=0
  train batch_size=4 epochs=1 log_every=100 checkpoint_every=1000 init=pytorch
}

@a.b.weight   : f32[4,1,3,3] = weight {fan_in=9 fan_out=36}
@a.b.bias     : f32[4]       = bias {fan_in=9 fan_out=36}
@a_b.weight   : f32[4,4,3,3] = weight {fan_in=36 fan_out=36}
@a_b.bias     : f32[4]       = bias {fan_in=36 fan_out=36}
@2_a_b_weight : f32[3,4,3,3] = weight {fan_in=36 fan_out=27}
@int          : f32[3]       = bias {fan_in=36 fan_out=27}

graph col.train batch=4 stage=forward target=any {
  %image : u8[4,8,8,1]  = input
  %label : i32[4]       = input
  %valid : i32[]        = input
  %0     : f32[4,8,8,1] = normalize %image
  %1     : f32[4,8,8,4] = conv2d %0, @a.b.weight, @a.b.bias {kernel=3x3 padding=1x1}
  %2     : f32[4,8,8,4] = conv2d %1, @a_b.weight, @a_b.bias {kernel=3x3 padding=1x1}
  %3     : f32[4,8,8,3] = conv2d %2, @2_a_b_weight, @int {kernel=3x3 padding=1x1}
  %4     : f32[4,1,1,3] = gap %3
  %5     : f32[4,3]     = flatten %4
  %6     : f32[4]       = cross_entropy %5, %label
  %7     : i32[4]       = correct %5, %label
  %8     : f32[]        = mean_valid %6, %valid
  %9     : i32[]        = count_valid %7, %valid
  return loss=%8, correct=%9, logits=%5
}
END2
names_apart() {
    "$NINC" "-O$1" --target=cpu --emit=c "$work/names.ir" >"$work/names.c" &&
        ${CC:-gcc} -std=gnu11 -fsyntax-only "$work/names.c"
}
check "names of storage stay apart, -O0" names_apart 0
check "names of storage stay apart, -O2" names_apart 2
finish
