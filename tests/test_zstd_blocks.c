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

/* Above input and output, whatever the window: less than 32 MiB. */
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
    free(b.p);
    free(data);
    free(dst);
}

TEST_MAIN(RUN(fixtures_are_what_they_say); RUN(fixtures); RUN(fixtures_among_other_blocks);
          RUN(fixtures_in_pieces); RUN(far_offsets); RUN(block_mode_is_used);
          RUN(frames_of_libzstd); RUN(small_blocks); RUN(dictionaries); RUN(damage);
          RUN(cut_anywhere); RUN(many_at_once); RUN(every_allocation_fails_once);
          RUN(little_memory); end_pools();)
