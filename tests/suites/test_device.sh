#!/bin/bash
# Where a trainer runs: --device, what is said when a device cannot be had, and training, eval,
# profile and info on the simulated GPU, whose numbers must be the CPU's. No GPU is used, also
# where there is one.
# shellcheck source=tests/lib.sh disable=SC2119
. tests/lib.sh

export NINC_CACHE_DIR=${NINC_CACHE_DIR:-$work/cache} CUDA_VISIBLE_DEVICES=
cat >"$work/small.yaml" <<'END'
model: small
input: {dataset: fashion-mnist, shape: [1, 28, 28]}
layers:
  - mlpconv: {name: first, out_channels: [12, 8, 8], kernel_size: 5, stride: 3}
  - maxpool: {kernel_size: 2}
  - conv2d: {name: last, out_channels: 10, kernel_size: 3, padding: 1}
  - gap
  - flatten
loss: cross_entropy
optimizer: {sgd: {lr: 0.1, momentum: 0.9}}
train: {batch_size: 6, epochs: 1}
END
for target in all cpu cuda; do
    if ! "$NINC" -q --target=$target -o "$work/$target" "$work/small.yaml" \
        >"$work/output" 2>&1; then
        fail "compile a small model for $target" "$work/output"
        finish
        exit
    fi
done

# says STATUS TEXT COMMAND...: exit status and a part of what is printed.
says() {
    local wanted=$1 text=$2 status
    shift 2
    "$@" >"$work/said" 2>&1 </dev/null
    status=$?
    cat "$work/said"
    [ $status -eq "$wanted" ] && grep -qF -- "$text" "$work/said"
}

# on TRAINER COMMAND [FLAG...]: a short run on random images.
on() {
    local trainer=$1 command=$2
    shift 2
    if [ "$command" = train ]; then
        set -- --no-eval --no-progress --max-steps 4 --log-every 1 "$@"
    fi
    "$work/$trainer/trainer" "$command" --data random "$@"
}

# ---- choosing ----

# Nothing is said of what is not there, but for a word in the header; -v and info tell the rest.
calm() {
    says 0 "threads (no NVIDIA GPU found)" on all train --threads 2 || return 1
    head -n 1 "$work/said" | grep -qE '^model small on cpu, [a-z0-9]+, 2 threads \(no NVIDIA GPU' &&
        ! grep -q '^trainer: ' "$work/said" || return 1
    on all train --save "$work/calm.safetensors" >"$work/said" 2>&1 || return 1
    "$work/all/trainer" eval --data random --weights "$work/calm.safetensors" 2>"$work/said" \
        >/dev/null && [ ! -s "$work/said" ]
}
verbose() {
    says 0 "trainer: no NVIDIA driver: libcuda.so.1: cannot open" on all train "$1"
}
if ldconfig -p | grep -q 'libcuda\.so\.1' || grep -qs 0x10de /sys/bus/pci/devices/*/vendor; then
    skip "auto without a GPU is calm" "there is a GPU or a driver"
else
    check "auto without a GPU is calm" calm
    check "-v says why there is no GPU" verbose -v
    check "--verbose is -v" verbose --verbose
    check "info says why there is no GPU" says 0 "cuda: no NVIDIA driver: libcuda.so.1: cannot" \
        "$work/all/trainer" info
fi
check "without -v there is no word about it" says 0 "model small on cpu, " on all train \
    --device cpu
check "... nor about a GPU that nobody looked for" \
    [ "$(grep -c 'GPU\|^trainer: ' "$work/said")" -eq 0 ]
check "auto without CUDA code is the CPU" says 0 "model small on cpu, " on cpu train
check "auto without CUDA code says nothing" [ "$(grep -c '^trainer: ' "$work/said")" -eq 0 ]
check "auto without CPU code or a GPU" says 1 "--device cuda: no " on cuda train
check "no GPU" says 1 "--device cuda: no " on all train --device cuda:1
check "no CUDA code" says 1 "compiled without CUDA code; compile it with --target=all" \
    on cpu train --device sim
check "no CPU code" says 1 "compiled without CPU code; compile it with --target=all" \
    on cuda train --device cpu
for bad in gpu cuda: cuda:x cpu:0 sim:1 ''; do
    check "device '$bad'" says 2 "auto, cpu, cuda, cuda:N or sim is needed" on all train \
        --device "$bad"
done
check "info without a GPU" says 0 "cuda: no " "$work/all/trainer" info
check "info of one target" says 1 "compiled without code for --device sim" "$work/cpu/trainer" \
    info --device sim

# What limits the threads is said; --threads goes first.
one_step() {
    "$work/all/trainer" train --data random --device cpu --max-steps 1 --no-eval --no-progress "$@"
}
OMP_NUM_THREADS=1,2 check "threads by OMP_NUM_THREADS" says 0 ", 1 thread (OMP_NUM_THREADS=1)" \
    one_step
OMP_NUM_THREADS=many check "wrong OMP_NUM_THREADS" says 0 ", $(nproc) thread" one_step
check "wrong OMP_NUM_THREADS is said once" [ "$(grep -c OMP_NUM_THREADS "$work/said")" -eq 1 ]
OMP_NUM_THREADS=1 check "threads asked for" says 0 ", 3 threads" one_step --threads 3
if command -v taskset >/dev/null; then
    on_one_processor() (
        taskset -pc 0 "$BASHPID" >/dev/null && one_step
    )
    check "threads by the affinity mask" says 0 ", 1 thread (affinity mask of 1 CPU)" \
        on_one_processor
else
    skip "threads by the affinity mask" "there is no taskset"
fi

# A directory of the hierarchy that limits processor time, of version 1 or 2; fails where none can
# be made.
make_cgroup() {
    local parent
    for parent in /sys/fs/cgroup/cpu /sys/fs/cgroup/cpu,cpuacct /sys/fs/cgroup; do
        cgroup=$parent/ninc-test-$$
        mkdir "$cgroup" 2>/dev/null || continue
        echo 50000 2>/dev/null >"$cgroup/cpu.cfs_quota_us" && return
        echo "50000 100000" 2>/dev/null >"$cgroup/cpu.max" && return
        rmdir "$cgroup"
    done
    return 1
}
under_quota() (
    mkdir "$cgroup/inner" 2>/dev/null
    echo "$BASHPID" 2>/dev/null >"$cgroup/inner/cgroup.procs" ||
        echo "$BASHPID" >"$cgroup/cgroup.procs" || return 1
    one_step "$@"
)
if [ "$(nproc)" -eq 1 ]; then
    skip "threads under a quota" "there is one processor"
elif make_cgroup; then
    check "threads under a quota" says 0 ", 1 thread (cgroup quota of 0.5 CPUs)" under_quota
    check "more threads than the quota" says 0 ", 2 threads" under_quota --threads 2
    rmdir "$cgroup/inner" "$cgroup" 2>/dev/null
else
    skip "threads under a quota" "no cgroup can be made here"
fi

# Threads that wait give way: beside a busy neighbour a processor a team is not much slower than one
# thread (those that spun were 26 times slower). Best of some runs, as neighbours are noise.
images_a_second() {
    "$work/all/trainer" train --data random --device cpu --no-eval --no-progress --max-steps 2000 \
        --log-every 2000 --threads "$1" | sed -n 's|.* \([0-9.]*\) images/s$|\1|p' >>"$work/rate.$1"
}
beside_neighbours() {
    local neighbour=() i
    for ((i = 0; i < $(nproc); i++)); do
        (while :; do :; done) &
        neighbour+=($!)
    done
    rm -f "$work"/rate.*
    for i in 1 2 3; do
        images_a_second 1 && images_a_second 2
    done
    kill "${neighbour[@]}"
    head "$work"/rate.*
    [ "$(cat "$work"/rate.* | wc -l)" -eq 6 ] &&
        awk -v one="$(sort -g "$work/rate.1" | tail -n 1)" \
            -v two="$(sort -g "$work/rate.2" | tail -n 1)" 'BEGIN { exit two < one / 3 }'
}
if [ "$(nproc)" -eq 1 ]; then
    skip "two threads beside busy neighbours" "there is one processor"
else
    check "two threads beside busy neighbours" beside_neighbours
fi

# A thread a processor, also where OpenMP binds the first thread to one of them.
OMP_PROC_BIND=true check "threads under OMP_PROC_BIND" says 0 ", $(nproc) thread" one_step

# ---- a GPU whose driver refuses: one that only writes down what is asked of it ----

# faked SETTINGS TRAINER COMMAND [FLAG...]
faked() {
    env LD_LIBRARY_PATH="$work/fake" NINC_NVRTC="$work/fake/libnvrtc.so" FAKE_CUDA="$1" \
        "${@:2}"
}

# A run on the CPU whose one line says why: REASON, all of it. falls_back SETTINGS REASON
falls_back() {
    faked "$1" "$work/all/trainer" train --data random --no-eval --no-progress --max-steps 1 \
        >"$work/said" 2>&1 || return 1
    cat "$work/said"
    [ "$(grep '^trainer: ' "$work/said")" = "trainer: runs on the CPU: $2" ] &&
        grep -q "model small on cpu, " "$work/said"
}

mkdir "$work/fake"
for library in libcuda.so.1:fake_cuda.c libnvrtc.so:fake_nvrtc.c; do
    ${CC:-gcc} -std=c11 -D_GNU_SOURCE -shared -fPIC -o "$work/fake/${library%:*}" \
        "tests/tools/${library#*:}" || fail "build ${library#*:}"
done
# A driver that is there and cannot be loaded is told, one that is not there is not.
unloadable() {
    mkdir -p "$work/broken" && echo text >"$work/broken/libcuda.so.1" &&
        LD_LIBRARY_PATH="$work/broken" on all train >"$work/said" 2>&1 || return 1
    cat "$work/said"
    grep -q "^trainer: runs on the CPU: no NVIDIA driver: $work/broken/libcuda.so.1: " \
        "$work/said" && ! grep -q "no NVIDIA GPU found" "$work/said"
}
check "auto where the driver cannot be loaded" unloadable
check "auto where a call of the driver fails" falls_back "fail=cuDevicePrimaryCtxRetain:46" \
    "cuDevicePrimaryCtxRetain: CUDA_ERROR_46, as asked for, Fake GPU 0"
check "auto where the first call fails" falls_back "fail=cuInit:100" \
    "no GPU to use: cuInit: CUDA_ERROR_100, as asked for"
check "auto where memory cannot be had, and for what" falls_back "fail=cuMemHostAlloc:2" \
    "cuMemHostAlloc: CUDA_ERROR_2, as asked for"
check "auto where the GPU is too old" falls_back "arch=61" \
    "compute capability 7.5 or newer is needed, Fake GPU 0 has 6.1"

# Memory for the programs, but not for 6 images of 28x28 bytes and their labels beside them; then for
# these, but not for 1024.
no_room_for_images() {
    local arena stage=$((19 * 256 + 256))
    arena=$("$work/all/trainer" info --device sim | sed -n 's/^train *all, without data *//p')
    [ "$arena" -gt 0 ] || return 1
    falls_back "memory=$((arena + stage - 1))" "model small needs $(megabytes "$arena") MB of \
device memory at batch 6 and 0.0 MB for the images, Fake GPU 0 has \
$(megabytes $((arena + stage - 1))) MB free" || return 1
    ! falls_back "memory=$((arena + stage))" && grep -q "on cuda, Fake GPU 0, " "$work/said" &&
        grep -q "the images of each step" "$work/said" || return 1
    ! falls_back "memory=$((arena + 1024 * 788))" && grep -q "on cuda, Fake GPU 0, " "$work/said" &&
        ! grep -q "the images of each step" "$work/said"
}

megabytes() {
    LC_ALL=C printf %.1f "$(($1 / 1000))e-3"
}
check "auto where the images do not fit beside the programs" no_room_for_images

# ---- profile, on the CPU ----

# profiled DIR DEVICE MODE [FLAG]
profiled() {
    "$work/$1/trainer" profile --device "$2" --repeats 2 --json "$work/profile.json" ${4:+"$4"} ||
        return 1
    grep -q '"step_seconds":[0-9.e+-]*,' "$work/profile.json" &&
        grep -q "\"mode\":\"$3\"" "$work/profile.json" &&
        [ "$(grep -c '"name":' "$work/profile.json")" -gt 3 ]
}

# The ceilings are there, and no kernel computes much faster (a busy machine blurs both); traffic
# may be faster where caches hold it.
below_the_roof() {
    profiled all cpu train || return 1
    cat "$work/profile.json"
    grep -oE '"(fma_flop|copy_bytes)":[0-9.e+]+' "$work/profile.json" | awk -F: '
        { if (!($2 > 1e8)) bad = 1 } END { exit bad || NR != 2 }' || return 1
    grep -oE '"of_peak":[^,]+' "$work/profile.json" | awk -F: '
        { if (!($2 >= 0 && $2 <= 2)) bad = 1; if ($2 > 0) some = 1 }
        END { exit bad || !some }'
}
check "profile" below_the_roof

# The table has the kernels that the JSON file has, the slowest first, within 80 columns; those
# whose times scatter are marked, and what the mark means is told where there is one.
table_of_profile() {
    sed -n '/^kernel /,/^all kernels/p' "$work/said" | sed '1d;$d' >"$work/table"
    sed -n 's/.*"name":"\([^"]*\)".*"scatter":\([^,]*\),.*/\1 \2/p' "$work/profile.json" |
        awk '{ print $1, ($2 > 0.1) ? "~" : "-" }' | sort >"$work/wanted"
    awk '{ print $1, /~/ ? "~" : "-" }' "$work/table" | sort | diff - "$work/wanted" || return 1
    awk '{ print $2 }' "$work/table" | sort -rnc || return 1
    [ "$(wc -l <"$work/table")" -gt 3 ] && ! grep -E '.{81}' "$work/said" || return 1
    if grep -q '~' "$work/table"; then
        grep -q '^~: the machine is busy' "$work/said"
    else
        grep -qE '^~|step .* ~,' "$work/said" || ! grep -q 'is busy' "$work/said"
    fi
}
profile_beside_neighbours() {
    local neighbour=() status i
    for ((i = 0; i < $(nproc); i++)); do
        (while :; do :; done) &
        neighbour+=($!)
    done
    "$work/all/trainer" profile --device cpu --eval --repeats 5 \
        --json "$work/profile.json" >"$work/said"
    status=$?
    kill "${neighbour[@]}"
    cat "$work/said"
    [ $status -eq 0 ] && table_of_profile
}
check "profile's table" profile_beside_neighbours
check "profile of the forward pass" profiled all cpu eval --eval
check "profile into nowhere" says 1 "choose a directory" "$work/all/trainer" profile --device cpu \
    --json "$work/none/profile.json"
check "no measurement" says 2 "a whole number from 1" "$work/all/trainer" profile --repeats 0

# ---- the simulated GPU ----

if ! "${CXX:-c++}" --version >/dev/null 2>&1; then
    skip "the simulated GPU" "no C++ compiler (\$CXX or c++; Debian: apt-get install g++)"
    finish
    exit
fi

# losses FILE: those of the log lines, or of eval.
losses() {
    grep -oE 'loss [0-9.]+' "$1"
}

# Equal to the four digits that are printed, or one off in the last.
close() {
    paste <(losses "$1") <(losses "$2") | awk '
        { d = $2 - $4; if (!(d <= 0.00015 && d >= -0.00015)) bad = 1; lines++ }
        END { exit bad || lines == 0 }'
}

trained_alike() {
    on all train --device cpu --save "$work/cpu.safetensors" >"$work/on_cpu" &&
        on all train --device sim >"$work/on_sim" || return 1
    cat "$work/on_cpu" "$work/on_sim"
    [ "$(losses "$work/on_sim" | wc -l)" -eq 4 ] && close "$work/on_cpu" "$work/on_sim"
}
check "training on the simulator as on the CPU" trained_alike

# 256 images in batches of 6: the last batch has 4.
evaluated_alike() {
    on all eval --device cpu --weights "$work/cpu.safetensors" >"$work/on_cpu" &&
        on cuda eval --device sim --weights "$work/cpu.safetensors" >"$work/on_sim" || return 1
    cat "$work/on_cpu" "$work/on_sim"
    grep -q '(256 images)' "$work/on_sim" && close "$work/on_cpu" "$work/on_sim"
}
check "eval on the simulator as on the CPU" evaluated_alike
check "every kernel and whole steps" says 0 "checks are within bounds" \
    "$work/all/trainer" verify --full --device sim
check "profile on the simulator" profiled cuda sim train
check "profile of the forward pass on the simulator" profiled cuda sim eval --eval
check "no ceilings on the simulator" grep -q '"of_peak":null,"of_bandwidth":null' \
    "$work/profile.json"
check "info shows the simulator" says 0 "sim, simulator, " "$work/all/trainer" info --device sim
check "too little device memory" says 1 "compile it with --batch=" \
    env NINC_SIM="memory=$((72 << 10))" \
    "$work/all/trainer" train --data random --device sim

# sim_losses MEMORY FILE
sim_losses() {
    NINC_SIM="memory=$1" "$work/all/trainer" train --data random --device sim --max-steps 3 --no-save \
        --log-every 1 --log "$work/$2.jsonl" >"$work/$2" 2>&1 || { cat "$work/$2"; return 1; }
    sed -i 's/,"images_per_second":[0-9.e+]*//' "$work/$2.jsonl"
}

# 1280 images do not fit, those of a step do: the same bits.
streamed_alike() {
    sim_losses $((600 << 10)) streamed && sim_losses $((64 << 20)) whole &&
        grep -q "take 0.8 MB, more than simulator.* has free: the images of each step" \
            "$work/streamed" &&
        ! grep -q "images of each step" "$work/whole" && [ -s "$work/whole.jsonl" ] &&
        cmp "$work/streamed.jsonl" "$work/whole.jsonl"
}
check "a data set larger than the device's memory is trained on with the same bits" streamed_alike
check "too little shared memory" says 1 "bytes of shared memory a block" \
    env NINC_SIM=shared=4096 "$work/all/trainer" train --data random --device sim

# A tile needs more than there is: what is advised helps. small_block TEXT STATUS FLAG...
small_block() {
    "$NINC" -q --target=cuda "${@:3}" -o "$work/block" "$work/small.yaml" || return 1
    NINC_SIM="arch=80 shared=16000" says "$2" "$1" "$work/block/trainer" verify --device sim
}
check "too little shared memory for tiles" small_block \
    "has 16000; compile the model with -O0, whose kernels need less, or use another GPU" 1 \
    --precision=bf16
check "... and without them" small_block "checks are within bounds" 0 --precision=bf16 -O0

# Other tiles and splits where the device is smaller.
check "fewer processors and less shared memory" says 0 "checks are within bounds" \
    env NINC_SIM="sms=1 shared=65536 arch=75" "$work/all/trainer" verify --device sim
finish
