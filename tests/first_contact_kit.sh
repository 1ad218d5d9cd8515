#!/bin/bash
# Makes the kit that tests/first_contact.sh needs on a machine with a GPU and none of our libraries:
# `make first-contact-kit`. Everything in it needs glibc 2.34 and nothing else, which is checked,
# and it stays below $MOST MiB (default 56: with the tree it travels in one piece of 64).
#
#   tests/first_contact_kit.sh DIR [PLAN]
#
# PLAN (default: below) has a line for each thing to do there, in order: PHASE WHAT NAME ...; NAME
# is MODEL-BATCH-PRECISION[-O0], or a case of tests/models/pytorch. $MODELS is where the models are
# (default models), $CUBINS what GPUs get their kernels compiled here (default sm_90a, where there
# is NVRTC; `none`: they are compiled there). $NINC and $BUILD as for the tests.
set -eu
NINC=${NINC:-./ninc} BUILD=${BUILD:-build} MODELS=${MODELS:-models} CUBINS=${CUBINS:-sm_90a}
kit=$1 plan=${2:-} most=${MOST:-56}

default_plan() {
    cat <<'END'
1 classes nin_fashion-64-fp32
1 classes nin_fashion-64-tf32
1 classes nin_fashion-64-bf16
1 classes nin_fashion-64-fp32-O0
2 verify nin-128-bf16
2 verify nin_cifar10-128-bf16
2 verify nin-16-bf16
2 verify nin-16-tf32
2 verify nin-16-fp32
2 bits nin_fashion-64-fp32
2 bits nin_fashion-64-bf16
2 parity blocks_sgd 20
2 parity strides_sgd 20
2 parity pools_adam 3
2 parity flatten_adam 3
2 parity nin_sgd 8
2 verify nin_cifar10-16-bf16
2 verify nin_cifar10-16-tf32
2 verify nin_cifar10-16-fp32
3 memcheck nin_fashion-64-bf16
3 racecheck nin_fashion-64-bf16
3 synccheck nin_fashion-64-bf16
3 memcheck nin_fashion-64-fp32
3 racecheck nin_fashion-64-fp32
3 synccheck nin_fashion-64-fp32
3 memcheck nin_fashion-64-tf32
3 racecheck nin_fashion-64-tf32
3 synccheck nin_fashion-64-tf32
4 tune nin-128-bf16
4 tune nin-16-bf16
4 tune nin_cifar10-128-bf16
4 profile nin-128-bf16
4 profile nin-16-bf16
4 profile nin_cifar10-128-bf16
4 profile nin_cifar10-16-bf16
5 torch nin-128-bf16
5 torch nin-16-bf16
5 torch nin_cifar10-128-bf16
5 torch nin_cifar10-16-bf16
END
    local batch precision model
    for batch in 128 1024 16; do
        for precision in bf16 tf32 fp32; do
            for model in nin nin_cifar10; do
                [ $precision = bf16 ] && [ $batch != 1024 ] && continue
                echo "6 profile $model-$batch-$precision"
                echo "6 torch $model-$batch-$precision"
            done
        done
    done
}

say() {
    echo "first-contact-kit: $*" >&2
    exit 1
}

# compile NAME MODEL.yaml OPTION... -> $kit/trainers/NAME.gz. Every machine has gzip.
compile() {
    local name=$1 out=$scratch/trainer options=()
    shift
    [ "$CUBINS" = none ] || options=("--cubin=$CUBINS")
    made=$((made + 1))
    echo "trainer $made of $trainers: $name ($(du -sm "$kit" | cut -f 1) MiB, $SECONDS s so far)"
    "$NINC" -q --target=cuda "${options[@]}" -o "$out" "$@" || say "$name does not compile"
    foreign "$out/trainer"
    gzip -9 -c "$out/trainer" >"$kit/trainers/$name.gz"
    rm -rf "$out"
}

# foreign FILE: ends where the program needs more than glibc, or a newer one than 2.34.
foreign() {
    local needs newest
    needs=$(objdump -p "$1" | awk '$1 == "NEEDED" { print $2 }' |
        grep -Ev '^(libc|libm|ld-linux.*|libdl|libpthread|librt)\.so' || true)
    [ -z "$needs" ] || say "$1 needs $(echo $needs): install the static libraries (make deps)"
    newest=$(objdump -T "$1" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
    [ "$(printf '%s\n' "$newest" GLIBC_2.34 | sort -V | tail -n 1)" = GLIBC_2.34 ] ||
        say "$1 needs $newest; build the kit on a machine with glibc 2.34 to 2.36 (Debian 12)"
}

# model_file NAME: that without dropout where there is one, as its rows always were.
model_file() {
    local plain=tests/models/plain/$1.yaml
    [ -e "$plain" ] && echo "$plain" || echo "$MODELS/$1.yaml"
}

trainer() {
    local name=$1 plain=${1%-O0} level=-O2
    [ "$plain" = "$name" ] || level=-O0
    local precision=${plain##*-} rest=${plain%-*}
    compile "$name" "$level" "--precision=$precision" "--batch=${rest##*-}" \
        "$(model_file "${rest%-*}")"
    cp "$(model_file "${rest%-*}")" "$kit/models/"
}

# parity CASE: the reference of real PyTorch, and a trainer of the case.
parity() {
    cp "tests/models/pytorch/$1.json" "$kit/pytorch/"
    compile "$1" -O2 "tests/models/pytorch/$1.yaml"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
new=$kit.new
{ [ -n "$plan" ] && cat "$plan" || default_plan; } >"$scratch/plan"
rm -rf "$new"
mkdir -p "$new/trainers" "$new/models" "$new/pytorch" "$new/bench"
final=$kit kit=$new
if [ "$CUBINS" != none ] &&
    "$BUILD/cuda_tool" cubin tests/models/cuda/kernels.cu "${CUBINS%%,*}" scale 0 \
    "$scratch/cubin" 2>&1 | grep -q 'error: no NVRTC'; then
    echo "SKIP kernels compiled here: no NVRTC; they are compiled there, some seconds a model" >&2
    CUBINS=none
fi
for program in "$NINC" "$BUILD/cuda_tool" "$BUILD/parity_tool"; do
    foreign "$program"
    strip -o "$kit/${program##*/}" "$program"
done
made=0 trainers=$(awk '$2 != "torch" { print $3 }' "$scratch/plan" | sort -u | wc -l)
while read -r _ what name _; do
    [ ! -e "$kit/trainers/$name.gz" ] || continue
    case $what in
    torch) cp "$(model_file "${name%-*-*}")" "$kit/models/" ;;
    parity) parity "$name" ;;
    *) trainer "$name" ;;
    esac
done <"$scratch/plan"
cp "$scratch/plan" tests/first_contact.sh tests/models/cuda/kernels.cu "$kit/"
cp bench/bench.py bench/gpu.py bench/table.py "$kit/bench/"
git rev-parse HEAD >"$kit/commit" 2>/dev/null || echo unknown >"$kit/commit"
size=$(du -sm "$kit" | cut -f 1)
[ "$size" -lt "$most" ] || say "the kit has $size MiB, $most at most can be carried"
rm -rf "$final"
mv "$kit" "$final"
echo "$final: $size MiB in $SECONDS s, for tests/first_contact.sh"
