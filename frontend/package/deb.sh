#!/bin/sh
# Makes $BUILD/ninc_VERSION_ARCHITECTURE.deb of what `make install` installs. Arguments: the
# version. $BUILD is the build directory, $MAKE the make to install with; $DEBFULLNAME and $DEBEMAIL
# say who maintains the package.
set -eu
cd "$(dirname "$0")/../.."
version=$1
build=${BUILD:-build} here=frontend/package
for program in dpkg-deb dpkg-shlibdeps strip; do
    command -v $program >/dev/null || {
        echo "deb: there is no $program; install dpkg-dev and binutils" >&2
        exit 1
    }
done
maintainer="${DEBFULLNAME:-The ninc authors} <${DEBEMAIL:-ninc@ninc.invalid}>"
architecture=$(dpkg --print-architecture)
tree=$build/deb/tree
doc=$tree/usr/share/doc/ninc
# A package of the same sources is the same, byte by byte.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
umask 022

rm -rf "$build/deb"
mkdir -p "$tree/DEBIAN" "$doc" "$build/deb/debian"
${MAKE:-make} -s install BUILD="$build" DESTDIR="$tree" PREFIX=/usr \
    ZSHDIR=/usr/share/zsh/vendor-completions
strip "$tree/usr/bin/ninc"
gzip -9n "$tree"/usr/share/man/man?/*

cp $here/copyright "$doc"
date=$(date -u -R -d "@$SOURCE_DATE_EPOCH")
printf '%s\n' "ninc ($version) unstable; urgency=medium" '' \
    '  * Built from its source tree.' '' " -- $maintainer  $date" |
    gzip -9n >"$doc/changelog.gz"
install -D -m 644 $here/lintian-overrides "$tree/usr/share/lintian/overrides/ninc"

# dpkg-shlibdeps wants to stand beside a debian/control.
printf 'Source: ninc\n\nPackage: ninc\nArchitecture: any\n' >"$build/deb/debian/control"
binary=$(readlink -f "$tree/usr/bin/ninc")
libraries=$(cd "$build/deb" && dpkg-shlibdeps -O "$binary" | sed -n 's/^shlibs:Depends=//p')
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" \
    -e "s/@SHLIBS@/$libraries/" -e "s/@MAINTAINER@/$maintainer/" \
    -e "s/@SIZE@/$(du -sk --exclude=DEBIAN "$tree" | cut -f1)/" \
    $here/control >"$tree/DEBIAN/control"
(cd "$tree" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
chmod 644 "$tree"/DEBIAN/*

dpkg-deb --root-owner-group --build "$tree" "$build/ninc_${version}_$architecture.deb" >/dev/null
echo "$build/ninc_${version}_$architecture.deb"
