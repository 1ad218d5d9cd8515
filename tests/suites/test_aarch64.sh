#!/bin/bash
# ninc and its trainers built for aarch64 by Debian's cross compiler and run under QEMU: the NEON
# kernels against the naive evaluator, and a step on two threads.
. tests/lib.sh
. tests/models/draw.sh
cross=aarch64-linux-gnu

# What the build needs, in a program that the emulator must run. It finds the C library where
# Debian's arm64 packages put it.
probe() {
    "$cross-gcc" -o "$work/probe" -x c - -lyaml -lpng -ljpeg -lwebp -lgif -larchive -lprotobuf-c \
        -ljansson -lz -lgomp <<'END' &&
#include <stdio.h>
#include <jansson.h>
#include <jpeglib.h>
#include <png.h>
#include <protobuf-c/protobuf-c.h>
#include <yaml.h>
#include <zlib.h>
int main(void) { return 0; }
END
        qemu-aarch64 "$work/probe"
}

packages="dpkg --add-architecture arm64 && apt-get update && apt-get install gcc-$cross qemu-user \
libyaml-dev:arm64 libjansson-dev:arm64 zlib1g-dev:arm64 libpng-dev:arm64 libjpeg62-turbo-dev:arm64 \
libwebp-dev:arm64 libgif-dev:arm64 libstb-dev:arm64 libarchive-dev:arm64 nettle-dev:arm64 \
liblzma-dev:arm64 libzstd-dev:arm64 libbz2-dev:arm64 libprotobuf-c-dev:arm64 \
libminizip-dev:arm64"
for program in "$cross-gcc" qemu-aarch64; do
    if ! command -v "$program" >/dev/null; then
        skip "aarch64" "there is no $program (Debian: $packages)"
        finish
        exit
    fi
done
if ! probe >/dev/null 2>&1; then
    skip "aarch64" "no libraries for it (Debian: $packages)"
    finish
    exit
fi

# Without the variables that the make that runs the tests was given.
built() {
    MAKEFLAGS='' make CC="$cross-gcc" AR="$cross-ar" BUILD="$BUILD/aarch64" \
        NINC="$BUILD/aarch64/ninc" all
}

# compiled MODEL LEVEL
compiled() {
    rm -rf "$work/kernels"
    CC="$cross-gcc" qemu-aarch64 "$BUILD/aarch64/ninc" -q "-O$2" -o "$work/kernels" "$1"
}

trainer() {
    timeout 120 qemu-aarch64 "$work/kernels/trainer" "$@"
}

verified() {
    compiled "$@" && trainer verify
}

# Text of the same model from here and there.
same_ir() {
    "$NINC" --emit=ir models/nin.yaml >"$work/here.ir" &&
        qemu-aarch64 "$BUILD/aarch64/ninc" --emit=ir models/nin.yaml | cmp - "$work/here.ir"
}

# losses THREADS
losses() {
    trainer train --data random --max-steps 2 --log-every 1 --no-eval --threads "$1" \
        --log "$work/log.$1" &&
        sed 's/,"images_per_second".*//' "$work/log.$1" >"$work/losses.$1" &&
        [ "$(grep -c '"loss":[0-9]' "$work/losses.$1")" -eq 2 ]
}

stepped() {
    losses 1 && losses 2 && cmp "$work/losses.1" "$work/losses.2"
}

check "build for aarch64" built
check "the same IR of nin on aarch64" same_ir
drawn_network 5 >"$work/drawn.yaml"
wide_network >"$work/wide.yaml"
for level in 0 2; do
    check "aarch64 kernels of a drawn network -O$level" verified "$work/drawn.yaml" $level
    check "aarch64 kernels of a wide network -O$level" verified "$work/wide.yaml" $level
done
check "aarch64 steps of a wide network on one and two threads" stepped
finish
