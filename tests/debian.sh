#!/bin/bash
# Installs the package in a fresh Debian and uses it there as an ordinary user: the man pages are
# there, ninc compiles, the trainer trains; removed, it leaves nothing. Then the sources are built
# by that release's own compiler, without a warning, and some suites run. Takes minutes and 2 GB of
# $TMPDIR. Needs root, mmdebstrap and Debian's archive; else SKIP.
# Arguments: the package, the release's name (bookworm, trixie ...).
cd "$(dirname "$0")/.." || exit 1
deb=$1 release=$2

leave() {
    echo "SKIP: $1"
    exit 0
}
[ "$(id -u)" -eq 0 ] || leave "a fresh Debian is made by root"
command -v mmdebstrap >/dev/null || leave "there is no mmdebstrap"
root=$(mktemp -d "${TMPDIR:-/tmp}/ninc-debian-XXXXXX")
cp "$deb" "$root.deb"
git archive -o "$root.tar" HEAD
trap 'rm -rf "$root" "$root.deb" "$root.tar" "$root.log"' EXIT

# What runs inside; dpkg is told to leave nothing out, as minimal installations do with man pages.
cat >"$root.sh" <<'END'
set -eux
apt-get update -q
apt-get install -y -q --no-install-recommends dataset-fashion-mnist /tmp/ninc.deb
for page in man1/ninc.1 man1/ninc-trainer.1 man5/ninc-model.5; do
    test -s /usr/share/man/$page.gz
done
useradd -m somebody
su somebody -c 'cd && set -eux &&
    ninc --version &&
    ninc /usr/share/ninc/models/nin_fashion.yaml &&
    nin_fashion_kernels/trainer train --max-steps 100 --log-every 50 --no-eval --save m.safetensors &&
    nin_fashion_kernels/trainer eval --weights m.safetensors'
apt-get purge -y -q ninc
test ! -e /usr/bin/ninc && test ! -e /usr/share/ninc
mkdir /root/ninc && cd /root/ninc && tar xf /tmp/ninc.tar
apt-get install -y -q --no-install-recommends make procps
make deps
make tests 2>&1 | tee /root/build.log
test -x ninc && ! grep -E 'warning|error:' /root/build.log
tests/run.sh golden roundtrip test_options test_cache test_ir test_eval test_runtime test_data
END
mv "$root.sh" "$root/run.sh"
mmdebstrap -q --variant=minbase --dpkgopt='path-include=/usr/share/man/*' \
    --customize-hook="copy-in $root/run.sh /root" \
        --customize-hook="upload $root.deb /tmp/ninc.deb" \
    --customize-hook="upload $root.tar /tmp/ninc.tar" \
    --customize-hook='chroot "$1" sh /root/run.sh' "$release" /dev/null >"$root.log" 2>&1
status=$?
grep -v '^\(Selecting\|Preparing\|Unpacking\|Setting\|Get:\)' "$root.log" | tail -n 60
grep -q '^+ apt-get update' "$root.log" || leave "mmdebstrap could not make one"
if [ $status -eq 0 ]; then
    echo "the package works in a fresh Debian ($release), and the sources build there"
else
    echo "FAILED: exit status $status"
    exit 1
fi
