/* Uses thread_pool.h only. The pool it makes is lent to ewf_read.h in other translation units. */
#define THREAD_POOL_IMPLEMENTATION
#include "thread_pool.h"
#include "parts.h"

struct chunkwise_pool *parts_pool_make(unsigned threads) { return thread_pool_create(threads); }
unsigned parts_pool_threads(const struct chunkwise_pool *pool) { return thread_pool_threads(pool); }
int parts_pool_end(struct chunkwise_pool *pool)
{
    return thread_pool_destroy(pool) == POSIO_OK ? 0 : 1;
}
