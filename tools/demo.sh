#!/bin/sh
# demo.sh BUILD - makes a small but real E01 by the field's own tools, and verifies it with ours:
# mkntfs and ntfscp make an NTFS volume with files, ewfacquire images it as EnCase 6 would.
# It is made in BUILD/demo.tmp, which becomes BUILD/demo when it is complete.
set -e
build=$1
dir=$build/demo
PATH=$PATH:/sbin:/usr/sbin
for tool in mkntfs ntfscp ewfacquire; do
    command -v $tool >/dev/null 2>&1 || {
        echo "demo: $tool is missing; run \"make setup\" first" >&2
        exit 2
    }
done
if [ ! -f "$dir/evidence.E01" ]; then
    new=$dir.tmp
    trap 'rm -rf "$new"' EXIT
    trap 'exit 130' HUP INT TERM
    echo "Making a 384 MiB disk with an NTFS volume and an EnCase image of it in $dir ..."
    rm -rf "$new"
    mkdir -p "$new"
    truncate -s 384M "$new/disk.raw"
    mkntfs -q -F -Q -L EVIDENCE -p 0 -H 255 -S 63 "$new/disk.raw" >/dev/null 2>&1
    i=0
    for f in README.md Makefile *.h $(find /usr/bin /usr/lib -maxdepth 1 -type f -size +200k | head -n 60); do
        i=$((i + 1))
        ntfscp -q -f "$new/disk.raw" "$f" "$i-$(basename "$f")" >/dev/null 2>&1 || true
    done
    ewfacquire -u -q -f encase6 -c fast -b 64 -S 134217728 -d sha1 -C 2026-001 -E 1 \
        -D "NTFS volume, 384 MiB" -e "A. Examiner" -N "made by make demo" -m fixed -M physical \
        -t "$new/evidence" "$new/disk.raw" >/dev/null
    rm -f "$new/disk.raw"
    rm -rf "$dir"
    mv "$new" "$dir"
    trap - EXIT HUP INT TERM
fi
ls -l "$dir"
echo
echo "\$ $build/verify $dir/evidence.E01"
"$build/verify" "$dir/evidence.E01"
