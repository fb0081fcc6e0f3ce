/* bench_digest.c - our digests, with and without each processor feature, beside the field's own.

       cc -O2 -DBENCH_OPENSSL -DBENCH_LIBDEFLATE -DBENCH_ZLIB bench/bench_digest.c \
          -o bench_digest -lcrypto -ldeflate -lz
       ./bench_digest [--json] [--rounds N] [name of a digest]

   Each macro adds a peer and needs its library; without any, only ours are compared (MinGW needs
   -pthread, for clock_gettime). All engines of a digest take turns on the same 1 MiB of random
   bytes, at least 2 ms each; the best turn of each counts, in CPU time. The ratio is to the first peer, or to our portable code where there is none. Every result
   is compared with the others: exit code 1 when two differ, never for a time. */
#define DIGEST_IMPLEMENTATION
#include "../digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(BENCH_OPENSSL)
#include <openssl/evp.h>
#endif
#if defined(BENCH_LIBDEFLATE)
#include <libdeflate.h>
#endif
#if defined(BENCH_ZLIB)
#include <zlib.h>
#endif

typedef struct engine {
    int algorithm;
    const char *name;
    uint32_t features; /* ours: all of these, and nothing else */
    int is_peer;
    void (*run)(int algorithm, const uint8_t *data, size_t size, uint8_t *out);
    double best; /* seconds for the buffer */
    uint8_t sum[DIGEST_MAX_SIZE];
} engine;

static void run_ours(int algorithm, const uint8_t *data, size_t size, uint8_t *out)
{
    (void)digest_of(algorithm, data, size, out);
}

#if defined(BENCH_OPENSSL)
static void run_openssl(int algorithm, const uint8_t *data, size_t size, uint8_t *out)
{
    const EVP_MD *md = algorithm == DIGEST_MD5 ? EVP_md5()
                       : algorithm == DIGEST_SHA1 ? EVP_sha1() : EVP_sha256();
    if (!EVP_Digest(data, size, out, NULL, md, NULL)) memset(out, 0, DIGEST_MAX_SIZE);
}
#endif

#if defined(BENCH_LIBDEFLATE) || defined(BENCH_ZLIB)
static void put_be32(uint8_t *out, uint32_t x)
{
    int i;
    for (i = 0; i < 4; i++) out[i] = (uint8_t)(x >> (24 - 8 * i));
}
#endif

#if defined(BENCH_LIBDEFLATE)
static void run_libdeflate(int algorithm, const uint8_t *data, size_t size, uint8_t *out)
{
    (void)algorithm;
    put_be32(out, libdeflate_adler32(1, data, size));
}
#endif

#if defined(BENCH_ZLIB)
static void run_zlib(int algorithm, const uint8_t *data, size_t size, uint8_t *out)
{
    (void)algorithm;
    put_be32(out, (uint32_t)adler32(1, data, (uInt)size));
}
#endif

#define SHA_NI (POSIO_CPU_SHA | POSIO_CPU_SSSE3 | POSIO_CPU_SSE41)

static engine engines[] = {
#if defined(BENCH_OPENSSL)
    {DIGEST_MD5, "openssl", 0, 1, run_openssl, 0, {0}},
    {DIGEST_SHA1, "openssl", 0, 1, run_openssl, 0, {0}},
    {DIGEST_SHA256, "openssl", 0, 1, run_openssl, 0, {0}},
#endif
#if defined(BENCH_LIBDEFLATE)
    {DIGEST_ADLER32, "libdeflate", 0, 1, run_libdeflate, 0, {0}},
#endif
#if defined(BENCH_ZLIB)
    {DIGEST_ADLER32, "zlib", 0, 1, run_zlib, 0, {0}},
#endif
    {DIGEST_MD5, "ours, portable", 0, 0, run_ours, 0, {0}},
    {DIGEST_MD5, "ours, avx512vl", POSIO_CPU_AVX512, 0, run_ours, 0, {0}},
    {DIGEST_SHA1, "ours, portable", 0, 0, run_ours, 0, {0}},
    {DIGEST_SHA1, "ours, sha-ni", SHA_NI, 0, run_ours, 0, {0}},
    {DIGEST_SHA256, "ours, portable", 0, 0, run_ours, 0, {0}},
    {DIGEST_SHA256, "ours, bmi2", POSIO_CPU_BMI2, 0, run_ours, 0, {0}},
    {DIGEST_SHA256, "ours, sha-ni", SHA_NI, 0, run_ours, 0, {0}},
    {DIGEST_BLAKE3, "ours, portable", 0, 0, run_ours, 0, {0}},
    {DIGEST_XXH64, "ours, portable", 0, 0, run_ours, 0, {0}},
    {DIGEST_ADLER32, "ours, portable", 0, 0, run_ours, 0, {0}},
    {DIGEST_ADLER32, "ours, avx2", POSIO_CPU_AVX2, 0, run_ours, 0, {0}},
    {DIGEST_CRC32C, "ours, portable", 0, 0, run_ours, 0, {0}},
    {DIGEST_CRC32C, "ours, sse4.2", POSIO_CPU_SSE42, 0, run_ours, 0, {0}},
};
enum { ENGINES = sizeof engines / sizeof engines[0], BUFFER = 1 << 20 };

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void take_turn(engine *e, const uint8_t *data)
{
    double begin, seconds;
    int runs = 0;
    posio_cpu_mask(e->features);
    begin = cpu_seconds();
    do {
        e->run(e->algorithm, data, BUFFER, e->sum);
        seconds = cpu_seconds() - begin;
        runs++;
    } while (seconds < 2e-3);
    seconds /= runs;
    posio_cpu_mask(UINT32_MAX);
    if (e->best == 0 || seconds < e->best) e->best = seconds;
}

// The engine the others of this digest are compared with.
static const engine *peer_of(int algorithm)
{
    size_t i;
    for (i = 0; i < ENGINES; i++)
        if (engines[i].algorithm == algorithm) return &engines[i];
    return NULL;
}

static void print(const engine *e, int json)
{
    const engine *peer = peer_of(e->algorithm);
    const double rate = (double)BUFFER / e->best * 1e-6, ratio = peer->best / e->best;
    if (json)
        printf("{\"bench\":\"digest\",\"digest\":\"%s\",\"engine\":\"%s\",\"bytes\":%d,"
               "\"megabytes_per_second\":%.1f,\"peer\":\"%s\",\"ratio\":%.3f}\n",
               digest_name(e->algorithm), e->name, (int)BUFFER, rate, peer->name, ratio);
    else
        printf("%-8s  %-16s  %10.1f  %8.3f\n", digest_name(e->algorithm), e->name, rate, ratio);
}

static int bench(int algorithm, const uint8_t *data, int rounds, int json)
{
    const engine *peer = peer_of(algorithm);
    const uint32_t here = posio_cpu();
    int bad = 0, r;
    size_t i;
    for (r = 0; r < rounds; r++)
        for (i = 0; i < ENGINES; i++)
            if (engines[i].algorithm == algorithm && (engines[i].features & ~here) == 0)
                take_turn(&engines[i], data);
    for (i = 0; i < ENGINES; i++) {
        if (engines[i].algorithm != algorithm || engines[i].best == 0) continue;
        print(&engines[i], json);
        if (memcmp(engines[i].sum, peer->sum, digest_size(algorithm)) == 0) continue;
        fprintf(stderr, "bench_digest: %s: %s and %s differ\n", digest_name(algorithm),
                engines[i].name, peer->name);
        bad = 1;
    }
    return bad;
}

int main(int argc, char **argv)
{
    uint8_t *data = (uint8_t *)malloc(BUFFER);
    uint64_t x = 1;
    int json = 0, rounds = 40, only = DIGEST_NONE, bad = 0, i;
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) json = 1;
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) rounds = atoi(argv[++i]);
        else if ((only = digest_from_name(argv[i])) == DIGEST_NONE) {
            fprintf(stderr, "usage: bench_digest [--json] [--rounds N] [digest]\n");
            free(data);
            return 2;
        }
    }
    if (data == NULL) return 2;
    for (i = 0; i < BUFFER; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        data[i] = (uint8_t)(x >> 56);
    }
    if (!json) printf("%-8s  %-16s  %10s  %8s\n", "digest", "engine", "MB/s (CPU)", "ratio");
    for (i = DIGEST_MD5; i < DIGEST_COUNT; i++)
        if (only == DIGEST_NONE || only == i) bad |= bench(i, data, rounds < 1 ? 1 : rounds, json);
    free(data);
    return bad;
}
