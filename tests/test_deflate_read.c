/* test_deflate_read.c - streams built bit by bit, streams of other tools, and damaged ones.

   Every stream is decoded by each variant of the decoder (slack or none, all processor features,
   none, or one of them; tables full of rubbish before), from and into buffers that end at a page
   without access (the output: with its slack) or begin behind one, as the decoder's object does;
   and all must agree on the result, the bytes and where decoding stopped. With -DHAVE_ZLIB (-lz)
   they must also agree with zlib. With -DPLUG_LIBDEFLATE (-ldeflate) that decoder is plugged in,
   and the streams that it takes though zlib refuses them are left out. */
#ifdef PLUG_LIBDEFLATE
#include <libdeflate.h>
#include <stddef.h>
static int plugged(const void *in, size_t n, void *out, size_t out_max, int zlib, size_t *in_used,
                   size_t *out_size);
#define DEFLATE_READ_CUSTOM(d, in, in_size, out, out_max, zlib_wrapped, end) \
    plugged(in, in_size, out, out_max, zlib_wrapped, &(end)->in_used, &(end)->out_size)
#endif
#define DEFLATE_READ_IMPLEMENTATION
#include "../deflate_read.h"
#include "test.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif
#ifdef HAVE_ZLIB
#include <zlib.h>
#endif

// ---------------------------------------------------------------------------------- buffers

enum { ARENA = 1 << 18 };
/* What lies before, or at + ARENA, has no access. */
static unsigned char *arena_in, *arena_out, *arena_decoder;

static unsigned char *make_arena(void)
{
#if defined(_WIN32)
    unsigned char *p = (unsigned char *)VirtualAlloc(NULL, ARENA + 2 * 65536,
                                                     MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    DWORD before;
    if (p == NULL || !VirtualProtect(p, 65536, PAGE_NOACCESS, &before) ||
        !VirtualProtect(p + 65536 + ARENA, 65536, PAGE_NOACCESS, &before))
        exit(2);
    return p + 65536;
#else
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *p = (unsigned char *)mmap(NULL, ARENA + 2 * page, PROT_READ | PROT_WRITE,
                                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == (unsigned char *)MAP_FAILED || mprotect(p, page, PROT_NONE) != 0 ||
        mprotect(p + page + ARENA, page, PROT_NONE) != 0)
        exit(2);
    return p + page;
#endif
}

// ---------------------------------------------------------------------------------- decoding

typedef struct outcome {
    posio_result result;
    deflate_read_end end;
    posio_error err;
    unsigned char out[ARENA];
} outcome;

static deflate_read *decoder; /* in its arena, at the end of it */
static outcome got; /* of the last decode() */
static int bad_variants;

enum { RAW = 0, ZLIB = 1 };

typedef struct variant {
    size_t slack;
    uint32_t cpu; /* the processor features that may be used */
    int rubbish;  /* in the decoder, before */
    int front;    /* the pages without access are before the buffers, not behind */
} variant;

static void run_variant(outcome *o, const variant *v, int format, uint32_t flags,
                        const unsigned char *in, size_t n, size_t out_max, size_t slack)
{
    unsigned char *pi = arena_in + ARENA - n, *po = arena_out + ARENA - out_max - slack;
    unsigned char *edge = po - 32, canary[32];
    unsigned char *decoder_edge = (unsigned char *)(void *)decoder - 32;
    deflate_read *d = decoder;
    if (v->front) {
        d = (deflate_read *)(void *)arena_decoder;
        decoder_edge = arena_decoder + sizeof *d;
        pi = arena_in;
        po = arena_out;
        edge = po + out_max + slack;
    }
    if (n != 0) memcpy(pi, in, n);
    memset(edge, 0x5a, 32);
    memset(decoder_edge, 0x5a, 32);
    memset(po, 0xcc, out_max);
    memset(canary, 0x5a, 32);
    if (v->rubbish) memset(d, 0xa5, sizeof *d);
    memset(&o->end, 0xee, sizeof o->end);
    memset(&o->err, 0, sizeof o->err);
    o->result = (format == ZLIB ? deflate_read_zlib : deflate_read_raw)(
        d, pi, n, po, out_max, slack, flags, &o->end, &o->err);
    if (memcmp(edge, canary, 32) != 0 || memcmp(decoder_edge, canary, 32) != 0 ||
        o->end.out_size > out_max || o->end.in_used > n ||
        (o->result != POSIO_OK && o->err.code != o->result))
        bad_variants++;
    else memcpy(o->out, po, o->end.out_size);
}

/* From now on only these features are used. posio_cpu_mask asks the processor each time, which is
   slow in a virtual machine. */
static void use_features(uint32_t features)
{
    static uint32_t here;
    if (here == 0) {
        posio_cpu_mask(UINT32_MAX);
        here = posio_cpu();
    }
    posio_atomic_store(posio_i_cpu_word(), (here & features) | POSIO_CPU_KNOWN);
}

/* All variants; the common outcome is in `got`, also returned. */
static posio_result decode_flags(int format, uint32_t flags, const unsigned char *in, size_t n,
                                 size_t out_max)
{
    static outcome other;
    enum { ALL = -1, BMI2 = POSIO_CPU_BMI2, AVX2 = POSIO_CPU_AVX2 };
    static const variant variants[] = {
        {0, (uint32_t)ALL, 0, 0}, {512, (uint32_t)ALL, 0, 0}, {0, 0, 1, 0},
        {512, 0, 0, 0},           {300, 0, 0, 0},             {512, BMI2, 1, 0},
        {295, BMI2, 0, 1},        {512, AVX2, 0, 0},          {0, AVX2, 0, 1},
        {100000, BMI2 | AVX2, 0, 0}};
    size_t i;
    int differs = 0;
    bad_variants = 0;
    run_variant(&got, &variants[0], format, flags, in, n, out_max, 0);
    for (i = 1; i < sizeof variants / sizeof variants[0]; i++) {
        size_t slack = variants[i].slack;
        if (out_max + slack + 32 > ARENA) slack = 0;
        use_features(variants[i].cpu);
        run_variant(&other, &variants[i], format, flags, in, n, out_max, slack);
        if (other.result != got.result || other.end.in_used != got.end.in_used ||
            other.end.out_size != got.end.out_size || other.err.offset != got.err.offset ||
            strcmp(other.err.message, got.err.message) != 0 ||
            memcmp(other.out, got.out, got.end.out_size) != 0)
            differs = 1;
    }
    use_features(UINT32_MAX);
    CHECK_EQ(bad_variants, 0);
    CHECK(!differs);
    return got.result;
}

static posio_result decode(int format, const unsigned char *in, size_t n, size_t out_max)
{
    return decode_flags(format, 0, in, n, out_max);
}

#ifdef PLUG_LIBDEFLATE
static unsigned long plugged_calls;

static int plugged(const void *in, size_t n, void *out, size_t out_max, int zlib, size_t *in_used,
                   size_t *out_size)
{
    static struct libdeflate_decompressor *x;
    if (x == NULL && (x = libdeflate_alloc_decompressor()) == NULL) exit(2);
    plugged_calls++;
    return (zlib ? libdeflate_zlib_decompress_ex : libdeflate_deflate_decompress_ex)(
        x, in, n, out, out_max, in_used, out_size);
}

TEST(another_inflater)
{
    static const unsigned char in[] = {0x78, 0x01, 0x01, 0x01, 0x00, 0xfe,
                                       0xff, 'x',  0x00, 'y',  0x00, 'y'};
    plugged_calls = 0;
    CHECK_EQ(decode(ZLIB, in, sizeof in, 1), POSIO_OK);
    CHECK(plugged_calls > 0);
    CHECK_EQ(got.end.in_used, sizeof in);
    CHECK_EQ(got.out[0], 'x');
}
#endif

#ifdef HAVE_ZLIB
/* What zlib makes of it: 1 = the stream ended well. */
static int zlib_accepts(int format, const unsigned char *in, size_t n, unsigned char *out,
                        size_t out_max, size_t *out_size, size_t *used)
{
    unsigned char none[1];
    z_stream z;
    int r;
    memset(&z, 0, sizeof z);
    if (inflateInit2(&z, format == ZLIB ? 15 : -15) != Z_OK) exit(2);
    z.next_in = (Bytef *)(uintptr_t)(n != 0 ? in : none);
    z.avail_in = (uInt)n;
    z.next_out = out_max != 0 ? out : none;
    z.avail_out = (uInt)out_max;
    r = inflate(&z, Z_FINISH);
    *out_size = (size_t)z.total_out;
    *used = (size_t)z.total_in;
    inflateEnd(&z);
    return r == Z_STREAM_END;
}
#endif

/* Decodes, and compares with zlib where that is there. */
static posio_result decode_both(int format, const unsigned char *in, size_t n, size_t out_max)
{
    posio_result r = decode(format, in, n, out_max);
#ifdef HAVE_ZLIB
    static unsigned char out[ARENA];
    size_t size, used, common;
    int good = zlib_accepts(format, in, n, out, out_max, &size, &used);
#ifdef PLUG_LIBDEFLATE
    if (r == POSIO_OK && !good) return r;
#endif
    CHECK_EQ(r == POSIO_OK, good);
    common = size < got.end.out_size ? size : got.end.out_size;
    CHECK_MEM(got.out, out, common);
    if (good) {
        CHECK_EQ(got.end.out_size, size);
        CHECK_EQ(got.end.in_used, used);
    }
#endif
    return r;
}

// ---------------------------------------------------------------------------------- bit writer

/* A stream under construction, and what it must decode to. */
static struct {
    unsigned char bytes[ARENA];
    size_t bits;
    unsigned char want[ARENA];
    size_t size;
    uint8_t litlen[288], distance[32]; /* code lengths of the present block */
    uint16_t litlen_code[288], distance_code[32];
} w;

static void begin_stream(void) { memset(&w, 0, sizeof w); }
static size_t stream_size(void) { return (w.bits + 7) / 8; }

static void put(uint32_t value, uint32_t n)
{
    for (; n != 0; n--, value >>= 1, w.bits++)
        w.bytes[w.bits / 8] = (unsigned char)(w.bytes[w.bits / 8] | (value & 1) << (w.bits % 8));
}

static void put_code(uint32_t code, uint32_t n)
{
    while (n-- != 0) put(code >> n & 1, 1);
}

/* Code by code, as RFC 1951 3.2.2 puts it. */
static void make_codes(const uint8_t *lengths, uint16_t *codes, uint32_t n)
{
    uint32_t count[16] = {0}, next[16], i, code = 0;
    for (i = 0; i < n; i++) count[lengths[i]]++;
    count[0] = 0;
    for (i = 1; i < 16; i++) next[i] = code = (code + count[i - 1]) << 1;
    for (i = 0; i < n; i++)
        if (lengths[i] != 0) codes[i] = (uint16_t)next[lengths[i]]++;
}

static void make_both_codes(void)
{
    make_codes(w.litlen, w.litlen_code, 288);
    make_codes(w.distance, w.distance_code, 32);
}

static void begin_fixed(int final)
{
    put(final ? 3 : 2, 3);
    memset(w.litlen, 8, 288);
    memset(w.litlen + 144, 9, 112);
    memset(w.litlen + 256, 7, 24);
    memset(w.distance, 5, 32);
    make_both_codes();
}

/* The header of a dynamic block, each length written out in 4 bits; the lengths are in w. */
static void begin_dynamic(int final, uint32_t litlens, uint32_t distances)
{
    static const uint8_t order[19] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                      11, 4,  12, 3, 13, 2, 14, 1, 15};
    uint32_t i;
    put(final ? 5 : 4, 3);
    put(litlens - 257, 5);
    put(distances - 1, 5);
    put(19 - 4, 4);
    for (i = 0; i < 19; i++) put(order[i] < 16 ? 4 : 0, 3);
    for (i = 0; i < litlens; i++) put_code(w.litlen[i], 4);
    for (i = 0; i < distances; i++) put_code(w.distance[i], 4);
    make_both_codes();
}

static void put_stored(int final, const unsigned char *data, uint32_t n)
{
    put(final ? 1 : 0, 3);
    w.bits = (w.bits + 7) / 8 * 8;
    put(n, 16);
    put(n ^ 0xffff, 16);
    if (n != 0) memcpy(w.bytes + w.bits / 8, data, n);
    if (n != 0) memcpy(w.want + w.size, data, n);
    w.bits += 8 * (size_t)n;
    w.size += n;
}

static void put_symbol(uint32_t s) { put_code(w.litlen_code[s], w.litlen[s]); }
static void put_end(void) { put_symbol(256); }

static void put_literal(uint32_t c)
{
    put_symbol(c);
    w.want[w.size++] = (unsigned char)c;
}

static uint32_t length_symbol(uint32_t length, uint32_t *base, uint32_t *extra)
{
    uint32_t s;
    *base = 3;
    *extra = 0;
    if (length == 258) return *base = 258, 285;
    for (s = 257;; s++) {
        *extra = s < 265 ? 0 : (s - 261) / 4;
        if (length < *base + (1u << *extra)) return s;
        *base += 1u << *extra;
    }
}

static uint32_t distance_symbol(uint32_t distance, uint32_t *base, uint32_t *extra)
{
    uint32_t s;
    *base = 1;
    for (s = 0;; s++) {
        *extra = s < 4 ? 0 : s / 2 - 1;
        if (distance < *base + (1u << *extra)) return s;
        *base += 1u << *extra;
    }
}

/* A match as it is written; what it means is only added when it is possible. */
static void put_match(uint32_t length, uint32_t distance)
{
    uint32_t base, extra, s = length_symbol(length, &base, &extra), i;
    put_symbol(s);
    put(length - base, extra);
    s = distance_symbol(distance, &base, &extra);
    put_code(w.distance_code[s], w.distance[s]);
    put(distance - base, extra);
    if (distance > w.size) return;
    for (i = 0; i < length; i++, w.size++) w.want[w.size] = w.want[w.size - distance];
}

/* The stream in w is good, in exactly its room and in more, with bytes behind it or none. */
static void check_good(void)
{
    size_t n = stream_size();
    CHECK_EQ(decode_both(RAW, w.bytes, n, w.size), POSIO_OK);
    CHECK_EQ(got.end.out_size, w.size);
    CHECK_EQ(got.end.in_used, n);
    if (got.end.out_size == w.size) CHECK_MEM(got.out, w.want, w.size);
    memset(w.bytes + n, 0xff, 40);
    CHECK_EQ(decode_both(RAW, w.bytes, n + 40, w.size + 400), POSIO_OK);
    CHECK_EQ(got.end.out_size, w.size);
    CHECK_EQ(got.end.in_used, n);
    if (got.end.out_size == w.size) CHECK_MEM(got.out, w.want, w.size);
    memset(w.bytes + n, 0, 40);
}

/* It is refused with this message, whether input follows or not; what was good before is there. */
static void check_bad(const char *message)
{
    size_t n = stream_size(), extra;
    for (extra = 0; extra <= 40; extra += 40) {
        memset(w.bytes + n, 0, 40);
        CHECK_EQ(decode_both(RAW, w.bytes, n + extra, w.size + 600), POSIO_E_DATA);
        CHECK_STR(got.err.message, message);
        CHECK(got.err.offset <= n);
        CHECK_EQ(got.end.out_size, w.size);
        if (got.end.out_size == w.size) CHECK_MEM(got.out, w.want, w.size);
    }
}

// ---------------------------------------------------------------------------------- well-formed

/* Made by Python's zlib module: python3 -c "import zlib; print(...)" of what stands above each. */
TEST(golden_streams)
{
    /* zlib.compress(b"".join(b"chunk %d of %d, at %d\n" % (i, 9, i*32768) for i in range(9)), 9) */
    static const unsigned char text[] = {
        0x78, 0xda, 0x4d, 0xcd, 0x3b, 0x0a, 0x80, 0x30, 0x0c, 0x00, 0xd0, 0xdd, 0x53, 0xe4, 0x00,
        0x0e, 0xf9, 0x35, 0x4d, 0x8e, 0x23, 0x05, 0x11, 0x04, 0x5d, 0xf4, 0xfe, 0x82, 0xb4, 0xa4,
        0xeb, 0x5b, 0x5e, 0x3b, 0xde, 0xeb, 0x04, 0x84, 0x7b, 0x87, 0x58, 0x61, 0x7b, 0x00, 0x97,
        0xf6, 0x13, 0x25, 0x09, 0x57, 0xf3, 0xce, 0x9c, 0x6c, 0xa5, 0x88, 0x75, 0x96, 0xe4, 0x70,
        0x41, 0xed, 0xac, 0xc9, 0x24, 0x84, 0x95, 0xbb, 0x97, 0xc9, 0x4d, 0x5c, 0x47, 0x6a, 0x93,
        0x87, 0x19, 0x8e, 0xb5, 0xa6, 0x33, 0x87, 0xd4, 0xd1, 0xfa, 0xe4, 0xc6, 0xa4, 0xba, 0x7c,
        0xc9, 0x80, 0x36, 0x94};
    /* zlib.compress(bytes(32768), 6) */
    static const unsigned char zeros[] = {
        0x78, 0x9c, 0xed, 0xc1, 0x01, 0x01, 0x00, 0x00, 0x00, 0x80, 0x90, 0xfe, 0xaf,
        0xee, 0x08, 0x0a, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x18, 0x80, 0x00, 0x00, 0x01};
    /* wbits 9: o.compress(b"abc" * 3) + o.flush() */
    static const unsigned char small_window[] = {0x18, 0x95, 0x4b, 0x4c, 0x4a, 0x4e, 0x04,
                                                 0x23, 0x00, 0x11, 0x3d, 0x03, 0x73};
    /* wbits -15: o.compress(b"stored, fixed, dynamic") + o.flush(zlib.Z_FULL_FLUSH) +
       o.compress(b"after a flush") + o.flush() */
    static const unsigned char flushed[] = {
        0x2a, 0x2e, 0xc9, 0x2f, 0x4a, 0x4d, 0xd1, 0x51, 0x48, 0xcb, 0xac, 0x00, 0x51, 0x29,
        0x95, 0x79, 0x89, 0xb9, 0x99, 0xc9, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0x4b, 0x4c,
        0x2b, 0x49, 0x2d, 0x52, 0x48, 0x54, 0x48, 0xcb, 0x29, 0x2d, 0xce, 0x00, 0x00};
    /* zlib.compress(b"level 0", 0) */
    static const unsigned char stored[] = {0x78, 0x01, 0x01, 0x07, 0x00, 0xf8, 0xff, 0x6c, 0x65,
                                           0x76, 0x65, 0x6c, 0x20, 0x30, 0x0a, 0xef, 0x02, 0x69};
    /* zlib.compress(b"", 0) */
    static const unsigned char empty[] = {0x78, 0x01, 0x01, 0x00, 0x00, 0xff,
                                          0xff, 0x00, 0x00, 0x00, 0x01};
    char want[256] = "";
    unsigned i;
    for (i = 0; i < 9; i++)
        snprintf(want + strlen(want), sizeof want - strlen(want), "chunk %u of 9, at %u\n", i,
                 i * 32768);
    CHECK_EQ(decode_both(ZLIB, text, sizeof text, 208), POSIO_OK);
    CHECK_EQ(got.end.in_used, sizeof text);
    CHECK_EQ(got.end.out_size, 208);
    CHECK_MEM(got.out, want, 208);
    CHECK_EQ(decode_both(ZLIB, zeros, sizeof zeros, 32768), POSIO_OK);
    CHECK_EQ(got.end.out_size, 32768);
    for (i = 0; i < 32768 && got.out[i] == 0; i++) {}
    CHECK_EQ(i, 32768);
    CHECK_EQ(decode_both(ZLIB, small_window, sizeof small_window, 9), POSIO_OK);
    CHECK_MEM(got.out, "abcabcabc", 9);
    CHECK_EQ(decode_both(RAW, flushed, sizeof flushed, 35), POSIO_OK);
    CHECK_MEM(got.out, "stored, fixed, dynamicafter a flush", 35);
    CHECK_EQ(decode_both(ZLIB, stored, sizeof stored, 7), POSIO_OK);
    CHECK_MEM(got.out, "level 0", 7);
    CHECK_EQ(decode_both(ZLIB, empty, sizeof empty, 0), POSIO_OK);
    CHECK_EQ(got.end.out_size, 0);
    CHECK_EQ(got.end.in_used, sizeof empty);
}

TEST(empty_outputs)
{
    deflate_read_end end;
    begin_stream();
    begin_fixed(1);
    put_end();
    check_good();
    CHECK_EQ(deflate_read_raw(decoder, w.bytes, 2, NULL, 0, 0, 0, &end, NULL), POSIO_OK);
    CHECK_EQ(end.in_used, 2);
    CHECK_EQ(deflate_read_raw(decoder, NULL, 0, NULL, 0, 0, 0, &end, NULL), POSIO_E_DATA);
    CHECK_EQ(deflate_read_zlib(decoder, NULL, 0, NULL, 0, 0, 0, &end, NULL), POSIO_E_DATA);
    begin_stream();
    put_stored(1, NULL, 0);
    check_good();
}

TEST(wrong_arguments)
{
    deflate_read_end end;
    unsigned char b[4] = {3, 0, 0, 0};
    CHECK_EQ(deflate_read_raw(NULL, b, 2, b, 2, 0, 0, &end, NULL), POSIO_E_ARG);
    CHECK_EQ(deflate_read_raw(decoder, NULL, 2, b, 2, 0, 0, &end, NULL), POSIO_E_ARG);
    CHECK_EQ(deflate_read_raw(decoder, b, 2, NULL, 2, 0, 0, &end, NULL), POSIO_E_ARG);
    CHECK_EQ(deflate_read_zlib(decoder, b, 2, b, 2, 0, 0, NULL, NULL), POSIO_E_ARG);
}

static void fill_random(unsigned char *p, size_t n, uint64_t seed)
{
    size_t i;
    for (i = 0; i < n; i++) p[i] = (unsigned char)(test_random(&seed) >> 56);
}

TEST(stored_blocks)
{
    static unsigned char data[65535];
    uint32_t i;
    fill_random(data, sizeof data, 1);
    begin_stream();
    put_stored(1, data, 65535);
    check_good();
    begin_stream();
    for (i = 0; i < 400; i++) { // stored and compressed by turns, at all bit positions
        put_stored(0, data + i, i % 5 == 0 ? 0 : i);
        begin_fixed(0);
        put_literal(i & 255);
        if (i % 3 == 0) put_match(3 + i % 256, 1 + i % 9 % (uint32_t)w.size);
        put_end();
    }
    put_stored(1, data, 10);
    check_good();
}

TEST(overlapping_matches)
{
    uint32_t distance, length, i;
    for (distance = 1; distance <= 40; distance++) {
        begin_stream();
        begin_fixed(1);
        for (i = 0; i < 40; i++) put_literal(i * 37 & 255);
        for (length = 3; length <= 258; length++) {
            put_match(length, distance);
            for (i = 0; i < distance; i++) put_literal((i * 91 + length) & 255);
        }
        put_end();
        check_good();
    }
}

TEST(matches_that_end_the_output)
{
    uint32_t distance, length; // nothing follows: the careful loop's copies
    for (distance = 1; distance <= 12; distance++)
        for (length = 3; length <= 258; length += length < 24 ? 1 : 39) {
            uint32_t i;
            begin_stream();
            begin_fixed(1);
            for (i = 0; i < distance; i++) put_literal('a' + i);
            put_match(length, distance);
            put_end();
            check_good();
        }
}

/* The most that one turn of the fast loop writes, ending at every place near the output's end. */
TEST(margin_of_the_output)
{
    uint32_t before, after, distance, i;
    for (distance = 1; distance <= 9; distance += distance == 2 ? 5 : 1)
        for (before = 0; before < 7; before++)
            for (after = 0; after < 48; after++) {
                begin_stream();
                w.litlen['a'] = 1;
                w.litlen[285] = 2;
                w.litlen[256] = w.litlen['b'] = 3;
                for (i = 0; i < 30; i++) w.distance[i] = i < 2 ? 4 : 5;
                begin_dynamic(1, 286, 30);
                for (i = 0; i < 40; i++) put_literal(i % 9 == 0 ? 'b' : 'a');
                put_match(258, distance);
                for (i = 0; i < before; i++) put_literal('a');
                put_match(258, distance);
                for (i = 0; i < after; i++) put_literal('b');
                put_end();
                memset(w.bytes + stream_size(), 0xff, 40);
                CHECK_EQ(decode(RAW, w.bytes, stream_size() + 40, w.size), POSIO_OK);
                CHECK_EQ(got.end.out_size, w.size);
                CHECK_MEM(got.out, w.want, w.size);
            }
}

TEST(far_distances)
{
    static unsigned char data[32768];
    uint32_t i;
    fill_random(data, sizeof data, 2);
    begin_stream();
    put_stored(0, data, 32767);
    begin_fixed(1);
    put_match(258, 32767);
    put_match(3, 32768);
    for (i = 1; i <= 32768; i += 1 + i / 3) put_match(3 + i % 256, i);
    put_match(258, 32768);
    put_end();
    check_good();
    begin_stream();
    put_stored(0, data, 32767);
    begin_fixed(1);
    put_match(3, 32768);
    put_end();
    check_bad("deflate: distance 32768, but only 32767 bytes of output");
}

/* Random code lengths of a complete code for n >= 2 symbols, the longest `longest`. */
static void random_code(uint8_t *lengths, uint32_t symbols, uint32_t n, uint32_t longest,
                        uint64_t *seed)
{
    uint8_t leaves[320];
    uint32_t have = 2, i;
    leaves[0] = leaves[1] = 1;
    while (have < n) { // split a leaf; at times the deepest, so that long codes appear
        uint32_t pick = (uint32_t)(test_random(seed) >> 40) % have;
        if (test_random(seed) >> 62 == 0)
            for (i = 0; i < have; i++)
                if (leaves[i] < longest && leaves[i] > leaves[pick]) pick = i;
        for (i = 0; leaves[pick] >= longest && i < have; i++) pick = (pick + 1) % have;
        if (leaves[pick] >= longest) break;
        leaves[have++] = ++leaves[pick];
    }
    memset(lengths, 0, symbols);
    for (i = 0; i < have; i++) {
        uint32_t s = (uint32_t)(test_random(seed) >> 40) % symbols;
        while (lengths[s] != 0) s = (s + 1) % symbols;
        lengths[s] = leaves[i];
    }
}

/* A block of random symbols out of those that have codes; every code long or short is used. */
static void random_block(int final, uint32_t symbols, uint64_t *seed)
{
    uint32_t i, k, s, litlens = 257 + (uint32_t)(test_random(seed) >> 40) % 30;
    uint32_t distances = 1 + (uint32_t)(test_random(seed) >> 40) % 30;
    uint32_t n = 2 + (uint32_t)(test_random(seed) >> 40) % (litlens - 1);
    memset(w.litlen, 0, sizeof w.litlen);
    memset(w.distance, 0, sizeof w.distance);
    random_code(w.litlen, litlens, n, n > 100 ? 15 : 9 + n % 7, seed);
    if (w.litlen[256] == 0) {
        for (s = 255; w.litlen[s] == 0; s = (s + litlens - 1) % litlens) {}
        w.litlen[256] = w.litlen[s];
        w.litlen[s] = 0;
    }
    if (distances > 1)
        random_code(w.distance, distances, 2 + n % (distances - 1), 15, seed);
    begin_dynamic(final, litlens, distances);
    for (i = 0; i < symbols; i++) {
        s = (uint32_t)(test_random(seed) >> 40) % litlens;
        while (w.litlen[s] == 0) s = (s + 1) % litlens;
        if (s < 256) put_literal(s);
        else if (s > 256) {
            uint32_t base, extra, length = 3 + (uint32_t)(test_random(seed) >> 40) % 256;
            uint32_t limit = w.size < 32768 ? (uint32_t)w.size : 32768, distance = 0;
            for (k = 0; k < 256 && length_symbol(length, &base, &extra) != s; k++)
                length = length == 258 ? 3 : length + 1;
            if (k == 256 || w.size + 600 > 100000) continue;
            for (k = 0; k < 20 && limit != 0; k++) {
                uint32_t d = 1 + (uint32_t)(test_random(seed) >> 40) % limit;
                if (k % 4 != 0) d = 1 + d % 40;
                if (d <= limit && w.distance[distance_symbol(d, &base, &extra)] != 0) distance = d;
            }
            if (distance != 0) put_match(length, distance);
        }
    }
    put_end();
}

TEST(random_codes)
{
    uint64_t seed = 3;
    int i, k, blocks;
    for (i = 0; i < 250; i++) {
        begin_stream();
        blocks = 1 + i % 4;
        for (k = 0; k < blocks; k++) {
            if (i % 7 == 0) {
                begin_fixed(0);
                put_literal(7);
                put_end();
            }
            random_block(k == blocks - 1, 1 + (uint32_t)(test_random(&seed) >> 40) % 3000, &seed);
        }
        check_good();
    }
}

TEST(codes_of_15_bits)
{
    uint32_t i, k;
    begin_stream();
    memset(w.litlen, 0, sizeof w.litlen);
    memset(w.distance, 0, sizeof w.distance);
    for (i = 0; i < 12; i++) w.litlen['a' + i] = (uint8_t)(i + 1); // 1, 2, ... 15, 15
    w.litlen[256] = 13;
    w.litlen[285] = 14;
    w.litlen[284] = w.litlen['z'] = 15;
    for (i = 0; i < 15; i++) w.distance[i] = (uint8_t)(i + 1);
    w.distance[29] = 15;
    begin_dynamic(1, 286, 30);
    for (i = 0; i < 40; i++) put_literal(i % 3 == 0 ? 'z' : 'a' + i % 12);
    for (k = 0; k < 150; k++) {
        static const uint16_t distances[5] = {1, 24577, 32768, 2, 192};
        uint32_t d = distances[k % 5];
        for (i = 0; i < 5 && k % 2 == 0; i++) put_literal('z');
        if (d > w.size) d = 97 <= w.size ? 97 : 2;
        put_match(k % 3 == 0 ? 258 : 257, d);
    }
    put_end();
    check_good();
}

/* As large as sub-tables get: as many long codes as there are symbols for, and where they end one
   sub-table of full width for few of them (280 entries and 142). Then every symbol is used. */
TEST(largest_tables)
{
    // The rest of the space, 3959 / 4096 and 248 / 256, in as few codes as can be.
    static const uint8_t litlen_short[10] = {1, 2, 3, 4, 6, 7, 8, 10, 11, 12};
    static const uint16_t distances[27] = {1,   2,   3,   4,   5,   7,    9,    13,   17,
                                           25,  33,  49,  65,  97,  129,  193,  257,  385,
                                           513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193};
    uint32_t i, k;
    begin_stream();
    memset(w.litlen, 13, 286);
    memset(w.distance, 0, sizeof w.distance);
    for (i = 0; i < 10; i++) w.litlen[i * 25] = litlen_short[i];
    w.litlen[255] = 14;
    w.litlen[254] = w.litlen[285] = 15;
    for (i = 0; i < 27; i++) w.distance[i] = (uint8_t)(i < 5 ? i + 1 : i < 20 ? 9 : i - 10);
    w.distance[26] = 15;
    begin_dynamic(1, 286, 30);
    for (i = 0; i < 256; i++) put_literal(i);
    for (i = 0; i < 40; i++) put_match(258, 255);
    for (i = 0; i < 256; i++) {
        put_literal(255 - i);
        put_match(3 + i, distances[i % 27]);
        for (k = 0; k < 3; k++) put_literal(254);
    }
    put_end();
    check_good();
}

// ---------------------------------------------------------------------------------- refusals

/* A dynamic block with the lengths in w: its header, one literal 'x' if it has a code. */
static void traps_begin(uint32_t litlens, uint32_t distances)
{
    begin_dynamic(1, litlens, distances);
    if (w.litlen['x'] != 0) put_literal('x');
}

static void traps_clear(void)
{
    begin_stream();
    w.litlen['x'] = 2;
    w.litlen[256] = 2;
    w.litlen[257] = 1;
}

TEST(header_counts)
{
#ifdef PLUG_LIBDEFLATE
    SKIP("libdeflate takes unused codes beyond 286 and 30");
#else
    static const char *const want[3] = {
        "deflate: 287 literal/length and 1 distance codes (at most 286 and 30)",
        "deflate: 288 literal/length and 1 distance codes (at most 286 and 30)",
        "deflate: 258 literal/length and 31 distance codes (at most 286 and 30)"};
    uint32_t i;
    for (i = 0; i < 3; i++) {
        traps_clear();
        w.distance[0] = 1;
        begin_dynamic(1, i < 2 ? 287 + i : 258, i < 2 ? 1 : 31);
        put_symbol('x'); // not reached
        put_end();
        check_bad(want[i]);
    }
#endif
}

TEST(symbols_that_must_not_occur)
{
    uint32_t s;
#ifndef PLUG_LIBDEFLATE /* takes these as length 258 */
    for (s = 286; s < 288; s++) {
        begin_stream();
        begin_fixed(1);
        put_literal('x');
        put_symbol(s);
        put(0, 5);
        put_end();
        check_bad("deflate: invalid literal/length symbol");
    }
#endif
    for (s = 30; s < 32; s++) {
        begin_stream();
        begin_fixed(1);
        put_literal('x');
        put_symbol(257);
        put_code(s, 5);
        put_end();
        check_bad("deflate: invalid distance symbol");
    }
}

TEST(incomplete_codes)
{
    /* one distance code of one bit: usable, but not the other bit */
    traps_clear();
    w.distance[0] = 1;
    traps_begin(258, 1);
    put_match(3, 1);
    put_end();
    check_good();
#ifndef PLUG_LIBDEFLATE /* takes the other bit, too */
    traps_clear();
    w.distance[0] = 1;
    traps_begin(258, 1);
    put_symbol(257);
    put(1, 1);
    put_end();
    check_bad("deflate: invalid distance symbol");
#endif
    /* no distance code: fine unless a match comes */
    traps_clear();
    traps_begin(258, 1);
    put_end();
    check_good();
#ifndef PLUG_LIBDEFLATE
    traps_clear();
    traps_begin(258, 1);
    put_symbol(257);
    put(0, 1);
    put_end();
    check_bad("deflate: invalid distance symbol");
#endif
    /* distance codes that are incomplete otherwise, or over-subscribed */
    traps_clear();
    w.distance[0] = 2;
    begin_dynamic(1, 258, 1);
    put_end();
    check_bad("deflate: invalid distance code");
    traps_clear();
    w.distance[0] = w.distance[1] = 2;
    begin_dynamic(1, 258, 2);
    put_end();
    check_bad("deflate: invalid distance code");
    traps_clear();
    w.distance[0] = w.distance[1] = w.distance[2] = 1;
    begin_dynamic(1, 258, 3);
    put_end();
    check_bad("deflate: invalid distance code");
    /* literals and lengths */
    traps_clear();
    w.litlen[257] = 2;
    begin_dynamic(1, 258, 1);
    put_end();
    check_bad("deflate: invalid literal/length code");
    traps_clear();
    w.litlen['y'] = 2;
    begin_dynamic(1, 258, 1);
    put_end();
    check_bad("deflate: invalid literal/length code");
    traps_clear();
    w.litlen['x'] = w.litlen[257] = 0;
    begin_dynamic(1, 257, 1);
    put_end();
    check_bad("deflate: invalid literal/length code");
    traps_clear();
    w.litlen[256] = 0;
    begin_dynamic(1, 258, 1);
    check_bad("deflate: no code for the end of the block");
    /* only the end of the block, one bit: empty, and the other bit is an error */
    traps_clear();
    w.litlen['x'] = w.litlen[257] = 0;
    w.litlen[256] = 1;
    begin_dynamic(1, 257, 1);
    put_end();
    check_good();
#ifndef PLUG_LIBDEFLATE
    traps_clear();
    w.litlen['x'] = w.litlen[257] = 0;
    w.litlen[256] = 1;
    begin_dynamic(1, 257, 1);
    put(1, 1);
    check_bad("deflate: invalid literal/length symbol");
#endif
}

/* A dynamic header with a code-length code of choice: lengths for 16 17 18 0 8 7 9 6 10 5 11 4 12 3
   13 2 14 1 15, as digits. Then the test writes code lengths itself. */
static void begin_lengths(const char *digits, uint32_t litlens, uint32_t distances)
{
    size_t i;
    begin_stream();
    put(5, 3);
    put(litlens - 257, 5);
    put(distances - 1, 5);
    put((uint32_t)strlen(digits) - 4, 4);
    for (i = 0; digits[i] != 0; i++) put((uint32_t)(digits[i] - '0'), 3);
}

TEST(code_length_codes)
{
    begin_lengths("0001", 257, 1); // a single code, of one bit
    put(0, 64 / 2);
    check_bad("deflate: invalid code-length code");
    begin_lengths("0000", 257, 1); // none
    check_bad("deflate: invalid code-length code");
    begin_lengths("1111", 257, 1);
    check_bad("deflate: invalid code-length code");
    begin_lengths("0101000000000000000", 257, 1); // 17, 0: complete, but nothing has a length
    put(0, 257 + 1);
    check_bad("deflate: no code for the end of the block");
    begin_lengths("1001", 257, 1); // 0: "0", 16: "1": repeats of nothing
    put_code(1, 1);
    put(0, 2);
    check_bad("deflate: invalid repeat of code lengths");
}

/* Codes of: 0 -> 10, 1 -> 110, 16 -> 1110, 17 -> 1111, 18 -> 0 */
static void put_zeros(uint32_t n) /* by symbol 18, n >= 11 */
{
    while (n != 0) {
        uint32_t m = n > 138 ? 138 : n;
        if (n - m != 0 && n - m < 11) m -= 11;
        put_code(0, 1);
        put(m - 11, 7);
        n -= m;
    }
}

TEST(runs_of_code_lengths)
{
    const char *digits = "441200000000000003"; // 16 17 18 0 ... 1
    /* lengths 0 x 255, 1, 1 | 1 (by repeat across the border needs 3: 1 1 1) */
    begin_lengths(digits, 257, 3);
    put_zeros(255);
    put_code(6, 3);    // 255: 1
    put_code(14, 4);   // 16: three times more: 256 and the distances 0, 1
    put(0, 2);
    put_code(2, 2);    // distance 2: 0
    put(0, 1);         // literal 255
    w.want[w.size++] = 255;
    put(1, 1);         // end
    check_good();
    /* the same, one too long */
    begin_lengths(digits, 257, 1);
    put_zeros(255);
    put_code(6, 3);
    put_code(14, 4);
    put(0, 2);
    check_bad("deflate: invalid repeat of code lengths");
    /* zeros past the end, by 17 and by 18 */
    begin_lengths(digits, 257, 1);
    put_zeros(255);
    put_code(6, 3);
    put_code(15, 4);
    put(0, 3);
    check_bad("deflate: invalid repeat of code lengths");
    begin_lengths(digits, 286, 30);
    put_zeros(255);
    put_code(6, 3);
    put_code(6, 3);
    put_zeros(58);
    put_zeros(138);
    check_bad("deflate: invalid repeat of code lengths");
}

TEST(lengths_of_258)
{
    begin_stream();
    begin_fixed(1);
    put_literal('x');
    put_symbol(284);
    put(31, 5);
    put_code(0, 5);
    memset(w.want + 1, 'x', 258);
    w.size += 258;
    put_match(258, 1);
    put_end();
    check_good();
}

TEST(distances_before_the_start)
{
    uint32_t n, d;
    for (n = 0; n < 600; n += n < 10 ? 1 : 97)
        for (d = n + 1; d <= n + 3; d++) {
            char want[96];
            uint32_t i;
            begin_stream();
            begin_fixed(1);
            for (i = 0; i < n; i++) put_literal('x');
            put_match(5, d);
            put_end();
            snprintf(want, sizeof want, "deflate: distance %u, but only %u bytes of output", d, n);
            check_bad(want);
        }
}

TEST(block_types_and_stored_lengths)
{
    begin_stream();
    put(7, 3);
    check_bad("deflate: invalid block type 3");
    begin_stream();
    put(1, 8);
    put(5, 16);
    put(0xfffb, 16);
    check_bad("deflate: stored block of 0x5 bytes has NLEN 0xfffb");
}

TEST(nlen_0)
{
    begin_stream();
    put(1, 8);
    put(5, 16);
    put(0, 16);
    memcpy(w.bytes + 5, "hello", 5);
    w.bits += 40;
    CHECK_EQ(decode(RAW, w.bytes, 10, 5), POSIO_E_DATA);
    CHECK_EQ(decode_flags(RAW, DEFLATE_READ_ACCEPT_NLEN_0, w.bytes, 10, 5), POSIO_OK);
    CHECK_EQ(got.end.in_used, 10);
    CHECK_EQ(got.end.out_size, 5);
    CHECK_MEM(got.out, "hello", 5);
    w.bytes[3] = 1;
    CHECK_EQ(decode_flags(RAW, DEFLATE_READ_ACCEPT_NLEN_0, w.bytes, 10, 5), POSIO_E_DATA);
}

// ---------------------------------------------------------------------------------- limits

/* A stream with blocks of all types, matches and long codes, of about 1,500 bytes. */
static void mixed_stream(void)
{
    uint64_t seed = 7;
    unsigned char data[50];
    uint32_t i;
    fill_random(data, sizeof data, 5);
    begin_stream();
    begin_fixed(0);
    for (i = 0; i < 30; i++) put_literal(data[i]);
    for (i = 0; i < 6; i++) put_match(3 + 40 * i, 1 + i * 5);
    put_end();
    put_stored(0, data, 50);
    random_block(0, 150, &seed);
    random_block(1, 60, &seed);
}

TEST(truncated_anywhere)
{
    static unsigned char want[ARENA];
    size_t n, size, i;
    mixed_stream();
    n = stream_size();
    size = w.size;
    memcpy(want, w.want, size);
    for (i = 0; i < n; i++) {
        CHECK_EQ(decode_both(RAW, w.bytes, i, size + 300), POSIO_E_DATA);
        CHECK_STR(got.err.message, "deflate: input ends inside the stream");
        CHECK(got.end.out_size <= size && got.end.in_used <= i);
        CHECK_MEM(got.out, want, got.end.out_size);
    }
    CHECK_EQ(decode_both(RAW, w.bytes, n, size + 300), POSIO_OK);
}

TEST(every_output_limit)
{
    size_t n, i;
    mixed_stream();
    n = stream_size();
    memset(w.bytes + n, 0x55, 64);
    for (i = 0; i < w.size; i++) {
        CHECK_EQ(decode_both(RAW, w.bytes, n + i % 64, i), POSIO_E_SPACE);
        CHECK_EQ(got.end.out_size, i);
        CHECK_MEM(got.out, w.want, i);
    }
    for (; i < w.size + 700; i++) {
        CHECK_EQ(decode_both(RAW, w.bytes, n + i % 64, i), POSIO_OK);
        CHECK_EQ(got.end.in_used, n);
        CHECK_EQ(got.end.out_size, w.size);
    }
}

/* Wraps w into zlib. The sum is computed in the slowest and plainest way. */
static size_t wrap(unsigned char *to)
{
    uint32_t a = 1, b = 0;
    size_t i, n = stream_size();
    for (i = 0; i < w.size; i++) {
        a = (a + w.want[i]) % 65521;
        b = (b + a) % 65521;
    }
    to[0] = 0x78;
    to[1] = 0x9c;
    memcpy(to + 2, w.bytes, n);
    to[n + 2] = (unsigned char)(b >> 8);
    to[n + 3] = (unsigned char)b;
    to[n + 4] = (unsigned char)(a >> 8);
    to[n + 5] = (unsigned char)a;
    return n + 6;
}

TEST(zlib_headers)
{
    unsigned char in[16];
    uint32_t h;
    size_t n;
    begin_stream();
    begin_fixed(1);
    put_literal('x');
    put_end();
    n = wrap(in);
    for (h = 0; h < 65536; h++) {
        int good = h % 31 == 0 && (h >> 8 & 15) == 8 && h >> 12 <= 7;
        posio_result want = !good ? POSIO_E_FORMAT : h & 0x20 ? POSIO_E_UNSUPPORTED : POSIO_OK, r;
        deflate_read_end end;
        unsigned char out[8];
        in[0] = (unsigned char)(h >> 8);
        in[1] = (unsigned char)h;
        if (h % 31 == 0 || h < 300) r = decode_both(ZLIB, in, n, 1);
        else r = deflate_read_zlib(decoder, in, n, out, sizeof out, 0, 0, &end, NULL);
        if (r != want) CHECK_EQ(r, want);
    }
    CHECK_EQ(decode(ZLIB, (const unsigned char *)"\x79\x9c", 2, 1), POSIO_E_FORMAT);
    CHECK_EQ(got.end.in_used, 0);
    CHECK_EQ(got.end.out_size, 0);
    CHECK_EQ(decode(ZLIB, (const unsigned char *)"\x78", 1, 1), POSIO_E_DATA);
}

TEST(preset_dictionary_is_refused)
{
    /* compressobj(9, 8, 15, 9, 0, b"abcdefgh").compress(b"abcdefghabcdefgh") + flush() */
    static const unsigned char in[] = {0x78, 0xf9, 0x0e, 0x00, 0x03, 0x25, 0x4b,
                                       0x44, 0xa3, 0x01, 0x35, 0x20, 0x06, 0x49};
    CHECK_EQ(decode_both(ZLIB, in, sizeof in, 16), POSIO_E_UNSUPPORTED);
    CHECK_STR(got.err.message, "zlib: needs a preset dictionary");
}

/* The built-in sum with and without processor features, against the definition. */
TEST(adler32_of_all_sizes)
{
    static unsigned char data[3 * 5504 + 300];
    int way;
    for (way = 0; way < 4; way++) { // all bytes 255 and the highest sums before: the worst case
        uint32_t begin = way < 2 ? 65520u << 16 | 65520 : 1, a = begin & 0xffff, b = begin >> 16;
        size_t n, bad = 0;
        if (way < 2) memset(data, 0xff, sizeof data);
        else fill_random(data, sizeof data, 9);
        posio_cpu_mask(way % 2 == 0 ? 0 : POSIO_CPU_AVX2);
        for (n = 0; n < sizeof data; n++) {
            if (n < 700 || n % 5504 < 70 || n % 5504 > 5504 - 70 || n % 97 == 0)
                bad += deflate_read_i_adler32(begin, data, n) != (b << 16 | a);
            a = (a + data[n]) % 65521;
            b = (b + a) % 65521;
        }
        CHECK_EQ(bad, 0);
    }
    posio_cpu_mask(UINT32_MAX);
}

TEST(adler32)
{
    static unsigned char in[ARENA], big[70000];
    size_t n, i, k;
    static const size_t sizes[10] = {1, 63, 64, 65, 184, 5503, 5504, 5505, 5568, 65535};
    for (k = 0; k < 20; k++) { // all bytes 255 is the worst case of its sums
        if (k < 10) memset(big, 0xff, sizeof big);
        else fill_random(big, sizeof big, k);
        begin_stream();
        put_stored(0, big, 65535);
        put_stored(1, big, (uint32_t)sizes[k % 10]);
        n = wrap(in);
        CHECK_EQ(decode_both(ZLIB, in, n, w.size), POSIO_OK);
        CHECK_EQ(got.end.in_used, n);
    }
    begin_stream();
    begin_fixed(1);
    for (i = 0; i < 9; i++) put_literal((unsigned char)"Wikipedia"[i]);
    put_end();
    n = wrap(in);
    CHECK_EQ(posio_be32(in + n - 4), 0x11e60398); // the well-known example
    for (i = 0; i < 4; i++) {
        in[n - 4 + i] ^= 1;
        CHECK_EQ(decode_both(ZLIB, in, n, 9), POSIO_E_DATA);
        CHECK_EQ(got.err.offset, n - 4);
        CHECK_EQ(got.end.out_size, 9);
        CHECK_EQ(decode_flags(ZLIB, DEFLATE_READ_NO_CHECKSUM, in, n, 9), POSIO_OK);
        CHECK_EQ(got.end.in_used, n);
        in[n - 4 + i] ^= 1;
    }
    in[n - 1] ^= 1;
    decode(ZLIB, in, n, 9);
    CHECK_STR(got.err.message, "zlib: Adler-32 is 0x11e60398, expected 0x11e60399");
    for (i = n - 4; i < n; i++) {
        CHECK_EQ(decode_both(ZLIB, in, i, 9), POSIO_E_DATA);
        CHECK_STR(got.err.message, "zlib: input ends inside the Adler-32");
        CHECK_EQ(decode_flags(ZLIB, DEFLATE_READ_NO_CHECKSUM, in, i, 9), POSIO_E_DATA);
    }
}

// ---------------------------------------------------------------------------------- damage

static void damage(unsigned char *p, size_t n, uint64_t *seed)
{
    uint32_t flips = 1 + (uint32_t)(test_random(seed) >> 40) % 3;
    while (flips-- != 0) { // half of them in the first 100 bytes, where the headers are
        uint64_t x = test_random(seed) >> 20;
        size_t at = (size_t)(x % (x & 1 && n > 100 ? 100 : n));
        p[at] = (unsigned char)(p[at] ^ 1u << (x >> 40 & 7));
    }
}

TEST(damaged_streams)
{
    static unsigned char in[ARENA];
    uint64_t seed = 11;
    size_t n;
    int i, k;
    for (i = 0; i < 60; i++) {
        begin_stream();
        random_block(0, 200, &seed);
        random_block(1, 200, &seed);
        n = stream_size();
        for (k = 0; k < 20; k++) {
            memcpy(in, w.bytes, n);
            damage(in, n, &seed);
            decode_both(RAW, in, n, w.size + 200);
        }
    }
    for (i = 0; i < 2000; i++) { // and sheer noise
        n = (size_t)(test_random(&seed) >> 40) % 300;
        fill_random(in, n, (uint64_t)i + 1);
        if (n != 0) in[0] = (unsigned char)((in[0] & ~7) | (i % 2 == 0 ? 3 : 5));
        decode_both(RAW, in, n, 1000);
    }
}

#ifdef HAVE_ZLIB
static void make_data(unsigned char *p, size_t n, int kind, uint64_t seed)
{
    size_t i;
    static const char words[] = "chunk segment table section grain cluster block record frame  ";
    for (i = 0; i < n; i++) {
        uint64_t x = test_random(&seed) >> 16;
        switch (kind) {
        case 0: p[i] = (unsigned char)x; break;
        case 1:
            p[i] = (unsigned char)words[(i + x % 3 * (x >> 8) % 50) % (sizeof words - 1)];
            break;
        case 2: p[i] = i != 0 && x % 16 != 0 ? p[i - 1] : (unsigned char)(x >> 8); break;
        case 3:
            p[i] = i > 300 && x % 32 != 0 ? p[i - 1 - (i >> 5) % 299] : (unsigned char)(x >> 8);
            break;
        case 4: // a table of records
            p[i] = (unsigned char)(i % 32 < 4 ? i >> 5 >> 8 * (i % 4) : x % 7 == 0 ? x >> 8 : 0);
            break;
        default: p[i] = 0; break;
        }
    }
}

static size_t deflate_by_zlib(const unsigned char *in, size_t n, unsigned char *out, size_t room,
                              int level, int strategy, int format)
{
    z_stream z;
    int bits = format == ZLIB ? 15 : -15;
    memset(&z, 0, sizeof z);
    if (deflateInit2(&z, level, Z_DEFLATED, bits, 8, strategy) != Z_OK) exit(2);
    z.next_in = (Bytef *)(uintptr_t)in;
    z.avail_in = (uInt)n;
    z.next_out = out;
    z.avail_out = (uInt)room;
    if (deflate(&z, Z_FINISH) != Z_STREAM_END) exit(2);
    deflateEnd(&z);
    return room - z.avail_out;
}

TEST(streams_of_zlib)
{
    static unsigned char plain[ARENA], in[ARENA];
    static const int ways[6][2] = {{1, Z_DEFAULT_STRATEGY}, {6, Z_DEFAULT_STRATEGY},
                                   {9, Z_DEFAULT_STRATEGY}, {6, Z_FIXED},
                                   {6, Z_HUFFMAN_ONLY},     {6, Z_RLE}};
    static const size_t large[8] = {511, 1000, 4096, 5552, 32767, 32768, 65536, 150000};
    int kind, way;
    size_t i, n, size;
    for (kind = 0; kind < 6; kind++)
        for (way = 0; way < 6; way++)
            for (i = (size_t)(kind + way) % 5; i < 301 + 8; i += i < 301 ? 5 : 1) {
                size = i < 301 ? i : large[i - 301];
                make_data(plain, size, kind, i + 1);
                n = deflate_by_zlib(plain, size, in, sizeof in, ways[way][0], ways[way][1],
                                    (int)(i & 1));
                CHECK_EQ(decode((int)(i & 1), in, n, size), POSIO_OK);
                CHECK_EQ(got.end.in_used, n);
                CHECK_EQ(got.end.out_size, size);
                CHECK_MEM(got.out, plain, size);
            }
}

TEST(damaged_streams_of_zlib)
{
    static unsigned char plain[ARENA], in[ARENA], bad[ARENA];
    uint64_t seed = 17;
    size_t n, m;
    int i, k, accepted = 0;
    for (i = 0; i < 120; i++) {
        size_t size = 200 + (size_t)(test_random(&seed) >> 40) % 3000;
        make_data(plain, size, i % 5, (uint64_t)i + 1);
        n = deflate_by_zlib(plain, size, in, sizeof in, 1 + i % 9, i % 6 == 5 ? Z_FIXED : 0, i & 1);
        for (k = 0; k < 40; k++) {
            memcpy(bad, in, n);
            damage(bad, n, &seed);
            m = k % 8 == 0 ? (size_t)(test_random(&seed) >> 30) % (n + 1) : n;
            accepted += decode_both(i & 1, bad, m, size + (k % 4 == 0 ? 0 : 500)) == POSIO_OK;
        }
    }
    CHECK(accepted > 50); // both answers were compared
}
#endif

static void make_arenas(void)
{
    arena_in = make_arena();
    arena_out = make_arena();
    arena_decoder = make_arena();
    decoder = (deflate_read *)(void *)(arena_decoder + ARENA - sizeof *decoder);
}

#ifdef HAVE_ZLIB
#define RUN_ZLIB RUN(streams_of_zlib); RUN(damaged_streams_of_zlib);
#else
#define RUN_ZLIB
#endif
/* The variants ran above; here it is counted where a processor lacks what some of them need. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__TINYC__)
static void count_feature(uint32_t feature, const char *name)
{
    char why[80];
    posio_cpu_mask(UINT32_MAX);
    snprintf(why, sizeof why, "this processor has no %s: its variants did not run", name);
    if (!(posio_cpu() & feature)) SKIP(why);
    posio_cpu_mask(feature);
    CHECK_EQ(posio_cpu() & (POSIO_CPU_BMI2 | POSIO_CPU_AVX2), feature);
    posio_cpu_mask(UINT32_MAX);
}
TEST(variants_with_bmi2) { count_feature(POSIO_CPU_BMI2, "BMI2"); }
#if defined(_WIN64) && !defined(__clang__)
TEST(variants_with_avx2) { SKIP("not by GCC for 64-bit Windows"); }
#else
TEST(variants_with_avx2) { count_feature(POSIO_CPU_AVX2, "AVX2"); }
#endif
#define RUN_FEATURES RUN(variants_with_bmi2); RUN(variants_with_avx2);
#else
#define RUN_FEATURES
#endif

#ifdef PLUG_LIBDEFLATE
#define RUN_PLUG RUN(another_inflater);
#else
#define RUN_PLUG
#endif

TEST_MAIN(make_arenas(); RUN(golden_streams); RUN(empty_outputs); RUN(wrong_arguments);
          RUN(stored_blocks); RUN(overlapping_matches); RUN(matches_that_end_the_output);
          RUN(margin_of_the_output); RUN(far_distances); RUN(random_codes); RUN(codes_of_15_bits);
          RUN(largest_tables); RUN(header_counts);
          RUN(symbols_that_must_not_occur); RUN(incomplete_codes); RUN(code_length_codes);
          RUN(runs_of_code_lengths); RUN(lengths_of_258); RUN(distances_before_the_start);
          RUN(block_types_and_stored_lengths); RUN(nlen_0); RUN(truncated_anywhere);
          RUN(every_output_limit); RUN(zlib_headers); RUN(preset_dictionary_is_refused);
          RUN(adler32_of_all_sizes); RUN(adler32); RUN(damaged_streams); RUN_FEATURES RUN_ZLIB
          RUN_PLUG)
