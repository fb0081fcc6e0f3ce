/* bench_hexz_pack.c - packing and reading archives on two threads, beside what else does the like.

       cc -O2 -pthread bench/bench_hexz_pack.c -o bench_hexz_pack -lzstd
       bench_hexz_pack [--json] [--rounds N] [--mib N] [--folder DIR] [--only SECTION]

   and for LZ4 -DHEXZ_PACK_LZ4 -llz4. Figures are the best of N rounds (3) in which all engines take
   turns, each in a process of its own; CPU is that of the process. Content: files of this system,
   --mib (512) MiB of them where it has so many; about twelve times that is needed in DIR (TMPDIR).
   Nothing is synced by us. Peers that are not installed are left out: zstd, mksquashfs, unsquashfs
   (squashfs-tools), borg (borgbackup), restic.

     unique       files of this system, no piece of 4 KiB twice. limit: pread, BLAKE3, compress,
                  write, one chunk of 64 KiB after the other, and nothing else; its CPU time / 2.
                  Fixed chunks and content-defined ones; zstd -T2 -3; mksquashfs with the same
                  blocks and processors
     generations  an image, then twice 5 % of it overwritten by extents of 4 KiB to 1 MiB; the three
                  states one behind the other. restic, borg, borg with chunks of our size
     duplicates   2 MiB of it, again and again: no chunk but the first few is new
     sparse       a file with data in an eighth of it, in runs of 64 KiB to 4 MiB
     read         the archive of `unique`: all of it by one thread and two, 4 KiB at random, and the
                  limit of that: pread, decode, BLAKE3 of the same chunks

   Whatever an engine has made is restored once, by itself, and compared with the content. Exit code
   1 when anything differs, never for a time. Numbers in parentheses are what should be reached. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif
#define HEXZ_PACK_IMPLEMENTATION
#define THREAD_POOL_IMPLEMENTATION
#define POSIO_IMPLEMENTATION
#include "../hexz_pack.h"

#include "bench.h"

enum { MIB = 1 << 20, CHUNK = 64 << 10, THREADS = 2 };

static uint32_t rounds = 3;
static uint64_t mib = 512;

/* Paths in the folder. */
static char unique_path[BENCH_PATH], large_path[BENCH_PATH], made_path[BENCH_PATH],
    repository[BENCH_PATH];

static void require(int x, const char *what)
{
    if (x) return;
    bench_complain(what, "failed");
    bench_close_folder();
    exit(1);
}

// ---------------------------------------------------------------------------------- content

static uint64_t random_state = 88172645463325252u;

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

static const char library_folder[] = "/usr/lib/x86_64-linux-gnu";

typedef struct collector {
    FILE *out;
    uint64_t left;
    unsigned char *buf;
    const char *skip; /* a folder that was collected before */
    int depth;
} collector;

static void collect_file(collector *c, const char *path)
{
    FILE *f = fopen(path, "rb");
    size_t n;
    if (f == NULL) return;
    while (c->left != 0 && (n = fread(c->buf, 1, MIB, f)) != 0) {
        if (n > c->left) n = (size_t)c->left;
        require(fwrite(c->buf, 1, n, c->out) == n, "writing content");
        c->left -= n;
    }
    fclose(f);
}

/* Files of one name only, so that none comes twice. */
static void collect(collector *c, const char *path)
{
    char inner[1024];
    struct dirent *e;
    struct stat st;
    DIR *d;
    if (c->left == 0 || c->depth > 12 || lstat(path, &st) != 0) return;
    if (c->skip != NULL && strcmp(path, c->skip) == 0) return;
    if (S_ISREG(st.st_mode) && st.st_nlink == 1) collect_file(c, path);
    if (!S_ISDIR(st.st_mode) || (d = opendir(path)) == NULL) return;
    c->depth++;
    while ((e = readdir(d)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            snprintf(inner, sizeof inner, "%s/%s", path, e->d_name) < (int)sizeof inner)
            collect(c, inner);
    c->depth--;
    closedir(d);
}

static uint64_t size_of_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* A file, or all files of a folder. */
static uint64_t size_of_tree(const char *path)
{
    char inner[BENCH_PATH + 260];
    uint64_t sum = 0;
    struct dirent *e;
    struct stat st;
    DIR *d;
    if (lstat(path, &st) != 0) return 0;
    if (!S_ISDIR(st.st_mode)) return (uint64_t)st.st_size;
    d = opendir(path);
    while (d != NULL && (e = readdir(d)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            snprintf(inner, sizeof inner, "%s/%s", path, e->d_name) < BENCH_PATH)
            sum += size_of_tree(inner);
    if (d != NULL) closedir(d);
    return sum;
}

static FILE *create(const char *path)
{
    FILE *f = fopen(path, "wb+");
    require(f != NULL, path);
    return f;
}

/* Programs, libraries, data, headers: a quarter of n bytes each at most, and then what else. */
static void collect_all(const char *path, uint64_t n)
{
    static const char *const places[] = {"/usr/bin", library_folder, "/usr/share",   "/usr/include",
                                         "/usr/lib", "/usr/sbin",    "/usr/libexec", "/opt"};
    collector c;
    size_t i;
    memset(&c, 0, sizeof c);
    c.out = create(path);
    c.buf = (unsigned char *)malloc(MIB);
    require(c.buf != NULL, "memory");
    for (i = 0; i < sizeof places / sizeof places[0]; i++) {
        const uint64_t rest = n - (uint64_t)ftello(c.out);
        c.left = i < 4 && rest > n / 4 ? n / 4 : rest;
        c.skip = i < 4 ? NULL : library_folder;
        collect(&c, places[i]);
    }
    require(fclose(c.out) == 0, path);
    free(c.buf);
}

static void copy_range(FILE *in, FILE *out, uint64_t from, uint64_t to, uint64_t n)
{
    static unsigned char buf[MIB];
    require(fseeko(in, (off_t)from, SEEK_SET) == 0 && fseeko(out, (off_t)to, SEEK_SET) == 0,
            "seeking in content");
    while (n != 0) {
        size_t k = n < sizeof buf ? (size_t)n : sizeof buf;
        require(fread(buf, 1, k, in) == k && fwrite(buf, 1, k, out) == k, "copying content");
        n -= k;
    }
}

/* Overwrites 5 % of n bytes at `at` by other bytes, which nothing else holds. */
static void overwrite(FILE *out, uint64_t at, uint64_t n)
{
    static unsigned char buf[MIB];
    uint64_t done = 0, i;
    while (done < n / 20) {
        const uint64_t size = 4096 * (1 + random_below(256));
        for (i = 0; i < size; i++) /* of some six bits a byte */
            buf[i] = (unsigned char)(random_below(64) + 32);
        require(fseeko(out, (off_t)(at + random_below(n - size) / 4096 * 4096), SEEK_SET) == 0 &&
                    fwrite(buf, 1, size, out) == size,
                "overwriting");
        done += size;
    }
}

static void make_generations(const char *path, const char *unique)
{
    FILE *in = fopen(unique, "rb"), *out = create(path);
    const uint64_t n = size_of_file(unique) / 4096 * 4096;
    int k;
    require(in != NULL, unique);
    copy_range(in, out, 0, 0, n);
    for (k = 1; k < 3; k++) {
        FILE *before = fopen(path, "rb");
        require(before != NULL && fflush(out) == 0, path);
        copy_range(before, out, (uint64_t)(k - 1) * n, (uint64_t)k * n, n);
        fclose(before);
        overwrite(out, (uint64_t)k * n, n);
    }
    fclose(in);
    require(fclose(out) == 0, path);
}

static void make_duplicates(const char *path, const char *unique)
{
    FILE *in = fopen(unique, "rb"), *out = create(path);
    const uint64_t n = size_of_file(unique) < 2 * MIB ? size_of_file(unique) : 2 * MIB;
    uint64_t at;
    require(in != NULL, unique);
    for (at = 0; at < 2 * mib << 20; at += n) copy_range(in, out, 0, at, n);
    fclose(in);
    require(fclose(out) == 0, path);
}

static void make_sparse(const char *path, const char *unique)
{
    FILE *in = fopen(unique, "rb"), *out = create(path);
    const uint64_t have = size_of_file(unique), size = 4 * mib << 20;
    uint64_t done = 0;
    require(in != NULL, unique);
    while (done < have && done < size / 8) {
        uint64_t n = 65536 * (1 + random_below(64));
        if (n > have - done) n = have - done;
        copy_range(in, out, done, random_below(size - n) / 4096 * 4096, n);
        done += n;
    }
    fclose(in);
    require(fclose(out) == 0 && truncate(path, (off_t)size) == 0, path);
}

// ---------------------------------------------------------------------------------- our engines

typedef struct packing {
    const char *in, *out;
    uint32_t codec, chunker, chunk_avg;
    int32_t level;
} packing;

static int pack_it(const void *user)
{
    const packing *p = (const packing *)user;
    hexz_pack_desc desc;
    hexz_pack_writer *w = NULL;
    posio_file *file = NULL;
    posio_source source;
    posio_error err;
    posio_result r = posio_file_open(&file, p->in, NULL, &err);
    memset(&desc, 0, sizeof desc);
    memset(&source, 0, sizeof source);
    desc.pool = thread_pool_create(THREADS);
    desc.codec = p->codec;
    desc.level = p->level;
    desc.chunker = p->chunker;
    desc.chunk_avg = p->chunk_avg;
    desc.flags = HEXZ_PACK_NO_SYNC | HEXZ_PACK_FORCE;
    if (r == POSIO_OK) source = posio_file_source(file);
    if (r == POSIO_OK) r = hexz_pack_begin(&w, p->out, &desc, &err);
    if (r == POSIO_OK) r = hexz_pack_append_source(w, &source, &err);
    if (r == POSIO_OK) r = hexz_pack_finish(w, NULL, &err);
    else hexz_pack_abort(w);
    if (r != POSIO_OK) fprintf(stderr, "%s\n", err.message);
    posio_file_close(file);
    (void)thread_pool_destroy(desc.pool);
    return r != POSIO_OK;
}

/* Verified, and compared with the input. */
static int check_it(const void *user)
{
    const packing *p = (const packing *)user;
    enum { PIECE = 4 << 20 };
    unsigned char *a = (unsigned char *)malloc(PIECE), *b = (unsigned char *)malloc(PIECE);
    hexz_pack *archive = NULL;
    posio_source content;
    FILE *f = fopen(p->in, "rb");
    uint64_t at = 0;
    int ok = a != NULL && b != NULL && f != NULL &&
             hexz_pack_open(&archive, p->out, NULL, NULL) == POSIO_OK &&
             hexz_pack_verify(archive, NULL, NULL, NULL, NULL) == POSIO_OK;
    if (!ok) return 1;
    content = hexz_pack_source(archive);
    for (; ok && at < content.size; at += PIECE) {
        size_t n = content.size - at < PIECE ? (size_t)(content.size - at) : (size_t)PIECE;
        ok = hexz_pack_read_at(archive, at, a, n, NULL) == POSIO_OK && fread(b, 1, n, f) == n &&
             memcmp(a, b, n) == 0;
    }
    return !ok || content.size != size_of_file(p->in);
}

static int write_all(int f, const void *p, size_t n)
{
    const char *at = (const char *)p;
    while (n != 0) {
        ssize_t k = write(f, at, n);
        if (k <= 0) return 0;
        at += k;
        n -= (size_t)k;
    }
    return 1;
}

static size_t compress_it(ZSTD_CCtx *c, void *out, size_t room, const void *in, size_t n,
                          const packing *p)
{
#if defined(HEXZ_PACK_LZ4)
    if (p->codec == HEXZ_PACK_CODEC_LZ4)
        return (size_t)LZ4_compress_default((const char *)in, (char *)out, (int)n, (int)room);
#endif
    n = ZSTD_compressCCtx(c, out, room, in, n, p->level != 0 ? p->level : 3);
    return ZSTD_isError(n) ? 0 : n;
}

/* What cannot be saved: one chunk after the other is read, hashed, compressed and written. */
static int limit_it(const void *user)
{
    const packing *p = (const packing *)user;
    const size_t room = ZSTD_compressBound(CHUNK) + CHUNK;
    unsigned char *in = (unsigned char *)malloc(CHUNK), *out = (unsigned char *)malloc(room);
    ZSTD_CCtx *c = ZSTD_createCCtx();
    int from = open(p->in, O_RDONLY), to = open(p->out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    uint8_t hash[DIGEST_MAX_SIZE];
    uint64_t at = 0;
    ssize_t n;
    if (in == NULL || out == NULL || c == NULL || from < 0 || to < 0) return 1;
    while ((n = pread(from, in, CHUNK, (off_t)at)) > 0) {
        size_t made;
        (void)digest_of(DIGEST_BLAKE3, in, (size_t)n, hash);
        made = compress_it(c, out, room, in, (size_t)n, p);
        if (made == 0 || !write_all(to, made < (size_t)n ? out : in,
                                    made < (size_t)n ? made : (size_t)n))
            return 1;
        at += (uint64_t)n;
    }
    return n != 0;
}

// ---------------------------------------------------------------------------------- unique content

/* What files have in common is found by chunks of some 4 KiB, and comes once. */
static int keep_unique(const void *user)
{
    const packing *p = (const packing *)user;
    const uint64_t most = mib << 20;
    unsigned char *buf = (unsigned char *)malloc(16384);
    hexz_pack *archive = NULL;
    hexz_pack_entry x;
    FILE *in = fopen(p->in, "rb"), *out = fopen(unique_path, "wb");
    uint64_t i, n = 0;
    int ok = buf != NULL && in != NULL && out != NULL &&
             hexz_pack_open(&archive, p->out, NULL, NULL) == POSIO_OK;
    if (!ok) return 1;
    for (i = 0; n < most && hexz_pack_entry_at(archive, i, &x, NULL) == POSIO_OK; i++) {
        size_t size = x.size < most - n ? (size_t)x.size : (size_t)(most - n);
        if (x.kind == HEXZ_PACK_DUPLICATE || x.kind == HEXZ_PACK_ZERO) continue;
        if (fseeko(in, (off_t)x.offset, SEEK_SET) != 0 || fread(buf, 1, size, in) != size ||
            fwrite(buf, 1, size, out) != size)
            return 1;
        n += size;
    }
    hexz_pack_close(archive);
    free(buf);
    fclose(in);
    return fclose(out) != 0;
}

static void make_unique(void)
{
    packing p;
    bench_cost ignored;
    memset(&p, 0, sizeof p);
    p.in = large_path;
    p.out = made_path;
    p.codec = HEXZ_PACK_CODEC_NONE;
    p.chunk_avg = 4096;
    collect_all(large_path, (mib << 20) + (mib << 19));
    require(bench_child(pack_it, &p, &ignored) == 0, "finding what is unique");
    require(bench_child(keep_unique, &p, &ignored) == 0, "keeping what is unique");
    (void)unlink(large_path);
    (void)unlink(made_path);
    if (size_of_file(unique_path) < mib << 20 && !bench.json)
        printf("(this system has %.0f MiB of files)\n", (double)size_of_file(unique_path) / MIB);
}

// ---------------------------------------------------------------------------------- engines

enum { OURS, LIMIT, PEER };

typedef struct engine {
    const char *name;
    int kind;
    packing ours;
    bench_command prepare, command, restore; /* restore gives the content to standard output */
    const char *made;                        /* a file or a folder; removed after each round */
    int absent, checked;
    bench_cost best;
    uint64_t size;
} engine;

static int files_are_equal(const char *a, const char *b)
{
    static unsigned char pa[MIB], pb[MIB];
    FILE *fa = fopen(a, "rb"), *fb = fopen(b, "rb");
    size_t n = 1, m = 1;
    int same = fa != NULL && fb != NULL;
    while (same && n != 0) {
        n = fread(pa, 1, MIB, fa);
        m = fread(pb, 1, MIB, fb);
        same = n == m && memcmp(pa, pb, n) == 0;
    }
    if (fa != NULL) fclose(fa);
    if (fb != NULL) fclose(fb);
    return same;
}

static void check(engine *e)
{
    bench_cost ignored;
    char restored[BENCH_PATH];
    int ok = 1;
    if (e->kind == OURS) ok = bench_child(check_it, &e->ours, &ignored) == 0;
    if (e->kind == PEER && e->restore.argv[0] != NULL) {
        e->restore.out = bench_path(restored, "restored");
        ok = bench_run(&e->restore, &ignored) == 0 && files_are_equal(restored, e->ours.in);
        (void)unlink(restored);
    }
    if (!ok) bench_complain(e->name, "what it made does not hold the content");
    e->checked = 1;
}

static void take(engine *e)
{
    bench_cost c = {0, 0, 0}, ignored;
    int r;
    if (e->absent) return;
    bench_remove_tree(e->made);
    r = e->prepare.argv[0] != NULL ? bench_run(&e->prepare, &ignored) : 0;
    if (r == 0 && e->kind == OURS) r = bench_child(pack_it, &e->ours, &c);
    else if (r == 0 && e->kind == LIMIT) r = bench_child(limit_it, &e->ours, &c);
    else if (r == 0) r = bench_run(&e->command, &c);
    if (r == BENCH_ABSENT) {
        e->absent = 1;
        fprintf(stderr, "SKIP %s: it is not installed\n", e->name);
        return;
    }
    if (r != 0) {
        bench_complain(e->name, "failed");
        e->absent = 1;
        return;
    }
    if (e->kind == LIMIT) c.wall = c.cpu / THREADS;
    e->size = size_of_tree(e->made);
    if (!e->checked) check(e);
    bench_remove_tree(e->made);
    bench_keep_best(&e->best, c);
}

static void report(const char *section, const engine *e, uint64_t bytes)
{
    if (e->absent || e->best.wall == 0) return;
    if (bench.json)
        printf("{\"section\":\"%s\",\"engine\":\"%s\",\"wall\":%.4f,\"cpu\":%.4f,\"mib\":%.1f,"
               "\"bytes\":%llu,\"made\":%llu,\"bytes_per_second\":%.0f}\n",
               section, e->name, e->best.wall, e->best.cpu, e->best.mib, (unsigned long long)bytes,
               (unsigned long long)e->size, (double)bytes / e->best.wall);
    else
        printf("  %-42s %7.3f s %7.3f s CPU %6.3f GB/s %8.1f MiB made %5.0f MiB RAM\n", e->name,
               e->best.wall, e->best.cpu, (double)bytes / e->best.wall / 1e9,
               (double)e->size / MIB, e->best.mib);
    fflush(stdout);
}

/* "ours against theirs": how many times as fast, by the clock and by CPU, and as large. */
static void compare(const char *what, const engine *ours, const engine *theirs, double speed,
                    double size)
{
    char a[32], b[32];
    double fast = bench_ratio(theirs->best.wall, ours->best.wall);
    double cpu = bench_ratio(theirs->best.cpu, ours->best.cpu);
    double large = theirs->size != 0 ? (double)ours->size / (double)theirs->size : 0;
    if (fast == 0 || ours->absent || theirs->absent) return;
    if (bench.json)
        printf("{\"compare\":\"%s\",\"speed\":%.3f,\"cpu\":%.3f,\"size\":%.3f}\n", what, fast, cpu,
               large);
    else
        printf("  %-34s speed x%-11s  by CPU x%.2f  size x%s\n", what, bench_goal(a, fast, speed),
               cpu, bench_goal(b, large, size));
}

static void run_all(const char *section, engine *engines, size_t count, const char *in)
{
    uint32_t r;
    size_t i;
    for (r = 0; r < rounds; r++)
        for (i = 0; i < count; i++) take(&engines[i]);
    for (i = 0; i < count; i++) report(section, &engines[i], size_of_file(in));
}

static engine ours(const char *name, int kind, const char *in, const char *out, uint32_t codec,
                   uint32_t chunker)
{
    engine e;
    memset(&e, 0, sizeof e);
    e.name = name;
    e.kind = kind;
    e.ours.in = in;
    e.ours.out = e.made = out;
    e.ours.codec = codec;
    e.ours.chunker = chunker;
#if !defined(HEXZ_PACK_LZ4)
    e.absent = codec == HEXZ_PACK_CODEC_LZ4;
#endif
    return e;
}

static engine peer(const char *name, const char *in, const char *made)
{
    engine e;
    memset(&e, 0, sizeof e);
    e.name = name;
    e.kind = PEER;
    e.ours.in = in;
    e.made = made;
    return e;
}

/* Appends words to a command. */
static void say(bench_command *c, const char *a, const char *b, const char *d)
{
    size_t i = 0;
    while (c->argv[i] != NULL) i++;
    require(i + 3 < sizeof c->argv / sizeof c->argv[0], "a command of many words");
    c->argv[i] = a;
    if (b != NULL) c->argv[i + 1] = b;
    if (b != NULL && d != NULL) c->argv[i + 2] = d;
}

static engine zstd_peer(const char *in, const char *made)
{
    engine e = peer("zstd -T2 -3", in, made);
    say(&e.command, "zstd", "-T2", "-3");
    say(&e.command, "-q", "-f", in);
    say(&e.command, "-o", made, NULL);
    say(&e.restore, "zstd", "-dqc", made);
    return e;
}

static engine squashfs_peer(const char *name, const char *in, const char *made, const char *codec)
{
    engine e = peer(name, in, made);
    say(&e.command, "mksquashfs", in, made);
    say(&e.command, "-noappend", "-no-progress", "-comp");
    say(&e.command, codec, "-b", "64K");
    say(&e.command, "-processors", "2", NULL);
    if (strcmp(codec, "zstd") == 0) say(&e.command, "-Xcompression-level", "3", NULL);
    say(&e.restore, "unsquashfs", "-cat", made);
    say(&e.restore, strrchr(in, '/') + 1, NULL, NULL);
    return e;
}

/* Where they keep it is told by the environment. */
static engine restic_peer(const char *in, const char *made)
{
    engine e = peer("restic backup", in, made);
    say(&e.prepare, "restic", "init", "-q");
    say(&e.command, "restic", "backup", "-q");
    say(&e.command, "--no-cache", in, NULL);
    say(&e.restore, "restic", "dump", "--no-cache");
    say(&e.restore, "latest", in, NULL);
    return e;
}

static engine borg_peer(const char *name, const char *in, const char *made, const char *chunker)
{
    engine e = peer(name, in, made);
    say(&e.prepare, "borg", "init", "-e");
    say(&e.prepare, "none", NULL, NULL);
    say(&e.command, "borg", "create", "-C");
    say(&e.command, "zstd,3", NULL, NULL);
    if (chunker != NULL) say(&e.command, "--chunker-params", chunker, NULL);
    say(&e.command, "::a", in, NULL);
    say(&e.restore, "borg", "extract", "--stdout");
    say(&e.restore, "::a", NULL, NULL);
    return e;
}

// ---------------------------------------------------------------------------------- sections

static void bench_unique(void)
{
    engine e[9];
    e[0] = ours("limit: zstd:3, CPU / 2", LIMIT, unique_path, made_path, HEXZ_PACK_CODEC_ZSTD, 0);
    e[1] = ours("pack zstd:3, fixed 64 KiB", OURS, unique_path, made_path, HEXZ_PACK_CODEC_ZSTD,
                HEXZ_PACK_FIXED);
    e[2] = ours("pack zstd:3, content-defined", OURS, unique_path, made_path, HEXZ_PACK_CODEC_ZSTD,
                HEXZ_PACK_CDC);
    e[3] = zstd_peer(unique_path, made_path);
    e[4] = squashfs_peer("mksquashfs zstd:3, 64 KiB", unique_path, made_path, "zstd");
    e[5] = ours("limit: lz4, CPU / 2", LIMIT, unique_path, made_path, HEXZ_PACK_CODEC_LZ4, 0);
    e[6] = ours("pack lz4, fixed 64 KiB", OURS, unique_path, made_path, HEXZ_PACK_CODEC_LZ4,
                HEXZ_PACK_FIXED);
    e[7] = ours("pack lz4, content-defined", OURS, unique_path, made_path, HEXZ_PACK_CODEC_LZ4,
                HEXZ_PACK_CDC);
    e[8] = squashfs_peer("mksquashfs lz4, 64 KiB", unique_path, made_path, "lz4");
    bench_title("unique: files of this system, two threads");
    run_all("unique", e, 9, unique_path);
    compare("zstd:3 fixed to the limit", &e[1], &e[0], 0.95, 0);
    compare("lz4 fixed to the limit", &e[6], &e[5], 0.90, 0);
    compare("zstd:3 fixed to zstd -T2 -3", &e[1], &e[3], 1.0, 0);
    compare("zstd:3 fixed to mksquashfs", &e[1], &e[4], 1.05, 0);
    compare("lz4 fixed to mksquashfs", &e[6], &e[8], 1.05, 0);
    compare("zstd:3 content-defined to fixed", &e[2], &e[1], 0.90, 0);
    compare("lz4 content-defined to fixed", &e[7], &e[6], 0.90, 0);
}

static void bench_generations(void)
{
    engine e[4];
    make_generations(large_path, unique_path);
    e[0] = ours("pack, defaults", OURS, large_path, made_path, HEXZ_PACK_CODEC_ZSTD, 0);
    e[1] = restic_peer(large_path, repository);
    e[2] = borg_peer("borg -C zstd,3", large_path, repository, NULL);
    e[3] = borg_peer("borg -C zstd,3, buzhash,14,18,16,4095", large_path, repository,
                     "buzhash,14,18,16,4095");
    bench_title("generations: three states of an image, 5 % overwritten each time");
    run_all("generations", e, 4, large_path);
    compare("pack to restic", &e[0], &e[1], 5, 1.0);
    compare("pack to borg", &e[0], &e[2], 3, 1.0);
    compare("pack to borg with small chunks", &e[0], &e[3], 2.2, 1.10);
    (void)unlink(large_path);
}

static void bench_duplicates(void)
{
    engine e[2];
    make_duplicates(large_path, unique_path);
    e[0] = ours("pack zstd:3, content-defined (2.0 GB/s)", OURS, large_path, made_path,
                HEXZ_PACK_CODEC_ZSTD, HEXZ_PACK_CDC);
    e[1] = ours("pack zstd:3, fixed (4.0 GB/s)", OURS, large_path, made_path, HEXZ_PACK_CODEC_ZSTD,
                HEXZ_PACK_FIXED);
    bench_title("duplicates: 2 MiB again and again");
    run_all("duplicates", e, 2, large_path);
    (void)unlink(large_path);
}

static void bench_sparse(void)
{
    engine e[4];
    make_sparse(large_path, unique_path);
    e[0] = ours("pack zstd:3, content-defined", OURS, large_path, made_path, HEXZ_PACK_CODEC_ZSTD,
                HEXZ_PACK_CDC);
    e[1] = ours("pack zstd:3, fixed 64 KiB", OURS, large_path, made_path, HEXZ_PACK_CODEC_ZSTD,
                HEXZ_PACK_FIXED);
    e[2] = zstd_peer(large_path, made_path);
    e[3] = squashfs_peer("mksquashfs zstd:3, 64 KiB", large_path, made_path, "zstd");
    bench_title("sparse: an eighth is data");
    run_all("sparse", e, 4, large_path);
    compare("content-defined to zstd -T2 -3", &e[0], &e[2], 0, 0);
    compare("content-defined to mksquashfs", &e[0], &e[3], 0, 0);
    (void)unlink(large_path);
}

// ---------------------------------------------------------------------------------- reading

enum { READS = 20000, READ = 4096 };

typedef struct reading {
    const char *archive;
    uint32_t threads;
    uint64_t cache; /* bytes, so that random reads decode */
} reading;

static int read_all(const void *user)
{
    const reading *r = (const reading *)user;
    enum { PIECE = 4 << 20 };
    unsigned char *buf = (unsigned char *)malloc(PIECE);
    hexz_pack *archive = NULL;
    hexz_pack_desc desc;
    uint64_t at, size;
    int ok = buf != NULL;
    memset(&desc, 0, sizeof desc);
    desc.pool = thread_pool_create(r->threads);
    ok = ok && hexz_pack_open(&archive, r->archive, &desc, NULL) == POSIO_OK;
    size = ok ? hexz_pack_source(archive).size : 0;
    for (at = 0; ok && at < size; at += PIECE)
        ok = hexz_pack_read_at(archive, at, buf, size - at < PIECE ? (size_t)(size - at) : PIECE,
                               NULL) == POSIO_OK;
    hexz_pack_close(archive);
    (void)thread_pool_destroy(desc.pool);
    return !ok;
}

/* The same places in each round, and for the limit. */
static uint64_t place(uint64_t i, uint64_t size)
{
    random_state = i * 0x9e3779b97f4a7c15u + 1;
    (void)random_below(2);
    return random_below(size - READ);
}

static int read_at_random(const void *user)
{
    const reading *r = (const reading *)user;
    unsigned char buf[READ];
    hexz_pack *archive = NULL;
    hexz_pack_desc desc;
    uint64_t i, size;
    int ok;
    memset(&desc, 0, sizeof desc);
    desc.cache_bytes = 1; /* one chunk: the caches of a disk are not what is measured */
    ok = hexz_pack_open(&archive, r->archive, &desc, NULL) == POSIO_OK;
    size = ok ? hexz_pack_source(archive).size : 0;
    for (i = 0; ok && i < READS; i++)
        ok = hexz_pack_read_at(archive, place(i, size), buf, READ, NULL) == POSIO_OK;
    hexz_pack_close(archive);
    return !ok;
}

/* The chunks of the same places, by pread, ZSTD_decompressDCtx and BLAKE3. */
typedef struct decode_limit {
    const char *archive;
    uint64_t *offsets;
    uint32_t *stored;
} decode_limit;

static int decode_at_random(const void *user)
{
    const decode_limit *l = (const decode_limit *)user;
    unsigned char *in = (unsigned char *)malloc(HEXZ_PACK_CHUNK_MAX);
    unsigned char *out = (unsigned char *)malloc(HEXZ_PACK_CHUNK_MAX);
    ZSTD_DCtx *d = ZSTD_createDCtx();
    uint8_t hash[DIGEST_MAX_SIZE];
    int f = open(l->archive, O_RDONLY);
    uint64_t i;
    if (in == NULL || out == NULL || d == NULL || f < 0) return 1;
    for (i = 0; i < READS; i++) {
        size_t n;
        if (l->stored[i] == 0) continue; /* zeros */
        if (pread(f, in, l->stored[i], (off_t)l->offsets[i]) != (ssize_t)l->stored[i]) return 1;
        n = ZSTD_decompressDCtx(d, out, HEXZ_PACK_CHUNK_MAX, in, l->stored[i]);
        if (ZSTD_isError(n)) return 1;
        (void)digest_of(DIGEST_BLAKE3, out, n, hash);
    }
    return 0;
}

static void find_chunks(decode_limit *l)
{
    hexz_pack *archive = NULL;
    uint64_t i, size;
    l->offsets = (uint64_t *)calloc(READS, sizeof *l->offsets);
    l->stored = (uint32_t *)calloc(READS, sizeof *l->stored);
    require(l->offsets != NULL && l->stored != NULL, "memory");
    require(hexz_pack_open(&archive, l->archive, NULL, NULL) == POSIO_OK, l->archive);
    size = hexz_pack_source(archive).size;
    for (i = 0; i < READS; i++) {
        hexz_pack_entry x;
        require(hexz_pack_find(archive, place(i, size), &x, NULL) == POSIO_OK, "hexz_pack_find");
        if (x.kind == HEXZ_PACK_DUPLICATE)
            require(hexz_pack_entry_at(archive, x.original, &x, NULL) == POSIO_OK, "entry");
        if (x.kind == HEXZ_PACK_ZERO) continue;
        l->offsets[i] = x.file_offset;
        l->stored[i] = x.stored_size;
    }
    hexz_pack_close(archive);
}

static void read_line(const char *name, const bench_cost *c, double count, const char *unit)
{
    if (bench.json)
        printf("{\"section\":\"read\",\"engine\":\"%s\",\"wall\":%.4f,\"cpu\":%.4f,\"mib\":%.1f,"
               "\"per_second\":%.0f}\n",
               name, c->wall, c->cpu, c->mib, count / c->wall);
    else
        printf("  %-34s %7.3f s %7.3f s CPU %10.0f %s\n", name, c->wall, c->cpu, count / c->wall,
               unit);
}

static void take_reading(bench_cost *best, int (*body)(const void *user), const void *user,
                         const char *name)
{
    bench_cost c;
    if (bench_child(body, user, &c) != 0) bench_complain(name, "failed");
    else bench_keep_best(best, c);
}

static void bench_read(void)
{
    static const char *const names[] = {"all of it, 1 thread", "all of it, 2 threads",
                                        "4 KiB at random", "limit of that"};
    bench_cost c[4], ignored;
    engine e = ours("pack", OURS, unique_path, made_path, HEXZ_PACK_CODEC_ZSTD, HEXZ_PACK_FIXED);
    reading r;
    decode_limit l;
    char text[32];
    uint32_t k;
    memset(c, 0, sizeof c);
    memset(&r, 0, sizeof r);
    memset(&l, 0, sizeof l);
    r.archive = l.archive = made_path;
    if (bench_child(pack_it, &e.ours, &ignored) != 0) bench_complain("pack", "failed");
    check(&e); /* reads all of it, and compares */
    find_chunks(&l);
    bench_title("read: zstd:3, fixed 64 KiB");
    for (k = 0; k < rounds; k++) {
        r.threads = 1;
        take_reading(&c[0], read_all, &r, names[0]);
        r.threads = 2;
        take_reading(&c[1], read_all, &r, names[1]);
        take_reading(&c[2], read_at_random, &r, names[2]);
        take_reading(&c[3], decode_at_random, &l, names[3]);
    }
    for (k = 0; k < 2; k++)
        read_line(names[k], &c[k], (double)size_of_file(unique_path) / 1e6, "MB/s");
    for (k = 2; k < 4; k++) read_line(names[k], &c[k], READS, "reads/s");
    if (!bench.json) {
        printf("  two threads to one: x%s\n",
               bench_goal(text, bench_ratio(c[0].wall, c[1].wall), 1.85));
        printf("  at random to the limit: x%s\n",
               bench_goal(text, bench_ratio(c[3].wall, c[2].wall), 0.90));
    }
    free(l.offsets);
    free(l.stored);
    bench_remove("made");
}

// ---------------------------------------------------------------------------------- main

static int take_options(int argc, char **argv)
{
    int i;
    for (i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--json") == 0) {
            bench.json = 1;
            continue;
        }
        if (strcmp(argv[i], "--rounds") == 0) rounds = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--mib") == 0) mib = strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--folder") == 0) bench.folder = value;
        else if (strcmp(argv[i], "--only") == 0) bench.section = value;
        else return 0;
        i++;
    }
    return rounds != 0 && mib != 0;
}

/* Of restic and borg: nothing of theirs is left, and nothing of the user's is touched. */
static void set_environment(void)
{
    setenv("RESTIC_REPOSITORY", repository, 1);
    setenv("RESTIC_PASSWORD", "bench", 1);
    setenv("BORG_REPO", repository, 1);
    setenv("BORG_BASE_DIR", bench.own, 1);
    setenv("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes", 1);
    setenv("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes", 1);
    setenv("GOMAXPROCS", "2", 1);
}

int main(int argc, char **argv)
{
    const char *tmp = getenv("TMPDIR");
    bench.name = "bench_hexz_pack";
    bench.folder = tmp != NULL ? tmp : "/tmp";
    if (!take_options(argc, argv)) {
        fputs("usage: bench_hexz_pack [--json] [--rounds N] [--mib N] [--folder DIR] "
              "[--only SECTION]\n",
              stderr);
        return 2;
    }
    if (!bench_open_folder()) return 2;
    (void)bench_path(unique_path, "unique");
    (void)bench_path(large_path, "large");
    (void)bench_path(made_path, "made");
    (void)bench_path(repository, "repository");
    set_environment();
    make_unique();
    if (bench_wants("unique")) bench_unique();
    if (bench_wants("generations")) bench_generations();
    if (bench_wants("duplicates")) bench_duplicates();
    if (bench_wants("sparse")) bench_sparse();
    if (bench_wants("read")) bench_read();
    bench_close_folder();
    return bench.bad;
}
