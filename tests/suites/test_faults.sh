#!/bin/bash
# What a trainer says and leaves behind when its surroundings fail it: bad data and weights, full
# and read-only places, memory refused.
# shellcheck source=tests/lib.sh disable=SC2016,SC2119,SC2120
. tests/lib.sh
# shellcheck source=tests/tools/small_trainer.sh
. tests/tools/small_trainer.sh

# ---- data ----

fresh_data
expect "good data trains" 0 "saved" train --save "$work/good.safetensors"

images=$data/train-images-idx3-ubyte
expect "no data set" 1 "is not a directory" "$trainer" train --data "$work/none"
expect "no data set, and how to get it" 1 "dataset-fashion-mnist" \
    "$trainer" train --data "$work/none"
rm "$images"
expect "missing file" 1 "$images.gz: No such file" train
images 20 | head -c 5000 >"$images"
expect "truncated images" 1 "$images is truncated" train
images 20 | head -c 7 >"$images"
expect "truncated header" 1 "$images is truncated" train
: >"$images"
expect "empty file" 1 "$images is truncated" train
(images 20 && echo) >"$images"
expect "trailing bytes" 1 "$images has bytes after" train
labels 20 >"$images"
expect "labels in the place of images" 1 "has 1 dimension, images have 3" train
(bytes 0 0 8 3 255 255 255 255 0 0 0 28 0 0 0 28) >"$images"
expect "count past all bounds" 1 "$images: its header says" train
(bytes 0 0 8 3 127 255 255 255 0 0 0 28 0 0 0 28) >"$images"
expect "count past the file" 1 "$images is truncated" train
(bytes 0 0 8 3 0 0 0 20 0 0 0 16 0 0 0 16 && head -c 5120 /dev/zero) >"$images"
expect "images of another size" 1 "16x16x1" train
fresh_data
images 20 | gzip >"$images.gz"
rm "$images"
expect "gzipped images" 0 "done" train
images 20 | gzip | head -c -12 >"$images.gz"
expect "truncated gzip" 1 "$images.gz is" train
images 20 | gzip >"$images.gz"
printf '\377\377' | dd of="$images.gz" bs=1 seek=30 conv=notrunc 2>/dev/null
expect "corrupt gzip" 1 "$images.gz is" train
fresh_data
(bytes 0 0 8 1 0 0 0 20 && head -c 19 /dev/zero && bytes 10) >"$data/train-labels-idx1-ubyte"
expect "label out of range" 1 "label 10 of item 19 is out of range" train
labels 19 >"$data/train-labels-idx1-ubyte"
expect "fewer labels than images" 1 "19 labels for 20 images" train
fresh_data
rm "$data/t10k-labels-idx1-ubyte"
expect "missing test labels" 1 "t10k-labels-idx1-ubyte" train
expect "what goes without them" 1 "'train --no-eval' goes without test images" train
expect "test data not needed" 0 "done" train --no-eval

# ---- weights ----

fresh_data
good=$work/good.safetensors bad=$work/bad.safetensors
expect "read back" 0 "done" train --init "$good"
expect "eval" 0 "test accuracy" "$trainer" eval --weights "$good" --data "$data"
expect "no weights" 1 "No such file" train --init "$work/none.safetensors"
expect "weights are a directory" 1 "is a directory without checkpoints" train --init "$work"
mkfifo "$work/pipe"
for file in /dev/zero "$work/pipe"; do
    expect "weights are ${file##*/}" 1 "$file is not a regular file" train --init "$file"
done

# What torch.save writes is told by its first bytes; the line that converts it is one for a shell,
# here with a PyTorch that prints what it is asked for.
from_pytorch() {
    mkdir -p "$work/stub/safetensors" && printf 'PK\3\4%26sx/data.pkl%40s' '' '' >"$work/it's.pt" &&
        cat >"$work/stub/torch.py" <<'END' &&
class Tensor(str):
    contiguous = clone = lambda self: self
is_tensor = lambda value: isinstance(value, Tensor)
load = lambda path, map_location: {"state_dict": {"w": Tensor(path), "epoch": 3}}
END
        touch "$work/stub/safetensors/__init__.py" &&
        echo 'save_file = lambda tensors, path: print(tensors, path)' \
            >"$work/stub/safetensors/torch.py" || return
    COLUMNS=60 "$trainer" eval --weights "$work/it's.pt" --data "$data" 2>"$work/said" && return 1
    cat "$work/said"
    grep -qF "it's.pt is a file" "$work/said" &&
        [ "$(sed -n 's/^  python3/PYTHONPATH="$work"\/stub python3/p' "$work/said" | work=$work bash)" = \
            "{'w': \"$work/it's.pt\"} $work/it's.safetensors" ]
}
check_with python3 "weights are a file of PyTorch" from_pytorch

# ---- weights in directories of checkpoints ----

run=$work/run
expect "a run with checkpoints" 0 "done" train --checkpoint-dir "$run" --checkpoint-every 1
newest=step-00000002
images 1 | tail -c 784 >"$work/pixels" &&
    (printf 'P5 28 28 255\n' && cat "$work/pixels") >"$work/image.pgm"
expect "weights are a run's directory" 0 "the parameters are those of $run/$newest" \
    "$trainer" eval --weights "$run" --data "$data"
expect "weights are a checkpoint" 0 "those of $run/step-00000001/model.safetensors" \
    "$trainer" predict --weights "$run/step-00000001" "$work/image.pgm"
expect "weights are the link to one" 0 "those of $run/latest/model.safetensors" \
    train --init "$run/latest"
expect "weights of a run for a partial start" 0 "4 of 4 tensors taken from $run/$newest" \
    train --init-partial "$run"
expect "exported weights of a run" 0 "wrote" \
    "$trainer" export --weights "$run" --onnx "$work/run.onnx"
cp -rL "$run" "$work/followed"
expect "weights of a run whose links were followed in copying" 0 "the parameters are those of" \
    "$trainer" eval --weights "$work/followed" --data "$data"
rm -r "$work/followed/latest" && echo step-00000001 >"$work/followed/latest"
expect "weights where the link is a text" 0 "those of $work/followed/step-00000001/model" \
    "$trainer" eval --weights "$work/followed/latest" --data "$data"
rm -rf "$work/copy" && mkdir "$work/copy" && cp -r "$run"/step-* "$work/copy"
expect "weights of a run that was copied without its links" 0 "those of $work/copy/$newest" \
    "$trainer" eval --weights "$work/copy" --data "$data"
: >"$work/copy/$newest/model.safetensors"
expect "weights of a run whose newest checkpoint is damaged" 0 \
    "those of $work/copy/step-00000001" "$trainer" eval --weights "$work/copy" --data "$data"
head -c 100 "$good" >"$bad"
expect "truncated weights" 1 "$bad" train --init "$bad"
head -c -4 "$good" >"$bad"
expect "weights short of one number" 1 "$bad" train --init "$bad"
(cat "$good" && echo) >"$bad"
expect "bytes after the weights" 1 "after its last tensor" train --init "$bad"
(bytes 255 255 255 255 255 255 255 255 && tail -c +9 "$good") >"$bad"
expect "lying header length" 1 "claims 18446744073709551615 bytes" train --init "$bad"
printf '\002\0\0\0\0\0\0\0{}' >"$bad"
expect "no tensors" 1 "is missing" train --init "$bad"
sed 's/\.weight/.veight/' "$good" >"$bad"
expect "a tensor of another name" 1 "is not in the model" train --init "$bad"
sed 's/"F32"/"I32"/' "$good" >"$bad"
expect "another dtype" 1 "dtype I32; F32, F64, F16 or BF16 is needed" train --init "$bad"
(head -c -4 "$good" && bytes 0 0 192 127) >"$bad"
for command in "train --init $bad --data $data" "train --init-partial $bad --data $data" \
    "eval --weights $bad --data $data" "predict --weights $bad $work/image.pgm" \
    "export --weights $bad --onnx $work/bad.onnx"; do
    # shellcheck disable=SC2086
    expect "${command%% *} with a NaN in the weights" 1 \
        "of $bad has 1 value that is not finite" "$trainer" $command
done
check "nothing was exported" test ! -e "$work/bad.onnx"
head -c -4 "$good" >"$bad"
expect "eval with bad weights" 1 "$bad" "$trainer" eval --weights "$bad" --data "$data"

# ---- places that cannot be written ----

expect "save into nowhere" 1 "$work/none" train --save "$work/none/w.safetensors"
expect "save onto a directory" 1 "it is a directory" train --save "$work"
expect "checkpoints without a directory" 2 "--checkpoint-dir" train --checkpoint-every 5
expect "checkpoints into a new directory in a new one" 0 "done" train --checkpoint-dir "$work/n/c"
expect "TensorBoard into a new directory in a new one" 0 "done" train --tensorboard "$work/n/b/t"
expect "checkpoints into a file" 1 "cannot make the checkpoint directory $good/c: Not a directory" \
    train --checkpoint-dir "$good/c"
expect "log into nowhere" 1 "$work/none/l" train --log "$work/none/l"
if [ -w /dev/full ]; then
    expect "log onto a full disk" 1 "No space left" train --log /dev/full --log-every 1
    expect "save onto a full device" 1 "No space left" train --save /dev/full
    expect "output onto a full device" 1 "No space left" \
        bash -c '"$1" train --data "$2" --max-steps 1 >/dev/full' - "$trainer" "$data"
else
    skip "full devices" "there is no /dev/full"
fi
small=$work/mount
mkdir "$small"
if mount -t tmpfs -o size=8k tmpfs "$small" 2>/dev/null; then
    head -c 8192 /dev/zero >"$small/filler" 2>/dev/null
    expect "save onto a full disk" 1 "No space left" train --save "$small/w.safetensors"
    nothing_left "nothing is left on the full disk" "$small"
    rescued() (
        rm -f "$work"/here/small*.safetensors
        ! train --save "$small/w.safetensors" >"$work/said" || exit
        cat "$work/said"
        grep -qx 'saved small.safetensors' "$work/said" &&
            "$trainer" eval --data "$data" --weights small.safetensors || exit
        cd "$small" && ! TMPDIR=$work train >"$work/said" && cat "$work/said" &&
            grep -qx "saved $work/small.safetensors" "$work/said" &&
            cmp "$work/small.safetensors" "$work/here/small.safetensors"
    )
    check "what does not go there goes elsewhere" rescued
    expect "checkpoints onto a full disk" 1 "No space left" \
        train --checkpoint-dir "$small/ck" --checkpoint-every 1 --save "$work/beside.st"
    check "they do not keep the parameters from being saved" test -s "$work/beside.st"
    mount -o remount,ro "$small"
    expect "read-only disk" 1 "Read-only file system" train --save "$small/w.safetensors"
    expect "read-only working directory" 1 "with --save FILE, or give --no-save" \
        bash -c 'cd "$1" && "$2" train --data "$3"' - "$small" "$trainer" "$data"
    umount "$small"
else
    skip "full and read-only disk" "mounting is not allowed here"
fi
# The directory of the checkpoints goes while the trainer waits for its lines to be read.
checkpoints_lost() (
    rm -rf "$work/lost" && mkdir "$work/lost" && cd "$work/lost" || exit
    "$trainer" train --data "$data" --checkpoint-dir ck --epochs 1000 --log-every 1 --no-eval \
        2>errors | { read -r _ && rm -r ck && cat; } >said
    [ "${PIPESTATUS[0]}" -eq 1 ] || exit
    tail -n 8 said
    cat errors
    grep -q "cannot make ck/.step-" errors && grep -qx "saved small.safetensors" said &&
        grep -A 2 "^stopped" said | grep "train .* --init small.safetensors" &&
        ! grep -- "--checkpoint-dir DIR" said &&
        "$trainer" eval --data "$data" --weights small.safetensors
)
check "what checkpoints cannot keep goes elsewhere" checkpoints_lost
cp "$good" "$bad"
(
    ulimit -f 1
    "$trainer" train --data "$data" --max-steps 1 --save "$bad" >/dev/null 2>"$work/output"
) || true
if [ "$(stat -c %s "$good")" -gt 1024 ]; then
    check "a failed save keeps the old file" cmp "$good" "$bad"
fi
nothing_left "a failed save leaves nothing" "$work"

# ---- files beside their place ----

# One that is not ours, with our process id in its name.
same_process_id() {
    bash -c 'touch "$2.partial-$$"; exec "$1" train --data "$3" --max-steps 1 --save "$2"' - \
        "$trainer" "$work/pid.safetensors" "$data" && [ -s "$work/pid.safetensors" ] &&
        rm "$work"/pid.safetensors.partial-*
}
check "a file that is named after our process id" same_process_id

# What a killed writer left goes, what another one is writing or the user named so stays.
leftovers() {
    local dir=$work/leftovers
    rm -rf "$dir" && mkdir "$dir"
    touch "$dir/w.st.partial-ninc-0123abcd" "$dir/w.st.partial-ninc-89ab4567" \
        "$dir/w.st.partial-ninc-mine" "$dir/other.st.partial-ninc-0123abcd"
    flock "$dir/w.st.partial-ninc-89ab4567" \
        "$trainer" train --data "$data" --max-steps 1 --save "$dir/w.st" || return 1
    ls "$dir"
    [ "$(ls "$dir" | tr '\n' ' ')" = "other.st.partial-ninc-0123abcd w.st $(
    )w.st.partial-ninc-89ab4567 w.st.partial-ninc-mine " ]
}
check_with flock "leftovers of a killed writer go, others stay" leftovers

modes() {
    (umask 027 && train --save "$work/mode.st") && [ "$(stat -c %a "$work/mode.st")" = 640 ]
}
check "a saved file has the mode that umask leaves" modes

through_links() {
    rm -rf "$work/far" && mkdir "$work/far" && ln -sfn far/w.st "$work/link2" &&
        ln -sfn link2 "$work/link1" && train --save "$work/link1" &&
        [ -L "$work/link1" ] && [ -L "$work/link2" ] && [ -f "$work/far/w.st" ] &&
        rm "$work/far/w.st" && echo old >"$work/far/w.st" && train --save "$work/link1" &&
        [ -L "$work/link1" ] && [ -L "$work/link2" ] && cmp "$work/far/w.st" "$good"
}
check "through symbolic links, also to what is not there yet" through_links
ln -sfn none/w.st "$work/link1"
expect "a link into nowhere" 1 "directory $work/none: No such file" train --save "$work/link1"
ln -sfn circle "$work/circle"
expect "a link to itself" 1 "cannot write $work/circle: Too many levels" train --save "$work/circle"

# ---- memory, flags, signals ----

# Less and less address space, until the trainer must say so.
memory_refused() {
    local limit status
    for limit in 40000 30000 20000 16000 12000 10000 8000 6000; do
        (
            ulimit -v $limit
            train
        ) >"$work/output" 2>&1 </dev/null
        status=$?
        [ $status -eq 0 ] || break
    done
    echo "exit status $status at $limit KB" >>"$work/output"
    cat "$work/output"
    [ $status -eq 1 ] && grep -qi memory "$work/output"
}

if bash -c 'ulimit -v 4000000; "$1" train --help; exit $?' - "$trainer" >/dev/null 2>&1; then
    check "memory refused" memory_refused
else
    skip "memory refused" "the trainer is instrumented"
fi

expect "unknown flag" 2 "--bogus" train --bogus
expect "a flag of another command" 2 "does not belong" "$trainer" info --epochs 3
expect "an argument too many" 2 "takes no argument" train 3
expect "unknown device" 2 "auto, cpu, cuda, cuda:N or sim is needed" train --device cuda:x
expect "bad number" 2 "whole number" train --epochs three
expect "bad learning rate" 2 "1.2e-38 to 3.4e38" train --lr nan
for flag in --save --init --weights --data --checkpoint-dir --log --json; do
    command=train
    [[ "--weights --json" != *$flag* ]] || command="eval"
    expect "an empty value of $flag" 2 "$flag '': the value is empty" "$trainer" $command $flag ""
done
for flag in train:--save train:--log train:--csv export:--onnx predict:--heatmap profile:--json; do
    expect "$flag to standard output" 2 "write /dev/stdout for standard output" \
        "$trainer" "${flag%:*}" "${flag#*:}" -
done
# As the message advises, where standard output is a file.
log_between_lines() {
    train --log /dev/stdout --csv /dev/stderr --log-every 1 --save "$work/between.st" \
        >"$work/between" 2>"$work/between.csv" || return 1
    cat "$work/between"
    [ "$(cut -c 1-5 "$work/between" | head -n 8 | tr -s '\n ' ' ')" = \
        'model fp32, step {"eve step {"eve saved done: ' ] &&
        [ "$(grep -vc 'have no training image' "$work/between.csv")" -eq 3 ]
}
check "a log between the lines of standard output" log_between_lines
expect "unknown command" 2 "no command" "$trainer" fly
expect "eval without weights" 2 "--weights" "$trainer" eval
expect "unknown instruction set" 1 "NINC_CPU_LEVEL" env NINC_CPU_LEVEL=avx9 "$trainer" train \
    --data "$data"
finish
