/* fuzz_zstd_block.c - libFuzzer target: the block mode of zstd_par.h beside ZSTD_decompress of the
   installed libzstd, with one thread and with two: the same verdict, the same bytes, in the same
   room.

       clang -g -O1 -fsanitize=fuzzer,address,undefined -DFUZZ_MUTATOR -pthread fuzz_zstd_block.c \
           -lzstd

   Without FUZZ_MUTATOR it needs nothing of libFuzzer, and replay.c can be its main.

   Input: choices (1 = to a sink, too; 2 = with 1 MiB of memory; 4 = with a codec that is kept from
   input to input; 8 = one byte of room too little; 16 = room for more; 32 = three threads, too); a
   byte, 256 bytes of room each, 0 = as much as is needed; then the file. */
#define ZSTD_PAR_IMPLEMENTATION
#define THREAD_POOL_IMPLEMENTATION
#include "../../zstd_par.h"
#include "fuzz.h"

#include <zstd.h>

enum { SINK = 1, SMALL = 2, CODEC = 4, SHORT = 8, AMPLE = 16, THREE = 32, ROOM = 1 << 20 };

static unsigned char reference[ROOM], ours[ROOM + 64];

/* To memory; behind the room nothing may be written. */
static void check_memory(const uint8_t *p, size_t n, size_t capacity, size_t want,
                         const zstd_par_desc *desc)
{
    posio_error err;
    size_t made = 12345, i;
    posio_result r;
    memset(ours + capacity, 0xa5, 64);
    r = zstd_par_decompress(p, n, ours, capacity, &made, desc, &err);
    REQUIRE((r == POSIO_OK) == !ZSTD_isError(want));
    if (r == POSIO_OK) REQUIRE(made == want && memcmp(ours, reference, want) == 0);
    else REQUIRE(made == 12345 && err.code == r && err.message[0] != 0);
    for (i = 0; i < 64; i++) REQUIRE(ours[capacity + i] == 0xa5);
}

typedef struct output {
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
    memcpy(ours + o->n, p, n);
    o->n += n;
    return POSIO_OK;
}

/* A sink refuses what ZSTD_decompressStream refuses; else it is as in memory. */
static void check_sink(const uint8_t *p, size_t n, size_t ample, const zstd_par_desc *desc)
{
    posio_memory m;
    posio_source source;
    posio_sink sink;
    output o;
    m.data = p;
    m.size = n;
    source = posio_memory_source(&m);
    memset(&o, 0, sizeof o);
    sink.write = output_write;
    sink.hole = NULL;
    sink.self = &o;
    if (zstd_par_decompress_sink(&source, &sink, desc, NULL, NULL) != POSIO_OK) return;
    REQUIRE(!ZSTD_isError(ample) && o.n == ample && memcmp(ours, reference, ample) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static thread_pool *pools[3];
    static zstd_par_codec *codec;
    static ZSTD_DCtx *d;
    zstd_par_desc desc;
    size_t capacity, want, ample;
    unsigned choices;
    int i;
    if (size < 2) return 0;
    if (d == NULL) {
        REQUIRE((d = ZSTD_createDCtx()) != NULL);
        REQUIRE((pools[1] = thread_pool_create(2)) != NULL);
        REQUIRE((pools[2] = thread_pool_create(3)) != NULL);
        REQUIRE(zstd_par_codec_create(&codec, NULL, NULL) == POSIO_OK);
    }
    choices = data[0];
    capacity = (size_t)data[1] * 256;
    data += 2;
    size -= 2;
    ample = ZSTD_decompressDCtx(d, reference, ROOM, data, size);
    if (capacity == 0) capacity = ZSTD_isError(ample) ? 1 << 18 : ample;
    if (choices & SHORT && capacity != 0) capacity--;
    if (choices & AMPLE) capacity = capacity < ROOM - 300000 ? capacity + 300000 : ROOM;
    want = ZSTD_decompressDCtx(d, reference, capacity, data, size);
    memset(&desc, 0, sizeof desc);
    desc.mode = ZSTD_PAR_BLOCK;
    if (choices & CODEC) desc.codec = codec;
    if (choices & SMALL) desc.memory = 1;
    for (i = 0; i < (choices & THREE ? 3 : 2); i++) {
        desc.pool = pools[i];
        check_memory(data, size, capacity, want, &desc);
    }
    if (!(choices & SINK)) return 0;
    ample = ZSTD_decompressDCtx(d, reference, ROOM, data, size);
    for (i = 0; i < 2; i++) {
        desc.pool = pools[i];
        check_sink(data, size, ample, &desc);
    }
    return 0;
}

#ifdef FUZZ_MUTATOR
/* Bytes of a frame header; 0: it is none. */
static size_t header_size(const uint8_t *p, size_t n)
{
    static const uint8_t sizes[] = {0, 2, 4, 8}, dictionaries[] = {0, 1, 2, 4};
    unsigned single, all;
    if (n < 6 || p[0] != 0x28 || p[1] != 0xb5 || p[2] != 0x2f || p[3] != 0xfd) return 0;
    single = p[4] >> 5 & 1;
    all = 5 + !single + dictionaries[p[4] & 3] + sizes[p[4] >> 6] + (p[4] >> 6 == 0 && single);
    return all < n ? all : 0;
}

/* Changes what is in one block, or the order of blocks, and has headers fit it: a frame without a
   size and a checksum, so that all of it is decoded. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    static uint8_t block[1 << 17], made[1 << 20];
    size_t at, n = 0, count = 0, k, chosen, action = seed >> 8 & 7;
    if (size < 12 || room > sizeof made || (seed & 3) == 0 ||
        (at = header_size(data + 2, size - 2)) == 0)
        return LLVMFuzzerMutate(data, size, room);
    at += 2;
    for (k = at; size - k >= 3; count++) {
        size_t v = data[k] | (size_t)data[k + 1] << 8 | (size_t)data[k + 2] << 16;
        v = (v & 6) == 2 ? 1 : v >> 3;
        if (v > size - k - 3) break;
        k += 3 + v;
    }
    if (count == 0) return LLVMFuzzerMutate(data, size, room);
    chosen = (seed >> 12) % count;
    memcpy(made, data, 2);
    memcpy(made + 2, "\x28\xb5\x2f\xfd\0\x60", 6);
    n = 8;
    for (k = 0; k < count; k++) {
        size_t v = data[at] | (size_t)data[at + 1] << 8 | (size_t)data[at + 2] << 16;
        size_t stored = (v & 6) == 2 ? 1 : v >> 3, times = 1;
        if (stored > sizeof block) break;
        memcpy(block, data + at + 3, stored);
        at += 3 + stored;
        if (k == chosen && action == 0) continue;                      /* drop it */
        if (k == chosen && action == 1) times = 2 + (seed >> 20 & 63); /* often */
        if (k == chosen && action > 1) {
            size_t most = stored + 64 < sizeof block ? stored + 64 : sizeof block;
            stored = LLVMFuzzerMutate(block, stored, most);
            if ((v & 6) == 2 && stored == 0) continue;
            if ((v & 6) == 2) stored = 1;
            else v = (v & 7) | stored << 3;
        }
        for (; times > 0; times--) {
            if (3 + stored > room - n) break;
            made[n] = (uint8_t)(v & 0xfe);
            made[n + 1] = (uint8_t)(v >> 8);
            made[n + 2] = (uint8_t)(v >> 16);
            memcpy(made + n + 3, block, stored);
            n += 3 + stored;
        }
    }
    if (n + 3 > room) return LLVMFuzzerMutate(data, size, room);
    memcpy(made + n, "\1\0\0", 3); /* the last block: nothing */
    memcpy(data, made, n + 3);
    return n + 3;
}
#endif
