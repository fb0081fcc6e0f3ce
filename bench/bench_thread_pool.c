/* bench_thread_pool.c - what the ordered pipeline costs, and how well it keeps a device busy.

       cc -O2 -pthread bench/bench_thread_pool.c -o bench_thread_pool
       bench_thread_pool [--json] [--rounds N]

   Three tables, each figure the best of N rounds (7) in which all settings take turns:
     pipeline      time for each 32 KiB chunk when work and lanes do nothing; goal: below 1 us. The
                   best round may be one in which a single thread did it all, so the median is there
                   too
     parallel_for  time for each call and each iteration when the body does nothing
     device        produce sleeps 5 ms a slot (THREAD_POOL_PRODUCE_WAITS), work keeps a processor
                   busy for w ms a slot; the total against what two threads could do at best, and
                   against two plain threads that share the same sleeps and work without a pool,
                   order or ring (other programs slow both down); goal: 1.05
   Every run counts what it ran and that the lanes saw the slots in order: exit code 1 when not,
   never for a time. Processor time is that of the whole process. */
#define THREAD_POOL_IMPLEMENTATION
#include "../thread_pool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int json, bad;

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

typedef struct cost {
    double wall, cpu; /* seconds */
} cost;

static cost cost_begin(void)
{
    cost c;
    c.wall = seconds_of(CLOCK_MONOTONIC);
    c.cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    return c;
}

static cost cost_since(cost begin)
{
    cost now = cost_begin();
    now.wall -= begin.wall;
    now.cpu -= begin.cpu;
    return now;
}

enum { MOST_ROUNDS = 101 };

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median_of(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_size);
    return v[n / 2];
}

static void keep_best(cost *best, cost c)
{
    if (best->wall == 0 || c.wall < best->wall) best->wall = c.wall;
    if (best->cpu == 0 || c.cpu < best->cpu) best->cpu = c.cpu;
}

static void expect(int holds, const char *what)
{
    if (holds) return;
    fprintf(stderr, "bench_thread_pool: %s\n", what);
    bad = 1;
}

// ---------------------------------------------------------------------------------- pipeline

enum { SLOTS = 8, LANES = 2, CHUNKS = 1 << 16 };

typedef struct pipeline {
    uint32_t parts; /* of each slot */
    uint64_t slots;
    uint32_t worked[SLOTS];          /* parts, by place in the ring; atomic */
    uint64_t lane_next[LANES];
} pipeline;

static posio_result pipeline_produce(void *user, thread_pool_slot *slot, posio_error *err)
{
    pipeline *p = (pipeline *)user;
    (void)err;
    if (slot->number == p->slots) return THREAD_POOL_END;
    slot->parts = p->parts;
    posio_atomic_store(&p->worked[slot->index], 0);
    return POSIO_OK;
}

static posio_result pipeline_work(void *user, const thread_pool_slot *slot, uint32_t part,
                                  posio_error *err)
{
    pipeline *p = (pipeline *)user;
    (void)part;
    (void)err;
    (void)__atomic_fetch_add(&p->worked[slot->index], 1, __ATOMIC_RELAXED);
    return POSIO_OK;
}

static posio_result pipeline_lane(void *user, const thread_pool_slot *slot, uint32_t lane,
                                  posio_error *err)
{
    pipeline *p = (pipeline *)user;
    if (slot->number != p->lane_next[lane]++ ||
        posio_atomic_load(&p->worked[slot->index]) != p->parts)
        return posio_fail(err, POSIO_E_DATA, POSIO_NO_OFFSET, "a slot out of order or not ready");
    return POSIO_OK;
}

static cost run_pipeline(thread_pool *pool, uint32_t parts, uint32_t chunks_per_part)
{
    static const thread_pool_lane lanes[LANES] = {{pipeline_lane, 0, 0}, {pipeline_lane, 0, 0}};
    thread_pool_job job;
    pipeline p;
    posio_error err;
    cost c;
    memset(&job, 0, sizeof job);
    memset(&p, 0, sizeof p);
    p.parts = parts;
    p.slots = CHUNKS / parts / chunks_per_part;
    job.user = &p;
    job.slots = SLOTS;
    job.lanes = lanes;
    job.lane_count = LANES;
    job.produce = pipeline_produce;
    job.work = pipeline_work;
    c = cost_begin();
    if (thread_pool_run(pool, &job, &err) != POSIO_OK) expect(0, err.message);
    c = cost_since(c);
    expect(p.lane_next[0] == p.slots && p.lane_next[1] == p.slots, "a lane missed a slot");
    return c;
}

typedef struct pipeline_setting {
    uint32_t threads, parts, chunks_per_part;
    cost best;
    double walls[MOST_ROUNDS]; /* of each round */
} pipeline_setting;

static pipeline_setting pipelines[] = {
    {1, 1, 1, {0, 0}, {0}}, {1, 8, 1, {0, 0}, {0}}, {1, 32, 1, {0, 0}, {0}},
    {1, 8, 4, {0, 0}, {0}},
    {2, 1, 1, {0, 0}, {0}}, {2, 8, 1, {0, 0}, {0}}, {2, 32, 1, {0, 0}, {0}},
    {2, 8, 4, {0, 0}, {0}},
    {8, 1, 1, {0, 0}, {0}}, {8, 8, 1, {0, 0}, {0}}, {8, 32, 1, {0, 0}, {0}},
    {8, 8, 4, {0, 0}, {0}},
};
enum { PIPELINES = sizeof pipelines / sizeof pipelines[0] };

static void print_pipelines(size_t rounds)
{
    size_t i;
    if (!json)
        printf("pipeline of %d slots and %d lanes, nothing to do; ns for each chunk\n"
               "%8s  %10s  %11s  %8s  %8s  %8s\n",
               (int)SLOTS, (int)LANES, "threads", "parts/slot", "chunks/part", "wall", "median",
               "CPU");
    for (i = 0; i < PIPELINES; i++) {
        pipeline_setting *s = &pipelines[i];
        double wall = s->best.wall / CHUNKS * 1e9, cpu = s->best.cpu / CHUNKS * 1e9;
        double median = median_of(s->walls, rounds) / CHUNKS * 1e9;
        if (json)
            printf("{\"bench\":\"thread_pool\",\"what\":\"pipeline\",\"threads\":%u,"
                   "\"parts_per_slot\":%u,\"chunks_per_part\":%u,\"nanoseconds_per_chunk\":%.1f,"
                   "\"median_nanoseconds_per_chunk\":%.1f,\"cpu_nanoseconds_per_chunk\":%.1f}\n",
                   (unsigned)s->threads, (unsigned)s->parts, (unsigned)s->chunks_per_part, wall,
                   median, cpu);
        else
            printf("%8u  %10u  %11u  %8.0f  %8.0f  %8.0f\n", (unsigned)s->threads,
                   (unsigned)s->parts, (unsigned)s->chunks_per_part, wall, median, cpu);
    }
}

// ---------------------------------------------------------------------------------- parallel_for

static posio_result count_one(void *user, uint32_t i, posio_error *err)
{
    (void)i;
    (void)err;
    (void)__atomic_fetch_add((uint32_t *)user, 1, __ATOMIC_RELAXED);
    return POSIO_OK;
}

enum { ITERATIONS = 1 << 16 };

/* Calls until ITERATIONS bodies have run; the cost is that of all. */
static cost run_loops(thread_pool *pool, uint32_t count)
{
    uint32_t done = 0, calls;
    cost c = cost_begin();
    for (calls = 0; calls < ITERATIONS / count; calls++)
        expect(thread_pool_parallel_for(pool, count, count_one, &done, NULL) == POSIO_OK,
               "parallel_for failed");
    c = cost_since(c);
    expect(done == ITERATIONS / count * count, "an iteration did not run once");
    return c;
}

typedef struct loop_setting {
    uint32_t threads, count;
    cost best;
} loop_setting;

static loop_setting loops[] = {
    {1, 1, {0, 0}}, {1, 8, {0, 0}}, {1, 64, {0, 0}}, {1, 1024, {0, 0}},
    {2, 1, {0, 0}}, {2, 8, {0, 0}}, {2, 64, {0, 0}}, {2, 1024, {0, 0}},
    {8, 1, {0, 0}}, {8, 8, {0, 0}}, {8, 64, {0, 0}}, {8, 1024, {0, 0}},
};
enum { LOOPS = sizeof loops / sizeof loops[0] };

static void print_loops(void)
{
    size_t i;
    if (!json)
        printf("\nparallel_for, nothing to do\n%8s  %10s  %10s  %18s  %17s\n", "threads",
               "iterations", "us/call", "ns/iteration, wall", "ns/iteration, CPU");
    for (i = 0; i < LOOPS; i++) {
        const loop_setting *s = &loops[i];
        double calls = ITERATIONS / s->count, wall = s->best.wall / calls,
               cpu = s->best.cpu / calls;
        if (json)
            printf("{\"bench\":\"thread_pool\",\"what\":\"parallel_for\",\"threads\":%u,"
                   "\"iterations\":%u,\"microseconds_per_call\":%.3f,"
                   "\"nanoseconds_per_iteration\":%.1f,\"cpu_nanoseconds_per_iteration\":%.1f}\n",
                   (unsigned)s->threads, (unsigned)s->count, wall * 1e6, wall / s->count * 1e9,
                   cpu / s->count * 1e9);
        else
            printf("%8u  %10u  %10.2f  %18.0f  %17.0f\n", (unsigned)s->threads,
                   (unsigned)s->count, wall * 1e6, wall / s->count * 1e9, cpu / s->count * 1e9);
    }
}

// ---------------------------------------------------------------------------------- the device

enum { DEVICE_SLOTS = 100, DEVICE_PARTS = 8, DEVICE_RING = 6, DEVICE_THREADS = 2 };
static const double device_read = 5e-3;

typedef struct device {
    double work;          /* seconds a part */
    double read_seconds;  /* that produce slept in all, as measured */
    uint64_t lane_next;
    uint32_t worked;      /* atomic */
} device;

/* Keeps a processor busy for so long; time in which another program had it does not count. */
static void burn(double seconds)
{
    double begin = seconds_of(CLOCK_THREAD_CPUTIME_ID);
    volatile uint32_t x = 1;
    int i;
    while (seconds_of(CLOCK_THREAD_CPUTIME_ID) - begin < seconds)
        for (i = 0; i < 4000; i++) x = x * 1664525u + 1013904223u;
}

/* The device takes 5 ms for a slot. Returns what it really took. */
static double sleep_once(void)
{
    struct timespec t = {0, 0};
    double begin = seconds_of(CLOCK_MONOTONIC);
    t.tv_nsec = (long)(device_read * 1e9);
    nanosleep(&t, NULL);
    return seconds_of(CLOCK_MONOTONIC) - begin;
}

static posio_result device_produce(void *user, thread_pool_slot *slot, posio_error *err)
{
    device *d = (device *)user;
    (void)err;
    if (slot->number == DEVICE_SLOTS) return THREAD_POOL_END;
    d->read_seconds += sleep_once();
    slot->parts = DEVICE_PARTS;
    return POSIO_OK;
}

static posio_result device_work(void *user, const thread_pool_slot *slot, uint32_t part,
                                posio_error *err)
{
    device *d = (device *)user;
    (void)slot;
    (void)part;
    (void)err;
    burn(d->work);
    (void)__atomic_fetch_add(&d->worked, 1, __ATOMIC_RELAXED);
    return POSIO_OK;
}

static posio_result device_lane(void *user, const thread_pool_slot *slot, uint32_t lane,
                                posio_error *err)
{
    device *d = (device *)user;
    (void)lane;
    return slot->number == d->lane_next++
               ? POSIO_OK
               : posio_fail(err, POSIO_E_DATA, POSIO_NO_OFFSET, "a slot out of order");
}

typedef struct device_setting {
    double work; /* ms a slot */
    double read, wall, at_best, ratio, plain;
} device_setting;

static device_setting devices[] = {{0.5, 0, 0, 0, 0, 0}, {2.5, 0, 0, 0, 0, 0}, {4, 0, 0, 0, 0, 0},
                                   {5, 0, 0, 0, 0, 0},   {6, 0, 0, 0, 0, 0},   {10, 0, 0, 0, 0, 0},
                                   {20, 0, 0, 0, 0, 0}};
enum { DEVICES = sizeof devices / sizeof devices[0] };

/* At best: produce takes its time on one thread, and no thread is ever idle but for want of
   something read. The threads offer `threads` seconds each second; reading and working need
   read + work of them. */
static double device_at_best(double read, double work)
{
    double shared = (read + work) / DEVICE_THREADS;
    return shared > read ? shared : read;
}

/* Two plain threads: one sleeps as the device does and then works, the other works. */
static void *plain_reader(void *user)
{
    int i;
    for (i = 0; i < DEVICE_SLOTS; i++) (void)sleep_once();
    burn(*(const double *)user);
    return NULL;
}

static double run_plain(double work)
{
    double read = device_read * DEVICE_SLOTS, begin = seconds_of(CLOCK_MONOTONIC);
    double reader = work > read ? (work - read) / 2 : 0;
    pthread_t thread;
    if (pthread_create(&thread, NULL, plain_reader, &reader) != 0) {
        expect(0, "no thread");
        return 0;
    }
    burn(work - reader);
    (void)pthread_join(thread, NULL);
    return seconds_of(CLOCK_MONOTONIC) - begin;
}

static void run_device(thread_pool *pool, device_setting *s)
{
    static const thread_pool_lane lanes[1] = {{device_lane, 0, 0}};
    thread_pool_job job;
    device d;
    posio_error err;
    double begin, wall, plain, work = s->work * 1e-3 * DEVICE_SLOTS;
    memset(&job, 0, sizeof job);
    memset(&d, 0, sizeof d);
    d.work = s->work * 1e-3 / DEVICE_PARTS;
    job.user = &d;
    job.slots = DEVICE_RING;
    job.lanes = lanes;
    job.lane_count = 1;
    job.flags = THREAD_POOL_PRODUCE_WAITS;
    job.produce = device_produce;
    job.work = device_work;
    begin = seconds_of(CLOCK_MONOTONIC);
    if (thread_pool_run(pool, &job, &err) != POSIO_OK) expect(0, err.message);
    wall = seconds_of(CLOCK_MONOTONIC) - begin;
    expect(d.lane_next == DEVICE_SLOTS && d.worked == DEVICE_SLOTS * DEVICE_PARTS,
           "a part or a slot was not run once");
    if (s->wall == 0 || wall < s->wall) {
        s->wall = wall;
        s->read = d.read_seconds;
        s->at_best = device_at_best(d.read_seconds, work);
        s->ratio = wall / s->at_best;
    }
    plain = run_plain(work);
    if (s->plain == 0 || plain < s->plain) s->plain = plain;
}

static void print_devices(void)
{
    size_t i;
    if (!json)
        printf("\ndevice: %d slots of %.0f ms reading, %d parts, ring of %d, %d threads\n"
               "%10s  %8s  %8s  %10s  %9s  %8s  %8s  %8s\n",
               (int)DEVICE_SLOTS, device_read * 1e3, (int)DEVICE_PARTS, (int)DEVICE_RING,
               (int)DEVICE_THREADS, "work, ms", "read, s", "work, s", "at best, s", "plain, s",
               "total, s", "to best", "to plain");
    for (i = 0; i < DEVICES; i++) {
        const device_setting *s = &devices[i];
        double work = s->work * 1e-3 * DEVICE_SLOTS;
        if (json)
            printf("{\"bench\":\"thread_pool\",\"what\":\"device\",\"threads\":%d,"
                   "\"work_milliseconds\":%.2f,\"read_seconds\":%.4f,\"work_seconds\":%.4f,"
                   "\"at_best_seconds\":%.4f,\"plain_seconds\":%.4f,\"seconds\":%.4f,"
                   "\"ratio\":%.4f,\"ratio_to_plain\":%.4f}\n",
                   (int)DEVICE_THREADS, s->work, s->read, work, s->at_best, s->plain, s->wall,
                   s->ratio, s->wall / s->plain);
        else
            printf("%10.2f  %8.3f  %8.3f  %10.3f  %9.3f  %8.3f  %8.3f  %8.3f\n", s->work, s->read,
                   work, s->at_best, s->plain, s->wall, s->ratio, s->wall / s->plain);
    }
}

// ---------------------------------------------------------------------------------- main

static thread_pool *pool_of(thread_pool *pools[3], uint32_t threads)
{
    return pools[threads == 1 ? 0 : threads == 2 ? 1 : 2];
}

static void run_round(thread_pool *pools[3], int round)
{
    size_t i;
    for (i = 0; i < PIPELINES; i++) {
        pipeline_setting *s = &pipelines[i];
        cost c = run_pipeline(pool_of(pools, s->threads), s->parts, s->chunks_per_part);
        keep_best(&s->best, c);
        s->walls[round] = c.wall;
    }
    for (i = 0; i < LOOPS; i++)
        keep_best(&loops[i].best, run_loops(pool_of(pools, loops[i].threads), loops[i].count));
    for (i = 0; i < DEVICES; i++) run_device(pool_of(pools, DEVICE_THREADS), &devices[i]);
}

int main(int argc, char **argv)
{
    thread_pool *pools[3];
    int rounds = 7, i;
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) json = 1;
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) rounds = atoi(argv[++i]);
        else return fprintf(stderr, "usage: bench_thread_pool [--json] [--rounds N]\n"), 2;
    }
    pools[0] = thread_pool_create(1);
    pools[1] = thread_pool_create(2);
    pools[2] = thread_pool_create(8);
    rounds = rounds < 1 ? 1 : rounds > MOST_ROUNDS ? MOST_ROUNDS : rounds;
    for (i = 0; i < rounds; i++) run_round(pools, i);
    print_pipelines((size_t)rounds);
    print_loops();
    print_devices();
    for (i = 0; i < 3; i++) expect(thread_pool_destroy(pools[i]) == POSIO_OK, "destroy refused");
    return bad;
}
