/* test_zstd_blocks.c - the block mode of zstd_par.h against libzstd: frames built by hand with
   every trap of the format, frames of libzstd's, damaged and cut ones. The verdict and the bytes
   are those of ZSTD_decompress, in any room, on any number of threads. */
#define ZSTD_PAR_IMPLEMENTATION
#define THREAD_POOL_IMPLEMENTATION
#include "../zstd_par.h"
#include "test.h"
#include "zstd_check.h"
#include "fixtures/faults.h"
#include "fixtures/zstd_build.h"

enum { ROOM = 40 << 20, CANARY = 64, FILLER = 30 };

static char where[200]; /* what is tried, for messages */

#define EXPECT(x) \
    do { \
        char text_[300]; \
        snprintf(text_, sizeof text_, "%s (%s)", #x, where); \
        if (!(x)) test_fail(__FILE__, __LINE__, text_); \
    } while (0)

// ---------------------------------------------------------------------------------- one input

/* What is decompressed, and how it is to come out. */
typedef struct input {
    const char *name;
    const unsigned char *p;
    size_t n;
    const void *dictionary;
    size_t dictionary_size;
} input;

typedef struct verdict {
    size_t n; /* bytes, or an error of libzstd's */
    posio_result code;
} verdict;

static unsigned char expected[ROOM];

static zstd_par_desc desc_of(const input *x, uint32_t mode, thread_pool *pool)
{
    zstd_par_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.mode = mode;
    desc.pool = pool;
    desc.dictionary = x->dictionary;
    desc.dictionary_size = x->dictionary_size;
    return desc;
}

/* To memory, with canaries behind the room. */
static void check_memory(const input *x, size_t capacity, const verdict *want,
                         const zstd_par_desc *desc)
{
    unsigned char *dst = (unsigned char *)malloc(capacity + CANARY);
    posio_error err;
    size_t made = 12345, i;
    posio_result r;
    memset(dst + capacity, 0x5a, CANARY);
    memset(&err, 0, sizeof err);
    r = zstd_par_decompress(x->p, x->n, dst, capacity, &made, desc, &err);
    EXPECT((r == POSIO_OK) == !ZSTD_isError(want->n));
    if (r == POSIO_OK && !ZSTD_isError(want->n)) {
        EXPECT(made == want->n);
        EXPECT(made == 0 || memcmp(dst, expected, want->n) == 0);
    } else {
        EXPECT(made == 12345);
        EXPECT(err.code == r && err.message[0] != 0);
        EXPECT(r == want->code);
    }
    for (i = 0; i < CANARY && dst[capacity + i] == 0x5a; i++) {}
    EXPECT(i == CANARY);
    free(dst);
}

/* To a sink: see test_zstd_par.c for what it may refuse. */
static void check_sink(const input *x, size_t ample, const zstd_par_desc *desc)
{
    posio_memory m;
    posio_source source;
    posio_sink sink;
    posio_error err;
    posio_result r;
    buffer out;
    int good = !ZSTD_isError(ample);
    memset(&out, 0, sizeof out);
    sink = sink_of(&out);
    m.data = x->p;
    m.size = x->n;
    source = posio_memory_source(&m);
    r = zstd_par_decompress_sink(&source, &sink, desc, NULL, &err);
    if (r == POSIO_OK || !good ||
        (x->dictionary == NULL && stream_accepts(x->p, x->n) && !is_a_rule_of_sinks(&err)))
        EXPECT((r == POSIO_OK) == good);
    if (r == POSIO_OK && good)
        EXPECT(out.n == ample && (ample == 0 || memcmp(out.p, expected, ample) == 0));
    free(out.p);
}

/* libzstd's verdict, and the code that serial decompression has for it. */
static verdict verdict_of(const input *x, size_t capacity)
{
    zstd_par_desc desc = desc_of(x, ZSTD_PAR_SERIAL, NULL);
    unsigned char *dst = (unsigned char *)malloc(capacity + 1);
    verdict v;
    size_t made = 0;
    v.code = zstd_par_decompress(x->p, x->n, dst, capacity, &made, &desc, NULL);
    v.n = reference(x->p, x->n, expected, capacity, x->dictionary, x->dictionary_size);
    snprintf(where, sizeof where, "%s, serially into %lu", x->name, (unsigned long)capacity);
    EXPECT((v.code == POSIO_OK) == !ZSTD_isError(v.n));
    if (v.code == POSIO_OK && made != 0) EXPECT(memcmp(dst, expected, made) == 0);
    free(dst);
    return v;
}

enum { QUICK, THOROUGH };

/* In all ways: rooms, threads, to memory and to a sink; with a codec, or without. */
static void check(const input *x, int depth, zstd_par_codec *codec)
{
    static const uint32_t threads[] = {1, 2, 3, 16, 8};
    size_t ample = reference(x->p, x->n, expected, ROOM, x->dictionary, x->dictionary_size);
    size_t exact = ZSTD_isError(ample) ? 5000 : ample, k;
    size_t rooms[3];
    int i;
    rooms[0] = exact;
    rooms[1] = exact + 300000; /* libzstd keeps literals there */
    rooms[2] = exact != 0 ? exact - 1 : 0;
    for (k = 0; k < (depth == QUICK ? 1 : 3); k++) {
        verdict want = verdict_of(x, rooms[k]);
        for (i = 0; i < 5; i++) {
            zstd_par_desc desc = desc_of(x, ZSTD_PAR_BLOCK, i == 0 ? NULL : pool_of(i));
            if (i == 3 || (depth == QUICK && i != 1)) continue;
            if (codec != NULL) {
                desc.dictionary = NULL;
                desc.dictionary_size = 0;
                desc.codec = codec;
            }
            snprintf(where, sizeof where, "%s, %u threads into %lu", x->name, threads[i],
                     (unsigned long)rooms[k]);
            check_memory(x, rooms[k], &want, &desc);
        }
    }
    if (depth == QUICK) return;
    ample = reference(x->p, x->n, expected, ROOM, x->dictionary, x->dictionary_size);
    for (i = 0; i < 5; i++) {
        zstd_par_desc desc = desc_of(x, ZSTD_PAR_BLOCK, i == 0 ? NULL : pool_of(i));
        if (i > 1 && i < 4) continue;
        snprintf(where, sizeof where, "%s, %u threads to a sink", x->name, threads[i]);
        check_sink(x, ample, &desc);
        desc.memory = 1; /* the least there is */
        check_sink(x, ample, &desc);
    }
}

static input input_of(const char *name, const unsigned char *p, size_t n)
{
    input x;
    memset(&x, 0, sizeof x);
    x.name = name;
    x.p = p;
    x.n = n;
    return x;
}

// ---------------------------------------------------------------------------------- by hand

/* Fixtures are what they say they are, for libzstd: this tests the builder. */
TEST(fixtures_are_what_they_say)
{
    size_t i;
    for (i = 0; i < zstd_build_variant_count(); i++) {
        const zstd_build_variant *v = &zstd_build_variants[i];
        zstd_build b;
        size_t n;
        zstd_build_make(&b, v, i % 2 * FILLER);
        n = reference(b.data, b.size, expected, ROOM, NULL, 0);
        snprintf(where, sizeof where, "%s", v->name);
        if (v->verdict == ZSTD_BUILD_GOOD) {
            EXPECT(n == b.content_size && memcmp(expected, b.content, n) == 0);
            n = reference(b.data, b.size, expected, b.content_size, NULL, 0);
            EXPECT(n == b.content_size);
        }
        if (v->verdict == ZSTD_BUILD_BAD) EXPECT(ZSTD_isError(n));
        zstd_build_free(&b);
    }
}

static void check_fixtures(uint32_t filler, zstd_par_codec *codec)
{
    size_t i;
    for (i = 0; i < zstd_build_variant_count(); i++) {
        const zstd_build_variant *v = &zstd_build_variants[i];
        zstd_build b;
        input x;
        unsigned char *exact; /* for AddressSanitizer */
        zstd_build_make(&b, v, filler);
        exact = (unsigned char *)malloc(b.size);
        memcpy(exact, b.data, b.size);
        x = input_of(v->name, exact, b.size);
        check(&x, i % (TEST_STRIDE * TEST_STRIDE) == 0 ? THOROUGH : QUICK, codec);
        free(exact);
        zstd_build_free(&b);
    }
}

TEST(fixtures) { check_fixtures(0, NULL); }

/* With other blocks before and behind; all with one codec, in which nothing may be left of the
   frame before: a tree, tables, offsets. */
TEST(fixtures_among_other_blocks)
{
    zstd_par_codec *codec = NULL;
    zstd_par_desc desc;
    memset(&desc, 0, sizeof desc);
    REQUIRE(zstd_par_codec_create(&codec, &desc, NULL) == POSIO_OK);
    check_fixtures(FILLER, codec);
    zstd_par_codec_destroy(codec);
}

/* To a sink with so little memory that frames of many blocks are decoded in pieces. */
TEST(fixtures_in_pieces)
{
    size_t i;
    int pool;
    for (i = 0; i < zstd_build_variant_count(); i += TEST_STRIDE) {
        zstd_build b;
        input x;
        size_t ample;
        zstd_build_make(&b, &zstd_build_variants[i], FILLER | ZSTD_BUILD_UNSIZED);
        x = input_of(zstd_build_variants[i].name, b.data, b.size);
        ample = reference(b.data, b.size, expected, ROOM, NULL, 0);
        for (pool = 0; pool < 2; pool++) {
            zstd_par_desc desc = desc_of(&x, ZSTD_PAR_BLOCK, pool == 0 ? NULL : pool_of(1));
            desc.memory = 1;
            snprintf(where, sizeof where, "%s, %d threads in pieces", x.name, pool + 1);
            check_sink(&x, ample, &desc);
            desc.mode = ZSTD_PAR_SERIAL;
            snprintf(where, sizeof where, "%s, serially in pieces", x.name);
            check_sink(&x, ample, &desc);
        }
        zstd_build_free(&b);
    }
}

/* Offsets of many bits need much in front of them. */
TEST(far_offsets)
{
    zstd_build b;
    input x;
    memset(&b, 0, sizeof b);
    zstd_build_r_far(&b, 0);
    CHECK_EQ(reference(b.data, b.size, expected, ROOM, NULL, 0), b.content_size);
    CHECK_MEM(expected, b.content, b.content_size);
    x = input_of("far offsets", b.data, b.size);
    check(&x, QUICK, NULL);
    zstd_build_free(&b);
}

/* The block mode is used where it is asked for, and a frame that only libzstd takes is its. */
TEST(block_mode_is_used)
{
    unsigned char *data = make_text(4 << 20, 5);
    buffer b, out;
    zstd_par_stats stats;
    posio_memory m;
    posio_source source;
    posio_sink sink;
    input x;
    zstd_par_desc desc;
    int i;
    memset(&b, 0, sizeof b);
    frame(&b, data, 4 << 20, 3, SUM);
    x = input_of("text", b.p, b.n);
    m.data = b.p;
    m.size = b.n;
    source = posio_memory_source(&m);
    for (i = 0; i < 3; i++) {
        memset(&out, 0, sizeof out);
        memset(&stats, 0, sizeof stats);
        sink = sink_of(&out);
        desc = desc_of(&x, ZSTD_PAR_BLOCK, i == 0 ? NULL : pool_of(i));
        CHECK_EQ(zstd_par_decompress_sink(&source, &sink, &desc, &stats, NULL), POSIO_OK);
        CHECK_EQ(stats.mode, ZSTD_PAR_BLOCK);
        CHECK_EQ(stats.frames, 1);
        CHECK_EQ(stats.in_bytes, b.n);
        CHECK_EQ(stats.out_bytes, 4 << 20);
        CHECK_EQ(out.n, 4 << 20);
        CHECK_MEM(out.p, data, 4 << 20);
        free(out.p);
    }
    free(b.p);
    free(data);
}

// ---------------------------------------------------------------------------------- to a sink

static unsigned char *make_kind(int kind, size_t n);

/* A sink in one way: what it got, how, and what was read for it. */
typedef struct drain {
    posio_memory memory;
    uint32_t read;     /* bytes of the source; atomic */
    uint64_t progress; /* the last */
    int is_back;       /* it went back */
    posio_result code;
    posio_error err;
    zstd_par_stats stats;
    buffer out;
} drain;

static posio_result drain_read(void *self, uint64_t at, void *buf, size_t n, posio_error *err)
{
    drain *d = (drain *)self;
    posio_source all = posio_memory_source(&d->memory);
    (void)posio_atomic_add(&d->read, (uint32_t)n);
    return posio_read(&all, at, buf, n, err);
}

static int drain_progress(void *user, uint64_t done, uint64_t total)
{
    drain *d = (drain *)user;
    if (done < d->progress || done > total) d->is_back = 1;
    d->progress = done;
    return 0;
}

static void drain_all(drain *d, const buffer *b, zstd_par_desc desc)
{
    posio_source source;
    posio_sink sink;
    memset(d, 0, sizeof *d);
    d->memory.data = b->p;
    d->memory.size = b->n;
    source = posio_memory_source(&d->memory);
    source.read_at = drain_read;
    source.self = d;
    sink = sink_of(&d->out);
    desc.progress = drain_progress;
    desc.user = d;
    d->code = zstd_par_decompress_sink(&source, &sink, &desc, &d->stats, &d->err);
}

/* Good frames are decoded by blocks: libzstd is not asked. (But for blocks that are stored in more
   bytes than the frame decodes to.) */
TEST(good_frames_go_by_blocks)
{
    size_t i;
    for (i = 0; i < zstd_build_variant_count(); i++) {
        const zstd_build_variant *v = &zstd_build_variants[i];
        zstd_build z;
        buffer b;
        drain d;
        zstd_par_desc desc;
        if (v->verdict != ZSTD_BUILD_GOOD) continue;
        zstd_build_make(&z, v, FILLER);
        memset(&b, 0, sizeof b);
        append(&b, z.data, z.size);
        memset(&desc, 0, sizeof desc);
        desc.mode = ZSTD_PAR_BLOCK;
        desc.window_log_max = 31;
        snprintf(where, sizeof where, "%s to a sink", v->name);
        drain_all(&d, &b, desc);
        EXPECT(d.code == POSIO_OK && d.out.n == z.content_size);
        EXPECT(d.out.n == 0 || memcmp(d.out.p, z.content, d.out.n) == 0);
        if (z.size <= z.content_size)
            EXPECT(d.stats.mode == ZSTD_PAR_BLOCK && d.stats.streamed == 0);
        free(d.out.p);
        free(b.p);
        zstd_build_free(&z);
    }
}

/* Many MiB in raw blocks, then a match from `offset` back; the header says so many bytes, or
   nothing. The window is 128 KiB. */
static size_t late_match(buffer *b, uint32_t offset, uint32_t said)
{
    enum { BLOCKS = 80, SIZE = 128 << 10 };
    unsigned char *data = make_kind(4, SIZE * 2);
    unsigned char p[12] = {9, 'x', 1, 0x54, 1}; /* a run of one literal; RLE tables */
    uint32_t i, code = 31, bits = offset + 3;
    append(b, "\x28\xb5\x2f\xfd\x00\x38", 6);
    if (said != 0) b->p[b->n - 2] = 0x80;
    if (said != 0) put32(b, said);
    for (i = 0; i < BLOCKS; i++) block(b, 0, SIZE, 0, data + i * 1021, SIZE);
    while (bits >> code == 0) code--;
    p[5] = (unsigned char)code; /* and a match of 3; the highest bit is the end mark */
    for (i = 7; bits != 0; bits >>= 8) p[i++] = (unsigned char)bits;
    block(b, 2, i, 0, p, i);
    block(b, 0, 1000, 1, data, 1000);
    free(data);
    return BLOCKS * SIZE + 4 + 1000;
}

/* Where block mode gives up late in a frame, all is as if it had never been tried: offsets beyond
   the window, which ZSTD_decompress takes and a stream does not know; wrong sizes. Progress does
   not go back. */
TEST(late_failures)
{
    static const struct {
        uint32_t offset, wrong;
    } cases[] = {{1000, 0}, {393200, 0}, {5000000, 0}, {1000, 1}, {1000, UINT32_MAX}};
    size_t k, ample;
    int i;
    for (k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        buffer b;
        drain first, d;
        zstd_par_desc desc;
        memset(&b, 0, sizeof b);
        memset(&desc, 0, sizeof desc);
        ample = late_match(&b, cases[k].offset, 0);
        if (cases[k].wrong != 0) {
            b.n = 0;
            (void)late_match(&b, cases[k].offset, (uint32_t)ample + cases[k].wrong);
        }
        ample = reference(b.p, b.n, expected, ROOM, NULL, 0);
        CHECK_EQ(ZSTD_isError(ample), cases[k].wrong != 0);
        drain_all(&first, &b, desc);
        for (i = 0; i < 6; i++) {
            if (((int)k * 6 + i) % TEST_STRIDE != 0) continue;
            desc.pool = i % 3 == 0 ? NULL : pool_of(i % 3 == 1 ? 1 : 4);
            desc.mode = i < 3 ? ZSTD_PAR_BLOCK : ZSTD_PAR_AUTO;
            snprintf(where, sizeof where, "late failure %d, way %d", (int)k, i);
            drain_all(&d, &b, desc);
            EXPECT(!d.is_back);
            EXPECT(d.code == first.code);
            EXPECT(d.code == POSIO_OK || strcmp(d.err.message, first.err.message) == 0);
            EXPECT((d.code == POSIO_OK) == !ZSTD_isError(ample));
            if (d.code == POSIO_OK)
                EXPECT(d.out.n == ample && memcmp(d.out.p, expected, ample) == 0);
            EXPECT(d.stats.streamed == 0);
            if (k == 0 && i != 3) EXPECT(d.stats.mode == ZSTD_PAR_BLOCK);
            free(d.out.p);
        }
        free(first.out.p);
        free(b.p);
    }
}

/* Of small frames not much more is read than they have. */
TEST(small_frames_are_read_once)
{
    buffer b;
    drain d;
    zstd_par_desc desc;
    int i;
    memset(&b, 0, sizeof b);
    memset(&desc, 0, sizeof desc);
    for (i = 0; i < 300; i++) {
        append(&b, "\x28\xb5\x2f\xfd\x00\x00", 6);
        block(&b, 0, 500, 1, expected, 500);
    }
    desc.mode = ZSTD_PAR_BLOCK;
    drain_all(&d, &b, desc);
    CHECK_EQ(d.code, POSIO_OK);
    CHECK_EQ(d.out.n, 300 * 500);
    CHECK_EQ(d.stats.mode, ZSTD_PAR_BLOCK);
    CHECK(d.read < 3 * b.n);
    free(d.out.p);
    free(b.p);
}

/* 12 MiB of runs. */
static void runs(buffer *b, int window_log)
{
    unsigned char header[6] = {0x28, 0xb5, 0x2f, 0xfd, 0, 0}, c;
    int i;
    header[5] = (unsigned char)((window_log - 10) << 3);
    b->n = 0;
    append(b, header, 6);
    for (i = 0; i < 96; i++) {
        c = (unsigned char)(i + 1);
        block(b, 1, 128 << 10, i == 95, &c, 1);
    }
}

static int are_runs(const buffer *out)
{
    size_t i;
    if (out->n != 96 << 17) return 0;
    for (i = 0; i < out->n; i += 4096)
        if (out->p[i] != (i >> 17) + 1 || memcmp(out->p + i, out->p + i + 1, 4095) != 0) return 0;
    return 1;
}

/* In arenas of any size. */
TEST(arenas)
{
    int window, memory, number = 0, i;
    buffer b;
    memset(&b, 0, sizeof b);
    for (window = 17; window <= 23; window++)
        for (memory = 23; memory <= 28; memory++) {
            if (number++ % TEST_STRIDE != 0) continue;
            runs(&b, window);
            for (i = 0; i < 2; i++) {
                zstd_par_desc desc;
                drain d;
                memset(&desc, 0, sizeof desc);
                desc.mode = ZSTD_PAR_BLOCK;
                desc.pool = i == 0 ? NULL : pool_of(2);
                desc.memory = (uint64_t)1 << memory;
                snprintf(where, sizeof where, "window 2^%d, memory 2^%d", window, memory);
                drain_all(&d, &b, desc);
                EXPECT(d.code == POSIO_OK && are_runs(&d.out) && !d.is_back);
                EXPECT((d.stats.mode == ZSTD_PAR_BLOCK) ==
                       (memory > 25 || (memory == 25 && window <= 21)));
                free(d.out.p);
            }
        }
    free(b.p);
}

/* A compressed block of no bytes is refused in a stream, too, wherever its header is cut; what only
   looks like one, in the middle of a block, is not. */
TEST(blocks_of_no_bytes)
{
    enum { SIZE = 64 << 10, INPUT = 256 << 10 };
    unsigned char *data = (unsigned char *)malloc(2 * SIZE);
    int shift, i, k;
    for (i = 0; i < 2 * SIZE; i++) data[i] = (unsigned char)(i % 3 == 0 ? 4 : 0);
    for (shift = -4; shift < 2; shift++)
        for (k = 0; k < 2; k++) {
            const uint32_t rest = (uint32_t)(INPUT - 6 - 3 * (SIZE + 3) - 4 - 3 + shift);
            buffer b;
            drain d;
            zstd_par_desc desc;
            size_t first, ample;
            memset(&b, 0, sizeof b);
            memset(&desc, 0, sizeof desc);
            skippable(&b, 3, 9);
            first = b.n;
            append(&b, "\x28\xb5\x2f\xfd\x00\x60", 6);
            for (i = 0; i < 3; i++) block(&b, 0, SIZE, 0, data, SIZE);
            block(&b, 1, 1000, 0, data, 1);
            block(&b, 0, rest, 0, data, rest);
            if (k == 0) block(&b, 2, 0, 0, NULL, 0); /* `shift` behind what is read at once */
            for (i = 0; i < 3; i++) block(&b, 0, SIZE, i == 2, data, SIZE);
            ample = reference(b.p, b.n, expected, ROOM, NULL, 0);
            CHECK_EQ(ZSTD_isError(ample), k == 0);
            for (i = 0; i < 3; i++) {
                desc.memory = 1;
                desc.mode = i == 0 ? ZSTD_PAR_SERIAL : ZSTD_PAR_BLOCK;
                desc.pool = i == 2 ? pool_of(1) : NULL;
                drain_all(&d, &b, desc);
                CHECK_EQ(d.code, k == 0 ? POSIO_E_DATA : POSIO_OK);
                if (k == 0) CHECK_EQ(d.err.offset, first);
                if (k == 0) CHECK(strstr(d.err.message, "frame 0 has a compressed block of no"));
                if (k != 0) CHECK_EQ(d.out.n, ample);
                if (k != 0) CHECK_MEM(d.out.p, expected, ample);
                if (k != 0) CHECK_EQ(d.stats.streamed, 1);
                free(d.out.p);
            }
            free(b.p);
        }
    free(data);
}

// ---------------------------------------------------------------------------------- of libzstd's

enum { KINDS = 6 };

/* Data of a kind: 0 text, 1 records, 2 long runs, 3 sparse, 4 noise, 5 all of these. */
static unsigned char *make_kind(int kind, size_t n)
{
    unsigned char *p = (unsigned char *)calloc(n + 16, 1);
    uint64_t seed = (uint64_t)kind + 17, r;
    size_t i, k;
    if (kind == 0) {
        free(p);
        return make_text(n, 3);
    }
    for (i = 0; kind == 1 && i + 16 <= n; i += 16) {
        r = test_random(&seed);
        p[i] = (unsigned char)(r & 7);
        p[i + 4] = (unsigned char)(i >> 6);
        p[i + 5] = (unsigned char)(i >> 14);
        p[i + 8] = (unsigned char)(r >> 8 & 15 ? 0x48 : r >> 16);
        p[i + 9] = (unsigned char)(r >> 20 & 3 ? 0x89 : r >> 24);
        if ((r >> 40 & 63) == 0) memcpy(p + i, p + r % (i + 1) / 2, 16);
    }
    for (i = 0; kind == 2 && i < n; i += k) {
        r = test_random(&seed);
        k = 1 + (size_t)(r % (r & 1 << 20 ? 60000 : 300));
        if (k > n - i) k = n - i;
        memset(p + i, (int)(r >> 32 & 255), k);
    }
    for (i = 0; kind == 3 && i < n; i += 1 + (size_t)(test_random(&seed) % 3000))
        p[i] = (unsigned char)test_random(&seed);
    for (i = 0; kind == 4 && i < n; i++) p[i] = (unsigned char)(test_random(&seed) >> 32);
    for (i = 0; kind == 5 && i < n; i += k) {
        unsigned char *part;
        k = 5000 + (size_t)(test_random(&seed) % 90000);
        if (k > n - i) k = n - i;
        part = make_kind((int)(test_random(&seed) % 5), k);
        memcpy(p + i, part, k);
        free(part);
    }
    return p;
}

static void check_compressed(const char *name, buffer *b, int depth)
{
    input x = input_of(name, b->p, b->n);
    check(&x, depth, NULL);
    b->n = 0;
}

TEST(frames_of_libzstd)
{
    static const int levels[] = {-5, 1, 3, 9, 19};
    int kind, i;
    char name[60];
    for (kind = 0; kind < KINDS; kind++) {
        const size_t n = 420000;
        unsigned char *data = make_kind(kind, n);
        buffer b;
        memset(&b, 0, sizeof b);
        for (i = 0; i < 5; i++) {
            snprintf(name, sizeof name, "kind %d at level %d", kind, levels[i]);
            frame(&b, data, levels[i] == 19 ? n / 2 : n, levels[i], i % 4);
            check_compressed(name, &b, i % 2 == 0 ? THOROUGH : QUICK);
        }
        snprintf(name, sizeof name, "kind %d in a long window", kind);
        frame_with(&b, data, n, 3, SUM | NO_SIZE, NULL, 0, 27);
        check_compressed(name, &b, QUICK);
        snprintf(name, sizeof name, "kind %d in frames", kind);
        for (i = 0; i < 4; i++) {
            skippable(&b, (uint32_t)i, (uint32_t)i);
            frame(&b, data + i * 1000, i % 2 ? n - 5000 : 20000, 3, i);
        }
        check_compressed(name, &b, THOROUGH);
        free(b.p);
        free(data);
    }
}

/* Small blocks: as the parameter has it, or by flushing. */
TEST(small_blocks)
{
    int kind, flush;
    char name[60];
    for (kind = 0; kind < KINDS; kind++)
        for (flush = 0; flush < 2; flush++) {
            const size_t n = 200000;
            unsigned char *data = make_kind(kind, n);
            ZSTD_CCtx *c = ZSTD_createCCtx();
            ZSTD_inBuffer in = {data, 0, 0};
            ZSTD_outBuffer out;
            buffer b;
            uint64_t seed = (uint64_t)kind + 1;
            memset(&b, 0, sizeof b);
            ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
            ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, kind & 1 ? 1 : 12);
#if ZSTD_VERSION_NUMBER >= 10506
            if (!flush) ZSTD_CCtx_setParameter(c, ZSTD_c_targetCBlockSize, 1400);
#else
            if (!flush) ZSTD_CCtx_setParameter(c, ZSTD_c_experimentalParam6, 1400);
#endif
            out.size = ZSTD_compressBound(n) + 200000;
            out.dst = extend(&b, out.size);
            out.pos = 0;
            while (in.size < n) {
                uint64_t r = test_random(&seed);
                size_t k = flush ? (size_t)(r >> 8) % (r & 1 ? 40 : 3000) : n;
                in.size = k < n - in.size ? in.size + k : n;
                (void)ZSTD_compressStream2(c, &out, &in, ZSTD_e_flush);
            }
            CHECK_EQ(ZSTD_compressStream2(c, &out, &in, ZSTD_e_end), 0);
            b.n = out.pos;
            snprintf(name, sizeof name, "kind %d in small blocks %d", kind, flush);
            check_compressed(name, &b, kind < 2 ? THOROUGH : QUICK);
            ZSTD_freeCCtx(c);
            free(b.p);
            free(data);
        }
}

/* Of raw content, and one with tables and offsets, which frames begin with. */
TEST(dictionaries)
{
    unsigned char *data = make_kind(0, 300000);
    zstd_build d, b;
    buffer c;
    input x;
    int i, kind;
    memset(&c, 0, sizeof c);
    zstd_build_dictionary(&d);
    for (kind = 0; kind < 2; kind++)
        for (i = 0; i < 4; i++) {
            const unsigned char *dictionary = kind == 0 ? data + 150000 : d.data;
            size_t size = kind == 0 ? 40000 : d.size;
            zstd_par_codec *codec = NULL;
            zstd_par_desc desc;
            frame_with(&c, data, i < 2 ? 300000 : 3000, i % 2 ? 19 : 3, i, dictionary, size, 0);
            x = input_of(kind == 0 ? "raw dictionary" : "dictionary of tables", c.p, c.n);
            x.dictionary = dictionary;
            x.dictionary_size = size;
            check(&x, i == 0 ? THOROUGH : QUICK, NULL);
            desc = desc_of(&x, 0, NULL);
            CHECK_EQ(zstd_par_codec_create(&codec, &desc, NULL), POSIO_OK);
            check(&x, QUICK, codec);
            zstd_par_codec_destroy(codec);
            c.n = 0;
        }
    for (i = 0; i < 12; i++) {
        size_t n;
        zstd_build_with_dictionary(&b, &d, (uint32_t)i % 6, i < 6 ? 0 : FILLER);
        n = reference(b.data, b.size, expected, ROOM, d.data, d.size);
        CHECK_EQ(ZSTD_isError(n), i % 6 == 5);
        if (i % 6 != 5) CHECK_EQ(n, b.content_size);
        if (i % 6 != 5) CHECK_MEM(expected, b.content, b.content_size);
        x = input_of("made for a dictionary", b.data, b.size);
        x.dictionary = d.data;
        x.dictionary_size = d.size;
        check(&x, THOROUGH, NULL);
        x.dictionary = NULL; /* and without */
        check(&x, QUICK, NULL);
        zstd_build_free(&b);
    }
    zstd_build_free(&d);
    free(c.p);
    free(data);
}

// ---------------------------------------------------------------------------------- damage

/* Files to be damaged: small, with much in them. */
enum { VICTIMS = 14 };
static void make_victim(buffer *b, int i)
{
    static const char *const names[] = {"large-3",  "fse-log-9-rare", "treeless-after-run-block",
                                        "rle-all",  "repeat-of-each", "offsets-repeated",
                                        "frames-mixed", "literals-codes-of-11-bits"};
    static const int levels[] = {1, 3, 19, 9, -3, 12};
    memset(b, 0, sizeof *b);
    if (i < 8) {
        zstd_build z;
        zstd_build_make(&z, zstd_build_variant_of(names[i]), 5);
        append(b, z.data, z.size < 20000 ? z.size : 20000); /* a large one is cut, too */
        zstd_build_free(&z);
    } else {
        unsigned char *data = make_kind(i % 3, 30000);
        frame(b, data, i % 2 ? 30000 : 4000, levels[i - 8], i % 4);
        free(data);
    }
}

TEST(damage)
{
    uint64_t seed = 8878;
    int i, k, hits;
    char name[80];
    for (i = 0; i < VICTIMS; i++) {
        buffer b;
        make_victim(&b, i);
        for (k = 0; k < 300; k += TEST_STRIDE) {
            unsigned char *p = (unsigned char *)malloc(b.n);
            input x;
            memcpy(p, b.p, b.n);
            for (hits = 1 + (int)(test_random(&seed) % 3); hits > 0; hits--) {
                uint64_t r = test_random(&seed);
                size_t at = (size_t)(r >> 8) % (r & 1 ? b.n : b.n < 200 ? b.n : 200);
                if (r & 2) p[at] = (unsigned char)(r >> 48);
                else p[at] ^= (unsigned char)(1u << (r >> 60 & 7));
            }
            snprintf(name, sizeof name, "file %d, damage %d", i, k);
            x = input_of(name, p, b.n);
            check(&x, k % 60 == 0 ? THOROUGH : QUICK, NULL);
            free(p);
        }
        free(b.p);
    }
}

TEST(cut_anywhere)
{
    int i;
    char name[80];
    for (i = 0; i < VICTIMS; i++) {
        buffer b;
        size_t n, step;
        make_victim(&b, i);
        step = 1 + b.n / 60 * TEST_STRIDE;
        for (n = 0; n < b.n; n += n < 30 ? 1 : step) {
            unsigned char *p = (unsigned char *)malloc(n + 1);
            input x;
            memcpy(p, b.p, n);
            snprintf(name, sizeof name, "file %d cut at %lu", i, (unsigned long)n);
            x = input_of(name, p, n);
            check(&x, QUICK, NULL);
            free(p);
        }
        free(b.p);
    }
}

// ---------------------------------------------------------------------------------- circumstances

typedef struct many {
    buffer file[4];
    unsigned char *data[4];
    zstd_par_desc desc;
    uint32_t bad; /* atomic */
} many;

static posio_result one_of_many(void *user, uint32_t part, posio_error *err)
{
    many *m = (many *)user;
    int i = (int)(part % 4);
    unsigned char *dst = (unsigned char *)malloc(400000);
    size_t made = 0;
    posio_result r =
        zstd_par_decompress(m->file[i].p, m->file[i].n, dst, 400000, &made, &m->desc, err);
    int good = r == POSIO_OK && made == 400000 && memcmp(dst, m->data[i], made) == 0;
    if (good == (i == 3)) (void)posio_atomic_add(&m->bad, 1);
    free(dst);
    return POSIO_OK;
}

/* Many calls at once with one codec, on the pool whose threads make the calls; every fourth
   fails. */
TEST(many_at_once)
{
    many m;
    int i;
    memset(&m, 0, sizeof m);
    for (i = 0; i < 4; i++) {
        m.data[i] = make_kind(i, 400000);
        frame(&m.file[i], m.data[i], 400000, 3, SUM);
    }
    m.file[3].p[m.file[3].n / 2] ^= 0x55;
    m.desc.mode = ZSTD_PAR_BLOCK;
    m.desc.pool = pool_of(4);
    CHECK_EQ(zstd_par_codec_create(&m.desc.codec, NULL, NULL), POSIO_OK);
    CHECK_EQ(thread_pool_parallel_for(pool_of(4), 32, one_of_many, &m, NULL), POSIO_OK);
    CHECK_EQ(m.bad, 0);
    zstd_par_codec_destroy(m.desc.codec);
    for (i = 0; i < 4; i++) {
        free(m.data[i]);
        free(m.file[i].p);
    }
}

/* Without memory for it the result is an error or the right bytes, never wrong ones; nothing
   leaks. */
TEST(every_allocation_fails_once)
{
    unsigned char *data = make_kind(5, 500000), *dst = (unsigned char *)malloc(500000);
    zstd_par_desc desc;
    faults f;
    buffer b;
    uint64_t k, calls = 1;
    memset(&b, 0, sizeof b);
    memset(&desc, 0, sizeof desc);
    frame(&b, data, 500000, 3, SUM);
    desc.mode = ZSTD_PAR_BLOCK;
    desc.alloc.alloc_fn = faults_alloc;
    desc.alloc.free_fn = faults_free;
    desc.alloc.user = &f;
    for (k = 0; k <= calls; k++) {
        posio_error err;
        size_t made = 0;
        posio_result r;
        memset(&f, 0, sizeof f);
        memset(dst, 0, 500000);
        f.fail_at = k; /* first none */
        r = zstd_par_decompress(b.p, b.n, dst, 500000, &made, &desc, &err);
        CHECK(r == POSIO_OK || (k != 0 && r == POSIO_E_NOMEM));
        if (r == POSIO_OK) CHECK_EQ(made, 500000);
        if (r == POSIO_OK) CHECK_MEM(dst, data, 500000);
        CHECK_EQ(f.live, 0);
        if (k == 0) calls = f.calls;
    }
    CHECK(calls != 0);
    free(b.p);
    free(data);
    free(dst);
}

/* Bytes in use, and the most there were; for any number of threads. */
typedef struct ledger {
    uint32_t now, most; /* atomic */
} ledger;

static void *ledger_alloc(size_t n, void *user)
{
    ledger *l = (ledger *)user;
    unsigned char *p = (unsigned char *)malloc(n + 64);
    uint32_t now = posio_atomic_add(&l->now, (uint32_t)n) + (uint32_t)n;
    memcpy(p, &n, sizeof n);
    if (now > posio_atomic_load(&l->most)) posio_atomic_store(&l->most, now); /* nearly */
    return p + 64;
}

static void ledger_free(void *block, void *user)
{
    unsigned char *p = (unsigned char *)block;
    size_t n;
    if (p == NULL) return;
    memcpy(&n, p - 64, sizeof n);
    (void)posio_atomic_add(&((ledger *)user)->now, 0 - (uint32_t)n);
    free(p - 64);
}

/* Where there is no memory for an arena, libzstd decodes the frame. */
typedef struct stingy {
    uint32_t large; /* so many large blocks more are given */
} stingy;

static void *stingy_alloc(size_t n, void *user)
{
    stingy *s = (stingy *)user;
    if (n > 5 << 20 && s->large-- == 0) {
        s->large = 0;
        return NULL;
    }
    return malloc(n);
}

static void stingy_free(void *block, void *user)
{
    (void)user;
    free(block);
}

TEST(no_memory_for_arenas)
{
    buffer b;
    uint32_t k;
    memset(&b, 0, sizeof b);
    runs(&b, 17);
    for (k = 0; k < 3; k++) {
        zstd_par_desc desc;
        stingy s;
        drain d;
        s.large = k;
        memset(&desc, 0, sizeof desc);
        desc.mode = ZSTD_PAR_BLOCK;
        desc.pool = pool_of(1);
        desc.memory = 32 << 20;
        desc.alloc.alloc_fn = stingy_alloc;
        desc.alloc.free_fn = stingy_free;
        desc.alloc.user = &s;
        drain_all(&d, &b, desc);
        CHECK_EQ(d.code, POSIO_OK);
        CHECK(are_runs(&d.out));
        CHECK(!d.is_back);
        CHECK_EQ(d.stats.streamed, k < 2);
        CHECK_EQ(d.stats.mode, k < 2 ? ZSTD_PAR_SERIAL : ZSTD_PAR_BLOCK);
        free(d.out.p);
    }
    free(b.p);
}

/* Above input and output less than 32 MiB: to memory whatever the window, to a sink with one of 2
   MiB, which is that of the default level. */
TEST(little_memory)
{
    const size_t size = 12 << 20;
    unsigned char *data = make_kind(5, size), *dst = (unsigned char *)malloc(size);
    zstd_par_desc desc;
    buffer b;
    ledger l;
    int i;
    memset(&b, 0, sizeof b);
    memset(&desc, 0, sizeof desc);
    frame_with(&b, data, size, 1, SUM, NULL, 0, 27);
    desc.mode = ZSTD_PAR_BLOCK;
    desc.alloc.alloc_fn = ledger_alloc;
    desc.alloc.free_fn = ledger_free;
    desc.alloc.user = &l;
    for (i = 0; i < 5; i++) {
        size_t made = 0;
        memset(&l, 0, sizeof l);
        desc.pool = i == 0 ? NULL : pool_of(i);
        CHECK_EQ(zstd_par_decompress(b.p, b.n, dst, size, &made, &desc, NULL), POSIO_OK);
        CHECK_EQ(made, size);
        CHECK_MEM(dst, data, size);
        CHECK_EQ(l.now, 0);
        CHECK(l.most < 32u << 20);
    }
    data = (unsigned char *)realloc(data, 2 * size);
    memcpy(data + size, data, size);
    b.n = 0;
    frame_with(&b, data, 2 * size, 1, SUM, NULL, 0, 21);
    for (i = 0; i < 5; i++) {
        drain d;
        if (TEST_STRIDE > 1 && i % 4 != 0) continue;
        memset(&l, 0, sizeof l);
        desc.pool = i == 0 ? NULL : pool_of(i);
        drain_all(&d, &b, desc);
        CHECK_EQ(d.code, POSIO_OK);
        CHECK_EQ(d.stats.mode, ZSTD_PAR_BLOCK);
        CHECK_EQ(d.out.n, 2 * size);
        CHECK(memcmp(d.out.p, data, d.out.n) == 0);
        CHECK_EQ(l.now, 0);
        CHECK(l.most < 32u << 20);
        free(d.out.p);
    }
    free(b.p);
    free(data);
    free(dst);
}

TEST_MAIN(RUN(fixtures_are_what_they_say); RUN(fixtures); RUN(fixtures_among_other_blocks);
          RUN(fixtures_in_pieces); RUN(far_offsets); RUN(block_mode_is_used);
          RUN(good_frames_go_by_blocks); RUN(late_failures); RUN(small_frames_are_read_once);
          RUN(arenas); RUN(blocks_of_no_bytes); RUN(frames_of_libzstd); RUN(small_blocks);
          RUN(dictionaries); RUN(damage); RUN(cut_anywhere); RUN(many_at_once);
          RUN(every_allocation_fails_once); RUN(no_memory_for_arenas); RUN(little_memory);
          end_pools();)
