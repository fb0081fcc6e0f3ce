#!/usr/bin/env bash
# test_images.sh BUILD_DIR WORK_DIR - VMDK, VHDX and VHD images in verify and export.
#
# Of the variants that make_vmdk and make_vhdx know every TEST_STRIDE-th (4) is taken.
#
#   qemu-img   its images: bytes, ranges, maps, resumed; QCOW2 on each of them; in other images
#   names      what a name promises and a content says; --format
#   chains     parents that are gone, or others; --alone, --any-parent
#   extents    that are missing, damaged, outputs
#   attacks    names that lead elsewhere: nothing is opened there
#   variants   built byte by byte: what is promised of each, as JSON; nothing is written

. "$(dirname "$0")/cli.sh"
[ $# = 2 ] || usage "BUILD_DIR WORK_DIR"
build=$(cd "$1" && pwd) || exit 2
need_programs "$build/verify" "$build/export" "$build/make_vmdk" "$build/make_vhdx"
begin "$2/images"
stride=${TEST_STRIDE:-4}

# ------------------------------------------------------------------------------- the framework

#   run ARGUMENT...      verify with these, within 20 seconds: $code, files out and err
#   write_out ARGUMENT...  export with these, the same
run() {
    timeout 20 "$build/verify" "$@" > out 2> err < /dev/null
    code=$?
}
write_out() {
    rm -f x.raw
    timeout 20 "$build/export" -o x.raw "$@" > out 2> err < /dev/null
    code=$?
}
format() { says "\"format\":\"$1\""; }
layer() { says "{\"role\":\"$1\",\"format\":\"$2\",\"path\":\"$3\""; } # ROLE FORMAT PATH
has_md5() { says "\"md5\":{\"computed\":\"$1\""; }
timeless() { sed -e '/^  speed /d' -e 's/"seconds":.*"threads":[0-9]*}/}/' out; }

# vmdk VARIANT..., vhdx VARIANT...: folders VARIANT with image.* and media.raw.
vmdk() { for v; do "$build/make_vmdk" "$v" . > make.log 2>&1 || fail "make_vmdk" "$v"; done; }
vhdx() { for v; do "$build/make_vhdx" "$v" . > make.log 2>&1 || fail "make_vhdx" "$v"; done; }

# ------------------------------------------------------------------------------- qemu-img

# NAME FORMAT OPTIONS, what verify calls it, its format as a backing file
made="sparse.vmdk|vmdk|subformat=monolithicSparse|VMDK monolithicSparse|vmdk
flat.vmdk|vmdk|subformat=monolithicFlat|VMDK monolithicFlat|vmdk
split.vmdk|vmdk|subformat=twoGbMaxExtentSparse|VMDK twoGbMaxExtentSparse|vmdk
pieces.vmdk|vmdk|subformat=twoGbMaxExtentFlat|VMDK twoGbMaxExtentFlat|vmdk
stream.vmdk|vmdk|subformat=streamOptimized|VMDK streamOptimized|vmdk
disk.vhdx|vhdx|block_size=1M|VHDX dynamic|vhdx
fixed.vhdx|vhdx|subformat=fixed,block_size=1M|VHDX fixed|vhdx
disk.vhd|vpc|force_size=on|VHD dynamic|vpc
fixed.vhd|vpc|subformat=fixed,force_size=on|VHD fixed|vpc"

test_made() {
    local name format options called backing media n
    noise 900000 1 > disk.raw
    truncate -s 3000000 disk.raw
    noise 400000 2 >> disk.raw
    truncate -s 6291456 disk.raw
    media=$(md5 disk.raw)
    have qemu-img || { skip "images of qemu-img" "no qemu-img"; return; }
    while IFS='|' read -r name format options called backing; do
        qemu-img convert -f raw -O $format -o $options disk.raw $name || fail "qemu-img" "$name"
        run --json $name
        check "$name" 'code 0' 'silent' 'status ok' "has_md5 $media" "format '$called'" \
            'says "\"stack\":[]"' 'json'
        run $name
        check "$name, as text" 'code 0' "says 'format            $called'" 'says "OK as far"'
        for n in 1 2 8; do
            run --threads $n --json $name
            timeless > out.$n
        done
        check "$name: the same for 1, 2, 8 threads" 'same out.1 out.2' 'same out.1 out.8'
        write_out --threads 3 $name
        check "$name, exported" 'code 0' 'same x.raw disk.raw' 'absent x.raw.part'
        write_out --range 899990:2500001 --json $name
        check "$name, a range" 'code 0' 'json' 'cmp x.raw <(piece disk.raw 899990 2500001)'
        head -c 1300000 disk.raw > x.raw.part
        write_out --resume $name
        check "$name, resumed" 'code 0' 'same x.raw disk.raw' 'says "1,300,000 bytes were there"'
        timeout 20 "$build/export" --map --quiet $name > out 2> err
        code=$?
        check "$name, its map" 'code 0' 'silent' \
            '[ "$(awk "{ n += \$2 } END { print n }" out)" = 6291456 ]' \
            '[ "$(awk "NR > 1 && \$1 != at { print } { at = \$1 + \$2 }" out | wc -l)" = 0 ]'
        qemu-img create -q -f qcow2 -b $name -F $backing over.qcow2 && qemu-img resize -q \
            over.qcow2 7M || fail "qemu-img" "a QCOW2 on $name"
        run --json over.qcow2
        check "a QCOW2 on $name" 'code 0' "layer 'backing file' '$called' $name" \
            "has_md5 $( (cat disk.raw; head -c 1048576 /dev/zero) | md5sum | cut -d ' ' -f 1)"
        write_out --force over.qcow2
        check "a QCOW2 on $name, exported" 'code 0' 'cmp -n 6291456 x.raw disk.raw'
        timeout 20 "$build/export" -o $name --force over.qcow2 > out 2> err
        code=$?
        check "$name is no output, for it is read" 'code 2' "begins '$name: '" 'complains "image"'
    done <<< "$made"
    rm -f x.raw* out.[128] over.qcow2
    for name in flat-flat.vmdk split-s001.vmdk pieces-f001.vmdk; do
        cp $name keep
        timeout 20 "$build/export" -o $name --force "${name%-*}.vmdk" > out 2> err
        code=$?
        check "the extent $name is no output" 'code 2' "begins '$name: '" "complains image" \
            "same keep $name"
    done
    test_made_chain
    test_made_nested
}

test_made_chain() {
    local name
    qemu-img create -q -f vmdk -b sparse.vmdk -F vmdk delta.vmdk || fail "qemu-img" "a delta"
    qemu-io -c 'write -q -P 0x5a 65536 65536' delta.vmdk > make.log 2>&1 ||
        { skip "a delta of qemu-img" "no qemu-io"; return; }
    qemu-img convert -f vmdk -O raw delta.vmdk want
    run --json delta.vmdk
    check "a delta" 'code 0' "has_md5 $(md5 want)" \
        "layer parent 'VMDK monolithicSparse' sparse.vmdk"
    write_out delta.vmdk
    check "a delta, exported" 'code 0' 'same x.raw want'
    cp sparse.vmdk keep
    timeout 20 "$build/export" -o sparse.vmdk --force delta.vmdk > out 2> err
    code=$?
    check "a parent is no output" 'code 2' 'begins "sparse.vmdk: "' 'same keep sparse.vmdk'
    mv sparse.vmdk away.vmdk
    run delta.vmdk
    check "a parent that is gone is named" 'code 2' 'begins "delta.vmdk: "' \
        'complains "sparse.vmdk"' 'prints_nothing'
    run --json --alone delta.vmdk
    check "a delta --alone" 'code 0' 'says "\"stack\":[]"' "! has_md5 $(md5 want)"
    mkdir -p sub
    ln -s "$work/away.vmdk" sub/sparse.vmdk
    cp delta.vmdk sub/
    run sub/delta.vmdk
    check "a parent that is a link out of the folder" 'code 2' 'complains "--allow-outside"'
    run --json --allow-outside sub/delta.vmdk
    check "the same with --allow-outside" 'code 0' "has_md5 $(md5 want)"
    mv away.vmdk sparse.vmdk
    rm -rf sub want
}

test_made_nested() {
    local name
    if have zstd; then
        for name in sparse.vmdk stream.vmdk disk.vhdx disk.vhd fixed.vhd; do
            zstd -q -f $name
            run --json $name.zst
            complains "built without zstd" && break
            check "$name in a zstd file" 'code 0' "has_md5 $(md5 disk.raw)" \
                "layer container zstd $name.zst"
        done
        zstd -q -f flat.vmdk
        run flat.vmdk.zst
        check "a descriptor in a zstd file has no folder" 'code 2' 'begins "flat.vmdk.zst: "'
        zstd -q -f delta.vmdk
        run delta.vmdk.zst
        check "a delta in a zstd file has no folder" 'code 2' 'complains "no folder"'
        rm -f ./*.zst
    else skip "images in zstd files" "zstd missing"; fi
    have ewfacquire || { skip "images in an E01" "no ewfacquire (ewf-tools)"; return; }
    for name in stream.vmdk:vmdk disk.vhdx:vhdx fixed.vhd:vhd flat.vmdk:vmdk; do
        rm -f in.E01
        cp ${name%:*} whole
        truncate -s %512 whole
        ewfacquire -u -q -f encase6 -c fast -t in whole > make.log 2>&1 || fail ewfacquire $name
        run --json --format ewf/${name#*:} in.E01
        if [ $name = flat.vmdk:vmdk ]; then
            check "a descriptor in an E01 has no folder" 'code 2' 'begins "in.E01: "'
        else
            check "$name in an E01" 'code 0' "has_md5 $(md5 disk.raw)" \
                "layer container EWF-E01 in.E01"
        fi
        run --json in.E01
        check "$name in an E01 is not looked at" 'code 0' "has_md5 $(md5 whole)"
    done
    rm -f in.E01 whole
}

# ------------------------------------------------------------------------------- names

test_names() {
    local name kind
    have qemu-img || { skip "names" "no qemu-img"; return; }
    for name in sparse.vmdk:vmdk disk.vhdx:vhdx disk.vhd:vhd flat.vmdk:vmdk; do
        kind=${name#*:} name=${name%:*}
        cp $name x.img
        run x.img
        check "$name named .img is refused" 'code 2' 'begins "x.img: "' \
            "complains '--format $kind'" 'complains "--format raw"' 'prints_nothing'
        run --json --format raw x.img
        check "$name named .img with --format raw" 'code 0' "has_md5 $(md5 $name)"
        run --json --format $kind x.img
        check "$name named .img with --format $kind" 'code 0' "has_md5 $(md5 disk.raw)"
        cp $name unnamed
        run --json unnamed
        check "$name without an extension" 'code 0' "has_md5 $(md5 disk.raw)"
        cp $name x.qcow2
        run x.qcow2
        check "$name named .qcow2" 'code 2' "complains '--format $kind'" 'complains "QCOW2"'
        cp disk.raw y.${name#*.}
        run y.${name#*.}
        check "a raw image named .${name#*.}" 'code 2' "begins 'y.${name#*.}: '" 'prints_nothing'
        run --format $kind disk.raw
        check "--format $kind of a raw image" 'code 2' 'begins "disk.raw: "'
    done
    cp disk.vhd y.AVHD && cp disk.vhdx y.AVHDX && cp sparse.vmdk y.VMDK
    for name in y.AVHD y.AVHDX y.VMDK; do
        run --json $name
        check "$name" 'code 0' "has_md5 $(md5 disk.raw)"
    done
    run --json --format vpc disk.vhd
    check "--format vpc is vhd" 'code 0' 'format "VHD dynamic"'
    run --format vhd disk.vhdx
    check "--format vhd of a VHDX" 'code 2' 'begins "disk.vhdx: "' 'complains "VHDX"'
    run --format vhdx disk.vhd
    check "--format vhdx of a VHD" 'code 2' 'begins "disk.vhd: "' 'complains "VHD"'
    cp fixed.vhd tail.raw
    run --json tail.raw
    check "a raw name stays raw, though it ends like a VHD" 'code 0' "has_md5 $(md5 fixed.vhd)" \
        'format raw'
    cp fixed.vhd tail
    run tail
    check "the end of a file alone does not make it a VHD" 'code 2' 'complains "--format"'
    run --json --format vhd tail
    check "unless that is said" 'code 0' "has_md5 $(md5 disk.raw)"
    # what a guest has written must not be taken for the image
    qemu-img create -q -f qcow2 -b sparse.vmdk -F vmdk bait
    for name in fixed.vhd flat-flat.vmdk; do
        cp $name guest${name#*[dt]}
        dd if=bait of=guest${name#*[dt]} conv=notrunc 2> /dev/null
        run guest${name#*[dt]}
        check "$name that begins like a QCOW2" 'code 2' 'complains "begins like a QCOW2"' \
            'prints_nothing'
    done
    qemu-img convert -f raw -O vpc -o subformat=fixed,force_size=on disk.vhdx either.vhd
    qemu-img convert -f vpc -O raw either.vhd want
    cp either.vhd either.vhdx && cp either.vhd either
    run either.vhd
    check "a fixed VHD that begins like a VHDX" 'code 2' 'complains "begins like a VHDX"' \
        'complains "--format vhd or"' 'prints_nothing'
    run either
    check "the same without an extension" 'code 2' 'begins "either: "' \
        'complains "--format vhdx or --format vhd must"' 'prints_nothing'
    for name in either.vhd either.vhdx either; do
        run --json --format vhd $name
        check "$name, --format vhd" 'code 0' "has_md5 $(md5 want)" 'format "VHD fixed"'
        run --json --format vhdx $name
        check "$name, --format vhdx" 'code 0' "has_md5 $(md5 disk.raw)" 'format "VHDX dynamic"'
    done
    run --json either.vhdx
    check "either.vhdx by its extension" 'code 0' "has_md5 $(md5 disk.raw)"
    qemu-img create -q -f qcow2 -b either.vhd -F vpc over.qcow2
    run --json over.qcow2
    check "a QCOW2 that stands on it as VHD" 'code 0' "has_md5 $(md5 want)" \
        "layer 'backing file' 'VHD fixed' either.vhd"
    rm -f either* want over.qcow2
    run --json flat-flat.vmdk
    check "a flat extent is a raw image" 'code 0' "has_md5 $(md5 disk.raw)" 'format raw'
    run --snapshot 1 disk.vhdx
    check "--snapshot of a VHDX, which has none" 'code 2' 'complains "no snapshot"'
    rm -f x.img x.qcow2 unnamed y.* tail tail.raw bait guest*
}

# ------------------------------------------------------------------------------- chains

test_chains() {
    local v
    vmdk delta-3 hint-absent
    vhdx chain-3 locator-gone locator-other locator-other-forced vhd-chain-3 \
        vhd-other-id vhd-other-id-forced vhd-gone
    run --json delta-3/image.vmdk
    check "a VMDK on two" 'code 0' "has_md5 $(md5 delta-3/media.raw)" \
        '[ "$(grep -o "\"role\":\"parent\"" out | wc -l)" = 2 ]'
    run delta-3/image.vmdk
    check "a VMDK on two, as text" 'code 0' '[ "$(grep -c "^  parent  *delta-3/" out)" = 2 ]' \
        'says "stands on"'
    for v in chain-3/image.vhdx vhd-chain-3/image.vhd; do
        run --json $v
        check "$v" 'code 0' "has_md5 $(md5 ${v%/*}/media.raw)" 'json' \
            '[ "$(grep -o "\"role\":\"parent\"" out | wc -l)" = 2 ]'
        run --info $v
        check "$v --info" 'code 0' 'says "  parent "' 'says "stands on"' 'says "identifier"'
    done
    for v in hint-absent/image.vmdk locator-gone/image.vhdx vhd-gone/image.vhd; do
        run $v
        check "$v: the parent is missing" 'code 2' "begins '$v: '" 'prints_nothing'
        write_out $v
        check "$v: the parent is missing, exported" 'code 2' "begins '$v: '" 'absent x.raw'
        run --json --alone $v
        check "$v --alone" 'code 0' 'says "\"stack\":[]"'
    done
    for v in locator-other/image.vhdx vhd-other-id/image.vhd; do
        run $v
        check "$v: another parent" 'code 2' "begins '$v: '" 'complains "--any-parent"'
        run --json --any-parent $v
        check "$v --any-parent" 'code 0' 'says "{\"role\":\"parent\""' \
            "has_md5 $(md5 $(echo ${v%/*} | sed 's/$/-forced/')/media.raw)"
    done
    rm -rf delta-* hint-* chain-* locator-* vhd-* x.raw
}

# ------------------------------------------------------------------------------- extents

test_extents() {
    local name at
    have qemu-img || { skip "extents" "no qemu-img"; return; }
    for name in flat-flat.vmdk split-s001.vmdk pieces-f001.vmdk; do
        mv $name away
        run ${name%-*}.vmdk
        check "a missing extent is named: $name" 'code 2' "begins '${name%-*}.vmdk: '" \
            "complains '$name'" 'prints_nothing'
        run --json ${name%-*}.vmdk
        check "a missing extent is named in JSON: $name" 'code 2' 'status error' "says '$name'"
        ln -s "$build/verify" $name
        run ${name%-*}.vmdk
        check "an extent that is a link out of the folder: $name" 'code 2' \
            'complains "--allow-outside"' 'prints_nothing'
        rm $name
        mv away $name
    done
    # a damaged grain; a damaged block
    cp stream.vmdk bad.vmdk
    at=$(($(stat -c %s bad.vmdk) / 2))
    printf spoilt | dd of=bad.vmdk bs=1 seek=$at conv=notrunc 2> /dev/null
    run --json bad.vmdk
    check "a damaged grain" 'code 1' 'status damaged' 'says "\"computed\":null"' \
        'says "\"length\":65536,"' 'says "\"file\":\"bad.vmdk\""' 'json'
    at=$(grep -o '"media_offset":[0-9]*,"length":65536' out | head -n 1 | tr -c '0-9\n' ' ' |
        awk '{ print $1 }')
    write_out bad.vmdk
    check "a damaged grain stops an export" 'code 1' 'begins "bad.vmdk: "' "complains $at" \
        'absent x.raw'
    rm -f x.raw.part
    write_out --damage zeros bad.vmdk
    { piece disk.raw 0 $at && head -c 65536 /dev/zero && piece disk.raw $((at + 65536)) 9999999; } \
        > want
    check "a damaged grain as zeros" 'code 1' 'same x.raw want' 'says "65,536 bytes are zeros"'
    head -c $(($(stat -c %s fixed.vhdx) - 1048576)) fixed.vhdx > cut.vhdx
    run --json cut.vhdx
    check "a VHDX that is cut short" 'code 1' 'status damaged' 'says "\"computed\":null"' \
        'says "\"file\":\"cut.vhdx\""' 'json'
    write_out --damage zeros --json cut.vhdx
    check "a VHDX that is cut short, exported" 'code 1' 'json' 'cmp -n 1048576 x.raw disk.raw' \
        'says "\"damaged\":[{\"offset\":"'
    rm -f bad.vmdk cut.vhdx want x.raw
}

# ------------------------------------------------------------------------------- attacks

# opened_inside FOLDER: of what strace saw being opened nothing lies elsewhere, but for the program,
# its libraries and what the system says of the machine.
opened_inside() {
    sed -n -E '/ = [0-9]+/s/.*open(at2?)?\([^"]*"([^"]*)".*/\2/p' trace |
        grep -v -E '^(/lib|/usr/lib|/etc/ld\.so|/proc/|/sys/)' |
        grep -v -E "^($work/)?$1(/|\$)" | grep -E '^/|(^|/)\.\.(/|$)' > elsewhere
    [ -s trace ] && [ ! -s elsewhere ] || { head -c 200 elsewhere > err; false; }
}

test_attacks() {
    local v image traced=1 vmdks vhdxs
    vmdks="line-passwd line-up line-up-2 line-up-3 line-device line-drive line-http line-nbd
        line-file-url line-dots line-vmfs-absolute line-sesparse-up hint-passwd"
    vhdxs="locator-up locator-up-2 locator-passwd locator-device locator-share locator-url
        locator-dev-zero vhd-up vhd-up-2 vhd-passwd vhd-device"
    vmdk $vmdks
    vhdx $vhdxs
    have strace && strace -o trace true 2> /dev/null || {
        traced=0
        skip "what is opened" "no strace"
    }
    for v in $vmdks $vhdxs; do
        image=$(echo $v/image.*)
        run $image
        check "$v is refused" 'code 2' "begins '$image: '" 'prints_nothing'
        [ $traced = 1 ] || continue
        ASAN_OPTIONS=detect_leaks=0 timeout 20 strace -f -o trace -e trace=open,openat,openat2 \
            "$build/verify" $image > out 2> err < /dev/null
        code=$?
        check "$v: nothing is opened elsewhere" 'code 2' "opened_inside $v"
    done
    for v in line-passwd line-up vhd-up locator-up; do
        run $(echo $v/image.*)
        check "$v: the option that allows it is named" 'complains "--allow-outside"'
    done
    [ -r /etc/passwd ] || { skip "--allow-outside" "no /etc/passwd"; return; }
    run --json --allow-outside line-passwd/image.vmdk
    check "--allow-outside opens it" '! complains "--allow-outside"'
    rm -rf $vmdks $vhdxs trace elsewhere
}

# ------------------------------------------------------------------------------- variants

cat > judge.py << 'END'
import hashlib, json, os, sys
known = {}
for l in open('list'):
    name, open_, what = (l.rstrip('\n') + ' ').split(None, 2) if len(l.split()) > 2 \
        else l.split() + ['']
    known[name] = (open_.split('|'), what)
seen = set()
for l in open('all.json', errors='surrogateescape'):
    j = json.loads(l)
    name = j['path'].split('/')[-2]
    seen.add(name)
    opens, what = known[name]
    status, wrong = j['status'], None
    if '[huge' in what:
        if status == 'error' and opens == ['OK']: wrong = j['error']
    elif status == 'error':
        # a variant that opens may hold what cannot be read for a reason that is no damage
        if opens == ['OK'] and j['media_size'] is None: wrong = j['error']
    elif 'OK' not in opens: wrong = 'it was read'
    media = os.path.join(os.path.dirname(j['path']), 'media.raw')
    digest = j['digests'].get('md5', {}).get('computed')
    reads = set(r.split()[4] for r in open(os.path.join('all', name, 'map')))
    if digest and 'fails' in reads: wrong = 'it was read all the same'
    elif digest and os.path.exists(media) and opens == ['OK'] and reads <= {'reads'}:
        with open(media, 'rb') as f:
            if hashlib.md5(f.read()).hexdigest() != digest: wrong = 'another MD5'
    if wrong: print(name + ': ' + wrong + '; ', end='')
for name in sorted(os.listdir('all')):
    if name not in seen: print(name + ': no report; ', end='')
END

# variants MAKER: every stride-th of those it lists. Options are said in brackets there.
variants() {
    local maker=$1 v n=0 bad= text option
    "$build/$maker" --list | tail -n +2 > list
    mkdir all
    for v in $(awk -v s="$stride" 'NR % s == 0 && !/\[huge file\]/ { print $1 }' list); do
        "$build/$maker" --files $v | awk '{ n += $2 } END { exit n > 40000000 }' || continue
        "$build/$maker" $v all > make.log 2>&1 || fail "$maker" "$v"
        "$build/$maker" --map $v > all/$v/map
        n=$((n + 1))
    done
    find all -type f -print0 | sort -z | xargs -0 sha256sum > all.before
    : > all.json
    : > all.err
    while IFS='|' read -r text option; do
        # shellcheck disable=SC2046 # a word for each
        set -- $(grep -F -e "$text" list | cut -d ' ' -f 1 | while read -r v; do
            [ -d all/$v ] && ls all/$v/image.*; done)
        [ $# != 0 ] || continue
        timeout 60 "$build/verify" --json $option "$@" >> all.json 2>> all.err < /dev/null
        code=$?
        [ $code -le 2 ] || bad="$bad $option: exit $code;"
    done << 'END'
[layer alone]|--alone
[journal left alone]|--stale-journal
[any parent]|--any-parent
[log ignored]|--no-log
[current size]|--current-size
[huge media]|--info
END
    # shellcheck disable=SC2046
    set -- $(grep -v -F -e '[layer alone]' -e '[journal left' -e '[any parent]' -e '[log ignored]' \
        -e '[current size]' -e '[huge' list | cut -d ' ' -f 1 | while read -r v; do
            [ -d all/$v ] && ls all/$v/image.*; done)
    timeout 60 "$build/verify" --json "$@" >> all.json 2>> all.err < /dev/null
    code=$?
    [ $code -le 2 ] || bad="$bad exit $code;"
    [ -z "$python" ] || bad="$bad$("$python" judge.py 2>&1)"
    check_all "$maker: $n variants are what they are"
    find all -type f -print0 | sort -z | xargs -0 sha256sum > all.after
    check "$maker: no image was written" 'same all.before all.after'
    check "$maker: no control characters" \
        '! cat all.json all.err | tr -d "\n\40-\176\200-\377" | grep -q -a .'
    rm -rf all
}

test_variants() {
    [ -n "$python" ] || skip "what variants are" "no python3"
    variants make_vmdk
    variants make_vhdx
}

# ------------------------------------------------------------------------------- time

# Each of these disks has two names for its parent, and none has the right ID: a search that opened
# all of the chain for every name would never end.
test_long_chains() {
    local i dir=chain
    mkdir $dir
    ln -s . $dir/s
    for i in $(seq 0 29); do
        printf '# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=deadbeef\n' $i > $dir/b$i.vmdk
        printf 'createType="twoGbMaxExtentSparse"\nparentFileNameHint="s/b%d.vmdk"\nRW 8 ZERO\n' \
            $((i + 1)) >> $dir/b$i.vmdk
    done
    timeout 20 "$build/verify" $dir/b0.vmdk > out 2> err < /dev/null
    code=$?
    check "30 disks with wrong parents end" '[ $code = 2 ]'
    rm -rf $dir
}

# ------------------------------------------------------------------------------- all

test_made
test_names
test_extents
test_chains
test_attacks
test_long_chains
test_variants
finish
