#!/bin/bash
# At home on a system: --help, man pages and completions say the same; `make install` and
# `make uninstall`; ninc and trainers run from any directory, whatever it is called.
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
top=$PWD
case $NINC in
/*) ;;
*) NINC=$top/$NINC ;;
esac
if [ "$BUILD" = build ]; then
    build=(make -s)
else
    build=(make -s SANITIZE=1 "BUILD=$BUILD")
fi
model=$top/tests/models/pytorch/flatten_sgd.yaml

# ---- options ----

check "completions are made" "${build[@]}" completion
completion=$BUILD/completion
table=$completion/table
trainer=$completion/kernels/trainer

# The options in a --help on stdin.
options_of_help() {
    sed -n 's/^ *\(-.*\)/\1/p' | sed -e 's/  .*//' | tr -s ', ' '\n' | grep '^-' | sed 's/=.*//' |
        sort -u
}

# options_of_page PAGE [SECTION]: what it lists with .It Fl, everywhere or below `.Ss SECTION`.
options_of_page() {
    awk -v section="$2" '
        /^\.S[sh] / { inside = section == "" || substr($0, 5) == section }
        inside && /^\.It Fl/' "$1" | sed -e 's/ Ns = Ns [^ ]*\( Ns = Ns [^ ]*\)*//g' -e 's/,//g' |
        grep -o 'Fl [^ ]*' | sed 's/^Fl /-/' | sort -u
}

# fits COLUMNS LINES COMMAND...: its output is not empty and no larger than that.
fits() {
    local columns=$1 lines=$2
    shift 2
    "$@" >"$work/help" || return 1
    awk -v columns="$columns" -v lines="$lines" '
        length > columns { print "too long: " $0; bad = 1 }
        END { if (NR > lines) { print NR " lines"; bad = 1 } exit bad || NR == 0 }' "$work/help"
}

commands=$(sed -n 's/^trainer|\([^|]*\)||.*/\1/p' "$table")
check "trainer has commands" grep -qx train <<<"$commands"
# A small terminal has 80 columns of 24 lines, and the last is the prompt's. The commands of more
# than 20 options, ninc and trainer train, have a line for each and are allowed 40.
check "ninc --help fits 80 x 40" fits 80 40 "$NINC" --help
check "ninc --help has examples" grep -q '^Examples:' "$work/help"
check "ninc --usage fits a small screen" fits 80 23 "$NINC" --usage
check "trainer --help fits a small screen" fits 80 23 "$trainer" --help
check "trainer --help has examples" grep -q '^examples:' "$work/help"
for command in $commands; do
    lines=23
    [ "$command" != train ] || lines=40
    check "trainer $command --help fits 80 x $lines" fits 80 $lines "$trainer" "$command" --help
    check "trainer $command --help has an example" grep -q '^example: trainer' "$work/help"
done
# line_an_option COMMAND...: none of them is folded.
line_an_option() {
    "$@" --help >"$work/help" && [ "$(grep -c '^ *-.*  [^ ]' "$work/help")" -gt 1 ] &&
        ! grep '^      *[^ -]' "$work/help" && ! grep -x ' *-[^ ]*' "$work/help"
}
check "ninc --help has a line an option" line_an_option "$NINC"
for command in $commands; do
    check "trainer $command --help has a line an option" line_an_option "$trainer" "$command"
done

# Nothing reads the runtime's debugging information in a trainer but reports of the sanitizers.
no_debugging() {
    ! readelf -SW "$trainer" | grep debug_info && nm "$trainer" | grep -q ' T main$'
}
[ "$BUILD" != build ] || check "a trainer is linked without debugging information" no_debugging

same_version() {
    diff <("$NINC" --version) <("$trainer" --version | sed 's/trainer (ninc)/ninc/')
}
check "ninc and its trainers have one version" same_version

page_of_ninc() {
    diff <("$NINC" --help | options_of_help) <(options_of_page frontend/ninc.1) ||
        { echo "left: ninc --help; right: frontend/ninc.1"; false; }
}
check "ninc(1) has the options of ninc --help" page_of_ninc

shared="Options of several commands"
page_of_command() {
    options_of_page runtime/ninc-trainer.1 "trainer $1" >"$work/own"
    "$trainer" "$1" --help | options_of_help >"$work/options"
    options_of_page runtime/ninc-trainer.1 "$shared" | cat - "$work/own" | sort -u >"$work/known"
    grep -qx ".Ss trainer $1" runtime/ninc-trainer.1 ||
        { echo "runtime/ninc-trainer.1 has no section '.Ss trainer $1'"; return 1; }
    comm -13 "$work/known" "$work/options" | sed "s/$/ is not in runtime\/ninc-trainer.1/" \
        >"$work/fault"
    comm -13 "$work/options" "$work/own" | sed "s/$/ is no option of trainer $1/" >>"$work/fault"
    cat "$work/fault"
    [ -s "$work/options" ] && [ ! -s "$work/fault" ]
}
for command in $commands; do
    check "ninc-trainer(1) has the options of trainer $command" page_of_command "$command"
done

# Sections for commands that are gone, options that no command has.
page_of_trainer() {
    diff <(sed -n 's/^\.Ss trainer //p' runtime/ninc-trainer.1 | sort) <(sort <<<"$commands") &&
        diff <(options_of_page runtime/ninc-trainer.1) \
            <(for c in $commands; do "$trainer" "$c" --help; done | options_of_help)
}
check "ninc-trainer(1) has nothing else" page_of_trainer

pages=(frontend/ninc.1 runtime/ninc-trainer.1 models/ninc-model.5)
lint() {
    mandoc -Tlint "$1" | grep -v 'referenced manual not found' >"$work/lint"
    cat "$work/lint"
    [ ! -s "$work/lint" ] && mandoc -Tutf8 "$1" | col -b | grep -q '^EXIT STATUS\|^EXAMPLES'
}
for page in "${pages[@]}"; do
    check_with mandoc "mandoc: $page" lint "$page"
done

# On a terminal of 80 columns no line is broken, and an example's `\` at the end of a line, which
# roff would take for itself, is there.
formats() {
    MANWIDTH=80 MANPAGER=cat LC_ALL=C man -l "$1" 2>"$work/lint" | col -bx >"$work/page"
    [ ! -s "$work/lint" ] && grep -q '^EXAMPLES\|^EXIT STATUS' "$work/page" || return 1
    awk 'length > 80 { print "too long: " $0; bad = 1 } END { exit bad }' "$work/page" &&
        ! grep -n '[^e]\\$' "$1" &&
        [ "$(grep -c '\\e$' "$1")" -eq "$(grep -c '\\$' "$work/page")" ]
}
for page in "${pages[@]}"; do
    check_with man "80 columns: $page" formats "$page"
done
check "an example of ninc-trainer(1) has two lines" grep -q '\\e$' runtime/ninc-trainer.1

# Every environment variable that we read stands in a man page.
environment() {
    local name
    grep -ho 'getenv("[A-Z_]*")' frontend/*.c codegen/*.c codegen/*/*.c runtime/*/*.c |
        cut -d'"' -f2 | sort -u | grep -vx HOME >"$work/variables"
    while read -r name; do
        grep -q "\(Ev \|\\$\)$name" "${pages[@]}" || { echo "\$$name is nowhere"; return 1; }
    done <"$work/variables"
    grep -q NINC_DATA "$work/variables"
}
check "man pages have the environment" environment

# Every key and word of the model file's readers stands in ninc-model(5).
keys() {
    local key
    sed -n 's/^ *{"\([a-z_]*\)", FIELD_.*/\1/p; s/.*INPUT_FIELD("\([a-z_]*\)".*/\1/p' \
        frontend/input.c frontend/model.c frontend/layers.c | sort -u >"$work/keys"
    while read -r key; do
        grep -q "\.\(It \)\{0,1\}Cm .*\b$key\b" models/ninc-model.5 ||
            { echo "$key is nowhere"; return 1; }
    done <"$work/keys"
    grep -qx kernel_size "$work/keys" && grep -qx dataset "$work/keys"
}
check "ninc-model(5) has every key" keys

example_model() {
    sed -n '/^\.Bd -literal$/,/^\.Ed/p' models/ninc-model.5 | grep -v '^\.' >"$work/example.yaml" &&
        "$NINC" --check "$work/example.yaml"
}
check "the example of ninc-model(5) is a model" example_model

# ---- the build ----

# A word and a file in place of a command, unless that is asked for.
quiet_build() {
    local object=$work/quiet/ir/pool.o
    [ "$(env -u V -u MAKEFLAGS make --no-print-directory BUILD="$work/quiet" "$object")" = \
        "  CC ir/pool.o" ] &&
        rm "$object" &&
        make --no-print-directory V=1 BUILD="$work/quiet" "$object" |
        grep -q -- ' -std=c11 .*pool\.c'
}
check_with make "make is quiet, V=1 is not" quiet_build

# ---- completion ----

# complete FUNCTION WORD...: what bash would offer for the last word.
complete_bash() {
    bash -c '. "$0"; f=$1; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); $f
        printf "%s\n" "${COMPREPLY[@]}"' "$completion/ninc.bash" "$@"
}

# offers "EXPECTED" FUNCTION WORD...: exactly these, in any order.
offers() {
    local expected=$1
    shift
    diff <(tr ' ' '\n' <<<"$expected" | sort) <(complete_bash "$@" | sort)
}

bash_options() {
    diff <("$NINC" --help | options_of_help) \
        <(complete_bash _ninc ninc - | sed 's/=$//' | sort -u) || return 1
    for command in $commands; do
        diff <("$trainer" "$command" --help | options_of_help) \
            <(complete_bash _ninc_trainer x/trainer "$command" - | sed 's/=$//' | sort -u) ||
            return 1
    done
}
check "bash: every option and no other" bash_options
check "bash: commands" offers "$(echo --help --version $commands)" _ninc_trainer x/trainer ""
check "bash: --emit=, words broken at =" offers "c cuda" _ninc ninc --emit = c
check "bash: --emit=, whole" offers "--emit=c --emit=cuda" _ninc ninc --emit=c
check "bash: --target" offers "cpu cuda all" _ninc ninc --target = ""
check "bash: --precision" offers "fp32 tf32 bf16" _ninc ninc --precision ""
check "bash: --device" offers "auto cpu cuda sim" _ninc_trainer trainer train --device ""
check "bash: a list of passes" offers \
    "fuse,shape fuse,schedule fuse,simplify fuse,sparse" _ninc ninc --dump = fuse,s
check "bash: models" offers "$(echo models/*.yaml)" _ninc ninc models/
check "bash: directories" offers "models" _ninc ninc -o mod
check "bash: files" offers "README.md" _ninc_trainer trainer train --init READ
check "bash: nothing where there is nothing" offers "" _ninc_trainer trainer info x

taken() {
    local word
    for word in $(complete_bash _ninc ninc --emit = ""); do
        [ "$word" != library ] || continue # no text: a directory, of which other tests see
        "$NINC" --emit="$word" "$model" >"$work/emitted" || return 1
        [ -s "$work/emitted" ] || return 1
    done
}
check "ninc takes every word for --emit" taken

# Words that are offered are those that ninc names in its messages, so there must be some.
no_empty_list() {
    ! grep -E '\|(word|list)\|\|' "$table" && [ "$(grep -c '|word|' "$table")" -ge 5 ]
}
check "no empty list of words" no_empty_list

check_with zsh "zsh: syntax" zsh -n "$completion/_ninc"
for name in ninc trainer; do
    check_with fish "fish: syntax of $name" fish -n "$completion/$name.fish"
done
zsh_names() {
    head -n 1 "$completion/_ninc" | grep -qx '#compdef ninc trainer' &&
        diff <(grep -o "'\**-[-A-Za-z0-9]*" "$completion/_ninc" | tr -d "'*" | sort -u) \
            <(cut -d'|' -f3 "$table" | grep . | sort -u)
}
check "zsh: every option and no other" zsh_names
fish_offers() {
    HOME=$work fish -c ". $completion/ninc.fish; . $completion/trainer.fish
        complete -C 'ninc --emit=c'; complete -C 'x/trainer train --device '" |
        cut -f1 | sort >"$work/offered"
    printf '%s\n' --emit=c --emit=cuda auto cpu cuda sim | sort | diff - "$work/offered"
}
check_with fish "fish: words" fish_offers

# ---- colour ----

# colours COLOUR COMMAND...: whether its messages on a terminal have escapes.
colours() {
    local wanted=$1
    shift
    script -qec "$*" /dev/null >"$work/typescript" </dev/null
    if [ "$wanted" = yes ]; then
        grep -q $'\033' "$work/typescript"
    else
        grep -q error "$work/typescript" && ! grep -q $'\033' "$work/typescript"
    fi
}
check_with script "colour on a terminal" colours yes "env -u NO_COLOR $NINC $work/none.yaml"
check_with script "NO_COLOR" colours no "env NO_COLOR=1 $NINC $work/none.yaml"
check_with script "an empty NO_COLOR is none" colours yes "env NO_COLOR= $NINC $work/none.yaml"
check_with script "--color=always wins" colours yes \
    "env NO_COLOR=1 $NINC --color=always $work/none.yaml"

# ---- directories ----

# trains COMMAND...: a trainer that takes 3 steps.
trains() {
    "$@" train --data random --max-steps 3 --no-eval --threads 2 --save "$work/w.safetensors" \
        >"$work/log" && grep -q '^done: 3 steps' "$work/log" && rm "$work/w.safetensors"
}

strange="$work/a b/Netz für Mode 网络"
strange_paths() (
    mkdir -p "$strange" && cp "$model" "$strange/mein Modell.yaml" && cd "$strange" &&
        "$NINC" -q -O0 --target=cpu "mein Modell.yaml" -o "erste Kerne" &&
        trains "erste Kerne/trainer" && cd "erste Kerne" && trains ./trainer
)
check "spaces and other letters, relative" strange_paths
from_root() (
    cd / && "$NINC" -q -O0 --target=cpu "$strange/mein Modell.yaml" -o "$strange/zweite" &&
        trains "$strange/zweite/trainer" && trains "./${strange#/}/zweite/trainer"
)
check "from /, absolute" from_root
upwards() (
    cd "$strange" && cp "$model" . && mkdir unten && cd unten &&
        "$NINC" -q -O0 --target=cpu ../flatten_sgd.yaml -o ../dritte && trains ../dritte/trainer
)
check "upwards" upwards
arguments() (
    cd "$work/a b" && "$strange/erste Kerne/trainer" train --data random --max-steps 1 --no-eval \
        --save "é w.safetensors" --log "é l.jsonl" && [ -s "é w.safetensors" ] &&
        [ -s "é l.jsonl" ] && "$strange/erste Kerne/trainer" eval --data random \
        --weights "é w.safetensors"
)
check "files with spaces and other letters" arguments
# What ninc prints to go on with is a line for the shell.
said_lines() (
    cd "$strange" && "$NINC" -O0 --target=cpu "mein Modell.yaml" -o "erste Kerne" \
        >/dev/null 2>"$work/said" &&
        eval "$(sed -n 's/.*; next: //p' "$work/said") --data random --max-steps 1 --no-eval" &&
        "$NINC" -O0 --target=cpu "mein Modell.yaml" --emit=library -o "eine Bibliothek" \
            2>"$work/said" && eval "$(sed -n 's/.* build with //p' "$work/said")" |
        grep -q -- -lflatten_sgd
)
check "the lines that ninc says to go on with" said_lines

# /proc is a directory that not even root can write into.
read_only() (
    cd /proc/sys && ! touch x 2>"$work/err" &&
        "$NINC" -q -O0 --target=cpu "$model" -o "$work/from_proc" &&
        trains "$work/from_proc/trainer"
)
if [ -d /proc/sys ]; then
    check "from a directory that cannot be written" read_only
    here_fails() (
        cd /proc/sys && ! "$NINC" -q -O0 --target=cpu "$model" 2>"$work/err" &&
            grep -q '^ninc: error: .*flatten' "$work/err"
    )
    check "artefacts that cannot stand here: an error" here_fails
else
    skip "from a directory that cannot be written" "there is no /proc"
fi

# ---- install ----

listing() {
    (cd "$1" && find . ! -type d | sort)
}
installs() {
    mkdir -p "$work/to/usr/share/ninc" && echo mine >"$work/to/usr/share/ninc/notes" &&
        "${build[@]}" install "DESTDIR=$work/to" PREFIX=/usr && listing "$work/to" >"$work/there" &&
        diff "$work/there" - <<'END'
./usr/bin/ninc
./usr/share/bash-completion/completions/ninc
./usr/share/bash-completion/completions/trainer
./usr/share/fish/vendor_completions.d/ninc.fish
./usr/share/fish/vendor_completions.d/trainer.fish
./usr/share/man/man1/ninc-trainer.1
./usr/share/man/man1/ninc.1
./usr/share/man/man5/ninc-model.5
./usr/share/ninc/models/alexnet.yaml
./usr/share/ninc/models/alexnet_torchvision.yaml
./usr/share/ninc/models/lenet.yaml
./usr/share/ninc/models/lenet_caffe.yaml
./usr/share/ninc/models/mobilenet.yaml
./usr/share/ninc/models/nin.yaml
./usr/share/ninc/models/nin_224.yaml
./usr/share/ninc/models/nin_bn.yaml
./usr/share/ninc/models/nin_cifar10.yaml
./usr/share/ninc/models/nin_cifar100.yaml
./usr/share/ninc/models/nin_d2l.yaml
./usr/share/ninc/models/nin_fashion.yaml
./usr/share/ninc/models/nin_fashion_best.yaml
./usr/share/ninc/models/nin_imagenet.yaml
./usr/share/ninc/models/nin_mnist.yaml
./usr/share/ninc/models/nin_spelled.yaml
./usr/share/ninc/models/nin_svhn.yaml
./usr/share/ninc/models/resnet18.yaml
./usr/share/ninc/models/resnet20.yaml
./usr/share/ninc/models/vgg11.yaml
./usr/share/ninc/models/vgg11_bn.yaml
./usr/share/ninc/models/vgg16.yaml
./usr/share/ninc/models/vgg_cifar10.yaml
./usr/share/ninc/notes
./usr/share/zsh/site-functions/_ninc
END
}
check "make install" installs
installed() (
    cd "$work" && env -i PATH="$work/to/usr/bin:$PATH" ninc -q -O0 --target=cpu "$model" \
        -o "$work/installed" && trains "$work/installed/trainer"
)
check "what is installed works on its own" installed
uninstalls() {
    "${build[@]}" uninstall "DESTDIR=$work/to" PREFIX=/usr && listing "$work/to" | diff - \
        <(echo ./usr/share/ninc/notes) && [ ! -e "$work/to/usr/share/ninc/models" ]
}
check "make uninstall removes that and nothing else" uninstalls
finish
