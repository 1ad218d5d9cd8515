# Objects of what suites compile themselves, kept in $BUILD/kept from one run to the next, as ninc
# keeps those of kernels: sourced after lib.sh.
# shellcheck shell=bash

# kept_object OUT COMPILER WORD... SOURCE: the object OUT of the source, compiled by `COMPILER WORD...
# -c`, unless what the preprocessor made of it was before, with these words. The name of $work, which
# is another each time, does not count.
kept_object() {
    local out=$1 kept
    shift
    kept=$("$@" -E -P) && kept=$({
        "$1" --version
        echo "${*//"$work"/}"
        echo "${kept//"$work"/}"
    } | md5sum) || return 1
    kept=$BUILD/kept/${kept%% *}.o
    if [ ! -e "$kept" ]; then
        mkdir -p "$BUILD/kept" && find "$BUILD/kept" -mtime +7 -delete &&
            "$@" -c -o "$kept.$$" && mv "$kept.$$" "$kept" || return 1
    fi
    touch "$kept" && cp "$kept" "$out"
}
