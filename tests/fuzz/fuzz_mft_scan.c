/* fuzz_mft_scan.c - libFuzzer target: a source scanned in every mode and visited record by record;
   all must say the same, and every look-up must be consistent with the others.

       clang -g -O1 -fsanitize=fuzzer,address,undefined -DFUZZ_MUTATOR -pthread fuzz_mft_scan.c

   Without FUZZ_MUTATOR it needs nothing of libFuzzer, and replay.c can be its main.

   Input: choices (1 = a raw $MFT whatever it looks like, 2 = skip what is free, 4 = a small cache,
   8 = some reads fail, 16 = large segments, 32 = records of 4 KiB); a byte that says which reads
   fail; then the source. */
#define MFT_SCAN_IMPLEMENTATION
#define THREAD_POOL_IMPLEMENTATION
#include "../../mft_scan.h"
#include "../fixtures/mft_render.h"
#include "fuzz.h"

enum { RAW = 1, SKIP_FREE = 2, SMALL_CACHE = 4, FAULTS = 8, LARGE_SEGMENTS = 16, RECORDS_4K = 32 };

typedef struct medium {
    const uint8_t *data;
    size_t size;
    unsigned fault; /* 0 = none; else reads that touch one of the sectors with this rest fail */
} medium;

static posio_result medium_read(void *self, uint64_t offset, void *buf, size_t n, posio_error *err)
{
    const medium *m = (const medium *)self;
    uint64_t sector;
    for (sector = offset / 512; m->fault != 0 && sector * 512 < offset + n; sector++)
        if (sector > 8 && sector % 61 == m->fault % 61)
            return posio_fail(err, POSIO_E_IO, offset, "a bad sector");
    memcpy(buf, m->data + (size_t)offset, n);
    return POSIO_OK;
}

/* The records that mft_scan_visit has shown, by number. */
typedef struct shown {
    mft_render *text;
    uint64_t slots;
} shown;

static int show(void *user, const mft_scan *view, uint64_t number)
{
    shown *o = (shown *)user;
    REQUIRE(number < o->slots);
    mft_render_record(&o->text[number], view, number, 0);
    return 0;
}

static uint64_t count_children(const mft_scan *scan)
{
    mft_scan_child child;
    uint64_t i, n = 0;
    posio_result r;
    for (i = 0; i < mft_scan_info(scan)->slots; i++)
        for (r = mft_scan_first_child(scan, i, &child); r == POSIO_OK;
             r = mft_scan_next_child(scan, &child), n++)
            REQUIRE(MFT_SCAN_NUMBER(child.name.parent) == i);
    return n;
}

/* Paths of every name: with and without those that are kept, and in too little room. */
static void walk_paths(const mft_scan *scan, const mft_scan *plain)
{
    static char a[1 << 16], b[1 << 16];
    mft_scan_name n, m;
    mft_scan_record up;
    uint64_t i, names = 0, children = 0;
    posio_result r;
    for (i = 0; i < mft_scan_info(scan)->slots; i++) {
        posio_result q = mft_scan_first_name(plain, i, &m);
        for (r = mft_scan_first_name(scan, i, &n); r == POSIO_OK; r = mft_scan_next_name(scan, &n)) {
            size_t x = 0, y = 0, z = 0;
            uint32_t s = 9, t = 9, u = 9;
            posio_result k = mft_scan_path(scan, &n, a, sizeof a, &x, &s);
            REQUIRE(q == POSIO_OK);
            REQUIRE(mft_scan_path(plain, &m, b, sizeof b, &y, &t) == k && x == y && s == t);
            REQUIRE(k != POSIO_OK || memcmp(a, b, x + 1) == 0);
            REQUIRE(mft_scan_path(scan, &n, b, 8, &z, &u) == (x < 8 ? POSIO_OK : POSIO_E_SPACE));
            REQUIRE(z == x && u == s);
            names++;
            if (mft_scan_get_record(scan, MFT_SCAN_NUMBER(n.parent), &up) == POSIO_OK &&
                up.state != MFT_SCAN_NEVER_WRITTEN && up.state < MFT_SCAN_BAD_SIGNATURE &&
                MFT_SCAN_NUMBER(n.parent) != n.slot)
                children++;
            q = mft_scan_next_name(plain, &m);
        }
    }
    REQUIRE(names == mft_scan_get_stats(scan)->names);
    REQUIRE(children == count_children(scan));
}

static void check_stats(const mft_scan *scan)
{
    const mft_scan_stats *t = mft_scan_get_stats(scan);
    mft_scan_path_stats p;
    REQUIRE(t->slots == mft_scan_info(scan)->slots);
    REQUIRE(t->slots == t->in_use + t->free_records + t->never_written + t->baad +
                            t->bad_signature + t->unread);
    REQUIRE(mft_scan_check_paths(scan, NULL, &p, NULL) == POSIO_OK);
    REQUIRE(p.orphans <= t->names && p.cycles <= t->slots);
}

/* Two scans of the same source say the same of every record. */
static void compare(const mft_scan *a, const mft_scan *b, int lean)
{
    uint64_t i;
    REQUIRE(mft_scan_info(a)->slots == mft_scan_info(b)->slots);
    for (i = 0; i < mft_scan_info(a)->slots; i++) {
        mft_render x = {NULL, 0, 0}, y = {NULL, 0, 0};
        mft_render_record(&x, a, i, lean);
        mft_render_record(&y, b, i, lean);
        if (x.length != y.length || memcmp(x.text, y.text, x.length) != 0)
            fprintf(stderr, "%sbut %s", x.text, y.text);
        REQUIRE(x.length == y.length && memcmp(x.text, y.text, x.length) == 0);
        free(x.text);
        free(y.text);
    }
}

/* Visited records are those of the index. (With little cache a record may be shown in pieces.) */
static void compare_visited(const mft_scan *scan, const posio_source *source,
                            const mft_scan_desc *desc)
{
    shown o;
    mft_scan_stats t;
    posio_error err;
    posio_result r;
    uint64_t i;
    o.slots = mft_scan_info(scan)->slots;
    o.text = (mft_render *)calloc((size_t)o.slots, sizeof *o.text);
    REQUIRE(o.text != NULL);
    r = mft_scan_visit(source, desc, show, &o, &t, &err);
    REQUIRE(r == POSIO_OK || (r == POSIO_E_LIMIT && desc->cache_bytes != 0));
    for (i = 0; i < o.slots; i++) {
        mft_render x = {NULL, 0, 0};
        mft_scan_record record;
        REQUIRE(mft_scan_get_record(scan, i, &record) == POSIO_OK);
        mft_render_record(&x, scan, i, 0);
        if (r != POSIO_OK || (record.flags & (MFT_SCAN_EXTENSION | MFT_SCAN_ORPHAN_EXTENSION)) ==
                                 MFT_SCAN_EXTENSION)
            REQUIRE(r != POSIO_OK || o.text[i].length == 0);
        else if (record.flags & MFT_SCAN_HAS_LIST || !(record.flags & MFT_SCAN_HAS_EXTENSIONS))
            REQUIRE(x.length == o.text[i].length && memcmp(x.text, o.text[i].text, x.length) == 0);
        free(x.text);
        free(o.text[i].text);
    }
    if (r == POSIO_OK) REQUIRE(t.names == mft_scan_get_stats(scan)->names);
    free(o.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    medium m;
    posio_source source;
    mft_scan_desc d;
    mft_scan *scan = NULL, *other = NULL;
    mft_scan_volume volumes[4];
    posio_error err;
    uint32_t count = 0, mode;
    if (size < 2) return 0;
    memset(&source, 0, sizeof source);
    memset(&d, 0, sizeof d);
    m.data = data + 2;
    m.size = size - 2;
    m.fault = data[0] & FAULTS ? data[1] + 1u : 0;
    source.size = m.size;
    source.read_at = medium_read;
    source.self = &m;
    REQUIRE(mft_scan_volumes(&source, volumes, 4, &count, &err) == POSIO_OK || m.fault != 0);
    d.columns = MFT_SCAN_FULL;
    d.mode = MFT_SCAN_SERIAL;
    if (data[0] & RAW) d.input = MFT_SCAN_INPUT_MFT;
    if (data[0] & SKIP_FREE) d.flags |= MFT_SCAN_SKIP_FREE;
    if (data[0] & SMALL_CACHE) d.cache_bytes = 4096;
    if (!(data[0] & LARGE_SEGMENTS)) d.segment_bytes = 8192;
    if (data[0] & RECORDS_4K) d.record_size = 4096;
    if (mft_scan_open_source(&other, &source, &d, &err) != POSIO_OK) {
        REQUIRE(err.code != POSIO_OK && err.message[0] != 0);
        return 0;
    }
    check_stats(other);
    d.flags |= MFT_SCAN_PATHS | MFT_SCAN_CHILDREN;
    REQUIRE(mft_scan_open_source(&scan, &source, &d, &err) == POSIO_OK);
    compare(scan, other, 0);
    walk_paths(scan, other);
    compare_visited(scan, &source, &d);
    mft_scan_close(other);
    d.flags &= ~(uint32_t)(MFT_SCAN_PATHS | MFT_SCAN_CHILDREN);
    for (mode = MFT_SCAN_AUTO; mode <= MFT_SCAN_PIPELINED_PARALLEL; mode++) {
        d.mode = mode;
        d.columns = mode == MFT_SCAN_PARALLEL ? MFT_SCAN_LEAN : MFT_SCAN_FULL;
        d.chunk_bytes = 5000;
        REQUIRE(mft_scan_open_source(&other, &source, &d, &err) == POSIO_OK);
        compare(scan, other, d.columns == MFT_SCAN_LEAN);
        mft_scan_close(other);
    }
    mft_scan_close(scan);
    return 0;
}

#ifdef FUZZ_MUTATOR
/* Changes bytes, then makes the fixups of some records right again, so that what was changed is
   looked at. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    size_t at, k;
    size = LLVMFuzzerMutate(data, size, room);
    if (size < 2 || seed % 8 == 0) return size;
    for (at = 2; at + 1024 <= size; at += 512) {
        uint8_t *rec = data + at;
        uint32_t array = posio_le16(rec + 4), strides = posio_le16(rec + 6);
        if (memcmp(rec, "FILE", 4) != 0 || strides < 2 || strides > 9 || array > 480 ||
            (strides - 1) * 512 > size - at || (seed >> 3) % 5 == 0)
            continue;
        for (k = 1; k < strides; k++) {
            rec[k * 512 - 2] = rec[array];
            rec[k * 512 - 1] = rec[array + 1];
        }
    }
    return size;
}
#endif
