#!/bin/bash
# The command line of ninc: exit codes, what goes to stdout, overrides, IR as input, failures to
# write. Nothing here needs the C compiler.
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh

model=models/nin_fashion.yaml

# exits CODE TEXT ARGUMENTS...: with nothing on stdout and TEXT in stderr.
exits() {
    local code=$1 text=$2
    shift 2
    "$NINC" --color=never "$@" >"$work/stdout" 2>"$work/stderr" </dev/null
    local status=$?
    cat "$work/stderr"
    [ $status -eq "$code" ] || echo "exit status $status, not $code"
    [ $status -eq "$code" ] && [ ! -s "$work/stdout" ] && grep -qF -- "$text" "$work/stderr"
}

check "no model" exits 2 "name a model file"
check "two models" exits 2 "one too many" a b
check "two models, dumped" exits 2 "one too many" --check --dump=all a b
check "unknown option" exits 2 "'--foo'" --foo $model
check "unknown short option" exits 2 "'-x'" -vx $model
check "value missing" exits 2 "needs a value" --emit
check "value too many" exits 2 "takes no value" --check=3 $model
check "bad level" exits 2 "-O0, -O1 or -O2" -O3 $model
check "bad emit" exits 2 "--emit must be" --emit=foo $model
check "bad target" exits 2 "--target must be" --target=tpu $model
check "bad precision" exits 2 "--precision must be" --precision=fp8 $model
check "bad instruction set" exits 2 "--cpu-levels must be" --cpu-levels=mmx $model
check "no instruction set" exits 2 "--cpu-levels must be" --cpu-levels= $model
check "instruction sets without CPU" exits 2 "--cpu-levels is of the CPU" \
    --cpu-levels="$(best_levels)" --target=cuda $model
check "bad color" exits 2 "--color must be" --color=blue $model
check "bad batch" exits 2 "--batch must be" --batch=0 $model
check "quiet and verbose" exits 2 "contradict" -q -v $model
check "check and emit" exits 2 "contradict" --check --emit=ir $model
check "no CUDA text" exits 2 "--emit=cuda" --emit=cuda --target=cpu $model
check "no CPU text" exits 2 "--emit=c " --emit=c --target=cuda $model
check "tf32 on the CPU" exits 1 "a CPU has no tf32" --target=cpu --precision=tf32 $model
check "unknown pass" exits 2 "no pass 'foo'" --dump=foo --emit=ir $model
check "unknown pass to leave out" exits 2 "no pass 'foo'" --disable-pass=foo --emit=ir $model
check "missing file" exits 1 "missing.yaml:1:1: error" "$work/missing.yaml"
silent() {
    "$NINC" --check $model >"$work/stdout" 2>&1 && [ ! -s "$work/stdout" ]
}
check "check says nothing" silent

check "check and output" exits 2 "contradict" --check -o "$work/k" $model

# prints TEXT ARGUMENTS...: exits 0 with TEXT on stdout and nothing on stderr.
prints() {
    local text=$1
    shift
    "$NINC" "$@" >"$work/stdout" 2>"$work/stderr" </dev/null || return 1
    cat "$work/stderr"
    [ ! -s "$work/stderr" ] && grep -q -- "$text" "$work/stdout"
}

check "help" prints "^Usage: ninc" --help
check "usage" prints "^Usage: ninc" --usage
check "version" prints "^ninc [0-9]" --version
# The plan names the kernels of the chosen instruction set alone.
one_level() {
    local set
    set=$(machine_levels)
    set=${set##*,}
    "$NINC" --emit=plan --cpu-levels="$set" $model >"$work/plan" &&
        [ "$(grep -c '^extern const NincCpuLevel ninc_cpu_[a-z0-9]*;' "$work/plan")" -eq 1 ] &&
        grep -q "ninc_cpu_levels\[\] = {&ninc_cpu_$set, NULL};" "$work/plan"
}
check "kernels of one instruction set" one_level
if [ "$(uname -m)" = x86_64 ]; then
    check "an instruction set of no use" exits 1 "none of the instruction sets" -q -O0 \
        --target=cpu --cpu-levels=amx -o "$work/none" $model
fi
check "list of passes" prints "^autodiff" --list-passes
check "list of ops" prints "^conv2d .*2 to 3" --list-ops
check "summary" prints "^conv.0 .* 28x28x32 .* 3,872 " --emit=summary $model
check "summary of a layer in tiles" prints "^conv.2 *mlpconv .* 14x14x48 .* 56,736  *22.21 " \
    --emit=summary $model
check "summary of the training" prints "^clip_grad_norm 2, ema 0.99$" --emit=summary \
    --set=train.ema=0.99 --set=train.clip_grad_norm=2 $model
check "verbose summary" prints "^kernels of eval" -v --emit=summary $model
for total in lenet:61,706 lenet_caffe:431,080; do
    check "${total%:*} has the ${total#*:} parameters that are published" \
        prints "^total  *${total#*:} " --emit=summary --target=cpu "models/${total%:*}.yaml"
done
check "memory report" prints "^total [0-9,]*: state" --memory-report --emit=summary $model
check "check with a memory report" prints "^total [0-9,]*: state" --check --memory-report $model
check "check with a dump" prints "^# after autodiff" --check --dump=autodiff $model
check_dumps() {
    "$NINC" --check --dump=all --dump-dir="$work/dumps" $model &&
        [ "$(ls "$work/dumps" | wc -l)" -gt 10 ]
}
check "check with a directory of dumps" check_dumps
check_times() {
    "$NINC" --check --time-passes $model >"$work/stdout" 2>"$work/stderr" &&
        grep -q '^memory .* ms' "$work/stderr" && [ ! -s "$work/stdout" ]
}
check "check with times" check_times
check "dot" prints "^digraph" --emit=dot $model
check "option after the model" prints "batch=4 " $model --emit=ir --batch=4

# Overrides
check "set of a given value" prints "epochs=7" --set=train.epochs=7 --emit=ir $model
check "set of an absent value" prints "eps=0.5" --set optimizer.adam.eps=0.5 --emit=ir $model
check "set of a list item" prints "f32\[24,1,5,5\]" \
    --set 'layers.0.mlpconv.out_channels=[24,32,32]' --emit=ir $model
check "set of a whole section" prints "optimizer sgd lr=0.1" \
    --set 'optimizer={sgd: {lr: 0.1}}' --emit=ir $model
check "set of an unknown key" exits 1 "did you mean 'epochs'" --set=train.epoch=1 $model
check "set of a wrong value" exits 1 "<command-line>:1:20: error" --set=train.epochs=x $model
check "set past the list" exits 1 "the list has the items 0 to 10" --set=layers.11=relu $model
check "set without value" exits 1 "KEY=VALUE" --set=train $model

# Only the named place changes, though an anchor is shared: one pool of 3x3, one of 2x2.
one_alias() {
    "$NINC" -O0 --emit=ir --set layers.3.maxpool.kernel_size=2 $model >"$work/x.ir" &&
        grep -q 'maxpool .*kernel=3x3' "$work/x.ir" && grep -q 'maxpool .*kernel=2x2' "$work/x.ir"
}
check "set in one alias leaves the other" one_alias

# IR text as input
reads_ir() {
    "$NINC" --emit=ir $model >"$work/a.ir" && "$NINC" --emit=ir "$work/a.ir" >"$work/b.ir" &&
        cmp "$work/a.ir" "$work/b.ir" && "$NINC" --emit=ir - <"$work/a.ir" >"$work/c.ir" &&
        cmp "$work/a.ir" "$work/c.ir"
}
check "IR as input" reads_ir
stdin_yaml() {
    "$NINC" --check - <$model
}
check "YAML on standard input" stdin_yaml
check "set with IR" exits 1 "change a YAML model" --batch=3 "$work/a.ir"
printf 'module x {\n  nonsense\n' >"$work/broken.ir"
check "broken IR" exits 1 "broken.ir:2:" "$work/broken.ir"

# Text without positions has a line an op, and long names leave no columns to the kernels: they keep
# a few.
crowded_table() {
    local name=a_layer.of_a_long_name
    sed "s/mlpconv: {name: c,/mlpconv: {name: $name,/" >"$work/crowded.yaml" <<'END' || return 1
model: crowded
input: {dataset: idx, classes: 4, shape: [3, 512, 512]}
layers:
  - mlpconv: {name: c, out_channels: 192, kernel_size: 1}
  - conv2d: {name: out, out_channels: 192, kernel_size: 3, padding: 1}
  - conv2d: {name: last, out_channels: 4, kernel_size: 1}
  - gap
loss: cross_entropy
optimizer: {sgd: {lr: 0.1}}
train: {batch_size: 2, epochs: 1}
END
    "$NINC" --target=cpu --dump=winograd --check "$work/crowded.yaml" | sed 's/ *loc .*//' \
        >"$work/crowded.ir" || return 1
    "$NINC" --target=cpu --emit=summary "$work/crowded.ir" >"$work/stdout" || return 1
    grep winograd_multiply "$work/stdout" | awk '{ print $NF; if (length($NF) > 10) bad = 1 }
        END { exit bad || NR == 0 }'
}
check "a crowded table" crowded_table
# Numbers as the kernels use them: floats. number FROM TO MESSAGE: of a network trained by Adam.
"$NINC" --emit=ir --target=cpu tests/models/pytorch/flatten_adam.yaml >"$work/adam.ir"
number() {
    sed "s/$1/$2/" "$work/adam.ir" >"$work/number.ir"
    ! cmp -s "$work/adam.ir" "$work/number.ir" &&
        exits 1 "error: expected a number $3" "$work/number.ir" &&
        grep -Eq "number.ir:[1-9][0-9]*:[1-9]" "$work/stderr"
}
check "the learning rate of IR" number ' lr=[^ ]*' ' lr=-0.001' 'of at least 0'
check "... no float" number ' lr=[^ ]*' ' lr=1e-39' 'that a float can be'
check "betas of IR that round to 1" number 'beta2=[^ ]* eps' 'beta2=0.99999998 eps' 'in [0, 1)'
check "... of a step" number '{beta1=[^ ]*' '{beta1=1' 'in [0, 1)'
check "eps of IR" number 'eps=[^ }]* w' 'eps=0 w' 'greater than 0'
check "... no float" number 'eps=[^ }]* w' 'eps=1e-46 w' 'that a float can be'
check "... of a step" number 'eps=[^ }]*}' 'eps=0}' 'greater than 0'

# Writing
writes() {
    "$NINC" --emit=ir -o "$work/out.ir" $model && cmp "$work/a.ir" "$work/out.ir" &&
        [ "$(find "$work" -name '*partial*' | wc -l)" -eq 0 ]
}
check "emit into a file" writes
check "no such directory" exits 1 "cannot write $work/none/x: directory" \
    --emit=ir -o "$work/none/x" $model
mkdir "$work/directory"
check "file is a directory" exits 1 "cannot write $work/directory" \
    --emit=ir -o "$work/directory" $model
full() {
    ! "$NINC" --emit=ir $model >/dev/full 2>"$work/stderr" && grep -q 'cannot write' "$work/stderr"
}
check "full disk" full
check "full disk by name" exits 1 "cannot write /dev/full" --emit=ir -o /dev/full $model
finish
