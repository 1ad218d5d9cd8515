#!/bin/bash
# State dicts of torchvision's networks, at full size: --init takes each as it is, the logits are
# torchvision's, and what is trained from there goes back, key by key.
# shellcheck source=tests/lib.sh
. tests/lib.sh
. tests/tools/logits.sh
light_kernels
checks_stand_alone

published=tests/models/pytorch/published.py

python=$(python_with torch torchvision safetensors numpy)
if [ -z "$python" ]; then
    skip "state dicts of torchvision" "no Python with torchvision and safetensors; make python"
    finish
    exit
fi

mkdir "$work/data"
"$python" $published data "$work/data" 3 || fail "images of ImageNet's size"

# same_logits MODEL FILE: torchvision's and ours with the parameters of FILE.
same_logits() {
    "$work/logits" "$2" "$work/data" "$work/out" &&
        "$python" $published compare "$1" "$2" "$work/data" "$work/out"
}

# both_ways MODEL: by way of a step of training, whose rate is small.
both_ways() {
    "$python" $published save "$1" "$work/theirs.safetensors" &&
        "$NINC" -q --target=cpu "$one_level" --batch=3 -o "$work/kernels" "models/$1.yaml" &&
        build_logits "models/$1.yaml" "$work/logits" --batch=3 &&
        same_logits "$1" "$work/theirs.safetensors" &&
        "$work/kernels/trainer" train --data "$work/data" --init "$work/theirs.safetensors" \
            --max-steps 1 --lr 1e-6 --no-eval --no-progress --save "$work/ours.safetensors" &&
        same_logits "$1" "$work/ours.safetensors" &&
        ! cmp -s "$work/theirs.safetensors" "$work/ours.safetensors"
}

for model in alexnet_torchvision resnet18 vgg11_bn vgg16; do
    long_check "$model as torchvision has it" both_ways "$model"
done
finish
