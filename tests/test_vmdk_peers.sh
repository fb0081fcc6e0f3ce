#!/usr/bin/env bash
# test_vmdk_peers.sh BUILD_DIR WORK_DIR - VMDK images by qemu-img and qemu-io, by hand, and by other
# people's tools, against what qemu-img, libvmdk (vmdkmount, or img_cat) and 7-Zip make of them.
#
#   variants   subformats and options of qemu-img, sizes that fit no grain
#   patterns   random writes and zeros by qemu-io; a model of a few lines decides
#   chains     deltas, shorter, longer, in chains; a wrong and a missing parent
#   fixtures   the hand-made images of make_vmdk: no peer that reads one may see other bytes
#   policy     what an image may not open, shown by strace
#   samples    ../shared/samples: images by other people's tools

. "$(dirname "$0")/cli.sh"
[ $# = 2 ] || usage "BUILD_DIR WORK_DIR"
build=$(cd "$1" && pwd) && check=$build/check_vmdk make=$build/make_vmdk || exit 2
need_programs "$check" "$make"
begin "$2/vmdk"

# ------------------------------------------------------------------------------- ours and theirs

# ours IMAGE OPTION...: the digest of the media as vmdk_read.h delivers it.
ours() {
    rm -f ours.raw
    timeout 120 "$check" "${@:2}" --out ours.raw "$1" > /dev/null 2> stderr && sum ours.raw
}

# by_qemu IMAGE: the same by qemu-img, which leaves the media in theirs.raw.
by_qemu() {
    rm -f theirs.raw
    timeout 60 qemu-img convert -t unsafe -f vmdk -O raw "$1" theirs.raw > /dev/null 2> stderr2 &&
        sum theirs.raw
}

# by_libvmdk IMAGE: by libvmdk in The Sleuth Kit, which is quick but leaves parents out; or mounted,
# the last layer.
libvmdk=
if have img_cat && img_cat -i list 2>&1 | grep -q vmdk; then libvmdk=img_cat; fi
if have vmdkmount && have fusermount && [ -c /dev/fuse ]; then libvmdk="$libvmdk vmdkmount"; fi
by_libvmdk() {
    local last found=
    case $libvmdk in
    img_cat*) timeout 60 img_cat -i vmdk "$1" > theirs.raw 2> stderr2 && sum theirs.raw && return ;;
    esac
    case $libvmdk in
    *vmdkmount) mkdir -p mounted && timeout 60 vmdkmount "$1" mounted > stderr2 2>&1 || return ;;
    *) return ;;
    esac
    last=$(cd mounted && echo vmdk* | tr ' ' '\n' | sort -V | tail -n 1)
    # a read that fails is no digest
    if cp "mounted/$last" theirs.raw 2>> stderr2; then found=$(sum theirs.raw); fi
    fusermount -u mounted 2>> stderr2
    echo "$found"
}

# by_7zip IMAGE
by_7zip() { timeout 60 7zz x -tVMDK -so "$1" 2> stderr2 > theirs.raw && sum theirs.raw; }

# compare_maps.py OURS THEIRS MEDIA KIND: the same kind for every byte, but for holes that the file
# system has in data. Neighbours of one kind may be one. Prints what differs.
cat > compare_maps.py << 'END'
import json, sys
ours = []
for line in open(sys.argv[1]):
    start, length, kind = line.split()
    ours.append((int(start), int(length), kind))
theirs = json.load(open(sys.argv[2]))
media = open(sys.argv[3], 'rb')

def zeros(start, length):
    media.seek(start)
    return not media.read(length).strip(b'\0')

i = j = at = 0
end = theirs[-1]['start'] + theirs[-1]['length'] if theirs else 0
if (ours[-1][0] + ours[-1][1] if ours else 0) != end:
    sys.exit('the maps end at different places')
for k in range(1, len(ours)):
    if ours[k][0] != ours[k - 1][0] + ours[k - 1][1]:
        sys.exit('our map has a gap or an overlap before %d' % ours[k][0])
while at < end:
    start, length, kind = ours[i]
    b = theirs[j]
    to = min(start + length, b['start'] + b['length'])
    data = kind in ('data', 'compressed')
    if data != b['data'] and not zeros(at, to - at):
        sys.exit('%d+%d: ours %s, theirs data %s' % (at, to - at, kind, b['data']))
    if data and not b['data'] and kind == 'compressed':
        sys.exit('%d+%d: compressed, theirs a hole' % (at, to - at))
    if not data and b['data'] and not b['zero'] and sys.argv[4] == 'sparse':
        sys.exit('%d+%d: ours %s, theirs data' % (at, to - at, kind))
    at = to
    i += start + length == to
    j += b['start'] + b['length'] == to
END

same_map() {
    [ -n "$python" ] || return 0 # said below
    timeout 120 "$check" --map "$1" > ours.map 2> why &&
        qemu-img map -f vmdk --output=json "$1" > theirs.map 2> why &&
        "$python" compare_maps.py ours.map theirs.map theirs.raw "$2" 2> why
}

# is_same NAME IMAGE [flat]: media by 1 and by 16 threads, and the map, as qemu-img has them.
is_same() {
    local name=$1 image=$2 want one many
    one=$(ours "$image" --threads 1) many=$(ours "$image" --threads 16)
    want=$(by_qemu "$image")
    if [ -z "$want" ]; then
        fail "$name" "qemu-img does not read it: $(head -n 1 stderr2)"
    elif [ "$one" != "$want" ] || [ "$many" != "$want" ]; then
        fail "$name" "SHA-256 '$one' and '$many', want '$want': $(head -n 1 stderr)"
    elif same_map "$image" "${3:-sparse}"; then pass "$name"
    else fail "$name" "$(head -n 1 why)"; fi
}

# agrees NAME IMAGE PEER: a peer reads it as we do.
agrees() {
    local want
    want=$("by_$3" "$2")
    if [ -n "$want" ] && [ "$(ours "$2")" = "$want" ]; then pass "$1"
    else fail "$1" "'$want' by $3: $(head -n 1 stderr2)"; fi
}

# ------------------------------------------------------------------------------- sources

# must COMMAND...: a set-up step that is expected to work.
must() {
    "$@" > must.log 2>&1 && return
    fail "$(echo "$@" | cut -c 1-80)" "$(tail -n 1 must.log)"
    return 1
}

# Nothing here has to survive a crash: no fsync.
io() { must qemu-io -t unsafe -f vmdk "$@"; }
convert() { must qemu-img convert -t unsafe "$@"; }

# source.raw: noise, text, zeros, holes; 3,361,792 bytes are no multiple of a grain.
make_source() {
    seq 1 900000 | gzip -n -1 | head -c 1200000 > source.raw
    seq -f 'line %.0f of a text that is compressed well' 1 20000 | head -c 700000 >> source.raw
    truncate -s 2500096 source.raw
    seq 1 90000 | gzip -n -1 | head -c 150000 >> source.raw
    truncate -s 3361792 source.raw
    source_sha256=$(sum source.raw)
}

# ------------------------------------------------------------------------------- variants

# written NAME OPTIONS [SOURCE]: converted with -o OPTIONS; then, where that can be, changed by
# qemu-io. The file keeps its name: libvmdk goes by that.
written() {
    local name=$1 options=$2 source=${3:-source.raw} kind=sparse
    rm -f v.vmdk v-*.vmdk
    convert -O vmdk -o "$options" "$source" v.vmdk || return
    case $options in *Flat*) kind=flat ;; esac
    is_same "$name" v.vmdk $kind
    if [ -n "$libvmdk" ]; then
        case $options in *zeroed_grain*) ;; *) agrees "$name, libvmdk" v.vmdk libvmdk ;; esac
    fi
    if have 7zz; then # not what qemu makes of streams
        case $options in *stream*) ;; *) agrees "$name, 7-Zip" v.vmdk 7zip ;; esac
    fi
    case $options in *stream*) return ;; esac
    io -c 'write -P 0x41 100k 3k' -c 'write -z 300k 200k' -c 'write -P 0x42 1234k 5k' \
        -c 'write -P 0 2200k 64k' -c 'write -P 0x43 3280k 512' v.vmdk &&
        is_same "$name, rewritten" v.vmdk $kind
}

test_variants() {
    local sub size
    for sub in monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat \
        streamOptimized; do
        written "$sub" "subformat=$sub"
        written "$sub, compat6" "subformat=$sub,compat6=on"
        written "$sub, lsilogic, hwversion 7" "subformat=$sub,adapter_type=lsilogic,hwversion=7"
    done
    for sub in monolithicSparse twoGbMaxExtentSparse streamOptimized; do
        written "$sub, zeroed grains" "subformat=$sub,zeroed_grain=on"
    done
    for size in 512 1024 65024 65536 66048 131072; do
        head -c $size source.raw > small.raw
        for sub in monolithicSparse monolithicFlat streamOptimized; do
            rm -f v.vmdk v-*.vmdk
            convert -O vmdk -o subformat=$sub small.raw v.vmdk &&
                is_same "$sub of $size bytes" v.vmdk flat
        done
    done
    for sub in monolithicSparse twoGbMaxExtentSparse monolithicFlat twoGbMaxExtentFlat; do
        rm -f v.vmdk v-*.vmdk
        must qemu-img create -q -f vmdk -o subformat=$sub v.vmdk 5G &&
            io -c 'write -P 1 2147450880 65536' -c 'write -P 2 4294934528 65536' \
                -c 'write -P 3 5368708608 512' v.vmdk &&
            is_same_large "$sub, 5 GiB" v.vmdk 5368709120
    done
    rm -f v.vmdk v-*.vmdk
    must qemu-img create -q -f vmdk v.vmdk 1T && io -c 'write -P 7 777G 70k' v.vmdk &&
        is_same_large "monolithicSparse, 1 TiB" v.vmdk $((1 << 40))
    rm -f v.vmdk v-*.vmdk
    # an image that was renamed, as libvmdk does not read it
    convert -O vmdk source.raw v.vmdk && mv v.vmdk renamed.vmdk &&
        is_same "renamed" renamed.vmdk
    rm -f renamed.vmdk
}

# is_same_large NAME IMAGE SIZE: too much to convert: the map, and the data that it knows.
is_same_large() {
    : > theirs.raw
    truncate -s "$3" theirs.raw
    if [ -z "$python" ]; then skip "$1" "no python3"
    elif same_map "$2" sparse && grep -q -E ' (data|compressed)$' ours.map; then pass "$1"
    else fail "$1" "$(head -n 1 why)"; fi
}

# ------------------------------------------------------------------------------- patterns

# patterns.py SEED SIZE GRAIN: commands for qemu-io; and what comes of them, in model.raw.
cat > patterns.py << 'END'
import random, sys
r = random.Random(int(sys.argv[1]))
size, grain = int(sys.argv[2]), int(sys.argv[3])
model = bytearray(open('model.raw', 'rb').read())
for i in range(40):
    n = r.choice((512, 4096, grain, grain * 2, r.randrange(1, 300) * 512))
    at = r.randrange(0, size - n) // 512 * 512
    if r.random() < .5:
        at = at // grain * grain
    if r.random() < .7:
        p = r.randrange(1, 256)
        print('write -P %d %d %d' % (p, at, n))
        model[at:at + n] = bytes([p]) * n
    else:
        print('write -z %d %d' % (at, n))
        model[at:at + n] = bytes(n)
print('flush')
open('model.raw', 'wb').write(model)
END

# An image that qemu-io writes at random; states on the way are compared.
test_patterns() {
    local options seed=0
    [ -n "$python" ] || { skip "patterns" "no python3"; return; }
    for options in subformat=monolithicSparse subformat=monolithicSparse,zeroed_grain=on \
        subformat=twoGbMaxExtentSparse subformat=twoGbMaxExtentFlat; do
        rm -f p.vmdk p-*.vmdk
        must qemu-img create -q -f vmdk -o "$options" p.vmdk 3000320 || continue
        head -c 3000320 /dev/zero > model.raw
        while [ $((seed += 1)) != 0 ]; do
            "$python" patterns.py $seed 3000320 65536 > commands
            io p.vmdk < commands || break
            if [ "$(ours p.vmdk)" != "$(sum model.raw)" ]; then
                fail "patterns $seed, $options" "other media than the model: $(head -n 1 stderr)"
            else
                is_same "patterns $seed, $options" p.vmdk flat
            fi
            [ $((seed % 3)) = 0 ] && break
        done
    done
    rm -f p.vmdk p-*.vmdk model.raw
}

# ------------------------------------------------------------------------------- chains

# delta NAME BASE [OPTION...]
delta() { must qemu-img create -q -f vmdk -b "$2" -F vmdk "${@:3}" "$1"; }

test_chains() {
    local sub i before=base.vmdk
    rm -f base.vmdk d*.vmdk
    for sub in monolithicSparse streamOptimized twoGbMaxExtentFlat monolithicFlat; do
        rm -f base*.vmdk d.vmdk
        convert -O vmdk -o subformat=$sub source.raw base.vmdk && delta d.vmdk base.vmdk &&
            io -c 'write -P 1 10k 5k' -c 'write -P 2 2000k 300k' d.vmdk &&
            is_same "a delta on $sub" d.vmdk
        delta d.vmdk base.vmdk -o zeroed_grain=on &&
            io -c 'write -P 1 10k 5k' -c 'write -z 1M 512k' d.vmdk &&
            is_same "a delta with zeroed grains on $sub" d.vmdk
    done
    rm -f base*.vmdk
    convert -O vmdk source.raw base.vmdk || return
    for i in $(seq 1 12); do
        delta d$i.vmdk $before && io -c "write -P $i $((i * 200))k 130k" d$i.vmdk || return
        before=d$i.vmdk
    done
    is_same "a chain of 13" d12.vmdk
    if [ "${libvmdk#* }" = vmdkmount ]; then agrees "a chain of 13, libvmdk" d12.vmdk libvmdk; fi
    # the parent changes its content ID when it is written
    io -c 'write -P 9 0 512' d11.vmdk
    if "$check" --info d12.vmdk 2> stderr | grep -q '^mismatch 1' &&
        "$check" --info d12.vmdk | grep -q '^warning .*content ID'; then
        pass "a parent that was written to is taken, with a warning"
    else
        fail "a parent that was written to is taken, with a warning" "$(head -n 1 stderr)"
    fi
    rm -f d7.vmdk
    if [ -z "$(ours d12.vmdk)" ] && grep -q 'MISSING.*d7.vmdk' stderr; then pass "a link is missing"
    else fail "a link is missing" "$(head -n 1 stderr)"; fi
    rm -f base*.vmdk d*.vmdk
}

# ------------------------------------------------------------------------------- fixtures

# differs PEER VARIANT: a peer that is known to be wrong there, of images without damage.
differs() {
    case $1/$2 in
    # drops extents that it does not know, ZERO and RDONLY among them; takes the first of several
    qemu/dialect-* | qemu/header-only* | qemu/hybrid | qemu/text-* | qemu/line-*) return 0 ;;
    # no fallback to the redundant directory: beyond the end of the file it reads zeros
    qemu/rgd-* | qemu/stream-footer-lost-gd) return 0 ;;
    # a compressed grain that it does not know to be one
    qemu/algorithm-0) return 0 ;;
    # knows no layer alone
    qemu/delta-alone | qemu/hint-absent-alone) return 0 ;;
    # sector 1 for a zeroed grain; no offsets of flat extents
    libvmdk/*zeroed* | libvmdk/sparse-v2 | libvmdk/flat-offset | libvmdk/split-flat*) return 0 ;;
    libvmdk/delta* | libvmdk/hint-* | libvmdk/parent-*) return 0 ;; # zeroed grains again
    # a line that is longer than the header
    libvmdk/disagree-*) return 0 ;;
    # the first extent only
    7zip/hybrid | 7zip/line-* | 7zip/text-*) return 0 ;;
    esac
    return 1
}

# What make_vmdk builds: ours is right in all that is whole, and so is each peer that reads it.
test_fixtures() {
    local variant open want found peer by count_qemu=0 count_libvmdk=0 count_7zip=0
    mkdir -p fixtures
    "$make" --list | tail -n +2 | grep -v -e '\[huge' -e '^flood' > variants
    while read -r variant open _; do
        [ "$open" = OK ] || continue
        "$make" --map "$variant" > map
        if grep -q -v ' reads ' map; then continue; fi # some of it is damaged
        must "$make" "$variant" fixtures || continue
        case $(grep "^$variant " variants) in
        *'[layer alone]'*) found=$(ours "fixtures/$variant/image.vmdk" --alone) ;;
        *'[journal left alone]'*) continue ;;
        *) found=$(ours "fixtures/$variant/image.vmdk") ;;
        esac
        want=$(sum "fixtures/$variant/media.raw") by=
        if [ "$found" != "$want" ]; then
            fail "fixture $variant" "'$found', want '$want': $(head -n 1 stderr)"
            continue
        fi
        for peer in $peers; do
            if differs "$peer" "$variant"; then continue; fi
            found=$("by_$peer" "fixtures/$variant/image.vmdk")
            [ -n "$found" ] || continue # it does not know this kind
            if [ "$found" = "$want" ]; then
                by="$by $peer" && eval "count_$peer=\$((count_$peer + 1))"
            else
                fail "fixture $variant" "$peer reads other bytes"
            fi
        done
        pass "fixture $variant${by:+, as}$by"
        rm -rf "fixtures/$variant"
    done < variants
    # so few that none has gone missing without a word
    enough qemu $count_qemu 120
    enough libvmdk $count_libvmdk 75
    enough 7zip $count_7zip 80
    rm -rf fixtures
}

# enough PEER COUNT WANTED
enough() {
    case " $peers " in *" $1 "*) ;; *) return ;; esac
    if [ "$2" -ge "$3" ]; then pass "$1 reads $2 of the fixtures as they were made"
    else fail "$1 reads only $2 of the fixtures" "want $3"; fi
}

# ------------------------------------------------------------------------------- policy

# opened FILE: what a trace says was opened, but for libraries and what the system tells of itself.
opened() {
    sed -n 's/.*open[a-z0-9]*([^"]*"\([^"]*\)".*= [0-9].*/\1/p' "$1" |
        grep -v -E '^(/lib|/usr/lib|/etc/ld\.so|/proc/|/sys/|/usr/share/locale|/dev/null)'
}

# touches FILE WORD: is a name with this word an argument of any call?
touches() { sed -n 's/^[^"]*"\([^"]*\)".*/\1/p' "$1" | grep -q -- "$2"; }

# refused NAME IMAGE: it opens nothing but itself; the error says why. A parent may be sought by its
# base name beside the image; nothing else is so much as looked at.
refused() {
    local got
    if ! have strace; then
        if [ -z "$(ours "jail/$2")" ] && grep -q POLICY stderr; then pass "$1"
        else fail "$1" "$(head -n 1 stderr)"; fi
        return
    fi
    (cd jail && strace -f -s 300 -e trace=%file -o ../trace "$check" --out ../ours.raw "$2" \
        > /dev/null 2> ../stderr)
    got=$(opened trace | grep -v -x "$2" | grep -v -x -E '\.|link|root' | head -n 1)
    if ! grep -q "$2" trace; then fail "strace: $1" "no trace"
    elif [ -n "$got" ]; then fail "strace: $1" "$got was opened"
    elif touches trace '/.*passwd' || touches trace '/.*outside' || { [ "${1% *}" = extent ] &&
        { touches trace passwd || touches trace outside; }; }; then
        fail "strace: $1" "$(grep -E 'passwd|outside' trace | head -n 1)"
    elif grep -q -E 'POLICY|MISSING|UNSUPPORTED' stderr; then pass "strace: $1"
    else fail "strace: $1" "$(head -n 1 stderr)"; fi
}

test_policy() {
    local name
    mkdir -p jail/sub && echo outside > outside.raw && truncate -s 1M outside.raw || return
    ln -sf ../outside.raw jail/link && ln -sf / jail/root
    for name in /etc/passwd ../outside.raw sub/../../outside.raw link root/etc/passwd \
        file:///etc/passwd /dev/sda /dev/zero 'C:\windows\win.ini' '\\.\PhysicalDrive0' \
        http://127.0.0.1/x; do
        printf '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=%s\n' ffffffff \
            > jail/i.vmdk
        printf 'createType="monolithicFlat"\nRW 1 FLAT "%s" 0\n' "$name" >> jail/i.vmdk
        refused "extent $name" i.vmdk
        printf '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=11111111\n' \
            > jail/i.vmdk
        printf 'parentFileNameHint="%s"\ncreateType="monolithicFlat"\nRW 1 ZERO\n' "$name" \
            >> jail/i.vmdk
        refused "parent $name" i.vmdk
    done
    have strace || skip "strace" "no strace: refusals were seen, opened files were not"
    printf '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n%s\n' \
        'RW 2048 FLAT "../outside.raw" 0' > jail/i.vmdk
    if [ "$(ours jail/i.vmdk --outside)" = "$(sum outside.raw)" ]; then pass "it can be allowed"
    else fail "it can be allowed" "$(head -n 1 stderr)"; fi
    rm -rf jail outside.raw trace
}

# ------------------------------------------------------------------------------- samples

test_samples() {
    local images=$root/../shared/samples/images path size sha256 found
    if [ ! -f "$images/MANIFEST.tsv" ]; then
        skip "samples" "no ../shared/samples"
        return
    fi
    while IFS=$'\t' read -r path _ _ size _ sha256 _; do
        case $path in vmdk/*) ;; *) continue ;; esac
        if [ ! -f "$images/$path" ]; then
            skip "sample $path" "not there"
            continue
        fi
        if [ "$size" -gt 2000000000 ]; then # 16 GiB, sparse: too many to write
            found=$(large_digest "$images/$path")
        else
            found=$(ours "$images/$path")
        fi
        if [ "$found" = "$sha256" ]; then pass "sample $path"
        else fail "sample $path" "SHA-256 '$found', want $sha256, $size bytes"; fi
    done < "$images/MANIFEST.tsv"
}

# large_digest IMAGE: through a pipe.
large_digest() {
    mkfifo large.pipe || return
    sha256sum < large.pipe | cut -d ' ' -f 1 &
    timeout 300 "$check" --threads 2 --out large.pipe "$1" > /dev/null 2> stderr
    wait
    rm -f large.pipe
}

# ------------------------------------------------------------------------------- all

peers=
[ -n "$libvmdk" ] && peers="$peers libvmdk"
have 7zz && peers="$peers 7zip"
case $libvmdk in
'') skip "libvmdk" "neither vmdkmount (libvmdk-utils) nor img_cat (sleuthkit)" ;;
*vmdkmount*) ;;
*) skip "libvmdk, parents" "no vmdkmount (libvmdk-utils), img_cat instead" ;;
esac
have 7zz || skip "7-Zip" "no 7zz (7zip)"
if have qemu-img && have qemu-io; then
    peers="qemu$peers"
    [ -n "$python" ] || skip "maps" "no python3: media are compared, maps are not"
    make_source
    test_variants
    test_patterns
    test_chains
else
    skip "images by qemu-img" "no qemu-img, qemu-io (qemu-utils)"
fi
test_fixtures
test_policy
test_samples
finish
