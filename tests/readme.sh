#!/bin/bash
# The commands that stand in our Markdown files, and what they print: `tests/readme.sh` runs them
# and writes their output anew; `--quick` leaves those that are slow; `--check` runs those that are
# quick and compares. A block between marks,
#
#     <!-- run -->        its `$ ` commands run one after the other, in a directory that all
#     <!-- end -->        blocks of a file share, with ./ninc and models in it; numbers of seconds
#                         are not compared
#
# may say `slow` (it takes long or depends on the machine) and `lines=A+B`
# (the first A and the last B lines of each output). `<!-- do: COMMAND -->` and `<!-- do slow:
# ... -->` run what readers need not see; `<!-- print: COMMAND -->` gives Markdown instead of a
# block. Arguments: files; without any, all that we have.
set -u
cd "$(dirname "$0")/.." || exit 1
here=$PWD NINC=${NINC:-./ninc}
check='' slow=1
case ${1:-} in
--check) check=1 slow=''; shift ;;
--quick) slow=''; shift ;;
esac
# What is printed must not depend on who asks.
export OMP_NUM_THREADS=2 COLUMNS=100 LC_ALL=C.UTF-8 NO_COLOR=1
unset NINC_CPU_LEVEL CC
work=$(mktemp -d "${TMPDIR:-/tmp}/ninc-readme-XXXXXX")
trap 'rm -rf "$work"' EXIT

# Runs a command as readers would; indented, as code.
output_of() {
    [[ $1 != export\ * ]] || printf '%s\n' "$1" >>"$work/exports"
    (cd "$work/run" && bash -c ". '$work/exports'; $1" 2>&1 </dev/null) |
        sed 's/^/    /; s/[[:space:]]*$//'
}

# elide A+B: the first A and the last B lines, with a line of dots between where some are left out.
elide() {
    awk -v first="${1%+*}" -v last="${1#*+}" '
        { line[NR] = $0 }
        END {
            for (i = 1; i <= NR; i++)
                if (i <= first || i > NR - last) print line[i]
                else if (i == first + 1) print "    ..."
        }'
}

# block MARK: the block that begins on stdin, its commands followed by what they print.
block() {
    local line command lines
    lines=$(sed -n 's/.*lines=\([0-9]*+[0-9]*\).*/\1/p' <<<"$1")
    while IFS= read -r line && [ "$line" != '<!-- end -->' ]; do
        case $line in
        '    $ '*)
            printf '%s\n' "$line"
            command=${line#'    $ '}
            while [[ $command == *[\\\|] ]] && IFS= read -r line; do
                printf '%s\n' "$line"
                command=$command$'\n'$line
            done
            output_of "$command" | elide "${lines:-10000+0}"
            ;;
        esac
    done
    echo '<!-- end -->'
}

as_it_is() {
    local line
    while IFS= read -r line; do
        printf '%s\n' "$line"
        [ "$line" != '<!-- end -->' ] || return 0
    done
}

skip_old() {
    local line
    while IFS= read -r line && [ "$line" != '<!-- end -->' ]; do :; done
}

# rewrite FILE: all of it, anew, on stdout.
rewrite() {
    local line
    rm -rf "$work/run"
    : >"$work/exports" # what a file's commands exported holds for those after them
    mkdir "$work/run"
    ln -s "$(realpath "$NINC")" "$work/run/ninc"
    ln -s "$here"/*/ "$work/run"
    while IFS= read -r line; do
        printf '%s\n' "$line"
        case $line in
        '<!-- do slow: '*) [ -z "$slow" ] || hidden "${line#'<!-- do slow: '}" ;;
        '<!-- do: '*) hidden "${line#'<!-- do: '}" ;;
        '<!-- run slow'*) if [ -n "$slow" ]; then block "$line"; else as_it_is; fi ;;
        '<!-- run'*) block "$line" ;;
        '<!-- print: '*)
            skip_old
            line=${line#'<!-- print: '}
            output_of "${line%' -->'}" | sed 's/^    //'
            echo '<!-- end -->'
            ;;
        esac
    done <"$1"
}

hidden() {
    (cd "$work/run" && bash -c "${1% -->}" >/dev/null </dev/null)
}

# Seconds and speeds are of the day.
timeless() {
    sed -E 's/[0-9]+\.[0-9]+ (s|images\/s)\>/N \1/g' "$1"
}

stale=0
[ $# -gt 0 ] || set -- README.md CONTRIBUTING.md ./*/README.md
for file in "$@"; do
    grep -qs '^<!-- \(run\|print\|do\)' "$file" || continue
    rewrite "$file" >"$work/new"
    if [ -z "$check" ]; then
        cmp -s "$work/new" "$file" || cp "$work/new" "$file"
    elif ! diff <(timeless "$file") <(timeless "$work/new"); then
        echo "$file is stale: make readme writes it anew" >&2
        stale=1
    fi
done
exit $stale
