#!/bin/bash
# The Markdown files: commands print what they say, links lead somewhere, README is a first page.
# shellcheck source=tests/lib.sh
. tests/lib.sh

pages=(README.md CONTRIBUTING.md ./*/README.md)

if [ "$(uname -m)" != x86_64 ]; then
    skip "what is printed" "the documents show an x86-64"
else
    for page in "${pages[@]}"; do
        ! grep -q '^<!-- \(run\|print\)' "$page" || check "$page prints what it says" \
            tests/readme.sh --check "$page"
    done
fi

# A number that is off is seen, and names the file.
sees_stale() {
    sed 's/fashion-mnist image=28x28x1/fashion-mnist image=28x29x1/' ir/README.md >"$work/stale.md"
    ! cmp -s ir/README.md "$work/stale.md" && ! tests/readme.sh --check "$work/stale.md" \
        >"$work/said" 2>&1 && grep -q "stale.md is stale: make readme" "$work/said"
}
check "a stale number is found" sees_stale

# Marks come in pairs.
marked() {
    awk 'FNR == 1 && open { bad = 1 }
         /^<!-- (run|print|add)/ { if (open) bad = 1; open = 1 }
         /^<!-- end -->/ { if (!open) bad = 1; open = 0 }
         END { exit bad || open }' "${pages[@]}"
}
check "marks come in pairs" marked

# links PAGE: what is linked in our own tree is there.
links() {
    local link
    grep -o '](\([^)#]*\)[^)]*)' "$1" | sed 's/^](//; s/[)#].*//' | grep -v '^http' | sort -u |
        while read -r link; do
            [ -z "$link" ] || [ -e "$(dirname "$1")/$link" ] || { echo "$1: $link"; exit 1; }
        done
}
for page in "${pages[@]}"; do
    check "links of $page" links "$page"
done

check "README is a page of at most 150 lines" [ "$(wc -l <README.md)" -le 150 ]
if command -v python3 >/dev/null; then
    check "the picture shows what was measured" \
        cmp <(python3 bench/readme.py --picture) bench/speed.svg
else
    skip "the picture shows what was measured" "there is no python3"
fi
finish
