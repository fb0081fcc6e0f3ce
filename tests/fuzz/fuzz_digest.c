/* fuzz_digest.c - libFuzzer target: many streams at once give what each gives alone, no processor
   feature and no cut changes a digest, nothing outside of the data is read; and with -DHAVE_OPENSSL
   (-lcrypto) MD5, SHA-1 and SHA-256 are those of OpenSSL.

       clang -g -O1 -fsanitize=fuzzer,address,undefined -DHAVE_OPENSSL fuzz_digest.c -lcrypto

   Input: the algorithm, the number of streams, a byte for the data; then, until it ends or the data
   is more than MOST, calls of digest_update_many:

       2 bytes  processor features, see features_of
       4 bytes  the streams that take part, a bit each
       2 bytes  the size for each of these in turn: as it is, or in blocks (see size_of)

   Each size is a block of its own, exactly that long, at a bit of misalignment. */
#define DIGEST_IMPLEMENTATION
#include "../../digest.h"

#include <stdlib.h>
#include <string.h>
#ifdef HAVE_OPENSSL
#include <openssl/evp.h>
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STREAMS = 32, MOST = 1 << 18, CALLS = 64 };

typedef struct script {
    const uint8_t *at, *end;
} script;

/* All bytes of one stream so far. */
typedef struct stream {
    uint8_t *bytes;
    size_t size, room;
} stream;

static void require(int x)
{
    if (!x) abort();
}

static uint32_t take(script *s, int bytes)
{
    uint32_t x = 0;
    for (; bytes != 0 && s->at != s->end; bytes--) x = x << 8 | *s->at++;
    return x;
}

/* The low bits choose among what matters to digest.h; 0 is none of it, and all ones all. */
static uint32_t features_of(uint32_t x)
{
    static const uint32_t bits[11] = {
        POSIO_CPU_SSSE3, POSIO_CPU_SSE41,  POSIO_CPU_SSE42,   POSIO_CPU_PCLMUL,
        POSIO_CPU_BMI2,  POSIO_CPU_AVX2,   POSIO_CPU_AVX512,  POSIO_CPU_VNNI512,
        POSIO_CPU_SHA,   POSIO_CPU_NEON,   POSIO_CPU_ARM_SHA | POSIO_CPU_ARM_CRC};
    uint32_t features = 0;
    size_t i;
    for (i = 0; i < 11; i++)
        if (x >> i & 1) features |= bits[i];
    return features;
}

/* 0 ... 4095 bytes; or whole blocks, at times with a byte less or more; or up to 252 KiB. */
static size_t size_of(uint32_t x)
{
    const size_t n = x & 4095;
    switch (x >> 12 & 15) {
    case 14: return n % 64 * 4096 + n / 64;
    case 12:
    case 13: return n * 4;
    case 8:
    case 9:
    case 10:
    case 11: return n % 128 * 64 + (n >> 7) % 3 - (n % 128 != 0);
    default: return n;
    }
}

static void fill(uint8_t *p, size_t n, uint64_t seed)
{
    size_t i;
    for (i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        p[i] = seed >> 62 == 0 ? 0xff : (uint8_t)(seed >> 56);
    }
}

static void append(stream *s, const uint8_t *p, size_t n)
{
    if (s->size + n > s->room) {
        s->room = 2 * (s->size + n);
        s->bytes = (uint8_t *)realloc(s->bytes, s->room);
        require(s->bytes != NULL);
    }
    if (n != 0) memcpy(s->bytes + s->size, p, n);
    s->size += n;
}

/* The digest of one stream by the portable code, and by OpenSSL. */
static void compare(int algorithm, const stream *s, const uint8_t *got, size_t size)
{
    uint8_t want[64];
    posio_cpu_mask(0);
    require(digest_of(algorithm, s->bytes, s->size, want) == size);
    require(memcmp(got, want, size) == 0);
    posio_cpu_mask(UINT32_MAX);
    require(digest_of(algorithm, s->bytes, s->size, want) == size);
    require(memcmp(got, want, size) == 0);
#ifdef HAVE_OPENSSL
    if (algorithm <= DIGEST_SHA256) {
        const EVP_MD *md = algorithm == DIGEST_MD5    ? EVP_md5()
                           : algorithm == DIGEST_SHA1 ? EVP_sha1()
                                                      : EVP_sha256();
        unsigned n = 0;
        require(EVP_Digest(s->bytes, s->size, want, &n, md, NULL) == 1 && n == size);
        require(memcmp(got, want, size) == 0);
    }
#endif
}

/* One call of digest_update_many, and of digest_update for each; the bytes that were taken. */
static size_t call(script *s, digest *many, digest *alone, stream *streams, uint32_t count,
                   uint64_t seed)
{
    digest *states[STREAMS] = {NULL};
    const void *from[STREAMS] = {NULL};
    uint8_t *blocks[STREAMS];
    size_t sizes[STREAMS] = {0}, total = 0;
    const uint32_t features = features_of(take(s, 2)), part = take(s, 4);
    uint32_t i, used = 0;
    for (i = 0; i < count; i++) {
        const size_t shift = i % 4;
        if (!(part >> i & 1)) continue;
        sizes[used] = size_of(take(s, 2));
        blocks[used] = (uint8_t *)malloc(shift + sizes[used]);
        require(blocks[used] != NULL || shift + sizes[used] == 0);
        from[used] = sizes[used] != 0 ? blocks[used] + shift : NULL;
        if (sizes[used] != 0) fill(blocks[used] + shift, sizes[used], seed + i);
        append(&streams[i], (const uint8_t *)from[used], sizes[used]);
        total += sizes[used];
        states[used++] = &many[i];
    }
    posio_cpu_mask(features);
    digest_update_many(states, from, sizes, used);
    for (i = used = 0; i < count; i++) {
        if (!(part >> i & 1)) continue;
        digest_update(&alone[i], from[used], sizes[used]);
        free(blocks[used++]);
    }
    return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static digest many[STREAMS], alone[STREAMS];
    stream streams[STREAMS];
    script s;
    uint32_t i, count, calls;
    uint64_t seed;
    size_t total = 0;
    int algorithm;
    s.at = data;
    s.end = data + size;
    algorithm = (int)(DIGEST_MD5 + take(&s, 1) % (DIGEST_COUNT - 1));
    count = take(&s, 1) % STREAMS + 1;
    seed = take(&s, 1);
    memset(streams, 0, sizeof streams);
    for (i = 0; i < count; i++) {
        require(digest_begin(&many[i], algorithm) == POSIO_OK);
        require(digest_begin(&alone[i], algorithm) == POSIO_OK);
    }
    for (calls = 0; calls < CALLS && s.at != s.end && total < MOST; calls++)
        total += call(&s, many, alone, streams, count, seed * 1000 + calls * 64);
    for (i = 0; i < count; i++) {
        uint8_t got[DIGEST_MAX_SIZE], by_itself[DIGEST_MAX_SIZE];
        const size_t n = digest_result(&many[i], got);
        require(n == digest_size(algorithm) && digest_result(&alone[i], by_itself) == n);
        require(memcmp(got, by_itself, n) == 0);
        compare(algorithm, &streams[i], got, n);
        free(streams[i].bytes);
    }
    posio_cpu_mask(UINT32_MAX);
    return 0;
}
