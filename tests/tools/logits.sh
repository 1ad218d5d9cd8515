# The logits of a compiled model, for comparing with other software: sourced after lib.sh.
# shellcheck shell=bash
. tests/tools/kept.sh

# A sanitized runtime wants its sanitizers.
sanitizers=
if nm "$BUILD/libninc_runtime.a" 2>/dev/null | grep -q __asan_init; then
    sanitizers=-fsanitize=address,undefined
fi

# build_logits MODEL OUT [OPTION...]: the program OUT, see logits.c; OPTIONs are ninc's. The kernels
# for any CPU stand for all.
build_logits() {
    local model=$1 out=$2
    shift 2
    "$NINC" --target=cpu "$@" --emit=c "$model" >"$out-model.c" &&
        "$NINC" --target=cpu "$@" --emit=plan "$model" >"$out-plan.c" &&
        kept_object "$out-model.o" ${CC:-gcc} -std=gnu11 -Og $sanitizers -Iir "$out-model.c" &&
        ${CC:-gcc} -std=gnu11 -Og $sanitizers -fopenmp -Iir -Dninc_cpu_avx512=ninc_cpu_baseline \
            -Dninc_cpu_avx2=ninc_cpu_baseline -Dninc_cpu_neon=ninc_cpu_baseline -o "$out" \
            tests/tools/logits.c "$out-model.o" "$out-plan.c" "$BUILD/libninc_runtime.a" \
            -ljansson -lpng16 -ljpeg -lwebpdemux -lwebp -lgif -larchive -lminizip -lz -lpthread -ldl -lm
}
