/* fuzz_vmdk_read.c - libFuzzer target: images in memory with the files of their extents and their
   parents, opened, read, mapped. The same bytes whichever way they are read, extents that tell the
   truth, memory within a bound.

       clang -g -O1 -fsanitize=fuzzer,address,undefined -DFUZZ_MUTATOR -pthread fuzz_vmdk_read.c

   Without FUZZ_MUTATOR it needs nothing of libFuzzer, and replay.c can be its main.

   Input, little-endian: choices (1 = alone, 2 = a journal is left as it is, 4 = lend a pool of two
   threads, 8 = nothing opens files or parents, 16 = a small cache, 32 = files know their holes,
   64 = the image has no name), files (1 to 8), segments; for each file its size in 5 bytes; for
   each segment its offset in 5 bytes, file in 1, length in 2; the bytes of the segments. What is in
   no segment is zeros, so a file may be large and its input small. The first file is the image;
   every name that comes up for the first time gets the next one, and behind the last a pattern. */
#define VMDK_READ_IMPLEMENTATION
#define THREAD_POOL_IMPLEMENTATION
#include "../../vmdk_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);

enum {
    ALONE = 1, STALE = 2, POOL = 4, NO_HELPERS = 8, SMALL_CACHE = 16, HOLES = 32, NO_NAME = 64,
    MAX_FILES = 8, MAX_SEGMENTS = 255, FILE_HEAD = 5, SEGMENT_HEAD = 8,
    FILE_MAX = 64 << 20, /* bytes of a file, however much its input claims */
    PART = 300 << 10,    /* bytes read at one place: enough to be cut for a pool */
    WHOLE = 1 << 20,     /* media that is read completely */
    GRAIN_MAX = 2 << 20, /* larger grains are read at fewer places */
    EXTENTS = 300, PROBES = 1 << 20, /* extents that are walked; bytes of them that are read */
    PATTERN_SIZE = 100000, NAME = 64
};

static void require_at(int x, const char *what, int line)
{
    if (x) return;
    fprintf(stderr, "fuzz_vmdk_read.c:%d: %s does not hold\n", line, what);
    abort();
}
#define REQUIRE(x) require_at((x) != 0, #x, __LINE__)

/* ------------------------------------------------------------------ memory, counted */

typedef struct ledger {
    size_t now, peak, blocks;
    thread_pool_mutex lock;
} ledger;

static void *ledger_alloc(size_t size, void *user)
{
    ledger *l = (ledger *)user;
    size_t *p = (size_t *)malloc(size + 64);
    REQUIRE(p != NULL);
    p[0] = size;
    thread_pool_lock(&l->lock);
    l->now += size;
    l->blocks++;
    if (l->now > l->peak) l->peak = l->now;
    thread_pool_unlock(&l->lock);
    return (unsigned char *)p + 64;
}

static void ledger_free(void *block, void *user)
{
    ledger *l = (ledger *)user;
    size_t *p = (size_t *)(void *)((unsigned char *)block - 64);
    thread_pool_lock(&l->lock);
    l->now -= p[0];
    l->blocks--;
    thread_pool_unlock(&l->lock);
    free(p);
}

/* What vmdk_read.h says it needs for each image, three threads at most: 4.5 MiB of tables, the
   cache (1 MiB) and a grain more for each thread, the descriptor twice, 450 bytes for each extent;
   24 KiB, 1 MiB of streams and two grains for each thread; 48 bytes for each grain of a map that
   was rebuilt. Room for half as much again. */
static size_t allowance(const vmdk_read *v, uint64_t files)
{
    const vmdk_read_metadata *m = vmdk_read_info(v);
    size_t all = (6 << 20) + 3 * ((1 << 20) + (size_t)3 * m->grain_size + 32768);
    all += (size_t)(2 * m->descriptor_size + 450 * (uint64_t)m->extent_count);
    if (m->rebuilt) all += (size_t)(files / 512 * 48);
    return all / 2 * 3;
}

/* ------------------------------------------------------------------ the input */

typedef struct segment {
    const uint8_t *data;
    uint64_t at;
    uint32_t file;
    size_t size;
} segment;

typedef struct input {
    unsigned choices;
    uint32_t files, segments;
    uint64_t size[MAX_FILES];
    segment segment[MAX_SEGMENTS];
} input;

static uint64_t get_le(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    while (n-- != 0) v = v << 8 | p[n];
    return v;
}

static int split(input *in, const uint8_t *data, size_t size)
{
    const uint8_t *p = data + 3, *end = data + size;
    uint32_t i;
    if (size < 3) return 0;
    in->choices = data[0];
    in->files = 1 + data[1] % MAX_FILES;
    in->segments = data[2];
    if (size - 3 < in->files * FILE_HEAD + in->segments * SEGMENT_HEAD) return 0;
    for (i = 0; i < in->files; i++, p += FILE_HEAD)
        in->size[i] = posio_min(get_le(p, FILE_HEAD), FILE_MAX);
    for (i = 0; i < in->segments; i++, p += SEGMENT_HEAD) {
        in->segment[i].at = get_le(p, 5);
        in->segment[i].file = p[5] % in->files;
        in->segment[i].size = (size_t)get_le(p + 6, 2);
    }
    for (i = 0; i < in->segments; i++) {
        segment *s = &in->segment[i];
        s->size = (size_t)posio_min(s->size, (uint64_t)(end - p));
        s->data = p;
        p += s->size;
    }
    return 1;
}

typedef struct sparse {
    const input *in;
    uint32_t number;
} sparse;

/* Zeros, and the segments in their order. */
static posio_result sparse_read(void *self, uint64_t at, void *buf, size_t n, posio_error *err)
{
    const sparse *f = (const sparse *)self;
    uint32_t i;
    (void)err;
    REQUIRE(n != 0 && posio_within(at, n, f->in->size[f->number]));
    memset(buf, 0, n);
    for (i = 0; i < f->in->segments; i++) {
        const segment *s = &f->in->segment[i];
        uint64_t from = at > s->at ? at : s->at, to = posio_min(at + n, s->at + s->size);
        if (s->file == f->number && from < to)
            memcpy((uint8_t *)buf + (from - at), s->data + (from - s->at), (size_t)(to - from));
    }
    return POSIO_OK;
}

/* Holes where there is no segment. */
static posio_result sparse_extent(void *self, uint64_t at, posio_extent *out, posio_error *err)
{
    const sparse *f = (const sparse *)self;
    const uint64_t size = f->in->size[f->number];
    uint64_t end = size;
    uint32_t i;
    (void)err;
    REQUIRE(at < size);
    memset(out, 0, sizeof *out);
    out->kind = POSIO_EXTENT_HOLE;
    for (i = 0; i < f->in->segments && out->kind == POSIO_EXTENT_HOLE; i++) {
        const segment *s = &f->in->segment[i];
        if (s->file != f->number || s->size == 0 || s->at + s->size <= at) continue;
        if (s->at > at) {
            end = posio_min(end, s->at);
        } else {
            out->kind = POSIO_EXTENT_DATA;
            end = posio_min(size, s->at + s->size);
        }
    }
    out->length = end - at;
    return POSIO_OK;
}

static posio_source sparse_source(sparse *f)
{
    posio_source s;
    memset(&s, 0, sizeof s);
    s.size = f->in->size[f->number];
    s.read_at = sparse_read;
    if (f->in->choices & HOLES) s.extent_at = sparse_extent;
    s.self = f;
    return s;
}

/* ------------------------------------------------------------------ images */

/* All files, opened for one handle. */
typedef struct world {
    const input *in;
    vmdk_read_desc desc;
    posio_opener opener;
    posio_resolver resolver;
    sparse file[MAX_FILES];
    char name[MAX_FILES][NAME]; /* what they were called; the first is the image */
    uint32_t names, open;
    vmdk_read *image, *parent[MAX_FILES];
    int busy[MAX_FILES]; /* a parent that is being opened, or is open */
    ledger memory;
    uint8_t pattern[PATTERN_SIZE];
    posio_memory raw;
} world;

/* The file that goes by this name, or MAX_FILES. */
static uint32_t world_find(world *w, const char *name)
{
    uint32_t i;
    for (i = 0; i < w->names; i++)
        if (strncmp(w->name[i], name, NAME - 1) == 0) return i;
    if (w->names == w->in->files) return MAX_FILES;
    strncpy(w->name[w->names], name, NAME - 1);
    return w->names++;
}

static posio_result open_extent(void *self, const char *name, uint32_t rule, posio_source *out,
                                posio_error *err)
{
    world *w = (world *)self;
    uint32_t i = world_find(w, name);
    (void)err;
    REQUIRE(rule == POSIO_NAME_STORED);
    *out = i == MAX_FILES ? posio_memory_source(&w->raw) : sparse_source(&w->file[i]);
    w->open++;
    return POSIO_OK;
}

static void close_extent(void *self, posio_source *source)
{
    (void)source;
    ((world *)self)->open--;
}

static posio_result resolve(void *self, const posio_reference *reference, posio_source *out,
                            posio_error *err)
{
    world *w = (world *)self;
    uint32_t i = world_find(w, reference->name);
    vmdk_read_desc desc = w->desc;
    posio_result r;
    REQUIRE(reference->kind == POSIO_REFERENCE_PARENT && reference->name != NULL);
    if (i == MAX_FILES) {
        *out = posio_memory_source(&w->raw);
        return POSIO_OK;
    }
    if (w->busy[i]) return posio_fail(err, POSIO_E_POLICY, POSIO_NO_OFFSET, "named twice");
    w->busy[i] = 1;
    *out = sparse_source(&w->file[i]);
    desc.name = w->name[i];
    r = vmdk_read_open_source(&w->parent[i], out, &desc, err);
    if (r != POSIO_OK) return r;
    *out = vmdk_read_source(w->parent[i]);
    if (reference->identity != NULL)
        memcpy(reference->identity, vmdk_read_info(w->parent[i])->identity, POSIO_IDENTITY);
    return POSIO_OK;
}

static world *world_make(const input *in, thread_pool *pool)
{
    world *w = (world *)calloc(1, sizeof *w);
    uint32_t i;
    REQUIRE(w != NULL && thread_pool_mutex_init(&w->memory.lock));
    w->in = in;
    for (i = 0; i < MAX_FILES; i++) {
        w->file[i].in = in;
        w->file[i].number = i;
    }
    strcpy(w->name[0], "image.vmdk");
    w->names = 1;
    w->busy[0] = 1;
    for (i = 0; i < PATTERN_SIZE; i++) w->pattern[i] = (uint8_t)(1 + i % 255);
    w->raw.data = w->pattern;
    w->raw.size = PATTERN_SIZE;
    w->opener.open = open_extent;
    w->opener.close = close_extent;
    w->opener.self = w;
    w->resolver.open = resolve;
    w->resolver.self = w;
    w->desc.pool = pool;
    w->desc.cache_bytes = in->choices & SMALL_CACHE ? 1 : 1 << 20;
    w->desc.flags = (in->choices & ALONE ? (unsigned)VMDK_READ_ALONE : 0) |
                    (in->choices & STALE ? (unsigned)VMDK_READ_STALE_JOURNAL : 0);
    if (!(in->choices & NO_HELPERS)) {
        w->desc.opener = &w->opener;
        w->desc.resolver = &w->resolver;
    }
    w->desc.alloc.alloc_fn = ledger_alloc;
    w->desc.alloc.free_fn = ledger_free;
    w->desc.alloc.user = &w->memory;
    return w;
}

static posio_result world_open(world *w, posio_error *err)
{
    posio_source file = sparse_source(&w->file[0]);
    vmdk_read_desc desc = w->desc;
    posio_result r;
    if (!(w->in->choices & NO_NAME)) desc.name = w->name[0];
    memset(err, 0, sizeof *err);
    r = vmdk_read_open_source(&w->image, &file, &desc, err);
    REQUIRE((r == POSIO_OK) == (w->image != NULL));
    if (r == POSIO_OK) REQUIRE(vmdk_read_probe(&file, NULL) == POSIO_OK);
    return r;
}

static void world_close(world *w)
{
    uint64_t files = 0;
    size_t most = 0;
    uint32_t i;
    for (i = 0; i < w->in->files; i++) files += w->in->size[i];
    if (w->image != NULL) most += allowance(w->image, files);
    for (i = 0; i < MAX_FILES && most != 0; i++)
        if (w->parent[i] != NULL) most += allowance(w->parent[i], files);
    vmdk_read_close(w->image);
    for (i = 0; i < MAX_FILES; i++) vmdk_read_close(w->parent[i]);
    if (most != 0 && w->memory.peak > most)
        fprintf(stderr, "peak: %lu of %lu\n", (unsigned long)w->memory.peak, (unsigned long)most);
    REQUIRE(w->memory.blocks == 0 && (most == 0 || w->memory.peak <= most));
    REQUIRE(w->open == 0);
    thread_pool_mutex_destroy(&w->memory.lock);
    free(w);
}

/* ------------------------------------------------------------------ the checks */

static void require_error(posio_result r, const posio_error *err)
{
    REQUIRE(r < 0 && r != POSIO_E_NOMEM && err->code == r && err->message[0] != 0);
}

static int same_error(const posio_error *a, const posio_error *b)
{
    return a->code == b->code && a->offset == b->offset && strcmp(a->message, b->message) == 0;
}

static void check_warnings(vmdk_read *v)
{
    vmdk_read_warning w;
    uint32_t i;
    for (i = 0; vmdk_read_get_warning(v, i, &w) == POSIO_OK; i++)
        REQUIRE(w.message[0] != 0 && w.segment <= vmdk_read_info(v)->extent_count);
    REQUIRE(i <= 4096);
}

/* A value is what fits of it, whatever the room. */
static void check_value(vmdk_read *v, const char *key)
{
    char all[300], some[7];
    size_t n;
    if (vmdk_read_get_value(v, key, all, sizeof all) != POSIO_OK) return;
    REQUIRE(vmdk_read_get_value(v, key, some, sizeof some) == POSIO_OK);
    REQUIRE(memchr(all, 0, sizeof all) != NULL && memchr(some, 0, sizeof some) != NULL);
    n = strlen(some);
    REQUIRE(strncmp(all, some, n) == 0 && (all[n] == 0 || n > 2));
}

static void check_info(vmdk_read *v)
{
    const vmdk_read_metadata *m = vmdk_read_info(v);
    vmdk_read_extent e;
    posio_error err;
    char byte;
    uint64_t at = 0;
    uint32_t i;
    REQUIRE(m->media_size <= INT64_MAX && m->media_size % 512 == 0 && m->grain_size % 512 == 0);
    REQUIRE(m->create_type != NULL && m->encoding != NULL && m->extent_count != 0);
    REQUIRE(memchr(m->identity, 0, sizeof m->identity) != NULL);
    REQUIRE(!m->parent_mismatch || m->has_parent);
    for (i = 0; i < m->extent_count; i++) {
        REQUIRE(vmdk_read_get_extent(v, i, &e) == POSIO_OK);
        REQUIRE(e.media_offset == at && e.size % 512 == 0 && e.type_name != NULL);
        REQUIRE(e.grain_size <= m->grain_size && (!e.rebuilt || m->rebuilt));
        at += e.size;
    }
    REQUIRE(at == m->media_size);
    REQUIRE(vmdk_read_get_extent(v, i, &e) == POSIO_E_RANGE);
    REQUIRE(vmdk_read_at(v, m->media_size, &byte, 0, &err) == POSIO_OK);
    REQUIRE(vmdk_read_at(v, m->media_size, &byte, 1, &err) == POSIO_E_RANGE);
    REQUIRE(vmdk_read_at(v, UINT64_MAX, &byte, 1, &err) == POSIO_E_RANGE);
    check_value(v, "ddb.adapterType");
    check_value(v, "createType");
    check_value(v, "parentFileNameHint");
    check_warnings(v);
}

/* A range at once by one handle, in pieces by the other: the same bytes, or the same error. */
static void check_range(vmdk_read *a, vmdk_read *b, uint64_t at, size_t n, size_t piece)
{
    uint8_t *x = (uint8_t *)malloc(n != 0 ? n : 1), *y = (uint8_t *)malloc(n != 0 ? n : 1);
    posio_error err, other;
    posio_result r, s = POSIO_OK;
    size_t done;
    REQUIRE(x != NULL && y != NULL);
    memset(x, 0x11, n != 0 ? n : 1);
    memset(y, 0x22, n != 0 ? n : 1);
    r = vmdk_read_at(a, at, x, n, &err);
    for (done = 0; done < n && s == POSIO_OK; done += piece)
        s = vmdk_read_at(b, at + done, y + done, (size_t)posio_min(piece, n - done), &other);
    if (r != s)
        fprintf(stderr, "%s\n%s\n", r != POSIO_OK ? err.message : "", s != 0 ? other.message : "");
    REQUIRE(r == s);
    if (r == POSIO_OK) {
        REQUIRE(memcmp(x, y, n) == 0);
    } else {
        require_error(r, &err);
        if (!same_error(&err, &other)) fprintf(stderr, "%s\n%s\n", err.message, other.message);
        REQUIRE(same_error(&err, &other));
    }
    free(x);
    free(y);
}

static void check_reads(vmdk_read *a, vmdk_read *b)
{
    const uint64_t size = vmdk_read_info(a)->media_size;
    const uint32_t grain = vmdk_read_info(a)->grain_size;
    uint64_t x = size * 0x9e3779b97f4a7c15u + grain;
    size_t n = (size_t)posio_min(size, PART), piece = n / 5 + 77, few;
    int i;
    check_range(a, b, 0, n, (size_t)posio_min(grain, PART) / 2 + 5013);
    check_range(a, b, size - n, n, piece);
    if (grain > GRAIN_MAX) return;
    check_range(b, a, (size - n) / 2, n, piece);
    if (size <= WHOLE) check_range(a, b, 0, (size_t)size, (size_t)size / 3 + 1);
    for (i = 0; i < 8 && size != 0; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        few = (size_t)posio_min((x >> 5) % 9000, size);
        check_range(a, b, (x >> 16) % (size - few + 1), few, few / 3 + 1);
    }
}

/* What an extent says is so: for zeros, and at its last byte. Returns the bytes read. */
static size_t check_extent(const posio_source *s, uint64_t at, const posio_extent *e)
{
    static uint8_t buf[65536];
    size_t n = (size_t)posio_min(sizeof buf, e->length), i;
    posio_extent last;
    posio_error err;
    REQUIRE(e->length != 0 && e->length <= s->size - at && e->kind <= POSIO_EXTENT_COMPRESSED);
    REQUIRE(posio_extent_of(s, at + e->length - 1, &last, &err) == POSIO_OK);
    REQUIRE(last.kind == e->kind);
    if (e->kind != POSIO_EXTENT_ZERO && e->kind != POSIO_EXTENT_HOLE) return 0;
    REQUIRE(posio_read(s, at, buf, n, &err) == POSIO_OK);
    for (i = 0; i < n; i++) REQUIRE(buf[i] == 0);
    REQUIRE(posio_read(s, at + e->length - n, buf, n, &err) == POSIO_OK);
    for (i = 0; i < n; i++) REQUIRE(buf[i] == 0);
    return 2 * n;
}

/* Extents from `at` on; where there is none, nothing can be read. */
static void walk_extents(vmdk_read *v, uint64_t at)
{
    const uint64_t step = vmdk_read_info(v)->grain_size != 0 ? vmdk_read_info(v)->grain_size : 512;
    posio_source s = vmdk_read_source(v);
    posio_error err;
    size_t done = 0;
    int i;
    REQUIRE(s.size == vmdk_read_info(v)->media_size);
    for (i = 0; i < EXTENTS && at < s.size && done < PROBES; i++) {
        posio_extent e;
        char byte;
        if (posio_extent_of(&s, at, &e, &err) == POSIO_OK) {
            done += check_extent(&s, at, &e);
            at += e.length;
        } else {
            require_error(err.code, &err);
            REQUIRE(posio_read(&s, at, &byte, 1, &err) < 0);
            at += step - at % step;
        }
    }
}

static void check_pair(vmdk_read *a, vmdk_read *b)
{
    const uint64_t size = vmdk_read_info(a)->media_size;
    REQUIRE(size == vmdk_read_info(b)->media_size);
    check_info(a);
    check_reads(a, b);
    walk_extents(a, 0);
    walk_extents(b, size / 3);
    check_warnings(a);
}

/* ------------------------------------------------------------------ entry points */

/* The image twice: one with the pool, the other without, and with another cache. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static thread_pool *pool;
    static input in;
    clock_t begin = clock();
    posio_error err, other;
    posio_result r;
    world *w, *v;
    if (!split(&in, data, size)) return 0;
    if (pool == NULL) REQUIRE((pool = thread_pool_create(2)) != NULL);
    w = world_make(&in, in.choices & POOL ? pool : NULL);
    v = world_make(&in, NULL);
    r = world_open(w, &err);
    v->desc.cache_bytes = 1 << 19;
    REQUIRE(world_open(v, &other) == r);
    if (r == POSIO_OK) {
        check_pair(w->image, v->image);
    } else {
        require_error(r, &err);
        REQUIRE(same_error(&err, &other));
    }
    world_close(w);
    world_close(v);
    if (getenv("FUZZ_SLOW") != NULL && clock() - begin > atol(getenv("FUZZ_SLOW")) * 1000)
        fprintf(stderr, "slow: %.2f s\n", (double)(clock() - begin) / CLOCKS_PER_SEC);
    return 0;
}

#ifdef FUZZ_MUTATOR
/* ------------------------------------------------------------------ the mutator */

/* An input that is changed in place. */
typedef struct draft {
    uint8_t *data;
    size_t size, room;
    uint32_t file; /* whose fields are changed */
    uint64_t random;
    uint64_t grain, gd, rgd; /* sectors, of a sparse header */
    input in;
} draft;

static uint32_t next_random(draft *d, uint32_t below)
{
    d->random = d->random * 6364136223846793005u + 1442695040888963407u;
    return below == 0 ? 0 : (uint32_t)(d->random >> 33) % below;
}

static uint64_t get_at(const draft *d, uint64_t at, unsigned n)
{
    uint8_t raw[8];
    sparse f;
    f.in = &d->in;
    f.number = d->file;
    if (!posio_within(at, n, d->in.size[d->file])) return 0;
    (void)sparse_read(&f, at, raw, n, NULL);
    return get_le(raw, n);
}

static void put_le(uint8_t *p, uint64_t v, unsigned n)
{
    unsigned i;
    for (i = 0; i < n; i++) p[i] = (uint8_t)(v >> 8 * i);
}

/* Makes room for n bytes at `at` of the file: one more segment, the last, which wins. */
static uint8_t *add_segment(draft *d, uint64_t at, size_t n)
{
    uint32_t count = d->data[2];
    size_t head = 3 + (size_t)d->in.files * FILE_HEAD + count * (size_t)SEGMENT_HEAD;
    uint8_t *p = d->data + head;
    if (count == MAX_SEGMENTS || d->room - d->size < n + SEGMENT_HEAD || at > FILE_MAX) return NULL;
    memmove(p + SEGMENT_HEAD, p, d->size - head);
    put_le(p, at, 5);
    p[5] = (uint8_t)d->file;
    put_le(p + 6, n, 2);
    d->data[2]++;
    memset(d->data + d->size + SEGMENT_HEAD, 0, n);
    d->size += SEGMENT_HEAD + n;
    (void)split(&d->in, d->data, d->size);
    return d->data + d->size - n;
}

static void put_at(draft *d, uint64_t at, uint64_t v, unsigned n)
{
    uint32_t i = d->in.segments;
    uint8_t *p = NULL;
    while (i-- != 0 && p == NULL) {
        const segment *s = &d->in.segment[i];
        if (s->file == d->file && at >= s->at && posio_within(at - s->at, n, s->size))
            p = d->data + (s->data - d->data) + (at - s->at);
    }
    if (p == NULL) p = add_segment(d, at, n);
    if (p != NULL) put_le(p, v, n);
}

/* A sector that is worth trying: of a structure, of any place, at the end. */
static uint64_t some_sector(draft *d)
{
    const uint64_t end = d->in.size[d->file] / 512;
    const uint64_t known[] = {0, 1, d->gd, d->rgd, end, end - 1, end + 1, UINT64_MAX,
                              UINT32_MAX, (uint64_t)1 << 31, (uint64_t)1 << 55};
    return next_random(d, 2) ? next_random(d, (uint32_t)end + 2) : known[next_random(d, 11)];
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
    case 7: return some_sector(d);
    case 8: return next_random(d, 300);
    default: return old ^ (uint64_t)1 << next_random(d, 64);
    }
}

/* A field of a sparse header, of a COWD header, or of an seSparse one. */
static void change_header(draft *d, uint64_t base)
{
    static const uint8_t hosted[][2] = {{4, 4}, {8, 4}, {12, 8}, {20, 8}, {28, 8}, {36, 8}, {44, 4},
                                        {48, 8}, {56, 8}, {64, 8}, {72, 4}, {77, 2}, {8, 4}};
    static const uint8_t cowd[][2] = {{4, 4}, {8, 4}, {12, 4}, {16, 4}, {20, 4}, {24, 4}};
    uint64_t magic = get_at(d, base, 4), at;
    unsigned n;
    uint32_t i;
    if (magic == 0x44574f43) {
        i = next_random(d, 6);
        at = cowd[i][0];
        n = cowd[i][1];
    } else if (magic == 0xcafebabe) {
        i = next_random(d, 30);
        at = i < 26 ? 8 * (uint64_t)i : 512 + 8 * (uint64_t)(i - 26);
        n = 8;
    } else {
        i = next_random(d, 13);
        at = hosted[i][0];
        n = hosted[i][1];
    }
    if (at == 8 && magic == 0x564d444b)
        put_at(d, base + 8, get_at(d, base + 8, 4) ^ (uint64_t)1 << (next_random(d, 8) < 4
                   ? next_random(d, 3) : 16 + next_random(d, 2)), 4);
    else put_at(d, base + at, some_value(d, get_at(d, base + at, n)), n);
}

/* An entry of a directory, or of a table that it has. */
static void change_mapping(draft *d)
{
    const int wide = get_at(d, 0, 4) == 0xcafebabe;
    const unsigned n = wide ? 8 : 4;
    uint64_t at = (next_random(d, 4) ? d->gd : d->rgd) * 512 + n * (uint64_t)next_random(d, 4);
    uint64_t table = get_at(d, at, n) & UINT32_MAX;
    if (wide) table = get_at(d, 144, 8) + table * 64;
    if (next_random(d, 4)) at = table * 512 + n * (uint64_t)next_random(d, 70);
    if (next_random(d, 6) == 0) put_at(d, at, get_at(d, at + n, n), n);
    else if (wide)
        put_at(d, at, (uint64_t)next_random(d, 5) << 60 | (uint64_t)next_random(d, 200) << 48, n);
    else put_at(d, at, some_sector(d), n);
}

/* A marker, of one sector or another. */
static void change_marker(draft *d)
{
    uint64_t at = next_random(d, (uint32_t)(d->in.size[d->file] / 512) + 1) * (uint64_t)512;
    switch (next_random(d, 4)) {
    case 0: put_at(d, at, some_value(d, get_at(d, at, 8)), 8); break;
    case 1: put_at(d, at + 8, some_value(d, get_at(d, at + 8, 4)), 4); break;
    case 2: put_at(d, at + 8, (uint64_t)next_random(d, 5) << 32, 8); break;
    default: put_at(d, at, (uint64_t)next_random(d, 100) * d->grain, 8); break;
    }
}

/* A word that a descriptor may have, put over what is there. */
static void change_text(draft *d)
{
    static const char *const words[] = {
        "RW 5 FLAT \"a\" 0\n", "RW 9 ZERO\n", "RDONLY", "NOACCESS", "SPARSE", "VMFS", "VMFSSPARSE",
        "SESPARSE", "VSANSPARSE", "\nCID=fffffffe\n", "\nparentCID=12345671\n", "\r\n", "\"", "=",
        "\nparentFileNameHint=\"b\"\n", "\nencoding=\"windows-1252\"\n", "\nversion=3\n", "\n#",
        "\nddb.longContentID=\"0123456789abcdef0123456712345672\"\n", "18446744073709551615", "\t"};
    const char *word = words[next_random(d, sizeof words / sizeof words[0])];
    uint64_t at = get_at(d, 0, 4) == 0x564d444b ? get_at(d, 28, 8) * 512 : 0;
    at += next_random(d, 500);
    for (; *word != 0; word++) put_at(d, at++, (uint8_t)*word, 1);
}

static void change_sizes(draft *d)
{
    uint8_t *p = d->data + 3 + (size_t)FILE_HEAD * d->file;
    uint64_t old = get_le(p, FILE_HEAD);
    switch (next_random(d, 8)) {
    case 0: d->data[0] ^= (uint8_t)(1u << next_random(d, 7)); break;
    case 1: put_le(p, old & ~(uint64_t)511, FILE_HEAD); break;
    case 2: put_le(p, some_sector(d) * 512, FILE_HEAD); break;
    case 3: put_le(p, old * 2, FILE_HEAD); break;
    default: put_le(p, old + next_random(d, 1200) - 600, FILE_HEAD); break;
    }
}

static void change(draft *d)
{
    const int is_se = get_at(d, 0, 4) == 0xcafebabe;
    d->file = next_random(d, 2) == 0 ? next_random(d, d->in.files) : 0;
    d->grain = get_at(d, 20, 8);
    d->gd = is_se ? get_at(d, 128, 8) : get_at(d, 0, 4) == 0x44574f43 ? 4 : get_at(d, 56, 8);
    d->rgd = get_at(d, 48, 8);
    if (d->gd == UINT64_MAX && d->in.size[d->file] > 1024)
        d->gd = get_at(d, d->in.size[d->file] - 1024 + 56, 8);
    switch (next_random(d, 16)) {
    case 0: case 1: case 2: change_header(d, 0); break;
    case 3: change_header(d, d->in.size[d->file] - posio_min(1024, d->in.size[d->file])); break;
    case 4: case 5: case 6: case 7: change_mapping(d); break;
    case 8: case 9: change_marker(d); break;
    case 10: case 11: case 12: change_text(d); break;
    default: change_sizes(d); break;
    }
    (void)split(&d->in, d->data, d->size);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    static draft d;
    uint32_t n;
    if (seed % 4 == 0 || !split(&d.in, data, size)) return LLVMFuzzerMutate(data, size, room);
    d.data = data;
    d.size = size;
    d.room = room;
    d.file = 0;
    d.random = seed * 0x9e3779b97f4a7c15u + 1;
    for (n = 1; n < 6 && next_random(&d, 2); n++) {}
    while (n-- != 0) change(&d);
    return d.size;
}
#endif
