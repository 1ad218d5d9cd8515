#!/bin/bash
# The first half hour on a GPU (tests/first_contact.sh): from a kit of one small model, in a
# directory and with programs of which none is a compiler, on a GPU that only writes down what is
# asked of it (tests/tools/fake_cuda.c: what its kernels leave is wrong, so most rows are) and on
# the simulated one.
# shellcheck source=tests/lib.sh
. tests/lib.sh
. tests/tools/fake_gpu.sh

tools="awk bash cat chmod cmp cut date dirname getconf grep gzip head ls mkdir mktemp mv nproc rm sed \
sleep sort tail tee tr uname wc"
mkdir -p "$work/models" "$work/fake" "$work/none" "$work/bin" "$work/tmp" "$work/there"
tiny_network conv2d >"$work/models/tiny.yaml"
cat >"$work/plan" <<'END'
1 classes tiny-4-fp32
2 verify tiny-4-fp32
3 memcheck tiny-4-fp32
4 tune tiny-4-fp32
4 profile tiny-4-fp32
5 torch tiny-4-fp32
END
build_fake "$work/fake/libcuda.so.1" fake_cuda.c
build_fake "$work/fake/libnvrtc.so" fake_nvrtc.c
: >"$work/none/libcuda.so.1" # hides a driver that is installed
for tool in $tools; do
    ln -s "$(command -v "$tool")" "$work/bin/$tool"
done

# kit OPTION=VALUE...: of the plan.
kit() {
    env MODELS="$work/models" CUBINS=none "$@" tests/first_contact_kit.sh "$work/kit" "$work/plan"
}

if [[ $BUILD == *asan* ]]; then
    skip "the first half hour on a GPU" "programs with sanitizers need their libraries"
    finish
    exit
fi

# ---- the kit ----

check "the kit" kit
[ -d "$work/kit" ] || { finish; exit; }
too_large() {
    ! kit MOST=1 >"$work/said" 2>&1 && grep -q "MiB, 1 at most can be carried" "$work/said"
}
check "a kit that is too large" too_large
check "... leaves the one that is there" [ -s "$work/kit/trainers/tiny-4-fp32.gz" ]
too_dynamic() { # NINC that needs more than glibc
    ! env NINC=/bin/bash BUILD="$BUILD" tests/first_contact_kit.sh "$work/dynamic" "$work/plan" \
        >"$work/said" 2>&1 && grep -q "needs libtinfo.*static libraries" "$work/said"
}
if ldd /bin/bash | grep -q libtinfo; then
    check "a program that needs our libraries is not carried" too_dynamic
fi
mv "$work/kit" "$work/there/kit" # as copied to another machine

# contact SETTING=VALUE... -- ARGUMENT...: the script there; its status in $status.
contact() {
    local settings=()
    while [ "$1" != -- ]; do
        settings+=("$1")
        shift
    done
    (cd "$work/there" && exec env -i PATH="$work/bin" TMPDIR="$work/tmp" HOME="$work" JOBS=2 \
        LD_LIBRARY_PATH="$work/fake" NINC_NVRTC="$work/fake/libnvrtc.so" OUT="$work/out" \
        NINC_CACHE_DIR="$work/cache" "${settings[@]}" kit/first_contact.sh "${@:2}") \
        >"$work/said" 2>&1 </dev/null
    status=$?
    cat "$work/said"
}

# rows STATUS PATTERN COUNT: so many lines of that status and name.
rows() {
    [ "$(grep -Ec "^\{\"row\":\"($2)\",\"phase\":[1-6],\"status\":\"($1)\"[,}]" "$work/out/rows.jsonl")" \
        -eq "$3" ]
}

fresh() {
    rm -rf "$work/out"
}

# What each line must be: an object, named once.
sound_rows() {
    local lines names
    lines=$(grep -Ec '^\{"row":"[^"]*","phase":[1-6],"status":"[a-z]*","seconds":[0-9.]*(,.*)?\}$' \
        "$work/out/rows.jsonl")
    names=$(sed 's/","phase.*//' "$work/out/rows.jsonl" | sort -u | wc -l)
    [ "$lines" -eq "$(wc -l <"$work/out/rows.jsonl")" ] && [ "$lines" -eq "$names" ]
}

# ---- a kernel a process ----

gzip -dc "$work/there/kit/trainers/tiny-4-fp32.gz" >"$work/trainer"
chmod +x "$work/trainer"
all=$("$work/trainer" verify --list --full --device cuda | wc -l)
classes=$("$work/trainer" verify --list --device cuda | awk '{ print $3 }' | sort -u | wc -l)

first() {
    fresh
    contact FAKE_CUDA=fault=image:719 -- 1
    [ $status -eq 1 ] && rows ok 'facts|device' 2 && rows fault 'verify tiny-4-fp32 image' 1 &&
        rows '[a-z]*' 'verify tiny-4-fp32 [a-z_0-9]*' "$classes" && sound_rows &&
        grep -q '"row":"device".*Fake GPU 0' "$work/out/rows.jsonl" &&
        grep -q '"row":"verify tiny-4-fp32 image".*CUDA_ERROR_719' "$work/out/rows.jsonl" &&
        grep -q 'CUDA_ERROR_719' "$work/out/log.txt"
}
check "phase 1: what the device is, a kernel of each class, one faults" first

every() {
    contact FAKE_CUDA=fault=update:700 -- 2
    [ $status -eq 1 ] && rows '[a-z]*' 'verify tiny-4-fp32 [a-z_0-9]*' "$all" && sound_rows &&
        rows fault 'verify tiny-4-fp32 (image|train_step)' 2 &&
        rows 'wrong|fault' 'verify tiny-4-fp32 (conv_0_0_forward|eval_step)' 2 &&
        grep -q "^phase 2: [0-9]* right, [0-9]* wrong, 0 skipped, 0 left" "$work/said"
}
check "phase 2: every kernel and whole steps, behind faults" every

again() {
    cp "$work/out/rows.jsonl" "$work/rows"
    contact -- 1 2
    [ $status -eq 1 ] && cmp "$work/rows" "$work/out/rows.jsonl"
}
check "what is there is not measured again" again

wrong_again() {
    contact AGAIN=1 -- 1
    rows wrong 'verify tiny-4-fp32 image' 1 && rows ok device 1
}
check "AGAIN measures what went wrong" wrong_again

hanging() {
    fresh
    contact FAKE_CUDA=hang=image ROW_SECONDS=2 -- 1
    [ $status -eq 1 ] && rows timeout 'verify tiny-4-fp32 image' 1 &&
        rows '[a-z]*' 'verify tiny-4-fp32 [a-z_0-9]*' "$classes" &&
        [ -z "$(pgrep -f "$work/tmp" || true)" ]
}
check "a kernel that hangs is ended, the others go on" hanging

# ---- time, kills ----

in_time() {
    local begin=$SECONDS
    fresh
    contact FAKE_CUDA=hang=update -- -t 4 4
    [ $status -eq 3 ] && [ $((SECONDS - begin)) -le 9 ] && rows ok '.*profile.*' 0 &&
        grep -q "^phase 4: 0 right, 0 wrong, 1 skipped, 1 left" "$work/said" || return 1
    contact -- 4
    [ $status -eq 0 ] && rows ok 'profile tiny-4-fp32' 1 && sound_rows
}
check "the deadline ends a row, which the next call measures" in_time

# Killed with all it started, at moments that differ; each call keeps what the ones before measured.
killed() {
    local try before=0 now
    fresh
    mkdir "$work/out"
    : >"$work/out/rows.jsonl"
    for try in 1 2 3 4 5 6; do
        (cd "$work/there" && exec env -i PATH="$work/bin" TMPDIR="$work/tmp" JOBS=2 HOME="$work" \
            LD_LIBRARY_PATH="$work/fake" NINC_NVRTC="$work/fake/libnvrtc.so" OUT="$work/out" \
            NINC_CACHE_DIR="$work/cache" setsid kit/first_contact.sh 1 2 >/dev/null 2>&1) &
        sleep "0.$((RANDOM % 5 + 2))"
        kill -KILL -- "-$!" 2>/dev/null
        wait $! 2>/dev/null
        cp "$work/out/rows.jsonl" "$work/rows-$try"
        now=$(wc -l <"$work/out/rows.jsonl")
        cmp -n "$(stat -c %s "$work/rows-$((try - 1))" 2>/dev/null || echo 0)" \
            "$work/rows-$((try > 1 ? try - 1 : 1))" "$work/out/rows.jsonl" || return 1
        [ "$now" -ge $before ] || return 1
        before=$now
    done
    sleep 0.3 # nothing of them is left that writes
    cmp "$work/rows-6" "$work/out/rows.jsonl" || return 1
    echo "$before rows before the last call"
    printf '{"row":"verify tiny-4-fp32 cut","phase":2,"sta' >>"$work/out/rows.jsonl"
    contact -- 1 2
    [ $status -eq 1 ] && rows '[a-z]*' 'verify tiny-4-fp32 [a-z_0-9]*' "$all" || return 1
    sed -i '/tiny-4-fp32 cut/d' "$work/out/rows.jsonl"
    sound_rows
}
ln -sf "$(command -v setsid)" "$work/bin/setsid"
check "killed six times, what was measured is kept" killed

# ---- what is not there ----

no_gpu() {
    fresh
    contact LD_LIBRARY_PATH="$work/none" -- 2
    [ $status -eq 1 ] && grep -q "^error: no GPU that can be used: cuda: no NVIDIA driver" \
        "$work/said" && rows error 'no device' 1 || return 1
    contact FAKE_CUDA=fail=cuInit:802 RETRY_SECONDS=0 -- 2
    [ $status -eq 1 ] && grep -q "fabricmanager" "$work/said"
}
check "no GPU is no SKIP" no_gpu

sanitized() {
    fresh
    contact -- 3
    [ $status -eq 0 ] && rows skip 'memcheck tiny-4-fp32' 1 || return 1
    printf '%s\n' '#!/bin/bash' 'echo "========= ERROR SUMMARY: $ERRORS errors"' \
        'exit $((ERRORS ? 9 : 0))' >"$work/bin/compute-sanitizer"
    chmod +x "$work/bin/compute-sanitizer"
    fresh
    contact ERRORS=0 -- 3
    [ $status -eq 0 ] && rows ok 'memcheck tiny-4-fp32' 1 || return 1
    fresh
    contact ERRORS=2 -- 3
    [ $status -eq 1 ] && rows error 'memcheck tiny-4-fp32' 1
}
check "compute-sanitizer: there is none, it is content, it is not" sanitized

without_trainer() {
    fresh
    mv "$work/there/kit/trainers/tiny-4-fp32.gz" "$work/away.gz"
    contact -- 2
    mv "$work/away.gz" "$work/there/kit/trainers/tiny-4-fp32.gz"
    [ $status -eq 1 ] && rows error 'unpack tiny-4-fp32' 1
}
check "a trainer that is missing is no SKIP" without_trainer

no_kit() {
    ! KIT=$work/none tests/first_contact.sh 1 >"$work/said" 2>&1 || return 1
    cat "$work/said"
    grep -q "error: there is no kit .*first-contact-kit" "$work/said"
}
check "no kit" no_kit
usage() {
    contact -- "$@"
    [ $status -eq 2 ] && grep -q "^usage: tests/first_contact.sh" "$work/said"
}
check "no such phase" usage 7
check "no such time" usage -t soon 1

# make test-gpu: SKIP only where there is no GPU.
gpu_suite() { # STATUS TEXT SETTING=VALUE...
    env "${@:3}" tests/gpu.sh >"$work/said" 2>&1
    local got=$?
    cat "$work/said"
    [ $got -eq "$1" ] && grep -q -- "$2" "$work/said"
}
check "test-gpu without its tool" gpu_suite 1 "^not ok .*cuda_tool is not built" BUILD="$work/none"
check "test-gpu where the GPU cannot be used" gpu_suite 1 "^not ok .*the GPU cannot be used" \
    LD_LIBRARY_PATH="$work/fake" FAKE_CUDA=fail=cuInit:802
if ! compgen -G '/dev/nvidia[0-9]*' >/dev/null && [ ! -e /dev/dxg ]; then
    check "test-gpu without a GPU" gpu_suite 0 "^SKIP" LD_LIBRARY_PATH="$work/none"
fi

# ---- PyTorch, and the table ----

if ! python=$(python_with yaml); then
    skip "PyTorch's rows and the table" "no Python with yaml"
    finish
    exit
fi
printf '#!/bin/bash\nexec %s "$@"\n' "$("$python" -c 'import sys; print(sys.executable)')" \
    >"$work/bin/python3"
chmod +x "$work/bin/python3"

torchless() {
    fresh
    contact -- 5
    [ $status -eq 0 ] && rows skip 'torch tiny-4-fp32 [a-z-]*|ceilings' 6
}
"$python" -c 'import torch' 2>/dev/null || check "no PyTorch: each of its rows says so" torchless

# A module that stands for PyTorch: everything is a function that gives something, and steps take
# 2.5 ms. $BROKEN is a way that does not work.
mkdir -p "$work/python/torch/nn"
cat >"$work/python/torch/__init__.py" <<'END'
import sys
from unittest.mock import MagicMock
fake = MagicMock(__version__="9.9", __path__=[])
fake.cuda.max_memory_reserved.return_value = 123456789
fake.cuda.Event.return_value.elapsed_time.return_value = 7.5
fake.empty.return_value.random_.return_value.numel.return_value = 1 << 31
def compiled(function, mode):
    if mode == "max-autotune":
        raise RuntimeError("no tuning, as asked for")
    return function
fake.compile = compiled
for name in ("torch", "torch.nn", "torch.nn.functional", "torch.backends"):
    sys.modules[name] = fake if name == "torch" else getattr(fake, name.split(".")[-1])
fake.nn.functional = fake.functional
END

with_torch() {
    fresh
    contact PYTHONPATH="$work/python" -- 5
    [ $status -eq 1 ] && rows ok 'torch tiny-4-fp32 (eager|graph|compile|compile-graph)' 4 &&
        rows error 'torch tiny-4-fp32 max-autotune' 1 && rows ok ceilings 1 &&
        grep -q 'no tuning, as asked for' "$work/out/rows.jsonl" || return 1
    cp "$work/out/rows.jsonl" "$work/rows"
    contact PYTHONPATH="$work/python" -- 5
    [ $status -eq 1 ] && cmp "$work/rows" "$work/out/rows.jsonl"
}
check "phase 5: PyTorch's ways, a line each; none is measured again" with_torch

tabled() {
    contact -- 4
    [ $status -eq 0 ] || return 1
    printf '%s\n' \
        '{"row":"nvidia-smi","phase":1,"status":"ok","seconds":0,"text":"Fake H1, 580.1, x"}' \
        '{"row":"verify x","phase":2,"status":"fault","seconds":0,"text":"it fell"}' '{"row":"cut' \
        >>"$work/out/rows.jsonl"
    "$python" bench/table.py --kernels "$work/out/rows.jsonl" >"$work/table" 2>"$work/errors" ||
        return 1
    cat "$work/table" "$work/errors"
    grep -Eq '^\| tiny \| 4 \| fp32 \| [0-9.]+ \| [0-9.]+ \| [0-9.]+x \| [0-9]+ \| 123 \| [a-z-]+, ch' \
        "$work/table" && grep -q '^  conv_0_0_forward ' "$work/table" &&
        grep -q '^fault: verify x: it fell' "$work/errors"
}
check "the table of these lines" tabled

published() {
    mkdir -p "$work/tree/bench"
    cp bench/*.py bench/README.md "$work/tree/bench/"
    "$python" "$work/tree/bench/table.py" --write "$work/out/rows.jsonl" || return 1
    grep -q '^Fake H1, driver 580.1, .*`make first-contact`:' "$work/tree/bench/README.md" &&
        grep -q '^| tiny | 4 | fp32 |' "$work/tree/bench/README.md" &&
        grep -q '"device": "Fake H1"' "$work/tree/bench/results/fake_h1.json"
}
check "... in bench/README.md" published

empty_table() {
    echo '{"row":"facts","phase":1,"status":"ok","seconds":0}' >"$work/empty.jsonl"
    ! "$python" bench/table.py "$work/empty.jsonl" >/dev/null 2>"$work/errors" &&
        grep -q "^error: no line" "$work/errors"
}
check "a table of nothing is an error" empty_table
hidden_gpu='import sys; sys.path.insert(0, "bench"); import gpu
gpu.glob.glob = lambda pattern: ["/dev/nvidia0"]
sys.exit(gpu.without_gpu() != 1)'
check "bench-gpu with a GPU that nvidia-smi does not show" "$python" -c "$hidden_gpu"

# ---- where kernels compute ----

simulated() {
    fresh
    contact DEVICE=sim NINC_CACHE_DIR="${NINC_CACHE_DIR:-$work/cache}" PATH="$work/bin:$PATH" -- 2
    [ $status -eq 0 ] && rows ok 'verify tiny-4-fp32 [a-z_0-9]*' "$all" &&
        grep -q "^phase 2: $all right, 0 wrong, 0 skipped, 0 left" "$work/said"
}
check_with "${CXX:-c++}" "on the simulated GPU every kernel is right" simulated
finish
