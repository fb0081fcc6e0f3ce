/* fuzz.h - what the libFuzzer targets share: REQUIRE, an allocator that counts, what errors must
   be, and the time an input took (with FUZZ_SLOW=MILLISECONDS in the environment). Include the
   header under test, with THREAD_POOL_IMPLEMENTATION, before. */
#ifndef CHUNKWISE_TESTS_FUZZ_H
#define CHUNKWISE_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);

static inline void require_at(int x, const char *what, const char *file, int line)
{
    if (x) return;
    fprintf(stderr, "%s:%d: %s does not hold\n", file, line, what);
    abort();
}
#define REQUIRE(x) require_at((x) != 0, #x, __FILE__, __LINE__)

static inline void require_error(posio_result r, const posio_error *err)
{
    REQUIRE(r < 0 && r != POSIO_E_NOMEM && err->code == r && err->message[0] != 0);
}

static inline int same_error(const posio_error *a, const posio_error *b)
{
    return a->code == b->code && a->offset == b->offset && strcmp(a->message, b->message) == 0;
}

static inline void say_if_slow(clock_t begin)
{
    const char *most = getenv("FUZZ_SLOW");
    if (most != NULL && clock() - begin > atol(most) * 1000)
        fprintf(stderr, "slow: %.2f s\n", (double)(clock() - begin) / CLOCKS_PER_SEC);
}

/* ------------------------------------------------------------------ memory, counted */

typedef struct ledger {
    size_t now, peak, blocks;
    thread_pool_mutex lock;
} ledger;

static inline void *ledger_alloc(size_t size, void *user)
{
    ledger *l = (ledger *)user;
    size_t *p = (size_t *)malloc(size + 64);
    REQUIRE(p != NULL);
    p[0] = size;
    thread_pool_lock(&l->lock);
    l->now += size;
    l->blocks++;
    if (l->now > l->peak) l->peak = l->now;
    thread_pool_unlock(&l->lock);
    return (unsigned char *)p + 64;
}

static inline void ledger_free(void *block, void *user)
{
    ledger *l = (ledger *)user;
    size_t *p = (size_t *)(void *)((unsigned char *)block - 64);
    thread_pool_lock(&l->lock);
    l->now -= p[0];
    l->blocks--;
    thread_pool_unlock(&l->lock);
    free(p);
}

static inline posio_alloc ledger_make(ledger *l)
{
    posio_alloc a;
    memset(l, 0, sizeof *l);
    REQUIRE(thread_pool_mutex_init(&l->lock));
    a.alloc_fn = ledger_alloc;
    a.free_fn = ledger_free;
    a.user = l;
    return a;
}

/* Nothing is left, and there was no more than `most` at a time; 0: whatever there was. */
static inline void ledger_end(ledger *l, size_t most)
{
    if (most != 0 && l->peak > most)
        fprintf(stderr, "peak: %lu of %lu\n", (unsigned long)l->peak, (unsigned long)most);
    REQUIRE(l->blocks == 0 && (most == 0 || l->peak <= most));
    thread_pool_mutex_destroy(&l->lock);
}

#endif
