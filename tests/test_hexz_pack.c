/* test_hexz_pack.c - hexz_pack.h against libzstd, against archives built by hand, and against
   every wrong byte. */
#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif
#include <stdint.h>
static uint64_t key_mask = UINT64_MAX; /* fewer bits: collisions in the table of claims */
#define HEXZ_PACK_TEST_KEY(key) ((key) & key_mask)
static uint64_t most_frames = (uint64_t)1 << 27; /* fewer: a seek table is full sooner */
#define HEXZ_PACK_TEST_FRAMES most_frames
#define HEXZ_PACK_IMPLEMENTATION
#define THREAD_POOL_IMPLEMENTATION
#include "../hexz_pack.h"
#include "fixtures/faults.h"
#include "fixtures/hexz_build.h"
#include "test.h"

#include <zstd.h>

// ---------------------------------------------------------------------------------- data

typedef struct bytes {
    unsigned char *p;
    size_t n, room;
} bytes;

static unsigned char *extend(bytes *b, size_t n)
{
    if (b->n + n > b->room) {
        b->room = (b->n + n) * 2 + 64;
        b->p = (unsigned char *)realloc(b->p, b->room);
        if (b->p == NULL) exit(2);
    }
    b->n += n;
    return b->p + (b->n - n);
}

static void drop(bytes *b)
{
    free(b->p);
    memset(b, 0, sizeof *b);
}

static void put_text(bytes *b, size_t n, uint64_t seed)
{
    char word[32];
    while (n != 0) {
        uint64_t r = test_random(&seed);
        size_t k = (size_t)snprintf(word, sizeof word, "%c%llu ", (int)('a' + r % 23),
                                    (unsigned long long)(r >> 32) % (r % 7 == 0 ? 100000 : 300));
        if (k > n) k = n;
        memcpy(extend(b, k), word, k);
        n -= k;
    }
}
static void put_noise(bytes *b, size_t n, uint64_t seed)
{
    unsigned char *p = extend(b, n);
    while (n-- != 0) *p++ = (unsigned char)(test_random(&seed) >> 32);
}
static void put_zeros(bytes *b, size_t n) { memset(extend(b, n), 0, n); }
static void put_copy(bytes *b, size_t from, size_t n)
{
    unsigned char *to = extend(b, n);
    memmove(to, b->p + from, n);
}

/* Of everything: text, noise, zeros, what is there already, moved and not. */
static const bytes *mixture(void)
{
    static bytes b;
    if (b.n != 0) return &b;
    put_text(&b, 300000, 1);
    put_zeros(&b, 100000);
    put_noise(&b, 150000, 2);
    put_copy(&b, 0, 200000);
    put_text(&b, 777, 3);
    put_copy(&b, 1000, 250000);
    put_zeros(&b, 70000);
    put_copy(&b, 400000, 140000);
    put_text(&b, 100001, 4);
    return &b;
}

static posio_source source_of(posio_memory *m, const void *p, size_t n)
{
    m->data = p;
    m->size = n;
    return posio_memory_source(m);
}

static posio_result bytes_write(void *self, const void *p, size_t n, posio_error *err)
{
    (void)err;
    memcpy(extend((bytes *)self, n), p, n);
    return POSIO_OK;
}
static posio_sink sink_of(bytes *b)
{
    posio_sink s;
    s.write = bytes_write;
    s.hole = NULL;
    s.self = b;
    return s;
}

/* A stream of pieces of any size. */
typedef struct pieces {
    const unsigned char *p;
    size_t left;
    uint64_t seed;
    size_t most;
} pieces;
static posio_result pieces_read(void *self, void *buf, size_t n, size_t *got, posio_error *err)
{
    pieces *s = (pieces *)self;
    size_t k = 1 + (size_t)(test_random(&s->seed) % s->most);
    (void)err;
    if (k > n) k = n;
    if (k > s->left) k = s->left;
    if (k != 0) memcpy(buf, s->p, k);
    s->p += k;
    s->left -= k;
    *got = k;
    return POSIO_OK;
}

static hexz_pack_desc desc_of(uint32_t chunker, uint32_t average)
{
    hexz_pack_desc d;
    memset(&d, 0, sizeof d);
    d.chunker = chunker;
    d.chunk_avg = average;
    return d;
}

/* How the content comes. */
enum { SOURCE, STREAM, APPEND, MIXED, WAYS };

static posio_result feed(hexz_pack_writer *w, const void *p, size_t n, int way, posio_error *err)
{
    posio_memory m;
    posio_source source = source_of(&m, p, n);
    posio_stream stream;
    pieces s;
    posio_result r = POSIO_OK;
    s.p = (const unsigned char *)p;
    s.left = n;
    s.seed = n;
    s.most = 50000;
    stream.read = pieces_read;
    stream.self = &s;
    if (way == SOURCE) return hexz_pack_append_source(w, &source, err);
    if (way == STREAM) return hexz_pack_append_stream(w, &stream, err);
    while (s.left != 0 && r == POSIO_OK) {
        size_t k = (size_t)(test_random(&s.seed) % 60000);
        int how = way == MIXED ? (int)(test_random(&s.seed) % 3) : APPEND;
        if (k > s.left) k = s.left;
        if (how == APPEND) r = hexz_pack_append(w, s.p, k, err);
        else r = feed(w, s.p, k, how, err);
        s.p += k;
        s.left -= k;
    }
    return r;
}

static posio_result pack(bytes *out, const void *p, size_t n, const hexz_pack_desc *desc, int way,
                         hexz_pack_stats *stats, posio_error *err)
{
    posio_sink sink = sink_of(out);
    hexz_pack_writer *w = NULL;
    posio_result r = hexz_pack_begin_sink(&w, &sink, desc, err);
    if (r != POSIO_OK) return r;
    r = feed(w, p, n, way, err);
    if (r == POSIO_OK) return hexz_pack_finish(w, stats, err);
    hexz_pack_abort(w);
    return r;
}

static hexz_pack *open_bytes(posio_memory *m, const void *p, size_t n, posio_error *err)
{
    posio_source s = source_of(m, p, n);
    hexz_pack *a = NULL;
    return hexz_pack_open_source(&a, &s, NULL, err) == POSIO_OK ? a : NULL;
}

/* Is this an archive of that content? */
static void check_archive(const bytes *archive, const void *p, size_t n)
{
    posio_memory m;
    posio_error err;
    hexz_pack *a;
    hexz_pack_verdict v;
    unsigned char *back = (unsigned char *)malloc(n + 1);
    err.message[0] = 0;
    a = open_bytes(&m, archive->p, archive->n, &err);
    if (a == NULL) printf("open: %s\n", err.message);
    if (a == NULL || back == NULL) {
        test_fail(__FILE__, __LINE__, "the archive can be opened");
        free(back);
        return;
    }
    CHECK_EQ(hexz_pack_info(a)->sums.size, n);
    CHECK_EQ(hexz_pack_read_at(a, 0, back, n, &err), POSIO_OK);
    CHECK_MEM(back, p, n);
    if (hexz_pack_verify(a, NULL, NULL, &v, &err) != POSIO_OK)
        test_str(__FILE__, __LINE__, "verify", err.message, "nothing");
    CHECK_EQ(v.chunks, hexz_pack_info(a)->sums.stored);
    CHECK_EQ(v.bytes, hexz_pack_info(a)->sums.unique_bytes);
    CHECK_EQ(v.faults, 0);
    hexz_pack_close(a);
    free(back);
}

// ---------------------------------------------------------------------------------- by hand

/* Chunks of 256 bytes: unique, again, zeros, and a short one. */
static void build_small(hexz_build *b, bytes *content)
{
    hexz_build_begin(b, HEXZ_PACK_FIXED, 256, 256, 256);
    put_noise(content, 512, 5);
    put_zeros(content, 1024);
    put_copy(content, 256, 256);
    put_noise(content, 100, 6);
    hexz_build_chunk(b, content->p, 256);
    hexz_build_chunk(b, content->p + 256, 256);
    hexz_build_zeros(b, 1024);
    hexz_build_duplicate(b, 1);
    hexz_build_chunk(b, content->p + 1792, 100);
    b->keys[0] = "case";
    b->values[0] = "2026/17";
    b->keys[1] = "md5";
    b->values[1] = "";
    b->items = 2;
    hexz_build_end(b);
}

TEST(built_by_hand)
{
    static hexz_build b;
    bytes content = {NULL, 0, 0}, archive;
    posio_memory m;
    posio_error err;
    hexz_pack *a;
    hexz_pack_item item = {NULL, NULL, 0};
    hexz_pack_entry e;
    build_small(&b, &content);
    archive.p = b.data;
    archive.n = b.size;
    archive.room = 0;
    check_archive(&archive, content.p, content.n);
    a = open_bytes(&m, b.data, b.size, &err);
    REQUIRE(a != NULL);
    CHECK_EQ(hexz_pack_info(a)->items, 2);
    CHECK_EQ(hexz_pack_item_at(a, 0, &item), POSIO_OK);
    CHECK_STR(item.key, "case");
    CHECK_STR((const char *)item.value, "2026/17");
    CHECK_EQ(hexz_pack_item_at(a, 1, &item), POSIO_OK);
    CHECK_EQ(item.size, 0);
    CHECK_EQ(hexz_pack_item_at(a, 2, &item), POSIO_E_RANGE);
    CHECK_EQ(hexz_pack_entry_at(a, 3, &e, &err), POSIO_OK);
    CHECK_EQ(e.kind, HEXZ_PACK_DUPLICATE);
    CHECK_EQ(e.original, 1);
    CHECK_EQ(e.offset, 1536);
    CHECK_EQ(e.file_offset, HEXZ_PACK_NONE);
    CHECK_EQ(hexz_pack_find(a, 511, &e, &err), POSIO_OK);
    CHECK_EQ(e.number, 1);
    CHECK_EQ(e.file_offset, 128 + 266); /* 7 + 3 + 256 bytes: the first chunk's frame */
    CHECK_EQ(e.stored_size, 266);
    CHECK_EQ(hexz_pack_find(a, content.n, &e, &err), POSIO_E_RANGE);
    CHECK_EQ(hexz_pack_entry_at(a, 5, &e, &err), POSIO_E_RANGE);
    hexz_pack_close(a);
    hexz_build_free(&b);
    drop(&content);
}

/* The writer makes the same bytes as who builds by the description. */
TEST(written_as_described)
{
    static hexz_build b;
    bytes content = {NULL, 0, 0}, out = {NULL, 0, 0};
    hexz_pack_desc d = desc_of(HEXZ_PACK_FIXED, 256);
    hexz_pack_item item = {"case", "2026/17", 7};
    hexz_pack_stats s;
    hexz_pack_writer *w = NULL;
    posio_sink sink = sink_of(&out);
    posio_error err;
    uint64_t i;
    d.codec = HEXZ_PACK_CODEC_NONE;
    build_small(&b, &content);
    CHECK_EQ(hexz_pack_begin_sink(&w, &sink, &d, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_add_item(w, &item, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_append(w, content.p, content.n, &err), POSIO_OK);
    item.key = "md5";
    item.size = 0;
    CHECK_EQ(hexz_pack_add_item(w, &item, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_finish(w, &s, &err), POSIO_OK);
    CHECK_EQ(out.n, b.size);
    CHECK_EQ(s.file_size, out.n);
    CHECK_MEM(out.p, b.data, posio_min(out.n, b.size));
    hexz_build_free(&b);
    out.n = content.n = 0;
    /* Several tables; zeros at their borders. */
    for (i = 0; i < 1100; i++) {
        if (i % 512 < 2 || i % 512 > 509) put_zeros(&content, 1000);
        else put_noise(&content, 1000, i % 13 == 0 ? 14 : i + 1000);
    }
    hexz_build_begin(&b, HEXZ_PACK_FIXED, 1000, 1000, 1000);
    for (i = 0; i < 1100; i++) {
        const unsigned char *p = content.p + i * 1000;
        if (i % 512 < 2 || i % 512 > 509) {
            if (b.count != 0 && b.entries[b.count - 1].kind == 0) {
                b.entries[b.count - 1].size += 1000;
                b.content += 1000;
            } else {
                hexz_build_zeros(&b, 1000);
            }
        } else if (i % 13 == 0 && i != 13) {
            hexz_build_duplicate(&b, 12); /* i = 13; 0 and 1 are one run of zeros */
        } else {
            hexz_build_chunk(&b, p, 1000);
        }
    }
    hexz_build_end(&b);
    d.chunk_avg = 1000;
    CHECK_EQ(pack(&out, content.p, content.n, &d, SOURCE, &s, &err), POSIO_OK);
    CHECK_EQ(out.n, b.size);
    CHECK_MEM(out.p, b.data, posio_min(out.n, b.size));
    check_archive(&out, content.p, content.n);
    hexz_build_free(&b);
    drop(&out);
    drop(&content);
}

// ---------------------------------------------------------------------------------- identity

/* The same bytes for any number of threads, any way in, any memory. */
TEST(same_bytes)
{
    static const struct {
        uint32_t chunker, average, codec;
        int32_t level;
    } ways[] = {{HEXZ_PACK_CDC, 4096, HEXZ_PACK_CODEC_ZSTD, 1},
                {HEXZ_PACK_FIXED, 4096, HEXZ_PACK_CODEC_ZSTD, -3},
                {HEXZ_PACK_FIXED, 60000, HEXZ_PACK_CODEC_ZSTD, 0},
                {HEXZ_PACK_CDC, 65536, HEXZ_PACK_CODEC_ZSTD, 5},
#if defined(HEXZ_PACK_LZ4)
                {HEXZ_PACK_CDC, 16384, HEXZ_PACK_CODEC_LZ4, 0},
                {HEXZ_PACK_FIXED, 5000, HEXZ_PACK_CODEC_LZ4HC, 4},
#endif
                {HEXZ_PACK_CDC, 8192, HEXZ_PACK_CODEC_NONE, 0}};
    static const uint32_t threads[] = {2, 1, 8, 3};
    const bytes *in = mixture();
    size_t i, t;
    int way;
    posio_error err;
    for (i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        bytes first = {NULL, 0, 0}, out = {NULL, 0, 0};
        hexz_pack_desc d = desc_of(ways[i].chunker, ways[i].average);
        hexz_pack_stats s, s2;
        d.codec = ways[i].codec;
        d.level = ways[i].level;
        CHECK_EQ(pack(&first, in->p, in->n, &d, SOURCE, &s, &err), POSIO_OK);
        check_archive(&first, in->p, in->n);
        CHECK_EQ(s.size, in->n);
        CHECK_EQ(s.file_size, first.n);
        if (i == 0) CHECK(s.zero_bytes != 0 && s.duplicates != 0);
        for (t = 0; t < 4; t += TEST_STRIDE < 2 ? 1 : 2) {
            d.pool = thread_pool_create(threads[t]);
            for (way = 0; way < WAYS; way++) {
                d.memory = (uint64_t)(way == 1 ? 1 : way * 400000);
                d.chunks = (t + (size_t)way) % 3 == 0 ? 5 : 0;
                out.n = 0;
                CHECK_EQ(pack(&out, in->p, in->n, &d, way, &s2, &err), POSIO_OK);
                CHECK_EQ(out.n, first.n);
                CHECK_MEM(out.p, first.p, posio_min(out.n, first.n));
                CHECK_MEM(s2.root, s.root, 32);
            }
            CHECK_EQ(thread_pool_destroy(d.pool), POSIO_OK);
        }
        drop(&first);
        drop(&out);
    }
}

/* What every append accepts can be finished, up to the last frame that there is room for. */
TEST(many_frames)
{
    posio_error err;
    uint32_t n, refused = 0, times;
    most_frames = 2000;
    for (times = 1; times < 3; times++)
        for (n = 1960; n < 2000; n++) {
            bytes out = {NULL, 0, 0};
            hexz_pack_desc d = desc_of(HEXZ_PACK_FIXED, 64);
            hexz_pack_writer *w = NULL;
            posio_sink sink = sink_of(&out);
            posio_result r;
            uint32_t i, k;
            d.codec = HEXZ_PACK_CODEC_NONE;
            CHECK_EQ(hexz_pack_begin_sink(&w, &sink, &d, &err), POSIO_OK);
            for (i = 0; i < n * times; i++) { /* then duplicates: tables only */
                unsigned char x[64] = {0};
                hexz_build_set32(x, i % n + 1);
                CHECK_EQ(hexz_pack_append(w, x, sizeof x, &err), POSIO_OK);
            }
            r = hexz_pack_i_settle(w, &err);
            /* superblock, chunks, tables and pages, directory, trailer */
            k = 3 + n + 2 * ((n * times + 511) / 512);
            CHECK_EQ(r, k <= 2000 ? POSIO_OK : POSIO_E_LIMIT);
            if (k > 2000) refused++;
            if (r != POSIO_OK) {
                hexz_pack_abort(w);
            } else {
                CHECK_EQ(hexz_pack_finish(w, NULL, &err), POSIO_OK);
                CHECK_EQ(posio_le32(out.p + out.n - 9), k);
            }
            drop(&out);
        }
    CHECK(refused > 4 && refused < 76);
    most_frames = (uint64_t)1 << 27;
}

/* Claims that collide, and that are taken over. */
TEST(claims)
{
    const bytes *in = mixture();
    bytes a = {NULL, 0, 0}, b = {NULL, 0, 0};
    hexz_pack_desc d = desc_of(HEXZ_PACK_CDC, 1024);
    static hexz_pack_i_claims c;
    posio_error err;
    uint8_t hash[32] = {1};
    uint32_t ticket = 0, other = 1;
    uint64_t original = 0;
    int wanted = 0;
    CHECK_EQ(pack(&a, in->p, in->n, &d, SOURCE, NULL, &err), POSIO_OK);
    key_mask = 0x30;
    d.pool = thread_pool_create(3);
    CHECK_EQ(pack(&b, in->p, in->n, &d, SOURCE, NULL, &err), POSIO_OK);
    CHECK_EQ(thread_pool_destroy(d.pool), POSIO_OK);
    key_mask = UINT64_MAX;
    CHECK_EQ(a.n, b.n);
    CHECK_MEM(a.p, b.p, posio_min(a.n, b.n));
    check_archive(&b, in->p, in->n);
    drop(&a);
    drop(&b);
    memset(&c, 0, sizeof c);
    REQUIRE(hexz_pack_i_claims_begin(&c, &d.alloc, &err) == POSIO_OK);
    CHECK_EQ(hexz_pack_i_claim(&c, hash, 7, &wanted, &ticket, &err), POSIO_OK);
    CHECK_EQ(wanted, 1);
    CHECK_EQ(hexz_pack_i_claim(&c, hash, 9, &wanted, &other, &err), POSIO_OK);
    CHECK_EQ(wanted, 0);
    CHECK_EQ(other, ticket);
    CHECK_EQ(hexz_pack_i_claim(&c, hash, 5, &wanted, &other, &err), POSIO_OK);
    CHECK_EQ(wanted, 1);
    CHECK_EQ(hexz_pack_i_commit(&c, ticket, 5, 40, &original), 1);
    CHECK_EQ(hexz_pack_i_commit(&c, ticket, 7, 41, &original), 0);
    CHECK_EQ(original, 40);
    CHECK_EQ(hexz_pack_i_claim(&c, hash, 2, &wanted, &other, &err), POSIO_OK);
    CHECK_EQ(wanted, 0); /* an entry keeps it */
    hexz_pack_i_claims_end(&c);
}

// ---------------------------------------------------------------------------------- libzstd

/* What zstd makes of an archive is the stored chunks; the seek table tells where they are. */
TEST(a_stream_of_zstd)
{
    bytes in = {NULL, 0, 0}, out = {NULL, 0, 0}, back = {NULL, 0, 0};
    hexz_pack_desc d = desc_of(HEXZ_PACK_CDC, 4096);
    ZSTD_DCtx *z = ZSTD_createDCtx();
    ZSTD_inBuffer i;
    ZSTD_outBuffer o;
    posio_error err;
    uint64_t at = 0, content = 0;
    uint32_t frames, k;
    size_t left = 1, table;
    put_text(&in, 500000, 8);
    put_noise(&in, 300000, 9);
    CHECK_EQ(pack(&out, in.p, in.n, &d, STREAM, NULL, &err), POSIO_OK);
    o.dst = extend(&back, in.n + 1);
    o.size = in.n + 1;
    i.src = out.p;
    i.size = out.n;
    i.pos = o.pos = 0;
    while (i.pos < i.size) {
        left = ZSTD_decompressStream(z, &o, &i);
        REQUIRE(!ZSTD_isError(left));
    }
    CHECK_EQ(left, 0);
    CHECK_EQ(o.pos, in.n);
    CHECK_MEM(back.p, in.p, in.n);
    frames = posio_le32(out.p + out.n - 9);
    CHECK_EQ(posio_le32(out.p + out.n - 4), 0x8f92eab1u);
    CHECK_EQ(out.p[out.n - 5], 0);
    table = out.n - 9 - (size_t)frames * 8;
    CHECK_EQ(posio_le32(out.p + table - 8), 0x184d2a5eu);
    CHECK_EQ(posio_le32(out.p + table - 4), frames * 8 + 9);
    for (k = 0; k < frames; k++) {
        uint32_t stored = posio_le32(out.p + table + (size_t)k * 8);
        uint32_t size = posio_le32(out.p + table + (size_t)k * 8 + 4);
        CHECK_EQ(ZSTD_findFrameCompressedSize(out.p + at, out.n - (size_t)at), stored);
        if (size != 0) {
            CHECK_EQ(ZSTD_getFrameContentSize(out.p + at, stored), size);
            CHECK_EQ(ZSTD_decompressDCtx(z, back.p, size, out.p + at, stored), size);
            CHECK_MEM(back.p, in.p + content, size);
        }
        at += stored;
        content += size;
    }
    CHECK_EQ(at, table - 8);
    CHECK_EQ(content, in.n);
    ZSTD_freeDCtx(z);
    drop(&in);
    drop(&out);
    drop(&back);
}

// ---------------------------------------------------------------------------------- cutting

/* Content with runs of each byte but 0: the hash stays the same in them, and a chunk may end behind
   each byte, or behind none. */
static void put_runs(bytes *b, size_t noise)
{
    int i;
    for (i = 1; i < 256; i++) {
        memset(extend(b, 700), i, 700);
        put_noise(b, noise, (uint64_t)i);
    }
}

/* One byte at a time, as the description says. */
static size_t cut_naively(const unsigned char *p, size_t n, size_t least, size_t average,
                          size_t most, unsigned bits)
{
    static uint64_t table[256];
    uint64_t h = 0, state = 0;
    size_t i;
    for (i = 0; table[255] == 0 && i < 256; i++) {
        uint64_t x = state += 0x9e3779b97f4a7c15u;
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
        x = (x ^ x >> 27) * 0x94d049bb133111ebu;
        table[i] = x ^ x >> 31;
    }
    for (i = least - 64; i < least && n > least; i++) h = 2 * h + table[p[i]];
    for (i = least; i < n && i < most; i++) {
        unsigned k = i < average ? bits + 2 : bits - 2, j;
        int all = 1;
        h = 2 * h + table[p[i]];
        for (j = 0; j < k; j++) all &= !(h >> (62 - j) & 1);
        if (all) return i + 1;
    }
    return n < most ? n : most;
}

TEST(content_defined)
{
    /* least, average, most, bits */
    static const uint32_t sizes[4][4] = {
        {64, 256, 1024, 8}, {101, 512, 999, 9}, {1024, 1024, 1024, 10}, {16384, 65536, 262144, 16}};
    const uint64_t base = ((uint64_t)5 << 32) - 4096 * 77; /* the map is a ring of 32 MiB */
    static hexz_pack_i_map map;
    static hexz_pack_i_gear g;
    const bytes *in = mixture();
    bytes moved = {NULL, 0, 0}, out = {NULL, 0, 0}, all = {NULL, 0, 0};
    hexz_pack_desc d = desc_of(HEXZ_PACK_CDC, 4096);
    hexz_pack_stats s;
    posio_error err;
    size_t k, at, n;
    put_runs(&all, 1000);
    memcpy(extend(&all, in->n), in->p, in->n);
    for (k = 0; k < 12; k++) {
        const uint32_t *z = sizes[k % 4];
        hexz_pack_i_gear_begin(&g, z[0], z[1], z[2]);
        map.from = map.to = 0; /* not at all, all that it can, and less of it */
        if (k >= 4) map.from = map.to = base + 4096;
        while (k >= 4 && map.to + HEXZ_PACK_I_MAP_BLOCK <= base + all.n / (k < 8 ? 1 : 2)) {
            hexz_pack_i_map_block(&g, &map, all.p + (map.to - base), map.to);
            map.to += HEXZ_PACK_I_MAP_BLOCK;
        }
        if (k >= 8) map.from += 3 * 4096;
        for (at = 0; at < all.n; at += n) {
            n = hexz_pack_i_cut(&g, &map, all.p + at, all.n - at, base + at);
            CHECK_EQ(n, cut_naively(all.p + at, all.n - at, z[0], z[1], z[2], z[3]));
            CHECK(n <= z[2] && (n >= z[0] || at + n == all.n));
            if (n == 0) break;
        }
    }
    drop(&all);
    put_noise(&moved, 1000000, 11); /* once, then with a byte before it */
    put_noise(&moved, 1, 12);
    put_copy(&moved, 0, 1000000);
    CHECK_EQ(pack(&out, moved.p, moved.n, &d, APPEND, &s, &err), POSIO_OK);
    CHECK(s.duplicate_bytes > 970000);
    check_archive(&out, moved.p, moved.n);
    drop(&moved);
    drop(&out);
}

/* The chunks of an archive are those of the naive cutter, whatever is mapped and by whom. */
TEST(cuts)
{
    static const uint32_t averages[] = {2048, 4096, 65536};
    static uint32_t sizes[4096]; /* of chunks: 512 bytes at least, of 1.5 MB */
    bytes all = {NULL, 0, 0}, out = {NULL, 0, 0};
    posio_error err;
    uint32_t k, bits, t;
    int way;
    put_runs(&all, 5000);
    for (k = 0; k < 3; k++) {
        uint32_t count = 0;
        size_t from;
        for (bits = 0; (uint32_t)2 << bits <= averages[k];) bits++;
        for (from = 0; from < all.n; from += sizes[count++])
            sizes[count] = (uint32_t)cut_naively(all.p + from, all.n - from, averages[k] / 4,
                                                 averages[k], averages[k] * 4, bits);
        for (way = 0; way < WAYS; way++)
            for (t = TEST_STRIDE < 2 ? 1 : 3; t < 4; t += 2) {
                hexz_pack_desc d = desc_of(HEXZ_PACK_CDC, averages[k]);
                hexz_pack *a;
                hexz_pack_entry x;
                posio_memory m;
                uint64_t i, at = 0;
                d.codec = HEXZ_PACK_CODEC_NONE;
                d.pool = thread_pool_create(t);
                out.n = 0;
                CHECK_EQ(pack(&out, all.p, all.n, &d, way, NULL, &err), POSIO_OK);
                a = open_bytes(&m, out.p, out.n, &err);
                for (i = 0; i < count; at += sizes[i++]) {
                    CHECK_EQ(hexz_pack_entry_at(a, i, &x, NULL), POSIO_OK);
                    CHECK_EQ(x.offset, at);
                    CHECK_EQ(x.size, sizes[i]);
                }
                CHECK_EQ(hexz_pack_source(a).size, all.n);
                hexz_pack_close(a);
                CHECK_EQ(thread_pool_destroy(d.pool), POSIO_OK);
            }
    }
    drop(&all);
    drop(&out);
}

// ---------------------------------------------------------------------------------- sources

/* Memory with holes, that counts what is read in them, and may end early. */
typedef struct holey {
    const unsigned char *p;
    uint64_t size, real; /* what it says, and what there is */
    uint64_t grain;
    uint32_t reads; /* bytes, by any thread */
} holey;

static int holey_is_hole(const holey *h, uint64_t offset)
{
    uint64_t i, end = posio_min(h->size, offset / h->grain * h->grain + h->grain);
    for (i = offset / h->grain * h->grain; i < end; i++)
        if (i >= h->real || h->p[i] != 0) return 0;
    return 1;
}
static posio_result holey_read(void *self, uint64_t offset, void *buf, size_t n, posio_error *err)
{
    holey *h = (holey *)self;
    if (!posio_within(offset, n, h->real))
        return posio_fail(err, POSIO_E_IO, h->real, "the file has become shorter");
    memcpy(buf, h->p + offset, n);
    (void)posio_atomic_add(&h->reads, (uint32_t)n);
    return POSIO_OK;
}
static posio_result holey_extent(void *self, uint64_t offset, posio_extent *out, posio_error *err)
{
    holey *h = (holey *)self;
    uint64_t end = offset;
    int hole = holey_is_hole(h, offset);
    (void)err;
    do end = posio_min(h->size, end / h->grain * h->grain + h->grain);
    while (end < h->size && holey_is_hole(h, end) == hole);
    out->length = end - offset;
    out->kind = hole ? POSIO_EXTENT_HOLE : POSIO_EXTENT_DATA;
    out->reserved = 0;
    return POSIO_OK;
}
static posio_source holey_source(holey *h, const bytes *b, uint64_t grain)
{
    posio_source s;
    memset(h, 0, sizeof *h);
    memset(&s, 0, sizeof s);
    h->p = b->p;
    h->size = h->real = b->n;
    h->grain = grain;
    s.size = b->n;
    s.read_at = holey_read;
    s.extent_at = holey_extent;
    s.self = h;
    return s;
}

TEST(holes)
{
    static const uint64_t grains[] = {512, 4096, 10000};
    const bytes *in = mixture();
    size_t g, t;
    posio_error err;
    for (g = 0; g < 3; g++)
        for (t = 0; t < 4; t++) {
            bytes plain = {NULL, 0, 0}, out = {NULL, 0, 0};
            hexz_pack_desc d = desc_of(t & 1 ? HEXZ_PACK_FIXED : HEXZ_PACK_CDC, 4096);
            hexz_pack_writer *w = NULL;
            posio_sink sink = sink_of(&out);
            holey h;
            posio_source s = holey_source(&h, in, grains[g]);
            if (t & 2) d.pool = thread_pool_create(2);
            CHECK_EQ(hexz_pack_begin_sink(&w, &sink, &d, &err), POSIO_OK);
            CHECK_EQ(hexz_pack_append(w, "abc", t, &err), POSIO_OK); /* the grid is elsewhere */
            CHECK_EQ(hexz_pack_append_source(w, &s, &err), POSIO_OK);
            CHECK_EQ(hexz_pack_finish(w, NULL, &err), POSIO_OK);
            CHECK(h.reads < in->n - 100000);
            {
                bytes all = {NULL, 0, 0};
                if (t != 0) memcpy(extend(&all, t), "abc", t);
                memcpy(extend(&all, in->n), in->p, in->n);
                check_archive(&out, all.p, all.n);
                CHECK_EQ(pack(&plain, all.p, all.n, &d, SOURCE, NULL, &err), POSIO_OK);
                if (t & 1) {
                    CHECK_EQ(out.n, plain.n);
                    CHECK_MEM(out.p, plain.p, posio_min(out.n, plain.n));
                }
                drop(&all);
            }
            if (d.pool != NULL) CHECK_EQ(thread_pool_destroy(d.pool), POSIO_OK);
            drop(&plain);
            drop(&out);
        }
}

/* Its own content as a source: extents, and packed again. */
TEST(archive_in_archive)
{
    const bytes *in = mixture();
    bytes one = {NULL, 0, 0}, two = {NULL, 0, 0}, three = {NULL, 0, 0};
    hexz_pack_desc d = desc_of(HEXZ_PACK_FIXED, 4096);
    posio_memory m;
    posio_error err;
    posio_source s;
    posio_extent x;
    hexz_pack_writer *w = NULL;
    posio_sink sink = sink_of(&two);
    uint64_t at = 0, zeros = 0;
    hexz_pack *a;
    CHECK_EQ(pack(&one, in->p, in->n, &d, SOURCE, NULL, &err), POSIO_OK);
    a = open_bytes(&m, one.p, one.n, &err);
    REQUIRE(a != NULL);
    s = hexz_pack_source(a);
    CHECK_EQ(s.size, in->n);
    CHECK_EQ(s.unit, 4096);
    while (at < s.size) {
        uint64_t i;
        REQUIRE(posio_extent_of(&s, at, &x, &err) == POSIO_OK);
        REQUIRE(x.length != 0 && x.length <= s.size - at);
        if (x.kind == POSIO_EXTENT_ZERO)
            for (i = 0; i < x.length; i++) zeros += in->p[at + i] == 0;
        else CHECK_EQ(x.kind, POSIO_EXTENT_COMPRESSED);
        at += x.length;
    }
    CHECK_EQ(zeros, hexz_pack_info(a)->sums.zero_bytes);
    CHECK_EQ(hexz_pack_begin_sink(&w, &sink, &d, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_append_source(w, &s, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_finish(w, NULL, &err), POSIO_OK);
    CHECK_EQ(one.n, two.n);
    CHECK_MEM(one.p, two.p, posio_min(one.n, two.n));
    hexz_pack_close(a);
    drop(&one);
    drop(&two);
    drop(&three);
}

/* A source that has become shorter: its error, and the writer stays failed. */
TEST(shrinking_source)
{
    const bytes *in = mixture();
    int t;
    for (t = 0; t < 4; t++) {
        bytes out = {NULL, 0, 0};
        hexz_pack_desc d = desc_of(t & 1 ? HEXZ_PACK_FIXED : HEXZ_PACK_CDC, 4096);
        hexz_pack_writer *w = NULL;
        posio_sink sink = sink_of(&out);
        posio_error err;
        holey h;
        posio_source s = holey_source(&h, in, 4096);
        size_t before;
        h.real = 900001;
        if (t & 2) d.pool = thread_pool_create(3);
        CHECK_EQ(hexz_pack_begin_sink(&w, &sink, &d, &err), POSIO_OK);
        CHECK_EQ(hexz_pack_append_source(w, &s, &err), POSIO_E_IO);
        CHECK_STR(err.message, "the file has become shorter");
        CHECK_EQ(err.offset, 900001);
        before = out.n;
        memset(&err, 0, sizeof err);
        CHECK_EQ(hexz_pack_append(w, "x", 1, &err), POSIO_E_IO);
        CHECK_EQ(err.offset, 900001);
        CHECK_EQ(hexz_pack_finish(w, NULL, &err), POSIO_E_IO);
        CHECK_EQ(out.n, before); /* nothing more was written */
        if (d.pool != NULL) CHECK_EQ(thread_pool_destroy(d.pool), POSIO_OK);
        drop(&out);
    }
}

/* A bad sector: the same error, and the same bytes in the sink, whatever the threads and memory. */
typedef struct sectors {
    const bytes *b;
    uint64_t bad;
} sectors;
static posio_result sectors_read(void *self, uint64_t offset, void *buf, size_t n, posio_error *err)
{
    const sectors *s = (const sectors *)self;
    if (offset <= s->bad && s->bad < offset + n)
        return posio_fail(err, POSIO_E_IO, offset, "cannot read %lu bytes", (unsigned long)n);
    memcpy(buf, s->b->p + offset, n);
    return POSIO_OK;
}

TEST(bad_sector)
{
    static const uint32_t threads[] = {1, 2, 3, 8};
    const bytes *in = mixture();
    size_t i, t, lead;
    posio_error err;
    for (i = 0; i < 12; i++)
        for (t = 0, lead = i % 3 == 2 ? 5 : 0; t < 8; t++) {
            static bytes first;
            static uint64_t size;
            bytes out = {NULL, 0, 0};
            hexz_pack_stats stats;
            hexz_pack_desc d = desc_of(i & 1 ? HEXZ_PACK_FIXED : HEXZ_PACK_CDC,
                                       i < 4 ? 4096 : i < 8 ? 256 : 16384);
            hexz_pack_writer *w = NULL;
            posio_sink sink = sink_of(&out);
            sectors s;
            posio_source source;
            uint64_t want;
            s.b = in;
            s.bad = 1200100 - i * 100003; /* a whole block before that: */
            memset(&source, 0, sizeof source);
            source.size = in->n;
            source.read_at = sectors_read;
            source.self = &s;
            d.codec = HEXZ_PACK_CODEC_NONE;
            d.pool = thread_pool_create(threads[t % 4]);
            d.memory = t < 4 ? 0 : t % 2 ? 1 : 700000;
            d.chunks = t == 5 ? 3 : 0;
            memset(&err, 0, sizeof err);
            CHECK_EQ(hexz_pack_begin_sink(&w, &sink, &d, &err), POSIO_OK);
            CHECK_EQ(hexz_pack_append(w, in->p, lead, &err), POSIO_OK);
            CHECK_EQ(hexz_pack_append_source(w, &source, &err), POSIO_E_IO);
            want = s.bad / 4096 * 4096;
            if (i & 1) { /* the chunk's beginning */
                want = (s.bad + lead) / d.chunk_avg * d.chunk_avg - lead;
            }
            CHECK_EQ(err.offset, want);
            hexz_pack_so_far(w, &stats);
            hexz_pack_abort(w);
            CHECK_EQ(thread_pool_destroy(d.pool), POSIO_OK);
            if (t == 0) {
                first = out;
                size = stats.size;
                CHECK(size + lead + 65536 + 4096 >= s.bad); /* nothing is lost that could be had */
                continue;
            }
            CHECK_EQ(stats.size, size);
            CHECK_EQ(out.n, first.n);
            CHECK_MEM(out.p, first.p, posio_min(out.n, first.n));
            drop(&out);
            if (t == 7) drop(&first);
        }
}

/* Chunks that the caller has cut. */
TEST(ready_chunks)
{
    const bytes *in = mixture();
    bytes out = {NULL, 0, 0};
    hexz_pack_desc d = desc_of(HEXZ_PACK_CDC, 4096);
    hexz_pack_writer *w = NULL;
    posio_sink sink = sink_of(&out);
    posio_memory m;
    posio_error err;
    hexz_pack_entry e;
    hexz_pack *a;
    uint64_t seed = 13, i = 0;
    size_t at = 0, n, sizes[3000], count = 0;
    CHECK_EQ(hexz_pack_begin_sink(&w, &sink, &d, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_append_chunk(w, in->p, 0, &err), POSIO_E_ARG);
    CHECK_EQ(hexz_pack_append_chunk(w, in->p, 16385, &err), POSIO_E_ARG);
    CHECK_EQ(hexz_pack_append(w, in->p, 100, &err), POSIO_OK);
    sizes[count++] = at = 100;
    while (at < 400000) {
        n = 1 + (size_t)(test_random(&seed) % (count % 20 == 0 ? 16384 : 300));
        sizes[count++] = n;
        CHECK_EQ(hexz_pack_append_chunk(w, in->p + at, n, &err), POSIO_OK);
        at += n;
    }
    CHECK_EQ(hexz_pack_append(w, in->p + at, in->n - at, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_finish(w, NULL, &err), POSIO_OK);
    check_archive(&out, in->p, in->n);
    a = open_bytes(&m, out.p, out.n, &err);
    REQUIRE(a != NULL);
    for (at = 0, n = 0; n < count; n++, i++) {
        REQUIRE(hexz_pack_find(a, at, &e, &err) == POSIO_OK);
        at += sizes[n];
        if (e.kind != HEXZ_PACK_ZERO) CHECK_EQ(e.offset + e.size, at);
    }
    hexz_pack_close(a);
    drop(&out);
}

// ---------------------------------------------------------------------------------- reading

typedef struct reading {
    hexz_pack *archive;
    const bytes *content;
} reading;
static posio_result read_some(void *user, uint32_t part, posio_error *err)
{
    const reading *x = (const reading *)user;
    static const size_t lengths[] = {1, 17, 4096, 70000, 300000};
    uint64_t seed = part + 1;
    unsigned char *buf = (unsigned char *)malloc(300000);
    posio_result r = buf == NULL ? POSIO_E_NOMEM : POSIO_OK;
    int i;
    for (i = 0; i < 60 && r == POSIO_OK; i++) {
        size_t n = 1 + (size_t)(test_random(&seed) % lengths[test_random(&seed) % 5]);
        uint64_t at = test_random(&seed) % (x->content->n - n + 1);
        r = hexz_pack_read_at(x->archive, at, buf, n, err);
        if (r == POSIO_OK && memcmp(buf, x->content->p + at, n) != 0)
            r = posio_fail(err, POSIO_E_DATA, at, "not what was packed");
    }
    free(buf);
    return r;
}

TEST(reading_by_many)
{
    const bytes *in = mixture();
    uint32_t average;
    for (average = 1024; average <= 65536; average *= 8) {
        bytes out = {NULL, 0, 0};
        hexz_pack_desc d = desc_of(HEXZ_PACK_CDC, average);
        posio_memory m;
        posio_source s;
        posio_error err;
        reading x;
        err.message[0] = 0;
        CHECK_EQ(pack(&out, in->p, in->n, &d, SOURCE, NULL, &err), POSIO_OK);
        s = source_of(&m, out.p, out.n);
        d.pool = thread_pool_create(4);
        d.cache_bytes = 200000;
        d.index_cache = 1;
        x.archive = NULL;
        x.content = in;
        REQUIRE(hexz_pack_open_source(&x.archive, &s, &d, &err) == POSIO_OK);
        CHECK_EQ(thread_pool_parallel_for(d.pool, 12, read_some, &x, &err), POSIO_OK);
        CHECK_STR(err.message, "");
        CHECK_EQ(hexz_pack_read_at(x.archive, in->n, &m, 1, &err), POSIO_E_RANGE);
        CHECK_EQ(hexz_pack_read_at(x.archive, in->n, &m, 0, &err), POSIO_OK);
        hexz_pack_close(x.archive);
        CHECK_EQ(thread_pool_destroy(d.pool), POSIO_OK);
        drop(&out);
    }
}

TEST(inspecting)
{
    const bytes *in = mixture();
    bytes out = {NULL, 0, 0};
    hexz_pack_desc d = desc_of(HEXZ_PACK_CDC, 1024);
    hexz_pack_stats s;
    hexz_pack_picture p;
    posio_memory m;
    posio_error err;
    hexz_pack_entry e, f;
    hexz_pack *a;
    uint64_t i, at = 0, sizes = 0, count[HEXZ_PACK_KINDS] = {0}, stored = 0;
    CHECK_EQ(pack(&out, in->p, in->n, &d, SOURCE, &s, &err), POSIO_OK);
    a = open_bytes(&m, out.p, out.n, &err);
    REQUIRE(a != NULL);
    CHECK_EQ(memcmp(&s, &hexz_pack_info(a)->sums, sizeof s), 0);
    CHECK_EQ(hexz_pack_info(a)->chunk_min, 256);
    CHECK_EQ(hexz_pack_info(a)->chunk_max, 4096);
    CHECK_EQ(hexz_pack_info(a)->level, 3);
    CHECK_EQ(hexz_pack_inspect(a, &p, &err), POSIO_OK);
    for (i = 0; i < s.entries; i++) {
        uint8_t hash[32];
        REQUIRE(hexz_pack_entry_at(a, i, &e, &err) == POSIO_OK);
        CHECK_EQ(e.offset, at);
        at += e.size;
        count[e.kind]++;
        stored += e.stored_size;
        CHECK_EQ(hexz_pack_find(a, at - 1, &f, &err), POSIO_OK);
        CHECK_EQ(f.number, i);
        if (e.kind == HEXZ_PACK_DUPLICATE) {
            CHECK(e.original < i);
            CHECK_EQ(hexz_pack_entry_at(a, e.original, &f, &err), POSIO_OK);
            CHECK_MEM(in->p + e.offset, in->p + f.offset, e.size);
        } else if (e.kind != HEXZ_PACK_ZERO) {
            (void)digest_of(DIGEST_BLAKE3, in->p + e.offset, (size_t)e.size, hash);
            CHECK_MEM(e.hash, hash, 32);
            CHECK_EQ(e.crc, digest_crc32c(0, out.p + e.file_offset, e.stored_size));
        }
    }
    CHECK_EQ(at, in->n);
    CHECK_EQ(stored, s.stored_bytes);
    CHECK_MEM(count, p.count, sizeof count);
    for (i = 0; i < HEXZ_PACK_SIZES; i++) sizes += p.stored_sizes[i] + p.duplicate_sizes[i];
    CHECK_EQ(sizes, s.stored + s.duplicates);
    CHECK(p.smallest != 0 && p.largest <= 4096);
    CHECK_EQ(p.count[HEXZ_PACK_DUPLICATE], s.duplicates);
    hexz_pack_close(a);
    drop(&out);
}

// ---------------------------------------------------------------------------------- damage

typedef struct found {
    hexz_pack_fault faults[64];
    unsigned n;
    int stop;
} found;
static int on_fault(void *user, const hexz_pack_fault *f)
{
    found *x = (found *)user;
    if (x->n < 64) x->faults[x->n] = *f;
    x->n++;
    return x->stop;
}

/* Begin and end of the structure or frame that this byte lies in, by the seek table. */
static void structure_of(const bytes *b, size_t byte, uint64_t *begin, uint64_t *end)
{
    uint32_t frames = posio_le32(b->p + b->n - 9), i;
    size_t table = b->n - 9 - (size_t)frames * 8;
    *begin = 0;
    for (i = 0; i < frames; i++, *begin = *end) {
        *end = *begin + posio_le32(b->p + table + (size_t)i * 8);
        if (byte < *end) return;
    }
    *end = b->n;
}

/* An archive with everything in it, as small as can be. */
static void small_archive(bytes *in, bytes *out, uint32_t codec)
{
    hexz_pack_desc d = desc_of(HEXZ_PACK_FIXED, 256);
    hexz_pack_item item = {"key", "value", 5};
    hexz_pack_writer *w = NULL;
    posio_sink sink = sink_of(out);
    posio_error err;
    d.codec = codec;
    put_text(in, 512, 1);
    put_noise(in, 256, 2);
    put_zeros(in, 512);
    put_copy(in, 256, 256);
    put_text(in, 100, 3);
    CHECK_EQ(hexz_pack_begin_sink(&w, &sink, &d, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_add_item(w, &item, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_append(w, in->p, in->n, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_finish(w, NULL, &err), POSIO_OK);
}

/* Every byte, wrong in several ways: found, and where it is. */
static void every_byte_of(uint32_t codec)
{
    static const unsigned char wrong[] = {1, 0x80, 0x10, 0xff};
    bytes in = {NULL, 0, 0}, good = {NULL, 0, 0}, bad = {NULL, 0, 0};
    size_t i, k;
    small_archive(&in, &good, codec);
    check_archive(&good, in.p, in.n);
    memcpy(extend(&bad, good.n), good.p, good.n);
    for (i = 0; i < good.n; i += TEST_STRIDE)
        for (k = i % TEST_STRIDE; k < sizeof wrong; k += TEST_STRIDE) {
            posio_memory m;
            posio_error err;
            found f;
            uint64_t begin, end;
            hexz_pack *a;
            memset(&f, 0, sizeof f);
            memset(&err, 0, sizeof err);
            structure_of(&good, i, &begin, &end);
            bad.p[i] ^= wrong[k];
            a = open_bytes(&m, bad.p, bad.n, &err);
            if (a != NULL) {
                CHECK_EQ(hexz_pack_verify(a, on_fault, &f, NULL, &err), POSIO_E_DATA);
                REQUIRE(f.n != 0);
                CHECK_EQ(f.faults[0].file_offset, err.offset);
                if (f.faults[0].entry != HEXZ_PACK_NONE) {
                    hexz_pack_entry e;
                    CHECK_EQ(hexz_pack_entry_at(a, f.faults[0].entry, &e, NULL), POSIO_OK);
                    CHECK_EQ(e.file_offset, begin);
                    CHECK_EQ(e.file_offset + e.stored_size, end);
                    CHECK_EQ(e.offset, f.faults[0].offset);
                    CHECK_EQ(e.size, f.faults[0].size);
                    /* chunk 1 has a duplicate: that is bad, too */
                    CHECK_EQ(f.n, f.faults[0].entry == 1 ? 2 : 1);
                } else {
                    CHECK_EQ(f.n, 1);
                    CHECK_EQ(f.faults[0].size, 0);
                }
                hexz_pack_close(a);
            }
            CHECK(err.code != POSIO_OK && err.message[0] != 0);
            if (err.offset < begin || err.offset >= end)
                printf("byte %lu in [%lu, %lu) found at %lu: %s\n", (unsigned long)i,
                       (unsigned long)begin, (unsigned long)end, (unsigned long)err.offset,
                       err.message);
            CHECK(err.offset >= begin && err.offset < end);
            bad.p[i] ^= wrong[k];
        }
    drop(&in);
    drop(&good);
    drop(&bad);
}

TEST(every_byte)
{
    every_byte_of(HEXZ_PACK_CODEC_ZSTD);
#if defined(HEXZ_PACK_LZ4)
    every_byte_of(HEXZ_PACK_CODEC_LZ4);
#endif
}

TEST(truncations)
{
    bytes in = {NULL, 0, 0}, out = {NULL, 0, 0};
    posio_memory m;
    posio_error err;
    size_t n;
    small_archive(&in, &out, HEXZ_PACK_CODEC_ZSTD);
    for (n = 0; n < out.n; n++) {
        CHECK(open_bytes(&m, out.p, n, &err) == NULL);
        CHECK_EQ(err.code, n < 20 ? POSIO_E_FORMAT : POSIO_E_DATA);
        CHECK(err.message[0] != 0);
    }
    *extend(&out, 1) = 0;
    CHECK(open_bytes(&m, out.p, out.n, &err) == NULL);
    CHECK_EQ(err.code, POSIO_E_DATA);
    drop(&in);
    drop(&out);
}

/* Changed on purpose, with all checksums right: whatever it says, no harm is done, and what it
   says of the content is what it gives. */
static void try_hostile(const bytes *b)
{
    posio_memory m;
    posio_error err;
    posio_source s = source_of(&m, b->p, b->n);
    hexz_pack_desc d;
    hexz_pack *a = NULL;
    hexz_pack_picture p;
    hexz_pack_entry e;
    static unsigned char buf[5000];
    uint64_t at, i;
    memset(&d, 0, sizeof d);
    d.index_max = 1 << 20;
    d.cache_bytes = d.index_cache = 1;
    err.message[0] = 0;
    if (hexz_pack_open_source(&a, &s, &d, &err) != POSIO_OK) {
        CHECK(err.message[0] != 0);
        return;
    }
    (void)hexz_pack_verify(a, NULL, NULL, NULL, &err);
    (void)hexz_pack_inspect(a, &p, &err);
    s = hexz_pack_source(a);
    for (i = 0, at = 0; i < 8 && at < s.size; i++, at += 1 + s.size / 8) {
        posio_extent x;
        (void)hexz_pack_read_at(a, at, buf, (size_t)posio_min(sizeof buf, s.size - at), &err);
        if (posio_extent_of(&s, at, &x, &err) == POSIO_OK)
            CHECK(x.length != 0 && x.length <= s.size - at);
    }
    for (i = 0; i < 10; i++)
        if (hexz_pack_entry_at(a, i, &e, &err) == POSIO_OK)
            CHECK(e.size != 0 && e.offset < s.size && e.size <= s.size - e.offset);
    hexz_pack_close(a);
}

TEST(hostile)
{
    bytes in = {NULL, 0, 0}, good = {NULL, 0, 0}, bad = {NULL, 0, 0};
    uint64_t seed = 99;
    size_t i, k, structures;
    small_archive(&in, &good, HEXZ_PACK_CODEC_ZSTD);
    memcpy(extend(&bad, good.n), good.p, good.n);
    CHECK(hexz_build_repair(bad.p, bad.n));
    CHECK_MEM(bad.p, good.p, good.n);
    structures = 128;
    for (i = 0; i < good.n; i++) {
        static const unsigned char wrong[] = {1, 2, 0x40, 0x80, 0xff};
        if (i >= structures && i < good.n - 900) continue; /* chunks: see every_byte */
        for (k = 0; k < sizeof wrong; k++) {
            bad.p[i] ^= wrong[k];
            (void)hexz_build_repair(bad.p, bad.n);
            try_hostile(&bad);
            memcpy(bad.p, good.p, good.n);
        }
    }
    for (i = 0; i < 3000; i += TEST_STRIDE) {
        size_t n = 1 + (size_t)(test_random(&seed) % 6);
        while (n-- != 0) {
            size_t at = good.n - 1 - (size_t)(test_random(&seed) % 1100);
            unsigned how = (unsigned)(test_random(&seed) % 4);
            bad.p[at] = how == 0 ? 0 : how == 1 ? 0xff : (unsigned char)test_random(&seed);
        }
        (void)hexz_build_repair(bad.p, bad.n);
        try_hostile(&bad);
        memcpy(bad.p, good.p, good.n);
    }
    drop(&in);
    drop(&good);
    drop(&bad);
}

static void expect_refusal(unsigned char *p, size_t n, posio_result code, uint64_t offset,
                           const char *text)
{
    posio_memory m;
    posio_error err;
    posio_source s = source_of(&m, p, n);
    memset(&err, 0, sizeof err);
    CHECK_EQ(hexz_pack_probe(&s, &err), code);
    CHECK(open_bytes(&m, p, n, &err) == NULL);
    CHECK_EQ(err.code, code);
    CHECK_EQ(err.offset, offset);
    if (strstr(err.message, text) == NULL) CHECK_STR(err.message, text);
}

TEST(refused_by_name)
{
    static hexz_build b;
    bytes content = {NULL, 0, 0};
    posio_memory m;
    posio_error err;
    posio_source s;
    hexz_pack *a;
    hexz_pack_desc d;
    unsigned char hexz[100] = "HEXZ\1\0\0\0";
    size_t i, trailer;
    build_small(&b, &content);
    expect_refusal(hexz, sizeof hexz, POSIO_E_UNSUPPORTED, 0, "hexz tool (.hxz, its version 1)");
    expect_refusal((unsigned char *)"nothing at all of the kind", 26, POSIO_E_FORMAT, 0,
                   "not an archive");
    expect_refusal(hexz, 0, POSIO_E_FORMAT, 0, "not an archive");
    b.data[20] = 2;
    b.data[22] = 7;
    expect_refusal(b.data, b.size, POSIO_E_UNSUPPORTED, 20, "version 2.7");
    b.data[20] = 1;
    b.data[24] = 2;
    hexz_build_repair(b.data, b.size);
    expect_refusal(b.data, b.size, POSIO_E_UNSUPPORTED, 24, "folders");
    b.data[24] = 12;
    hexz_build_repair(b.data, b.size);
    expect_refusal(b.data, b.size, POSIO_E_UNSUPPORTED, 24, "a base archive encryption");
    b.data[24] = 0;
    b.data[27] = 1;
    hexz_build_repair(b.data, b.size);
    expect_refusal(b.data, b.size, POSIO_E_UNSUPPORTED, 24, "of a later version");
    b.data[27] = b.data[22] = 0;
#if !defined(HEXZ_PACK_LZ4)
    b.data[24] = 1;
    hexz_build_repair(b.data, b.size);
    expect_refusal(b.data, b.size, POSIO_E_UNSUPPORTED, 24, "HEXZ_PACK_LZ4");
    b.data[24] = 0;
#endif
    b.data[32] = 3;
    hexz_build_repair(b.data, b.size);
    expect_refusal(b.data, b.size, POSIO_E_UNSUPPORTED, 32, "hash is number 3");
    b.data[32] = 4;
    b.data[100] = 3;
    hexz_build_repair(b.data, b.size);
    expect_refusal(b.data, b.size, POSIO_E_DATA, 0, "what is reserved is not 0");
    b.data[100] = 0;
    b.data[35] = 9;
    hexz_build_repair(b.data, b.size);
    expect_refusal(b.data, b.size, POSIO_E_DATA, 0, "what is reserved is not 0");
    b.data[35] = 0;
    for (i = 0; i < 5; i++) { /* no chunker, a later one; least > average > most; 0 */
        static const size_t places[] = {33, 33, 42, 46, 41};
        static const unsigned char values[] = {0, 3, 1, 1, 0};
        const unsigned char was = b.data[places[i]];
        b.data[places[i]] = values[i];
        hexz_build_repair(b.data, b.size);
        expect_refusal(b.data, b.size, POSIO_E_DATA, 0, "impossible");
        b.data[places[i]] = was;
    }
    /* One wrong bit in the version is damage, not a later version. */
    hexz_build_repair(b.data, b.size);
    for (i = 0; i < 16; i++) {
        b.data[20 + i / 8] ^= (unsigned char)(1 << i % 8);
        expect_refusal(b.data, b.size, POSIO_E_DATA, 0, "CRC-32C");
        b.data[20 + i / 8] ^= (unsigned char)(1 << i % 8);
    }
    trailer = b.size - 17 - (size_t)hexz_build_get32(b.data + b.size - 9) * 8 - 80;
    for (i = 12; i < 76; i += i == 15 ? 49 : 1) { /* reserved bytes of the trailer */
        b.data[trailer + i] = 0x55;
        hexz_build_repair(b.data, b.size);
        CHECK(open_bytes(&m, b.data, b.size, &err) == NULL);
        CHECK_EQ(err.code, POSIO_E_DATA);
        CHECK_EQ(err.offset, trailer);
        CHECK(strstr(err.message, "what is reserved is not 0") != NULL);
        b.data[trailer + i] = 0;
    }
    b.data[100] = 3;
    /* A later minor version, and an optional feature: read as they are. */
    b.data[22] = 7;
    b.data[28] = 1;
    hexz_build_repair(b.data, b.size);
    a = open_bytes(&m, b.data, b.size, &err);
    REQUIRE(a != NULL);
    CHECK_EQ(hexz_pack_info(a)->minor_version, 7);
    CHECK_EQ(hexz_pack_info(a)->optional, 1);
    CHECK_EQ(hexz_pack_verify(a, NULL, NULL, NULL, &err), POSIO_OK);
    hexz_pack_close(a);
    /* Limits of the caller's. */
    memset(&d, 0, sizeof d);
    s = source_of(&m, b.data, b.size);
    d.index_max = 100;
    CHECK_EQ(hexz_pack_open_source(&a, &s, &d, &err), POSIO_E_LIMIT);
    d.index_max = 0;
    d.read_chunk_max = 255;
    CHECK_EQ(hexz_pack_open_source(&a, &s, &d, &err), POSIO_E_LIMIT);
    hexz_build_free(&b);
    drop(&content);
}

/* One chunk of 8 KiB whose frame is given: verified, and read. */
static void try_frame(const bytes *frame, const unsigned char *p, size_t n, unsigned required,
                      const char *text)
{
    static hexz_build b;
    static unsigned char back[8192];
    posio_memory m;
    posio_error err;
    hexz_pack *a;
    hexz_build_begin(&b, HEXZ_PACK_CDC, 1024, 4096, 8192);
    hexz_build_stored(&b, required & 2 ? 4 : 3, frame->p, frame->n, p, n);
    b.data[24] = required & 1;
    hexz_build_end(&b);
    hexz_build_repair(b.data, b.size);
    memset(&err, 0, sizeof err);
    a = open_bytes(&m, b.data, b.size, &err);
    REQUIRE(a != NULL);
    CHECK_EQ(hexz_pack_verify(a, NULL, NULL, NULL, &err), text ? POSIO_E_DATA : POSIO_OK);
    if (text != NULL && strstr(err.message, text) == NULL) CHECK_STR(err.message, text);
    CHECK_EQ(hexz_pack_read_at(a, 0, back, n, &err), text ? POSIO_E_DATA : POSIO_OK);
    if (text != NULL && strstr(err.message, text) == NULL) CHECK_STR(err.message, text);
    hexz_pack_close(a);
    hexz_build_free(&b);
}

/* A frame by libzstd with these parameters. */
static void put_frame(bytes *out, const unsigned char *p, size_t n, int window, int content_size,
                      int checksum)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    size_t z, room = ZSTD_compressBound(n);
    unsigned char *to = extend(out, room);
    REQUIRE(c != NULL);
    if (window != 0) (void)ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window);
    (void)ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, content_size);
    (void)ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, checksum);
    z = ZSTD_compress2(c, to, room, p, n);
    REQUIRE(!ZSTD_isError(z));
    out->n -= room - z;
    (void)ZSTD_freeCCtx(c);
}

/* A chunk is one frame as the format says: what a decoder would take besides is refused. */
TEST(frames_of_chunks)
{
    static const char text[] = "its frame is not as it was written";
    static const unsigned char hidden[] = "\x5a\x2a\x4d\x18\x10\0\0\0sixteen bytes!!!";
    bytes in = {NULL, 0, 0}, f = {NULL, 0, 0};
    int log;
    put_text(&in, 8192, 77);
    put_frame(&f, in.p, 8192, 0, 1, 0);
    try_frame(&f, in.p, 8192, 0, NULL);
    memcpy(extend(&f, 24), hidden, 24);
    try_frame(&f, in.p, 8192, 0, text);
    f.n = 0;
    put_frame(&f, in.p, 4096, 0, 1, 0);
    put_frame(&f, in.p + 4096, 4096, 0, 1, 0);
    try_frame(&f, in.p, 8192, 0, text);
    f.n = 0;
    put_frame(&f, in.p, 8192, 0, 1, 1);
    try_frame(&f, in.p, 8192, 0, text);
    f.n = 0;
    put_frame(&f, in.p, 8192, 0, 0, 0);
    try_frame(&f, in.p, 8192, 0, text);
    f.n = 0;
    put_frame(&f, in.p, 8192, 12, 1, 0); /* a window of 4 KiB: not one segment */
    CHECK_EQ(f.p[4] & 0x20, 0);
    try_frame(&f, in.p, 8192, 0, NULL);
    for (log = 10; log < 42; log++) { /* chunk_max is 2^13 */
        f.p[5] = (unsigned char)((log - 10) << 3);
        if (log >= 12) try_frame(&f, in.p, 8192, 0, log <= 13 ? NULL : text);
    }
    f.p[5] = 3 << 3 | 1;
    try_frame(&f, in.p, 8192, 0, text);
    f.p[5] = 2 << 3;
    f.p[4] |= 0x10; /* unused */
    try_frame(&f, in.p, 8192, 0, text);
    /* LZ4 that the superblock does not announce */
    f.n = 0;
    memcpy(extend(&f, 14), "\x5b\x2a\x4d\x18\6\0\0\0\x50hello", 14);
#if defined(HEXZ_PACK_LZ4)
    try_frame(&f, (const unsigned char *)"hello", 5, 3, NULL);
#endif
    try_frame(&f, (const unsigned char *)"hello", 5, 2, "superblock says nothing");
    drop(&in);
    drop(&f);
}

/* Frames of an optional feature: nothing is between directory and trailer that is not verified. */
TEST(optional_frames)
{
    static const unsigned char frame[] = "\x5a\x2a\x4d\x18\x0c\0\0\0SIGNabcd";
    int how;
    for (how = 0; how < 8; how++) {
        static hexz_build b;
        bytes content = {NULL, 0, 0}, all = {NULL, 0, 0};
        unsigned char *p;
        size_t trailer, frames, i;
        posio_memory m;
        posio_error err;
        hexz_pack *a;
        posio_result r;
        build_small(&b, &content);
        b.data[28] = 1;
        CHECK(hexz_build_repair(b.data, b.size));
        frames = hexz_build_get32(b.data + b.size - 9);
        trailer = b.size - 17 - frames * 8 - 80;
        memcpy(extend(&all, trailer), b.data, trailer);
        for (i = 0; i < 2; i++) {
            p = extend(&all, 20);
            memcpy(p, frame, 16);
            if (i == 1 && how == 2) p[4] = 13;        /* reaches beyond */
            if (i == 1 && how == 3) p[0] = 0x5b;      /* another magic */
            hexz_build_set32(p + 16, digest_crc32c(0, p, 16));
            if (i == 0 && how == 1) p[13] ^= 1;
        }
        if (how == 4) memset(extend(&all, 11), 0xee, 11);
        memcpy(extend(&all, 80), b.data + trailer, 80);
        p = extend(&all, 8 + 8 * (frames + 2) + 9);
        memcpy(p, b.data + trailer + 80, 8 * frames);
        for (i = 0; i < 3; i++) { /* two frames, and the trailer's again */
            memset(p + 8 * (frames + i), 0, 8);
            p[8 * (frames + i)] = i == 2 ? 80 : 20;
        }
        if (how == 5) p[8 * frames] = 21;
        if (how == 6) p[8 * (frames + 2) + 4] = 1;
        memcpy(p + 8 * (frames + 3), b.data + b.size - 9, 9);
        if (how == 7) { /* one entry less */
            memmove(p + 8 * (frames + 2), p + 8 * (frames + 3), 9);
            all.n -= 8;
            frames--;
        }
        hexz_build_set32(p + 4, (uint32_t)(frames + 2) * 8 + 9);
        hexz_build_set32(all.p + all.n - 9, (uint32_t)frames + 2);
        memset(&err, 0, sizeof err);
        a = open_bytes(&m, all.p, all.n, &err);
        REQUIRE(a != NULL);
        r = hexz_pack_verify(a, NULL, NULL, NULL, &err);
        CHECK_EQ(r, how == 0 ? POSIO_OK : POSIO_E_DATA);
        hexz_pack_close(a);
        hexz_build_free(&b);
        drop(&content);
        drop(&all);
    }
}

/* A damaged page is read from its group's table; with both gone, what it told of is lost. */
TEST(damaged_index)
{
    bytes in = {NULL, 0, 0}, out = {NULL, 0, 0};
    hexz_pack_desc d = desc_of(HEXZ_PACK_FIXED, 64);
    posio_memory m;
    posio_error err;
    hexz_pack *a;
    hexz_pack_verdict v;
    found f;
    static unsigned char back[64 * 1200];
    size_t page, table;
    d.codec = HEXZ_PACK_CODEC_NONE;
    put_noise(&in, 64 * 1199, 20);
    put_copy(&in, 64 * 600, 64); /* a duplicate of an entry of page 1, in page 2 */
    CHECK_EQ(pack(&out, in.p, in.n, &d, SOURCE, NULL, &err), POSIO_OK);
    a = open_bytes(&m, out.p, out.n, &err);
    REQUIRE(a != NULL);
    CHECK_EQ(hexz_pack_info(a)->pages, 3);
    page = (size_t)a->pages[1];
    table = (size_t)hexz_pack_i_record_of(a, 1).table;
    hexz_pack_close(a);
    out.p[page + 1000] ^= 1;
    a = open_bytes(&m, out.p, out.n, &err);
    REQUIRE(a != NULL);
    CHECK_EQ(hexz_pack_read_at(a, 0, back, in.n, &err), POSIO_OK);
    CHECK_MEM(back, in.p, in.n);
    memset(&f, 0, sizeof f);
    CHECK_EQ(hexz_pack_verify(a, on_fault, &f, &v, &err), POSIO_E_DATA);
    CHECK_EQ(f.n, 1);
    CHECK_EQ(f.faults[0].file_offset, page);
    CHECK_EQ(v.bad_bytes, 0);
    hexz_pack_close(a);
    out.p[table + 1000] ^= 1;
    a = open_bytes(&m, out.p, out.n, &err);
    REQUIRE(a != NULL);
    CHECK_EQ(hexz_pack_read_at(a, 0, back, 64 * 512, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_read_at(a, 64 * 1024, back, 64 * 100, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_read_at(a, 64 * 512, back, 64, &err), POSIO_E_DATA);
    CHECK_EQ(hexz_pack_read_at(a, 64 * 1199, back, 64, &err), POSIO_E_DATA);
    memset(&f, 0, sizeof f);
    CHECK_EQ(hexz_pack_verify(a, on_fault, &f, &v, &err), POSIO_E_DATA);
    CHECK_EQ(f.n, 3); /* table, page, and the duplicate of what it held */
    CHECK_EQ(v.bad_bytes, 64 * 513);
    CHECK_EQ(v.bad_entries, 513);
    f.stop = 1;
    CHECK_EQ(hexz_pack_verify(a, on_fault, &f, &v, &err), POSIO_E_CANCELED);
    hexz_pack_close(a);
    drop(&in);
    drop(&out);
}

/* The seek table is the last of the file: what is wrong there does not hide a chunk; and what is
   wrong is told also when there is no memory. */
TEST(order_of_faults)
{
    static hexz_build b;
    unsigned char x[80] = {0};
    posio_memory m;
    posio_error err;
    posio_source s;
    hexz_pack_desc d;
    hexz_pack_verdict v;
    hexz_pack *a = NULL;
    faults memory;
    found f;
    size_t seek, i;
    hexz_build_begin(&b, HEXZ_PACK_CDC, 64, 256, 1024);
    for (i = 0; i < 1100; i++) {
        hexz_build_set32(x, (uint32_t)i);
        hexz_build_chunk(&b, x, sizeof x);
    }
    hexz_build_end(&b);
    seek = b.size - 9 - (size_t)hexz_build_get32(b.data + b.size - 9) * 8;
    b.data[seek + 8 * 3] ^= 1;
    b.data[b.pages[2].table - 40] ^= 1; /* the last chunk */
    s = source_of(&m, b.data, b.size);
    memset(&d, 0, sizeof d);
    memset(&memory, 0, sizeof memory);
    d.alloc.alloc_fn = faults_alloc;
    d.alloc.free_fn = faults_free;
    d.alloc.user = &memory;
    REQUIRE(hexz_pack_open_source(&a, &s, &d, &err) == POSIO_OK);
    memset(&f, 0, sizeof f);
    CHECK_EQ(hexz_pack_verify(a, on_fault, &f, &v, &err), POSIO_E_DATA);
    CHECK_EQ(f.n, 2);
    CHECK_EQ(f.faults[0].entry, 1099);
    CHECK_EQ(f.faults[1].entry, HEXZ_PACK_NONE);
    CHECK_EQ(f.faults[1].file_offset, seek + 8 * 3);
    CHECK_EQ(err.offset, f.faults[0].file_offset);
    memset(&v, 0xff, sizeof v);
    memory.fail_at = memory.calls + 1;
    CHECK_EQ(hexz_pack_verify(a, on_fault, &f, &v, &err), POSIO_E_NOMEM);
    CHECK_EQ(v.faults, 0);
    CHECK_EQ(v.chunks, 0);
    hexz_pack_close(a);
    hexz_build_free(&b);
}

/* A source that counts the bytes it is asked for. */
typedef struct counted {
    posio_source base;
    uint64_t bytes;
} counted;
static posio_result counted_read(void *self, uint64_t offset, void *buf, size_t n, posio_error *err)
{
    counted *c = (counted *)self;
    c->bytes += n;
    return posio_read(&c->base, offset, buf, n, err);
}

/* Duplicates that point here and there: verifying reads every byte once, whatever the cache has. */
TEST(scattered_duplicates)
{
    enum { PAGES = 24, COUNT = PAGES * 512 };
    bytes out = {NULL, 0, 0};
    hexz_pack_desc d = desc_of(HEXZ_PACK_CDC, 256);
    posio_sink sink = sink_of(&out);
    hexz_pack_writer *w = NULL;
    hexz_pack *a = NULL;
    posio_memory m;
    posio_error err;
    posio_source s;
    counted c;
    uint32_t i;
    d.codec = HEXZ_PACK_CODEC_NONE;
    CHECK_EQ(hexz_pack_begin_sink(&w, &sink, &d, &err), POSIO_OK);
    for (i = 0; i < 2 * COUNT; i++) {
        unsigned char x[4];
        hexz_build_set32(x, 1 + (i < COUNT ? i : i % PAGES * 512 + (i - COUNT) / PAGES));
        REQUIRE(hexz_pack_append_chunk(w, x, 4, &err) == POSIO_OK);
    }
    CHECK_EQ(hexz_pack_finish(w, NULL, &err), POSIO_OK);
    memset(&c, 0, sizeof c);
    c.base = source_of(&m, out.p, out.n);
    s = c.base;
    s.read_at = counted_read;
    s.self = &c;
    memset(&d, 0, sizeof d);
    d.index_cache = 1;
    REQUIRE(hexz_pack_open_source(&a, &s, &d, &err) == POSIO_OK);
    CHECK_EQ(hexz_pack_info(a)->sums.duplicates, COUNT);
    c.bytes = 0;
    CHECK_EQ(hexz_pack_verify(a, NULL, NULL, NULL, &err), POSIO_OK);
    CHECK(c.bytes <= out.n);
    hexz_pack_close(a);
    drop(&out);
}

/* A range of many duplicates of few chunks: each chunk is decoded three times at
   most: for itself, for the first duplicate, and for the cache. */
TEST(few_originals)
{
    enum { SIZE = 8192, COPIES = 300 };
    static unsigned char back[(3 + COPIES) * SIZE];
    bytes in = {NULL, 0, 0};
    hexz_build *b = (hexz_build *)malloc(sizeof *b);
    hexz_pack *a = NULL;
    hexz_pack_desc d;
    posio_memory m;
    posio_error err;
    posio_source s;
    counted c;
    size_t i;
    REQUIRE(b != NULL);
    put_noise(&in, 3 * SIZE, 55);
    hexz_build_begin(b, 1, SIZE, SIZE, SIZE);
    for (i = 0; i < 3; i++) hexz_build_chunk(b, in.p + i * SIZE, SIZE);
    for (i = 0; i < COPIES; i++) {
        hexz_build_duplicate(b, i * 7 % 3);
        put_copy(&in, i * 7 % 3 * SIZE, SIZE);
    }
    hexz_build_end(b);
    memset(&c, 0, sizeof c);
    c.base = source_of(&m, b->data, b->size);
    s = c.base;
    s.read_at = counted_read;
    s.self = &c;
    memset(&d, 0, sizeof d);
    REQUIRE(hexz_pack_open_source(&a, &s, &d, &err) == POSIO_OK);
    c.bytes = 0;
    CHECK_EQ(hexz_pack_read_at(a, 0, back, in.n, &err), POSIO_OK);
    CHECK_MEM(back, in.p, in.n);
    CHECK(c.bytes < 9 * (SIZE + 20) + 20000); /* a page, too */
    hexz_pack_close(a);
    hexz_build_free(b);
    free(b);
    drop(&in);
}

/* HEXZ_PACK_REMEMBER: after all has been read nothing but the index is, and what verifying says is
   what it says without; of chunks that are damaged, and of those whose CRC-32C only is. */
static void check_remembered(const hexz_build *b, size_t n, int threads)
{
    static unsigned char back[400000];
    hexz_pack_verdict want, have;
    posio_error first, err;
    posio_memory m;
    posio_source s;
    hexz_pack_desc d;
    hexz_pack *a = NULL;
    counted c;
    posio_result r;
    uint64_t stored, at;
    memset(&c, 0, sizeof c);
    memset(&d, 0, sizeof d);
    memset(&first, 0, sizeof first);
    memset(&err, 0, sizeof err);
    c.base = source_of(&m, b->data, b->size);
    REQUIRE(hexz_pack_open_source(&a, &c.base, NULL, &err) == POSIO_OK);
    r = hexz_pack_verify(a, NULL, NULL, &want, &first);
    hexz_pack_close(a);
    d.pool = thread_pool_create((uint32_t)threads);
    d.flags = HEXZ_PACK_REMEMBER;
    s = c.base;
    if (threads == 1) { /* it counts for one */
        s.read_at = counted_read;
        s.self = &c;
    }
    REQUIRE(hexz_pack_open_source(&a, &s, &d, &err) == POSIO_OK);
    stored = hexz_pack_info(a)->sums.stored_bytes;
    (void)hexz_pack_read_at(a, 0, back, n, &err);
    for (at = 0; at < n; at += 1000) /* where it failed: all but what is damaged */
        (void)hexz_pack_read_at(a, at, back, n - at < 1000 ? n - (size_t)at : 1000, &err);
    c.bytes = 0;
    CHECK_EQ(hexz_pack_verify(a, NULL, NULL, &have, &err), r);
    CHECK_MEM(&have, &want, sizeof have);
    if (r != POSIO_OK) CHECK(strcmp(err.message, first.message) == 0);
    if (threads == 1) CHECK(c.bytes <= b->size - stored + want.bad_bytes + 100);
    hexz_pack_close(a);
    (void)thread_pool_destroy(d.pool);
}

TEST(remembered)
{
    enum { SIZE = 4096, COUNT = 80 };
    bytes in = {NULL, 0, 0};
    hexz_build *b = (hexz_build *)malloc(sizeof *b);
    int what, threads;
    REQUIRE(b != NULL);
    put_noise(&in, COUNT * SIZE, 56);
    for (what = 0; what < 3; what++) {
        size_t i;
        hexz_build_begin(b, 1, SIZE, SIZE, SIZE);
        for (i = 0; i < COUNT; i++)
            if (i % 5 == 4) hexz_build_duplicate(b, i - 3);
            else hexz_build_chunk(b, in.p + i * SIZE, SIZE);
        if (what == 1) b->entries[31].crc ^= 1;
        hexz_build_end(b);
        if (what == 2) b->data[300] ^= 1;
        for (threads = 1; threads <= 3; threads++) check_remembered(b, in.n, threads);
        hexz_build_free(b);
    }
    free(b);
    drop(&in);
}

/* A read of a damaged chunk says so, cached or straight; its neighbours are read. */
TEST(reading_damage)
{
    bytes in = {NULL, 0, 0}, out = {NULL, 0, 0};
    hexz_pack_desc d = desc_of(HEXZ_PACK_FIXED, 4096);
    static unsigned char back[300000];
    posio_memory m;
    posio_error err;
    hexz_pack_entry e;
    hexz_pack *a;
    int i;
    d.codec = HEXZ_PACK_CODEC_NONE;
    put_noise(&in, sizeof back, 40);
    CHECK_EQ(pack(&out, in.p, in.n, &d, SOURCE, NULL, &err), POSIO_OK);
    a = open_bytes(&m, out.p, out.n, &err);
    REQUIRE(a != NULL && hexz_pack_find(a, 50000, &e, &err) == POSIO_OK);
    out.p[e.file_offset + 2000] ^= 4;
    for (i = 0; i < 2; i++) { /* failures are not kept, nor is what is wrong */
        CHECK_EQ(hexz_pack_read_at(a, 50000, back, 10, &err), POSIO_E_DATA);
        CHECK_EQ(err.offset, e.file_offset);
        CHECK(strstr(err.message, "chunk 12 (4096 bytes of content at 49152)") != NULL);
        CHECK(strstr(err.message, "BLAKE3") != NULL);
        CHECK_EQ(hexz_pack_read_at(a, 0, back, sizeof back, &err), POSIO_E_DATA);
        CHECK_EQ(err.offset, e.file_offset);
        CHECK_EQ(hexz_pack_read_at(a, e.offset - 100, back, 100, &err), POSIO_OK);
        CHECK_MEM(back, in.p + e.offset - 100, 100);
    }
    hexz_pack_close(a);
    drop(&in);
    drop(&out);
}

// ---------------------------------------------------------------------------------- the pipeline

typedef struct line {
    uint64_t seed, produced, most; /* chunks */
    uint64_t written, offset, most_in_flight;
    uint32_t seen; /* written, as `next` sees it */
    uint64_t fail_next, fail_claim, fail_compress, fail_write; /* numbers, or UINT64_MAX */
    uint64_t slow;
    uint64_t cancel_at;
    uint32_t largest;
    int bad;
} line;

static line line_of(uint64_t chunks)
{
    line l;
    memset(&l, 0, sizeof l);
    l.most = chunks;
    l.seed = 5;
    l.fail_next = l.fail_claim = l.fail_compress = l.fail_write = l.slow = UINT64_MAX;
    l.cancel_at = UINT64_MAX;
    l.largest = 3000;
    return l;
}
static void fill_chunk(unsigned char *p, size_t n, uint64_t number)
{
    size_t i;
    for (i = 0; i < n; i++) p[i] = (unsigned char)(number * 7 + i / 16);
    p[0] = (unsigned char)(p[0] + (number >> 8));
}
static posio_result line_next(void *user, hexz_pack_feed *f, posio_error *err)
{
    line *l = (line *)user;
    uint64_t now;
    if (l->produced == l->fail_next)
        return posio_fail(err, POSIO_E_IO, 4711, "no next");
    if (l->produced == l->most) return POSIO_OK;
    if (f->room < l->largest || f->have != 0) l->bad = 1;
    if (l->produced % 50 == 49) f->zeros = (uint64_t)1 << 40;
    else {
        f->size = f->have = 1 + (size_t)(test_random(&l->seed) % l->largest);
        fill_chunk(f->data, f->size, l->produced);
    }
    l->produced++;
    now = l->produced - posio_atomic_load(&l->seen);
    if (now > l->most_in_flight) l->most_in_flight = now;
    return POSIO_OK;
}
static posio_result line_claim(void *user, const hexz_pack_chunk *k, int *wanted, uint32_t *ticket,
                               posio_error *err)
{
    const line *l = (const line *)user;
    if (k->number == l->fail_claim) return posio_fail(err, POSIO_E_LIMIT, 1, "no claim");
    *wanted = k->number % 3 != 0;
    *ticket = (uint32_t)k->number * 3;
    return POSIO_OK;
}
static posio_result line_compress(void *user, const hexz_pack_chunk *k, void *out, size_t room,
                                  size_t *size, uint32_t *kind, posio_error *err)
{
    const line *l = (const line *)user;
    volatile unsigned spin = 0;
    if (k->number == l->slow)
        while (spin < 3000000 / TEST_STRIDE) spin = spin + 1;
    if (k->number >= l->fail_compress)
        return posio_fail(err, POSIO_E_DATA, k->offset, "no compressing %llu",
                          (unsigned long long)k->number);
    if (room < k->size) return POSIO_E_SPACE;
    memcpy(out, k->data, (size_t)k->size);
    *size = (size_t)k->size;
    *kind = (uint32_t)(k->number % 9);
    return POSIO_OK;
}
static posio_result line_write(void *user, const hexz_pack_chunk *k, posio_error *err)
{
    line *l = (line *)user;
    static unsigned char want[65536];
    uint8_t hash[32] = {0};
    if (k->number == l->fail_write) return posio_fail(err, POSIO_E_SPACE, 2, "no writing");
    if (k->number != l->written++ || k->offset != l->offset) l->bad = 2;
    l->offset += k->size;
    if (k->number % 50 == 49) {
        if (k->data != NULL || k->stored != NULL || k->size != (uint64_t)1 << 40) l->bad = 3;
    } else {
        fill_chunk(want, (size_t)k->size, k->number);
        (void)digest_of(DIGEST_BLAKE3, want, (size_t)k->size, hash);
        if (memcmp(k->data, want, (size_t)k->size) != 0) l->bad = 4;
        if (k->number % 3 != 0 && (k->stored == NULL || k->stored_size != k->size ||
                                   memcmp(k->stored, want, (size_t)k->size) != 0 ||
                                   k->kind != k->number % 9))
            l->bad = 5;
        if (k->number % 3 == 0 && k->stored != NULL) l->bad = 6;
        if (k->ticket != k->number * 3) l->bad = 7;
    }
    if (memcmp(hash, k->hash, 32) != 0) l->bad = 8;
    posio_atomic_store(&l->seen, (uint32_t)l->written);
    return POSIO_OK;
}
static int line_progress(void *user, uint64_t done, uint64_t total)
{
    const line *l = (const line *)user;
    return done >= l->cancel_at || total != 77;
}

static posio_result run_line(line *l, uint32_t threads, uint32_t chunks, posio_error *err)
{
    hexz_pack_job job;
    posio_result r;
    memset(&job, 0, sizeof job);
    memset(err, 0, sizeof *err);
    job.pool = thread_pool_create(threads);
    job.user = l;
    job.chunk_max = l->largest;
    job.chunks = chunks;
    job.next = line_next;
    job.claim = line_claim;
    job.compress = line_compress;
    job.write = line_write;
    job.progress = line_progress;
    job.total = 77;
    r = hexz_pack_process(&job, err);
    CHECK_EQ(thread_pool_destroy(job.pool), POSIO_OK);
    CHECK_EQ(l->bad, 0);
    return r;
}

/* Many chunks of random sizes come out in order; so do none, one, and fewer than threads. */
TEST(pipeline_in_order)
{
    static const uint64_t counts[] = {0, 1, 3, 1000, 20000 / TEST_STRIDE / TEST_STRIDE};
    static const uint32_t threads[] = {1, 2, 8};
    posio_error err;
    size_t i, t;
    for (i = 0; i < 5; i++)
        for (t = 0; t < 3; t++) {
            line l = line_of(counts[i]);
            CHECK_EQ(run_line(&l, threads[t], 0, &err), POSIO_OK);
            CHECK_EQ(l.written, counts[i]);
        }
}

/* One chunk takes long: the others go on, but not without bound. */
TEST(pipeline_slow_chunk)
{
    static const uint32_t chunks[] = {1, 7, 100, 1000};
    posio_error err;
    size_t i;
    for (i = 0; i < 4; i++) {
        line l = line_of(4000);
        l.slow = 1001;
        CHECK_EQ(run_line(&l, 1, chunks[i], &err), POSIO_OK); /* one thread: counts are exact */
        CHECK(l.most_in_flight <= chunks[i]);
        CHECK_EQ(l.written, 4000);
        l = line_of(4000);
        l.slow = 1001;
        l.produced = 0;
        CHECK_EQ(run_line(&l, 4, chunks[i], &err), POSIO_OK);
        CHECK_EQ(l.written, 4000);
    }
}

/* The first chunk from `at` on that is compressed: those that nobody wants and zeros are not. */
static uint64_t first_compressed(uint64_t at)
{
    while (at % 3 == 0 || at % 50 == 49) at++;
    return at;
}
/* And that is claimed. */
static uint64_t first_claimed(uint64_t at) { return at % 50 == 49 ? at + 1 : at; }

/* Whoever fails: what is before the chunk has been written, nothing behind it, wherever slots and
   parts end. */
TEST(pipeline_failures)
{
    static const uint32_t threads[] = {1, 2, 8}, chunks[] = {1, 2, 4, 9, 1000};
    posio_error err;
    size_t t;
    uint64_t at;
    for (t = 0; t < 15; t++) {
        line l = line_of(40);
        l.fail_claim = 17;
        CHECK_EQ(run_line(&l, threads[t % 3], chunks[t / 3], &err), POSIO_E_LIMIT);
        CHECK_EQ(l.written, 17);
        l = line_of(40);
        l.fail_compress = 13;
        CHECK_EQ(run_line(&l, threads[t % 3], chunks[t / 3], &err), POSIO_E_DATA);
        CHECK_EQ(l.written, 13);
        CHECK_STR(err.message, "no compressing 13");
    }
    for (t = 0; t < 3; t++)
        for (at = 0; at < 3000; at += 797 * TEST_STRIDE) {
            line l = line_of(5000);
            l.fail_compress = at;
            CHECK_EQ(run_line(&l, threads[t], 0, &err), POSIO_E_DATA);
            CHECK_EQ(l.written, first_compressed(at));
            CHECK(strstr(err.message, "no compressing") != NULL);
            l = line_of(5000);
            l.fail_write = at;
            CHECK_EQ(run_line(&l, threads[t], 0, &err), POSIO_E_SPACE);
            CHECK_EQ(l.written, at);
            l = line_of(5000);
            l.fail_claim = first_claimed(at + 1);
            CHECK_EQ(run_line(&l, threads[t], 0, &err), POSIO_E_LIMIT);
            CHECK_EQ(l.written, l.fail_claim);
            l = line_of(5000);
            l.fail_next = at;
            CHECK_EQ(run_line(&l, threads[t], 0, &err), POSIO_E_IO);
            CHECK_EQ(err.offset, 4711);
            CHECK_EQ(l.written, at);
            l = line_of(5000);
            l.cancel_at = 0;
            CHECK_EQ(run_line(&l, threads[t], 0, &err), POSIO_E_CANCELED);
        }
}

static posio_result feed_wrongly(void *user, hexz_pack_feed *f, posio_error *err)
{
    (void)err;
    switch (*(int *)user) {
    case 0: f->size = 101; break;                        /* more than chunk_max */
    case 1: f->size = 50; f->have = 49; break;           /* more than is there */
    case 2: f->have = f->room + 1; f->size = 1; break;   /* more than the room */
    case 3: f->have = f->size = 1; f->zeros = 1; break;  /* both */
    case 4: f->size = 10; f->later = 1; break;           /* and nobody to load it */
    default: f->zeros = UINT64_MAX; break;
    }
    return POSIO_OK;
}

TEST(pipeline_impossible)
{
    hexz_pack_job job;
    posio_error err;
    int how;
    memset(&job, 0, sizeof job);
    CHECK_EQ(hexz_pack_process(&job, &err), POSIO_E_ARG);
    job.next = feed_wrongly;
    job.write = line_write;
    job.chunk_max = 100;
    job.user = &how;
    for (how = 0; how < 6; how++) CHECK_EQ(hexz_pack_process(&job, &err), POSIO_E_ARG);
    job.chunk_max = (16 << 20) + 1;
    CHECK_EQ(hexz_pack_process(&job, &err), POSIO_E_ARG);
    job.chunk_max = 100;
    job.codec = 9;
    CHECK_EQ(hexz_pack_process(&job, &err), POSIO_E_ARG);
    job.codec = 0;
    job.flags = HEXZ_PACK_FORCE; /* a writer's */
    CHECK_EQ(hexz_pack_process(&job, &err), POSIO_E_ARG);
}

// ---------------------------------------------------------------------------------- faults

static posio_result fail_write(void *self, const void *p, size_t n, posio_error *err)
{
    faults *f = (faults *)self;
    (void)p;
    (void)n;
    if (faults_strike(f)) return posio_fail(err, POSIO_E_SPACE, 5, "no space");
    return POSIO_OK;
}

/* Every allocation and every write of a writer fails once. */
TEST(writer_faults)
{
    bytes in = {NULL, 0, 0};
    uint64_t at, calls = 0;
    int what;
    put_text(&in, 30000, 1);
    put_noise(&in, 60000, 2);
    put_copy(&in, 0, 30000);
    for (what = 0; what < 2; what++)
        for (at = 0; at <= calls; at++) { /* first without one, to count them */
            hexz_pack_desc d = desc_of(HEXZ_PACK_CDC, what == 0 ? 512 : 16384);
            hexz_pack_item item = {"a", "b", 1};
            hexz_pack_writer *w = NULL;
            faults memory, output;
            posio_sink sink;
            posio_error err;
            posio_result r;
            memset(&memory, 0, sizeof memory);
            memset(&output, 0, sizeof output);
            (what == 0 ? &memory : &output)->fail_at = at;
            d.alloc.alloc_fn = faults_alloc;
            d.alloc.free_fn = faults_free;
            d.alloc.user = &memory;
            d.codec = HEXZ_PACK_CODEC_NONE;
            sink.write = fail_write;
            sink.hole = NULL;
            sink.self = &output;
            memset(&err, 0, sizeof err);
            r = hexz_pack_begin_sink(&w, &sink, &d, &err);
            if (r == POSIO_OK) {
                posio_result item_r = hexz_pack_add_item(w, &item, &err);
                r = feed(w, in.p, in.n, MIXED, &err);
                if (r == POSIO_OK) r = hexz_pack_append_chunk(w, in.p, 700, &err);
                if (r == POSIO_OK) r = hexz_pack_finish(w, NULL, &err);
                else hexz_pack_abort(w);
                if (r == POSIO_OK) r = item_r;
            }
            if (at == 0) calls = what == 0 ? memory.calls : output.calls;
            CHECK_EQ(memory.live, 0);
            if (memory.failed + output.failed != 0) {
                CHECK_EQ(r, what == 0 ? POSIO_E_NOMEM : POSIO_E_SPACE);
                CHECK(err.message[0] != 0);
            } else {
                CHECK_EQ(r, POSIO_OK);
            }
        }
    CHECK(at > 3);
    drop(&in);
}

typedef struct unsure {
    posio_source base;
    faults reads;
} unsure;
static posio_result unsure_read(void *self, uint64_t offset, void *buf, size_t n, posio_error *err)
{
    unsure *u = (unsure *)self;
    if (faults_strike(&u->reads)) return posio_fail(err, POSIO_E_IO, offset, "no reading");
    return posio_read(&u->base, offset, buf, n, err);
}

/* What the archive's source fails with is told with the chunk. */
TEST(unreadable_chunk)
{
    bytes in = {NULL, 0, 0}, out = {NULL, 0, 0};
    hexz_pack_desc d = desc_of(HEXZ_PACK_FIXED, 4096);
    posio_memory m;
    posio_source s;
    posio_error err;
    hexz_pack_entry e;
    hexz_pack *a = NULL;
    unsure u;
    char back[10];
    put_noise(&in, 50000, 40);
    CHECK_EQ(pack(&out, in.p, in.n, &d, SOURCE, NULL, &err), POSIO_OK);
    memset(&u, 0, sizeof u);
    u.base = source_of(&m, out.p, out.n);
    s = u.base;
    s.read_at = unsure_read;
    s.self = &u;
    REQUIRE(hexz_pack_open_source(&a, &s, NULL, &err) == POSIO_OK);
    CHECK_EQ(hexz_pack_find(a, 30000, &e, &err), POSIO_OK);
    u.reads.fail_at = u.reads.calls + 1;
    CHECK_EQ(hexz_pack_read_at(a, 30000, back, sizeof back, &err), POSIO_E_IO);
    CHECK_EQ(err.offset, e.file_offset);
    CHECK_STR(err.message,
              "chunk 7 (4096 bytes of content at 28672) cannot be read: no reading");
    u.reads.fail_at = u.reads.calls + 1;
    CHECK_EQ(hexz_pack_read_at(a, 30000, back, sizeof back, NULL), POSIO_E_IO);
    hexz_pack_close(a);
    drop(&in);
    drop(&out);
}

/* Every allocation and every read of a reader fails once. */
TEST(reader_faults)
{
    bytes in = {NULL, 0, 0}, out = {NULL, 0, 0};
    static unsigned char back[120000];
    hexz_pack_desc pack_desc = desc_of(HEXZ_PACK_CDC, 2048);
    uint64_t at, calls = 0;
    int what;
    posio_error err;
    put_text(&in, 30000, 1);
    put_noise(&in, 60000, 2);
    put_copy(&in, 0, 30000);
    CHECK_EQ(pack(&out, in.p, in.n, &pack_desc, SOURCE, NULL, &err), POSIO_OK);
    for (what = 0; what < 2; what++)
        for (at = 0; at <= calls; at++) { /* first without one, to count them */
            hexz_pack_desc d;
            hexz_pack *a = NULL;
            hexz_pack_picture picture;
            posio_memory m;
            posio_source s;
            unsure u;
            faults memory;
            posio_result r, v;
            memset(&d, 0, sizeof d);
            memset(&memory, 0, sizeof memory);
            memset(&u, 0, sizeof u);
            memset(&err, 0, sizeof err);
            u.base = source_of(&m, out.p, out.n);
            s = u.base;
            s.read_at = unsure_read;
            s.self = &u;
            (what == 0 ? &memory : &u.reads)->fail_at = at;
            d.alloc.alloc_fn = faults_alloc;
            d.alloc.free_fn = faults_free;
            d.alloc.user = &memory;
            r = hexz_pack_open_source(&a, &s, &d, &err);
            if (r == POSIO_OK) {
                r = hexz_pack_read_at(a, 0, back, in.n, &err);
                if (r == POSIO_OK) CHECK_MEM(back, in.p, in.n);
                v = hexz_pack_verify(a, NULL, NULL, NULL, r == POSIO_OK ? &err : NULL);
                if (r == POSIO_OK) r = v;
                v = hexz_pack_inspect(a, &picture, r == POSIO_OK ? &err : NULL);
                if (r == POSIO_OK) r = v;
                hexz_pack_close(a);
            }
            if (at == 0) calls = what == 0 ? memory.calls : u.reads.calls;
            CHECK_EQ(memory.live, 0);
            if (r != POSIO_OK) {
                CHECK_EQ(r, what == 0 ? POSIO_E_NOMEM : POSIO_E_IO);
                CHECK(err.message[0] != 0);
            }
            /* but for a page, which has its like: */
            if (memory.failed != 0) CHECK(r != POSIO_OK);
        }
    CHECK(at > 8);
    drop(&in);
    drop(&out);
}

typedef struct meter {
    size_t now, most;
} meter;
static thread_pool_mutex meter_lock;
static void *meter_alloc(size_t n, void *user)
{
    meter *m = (meter *)user;
    size_t *p = (size_t *)malloc(n + 16);
    if (p == NULL) return NULL;
    p[0] = n;
    thread_pool_lock(&meter_lock);
    m->now += n;
    if (m->now > m->most) m->most = m->now;
    thread_pool_unlock(&meter_lock);
    return p + 16 / sizeof *p;
}
static void meter_free(void *block, void *user)
{
    size_t *p = (size_t *)block;
    if (p == NULL) return;
    p -= 16 / sizeof *p;
    thread_pool_lock(&meter_lock);
    ((meter *)user)->now -= *p;
    thread_pool_unlock(&meter_lock);
    free(p);
}

/* Reading and verifying take no more than the header says, but for contexts. */
static void check_reading_memory(const bytes *archive, size_t size, uint32_t threads)
{
    enum { PIECE = 1 << 20 };
    static unsigned char back[PIECE];
    const size_t cache = 1 << 20, index = 200000;
    hexz_pack_desc d;
    hexz_pack *a = NULL;
    meter m = {0, 0};
    posio_memory memory;
    posio_source s = source_of(&memory, archive->p, archive->n);
    posio_error err;
    size_t at, allowed, most;
    memset(&d, 0, sizeof d);
    d.cache_bytes = cache;
    d.index_cache = index;
    d.pool = thread_pool_create(threads);
    d.alloc.alloc_fn = meter_alloc;
    d.alloc.free_fn = meter_free;
    d.alloc.user = &m;
    REQUIRE(hexz_pack_open_source(&a, &s, &d, &err) == POSIO_OK);
    most = (hexz_pack_info(a)->chunk_max + (size_t)65536) / 65536 * 65536;
    allowed = 16384 + (size_t)hexz_pack_info(a)->pages * 64 + cache + index;
    allowed += threads * (2 * most + 40000); /* caches are over by as much; stored chunks */
    for (at = 0; at + PIECE <= size; at += PIECE / 2)
        CHECK_EQ(hexz_pack_read_at(a, at, back, PIECE, &err), POSIO_OK);
    for (at = 0; at < size; at += 40000)
        CHECK_EQ(hexz_pack_read_at(a, at, back, 40000 < size - at ? 40000 : size - at, &err),
                 POSIO_OK);
    CHECK(m.most <= allowed);
    CHECK(m.most > (cache < size ? cache : size) / 2);
    if (m.most > allowed)
        printf("reading: %lu bytes, %lu allowed\n", (unsigned long)m.most, (unsigned long)allowed);
    allowed += threads * most + (2 * threads + 2) * (size_t)45000 + 65536;
    allowed += (size_t)hexz_pack_info(a)->sums.entries * 4;
    CHECK_EQ(hexz_pack_verify(a, NULL, NULL, NULL, &err), POSIO_OK);
    CHECK(m.most <= allowed);
    if (m.most > allowed)
        printf("verify: %lu bytes, %lu allowed\n", (unsigned long)m.most, (unsigned long)allowed);
    hexz_pack_close(a);
    CHECK_EQ(m.now, 0);
    (void)thread_pool_destroy(d.pool);
}

/* As much as the header says (contexts are libzstd's): small slots, many chunks, threads. */
TEST(memory)
{
    static const uint32_t threads[] = {1, 2, 8};
    bytes in = {NULL, 0, 0}, out = {NULL, 0, 0};
    size_t kind;
    posio_error err;
    REQUIRE(thread_pool_mutex_init(&meter_lock));
    put_noise(&in, 6 << 20, 30);
    for (kind = 0; kind < 9; kind++) {
        const uint32_t chunks[] = {128, 65536, 65536}, t = threads[kind / 3];
        hexz_pack_desc d = desc_of(HEXZ_PACK_FIXED, chunks[kind % 3]);
        const int tight = kind % 3 == 2;
        const size_t most = d.chunk_avg, batch = tight ? 0 : 1 << 20, slots = tight ? 1 : 2 * t + 2;
        hexz_pack_stats s;
        meter m = {0, 0};
        size_t allowed;
        if (kind % 3 == 0 && t != 1) continue; /* takes long */
        d.pool = thread_pool_create(t);
        d.codec = HEXZ_PACK_CODEC_NONE;
        d.memory = tight ? 1 : 0;
        d.alloc.alloc_fn = meter_alloc;
        d.alloc.free_fn = meter_free;
        d.alloc.user = &m;
        out.n = 0;
        CHECK_EQ(pack(&out, in.p, in.n, &d, SOURCE, &s, &err), POSIO_OK);
        allowed = (600 << 10) + slots * ((batch + most) * 202 / 100) + (size_t)s.stored * 110;
        allowed += 16 * 64 * 48; /* the first nodes of 16 shards */
        CHECK(m.most <= allowed);
        if (m.most > allowed) printf("%lu bytes, %lu allowed\n", (unsigned long)m.most,
                                     (unsigned long)allowed);
        CHECK(m.most > allowed / 5);
        CHECK_EQ(m.now, 0);
        (void)thread_pool_destroy(d.pool);
        check_reading_memory(&out, in.n, t);
    }
    thread_pool_mutex_destroy(&meter_lock);
    drop(&in);
    drop(&out);
}

/* Room that `compress` asks for is memory in flight, too: many times 16 MiB are not 0, nor GiB. */
TEST(room_for_compress)
{
    static const uint64_t memory[] = {1, 64 << 20, 200 << 20};
    posio_error err;
    size_t i;
    REQUIRE(thread_pool_mutex_init(&meter_lock));
    for (i = 0; i < 3; i++) {
        line l = line_of(300);
        meter m = {0, 0};
        hexz_pack_job job;
        memset(&job, 0, sizeof job);
        job.user = &l;
        job.chunk_max = l.largest;
        job.chunks = 1024;
        job.memory = memory[i];
        job.room_extra = 16 << 20;
        job.next = line_next;
        job.claim = line_claim;
        job.compress = line_compress;
        job.write = line_write;
        job.alloc.alloc_fn = meter_alloc;
        job.alloc.free_fn = meter_free;
        job.alloc.user = &m;
        CHECK_EQ(hexz_pack_process(&job, &err), POSIO_OK);
        CHECK_EQ(l.written, 300);
        CHECK_EQ(l.bad, 0);
        /* one slot of one chunk there is always */
        CHECK(m.most <= (i == 0 ? 18 << 20 : memory[i] + (1 << 20)));
        CHECK_EQ(m.now, 0);
    }
    thread_pool_mutex_destroy(&meter_lock);
}

// ---------------------------------------------------------------------------------- files, limits

#ifndef POSIO_NO_FILES
static int exists(const char *path)
{
    posio_file *f = NULL;
    if (posio_file_open(&f, path, NULL, NULL) != POSIO_OK) return 0;
    posio_file_close(f);
    return 1;
}

TEST(files)
{
    static const char name[] = "test_hexz_pack.tmp", part[] = "test_hexz_pack.tmp.part";
    const bytes *in = mixture();
    hexz_pack_desc d = desc_of(HEXZ_PACK_CDC, 4096);
    hexz_pack_writer *w = NULL;
    hexz_pack *a = NULL;
    hexz_pack_stats s;
    posio_error err;
    unsigned char back[100];
    holey h;
    posio_source bad = holey_source(&h, in, 4096);
    h.real = 500000;
    (void)remove(name);
    (void)remove(part);
    CHECK_EQ(hexz_pack_begin(&w, name, &d, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_append(w, in->p, in->n, &err), POSIO_OK);
    CHECK(!exists(name) && exists(part));
    CHECK_EQ(hexz_pack_finish(w, &s, &err), POSIO_OK);
    CHECK(exists(name) && !exists(part));
    CHECK_EQ(hexz_pack_begin(&w, name, &d, &err), POSIO_E_EXISTS);
    d.flags = HEXZ_PACK_FORCE | HEXZ_PACK_NO_SYNC;
    CHECK_EQ(hexz_pack_begin(&w, name, &d, &err), POSIO_OK);
    hexz_pack_abort(w);
    CHECK(exists(name) && !exists(part));
    CHECK_EQ(hexz_pack_begin(&w, name, &d, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_append_source(w, &bad, &err), POSIO_E_IO);
    CHECK_EQ(hexz_pack_finish(w, NULL, &err), POSIO_E_IO);
    CHECK(exists(name) && !exists(part));
    CHECK_EQ(hexz_pack_open(&a, name, NULL, &err), POSIO_OK);
    CHECK_MEM(hexz_pack_info(a)->sums.root, s.root, 32);
    CHECK_EQ(hexz_pack_read_at(a, 1000, back, 100, &err), POSIO_OK);
    CHECK_MEM(back, in->p + 1000, 100);
    CHECK_EQ(hexz_pack_read_at(a, in->n, back, 1, &err), POSIO_E_RANGE);
    CHECK_STR(err.file, name);
    hexz_pack_close(a);
    CHECK_EQ(hexz_pack_begin(&w, name, &d, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_finish(w, &s, &err), POSIO_OK); /* nothing at all */
    CHECK_EQ(hexz_pack_open(&a, name, NULL, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_info(a)->sums.size, 0);
    CHECK_EQ(hexz_pack_verify(a, NULL, NULL, NULL, &err), POSIO_OK);
    hexz_pack_close(a);
    (void)remove(name);
    CHECK_EQ(hexz_pack_open(&a, name, NULL, &err), POSIO_E_NOT_FOUND);
    hexz_pack_close(NULL);
    hexz_pack_abort(NULL);
}
#endif

static int cancel_at_once(void *user, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    ++*(int *)user;
    return 1;
}

TEST(arguments)
{
    static const struct {
        uint32_t chunker, least, average, most, codec;
        int32_t level;
    } wrong[] = {{3, 0, 0, 0, 0, 0},          {1, 0, 63, 0, 0, 0},     {1, 10, 4096, 0, 0, 0},
                 {1, 0, 17 << 20, 0, 0, 0},   {2, 0, 5000, 0, 0, 0},   {2, 0, 128, 0, 0, 0},
                 {2, 63, 256, 0, 0, 0},       {2, 5000, 4096, 0, 0, 0}, {2, 0, 4096, 4095, 0, 0},
                 {2, 0, 4096, 17 << 20, 0, 0}, {0, 0, 0, 0, 4, 0},     {0, 0, 0, 0, 0, 23},
                 {0, 0, 0, 0, 2, 1},          {0, 0, 0, 0, 2, 13},     {0, 0, 0, 0, 1, 1},
                 {0, 0, 0, 0, 3, 1}};
    const bytes *in = mixture();
    bytes out = {NULL, 0, 0};
    posio_sink sink = sink_of(&out);
    hexz_pack_desc d;
    hexz_pack_writer *w = NULL;
    hexz_pack_item item = {"k", NULL, 1};
    posio_error err;
    char key[257];
    int calls = 0;
    size_t i;
    for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        posio_result r;
        memset(&d, 0, sizeof d);
        d.chunker = wrong[i].chunker;
        d.chunk_min = wrong[i].least;
        d.chunk_avg = wrong[i].average;
        d.chunk_max = wrong[i].most;
        d.codec = wrong[i].codec;
        d.level = wrong[i].level;
        r = hexz_pack_begin_sink(&w, &sink, &d, &err);
        CHECK_EQ(r, POSIO_E_ARG);
    }
#if !defined(HEXZ_PACK_LZ4)
    memset(&d, 0, sizeof d);
    d.codec = HEXZ_PACK_CODEC_LZ4;
    CHECK_EQ(hexz_pack_begin_sink(&w, &sink, &d, &err), POSIO_E_UNSUPPORTED);
    CHECK(strstr(err.message, "HEXZ_PACK_LZ4") != NULL);
#endif
    CHECK_EQ(out.n, 0);
    CHECK_EQ(hexz_pack_begin_sink(&w, &sink, NULL, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_add_item(w, &item, &err), POSIO_E_ARG);
    memset(key, 'k', 256);
    key[256] = 0;
    item.key = key;
    item.size = 0;
    CHECK_EQ(hexz_pack_add_item(w, &item, &err), POSIO_E_ARG);
    item.key = "";
    CHECK_EQ(hexz_pack_add_item(w, &item, &err), POSIO_E_ARG);
    item.key = key + 1;
    item.value = in->p;
    item.size = (16 << 20) - 254;
    CHECK_EQ(hexz_pack_add_item(w, &item, &err), POSIO_E_LIMIT);
    item.size = 1000;
    for (i = 0; i < 100; i++) CHECK_EQ(hexz_pack_add_item(w, &item, &err), POSIO_OK);
    CHECK_EQ(hexz_pack_finish(w, NULL, &err), POSIO_OK);
    check_archive(&out, in->p, 0);
    out.n = 0;
    memset(&d, 0, sizeof d);
    d.progress = cancel_at_once;
    d.user = &calls;
    CHECK_EQ(pack(&out, in->p, in->n, &d, SOURCE, NULL, &err), POSIO_E_CANCELED);
    CHECK_EQ(calls, 1);
    drop(&out);
}

/* Chunks of 16 MiB, at both ends of what a frame's header can say. */
TEST(large_chunks)
{
    static const size_t sizes[] = {64, 255, 256, 257, 65791, 65792, 131072, 131073, 16 << 20};
    bytes in = {NULL, 0, 0}, out = {NULL, 0, 0};
    posio_error err;
    size_t i, k;
    put_noise(&in, (16 << 20) + 5, 21);
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (k = 0; k < 2; k++) {
            size_t n = sizes[i] + (i == 8 ? 5 : sizes[i]);
            hexz_pack_desc d = desc_of(HEXZ_PACK_FIXED, (uint32_t)sizes[i]);
            if (i == 8 && k == 1 && TEST_STRIDE > 1) continue;
            d.codec = k == 0 ? HEXZ_PACK_CODEC_ZSTD : HEXZ_PACK_CODEC_NONE;
            d.level = k == 0 ? 1 : 0;
            out.n = 0;
            CHECK_EQ(pack(&out, in.p, n, &d, APPEND, NULL, &err), POSIO_OK);
            check_archive(&out, in.p, n);
        }
    drop(&in);
    drop(&out);
}

#ifndef POSIO_NO_FILES
#define RUN_FILES RUN(files)
#else
#define RUN_FILES
#endif

TEST_MAIN(RUN(built_by_hand); RUN(written_as_described); RUN(same_bytes); RUN(many_frames);
          RUN(claims); RUN(a_stream_of_zstd); RUN(content_defined); RUN(cuts); RUN(holes);
          RUN(archive_in_archive); RUN(shrinking_source); RUN(bad_sector); RUN(ready_chunks);
          RUN(reading_by_many); RUN(inspecting); RUN(every_byte); RUN(truncations); RUN(hostile);
          RUN(refused_by_name); RUN(frames_of_chunks); RUN(optional_frames); RUN(damaged_index);
          RUN(order_of_faults); RUN(scattered_duplicates); RUN(few_originals); RUN(remembered);
          RUN(reading_damage); RUN(pipeline_in_order); RUN(pipeline_slow_chunk);
          RUN(pipeline_failures); RUN(pipeline_impossible);
          RUN(writer_faults); RUN(unreadable_chunk); RUN(reader_faults);
          RUN(memory); RUN(room_for_compress); RUN_FILES; RUN(arguments); RUN(large_chunks);)
