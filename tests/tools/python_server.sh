# Python scripts in copies of one process that has imported PyTorch or its like, which takes
# seconds: sourced after lib.sh.
# shellcheck shell=bash

# python_server PYTHON MODULE...: starts the process. A copy has none of its threads: it has none.
python_server() {
    coproc SERVER {
        exec env OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 "$1" tests/tools/python_server.py \
            "${@:2}" 2>"$work/server"
    }
    exec 8>&"${SERVER[1]}" 9<&"${SERVER[0]}" {SERVER[1]}>&- {SERVER[0]}<&-
    trap '[ $BASHPID -ne $$ ] || { end_python_server; rm -rf "$work"; }' EXIT
}

# Waits for it, so that its time counts.
end_python_server() {
    kill "$SERVER_PID" && wait "$SERVER_PID"
} 2>/dev/null

# served SCRIPT ARGUMENT...: its output and status.
served() {
    local status
    rm -f "$work/served"
    printf '%q ' "$work/served" "$@" >&8
    echo >&8
    read -r status <&9 || { cat "$work/server"; return 1; }
    cat "$work/served"
    return "$status"
}
