#!/bin/bash
# Data sets in the formats of the usual downloads, as NumPy (and SciPy, where it is) writes them: a
# few steps of training take the same course whatever format the images are in. (What readers take
# and refuse, byte by byte: test_formats.c; damaged files: test_fuzz.c.)
. tests/lib.sh
checks_stand_alone
light_kernels

if ! python=$(python_with numpy); then
    skip "data sets in other formats" "there is no Python with numpy (Debian: python3-numpy)"
    finish
    exit
fi

# compiled DATASET SHAPE SETTINGS: a trainer of its images, in 10 classes.
compiled() {
    cat >"$work/$1.yaml" <<END
model: small
input: {dataset: $1, shape: $2$3}
layers:
  - conv2d: {name: first, out_channels: 8, kernel_size: 3, stride: 2}
  - relu
  - conv2d: {name: last, out_channels: 10, kernel_size: 1}
  - gap
  - flatten
loss: cross_entropy
optimizer: {sgd: {lr: 0.1}}
train: {batch_size: 8, epochs: 1}
END
    "$NINC" -q -O0 --target=cpu $one_level -o "$work/$1" "$work/$1.yaml"
}

# trains MODEL SET: one epoch and an evaluation -> $work/losses, a number a line
trains() {
    rm -f "$work/log.jsonl"
    "$work/$1/trainer" train --data "$work/sets/$2" --threads 1 --no-save --no-progress \
        --log-every 1 --log "$work/log.jsonl" || return 1
    sed -nE 's/.*"loss":([0-9.e+-]+),"accuracy":([0-9.e+-]+).*/\1 \2/p' "$work/log.jsonl" \
        >"$work/losses"
    [ "$(wc -l <"$work/losses")" -eq 6 ] # of 40 training images, and the evaluation
}

# same SET: as IDX files.
same() {
    trains cifar10 "$1" && cmp "$work/losses" "$work/idx.losses"
}

# says SET TEXT: it is refused so.
says() {
    ! trains cifar10 "$1" >"$work/said" 2>&1 && cat "$work/said" && grep -qF -- "$2" "$work/said"
}

stl10() {
    compiled stl10 '[3, 96, 96]' && trains stl10 stl10
}

smaller() {
    compiled csv '[1, 16, 16]' \
        ', classes: 10, data_shape: [1, 16, 16], transform: [grayscale, resize: 16]' &&
        trains csv svhn && cp "$work/losses" "$work/svhn.losses" && trains csv csv_plain &&
        cmp "$work/losses" "$work/svhn.losses"
}

if ! compiled cifar10 '[3, 32, 32]' >"$work/output" 2>&1 ||
    ! "$python" tests/tools/sets.py "$work/sets" >"$work/output" 2>&1 ||
    ! trains cifar10 idx >"$work/output" 2>&1 || ! cp "$work/losses" "$work/idx.losses"; then
    fail "data sets in other formats" "$work/output"
    finish
    exit
fi

check "CIFAR-10's binary files in the directory of their archive" same cifar_below
check "SVHN's MAT-files" same svhn
check "an archive of Keras's names" same npz
check "an archive of MedMNIST's names" same npz_medmnist
check "an archive: floats by columns, channels first, big-endian" same npz_odd
check "tables with names of columns" same csv
check "tables without, gzipped" same csv_plain
check "pickled objects are never run" says npz_pickled 'x_train holds pickled Python objects'
long_check "CIFAR-10's binary files" same cifar
long_check "CIFAR-100's binary files" same cifar100
long_check "MAT-files byte by byte" same svhn_bytes
long_check "tables of numbers from 0 to 1" same csv_unit
long_check "IDX files of floats" same idx_float
long_check "STL-10's binary files" stl10
long_check "a transform of images of an unknown size" smaller

finish
