# The processor's time of a shell, for the tests: sourced.
# shellcheck shell=bash

# processor_ms FILE: the milliseconds of this shell and of what it waited for, in $spent. FILE gets
# what `times` says, which a shell of its own could not ask.
processor_ms() {
    local word seconds
    spent=0
    times >"$1"
    # shellcheck disable=SC2013 # words such as 1m2.345s
    for word in $(<"$1"); do
        seconds=${word#*m}
        seconds=${seconds%s}
        spent=$((spent + 60000 * ${word%m*} + 10#${seconds/[.,]/}))
    done
}
