#!/bin/bash
# Batch norm in a trainer: the last batch of an epoch, its files, a run that is stopped and resumed,
# and how many parameters nin_bn has.
. tests/lib.sh
light_kernels

tool=$BUILD/parity_tool
case=tests/models/pytorch/norms_sgd
data=$work/data
trainer=$work/trainer/trainer

make() {
    mkdir "$data" && "$tool" data $case.json "$data" &&
        "$tool" init $case.json "$work/init.safetensors" &&
        "$NINC" -q --target=cpu "$one_level" -o "$work/trainer" $case.yaml
}
check "compile a model with batch norms" make

# train OPTION...
train() {
    "$trainer" train --data "$data" --no-eval --no-progress "$@" >/dev/null
}

# refused TEXT COMMAND...: an error of one line, which has the text.
refused() {
    "${@:2}" >/dev/null 2>"$work/error"
    local status=$?
    cat "$work/error"
    [ $status -eq 1 ] && [ "$(wc -l <"$work/error")" -eq 1 ] && grep -qF -- "$1" "$work/error"
}

# ---- the last batch ----

# last_batch BATCH: of 11 images.
last_batch() {
    "$NINC" -q --target=cpu "$one_level" --batch="$1" -o "$work/other" $case.yaml
}
check "compile for batches of 5 images" last_batch 5
check "a last batch of one image and one value a channel is an error" \
    refused 'needs 2 images or more; compile the model with --batch=6' \
    "$work/other/trainer" train --data "$data" --epochs 1 --no-eval --no-save
check "not where the run ends before" \
    "$work/other/trainer" train --data "$data" --epochs 1 --no-eval --no-save --max-steps 2
check "a last batch of 3 images is trained" train --epochs 2 --no-save

# ---- files ----

check "statistics and counts are saved" train --max-steps 4 --no-shuffle --save \
    "$work/a.safetensors" \
    --init "$work/init.safetensors"
counts() {
    [ "$(grep -ao '_norm.num_batches_tracked":{"dtype":"I64","shape":\[\]' "$work/a.safetensors" |
        wc -l)" -eq 5 ] &&
        [ "$(grep -ao '_norm.running_[a-z]*":{"dtype":"F32"' "$work/a.safetensors" | wc -l)" \
            -eq 10 ]
}
check "counts as scalars of 64 bits, statistics as floats" counts

# As PyTorch before 0.4.1 wrote them: what has another name is another tensor.
without_counts() {
    LC_ALL=C sed 's/num_batches_tracked/not_batches_tracked/g' "$work/a.safetensors" >"$work/old" &&
        train --init "$work/old" --max-steps 1 --no-save
}
check "a file without counts does for --init" without_counts

# Ones become minus ones: a fresh model's weights and variances.
negative_variance() {
    train --max-steps 0 --save "$work/fresh.safetensors" &&
        LC_ALL=C sed 's/\x00\x00\x80\x3f/\x00\x00\x80\xbf/g' "$work/fresh.safetensors" \
            >"$work/negative.safetensors" &&
        ! cmp -s "$work/fresh.safetensors" "$work/negative.safetensors" &&
        refused 'running_var' "$trainer" eval --data "$data" --weights "$work/negative.safetensors"
}
check "a negative variance is an error" negative_variance

# ---- going on ----

bits() {
    train --max-steps 9 --seed 3 --save "$work/whole.safetensors" &&
        train --max-steps 4 --seed 3 --checkpoint-dir "$work/c" --no-save &&
        train --max-steps 9 --resume "$work/c" --save "$work/resumed.safetensors" &&
        cmp "$work/whole.safetensors" "$work/resumed.safetensors"
}
check "a resumed run ends with the same bits" bits

# another_momentum: of a running statistic; it is another model.
another_momentum() {
    sed 's/momentum: 0.3/momentum: 0.2/' $case.yaml >"$work/momentum.yaml" &&
        "$NINC" -q --target=cpu "$one_level" -o "$work/other" "$work/momentum.yaml" &&
        refused 'momentum=0.2' "$work/other/trainer" train --data "$data" --resume "$work/c"
}
check "the momentum of statistics is part of the model" another_momentum

# ---- nin_bn ----

parameters() {
    "$NINC" --emit=summary --target=cpu models/nin_bn.yaml | grep -E '^total +1,005,642 '
}
check "nin_bn has the 1,005,642 parameters of its PyTorch module" parameters
finish
