/* fuzz_qcow2_read.c - libFuzzer target: images in memory with their backing and data files, opened,
   read, mapped and checked, all snapshots too. The same bytes whichever way they are read, extents
   that tell the truth, memory within a bound.

       clang -g -O1 -fsanitize=fuzzer,address,undefined -DFUZZ_MUTATOR -DQCOW2_READ_ZSTD -pthread \
           fuzz_qcow2_read.c -lzstd

   Without FUZZ_MUTATOR it needs nothing of libFuzzer, and replay.c can be its main.

   Input as in fuzz_image.h; choices: 1 = alone, 2 = a backing file of no format is raw, 4 = lend a
   pool of two threads, 8 = no resolver, 16 = a small cache. Each file is what the one before it
   names; behind the last one is a raw file of a pattern. */
#define QCOW2_READ_IMPLEMENTATION
#define THREAD_POOL_IMPLEMENTATION
#include "../../qcow2_read.h"
#define COUNT_BYTES 1
#define MAX_SEGMENTS 255
#define MAX_PATCHES 0
#define FILE_MAX (256 << 20)
#include "fuzz_image.h"

enum {
    ALONE = 1, RAW_BACKING = 2, POOL = 4, NO_RESOLVER = 8, SMALL_CACHE = 16,
    CHECK_MAX = 1 << 17,      /* clusters of a file that is checked, */
    TABLES_MAX = 256 << 20,   /* and bytes of tables, which all its states may share */
    PART = 300 << 10,         /* bytes read at one place: enough to be cut for a pool */
    WHOLE = 1 << 20,          /* media that is read completely */
    SNAPSHOTS = 6
};

/* What qcow2_read.h says it needs for each image, three threads at most: 2 MiB of table pages, the
   cache (1 MiB) and a cluster more for each thread, two clusters and 25 KiB for each; names of a
   cluster, 8 bytes for each snapshot, the check with one table. Room for half as much again. */
static size_t allowance(const qcow2_read *q)
{
    const qcow2_read_metadata *m = qcow2_read_info(q);
    size_t all = (3 << 20) + 3 * ((size_t)3 * m->cluster_size + 32768) + 2 * m->cluster_size;
    return (all + (size_t)m->snapshot_count * 8 + 2 * CHECK_MAX) / 2 * 3;
}

/* ------------------------------------------------------------------ images */

/* One file, what is made of it, and what opens the next. */
typedef struct layer {
    struct world *world;
    uint32_t number;
    sparse file;
    qcow2_read *image; /* of a file that is named as qcow2 */
    posio_resolver resolver;
} layer;

/* All files, opened for one handle. */
typedef struct world {
    const input *in;
    qcow2_read_desc desc;
    layer layer[MAX_FILES];
    ledger memory;
    pattern raw;
} world;

static posio_result resolve(void *self, const posio_reference *reference, posio_source *out,
                            posio_error *err)
{
    layer *from = (layer *)self;
    world *w = from->world;
    layer *to = &w->layer[from->number + 1];
    qcow2_read_desc desc = w->desc;
    posio_result r;
    REQUIRE(reference->name != NULL);
    REQUIRE(reference->kind == POSIO_REFERENCE_DATA || reference->format != NULL);
    if (from->number + 1 == w->in->files) {
        *out = pattern_source(&w->raw);
        return POSIO_OK;
    }
    *out = sparse_source(&to->file);
    if (reference->kind == POSIO_REFERENCE_DATA || strcmp(reference->format, "raw") == 0)
        return POSIO_OK;
    if (strcmp(reference->format, "qcow2") != 0)
        return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET, "not raw, not qcow2");
    desc.snapshot = NULL;
    desc.resolver = &to->resolver;
    if (to->image != NULL) return posio_fail(err, POSIO_E_POLICY, POSIO_NO_OFFSET, "named twice");
    r = qcow2_read_open_source(&to->image, out, &desc, err);
    if (r == POSIO_OK) *out = qcow2_read_source(to->image);
    return r;
}

static world *world_make(const input *in, thread_pool *pool)
{
    world *w = (world *)calloc(1, sizeof *w);
    uint32_t i;
    REQUIRE(w != NULL);
    w->in = in;
    for (i = 0; i < MAX_FILES; i++) {
        w->layer[i].world = w;
        w->layer[i].number = i;
        w->layer[i].file.in = in;
        w->layer[i].file.number = i;
        w->layer[i].resolver.open = resolve;
        w->layer[i].resolver.self = &w->layer[i];
    }
    w->desc.pool = pool;
    w->desc.cache_bytes = in->choices & SMALL_CACHE ? 1 : 1 << 20;
    w->desc.flags = (in->choices & ALONE ? (unsigned)QCOW2_READ_ALONE : 0) |
                    (in->choices & RAW_BACKING ? (unsigned)QCOW2_READ_RAW_BACKING : 0);
    w->desc.alloc = ledger_make(&w->memory);
    return w;
}

static posio_result world_open(world *w, const char *snapshot, posio_error *err)
{
    posio_source file = sparse_source(&w->layer[0].file);
    qcow2_read_desc desc = w->desc;
    posio_result r;
    desc.snapshot = snapshot;
    if (!(w->in->choices & NO_RESOLVER)) desc.resolver = &w->layer[0].resolver;
    memset(err, 0, sizeof *err);
    r = qcow2_read_open_source(&w->layer[0].image, &file, &desc, err);
    REQUIRE((r == POSIO_OK) == (w->layer[0].image != NULL));
    if (r == POSIO_OK) REQUIRE(qcow2_read_probe(&file, NULL) == POSIO_OK);
    return r;
}

static void world_close(world *w)
{
    size_t most = 0;
    uint32_t i;
    for (i = 0; i < w->in->files; i++)
        if (w->layer[i].image != NULL) most += allowance(w->layer[i].image);
    for (i = 0; i < w->in->files; i++) qcow2_read_close(w->layer[i].image);
    ledger_end(&w->memory, most);
    free(w);
}

/* ------------------------------------------------------------------ the checks */

static void check_info(qcow2_read *q)
{
    const qcow2_read_metadata *m = qcow2_read_info(q);
    qcow2_read_snapshot s;
    qcow2_read_warning w;
    posio_error err;
    char byte;
    uint32_t i;
    REQUIRE(m->cluster_size >= 512 && m->cluster_size <= 2 << 20 && m->refcount_bits <= 64);
    REQUIRE(m->subcluster_size >= 512 && m->cluster_size % m->subcluster_size == 0);
    REQUIRE(m->media_size <= INT64_MAX && m->compression != NULL && m->snapshot_count <= 65536);
    REQUIRE(m->backing_name == NULL || strlen(m->backing_name) <= 1023);
    REQUIRE(m->backing_format == NULL || strlen(m->backing_format) <= m->cluster_size);
    REQUIRE(m->data_name == NULL || strlen(m->data_name) <= m->cluster_size);
    for (i = 0; qcow2_read_get_warning(q, i, &w) == POSIO_OK; i++) REQUIRE(w.message[0] != 0);
    for (i = 0; i < m->snapshot_count; i++) {
        REQUIRE(qcow2_read_get_snapshot(q, i, &s, &err) == POSIO_OK);
        REQUIRE(strlen(s.id) < sizeof s.id && strlen(s.name) < sizeof s.name);
    }
    REQUIRE(qcow2_read_get_snapshot(q, i, &s, &err) == POSIO_E_RANGE);
    REQUIRE(qcow2_read_at(q, m->media_size, &byte, 0, &err) == POSIO_OK);
    REQUIRE(qcow2_read_at(q, m->media_size, &byte, 1, &err) == POSIO_E_RANGE);
    REQUIRE(qcow2_read_at(q, UINT64_MAX, &byte, 1, &err) == POSIO_E_RANGE);
}

static void check_reads(const posio_source *a, const posio_source *b, uint32_t cs)
{
    const uint64_t size = a->size;
    size_t n = (size_t)posio_min(size, PART), piece = n / 5 + 77;
    check_range(a, b, 0, n, cs / 2 + 513);
    check_range(a, b, size - n, n, piece);
    check_range(b, a, (size - n) / 2, n, piece);
    if (size <= WHOLE) check_range(a, b, 0, (size_t)size, (size_t)size / 3 + 1);
    check_places(a, b, cs, 8);
}

static void count_issue(void *user, const qcow2_read_issue *issue)
{
    uint64_t *count = (uint64_t *)user;
    REQUIRE(issue->message[0] != 0);
    count[issue->severity == QCOW2_READ_LEAK]++;
}

/* In one pass, and in several: the same findings. */
static void check_structure(qcow2_read *q)
{
    const uint64_t clusters =
        (qcow2_read_info(q)->file_size + qcow2_read_info(q)->cluster_size - 1) /
        qcow2_read_info(q)->cluster_size;
    const uint64_t states = posio_min(qcow2_read_info(q)->snapshot_count + (uint64_t)2, 64);
    qcow2_read_check_desc desc;
    qcow2_read_check_report a, b;
    posio_error err;
    uint64_t count[2] = {0, 0};
    if (clusters > CHECK_MAX || qcow2_read_info(q)->file_size * states > TABLES_MAX) return;
    memset(&desc, 0, sizeof desc);
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    REQUIRE(qcow2_read_check(q, NULL, &a, &err) == POSIO_OK);
    desc.issue = count_issue;
    desc.user = count;
    desc.memory = clusters * 2 / 3 + 1;
    REQUIRE(qcow2_read_check(q, &desc, &b, &err) == POSIO_OK);
    REQUIRE(memcmp(&a, &b, sizeof a) == 0);
    REQUIRE(count[0] == a.corruptions && count[1] == a.leaks && a.file_clusters == clusters);
    REQUIRE(a.compressed_clusters <= a.allocated_clusters);
}

static void check_pair(qcow2_read *a, qcow2_read *b, int with_structure)
{
    const qcow2_read_metadata *m = qcow2_read_info(a);
    const posio_source s = qcow2_read_source(a), other = qcow2_read_source(b);
    REQUIRE(s.size == m->media_size && other.size == s.size && s.unit >= m->subcluster_size);
    REQUIRE(qcow2_read_info(b)->media_size == s.size);
    check_info(a);
    check_reads(&s, &other, m->cluster_size);
    walk_extents(&s, 0, m->subcluster_size, POSIO_EXTENT_COMPRESSED);
    walk_extents(&other, s.size / 3, m->subcluster_size, POSIO_EXTENT_COMPRESSED);
    if (with_structure) check_structure(a);
}

/* The image twice: one with the pool, the other without, and with another cache. Of a snapshot, or
   of the active state; then `ids` gets what snapshots there are. */
static uint32_t check_state(const input *in, thread_pool *pool, const char *snapshot,
                            char ids[SNAPSHOTS][128])
{
    world *w = world_make(in, in->choices & POOL ? pool : NULL), *v = world_make(in, NULL);
    posio_error err, other;
    posio_result r = world_open(w, snapshot, &err);
    uint32_t i, count = 0;
    v->desc.cache_bytes = 1 << 19;
    REQUIRE(world_open(v, snapshot, &other) == r);
    if (r == POSIO_OK) {
        qcow2_read *q = w->layer[0].image;
        uint32_t all = qcow2_read_info(q)->snapshot_count;
        check_pair(q, v->layer[0].image, snapshot == NULL);
        for (i = 0; i < all && ids != NULL && count < SNAPSHOTS; i++) {
            qcow2_read_snapshot s;
            REQUIRE(qcow2_read_get_snapshot(q, i < 3 ? i : all - 1 - (i - 3), &s, &err) ==
                    POSIO_OK);
            memcpy(ids[count++], s.id[0] != 0 ? s.id : s.name, 128);
            ids[count - 1][127] = 0;
        }
    } else {
        require_error(r, &err);
        REQUIRE(same_error(&err, &other));
    }
    world_close(w);
    world_close(v);
    return count;
}

/* ------------------------------------------------------------------ entry points */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static thread_pool *pool;
    static input in;
    static char ids[SNAPSHOTS][128];
    clock_t begin = clock();
    uint32_t i, count;
    if (!split(&in, data, size)) return 0;
    if (pool == NULL) REQUIRE((pool = thread_pool_create(2)) != NULL);
    count = check_state(&in, pool, NULL, ids);
    for (i = 0; i < count; i++) (void)check_state(&in, pool, ids[i], NULL);
    say_if_slow(begin);
    return 0;
}

#ifdef FUZZ_MUTATOR
/* ------------------------------------------------------------------ the mutator */

/* Where things are in the file of a draft. */
static struct {
    uint64_t cluster, l1, l1_entries, refcounts, snapshots;
} found;

static uint64_t get_be(const draft *d, uint64_t at, unsigned n) { return draft_get(d, at, n, 1); }
static void put_be(draft *d, uint64_t at, uint64_t v, unsigned n) { draft_put(d, at, v, n, 1); }

/* An offset that is worth trying: of a structure, of any cluster, at the end, not aligned. */
static uint64_t some_offset(draft *d)
{
    const uint64_t size = d->in.size[d->file], cs = found.cluster;
    const uint64_t clusters = size / cs + 2;
    const uint64_t known[] = {0, found.l1, found.refcounts, found.snapshots, size, size & ~(cs - 1),
                              (size & ~(cs - 1)) + cs, (size & ~(cs - 1)) - cs,
                              (uint64_t)1 << 40, ((uint64_t)1 << 56) - cs, UINT64_MAX};
    uint64_t v = next_random(d, 2) ? next_random(d, (uint32_t)posio_min(clusters, 1 << 30)) * cs
                                   : known[next_random(d, 11)];
    switch (next_random(d, 12)) {
    case 0: return v + 512;
    case 1: return v - 512;
    case 2: return v + 1;
    case 3: return get_be(d, found.l1 + 8 * (uint64_t)next_random(d, 4), 8);
    default: return v;
    }
}

static uint64_t some_value(draft *d, uint64_t old)
{
    switch (next_random(d, 10)) {
    case 0: return 0;
    case 1: return 1;
    case 2: return old + 1;
    case 3: return old - 1;
    case 4: return old * 2;
    case 5: return UINT64_MAX >> next_random(d, 64);
    case 6: return (uint64_t)1 << next_random(d, 64);
    case 7: return some_offset(d);
    case 8: return next_random(d, 300);
    default: return old ^ (uint64_t)1 << next_random(d, 64);
    }
}

/* Of an L1 or L2 entry: an offset with flags, a compressed cluster, a flag more or less. */
static uint64_t some_entry(draft *d, uint64_t old)
{
    uint32_t bits = 9;
    while (((uint64_t)1 << bits) < found.cluster) bits++;
    switch (next_random(d, 8)) {
    case 0: return old ^ 1;
    case 1: return old ^ (uint64_t)1 << 63;
    case 2: return old ^ (uint64_t)1 << 62;
    case 3: return old ^ (uint64_t)1 << next_random(d, 64);
    case 4:
        return (uint64_t)1 << 62 | (uint64_t)next_random(d, 20) << (62 - (bits - 8)) |
               ((some_offset(d) + next_random(d, 600)) & (((uint64_t)1 << (62 - (bits - 8))) - 1));
    case 5: return next_random(d, 2) ? 0 : 1;
    default: return some_offset(d) | (uint64_t)next_random(d, 2) << 63 | next_random(d, 9) / 8;
    }
}

static void change_header(draft *d)
{
    static const uint8_t fields[][2] = {{4, 4}, {8, 8}, {16, 4}, {20, 4}, {24, 8}, {32, 4}, {36, 4},
                                        {40, 8}, {48, 8}, {56, 4}, {60, 4}, {64, 8}, {72, 8},
                                        {80, 8}, {88, 8}, {96, 4}, {100, 4}, {104, 1}, {24, 8},
                                        {24, 8}, {72, 8}, {36, 4}};
    uint32_t i = next_random(d, sizeof fields / sizeof fields[0]);
    uint64_t old = get_be(d, fields[i][0], fields[i][1]);
    if (fields[i][0] == 20) put_be(d, 20, 9 + next_random(d, 14), 4);
    else if (fields[i][0] >= 72 && fields[i][0] <= 88) /* features */
        put_be(d, fields[i][0], old ^ (uint64_t)1 << next_random(d, 6), 8);
    else put_be(d, fields[i][0], some_value(d, old), fields[i][1]);
}

/* An entry of the L1 table; of an L2 table that it has, or of an L2 table's second words. */
static void change_mapping(draft *d, int in_l2)
{
    uint32_t tries, wide = (get_be(d, 72, 8) & 16) != 0 ? 16 : 8;
    uint64_t at = found.l1 + 8 * (uint64_t)next_random(d, (uint32_t)posio_min(found.l1_entries, 64)), l2;
    for (tries = 0; tries < 8 && get_be(d, at, 8) == 0; tries++)
        at = found.l1 + 8 * (uint64_t)next_random(d, (uint32_t)posio_min(found.l1_entries, 64));
    if (in_l2) {
        l2 = get_be(d, at, 8) & 0x00fffffffffffe00u;
        tries = next_random(d, 4) ? 12 : (uint32_t)found.cluster / wide;
        at = l2 + (uint64_t)wide * next_random(d, tries);
        if (wide == 16 && next_random(d, 2)) {
            put_be(d, at + 8, some_value(d, get_be(d, at + 8, 8)), 8);
            return;
        }
    }
    if (next_random(d, 6) == 0) put_be(d, at, get_be(d, at + 8, 8), 8);
    else put_be(d, at, some_entry(d, get_be(d, at, 8)), 8);
}

static void change_refcounts(draft *d)
{
    uint64_t at = found.refcounts + 8 * (uint64_t)next_random(d, next_random(d, 2) ? 2 : 64);
    if (next_random(d, 2)) put_be(d, at, some_offset(d), 8);
    else put_be(d, (get_be(d, found.refcounts, 8) & ~(uint64_t)511) + next_random(d, 64),
                next_random(d, 4), 1);
}

static void change_snapshot(draft *d)
{
    static const uint8_t fields[][2] = {{0, 8}, {8, 4}, {12, 2}, {14, 2}, {32, 4}, {36, 4}, {40, 8},
                                        {48, 8}, {56, 8}, {0, 8}, {8, 4}};
    uint64_t at = found.snapshots;
    uint32_t i = next_random(d, 4);
    while (i-- != 0)
        at = (at + 40 + get_be(d, at + 12, 2) + get_be(d, at + 14, 2) + get_be(d, at + 36, 4) + 7) &
             ~(uint64_t)7;
    i = next_random(d, 11);
    put_be(d, at + fields[i][0],
           fields[i][0] == 0 ? some_offset(d) : some_value(d, get_be(d, at + fields[i][0],
                                                                     fields[i][1])),
           fields[i][1]);
}

static void change_extension(draft *d)
{
    static const uint32_t types[] = {0, 0xe2792aca, 0x6803f857, 0x44415441, 0x23852875, 0x0537be77,
                                     0x12345678};
    uint64_t at = get_be(d, 4, 4) >= 3 ? get_be(d, 100, 4) : 72;
    uint32_t i = next_random(d, 5), field;
    while (i-- != 0 && get_be(d, at, 4) != 0) at += 8 + ((get_be(d, at + 4, 4) + 7) & ~(uint64_t)7);
    field = next_random(d, 4) * 4;
    if (field == 0) put_be(d, at, types[next_random(d, 7)], 4);
    else if (field == 4) put_be(d, at + 4, some_value(d, get_be(d, at + 4, 4)), 4);
    else put_be(d, at + 8 + 8 * (uint64_t)next_random(d, 3), some_offset(d), 8);
}

static void change_sizes(draft *d)
{
    uint8_t *p = d->data + 3 + (size_t)FILE_HEAD * d->file;
    uint64_t old = get_le(p, FILE_HEAD);
    switch (next_random(d, 8)) {
    case 0: d->data[0] ^= (uint8_t)(1u << next_random(d, 6)); break;
    case 1: put_le(p, old & ~(found.cluster - 1), FILE_HEAD); break;
    case 2: put_le(p, some_offset(d), FILE_HEAD); break;
    case 3: put_le(p, old * 2, FILE_HEAD); break;
    default: put_le(p, old + next_random(d, 1200) - 600, FILE_HEAD); break;
    }
}

static void change(draft *d)
{
    uint64_t bits;
    d->file = next_random(d, 3) == 0 ? next_random(d, d->in.files) : 0;
    bits = get_be(d, 20, 4);
    found.cluster = (uint64_t)1 << (bits >= 9 && bits <= 21 ? bits : 12);
    found.l1 = get_be(d, 40, 8);
    found.l1_entries = get_be(d, 36, 4);
    found.refcounts = get_be(d, 48, 8);
    found.snapshots = get_be(d, 64, 8);
    switch (next_random(d, 16)) {
    case 0: case 1: case 2: change_header(d); break;
    case 3: case 4: change_mapping(d, 0); break;
    case 5: case 6: case 7: case 8: case 9: change_mapping(d, 1); break;
    case 10: case 11: change_refcounts(d); break;
    case 12: case 13: change_snapshot(d); break;
    case 14: change_extension(d); break;
    default: change_sizes(d); break;
    }
    (void)split(&d->in, d->data, d->size);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    static draft d;
    uint32_t n = draft_begin(&d, data, size, room, seed);
    if (n == 0) return LLVMFuzzerMutate(data, size, room);
    while (n-- != 0) change(&d);
    return d.size;
}
#endif
