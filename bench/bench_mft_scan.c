/* bench_mft_scan.c - records per second of mft_scan.h, beside a bare loop, sleuthkit, ntfs-3g and
   libfsntfs.

       cc -O2 -pthread bench/bench_mft_scan.c -o bench_mft_scan
       bench_mft_scan [--json] [--quick] [--rounds N] [--slots N] [--most N] [--peer-slots N]
                      [--only SECTION] [--tool PROGRAM] [--folder DIR]

   A seeded generator (tests/fixtures/mft_generate.h) makes a raw $MFT of N slots (1,000,000) and a
   volume of as many with true folder indexes, in TMPDIR or DIR: 2.5 KiB for each slot, or 1 KiB for
   each of --most (5,000,000). They are read once before, so all is cached. Figures are the best of
   N rounds (5), of peers and tools 3 (of what takes 15 seconds only 1), in which all take turns, in
   every other round backwards; every scan and every program in a process of its own; wall and CPU
   of a scan are those of mft_scan_open alone, its peak of memory is that of the process. --quick is
   one round of at most 100,000 slots. What is not installed is left out.

     modes     raw and volume, lean and full columns, every mode, 1 and 2 threads. "floor" is a loop
               over the raw $MFT that reads 1 MiB, verifies and applies the fixup, walks the
               attributes and adds up all units of names: what cannot be avoided
     flat      cost of a record, peak and index of 0.1, 1, 4 and 5 million slots; "kernel" is the
               part of the CPU that reading and memory touched for the first time take
     deferred  joining 20,000 records that are spread over others; the streaming visitor, too
     peers     a volume of --peer-slots (200,000): fls -r, fls -r -p -m /, ils -e, ntfsls -R,
               fsntfsinfo -H, and of the same the index and PROGRAM's bodyfile. It is smaller, for
               fls needs more for each name the more there are: it keeps the deleted ones in a
               sorted list that it walks for each, and where a file has 1,000 links, it reads all
               of its records and attributes anew for each link
     tool      PROGRAM, build/mft_scan by default: CSV, bodyfile, nothing, of the large volume

   Checked: every count of the generator's manifest and its digest of all names, for each input,
   columns, mode and number of threads; names that the others and the tool print, counted; rows.
   Exit code 1 when any of it differs, never for a time. In parentheses: what it should be. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif
#define _FILE_OFFSET_BITS 64
#define MFT_SCAN_IMPLEMENTATION
#include "../mft_scan.h"

#include "../tests/fixtures/mft_generate.h"
#include "bench.h"

enum { MIB = 1 << 20, VISIT = 100, FLOOR = 101 }; /* the last two in place of a mode */
enum { SLOW = 15 }; /* seconds: a program that takes longer has one round */

static uint64_t slots, most_slots, peer_slots;
static int rounds, quick;
static const char *tool = "build/mft_scan";

// ---------------------------------------------------------------------------------- inputs

typedef struct input {
    char path[BENCH_PATH];
    const char *name;
    mft_generate_options options;
    mft_generate_result *want; /* the manifest, shared */
} input;

static int generate(const void *user)
{
    const input *in = (const input *)user;
    return mft_generate(in->path, &in->options, in->want) != 0;
}

static int make_input(input *in, const char *name, uint64_t n, int volume)
{
    char file[32];
    bench_cost c;
    memset(in, 0, sizeof *in);
    in->name = name;
    snprintf(file, sizeof file, "%s.mft", name);
    (void)bench_path(in->path, file);
    in->options.slots = n;
    in->options.volume = in->options.index = volume;
    in->want = (mft_generate_result *)bench_shared(sizeof *in->want);
    if (bench_child(generate, in, &c) == 0) return 1;
    bench_complain(in->path, "cannot be made");
    return 0;
}

static void drop_input(input *in)
{
    (void)unlink(in->path);
    (void)munmap(in->want, sizeof *in->want);
}

/* Names of records in use that a folder's index holds; DOS names and the root's own apart. */
static uint64_t names_in_tree(const mft_generate_result *m)
{
    return m->names_without_dos - m->orphans - 1;
}

// ---------------------------------------------------------------------------------- the floor

typedef struct floor_loop {
    int file;
    uint64_t size;
    uint32_t next; /* atomic: the next MiB */
    uint64_t names[2], units[2], torn[2], in_use_units[2], in_use_names[2]; /* of each worker */
} floor_loop;

static uint32_t get2(const unsigned char *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t get4(const unsigned char *p) { return get2(p) | get2(p + 2) << 16; }

/* Update sequence array: each pair of bytes at the end of 512 is verified, then replaced. */
static int floor_fixup(unsigned char *p)
{
    uint32_t at = get2(p + 4), count = get2(p + 6), i;
    int torn = 0;
    if (count != 3 || at > 1024 - 6) return 1;
    for (i = 1; i < count; i++) {
        unsigned char *tail = p + 512 * i - 2;
        torn |= get2(tail) != get2(p + at);
        memcpy(tail, p + at + 2 * i, 2);
    }
    return torn;
}

static void floor_record(floor_loop *f, uint32_t part, unsigned char *p)
{
    uint32_t at, used, names = 0, units = 0, i;
    if (memcmp(p, "FILE", 4) != 0) return;
    f->torn[part] += (uint64_t)floor_fixup(p);
    at = get2(p + 20);
    used = get4(p + 24);
    if (used > 1024) used = 1024;
    while (at + 24 <= used) {
        const uint32_t type = get4(p + at), length = get4(p + at + 4), value = get2(p + at + 20);
        if (type == 0xffffffff || length < 24 || length > used - at) break;
        if (type == 0x30 && value + 66 <= length) {
            const unsigned char *name = p + at + value;
            const uint32_t n = name[64];
            if (value + 66 + 2 * n > length) break;
            for (i = 0; i < n; i++) units += get2(name + 66 + 2 * i);
            names++;
            if (get2(p + 22) & 1) f->in_use_units[part] += n;
        }
        at += length;
    }
    f->names[part] += names;
    f->units[part] += units;
    if (get2(p + 22) & 1) f->in_use_names[part] += names;
}

static posio_result floor_part(void *user, uint32_t part, posio_error *err)
{
    floor_loop *f = (floor_loop *)user;
    unsigned char *buf = (unsigned char *)malloc(MIB);
    floor_loop own; /* counters that share no cache line */
    uint64_t at;
    int ok = buf != NULL;
    memset(&own, 0, sizeof own);
    while (ok && (at = (uint64_t)posio_atomic_add(&f->next, 1) * MIB) < f->size) {
        size_t n = (size_t)posio_min(MIB, f->size - at), i;
        ok = pread(f->file, buf, n, (off_t)at) == (ssize_t)n;
        for (i = 0; i < n && ok; i += 1024) floor_record(&own, part, buf + i);
    }
    f->names[part] = own.names[part];
    f->units[part] = own.units[part];
    f->torn[part] = own.torn[part];
    f->in_use_units[part] = own.in_use_units[part];
    f->in_use_names[part] = own.in_use_names[part];
    free(buf);
    return ok ? POSIO_OK : posio_fail(err, POSIO_E_IO, POSIO_NO_OFFSET, "reading");
}

// ---------------------------------------------------------------------------------- scans

typedef struct result {
    bench_cost cost;
    double kernel; /* seconds of the CPU: reading, and memory touched for the first time */
    mft_scan_stats stats;
    uint32_t mode;
    /* where all is checked: */
    uint64_t digest, digest_free, tree, rows;
    double floor_sum;
} result;

typedef struct scan {
    const input *in;
    uint32_t mode, columns, threads;
    int check;   /* walk all of the index */
    result *out; /* shared */
} scan;

static uint64_t digest_row(uint64_t h, const mft_scan_record *r, const mft_scan_name *n)
{
    char row[160];
    size_t k = mft_generate_decimal(row, r->number, ',');
    k += mft_generate_decimal(row + k, r->sequence, ',');
    k += mft_generate_decimal(row + k, MFT_SCAN_NUMBER(n->parent), ',');
    k += mft_generate_decimal(row + k, MFT_SCAN_SEQUENCE(n->parent), ',');
    k += mft_generate_decimal(row + k, r->flags & MFT_SCAN_HAS_SIZE ? r->size : 0, ',');
    k += mft_generate_decimal(row + k, r->modified, ',');
    h = mft_generate_fnv(h, row, k);
    h = mft_generate_fnv(h, n->text, n->length);
    return mft_generate_fnv(h, "\n", 1);
}

/* The manifest's digests, from the index; and how many rows a listing of it has. */
static void walk(const mft_scan *s, result *out)
{
    const uint64_t n = mft_scan_info(s)->slots;
    mft_scan_record r;
    mft_scan_name name;
    uint64_t i;
    out->digest = out->digest_free = MFT_GENERATE_FNV_START;
    out->tree = 0;
    out->rows = out->stats.names + out->stats.named_streams;
    for (i = 0; i < n && mft_scan_get_record(s, i, &r) == POSIO_OK; i++) {
        const int in_use = r.state == MFT_SCAN_IN_USE;
        posio_result more = mft_scan_first_name(s, i, &name);
        if (r.flags & MFT_SCAN_EXTENSION) continue;
        if (more != POSIO_OK && r.state != MFT_SCAN_NEVER_WRITTEN) out->rows++;
        if (!in_use && r.state != MFT_SCAN_FREE) continue;
        for (; more == POSIO_OK; more = mft_scan_next_name(s, &name)) {
            uint64_t *h = in_use ? &out->digest : &out->digest_free;
            *h = digest_row(*h, &r, &name);
            out->tree += in_use && i != 5 && name.name_space != MFT_SCAN_DOS &&
                         mft_scan_parent(s, &name) == MFT_SCAN_PARENT_OK;
        }
    }
}

static int visit_record(void *user, const mft_scan *view, uint64_t number)
{
    mft_scan_record r;
    if (mft_scan_get_record(view, number, &r) == POSIO_OK) ++*(uint64_t *)user;
    return 0;
}

static double kernel_cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_stime.tv_sec + (double)u.ru_stime.tv_usec * 1e-6;
}

/* The scan alone is timed, and its peak of memory taken before the check. */
static posio_result scan_once(const scan *t, const mft_scan_desc *desc, mft_scan **s,
                              posio_error *err)
{
    posio_file *file = NULL;
    posio_source source;
    uint64_t visited = 0;
    posio_result r;
    if (t->mode != VISIT) return mft_scan_open(s, t->in->path, desc, err);
    r = posio_file_open(&file, t->in->path, NULL, err);
    if (r != POSIO_OK) return r;
    source = posio_file_source(file);
    r = mft_scan_visit(&source, desc, visit_record, &visited, &t->out->stats, err);
    posio_file_close(file);
    return r;
}

static int scan_body(const void *user)
{
    const scan *t = (const scan *)user;
    result *out = t->out;
    thread_pool *pool = thread_pool_create(t->threads);
    mft_scan *s = NULL;
    mft_scan_desc desc;
    posio_error err;
    posio_result r;
    double cpu = bench_cpu(), kernel = kernel_cpu(), begin = bench_now();
    memset(&desc, 0, sizeof desc);
    memset(&err, 0, sizeof err);
    desc.pool = pool;
    desc.mode = t->mode == VISIT ? 0 : t->mode;
    desc.columns = t->columns;
    r = scan_once(t, &desc, &s, &err);
    out->cost.wall = bench_now() - begin;
    out->cost.cpu = bench_cpu() - cpu;
    out->kernel = kernel_cpu() - kernel;
    out->cost.mib = bench_peak();
    if (r != POSIO_OK) fprintf(stderr, "%s\n", err.message);
    if (s != NULL) {
        out->stats = *mft_scan_get_stats(s);
        out->mode = mft_scan_info(s)->mode;
        if (t->check) walk(s, out);
    }
    mft_scan_close(s);
    (void)thread_pool_destroy(pool);
    return r != POSIO_OK;
}

static int floor_body(const void *user)
{
    const scan *t = (const scan *)user;
    const mft_generate_result *m = t->in->want;
    thread_pool *pool = thread_pool_create(t->threads);
    double cpu = bench_cpu(), begin = bench_now();
    floor_loop f;
    posio_result r;
    memset(&f, 0, sizeof f);
    f.file = open(t->in->path, O_RDONLY);
    f.size = m->bytes;
    r = thread_pool_parallel_for(pool, t->threads, floor_part, &f, NULL);
    t->out->cost.wall = bench_now() - begin;
    t->out->cost.cpu = bench_cpu() - cpu;
    t->out->cost.mib = bench_peak();
    t->out->floor_sum = (double)(f.units[0] + f.units[1]);
    (void)close(f.file);
    (void)thread_pool_destroy(pool);
    return r != POSIO_OK || f.in_use_names[0] + f.in_use_names[1] != m->names ||
           f.in_use_units[0] + f.in_use_units[1] != m->name_units ||
           f.torn[0] + f.torn[1] != m->torn + m->torn_slack;
}

typedef struct expected {
    const char *what;
    uint64_t got, want;
} expected;

static int is_expected(const scan *t)
{
    const mft_generate_result *m = t->in->want;
    const mft_scan_stats *s = &t->out->stats;
    const expected e[] = {
        {"slots", s->slots, m->slots},
        {"in use", s->in_use, m->in_use},
        {"free", s->free_records, m->free},
        {"never written", s->never_written, m->never_written},
        {"BAAD", s->baad, m->baad},
        {"bad signature", s->bad_signature, m->bad_signature},
        {"unread", s->unread, m->unread},
        {"extension", s->extension, m->extension},
        {"orphan extension", s->orphan_extension, m->orphan_extension},
        {"torn", s->torn, m->torn},
        {"directories", s->directories, m->directories},
        {"hard links", s->hard_linked_records, m->hard_linked_records},
        {"lists", s->lists, m->lists},
        {"list mismatches", s->list_mismatches, 0},
        {"deferred", s->deferred, m->lists},
        {"read errors", s->io_errors, 0},
        {"named streams", s->named_streams, m->named_streams + m->named_streams_free},
        /* a damaged record has one name, and is in neither sum of the manifest */
        {"names", s->names, m->names + m->names_free + m->names_orphan_extension + m->baad},
        {"digest", t->check ? t->out->digest : m->digest, m->digest},
        {"digest of the free", t->check ? t->out->digest_free : m->digest_free, m->digest_free},
        {"names in folders", t->check ? t->out->tree : names_in_tree(m), names_in_tree(m)}};
    size_t i;
    int ok = 1;
    for (i = 0; i < sizeof e / sizeof e[0]; i++) {
        char text[200];
        if (e[i].got == e[i].want) continue;
        ok = 0;
        snprintf(text, sizeof text, "%s: %llu instead of %llu (%s, %u thread(s), columns %u)",
                 e[i].what, (unsigned long long)e[i].got, (unsigned long long)e[i].want,
                 mft_scan_mode_name(t->mode), (unsigned)t->threads, (unsigned)t->columns);
        bench_complain(t->in->name, text);
    }
    return ok;
}

/* One scan in a process of its own; 0 when it failed or is wrong. */
static int run_scan(scan *t)
{
    bench_cost c;
    int code;
    memset(t->out, 0, sizeof *t->out);
    code = bench_child(t->mode == FLOOR ? floor_body : scan_body, t, &c);
    if (code != 0) bench_complain(t->in->name, t->mode == FLOOR ? "floor: wrong" : "scan failed");
    return code == 0 && (t->mode == FLOOR || is_expected(t));
}

// ---------------------------------------------------------------------------------- a table

/* A scan, and the best of its rounds. */
typedef struct engine {
    scan task;
    bench_cost best;
    result last;
    double deferred, kernel; /* seconds, the best */
} engine;

enum { MOST_ENGINES = 40 };
typedef struct table {
    engine e[MOST_ENGINES];
    int count;
} table;

static void add_scan(table *t, const input *in, uint32_t mode, uint32_t columns, uint32_t threads)
{
    static result *out;
    engine *e = &t->e[t->count++];
    if (out == NULL) out = (result *)bench_shared(sizeof *out);
    memset(e, 0, sizeof *e);
    e->task.in = in;
    e->task.mode = mode;
    e->task.columns = columns;
    e->task.threads = threads;
    e->task.out = out;
}

static void run_one(engine *e, int check)
{
    double deferred, kernel;
    e->task.check = check;
    if (!run_scan(&e->task)) return;
    if (check) {
        e->last = *e->task.out;
        return;
    }
    deferred = (double)e->task.out->stats.deferred_ns * 1e-9;
    kernel = e->task.out->kernel;
    if (e->best.wall == 0 || deferred < e->deferred) e->deferred = deferred;
    if (e->best.wall == 0 || kernel < e->kernel) e->kernel = kernel;
    bench_keep_best(&e->best, e->task.out->cost);
    e->last.mode = e->task.out->mode;
    e->last.stats = e->task.out->stats;
}

/* Every other round runs backwards. In a virtual machine whoever takes more memory than all before
   it gets pages that the host must provide first: 0.37 s instead of 0.24 s for a scan that came
   after smaller ones. In one order that would be the same entry in each round. */
static int in_turn(int round, int i, int count) { return round & 1 ? count - 1 - i : i; }

/* Once with everything checked, which makes the input cached, too; then the rounds. */
static void run_table(table *t, int times)
{
    int r, i;
    for (i = 0; i < t->count; i++) run_one(&t->e[i], 1);
    for (r = 0; r < times; r++)
        for (i = 0; i < t->count; i++) run_one(&t->e[in_turn(r, i, t->count)], 0);
}

static const engine *find(const table *t, const engine *like, uint32_t mode)
{
    int i;
    for (i = 0; i < t->count; i++) {
        const scan *s = &t->e[i].task;
        if (s->mode == mode && s->threads == like->task.threads && t->e[i].best.wall != 0 &&
            (mode == FLOOR || (s->in == like->task.in && s->columns == like->task.columns)))
            return &t->e[i];
    }
    return NULL;
}

/* The best wall time of the modes that can be asked for, of the same scan. */
static double best_mode(const table *t, const engine *e)
{
    double best = 0;
    uint32_t mode;
    for (mode = MFT_SCAN_SERIAL; mode <= MFT_SCAN_PIPELINED_PARALLEL; mode++) {
        const engine *p = find(t, e, mode);
        if (p != NULL && (best == 0 || p->best.wall < best)) best = p->best.wall;
    }
    return best;
}

static const char *name_of(const engine *e, char text[64])
{
    const uint32_t mode = e->task.mode;
    if (mode == FLOOR) return strcpy(text, "floor");
    if (mode == VISIT) return strcpy(text, "visit");
    if (mode == e->last.mode) snprintf(text, 64, "%s", mft_scan_mode_name(mode));
    else snprintf(text, 64, "%s (%s)", mft_scan_mode_name(mode), mft_scan_mode_name(e->last.mode));
    return text;
}

static void print_scan(const char *section, const table *t, const engine *e)
{
    const scan *s = &e->task;
    const double n = (double)s->in->want->slots, rate = n / e->best.wall * 1e-6;
    const engine *bare = find(t, e, FLOOR);
    const char *columns = s->mode == FLOOR ? "" : s->columns == MFT_SCAN_FULL ? "full" : "lean";
    const int full = s->mode < VISIT && s->columns == MFT_SCAN_FULL;
    double goal = !full ? 0 : s->threads == 1 ? 5 : 8, to_best, to_floor;
    char a[32], b[32], c[32], name[64];
    if (e->best.wall == 0) return;
    if (s->mode == MFT_SCAN_SERIAL && s->threads > 1) goal = 0;
    to_best = s->mode < VISIT ? bench_ratio(best_mode(t, e), e->best.wall) : 0;
    to_floor = bare != NULL && bare != e ? bench_ratio(bare->best.wall, e->best.wall) : 0;
    if (bench.json)
        printf("{\"bench\":\"mft_scan\",\"what\":\"%s\",\"input\":\"%s\",\"slots\":%.0f,"
               "\"columns\":\"%s\",\"mode\":\"%s\",\"threads\":%u,\"seconds\":%.5f,"
               "\"cpu_seconds\":%.5f,\"records_per_second\":%.0f,\"goal\":%.0f,\"to_best\":%.3f,"
               "\"to_floor\":%.3f,\"peak_mib\":%.1f,\"index_bytes\":%llu}\n",
               section, s->in->name, n, columns, name_of(e, name), (unsigned)s->threads,
               e->best.wall, e->best.cpu, rate * 1e6, goal * 1e6, to_best, to_floor, e->best.mib,
               (unsigned long long)e->last.stats.index_bytes);
    else
        printf("  %-7s%-5s %-29s%2u  %8.4f  %8.4f  %12s  %6.2f  %12s  %7s  %8.1f\n", s->in->name,
               columns, name_of(e, name), (unsigned)s->threads, e->best.wall, e->best.cpu,
               bench_goal(a, rate, goal), n / e->best.cpu * 1e-6,
               bench_goal(b, to_best, s->mode == MFT_SCAN_AUTO ? 0.95 : 0),
               bench_goal(c, to_floor, 0), e->best.mib);
}

static void print_head(const char *title)
{
    bench_title(title);
    if (!bench.json)
        printf("  %-7s%-5s %-29s%2s  %8s  %8s  %12s  %6s  %12s  %7s  %8s\n", "input", "cols",
               "mode", "th", "wall, s", "CPU, s", "M/s (should)", "M/CPU s", "x best mode",
               "x floor", "peak,MiB");
}

// ---------------------------------------------------------------------------------- modes

static void bench_modes(const input *raw, const input *volume)
{
    static table t;
    uint32_t mode, columns, threads;
    int v, i;
    for (threads = 1; threads <= 2; threads++) add_scan(&t, raw, FLOOR, 0, threads);
    for (v = 0; v < 2; v++)
        for (columns = MFT_SCAN_LEAN; columns <= MFT_SCAN_FULL; columns++)
            for (threads = 1; threads <= 2; threads++)
                for (mode = MFT_SCAN_AUTO; mode <= MFT_SCAN_PIPELINED_PARALLEL; mode++)
                    add_scan(&t, v ? volume : raw, mode, columns, threads);
    run_table(&t, rounds);
    print_head(
        "modes; full columns should reach 5 M/s with 1 thread, 8 M/s with 2 (better: 6, 10)");
    for (i = 0; i < t.count; i++) print_scan("modes", &t, &t.e[i]);
}

// ---------------------------------------------------------------------------------- flat

static void print_flat(const engine *e, double per_record_1)
{
    const mft_generate_result *m = e->task.in->want;
    const mft_scan_stats *s = &e->last.stats;
    const int full = e->task.columns == MFT_SCAN_FULL;
    const double n = (double)m->slots, ns = e->best.wall * 1e9 / n;
    const double per_name = (double)s->index_bytes / (double)s->names;
    const double per_record = (double)s->index_bytes / (double)(s->in_use + s->free_records);
    if (e->best.wall == 0) return;
    if (bench.json)
        printf("{\"bench\":\"mft_scan\",\"what\":\"flat\",\"slots\":%.0f,\"columns\":\"%s\","
               "\"threads\":%u,\"ns_per_record\":%.2f,\"cpu_ns_per_record\":%.2f,"
               "\"kernel_ns_per_record\":%.2f,\"to_first\":%.3f,"
               "\"peak_mib\":%.1f,\"peak_bytes_per_name\":%.1f,\"index_bytes_per_name\":%.1f,"
               "\"index_bytes_per_record\":%.1f}\n",
               n, full ? "full" : "lean", (unsigned)e->task.threads, ns, e->best.cpu * 1e9 / n,
               e->kernel * 1e9 / n, bench_ratio(ns, per_record_1), e->best.mib,
               e->best.mib * MIB / (double)s->names, per_name, per_record);
    else
        printf("  %8.1f M  %-4s  %2u  %8.1f  %8.1f  %8.1f  %6.2f  %9.1f  %8.1f  %5.1f %5s  %9.1f  "
               "%9.2f\n",
               n * 1e-6, full ? "full" : "lean", (unsigned)e->task.threads, ns,
               e->best.cpu * 1e9 / n, e->kernel * 1e9 / n, bench_ratio(ns, per_record_1),
               e->best.mib, e->best.mib * MIB / (double)s->names, per_name, full ? "" : "(95)",
               per_record, (double)s->names / (double)(s->in_use + s->free_records));
}

static void bench_flat(void)
{
    static const uint64_t sizes[] = {20000, 100000, 1000000, 4000000, 5000000};
    double first[4] = {0, 0, 0, 0}; /* of the smallest: by columns and threads */
    size_t k;
    int i;
    bench_title(
        "flat: mode auto; the index by all names (95), and by all records, of which each may take\n"
        "190 with one name and one stream; here they have more: see names/rec");
    if (!bench.json)
        printf("  %10s  %4s  %2s  %8s  %8s  %8s  %6s  %9s  %8s  %11s  %9s  %9s\n", "slots", "cols",
               "th", "ns/rec", "CPU ns", "kernel", "x 1st", "peak, MiB", "per name", "index/name",
               "index/rec", "names/rec");
    for (k = quick ? 0 : 1; k < sizeof sizes / sizeof sizes[0]; k++) {
        table t;
        input in;
        if (sizes[k] > most_slots || !make_input(&in, "flat", sizes[k], 0)) break;
        memset(&t, 0, sizeof t);
        for (i = 0; i < 4; i++)
            add_scan(&t, &in, MFT_SCAN_AUTO, i < 2 ? MFT_SCAN_LEAN : MFT_SCAN_FULL,
                     i % 2 == 0 ? 1 : 2);
        run_table(&t, rounds);
        for (i = 0; i < 4; i++) {
            double ns = t.e[i].best.wall * 1e9 / (double)sizes[k];
            if (first[i] == 0) first[i] = ns;
            print_flat(&t.e[i], first[i]);
        }
        fflush(stdout);
        drop_input(&in);
    }
}

// ---------------------------------------------------------------------------------- deferred

static void print_deferred(const engine *e)
{
    const mft_scan_stats *s = &e->last.stats;
    const char *columns = e->task.columns == MFT_SCAN_FULL ? "full" : "lean";
    char name[64];
    if (e->best.wall == 0) return;
    if (bench.json)
        printf("{\"bench\":\"mft_scan\",\"what\":\"deferred\",\"mode\":\"%s\",\"columns\":\"%s\","
               "\"threads\":%u,\"deferred\":%llu,\"milliseconds\":%.3f,\"goal\":20,"
               "\"disk_reads\":%llu,\"not_cached\":%llu,\"seconds\":%.4f,\"peak_mib\":%.1f}\n",
               name_of(e, name), columns, (unsigned)e->task.threads,
               (unsigned long long)s->deferred, e->deferred * 1e3,
               (unsigned long long)s->deferred_disk_reads,
               (unsigned long long)s->ext_name_cache_skipped, e->best.wall, e->best.mib);
    else
        printf(
            "  %-29s %s %2u  %llu records in %.2f ms (20.00), %llu disk reads (0), all in %.3f s, "
            "peak %.1f MiB\n",
            name_of(e, name), columns, (unsigned)e->task.threads, (unsigned long long)s->deferred,
            e->deferred * 1e3, (unsigned long long)s->deferred_disk_reads, e->best.wall,
            e->best.mib);
}

static void bench_deferred(void)
{
    table t;
    input in;
    uint32_t columns, threads;
    int i;
    bench_title("deferred");
    if (!make_input(&in, "deferred", quick ? 100000 : 2080000, 0)) return;
    memset(&t, 0, sizeof t);
    for (columns = MFT_SCAN_LEAN; columns <= MFT_SCAN_FULL; columns++)
        for (threads = 1; threads <= 2; threads++)
            add_scan(&t, &in, MFT_SCAN_AUTO, columns, threads);
    run_table(&t, rounds);
    i = t.count;
    add_scan(&t, &in, VISIT, MFT_SCAN_FULL, 1); /* it has no index to walk */
    for (; i < t.count; i++) {
        int r;
        for (r = 0; r < rounds; r++) run_one(&t.e[i], 0);
    }
    for (i = 0; i < t.count; i++) print_deferred(&t.e[i]);
    drop_input(&in);
}

// ---------------------------------------------------------------------------------- programs

/* Counts what a line of a program's output stands for. */
typedef struct program {
    const char *name;
    bench_command command;
    uint64_t (*count)(char *line, size_t length, uint64_t number); /* 1 = one of them */
    const char *what;
    uint64_t want;
    int codes; /* exit codes that are right: 0 to this */
    int absent, is_slow;
    bench_cost best;
} program;

static uint64_t fls_line(char *line, size_t length, uint64_t number)
{
    const char *p = line + strspn(line, "+ "), *name = strchr(p, '\t');
    (void)length;
    (void)number;
    /* of the name and of the record; V/V is made up; BAAD and what is deleted has -; streams a : */
    return p[0] != '-' && p[0] != 'V' && strncmp(p + 4, "* ", 2) != 0 && name != NULL &&
           strchr(name, ':') == NULL;
}

static uint64_t body_line(char *line, size_t length, uint64_t number)
{
    char *name = strchr(line, '|'), *end = name != NULL ? strchr(name + 1, '|') : NULL;
    (void)length;
    (void)number;
    if (end == NULL) return 0;
    *end = 0;
    return strstr(name, "($FILE_NAME)") == NULL && strstr(name, "(deleted") == NULL &&
           strchr(name, ':') == NULL && strncmp(name + 1, "/$OrphanFiles", 13) != 0;
}

static uint64_t ils_line(char *line, size_t length, uint64_t number)
{
    (void)line;
    (void)length;
    return number >= 3; /* behind a head of three lines */
}

static uint64_t row_line(char *line, size_t length, uint64_t number)
{
    (void)line;
    (void)length;
    return number >= 1;
}

static uint64_t ntfsls_line(char *line, size_t length, uint64_t number)
{
    (void)number;
    if (length == 0 || strcmp(line, ".") == 0 || strcmp(line, "..") == 0) return 0;
    return !(line[0] == '/' && line[length - 1] == ':'); /* the name of a folder */
}

static uint64_t fsntfs_line(char *line, size_t length, uint64_t number)
{
    (void)length;
    (void)number;
    return line[0] == '\\' && strchr(line, ':') == NULL;
}

/* words: program and options, each with its zero, and one more. */
static program peer(const char *name, const char *words, const char *path,
                    uint64_t (*count)(char *line, size_t length, uint64_t number), const char *what,
                    uint64_t want)
{
    program p;
    size_t n = 0;
    memset(&p, 0, sizeof p);
    p.name = name;
    for (; *words != 0; words += strlen(words) + 1) p.command.argv[n++] = words;
    p.command.argv[n] = path;
    p.count = count;
    p.what = what;
    p.want = want;
    return p;
}

/* Runs it once more, into a file, and counts. */
static void check_program(program *p, const char *input_name)
{
    char path[BENCH_PATH], text[200], *line = NULL;
    uint64_t got = 0, number = 0;
    size_t room = 0;
    ssize_t n;
    bench_cost c = {0, 0, 0};
    FILE *f;
    int code;
    p->command.out = bench_path(path, "out.txt");
    code = bench_run(&p->command, &c);
    p->command.out = NULL;
    p->is_slow = c.wall > SLOW;
    if (code == BENCH_ABSENT) {
        fprintf(stderr, "SKIP %s: there is no %s\n", p->name, p->command.argv[0]);
        p->absent = 1;
        return;
    }
    f = fopen(path, "rb");
    while (f != NULL && (n = getline(&line, &room, f)) >= 0) {
        if (n > 0 && line[n - 1] == '\n') line[--n] = 0;
        got += p->count(line, (size_t)n, number++);
    }
    if (f != NULL) fclose(f);
    free(line);
    (void)unlink(path);
    snprintf(text, sizeof text, "%s: exit code %d, %llu %s instead of %llu", p->name, code,
             (unsigned long long)got, p->what, (unsigned long long)p->want);
    if (code < 0 || code > p->codes || got != p->want) bench_complain(input_name, text);
    else if (!bench.json && p->want != 0)
        printf("  %-24s %llu %s, as many as expected\n", p->name, (unsigned long long)got, p->what);
}

static void run_program(program *p, const char *input_name)
{
    bench_cost c;
    int code;
    if (p->absent || (p->is_slow && p->best.wall != 0)) return;
    code = bench_run(&p->command, &c);
    if (code < 0 || code > p->codes) bench_complain(input_name, p->name);
    else bench_keep_best(&p->best, c);
}

static void print_row(const char *section, const char *name, bench_cost c, double n,
                      const char *ratios)
{
    if (c.wall == 0) return;
    if (bench.json)
        printf("{\"bench\":\"mft_scan\",\"what\":\"%s\",\"engine\":\"%s\",\"seconds\":%.4f,"
               "\"cpu_seconds\":%.4f,\"per_second\":%.0f,\"peak_mib\":%.1f,\"ratios\":\"%s\"}\n",
               section, name, c.wall, c.cpu, n / c.wall, c.mib, ratios);
    else
        printf("  %-24s %9.4f s  %9.4f s CPU  %10.0f /s  %8.1f MiB  %s\n", name, c.wall, c.cpu,
               n / c.wall, c.mib, ratios);
}

// ---------------------------------------------------------------------------------- the tool

enum { CSV_1, CSV_2, BODY_1, BODY_2, NONE_1, NONE_2, TOOLS };

static program tool_program(int i, const char *path)
{
    static const char *const names[] = {"csv, 1 thread",       "csv, 2 threads",
                                        "bodyfile, 1 thread",  "bodyfile, 2 threads",
                                        "no rows, 1 thread",   "no rows, 2 threads"};
    const char *format = i <= CSV_2 ? "csv" : i <= BODY_2 ? "bodyfile" : "none";
    const char *argv[] = {tool, "--quiet", "--format", format, "--threads", i % 2 ? "2" : "1",
                          path, NULL};
    program p;
    memset(&p, 0, sizeof p);
    p.name = names[i];
    memcpy(p.command.argv, argv, sizeof argv);
    p.codes = 1; /* torn records are damage */
    p.count = i <= CSV_2 ? row_line : body_line;
    p.what = i <= CSV_2 ? "rows" : "names";
    return p;
}

/* Names in a bodyfile: BAAD records are in it, $Secure is not, for it has named streams only. */
static uint64_t names_in_body(const input *in)
{
    return names_in_tree(in->want) + in->want->baad - 1;
}

/* How many rows the CSV should have, from an index; 0 when it is wrong. */
static uint64_t expected_rows(const input *in)
{
    static table t;
    add_scan(&t, in, MFT_SCAN_AUTO, MFT_SCAN_FULL, 2);
    run_table(&t, 0);
    return t.e[0].last.rows;
}

static void print_tools(const program *p, const input *in, uint64_t rows)
{
    int i;
    for (i = 0; i < TOOLS; i++) {
        const double wall = p[i].best.wall, m = (double)rows / wall * 1e-6;
        const double n = i >= NONE_1 ? (double)in->want->slots : (double)rows;
        char a[32], text[100] = "";
        if (i <= CSV_2)
            snprintf(text, sizeof text, "M rows/s %s", bench_goal(a, m, i == CSV_2 ? 3.5 : 0));
        print_row("tool", p[i].name, p[i].best, n, text);
    }
}

static void bench_tool(const input *in)
{
    const uint64_t rows = expected_rows(in);
    program p[TOOLS];
    int i, r, times = rounds < 3 ? rounds : 3;
    bench_title("tool: the volume, to /dev/null");
    for (i = 0; i < TOOLS; i++) {
        p[i] = tool_program(i, in->path);
        p[i].want = i <= CSV_2 ? rows : i <= BODY_2 ? names_in_body(in) : 0;
        check_program(&p[i], in->name);
    }
    for (r = 0; r < times; r++)
        for (i = 0; i < TOOLS; i++) run_program(&p[in_turn(r, i, TOOLS)], in->name);
    print_tools(p, in, rows);
}

// ---------------------------------------------------------------------------------- peers

enum { FLS, FLS_BODY, ILS, NTFSLS, FSNTFS, OUR_BODY_1, OUR_BODY_2, PEERS };

/* What each lists of the volume. sleuthkit leaves out torn records, adds a folder of its own, and
   in a bodyfile has a line for the name of $Secure; libfsntfs leaves out $Secure itself. */
static void choose_peers(const input *in, program p[PEERS])
{
    const mft_generate_result *m = in->want;
    const uint64_t tree = names_in_tree(m);
    p[FLS] = peer("fls -r", "fls\0-r\0", in->path, fls_line, "names", tree);
    p[FLS_BODY] = peer("fls -r -p -m /", "fls\0-r\0-p\0-m\0/\0", in->path, body_line, "names",
                       names_in_body(in) + 1);
    p[ILS] = peer("ils -e", "ils\0-e\0", in->path, ils_line, "records",
                  m->slots - m->never_written - m->extension - m->torn + 1);
    p[NTFSLS] =
        peer("ntfsls -R -s -a", "ntfsls\0-R\0-s\0-a\0", in->path, ntfsls_line, "names", tree);
    p[FSNTFS] = peer("fsntfsinfo -H", "fsntfsinfo\0-H\0", in->path, fsntfs_line, "names", tree - 1);
    p[OUR_BODY_1] = tool_program(BODY_1, in->path);
    p[OUR_BODY_2] = tool_program(BODY_2, in->path);
    p[OUR_BODY_1].want = p[OUR_BODY_2].want = names_in_body(in);
}

static void print_ours(const table *t, const program *p, double n)
{
    int i;
    for (i = 0; i < t->count; i++) {
        const engine *e = &t->e[i];
        char name[64], a[32], b[32], c[32], d[32], ratios[200];
        snprintf(name, sizeof name, "mft_scan_open, %u thread%s", (unsigned)e->task.threads,
                 e->task.threads == 1 ? "" : "s");
        snprintf(ratios, sizeof ratios, "x fls %s, x ils %s, x ntfsls %s, x fsntfsinfo %s",
                 bench_goal(a, bench_ratio(p[FLS].best.wall, e->best.wall), 20),
                 bench_goal(b, bench_ratio(p[ILS].best.wall, e->best.wall), 4),
                 bench_goal(c, bench_ratio(p[NTFSLS].best.wall, e->best.wall), 0),
                 bench_goal(d, bench_ratio(p[FSNTFS].best.wall, e->best.wall), 0));
        print_row("peers", name, e->best, n, ratios);
    }
    for (i = OUR_BODY_1; i <= OUR_BODY_2; i++) {
        char a[32], ratio[64];
        snprintf(ratio, sizeof ratio, "x fls -m %s",
                 bench_goal(a, bench_ratio(p[FLS_BODY].best.wall, p[i].best.wall), 12));
        print_row("peers", p[i].name, p[i].best, n, ratio);
    }
}

static void bench_peers(void)
{
    program p[PEERS];
    static table t;
    static input in;
    uint32_t threads;
    int r, i, times = rounds < 3 ? rounds : 3;
    bench_title("peers: full columns, against what they need for the same volume");
    if (!make_input(&in, "peers", peer_slots, 1)) return;
    choose_peers(&in, p);
    for (threads = 1; threads <= 2; threads++)
        add_scan(&t, &in, MFT_SCAN_AUTO, MFT_SCAN_FULL, threads);
    run_table(&t, 0);
    if (t.e[0].last.tree == names_in_tree(in.want) && !bench.json)
        printf("  %-24s %llu names, as many as expected\n", "mft_scan.h",
               (unsigned long long)t.e[0].last.tree);
    for (i = 0; i < PEERS; i++) check_program(&p[i], in.name);
    for (r = 0; r < times; r++) {
        for (i = 0; i < PEERS; i++) run_program(&p[in_turn(r, i, PEERS)], in.name);
        for (i = 0; i < t.count; i++) run_one(&t.e[in_turn(r, i, t.count)], 0);
    }
    for (i = 0; i < OUR_BODY_1; i++)
        print_row("peers", p[i].name, p[i].best, (double)in.want->slots, "");
    print_ours(&t, p, (double)in.want->slots);
    drop_input(&in);
}

// ---------------------------------------------------------------------------------- main

static int take_arguments(int argc, char **argv)
{
    int i;
    bench.folder = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) bench.json = 1;
        else if (strcmp(argv[i], "--quick") == 0) quick = 1;
        else if (i + 1 == argc) return 0;
        else if (strcmp(argv[i], "--rounds") == 0) rounds = atoi(argv[++i]);
        else if (strcmp(argv[i], "--slots") == 0) slots = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--most") == 0) most_slots = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--peer-slots") == 0) peer_slots = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--only") == 0) bench.section = argv[++i];
        else if (strcmp(argv[i], "--tool") == 0) tool = argv[++i];
        else if (strcmp(argv[i], "--folder") == 0) bench.folder = argv[++i];
        else return 0;
    }
    if (rounds == 0) rounds = quick ? 1 : 5;
    if (slots == 0) slots = quick ? 50000 : 1000000;
    if (most_slots == 0) most_slots = quick ? 100000 : 5000000;
    if (peer_slots == 0) peer_slots = quick ? 50000 : 200000;
    return rounds >= 1 && slots >= 1000 && peer_slots >= 1000;
}

static void bench_both(void)
{
    static input raw, volume;
    if (bench_wants("modes") && !make_input(&raw, "raw", slots, 0)) return;
    if (!make_input(&volume, "volume", slots, 1)) return;
    if (bench_wants("modes")) bench_modes(&raw, &volume);
    if (bench_wants("modes")) drop_input(&raw);
    fflush(stdout);
    if (bench_wants("tool")) bench_tool(&volume);
    drop_input(&volume);
}

int main(int argc, char **argv)
{
    bench.name = "bench_mft_scan";
    if (!take_arguments(argc, argv)) {
        fputs("usage: bench_mft_scan [--json] [--quick] [--rounds N] [--slots N] [--most N]\n"
              "    [--peer-slots N] [--only modes|flat|deferred|peers|tool] [--tool PROGRAM]\n"
              "    [--folder DIR]\n",
              stderr);
        return 2;
    }
    if (!bench_open_folder()) return 2;
    if (bench_wants("modes") || bench_wants("tool")) bench_both();
    if (bench_wants("peers")) bench_peers();
    fflush(stdout);
    if (bench_wants("flat")) bench_flat();
    if (bench_wants("deferred")) bench_deferred();
    bench_close_folder();
    return bench.bad;
}
