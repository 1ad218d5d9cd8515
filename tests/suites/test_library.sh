#!/bin/bash
# The forward pass as a C library: its logits are those of the trainer's eval program, bit for bit,
# from any number of images, threads and networks; what goes wrong comes back as a text; README's
# example runs.
# shellcheck disable=SC2086
. tests/lib.sh
. tests/tools/kept.sh
light_kernels

compiler=${CC:-gcc}
case $BUILD in
*asan*) sanitize="-fsanitize=address,undefined -fno-sanitize-recover=all" ;;
*) sanitize= ;;
esac
warnings="-Wall -Wextra -Wshadow -pedantic -Werror"
export NINC_CACHE_DIR=${NINC_CACHE_DIR:-$work/cache}

# library CASE [OPTION...] -> $work/CASE: libCASE.so, CASE.h, CASE.pc, client, weights
library() {
    local upper=${1^^}
    "$NINC" -q --emit=library -o "$work/$1" "${@:2}" "tests/models/pytorch/$1.yaml" &&
        "$BUILD/parity_tool" init "tests/models/pytorch/$1.json" "$work/$1/weights" &&
        $compiler -std=c11 -D_GNU_SOURCE -g $warnings $sanitize -DNAME="$1" -DCONSTANTS="$upper" \
            -include "$work/$1/$1.h" -o "$work/$1/client" tests/tools/library_client.c \
            -L"$work/$1" -Wl,-rpath,"$work/$1" "-l$1" -lpthread
}

# The instruction sets of the trainer that this processor has, the best first.
levels() {
    case $(uname -m) in
    x86_64)
        ! grep -q avx512vl /proc/cpuinfo || echo avx512
        ! grep -q avx2 /proc/cpuinfo || echo avx2
        echo baseline
        ;;
    aarch64) echo neon ;;
    *) echo baseline ;;
    esac
}

level_flags() {
    case $1 in
    avx512) echo "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma" \
        "-mprefer-vector-width=512" ;;
    avx2) echo "-mavx2 -mfma" ;;
    esac
}

# reference CASE LEVEL -> $work/reference: the trainer's eval program on one instruction set
reference() {
    local other rename=
    for other in avx512 avx2 baseline neon; do
        [ $other = "$2" ] || rename="$rename -Dninc_cpu_$other=ninc_cpu_$2"
    done
    "$NINC" --target=cpu --emit=c "tests/models/pytorch/$1.yaml" >"$work/model.c" &&
        "$NINC" --target=cpu --emit=plan "tests/models/pytorch/$1.yaml" >"$work/plan.c" &&
        kept_object "$work/model.o" $compiler -std=gnu11 -O3 -ffp-contract=fast -fno-math-errno \
            -fno-trapping-math $(level_flags "$2") -DNINC_LEVEL="$2" "$work/model.c" &&
        $compiler -std=gnu11 -Iir $rename $sanitize -o "$work/reference" \
            tests/tools/library_reference.c "$work/model.o" "$work/plan.c" \
            "$BUILD/libninc_runtime.a" -ljansson \
            -lpng16 -ljpeg -lwebpdemux -lwebp -lgif -larchive -lminizip -lz -lm -lpthread -ldl
}

# same_logits CASE LEVEL: whole batches, parts of them, in one call and in several
same_logits() {
    reference "$1" "$2" || return 1
    export NINC_CPU_LEVEL=$2
    "$work/reference" "$work/$1/weights" 13 >"$work/wanted" || return 1
    [ "$(wc -l <"$work/wanted")" -eq 13 ] && [ "$(sort -u "$work/wanted" | wc -l)" -eq 13 ] ||
        return 1
    local counts
    for counts in 13 "1 12" "3 5 1 4" "1 1 1 1 1 1 1 1 1 1 1 1 1"; do
        "$work/$1/client" logits "$work/$1/weights" cpu 2 $counts >"$work/got" &&
            cmp "$work/got" "$work/wanted" || return 1
    done
    unset NINC_CPU_LEVEL
}

exports_only_its_own() {
    nm -D --defined-only "$work/$1/lib$1.so" | awk '{ print $3 }' | sort >"$work/symbols"
    printf '%s\n' "$1"_{create,error,forward,free} | diff - "$work/symbols"
}

# Beside the C library nothing but what a shared library shares; the sanitizers bring theirs.
needs_little() {
    readelf -d "$work/$1/lib$1.so" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' |
        grep -Ev '^(libjansson\.so\.4|libz\.so\.1|libm\.so\.6|libc\.so\.6|ld-linux.*)$' |
        grep -Ev '^lib([alu]b?san|gcc_s|pthread|dl)\.' >"$work/needed"
    [ ! -s "$work/needed" ] || { cat "$work/needed"; return 1; }
    ldd "$work/$1/lib$1.so" >"$work/needed" && ! grep 'not found' "$work/needed"
}

holds_no_training() {
    ! nm "$work/$1/lib$1.so" | grep -E 'wgrad|update|backward' &&
        ! grep -qa 'weight\.m\b' "$work/$1/lib$1.so"
}

# refused PATTERN WEIGHTS DEVICE THREADS: the reason matches, and nothing else is printed
refused() {
    local text=$1
    shift
    "$client" refuse "$@" >"$work/refusal" 2>"$work/said" && [ ! -s "$work/said" ] &&
        grep -E "$text" "$work/refusal" || { cat "$work/refusal" "$work/said"; return 1; }
}

# ---- the library ----

check "a library" library pools_sgd
check "its header is C++ too" ${CXX:-g++} -x c++ -std=c++11 $warnings -fsyntax-only \
    "$work/pools_sgd/pools_sgd.h"
check "it exports its functions alone" exports_only_its_own pools_sgd
check "it needs few libraries" needs_little pools_sgd
check "it holds no training" holds_no_training pools_sgd
check "another library" library nin_sgd --batch=3
for level in $(levels); do
    check "logits of the trainer, $level" same_logits pools_sgd "$level"
done
check "logits of the trainer, in tiles" same_logits nin_sgd "$(levels | head -n 1)"
client=$work/pools_sgd/client weights=$work/pools_sgd/weights
long_check "a library of averages" library norms_ema
long_check "logits of the trainer, of averages" same_logits norms_ema "$(levels | head -n 1)"
check "threads" "$client" threads "$weights"
check "wrong arguments" "$client" misuse "$weights"
check "children of fork" timeout 600 "$client" fork "$weights"

# Python's multiprocessing, also where the parent has an OpenMP library of its own at work.
cat >"$work/children.py" <<'END'
import ctypes, multiprocessing, sys

library, weights, openmp = sys.argv[1:]
network = ctypes.CDLL(library)
network.pools_sgd_create.restype = ctypes.c_void_p
network.pools_sgd_error.restype = ctypes.c_char_p
images = bytes(i * 31 % 251 for i in range(3 * 28 * 28))


def create():
    error = ctypes.create_string_buffer(256)
    made = network.pools_sgd_create(weights.encode(), b"cpu", 2, error, len(error))
    return ctypes.c_void_p(made) if made else sys.exit(error.value)


def forward(made):
    logits = (ctypes.c_float * 30)()
    status = network.pools_sgd_forward(made, images, 3, logits)
    return status, list(logits)


def child(_):
    refused = forward(parents)[0], b"fork" in network.pools_sgd_error(parents)
    own = create()
    return refused, forward(own)


ctypes.CDLL(openmp).start() if openmp else None
parents = create()
wanted = forward(parents)
with multiprocessing.get_context("fork").Pool(2) as pool:
    got = pool.map_async(child, range(6)).get(timeout=300)
assert wanted[0] == 0 and any(wanted[1]), wanted
assert got == [((-1, True), wanted)] * 6, got
network.pools_sgd_free(parents)
END
echo 'void start(void);
      void start(void) {
          _Pragma("omp parallel num_threads(2)") __asm__ volatile("");
      }' >"$work/openmp.c"
children_of_python() {
    local openmp library
    $compiler -std=gnu11 -fopenmp -shared -fPIC -o "$work/openmp.so" "$work/openmp.c" &&
        library=$work/openmp.so
    for openmp in "" $library; do
        timeout 600 python3 "$work/children.py" "$work/pools_sgd/libpools_sgd.so" "$weights" \
            "$openmp" || return 1
    done
}
if [ -n "$sanitize" ]; then
    skip "children of Python" "it is not linked with the sanitizers"
else
    check_with python3 "children of Python" children_of_python
fi

# ---- two libraries, taken in and out of a program ----

cat >"$work/load.c" <<'END'
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

/* Loads, uses and unloads each library: LIBRARY NAME WEIGHTS ... */
static int use(char **argument, unsigned char *images, float *logits)
{
    char name[3][256];
    static const char *const ends[] = {"create", "forward", "free"};
    void *library = dlopen(argument[0], RTLD_NOW | RTLD_GLOBAL);
    for (int i = 0; i < 3; i++)
        snprintf(name[i], sizeof name[i], "%s_%s", argument[1], ends[i]);
    if (!library)
        return fprintf(stderr, "%s\n", dlerror());
    void *(*create)(const char *, const char *, int, char *, size_t) = dlsym(library, name[0]);
    int (*forward)(void *, const unsigned char *, int, float *) = dlsym(library, name[1]);
    void (*release)(void *) = dlsym(library, name[2]);
    char error[256];
    void *network = create(argument[2], "cpu", 2, error, sizeof error);
    if (!network)
        return fprintf(stderr, "%s\n", error);
    int status = forward(network, images, 5, logits);
    release(network);
    return status || dlclose(library);
}

int main(int argc, char **argv)
{
    unsigned char *images = calloc(5, 1 << 20);
    float logits[5 * 64];
    for (int round = 0; round < 3; round++)
        for (int i = 1; i + 2 < argc; i += 3)
            if (use(argv + i, images, logits))
                return 1;
    free(images);
    return 0;
}
END
load_twice() {
    $compiler -std=gnu11 $sanitize -o "$work/load" "$work/load.c" -ldl &&
        "$work/load" "$work/pools_sgd/libpools_sgd.so" pools_sgd "$weights" \
            "$work/nin_sgd/libnin_sgd.so" nin_sgd "$work/nin_sgd/weights"
}
check "two libraries in one program, loaded three times" load_twice

# ---- faults ----

head -c 1000 "$weights" >"$work/cut"
check "no such weights" refused "cannot read $work/none: No such file" "$work/none" cpu 0
check "weights in a directory without any" refused "without checkpoints; give a .safetensors" \
    "$work/pools_sgd" cpu 0
check "weights cut off" refused "truncated" "$work/cut" cpu 0
check "weights of another network" refused "tensor a.weight.* missing" \
    "$work/nin_sgd/weights" cpu 0
check "no such device" refused "no device 'tpu'" "$weights" tpu 0
check "too many threads" refused "threads; give 1 to" "$weights" cpu 100000
if [ ! -e /dev/nvidiactl ]; then
    check "no GPU" refused "no NVIDIA driver|no GPU" "$weights" cuda 0
    check "a GPU or else the CPU" "$client" logits "$weights" auto 0 1
fi
NINC_CPU_LEVEL=pentium check "no such instruction set" refused "pentium" "$weights" cpu 0
little_memory() (
    client=$work/nin_sgd/client
    ulimit -v 65536
    refused "cannot get .* MB of memory" "$work/nin_sgd/weights" cpu 1000
)
# Wherever memory ends, there are logits or a reason; 127: not even the program could be loaded.
any_memory() {
    local kilobytes status refusals=0 done=0
    for ((kilobytes = 6000; kilobytes < 80000; kilobytes += 1900)); do
        (
            ulimit -v $kilobytes
            "$work/nin_sgd/client" logits "$work/nin_sgd/weights" cpu 1 4 \
                >"$work/got" 2>"$work/said"
        )
        status=$?
        case $status in
        0) done=$((done + 1)) ;;
        1) grep -q '^client: \(create\|forward\): .' "$work/said" && refusals=$((refusals + 1)) ||
            return 1 ;;
        127) ;;
        *) echo "$kilobytes: $status"; cat "$work/said"; return 1 ;;
        esac
    done
    echo "$refusals refused, $done done"
    [ $refusals -gt 2 ] && [ $done -gt 2 ]
}
if [ -z "$sanitize" ]; then
    check "little memory" little_memory
    check "any memory" any_memory
else
    skip "little memory" "address sanitizer needs it all"
fi

# ---- a GPU, simulated ----

on_simulator() {
    reference pools_sgd baseline || return 1
    NINC_CPU_LEVEL=baseline "$work/reference" "$weights" 7 >"$work/wanted" &&
        "$client" logits "$weights" sim 0 3 4 >"$work/got" || return 1
    local got wanted
    read -ra wanted <<<"$(tr '\n' ' ' <"$work/wanted")"
    read -ra got <<<"$(tr '\n' ' ' <"$work/got")"
    paste -d' ' <(printf '%.7f\n' "${wanted[@]}") <(printf '%.7f\n' "${got[@]}") |
        awk '{ d = $1 - $2; if (!(d * d <= 1e-8)) { print; bad = 1 } }
             END { exit bad || NR != 70 }'
}
if "${CXX:-c++}" --version >/dev/null 2>&1; then
    NINC_SIM=checks=0 check "logits of a simulated GPU" on_simulator
else
    skip "logits of a simulated GPU" "no C++ compiler (\$CXX or c++)"
fi

# ---- a GPU whose driver only writes down what is asked of it ----

# Each thread takes the device's context for itself before it asks for anything else.
from_another_thread() {
    local fake=$work/fake
    mkdir -p "$fake"
    $compiler -std=c11 -D_GNU_SOURCE -shared -fPIC \
        -o "$fake/libcuda.so.1" tests/tools/fake_cuda.c &&
        $compiler -std=c11 -D_GNU_SOURCE -shared -fPIC \
            -o "$fake/libnvrtc.so" tests/tools/fake_nvrtc.c &&
        FAKE_LOG=$work/log NINC_NVRTC=$fake/libnvrtc.so LD_LIBRARY_PATH=$fake \
            "$client" elsewhere "$weights" cuda 0 || return 1
    # from create, two calls of forward, free
    grep -nE 'cuCtxSetCurrent|cuGraphLaunch|cuStreamDestroy' "$work/log" | cut -d: -f2 |
        cut -d' ' -f1 | paste -sd' ' >"$work/order"
    cat "$work/order"
    grep -qx "cuCtxSetCurrent cuCtxSetCurrent cuGraphLaunch cuCtxSetCurrent cuGraphLaunch\
 cuCtxSetCurrent cuStreamDestroy" "$work/order"
}
if [ -z "$sanitize" ]; then
    check "a GPU from another thread" from_another_thread
else
    skip "a GPU from another thread" "the fake driver is not sanitized"
fi

# ---- building ----

leaves_nothing() {
    ! CC=false "$NINC" -q --emit=library -o "$work/no" tests/models/pytorch/pools_sgd.yaml &&
        [ ! -e "$work/no" ] && ! ls -d "$work"/no* 2>/dev/null
}
keeps_what_was() {
    mkdir -p "$work/was/libpools_sgd.so" && echo mine >"$work/was/pools_sgd.h" &&
        ! "$NINC" -q --emit=library -o "$work/was" tests/models/pytorch/pools_sgd.yaml &&
        [ "$(cat "$work/was/pools_sgd.h")" = mine ] && [ "$(ls -A "$work/was" | wc -l)" -eq 2 ]
}
other_names() {
    sed 's/^model:.*/model: 2.nets.v1/' tests/models/pytorch/pools_sgd.yaml >"$work/names.yaml"
    "$NINC" -q --target=cpu "$one_level" --emit=library -o "$work/a, b" "$work/names.yaml" &&
        [ "$(ls "$work/a, b" | paste -sd' ')" = \
            "libmodel_2_nets_v1.so model_2_nets_v1.h model_2_nets_v1.pc" ] &&
        $compiler -std=c11 $warnings -fsyntax-only -x c "$work/a, b/model_2_nets_v1.h"
}
for_one_target() {
    "$NINC" -q --target=cuda --emit=library -o "$work/cuda" tests/models/pytorch/pools_sgd.yaml &&
        "$NINC" -q --precision=bf16 --target=cpu "$one_level" --emit=library -o "$work/bf16" \
            tests/models/pytorch/pools_sgd.yaml &&
        [ -s "$work/cuda/libpools_sgd.so" ] && [ -s "$work/bf16/libpools_sgd.so" ]
}
check "a failed build leaves nothing" leaves_nothing
check "a failed build keeps what was there" keeps_what_was
check "names with dots and digits, commas and blanks" other_names
check "for one target" for_one_target

# ---- README's example ----

# The C code of the section on the library in runtime/README.md.
readme_example() {
    awk '/^## / { in_section = /^## The network as a C library/ }
         in_section && /^    #include/ { on = 1 }
         on && /^[^ ]/ { exit }
         on { print substr($0, 5) }' runtime/README.md
}

# example COMPILER SUFFIX
example() {
    readme_example >"$work/classify.$2"
    (
        cd "$work" &&
            eval "$1 $sanitize -o classify-$2 classify.$2" \
                "$(PKG_CONFIG_PATH=$work/fashion pkg-config --cflags --libs nin_fashion)"
    ) || return 1
    head -c 784 /dev/urandom >"$work/image"
    "$work/classify-$2" "$work/fashion.safetensors" <"$work/image" >"$work/class" &&
        grep -qx 'class [0-9]' "$work/class" &&
        ! "$work/classify-$2" "$work/none" <"$work/image" 2>"$work/said" &&
        grep -q "cannot read $work/none" "$work/said"
}

# What README says to set, and what ninc says: both where the library is, given relatively.
said_paths() {
    case $NINC in
    /*) ;;
    *) NINC=$PWD/$NINC ;;
    esac
    sed -n 's/^    \$ export PKG_CONFIG_PATH=//p' runtime/README.md >"$work/said_by_readme"
    local model=$PWD/models/nin_fashion.yaml
    (
        cd "$work" && "$NINC" --emit=library -o nin_fashion_library "$model" 2>said &&
            sed -n 's/.*PKG_CONFIG_PATH=\([^ ]*\) .*/\1/p' said >said_by_ninc
    )
}

# from_elsewhere FILE: with the path in FILE the example is a program that runs from any directory.
from_elsewhere() {
    (
        cd "$work" && eval "export PKG_CONFIG_PATH=$(cat "$1")" &&
            eval "$compiler $sanitize -o elsewhere classify.c" \
                "$(pkg-config --cflags --libs nin_fashion)"
    ) || return 1
    (cd / && "$work/elsewhere" "$work/fashion.safetensors" <"$work/image") | grep -x 'class [0-9]'
}
fashion() {
    "$NINC" -q "$one_level" --emit=library -o "$work/fashion" models/nin_fashion.yaml &&
        "$NINC" -q --target=cpu "$one_level" -o "$work/trainer" models/nin_fashion.yaml \
            >/dev/null &&
        "$work/trainer/trainer" train --data random --max-steps 1 --no-eval \
            --save "$work/fashion.safetensors" --checkpoint-dir "$work/run"
}

# A directory of checkpoints, one of them, and the name of the newest: the weights of the file.
of_run_directory() {
    local weights wanted
    wanted=$("$work/elsewhere" "$work/fashion.safetensors" <"$work/image") || return 1
    for weights in "$work/run" "$work/run/step-00000001" "$work/run/latest"; do
        [ "$("$work/elsewhere" "$weights" <"$work/image")" = "$wanted" ] || return 1
    done
}
if command -v pkg-config >/dev/null; then
    check "nin_fashion and its weights" fashion
    check "README's example, as C" example "$compiler -std=c11 $warnings" c
    check_with "${CXX:-g++}" "README's example, as C++" example \
        "${CXX:-g++} -std=c++11 -Wall -Wextra" cc
    check "a library in a relative directory" said_paths
    check "README's example, from another directory" from_elsewhere "$work/said_by_readme"
    check "what ninc says to go on with, from another directory" from_elsewhere \
        "$work/said_by_ninc"
    check "weights of a run directory" of_run_directory
else
    skip "README's example" "there is no pkg-config"
fi
finish
