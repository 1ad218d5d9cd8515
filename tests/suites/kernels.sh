#!/bin/bash
# Every kernel of the emitted code against the naive evaluator, on fresh random data: the models,
# and networks of drawn layer shapes. Quick checks have two networks of fixed seeds, and kernels as
# they ship for the best instruction set and one model of each; long ones draw others each time
# ($NINC_TEST_SEED repeats them), and have all as it ships. $QUICK: an instrumented build.
. tests/lib.sh
. tests/models/draw.sh
. tests/tools/kernels.sh
. tests/tools/kept.sh
checks_stand_alone

# has_narrow_blocks PRECISION: whether a block of a drawn network has fewer than 8 channels within.
has_narrow_blocks() {
    local number
    for number in 1 2 3 4 5 6 7 8 9 10; do
        drawn_network $number "$1"
    done | grep mlpconv | grep -qE 'out_channels: \[([0-9]+, )*[1-7][],]'
}
no_narrow_blocks() {
    ! has_narrow_blocks "$1"
}
check "blocks of a few channels are drawn" has_narrow_blocks fp32
check "no blocks of a few channels are drawn for bf16" no_narrow_blocks bf16
check "no blocks of a few channels are drawn for tf32" no_narrow_blocks tf32

# draw SEED: to $work/drawn.yaml and, for bf16, $work/bf16.yaml; fails where a window is too large
# for what the layers before it left.
draw() {
    drawn_network "$1" >"$work/drawn.yaml"
    drawn_network "$1" bf16 >"$work/bf16.yaml"
    ! grep -q 'does not fit' <("$NINC" --check "$work/drawn.yaml" 2>&1)
}

draw 3
check "kernels of drawn network 3 -O2" mixed everywhere "$work/drawn.yaml" 2
check "kernels of drawn network 3 bf16 -O0" in_precision bf16 light verified "$work/bf16.yaml" 0
draw 4
check "kernels of drawn network 4 bf16 -O2" \
    in_precision bf16 mixed everywhere "$work/bf16.yaml" 2
check "kernels of drawn network 4 -O0" light verified "$work/drawn.yaml" 0
if with_long; then
    first=${NINC_TEST_SEED:-$((RANDOM * 32768 + RANDOM))}
    echo "drawn networks from seed $first on; NINC_TEST_SEED=$first repeats them"
    wanted=3
    drawn=0
    for ((seed = first; seed <= first + 3 * wanted && drawn < wanted; seed++)); do
        draw $seed || continue
        drawn=$((drawn + 1))
        for level in 0 2; do
            long_check "kernels of drawn network $seed -O$level" \
                mixed everywhere "$work/drawn.yaml" $level
            [ $level = 0 ] && [ $drawn -gt 1 ] ||
                long_check "kernels of drawn network $seed bf16 -O$level" \
                    in_precision bf16 mixed everywhere "$work/bf16.yaml" $level
        done
    done
    long_check "$wanted networks drawn" [ $drawn -eq $wanted ]
fi

# whole_chunk MODEL LEVEL OPTION...: all images of a chunk, and a whole step.
whole_chunk() {
    compiled "$@" && "$work/kernels/trainer" verify --device cpu --full
}

# library_test NAME COMPILER FLAG...: tests/tools/NAME.c, which includes the CPU device library.
library_test() {
    kept_object "$work/$1.o" "$2" -std=gnu11 -O2 -Wall -Wextra -Werror -Iir -Iruntime \
        -fsanitize=address,undefined -fno-sanitize-recover=all "${@:3}" "tests/tools/$1.c" &&
        "$2" -fsanitize=address,undefined "$work/$1.o" -o "$work/$1" -lm && "$work/$1"
}

# elements_on FEATURE FLAG...: values that networks do not often have, on one instruction set, where
# the processor has the feature of /proc/cpuinfo.
elements_on() {
    local feature=$1
    shift
    if [ "$feature" = any ] || grep -qsw "$feature" /proc/cpuinfo; then
        check "elements by gcc${*:+ $*}" library_test elements gcc "$@"
        long_check_with clang "elements by clang${*:+ $*}" library_test elements clang "$@"
    else
        skip "elements${*:+ $*}" "this processor has no $feature"
    fi
}

avx512="-mavx512f -mavx512bw -mavx512dq -mavx512vl"
elements_on any
elements_on any -DNINC_BF16
if [ "$(uname -m)" = x86_64 ]; then
    elements_on avx2 -mavx2
    elements_on avx2 -mavx2 -DNINC_BF16
    # shellcheck disable=SC2086
    {
        elements_on avx512bw $avx512
        elements_on avx512bw $avx512 -DNINC_BF16
        elements_on avx512_bf16 $avx512 -mavx512bf16 -DNINC_BF16
        # Blocks of 32 channels, as AMX has them.
        elements_on avx512_bf16 $avx512 -mavx512bf16 -DNINC_BF16 -D__AMX_BF16__
    }
fi

# in_fixed_point COMPILER [SHAPE...]: rows that networks do not often have.
in_fixed_point() {
    # shellcheck disable=SC2086
    library_test fixed "$1" $avx512 -mavx512vnni -mavx512bf16 "${@:2}"
}
# On x86-64 alone, whose instructions they are.
if grep -qs avx512_vnni /proc/cpuinfo && grep -qs avx512_bf16 /proc/cpuinfo; then
    check "products in fixed point" in_fixed_point "${CC:-gcc}"
    long_check_with clang "products in fixed point, by clang" in_fixed_point clang
    long_check "products in fixed point, more groups than stay in a cache" \
        in_fixed_point "${CC:-gcc}" -DIN_BLOCKS=32 -DGROUPS=6 -DMOST_IMAGES=3
    long_check "products in fixed point, tiles of more than the registers" \
        in_fixed_point "${CC:-gcc}" -DGROUP_VECTORS=6 -DTILE_ROWS=28
    long_check "products in fixed point, of more inputs than are made integers" \
        in_fixed_point "${CC:-gcc}" -DIN_BLOCKS=180 -DGROUPS=1 -DMOST_IMAGES=1
else
    skip "products in fixed point" "this processor has no AVX-512 VNNI and BF16"
fi

wide_network >"$work/wide.yaml"
wide_network 26 8 >"$work/wide26.yaml"
wide_network 18 16 >"$work/wide18.yaml"

# All that the wide network is for is in it.
# in_tiles MODEL FIXED [OPTION...]: so many products in fixed point.
in_tiles() {
    "$NINC" --target=cpu --emit=ir "${@:3}" "$work/$1.yaml" >"$work/wide.ir" || return 1
    [ "$(grep -c ' math=i16 ' "$work/wide.ir")" = "$2" ] || return 1
    local op
    for op in winograd_multiply winograd_filter_grad; do
        [ "$(grep -c "= $op .*tile=[0-9]* kernel=5x5" "$work/wide.ir")" -gt 0 ] &&
            [ "$(grep -c "= $op .*tile=[0-9]* kernel=3x3" "$work/wide.ir")" -gt 0 ] || return 1
    done
    grep -q '= conv2d_wgrad .* at partial+' "$work/wide.ir" &&
        grep -q '= bias_grad .* at partial+' "$work/wide.ir"
}

# Five vectors do not divide the blocks of any layer.
tile_that_does_not_divide() {
    "$NINC" --target=cpu --emit=ir --dump=schedule --dump-dir="$work/tiles" "$work/wide.yaml" \
        >/dev/null || return 1
    sed -E 's/(= winograd_multiply .* tile=[0-9]+)x[0-9]+/\1x5/' \
        "$work"/tiles/*-schedule.ir >"$work/uneven.ir"
    "$NINC" --target=cpu --emit=ir "$work/uneven.ir" >/dev/null 2>"$work/errors"
    [ $? -eq 1 ] &&
        grep -q '(winograd_multiply): its tile does not divide its blocks of outputs' "$work/errors"
}

# One image in tiles, as the cost of a batch chose them.
one_image_in_tiles() {
    "$NINC" --target=cpu --emit=ir --dump=winograd --dump-dir="$work/tiles" "$work/wide.yaml" \
        >/dev/null || return 1
    sed 's/\[16\([],]\)/[1\1/; s/ batch=16 / batch=1 /; s/batch_size=16 /batch_size=1 /' \
        "$work"/tiles/*-winograd.ir >"$work/one.ir"
    grep -q '= winograd_wgrad ' "$work/one.ir" && verified "$work/one.ir" 2 --full
}

# without PASS: a whole chunk and a whole step.
without() {
    whole_chunk "$work/wide.yaml" 2 "--disable-pass=$1"
}

for model in wide wide26; do
    check "a $model network is in tiles, with sums in parts" in_tiles $model 0
done
for model in wide wide18; do
    check "between bf16 maps in fixed point, $model" in_tiles $model 8 --precision=bf16
done
check "and not without pass fixed" in_tiles wide 0 --precision=bf16 --disable-pass=fixed
check "a tile that does not divide the outputs is refused" tile_that_does_not_divide
long_check "kernels of a wide network -O2" mixed everywhere "$work/wide.yaml" 2
long_check "kernels of a wide network bf16 -O2" in_precision bf16 mixed everywhere \
    "$work/wide.yaml" 2
check "kernels of a wide network, a whole step" light whole_chunk "$work/wide26.yaml" 2
long_check "kernels of a wide network, a whole step, as they ship" whole_chunk "$work/wide.yaml" 2
long_check "kernels of a wide network, one image" one_image_in_tiles
for pass in fuse winograd mask; do
    long_check "kernels of a wide network without pass $pass" without $pass
done
check "kernels of a wide network bf16, a whole step" \
    in_precision bf16 light whole_chunk "$work/wide18.yaml" 2
long_check "kernels of a wide network bf16, a whole step, as they ship" \
    in_precision bf16 whole_chunk "$work/wide.yaml" 2
long_check "kernels of a wide network bf16, a whole step without pass fixed" \
    in_precision bf16 whole_chunk "$work/wide.yaml" 2 --disable-pass=fixed
long_check "kernels of a wide network bf16, a whole step without pass fuse" \
    in_precision bf16 light whole_chunk "$work/wide.yaml" 2 --disable-pass=fuse

grouped_network >"$work/grouped.yaml"
check "kernels of a grouped network -O2" light verified "$work/grouped.yaml" 2
long_check "kernels of a grouped network -O2, as they ship" mixed everywhere "$work/grouped.yaml" 2
check "kernels of a grouped network bf16 -O2" \
    in_precision bf16 light verified "$work/grouped.yaml" 2
long_check "kernels of a grouped network bf16 -O2, as they ship" \
    in_precision bf16 mixed everywhere "$work/grouped.yaml" 2
check "kernels of a grouped network -O0" light verified "$work/grouped.yaml" 0
long_check "kernels of a grouped network bf16 -O0" \
    in_precision bf16 light verified "$work/grouped.yaml" 0
check "kernels of a grouped network, a whole step" light whole_chunk "$work/grouped.yaml" 2

dense_network >"$work/dense.yaml"

# in_matrices COUNT FILTERS [OPTION...]: kernels of linear layers and their gradients; transposed
# filters of such layers, which programs for AMX alone have.
in_matrices() {
    "$NINC" --target=cpu --emit=ir "${@:3}" "$work/dense.yaml" >"$work/dense.ir" &&
        [ "$(grep -cE '^  kernel .* dense(_wgrad after| chunk) ' "$work/dense.ir")" = "$1" ] &&
        [ "$(grep -c '= filter_transpose @[cde]\.' "$work/dense.ir")" = "$2" ]
}

# in_chunks IMAGES [OPTION...]: a whole step of chunks of so many images, the last of fewer.
in_chunks() {
    "$NINC" --target=cpu --emit=ir --precision="${computed_in:-fp32}" --dump=schedule \
        --dump-dir="$work/chunks" "$work/dense.yaml" >/dev/null || return 1
    sed "s/ chunk=37 / chunk=$1 /" "$work"/chunks/*-schedule.ir >"$work/chunks.ir"
    rm -r "$work/chunks"
    grep -q " chunk=$1 " "$work/chunks.ir" && everywhere "$work/chunks.ir" 2 --full
}

check "linear layers are products of matrices" in_matrices 12 0
check "and between bf16 maps" in_matrices 12 3 --precision=bf16
check "kernels of linear layers, a chunk of fewer images" light in_chunks 16
check "kernels of linear layers bf16, a chunk of fewer images" \
    in_precision bf16 light in_chunks 15
long_check "kernels of linear layers" light in_chunks 37
long_check "kernels of linear layers bf16" in_precision bf16 light in_chunks 37
long_check "kernels of linear layers, as they ship" everywhere "$work/dense.yaml" 2 --full
long_check "kernels of linear layers -O1" light everywhere "$work/dense.yaml" 1 --full

# Linear layers alone, the first on the image, an activation whose gradient wants what it reads, and
# weighed classes; a batch whose outputs side by side are more than a small stack.
cat >"$work/rows.yaml" <<'END'
model: rows
input: {dataset: idx, classes: 40, shape: [3, 2, 1]}
layers:
  - flatten
  - linear: {name: a, out_features: 40}
  - gelu
  - linear: {name: b, out_features: 40}
loss: {cross_entropy: {weight: balanced}}
optimizer: {adam: {}}
train: {batch_size: 12000, epochs: 1}
END
rows_in_steps() {
    (ulimit -s 2048 && whole_chunk "$work/rows.yaml" 2 "$@")
}
check "kernels of linear layers alone, a large batch" light rows_in_steps
long_check "kernels of linear layers alone bf16, batches of one" \
    in_precision bf16 light rows_in_steps --batch=1

# A filter row of which a stack has no room for a group's: that gradient is kept whole.
wide_rows() {
    sed 's/\[3, 2, 1\]/[3, 1, 20000]/; s/batch_size: 12000/batch_size: 2/' "$work/rows.yaml" \
        >"$work/wide_rows.yaml"
    (ulimit -s 2048 && whole_chunk "$work/wide_rows.yaml" 2)
}
long_check "kernels of a linear layer of long rows" light wide_rows

for chain in lrn averages; do
    model=tests/models/chains/$chain.yaml
    check "kernels of $chain" light everywhere $model 2
    for numbers in fp32 bf16; do
        long_check "kernels of $chain $numbers -O0" \
            in_precision $numbers light everywhere $model 0
        long_check "kernels of $chain $numbers, a whole step, as they ship" \
            in_precision $numbers mixed everywhere $model 2 --full
    done
done

folded_network >"$work/folded.yaml"

# is_folded MODEL COUNT [OPTION...]: ops of a folded convolution in its graphs.
is_folded() {
    "$NINC" --target=cpu --emit=ir "${@:3}" "$1" >"$work/folded.ir" &&
        [ "$(grep -cE '= (fold_filter|conv2d_folded|conv2d_folded_wgrad|fold_filter_grad) ' \
            "$work/folded.ir")" = "$2" ]
}
check "a resized image is folded into its convolution" is_folded "$work/folded.yaml" 6
check "and not without pass fold" is_folded "$work/folded.yaml" 0 --disable-pass=fold
check "nor at -O1" is_folded "$work/folded.yaml" 0 -O1
check "nor between bf16 maps" is_folded "$work/folded.yaml" 0 --precision=bf16
sed 's/\[3, 40, 39\]/[3, 41, 39]/' "$work/folded.yaml" >"$work/uneven.yaml"
check "nor where every row of outputs has its own filter" is_folded "$work/uneven.yaml" 0
long_check "kernels of a folded network -O2" mixed everywhere "$work/folded.yaml" 2
check "kernels of a folded network, a whole step" light whole_chunk "$work/folded.yaml" 2
long_check "kernels of a folded network, a whole step, as they ship" \
    whole_chunk "$work/folded.yaml" 2
for option in --disable-pass=fuse --disable-pass=fold --batch=1; do
    long_check "kernels of a folded network, a whole step with $option" \
        whole_chunk "$work/folded.yaml" 2 $option
done

sparse_network >"$work/sparse.yaml"

# leaves_zeros_out MODEL X DY [OPTION...]: so many products leave out those of x, and of dy.
leaves_zeros_out() {
    "$NINC" --target=cpu --emit=ir "${@:4}" "$1" >"$work/sparse.ir" &&
        [ "$(grep -c ' sparse=x ' "$work/sparse.ir")" = "$2" ] &&
        [ "$(grep -c ' sparse=dy ' "$work/sparse.ir")" = "$3" ]
}

# The loss of the initial weights as it is logged, with the options.
loss_of() {
    compiled "$work/sparse.yaml" 2 "$@" || return 1
    rm -f "$work/loss"
    "$work/kernels/trainer" train --device cpu --data random --max-steps 1 --no-eval \
        --log-every 1 --log "$work/loss" >/dev/null 2>&1 && grep -o '"loss": *[^,}]*' "$work/loss"
}
same_loss_with_zeros() {
    local without with
    without=$(loss_of) && with=$(loss_of --disable-pass=sparse) && [ -n "$with" ] &&
        [ "$without" = "$with" ]
}
check "zeros behind ReLU and max pools are left out" leaves_zeros_out "$work/sparse.yaml" 14 1
check "and not without pass sparse" leaves_zeros_out "$work/sparse.yaml" 0 0 --disable-pass=sparse
check "nor at -O1" leaves_zeros_out "$work/sparse.yaml" 0 0 -O1
check "between bf16 maps those of max pools alone" \
    leaves_zeros_out "$work/sparse.yaml" 1 1 --precision=bf16
long_check "kernels of a sparse network -O2" mixed everywhere "$work/sparse.yaml" 2
long_check "kernels of a sparse network bf16 -O2" in_precision bf16 mixed everywhere \
    "$work/sparse.yaml" 2
check "kernels of a sparse network, a whole step" light whole_chunk "$work/sparse.yaml" 2
long_check "kernels of a sparse network, a whole step without pass sparse" \
    whole_chunk "$work/sparse.yaml" 2 --disable-pass=sparse
# Tiles of 16 vectors, as no pass makes them but IR text may say, with array bounds checked.
wide_tiles() {
    sparse_network | sed 's/out_channels: 200/out_channels: 256/' >"$work/many.yaml"
    "$NINC" --target=cpu --emit=ir --dump=schedule --dump-dir="$work/many" "$work/many.yaml" \
        >/dev/null || return 1
    sed -E 's/(= conv2d %[0-9]+, @c.weight .*tile=)[0-9x]+/\11x16/
        s/(f32\[256,65,1,1\] .*= conv2d_wgrad .*tile=)[0-9x]+/\11x16/' \
        "$work"/many/*-schedule.ir >"$work/many.ir"
    [ "$(grep -c 'tile=1x16 sparse=x' "$work/many.ir")" -eq 3 ] || return 1
    printf '#!/bin/bash\nexec %s -fsanitize=bounds -fno-sanitize-recover=bounds "$@"\n' \
        "${CC:-gcc}" >"$work/checked"
    chmod +x "$work/checked"
    CC=$work/checked verified "$work/many.ir" 2
}
long_check "sparse products in wider tiles than a pass makes" wide_tiles
long_check "zeros that are left out do not change the loss by a bit" same_loss_with_zeros

# A kernel of several results that forgets one: what is left is not a number.
forgotten() {
    cat >"$work/forgetful" <<END
#!/bin/bash
for file in "\$@"; do
    [[ \$file != */wide.c ]] || sed -i '/^    transpose_filter(&filters_0,/d' "\$file"
done
exec $PWD/tests/tools/light_cc "\$@"
END
    chmod +x "$work/forgetful"
    CC=$work/forgetful compiled "$work/wide.yaml" 2 &&
        [ "$(grep -c '^    transpose_filter(' "$work/kernels/wide.c")" -gt 0 ] || return 1
    ! "$work/kernels/trainer" verify --device cpu >"$work/forgotten" 2>&1 &&
        grep -q '^WRONG train  filters ' "$work/forgotten"
}

check "a result that a kernel forgets is seen" forgotten

# A network whose gradients are the results of one convolution, b, element by element. The image
# is a pixel: each tap of a makes one pixel of b's input, so that a's gradient is b's data
# gradient; each tap of d meets one pixel of b's result. The pixel is far from 0, so that
# gradients are much larger than the parameters that they move.
# linear_network KERNEL PADDING CHANNELS
linear_network() {
    cat <<END
model: linear
input: {dataset: fashion-mnist, shape: [1, 1, 1], resize: bilinear, std: 1.0e-5}
layers:
  - conv2d: {name: a, out_channels: $3, kernel_size: 14, padding: 13, bias: false}
  - conv2d: {name: b, out_channels: $3, kernel_size: $1, padding: $2, bias: false}
  - conv2d: {name: d, out_channels: 10, kernel_size: 14, bias: false}
  - flatten
loss: cross_entropy
optimizer: {sgd: {lr: 0.1}}
train: {batch_size: 16, epochs: 1}
END
}

# error_of SEED: of the parameters after a step, by norm, against double.
error_of() {
    "$work/kernels/trainer" verify --device cpu --full --seed "$1" |
        awk '$2 == "train" && /parameters and moments/ { print $(NF - 2) }'
}

# errors_of [OPTION...]: for two seeds.
errors_of() {
    compiled "$work/linear.yaml" 2 "$@" && error_of 1 && error_of 2
}

# rounds_little KERNEL PADDING CHANNELS PRECISION: at most ten times the direct convolution's error.
rounds_little() {
    local computed_in=$4 op tiles direct
    linear_network "$@" >"$work/linear.yaml"
    for op in multiply wgrad; do
        "$NINC" --target=cpu --emit=ir --precision="$computed_in" "$work/linear.yaml" |
            grep "= winograd_$op " || return 1
    done
    tiles=$(errors_of) &&
        direct=$(errors_of --disable-pass=winograd) || return 1
    echo "in tiles:" $tiles "directly:" $direct
    paste <(echo "$tiles") <(echo "$direct") | awk '
        { if (!($1 > 0 && $2 > 0 && $1 <= 10 * $2)) bad = 1 }
        END { exit bad || NR != 2 }'
}
long_check "Winograd rounds little, kernel 5, fp32" rounds_little 5 2 64 fp32
long_check "Winograd rounds little, kernel 3, fp32" rounds_little 3 1 128 fp32
long_check "Winograd rounds little, kernel 5, bf16" rounds_little 5 2 64 bf16
long_check "Winograd rounds little, kernel 3, bf16" rounds_little 3 1 128 bf16

# As far as linear_network's: gradients of the first convolution, which reads a resized image.
folding_rounds_little() {
    local folded direct
    cat >"$work/linear.yaml" <<'END'
model: linear
input: {dataset: fashion-mnist, shape: [1, 224, 224], resize: bilinear, std: 1.0e-5}
layers:
  - conv2d: {name: a, out_channels: 10, kernel_size: 11, stride: 4, padding: 2, bias: false}
  - gap
  - flatten
loss: cross_entropy
optimizer: {sgd: {lr: 0.1}}
train: {batch_size: 16, epochs: 1}
END
    is_folded "$work/linear.yaml" 6 || return 1
    folded=$(errors_of) && direct=$(errors_of --disable-pass=fold) || return 1
    echo "folded:" $folded "directly:" $direct
    paste <(echo "$folded") <(echo "$direct") | awk '
        { if (!($1 > 0 && $2 > 0 && $1 <= 10 * $2)) bad = 1 }
        END { exit bad || NR != 2 }'
}
long_check "folding rounds little" folding_rounds_little

# A row of very many pixels on small stacks: what a kernel packs does not grow with the map.
long_row() {
    local computed_in=bf16
    cat >"$work/row.yaml" <<'END'
model: row
input: {dataset: idx, classes: 10, data_shape: [1, 1, 60000], shape: [1, 1, 60000]}
layers:
  - conv2d: {name: a, out_channels: 64, kernel_size: 1}
  - conv2d: {name: b, out_channels: 64, kernel_size: 1}
  - gap
  - conv2d: {name: c, out_channels: 10, kernel_size: 1}
  - flatten
loss: cross_entropy
optimizer: {sgd: {lr: 0.1}}
train: {batch_size: 1, epochs: 1}
END
    (ulimit -s 2048 && verified "$work/row.yaml" 2)
}
long_check "kernels of a long row bf16 on small stacks" long_row

tiles_network >"$work/tiles.yaml"

# A row of a weight gradient that is packed in more than one piece, of every target's programs.
rows_in_pieces() {
    "$NINC" --target=cpu --precision=bf16 --emit=c "$work/tiles.yaml" >"$work/tiles.c" &&
        awk '/^static const Wgrad / { wgrads++ }
             match($0, /\.width = [0-9]+/) { width = substr($0, RSTART + 9, RLENGTH - 9) }
             match($0, /\.columns = [0-9]+/) {
                 pieces += substr($0, RSTART + 11, RLENGTH - 11) + 0 < width + 0
             }
             END { exit !(wgrads >= 2 && pieces >= 2) }' "$work/tiles.c"
}
check "some rows are longer than what a weight gradient packs" rows_in_pieces
check "kernels of rows of all lengths bf16 -O2" in_precision bf16 light verified \
    "$work/tiles.yaml" 2
long_check "kernels of rows of all lengths bf16 -O2, everywhere" \
    in_precision bf16 mixed everywhere "$work/tiles.yaml" 2
long_check "kernels of rows of all lengths bf16 -O1" in_precision bf16 everywhere \
    "$work/tiles.yaml" 1
long_check "kernels of nin_fashion bf16 -O2" in_precision bf16 everywhere models/nin_fashion.yaml 2
norms=tests/models/pytorch/norms_sgd.yaml
check "kernels of batch norms -O2" light verified $norms 2
check "kernels of batch norms bf16 -O2" in_precision bf16 light verified $norms 2
for level in 0 1 2; do
    long_check "kernels of batch norms -O$level, everywhere" mixed everywhere $norms $level
    long_check "kernels of batch norms bf16 -O$level, everywhere" \
        in_precision bf16 mixed everywhere $norms $level
done
check "kernels of nin_fashion -O2" everywhere models/nin_fashion.yaml 2
long_check "kernels of nin_fashion -O0" light everywhere models/nin_fashion.yaml 0
check "kernels of lenet -O2" light verified models/lenet.yaml 2
long_check "kernels of lenet_caffe -O2" verified models/lenet_caffe.yaml 2
long_check "kernels of lenet_caffe bf16 -O2" \
    in_precision bf16 verified models/lenet_caffe.yaml 2
# Maps of a few pixels, in tiles of their own size, as ends of networks have them.
cat >"$work/small_maps.yaml" <<'END'
model: small_maps
input: {dataset: idx, classes: 10, data_shape: [3, 4, 4], shape: [3, 4, 4]}
layers:
  - conv2d: {name: a, out_channels: 320, kernel_size: 3, padding: 1}
  - relu
  - conv2d: {name: b, out_channels: 320, kernel_size: 3, padding: 1}
  - batch_norm: {name: c}
  - relu
  - maxpool: {kernel_size: 2}
  - conv2d: {name: d, out_channels: 320, kernel_size: 3, padding: 1}
  - conv2d: {name: e, out_channels: 10, kernel_size: 1}
  - gap
  - flatten
loss: cross_entropy
optimizer: {sgd: {lr: 0.1, momentum: 0.9}}
train: {batch_size: 16, epochs: 1}
END
for numbers in fp32 bf16; do
    long_check "kernels of small maps $numbers -O2" \
        in_precision $numbers mixed everywhere "$work/small_maps.yaml" 2 --full
done
long_check "kernels of nin_cifar10 -O2" verified tests/models/plain/nin_cifar10.yaml 2
long_check "kernels of nin -O2" verified models/nin.yaml 2
long_check "kernels of nin_cifar10 bf16 -O2" \
    in_precision bf16 whole_chunk tests/models/plain/nin_cifar10.yaml 2 --batch=8
long_check "kernels of nin bf16 -O2" in_precision bf16 verified models/nin.yaml 2
finish
