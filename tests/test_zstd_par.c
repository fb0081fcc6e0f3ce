/* test_zstd_par.c - zstd_par.h against libzstd: the same verdict, the same bytes, in any way. */
#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif
#define ZSTD_PAR_IMPLEMENTATION
#define THREAD_POOL_IMPLEMENTATION
#include "../zstd_par.h"
#include "test.h"
#include "zstd_check.h"

#if !defined(_WIN32)
#include <sys/resource.h>
#include <unistd.h>
#endif

enum { TEXT = 3 << 20 };

// ---------------------------------------------------------------------------------- data

static const unsigned char *text(void)
{
    static unsigned char *t;
    if (t == NULL) t = make_text(TEXT, 7);
    return t;
}

/* Many frames of all kinds; *content is what they decode to. */
static void mixed(buffer *b, buffer *content, int flags)
{
    static const size_t sizes[] = {0,      1,     100,    5000, 131072, 131073,
                                   262144, 40000, 700000, 3,    90000};
    static const int levels[] = {1, 3, 7, -5, 3, 9};
    size_t i, at = 0;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (i % 3 == 0) skippable(b, (uint32_t)i, (uint32_t)i * 7);
        frame(b, text() + at, sizes[i], levels[i % 6], flags == 8 ? (int)(i % 4) : flags);
        append(content, text() + at, sizes[i]);
        at += sizes[i];
    }
    skippable(b, 15, 0);
}

// ---------------------------------------------------------------------------------- comparing

/* One input to memory and to a sink in one way; both as the reference: `want` bytes or an error in
   that capacity, `ample` where there is no end of it. */
static void check_way(const void *src, size_t n, const unsigned char *expected, size_t want,
                      size_t ample, size_t capacity, const zstd_par_desc *desc)
{
    unsigned char *dst = (unsigned char *)malloc(capacity + 1);
    posio_memory m;
    posio_source source;
    posio_sink sink;
    posio_error err;
    buffer out;
    size_t made = 12345;
    posio_result r;
    int good = !ZSTD_isError(want);
    memset(&out, 0, sizeof out);
    sink = sink_of(&out);
    dst[capacity] = 0x5a;
    r = zstd_par_decompress(src, n, dst, capacity, &made, desc, &err);
    CHECK_EQ(r == POSIO_OK, good);
    if (r == POSIO_OK && good) {
        CHECK_EQ(made, want);
        CHECK_MEM(dst, expected, want);
    } else {
        CHECK_EQ(made, 12345);
        CHECK_EQ(err.code, r);
        CHECK(err.message[0] != 0);
    }
    CHECK_EQ(dst[capacity], 0x5a);
    m.data = src;
    m.size = n;
    source = posio_memory_source(&m);
    r = zstd_par_decompress_sink(&source, &sink, desc, NULL, &err);
    good = !ZSTD_isError(ample);
    if (r == POSIO_OK || !good || (stream_accepts(src, n) && !is_a_rule_of_sinks(&err)))
        CHECK_EQ(r == POSIO_OK, good);
    if (r == POSIO_OK && good) {
        CHECK_EQ(out.n, ample);
        CHECK_MEM(out.p, expected, ample);
    }
    free(out.p);
    free(dst);
}

/* In all ways: threads, modes, memory. */
static void check_all(const void *src, size_t n, size_t capacity, int thorough)
{
    static int number;
    static unsigned char expected[4 * TEXT];
    size_t want = reference(src, n, expected, capacity, NULL, 0);
    size_t ample = reference(src, n, expected, sizeof expected, NULL, 0);
    zstd_par_desc desc;
    int i;
    memset(&desc, 0, sizeof desc);
    check_way(src, n, expected, want, ample, capacity, &desc);
    desc.pool = pool_of(1);
    check_way(src, n, expected, want, ample, capacity, &desc);
    desc.mode = ZSTD_PAR_BLOCK;
    check_way(src, n, expected, want, ample, capacity, &desc);
    for (i = 0; thorough && i < 4; i++) {
        if (number++ % TEST_STRIDE != 0) continue;
        desc.pool = pool_of(i);
        desc.mode = ZSTD_PAR_BLOCK;
        check_way(src, n, expected, want, ample, capacity, &desc);
        desc.mode = i == 0 ? ZSTD_PAR_AUTO : ZSTD_PAR_FRAME;
        check_way(src, n, expected, want, ample, capacity, &desc);
        desc.memory = 1;
        check_way(src, n, expected, want, ample, capacity, &desc);
        desc.memory = 0;
        desc.mode = ZSTD_PAR_SERIAL;
        check_way(src, n, expected, want, ample, capacity, &desc);
    }
}

// ---------------------------------------------------------------------------------- decompressing

TEST(mixed_frames_in_all_ways)
{
    static const int kinds[] = {0, NO_SIZE, SUM, NO_SIZE | SUM, 8};
    size_t k;
    for (k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        buffer b, c;
        memset(&b, 0, sizeof b);
        memset(&c, 0, sizeof c);
        mixed(&b, &c, kinds[k]);
        check_all(b.p, b.n, c.n, k % 2 == 0);
        check_all(b.p, b.n, c.n + 100000, 0);
        check_all(b.p, b.n, c.n * 3, k == 3);
        check_all(b.p, b.n, c.n - 1, 0);
        check_all(b.p, b.n, c.n / 2, 0);
        check_all(b.p, b.n, 0, 0);
        free(b.p);
        free(c.p);
    }
}

TEST(a_frame_larger_than_the_memory_is_streamed)
{
    buffer b;
    zstd_par_stats stats;
    zstd_par_desc desc;
    posio_memory m;
    posio_source source;
    posio_sink sink;
    buffer out;
    int flags;
    for (flags = 0; flags < 4; flags++) {
        memset(&b, 0, sizeof b);
        memset(&out, 0, sizeof out);
        frame(&b, text(), 1000, 3, flags);
        frame(&b, text(), TEXT, 3, flags);
        frame(&b, text(), 2000, 3, flags);
        check_all(b.p, b.n, TEXT + 3000, flags == SUM);
        memset(&desc, 0, sizeof desc);
        desc.pool = pool_of(1);
        desc.memory = 1 << 20;
        m.data = b.p;
        m.size = b.n;
        source = posio_memory_source(&m);
        sink = sink_of(&out);
        CHECK_EQ(zstd_par_decompress_sink(&source, &sink, &desc, &stats, NULL), POSIO_OK);
        CHECK_EQ(stats.frames, 3);
        CHECK_EQ(stats.streamed, 1);
        CHECK_EQ(stats.in_bytes, b.n);
        CHECK_EQ(stats.out_bytes, TEXT + 3000);
        CHECK_EQ(stats.mode, ZSTD_PAR_FRAME);
        m.size = ZSTD_findFrameCompressedSize(b.p, b.n); /* the first only */
        source = posio_memory_source(&m);
        CHECK_EQ(zstd_par_decompress_sink(&source, &sink, &desc, &stats, NULL), POSIO_OK);
        CHECK_EQ(stats.frames, 1);
        CHECK_EQ(stats.streamed, 0);
        CHECK_EQ(stats.mode, ZSTD_PAR_SERIAL);
        free(b.p);
        free(out.p);
    }
}

/* One frame by blocks: in memory, and to a sink in one arena or in several, whole and damaged. */
TEST(one_frame_by_blocks)
{
    enum { PIECE = 1 << 20, PIECES = 12 };
    static const int levels[] = {-5, 1, 3};
    unsigned char *content = (unsigned char *)malloc((size_t)PIECE * PIECES);
    unsigned char *dst = (unsigned char *)malloc((size_t)PIECE * PIECES);
    size_t k, n = (size_t)PIECE * PIECES, made;
    zstd_par_desc desc;
    zstd_par_stats stats;
    posio_memory m;
    posio_source source;
    posio_sink sink;
    posio_error err;
    int i;
    for (k = 0; k < n; k++)
        content[k] = (unsigned char)(text()[k % (TEXT - 4096)] ^ (k / PIECE & k >> 3));
    for (k = 0; k < sizeof levels / sizeof levels[0]; k++) {
        buffer b;
        memset(&b, 0, sizeof b);
        frame(&b, content, n, levels[k], k & 1 ? SUM : SUM | NO_SIZE);
        for (i = 0; i < 4; i++) {
            buffer out;
            if (((int)k * 4 + i) % TEST_STRIDE != 0) continue;
            memset(&out, 0, sizeof out);
            memset(&desc, 0, sizeof desc);
            memset(dst, 0, n);
            desc.mode = ZSTD_PAR_BLOCK;
            desc.pool = pool_of(i);
            desc.memory = i & 1 ? 0 : 40 << 20;
            CHECK_EQ(zstd_par_decompress(b.p, b.n, dst, n, &made, &desc, NULL), POSIO_OK);
            CHECK_EQ(made, n);
            CHECK(memcmp(dst, content, n) == 0);
            m.data = b.p;
            m.size = b.n;
            source = posio_memory_source(&m);
            sink = sink_of(&out);
            CHECK_EQ(zstd_par_decompress_sink(&source, &sink, &desc, &stats, NULL), POSIO_OK);
            CHECK_EQ(stats.mode, ZSTD_PAR_BLOCK);
            CHECK_EQ(stats.frames, 1);
            CHECK_EQ(stats.streamed, 0);
            CHECK_EQ(out.n, n);
            CHECK(out.n == n && memcmp(out.p, content, n) == 0);
            if (i % 3 != (int)k) {
                free(out.p);
                continue;
            }
            out.n = 0;
            b.p[b.n - 1] ^= 1; /* the checksum */
            CHECK_EQ(zstd_par_decompress(b.p, b.n, dst, n, &made, &desc, &err), POSIO_E_DATA);
            CHECK(strstr(err.message, "checksum") != NULL);
            CHECK_EQ(zstd_par_decompress_sink(&source, &sink, &desc, NULL, &err), POSIO_E_DATA);
            CHECK(strstr(err.message, "checksum") != NULL);
            CHECK(out.n <= n && memcmp(out.p, content, out.n) == 0);
            b.p[b.n - 1] ^= 1;
            free(out.p);
        }
        free(b.p);
    }
    free(content);
    free(dst);
}

TEST(nothing_and_little)
{
    static const char *const inputs[] = {"", "a", "abcd", "abcde", "this is plain text, no zstd"};
    buffer b;
    size_t i;
    for (i = 0; i < sizeof inputs / sizeof inputs[0]; i++)
        check_all(inputs[i], strlen(inputs[i]), 100, 1);
    memset(&b, 0, sizeof b);
    skippable(&b, 3, 20);
    check_all(b.p, b.n, 10, 1);
    skippable(&b, 4, 0);
    check_all(b.p, b.n, 0, 1);
    free(b.p);
}

TEST(cut_at_every_byte)
{
    int flags;
    for (flags = 0; flags < 4; flags++) {
        buffer b;
        size_t n;
        memset(&b, 0, sizeof b);
        skippable(&b, 1, 5);
        frame(&b, text(), 400, 3, flags);
        skippable(&b, 1, 2);
        frame(&b, text() + 500, 200, 19, flags);
        for (n = 0; n <= b.n; n += TEST_STRIDE) {
            unsigned char *exact = (unsigned char *)malloc(n + 1); /* for AddressSanitizer */
            memcpy(exact, b.p, n);
            check_all(exact, n, 1000, n % 50 == 0);
            free(exact);
        }
        free(b.p);
    }
}

TEST(every_bit_flipped)
{
    int flags;
    for (flags = 0; flags < 4; flags++) {
        buffer b;
        size_t i, step = flags == (SUM | NO_SIZE) ? TEST_STRIDE : 3 * TEST_STRIDE;
        memset(&b, 0, sizeof b);
        frame(&b, text(), 150, 3, flags);
        skippable(&b, 1, 2);
        frame(&b, text() + 500, 100, 1, flags);
        for (i = (size_t)flags; i < b.n * 8; i += step) {
            b.p[i / 8] ^= (unsigned char)(1u << i % 8);
            check_all(b.p, b.n, 2000, 0);
            b.p[i / 8] ^= (unsigned char)(1u << i % 8);
        }
        free(b.p);
    }
}

TEST(garbage_behind_frames)
{
    size_t n;
    for (n = 1; n < 12; n++) {
        buffer b;
        memset(&b, 0, sizeof b);
        frame(&b, text(), 300, 3, SUM);
        append(&b, "garbage, no frame", n);
        check_all(b.p, b.n, 1000, 1);
        free(b.p);
    }
}

/* What is refused is told in words. */
static void check_words(const void *p, size_t n, posio_result code, uint64_t offset,
                        const char *words, const zstd_par_desc *desc)
{
    posio_memory m;
    posio_source source;
    posio_sink sink;
    posio_error err;
    buffer out;
    memset(&out, 0, sizeof out);
    m.data = p;
    m.size = n;
    source = posio_memory_source(&m);
    sink = sink_of(&out);
    memset(&err, 0, sizeof err);
    CHECK_EQ(zstd_par_decompress_sink(&source, &sink, desc, NULL, &err), code);
    CHECK_EQ(err.offset, offset);
    if (strstr(err.message, words) == NULL) CHECK_STR(err.message, words);
    free(out.p);
}

TEST(refusals_in_words)
{
    static const uint32_t old[] = {0x1eb52ffd, 0xfd2fb522, 0xfd2fb523, 0xfd2fb524,
                                   0xfd2fb525, 0xfd2fb526, 0xfd2fb527};
    zstd_par_desc desc;
    buffer b;
    size_t i, first;
    char words[64];
    memset(&desc, 0, sizeof desc);
    for (i = 0; i < 7; i++) {
        memset(&b, 0, sizeof b);
        put32(&b, old[i]);
        append(&b, "0123456789abcdef", 16);
        snprintf(words, sizeof words, "zstd v0.%u", (unsigned)i + 1);
        check_words(b.p, b.n, POSIO_E_UNSUPPORTED, 0, words, &desc);
        check_all(b.p, b.n, 1000, 0);
        free(b.p);
    }
    check_words("plain text", 10, POSIO_E_FORMAT, 0, "not a zstd file", &desc);
    check_words("abc", 3, POSIO_E_FORMAT, 0, "3 bytes", &desc);
    check_words("\x28\xb5\x2f\xfd", 4, POSIO_E_DATA, 0, "frame 0 is cut short", &desc);
    memset(&b, 0, sizeof b);
    frame(&b, text(), 3000, 3, SUM);
    check_words(b.p + 4, b.n - 4, POSIO_E_UNSUPPORTED, 0, "without its magic number", &desc);
    first = b.n;
    frame(&b, text(), 3000, 3, SUM);
    check_words(b.p, b.n - 1, POSIO_E_DATA, first, "frame 1 is cut short", &desc);
    check_words(b.p, b.n - 600, POSIO_E_DATA, first, "frame 1 is cut short", &desc);
    desc.mode = ZSTD_PAR_SERIAL;
    check_words(b.p, b.n - 600, POSIO_E_DATA, first, "frame 1 is cut short", &desc);
    desc.mode = 0;
    b.p[b.n - 1] ^= 1;
    check_words(b.p, b.n, POSIO_E_DATA, first, "frame 1 cannot be decoded", &desc);
    check_words(b.p, b.n, POSIO_E_DATA, first, "checksum", &desc);
    append(&b, "xyzzyxyzzy", 10);
    b.p[b.n - 11] ^= 1;
    check_words(b.p, b.n, POSIO_E_DATA, b.n - 10, "before frame 2", &desc);
    free(b.p);
    memset(&b, 0, sizeof b);
    put32(&b, 0xec30a437);
    append(&b, "0123456789abcdef", 16);
    check_words(b.p, b.n, POSIO_E_FORMAT, 0, "dictionary", &desc);
    free(b.p);
}

/* A frame of v0.5 to v0.7, by hand: a raw block of n bytes, an empty last one. Block headers are
   type (2 bits) and size (22 bits), the high bits first. */
static void old_frame(buffer *b, uint32_t version, const void *p, size_t n)
{
    unsigned char head[3];
    put32(b, 0xfd2fb520u + version);
    append(b, "\0\0", version == 7 ? 2 : 1); /* the smallest window */
    head[0] = 0x40;
    head[1] = (unsigned char)(n >> 8);
    head[2] = (unsigned char)n;
    append(b, head, 3);
    append(b, p, n);
    append(b, "\xc0\0\0", 3);
}

/* Those that the installed libzstd knows are decompressed as it would. */
TEST(old_versions)
{
    uint32_t version;
    for (version = 5; version <= 7; version++) {
        buffer b;
        memset(&b, 0, sizeof b);
        frame(&b, text(), 1000, 3, SUM);
        old_frame(&b, version, text(), 600);
        frame(&b, text(), 2000, 3, SUM);
        old_frame(&b, version, text(), 700);
        check_all(b.p, b.n, 4300, 1);
        check_all(b.p, b.n, 4299, 0);
        check_all(b.p, b.n - 1, 4300, 0);
        check_all(b.p, b.n - 500, 4300, 0);
        free(b.p);
    }
}

/* The sizes in headers, where libzstd decodes in pieces and does not always look; stored blocks
   that are larger than the window; a bound of the window that cannot be set. */
TEST(frames_by_hand)
{
    buffer b;
    zstd_par_desc desc;
    posio_memory m;
    posio_source source;
    posio_sink sink;
    uint64_t got = 0;
    int i;
    memset(&desc, 0, sizeof desc);
    memset(&b, 0, sizeof b);
    append(&b, "\x28\xb5\x2f\xfd\x80\x00\xff\xff\xff\xff", 10); /* 2^32 - 1 bytes */
    block(&b, 0, 5, 0, "hello", 5);
    block(&b, 0, 0, 1, NULL, 0);
    check_all(b.p, b.n, 100, 1);
    check_words(b.p, b.n, POSIO_E_DATA, 0, "frame 0 has 5 bytes; its header says 4294967295",
                &desc);
    b.n = 0;
    append(&b, "\x28\xb5\x2f\xfd\x20\x05", 6);
    block(&b, 2, 7, 1, "\x28hello\0", 7); /* literals as they are, no sequences */
    check_all(b.p, b.n, 5, 1);
    check_all(b.p, b.n, 4, 1);
    b.n = 0;
    append(&b, "\x28\xb5\x2f\xfd\xa0\x01\x00\x00\x08", 9); /* one segment of 2^27 + 1 bytes */
    for (i = 0; i < 1024; i++) block(&b, 1, 128 << 10, 0, "\0", 1);
    block(&b, 0, 1, 1, "x", 1);
    m.data = b.p;
    m.size = b.n;
    source = posio_memory_source(&m);
    sink.write = count_write;
    sink.hole = NULL;
    sink.self = &got;
    CHECK_EQ(zstd_par_decompress_sink(&source, &sink, &desc, NULL, NULL), POSIO_OK);
    CHECK_EQ(got, (1u << 27) + 1);
    desc.window_log_max = 27;
    check_words(b.p, b.n, POSIO_E_LIMIT, 0, "needs a window of 134217729", &desc);
    free(b.p);
}

/* Blocks of all types, sizes about every limit, headers that lie: b gets a frame. */
static void frame_at_random(buffer *b, uint64_t *seed)
{
    static const uint32_t sizes[] = {0, 1, 5, 40, 300, 1024, 1025, 5000, 131072, 131073};
    static const uint64_t lies[] = {0,         1, 255, 1 << 20, (uint64_t)1 << 40, UINT64_MAX - 1,
                                    UINT64_MAX};
    const uint64_t r = test_random(seed);
    const uint32_t content_flag = r & 3, single = r >> 2 & 1, sum = r >> 3 & 1;
    uint32_t i, blocks = 1 + (uint32_t)(r >> 8) % 4;
    size_t at;
    uint64_t said;
    buffer c;
    memset(&c, 0, sizeof c);
    put32(b, 0xfd2fb528);
    *extend(b, 1) = (unsigned char)(content_flag << 6 | single << 5 | sum << 2);
    if (!single) *extend(b, 1) = (unsigned char)(r % 11 == 0 ? r >> 16 : r >> 16 & 31);
    at = b->n;
    memset(extend(b, 8), 0, 8);
    b->n -= 8 - (content_flag == 0 ? single : (size_t)1 << content_flag);
    for (i = 0; i < blocks; i++) {
        const uint64_t q = test_random(seed);
        const uint32_t type = (uint32_t)(q >> 8) % 3, n = sizes[(q >> 16) % (q % 5 == 0 ? 10 : 6)];
        if (type == 0) block(b, 0, n, i + 1 == blocks, text(), n);
        if (type == 1) block(b, 1, n, i + 1 == blocks, text(), 1);
        if (type == 2) { /* literals as they are, no sequences */
            const uint32_t literals = 12u | n << 4;
            block(b, 2, n + 4, i + 1 == blocks, NULL, 0);
            put32(b, literals);
            b->n--;
            append(b, text(), n);
            *extend(b, 1) = 0;
        }
        if (type != 1) append(&c, text(), n);
        else memset(extend(&c, n), text()[0], n);
    }
    said = r >> 24 & 3 ? c.n : lies[(r >> 26) % 7];
    if (content_flag == 1) said -= 256;
    for (i = 0; i < (content_flag == 0 ? single : 1u << content_flag); i++)
        b->p[at + i] = (unsigned char)(said >> 8 * i);
    if (sum) put32(b, (uint32_t)digest_xxh64(c.p, c.n, 0) ^ ((r >> 32) % 9 == 0));
    free(c.p);
}

TEST(frames_at_random)
{
    uint64_t seed = 20;
    int i;
    for (i = 0; i < 1000; i += TEST_STRIDE) {
        buffer b;
        uint64_t r = test_random(&seed);
        unsigned char *exact;
        memset(&b, 0, sizeof b);
        if (r & 1) frame_at_random(&b, &seed);
        if (r & 2) skippable(&b, (uint32_t)r >> 4 & 15, (uint32_t)(r >> 8) & 63);
        frame_at_random(&b, &seed);
        if (r & 4) b.p[(r >> 16) % b.n] ^= (unsigned char)(1u << (r >> 60 & 7));
        if (r & 8) b.n -= (size_t)(r >> 16) % 9;
        exact = (unsigned char *)malloc(b.n + 1);
        memcpy(exact, b.p, b.n);
        check_all(exact, b.n, (size_t)(r >> 40) % 4000, i % 50 == 0);
        free(exact);
        free(b.p);
    }
}

/* A disk full of zeros is no frame without its magic number: little of it is read to see that. */
static posio_result zeros_read(void *self, uint64_t at, void *buf, size_t n, posio_error *err)
{
    (void)at;
    (void)err;
    *(uint64_t *)self += n;
    memset(buf, 0, n);
    return POSIO_OK;
}

TEST(a_disk_full_of_zeros)
{
    posio_source source;
    posio_error err;
    zstd_par *z = NULL;
    uint64_t bytes = 0;
    memset(&source, 0, sizeof source);
    source.size = (uint64_t)1 << 40;
    source.read_at = zeros_read;
    source.self = &bytes;
    CHECK_EQ(zstd_par_probe(&source, &err), POSIO_E_FORMAT);
    CHECK_EQ(zstd_par_open_source(&z, &source, NULL, &err), POSIO_E_FORMAT);
    CHECK(strstr(err.message, "not a zstd file") != NULL);
    CHECK(bytes < 1 << 20);
}

TEST(windows)
{
    zstd_par_desc desc;
    buffer b;
    memset(&b, 0, sizeof b);
    memset(&desc, 0, sizeof desc);
    frame_with(&b, text(), 100000, 3, NO_SIZE, NULL, 0, 27);
    check_all(b.p, b.n, 100000, 1);
    b.n = 0;
    frame(&b, text(), 10, 3, 0);
    frame_with(&b, text(), 100000, 3, NO_SIZE, NULL, 0, 28); /* memory to memory needs no window */
    check_all(b.p, b.n, 100010, 1);
    check_words(b.p, b.n, POSIO_E_LIMIT, 19, "frame 1 needs a window of 268435456", &desc);
    desc.mode = ZSTD_PAR_SERIAL;
    check_words(b.p, b.n, POSIO_E_LIMIT, 19, "frame 1 needs a window of 268435456", &desc);
    desc.window_log_max = 28;
    check_words(b.p, b.n, POSIO_OK, 0, "", &desc);
    desc.mode = 0;
    check_words(b.p, b.n, POSIO_OK, 0, "", &desc);
    desc.window_log_max = 9;
    check_words(b.p, b.n, POSIO_E_ARG, POSIO_NO_OFFSET, "window_log_max", &desc);
    free(b.p);
}

TEST(dictionaries)
{
    buffer b;
    zstd_par_desc desc;
    unsigned char dst[20000], expected[20000];
    posio_error err;
    size_t made = 0, i;
    const unsigned char *raw = text() + 100000;
    memset(&b, 0, sizeof b);
    memset(&desc, 0, sizeof desc);
    for (i = 0; i < 5; i++) frame_with(&b, text() + 100000 + i * 3000, 3000, 3, SUM, raw, 20000, 0);
    CHECK(ZSTD_isError(reference(b.p, b.n, expected, sizeof expected, NULL, 0)));
    CHECK_EQ(zstd_par_decompress(b.p, b.n, dst, sizeof dst, &made, &desc, &err), POSIO_E_DATA);
    desc.dictionary = raw;
    desc.dictionary_size = 20000;
    desc.pool = pool_of(1);
    CHECK_EQ(zstd_par_decompress(b.p, b.n, dst, sizeof dst, &made, &desc, &err), POSIO_OK);
    CHECK_EQ(made, 15000);
    CHECK_MEM(dst, text() + 100000, 15000);
    check_words(b.p, b.n, POSIO_OK, 0, "", &desc);
    desc.mode = ZSTD_PAR_SERIAL;
    check_words(b.p, b.n, POSIO_OK, 0, "", &desc);
    desc.mode = 0;
    /* A frame that names a dictionary. */
    memset(&desc, 0, sizeof desc);
    b.n = 0;
    append(&b, "\x28\xb5\x2f\xfd\x23\x78\x56\x34\x12\x02\x11\x00\x00xy", 15);
    check_words(b.p, b.n, POSIO_E_MISSING, 0, "needs dictionary 305419896, and none", &desc);
    check_all(b.p, b.n, 100, 1);
    desc.dictionary = raw;
    desc.dictionary_size = 100;
    check_words(b.p, b.n, POSIO_E_MISSING, 0, "the one given is 0", &desc);
    free(b.p);
}

// ---------------------------------------------------------------------------------- batches

TEST(batches)
{
    enum { MOST = 700 };
    static const size_t counts[] = {0, 1, 2, 16, 17, 300, MOST};
    zstd_par_item *items = (zstd_par_item *)calloc(MOST, sizeof *items);
    unsigned char *dst = (unsigned char *)malloc((size_t)MOST * 20000);
    buffer b;
    size_t at[MOST + 1], sizes[MOST], i, k;
    int p, bad, lend;
    memset(&b, 0, sizeof b);
    for (i = 0; i < MOST; i++) {
        at[i] = b.n;
        sizes[i] = i * 7919 % 20000;
        frame(&b, text() + i * 1000, sizes[i], (int)(i % 3) + 1, SUM | (i % 5 == 0 ? NO_SIZE : 0));
    }
    at[MOST] = b.n;
    for (lend = 0; lend < 2; lend++)
        for (p = 0; p < 4; p++)
            for (k = 0; k < sizeof counts / sizeof counts[0]; k++)
                for (bad = 0; bad < 2; bad++) {
                    zstd_par_desc desc;
                    posio_result r;
                    posio_error err;
                    memset(&desc, 0, sizeof desc);
                    desc.pool = pool_of(p);
                    if (lend) CHECK_EQ(zstd_par_codec_create(&desc.codec, NULL, NULL), POSIO_OK);
                    for (i = 0; i < counts[k]; i++) {
                        memset(&items[i], 0xcc, sizeof items[i]);
                        items[i].src = b.p + at[i];
                        items[i].size = at[i + 1] - at[i] - (bad && i % 10 == 9);
                        items[i].dst = dst + i * 20000;
                        items[i].capacity = bad && i % 10 == 4 ? sizes[i] / 2 : 20000;
                    }
                    memset(dst, 0, counts[k] * 20000);
                    r = zstd_par_decompress_batch(items, counts[k], &desc, &err);
                    CHECK_EQ(r, !bad || counts[k] < 5 ? POSIO_OK : POSIO_E_SPACE);
                    for (i = 0; i < counts[k]; i++) {
                        posio_result want = !bad          ? POSIO_OK
                                            : i % 10 == 9 ? POSIO_E_DATA
                                            : i % 10 == 4 ? POSIO_E_SPACE
                                                          : POSIO_OK;
                        CHECK_EQ(items[i].result, want);
                        CHECK_EQ(items[i].reason == NULL, want == POSIO_OK);
                        CHECK_EQ(items[i].produced, want == POSIO_OK ? sizes[i] : 0);
                        if (want == POSIO_OK)
                            CHECK_MEM(dst + i * 20000, text() + i * 1000, sizes[i]);
                    }
                    zstd_par_codec_destroy(desc.codec);
                }
    free(b.p);
    free(dst);
    free(items);
}

/* Without a place to put anything: what is empty is good. */
TEST(batches_to_nowhere)
{
    buffer b;
    zstd_par_item items[2];
    size_t n;
    memset(&b, 0, sizeof b);
    memset(items, 0, sizeof items);
    frame(&b, "", 0, 3, SUM);
    n = b.n;
    frame(&b, "x", 1, 3, SUM);
    items[0].src = b.p;
    items[0].size = n;
    items[1].src = b.p + n;
    items[1].size = b.n - n;
    CHECK_EQ(zstd_par_decompress_batch(items, 2, NULL, NULL), POSIO_E_SPACE);
    CHECK_EQ(items[0].result, POSIO_OK);
    CHECK_EQ(items[1].result, POSIO_E_SPACE);
    free(b.p);
}

// ---------------------------------------------------------------------------------- the index

/* A seek table for the frames of b as they are, by hand. */
static void seek_table(buffer *b, const uint32_t *sizes, uint32_t count, int sums)
{
    uint32_t i;
    put32(b, 0x184d2a5e);
    put32(b, count * (sums ? 12 : 8) + 9);
    for (i = 0; i < count; i++) {
        put32(b, sizes[3 * i]);
        put32(b, sizes[3 * i + 1]);
        if (sums) put32(b, sizes[3 * i + 2]);
    }
    put32(b, count);
    *extend(b, 1) = sums ? 0x80 : 0;
    put32(b, 0x8f92eab1);
}

/* count frames of 50,000 bytes and their seek table. */
static void seekable(buffer *b, uint32_t count, int flags, int sums)
{
    uint32_t sizes[3 * 64], i;
    for (i = 0; i < count; i++) {
        size_t before = b->n;
        frame(b, text() + i * 50000, 50000, 3, flags);
        sizes[3 * i] = (uint32_t)(b->n - before);
        sizes[3 * i + 1] = 50000;
        sizes[3 * i + 2] = (uint32_t)digest_xxh64(text() + i * 50000, 50000, 0);
    }
    seek_table(b, sizes, count, sums);
}

static zstd_par_index *index_of(const buffer *b, uint32_t flags, posio_result *r, posio_error *err)
{
    zstd_par_index *x = NULL;
    zstd_par_desc desc;
    posio_memory m;
    posio_source source;
    memset(&desc, 0, sizeof desc);
    desc.flags = flags;
    m.data = b->p;
    m.size = b->n;
    source = posio_memory_source(&m);
    *r = zstd_par_index_open(&x, &source, &desc, err);
    return x;
}

/* Frame i, which there is. */
static zstd_par_frame frame_of(const zstd_par_index *x, uint64_t i)
{
    zstd_par_frame f;
    memset(&f, 0, sizeof f);
    CHECK_EQ(zstd_par_index_get(x, i, &f), POSIO_OK);
    return f;
}

TEST(index_of_mixed_frames)
{
    int kind;
    for (kind = 0; kind < 4; kind++) {
        buffer b, c;
        posio_result r;
        zstd_par_index *x;
        zstd_par_frame f;
        const zstd_par_metadata *m;
        uint64_t i, at = 0, content = 0, number = 0;
        memset(&b, 0, sizeof b);
        memset(&c, 0, sizeof c);
        mixed(&b, &c, kind);
        x = index_of(&b, 0, &r, NULL);
        REQUIRE(x != NULL);
        m = zstd_par_index_info(x);
        CHECK_EQ(m->frames, 11);
        CHECK_EQ(m->skippable_frames, 5);
        CHECK_EQ(m->file_size, b.n);
        CHECK_EQ(m->is_walked, 1);
        CHECK_EQ(m->has_seek_table, 0);
        CHECK_EQ(m->checksums, kind & SUM ? 11 : 0);
        CHECK_EQ(m->unknown_sizes, kind & NO_SIZE ? 11 : 0);
        CHECK_EQ(m->content_size, kind & NO_SIZE ? ZSTD_PAR_UNKNOWN : c.n);
        CHECK(m->bound >= c.n);
        for (i = 0; zstd_par_index_get(x, i, &f) == POSIO_OK; i++) {
            CHECK_EQ(f.offset, at);
            CHECK_EQ(f.number, number);
            at += f.size;
            if (f.flags & ZSTD_PAR_SKIPPABLE) continue;
            CHECK_EQ(f.size,
                     ZSTD_findFrameCompressedSize(b.p + f.offset, (size_t)(b.n - f.offset)));
            CHECK((kind & NO_SIZE) || f.output == content);
            if (!(kind & NO_SIZE)) content += f.content_size;
            number++;
        }
        CHECK_EQ(i, 16);
        CHECK_EQ(at, b.n);
        zstd_par_index_close(x);
        free(b.p);
        free(c.p);
    }
}

TEST(seek_tables)
{
    int sums, flags, walk;
    for (sums = 0; sums < 2; sums++)
        for (flags = 0; flags < 4; flags++)
            for (walk = 0; walk < 2; walk++) {
                buffer b;
                posio_result r;
                zstd_par_index *x;
                zstd_par_frame f;
                uint64_t i;
                memset(&b, 0, sizeof b);
                seekable(&b, 20, flags, sums);
                check_all(b.p, b.n, 20 * 50000, 0);
                x = index_of(&b, walk ? ZSTD_PAR_WALK : 0, &r, NULL);
                REQUIRE(x != NULL);
                CHECK_EQ(zstd_par_index_info(x)->has_seek_table, 1);
                CHECK(zstd_par_index_info(x)->seek_table_fault == NULL);
                CHECK_EQ(zstd_par_index_info(x)->is_walked, walk);
                CHECK_EQ(zstd_par_index_info(x)->frames, 20);
                CHECK_EQ(zstd_par_index_info(x)->skippable_frames, 1);
                CHECK_EQ(zstd_par_index_info(x)->content_size, 20 * 50000);
                for (i = 0; i < 20; i++) {
                    f = frame_of(x, i);
                    CHECK_EQ(f.output, i * 50000);
                    CHECK_EQ(f.has_variant, sums);
                    CHECK_EQ((f.flags & ZSTD_PAR_SAID) != 0, flags & NO_SIZE);
                }
                CHECK_EQ(zstd_par_index_find(x, 123456, &i), POSIO_OK);
                CHECK_EQ(i, 2);
                CHECK_EQ(zstd_par_index_find(x, 20 * 50000, &i), POSIO_E_RANGE);
                zstd_par_index_close(x);
                free(b.p);
            }
}

/* Each byte of a seek table changed: never another reading of the file than without it. */
TEST(seek_tables_that_lie)
{
    int flags;
    for (flags = 0; flags < 2; flags++) {
        buffer b;
        size_t i, table = 8 + 4 * 12 + 9;
        memset(&b, 0, sizeof b);
        seekable(&b, 4, flags, 1);
        for (i = b.n - table; i < b.n; i++) {
            zstd_par_desc desc;
            zstd_par *z = NULL;
            posio_memory m;
            posio_source source;
            posio_error err;
            static unsigned char out[200000];
            posio_result r;
            memset(&desc, 0, sizeof desc);
            b.p[i] ^= 0x11;
            m.data = b.p;
            m.size = b.n;
            source = posio_memory_source(&m);
            r = zstd_par_open_source(&z, &source, &desc, &err);
            if (r == POSIO_OK) {
                CHECK(zstd_par_source(z).size == 200000 || flags == NO_SIZE);
                if (zstd_par_source(z).size == 200000 &&
                    zstd_par_read_at(z, 0, out, sizeof out, &err) == POSIO_OK)
                    CHECK_MEM(out, text(), 200000);
                else CHECK(flags == NO_SIZE || strstr(err.message, "checksum") != NULL);
            }
            zstd_par_close(z);
            b.p[i] ^= 0x11;
        }
        free(b.p);
    }
}

TEST(hints_of_pzstd)
{
    buffer b;
    posio_result r;
    zstd_par_index *x;
    size_t i, at;
    memset(&b, 0, sizeof b);
    for (i = 0; i < 4; i++) {
        put32(&b, 0x184d2a50);
        put32(&b, 4);
        at = b.n;
        put32(&b, 0);
        frame(&b, text(), 30000, 3, NO_SIZE | SUM);
        b.p[at] = (unsigned char)(b.n - at - 4 + (i == 2));
        b.p[at + 1] = (unsigned char)((b.n - at - 4) >> 8);
        b.p[at + 2] = (unsigned char)((b.n - at - 4) >> 16);
    }
    x = index_of(&b, 0, &r, NULL);
    REQUIRE(x != NULL);
    CHECK_EQ(zstd_par_index_info(x)->hints, 4);
    CHECK_EQ(zstd_par_index_info(x)->wrong_hints, 1);
    CHECK_EQ(zstd_par_index_info(x)->mode, ZSTD_PAR_FRAME);
    zstd_par_index_close(x);
    check_all(b.p, b.n, 120000, 1);
    free(b.p);
}

// ---------------------------------------------------------------------------------- a ledger

typedef struct ledger {
    thread_pool_mutex lock;
    uint64_t now, peak, calls, fail_at; /* fail_at: counted from 1; 0 = never */
} ledger;

static void *ledger_alloc(size_t n, void *user)
{
    ledger *l = (ledger *)user;
    uint64_t *p = NULL;
    thread_pool_lock(&l->lock);
    if (++l->calls != l->fail_at) p = (uint64_t *)malloc(n + 64);
    if (p != NULL) {
        p[0] = n;
        l->now += n;
        if (l->now > l->peak) l->peak = l->now;
    }
    thread_pool_unlock(&l->lock);
    return p != NULL ? p + 8 : NULL;
}

static void ledger_free(void *p, void *user)
{
    ledger *l = (ledger *)user;
    thread_pool_lock(&l->lock);
    l->now -= ((uint64_t *)p)[-8];
    thread_pool_unlock(&l->lock);
    free((uint64_t *)p - 8);
}

static void ledger_begin(ledger *l, zstd_par_desc *desc)
{
    memset(l, 0, sizeof *l);
    (void)thread_pool_mutex_init(&l->lock);
    desc->alloc.alloc_fn = ledger_alloc;
    desc->alloc.free_fn = ledger_free;
    desc->alloc.user = l;
}

// ---------------------------------------------------------------------------------- random access

typedef struct reading {
    zstd_par *file;
    uint64_t size;
    const unsigned char *content;
    uint32_t bad; /* atomic */
} reading;

static posio_result read_somewhere(void *user, uint32_t i, posio_error *err)
{
    reading *r = (reading *)user;
    uint64_t seed = i + 1;
    unsigned char *buf = (unsigned char *)malloc(600000);
    int k;
    for (k = 0; k < 25; k++) {
        uint64_t at = test_random(&seed) % r->size;
        size_t n = (size_t)(test_random(&seed) % (k % 10 == 0 ? 600000 : 9000));
        if (n > r->size - at) n = (size_t)(r->size - at);
        if (zstd_par_read_at(r->file, at, buf, n, err) != POSIO_OK ||
            memcmp(buf, r->content + at, n) != 0)
            (void)posio_atomic_add(&r->bad, 1);
    }
    free(buf);
    return POSIO_OK;
}

static void read_all_over(const buffer *b, const buffer *c, const zstd_par_desc *desc)
{
    zstd_par *z = NULL;
    posio_memory m;
    posio_source source, s;
    posio_error err;
    posio_extent e;
    reading r;
    uint64_t at;
    unsigned char one;
    m.data = b->p;
    m.size = b->n;
    source = posio_memory_source(&m);
    memset(&err, 0, sizeof err);
    if (zstd_par_open_source(&z, &source, desc, &err) != POSIO_OK) {
        CHECK_STR(err.message, "");
        return;
    }
    s = zstd_par_source(z);
    CHECK_EQ(s.size, c->n);
    r.file = z;
    r.size = s.size;
    r.content = c->p;
    r.bad = 0;
    CHECK_EQ(thread_pool_parallel_for(pool_of(3), 16, read_somewhere, &r, NULL), POSIO_OK);
    CHECK_EQ(r.bad, 0);
    CHECK_EQ(zstd_par_read_at(z, c->n, &one, 0, NULL), POSIO_OK);
    CHECK_EQ(zstd_par_read_at(z, c->n, &one, 1, NULL), POSIO_E_RANGE);
    CHECK_EQ(zstd_par_read_at(z, UINT64_MAX, &one, 1, NULL), POSIO_E_RANGE);
    for (at = 0; at < s.size; at += e.length) {
        CHECK_EQ(posio_extent_of(&s, at, &e, NULL), POSIO_OK);
        if (e.length == 0) break;
    }
    CHECK_EQ(at, s.size);
    zstd_par_close(z);
}

TEST(random_reads)
{
    static const uint64_t caches[] = {0, 1, 300000};
    zstd_par_desc desc;
    int i, kind;
    for (kind = 0; kind < 4; kind++) {
        buffer b, c;
        memset(&b, 0, sizeof b);
        memset(&c, 0, sizeof c);
        mixed(&b, &c, kind);
        memset(&desc, 0, sizeof desc);
        for (i = 0; i < 3; i++) {
            if ((kind * 3 + i) % TEST_STRIDE != 0) continue;
            desc.cache_bytes = caches[i];
            desc.pool = pool_of(i);
            desc.flags = kind & NO_SIZE ? ZSTD_PAR_MEASURE : 0;
            read_all_over(&b, &c, &desc);
        }
        b.n = 0;
        c.n = 0;
        seekable(&b, 30, kind, 1);
        append(&c, text(), 30 * 50000);
        desc.flags = 0;
        read_all_over(&b, &c, &desc);
        free(b.p);
        free(c.p);
    }
}

/* An empty file, and one of tiny frames: the cache is no larger than they are. */
TEST(little_memory_for_little_files)
{
    buffer b;
    zstd_par_desc desc;
    ledger l;
    zstd_par *z = NULL;
    posio_memory m;
    posio_source source;
    char c = 0;
    int i;
    memset(&b, 0, sizeof b);
    memset(&desc, 0, sizeof desc);
    for (i = 0; i < 50; i++) frame(&b, "x", 1, 1, 0);
    for (i = 0; i < 2; i++) {
        ledger_begin(&l, &desc);
        m.data = b.p;
        m.size = i == 0 ? 0 : b.n;
        source = posio_memory_source(&m);
        CHECK_EQ(zstd_par_open_source(&z, &source, &desc, NULL), POSIO_OK);
        CHECK_EQ(zstd_par_source(z).size, i == 0 ? 0 : 50);
        CHECK_EQ(zstd_par_read_at(z, 49, &c, 1, NULL), i == 0 ? POSIO_E_RANGE : POSIO_OK);
        CHECK_EQ(c, i == 0 ? 0 : 'x');
        CHECK(l.peak < 100000);
        zstd_par_close(z);
        CHECK_EQ(l.now, 0);
    }
    free(b.p);
}

TEST(limits_of_random_access)
{
    buffer b;
    zstd_par_desc desc;
    zstd_par *z = NULL;
    posio_memory m;
    posio_source source, s;
    posio_extent e;
    posio_error err;
    unsigned char buf[64];
    memset(&b, 0, sizeof b);
    memset(&desc, 0, sizeof desc);
    frame(&b, text(), 1000, 3, 0);
    frame(&b, text(), 100000, 3, NO_SIZE);
    m.data = b.p;
    m.size = b.n;
    source = posio_memory_source(&m);
    CHECK_EQ(zstd_par_open_source(&z, &source, &desc, &err), POSIO_E_UNSUPPORTED);
    CHECK(strstr(err.message, "frame 1 does not say") != NULL);
    desc.flags = ZSTD_PAR_MEASURE;
    desc.frame_max = 90000;
    CHECK_EQ(zstd_par_open_source(&z, &source, &desc, &err), POSIO_E_LIMIT);
    CHECK(strstr(err.message, "frame_max allows 90000") != NULL);
    desc.frame_max = 0;
    desc.max_frames = 1;
    CHECK_EQ(zstd_par_open_source(&z, &source, &desc, &err), POSIO_E_LIMIT);
    CHECK(strstr(err.message, "max_frames") != NULL);
    desc.max_frames = 2;
    CHECK_EQ(zstd_par_open_source(&z, &source, &desc, &err), POSIO_OK);
    CHECK_EQ(zstd_par_source(z).size, 101000);
    CHECK_EQ(zstd_par_source(z).unit, 100000); /* as measured; its bound is 128 KiB */
    zstd_par_close(z);
    /* A frame of 10 GiB that is a few bytes; one of zeros in runs. */
    b.n = 0;
    append(&b, "\x28\xb5\x2f\xfd\xe0\x00\x00\x00\x80\x02\x00\x00\x00\x03\x00\x00\x41", 17);
    m.size = b.n;
    m.data = b.p;
    source = posio_memory_source(&m);
    CHECK_EQ(zstd_par_open_source(&z, &source, &desc, &err), POSIO_E_LIMIT);
    CHECK(strstr(err.message, "frame 0 has 10737418240 bytes") != NULL);
    b.n = 0;
    append(&b, "\x28\xb5\x2f\xfd\x20\x40\x03\x02\x00\x00", 10); /* 64 zeros in one run */
    m.size = b.n;
    source = posio_memory_source(&m);
    memset(&desc, 0, sizeof desc);
    check_all(b.p, b.n, 64, 1);
    REQUIRE(zstd_par_open_source(&z, &source, &desc, &err) == POSIO_OK);
    s = zstd_par_source(z);
    CHECK_EQ(s.size, 64);
    CHECK_EQ(posio_extent_of(&s, 10, &e, NULL), POSIO_OK);
    CHECK_EQ(e.kind, POSIO_EXTENT_ZERO);
    CHECK_EQ(e.length, 54);
    CHECK_EQ(posio_read(&s, 0, buf, 64, &err), POSIO_OK);
    CHECK_EQ(buf[63], 0);
    zstd_par_close(z);
    free(b.p);
}

TEST(damage_in_one_frame_stays_there)
{
    buffer b;
    zstd_par_desc desc;
    zstd_par *z = NULL;
    posio_memory m;
    posio_source source;
    posio_error err;
    static unsigned char buf[20 * 50000];
    zstd_par_frame f;
    memset(&b, 0, sizeof b);
    memset(&desc, 0, sizeof desc);
    seekable(&b, 20, SUM, 1);
    desc.pool = pool_of(1);
    m.data = b.p;
    m.size = b.n;
    source = posio_memory_source(&m);
    REQUIRE(zstd_par_open_source(&z, &source, &desc, &err) == POSIO_OK);
    f = frame_of(zstd_par_index_of(z), 7);
    b.p[f.offset + f.size / 2] ^= 0x10;
    CHECK_EQ(zstd_par_read_at(z, 0, buf, 350000, &err), POSIO_OK);
    CHECK_MEM(buf, text(), 350000);
    CHECK_EQ(zstd_par_read_at(z, 400000, buf, 600000, &err), POSIO_OK);
    CHECK_EQ(zstd_par_read_at(z, 0, buf, 1000000, &err), POSIO_E_DATA);
    CHECK_EQ(err.offset, f.offset);
    CHECK(strstr(err.message, "frame 7") != NULL);
    CHECK_EQ(zstd_par_read_at(z, 360000, buf, 10, &err), POSIO_E_DATA);
    zstd_par_close(z);
    free(b.p);
}

// ---------------------------------------------------------------------------------- compressing

typedef struct trickle {
    const unsigned char *p;
    size_t n, at;
    uint64_t seed;
} trickle;

static posio_result trickle_read(void *self, void *buf, size_t n, size_t *got, posio_error *err)
{
    trickle *t = (trickle *)self;
    size_t take = (size_t)(test_random(&t->seed) % 100000) + 1;
    (void)err;
    if (take > n) take = n;
    if (take > t->n - t->at) take = t->n - t->at;
    memcpy(buf, t->p + t->at, take);
    t->at += take;
    *got = take;
    return POSIO_OK;
}

static void compress_stream(buffer *out, const void *p, size_t n, const zstd_par_desc *desc)
{
    trickle t;
    posio_stream stream;
    posio_sink sink = sink_of(out);
    posio_error err;
    zstd_par_stats stats;
    memset(&err, 0, sizeof err);
    t.p = (const unsigned char *)p;
    t.n = n;
    t.at = 0;
    t.seed = n + 1;
    stream.read = trickle_read;
    stream.self = &t;
    if (zstd_par_compress(&stream, &sink, desc, &stats, &err) != POSIO_OK)
        CHECK_STR(err.message, "");
    CHECK_EQ(stats.in_bytes, n);
    CHECK_EQ(stats.out_bytes, out->n);
}

TEST(compressed_files)
{
    enum { MOST = 600003 };
    static const size_t sizes[] = {0, 1, 100000, 100001, MOST};
    static const int levels[] = {0, 1, 7, -3};
    size_t i, k;
    int p, flags, number = 0;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (k = 0; k < 4; k++)
            for (flags = 0; flags <= 12; flags += 4) {
                buffer first, out;
                zstd_par_desc desc;
                posio_memory m;
                posio_source source;
                posio_sink sink;
                posio_result r;
                zstd_par_index *x;
                uint64_t frames = sizes[i] == 0 ? 1 : (sizes[i] + 99999) / 100000;
                if (k != 0 && sizes[i] == MOST && flags != 0) continue;
                if (number++ % TEST_STRIDE != 0) continue;
                memset(&desc, 0, sizeof desc);
                memset(&first, 0, sizeof first);
                memset(&out, 0, sizeof out);
                desc.level = levels[k];
                desc.frame_size = 100000;
                desc.flags = (uint32_t)flags;
                compress_stream(&first, text(), sizes[i], &desc);
                check_all(first.p, first.n, sizes[i], 0);
                m.data = text();
                m.size = sizes[i];
                source = posio_memory_source(&m);
                for (p = 1; p < 4; p++) { /* the same bytes by any number of threads */
                    desc.pool = pool_of(p);
                    out.n = 0;
                    compress_stream(&out, text(), sizes[i], &desc);
                    CHECK_EQ(out.n, first.n);
                    CHECK_MEM(out.p, first.p, first.n);
                    out.n = 0;
                    sink = sink_of(&out);
                    CHECK_EQ(zstd_par_compress_source(&source, &sink, &desc, NULL, NULL), POSIO_OK);
                    CHECK_EQ(out.n, first.n);
                    CHECK_MEM(out.p, first.p, first.n);
                }
                x = index_of(&first, ZSTD_PAR_WALK, &r, NULL);
                REQUIRE(x != NULL);
                CHECK_EQ(zstd_par_index_info(x)->frames, frames);
                CHECK_EQ(zstd_par_index_info(x)->has_seek_table, !(flags & ZSTD_PAR_NO_SEEK_TABLE));
                CHECK_EQ(zstd_par_index_info(x)->content_size, sizes[i]);
                CHECK_EQ(zstd_par_index_info(x)->checksums,
                         flags & ZSTD_PAR_NO_CHECKSUM ? 0 : frames);
                zstd_par_index_close(x);
                free(first.p);
                free(out.p);
            }
}

TEST(checksums_of_the_seek_table)
{
    buffer b;
    zstd_par_desc desc;
    posio_result r;
    zstd_par_index *x;
    zstd_par_frame f;
    uint64_t i;
    memset(&b, 0, sizeof b);
    memset(&desc, 0, sizeof desc);
    desc.frame_size = 300000;
    compress_stream(&b, text(), TEXT, &desc);
    x = index_of(&b, 0, &r, NULL);
    REQUIRE(x != NULL);
    CHECK_EQ(zstd_par_index_info(x)->is_walked, 0);
    for (i = 0; i < 11; i++) {
        size_t n = i < 10 ? 300000 : TEXT - 3000000;
        f = frame_of(x, i);
        CHECK_EQ(f.content_size, n);
        CHECK_EQ(f.variant, (uint32_t)digest_xxh64(text() + i * 300000, n, 0));
    }
    zstd_par_index_close(x);
    free(b.p);
}

TEST(default_frame_sizes)
{
    static const int levels[] = {1, 3, 0, 16};
    static const uint64_t want[] = {4, 8, 8, 16};
    unsigned char *zeros = (unsigned char *)calloc(1, 40 << 20);
    int i;
    for (i = 0; i < 4; i++) {
        buffer b;
        zstd_par_desc desc;
        zstd_par_frame f;
        posio_result r;
        zstd_par_index *x;
        memset(&b, 0, sizeof b);
        memset(&desc, 0, sizeof desc);
        desc.level = levels[i];
        compress_stream(&b, zeros, 40 << 20, &desc);
        x = index_of(&b, 0, &r, NULL);
        REQUIRE(x != NULL);
        f = frame_of(x, 0);
        CHECK_EQ(f.content_size, want[i] << 20);
        zstd_par_index_close(x);
        free(b.p);
    }
    free(zeros);
}

TEST(compressing_with_a_dictionary)
{
    buffer b;
    zstd_par_desc desc;
    size_t made = 0;
    unsigned char *dst = (unsigned char *)malloc(TEXT);
    memset(&b, 0, sizeof b);
    memset(&desc, 0, sizeof desc);
    desc.frame_size = 5000;
    desc.dictionary = text() + 1000;
    desc.dictionary_size = 50000;
    desc.pool = pool_of(1);
    compress_stream(&b, text(), 500000, &desc);
    CHECK_EQ(reference(b.p, b.n, dst, TEXT, text() + 1000, 50000), 500000);
    CHECK_MEM(dst, text(), 500000);
    CHECK_EQ(zstd_par_decompress(b.p, b.n, dst, TEXT, &made, &desc, NULL), POSIO_OK);
    CHECK_EQ(made, 500000);
    {
        buffer c;
        memset(&c, 0, sizeof c);
        append(&c, text(), 500000);
        read_all_over(&b, &c, &desc);
        free(c.p);
    }
    free(b.p);
    free(dst);
}

TEST(zeros_become_holes)
{
    buffer b, out;
    unsigned char *p = (unsigned char *)calloc(1, 1 << 20);
    posio_memory m;
    posio_source source;
    posio_sink sink;
    memset(&b, 0, sizeof b);
    memset(&out, 0, sizeof out);
    memcpy(p, text(), 5000);
    memcpy(p + 500000, text(), 5000);
    p[(1 << 20) - 1] = 1;
    frame(&b, p, 1 << 20, 3, SUM);
    m.data = b.p;
    m.size = b.n;
    source = posio_memory_source(&m);
    sink = sink_of(&out);
    CHECK_EQ(zstd_par_decompress_sink(&source, &sink, NULL, NULL, NULL), POSIO_OK);
    CHECK_EQ(out.n, 1 << 20);
    CHECK_MEM(out.p, p, 1 << 20);
    CHECK(out.holes > 800000);
    free(b.p);
    free(out.p);
    free(p);
}

static int stop_at_once(void *user, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    return ++*(int *)user > 2;
}

static int watch(void *user, uint64_t done, uint64_t total)
{
    uint64_t *last = (uint64_t *)user;
    if (done < last[0] || (total != ZSTD_PAR_UNKNOWN && done > total)) last[1] = 1;
    last[0] = done;
    return 0;
}

TEST(progress_and_cancel)
{
    buffer b, out;
    zstd_par_desc desc;
    posio_memory m;
    posio_source source;
    posio_sink sink;
    int calls = 0;
    uint64_t last[2] = {0, 0};
    memset(&b, 0, sizeof b);
    memset(&out, 0, sizeof out);
    memset(&desc, 0, sizeof desc);
    desc.frame_size = 70000;
    desc.pool = pool_of(1);
    desc.progress = watch;
    desc.user = last;
    compress_stream(&b, text(), TEXT, &desc);
    CHECK_EQ(last[1], 0);
    last[0] = 0;
    m.data = b.p;
    m.size = b.n;
    source = posio_memory_source(&m);
    sink = sink_of(&out);
    CHECK_EQ(zstd_par_decompress_sink(&source, &sink, &desc, NULL, NULL), POSIO_OK);
    CHECK_EQ(last[1], 0);
    CHECK(last[0] > b.n / 2);
    desc.progress = stop_at_once;
    desc.user = &calls;
    CHECK_EQ(zstd_par_decompress_sink(&source, &sink, &desc, NULL, NULL), POSIO_E_CANCELED);
    calls = 0;
    desc.mode = ZSTD_PAR_SERIAL;
    CHECK_EQ(zstd_par_decompress_sink(&source, &sink, &desc, NULL, NULL), POSIO_E_CANCELED);
    calls = 0;
    m.data = text();
    m.size = TEXT;
    source = posio_memory_source(&m);
    CHECK_EQ(zstd_par_compress_source(&source, &sink, &desc, NULL, NULL), POSIO_E_CANCELED);
    free(b.p);
    free(out.p);
}

// ---------------------------------------------------------------------------------- memory, faults

/* Frames of 1 MiB, a bomb of 64 MiB in runs, one that claims 2^62 bytes: the memory stays. */
TEST(memory_is_bounded)
{
    buffer b;
    zstd_par_desc desc;
    ledger l;
    posio_memory m;
    posio_source source;
    posio_sink sink;
    uint64_t got = 0;
    int p, i;
    memset(&b, 0, sizeof b);
    for (i = 0; i < 40; i++) frame(&b, text() + i * 50000, 1 << 20, 1, i % 2 ? NO_SIZE : 0);
    append(&b, "\x28\xb5\x2f\xfd\x00\x68", 6);                    /* window 2^23 */
    for (i = 0; i < 512; i++) append(&b, "\x02\x00\x10\x07", 4); /* runs of 128 KiB */
    append(&b, "\x03\x00\x00\x07", 4);
    m.data = b.p;
    m.size = b.n;
    source = posio_memory_source(&m);
    sink.write = count_write;
    sink.hole = NULL;
    sink.self = &got;
    for (p = 0; p < 4; p++) {
        posio_error err;
        memset(&desc, 0, sizeof desc);
        ledger_begin(&l, &desc);
        desc.pool = pool_of(p);
        desc.memory = 8 << 20;
        got = 0;
        memset(&err, 0, sizeof err);
        if (zstd_par_decompress_sink(&source, &sink, &desc, NULL, &err) != POSIO_OK)
            CHECK_STR(err.message, "");
        CHECK_EQ(got, (uint64_t)40 * (1 << 20) + (1 << 26));
        CHECK(l.peak <= (8 << 20) + 400000);
        CHECK_EQ(l.now, 0);
    }
    b.n = 0;
    append(&b, "\x28\xb5\x2f\xfd\xe0\x00\x00\x00\x00\x00\x00\x00\x40\x03\x00\x00\x41", 17);
    m.data = b.p;
    m.size = b.n;
    source = posio_memory_source(&m);
    CHECK_EQ(zstd_par_decompress_sink(&source, &sink, &desc, NULL, NULL), POSIO_E_LIMIT);
    CHECK(l.peak <= (8 << 20) + 400000);
    free(b.p);
}

/* Everything that allocates or reads, once, on one thread. */
typedef struct flaky {
    posio_source base;
    uint64_t calls, fail_at;
} flaky;

static posio_result flaky_read(void *self, uint64_t at, void *buf, size_t n, posio_error *err)
{
    flaky *f = (flaky *)self;
    if (++f->calls == f->fail_at) return posio_fail(err, POSIO_E_IO, at, "a read that fails");
    return posio_read(&f->base, at, buf, n, err);
}

static posio_result do_everything(flaky *f, zstd_par_desc *desc, posio_error *err)
{
    posio_source source = f->base;
    static unsigned char buf[400000], dst[1200000];
    zstd_par *z = NULL;
    zstd_par_codec *codec = NULL;
    zstd_par_item item;
    buffer out;
    posio_sink sink;
    size_t made;
    posio_result r;
    memset(&out, 0, sizeof out);
    sink = sink_of(&out);
    source.read_at = flaky_read;
    source.self = f;
    r = zstd_par_decompress_sink(&source, &sink, desc, NULL, err);
    if (r == POSIO_OK) CHECK_MEM(out.p, text(), 1000000);
    if (r == POSIO_OK) r = zstd_par_open_source(&z, &source, desc, err);
    if (r == POSIO_OK) r = zstd_par_read_at(z, 300, buf, 1000, err);
    if (r == POSIO_OK) CHECK_MEM(buf, text() + 300, 1000);
    if (r == POSIO_OK) r = zstd_par_read_at(z, 1000, buf, sizeof buf, err);
    if (r == POSIO_OK) CHECK_MEM(buf, text() + 1000, sizeof buf);
    zstd_par_close(z);
    out.n = 0;
    if (r == POSIO_OK) r = zstd_par_compress_source(&source, &sink, desc, NULL, err);
    if (r == POSIO_OK) r = zstd_par_codec_create(&codec, desc, err);
    if (r == POSIO_OK) {
        const posio_memory *m = (const posio_memory *)f->base.self;
        zstd_par_codec *before = desc->codec;
        desc->codec = codec;
        r = zstd_par_decompress(m->data, (size_t)m->size, dst, sizeof dst, &made, desc, err);
        memset(&item, 0, sizeof item);
        item.src = m->data;
        item.size = (size_t)m->size;
        item.dst = dst;
        item.capacity = sizeof dst;
        if (r == POSIO_OK) r = zstd_par_decompress_batch(&item, 1, desc, err);
        desc->codec = before;
    }
    zstd_par_codec_destroy(codec);
    free(out.p);
    return r;
}

TEST(every_allocation_and_read_fails_once)
{
    buffer b;
    posio_memory m;
    zstd_par_desc desc;
    ledger l;
    flaky f;
    uint64_t i, n;
    posio_error err;
    memset(&b, 0, sizeof b);
    seekable(&b, 18, SUM, 1);
    b.n -= 8 + 18 * 12 + 9;
    frame(&b, text() + 900000, 100000, 3, NO_SIZE); /* so that one must be measured */
    m.data = b.p;
    m.size = b.n;
    memset(&desc, 0, sizeof desc);
    desc.memory = 1;
    desc.frame_size = 100000;
    desc.flags = ZSTD_PAR_MEASURE;
    memset(&f, 0, sizeof f);
    f.base = posio_memory_source(&m);
    ledger_begin(&l, &desc);
    CHECK_EQ(do_everything(&f, &desc, &err), POSIO_OK);
    CHECK_EQ(l.now, 0);
    n = l.calls;
    CHECK(n > 20);
    for (i = 1; i <= n; i++) {
        l.calls = 0;
        l.fail_at = i;
        memset(&err, 0, sizeof err);
        CHECK_EQ(do_everything(&f, &desc, &err), POSIO_E_NOMEM);
        CHECK_EQ(err.code, POSIO_E_NOMEM);
        CHECK(err.message[0] != 0);
        CHECK_EQ(l.now, 0);
    }
    l.fail_at = 0;
    f.calls = 0;
    CHECK_EQ(do_everything(&f, &desc, &err), POSIO_OK);
    n = f.calls;
    for (i = 1; i <= n; i++) {
        f.calls = 0;
        f.fail_at = i;
        memset(&err, 0, sizeof err);
        CHECK_EQ(do_everything(&f, &desc, &err), POSIO_E_IO);
        CHECK_STR(err.message, "a read that fails");
        CHECK_EQ(l.now, 0);
    }
    free(b.p);
}

static posio_result full_write(void *self, const void *p, size_t n, posio_error *err)
{
    uint64_t *room = (uint64_t *)self;
    (void)p;
    if (n > *room) return posio_fail(err, POSIO_E_IO, POSIO_NO_OFFSET, "the sink is full");
    *room -= n;
    return POSIO_OK;
}

TEST(sinks_that_fail)
{
    buffer b;
    zstd_par_desc desc;
    posio_memory m;
    posio_source source;
    posio_sink sink;
    posio_error err;
    uint64_t room;
    int p;
    memset(&b, 0, sizeof b);
    seekable(&b, 30, SUM, 1);
    sink.write = full_write;
    sink.hole = NULL;
    sink.self = &room;
    for (p = 0; p < 4; p++) {
        memset(&desc, 0, sizeof desc);
        desc.pool = pool_of(p);
        desc.frame_size = 50000;
        m.data = b.p;
        m.size = b.n;
        source = posio_memory_source(&m);
        room = 700000;
        CHECK_EQ(zstd_par_decompress_sink(&source, &sink, &desc, NULL, &err), POSIO_E_IO);
        CHECK_STR(err.message, "the sink is full");
        m.data = text();
        m.size = TEXT;
        source = posio_memory_source(&m);
        room = 100000;
        CHECK_EQ(zstd_par_compress_source(&source, &sink, &desc, NULL, &err), POSIO_E_IO);
        CHECK_STR(err.message, "the sink is full");
    }
    free(b.p);
}

/* The error is that of the first bad frame, and what comes before it is there. */
TEST(errors_do_not_depend_on_threads)
{
    buffer b, out;
    zstd_par_index *x;
    zstd_par_frame f7, f15;
    posio_result r;
    int p;
    memset(&b, 0, sizeof b);
    memset(&out, 0, sizeof out);
    seekable(&b, 20, SUM, 1);
    x = index_of(&b, 0, &r, NULL);
    REQUIRE(x != NULL);
    f7 = frame_of(x, 7);
    f15 = frame_of(x, 15);
    zstd_par_index_close(x);
    b.p[f7.offset + f7.size / 2] ^= 1;
    b.p[f15.offset] ^= 1;
    for (p = 0; p < 4; p++) {
        zstd_par_desc desc;
        static unsigned char dst[1000000];
        posio_error err;
        size_t made = 0;
        memset(&desc, 0, sizeof desc);
        desc.pool = pool_of(p);
        check_words(b.p, b.n, POSIO_E_DATA, f7.offset, "frame 7 cannot be decoded", &desc);
        CHECK_EQ(zstd_par_decompress(b.p, b.n, dst, sizeof dst, &made, &desc, &err), POSIO_E_DATA);
        CHECK_EQ(err.offset, f7.offset);
        CHECK(strstr(err.message, "frame 7 cannot be decoded") != NULL);
        desc.mode = ZSTD_PAR_SERIAL;
        memset(&err, 0, sizeof err);
        CHECK_EQ(zstd_par_decompress(b.p, b.n, dst, sizeof dst, &made, &desc, &err), POSIO_E_DATA);
        CHECK_EQ(err.offset, f7.offset);
        CHECK(strstr(err.message, "frame 7 cannot be decoded") != NULL);
    }
    free(b.p);
    free(out.p);
}

TEST(impossible_descs)
{
    zstd_par_desc desc;
    posio_memory m = {"", 0};
    posio_source source = posio_memory_source(&m);
    buffer out;
    posio_sink sink;
    zstd_par *z = NULL;
    zstd_par_codec *codec = NULL;
    size_t made;
    memset(&out, 0, sizeof out);
    sink = sink_of(&out);
    memset(&desc, 0, sizeof desc);
    desc.mode = 9;
    CHECK_EQ(zstd_par_decompress("", 0, NULL, 0, &made, &desc, NULL), POSIO_E_ARG);
    desc.mode = 0;
    desc.flags = 16;
    CHECK_EQ(zstd_par_open_source(&z, &source, &desc, NULL), POSIO_E_ARG);
    desc.flags = 0;
    desc.level = 99;
    CHECK_EQ(zstd_par_compress_source(&source, &sink, &desc, NULL, NULL), POSIO_E_ARG);
    desc.level = 0;
    desc.frame_size = (uint64_t)2 << 30;
    CHECK_EQ(zstd_par_compress_source(&source, &sink, &desc, NULL, NULL), POSIO_E_ARG);
    desc.frame_size = 0;
    desc.dictionary = "\x37\xa4\x30\xec, which is no trained dictionary";
    desc.dictionary_size = 30;
    CHECK_EQ(zstd_par_codec_create(&codec, &desc, NULL), POSIO_E_DATA);
    desc.dictionary = NULL;
    CHECK_EQ(zstd_par_codec_create(&codec, &desc, NULL), POSIO_E_ARG);
    desc.dictionary_size = 0;
    CHECK_EQ(zstd_par_codec_create(&codec, &desc, NULL), POSIO_OK);
    desc.codec = codec;
    desc.dictionary = "abc";
    CHECK_EQ(zstd_par_decompress("", 0, NULL, 0, &made, &desc, NULL), POSIO_E_ARG);
    desc.dictionary = NULL;
    CHECK_EQ(zstd_par_decompress("", 0, NULL, 0, &made, &desc, NULL), POSIO_OK);
    CHECK_EQ(made, 0);
    zstd_par_codec_destroy(codec);
    zstd_par_codec_destroy(NULL);
    zstd_par_close(NULL);
    zstd_par_index_close(NULL);
    free(out.p);
}

// ---------------------------------------------------------------------------------- other tools

#if !defined(_WIN32) && !defined(POSIO_NO_FILES)
static char folder[256];

static int have(const char *tool)
{
    char line[300];
    snprintf(line, sizeof line, "command -v %s > /dev/null 2>&1", tool);
    return system(line) == 0;
}

static int save(const char *name, const void *p, size_t n)
{
    char path[400];
    FILE *f;
    size_t done;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "wb");
    if (f == NULL) return 0;
    done = fwrite(p, 1, n, f);
    return fclose(f) == 0 && done == n;
}

static void load(const char *name, buffer *b)
{
    char path[400];
    FILE *f;
    size_t n;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "rb");
    b->n = 0;
    if (f == NULL) return;
    do {
        (void)extend(b, 65536);
        n = fread(b->p + b->n - 65536, 1, 65536, f);
        b->n -= 65536 - n;
    } while (n != 0);
    fclose(f);
}

static int shell(const char *command)
{
    char line[1000];
    snprintf(line, sizeof line, "cd '%s' && %s", folder, command);
    return system(line);
}

static int begin_folder(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/test_zstd_par.XXXXXX", tmp != NULL ? tmp : "/tmp");
    return mkdtemp(folder) != NULL;
}

TEST(files_of_other_tools)
{
    enum { SIZE = 3 << 19 }; /* enough for block mode */
    static const char *const made[] = {"zstd -q -f t -o t.zst",
                                       "zstd -q -f -19 -T2 t -o t.zst",
                                       "zstd -q -f --no-check t -o t.zst",
                                       "zstd -q -f --long=27 t -o t.zst",
                                       "zstd -q -c < t > t.zst",
                                       "(zstd -q -c t; zstd -q -c -1 t) > t.zst",
                                       "pzstd -q -f -p 2 t -o t.zst",
                                       "pzstd -q -f -p 3 -1 t -o t.zst",
                                       "t2sz -s 100k -o t.zst -f t"};
    size_t i;
    if (!have("zstd")) SKIP("zstd is not installed");
    REQUIRE(begin_folder());
    REQUIRE(save("t", text(), SIZE));
    for (i = 0; i < sizeof made / sizeof made[0]; i++) {
        buffer b;
        char tool[8];
        sscanf(made[i][0] == '(' ? made[i] + 1 : made[i], "%7s", tool);
        if (!have(tool) || (TEST_STRIDE > 1 && i % 2 != 0)) continue;
        memset(&b, 0, sizeof b);
        CHECK_EQ(shell(made[i]), 0);
        load("t.zst", &b);
        CHECK(b.n > 100);
        check_all(b.p, b.n, 2 * SIZE, i == 0 || i == 5);
        check_all(b.p, b.n, SIZE, 0);
        free(b.p);
    }
    if (!have("pzstd")) test_skip("pzstd is not installed");
    (void)shell("rm -rf \"$PWD\"");
}

TEST(other_tools_read_ours)
{
    buffer b;
    zstd_par_desc desc;
    zstd_par *z = NULL;
    char path[400];
    unsigned char buf[1000];
    if (!have("zstd")) SKIP("zstd is not installed");
    REQUIRE(begin_folder());
    memset(&b, 0, sizeof b);
    memset(&desc, 0, sizeof desc);
    desc.frame_size = 200000;
    desc.pool = pool_of(1);
    compress_stream(&b, text(), TEXT, &desc);
    REQUIRE(save("t", text(), TEXT) && save("t.zst", b.p, b.n));
    CHECK_EQ(shell("zstd -q -d -c t.zst | cmp - t"), 0);
    CHECK_EQ(shell("zstd -q -t t.zst"), 0);
    CHECK_EQ(shell("zstd -q -l t.zst > /dev/null"), 0);
    if (have("pzstd")) CHECK_EQ(shell("pzstd -q -d -c -p 2 t.zst | cmp - t"), 0);
    snprintf(path, sizeof path, "%s/t.zst", folder);
    CHECK_EQ(zstd_par_open(&z, path, &desc, NULL), POSIO_OK);
    CHECK_EQ(zstd_par_read_at(z, 1234567, buf, sizeof buf, NULL), POSIO_OK);
    CHECK_MEM(buf, text() + 1234567, sizeof buf);
    zstd_par_close(z);
    (void)shell("rm -rf \"$PWD\"");
    free(b.p);
}

TEST(trained_dictionaries)
{
    buffer d, b;
    zstd_par_desc desc;
    unsigned char dst[5000];
    size_t made = 0;
    posio_error err;
    if (!have("zstd") || !have("split")) SKIP("zstd is not installed");
    REQUIRE(begin_folder());
    memset(&d, 0, sizeof d);
    memset(&b, 0, sizeof b);
    memset(&desc, 0, sizeof desc);
    REQUIRE(save("t", text(), 400000));
    CHECK_EQ(shell("split -b 1000 t s_ && zstd -q --train s_* -o d --maxdict=8000 2> /dev/null"),
             0);
    CHECK_EQ(shell("zstd -q -f -D d s_ab -o s.zst && cat s.zst s.zst s.zst > m.zst"), 0);
    load("d", &d);
    load("m.zst", &b);
    CHECK(d.n > 1000 && b.n > 100);
    check_all(b.p, b.n, 5000, 1);
    CHECK_EQ(zstd_par_decompress(b.p, b.n, dst, sizeof dst, &made, &desc, &err), POSIO_E_MISSING);
    CHECK(strstr(err.message, "needs dictionary") != NULL);
    desc.dictionary = d.p;
    desc.dictionary_size = d.n;
    CHECK_EQ(zstd_par_decompress(b.p, b.n, dst, sizeof dst, &made, &desc, &err), POSIO_OK);
    CHECK_EQ(made, 3000);
    CHECK_MEM(dst + 2000, text() + 1000, 1000);
    check_words(b.p, b.n, POSIO_OK, 0, "", &desc);
    (void)shell("rm -rf \"$PWD\"");
    free(b.p);
    free(d.p);
}
#endif

#if !defined(_WIN32) && !defined(POSIO_NO_FILES)
#define RUN_OTHER_TOOLS         \
    RUN(files_of_other_tools);  \
    RUN(other_tools_read_ours); \
    RUN(trained_dictionaries);
#else
#define RUN_OTHER_TOOLS
#endif

TEST_MAIN(RUN(mixed_frames_in_all_ways); RUN(a_frame_larger_than_the_memory_is_streamed);
          RUN(one_frame_by_blocks); RUN(nothing_and_little); RUN(cut_at_every_byte);
          RUN(every_bit_flipped); RUN(garbage_behind_frames); RUN(refusals_in_words);
          RUN(old_versions);
          RUN(frames_by_hand); RUN(frames_at_random); RUN(a_disk_full_of_zeros); RUN(windows);
          RUN(dictionaries); RUN(batches); RUN(batches_to_nowhere); RUN(index_of_mixed_frames);
          RUN(seek_tables); RUN(seek_tables_that_lie); RUN(hints_of_pzstd); RUN(random_reads);
          RUN(little_memory_for_little_files); RUN(limits_of_random_access);
          RUN(damage_in_one_frame_stays_there); RUN(compressed_files);
          RUN(checksums_of_the_seek_table); RUN(default_frame_sizes);
          RUN(compressing_with_a_dictionary); RUN(zeros_become_holes); RUN(progress_and_cancel);
          RUN(memory_is_bounded); RUN(every_allocation_and_read_fails_once); RUN(sinks_that_fail);
          RUN(errors_do_not_depend_on_threads); RUN(impossible_descs); RUN_OTHER_TOOLS end_pools();)
