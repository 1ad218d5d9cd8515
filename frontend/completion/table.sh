#!/bin/sh
# Prints what completions are made from, read from what ninc and a trainer (of any model) say
# themselves: a line for each option and, without an option, for each command,
#
#   PROGRAM|COMMAND|OPTION|KIND|WORDS|TEXT
#
# COMMAND is empty for ninc. KIND is what the option or the command takes: none, text, file,
# directory, word (one of WORDS) or list (several of WORDS, with commas between).
set -eu
ninc=$1 trainer=$2

# OPTION|VALUE|TEXT of each option in a --help; `-o, --output=DIR` gives two, without a TEXT where
# the line has none. TEXT ends at the first colon, semicolon or line break that follows one.
options() {
    awk '
    function flush(    count, name, value, i) {
        if (left == "") return
        count = split(left, name, /, /)
        value = name[count]
        if (!sub(/^[^=]*=/, "", value)) value = ""
        sub(/[:;].*/, "", text)
        for (i = 1; i <= count; i++) {
            sub(/=.*/, "", name[i])
            print name[i] "|" value "|" text
        }
        left = ""
    }
    /^ +-/ {
        flush()
        left = $0
        sub(/^ +/, "", left)
        text = left
        sub(/  .*/, "", left)
        text = substr(text, length(left) + 1)
        sub(/^ +/, "", text)
        next
    }
    /^               / && left != "" { sub(/^ +/, ""); text = text " " $0; next }
    { flush() }
    END { flush() }'
}

# The words that a program names when it is given a wrong one: `must be a, b or c, not` or
# `: a, b or c is needed`.
words() {
    "$@" 2>&1 </dev/null | sed -n -e 's/.* must be \(.*\), not .*/\1/p' \
        -e 's/.*: \(.*\) is needed.*/\1/p' | sed -e 's/,//g' -e 's/ or / /' -e 's/ cuda:N//'
}

# What --dump or --disable-pass takes.
passes() {
    "$ninc" --list-passes | case $1 in
    --dump) awk '{ printf "%s ", $1 } END { print "all" }' ;;
    *) awk '$2 == "optional" { print $1 }' | paste -sd ' ' - ;;
    esac
}

# KIND|WORDS of an option's value, from the value's name.
kind() {
    option=$1 value=$2
    shift 2
    case $value in
    '') echo 'none|' ;;
    DIR) echo 'directory|' ;;
    FILE*) echo 'file|' ;;
    PASS*) echo "list|$(passes "$option")" ;;
    KIND | TARGET | TYPE | WHEN | DEVICE) echo "word|$(words "$@" "$option=?")" ;;
    *) echo 'text|' ;;
    esac
}

# table PROGRAM COMMAND HELP: rows of the options in HELP, of the program that $@ then starts.
table() {
    program=$1 command=$2 help=$3
    shift 3
    echo "$help" | options | while IFS='|' read -r name takes text; do
        echo "$program|$command|$name|$(kind "$name" "$takes" "$@")|$text"
    done
}

table ninc '' "$("$ninc" --help)" "$ninc"
"$trainer" --help | sed -n 's/^  \([a-z][a-z]*\)  *\([^ ].*\)/\1|\2/p' | grep -v '^trainer|' |
    while IFS='|' read -r command what; do
        help=$("$trainer" "$command" --help)
        case $help in
        "usage: trainer $command [options] "*) echo "trainer|$command||file||$what" ;;
        *) echo "trainer|$command||none||$what" ;;
        esac
        table trainer "$command" "$help" "$trainer" "$command"
    done
