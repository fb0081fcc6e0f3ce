/* bench_digest.c - our digests, at each level of processor features, beside the field's own.

       cc -O2 -DHAVE_OPENSSL -DHAVE_LIBDEFLATE -DHAVE_ZLIB bench/bench_digest.c \
          -o bench_digest -lcrypto -ldeflate -lz
       ./bench_digest [--json] [--rounds N] [name of a digest]

   Each macro adds a peer and needs its library (HAVE_XXHASH: -lxxhash); b3sum is run where it is
   installed. Without any, only ours are compared (MinGW needs -pthread, for clock_gettime).

   All engines of a digest take turns on the same random bytes, in pieces of 32 KiB, 64 KiB and
   1 MiB, at least 1 ms each; the best turn of each counts, in CPU time. Several streams are as many
   pieces, one behind the other, and the rate is that of all. `ratio` is to the first engine of the
   digest, at 64 KiB; `one` is to ours with one stream and the same features. b3sum hashes a file of
   256 MiB with one thread, and of its processor time only the user's is taken. Every result is
   compared with the first engine's: exit code 1 when two differ, never for a time. */
#define DIGEST_IMPLEMENTATION
#include "../digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if !defined(_WIN32)
#include <sys/resource.h>
#include <unistd.h>
#endif
#if defined(HAVE_OPENSSL)
#include <openssl/evp.h>
#endif
#if defined(HAVE_LIBDEFLATE)
#include <libdeflate.h>
#endif
#if defined(HAVE_ZLIB)
#include <zlib.h>
#endif

enum { STREAMS = 16, SIZES = 3, MIB = 1 << 20 };
static const size_t sizes[SIZES] = {32768, 65536, MIB};

typedef struct engine {
    int algorithm;
    const char *name;
    uint32_t features; /* ours: all of these, and nothing else */
    uint32_t streams;
    void (*run)(int algorithm, const uint8_t *data, size_t size, uint8_t *out); /* NULL: ours */
    double best[SIZES]; /* seconds for one piece of every stream */
    uint8_t sum[SIZES][STREAMS][DIGEST_MAX_SIZE];
} engine;

#if defined(HAVE_OPENSSL)
static void run_openssl(int algorithm, const uint8_t *data, size_t size, uint8_t *out)
{
    const EVP_MD *md = algorithm == DIGEST_MD5 ? EVP_md5()
                       : algorithm == DIGEST_SHA1 ? EVP_sha1() : EVP_sha256();
    if (!EVP_Digest(data, size, out, NULL, md, NULL)) memset(out, 0, DIGEST_MAX_SIZE);
}
#endif

static void put_be(uint8_t *out, uint64_t x, int bytes)
{
    int i;
    for (i = 0; i < bytes; i++) out[i] = (uint8_t)(x >> (8 * (bytes - 1 - i)));
}

#if defined(HAVE_LIBDEFLATE)
static void run_libdeflate(int algorithm, const uint8_t *data, size_t size, uint8_t *out)
{
    (void)algorithm;
    put_be(out, libdeflate_adler32(1, data, size), 4);
}
#endif

#if defined(HAVE_ZLIB)
static void run_zlib(int algorithm, const uint8_t *data, size_t size, uint8_t *out)
{
    (void)algorithm;
    put_be(out, (uint64_t)adler32(1, data, (uInt)size), 4);
}
#endif

#if defined(HAVE_XXHASH)
unsigned long long XXH64(const void *data, size_t size, unsigned long long seed);
static void run_xxhash(int algorithm, const uint8_t *data, size_t size, uint8_t *out)
{
    (void)algorithm;
    put_be(out, XXH64(data, size, 0), 8);
}
#endif

#define SSSE3 (POSIO_CPU_SSSE3 | POSIO_CPU_SSE41)
#define SHA_NI (POSIO_CPU_SHA | SSSE3)
#define AVX2 (SSSE3 | POSIO_CPU_BMI2 | POSIO_CPU_AVX2)
#define AVX512 (AVX2 | POSIO_CPU_AVX512)
#define PCLMUL (POSIO_CPU_SSE42 | POSIO_CPU_PCLMUL)
#define ENGINE(algorithm, name, features, streams, run) \
    {DIGEST_##algorithm, name, features, streams, run, {0}, {{{0}}}}

static engine engines[] = {
#if defined(HAVE_OPENSSL)
    ENGINE(MD5, "openssl", 0, 1, run_openssl),
    ENGINE(SHA1, "openssl", 0, 1, run_openssl),
    ENGINE(SHA256, "openssl", 0, 1, run_openssl),
#endif
#if defined(HAVE_LIBDEFLATE)
    ENGINE(ADLER32, "libdeflate", 0, 1, run_libdeflate),
#endif
#if defined(HAVE_ZLIB)
    ENGINE(ADLER32, "zlib", 0, 1, run_zlib),
#endif
#if defined(HAVE_XXHASH)
    ENGINE(XXH64, "libxxhash", 0, 1, run_xxhash),
#endif
    ENGINE(MD5, "portable", 0, 1, NULL),
    ENGINE(MD5, "ssse3", SSSE3, 1, NULL),
    ENGINE(MD5, "ssse3", SSSE3, 4, NULL),
    ENGINE(MD5, "avx2", AVX2, 1, NULL),
    ENGINE(MD5, "avx2", AVX2, 8, NULL),
    ENGINE(MD5, "avx512", AVX512, 1, NULL),
    ENGINE(MD5, "avx512", AVX512, 2, NULL),
    ENGINE(MD5, "avx512", AVX512, 4, NULL),
    ENGINE(MD5, "avx512", AVX512, 8, NULL),
    ENGINE(MD5, "avx512", AVX512, 16, NULL),
    ENGINE(SHA1, "portable", 0, 1, NULL),
    ENGINE(SHA1, "ssse3", SSSE3, 1, NULL),
    ENGINE(SHA1, "ssse3", SSSE3, 4, NULL),
    ENGINE(SHA1, "avx2", AVX2, 1, NULL),
    ENGINE(SHA1, "avx2", AVX2, 8, NULL),
    ENGINE(SHA1, "sha-ni", SHA_NI, 1, NULL),
    ENGINE(SHA1, "sha-ni avx2", SHA_NI | AVX2, 1, NULL),
    ENGINE(SHA1, "sha-ni avx2", SHA_NI | AVX2, 8, NULL),
    ENGINE(SHA1, "sha-ni avx512", SHA_NI | AVX512, 1, NULL),
    ENGINE(SHA1, "sha-ni avx512", SHA_NI | AVX512, 4, NULL),
    ENGINE(SHA1, "sha-ni avx512", SHA_NI | AVX512, 16, NULL),
    ENGINE(SHA256, "portable", 0, 1, NULL),
    ENGINE(SHA256, "bmi2", POSIO_CPU_BMI2, 1, NULL),
    ENGINE(SHA256, "ssse3", SSSE3, 1, NULL),
    ENGINE(SHA256, "ssse3", SSSE3, 4, NULL),
    ENGINE(SHA256, "avx2", AVX2, 1, NULL),
    ENGINE(SHA256, "avx2", AVX2, 8, NULL),
    ENGINE(SHA256, "sha-ni", SHA_NI, 1, NULL),
    ENGINE(SHA256, "sha-ni avx512", SHA_NI | AVX512, 1, NULL),
    ENGINE(SHA256, "sha-ni avx512", SHA_NI | AVX512, 8, NULL),
    ENGINE(SHA256, "sha-ni avx512", SHA_NI | AVX512, 16, NULL),
    ENGINE(BLAKE3, "portable", 0, 1, NULL),
    ENGINE(BLAKE3, "ssse3", SSSE3, 1, NULL),
    ENGINE(BLAKE3, "avx2", AVX2, 1, NULL),
    ENGINE(BLAKE3, "avx512", AVX512, 1, NULL),
    ENGINE(XXH64, "portable", 0, 1, NULL),
    ENGINE(ADLER32, "portable", 0, 1, NULL),
    ENGINE(ADLER32, "avx2", POSIO_CPU_AVX2, 1, NULL),
    ENGINE(ADLER32, "avx512vnni", POSIO_CPU_VNNI512, 1, NULL),
    ENGINE(CRC32C, "portable", 0, 1, NULL),
    ENGINE(CRC32C, "sse4.2", POSIO_CPU_SSE42, 1, NULL),
    ENGINE(CRC32C, "sse4.2 pclmul", PCLMUL, 1, NULL),
#if defined(__aarch64__)
    ENGINE(MD5, "neon", POSIO_CPU_NEON, 1, NULL),
    ENGINE(MD5, "neon", POSIO_CPU_NEON, 4, NULL),
    ENGINE(SHA1, "neon", POSIO_CPU_NEON, 1, NULL),
    ENGINE(SHA1, "neon", POSIO_CPU_NEON, 4, NULL),
    ENGINE(SHA1, "armv8 sha", POSIO_CPU_ARM_SHA, 1, NULL),
    ENGINE(SHA256, "neon", POSIO_CPU_NEON, 1, NULL),
    ENGINE(SHA256, "neon", POSIO_CPU_NEON, 4, NULL),
    ENGINE(SHA256, "armv8 sha", POSIO_CPU_ARM_SHA, 1, NULL),
    ENGINE(BLAKE3, "neon", POSIO_CPU_NEON, 1, NULL),
    ENGINE(ADLER32, "neon", POSIO_CPU_NEON, 1, NULL),
    ENGINE(CRC32C, "armv8 crc", POSIO_CPU_ARM_CRC, 1, NULL),
#endif
};
enum { ENGINES = sizeof engines / sizeof engines[0] };

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void run_once(engine *e, const uint8_t *data, int k)
{
    digest d[STREAMS], *states[STREAMS];
    const void *from[STREAMS];
    size_t each[STREAMS];
    uint32_t i;
    if (e->run != NULL || e->streams == 1) {
        uint8_t *sum = e->sum[k][0];
        if (e->run != NULL) e->run(e->algorithm, data, sizes[k], sum);
        else if (e->algorithm == DIGEST_XXH64) put_be(sum, digest_xxh64(data, sizes[k], 0), 8);
        else if (e->algorithm == DIGEST_ADLER32) put_be(sum, digest_adler32(1, data, sizes[k]), 4);
        else if (e->algorithm == DIGEST_CRC32C) put_be(sum, digest_crc32c(0, data, sizes[k]), 4);
        else (void)digest_of(e->algorithm, data, sizes[k], sum);
        return;
    }
    for (i = 0; i < e->streams; i++) {
        (void)digest_begin(&d[i], e->algorithm);
        states[i] = &d[i], from[i] = data + i * sizes[k], each[i] = sizes[k];
    }
    digest_update_many(states, from, each, e->streams);
    for (i = 0; i < e->streams; i++) (void)digest_result(&d[i], e->sum[k][i]);
}

static void take_turn(engine *e, const uint8_t *data, int k)
{
    // Asking for the time takes as long as a checksum of 10 KiB.
    const int batch = e->algorithm >= DIGEST_XXH64 ? 16 : 1;
    double begin, seconds;
    int runs = 0, i;
    posio_cpu_mask(e->features);
    begin = cpu_seconds();
    do {
        for (i = 0; i < batch; i++) run_once(e, data, k);
        seconds = cpu_seconds() - begin;
        runs += batch;
    } while (seconds < 1e-3);
    seconds /= runs;
    posio_cpu_mask(UINT32_MAX);
    if (e->best[k] == 0 || seconds < e->best[k]) e->best[k] = seconds;
}

// Bytes per second; 0 when not measured.
static double rate(const engine *e, int k)
{
    return e == NULL || e->best[k] <= 0 ? 0 : (double)e->streams * (double)sizes[k] / e->best[k];
}

static const engine *first_of(int algorithm)
{
    size_t i;
    for (i = 0; i < ENGINES; i++)
        if (engines[i].algorithm == algorithm) return &engines[i];
    return NULL;
}

// Ours with one stream and the same features.
static const engine *one_of(const engine *e)
{
    size_t i;
    for (i = 0; i < ENGINES; i++)
        if (engines[i].algorithm == e->algorithm && engines[i].run == NULL &&
            engines[i].streams == 1 && engines[i].features == e->features)
            return &engines[i];
    return NULL;
}

static void print(const engine *e, int json)
{
    const engine *peer = first_of(e->algorithm), *one = e->run == NULL ? one_of(e) : NULL;
    const double ratio = rate(e, 1) / rate(peer, 1);
    const double many = one != NULL ? rate(e, 1) / rate(one, 1) : 1;
    const char *whose = e->run == NULL ? "ours, " : "";
    int k;
    if (!json) {
        printf("%-8s  %s%-*s  %7u", digest_name(e->algorithm), whose,
               e->run == NULL ? 14 : 20, e->name, (unsigned)e->streams);
        for (k = 0; k < SIZES; k++) printf("  %8.0f", rate(e, k) * 1e-6);
        printf("  %7.3f  %7.2f\n", ratio, many);
        return;
    }
    for (k = 0; k < SIZES; k++)
        printf("{\"bench\":\"digest\",\"digest\":\"%s\",\"engine\":\"%s%s\",\"streams\":%u,"
               "\"bytes\":%lu,\"megabytes_per_second\":%.1f,\"peer\":\"%s\",\"ratio\":%.3f,"
               "\"to_one_stream\":%.2f}\n",
               digest_name(e->algorithm), whose, e->name, (unsigned)e->streams,
               (unsigned long)sizes[k], rate(e, k) * 1e-6, peer->name, rate(e, k) / rate(peer, k),
               one != NULL ? rate(e, k) / rate(one, k) : 1.0);
}

// Streams are compared with the digests of their pieces alone, by the first engine.
static int differs(const engine *e, const uint8_t *data)
{
    const engine *peer = first_of(e->algorithm);
    uint32_t i;
    int k;
    for (k = 0; k < SIZES; k++) {
        for (i = 0; i < e->streams; i++) {
            uint8_t want[DIGEST_MAX_SIZE];
            posio_cpu_mask(0);
            if (peer->run != NULL) peer->run(e->algorithm, data + i * sizes[k], sizes[k], want);
            else (void)digest_of(e->algorithm, data + i * sizes[k], sizes[k], want);
            posio_cpu_mask(UINT32_MAX);
            if (memcmp(e->sum[k][i], want, digest_size(e->algorithm)) != 0) return 1;
        }
    }
    return 0;
}

static int bench(int algorithm, const uint8_t *data, int rounds, int json)
{
    const uint32_t here = posio_cpu();
    int bad = 0, r, k;
    size_t i;
    for (r = 0; r < rounds; r++)
        for (k = 0; k < SIZES; k++)
            for (i = 0; i < ENGINES; i++)
                if (engines[i].algorithm == algorithm && (engines[i].features & ~here) == 0)
                    take_turn(&engines[i], data, k);
    for (i = 0; i < ENGINES; i++) {
        const engine *e = &engines[i];
        if (e->algorithm != algorithm || e->best[0] <= 0) continue;
        print(e, json);
        if (!differs(e, data)) continue;
        fprintf(stderr, "bench_digest: %s: %s and %s differ\n", digest_name(algorithm), e->name,
                first_of(algorithm)->name);
        bad = 1;
    }
    return bad;
}

#if defined(_WIN32)
static int bench_b3sum(const uint8_t *data, int json)
{
    (void)data, (void)json;
    return 0;
}
#else
static double children_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_CHILDREN, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec * 1e-6;
}

static int bench_b3sum(const uint8_t *data, int json)
{
    enum { TIMES = 16 }; // the 16 MiB at data, over and over
    char path[] = "/tmp/bench_digest_XXXXXX", command[120], line[80] = "", want[65];
    uint8_t sum[DIGEST_MAX_SIZE];
    double best = 0, ours = 0, mb = (double)TIMES * STREAMS * MIB * 1e-6;
    const int fd = mkstemp(path);
    digest d;
    int i, k, bad = 0;
    if (fd < 0) return 0;
    for (i = 0; i < TIMES && bad == 0; i++)
        bad = write(fd, data, (size_t)STREAMS * MIB) != (ssize_t)STREAMS * MIB;
    close(fd);
    snprintf(command, sizeof command, "b3sum --num-threads 1 --no-names %s 2>/dev/null", path);
    for (i = 0; i < 5 && bad == 0; i++) {
        double begin = children_seconds(), seconds;
        FILE *f = popen(command, "r");
        if (f == NULL || fgets(line, sizeof line, f) == NULL) bad = 1;
        if (f != NULL && pclose(f) != 0) bad = 1;
        seconds = children_seconds() - begin;
        if (best == 0 || seconds < best) best = seconds;
        begin = cpu_seconds();
        (void)digest_begin(&d, DIGEST_BLAKE3);
        for (k = 0; k < TIMES; k++) digest_update(&d, data, (size_t)STREAMS * MIB);
        seconds = cpu_seconds() - begin;
        if (ours == 0 || seconds < ours) ours = seconds;
    }
    unlink(path);
    if (bad) {
        if (!json) printf("%-8s  %-20s  not installed, or no room in /tmp\n", "blake3", "b3sum");
        return 0;
    }
    digest_hex(sum, digest_result(&d, sum), want);
    if (json)
        printf("{\"bench\":\"digest\",\"digest\":\"blake3\",\"engine\":\"ours, all\",\"streams\":1,"
               "\"bytes\":%lu,\"megabytes_per_second\":%.1f,\"peer\":\"b3sum\",\"ratio\":%.3f}\n",
               (unsigned long)TIMES * STREAMS * MIB, mb / ours, best / ours);
    else
        printf("%-8s  256 MiB: b3sum %.0f MB/s, ours (all features) %.0f, ratio %.3f\n", "blake3",
               mb / best, mb / ours, best / ours);
    if (strncmp(line, want, 64) == 0) return 0;
    fprintf(stderr, "bench_digest: blake3: b3sum and ours differ\n");
    return 1;
}
#endif

int main(int argc, char **argv)
{
    const size_t room = (size_t)STREAMS * MIB;
    uint8_t *data = (uint8_t *)malloc(room);
    uint64_t x = 1;
    size_t n;
    int json = 0, rounds = 20, only = DIGEST_NONE, bad = 0, i;
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
    for (n = 0; n < room; n++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        data[n] = (uint8_t)(x >> 56);
    }
    if (!json)
        printf("%-8s  %-20s  %7s  %8s  %8s  %8s  %7s  %7s\n", "digest", "engine", "streams",
               "32 KiB", "64 KiB", "1 MiB", "ratio", "one");
    for (i = DIGEST_MD5; i < DIGEST_COUNT; i++) {
        if (only != DIGEST_NONE && only != i) continue;
        bad |= bench(i, data, rounds < 1 ? 1 : rounds, json);
        if (i == DIGEST_BLAKE3) bad |= bench_b3sum(data, json);
    }
    free(data);
    return bad;
}
