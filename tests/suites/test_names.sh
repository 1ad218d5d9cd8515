#!/bin/bash
# Names in IR text: whatever kernels, storage and models are called, the emitted text compiles, and
# names that nothing clashes with stay as they are. The corpus is of what once did not compile.
. tests/lib.sh
. tests/tools/kept.sh

"$NINC" -O2 --target=all --batch=2 --emit=ir tests/models/pytorch/pools_adam.yaml \
    >"$work/pools.ir" ||
    fail "the text to rename in"
# With kernels for many names.
"$NINC" -O2 --target=all --batch=2 --emit=ir models/nin_bn.yaml >"$work/many.ir" ||
    fail "the text to rename in"
"$NINC" -O1 --target=all --batch=2 --emit=ir tests/models/pytorch/flatten_sgd.yaml \
    >"$work/flatten.ir" ||
    fail "the text to rename in"

# syntax TEXT.ir: what ninc makes of it is C, C++ as the simulator takes it, and a plan.
syntax() {
    "$NINC" --emit=c "$1" >"$work/emitted.c" && "$NINC" --emit=plan "$1" >"$work/plan.c" &&
        kept_silence ${CC:-gcc} -std=gnu11 -w "$work/emitted.c" &&
        kept_silence ${CC:-gcc} -std=gnu11 -w "$work/plan.c" || return 1
    command -v "${CXX:-c++}" >/dev/null || return 0
    "$NINC" --emit=cuda "$1" >"$work/emitted.cu" &&
        kept_silence ${CXX:-c++} -std=c++17 -DNINC_SIM -Iruntime/sim -include sim.h -x c++ -w \
            "$work/emitted.cu"
}

# rename NAMES TEXT: TEXT.ir with these names, one a line, for its kernels, on each target; what is
# left over goes to the next file. Prints how many files there are.
rename() {
    awk -v names="$1" -v text="$work/$2.ir" -v to="$work/renamed" '
        BEGIN {
            while ((getline name < names) > 0) list[count++] = name
            for (files = 0; used < count; files++) {
                first = used
                while ((getline line < text) > 0) {
                    if (line ~ /target=(cpu|cuda)/ && line ~ /train/) at = first
                    if (line ~ /^ *kernel / && at < count)
                        sub(/kernel [A-Za-z0-9_]+/, "kernel " list[at++], line)
                    if (at > used) used = at
                    print line > (to files ".ir")
                }
                close(text)
            }
            print files
        }'
}

# compiles NAMES TEXT
compiles() {
    local files i
    files=$(rename "$@") && [ "$files" -gt 0 ] || return 1
    for ((i = 0; i < files; i++)); do
        syntax "$work/renamed$i.ir" || return 1
    done
}

# Words of the languages and of their headers.
printf '%s\n' int for register inline asm typeof class template this operator and xor main memcpy \
    printf size_t int32_t uint8_t bool true NULL errno INFINITY INT32_MAX fmaxf sqrtf exp log M_PI \
    _Bool __func__ _mm_add_ps _mm512_inserti64x4 __builtin_memcpy unix linux i386 alloca atomicAdd \
    threadIdx __global__ u8 bf16 float4 std >"$work/words"
check "kernels named like words of C and CUDA" compiles "$work/words" pools

# All functions and macros of the device libraries.
grep -ohE '^[A-Za-z_][A-Za-z0-9_ *]*\(|^#define [A-Za-z0-9_]+' codegen/cpu/ninc_*.h \
    codegen/cuda/*.cuh ir/tiles.h ir/tensor.h runtime/plan.h | grep -oE '[A-Za-z0-9_]+\(?$' |
    tr -d '(' | sort -u >"$work/library"
check "the device libraries' names are found" [ "$(wc -l <"$work/library")" -gt 300 ]
check "kernels named like the device libraries' functions" \
    compiles "$work/library" many

# What emitters make of other names.
printf '%s\n' filters filters_0 filters_1 image image_geometry a_forward a_forward_v1 \
    A_forward A_FORWARD a_Forward_2 A_FORWARD_TILE_M b_0_backward b_0_backward_v30 \
    b_0_backward_v30_sparse kernel_3_a_forward kernels Optimizer_update_0 update op_relu op_add \
    op_adam_m add_metrics gather_batch conv_tile_9x2_step16 cpu_storage ninc_model ninc_cpu_avx2 \
    adam adam_step v1 x0 arg range C T NINC_KERNEL sim >"$work/made"
check "kernels named like what is made of others" compiles "$work/made" pools

# Storage: what becomes one identifier of C, or the element of another in the optimizer's loop.
storage() {
    local names=(main.weight a.b a_b state_a_b 9.weight int.m _ x.momentum a.weight a_i.bias)
    local old i=0 end='\([^A-Za-z0-9_.]\)'
    cp "$work/$1.ir" "$work/storage.ir"
    for old in $(sed -n 's/^@\([a-z0-9_.]*\) .* = [wb][ei][ia][gs].*/\1/p' "$work/$1.ir"); do
        sed -i "s/@${old//./\\.}$end/@${names[i]}\1/g
            s/@${old//./\\.}\.\(m\|momentum\)$end/@${names[i]}_i\2/g" "$work/storage.ir"
        i=$((i + 1))
    done
    syntax "$work/storage.ir"
}
check "names of storage" storage pools
check "names of storage, SGD" storage flatten

# No name that ninc gives is changed, in no model.
unchanged() {
    local emit
    for emit in c cuda plan; do
        "$NINC" "$1" --target=all --emit=$emit "$2" >"$work/text" || return 1
        ! grep -n 'kernel_[0-9]' "$work/text" || return 1
    done
}
for model in models/nin_fashion.yaml tests/models/pytorch/{strides,nin}_adam.yaml; do
    check "kernels of ${model##*/} keep their names, -O2" unchanged -O2 "$model"
done
check "kernels of nin_sgd.yaml keep their names, -O0" unchanged \
    -O0 tests/models/pytorch/nin_sgd.yaml

# The program with other names does the same.
runs() {
    sed 's/^\( *kernel\) filters /\1 main /; s/^\( *kernel\) image /\1 memcpy /' \
        "$work/flatten.ir" >"$work/other.ir"
    "$NINC" -q --target=cpu --cpu-levels=baseline -o "$work/other" "$work/other.ir" &&
        grep -q 'kernel_[0-9]*_memcpy' "$work/other/plan.c" && "$work/other/trainer" verify
}
check "a trainer whose kernels are main and memcpy" runs

# refused MESSAGE SED [TEXT]: the edited text is refused with that message.
refused() {
    sed "$2" "$work/${3:-flatten}.ir" >"$work/bad.ir"
    "$NINC" --emit=c "$work/bad.ir" >"$work/stdout" 2>"$work/stderr"
    [ $? -eq 1 ] && [ ! -s "$work/stdout" ] && grep -q -- "$1" "$work/stderr" ||
        { cat "$work/stderr"; return 1; }
}
check "an input named int" refused "the trainer knows no input %int" 's/%label\b/%int/'
check "a model named plan" refused "bad.ir:1:8: error: a model cannot be named 'plan'" \
    's/^module [a-z_]*/module plan/; s/^graph flatten_sgd/graph plan/'
check "two kernels of one name" refused "there is another kernel of that name" \
    's/^\( *kernel\) image /\1 head /'
check "strips higher than the map" refused "its kernel's strip has more rows than it" \
    's/^\( *kernel .*\)strip=[0-9]*/\1strip=99/' pools
check "sums in parts without strips" refused "a sum in parts is made strip by strip" \
    's/^\( *kernel .*\)strip=[0-9]* /\1/' pools
finish
