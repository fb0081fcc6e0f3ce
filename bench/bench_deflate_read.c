/* bench_deflate_read.c - chunks of disk images: deflate_read.h at each feature level, zlib, igzip
   and libdeflate.

       cc -O2 -DHAVE_LIBDEFLATE -DHAVE_ISAL bench/bench_deflate_read.c -lz -ldeflate -lisal
       bench_deflate_read [--json] [--runs N] [--mib N]

   Three kinds of data, collected from this system: text (headers and documents), binaries, and a
   mix as a disk holds it (text, binaries, zeros, already compressed data). Each is cut into pieces
   that zlib compresses at levels 1 and 6: 32 KiB zlib chunks as in EWF images, and 64 KiB and 2 MiB
   raw streams with a window of 4 KiB as in QCOW2 images. The engines take turns, run after run; the
   figure is the best run, in output bytes per second of thread time, and its ratio to libdeflate
   (else zlib). Every byte that was timed is compared. */
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
#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>
#endif

/* How the data is cut and compressed. */
typedef struct shape {
    const char *name;
    size_t chunk;
    int window; /* as zlib's windowBits: negative = raw */
} shape;

static const shape shapes[] = {{"32 KiB zlib", 32768, 15},
                               {"64 KiB raw, 4 KiB window", 65536, -12},
                               {"2 MiB raw, 4 KiB window", (size_t)2 << 20, -12}};
enum { SHAPES = sizeof shapes / sizeof shapes[0], KINDS = 3, COLUMNS = 2 * KINDS };

typedef struct chunks {
    const shape *how;
    unsigned char *plain, *packed; /* packed: at[i] .. at[i + 1] */
    size_t *at, count;
} chunks;

// ---------------------------------------------------------------------------------- engines

static deflate_read decoder;

static int run_ours(const shape *how, const void *in, size_t n, void *out, size_t slack)
{
    deflate_read_end end;
    return (how->window < 0 ? deflate_read_raw : deflate_read_zlib)(
               &decoder, in, n, out, how->chunk, slack, 0, &end, NULL) == POSIO_OK;
}

static int run_slack(const shape *how, const void *in, size_t n, void *out)
{
    return run_ours(how, in, n, out, DEFLATE_READ_SLACK);
}

static int run_exact(const shape *how, const void *in, size_t n, void *out)
{
    return run_ours(how, in, n, out, 0);
}

static int run_zlib(const shape *how, const void *in, size_t n, void *out)
{
    static z_stream z;
    if (z.state == NULL && inflateInit(&z) != Z_OK) return 0;
    if (inflateReset2(&z, how->window < 0 ? -15 : 15) != Z_OK) return 0;
    z.next_in = (Bytef *)(uintptr_t)in;
    z.avail_in = (uInt)n;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)how->chunk;
    return inflate(&z, Z_FINISH) == Z_STREAM_END;
}

#ifdef HAVE_ISAL
static int run_igzip(const shape *how, const void *in, size_t n, void *out)
{
    static struct inflate_state state;
    isal_inflate_init(&state);
    state.crc_flag = how->window < 0 ? ISAL_DEFLATE : ISAL_ZLIB;
    state.next_in = (uint8_t *)(uintptr_t)in;
    state.avail_in = (uint32_t)n;
    state.next_out = (uint8_t *)out;
    state.avail_out = (uint32_t)how->chunk;
    return isal_inflate_stateless(&state) == ISAL_DECOMP_OK && state.avail_out == 0;
}
#endif

#ifdef HAVE_LIBDEFLATE
static struct libdeflate_decompressor *peer;

static int run_libdeflate(const shape *how, const void *in, size_t n, void *out)
{
    size_t size;
    return (how->window < 0 ? libdeflate_deflate_decompress : libdeflate_zlib_decompress)(
               peer, in, n, out, how->chunk, &size) == LIBDEFLATE_SUCCESS;
}
#endif

static const struct {
    const char *name;
    int (*run)(const shape *how, const void *in, size_t n, void *out);
    uint32_t cpu; /* features left switched on */
} engines[] = {
    {"deflate_read", run_slack, UINT32_MAX},
    {"deflate_read, no slack", run_exact, UINT32_MAX},
    {"- BMI2, no AVX2", run_slack, POSIO_CPU_BMI2},
    {"- BMI2, no AVX2, no slack", run_exact, POSIO_CPU_BMI2},
    {"- plain C", run_slack, 0},
    {"- plain C, no slack", run_exact, 0},
    {"zlib", run_zlib, UINT32_MAX},
#ifdef HAVE_ISAL
    {"igzip", run_igzip, UINT32_MAX},
#endif
#ifdef HAVE_LIBDEFLATE
    {"libdeflate", run_libdeflate, UINT32_MAX},
#endif
};
enum { ENGINES = sizeof engines / sizeof engines[0] };
#ifdef HAVE_LIBDEFLATE
enum { PEER = ENGINES - 1 };
#else
enum { PEER = 6 };
#endif

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

static chunks pack(const shape *how, unsigned char *plain, size_t size, int level)
{
    chunks c;
    size_t i, room = how->chunk + how->chunk / 8 + 64;
    z_stream z;
    memset(&z, 0, sizeof z);
    c.how = how;
    c.plain = plain;
    c.count = size / how->chunk;
    c.packed = (unsigned char *)malloc(c.count * room);
    c.at = (size_t *)malloc((c.count + 1) * sizeof(size_t));
    if (c.packed == NULL || c.at == NULL) exit(2);
    if (deflateInit2(&z, level, Z_DEFLATED, how->window, 8, Z_DEFAULT_STRATEGY) != Z_OK) exit(2);
    c.at[0] = 0;
    for (i = 0; i < c.count; i++) {
        z.next_in = plain + i * how->chunk;
        z.avail_in = (uInt)how->chunk;
        z.next_out = c.packed + c.at[i];
        z.avail_out = (uInt)room;
        if (deflate(&z, Z_FINISH) != Z_STREAM_END) exit(2);
        c.at[i + 1] = c.at[i] + (room - z.avail_out);
        deflateReset(&z);
    }
    deflateEnd(&z);
    return c;
}

// ---------------------------------------------------------------------------------- timing

static double thread_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds for all chunks, decoded in batches that are compared outside of the measured time. */
static double measure(const chunks *c, size_t engine, unsigned char *out, size_t batch)
{
    const size_t chunk = c->how->chunk, room = chunk + DEFLATE_READ_SLACK;
    double seconds = 0;
    size_t i, k;
    posio_cpu_mask(engines[engine].cpu);
    for (i = 0; i < c->count; i += batch) {
        size_t n = c->count - i < batch ? c->count - i : batch;
        int good = 1;
        double begin = thread_seconds();
        for (k = 0; k < n; k++)
            good &= engines[engine].run(c->how, c->packed + c->at[i + k],
                                        c->at[i + k + 1] - c->at[i + k], out + k * room);
        seconds += thread_seconds() - begin;
        for (k = 0; k < n; k++)
            if (memcmp(out + k * room, c->plain + (i + k) * chunk, chunk) != 0) good = 0;
        if (!good) {
            fprintf(stderr, "%s: wrong output near chunk %u\n", engines[engine].name, (unsigned)i);
            exit(1);
        }
    }
    posio_cpu_mask(UINT32_MAX);
    return seconds;
}

/* The best rates of all engines for one column of the table, in MB/s. */
static void bench(const shape *how, const char *kind, unsigned char *plain, size_t size, int level,
                  int runs, int json, double rates[ENGINES])
{
    chunks c = pack(how, plain, size, level);
    size_t e, batch = how->chunk < 524288 ? 524288 / how->chunk : 1;
    unsigned char *out = (unsigned char *)malloc(batch * (how->chunk + DEFLATE_READ_SLACK));
    double bytes = (double)c.count * (double)how->chunk;
    int run;
    if (out == NULL) exit(2);
    memset(out, 0, batch * (how->chunk + DEFLATE_READ_SLACK));
    for (run = 0; run < runs; run++)
        for (e = 0; e < ENGINES; e++) {
            double rate = bytes / 1e6 / measure(&c, e, out, batch);
            if (run == 0 || rate > rates[e]) rates[e] = rate;
        }
    for (e = 0; e < ENGINES && json; e++)
        printf("{\"bench\":\"deflate_read\",\"shape\":\"%s\",\"chunk\":%lu,\"data\":\"%s\","
               "\"level\":%d,\"engine\":\"%s\",\"bytes\":%.0f,\"packed\":%lu,"
               "\"mb_per_s\":%.1f,\"ratio\":%.3f,\"ratio_to\":\"%s\"}\n",
               how->name, (unsigned long)how->chunk, kind, level, engines[e].name, bytes,
               (unsigned long)c.at[c.count], rates[e], rates[e] / rates[PEER], engines[PEER].name);
    free(out);
    free(c.packed);
    free(c.at);
}

static void print_table(const shape *how, double rates[COLUMNS][ENGINES],
                        const char *const kinds[KINDS])
{
    size_t e, k;
    printf("%s; MB/s, x %s\n%-26s", how->name, engines[PEER].name, "");
    for (k = 0; k < COLUMNS; k++) printf("%9s %d  ", kinds[k / 2], k % 2 == 0 ? 1 : 6);
    puts("");
    for (e = 0; e < ENGINES; e++) {
        printf("%-26s", engines[e].name);
        for (k = 0; k < COLUMNS; k++)
            printf("%7.0f %4.2f ", rates[k][e], rates[k][e] / rates[k][PEER]);
        puts("");
    }
    puts("");
}

int main(int argc, char **argv)
{
    static const char *const kinds[KINDS] = {"text", "binary", "disk"};
    static double rates[COLUMNS][ENGINES];
    unsigned char *data[KINDS];
    int json = 0, runs = 7, mib = 4, i;
    size_t size, s, k;
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) json = 1;
        else if (strcmp(argv[i], "--runs") == 0 && i + 1 < argc) runs = atoi(argv[++i]);
        else if (strcmp(argv[i], "--mib") == 0 && i + 1 < argc) mib = atoi(argv[++i]);
        else return puts("usage: bench_deflate_read [--json] [--runs N] [--mib N]"), 2;
    }
    if (runs < 1 || mib < 2 || mib > 1024) return 2;
    size = (size_t)mib << 20;
    for (k = 0; k < KINDS; k++)
        if ((data[k] = (unsigned char *)malloc(size)) == NULL) return 2;
#ifdef HAVE_LIBDEFLATE
    if ((peer = libdeflate_alloc_decompressor()) == NULL) return 2;
#endif
    gather(data[0], size, "/usr/include", "/usr/share/doc");
    gather(data[1], size, "/usr/bin", "/usr/lib");
    mix(data[2], size, data[0], data[1]);
    for (s = 0; s < SHAPES; s++) {
        for (k = 0; k < COLUMNS; k++)
            bench(&shapes[s], kinds[k / 2], data[k / 2], size, k % 2 == 0 ? 1 : 6, runs, json,
                  rates[k]);
        if (!json) print_table(&shapes[s], rates, kinds);
    }
#ifdef HAVE_LIBDEFLATE
    libdeflate_free_decompressor(peer);
#endif
    for (k = 0; k < KINDS; k++) free(data[k]);
    return 0;
}
