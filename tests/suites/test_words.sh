#!/bin/bash
# What people type: names that are nearly right, options of the other program, files that are no
# model. Each gets one message that says what to do.
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
light_kernels

ninc=$(realpath "$NINC")
model=$PWD/tests/models/pytorch/flatten_sgd.yaml
"$NINC" -q -O0 --target=cpu "$one_level" -o "$work/k" "$model" || fail "the trainer"
trainer=$work/k/trainer
cd "$work" || exit 1

# says CODE TEXT COMMAND...: nothing on stdout, one line on stderr but for the line that names the
# help, and TEXT in it.
says() {
    local code=$1 text=$2 status
    shift 2
    "$@" >"$work/stdout" 2>"$work/stderr" </dev/null
    status=$?
    cat "$work/stderr"
    [ $status -eq "$code" ] || { echo "exit status $status, not $code"; return 1; }
    [ ! -s "$work/stdout" ] && grep -qF -- "$text" "$work/stderr" &&
        [ "$(grep -vc "^Try 'ninc --help'" "$work/stderr")" -eq 1 ]
}

# ---- the trainer's commands and flags ----

# trainer_says TEXT ARGUMENTS...
trainer_says() {
    local text=$1
    shift
    check "trainer $*" says 2 "$text" "$trainer" "$@"
}
trainer_says "did you mean 'train'?" trian
trainer_says "did you mean 'eval'?" test
trainer_says "needs a command before it; try: trainer train --epochs" --epochs 3
trainer_says "that is an option of ninc, which compiles the model" --emit=ir
trainer_says "needs a command before it; try: trainer predict cat.png" cat.png
trainer_says "ninc compiles models" net.yaml
trainer_says "the batch is compiled in: ninc --batch=32 MODEL.yaml" train --batch-size 32
trainer_says "the batch is compiled in: ninc --batch=32 MODEL.yaml" train --bacth=32
trainer_says "ninc --precision=bf16" train --amp
trainer_says "did you mean '--weights'?" "eval" --wieghts x
trainer_says "did you mean '--weights'?" predict --resume x
trainer_says "did you mean '--init', which starts" train --weights x
trainer_says "did you mean '--lr'?" train --learning-rate=1
trainer_says "did you mean '--lr'?" train -lr 1
trainer_says "does not belong to 'eval', but to train; try: $trainer eval --help" "eval" --keep 2
trainer_says "several names begin so; try: $trainer train --help" train --no
trainer_says "--epochs: a value is missing: --epochs=N" train --epochs
trainer_says "--no-eval takes no value" train --no-eval=1
trainer_says "from 1 to 1024 is needed; without the flag it is" train --threads=0
trainer_says "is needed; without the flag it is the model's" train --epochs -1
trainer_says "did you mean 'cuda'?" train --device gpu
trainer_says "no such flag; try: $trainer train --help" train --zzzz
mkdir "two words"
cp "$trainer" "two words/it's"
check "the help's line is for a shell" says 2 "try: 'two words/it'\\''s' train --help" \
    "two words/it's" train x

touch "two words/t10k-images-idx3-ubyte"
check "--data that is a file" says 1 "give the directory of the four files: --data 'two words'" \
    "$trainer" train --data "two words/t10k-images-idx3-ubyte"

# The lines that say how to go on are for a shell, whatever the paths hold.
advice_is_quoted() {
    local line
    "$ninc" -O0 --target=cpu -o "my \$k's" "$model" >"$work/stdout" 2>"$work/stderr" || return 1
    line=$(sed -n 's/.*next: \(.*\) train$/\1/p' "$work/stderr")
    eval "$line info" | grep '^model flatten_sgd' || return 1
    "my \$k's/trainer" train --data random --max-steps 1 --checkpoint-dir "my \$run" &&
        ! "my \$k's/trainer" train --data random --max-steps 1 --checkpoint-dir "my \$run" \
            2>"$work/stderr" || return 1
    line=$(sed -n 's/.*--resume \(.*\), or choose.*/\1/p' "$work/stderr")
    eval "'my \$k'\''s/trainer' train --max-steps 2 --resume $line"
}
check "advice is quoted for a shell" advice_is_quoted

# ---- help by -h ----

# same_help PROGRAM [COMMAND]
same_help() {
    diff <("$@" -h) <("$@" --help) && [ -n "$("$@" -h)" ]
}
check "ninc -h" same_help "$ninc"
check "trainer -h" same_help "$trainer"
for command in $("$trainer" --help | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p'); do
    [ "$command" = trainer ] || check "trainer $command -h" same_help "$trainer" "$command"
    [ "$command" = trainer ] || check "trainer help $command" \
        diff <("$trainer" help "$command") <("$trainer" "$command" --help)
done

# ---- ninc's options ----

# ninc_says TEXT ARGUMENTS...
ninc_says() {
    local text=$1
    shift
    check "ninc $*" says 2 "$text" "$ninc" "$@"
}
ninc_says "--set train.epochs=3" --epochs 3 m
ninc_says "--set train.epochs=3" --epochs=3 m
ninc_says "--set optimizer.NAME.lr=0.1" -lr 0.1 m
ninc_says "trainer train --seed=3" --seed 3 m
ninc_says "trainer train --data=DIR" --data=x m
ninc_says "trainer eval --weights=FILE" --weights x m
ninc_says "trainer train --resume=DIR" --resume x m
ninc_says "did you mean '--batch'?" --batch-size=4 m
ninc_says "did you mean '--precision'?" --precison=bf16 m
ninc_says "did you mean 'bf16'?" --precision fp16 m
ninc_says "did you mean 'cuda'?" --target=gpu m
ninc_says "did you mean 'summary'?" --emit=sumary m
ninc_says "did you mean 'fuse'?" --dump=fuze "$model"
ninc_says "did you mean 'winograd'?" --disable-pass=winogard "$model"
ninc_says "a command of the trainer" train
ninc_says "a command of the trainer" train "$model"
ninc_says "ninc has no commands; it compiles a model: ninc x.yaml" compile x.yaml

check "a network of one class is told" says 0 "its loss is always 0" "$ninc" --check \
    "${model%/pytorch/*}/golden/frontend/one_class.yaml"

# ---- files that are no model ----

# file_says TEXT FILE
file_says() {
    check "ninc ${2#"$work"/}" says 1 "$1" "$ninc" "$2"
}
mkdir nets
cp "$model" nets/mynet.yaml
file_says "did you mean 'nets/mynet.yaml'?" nets/mynet.yml
file_says "did you mean 'nets/mynet.yaml'?" nets/mynet
file_says "did you mean 'nets/mynet.yaml'?" nets/myent.yaml
file_says "name a model file in it: nets/mynet.yaml" nets
file_says "check the path" nothing/near.yaml
file_says "a program; if it is a trainer, run it: k/trainer train" k/trainer
printf '\x08\x07\x12\x07pytorch\x3a\x05' >net.onnx
file_says "an ONNX model" net.onnx
printf '\x40\0\0\0\0\0\0\0{"a":{"dtype":"F32"}}' >net.safetensors
file_says "trainer train --init=FILE" net.safetensors
printf 'PK\3\4........archive/data.pkl' >net.pt
file_says "a PyTorch file" net.pt
gzip -c nets/mynet.yaml >net.yaml.gz
file_says "unpack it first: gunzip" net.yaml.gz
printf '\x89PNG\r\n\x1a\n' >cat.yaml
file_says "trainer predict" cat.yaml
printf '\0\0\x08\x03\0\0\0\1' >train-images-idx3-ubyte
file_says "trainer train --data=DIR" train-images-idx3-ubyte

# ---- lines of a terminal ----

# narrow COMMAND...: it prints something, and no line is longer than 80 columns.
narrow() {
    "$@" >"$work/lines" 2>&1 </dev/null || { cat "$work/lines"; return 1; }
    LC_ALL=C.UTF-8 awk 'length > 80 { print length ": " $0; bad = 1 } END { exit bad || NR == 0 }' \
        "$work/lines"
}
models=$OLDPWD/models
for name in lenet lenet_caffe nin nin_bn nin_cifar10 nin_fashion nin_spelled; do
    for precision in fp32 bf16; do
        options=("--precision=$precision" "$models/$name.yaml")
        check "80 columns: summary of $name, $precision" narrow "$ninc" --emit=summary \
            "${options[@]}"
        check "the summary names $precision" grep \
            -q "^[a-z0-9_]* on .*, batch [0-9]*, $precision\$" \
            "$work/lines"
        check "80 columns: kernels of $name, $precision" narrow "$ninc" -v --emit=summary \
            "${options[@]}"
        check "80 columns: memory of $name, $precision" narrow "$ninc" --check --memory-report \
            --time-passes "${options[@]}"
    done
done
summary_of_tf32() {
    "$ninc" --emit=summary --precision=tf32 "$models/nin.yaml" | grep -q ', fp32, on a GPU tf32$'
}
check "the summary names tf32, which a CPU has not" summary_of_tf32
for option in --help --usage --list-passes --list-ops; do
    check "80 columns: ninc $option" narrow "$ninc" $option
done
check "80 columns: trainer --help" narrow "$trainer" --help
for command in $("$trainer" --help | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p' | grep -v trainer); do
    check "80 columns: trainer $command --help" narrow "$trainer" "$command" --help
done
check "80 columns: trainer info" narrow "$trainer" info
check "info names the precision" grep -q ', fp32$' "$work/lines"
check "80 columns: trainer train" narrow "$trainer" train --data random --max-steps 2 \
    --log-every 1 \
    --save "$work/w.safetensors"
printf 'a class whose name takes more than one line of a terminal: %d\n' $(seq 12) >names
check "80 columns: trainer eval" narrow "$trainer" eval --data random --weights w.safetensors \
    --classes names
check "80 columns: trainer verify" narrow "$trainer" verify

# wide COMMAND...: the longest line of its messages where lines may have 60 columns.
wide() {
    COLUMNS=60 "$@" 2>&1 >/dev/null | awk '{ if (length > most) most = length } END { print most }'
}
breaks() {
    [ "$(wide "$trainer" train --bogus --threads=0)" -le 60 ] &&
        [ "$(wide "$ninc" --weights x m)" -le 60 ] &&
        [ "$(wide "$ninc" net.safetensors)" -le 60 ] &&
        [ "$(COLUMNS=60 "$ninc" net.safetensors 2>&1 | wc -l)" -gt 2 ]
}
check "messages break between words where COLUMNS says so" breaks
finish
