#!/bin/bash
# Prediction, evaluation class by class, and heat maps, by small trainers: predict must say what
# eval says, on the simulated GPU what it says on the CPU, and a map must be hot where its class is.
. tests/lib.sh
light_kernels

image_tool=$BUILD/image_tool
data=/usr/share/datasets/fashion-mnist

# has FILE TEXT...: each text is in the file.
has() {
    local file=$1 text
    shift
    for text in "$@"; do
        grep -qF -e "$text" "$file" || { echo "no '$text' in:"; cat "$file"; return 1; }
    done
}

# run STATUS COMMAND...: its output goes to $work/out, its messages to $work/err.
run() {
    local wanted=$1 status
    shift
    "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    [ $status -eq "$wanted" ] && return
    echo "exit $status, not $wanted: $*"
    cat "$work/out" "$work/err"
    return 1
}

# ---- a network of one 1x1 convolution: two classes, "bright" and "dark" ----

cat >"$work/spot.yaml" <<'END'
model: spot
input: {dataset: idx, classes: 2, shape: [1, 16, 16]}
layers:
  - conv2d: {name: conv, out_channels: 2, kernel_size: 1}
  - gap
  - flatten
loss: cross_entropy
optimizer: {sgd: {lr: 0.1}}
train: {batch_size: 4, epochs: 1}
END
check "the small models compile" "$NINC" -q "$one_level" "$work/spot.yaml" -o "$work/spot"
spot=$work/spot/trainer

# Weights +8 and -8, biases 0 and 0: logits are 8 and -8 times the mean brightness.
header='{"conv.weight":{"dtype":"F32","shape":[2,1,1,1],"data_offsets":[0,8]},'
header+='"conv.bias":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}'
{
    printf "\\x$(printf %02x ${#header})\0\0\0\0\0\0\0%s" "$header"
    printf '\0\0\0\x41\0\0\0\xc1\0\0\0\0\0\0\0\0'
} >"$work/spot.safetensors"
printf 'bright\ndark\n' >"$work/classes.txt"
spot_predict=("$spot" predict --device cpu --weights "$work/spot.safetensors"
    --classes "$work/classes.txt")

"$image_tool" dot "$work/dot.png" 16 12 3
printf 'P2 2 2 255 255 255 255 255' >"$work/white.pgm"
printf 'P3 1 1 255 255 0 0' >"$work/red.ppm"

# A white image: logits 8 and -8, and softmax 1 / (1 + exp(-16)). Red is 0.299 * 255 = 76 of 255:
# 1 / (1 + exp(-2 * 8 * 76 / 255)) = 0.9916.
known_values() {
    run 0 "${spot_predict[@]}" --json "$work/known.json" "$work/white.pgm" "$work/red.ppm" &&
        has "$work/out" "white.pgm: bright 1.00, dark 0.00" "red.ppm: bright 0.99, dark 0.01" &&
        has "$work/known.json" '"name": "bright", "probability": 0.9999998' \
            '"name": "bright", "probability": 0.9915'
}
check "probabilities are those worked out by hand" known_values

inverted() {
    run 0 "${spot_predict[@]}" --invert "$work/white.pgm" &&
        has "$work/out" "white.pgm: bright 0.50, dark 0.50"
}
check "--invert makes black of white; the first of equal classes comes first" inverted

if python=$(python_with PIL numpy); then
    check "JPEG files as Pillow turns and converts them" "$python" tests/tools/check_jpeg.py \
        "$image_tool" "$work"
    mkdir "$work/kinds"
    check "WebP, GIF and BMP files as Pillow reads them" "$python" tests/tools/check_images.py \
        "$image_tool" "$work/kinds"
else
    skip "images as Pillow reads them" "no Python with PIL and numpy; make python"
fi

top_one() {
    run 0 "${spot_predict[@]}" --top 1 "$work/red.ppm" && has "$work/out" "red.ppm: bright 0.99" &&
        ! grep -q dark "$work/out"
}
check "--top" top_one

standard_input() {
    "${spot_predict[@]}" --json - - <"$work/white.pgm" >"$work/out" 2>"$work/err" &&
        has "$work/out" '"file": "-"' '"name": "bright"' && [ "$(wc -l <"$work/out")" -eq 1 ]
}
check "'-' is standard input, --json - prints JSON alone" standard_input

bad_images() {
    head -c 60 "$work/dot.png" >"$work/cut.png"
    run 1 "${spot_predict[@]}" --json "$work/bad.json" "$work/cut.png" "$work/none.png" \
        "$work/white.pgm" &&
        has "$work/out" "white.pgm: bright 1.00" &&
        has "$work/err" "cut.png is corrupt: it is truncated" "none.png: No such file" &&
        has "$work/bad.json" '"error": "' '"name": "bright"'
}
check "a bad image does not stop the others, and exits 1" bad_images

only_bad() {
    run 1 "${spot_predict[@]}" --heatmap "$work/no.png" "$work/none.png" && [ ! -e "$work/no.png" ]
}
check "a bad image alone: no heat map" only_bad

# RFC 4180: a name with a comma and quotes stands in quotes, these doubled.
as_csv() {
    cp "$work/white.pgm" "$work/a, \"b\".pgm" &&
        run 1 "${spot_predict[@]}" --csv "$work/all.csv" --top 1 "$work/a, \"b\".pgm" \
            "$work/none.png" "$work/red.ppm" &&
        has "$work/out" 'b".pgm: bright 1.00' "red.ppm: bright 0.99" &&
        printf '%s\r\n' file,rank,class,name,probability,error \
            "\"$work/a, \"\"b\"\".pgm\",1,0,bright,0.9999998," "$work/none.png,,,,,cannot" \
            "$work/red.ppm,1,0,bright,0.9915," >"$work/wanted" &&
        sed -e 's/\(0\.9999998\)[0-9]*/\1/' -e 's/\(0\.9915\)[0-9]*/\1/' \
            -e "s/cannot read .*\r/cannot\r/" "$work/all.csv" | cmp - "$work/wanted" &&
        run 0 "${spot_predict[@]}" --csv - "$work/red.ppm" &&
        [ "$(wc -l <"$work/out")" -eq 3 ] && has "$work/out" "red.ppm,2,1,dark,0.0084"
}
check "predict --csv; '-' prints CSV alone" as_csv
check "JSON and CSV on standard output" run 2 "${spot_predict[@]}" --csv - --json - "$work/red.ppm"

# Of 16 x 16 pixels the middle 8 x 8 are left: a dot at the edge is gone, one in the middle is 9 of
# 64 pixels: 1 / (1 + exp(-2 * 8 * 9 / 64)) = 0.905.
transformed() {
    sed -e 's/model: spot/model: middle/' -e 's/\[1, 16, 16\]/[1, 8, 8], transform: [center_crop: 8]/' \
        "$work/spot.yaml" >"$work/middle.yaml"
    "$NINC" -q --target=cpu "$one_level" "$work/middle.yaml" -o "$work/middle" &&
        "$image_tool" dot "$work/edge.png" 16 14 1 && "$image_tool" dot "$work/inside.png" 16 8 8 &&
        run 0 "$work/middle/trainer" predict --weights "$work/spot.safetensors" --top 1 \
            "$work"/{edge,inside}.png &&
        has "$work/out" "edge.png: 0 0.50" "inside.png: 0 0.90"
}
check "images are transformed as the data set's are" transformed

# Images of 1 MB, 64 of which are in memory at once.
several_groups() {
    local list=() i
    sed -e 's/model: spot/model: large/' -e 's/\[1, 16, 16\]/[1, 1024, 1024]/' "$work/spot.yaml" \
        >"$work/large.yaml"
    for i in {1..22}; do
        list+=("$work/white.pgm" "$work/none.png" "$work/red.ppm" "$work/dot.png")
    done
    "$NINC" -q --target=cpu "$one_level" "$work/large.yaml" -o "$work/large" &&
        run 1 "$work/large/trainer" predict --weights "$work/spot.safetensors" --top 1 \
            "${list[@]}" &&
        for i in {1..22}; do
            printf '%s: 0 %s\n' "$work/white.pgm" 1.00 "$work/red.ppm" 0.99 "$work/dot.png" 0.64
        done | diff - "$work/out" && [ "$(grep -c 'none.png: No such file' "$work/err")" -eq 22 ]
}
check "more images than are in memory at once" several_groups

# What a directory holds, in the order of names; what a list names, as an editor of Windows writes
# it.
directories_and_lists() {
    mkdir -p "$work/pictures/deeper" && printf 'no image' >"$work/pictures/notes.txt" &&
        cp "$work/red.ppm" "$work/pictures/b.PPM" && cp "$work/white.pgm" "$work/pictures/a.pgm" &&
        cp "$work/red.ppm" "$work/pictures/._b.ppm" &&
        printf '\xef\xbb\xbf%s \r\n\r\n%s\r\n\r\n' "$work/red.ppm" "$work/white.pgm" \
            >"$work/list" &&
        run 0 "${spot_predict[@]}" --top 1 "$work/pictures/" "@$work/list" "$work/red.ppm" &&
        printf '%s: bright %s\n' "$work/pictures/a.pgm" 1.00 "$work/pictures/b.PPM" 0.99 \
            "$work/red.ppm" 0.99 "$work/white.pgm" 1.00 "$work/red.ppm" 0.99 | cmp - "$work/out"
}
check "directories and lists of images" directories_and_lists

nothing_named() {
    printf '\r\n' >"$work/empty" &&
        run 1 "${spot_predict[@]}" "$work/pictures/deeper" &&
        has "$work/err" "has no files *.png" &&
        run 1 "${spot_predict[@]}" "@$work/empty" && has "$work/err" "names no image" &&
        run 1 "${spot_predict[@]}" "@$work/none" && has "$work/err" "none: No such file" &&
        run 1 "${spot_predict[@]}" --heatmap "$work/h.png" "$work/pictures" &&
        has "$work/err" "--heatmap is of one image" "pictures names 2"
}
check "directories and lists without an image" nothing_named

# Each is refused at once, and the image beside it is told.
without_end() {
    local file
    for file in /dev/zero /dev/null; do
        run 1 "${spot_predict[@]}" "$file" "$work/white.pgm" &&
            has "$work/err" "cannot read $file: it is a device" &&
            has "$work/out" "white.pgm: bright 1.00" || return
    done
    "${spot_predict[@]}" - </dev/zero >"$work/out" 2>"$work/err"
    [ $? -eq 1 ] && has "$work/err" "standard input: it is a device" &&
        run 1 "${spot_predict[@]}" <(yes) && has "$work/err" "is no image that can be read here" &&
        run 0 "${spot_predict[@]}" <(cat "$work/white.pgm") && has "$work/out" "bright 1.00"
}
check "files without end are refused at once" without_end

heat_at_the_dot() {
    run 0 "${spot_predict[@]}" --class 0 --heatmap "$work/heat.png" "$work/dot.png" &&
        "$image_tool" show "$work/heat.png" >"$work/out" && has "$work/out" "256 256 3 0.78 0.22"
}
# The middle of pixel 12 and 3 of 16: 12.5 / 16 = 0.78, 3.5 / 16 = 0.22.
check "the heat map is hot where the dot is" heat_at_the_dot

large_heatmap() {
    printf 'P5 300 20 255 %6000s' ' ' >"$work/wide.pgm"
    run 0 "${spot_predict[@]}" --heatmap "$work/heat.png" "$work/wide.pgm" &&
        "$image_tool" show "$work/heat.png" >"$work/out" && has "$work/out" "300 20 3"
}
check "the heat map of a large image has its size" large_heatmap

# Of four channels only alpha weighs: +8 and -8. Transparent red, half opaque red, and a file
# without alpha, which is opaque: logits 0, 8 * 51 / 255 and 8.
four_channels() {
    local header='{"conv.weight":{"dtype":"F32","shape":[2,4,1,1],"data_offsets":[0,32]},'
    header+='"conv.bias":{"dtype":"F32","shape":[2],"data_offsets":[32,40]}}'
    {
        printf "\\x$(printf %02x ${#header})\0\0\0\0\0\0\0%s" "$header"
        head -c 12 /dev/zero && printf '\0\0\0\x41' && head -c 12 /dev/zero && printf '\0\0\0\xc1'
        head -c 8 /dev/zero
    } >"$work/four.safetensors"
    sed -e 's/model: spot/model: four/' -e 's/\[1, 16, 16\]/[4, 1, 1]/' "$work/spot.yaml" \
        >"$work/four.yaml"
    "$NINC" -q -O0 --target=cpu "$one_level" "$work/four.yaml" -o "$work/four" &&
        "$image_tool" pixel "$work/clear.png" 255 0 0 0 &&
        "$image_tool" pixel "$work/faint.png" 255 0 0 51 &&
        run 0 "$work/four/trainer" predict --weights "$work/four.safetensors" --top 1 \
            "$work"/{clear,faint}.png "$work/red.ppm" &&
        has "$work/out" "clear.png: 0 0.50" "faint.png: 0 0.96" "red.ppm: 0 1.00"
}
check "a model of four channels takes RGBA" four_channels

# expect STATUS MESSAGE ARGUMENT...: predict with these arguments.
expect() {
    local wanted=$1 message=$2
    shift 2
    run "$wanted" "$spot" predict --device cpu "$@" && has "$work/err" "$message"
}
weights=(--weights "$work/spot.safetensors")
check "predict without weights" expect 2 "predict needs --weights" "$work/dot.png"
check "predict without an image" expect 2 "predict needs an image" "${weights[@]}"
check "a heat map of two images" expect 2 "--heatmap is of one image; 2 are given" \
    "${weights[@]}" --heatmap "$work/h.png" "$work/dot.png" "$work/dot.png"
check "--class without a heat map" expect 2 "--class needs --heatmap" "${weights[@]}" --class 1 \
    "$work/dot.png"
check "a class that there is not" expect 1 "has the classes 0 to 1" "${weights[@]}" --class 2 \
    --heatmap "$work/h.png" "$work/dot.png"
check "a heat map that cannot be written" expect 1 "cannot write /none/h.png" "${weights[@]}" \
    --heatmap /none/h.png "$work/dot.png"
printf 'a\nb\nc\n' >"$work/three.txt"
check "too many class names" expect 1 "has 3 class names, the model has 2 classes" \
    "${weights[@]}" --classes "$work/three.txt" "$work/dot.png"

on_the_simulator() {
    run 0 "${spot_predict[@]}" --json "$work/cpu.json" "$work"/{dot.png,white.pgm,red.ppm} &&
        run 0 "${spot_predict[@]}" --device sim --json "$work/sim.json" \
            "$work"/{dot.png,white.pgm,red.ppm} &&
        cmp <(sed 's/\(\.[0-9]\{5\}\)[0-9]*/\1/g' "$work/cpu.json") \
            <(sed 's/\(\.[0-9]\{5\}\)[0-9]*/\1/g' "$work/sim.json")
}
check_with g++ "the simulated GPU predicts as the CPU does" on_the_simulator

sed -e 's/- gap/- maxpool: {kernel_size: 16}/' -e 's/model: spot/model: blind/' \
    "$work/spot.yaml" >"$work/blind.yaml"
no_maps() {
    "$NINC" -q --target=cpu "$one_level" "$work/blind.yaml" -o "$work/blind" &&
        run 1 "$work/blind/trainer" predict --weights "$work/spot.safetensors" \
            --heatmap "$work/no.png" "$work/dot.png" &&
        has "$work/err" "has no class maps" && [ ! -e "$work/no.png" ]
}
check "a network without class maps" no_maps

# ---- Fashion-MNIST: predict and eval of the same images ----

if [ ! -d $data ]; then
    skip "predict and eval agree" "there is no $data; apt install dataset-fashion-mnist"
    finish
    exit
fi

# Images enough for several batches, the last one partial.
count=150
cat >"$work/small.yaml" <<'END'
model: small
input: {dataset: fashion-mnist, shape: [1, 28, 28], mean: [0.2860], std: [0.3530]}
layers:
  - mlpconv: {name: conv.0, out_channels: 16, kernel_size: 5, stride: 2, padding: 2}
  - maxpool: {kernel_size: 3, stride: 2}
  - conv2d: {name: conv.2, out_channels: 10, kernel_size: 3, padding: 1}
  - gap
  - flatten
loss: cross_entropy
optimizer: {adam: {lr: 0.01}}
train: {batch_size: 64, epochs: 1, init: kaiming_normal}
END
small=$work/small/trainer
trained() {
    "$NINC" -q --target=cpu "$one_level" "$work/small.yaml" -o "$work/small" &&
        "$small" train --max-steps 100 --no-eval --save "$work/small.safetensors"
}
check "a small network trains" trained

# The first images of the test set as PNG files, and as a data set of their own.
mkdir "$work/png" "$work/idx"
"$image_tool" split $data/t10k-images-idx3-ubyte.gz "$work/png" $count
{
    printf "\0\0\x08\x03\0\0\0\x$(printf %02x $count)\0\0\0\x1c\0\0\0\x1c"
    zcat $data/t10k-images-idx3-ubyte.gz | tail -c +17 | head -c $((count * 784))
} >"$work/idx/t10k-images-idx3-ubyte"
{
    printf "\0\0\x08\x01\0\0\0\x$(printf %02x $count)"
    zcat $data/t10k-labels-idx1-ubyte.gz | tail -c +9 | head -c $count
} >"$work/idx/t10k-labels-idx1-ubyte"

agrees() {
    run 0 "$small" predict --weights "$work/small.safetensors" --json "$work/predict.json" \
        "$work"/png/*.png &&
        has "$work/out" "00000.png: " "Ankle boot" &&
        run 0 "$small" eval --weights "$work/small.safetensors" --data "$work/idx" \
            --json "$work/eval.json" &&
        "$image_tool" agree "$work/idx/t10k-labels-idx1-ubyte" "$work/predict.json" \
            "$work/eval.json"
}
check "predict and eval agree on every image" agrees

# The sum of the diagonal of the confusion is what the device counts as correct.
accuracy() {
    run 0 "$small" eval --weights "$work/small.safetensors" &&
        awk '/test accuracy/ { split($6, a, " "); shown = a[1] }
             /^rows:/ { getline; for (k = 0; k < 10; k++) { getline; hits += $(NF - 9 + k) } }
             END { print hits, shown; exit !(hits && sprintf("%.4f", hits / 10000) == shown) }' \
            "$work/out"
}
check "accuracy is the diagonal of the confusion matrix" accuracy

# The table's images make the confusion, and its worst mistake is the first of the picture: at the
# left, 8 pixels from the edges, three times as large.
image_by_image() {
    run 0 "$small" eval --weights "$work/small.safetensors" --data "$work/idx" \
        --json "$work/eval.json" --csv "$work/eval.csv" --mistakes "$work/mistakes.png" \
        --confusion "$work/confusion.png" &&
        awk -F, -v wanted="$(sed 's/.*"accuracy": \([0-9.]*\),.*/\1/' "$work/eval.json")" '
            NR > 1 { hits += $2 == $4; if ($1 != NR - 2 || ($2 == $4) != ($6 == $7 + 0)) bad++ }
            END { exit !(NR == 151 && !bad && hits > 0 && hits / 150 - wanted < 1e-6 &&
                         wanted - hits / 150 < 1e-6) }' <(tr -d '\r' <"$work/eval.csv") &&
        local worst
    worst=$(tr -d '\r' <"$work/eval.csv" | awk -F, 'NR > 1 && $2 != $4' | sort -t, -g -k7 |
        head -n 1 | cut -d, -f1)
    "$image_tool" within "$work/mistakes.png" 8 8 3 "$(printf '%s/png/%05d.png' "$work" "$worst")" &&
        "$image_tool" show "$work/confusion.png" >"$work/out" && has "$work/out" "400 400 3"
}
check "eval --csv, --mistakes, --confusion" image_by_image

csv_alone() {
    run 0 "$small" eval --weights "$work/small.safetensors" --data "$work/idx" --csv - &&
        [ "$(wc -l <"$work/out")" -eq 151 ] &&
        run 1 "$small" eval --weights "$work/small.safetensors" --mistakes /none/m.png &&
        has "$work/err" "cannot write /none/m.png"
}
check "eval --csv - prints CSV alone; a picture that cannot be written" csv_alone

json_alone() {
    run 0 "$small" eval --weights "$work/small.safetensors" --data "$work/idx" --json - &&
        [ "$(wc -l <"$work/out")" -eq 1 ] &&
        has "$work/out" '"confusion": [[' '"images": 150' '"support": ' '"split": "test"' \
            "\"weights\": \"$work/small.safetensors\"" "\"data\": \"$work/idx\""
}
check "eval --json - prints JSON alone" json_alone
finish
