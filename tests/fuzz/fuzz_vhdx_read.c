/* fuzz_vhdx_read.c - libFuzzer target: VHDX and VHD images in memory with their parents, opened,
   read and mapped. The same bytes whichever way they are read, extents that tell the truth, memory
   within a bound, files that are only read.

       clang -g -O1 -fsanitize=fuzzer,address,undefined -DFUZZ_MUTATOR -pthread fuzz_vhdx_read.c

   Without FUZZ_MUTATOR it needs nothing of libFuzzer, and replay.c can be its main.

   Input as in fuzz_image.h: structures that lie MiBs apart take a small input. Choices: 1 = alone,
   2 = any parent, 4 = no log, 8 = lend a pool of two threads, 16 = no resolver, 64 = the checksums
   are made right, 128 = VHD by its current size. Each file is what the one before it names as its
   parent; behind the last one is a raw file of a pattern.

   Checksums made right: of both headers, both region tables, of what looks like an entry of the
   log; of footers and the dynamic header of a VHD. So a changed byte is not just a bad checksum. */
#define VHDX_READ_IMPLEMENTATION
#define THREAD_POOL_IMPLEMENTATION
#include "../../vhdx_read.h"
#define COUNT_BYTES 2
#define MAX_SEGMENTS 1000
#define MAX_PATCHES 64
#define FILE_MAX (((uint64_t)1 << 40) - 1)
#include "fuzz_image.h"

enum {
    ALONE = 1, ANY_PARENT = 2, NO_LOG = 4, POOL = 8, NO_RESOLVER = 16, REPAIR = 64,
    CURRENT_SIZE = 128,
    MAX_IMAGES = 40,       /* that one handle may open on its way */
    PART = 1200 << 10,     /* bytes read at one place: enough to be cut for a pool */
    WHOLE = 2 << 20        /* media that is read completely */
};

/* What vhdx_read.h says it needs for each image: 18 MiB of tables and 1 byte for 8 KiB of them, 3
   MiB of text, 20 MiB of a log; 70 MiB while one is opened. */
static size_t allowance(size_t images) { return images * ((size_t)42 << 20) + ((size_t)72 << 20); }

/* ------------------------------------------------------------------ checksums */

static uint8_t patch[MAX_PATCHES][4];

static void add_patch(input *in, uint32_t file, uint64_t at, uint32_t value, int big)
{
    segment *s = &in->segment[in->segments + in->patches];
    uint8_t *p;
    int i;
    if (in->patches == MAX_PATCHES) return;
    p = patch[in->patches++];
    for (i = 0; i < 4; i++) p[i] = (uint8_t)(value >> 8 * (big ? 3 - i : i));
    s->data = p;
    s->at = at;
    s->file = file;
    s->size = 4;
}

/* CRC-32C of n bytes, whose field at 4 counts as zeros. */
static void repair_crc(input *in, uint32_t file, uint64_t at, size_t n, const char *signature)
{
    static uint8_t buf[65536];
    if (!posio_within(at, n, in->size[file])) return;
    get_bytes(in, file, at, buf, n);
    if (memcmp(buf, signature, 4) != 0) return;
    memset(buf + 4, 0, 4);
    add_patch(in, file, at + 4, digest_crc32c(0, buf, n), 0);
}

/* What looks like entries in the log that a header names; rings of 4 MiB, entries of 1 MiB at most,
   and not too many bytes in all. */
static void repair_log(input *in, uint32_t file, uint64_t header)
{
    static uint8_t entry[1 << 20];
    uint8_t raw[80];
    uint64_t at, length, offset, budget = 4 << 20;
    uint32_t n;
    if (!posio_within(header, sizeof raw, in->size[file])) return;
    get_bytes(in, file, header, raw, sizeof raw);
    length = posio_min(get_le(raw + 68, 4), 4 << 20) & ~(uint64_t)4095;
    offset = get_le(raw + 72, 8);
    if (length == 0 || !posio_within(offset, length, in->size[file])) return;
    for (n = 0; n < in->segments; n++) { /* only where something is */
        const segment *s = &in->segment[n];
        size_t part, size;
        if (s->file != file || s->at < offset || s->at - offset >= length) continue;
        if ((s->at - offset) % 4096 != 0 || s->size < 64) continue;
        at = s->at - offset;
        get_bytes(in, file, s->at, raw, 64);
        size = (size_t)get_le(raw + 8, 4);
        if (memcmp(raw, "loge", 4) != 0 || size < 4096 || size > length || size > sizeof entry ||
            size > budget)
            continue;
        budget -= size;
        part = (size_t)posio_min(size, length - at);
        get_bytes(in, file, offset + at, entry, part);
        if (part < size) get_bytes(in, file, offset, entry + part, size - part);
        memset(entry + 4, 0, 4);
        add_patch(in, file, offset + at + 4, digest_crc32c(0, entry, size), 0);
    }
}

/* The complement of the sum of all bytes but those of the field. */
static void repair_sum(input *in, uint32_t file, uint64_t at, size_t n, size_t field,
                       const char *cookie)
{
    uint8_t buf[1024];
    uint32_t sum = 0;
    size_t i;
    if (!posio_within(at, n, in->size[file])) return;
    get_bytes(in, file, at, buf, n);
    if (memcmp(buf, cookie, 8) != 0) return;
    for (i = 0; i < n; i++)
        if (i < field || i >= field + 4) sum += buf[i];
    add_patch(in, file, at + field, ~sum, 1);
}

static void repair(input *in)
{
    uint32_t f;
    for (f = 0; f < in->files; f++) {
        const uint64_t size = in->size[f], footer = size >= 512 ? size - 512 : 0;
        repair_log(in, f, 65536);
        repair_log(in, f, 131072);
        repair_crc(in, f, 65536, 4096, "head");
        repair_crc(in, f, 131072, 4096, "head");
        repair_crc(in, f, 196608, 65536, "regi");
        repair_crc(in, f, 262144, 65536, "regi");
        repair_sum(in, f, get_number(in, f, footer + 16, 8, 1), 1024, 36, "cxsparse");
        repair_sum(in, f, 0, 512, 64, "conectix");
        if (footer != 0) repair_sum(in, f, footer, 512, 64, "conectix");
        if (size >= 511) repair_sum(in, f, size - 511, 511, 64, "conectix");
    }
}

/* ------------------------------------------------------------------ images */

/* One file, and what opens the next. */
typedef struct layer {
    struct world *world;
    uint32_t number;
    sparse file;
    posio_resolver resolver;
} layer;

/* All files, opened for one handle. */
typedef struct world {
    const input *in;
    vhdx_read_desc desc;
    layer layer[MAX_FILES];
    vhdx_read *image, *below[MAX_IMAGES];
    uint32_t below_count, images;
    ledger memory;
    pattern raw;
} world;

static posio_result resolve(void *self, const posio_reference *reference, posio_source *out,
                            posio_error *err)
{
    layer *from = (layer *)self;
    world *w = from->world;
    layer *to = &w->layer[from->number + 1];
    vhdx_read_desc desc = w->desc;
    vhdx_read *image = NULL;
    posio_result r;
    REQUIRE(reference->name != NULL && reference->kind == POSIO_REFERENCE_PARENT);
    REQUIRE(reference->format == NULL && reference->identity != NULL);
    if (from->number + 1 == w->in->files) {
        reference->identity[0] = 0;
        *out = pattern_source(&w->raw);
        return POSIO_OK;
    }
    if (w->images++ == MAX_IMAGES)
        return posio_fail(err, POSIO_E_POLICY, POSIO_NO_OFFSET, "named too often");
    *out = sparse_source(&to->file);
    desc.resolver = &to->resolver;
    r = vhdx_read_open_source(&image, out, &desc, err);
    if (r != POSIO_OK) return r;
    w->below[w->below_count++] = image;
    posio_format(reference->identity, POSIO_IDENTITY, "%s", vhdx_read_info(image)->identity);
    *out = vhdx_read_source(image);
    return POSIO_OK;
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
    w->desc.flags = (in->choices & ALONE ? (unsigned)VHDX_READ_ALONE : 0) |
                    (in->choices & ANY_PARENT ? (unsigned)VHDX_READ_ANY_PARENT : 0) |
                    (in->choices & NO_LOG ? (unsigned)VHDX_READ_NO_LOG : 0) |
                    (in->choices & CURRENT_SIZE ? (unsigned)VHDX_READ_CURRENT_SIZE : 0);
    w->desc.alloc = ledger_make(&w->memory);
    return w;
}

static posio_result world_open(world *w, posio_error *err)
{
    posio_source file = sparse_source(&w->layer[0].file);
    vhdx_read_desc desc = w->desc;
    posio_result r;
    if (!(w->in->choices & NO_RESOLVER)) desc.resolver = &w->layer[0].resolver;
    memset(err, 0, sizeof *err);
    r = vhdx_read_open_source(&w->image, &file, &desc, err);
    REQUIRE((r == POSIO_OK) == (w->image != NULL));
    if (r == POSIO_OK) REQUIRE(vhdx_read_probe(&file, NULL) == POSIO_OK);
    if (vhdx_read_probe_footer(&file, NULL) == POSIO_OK)
        REQUIRE(vhdx_read_probe(&file, NULL) == POSIO_OK);
    return r;
}

static void world_close(world *w)
{
    size_t most = allowance(1 + w->below_count);
    vhdx_read_close(w->image);
    while (w->below_count != 0) vhdx_read_close(w->below[--w->below_count]);
    ledger_end(&w->memory, most);
    free(w);
}

/* ------------------------------------------------------------------ the checks */

static void check_info(vhdx_read *q)
{
    const vhdx_read_metadata *m = vhdx_read_info(q);
    vhdx_read_warning w;
    posio_error err;
    const char *key, *name;
    char byte;
    uint32_t i;
    REQUIRE(m->media_size <= INT64_MAX && m->layout != NULL && m->identity != NULL);
    REQUIRE(m->logical_sector_size == 512 || (m->logical_sector_size == 4096 && !m->is_vhd));
    REQUIRE(m->is_vhd || (m->block_size >= 1 << 20 && m->block_size <= 256 << 20));
    REQUIRE(m->is_vhd || m->media_size <= (uint64_t)64 << 40);
    REQUIRE(m->is_vhd || ((m->header == 1 || m->header == 2) && m->region_table - 1 < 2));
    REQUIRE((m->block_size & (m->block_size - 1)) == 0);
    for (i = 0; vhdx_read_get_warning(q, i, &w) == POSIO_OK; i++) REQUIRE(w.message[0] != 0);
    for (i = 0; i < m->parent_name_count; i++) {
        REQUIRE(vhdx_read_get_parent_name(q, i, &key, &name) == POSIO_OK);
        REQUIRE(strlen(key) + strlen(name) <= 4 << 20);
    }
    REQUIRE(vhdx_read_get_parent_name(q, i, &key, &name) == POSIO_E_RANGE);
    REQUIRE(vhdx_read_at(q, m->media_size, &byte, 0, &err) == POSIO_OK);
    REQUIRE(vhdx_read_at(q, m->media_size, &byte, 1, &err) == POSIO_E_RANGE);
    REQUIRE(vhdx_read_at(q, UINT64_MAX, &byte, 1, &err) == POSIO_E_RANGE);
}

static void check_reads(const posio_source *a, const posio_source *b, uint64_t block_size)
{
    const uint64_t size = a->size;
    size_t n = (size_t)posio_min(size, PART), piece = n / 5 + 77;
    check_range(a, b, 0, n, n / 3 + 513);
    check_range(a, b, size - n, n, piece);
    if (size > WHOLE) check_range(b, a, (size - n) / 2, n, piece);
    else check_range(a, b, 0, (size_t)size, (size_t)size / 3 + 1);
    check_places(a, b, block_size, 12);
}

static void check_pair(vhdx_read *a, vhdx_read *b)
{
    const posio_source s = vhdx_read_source(a), other = vhdx_read_source(b);
    REQUIRE(s.size == vhdx_read_info(a)->media_size && other.size == s.size);
    REQUIRE(vhdx_read_info(b)->media_size == s.size);
    check_info(a);
    check_reads(&s, &other, vhdx_read_info(a)->block_size);
    walk_extents(&s, 0, 512, POSIO_EXTENT_HOLE);
    walk_extents(&other, s.size / 3, 512, POSIO_EXTENT_HOLE);
}

/* ------------------------------------------------------------------ entry points */

/* The image twice: one with the pool, the other without. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static thread_pool *pool;
    static input in;
    clock_t begin = clock();
    posio_error err, other;
    posio_result r;
    world *w, *v;
    if (!split(&in, data, size)) return 0;
    if (in.choices & REPAIR) repair(&in);
    if (pool == NULL) REQUIRE((pool = thread_pool_create(2)) != NULL);
    w = world_make(&in, in.choices & POOL ? pool : NULL);
    v = world_make(&in, NULL);
    r = world_open(w, &err);
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

static uint64_t some_value(draft *d, uint64_t old)
{
    const uint64_t size = d->in.size[d->file];
    switch (next_random(d, 12)) {
    case 0: return 0;
    case 1: return old + 1;
    case 2: return old - 1;
    case 3: return old * 2;
    case 4: return UINT64_MAX >> next_random(d, 64);
    case 5: return (uint64_t)1 << next_random(d, 64);
    case 6: return size;
    case 7: return (uint64_t)next_random(d, (uint32_t)(posio_min(size >> 20, 1 << 20) + 3)) << 20;
    case 8: return (uint64_t)next_random(d, 300) * 4096;
    case 9: return next_random(d, 300);
    case 10: return old + ((uint64_t)1 << 20);
    default: return old ^ (uint64_t)1 << next_random(d, 64);
    }
}

static void change_field(draft *d, uint64_t at, unsigned n, int big)
{
    draft_put(d, at, some_value(d, draft_get(d, at, n, big)), n, big);
}

/* The offset of a region by the first byte of its GUID: 0x66 BAT, 0x06 metadata. */
static uint64_t region(const draft *d, uint64_t first)
{
    uint32_t i;
    for (i = 0; i < 4; i++)
        if (draft_get(d, 196608 + 16 + 32 * i, 1, 0) == first)
            return draft_get(d, 196608 + 16 + 32 * i + 16, 8, 0);
    return 3 << 20;
}

/* Of an entry in the BAT: another state, another offset. */
static void change_bat(draft *d)
{
    uint64_t at = region(d, 0x66) + 8 * (uint64_t)next_random(d, next_random(d, 3) ? 9 : 5000);
    uint64_t old = draft_get(d, at, 8, 0), to = next_random(d, 20);
    switch (next_random(d, 4)) {
    case 0: draft_put(d, at, (old & ~(uint64_t)7) | next_random(d, 8), 8, 0); break;
    case 1: draft_put(d, at, to << 20 | (old & 7), 8, 0); break;
    case 2: draft_put(d, at, draft_get(d, at + 8, 8, 0), 8, 0); break;
    default: change_field(d, at, 8, 0); break;
    }
}

/* Of an entry of the log: its head, a descriptor, the marks of a data sector. */
static void change_log(draft *d)
{
    static const uint8_t fields[][2] = {{8, 4},  {12, 4}, {16, 8}, {24, 4},
                                        {32, 8}, {48, 8}, {56, 8}};
    uint64_t at = draft_get(d, 131072 + 72, 8, 0), sector;
    uint32_t i, tries;
    for (tries = 0; tries < 30; tries++) {
        sector = at + 4096 * (uint64_t)next_random(d, tries < 15 ? 12 : 256);
        if (draft_get(d, sector, 4, 0) == 0x65676f6c) break; /* "loge" */
    }
    switch (next_random(d, 5)) {
    case 0: case 1:
        i = next_random(d, 7);
        change_field(d, sector + fields[i][0], fields[i][1], 0);
        break;
    case 2: case 3: /* a descriptor */
        i = next_random(d, 3);
        sector += 64 + 32 * (uint64_t)i;
        if (next_random(d, 8) == 0) draft_put(d, sector, 0x6f72657a, 4, 0); /* "zero" */
        else change_field(d, sector + 8 * (uint64_t)(1 + next_random(d, 3)), 8, 0);
        break;
    default: change_field(d, sector + 4096 + (next_random(d, 2) ? 4 : 4092), 4, 0); break;
    }
}

static void change_header(draft *d)
{
    static const uint8_t fields[][2] = {{8, 8},  {32, 8}, {48, 8}, {64, 2},
                                        {66, 2}, {68, 4}, {72, 8}};
    uint32_t i = next_random(d, 7);
    uint64_t at = next_random(d, 3) ? 131072 : 65536;
    if (fields[i][0] == 48 && next_random(d, 2)) /* the GUID of the first entry in the log */
        draft_put(d, at + 48, draft_get(d, draft_get(d, at + 72, 8, 0) + 32, 8, 0), 8, 0);
    else change_field(d, at + fields[i][0], fields[i][1], 0);
}

static void change_region(draft *d)
{
    uint64_t table = next_random(d, 3) ? 196608 : 262144;
    uint64_t entry = table + 16 + 32 * (uint64_t)next_random(d, 3);
    switch (next_random(d, 5)) {
    case 0: change_field(d, table + 8, 4, 0); break;
    case 1: change_field(d, entry, 4, 0); break;
    case 2: change_field(d, entry + 24, 4, 0); break;
    case 3: change_field(d, entry + 28, 4, 0); break;
    default: change_field(d, entry + 16, 8, 0); break;
    }
}

/* The table of the metadata, an item, the parent locator. */
static void change_metadata(draft *d)
{
    const uint64_t at = region(d, 0x06);
    uint64_t entry = at + 32 + 32 * (uint64_t)next_random(d, 6), item;
    switch (next_random(d, 8)) {
    case 0: change_field(d, at + 10, 2, 0); break;
    case 1: change_field(d, entry + 16, 4, 0); break;
    case 2: change_field(d, entry + 20, 4, 0); break;
    case 3: change_field(d, entry + 24, 4, 0); break;
    case 4: case 5:
        item = at + draft_get(d, entry + 16, 4, 0);
        change_field(d, item, next_random(d, 2) ? 4 : 8, 0);
        break;
    default: /* number of keys, places and lengths of the first ones */
        item = at + draft_get(d, at + 32 + 5 * 32 + 16, 4, 0);
        if (next_random(d, 4) == 0) change_field(d, item + 18, 2, 0);
        else if (next_random(d, 2)) change_field(d, item + 20 + 4 * (uint64_t)next_random(d, 6), 4, 0);
        else change_field(d, item + 28 + 2 * (uint64_t)next_random(d, 20), 2, 0);
        break;
    }
}

/* Footer, its copy, the dynamic header, BAT and bitmaps of a VHD. */
static void change_vhd(draft *d)
{
    static const uint8_t footer[][2] = {{8, 4},  {12, 4}, {16, 8}, {28, 4}, {40, 8},
                                        {48, 8}, {56, 4}, {60, 4}, {84, 1}, {68, 4}};
    const uint64_t size = d->in.size[d->file], end = size >= 512 ? size - 512 : 0;
    uint64_t header = draft_get(d, 16, 8, 1), bat = draft_get(d, header + 16, 8, 1), at;
    uint32_t i = next_random(d, 10);
    switch (next_random(d, 6)) {
    case 0: case 1:
        at = next_random(d, 2) ? end : 0;
        change_field(d, at + footer[i][0], footer[i][1], 1);
        if (next_random(d, 2)) /* the copy, too */
            draft_put(d, end - at + footer[i][0], draft_get(d, at + footer[i][0], footer[i][1], 1),
                footer[i][1], 1);
        break;
    case 2: change_field(d, header + (i < 5 ? 16 : i < 7 ? 28 : 32), i < 5 ? 8 : 4, 1); break;
    case 3: change_field(d, header + 576 + 4 * (uint64_t)next_random(d, 12), 4, 1); break;
    case 4: change_field(d, bat + 4 * (uint64_t)next_random(d, 8), 4, 1); break;
    default:
        at = draft_get(d, bat + 4 * (uint64_t)next_random(d, 5), 4, 1) * 512;
        change_field(d, at + next_random(d, 64), 1, 1);
        break;
    }
}

static void change_sizes(draft *d)
{
    uint8_t *p = d->data + HEAD + (size_t)FILE_HEAD * d->file;
    uint64_t old = get_le(p, FILE_HEAD);
    switch (next_random(d, 6)) {
    case 0: d->data[0] ^= (uint8_t)(1u << next_random(d, 8)); break;
    case 1: put_le(p, old & ~(((uint64_t)1 << 20) - 1), FILE_HEAD); break;
    case 2: put_le(p, (uint64_t)next_random(d, 40) << 20, FILE_HEAD); break;
    case 3: put_le(p, old * 2, FILE_HEAD); break;
    case 4: put_le(p, some_value(d, old), FILE_HEAD); break;
    default: put_le(p, old + next_random(d, 1200) - 600, FILE_HEAD); break;
    }
}

/* A sector of the log, a page of a table somewhere else: the first bytes of one segment go there. */
static void copy_segment(draft *d)
{
    const segment *s;
    uint64_t at;
    uint8_t *p, bytes[64];
    size_t n;
    if (d->in.segments == 0) return;
    s = &d->in.segment[next_random(d, d->in.segments)];
    n = (size_t)posio_min(s->size, sizeof bytes);
    if (n == 0) return;
    memcpy(bytes, s->data, n);
    at = next_random(d, 2) ? s->at + 4096 * (uint64_t)(1 + next_random(d, 8))
                           : some_value(d, s->at) & (((uint64_t)1 << 36) - 1);
    p = add_segment(d, at, n);
    if (p != NULL) memcpy(p, bytes, n);
}

static void change(draft *d)
{
    d->file = next_random(d, 3) == 0 ? next_random(d, d->in.files) : 0;
    if (next_random(d, 8) != 0) d->data[0] |= REPAIR;
    switch (next_random(d, 16)) {
    case 0: case 1: change_header(d); break;
    case 2: case 3: change_region(d); break;
    case 4: case 5: case 6: change_metadata(d); break;
    case 7: case 8: case 9: change_bat(d); break;
    case 10: case 11: case 12: change_log(d); break;
    case 13: copy_segment(d); break;
    default: change_sizes(d); break;
    }
    (void)split(&d->in, d->data, d->size);
}

/* Checksums are repaired when the input is used, see REPAIR: here only meanings change. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    static draft d;
    uint32_t n = draft_begin(&d, data, size, room, seed);
    if (n == 0) return LLVMFuzzerMutate(data, size, room);
    while (n-- != 0) {
        if (draft_get(&d, 0, 1, 0) == 'v') change(&d);
        else if (next_random(&d, 5) != 0) change_vhd(&d);
        else change_sizes(&d);
        (void)split(&d.in, d.data, d.size);
    }
    return d.size;
}
#endif
