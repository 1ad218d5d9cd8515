#!/bin/bash
# Emitted code: it compiles without warnings, no model falls back to plain loops, names of layers
# cannot break it, each target has its artefacts, and the same input gives the same trainer. IR text
# from a user that no program can be made of is a diagnostic.
. tests/lib.sh
light_kernels
. tests/models/draw.sh
. tests/tools/kept.sh

# clean COMPILER MODEL LEVEL [PRECISION [FLAG...]]: MODEL.c and plan.c without a warning.
clean() {
    local compiler=$1 model=$2 level=$3 precision=${4:-fp32} kind
    shift $(($# < 4 ? 3 : 4))
    for kind in c plan; do
        "$NINC" "-O$level" --precision="$precision" --emit=$kind "$model" >"$work/emitted.c" ||
            return 1
        kept_silence "$compiler" -std=gnu11 -Wall -Wextra "$@" "$work/emitted.c" || return 1
    done
}

avx512="-mavx512f -mavx512bw -mavx512dq -mavx512vl"
amx="-mavx512bf16 -mamx-tile -mamx-bf16"

emitted=(models/nin.yaml tests/models/plain/nin_cifar10.yaml \
    tests/models/pytorch/{strides,pools,flatten}_adam.yaml)
# Of gcc, of blocks and of what pools: quick checks.
# kind_of COMPILER MODEL
kind_of() {
    case ${1%++} in clang) echo long_check && return ;; esac
    case $2 in */nin.yaml | */pools_adam.yaml) echo check ;; *) echo long_check ;; esac
}
for compiler in gcc clang; do
    kind=$(kind_of $compiler models/nin.yaml)
    for model in "${emitted[@]}"; do
        for level in 0 2; do
            with_program "$(kind_of $compiler "$model")" $compiler \
                "$compiler has no warning for ${model##*/} -O$level" \
                clean $compiler "$model" $level
        done
    done
    with_program $kind $compiler \
        "$compiler has no warning in bf16" clean $compiler models/nin.yaml 2 bf16
    [ "$(uname -m)" = x86_64 ] || continue
    for precision in fp32 bf16; do
        with_program $kind $compiler "$compiler has no warning for AVX2 in $precision" \
            clean $compiler models/nin.yaml 2 $precision -mavx2 -mfma
        # shellcheck disable=SC2086
        with_program $kind $compiler "$compiler has no warning for AVX-512 in $precision" \
            clean $compiler models/nin.yaml 2 $precision $avx512
    done
    # shellcheck disable=SC2086
    with_program $kind $compiler "$compiler has no warning for AVX-512 BF16" \
        clean $compiler models/nin.yaml 2 bf16 $avx512 -mavx512vnni -mavx512bf16
    # shellcheck disable=SC2086
    with_program $kind $compiler "$compiler has no warning for AMX" \
        clean $compiler models/nin.yaml 2 bf16 $avx512 $amx
done

# without_any TARGET PRECISION...: the text without each pass that may be left out, which is C.
without_any() {
    local pass precision kind=c
    [ "$1" = cpu ] || kind=cuda
    for pass in $("$NINC" --list-passes | awk '$2 == "optional" { print $1 }'); do
        for precision in "${@:2}"; do
            "$NINC" --target="$1" --precision="$precision" --disable-pass="$pass" --emit=$kind \
                models/nin_fashion.yaml >"$work/emitted.c" &&
                { [ $kind = cuda ] || kept_silence ${CC:-gcc} -std=gnu11 -w "$work/emitted.c"; } ||
                { echo "without $pass in $precision"; return 1; }
        done
    done
}
check "any pass may be left out on a CPU in bf16" without_any cpu bf16
long_check "any pass may be left out on a CPU in fp32" without_any cpu fp32
check "any pass may be left out on a GPU" without_any cuda fp32 tf32 bf16

# clean_cuda COMPILER MODEL LEVEL PRECISION: MODEL.cu, as the simulator compiles it. A model may not
# need every function of the library.
clean_cuda() {
    "$NINC" "-O$3" --precision="$4" --emit=cuda "$2" >"$work/emitted.cu" || return 1
    kept_silence "$1" -std=c++17 -DNINC_SIM -Iruntime/sim -include sim.h -x c++ -Wall \
        -Wno-unknown-pragmas -Wno-unused "$work/emitted.cu"
}

for compiler in g++ clang++; do
    for model in "${emitted[@]}"; do
        for form in "0 bf16" "1 tf32" "2 fp32" "2 bf16"; do
            # shellcheck disable=SC2086
            with_program "$(kind_of $compiler "$model")" $compiler \
                "$compiler has no warning for the CUDA text of ${model##*/} -O$form" \
                clean_cuda $compiler "$model" $form
        done
    done
done

# Needs no header, and -DNINC_KERNEL=n leaves exactly the kernel that the plan calls n; after the
# plan's come gather_batch and add_metrics.
numbered() {
    local name number=0 names
    "$NINC" --target=cuda --emit=cuda "$1" >"$work/numbered.cu" || return 1
    "$NINC" --target=cuda --emit=plan "$1" >"$work/numbered.c" || return 1
    ! grep '#include' "$work/numbered.cu" || return 1
    names=$(sed -n 's/^    {"\([a-z0-9_]*\)", \([0-9]*\), cuda_.*_args, .*/\2 \1/p' \
        "$work/numbered.c" | sort -n | cut -d ' ' -f 2)
    [ "$(echo "$names" | wc -l)" -gt 10 ] || return 1
    for name in $names gather_batch add_metrics; do
        cpp -w -P "-DNINC_KERNEL=$number" "$work/numbered.cu" >"$work/alone.cu" || return 1
        if [ "$(grep -c '^extern "C" __global__' "$work/alone.cu")" -ne 1 ] ||
            ! grep -A1 '^extern "C" __global__' "$work/alone.cu" | grep -q "^$name("; then
            echo "kernel $number is not $name"
            return 1
        fi
        number=$((number + 1))
    done
    cpp -w -P "-DNINC_KERNEL=$number" "$work/numbered.cu" >"$work/alone.cu" || return 1
    ! grep '^extern "C" __global__' "$work/alone.cu"
}
check "kernels of the CUDA text are the plan's" numbered models/nin_fashion.yaml

# plain_loops TEXT.ir: the kernels that are, but for convolutions in groups, which a GPU has no tiles
# for.
plain_loops() {
    awk 'function end() { if (generic && !groups) print name }
         /^ *kernel / { end(); name = $0; generic = $3 == "generic"; groups = 0 }
         / groups=/ { groups = 1 }
         END { end() }' "$1"
}

# The convolutions that a step needs run in register tiles, not in plain loops.
fast() {
    "$NINC" --target=cpu --emit=ir "$1" >"$work/model.ir" &&
        { [[ $1 != models/nin* ]] || grep -q ' mlpconv_forward chunk' "$work/model.ir"; } &&
        ! plain_loops "$work/model.ir" | grep . &&
        ! awk '/^ *kernel / {rows = $3 ~ /^(rows|conv|mlpconv|dense)/}
               / = conv2d/ && (!rows || (!/ groups=/ && !/ tile=/))' "$work/model.ir" | grep .
}

# On CUDA: in kernels with a GEMM tile. What is dropped has a loop of its own there.
fast_cuda() {
    "$NINC" --target=cuda --precision="$2" --emit=ir "$1" >"$work/model.ir" &&
        grep -q ' = conv2d' "$work/model.ir" &&
        ! plain_loops "$work/model.ir" | grep -vE ' (dropout|bias_grad)(_[0-9]+)? ' &&
        { grep -q ' groups=' "$work/model.ir" ||
            ! plain_loops "$work/model.ir" | grep ' bias_grad'; } &&
        ! awk '/^ *kernel / {tiled = $3 ~ /^(conv|mlpconv)/ && !/schedule=\[0x0x0 /}
               / = conv2d/ && !/ groups=/ && !tiled' "$work/model.ir" | grep .
}

for model in models/*.yaml; do
    check "all kernels of ${model##*/} are fast" fast "$model"
    for precision in fp32 tf32 bf16; do
        case $model:$precision in # one of each kind of network
        *:bf16 | */nin.yaml:* | */resnet20.yaml:* | */alexnet.yaml:*) kind=check ;;
        *) kind=long_check ;;
        esac
        $kind "all CUDA kernels of ${model##*/} $precision are fast" fast_cuda "$model" $precision
    done
done

# head_of CLASSES PRECISION fused|alone: whether the end of the network is one kernel, whose row of
# logits every GPU of the precision has shared memory for.
head_of() {
    classes_network "$1" >"$work/classes.yaml"
    "$NINC" --target=cuda --precision="$2" --emit=summary -v "$work/classes.yaml" \
        >"$work/classes" || return 1
    if [ "$3" = fused ]; then
        [ "$(grep -cE '^(eval_)?head +head ' "$work/classes")" -eq 2 ]
    else
        [ "$(grep -A2 -E '^(eval_)?cross_entropy +generic ' "$work/classes" |
            grep -c "^  not fused: $1 classes need [0-9]* KB of shared memory, ")" -eq 2 ]
    fi
}

while read -r precision classes; do
    check "head of $classes classes $precision" head_of "$classes" $precision fused
    check "head of one class more $precision" head_of $((classes + 1)) $precision alone
done <<'END'
fp32 14336
tf32 23296
bf16 23296
END
check "head of the most classes" head_of 65536 bf16 alone

# few_arguments LAYERS PRECISION: no kernel of so many convolutions has more than 4 KB of arguments
# (CUDA before 12.1 takes no more), 8 bytes each; and all filters are cast.
few_arguments() {
    local i
    {
        echo "model: deep"
        echo "input: {dataset: idx, classes: 2, data_shape: [2, 1, 1], shape: [2, 1, 1]}"
        echo "layers:"
        for ((i = 1; i <= $1; i++)); do
            echo "  - conv2d: {name: c$i, out_channels: 2, kernel_size: 1}"
        done
        echo "  - flatten"
        echo "loss: cross_entropy"
        echo "optimizer: {adam: {lr: 0.001}}"
        echo "train: {batch_size: 1, epochs: 1}"
    } >"$work/deep.yaml"
    "$NINC" --target=cuda --precision="$2" --emit=ir "$work/deep.yaml" >"$work/deep.ir" || return 1
    # A kernel's lists end where its nodes begin.
    awk -v bytes=4096 '
        /^ *kernel / { name = $2; list = ""; heading = 1 }
        heading { list = list $0 }
        heading && /{$/ {
            heading = 0
            sub(/.*\] \(/, "", list)
            sub(/\) -> \(/, ", ", list)
            if (8 * split(list, argument, ",") > bytes) { print name, "has too many"; bad = 1 }
        }
        END { exit bad }' "$work/deep.ir" || return 1
    [ "$2" != bf16 ] || [ "$(grep -c '= cast @c' "$work/deep.ir")" -ge $((2 * $1)) ]
}
check "few arguments a kernel of 300 convolutions" few_arguments 300 fp32
check "few arguments a kernel of 300 convolutions bf16" few_arguments 300 bf16

# Names that become one identifier, that C or the kernel library has, or that start with a digit.
cat >"$work/names.yaml" <<'END'
model: int.main
input: {dataset: idx, classes: 10, data_shape: [1, 6, 6], shape: [1, 6, 6]}
layers:
  - conv2d: {name: _x, out_channels: 3, kernel_size: 3, padding: 1}
  - conv2d: {name: a.b.c, out_channels: 3, kernel_size: 3, padding: 1}
  - conv2d: {name: a_b.c, out_channels: 3, kernel_size: 1}
  - conv2d: {name: a.b_c, out_channels: 3, kernel_size: 1}
  - conv2d: {name: "0", out_channels: 3, kernel_size: 1}
  - conv2d: {name: layer.0, out_channels: 3, kernel_size: 1}
  - conv2d: {name: eval_x, out_channels: 3, kernel_size: 3, padding: 1}
  - conv2d: {name: x, out_channels: 3, kernel_size: 3, padding: 1}
  - conv2d: {name: conv, out_channels: 3, kernel_size: 1}
  - conv2d: {name: load, out_channels: 3, kernel_size: 1}
  - conv2d: {name: "n", out_channels: 3, kernel_size: 1}
  - conv2d: {name: head, out_channels: 3, kernel_size: 1}
  - relu
  - conv2d: {name: update, out_channels: 3, kernel_size: 1}
  - conv2d: {name: images, out_channels: 3, kernel_size: 1}
  - conv2d: {name: relu, out_channels: 3, kernel_size: 1}
  - relu
  - conv2d: {name: main, out_channels: 3, kernel_size: 1}
  - conv2d: {name: int, out_channels: 3, kernel_size: 1}
  - maxpool: {kernel_size: 2}
  - conv2d: {name: maxpool_1, out_channels: 10, kernel_size: 1}
  - gap
  - flatten
loss: cross_entropy
optimizer: {adam: {lr: 0.001}}
train: {batch_size: 2, epochs: 1}
END

# named LEVEL DEVICE
named() {
    rm -rf "$work/names"
    "$NINC" -q "$one_level" "-O$1" -o "$work/names" "$work/names.yaml" &&
        "$work/names/trainer" verify --device "$2"
}
for level in 0 2; do
    kind=$([ $level = 2 ] && echo check || echo long_check)
    $kind "names of layers -O$level" named $level cpu
    with_program $kind "${CXX:-c++}" "names of layers -O$level in the CUDA text" named $level sim
done

# has TARGET FILE...: what -o leaves for that target; the CUDA text is in the trainer where there is
# one, and is what --emit=cuda prints.
has() {
    local target=$1
    shift
    rm -rf "$work/target"
    "$NINC" -q --target="$target" -o "$work/target" tests/models/pytorch/flatten_sgd.yaml ||
        return 1
    printf '%s\n' "$@" | sort >"$work/wanted"
    find "$work/target" -type f -printf '%f\n' | sort | diff - "$work/wanted" || return 1
    if [ "$target" = cpu ]; then
        ! grep -q 'The CUDA kernels of model' "$work/target/trainer"
    else
        "$NINC" --target="$target" --emit=cuda tests/models/pytorch/flatten_sgd.yaml |
            cmp - "$work/target/flatten_sgd.cu" &&
            grep -q 'The CUDA kernels of model flatten_sgd' "$work/target/trainer"
    fi
}
check "artefacts for the CPU" has cpu flatten_sgd.{ir,c} plan.c trainer
check "artefacts for CUDA" has cuda flatten_sgd.{ir,cu} plan.c trainer
check "artefacts for both" has all flatten_sgd.{ir,c,cu} plan.c trainer

# The same sources and compiler make the same program.
same_trainer() {
    local name
    for name in one two; do
        "$NINC" -q -o "$work/$name" tests/models/pytorch/flatten_sgd.yaml || return 1
    done
    for name in "$work/one"/*; do
        cmp "$name" "$work/two/${name##*/}" || return 1
    done
}
check "the same input gives the same trainer" same_trainer

# ---- IR text that is no program ----

# no_program NAME DUMP TEXT SED...: the dump after that pass, edited, is rejected with TEXT, by any
# --emit, at a place in the file.
no_program() {
    local name=$1 dump=$2 text=$3 kind
    shift 3
    sed "$@" "$work/dumps/"*"-$dump.ir" >"$work/edited.ir"
    if cmp -s "$work/edited.ir" "$work/dumps/"*"-$dump.ir"; then
        echo "the edit changes nothing" >"$work/why"
        fail "$name" "$work/why"
        return
    fi
    for kind in summary c plan; do
        "$NINC" --color=never --emit=$kind "$work/edited.ir" >"$work/stdout" 2>"$work/why"
        local status=$?
        if [ $status -ne 1 ] || ! grep -q '^[^ ]*:[0-9]*:[0-9]*: error: .*'"$text" "$work/why"; then
            echo "exit status $status" >>"$work/why"
            fail "$name" "$work/why"
            return
        fi
    done
    pass "$name"
}

"$NINC" --emit=ir --dump=all --dump-dir="$work/dumps" tests/models/pytorch/pools_sgd.yaml >/dev/null
no_program "loss of another op" simplify 'loss must be mean_valid' \
    's/return loss=%[0-9]*/return loss=%0/'
no_program "no train graph" simplify 'train' 's/\.train batch/.other batch/'
no_program "a backward op before autodiff" simplify 'forward ops only' \
    's/= relu %\([0-9]*\) /= relu_grad %\1, %\1 /'
loss=$(sed -n 's/^ *\(%[0-9]*\) *: f32\[\] *= mean_valid.*/\1/p' "$work/dumps/"*-autodiff.ir |
    head -n 1)
no_program "a sum read too early" autodiff 'after all of them' \
    "s/= relu_grad %\([0-9]*\), %[0-9]*/= relu_grad %\1, $loss/"
no_program "another tile" schedule 'tile' '0,/tile=[0-9]*x[0-9]*/s//tile=0x0/'
no_program "a missing halo" layout 'halo' '0,/ halo=[0-9x]*/s///'
no_program "a moved place" memory 'aligned' '0,/at chunk+[0-9]*/s//at chunk+4/'
finish
