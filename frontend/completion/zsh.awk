# From the table of table.sh to the completion for zsh.

BEGIN {
    FS = "|"
    print "#compdef ninc trainer"
    print "# Completion of ninc and of its trainers for zsh; made from their --help."
}

# A text inside single quotes and square brackets.
function quoted(text) {
    gsub(/[\]\[:\\]/, "", text)
    gsub(/\047/, "\047\\\047\047", text)
    return text
}

# What _arguments shall complete for a value or an argument.
function action(kind, words) {
    if (kind == "word") return "value:(" words ")"
    if (kind == "list") return "value:_values -s , value " words
    if (kind == "directory") return "directory:_directories"
    if (kind == "file") return "file:_files"
    return "value:"
}

$3 == "" {
    names = names "        \047" $2 ":" quoted($6) "\047\n"
    if ($4 != "none") specs[$2] = " \\\n            \047*:" action($4, "") "\047"
    next
}

{
    spec = ($3 == "--set" ? "*" : "") $3
    if ($4 != "none") spec = spec ($3 ~ /^--/ ? "=" : "")
    spec = spec "[" quoted($6) "]"
    if ($4 != "none") spec = spec ":" action($4, $5)
    specs[$2] = specs[$2] " \\\n            \047" spec "\047"
    if (!seen[$2]++) order[++count] = $2
}

END {
    print "\n_ninc_trainer()\n{\n    local -a commands=(\n" names "    )"
    print "    if ((CURRENT == 2)); then"
    print "        _describe command commands -- \047(--help --version)\047"
    print "        return\n    fi"
    print "    shift words\n    ((CURRENT--))\n    case $words[1] in"
    for (i = 1; i <= count; i++)
        if (order[i] != "") print "    " order[i] ")\n        _arguments" specs[order[i]] "\n        ;;"
    print "    esac\n}\n"
    print "case ${service:t} in"
    print "trainer) _ninc_trainer ;;"
    print "*)\n    _arguments" specs[""] " \\"
    print "            \0471:model:_files -g \"*.(yaml|yml|ir)(-.)\"\047\n    ;;\nesac"
}
