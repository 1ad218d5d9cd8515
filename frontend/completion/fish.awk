# From the table of table.sh to the completion of one program, -v program=ninc or trainer, for fish.

BEGIN {
    FS = "|"
    print "# Completion of " program " for fish; made from its --help."
    if (program == "ninc")
        print "complete -c ninc -k -x -a \047(__fish_complete_suffix .yaml)\047"
    else
        print "complete -c trainer -f"
}

function quoted(text) {
    gsub(/\047/, "\\\047", text)
    return "\047" text "\047"
}

# What fish shall complete for a value.
function values(kind, words) {
    if (kind == "none") return ""
    if (kind == "word") return " -x -a " quoted(words)
    if (kind == "list") return " -x -a " quoted("(__fish_append , " words ")")
    if (kind == "directory") return " -x -a \047(__fish_complete_directories)\047"
    if (kind == "file") return " -r -F"
    return " -x"
}

$1 != program { next }

$3 == "" {
    print "complete -c trainer -n __fish_use_subcommand -a " $2 " -d " quoted($6)
    if ($4 != "none")
        print "complete -c trainer -n \047__fish_seen_subcommand_from " $2 "\047 -F"
    next
}

{
    line = "complete -c " program
    if ($2 != "") line = line " -n \047__fish_seen_subcommand_from " $2 "\047"
    name = $3
    if (sub(/^--/, "", name)) line = line " -l " name
    else line = line (length(name) > 2 ? " -o " : " -s ") substr(name, 2)
    print line values($4, $5) " -d " quoted($6)
}

END {
    if (program == "trainer")
        print "complete -c trainer -n __fish_use_subcommand -l help -d \047list the commands\047\n" \
            "complete -c trainer -n __fish_use_subcommand -l version -d \047print the version\047"
}
