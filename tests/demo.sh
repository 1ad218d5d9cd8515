#!/bin/bash
# What `make demo` shows: a small network trained on Fashion-MNIST for one epoch, past 0.75 test
# accuracy, then asked about an image and where in it it sees what it says; and the seed's network
# for its first steps. All files go to $DEMO, build/demo by default; $NINC names the compiler.
set -eu
NINC=${NINC:-./ninc}
DEMO=${DEMO:-build/demo}
data=${NINC_DATA:+$NINC_DATA/fashion-mnist}
[ -d "${data:-}" ] || data=/usr/share/datasets/fashion-mnist
bold='' plain=''
[ ! -t 1 ] || { bold=$'\033[1m' plain=$'\033[0m'; }

say() {
    printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"
    "$@"
}

tell() {
    echo
    printf '%s\n' "$@"
}

# The first test image, an ankle boot, as a picture.
first_test_image() {
    printf 'P5\n28 28\n255\n'
    if [ -e "$data/t10k-images-idx3-ubyte" ]; then
        cat "$data/t10k-images-idx3-ubyte"
    else
        gzip -dc "$data/t10k-images-idx3-ubyte.gz"
    fi | tail -c +17 | head -c 784
}

mkdir -p "$DEMO"
say "$NINC" models/nin_fashion.yaml -o "$DEMO/fashion"
say "$DEMO/fashion/trainer" train --epochs 1 --save "$DEMO/fashion.safetensors" \
    --log "$DEMO/fashion.jsonl"

accuracy=$(sed -n 's/.*"event": *"eval".*"accuracy": *\([0-9.e-]*\).*/\1/p' \
    "$DEMO/fashion.jsonl" | tail -n 1)
if ! awk -v a="${accuracy:-0}" 'BEGIN { exit !(a > 0.75) }'; then
    echo "demo: test accuracy after one epoch is ${accuracy:-unknown}; it should be above 0.75" >&2
    exit 1
fi

say "$DEMO/fashion/trainer" eval --weights "$DEMO/fashion.safetensors"
first_test_image 2>/dev/null >"$DEMO/boot.pgm"
say "$DEMO/fashion/trainer" predict --weights "$DEMO/fashion.safetensors" --top 3 \
    --heatmap "$DEMO/boot.png" "$DEMO/boot.pgm"
tell "Where in the image the network sees the boot: $DEMO/boot.png"

say "$NINC" models/nin.yaml -o "$DEMO/nin"
tell "Next the seed's network, on images of 224x224. It stands at 2.30 for its first" \
    "hundreds of steps, in PyTorch as here: that is ln 10, what guessing among ten" \
    "classes costs. PyTorch's default initialisation makes the signal smaller in each" \
    "of its twelve convolutions, so that at first all images look the same to it." \
    "(--set train.init=kaiming_normal starts better.)"
say "$DEMO/nin/trainer" train --max-steps 60 --no-eval --log-every 20 \
    --save "$DEMO/nin.safetensors"

cat <<END

After one epoch of Fashion-MNIST $accuracy of the test images are told right. The rest:
  $DEMO/fashion/trainer train    all 6 epochs, above 0.90, about two minutes;
                                     it leaves nin_fashion.safetensors here
  $DEMO/nin/trainer train        the seed's network, 3 epochs, half an hour
  $DEMO/nin/trainer info         its parameters and memory
  $NINC models/nin.yaml --emit=ir       the compiled graph
END
