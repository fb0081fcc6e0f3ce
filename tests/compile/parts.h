/* What the translation units of a linked test know of each other. */
#ifndef PARTS_H
#define PARTS_H
#include <stddef.h>

struct chunkwise_pool;

#ifdef __cplusplus
extern "C" {
#endif

/* pool.c: thread_pool.h and nothing else. */
struct chunkwise_pool *parts_pool_make(unsigned threads);
unsigned parts_pool_threads(const struct chunkwise_pool *pool);
int parts_pool_end(struct chunkwise_pool *pool);

/* use.c: the declarations of ewf_read.h. Writes "HEX match" or what went wrong; 0 = it matches. */
int parts_use(const char *path, struct chunkwise_pool *pool, char *out, size_t room);

/* static.c, compiled twice: private copies of ewf_read.h. */
int parts_static_one(const char *path, struct chunkwise_pool *pool, char *out, size_t room);
int parts_static_two(const char *path, struct chunkwise_pool *pool, char *out, size_t room);

#ifdef __cplusplus
}
#endif
#endif
