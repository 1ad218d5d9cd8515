#!/bin/bash
# What a training step is predicted to take on a GPU, kernel by kernel, from the kernels as NVRTC
# compiles them: bench/README.md. ir/roofline.c has the model.
#   bench/predict.sh [--model=FILE] [--batch=N] [--precision=TYPE] [--device=sm_XX,...] [OPTION...]
# Other options are ninc's. $NVDISASM: the disassembler; else where CUDA and pip put it.
cd "$(dirname "$0")/.." || exit 1
model=models/nin.yaml batch=128 devices=sm_90a
options=(--precision=bf16)
for option; do
    case $option in
    --model=*) model=${option#*=} ;;
    --batch=*) batch=${option#*=} ;;
    --device=*) devices=${option#*=} ;;
    *) options+=("$option") ;;
    esac
done

find_disassembler() {
    local place
    for place in "$NVDISASM" "$(command -v nvdisasm)" "$CUDA_HOME/bin/nvdisasm" \
        /usr/local/cuda/bin/nvdisasm "$VIRTUAL_ENV"/lib/python3*/site-packages/nvidia/*/bin/nvdisasm \
        /usr/local/lib/python3*/dist-packages/nvidia/*/bin/nvdisasm \
        "$HOME"/.local/lib/python3*/site-packages/nvidia/*/bin/nvdisasm; do
        [ -x "$place" ] && [ -f "$place" ] && echo "$place" && return
    done
    echo "predict: no nvdisasm, so instructions are estimated; \
pip install nvidia-cuda-nvdisasm, or set NVDISASM" >&2
}

ir=$(mktemp) || exit 1
trap 'rm -f "$ir"' EXIT
"${NINC:-./ninc}" --target=cuda --emit=ir --batch="$batch" "${options[@]}" "$model" >"$ir" || exit 1
disassembler=$(find_disassembler)
status=0
for device in ${devices//,/ }; do
    echo "$model, ${options[*]#--}, $device"
    "${BUILD:-build}/predict_tool" "$ir" "$device" ${disassembler:+"$disassembler"} || status=1
    echo
done
exit $status
