/* bench_images.h - what the benches of vmdk_read.h and vhdx_read.h share.

   THE MEDIA is made of runs of 1 MiB: of every 20 MiB 5 of zeros, 4 of random bytes, 11 of text
   collected from this system. It is a raw file; of every 4 KiB the sum is kept, in memory that all
   processes share. An image is made by qemu-img or by the bench, which says whether its content is
   the media or has sums of its own.

   ENGINES take turns, each in a process of its own; figures are the best of all rounds.

     null    read and thrown away: qemu-img convert -n -W to driver=null-co; ours in requests of
             8 MiB with pools of 1 and 2 threads; the export tool to /dev/null; where nothing is
             compressed also pread of the same bytes from the raw file, in the same way
     tmpfs   to a new raw file: qemu-img convert -W -O raw; ours and pread by 1 and 2 threads, each
             1 MiB at a time, whose zeros are left out; the export tool
     random  4 KiB anywhere, by 1 and 2 threads: ours, and pread of the raw file

   "x qemu" is the wall time of the faster qemu-img (-m 2 or -m 8) of the same image and target by
   this one's, "CPU" this one's seconds by its, "x pread" the time of pread with as many threads by
   this one's; what it should be is in parentheses. */
#ifndef CHUNKWISE_BENCH_IMAGES_H
#define CHUNKWISE_BENCH_IMAGES_H

#include "bench_media.h"

enum {
    IMAGES_REQUEST = 8 << 20,
    IMAGES_PART = 256 << 10,
    IMAGES_RUN = 64 << 10 /* whose zeros are not written */
};

/* The reader that is measured. */
typedef struct images_format {
    void *(*open)(const char *path, thread_pool *pool, uint64_t *media_size, posio_error *err);
    posio_result (*read_at)(void *image, uint64_t at, void *buf, size_t n, posio_error *err);
    void (*close)(void *image);
} images_format;

typedef struct images_image {
    const char *name;
    const char *file;   /* to open, in the folder */
    const char *others; /* more files, with blanks between; or NULL */
    const char *qemu;   /* its word for the format; NULL = it does not read this one */
    const char *make;   /* for qemu-img convert -o; NULL = the bench makes it */
    int compressed;
    double goal_null, goal_file; /* x qemu */
    double goal_pread;
    const uint64_t *sums; /* of the content; NULL = those of the media */
} images_image;

typedef struct images_globals {
    const images_format *format;
    const char *export_tool, *image; /* --image; NULL = all */
    uint64_t media_size;
    uint64_t *sums;
    int rounds, quick;
} images_globals;

static images_globals images;

// ---------------------------------------------------------------------------------- the media

/* In a child, whose memory is gone with it. */
static inline int images_write_media(const void *user)
{
    static const char kinds[] = "ztrttztrtzrttztrtztt";
    const size_t mib = (size_t)(images.media_size / MEDIA_MIB);
    const size_t text_size = (mib / 20 + 1) * 11 * MEDIA_MIB;
    unsigned char *buf = (unsigned char *)malloc(MEDIA_MIB);
    unsigned char *text = (unsigned char *)malloc(text_size);
    char path[BENCH_PATH];
    FILE *raw = fopen(bench_path(path, "media.raw"), "wb");
    size_t i, k, t = 0;
    int ok = raw != NULL && buf != NULL && text != NULL && media_collect_memory(text, text_size, 1);
    (void)user;
    for (i = 0; i < mib && ok; i++) {
        char kind = kinds[i % 20];
        if (kind == 'z') memset(buf, 0, MEDIA_MIB);
        else if (kind == 'r') media_random(buf, MEDIA_MIB);
        else memcpy(buf, text + t++ * MEDIA_MIB, MEDIA_MIB);
        for (k = 0; k < MEDIA_MIB; k += MEDIA_BLOCK)
            images.sums[(i * MEDIA_MIB + k) / MEDIA_BLOCK] = media_sum(buf + k, MEDIA_BLOCK);
        ok = fwrite(buf, 1, MEDIA_MIB, raw) == MEDIA_MIB;
    }
    return raw == NULL || fclose(raw) != 0 || !ok;
}

static inline int images_make_media(uint64_t mib)
{
    bench_cost c;
    images.media_size = mib * MEDIA_MIB;
    images.sums = (uint64_t *)bench_shared((size_t)(images.media_size / MEDIA_BLOCK) * 8);
    if (bench_child(images_write_media, NULL, &c) == 0) return 1;
    bench_complain("media.raw", "cannot be made");
    return 0;
}

/* By qemu-img, from the media, with all blocks allocated where nothing is compressed. */
static inline int images_convert(const images_image *m)
{
    char from[BENCH_PATH], to[BENCH_PATH];
    bench_command command = {{"qemu-img", "convert", "-f", "raw", "-O", m->qemu, "-o", m->make,
                              m->compressed ? "-q" : "-S", m->compressed ? "-q" : "0",
                              bench_path(from, "media.raw"), bench_path(to, m->file), NULL},
                             NULL};
    bench_cost c;
    int code = bench_run(&command, &c);
    if (code == BENCH_ABSENT) fprintf(stderr, "SKIP %s: there is no qemu-img\n", m->name);
    else if (code != 0) bench_complain(m->name, "cannot be made");
    return code == 0;
}

static inline void images_remove(const images_image *m)
{
    char names[200], *name, *rest = NULL;
    bench_remove(m->file);
    snprintf(names, sizeof names, "%s", m->others != NULL ? m->others : "");
    for (name = strtok_r(names, " ", &rest); name != NULL; name = strtok_r(NULL, " ", &rest))
        bench_remove(name);
}

// ---------------------------------------------------------------------------------- reading

/* What reads the content: the image, or the raw file by pread. */
typedef struct images_reader {
    const images_image *m;
    void *image;
    int raw; /* -1: the image */
    thread_pool *pool;
} images_reader;

static inline int images_open(images_reader *r, const images_image *m, int pread_instead,
                              thread_pool *pool)
{
    char path[BENCH_PATH];
    posio_error err;
    uint64_t size = 0;
    memset(r, 0, sizeof *r);
    memset(&err, 0, sizeof err);
    r->m = m;
    r->raw = -1;
    r->pool = pool;
    if (pread_instead) {
        r->raw = open(bench_path(path, "media.raw"), O_RDONLY);
        return r->raw >= 0;
    }
    r->image = images.format->open(bench_path(path, m->file), pool, &size, &err);
    if (r->image == NULL) bench_complain(path, err.message);
    else if (size != images.media_size) bench_complain(path, "has another size");
    return r->image != NULL && size == images.media_size;
}

static inline void images_close(images_reader *r)
{
    if (r->raw >= 0) (void)close(r->raw);
    if (r->image != NULL) images.format->close(r->image);
}

typedef struct images_part {
    int file;
    unsigned char *out;
    uint64_t at;
} images_part;

static inline posio_result images_pread(void *user, uint32_t i, posio_error *err)
{
    const images_part *p = (const images_part *)user;
    size_t from = (size_t)i * IMAGES_PART;
    (void)err;
    return pread(p->file, p->out + from, IMAGES_PART, (off_t)(p->at + from)) == IMAGES_PART
               ? POSIO_OK
               : POSIO_E_IO;
}

/* A large range; by pread it is cut into parts for the pool, as the readers do it. */
static inline int images_read(images_reader *r, uint64_t at, unsigned char *buf, size_t n)
{
    images_part p;
    if (r->raw < 0) return images.format->read_at(r->image, at, buf, n, NULL) == POSIO_OK;
    if (r->pool == NULL || n % IMAGES_PART != 0)
        return pread(r->raw, buf, n, (off_t)at) == (ssize_t)n;
    p.file = r->raw;
    p.out = buf;
    p.at = at;
    return thread_pool_parallel_for(r->pool, (uint32_t)(n / IMAGES_PART), images_pread, &p, NULL) ==
           POSIO_OK;
}

static inline const uint64_t *images_sums(const images_image *m, int raw)
{
    return m->sums != NULL && !raw ? m->sums : images.sums;
}

static inline int images_check(const uint64_t *sums, const unsigned char *p, uint64_t at, size_t n)
{
    size_t i;
    for (i = 0; i < n; i += MEDIA_BLOCK)
        if (media_sum(p + i, MEDIA_BLOCK) != sums[(at + i) / MEDIA_BLOCK]) return 0;
    return 1;
}

typedef struct images_task {
    const images_image *m;
    uint32_t threads;
    int raw;       /* by pread */
    int check_all; /* every block, not only the first of each request */
} images_task;

/* Every byte once, in large requests; nothing is done with them. */
static inline int images_to_null(const void *user)
{
    const images_task *t = (const images_task *)user;
    thread_pool *pool = thread_pool_create(t->threads);
    unsigned char *buf = (unsigned char *)malloc(IMAGES_REQUEST);
    images_reader r;
    uint64_t at, n = 0;
    int ok = images_open(&r, t->m, t->raw, pool) && buf != NULL;
    for (at = 0; at < images.media_size && ok; at += n) {
        n = posio_min(IMAGES_REQUEST, images.media_size - at);
        ok = images_read(&r, at, buf, (size_t)n) &&
             images_check(images_sums(t->m, t->raw), buf, at,
                          t->check_all ? (size_t)n : MEDIA_BLOCK);
    }
    images_close(&r);
    free(buf);
    (void)thread_pool_destroy(pool);
    return !ok;
}

typedef struct images_writer {
    images_reader *reader;
    const uint64_t *sums;
    int file;
    uint32_t next; /* atomic: the next MiB */
} images_writer;

static inline int images_is_zero(const unsigned char *p, size_t n)
{
    return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

/* One MiB after the other, as long as there are any. */
static inline posio_result images_write(void *user, uint32_t part, posio_error *err)
{
    images_writer *w = (images_writer *)user;
    unsigned char *buf = (unsigned char *)malloc(MEDIA_MIB);
    uint64_t at;
    int ok = buf != NULL;
    (void)part;
    while (ok && (at = (uint64_t)posio_atomic_add(&w->next, 1) * MEDIA_MIB) < images.media_size) {
        size_t n = (size_t)posio_min(MEDIA_MIB, images.media_size - at), i, k;
        ok = images_read(w->reader, at, buf, n) && images_check(w->sums, buf, at, MEDIA_BLOCK);
        for (i = 0; i < n && ok; i += k) {
            k = (size_t)posio_min(IMAGES_RUN, n - i);
            if (!images_is_zero(buf + i, k))
                ok = pwrite(w->file, buf + i, k, (off_t)(at + i)) == (ssize_t)k;
        }
    }
    free(buf);
    return ok ? POSIO_OK : posio_fail(err, POSIO_E_IO, POSIO_NO_OFFSET, "reading or writing");
}

static inline int images_to_file(const void *user)
{
    const images_task *t = (const images_task *)user;
    thread_pool *pool = thread_pool_create(t->threads);
    char path[BENCH_PATH];
    images_reader r;
    images_writer w;
    int ok = images_open(&r, t->m, t->raw, NULL);
    memset(&w, 0, sizeof w);
    w.reader = &r;
    w.sums = images_sums(t->m, t->raw);
    w.file = open(bench_path(path, "out.raw"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ok = ok && w.file >= 0 && ftruncate(w.file, (off_t)images.media_size) == 0 &&
         thread_pool_parallel_for(pool, t->threads, images_write, &w, NULL) == POSIO_OK;
    images_close(&r);
    if (w.file >= 0 && close(w.file) != 0) ok = 0;
    (void)thread_pool_destroy(pool);
    return !ok;
}

/* Is the file that was written the content? */
static inline int images_check_output(const void *user)
{
    const images_task *t = (const images_task *)user;
    unsigned char *buf = (unsigned char *)malloc(MEDIA_MIB);
    char path[BENCH_PATH];
    FILE *f = fopen(bench_path(path, "out.raw"), "rb");
    uint64_t at;
    int ok = buf != NULL && f != NULL;
    for (at = 0; at < images.media_size && ok; at += MEDIA_MIB)
        ok = fread(buf, 1, MEDIA_MIB, f) == MEDIA_MIB &&
             images_check(images_sums(t->m, t->raw), buf, at, MEDIA_MIB);
    return !ok || fgetc(f) != EOF;
}

// ---------------------------------------------------------------------------------- engines

enum { IMAGES_NULL, IMAGES_FILE, IMAGES_ENGINES = 24 };
enum { IMAGES_OURS, IMAGES_QEMU, IMAGES_RAW };

typedef struct images_engine {
    int target, who;
    char name[32];
    int (*body)(const void *user); /* NULL: the command */
    images_task task;
    bench_command command;
    bench_cost best;
    int absent, checked;
} images_engine;

typedef struct images_table {
    const images_image *m;
    images_engine e[IMAGES_ENGINES];
    int count;
    char null_target[64], path[BENCH_PATH], out[BENCH_PATH];
} images_table;

static inline images_engine *images_add(images_table *t, int target, int who, const char *name)
{
    images_engine *e = &t->e[t->count++];
    e->target = target;
    e->who = who;
    e->task.m = t->m;
    e->task.threads = 2;
    snprintf(e->name, sizeof e->name, "%s", name);
    return e;
}

static inline void images_add_qemu(images_table *t, int target)
{
    static const char *const many[2] = {"2", "8"};
    int i;
    for (i = 0; i < 2; i++) {
        const bench_command null = {{"qemu-img", "convert", "-n", "-W", "-m", many[i], "-f",
                                     t->m->qemu, "--target-image-opts", t->path, t->null_target,
                                     NULL},
                                    NULL};
        const bench_command file = {{"qemu-img", "convert", "-W", "-m", many[i], "-f", t->m->qemu,
                                     "-O", "raw", t->path, t->out, NULL},
                                    NULL};
        images_engine *e =
            images_add(t, target, IMAGES_QEMU, i == 0 ? "qemu-img -m 2" : "qemu-img -m 8");
        e->command = target == IMAGES_NULL ? null : file;
    }
}

static inline void images_add_own(images_table *t, int target, int raw)
{
    uint32_t threads;
    for (threads = 1; threads <= 2; threads++) {
        char name[32];
        images_engine *e;
        snprintf(name, sizeof name, "%s, %u thread%s", raw ? "pread" : "ours", (unsigned)threads,
                 threads == 1 ? "" : "s");
        e = images_add(t, target, raw ? IMAGES_RAW : IMAGES_OURS, name);
        e->body = target == IMAGES_NULL ? images_to_null : images_to_file;
        e->task.threads = threads;
        e->task.raw = raw;
    }
}

static inline void images_add_engines(images_table *t, int target)
{
    const bench_command tool = {{images.export_tool, "--quiet", "--force", "-o",
                                 target == IMAGES_NULL ? "/dev/null" : t->out, t->path, NULL},
                                NULL};
    if (t->m->qemu != NULL) images_add_qemu(t, target);
    images_add_own(t, target, 0);
    if (!t->m->compressed) images_add_own(t, target, 1);
    images_add(t, target, IMAGES_OURS, "export")->command = tool;
}

static inline void images_run(images_engine *e)
{
    bench_cost c;
    int code;
    if (e->absent) return;
    if (e->target == IMAGES_FILE) bench_remove("out.raw"); /* every engine makes it anew */
    code = e->body != NULL ? bench_child(e->body, &e->task, &c) : bench_run(&e->command, &c);
    if (code == BENCH_ABSENT) {
        fprintf(stderr, "SKIP %s: there is no %s\n", e->name, e->command.argv[0]);
        e->absent = 1;
        return;
    }
    if (code == 0) bench_keep_best(&e->best, c);
    if (code == 0 && e->target == IMAGES_FILE && !e->checked) {
        e->checked = 1;
        code = bench_child(images_check_output, &e->task, &c);
    }
    if (code != 0) {
        bench_complain(e->task.m->name, e->name);
        bench_complain(e->name, "failed, or its output is not the content");
    }
}

/* The fastest of a kind with the same target; of pread that with as many threads. */
static inline bench_cost images_peer(const images_table *t, const images_engine *e, int who)
{
    bench_cost best = {0, 0, 0};
    int i;
    for (i = 0; i < t->count; i++) {
        const images_engine *p = &t->e[i];
        if (p->who != who || p == e || p->target != e->target || p->best.wall == 0) continue;
        if (who == IMAGES_RAW && p->task.threads != e->task.threads) continue;
        if (best.wall == 0 || p->best.wall < best.wall) best = p->best;
    }
    return best;
}

static inline void images_print(const images_table *t, const images_engine *e)
{
    const bench_cost qemu = images_peer(t, e, IMAGES_QEMU), raw = images_peer(t, e, IMAGES_RAW);
    const bench_cost *c = &e->best;
    const char *target = e->target == IMAGES_NULL ? "null" : "tmpfs";
    const int ours = e->who == IMAGES_OURS;
    double to_qemu = e->who == IMAGES_QEMU ? 0 : bench_ratio(qemu.wall, c->wall);
    double to_raw = ours ? bench_ratio(raw.wall, c->wall) : 0;
    double goal = e->target == IMAGES_NULL ? t->m->goal_null : t->m->goal_file;
    double cpu = e->who == IMAGES_QEMU ? 0 : bench_ratio(c->cpu, qemu.cpu);
    char a[32], b[32], d[32];
    if (c->wall == 0) return;
    if (!ours || e->task.threads < 2) goal = 0;
    if (bench.json)
        printf(
            "{\"bench\":\"%s\",\"what\":\"%s\",\"image\":\"%s\",\"engine\":\"%s\",\"bytes\":%llu,"
            "\"seconds\":%.4f,\"cpu_seconds\":%.4f,\"to_qemu\":%.3f,\"goal\":%.2f,"
            "\"cpu_to_qemu\":%.3f,\"to_pread\":%.3f,\"pread_goal\":%.2f,\"peak_mib\":%.1f}\n",
            bench.name, target, t->m->name, e->name, (unsigned long long)images.media_size, c->wall,
            c->cpu, to_qemu, goal, cpu, to_raw, ours ? t->m->goal_pread : 0, c->mib);
    else
        printf("  %-6s  %-16s  %8.3f  %8.3f  %8.0f  %13s  %6s  %13s  %9.1f\n", target, e->name,
               c->wall, c->cpu, (double)images.media_size / c->wall * 1e-6,
               bench_goal(a, to_qemu, goal), bench_goal(d, cpu, 0),
               bench_goal(b, to_raw, e->target == IMAGES_NULL ? t->m->goal_pread : 0), c->mib);
}

static inline void images_throughput(const images_image *m)
{
    static images_table t;
    int r, i;
    memset(&t, 0, sizeof t);
    t.m = m;
    (void)bench_path(t.path, m->file);
    (void)bench_path(t.out, "out.raw");
    snprintf(t.null_target, sizeof t.null_target, "driver=null-co,size=%llu",
             (unsigned long long)images.media_size);
    if (bench_wants("null")) images_add_engines(&t, IMAGES_NULL);
    if (bench_wants("tmpfs")) images_add_engines(&t, IMAGES_FILE);
    for (r = 0; r < images.rounds; r++)
        for (i = 0; i < t.count; i++) images_run(&t.e[i]);
    bench_remove("out.raw");
    if (!bench.json && t.count != 0)
        printf("  %-6s  %-16s  %8s  %8s  %8s  %13s  %6s  %13s  %9s\n", "target", "", "wall, s",
               "CPU, s", "MB/s", "x qemu (goal)", "CPU", "x pread", "peak, MiB");
    for (i = 0; i < t.count; i++) images_print(&t, &t.e[i]);
}

// ---------------------------------------------------------------------------------- random reads

static inline int images_read_block(void *reader, uint64_t at, void *buf)
{
    return images_read((images_reader *)reader, at, (unsigned char *)buf, MEDIA_BLOCK);
}

/* Seconds; a cold cache: it is opened anew. */
static inline double images_random_once(const images_image *m, int raw, uint32_t threads,
                                        uint32_t reads)
{
    media_reading reading;
    images_reader r;
    double seconds;
    if (!images_open(&r, m, raw, NULL)) return 0;
    reading.read = images_read_block;
    reading.image = &r;
    reading.sums = images_sums(m, raw);
    reading.range = images.media_size;
    reading.threads = threads;
    reading.reads = reads;
    seconds = media_read_with_threads(&reading, m->name);
    images_close(&r);
    return seconds;
}

static inline void images_randomly(const images_image *m)
{
    const uint32_t most = m->compressed ? 8192 : 262144, reads = images.quick ? most / 8 : most;
    double best[2][2] = {{0, 0}, {0, 0}}; /* by pread?, threads - 1 */
    int r, raw, rounds = images.rounds < 3 ? images.rounds : 3;
    uint32_t threads;
    for (r = 0; r < rounds; r++)
        for (raw = 0; raw < 2; raw++)
            for (threads = 1; threads <= 2; threads++) {
                double t = images_random_once(m, raw, threads, reads), *b = &best[raw][threads - 1];
                if (*b == 0 || (t > 0 && t < *b)) *b = t;
            }
    for (raw = 0; raw < 2; raw++)
        for (threads = 1; threads <= 2; threads++) {
            double t = best[raw][threads - 1], to_raw = bench_ratio(best[1][threads - 1], t);
            const char *who = raw ? "pread" : "ours";
            if (t == 0) continue;
            if (bench.json)
                printf("{\"bench\":\"%s\",\"what\":\"random\",\"image\":\"%s\",\"engine\":\"%s\","
                       "\"threads\":%u,\"reads_per_second\":%.0f,\"to_one_thread\":%.3f,"
                       "\"to_pread\":%.3f}\n",
                       bench.name, m->name, who, (unsigned)threads, reads / t,
                       bench_ratio(best[raw][0], t), to_raw);
            else
                printf("  random  %s, %u thread%s: %.0f reads/s, x one thread %.2f, x pread %.3f\n",
                       who, (unsigned)threads, threads == 1 ? "" : "s", reads / t,
                       bench_ratio(best[raw][0], t), to_raw);
        }
}

// ---------------------------------------------------------------------------------- one image

static inline int images_is_content(const images_image *m)
{
    images_task t;
    bench_cost c;
    memset(&t, 0, sizeof t);
    t.m = m;
    t.check_all = 1;
    for (t.threads = 1; t.threads <= 2; t.threads++)
        if (bench_child(images_to_null, &t, &c) != 0) {
            bench_complain(m->name, "does not read as what it was made of");
            return 0;
        }
    return 1;
}

/* All of it, of an image that is there; it is removed. */
static inline void images_bench(const images_image *m)
{
    char path[BENCH_PATH];
    struct stat st;
    int ok = stat(bench_path(path, m->file), &st) == 0;
    if (ok && !bench.json)
        printf("\n%s, %.0f MiB of media\n", m->name, (double)images.media_size / MEDIA_MIB);
    if (!ok) bench_complain(m->name, "is not there");
    else if (images_is_content(m)) {
        images_throughput(m);
        if (bench_wants("random")) images_randomly(m);
    }
    fflush(stdout);
    images_remove(m);
}

static inline int images_wanted(const char *name)
{
    return (images.image == NULL || strcmp(images.image, name) == 0) &&
           (bench_wants("null") || bench_wants("tmpfs") || bench_wants("random"));
}

enum { IMAGES_HUGE_READS = 20000 };

/* A disk so large that its tables do not fit into memory: what reading it takes at most. */
typedef struct images_huge {
    const char *name, *file;
    uint64_t media_size;
    int (*make)(const void *user);                                       /* the file; in a child */
    posio_result (*reads)(void *image, uint32_t part, posio_error *err); /* half of the reads */
} images_huge;

typedef struct images_peaks {
    const images_huge *of;
    double before, opened; /* MiB */
} images_peaks;

static inline int images_read_huge(const void *user)
{
    images_peaks *p = (images_peaks *)(uintptr_t)user;
    thread_pool *pool = thread_pool_create(2);
    uint64_t size = 0;
    char path[BENCH_PATH];
    posio_error err;
    void *image;
    posio_result r = POSIO_E_IO;
    memset(&err, 0, sizeof err);
    p->before = bench_peak();
    image = images.format->open(bench_path(path, p->of->file), pool, &size, &err);
    p->opened = bench_peak();
    if (image != NULL) r = thread_pool_parallel_for(pool, 2, p->of->reads, image, &err);
    if (r != POSIO_OK) fprintf(stderr, "%s\n", err.message);
    images.format->close(image);
    (void)thread_pool_destroy(pool);
    return r != POSIO_OK || size != p->of->media_size;
}

static inline void images_memory(const images_huge *h)
{
    images_peaks *p = (images_peaks *)bench_shared(sizeof *p);
    bench_cost c;
    bench_title("memory");
    p->of = h;
    if (bench_child(h->make, NULL, &c) != 0) bench_complain(h->file, "cannot be made");
    else if (bench_child(images_read_huge, p, &c) != 0)
        bench_complain(h->name, "failed, or wrong bytes");
    else if (bench.json)
        printf("{\"bench\":\"%s\",\"what\":\"memory\",\"image\":\"%s\",\"before_mib\":%.1f,"
               "\"opened_mib\":%.1f,\"peak_mib\":%.1f,\"goal\":64,\"reads\":%llu}\n",
               bench.name, h->name, p->before, p->opened, c.mib,
               (unsigned long long)IMAGES_HUGE_READS);
    else
        printf("  %s: peak %.1f MiB (below 64) after %llu reads; %.1f opened, %.1f before\n",
               h->name, c.mib, (unsigned long long)IMAGES_HUGE_READS, p->opened, p->before);
    fflush(stdout);
    bench_remove(h->file);
}

static inline int images_arguments(int argc, char **argv, uint64_t *mib)
{
    int i, rounds = 0;
    bench.folder = bench_default_folder();
    images.export_tool = "build/export";
    *mib = 0;
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) bench.json = 1;
        else if (strcmp(argv[i], "--quick") == 0) images.quick = 1;
        else if (i + 1 == argc) return 0;
        else if (strcmp(argv[i], "--rounds") == 0) rounds = atoi(argv[++i]);
        else if (strcmp(argv[i], "--mib") == 0) *mib = (uint64_t)atoi(argv[++i]);
        else if (strcmp(argv[i], "--only") == 0) bench.section = argv[++i];
        else if (strcmp(argv[i], "--image") == 0) images.image = argv[++i];
        else if (strcmp(argv[i], "--export") == 0) images.export_tool = argv[++i];
        else if (strcmp(argv[i], "--folder") == 0) bench.folder = argv[++i];
        else return 0;
    }
    if (*mib == 0) *mib = images.quick ? 64 : 512;
    images.rounds = rounds != 0 ? rounds : images.quick ? 1 : 5;
    return *mib >= 20 && images.rounds >= 1;
}

/* All of a bench, but for its name. make makes an image that qemu-img does not; or NULL. */
static inline int images_main(int argc, char **argv, const images_format *format,
                              images_image *kinds, size_t count, int (*make)(images_image *m),
                              const images_huge *huge)
{
    uint64_t mib;
    size_t i;
    int made = 0;
    images.format = format;
    if (!images_arguments(argc, argv, &mib)) {
        fprintf(stderr,
                "usage: %s [--json] [--quick] [--rounds N] [--mib N, from 20]\n"
                "    [--only null|tmpfs|random|memory] [--image NAME] [--export PROGRAM]\n"
                "    [--folder DIR]\n",
                bench.name);
        return 2;
    }
    if (!bench_open_folder()) return 2;
    for (i = 0; i < count; i++) {
        if (!images_wanted(kinds[i].name)) continue;
        if (!made && !images_make_media(mib)) break;
        made = 1;
        if (kinds[i].make != NULL ? images_convert(&kinds[i]) : make(&kinds[i]))
            images_bench(&kinds[i]);
    }
    if (bench_wants("memory")) images_memory(huge);
    bench_close_folder();
    return bench.bad;
}

#endif
