#!/usr/bin/env bash
# test_qcow2_peers.sh BUILD_DIR WORK_DIR - QCOW2 images by qemu-img and qemu-io, against what these
# say of them: media (convert), allocation (map), structure (check).
#
#   variants   cluster sizes, versions, compression, extended L2, refcount widths, data files, ...
#   patterns   random writes, zeros and discards by qemu-io; a model of a few lines decides
#   chains     backing files, shorter, longer, in chains of 30; internal snapshots
#   refusals   encryption by name; what an image may not open, shown by strace
#   damage     entries and counts changed by a few bytes; both checks must see it
#   samples    ../shared/samples: images by other people's tools

. "$(dirname "$0")/cli.sh"
[ $# = 2 ] || usage "BUILD_DIR WORK_DIR"
build=$(cd "$1" && pwd) && export=$build/export check=$build/check_qcow2 || exit 2
need_programs "$export" "$check"
begin "$2/qcow2"

# ------------------------------------------------------------------------------- ours and theirs

# ours IMAGE OPTION...: the digest of the media as export computes it.
ours() {
    timeout 120 "$export" --json --quiet --digest sha256 "${@:2}" "$1" 2> stderr |
        sed -n 's/.*"sha256":{"computed":"\([0-9a-f]*\)".*/\1/p'
}

# theirs IMAGE OPTION...: the same by qemu-img, which leaves the media in theirs.raw.
theirs() {
    rm -f theirs.raw
    qemu-img convert -t unsafe -O raw "${@:2}" "$1" theirs.raw > /dev/null 2> stderr2 &&
        sum theirs.raw
}

# compare_maps.py OURS THEIRS MEDIA IMAGE: the same kind for every byte, but for holes that the file
# system has in data clusters, where the media has zeros. We call whole clusters (subclusters) so;
# qemu-img looks in preallocated images only, and there it goes by pages. Prints what differs.
cat > compare_maps.py << 'END'
import json, sys
ours = json.load(open(sys.argv[1]))['map']
theirs = json.load(open(sys.argv[2]))
media = open(sys.argv[3], 'rb')
header = open(sys.argv[4], 'rb').read(80)
unit = 1 << header[23] # extended L2: of a subcluster
if header[7] > 2 and header[79] & 16:
    unit >>= 5

def zeros(start, length):
    media.seek(start)
    return not media.read(length).strip(b'\0')

i = j = at = 0
end = theirs[-1]['start'] + theirs[-1]['length'] if theirs else 0
if (ours[-1]['start'] + ours[-1]['length'] if ours else 0) != end:
    sys.exit('the maps end at different places')
for k in range(1, len(ours)):
    if ours[k]['start'] != ours[k - 1]['start'] + ours[k - 1]['length']:
        sys.exit('our map has a gap or an overlap before %d' % ours[k]['start'])
    if ours[k]['kind'] == ours[k - 1]['kind']:
        sys.exit('our map has two entries of one kind at %d' % ours[k]['start'])
while at < end:
    a, b = ours[i], theirs[j]
    to = min(a['start'] + a['length'], b['start'] + b['length'])
    same = a['data'] == b['data'] and a['zero'] == b['zero']
    hole = a['kind'] == 'hole' and b['data'] and zeros(at, to - at)
    whole = (at + unit - 1) // unit * unit + unit <= to
    page = a['kind'] == 'data' and b['data'] and b['zero'] and not whole and zeros(at, to - at)
    if not same and not hole and not page:
        sys.exit('%d+%d: ours %s, theirs data %s zero %s' %
                 (at, to - at, a['kind'], b['data'], b['zero']))
    at = to
    i += a['start'] + a['length'] == to
    j += b['start'] + b['length'] == to
END

# is_same NAME IMAGE OPTION...: media with 1 and 16 threads, the map, the structure. Options are
# those of export.
is_same() {
    local name=$1 image=$2 want one many
    shift 2
    want=$(theirs "$image")
    one=$(ours "$image" --threads 1 "$@") many=$(ours "$image" --threads 16 "$@")
    if [ -z "$want" ]; then
        fail "$name" "qemu-img does not read it: $(head -n 1 stderr2)"
    elif [ "$one" != "$want" ] || [ "$many" != "$want" ]; then
        fail "$name" "SHA-256 '$one' and '$many', want '$want': $(head -n 1 stderr)"
    elif same_map "$image" "$@" && same_structure "$image"; then
        pass "$name"
    else
        fail "$name" "$(head -n 1 why)"
    fi
}

same_map() {
    [ -n "$python" ] || return 0 # said below
    timeout 120 "$export" --map --json --quiet "${@:2}" "$1" > ours.map 2> why &&
        qemu-img map --output=json "$1" > theirs.map 2> why &&
        "$python" compare_maps.py ours.map theirs.map theirs.raw "$1" 2> why
}

# number FILE NAME: a number in the JSON of qemu-img check; 0 when it is not there.
number() { sed -n "s/.*\"$2\": \([0-9]*\).*/\1/p" "$1" | grep . || echo 0; }

# same_structure IMAGE: as many leaks, and corruptions or none. Leaves both reports.
same_structure() {
    local line
    qemu-img check --output=json "$1" > theirs.check 2> /dev/null
    line=$("$check" "$1" 2> why) || return 1
    read -r _ corruptions _ leaks _ complete <<< "$line"
    local c l
    c=$(number theirs.check corruptions) l=$(number theirs.check leaks)
    echo "ours: $line; theirs: corruptions $c leaks $l" > why
    [ "$complete" = 1 ] && [ $((corruptions != 0)) = $((c != 0)) ] && [ "$leaks" = "$l" ]
}

# ------------------------------------------------------------------------------- sources

# Noise, text, zeros, holes; no multiple of any cluster size.
make_source() {
    seq 1 900000 | gzip -n -1 | head -c 1200000 > source.raw
    seq -f 'line %.0f of a text that is compressed well' 1 20000 | head -c 700000 >> source.raw
    truncate -s 2500096 source.raw
    seq 1 90000 | gzip -n -1 | head -c 150000 >> source.raw
    truncate -s 3211776 source.raw
    source_sha256=$(sum source.raw)
}

# must COMMAND...: a set-up step that is expected to work.
must() {
    "$@" > must.log 2>&1 && return
    fail "$(echo "$@" | cut -c 1-80)" "$(tail -n 1 must.log)"
    return 1
}

# Nothing here has to survive a crash: no fsync.
io() { must qemu-io -t unsafe "$@"; }
convert() { must qemu-img convert -t unsafe "$@"; }

# written NAME OPTIONS [CONVERT OPTION...]: the source, converted with -o OPTIONS; then changed by
# qemu-io, with zeros, discards and data in the middle of clusters, where it is no compressed image.
written() {
    local name=$1 options=$2
    shift 2
    rm -f v.qcow2 v.data
    convert -O qcow2 "$@" -o "$options" source.raw v.qcow2 || return
    if [ "$(theirs v.qcow2)" != "$source_sha256" ]; then fail "$name" "bad conversion"; return; fi
    is_same "$name" v.qcow2
    io -c 'write -P 0x41 100k 3k' -c 'write -z 300k 200k' -c 'write -P 0x42 1234k 5k' \
        -c 'discard 700k 300k' -c 'write -z -u 1500k 128k' -c 'write -P 0 2200k 64k' v.qcow2 &&
        is_same "$name, rewritten" v.qcow2
    rm -f v.qcow2 v.data
}

test_variants() {
    local size bits mode
    for size in 512 1k 2k 4k 8k 16k 32k 64k 128k 256k 512k 1M 2M; do
        written "compat 1.1, clusters of $size" "compat=1.1,cluster_size=$size"
        written "deflate, clusters of $size" "cluster_size=$size" -c
        written "zstd, clusters of $size" "cluster_size=$size,compression_type=zstd" -c
    done
    for size in 512 4k 64k 2M; do
        written "compat 0.10, clusters of $size" "compat=0.10,cluster_size=$size"
    done
    written "compat 0.10, deflate" "compat=0.10,cluster_size=4k" -c
    for size in 16k 32k 64k 128k 512k 2M; do
        written "extended L2, $size" "extended_l2=on,cluster_size=$size"
        written "extended L2, zstd, $size" \
            "extended_l2=on,cluster_size=$size,compression_type=zstd" -c
    done
    for bits in 1 2 4 8 16 32 64; do
        written "refcounts of $bits bits" "refcount_bits=$bits,cluster_size=4k"
    done
    written "lazy refcounts" "lazy_refcounts=on"
    for mode in metadata falloc full; do
        written "preallocation $mode" "preallocation=$mode"
        written "preallocation $mode, 512" "preallocation=$mode,cluster_size=512"
    done
    written "extended L2, preallocation metadata" "extended_l2=on,preallocation=metadata"
    for size in 512 64k 2M; do
        written "data file, clusters of $size" "data_file=v.data,cluster_size=$size"
        written "raw data file, clusters of $size" \
            "data_file=v.data,data_file_raw=on,cluster_size=$size"
    done
    written "data file, extended L2" "data_file=v.data,extended_l2=on"
    written "raw data file, preallocation" \
        "data_file=v.data,data_file_raw=on,preallocation=metadata"
    for size in 0 512 1G 4T; do
        must qemu-img create -q -f qcow2 v.qcow2 $size || continue
        if [ $size = 4T ]; then continue; fi
        is_same "an empty image of $size" v.qcow2
    done
    io -c 'write -P 7 3T 70k' v.qcow2 && same_map_of_large v.qcow2
    rm -f v.qcow2
}

# 4 TiB are too many to convert: the map, and a range.
same_map_of_large() {
    : > theirs.raw
    local want found
    want=$(head -c 71680 /dev/zero | tr '\0' '\7' | sha256sum | cut -d ' ' -f 1)
    found=$(ours "$1" --range 3T:71680)
    if [ "$found" = "$want" ] && same_map "$1" && same_structure "$1"; then pass "4 TiB, sparse"
    else fail "4 TiB, sparse" "'$found', $(head -n 1 why)"; fi
}

# ------------------------------------------------------------------------------- patterns

# patterns.py SEED SIZE CLUSTER: commands for qemu-io; and what comes of them, in model.raw.
cat > patterns.py << 'END'
import random, sys
r = random.Random(int(sys.argv[1]))
size, cluster = int(sys.argv[2]), int(sys.argv[3])
model = bytearray(open('model.raw', 'rb').read())
for i in range(60):
    kind = r.choice('wwwwzzud')
    n = r.choice((512, 4096, cluster, cluster * 3, r.randrange(1, 200) * 512))
    at = r.randrange(0, size - n) // 512 * 512
    if r.random() < .5:
        at = at // cluster * cluster
    if kind == 'w':
        p = r.randrange(1, 256)
        print('write -P %d %d %d' % (p, at, n))
        model[at:at + n] = bytes([p]) * n
    elif kind == 'd': # whole clusters read as zeros, others stay: both or none here
        at, n = at // cluster * cluster, cluster
        if at + n <= size:
            print('write -z -u %d %d' % (at, n))
            model[at:at + n] = bytes(n)
    else:
        print('write -z %s %d %d' % ('-u' if kind == 'u' else '', at, n))
        model[at:at + n] = bytes(n)
print('flush')
open('model.raw', 'wb').write(model)
END

# An image that qemu-io writes at random; every state on the way is compared.
test_patterns() {
    local options seed=0 cluster
    [ -n "$python" ] || { skip "patterns" "no python3"; return; }
    for options in cluster_size=512 cluster_size=4k cluster_size=64k extended_l2=on \
        extended_l2=on,cluster_size=16k data_file=p.data cluster_size=4k,lazy_refcounts=on; do
        rm -f p.qcow2 p.data
        must qemu-img create -q -f qcow2 -o "$options" p.qcow2 3000320 || continue
        head -c 3000320 /dev/zero > model.raw
        cluster=$(qemu-img info p.qcow2 | sed -n 's/cluster_size: //p')
        while [ $((seed += 1)) != 0 ]; do
            "$python" patterns.py $seed 3000320 "$cluster" > commands
            io p.qcow2 < commands || break
            if [ "$(ours p.qcow2)" != "$(sum model.raw)" ]; then
                fail "patterns $seed, $options" "other media than the model: $(head -n 1 stderr)"
            else
                is_same "patterns $seed, $options" p.qcow2
            fi
            [ $((seed % 3)) = 0 ] && break
        done
    done
    rm -f p.qcow2 p.data model.raw
}

# ------------------------------------------------------------------------------- chains

# overlay NAME FORMAT BASE [SIZE] [OPTION...]
overlay() { must qemu-img create -q -f qcow2 -b "$3" -F "$2" "${@:5}" "$1" ${4:+"$4"}; }

test_chains() {
    local i
    overlay o.qcow2 raw source.raw "" &&
        io -c 'write -P 1 10k 5k' -c 'write -z 2000k 300k' o.qcow2 &&
        is_same "on raw" o.qcow2
    overlay o.qcow2 raw source.raw 10M -o cluster_size=512 &&
        io -c 'write -P 1 9M 5k' -c 'write -z 100k 300k' o.qcow2 &&
        is_same "on raw, larger" o.qcow2
    overlay o.qcow2 raw source.raw 1000448 && io -c 'write -P 1 500k 5k' o.qcow2 &&
        is_same "on raw, smaller" o.qcow2
    convert -c -O qcow2 -o compression_type=zstd source.raw z.qcow2 &&
        overlay o.qcow2 qcow2 z.qcow2 5M -o extended_l2=on,cluster_size=128k &&
        io -c 'write -P 1 500k 5k' -c 'write -z 900k 12k' -c 'discard 1M 256k' o.qcow2 &&
        is_same "extended L2 on zstd" o.qcow2
    must qemu-img rebase -q -u -b source.raw -F raw o.qcow2 && is_same "rebased" o.qcow2
    overlay o.qcow2 raw source.raw "" -o data_file=o.data && # qemu-img does not copy here
        io -c 'write -P 1 500k 5k' o.qcow2 && is_same "a data file on raw" o.qcow2
    must qemu-img create -q -f qcow2 c0.qcow2 2M && io -c 'write -P 99 0 2M' c0.qcow2
    for i in $(seq 1 29); do
        overlay c$i.qcow2 qcow2 c$((i - 1)).qcow2 $((2097152 + i * 30720 - (i % 4) * 100864)) \
            -o cluster_size=$((512 << i % 8)) || return
        io -c "write -P $i $((i * 60))k 40k" -c "write -z $((i * 50))k 3k" c$i.qcow2
    done
    is_same "a chain of 30" c29.qcow2
    must cp c7.qcow2 c7.saved && must qemu-img create -q -f qcow2 -u -b gone.raw -F raw c7.qcow2 2M
    if [ -z "$(ours c29.qcow2)" ] && grep -q 'gone.raw' stderr; then pass "a link is missing"
    else fail "a link is missing" "$(head -n 1 stderr)"; fi
    rm -f c*.qcow2 c7.saved o.qcow2 o.data z.qcow2
}

# qemu-img gives a snapshot the size of the active disk; it was the smaller the older it is.
test_snapshots() {
    local n size=1048576
    must qemu-img create -q -f qcow2 s.qcow2 1M || return
    for n in one two three; do
        io -c "write -P ${#n} ${#n}00k 90k" -c "write -z $((${#n} * 70))k 64k" s.qcow2
        must qemu-img snapshot -c $n s.qcow2
        must qemu-img resize -q s.qcow2 +256k
    done
    io -c "write -P 9 0 900k" s.qcow2
    is_same "the active state above snapshots" s.qcow2
    for n in one two three; do
        theirs s.qcow2 -l "snapshot.name=$n" > sha256 && truncate -s $size theirs.raw
        if [ "$(ours s.qcow2 --snapshot $n)" = "$(sum theirs.raw)" ]; then
            pass "snapshot $n of $size bytes"
        else
            fail "snapshot $n of $size bytes" "other media: $(head -n 1 stderr)"
        fi
        size=$((size + 262144))
    done
    must qemu-img snapshot -d two s.qcow2 && is_same "a snapshot is deleted" s.qcow2
    rm -f s.qcow2
}

# ------------------------------------------------------------------------------- refusals

# refuses NAME IMAGE WORD: nothing is read, and the message has the word.
refuses() {
    if [ -z "$(ours "$2")" ] && grep -qi -- "$3" stderr; then pass "$1"
    else fail "$1" "$(head -n 1 stderr)"; fi
}

test_encryption() {
    local format
    for format in luks aes; do
        rm -f e.qcow2
        if qemu-img create -q -f qcow2 --object secret,id=s0,data=geheim \
            -o encrypt.format=$format,encrypt.key-secret=s0,encrypt.iter-time=10 e.qcow2 1M \
            > must.log 2>&1 || qemu-img create -q -f qcow2 --object secret,id=s0,data=geheim \
            -o encrypt.format=$format,encrypt.key-secret=s0 e.qcow2 1M > must.log 2>&1; then
            refuses "encrypted: $format" e.qcow2 "$format"
        else
            skip "encrypted: $format" "$(tail -n 1 must.log)"
        fi
    done
    rm -f e.qcow2
}

# opened FILE: what a trace says was opened, but for libraries and what the system tells of itself.
opened() {
    sed -n 's/.*open[a-z0-9]*([^"]*"\([^"]*\)".*= [0-9].*/\1/p' "$1" |
        grep -v -E '^(/lib|/usr/lib|/etc/ld\.so|/proc/|/sys/|/usr/share/locale|/dev/null)'
}

# touches FILE WORD: is a name with this word an argument of any call?
touches() { sed -n 's/^[^"]*"\([^"]*\)".*/\1/p' "$1" | grep -q -- "$2"; }

test_policy() {
    local name got
    mkdir -p jail/sub && echo outside > outside.raw && truncate -s 1M outside.raw || return
    ln -sf ../outside.raw jail/link && ln -sf / jail/root
    for name in /etc/passwd ../outside.raw sub/../../outside.raw link root/etc/passwd \
        file:../outside.raw file:/etc/passwd; do
        must qemu-img create -q -f qcow2 -u -b "$name" -F raw jail/i.qcow2 1M || continue
        if ! have strace; then
            refuses "$name" jail/i.qcow2 allow-outside
            continue
        fi
        (cd jail && strace -f -s 300 -e trace=%file -o ../trace "$export" --quiet --digest sha256 \
            i.qcow2 > /dev/null 2> ../stderr)
        got=$(opened trace | grep -v -x 'i.qcow2' | grep -v -x -E '\.|link|root' | head -n 1)
        if ! grep -q i.qcow2 trace; then fail "strace: $name" "no trace"
        elif [ -n "$got" ]; then fail "strace: $name" "$got was opened"
        elif touches trace passwd || touches trace outside; then
            fail "strace: $name" "$(grep -E 'passwd|outside' trace | head -n 1)"
        elif grep -q "allow-outside" stderr; then pass "strace: $name"
        else fail "strace: $name" "$(head -n 1 stderr)"; fi
    done
    have strace || skip "strace" "no strace: refusals were seen, opened files were not"
    for name in 'json:{"driver":"file","filename":"/etc/passwd"}' nbd://127.0.0.1:1/x \
        http://127.0.0.1/x; do
        must qemu-img create -q -f qcow2 -u -b "$name" -F raw jail/i.qcow2 1M &&
            refuses "$name" jail/i.qcow2 "${name%%:*}"
    done
    must qemu-img create -q -f qcow2 -u -b ../outside.raw -F raw jail/i.qcow2 1M &&
        if [ "$(ours jail/i.qcow2 --allow-outside)" = "$(sum outside.raw)" ]; then
            pass "--allow-outside allows it"
        else
            fail "--allow-outside allows it" "$(head -n 1 stderr)"
        fi
    rm -rf jail outside.raw trace
}

# ------------------------------------------------------------------------------- damage

# patch.py IMAGE WHAT: changes a few bytes of the structure.
cat > patch.py << 'END'
import struct, sys
f = open(sys.argv[1], 'r+b')
what = sys.argv[2]

def get(at, form='>Q'):
    f.seek(at)
    return struct.unpack(form, f.read(struct.calcsize(form)))[0]

def put(at, value, form='>Q'):
    f.seek(at)
    f.write(struct.pack(form, value))

bits = get(20, '>I')
cluster = 1 << bits
mask = 0x00fffffffffffe00
l1 = get(40)
f.seek(0, 2)
size = f.tell()
extended = get(4, '>I') > 2 and get(72) & 16
step = 16 if extended else 8
l2 = get(l1) & mask
entries = [l2 + i for i in range(0, cluster, step)]
data = [e for e in entries if get(e) & mask and not get(e) >> 62 & 1]
packed = [e for e in entries if get(e) >> 62 & 1]
table = get(48)
block = get(table) & ~511

def refcount(host, value): # of 16 bits
    put(block + (host >> bits) * 2, value, '>H')

if what == 'reserved': put(data[3], get(data[3]) | 2)
elif what == 'reserved-high': put(data[3], get(data[3]) | 1 << 57)
elif what == 'unaligned': put(data[3], get(data[3]) | 512)
elif what == 'beyond': put(data[3], (size + 64 * cluster) & ~(cluster - 1) | 1 << 63)
elif what == 'far': put(data[3], 1 << 50 | 1 << 63)
elif what == 'not-copied': put(data[3], get(data[3]) & ~(1 << 63))
elif what == 'twice': put(data[3], get(data[4]))
elif what == 'lost': put(data[3], 0)
elif what == 'refcount-0': refcount(get(data[3]) & mask, 0)
elif what == 'refcount-2': refcount(get(data[3]) & mask, 2)
elif what == 'refcount-l2': refcount(l2, 0)
elif what == 'refcount-header': refcount(0, 0)
elif what == 'leak':
    f.truncate((size + cluster - 1 & ~(cluster - 1)) + cluster)
    refcount(size + cluster - 1 & ~(cluster - 1), 1)
elif what == 'data-is-l2': put(data[3], l2 | 1 << 63)
elif what == 'data-is-l1': put(data[3], l1 | 1 << 63)
elif what == 'data-is-block': put(data[3], block | 1 << 63)
elif what == 'l2-is-l1': put(l1, l1 | 1 << 63)
elif what == 'l1-unaligned': put(l1, get(l1) | 512)
elif what == 'l1-beyond': put(l1, (size + 64 * cluster) & ~(cluster - 1) | 1 << 63)
elif what == 'l1-reserved': put(l1, get(l1) | 1)
elif what == 'l1-not-copied': put(l1, get(l1) & ~(1 << 63))
elif what == 'table-beyond': put(table, 1 << 40)
elif what == 'table-unaligned': put(table, block | 512)
elif what == 'table-zero': put(table, 0)
elif what == 'packed-copied': put(packed[3], get(packed[3]) | 1 << 63)
elif what == 'packed-beyond':
    put(packed[3], get(packed[3]) & ~((1 << 40) - 1) | (size + 64 * cluster))
elif what == 'packed-long': put(packed[-1], get(packed[-1]) | 1 << 61)
elif what == 'both': put(data[3] + 8, get(data[3] + 8) | 1 << 35 | 1 << 3)
elif what == 'dirty': put(72, get(72) | 1)
elif what == 'corrupt': put(72, get(72) | 2)
else: sys.exit('what?')
END

# finds WHAT IMAGE: our check and qemu-img's agree on this damage, and it is damage. Where an entry
# is not aligned, qemu-img follows it all the same, and blames what it finds there; we do not.
finds() {
    local what=$1 agreed=0
    cp "$2" d.qcow2
    must "$python" patch.py d.qcow2 "$what" || return
    same_structure d.qcow2 && agreed=1
    case $what in
    unaligned | l1-unaligned)
        [ "$corruptions" != 0 ] && [ "$(number theirs.check corruptions)" != 0 ] && agreed=1
        ;;
    esac
    if [ $agreed = 0 ]; then fail "damage $what, $2" "$(head -n 1 why)"
    elif [ $((corruptions + leaks)) = 0 ]; then fail "damage $what, $2" "nobody finds it"
    else pass "damage $what, $2: $corruptions corruptions, $leaks leaks"; fi
}

test_damage() {
    local what image
    [ -n "$python" ] || { skip "damage" "no python3"; return; }
    convert -O qcow2 -o cluster_size=4k source.raw plain4k.qcow2 || return
    convert -O qcow2 source.raw plain64k.qcow2 || return
    convert -c -O qcow2 -o cluster_size=16k source.raw packed.qcow2 || return
    convert -O qcow2 -o extended_l2=on source.raw extended.qcow2 || return
    must cp plain64k.qcow2 shot.qcow2 && must qemu-img snapshot -c one shot.qcow2 &&
        io -c 'write -P 3 0 400k' shot.qcow2 || return
    for image in plain4k plain64k extended shot; do
        for what in reserved-high unaligned beyond far not-copied twice lost refcount-0 refcount-2 \
            refcount-l2 refcount-header leak data-is-l2 data-is-l1 data-is-block l2-is-l1 \
            l1-unaligned l1-beyond l1-reserved l1-not-copied table-beyond table-unaligned \
            table-zero; do
            finds $what $image.qcow2
        done
    done
    finds reserved plain4k.qcow2
    for what in packed-copied packed-beyond packed-long; do finds $what packed.qcow2; done
    finds both extended.qcow2
    for what in dirty corrupt; do
        cp plain64k.qcow2 d.qcow2 && must "$python" patch.py d.qcow2 $what &&
            if [ "$(ours d.qcow2)" = "$source_sha256" ]; then pass "$what is read"
            else fail "$what is read" "$(head -n 1 stderr)"; fi
    done
    rm -f ./*.qcow2
}

# ------------------------------------------------------------------------------- samples

test_samples() {
    local images=$root/../shared/samples/images path size sha256 found
    if [ ! -f "$images/MANIFEST.tsv" ]; then
        skip "samples" "no ../shared/samples"
        return
    fi
    while IFS=$'\t' read -r path _ _ size _ sha256 _; do
        case $path in qcow2/*) ;; *) continue ;; esac
        if [ ! -f "$images/$path" ]; then
            skip "sample $path" "not there"
            continue
        fi
        found=$(ours "$images/$path")
        if [ "$found" = "$sha256" ]; then pass "sample $path"
        else fail "sample $path" "SHA-256 '$found', want $sha256, $size bytes"; fi
        if have qemu-img; then is_same "sample $path, as qemu-img" "$images/$path"; fi
    done < "$images/MANIFEST.tsv"
}

# ------------------------------------------------------------------------------- all

if have qemu-img && have qemu-io; then
    [ -n "$python" ] || skip "maps" "no python3: media and structure are compared, maps are not"
    make_source
    test_variants
    test_patterns
    test_chains
    test_snapshots
    test_encryption
    test_policy
    test_damage
else
    skip "images by qemu-img" "no qemu-img, qemu-io (qemu-utils)"
fi
test_samples
finish
