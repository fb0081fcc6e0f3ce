#!/usr/bin/env bash
# test_vhdx_peers.sh BUILD_DIR WORK_DIR - VHDX and VHD images by qemu-img, by our own fixtures and
# by Windows, against what qemu-img, libvhdi (vhdimount) and 7-Zip (7zz) say of them. Lines that
# begin with "INFO" are for the reader.
#
#   variants   block sizes, subformats, log sizes, CHS sizes: media (convert) and map
#   patterns   random writes by qemu-io; a model of a few lines decides
#   hand-made  every image of tests/fixtures/vhdx_build.h that a peer reads rightly, by that peer
#   logs       in use: qemu-img on a copy with `check -r all` decides; what the others make of them
#   refusals   what an image may not open, shown by strace
#   samples    ../shared/samples: images by Windows and old qemu

. "$(dirname "$0")/cli.sh"
[ $# = 2 ] || usage "BUILD_DIR WORK_DIR"
build=$(cd "$1" && pwd) && check=$build/check_vhdx make=$build/make_vhdx || exit 2
need_programs "$check" "$make"
begin "$2/vhdx"

# ------------------------------------------------------------------------------- ours and theirs

# ours IMAGE OPTION...: the digest of the media.
ours() { timeout 120 "$check" "${@:2}" "$1" 2> stderr | tail -n 1 | cut -d ' ' -f 1; }

format_of() { case $1 in *.vhd) echo vpc ;; *) echo vhdx ;; esac; }

# theirs IMAGE: the same by qemu-img, which leaves the media in theirs.raw.
theirs() {
    rm -f theirs.raw
    timeout 120 qemu-img convert -t unsafe -f "$(format_of "$1")" -O raw "$1" theirs.raw \
        > /dev/null 2> stderr2 && sum theirs.raw
}

# repaired IMAGE: the digest after qemu-img has replayed the log of a copy.
repaired() {
    cp --sparse=always "$1" repaired.vhdx && chmod u+w repaired.vhdx &&
        timeout 60 qemu-img check -q -T unsafe -f vhdx -r all repaired.vhdx > /dev/null 2>&1
    theirs repaired.vhdx
    rm -f repaired.vhdx
}

# by_libvhdi IMAGE: through FUSE; of a chain the last layer is the image itself.
by_libvhdi() {
    local last
    mkdir -p mnt
    timeout 60 vhdimount "$1" mnt > /dev/null 2> stderr2 || return 1
    last=$(find mnt -name 'vhdi*' | sort -V | tail -n 1)
    timeout 120 sha256sum < "$last" 2> stderr2 | cut -d ' ' -f 1
    fusermount -u mnt > /dev/null 2>&1 || fusermount -z -u mnt
}

# by_7zip IMAGE: it finds parents beside the image.
by_7zip() {
    local type=VHDX
    case $1 in *.vhd) type=VHD ;; esac
    (cd "$(dirname "$1")" && timeout 120 7zz x -so -t$type "$(basename "$1")" 2> /dev/null) |
        sha256sum | cut -d ' ' -f 1
}

can_mount() {
    have vhdimount && have fusermount && [ -r /dev/fuse ] && [ -n "$(by_libvhdi "$1")" ]
}

# check_map.py OURS MEDIA THEIRS|-: ours is whole, and what it calls zeros or a hole is zeros; it
# may know holes of the file within blocks. Where qemu-img knows a hole, so do we.
cat > check_map.py << 'END'
import json, sys
runs = [l.split() for l in open(sys.argv[1])]
runs = [(int(a), int(b), k) for a, b, k in runs]
media = open(sys.argv[2], 'rb')
size = media.seek(0, 2)
at = 0
for start, length, kind in runs:
    if start != at or length == 0:
        sys.exit('a gap or an overlap at %d' % start)
    at = start + length
    if kind == 'data':
        continue
    media.seek(start)
    left = length
    while left > 0:
        b = media.read(min(left, 1 << 20))
        if b.strip(b'\0'):
            sys.exit('%s at %d, but there is data' % (kind, start))
        left -= len(b)
if at != size:
    sys.exit('the map ends at %d, the media at %d' % (at, size))
if sys.argv[3] == '-':
    sys.exit(0)
theirs = json.load(open(sys.argv[3]))
i = j = at = 0
while at < size:
    a, b = runs[i], theirs[j]
    to = min(a[0] + a[1], b['start'] + b['length'])
    if b['zero'] and a[2] == 'data' and not b['data']:
        sys.exit('%d+%d: ours data, theirs %s' % (at, to - at, b))
    at = to
    i += a[0] + a[1] == to
    j += b['start'] + b['length'] == to
END

# same_map IMAGE: theirs.raw is there. qemu's VHDX driver calls everything data.
same_map() {
    [ -n "$python" ] || return 0 # said below
    local map=-
    timeout 60 "$check" --map --no-digest "$1" > ours.map 2> why || return 1
    if [ "$(format_of "$1")" = vpc ]; then
        qemu-img map -f vpc --output=json "$1" > theirs.map 2> why && map=theirs.map || return 1
    fi
    "$python" check_map.py ours.map theirs.raw $map 2> why
}

# is_same NAME IMAGE OPTION...: media with 1 and 16 threads, and the map.
is_same() {
    local name=$1 image=$2 want one many
    shift 2
    want=$(theirs "$image")
    one=$(ours "$image" --threads 1 "$@") many=$(ours "$image" --threads 16 "$@")
    if [ -z "$want" ]; then
        fail "$name" "qemu-img does not read it: $(head -n 1 stderr2)"
    elif [ "$one" != "$want" ] || [ "$many" != "$want" ]; then
        fail "$name" "SHA-256 '$one' and '$many', want '$want': $(head -n 1 stderr)"
    elif same_map "$image"; then
        pass "$name"
    else
        fail "$name" "$(head -n 1 why)"
    fi
}

# ------------------------------------------------------------------------------- images by qemu

# Noise, text, zeros, holes; a multiple of 512 and of nothing else.
make_source() {
    seq 1 900000 | gzip -n -1 | head -c 1200000 > source.raw
    seq -f 'line %.0f of a text' 1 20000 | head -c 300000 >> source.raw
    truncate -s 9500160 source.raw
    seq 1 90000 | gzip -n -1 | head -c 150000 >> source.raw
    truncate -s 21234176 source.raw
    echo end >> source.raw
    truncate -s 21236224 source.raw
    source_sha256=$(sum source.raw)
}

# must COMMAND...: a set-up step that is expected to work.
must() {
    "$@" > must.log 2>&1 && return
    fail "$(echo "$@" | cut -c 1-80)" "$(tail -n 1 must.log)"
    return 1
}

io() { must qemu-io -t unsafe "$@"; }

# written NAME OPTIONS: the source as VHDX; then changed by qemu-io.
written() {
    rm -f v.vhdx
    must qemu-img convert -t unsafe -O vhdx -o "$2" source.raw v.vhdx || return
    if [ "$(theirs v.vhdx)" != "$source_sha256" ]; then fail "$1" "bad conversion"; return; fi
    is_same "$1" v.vhdx
    io -f vhdx -c 'write -P 0x41 100k 3k' -c 'write -P 0 300k 200k' -c 'write -P 0x42 18M 5k' \
        v.vhdx && is_same "$1, rewritten" v.vhdx
    rm -f v.vhdx
}

test_variants() {
    local size format
    for size in 1M 2M 4M 8M 16M 32M 64M 128M 256M; do
        written "dynamic, blocks of $size" "subformat=dynamic,block_size=$size"
    done
    for size in 1M 8M 32M; do
        written "dynamic, no zero state, $size" "block_size=$size,block_state_zero=off"
    done
    written "fixed" "subformat=fixed"
    written "fixed, blocks of 8 MiB" "subformat=fixed,block_size=8M"
    written "a log of 4 MiB" "log_size=4M"
    for size in 512 1M 10G; do
        must qemu-img create -q -f vhdx v.vhdx $size || continue
        if [ $size != 10G ]; then is_same "an empty image of $size" v.vhdx; fi
    done
    io -f vhdx -c 'write -P 7 9G 70k' v.vhdx &&
        if [ "$(ours v.vhdx --range 9663676416:71680)" = \
            "$(head -c 71680 /dev/zero | tr '\0' '\7' | sha256sum | cut -d ' ' -f 1)" ]; then
            pass "10 GiB, sparse"
        else
            fail "10 GiB, sparse" "$(head -n 1 stderr)"
        fi
    rm -f v.vhdx
    for format in subformat=dynamic subformat=fixed subformat=dynamic,force_size=on \
        subformat=fixed,force_size=on; do
        rm -f v.vhd
        must qemu-img convert -t unsafe -O vpc -o $format source.raw v.vhd || continue
        is_same "VHD, $format" v.vhd
        if [ "$(head -c 21236224 theirs.raw | sha256sum | cut -d ' ' -f 1)" != "$source_sha256" ]
        then fail "VHD, $format" "bad conversion"; fi
        io -f vpc -c 'write -P 0x41 100k 3k' -c 'write -P 0x42 14M 5k' v.vhd &&
            is_same "VHD, $format, rewritten" v.vhd
    done
    for size in 512 1M 127G; do
        rm -f v.vhd
        must qemu-img create -q -f vpc -o force_size=on v.vhd $size || continue
        if [ $size != 127G ]; then is_same "an empty VHD of $size" v.vhd; fi
    done
    rm -f v.vhd
}

# patterns.py SEED SIZE FILE: commands for qemu-io; what comes of them, in FILE.
cat > patterns.py << 'END'
import random, sys
r = random.Random(int(sys.argv[1]))
size = int(sys.argv[2])
model = bytearray(open(sys.argv[3], 'rb').read())
for i in range(60):
    n = r.choice((512, 4096, 1 << 20, r.randrange(1, 200) * 512, r.randrange(1, 5000) * 512))
    at = r.randrange(0, size - n) // 512 * 512
    if r.random() < .4:
        at = at >> 20 << 20
    p = r.randrange(0, 256)
    print('write -P %d %d %d' % (p, at, n))
    model[at:at + n] = bytes([p]) * n
print('flush')
open(sys.argv[3], 'wb').write(model)
END

test_patterns() {
    local options seed=0 format
    [ -n "$python" ] || { skip "patterns" "no python3"; return; }
    for options in "vhdx block_size=1M" "vhdx block_size=2M,block_state_zero=off" \
        "vhdx block_size=16M" "vhdx subformat=fixed" "vpc force_size=on" \
        "vpc subformat=fixed,force_size=on"; do
        format=${options%% *}
        case $format in vpc) image=p.vhd ;; *) image=p.vhdx ;; esac
        rm -f p.vhd p.vhdx
        must qemu-img create -q -f $format -o "${options#* }" $image 33555968 || continue
        head -c 33555968 /dev/zero > model.raw
        for _ in 1 2; do
            seed=$((seed + 1))
            "$python" patterns.py $seed 33555968 model.raw > commands
            io -f $format $image < commands || break
            if [ "$(ours $image)" != "$(sum model.raw)" ]; then
                fail "patterns $seed, $options" "other media than the model: $(head -n 1 stderr)"
            else
                is_same "patterns $seed, $options" $image
            fi
        done
    done
    rm -f p.vhd p.vhdx model.raw
}

# ------------------------------------------------------------------------------- hand-made

# Every hand-made image that some peer reads rightly is read by that peer: so the fixtures are what
# they claim to be. Then we read it.
test_hand_made() {
    local name peers dirty file image want got peer
    local agreed_qemu=0 agreed_libvhdi=0 agreed_7zip=0
    "$make" --peers > peers || { fail "hand-made images" "make_vhdx --peers"; return; }
    while read -r name peers dirty file; do
        [ "$peers" != - ] || continue
        must "$make" "$name" . || continue
        image=$name/$file
        if [ ! -f "$name/media.raw" ]; then rm -rf "$name"; continue; fi
        want=$(sum "$name/media.raw")
        for peer in ${peers//,/ }; do
            got=
            case $peer in
            qemu)
                have qemu-img || continue
                if [ "$dirty" = 1 ]; then got=$(repaired "$image"); else got=$(theirs "$image"); fi
                ;;
            libvhdi)
                [ $mounts = 1 ] || continue
                got=$(by_libvhdi "$image")
                ;;
            7zip)
                have 7zz || continue
                got=$(by_7zip "$image")
                ;;
            esac
            if [ "$got" = "$want" ]; then eval "agreed_$peer=\$((agreed_$peer + 1))"
            else fail "$name by $peer" "SHA-256 '$got', want '$want'"; fi
        done
        got=$(ours "$image" --threads 16)
        if [ "$got" = "$want" ]; then pass "hand-made: $name (${peers%,})"
        else fail "hand-made: $name" "SHA-256 '$got', want '$want': $(head -n 1 stderr)"; fi
        rm -rf "$name"
    done < peers
    echo "INFO hand-made images that agree: qemu $agreed_qemu, libvhdi $agreed_libvhdi," \
        "7-Zip $agreed_7zip"
}

# ------------------------------------------------------------------------------- logs

# stale NAME IMAGE WANT: what those say who do not replay. They are no oracle here: it is shown.
stale() {
    local got
    if have 7zz; then
        got=$(by_7zip "$2")
        if [ "$got" = "$3" ]; then echo "INFO $1: 7zz gives the replayed bytes"
        else echo "INFO $1: 7zz gives stale bytes, SHA-256 $(echo "$got" | cut -c 1-16)..."; fi
    fi
    if [ $mounts = 1 ]; then
        got=$(by_libvhdi "$2")
        if [ "$got" = "$3" ]; then echo "INFO $1: vhdimount gives the replayed bytes"
        elif [ -z "$got" ]; then echo "INFO $1: vhdimount cannot read it"
        else echo "INFO $1: vhdimount gives stale bytes, SHA-256 $(echo "$got" | cut -c 1-16)..."; fi
    fi
}

test_logs() {
    local name image before want got
    have 7zz || skip "stale bytes by 7zz" "no 7zz (7zip)"
    [ $mounts = 1 ] || skip "stale bytes by vhdimount" "no vhdimount (libvhdi-utils) or no FUSE"
    for name in log-one log-multi log-wrap-last log-zero log-last log-bat; do
        must "$make" $name . || continue
        image=$name/image.vhdx before=$(sum $name/image.vhdx) want=$(repaired $image)
        chmod a-w $image $name
        got=$(ours $image --threads 16)
        chmod u+w $name
        if [ -z "$want" ]; then fail "$name" "qemu-img does not repair it: $(head -n 1 stderr2)"
        elif [ "$got" != "$want" ]; then
            fail "$name, replayed" "SHA-256 '$got', want '$want': $(head -n 1 stderr)"
        elif [ "$(sum $image)" != "$before" ]; then fail "$name, replayed" "the file was written"
        else pass "$name, replayed as by qemu-img check -r all"; fi
        if qemu-img convert -f vhdx -O raw $image theirs.raw > /dev/null 2>&1; then
            echo "INFO $name: qemu-img reads it without a repair"
        else
            echo "INFO $name: qemu-img refuses it without a repair"
        fi
        stale $name $image "$want"
        rm -rf $name
    done
}

# ------------------------------------------------------------------------------- refusals

# opened FILE: what a trace says was opened, but for libraries and what the system tells of itself.
opened() {
    sed -n 's/.*open[a-z0-9]*([^"]*"\([^"]*\)".*= [0-9].*/\1/p' "$1" |
        grep -v -E '^(/lib|/usr/lib|/etc/ld\.so|/proc/|/sys/|/usr/share/locale|/dev/null)'
}

touches() { sed -n 's/^[^"]*"\([^"]*\)".*/\1/p' "$1" | grep -q -- "$2"; }

test_policy() {
    local name file got
    for name in locator-up locator-up-2 locator-passwd locator-device locator-share locator-url \
        locator-dev-zero vhd-up vhd-up-2 vhd-passwd vhd-device; do
        must "$make" $name . || continue
        file=image.vhdx
        [ -f $name/$file ] || file=image.vhd
        echo outside > outside.vhdx
        echo outside > outside.vhd
        if ! have strace; then
            if [ -z "$(ours $name/$file)" ]; then pass "$name is refused"
            else fail "$name" "it was read"; fi
            rm -rf $name
            continue
        fi
        (cd $name && strace -f -s 300 -e trace=%file -o ../trace "$check" --no-digest $file \
            > /dev/null 2> ../stderr)
        got=$(opened trace | grep -v -x "$file" | grep -v -x -E '\.|sub' | head -n 1)
        if ! grep -q "$file" trace; then fail "strace: $name" "no trace"
        elif [ -n "$got" ]; then fail "strace: $name" "$got was opened"
        elif touches trace etc/passwd || touches trace '\.\./' || touches trace dev/zero; then
            fail "strace: $name" "$(grep -E 'etc/passwd|\.\./|dev/zero' trace | head -n 1)"
        elif [ -s stderr ]; then pass "strace: $name"
        else fail "strace: $name" "no error"; fi
        rm -rf $name
    done
    have strace || skip "strace" "no strace: refusals were seen, opened files were not"
    rm -f outside.vhd outside.vhdx trace
}

# ------------------------------------------------------------------------------- samples

# sample NAME IMAGE SHA256
sample() {
    local one many
    one=$(ours "$2" --threads 1) many=$(ours "$2" --threads 16)
    if [ "$one" = "$3" ] && [ "$many" = "$3" ]; then pass "sample $1"
    else fail "sample $1" "SHA-256 '$one' and '$many', want $3: $(head -n 1 stderr)"; fi
}

# The log of the qemu sample brings one block, at 17 MiB; others have zeros there.
dirty_sample() {
    local ours_at stale_at
    ours_at=$(ours "$1" --range 17825792:1048576)
    if have 7zz; then
        stale_at=$(7zz x -so -tVHDX "$1" 2> /dev/null | head -c 18874368 | tail -c 1048576 |
            sha256sum | cut -d ' ' -f 1)
        if [ "$stale_at" = "$ours_at" ]; then echo "INFO dirty sample: 7zz has replayed the log"
        else echo "INFO dirty sample: 7zz gives stale bytes at 17 MiB"; fi
    fi
    if [ $mounts = 1 ]; then
        mkdir -p mnt && vhdimount "$1" mnt > /dev/null 2>&1
        stale_at=$(dd if=mnt/vhdi1 bs=1M skip=17 count=1 2> /dev/null | sha256sum | cut -d ' ' -f 1)
        fusermount -u mnt > /dev/null 2>&1
        if [ "$stale_at" = "$ours_at" ]; then echo "INFO dirty sample: vhdimount has replayed it"
        else echo "INFO dirty sample: vhdimount gives stale bytes at 17 MiB"; fi
    fi
    if have qemu-img; then
        cp --sparse=always "$1" repaired.vhdx && chmod u+w repaired.vhdx &&
            qemu-img check -q -T unsafe -f vhdx -r all repaired.vhdx > /dev/null 2>&1
        qemu-img dd -f vhdx -O raw bs=1M skip=17 count=18 if=repaired.vhdx of=part.raw \
            > must.log 2>&1
        stale_at=$(sum part.raw)
        rm -f repaired.vhdx part.raw
        if [ "$stale_at" = "$ours_at" ]; then pass "dirty sample, replayed as by qemu-img"
        else fail "dirty sample, replayed as by qemu-img" "other bytes at 17 MiB: $(tail -n 1 must.log)"; fi
    fi
}

test_samples() {
    local images=$root/../shared/samples/images path sha256 name
    if [ ! -f "$images/MANIFEST.tsv" ]; then
        skip "samples" "no ../shared/samples"
        return
    fi
    while IFS=$'\t' read -r path _ _ _ _ sha256 _; do
        case $path in vhdx/*) ;; *) continue ;; esac
        if [ ! -f "$images/$path" ]; then
            skip "sample $path" "not there"
            continue
        fi
        name=$(basename "$path")
        case $path in
        *.gz) gunzip -c "$images/$path" > "${name%.gz}" && name=${name%.gz} ;;
        *.bz2)
            have bunzip2 || { skip "sample $path" "no bunzip2"; continue; }
            bunzip2 -c "$images/$path" > "${name%.bz2}" && name=${name%.bz2}
            ;;
        *) name=$images/$path ;; # parents lie beside it
        esac
        sample "$path" "$name" "$sha256"
        case $path in *dirtylog*) dirty_sample "$name" ;; esac
        case $name in /*) ;; *) rm -f "$name" ;; esac
    done < "$images/MANIFEST.tsv"
}

# ------------------------------------------------------------------------------- all

mounts=0
"$make" plain . && can_mount plain/image.vhdx && mounts=1
rm -rf plain
have qemu-img && have qemu-io || skip "qemu" "no qemu-img, qemu-io (qemu-utils)"
have 7zz || skip "7-Zip" "no 7zz (7zip)"
[ $mounts = 1 ] || skip "libvhdi" "no vhdimount, or no FUSE (libvhdi-utils, fuse)"
[ -n "$python" ] || skip "maps" "no python3: media are compared, maps are not"
if have qemu-img && have qemu-io; then
    make_source
    test_variants
    test_patterns
    test_logs
fi
test_hand_made
test_policy
test_samples
finish
