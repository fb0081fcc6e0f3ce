/* bench_ewf_read.c - verify and read an E01 of 1 GiB of media, beside libewf's ewfverify.

       cc -O2 -pthread bench/bench_ewf_read.c -o bench_ewf_read
       bench_ewf_read [--json] [--rounds N] [--mib N] [--verify PROGRAM] [IMAGE]

   Without IMAGE one is made by ewfacquire in TMPDIR: deflate "fast", chunks of 32 KiB, MD5; media
   of 25 % zeros, 20 % random bytes, 55 % text collected from this system (some 6 GB of room
   needed, removed at the end). Figures are the best of N rounds (5) in which all engines take
   turns, each in a process of its own; CPU and peak memory are those of that process. PROGRAM is
   the verify tool, build/verify by default; what is not there is left out. Ratios are to ewfverify.

     verify        ewfverify -q; ewf_read_verify with pools of 1 and 2 threads; the verify tool
     4, 8 images   ewf_read_verify_many with 2 threads, and the verify tool, on so many copies at
                   once (or one given IMAGE so many times); two rounds. The peer verifies one after
                   another: the time of one, so many times
     floor         what no verify by two threads can beat: the MD5 alone, or half of its own CPU
     sequential    ewf_read_at in requests of 8 MiB, without a pool and with 2 threads
     random        ewf_read_at of 4 KiB anywhere, and within 16 MiB, by 1, 2, 16, 64 threads
     hot chunk     16 threads want the same chunk at once: it is decoded once

   Whatever was timed is checked: verdicts against the MD5 stored by the peer, sequential reads by
   their MD5, random reads against sums of a sequential pass. Exit code 1 when anything differs,
   never for a time. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif
#define EWF_READ_IMPLEMENTATION
#include "../ewf_read.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, REQUEST = 8 << 20, MIB = 1 << 20 };

static int json, bad;
static const char *image_path, *verify_tool = "build/verify";
static uint64_t media_size;
static uint8_t media_md5[16]; /* as the image stores it */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void complain(const char *what, const char *why)
{
    fprintf(stderr, "bench_ewf_read: %s: %s\n", what, why);
    bad = 1;
}

// ---------------------------------------------------------------------------------- processes

typedef struct cost {
    double wall, cpu; /* seconds */
    double mib;       /* peak of memory */
} cost;

/* Runs body in a child process; its exit code, with what it cost. */
static int run_child(int (*body)(const void *user), const void *user, cost *c)
{
    struct rusage use;
    double begin = now();
    int state = 0;
    pid_t child;
    fflush(stdout);
    fflush(stderr);
    child = fork();
    if (child == 0) _exit(body(user));
    if (child < 0 || wait4(child, &state, 0, &use) != child) return -1;
    c->wall = now() - begin;
    c->cpu = (double)use.ru_utime.tv_sec + (double)use.ru_utime.tv_usec * 1e-6 +
             (double)use.ru_stime.tv_sec + (double)use.ru_stime.tv_usec * 1e-6;
    c->mib = (double)use.ru_maxrss / 1024;
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

static int exec_quietly(const void *user)
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

static void keep_best(cost *best, cost c)
{
    if (best->wall == 0 || c.wall < best->wall) best->wall = c.wall;
    if (best->cpu == 0 || c.cpu < best->cpu) best->cpu = c.cpu;
    if (best->mib == 0 || c.mib < best->mib) best->mib = c.mib;
}

// ---------------------------------------------------------------------------------- the image

enum { MOST_IMAGES = 8 };

static char folder[256], raw_path[300], made_path[300], base_path[300];
static char copy_path[MOST_IMAGES][4096]; /* of the image: the first is itself */

static void remove_files(void)
{
    int i;
    if (folder[0] == 0) return;
    for (i = 1; i < MOST_IMAGES; i++)
        if (copy_path[i][0] != 0) (void)unlink(copy_path[i]);
    (void)unlink(raw_path);
    (void)unlink(made_path);
    (void)rmdir(folder);
    folder[0] = 0;
}

static void on_signal(int number)
{
    remove_files();
    _exit(128 + number);
}

/* Text of this system, file after file; when all is used up it begins again, at another place of
   each file, so that no two passes cut it into the same chunks. */
typedef struct collector {
    FILE *out;
    uint64_t left, got; /* bytes wanted; found in this pass */
    unsigned pass;
    unsigned char *buf;
} collector;

static void collect_file(collector *c, const char *path)
{
    FILE *f = fopen(path, "rb");
    size_t n;
    if (f == NULL) return;
    n = fread(c->buf, 1, 4096, f);
    if (n >= 512 && memchr(c->buf, 0, n) == NULL && memchr(c->buf, '\n', n) != NULL) {
        (void)fseek(f, (long)(c->pass * 1237), SEEK_SET);
        while (c->left != 0 && (n = fread(c->buf, 1, MIB, f)) != 0) {
            n = n < c->left ? n : (size_t)c->left;
            if (fwrite(c->buf, 1, n, c->out) != n) complain(raw_path, "cannot write");
            c->left -= n;
            c->got += n;
        }
    }
    fclose(f);
}

static void collect(collector *c, const char *path, int depth)
{
    char inner[1024];
    struct dirent *e;
    struct stat st;
    DIR *d;
    if (c->left == 0 || depth > 12 || lstat(path, &st) != 0) return;
    if (S_ISREG(st.st_mode) && st.st_size >= 512) collect_file(c, path);
    if (!S_ISDIR(st.st_mode) || (d = opendir(path)) == NULL) return;
    while ((e = readdir(d)) != NULL && c->left != 0)
        if (e->d_name[0] != '.' &&
            snprintf(inner, sizeof inner, "%s/%s", path, e->d_name) < (int)sizeof inner)
            collect(c, inner, depth + 1);
    closedir(d);
}

static int write_text(const char *path, uint64_t size)
{
    static const char *const folders[] = {"/usr/include", "/usr/share/doc", "/usr/share", "/etc",
                                          "/usr/lib"};
    collector c;
    size_t i;
    memset(&c, 0, sizeof c);
    c.left = size;
    c.buf = (unsigned char *)malloc(MIB);
    c.out = fopen(path, "wb");
    if (c.buf == NULL || c.out == NULL) return 0;
    do {
        c.got = 0;
        for (i = 0; i < sizeof folders / sizeof folders[0]; i++) collect(&c, folders[i], 0);
        c.pass++;
    } while (c.left != 0 && c.got != 0);
    free(c.buf);
    return fclose(c.out) == 0 && c.left == 0;
}

static void fill_random(unsigned char *p, size_t n)
{
    static uint64_t x = 88172645463325252u;
    size_t i;
    for (i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p[i] = (unsigned char)(x >> 24);
    }
}

/* Of every 20 MiB: 5 zeros, 4 random, 11 text, in runs of 1 MiB. */
static int write_media(const void *user)
{
    static const char kinds[] = "ztrttztrtztrtzttrtzt";
    const uint64_t mib = *(const uint64_t *)user;
    unsigned char *buf = (unsigned char *)malloc(MIB);
    FILE *raw = fopen(raw_path, "wb"), *text;
    uint64_t i;
    int ok = raw != NULL && buf != NULL && write_text(made_path, mib * MIB / 20 * 11 + 20 * MIB);
    text = fopen(made_path, "rb");
    for (i = 0; i < mib && ok && text != NULL; i++) {
        size_t n = MIB;
        if (kinds[i % 20] == 'z') memset(buf, 0, MIB);
        else if (kinds[i % 20] == 'r') fill_random(buf, MIB);
        else n = fread(buf, 1, MIB, text);
        ok = n == MIB && fwrite(buf, 1, MIB, raw) == MIB;
    }
    if (text != NULL) fclose(text);
    (void)unlink(made_path);
    free(buf);
    return raw == NULL || fclose(raw) != 0 || !ok || text == NULL;
}

/* 1 = there is an image now. */
static int make_image(uint64_t mib)
{
    const char *tmp = getenv("TMPDIR");
    const char *argv[] = {"ewfacquire", "-u", "-q", "-f", "encase6", "-c", "fast", "-b", "64",
                          "-t", base_path, raw_path, NULL};
    cost c;
    snprintf(folder, sizeof folder, "%s/bench_ewf_read.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(folder) == NULL) return folder[0] = 0, 0;
    snprintf(raw_path, sizeof raw_path, "%s/media.raw", folder);
    snprintf(base_path, sizeof base_path, "%s/media", folder);
    snprintf(made_path, sizeof made_path, "%s/media.E01", folder);
    if (run_child(write_media, &mib, &c) != 0) return complain(raw_path, "cannot make media"), 0;
    if (run_child(exec_quietly, argv, &c) != 0) {
        fprintf(stderr, "SKIP: no ewfacquire (ewf-tools), and no image was given\n");
        return 0;
    }
    (void)unlink(raw_path);
    image_path = made_path;
    return 1;
}

static int copy_image(const char *to)
{
    unsigned char *buf = (unsigned char *)malloc(MIB);
    FILE *in = fopen(image_path, "rb"), *out = fopen(to, "wb");
    size_t n = 0;
    int ok = buf != NULL && in != NULL && out != NULL;
    while (ok && (n = fread(buf, 1, MIB, in)) != 0) ok = fwrite(buf, 1, n, out) == n;
    ok = ok && !ferror(in);
    if (in != NULL) fclose(in);
    if (out != NULL && fclose(out) != 0) ok = 0;
    free(buf);
    return ok;
}

/* Eight images: copies of the one that was made, or a given one by eight names. */
static void name_copies(void)
{
    int i, k;
    for (i = 0; i < MOST_IMAGES; i++) {
        char *p = copy_path[i];
        if (folder[0] != 0 && i != 0) {
            snprintf(p, sizeof copy_path[i], "%s/copy%d.E01", folder, i);
            if (!copy_image(p)) complain(p, "cannot copy the image");
            continue;
        }
        for (k = 0; k < i; k++, p += 2) memcpy(p, image_path[0] == '/' ? "//" : "./", 2);
        snprintf(p, 4096 - 2 * MOST_IMAGES, "%s", image_path);
    }
}

static ewf_read *open_path(const char *path, thread_pool *pool)
{
    ewf_read *image = NULL;
    ewf_read_desc desc;
    posio_error err;
    memset(&desc, 0, sizeof desc);
    desc.pool = pool;
    if (ewf_read_open(&image, path, &desc, &err) != POSIO_OK) complain(path, err.message);
    return image;
}

static ewf_read *open_image(thread_pool *pool) { return open_path(image_path, pool); }

// ---------------------------------------------------------------------------------- sums

/* XXH64 of every 4 KiB of media, and its MD5: shared with the children. */
static uint64_t *sums;

static uint64_t block_sum(const void *p, size_t n)
{
    uint8_t out[DIGEST_MAX_SIZE];
    uint64_t v;
    (void)digest_of(DIGEST_XXH64, p, n, out);
    memcpy(&v, out, sizeof v);
    return v;
}

static int sum_blocks(const void *user)
{
    ewf_read *image = open_image(NULL);
    unsigned char *buf = (unsigned char *)malloc(REQUEST);
    uint8_t md5[DIGEST_MAX_SIZE];
    uint64_t at, i;
    digest d;
    (void)user;
    if (image == NULL || buf == NULL) return 1;
    (void)digest_begin(&d, DIGEST_MD5);
    for (at = 0; at < media_size; at += REQUEST) {
        size_t n = (size_t)posio_min(REQUEST, media_size - at);
        if (ewf_read_at(image, at, buf, n, NULL) != POSIO_OK) return 1;
        digest_update(&d, buf, n);
        for (i = 0; i < n; i += BLOCK)
            sums[(at + i) / BLOCK] = block_sum(buf + i, (size_t)posio_min(BLOCK, n - i));
    }
    (void)digest_result(&d, md5);
    ewf_read_close(image);
    free(buf);
    return memcmp(md5, media_md5, 16) != 0;
}

static int prepare(void)
{
    ewf_read *image = open_image(NULL);
    const ewf_read_metadata *m;
    cost c;
    if (image == NULL) return 0;
    m = ewf_read_info(image);
    media_size = m->media_size;
    memcpy(media_md5, m->md5, 16);
    if (!json)
        printf("%s: %.0f MiB of media, %llu chunks of %u KiB\n", image_path,
               (double)media_size / MIB, (unsigned long long)m->chunk_count,
               (unsigned)(m->chunk_size / 1024));
    if (!m->has_md5) complain(image_path, "stores no MD5");
    ewf_read_close(image);
    sums = (uint64_t *)mmap(NULL, (size_t)(media_size / BLOCK + 1) * sizeof *sums,
                            PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (sums == MAP_FAILED) return complain("sums", "out of memory"), 0;
    if (run_child(sum_blocks, NULL, &c) != 0) complain("sequential pass", "the MD5 is another");
    return !bad;
}

// ---------------------------------------------------------------------------------- verify

static int verify_ours(const void *user)
{
    thread_pool *pool = thread_pool_create(*(const uint32_t *)user);
    ewf_read *image = open_image(pool);
    ewf_read_verdict v;
    posio_error err;
    int ok = image != NULL && ewf_read_verify(image, NULL, &v, &err) == POSIO_OK &&
             v.damaged_chunks == 0 && v.mismatches == 0 && v.bytes == media_size;
    ewf_read_close(image);
    (void)thread_pool_destroy(pool);
    return !ok;
}

typedef struct many {
    uint32_t count, good;
    ewf_read *image[MOST_IMAGES];
} many;

static ewf_read *many_next(void *user, uint32_t i, uint32_t *digests)
{
    many *m = (many *)user;
    (void)digests;
    return i < m->count ? m->image[i] = open_path(copy_path[i], NULL) : NULL;
}

static void many_done(void *user, uint32_t i, const ewf_read_verdict *v, const posio_error *why)
{
    many *m = (many *)user;
    (void)why;
    m->good += v != NULL && v->damaged_chunks == 0 && v->mismatches == 0 &&
               v->bytes == media_size &&
               v->digest_count != 0 && v->digest[0].algorithm == EWF_READ_MD5 &&
               memcmp(v->digest[0].computed, media_md5, 16) == 0;
    ewf_read_close(m->image[i]);
}

static int verify_many(const void *user)
{
    ewf_read_many_desc d;
    posio_error err;
    many m;
    int ok;
    memset(&d, 0, sizeof d);
    memset(&m, 0, sizeof m);
    m.count = *(const uint32_t *)user;
    d.pool = thread_pool_create(2);
    d.next = many_next;
    d.done = many_done;
    d.user = &m;
    ok = ewf_read_verify_many(&d, &err) == POSIO_OK && m.good == m.count;
    (void)thread_pool_destroy(d.pool);
    return !ok;
}

static int md5_alone(const void *user)
{
    unsigned char *buf = (unsigned char *)calloc(1, MIB);
    uint8_t out[DIGEST_MAX_SIZE];
    uint64_t at;
    digest d;
    (void)user;
    if (buf == NULL) return 1;
    (void)digest_begin(&d, DIGEST_MD5);
    for (at = 0; at < media_size; at += MIB)
        digest_update(&d, buf, (size_t)posio_min(MIB, media_size - at));
    (void)digest_result(&d, out);
    free(buf);
    return 0;
}

/* Every byte once, in large requests; nothing is done with them. */
static int read_all(const void *user)
{
    thread_pool *pool = thread_pool_create(*(const uint32_t *)user);
    ewf_read *image = open_image(pool);
    unsigned char *buf = (unsigned char *)malloc(REQUEST);
    uint64_t at, n = 0;
    int ok = image != NULL && buf != NULL;
    for (at = 0; at < media_size && ok; at += n) {
        n = posio_min(REQUEST, media_size - at);
        ok = ewf_read_at(image, at, buf, (size_t)n, NULL) == POSIO_OK &&
             block_sum(buf, (size_t)posio_min(BLOCK, n)) == sums[at / BLOCK];
    }
    free(buf);
    ewf_read_close(image);
    (void)thread_pool_destroy(pool);
    return !ok;
}

typedef struct engine {
    const char *what, *name;
    int (*body)(const void *user);
    const void *user;
    uint32_t images;
    cost best;
    int absent;
} engine;

static const uint32_t one = 1, two = 2, four = 4, eight = 8;
static const char *peer_argv[] = {"ewfverify", "-q", NULL, NULL};
static const char *tool_argv[2 + 1 + 1];

static const char *tool4_argv[2 + 4 + 1], *tool8_argv[2 + 8 + 1];

enum { PEER = 0, TWO_THREADS = 2, TOOL = 3, MD5_ALONE = 4 }; /* rows below */
static engine engines[] = {
    {"verify", "ewfverify -q", exec_quietly, peer_argv, 1, {0, 0, 0}, 0},
    {"verify", "ours, 1 thread", verify_ours, &one, 1, {0, 0, 0}, 0},
    {"verify", "ours, 2 threads", verify_ours, &two, 1, {0, 0, 0}, 0},
    {"verify", "verify tool", exec_quietly, tool_argv, 1, {0, 0, 0}, 0},
    {"floor", "MD5 alone", md5_alone, NULL, 1, {0, 0, 0}, 0},
    {"sequential", "no pool", read_all, &one, 1, {0, 0, 0}, 0},
    {"sequential", "2 threads", read_all, &two, 1, {0, 0, 0}, 0},
    {"4 images", "ours, 2 threads", verify_many, &four, 4, {0, 0, 0}, 0},
    {"4 images", "verify tool", exec_quietly, tool4_argv, 4, {0, 0, 0}, 0},
    {"8 images", "ours, 2 threads", verify_many, &eight, 8, {0, 0, 0}, 0},
    {"8 images", "verify tool", exec_quietly, tool8_argv, 8, {0, 0, 0}, 0},
};
enum { ENGINES = sizeof engines / sizeof engines[0], MANY_ROUNDS = 2 };

static void fill_argv(const char **argv, int images)
{
    int i;
    argv[0] = verify_tool;
    argv[1] = "--quiet";
    for (i = 0; i < images; i++) argv[2 + i] = copy_path[i];
}

static void run_engines(int rounds)
{
    int r;
    size_t i;
    cost c;
    peer_argv[2] = image_path;
    fill_argv(tool_argv, 1);
    fill_argv(tool4_argv, 4);
    fill_argv(tool8_argv, 8);
    for (r = 0; r < rounds; r++)
        for (i = 0; i < ENGINES; i++) {
            int code;
            if (engines[i].absent || (engines[i].images > 1 && r >= MANY_ROUNDS)) continue;
            code = run_child(engines[i].body, engines[i].user, &c);
            if (code == 127) {
                fprintf(stderr, "SKIP %s: not there\n", engines[i].name);
                engines[i].absent = 1;
            } else if (code != 0) complain(engines[i].name, "failed, or found the image damaged");
            else keep_best(&engines[i].best, c);
        }
}

static void print_engines(void)
{
    size_t i;
    if (!json)
        printf("\n%-10s  %-16s  %8s  %8s  %8s  %10s  %9s  %9s\n", "", "", "wall, s", "CPU, s",
               "MB/s", "ratio wall", "ratio CPU", "peak, MiB");
    for (i = 0; i < ENGINES; i++) {
        const cost *c = &engines[i].best;
        const double bytes = (double)media_size * engines[i].images;
        const double rate = bytes / c->wall * 1e-6;
        cost peer = engines[PEER].best;
        if (c->wall == 0) continue;
        peer.wall *= engines[i].images;
        peer.cpu *= engines[i].images;
        if (json)
            printf("{\"bench\":\"ewf_read\",\"what\":\"%s\",\"engine\":\"%s\",\"bytes\":%.0f,"
                   "\"images\":%u,\"seconds\":%.4f,\"cpu_seconds\":%.4f,"
                   "\"megabytes_per_second\":%.1f,\"peer\":\"ewfverify\",\"ratio\":%.3f,"
                   "\"cpu_ratio\":%.3f,\"peak_mib\":%.1f}\n",
                   engines[i].what, engines[i].name, bytes, (unsigned)engines[i].images, c->wall,
                   c->cpu, rate, peer.wall / c->wall, peer.cpu / c->cpu, c->mib);
        else
            printf("%-10s  %-16s  %8.3f  %8.3f  %8.0f  %10.2f  %9.2f  %9.1f\n", engines[i].what,
                   engines[i].name, c->wall, c->cpu, rate, peer.wall / c->wall,
                   peer.cpu / c->cpu, c->mib);
    }
}

/* Two threads can be no faster than the digest, which is serial, nor than half of what they do. */
static void print_floor(void)
{
    static const int rows[] = {TWO_THREADS, TOOL};
    const double md5 = engines[MD5_ALONE].best.wall;
    size_t i;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const engine *e = &engines[rows[i]];
        const double half = e->best.cpu / 2, low = md5 > half ? md5 : half;
        if (e->best.wall == 0) continue;
        if (json)
            printf("{\"bench\":\"ewf_read\",\"what\":\"floor\",\"engine\":\"%s\","
                   "\"md5_alone_seconds\":%.4f,\"half_cpu_seconds\":%.4f,\"floor_seconds\":%.4f,"
                   "\"seconds\":%.4f,\"ratio_to_floor\":%.3f}\n",
                   e->name, md5, half, low, e->best.wall, e->best.wall / low);
        else
            printf("%s%s: %.3f s are %.2f x max(MD5 alone %.3f, total CPU / 2 %.3f)\n",
                   i == 0 ? "\n" : "", e->name, e->best.wall, e->best.wall / low, md5, half);
    }
}

// ---------------------------------------------------------------------------------- random reads

enum { READS = 32768, MOST_THREADS = 64 };

/* One reader of several; `gate` lets all begin together. */
typedef struct reader {
    ewf_read *image;
    pthread_barrier_t *gate;
    uint64_t range, seed; /* bytes of media to read in; where its sequence begins */
    uint32_t reads;
    int failed;
} reader;

static void *read_randomly(void *user)
{
    reader *r = (reader *)user;
    unsigned char buf[BLOCK];
    uint64_t x = r->seed * 0x9e3779b97f4a7c15u + 1;
    uint32_t i;
    (void)pthread_barrier_wait(r->gate);
    for (i = 0; i < r->reads; i++) {
        uint64_t block;
        x = x * 6364136223846793005u + 1442695040888963407u;
        block = (x >> 16) % (r->range / BLOCK);
        if (ewf_read_at(r->image, block * BLOCK, buf, BLOCK, NULL) != POSIO_OK ||
            block_sum(buf, BLOCK) != sums[block])
            r->failed = 1;
    }
    return NULL;
}

/* Seconds from the moment that all threads are there. */
static double read_with(ewf_read *image, uint32_t threads, uint64_t range, uint32_t reads)
{
    pthread_t id[MOST_THREADS];
    reader readers[MOST_THREADS];
    pthread_barrier_t gate;
    double begin;
    uint32_t i;
    pthread_barrier_init(&gate, NULL, threads + 1);
    for (i = 0; i < threads; i++) {
        memset(&readers[i], 0, sizeof readers[i]);
        readers[i].image = image;
        readers[i].gate = &gate;
        readers[i].range = range;
        readers[i].seed = i + 1;
        readers[i].reads = reads / threads;
        if (pthread_create(&id[i], NULL, read_randomly, &readers[i]) != 0) abort();
    }
    begin = now();
    (void)pthread_barrier_wait(&gate);
    for (i = 0; i < threads; i++) (void)pthread_join(id[i], NULL);
    begin = now() - begin;
    for (i = 0; i < threads; i++)
        if (readers[i].failed) complain("random reads", "not what the sequential pass read");
    pthread_barrier_destroy(&gate);
    return begin;
}

typedef struct setting {
    uint32_t threads;
    uint64_t range; /* 0 = all media */
    double best;
    chunk_cache_stats stats;
} setting;

static setting settings[] = {
    {1, 0, 0, {0, 0, 0, 0, 0}},         {2, 0, 0, {0, 0, 0, 0, 0}},
    {16, 0, 0, {0, 0, 0, 0, 0}},        {64, 0, 0, {0, 0, 0, 0, 0}},
    {1, 16 * MIB, 0, {0, 0, 0, 0, 0}},  {2, 16 * MIB, 0, {0, 0, 0, 0, 0}},
    {16, 16 * MIB, 0, {0, 0, 0, 0, 0}}, {64, 16 * MIB, 0, {0, 0, 0, 0, 0}},
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

/* A cold cache each time: the image is opened anew. */
static void run_settings(int rounds)
{
    int r;
    size_t i;
    for (r = 0; r < rounds; r++)
        for (i = 0; i < SETTINGS; i++) {
            setting *s = &settings[i];
            uint64_t range = s->range != 0 ? posio_min(s->range, media_size) : media_size;
            ewf_read *image = open_image(NULL);
            double seconds;
            if (image == NULL) return;
            seconds = read_with(image, s->threads, range, READS);
            if (s->best == 0 || seconds < s->best) {
                s->best = seconds;
                s->stats = chunk_cache_get_stats(image->chunks);
            }
            ewf_read_close(image);
        }
}

static void print_settings(void)
{
    size_t i;
    if (!json)
        printf("\nrandom reads of 4 KiB, a cache of 32 MiB, cold at first\n"
               "%8s  %8s  %10s  %8s  %8s  %8s  %8s\n",
               "threads", "within", "reads/s", "hits", "waits", "decodes", "ratio");
    for (i = 0; i < SETTINGS; i++) {
        const setting *s = &settings[i], *first = &settings[i / 4 * 4];
        if (json)
            printf("{\"bench\":\"ewf_read\",\"what\":\"random\",\"threads\":%u,\"within\":%llu,"
                   "\"reads_per_second\":%.0f,\"hits\":%llu,\"waits\":%llu,\"decodes\":%llu,"
                   "\"ratio_to_one_thread\":%.3f}\n",
                   (unsigned)s->threads,
                   (unsigned long long)(s->range != 0 ? s->range : media_size), READS / s->best,
                   (unsigned long long)s->stats.hits, (unsigned long long)s->stats.waits,
                   (unsigned long long)s->stats.decodes, first->best / s->best);
        else
            printf("%8u  %8s  %10.0f  %8llu  %8llu  %8llu  %8.2f\n", (unsigned)s->threads,
                   s->range != 0 ? "16 MiB" : "media", READS / s->best,
                   (unsigned long long)s->stats.hits, (unsigned long long)s->stats.waits,
                   (unsigned long long)s->stats.decodes, first->best / s->best);
    }
}

/* 16 threads, one chunk: whoever comes first decodes, all others wait or hit. */
static void run_hot_chunk(void)
{
    enum { HOT_THREADS = 16, HOT_READS = 160000 };
    ewf_read *image = open_image(NULL);
    chunk_cache_stats s;
    double seconds;
    if (image == NULL) return;
    seconds = read_with(image, HOT_THREADS,
                        posio_min(ewf_read_info(image)->chunk_size, media_size / BLOCK * BLOCK),
                        HOT_READS);
    s = chunk_cache_get_stats(image->chunks);
    if (s.decodes != 1) complain("hot chunk", "was decoded more than once");
    if (json)
        printf("{\"bench\":\"ewf_read\",\"what\":\"hot chunk\",\"threads\":%d,"
               "\"reads_per_second\":%.0f,\"hits\":%llu,\"waits\":%llu,\"decodes\":%llu}\n",
               (int)HOT_THREADS, HOT_READS / seconds, (unsigned long long)s.hits,
               (unsigned long long)s.waits, (unsigned long long)s.decodes);
    else
        printf("\nhot chunk, %d threads: %.0f reads/s, %llu hits, %llu waits, %llu decodes\n",
               (int)HOT_THREADS, HOT_READS / seconds, (unsigned long long)s.hits,
               (unsigned long long)s.waits, (unsigned long long)s.decodes);
    ewf_read_close(image);
}

// ---------------------------------------------------------------------------------- main

static int take_arguments(int argc, char **argv, int *rounds, uint64_t *mib)
{
    int i;
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) json = 1;
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) *rounds = atoi(argv[++i]);
        else if (strcmp(argv[i], "--mib") == 0 && i + 1 < argc) *mib = (uint64_t)atoi(argv[++i]);
        else if (strcmp(argv[i], "--verify") == 0 && i + 1 < argc) verify_tool = argv[++i];
        else if (argv[i][0] != '-' && image_path == NULL) image_path = argv[i];
        else return 0;
    }
    return *mib >= 20;
}

int main(int argc, char **argv)
{
    uint64_t mib = 1024;
    int rounds = 5;
    if (!take_arguments(argc, argv, &rounds, &mib)) {
        fprintf(stderr, "usage: bench_ewf_read [--json] [--rounds N] [--mib N, from 20] "
                        "[--verify PROGRAM] [IMAGE]\n");
        return 2;
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    if (image_path == NULL && !make_image(mib)) {
        remove_files();
        return bad;
    }
    if (prepare()) {
        name_copies();
        run_engines(rounds < 1 ? 1 : rounds);
        print_engines();
        print_floor();
        run_settings(rounds < 1 ? 1 : rounds);
        print_settings();
        run_hot_chunk();
    }
    remove_files();
    return bad;
}
