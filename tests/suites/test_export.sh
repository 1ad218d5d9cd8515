#!/bin/bash
# trainer export: the ONNX model passes onnx's checker and gives the trainer's logits in ONNX
# Runtime; whatever the trainer was compiled for, it writes the same file; bad paths are errors.
. tests/lib.sh
light_kernels
. tests/tools/logits.sh
. tests/tools/python_server.sh

tool=$BUILD/parity_tool
cases=tests/models/pytorch

# images NAME HEIGHT WIDTH CHANNELS CLASSES -> $work/NAME, six labelled images
images() {
    mkdir -p "$work/$1" &&
        printf '{"images": 6, "height": %d, "width": %d, "channels": %d, "classes": %d}' \
            "${@:2}" >"$work/$1.json" && "$tool" data "$work/$1.json" "$work/$1"
}

# network NAME SHAPE: to $work/NAME.yaml, of the layers on standard input.
network() {
    {
        printf 'model: %s\n' "$1"
        printf 'input: {dataset: idx, classes: 5, shape: %s, mean: [0.4, 0.5, 0.6], std: 0.25}\n' "$2"
        echo layers:
        cat
        echo 'loss: cross_entropy'
        echo 'optimizer: {sgd: {lr: 0.01}}'
        echo 'train: {batch_size: 4, epochs: 1, init: kaiming_normal}'
    } >"$work/$1.yaml"
}

# Windows that end in the padding or past it, and ones that ceil would start there; an average pool
# with padding that hangs over in rows alone.
network windows '[3, 30, 29]' <<'END'
  - conv2d: {name: a, out_channels: 24, kernel_size: [3, 5], stride: [1, 2], padding: [0, 2]}
  - relu
  - avgpool: {kernel_size: 3, stride: 2, padding: 1, ceil_mode: true}
  - conv2d: {name: b, out_channels: 40, kernel_size: 3, padding: 2, bias: false}
  - maxpool: {kernel_size: [2, 3], stride: [2, 3], padding: 1, ceil_mode: true}
  - avgpool: {kernel_size: 3, stride: 2, padding: 1}
  - conv2d: {name: c, out_channels: 36, kernel_size: 3, padding: 1}
  - avgpool: {kernel_size: 2, ceil_mode: true}
  - maxpool: {kernel_size: 2, stride: 1, padding: 1}
  - avgpool: {kernel_size: 3, stride: 2, padding: 1, ceil_mode: true, count_include_pad: false}
  - avgpool: {kernel_size: 3, stride: 1, padding: 1, count_include_pad: false}
  - conv2d: {name: d, out_channels: 5, kernel_size: 1}
  - gap
  - flatten
END

# Windows of channels of an odd and an even size, and wider than the map.
network norms_of_channels '[3, 30, 29]' <<'END'
  - conv2d: {name: a, out_channels: 9, kernel_size: 3, stride: 2}
  - relu
  - local_response_norm: {size: 5, alpha: 2.0, k: 2.0}
  - conv2d: {name: b, out_channels: 7, kernel_size: 3, stride: 2}
  - local_response_norm: {size: 4, alpha: 3.0, beta: 0.6}
  - conv2d: {name: c, out_channels: 5, kernel_size: 1}
  - local_response_norm: {size: 12, alpha: 1.0, beta: 1.5}
  - gap
  - flatten
END

# Every activation; layers that several read, sums and channels of several.
network branches '[3, 20, 18]' <<'END'
  - conv2d: {name: stem, out_channels: 16, kernel_size: 3, padding: 1, bias: false}
  - batch_norm: {name: norm}
  - leaky_relu: {name: leaky, negative_slope: 0.1}
  - conv2d: {name: left, out_channels: 24, kernel_size: 1}
  - elu: {name: elu, alpha: 0.7}
  - conv2d: {name: right, input: leaky, out_channels: 24, kernel_size: 3, padding: 1}
  - hardswish: {name: hard}
  - add: {name: sum, inputs: [elu, hard]}
  - gelu: {name: gelu}
  - maxpool: {name: pooled, kernel_size: 2}
  - conv2d: {name: a, input: gelu, out_channels: 7, kernel_size: 2, stride: 2}
  - silu: {name: silu}
  - dropout: {name: dropped, input: pooled, p: 0.3}
  - concat: {name: both, inputs: [silu, dropped]}
  - softplus
  - conv2d: {name: b, out_channels: 20, kernel_size: 3}
  - relu6
  - avgpool: {kernel_size: 2}
  - tanh
  - flatten
  - linear: {name: wide, out_features: 33}
  - sigmoid
  - dropout
  - linear: {name: out, out_features: 5}
END

# What is made of the training images, and of each image by itself.
network whitened '[3, 6, 5]' <<'END'
  - conv2d: {name: a, out_channels: 8, kernel_size: 3, padding: 1}
  - relu
  - conv2d: {name: b, out_channels: 5, kernel_size: 1}
  - gap
  - flatten
END
sed -i 's/mean: .*, std: 0.25/mean: auto, std: auto, normalize: {global_contrast: , zca: }/' \
    "$work/whitened.yaml"

# make MODEL NAME DATA [CASE]: trainer and logits program of NAME; parameters of the case, or those
# after a step from random ones.
make() {
    "$NINC" -q --target=cpu "$one_level" -o "$work/$2-trainer" "$1" &&
        build_logits "$1" "$work/$2-logits" ||
        return 1
    if [ -n "${4:-}" ]; then
        "$tool" init "$cases/$4.json" "$work/$2.safetensors"
    else
        "$work/$2-trainer/trainer" train --data "$work/$3" --max-steps 1 --no-eval --no-progress \
            --lr 0.0001 --save "$work/$2.safetensors"
    fi
}

# export_onnx NAME OUT [OPTION...]
export_onnx() {
    "$work/$1-trainer/trainer" export --weights "$work/$1.safetensors" --onnx "$2" "${@:3}"
}

# same_logits NAME DATA [OPTION...]
same_logits() {
    local name=$1 data=$2
    shift 2
    export_onnx "$name" "$work/$name.onnx" "$@" &&
        "$work/$name-logits" "$work/$name.safetensors" "$work/$data" "$work/$name.logits" &&
        served tests/tools/check_onnx.py "$work/$name.onnx" "$work/$data" "$work/$name.logits"
}

images fashion 28 28 1 10
images colour 32 32 3 10
images windows 30 29 3 5
images whitened 6 5 3 5
python=$(python_with onnx onnxruntime numpy)
[ -z "$python" ] || python_server "$python" onnx onnxruntime

# in_onnx_runtime CHECK NAME DATA MODEL [CASE]
in_onnx_runtime() {
    $1 "compile $2" make "$4" "$2" "$3" "${5:-}"
    if [ -z "$python" ]; then
        skip "logits of $2 in ONNX Runtime" "no Python with onnx and onnxruntime; make python"
        return
    fi
    $1 "logits of $2 in ONNX Runtime" same_logits "$2" "$3"
    $1 "logits of $2 from bytes" same_logits "$2" "$3" --preprocessing
}

for case in blocks flatten grouped norms pools strides; do
    kind=check
    [[ $case != pools ]] && [[ $case != strides ]] || kind=long_check # like windows
    mkdir "$work/$case" && "$tool" data "$cases/${case}_sgd.json" "$work/$case"
    in_onnx_runtime $kind $case $case "$cases/${case}_sgd.yaml" ${case}_sgd
done
in_onnx_runtime check windows windows "$work/windows.yaml"
in_onnx_runtime check whitened whitened "$work/whitened.yaml"
in_onnx_runtime check channels windows "$work/norms_of_channels.yaml"
if [ -z "${QUICK:-}" ]; then
    images branches 20 18 3 5
    in_onnx_runtime long_check branches branches "$work/branches.yaml"
    # More of the family: linear layers, sums, batch norm.
    for pair in lenet_caffe:fashion nin_bn:colour resnet20:colour; do
        in_onnx_runtime long_check "${pair%:*}" "${pair#*:}" "models/${pair%:*}.yaml"
    done
    in_onnx_runtime long_check nin fashion models/nin.yaml nin_sgd
    sed 's/init: {normal: {std: 0.05}}/init: kaiming_normal/' tests/models/plain/nin_cifar10.yaml \
        >"$work/cifar10.yaml"
    in_onnx_runtime long_check cifar10 colour "$work/cifar10.yaml"
fi

# ---- one file for all ----

same_file() {
    "$NINC" -q "$@" -o "$work/other-trainer" "$cases/blocks_sgd.yaml" &&
        cp "$work/blocks.safetensors" "$work/other.safetensors" &&
        export_onnx other "$work/other.onnx" && export_onnx blocks "$work/blocks.onnx" &&
        cmp "$work/other.onnx" "$work/blocks.onnx"
}
check "the same file from a trainer for GPUs, -O0, bf16" same_file --target=cuda -O0 \
    --precision=bf16

# ---- faults ----

# refused STATUS TEXT ARGUMENT...: of export.
refused() {
    local status=$1 text=$2
    shift 2
    "$work/blocks-trainer/trainer" export "$@" >"$work/out" 2>"$work/err" </dev/null
    local got=$?
    cat "$work/err"
    [ $got -eq "$status" ] && [ ! -s "$work/out" ] && grep -qF -- "$text" "$work/err"
}
weights=$work/blocks.safetensors
check "no --weights" refused 2 "needs --weights" --onnx "$work/x.onnx"
check "no --onnx" refused 2 "needs --onnx" --weights "$weights"
check "a device" refused 2 "--device does not belong" --device cpu
check "missing weights" refused 1 "$work/none" --weights "$work/none" --onnx "$work/x.onnx"
check "weights of another model" refused 1 "flatten.safetensors" \
    --weights "$work/flatten.safetensors" --onnx "$work/x.onnx"
check "no such directory" refused 1 "$work/none/x" --weights "$weights" --onnx "$work/none/x"
check "a directory as the file" refused 1 "it is a directory" --weights "$weights" --onnx "$work"
check "a full disk" refused 1 "/dev/full" --weights "$weights" --onnx /dev/full
nothing_left() {
    ! ls "$work"/x.onnx* 2>/dev/null
}
check "nothing is left after a fault" nothing_left
finish
