#!/usr/bin/env bash
# test_mft_scan.sh BUILD_DIR WORK_DIR - what the mft_scan tool promises to its users.
#
#   options    --help, bad values, what contradicts what
#   volumes    made with mkntfs and ntfs-3g, against what the mounted volume says, fls, ils, istat,
#              ntfsinfo: hard links, streams, compressed, sparse, deleted, deep, Unicode, attribute
#              lists, a $MFT in pieces, records of 4 KiB, clusters of 512 bytes to 128 KiB
#   escaping   names with newlines, quotes, bars, escapes, lone surrogates, in all formats
#   disks      MBR with a logical partition, GPT; --list, --partition; E01, QCOW2, zstd
#   damage     torn, BAAD, cut short, unreadable: listed all the same, exit code 1
#   refusals   no NTFS at all: the words, the exit codes, no output, under a second
#   outputs    names, what is in the way, pipes, terminals, Ctrl-C; the same for any threads, mode
#   samples    ../shared/samples/mft, against listings by dfir_ntfs and fls

. "$(dirname "$0")/cli.sh"
export TZ=UTC
[ $# = 2 ] || usage "BUILD_DIR WORK_DIR"
build=$(cd "$1" && pwd) || exit 2
scan=$build/mft_scan
need_programs "$scan"
samples=$root/../shared/samples/mft
umount "$2/mft_scan/mnt" 2> /dev/null
begin "$2/mft_scan"
trap 'umount "$work/mnt" 2> /dev/null' EXIT

[ -n "$python" ] || { skip "all" "python3 missing"; finish; }

# ------------------------------------------------------------------------------- the framework

#   run ARGUMENT...   mft_scan with these, within 60 seconds: $code, files out and err
run() {
    timeout -k 5 60 "$scan" "$@" > out 2> err < /dev/null
    code=$?
}
# holds EXPRESSION: of Python, over j, the objects that out holds one per line; j0 is the first.
holds() {
    "$python" - "$1" > holds.log 2>&1 <<'END'
import json, sys
j = [json.loads(line) for line in open('out', encoding='utf-8')]
j0 = j[0]
sys.exit(0 if eval('(' + sys.argv[1] + ')') else 1)
END
}
# rows EXPRESSION: the same over rows, what csv makes of out.
rows() {
    "$python" - "$1" > holds.log 2>&1 <<'END'
import csv, sys
rows = list(csv.DictReader(open('out', encoding='utf-8', errors='surrogateescape', newline='')))
sys.exit(0 if eval('(' + sys.argv[1] + ')') else 1)
END
}

# ------------------------------------------------------------------------------- options

test_options() {
    run --help
    check "--help" 'code 0' 'silent' 'says "usage: mft_scan"' 'says "-o FILE"' 'says "--threads"' \
        'says "--mode"' 'says "--format"' 'says "--partition"' 'says "--deleted"' 'says "--stats"' \
        'says "--bench"' 'says "--list"' 'says "--image-format"' 'says "--skip-free"' \
        'says "--record-size"' 'says "--force"' 'says "--json"' 'says "--quiet"' \
        'says "--version"' 'says "Exit codes"'
    run --version
    check "--version" 'code 0' 'silent' 'lines 1' 'says "mft_scan (chunkwise)"'
    run
    check "no input" 'code 2' 'begins "mft_scan: no input given"' 'prints_nothing'
    run --no-such v
    check "an unknown option" 'code 2' 'begins "--no-such: "'
    run --mode fast v
    check "an unknown mode" 'code 2' 'begins "--mode fast: "' 'complains "pipelined-parallel"'
    run --format xml v
    check "an unknown format" 'code 2' 'begins "--format xml: "' 'complains "bodyfile"'
    run --format raw v
    check "an image format as --format" 'code 2' 'complains "--image-format"'
    run --image-format nothing v
    check "an unknown image format" 'code 2' 'begins "--image-format nothing: "'
    run --deleted never v
    check "an unknown --deleted" 'code 2' 'begins "--deleted never: "'
    run --threads 5000 v
    check "too many threads" 'code 2' 'begins "--threads 5000: "'
    local bad
    for bad in 0 x -1 99999999999 ""; do
        run --partition "$bad" v
        check "--partition '$bad'" 'code 2' 'begins "--partition"'
    done
    for bad in 0 1000 1 1M x; do
        run --record-size "$bad" v
        check "--record-size $bad" 'code 2' 'begins "--record-size"'
    done
    run -o "" v
    check "-o ''" 'code 2' 'begins "-o: "'
    run --list --stats v
    check "--list with --stats" 'code 2' 'begins "--list: "'
    run --bench --format csv v
    check "--bench with --format csv" 'code 2' 'begins "--bench: "'
    run --format none -o x v
    check "-o without rows" 'code 2' 'begins "-o: "' 'absent x'
}

# ------------------------------------------------------------------------------- volumes

# ntfs NAME MIB [OPTION...]: an empty volume, mounted at mnt.
ntfs() {
    local image=$1 mib=$2
    shift 2
    rm -f "$image"
    truncate -s "${mib}M" "$image"
    mkntfs -F -Q -q "$@" "$image" > mkntfs.log 2>&1 || return 1
    mount_ntfs "$image"
}
mount_ntfs() {
    mkdir -p mnt
    ntfs-3g -o streams_interface=xattr,compression "$1" mnt > mount.log 2>&1
}
unmount() {
    local i
    for i in 1 2 3 4 5 6 7 8 9 10; do
        umount mnt 2> umount.log && break
        sleep 0.3
    done
    for i in $(seq 1 50); do # the FUSE process writes until it ends
        pgrep -f "ntfs-3g.* $PWD/mnt$" > /dev/null || return 0
        sleep 0.1
    done
}

# What the mounted volume says: for each name its path and size, for each stream "record:name" (the
# driver's inode numbers are those of records) and size. Directories have no size.
cat > walk.py <<'END'
import os, sys
root = b'mnt'
out = []
done = set()
def streams(path, number):
    if number in done: return
    done.add(number)
    for name in os.listxattr(path):
        if name.startswith('user.'):
            out.append((b'%d:' % number + os.fsencode(name[5:]), len(os.getxattr(path, name))))
streams(root, 5)
for folder, folders, files in os.walk(root):
    for name in folders + files:
        path = os.path.join(folder, name)
        st = os.lstat(path)
        shown = path[len(root):]
        out.append((shown, -1 if os.path.isdir(path) and not os.path.islink(path) else st.st_size))
        if not os.path.islink(path): streams(path, st.st_ino)
for path, size in sorted(out):
    path = path.replace(b'\\', b'\\\\').replace(b'\n', b'\\x0a')
    sys.stdout.buffer.write(path + b'\t%d\n' % size)
END
walk() { "$python" walk.py > walk.txt; }

# The same of rows in CSV: files in use that are no system files.
cat > seen.py <<'END'
import csv, sys
out = []
for r in csv.DictReader(open(sys.argv[1], encoding='utf-8', errors='surrogateescape', newline='')):
    if r['state'] != 'in_use' or r['namespace'] == 'dos' or not r['path']: continue
    if int(r['record']) < 24 and int(r['record']) != 5: continue
    if r['path'].startswith('/$Extend/'): continue
    if r['stream']: out.append((r['record'] + ':' + r['stream'], r['size']))
    elif int(r['record']) != 5:
        out.append((r['path'], '-1' if r['directory'] == '1' else r['size']))
for path, size in sorted((p.encode('utf-8', 'surrogateescape'), s) for p, s in out):
    sys.stdout.buffer.write(path + b'\t' + size.encode() + b'\n')
END
seen() { "$python" seen.py out > seen.txt && cmp -s walk.txt seen.txt; }

# What differs between a bodyfile of ours and one of fls -r -p -m /, but for what --help says: the
# owner (which TSK reads from behind a $STANDARD_INFORMATION of 48 bytes), times before 1970 (which
# TSK 4.11 lets wrap), names in the slack of folders, the $FILE_NAME of hard links, of which fls
# gives the last one to each; and in files that are spread over records TSK numbers the attributes
# anew. Files: that of fls, ours, and our CSV, which tells the files that are spread.
cat > bodies.py <<'END'
import csv, sys
def lines(path):
    with open(path, encoding='utf-8', errors='surrogateescape', newline='\n') as f:
        return f.read().split('\n')[:-1]
def parse(line):
    f = line.split('|')
    f[4] = '0'
    f[7:] = ['0' if int(t) > 3000000000 else t for t in f[7:]]
    return f
theirs, slack = [], []
for line in lines(sys.argv[1]):
    f = parse(line)
    if f[3].startswith('V/') or '(deleted-realloc)' in f[1]: continue
    if '(deleted)' in f[1] and not f[3].startswith('-/'):
        slack.append(f[:3] + ['-' + f[3][1:]] + f[4:]) # perhaps in the $MFT, too
        continue
    if '/.:' in f[1] and not f[1].startswith('/.:'): continue # once more, for the folder's .
    theirs.append(f)
ours = [parse(line) for line in lines(sys.argv[2])]
spread = set()
for r in csv.DictReader(open(sys.argv[3], encoding='utf-8', errors='surrogateescape', newline='')):
    if 'has_extensions' in r['flags'].split(): spread.add(r['record'])
for f in theirs + ours + slack:
    number = f[2].split('-')[0]
    if number in spread: f[2] = number
links = {}
for f in ours:
    if '($FILE_NAME)' in f[1]: links.setdefault(f[2].split('-')[0], set()).add(f[1])
linked = {number for number, names in links.items() if len(names) > 1} | spread
def is_of_link(f): return '($FILE_NAME)' in f[1] and f[2].split('-')[0] in linked
def names_of_links(body): return [f for f in body if is_of_link(f)]
def rest(body): return {'|'.join(f) for f in body if not is_of_link(f)}
bad = ['< ' + x for x in sorted(rest(theirs) - rest(ours))]
bad += ['> ' + x for x in sorted(rest(ours) - rest(theirs) - rest(slack))]
if not {f[1] for f in names_of_links(theirs)} <= {f[1] for f in names_of_links(ours)}:
    bad.append('names of hard links are missing')
shown = {tuple(f[2:]) for f in names_of_links(ours)}
bad += ['? ' + '|'.join(f) for f in names_of_links(theirs) if tuple(f[2:]) not in shown]
print(ascii(bad))
sys.exit(1 if bad or not theirs else 0)
END

# equals_tools NAME IMAGE: our bodyfile is that of fls, states are those of ils, sizes of the
# volume those of ntfsinfo.
equals_tools() {
    local image=$2
    if have fls; then
        fls -r -p -m / "$2" > fls.txt 2> fls.log
        run --format csv "$2"
        mv out rows.csv
        run --format bodyfile "$2"
        mv out body.txt
        check "$1: equals fls" 'code 0' 'silent' \
            '"$python" bodies.py fls.txt body.txt rows.csv > difference'
        ils -e "$2" > ils.txt 2> ils.log
        mv rows.csv out
        "$python" - > states.log 2>&1 <<'END'
import csv, sys
theirs = {}
for line in open('ils.txt'):
    f = line.split('|')
    if f[0].isdigit(): theirs[int(f[0])] = f[1] == 'a'
ours, held = {}, set()
for r in csv.DictReader(open('out', encoding='utf-8', errors='surrogateescape', newline='')):
    ours[int(r['record'])] = r['in_use'] == '1'
wrong = [n for n in ours if n in theirs and ours[n] != theirs[n]]
print(wrong, len(ours), len(theirs))
sys.exit(1 if wrong or not ours or not set(ours) <= set(theirs) else 0)
END
        states=$?
        check "$1: in use and free as by ils" '[ $states = 0 ]'
    else skip "$1: equals fls, ils" "sleuthkit missing"; fi
    if have ntfsinfo; then
        ntfsinfo -m -f "$2" > info.txt 2> info.log
        run --stats --json "$2"
        check "$1: geometry as by ntfsinfo" 'code 0' 'silent' \
            'holds "j0[\"cluster_size\"] == $(sed -n "s/.*Cluster Size: //p" info.txt)"' \
            'holds "j0[\"record_size\"] == $(sed -n "s/.*MFT Record Size: //p" info.txt)"' \
            'holds "j0[\"sector_size\"] == $(sed -n "s/.*Sector Size: //p" info.txt)"' \
            'holds "j0[\"serial_number\"] == \"$(od -A n -t x8 -j 72 -N 8 "$image" | tr -d " ")\""'
    else skip "$1: geometry" "ntfsinfo missing"; fi
}

# Everything a volume can hold that a user makes: $1 = how many files.
cat > fill.py <<'END'
import os, struct, sys
def write(path, data):
    with open('mnt/' + path, 'wb') as f: f.write(data)
def noise(n): return bytes((i * i * 7 + i // 3) & 255 for i in range(n))
count = int(sys.argv[1])
os.makedirs('mnt/links/more')
write('links/one', b'1')
os.link('mnt/links/one', 'mnt/links/two')
os.link('mnt/links/one', 'mnt/links/more/three')
os.makedirs('mnt/streams')
write('streams/file', noise(3000))
for name, n in (('a', 10), ('Zone.Identifier', 26), ('large', 5000), ('empty', 0)):
    os.setxattr('mnt/streams/file', 'user.' + name, noise(n))
write('streams/only', b'')
os.setxattr('mnt/streams/only', 'user.x', b'x')
os.setxattr('mnt/streams', 'user.of folder', b'12345')
os.makedirs('mnt/compressed')
os.setxattr('mnt/compressed', 'system.ntfs_attrib_be', struct.pack('>I', 0x810))
write('compressed/text', b'the same again and again ' * 20000)
with open('mnt/sparse', 'wb') as f:
    f.truncate(3 << 20)
    f.seek((3 << 20) - 5)
    f.write(b'tail')
os.makedirs('mnt/attributes')
for bits in (0x1, 0x2, 0x4, 0x20, 0x23, 0x2007):
    write('attributes/%x' % bits, b'x')
    os.setxattr('mnt/attributes/%x' % bits, 'system.ntfs_attrib_be', struct.pack('>I', bits))
os.makedirs('mnt/unicode')
for name in ('\u00e4\u00f6\u00fc', '\u65e5\u672c\u8a9e.txt', '\U0001f600\U0001f680', 'e\u0301',
             '\u0645\u0631'):
    write('unicode/' + name, name.encode())
os.makedirs('mnt/' + '/'.join('level%02d' % i for i in range(40)))
write('/'.join('level%02d' % i for i in range(40)) + '/bottom', b'deep')
os.makedirs('mnt/many')
for i in range(count):
    write('many/a rather long name of a file, number %05d.dat' % i, b'x' * (i % 1500))
os.makedirs('mnt/gone/below')
for i in range(30):
    write('gone/deleted %02d' % i, noise(100 * i))
    write('gone/below/%02d' % i, b'')
os.setxattr('mnt/gone/deleted 03', 'user.s', b'stream of a deleted file')
write('gone/kept', b'kept')
END
empty_trash() { # some of what was deleted is there, some used again
    rm -rf mnt/gone/deleted*
    for i in 1 2 3 4 5; do echo "$i" > "mnt/gone/again $i"; done
    rm -rf mnt/gone/below
}

test_volume() { # NAME IMAGE MIB FILES MKNTFS-OPTION...
    local name=$1 image=$2 mib=$3 files=$4
    shift 4
    ntfs "$image" "$mib" "$@" || { skip "$name" "$(tail -q -n 1 mkntfs.log mount.log)"; return 1; }
    "$python" fill.py "$files" || { unmount; fail "$name" "cannot be filled"; return 1; }
    empty_trash
    unmount && mount_ntfs "$image" && walk
    unmount
    run "$image"
    check "$name: names, sizes, streams as mounted" 'code 0' 'silent' '[ -s walk.txt ]' 'seen'
    run --deleted only "$image"
    check "$name: --deleted only" 'code 0' \
        'rows "rows and all(r[\"state\"] == \"free\" for r in rows)"' \
        'rows "any(r[\"path\"] == \"/gone/deleted 29\" and r[\"size\"] == \"2900\"
            for r in rows)"' \
        'rows "any(r[\"path\"].startswith(\"/gone/below/\") for r in rows)"'
    mv out only.csv
    run --deleted exclude "$image"
    check "$name: --deleted exclude" 'code 0' 'rows "all(r[\"state\"] == \"in_use\" for r in rows)"'
    mv out exclude.csv
    run "$image"
    check "$name: both make all" \
        'same <(sort out) <({ cat only.csv; tail -n +2 exclude.csv; } | sort)'
    run --stats --json "$image"
    check "$name: what --stats counts" 'code 0' 'silent' 'lines 1' \
        'holds "j0[\"slots\"] == sum(j0[k] for k in (\"in_use\", \"free\", \"never_written\",
            \"baad\", \"bad_signature\", \"unread\"))"' \
        'holds "j0[\"hard_linked_records\"] == 1"' 'holds "j0[\"named_streams\"] >= 6"' \
        'holds "j0[\"orphans\"] == 0 and j0[\"cycles\"] == 0 and j0[\"torn\"] == 0"' \
        'holds "j0[\"directories\"] > 46 and j0[\"io_errors\"] == 0"'
}

test_volumes() {
    have mkntfs && have ntfs-3g || { skip "volumes" "mkntfs, ntfs-3g missing"; return; }
    [ -e /dev/fuse ] || { skip "volumes" "/dev/fuse missing"; return; }
    test_volume "default" v.ntfs 60 300 && equals_tools "default" v.ntfs
    test_volume "4 KiB records" v4k.ntfs 80 300 -s 4096 && equals_tools "4 KiB records" v4k.ntfs
    test_volume "512-byte clusters" c512.ntfs 40 300 -c 512 &&
        equals_tools "512-byte clusters" c512.ntfs
    test_volume "128 KiB clusters" c128k.ntfs 300 20 -c 131072 # which TSK cannot read
    [ -e v.ntfs ] || return
    test_lists
    test_fragments
}

# Names that need extension records, by one and by the hundred.
test_lists() {
    ntfs lists.ntfs 40 || return
    "$python" - <<'END'
import os
os.mkdir('mnt/l')
for n in (8, 60, 300):
    with open('mnt/l/%d' % n, 'wb') as f: f.write(b'x' * n)
    for i in range(n):
        os.link('mnt/l/%d' % n, 'mnt/l/%d, and link %03d of it %s' % (n, i, 'y' * 60))
for k in range(20):
    os.setxattr('mnt/l/60', 'user.stream %02d %s' % (k, 'z' * 40), b's' * k)
for i in range(0, 300, 7): os.remove('mnt/l/300, and link %03d of it %s' % (i, 'y' * 60))
END
    unmount && mount_ntfs lists.ntfs && walk
    unmount
    run lists.ntfs
    check "attribute lists: names and streams as mounted" 'code 0' 'silent' 'seen' \
        'rows "sum(r[\"namespace\"] != \"\" and \"/l/300\" in r[\"path\"] for r in rows) == 258"'
    run --stats --json lists.ntfs
    check "attribute lists: counted" 'code 0' 'holds "j0[\"attribute_lists\"] >= 3"' \
        'holds "j0[\"hard_linked_records\"] == 3 and j0[\"extension\"] > 50"' \
        'holds "j0[\"list_mismatches\"] == 0 and j0[\"deferred_disk_reads\"] == 0"'
    run --format jsonl lists.ntfs
    check "attribute lists: one object for a file" 'code 0' \
        'holds "sum(len(r[\"names\"]) == 258 for r in j) == 1"' \
        'holds "not any(\"extension\" in r[\"flags\"] for r in j)"'
    if have fls; then
        run --format bodyfile lists.ntfs
        mv out body.txt
        fls -r -p -m / lists.ntfs > fls.txt 2> fls.log
        check "attribute lists: the paths of fls" \
            'same <(cut -d "|" -f 2 fls.txt | grep "^/l/" | grep -v "FILE_NAME" | sort -u) \
                  <(cut -d "|" -f 2 body.txt | grep "^/l/" | grep -v "FILE_NAME" | sort)'
        # Attributes of extension records: sleuthkit gives them ids of its own. (It has no line for
        # the name itself of some of many links.)
        run --format jsonl lists.ntfs
        mv out lists.jsonl
        "$python" - > addresses.log 2>&1 <<'END'
import json, sys
def addresses(name):
    out = {}
    for line in open(name, encoding='utf-8', errors='surrogateescape'):
        f = line.split('|')
        out.setdefault((f[1], *f[2].split('-')[:2]), []).append(f[2])
    return out
ours, theirs = addresses('body.txt'), addresses('fls.txt')
spread = {str(r['record']) for r in map(json.loads, open('lists.jsonl'))
          if 'attribute_list' in r['flags']}
both = [k for k in ours if k in theirs]
wrong = [k for k in both if sorted(set(ours[k])) != sorted(set(theirs[k])) and k[1] not in spread]
lost = [k for k in ours if k not in theirs and not k[0].endswith(' ($FILE_NAME)')]
same = sum(ours[k] == theirs[k] for k in both)
moved = sum(k[1] in spread and set(ours[k]) != set(theirs[k]) for k in both)
print(len(ours), len(theirs), same, moved, len(spread), wrong[:5], lost[:5])
sys.exit(0 if 3 <= len(spread) <= 5 and same > 20 and not wrong and not lost else 1)
END
        addresses=$?
        check "attribute lists: addresses of fls, but for ids in extension records" \
            '[ $addresses = 0 ]'
    fi
}

# A $MFT that grew one cluster at a time: two files written in turn, then one of them removed.
test_fragments() {
    ntfs fragments.ntfs 24 -c 4096 || return
    "$python" - <<'END'
import os
a, b = os.open('mnt/a', os.O_CREAT | os.O_WRONLY), os.open('mnt/b', os.O_CREAT | os.O_WRONLY)
try:
    for i in range(100000):
        os.write(a, b'a' * 4096)
        os.write(b, b'b' * 4096)
except OSError: pass
os.close(a)
os.close(b)
os.remove('mnt/b')
os.mkdir('mnt/many')
try:
    for i in range(3000):
        with open('mnt/many/%04d' % i, 'wb') as f: f.write(b'%d' % i)
except OSError: pass
END
    unmount && mount_ntfs fragments.ntfs && walk
    unmount
    run fragments.ntfs
    check "a \$MFT in pieces: names as mounted" 'code 0' 'silent' 'seen'
    run --stats --json fragments.ntfs
    check "a \$MFT in pieces: how many" 'code 0' 'holds "j0[\"mft_runs\"] > 20"' \
        'holds "j0[\"unread\"] == 0 and j0[\"in_use\"] > 2000"'
    equals_tools "a \$MFT in pieces" fragments.ntfs
}

# ------------------------------------------------------------------------------- escaping

test_escaping() {
    [ -e v.ntfs ] || { skip "escaping" "no volumes"; return; }
    ntfs names.ntfs 20 || return
    "$python" - <<'END'
import os
os.mkdir(b'mnt/x')
for name in (b'new\nline', b'tab\there', b'quote"s', b'com,ma', b'bar|bar', b'back\\slash',
             b'\x1b[31mred', b'del\x7f', b' blanks ', b'=1+1', 'c1\u0085'.encode(),
             '\u202egnp.exe'.encode(), b'lone\xed\xa0\x80high', b'lone\xed\xb0\x80low', b"q'q"):
    try:
        with open(b'mnt/x/' + name, 'wb') as f: f.write(b'x')
    except OSError: print('not made:', name)
with open('mnt/x/s', 'wb') as f: f.write(b'x')
os.setxattr('mnt/x/s', 'user.stream "a", b\n', b'x')
for folder, names in ((b'a,b', (b'the first of them', b'the second of them')),
                      (b'plain', (b'one', b'two', b't,hree', b'four'))):
    os.mkdir(b'mnt/' + folder)
    for name in names:
        with open(b'mnt/' + folder + b'/' + name, 'wb') as f: f.write(b'x')
END
    unmount
    run names.ntfs
    check "CSV: no control character but newlines" 'code 0' 'silent' \
        '! tr -d "\n" < out | grep -q -a "[[:cntrl:]]"' '[ "$(wc -l < out)" -gt 16 ]' \
        'says "/x/new\\x0aline,"' 'says "/x/tab\\x09here,"' 'says "\"/x/quote\"\"s\","' \
        'says "\"/x/com,ma\","' 'says "/x/bar|bar,"' 'says "/x/back\\\\slash,"' \
        'says "/x/\\x1b[31mred,"' 'says "/x/del\\x7f,"' 'says "/x/c1\\u{85},"' \
        'says "/x/\\u{202e}gnp.exe,"' "says '/x/s,\"stream \"\"a\"\", b\\x0a\",1,'" \
        'rows "all(None not in r and None not in r.values() for r in rows)"' \
        'rows "len({r[\"path\"] for r in rows if r[\"path\"].startswith(\"/x/\")}) >= 14"'
    check "CSV: odd folders and odd names in plain ones" \
        'says "\"/a,b/the first of them\","' 'says "\"/a,b/the second of them\","' \
        'says ",/plain/one,"' 'says ",/plain/two,"' \
        'says "\"/plain/t,hree\","' 'says ",/plain/four,"'
    if grep -q -a $'lone\xed\xa0\x80high' out; then
        check "CSV: lone surrogates stay as they are" "grep -q -a $'lone\\xed\\xb0\\x80low' out"
    else skip "CSV: lone surrogates" "ntfs-3g does not write any"; fi
    run --format jsonl names.ntfs
    check "JSON: every name comes back" 'code 0' 'silent' \
        '! tr -d "\n" < out | grep -q -a "[[:cntrl:]]"' \
        'holds "{\"new\\nline\", \"quote\\\"s\", \"com,ma\", \"bar|bar\", \"back\\\\slash\",
            \"\\x1b[31mred\", \"\\u202egnp.exe\", \"del\\x7f\"} <=
            {n[\"name\"] for r in j for n in r[\"names\"]}"' \
        'holds "any(s[\"name\"] == \"stream \\\"a\\\", b\\n\" for r in j for s in r[\"streams\"])"'
    grep -q -a 'lone' out &&
        check "JSON: lone surrogates" 'says "lone\ud800high"' 'says "lone\udc00low"'
    run --format bodyfile names.ntfs
    check "bodyfile: eleven fields, whatever the names" 'code 0' 'silent' \
        '! tr -d "\n" < out | grep -q -a "[[:cntrl:]]"' \
        '[ "$(awk -F "|" "{print NF}" out | sort -u)" = 11 ]' 'says "/x/new\\x0aline|"' \
        'says "/x/bar\\x7cbar|"' 'says "/x/back\\\\slash|"'
    # Whatever a terminal may obey must not come back from a path either.
    cp names.ntfs $'hostile\x1b[31m.img'
    run --stats $'hostile\x1b[31m.img'
    check "the report escapes the path" 'code 0' 'says "hostile\\x1b[31m.img"'
    run --json $'hostile\x1b[31m.img'
    check "JSON escapes the path" 'code 0' 'holds "j0[\"path\"] == \"hostile\\x1b[31m.img\""'
    rm -f $'hostile\x1b[31m.img'
}

# ------------------------------------------------------------------------------- disks

# disk.py SCHEME OUT VOLUME...: volumes behind each other in partitions.
cat > disk.py <<'END'
import binascii, struct, sys, uuid
scheme, out, volumes = sys.argv[1], sys.argv[2], sys.argv[3:]
data = [open(v, 'rb').read() for v in volumes]
at, places, image = 2048, [], bytearray(2048 * 512)
for d in data:
    d += bytes(-len(d) % (1 << 20))
    if scheme == 'mbr' and len(places) == 1: # the second is a logical one
        ebr = at
        image += bytes(1 << 20)
        at += 2048
    places.append((at, len(d) // 512))
    image += d
    at += len(d) // 512
def entry(kind, first, count): return struct.pack('<4xB3xII', kind, first, count)
if scheme == 'mbr':
    image[446:462] = entry(7, *places[0])
    if len(places) > 1:
        image[462:478] = entry(5, ebr, places[1][0] + places[1][1] - ebr)
        image[ebr * 512 + 446:ebr * 512 + 462] = entry(7, places[1][0] - ebr, places[1][1])
        image[ebr * 512 + 510:ebr * 512 + 512] = b'\x55\xaa'
    image[510:512] = b'\x55\xaa'
else:
    image += bytes(33 * 512)
    total = len(image) // 512
    table = bytearray(128 * 128)
    kind = uuid.UUID('ebd0a0a2-b9e5-4433-87c0-68b6b72699c7').bytes_le
    for i, (first, count) in enumerate(places):
        table[i * 128:i * 128 + 128] = kind + uuid.UUID(int=i + 1).bytes_le + struct.pack(
            '<QQQ', first, first + count - 1, 0) + 'volume'.encode('utf-16le').ljust(72, b'\0')
    def header(me, other, entries):
        h = struct.pack('<8sIIIIQQQQ16sQIII', b'EFI PART', 0x10000, 92, 0, 0, me, other, 34,
                        total - 34, uuid.UUID(int=9).bytes_le, entries, 128, 128,
                        binascii.crc32(table))
        return h[:16] + struct.pack('<I', binascii.crc32(h)) + h[20:]
    image[446:462] = entry(0xee, 1, total - 1)
    image[510:512] = b'\x55\xaa'
    image[512:512 + 92] = header(1, total - 1, 2)
    image[1024:1024 + len(table)] = table
    image[-33 * 512:-33 * 512 + len(table)] = table
    image[-512:-512 + 92] = header(total - 1, 1, total - 33)
open(out, 'wb').write(image)
END

test_disks() {
    [ -e v.ntfs ] || { skip "disks" "no volumes"; return; }
    local scheme
    run v.ntfs
    mv out v.csv
    run names.ntfs
    mv out names.csv
    for scheme in mbr gpt; do
        "$python" disk.py $scheme two.raw v.ntfs names.ntfs
        "$python" disk.py $scheme one.raw v.ntfs
        run one.raw
        check "$scheme: the only partition" 'code 0' 'silent' 'same out v.csv'
        run two.raw
        check "$scheme: which one?" 'code 2' 'begins "two.raw: "' 'complains "--list"' \
            'prints_nothing'
        run --list two.raw
        check "$scheme: --list" 'code 0' 'silent' 'lines 4' "says '$(echo $scheme | tr a-z A-Z)'" \
            'says " 1048576 "'
        run --list --json two.raw
        check "$scheme: --list --json" 'code 0' 'lines 1' 'holds "len(j0[\"volumes\"]) == 2"' \
            'holds "j0[\"volumes\"][0][\"offset\"] == 1048576"' \
            'holds "all(v[\"cluster_size\"] == 4096 and v[\"record_size\"] == 1024
                for v in j0[\"volumes\"])"'
        second=$("$python" -c 'import json
print(json.load(open("out"))["volumes"][1]["partition"])')
        run --partition 1 two.raw
        check "$scheme: --partition 1" 'code 0' 'same out v.csv'
        run --partition "$second" two.raw
        check "$scheme: --partition $second" 'code 0' 'same out names.csv'
        run --partition 77 two.raw
        check "$scheme: --partition 77" 'code 2' 'begins "two.raw: "' 'complains 77' \
            'prints_nothing'
        run --stats --json --partition "$second" two.raw
        check "$scheme: --stats names the partition" \
            "holds 'j0[\"input\"] == \"disk\" and j0[\"partition\"] == $second'"
    done
    "$python" -c '
d = bytearray(open("two.raw", "rb").read())
d[512:512 + 512] = bytes(512) # the first header; the backup has to do
open("backup.raw", "wb").write(d)'
    run --list --json backup.raw
    check "GPT: by the backup header" 'holds "len(j0[\"volumes\"]) == 2"'
    test_containers
    rm -f one.raw two.raw backup.raw
}

test_containers() {
    if have ewfacquire; then
        ewfacquire -u -q -c fast -b 64 -t c -l ewf.log v.ntfs > ewf.out 2>&1
        run c.E01
        check "E01" 'code 0' 'same out v.csv'
        run --stats --json c.E01
        check "E01: --stats" 'code 0' \
            'holds "any(word in j0[\"format\"] for word in (\"EnCase\", \"E01\", \"EWF\"))"'
        run --image-format raw c.E01
        check "E01 as raw bytes" 'code 2' 'begins "c.E01: "' 'prints_nothing'
    else skip "E01" "ewfacquire missing"; fi
    if have qemu-img; then
        qemu-img convert -f raw -O qcow2 -c two.raw c.qcow2
        run --partition 1 c.qcow2
        check "QCOW2" 'code 0' 'silent' 'same out v.csv'
        cp c.qcow2 anything
        run --partition 1 anything
        check "QCOW2 of any name" 'code 0' 'same out v.csv'
        cp c.qcow2 c.raw
        run --partition 1 c.raw
        check "QCOW2 that calls itself raw" 'code 2' 'complains "--image-format qcow2"'
        run --partition 1 --image-format qcow2 c.raw
        check "QCOW2, --image-format" 'code 0' 'same out v.csv'
    else skip "QCOW2" "qemu-img missing"; fi
}

# ------------------------------------------------------------------------------- a $MFT by hand

# mft.py: records after the documentation of the Linux-NTFS project, and nothing of ours.
#   chain N OUT     N folders, each in the one before
#   odd OUT         times, names and parents that are strange, but no damage
#   copies IN N OUT the records of IN, then the last 32 of them again and again, N in all
#   of VOLUME OUT   the $MFT of a volume, whole
cat > mft.py <<'END'
import struct, sys
def attribute(kind, value, number, name=''):
    n = name.encode('utf-16le')
    at = (24 + len(n) + 7) // 8 * 8
    size = (at + len(value) + 7) // 8 * 8
    head = struct.pack('<IIBBHHHIHH', kind, size, 0, len(name), 24, 0, number, len(value), at, 0)
    return ((head + n).ljust(at, b'\0') + value).ljust(size, b'\0')
def information(times=(0, 0, 0, 0), bits=0x20): return struct.pack('<4QI12x', *times, bits)
def name(parent, text, space=1, times=(0, 0, 0, 0), bits=0):
    raw = text if isinstance(text, bytes) else text.encode('utf-16le', 'surrogatepass')
    return struct.pack('<Q4QQQIIBB', parent, *times, 0, 0, bits, 0, len(raw) // 2, space) + raw
def record(number, attributes, sequence=1, flags=1, size=1024, base=0):
    fixups = size // 512 + 1
    at = (48 + 2 * fixups + 7) // 8 * 8
    body = b''.join(attributes) + b'\xff\xff\xff\xff\0\0\0\0'
    r = bytearray(struct.pack('<4sHHQHHHHIIQHHI', b'FILE', 48, fixups, 0, sequence, 1, at, flags,
                              at + len(body), size, base, 99, 0, number).ljust(at, b'\0') + body)
    r += bytes(size - len(r))
    r[48:50] = b'\x07\x00'
    for i in range(fixups - 1):
        tail = (i + 1) * 512 - 2
        r[50 + 2 * i:52 + 2 * i] = r[tail:tail + 2]
        r[tail:tail + 2] = b'\x07\x00'
    return bytes(r)
ROOT = 5 << 48 | 5
def start(n): # of a $MFT with n records: itself, nothing, the root
    data = struct.pack('<IIBBHHHQQHHIQQQ', 0x80, 72, 1, 0, 64, 0, 2, 0, 0, 64, 0, 0, n * 1024,
                       n * 1024, n * 1024) + b'\x11\x01\x04\0\0\0\0\0'
    out = [record(0, [attribute(0x10, information(), 0), attribute(0x30, name(ROOT, '$MFT'), 1),
                      data])]
    out += [record(i, [attribute(0x10, information(), 0)], i) for i in range(1, 5)]
    return out + [record(5, [attribute(0x10, information(), 0), attribute(0x30, name(ROOT, '.'), 1),
                             attribute(0x90, bytes(48), 2, '$I30')], 5, 3)]
def file(number, parent, text, sequence=1, flags=1, space=1, times=(0, 0, 0, 0), more=()):
    return record(number, [attribute(0x10, information(times), 0),
                           attribute(0x30, name(parent, text, space, times), 1), *more,
                           attribute(0x80, b'x' * 9, 7)], sequence, flags)
def folder(number, parent, text, sequence=1, flags=3):
    return record(number, [attribute(0x10, information(), 0),
                           attribute(0x30, name(parent, text), 1),
                           attribute(0x90, bytes(48), 2, '$I30')], sequence, flags)
def chain(n):
    out = start(6 + n)
    for i in range(6, 6 + n): out.append(folder(i, ROOT if i == 6 else 1 << 48 | i - 1, '%d' % i))
    return out
def odd():
    t = 116444736000000000
    link = struct.pack('<IHHHHHHI', 0xa000000c, 40, 0, 0, 14, 14, 14, 0)
    out = start(40)
    add = lambda *a, **k: out.append(file(len(out), *a, **k))
    add(ROOT, 'epoch', times=(t, t + 1, t + 9999999, t + 10000000))  # 6
    add(ROOT, 'leap', times=(t + 864000000000 * (365 * 3 - 306), 1, 2, 3))  # 7
    add(ROOT, 'far', times=(2650467743999999999, 2650467744000000000, (1 << 63) - 1, (1 << 64) - 1))
    add(ROOT, b'\x00\xd8' + 'h'.encode('utf-16le'))  # 9: a lone high one
    add(ROOT, 'l'.encode('utf-16le') + b'\x00\xdc')  # 10: a lone low one
    add(ROOT, 'y' * 255)  # 11
    add(ROOT, '\u65e5' * 255)  # 12
    add(ROOT, 'n\0ul')  # 13
    out.append(folder(14, ROOT, 'folder'))
    add(1 << 48 | 14, 'child')  # 15
    add(2 << 48 | 14, 'of another time')  # 16: stale
    add(1 << 48 | 15, 'in a file')  # 17: no folder
    add(1 << 48 | 9999, 'nowhere')  # 18: missing
    out.append(folder(19, 1 << 48 | 20, 'round'))  # a cycle of two,
    out.append(folder(20, 1 << 48 | 19, 'and round'))
    add(1 << 48 | 19, 'below')  # 21
    out.append(folder(22, 1 << 48 | 22, 'itself'))  # and of one
    out.append(folder(23, ROOT, 'deleted folder', 4, 2))  # 23
    add(3 << 48 | 23, 'deleted with it', flags=0, sequence=2)  # 24
    add(ROOT, 'LONGNA~1', space=2, more=[attribute(0x30, name(ROOT, 'long name', 1), 3)]) # 25
    add(ROOT, 'ONLYDOS', space=2)  # 26
    out.append(record(27, [attribute(0x10, information(bits=0x1 | 0x400), 0),
                           attribute(0x30, name(ROOT, 'link', bits=0x400), 1),
                           attribute(0xc0, link + 'C:\\,"x"'.encode('utf-16le') * 2, 2)]))
    out.append(record(28, [attribute(0x80, b'lost', 1, 'stream')]))  # no name
    out.append(record(29, [attribute(0x30, name(ROOT, 'of an orphan'), 1)], base=3 << 48 | 15))
    out.append(record(30, [], 2, 0))
    out += [bytes(1024)] * (40 - len(out))
    return out
what = sys.argv[1]
if what == 'chain': out = chain(int(sys.argv[2]))
elif what == 'odd': out = odd()
elif what == 'copies':
    d, n = open(sys.argv[2], 'rb').read(), int(sys.argv[3])
    with open(sys.argv[4], 'wb') as f:
        f.write(d)
        for i in range((n - len(d) // 1024) // 32): f.write(d[-32768:])
    sys.exit(0)
else:
    v = open(sys.argv[2], 'rb').read()
    cluster = v[13] * struct.unpack_from('<H', v, 11)[0]
    size = v[64] * cluster if v[64] < 128 else 1 << 256 - v[64]
    at = struct.unpack_from('<Q', v, 48)[0] * cluster
    r = bytearray(v[at:at + size])
    for i in range(size // 512):
        r[i * 512 + 510:i * 512 + 512] = r[r[4] + 2 + 2 * i:r[4] + 4 + 2 * i]
    a = struct.unpack_from('<H', r, 20)[0]
    while struct.unpack_from('<I', r, a)[0] != 0x80: a += struct.unpack_from('<I', r, a + 4)[0]
    total, p, lcn, out = struct.unpack_from('<Q', r, a + 48)[0], a, 0, []
    p += struct.unpack_from('<H', r, a + 32)[0]
    while r[p]:
        n, m = r[p] & 15, r[p] >> 4
        lcn += int.from_bytes(r[p + 1 + n:p + 1 + n + m], 'little', signed=True)
        out.append(v[lcn * cluster:(lcn + int.from_bytes(r[p + 1:p + 1 + n], 'little')) * cluster])
        p += 1 + n + m
    out = [b''.join(out)[:total]]
open(sys.argv[-1], 'wb').write(b''.join(out))
END

# has_times PATH CREATED MODIFIED CHANGED ACCESSED: in out, of $STANDARD_INFORMATION and the name.
has_times() { says ",$1,,9,16,$2,$3,$4,$5,$2,$3,$4,$5,5,5,"; }

test_odd() {
    "$python" mft.py odd odd.mft
    run odd.mft
    check "odd: not damaged, nothing dropped" 'code 0' 'silent' \
        'rows "{int(r[\"record\"]) for r in rows} == set(range(31))"'
    check "odd: times" \
        "has_times /epoch 1970-01-01T00:00:00.0000000Z 1970-01-01T00:00:00.0000001Z \
            1970-01-01T00:00:00.9999999Z 1970-01-01T00:00:01.0000000Z" \
        "has_times /leap 1972-02-29T00:00:00.0000000Z 1601-01-01T00:00:00.0000001Z \
            1601-01-01T00:00:00.0000002Z 1601-01-01T00:00:00.0000003Z" \
        "has_times /far 9999-12-31T23:59:59.9999999Z +10000-01-01T00:00:00.0000000Z \
            +30828-09-14T02:48:05.4775807Z +60056-05-28T05:36:10.9551615Z" \
        'says ",/folder,,,,,,,,,,,,5,5,archive,"'
    check "odd: names" "grep -q -a \$',/\\xed\\xa0\\x80h,,9,' out" \
        "grep -q -a \$',/l\\xed\\xb0\\x80,,9,' out" \
        "says ',/$(printf 'y%.0s' $(seq 255)),,'" "says ',/$(printf '日%.0s' $(seq 255)),,'" \
        'says ",/n\\x00ul,,"' \
        'rows "[r[\"namespace\"] for r in rows if r[\"record\"] == \"25\"] ==
            [\"dos\", \"win32\"]"' \
        'rows "[r[\"path\"] for r in rows if r[\"record\"] == \"26\"] == [\"/ONLYDOS\"]"'
    check "odd: folders" 'says ",/folder/child,,9,16,"' \
        'says ",/\$OrphanFiles/of another time,,9,16,"' \
        'rows "{r[\"record\"]: r[\"flags\"].split()[-1] for r in rows
                if \"parent_\" in r[\"flags\"]} ==
            {\"16\": \"parent_stale\", \"17\": \"parent_not_directory\", \"18\": \"parent_missing\",
             \"19\": \"parent_cycle\", \"20\": \"parent_cycle\", \"21\": \"parent_cycle\",
             \"22\": \"parent_cycle\", \"24\": \"parent_freed\"}"' \
        'says ",/deleted folder/deleted with it,,"'
    check "odd: a link" "says ',\"0xa000000c -> C:\\\\,\"\"x\"\"\"'"
    check "odd: a stream without a file name" 'says "28,1,in_use,1,0,,,stream,4,"'
    check "odd: an extension without a base" 'says "/of an orphan,"' \
        'rows "any(\"orphan_extension\" in r[\"flags\"].split() for r in rows
            if r[\"record\"] == \"29\")"'
    run --format jsonl odd.mft
    check "odd: JSON" 'code 0' 'silent' 'lines 31' 'says "\"\\ud800h\""' 'says "\"l\\udc00\""' \
        'holds "j[27][\"reparse\"] ==
            {\"tag\": \"0xa000000c\", \"target\": \"C:\\\\,\\\"x\\\"\"}"' \
        'holds "j[13][\"names\"][0][\"name\"] == \"n\\0ul\""' \
        'holds "j[29][\"base_record\"] == 15 and j[29][\"base_sequence\"] == 3"' \
        'holds "j[8][\"created\"] == \"9999-12-31T23:59:59.9999999Z\""' \
        'holds "j[14][\"created\"] is None"'
    run --format bodyfile odd.mft
    check "odd: bodyfile" 'code 0' 'silent' 'says "/epoch|6-128-7|r/rrwxrwxrwx|0|0|9|1|0|0|0"' \
        '[ "$(awk -F "|" "{print NF}" out | sort -u)" = 11 ]' \
        'says "/long name|25-128-7|"' '! grep -q "LONGNA" out' 'says "/ONLYDOS|26-128-7|"' \
        'says "/deleted folder/deleted with it (deleted)|24-128-7|-/rrwxrwxrwx|0|0|9|"' \
        'says "/\$OrphanFiles/OrphanFile-28:stream|28-128-1|"'
    run --stats --json odd.mft
    check "odd: counted" 'code 0' 'holds "j0[\"orphans\"] == 3 and j0[\"parents_stale\"] == 1"' \
        'holds "j0[\"cycles\"] == 3 and j0[\"parents_freed\"] == 1"' \
        'holds "j0[\"slots\"] == 40 and j0[\"never_written\"] == 9 and j0[\"free\"] == 3"' \
        'holds "j0[\"orphan_extension\"] == 1 and j0[\"dos_names\"] == 2"' \
        'holds "\"error\" not in j0"'
    "$python" mft.py chain 3000 chain.mft
    start=$(date +%s)
    run chain.mft
    check "3,000 folders in each other" 'code 0' 'silent' '[ $(($(date +%s) - start)) -lt 10 ]' \
        'rows "rows[-1][\"path\"] == \"\".join(\"/%d\" % i for i in range(6, 3006))"'
    "$python" mft.py chain 12000 chain.mft
    start=$(date +%s)
    run --stats --json chain.mft
    check "12,000 folders in each other, counted" 'code 0' '[ $(($(date +%s) - start)) -lt 5 ]' \
        'holds "j0[\"directories\"] == 12001 and j0[\"cycles\"] == 0"'
    rm -f chain.mft
}

# ------------------------------------------------------------------------------- damage

# spoil.py IN OUT CHANGE...: RECORD:OFFSET:HEX, of a $MFT with records of 1 KiB.
cat > spoil.py <<'END'
import sys
d = bytearray(open(sys.argv[1], 'rb').read())
for change in sys.argv[3:]:
    number, at, new = change.split(':')
    at = int(number) * 1024 + int(at)
    d[at:at + len(new) // 2] = bytes.fromhex(new)
open(sys.argv[2], 'wb').write(d)
END
# number_of PATH: its record, of out.
number_of() {
    "$python" -c 'import csv, sys
for r in csv.DictReader(open(sys.argv[1], newline="")):
    if r["path"] == sys.argv[2]: print(r["record"]); break' "$1" "$2"
}

# damaged NAME STATE WORD FILE NUMBER: this record, and only it, is in this state, with this flag.
damaged() {
    run "$4"
    check "$1: listed, and the exit code says so" 'code 1' "complains '$4: damaged: '" \
        "rows '{r[\"record\"] for r in rows if r[\"state\"] == \"$2\" and
            \"$3\" in r[\"flags\"]} == {\"$5\"}'"
    run --json "$4"
    check "$1: --json" 'code 1' 'holds "j0[\"status\"] == \"damaged\""'
}

test_damage() {
    [ -e v.ntfs ] || { skip "damage" "no volumes"; return; }
    "$python" mft.py of v.ntfs v.mft
    run v.mft
    check "the \$MFT of a volume by itself" 'code 0' 'silent' 'same out v.csv'
    cp v.mft '$MFT' && cp v.mft MFT.bin && cp v.mft mft.raw && cp v.mft 'C drive.mft'
    local name n
    for name in '$MFT' MFT.bin mft.raw 'C drive.mft'; do
        run "$name"
        check "a \$MFT called $name" 'code 0' 'same out v.csv'
    done
    rm -f '$MFT' MFT.bin mft.raw 'C drive.mft'
    n=$(number_of v.csv "/many/a rather long name of a file, number 00007.dat")
    "$python" spoil.py v.mft s.mft "$n:510:ffff"
    damaged "torn" in_use torn s.mft "$n"
    "$python" spoil.py v.mft s.mft "$n:0:42414144"
    damaged "BAAD" baad "" s.mft "$n"
    run --deleted exclude s.mft
    check "BAAD: its name is still there" 'code 1' 'says "number 00007.dat\","'
    "$python" spoil.py v.mft s.mft "$n:0:58585858"
    damaged "no record" bad_signature "" s.mft "$n"
    "$python" spoil.py v.mft s.mft "$n:60:ffffff7f"
    damaged "an attribute without end" in_use damaged: s.mft "$n"
    "$python" spoil.py v.mft s.mft "$n:0:$(printf '00%.0s' $(seq 1024))"
    run s.mft
    check "zeros: as if never written" 'code 0' 'silent' 'says_not "number 00007.dat\""'
    n=$(number_of v.csv "/links/more")
    "$python" spoil.py v.mft s.mft "$n:16:0700"
    run s.mft
    check "a folder that was replaced" 'code 0' 'silent' 'says ",/\$OrphanFiles/three,"' \
        'rows "any(r[\"flags\"].endswith(\"parent_stale\") for r in rows)"'
    n=$(($(stat -c %s v.mft) / 1024))
    head -c $((n * 1024 - 300)) v.mft > s.mft
    damaged "the last record cut short" unread "" s.mft $((n - 1))
    { head -c 512 /dev/zero; tail -c +513 v.ntfs; } > s.ntfs
    run s.ntfs
    check "no boot sector, but its backup" 'code 1' 'complains "its copy"' 'same out v.csv'
    "$python" - <<'END'
d = bytearray(open('v.ntfs', 'rb').read())
at = int.from_bytes(d[48:56], 'little') * d[13] * 512
d[at:at + 1024] = bytes(1024)
open('s.ntfs', 'wb').write(d)
END
    run s.ntfs
    check "no record 0, but \$MFTMirr" 'code 1' 'complains "MFTMirr"' \
        'same <(tail -n +2 out) <(tail -n +3 v.csv)'
    test_unreadable
    rm -f s.mft s.ntfs
}

# A chunk of an E01 with a wrong checksum: its records cannot be read, all others can.
test_unreadable() {
    have ewfacquire || { skip "unreadable records" "ewfacquire missing"; return; }
    ewfacquire -u -q -c none -b 64 -t bad -l ewf.log v.ntfs > ewf.out 2>&1
    "$python" - <<'END'
v, d = open('v.ntfs', 'rb').read(), bytearray(open('bad.E01', 'rb').read())
at = int.from_bytes(v[48:56], 'little') * v[13] * 512 + 20 * 1024 # record 20
d[d.index(v[at:at + 64]) + 5] ^= 1
open('bad.E01', 'wb').write(d)
END
    run bad.E01
    check "unreadable records" 'code 1' 'begins "bad.E01: "' 'complains "could not be read"' \
        'rows "any(r[\"record\"] == \"20\" and r[\"state\"] == \"unread\" for r in rows)"' \
        'rows "all(r[\"state\"] != \"unread\" for r in rows if int(r[\"record\"]) > 100)"'
    run --stats --json bad.E01
    check "unreadable records: counted" 'code 1' \
        'holds "0 < j0[\"unread\"] < 60 and j0[\"io_errors\"] > 0"' \
        'holds "j0[\"slots\"] == sum(j0[k] for k in (\"in_use\", \"free\", \"never_written\",
            \"baad\", \"bad_signature\", \"unread\"))"'
}

# ------------------------------------------------------------------------------- refusals

refused() { # NAME FILE TEXT
    local begun ended
    rm -f o o.part
    begun=$(date +%s%N)
    run -o o "$2"
    ended=$(date +%s%N)
    check "$1" 'code 2' "begins \"$2: \"" "complains \"$3\"" 'prints_nothing' 'absent o' \
        'absent o.part' "[ $(((ended - begun) / 1000000)) -lt 2000 ]"
    run --stats --json "$2"
    check "$1, --json" 'code 2' "begins \"$2: \"" 'lines 1' 'holds "j0[\"status\"] == \"error\""' \
        'holds "j0[\"error\"]"'
}

test_refusals() {
    : > empty
    refused "an empty file" empty "empty"
    echo "this is a text and no file system" > text
    refused "a text" text "no NTFS"
    head -c 1048576 /dev/zero > zeros
    refused "zeros" zeros "no NTFS"
    "$python" - <<'END'
b = bytearray(1 << 20)
b[0:11] = b'\xeb\x3c\x90MSDOS5.0'
b[11:13], b[13], b[14], b[16] = b'\0\2', 4, 1, 2
b[17:19], b[19:21], b[21], b[22] = b'\0\2', b'\0\x08', 0xf8, 2
b[54:62], b[510:512] = b'FAT16   ', b'\x55\xaa'
b[512:515] = b'\xf8\xff\xff'
open('fat.raw', 'wb').write(b)
END
    refused "a FAT volume" fat.raw "FAT"
    mkdir -p folder
    refused "a folder" folder ""
    refused "no such file" nowhere ""
    [ -e /dev/null ] && refused "/dev/null" /dev/null ""
    printf 'FILE' > tiny
    refused "four bytes of a record" tiny ""
    if have mkfs.ext4; then
        truncate -s 4M ext4.raw && mkfs.ext4 -q -F ext4.raw 2> /dev/null
        refused "an ext4 volume" ext4.raw ""
        rm -f ext4.raw
    fi
    [ -e v.ntfs ] || { skip "refusals of volumes" "no volumes"; return; }
    head -c 8192 v.ntfs > head.raw
    refused "a volume cut before its \$MFT" head.raw ""
    if have ewfacquire; then
        ewfacquire -u -q -c fast -b 64 -t none -l ewf.log fat.raw > ewf.out 2>&1
        refused "no NTFS in an E01" none.E01 "FAT"
    fi
    run --record-size 4K v.mft
    check "--record-size that is not so" '[ $code != 0 ]'
    run --partition 2 v.ntfs
    check "--partition of what has none" 'code 2' 'begins "v.ntfs: "'
    run v.ntfs nowhere text
    check "several inputs: the highest code" 'code 2' 'complains "nowhere: "' 'complains "text: "' \
        'says "v.ntfs,5,5,in_use,"'
}

# ------------------------------------------------------------------------------- outputs

# Through a terminal: what goes to standard error while it runs.
cat > terminal.py <<'END'
import os, pty, sys
pid, fd = pty.fork()
if pid == 0: os.execv(sys.argv[1], sys.argv[1:])
seen = b''
try:
    while True:
        piece = os.read(fd, 65536)
        if not piece: break
        seen += piece
except OSError: pass
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
open('seen', 'wb').write(seen)
sys.exit(code)
END

test_outputs() {
    [ -e v.ntfs ] || { skip "outputs" "no volumes"; return; }
    local format mode threads
    run v.ntfs
    for format in csv jsonl bodyfile; do
        run --format $format --mode serial --threads 1 v.ntfs
        mv out "want.$format"
        for mode in auto serial parallel pipelined-parallel; do
            for threads in 1 2 3 8; do
                rm -f o
                run --format $format --mode $mode --threads $threads -o o v.ntfs
                check "$format, --mode $mode --threads $threads" 'code 0' 'silent' \
                    "same o want.$format" 'absent o.part'
            done
        done
    done
    check "CSV is the default" 'same want.csv v.csv'
    columns=record,sequence,state,in_use,directory,namespace,path,stream,size,allocated_size
    columns=$columns,si_created,si_modified,si_changed,si_accessed
    columns=$columns,fn_created,fn_modified,fn_changed,fn_accessed
    columns=$columns,parent_record,parent_sequence,flags,reparse
    check "the header" '[ "$(head -n 1 want.csv)" = "$columns" ]'
    run --format none v.ntfs
    check "--format none" 'code 0' 'silent' 'lines 1' 'says "v.ntfs: "'
    run --format none --quiet v.ntfs
    check "--format none --quiet" 'code 0' 'silent' 'prints_nothing'
    run --stats v.ntfs
    check "--stats" 'code 0' 'silent' 'says "  in use "' 'says "status                ok"'
    run --stats --format csv v.ntfs
    check "--stats beside rows: on standard error" 'code 0' 'same out v.csv' 'complains "  in use "'
    run --stats --json --format csv -o o2 v.ntfs
    check "--stats --json beside a file" 'code 0' 'silent' 'lines 1' 'same o2 v.csv' \
        'holds "j0[\"rows\"] == $(($(wc -l < o2) - 1))"' \
        'holds "j0[\"bytes_written\"] == $(tail -n +2 o2 | wc -c)"'
    run --stats --json v.ntfs
    check "--stats --json: the names of DESIGN" 'holds "set(j0) >= set(\"\"\"
        path slots in_use free never_written baad bad_signature unread extension torn names
        hard_linked_records named_streams directories orphans cycles mode threads io bytes_read
        bytes_skipped io_errors ext_name_cache_skipped scan_pipeline_fallbacks deferred_disk_reads
        seconds\"\"\".split())"' \
        'holds "j0[\"path\"] == \"v.ntfs\" and j0[\"status\"] == \"ok\" and j0[\"warnings\"] == []"'
    run --json v.ntfs odd.mft
    check "--json: an object for each input" 'code 0' 'lines 2' \
        'holds "j[1][\"path\"] == \"odd.mft\""'
    run v.ntfs odd.mft
    check "rows of several inputs" 'code 0' 'says "input,record,sequence"' \
        'rows "{r[\"input\"] for r in rows} == {\"v.ntfs\", \"odd.mft\"}"' \
        'same <(grep "^v.ntfs," out | cut -d , -f 2-) <(tail -n +2 v.csv)'
    run --format bodyfile v.ntfs odd.mft
    check "bodyfile of several inputs" 'code 0' 'says "0|odd.mft:/epoch|6-128-7|"'
    run --format jsonl v.ntfs odd.mft
    check "JSON of several inputs" 'code 0' \
        'holds "{r[\"input\"] for r in j} == {\"v.ntfs\", \"odd.mft\"}"'
    run --skip-free v.ntfs
    check "--skip-free: all that is in use" 'code 0' \
        'same <(grep ",in_use," out) <(grep ",in_use," v.csv)'
    run --bench v.ntfs
    check "--bench" 'code 0' 'silent' 'lines 6' 'says "  serial "' 'says "  parallel "' \
        'says "  pipelined-parallel "' 'says "  auto "'
    run --bench --json v.ntfs
    check "--bench --json" 'code 0' 'silent' 'lines 1' 'holds "len(j0[\"bench\"]) == 4"' \
        'holds "all(b[\"records_per_second\"] > 0 and b[\"slots\"] > 300 for b in j0[\"bench\"])"'
    run --bench --mode serial --json v.ntfs
    check "--bench of one mode" 'holds "[b[\"mode\"] for b in j0[\"bench\"]] == [\"serial\"]"'
    echo old > taken
    run -o taken v.ntfs
    check "an output in the way" 'code 2' 'begins "taken: "' 'complains "--force"' \
        'grep -q old taken'
    run --force -o taken v.ntfs
    check "--force" 'code 0' 'same taken v.csv'
    cp v.ntfs input
    run --force -o input input
    check "the input is no output" 'code 2' 'begins "input: "' 'same input v.ntfs'
    ln -sf input link.part
    run --force -o link input
    check "nor is its .part" 'code 2' 'begins "link: "' 'same input v.ntfs'
    run --force -o input odd.mft input
    check "nor is the second input" 'code 2' 'begins "input: "' 'same input v.ntfs'
    rm -f link.part input
    run -o folder v.ntfs
    check "a folder as output" 'code 2' 'begins "folder: "'
    run -o no/where v.ntfs
    check "no such folder" 'code 2' 'begins "no/where: "'
    if [ -w /dev/full ]; then
        run -o /dev/full v.ntfs
        check "/dev/full" 'code 2' 'begins "/dev/full: "'
    fi
    run -o /dev/null v.ntfs
    check "/dev/null" 'code 0' '[ -c /dev/null ]'
    run -o - v.ntfs
    check "-o -" 'code 0' 'same out v.csv'
    mkfifo pipe && { cat pipe > piped & }
    run -o pipe v.ntfs
    wait $!
    check "a pipe" 'code 0' 'same piped v.csv' 'absent pipe.part'
    test_large
}

test_large() {
    "$python" mft.py copies v.mft 300000 large.mft
    run --threads 2 -o o3 large.mft
    check "300,000 records" 'code 0' '[ "$(wc -l < o3)" -gt 290000 ]'
    "$scan" large.mft 2> err | head -c 10 > out
    code=${PIPESTATUS[0]}
    check "a reader that has enough" 'code 2' 'silent'
    "$scan" --threads 1 --format jsonl -o slow large.mft > out 2> err & # some time is needed for it
    sleep 0.2
    kill -INT $! 2> /dev/null
    wait $!
    code=$?
    if [ $code = 0 ]; then skip "Ctrl-C" "it was done before"
    else check "Ctrl-C" 'code 2' 'absent slow' 'absent slow.part' 'complains "interrupted"'; fi
    "$python" terminal.py "$scan" --threads 1 --format jsonl -o o4 large.mft
    code=$?
    check "a bar on a terminal" 'code 0' 'grep -q -a "large.mft \[#*\.*\] .*ETA" seen'
    "$python" terminal.py "$scan" --threads 1 --quiet --format jsonl --force -o o4 large.mft
    code=$?
    check "no bar with --quiet" 'code 0' '[ ! -s seen ]'
    if [ -x /usr/bin/time ] && ! grep -q -a -e __asan_init -e __tsan_init "$scan"; then
        "$python" mft.py chain 6000 chain.mft # some 170 MB of paths
        /usr/bin/time -f %M -o kib "$scan" --quiet --threads 2 -o /dev/null chain.mft
        check "blocks of long paths have a bound" '[ "$(tail -n 1 kib)" -lt 200000 ]'
    else skip "bounded memory" "sanitizers, or no /usr/bin/time"; fi
    rm -f large.mft chain.mft o3 o4 slow
}

# ------------------------------------------------------------------------------- samples

# equals_dfir NAME FILE LISTING: what dfir_ntfs says of each record is in a row of ours. It rounds
# to microseconds, writes ? for no size, and 1601-01-01 for no time.
cat > dfir.py <<'END'
import csv, datetime, sys
def ticks(s):
    if not s or s.startswith('1601-01-01 00:00:00.000000'): return None
    d = datetime.datetime.strptime(s, '%Y-%m-%d %H:%M:%S.%f') - datetime.datetime(1601, 1, 1)
    return (d.days * 86400 + d.seconds) * 1000000 + d.microseconds
def ours_ticks(s):
    return ticks(s[:26].replace('T', ' ')) if s else None
def close(a, b): return a == b or (a is not None and b is not None and abs(a - b) <= 1)
letters = {'M': 'modified', 'A': 'accessed', 'C': 'created', 'E': 'changed'}
columns = [('$%s %s timestamp' % (a, b), '%s_%s' % (a.lower(), letters[b]))
           for a in ('SI', 'FN') for b in letters]
ours = {}
for r in csv.DictReader(open(sys.argv[1], encoding='utf-8', errors='surrogateescape', newline='')):
    if not r['stream']: ours[int(r['record']), r['path'].replace('\\\\', '\\')] = r
seen, bad = 0, []
for r in csv.DictReader(open(sys.argv[2], encoding='utf-8', errors='surrogateescape', newline='')):
    if r['Source'] != 'File record': continue
    reference, path = int(r['MFT reference number']), '/' if r['Path'] == '/.' else r['Path']
    number = reference & (1 << 48) - 1
    o = ours.get((number, path))
    seen += 1
    want = [reference >> 48, r['Is in use'] == 'Y', r['Is directory'] == 'Y',
            r['File size'].replace('?', '')]
    if o is None or not all(close(ticks(r[a]), ours_ticks(o[b])) for a, b in columns) or want != [
            int(o['sequence']), o['in_use'] == '1', o['directory'] == '1', o['size']]:
        bad.append((number, path, o))
print(seen, 'seen;', ascii(bad[:5]))
sys.exit(1 if bad or seen == 0 else 0)
END

test_samples() {
    [ -d "$samples" ] || { skip "samples" "no ../shared/samples/mft"; return; }
    local file name
    for file in "$samples"/*.dfir_ntfs.csv; do
        name=${file%.dfir_ntfs.csv}
        run "$name"
        check "$(basename "$name"): equals dfir_ntfs" 'code 0' 'silent' \
            "\"\$python\" dfir.py out '$file' > difference"
    done
    for file in "$samples"/*.fls.txt; do
        name=${file%.fls.txt}
        case $name in
        *.bz2) bzip2 -dc "$name" > sample.raw ;;
        *.gz) gzip -dc "$name" > sample.raw ;;
        esac
        run sample.raw
        mv out rows.csv
        run --format bodyfile sample.raw
        check "$(basename "$name"): equals fls" 'code 0' 'silent' \
            "\"\$python\" bodies.py '$file' out rows.csv > difference"
    done
    rm -f sample.raw
    run "$samples/msuhanov_ntfs-samples__ntfs-2m.raw.gz.ntfscat_prefixed.mft"
    check "a \$MFT that is fixed up already" 'code 0' 'complains "fixed up"' \
        'rows "sum(r[\"state\"] == \"in_use\" for r in rows) >= 31"'
}

test_options
test_volumes
test_odd
test_escaping
test_disks
test_damage
test_refusals
test_outputs
test_samples
umount mnt 2> /dev/null
finish
