#!/bin/bash
# The first half hour on a GPU: from a kit that tests/first_contact_kit.sh made (`make
# first-contact-kit`), on a machine with a driver, CUDA and PyTorch and nothing else. Nothing is
# compiled by a C compiler or linked here. `make first-contact` makes the kit and runs all of it.
#
#   tests/first_contact.sh [-o OUT] [-t SECONDS] [PHASE]...
#
#   1  what the device is, the driver's and NVRTC's calls, one kernel of each class
#   2  every kernel of the benchmarks' own trainers, with their tiles, against the evaluator; parity
#      with PyTorch's committed runs; the same bits twice
#   3  compute-sanitizer: memcheck, racecheck, synccheck
#   4  ninc's schedules tuned, where the trainer can, and its kernels' times
#   5  PyTorch alone: eager, compiled, the whole step in a CUDA graph
#   6  the rest of the table, of both
#
# Default: all phases. Each ends within SECONDS (540), so that each fits a call of ten minutes.
# Every row is a line of OUT/rows.jsonl as soon as it is measured (OUT: $OUT, else results in the
# kit), what the commands printed is in OUT/log.txt. What rows.jsonl has is not measured again:
# after a call that ended early, or was killed, the same call goes on; where OUT is another
# directory then, copy rows.jsonl into it. bench/table.py makes the table of it.
#
# A kernel runs in a process of its own, as one that faults takes the GPU from its process. $JOBS
# run at once where no time is measured (half the processors, at most 8); $ROW_SECONDS end one (each
# kind has its own bound); $AGAIN measures again what went wrong; $DEVICE is the trainers' --device
# (cuda).
#
# Exit status: 0 all rows of these phases are there and right (SKIP: with its reason); 1 some are
# wrong, or there is no GPU; 2 usage; 3 none is wrong so far, but some are left: call again.
export LC_ALL=C

usage() {
    sed -n 's/^#   tests/usage: tests/p' "$0" >&2
    exit 2
}

here=$(cd "$(dirname "$0")" && pwd)
kit=${KIT:-$here}
[ -d "$kit/trainers" ] || kit=$here/../build/first-contact
out=${OUT:-} limit=540
while getopts o:t: option; do
    case $option in
    o) out=$OPTARG ;;
    t) limit=$OPTARG ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- 1 2 3 4 5 6
for phase in "$@"; do
    [[ $phase == [1-6] ]] || usage
done
[[ $limit =~ ^[1-9][0-9]*$ ]] || usage
if [ ! -x "$kit/cuda_tool" ] || [ ! -f "$kit/plan" ]; then
    echo "error: there is no kit in $kit: make first-contact-kit makes build/first-contact" >&2
    exit 1
fi
kit=$(cd "$kit" && pwd)
out=${out:-$kit/results}
mkdir -p "$out" && out=$(cd "$out" && pwd) && : >>"$out/rows.jsonl" && : >>"$out/log.txt" || exit 1
rows=$out/rows.jsonl log=$out/log.txt
# A row that a kill cut off must not swallow the next one.
[ -z "$(tail -c 1 "$rows")" ] || echo >>"$rows"
device=${DEVICE:-cuda}
processors=$(nproc)
jobs=${JOBS:-$((processors / 2 > 8 ? 8 : processors / 2 > 0 ? processors / 2 : 1))}
export NINC_CACHE_DIR=${NINC_CACHE_DIR:-$kit/cache} PYTHONUNBUFFERED=1
scratch=$(mktemp -d) || exit 1
unpacked=$scratch/trainers
mkdir "$unpacked"

# ---- ending ----

# below PID: the processes that come from it.
below() {
    cat /proc/[0-9]*/stat 2>/dev/null | awk -v root="$1" '
        { pid = $1; sub(/.*\) /, ""); split($0, f, " "); parent[pid] = f[2] }
        END {
            for (pid in parent) {
                for (p = pid; p in parent && p != root; p = parent[p])
                    continue
                if (p == root && pid != root)
                    print pid
            }
        }'
}

# end_below PID: all of them, at once.
end_below() {
    local processes
    processes=$(below "$1")
    [ -z "$processes" ] || kill -KILL $processes 2>/dev/null
}

# A process that is just being started still has these traps, and must not act for the script.
trap '[ $BASHPID -ne $$ ] || { end_below $$; rm -rf "$scratch"; }' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# ---- rows ----

# A line that a kill cut off is ended, and counts for nothing.
[ ! -s "$rows" ] || [ "$(tail -c 1 "$rows" | wc -l)" -eq 1 ] || echo >>"$rows"

# state_of NAME: ok, wrong ... of the last line of that name; nothing where there is none.
declare -A state
read_states() {
    local name status
    state=()
    while IFS='|' read -r name status; do
        state[$name]=$status
    done < <(sed -n 's/^{"row":"\([^"|]*\)","phase":[0-9],*"status":"\([a-z]*\)".*}$/\1|\2/p' \
        "$rows")
}
read_states

# What is to be measured in the phase, whether it is or not.
declare -a planned

# is_there NAME: it need not be measured.
is_there() {
    planned+=("$1")
    case ${state[$1]:-} in
    '') return 1 ;;
    ok | skip) return 0 ;;
    *) [ -z "${AGAIN:-}" ] ;;
    esac
}

left() {
    echo $((deadline - SECONDS))
}

# json_text FILE [BYTES]: its end as a JSON string.
json_text() {
    local text
    text=$(tail -c "${2:-1500}" "$1" | tr '\n\t' '  ' | tr -cd '\040-\176' | sed 's/  */ /g')
    text=${text//\\/\\\\}
    echo "\"${text//\"/\\\"}\""
}

# add_row NAME STATUS SECONDS FIELDS: one line, written in one piece. FIELDS: what follows, JSON.
add_row() {
    printf '{"row":"%s","phase":%s,"status":"%s","seconds":%s%s}\n' "$1" "$phase" "$2" "$3" \
        "${4:+,$4}" >>"$rows"
    [ "$2" = skip ] || printf '%-7s %s\n' "$2" "$1"
}

# skip_row NAME REASON
skip_row() {
    echo "$2" >"$scratch/reason"
    add_row "$1" skip 0 "\"text\":$(json_text "$scratch/reason")"
    echo "SKIP $1: $2"
}

# bounded SECONDS COMMAND...: 124 when it was killed at the end of them, with all that it started; a
# process that even that does not end, as a GPU that hangs can leave one, is not waited for.
bounded() {
    local seconds=$1 child watch ended status
    shift
    "$@" &
    child=$!
    sleep "$seconds" >/dev/null 2>&1 &
    watch=$!
    wait -n -p ended "$child" "$watch"
    status=$?
    if [ "$ended" = "$watch" ]; then
        end_below "$child"
        kill -KILL "$child" 2>/dev/null
        return 124
    fi
    kill "$watch"
    return $status
}

# measure NAME LIMIT JUDGE COMMAND...: runs it and adds the row. JUDGE STATUS FILE prints the row's
# status and, after a blank, its fields. What the phase's end cut off is left for the next call.
measure() {
    local name=$1 most=${ROW_SECONDS:-$2} judge=$3 seconds file status begun judged
    shift 3
    seconds=$most
    [ "$(left)" -ge "$most" ] || seconds=$(left)
    [ "$seconds" -ge 2 ] || return
    file=$(mktemp "$scratch/outputXXXXXX")
    begun=$(date +%s%N)
    bounded "$seconds" "$@" >"$file" 2>&1 </dev/null
    status=$?
    { printf '\n==== %s\n$ %s\n' "$name" "$*"; cat "$file"; echo "exit $status"; } >"$file.log"
    cat "$file.log" >>"$log"
    if [ $status -eq 124 ] && [ "$seconds" -lt "$most" ]; then
        echo "left    $name: the time is over"
    else
        judged=$($judge $status "$file")
        add_row "$name" "${judged%% *}" "$(since "$begun")" "${judged#* }"
    fi
    rm -f "$file" "$file.log"
}

# since NANOSECONDS: seconds, as a JSON number.
since() {
    local ms=$((($(date +%s%N) - $1) / 1000000))
    printf '%d.%03d' $((ms / 1000)) $((ms % 1000))
}

# How it ended, where it did not do what it should.
ending() {
    case $1 in
    124) echo timeout ;;
    13[0-9] | 14[0-9] | 15[0-9]) echo crash ;;
    *) echo error ;;
    esac
}

# judge_exit STATUS FILE: right when the command says so.
judge_exit() {
    [ "$1" -eq 0 ] && echo "ok \"text\":$(json_text "$2" 400)" ||
        echo "$(ending "$1") \"text\":$(json_text "$2")"
}

# judge_verify STATUS FILE: of a kernel, its worst error against the evaluator.
judge_verify() {
    local line
    line=$(grep -E '^(ok|WRONG|FAULT) ' "$2" | sort -r | tail -n 1)
    case $1:$line in
    0:ok*) echo "ok \"text\":$(json_text <(grep '^ok ' "$2") 300)" ;;
    1:WRONG*) echo "wrong \"text\":$(json_text "$2")" ;;
    1:FAULT*) echo "fault \"text\":$(json_text "$2")" ;;
    *) echo "$(ending "$1") \"text\":$(json_text "$2")" ;;
    esac
}

# judge_profile STATUS FILE: the profile itself, which the command left beside.
judge_profile() {
    if [ "$1" -eq 0 ] && [ -s "$scratch/profile.json" ]; then
        echo "ok \"profile\":$(tr -d '\n' <"$scratch/profile.json")"
    else
        judge_exit $(($1 ? $1 : 1)) "$2"
    fi
}

# judge_sanitizer STATUS FILE: a machine whose driver does not let it look is a SKIP.
judge_sanitizer() {
    if grep -q 'ERROR SUMMARY: 0 errors' "$2" && [ "$1" -eq 0 ]; then
        echo "ok \"text\":$(json_text <(grep 'SUMMARY' "$2"))"
    elif grep -qi 'device not supported' "$2"; then
        echo "skip \"text\":$(json_text "$2" 300)"
    else
        echo "$(ending "$1") \"text\":$(json_text <(grep -E '====|^FAULT|^WRONG|error' "$2"))"
    fi
}

# beside NAME ...: measure, beside $jobs - 1 others.
beside() {
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
        wait -n
    done
    measure "$@" &
}

# ---- what is in the kit ----

# trainer NAME -> $trainer; 1 after a row for it.
trainer() {
    trainer=$unpacked/$1
    [ ! -x "$trainer" ] || return 0
    if gzip -dc "$kit/trainers/$1.gz" >"$trainer.new" 2>"$scratch/reason"; then
        chmod +x "$trainer.new" && mv "$trainer.new" "$trainer"
        return
    fi
    is_there "unpack $1" || add_row "unpack $1" error 0 "\"text\":$(json_text "$scratch/reason")"
    return 1
}

# A GPU that is just being started (error 802) gets a minute.
find_device() {
    local tries
    for ((tries = 0; tries < 12; tries++)); do
        "$kit/cuda_tool" list >"$scratch/devices" 2>&1
        grep -q '^cuda:0 ' "$scratch/devices" && return
        grep -Eq 'NOT_READY|ERROR_802' "$scratch/devices" && [ "$(left)" -gt 10 ] || return 1
        sleep "${RETRY_SECONDS:-5}"
    done
    return 1
}

# ---- the phases ----

facts() {
    echo "commit $(cat "$kit/commit"), $(uname -srm), $processors processors"
    getconf GNU_LIBC_VERSION
    grep -m 1 '^model name' /proc/cpuinfo
    grep -m 1 MemTotal /proc/meminfo
    command -v python3 compute-sanitizer nvidia-smi gcc
    return 0
}

driver_of_gpu() {
    nvidia-smi \
        --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit \
        --format=csv,noheader
}

# The first kernel of each class that the trainer has.
classes() {
    local kernel class seen=' '
    trainer "$1" || return
    while read -r _ kernel class; do
        [[ $seen != *" $class "* ]] || continue
        seen+="$class "
        verify_row "$1" "$kernel"
    done < <("$trainer" verify --list --device "$device")
    [ "$seen" != ' ' ] || no_list "$1"
}

no_list() {
    is_there "list $1" || measure "list $1" 30 judge_exit "$unpacked/$1" verify --list \
        --device "$device"
}

verify_row() {
    local name="verify $1 $2"
    is_there "$name" || beside "$name" 240 judge_verify "$unpacked/$1" verify --device "$device" \
        --kernel "$2" --threads $((processors / jobs > 0 ? processors / jobs : 1))
}

# Each kernel of the trainer, and the whole steps.
verify() {
    local kernel count=0
    trainer "$1" || return
    while read -r _ kernel _; do
        verify_row "$1" "$kernel"
        count=$((count + 1))
    done < <("$trainer" verify --list --full --device "$device")
    [ $count -gt 0 ] || no_list "$1"
}

# 50 steps, twice, by the whole step as one graph: the same bits.
two_runs() {
    local run
    for run in 1 2; do
        "$trainer" train --device "$device" --seed 7 --data random --no-eval --no-progress \
            --max-steps 50 --save "$scratch/run$run.safetensors" >/dev/null || return 1
    done
    cmp "$scratch/run1.safetensors" "$scratch/run2.safetensors"
}

bits() {
    is_there "bits $1" || { trainer "$1" && measure "bits $1" 60 judge_exit two_runs; }
}

# The committed float64 run of PyTorch: losses of every step, parameters after the last one.
parity_run() {
    local tool=$kit/parity_tool case=$kit/pytorch/$1.json steps=$2 dir=$scratch/$1
    mkdir -p "$dir/data" && "$tool" data "$case" "$dir/data" &&
        "$tool" init "$case" "$dir/init.safetensors" || return 1
    "$trainer" train --device "$device" --data "$dir/data" --init "$dir/init.safetensors" \
        --no-shuffle --no-eval --no-progress --max-steps "$steps" --log-every 1 \
        --log "$dir/log.jsonl" --save "$dir/saved.safetensors" >/dev/null || return 1
    "$tool" compare "$case" "$dir/log.jsonl" "$dir/saved.safetensors"
}

parity() {
    is_there "parity $1" || { trainer "$1" && measure "parity $1" 90 judge_exit \
        parity_run "$1" "$2"; }
}

# sanitize TOOL TRAINER
sanitize() {
    local found
    found=$(command -v compute-sanitizer || ls -d /usr/local/cuda*/bin/compute-sanitizer \
        /opt/nvidia/compute-sanitizer/compute-sanitizer 2>/dev/null | tail -n 1)
    if [ -z "$found" ]; then
        is_there "$1 $2" || skip_row "$1 $2" "there is no compute-sanitizer"
        return
    fi
    is_there "$1 $2" || { trainer "$2" && measure "$1 $2" 200 judge_sanitizer "$found" --tool "$1" \
        --target-processes all --error-exitcode 9 "$trainer" verify --device "$device"; }
}

tune() {
    trainer "$1" || return
    if ! "$trainer" tune --help >/dev/null 2>&1; then
        is_there "tune $1" || skip_row "tune $1" "this trainer has no 'tune'"
        return
    fi
    is_there "tune $1" || measure "tune $1" 150 judge_exit "$trainer" tune --device "$device"
}

profile() {
    rm -f "$scratch/profile.json"
    is_there "profile $1" || { trainer "$1" && measure "profile $1" 120 judge_profile "$trainer" \
        profile --device "$device" --json "$scratch/profile.json"; }
}

# Of all torch lines at once, as they warm up together: bench/gpu.py adds the rows.
torch_rows() {
    local name rest way keys=() wanted=(ceilings) missing=() \
        ways=(eager graph compile compile-graph)
    [ "$phase" -ne 5 ] || ways+=(max-autotune)
    for name in "$@"; do
        rest=${name%-*}
        keys+=("models/${rest%-*}.yaml:${rest##*-}:${name##*-}")
        for way in "${ways[@]}"; do
            wanted+=("torch $name $way")
        done
    done
    for name in "${wanted[@]}"; do
        is_there "$name" || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return
    if ! python3 -c 'import torch, yaml' >"$scratch/import" 2>&1; then
        for name in "${missing[@]}"; do
            skip_row "$name" "python3 has no torch and yaml: $(tail -n 1 "$scratch/import")"
        done
        return
    fi
    [ "$(left)" -gt 20 ] || return
    echo "==== PyTorch" >>"$log"
    bounded $(($(left) - 2)) python3 "$kit/bench/gpu.py" --rows "$rows" --phase "$phase" \
        --seconds $(($(left) - 8)) --ways "${ways[@]}" --torch "${keys[@]}" </dev/null 2>&1 |
        tee -a "$log"
}

# All lines of the plan that are of this phase.
run_phase() {
    local number what name more torches=()
    while read -r number what name more; do
        [ "$number" = "$phase" ] || continue
        case $what in
        classes | verify) $what "$name" ;;
        torch) torches+=("$name") ;;
        memcheck | racecheck | synccheck) wait; sanitize "$what" "$name" ;;
        *) wait; $what "$name" $more ;; # alone on the GPU
        esac
    done <"$kit/plan"
    wait
    [ ${#torches[@]} -eq 0 ] || torch_rows "${torches[@]}"
}

# Counts what is planned by what became of it; 0, 1 or 3 as the script.
report_phase() {
    local name good=0 bad=0 skipped=0 absent=0
    read_states
    for name in "${planned[@]}"; do
        case ${state[$name]:-} in
        ok) good=$((good + 1)) ;;
        skip) skipped=$((skipped + 1)) ;;
        '') absent=$((absent + 1)) ;;
        *) bad=$((bad + 1)); echo "  ${state[$name]}: $name" ;;
        esac
    done
    echo "phase $phase: $good right, $bad wrong, $skipped skipped, $absent left, $SECONDS s"
    [ $bad -eq 0 ] || return 1
    [ $absent -eq 0 ] || return 3
}

# What does not come from the plan.
first_rows() {
    is_there facts || measure facts 30 judge_exit facts
    [ "$device" != sim ] || return
    is_there device || measure device 30 judge_exit cat "$scratch/devices"
    is_there numbers || measure numbers 60 judge_exit "$kit/cuda_tool" numbers "$kit/kernels.cu"
    if command -v nvidia-smi >/dev/null; then
        is_there nvidia-smi || measure nvidia-smi 30 judge_exit driver_of_gpu
    else
        is_there nvidia-smi || skip_row nvidia-smi "there is no nvidia-smi"
    fi
}

one_phase() {
    planned=()
    SECONDS=0 deadline=$limit
    if [ "$device" != sim ] && ! find_device; then
        add_row "no device" error 0 "\"text\":$(json_text "$scratch/devices")"
        echo "error: no GPU that can be used: $(cat "$scratch/devices")" >&2
        return 1
    fi
    [ "$phase" -ne 1 ] || first_rows
    run_phase
    report_phase
}

worst=0
for phase in "$@"; do
    one_phase
    status=$?
    [ $status -eq 0 ] || { [ $status -eq 3 ] && [ $worst -eq 1 ]; } || worst=$status
done
echo "rows: $rows; the table: python3 $kit/bench/table.py $rows"
exit $worst
