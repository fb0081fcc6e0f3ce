#!/usr/bin/env bash
# test_cli.sh VERIFY_BINARY MAKE_EWF_BINARY MAKE_QCOW2_BINARY WORK_DIR - what the verify tool
# promises to its users.
#
#   options    --help, bad values, what is said and with which exit code
#   refusals   files that are no images: a clear error, at once, that begins with the path
#   hostile    images that lie: bounded time and memory, and never "good" with wrong media
#   sets       segments that are many, absent, foreign, exchanged; raw images and their names
#   reports    text, JSON, --log; hostile text; progress; Ctrl-C; the same for any --threads
#   batches    many images side by side: the same as one after another, for any --at-once
#   QCOW2      structure, damage, backing files, snapshots, images in images
#   zstd       images in zstd files: names, damage by frames, what is refused

. "$(dirname "$0")/cli.sh"
[ $# = 4 ] || usage "VERIFY_BINARY MAKE_EWF_BINARY MAKE_QCOW2_BINARY WORK_DIR"
verify=$(absolute "$1") make_ewf=$(absolute "$2") make_qcow2=$(absolute "$3")
need_programs "$verify" "$make_ewf" "$make_qcow2"
begin "$4/cli"
bounded=1
is_sanitized "$verify" && bounded=0
max_kib=200000

# ------------------------------------------------------------------------------- the framework

#   run ARGUMENT...   verify with these, within 5 seconds: $code, files out and err
run() {
    timeout 5 "$verify" "$@" > out 2> err < /dev/null
    code=$?
}
sha256() { says "\"sha256\":{\"computed\":\"$1\""; }

first_of() { ls "$1".[eEsS]01 2> /dev/null | head -n 1; }

# The report of any run of the same image: without what time does to it.
timeless() {
    sed -e '/^  speed /d' -e 's/"seconds":.*"threads":[0-9]*}/}/' "$1"
}

# ------------------------------------------------------------------------------- options

test_options() {
    make raw
    run --help
    check "--help" 'code 0' 'silent' 'says "usage: verify"' 'says "--digest"' 'says "--expect"' \
        'says "--info"' 'says "--format"' 'says "--threads"' 'says "--json"' 'says "--quiet"' \
        'says "--log"' 'says "--force"' 'says "--version"' 'says "Exit codes"'
    run raw.E01 --help
    check "--help behind an image" 'code 0' 'says "usage: verify"'
    run --version
    check "--version" 'code 0' 'silent' 'lines 1' 'grep -q -E "[0-9]+\.[0-9]+\.[0-9]+" out'
    run --no-such-option raw.E01
    check "an unknown option" 'code 2' 'begins "--no-such-option: "' 'prints_nothing'
    run -x raw.E01
    check "an unknown short option" 'code 2' 'begins "-x: "' 'prints_nothing'
    run --dig md5 raw.E01
    check "an abbreviated option is unknown" 'code 2' 'begins "--dig: "'
    local o
    for o in digest expect format threads log at-once snapshot; do
        run raw.E01 --$o
        check "--$o without a value" 'code 2' "begins '--$o: '" 'prints_nothing'
    done
    for o in json quiet info force alone raw-backing allow-outside; do
        run --$o=yes raw.E01
        check "--$o with a value" 'code 2' "begins '--$o=yes: '"
    done
    run --threads=2 --digest=sha1 --format=ewf --json raw.E01
    check "--option=value" 'code 0' 'says "\"threads\":2}"' 'says "\"sha1\":{"'
    local bad
    for bad in "" none md4 "md5,," ",md5" "md5,sha" "md5 " sha512 MD5x; do
        run --digest "$bad" raw.E01
        check "--digest '$bad'" 'code 2' "begins '--digest $bad: '" 'prints_nothing'
    done
    for bad in "" md5 md5: md5:12 "md5:0123456789abcdef0123456789abcdeg" \
        "md5:0123456789abcdef0123456789abcdef0" "sha512:00" ":" \
        "sha1:0123456789abcdef0123456789abcdef"; do
        run --expect "$bad" raw.E01
        check "--expect '$bad'" 'code 2' "begins '--expect $bad: '" 'prints_nothing'
    done
    for bad in "" -1 x 1x 5000 4294967296 18446744073709551617 " 1" 1.5; do
        run --threads "$bad" raw.E01
        check "--threads '$bad'" 'code 2' "begins '--threads $bad: '" 'prints_nothing'
    done
    for bad in "" -1 x 65 4294967296 " 1" 1.5; do
        run --at-once "$bad" raw.E01
        check "--at-once '$bad'" 'code 2' "begins '--at-once $bad: '" 'prints_nothing'
    done
    for bad in "" zip EWF ewf2 ewf/ /ewf ewf//raw ewf/zip ewf/auto raw/raw/raw/raw/raw zstd/; do
        run --format "$bad" raw.E01
        check "--format '$bad'" 'code 2' "begins '--format $bad: '" 'prints_nothing'
    done
    run --digest=md5,foo raw.E01
    check "what is wrong with a value is said" 'code 2' \
        'begins "--digest md5,foo: unknown digest; one of md5, sha1, sha256, blake3"'
    for o in "--digest md5" "--expect md5:0123456789abcdef0123456789abcdef"; do
        # shellcheck disable=SC2086 # two words
        run --info $o raw.E01
        check "--info with ${o% *} is refused" 'code 2' 'begins "--info: "' 'complains "--digest"' \
            'prints_nothing'
    done
    run
    check "no image" 'code 2' 'complains "no image"' 'prints_nothing'
    run --json
    check "no image, but options" 'code 2' 'complains "no image"' 'prints_nothing'
    cp raw.E01 ./--json.E01
    run -- --json.E01
    check "-- ends the options" 'code 0' 'says "--json.E01"'
    rm -f ./--json.E01
    run raw.E01 ""
    check "an empty path" 'code 2' 'begins ": "'
    (exec > /dev/full) 2> /dev/null || { skip "standard output is full" "no /dev/full"; return; }
    timeout 5 "$verify" raw.E01 > /dev/full 2> err
    code=$?
    check "standard output is full" 'code 2' 'complains "standard output"'
}

# ------------------------------------------------------------------------------- refusals

test_refusals() {
    local p
    make raw
    echo "This is a text." > text.txt
    cp text.txt text.E01
    cp text.txt text.s01
    cp text.txt text.EAA
    for p in text.txt text.E01 ./text.s01 text.EAA "$work/text.E01"; do
        run "$p"
        check "a text as $(basename "$p")" 'code 2' "begins '$p: '" 'complains "not an"' \
            'prints_nothing'
    done
    : > empty.E01
    : > empty
    for p in empty.E01 empty; do
        run "$p"
        check "an empty file as $p" 'code 2' "begins '$p: '" 'prints_nothing'
    done
    run empty.E01
    check "an empty .E01 is called empty" 'code 2' 'complains "the file is empty"'
    mkdir folder.E01
    for p in folder.E01 . ..; do
        run "$p"
        check "a folder as $p" 'code 2' "begins '$p: '" 'prints_nothing'
    done
    run --format raw folder.E01
    check "a folder as raw" 'code 2' 'begins "folder.E01: "' 'prints_nothing'
    for p in missing.E01 no/such/folder/x.E01 missing.raw missing.001 raw.E01/x.E01; do
        run "$p"
        check "nothing there: $p" 'code 2' "begins '$p: '" 'prints_nothing'
    done
    run --json missing.E01
    check "nothing there, as JSON" 'code 2' 'begins "missing.E01: "' 'lines 1' 'status error' \
        'says "\"error_segment\":null"' 'says "\"error_file\":\"missing.E01\""' \
        'says "\"error_offset\":null"'
    run --json text.E01
    check "an error at an offset, as JSON" 'code 2' 'says "\"error_offset\":0,"'
    p=$(printf 'new\nline\033[2J\xff.E01')
    run "$p"
    check "a path of control characters is escaped" 'code 2' \
        'begins "new\\x0aline\\x1b[2J\\xff.E01: "'
    test_fifo
    test_permission
    # a signature and nothing behind it, then the families that are refused by name
    printf 'EVF\t\r\n\377\000' > magic.E01
    run magic.E01
    check "nothing but a signature" 'code 2' 'begins "magic.E01: "'
    printf 'EVF2\r\n\201\000\002\001\001\000\001\000\000\000' > v2.Ex01
    head -c 4096 /dev/zero >> v2.Ex01
    run v2.Ex01
    check "Ex01 is refused by name" 'code 2' 'begins "v2.Ex01: "' 'complains "Ex01"'
    make adcrypt
    run adcrypt.E01
    check "AD encryption is refused by name" 'code 2' 'begins "adcrypt.E01: "' 'complains "AD"'
}

test_fifo() {
    local p
    have mkfifo || { skip "a FIFO" "no mkfifo"; return; }
    mkfifo pipe.E01 pipe.raw pipe.002 pipe.001
    for p in pipe.E01 pipe.raw pipe.001; do
        run "$p"
        check "a FIFO as $p does not hang" 'code 2' "begins '$p: '" 'prints_nothing'
    done
    run --format raw pipe.E01
    check "a FIFO as raw does not hang" 'code 2' 'begins "pipe.E01: "'
    cp raw.E01 beside.E01
    mkfifo beside.E02
    run beside.E01
    check "a FIFO as a second segment does not hang" 'either 0 1'
    cp raw.raw split.001
    mkfifo split.002
    run split.001
    check "a FIFO as a second part does not hang" 'code 2' 'begins "split.001: "'
    rm -f pipe.* beside.* split.*
}

test_permission() {
    local as=()
    cp raw.E01 closed.E01
    chmod 0 closed.E01
    if [ "$(id -u)" = 0 ]; then
        have setpriv || { skip "no permission" "no setpriv"; return; }
        as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
        if ! "${as[@]}" "$verify" --version > /dev/null 2>&1 ||
            ! "${as[@]}" ls "$work" > /dev/null 2>&1; then
            skip "no permission" "another user can neither run the program nor enter $work"
            return
        fi
    fi
    timeout 5 "${as[@]}" "$verify" closed.E01 > out 2> err
    code=$?
    check "no permission" 'code 2' 'begins "closed.E01: "' 'complains "ermission"' 'prints_nothing'
    rm -f closed.E01
}

# ------------------------------------------------------------------------------- hostile images

# bounded_run ARGUMENT...: as run; $kib is the peak of memory.
bounded_run() {
    if [ $bounded = 1 ] && [ -x /usr/bin/time ]; then
        timeout 5 /usr/bin/time -o peak -f %M "$verify" "$@" > out 2> err < /dev/null
        code=$?
        kib=$(tail -n 1 peak)
    elif [ $bounded = 1 ]; then
        (ulimit -v 1500000; exec timeout 5 "$verify" "$@") > out 2> err < /dev/null
        code=$?
        kib=0
    else
        run "$@"
        kib=0
    fi
}
small() { [ "$kib" -lt $max_kib ]; }
# Verify keeps a ring of at least five slots of one chunk: 128 MiB is the largest there is.
small_for_large_chunks() { [ "$kib" -lt 1000000 ]; }

# truthful IMAGE SHA256: good only with the right media, damaged if not, and errors name the path.
truthful() {
    case $code in
    0) sha256 "$2" && status ok && silent ;;
    1) status damaged || status mismatch ;;
    2) begins "$1: " && status error ;;
    *) false ;;
    esac
}

test_variants() {
    local name worth rest image media small
    "$make_ewf" --list > list
    while read -r name worth rest; do
        case $name in overflow*) continue ;; esac
        make "$name"
        image=$(ls "$name".[eEsS]* | head -n 1)
        media=$(sum "$name.raw") small=small
        [ "$name" = geometry-large ] && small=small_for_large_chunks
        bounded_run --json --digest sha256 "$image"
        case $worth in
        clean) check "clean: $name ($rest)" 'code 0' 'status ok' "sha256 $media" 'silent' 'small' ;;
        odd) check "odd: $name ($rest)" 'either 0 1' "truthful $image $media" "sha256 $media" \
            'says_not "\"damaged_chunks\":[{"' 'small' ;;
        damaged) check "damaged: $name ($rest)" 'code 1' 'status damaged' 'silent' \
            'says "\"damaged_chunks\":[{"' 'small' ;;
        *) check "hostile: $name ($rest)" "truthful $image $media" $small ;;
        esac
        case $name in
        count-huge* | geometry-* | base-wrap | loop-* | header-bomb | chunk-bomb | dual)
            bounded_run "$image"
            check "$name as text" 'either 0 1 || begins "$image: "' $small
            bounded_run --info "$image"
            check "$name --info" 'either 0 1 || begins "$image: "' small ;;
        esac
        rm -f "$name".*
    done < list
}

# A file that ends anywhere: an error, damage, or, behind the last chunk, everything.
test_truncated() {
    local n size media step
    make encase6 ewf
    for image in encase6.E01 ewf.e01; do
        size=$(stat -c %s $image) media=$(sum "${image%.*}.raw") bad=
        step=$((size / 40))
        for n in 1 7 8 12 13 14 50 88 89 90 200 400 $(seq $step $step "$size") $((size - 400)) \
            $((size - 77)) $((size - 76)) $((size - 75)) $((size - 1)); do
            head -c "$n" $image > cut.E01
            run --json --digest sha256 cut.E01
            truthful cut.E01 "$media" || bad="$bad $n bytes: exit $code;"
        done
        check "$image cut short at 55 places" '[ -z "$bad" ] || { echo "$bad" > err; false; }'
    done
    rm -f cut.E01
}

# ------------------------------------------------------------------------------- sets

test_sets() {
    local media p shuffled
    make encase6-many
    media=$(sum encase6-many.raw)
    run --json --digest sha256 encase6-many.E*
    check "all segments given are one image" 'code 0' 'lines 1' 'status ok' "sha256 $media"
    run --json --digest sha256 encase6-many.E01
    timeless out | sed 's/"path":"[^"]*"//' > first
    for p in encase6-many.E0[2-9]; do
        run --json --digest sha256 "$p"
        timeless out | sed 's/"path":"[^"]*"//' > other
        check "$p names the set" 'code 0' 'same first other'
    done
    # shellcheck disable=SC2012 # names are plain
    shuffled=$(ls encase6-many.E* | sort -r)
    # shellcheck disable=SC2086 # a word for each
    run --json --digest sha256 $shuffled
    check "segments in the wrong order" 'code 0' 'lines 1' "sha256 $media"
    run --json ./encase6-many.E01 encase6-many.E01
    check "one image under two paths" 'code 0'
    test_missing
    test_case "$media"
    test_many
    test_neighbours
    make swapped-names extra-copy wrong-copy foreign
    run --json --digest sha256 swapped-names.E01
    check "exchanged names: numbers in headers decide" 'code 0' "sha256 $(sum swapped-names.raw)"
    run swapped-names.E01
    check "exchanged names are a warning" 'says "warnings"' 'says ".E02"'
    run --json --digest sha256 extra-copy.E01
    check "a duplicate beside a complete set" 'code 0' "sha256 $(sum extra-copy.raw)"
    run extra-copy.E01
    check "a duplicate is a warning" 'code 0' 'says "warnings"' 'says ".E04"'
    run wrong-copy.E01
    check "a duplicate in the place of another" 'code 1' 'says "damaged"' 'says "segment 3"'
    run foreign.E01
    check "a foreign segment" 'code 1' 'says "damaged"' 'says "foreign.E02"'
}

test_missing() {
    local n
    make missing-middle missing-first missing-last
    run missing-middle.E01
    check "a missing middle segment is named" 'code 1' 'says "DAMAGED"' \
        'grep -q -e "segment 2" -e "\.E02" out' 'says_not "segment 2: segment 2"' 'silent'
    run --json missing-middle.E01
    check "a missing middle segment, as JSON" 'code 1' 'status damaged' \
        'says "\"missing_segments\":1"' 'says "\"segment\":2"' 'says "\"computed\":null"' \
        'says "\"verified\":true"' 'says_not "segment 2: segment 2"'
    run --info --json missing-middle.E01
    check "a missing middle segment, --info" 'code 0' 'status ok' 'says "\"verified\":false"' \
        'says "\"missing_segments\":1"'
    run missing-middle.E03
    check "a missing middle segment, by the last" 'code 1' 'says "DAMAGED"'
    run missing-last.E01
    check "a missing last segment" 'code 1' 'says "DAMAGED"'
    run missing-first.E02
    check "a missing first segment" 'either 1 2' 'code 1 || begins "missing-first.E02: "'
    make segments-124
    rm segments-124.E50 segments-124.EAC
    run --json segments-124.E01
    check "two of 124 segments are missing" 'code 1' 'says "\"missing_segments\":2"'
    for n in segments-124.*; do [ "$n" = segments-124.raw ] || rm "$n"; done
}

test_case() {
    local media=$1 n
    for n in encase6-many.E*; do cp "$n" "lower.e${n##*.E}"; done
    run --json --digest sha256 lower.e01
    check "lower-case extensions" 'code 0' "sha256 $media"
    mv lower.e02 lower.E02
    run --json --digest sha256 lower.e01
    check "extensions of mixed case" 'code 0' "sha256 $media"
    run --json --digest sha256 lower.e* lower.E*
    check "extensions of mixed case are one image" 'code 0' 'lines 1'
    make smart-many
    run --json --digest sha256 smart-many.s*
    check "SMART segments are one image" 'code 0' 'lines 1' "sha256 $(sum smart-many.raw)"
    rm -f lower.*
}

test_many() {
    local n
    for n in 124 800; do
        make segments-$n
        (ulimit -n 100; timeout 5 "$verify" --json --digest sha256 segments-$n.E01) > out 2> err
        code=$?
        check "$n segments, 100 descriptors" 'code 0' "says '\"segments\":$n,'" \
            "sha256 $(sum segments-$n.raw)"
        run --json segments-$n.[E-F]*
        check "$n segments given are one image" 'code 0' 'lines 1'
        run --json "$(ls segments-$n.[E-F]* | tail -n 1)"
        check "the last of $n segments names the set" 'code 0' "says '\"segments\":$n,'"
        rm -f segments-$n.*
    done
}

# Files beside an image that happen to have extensions of the naming scheme.
test_neighbours() {
    local n
    make encase6
    cp encase6.E01 case.E01
    cp encase6.raw case.raw
    for n in txt log iso pdf; do echo "not a segment" > case.$n; done
    run case.E01
    check "case.raw and case.log beside case.E01 are not of the set" 'code 0' \
        'says_not "case.raw"' 'says_not "case.log"' 'says_not "cannot be used"'
    run --json case.E01 case.raw
    check "case.E01 and case.raw are two images" 'code 0' 'lines 2' 'says "\"format\":\"raw\""'
    run --json case.E01 case.log
    check "case.E01 and case.log: the second is refused" 'code 2' 'lines 2' 'begins "case.log: "'
    "$make_ewf" smart "$work/case" > make.log 2>&1
    run --json case.E01 case.s01
    check "case.E01 and case.s01 are two images" 'code 0' 'lines 2' 'says "SMART"'
    run --json --format raw case.E01 case.s01
    check "--format raw: every file is an image" 'code 0' 'lines 2' 'says_not "SMART"'
    rm -f case.*
}

# ------------------------------------------------------------------------------- raw images

test_raw() {
    local media name
    make raw
    media=$(sum raw.raw)
    for name in x.raw x.dd x.img x.bin x.RAW x.Dd; do
        cp raw.raw "$name"
        run --json --digest sha256 "$name"
        check "raw as $name" 'code 0' 'status ok' "sha256 $media" 'says "\"format\":\"raw\""'
        rm -f "$name"
    done
    cp raw.raw x.mem
    cp raw.raw x
    cp raw.raw x.iso
    for name in x.mem x x.iso; do
        run "$name"
        check "raw as $name is refused" 'code 2' "begins '$name: '" 'complains "--format raw"'
        run --json --digest sha256 --format raw "$name"
        check "raw as $name with --format raw" 'code 0' "sha256 $media"
    done
    : > x.dd
    run --json --digest sha256 x.dd
    check "an empty raw image" 'code 0' 'says "\"media_size\":0"' "sha256 $(sum x.dd)"
    cp raw.E01 x.dd
    run x.dd
    check "an EWF file named .dd is refused by name" 'code 2' 'begins "x.dd: "' \
        'complains "--format ewf"' 'prints_nothing'
    run --json --digest sha256 --format ewf x.dd
    check "an EWF file named .dd with --format ewf" 'code 0' "sha256 $media" 'says "EWF"'
    run --json --digest sha256 --format raw x.dd
    check "an EWF file named .dd with --format raw" 'code 0' "sha256 $(sum x.dd)"
    cp raw.E01 x.unknown
    run --json --digest sha256 x.unknown
    check "an EWF file of another name" 'code 0' "sha256 $media"
    run --format ewf raw.raw
    check "--format ewf of a raw image" 'code 2' 'begins "raw.raw: "'
    run --json --expect "sha256:$media" raw.raw
    check "--expect of a raw image" 'code 0' 'says "\"expected_match\":true"'
    run raw.raw
    check "a raw image says that nothing is stored" 'code 0' 'says "nothing stored"'
    rm -f x.* x
    test_split "$media"
}

test_split() {
    local media=$1
    split -b 100000 -d -a 3 --numeric-suffixes=1 raw.raw x. 2> /dev/null
    [ -f x.001 ] || { skip "split raw" "split has no --numeric-suffixes"; return; }
    run --json --digest sha256 x.001
    check "split raw" 'code 0' "sha256 $media" 'says "\"format\":\"split raw\""'
    run --json --digest sha256 x.0*
    check "all parts given are one image" 'code 0' 'lines 1' "sha256 $media"
    echo "a text" > x.0ab
    run --json x.001 x.0ab
    check "x.001 and x.0ab are two" 'code 2' 'lines 2' 'begins "x.0ab: "'
    mv x.002 y.002
    run x.001
    check "a missing part is named" 'either 1 2' 'begins "x.001: "' 'complains "x.002"'
    mv y.002 x.002
    split -b 500 -d -a 4 --numeric-suffixes=1 raw.raw z.
    for name in z.0*; do mv "$name" "z.${name#z.0}"; done
    run --json --digest sha256 z.001
    check "$(ls z.* | wc -l) parts" 'code 0' "sha256 $media"
    rm -f x.* y.* z.*
}

# ------------------------------------------------------------------------------- reports

cat > check_json.py << 'END'
import json, sys

def number(v): return isinstance(v, (int, float)) and not isinstance(v, bool)
def count(v): return isinstance(v, int) and not isinstance(v, bool) and v >= 0
def hexes(v): return v is None or (isinstance(v, str) and bytes.fromhex(v) != b'')
def need(x, key, holds):
    assert key in x, 'no key "%s"' % key
    assert holds(x[key]), '"%s" is %r' % (key, x[key])

def image(x):
    need(x, 'path', lambda v: isinstance(v, str))
    bad = x['status'] == 'error'
    need(x, 'format', lambda v: isinstance(v, str) or (bad and v is None))
    need(x, 'media_size', lambda v: count(v) or (bad and v is None))
    need(x, 'status', lambda v: v in ('ok', 'mismatch', 'damaged', 'error'))
    need(x, 'verified', lambda v: v in (True, False))
    need(x, 'digests', lambda v: isinstance(v, dict))
    for d in x['digests'].values():
        need(d, 'computed', hexes)
        need(d, 'stored', hexes)
        need(d, 'match', lambda v: v in (True, False, None))
        assert (d['stored'] is None) == (d['match'] is None), d
    need(x, 'damaged_chunks', lambda v: isinstance(v, list))
    for d in x['damaged_chunks']:
        need(d, 'chunk', count)
        need(d, 'offset', lambda v: v is None or count(v))
        need(d, 'segment', lambda v: v is None or count(v))
        need(d, 'reason', lambda v: isinstance(v, str) and v)
    need(x, 'warnings', lambda v: isinstance(v, list) and all(isinstance(w, str) for w in v))
    need(x, 'seconds', number)
    need(x, 'bytes_per_second', number)
    need(x, 'threads', lambda v: count(v) and v > 0)
    if bad:
        need(x, 'error', lambda v: isinstance(v, str) and v)
        need(x, 'error_segment', lambda v: v is None or (count(v) and v > 0))
        need(x, 'error_file', lambda v: v is None or (isinstance(v, str) and v))
        need(x, 'error_offset', lambda v: v is None or count(v))
    statuses = {'ok': 0, 'mismatch': 1, 'damaged': 1, 'error': 2}
    return statuses[x['status']]

def unique(pairs):
    keys = [k for k, v in pairs]
    assert len(keys) == len(set(keys)), 'a key twice: %s' % keys
    return dict(pairs)

lines = open('out', 'rb').read().decode('utf-8').split('\n')
assert lines.pop() == '', 'no newline at the end'
worst = max(image(json.loads(l, object_pairs_hook=unique)) for l in lines)
assert len(lines) == int(sys.argv[1]), '%d lines' % len(lines)
assert worst == int(sys.argv[2]), 'exit code %s, worst status %d' % (sys.argv[2], worst)
END

json_is_right() {
    "$python" check_json.py "$1" $code 2> json.err || { tail -n 1 json.err > err; false; }
}

test_json() {
    local v image
    [ -n "$python" ] || { skip "JSON" "no python3"; return; }
    make raw flip-zlib flip-raw hash-wrong missing-middle text no-hash partial-sector errors \
        sector-2048 two-hashes count-huge empty tables-destroyed
    for v in raw flip-zlib flip-raw hash-wrong missing-middle text no-hash partial-sector errors \
        sector-2048 two-hashes count-huge empty tables-destroyed; do
        image=$(first_of $v)
        run --json --digest md5,sha1,sha256,blake3 "$image"
        check "JSON of $v" 'json_is_right 1'
        run --json --info "$image"
        check "JSON of $v, --info" 'json_is_right 1'
    done
    run --json raw.E01 missing.E01 flip-zlib.E01 raw.raw text.txt hash-wrong.E01
    check "JSON of six images, two of them errors" 'code 2' 'json_is_right 6'
    run --json no-hash.E01
    check "no stored digest: ok, null, a warning" 'code 0' 'status ok' \
        'says "\"stored\":null,\"match\":null"' 'says "no such digest is stored"'
    run --json partial-sector.E01
    check "a digest with the partial sector: match, a warning" 'code 0' 'says "\"match\":true"' \
        'says "behind the last whole sector"'
    run --json hash-wrong.E01
    check "a wrong digest: mismatch" 'code 1' 'status mismatch' 'says "\"match\":false"' 'silent'
    run hash-wrong.E01
    check "a wrong digest, as text" 'code 1' 'says "MISMATCH"' 'silent'
    run --json flip-zlib.E01
    check "a damaged chunk: number, segment" 'code 1' 'says "\"chunk\":3,"' 'says "\"segment\":1,"'
    run flip-raw.E01
    check "a damaged chunk, as text" 'code 1' 'says "chunk 3, segment 1, offset "' 'silent'
    local path
    path=$(printf 'a"b\\c\t\xc3\xa4\xff\xe2\x80\xae.E01')
    if ! cp raw.E01 "$path" 2> /dev/null; then
        skip "JSON of a hostile path" "no such file name here"
        return
    fi
    run --json "$path"
    check "JSON of a hostile path" 'code 0' 'json_is_right 1' \
        'says "\"path\":\"a\\\"b\\\\c\\u0009"' 'says "\\udcff\\u202e.E01\""'
    run "$path"
    check "text of a hostile path" 'code 0' 'says "a\"b\\c\\x09"' 'says "\\xff\\u{202e}.E01"'
    rm -f "$path"
}

# Case data that would obey a terminal, in each of the three sections that hold any; and an image
# with many ranges of unread sectors.
cat > hostile.c << 'END'
#include "ewf_build.h"
int main(int argc, char **argv)
{
    static const ewf_build_layout layouts[] = {EWF_BUILD_ENCASE6, EWF_BUILD_FTK, EWF_BUILD_EWFX,
                                               EWF_BUILD_ENCASE6};
    static uint8_t media[200000];
    static uint32_t errors[150][2];
    ewf_build e;
    ewf_build_options o;
    int k, i = argc > 2 ? atoi(argv[2]) : 0;
    memset(&o, 0, sizeof o);
    o.layout = layouts[i];
    o.case_number = "clear \x1b[2J bell \x07 \"quoted\" back\\slash";
    o.evidence = "C1 \xc2\x9b""2J zero \xef\xbb\xbf width";
    o.description = "right \xe2\x80\xae to left \xe2\x81\xa6 isolate";
    o.examiner = i == 2 ? "bad \xff\xfe UTF-8 \xc0\xaf \xed\xa0\x80 end" : "line\x0b""feed\x7f";
    for (k = 0; k < 150; k++) errors[k][0] = (uint32_t)k * 2, errors[k][1] = 1;
    if (i == 3) o.errors = (const uint32_t(*)[2])errors, o.error_count = 150;
    o.notes = "</notes> & \xf0\x9f\x94\x8d fine \xc3\xa4";
    ewf_build_make(&e, &o, media, sizeof media);
    if (ewf_build_write(&e, argv[1]) != 0) return 2;
    ewf_build_free(&e);
    return 0;
}
END

# No byte that a terminal obeys, nothing that is not UTF-8; newlines only where lines end.
clean_output() {
    ! tr -d '\n\40-\176\200-\377' < "$1" | grep -q -a . || return 1
    ! grep -q -a -e $'\xc2[\x80-\x9f]' -e $'\xe2\x80[\x8e\x8f\xa8-\xae]' -e $'\xe2\x81[\xa6-\xa9]' \
        -e $'\xef\xbb\xbf' "$1" || return 1
    ! have iconv || iconv -f UTF-8 -t UTF-8 "$1" > /dev/null 2>&1
}

test_hostile_text() {
    local i image
    if ! have cc || ! cc -O1 -I "$here/fixtures" hostile.c -o hostile 2> make.log; then
        skip "hostile case data" "no cc"
        return
    fi
    for i in 0 1 2; do
        ./hostile "$work/hostile$i" $i
        image=$(first_of hostile$i)
        run "$image"
        check "hostile case data $i, as text" 'code 0' 'clean_output out' \
            '[ $i = 2 ] || says "clear \\x1b[2J bell \\x07 \"quoted\" back\\slash"'
        run --info "$image"
        check "hostile case data $i, --info" 'code 0' 'clean_output out'
        run --json "$image"
        check "hostile case data $i, as JSON" 'code 0' 'lines 1' 'clean_output out' \
            '[ -z "$python" ] || json_is_right 1' \
            '[ $i = 2 ] || says "clear \\u001b[2J bell \\u0007 \\\"quoted\\\" back\\\\slash"'
        run --log hostile.log "$image"
        check "hostile case data $i, in a log" 'code 0' 'clean_output hostile.log'
        rm -f hostile.log
    done
    ./hostile "$work/hostile3" 3
    run --info hostile3.E01
    check "at most 100 unread ranges are printed" 'code 0' 'says "... and 50 more"' \
        '[ "$(grep -c "sectors [0-9]* to" out)" = 100 ]'
    run --info --json hostile3.E01
    check "all unread ranges are in the JSON" '[ "$(grep -o "\"sector\":" out | wc -l)" = 150 ]'
    run --json hostile0.E01
    check "bidi and C1 characters are escaped in JSON" 'says "right \\u202e to left \\u2066"' \
        'says "C1 \\u009b2J zero \\ufeff width"'
    run hostile0.E01
    check "bidi and C1 characters are escaped in text" 'says "right \\u{202e} to left \\u{2066}"' \
        'says "C1 \\u{9b}2J zero \\u{feff} width"'
}

test_info() {
    local bytes size
    make flip-raw errors encase6-raw
    run --info flip-raw.E01
    check "--info does not mind a damaged chunk" 'code 0' 'says "chunks"' 'says "MD5 stored"' \
        'says_not "damaged"' 'says_not "computed"' 'silent'
    run --info --json flip-raw.E01
    check "--info as JSON" 'code 0' 'lines 1' 'says "\"stored_md5\":\""' 'says "\"digests\":{}"'
    run --info errors.E01
    check "--info lists unread sectors" 'code 0' 'says "unread at source"'
    run --info raw.raw
    check "--info of a raw image" 'code 0' 'says "media size"'
    if ! have strace || ! strace -o trace true 2> /dev/null; then
        skip "--info reads no chunk" "no strace"
        return
    fi
    # (leaks cannot be looked for under strace)
    ASAN_OPTIONS=detect_leaks=0 strace -f -P "$work/encase6-raw.E01" -o trace \
        -e trace=read,pread64,mmap,readv,preadv "$verify" --info encase6-raw.E01 > out 2> err
    code=$?
    size=$(stat -c %s encase6-raw.E01)
    bytes=$(sed -n 's/.*read.* = \([0-9][0-9]*\)$/\1/p' trace | awk '{n += $1} END {print n + 0}')
    check "--info reads no chunk ($bytes of $size bytes)" 'code 0' '[ "$bytes" -gt 0 ]' \
        '[ $((bytes * 4)) -lt "$size" ]' '! grep -q mmap trace'
}

test_quiet() {
    make raw flip-zlib
    run --quiet raw.E01
    check "--quiet, good" 'code 0' 'silent' 'prints_nothing'
    run --quiet flip-zlib.E01
    check "--quiet, damaged: the report" 'code 1' 'says "DAMAGED"'
    run --quiet missing.E01
    check "--quiet, an error" 'code 2' 'begins "missing.E01: "' 'prints_nothing'
    run --quiet --json raw.E01
    check "--quiet --json prints the JSON" 'code 0' 'lines 1' 'silent'
}

test_log() {
    make raw flip-zlib
    run --log the.log raw.E01
    check "--log writes the report" 'code 0' 'same out the.log' 'absent the.log.part'
    run --log the.log raw.E01
    check "--log refuses an existing file" 'code 2' 'begins "the.log: "' 'complains "--force"' \
        'prints_nothing'
    echo old > the.log
    run --log the.log flip-zlib.E01
    check "what it refuses stays as it was" 'code 2' '[ "$(cat the.log)" = old ]' \
        'absent the.log.part'
    run --log the.log --force flip-zlib.E01
    check "--force replaces it" 'code 1' 'same out the.log' 'absent the.log.part'
    rm -f the.log
    run --quiet --log the.log raw.E01 missing.E01
    check "--quiet --log: all reports, errors too" 'code 2' 'prints_nothing' \
        'grep -q "OK: all chunks" the.log' 'grep -q missing.E01 the.log'
    rm -f the.log
    run --json --log the.log raw.E01
    check "--json --log: JSON out, text in the log" 'code 0' 'lines 1' \
        'grep -q "OK: all chunks" the.log'
    rm -f the.log
    run --log no/such/folder/the.log raw.E01
    check "--log in no folder" 'code 2' 'begins "no/such/folder/the.log: "' 'prints_nothing'
    mkdir -p folder
    run --log folder raw.E01
    check "--log is a folder" 'code 2' 'begins "folder: "'
    run --log folder --force raw.E01
    check "--log --force is a folder" 'code 2' 'begins "folder: "'
    cp raw.E01 victim.E01
    ln -f victim.E01 other.name
    local victim
    for victim in victim.E01 ./victim.E01 other.name; do
        run --log $victim --force victim.E01
        check "--log --force $victim is never an input" 'code 2' "begins '$victim: '" \
            'same victim.E01 raw.E01' 'absent victim.E01.part'
    done
    run --log victim.E02 --force victim.E01
    check "--log --force is never a segment of the input" 'code 2' 'begins "victim.E02: "' \
        'absent victim.E02'
    cp raw.E01 victim.log.part
    run --format ewf --log victim.log victim.log.part
    check "--log: its .part is never an input" 'code 2' 'begins "victim.log: "' \
        'same victim.log.part raw.E01' 'absent victim.log'
    rm -f victim.* other.name
    if (exec > /dev/full) 2> /dev/null; then
        run --log /dev/full raw.E01
        check "--log on a full device" 'code 2' 'begins "/dev/full: "'
    else
        skip "--log on a full device" "no /dev/full"
    fi
    if [ -c /dev/null ]; then
        run --log /dev/null raw.E01
        check "--log /dev/null" 'code 0' '[ -c /dev/null ]'
    else
        skip "--log /dev/null" "/dev/null is no device here"
    fi
}

test_expect() {
    local md5 sha1
    make raw flip-zlib
    md5=$(md5sum < raw.raw | cut -d ' ' -f 1) sha1=$(sha1sum < raw.raw | cut -d ' ' -f 1)
    run --expect "md5:$md5" raw.E01
    check "--expect, right" 'code 0' 'silent' 'says "match, as expected"' \
        'says "OK: all chunks are intact and every stored and every expected digest matches"'
    run --expect "md5:$md5" raw.raw
    check "--expect, right, nothing stored" 'code 0' 'says "  as expected"' \
        'says "OK: all chunks are intact and every expected digest matches"'
    run --expect "md5:$(echo "$md5" | tr a-f A-F)" --expect "sha1:$sha1" raw.E01
    check "--expect twice, in capitals" 'code 0' 'says "SHA-1 computed"'
    run --expect "sha1:${sha1%?}$([ "${sha1: -1}" = 0 ] && echo 1 || echo 0)" raw.E01
    check "--expect, wrong" 'code 1' 'says "MISMATCH"' 'says "NOT what was expected"'
    run --json --expect "sha1:0000000000000000000000000000000000000000" raw.E01
    check "--expect, wrong, as JSON" 'code 1' 'status mismatch' 'says "\"expected_match\":false"'
    run --expect "md5:$md5" flip-zlib.E01
    check "--expect of a damaged image" 'code 1' 'says "DAMAGED"'
    run --quiet --expect "md5:$md5" raw.raw
    check "--expect of a raw image, quiet" 'code 0' 'prints_nothing' 'silent'
}

test_several() {
    make raw encase5 flip-zlib hash-wrong
    run raw.E01 encase5.E01
    check "two good images" 'code 0'
    run raw.E01 flip-zlib.E01 encase5.E01
    check "a damaged one among good ones" 'code 1'
    run hash-wrong.E01 raw.E01
    check "a mismatch among good ones" 'code 1'
    run missing.E01 flip-zlib.E01 raw.E01
    check "an error, a damaged and a good one" 'code 2' 'says "DAMAGED"' 'says "OK: all chunks"'
}

# ------------------------------------------------------------------------------- time

# An image that takes seconds: 2 GiB of media, 8 MB on disk. test_interrupt uses it, too.
test_progress() {
    [ -f overflow-1m.E01 ] || make overflow-1m
    timeout -s INT 0.6 "$verify" overflow-1m.E01 > out 2> err
    check "no progress bar into a pipe" '! grep -q ETA err' '! grep -q $'"'\r'"' err'
    if ! have script || ! script -qec true /dev/null > /dev/null 2>&1; then
        skip "a progress bar on a terminal" "no script (util-linux)"
        return
    fi
    script -qec "timeout -s INT 1 '$verify' overflow-1m.E01" /dev/null > typescript 2>&1 < /dev/null
    check "a progress bar on a terminal" 'grep -q -a "ETA [0-9]*:[0-9][0-9]" typescript' \
        'grep -q -a "overflow-1m.E01 \[#*\.*\]" typescript'
    script -qec "timeout -s INT 1 '$verify' --quiet overflow-1m.E01" /dev/null > typescript 2>&1 \
        < /dev/null
    check "no progress bar with --quiet" '! grep -q -a ETA typescript'
    script -qec "timeout -s INT 1 '$verify' overflow-1m.E01 2> err" /dev/null > typescript 2>&1 \
        < /dev/null
    check "no progress bar when standard error is a file" '! grep -q -a ETA typescript err'
}

test_interrupt() {
    local signal mode
    : > sparse.raw
    truncate -s 40G sparse.raw 2> /dev/null || truncate -s 4G sparse.raw
    for signal in INT TERM; do
        for mode in "" "--threads 1" "--json"; do
            # shellcheck disable=SC2086 # no or two words
            timeout -k 3 --preserve-status -s $signal 0.3 "$verify" $mode --digest sha256 \
                --log cut.log overflow-1m.E01 > out 2> err
            code=$?
            check "SIG$signal $mode: exit code 2, no log" 'code 2' 'begins "overflow-1m.E01: "' \
                'complains "cancel"' 'absent cut.log'
            rm -f cut.log.part
        done
    done
    timeout -k 3 --preserve-status -s INT 0.3 "$verify" --log cut.log sparse.raw raw.raw > out \
        2> err
    code=$?
    check "SIGINT in a raw image: the next is not begun" 'code 2' 'begins "sparse.raw: "' \
        'says_not "raw.raw"' 'says_not "OK"' 'absent cut.log'
    echo old > cut.log
    timeout -k 3 --preserve-status -s INT 0.3 "$verify" --log cut.log --force sparse.raw > out \
        2> err
    code=$?
    check "SIGINT with --force: the old log stays" 'code 2' '[ "$(cat cut.log)" = old ]'
    rm -f sparse.raw cut.log*
    test_interrupted_opening
}

# Frames that do not say their size are decoded to learn it: when the image is opened, and for long.
test_interrupted_opening() {
    local signal
    have zstd || { skip "a signal while an image is opened" "zstd missing"; return; }
    head -c 100M /dev/zero | zstd -q > frame.raw.zst
    for _ in $(seq 1000); do cat frame.raw.zst; done > long.raw.zst
    run frame.raw.zst
    if complains "built without zstd"; then
        skip "a signal while an image is opened" "libzstd-dev is not installed"
        return
    fi
    for signal in INT TERM; do
        timeout -k 3 --preserve-status -s $signal 0.5 "$verify" long.raw.zst > out 2> err
        code=$?
        check "SIG$signal ends it while an image is opened" '[ $code -gt 128 ] && [ $code != 137 ]' \
            prints_nothing
    done
    rm -f frame.raw.zst long.raw.zst
}

# ------------------------------------------------------------------------------- many at once

# same_as_one_by_one OPTION...: out, err and the exit code are those of one image after another, for
# any number of images at once and of threads. $batch is the list of images.
same_as_one_by_one() {
    local image worst=0 n t bad=
    : > out.all
    : > err.all
    for image in "${batch[@]}"; do
        run --threads 1 "$@" "$image"
        timeless out >> out.all
        cat err >> err.all
        [ $code -gt $worst ] && worst=$code
    done
    for n in 0 1 2 64; do
        for t in 1 2 8; do
            run --at-once $n --threads $t "$@" "${batch[@]}"
            timeless out > out.now
            same out.now out.all && same err err.all && [ $code = $worst ] ||
                bad="$bad --at-once $n --threads $t: exit $code;"
        done
    done
    check "the same for --at-once 0, 1, 2, 64 and --threads 1, 2, 8 (exit $worst) $*" \
        '[ -z "$bad" ] || { echo "$bad" > err; false; }' '[ -s out.all ]'
}

test_batches() {
    local image i
    make raw flip-zlib hash-wrong encase6-many missing-middle smart-many chunk-2048 empty no-hash \
        segments-124 tables-destroyed partial-sector
    mkdir -p batch
    for i in plain data-beyond crypt-luks; do "$make_qcow2" $i "$work/batch"; done
    echo "a text" > batch/text.E01
    cp raw.raw batch/disk.dd
    split -b 300000 -d -a 3 --numeric-suffixes=1 raw.raw batch/split. 2> /dev/null
    batch=(raw.E01 flip-zlib.E01 batch/gone.E01 encase6-many.E01 batch/text.E01 hash-wrong.E01
        batch/disk.dd missing-middle.E01 smart-many.s01 chunk-2048.E01 batch/plain/image.qcow2
        empty.E01 no-hash.E01 batch/data-beyond/image.qcow2 segments-124.E01
        tables-destroyed.E01 batch/crypt-luks/image.qcow2 partial-sector.E01)
    [ ! -f batch/split.001 ] || batch+=(batch/split.001)
    same_as_one_by_one
    same_as_one_by_one --json
    same_as_one_by_one --json --digest sha1,blake3
    same_as_one_by_one --quiet
    same_as_one_by_one --info
    run --at-once 4 "${batch[@]}" encase6-many.E02 raw.E01
    timeless out > out.now
    run --at-once 4 "${batch[@]}"
    timeless out > out.all
    check "what was named before is not verified again" 'same out.now out.all'
    : > log.all
    for image in "${batch[@]}"; do
        run --log one.log "$image"
        timeless one.log >> log.all
        rm -f one.log
    done
    for i in 1 3 64; do
        run --at-once $i --json --log many.log "${batch[@]}"
        timeless many.log > log.now
        check "--log of many images is in order, --at-once $i" 'code 2' 'same log.now log.all' \
            'absent many.log.part'
        rm -f many.log
    done
    run --at-once 4 raw.E01 flip-zlib.E01 smart-many.s01
    check "many at once, one damaged: exit code 1" 'code 1' 'silent'
    run --at-once 4 raw.E01 hash-wrong.E01 smart-many.s01
    check "many at once, one mismatch: exit code 1" 'code 1' 'silent'
    run --at-once 4 raw.E01 smart-many.s01 batch/disk.dd
    check "many at once, all good: exit code 0" 'code 0' 'silent'
    run --at-once 4 raw.E01 batch/gone.E01 smart-many.s01
    check "many at once, one failure: the rest is verified" 'code 2' 'says "smart-many.s01"' \
        '[ "$(grep -c "OK: all chunks" out)" = 2 ]' 'begins "batch/gone.E01: "'
    batch=()
    for i in 1 2 3 4 5 6 7 8; do
        mkdir batch/$i
        ln segments-124.E* batch/$i/
        batch+=("batch/$i/segments-124.E01")
    done
    (ulimit -n 100; timeout 5 "$verify" --at-once 8 "${batch[@]}") > out 2> err
    code=$?
    check "8 images of 124 segments at once, 100 descriptors" 'code 0' 'silent' \
        '[ "$(grep -c "OK: all chunks" out)" = 8 ]'
    rm -rf batch
}

# What a terminal of 80 columns shows in the end, and how many bars it has shown at once.
cat > terminal.py << 'END'
import re, sys
data = open(sys.argv[1], 'rb').read().decode('utf-8', 'replace')
rows, row, col, bars = [''], 0, 0, 0
for token in re.findall('\x1b\\[[0-9;]*[A-Za-z]|.|\n|\r', data):
    if token == '\n':
        row += 1
    elif token == '\r':
        col = 0
    elif token[0] == '\x1b':
        n = int(token[2:-1] or 0)
        bars = max(bars, sum('ETA' in r for r in rows))
        if token[-1] == 'F':
            row, col = row - max(n, 1), 0
            assert row >= 0, 'above the screen'
        elif token[-1] == 'J' and n == 0:
            rows[row:] = [rows[row][:col]]
        else:
            assert False, 'an unknown sequence: %r' % token
    else:
        rows[row] = rows[row][:col].ljust(col) + token + rows[row][col + 1:]
        col += 1
        assert 'ETA' not in rows[row] or col < 80, 'a bar is too long'
    while len(rows) <= row:
        rows.append('')
open('screen', 'w').write('\n'.join(rows) + '\n')
print(bars)
END

# Four names of an image that takes seconds.
test_batches_in_time() {
    local i mode
    make raw
    [ -f overflow-1m.E01 ] || make overflow-1m # which takes its time
    for i in 1 2 3; do ln -f overflow-1m.E01 slow$i.E01; done
    cp raw.raw slow.dd
    for mode in "" "--threads 1" --json --quiet; do
        # shellcheck disable=SC2086 # no or two words
        timeout -k 3 --preserve-status -s INT 0.4 "$verify" --at-once 2 $mode --log cut.log \
            slow1.E01 slow2.E01 slow3.E01 slow.dd > out 2> err
        code=$?
        check "SIGINT in two of three images $mode" 'code 2' 'begins "slow1.E01: canceled"' \
            'complains "slow2.E01: canceled"' '! complains slow3' '! complains slow.dd' \
            'absent cut.log' 'says_not "OK"' '! grep -q ETA err'
        rm -f cut.log.part
    done
    timeout -k 3 --preserve-status -s INT 0.4 "$verify" --at-once 2 slow1.E01 slow.dd > out 2> err
    code=$?
    check "SIGINT while another kind of image waits for its turn" 'code 2' \
        'begins "slow1.E01: canceled"' '! complains signature' 'says_not "OK"'
    if ! have script || ! script -qec true /dev/null > /dev/null 2>&1 || [ -z "$python" ]; then
        skip "many progress bars" "no script (util-linux) or no python3"
        return
    fi
    run raw.E01
    timeless out > report
    script -qec "stty cols 80; timeout -k 3 --preserve-status -s INT 2 '$verify' --at-once 3 \
        raw.E01 slow1.E01 slow2.E01 slow3.E01" /dev/null > typescript 2>&1 < /dev/null
    i=$("$python" terminal.py typescript 2>&1 | tail -n 1)
    timeless screen | head -n "$(wc -l < report)" > out
    check "a bar for each image in flight ($i), and none in the end" '[ "$i" = 3 ]' \
        'same out report' '! grep -q -e ETA -e "[#.]\]" screen' \
        'grep -q "slow2.E01: canceled" screen' 'grep -q -a "slow2.E01 \[" typescript'
    script -qec "timeout -k 3 --preserve-status -s INT 1 '$verify' --quiet --at-once 2 slow1.E01 \
        slow2.E01" /dev/null > typescript 2>&1 < /dev/null
    check "no progress bars with --quiet" '! grep -q -a ETA typescript' \
        '! grep -q -a $'"'\033'"' typescript'
    rm -f slow*
}

test_threads() {
    local v n image bad mode
    make encase6-many flip-raw flip-zlib missing-middle tables-destroyed entries-swapped mixed \
        cut-sectors partial-sector two-sectors-raw count-huge1 segments-124 chunk-2048
    for v in encase6-many flip-raw flip-zlib missing-middle tables-destroyed entries-swapped mixed \
        cut-sectors partial-sector two-sectors-raw count-huge1 segments-124 chunk-2048; do
        image=$(first_of $v) bad=
        for mode in "" --json; do
            for n in 1 2 3 8 64; do
                # shellcheck disable=SC2086 # no or one word
                run $mode --digest md5,sha1,sha256,blake3 --threads $n "$image"
                { timeless out && cat err && echo $code; } > report
                [ $n = 1 ] && mv report report.1 && continue
                same report report.1 || bad="$bad $mode --threads $n;"
            done
        done
        check "$v: the same report for 1, 2, 3, 8, 64 threads" \
            '[ -z "$bad" ] || { echo "$bad" > err; false; }'
    done
    head -c 30000000 /dev/zero | cat - raw.raw > big.raw
    run --json --threads 1 --digest md5,sha1,sha256,blake3 big.raw
    timeless out > report.1
    run --json --threads 8 --digest md5,sha1,sha256,blake3 big.raw
    timeless out > report
    check "a raw image: the same report for 1 and 8 threads" 'same report report.1'
    rm -f big.raw
}

# ------------------------------------------------------------------------------- QCOW2

# Of the JSON in out.
has_md5() { says "\"md5\":{\"computed\":\"$1\""; }
layers() { [ "$(grep -o '"role":"backing file"' out | wc -l)" = "$1" ]; }

# q VARIANT...: VARIANT.q/image.qcow2 and its helpers.
q() {
    local v
    for v in "$@"; do
        rm -rf "$v" "$v.q"
        "$make_qcow2" "$v" "$work" 2> make.log || fail "make_qcow2 $v" "$(tail -n 1 make.log)"
        mv "$v" "$v.q"
    done
}

test_qcow2() {
    local i v image
    q plain v2 data-beyond l2-reserved-low deflate-garbage refs-leak dirty corrupt crypt-luks \
        incompatible-17 incompatible-18 chain-30
    image=plain.q/image.qcow2
    run $image
    check "QCOW2: a good one" 'code 0' 'silent' 'says "QCOW2 version 3"' \
        "says 'MD5 computed      $(md5 plain.q/media.raw)'" 'says "no errors"' 'says "OK as far"' \
        'says_not "DAMAGED"'
    run --json --digest md5,sha256 $image
    check "QCOW2: a good one, as JSON" 'code 0' 'status ok' "has_md5 $(md5 plain.q/media.raw)" \
        "sha256 $(sum plain.q/media.raw)" 'says "\"check\":{\"corruptions\":0,\"leaks\":0,"' \
        'says "\"stack\":[]"' 'says "\"stored\":null,\"match\":null"'
    run --json v2.q/image.qcow2
    check "QCOW2 version 2" 'code 0' 'says "QCOW2 version 2"' "has_md5 $(md5 v2.q/media.raw)"
    run --expect md5:00000000000000000000000000000000 $image
    check "QCOW2: --expect, wrong" 'code 1' 'says "MISMATCH"'
    run --quiet $image
    check "QCOW2: --quiet" 'code 0' 'silent' 'prints_nothing'
    cp $image disk.img
    cp $image disk
    cp raw.raw raw.qcow2
    run disk.img
    check "a QCOW2 named .img is refused by name" 'code 2' 'begins "disk.img: "' \
        'complains "--format qcow2"' 'complains "--format raw"' 'prints_nothing'
    run --json --format qcow2 disk.img
    check "a QCOW2 named .img with --format qcow2" 'code 0' "has_md5 $(md5 plain.q/media.raw)"
    run --json --format raw disk.img
    check "a QCOW2 named .img with --format raw" 'code 0' "has_md5 $(md5 disk.img)"
    run --json disk
    check "a QCOW2 without an extension" 'code 0' "has_md5 $(md5 plain.q/media.raw)"
    run raw.qcow2
    check "a raw image named .qcow2" 'code 2' 'begins "raw.qcow2: "' 'complains "not a QCOW2"'
    run l2-reserved-low.q/image.qcow2
    check "QCOW2: a structure that is wrong" 'code 1' 'says "corruption        offset 16424: "' \
        'says "DAMAGED: all of the media can be read, but the structure has 1 error"'
    run --json l2-reserved-low.q/image.qcow2
    check "QCOW2: a structure that is wrong, as JSON" 'code 1' 'status damaged' \
        'says "\"check\":{\"corruptions\":1,"' 'says "\"damaged_chunks\":[]"' \
        'says "{\"severity\":\"corruption\",\"offset\":16424,\"file\":\"l2-reserved-low.q/image"' \
        "has_md5 $(md5 l2-reserved-low.q/media.raw)"
    run deflate-garbage.q/image.qcow2
    check "QCOW2: a damaged cluster" 'code 1' 'says "damaged           media 12288 to 16383: "' \
        'says "MD5 computed      not possible"' 'says "DAMAGED: 1 chunk"'
    run --json deflate-garbage.q/image.qcow2
    check "QCOW2: a damaged cluster, as JSON" 'code 1' 'status damaged' 'says "\"computed\":null"' \
        'says "[{\"chunk\":3,\"media_offset\":12288,\"length\":4096,\"offset\":27038,"'
    run --json data-beyond.q/image.qcow2
    check "QCOW2: a cluster beyond the end" 'code 1' 'says "\"computed\":null"' \
        'says "[{\"chunk\":5,\"media_offset\":20480,\"length\":4096,\"offset\":16424,"' \
        'says "\"corruptions\":1,\"leaks\":1,"'
    run refs-leak.q/image.qcow2
    check "QCOW2: lost space is no damage" 'code 0' 'says "leak              offset 45056: "' \
        'says "no errors, but space is lost"'
    for v in dirty corrupt; do
        run $v.q/image.qcow2
        check "QCOW2: marked as $v" 'code 0' 'says "  warnings"' "says 'marked as $v'"
        run --json $v.q/image.qcow2
        check "QCOW2: marked as $v, as JSON" 'code 0' "says '\"$v\":true'" "says 'marked as $v'"
    done
    for v in "crypt-luks LUKS" "incompatible-17 bit 17 (frobnication" "incompatible-18 bit 18"; do
        image=${v%% *}.q/image.qcow2
        run "$image"
        check "QCOW2: refused by name: $v" 'code 2' "begins '$image: '" "complains '${v#* }'" \
            'prints_nothing'
    done
    run --json chain-30.q/image.qcow2
    check "QCOW2: a chain of 30 is the stack" 'code 0' 'layers 29' \
        'says "\"path\":\"chain-30.q/layer29.qcow2\""' "has_md5 $(md5 chain-30.q/media.raw)"
    run --info chain-30.q/image.qcow2
    check "QCOW2: a chain of 30, --info" 'code 0' '[ "$(grep -c "^  backing file" out)" = 29 ]'
    test_qcow2_backing
    test_qcow2_snapshots
    test_qcow2_nested
    rm -rf ./*.q disk disk.img raw.qcow2
}

test_qcow2_backing() {
    local v image
    q backing-absent backing-passwd backing-up backing-self backing-cycle-3 backing-unnamed-ok \
        backing-exotic on-raw-alone backing-absent-alone on-qcow2
    for v in "backing-absent absent.raw" "backing-passwd --allow-outside" \
        "backing-up --allow-outside" "backing-self the image itself" "backing-cycle-3 circle" \
        "backing-unnamed-ok --raw-backing" "backing-exotic not supported"; do
        image=${v%% *}.q/image.qcow2
        run "$image"
        check "QCOW2: $v is said" 'code 2' "begins '$image: '" "complains '${v#* }'" \
            'prints_nothing'
        run --json "$image"
        check "QCOW2: $v is said in JSON" 'code 2' 'status error' "says '${v#* }'" 'lines 1'
        run --quiet --alone "$image"
        check "QCOW2: ${v%% *} with --alone" 'either 0 1' 'silent'
    done
    run --json --raw-backing backing-unnamed-ok.q/image.qcow2
    check "QCOW2: --raw-backing" 'code 0' "has_md5 $(md5 backing-unnamed-ok.q/media.raw)" 'layers 1'
    head -c 40960 raw.raw > outside.raw
    run --json --allow-outside backing-up.q/image.qcow2
    check "QCOW2: --allow-outside" 'code 0' 'layers 1' \
        'says "\"path\":\"backing-up.q/../outside.raw"'
    rm -f outside.raw
    for v in on-raw-alone backing-absent-alone; do
        run --json --alone $v.q/image.qcow2
        check "QCOW2: $v with --alone" 'code 0' "has_md5 $(md5 $v.q/media.raw)" \
            'says "\"stack\":[]"'
    done
    run --json on-raw-alone.q/image.qcow2
    check "QCOW2: without --alone it is another disk" 'code 0' 'layers 1' \
        "! has_md5 $(md5 on-raw-alone.q/media.raw)"
    # damage below: what the file is called
    cp on-qcow2.q/middle.qcow2 middle
    head -c 20480 middle > on-qcow2.q/middle.qcow2
    run --json on-qcow2.q/image.qcow2
    check "QCOW2: damage of a backing file names it" 'code 1' 'status damaged' \
        'says "\"file\":\"on-qcow2.q/middle.qcow2\""'
    run on-qcow2.q/image.qcow2
    check "QCOW2: damage of a backing file names it, as text" 'code 1' \
        'says "on-qcow2.q/middle.qcow2, offset"'
    rm -f middle
    [ -n "$python" ] || { skip "QCOW2: a hostile name of a backing file" "no python3"; return; }
    "$python" -c 'import sys
p = sys.argv[1]
b = open(p, "rb").read()
assert b.count(b"absent.raw") == 1
open(p, "wb").write(b.replace(b"absent.raw", b"\x1b[2J\xff\x07\xe2\x80\xae."))' \
        backing-absent.q/image.qcow2
    run backing-absent.q/image.qcow2
    check "QCOW2: a hostile name of a backing file" 'code 2' 'clean_output err' \
        'complains "\\x1b[2J\\xff\\x07\\u{202e}."'
    run --json backing-absent.q/image.qcow2
    check "QCOW2: a hostile name of a backing file, as JSON" 'code 2' 'clean_output out' \
        'json_is_right 1' 'says "\\u001b[2J\\udcff\\u0007\\u202e."'
    run --alone backing-absent.q/image.qcow2
    check "QCOW2: a hostile name with --alone" 'clean_output out' \
        'says "stands on         \\x1b[2J\\xff\\x07\\u{202e}."'
}

test_qcow2_snapshots() {
    local image=snapshots-1.q/image.qcow2 n
    q snapshots snapshots-1 snapshots-2
    for n in 1 first; do
        run --json --snapshot $n $image
        check "QCOW2: --snapshot $n" 'code 0' "has_md5 $(md5 snapshots-1.q/media.raw)"
    done
    run --json --snapshot 2 $image
    check "QCOW2: --snapshot 2, a smaller disk" 'code 0' "has_md5 $(md5 snapshots-2.q/media.raw)" \
        'says "\"media_size\":13312,"'
    run --json $image
    check "QCOW2: without --snapshot" 'code 0' "has_md5 $(md5 snapshots.q/media.raw)"
    for n in nope "" 3 firs FIRST; do
        run --snapshot "$n" $image
        check "QCOW2: --snapshot '$n', which is not there" 'code 2' "begins '$image: '" \
            "complains 'no snapshot \"$n\"'" 'prints_nothing'
    done
    for n in raw.E01 raw.raw; do
        run --snapshot 1 $n
        check "--snapshot of $n, which has none" 'code 2' "begins '$n: '" \
            'complains "no snapshot"' 'prints_nothing'
    done
    run --info $image
    check "QCOW2: snapshots are listed, a hostile name is escaped" 'code 0' 'clean_output out' \
        'says "ID 1 \"first\""' 'says "ID 30 \"\\x1b[31m bad \\xff\\xfe\\x0a n\""'
    run --info --json $image
    check "QCOW2: snapshots are listed as JSON" 'code 0' 'clean_output out' 'lines 1' \
        '[ -z "$python" ] || json_is_right 1' \
        'says "{\"id\":\"30\",\"name\":\"\\u001b[31m bad \\udcff\\udcfe\\u000a n\","'
}

test_qcow2_nested() {
    local v
    have ewfacquire || { skip "QCOW2 in an E01" "no ewfacquire (ewf-tools)"; return; }
    q cluster-16 on-raw-alone
    for v in cluster-16 on-raw-alone; do # in whole sectors
        truncate -s %512 $v.q/image.qcow2
        ewfacquire -u -q -f encase6 -c fast -t $v.q/in $v.q/image.qcow2 > make.log 2>&1 ||
            fail "ewfacquire $v" "$(tail -n 1 make.log)"
    done
    run --json cluster-16.q/in.E01
    check "QCOW2 in an E01: what an image holds is not looked at" 'code 0' \
        "has_md5 $(md5 cluster-16.q/image.qcow2)" 'says "\"stack\":[]"'
    run --json --format ewf/qcow2 cluster-16.q/in.E01
    check "QCOW2 in an E01: --format ewf/qcow2" 'code 0' "has_md5 $(md5 cluster-16.q/media.raw)" \
        'says "\"format\":\"QCOW2 version 3\""' \
        'says "{\"role\":\"container\",\"format\":\"EWF-E01\""' \
        'says "\"check\":{\"corruptions\":0,"'
    run --format ewf/qcow2 cluster-16.q/in.E01
    check "QCOW2 in an E01, as text" 'code 0' 'says "  container         cluster-16.q/in.E01: EWF"'
    run --format ewf/qcow2 on-raw-alone.q/in.E01
    check "QCOW2 in an E01: a backing file has no folder" 'code 2' \
        'begins "on-raw-alone.q/in.E01: "' 'complains "no folder"'
    run --json --alone --format ewf/qcow2 on-raw-alone.q/in.E01
    check "QCOW2 in an E01 with --alone" 'code 0' "has_md5 $(md5 on-raw-alone.q/media.raw)"
    for v in ewf/ewf qcow2 qcow2/ewf ewf/qcow2/qcow2; do
        run --format $v cluster-16.q/in.E01
        check "QCOW2 in an E01: --format $v is refused" 'code 2' 'begins "cluster-16.q/in.E01: "' \
            'complains "not a"' 'prints_nothing'
    done
    run --format ewf/qcow2 raw.E01
    check "--format ewf/qcow2 of an E01 without one" 'code 2' 'begins "raw.E01: "' \
        'complains "not a QCOW2"'
    run --format qcow2/raw --json cluster-16.q/image.qcow2
    check "--format qcow2/raw is the disk" 'code 0' "has_md5 $(md5 cluster-16.q/media.raw)"
}

# What make_qcow2 --list promises of each variant, and what verify says of it.
cat > judge_qcow2.py << 'END'
import hashlib, json, os
known = {}
for line in open('list'):
    known[line.split()[0]] = (line.split(None, 4) + [''])[1:5]
errors = open('all.err', 'rb').read().decode('utf-8', 'replace').split('\n')
for line in open('all.json', encoding='utf-8'):
    x = json.loads(line)
    name = x['path'].split('/')[1]
    opens, corrupt, leaks, what = known.pop(name)
    status, media, wrong = x['status'], os.path.join('all', name, 'media.raw'), None
    found = set(i['severity'] for i in x.get('check', {}).get('issues', []))
    computed = x['digests'].get('md5', {}).get('computed')
    if status == 'error':
        if not any(e.startswith(x['path'] + ': ') for e in errors): wrong = 'an error without words'
        elif '[zstd]' in what and 'zstd' in x['error']: continue
        elif opens == 'OK': wrong = x['error']
    elif 'OK' not in opens.split('|'): wrong = 'it is ' + status
    elif '[huge media]' in what: continue
    elif status == 'ok' and opens == 'OK':
        if corrupt not in ('no', 'any'): wrong = 'it is ok'
        if os.path.exists(media):
            with open(media, 'rb') as f:
                if hashlib.md5(f.read()).hexdigest() != computed: wrong = 'MD5'
    elif opens == 'OK' and 'corruption' not in found and (corrupt == 'yes' or computed):
        wrong = 'damaged for nothing'
    if status == 'ok' and leaks == 'yes' and 'leak' not in found: wrong = 'no leak'
    if wrong: print(name + ': ' + wrong, end='; ')
for name in known:
    if os.path.exists(os.path.join('all', name, 'image.qcow2')):
        print(name, 'was not read', end='; ')
END

test_qcow2_variants() {
    local name open corrupt leaks what image option snapshot bad='' n=0
    "$make_qcow2" --list > list
    mkdir all plan
    "$make_qcow2" --all "$work/all" || fail "make_qcow2 --all" "exit $?"
    find all -type f | sort | xargs sha256sum > all.before
    while read -r name open corrupt leaks what; do
        image=all/$name/image.qcow2 option= snapshot=
        [ -f "$image" ] || continue
        n=$((n + 1))
        case $what in *"[raw allowed]"*) option=$option--raw-backing, ;; esac
        case $what in *"[layer alone]"*) option=$option--alone, ;; esac
        case $name in
        snapshots-2 | snapshots-16 | snapshots-64) snapshot=2 ;;
        snapshots-3) snapshot=30 ;;
        *) case $what in *"[a snapshot]"*) snapshot=1 ;; esac ;;
        esac
        option=$option${snapshot:+--snapshot=$snapshot,}
        echo "$image" >> "plan/$option--quiet"
        case $what in *"[huge media]"*) option=$option--info, ;; esac
        echo "$image" >> "plan/$option--json"
    done < list
    : > all.json
    : > all.err
    : > all.info
    for option in plan/*; do # images that want the same options together
        # shellcheck disable=SC2046 # a word for each
        case $option in
        *--json) timeout 60 "$verify" $(echo "${option#plan/}" | tr , ' ') $(cat "$option") \
            >> all.json 2>> all.err < /dev/null ;;
        *) timeout 60 "$verify" --info $(echo "${option#plan/}" | tr , ' ') $(cat "$option") \
            > all.info 2>&1 < /dev/null ;;
        esac
        code=$?
        [ $code -le 2 ] || bad="$bad ${option#plan/}: exit $code;"
        [ "${option%--json}" != "$option" ] || [ $code != 1 ] || bad="$bad $option: damaged;"
        clean_output all.info || bad="$bad ${option#plan/}: control characters;"
    done
    [ -z "$python" ] || bad="$bad$("$python" judge_qcow2.py 2>&1)"
    check "QCOW2: all $n variants are what they are" \
        '[ -z "$bad" ] || { echo "$bad" > err; false; }' \
        '[ $n -gt 200 ]' 'clean_output all.json' 'clean_output all.err' \
        '[ "$(wc -l < all.json)" = $n ]'
    find all -type f | sort | xargs sha256sum > all.after
    check "QCOW2: no image was written" 'same all.before all.after'
    mv all.json out
    code=2
    if [ -n "$python" ]; then check "QCOW2: JSON of all variants" 'json_is_right $n'
    else skip "QCOW2: what all variants are, their JSON" "no python3"; fi
    rm -rf all all.* plan
}

# ------------------------------------------------------------------------------- zstd

le32() {
    printf "$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($1 & 255)) $(($1 >> 8 & 255)) \
        $(($1 >> 16 & 255)) $(($1 >> 24)))"
}

# seekable FILE SIZE: frames of SIZE bytes and a seek table without checksums, by the specification
# of the seekable format; the file "offsets" says where each frame begins.
seekable() {
    local part n=0 at=0 stored
    split -b "$2" "$1" part.
    : > table
    : > offsets
    for part in part.*; do
        zstd -q -c $part > frame
        cat frame
        stored=$(stat -c %s frame)
        echo $at >> offsets
        { le32 $stored && le32 "$(stat -c %s $part)"; } >> table
        n=$((n + 1)) at=$((at + stored))
    done
    le32 $((0x184d2a5e)) && le32 $((n * 8 + 9)) && cat table && le32 $n && printf '\0' &&
        le32 $((0x8f92eab1))
    rm -f part.* frame table
}
spoil() { printf spoilt | dd of="$1" bs=1 seek="$2" conv=notrunc 2> /dev/null; } # FILE OFFSET
in_zstd() { says "\"stack\":[{\"role\":\"container\",\"format\":\"$1\",\"path\":\"$2\""; }

test_zstd() {
    local media name
    have zstd || { skip "zstd" "zstd missing"; return; }
    make raw encase6 flip-zlib
    media=$(sum raw.raw)
    seekable raw.raw 100000 > s.raw.zst
    run s.raw.zst
    if complains "built without zstd"; then skip "zstd" "libzstd-dev is not installed"; return; fi
    check "zstd: a seekable file, as text" 'code 0' 'says "container         s.raw.zst: seekable"' \
        "[ $media = $(zstd -q -d -c s.raw.zst | sha256sum | cut -d ' ' -f 1) ]"
    run --json --digest sha256 s.raw.zst
    check "zstd: a seekable file" 'code 0' 'status ok' "sha256 $media" 'silent' \
        'says "\"format\":\"raw\""' 'in_zstd "seekable zstd" s.raw.zst' 'says "\"stored\":null"'
    head -c -1 s.raw.zst > table.raw.zst
    printf '\0' >> table.raw.zst
    { head -c -20 s.raw.zst; le32 9; tail -c 16 s.raw.zst; } > wrong.raw.zst
    zstd -q -c raw.raw > one.DD.ZSTD
    zstd -q -c < raw.raw > unsized.img.zst
    split -b 77777 --filter='zstd -q -c' raw.raw > several.bin.zst
    for name in table.raw.zst wrong.raw.zst one.DD.ZSTD unsized.img.zst several.bin.zst; do
        run --json --digest sha256 $name
        check "zstd: $name" 'code 0' "sha256 $media" "in_zstd zstd $name"
    done
    run wrong.raw.zst
    check "zstd: a wrong seek table is a warning" 'says "  warnings"' 'says "seek table is wrong"'
    zstd -q --no-check -c raw.raw > unchecked.raw.zst
    run unchecked.raw.zst
    check "zstd: no checksums is a warning" 'code 0' 'says "1 of 1 frames have no checksum"'
    if have pzstd; then
        pzstd -q -f raw.raw -o p.raw.zst
        run --json --digest sha256 --threads 3 p.raw.zst
        check "zstd: a file of pzstd" 'code 0' "sha256 $media" 'in_zstd zstd p.raw.zst'
    else skip "zstd: a file of pzstd" "pzstd missing"; fi
    test_zstd_damage
    test_zstd_names
    test_zstd_refused
    rm -f ./*.zst ./*.ZSTD offsets f
}

test_zstd_damage() {
    local at n
    seekable raw.raw 100000 > bad.raw.zst
    at=$(sed -n 3p offsets)
    spoil bad.raw.zst $((at + 5000))
    run --json bad.raw.zst
    check "zstd: a damaged frame" 'code 1' 'status damaged' 'says "\"computed\":null"' \
        'says "[{\"chunk\":2,\"media_offset\":200000,\"length\":100000,\"offset\":'"$at"'"' \
        'says "\"file\":\"bad.raw.zst\",\"reason\":\"frame 2 cannot be decoded"'
    run bad.raw.zst
    check "zstd: a damaged frame, as text" 'code 1' \
        'says "media 200000 to 299999: frame 2 cannot"' 'says "DAMAGED: 1 chunk"'
    for n in 1 2 8; do
        run --json --threads $n bad.raw.zst
        timeless out > out.$n
    done
    check "zstd: the same for 1, 2, 8 threads" 'same out.1 out.2' 'same out.1 out.8'
    rm -f out.[128]
    # a short frame among long ones is bad: no more than its sectors
    head -c 300000 raw.raw > f && zstd -q -c f > uneven.raw.zst
    at=$(stat -c %s uneven.raw.zst)
    tail -c +300001 raw.raw | head -c 30000 > f && zstd -q -c f >> uneven.raw.zst
    tail -c +330001 raw.raw > f && zstd -q -c f >> uneven.raw.zst
    spoil uneven.raw.zst $((at + 3000))
    run --json uneven.raw.zst
    check "zstd: a damaged frame among longer ones" 'code 1' \
        'says "\"media_offset\":299520,\"length\":30720,"' 'says "\"reason\":\"frame 1 cannot"'
    zstd -q -f flip-zlib.E01
    run flip-zlib.E01.zst
    check "zstd: a damaged E01" 'code 1' 'says "DAMAGED: 1 chunk"' 'says "chunk 3"'
}

test_zstd_names() {
    local name
    zstd -q -f encase6.E01
    run --json encase6.E01.zst
    check "zstd: an E01" 'code 0' 'says "\"format\":\"EWF-E01\""' 'says "\"match\":true"' \
        'in_zstd zstd encase6.E01.zst'
    run --info encase6.E01.zst encase6.E01
    check "zstd: an E01, and one in a zstd file, are two" 'code 0' \
        '[ "$(grep -c "^  format" out)" = 2 ]' '[ "$(grep -c "^  container" out)" = 1 ]'
    q plain on-raw-alone
    zstd -q -f plain.q/image.qcow2 -o disk.qcow2.zst
    run --json disk.qcow2.zst
    check "zstd: a QCOW2" 'code 0' "has_md5 $(md5 plain.q/media.raw)" \
        'in_zstd zstd disk.qcow2.zst' 'says "\"check\":{\"corruptions\":0,"'
    zstd -q -f on-raw-alone.q/image.qcow2
    run on-raw-alone.q/image.qcow2.zst
    check "zstd: a backing file has no folder" 'code 2' 'complains "no folder"'
    run --json --alone on-raw-alone.q/image.qcow2.zst
    check "zstd: a QCOW2 with --alone" 'code 0' "has_md5 $(md5 on-raw-alone.q/media.raw)"
    cp disk.qcow2.zst y.raw.zst
    run --json y.raw.zst
    check "zstd: what is in it is not looked at" 'code 0' "has_md5 $(md5 plain.q/image.qcow2)"
    for name in s.zst x.mem.zst x.001.zst x.raw.zst.zst s.raw.zst.backup; do
        cp s.raw.zst $name
        run $name
        check "zstd: $name is not guessed" 'code 2' "begins '$name: '" 'complains "--format "' \
            'prints_nothing'
        run --json --digest sha256 --format zstd/raw $name
        check "zstd: $name with --format zstd/raw" 'code 0' "sha256 $(sum raw.raw)"
        rm -f $name
    done
    run --json --format zstd/qcow2 y.raw.zst
    check "zstd: --format zstd/qcow2" 'code 0' "has_md5 $(md5 plain.q/media.raw)"
    cp s.raw.zst s.raw
    run --json --digest sha256 s.raw
    check "zstd: a raw name is raw" 'code 0' "sha256 $(sum s.raw.zst)" 'says "\"stack\":[]"'
    run --json --digest sha256 --format raw s.raw.zst
    check "zstd: --format raw" 'code 0' "sha256 $(sum s.raw.zst)"
    run --format zstd s.raw
    check "zstd: --format zstd needs a name, too" 'code 2' 'complains "--format zstd/raw"'
    run --json --format zstd one.DD.ZSTD
    check "zstd: --format zstd" 'code 0' "in_zstd zstd one.DD.ZSTD"
    for name in raw/zstd ewf/zstd zstd/zstd; do
        run --format $name s.raw.zst
        check "zstd: --format $name" 'code 2' "begins '--format $name: '" 'complains "zstd/raw"'
    done
    rm -rf ./*.q s.raw
}

test_zstd_refused() {
    local name v
    cp encase6.E01 e.raw.zst
    echo "a text" > t.raw.zst
    : > n.raw.zst
    head -c 50000 s.raw.zst > cut.raw.zst
    { cat s.raw.zst; echo; } > behind.raw.zst
    printf '\x25\xb5\x2f\xfd0123456789abcdef' > old.raw.zst
    head -c 200000000 /dev/zero | zstd -q -c > large.raw.zst
    split -b 2000 raw.raw part. && zstd -q --train part.* -o dict --maxdict=10000 2> /dev/null
    zstd -q -D dict -c raw.raw > dict.raw.zst
    rm -f part.* dict
    for v in "e not a zstd" "t not a zstd" "n not a zstd" "cut cut short" \
        "behind are left behind the last frame" "old zstd v0.5" "large unzst decompresses it" \
        "dict dictionary"; do
        name=${v%% *}.raw.zst
        run $name
        check "zstd: $name is refused" 'code 2' "begins '$name: '" "complains '${v#* }'" \
            'prints_nothing'
        run --json $name
        check "zstd: $name is refused, as JSON" 'code 2' 'status error' 'lines 1' \
            '[ -z "$python" ] || json_is_right 1'
    done
}

# ------------------------------------------------------------------------------- all

test_options
test_refusals
test_variants
test_truncated
test_sets
test_raw
test_json
test_hostile_text
test_info
test_quiet
test_log
test_expect
test_several
test_progress
test_interrupt
test_batches
test_batches_in_time
test_threads
test_qcow2
test_qcow2_variants
test_zstd
finish
