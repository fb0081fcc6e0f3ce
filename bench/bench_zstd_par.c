/* bench_zstd_par.c - many frames on two threads, beside libzstd, zstd and pzstd.

       cc -O2 -pthread bench/bench_zstd_par.c -o bench_zstd_par -lzstd
       bench_zstd_par [--json] [--rounds N] [--mib N] [--gib N] [--block-mib N]
           [--only SECTION]

   Content is text collected from this system (64 MiB of it, again and again), at level 3. Figures
   are the best of N rounds (5) in which all engines take turns; CPU is that of the process, or of
   the child. Files are in TMPDIR, about twice --mib (512) in size, and are not synced. Tools that
   are not there are left out.

     batch      10,000 frames of 4 to 64 KiB: a loop of ZSTD_decompressDCtx, and
                zstd_par_decompress_batch with one thread and two, with contexts kept
     small      batches of 1 to 1,000 frames of 1 to 16 KiB, two threads against the loop
     memory     --mib in frames of 8 MiB: ZSTD_decompressDCtx, and zstd_par_decompress
     file       the same from a file to a file: zstd -d, pzstd -d -p 2, and ours; pzstd's file, ours
     walk       an index by its headers, with the caches full of something else
     random     4 KiB reads all over a seekable file of --gib (10), by one thread and two
     blocks     one ordinary frame: text, binaries and a disk image of this system, 96 MiB each, at
                levels 1, 3, 19 and with --long=27: ZSTD_decompressDCtx, and the block mode with one
                thread, two, and eight; and from what each block costs, what more threads would
                gain. To compress them takes minutes, so TMPDIR keeps them in
                bench_zstd_par.cache; --block-mib makes them smaller

   Whatever was timed is compared with the content. Exit code 1 when anything differs, never for a
   time. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif
#define ZSTD_PAR_IMPLEMENTATION
#define THREAD_POOL_IMPLEMENTATION
#include "../zstd_par.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

enum { MIB = 1 << 20, CORPUS = 64 << 20, FRAMES = 10000 };

static int json, bad;
static uint32_t rounds = 5;
static size_t mib = 512, gib = 10, block_mib = 96;
static const char *only; /* a section; NULL = all */
static unsigned char *corpus;
static thread_pool *two;
static char folder[256], path_ours[300], path_pzstd[300], path_out[300], path_large[300];

static void complain(const char *what, const char *why)
{
    fprintf(stderr, "bench_zstd_par: %s: %s\n", what, why);
    bad = 1;
}

static void require(int x, const char *what)
{
    if (x) return;
    complain(what, "failed");
    exit(1);
}

// ---------------------------------------------------------------------------------- time

typedef struct cost {
    double wall, cpu; /* seconds; 0 = not measured */
    double mib;       /* peak of memory of a child, without the text that it has from here */
} cost;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu_of(const struct rusage *u)
{
    return (double)u->ru_utime.tv_sec + (double)u->ru_utime.tv_usec * 1e-6 +
           (double)u->ru_stime.tv_sec + (double)u->ru_stime.tv_usec * 1e-6;
}

static double cpu_now(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return cpu_of(&u);
}

static void keep_best(cost *best, cost c)
{
    if (best->wall == 0 || c.wall < best->wall) best->wall = c.wall;
    if (best->cpu == 0 || c.cpu < best->cpu) best->cpu = c.cpu;
    if (c.mib > best->mib) best->mib = c.mib;
}

/* Times body(user) in this process; it returns 0 when the result is right. */
static void take(cost *best, int (*body)(void *user), void *user, const char *name)
{
    cost c;
    double cpu = cpu_now(), begin = now();
    int r = body(user);
    c.wall = now() - begin;
    c.cpu = cpu_now() - cpu;
    c.mib = 0;
    if (r != 0) complain(name, "wrong result");
    keep_best(best, c);
}

/* The same in a child. */
static void take_child(cost *best, int (*body)(void *user), void *user, const char *name)
{
    struct rusage use;
    cost c;
    double begin = now(), left_behind;
    int state = 0;
    pid_t child;
    getrusage(RUSAGE_SELF, &use);
    left_behind = (double)use.ru_maxrss / 1024;
    fflush(stdout);
    child = fork();
    if (child == 0) _exit(body(user));
    if (child < 0 || wait4(child, &state, 0, &use) != child) {
        complain(name, "no child");
        return;
    }
    c.wall = now() - begin;
    c.cpu = cpu_of(&use);
    c.mib = (double)use.ru_maxrss / 1024 - left_behind;
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 0) {
        complain(name, "wrong result");
        return;
    }
    keep_best(best, c);
}

/* One line: bytes are of content; ratio to the peer by wall time. */
static void report(const char *section, const char *engine, const cost *c, double bytes,
                   const cost *peer)
{
    double ratio = peer != NULL && c->wall > 0 ? peer->wall / c->wall : 0;
    if (c->wall == 0) return;
    if (json)
        printf("{\"section\":\"%s\",\"engine\":\"%s\",\"wall\":%.6f,\"cpu\":%.6f,"
               "\"bytes_per_second\":%.0f,\"ratio\":%.3f}\n",
               section, engine, c->wall, c->cpu, bytes / c->wall, ratio);
    else {
        printf("  %-34s %8.1f ms  %8.1f ms CPU  %7.0f MB/s", engine, c->wall * 1e3, c->cpu * 1e3,
               bytes / c->wall / 1e6);
        if (ratio > 0) printf("  x%.2f", ratio);
        printf("\n");
    }
    fflush(stdout);
}

static void title(const char *text)
{
    if (!json) printf("%s\n", text);
}

// ---------------------------------------------------------------------------------- content

static size_t collect_file(const char *path, size_t have)
{
    FILE *f = fopen(path, "rb");
    size_t n;
    if (f == NULL) return have;
    n = fread(corpus + have, 1, CORPUS - have, f);
    fclose(f);
    return n > 512 && memchr(corpus + have, 0, n < 4096 ? n : 4096) == NULL ? have + n : have;
}

static size_t collect(const char *path, size_t have, int depth)
{
    char inner[1024];
    struct dirent *e;
    struct stat st;
    DIR *d;
    if (have == CORPUS || depth > 12 || lstat(path, &st) != 0) return have;
    if (S_ISREG(st.st_mode)) return collect_file(path, have);
    if (!S_ISDIR(st.st_mode) || (d = opendir(path)) == NULL) return have;
    while ((e = readdir(d)) != NULL && have < CORPUS)
        if (e->d_name[0] != '.' &&
            snprintf(inner, sizeof inner, "%s/%s", path, e->d_name) < (int)sizeof inner)
            have = collect(inner, have, depth + 1);
    closedir(d);
    return have;
}

static void make_corpus(void)
{
    static const char *const places[] = {"/usr/include", "/usr/share/doc", "/usr/share", "/usr/lib",
                                         "/usr/src"};
    size_t have = 0, i;
    corpus = (unsigned char *)malloc(CORPUS);
    require(corpus != NULL, "memory");
    for (i = 0; i < sizeof places / sizeof places[0]; i++) have = collect(places[i], have, 0);
    require(have != 0, "text of this system");
    for (i = have; i < CORPUS; i++) corpus[i] = corpus[i - have];
}

/* Is this what lies at `at` of the content? */
static int is_content(const unsigned char *p, size_t n, uint64_t at)
{
    while (n != 0) {
        size_t from = (size_t)(at % CORPUS), k = CORPUS - from < n ? CORPUS - from : n;
        if (memcmp(p, corpus + from, k) != 0) return 0;
        p += k;
        at += k;
        n -= k;
    }
    return 1;
}

static posio_result content_read(void *self, uint64_t at, void *buf, size_t n, posio_error *err)
{
    unsigned char *p = (unsigned char *)buf;
    (void)self;
    (void)err;
    while (n != 0) {
        size_t from = (size_t)(at % CORPUS), k = CORPUS - from < n ? CORPUS - from : n;
        memcpy(p, corpus + from, k);
        p += k;
        at += k;
        n -= k;
    }
    return POSIO_OK;
}

/* ------------------------------------------------------------------ batches */

typedef struct batch {
    zstd_par_item *items;
    size_t count, bytes;
    uint64_t *at; /* of each frame in the corpus */
    zstd_par_desc desc;
    ZSTD_DCtx *loop;
    uint32_t times;
} batch;

static int check_batch(const batch *b)
{
    size_t i;
    for (i = 0; i < b->count; i++)
        if (b->items[i].produced == 0 ||
            !is_content((unsigned char *)b->items[i].dst, b->items[i].produced, b->at[i]))
            return 1;
    return 0;
}

static int batch_loop(void *user)
{
    batch *b = (batch *)user;
    uint32_t k;
    size_t i;
    for (k = 0; k < b->times; k++)
        for (i = 0; i < b->count; i++) {
            zstd_par_item *t = &b->items[i];
            t->produced = ZSTD_decompressDCtx(b->loop, t->dst, t->capacity, t->src, t->size);
            if (ZSTD_isError(t->produced)) return 1;
        }
    return 0;
}

static int batch_ours(void *user)
{
    batch *b = (batch *)user;
    uint32_t k;
    for (k = 0; k < b->times; k++)
        if (zstd_par_decompress_batch(b->items, b->count, &b->desc, NULL) != POSIO_OK) return 1;
    return 0;
}

/* count frames of least to most bytes. */
static void make_batch(batch *b, size_t count, size_t least, size_t most)
{
    uint64_t seed = 88172645463325252u;
    ZSTD_CCtx *c = ZSTD_createCCtx();
    size_t i;
    memset(b, 0, sizeof *b);
    b->items = (zstd_par_item *)calloc(count, sizeof *b->items);
    b->at = (uint64_t *)calloc(count, sizeof *b->at);
    b->loop = ZSTD_createDCtx();
    b->count = count;
    b->times = 1;
    require(b->items != NULL && b->at != NULL && b->loop != NULL && c != NULL, "memory");
    for (i = 0; i < count; i++) {
        zstd_par_item *t = &b->items[i];
        size_t n, bound;
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        n = least + (size_t)(seed >> 33) % (most - least + 1);
        bound = ZSTD_compressBound(n);
        b->at[i] = (seed >> 20) % (CORPUS - most);
        void *packed = malloc(bound);
        t->dst = calloc(1, n);
        t->capacity = n;
        require(packed != NULL && t->dst != NULL, "memory");
        t->size = ZSTD_compressCCtx(c, packed, bound, corpus + b->at[i], n, 3);
        t->src = realloc(packed, t->size);
        b->bytes += n;
    }
    ZSTD_freeCCtx(c);
    require(zstd_par_codec_create(&b->desc.codec, NULL, NULL) == POSIO_OK, "codec");
}

static void free_batch(batch *b)
{
    size_t i;
    for (i = 0; i < b->count; i++) {
        free((void *)(uintptr_t)b->items[i].src);
        free(b->items[i].dst);
    }
    free(b->items);
    free(b->at);
    ZSTD_freeDCtx(b->loop);
    zstd_par_codec_destroy(b->desc.codec);
}

static void bench_batch(void)
{
    cost loop = {0, 0, 0}, one = {0, 0, 0}, both = {0, 0, 0};
    batch b;
    uint32_t r;
    make_batch(&b, FRAMES, 4096, 65536);
    title("batch: 10,000 frames of 4 to 64 KiB");
    for (r = 0; r < rounds; r++) {
        take(&loop, batch_loop, &b, "loop");
        if (check_batch(&b)) complain("loop", "wrong bytes");
        b.desc.pool = NULL;
        take(&one, batch_ours, &b, "batch, 1 thread");
        b.desc.pool = two;
        take(&both, batch_ours, &b, "batch, 2 threads");
        if (check_batch(&b)) complain("batch", "wrong bytes");
    }
    report("batch", "loop of ZSTD_decompressDCtx", &loop, (double)b.bytes, NULL);
    report("batch", "zstd_par, 1 thread", &one, (double)b.bytes, &loop);
    report("batch", "zstd_par, 2 threads", &both, (double)b.bytes, &loop);
    free_batch(&b);
}

static void bench_small(void)
{
    static const size_t counts[] = {1, 4, 16, 64, 256, 1000}, sizes[] = {1024, 4096, 16384};
    size_t i, k;
    title("small batches, 2 threads, against the loop (ratios of the best runs)");
    for (k = 0; k < 3; k++)
        for (i = 0; i < 6; i++) {
            cost loop = {0, 0, 0}, ours = {0, 0, 0};
            char name[64];
            batch b;
            uint32_t r;
            make_batch(&b, counts[i], sizes[k], sizes[k]);
            b.desc.pool = two;
            b.times = (uint32_t)(3000000 / (counts[i] * sizes[k])) + 1;
            for (r = 0; r < rounds * 3; r++) {
                take(&loop, batch_loop, &b, "loop");
                take(&ours, batch_ours, &b, "small batch");
            }
            if (check_batch(&b)) complain("small batch", "wrong bytes");
            snprintf(name, sizeof name, "%zu frames of %zu KiB", counts[i], sizes[k] / 1024);
            report("small", name, &ours, (double)(b.bytes * b.times), &loop);
            free_batch(&b);
        }
}

// ---------------------------------------------------------------------------------- one buffer

typedef struct blob {
    unsigned char *p;
    size_t n, room;
} blob;

static posio_result blob_write(void *self, const void *p, size_t n, posio_error *err)
{
    blob *b = (blob *)self;
    if (b->n + n > b->room) return posio_fail(err, POSIO_E_SPACE, b->n, "the blob is full");
    memcpy(b->p + b->n, p, n);
    b->n += n;
    return POSIO_OK;
}

static int save(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    size_t done;
    if (f == NULL) return 0;
    done = fwrite(p, 1, n, f);
    return fclose(f) == 0 && done == n;
}

typedef struct whole {
    blob packed;
    unsigned char *dst;
    size_t size;
    zstd_par_desc desc;
    ZSTD_DCtx *loop;
} whole;

static int memory_libzstd(void *user)
{
    whole *w = (whole *)user;
    return ZSTD_decompressDCtx(w->loop, w->dst, w->size, w->packed.p, w->packed.n) != w->size;
}

static int memory_ours(void *user)
{
    whole *w = (whole *)user;
    size_t made = 0;
    return zstd_par_decompress(w->packed.p, w->packed.n, w->dst, w->size, &made, &w->desc, NULL) !=
               POSIO_OK ||
           made != w->size;
}

static void make_whole(whole *w)
{
    posio_source source;
    posio_sink sink;
    zstd_par_desc desc;
    memset(w, 0, sizeof *w);
    w->size = mib << 20;
    w->packed.room = w->size / 2 + (64 << 20);
    w->packed.p = (unsigned char *)malloc(w->packed.room);
    w->dst = (unsigned char *)malloc(w->size);
    w->loop = ZSTD_createDCtx();
    require(w->packed.p != NULL && w->dst != NULL && w->loop != NULL, "memory");
    (void)content_read(NULL, 0, w->dst, w->size, NULL);
    memset(&source, 0, sizeof source);
    memset(&desc, 0, sizeof desc);
    source.size = w->size;
    source.read_at = content_read;
    sink.write = blob_write;
    sink.hole = NULL;
    sink.self = &w->packed;
    desc.pool = two;
    require(zstd_par_compress_source(&source, &sink, &desc, NULL, NULL) == POSIO_OK, "compress");
    require(save(path_ours, w->packed.p, w->packed.n), path_ours);
}

static void bench_memory(whole *w)
{
    cost lib = {0, 0, 0}, one = {0, 0, 0}, both = {0, 0, 0};
    uint32_t r;
    title("memory to memory, frames of 8 MiB");
    for (r = 0; r < rounds; r++) {
        take(&lib, memory_libzstd, w, "ZSTD_decompressDCtx");
        if (!is_content(w->dst, w->size, 0)) complain("libzstd", "wrong bytes");
        memset(w->dst, 0, w->size);
        w->desc.pool = NULL;
        take(&one, memory_ours, w, "zstd_par, 1 thread");
        w->desc.pool = two;
        take(&both, memory_ours, w, "zstd_par, 2 threads");
        if (!is_content(w->dst, w->size, 0)) complain("zstd_par", "wrong bytes");
    }
    report("memory", "ZSTD_decompressDCtx", &lib, (double)w->size, NULL);
    report("memory", "zstd_par, 1 thread", &one, (double)w->size, &lib);
    report("memory", "zstd_par, 2 threads", &both, (double)w->size, &lib);
}

// ---------------------------------------------------------------------------------- files

static int exec_quietly(void *user)
{
    char *const *argv = (char *const *)user;
    int nowhere = open("/dev/null", O_WRONLY | O_APPEND);
    if (nowhere >= 0) {
        dup2(nowhere, 1);
        dup2(nowhere, 2);
    }
    execvp(argv[0], argv);
    return 127;
}

/* What a child is started for: a process of its own, as the peers are. */
static int file_ours(const char *from, const char *to)
{
    posio_file *in = NULL;
    posio_file_sink *out = NULL;
    posio_file_sink_desc file;
    posio_source source;
    posio_sink sink;
    zstd_par_desc desc;
    int ok;
    memset(&file, 0, sizeof file);
    memset(&desc, 0, sizeof desc);
    file.flags = POSIO_SINK_FORCE | POSIO_SINK_NO_SYNC;
    desc.pool = thread_pool_create(2);
    ok = posio_file_open(&in, from, NULL, NULL) == POSIO_OK &&
         posio_file_sink_open(&out, to, &file, NULL) == POSIO_OK;
    if (ok) {
        source = posio_file_source(in);
        sink = posio_file_sink_sink(out);
        ok = zstd_par_decompress_sink(&source, &sink, &desc, NULL, NULL) == POSIO_OK &&
             posio_file_sink_finish(out, NULL) == POSIO_OK;
    }
    posio_file_sink_close(out);
    posio_file_close(in);
    (void)thread_pool_destroy(desc.pool);
    return !ok;
}

static int check_out(void *user)
{
    const whole *w = (const whole *)user;
    unsigned char *buf = (unsigned char *)malloc(MIB);
    int f = open(path_out, O_RDONLY);
    uint64_t at = 0;
    ssize_t n;
    if (buf == NULL || f < 0) return 1;
    while ((n = read(f, buf, MIB)) > 0) {
        if (!is_content(buf, (size_t)n, at)) return 1;
        at += (uint64_t)n;
    }
    return at != w->size;
}

static void check_file(whole *w, const char *name)
{
    cost c = {0, 0, 0};
    take_child(&c, check_out, w, name);
    (void)unlink(path_out); /* every engine makes the file anew */
}

static void bench_file(whole *w, int have_zstd, int have_pzstd)
{
    cost zstd = {0, 0, 0}, pzstd = {0, 0, 0}, theirs = {0, 0, 0}, ours = {0, 0, 0};
    const char *z[] = {"zstd", "-d", "-q", "-f", path_pzstd, "-o", path_out, NULL};
    const char *p[] = {"pzstd", "-d", "-q", "-f", "-p", "2", path_pzstd, "-o", path_out, NULL};
    const char *mine[] = {"/proc/self/exe", "--decompress", path_ours, path_out, NULL};
    cost ignored = {0, 0, 0};
    uint32_t r;
    title("file to file, frames of 8 MiB, output not synced; ratios to pzstd");
    if (have_pzstd) {
        const char *make[] = {"pzstd", "-q", "-f", "-p", "2", path_out, "-o", path_pzstd, NULL};
        require(save(path_out, w->dst, w->size), path_out);
        take_child(&ignored, exec_quietly, (void *)(uintptr_t)make, "pzstd");
        (void)unlink(path_out);
    } else z[4] = path_ours;
    for (r = 0; r < rounds; r++) {
        if (have_zstd) {
            take_child(&zstd, exec_quietly, (void *)(uintptr_t)z, "zstd -d");
            check_file(w, "zstd -d");
        }
        if (have_pzstd) {
            take_child(&pzstd, exec_quietly, (void *)(uintptr_t)p, "pzstd -d -p 2");
            check_file(w, "pzstd -d");
            mine[2] = path_pzstd;
            take_child(&theirs, exec_quietly, (void *)(uintptr_t)mine, "zstd_par, pzstd's file");
            check_file(w, "zstd_par, pzstd's file");
        }
        mine[2] = path_ours;
        take_child(&ours, exec_quietly, (void *)(uintptr_t)mine, "zstd_par, our file");
        check_file(w, "zstd_par, our file");
    }
    report("file", "zstd -d", &zstd, (double)w->size, pzstd.wall > 0 ? &pzstd : NULL);
    report("file", "pzstd -d -p 2", &pzstd, (double)w->size, NULL);
    report("file", "zstd_par, 2 threads, pzstd's file", &theirs, (double)w->size, &pzstd);
    report("file", "zstd_par, 2 threads, our file", &ours, (double)w->size,
           pzstd.wall > 0  ? &pzstd
           : zstd.wall > 0 ? &zstd
                           : NULL);
}

// ---------------------------------------------------------------------------------- the walk

static void bench_walk(const whole *w)
{
    posio_memory m;
    posio_source source;
    zstd_par_desc desc;
    posio_file *file = NULL;
    uint32_t r, kind;
    title("header walk, cold caches");
    for (kind = 0; kind < 2; kind++) {
        double best = 0;
        uint64_t blocks = 0;
        m.data = w->packed.p;
        m.size = w->packed.n;
        source = posio_memory_source(&m);
        if (kind == 1) {
            if (posio_file_open(&file, path_ours, NULL, NULL) != POSIO_OK) return;
            source = posio_file_source(file);
        }
        memset(&desc, 0, sizeof desc);
        desc.flags = ZSTD_PAR_WALK;
        for (r = 0; r < rounds; r++) {
            zstd_par_index *x = NULL;
            double begin, t;
            size_t i, sum = 0;
            for (i = 0; i < w->size; i += 64) sum += w->dst[i]; /* which takes the caches */
            begin = now() + (sum == 1 ? 1e-9 : 0);
            if (zstd_par_index_open(&x, &source, &desc, NULL) != POSIO_OK) {
                complain("walk", "failed");
                return;
            }
            t = now() - begin;
            blocks = zstd_par_index_info(x)->blocks;
            if (zstd_par_index_info(x)->content_size != w->size) complain("walk", "wrong size");
            if (best == 0 || t < best) best = t;
            zstd_par_index_close(x);
        }
        if (json)
            printf("{\"section\":\"walk\",\"engine\":\"%s\",\"wall\":%.6f,\"blocks\":%llu,"
                   "\"ns_per_block\":%.1f}\n",
                   kind ? "file" : "memory", best, (unsigned long long)blocks,
                   best * 1e9 / (double)blocks);
        else
            printf("  %-34s %8.3f ms  %llu blocks  %.0f ns a block\n",
                   kind ? "file, in the page cache" : "memory", best * 1e3,
                   (unsigned long long)blocks, best * 1e9 / (double)blocks);
    }
    posio_file_close(file);
}

// ---------------------------------------------------------------------------------- random

/* 10 GiB that compress to little: of every MiB 16 KiB are text, the rest repeats 4 KiB of it. */
static void sparse_page(uint64_t page, unsigned char out[4096])
{
    uint64_t of = page % 256, mega = page / 256;
    size_t at = (size_t)((mega * 16384 + (of < 4 ? of * 4096 : 0)) % (CORPUS - 4096));
    memcpy(out, corpus + at, 4096);
    memcpy(out, &page, sizeof page);
}

static posio_result sparse_read(void *self, uint64_t at, void *buf, size_t n, posio_error *err)
{
    unsigned char *p = (unsigned char *)buf, page[4096];
    (void)self;
    (void)err;
    while (n != 0) {
        size_t from = (size_t)(at % 4096), k = 4096 - from < n ? 4096 - from : n;
        if (k == 4096) sparse_page(at / 4096, p);
        else {
            sparse_page(at / 4096, page);
            memcpy(p, page + from, k);
        }
        p += k;
        at += k;
        n -= k;
    }
    return POSIO_OK;
}

static int make_large(void *user)
{
    thread_pool *pool = thread_pool_create(2);
    posio_file_sink *out = NULL;
    posio_file_sink_desc file;
    posio_source source;
    posio_sink sink;
    zstd_par_desc desc;
    int ok;
    (void)user;
    memset(&file, 0, sizeof file);
    memset(&source, 0, sizeof source);
    memset(&desc, 0, sizeof desc);
    file.flags = POSIO_SINK_FORCE | POSIO_SINK_NO_SYNC;
    source.size = (uint64_t)gib << 30;
    source.read_at = sparse_read;
    desc.level = 1;
    desc.pool = pool;
    ok = posio_file_sink_open(&out, path_large, &file, NULL) == POSIO_OK;
    if (ok) {
        sink = posio_file_sink_sink(out);
        ok = zstd_par_compress_source(&source, &sink, &desc, NULL, NULL) == POSIO_OK &&
             posio_file_sink_finish(out, NULL) == POSIO_OK;
    }
    posio_file_sink_close(out);
    (void)thread_pool_destroy(pool);
    return !ok;
}

enum { READS = 600 };

typedef struct reader {
    zstd_par *file;
    uint32_t bad; /* atomic */
} reader;

static posio_result read_some(void *user, uint32_t part, posio_error *err)
{
    reader *r = (reader *)user;
    uint64_t seed = 12345 + part;
    unsigned char got[4096], want[4096];
    int i;
    for (i = 0; i < READS / 2; i++) {
        uint64_t at;
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        at = (seed >> 11) % (((uint64_t)gib << 30) - 4096);
        (void)sparse_read(NULL, at, want, sizeof want, NULL);
        if (zstd_par_read_at(r->file, at, got, sizeof got, err) != POSIO_OK ||
            memcmp(got, want, sizeof got) != 0)
            (void)posio_atomic_add(&r->bad, 1);
    }
    return POSIO_OK;
}

static int read_large(void *user)
{
    thread_pool *pool = *(const uint32_t *)user == 2 ? thread_pool_create(2) : NULL;
    reader r;
    memset(&r, 0, sizeof r);
    if (zstd_par_open(&r.file, path_large, NULL, NULL) != POSIO_OK) return 1;
    (void)thread_pool_parallel_for(pool, 2, read_some, &r, NULL);
    zstd_par_close(r.file);
    (void)thread_pool_destroy(pool);
    return r.bad != 0;
}

static void bench_random(void)
{
    cost made = {0, 0, 0}, c[2] = {{0, 0, 0}, {0, 0, 0}};
    uint32_t r, threads;
    struct stat st;
    title("random reads of 4 KiB, a seekable file in frames of 4 MiB; a process each");
    take_child(&made, make_large, NULL, "zstd_par_compress");
    if (stat(path_large, &st) != 0) return;
    report("random", "made by zstd_par_compress, level 1", &made, (double)gib * (1 << 30), NULL);
    for (r = 0; r < 3; r++)
        for (threads = 1; threads <= 2; threads++)
            take_child(&c[threads - 1], read_large, &threads, "random reads");
    for (threads = 1; threads <= 2; threads++) {
        const cost *t = &c[threads - 1];
        if (t->wall == 0) continue;
        if (json)
            printf("{\"section\":\"random\",\"engine\":\"zstd_par\",\"threads\":%u,"
                   "\"reads_per_second\":%.0f,\"cpu_per_read\":%.6f,\"peak_mib\":%.1f,"
                   "\"file_size\":%llu}\n",
                   threads, READS / t->wall, t->cpu / READS, t->mib,
                   (unsigned long long)st.st_size);
        else
            printf("  %u thread%s: %.0f reads/s, %.2f ms of CPU each, peak %.0f MiB, "
                   "file %.1f MiB\n",
                   threads, threads == 1 ? " " : "s", READS / t->wall, t->cpu / READS * 1e3, t->mib,
                   (double)st.st_size / MIB);
    }
    (void)unlink(path_large);
}

// ---------------------------------------------------------------------------------- their data

static char cache[300]; /* what is kept from run to run */

/* Files of this system that differ, one behind the other. */
typedef struct collection {
    unsigned char *p;
    size_t n, room, slice; /* at most so much of each file */
    uint64_t seen[1 << 16];
    size_t count;
    int programs; /* ELF files; else text */
} collection;

static void collect_unique(collection *c, const char *path)
{
    FILE *f = fopen(path, "rb");
    unsigned char *p = c->p + c->n;
    size_t n, most = c->room - c->n < c->slice ? c->room - c->n : c->slice, i;
    uint64_t hash;
    if (f == NULL) return;
    n = fread(p, 1, most, f);
    fclose(f);
    if (n < 512 || c->count == sizeof c->seen / sizeof c->seen[0]) return;
    if (c->programs ? memcmp(p, "\177ELF", 4) != 0 : memchr(p, 0, n < 4096 ? n : 4096) != NULL)
        return;
    hash = digest_xxh64(p, n, 0);
    for (i = 0; i < c->count; i++)
        if (c->seen[i] == hash) return;
    c->seen[c->count++] = hash;
    c->n += n;
}

/* In the order of names, so that it is the same each time. */
static void collect_below(collection *c, const char *path, int depth)
{
    struct dirent **list = NULL;
    char inner[1024];
    struct stat st;
    int i, n;
    if (c->n == c->room || depth > 12 || lstat(path, &st) != 0) return;
    if (S_ISREG(st.st_mode)) collect_unique(c, path);
    if (!S_ISDIR(st.st_mode) || (n = scandir(path, &list, NULL, alphasort)) < 0) return;
    for (i = 0; i < n; i++) {
        if (list[i]->d_name[0] != '.' &&
            snprintf(inner, sizeof inner, "%s/%s", path, list[i]->d_name) < (int)sizeof inner)
            collect_below(c, inner, depth + 1);
        free(list[i]);
    }
    free(list);
}

static size_t make_files(int programs, unsigned char *p, size_t room)
{
    static const char *const texts[] = {"/usr/include", "/usr/lib/python3", "/usr/share", NULL};
    static const char *const binaries[] = {"/usr/bin", "/usr/lib", NULL};
    const char *const *place = programs ? binaries : texts;
    collection *c = (collection *)calloc(1, sizeof *c);
    size_t n;
    require(c != NULL, "memory");
    c->p = p;
    c->room = room;
    c->programs = programs;
    c->slice = programs ? 1 << 20 : 256 << 10;
    for (; *place != NULL; place++) collect_below(c, *place, 0);
    n = c->n;
    free(c);
    return n;
}

/* Writes pieces of p as files of 1 KiB to 1 MiB. */
static void spread(const char *dir, const char *stem, const unsigned char *p, size_t n)
{
    char path[400];
    size_t i, k, number = 0;
    for (i = 0; i < n; i += k) {
        k = (size_t)1024 << number % 11;
        if (k > n - i) k = n - i;
        snprintf(path, sizeof path, "%s/%s%zu", dir, stem, number++);
        require(save(path, p + i, k), path);
    }
}

static size_t load(const char *path, unsigned char *p, size_t room)
{
    FILE *f = fopen(path, "rb");
    size_t n;
    if (f == NULL) return 0;
    n = fread(p, 1, room, f);
    fclose(f);
    return n;
}

/* An ext4 image, two thirds of it files: half text, half programs, a little noise. 0: no mkfs. */
static size_t make_disk(unsigned char *p, size_t room)
{
    char dir[320], line[1000], image[320];
    size_t third = room / 3, n, i;
    uint64_t seed = 1;
    snprintf(dir, sizeof dir, "%s/disk", folder);
    snprintf(image, sizeof image, "%s/disk.img", folder);
    require(mkdir(dir, 0700) == 0, dir);
    n = make_files(0, p, third - room / 24);
    spread(dir, "text", p, n);
    n = make_files(1, p, third - room / 24);
    spread(dir, "program", p, n);
    for (i = 0; i < room / 16; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        p[i] = (unsigned char)(seed >> 56);
    }
    spread(dir, "noise", p, room / 16);
    snprintf(line, sizeof line,
             "PATH=$PATH:/usr/sbin:/sbin; mkfs.ext4 -q -F -d %s %s %zuK "
             "> /dev/null 2>&1", dir, image,
             room / 1024);
    n = system(line) == 0 ? load(image, p, room) : 0;
    snprintf(line, sizeof line, "rm -rf %s %s", dir, image);
    if (system(line) != 0) complain(dir, "cannot be removed");
    return n;
}

static size_t make_block_data(int kind, unsigned char *p)
{
    static const char *const names[] = {"text", "binaries", "disk"};
    const size_t room = block_mib << 20;
    char path[400];
    size_t n;
    snprintf(path, sizeof path, "%s/%s-%zu", cache, names[kind], block_mib);
    if ((n = load(path, p, room)) != 0) return n;
    n = kind == 2 ? make_disk(p, room) : make_files(kind, p, room);
    if (n != 0 && n < room && !json) printf("  (%s: only %zu MiB)\n", names[kind], n >> 20);
    require(n == 0 || save(path, p, n), path);
    return n;
}

// ---------------------------------------------------------------------------------- blocks

typedef struct block_level {
    const char *name;
    int level, window_log; /* 0 = the level's */
} block_level;

/* One frame with a size and a checksum, as `zstd -T2` makes it. */
static size_t compress_one(const whole *w, const unsigned char *data, const block_level *l)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    size_t n;
    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, l->level);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    ZSTD_CCtx_setParameter(c, ZSTD_c_nbWorkers, 2); /* where it was built with them */
    if (l->window_log != 0) {
        ZSTD_CCtx_setParameter(c, ZSTD_c_enableLongDistanceMatching, 1);
        ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, l->window_log);
    }
    n = ZSTD_compress2(c, w->packed.p, w->packed.room, data, w->size);
    require(!ZSTD_isError(n), "compress");
    ZSTD_freeCCtx(c);
    return n;
}

static void pack_blocks(whole *w, const unsigned char *data, int kind, const block_level *l)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%d-%zu-%d-%d.zst", cache, kind, block_mib, l->level,
             l->window_log);
    w->packed.n = load(path, w->packed.p, w->packed.room);
    if (w->packed.n != 0 &&
        ZSTD_decompressDCtx(w->loop, w->dst, w->size, w->packed.p, w->packed.n) == w->size &&
        memcmp(w->dst, data, w->size) == 0)
        return;
    w->packed.n = compress_one(w, data, l);
    require(save(path, w->packed.p, w->packed.n), path);
}

/* What the library itself takes at most. */
typedef struct ledger {
    uint32_t now, most; /* atomic */
} ledger;

static void *ledger_alloc(size_t n, void *user)
{
    ledger *l = (ledger *)user;
    unsigned char *p = (unsigned char *)malloc(n + 64);
    uint32_t bytes;
    if (p == NULL) return NULL;
    memcpy(p, &n, sizeof n);
    bytes = posio_atomic_add(&l->now, (uint32_t)n) + (uint32_t)n;
    if (bytes > posio_atomic_load(&l->most)) posio_atomic_store(&l->most, bytes);
    return p + 64;
}

static void ledger_free(void *block, void *user)
{
    unsigned char *p = (unsigned char *)block;
    size_t n;
    if (p == NULL) return;
    memcpy(&n, p - 64, sizeof n);
    (void)posio_atomic_add(&((ledger *)user)->now, 0 - (uint32_t)n);
    free(p - 64);
}

enum { AUTO_1, BLOCK_1, AUTO_2, BLOCK_2, BLOCK_8, BLOCK_WAYS };
static const char *const block_ways[] = {"auto, 1 thread", "blocks, 1 thread", "auto, 2 threads",
                                         "blocks, 2 threads", "blocks, 8 threads"};

/* What libzstd takes as a multiple of ours, by the clock and of CPU; of several files. */
typedef struct block_sum {
    double worst, wall, cpu; /* the worst, sums */
    int files;
} block_sum;

static void add_ratio(block_sum *s, const cost *lib, const cost *ours)
{
    double ratio = ours->wall > 0 ? lib->wall / ours->wall : 0;
    if (s->files == 0 || ratio < s->worst) s->worst = ratio;
    s->wall += ratio;
    s->cpu += ours->cpu > 0 ? lib->cpu / ours->cpu : 0;
    s->files++;
}

// ---------------------------------------------------------------------------------- work and span

/* What a block costs, in seconds: to be decoded, which any thread can do at any time, and what must
   follow the order of the blocks: to be executed, and then to be hashed. */
typedef struct block_cost {
    double decode, execute, hash;
} block_cost;

typedef struct costs {
    block_cost *block;
    size_t count, room;
} costs;

/* Bytes of a frame header. Source: RFC 8878, 3.1.1.1. */
static size_t header_size(const unsigned char *p)
{
    static const size_t dictionary[] = {0, 1, 2, 4}, content[] = {0, 2, 4, 8};
    const unsigned d = p[4], single = d >> 5 & 1;
    return 6 - single + dictionary[d & 3] + (d >> 6 == 0 ? single : content[d >> 6]);
}

static void keep_least(double *best, double t)
{
    if (*best == 0 || t < *best) *best = t;
}

/* One round of all blocks, one after the other on this thread; 0, or 1 when one does not fit. */
static int measure_blocks(const whole *w, uint64_t window, costs *c)
{
    static zstd_block decoder;
    static unsigned char literals[ZSTD_BLOCK_MAX + ZSTD_BLOCK_SLACK];
    static uint64_t sequences[ZSTD_BLOCK_SEQUENCES];
    const unsigned char *p = w->packed.p + header_size(w->packed.p);
    unsigned char *out = w->dst, *end = w->dst + w->size;
    uint32_t repeats[3] = {1, 4, 8}, head;
    zstd_block_names names;
    zstd_block_begin(&decoder);
    zstd_block_begin_frame(&names);
    c->count = 0;
    do {
        double begin = now(), decoded = begin, executed;
        size_t size, stored;
        block_cost *b;
        head = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
        size = head >> 3;
        stored = (head >> 1 & 3) == 1 ? 1 : size;
        p += 3;
        if ((head >> 1 & 3) == 2) {
            zstd_block_head h;
            zstd_block_decoded d;
            if (!zstd_block_look(p, size, ZSTD_BLOCK_MAX, &h) ||
                !zstd_block_name(&names, p, size, c->count + 1, &h) ||
                !zstd_block_decode(&decoder, p, size, &h, &names, ZSTD_BLOCK_MAX, literals,
                                   sequences, &d))
                return 1;
            decoded = now();
            if (!zstd_block_resolve(&d, sequences, repeats) ||
                !zstd_block_execute(&d, sequences, w->dst, out, end, window))
                return 1;
            size = d.size;
        } else if (size > (size_t)(end - out)) {
            return 1;
        } else if (stored == size) {
            memcpy(out, p, size);
        } else {
            memset(out, *p, size);
        }
        executed = now();
        require(digest_xxh64(out, size, 0) != 1, "a hash"); /* (it is used) */
        if (c->count == c->room) {
            c->room = c->room * 2 + 1024;
            c->block = (block_cost *)realloc(c->block, c->room * sizeof *c->block);
            require(c->block != NULL, "memory");
            memset(c->block + c->count, 0, (c->room - c->count) * sizeof *c->block);
        }
        b = &c->block[c->count++];
        keep_least(&b->decode, decoded - begin);
        keep_least(&b->execute, executed - decoded);
        keep_least(&b->hash, now() - executed);
        out += size;
        p += stored;
    } while (!(head & 1));
    return out != end;
}

/* How long that takes on so many threads, each of which does what is furthest behind: executes the
   next block in order, hashes the next, decodes one more (16 are in flight); else it waits for what
   ends next. */
static double schedule(const costs *c, uint32_t threads)
{
    enum { FLIGHT = 16 };
    double free_at[16] = {0}, execute_free = 0, hash_free = 0, end = 0;
    double *decoded = (double *)calloc(c->count, 3 * sizeof *decoded);
    double *executed = decoded + c->count, *hashed = executed + c->count;
    size_t next = 0, execute = 0, hash = 0;
    require(decoded != NULL, "memory");
    while (hash < c->count) {
        uint32_t t = 0, i;
        double at, later = 1e9;
        for (i = 1; i < threads; i++)
            if (free_at[i] < free_at[t]) t = i;
        at = free_at[t];
        if (execute < next && decoded[execute] <= at && execute_free <= at) {
            free_at[t] = execute_free = executed[execute] = at + c->block[execute].execute;
            execute++;
        } else if (hash < execute && executed[hash] <= at && hash_free <= at) {
            free_at[t] = hash_free = hashed[hash] = end = at + c->block[hash].hash;
            hash++;
        } else if (next < c->count &&
                   (next < FLIGHT || (next - FLIGHT < hash && hashed[next - FLIGHT] <= at))) {
            free_at[t] = decoded[next] = at + c->block[next].decode;
            next++;
        } else {
            for (i = 0; i < threads; i++)
                if (free_at[i] > at && free_at[i] < later) later = free_at[i];
            require(later < 1e9, "a schedule");
            free_at[t] = later;
        }
    }
    free(decoded);
    return end;
}

/* Predicts what more threads than there are here would gain, from the costs of single blocks. */
static void predict(const whole *w, const unsigned char *data, const char *name, const cost *lib)
{
    static const uint32_t threads[] = {1, 2, 4, 8, 16};
    costs c = {NULL, 0, 0};
    double decode = 0, execute = 0, hash = 0;
    posio_memory memory;
    zstd_par_index *index = NULL;
    zstd_par_frame f;
    posio_source source;
    uint32_t r;
    size_t i;
    memory.data = w->packed.p;
    memory.size = w->packed.n;
    source = posio_memory_source(&memory);
    require(zstd_par_index_open(&index, &source, NULL, NULL) == POSIO_OK &&
                zstd_par_index_get(index, 0, &f) == POSIO_OK,
            name);
    for (r = 0; r < rounds; r++)
        if (measure_blocks(w, f.window, &c) != 0 || memcmp(w->dst, data, w->size) != 0)
            complain(name, "blocks one by one: wrong bytes");
    for (i = 0; i < c.count; i++) {
        decode += c.block[i].decode;
        execute += c.block[i].execute;
        hash += c.block[i].hash;
    }
    printf(json ? "{\"section\":\"blocks\",\"prediction\":\"%s\",\"decode\":%.6f,\"execute\":%.6f,"
                  "\"hash\":%.6f,\"threads\":{"
                : "    %s: %.1f ms of decoding, %.1f of executing, %.1f of hashing; by threads:\n"
                  "     ",
           json ? name : "predicted", decode * (json ? 1 : 1e3), execute * (json ? 1 : 1e3),
           hash * (json ? 1 : 1e3));
    for (i = 0; i < sizeof threads / sizeof threads[0]; i++)
        printf(json ? "%s\"%u\":%.3f" : "%s %2u: x%.2f", i == 0 ? "" : json ? "," : "   ",
               (unsigned)threads[i], lib->wall / schedule(&c, threads[i]));
    printf(json ? "}}\n" : "\n");
    zstd_par_index_close(index);
    free(c.block);
}

/* Takes turns; what comes out is added to `sum`, unless that is NULL. */
static void bench_one_frame(whole *w, const unsigned char *data, const char *name,
                            thread_pool *eight, block_sum *sum)
{
    cost lib = {0, 0, 0}, ours[BLOCK_WAYS];
    char line[120];
    ledger l = {0, 0};
    uint32_t r;
    int i;
    memset(ours, 0, sizeof ours);
    for (r = 0; r < rounds; r++) {
        take(&lib, memory_libzstd, w, "ZSTD_decompressDCtx");
        for (i = 0; i < BLOCK_WAYS; i++) {
            size_t at;
            for (at = 0; at < w->size; at += 4096) w->dst[at] ^= 0x55;
            memset(&w->desc, 0, sizeof w->desc);
            w->desc.mode = i == AUTO_1 || i == AUTO_2 ? ZSTD_PAR_AUTO : ZSTD_PAR_BLOCK;
            w->desc.pool = i == AUTO_1 || i == BLOCK_1 ? NULL : i == BLOCK_8 ? eight : two;
            take(&ours[i], memory_ours, w, block_ways[i]);
            if (memcmp(w->dst, data, w->size) != 0) complain(block_ways[i], "wrong bytes");
        }
    }
    w->desc.mode = ZSTD_PAR_BLOCK;
    w->desc.pool = two;
    w->desc.alloc.alloc_fn = ledger_alloc;
    w->desc.alloc.free_fn = ledger_free;
    w->desc.alloc.user = &l;
    if (memory_ours(w) != 0) complain(name, "fails when memory is counted");
    if (!json)
        printf("  %s: %.1f to 1, %.1f MiB of memory with 2 threads\n", name,
               (double)w->size / (double)w->packed.n, (double)l.most / MIB);
    for (i = -1; i < BLOCK_WAYS; i++) {
        snprintf(line, sizeof line, "%s%s%s", json ? name : "", json ? ": " : "  ",
                 i < 0 ? "ZSTD_decompressDCtx" : block_ways[i]);
        report("blocks", line, i < 0 ? &lib : &ours[i], (double)w->size, i < 0 ? NULL : &lib);
        if (i >= 0 && sum != NULL) add_ratio(&sum[i], &lib, &ours[i]);
    }
    predict(w, data, name, &lib);
}

static void bench_blocks(void)
{
    static const char *const kinds[] = {"text", "binaries", "disk"};
    static const block_level levels[] = {
        {"level 1", 1, 0}, {"level 3", 3, 0}, {"level 19", 19, 0}, {"--long=27", 3, 27}};
    block_sum sum[BLOCK_WAYS];
    thread_pool *eight = thread_pool_create(8);
    const size_t room = block_mib << 20;
    unsigned char *data = (unsigned char *)malloc(room);
    int kind, k, i;
    whole w;
    memset(&w, 0, sizeof w);
    memset(sum, 0, sizeof sum);
    w.packed.room = ZSTD_compressBound(room);
    w.packed.p = (unsigned char *)malloc(w.packed.room);
    w.dst = (unsigned char *)malloc(room);
    w.loop = ZSTD_createDCtx();
    require(data != NULL && w.packed.p != NULL && w.dst != NULL && w.loop != NULL, "memory");
    require(mkdir(cache, 0700) == 0 || access(cache, W_OK) == 0, cache);
    title("one ordinary frame, memory to memory; ratios to ZSTD_decompressDCtx");
    for (kind = 0; kind < 3; kind++) {
        w.size = make_block_data(kind, data);
        if (w.size == 0) fprintf(stderr, "SKIP: no mkfs.ext4\n");
        for (k = 0; k < 4 && w.size != 0; k++) {
            char name[60];
            snprintf(name, sizeof name, "%s, %s", kinds[kind], levels[k].name);
            pack_blocks(&w, data, kind, &levels[k]);
            bench_one_frame(&w, data, name, eight, levels[k].window_log != 0 ? NULL : sum);
        }
    }
    title("  of the files at levels 1, 3, 19: the worst, the mean; the mean by CPU");
    for (i = 0; i < BLOCK_WAYS && sum[i].files != 0; i++)
        printf(json ? "{\"section\":\"blocks\",\"engine\":\"%s\",\"worst\":%.3f,\"mean\":%.3f,"
                      "\"mean_cpu\":%.3f}\n"
                    : "    %-32s x%.2f  x%.2f  x%.2f\n",
               block_ways[i], sum[i].worst, sum[i].wall / sum[i].files, sum[i].cpu / sum[i].files);
    (void)thread_pool_destroy(eight);
    ZSTD_freeDCtx(w.loop);
    free(w.packed.p);
    free(w.dst);
    free(data);
}

// ---------------------------------------------------------------------------------- main

static void remove_files(void)
{
    (void)unlink(path_ours);
    (void)unlink(path_pzstd);
    (void)unlink(path_out);
    (void)unlink(path_large);
    (void)rmdir(folder);
}

static int have_tool(const char *name)
{
    char line[100];
    snprintf(line, sizeof line, "command -v %s > /dev/null 2>&1", name);
    if (system(line) == 0) return 1;
    fprintf(stderr, "SKIP: %s is not installed\n", name);
    return 0;
}

static int is_wanted(const char *section) { return only == NULL || strcmp(only, section) == 0; }

int main(int argc, char **argv)
{
    const char *tmp = getenv("TMPDIR");
    whole w;
    int i;
    if (argc == 4 && strcmp(argv[1], "--decompress") == 0) return file_ours(argv[2], argv[3]);
    for (i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        size_t n = (size_t)strtoul(value, NULL, 10);
        if (strcmp(argv[i], "--json") == 0) {
            json = 1;
            continue;
        }
        if (n == 0) n = 1;
        if (strcmp(argv[i], "--rounds") == 0) rounds = (uint32_t)n;
        else if (strcmp(argv[i], "--mib") == 0) mib = n;
        else if (strcmp(argv[i], "--gib") == 0) gib = n;
        else if (strcmp(argv[i], "--block-mib") == 0) block_mib = n;
        else if (strcmp(argv[i], "--only") == 0) only = value;
        else {
            fputs("usage: bench_zstd_par [--json] [--rounds N] [--mib N] [--gib N] [--block-mib N] "
                  "[--only NAME]\n",
                  stderr);
            return 2;
        }
        i++;
    }
    snprintf(folder, sizeof folder, "%s/bench_zstd_par.XXXXXX", tmp != NULL ? tmp : "/tmp");
    require(mkdtemp(folder) != NULL, "TMPDIR");
    snprintf(path_ours, sizeof path_ours, "%s/ours.zst", folder);
    snprintf(path_pzstd, sizeof path_pzstd, "%s/pzstd.zst", folder);
    snprintf(path_out, sizeof path_out, "%s/out", folder);
    snprintf(path_large, sizeof path_large, "%s/large.zst", folder);
    snprintf(cache, sizeof cache, "%s/bench_zstd_par.cache", tmp != NULL ? tmp : "/tmp");
    (void)atexit(remove_files);
    if (only == NULL || strcmp(only, "blocks") != 0) make_corpus();
    two = thread_pool_create(2);
    if (is_wanted("random")) bench_random(); /* first: a child's peak begins with our memory */
    if (is_wanted("blocks")) bench_blocks();
    if (is_wanted("batch")) bench_batch();
    if (is_wanted("small")) bench_small();
    if (is_wanted("memory") || is_wanted("file") || is_wanted("walk")) {
        make_whole(&w);
        if (is_wanted("memory")) bench_memory(&w);
        if (is_wanted("file")) bench_file(&w, have_tool("zstd"), have_tool("pzstd"));
        if (is_wanted("walk")) bench_walk(&w);
        free(w.packed.p);
        free(w.dst);
        ZSTD_freeDCtx(w.loop);
    }
    free(corpus);
    (void)thread_pool_destroy(two);
    return bad;
}
