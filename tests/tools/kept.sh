# What suites compile themselves, kept in $BUILD/kept from one run to the next, as ninc keeps the
# objects of kernels: sourced in the repository's root.
# shellcheck shell=bash

# kept_path NAME: where the file of that name is, or is to be.
kept_path() {
    local directory=${BUILD:-build}/kept
    [ -d "$directory" ] || mkdir -p "$directory"
    echo "$directory/$1"
}

# keep FILE PATH: in one piece; what no run has asked for in a week goes.
keep() {
    find "${2%/*}" -mtime +7 -delete
    cp "$1" "$2.$$" && mv "$2.$$" "$2"
}

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
    kept=$(kept_path "${kept%% *}.o")
    if [ ! -e "$kept" ]; then
        "$@" -c -o "$out" && keep "$out" "$kept"
    else
        touch "$kept" && cp "$kept" "$out"
    fi
}

# kept_silence COMPILER WORD... SOURCE: whether `COMPILER WORD... -fsyntax-only` says nothing of the
# text, which reads nothing but the system's headers and the simulator's; where it did not before, it
# is not asked again.
kept_silence() {
    local kept said
    kept=$({ "$1" --version && echo "${@:1:$#-1}" && cat "${@: -1}" runtime/sim/sim.h; } | md5sum)
    kept=$(kept_path "${kept%% *}.silent")
    if [ -e "$kept" ]; then
        touch "$kept"
        return
    fi
    said=$("$@" -fsyntax-only 2>&1) && [ -z "$said" ] || { head -n 5 <<<"$said"; return 1; }
    keep /dev/null "$kept"
}
