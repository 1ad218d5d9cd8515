#!/bin/bash
# The Debian package: what it holds, lintian's opinion, and that its ninc works where it is
# unpacked. That it installs in a fresh Debian: `make test-deb`.
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
model=$PWD/tests/models/pytorch/flatten_sgd.yaml

for program in dpkg-deb dpkg-shlibdeps; do
    if ! command -v $program >/dev/null; then
        skip "the package" "there is no $program"
        finish
        exit
    fi
done
if [ "$BUILD" != build ]; then
    skip "the package" "it is not made of a build with sanitizers"
    finish
    exit
fi

check "make deb" make -s deb
version=$("$NINC" --version | sed 's/^ninc //')
deb=build/ninc_${version}_$(dpkg --print-architecture).deb
check "its version is ninc's" test "$(dpkg-deb -f "$deb" Version)" = "$version"
tree=$work/tree
check "it unpacks" dpkg-deb -x "$deb" "$tree"

depends() {
    local package
    for package in libc6 gcc libjansson-dev zlib1g-dev libminizip-dev libpng-dev libjpeg-dev \
        libwebp-dev libgif-dev libarchive-dev nettle-dev liblzma-dev libzstd-dev libbz2-dev \
        libprotobuf-c-dev; do
        dpkg-deb -f "$deb" Depends | grep -q "\b$package\b" || { echo "no $package"; return 1; }
    done
    dpkg-deb -f "$deb" Recommends | grep -q dataset-fashion-mnist
}
check "it depends on what trainers are linked with" depends

sums() (
    dpkg-deb -e "$deb" "$work/control" && cd "$tree" && md5sum -c --quiet "$work/control/md5sums" &&
        [ "$(find . -type f | wc -l)" -eq "$(wc -l <"$work/control/md5sums")" ]
)
check "md5sums of every file" sums
pages() {
    local page
    for page in man1/ninc.1 man1/ninc-trainer.1 man5/ninc-model.5; do
        gzip -dc "$tree/usr/share/man/$page.gz" | grep -q '^\.Dt NINC' || return 1
    done
    gzip -t "$tree/usr/share/doc/ninc/changelog.gz" && [ -s "$tree/usr/share/doc/ninc/copyright" ]
}
check "man pages, changelog and copyright" pages

works() (
    mkdir "$work/elsewhere" && cd "$work/elsewhere" &&
        env -i PATH="$PATH" "$tree/usr/bin/ninc" -q -O0 --target=cpu "$model" -o kernels &&
        kernels/trainer train --data random --max-steps 3 --no-eval >"$work/log" &&
        grep -q '^done: 3 steps' "$work/log"
)
check "its ninc compiles, and the trainer trains" works
check_with lintian "lintian finds no error" lintian --allow-root --fail-on error "$deb"
finish
