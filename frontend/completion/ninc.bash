# Completion of ninc and of its trainers for bash. `make` puts the table in.
# shellcheck shell=bash

# COMMAND|OPTION|KIND|WORDS, the command of ninc being "-"; see table.sh.
_ninc_table='
@TABLE@'

# _ninc_value KIND WORDS CURRENT PREFIX: the values of an option or an argument, each after PREFIX.
_ninc_value()
{
    local kind=$1 words=$2 current=$3 prefix=$4 file
    case $kind in
    list)
        [[ $current != *,* ]] || prefix+=${current%,*},
        mapfile -t COMPREPLY < <(compgen -P "$prefix" -W "$words" -- "${current##*,}")
        ;;
    word) mapfile -t COMPREPLY < <(compgen -P "$prefix" -W "$words" -- "$current") ;;
    directory) mapfile -t COMPREPLY < <(compgen -P "$prefix" -d -- "$current") ;;
    file) mapfile -t COMPREPLY < <(compgen -P "$prefix" -f -- "$current") ;;
    model)
        while read -r file; do
            [[ -d $file || $file == *.@(yaml|yml|ir) ]] && COMPREPLY+=("$file")
        done < <(compgen -f -- "$current")
        ;;
    esac
    case $kind in
    directory | file | model) compopt -o filenames 2>/dev/null ;;
    esac
}

# _ninc_complete COMMAND ARGUMENTS: an option of COMMAND, its value, or an argument of the kind
# ARGUMENTS.
_ninc_complete()
{
    local current=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD - 1]} prefix=
    local command name kind words names=()
    # Where '=' breaks words, --option=value comes in three.
    if [[ $current == = ]]; then
        current=
    elif [[ $option == = ]]; then
        option=${COMP_WORDS[COMP_CWORD - 2]}
    elif [[ $current == --*=* ]]; then
        option=${current%%=*} prefix=$option= current=${current#*=}
    fi
    while IFS='|' read -r command name kind words; do
        [[ $command == "$1" && -n $name ]] || continue
        if [[ $name == "$option" && $kind != none ]]; then
            _ninc_value "$kind" "$words" "$current" "$prefix"
            return
        fi
        [[ $kind == none || $name != --* ]] || name+==
        names+=("$name")
    done <<<"$_ninc_table"
    if [[ $current != -* ]]; then
        _ninc_value "$2" "" "$current" ""
        return
    fi
    mapfile -t COMPREPLY < <(compgen -W "${names[*]}" -- "$current")
    [[ ${#COMPREPLY[@]} -ne 1 || ${COMPREPLY[0]} != *= ]] || compopt -o nospace 2>/dev/null
}

_ninc()
{
    COMPREPLY=()
    _ninc_complete - model
}

_ninc_trainer()
{
    local command name kind words names=(--help --version) arguments=none
    COMPREPLY=()
    while IFS='|' read -r command name kind words; do
        [[ -n $command && $command != - && -z $name ]] || continue
        names+=("$command")
        [[ $command != "${COMP_WORDS[1]}" ]] || arguments=$kind
    done <<<"$_ninc_table"
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "${names[*]}" -- "${COMP_WORDS[1]}")
    else
        _ninc_complete "${COMP_WORDS[1]}" "$arguments"
    fi
}

# bash takes the last part of a path, as in nin_kernels/trainer.
complete -F _ninc ninc
complete -F _ninc_trainer trainer
