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
#define DIGEST_IMPLEMENTATION
#include "../digest.h"
#include "../ewf_read.h"

#include "bench_media.h"

enum { BLOCK = MEDIA_BLOCK, REQUEST = 8 << 20, MIB = MEDIA_MIB };

static const char *image_path, *verify_tool = "build/verify";
static uint64_t media_size;
static uint8_t media_md5[16]; /* as the image stores it */

// ---------------------------------------------------------------------------------- the image

enum { MOST_IMAGES = 8 };

static char made_path[BENCH_PATH];
static char copy_path[MOST_IMAGES][4096]; /* of the image: the first is itself */

static int write_part(void *user, const unsigned char *p, size_t n)
{
    return fwrite(p, 1, n, (FILE *)user) == n;
}

static int write_text(const char *path, uint64_t size)
{
    static const char *const folders[] = {"/usr/include", "/usr/share/doc", "/usr/share", "/etc",
                                          "/usr/lib", NULL};
    static media_collector c;
    FILE *out = fopen(path, "wb");
    int ok;
    if (out == NULL) return 0;
    c.take = write_part;
    c.user = out;
    c.text = 1;
    c.left = size;
    ok = media_collect(&c, folders);
    return fclose(out) == 0 && ok;
}

/* Of every 20 MiB: 5 zeros, 4 random, 11 text, in runs of 1 MiB. */
static int write_media(const void *user)
{
    static const char kinds[] = "ztrttztrtztrtzttrtzt";
    const uint64_t mib = *(const uint64_t *)user;
    unsigned char *buf = (unsigned char *)malloc(MIB);
    char path[BENCH_PATH];
    FILE *raw = fopen(bench_path(path, "media.raw"), "wb"), *text;
    uint64_t i;
    int ok = raw != NULL && buf != NULL && write_text(made_path, mib * MIB / 20 * 11 + 20 * MIB);
    text = fopen(made_path, "rb");
    for (i = 0; i < mib && ok && text != NULL; i++) {
        size_t n = MIB;
        if (kinds[i % 20] == 'z') memset(buf, 0, MIB);
        else if (kinds[i % 20] == 'r') media_random(buf, MIB);
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
    char raw[BENCH_PATH], base[BENCH_PATH];
    const bench_command acquire = {{"ewfacquire", "-u", "-q", "-f", "encase6", "-c", "fast", "-b",
                                    "64", "-t", base, raw, NULL},
                                   NULL};
    bench_cost c;
    bench.folder = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    if (!bench_open_folder()) return 0;
    (void)bench_path(made_path, "media.E01");
    (void)bench_path(raw, "media.raw");
    (void)bench_path(base, "media");
    if (bench_child(write_media, &mib, &c) != 0) return bench_complain(raw, "cannot make media"), 0;
    if (bench_run(&acquire, &c) != 0) {
        fprintf(stderr, "SKIP: no ewfacquire (ewf-tools), and no image was given\n");
        return 0;
    }
    (void)unlink(raw);
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
        if (bench.own[0] != 0 && i != 0) {
            snprintf(p, sizeof copy_path[i], "%s/copy%d.E01", bench.own, i);
            if (!copy_image(p)) bench_complain(p, "cannot copy the image");
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
    if (ewf_read_open(&image, path, &desc, &err) != POSIO_OK) bench_complain(path, err.message);
    return image;
}

static ewf_read *open_image(thread_pool *pool) { return open_path(image_path, pool); }

// ---------------------------------------------------------------------------------- sums

/* XXH64 of every 4 KiB of media, and its MD5: shared with the children. */
static uint64_t *sums;

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
            sums[(at + i) / BLOCK] = media_sum(buf + i, (size_t)posio_min(BLOCK, n - i));
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
    bench_cost c;
    if (image == NULL) return 0;
    m = ewf_read_info(image);
    media_size = m->media_size;
    memcpy(media_md5, m->md5, 16);
    if (!bench.json)
        printf("%s: %.0f MiB of media, %llu chunks of %u KiB\n", image_path,
               (double)media_size / MIB, (unsigned long long)m->chunk_count,
               (unsigned)(m->chunk_size / 1024));
    if (!m->has_md5) bench_complain(image_path, "stores no MD5");
    ewf_read_close(image);
    sums = (uint64_t *)bench_shared((size_t)(media_size / BLOCK + 1) * sizeof *sums);
    if (bench_child(sum_blocks, NULL, &c) != 0)
        bench_complain("sequential pass", "the MD5 is another");
    return !bench.bad;
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
             media_sum(buf, (size_t)posio_min(BLOCK, n)) == sums[at / BLOCK];
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
    bench_cost best;
    int absent;
} engine;

static const uint32_t one = 1, two = 2, four = 4, eight = 8;
static bench_command peer = {{"ewfverify", "-q", NULL, NULL}, NULL}, tool, tool4, tool8;

enum { PEER = 0, TWO_THREADS = 2, TOOL = 3, MD5_ALONE = 4 }; /* rows below */
static engine engines[] = {
    {"verify", "ewfverify -q", bench_exec, &peer, 1, {0, 0, 0}, 0},
    {"verify", "ours, 1 thread", verify_ours, &one, 1, {0, 0, 0}, 0},
    {"verify", "ours, 2 threads", verify_ours, &two, 1, {0, 0, 0}, 0},
    {"verify", "verify tool", bench_exec, &tool, 1, {0, 0, 0}, 0},
    {"floor", "MD5 alone", md5_alone, NULL, 1, {0, 0, 0}, 0},
    {"sequential", "no pool", read_all, &one, 1, {0, 0, 0}, 0},
    {"sequential", "2 threads", read_all, &two, 1, {0, 0, 0}, 0},
    {"4 images", "ours, 2 threads", verify_many, &four, 4, {0, 0, 0}, 0},
    {"4 images", "verify tool", bench_exec, &tool4, 4, {0, 0, 0}, 0},
    {"8 images", "ours, 2 threads", verify_many, &eight, 8, {0, 0, 0}, 0},
    {"8 images", "verify tool", bench_exec, &tool8, 8, {0, 0, 0}, 0},
};
enum { ENGINES = sizeof engines / sizeof engines[0], MANY_ROUNDS = 2 };

static void fill_command(bench_command *c, int images)
{
    int i;
    c->argv[0] = verify_tool;
    c->argv[1] = "--quiet";
    for (i = 0; i < images; i++) c->argv[2 + i] = copy_path[i];
}

static void run_engines(int rounds)
{
    int r;
    size_t i;
    bench_cost c;
    peer.argv[2] = image_path;
    fill_command(&tool, 1);
    fill_command(&tool4, 4);
    fill_command(&tool8, 8);
    for (r = 0; r < rounds; r++)
        for (i = 0; i < ENGINES; i++) {
            int code;
            if (engines[i].absent || (engines[i].images > 1 && r >= MANY_ROUNDS)) continue;
            code = bench_child(engines[i].body, engines[i].user, &c);
            if (code == BENCH_ABSENT) {
                fprintf(stderr, "SKIP %s: not there\n", engines[i].name);
                engines[i].absent = 1;
            } else if (code != 0) {
                bench_complain(engines[i].name, "failed, or found the image damaged");
            } else {
                bench_keep_best(&engines[i].best, c);
            }
        }
}

static void print_engines(void)
{
    size_t i;
    if (!bench.json)
        printf("\n%-10s  %-16s  %8s  %8s  %8s  %10s  %9s  %9s\n", "", "", "wall, s", "CPU, s",
               "MB/s", "ratio wall", "ratio CPU", "peak, MiB");
    for (i = 0; i < ENGINES; i++) {
        const bench_cost *c = &engines[i].best;
        const double bytes = (double)media_size * engines[i].images;
        const double rate = bytes / c->wall * 1e-6;
        bench_cost of_peer = engines[PEER].best;
        if (c->wall == 0) continue;
        of_peer.wall *= engines[i].images;
        of_peer.cpu *= engines[i].images;
        if (bench.json)
            printf("{\"bench\":\"ewf_read\",\"what\":\"%s\",\"engine\":\"%s\",\"bytes\":%.0f,"
                   "\"images\":%u,\"seconds\":%.4f,\"cpu_seconds\":%.4f,"
                   "\"megabytes_per_second\":%.1f,\"peer\":\"ewfverify\",\"ratio\":%.3f,"
                   "\"cpu_ratio\":%.3f,\"peak_mib\":%.1f}\n",
                   engines[i].what, engines[i].name, bytes, (unsigned)engines[i].images, c->wall,
                   c->cpu, rate, of_peer.wall / c->wall, of_peer.cpu / c->cpu, c->mib);
        else
            printf("%-10s  %-16s  %8.3f  %8.3f  %8.0f  %10.2f  %9.2f  %9.1f\n", engines[i].what,
                   engines[i].name, c->wall, c->cpu, rate, of_peer.wall / c->wall,
                   of_peer.cpu / c->cpu, c->mib);
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
        if (bench.json)
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

enum { READS = 32768 };

static int read_block(void *image, uint64_t at, void *buf)
{
    return ewf_read_at((ewf_read *)image, at, buf, BLOCK, NULL) == POSIO_OK;
}

static double read_with(ewf_read *image, uint32_t threads, uint64_t range, uint32_t reads)
{
    const media_reading reading = {read_block, image, sums, range, threads, reads};
    return media_read_with_threads(&reading, image_path);
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
    if (!bench.json)
        printf("\nrandom reads of 4 KiB, a cache of 32 MiB, cold at first\n"
               "%8s  %8s  %10s  %8s  %8s  %8s  %8s\n",
               "threads", "within", "reads/s", "hits", "waits", "decodes", "ratio");
    for (i = 0; i < SETTINGS; i++) {
        const setting *s = &settings[i], *first = &settings[i / 4 * 4];
        if (bench.json)
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
    if (s.decodes != 1) bench_complain("hot chunk", "was decoded more than once");
    if (bench.json)
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
        if (strcmp(argv[i], "--json") == 0) bench.json = 1;
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
    bench.name = "bench_ewf_read";
    if (!take_arguments(argc, argv, &rounds, &mib)) {
        fprintf(stderr, "usage: bench_ewf_read [--json] [--rounds N] [--mib N, from 20] "
                        "[--verify PROGRAM] [IMAGE]\n");
        return 2;
    }
    if (image_path == NULL && !make_image(mib)) {
        bench_close_folder();
        return bench.bad;
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
    bench_close_folder();
    return bench.bad;
}
