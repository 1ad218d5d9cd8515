#!/bin/bash
# Stopping and going on: a resumed run ends with the bits, and tells the losses, of one that was
# never stopped; checkpoints that do not fit are refused; a full disk costs no earlier checkpoint.
# shellcheck source=tests/lib.sh
. tests/lib.sh
light_kernels

# compile NAME [OPTIONS...]: a trainer of the model whose YAML is on stdin.
compile() {
    local name=$1
    shift
    cat >"$work/$name.yaml"
    "$NINC" -q --target=cpu "$one_level" "$@" -o "$work/$name" "$work/$name.yaml" \
        >"$work/output" 2>&1 ||
        fail "compile $name" "$work/output"
}

# model ADAM_OR_SGD CHANNELS: batches of 48, of which the 1024 random images are 21 and a third.
model() {
    cat <<END
model: small
input: {dataset: fashion-mnist, shape: [1, 28, 28]}
layers:
  - conv2d: {name: first, out_channels: $2, kernel_size: 4, stride: 4}
  - relu
  - dropout: {p: 0.2}
  - conv2d: {name: last, out_channels: 10, kernel_size: 1}
  - gap
  - flatten
loss: cross_entropy
optimizer: $1
train: {batch_size: ${3:-48}, epochs: 3, log_every: 5, checkpoint_every: 10}
END
}

model '{adam: {lr: 0.01}}' 8 | compile adam
model '{sgd: {lr: 0.1, momentum: 0.9}}' 8 | compile sgd
model '{adam: {lr: 0.01}}' 16 | compile wide
model '{adam: {lr: 0.01}}' 8 16 | compile batch
sed 's/shape: \[1, 28, 28\]/&, mean: [0.5]/' "$work/adam.yaml" | compile mean
# Both give 2x2 maps: windows from rows 0 and 13 of 28, and from rows -1 and 13.
window() {
    sed "s/kernel_size: 4, stride: 4/kernel_size: 3, stride: $1/" "$work/adam.yaml"
}
window 13 | compile steps
window "14, padding: 1" | compile padded

# run MODEL OPTIONS...: on random images, 66 steps in three epochs.
run() {
    local model=$1
    shift
    "$work/$model/trainer" train --device cpu "$@"
}

# The log without speeds.
losses() {
    sed 's/,"images_per_second.*//' "$1"
}

# same_end NAME MODEL FILE: FILE.safetensors and FILE.jsonl are those of the uninterrupted run.
same_end() {
    losses "$work/$3.jsonl" >"$work/losses"
    check "$1: parameters" cmp "$work/$2.safetensors" "$work/$3.safetensors"
    check "$1: log" diff "$work/$2.losses" "$work/losses"
}

for m in adam sgd; do
    check "$m runs" run $m --data random --threads 1 --save "$work/$m.safetensors" \
        --log "$work/$m.jsonl"
    losses "$work/$m.jsonl" >"$work/$m.losses"
done
check "evaluations are in the log" test "$(grep -c '"eval"' "$work/adam.losses")" -eq 3

# ---- stopped at a step, and gone on with on another number of threads ----

# In the middle of an interval of the log, at its end, at the end of an epoch, before the end.
for m in adam sgd; do
    for step in 1 13 20 22 44 66; do
        [ $m = adam ] || [ $step -ge 44 ] || continue
        rm -rf "$work/c" "$work/part".*
        run $m --data random --threads 1 --max-steps $step --checkpoint-dir "$work/c" \
            --log "$work/part.jsonl" >"$work/output" 2>&1 || fail "$m to $step" "$work/output"
        run $m --threads 3 --resume "$work/c" --save "$work/part.safetensors" \
            --log "$work/part.jsonl" >"$work/output" 2>&1 || fail "$m from $step" "$work/output"
        same_end "$m stopped at $step" $m part
    done
done
check "the last checkpoint is of the end" test "$(readlink "$work/c/latest")" = step-00000066

rm -rf "$work/c" "$work/part".*
run adam --data random --seed 7 --no-shuffle --lr 0.003 --epochs 2 --save "$work/own.safetensors" \
    --log "$work/own.jsonl" >/dev/null
losses "$work/own.jsonl" >"$work/own.losses"
run adam --data random --seed 7 --no-shuffle --lr 0.003 --epochs 2 --max-steps 9 \
    --checkpoint-dir "$work/c" --log "$work/part.jsonl" >/dev/null
run adam --resume "$work/c/latest" --save "$work/part.safetensors" --log "$work/part.jsonl" \
    >"$work/output" 2>&1
same_end "seed, order, rate and epochs come from the checkpoint" own part

# ---- stopped by a signal, and gone on with as the trainer says ----

for signal in TERM INT; do
    rm -rf "$work/c" "$work/part".* "$work/said"
    interruptible "$work/adam/trainer" train --device cpu --data random --epochs 100000 --no-eval \
        --max-steps 5000000 --checkpoint-dir "$work/c" --log "$work/part.jsonl" \
        >"$work/said" 2>&1 </dev/null &
    child=$!
    for _ in $(seq 100); do
        grep -qs '^step' "$work/said" && break
        sleep 0.1
    done
    kill -$signal $child
    wait $child
    status=$?
    command=$(grep -a -A 1 'go on with' "$work/said" | tail -n 1)
    stopped=$(sed -n 's/^stopped by SIG.* after step \([0-9]*\).*/\1/p' "$work/said")
    check "SIG$signal: exit status" test $status -eq $((128 + $(kill -l $signal)))
    check "SIG$signal: says how to go on" test -n "$command"
    check "SIG$signal: a checkpoint of that step" \
        test -f "$work/c/step-$(printf %08d "$stopped")/state.json"
    later=$((stopped + 7))
    check "SIG$signal: the command goes on" bash -c \
        "${command/--max-steps 5000000/--max-steps $later} --save '$work/part.safetensors'"
    run adam --data random --epochs 100000 --no-eval --max-steps $later \
        --save "$work/whole.safetensors" --log "$work/whole.jsonl" >/dev/null
    losses "$work/whole.jsonl" >"$work/whole.losses"
    same_end "SIG$signal" whole part
done

# Ctrl-C ends both sides of a pipe.
stops_without_reader() (
    rm -rf "$work/c" && mkfifo "$work/pipe" || exit 1
    interruptible "$work/adam/trainer" train --device cpu --data random --epochs 100000 --no-eval \
        --log-every 50 --checkpoint-dir "$work/c" >"$work/pipe" 2>"$work/said" </dev/null &
    child=$!
    exec 3<"$work/pipe"
    while read -r -t 20 line <&3 && [[ $line != step* ]]; do :; done
    kill -STOP $child && kill -INT $child && exec 3<&- && kill -CONT $child
    wait $child
    [ $? -eq 130 ] && grep -q 'stopped by SIGINT after step' "$work/said" &&
        grep -qF -- "--resume" "$work/said" && [ -f "$work/c/latest/state.json" ]
)
check "SIGINT: saves, though nobody reads its lines any more" stops_without_reader

# ---- the log ----

rm -rf "$work/c"
run adam --data random --max-steps 30 --checkpoint-dir "$work/c" --log "$work/log.jsonl" >/dev/null
printf '{"event":"train","step":31,"ep' >>"$work/log.jsonl"
cp "$work/log.jsonl" "$work/part.jsonl"
run adam --resume "$work/c/step-00000020" --log "$work/part.jsonl" --checkpoint-dir "$work/d" \
    --save "$work/part.safetensors" >"$work/output" 2>&1
same_end "a torn log, from an earlier step" adam part
check "checkpoints go where they shall" test -d "$work/d/step-00000066"
echo 'my notes' >"$work/notes"
check "foreign file as log" \
    bash -c '! "$1" train --resume "$2" --log "$3" --device cpu 2>"$4" &&
        grep "line 1 of .*notes is not of a trainer" "$4" && grep -q "my notes" "$3"' \
    - "$work/adam/trainer" "$work/c" "$work/notes" "$work/said"

# ---- what stays ----

rm -rf "$work/c"
run adam --data random --checkpoint-dir "$work/c" --checkpoint-every 3 --keep 2 >"$work/output"
best=$(readlink "$work/c/best")
check "keep: the newest, latest and best" test "$(find "$work/c" -name 'step-*' | wc -l)" -le 3
check "best is an evaluation's" test -n "$(case $best in *22 | *44 | *66) echo yes ;; esac)"
wanted=$(sed -n 's/.*"eval","step":\([0-9]*\),.*"accuracy":\([0-9.e-]*\)}/\2 \1/p' \
    "$work/adam.jsonl" | sort -k1,1gr -k2,2n | head -n 1 | cut -d' ' -f2)
check "best has the best test accuracy" test "$best" = "step-$(printf %08d "$wanted")"

# ---- refusals ----

# refuses NAME STATUS TEXT COMMAND...
refuses() {
    local name=$1 wanted=$2 text=$3 status
    shift 3
    "$@" >"$work/said" 2>&1 </dev/null
    status=$?
    check "$name" bash -c 'cat "$4"; echo "status $1"; [ "$1" -eq "$2" ] && grep -qF -- "$3" "$4"' \
        - $status "$wanted" "$text" "$work/said"
}

refuses "another seed" 1 "--seed 2 contradicts" run adam --resume "$work/c" --seed 2
refuses "another order" 1 "--no-shuffle contradicts" run adam --resume "$work/c" --no-shuffle
refuses "other data" 1 "--data /tmp contradicts" run adam --resume "$work/c" --data /tmp
refuses "--init" 2 "contradicts --resume" run adam --resume "$work/c" --init x
refuses "another optimizer" 1 "'optimizer adam " run sgd --resume "$work/c"
refuses "another shape" 1 "'parameter first.weight 8x1x4x4'" run wide --resume "$work/c"
refuses "another batch" 1 "it has 'batch 48', this one 'batch 16'" run batch --resume "$work/c"
refuses "another mean" 1 "'layer normalize 28x28x1" run mean --resume "$work/c"
for pair in "steps padded" "padded steps"; do
    read -r first second <<<"$pair"
    rm -rf "$work/w"
    run "$first" --data random --max-steps 1 --checkpoint-dir "$work/w" >/dev/null
    refuses "windows with the same map: $first in $second" 1 "it has 'layer conv2d 2x2x8 {" \
        run "$second" --resume "$work/w"
done
refuses "nothing there" 1 "there is no checkpoint" run adam --resume "$work/adam"
refuses "no such place" 1 "No such file" run adam --resume "$work/nowhere"
refuses "a used directory" 1 "another run" run adam --data random --checkpoint-dir "$work/c"
refuses "keep without a directory" 2 "--keep needs" run adam --keep 3
check "the same values are no contradiction" run adam --resume "$work/c" --seed 1 --lr 0.01 \
    --data random
check "already there: --save is written" bash -c \
    '"$1" train --device cpu --resume "$2" --max-steps 5 --save "$3" && cmp "$3" "$4"' - \
    "$work/adam/trainer" "$work/c" "$work/late.safetensors" "$work/adam.safetensors"

# ---- another learning rate ----

# at_rate MODEL WANTED TEXT OPTIONS...: five more steps are made at the wanted rate, as the line
# that begins the run says with TEXT, and as is in the log.
at_rate() {
    local model=$1 wanted=$2 text=$3
    shift 3
    rm -f "$work/rate.jsonl"
    run "$model" --resume "$work/r" --log "$work/rate.jsonl" "$@" >"$work/said" 2>&1
    cat "$work/said" "$work/rate.jsonl"
    grep -q "^resumed from step-[0-9]*$text\$" "$work/said" &&
        [ "$(grep -o '"lr":[^,]*' "$work/rate.jsonl" | sort -u)" = "\"lr\":$wanted" ]
}

sed 's/lr: 0.01/lr: 0.002/' "$work/adam.yaml" | compile slower
rm -rf "$work/r"
run adam --data random --max-steps 10 --checkpoint-dir "$work/r" >"$work/output"
check "the same rate is not told" at_rate adam 0.01 "" --max-steps 15
check "--lr counts from the resumed step on" \
    at_rate adam 0.005 "; learning rate 0.005 (0.01 in the checkpoint)" --max-steps 20 --lr 0.005
check "and stays, as the model is the same" \
    at_rate adam 0.005 "; learning rate 0.005 (0.01 in the model)" --max-steps 25
check "a rate that the model has otherwise now is taken" \
    at_rate slower 0.002 "; learning rate 0.002 (0.005 in the checkpoint)" --max-steps 30
check "info says the same" bash -c '"$1" info | head -n 2 | grep "learning rate 0.002, "' - \
    "$work/slower/trainer"
check "and goes on" at_rate slower 0.002 "" --max-steps 35
check "--lr goes before the model's" \
    at_rate adam 0.03 "; learning rate 0.03 (0.002 in the checkpoint)" --max-steps 40 --lr 0.03

# The bits of a run whose rate changes do not depend on where else it was stopped.
rate_bits() {
    rm -rf "$work/r"
    run adam --data random --max-steps 13 --lr 0.02 --checkpoint-dir "$work/r" &&
        run adam --resume "$work/r" --lr 0.004 --max-steps 40 --save "$work/one.safetensors" &&
        rm -rf "$work/r" &&
        run adam --data random --max-steps 13 --lr 0.02 --checkpoint-dir "$work/r" &&
        run slower --resume "$work/r" --lr 0.004 --max-steps 22 &&
        run slower --resume "$work/r" --max-steps 40 --save "$work/two.safetensors" &&
        cmp "$work/one.safetensors" "$work/two.safetensors"
}
check "bits after a change of the rate" rate_bits

# ---- copies of a run ----

# A copy made by COMMAND in a shell at $work: goes on from its newest step to the usual end.
copied() {
    rm -rf "$work/r" "$work/copy"
    run adam --data random --max-steps 30 --checkpoint-dir "$work/r" >/dev/null || return 1
    (cd "$work" && eval "$1") || return 1
    ls -l "$work/copy"
    run adam --resume "$work/copy" --save "$work/part.safetensors" || return 1
    ls -l "$work/copy"
    cmp "$work/part.safetensors" "$work/adam.safetensors" &&
        [ "$(readlink "$work/copy/latest")" = step-00000066 ] &&
        [ "$(readlink "$work/copy/best")" = "${2-$best}" ]
}
check "links followed" copied 'cp -rL r copy'
check "links as texts" copied 'cp -r r copy && cd copy && rm best latest &&
    printf step-00000022 >best && printf step-00000030 >latest'
check "links left out" copied 'cp -r r copy && rm copy/best copy/latest'
check "links into nowhere" copied 'cp -r r copy && ln -sfn ../old/step-00000030 copy/latest &&
    ln -sfn /nowhere copy/best'
check "the newest step half copied" copied \
    'cp -rL r copy && rm copy/step-00000030/model.safetensors'
check "latest alone copied" copied 'mkdir copy && cp -rL r/latest copy/latest' ''

# ---- file systems without links, without locks ----

# Makes $work/without.so, with which calls fail as on such file systems.
without() {
    cat >"$work/without.c" <<'END'
#include <errno.h>
int symlink(const char *a, const char *b) { (void)a, (void)b; errno = EPERM; return -1; }
int flock(int a, int b) { (void)a, (void)b; errno = ENOLCK; return -1; }
int renameat2(int a, const char *b, int c, const char *d, unsigned e)
{ (void)a, (void)b, (void)c, (void)d, (void)e; errno = EINVAL; return -1; }
END
    "${CC:-gcc}" -shared -fPIC -w -o "$work/without.so" "$work/without.c"
}

bare_files() (
    rm -rf "$work/r" "$work/bare.jsonl"
    export LD_PRELOAD=$work/without.so
    "$work/adam/trainer" train --device cpu --data random --max-steps 22 --checkpoint-dir \
        "$work/r" \
        --log "$work/bare.jsonl" 2>"$work/said" >"$work/output" || exit
    "$work/adam/trainer" train --device cpu --resume "$work/r/step-00000020" --max-steps 22 \
        >>"$work/output" || exit
    "$work/adam/trainer" train --device cpu --resume "$work/r" --save "$work/bare.safetensors" \
        --log "$work/bare.jsonl" >>"$work/output" || exit
    unset LD_PRELOAD
    losses "$work/bare.jsonl" >"$work/losses"
    cat "$work/said"
    ls -lA "$work/r"
    [ "$(cat "$work/r/latest")" = step-00000066 ] && [ ! -L "$work/r/latest" ] &&
        [ -f "$work/r/best" ] && [ -z "$(find "$work" -name '.*.lock')" ] &&
        grep -q "cannot lock $work/bare.jsonl: No locks available" "$work/said" &&
        grep -q "cannot lock $work/r: No locks available" "$work/said" &&
        cmp "$work/bare.safetensors" "$work/adam.safetensors" &&
        diff "$work/losses" "$work/adam.losses"
)

# A lock file that was there is another's, who may hold it in a way that this system cannot see.
anothers_lock() (
    echo "process 1 on elsewhere" >"$work/.kept.jsonl.lock"
    LD_PRELOAD=$work/without.so "$work/adam/trainer" train --device cpu --data random --no-save \
        --max-steps 1 --log "$work/kept.jsonl" 2>&1
    grep "process 1 on elsewhere" "$work/.kept.jsonl.lock" && rm "$work/.kept.jsonl.lock"
)

# A file has another number each time that it is asked for.
numbered_anew() (
    cat >"$work/anew.c" <<'END'
#include <dlfcn.h>
#include <sys/stat.h>
int stat(const char *path, struct stat *out)
{
    static int calls;
    int status = ((int (*)(const char *, struct stat *))dlsym(RTLD_NEXT, "stat"))(path, out);
    out->st_ino += ++calls;
    return status;
}
END
    "${CC:-gcc}" -D_GNU_SOURCE -shared -fPIC -w -o "$work/anew.so" "$work/anew.c" -ldl || exit
    rm -rf "$work/r"
    LD_PRELOAD=$work/anew.so timeout 60 "$work/adam/trainer" train --device cpu --data random \
        --max-steps 1 --checkpoint-dir "$work/r" 2>&1 | tee "$work/said"
    grep -q "cannot lock $work/r: Stale file handle" "$work/said" && grep "^done" "$work/said"
)
if bash -c 'ulimit -v 4000000; "$1" train --help' - "$work/adam/trainer" >/dev/null 2>&1; then
    without && check "no links, no locks, no exchange of names" bare_files
    check "another's lock file stays" anothers_lock
    check "files whose numbers change" numbered_anew
else
    skip "no links, no locks, no exchange of names" "the trainer is instrumented"
    skip "files whose numbers change" "the trainer is instrumented"
fi

# ---- two runs, one file ----

# refused FLAG NAME [OPTIONS...]: a second run that writes there is told who has it, and does not
# train.
refused() {
    "$work/adam/trainer" train --device cpu --data random --max-steps 3 "$@" >"$work/said" 2>&1
    [ $? -eq 1 ] && cat "$work/said" && [ "$(wc -l <"$work/said")" -eq 1 ] &&
        grep -q "another run is writing $2: process $holder on $(uname -n); wait" "$work/said"
}

rm -rf "$work/r"
(
    cd "$work" && exec "$work/adam/trainer" train --device cpu --data random --epochs 100000 \
        --max-steps 5000000 --no-eval --log l.jsonl --csv l.csv --save l.st --tensorboard tb \
        --checkpoint-dir r >"$work/held" 2>&1 </dev/null
) &
holder=$!
for _ in $(seq 100); do
    [ ! -L "$work/r/latest" ] || break
    sleep 0.1
done
ln -sfn l.jsonl "$work/link.jsonl"
for pair in "--log l.jsonl" "--log link.jsonl" "--csv l.csv" "--save l.st" "--tensorboard tb" \
    "--checkpoint-dir r" "--resume r"; do
    read -r flag name <<<"$pair"
    check "$flag of another run: $name" refused "$flag" "$work/$name"
done
kill -9 $holder
wait $holder 2>/dev/null
check "a lock goes with its process, and what it left with the next run" bash -c \
    'cd "$2" && "$1" train --device cpu --resume r --max-steps 1 --log l.jsonl --csv l.csv \
        --save l.st --tensorboard tb && ! find . -name "*.lock" | grep .' - \
    "$work/adam/trainer" "$work"
refuses "a file for two outputs" 1 "$work/x is named twice" run adam --data random \
    --log "$work/x" --csv "$work/x"

# ---- an output that failed ----

# Some outputs have the last lines, one has not: the next run makes them all whole.
after_failure() (
    rm -rf "$work/r" "$work"/f.*
    (
        ulimit -f 5
        exec "$work/adam/trainer" train --device cpu --data random --log-every 1 \
            --checkpoint-dir "$work/r" --log "$work/f.jsonl" --csv "$work/f.csv" 2>&1
    ) | cat >"$work/said"
    [ "${PIPESTATUS[0]}" -eq 1 ] && cat "$work/said" &&
        grep -q "f.jsonl: File too large" "$work/said" || exit
    run adam --resume "$work/r" --log-every 1 --save "$work/f.safetensors" --log "$work/f.jsonl" \
        --csv "$work/f.csv" >/dev/null || exit
    run adam --data random --log-every 1 --log "$work/w.jsonl" --csv "$work/w.csv" >/dev/null
    losses "$work/f.jsonl" >"$work/losses"
    cmp "$work/f.safetensors" "$work/adam.safetensors" &&
        diff "$work/losses" <(losses "$work/w.jsonl") &&
        diff <(cut -d, -f 1-6 "$work/f.csv") <(cut -d, -f 1-6 "$work/w.csv")
)
check "a run that its log ended goes on with the same lines" after_failure

# ---- other arithmetic ----

# The baseline is chosen on no machine that has more.
other_arithmetic() {
    local said='was computed in fp32 on [a-z0-9]*; it goes on in'
    rm -rf "$work/c"
    run adam --data random --max-steps 1 --checkpoint-dir "$work/c" >/dev/null || return 1
    run adam --resume "$work/c" --max-steps 2 --threads 2 2>"$work/said" >/dev/null || return 1
    [ ! -s "$work/said" ] || { cat "$work/said"; return 1; }
    NINC_CPU_LEVEL=baseline run both --resume "$work/c" --max-steps 3 2>"$work/said" >/dev/null &&
        grep "$said fp32 on baseline" "$work/said" && [ "$(wc -l <"$work/said")" -eq 1 ] &&
        run bf16 --resume "$work/c" --max-steps 4 2>"$work/said" >/dev/null &&
        grep "$said bf16 on" "$work/said"
}
"$NINC" -q --target=cpu "$one_level" --precision=bf16 -o "$work/bf16" "$work/adam.yaml"
if grep -q '"instruction_set": "\(baseline\|neon\)"' "$work/c/latest/state.json"; then
    skip "other arithmetic" "this machine has one instruction set"
else
    "$NINC" -q --target=cpu --cpu-levels="$(best_levels),baseline" -o "$work/both" "$work/adam.yaml"
    check "another instruction set or precision is told" other_arithmetic
fi

# ---- fine-tuning ----

partial() {
    run wide --data random --max-steps 0 --init-partial "$work/adam.safetensors" >"$work/said" &&
        grep -qF 'taken: last.bias (10)' "$work/said" &&
        grep -qF 'kept its initial value: first.weight (16x1x4x4): in the file it has shape 8x1x4x4' \
            "$work/said" &&
        grep -qF 'not used: first.weight (8x1x4x4)' "$work/said" &&
        grep -qF '1 of 4 tensors taken' "$work/said"
}
check "--init-partial says what it took" partial
refuses "--init wants all" 1 "has shape 8x1x4x4" run wide --data random \
    --init "$work/adam.safetensors"

# ---- the recipe ----

# What a checkpoint compares is the same however the model was compiled.
recipe_of() {
    "$NINC" "${@:2}" --emit=plan "$1" | sed -n '/^const NincModel/,/^    ""/p'
}
cat >"$work/plain.yaml" <<'END'
model: plain
input: {dataset: fashion-mnist, shape: [1, 28, 28]}
layers:
  - conv2d: {name: a, out_channels: 64, kernel_size: 3, padding: 1}
  - relu
  - relu
  - conv2d: {name: b, out_channels: 64, kernel_size: 3, padding: 2}
  - maxpool: {kernel_size: 1, stride: 1}
  - conv2d: {name: c, out_channels: 10, kernel_size: 1}
  - avgpool: {kernel_size: 30}
  - gap
  - flatten
loss: cross_entropy
optimizer: {adam: {lr: 0.01}}
train: {batch_size: 48, epochs: 3}
END
for m in models/nin.yaml "$work/plain.yaml"; do
    first=$(recipe_of "$m" -O0)
    for options in -O2 --target=cpu "--target=cuda -O1" --precision=bf16 \
        --disable-pass=fold --disable-pass=simplify,dgrad,winograd,fold,fuse,mask; do
        # shellcheck disable=SC2086
        check "the recipe of ${m##*/} by $options" test "$(recipe_of "$m" $options)" = "$first"
    done
    check "the recipe of ${m##*/} ends with gap" grep -q '"layer gap 1x1x10' <<<"$first"
done
check "one of its convolutions is computed in tiles" bash -c \
    '"$1" --emit=ir --target=cpu "$2" | grep -q winograd_output' - "$NINC" "$work/plain.yaml"

# ---- a full disk ----

full_disk() {
    mkdir -p "$work/disk"
    mount -t tmpfs -o size=100k tmpfs "$work/disk" || exit 77
    run adam --data random --max-steps 10 --checkpoint-dir "$work/disk/c" >/dev/null || exit 1
    head -c 200000 /dev/zero >"$work/disk/filler"
    run adam --resume "$work/disk/c" 2>"$work/said" >/dev/null
    status=$?
    cat "$work/said"
    ls -A "$work/disk/c"
    [ $status -eq 1 ] &&
        grep -q "cannot .*$work/disk/c/.step-.*No space left.*go on with --resume $work/disk/c" \
            "$work/said" &&
        [ "$(ls -A "$work/disk/c" | tr '\n' ' ')" = "latest step-00000010 " ] || exit 1
    rm "$work/disk/filler"
    run adam --resume "$work/disk/c" --save "$work/full.safetensors" >/dev/null &&
        cmp "$work/full.safetensors" "$work/adam.safetensors"
}
export -f full_disk run
export work
if unshare -m true 2>/dev/null; then
    unshare -m bash -c full_disk >"$work/output" 2>&1
    status=$?
    if [ $status -eq 77 ]; then
        skip "full disk" "mounting is not allowed here"
    elif [ $status -eq 0 ]; then
        pass "full disk: the earlier checkpoint stays and goes on"
    else
        fail "full disk: the earlier checkpoint stays and goes on" "$work/output"
    fi
else
    skip "full disk" "unshare is not allowed here"
fi
finish
