#!/usr/bin/env bash
# test_unzst.sh UNZST_BINARY WORK_DIR - what the unzst tool promises to its users.
#
#   options    --help, bad values, what contradicts what
#   bytes      files of zstd and pzstd, every mode and number of threads; ranges; dictionaries
#   lists      --list and --json, of frames, seek tables, hints
#   refusals   no zstd, cut, damaged, legacy, large windows: the words, the exit codes, no output
#   outputs    names, what is in the way, pipes, terminals, Ctrl-C; holes; bounded memory

. "$(dirname "$0")/cli.sh"
[ $# = 2 ] || usage "UNZST_BINARY WORK_DIR"
unzst=$(absolute "$1")
need_programs "$unzst"
begin "$2/unzst"
have zstd || { skip "all" "zstd missing"; finish; }

bounded=1
is_sanitized "$unzst" && bounded=0

# ------------------------------------------------------------------------------- the framework

#   run ARGUMENT...   unzst with these, within 20 seconds: $code, files out and err
run() {
    timeout 20 "$unzst" "$@" > out 2> err < /dev/null
    code=$?
}

# ------------------------------------------------------------------------------- options

test_options() {
    run --help
    check "--help" 'code 0' 'silent' 'says "usage: unzst"' 'says "-o FILE"' 'says "--threads"' \
        'says "--mode"' 'says "--list"' 'says "--range"' 'says "--force"' 'says "--json"' \
        'says "--quiet"' 'says "  -t "' 'says "--version"' 'says "Exit codes"'
    run --version
    check "--version" 'code 0' 'silent' 'lines 1'
    run
    check "no file" 'code 2' 'begins "unzst: "' 'prints_nothing'
    run --no-such f.zst
    check "an unknown option" 'code 2' 'begins "--no-such: "'
    run --mode fast f.zst
    check "an unknown mode" 'code 2' 'begins "--mode fast: "'
    local bad
    for bad in x 1:x :5 5K:1Q ""; do
        run --range "$bad" -o - f.zst
        check "--range '$bad'" 'code 2' 'begins "--range"'
    done
    run --threads 5000 f.zst
    check "too many threads" 'code 2' 'begins "--threads 5000: "'
    run --range 0:1 f.zst
    check "--range without -o" 'code 2' 'begins "--range: "'
    run -t -o x f.zst
    check "-t with -o" 'code 2' 'begins "-o: "'
    run -o x f.zst g.zst
    check "-o for two files" 'code 2' 'begins "-o: "'
}

# ------------------------------------------------------------------------------- bytes

test_bytes() {
    local mode threads file n
    text 200000 > t
    zstd -q -f t -o single.zst
    zstd -q -f -c < t > stream.zst
    { zstd -q -c t; zstd -q -c -1 --no-check t; zstd -q -c -7 < t; } > several.zst
    cat t t t > several
    cp t single && cp t stream
    if have pzstd; then
        cat t t t t t t t t > eight
        pzstd -q -f -p 2 eight -o eight.zst
    else skip "files of pzstd" "pzstd missing"; fi
    for file in single stream several eight; do
        [ -f $file.zst ] || continue
        for mode in auto frame block serial; do
            for threads in 1 2 5 0; do
                rm -f o
                run --mode $mode --threads $threads -o o $file.zst
                check "$file, --mode $mode --threads $threads" 'code 0' 'silent' "same o $file"
            done
        done
        run --memory 1M -o - $file.zst
        check "$file, --memory 1M" 'code 0' "same out $file"
        run -t --quiet $file.zst
        check "$file, -t" 'code 0' 'silent' 'prints_nothing'
        run --range 100000:5000 -o - $file.zst
        check "$file, --range" 'code 0' \
            "same out <(tail -c +100001 $file | head -c 5000)"
        run --range 1M -o - $file.zst
        check "$file, --range to the end" 'code 0' "same out <(tail -c +1048577 $file)"
        run --range 1G:1 -o - $file.zst
        check "$file, --range beyond" 'code 2' 'complains "range"' 'prints_nothing'
    done
    if [ -f eight.zst ]; then # what lies behind the range is not looked at
        cp eight.zst tail.zst
        n=$(stat -c %s tail.zst)
        printf 'X' | dd of=tail.zst bs=1 seek=$((n - 3)) conv=notrunc 2> /dev/null
        run -t tail.zst
        check "damage in the last frame" 'code 1'
        run --range 100:200 --json -o o --force tail.zst
        check "a range before it" 'code 0' 'silent' 'says "\"bytes\":200,"' \
            "same o <(tail -c +101 eight | head -c 200)"
    fi
    run --json -t --threads 1 single.zst
    check "one frame, one thread: serially" 'code 0' 'says "\"done_by\":\"serial\""'
    run --json -t --threads 2 single.zst
    check "one frame, two threads: by blocks" 'code 0' 'says "\"done_by\":\"block\""'
    run --json -t --threads 1 --mode block single.zst
    check "--mode block" 'code 0' 'says "\"done_by\":\"block\""'
    split -b 2000 t s_ && zstd -q --train s_a* -o dict --maxdict=10000 2> /dev/null
    rm -f s_*
    zstd -q -f -D dict t -o d.zst
    run -o - d.zst
    check "a dictionary that is missing" 'code 2' 'begins "d.zst: "' 'complains "needs dictionary"'
    run -D dict -o - d.zst
    check "a dictionary" 'code 0' 'same out t'
    run -D nowhere -o - d.zst
    check "no such dictionary" 'code 2' 'begins "nowhere: "'
}

# ------------------------------------------------------------------------------- lists

test_lists() {
    run --list several.zst
    check "--list" 'code 0' 'silent' 'says "frames            3, and 0"' \
        'says "seek table        none"' \
        'says "of 2 frames"' 'says "mode              frame"' 'says "not said; at most"'
    run --list --quiet single.zst
    check "--list --quiet" 'code 0' 'says "mode              block"' 'says_not "XXH64"'
    run --list --json single.zst several.zst
    check "--list --json" 'code 0' 'lines 2' 'says "\"frames\":3"' 'says "\"seek_table\":null"' \
        'says "\"mode\":\"block\""' 'says "\"content_size\":null"' \
        'says "\"list\":[{\"offset\":0,"'
    run --list --json --mode serial several.zst
    check "--list --mode serial" 'code 0' 'says "\"mode\":\"serial\""'
    [ -f eight.zst ] || return
    run --list eight.zst
    check "--list of pzstd's" 'code 0' "says \"pzstd's hint\"" 'says "0 of them wrong"'
}

# ------------------------------------------------------------------------------- refusals

refused() { # NAME CODE FILE TEXT
    local mode
    for mode in auto serial; do
        rm -f o o.part
        run --mode $mode -o o "$3"
        check "$1, --mode $mode" "code $2" "begins \"$3: \"" "complains \"$4\"" 'absent o' \
            'absent o.part'
    done
    run -t "$3"
    check "$1, -t" "code $2" "begins \"$3: \"" "complains \"$4\"" 'prints_nothing'
}

test_refusals() {
    local n
    echo "this is no zstd file" > plain.zst
    refused "text" 2 plain.zst "not a zstd file"
    : > empty.zst
    refused "an empty file" 1 empty.zst "it is empty"
    printf 'ab' > tiny.zst
    refused "two bytes" 2 tiny.zst "it has 2 bytes"
    head -c 100000 several.zst > cut.zst
    refused "a cut file" 1 cut.zst "frame 0 is cut short"
    n=$(stat -c %s several.zst)
    head -c $((n - 1)) several.zst > cut2.zst
    refused "the last byte is missing" 1 cut2.zst "frame 2 is cut short"
    { cat several.zst; echo garbage; } > behind.zst
    refused "garbage behind" 1 behind.zst "before frame 3"
    cp single.zst bad.zst
    printf 'X' | dd of=bad.zst bs=1 seek=$(($(stat -c %s bad.zst) - 3)) conv=notrunc 2> /dev/null
    refused "a wrong checksum" 1 bad.zst "frame 0 cannot be decoded"
    for n in 1e:1 22:2 23:3 24:4 25:5 26:6 27:7; do
        printf "\\x${n%:*}\\xb5\\x2f\\xfd0123456789abcdef" > old.zst
        [ $n = 1e:1 ] && printf '\xfd\x2f\xb5\x1e0123456789abcdef' > old.zst
        refused "zstd v0.${n#*:}" 2 old.zst "zstd v0.${n#*:}"
    done
    printf '\x27\xb5\x2f\xfd\0\0\x40\0\x05hello\xc0\0\0' > old.zst # one that is good
    if zstd -q -t old.zst 2> /dev/null; then
        run -o - old.zst
        check "what libzstd knows of v0.7" 'code 0' 'says "hello"'
        run -t old.zst
        check "the same, -t" 'code 0' 'says "good: 5 bytes"'
    else skip "zstd v0.7" "zstd without support for it"; fi
    printf '\x28\xb5\x2f\xfd' > magic.zst
    refused "a magic number and no more" 1 magic.zst "frame 0 is cut short"
    truncate -s 100G disk.zst
    refused "a disk full of zeros" 2 disk.zst "not a zstd file"
    rm -f disk.zst
    tail -c +5 single.zst > magicless.zst
    refused "a frame without magic number" 2 magicless.zst "without its magic number"
    printf '\x28\xb5\x2f\xfd\x00\x90\x01\x00\x00' > window.zst # 2^28
    refused "a large window" 2 window.zst "needs a window of 268435456 bytes"
    run --long 28 -o - window.zst
    check "--long" 'code 0' 'prints_nothing'
    run --long 32 -o - window.zst
    check "--long 32" 'code 2' 'begins "--long 32: "'
    printf '\x28\xb5\x2f\xfd\xe0\x00\x00\x00\x00\x00\x00\x00\x40\x03\x00\x00A' > bomb.zst
    refused "a frame that claims 2^62 bytes" 2 bomb.zst "window"
    run -o - nowhere.zst
    check "no such file" 'code 2' 'begins "nowhere.zst: "'
    run -t single.zst plain.zst cut.zst
    check "several files, the highest code" 'code 2' 'says "single.zst: good"' \
        'complains "plain.zst: "' 'complains "cut.zst: "'
    run -t single.zst cut.zst --json
    check "damaged, as JSON" 'code 1' 'lines 2' 'says "\"status\":\"ok\""' \
        'says "\"status\":\"damaged\""' 'says "\"error\":\"frame 0 is cut short"'
}

# ------------------------------------------------------------------------------- outputs

test_outputs() {
    mkdir -p d && rm -f d/*
    cp single.zst d/a.b.zst && cp single.zst d/c.tzst && cp single.zst d/e
    run d/a.b.zst d/c.tzst
    check "default names" 'code 0' 'same d/a.b t' 'same d/c.tar t' 'absent d/a.b.part'
    run d/e
    check "no .zst" 'code 2' 'begins "d/e: "' 'complains "-o"'
    echo old > d/a.b
    run d/a.b.zst
    check "an output in the way" 'code 2' 'begins "d/a.b: "' 'complains "--force"' \
        'grep -q old d/a.b'
    run --force d/a.b.zst
    check "--force" 'code 0' 'same d/a.b t'
    run --force -o single.zst single.zst
    check "the input is no output" 'code 2' 'begins "single.zst: "' 'complains "input"' \
        'zstd -q -t single.zst'
    ln -sf single.zst link.part
    run --force -o link single.zst
    check "nor is its .part" 'code 2' 'begins "link: "' 'zstd -q -t single.zst'
    rm -f link.part
    run -o - single.zst several.zst
    check "several to standard output" 'code 0' 'same out <(cat single several)'
    "$unzst" -o - several.zst 2> err | head -c 10 > out
    code=${PIPESTATUS[0]}
    check "a reader that has enough" 'silent'
    if [ -w /dev/full ]; then
        run -o /dev/full several.zst
        check "/dev/full" 'code 2' 'begins "/dev/full: "'
    fi
    run -o /dev/null several.zst
    check "/dev/null" 'code 0' '[ -c /dev/null ]'
    head -c 50000000 /dev/zero | zstd -q > zeros.zst
    run -o zeros zeros.zst
    check "zeros become holes" 'code 0' '[ "$(stat -c %s zeros)" = 50000000 ]' \
        '[ "$(stat -c %b zeros)" -lt 2000 ]'
    rm -f zeros
    if [ $bounded = 1 ] && [ -x /usr/bin/time ]; then
        head -c 2000000000 /dev/zero | zstd -q > large.zst
        /usr/bin/time -f %M -o kib "$unzst" -t --quiet large.zst
        check "2 GB in one frame by little memory" '[ "$(tail -n 1 kib)" -lt 100000 ]'
        cat several.zst several.zst several.zst several.zst several.zst several.zst > many.zst
        /usr/bin/time -f %M -o kib "$unzst" -t --quiet --memory 8M many.zst
        check "--memory is a bound" '[ "$(tail -n 1 kib)" -lt 60000 ]'
        "$unzst" -o slow large.zst > out 2> err & # some time is needed for this one
        sleep 0.2
        kill -INT $! 2> /dev/null
        wait $!
        code=$?
        if [ $code = 0 ]; then skip "Ctrl-C" "it was done before"
        else check "Ctrl-C" 'code 2' 'absent slow' 'absent slow.part' 'complains "interrupted"'; fi
        rm -f slow large.zst
    else skip "bounded memory" "sanitizers, or no /usr/bin/time"; fi
}

test_options
test_bytes
test_lists
test_refusals
test_outputs
finish
