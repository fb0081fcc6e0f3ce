/* zstd_check.h - what the tests of zstd_par.h share: bytes that grow, frames made by libzstd and by
   hand, libzstd's verdict. test.h and zstd_par.h come first. */
#ifndef CHUNKWISE_TESTS_ZSTD_CHECK_H
#define CHUNKWISE_TESTS_ZSTD_CHECK_H

#include <zstd.h>

// ---------------------------------------------------------------------------------- bytes

/* Words in an order that compresses as text does. */
static inline unsigned char *make_text(size_t n, uint64_t seed)
{
    unsigned char *p = (unsigned char *)malloc(n + 16);
    size_t i = 0;
    char word[16];
    while (p != NULL && i < n) {
        uint64_t r = test_random(&seed);
        int k = snprintf(word, sizeof word, "%c%llu ", (int)('a' + r % 23),
                         (unsigned long long)(r >> 32) % (r % 7 == 0 ? 100000 : 300));
        memcpy(p + i, word, (size_t)k < n - i ? (size_t)k : n - i);
        i += (size_t)k;
    }
    return p;
}

/* Bytes that grow. */
typedef struct buffer {
    unsigned char *p;
    size_t n, room;
    uint64_t holes;
} buffer;

static inline unsigned char *extend(buffer *b, size_t n)
{
    if (b->n + n > b->room || b->p == NULL) {
        b->room = (b->n + n) * 2 + 64;
        b->p = (unsigned char *)realloc(b->p, b->room);
    }
    b->n += n;
    return b->p + b->n - n;
}

static inline void append(buffer *b, const void *p, size_t n)
{
    if (n != 0) memcpy(extend(b, n), p, n);
}

static inline void put32(buffer *b, uint32_t v)
{
    unsigned char *p = extend(b, 4);
    p[0] = (unsigned char)v;
    p[1] = (unsigned char)(v >> 8);
    p[2] = (unsigned char)(v >> 16);
    p[3] = (unsigned char)(v >> 24);
}

static inline posio_result buffer_write(void *self, const void *p, size_t n, posio_error *err)
{
    (void)err;
    append((buffer *)self, p, n);
    return POSIO_OK;
}

static inline posio_result buffer_hole(void *self, uint64_t n, posio_error *err)
{
    buffer *b = (buffer *)self;
    (void)err;
    memset(extend(b, (size_t)n), 0, (size_t)n);
    b->holes += n;
    return POSIO_OK;
}

static inline posio_sink sink_of(buffer *b)
{
    posio_sink s;
    s.write = buffer_write;
    s.hole = buffer_hole;
    s.self = b;
    return s;
}

static inline posio_result count_write(void *self, const void *p, size_t n, posio_error *err)
{
    (void)p;
    (void)err;
    *(uint64_t *)self += n;
    return POSIO_OK;
}

enum { NO_SIZE = 1, SUM = 2 };

/* Appends one frame of libzstd's. */
static inline void frame_with(buffer *b, const void *p, size_t n, int level, int flags,
                              const void *dict, size_t dict_size, int window_log)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_inBuffer in;
    ZSTD_outBuffer out;
    size_t bound = ZSTD_compressBound(n) + 64, z;
    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, (flags & SUM) != 0);
    if (window_log != 0) ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log);
    if (dict != NULL) ZSTD_CCtx_loadDictionary(c, dict, dict_size);
    out.dst = extend(b, bound);
    out.size = bound;
    out.pos = 0;
    in.src = p;
    in.size = n;
    in.pos = 0;
    if (flags & NO_SIZE) {
        size_t all = in.size; /* in two pieces, so that the size is not known at the first */
        in.size = n / 2;
        (void)ZSTD_compressStream2(c, &out, &in, ZSTD_e_continue);
        in.size = all;
        do z = ZSTD_compressStream2(c, &out, &in, ZSTD_e_end);
        while (z != 0 && !ZSTD_isError(z));
    } else {
        z = ZSTD_compress2(c, out.dst, bound, p, n);
        out.pos = z;
    }
    if (ZSTD_isError(z)) {
        printf("libzstd: %s\n", ZSTD_getErrorName(z));
        abort();
    }
    b->n -= bound - out.pos;
    ZSTD_freeCCtx(c);
}

static inline void frame(buffer *b, const void *p, size_t n, int level, int flags)
{
    frame_with(b, p, n, level, flags, NULL, 0, 0);
}

/* A block as it is stored, RFC 8878, 3.1.1.2: its type (0 raw, 1 run, 2 compressed), its size. */
static inline void block(buffer *b, uint32_t type, uint32_t size, int last, const void *p, size_t n)
{
    unsigned char *head = extend(b, 3);
    head[0] = (unsigned char)((last ? 1u : 0u) | type << 1 | size << 3);
    head[1] = (unsigned char)(size >> 5);
    head[2] = (unsigned char)(size >> 13);
    append(b, p, n);
}

static inline void skippable(buffer *b, uint32_t variant, uint32_t n)
{
    put32(b, 0x184d2a50u | variant);
    put32(b, n);
    memset(extend(b, n), 0xee, n);
}

// ---------------------------------------------------------------------------------- comparing

static thread_pool *pools[5];

static inline thread_pool *pool_of(int i)
{
    static const uint32_t sizes[5] = {1, 2, 3, 16, 8};
    if (pools[i] == NULL) pools[i] = thread_pool_create(sizes[i]);
    return pools[i];
}

static inline void end_pools(void)
{
    int i;
    for (i = 0; i < 5; i++) (void)thread_pool_destroy(pools[i]);
}

/* libzstd's own verdict. */
static inline size_t reference(const void *src, size_t n, void *dst, size_t capacity,
                               const void *dict, size_t dict_size)
{
    static ZSTD_DCtx *d;
    if (d == NULL) d = ZSTD_createDCtx();
    return ZSTD_decompress_usingDict(d, dst, capacity, src, n, dict, dict_size);
}

/* libzstd's verdict for a stream; what it makes is dropped. */
static inline int stream_accepts(const void *src, size_t n)
{
    ZSTD_DCtx *d = ZSTD_createDCtx();
    static unsigned char out[1 << 17];
    ZSTD_inBuffer in;
    size_t z = 0;
    in.src = src;
    in.size = n;
    in.pos = 0;
    for (;;) {
        ZSTD_outBuffer o;
        size_t used = in.pos;
        o.dst = out;
        o.size = sizeof out;
        o.pos = 0;
        if (z == 0 && in.pos == in.size) break;
        z = ZSTD_decompressStream(d, &o, &in);
        if (ZSTD_isError(z) || (used == in.pos && o.pos == 0)) break;
    }
    ZSTD_freeDCtx(d);
    return z == 0;
}

/* What a sink refuses though libzstd may let it pass: see ERRORS in zstd_par.h. */
static inline int is_a_rule_of_sinks(const posio_error *err)
{
    return (err->code == POSIO_E_LIMIT && strstr(err->message, "window_log_max") != NULL) ||
           (err->code == POSIO_E_DATA && strstr(err->message, "its blocks can be") != NULL);
}

#endif
