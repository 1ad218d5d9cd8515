#!/bin/bash
# What decides a step beside the network: optimizers, against the evaluator on the CPU and in the
# simulator; schedules of the learning rate, which the log tells as they were used, and with which a
# run that was stopped goes on.
# shellcheck source=tests/lib.sh
. tests/lib.sh
light_kernels

# model OPTIMIZER [TRAIN...] -> $work/NAME.yaml
model() {
    cat <<END
model: small
input: {dataset: idx, classes: 5, data_shape: [1, 12, 12], shape: [1, 12, 12]}
layers:
  - conv2d: {name: first, out_channels: 12, kernel_size: 3, stride: 2}
  - relu
  - conv2d: {name: last, out_channels: 5, kernel_size: 1}
  - gap
  - flatten
loss: cross_entropy
optimizer: {$1}
train: {batch_size: 6, epochs: 3, log_every: 1${2:+, $2}}
END
}

# compile NAME [OPTION...]: the model on stdin, for all targets.
compile() {
    local name=$1
    shift
    cat >"$work/$name.yaml"
    "$NINC" -q "$one_level" "$@" -o "$work/$name" "$work/$name.yaml"
}

# verified NAME DEVICE
verified() {
    "$work/$1/trainer" verify --device "$2" --threads 1 >"$work/verify" 2>&1 && return
    grep -v '^ok ' "$work/verify"
    return 1
}

# ---- optimizers ----

sim=sim
"${CXX:-c++}" --version >/dev/null 2>&1 || sim=

# step_of NAME LEVEL OPTIMIZER [TRAIN]: a compiled step against the evaluator.
step_of() {
    local device
    model "$3" "${4:-}" | compile "$1" "-O$2" || return 1
    for device in cpu $sim; do
        verified "$1" $device || return 1
    done
}

nesterov="sgd: {lr: 0.1, momentum: 0.9, weight_decay: 0.001, nesterov: true}"
adamw="adamw: {lr: 0.01, weight_decay: 0.1}"
rmsprop="rmsprop: {lr: 0.01, momentum: 0.9, weight_decay: 0.001}"
# One part of the parameters' chains less would not be seen where the norm is small.
clipped="sgd: {lr: 0.1, momentum: 0.9, weight_decay: 0.001}"
check "a clipped step -O2" step_of clip 2 "$clipped" "clip_grad_norm: 0.01"
long_check "a clipped step -O0" step_of clip0 0 "$clipped" "clip_grad_norm: 0.01"

# same_bits NAME: whatever the number of threads.
same_bits() {
    local n
    for n in 1 3; do
        "$work/$1/trainer" train --device cpu --threads $n --data random --no-progress --no-eval \
            --max-steps 4 --save "$work/threads-$n.safetensors" >/dev/null || return 1
    done
    cmp "$work/threads-1.safetensors" "$work/threads-3.safetensors"
}
check "threads change no bit of clipped steps" same_bits clip
check "a step of nesterov -O2" step_of nesterov 2 "$nesterov"
check "a step of adamw with averages -O2" step_of adamw 2 "$adamw" "ema: 0.9"
check "a step of rmsprop -O2" step_of rmsprop 2 "$rmsprop"
long_check "a step of nesterov -O0" step_of nesterov0 0 "$nesterov"
long_check "a step of adamw with averages -O0" step_of adamw0 0 "$adamw" "ema: 0.9"
long_check "a step of rmsprop -O0" step_of rmsprop0 0 "$rmsprop"

# ---- losses ----

# smoothed NAME LEVEL [SED]: the head of a model with label smoothing.
smoothed() {
    local device
    model "sgd: {lr: 0.1}" | sed "s/^loss: .*/loss: {cross_entropy: {label_smoothing: 0.1}}/; ${3:-}" |
        compile "$1" "-O$2" || return 1
    for device in cpu $sim; do
        verified "$1" $device || return 1
    done
}
long_check "label smoothing -O2" smoothed smoothed 2
check "label smoothing of a row -O2" smoothed row 2 \
    's/, kernel_size: 1}/, kernel_size: 5}/; /- gap/d'
long_check "label smoothing -O0" smoothed smoothed0 0

# weighted NAME LEVEL WEIGHT [SED]: with weights of the classes too.
weighted() {
    smoothed "$1" "$2" "s/label_smoothing: 0.1/weight: $3/; ${4:-}"
}
check "weighted classes, smoothed labels -O2" weighted weighted 2 \
    "[1, 0.5, 2, 0, 3], label_smoothing: 0.1"
long_check "weighted classes -O0" weighted weighted0 0 "balanced"
long_check "weighted classes of a row -O2" weighted weighted_row 2 "balanced" \
    's/, kernel_size: 1}/, kernel_size: 5}/; /- gap/d'

# ---- layers of their own ----

# own FIRST BLOCK LAST: keys of each layer.
own() {
    cat <<END
model: small
input: {dataset: idx, classes: 5, data_shape: [1, 12, 12], shape: [1, 12, 12]}
layers:
  - conv2d: {name: first, out_channels: 12, kernel_size: 3, stride: 2, $1}
  - relu
  - mlpconv: {name: block, out_channels: [20, 17, 16], kernel_size: 3, padding: 1, $2}
  - conv2d: {name: last, out_channels: 5, kernel_size: 1, $3}
  - gap
loss: cross_entropy
optimizer: {adamw: {lr: 0.01}}
train: {batch_size: 6, epochs: 3, log_every: 1}
END
}

# own_step NAME LEVEL FIRST BLOCK LAST
own_step() {
    local device
    own "${@:3}" | compile "$1" "-O$2" || return 1
    for device in cpu $sim; do
        verified "$1" $device || return 1
    done
}
check "a step with rates of its own -O2" own_step own 2 "lr_mult: 2" "weight_decay_mult: [3, 0]" \
    "lr_mult: [0.5, 2], weight_decay_mult: 2"
check "a step with a frozen front -O2" own_step front 2 "freeze: true" "freeze: true" "lr_mult: 2"
check "a step with a frozen middle -O2" own_step middle 2 "bias: true" "freeze: true" "bias: true"
for level in 0 1; do
    long_check "a step with rates of its own -O$level" own_step own$level $level "lr_mult: 2" \
        "weight_decay_mult: [3, 0]" "lr_mult: [0.5, 2]"
    long_check "a step with a frozen front -O$level" own_step front$level $level "freeze: true" \
        "freeze: true" "lr_mult: 2"
    long_check "a step with a frozen middle -O$level" own_step middle$level $level "bias: true" \
        "freeze: true" "bias: true"
done

# Nothing behind the last frozen layer has a gradient.
check "a frozen front costs no backward" eval \
    '! "$NINC" --target=cpu --emit=ir "$work/front.yaml" | grep -E "conv2d_wgrad|relu_grad|dgrad" |
        grep -v "conv2d_wgrad.*kernel=1x1"'
check "a frozen middle has a gradient through it" eval \
    '[ "$("$NINC" --target=cpu --emit=ir "$work/middle.yaml" | grep -c "= conv2d_wgrad")" -eq 2 ]'

# kept NAME PARAMETER: the bytes of its tensor in a file of parameters (safetensors; no other has its
# name's), after so many steps.
parameters() {
    "$work/$1/trainer" train --device cpu --threads 1 --data random --no-progress --no-eval \
        --max-steps "$2" --save "$work/$1-$2.safetensors" >/dev/null
}

# bytes FILE TENSOR
bytes() {
    local header begin end
    header=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    read -r begin end < <(head -c $((8 + header)) "$1" | tail -c "$header" | grep -oE \
        "\"$2\":\{[^}]*\"data_offsets\":\[[0-9]+,[0-9]+" | sed 's/.*\[//; s/,/ /')
    tail -c +$((9 + header + begin)) "$1" | head -c $((end - begin)) | cksum
}

frozen_stay() {
    parameters middle 1 && parameters middle 4 || return 1
    local tensor same
    for tensor in first.weight block.0.weight block.2.bias last.weight; do
        same=no
        [ "$(bytes "$work/middle-1.safetensors" $tensor)" != \
            "$(bytes "$work/middle-4.safetensors" $tensor)" ] || same=yes
        [[ $tensor:$same == @(block*:yes|[fl]*:no) ]] || { echo "$tensor $same"; return 1; }
    done
}
check "frozen parameters keep their bits" frozen_stay

# ---- schedules ----

# On 1024 random images an epoch has 11 steps, a run 33. What goes on beside a schedule are averages
# of the parameters.
schedule() {
    model "sgd: {lr: 0.1, momentum: 0.9}" "batch_size: 100, ema: 0.9, schedule: {$1}" |
        sed 's/batch_size: 6, //; s/log_every: 1,/log_every: 1, checkpoint_every: 5,/'
}

run() {
    "$work/$1/trainer" train --device cpu --threads 1 --data random --no-progress "${@:2}"
}

# field NAME FILE: of the training lines of a log, on one line.
field() {
    sed -n '/"train"/s/.*"'"$1"'":\([^,]*\).*/\1/p' "$2" | tr '\n' ' '
}

# rates NAME PYTHON: the log's rates are those of the expression, of step s from 1, epoch e from 0.
rates() {
    run "$1" --log "$work/$1.jsonl" --save "$work/$1.safetensors" >/dev/null || return 1
    field lr "$work/$1.jsonl" | awk -v steps=33 'NF != steps { exit 1 } { for (s = 1; s <= NF; s++) {
        e = int((s - 1) / 11); want = '"$2"'; off = $s - want
        if (!(off <= 1e-9 && off >= -1e-9)) { print s, $s, want; exit 1 } } }'
}

# goes_on NAME STEP: stopped there and resumed, the run ends with the same bits and log.
goes_on() {
    rm -rf "$work/c" "$work/part".*
    run "$1" --max-steps "$2" --checkpoint-dir "$work/c" --log "$work/part.jsonl" \
        --save "$work/part.safetensors" >/dev/null &&
        run "$1" --resume "$work/c" --log "$work/part.jsonl" --save "$work/part.safetensors" \
            >/dev/null &&
        cmp "$work/part.safetensors" "$work/$1.safetensors" &&
        [ "$(field lr "$work/part.jsonl")" = "$(field lr "$work/$1.jsonl")" ] &&
        [ "$(field loss "$work/part.jsonl")" = "$(field loss "$work/$1.jsonl")" ]
}

# scheduled NAME SETTINGS AWK STEP...
scheduled() {
    local step
    schedule "$2" | compile "$1" --target=cpu && rates "$1" "$3" || return 1
    for step in "${@:4}"; do
        goes_on "$1" "$step" || return 1
    done
}

pi=3.14159265358979
check "step, by epochs, a long warm-up" scheduled step \
    "step: {step_size: 1, gamma: 0.5, warmup: 40}" "0.1 * 0.5 ^ e * s / 40" 11
check "cosine, by steps, with warm-up" scheduled cosine \
    "cosine_annealing: {eta_min: 0.01, unit: step, warmup: 7}" \
    "(0.01 + 0.09 * (1 + cos($pi * (s - 1) / 33)) / 2) * (s < 7 ? s / 7 : 1)" 3 16
check "one cycle" scheduled cycle "one_cycle: {max_lr: 0.4, pct_start: 0.4}" \
    "s - 1 <= 12.2 ? 0.016 + 0.384 * (1 - cos($pi * (s - 1) / 12.2)) / 2 : \
        1.6e-6 + (0.4 - 1.6e-6) * (1 + cos($pi * (s - 13.2) / 19.8)) / 2" 20
for case in "multi_step|milestones: [1, 2], gamma: 0.5|0.1 * 0.5 ^ e" \
    "exponential|gamma: 0.9, unit: step|0.1 * 0.9 ^ (s - 1)" \
    "linear|total_iters: 20, unit: step|0.1 * (s > 20 ? 1 : 0.3333333 + 0.6666667 * (s - 1) / 20)" \
    "poly|power: 2.0, unit: step|0.1 * (1 - (s - 1) / 33) ^ 2"; do
    kind=${case%%|*} settings=${case#*|}
    long_check "$kind with warm-up" scheduled "$kind" "$kind: {${settings%|*}, warmup: 9}" \
        "${settings#*|} * (s < 9 ? s / 9 : 1)" 5 20
done

# Two schedules that tell one rate step alike, and at another rate otherwise.
used() {
    local log="$work/used.jsonl"
    run cycle --max-steps 1 --log "$log" --save "$work/cycle.1" >/dev/null &&
        [ "$(field lr "$log")" = "0.016 " ] &&
        run step --lr 0.64 --max-steps 1 --log "$log" --save "$work/step.1" >/dev/null &&
        [ "$(field lr "$log")" = "0.016 " ] && cmp "$work/cycle.1" "$work/step.1" &&
        run step --lr 0.6 --max-steps 1 --save "$work/step.2" >/dev/null &&
        ! cmp -s "$work/cycle.1" "$work/step.2"
}
check "the rate in the log is the one that is used" used

# plateau_rates: an epoch's accuracy that is no better than all before halves the rate; the first
# 15 steps are a warm-up.
plateau_rates() {
    sed -n 's/.*"eval".*"accuracy":\([^,}]*\).*/\1/p' "$work/plateau.jsonl" >"$work/accuracy"
    field lr "$work/plateau.jsonl" | tr ' ' '\n' | awk 'NR == FNR { accuracy[NR - 1] = $1; next }
        FNR == 1 { rate = 0.1; best = accuracy[0] }
        FNR > 1 && (FNR - 1) % 11 == 0 && FNR > 12 { e = (FNR - 1) / 11 - 1
            if (accuracy[e] > best * 1.0001) best = accuracy[e]; else { rate /= 2; cuts++ } }
        { want = rate * (FNR < 15 ? FNR / 15 : 1); off = $1 - want }
        $1 != "" && !(off < 1e-9 && off > -1e-9) { print FNR, $1, want; exit 1 }
        END { if (FNR < 33 || cuts < 1) exit 1 }' "$work/accuracy" -
}

plateau() {
    local warm="unit: epoch, warmup: 15"
    schedule "reduce_on_plateau: {factor: 0.5, patience: 0, metric: accuracy, $warm}" |
        sed 's/epochs: 3/epochs: 6/' | compile plateau --target=cpu &&
        run plateau --log "$work/plateau.jsonl" --save "$work/plateau.safetensors" >/dev/null &&
        plateau_rates && goes_on plateau 22 && goes_on plateau 40
}
check "plateau" plateau

# refused MESSAGE COMMAND...
refused() {
    ! "${@:2}" >"$work/said" 2>&1 && grep -q "$1" "$work/said"
}
check "--no-eval and a plateau" refused "plateau follows the evaluations" \
    run plateau --no-eval --no-save
check "--lr and one cycle" refused "lr says nothing to one_cycle" run cycle --lr 1 --no-save
check "--lr is the base" eval 'run step --lr 0.4 --max-steps 12 --log "$work/base.jsonl" \
    --no-save >/dev/null && [[ $(field lr "$work/base.jsonl") == "0.01 "*" 0.11 0.06 " ]]'

# said NAME LINE...: of `trainer info`.
said() {
    "$work/$1/trainer" info --device cpu >"$work/info" || return 1
    local line
    for line in "${@:2}"; do
        grep -qxF "$line" "$work/info" || { head -n 9 "$work/info"; return 1; }
    done
}
check "info tells the schedule, averages and clipping" said cycle \
    "optimizer sgd lr=0.1 momentum=0.9 weight_decay=0" "ema 0.9" "  final_div_factor=1e+04" \
    "schedule one_cycle max_lr=0.4 total_steps=0 pct_start=0.4 div_factor=25"
check "info tells the loss" said weighted \
    "loss cross_entropy {label_smoothing=0.1} class_weight [1,0.5,2,0,3]"
check "info tells what is frozen" said front \
    "frozen first block.0 block.2 block.4: 2,945 of 3,030 parameters"

# ---- early stopping ----

# A rate of 0 gets no better: the first epoch is the best, two more are waited for.
early() {
    model "sgd: {lr: 0}" "early_stop: {patience: 2}" | sed 's/epochs: 3/epochs: 9/' |
        compile early --target=cpu --batch=100 &&
        run early --log "$work/early.jsonl" --no-save --checkpoint-dir "$work/e" \
            >"$work/said" && grep -q "^stopped early: no better .* in 2 epochs .* after step 11$" \
        "$work/said" && [ "$(field step "$work/early.jsonl" | wc -w)" -eq 33 ] &&
        [ "$(grep -c '"eval"' "$work/early.jsonl")" -eq 3 ]
}
check "a run stops early" early
check "one that has stopped early stays so" eval 'run early --resume "$work/e" --no-save \
    >"$work/said" && grep -q "^stopped early" "$work/said" && grep -q "^done: 0 steps" "$work/said"'
check "--no-eval and early_stop" refused "early_stop follows the evaluations" \
    run early --no-eval --no-save

# told MESSAGE COMMAND...
told() {
    "${@:2}" >"$work/said" 2>&1 && grep -q "$1" "$work/said"
}
# What ninc tells of it stands in tests/models/golden/frontend/length_of_*.
check "ninc -q does not tell of another length" eval 'schedule "step: {step_size: 3}" \
    >"$work/length.yaml" && [ -z "$("$NINC" -q --check "$work/length.yaml" 2>&1)" ]'
check "the trainer tells other epochs" told "step.s step_size is 1, but the run has 1 epoch:" \
    run step --epochs 1 --max-steps 1 --no-save
check "the trainer tells a warm-up that is too long" \
    told "warmup of step is 40 steps, but the run has 33" run step --max-steps 1 --no-save

# What stands in the text of IR reads back.
for text in "multi_step: {milestones: [1, 2], gamma: 0.5, warmup: 12}|multi_step milestones=[1,2] \
gamma=0.5 warmup=12" "poly: {power: 2.0, unit: step}|poly power=2 total_iters=0 by_step warmup=0" \
    "reduce_on_plateau: {metric: accuracy, patience: 1}|reduce_on_plateau factor=0.1 patience=1 \
accuracy warmup=0"; do
    schedule "${text%%|*}" >"$work/text.yaml"
    check "text of ${text%%:*}" eval '"$NINC" -O0 --target=cpu --emit=ir "$work/text.yaml" \
        >"$work/text.ir" 2>/dev/null && grep -qxF "  schedule ${text#*|}" "$work/text.ir" &&
        "$NINC" --emit=ir "$work/text.ir" | cmp - "$work/text.ir"'
done

finish
