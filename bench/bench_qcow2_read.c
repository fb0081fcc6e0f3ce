/* bench_qcow2_read.c - decode QCOW2 images of 512 MiB of mixed media, beside qemu-img.

       cc -O2 -pthread -DQCOW2_READ_ZSTD bench/bench_qcow2_read.c -o bench_qcow2_read -lzstd
       bench_qcow2_read [--json] [--rounds N] [--mib N] [--export PROGRAM] [--folder DIR]

   The media: of every 20 MiB 5 of zeros, 4 of random bytes, 6 of text and 5 of programs and other
   binary files, collected from this system, in runs of 1 MiB. qemu-img makes three images of it,
   with clusters of 64 KiB: deflate, zstd, and uncompressed with every cluster allocated. ewfacquire
   makes an E01 ("fast", 32 KiB). All lies in /dev/shm, or in DIR (some 5 times the media), and is
   removed at the end. Figures are the best of N rounds (5) in which all engines take turns, each in
   a process of its own; CPU and peak memory are those of that process. What is not there is left
   out: qemu-img (then only the uncompressed image can be made), ewf-tools, PROGRAM (the export
   tool, build/export by default).

     null          decoded and thrown away: qemu-img convert -n -W to driver=null-co; qcow2_read_at
                   in requests of 8 MiB with pools of 1 and 2 threads; export -o /dev/null; for the
                   uncompressed image also pread of the same bytes from a raw file, in the same way
     tmpfs         into a new raw file there: qemu-img convert -W -O raw; export
     random        qcow2_read_at of 4 KiB anywhere, and within 16 MiB, by 1 and 2 threads

   Ratios are to the faster qemu-img of the same image and target (-m 2 or -m 8), of the E01 to
   ewfexport: "ratio wall" is its time by this one's, "CPU" this one's seconds by its. Whatever was
   timed is checked: all that is decoded against sums of the media, before the rounds, and some of
   each request in them; all that is written, once. Exit code 1 when anything differs, never for a
   time. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif
#define QCOW2_READ_IMPLEMENTATION
#define DIGEST_IMPLEMENTATION
#include "../digest.h"
#include "../qcow2_read.h"

#include "bench_media.h"

enum { BLOCK = MEDIA_BLOCK, REQUEST = 8 << 20, MIB = MEDIA_MIB };

static const char *export_tool = "build/export";
static uint64_t media_size;

// ---------------------------------------------------------------------------------- files

enum { DEFLATE, ZSTANDARD, PLAIN, E01, IMAGES };
static const char *const image_names[IMAGES] = {"deflate", "zstd", "plain", "E01"};

static char raw_path[BENCH_PATH], out_path[BENCH_PATH], base_path[BENCH_PATH];
static char image_path[IMAGES][BENCH_PATH];
static int has_image[IMAGES];

static void name_files(void)
{
    int i;
    (void)bench_path(raw_path, "media.raw");
    (void)bench_path(out_path, "out.raw");
    (void)bench_path(base_path, "media");
    for (i = 0; i < E01; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s.qcow2", image_names[i]);
        (void)bench_path(image_path[i], name);
    }
    (void)bench_path(image_path[E01], "media.E01");
}

// ---------------------------------------------------------------------------------- the media

/* XXH64 of every 4 KiB of media: shared with the children. */
static uint64_t *sums;

static void sum_media(const unsigned char *p, uint64_t at, size_t n)
{
    size_t i;
    for (i = 0; i < n; i += BLOCK) sums[(at + i) / BLOCK] = media_sum(p + i, BLOCK);
}

/* In a child, whose memory is gone with it. */
static int write_media(const void *user)
{
    static const char kinds[] = "ztrbtzbtrbztrtbzbtrz";
    const size_t mib = (size_t)(media_size / MIB), text_size = (mib / 20 + 1) * 6 * MIB;
    const size_t binary_size = (mib / 20 + 1) * 5 * MIB;
    unsigned char *buf = (unsigned char *)malloc(MIB), *text, *binary;
    FILE *raw = fopen(raw_path, "wb");
    size_t i, t = 0, b = 0;
    int ok;
    (void)user;
    text = (unsigned char *)malloc(text_size);
    binary = (unsigned char *)malloc(binary_size);
    ok = raw != NULL && buf != NULL && text != NULL && binary != NULL &&
         media_collect_memory(text, text_size, 1) && media_collect_memory(binary, binary_size, 0);
    for (i = 0; i < mib && ok; i++) {
        char kind = kinds[i % 20];
        if (kind == 'z') memset(buf, 0, MIB);
        else if (kind == 'r') media_random(buf, MIB);
        else if (kind == 't') memcpy(buf, text + t++ * MIB, MIB);
        else memcpy(buf, binary + b++ * MIB, MIB);
        sum_media(buf, i * MIB, MIB);
        ok = fwrite(buf, 1, MIB, raw) == MIB;
    }
    return raw == NULL || fclose(raw) != 0 || !ok;
}

// ---------------------------------------------------------------------------------- the images

static int run_program(const bench_command *command, const char *image)
{
    bench_cost c;
    int code = bench_run(command, &c);
    if (code == BENCH_ABSENT) fprintf(stderr, "SKIP: there is no %s\n", command->argv[0]);
    else if (code != 0) bench_complain(image, "cannot be made");
    return code == 0;
}

static void put_be(unsigned char *p, uint64_t v, size_t n)
{
    while (n-- != 0) {
        p[n] = (unsigned char)v;
        v >>= 8;
    }
}

static int copy_media(FILE *out)
{
    unsigned char *buf = (unsigned char *)malloc(MIB);
    FILE *in = fopen(raw_path, "rb");
    uint64_t at;
    int ok = buf != NULL && in != NULL;
    for (at = 0; at < media_size && ok; at += MIB)
        ok = fread(buf, 1, MIB, in) == MIB && fwrite(buf, 1, MIB, out) == MIB;
    if (in != NULL) fclose(in);
    free(buf);
    return ok;
}

/* The uncompressed image without qemu-img: header, L1 table, L2 tables, the media. */
static int make_plain(void)
{
    enum { CLUSTER = 65536, ENTRIES = CLUSTER / 8 };
    static unsigned char b[CLUSTER];
    const uint64_t clusters = media_size / CLUSTER, tables = (clusters + ENTRIES - 1) / ENTRIES;
    uint64_t data = (2 + tables) * CLUSTER;
    FILE *f = fopen(image_path[PLAIN], "wb");
    uint64_t i, k;
    int ok = f != NULL && tables <= ENTRIES;
    put_be(b, 0x514649fb00000003, 8);
    put_be(b + 20, 16, 4);
    put_be(b + 24, media_size, 8);
    put_be(b + 36, tables, 4);
    put_be(b + 40, CLUSTER, 8);
    put_be(b + 96, 4, 4);
    put_be(b + 100, 104, 4);
    ok = ok && fwrite(b, 1, CLUSTER, f) == CLUSTER;
    memset(b, 0, sizeof b);
    for (i = 0; i < tables && ok; i++) put_be(b + i * 8, (2 + i) * CLUSTER, 8);
    ok = ok && fwrite(b, 1, CLUSTER, f) == CLUSTER;
    for (i = 0; i < tables && ok; i++) {
        for (k = 0; k < ENTRIES; k++, data += CLUSTER) put_be(b + k * 8, data, 8);
        ok = fwrite(b, 1, CLUSTER, f) == CLUSTER;
    }
    ok = ok && copy_media(f);
    return f != NULL && fclose(f) == 0 && ok;
}

static void make_images(void)
{
    static const char *const options[E01] = {
        "cluster_size=64k", "cluster_size=64k,compression_type=zstd", "cluster_size=64k"};
    const bench_command ewf = {{"ewfacquire", "-u", "-q", "-f", "encase6", "-c", "fast", "-b", "64",
                                "-t", base_path, raw_path, NULL},
                               NULL};
    int i, there = 1;
    for (i = 0; i < E01 && there; i++) {
        const bench_command convert = {{"qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o",
                                        options[i], i == PLAIN ? "-S" : "-c",
                                        i == PLAIN ? "0" : "-q", raw_path, image_path[i], NULL},
                                       NULL};
        there = has_image[i] = run_program(&convert, image_path[i]);
    }
    if (!has_image[PLAIN]) has_image[PLAIN] = make_plain();
    has_image[E01] = run_program(&ewf, image_path[E01]);
#if !defined(QCOW2_READ_ZSTD)
    if (has_image[ZSTANDARD]) fprintf(stderr, "SKIP zstd: built without QCOW2_READ_ZSTD\n");
    has_image[ZSTANDARD] = 0;
#endif
}

static int prepare(uint64_t mib)
{
    bench_cost c;
    media_size = mib * MIB;
    sums = (uint64_t *)bench_shared((size_t)(media_size / BLOCK) * sizeof *sums);
    if (!bench_open_folder()) return bench.bad = 1, 0;
    name_files();
    if (bench_child(write_media, NULL, &c) != 0)
        return bench_complain(raw_path, "cannot make media"), 0;
    make_images();
    return !bench.bad;
}

static void print_images(void)
{
    int i;
    struct stat st;
    if (bench.json) return;
    printf("%.0f MiB of media in %s; of the images:", (double)media_size / MIB, bench.folder);
    for (i = 0; i < IMAGES; i++)
        if (has_image[i] && stat(image_path[i], &st) == 0)
            printf(" %s %.0f MiB", image_names[i], (double)st.st_size / MIB);
    puts("");
}

// ---------------------------------------------------------------------------------- decoding

static qcow2_read *open_image(int image, thread_pool *pool)
{
    qcow2_read *q = NULL;
    qcow2_read_desc desc;
    posio_error err;
    memset(&desc, 0, sizeof desc);
    desc.pool = pool;
    if (qcow2_read_open(&q, image_path[image], &desc, &err) != POSIO_OK)
        bench_complain(image_path[image], err.message);
    else if (qcow2_read_info(q)->media_size != media_size)
        bench_complain(image_path[image], "has another size");
    return q;
}

typedef struct task {
    int image;
    uint32_t threads;
    int check_all; /* every block, not only the first of each request */
} task;

static int check_blocks(const unsigned char *p, uint64_t at, size_t n)
{
    size_t i;
    for (i = 0; i < n; i += BLOCK)
        if (media_sum(p + i, BLOCK) != sums[(at + i) / BLOCK]) return 0;
    return 1;
}

/* Every byte once, in large requests; nothing is done with them. */
static int read_all(const void *user)
{
    const task *t = (const task *)user;
    thread_pool *pool = thread_pool_create(t->threads);
    qcow2_read *q = open_image(t->image, pool);
    unsigned char *buf = (unsigned char *)malloc(REQUEST);
    uint64_t at, n = 0;
    int ok = q != NULL && buf != NULL;
    for (at = 0; at < media_size && ok; at += n) {
        n = posio_min(REQUEST, media_size - at);
        ok = qcow2_read_at(q, at, buf, (size_t)n, NULL) == POSIO_OK &&
             check_blocks(buf, at, t->check_all ? (size_t)n : BLOCK);
    }
    free(buf);
    qcow2_read_close(q);
    (void)thread_pool_destroy(pool);
    return !ok;
}

typedef struct raw_part {
    int file;
    unsigned char *out;
    uint64_t at;
} raw_part;

enum { RAW_PART = 256 << 10 };

static posio_result pread_part(void *user, uint32_t i, posio_error *err)
{
    const raw_part *p = (const raw_part *)user;
    size_t from = (size_t)i * RAW_PART;
    (void)err;
    return pread(p->file, p->out + from, RAW_PART, (off_t)(p->at + from)) == RAW_PART ? POSIO_OK
                                                                                   : POSIO_E_IO;
}

/* The same bytes from the raw file, in the same requests and parts. */
static int pread_all(const void *user)
{
    const task *t = (const task *)user;
    thread_pool *pool = thread_pool_create(t->threads);
    unsigned char *buf = (unsigned char *)malloc(REQUEST);
    raw_part p;
    uint64_t n = 0;
    int ok = buf != NULL;
    p.file = open(raw_path, O_RDONLY);
    p.out = buf;
    for (p.at = 0; p.at < media_size && ok; p.at += n) {
        n = posio_min(REQUEST, media_size - p.at);
        ok = thread_pool_parallel_for(pool, (uint32_t)(n / RAW_PART), pread_part, &p, NULL) ==
                 POSIO_OK &&
             check_blocks(buf, p.at, BLOCK);
    }
    free(buf);
    (void)close(p.file);
    (void)thread_pool_destroy(pool);
    return !ok;
}

/* Is the file that was written the media? */
static int check_output(const void *user)
{
    unsigned char *buf = (unsigned char *)malloc(MIB);
    FILE *f = fopen(out_path, "rb");
    uint64_t at;
    int ok = buf != NULL && f != NULL;
    (void)user;
    for (at = 0; at < media_size && ok; at += MIB)
        ok = fread(buf, 1, MIB, f) == MIB && check_blocks(buf, at, MIB);
    return !ok || fgetc(f) != EOF;
}

static void check_images(void)
{
    int i;
    task t;
    bench_cost c;
    for (i = 0; i < E01; i++) {
        if (!has_image[i]) continue;
        t.image = i;
        t.check_all = 1;
        for (t.threads = 1; t.threads <= 2; t.threads++)
            if (bench_child(read_all, &t, &c) != 0)
                bench_complain(image_names[i], "is not the media");
    }
}

// ---------------------------------------------------------------------------------- engines

enum { TO_NULL, TO_FILE };
typedef struct engine {
    int image, target, is_peer;
    char name[32];
    int (*body)(const void *user);
    task task;
    bench_command command; /* of a program */
    bench_cost best;
    int absent, checked;
} engine;

enum { MOST_ENGINES = 40 };
static engine engines[MOST_ENGINES];
static int engine_count;
static char null_target[64];

static engine *add_engine(int image, int target, const char *name)
{
    engine *e = &engines[engine_count++];
    e->image = image;
    e->target = target;
    e->task.image = image;
    snprintf(e->name, sizeof e->name, "%s", name);
    e->body = bench_exec;
    return e;
}

static void add_program(int image, int target, const char *name, const char *const *argv)
{
    engine *e = add_engine(image, target, name);
    size_t i;
    for (i = 0; argv[i] != NULL; i++) e->command.argv[i] = argv[i];
    e->is_peer = strcmp(argv[0], export_tool) != 0;
}

static void add_peers(int image)
{
    static const char *const many[2] = {"2", "8"};
    int i, target;
    for (target = TO_NULL; target <= TO_FILE; target++)
        for (i = 0; i < 2; i++) {
            const char *null[] = {"qemu-img", "convert", "-n", "-W", "-m", many[i], "-f", "qcow2",
                                  "--target-image-opts", image_path[image], null_target, NULL};
            const char *file[] = {"qemu-img", "convert", "-W", "-m", many[i], "-f", "qcow2", "-O",
                                  "raw", image_path[image], out_path, NULL};
            add_program(image, target, i == 0 ? "qemu-img -m 2" : "qemu-img -m 8",
                        target == TO_NULL ? null : file);
        }
}

static void add_ours(int image, const char *name, int (*body)(const void *user), uint32_t threads)
{
    engine *e = add_engine(image, TO_NULL, name);
    e->body = body;
    e->task.threads = threads;
}

static void add_export(int image, int target)
{
    const char *argv[] = {export_tool, "--quiet", "--force", "-o",
                          target == TO_NULL ? "/dev/null" : out_path, image_path[image], NULL};
    add_program(image, target, "export", argv);
}

static void add_engines(void)
{
    const char *ewf[] = {"ewfexport", "-u", "-q", "-f", "raw", "-t", "-", image_path[E01], NULL};
    int i;
    snprintf(null_target, sizeof null_target, "driver=null-co,size=%llu",
             (unsigned long long)media_size);
    for (i = 0; i < E01; i++) {
        if (!has_image[i]) continue;
        add_peers(i);
        add_ours(i, "ours, 1 thread", read_all, 1);
        add_ours(i, "ours, 2 threads", read_all, 2);
        if (i == PLAIN) add_ours(i, "pread, 1 thread", pread_all, 1);
        if (i == PLAIN) add_ours(i, "pread, 2 threads", pread_all, 2);
        add_export(i, TO_NULL);
        add_export(i, TO_FILE);
    }
    if (!has_image[E01]) return;
    add_program(E01, TO_NULL, "ewfexport -u", ewf);
    add_export(E01, TO_NULL);
}

static void run_engine(engine *e)
{
    bench_cost c;
    int code;
    if (e->absent) return;
    if (e->target == TO_FILE) (void)unlink(out_path);
    code = e->body == bench_exec ? bench_run(&e->command, &c) : bench_child(e->body, &e->task, &c);
    if (code == BENCH_ABSENT) {
        fprintf(stderr, "SKIP %s: there is no %s\n", e->name, e->command.argv[0]);
        e->absent = 1;
        return;
    }
    if (code == 0) bench_keep_best(&e->best, c);
    if (code == 0 && e->target == TO_FILE && !e->checked) {
        e->checked = 1;
        code = bench_child(check_output, NULL, &c);
    }
    if (code != 0) bench_complain(e->name, "failed, or its output is not the media");
}

static const engine *peer_of(const engine *e)
{
    const engine *best = NULL;
    int i;
    for (i = 0; i < engine_count; i++) {
        const engine *p = &engines[i];
        if (!p->is_peer || p->image != e->image || p->target != e->target || p->best.wall == 0)
            continue;
        if (best == NULL || p->best.wall < best->best.wall) best = p;
    }
    return best;
}

static void print_engine(const engine *e)
{
    static const engine none;
    const engine *peer = peer_of(e);
    const bench_cost *c = &e->best;
    double rate = (double)media_size / c->wall * 1e-6;
    const char *target = e->target == TO_NULL ? "null" : "tmpfs";
    if (c->wall == 0) return;
    if (peer == NULL) peer = &none;
    if (bench.json)
        printf("{\"bench\":\"qcow2_read\",\"what\":\"%s\",\"image\":\"%s\",\"engine\":\"%s\","
               "\"bytes\":%llu,\"seconds\":%.4f,\"cpu_seconds\":%.4f,"
               "\"megabytes_per_second\":%.1f,\"peer\":\"%s\",\"ratio\":%.3f,\"cpu_ratio\":%.3f,"
               "\"peak_mib\":%.1f}\n",
               target, image_names[e->image], e->name, (unsigned long long)media_size, c->wall,
               c->cpu, rate, peer->name, peer->best.wall / c->wall,
               peer->best.cpu > 0 ? c->cpu / peer->best.cpu : 0, c->mib);
    else
        printf("%-8s  %-6s  %-16s  %8.3f  %8.3f  %8.0f  %10.2f  %6.2f  %9.1f\n",
               image_names[e->image], target, e->name, c->wall, c->cpu, rate,
               peer->best.wall / c->wall, peer->best.cpu > 0 ? c->cpu / peer->best.cpu : 0, c->mib);
}

static void run_engines(int rounds)
{
    int r, i;
    add_engines();
    for (r = 0; r < rounds; r++)
        for (i = 0; i < engine_count; i++) run_engine(&engines[i]);
    if (!bench.json)
        printf("\n%-8s  %-6s  %-16s  %8s  %8s  %8s  %10s  %6s  %9s\n", "image", "target", "",
               "wall, s", "CPU, s", "MB/s", "ratio wall", "CPU", "peak, MiB");
    for (i = 0; i < engine_count; i++) {
        if (!bench.json && i != 0 && engines[i].image != engines[i - 1].image) puts("");
        print_engine(&engines[i]);
    }
    (void)unlink(out_path);
}

// ---------------------------------------------------------------------------------- random reads

enum { READS = 8192, PLAIN_READS = 262144 };

static int read_block(void *image, uint64_t at, void *buf)
{
    return qcow2_read_at((qcow2_read *)image, at, buf, BLOCK, NULL) == POSIO_OK;
}

static double read_with(qcow2_read *image, uint32_t threads, uint64_t range, uint32_t reads)
{
    const media_reading reading = {read_block, image, sums, range, threads, reads};
    return media_read_with_threads(&reading, "media");
}

/* A cold cache each time: the image is opened anew. */
static void run_random(int image, uint64_t range, uint32_t threads, int rounds, double *rate,
                       double *of_one)
{
    uint32_t reads = image == PLAIN ? PLAIN_READS : READS;
    chunk_cache_stats s;
    double best = 0;
    memset(&s, 0, sizeof s);
    while (rounds-- > 0) {
        qcow2_read *q = open_image(image, NULL);
        double seconds;
        if (q == NULL) return;
        seconds = read_with(q, threads, range, reads);
        if (best == 0 || seconds < best) {
            best = seconds;
            s = chunk_cache_get_stats(q->clusters);
        }
        qcow2_read_close(q);
    }
    *rate = reads / best;
    if (threads == 1) *of_one = *rate;
    if (bench.json)
        printf("{\"bench\":\"qcow2_read\",\"what\":\"random\",\"image\":\"%s\",\"threads\":%u,"
               "\"within\":%llu,\"reads_per_second\":%.0f,\"hits\":%llu,\"decodes\":%llu,"
               "\"ratio_to_one_thread\":%.3f}\n",
               image_names[image], (unsigned)threads, (unsigned long long)range, *rate,
               (unsigned long long)s.hits, (unsigned long long)s.decodes, *rate / *of_one);
    else
        printf("%-8s  %7u  %8s  %10.0f  %8llu  %8llu  %8.2f\n", image_names[image],
               (unsigned)threads, range == media_size ? "media" : "16 MiB", *rate,
               (unsigned long long)s.hits, (unsigned long long)s.decodes, *rate / *of_one);
}

static void run_randoms(int rounds)
{
    double rate, of_one = 1;
    int i, all;
    uint32_t threads;
    if (!bench.json)
        printf("\nrandom reads of 4 KiB, a cache of 32 MiB, cold at first\n"
               "%-8s  %7s  %8s  %10s  %8s  %8s  %8s\n",
               "image", "threads", "within", "reads/s", "hits", "decodes", "ratio");
    for (i = 0; i < E01; i++)
        for (all = 1; all >= 0; all--)
            for (threads = 1; threads <= 2 && has_image[i]; threads++)
                run_random(i, all ? media_size : posio_min(media_size, 16 * MIB), threads, rounds,
                           &rate, &of_one);
}

// ---------------------------------------------------------------------------------- main

static int take_arguments(int argc, char **argv, int *rounds, uint64_t *mib)
{
    int i;
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) bench.json = 1;
        else if (i + 1 == argc) return 0;
        else if (strcmp(argv[i], "--rounds") == 0) *rounds = atoi(argv[++i]);
        else if (strcmp(argv[i], "--mib") == 0) *mib = (uint64_t)atoi(argv[++i]);
        else if (strcmp(argv[i], "--export") == 0) export_tool = argv[++i];
        else if (strcmp(argv[i], "--folder") == 0) bench.folder = argv[++i];
        else return 0;
    }
    return *mib >= 20 && *rounds >= 1;
}

int main(int argc, char **argv)
{
    uint64_t mib = 512;
    int rounds = 5;
    bench.name = "bench_qcow2_read";
    bench.folder = bench_default_folder();
    if (!take_arguments(argc, argv, &rounds, &mib)) {
        fprintf(stderr, "usage: bench_qcow2_read [--json] [--rounds N] [--mib N, from 20] "
                        "[--export PROGRAM] [--folder DIR]\n");
        return 2;
    }
    if (prepare(mib)) {
        print_images();
        check_images();
        run_engines(rounds);
        run_randoms(rounds < 3 ? rounds : 3);
    }
    bench_close_folder();
    return bench.bad;
}
