#!/bin/bash
# The command line of ninc: exit codes, where output goes, and what is left behind.
. tests/lib.sh
light_kernels

model=tests/models/pytorch/flatten_sgd.yaml

# gives STATUS STDOUT-PATTERN STDERR-PATTERN COMMAND...: '' is an empty stream, '*' is anything.
gives() {
    local status=$1 out=$2 err=$3 got
    shift 3
    "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    [ $got -eq "$status" ] || { echo "exit status $got, not $status"; cat "$work/err"; return 1; }
    # shellcheck disable=SC2053 # patterns
    [[ $(<"$work/out") == $out ]] || { echo "stdout:"; head -n 5 "$work/out"; return 1; }
    # shellcheck disable=SC2053
    [[ $(<"$work/err") == $err ]] || { echo "stderr:"; head -n 5 "$work/err"; return 1; }
}

check "--version" gives 0 'ninc *' '' "$NINC" --version
check "--help" gives 0 '*--output*' '' "$NINC" --help
check "--usage" gives 0 '*' '' "$NINC" --usage
# What each op computes, on lines of 80 columns.
ops_are_explained() {
    "$NINC" --list-ops >"$work/ops" &&
        [ "$(wc -l <"$work/ops")" -eq \
            "$(sed -n '/define IR_OPS(/,$p' ir/ops.h | grep -c '^    X(')" ] &&
        ! grep -nvE '^[a-z0-9_]+ +[0-9]( to [0-9])? +[^ ].{5,}$' "$work/ops" &&
        ! grep -n '.\{81\}' "$work/ops"
}
check "--list-ops says what every op computes" ops_are_explained
check "--list-ops" gives 0 '*maxpool_code*' '' "$NINC" --list-ops
check "--list-passes" gives 0 '*autodiff*' '' "$NINC" --list-passes
check "--check" gives 0 '' '' "$NINC" --check "$model"
check "no model" gives 2 '' '*ninc*' "$NINC"
check "an unknown option" gives 2 '' '*--nonsense*' "$NINC" --nonsense "$model"
check "an unknown kind to emit" gives 2 '' '*nonsense*' "$NINC" --emit=nonsense "$model"
check "a missing file" gives 1 '' '*missing.yaml*' "$NINC" missing.yaml
check "a directory" gives 1 '' '*models*' "$NINC" models
check "an unknown pass" gives 2 '' '*nonsense*' "$NINC" --emit=ir --dump=nonsense "$model"
check "an unknown pass to leave out" gives 2 '' '*nonsense*' "$NINC" --check \
    --disable-pass=nonsense "$model"
check "a pass that is needed" gives 2 '' '*memory*' "$NINC" --check --disable-pass=memory "$model"
check "nothing to put into --dump-dir" gives 2 '' '*--dump*' "$NINC" --dump-dir="$work/d" "$model"
check "an unknown key to set" gives 1 '' '*epoch*' "$NINC" --check --set=train.epoch=1 "$model"
check "--set" gives 0 '*epochs=7*' '' "$NINC" --emit=ir --set=train.epochs=7 "$model"
check "--batch" gives 0 '*batch=5*' '' "$NINC" --emit=ir --batch=5 "$model"

standard_input() {
    "$NINC" --emit=c "$model" >"$work/file.c" && "$NINC" --emit=c - <"$model" >"$work/stdin.c" &&
        diff <(sed "s|loc [^ ]*||" "$work/file.c") <(sed "s|loc [^ ]*||" "$work/stdin.c")
}
check "a model from standard input" standard_input

emit_to_file() {
    "$NINC" --emit=ir -o "$work/emitted.ir" "$model" >"$work/out" && [ ! -s "$work/out" ] &&
        "$NINC" --emit=ir "$model" | cmp - "$work/emitted.ir"
}
check "--emit to a file" emit_to_file

artefacts() {
    mkdir -p "$work/kept" && echo mine >"$work/kept/notes.txt" &&
        "$NINC" -q -o "$work/kept" "$model" && ls "$work/kept" >"$work/listing" &&
        [ "$(<"$work/kept/notes.txt")" = mine ] || return 1
    diff "$work/listing" - <<END
flatten_sgd.c
flatten_sgd.cu
flatten_sgd.ir
notes.txt
plan.c
trainer
END
}
check "artefacts, and no other file is touched" artefacts

moved() {
    cp "$work/kept/trainer" "$work/elsewhere" && rm -r "$work/kept" && "$work/elsewhere" info
}
check "the trainer runs alone, elsewhere" moved

nothing_left() {
    [ ! -e "$work/none" ] && [ -z "$(ls -A "$work/half" 2>/dev/null)" ]
}

no_compiler() {
    gives 1 '*' '*nonexistent*' env CC=/nonexistent/cc "$NINC" -q -o "$work/none" "$model" &&
        nothing_left
}
check "no C compiler: a clear error, nothing left" no_compiler

no_parent() {
    gives 1 '*' '*make it first*' "$NINC" -q -o "$work/none/kernels" "$model" && nothing_left
}
check "an output directory without its parent: what to do" no_parent

# told_once CC TEXT: a fault of every compile is told once, in few lines.
told_once() {
    gives 1 '' '*' env CC="$1" "$NINC" -q -o "$work/none" "$model" && nothing_left &&
        [ "$(grep -c "$2" "$work/err")" -eq 1 ] && [ "$(wc -l <"$work/err")" -lt 25 ]
}
check "no C compiler: told once" told_once /nonexistent/cc 'ninc: error: cannot run'
check "a C compiler that fails: told once" told_once false 'ninc: error: .*failed on'
check "no headers: told once, in few lines" told_once \
    "${CC:-gcc} -nostdinc" 'ninc: error: .*failed on'
printf '#!/bin/sh\necho "/usr/bin/ld: cannot find -lpng16: No such file" >&2\nexit 1\n' >"$work/ld"
chmod +x "$work/ld"
check "a library that is missing: its package" told_once "$work/ld" 'install: libpng-dev'

broken_compiler() {
    mkdir -p "$work/half" && gives 1 '*' '*' env CC=false "$NINC" -q -o "$work/half" "$model" &&
        nothing_left
}
check "a C compiler that fails: nothing left" broken_compiler

# A compiler that says that it has started to do $1, takes long, and then works.
slow_compiler() {
    cat >"$work/slow" <<END
#!/bin/sh
case " \$* " in *" $1 "*) >"$work/started" && sleep 1 ;; esac
case " \$* " in *" -c "*) >"$work/compiled" ;; esac
exec cc "\$@"
END
    chmod +x "$work/slow"
}

# stopped DIRECTORY WORD: a compile into it that is told to stop while its compiler does WORD leaves
# what was there.
stopped() {
    local child status
    slow_compiler "$2"
    rm -f "$work/started" "$work/compiled" # what the last of several compilers left
    ls -A "$1" >"$work/before" 2>/dev/null
    CC=$work/slow "$NINC" -q -o "$1" "$model" 2>"$work/err" </dev/null &
    child=$!
    until [ -e "$work/started" ] || ! kill -0 $child; do
        sleep 0.05
    done
    kill -TERM $child
    wait $child
    status=$?
    ls -A "$1" 2>/dev/null | cmp - "$work/before" && [ $status -eq 1 ] &&
        grep -q SIGTERM "$work/err" && [ -z "$(find "$work" -name '*tmp-*')" ]
}
check "stopped by a signal: nothing left" stopped "$work/absent" -c
check "stopped before it compiles: nothing is compiled" stopped "$work/absent" --version
check "and nothing was" [ ! -e "$work/compiled" ]
mkdir "$work/present" && echo mine >"$work/present/notes.txt"
check "stopped by a signal: the directory as it was" stopped "$work/present" -c

artefact_is_directory() {
    mkdir -p "$work/taken/trainer/mine"
    gives 1 '' '*taken/trainer*' "$NINC" -q -o "$work/taken" "$model" &&
        [ "$(ls -A "$work/taken")" = trainer ]
}
check "a directory in the place of an artefact" artefact_is_directory

odd_directories() {
    local binary directory
    binary=$(realpath "$NINC")
    for directory in $'two words, a"b\'c\\d\n$(touch owned)`touch owned`;touch owned&#*=%s' -x; do
        (cd "$work" && "$binary" -q -O0 -o "$directory" "$OLDPWD/$model" </dev/null) || return 1
        "$work/$directory/trainer" info >/dev/null || return 1
    done
}
check "output directories with odd names" odd_directories

compiler_words() {
    printf '#!/bin/sh\nexec cc "$@"\n' >"$work/a c'c" && chmod +x "$work/a c'c" || return 1
    CC="$work/a c'c" "$NINC" -q -O0 --target=cpu --cpu-levels="$(best_levels)" -o "$work/words" \
        "$model" &&
        CC="\"$work/a c'c\" -DA='b c' -D\"E=f g\" -DH=\\'i $(printf -- '-DW%s ' {1..200})" \
            "$NINC" -q -O0 --target=cpu --cpu-levels="$(best_levels)" -o "$work/words" "$model"
}
check "CC of any number of words" compiler_words

no_shell() {
    gives 1 '' '*' env CC="false; touch $work/owned #" "$NINC" -q -o "$work/none" "$model" &&
        gives 1 '' '*quote is not closed*' env CC="cc '-O1" "$NINC" -q -o "$work/none" "$model" &&
        [ "$(grep -c . "$work/err")" -eq 1 ] && [ -z "$(find "$work" -name owned)" ] && nothing_left
}
check "CC is no text for a shell" no_shell

file_limit() {
    mkdir "$work/limit"
    (ulimit -f 100 && gives 1 '' '*too large*' "$NINC" -q -o "$work/limit/k" "$model") &&
        [ -z "$(ls -A "$work/limit")" ]
}
check "a limit of file sizes: nothing left" file_limit

reader_left() {
    "$NINC" --emit=c models/nin.yaml 2>"$work/err" | head -n 1 >"$work/out"
    [ "${PIPESTATUS[0]}" -eq 1 ] && grep -q 'Broken pipe' "$work/err"
}
check "a reader that leaves" reader_left

other_disk() {
    "$NINC" -q -o "$work/mount" "$model" && "$work/mount/trainer" info
}
mkdir "$work/mount"
if mount -t tmpfs -o size=64m tmpfs "$work/mount" 2>/dev/null; then
    check "an output directory that is another disk" other_disk
    umount "$work/mount"
else
    skip "an output directory that is another disk" "mounting is not allowed here"
fi

output_is_file() {
    echo x >"$work/afile"
    gives 1 '*' '*afile*' "$NINC" -q -o "$work/afile" "$model" && [ "$(<"$work/afile")" = x ]
}
check "an output directory that is a file" output_is_file
check "a full disk" gives 1 '*' '*/dev/full*' "$NINC" --emit=ir -o /dev/full "$model"

installed() {
    make -s install PREFIX="$work/usr" >/dev/null && "$work/usr/bin/ninc" --check \
        "$work/usr/share/ninc/models/nin.yaml" && make -s uninstall PREFIX="$work/usr" &&
        [ -z "$(find "$work/usr" -type f)" ]
}
if [ "$BUILD" = build ]; then
    check "make install and uninstall" installed
fi
finish
