#!/bin/bash
# The machine behind --device cuda: with a driver and an NVRTC that only write down what is asked of
# them (tests/tools/fake_cuda.c, tests/tools/fake_nvrtc.c), each fault it can meet, and where
# kernels' code comes from, also in a trainer; with the real NVRTC, the reader of cubins.
# shellcheck source=tests/lib.sh
. tests/lib.sh
. tests/tools/fake_gpu.sh
tool=$(realpath "$BUILD/cuda_tool")
text=tests/models/cuda/kernels.cu
fake=$work/fake
log=$work/log
mkdir -p "$fake" "$work/old" "$work/none" "$work/nvrtc"

build_fake "$fake/libcuda.so.1" fake_cuda.c
build_fake "$work/nvrtc/libnvrtc.so" fake_nvrtc.c
build_fake "$work/old/libcuda.so.1" fake_cuda.c -DOLD
: >"$work/none/libcuda.so.1" # hides a driver that is installed
settings=$(export -p | grep -E ' (LD_LIBRARY_PATH|HOME|NINC_NVRTC|CUDA_|VIRTUAL_ENV|CONDA_PREFIX)')
export FAKE_LOG=$log

# fresh: no log, no cache, nothing set.
fresh() {
    unset FAKE_CUDA FAKE_NVRTC ORDINAL
    unset CUDA_HOME CUDA_PATH VIRTUAL_ENV CONDA_PREFIX
    export NINC_NVRTC=$work/nvrtc/libnvrtc.so LD_LIBRARY_PATH=$fake
    export NINC_CACHE_DIR=$work/cache HOME=$work/home
    rm -rf "$work/cache" "$log"
}

# run [OPTION]...: the tool's run; what it prints is in $work/out, one error or notice a line in
# $work/errors.
run() {
    rm -f "$log"
    "$tool" run "${kernels:-$text}" "$@" >"$work/out" 2>"$work/errors"
}

# says PATTERN: the run failed with status 1 and one error line, which matches.
says() {
    local status=$?
    cat "$work/errors"
    [ $status -eq 1 ] && [ "$(grep -c '^cuda_tool: error: ' "$work/errors")" -eq 1 ] &&
        grep -Eq -- "^cuda_tool: error: .*$1" "$work/errors"
}

# logged COUNT PATTERN: lines of the log that match.
logged() {
    cat "$log"
    [ "$(grep -Ec -- "$2" "$log")" -eq "$1" ]
}

ran() {
    cat "$work/out" "$work/errors"
    grep -qx done "$work/out"
}

# refused PATTERN: a run that must fail.
refused() {
    run "${@:2}"
    says "$1"
}

# ---- the calls ----

fresh
run -DSCALE_FACTOR=4
check "runs" ran
check "one device's limits" grep -qx "Fake GPU 0 90 132 232448 1073741824 1073741824" "$work/out"
grep -v nvrtc "$log" | sed 's/cubin of compile .* -DNINC/cubin -DNINC/' >"$work/calls"
check "the driver's calls, in order" diff "$work/calls" tests/models/cuda/calls.log

# Each call that can fail: one error that names it, and all that was taken is given back.
failing_call() {
    fresh
    export FAKE_CUDA="fail=$1:999"
    run
    says "$1.*CUDA_ERROR_999, as asked for" || return 1
    [ "$(grep -c '^cuMemAlloc ' "$log")" -eq "$(grep -c '^cuMemFree ' "$log")" ] ||
        [ "$1" = cuMemAlloc ] || [ "$1" = cuMemFree ] || { echo "memory is left"; return 1; }
    if grep -q '^cuDevicePrimaryCtxRetain' "$log" && [ "$1" != cuDevicePrimaryCtxRetain ]; then
        grep -q '^cuDevicePrimaryCtxRelease' "$log" || { echo "the context is left"; return 1; }
    fi
}

for call in cuInit cuDeviceGetCount cuDeviceGet cuDevicePrimaryCtxRetain cuCtxSetCurrent \
    cuStreamCreate cuEventCreate cuModuleLoadDataEx cuModuleGetFunction cuFuncSetAttribute \
    cuMemAlloc cuMemcpyHtoDAsync cuMemHostAlloc cuEventSynchronize cuEventRecord cuLaunchKernel \
    cuStreamBeginCapture cuMemsetD8Async cuStreamEndCapture cuGraphInstantiate cuGraphLaunch \
    cuStreamSynchronize cuMemcpyDtoHAsync cuEventElapsedTime cuMemFree; do
    check "$call fails" failing_call $call
done

# ---- faults a user meets ----

fresh
LD_LIBRARY_PATH=$work/none check "no driver" refused "no NVIDIA driver: .*libcuda.so.1: .*; install"
LD_LIBRARY_PATH=$work/old check "old driver" \
    refused "too old: .*cuGraphInstantiateWithFlags; install driver 470"
FAKE_CUDA=fail=cuInit:100 check "no GPU" refused "CUDA_VISIBLE_DEVICES"
FAKE_CUDA=devices=0 check "no devices" refused "CUDA_ERROR_100.*CUDA_VISIBLE_DEVICES"
FAKE_CUDA=fail=cuInit:34 check "a stub library" refused "stub"
ORDINAL=2 FAKE_CUDA=devices=2 check "no such GPU" refused \
    "cuda:2: there are 2 GPUs, from cuda:0 on; trainer info"
FAKE_CUDA=fail=cuInit:802 check "a fabric that is not ready" refused "wait a minute.*fabricmanager"
FAKE_CUDA=fail=cuInit:804 check "a compatibility package" refused "off LD_LIBRARY_PATH"
FAKE_CUDA=fail=cuInit:304 check "no device files" refused "/dev/nvidia.*--gpus all"
FAKE_CUDA=memory=300 check "too little memory" \
    refused "cuMemAlloc .*256 bytes asked for, 44 of 300 are free; use a smaller batch"
FAKE_CUDA=fail=cuLaunchKernel:701 check "a launch fails" refused \
    "kernel scale, grid 1x1x1, 64 threads, 0 bytes of shared memory, 2 arguments 0x.*; Fake GPU 0 \
works on, [0-9]+ of 1073741824 bytes are free; .* registers"
FAKE_CUDA=fail=cuStreamSynchronize:700:2 check "a kernel fails" refused \
    "launched last: kernel reverse, .* 65536 bytes .*trainer verify"
FAKE_CUDA="arch=90 driver=12020 fail=cuModuleLoadDataEx:209" FAKE_NVRTC=version=12040 \
    check "a driver older than NVRTC" refused "driver of CUDA 12.2.*NINC_NVRTC"
NINC_NVRTC=$work/nothing.so check "no such NVRTC" refused "NINC_NVRTC does not open: .*nothing.so"
NINC_NVRTC=$fake/libcuda.so.1 check "no NVRTC at all" refused "no NVRTC of CUDA 11.2 or newer"
NINC_NVRTC='' FAKE_CUDA=driver=9000 check "no NVRTC is found" \
    refused "no NVRTC that this driver can use \(CUDA 9 or older\): looked .*pip install"

listed() {
    FAKE_CUDA="devices=2 arch=86" "$tool" list >"$work/list" 2>&1
    cat "$work/list"
    [ "$(wc -l <"$work/list")" -eq 2 ] &&
        grep -q "^cuda:1 Fake GPU 1, compute capability 8.6, 132 processors, 1.1 GB" "$work/list"
}
check "the list of GPUs" listed
check "the list without a driver" \
    grep -q "^cuda: no NVIDIA driver" <(LD_LIBRARY_PATH=$work/none "$tool" list)

fresh
sed 's/    row\[threadIdx/    does_not_compile[threadIdx/' $text >"$work/broken.cu"
kernels=$work/broken.cu check "a kernel that does not compile" refused \
    "kernel scale does not compile for sm_90a: NVRTC_ERROR_COMPILATION by nvrtcCompileProgram"
line=$(grep -n does_not_compile "$work/broken.cu" | cut -d: -f1)
check "... the log" grep -q "^kernels.cu($line): error: as asked for" "$work/errors"
check "... the source" grep -Eq "^> +$line  +does_not_compile" "$work/errors"
check "... the lines around" grep -Eq "^  +$((line - 1))  +extern __shared__" "$work/errors"
check "... and the others" grep -qx "1 more does not compile" "$work/errors"

# ---- the driver's places ----

# A dlopen to which a file under / is one under $ROOT, and to which the linker knows no libcuda.
cat >"$work/places.c" <<'END'
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
void *dlopen(const char *name, int flags)
{
    void *(*real)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
    char path[4096];
    if (name && strcmp(name, "libcuda.so.1") == 0)
        return real("/nowhere/libcuda.so.1", flags);
    snprintf(path, sizeof path, "%s%s", getenv("ROOT"), name ? name : "");
    return real(name && strstr(name, "/libcuda.so.1") ? path : name, flags);
}
END
${CC:-gcc} -w -D_GNU_SOURCE -shared -fPIC -o "$work/places.so" "$work/places.c" -ldl ||
    fail "build places.c"

# driver_in [DIRECTORY]: the list of GPUs where libcuda lies there alone, an empty one before it.
driver_in() {
    rm -rf "$work/root"
    mkdir -p "$work/root/$1" "$work/root/usr/local/nvidia/lib64"
    : >"$work/root/usr/local/nvidia/lib64/libcuda.so.1"
    [ -z "$1" ] || cp "$fake/libcuda.so.1" "$work/root/$1"
    ROOT=$work/root LD_PRELOAD="$work/places.so" ASAN_OPTIONS=verify_asan_link_order=0 "$tool" list
}

for place in usr/local/nvidia/lib64 usr/lib/wsl/lib usr/lib64-nvidia run/opengl-driver/lib; do
    check "a driver in /$place" grep -q '^cuda:0 Fake GPU 0' <(driver_in $place)
done
check "... and in none that can be loaded" grep -q '^cuda: no NVIDIA driver:' <(driver_in '')

# ---- architectures ----

# aimed TARGET ARCH NVRTC: what NVRTC is told.
aimed() {
    fresh
    FAKE_CUDA="arch=$2" FAKE_NVRTC="$3" run
    ran && logged 2 "nvrtc compile --gpu-architecture=$1 "
}
check "sm_86" aimed sm_86 86
check "sm_90a" aimed sm_90a 90
check "sm_90 by NVRTC 11" aimed sm_90 90 version=11080
check "PTX where NVRTC does not know the GPU" aimed compute_90 103 newest=90
check "... which the driver is given" logged 2 "cuModuleLoadDataEx PTX of "
check "... and the user is told" grep -q "the driver compiles PTX for 9.0" "$work/errors"
fresh
FAKE_CUDA="arch=103 refuse=1" FAKE_NVRTC=newest=90 \
    check "PTX that does not assemble" refused "kernel scale.*ptxas fatal: as asked for"
FAKE_CUDA=arch=70 check "a GPU that NVRTC knows no more" refused "compute capability 7.0 any more"

# ---- NVRTC's places: version 9 for a driver of CUDA 9, so that no real one counts ----

# found DIRECTORY NAME VARIABLE=VALUE
found() {
    fresh
    mkdir -p "$1"
    cp "$work/nvrtc/libnvrtc.so" "$1/$2"
    env NINC_NVRTC= FAKE_NVRTC=version=9000 FAKE_CUDA="driver=9000 arch=86" "$3" \
        "$tool" run $text >"$work/out" 2>"$work/errors"
    ran && logged 1 "nvrtc opened"
    local status=$?
    rm -r "$1"
    return $status
}
packages=lib/python3.11/site-packages/nvidia
check "NVRTC by the linker" found "$work/l" libnvrtc.so.12 "LD_LIBRARY_PATH=$fake:$work/l"
check "NVRTC in CUDA_HOME" found "$work/cuda/lib64" libnvrtc.so.13 "CUDA_HOME=$work/cuda"
check "NVRTC in CUDA_PATH" found "$work/cuda/lib64" libnvrtc.so "CUDA_PATH=$work/cuda"
check "NVRTC in a virtual environment" found "$work/v/$packages/cuda_nvrtc/lib" libnvrtc.so.12 \
    "VIRTUAL_ENV=$work/v"
check "NVRTC by pip --user" found "$work/home/.local/$packages/cu13/lib" libnvrtc.so.13 X=1
check "NVRTC of a Python in PATH" found "$work/p/$packages/cu13/lib" libnvrtc.so.13 \
    "PATH=$PATH:$work/p/bin"
check "NVRTC of a toolkit in PATH" found "$work/t/lib64" libnvrtc.so.12 "PATH=$work/t/bin:$PATH"

# ---- the cache ----

compiled() {
    ran && logged "$1" "^nvrtc compile"
}

fresh
run
check "cold: both are compiled" compiled 2
run
check "warm: none is" compiled 0
check "warm: NVRTC is not opened" logged 0 nvrtc
run -DREVERSE_THREADS=32
check "an option of one kernel: that one" compiled 1
check "... with it" logged 1 "nvrtc compile .* -DNINC_KERNEL=1 -DREVERSE_THREADS=32$"
run -DOTHER_KERNEL=7
check "an option of no kernel: none" compiled 0
sed 's/in the form of/just as/' $text >"$work/other.cu"
kernels=$work/other.cu run
check "another text: both" compiled 2
FAKE_CUDA=arch=86 run
check "another GPU: both" compiled 2
run
check "... and the first is still there" compiled 0

touch -d '2001-02-03' "$work/nvrtc/libnvrtc.so"
run
check "another NVRTC: both" compiled 2
run
check "... then none" logged 0 nvrtc
mv "$work/nvrtc/libnvrtc.so" "$work/nvrtc/gone"
run
check "an NVRTC that is gone: none" compiled 0
check "... but another option needs it" refused "NINC_NVRTC does not open" -DSCALE_FACTOR=9
mv "$work/nvrtc/gone" "$work/nvrtc/libnvrtc.so"

# damaged COMMAND...: COMMAND spoils each entry, $file; all is made anew, then found.
damaged() {
    local file
    fresh
    run
    for file in "$work"/cache/*; do
        eval "$1"
    done
    run
    compiled 2 || return 1
    run
    logged 0 nvrtc
}
# shellcheck disable=SC2016
{
    check "damaged: cut short" damaged 'truncate -s -1 "$file"'
    check "damaged: empty" damaged ': >"$file"'
    check "damaged: a byte" damaged 'printf X | dd of="$file" bs=1 seek=3 conv=notrunc status=none'
    check "damaged: another's entry" damaged \
        'cp "$work"/cache/nvrtc* "$work/one"; cp "$work/one" "$file"'
}

fresh
mkdir -p "$work/cache"
: >"$work/file"
NINC_CACHE_DIR=$work/file/below run
check "no cache: compiled" compiled 2
check "... with a notice" \
    grep -q "cache directory .* cannot be written" "$work/errors"

# Two at once, both cold: no half entries, and afterwards all is there.
at_once() {
    local first status=0
    fresh
    export FAKE_NVRTC=slow
    "$tool" run $text >"$work/out1" 2>&1 &
    first=$!
    "$tool" run $text >"$work/out2" 2>&1 || status=1
    wait $first || status=1
    cat "$work/out1" "$work/out2"
    [ $status -eq 0 ] || return 1
    run
    logged 0 nvrtc && [ -z "$(find "$work/cache" -name '*partial*')" ]
}
check "two at once" at_once

# ---- code inside the trainer: scale for sm_86 with a factor of 5 ----

# inside COMPILED LOADED GPU [OPTION]...: how many are compiled, how many come from the trainer.
inside() {
    fresh
    FAKE_CUDA=$3 run "${@:4}"
    compiled "$1" && logged "$2" "cuModuleLoadDataEx cubin of the trainer"
}
check "inside: fits" inside 1 1 arch=86 -DSCALE_FACTOR=5
check "inside: fits a later GPU of the family" inside 1 1 arch=89 -DSCALE_FACTOR=5
check "inside: not an earlier one" inside 2 0 arch=80 -DSCALE_FACTOR=5
check "inside: not another family" inside 2 0 arch=90 -DSCALE_FACTOR=5
check "inside: not other options" inside 2 0 arch=86 -DSCALE_FACTOR=6
check "inside: not fewer options" inside 2 0 arch=86
check "inside: refused by the driver" inside 2 1 "arch=86 refuse=1" -DSCALE_FACTOR=5
check "... with a notice" grep -q "older than the kernels inside the trainer" "$work/errors"

# ---- cubins of the real NVRTC ----

# real: what is installed, with an empty cache.
real() {
    fresh
    unset NINC_NVRTC LD_LIBRARY_PATH
    eval "$settings"
}

real
"$tool" cubin $text sm_80 scale 0 "$work/cubin" 2>"$work/errors"
if grep -q "error: no NVRTC: looked" "$work/errors"; then
    skip "cubins of NVRTC" "no NVRTC"
else
    usage_is() { # KERNEL NUMBER TARGET STACK SHARED
        "$tool" cubin $text "$3" "$1" "$2" "$work/cubin" 2>/dev/null || return 1
        "$tool" usage "$work/cubin" "$1" >"$work/usage" || return 1
        cat "$work/usage"
        grep -Eqx "([1-9][0-9]*) registers $4 stack $5 shared" "$work/usage"
    }
    for target in sm_80 sm_86 sm_90a; do
        check "$target: no stack" usage_is scale 0 $target 0 0
        check "$target: stack and shared memory" usage_is stack 2 $target 256 400
    done
    check "a cubin of another kernel" bash -c "! '$tool' usage '$work/cubin' scale"
    check "damaged cubins" "$tool" fuzz "$work/cubin" stack
    unknown() {
        "$tool" cubin $text sm_33 scale 0 "$work/cubin" 2>"$work/errors"
        says "does not know sm_33; it knows up to sm_[0-9]+"
    }
    check "an architecture that NVRTC does not know" unknown
    no_word() {
        "$tool" cubin $text sm86 scale 0 "$work/cubin" 2>"$work/errors"
        says "\"sm86\" is no architecture; write sm_86 or sm_90a"
    }
    check "no architecture" no_word
    ptxas=$(command -v ptxas || ls /usr/local/cuda/bin/ptxas 2>/dev/null)
    if [ -n "$ptxas" ] && command -v "${ptxas%/*}/nvcc" >/dev/null; then
        as_ptxas() { # KERNEL TARGET: the numbers of `ptxas -v` and of its cubin
            "${ptxas%/*}/nvcc" -cubin -std=c++17 -arch="$2" -Xptxas -v -o "$work/cubin" $text \
                2>&1 | sed -n "/function '$1'/,/Used/p" >"$work/ptxas"
            "$tool" usage "$work/cubin" "$1" >"$work/usage"
            cat "$work/ptxas" "$work/usage"
            read -r registers _ stack _ <"$work/usage"
            grep -q "Used $registers registers" "$work/ptxas" &&
                grep -q "^ *$stack bytes stack frame" "$work/ptxas"
        }
        for kernel in scale reverse stack; do
            check "$kernel: the numbers of ptxas" as_ptxas $kernel sm_90a
            check "$kernel: the numbers of ptxas, sm_86" as_ptxas $kernel sm_86
        done
    else
        skip "the numbers of ptxas" "no nvcc"
    fi
fi

# ---- a trainer ----

tiny_network mlpconv >"$work/tiny.yaml"

# trains [OPTION]...: two steps on the fake GPU; what it prints as run does.
trains() {
    rm -f "$log"
    "$work/tiny/trainer" train --device cuda --data random --max-steps 2 --no-eval "$@" \
        >"$work/out" 2>"$work/errors"
}

trained() {
    trains "$@"
    local status=$?
    cat "$work/out" "$work/errors"
    [ $status -eq 0 ] && grep -q "^done: 2 steps" "$work/out"
}

fails_to_train() {
    trains
    local status=$?
    cat "$work/errors"
    [ $status -eq 1 ] && [ "$(grep -c '^trainer: error: ' "$work/errors")" -eq 1 ] &&
        grep -Eq -- "^trainer: error: .*$1" "$work/errors"
}

trainers_at_once() {
    local first status=0
    fresh
    "$work/tiny/trainer" train --device cuda --data random --max-steps 2 >"$work/first" 2>&1 &
    first=$!
    trained || status=1
    wait $first || status=1
    cat "$work/first"
    [ $status -eq 0 ] && trained && logged 0 nvrtc
}

# verifies FAULT [OPTION]...: what this GPU computes is wrong; the lines count, and the status.
verifies() {
    export FAKE_CUDA=$1
    "$work/tiny/trainer" verify --device cuda "${@:2}" >"$work/out" 2>"$work/errors"
    local status=$?
    unset FAKE_CUDA
    cat "$work/out" "$work/errors"
    [ $status -eq 1 ]
}

# counted WORD COUNT: so many lines of the report begin with it.
counted() {
    [ "$(grep -c "^$1 " "$work/out")" -eq "$2" ]
}

kernels_of_tiny() {
    "$work/tiny/trainer" verify --list --device cuda
}

behind_a_fault() {
    local all
    all=$(kernels_of_tiny | wc -l)
    verifies fault=conv_0_0_forward:719 && counted FAULT 1 &&
        grep -q "^FAULT train  conv_0_0_forward " "$work/out" &&
        [ "$(grep -c "error: .*CUDA_ERROR_719" "$work/errors")" -eq 1 ] &&
        [ "$(grep -E '^(ok|WRONG|FAULT) ' "$work/out" | grep -cv ', limits$')" -eq "$all" ] &&
        [ "$(grep -c '^model ' "$work/out")" -eq 1 ] &&
        grep -q "^[0-9]* of [0-9]* checks are within bounds" "$work/out"
}

behind_faults() {
    local last
    last=$(kernels_of_tiny | tail -n 1 | awk '{ print $2 }')
    verifies "fault=$last:700" && counted FAULT 1 && grep -q " of .* checks are" "$work/out" &&
        verifies fault=metrics:700 --full && counted FAULT 2 &&
        grep -q "^FAULT train  train_step  *whole step" "$work/out" &&
        grep -q "^[a-zA-Z]* *eval  *loss" "$work/out"
}

one_kernel() {
    verifies "" --kernel conv_2_0_forward && counted WRONG 1 && counted ok 0 &&
        grep -q "^0 of 1 checks" "$work/out"
}

one_fault() {
    verifies fault=update:700 --kernel update && counted FAULT 1 && counted WRONG 0
}

no_such_kernel() {
    verifies "" --kernel conv && grep -q "^trainer: error: --kernel conv: .*--list" "$work/errors"
}

lists_kernels() {
    kernels_of_tiny >"$work/out" 2>"$work/errors" || return 1
    cat "$work/out"
    [ ! -s "$work/errors" ] &&
        grep -q "^train  conv_0_0_forward  *[a-z]*_forward$" "$work/out" &&
        "$work/tiny/trainer" verify --list --full --device cuda | grep -q "^train  train_step  "
}

no_device_to_verify() {
    verifies "" && [ ! -s "$work/out" ] &&
        [ "$(grep -c "error: .*no NVIDIA driver" "$work/errors")" -eq 1 ]
}

fresh
if "$NINC" -q --target=cuda -o "$work/tiny" "$work/tiny.yaml" 2>"$work/errors"; then
    check "trainer: cold" trained
    all=$(grep -c "^nvrtc compile" "$log")
    check "trainer: its kernels are loaded" logged "$all" "^cuModuleLoadDataEx cubin"
    check "trainer: two steps, a graph" logged 2 "^cuGraphLaunch"
    check "trainer: warm" trained
    check "trainer: warm, without NVRTC" logged 0 nvrtc
    check "trainer: two at once" trainers_at_once
    FAKE_CUDA=fail=cuLaunchKernel:700 \
        check "trainer: a launch fails" fails_to_train "cuLaunchKernel .*kernel [a-z_0-9]+, grid"
    FAKE_CUDA=fail=cuGraphLaunch:719 check "trainer: a step fails" fails_to_train "cuGraphLaunch"
    FAKE_CUDA=memory=20000 check "trainer: too little memory" \
        fails_to_train "needs .* of device memory at batch 4 and .* images, Fake GPU 0 has"
    LD_LIBRARY_PATH=$work/none check "trainer: no driver" fails_to_train "no NVIDIA driver"
    NINC_NVRTC=$work/nothing.so NINC_CACHE_DIR=$work/other \
        check "trainer: no NVRTC" fails_to_train "NINC_NVRTC does not open"
    check "verify goes on behind a kernel that faults" behind_a_fault
    check "verify goes on behind two that fault, and the last" behind_faults
    check "verify of one kernel" one_kernel
    check "verify of a kernel that faults" one_fault
    check "verify of a kernel that is not there" no_such_kernel
    LD_LIBRARY_PATH=$work/none check "verify lists kernels without a driver" lists_kernels
    LD_LIBRARY_PATH=$work/none check "verify without a driver is one error" no_device_to_verify
else
    fail "trainer: compiles" "$work/errors"
fi

# ---- the batch that is advised where memory is short ----

# small_memory MB BATCH: a step of $spelled, compiled for the batch; 0 where it fits.
small_memory() {
    [ -x "$work/batch$2/trainer" ] ||
        "$NINC" -q --target=cuda "${spelled[@]}" --batch="$2" -o "$work/batch$2" || return 2
    FAKE_CUDA="memory=$1" "$work/batch$2/trainer" train --device cuda --data random --max-steps 1 \
        >"$work/out" 2>"$work/errors"
}

# A trainer for 128 images names a batch: that one trains in the same memory, and twice as many
# images do not.
advised() {
    local memory=$1 batch
    rm -rf "$work"/batch*
    small_memory "$memory" 128 && return 1
    cat "$work/errors"
    batch=$(sed -n 's/.*; compile it with --batch=\([0-9]*\)$/\1/p' "$work/errors")
    [ -n "$batch" ] && small_memory "$memory" "$batch" || return 1
    small_memory "$memory" $((2 * batch))
    [ $? -eq 1 ] && grep -q "MB free; compile it with --batch=$batch$" "$work/errors"
}

fresh
spelled=(models/nin_fashion.yaml)
check "the advised batch fits" advised 20000000
check "the advised batch fits, beside the images" advised 4500000
spelled=(models/nin_fashion.yaml --precision=bf16)
check "the advised batch fits, bf16" advised 12000000
spelled=(models/nin.yaml) # fused only at small batches
check "the advised batch fits, a large model" advised 150000000

# ---- a trainer with kernels inside ----

# carried NEEDED ARCH [SETTING]: the trainer needs NVRTC for so many kernels.
carried() {
    fresh
    export FAKE_CUDA="arch=$2 ${3:-}"
    trained && logged "$1" "^nvrtc compile"
}

# carry DIRECTORY TARGETS
carry() {
    "$NINC" -q --target=cuda --cubin="$2" -o "$1" "$work/tiny.yaml" 2>"$work/errors"
}

lists_usage() {
    "$NINC" --target=cuda --cubin=sm_86 --emit=summary -v "$work/tiny.yaml" >"$work/out" 2>&1
    cat "$work/out"
    grep -Eq "^conv_0_0_forward +[1-9][0-9]* +[1-9][0-9]* +0 +[1-9]" "$work/out"
}

not_carried() {
    carry "$work/wrong" sm_86,sm90
    local status=$?
    cat "$work/errors"
    [ $status -eq 1 ] && [ ! -e "$work/wrong" ] &&
        grep -q 'ninc: error: "sm90" is no GPU architecture' "$work/errors"
}

# With the real NVRTC, which opens the driver itself; then from the cache.
by_nvrtc() {
    real
    export LD_LIBRARY_PATH=$fake
    trained || return 1
    grep -q "compiling [0-9]* CUDA kernels for sm_90a by NVRTC" "$work/errors" || return 1
    trained && ! grep -q compiling "$work/errors"
}

real
if carry "$work/carrying" sm_86,sm_90a; then
    check "-q says nothing of what is compiled" [ ! -s "$work/errors" ]
    check "compiled by NVRTC, then found" by_nvrtc
    rm -r "$work/tiny" && mv "$work/carrying" "$work/tiny"
    check "inside a trainer: sm_86 on 8.6" carried 0 86
    check "inside a trainer: sm_86 on 8.9" carried 0 89
    check "inside a trainer: sm_86 on a small GPU" carried 0 86 processors=4
    check "inside a trainer: sm_90a on 9.0" carried 0 90
    check "inside a trainer: nothing for 8.0" carried "$all" 80
    real
    check "no such architecture" not_carried
    check "the summary says what kernels use" lists_usage
elif grep -q "error: no NVRTC" "$work/errors"; then
    skip "kernels inside a trainer" "no NVRTC"
else
    fail "kernels inside a trainer" "$work/errors"
fi

# ---- a GPU ----

real
if [[ $("$tool" list) == cuda:0* ]]; then
    check "results on a GPU" "$tool" numbers $text
else
    skip "results on a GPU" "no GPU"
fi
finish
