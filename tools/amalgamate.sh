#!/bin/sh
# amalgamate.sh [FOLDER] - makes zstd.c and lz4.c, each one file, from the distribution's sources.
#
# For builds whose compiler has no libzstd or liblz4 of its own (cross compilers), and to have the
# decoder's inner functions in one translation unit. FOLDER (third_party) gets
#
#   zstd.c zstd.h zstd_errors.h      by zstd's own build/single_file_libs/combine.sh
#   lz4.c lz4.h lz4hc.c lz4hc.h      as they are
#   VERSIONS zstd.LICENSE lz4.LICENSE
#
# The sources are those of the running Debian release: source packages from the mirrors that apt is
# configured with, by a private list and private list files, so that nothing of the system changes.
# Nothing is done when all is there. Exit status 2: the mirrors have no source packages, or there is
# no network; the message says which.
set -eu
folder=${1:-third_party}
root=$(cd "$(dirname "$0")/.." && pwd)
case $folder in /*) ;; *) folder=$root/$folder ;; esac

give_up() {
    echo "amalgamate: $1" >&2
    exit 2
}

complete() {
    for f in zstd.c zstd.h zstd_errors.h lz4.c lz4.h lz4hc.c lz4hc.h VERSIONS; do
        [ -f "$folder/$f" ] || return 1
    done
}
if complete; then
    echo "amalgamate: $folder has $(tr '\n' ' ' < "$folder/VERSIONS")"
    exit 0
fi
for tool in apt-get tar xz; do
    command -v $tool > /dev/null 2>&1 || give_up "$tool is not installed; this needs Debian's"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$work/lists/partial" "$work/packages"

# The mirrors that are configured, in either format, as deb-src.
{
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2> /dev/null |
        awk '/^deb(-src)? / { sub(/^deb(-src)? /, ""); print "deb-src " $0 }'
    for f in /etc/apt/sources.list.d/*.sources; do
        [ ! -f "$f" ] || awk '
            function put(  i, k, o) {
                o = key != "" ? "[signed-by=" key "] " : ""
                if (on) for (i = 1; i <= nu; i++) for (k = 1; k <= ns; k++)
                    print "deb-src " o uri[i] " " suite[k] " " components
                nu = ns = 0; on = 1; key = components = ""
            }
            BEGIN { on = 1 }
            /^#/ { next }
            /^[ \t]*$/ { put(); next }
            { name = tolower($1); rest = $0; sub(/^[^:]*:[ \t]*/, "", rest) }
            name == "uris:" { nu = split(rest, uri) }
            name == "suites:" { ns = split(rest, suite) }
            name == "components:" { components = rest }
            name == "signed-by:" { key = rest }
            name == "enabled:" && rest == "no" { on = 0 }
            END { put() }' "$f"
    done
} | grep -i debian | sort -u > "$work/sources.list"
[ -s "$work/sources.list" ] || give_up "apt has no Debian mirror configured"

apt() {
    apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$work/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o APT::Sandbox::User=root -o APT::Get::List-Cleanup=0 "$@"
}
apt update > "$work/log" 2>&1 || { cat "$work/log" >&2; give_up "apt-get update failed"; }
ls "$work/lists" | grep -q Sources || {
    cat "$work/log" >&2
    give_up "the mirrors have no source packages (deb-src)"
}

# fetch PACKAGE: its newest original sources, unpacked into $work/PACKAGE.
fetch() {
    (cd "$work/packages" && apt source --download-only --only-source "$1" > "$work/log" 2>&1) || {
        cat "$work/log" >&2
        give_up "cannot download the source package of $1"
    }
    mkdir -p "$work/$1"
    for f in "$work/packages/$1"_*.orig.tar.[bgx]z*; do
        case $f in *.asc) continue ;; esac
        tar -xf "$f" -C "$work/$1" --strip-components=1
        version=${f##*/"$1"_} version=${version%%.orig.tar.*}
    done
    echo "$1 $version" >> "$work/VERSIONS"
}
fetch libzstd
fetch lz4

combine=$work/libzstd/build/single_file_libs
[ -f "$combine/combine.sh" ] || give_up "zstd's build/single_file_libs/combine.sh is not in there"
# The same as its create_single_file_library.sh, which would also build and run a test.
(cd "$combine" && sh ./combine.sh -r ../../lib -x legacy/zstd_legacy.h -o "$work/zstd.c" \
    zstd-in.c > "$work/log" 2>&1) || { cat "$work/log" >&2; give_up "combine.sh failed"; }
[ "$(wc -l < "$work/zstd.c")" -gt 20000 ] || give_up "combine.sh made too little"

mkdir -p "$folder"
cp "$work/zstd.c" "$work/libzstd/lib/zstd.h" "$work/libzstd/lib/zstd_errors.h" "$folder"
cp "$work/lz4/lib/lz4.c" "$work/lz4/lib/lz4.h" "$work/lz4/lib/lz4hc.c" "$work/lz4/lib/lz4hc.h" \
    "$folder"
cp "$work/libzstd/LICENSE" "$folder/zstd.LICENSE"
cp "$work/lz4/lib/LICENSE" "$folder/lz4.LICENSE"
cp "$work/VERSIONS" "$folder/VERSIONS"
echo "amalgamate: $folder has $(tr '\n' ' ' < "$folder/VERSIONS")"
