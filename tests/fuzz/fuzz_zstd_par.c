/* fuzz_zstd_par.c - libFuzzer target: bytes decompressed to memory, to a sink and at random, beside
   ZSTD_decompress and ZSTD_decompressStream of the installed libzstd: the same verdict, the same
   bytes; an index that tells the truth; memory within a bound.

       clang -g -O1 -fsanitize=fuzzer,address,undefined -pthread fuzz_zstd_par.c -lzstd

   It needs nothing of libFuzzer, and replay.c can be its main.

   Input: choices (1 = lend a pool of two threads, 2 = serial, 4 = 1 MiB of memory, 8 = a
   dictionary, 16 = visit every block); the capacity of the output in 256 bytes; then the file. */
#define ZSTD_PAR_IMPLEMENTATION
#define THREAD_POOL_IMPLEMENTATION
#include "../../zstd_par.h"
#include "fuzz.h"

#include <zstd.h>

enum { POOL = 1, SERIAL = 2, SMALL = 4, DICTIONARY = 8, WALK = 16, ROOM = 4 << 20 };

static const char dictionary[] = "a dictionary of raw content, as the desc may have; 0123456789";

typedef struct output {
    unsigned char *p; /* ROOM bytes */
    size_t n;
    int is_full;
} output;

static posio_result output_write(void *self, const void *p, size_t n, posio_error *err)
{
    output *o = (output *)self;
    if (n > ROOM - o->n) {
        o->is_full = 1;
        return posio_fail(err, POSIO_E_SPACE, POSIO_NO_OFFSET, "enough for a test");
    }
    memcpy(o->p + o->n, p, n);
    o->n += n;
    return POSIO_OK;
}

/* libzstd's verdict on a stream: 1 good, 0 bad, -1 more than ROOM. */
static int stream_verdict(ZSTD_DCtx *d, const uint8_t *p, size_t n)
{
    static unsigned char out[1 << 17];
    ZSTD_inBuffer in;
    size_t z = 0, all = 0;
    (void)ZSTD_DCtx_reset(d, ZSTD_reset_session_only);
    in.src = p;
    in.size = n;
    in.pos = 0;
    while (z != 0 || in.pos != in.size) {
        ZSTD_outBuffer o;
        size_t used = in.pos;
        o.dst = out;
        o.size = sizeof out;
        o.pos = 0;
        z = ZSTD_decompressStream(d, &o, &in);
        if (ZSTD_isError(z) || (used == in.pos && o.pos == 0)) return 0;
        if ((all += o.pos) > ROOM) return -1;
    }
    return 1;
}

/* The index: frames lie behind each other, are as large as libzstd says, and hold what they say. */
static void check_index(const posio_source *source, const uint8_t *p, const zstd_par_desc *desc,
                        size_t made, int is_good)
{
    zstd_par_index *x = NULL;
    zstd_par_frame f;
    uint64_t i, at = 0;
    const zstd_par_metadata *m;
    posio_error err;
    posio_result r = zstd_par_index_open(&x, source, desc, &err);
    if (r != POSIO_OK) {
        REQUIRE(!is_good || r == POSIO_E_UNSUPPORTED); /* of v0.x, which libzstd may know */
        REQUIRE(err.message[0] != 0);
        return;
    }
    m = zstd_par_index_info(x);
    for (i = 0; zstd_par_index_get(x, i, &f) == POSIO_OK; i++) {
        REQUIRE(f.offset == at && f.size != 0 && f.size <= source->size - at);
        at += f.size;
        if (m->is_walked || is_good)
            REQUIRE(ZSTD_findFrameCompressedSize(p + f.offset, source->size - f.offset) == f.size);
        REQUIRE(f.content_size == ZSTD_PAR_UNKNOWN || f.content_size == f.bound);
    }
    REQUIRE(at == source->size);
    REQUIRE(i == m->frames + m->skippable_frames);
    if (is_good && m->content_size != ZSTD_PAR_UNKNOWN && m->unknown_sizes == 0 &&
        !m->has_seek_table)
        REQUIRE(m->content_size == made);
    zstd_par_index_close(x);
}

static void check_random(const posio_source *source, const zstd_par_desc *desc,
                         const unsigned char *content, size_t made, int is_good)
{
    zstd_par *z = NULL;
    posio_source s;
    static unsigned char out[ROOM];
    uint64_t k;
    if (zstd_par_open_source(&z, source, desc, NULL) != POSIO_OK) return;
    s = zstd_par_source(z);
    if (is_good && !zstd_par_index_info(zstd_par_index_of(z))->has_seek_table)
        REQUIRE(s.size == made);
    for (k = 0; k < 4 && s.size != 0 && s.size <= ROOM; k++) {
        uint64_t at = k == 0 ? 0 : s.size * k / 5;
        size_t n = (size_t)(k == 0 ? s.size : posio_min(s.size - at, 1000 * k));
        if (posio_read(&s, at, out, n, NULL) == POSIO_OK && is_good && s.size == made)
            REQUIRE(memcmp(out, content + at, n) == 0);
    }
    zstd_par_close(z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static thread_pool *pool;
    static ZSTD_DCtx *d;
    static unsigned char reference[ROOM], ours[ROOM], sunk[ROOM];
    zstd_par_desc desc;
    posio_memory m;
    posio_source source;
    posio_sink sink;
    posio_error err;
    output o;
    size_t capacity, want, ample, made = 0;
    unsigned choices;
    int verdict;
    posio_result r;
    if (size < 2) return 0;
    if (pool == NULL) REQUIRE((pool = thread_pool_create(2)) != NULL);
    if (d == NULL) REQUIRE((d = ZSTD_createDCtx()) != NULL);
    choices = data[0];
    capacity = (size_t)data[1] * 256;
    data += 2;
    size -= 2;
    memset(&desc, 0, sizeof desc);
    if (choices & POOL) desc.pool = pool;
    if (choices & SERIAL) desc.mode = ZSTD_PAR_SERIAL;
    if (choices & SMALL) desc.memory = 1;
    if (choices & WALK) desc.flags = ZSTD_PAR_WALK | ZSTD_PAR_MEASURE;
    if (choices & DICTIONARY) {
        desc.dictionary = dictionary;
        desc.dictionary_size = sizeof dictionary;
    }
    (void)ZSTD_DCtx_reset(d, ZSTD_reset_session_and_parameters);
    (void)ZSTD_DCtx_loadDictionary(d, desc.dictionary, desc.dictionary_size);
    want = ZSTD_decompressDCtx(d, reference, capacity, data, size);
    r = zstd_par_decompress(data, size, ours, capacity, &made, &desc, &err);
    REQUIRE((r == POSIO_OK) == !ZSTD_isError(want));
    if (r == POSIO_OK) REQUIRE(made == want && memcmp(ours, reference, made) == 0);
    else REQUIRE(err.message[0] != 0 && err.code == r);

    m.data = data;
    m.size = size;
    source = posio_memory_source(&m);
    sink.write = output_write;
    sink.hole = NULL;
    sink.self = &o;
    memset(&o, 0, sizeof o);
    o.p = sunk;
    r = zstd_par_decompress_sink(&source, &sink, &desc, NULL, &err);
    ample = ZSTD_decompressDCtx(d, reference, ROOM, data, size);
    verdict = stream_verdict(d, data, size);
    /* A sink follows both; where they differ it may follow either. It has two rules of its own: for
       windows, and for blocks that decode to more than the format allows. */
    if (r == POSIO_OK) REQUIRE(!ZSTD_isError(ample) && o.n == ample);
    if (r == POSIO_OK) REQUIRE(memcmp(sunk, reference, ample) == 0);
    if (r != POSIO_OK && !o.is_full && strstr(err.message, "window_log_max") == NULL &&
        strstr(err.message, "its blocks can be") == NULL)
        REQUIRE(ZSTD_isError(ample) || verdict != 1);

    check_index(&source, data, &desc, ample, !ZSTD_isError(ample));
    check_random(&source, &desc, reference, ample, !ZSTD_isError(ample));
    return 0;
}
