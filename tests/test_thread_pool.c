/* The contract of thread_pool.h: order, parts, lanes, errors, cancel, nesting, any thread count. */
#define THREAD_POOL_IMPLEMENTATION
#include "../thread_pool.h"
#include "test.h"

#ifdef THREAD_POOL_NO_THREADS
static const uint32_t thread_counts[] = {1};
#else
static const uint32_t thread_counts[] = {1, 2, 3, 8, 16, 64};
#endif
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { SLOTS_MAX = 32, PARTS_MAX = 9, LANES = 4 };

/* A job that records everything that can be wrong about order. */
typedef struct torture {
    uint64_t seed, total;             /* slots to produce */
    uint64_t cells[SLOTS_MAX][PARTS_MAX + 1];
    uint64_t lane_hash[LANES];
    uint32_t lane_next[LANES];
    uint32_t inside_produce, inside_lane[LANES], wrong;
    uint64_t fail_produce, fail_work, fail_lane; /* slot numbers, UINT64_MAX = never */
    uint32_t fail_part, fail_lane_index;
    thread_pool *nested;              /* work runs a nested loop on this pool */
    uint64_t cancel_after;
    int delays;
} torture;

static uint32_t parts_of(const torture *t, uint64_t n)
{
    uint64_t s = t->seed ^ (n * 0x9e3779b97f4a7c15u + 1);
    return (uint32_t)(test_random(&s) % (PARTS_MAX + 1));
}

static void maybe_delay(const torture *t, uint64_t n)
{
    uint64_t s = t->seed + n * 77 + 5;
    volatile uint32_t spin = 0;
    uint32_t k = (uint32_t)(test_random(&s) % 64);
    if (!t->delays) return;
    while (spin < k * k) spin = spin + 1;
}

static posio_result produce(void *user, thread_pool_slot *slot, posio_error *err)
{
    torture *t = (torture *)user;
    if (posio_atomic_add(&t->inside_produce, 1) != 0) posio_atomic_store(&t->wrong, 1);
    maybe_delay(t, slot->number);
    (void)posio_atomic_add(&t->inside_produce, UINT32_MAX);
    if (slot->number == t->fail_produce)
        return posio_fail(err, POSIO_E_IO, slot->number, "produce %u", (unsigned)slot->number);
    if (slot->number == t->total) return THREAD_POOL_END;
    slot->parts = parts_of(t, slot->number);
    memset(t->cells[slot->index], 0, sizeof t->cells[0]);
    t->cells[slot->index][PARTS_MAX] = slot->number;
    return POSIO_OK;
}

static posio_result add_one(void *user, uint32_t i, posio_error *err)
{
    (void)err;
    (void)posio_atomic_add((uint32_t *)user, i + 1);
    return POSIO_OK;
}

static posio_result work(void *user, const thread_pool_slot *slot, uint32_t part, posio_error *err)
{
    torture *t = (torture *)user;
    maybe_delay(t, slot->number * 31 + part);
    if (t->cells[slot->index][PARTS_MAX] != slot->number) posio_atomic_store(&t->wrong, 2);
    if (slot->number == t->fail_work && part >= t->fail_part)
        return posio_fail(err, POSIO_E_DATA, part, "work %u.%u", (unsigned)slot->number,
                          (unsigned)part);
    if (t->nested != NULL) {
        uint32_t sum = 0;
        if (thread_pool_parallel_for(t->nested, 5, add_one, &sum, err) != POSIO_OK || sum != 15)
            posio_atomic_store(&t->wrong, 3);
    }
    t->cells[slot->index][part] += slot->number * 1000 + part + 1;
    return POSIO_OK;
}

static posio_result lane(void *user, const thread_pool_slot *slot, uint32_t which, posio_error *err)
{
    torture *t = (torture *)user;
    uint32_t i;
    if (posio_atomic_add(&t->inside_lane[which], 1) != 0) posio_atomic_store(&t->wrong, 4);
    if (slot->number != t->lane_next[which]) posio_atomic_store(&t->wrong, 5);
    /* Lane 2 follows lane 1, lane 3 follows lane 2 (counted from 0: 1 after 0, 2 after 1). */
    if ((which == 1 || which == 2) &&
        posio_atomic_load(&t->lane_next[which - 1]) <= slot->number)
        posio_atomic_store(&t->wrong, 6);
    for (i = 0; i < slot->parts; i++)
        if (t->cells[slot->index][i] != slot->number * 1000 + i + 1)
            posio_atomic_store(&t->wrong, 7);
    maybe_delay(t, slot->number + which * 1000);
    (void)posio_atomic_add(&t->inside_lane[which], UINT32_MAX);
    if (slot->number == t->fail_lane && which >= t->fail_lane_index)
        return posio_fail(err, POSIO_E_SPACE, which, "lane %u at %u", (unsigned)which,
                          (unsigned)slot->number);
    t->lane_hash[which] = t->lane_hash[which] * 31 + slot->number * 7 + slot->parts;
    (void)posio_atomic_add(&t->lane_next[which], 1);
    return POSIO_OK;
}
static const thread_pool_lane torture_lanes[LANES] = {
    {lane, 0, 0}, {lane, 1, 0}, {lane, 2, 0}, {lane, 0, 0}};

static int progress(void *user, uint64_t done)
{
    const torture *t = (const torture *)user;
    return done >= t->cancel_after;
}

static void torture_init(torture *t, uint64_t seed, uint64_t total)
{
    memset(t, 0, sizeof *t);
    t->seed = seed;
    t->total = total;
    t->fail_produce = t->fail_work = t->fail_lane = t->cancel_after = UINT64_MAX;
    t->delays = 1;
}

static posio_result torture_run(torture *t, thread_pool *pool, uint32_t slots, uint32_t lanes,
                                uint32_t flags, posio_error *err)
{
    thread_pool_job job;
    memset(&job, 0, sizeof job);
    job.user = t;
    job.slots = slots;
    job.lanes = torture_lanes;
    job.lane_count = lanes;
    job.flags = flags;
    job.produce = produce;
    job.work = work;
    job.progress = t->cancel_after != UINT64_MAX ? progress : NULL;
    return thread_pool_run(pool, &job, err);
}

TEST(order_for_any_thread_count)
{
    uint64_t want[LANES] = {0}, seed;
    size_t k;
    torture t;
    posio_error err;
    for (seed = 1; seed < 9; seed++)
        for (k = 0; k < COUNT(thread_counts); k++) {
            thread_pool *pool = thread_pool_create(thread_counts[k]);
            uint32_t i, slots = 1 + (uint32_t)(seed * 5 % SLOTS_MAX), lanes = (uint32_t)(seed % 5);
            REQUIRE(pool != NULL);
            torture_init(&t, seed, 200);
            CHECK_EQ(torture_run(&t, pool, slots, lanes, (uint32_t)(seed & 1), &err), POSIO_OK);
            CHECK_EQ(t.wrong, 0);
            for (i = 0; i < lanes; i++) {
                CHECK_EQ(t.lane_next[i], 200);
                if (k == 0) want[i] = t.lane_hash[i];
                CHECK_EQ(t.lane_hash[i], want[i]);
            }
            CHECK_EQ(thread_pool_destroy(pool), POSIO_OK);
        }
}

TEST(no_pool_is_the_callers_thread)
{
    torture t;
    posio_error err;
    torture_init(&t, 3, 50);
    CHECK_EQ(torture_run(&t, NULL, 4, 3, 0, &err), POSIO_OK);
    CHECK_EQ(t.lane_next[2], 50);
    CHECK_EQ(t.wrong, 0);
}

/* The lowest failing slot, then part, then lane wins, whatever the thread count. */
TEST(errors_are_the_same_for_any_thread_count)
{
    size_t k;
    uint64_t seed;
    for (seed = 1; seed < 30; seed++)
        for (k = 0; k < COUNT(thread_counts); k++) {
            thread_pool *pool = thread_pool_create(thread_counts[k]);
            torture t;
            posio_error err;
            uint64_t at = 5 + seed * 3, n;
            uint32_t i;
            posio_result r;
            torture_init(&t, seed, 120);
            while (parts_of(&t, at) < 3) at++;
            switch (seed % 4) {
            case 0: t.fail_produce = at; break;
            case 1:
                t.fail_work = at;
                t.fail_part = 1;
                break;
            case 2:
                t.fail_lane = at;
                t.fail_lane_index = 2; /* lanes 2 and 3 both fail: lane 2 wins */
                break;
            default: /* a higher produce failure must lose against a lower lane failure */
                t.fail_lane = at;
                t.fail_lane_index = 1;
                t.fail_produce = at + 2;
                break;
            }
            r = torture_run(&t, pool, 7, LANES, (uint32_t)(seed / 2 & 1), &err);
            CHECK_EQ(err.code, r);
            n = seed % 4 == 2 ? 2 : seed % 4 == 3 ? 1 : seed % 4 == 1 ? 1 : at;
            CHECK_EQ(err.offset, n);
            CHECK_EQ((int64_t)r, seed % 4 == 0   ? POSIO_E_IO
                                 : seed % 4 == 1 ? POSIO_E_DATA
                                                 : POSIO_E_SPACE);
            /* Every lane consumed all lower slots; none of a produce or work failure's own. */
            for (i = 0; i < LANES; i++) {
                if (seed % 4 < 2) CHECK_EQ(t.lane_next[i], at);
                else CHECK(t.lane_next[i] >= at);
            }
            CHECK_EQ(t.wrong, 0);
            thread_pool_destroy(pool);
        }
}

TEST(cancel_stops)
{
    size_t k;
    for (k = 0; k < COUNT(thread_counts); k++) {
        thread_pool *pool = thread_pool_create(thread_counts[k]);
        torture t;
        posio_error err;
        torture_init(&t, 9, 1000000000);
        t.cancel_after = 20;
        CHECK_EQ((int64_t)torture_run(&t, pool, 8, 2, 0, &err), POSIO_E_CANCELED);
        CHECK_EQ(t.wrong, 0);
        CHECK(t.lane_next[0] < 100000000);
        thread_pool_destroy(pool);
    }
}

TEST(nested_runs_on_the_same_pool)
{
    size_t k;
    for (k = 0; k < COUNT(thread_counts); k++) {
        thread_pool *pool = thread_pool_create(thread_counts[k]);
        torture t;
        posio_error err;
        torture_init(&t, 4 + k, 150);
        t.nested = pool;
        CHECK_EQ(torture_run(&t, pool, 6, 3, 0, &err), POSIO_OK);
        CHECK_EQ(t.wrong, 0);
        CHECK_EQ(t.lane_next[2], 150);
        thread_pool_destroy(pool);
    }
}

/* Three levels deep, more callers than workers. */
typedef struct deep {
    thread_pool *pool;
    uint32_t level, leaves;
} deep;

static posio_result dive(void *user, uint32_t i, posio_error *err)
{
    deep *d = (deep *)user, below = {NULL, 0, 0};
    posio_result r;
    (void)i;
    if (d->level == 0) {
        (void)posio_atomic_add(&d->leaves, 1);
        return POSIO_OK;
    }
    below.pool = d->pool;
    below.level = d->level - 1;
    r = thread_pool_parallel_for(d->pool, 4, dive, &below, err);
    (void)posio_atomic_add(&d->leaves, below.leaves);
    return r;
}

TEST(nesting_three_deep)
{
    size_t k;
    for (k = 0; k < COUNT(thread_counts); k++) {
        deep d = {NULL, 3, 0};
        d.pool = thread_pool_create(thread_counts[k]);
        CHECK_EQ(thread_pool_parallel_for(d.pool, 4, dive, &d, NULL), POSIO_OK);
        CHECK_EQ(d.leaves, 256);
        thread_pool_destroy(d.pool);
    }
}

static posio_result two_jobs(void *user, uint32_t i, posio_error *err)
{
    torture t;
    posio_result r;
    torture_init(&t, i + 1, 100);
    r = torture_run(&t, (thread_pool *)user, 5, 4, 0, err);
    return t.wrong == 0 && t.lane_next[3] == 100 ? r : POSIO_E_DATA;
}

/* Callers on threads of another pool share one pool. */
TEST(many_callers_share_a_pool)
{
    thread_pool *callers = thread_pool_create(8), *pool = thread_pool_create(3);
    CHECK_EQ(thread_pool_parallel_for(callers, 24, two_jobs, pool, NULL), POSIO_OK);
    CHECK_EQ(thread_pool_destroy(callers), POSIO_OK);
    CHECK_EQ(thread_pool_destroy(pool), POSIO_OK);
}

static posio_result destroy_inside(void *user, uint32_t i, posio_error *err)
{
    (void)i;
    (void)err;
    return thread_pool_destroy((thread_pool *)user);
}

TEST(destroying_a_busy_pool_is_refused)
{
#ifdef THREAD_POOL_NO_THREADS
    (void)destroy_inside;
    SKIP("no threads in this build");
#else
    thread_pool *pool = thread_pool_create(2);
    CHECK_EQ((int64_t)thread_pool_parallel_for(pool, 1, destroy_inside, pool, NULL), POSIO_E_BUSY);
    CHECK_EQ(thread_pool_destroy(pool), POSIO_OK);
#endif
}

TEST(impossible_jobs_and_pools_are_refused)
{
    thread_pool_job job;
    thread_pool_desc desc;
    thread_pool *pool = NULL;
    posio_error err;
    memset(&job, 0, sizeof job);
    CHECK_EQ((int64_t)thread_pool_run(NULL, &job, &err), POSIO_E_ARG);
    memset(&desc, 0, sizeof desc);
    desc.threads = 100000;
#ifndef THREAD_POOL_NO_THREADS
    {
        struct chunkwise_pool foreign;
        memset(&foreign, 0, sizeof foreign);
        foreign.abi = THREAD_POOL_ABI + 1;
        job.slots = 1;
        job.produce = produce;
        CHECK_EQ((int64_t)thread_pool_run(&foreign, &job, &err), POSIO_E_ABI);
        CHECK_EQ((int64_t)thread_pool_create_with(&pool, &desc, &err), POSIO_E_ARG);
    }
#endif
    CHECK(pool == NULL);
    CHECK(thread_pool_usable_cores() >= 1);
    CHECK_EQ(thread_pool_parallel_for(NULL, 0, add_one, NULL, NULL), POSIO_OK);
    CHECK_EQ(thread_pool_destroy(NULL), POSIO_OK);
}

TEST(threads_of_a_job_are_limited)
{
    thread_pool *pool = thread_pool_create(8);
    thread_pool_job job;
    torture t;
    torture_init(&t, 6, 100);
    memset(&job, 0, sizeof job);
    job.user = &t;
    job.slots = 9;
    job.threads = 1; /* one at a time: no atomics would be needed */
    job.lanes = torture_lanes;
    job.lane_count = 4;
    job.produce = produce;
    job.work = work;
    CHECK_EQ(thread_pool_run(pool, &job, NULL), POSIO_OK);
    CHECK_EQ(t.wrong, 0);
    thread_pool_destroy(pool);
}

TEST(workers_can_be_bound)
{
    static const uint32_t cpus[] = {0};
    thread_pool_desc desc;
    thread_pool *pool = NULL;
    uint32_t sum = 0;
    memset(&desc, 0, sizeof desc);
    desc.threads = 3;
    desc.cpu_count = 1;
    desc.cpus = cpus;
    CHECK_EQ(thread_pool_create_with(&pool, &desc, NULL), POSIO_OK);
    CHECK_EQ(thread_pool_parallel_for(pool, 100, add_one, &sum, NULL), POSIO_OK);
    CHECK_EQ(sum, 5050);
    CHECK(thread_pool_threads(pool) >= 1 && thread_pool_threads(pool) <= 3);
    thread_pool_destroy(pool);
}

TEST_MAIN(RUN(order_for_any_thread_count); RUN(no_pool_is_the_callers_thread);
          RUN(errors_are_the_same_for_any_thread_count); RUN(cancel_stops);
          RUN(nested_runs_on_the_same_pool); RUN(nesting_three_deep);
          RUN(many_callers_share_a_pool); RUN(destroying_a_busy_pool_is_refused);
          RUN(impossible_jobs_and_pools_are_refused); RUN(threads_of_a_job_are_limited);
          RUN(workers_can_be_bound);)
