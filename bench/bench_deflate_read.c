/* bench_deflate_read.c - independent 32 KiB zlib chunks: deflate_read.h, zlib and libdeflate.

       cc -O2 -DHAVE_LIBDEFLATE bench/bench_deflate_read.c -o bench_deflate_read -lz -ldeflate
       bench_deflate_read [--json] [--runs N] [--mib N]

   Three kinds of data, collected from this system: text (headers and documents), binaries, and a
   mix as a disk holds it (text, binaries, zeros, already compressed data). Each is cut into chunks
   that zlib compresses at levels 1 and 6. The engines take turns, run after run; the figure is the
   best run, in output bytes per second of processor time. Every byte that was timed is compared. */
#define DEFLATE_READ_IMPLEMENTATION
#include "../deflate_read.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <zlib.h>
#ifdef HAVE_LIBDEFLATE
#include <libdeflate.h>
#endif

enum { CHUNK = 32768, BATCH = 16, ROOM = CHUNK + DEFLATE_READ_SLACK };

typedef struct chunks {
    unsigned char *plain, *packed; /* packed: at[i] .. at[i + 1] */
    size_t *at, count;
} chunks;

// ---------------------------------------------------------------------------------- engines

static deflate_read decoder;

static int run_ours(const void *in, size_t n, void *out, size_t slack)
{
    deflate_read_end end;
    return deflate_read_zlib(&decoder, in, n, out, CHUNK, slack, 0, &end, NULL) == POSIO_OK;
}

static int run_slack(const void *in, size_t n, void *out)
{
    return run_ours(in, n, out, DEFLATE_READ_SLACK);
}

static int run_exact(const void *in, size_t n, void *out) { return run_ours(in, n, out, 0); }

static int run_zlib(const void *in, size_t n, void *out)
{
    uLongf size = CHUNK;
    return uncompress((Bytef *)out, &size, (const Bytef *)in, (uLong)n) == Z_OK;
}

#ifdef HAVE_LIBDEFLATE
static struct libdeflate_decompressor *peer;

static int run_libdeflate(const void *in, size_t n, void *out)
{
    size_t size;
    return libdeflate_zlib_decompress(peer, in, n, out, CHUNK, &size) == LIBDEFLATE_SUCCESS;
}
#endif

static const struct {
    const char *name;
    int (*run)(const void *in, size_t n, void *out);
    uint32_t cpu; /* features left switched on */
} engines[] = {
    {"deflate_read", run_slack, UINT32_MAX},
    {"deflate_read, no slack", run_exact, UINT32_MAX},
    {"deflate_read, plain C", run_slack, 0},
    {"zlib", run_zlib, UINT32_MAX},
#ifdef HAVE_LIBDEFLATE
    {"libdeflate", run_libdeflate, UINT32_MAX},
#endif
};
enum { ENGINES = sizeof engines / sizeof engines[0], PEER = ENGINES - 1 };

// ---------------------------------------------------------------------------------- data

/* Appends the files below `path` whose names do not look compressed, 256 KiB of each at most. */
static void collect(unsigned char *to, size_t *have, size_t want, const char *path, int depth)
{
    DIR *dir = opendir(path);
    struct dirent *e;
    if (dir == NULL) return;
    while (*have < want && (e = readdir(dir)) != NULL) {
        char name[1024];
        struct stat st;
        FILE *f;
        if (e->d_name[0] == '.' || strstr(e->d_name, ".gz") != NULL) continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (lstat(name, &st) != 0) continue;
        if (S_ISDIR(st.st_mode) && depth > 0) collect(to, have, want, name, depth - 1);
        if (!S_ISREG(st.st_mode) || (f = fopen(name, "rb")) == NULL) continue;
        *have += fread(to + *have, 1, want - *have < 262144 ? want - *have : 262144, f);
        fclose(f);
    }
    closedir(dir);
}

/* Fills all of `to`, from the beginning again where the system has too few files. */
static void gather(unsigned char *to, size_t size, const char *first, const char *then)
{
    size_t have = 0, i;
    collect(to, &have, size, first, 6);
    collect(to, &have, size, then, 6);
    for (i = have; i < size; i++) to[i] = have != 0 ? to[i - have] : (unsigned char)(i * i >> 7);
}

/* Pieces of 4 to 64 KiB: 30 % text, 40 % binaries, 20 % zeros, 10 % without redundancy. */
static void mix(unsigned char *to, size_t size, const unsigned char *text, const unsigned char *bin)
{
    uint64_t x = 1;
    size_t i = 0, k;
    while (i < size) {
        size_t n;
        unsigned kind;
        x = x * 6364136223846793005u + 1442695040888963407u;
        n = 4096 * (1 + (size_t)(x >> 60));
        kind = (unsigned)(x >> 32) % 10;
        if (n > size - i) n = size - i;
        if (kind < 3) memcpy(to + i, text + i, n);
        else if (kind < 7) memcpy(to + i, bin + i, n);
        else if (kind < 9) memset(to + i, 0, n);
        else for (k = 0; k < n; k++) to[i + k] = (unsigned char)((x = x * 69069 + 12345) >> 40);
        i += n;
    }
}

static chunks pack(unsigned char *plain, size_t size, int level)
{
    chunks c;
    size_t i;
    c.plain = plain;
    c.count = size / CHUNK;
    c.packed = (unsigned char *)malloc(c.count * (CHUNK + 64));
    c.at = (size_t *)malloc((c.count + 1) * sizeof(size_t));
    if (c.packed == NULL || c.at == NULL) exit(2);
    c.at[0] = 0;
    for (i = 0; i < c.count; i++) {
        uLongf n = CHUNK + 64;
        if (compress2(c.packed + c.at[i], &n, plain + i * CHUNK, CHUNK, level) != Z_OK) exit(2);
        c.at[i + 1] = c.at[i] + n;
    }
    return c;
}

// ---------------------------------------------------------------------------------- timing

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds for all chunks, decoded in batches that are compared outside of the measured time. */
static double measure(const chunks *c, size_t engine, unsigned char *out)
{
    double seconds = 0;
    size_t i, k;
    posio_cpu_mask(engines[engine].cpu);
    for (i = 0; i < c->count; i += BATCH) {
        size_t n = c->count - i < BATCH ? c->count - i : BATCH;
        int good = 1;
        double begin = cpu_seconds();
        for (k = 0; k < n; k++)
            good &= engines[engine].run(c->packed + c->at[i + k], c->at[i + k + 1] - c->at[i + k],
                                        out + k * ROOM);
        seconds += cpu_seconds() - begin;
        for (k = 0; k < n; k++)
            if (memcmp(out + k * ROOM, c->plain + (i + k) * CHUNK, CHUNK) != 0) good = 0;
        if (!good) {
            fprintf(stderr, "%s: wrong output near chunk %u\n", engines[engine].name, (unsigned)i);
            exit(1);
        }
    }
    posio_cpu_mask(UINT32_MAX);
    return seconds;
}

static void bench(const char *kind, unsigned char *plain, size_t size, int level, int runs,
                  int json)
{
    chunks c = pack(plain, size, level);
    unsigned char *out = (unsigned char *)malloc((size_t)BATCH * ROOM);
    double best[ENGINES], bytes = (double)c.count * CHUNK;
    size_t e;
    int run;
    if (out == NULL) exit(2);
    for (run = 0; run < runs; run++)
        for (e = 0; e < ENGINES; e++) {
            double s = measure(&c, e, out);
            if (run == 0 || s < best[e]) best[e] = s;
        }
    for (e = 0; e < ENGINES; e++) {
        double rate = bytes / best[e] / 1e6, ratio = best[PEER] / best[e];
        if (json)
            printf("{\"bench\":\"deflate_read\",\"data\":\"%s\",\"level\":%d,\"engine\":\"%s\","
                   "\"bytes\":%.0f,\"packed\":%lu,\"mb_per_s\":%.1f,\"ratio\":%.3f,"
                   "\"ratio_to\":\"%s\"}\n",
                   kind, level, engines[e].name, bytes, (unsigned long)c.at[c.count], rate, ratio,
                   engines[PEER].name);
        else
            printf("%-8s %d   %-24s %8.0f MB/s   %.2f x %s\n", kind, level, engines[e].name, rate,
                   ratio, engines[PEER].name);
    }
    free(out);
    free(c.packed);
    free(c.at);
}

int main(int argc, char **argv)
{
    int json = 0, runs = 7, mib = 4, i, level;
    size_t size;
    unsigned char *text, *bin, *disk;
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) json = 1;
        else if (strcmp(argv[i], "--runs") == 0 && i + 1 < argc) runs = atoi(argv[++i]);
        else if (strcmp(argv[i], "--mib") == 0 && i + 1 < argc) mib = atoi(argv[++i]);
        else return puts("usage: bench_deflate_read [--json] [--runs N] [--mib N]"), 2;
    }
    if (runs < 1 || mib < 1 || mib > 1024) return 2;
    size = (size_t)mib << 20;
    text = (unsigned char *)malloc(size);
    bin = (unsigned char *)malloc(size);
    disk = (unsigned char *)malloc(size);
    if (text == NULL || bin == NULL || disk == NULL) return 2;
#ifdef HAVE_LIBDEFLATE
    if ((peer = libdeflate_alloc_decompressor()) == NULL) return 2;
#endif
    gather(text, size, "/usr/include", "/usr/share/doc");
    gather(bin, size, "/usr/bin", "/usr/lib");
    mix(disk, size, text, bin);
    for (level = 1; level <= 6; level += 5) {
        bench("text", text, size, level, runs, json);
        bench("binary", bin, size, level, runs, json);
        bench("disk", disk, size, level, runs, json);
    }
#ifdef HAVE_LIBDEFLATE
    libdeflate_free_decompressor(peer);
#endif
    free(text);
    free(bin);
    free(disk);
    return 0;
}
