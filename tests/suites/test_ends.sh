#!/bin/bash
# How training ends, and what is kept: without --save, by signals, where an output fails.
# shellcheck source=tests/lib.sh disable=SC2016,SC2119,SC2120
. tests/lib.sh
# shellcheck source=tests/tools/small_trainer.sh
. tests/tools/small_trainer.sh
fresh_data

# ---- what is kept without --save ----

# In an empty directory, where it stays.
fresh_place() {
    rm -rf "$work/place" && mkdir "$work/place" && cd "$work/place" || exit
}

kept() {
    ls -A "$work/place" | tr '\n' ' '
}

# The name is said at the start, and at the end with what to do with it, in any shell.
default_name() (
    fresh_place
    ln -s "$trainer" "$work/place/the 'trainer'"
    ln -sfn "$data" "$work/the \$data"
    "./the 'trainer'" train --data "$work/the \$data" --max-steps 2 >"$work/said" || exit
    cat "$work/said"
    grep -B 3 "^step" "$work/said" | grep -qx "the parameters will be saved in small.safetensors" &&
        grep -qx "saved small.safetensors" "$work/said" &&
        [ "$(kept)" = "small.safetensors the 'trainer' " ] &&
        bash -c "$(sed -n 's/^next: //p' "$work/said")" | grep 'test accuracy' &&
        (images 1 | tail -c +17 >"$work/raw" && printf 'P5 28 28 255\n' | cat - "$work/raw") \
            >IMAGE &&
        bash -c "$(grep -A 1 '^next: ' "$work/said" | tail -n 1)" | grep '^IMAGE'
)
check "without --save: MODEL.safetensors, and the commands that go on" default_name

never_over_another() (
    fresh_place
    echo mine >small.safetensors
    ln -s nowhere small-2.safetensors
    train --no-eval && train --no-eval || exit
    [ "$(cat small.safetensors)" = mine ] && [ -L small-2.safetensors ] &&
        cmp small-3.safetensors small-4.safetensors &&
        [ "$(kept)" = "small-2.safetensors small-3.safetensors small-4.safetensors $(
        )small.safetensors " ]
)
check "never over what is there" never_over_another

taken_meanwhile() (
    fresh_place
    rm -f "$work/said"
    "$trainer" train --data "$data" --epochs 1000000 --no-eval >"$work/said" 2>&1 &
    child=$!
    wait_for '^step' "$work/said"
    echo mine >small.safetensors
    kill -TERM $child
    wait $child
    cat "$work/said"
    [ "$(cat small.safetensors)" = mine ] && grep -qx "saved small-2.safetensors" "$work/said" &&
        [ "$(kept)" = "small-2.safetensors small.safetensors " ]
)
check "nor over what came while it ran" taken_meanwhile

at_once() (
    fresh_place
    for i in 1 2 3 4; do
        "$trainer" train --data "$data" --epochs 50 --no-eval --threads 1 >/dev/null 2>&1 &
    done
    wait
    kept
    [ "$(kept)" = "small-2.safetensors small-3.safetensors small-4.safetensors $(
        )small.safetensors " ]
)
check "four runs at once keep four files" at_once

nothing_kept() (
    fresh_place
    "$@" >"$work/said" 2>&1 || exit
    kept
    ! grep -E 'saved|next:' "$work/said" && [ -z "$(kept)" ]
)
check "--no-save keeps nothing" nothing_kept train --no-save
check "random images keep nothing" nothing_kept "$trainer" train --data random --max-steps 2
check "no step keeps nothing" bash -c "$(declare -f nothing_kept fresh_place kept)
    work='$work' nothing_kept '$trainer' train --data '$data' --max-steps 0 --no-eval || true
    grep -q 'nothing was trained' '$work/said' && [ -z \"\$(ls -A '$work/place')\" ]"
check "a run that fails at its start keeps nothing" bash -c "$(declare -f fresh_place kept)
    work='$work'; fresh_place; ! '$trainer' train --data '$work/none' && [ -z \"\$(kept)\" ]"
check "random images are kept where --save says so" bash -c \
    '"$1" train --data random --max-steps 1 --save "$2" && [ -s "$2" ]' - "$trainer" "$work/r.st"
name=$(printf 'n%.0s' {1..240})
expect "a name that leaves no room for the file beside" 1 \
    "its name has 240 bytes, and there is room" \
    "$trainer" train --data random --max-steps 1 --save "$work/$name"
check "and that is told before the first step" bash -c '! grep "^step" "$1"' - "$work/output"
expect "--save and --no-save" 2 "contradict" train --save "$work/r.st" --no-save
expect "eval says what training writes" 2 "'trainer train' writes one, small.safetensors" \
    "$trainer" eval

# ---- signals ----

# stopped NAME STATUS TEXT SIGNALS OPTIONS...: a run that is stopped by them says so, and TEXT.
stopped() {
    local name=$1 wanted=$2 text=$3 signals=$4 child status signal
    shift 4
    rm -f "$work/output" # the lines of the run before
    interruptible "$trainer" train --data "$data" --epochs 1000000 --no-eval --threads 1 "$@" \
        >"$work/output" 2>&1 </dev/null &
    child=$!
    wait_for '^step' "$work/output"
    for signal in $signals; do
        kill "-$signal" $child
    done
    wait $child
    status=$?
    if [ $status -eq "$wanted" ] && grep -q '^stopped by SIG' "$work/output" &&
        grep -qF -- "$text" "$work/output"; then
        pass "$name"
    else
        echo "exit status $status" >>"$work/output"
        fail "$name" "$work/output"
    fi
}
stopped "SIGTERM finishes the step and says so" 143 "--checkpoint-dir DIR would have kept" TERM \
    --save "$work/stopped.safetensors"
check "SIGTERM saves" test -s "$work/stopped.safetensors"
check "and the command goes on" bash -c "$(grep -A 1 'go on with' "$work/output" |
    tail -n 1 | sed 's/--epochs 1000000/--epochs 1/')"
stopped "SIGTERM without a place to save" 143 \
    "--checkpoint-dir DIR saves a run to go on with" TERM --no-save
for signal in HUP XCPU USR1 INT; do
    rm -f "$work/stopped.safetensors"
    stopped "SIG$signal ends as SIGTERM does" $((128 + $(kill -l $signal))) \
        "stopped by SIG$signal after" $signal --save "$work/stopped.safetensors"
    check "SIG$signal saves" test -s "$work/stopped.safetensors"
done
for signal in TERM HUP; do
    rm -f "$work/stopped.safetensors"
    stopped "SIG$signal that is sent twice at once is one" $((128 + $(kill -l $signal))) \
        "stopped by SIG$signal" "$signal $signal" --save "$work/stopped.safetensors"
    check "and what it stops is saved" test -s "$work/stopped.safetensors"
done

# The terminal goes while the bar is drawn on it.
terminal_lost() (
    fresh_place
    python3 - "$trainer" train --data "$data" --epochs 100000000 --no-eval <<'END' || exit
import os, pty, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)
child, terminal = pty.fork()
if child == 0:
    os.execve(sys.argv[1], sys.argv[1:], dict(os.environ, TERM="xterm"))
seen = b""
while seen.count(b"\r") < 10:
    seen += os.read(terminal, 4096)
os.close(terminal)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 129)
END
    kept
    [ "$(kept)" = "small.safetensors " ]
)
check_with python3 "a terminal that is closed" terminal_lost

ignores_hangup() (
    rm -f "$work/hup.st" "$work/said"
    trap '' HUP
    "$trainer" train --data "$data" --epochs 1000000 --no-eval --save "$work/hup.st" \
        >"$work/said" 2>&1 </dev/null &
    child=$!
    wait_for '^step' "$work/said"
    kill -HUP $child
    sleep 0.2
    kill -0 $child && kill -TERM $child
    wait $child
    [ $? -eq 143 ] && [ -s "$work/hup.st" ]
)
check "SIGHUP that nohup shuts out does not end a run" ignores_hangup

# The shell of a script ignores SIGINT in what it starts in the background.
ignores_interrupt() (
    rm -f "$work/int.st" "$work/said"
    "$trainer" train --data "$data" --epochs 1000000 --no-eval --save "$work/int.st" \
        >"$work/said" 2>&1 </dev/null &
    child=$!
    wait_for '^step' "$work/said"
    kill -INT $child
    sleep 0.2
    kill -0 $child && kill -TERM $child
    wait $child
    [ $? -eq 143 ] && grep "stopped by SIGTERM" "$work/said" && [ -s "$work/int.st" ]
)
check "SIGINT that a shell shuts out does not end a run" ignores_interrupt

# Whoever ignores SIGCHLD hands that on: the ends of children could not be waited for.
without_children() {
    env --ignore-signal=CHLD "$trainer" verify --device cpu &&
        env --ignore-signal=CHLD "$ninc" -q --target=cpu -O0 \
            --cpu-levels="$(machine_levels | sed 's/.*,//')" -o "$work/childless" \
            "$repository/models/nin_fashion.yaml"
}
check "SIGCHLD that is ignored" without_children

cpu_time() (
    rm -f "$work/xcpu.st"
    ulimit -S -t 1
    "$trainer" train --data "$data" --epochs 100000000 --no-eval --threads 1 \
        --save "$work/xcpu.st" >"$work/said" 2>&1
    [ $? -eq 152 ] && grep "stopped by SIGXCPU" "$work/said" && [ -s "$work/xcpu.st" ]
)
check "a limit of CPU time" cpu_time

# ---- outputs that fail ----

# Files of at most 4 KB: all but these outputs fit.
limited() (
    rm -rf "$work/limited" && mkdir "$work/limited" && cd "$work/limited" || exit
    (
        ulimit -f 4
        exec "$trainer" train --data "$data" --epochs 300 --log-every 1 --threads 1 --save p.st \
            --checkpoint-dir ck --checkpoint-every 100000000 "$@" 2>&1
    ) | cat >"$work/said"
    [ "${PIPESTATUS[0]}" -eq 1 ]
)

# saves_first TEXT COMMAND...: after the command one message with TEXT, the parameters, and a
# checkpoint of the same step.
saves_first() {
    local text=$1
    shift
    "$@" && cat "$work/said" &&
        [ "$(grep -cF -- "$text" "$work/said")" -eq 1 ] &&
        grep -q 'stopped after step .*, as not all could be written; go on with' "$work/said" &&
        "$trainer" eval --data "$data" --weights "$work/limited/p.st" &&
        cmp "$work/limited/p.st" "$work/limited/ck/latest/model.safetensors"
}

# Standard output of its own, in a file of 4 KB or a pipe; what is left to say is on standard error.
limited_output() (
    rm -rf "$work/limited" && mkdir "$work/limited" && cd "$work/limited" || exit
    ulimit -f 4
    "$trainer" train --data "$data" --epochs 300 --log-every 1 --threads 1 --save p.st \
        --checkpoint-dir ck --checkpoint-every 100000000 >"$work/limited/out" 2>"$work/said"
    [ $? -eq 1 ]
)
no_reader() (
    rm -rf "$work/limited" && mkdir "$work/limited" && cd "$work/limited" || exit
    "$trainer" train --data "$data" --epochs 1000000 --log-every 1 --no-eval --save p.st \
        --checkpoint-dir ck --checkpoint-every 100000000 "$@" 2>"$work/said" | head -n 3
    [ "${PIPESTATUS[0]}" -eq 1 ]
)
# With a rate of 0 there is something to say after 500 steps.
no_reader_of_errors() (
    rm -rf "$work/limited" && mkdir "$work/limited" && cd "$work/limited" || exit
    "$trainer" train --data "$data" --epochs 1000000 --no-eval --lr 0 --seed 2 --device cpu \
        --save p.st --checkpoint-dir ck --checkpoint-every 100000000 >"$work/said" 2> >(exit)
    [ $? -eq 1 ]
)
for output in log csv; do
    check "a --$output that grows too large" saves_first \
        "cannot write the log a.$output: File too large" limited --$output a.$output
done
check "TensorBoard's events that grow too large" saves_first "File too large; make room" \
    limited --tensorboard tb
check "standard output that grows too large" saves_first \
    "cannot write to standard output: File too large" limited_output
check "nobody reads standard output" saves_first "cannot write to standard output: Broken pipe" \
    no_reader
check "nobody reads standard error" saves_first "cannot write to standard error" \
    no_reader_of_errors
if [ -w /dev/full ]; then
    check "a full disk under the log" saves_first "cannot write the log /dev/full: No space left" \
        limited --log /dev/full --csv a.csv
    check "a full disk under the log, from the first line on" bash -c \
        '! "$1" train --data "$2" --max-steps 2 --log /dev/full --csv "$3" --save "$4" && [ -s "$4" ] &&
            grep -c train "$3"' - "$trainer" "$data" "$work/full.csv" "$work/full.st"
fi

# Lines for people never come into files that are opened first.
closed_descriptors() (
    fresh_place
    "$trainer" train --data "$data" --log l.jsonl --csv l.csv --tensorboard tb --save p.st \
        <&- >&- 2>&- || exit
    cat l.jsonl l.csv
    ! grep -v '^{"event":' l.jsonl && ! grep -vE '^(event|train|eval),' l.csv &&
        ! grep -qa 'test loss' tb/* && "$trainer" eval --data "$data" --weights p.st
)
check "standard files that are closed" closed_descriptors
check "standard files that are closed for ninc" bash -c \
    'cd "$3" && "$1" --emit=ir -o "$2/closed.ir" models/nin.yaml <&- >&- 2>&- &&
        "$1" --emit=ir models/nin.yaml | cmp - "$2/closed.ir"' - "$ninc" "$work" "$repository"
finish
