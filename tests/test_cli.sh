#!/usr/bin/env bash
# test_cli.sh VERIFY_BINARY MAKE_EWF_BINARY WORK_DIR - what the verify tool promises to its users.
#
# One line for each check: "PASS name", "FAIL name: why" or "SKIP name: what is missing". The last
# line is "N passed, N failed, N skipped"; exit status 1 when any failed.
#
#   options    --help, bad values, what is said and with which exit code
#   refusals   files that are no images: a clear error, at once, that begins with the path
#   hostile    images that lie: bounded time and memory, and never "good" with wrong media
#   sets       segments that are many, absent, foreign, exchanged; raw images and their names
#   reports    text, JSON, --log; hostile text; progress; Ctrl-C; the same for any --threads

set -u
export LC_ALL=C
[ $# = 3 ] || { echo "usage: test_cli.sh VERIFY_BINARY MAKE_EWF_BINARY WORK_DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd) || exit 2
absolute() { echo "$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"; }
verify=$(absolute "$1") make_ewf=$(absolute "$2")
for program in "$verify" "$make_ewf"; do
    [ -x "$program" ] || { echo "$program: not a program" >&2; exit 2; }
done
mkdir -p "$3" && work=$(cd "$3" && pwd)/cli && rm -rf "$work" && mkdir -p "$work" &&
    cd "$work" || exit 2
passed=0 failed=0 skipped=0

pass() { echo "PASS $1"; passed=$((passed + 1)); }
fail() { echo "FAIL $1: $2"; failed=$((failed + 1)); }
skip() { echo "SKIP $1: $2"; skipped=$((skipped + 1)); }
have() { command -v "$1" > /dev/null 2>&1; }
python=$(python3 -c 'import sys; print(sys.executable)' 2> /dev/null) || python=

# Sanitizers reserve and use memory of their own: there its bounds say nothing.
bounded=1
grep -q -a -e __asan_init -e __tsan_init "$verify" && bounded=0
max_kib=200000

# ------------------------------------------------------------------------------- the framework

# check NAME CONDITION...: each condition is a command; the first that fails is the reason.
#   run ARGUMENT...   verify with these, within 5 seconds: $code, files out and err
# Conditions: code N; of out: says TEXT, says_not TEXT; of err: complains TEXT, begins TEXT, silent.
run() {
    timeout 5 "$verify" "$@" > out 2> err < /dev/null
    code=$?
}
code() { [ $code = "$1" ]; }
says() { grep -q -F -e "$1" out; }
says_not() { ! grep -q -F -e "$1" out; }
complains() { grep -q -F -e "$1" err; }
begins() { [ "$(head -c ${#1} err)" = "$1" ]; }
silent() { [ ! -s err ]; }
prints_nothing() { [ ! -s out ]; }
lines() { [ "$(wc -l < out)" = "$1" ]; }
absent() { [ ! -e "$1" ]; }
same() { cmp -s "$1" "$2"; }
status() { says "\"status\":\"$1\""; }
sha256() { says "\"sha256\":{\"computed\":\"$1\""; }
either() { [ $code = "$1" ] || [ $code = "$2" ]; }

# check NAME "condition" "condition" ...
check() {
    local name=$1 condition
    shift
    for condition in "$@"; do
        eval "$condition" || {
            fail "$name" "not so: $condition; exit $code; $(head -c 300 err | tr '\n' ' ')"
            return
        }
    done
    pass "$name"
}

# make VARIANT...: images of make_ewf, VARIANT.E01 ... and VARIANT.raw.
make() {
    local v
    for v in "$@"; do
        "$make_ewf" "$v" "$work/$v" > make.log 2>&1 || fail "make_ewf $v" "$(tail -n 1 make.log)"
    done
}
sum() { sha256sum < "$1" | cut -d ' ' -f 1; }
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
    for o in digest expect format threads log; do
        run raw.E01 --$o
        check "--$o without a value" 'code 2' "begins '--$o: '" 'prints_nothing'
    done
    for o in json quiet info force; do
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
    for bad in "" zip EWF ewf2; do
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
    make overflow-1m
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
    rm -f sparse.raw overflow-1m.* cut.log*
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
test_threads
cd / && rm -rf "$work"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] && [ $((passed + skipped)) != 0 ]
