/* fuzz_vmdk_read.c - libFuzzer target: images in memory with the files of their extents and their
   parents, opened, read, mapped. The same bytes whichever way they are read, extents that tell the
   truth, memory within a bound.

       clang -g -O1 -fsanitize=fuzzer,address,undefined -DFUZZ_MUTATOR -pthread fuzz_vmdk_read.c

   Without FUZZ_MUTATOR it needs nothing of libFuzzer, and replay.c can be its main.

   Input as in fuzz_image.h; choices: 1 = alone, 2 = a journal is left as it is, 4 = lend a pool of
   two threads, 8 = nothing opens files or parents, 16 = a small cache, 64 = the image has no name.
   The first file is the image; every name that comes up for the first time gets the next one, and
   behind the last a pattern. */
#define VMDK_READ_IMPLEMENTATION
#define THREAD_POOL_IMPLEMENTATION
#include "../../vmdk_read.h"
#define COUNT_BYTES 1
#define MAX_SEGMENTS 255
#define MAX_PATCHES 0
#define FILE_MAX (64 << 20)
#include "fuzz_image.h"

enum {
    ALONE = 1, STALE = 2, POOL = 4, NO_HELPERS = 8, SMALL_CACHE = 16, NO_NAME = 64,
    PART = 300 << 10,    /* bytes read at one place: enough to be cut for a pool */
    WHOLE = 1 << 20,     /* media that is read completely */
    GRAIN_MAX = 2 << 20, /* larger grains are read at fewer places */
    NAME = 64
};

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
    pattern raw;
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
    *out = i == MAX_FILES ? pattern_source(&w->raw) : sparse_source(&w->file[i]);
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
        *out = pattern_source(&w->raw);
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
    REQUIRE(w != NULL);
    w->in = in;
    for (i = 0; i < MAX_FILES; i++) {
        w->file[i].in = in;
        w->file[i].number = i;
    }
    strcpy(w->name[0], "image.vmdk");
    w->names = 1;
    w->busy[0] = 1;
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
    w->desc.alloc = ledger_make(&w->memory);
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
    ledger_end(&w->memory, most);
    REQUIRE(w->open == 0);
    free(w);
}

/* ------------------------------------------------------------------ the checks */

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

static void check_reads(const posio_source *a, const posio_source *b, uint32_t grain)
{
    const uint64_t size = a->size;
    size_t n = (size_t)posio_min(size, PART), piece = n / 5 + 77;
    check_range(a, b, 0, n, (size_t)posio_min(grain, PART) / 2 + 5013);
    check_range(a, b, size - n, n, piece);
    if (grain > GRAIN_MAX) return;
    check_range(b, a, (size - n) / 2, n, piece);
    if (size <= WHOLE) check_range(a, b, 0, (size_t)size, (size_t)size / 3 + 1);
    check_places(a, b, grain, 8);
}

static void check_pair(vmdk_read *a, vmdk_read *b)
{
    const uint32_t grain = vmdk_read_info(a)->grain_size, unit = grain != 0 ? grain : 512;
    const posio_source s = vmdk_read_source(a), other = vmdk_read_source(b);
    REQUIRE(s.size == vmdk_read_info(a)->media_size && other.size == s.size);
    REQUIRE(vmdk_read_info(b)->media_size == s.size);
    check_info(a);
    check_reads(&s, &other, grain);
    walk_extents(&s, 0, unit, POSIO_EXTENT_COMPRESSED);
    walk_extents(&other, s.size / 3, unit, POSIO_EXTENT_COMPRESSED);
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
    say_if_slow(begin);
    return 0;
}

#ifdef FUZZ_MUTATOR
/* ------------------------------------------------------------------ the mutator */

/* Of a sparse header in the file of a draft: sectors. */
static struct {
    uint64_t grain, gd, rgd;
} found;

static uint64_t get_at(const draft *d, uint64_t at, unsigned n) { return draft_get(d, at, n, 0); }
static void put_at(draft *d, uint64_t at, uint64_t v, unsigned n) { draft_put(d, at, v, n, 0); }

/* A sector that is worth trying: of a structure, of any place, at the end. */
static uint64_t some_sector(draft *d)
{
    const uint64_t end = d->in.size[d->file] / 512;
    const uint64_t known[] = {0, 1, found.gd, found.rgd, end, end - 1, end + 1, UINT64_MAX,
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
    uint64_t at = (next_random(d, 4) ? found.gd : found.rgd) * 512 + n * (uint64_t)next_random(d, 4);
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
    default: put_at(d, at, (uint64_t)next_random(d, 100) * found.grain, 8); break;
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
    found.grain = get_at(d, 20, 8);
    found.gd = is_se ? get_at(d, 128, 8) : get_at(d, 0, 4) == 0x44574f43 ? 4 : get_at(d, 56, 8);
    found.rgd = get_at(d, 48, 8);
    if (found.gd == UINT64_MAX && d->in.size[d->file] > 1024)
        found.gd = get_at(d, d->in.size[d->file] - 1024 + 56, 8);
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
    uint32_t n = draft_begin(&d, data, size, room, seed);
    if (n == 0) return LLVMFuzzerMutate(data, size, room);
    while (n-- != 0) change(&d);
    return d.size;
}
#endif
