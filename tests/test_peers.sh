#!/usr/bin/env bash
# test_peers.sh VERIFY_BINARY WORK_DIR - images by other tools, against independent digests.
#
# One line for each check: "PASS name", "FAIL name: why" or "SKIP name: what is missing". The last
# line is "N passed, N failed, N skipped"; exit status 1 when any failed. FULL=1 adds the slow ones.
#
#   variants   every layout x compression that ewfacquire writes; sha256sum of the source decides
#   sizes      chunks, sectors, media types, segments, sources of odd sizes, several tables
#   damage     one bit of one chunk flipped; a reader of a few lines says where that chunk lies
#   exports    what ewfexport writes has the digest that verify computes
#   samples    ../shared/samples: images by other people's tools, digests by other readers

. "$(dirname "$0")/cli.sh"
[ $# = 2 ] || usage "VERIFY_BINARY WORK_DIR"
verify=$(absolute "$1")
need_programs "$verify"
begin "$2/peers"

# ------------------------------------------------------------------------------- asking verify

# ask ARGUMENT...: runs verify --json; $code, $json and $status are what came of it.
ask() {
    json=$(timeout 120 "$verify" --json "$@" 2> stderr)
    code=$?
    status=$(printf '%s' "$json" | sed -n 's/.*"status":"\([a-z]*\)".*/\1/p')
}
field() { printf '%s' "$json" | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }
computed() { printf '%s' "$json" | sed -n "s/.*\"$1\":{\"computed\":\"\([0-9a-f]*\)\".*/\1/p"; }
matches() { printf '%s' "$json" | sed -n "s/.*\"$1\":{[^}]*\"match\":\([a-z]*\)[,}].*/\1/p"; }
summary() { echo "exit $code, status '$status', $(head -n 1 stderr)"; }
sum() { "$1sum" < "$2" | cut -d ' ' -f 1; }

# is_intact NAME IMAGE SHA256 SIZE [STORED...]: good, this digest, and these stored ones match.
is_intact() {
    local name=$1 image=$2 sha256=$3 size=$4 stored
    shift 4
    ask --digest sha256 "$image"
    if [ $code != 0 ] || [ "$status" != ok ]; then
        fail "$name" "$(summary)"
    elif [ "$(computed sha256)" != "$sha256" ]; then
        fail "$name" "SHA-256 is $(computed sha256), want $sha256"
    elif [ "$(field media_size)" != "$size" ]; then
        fail "$name" "$(field media_size) bytes of media, want $size"
    else
        for stored in "$@"; do
            [ "$(matches "$stored")" = true ] && continue
            fail "$name" "stored $stored: no match"
            return
        done
        pass "$name"
    fi
}

# ------------------------------------------------------------------------------- sources

# Bytes that no deflate makes smaller, the same in every run.
noise() { seq 1 9000000 | gzip -n -1 | head -c "$1"; }

# A third of each: noise, zeros, text; $1 MiB in all.
mixed() {
    noise $(($1 * 349525 + $1 / 3))
    head -c $(($1 * 349525)) /dev/zero
    seq -f 'line %.0f of a text that a deflate makes much smaller' 1 $(($1 * 7000))
}
make_sources() {
    mixed 2 2> /dev/null | head -c 2097152 > two.raw
    mixed 8 2> /dev/null | head -c 8388608 > eight.raw
    noise 12582912 > noise.raw
    cat noise.raw noise.raw noise.raw noise.raw noise.raw noise.raw noise.raw noise.raw noise.raw \
        noise.raw | head -c 118000128 > long.raw
    head -c 512 noise.raw > sector.raw
    : > empty.raw
    : > large.raw
    truncate -s 577765376 large.raw # 551 MiB: two tables of 16,375 chunks of 32 KiB
    dd if=eight.raw of=large.raw bs=1M seek=300 conv=notrunc status=none
    dd if=noise.raw of=large.raw bs=1M seek=545 count=6 conv=notrunc status=none
    two_sha256=$(sum sha256 two.raw) eight_sha256=$(sum sha256 eight.raw)
    large_sha256=$(sum sha256 large.raw)
}

# acquire NAME SOURCE OPTION...: makes NAME.E01 ... ; $image is its first segment.
acquire() {
    local name=$1 source=$2
    shift 2
    ewfacquire -u -q "$@" -t "$work/$name" "$work/$source" > "$name.log" 2>&1 &&
        first_segment "$name"
}
must_acquire() {
    acquire "$@" || { fail "ewfacquire ${*:2}" "$(tail -n 1 "$1.log")"; return 1; }
}
first_segment() {
    image=$(ls "$1".[eE]01 "$1".[sS]01 2> /dev/null | head -n 1)
    [ -n "$image" ]
}

# ------------------------------------------------------------------------------- where chunks lie

# locate.py CHUNK SEGMENT...: "segment offset flip" of a chunk, by its table. `flip` is a byte near
# its middle whose lowest bit matters: in a deflated run of zeros most distances are as good as any.
# locate.py bad SEGMENT...: "chunk segment offset" of each chunk that does not decode.
cat > locate.py << 'END'
import struct, sys, zlib

def sections(data):
    at = 13
    while True:
        kind = data[at:at + 16].rstrip(b'\0').decode()
        following, size = struct.unpack_from('<QQ', data, at + 16)
        yield kind, at, size
        if kind in ('next', 'done') or following <= at:
            return
        at = following

def chunks(data):
    chunk_size, end = 0, 0
    for kind, at, size in sections(data):
        if kind == 'sectors':
            end = at + size
        if kind != 'table':
            continue
        count, base = struct.unpack_from('<IxxxxQ', data, at + 76)
        entries = struct.unpack_from('<%dI' % count, data, at + 100)
        places = [base + (e & 0x7fffffff) for e in entries]
        if not end or places[0] > at:  # EWF, SMART, EnCase 1: behind the entries
            places.append(at + size)
        else:
            places.append(end)
        for i, e in enumerate(entries):
            yield places[i], places[i + 1] - places[i], e >> 31
        end = 0

def decode(stored, is_zlib):
    if not is_zlib:
        good = zlib.adler32(stored[:-4]) == struct.unpack('<I', stored[-4:])[0]
        return stored[:-4] if good else None
    try:
        return zlib.decompress(stored)
    except zlib.error:
        return None

def weak_spot(stored, is_zlib):
    right = decode(stored, is_zlib)
    for i in range(len(stored) // 2, len(stored)):
        other = bytearray(stored)
        other[i] ^= 1
        if decode(bytes(other), is_zlib) != right:
            return i

number = 0
for segment, path in enumerate(sys.argv[2:], 1):
    data = open(path, 'rb').read()
    for offset, size, is_zlib in chunks(data):
        stored = data[offset:offset + size]
        if sys.argv[1] == 'bad' and decode(stored, is_zlib) is None:
            print(number, segment, offset)
        if sys.argv[1] == str(number):
            print(segment, offset, offset + weak_spot(stored, is_zlib))
            sys.exit()
        number += 1
END

segments_of() { ls "${1%.*}".[eEsS][0-9][0-9] "${1%.*}".[eEsS][A-Za-z][A-Za-z] 2> /dev/null; }

# flip FILE OFFSET: the lowest bit of a byte.
flip() {
    local byte
    byte=$(od -A n -t u1 -j "$2" -N 1 "$1")
    printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# finds_flip NAME IMAGE CHUNK: a bit in the middle of this chunk, and verify names the chunk alone.
# The image stays damaged.
finds_flip() {
    local name="$1" image=$2 chunk=$3 where segment offset spot found pattern
    [ -n "$python" ] || { skip "$name" "no python3"; return; }
    # shellcheck disable=SC2046 # one word for each segment
    where=$("$python" locate.py "$chunk" $(segments_of "$image") 2> stderr)
    read -r segment offset spot <<< "$where"
    [ -n "$spot" ] || { fail "$name" "chunk $chunk was not located: $(tail -n 1 stderr)"; return; }
    flip "$(segments_of "$image" | sed -n "${segment}p")" "$spot"
    ask "$image"
    found=$(printf '%s' "$json" | sed -n 's/.*"damaged_chunks":\[\([^]]*\)\].*/\1/p')
    pattern="^[{]\"chunk\":$chunk,\"offset\":$offset,\"segment\":$segment,[^{}]*[}]\$"
    if [ $code != 1 ] || [ "$status" != damaged ]; then
        fail "$name" "$(summary)"
    elif ! [[ "$found" =~ $pattern ]]; then
        fail "$name" "want chunk $chunk, segment $segment, offset $offset alone: $found"
    else
        pass "$name"
    fi
}

# ------------------------------------------------------------------------------- ewfacquire

formats="ewf smart ftk encase1 encase2 encase3 encase4 encase5 encase6 encase7 linen5 linen6 linen7
         ewfx"

# Every layout with every compression; chunk sizes take turns. The bit is flipped in noise (chunk
# at 0), zeros (the middle) or text (near the end), whichever the turn is.
test_variants() {
    local format level n=0 sectors chunks chunk
    local sizes=(64 16 128 32 64 256 512)
    for format in $formats; do
        for level in none empty-block fast best; do
            sectors=${sizes[n % 7]} chunks=$((2097152 / 512 / ${sizes[n % 7]}))
            chunk=$((n % 3 == 0 ? 1 : n % 3 == 1 ? chunks / 2 : chunks * 7 / 8))
            n=$((n + 1))
            if must_acquire v two.raw -f "$format" -c $level -b "$sectors"; then
                is_intact "$format $level, $sectors sectors a chunk" "$image" "$two_sha256" \
                    2097152 md5
                finds_flip "$format $level: one bit of chunk $chunk of $chunks" "$image" $chunk
            fi
            rm -f v.*
        done
    done
}

# intact_after NAME SOURCE OPTION...: acquired with these, the media are those of the source.
intact_after() {
    local name="$1" source=$2
    shift 2
    must_acquire s "$source" "$@" &&
        is_intact "$name" "$image" "$(sum sha256 "$source")" "$(stat -c %s "$source")" md5
    rm -f s.*
}

test_sizes() {
    local b p f
    for b in 16 32 64 128 256 512 1024 2048 4096 8192 16384 32768; do
        intact_after "chunks of $b sectors" eight.raw -b $b -c fast
    done
    for b in 16 32768; do
        intact_after "raw chunks of $b sectors" eight.raw -b $b -c none -f encase7
    done
    for p in 512 2048 4096; do
        for f in encase5 encase6 ewf smart; do
            intact_after "$f, sectors of $p bytes" two.raw -P $p -f $f -c fast
        done
    done
    intact_after "removable" two.raw -m removable
    intact_after "optical" two.raw -m optical -P 2048
    intact_after "memory" two.raw -m memory
    intact_after "logical" two.raw -M logical
    intact_after "one sector, raw" sector.raw -c none
    intact_after "one sector, deflated" sector.raw -c best -f encase5
    intact_after "one sector, EWF" sector.raw -c fast -f ewf
    head -c 40960 two.raw > short.raw
    intact_after "a short last chunk, raw" short.raw -c none -f encase1
    intact_after "a short last chunk, SMART" short.raw -c best -f smart
}

# Sources that are no whole number of sectors: media end with the last whole one, the stored digest
# covers every byte. (Of a chunk of a single byte ewfacquire itself makes no image.)
test_partial_sectors() {
    local size whole format level
    for size in 98404 98815 100000; do
        whole=$((size / 512 * 512))
        head -c $size two.raw > odd.raw
        head -c $whole two.raw > media.raw
        for format in encase5 encase6 ewf; do
            for level in none fast; do
                must_acquire s odd.raw -f $format -c $level || continue
                is_intact "$format $level, $size bytes" "$image" "$(sum sha256 media.raw)" $whole \
                    md5
                rm -f s.*
            done
        done
    done
}

test_digests() {
    must_acquire s eight.raw -d sha1 -f encase6 -c fast || return
    is_intact "MD5 and SHA-1 stored" "$image" "$eight_sha256" 8388608 md5 sha1
    ask --digest md5,sha1,sha256 "$image"
    if [ "$(computed md5)" = "$(sum md5 eight.raw)" ] &&
        [ "$(computed sha1)" = "$(sum sha1 eight.raw)" ]; then
        pass "MD5 and SHA-1 as md5sum and sha1sum compute them"
    else
        fail "MD5 and SHA-1 as md5sum and sha1sum compute them" "$json"
    fi
    if have b3sum; then
        ask --digest blake3 "$image"
        if [ "$(computed blake3)" = "$(b3sum --no-names eight.raw)" ]; then pass "BLAKE3 as b3sum"
        else fail "BLAKE3 as b3sum" "$(computed blake3)"; fi
    else
        skip "BLAKE3 as b3sum" "no b3sum"
    fi
    rm -f s.*
}

test_segments() {
    local format last
    for format in encase6 encase5 ewf smart; do
        must_acquire s eight.raw -S 1048576 -f $format -c none || continue
        is_intact "$format in $(segments_of "$image" | wc -l) segments" "$image" "$eight_sha256" \
            8388608 md5
        last=$(segments_of "$image" | tail -n 1)
        is_intact "the same, by its last segment" "$last" "$eight_sha256" 8388608 md5
        finds_flip "$format: one bit in a later segment" "$image" 200
        rm -f s.*
    done
    must_acquire s long.raw -S 1048576 -c none || return
    if [ -f s.EAA ]; then
        is_intact "$(segments_of s.E01 | wc -l) segments, to .$(segments_of s.E01 | tail -n 1 |
            sed 's/.*\.//')" s.E01 "$(sum sha256 long.raw)" 118000128 md5
        finds_flip "one bit in .EAA and beyond" s.E01 3500
    else
        fail "segments beyond .E99" "ewfacquire made no .EAA"
    fi
    rm -f s.*
}

test_tables() {
    if must_acquire s large.raw -f encase5 -c fast; then
        is_intact "encase5, two tables in a segment" "$image" "$large_sha256" 577765376 md5
        finds_flip "encase5: one bit in a chunk of the second table" "$image" 17500
    fi
    rm -f s.*
    if [ "${FULL:-0}" != 1 ]; then
        skip "encase6, two tables in a segment" "FULL=1 is not set"
        return
    fi
    : > huge.raw
    truncate -s 3G huge.raw
    dd if=eight.raw of=huge.raw bs=1M seek=2900 conv=notrunc status=none
    intact_after "encase6, two tables in a segment" huge.raw -f encase6 -c fast
    rm -f huge.raw
}

test_streams() {
    local format
    if ! have ewfacquirestream; then skip "ewfacquirestream" "no ewfacquirestream"; return; fi
    for format in encase2 encase5 encase6 linen7 ewfx; do
        ewfacquirestream -q -f $format -c fast -S 1048576 -t "$work/s" < eight.raw > s.log 2>&1
        if first_segment s; then
            is_intact "ewfacquirestream, $format" "$image" "$eight_sha256" 8388608 md5
        else
            fail "ewfacquirestream, $format" "made no image: $(tail -n 1 s.log)"
        fi
        rm -f s.*
    done
    ewfacquirestream -q -t "$work/s" < empty.raw > s.log 2>&1
    if first_segment s; then
        is_intact "an empty source" "$image" "$(sum sha256 empty.raw)" 0 md5
    else
        skip "an empty source" "ewfacquirestream makes no image of it"
    fi
    rm -f s.*
}

test_exports() {
    local format
    if ! have ewfexport; then skip "ewfexport" "no ewfexport"; return; fi
    for format in ewf encase1 encase5 encase7 smart; do
        must_acquire s eight.raw -S 3000000 -f $format -c fast || continue
        # shellcheck disable=SC2046 # one word for each segment
        ewfexport -u -q -f raw -t "$work/x" $(segments_of "$image") > x.log 2>&1
        if [ -s x.raw ]; then
            is_intact "$format as ewfexport reads it" "$image" "$(sum sha256 x.raw)" 8388608 md5
        else
            fail "$format as ewfexport reads it" "no export: $(tail -n 1 x.log)"
        fi
        rm -f s.* x.*
    done
}

# ------------------------------------------------------------------------------- samples

test_samples() {
    local images=$root/../shared/samples/images path size sha256 flag
    if [ ! -f "$images/MANIFEST.tsv" ]; then
        skip "samples" "no ../shared/samples"
        return
    fi
    while IFS=$'\t' read -r path _ _ size _ sha256 _ _ flag _; do
        case $path in
        ewf/*) sample_is_intact "$images/$path" "$size" "$sha256" "$flag" ;;
        corrupt/*) sample_is_damaged "$images/$path" ;;
        esac
    done < "$images/MANIFEST.tsv"
}

sample_is_intact() {
    local name flag=$4
    name="sample $(basename "$1")"
    [ -f "$1" ] || { skip "$name" "not there"; return; }
    is_intact "$name" "$1" "$3" "$2"
    [[ "$flag" == *stored-hash-mismatch* ]] || return
    if [ "$(matches md5)" = true ] && [[ "$json" == *'"warnings":["'*'behind the last'* ]]; then
        pass "$name: its digest matches with the partial sector, which is a warning"
    else
        fail "$name: its digest matches with the partial sector, which is a warning" "$json"
    fi
}

sample_is_damaged() {
    local name bad found
    name="sample $(basename "$1")"
    [ -f "$1" ] || { skip "$name" "not there"; return; }
    [ -n "$python" ] || { skip "$name" "no python3"; return; }
    bad=$("$python" locate.py bad "$1")
    ask "$1"
    found=$(printf '%s' "$json" | sed -n 's/.*"damaged_chunks":\[\([^]]*\)\].*/\1/p' |
        sed 's/},{/}\n{/g' |
        sed 's/{"chunk":\([0-9]*\),"offset":\([0-9]*\),"segment":\([0-9]*\),.*/\1 \3 \2/')
    if [ $code = 1 ] && [ "$status" = damaged ] && [ -n "$bad" ] && [ "$bad" = "$found" ]; then
        pass "$name"
    else
        fail "$name" "$(summary); chunk, segment, offset: want '$bad', got '$found'"
    fi
}

# ------------------------------------------------------------------------------- all

if have ewfacquire; then
    make_sources
    test_variants
    test_sizes
    test_partial_sectors
    test_digests
    test_segments
    test_tables
    test_exports
    test_streams
else
    skip "images by ewfacquire" "no ewfacquire (ewf-tools)"
fi
test_samples
finish
