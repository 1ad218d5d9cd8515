# Puts the table of table.sh, the first file, where ninc.bash, the second, has a line @TABLE@'.

BEGIN {
    FS = "|"
}

NR == FNR {
    rows[NR] = ($2 == "" ? "-" : $2) "|" $3 "|" $4 "|" $5
    next
}

/^@TABLE@/ {
    for (i = 1; i in rows; i++)
        print rows[i]
    sub(/@TABLE@/, "")
}

{ print }
