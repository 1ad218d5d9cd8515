#!/bin/bash
# Watching a run: TensorBoard's own reader, CSV, and how training ends when its
# numbers are not finite or the network is dead.
# shellcheck source=tests/lib.sh
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
. tests/tools/python_server.sh
light_kernels

cat >"$work/small.yaml" <<'END'
model: small
input: {dataset: idx, classes: 10, shape: [1, 28, 28]}
layers:
  - conv2d: {name: first, out_channels: 8, kernel_size: 4, stride: 4}
  - relu
  - conv2d: {name: last, out_channels: 10, kernel_size: 1}
  - gap
  - flatten
loss: cross_entropy
optimizer: {sgd: {lr: 0.1, momentum: 0.5, weight_decay: 0.01}}
train: {batch_size: 8, epochs: 2, log_every: 50}
END
sed 's/^  - gap/  - relu\n  - gap/; s/^train.*/train: {batch_size: 8, epochs: 1, init: kaiming_normal}/' \
    "$work/small.yaml" >"$work/dead.yaml"
for model in small dead; do
    if ! "$NINC" -q "$one_level" -o "$work/$model" "$work/$model.yaml" >"$work/output" 2>&1; then
        fail "compile $model" "$work/output"
        finish
        exit
    fi
done
trainer=$work/small/trainer

run() {
    "$trainer" train --device cpu --data random --seed 3 --no-progress "$@"
}

# says CODE TEXT COMMAND...: the exit status, and TEXT in the messages.
says() {
    local code=$1 text=$2
    shift 2
    "$@" >"$work/stdout" 2>"$work/stderr" </dev/null
    local status=$?
    cat "$work/stdout" "$work/stderr"
    [ $status -eq "$code" ] && grep -qF -- "$text" "$work/stderr"
}

# ---- CSV ----

csv_follows_json() {
    run --csv "$work/a.csv" --log "$work/a.jsonl" || return 1
    tr -d '\r' <"$work/a.csv" | sed 1d | awk -F, '{
        printf "{\"event\":\"%s\",\"step\":%s,\"epoch\":%s,\"loss\":%s,\"accuracy\":%s", $1, $2, $3, $4, $5
        if ($6 != "") printf ",\"lr\":%s,\"images_per_second\":%s", $6, $7
        print "}" }' | diff - "$work/a.jsonl"
}
check "CSV has what JSON has" csv_follows_json

# ---- TensorBoard ----

cat >"$work/read.py" <<'END'
import json, struct, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

directory, log, before, after = sys.argv[1:]
events = EventAccumulator(directory, size_guidance={"scalars": 0, "histograms": 0, "images": 0})
events.Reload()

def tensors(path):
    data = open(path, "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    for name, t in json.loads(data[8:8 + size]).items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            yield name, struct.unpack(f"<{(end - begin) // 4}f", data[8 + size + begin:8 + size + end])

def near(a, b, scale):
    assert abs(a - b) <= 1e-3 * scale, (a, b, scale)

lines = [json.loads(line) for line in open(log)]
names = {"loss": "loss", "accuracy": "accuracy", "lr": "learning_rate",
         "images_per_second": "images_per_second"}
for event, prefix in ("train", "train/"), ("eval", "test/"):
    for key, tag in names.items():
        want = [(l["step"], l[key]) for l in lines if l["event"] == event and key in l]
        if event == "eval" and key in ("lr", "images_per_second"):
            assert not want and prefix + tag not in events.Tags()["scalars"]
            continue
        got = [(s.step, s.value) for s in events.Scalars(prefix + tag)]
        assert want and [s for s, _ in got] == [s for s, _ in want], (tag, got, want)
        for (_, a), (_, b) in zip(got, want):
            assert abs(a - b) <= 1e-6 * abs(b), (tag, a, b)

assert [(i.step, i.width, i.height) for i in events.Images("test/confusion")] == \
    [(s, 400, 400) for s in (128, 256)]
assert events.Images("test/confusion")[0].encoded_image_string.startswith(b"\x89PNG\r\n")

# The parameters themselves, and the gradients that plain SGD's step from one to the other shows.
previous = dict(tensors(before))
for name, value in tensors(after):
    shown = events.Histograms("parameters/" + name)
    assert [h.step for h in shown] == [128, 256]
    last = shown[-1].histogram_value
    assert last.num == sum(last.bucket) == len(value)
    assert last.min == min(value) and last.max == max(value)
    near(last.sum, sum(value), sum(map(abs, value)))
    limits = last.bucket_limit
    for i in range(1, len(limits)):
        inside = sum(limits[i - 1] <= x < limits[i] for x in value)
        assert inside == last.bucket[i], (name, i, inside, last.bucket[i])
    gradient = [(a - b) / 0.125 for a, b in zip(previous[name], value)]
    shown = events.Histograms("gradients/" + name)[-1].histogram_value
    scale = max(map(abs, gradient))
    near(shown.min, min(gradient), scale)
    near(shown.max, max(gradient), scale)
    near(shown.sum, sum(gradient), sum(map(abs, gradient)))
END

tensorboard_reads() {
    local sgd=$work/plain/trainer rest="--device cpu --data random --no-progress --lr 0.125"
    sed 's/sgd: {.*/sgd: {lr: 0.125}}/; s/model: small/model: plain/' "$work/small.yaml" \
        >"$work/plain.yaml"
    # shellcheck disable=SC2086 # words
    "$NINC" -q "$one_level" -o "$work/plain" "$work/plain.yaml" &&
        "$sgd" train $rest --max-steps 255 --save "$work/255.safetensors" &&
        "$sgd" train $rest --save "$work/256.safetensors" --log "$work/tb.jsonl" \
            --tensorboard "$work/runs/plain" &&
        served "$work/read.py" "$work/runs/plain" "$work/tb.jsonl" "$work/255.safetensors" \
            "$work/256.safetensors"
}

# A run that is stopped at step 200 and goes on from 150: what was told of 151 to 200 is forgotten.
tensorboard_resumes() {
    run --log-every 10 --max-steps 200 --checkpoint-dir "$work/ck" --checkpoint-every 150 \
        --tensorboard "$work/runs/resumed" --csv "$work/r.csv" &&
        sleep 1.1 &&
        "$trainer" train --device cpu --no-progress --resume "$work/ck/step-00000150" \
            --log-every 10 --tensorboard "$work/runs/resumed" --csv "$work/r.csv" || return 1
    [ "$(grep -c '^event' "$work/r.csv")" -eq 1 ] &&
        [ "$(grep -c '^train' "$work/r.csv")" -eq 26 ] || return 1
    same_curve "$work/runs/resumed" "$work/r.csv"
}

cat >"$work/curve.py" <<'END'
import csv, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1])
events.Reload()
want = [(int(r["step"]), float(r["loss"])) for r in csv.DictReader(open(sys.argv[2], newline=""))
        if r["event"] == "train"]
got = [(s.step, s.value) for s in events.Scalars("train/loss")]
assert len(got) == len(want), (got, want)
assert all(a == c and abs(b - d) < 1e-6 for (a, b), (c, d) in zip(got, want)), (got, want)
END

# same_curve DIRECTORY CSV: the losses of training.
same_curve() {
    served "$work/curve.py" "$@"
}

# Stopped in the middle of an interval, whose point is in neither the log nor the curve.
tensorboard_resumes_mid_interval() {
    rm -rf "$work/ck"
    run --log-every 10 --max-steps 25 --checkpoint-dir "$work/ck" --tensorboard "$work/runs/mid" \
        --csv "$work/m.csv" && sleep 1.1 &&
        "$trainer" train --device cpu --no-progress --resume "$work/ck" --max-steps 40 \
            --log-every 10 --tensorboard "$work/runs/mid" --csv "$work/m.csv" || return 1
    ! grep '^train,25,' "$work/m.csv" || return 1
    same_curve "$work/runs/mid" "$work/m.csv"
}

if python=$(python_with tensorboard); then
    python_server "$python" tensorboard.backend.event_processing.event_accumulator
    check "TensorBoard reads curves, histograms, the picture" tensorboard_reads
    check "TensorBoard reads a run that was resumed" tensorboard_resumes
    check "TensorBoard, resumed in the middle of an interval" tensorboard_resumes_mid_interval
else
    skip "TensorBoard reads what --tensorboard writes" "no Python has the module tensorboard"
fi
check "a directory that cannot be made" says 1 "cannot make the TensorBoard directory" \
    run --max-steps 1 --tensorboard "$work/small.yaml/runs"

# ---- numbers that are not finite ----

stops_at_nan() {
    echo kept >"$work/kept.safetensors"
    says 1 "the loss of step 2 is not finite; the first bad parameter is" run --lr 1e30 \
        --save "$work/kept.safetensors" --log "$work/nan.jsonl" --csv "$work/nan.csv" || return 1
    [ "$(cat "$work/kept.safetensors")" = kept ] && grep -q '"step":2,.*"loss":null' \
        "$work/nan.jsonl" && [ "$(wc -l <"$work/nan.jsonl")" -eq 1 ] &&
        grep -q '^train,2,0,nan,' "$work/nan.csv"
}
keeps_good_checkpoint() {
    says 1 "the last good checkpoint is of step 1;" run --lr 1e30 --checkpoint-dir "$work/nan" \
        --checkpoint-every 1 || return 1
    [ "$(readlink "$work/nan/latest")" = step-00000001 ] && [ ! -e "$work/nan/step-00000002" ] &&
        "$trainer" eval --device cpu --data random --weights "$work/nan/latest/model.safetensors"
}
# The loss was finite before the only step, the parameters are not behind it.
saves_no_bad_parameters() {
    echo kept >"$work/kept.safetensors"
    "$NINC" -q -O0 --target=cpu "$one_level" --set optimizer.sgd.weight_decay=1000 \
        -o "$work/heavy" \
        "$work/small.yaml" || return 1
    says 1 "are not finite after step 1; training" "$work/heavy/trainer" train --device cpu \
        --data random --seed 3 --no-progress --lr 3e38 --max-steps 1 \
        --save "$work/kept.safetensors" && [ "$(cat "$work/kept.safetensors")" = kept ]
}
sim_names_the_steps() {
    says 1 "the loss of one of the steps 1 to 3 is not finite" \
        "$trainer" train --device sim --data random --lr 1e30 --max-steps 3 --no-eval
}
check "NaN: stops, names step and tensor, --save untouched" stops_at_nan
check "NaN: the last good checkpoint stays" keeps_good_checkpoint
check "NaN: parameters that are not finite are not saved" saves_no_bad_parameters
check_with g++ "NaN: a GPU's host names the steps that it may have been" sim_names_the_steps

# ---- a dead network ----

# Images all zero and no biases: logits all zero, for ever.
bytes() {
    local b
    for b in "$@"; do
        # shellcheck disable=SC2059
        printf "\\x$(printf %x "$b")"
    done
}
dead_is_said_once() {
    local data=$work/data split
    mkdir -p "$data"
    for split in train t10k; do
        { bytes 0 0 8 3 0 0 0 80 0 0 0 28 0 0 0 28; head -c $((80 * 784)) /dev/zero; } \
            >"$data/$split-images-idx3-ubyte"
        { bytes 0 0 8 1 0 0 0 80; head -c 80 /dev/zero; } >"$data/$split-labels-idx1-ubyte"
    done
    says 0 "not learning: all logits of a whole batch were zero" "$work/dead/trainer" train \
        --device cpu --data "$data" --log-every 1 --no-save &&
        [ "$(grep -c 'not learning' "$work/stderr")" -eq 1 ]
}
check "a dead network is told once" dead_is_said_once

# ---- a loss that stays at chance or above ----

# Equal images of two classes: one layer's logits say nothing, and its init how far from ln 2 they
# are.
make_line() {
    cat >"$work/line.yaml" <<'END'
model: line
input: {dataset: idx, classes: 2, shape: [1, 4, 4]}
layers:
  - conv2d: {name: conv, out_channels: 2, kernel_size: 4}
  - flatten
loss: cross_entropy
optimizer: {sgd: {lr: 0.00001}}
train: {batch_size: 16, epochs: 125, init: {normal: {std: 3}}}
END
    mkdir -p "$work/line_data"
    local split
    for split in train t10k; do
        { bytes 0 0 8 3 0 0 0 64 0 0 0 4 0 0 0 4; head -c 1024 /dev/zero | tr '\0' '\200'; } \
            >"$work/line_data/$split-images-idx3-ubyte"
        { bytes 0 0 8 1 0 0 0 64; for _ in {1..32}; do printf '\0\1'; done; } \
            >"$work/line_data/$split-labels-idx1-ubyte"
    done
    "$NINC" -q -O0 --target=cpu "$one_level" -o "$work/far" "$work/line.yaml" &&
        sed 's/std: 3/std: 0.001/' "$work/line.yaml" >"$work/near.yaml" &&
        "$NINC" -q -O0 --target=cpu "$one_level" -o "$work/near" "$work/near.yaml"
}
# advises MODEL SEEN ADVICE OPTION...
advises() {
    local model=$1 seen=$2 advice=$3
    shift 3
    says 0 "not learning: over the last 500 steps the loss was $seen chance, ln 2 = 0.6931" \
        "$work/$model/trainer" train --device cpu --data "$work/line_data" --no-eval \
        --max-steps 500 --no-progress --no-save "$@" &&
        grep -q "accuracy 0.5000); $advice" "$work/stderr"
}
if make_line >"$work/output" 2>&1; then
    check "a loss at chance: a dead network" advises near "no better than" \
        "the network is probably dead: try another --seed, a smaller --lr"
    check "a loss above chance: another --lr" advises far above \
        "try another --lr (it is 1e-05) or another init"
    check "a tiny --lr is told" advises far above "--lr is only 1e-09: try a larger one" --lr 1e-9
    check "--lr 0 is told" advises near "no better than" \
        "--lr is 0, which leaves all parameters as they are: give a larger one" --lr 0
else
    fail "the line's models" "$work/output"
fi

finish
