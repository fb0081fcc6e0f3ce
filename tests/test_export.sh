#!/usr/bin/env bash
# test_export.sh EXPORT_BINARY MAKE_EWF_BINARY WORK_DIR - what the export tool promises.
#
#   options    --help, bad values, what contradicts what, what is refused
#   bytes      whole images and ranges, against cmp, dd, sha256sum and ewfexport
#   digests    of the range and of windows, against md5sum of dd; stored ones
#   holes      sparse outputs, --no-sparse, zeros known and found; the map
#   outputs    pipes, closed pipes, /dev/null, /dev/full, files that are in the way
#   resume     parts cut anywhere, torn, of another image; Ctrl-C, then --resume
#   damage     stop, zeros; the same for any --threads
#   zstd       images in zstd files

. "$(dirname "$0")/cli.sh"
[ $# = 3 ] || usage "EXPORT_BINARY MAKE_EWF_BINARY WORK_DIR"
export_tool=$(absolute "$1") make_ewf=$(absolute "$2")
need_programs "$export_tool" "$make_ewf"
begin "$3/export"

# ------------------------------------------------------------------------------- the framework

#   run ARGUMENT...   export with these, within 20 seconds: $code, files out and err
run() {
    timeout 20 "$export_tool" "$@" > out 2> err < /dev/null
    code=$?
}
blocks_of() { du -k "$1" | cut -f 1; }
sum_of() { "$1"sum < "$2" | cut -d ' ' -f 1; }

# The report of any run of the same image: without what time does to it.
timeless() {
    sed -e '/^  exported /d' -e '/^  read /d' -e 's/"seconds":.*"threads":[0-9]*}/}/' "$1"
}

# The images that most tests use: a disk of data, zeros and holes; the same as E01, raw, split raw.
prepare() {
    noise 3000000 1 > disk.raw
    truncate -s 9000000 disk.raw
    noise 700001 2 >> disk.raw
    head -c 1500000 /dev/zero >> disk.raw
    noise 100000 3 >> disk.raw
    truncate -s 20000256 disk.raw
    noise 4000000 4 >> disk.raw
    truncate -s 24000512 disk.raw
    head -c 10000000 disk.raw > split.001
    piece disk.raw 10000000 10000000 > split.002
    piece disk.raw 20000000 9999999 > split.003
    image=disk.raw
    if have ewfacquire; then
        ewfacquire -u -q -f encase6 -c fast -b 64 -S 4194304 -d sha1 -C 1 -E 1 -D d -e e -N n \
            -m fixed -M physical -t disk disk.raw > acquire.log 2>&1 || fail ewfacquire "fails"
        image=disk.E01
    fi
    make encase6-many raw chunk-2048 smart
}

# ------------------------------------------------------------------------------- options

test_options() {
    local o bad
    run --help
    check "--help" 'code 0' 'silent' 'says "usage: export"' 'says "-o FILE"' \
        'says "--output FILE"' 'says "--range"' 'says "--piecewise"' 'says "--sparse"' \
        'says "--no-sparse"' 'says "--resume"' 'says "--map"' 'says "--damage"' \
        'says "Exit codes"'
    run --version
    check "--version" 'code 0' 'silent' 'lines 1' \
        'grep -q -E "^export .*[0-9]+\.[0-9]+\.[0-9]+" out'
    run
    check "no image" 'code 2' 'complains "no image"' 'prints_nothing'
    run -o x.raw
    check "no image, but an output" 'code 2' 'complains "no image"' 'absent x.raw'
    run raw.E01
    check "nothing to do" 'code 2' 'complains "nothing to do"' 'complains "--map"' 'prints_nothing'
    run -o x.raw raw.E01 smart.s01
    check "two images" 'code 2' 'complains "one image"' 'absent x.raw'
    for o in -x -O --out --ranges --no-such; do
        run -o x.raw raw.E01 $o
        check "no option $o" 'code 2' "begins '$o: '" 'absent x.raw' 'absent x.raw.part'
    done
    for o in -o --output --range --digest --piecewise --damage --format --threads; do
        run raw.E01 $o
        check "$o without a value" 'code 2' "begins '$o: '" 'prints_nothing'
    done
    for o in map sparse no-sparse resume force json quiet; do
        run raw.E01 --$o=1
        check "--$o with a value" 'code 2' "begins '--$o=1: '"
    done
    for bad in "" 1 : :5 1: 1:x x:1 1:2:3 -1:1 1:-1 " 1:1" "1 :1" 1:1X 1KB:1 0x:1 1:0x 1.5M:1 \
        18446744073709551616:1 99999999999T:1 36028797018963968s:1; do
        [ "$bad" = 1: ] && continue
        run -o x.raw --range "$bad" raw.E01
        check "--range '$bad'" 'code 2' "begins '--range $bad: '" 'absent x.raw' 'prints_nothing'
    done
    for bad in "" 0 x -1 4K: 0x 4KB 18446744073709551616; do
        run --piecewise "$bad" raw.E01
        check "--piecewise '$bad'" 'code 2' "begins '--piecewise $bad: '" 'prints_nothing'
    done
    for bad in "" none md4 "md5,," sha512; do
        run --digest "$bad" raw.E01
        check "--digest '$bad'" 'code 2' "begins '--digest $bad: '" 'prints_nothing'
    done
    for bad in "" ignore ZEROS; do
        run -o x.raw --damage "$bad" raw.E01
        check "--damage '$bad'" 'code 2' "begins '--damage $bad: '" 'absent x.raw'
    done
    run -o x.raw --sparse --no-sparse raw.E01
    check "--sparse and --no-sparse" 'code 2' 'begins "--sparse: "' 'absent x.raw'
    run -o - --resume raw.E01
    check "--resume to a pipe" 'code 2' 'begins "--resume: "' 'prints_nothing'
    run --resume --digest md5 raw.E01
    check "--resume without an output" 'code 2' 'begins "--resume: "' 'prints_nothing'
    run -o "" raw.E01
    check "an empty output name" 'code 2' 'begins "-o: "'
    for o in "-o x.raw" "-ox.raw" "--output x.raw" "--output=x.raw"; do
        # shellcheck disable=SC2086 # one or two words
        run $o raw.E01
        check "$o" 'code 0' 'same x.raw raw.raw' 'absent x.raw.part'
        rm -f x.raw
    done
}

test_inputs() {
    local p
    mkdir folder.raw
    : > empty.E01
    echo text > text.txt
    for p in missing.E01 folder.raw empty.E01 text.txt no/folder.E01 ""; do
        run -o x.raw "$p"
        check "input '$p'" 'code 2' "begins '$p: '" 'prints_nothing' 'absent x.raw' \
            'absent x.raw.part'
        run -o x.raw --json "$p"
        check "input '$p', as JSON" 'code 2' 'lines 1' 'json' 'status error' 'says "\"error\":\""'
    done
    : > empty.raw
    run -o x.raw --digest md5 empty.raw
    check "an empty raw image" 'code 0' 'same x.raw empty.raw' \
        'says d41d8cd98f00b204e9800998ecf8427e'
    rm -f x.raw
    p=$(printf 'new\nline\033.E01')
    run -o x.raw "$p"
    check "a path of control characters is escaped" 'code 2' 'begins "new\\x0aline\\x1b.E01: "'
    cp raw.E01 ./-o.E01
    run -o x.raw -- -o.E01
    check "-- ends the options" 'code 0' 'same x.raw raw.raw'
    rm -f x.raw ./-o.E01
}

# ------------------------------------------------------------------------------- bytes

test_bytes() {
    local v f
    for v in raw encase6-many chunk-2048 smart; do
        f=$(ls "$v".[eEsS]01)
        run -o x.raw --json "$f"
        check "$f" 'code 0' 'silent' 'same x.raw $v.raw' 'absent x.raw.part' 'lines 1' 'json' \
            'status ok' "says '\"bytes\":$(size_of $v.raw)'"
        rm -f x.raw
    done
    run -o x.raw encase6-many.E03
    check "any segment names the image" 'code 0' 'same x.raw encase6-many.raw'
    rm -f x.raw
    run -o x.raw disk.raw
    check "raw" 'code 0' 'same x.raw disk.raw' 'says "exported"' 'says "of holes"'
    rm -f x.raw
    run -o x.raw split.001
    check "split raw" 'code 0' 'same x.raw disk.raw' 'says "split raw"'
    rm -f x.raw
    run -o x.raw --quiet disk.raw
    check "--quiet" 'code 0' 'same x.raw disk.raw' 'prints_nothing' 'silent'
    rm -f x.raw
    [ $image = disk.E01 ] || { skip "an image of ewfacquire" "no ewfacquire"; return; }
    run -o x.raw disk.E01
    check "an image of ewfacquire" 'code 0' 'same x.raw disk.raw'
    rm -f x.raw
    have ewfexport || { skip "the bytes of ewfexport" "no ewfexport"; return; }
    ewfexport -u -q -f raw -o 1000000 -B 5000001 -t peer disk.E01 > peer.log 2>&1
    run -o x.raw --range 1000000:5000001 disk.E01
    check "the bytes of ewfexport" 'code 0' 'same x.raw peer.raw'
    rm -f x.raw peer.*
}

test_qcow2() {
    local f
    have qemu-img || { skip "QCOW2 images" "no qemu-img"; return; }
    qemu-img convert -q -f raw -O qcow2 -c disk.raw packed.qcow2
    qemu-img convert -q -f raw -O qcow2 -o cluster_size=2M -c disk.raw large.qcow2
    qemu-img create -q -f qcow2 -b packed.qcow2 -F qcow2 overlay.qcow2
    for f in packed large overlay; do
        run -o x.raw --digest sha256 $f.qcow2
        check "$f.qcow2" 'code 0' 'same x.raw disk.raw' "says $(sum_of sha256 disk.raw)" \
            '[ $(blocks_of x.raw) -lt 8400 ]'
        rm -f x.raw
        run -o x.raw --range 2999990:7000001 --threads 3 $f.qcow2
        check "a range of $f.qcow2" 'code 0' 'cmp x.raw <(piece disk.raw 2999990 7000001)'
        rm -f x.raw
    done
    for f in overlay packed; do
        cp $f.qcow2 keep
        run -o $f.qcow2 --force overlay.qcow2
        check "the output is $f.qcow2, which is read" 'code 2' "begins '$f.qcow2: '" \
            'complains "image"' 'same keep $f.qcow2'
    done
    run -o /dev/null --alone overlay.qcow2
    check "a QCOW2 without its backing file" 'code 0' 'says exported'
    rm -f ./*.qcow2
}

# OFFSET:LENGTH|offset|length
ranges="0:1|0|1 0:|0|24000512 1:|1|24000511 24000511:|24000511|1 24000512:|24000512|0 0:0|0|0
    5:0|5|0 511:3|511|3 1s:2s|512|1024 0x1000:0X1000|4096|4096 1M:1K|1048576|1024
    1m:3k|1048576|3072 32767:2|32767|2 262143:786434|262143|786434 2999999:6000002|2999999|6000002
    9000000:700001|9000000|700001 0x7fffff:1234567|8388607|1234567 46875s:|24000000|512
    3000001:5999990|3000001|5999990 19999999:300|19999999|300"

test_ranges() {
    local r from n f bad
    for f in $image disk.raw split.001; do
        bad=
        for r in $ranges; do
            from=${r#*|} n=${from#*|} from=${from%|*}
            run -o x.raw --range "${r%%|*}" $f
            piece disk.raw "$from" "$n" > want
            { code 0 && same x.raw want; } || bad="$bad ${r%%|*}: exit $code;"
            rm -f x.raw
        done
        check_all "ranges of $f"
    done
    for r in 24000513: 24000512:1 0:24000513 1:18446744073709551615 1T:1 23000000:1000513; do
        run -o x.raw --range $r $image
        check "--range $r is beyond the end" 'code 2' "begins '$image: '" 'complains "beyond"' \
            'complains 24000512' 'absent x.raw' 'absent x.raw.part'
    done
}

# ------------------------------------------------------------------------------- digests

test_digests() {
    run --digest md5,sha1,sha256,blake3 $image
    check "digests without an output" 'code 0' "says $(sum_of md5 disk.raw)" \
        "says $(sum_of sha1 disk.raw)" "says $(sum_of sha256 disk.raw)" 'says BLAKE3' \
        'says_not output'
    run -o x.raw --digest sha256 --json --range 1001:9000000 $image
    piece disk.raw 1001 9000000 > want
    check "the digest of a range" 'code 0' 'same x.raw want' 'json' \
        "says '\"sha256\":{\"computed\":\"$(sum_of sha256 want)\",\"stored\":null'"
    rm -f x.raw
    if [ $image = disk.E01 ]; then
        run --digest md5,sha1,sha256 --json disk.E01
        check "stored digests are compared" 'code 0' 'json' 'status ok' \
            'says "\"stored\":\"$(sum_of md5 disk.raw)\",\"match\":true"' \
            'says "\"stored\":\"$(sum_of sha1 disk.raw)\",\"match\":true"'
        run --digest md5 --range 0:24000512 disk.E01
        check "also for a range that is all" 'code 0' 'says "  match"'
        run --digest md5 --range 0:24000511 disk.E01
        check "but not for less" 'code 0' 'says_not match' 'says_not MISMATCH'
    fi
    make hash-wrong partial-sector
    run -o x.raw --digest md5 hash-wrong.E01
    check "a stored digest that differs" 'code 1' 'says MISMATCH' 'same x.raw hash-wrong.raw' \
        "says $(sum_of md5 hash-wrong.raw)"
    rm -f x.raw
    run --json --digest md5 hash-wrong.E01
    check "a stored digest that differs, as JSON" 'code 1' 'json' 'status mismatch' \
        'says "\"match\":false"'
    run --json --digest sha256 hash-wrong.E01
    check "a stored digest that was not asked for" 'code 0' 'status ok'
    run --json --digest md5 partial-sector.E01
    check "a stored digest of a partial sector, too" 'code 0' 'json' 'status ok' \
        'says "\"match\":true"' "says $(sum_of md5 partial-sector.raw)"
}

# windows FILE FROM LENGTH SIZE: what --piecewise prints of them, by dd and md5sum.
windows() {
    local at=$2 end=$(($2 + $3)) n
    while [ $at -lt $end ]; do
        n=$((end - at < $4 ? end - at : $4))
        echo "$at-$((at + n - 1))  md5 $(piece "$1" $at $n | md5sum | cut -d ' ' -f 1)"
        at=$((at + n))
    done
}

test_windows() {
    local w
    for w in 0:24000512:1000000 5:3000000:262144 8999990:100:7 100:300:300 100:301:300 1:2:1000000 \
        0:9000000:9000001; do
        # shellcheck disable=SC2046 # three words
        windows disk.raw $(echo $w | tr : ' ') > want
        run --quiet --piecewise "${w##*:}" --range "${w%:*}" $image
        check "--piecewise $w" 'code 0' 'silent' 'grep -v "^  MD5" out > got' 'same got want'
    done
    run --quiet --piecewise 512 --range 0:0 disk.raw
    check "--piecewise of nothing" 'code 0' 'lines 1'
    run --json --piecewise 8M --digest md5,sha256 -o x.raw $image
    check "--piecewise as JSON" 'code 0' 'json' 'lines 1' 'same x.raw disk.raw' \
        'says "{\"offset\":0,\"length\":8388608,\"md5\":\"$(piece disk.raw 0 8388608 | md5sum |
            cut -d " " -f 1)\",\"sha256\":"' \
        'says "{\"offset\":16777216,\"length\":7223296,"' "says $(sum_of sha256 disk.raw)"
    rm -f x.raw
    have hashdeep || { skip "the windows of hashdeep" "no hashdeep"; return; }
    hashdeep -p 1000000 -c md5 disk.raw | grep -v '^[#%]' | cut -d , -f 2 > want
    run --quiet --piecewise 1000000 disk.raw
    check "the windows of hashdeep" 'code 0' 'grep -v "^  MD5" out | sed "s/.* //" > got' \
        'same got want'
}

# ------------------------------------------------------------------------------- holes

test_holes() {
    local f
    for f in $image disk.raw split.001; do
        run -o x.raw --json $f
        check "$f leaves holes" 'code 0' 'same x.raw disk.raw' \
            '[ $(blocks_of x.raw) -lt 8400 ]' 'says "\"holes\":1"'
        rm -f x.raw
    done
    run -o x.raw --no-sparse --json $image
    check "--no-sparse writes every byte" 'code 0' 'same x.raw disk.raw' \
        '[ $(blocks_of x.raw) -gt 23400 ]' 'says "\"holes\":0"'
    rm -f x.raw
    run -o x.raw --no-sparse disk.raw
    check "--no-sparse writes every byte of a hole" 'code 0' 'same x.raw disk.raw' \
        '[ $(blocks_of x.raw) -gt 23400 ]'
    rm -f x.raw
    truncate -s 3000000000000 vast.raw
    echo end >> vast.raw
    run -o x.raw vast.raw
    check "3 TB of hole take no time and no room" 'code 0' '[ $(size_of x.raw) = 3000000000004 ]' \
        '[ $(blocks_of x.raw) -lt 1000 ]' '[ "$(tail -c 4 x.raw)" = end ]'
    rm -f x.raw
    truncate -s 3000000000000 vast.raw
    run -o x.raw vast.raw
    check "nothing but a hole" 'code 0' '[ $(size_of x.raw) = 3000000000000 ]'
    rm -f x.raw vast.raw
}

test_map() {
    local at=0 start length rest bad=
    run --map disk.raw
    check "the map of a raw file" 'code 0' 'silent' 'says " hole"' 'says " data"'
    run --map --quiet disk.raw
    while read -r start length rest; do
        [ "$start" = $at ] || bad="$bad $start after $at;"
        at=$((start + length))
        [ "$rest" != hole ] ||
            [ -z "$(piece disk.raw "$start" "$length" | tr -d '\0' | head -c 1)" ] ||
            bad="$bad $start is no hole;"
    done < out
    [ $at = 24000512 ] || bad="$bad ends at $at"
    check_all "the map is complete, in order, and holes are zeros"
    cp out whole
    run --map --quiet --range 3500000:100 disk.raw
    check "the map of a range" 'code 0' 'lines 1' '[ "$(xargs < out)" = "3500000 100 hole" ]'
    run --map --json disk.raw
    check "the map as JSON" 'code 0' 'json' 'lines 1' 'says "\"map\":[{\"start\":0,\"length\":"' \
        'says "\"kind\":\"hole\",\"data\":false,\"zero\":true}"' \
        '[ "$(grep -o "\"start\":" out | wc -l)" = "$(wc -l < whole)" ]'
    run --map --quiet encase6-many.E01
    check "the map of an E01" 'code 0' 'says compressed' \
        '[ "$(awk "{ n += \$2 } END { print n }" out)" = $(size_of encase6-many.raw) ]' \
        '[ -z "$(awk "\$3 == last { print } { last = \$3 }" out)" ]'
    run --map --json --range 0:0 raw.E01
    check "the map of nothing" 'code 0' 'json' 'says "\"map\":[]"'
    run --map --json -o x.raw --digest md5 --piecewise 1M $image
    check "everything at once" 'code 0' 'json' 'same x.raw disk.raw' 'says "\"map\":[{"' \
        'says "\"pieces\":[{"' 'says "\"digests\":{\"md5\":{"'
    rm -f x.raw
    have qemu-img || { skip "the map of qemu-img" "no qemu-img"; return; }
    [ -n "$python" ] || { skip "the map of qemu-img" "no python3"; return; }
    run --map --json disk.raw
    qemu-img map -f raw --output=json disk.raw > peer.json
    check "the map of qemu-img" '"$python" -c "
import json
ours = json.load(open(\"out\"))[\"map\"]
key = lambda m: [(e[\"start\"], e[\"length\"], e[\"data\"], e[\"zero\"]) for e in m]
assert key(ours) == key(json.load(open(\"peer.json\")))"'
}

# ------------------------------------------------------------------------------- outputs

test_pipes() {
    timeout 20 "$export_tool" -o - $image 2> err | cmp - disk.raw
    code=$?
    check "-o -" 'code 0' 'grep -q exported err'
    timeout 20 "$export_tool" -o - --json --digest sha1 disk.raw 2> err > x.raw
    code=$?
    check "-o - into a file, with JSON" 'code 0' 'same x.raw disk.raw' 'json err' \
        'grep -q "\"output\":\"-\"" err'
    timeout 20 "$export_tool" -o - --range 2999990:100000 $image 2> err > x.raw
    code=$?
    check "-o - of a range" 'code 0' 'cmp x.raw <(piece disk.raw 2999990 100000)'
    { timeout 20 "$export_tool" -o - --quiet disk.raw 2> err; echo $? > code; } | head -c 10 > x.raw
    code=$(cat code)
    check "a closed pipe" 'code 2' 'silent' '[ $(size_of x.raw) = 10 ]'
    { timeout 20 "$export_tool" -o - --quiet $image 2> err; echo $? > code; } | :
    code=$(cat code)
    check "a pipe that was never read" 'code 2' 'silent'
    rm -f x.raw
    if have mkfifo; then
        mkfifo fifo
        cat fifo > got &
        run -o fifo --json $image
        wait $!
        check "a FIFO" 'code 0' 'same got disk.raw' 'json' '[ -p fifo ]'
        cat fifo > got &
        run -o fifo --resume $image
        wait $!
        check "a FIFO is not resumed" 'code 2' 'begins "fifo: "' 'complains "resume"'
        rm -f fifo got
    fi
    run -o /dev/null $image
    check "/dev/null" 'code 0' '[ -c /dev/null ]' 'absent /dev/null.part'
    run -o /dev/null --digest md5 --json disk.raw
    check "/dev/null, with a digest" 'code 0' "says $(sum_of md5 disk.raw)"
    run -o /dev/null --resume disk.raw
    check "/dev/null is not resumed" 'code 2' 'begins "/dev/null: "'
    [ -c /dev/full ] || { skip "/dev/full" "there is none"; return; }
    run -o /dev/full --json $image
    check "/dev/full" 'code 2' 'begins "/dev/full: "' 'complains "no space"' 'json' 'status error'
    timeout 20 "$export_tool" -o - $image > /dev/full 2> err
    code=$?
    check "standard output is full" 'code 2' 'complains "no space"'
    timeout 20 "$export_tool" --map disk.raw > /dev/full 2> err
    code=$?
    check "the report does not arrive" 'code 2' 'complains "standard output"'
}

test_no_space() {
    (ulimit -f 4000; trap '' XFSZ; exec timeout 20 "$export_tool" -o x.raw --no-sparse $image) \
        > out 2> err
    code=$?
    check "a file that cannot grow" 'code 2' 'begins "x.raw: "' 'complains "offset"' \
        'complains "--resume"' 'absent x.raw' '[ -s x.raw.part ]'
    run -o x.raw --resume $image
    check "a file that could not grow, resumed" 'code 0' 'same x.raw disk.raw' 'absent x.raw.part'
    rm -f x.raw
}

test_in_the_way() {
    local n
    echo old > x.raw
    run -o x.raw raw.E01
    check "an existing output" 'code 2' 'begins "x.raw: "' 'complains "exists"' \
        'complains "--force"' '[ "$(cat x.raw)" = old ]' 'absent x.raw.part'
    run -o x.raw --force raw.E01
    check "--force" 'code 0' 'same x.raw raw.raw'
    rm -f x.raw
    run -o folder.raw --force raw.E01
    check "a folder as output" 'code 2' 'begins "folder.raw: "' 'complains "folder"'
    run -o no/such/x.raw raw.E01
    check "an output in no folder" 'code 2' 'begins "no/such/x.raw: "'
    cp encase6-many.E02 keep
    for n in encase6-many.E01 ./encase6-many.E02 "$work/encase6-many.E03" encase6-many.E04; do
        run -o "$n" --force encase6-many.E01
        check "the output is a segment: $(basename "$n")" 'code 2' "begins '$n: '" \
            'complains "image"' 'absent "$n.part"' 'same keep encase6-many.E02'
    done
    ln encase6-many.E02 hard.raw
    ln -s encase6-many.E03 soft.raw
    for n in hard.raw soft.raw; do
        run -o $n --force encase6-many.E01
        check "the output is a link to a segment: $n" 'code 2' "begins '$n: '" \
            'complains "image"' 'same keep encase6-many.E02'
    done
    rm -f hard.raw soft.raw
    run -o disk.raw --force disk.raw
    check "the output is the raw input" 'code 2' 'begins "disk.raw: "' '[ -s disk.raw ]'
    run -o split.003 --force split.001
    check "the output is a part of split raw" 'code 2' 'begins "split.003: "' '[ -s split.003 ]'
    cp raw.raw x.raw.part
    run -o x.raw --format raw x.raw.part
    check "the output's .part is the input" 'code 2' 'begins "x.raw: "' 'same x.raw.part raw.raw'
    ln -f raw.raw x.raw.part
    run -o x.raw raw.raw
    check "the output's .part is a link to the input" 'code 2' 'begins "x.raw: "' '[ -s raw.raw ]'
    rm -f x.raw.part
    ln -s raw.raw x.raw.part
    run -o x.raw raw.E01
    check "the output's .part is a link" 'code 2' 'begins "x.raw: "' 'same raw.raw x.raw.part'
    rm -f x.raw.part
    run -o raw.dd raw.E01
    check "an output beside the image" 'code 0' 'same raw.dd raw.raw'
    rm -f raw.dd
}

# ------------------------------------------------------------------------------- resume

test_resume() {
    local n bad=
    for n in 0 1 511 4095 4096 4097 1048575 1048576 1048577 3000000 3000001 9000000 9500000 \
        17825792 17825793 20000255 20000256 23999999 24000000 24000511 24000512; do
        head -c $n disk.raw > x.raw.part
        run -o x.raw --resume --json $image
        { code 0 && same x.raw disk.raw && absent x.raw.part && json &&
            says "\"resumed\":$n,"; } || bad="$bad $n: exit $code, $(head -c 100 err);"
        rm -f x.raw x.raw.part
    done
    check_all "--resume from anywhere"
    run -o x.raw --resume $image
    check "--resume without a part begins" 'code 0' 'same x.raw disk.raw'
    rm -f x.raw
    # blocks that a crash kept from being written
    head -c 9600000 disk.raw > x.raw.part
    truncate -s 9300000 x.raw.part
    truncate -s 9700000 x.raw.part
    run -o x.raw --resume --json $image
    check "a torn end is written again" 'code 0' 'same x.raw disk.raw' 'says "\"resumed\":9297920,"'
    rm -f x.raw
    truncate -s 5000000 x.raw.part
    run -o x.raw --resume --json $image
    check "a part of zeros is begun anew" 'code 0' 'same x.raw disk.raw' 'says "\"resumed\":0,"'
    rm -f x.raw
    head -c 9700000 disk.raw > x.raw.part
    run -o x.raw --resume --digest md5 --piecewise 5M $image
    check "--resume with digests" 'code 0' 'same x.raw disk.raw' "says $(sum_of md5 disk.raw)" \
        'says "0-5242879  md5 $(head -c 5242880 disk.raw | sum_of md5 /dev/stdin)"'
    rm -f x.raw
    piece disk.raw 1000 2500000 > x.raw.part
    run -o x.raw --resume --range 1000:9000000 $image
    check "--resume of a range" 'code 0' 'cmp x.raw <(piece disk.raw 1000 9000000)'
    rm -f x.raw
    test_resume_refused
}

test_resume_refused() {
    local n
    for n in 1 4095 100000 2000000; do
        noise $n 9 > x.raw.part
        cp x.raw.part keep
        run -o x.raw --resume $image
        check "a part of $n other bytes" 'code 2' 'begins "x.raw: "' 'complains "differs"' \
            'absent x.raw' 'same x.raw.part keep'
    done
    head -c 9700000 disk.raw > x.raw.part
    printf X | dd of=x.raw.part bs=1 seek=9699999 conv=notrunc 2> /dev/null
    cp x.raw.part keep
    run -o x.raw --resume --json $image
    check "a part whose last byte differs" 'code 2' 'complains "differs"' 'complains 9699999' \
        'same x.raw.part keep' 'json' 'status error'
    run -o x.raw --resume --range 1: $image
    check "a part of another range" 'code 2' 'complains "differs"' 'same x.raw.part keep'
    cp disk.raw x.raw.part
    printf X >> x.raw.part
    run -o x.raw --resume $image
    check "a part that is longer" 'code 2' 'complains "24000513"' \
        '[ $(size_of x.raw.part) = 24000513 ]'
    rm -f x.raw.part
    head -c 100000 disk.raw > x.raw.part
    echo old > x.raw
    run -o x.raw --resume $image
    check "--resume beside an existing output" 'code 2' 'complains "exists"' \
        '[ "$(cat x.raw)" = old ]' '[ $(size_of x.raw.part) = 100000 ]'
    run -o x.raw --resume --force $image
    check "--resume --force" 'code 0' 'same x.raw disk.raw'
    noise 5000 9 > x.raw.part
    run -o x.raw --force $image
    check "without --resume a part is begun anew" 'code 0' 'same x.raw disk.raw'
    rm -f x.raw
}

test_interrupt() {
    local i bad=
    local four="--digest sha1,md5,sha256,blake3"
    cp disk.raw long.raw
    truncate -s 700000000 long.raw
    noise 1000000 5 >> long.raw
    timeout -k 9 --preserve-status -s INT 0.4 "$export_tool" --threads 1 $four \
        -o x.raw long.raw > out 2> err < /dev/null
    code=$?
    check "Ctrl-C" 'code 2' 'complains "interrupted"' 'complains "--resume"' 'absent x.raw' \
        '[ -e x.raw.part ]' 'begins "x.raw: " || begins "long.raw: "' 'says_not exported'
    run -o x.raw --resume --json long.raw
    check "Ctrl-C, then --resume" 'code 0' 'same x.raw long.raw' 'absent x.raw.part' 'status ok'
    rm -f x.raw
    timeout -k 9 --preserve-status -s INT 0.3 "$export_tool" --threads 1 $four \
        --json -o x.raw long.raw > out 2> err < /dev/null
    code=$?
    check "Ctrl-C, as JSON" 'code 2' 'json' 'status error' 'says "\"error\":\"interrupted\""' \
        'absent x.raw'
    rm -f x.raw* long.raw
    # killed at any moment, and again
    for i in 05 10 15 20 25 30; do
        "$export_tool" -o x.raw --resume --no-sparse --quiet $image > out 2> err < /dev/null &
        { sleep 0.0$i; kill -KILL $!; wait $!; code=$?; } 2> /dev/null
        [ $code = 0 ] && break
        [ $code = 137 ] || bad="$bad exit $code: $(cat err)"
        absent x.raw || bad="$bad NAME after a kill;"
    done
    [ $code = 0 ] || run -o x.raw --resume $image
    { code 0 && same x.raw disk.raw; } || bad="$bad the last: exit $code"
    check_all "killed again and again, then --resume"
    rm -f x.raw x.raw.part
}

# ------------------------------------------------------------------------------- damage

test_damage() {
    local v
    make flip-raw flip-zlib missing-middle
    for v in flip-raw flip-zlib; do
        run -o x.raw $v.E01
        check "$v stops" 'code 1' "begins '$v.E01: '" 'complains "chunk 3"' 'complains "98304"' \
            'complains "--damage zeros"' 'complains "offset"' 'absent x.raw' '[ -e x.raw.part ]'
        run -o x.raw --damage zeros --json $v.E01
        { piece $v.raw 0 98304 && head -c 32768 /dev/zero && piece $v.raw 131072 9999999; } > want
        check "$v with zeros" 'code 1' 'same x.raw want' 'json' 'status damaged' \
            'says "\"damaged\":[{\"offset\":98304,\"length\":32768,\"reason\":\"chunk 3: "' \
            'says "\"damaged_bytes\":32768,"' 'silent'
        rm -f x.raw
        run -o x.raw --damage zeros --range 98305:70000 $v.E01
        check "$v with zeros, a range" 'code 1' 'cmp x.raw <(piece want 98305 70000)' \
            'says "32,767 bytes are zeros"'
        rm -f x.raw
        run -o x.raw --range 131072: $v.E01
        check "$v behind the damage" 'code 0' 'cmp x.raw <(piece $v.raw 131072 9999999)'
        rm -f x.raw x.raw.part
        run -o x.raw --json $v.E01
        check "$v stops, as JSON" 'code 1' 'json' 'status damaged' 'says "\"error_offset\":"'
        head -c 110000 want > x.raw.part
        run -o x.raw --resume --damage zeros --json $v.E01
        check "$v resumed behind the damage" 'code 1' 'same x.raw want' \
            'says "\"damaged_bytes\":32768,"' 'status damaged'
        rm -f x.raw
        head -c 110000 want > x.raw.part
        run -o x.raw --resume $v.E01
        check "$v resumed without --damage zeros" 'code 1' "begins '$v.E01: '" 'absent x.raw'
        rm -f x.raw.part
    done
    run -o x.raw --damage zeros --digest md5 missing-middle.E01
    check "a missing segment" 'code 1' 'says "damaged"' 'says "DAMAGED"' \
        '[ $(size_of x.raw) = $(size_of missing-middle.raw) ]' \
        'cmp -n 200000 x.raw missing-middle.raw' 'says MISMATCH'
    rm -f x.raw
    run -o x.raw missing-middle.E01
    check "a missing segment stops" 'code 1' 'absent x.raw'
    rm -f x.raw.part
}

test_threads() {
    local f n bad
    make entries-swapped count-huge1 base-wrap
    for f in $image disk.raw flip-raw.E01 missing-middle.E01 entries-swapped.E01 count-huge1.E01 \
        base-wrap.E01 raw.E01; do
        bad=
        for n in 1 2 3 16; do
            for how in stop zeros; do
                run -o x.raw --threads $n --damage $how --digest md5,blake3 --piecewise 100K \
                    --json --map $f
                { timeless out && cat err && echo $code && cat x.raw x.raw.part 2> /dev/null; } \
                    > report.$how
                rm -f x.raw x.raw.part
                [ $n = 1 ] && mv report.$how first.$how && continue
                same report.$how first.$how || bad="$bad --threads $n --damage $how;"
            done
        done
        check_all "$f: the same for 1, 2, 3 and 16 threads"
    done
}

test_progress() {
    have script || { skip "a progress bar" "no script(1)"; return; }
    truncate -s 400000000 bar.raw
    script -q -c "'$export_tool' --digest md5 -o x.raw bar.raw" typescript > /dev/null < /dev/null
    code=$?
    check "a progress bar on a terminal" 'grep -q "ETA" typescript'
    rm -f x.raw bar.raw typescript
}

# ------------------------------------------------------------------------------- zstd

test_zstd() {
    local f at
    have zstd || { skip "images in zstd files" "zstd missing"; return; }
    split -b 1M disk.raw part. && zstd -q part.* && cat part.*.zst > frames.raw.zst
    rm -f part.*
    run -o x.raw frames.raw.zst
    if complains "built without zstd"; then
        skip "images in zstd files" "libzstd-dev is not installed"
        return
    fi
    zstd -q -d -c frames.raw.zst > want
    check "frames.raw.zst" 'code 0' 'same x.raw want' 'same x.raw disk.raw'
    rm -f x.raw
    zstd -q -c disk.raw > one.dd.zst
    for f in frames.raw one.dd; do
        run -o x.raw --json --threads 3 --digest sha256 $f.zst
        check "$f.zst, holes and digest" 'code 0' 'same x.raw want' 'json' \
            "says $(sum_of sha256 want)" '[ $(blocks_of x.raw) -lt 8400 ]' \
            'says "\"format\":\"raw\""'
        rm -f x.raw
        run -o x.raw --range 2999990:7000001 $f.zst
        check "a range of $f.zst" 'code 0' 'cmp x.raw <(piece want 2999990 7000001)'
        head -c 3500000 want > x.raw.part
        run -o x.raw --force --resume $f.zst
        check "$f.zst resumed" 'code 0' 'same x.raw want' 'says "3,500,000 bytes were there"'
        rm -f x.raw
    done
    run --map --quiet frames.raw.zst
    check "the map of frames.raw.zst" 'code 0' \
        '[ "$(xargs < out)" = "0 24000512 compressed" ]'
    if have pzstd; then
        pzstd -q -f disk.raw -o p.raw.zst
        run -o x.raw p.raw.zst
        check "a file of pzstd" 'code 0' 'same x.raw want'
        rm -f x.raw
        printf spoilt | dd of=p.raw.zst bs=1 seek=500000 conv=notrunc 2> /dev/null
        run -o x.raw p.raw.zst
        check "a damaged file of pzstd, which does not say how large frames are" 'code 2' \
            "begins 'p.raw.zst: frame 0 cannot'" 'absent x.raw'
    else skip "a file of pzstd" "pzstd missing"; fi
    "$make_ewf" encase6 "$work/in" > make.log 2>&1
    zstd -q -f in.E01
    run -o x.raw --digest md5 in.E01.zst
    check "an E01 in a zstd file" 'code 0' 'same x.raw in.raw' 'says "  match"'
    rm -f x.raw
    run -o frames.raw.zst --force frames.raw.zst
    check "the output is the zstd file" 'code 2' 'complains "image"' \
        'zstd -q -d -c frames.raw.zst | same - want'
    at=$(head -c 1048576 disk.raw > f && zstd -q -c f | wc -c)
    printf spoilt | dd of=frames.raw.zst bs=1 seek=$((at + 5000)) conv=notrunc 2> /dev/null
    run -o x.raw frames.raw.zst
    check "a damaged frame stops" 'code 1' "begins 'frames.raw.zst: frame 1 cannot'" \
        'complains 1048576' 'absent x.raw'
    { piece want 0 1048576 && head -c 1048576 /dev/zero && piece want 2097152 30000000; } > zeros
    run -o x.raw --force --damage zeros --json frames.raw.zst
    check "a damaged frame with zeros" 'code 1' 'same x.raw zeros' 'json' \
        'says "\"damaged\":[{\"offset\":1048576,\"length\":1048576,\"reason\":\"frame 1 cannot"'
    head -c 900000 one.dd.zst > cut.dd.zst
    run -o y.raw cut.dd.zst
    check "a zstd file cut short" 'code 2' 'begins "cut.dd.zst: "' 'complains "cut short"' \
        'absent y.raw'
    rm -f ./*.zst x.raw* want zeros f
}

# ------------------------------------------------------------------------------- all

prepare
test_options
test_inputs
test_bytes
test_qcow2
test_ranges
test_digests
test_windows
test_holes
test_map
test_pipes
test_no_space
test_in_the_way
test_resume
test_interrupt
test_damage
test_threads
test_progress
test_zstd
finish
