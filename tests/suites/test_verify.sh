#!/bin/bash
# `trainer verify` finds errors of 1e-3, and raises no alarm where sums cancel. The errors are
# planted in the emitted C, all at once, and $PLANTED says which one counts: one compile a level.
# shellcheck source=tests/lib.sh
. tests/lib.sh

export NINC_CACHE_DIR=$work/cache # what is compiled here is wrong
# Of the least instruction set, and not for speed.
level=$(machine_levels | sed 's/.*,//')

# A text is edited once, for all instruction sets that it is compiled for.
cat >"$work/edit" <<END
#!/bin/sh
grep -q 'planted(' "\$1" || sed -i -E -f "$work/plant" "\$1"
END
cat >"$work/cc" <<END
#!/bin/bash
for file in "\$@"; do
    [[ \$file != */planted.c ]] || flock "$work/plant" "$work/edit" "\$file"
done
exec tests/tools/kept_cc $PWD/tests/tools/light_cc "\$@"
END
chmod +x "$work/edit" "$work/cc"

# compiled MODEL OPTION...: in $work/kernels.
compiled() {
    rm -rf "$work/kernels"
    CC=$work/cc "$NINC" -q --target=cpu --cpu-levels="${levels:-$level}" -o "$work/kernels" \
        "${@:2}" "$1"
}

verify() {
    "$work/kernels/trainer" verify --device cpu --threads 1 "$@"
}

# ---- errors of 1e-3 ----

# Batch 16 and 48 channels: enough for Winograd; two images are checked.
cat >"$work/planted.yaml" <<'END'
model: planted
input: {dataset: idx, classes: 10, data_shape: [1, 16, 16], shape: [1, 16, 16]}
layers:
  - conv2d: {name: a, out_channels: 16, kernel_size: 3, padding: 1}
  - maxpool: {kernel_size: 2, stride: 2}
  - relu
  - conv2d: {name: b, out_channels: 48, kernel_size: 1}
  - relu
  - conv2d: {name: c, out_channels: 48, kernel_size: 5, padding: 2}
  - avgpool: {kernel_size: 2, stride: 2}
  - conv2d: {name: d, out_channels: 10, kernel_size: 1}
  - gap
  - flatten
loss: cross_entropy
optimizer: {sgd: {lr: 0.1, momentum: 0.9}}
train: {batch_size: 16, epochs: 1}
END

# planted(NAME): what is a thousandth too large where $PLANTED is NAME: the middle tap of a's
# filter, a product or pixel of each row that is summed, an entry of each Winograd matrix, one
# column of a pool; in loops as -O0 writes them, and in the functions of -O2.
cat >"$work/plant" <<'END'
1i\
#include <stdlib.h>\
#include <string.h>\
#define TEXT_(x) #x\
#define TEXT(x) TEXT_(x)\
#define LEVEL TEXT(NINC_LEVEL)\
static float planted(const char *name)\
{\
    static const char *wanted;\
    if (!wanted)\
        wanted = getenv("PLANTED") ? getenv("PLANTED") : "";\
    if (getenv("PLANTED_IN") && strcmp(getenv("PLANTED_IN"), LEVEL) != 0)\
        return 1;\
    if (strcmp(name, wanted) == 0 && getenv("PLANTED_CRASH"))\
        __builtin_trap();\
    return strcmp(name, wanted) == 0 ? 1.001f : 1;\
}
# -O0
s/(sum\[c\] \+= v \* a_weight.*);/\1 * (kh == 1 \&\& kw == 1 ? planted("conv2d") : 1);/
s/^( +v[0-9]+\[kh .* \+= v \* .*);/\1 * (w == 0 ? planted("conv2d_wgrad") : 1);/
s/^( +v[0-9]+\[c\] \+= .*);/\1 * (w == 0 ? planted("bias_grad") : 1);/
s/(= \(float\)\(a <= 0 \? 0 : a\));/\1 * (w == 0 ? planted("relu") : 1);/
s/^( +v[0-9]+\[n .* = best);/\1 * (w == 0 ? planted("maxpool") : 1);/
s/(= sum) (\/ \(float\)\(rows \* cols\);)/\1 * (w == 0 ? planted("avgpool") : 1) \2/
# -O2
/^static void a_forward\(/,/^}/ s/^    const float .*a_weight = arg\[([0-9]+)\];/\
    _Alignas(64) float a_weight[9 * 16];\
    for (int i = 0; i < 9 * 16; i++)\
        a_weight[i] = ((const float *)arg[\1])[i] * (i \/ 16 == 4 ? planted("conv2d") : 1);/
s/: acc\[at\] \+ \(Vector\)s \* \(Vector\)d\[j\];/\
    : acc[at] + (Vector)s * (Vector)d[j] * (p == 1 ? planted("conv2d_wgrad") : 1);/
s/sum\[i\] \+= load_map\(p \+ i /sum[i] += (w == 0 ? planted("bias_grad") : 1) * load_map(p + i /
s/^        x = op_relu\(x\);/        x = op_relu(x) * planted("relu");/
s/(store_at\(EPILOGUE, &to, .*), best\);/\1, best * (col == 0 ? planted("maxpool") : 1));/
s/return 1.0f \/ \(float\)\(rows \* cols\);/\
    return (col == 0 ? planted("avgpool") : 1) \/ (float)(rows * cols);/
/^static const float winograd_[a-z_]+_4x5_matrix/ {
    s/const //
    s/^/#define WINOGRAD\
/
}
/^const NincCpuLevel /i\
#ifdef WINOGRAD\
__attribute__((constructor)) static void plant_entries(void)\
{\
    winograd_input_4x5_matrix[1][1] *= planted("winograd_input");\
    winograd_filter_4x5_matrix[1][1] *= planted("winograd_filter");\
    winograd_output_4x5_matrix[1][1] *= planted("winograd_output");\
    winograd_filter_grad_4x5_matrix[1][1] *= planted("winograd_filter_grad");\
}\
#endif
END

# found OP: verify says WRONG of what computes it, also where another op behind it is fused to it.
found() {
    PLANTED=$1 verify >"$work/said" 2>&1
    [ $? -eq 1 ] && grep -qE "^WRONG .* $1\$|^WRONG +train +$1_" "$work/said" && return
    grep -E "^WRONG|$1" "$work/said"
    return 1
}

for optimized in 0 2; do
    check "errors are planted at -O$optimized" compiled "$work/planted.yaml" -O$optimized
    check "... and are not there unless asked for" verify
    ops="conv2d conv2d_wgrad bias_grad relu maxpool avgpool"
    [ $optimized = 0 ] ||
        ops="$ops winograd_input winograd_filter winograd_output winograd_filter_grad"
    for op in $ops; do
        check "1e-3 in $op is found at -O$optimized" found "$op"
    done
done

# ---- all instruction sets at once ----

# all_levels STATUS LINE...: of --levels=all, which has a line for each set, and these.
all_levels() {
    local status
    "$work/kernels/trainer" verify --threads 2 --levels=all >"$work/said" 2>&1
    status=$?
    [ $status -eq "$1" ] && [ "$(grep -cE '^(ok|WRONG) +[a-z0-9]+ +[0-9]+ of ' "$work/said")" -eq \
        "$(tr , '\n' <<<"$levels" | wc -l)" ] || { cat "$work/said"; return 1; }
    shift
    for line; do
        grep -qE "$line" "$work/said" || { echo "no line $line"; cat "$work/said"; return 1; }
    done
}

# What one set computes is wrong, what the others do is not.
one_is_wrong() {
    PLANTED=conv2d PLANTED_IN=$level all_levels 1 "^WRONG train .* conv2d, $level\$" \
        "^WRONG $level " "^ok +$best .*" && ! grep -q "^WRONG .* $best" "$work/said"
}

# One that ends its process is named, and the others are compared all the same.
one_is_lost() {
    PLANTED=conv2d PLANTED_IN=$level PLANTED_CRASH=1 all_levels 1 "^FAULT train .*, $level\$" \
        "^WRONG $level " "^ok +$best .*"
}

levels=$(machine_levels)
best=$(best_levels | sed "s/.*,//") # of fp32
if [ "$best" = "$level" ]; then
    skip "verify --levels" "this machine has one instruction set"
else
    levels=$best,$level
    check "errors are planted in two instruction sets" compiled "$work/planted.yaml"
    check "--levels=all compares both" all_levels 0 "^ok +$best " "^ok +$level "
    check "--levels=all says which one is wrong" one_is_wrong
    check "--levels=all says which one crashes" one_is_lost
    check "--levels of one" [ "$("$work/kernels/trainer" verify --levels="$level" |
        grep -c "^ok  *$level ")" -eq 1 ]
    check "--levels with --kernel" [ "$("$work/kernels/trainer" verify --levels=all \
        --kernel=update | grep -c "^ok .* 2 of 2 checks")" -eq 2 ]
fi
unset levels

# ---- sums that cancel ----

# network CLASSES SHAPE OPTIMIZER LAYER...
network() {
    echo "model: cancels"
    echo "input: {dataset: idx, classes: $1, data_shape: $2, shape: $2, mean: 0.3, std: 0.4}"
    echo "layers:"
    printf '  - %s\n' "${@:4}" gap flatten
    echo "loss: cross_entropy"
    echo "optimizer: {$3}"
    echo "train: {batch_size: 4, epochs: 1}"
}

# silent SEEDS OPTION...: of what differs from its result, relative to it, by more than the bound.
silent() {
    local seed
    compiled "$work/cancels.yaml" -O2 "${@:2}" || return 1
    for seed in $1; do
        verify --full --seed "$seed" || return 1
    done
}

# An image takes back the gradient of a bias that another gave, over all their pixels.
network 2 "[1, 29, 32]" "sgd: {lr: 0.1, momentum: 0.9, weight_decay: 0.01}" \
    "conv2d: {name: last, out_channels: 2, kernel_size: 1}" >"$work/cancels.yaml"
check "gradients of two classes raise no alarm" silent "9 13 21 48"
network 2 "[1, 9, 40]" "adam: {lr: 0.01}" \
    "mlpconv: {name: a, out_channels: [3, 1, 2], kernel_size: 3}" \
    "conv2d: {name: last, out_channels: 2, kernel_size: 1}" >"$work/cancels.yaml"
check "nor do blocks of a few channels in bf16" silent "4 13 21" --precision=bf16
# One gradient, rounded to 8 bits, counts at each of 3844 pixels.
network 2 "[1, 64, 64]" "adam: {lr: 0.01}" \
    "mlpconv: {name: a, out_channels: [3, 1, 2], kernel_size: 3}" \
    "conv2d: {name: last, out_channels: 2, kernel_size: 1}" >"$work/cancels.yaml"
check "nor does one gradient at many pixels in bf16" silent 21 --precision=bf16
# Rounding takes values across zero, whose gradients are all of it or nothing.
network 10 "[1, 28, 28]" "sgd: {lr: 0.01}" \
    "mlpconv: {name: a, out_channels: 16, kernel_size: 5, stride: 4}" \
    "maxpool: {kernel_size: 2}" \
    "conv2d: {name: last, out_channels: 10, kernel_size: 3, padding: 1}" >"$work/cancels.yaml"
check "nor does a whole step in bf16" silent "28 47 97" --precision=bf16
finish
