#!/usr/bin/env bash
# test_pack.sh BUILD_DIR WORK_DIR - what the pack tool promises, and the others of archives.
#
#   options    --help, bad values, what goes with which command
#   bytes      codecs, chunks, threads: the same archive, the same content; ranges; pipes
#   format     fixtures/read_hexz.py, written from the manual alone, and zstd read it, too
#   images     E01, QCOW2, VMDK, split raw, zstd: their media and what they say of themselves
#   tools      verify and export read archives
#   refusals   what is no archive, or a later one, or cut, or another tool's
#   damage     is found, named, and nothing bad is written
#   outputs    names, what is in the way, full disks, pipes, Ctrl-C, kill -9, inputs that shrink

. "$(dirname "$0")/cli.sh"
[ $# = 2 ] || usage "BUILD_DIR WORK_DIR"
build=$(cd "$1" && pwd) || exit 2
pack=$build/pack
need_programs "$pack"
begin "$2/pack"
sanitized=0
is_sanitized "$pack" && sanitized=1

# ------------------------------------------------------------------------------- the framework

#   run ARGUMENT...   pack with these, within 20 seconds: $code, files out and err
#   tool NAME ...     another tool, likewise
tool() {
    local program=$build/$1
    shift
    timeout -s KILL 20 "$program" "$@" > out 2> err < /dev/null
    code=$?
}
run() { tool pack "$@"; }
absent() { [ ! -e "$1" ] && [ ! -e "$1.part" ]; }
root_of() { sed -n 's/^  root  *//p' "$1"; }

# Waits until a file is there, of a program that has just been started.
await() {
    local i
    for i in $(seq 200); do
        [ ! -e "$1" ] || return
        sleep 0.02
    done
}

# Bytes that do not repeat, and do not compress: always the same.
noise() { seq "$1" 900000 | zstd -q -c -1 | tail -c +1000 | head -c "$2"; }
# flip FILE OFFSET: another byte there.
flip() {
    local byte
    byte=$(od -A n -t u1 -j "$2" -N 1 "$1")
    # shellcheck disable=SC2059
    printf "\\$(printf %o $((byte ^ 90)))" |
        dd of="$1" bs=1 seek="$2" conv=notrunc 2> /dev/null
}
# The report of any run that did the same: without what time does to it.
timeless() { sed -e 's/, [0-9.]* s, [0-9.]* GB.*//' -e 's/"seconds":.*//' "$1"; }

# The content of most tests: text, noise, a hole, zeros, text again but moved, a tail.
prepare() {
    text 30000 > text
    noise 100 400000 > noise
    { cat text noise; head -c 700000 /dev/zero; echo moved; cat text; head -c 12345 noise; } > d.raw
    truncate -s 8000000 d.raw
    tail -c 5000 text >> d.raw
    cat text noise > unique.raw # no chunk of it twice, and none of zeros
}

# ------------------------------------------------------------------------------- options

test_options() {
    local bad
    run --help
    check "--help" 'code 0' 'silent' 'says "usage: pack COMMAND"' 'says "--codec"' \
        'says "--chunk"' 'says "--threads"' 'says "--force"' 'says "--json"' 'says "--quiet"' \
        'says "--offset"' \
        'says "--version"' 'says "  create "' 'says "  verify "' 'says "Exit codes"'
    run --version
    check "--version" 'code 0' 'silent' 'lines 1' 'says "pack (chunkwise)"'
    run
    check "no command" 'code 2' 'begins "pack: "' 'complains "--help"' 'prints_nothing'
    run squeeze a b
    check "no such command" 'code 2' 'begins "squeeze: "' 'complains "one of create"'
    run create --no-such a d.raw
    check "an unknown option" 'code 2' 'begins "--no-such: "' 'absent a'
    for bad in gzip zstd: zstd:x zstd:23 zstd:3:4 lz4:1 lz4hc:1 lz4hc:13 none:1 ""; do
        run create --codec "$bad" a d.raw
        check "--codec '$bad'" 'code 2' 'begins "--codec"' 'absent a'
    done
    for bad in 0 63 17M 64KK cdcx cdc: cdc:1K cdc:1K,4K cdc:1K,5K,8K cdc:8K,4K,16K cdc:1K,4K,2K \
        cdc:16,256,512 cdc:1K,4K,17M cdc:1K,4K,16K,5 cdc,64K ""; do
        run create --chunk "$bad" a d.raw
        check "--chunk '$bad'" 'code 2' 'begins "--chunk"' 'absent a'
    done
    run create --threads 5000 a d.raw
    check "too many threads" 'code 2' 'begins "--threads 5000: "'
    for bad in "create a" "create a d.raw d.raw" "info" "cat a b" "extract a b"; do
        # shellcheck disable=SC2086
        run $bad
        check "operands: $bad" 'code 2' "begins '${bad%% *}: '" 'absent a'
    done
    for bad in "info --codec lz4 a" "cat --chunk 4K a" "list --format raw a" "verify --force a" \
        "create --offset 5 a d.raw" "info --length 5 a" "cat -o x a" "verify --memory 1M a"; do
        # shellcheck disable=SC2086
        run $bad
        check "misplaced: $bad" 'code 2' 'complains "goes with"' 'prints_nothing' 'absent a'
    done
    run create --format qcow2 a -
    check "an image from a pipe" 'code 2' 'complains "packed as it is"' 'absent a'
    run create --format raw --quiet a -
    check "but raw bytes" 'code 0' 'silent'
    rm -f a
    run cat --offset 5Q a
    check "--offset 5Q" 'code 2' 'begins "--offset 5Q: "'
    run extract -o "" a
    check "-o ''" 'code 2' 'begins "-o: "'
    run info -
    check "an archive from a pipe" 'code 2' 'begins "info: "' 'complains "pipe"'
}

# ------------------------------------------------------------------------------- bytes

# round NAME OPTION...: packs d.raw with these; what comes back is compared.
round() {
    local name=$1 threads
    shift
    run create --force --threads 1 "$@" a1 d.raw
    check "create, $name" 'code 0' 'silent' 'says "a1: "' 'says "ratio"' 'says "GB/s"' 'lines 1'
    for threads in 2 3 8; do
        run create --force --quiet --threads $threads "$@" a2 d.raw
        check "the same by $threads threads, $name" 'code 0' 'silent' 'prints_nothing' 'same a1 a2'
    done
    run create --force --quiet --memory 1 "$@" a2 d.raw
    check "the same in little memory, $name" 'code 0' 'same a1 a2'
    run cat a1
    check "cat, $name" 'code 0' 'silent' '[ "$(sum out)" = "$(sum d.raw)" ]'
    run verify --quiet a1
    check "verify, $name" 'code 0' 'silent' 'prints_nothing'
}

test_bytes() {
    local at threads
    round "defaults"
    run create --quiet --codec zstd:3 --chunk cdc:16K,64K,256K a3 d.raw
    check "these are the defaults" 'code 0' 'same a1 a3'
    run create --quiet --codec zstd:0 --chunk cdc a4 d.raw
    check "zstd:0 is zstd:3, as with zstd" 'code 0' 'same a1 a4'
    round "fixed" --chunk 64K --codec zstd:1
    round "fixed, an odd size" --chunk 10007 --codec zstd:-5
    round "small ones" --chunk cdc:512,1K,4K --codec none
    run create --codec lz4 --quiet a5 unique.raw
    if complains "LZ4"; then
        check "LZ4 is refused by name" 'code 2' 'begins "a5: "' 'absent a5'
        skip "LZ4" "liblz4-dev is not installed"
    else
        round "LZ4" --codec lz4
        round "LZ4 HC" --codec lz4hc:4 --chunk 32K
    fi
    run create --force --chunk 64K --quiet a d.raw
    for at in 0:1 65535:2 65536:65536 400000:1000000 1900000:300000 8004999:1 8005000:0; do
        run cat --offset ${at%:*} --length ${at#*:} a
        check "cat, a range of ${at#*:} at ${at%:*}" 'code 0' 'silent' \
            "same out <(piece d.raw ${at%:*} ${at#*:})"
    done
    run cat --offset 7M a
    check "cat, to the end" 'code 0' 'same out <(tail -c +7340033 d.raw)'
    run cat --offset 0 --length 8005001 a
    check "cat, beyond the end" 'code 2' 'begins "a: "' 'complains "8005000 bytes"' \
        'prints_nothing'
    run cat --offset 9M a
    check "cat, from beyond the end" 'code 2' 'begins "a: "' 'prints_nothing'
    for threads in 1 2 3 8; do
        rm -f x
        run extract --threads $threads -o x a
        check "extract, $threads threads" 'code 0' 'silent' 'same x d.raw' '[ ! -e x.part ]' \
            '[ "$(stat -c %b x)" -lt 12000 ]'
    done
    : > empty
    run create --format raw --quiet e empty
    check "an empty file" 'code 0' 'silent'
    run verify e
    check "is verified" 'code 0' 'says "good: 0 chunks"'
    run cat e
    check "and empty again" 'code 0' 'silent' 'prints_nothing'
    run create --quiet z.hexz - < /dev/null
    truncate -s 5G holes.raw
    run create --force z.hexz holes.raw
    check "a hole of 5 GiB" 'code 0' '[ "$(size_of z.hexz)" -lt 2000 ]'
    run extract z.hexz
    check "is one again" 'code 0' '[ "$(size_of z)" = 5368709120 ]' '[ "$(stat -c %b z)" -lt 100 ]'
    rm -f z holes.raw
}

test_pipes() {
    local size
    timeout -s KILL 20 "$pack" create --chunk 64K p - < d.raw > out 2> err
    code=$?
    check "standard input" 'code 0' 'says "p: "' 'silent'
    run create --chunk 64K --quiet q d.raw
    check "gives the same archive as the file" 'same p q'
    cat d.raw | timeout -s KILL 20 "$pack" create --chunk 64K - - > out 2> err
    code=$?
    check "standard output" 'code 0' 'same out q' 'complains "ratio"'
    for size in 1 65535 65536 65537; do
        head -c $size d.raw | timeout -s KILL 20 "$pack" create --chunk 64K --quiet - - > r 2> err
        timeout -s KILL 20 "$pack" cat r > out 2>> err
        code=$?
        check "$size bytes through a pipe" 'code 0' 'silent' "same out <(head -c $size d.raw)"
    done
    timeout -s KILL 20 "$pack" create --quiet - d.raw 2> err | head -c 1000 > out
    code=${PIPESTATUS[0]}
    check "a reader of the archive that has enough" 'code 2' 'silent'
    timeout -s KILL 20 "$pack" cat q 2> err | head -c 1000 > out
    code=${PIPESTATUS[0]}
    check "a reader of the content that has enough" 'code 2' 'silent' \
        'same out <(head -c 1000 d.raw)'
    run create --json - d.raw
    check "--json with an archive on standard output" 'code 0' 'complains "\"root\":\""' \
        'same out <(timeout 20 "$pack" create - d.raw 2> /dev/null)'
}

# ------------------------------------------------------------------------------- info, list

test_inspection() {
    local chunks
    run create --force --quiet --chunk 64K a d.raw
    run info a
    check "info" 'code 0' 'silent' 'says "codec             zstd:3"' \
        'says "chunks            fixed, 64 KiB"' 'says "content           8,005,000 bytes"' \
        'says "runs of zeros"' 'says "stored by         raw: "' 'says "zstd: "' \
        'says "size of chunks"' 'says "####"'
    run info --json a d.raw
    check "info --json of one, and of what is none" 'code 2' 'lines 2' 'begins "d.raw: "' \
        'head -n 1 out > first' 'mv first out' 'json' 'says "\"sizes\":[{"' 'says "\"root\":\""'
    run info --json a
    chunks=$(grep -o '"chunks":[0-9]*' out | head -n 1 | cut -d : -f 2)
    run list a
    check "list" 'code 0' 'silent' 'says "BLAKE3"' "lines $((chunks + 1))" \
        'grep -q -E "^ +0 +0 +65536  zstd +[0-9]+ +128  [0-9a-f]{64}$" out' \
        'grep -q -E "  zero *$" out'
    if have b3sum; then
        check "list, the BLAKE3 of the first chunk" \
            '[ "$(sed -n 2p out | tr -s " " | cut -d " " -f 8)" = \
            "$(head -c 65536 d.raw | b3sum --no-names)" ]'
    else skip "list, the BLAKE3 of the first chunk" "b3sum missing"; fi
    run list --json a
    check "list --json" 'code 0' 'json' 'says "\"list\":[{\"chunk\":0,\"offset\":0,"' \
        'says "\"kind\":\"raw\""'
    run create --quiet --chunk cdc:1K,4K,16K b d.raw
    run list b
    check "list, duplicates" 'code 0' 'grep -q -E "duplicate +of chunk [0-9]+$" out'
    run verify a b
    check "verify of two" 'code 0' 'lines 2' 'says "a: good: "' 'says "b: good: "'
    run verify --json a
    check "verify --json" 'code 0' 'json' 'says "\"damaged\":[]"' 'says "\"status\":\"ok\""' \
        'says "\"faults\":0"'
}

# ------------------------------------------------------------------------------- the format

test_format() {
    local options name
    run create --force --quiet u unique.raw
    zstd -d -q -c < u > o 2> err
    code=$?
    check "zstd -d of an archive without duplicates" 'code 0' 'same o unique.raw'
    if have "$build/unzst"; then
        tool unzst -o - u
        check "unzst of the same" 'code 0' 'same out unique.raw'
        tool unzst --list --quiet u
        check "its seek table is one" 'code 0' 'says "seek table        yes"'
    fi
    [ -n "$python" ] || { skip "the format, by its manual" "python3 missing"; return; }
    for options in "" "--chunk 64K" "--chunk cdc:1K,4K,16K" "--chunk 2K --codec none" \
        "--codec lz4 --chunk 16K" "--codec lz4hc:3"; do
        # shellcheck disable=SC2086
        run create --force --quiet $options a d.raw
        name="by the manual: ${options:-defaults}"
        if complains "LZ4"; then skip "$name" "liblz4-dev is not installed"; continue; fi
        timeout 20 "$python" "$here/fixtures/read_hexz.py" check a o > out 2> err
        code=$?
        check "$name" 'code 0' 'silent' 'same o d.raw' "says \"root $(timeout 20 "$pack" info a |
            sed -n 's/^  root  *//p')\""
    done
    have b3sum || { skip "by the manual: BLAKE3, and features" "b3sum missing"; return; }
    run create --force --quiet a d.raw
    "$python" "$here/fixtures/read_hexz.py" extend a later > out 2> err
    code=$?
    check "an archive with an optional feature" 'code 0' 'silent'
    timeout 20 "$python" "$here/fixtures/read_hexz.py" check later o > out 2> err
    code=$?
    check "is read by the manual" 'code 0' 'silent' 'same o d.raw'
    run verify later
    check "is verified" 'code 0' 'silent' 'says "later: good: "'
    run cat later
    check "and read" 'code 0' 'silent' 'same out d.raw'
    flip later $(($(size_of later) - $(od -A n -t u4 -j $(($(size_of later) - 9)) -N 4 later) * 8 -
        97 - 20)) # in the last of its frames
    run verify later
    check "what it says of itself is verified, too" 'code 1' 'says "of the archive: "'
    "$python" "$here/fixtures/read_hexz.py" patch a later 24 00000080
    timeout 20 "$python" "$here/fixtures/read_hexz.py" check later o > out 2> err
    code=$?
    check "an unknown required feature, by the manual" 'code 1' 'complains "required features"'
}

# ------------------------------------------------------------------------------- images

# packs NAME IMAGE MEDIA OPTION...: the archive of an image holds its media.
packs() {
    local name=$1 image=$2 media=$3
    shift 3
    run create --force "$@" i.hexz "$image"
    check "$name: create" 'code 0' 'silent'
    run cat i.hexz
    check "$name: its media" 'code 0' "same out $media"
    run create --force --chunk 64K --quiet "$@" i2.hexz "$image"
    run create --force --chunk 64K --quiet --format raw m.hexz "$media"
    run list i2.hexz
    cp out list.image
    run list m.hexz
    # offsets in the archive differ by what is kept of the image
    check "$name: the chunks are those of its media" 'code 0' \
        'same <(cut -c 1-50,66- list.image) <(cut -c 1-50,66- out)'
}

test_images() {
    local image
    head -c 5000192 d.raw > disk.raw
    truncate -s 9000448 disk.raw
    tail -c 512 d.raw >> disk.raw
    split -b 3000000 -a 3 --numeric-suffixes=1 disk.raw s.
    packs "split raw" s.001 disk.raw
    zstd -q -f disk.raw
    packs "raw in zstd" disk.raw.zst disk.raw
    "$build/make_ewf" encase6 e > make.log 2>&1 || fail "make_ewf" "$(tail -n 1 make.log)"
    packs "E01 of the fixtures" e.E01 e.raw
    "$build/make_ewf" flip-zlib flip > make.log 2>&1 || fail "make_ewf" "$(tail -n 1 make.log)"
    run create flip.hexz flip.E01
    check "a damaged E01" 'code 1' 'begins "flip.E01: "' 'absent flip.hexz'
    if have ewfacquire; then
        ewfacquire -u -q -f encase6 -c fast -b 64 -S 2097152 -d sha1 -C "case é 7" -E ev1 \
            -D d -e examiner -N n -m fixed -M physical -t disk disk.raw > acquire.log 2>&1
        packs "E01" disk.E01 disk.raw
        ewfexport -u -q -f raw -t exported disk.E01 > export.log 2>&1
        run cat i.hexz
        check "E01: as ewfexport has it" 'same out exported.raw'
        run info i.hexz
        check "E01: case data" 'says "ewf.case_number   case é 7"' \
            'says "ewf.examiner      examiner"' \
            'says "source.format     EWF-E01"' "says \"ewf.md5           $(md5sum < disk.raw |
                cut -d ' ' -f 1)\""
        tool verify --json i.hexz
        check "E01: verify compares the digests that were stored" 'code 0' 'json' \
            'says "\"match\":true"' "says \"\\\"stored\\\":\\\"$(sha1sum < disk.raw |
                cut -d ' ' -f 1)\""
        run create --force --quiet again.hexz i.hexz
        check "an archive packed anew" 'code 0' 'same again.hexz i.hexz'
        run create --force --quiet --codec none --format raw f.hexz disk.E01
        run cat f.hexz
        check "--format raw packs the file" 'same out disk.E01'
        tool verify --format hexz/ewf f.hexz
        check "an E01 in an archive" 'code 0' 'says "every stored digest matches"'
    else skip "E01 of ewfacquire" "ewfacquire missing"; fi
    if have qemu-img; then
        for image in qcow2 vmdk vhdx; do
            qemu-img convert -f raw -O $image disk.raw disk.$image
            qemu-img convert -f $image -O raw disk.$image back.$image.raw
            packs "$image" disk.$image back.$image.raw
        done
        qemu-img convert -c -f raw -O qcow2 disk.raw disk.qcow2
        packs "compressed qcow2" disk.qcow2 back.qcow2.raw
        qemu-img create -q -f qcow2 -b disk.qcow2 -F qcow2 top.qcow2
        packs "a chain of qcow2" top.qcow2 back.qcow2.raw
        run create top.qcow2 top.qcow2 --force
        check "an image is not replaced" 'code 2' 'begins "top.qcow2: "' 'complains "input"'
        run create disk.qcow2 top.qcow2 --force
        check "nor what it stands on" 'code 2' 'begins "disk.qcow2: "' 'complains "input"' \
            'qemu-img check -q disk.qcow2'
    else skip "QCOW2, VMDK, VHDX" "qemu-img missing"; fi
    cp d.raw d.unknown
    run create i3 d.unknown
    check "a file of no known name" 'code 2' 'begins "d.unknown: "' 'complains "--format raw"' \
        'absent i3'
    run create --format raw --quiet i3 d.unknown
    check "is packed with --format raw" 'code 0'
}

# ------------------------------------------------------------------------------- the other tools

test_tools() {
    local n
    run create --force --quiet --chunk 16K t.hexz d.raw
    tool verify --json --digest sha256,blake3 t.hexz
    check "verify" 'code 0' 'silent' 'json' 'says "\"format\":\"hexz_pack archive\""' \
        "says '\"computed\":\"$(sum d.raw)\"'" 'says "\"corruptions\":0,"' \
        'says "\"media_size\":8005000"'
    tool verify t.hexz
    check "verify, as text" 'code 0' 'says "OK: every hash and checksum"' 'says "structure "'
    tool export -o - t.hexz
    check "export" 'code 0' 'same out d.raw'
    tool export --map t.hexz
    check "export --map" 'code 0' 'says "  zero"' 'says "  compressed"'
    if have mkntfs; then
        truncate -s 8M ntfs.raw
        mkntfs -F -q -s 512 -p 0 -H 1 -S 1 ntfs.raw > mkntfs.log 2>&1
        run create --force --quiet ntfs.hexz ntfs.raw
        tool mft_scan ntfs.raw
        cp out names
        tool mft_scan ntfs.hexz
        check "mft_scan" 'code 0' 'same out names' 'says "\$MFT"'
    else skip "mft_scan" "mkntfs missing"; fi
    tool verify --info t.hexz
    check "verify --info" 'code 0' 'says "root "' 'says "hexz_pack archive"'
    cp t.hexz t.raw.zst
    tool verify t.raw.zst
    check "an archive under the name of a zstd file" 'code 2' 'complains "--format hexz"'
    tool verify --format hexz t.raw.zst
    check "opens with --format" 'code 0'
    cp t.hexz t
    tool export -o - t
    check "an archive of another name" 'code 0' 'same out d.raw'
    cp d.raw wrong.hexz
    tool verify wrong.hexz
    check "what is no archive under its name" 'code 2' 'begins "wrong.hexz: "'
    n=$(timeout 20 "$pack" list t.hexz | sed -n '4s/^.* \([0-9]*\)  [0-9a-f]*$/\1/p')
    flip t.hexz $((n + 50))
    tool verify --json t.hexz
    check "verify, a damaged chunk" 'code 1' 'json' 'says "\"status\":\"damaged\""' \
        'says "\"computed\":null"' 'says "\"media_offset\":32768,\"length\":16384"' \
        'says "\"message\":\"chunk 2: "'
    tool verify t.hexz
    check "verify, as text" 'code 1' 'says "media 32768 to 49151: chunk 2 "' \
        'says "DAMAGED: 1 chunk"'
    tool export --damage zeros -o - t.hexz
    check "export, a damaged chunk" 'code 1' \
        'same out <(head -c 32768 d.raw; head -c 16384 /dev/zero; tail -c +49153 d.raw)'
}

# ------------------------------------------------------------------------------- refusals

refused() { # NAME CODE FILE TEXT
    local command
    rm -f o
    for command in info list cat verify "extract -o o"; do
        # shellcheck disable=SC2086
        run $command "$3"
        check "$1, ${command%% *}" "code $2" "begins \"$3: \"" "complains \"$4\"" 'prints_nothing' \
            'absent o'
    done
    run $command --json "$3"
    check "$1, --json" "code $2" 'json' 'says "\"error\":\""'
}

test_refusals() {
    local n at command
    run create --force --quiet --chunk 64K good d.raw
    n=$(size_of good)
    refused "text" 2 text "not"
    : > empty
    refused "an empty file" 2 empty "the file is empty"
    refused "a file that is not there" 2 nowhere ""
    zstd -q -f -c text > text.zst
    refused "a zstd file" 2 text.zst "not"
    { printf 'HEXZ\1\0\0\0\0\0\1\0'; head -c 5000 /dev/zero; } > other.hxz
    refused "a file of the hexz tool" 2 other.hxz "hexz tool"
    { printf 'PK\3\4'; cat text; } > text.zip
    refused "a zip file" 2 text.zip "not an archive"
    mkdir -p folder
    refused "a folder" 2 folder "is a folder"
    mkfifo silent
    refused "a pipe" 2 silent "pipe"
    rm -f silent
    for at in 1 100 128 5000 $((n / 2)) $((n - 500)) $((n - 9)) $((n - 1)); do
        rm -f o
        head -c $at good > cut
        run verify cut
        check "cut to $at of $n bytes" '[ $code = 1 ] || [ $code = 2 ]' 'begins "cut: "'
        run extract -o o cut
        check "cut to $at bytes, extract" '[ $code = 1 ] || [ $code = 2 ]' 'absent o'
        for command in info list cat; do
            run $command cut
            check "cut to $at bytes, $command" '[ $code = 1 ] || [ $code = 2 ]' 'begins "cut: "' \
                'prints_nothing'
        done
    done
    { cat good; echo; } > longer
    refused "bytes behind" 1 longer ""
    at=$((n - 97 - 8 * $(od -A n -t u4 -j $((n - 9)) -N 4 good))) # the trailer
    cp good bad
    flip bad $((at + 40))
    refused "a damaged trailer" 1 bad "trailer"
    cp good bad
    flip bad $((at - 10))
    refused "a damaged directory" 1 bad "directory"
    [ -n "$python" ] || { skip "later versions" "python3 missing"; return; }
    "$python" "$here/fixtures/read_hexz.py" patch good later 20 0200
    refused "a later version" 2 later "version 2"
    head -c 3000 later > cut
    refused "a later version, cut" 2 cut "version 2"
    head -c 60 later > cut
    refused "a later version, cut in its superblock" 1 cut "the file ends in it"
    "$python" "$here/fixtures/read_hexz.py" patch good later 24 00000080
    refused "an unknown required feature" 2 later "feature"
    "$python" "$here/fixtures/read_hexz.py" patch good later 32 05
    refused "an unknown hash" 2 later "hash is number 5"
    "$python" "$here/fixtures/read_hexz.py" patch good later 44 00000000
    refused "no size of chunks" 1 later ""
}

# ------------------------------------------------------------------------------- damage

test_damage() {
    local n at page table command
    run create --force --quiet --chunk 64K good d.raw
    n=$(size_of good)
    cp good bad
    flip bad 200 # within chunk 0
    run verify bad
    check "a damaged chunk" 'code 1' 'silent' 'says "DAMAGED: 65,536 bytes"' \
        'says "chunk 0, offset 0, 65,536 bytes, at 128 of the archive: "'
    run verify --json bad
    check "a damaged chunk, as JSON" 'code 1' 'json' 'says "\"status\":\"damaged\""' \
        'says "\"bad_bytes\":65536"' \
        'says "\"chunk\":0,\"offset\":0,\"size\":65536,\"file_offset\":128"'
    rm -f o
    run cat bad
    check "a damaged chunk, cat" 'code 1' 'begins "bad: "' 'complains "chunk 0 "'
    run extract -o o bad
    check "a damaged chunk, extract" 'code 1' 'begins "bad: "' 'complains "chunk 0 "' 'absent o'
    run cat --offset 65536 bad
    check "the other chunks" 'code 0' 'same out <(tail -c +65537 d.raw)'
    run info bad
    check "a damaged chunk, info" 'code 0' 'silent'
    run verify bad good nowhere
    check "verify of a bad, a good one, and none" 'code 2' 'says "good: good"' \
        'says "bad: DAMAGED"' 'begins "nowhere: "'
    run verify --threads 1 bad
    timeless out > one
    for at in 2 3 8; do
        run verify --threads $at bad
        check "a damaged chunk, $at threads" 'code 1' 'same one <(timeless out)'
    done
    # wherever it is: found, with the same words by any number of threads
    for at in 30 130 $((n / 3)) $((n / 2)) $((n * 9 / 10)) $((n - 2500)) $((n - 1200)) \
        $((n - 350)) $((n - 100)) $((n - 20)) $((n - 1)); do
        cp good bad
        flip bad $at
        run verify --threads 1 bad
        cat out err | timeless /dev/stdin > one
        check "byte $at of $n is another" '[ $code = 1 ] || [ $code = 2 ]' '[ -s one ]'
        run verify --threads 3 bad
        check "byte $at, 3 threads" 'same one <(cat out err | timeless /dev/stdin)'
    done
    # a page of the index, the group's table that is the same, and both: one can do without one
    at=$((n - 97 - 8 * $(od -A n -t u4 -j $((n - 9)) -N 4 good))) # the trailer
    at=$(od -A n -t u8 -j $((at + 16)) -N 8 good | tr -d ' ')       # the directory
    for page in 1 0; do for table in 1 0; do
        [ $page$table != 00 ] || continue
        cp good bad
        [ $page = 0 ] || flip bad $((at - 40))
        [ $table = 0 ] ||
            flip bad $(($(od -A n -t u8 -j $((at + 92)) -N 8 good | tr -d ' ') + 40))
        run verify bad
        if [ $page$table = 11 ]; then
            check "a page and its table" 'code 1' 'says "DAMAGED: 8,005,000 bytes"' \
                'says ": the table of a group: its BLAKE3"' 'says ": a page of the index: its BLA"'
            for command in list cat "extract -o o"; do
                # shellcheck disable=SC2086
                run $command bad
                check "a page and its table, $command" 'code 1' \
                    'begins "bad: page 0 of the index"' 'absent o'
            done
        else
            check "a page or its table ($page$table)" 'code 1' \
                'says "bad: DAMAGED, but all of the content is good"' 'lines 2'
            run cat bad
            check "a page or its table ($page$table), cat" 'code 0' 'silent' 'same out d.raw'
        fi
    done; done
    # a chunk that others are duplicates of
    run create --force --quiet --chunk 4K twice.hexz d.raw
    { head -c 65536 text; head -c 65536 text; } > twice.raw
    run create --force --quiet --chunk 64K twice.hexz twice.raw
    flip twice.hexz 200
    run verify twice.hexz
    check "a damaged chunk that is used twice" 'code 1' 'says "DAMAGED: 131,072 bytes"'
}

# ------------------------------------------------------------------------------- outputs

# What may not be read or written, by who is not root.
test_permissions() {
    local command nobody=
    mkdir -p locked && cp d/a locked && cp d/a secret && chmod 555 locked && chmod 0 secret
    if [ "$(id -u)" = 0 ]; then
        # the tools may lie where only root may go
        nobody="setpriv --reuid 65534 --regid 65534 --clear-groups"
        $nobody "$pack" --version > out 2> err && $nobody test -r locked/a || {
            skip "permissions" "setpriv is missing, or cannot go here"
            return
        }
    fi
    for command in info list cat verify "extract -o locked/x" "create locked/b"; do
        # shellcheck disable=SC2086
        timeout 20 $nobody "$pack" $command secret > out 2> err
        code=$?
        check "no permission to read, ${command%% *}" 'code 2' 'begins "secret: "' \
            'complains "permission"' 'prints_nothing' 'absent locked/x' 'absent locked/b'
    done
    timeout 20 $nobody "$pack" extract -o locked/x locked/a > out 2> err
    code=$?
    check "a folder that cannot be written, extract" 'code 2' 'begins "locked/x: "' \
        'complains "permission"' 'absent locked/x'
    timeout 20 $nobody "$pack" create --format raw locked/b locked/a > out 2> err
    code=$?
    check "a folder that cannot be written, create" 'code 2' 'begins "locked/b: "' \
        'complains "permission"' 'absent locked/b'
}

test_outputs() {
    local size
    mkdir -p d && rm -rf d/*
    echo old > d/a
    run create d/a d.raw
    check "an output in the way" 'code 2' 'begins "d/a: "' 'complains "--force"' \
        'grep -q old d/a' '[ ! -e d/a.part ]'
    run create --force --quiet d/a d.raw
    check "--force" 'code 0' 'silent'
    run verify --quiet d/a
    check "replaces it" 'code 0'
    echo old > d/x
    run extract -o d/x d/a
    check "extract, an output in the way" 'code 2' 'begins "d/x: "' 'complains "--force"' \
        'grep -q old d/x'
    run extract --force -o d/x d/a
    check "extract --force" 'code 0' 'same d/x d.raw'
    run extract --force -o d/a d/a
    check "the archive is no output" 'code 2' 'begins "d/a: "' 'complains "is the archive"'
    run extract d/a
    check "no .hexz to leave out" 'code 2' 'begins "d/a: "' 'complains "-o names"'
    cp d/a d/c.hexz
    run extract d/c.hexz
    check "a default name" 'code 0' 'same d/c d.raw'
    run create --force d.raw d.raw
    check "the input is no output" 'code 2' 'begins "d.raw: "' 'complains "input"'
    ln -sf ../d.raw d/link.part
    run create --force d/link d.raw
    check "nor is its .part" 'code 2' 'begins "d/link: "' '[ "$(size_of d.raw)" = 8005000 ]'
    rm -f d/link.part
    run create d/none/a d.raw
    check "a folder that is not there" 'code 2' 'begins "d/none/a: "'
    run create d d.raw
    check "a folder as the archive" 'code 2' 'begins "d: "'
    run create a9 nowhere.raw
    check "an input that is not there" 'code 2' 'begins "nowhere.raw: "' 'absent a9'
    test_permissions
    if [ -w /dev/full ]; then
        run create /dev/full d.raw
        check "create /dev/full" 'code 2' 'begins "/dev/full: "' 'complains "space"'
        timeout -s KILL 20 "$pack" create - d.raw > /dev/full 2> err
        code=$?
        check "create to standard output that is full" 'code 2' 'begins "-: "'
        run extract -o /dev/full d/a
        check "extract /dev/full" 'code 2' 'begins "/dev/full: "'
    fi
    # the system ends a write beyond the limit by SIGXFSZ, or, if that is ignored, an error
    for size in 1 100 300 600; do
        (trap '' XFSZ; ulimit -f $size; exec timeout -s KILL 20 "$pack" create --codec none \
            d/full d.raw) > out 2> err
        code=$?
        check "no more than $size KiB for the archive" 'code 2' 'begins "d/full: "' 'absent d/full'
    done
    (trap '' XFSZ; ulimit -f 500
        exec timeout -s KILL 20 "$pack" extract -o d/full d/a) > out 2> err
    code=$?
    check "no more than 500 KiB for the content" 'code 2' 'begins "d/full: "' 'absent d/full'
    if mkdir -p disk && mount -t tmpfs -o size=600k tmpfs disk 2> /dev/null; then
        echo old > disk/a
        run create --force --codec none disk/a d.raw
        check "a full disk" 'code 2' 'begins "disk/a: "' 'complains "no space"' \
            'grep -q old disk/a' '[ ! -e disk/a.part ]'
        run extract -o disk/x d/a
        check "a full disk, extract" 'code 2' 'begins "disk/x: "' 'complains "no space"' \
            'absent disk/x'
        mount -o remount,ro disk 2> /dev/null
        run create disk/b text.zst --format raw
        check "a disk that is read-only" 'code 2' 'begins "disk/b: "' 'complains "read-only"'
        run extract -o disk/x d/a
        check "a disk that is read-only, extract" 'code 2' 'begins "disk/x: "' \
            'complains "read-only"'
        umount disk
    else skip "a full disk" "tmpfs cannot be mounted"; fi
}

# The old archive or the new one, whenever the program is killed.
test_kill() {
    local i bad= states=
    { cat text; seq 1 777777; cat noise; seq 800000 1000000; } > large.raw
    run create --quiet --force --codec zstd:1 old d.raw
    run create --quiet --force --codec zstd:9 new large.raw
    check "an archive to be killed for" 'code 0'
    for i in 1 2 3 4 5 6 7 8; do
        cp old k
        "$pack" create --quiet --force --codec zstd:9 k large.raw > out 2> err &
        sleep 0.$((i * i * 12 + 100))
        kill -9 $! 2> /dev/null
        wait $! 2> /dev/null
        if cmp -s k old; then states=$states-
        elif cmp -s k new; then states=$states+
        else bad="$bad $i"; fi
    done
    code=0
    check "kill -9: the old file or the new one ($states)" '[ -z "$bad" ]'
    run create --quiet --force --codec zstd:9 k large.raw
    check "and what it left is no obstacle" 'code 0' 'same k new' '[ ! -e k.part ]'
    rm -f x
    cp old k && "$pack" extract --quiet -o x new & sleep 0.02
    kill -9 $! 2> /dev/null
    wait $! 2> /dev/null
    check "kill -9 of extract" '[ ! -e x ] || cmp -s x large.raw'
}

test_interrupt() {
    mkfifo fifo
    sleep 10 > fifo & # which keeps it open, and silent
    "$pack" create i.never - < fifo > out 2> err &
    await i.never.part
    sleep 0.1
    kill -INT $! 2> /dev/null
    wait $!
    code=$?
    kill %?sleep 2> /dev/null
    check "Ctrl-C while the input is silent" 'code 2' 'absent i.never' 'complains "interrupted"'
    "$pack" create --quiet --codec zstd:19 i.never large.raw > out 2> err &
    await i.never.part
    kill -INT $! 2> /dev/null
    wait $!
    code=$?
    if [ $code = 0 ]; then skip "Ctrl-C" "it was done before"
    else check "Ctrl-C" 'code 2' 'absent i.never' 'complains "interrupted"'; fi
    sleep 0.5 < fifo & # a reader that does not read
    "$pack" cat --quiet new > fifo 2> err &
    sleep 0.2
    kill -INT $! 2> /dev/null
    wait $!
    code=$?
    check "Ctrl-C of cat" 'code 2' 'begins "-: interrupted"'
    rm -f i.never fifo
}

# on_terminal ARGUMENT...: pack, with all of its output on a terminal; that is in out.
on_terminal() {
    timeout -s KILL 20 "$python" -c 'import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))' "$pack" "$@" > out 2> err < /dev/null
    code=$?
}

test_terminal() {
    "$python" -c 'import os, pty; os.waitstatus_to_exitcode' 2> /dev/null ||
        { skip "terminals" "python3 missing, or before 3.9"; return; }
    on_terminal cat old
    check "no raw bytes on a terminal" 'code 2' 'says "not written to a terminal"'
    on_terminal create - d.raw
    check "and no archive" 'code 2' 'says "not written to a terminal"'
    on_terminal create --force --codec zstd:15 t large.raw
    check "progress, with the time that is left" 'code 0' 'says "large.raw [#"' 'says "  ETA 0:0"'
    on_terminal create --force --codec zstd:15 --quiet t large.raw
    check "--quiet" 'code 0' 'prints_nothing'
    rm -f t
}

# An input that becomes shorter while it is read.
test_shrink() {
    local chunk
    for chunk in 64K cdc; do
        cp large.raw shrinks.raw
        "$pack" create --threads 1 --quiet --codec zstd:19 --memory 1 --chunk $chunk s.never \
            shrinks.raw > out 2> err &
        await s.never.part
        truncate -s 1000000 shrinks.raw
        wait $!
        code=$?
        if [ $code = 0 ]; then skip "an input that shrinks, $chunk" "it was read before"
        else
            check "an input that shrinks, $chunk" 'code 2' 'begins "shrinks.raw: "' \
                'complains "shorter"' 'absent s.never'
        fi
        rm -f s.never
    done
    # and an archive, while its reader waits: more is left than what is in flight
    seq 1 6000000 > shrinks.raw
    run create --quiet --codec zstd:1 shrinks.hexz shrinks.raw
    mkfifo fifo
    { exec 3< fifo; head -c 1 <&3; truncate -s 1000 shrinks.hexz; cat <&3; } > /dev/null &
    timeout -s KILL 20 "$pack" cat shrinks.hexz > fifo 2> err
    code=$?
    wait
    check "an archive that shrinks" 'code 2' 'begins "shrinks.hexz: "' 'complains "shorter"'
    rm -f fifo shrinks.raw shrinks.hexz
}

have zstd || { skip "all" "zstd missing"; finish; }
prepare
test_options
test_bytes
test_pipes
test_inspection
test_format
test_images
test_tools
test_refusals
test_damage
test_outputs
test_kill
test_interrupt
test_terminal
test_shrink
finish
