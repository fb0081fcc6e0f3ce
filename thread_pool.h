/* thread_pool.h - threads, and the ordered pipeline that every parallel job here is built from.
   SPDX-License-Identifier: MIT OR Unlicense

   QUICK START

       #define THREAD_POOL_IMPLEMENTATION
       #include "thread_pool.h"

       static posio_result square(void *user, uint32_t i, posio_error *err)
       {
           (void)err;
           ((uint32_t *)user)[i] *= i;
           return POSIO_OK;
       }
       int main(void)
       {
           uint32_t v[4] = {1, 2, 3, 4};
           thread_pool *pool = thread_pool_create(0);
           posio_result r = thread_pool_parallel_for(pool, 4, square, v, NULL);
           thread_pool_destroy(pool);
           return r == POSIO_OK ? 0 : 1;
       }

   THE ORDERED PIPELINE

       produce (serial) --> work on the parts of a slot (parallel, any order) --> lanes (each
           ^                                                                      serial, in order)
           +-------------- a fixed ring of slots: the ceiling of memory <-----------+

     produce  fills slot number n (n = 0, 1, 2, ...) and says how many parts it has; or says END.
     work     is called once for every part of every slot, by any thread, in any order.
     lanes    are called once for every slot, in slot order, when all its parts are done. Different
              lanes run side by side; a lane may be told to follow another one. A slot is free for
              produce again when the last lane has left it.

     Produce and each lane are serial, but not bound to a thread. A free thread takes, in this
     order: the lane that is furthest behind; produce, if the job says that it waits for a device
     and a slot is free; work of the lowest slot; produce.

     The result is the same for any number of threads, errors included: the error of the lowest slot
     wins, in a slot that of the lowest part, then of the lowest lane. Lower slots are still
     consumed by every lane; no lane is given the failed slot or a higher one after the failure is
     known. (A lane that has nothing to do with the failing lane may be ahead of it by then.)

   THREADS
     A pool of N threads is N-1 workers plus the caller, who takes part and could finish alone: a
     NULL pool is the caller's thread only. While it waits, a thread runs steps only of the job it
     waits for, and of jobs which those steps started; so nesting neither deadlocks nor adds
     threads. No lock is held while a callback runs. Progress runs on the calling thread only.
     Any number of threads may run jobs on one pool at once.

     A pool is used through its table of operations: one that was made in another translation unit,
     by another version or with other options, is run by its own code, or refused (POSIO_E_ABI).

   WHAT IT DOES NOT DO
     No futures, no task graphs, no thread-local storage, no thread of its own unless you create a
     pool. Affinity is set on Linux and Windows only.

   OPTIONS  (define before the first include; each works alone)
     THREAD_POOL_IMPLEMENTATION  the functions too, internal linkage; legal in many files
     THREAD_POOL_NO_THREADS      no threads anywhere in this file: pools are accepted, not used
     THREAD_POOL_API             how functions are declared (default: static, unused allowed)
     THREAD_POOL_SPIN            rounds a thread spins before it parks (default 60, some 2 us)

   MEMORY
     A pool: one block, about 200 bytes a thread. A run: one block of 16 bytes a slot when the ring
     has more than 8 slots, else none.

   ERRORS
     Those of the callbacks; POSIO_E_ARG, POSIO_E_NOMEM, POSIO_E_CANCELED, POSIO_E_ABI,
     POSIO_E_BUSY. */

#if defined(THREAD_POOL_IMPLEMENTATION) && !defined(POSIO_IMPLEMENTATION)
#define POSIO_IMPLEMENTATION
#endif
#include "posio.h"

/* >>types */
#ifndef CHUNKWISE_THREAD_POOL_H
#define CHUNKWISE_THREAD_POOL_H

#define THREAD_POOL_VERSION 100

#include <stddef.h>
#include <stdint.h>

typedef struct chunkwise_pool thread_pool;

/* One place of the ring. `index` (0 .. slots-1) selects the caller's own storage. */
typedef struct thread_pool_slot {
    uint64_t number; /* 0, 1, 2, ... in the order produced */
    uint32_t index;
    uint32_t parts; /* set by produce; 0 = nothing to work on, ready at once */
} thread_pool_slot;

enum { THREAD_POOL_END = 1 }; /* what produce returns when there is nothing more */

typedef struct thread_pool_lane {
    /* `lane`: which one it is, counted from 0; so one function may serve several. */
    posio_result (*run)(void *user, const thread_pool_slot *slot, uint32_t lane, posio_error *err);
    uint32_t after; /* 0 = independent; k = takes a slot only when lane k (counted from 1, and
                       before this one) has left it */
    uint32_t reserved;
} thread_pool_lane;

enum { THREAD_POOL_MAX_LANES = 16, THREAD_POOL_MAX_SLOTS = 65536, THREAD_POOL_PRODUCE_WAITS = 1 };

/* A job. Callbacks get `user`; errors may be filled in with posio_fail. */
typedef struct thread_pool_job {
    void *user;
    uint32_t slots;      /* of the ring: 1 to THREAD_POOL_MAX_SLOTS */
    uint32_t lane_count; /* at most THREAD_POOL_MAX_LANES */
    const thread_pool_lane *lanes;
    uint32_t flags;   /* THREAD_POOL_PRODUCE_WAITS: produce waits for a device */
    uint32_t threads; /* at most this many at once; 0 = all of the pool */
    /* POSIO_OK: slot->parts is set; THREAD_POOL_END; or an error. */
    posio_result (*produce)(void *user, thread_pool_slot *slot, posio_error *err);
    posio_result (*work)(void *user, const thread_pool_slot *slot, uint32_t part,
                         posio_error *err); /* may be NULL when no slot has parts */
    /* Called on the calling thread after its steps and every 100 ms while it waits; `done` slots
       have left the ring. Non-zero cancels. May be NULL. */
    int (*progress)(void *user, uint64_t done);
    posio_alloc alloc;
} thread_pool_job;

typedef struct thread_pool_desc {
    uint32_t threads;     /* the caller included; 0 = all usable cores */
    uint32_t cpu_count;   /* 0 = the system decides where threads run */
    const uint32_t *cpus; /* workers are bound to this set of processor numbers */
    size_t stack_size;    /* bytes; 0 = 512 KiB */
    posio_alloc alloc;
} thread_pool_desc;

/* What crosses between translation units. Append-only; `abi` changes when it cannot be. */
typedef struct thread_pool_ops {
    uint32_t (*threads)(const thread_pool *pool);
    posio_result (*run)(thread_pool *pool, const thread_pool_job *job, posio_error *err);
    posio_result (*destroy)(thread_pool *pool);
} thread_pool_ops;
struct chunkwise_pool {
    uint32_t abi;
    uint32_t reserved;
    const thread_pool_ops *ops;
};
#define THREAD_POOL_ABI 0x63770001u

#elif THREAD_POOL_VERSION < 100
#error "thread_pool.h: an older copy came first in this file; include the newest header first"
#endif
/* >>end types */

/* >>functions */
#if defined(THREAD_POOL_IMPLEMENTATION) && !defined(THREAD_POOL_I_IMPLEMENTED)
#define THREAD_POOL_I_IMPLEMENTED 100
#if !defined(THREAD_POOL_NO_THREADS) && !POSIO_I_ATOMICS
#error "thread_pool.h: this compiler has no atomics; define THREAD_POOL_NO_THREADS"
#endif
#if !defined(THREAD_POOL_NO_THREADS) && !defined(_WIN32)
#include <time.h>
#ifndef CLOCK_MONOTONIC
#error \
    "thread_pool.h needs POSIX.1-2008: compile with -std=gnu99 (or later), or -D_POSIX_C_SOURCE=200809L"
#define THREAD_POOL_NO_THREADS /* so that no other errors follow */
#define POSIO_I_NO_THREADS
#endif
#endif

#ifndef THREAD_POOL_API
#if defined(__GNUC__) || defined(__TINYC__)
#define THREAD_POOL_API static __attribute__((unused))
#else
#define THREAD_POOL_API static
#endif
#endif
#ifndef THREAD_POOL_SPIN
#define THREAD_POOL_SPIN 60
#endif

#include <stdlib.h>
#include <string.h>

// ---------------------------------------------------------------------------------- the shim

/* thread_pool_mutex and thread_pool_cond with init, destroy, lock, unlock, wait and wake: pthreads,
   Win32, or nothing at all. For the headers of this collection; init returns 0 when the system has
   no room, wait takes milliseconds (0 = for ever) and may return spuriously.
   Threads: any. Allocates: no. Blocks: workers (lock and wait). */
#if defined(THREAD_POOL_NO_THREADS)
typedef char thread_pool_mutex;
typedef char thread_pool_cond;
typedef int thread_pool_i_id;
THREAD_POOL_API int thread_pool_mutex_init(thread_pool_mutex *m)
{
    *m = 0;
    return 1;
}
THREAD_POOL_API void thread_pool_mutex_destroy(thread_pool_mutex *m) { (void)m; }
THREAD_POOL_API void thread_pool_lock(thread_pool_mutex *m) { (void)m; }
THREAD_POOL_API void thread_pool_unlock(thread_pool_mutex *m) { (void)m; }
THREAD_POOL_API int thread_pool_cond_init(thread_pool_cond *c)
{
    *c = 0;
    return 1;
}
THREAD_POOL_API void thread_pool_cond_destroy(thread_pool_cond *c) { (void)c; }
THREAD_POOL_API void thread_pool_wait(thread_pool_cond *c, thread_pool_mutex *m, uint32_t ms)
{
    (void)c;
    (void)m;
    (void)ms;
}
THREAD_POOL_API void thread_pool_wake(thread_pool_cond *c) { (void)c; }
THREAD_POOL_API void thread_pool_wake_all(thread_pool_cond *c) { (void)c; }
THREAD_POOL_API thread_pool_i_id thread_pool_i_self(void) { return 0; }
THREAD_POOL_API int thread_pool_i_same(thread_pool_i_id a, thread_pool_i_id b) { return a == b; }

#elif defined(_WIN32)
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#define THREAD_POOL_I_UNDEF_LEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#define THREAD_POOL_I_UNDEF_NOMINMAX
#endif
#include <windows.h>
#include <process.h>
#ifdef THREAD_POOL_I_UNDEF_LEAN
#undef WIN32_LEAN_AND_MEAN
#undef THREAD_POOL_I_UNDEF_LEAN
#endif
#ifdef THREAD_POOL_I_UNDEF_NOMINMAX
#undef NOMINMAX
#undef THREAD_POOL_I_UNDEF_NOMINMAX
#endif
typedef SRWLOCK thread_pool_mutex;
typedef CONDITION_VARIABLE thread_pool_cond;
typedef DWORD thread_pool_i_id;
typedef HANDLE thread_pool_i_thread;
THREAD_POOL_API int thread_pool_mutex_init(thread_pool_mutex *m)
{
    InitializeSRWLock(m);
    return 1;
}
THREAD_POOL_API void thread_pool_mutex_destroy(thread_pool_mutex *m) { (void)m; }
THREAD_POOL_API void thread_pool_lock(thread_pool_mutex *m) { AcquireSRWLockExclusive(m); }
THREAD_POOL_API void thread_pool_unlock(thread_pool_mutex *m) { ReleaseSRWLockExclusive(m); }
THREAD_POOL_API int thread_pool_cond_init(thread_pool_cond *c)
{
    InitializeConditionVariable(c);
    return 1;
}
THREAD_POOL_API void thread_pool_cond_destroy(thread_pool_cond *c) { (void)c; }
THREAD_POOL_API void thread_pool_wait(thread_pool_cond *c, thread_pool_mutex *m, uint32_t ms)
{
    (void)SleepConditionVariableSRW(c, m, ms != 0 ? ms : INFINITE, 0);
}
THREAD_POOL_API void thread_pool_wake(thread_pool_cond *c) { WakeConditionVariable(c); }
THREAD_POOL_API void thread_pool_wake_all(thread_pool_cond *c) { WakeAllConditionVariable(c); }
THREAD_POOL_API thread_pool_i_id thread_pool_i_self(void) { return GetCurrentThreadId(); }
THREAD_POOL_API int thread_pool_i_same(thread_pool_i_id a, thread_pool_i_id b) { return a == b; }

#else
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/types.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#if !defined(__cplusplus) && !defined(_GNU_SOURCE) && !defined(_DEFAULT_SOURCE) && \
    !defined(_BSD_SOURCE)
long syscall(long number, ...); /* hidden by strict feature macros */
#endif
#endif
typedef pthread_mutex_t thread_pool_mutex;
typedef pthread_cond_t thread_pool_cond;
typedef pthread_t thread_pool_i_id;
typedef pthread_t thread_pool_i_thread;
/* Both return 0 when the system has no room for one. */
THREAD_POOL_API int thread_pool_mutex_init(thread_pool_mutex *m)
{
    return pthread_mutex_init(m, NULL) == 0;
}
THREAD_POOL_API void thread_pool_mutex_destroy(thread_pool_mutex *m)
{
    (void)pthread_mutex_destroy(m);
}
THREAD_POOL_API void thread_pool_lock(thread_pool_mutex *m) { (void)pthread_mutex_lock(m); }
THREAD_POOL_API void thread_pool_unlock(thread_pool_mutex *m) { (void)pthread_mutex_unlock(m); }

/* Timed waits use the monotonic clock where a condition can be told so. */
#if defined(__APPLE__)
#define THREAD_POOL_I_CLOCK CLOCK_REALTIME
#else
#define THREAD_POOL_I_CLOCK CLOCK_MONOTONIC
#endif
THREAD_POOL_API int thread_pool_cond_init(thread_pool_cond *c)
{
#if defined(__APPLE__)
    return pthread_cond_init(c, NULL) == 0;
#else
    pthread_condattr_t a;
    int ok;
    if (pthread_condattr_init(&a) != 0) return 0;
    ok = pthread_condattr_setclock(&a, THREAD_POOL_I_CLOCK) == 0 && pthread_cond_init(c, &a) == 0;
    (void)pthread_condattr_destroy(&a);
    return ok;
#endif
}
THREAD_POOL_API void thread_pool_cond_destroy(thread_pool_cond *c)
{
    (void)pthread_cond_destroy(c);
}
/* Waits for a wake, at most ms milliseconds (0 = for ever). Spurious returns are normal. */
THREAD_POOL_API void thread_pool_wait(thread_pool_cond *c, thread_pool_mutex *m, uint32_t ms)
{
    struct timespec t;
    if (ms == 0) {
        (void)pthread_cond_wait(c, m);
        return;
    }
    (void)clock_gettime(THREAD_POOL_I_CLOCK, &t);
    t.tv_sec += (time_t)(ms / 1000);
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(c, m, &t);
}
THREAD_POOL_API void thread_pool_wake(thread_pool_cond *c) { (void)pthread_cond_signal(c); }
THREAD_POOL_API void thread_pool_wake_all(thread_pool_cond *c) { (void)pthread_cond_broadcast(c); }
THREAD_POOL_API thread_pool_i_id thread_pool_i_self(void) { return pthread_self(); }
THREAD_POOL_API int thread_pool_i_same(thread_pool_i_id a, thread_pool_i_id b)
{
    return pthread_equal(a, b) != 0;
}
#undef THREAD_POOL_I_CLOCK
#endif

THREAD_POOL_API void thread_pool_i_pause(void)
{
#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

// ---------------------------------------------------------------------------------- cores

#if defined(__linux__) && !defined(THREAD_POOL_NO_THREADS)
/* Reads a small text file of the kernel's; the length, 0 when there is none. */
THREAD_POOL_API size_t thread_pool_i_slurp(const char *path, char *buf, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;
    if (fd < 0) return 0;
    n = read(fd, buf, room - 1);
    (void)close(fd);
    buf[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

/* "quota period" of cgroup v2's cpu.max, as a whole number of cores; 0 = no limit. */
THREAD_POOL_API uint32_t thread_pool_i_quota(const char *text)
{
    unsigned long long quota, period;
    char *end;
    if (text[0] < '0' || text[0] > '9') return 0; /* "max", or -1 in version 1 */
    quota = strtoull(text, &end, 10);
    period = strtoull(end, NULL, 10);
    if (quota == 0 || period == 0) return 0;
    return (uint32_t)((quota + period - 1) / period);
}

THREAD_POOL_API uint32_t thread_pool_i_smaller(uint32_t a, uint32_t b)
{
    if (a == 0) return b;
    return b != 0 && b < a ? b : a;
}

/* The CPU quota of the process's cgroup and of those above it (cgroup v2), or of the container's
   root (v1). See Documentation/admin-guide/cgroup-v2.rst, "CPU Interface Files". */
THREAD_POOL_API uint32_t thread_pool_i_cgroup_cores(void)
{
    char groups[4096], path[4600], text[128];
    uint32_t cores = 0;
    char *group, *slash;
    if (thread_pool_i_slurp("/proc/self/cgroup", groups, sizeof groups) != 0 &&
        (group = strstr(groups, "0::/")) != NULL) {
        group += 3;
        group[strcspn(group, "\n")] = 0;
        while ((slash = strrchr(group, '/')) != NULL) {
            posio_format(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
            if (thread_pool_i_slurp(path, text, sizeof text) != 0)
                cores = thread_pool_i_smaller(cores, thread_pool_i_quota(text));
            *slash = 0;
        }
    }
    if (thread_pool_i_slurp("/sys/fs/cgroup/cpu.max", text, sizeof text) != 0)
        cores = thread_pool_i_smaller(cores, thread_pool_i_quota(text));
    if (thread_pool_i_slurp("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", text, 64) != 0) {
        size_t n = strcspn(text, "\n");
        text[n++] = ' ';
        if (thread_pool_i_slurp("/sys/fs/cgroup/cpu/cpu.cfs_period_us", text + n, 64) != 0)
            cores = thread_pool_i_smaller(cores, thread_pool_i_quota(text));
    }
    return cores;
}
#endif

/* Cores this process may use: its affinity mask, and on Linux its cgroup quota. At least 1.
   Threads: any. Allocates: no. Blocks: I/O (a few small files on Linux). */
THREAD_POOL_API uint32_t thread_pool_usable_cores(void)
{
    uint32_t n = 0;
#if defined(THREAD_POOL_NO_THREADS)
    n = 1;
#elif defined(_WIN32)
    DWORD_PTR mine = 0, all = 0;
    if (GetProcessAffinityMask(GetCurrentProcess(), &mine, &all))
        for (; mine != 0; mine &= mine - 1) n++;
#elif defined(__linux__)
    unsigned char mask[1024]; /* 8,192 processors */
    long got = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask), i;
    for (i = 0; i < got; i++) {
        unsigned b = mask[i];
        for (; b != 0; b &= b - 1) n++;
    }
    n = thread_pool_i_smaller(n, thread_pool_i_cgroup_cores());
#elif defined(_SC_NPROCESSORS_ONLN)
    long got = sysconf(_SC_NPROCESSORS_ONLN);
    n = got > 0 ? (uint32_t)got : 0;
#endif
    return n != 0 ? n : 1;
}

// ---------------------------------------------------------------------------------- a run

/* Everything below is guarded by the pool's one mutex; callbacks run without it. */
typedef struct thread_pool_i_slot {
    uint32_t parts;
    uint32_t taken; /* parts handed out */
    uint32_t left;  /* parts not yet done; 0 = ready */
    uint32_t reserved;
} thread_pool_i_slot;

typedef struct thread_pool_i_run {
    struct thread_pool_i_run *next, *parent; /* parent: the run whose step started this one */
    struct thread_pool_i_party *caller;
    const thread_pool_job *job;
    thread_pool_i_slot *slots;
    uint64_t produced;                       /* slots filled so far = the number of the next */
    uint64_t retired;                        /* slots that have left the ring */
    uint64_t work_at;                        /* lowest slot that may have parts to hand out */
    uint64_t lane_at[THREAD_POOL_MAX_LANES]; /* the next slot of each lane */
    uint32_t lanes_busy;                     /* bit set */
    uint32_t running;                        /* steps being run now */
    int producing, ended, canceled;
    /* Where the run fails: nothing at or behind (slot, stage) is begun. The stage of a part is its
       number, of a lane the number of parts plus its number. */
    uint64_t stop_slot, stop_stage;
    posio_error error;
} thread_pool_i_run;

enum { THREAD_POOL_I_PRODUCE, THREAD_POOL_I_WORK, THREAD_POOL_I_LANE };
typedef struct thread_pool_i_step {
    uint32_t kind;
    uint32_t which; /* part or lane */
    thread_pool_slot slot;
} thread_pool_i_step;

THREAD_POOL_API thread_pool_i_slot *thread_pool_i_slot_of(const thread_pool_i_run *r, uint64_t n)
{
    return &r->slots[n % r->job->slots];
}

THREAD_POOL_API int thread_pool_i_allowed(const thread_pool_i_run *r, uint64_t slot, uint64_t stage)
{
    return slot < r->stop_slot || (slot == r->stop_slot && stage < r->stop_stage);
}

THREAD_POOL_API void thread_pool_i_fail(thread_pool_i_run *r, uint64_t slot, uint64_t stage,
                                        posio_result code, const posio_error *err)
{
    if (!thread_pool_i_allowed(r, slot, stage)) return;
    r->stop_slot = slot;
    r->stop_stage = stage;
    r->error = *err;
    r->error.code = code;
}

THREAD_POOL_API int thread_pool_i_lane_can(const thread_pool_i_run *r, uint32_t lane)
{
    uint64_t n = r->lane_at[lane];
    uint32_t after = r->job->lanes[lane].after;
    const thread_pool_i_slot *s = thread_pool_i_slot_of(r, n);
    return (r->lanes_busy >> lane & 1) == 0 && n < r->produced && s->left == 0 &&
           thread_pool_i_allowed(r, n, (uint64_t)s->parts + lane) &&
           (after == 0 || r->lane_at[after - 1] > n);
}

THREAD_POOL_API int thread_pool_i_produce_can(const thread_pool_i_run *r)
{
    return !r->producing && !r->ended && r->produced - r->retired < r->job->slots &&
           r->stop_slot == UINT64_MAX;
}

/* The lowest slot with a part to hand out, or UINT64_MAX. */
THREAD_POOL_API uint64_t thread_pool_i_work_can(thread_pool_i_run *r)
{
    thread_pool_i_slot *s;
    if (r->work_at < r->retired) r->work_at = r->retired; /* its place in the ring is reused */
    while (r->work_at < r->produced) {
        s = thread_pool_i_slot_of(r, r->work_at);
        if (s->taken < s->parts)
            return thread_pool_i_allowed(r, r->work_at, s->taken) ? r->work_at : UINT64_MAX;
        r->work_at++;
    }
    return UINT64_MAX;
}

/* Chooses what to do next by the rule at the top of this file. 0 = nothing now. */
THREAD_POOL_API int thread_pool_i_choose(thread_pool_i_run *r, thread_pool_i_step *step)
{
    const thread_pool_job *job = r->job;
    uint32_t lane, best = THREAD_POOL_MAX_LANES;
    uint64_t n;
    if (r->canceled || (job->threads != 0 && r->running >= job->threads)) return 0;
    for (lane = 0; lane < job->lane_count; lane++)
        if (thread_pool_i_lane_can(r, lane) &&
            (best == THREAD_POOL_MAX_LANES || r->lane_at[lane] < r->lane_at[best]))
            best = lane;
    if (best != THREAD_POOL_MAX_LANES) {
        step->kind = THREAD_POOL_I_LANE;
        step->which = best;
        n = r->lane_at[best];
    } else if ((job->flags & THREAD_POOL_PRODUCE_WAITS) && thread_pool_i_produce_can(r)) {
        step->kind = THREAD_POOL_I_PRODUCE;
        n = r->produced;
    } else if ((n = thread_pool_i_work_can(r)) != UINT64_MAX) {
        step->kind = THREAD_POOL_I_WORK;
        step->which = thread_pool_i_slot_of(r, n)->taken;
    } else if (thread_pool_i_produce_can(r)) {
        step->kind = THREAD_POOL_I_PRODUCE;
        n = r->produced;
    } else {
        return 0;
    }
    step->slot.number = n;
    step->slot.index = (uint32_t)(n % job->slots);
    step->slot.parts = step->kind == THREAD_POOL_I_PRODUCE ? 0 : thread_pool_i_slot_of(r, n)->parts;
    return 1;
}

THREAD_POOL_API void thread_pool_i_begin(thread_pool_i_run *r, const thread_pool_i_step *step)
{
    r->running++;
    if (step->kind == THREAD_POOL_I_PRODUCE) r->producing = 1;
    else if (step->kind == THREAD_POOL_I_LANE) r->lanes_busy |= 1u << step->which;
    else thread_pool_i_slot_of(r, step->slot.number)->taken++;
}

THREAD_POOL_API posio_result thread_pool_i_call(const thread_pool_job *job,
                                                thread_pool_i_step *step, posio_error *err)
{
    err->code = POSIO_OK;
    err->message[0] = err->file[0] = 0;
    err->offset = POSIO_NO_OFFSET;
    err->os_error = 0;
    err->segment = err->reserved = 0;
    switch (step->kind) {
    case THREAD_POOL_I_PRODUCE: return job->produce(job->user, &step->slot, err);
    case THREAD_POOL_I_WORK: return job->work(job->user, &step->slot, step->which, err);
    default: return job->lanes[step->which].run(job->user, &step->slot, step->which, err);
    }
}

/* Frees the slots that every lane has left (without lanes: the finished ones, in order). */
THREAD_POOL_API void thread_pool_i_retire(thread_pool_i_run *r)
{
    uint32_t lane, lanes = r->job->lane_count;
    uint64_t low;
    if (lanes == 0) {
        while (r->retired < r->produced && thread_pool_i_slot_of(r, r->retired)->left == 0)
            r->retired++;
        return;
    }
    low = r->lane_at[0];
    for (lane = 1; lane < lanes; lane++) low = posio_min(low, r->lane_at[lane]);
    r->retired = low;
}

THREAD_POOL_API void thread_pool_i_end(thread_pool_i_run *r, const thread_pool_i_step *step,
                                       posio_result result, const posio_error *err)
{
    uint64_t n = step->slot.number;
    thread_pool_i_slot *s = thread_pool_i_slot_of(r, n);
    r->running--;
    switch (step->kind) {
    case THREAD_POOL_I_PRODUCE:
        r->producing = 0;
        if (result == POSIO_OK) {
            s->parts = s->left = step->slot.parts;
            s->taken = 0;
            r->produced = n + 1;
        } else {
            r->ended = 1;
            if (result != THREAD_POOL_END) thread_pool_i_fail(r, n, 0, result, err);
        }
        break;
    case THREAD_POOL_I_WORK:
        if (result == POSIO_OK) s->left--;
        else thread_pool_i_fail(r, n, step->which, result, err);
        break;
    default:
        r->lanes_busy &= ~(1u << step->which);
        if (result == POSIO_OK) r->lane_at[step->which]++;
        else thread_pool_i_fail(r, n, (uint64_t)s->parts + step->which, result, err);
        break;
    }
    thread_pool_i_retire(r);
}

// ---------------------------------------------------------------------------------- the pool

typedef struct thread_pool_i_impl thread_pool_i_impl;

/* A thread that may run steps: a worker (waits_for NULL: any run), or a caller inside
   thread_pool_run (the run it waits for, and those below). A thread that nests has several. */
typedef struct thread_pool_i_party {
    struct thread_pool_i_party *next, *next_parked;
    thread_pool_i_id id;
    thread_pool_i_run *current; /* of which it runs a step now; NULL between steps */
    thread_pool_i_run *waits_for;
    thread_pool_i_impl *pool; /* a worker's */
    int parked;
    thread_pool_cond wake;
} thread_pool_i_party;

struct thread_pool_i_impl {
    thread_pool base;
    thread_pool_mutex lock;
    thread_pool_i_run *runs, *last_served;
    thread_pool_i_party *parties, *parked;
    uint32_t events; /* counts what happened, for the spinning threads */
    uint32_t threads;
    int stop;
#if !defined(THREAD_POOL_NO_THREADS)
    thread_pool_i_party *workers;
    thread_pool_i_thread *handles;
    thread_pool_desc desc;
#endif
};

THREAD_POOL_API int thread_pool_i_is_below(const thread_pool_i_run *r, const thread_pool_i_run *top)
{
    while (r != NULL && r != top) r = r->parent;
    return r != NULL;
}

THREAD_POOL_API int thread_pool_i_may(const thread_pool_i_party *p, const thread_pool_i_run *r)
{
    return p->waits_for == NULL || thread_pool_i_is_below(r, p->waits_for);
}

/* The next run in turn that has a step for this party: independent jobs share the workers. */
THREAD_POOL_API thread_pool_i_run *thread_pool_i_find(thread_pool_i_impl *pool,
                                                      const thread_pool_i_party *p,
                                                      thread_pool_i_step *step)
{
    thread_pool_i_run *first, *r;
    if (pool->runs == NULL) return NULL;
    first = pool->last_served != NULL && pool->last_served->next != NULL ? pool->last_served->next
                                                                         : pool->runs;
    r = first;
    do {
        if (thread_pool_i_may(p, r) && thread_pool_i_choose(r, step)) return r;
        r = r->next != NULL ? r->next : pool->runs;
    } while (r != first);
    return NULL;
}

THREAD_POOL_API void thread_pool_i_unpark(thread_pool_i_impl *pool, thread_pool_i_party *p)
{
    thread_pool_i_party **at = &pool->parked;
    while (*at != p) at = &(*at)->next_parked;
    *at = p->next_parked;
    p->parked = 0;
    thread_pool_wake(&p->wake);
}

/* Wakes one parked thread that may serve r, its own caller first. */
THREAD_POOL_API void thread_pool_i_wake_for(thread_pool_i_impl *pool, thread_pool_i_run *r)
{
    thread_pool_i_party *p;
    if (r->caller->parked) {
        thread_pool_i_unpark(pool, r->caller);
        return;
    }
    for (p = pool->parked; p != NULL; p = p->next_parked)
        if (thread_pool_i_may(p, r)) {
            thread_pool_i_unpark(pool, p);
            return;
        }
}

/* Runs one step if there is one. Each thread that takes a step and sees another one left wakes one
   more thread: the wave of wakers grows as long as there is work, and no longer. */
THREAD_POOL_API int thread_pool_i_serve(thread_pool_i_impl *pool, thread_pool_i_party *p)
{
    thread_pool_i_step step, more;
    posio_error err;
    posio_result result;
    thread_pool_i_run *r = thread_pool_i_find(pool, p, &step);
    if (r == NULL) return 0;
    pool->last_served = r;
    thread_pool_i_begin(r, &step);
    if (pool->parked != NULL && thread_pool_i_choose(r, &more)) thread_pool_i_wake_for(pool, r);
    p->current = r;
    thread_pool_unlock(&pool->lock);
    result = thread_pool_i_call(r->job, &step, &err);
    thread_pool_lock(&pool->lock);
    p->current = NULL;
    thread_pool_i_end(r, &step, result, &err);
    posio_atomic_store(&pool->events, pool->events + 1);
    if (r->running == 0 && r->caller != p && r->caller->parked)
        thread_pool_i_unpark(pool, r->caller); /* it may be over */
    return 1;
}

/* Spins for a moment without the lock, then parks; ms as in thread_pool_wait. A party woken by
   time-out takes itself off the list. */
THREAD_POOL_API void thread_pool_i_park(thread_pool_i_impl *pool, thread_pool_i_party *p,
                                        uint32_t ms)
{
    uint32_t before = pool->events;
    thread_pool_i_party **at;
    int spin;
    if (pool->threads > 1) {
        thread_pool_unlock(&pool->lock);
        for (spin = 0; spin < THREAD_POOL_SPIN; spin++) {
            if (posio_atomic_load(&pool->events) != before) break;
            thread_pool_i_pause();
        }
        thread_pool_lock(&pool->lock);
        if (pool->events != before || pool->stop) return;
    }
    p->parked = 1;
    p->next_parked = pool->parked;
    pool->parked = p;
    thread_pool_wait(&p->wake, &pool->lock, ms);
    if (!p->parked) return;
    for (at = &pool->parked; *at != p; at = &(*at)->next_parked) {}
    *at = p->next_parked;
    p->parked = 0;
}

/* The run of which the calling thread runs a step just now: known by thread id. */
THREAD_POOL_API thread_pool_i_run *thread_pool_i_parent(const thread_pool_i_impl *pool)
{
    thread_pool_i_id self = thread_pool_i_self();
    const thread_pool_i_party *p;
    for (p = pool->parties; p != NULL; p = p->next)
        if (p->current != NULL && thread_pool_i_same(p->id, self)) return p->current;
    return NULL;
}

THREAD_POOL_API void thread_pool_i_enter(thread_pool_i_impl *pool, thread_pool_i_party *p,
                                         thread_pool_i_run *r)
{
    r->parent = thread_pool_i_parent(pool);
    r->caller = p;
    r->next = pool->runs;
    pool->runs = r;
    p->waits_for = r;
    p->next = pool->parties;
    pool->parties = p;
    posio_atomic_store(&pool->events, pool->events + 1);
}

THREAD_POOL_API void thread_pool_i_leave(thread_pool_i_impl *pool, thread_pool_i_party *p,
                                         thread_pool_i_run *r)
{
    thread_pool_i_run **run = &pool->runs;
    thread_pool_i_party **party = &pool->parties;
    while (*run != r) run = &(*run)->next;
    *run = r->next;
    while (*party != p) party = &(*party)->next;
    *party = p->next;
    if (pool->last_served == r) pool->last_served = NULL;
}

/* The caller's loop: step after step until nothing is running and nothing can be begun. */
THREAD_POOL_API void thread_pool_i_drive(thread_pool_i_impl *pool, thread_pool_i_party *p,
                                         thread_pool_i_run *r)
{
    const thread_pool_job *job = r->job;
    thread_pool_i_step step;
    thread_pool_lock(&pool->lock);
    thread_pool_i_enter(pool, p, r);
    for (;;) {
        int served = thread_pool_i_serve(pool, p);
        if (!served && r->running == 0 && !thread_pool_i_choose(r, &step)) break;
        if (!served) thread_pool_i_park(pool, p, job->progress != NULL ? 100 : 0);
        if (job->progress != NULL && !r->canceled) {
            uint64_t done = r->retired;
            int cancel;
            thread_pool_unlock(&pool->lock);
            cancel = job->progress(job->user, done);
            thread_pool_lock(&pool->lock);
            if (cancel) r->canceled = 1;
        }
    }
    thread_pool_i_leave(pool, p, r);
    thread_pool_unlock(&pool->lock);
}

THREAD_POOL_API posio_result thread_pool_i_result(const thread_pool_i_run *r, posio_error *err)
{
    if (r->canceled) return posio_fail(err, POSIO_E_CANCELED, POSIO_NO_OFFSET, "canceled");
    if (r->stop_slot == UINT64_MAX) return POSIO_OK;
    if (err != NULL) *err = r->error;
    return r->error.code;
}

THREAD_POOL_API int thread_pool_i_job_is_valid(const thread_pool_job *job)
{
    uint32_t i;
    if (job->slots == 0 || job->slots > THREAD_POOL_MAX_SLOTS || job->produce == NULL ||
        job->lane_count > THREAD_POOL_MAX_LANES || !posio_alloc_is_valid(&job->alloc))
        return 0;
    for (i = 0; i < job->lane_count; i++)
        if (job->lanes[i].run == NULL || job->lanes[i].after > i) return 0;
    return 1;
}

THREAD_POOL_API posio_result thread_pool_i_run_on(thread_pool_i_impl *pool,
                                                  const thread_pool_job *job, posio_error *err)
{
    thread_pool_i_slot few[8];
    thread_pool_i_party party;
    thread_pool_i_run r;
    posio_result result;
    if (!thread_pool_i_job_is_valid(job))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "thread_pool: impossible job");
    memset(&r, 0, sizeof r);
    memset(&party, 0, sizeof party);
    r.job = job;
    r.stop_slot = UINT64_MAX;
    r.slots = few;
    if (job->slots > sizeof few / sizeof few[0])
        r.slots = (thread_pool_i_slot *)posio_allocate(&job->alloc, job->slots * sizeof *r.slots);
    party.id = thread_pool_i_self();
    if (r.slots == NULL || !thread_pool_cond_init(&party.wake)) {
        if (r.slots != few) posio_release(&job->alloc, r.slots);
        return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "thread_pool: out of memory");
    }
    memset(r.slots, 0, job->slots * sizeof *r.slots);
    thread_pool_i_drive(pool, &party, &r);
    result = thread_pool_i_result(&r, err);
    thread_pool_cond_destroy(&party.wake);
    if (r.slots != few) posio_release(&job->alloc, r.slots);
    return result;
}

/* Without a pool: the same code, on a pool of no workers that lasts as long as the run. */
THREAD_POOL_API posio_result thread_pool_i_run_alone(const thread_pool_job *job, posio_error *err)
{
    thread_pool_i_impl alone;
    posio_result r;
    memset(&alone, 0, sizeof alone);
    alone.threads = 1;
    if (!thread_pool_mutex_init(&alone.lock))
        return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "thread_pool: no mutex");
    r = thread_pool_i_run_on(&alone, job, err);
    thread_pool_mutex_destroy(&alone.lock);
    return r;
}

// ---------------------------------------------------------------------------------- running jobs

/* Runs a job to its end and returns its result. With a NULL pool, and in a file compiled with
   THREAD_POOL_NO_THREADS, the calling thread does everything. The job and what it points to are
   borrowed until the call returns. Errors: those of the callbacks; ARG, NOMEM, CANCELED; ABI when
   the pool was made by an incompatible version.
   Threads: any. Allocates: yes (above 8 slots). Blocks: workers. */
THREAD_POOL_API posio_result thread_pool_run(thread_pool *pool, const thread_pool_job *job,
                                             posio_error *err)
{
#if !defined(THREAD_POOL_NO_THREADS)
    if (pool != NULL) {
        if (pool->abi != THREAD_POOL_ABI)
            return posio_fail(err, POSIO_E_ABI, POSIO_NO_OFFSET,
                              "the thread pool has abi %x, this code needs %x", (unsigned)pool->abi,
                              (unsigned)THREAD_POOL_ABI);
        return pool->ops->run(pool, job, err);
    }
#endif
    (void)pool; /* without threads this copy has no locks: its callbacks must stay on one thread */
    return thread_pool_i_run_alone(job, err);
}

typedef struct thread_pool_i_loop {
    posio_result (*body)(void *user, uint32_t i, posio_error *err);
    void *user;
    uint32_t count;
} thread_pool_i_loop;

THREAD_POOL_API posio_result thread_pool_i_loop_produce(void *user, thread_pool_slot *slot,
                                                        posio_error *err)
{
    (void)err;
    slot->parts = ((const thread_pool_i_loop *)user)->count;
    return slot->number == 0 ? POSIO_OK : (posio_result)THREAD_POOL_END;
}

THREAD_POOL_API posio_result thread_pool_i_loop_work(void *user, const thread_pool_slot *slot,
                                                     uint32_t part, posio_error *err)
{
    const thread_pool_i_loop *loop = (const thread_pool_i_loop *)user;
    (void)slot;
    return loop->body(loop->user, part, err);
}

/* Calls body(user, i) for every i < count, in parallel: a pipeline of one slot without lanes. The
   error of the lowest i wins; iterations above a failed one may not run.
   Threads: any. Allocates: no. Blocks: workers. */
THREAD_POOL_API posio_result thread_pool_parallel_for(thread_pool *pool, uint32_t count,
                                                      posio_result (*body)(void *user, uint32_t i,
                                                                           posio_error *),
                                                      void *user, posio_error *err)
{
    thread_pool_i_loop loop;
    thread_pool_job job;
    if (count == 0) return POSIO_OK;
    memset(&job, 0, sizeof job);
    loop.body = body;
    loop.user = user;
    loop.count = count;
    job.user = &loop;
    job.slots = 1;
    job.produce = thread_pool_i_loop_produce;
    job.work = thread_pool_i_loop_work;
    return thread_pool_run(pool, &job, err);
}

// ---------------------------------------------------------------------------------- creating

#if defined(THREAD_POOL_NO_THREADS)

typedef struct thread_pool_i_serial {
    thread_pool base;
    posio_alloc alloc;
} thread_pool_i_serial;

THREAD_POOL_API uint32_t thread_pool_i_op_threads(const thread_pool *pool)
{
    (void)pool;
    return 1;
}
THREAD_POOL_API posio_result thread_pool_i_op_run(thread_pool *pool, const thread_pool_job *job,
                                                  posio_error *err)
{
    (void)pool;
    return thread_pool_i_run_alone(job, err);
}
THREAD_POOL_API posio_result thread_pool_i_op_destroy(thread_pool *pool)
{
    posio_alloc a = ((thread_pool_i_serial *)(void *)pool)->alloc;
    posio_release(&a, pool);
    return POSIO_OK;
}
THREAD_POOL_API const thread_pool_ops *thread_pool_i_ops(void)
{
    static const thread_pool_ops ops = {thread_pool_i_op_threads, thread_pool_i_op_run,
                                        thread_pool_i_op_destroy};
    return &ops;
}
THREAD_POOL_API posio_result thread_pool_create_with(thread_pool **out,
                                                     const thread_pool_desc *desc, posio_error *err)
{
    const posio_alloc *a = desc != NULL ? &desc->alloc : NULL;
    thread_pool_i_serial *s = (thread_pool_i_serial *)posio_allocate_zeroed(a, sizeof *s);
    if (s == NULL) return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    s->base.abi = THREAD_POOL_ABI;
    s->base.ops = thread_pool_i_ops();
    if (a != NULL) s->alloc = *a;
    *out = &s->base;
    return POSIO_OK;
}

#else /* with threads */

THREAD_POOL_API thread_pool_i_impl *thread_pool_i_impl_of(thread_pool *pool)
{
    return (thread_pool_i_impl *)(void *)pool;
}

THREAD_POOL_API void thread_pool_i_work_forever(thread_pool_i_impl *pool, thread_pool_i_party *p)
{
    thread_pool_lock(&pool->lock);
    p->id = thread_pool_i_self();
    while (!pool->stop)
        if (!thread_pool_i_serve(pool, p)) thread_pool_i_park(pool, p, 0);
    thread_pool_unlock(&pool->lock);
}

/* Binds the calling thread to the desc's set of processors, where the system can. */
THREAD_POOL_API void thread_pool_i_bind(const thread_pool_desc *desc)
{
    uint32_t i;
#if defined(_WIN32)
    DWORD_PTR mask = 0;
    for (i = 0; i < desc->cpu_count; i++)
        if (desc->cpus[i] < sizeof mask * 8) mask |= (DWORD_PTR)1 << desc->cpus[i];
    if (mask != 0) (void)SetThreadAffinityMask(GetCurrentThread(), mask);
#elif defined(__linux__)
    unsigned long mask[1024 / sizeof(unsigned long)];
    const uint32_t bits = (uint32_t)(sizeof mask[0] * 8);
    if (desc->cpu_count == 0) return;
    memset(mask, 0, sizeof mask);
    for (i = 0; i < desc->cpu_count; i++)
        if (desc->cpus[i] / bits < sizeof mask / sizeof mask[0])
            mask[desc->cpus[i] / bits] |= 1ul << desc->cpus[i] % bits;
    (void)syscall(SYS_sched_setaffinity, 0, sizeof mask, mask);
#else
    (void)desc;
    (void)i;
#endif
}

#if defined(_WIN32)
THREAD_POOL_API unsigned __stdcall thread_pool_i_main(void *arg)
#else
THREAD_POOL_API void *thread_pool_i_main(void *arg)
#endif
{
    thread_pool_i_party *p = (thread_pool_i_party *)arg;
    thread_pool_i_bind(&p->pool->desc);
    thread_pool_i_work_forever(p->pool, p);
    return 0;
}

THREAD_POOL_API int thread_pool_i_start_thread(thread_pool_i_thread *t, thread_pool_i_party *p,
                                               size_t stack)
{
#if defined(_WIN32)
    uintptr_t h = _beginthreadex(NULL, (unsigned)stack, thread_pool_i_main, p, 0, NULL);
    *t = (HANDLE)h;
    return h != 0;
#else
    pthread_attr_t a;
    int ok;
    if (pthread_attr_init(&a) != 0) return 0;
    ok = pthread_attr_setstacksize(&a, stack) == 0 &&
         pthread_create(t, &a, thread_pool_i_main, p) == 0;
    (void)pthread_attr_destroy(&a);
    return ok;
#endif
}

THREAD_POOL_API void thread_pool_i_join(thread_pool_i_thread t)
{
#if defined(_WIN32)
    (void)WaitForSingleObject(t, INFINITE);
    (void)CloseHandle(t);
#else
    (void)pthread_join(t, NULL);
#endif
}

THREAD_POOL_API uint32_t thread_pool_i_op_threads(const thread_pool *pool)
{
    return ((const thread_pool_i_impl *)(const void *)pool)->threads;
}

THREAD_POOL_API posio_result thread_pool_i_op_run(thread_pool *pool, const thread_pool_job *job,
                                                  posio_error *err)
{
    return thread_pool_i_run_on(thread_pool_i_impl_of(pool), job, err);
}

THREAD_POOL_API posio_result thread_pool_i_op_destroy(thread_pool *base)
{
    thread_pool_i_impl *pool = thread_pool_i_impl_of(base);
    posio_alloc a = pool->desc.alloc;
    uint32_t i;
    thread_pool_lock(&pool->lock);
    if (pool->runs != NULL) {
        thread_pool_unlock(&pool->lock);
        return POSIO_E_BUSY;
    }
    pool->stop = 1;
    posio_atomic_store(&pool->events, pool->events + 1);
    while (pool->parked != NULL) thread_pool_i_unpark(pool, pool->parked);
    thread_pool_unlock(&pool->lock);
    for (i = 0; i + 1 < pool->threads; i++) {
        thread_pool_i_join(pool->handles[i]);
        thread_pool_cond_destroy(&pool->workers[i].wake);
    }
    thread_pool_mutex_destroy(&pool->lock);
    posio_release(&a, pool);
    return POSIO_OK;
}

THREAD_POOL_API const thread_pool_ops *thread_pool_i_ops(void)
{
    static const thread_pool_ops ops = {thread_pool_i_op_threads, thread_pool_i_op_run,
                                        thread_pool_i_op_destroy};
    return &ops;
}

/* Starts the workers; where the system gives fewer threads, the pool has fewer. */
THREAD_POOL_API void thread_pool_i_hire(thread_pool_i_impl *pool, uint32_t wanted)
{
    size_t stack = pool->desc.stack_size != 0 ? pool->desc.stack_size : (size_t)512 << 10;
    uint32_t i, hired = 0;
    /* Under the lock, so that a worker cannot look at the pool before it is complete. */
    thread_pool_lock(&pool->lock);
    for (i = 0; i < wanted; i++) {
        thread_pool_i_party *p = &pool->workers[i];
        if (!thread_pool_cond_init(&p->wake)) break;
        p->pool = pool;
        if (!thread_pool_i_start_thread(&pool->handles[i], p, stack)) {
            thread_pool_cond_destroy(&p->wake);
            break;
        }
        p->next = pool->parties;
        pool->parties = p;
        hired++;
    }
    pool->threads = hired + 1;
    thread_pool_unlock(&pool->lock);
}

/* Makes a pool; desc NULL or all zero means one thread for every usable core. Destroy it with
   thread_pool_destroy after everything it was lent to. The desc is copied.
   Threads: any. Allocates: open. Blocks: I/O (for 0 threads: a few small files on Linux). */
THREAD_POOL_API posio_result thread_pool_create_with(thread_pool **out,
                                                     const thread_pool_desc *desc, posio_error *err)
{
    static const thread_pool_desc defaults = {0, 0, NULL, 0, {NULL, NULL, NULL}};
    thread_pool_i_impl *pool;
    uint32_t n;
    if (desc == NULL) desc = &defaults;
    n = desc->threads != 0 ? desc->threads : thread_pool_usable_cores();
    if (n > 4096 || desc->cpu_count > 65536 || !posio_alloc_is_valid(&desc->alloc) ||
        (desc->cpu_count != 0 && desc->cpus == NULL))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "thread_pool: impossible desc");
    pool = (thread_pool_i_impl *)posio_allocate_zeroed(
        &desc->alloc, sizeof *pool + n * (sizeof *pool->workers + sizeof *pool->handles) +
                          desc->cpu_count * sizeof *desc->cpus);
    if (pool == NULL || !thread_pool_mutex_init(&pool->lock)) {
        posio_release(&desc->alloc, pool);
        return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "thread_pool: out of memory");
    }
    pool->base.abi = THREAD_POOL_ABI;
    pool->base.ops = thread_pool_i_ops();
    pool->desc = *desc;
    pool->workers = (thread_pool_i_party *)(void *)(pool + 1);
    pool->handles = (thread_pool_i_thread *)(void *)(pool->workers + n);
    if (desc->cpu_count != 0) /* workers may still read it when this has returned */
        pool->desc.cpus = (const uint32_t *)memcpy(pool->handles + n, desc->cpus,
                                                   desc->cpu_count * sizeof *desc->cpus);
    thread_pool_i_hire(pool, n - 1);
    *out = &pool->base;
    return POSIO_OK;
}
#endif

/* Makes a pool of `threads` threads, the caller included; 0 = one for every usable core. NULL when
   out of memory. Threads: any. Allocates: open. Blocks: I/O (as above). */
THREAD_POOL_API thread_pool *thread_pool_create(uint32_t threads)
{
    thread_pool_desc d;
    thread_pool *pool = NULL;
    memset(&d, 0, sizeof d);
    d.threads = threads;
    (void)thread_pool_create_with(&pool, &d, NULL);
    return pool;
}

/* Ends the workers and frees the pool. POSIO_E_BUSY, and nothing done, while a run is active.
   NULL is fine. Threads: exclusive. Allocates: no. Blocks: workers. */
THREAD_POOL_API posio_result thread_pool_destroy(thread_pool *pool)
{
    return pool != NULL ? pool->ops->destroy(pool) : POSIO_OK;
}

/* Threads that a run on this pool may use, the caller included; 1 for NULL.
   Threads: any. Allocates: no. Blocks: no. */
THREAD_POOL_API uint32_t thread_pool_threads(const thread_pool *pool)
{
#if defined(THREAD_POOL_NO_THREADS)
    (void)pool;
    return 1;
#else
    return pool != NULL ? pool->ops->threads(pool) : 1;
#endif
}

#elif defined(THREAD_POOL_IMPLEMENTATION) && THREAD_POOL_I_IMPLEMENTED < 100
#error "thread_pool.h: the functions of an older copy came first; include the newest header first"
#endif
/* >>end */
