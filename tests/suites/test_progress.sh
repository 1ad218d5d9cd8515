#!/bin/bash
# What people see of a run: lines on standard output, how many and how epochs are counted, beside
# what the log holds; the progress bar on terminals of some widths.
# shellcheck source=tests/lib.sh
. tests/lib.sh
light_kernels

export LC_ALL=C.UTF-8

# compile NAME BATCH LOG_EVERY: of the 1024 random images an epoch has 1024 / BATCH steps.
compile() {
    cat >"$work/$1.yaml" <<END
model: small
input: {dataset: fashion-mnist, shape: [1, 28, 28]}
layers:
  - conv2d: {name: only, out_channels: 10, kernel_size: 28, stride: 28}
  - flatten
loss: cross_entropy
optimizer: {sgd: {lr: 0.01}}
train: {batch_size: $2, epochs: 2, log_every: $3}
END
    "$NINC" -q -O0 --target=cpu "$one_level" -o "$work/$1" "$work/$1.yaml" >"$work/output" 2>&1 ||
        fail "compile $1" "$work/output"
}
compile long 1 5
compile short 600 5

# run NAME FLAG...: its lines in $work/said, its log in $work/log.
run() {
    "$work/$1/trainer" train --data random --threads 1 --log "$work/log" "${@:2}" \
        >"$work/said" 2>"$work/errors" </dev/null
}

# shown EPOCH/EPOCHS: the steps of its training lines.
shown() {
    sed -n "s|^step \([0-9]*\)  epoch $1  loss .* images/s\$|\1|p" "$work/said" | paste -sd ' '
}

# logged EPOCH: the same of the log, where epochs count from 0.
logged() {
    sed -n "s|^{\"event\":\"train\",\"step\":\([0-9]*\),\"epoch\":$1,.*|\1|p" "$work/log" |
        paste -sd ' '
}

long_epochs() {
    run long || return 1
    cat "$work/said"
    [ "$(shown 1/2)" = "105 210 315 420 525 630 735 840 945" ] &&
        [ "$(shown 2/2)" = "1050 1155 1260 1365 1470 1575 1680 1785 1890 1995 2048" ] &&
        [ "$(logged 0)" = "$(seq -s ' ' 5 5 1024)" ] &&
        [ "$(logged 1)" = "$(seq -s ' ' 1025 5 2048) 2048" ]
}
check "a long epoch has about ten lines, the log all" long_epochs

# Means of the same images: the loss of a line is that of the log's line of its step.
same_losses() {
    local loss
    loss=$(sed -n 's/.*"train","step":210,.*"loss":\([0-9.]*\),.*/\1/p' "$work/log") &&
        grep -qF "step 210  epoch 1/2  loss $(printf %.4f "$loss")  " "$work/said"
}
check "a line has the numbers of the log" same_losses

tests_counted() {
    grep -q '^step 1024  epoch 1/2  test loss ' "$work/said" &&
        grep -q '^step 2048  epoch 2/2  test loss ' "$work/said" &&
        grep -q '"eval","step":1024,"epoch":1,' "$work/log" &&
        grep -q '"eval","step":2048,"epoch":2,' "$work/log"
}
check "test lines count epochs as training lines do" tests_counted

short_epochs() {
    run short --epochs 3 || return 1
    cat "$work/said" "$work/log"
    [ "$(shown 1/3) $(shown 2/3) $(shown 3/3)" = "2 4 6" ] &&
        [ "$(logged 0) $(logged 1) $(logged 2)" = "2 4 6" ]
}
check "a short epoch has a line" short_epochs

asked_for() {
    run long --log-every 64 --epochs 1 || return 1
    [ "$(shown 1/1)" = "$(seq -s ' ' 64 64 1024)" ] && [ "$(logged 0)" = "$(shown 1/1)" ] &&
        run short --log-every 5 && [ "$(shown 1/2)$(shown 2/2)" = 4 ]
}
check "--log-every is obeyed" asked_for

few_steps() {
    run long --max-steps 40 --no-eval && [ "$(shown 1/2)" = "$(seq -s ' ' 5 5 40)" ]
}
check "a run of few steps has lines" few_steps

# ---- the bar ----

# drawn COLUMNS [NAME=VALUE...]: the bar that a terminal of that width is sent at first. Blocks of
# UTF-8 become =, - and _.
drawn() {
    local columns=$1
    shift
    script -qec "stty cols $columns rows 24; exec env TERM=xterm $* $work/long/trainer train \
--data random --threads 1 --epochs 1 --no-eval" /dev/null </dev/null |
        tr -d '\n' | sed 's/\r\x1b\[J/\n/g' | sed -n '2s/\r.*//p' |
        sed 's/\xe2\x96\x88/=/g; s/\xe2\x96\x8c/-/g; s/\xc2\xb7/_/g' >"$work/bar"
    cat "$work/bar"
    [ -s "$work/bar" ]
}

# bar_at COLUMNS PATTERN [NAME=VALUE...]
bar_at() {
    drawn "$1" "${@:3}" && grep -qE "$2" "$work/bar" &&
        awk -v columns="$1" 'length >= columns { exit 1 }' "$work/bar"
}
number='[0-9.]+'
left='([0-9:]+|\?) left'
check_with script "the bar at 80 columns" bar_at 80 \
    "^epoch 1/1 [=_-]+ +[0-9]+/1024  loss $number  acc $number  $left"
check_with script "the bar at 40 columns" bar_at 40 "^epoch 1/1 [=_-]{4,} +[0-9]+/1024  $left\$"
check_with script "the bar at 22 columns" bar_at 22 "^ *[0-9]+/1024  $left\$"
check_with script "the bar without UTF-8" bar_at 80 "^epoch 1/1 \\[[#.]+\\] +[0-9]+/1024  loss" \
    LC_ALL=C
no_bar() {
    ! drawn 80 TERM=dumb
}
check_with script "no bar on a dumb terminal" no_bar
finish
