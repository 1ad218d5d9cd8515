#!/bin/bash
# Data sets of images in directories and archives: which images they are, in which order; the packed
# file that they are decoded into, once, whatever happens meanwhile; what is wrong with them.
# shellcheck source=tests/lib.sh
. tests/lib.sh
light_kernels
image_tool=$BUILD/image_tool
export NINC_CACHE_DIR=$work/cache
packed=("$NINC_CACHE_DIR"/packed-)

# compile NAME LINE...: of images of 8x8 in three classes; lines of `input`.
compile() {
    {
        echo "model: small"
        echo "input:"
        printf '  %s\n' "dataset: folder" "classes: 3" "shape: [3, 8, 8]" "${@:2}"
        echo "layers:"
        echo "  - conv2d: {name: a, out_channels: 3, kernel_size: 8}"
        echo "  - flatten"
        echo "loss: cross_entropy"
        echo "optimizer: {sgd: {lr: 0.01}}"
        echo "train: {batch_size: 5, epochs: 2, log_every: 1}"
    } >"$work/$1.yaml"
    NINC_CACHE_DIR=$work/objects "$NINC" -q -O0 --target=cpu "$one_level" -o "$work/$1" "$work/$1.yaml" \
        >"$work/output" 2>&1 || fail "compile $1" "$work/output"
}
compile small
compile fitted 'transform: [{resize: 10}, {center_crop: 8}]'

# draw DIR: train, val and test of three classes, some images deeper.
draw() {
    local split class value=20 count=7
    for split in train val test; do
        for class in 'b-c' b eel; do
            mkdir -p "$1/$split/$class/deep"
            "$image_tool" class "$1/$split/$class" $count 8 8 $value &&
                "$image_tool" class "$1/$split/$class/deep" 2 8 8 $((value + 1)) || return 1
            value=$((value + 20))
        done
        count=3
    done
}
draw "$work/set" || fail "images are drawn"

# trained DATA [FLAG...]: losses and accuracies in $work/losses, standard error in $work/said.
trained() {
    "$work/small/trainer" train --data "$@" --threads 2 --no-save --log "$work/log" \
        >"$work/out" 2>"$work/said" </dev/null || { cat "$work/said"; return 1; }
    sed 's/,"images_per_second":[^}]*//' "$work/log" >"$work/losses"
}

fresh() {
    rm -rf "$NINC_CACHE_DIR"
}

packed_files() {
    find "$NINC_CACHE_DIR" -name 'packed-*' | wc -l
}

# says TEXT COMMAND...: fails with one error that has the text, and leaves no packed file that is not
# whole.
says() {
    local status
    "${@:2}" >"$work/out" 2>"$work/said" </dev/null
    status=$?
    cat "$work/said"
    [ $status -eq 1 ] && grep -qF -- "$1" "$work/said" &&
        [ "$(grep -c ' error: ' "$work/said")" -eq 1 ] &&
        [ -z "$(find "$NINC_CACHE_DIR" -name '*partial*' 2>/dev/null)" ]
}

# refused TEXT DATA [FLAG...]
refused() {
    says "$1" "$work/small/trainer" train --no-save --data "${@:2}"
}

# ---- images and their order ----

trained "$work/set" && mv "$work/losses" "$work/wanted" && [ -s "$work/wanted" ] ||
    fail "training on a directory of images" "$work/said"

packs_once() {
    fresh
    trained "$work/set" && grep -q "packed 27 training images of $work/set" "$work/said" &&
        cmp "$work/losses" "$work/wanted" || return 1
    trained "$work/set" && ! grep -q packed "$work/said" && cmp "$work/losses" "$work/wanted" &&
        trained "$work/set/" --threads 1 && ! grep -q packed "$work/said" &&
        cmp "$work/losses" "$work/wanted"
}
check "a directory is packed once; the next run has the same bits" packs_once

# Python's order: directories by their whole paths, then the names in each.
listed() {
    "$work/small/trainer" train --data "$work/set" --no-save >"$work/out" 2>&1 &&
        "$work/small/trainer" train --data "$work/set" --max-steps 1 --save "$work/w.safetensors" \
            >>"$work/out" 2>&1 || { cat "$work/out"; return 1; }
    "$work/small/trainer" eval --data "$work/set" --weights "$work/w.safetensors" \
        --csv "$work/rows" >"$work/out" 2>&1 || { cat "$work/out"; return 1; }
    python3 - "$work/set/test" >"$work/wanted_rows" <<'END'
import os, sys

root = sys.argv[1]
classes = sorted(e.name for e in os.scandir(root) if e.is_dir())
for label, name in enumerate(classes):
    for directory, _, files in sorted(os.walk(os.path.join(root, name), followlinks=True)):
        for file in sorted(files):
            print(os.path.join(directory, file), label)
END
    awk -F, 'NR > 1 { print $1, $2 }' "$work/rows" >"$work/got_rows"
    head -3 "$work/rows"
    diff "$work/got_rows" "$work/wanted_rows"
}
check_with python3 "classes and files in torchvision's order" listed

names() {
    "$work/small/trainer" eval --data "$work/${1:-set}" --weights "$work/w.safetensors" >"$work/out" 2>&1
    cat "$work/out"
    grep -q '^ *0  b  ' "$work/out" && grep -q '^ *1  b-c  ' "$work/out" && grep -q '^ *2  eel  ' "$work/out" &&
        "$work/small/trainer" predict --data "$work/${1:-set}" --weights "$work/w.safetensors" \
            "$work/set/test/eel/00.png" >"$work/out" 2>&1 && grep -q 'b-c 0' "$work/out"
}
check "classes have the names of the directories" names

# Without the data set; of the best, of the last and of a checkpoint. The data set goes before them.
kept_names() {
    local file
    rm -rf "$work/run"
    "$work/small/trainer" train --data "$work/set" --max-steps 6 --save "$work/last.safetensors" \
        --save-best "$work/best.safetensors" --checkpoint-dir "$work/run" >"$work/out" 2>&1 ||
        { cat "$work/out"; return 1; }
    for file in "$work/last.safetensors" "$work/best.safetensors" "$work/run"; do
        "$work/small/trainer" predict --weights "$file" "$work/set/test/eel/00.png" >"$work/out" 2>&1
        cat "$work/out"
        grep -q 'b-c 0' "$work/out" && grep -q 'eel [01]' "$work/out" || return 1
    done
    mv "$work/set" "$work/moved" && mkdir "$work/set" && printf '%s\n' x y z >"$work/set/classes.txt"
    "$work/small/trainer" predict --weights "$work/last.safetensors" --data "$work/set" \
        "$work/moved/test/eel/00.png" >"$work/out" 2>&1
    rm -r "$work/set" && mv "$work/moved" "$work/set" && grep -q 'z [01]' "$work/out"
}
check "the names go with the parameters" kept_names

load_names() {
    python3 - "$work/last.safetensors" <<'END'
import json, struct, sys

with open(sys.argv[1], "rb") as f:
    header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
assert all(isinstance(v, str) for v in header["__metadata__"].values())
assert json.loads(header["__metadata__"]["classes"]) == ["b", "b-c", "eel"], header
END
}
check_with python3 "the metadata are a map of texts" load_names

hidden() {
    cp -r "$work/set" "$work/hidden" &&
        cp "$work/set/train/b/00.png" "$work/hidden/train/b/.x.png" &&
        mkdir "$work/hidden/train/.git" && cp "$work/set/train/b/00.png" "$work/hidden/train/.git" &&
        echo text >"$work/hidden/train/b/README" && echo text >"$work/hidden/train/notes.txt" &&
        mv "$work/hidden/train/b/deep" "$work/elsewhere" &&
        ln -s "$work/elsewhere" "$work/hidden/train/b/deep" && mv "$work/hidden/val" "$work/hidden/valid" &&
        trained "$work/hidden" && cmp "$work/losses" "$work/wanted"
}
check "hidden files and other files are left out, links followed" hidden

# ---- archives ----

# same_archive FILE COMMAND...: the archive that the command makes is the directory.
same_archive() {
    (cd "$work" && "${@:2}") || return 1
    trained "$work/$1" && cmp "$work/losses" "$work/wanted" &&
        trained "$work/$1" && ! grep -q packed "$work/said" && cmp "$work/losses" "$work/wanted"
}
check "tar, in a directory of its own" same_archive set.tar tar cf set.tar set
check "tar.gz, with ./ before the names" same_archive set.tgz tar czf set.tgz -C set .
long_check_with xz "tar.xz" same_archive set.tar.xz tar cJf set.tar.xz set
long_check_with bzip2 "tar.bz2" same_archive set.tar.bz2 tar cjf set.tar.bz2 set
long_check_with zstd "tar.zst" same_archive set.tar.zst tar --zstd -cf set.tar.zst set
check_with python3 "zip" same_archive set.zip python3 -m zipfile -c set.zip set/
check "classes of an archive have their names" names set.tgz

cut_archives() {
    local size
    for size in 700 9000; do
        head -c $size "$work/set.tgz" >"$work/cut.tgz"
        refused "$work/cut.tgz" "$work/cut.tgz" || return 1
        head -c $size "$work/set.tar" >"$work/cut.tar"
        refused "$work/cut.tar, member set/" "$work/cut.tar" || return 1
    done
    head -c 5000 /dev/urandom >"$work/noise.zip" && refused "is no archive that can be read here" "$work/noise.zip"
}
check "archives that are cut are told, with the member" cut_archives

bad_members() {
    (cd "$work/set" && tar cPf "$work/up.tar" ../set/train && tar cPf "$work/root.tar" "$work/set/train" &&
        ln -s 00.png train/b/link.png && tar cf "$work/link.tar" train; rm -f train/b/link.png)
    refused "the member ../set/train/" "$work/up.tar" &&
        refused "the member $work/set/train/" "$work/root.tar" &&
        refused "the member train/b/link.png is a link" "$work/link.tar"
}
check "members that lead out of the archive, and links, are refused" bad_members

# 2 GB that a header claims; 70 MB of zeros in some kilobytes.
bombs() {
    mkdir -p "$work/bomb" && cp -r "$work/set/train" "$work/bomb" &&
        truncate -s 2G "$work/bomb/train/b/zero.bmp" && tar cSzf "$work/bomb.tgz" -C "$work/bomb" train &&
        refused "member train/b/zero.bmp claims to have 2147483648 bytes" "$work/bomb.tgz" &&
        truncate -s 70M "$work/bomb/train/b/zero.bmp" &&
        tar c -C "$work/bomb" train | zstd -q >"$work/bomb.tar.zst" &&
        refused "which no images do" "$work/bomb.tar.zst"
}
check_with zstd "archives that become very large are not read on" bombs

# ---- sizes ----

sizes() {
    mkdir -p "$work/sizes/train/"{b-c,b,eel} || return 1
    "$image_tool" class "$work/sizes/train/b" 4 8 8 30 && "$image_tool" class "$work/sizes/train/b-c" 4 31 14 60 &&
        "$image_tool" class "$work/sizes/train/eel" 4 9 40 90 &&
        cp -r "$work/sizes/train" "$work/sizes/test" || return 1
    refused "b-c/00.png is 31 x 14 pixels, the model wants 8 x 8; say in its file" "$work/sizes" &&
        grep -q -- "- resize: 8" "$work/said" && "$work/fitted/trainer" train --data "$work/sizes" --no-save \
        >"$work/out" 2>&1 && grep -q '^done' "$work/out"
}
check "images of other sizes need a transform, which the message has" sizes

# ---- bad images ----

bad_images() {
    cp -r "$work/set" "$work/bad" && echo text >"$work/bad/train/b/03.png" &&
        head -c 90 "$work/set/train/eel/02.png" >"$work/bad/train/eel/02.png" &&
        refused "$work/bad/train/b/03.png is no image" "$work/bad" || return 1
    trained "$work/bad" --skip-bad-images && grep -q "2 of 27 files are no images .* first: $work/bad/train/b/03.png" \
        "$work/said" && mv "$work/losses" "$work/skipped" && [ -s "$work/skipped" ] &&
        trained "$work/bad" --skip-bad-images && ! grep -q packed "$work/said" &&
        grep -q "2 of 27 files" "$work/said" && cmp "$work/losses" "$work/skipped" &&
        refused "$work/bad/train/b/03.png is no image" "$work/bad" &&
        rm "$work/bad/train/b/03.png" "$work/bad/train/eel/02.png" && trained "$work/bad" &&
        cmp "$work/losses" "$work/skipped"
}
check "a bad image ends the run; --skip-bad-images leaves it out, the same each time" bad_images

# ---- the packed file ----

changed() {
    cp -r "$work/set" "$work/changing" && trained "$work/changing" &&
        cp "$work/set/train/eel/00.png" "$work/changing/train/b/00.png" && trained "$work/changing" &&
        grep -q "changing has changed since it was packed" "$work/said" &&
        ! cmp -s "$work/losses" "$work/wanted"
}
check "a directory that has changed is packed again" changed

# An image, the head, the tables; the end cut off.
damaged() {
    local file at
    fresh
    trained "$work/set" || return 1
    for at in 20 5000 end cut; do
        for file in "$NINC_CACHE_DIR"/packed-*; do
            case $at in
            cut) truncate -s -100 "$file" ;;
            end) printf '\377\377' | dd of="$file" conv=notrunc bs=1 seek=$(($(stat -c %s "$file") - 9)) ;;
            *) printf '\377\377' | dd of="$file" conv=notrunc bs=1 seek=$at ;;
            esac 2>/dev/null
        done
        trained "$work/set" && grep -q "is damaged; it is made again" "$work/said" &&
            cmp "$work/losses" "$work/wanted" || return 1
    done
}
check "a packed file that is damaged is made again" damaged

# The file is cut while a run that uses it stands still.
cut_in_use() {
    local child status i
    fresh
    "$work/small/trainer" train --data "$work/set" --epochs 1000000 --no-save --threads 2 \
        --log "$work/cut_log" >"$work/out" 2>"$work/said" </dev/null &
    child=$!
    for ((i = 0; i < 300; i++)); do
        [ -s "$work/cut_log" ] && break
        sleep 0.1
    done
    kill -STOP $child && truncate -s 4096 "$NINC_CACHE_DIR"/packed-* && kill -CONT $child
    for ((i = 0; i < 100; i++)); do
        kill -0 $child 2>/dev/null || break
        sleep 0.1
    done
    kill -9 $child 2>/dev/null
    wait $child
    status=$?
    cat "$work/said"
    [ $status -eq 1 ] && [ "$(grep -c ' error: ' "$work/said")" -eq 1 ] &&
        grep -q "$NINC_CACHE_DIR/packed-.*, the packed images, was cut .*; remove it" "$work/said" &&
        trained "$work/set" && cmp "$work/losses" "$work/wanted"
}
check "a packed file that is cut while it is used ends the run with a message" cut_in_use

without_cache() {
    fresh
    : >"$work/file"
    NINC_CACHE_DIR=$work/file/cache trained "$work/set" && cmp "$work/losses" "$work/wanted" &&
        [ ! -e "$NINC_CACHE_DIR" ]
}
check "where no cache can be, images are packed in memory" without_cache

bounded() {
    fresh
    trained "$work/set" && trained "$work/set.tar" && [ "$(packed_files)" -eq 4 ] &&
        NINC_CACHE_IMAGES_MB=0 trained "$work/set.tgz" && [ "$(packed_files)" -eq 1 ] &&
        cmp "$work/losses" "$work/wanted"
}
check "what was not used for longest goes where the bound is met" bounded

# Killed at any moment of packing, which takes longer here, it leaves nothing that a run would take.
large() {
    mkdir -p "$work/large/train/"{b,b-c,eel} "$work/large/test" && local class &&
        for class in b b-c eel; do
            "$image_tool" class "$work/large/train/$class" 60 64 64 40 || return 1
        done && cp -r "$work/large/train/." "$work/large/test"
}

killed() {
    local child i
    large && fresh || return 1
    for i in 1 2 3 4 5 6 8 10 13 17; do
        "$work/fitted/trainer" train --data "$work/large" --no-save --max-steps 1 >"$work/out" 2>&1 &
        child=$!
        sleep 0.0$((i * 4 / 10))$((i * 4 % 10))
        kill -9 $child 2>/dev/null
        wait $child 2>/dev/null
    done
    "$work/fitted/trainer" train --data "$work/large" --no-save --log "$work/log" >"$work/out" 2>&1 || return 1
    cp "$work/log" "$work/after" && fresh &&
        "$work/fitted/trainer" train --data "$work/large" --no-save --log "$work/log" >"$work/out" 2>&1 &&
        cmp <(sed 's/,"images.*//' "$work/log") <(sed 's/,"images.*//' "$work/after") &&
        [ -z "$(find "$NINC_CACHE_DIR" -name '*partial*')" ]
}
check "killed while it packs: the next run packs, with the same bits" killed

together() {
    local child
    fresh
    for child in 1 2 3; do
        "$work/fitted/trainer" train --data "$work/large" --no-save --log "$work/log$child" \
            >"$work/out$child" 2>"$work/said$child" </dev/null &
    done
    wait
    cat "$work"/said?
    [ "$(cat "$work"/said? | grep -c 'packed 180 training')" -eq 1 ] && [ "$(packed_files)" -eq 2 ] &&
        cmp <(sed 's/,"images.*//' "$work/log1") <(sed 's/,"images.*//' "$work/log2") &&
        cmp <(sed 's/,"images.*//' "$work/log1") <(sed 's/,"images.*//' "$work/log3") &&
        [ "$(grep -c eval "$work/log1")" -eq 2 ]
}
check "three runs at once: one packs, the others wait" together

# ---- what is no data set ----

bad_trees() {
    local d=$work/tree
    mkdir -p "$d/train" && refused "has no directories of classes" "$d" &&
        cp -r "$work/set/train/b" "$d/train" && refused "has one class only, b" "$d" &&
        mkdir "$d/train/eel" && refused "$d/train/eel is empty" "$d" &&
        echo >"$d/train/eel/a.txt" && refused "$d/train/eel has no images: $d/train/eel/a.txt" "$d" &&
        cp "$work/set/train/eel/"*.png "$d/train/eel" && refused "has 2 classes (b, eel), the model has 3" "$d" &&
        cp -r "$work/set/train/b-c" "$d/train" && ln -s ../.. "$d/train/b/up" &&
        refused "remove that link" "$d" && rm "$d/train/b/up" && ln -s x "$d/train/b/x" &&
        refused "cannot read $d/train/b/x" "$d" && rm "$d/train/b/x" && ln -s none "$d/train/b/y.png" &&
        refused "the link leads nowhere" "$d" && rm "$d/train/b/y.png" &&
        cp "$work/set/train/b/00.png" "$d/train/b/"$'\377.png' && refused "is not UTF-8" "$d" &&
        rm "$d/train/b/"$'\377.png' && refused "$d has no test images" "$d" &&
        mkdir -p "$d/test" && cp -r "$work/set/test/b" "$d/test/cat" &&
        refused "is of the class cat, which the training images have not" "$d"
}
check "what is wrong with a directory is told, with its place and what to do" bad_trees

unreadable() {
    cp -r "$work/set" "$work/locked" && mkfifo "$work/locked/train/b/pipe.png" &&
        refused "pipe.png: it is not a file" "$work/locked"
}
check "what is called an image and is no file" unreadable
finish
