/* make_seeds.c - writes the first inputs of a fuzz target into a folder.

       cc -I. tests/fuzz/make_seeds.c -o make_seeds && ./make_seeds ewf_read FOLDER

   The targets: ewf_read (every variant of ewf_build.h with chunks of a few sectors, and inputs that
   once took time or memory out of proportion), qcow2_read (every variant of qcow2_build.h, and such
   inputs), vmdk_read, vhdx_read (every variant of vmdk_build.h and vhdx_build.h),
   mft_scan (of mft_fixtures.h), deflate_read,
   digest, zstd_par, zstd_block (every variant of zstd_build.h that is small), hexz_pack (of
   hexz_build.h). Seeds are made anew for each run and not kept; what a fuzzer found is kept in
   tests/fuzz/corpus. */
#define DIGEST_IMPLEMENTATION
#include "../../digest.h"
#include "../fixtures/ewf_build.h"
#include "../fixtures/hexz_build.h"
#include "../fixtures/qcow2_build.h"
#include "../fixtures/mft_fixtures.h"
#include "../fixtures/vhdx_build.h"
#include "../fixtures/vmdk_build.h"
#include "../fixtures/zstd_build.h"

enum { SEED_MAX = 64 << 10 };

static unsigned long made;

static void write_seed(const char *folder, const char *prefix, const char *name,
                       const ewf_build_bytes *b)
{
    char path[1024];
    FILE *f;
    snprintf(path, sizeof path, "%s/%s%s", folder, prefix, name);
    f = fopen(path, "wb");
    if (f == NULL || fwrite(b->data, 1, b->size, f) != b->size || fclose(f) != 0) {
        perror(path);
        exit(2);
    }
    made++;
}

/* ------------------------------------------------------------------ ewf_read */

/* Pieces of a chunk's size: noise, text, zeros, so that small chunks are of every kind. */
static void small_media(uint8_t *p, size_t n, size_t piece)
{
    uint32_t x = 1;
    size_t i;
    for (i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (uint8_t)(i / piece % 3 == 0 ? x >> 24 : i / piece % 3 == 1 ? 'a' + i % 7 : 0);
    }
}

/* The input of fuzz_ewf_read.c: choices, lengths, segments. */
static void pack_image(ewf_build_bytes *out, const ewf_build *e, unsigned choices)
{
    size_t i, count = 0, k = 0;
    for (i = 0; i < e->segment_count; i++) count += !e->segment[i].absent;
    ewf_build_put8(out, choices | (unsigned)(count - 1) << 1);
    for (i = 0; i < e->segment_count; i++) {
        if (e->segment[i].absent || ++k == count) continue;
        ewf_build_put16(out, (unsigned)(e->segment[i].size & 0xffff));
        ewf_build_put8(out, (unsigned)(e->segment[i].size >> 16 & 255));
    }
    for (i = 0; i < e->segment_count; i++)
        if (!e->segment[i].absent) ewf_build_put(out, e->segment[i].data, e->segment[i].size);
}

static void seed_image(const char *folder, const char *prefix, const char *name, const ewf_build *e,
                       unsigned choices)
{
    ewf_build_bytes b = {NULL, 0, 0};
    size_t i, count = 0;
    for (i = 0; i < e->segment_count; i++) count += !e->segment[i].absent;
    if (count >= 1 && count <= 4) {
        pack_image(&b, e, choices);
        if (b.size <= SEED_MAX) write_seed(folder, prefix, name, &b);
    }
    free(b.data);
}

static void seed_variants(const char *folder, uint32_t sectors, const char *prefix)
{
    const ewf_build_recipe *r;
    size_t i;
    for (i = 0; (r = ewf_build_recipe_at(i)) != NULL; i++) {
        ewf_build e;
        ewf_build_options o = r->options;
        uint8_t *media;
        size_t bps = o.bytes_per_sector != 0 ? o.bytes_per_sector : 512, size;
        if (r->chunks > 100 && r->chunks != 0xffffffffu) continue;
        if (o.flags & EWF_BUILD_HEADER_BOMB) continue; /* takes a second; see the bombs below */
        o.sectors_per_chunk = sectors;
        size = (r->chunks == 0xffffffffu ? 0 : r->chunks == 0 && r->sectors == 0 && r->bytes == 0
                    ? 25 : r->chunks > 25 && o.chunks_per_segment != 1 ? 25 : r->chunks) *
               sectors * bps + r->sectors % 7 * bps + r->bytes;
        media = (uint8_t *)ewf_build_grow(NULL, size);
        small_media(media, size, sectors * bps);
        ewf_build_make(&e, &o, media, size);
        if (r->edit != NULL) r->edit(&e);
        seed_image(folder, prefix, r->name, &e, (unsigned)(i % 3) << 3 | (i % 4 == 0 ? 32 : 0));
        free(media);
        ewf_build_free(&e);
    }
}

/* An EnCase 5 image whose only `sectors` holds these bytes and has no table. */
static void seed_flood(const char *folder, const char *name, uint32_t sectors, const uint8_t *fill,
                       size_t fill_size, size_t total)
{
    ewf_build e;
    ewf_build_options o;
    ewf_build_bytes b = {NULL, 0, 0};
    ewf_build_segment *s;
    uint8_t none[512] = {0};
    size_t n;
    memset(&o, 0, sizeof o);
    o.sectors_per_chunk = sectors;
    o.flags = EWF_BUILD_NO_TABLE | EWF_BUILD_NO_TABLE2;
    ewf_build_make(&e, &o, none, sizeof none);
    s = &e.segment[0];
    s->size = (size_t)s->section[ewf_build_find(&e, 0, "sectors", 0)].offset;
    for (n = 0; n < total; n += fill_size) ewf_build_put(&b, fill, fill_size);
    ewf_build_section_put(s, "sectors", &b);
    ewf_build_end_put(s, "done", &o);
    seed_image(folder, "slow-", name, &e, 16);
    ewf_build_free(&e);
}

/* Many `sectors` of such bytes, each with a table that is of no use. */
static void seed_regions(const char *folder, const char *name, uint32_t sectors,
                         const uint8_t *fill, size_t fill_size, size_t total)
{
    ewf_build e;
    ewf_build_options o;
    ewf_build_segment *s;
    uint8_t none[512] = {0};
    size_t n;
    memset(&o, 0, sizeof o);
    o.sectors_per_chunk = sectors;
    ewf_build_make(&e, &o, none, sizeof none);
    s = &e.segment[0];
    s->size = (size_t)s->section[ewf_build_find(&e, 0, "sectors", 0)].offset;
    while (s->size + total < 60000) {
        ewf_build_bytes b = {NULL, 0, 0};
        for (n = 0; n < total; n += fill_size) ewf_build_put(&b, fill, fill_size);
        ewf_build_section_put(s, "sectors", &b);
        ewf_build_zero(&b, 28);
        ewf_build_section_put(s, "table", &b);
    }
    ewf_build_end_put(s, "done", &o);
    seed_image(folder, "slow-", name, &e, 16);
    ewf_build_free(&e);
}

/* `count` sections of a text that inflates to more than a hundred times their size: `head`, `fill`
   up to 1,000,000 bytes, `tail`. */
static void seed_texts(const char *folder, const char *name, const char *type, int count,
                       const char *head, const char *fill, const char *tail)
{
    const size_t size = 1000000;
    ewf_build e;
    ewf_build_options o;
    ewf_build_bytes text = {NULL, 0, 0};
    ewf_build_segment *s;
    uint8_t none[512] = {0};
    memset(&o, 0, sizeof o);
    ewf_build_make(&e, &o, none, sizeof none);
    s = &e.segment[0];
    s->size = 13;
    ewf_build_text(&text, head);
    while (text.size < size) ewf_build_text(&text, fill);
    ewf_build_text(&text, tail);
    while (count-- != 0) {
        ewf_build_bytes b = {NULL, 0, 0};
        ewf_build_zlib(&b, text.data, text.size);
        ewf_build_section_put(s, type, &b);
    }
    ewf_build_end_put(s, "done", &o);
    seed_image(folder, "slow-", name, &e, 16);
    free(text.data);
    ewf_build_free(&e);
}

/* Intact descriptors that overlap, one every 32 bytes: the type of each lies in the padding of the
   one before, and its checksum in the type, behind the terminator, of the second one behind. */
static void seed_descriptors(const char *folder, const char *name, const char *a, const char *b)
{
    ewf_build e;
    ewf_build_options o;
    ewf_build_bytes more = {NULL, 0, 0};
    ewf_build_segment *s;
    uint8_t none[512] = {0}, *p;
    size_t k, count = 1800;
    uint64_t at;
    memset(&o, 0, sizeof o);
    ewf_build_make(&e, &o, none, sizeof none);
    s = &e.segment[0];
    at = s->section[ewf_build_find(&e, 0, "sectors", 0)].offset;
    s->size = (size_t)at;
    ewf_build_zero(&more, 32 * count + 76);
    ewf_build_add(s, &more);
    free(more.data);
    for (k = 0, p = s->data + at; k < count; k++) {
        memcpy(p + 32 * k, k % 2 == 0 ? a : b, strlen(k % 2 == 0 ? a : b));
        ewf_build_set64(p + 32 * k + 16, at + 32 * (k + 1));
    }
    for (k = 0; k < count; k++) ewf_build_fix_descriptor(p + 32 * k);
    seed_image(folder, "slow-", name, &e, 16);
    ewf_build_free(&e);
}

/* A geometry, and nothing else of use. */
static void seed_geometry(const char *folder, const char *name, uint32_t sectors, uint32_t bytes,
                          uint32_t chunks, uint64_t all)
{
    ewf_build e;
    ewf_build_options o;
    uint8_t some[2048] = {0};
    memset(&o, 0, sizeof o);
    o.sectors_per_chunk = 1;
    ewf_build_make(&e, &o, some, sizeof some);
    ewf_build_set_volume(&e, 8, 4, sectors);
    ewf_build_set_volume(&e, 12, 4, bytes);
    ewf_build_set_volume(&e, 4, 4, chunks);
    ewf_build_set_volume(&e, 16, 8, all);
    seed_image(folder, "size-", name, &e, 8);
    ewf_build_free(&e);
}

static void seeds_of_ewf_read(const char *folder)
{
    static const uint8_t header[] = {0x78, 0x9c}, other[] = {0x08, 0x1d};
    /* A zlib header, and behind it fixed codes that go on for ever: each is tried to the end. */
    static const uint8_t endless[] = {0x08, 0x5b, 0x33, 0x0a}, code[] = {0x48, 0x89, 0xc7, 0x55};
    seed_variants(folder, 1, "one-");
    seed_variants(folder, 3, "three-");
    seed_flood(folder, "header", 64, header, sizeof header, 60000);
    seed_flood(folder, "other", 64, other, sizeof other, 60000);
    seed_flood(folder, "code", 64, code, sizeof code, 60000);
    seed_flood(folder, "endless-1", 1, endless, sizeof endless, 60000);
    seed_flood(folder, "endless-64", 64, endless, sizeof endless, 60000);
    seed_flood(folder, "endless-2048", 2048, endless, sizeof endless, 60000);
    seed_regions(folder, "regions-256", 2048, endless, sizeof endless, 256);
    seed_regions(folder, "regions-2048", 2048, endless, sizeof endless, 2048);
    seed_texts(folder, "xheader", "xheader", 5, "<xml>", "<notes>", "");
    seed_texts(folder, "xheaders", "xheader", 5, "<xml>", "<", "");
    seed_texts(folder, "tabs", "header", 5, "1\nmain\n", "c\tn\ta\t", "\n");
    seed_texts(folder, "xhash", "xhash", 5, "<xml>", "<MD5>", "");
    seed_descriptors(folder, "tables", "table", "table");
    seed_descriptors(folder, "sectors", "sectors", "table");
    seed_descriptors(folder, "headers", "header", "header2");
    seed_descriptors(folder, "ends", "junk", "hash");
    seed_geometry(folder, "one-byte", 1, 1, 2000000, 2000000);
    seed_geometry(folder, "chunk-1M", 2048, 512, 16, 2048 * 16);
    seed_geometry(folder, "chunk-2M", 4096, 512, 16, 4096 * 16);
    seed_geometry(folder, "chunk-4G", 0x7fffff, 512, 16, 4096 * 16);
    seed_geometry(folder, "missing", 64, 512, 0xffffffffu, (uint64_t)64 * 0xffffffffu);
}

/* ------------------------------------------------------------------ qcow2_read */

enum { QCOW2_FILES = 8, QCOW2_SEGMENTS = 255 };

typedef struct seed_segment {
    uint64_t at;
    uint32_t file;
    size_t size;
} seed_segment;

static int is_zero(const uint8_t *p, size_t n)
{
    while (n != 0 && p[n - 1] == 0) n--;
    return n == 0;
}

/* The blocks of 256 bytes that are not zeros, runs of them cut to `most` bytes; gaps that are not
   longer than `gap` are taken too. Returns how many segments. */
static size_t list_segments(const image_build *s, size_t files, size_t most, size_t gap,
                            seed_segment *list, size_t room)
{
    const size_t block = 256;
    size_t count = 0, i, k, at;
    for (i = 0; i < files; i++) {
        uint64_t run = 0, end = 0; /* of the run of blocks, wherever it was cut */
        for (k = 0; k < s->file[i].pages; k++)
            for (at = 0; at < IMAGE_BUILD_PAGE; at += block) {
                uint64_t where = s->file[i].page[k].at + at;
                if (is_zero(s->file[i].page[k].bytes + at, block)) continue;
                if (end == 0 || where > end + gap) {
                    if (count == room) return room + 1;
                    run = where;
                    list[count].at = where;
                    list[count].file = (uint32_t)i;
                    list[count++].size = 0;
                }
                end = where + block;
                if (end - run <= most) list[count - 1].size = (size_t)(end - run);
            }
    }
    return count;
}

/* The input of fuzz_qcow2_read.c, and of fuzz_vmdk_read.c: choices, sizes, segments. */
static void pack_set(ewf_build_bytes *out, const image_build *s, size_t files, unsigned choices,
                     const seed_segment *list, size_t count)
{
    static uint8_t buf[65536];
    size_t i;
    ewf_build_put8(out, choices);
    ewf_build_put8(out, (unsigned)files - 1);
    ewf_build_put8(out, (unsigned)count);
    for (i = 0; i < files; i++) {
        ewf_build_put32(out, (uint32_t)s->file[i].size);
        ewf_build_put8(out, (unsigned)(s->file[i].size >> 32 & 255));
    }
    for (i = 0; i < count; i++) {
        ewf_build_put32(out, (uint32_t)list[i].at);
        ewf_build_put8(out, (unsigned)(list[i].at >> 32 & 255));
        ewf_build_put8(out, list[i].file);
        ewf_build_put16(out, (unsigned)list[i].size);
    }
    for (i = 0; i < count; i++) {
        image_build_read(&s->file[list[i].file], list[i].at, buf, list[i].size);
        ewf_build_put(out, buf, list[i].size);
    }
}

/* As much of a set as there is room for: the beginnings of what is long are enough. */
static void seed_set(const char *folder, const char *prefix, const char *name, const image_build *s,
                     unsigned choices)
{
    static const size_t most[] = {65280, 16384, 4096, 2048, 1024, 512, 256};
    static seed_segment list[QCOW2_SEGMENTS];
    ewf_build_bytes b = {NULL, 0, 0};
    size_t files = s->files < QCOW2_FILES ? s->files : (size_t)QCOW2_FILES, i, k, count, sum = 0;
    for (i = 0; i < files; i++)
        if (s->file[i].size >> 40 != 0) return;
    for (i = 0; i < sizeof most / sizeof most[0]; i++) {
        count = list_segments(s, files, most[i], i < 2 ? 256 : 0, list, QCOW2_SEGMENTS);
        if (count > QCOW2_SEGMENTS)
            count = list_segments(s, files, most[i], 4096, list, QCOW2_SEGMENTS);
        if (count > QCOW2_SEGMENTS) continue;
        for (k = 0, sum = 0; k < count; k++) sum += list[k].size + 8;
        if (sum > SEED_MAX) continue;
        pack_set(&b, s, files, choices, list, count);
        write_seed(folder, prefix, name, &b);
        free(b.data);
        return;
    }
    fprintf(stderr, "no seed of %s: too large\n", name);
}

static void seed_qcow2_variants(const char *folder)
{
    size_t i;
    for (i = 0; i < qcow2_build_variant_count(); i++) {
        const qcow2_build_variant *v = &qcow2_build_variants[i];
        unsigned choices = (v->needs & QCOW2_BUILD_ALONE ? 1u : 0) |
                           (v->needs & QCOW2_BUILD_RAW_OK ? 2u : 0) | (i % 3 == 0 ? 4u : 0) |
                           (i % 5 == 0 ? 16u : 0) | (i % 4 == 1 ? 32u : 0);
        qcow2_build s;
        qcow2_build_make(&s, v);
        seed_set(folder, "", v->name, &s.set, choices);
        qcow2_build_free(&s);
    }
}

/* A header of version 3 and what it points to, in a file of this size; the rest is put by hand. */
static image_build_file *qcow2_begin(image_build *s, unsigned bits, uint64_t size, uint64_t media,
                                     uint64_t l1, uint64_t l1_entries)
{
    image_build_file *f;
    memset(s, 0, sizeof *s);
    f = image_build_add_file(s, "image.qcow2");
    qcow2_build_put32(f, 0, 0x514649fb);
    qcow2_build_put32(f, 4, 3);
    qcow2_build_put32(f, 20, bits);
    qcow2_build_put64(f, 24, media);
    qcow2_build_put32(f, 36, l1_entries);
    qcow2_build_put64(f, 40, l1);
    qcow2_build_put64(f, 48, (uint64_t)1 << bits);
    qcow2_build_put32(f, 56, 1);
    qcow2_build_put64(f, (uint64_t)1 << bits, (uint64_t)2 << bits);
    qcow2_build_put32(f, 96, 4);
    qcow2_build_put32(f, 100, 104);
    image_build_resize(f, size);
    return f;
}

static void qcow2_end(const char *folder, const char *name, image_build *s)
{
    seed_set(folder, "slow-", name, s, 0);
    image_build_free(s);
}

/* L1 entries that share one L2 table, which is full of entries. */
static void seed_shared_l2(const char *folder, const char *name, unsigned bits, uint64_t entries,
                           uint64_t entry)
{
    const uint64_t cs = (uint64_t)1 << bits, each = cs / 8 * cs;
    image_build s;
    image_build_file *f = qcow2_begin(&s, bits, 5 * cs, entries * each, 3 * cs, entries);
    uint64_t i;
    for (i = 0; i < entries; i++)
        qcow2_build_put64(f, 3 * cs + 8 * i, (4 * cs) | UINT64_C(1) << 63);
    for (i = 0; i < cs / 8 && i < 6000; i++) qcow2_build_put64(f, 4 * cs + 8 * i, entry);
    qcow2_end(folder, name, &s);
}

/* Snapshots that all have an L1 table of most of the file, of zeros or junk. */
static void seed_many_l1(const char *folder, const char *name, uint64_t entry)
{
    const uint32_t count = 1000;
    image_build s;
    image_build_file *f = qcow2_begin(&s, 9, 1 << 19, 1 << 20, 2048, 64);
    uint32_t i;
    qcow2_build_put32(f, 60, count);
    qcow2_build_put64(f, 64, 4096);
    for (i = 0; i < count; i++) {
        qcow2_build_put64(f, 4096 + 40 * (uint64_t)i, 1 << 18);
        qcow2_build_put32(f, 4096 + 40 * (uint64_t)i + 8, 30000);
    }
    for (i = 0; i < 1000; i++) qcow2_build_put64(f, (1 << 18) + 8 * (uint64_t)i, entry);
    qcow2_end(folder, name, &s);
}

/* Bitmaps that all have a table of most of the file. */
static void seed_many_bitmaps(const char *folder, const char *name)
{
    const uint32_t count = 2000;
    image_build s;
    image_build_file *f = qcow2_begin(&s, 9, 1 << 19, 1 << 20, 2048, 64);
    uint32_t i;
    qcow2_build_put64(f, 88, 1);
    qcow2_build_put32(f, 104, 0x23852875);
    qcow2_build_put32(f, 108, 24);
    qcow2_build_put32(f, 112, count);
    qcow2_build_put64(f, 120, 24 * (uint64_t)count);
    qcow2_build_put64(f, 128, 4096);
    for (i = 0; i < count; i++) {
        qcow2_build_put64(f, 4096 + 24 * (uint64_t)i, 1 << 18);
        qcow2_build_put32(f, 4096 + 24 * (uint64_t)i + 8, 30000);
    }
    qcow2_end(folder, name, &s);
}

/* A chain, whose last file has extents of a cluster each; the others are empty. */
static void seed_chain(const char *folder, const char *name)
{
    static char names[QCOW2_FILES][16];
    qcow2_build s;
    uint32_t i, k;
    memset(&s, 0, sizeof s);
    for (i = 0; i < QCOW2_FILES; i++) {
        qcow2_build_options o = qcow2_build_none();
        qcow2_build_image *m;
        snprintf(names[i], sizeof names[i], "layer%u.qcow2", (unsigned)i);
        o.cluster_bits = 9;
        o.size = 64 * 512;
        if (i + 1 < QCOW2_FILES) {
            snprintf(names[i + 1], sizeof names[i + 1], "layer%u.qcow2", (unsigned)i + 1);
            o.backing = names[i + 1];
            o.backing_format = "qcow2";
        }
        m = qcow2_build_begin(&s, names[i], &o);
        for (k = 0; k < 64 && i + 1 == QCOW2_FILES; k += 2)
            qcow2_build_data(m, k, IMAGE_BUILD_FILL + 1 + k);
        qcow2_build_finish(m);
    }
    seed_set(folder, "slow-", name, &s.set, 0);
    qcow2_build_free(&s);
}

static void seeds_of_qcow2_read(const char *folder)
{
    seed_qcow2_variants(folder);
    seed_shared_l2(folder, "shared-l2", 9, 3, 2048 | UINT64_C(1) << 63);
    seed_shared_l2(folder, "shared-l2-2M", 21, 1000, (8 << 20) | UINT64_C(1) << 63);
    seed_shared_l2(folder, "shared-l2-packed", 21, 1000, UINT64_C(0x7ffe000000800000));
    seed_many_l1(folder, "many-l1", 0);
    seed_many_l1(folder, "many-l1-junk", 0x1234567);
    seed_many_bitmaps(folder, "many-bitmaps");
    seed_chain(folder, "chain");
}

/* ------------------------------------------------------------------ deflate_read */

static void seed_stream(const char *folder, const char *name, unsigned choices, unsigned room,
                        const ewf_build_bytes *stream, size_t skip)
{
    ewf_build_bytes b = {NULL, 0, 0};
    ewf_build_put8(&b, choices);
    ewf_build_put16(&b, room);
    ewf_build_put(&b, stream->data + skip, stream->size - skip);
    write_seed(folder, "", name, &b);
    free(b.data);
}

static void seeds_of_deflate_read(const char *folder)
{
    static const uint8_t dynamic[] = { /* 754 bytes in a block of dynamic codes, made by zlib */
        0x78, 0xda, 0x85, 0x92, 0x41, 0x0a, 0x80, 0x30, 0x0c, 0x04, 0xef, 0xbe, 0x22, 0x4f, 0x68,
        0xd2, 0xb4, 0xb4, 0xcf, 0x51, 0x88, 0x28, 0x14, 0x0b, 0x5a, 0xf0, 0xfb, 0x5e, 0x15, 0x61,
        0x73, 0x5e, 0x76, 0x3b, 0x4c, 0x13, 0x68, 0xe9, 0x63, 0x34, 0xbb, 0xa8, 0xaf, 0x74, 0xef,
        0x87, 0x51, 0x3f, 0x68, 0x6c, 0x46, 0xf7, 0xdc, 0xda, 0xc4, 0xef, 0x74, 0x31, 0x3b, 0x3f,
        0xa9, 0xc2, 0xb4, 0xe2, 0xe5, 0x0c, 0xcb, 0x92, 0x60, 0x1c, 0x33, 0x1c, 0xd7, 0x0a, 0xdb,
        0x19, 0x83, 0x17, 0xc6, 0xe4, 0x21, 0xc0, 0x3a, 0x0b, 0xb6, 0xc6, 0xaa, 0x8e, 0x19, 0x4c,
        0xcf, 0xd5, 0x51, 0xf7, 0x75, 0xf7, 0xdb, 0x97, 0xe4, 0xf4, 0x0b, 0x7e, 0x3f, 0x0a, 0xe6,
        0x8f, 0xd9, 0xb9, 0x1a, 0xc7, 0x9f, 0x2a, 0xf6, 0xaf, 0x05, 0x7f, 0x5f, 0x12, 0xcc, 0xff,
        0x00, 0x18, 0x12, 0xfd, 0x25};
    ewf_build_bytes b = {NULL, 0, 0};
    uint8_t media[3000];
    small_media(media, sizeof media, 700);
    ewf_build_zlib(&b, media, sizeof media);
    seed_stream(folder, "fixed", 1, 4000, &b, 0);
    seed_stream(folder, "fixed-tight", 1, sizeof media, &b, 0);
    seed_stream(folder, "fixed-raw", 8, 4000, &b, 2);
    seed_stream(folder, "fixed-short", 3, 100, &b, 0);
    b.size = 0;
    ewf_build_zlib_stored(&b, media, sizeof media, 1);
    seed_stream(folder, "stored", 1, 4000, &b, 0);
    b.size = 0;
    ewf_build_zlib_stored(&b, media, sizeof media, 0);
    seed_stream(folder, "nlen0", 5, 4000, &b, 0);
    b.size = 0;
    ewf_build_zlib_run(&b, media, 20, 'x', 60000, 1);
    seed_stream(folder, "run", 1, 65535, &b, 0);
    b.size = 0;
    ewf_build_put(&b, dynamic, sizeof dynamic);
    seed_stream(folder, "dynamic", 1, 1000, &b, 0);
    b.size /= 2;
    seed_stream(folder, "dynamic-cut", 1, 1000, &b, 0);
    free(b.data);
}

/* ------------------------------------------------------------------ zstd_par */

/* A frame of raw and run blocks: 100 'r', 300 zeros. flags: of its descriptor, with a content size
   of two bytes (0x40) or none. */
static void put_frame(ewf_build_bytes *b, unsigned flags)
{
    size_t i;
    ewf_build_put32(b, 0xfd2fb528u);
    ewf_build_put8(b, flags);
    if (!(flags & 0x20)) ewf_build_put8(b, 0x10); /* a window of 4 KiB */
    if (flags & 0x40) ewf_build_put16(b, 400 - 256);
    ewf_build_put8(b, 100 << 3 & 0xff);
    ewf_build_put16(b, 100 >> 5);
    for (i = 0; i < 100; i++) ewf_build_put8(b, 'r');
    ewf_build_put8(b, 1 | 1 << 1 | (300 << 3 & 0xff));
    ewf_build_put16(b, 300 >> 5);
    ewf_build_put8(b, 0);
}

static void seed_frames(const char *folder, const char *name, const ewf_build_bytes *frames)
{
    static const unsigned choices[] = {0, 1, 2, 7, 8, 16, 21};
    char prefix[8];
    size_t i;
    for (i = 0; i < sizeof choices / sizeof choices[0]; i++) {
        ewf_build_bytes b = {NULL, 0, 0};
        snprintf(prefix, sizeof prefix, "%u-", choices[i]);
        ewf_build_put8(&b, choices[i]);
        ewf_build_put8(&b, 40); /* room for 10 KiB */
        ewf_build_put(&b, frames->data, frames->size);
        write_seed(folder, prefix, name, &b);
        free(b.data);
    }
}

static void put_seek_table(ewf_build_bytes *b, uint32_t frame, uint32_t count)
{
    uint32_t i;
    ewf_build_put32(b, 0x184d2a5eu);
    ewf_build_put32(b, count * 8 + 9);
    for (i = 0; i < count; i++) {
        ewf_build_put32(b, frame);
        ewf_build_put32(b, 400);
    }
    ewf_build_put32(b, count);
    ewf_build_put8(b, 0);
    ewf_build_put32(b, 0x8f92eab1u);
}

static void seeds_of_zstd_par(const char *folder)
{
    static const uint8_t text[] = { /* 40 lines, zstd -19 --no-content-size */
        0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x68, 0x9d, 0x03, 0x00, 0x62, 0x45, 0x11, 0x12, 0x90, 0xcf,
        0x01, 0xdc, 0x8b, 0x87, 0x02, 0x18, 0xff, 0x9f, 0xc0, 0x0c, 0xd9, 0xc2, 0x81, 0xb1, 0xcf,
        0xe8, 0xe8, 0x98, 0x42, 0x86, 0x68, 0x0e, 0xe2, 0xe8, 0x98, 0x42, 0x86, 0x68, 0x0e, 0x7d,
        0x74, 0x4c, 0x21, 0x43, 0x34, 0xf3, 0xd1, 0xcf, 0xcd, 0x0b, 0x19, 0xa2, 0x19, 0xd4, 0x55,
        0xeb, 0xa2, 0x13, 0x4a, 0x75, 0x9b, 0x9a, 0xbd, 0xbd, 0xcb, 0xfe, 0xbd, 0x04, 0xeb, 0xd3,
        0x99, 0x7c, 0xf8, 0x8a, 0xee, 0x05, 0x28, 0xa8, 0x11, 0x60, 0x5f, 0xfb, 0xdf, 0x01, 0xe0,
        0x35, 0xab, 0x01, 0x11, 0x34, 0x04, 0xff, 0xff, 0x0e, 0x21, 0xe9, 0x07, 0xa0, 0x24, 0x02,
        0xc1, 0x80, 0x86, 0x00, 0x0a, 0xb0, 0xb5, 0xa5, 0xe2, 0xa7, 0xd4, 0x80, 0x7c, 0xfb, 0x51,
        0x5e, 0xad, 0x52, 0x0d, 0xdf, 0xec, 0x7a, 0xf7};
    ewf_build_bytes b = {NULL, 0, 0};
    uint32_t one, i;
    put_frame(&b, 0x60);
    one = (uint32_t)b.size;
    seed_frames(folder, "single", &b);
    for (i = 0; i < 5; i++) put_frame(&b, 0x60);
    seed_frames(folder, "frames", &b);
    put_seek_table(&b, one, 6);
    seed_frames(folder, "seek-table", &b);
    b.size = 0;
    put_frame(&b, 0x00);
    ewf_build_put32(&b, 0x184d2a50u); /* pzstd's hint */
    ewf_build_put32(&b, 4);
    ewf_build_put32(&b, (uint32_t)sizeof text);
    ewf_build_put(&b, text, sizeof text);
    put_frame(&b, 0x40);
    seed_frames(folder, "mixed", &b);
    b.size -= 3;
    seed_frames(folder, "cut", &b);
    b.size = 0;
    ewf_build_put32(&b, 0xfd2fb526u); /* v0.6 */
    ewf_build_put(&b, text + 4, sizeof text - 4);
    seed_frames(folder, "legacy", &b);
    free(b.data);
}

/* Every frame of zstd_build.h that is small, some with more blocks around. */
static void seeds_of_zstd_block(const char *folder)
{
    size_t i;
    for (i = 0; i < zstd_build_variant_count(); i++) {
        const zstd_build_variant *v = &zstd_build_variants[i];
        ewf_build_bytes b = {NULL, 0, 0};
        zstd_build z;
        zstd_build_make(&z, v, i % 4 == 3 ? 12 : 0);
        ewf_build_put8(&b, (unsigned)i * 7 & 63);
        ewf_build_put8(&b, i % 5 == 4 ? 200 : 0);
        ewf_build_put(&b, z.data, z.size);
        if (z.size <= SEED_MAX / 4) write_seed(folder, "", v->name, &b);
        free(b.data);
        zstd_build_free(&z);
    }
}

/* ------------------------------------------------------------------ hexz_pack */

static void seed_archive(const char *folder, const char *name, hexz_build *h)
{
    static const unsigned choices[] = {0, 2, 7};
    char prefix[8];
    size_t i;
    hexz_build_end(h);
    hexz_build_repair(h->data, h->size);
    for (i = 0; i < sizeof choices / sizeof choices[0]; i++) {
        ewf_build_bytes b = {NULL, 0, 0};
        snprintf(prefix, sizeof prefix, "%u-", choices[i]);
        ewf_build_put8(&b, choices[i]);
        ewf_build_put(&b, h->data, h->size);
        write_seed(folder, prefix, name, &b);
        free(b.data);
    }
    hexz_build_free(h);
}

static void seeds_of_hexz_pack(const char *folder)
{
    static hexz_build h;
    static const uint8_t lz4[] = {0x5b, 0x2a, 0x4d, 0x18, 6,   0,   0,
                                  0,    0x50, 'h',  'e',  'l', 'l', 'o'};
    uint8_t media[2000], frame[400] = {0};
    ewf_build_bytes b = {NULL, 0, 0};
    size_t i;
    small_media(media, sizeof media, 300);
    hexz_build_begin(&h, 1, 256, 256, 256);
    seed_archive(folder, "empty", &h);
    hexz_build_begin(&h, 1, 256, 256, 256);
    hexz_build_zeros(&h, (uint64_t)1 << 40);
    seed_archive(folder, "zeros", &h);
    hexz_build_begin(&h, 2, 64, 256, 1024);
    hexz_build_chunk(&h, media, 1000);
    hexz_build_zeros(&h, 300);
    hexz_build_duplicate(&h, 0);
    hexz_build_chunk(&h, media + 1000, 64);
    h.keys[0] = "case";
    h.values[0] = "17";
    h.items = 1;
    seed_archive(folder, "mixed", &h);
    put_frame(&b, 0x60);
    memset(frame, 'r', 100);
    hexz_build_begin(&h, 1, 400, 400, 400);
    hexz_build_stored(&h, 3, b.data, b.size, frame, 400);
    hexz_build_stored(&h, 4, lz4, sizeof lz4, "hello", 5);
    hexz_build_duplicate(&h, 0);
    h.data[24] = 1; /* LZ4 is needed */
    seed_archive(folder, "codecs", &h);
    free(b.data);
    hexz_build_begin(&h, 1, 64, 64, 64);
    for (i = 0; i < 520; i++) {
        if (i % 4 == 0) hexz_build_chunk(&h, media + i * 3, 64);
        else if (i % 4 == 1) hexz_build_zeros(&h, i);
        else hexz_build_duplicate(&h, i / 8 * 4);
    }
    seed_archive(folder, "tables", &h);
}

/* ------------------------------------------------------------------ digest */

/* The input of fuzz_digest.c: a few calls for a number of streams that all features, then fewer and
   fewer, go through; with sizes of every kind. */
static void seeds_of_digest(const char *folder)
{
    static const unsigned features[5] = {0x7ff, 0x03f, 0x003, 0x000, 0x1ff};
    ewf_build_bytes b = {NULL, 0, 0};
    unsigned algorithm, streams, call, i;
    for (algorithm = 0; algorithm < 7; algorithm++) {
        for (streams = 1; streams <= 32; streams += streams < 4 ? 2 : 7) {
            uint32_t x = algorithm * 33 + streams;
            char name[40];
            b.size = 0;
            ewf_build_put8(&b, algorithm);
            ewf_build_put8(&b, streams - 1);
            ewf_build_put8(&b, streams * 7 & 255);
            for (call = 0; call < 5; call++) {
                ewf_build_put8(&b, features[call] >> 8);
                ewf_build_put8(&b, features[call] & 255);
                ewf_build_put32(&b, call == 2 ? 0xb6db6db6u : 0xffffffffu);
                for (i = 0; i < streams; i++) {
                    if (call == 2 && !(0x6db6db6du << 1 >> i & 1)) continue;
                    x = x * 1664525u + 1013904223u;
                    ewf_build_put16(&b, x >> 16);
                }
            }
            snprintf(name, sizeof name, "%u-%u", algorithm + 1, streams);
            write_seed(folder, "", name, &b);
        }
    }
    free(b.data);
}

/* ------------------------------------------------------------------ vmdk_read, vhdx_read */

static void seeds_of_vmdk_read(const char *folder)
{
    size_t i;
    for (i = 0; i < vmdk_build_variant_count(); i++) {
        const vmdk_build_variant *v = &vmdk_build_variants[i];
        unsigned choices = (v->needs & VMDK_BUILD_ALONE ? 1u : 0) |
                           (v->needs & VMDK_BUILD_STALE ? 2u : 0) | (i % 3 == 0 ? 4u : 0) |
                           (i % 5 == 0 ? 16u : 0) | (i % 4 == 1 ? 32u : 0) | (i % 7 == 3 ? 64u : 0);
        static vmdk_build b;
        vmdk_build_make(&b, v);
        seed_set(folder, "", v->name, &b.set, choices);
        vmdk_build_free(&b);
    }
}

static void seeds_of_vhdx_read(const char *folder) { made += vhdx_build_write_seeds(folder); }

/* Every image of mft_fixtures.h that is small, as it is. */
static void seeds_of_mft_scan(const char *folder)
{
    size_t i;
    for (i = 0; i < mft_build_variant_count(); i++) {
        const mft_build_variant *v = &mft_build_variants[i];
        mft_build b;
        mft_build_make(&b, v);
        if (b.image.size <= 256 << 10) {
            ewf_build_bytes seed;
            memset(&seed, 0, sizeof seed);
            seed.size = (size_t)b.image.size + 2;
            seed.data = (uint8_t *)calloc(seed.size, 1);
            if (seed.data == NULL) exit(2);
            seed.data[0] = b.faults != 0 ? 8 : 0; /* some reads fail */
            mft_build_read(&b.image, 0, seed.data + 2, seed.size - 2);
            write_seed(folder, "", v->name, &seed);
            free(seed.data);
        }
        mft_build_free(&b);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*make)(const char *folder);
    } targets[] = {{"ewf_read", seeds_of_ewf_read},         {"qcow2_read", seeds_of_qcow2_read},
                   {"vmdk_read", seeds_of_vmdk_read},       {"vhdx_read", seeds_of_vhdx_read},
                   {"deflate_read", seeds_of_deflate_read}, {"digest", seeds_of_digest},
                   {"zstd_par", seeds_of_zstd_par},         {"hexz_pack", seeds_of_hexz_pack},
                   {"zstd_block", seeds_of_zstd_block},
                   {"mft_scan", seeds_of_mft_scan}};
    size_t i;
    for (i = 0; argc == 3 && i < sizeof targets / sizeof targets[0]; i++)
        if (strcmp(argv[1], targets[i].name) == 0) targets[i].make(argv[2]);
    if (argc != 3 || made == 0) fputs("usage: make_seeds TARGET FOLDER\n", stderr);
    printf("%lu seeds\n", made);
    return made == 0 ? 2 : 0;
}
