#!/bin/bash
# Augmentation: the same bits from the evaluator, each instruction set and a GPU, fused and op by op,
# however a batch is cut into chunks, on any number of threads and after a resume; other images in
# each epoch and of each seed; none in an evaluation. (How they are distributed: test_eval_augment.
# What torchvision makes of the same draws: below, where it is.)
. tests/lib.sh
. tests/tools/kernels.sh
checks_stand_alone

network=tests/models/chains/augment.yaml

# chunks of two of its five images
in_chunks() {
    rm -rf "$work/dump"
    "$NINC" --target=cpu --emit=ir --dump=schedule --dump-dir="$work/dump" $network >/dev/null &&
        sed "/^graph/s/ chunk=5 / chunk=2 /" "$work"/dump/*-schedule.ir >"$work/chunks.ir" &&
        [ "$(grep -c "^graph.* chunk=2 " "$work/chunks.ir")" -eq 2 ]
}

# The whole step sees the second chunk.
verified_in_chunks() {
    in_chunks && verified "$work/chunks.ir" 2 --full
}

# exact NAME: what verify says of the op, without a difference of any bit.
exact() {
    awk -v op="$1" '$3 == op { found = 1; if ($4 != 0) exit 1 } END { if (!found) exit 1 }' \
        "$work/verified"
}

# Each op by itself, compared as integers are.
op_by_op() {
    local op
    everywhere $network 0 >"$work/verified" || { cat "$work/verified"; return 1; }
    verified $network 0 >"$work/verified" || { cat "$work/verified"; return 1; }
    for op in random_crop random_resized_crop random_horizontal_flip random_rotation \
        random_erasing color_jitter; do
        exact $op || { echo "$op"; return 1; }
    done
}

resized() {
    sed 's/shape: .*/shape: [3, 17, 21]\n  data_shape: [3, 12, 10]\n  resize: bilinear/' \
        $network >"$work/resized.yaml"
}

# One kernel for all of it, and no place in memory but a thread's for what lies between.
is_fused() {
    "$NINC" --target=all --emit=ir $network >"$work/fused.ir" &&
        [ "$(grep -c '^  kernel image image .*%index.* -> (%6)' "$work/fused.ir")" -eq 1 ] &&
        [ "$(grep -cE '= (random|color)_.* at thread' "$work/fused.ir")" -eq 6 ] &&
        [ "$(grep -cE '= (random|color)_[a-z_]* ' "$work/fused.ir")" -eq 12 ] &&
        ! sed -n '/^graph.*eval/,/^}/p' "$work/fused.ir" | grep -E '%(seed|epoch|index)|random_'
}

images() {
    [ -d "$work/images" ] && return
    echo '{"images": 20, "height": 12, "width": 10, "channels": 3, "classes": 4}' \
        >"$work/images.json"
    mkdir "$work/images" && "$BUILD/parity_tool" data "$work/images.json" "$work/images"
}

# run TRAINER NAME OPTION... -> $work/NAME.losses, $work/NAME.safetensors
run() {
    images && rm -f "$work/$2.safetensors" && "$work/$1/trainer" train --data "$work/images" \
        --no-eval --no-progress --log-every 1 --log "$work/$2.jsonl" \
        --save "$work/$2.safetensors" "${@:3}" >"$work/said" 2>&1 &&
        sed -nE 's/.*"loss":([0-9.e+-]+).*/\1/p' "$work/$2.jsonl" >"$work/$2.losses"
}

# the fused trainer, in $work/cpu, with a run of two epochs
trained() {
    [ -s "$work/cpu.losses" ] || {
        compiled $network 2 && mv "$work/kernels" "$work/cpu" && run cpu cpu --threads 1
    }
}

same_run() {
    cmp "$work/$1.losses" "$work/$2.losses" && cmp "$work/$1.safetensors" "$work/$2.safetensors"
}

same_on_threads() {
    trained && run cpu threads --threads 2 && same_run cpu threads
}

# In the middle of the second epoch, and from other chunks: the losses are equal but for rounding.
same_after_resume() {
    trained && run cpu half --max-steps 6 --checkpoint-dir "$work/run" &&
        run cpu whole --resume "$work/run" && cmp "$work/cpu.safetensors" "$work/whole.safetensors"
}

# near A B: losses of 8 steps
near() {
    paste "$work/$1.losses" "$work/$2.losses" | awk '{
        difference = $1 > $2 ? $1 - $2 : $2 - $1
        if (!(difference <= 1e-5 * $1)) { print; bad = 1 }
    } END { exit bad || NR != 8 }'
}

near_in_chunks() {
    trained && in_chunks && compiled "$work/chunks.ir" 2 && run kernels chunks && near cpu chunks
}

near_op_by_op() {
    trained && compiled $network 0 && run kernels plain && near cpu plain
}

near_on_a_gpu() {
    trained && "$NINC" -q --target=cuda -o "$work/sim" $network &&
        NINC_SIM=checks=0 run sim sim --device sim && near cpu sim
}

# One batch of all images at hardly a rate: what differs between epochs, and between runs from the
# same weights, is how the images are changed.
of_seed() {
    run whole "$1" --max-steps 2 --epochs 2 --no-shuffle --lr 1e-30 --seed "$1" \
        --init "$work/first.safetensors"
}

other_in_each_epoch() {
    sed 's/batch_size: 5/batch_size: 20/' $network >"$work/whole.yaml" &&
        compiled "$work/whole.yaml" 2 && mv "$work/kernels" "$work/whole" &&
        run whole first --max-steps 1 && of_seed 7 && of_seed 4294967303 && of_seed 7 &&
        mv "$work/7.losses" "$work/before.losses" && of_seed 7 &&
        cmp "$work/7.losses" "$work/before.losses" &&
        [ "$(sort -u "$work"/{7,4294967303}.losses | wc -l)" -eq 4 ]
}

# A checkpoint of other augmentation is refused, and the message names it.
refuses_others() {
    trained && run cpu half --max-steps 6 --checkpoint-dir "$work/other" &&
        sed 's/padding: 3/padding: 2/' $network >"$work/other.yaml" &&
        compiled "$work/other.yaml" 2 && ! run kernels other --resume "$work/other" &&
        cat "$work/said" && grep -q 'augment random_crop {padding=' "$work/said"
}

# An edited text whose evaluation augments is no program.
refuses_evaluation() {
    "$NINC" --emit=ir --target=cpu --dump=autodiff --dump-dir="$work/evaluation" $network \
        >/dev/null && awk '/^graph.*eval/ { eval = 1 }
        eval && /%valid +:/ { print; print "  %seed : i32[] = input"; print "  %epoch : i32[] = input"
            print "  %index : i32[5] = input"; next }
        eval && / normalize / { print "  %90 : u8[5,12,10,3] = random_horizontal_flip %image, " \
            "%seed, %epoch, %index {p=0.5 draw=0}"; sub(/normalize %image/, "normalize %90") }
        { print }' "$work"/evaluation/*-autodiff.ir >"$work/evaluation.ir" &&
        ! "$NINC" --check "$work/evaluation.ir" 2>"$work/said" && cat "$work/said" &&
        grep -q 'eval: random_horizontal_flip: an evaluation changes no image' "$work/said"
}


# shown TRAINER NAME OPTION... -> $work/NAME.png
shown() {
    images && "$work/$1/trainer" preview --data "$work/images" --out "$work/$2.png" --count 20 \
        "${@:3}" >"$work/said" 2>&1 || { cat "$work/said"; return 1; }
}

# The picture is of what the device makes: the same fused, op by op, in part of the images.
same_pictures() {
    trained && shown cpu one && shown cpu two --threads 2 && cmp "$work/one.png" "$work/two.png" &&
        compiled $network 0 && shown kernels plain && cmp "$work/one.png" "$work/plain.png" &&
        shown cpu later --epoch 2 && ! cmp -s "$work/one.png" "$work/later.png" &&
        shown cpu seeded --seed 2 && ! cmp -s "$work/one.png" "$work/seeded.png" &&
        shown cpu file --no-shuffle && ! cmp -s "$work/one.png" "$work/file.png"
}

# A GPU's kernels make the same picture as the CPU's, resized in bf16 too.
same_pictures_on_a_gpu() {
    "$NINC" -q --target=all --precision=bf16 --cpu-levels="$(best_levels)" -o "$work/both" \
        "$work/resized.yaml" && shown both cpu --device cpu &&
        NINC_SIM=checks=0 shown both gpu --device sim && cmp "$work/cpu.png" "$work/gpu.png"
}

# What --no-shuffle shows of a network that augments nothing are the images of the file.
shows_the_images() {
    local set=/usr/share/datasets/fashion-mnist
    mkdir "$work/file" && "$BUILD/image_tool" split $set/train-images-idx3-ubyte.gz "$work/file" 2 &&
        sed '/augment:/,/random_erasing/d; s/dataset: idx/dataset: fashion-mnist/; /  classes:/d
            s/\[3, 12, 10\]/[1, 28, 28]/; s/out_channels: 4/out_channels: 10/' \
            $network >"$work/unchanged.yaml" &&
        compiled "$work/unchanged.yaml" 2 && "$work/kernels/trainer" preview --no-shuffle \
        --data $set --count 2 --out "$work/unchanged.png" 2>/dev/null &&
        "$BUILD/image_tool" within "$work/unchanged.png" 8 8 3 "$work/file/00000.png" &&
        "$BUILD/image_tool" within "$work/unchanged.png" 124 8 3 "$work/file/00001.png" &&
        ! "$BUILD/image_tool" within "$work/unchanged.png" 8 8 3 "$work/file/00001.png"
}

refused_previews() {
    trained && ! "$work/cpu/trainer" preview 2>"$work/said" &&
        grep -q 'preview needs --out OUT.png to draw into' "$work/said" &&
        ! "$work/cpu/trainer" preview --data "$work/none" --out "$work/none.png" 2>"$work/said" &&
        [ ! -e "$work/none.png" ] &&
        ! "$work/cpu/trainer" preview --data random --out "$work/none/a.png" 2>"$work/said" &&
        grep -q "cannot write $work/none/a.png" "$work/said" &&
        ! "$work/cpu/trainer" train --epoch 2 2>"$work/said" &&
        grep -q "did you mean '--epochs'" "$work/said"
}

check "the ops are fused, and not in an evaluation" is_fused
check "verified op by op, exactly" light op_by_op
check "verified fp32 -O2" light verified $network 2
check "verified in chunks" light verified_in_chunks
check "the same bits on threads" light same_on_threads
check "the same bits after a resume in an epoch" light same_after_resume
check "the same losses in chunks" light near_in_chunks
check "others in each epoch, and of each seed" light other_in_each_epoch
check "a checkpoint of other augmentation is refused" light refuses_others
check "an evaluation that augments is refused" refuses_evaluation
long_check "the same losses op by op" light near_op_by_op
check "the same picture fused and op by op" light same_pictures
if [ -d /usr/share/datasets/fashion-mnist ]; then
    check "a preview shows the images and their classes" light shows_the_images
else
    skip "a preview of Fashion-MNIST" "it is not installed (Debian: dataset-fashion-mnist)"
fi
check "wrong previews are refused" light refused_previews
resized
for precision in fp32 bf16; do
    long_check "verified resized $precision -O2, everywhere" \
        in_precision $precision mixed everywhere "$work/resized.yaml" 2
done
python=$(python_with torch torchvision)
if [ -n "$python" ]; then
    long_check "what torchvision makes of the same draws" "$python" -W ignore \
        tests/models/pytorch/augment.py "$NINC" "$BUILD/augment_tool" "$work"
else
    skip "torchvision's augmentation" "no Python with torchvision (Debian: python3-torchvision)"
fi
# simulated NETWORK LEVEL OPTION...
simulated() {
    rm -rf "$work/simulated"
    "$NINC" -q "-O$2" --target=cuda "${@:3}" -o "$work/simulated" "$1" &&
        "$work/simulated/trainer" verify --device sim
}

if "${CXX:-c++}" --version >/dev/null 2>&1; then
    check "simulated -O2" simulated $network 2
    check "the same losses on a simulated GPU" near_on_a_gpu
    check "the same picture on a simulated GPU" light same_pictures_on_a_gpu
    long_check "simulated -O0" simulated $network 0
    long_check "simulated resized bf16 -O2" simulated "$work/resized.yaml" 2 --precision=bf16
else
    skip "simulated augmentation" "no C++ compiler (\$CXX or c++; Debian: apt-get install g++)"
fi
finish
