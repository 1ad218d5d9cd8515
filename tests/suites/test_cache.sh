#!/bin/bash
# Objects of the CPU's kernels that were compiled before: what is taken, what is compiled anew, and
# how much is kept.
. tests/lib.sh

level=$(machine_levels)
level=${level##*,}
model=tests/models/pytorch/flatten_adam.yaml
export NINC_CACHE_DIR=$work/cache

# A compiler that counts what it compiles, and remembers it on its own.
cat >"$work/cc" <<END
#!/bin/bash
[[ " \$* " != *" -c "* ]] || echo >>"$work/calls"
exec tests/tools/kept_cc $PWD/tests/tools/light_cc "\$@"
END
chmod +x "$work/cc"

# compiles COUNT OPTION...: so many runs of the compiler, with these flags behind its name.
flags=
compiles() {
    local count=$1
    shift
    rm -rf "$work/kernels" "$work/calls"
    : >"$work/calls"
    CC="$work/cc$flags" "$NINC" -q -O0 --target=cpu --cpu-levels="$level" "$@" \
        -o "$work/kernels" $model || return 1
    echo "$(wc -l <"$work/calls") runs of the compiler"
    [ "$(wc -l <"$work/calls")" -eq "$count" ]
}

same_trainer() {
    cmp "$work/kernels/trainer" "$work/trainer"
}

check "the first time all is compiled" compiles 2
cp "$work/kernels/trainer" "$work/trainer"
check "the second time nothing" compiles 0
check "the same trainer" same_trainer
check "another batch is another text" compiles 2 --batch=3
check "the plan of another rate" compiles 1 --set optimizer.adam.lr=0.5

all_entries() {
    find "$NINC_CACHE_DIR" -name 'object-*'
}
truncated() {
    local entry
    for entry in $(all_entries); do truncate -s -1 "$entry"; done
    compiles 2 && same_trainer && compiles 0
}
check "entries that were cut are compiled anew" truncated
damaged() {
    local entry
    for entry in $(all_entries); do
        printf '\377' | dd of="$entry" bs=1 seek=200 conv=notrunc status=none
    done
    compiles 2 && same_trainer
}
check "entries with another byte are compiled anew" damaged
touched() {
    touch -d '2001-01-01' "$work/cc"
    compiles 2 && same_trainer
}
check "another compiler compiles anew" touched
led_elsewhere() {
    CPATH=$work compiles 2
}
check "other headers compile anew" led_elsewhere
open_to_all() {
    chmod 777 "$NINC_CACHE_DIR"
    compiles 2 && same_trainer
    local result=$?
    chmod 700 "$NINC_CACHE_DIR"
    return $result
}
check "a cache that others can write is not used" open_to_all
no_directory() {
    NINC_CACHE_DIR=$work/cc/cache compiles 2 2>"$work/said" && same_trainer && [ ! -s "$work/said" ]
}
check "no cache, and no word of it" no_directory

# What a flag reads, and the processor that it asks, are not in an entry's name.
# kept_with KEPT FLAG: how many of the two objects are kept.
kept_with() {
    local before after result
    before=$(all_entries | wc -l)
    flags=" $2"
    compiles 2
    result=$?
    flags=
    after=$(all_entries | wc -l)
    return $((result || after - before != $1))
}
echo '#pragma GCC optimize("O1")' >"$work/first.h"
check "a flag that says all itself" kept_with 2 -pipe
check "a flag that names a file" kept_with 0 "-include $work/first.h"
check "a flag that names a file for the preprocessor" kept_with 0 "-Wp,-include,$work/first.h"
check "a flag that asks the processor" kept_with 0 -mtune=native

# Writers at once, each with objects of its own and some of all.
at_once() {
    rm -rf "$NINC_CACHE_DIR"
    local i pids=()
    for i in 1 2 3 4; do
        CC=$work/cc "$NINC" -q -O0 --target=cpu --cpu-levels="$level" --set train.epochs=$i \
            -o "$work/kernels$i" $model &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i" || return 1; done
    [ -z "$(find "$NINC_CACHE_DIR" -name '*partial*')" ] && [ "$(all_entries | wc -l)" -eq 5 ]
}
check "several at once" at_once

# The oldest go first; what is not an entry stays.
bounded() {
    local kept=$NINC_CACHE_DIR/notes-of-mine.txt name i
    local picture=$NINC_CACHE_DIR/thumbnail-0123456789abcdef0123456789abcdef.png
    head -c 900000 /dev/zero >"$kept"
    cp "$kept" "$picture"
    for i in 1 2 3; do
        name=$NINC_CACHE_DIR/object-0000000000000000000000000000000$i
        head -c 900000 /dev/zero >"$name"
        touch -d "2001-01-0$i" "$name"
    done
    touch -d 2001-01-01 "$NINC_CACHE_DIR/object-0123456789abcdef0123456789abcdef.partial-AbCdEf"
    NINC_CACHE_MB=1 compiles 2 --batch=5 || return 1
    find "$NINC_CACHE_DIR" -type f -printf '%s %f\n'
    [ -e "$kept" ] && [ -e "$picture" ] &&
        [ -z "$(find "$NINC_CACHE_DIR" -name '*000[12]' -o -name '*partial*')" ] &&
        all_entries | xargs stat -c %s | awk '{ sum += $1 } END { exit sum > 1048576 }' &&
        NINC_CACHE_MB=1 compiles 0 --batch=5
}
check "a bound on what is kept" bounded
finish
