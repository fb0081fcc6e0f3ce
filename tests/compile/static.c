/* A private copy. Compiled twice, -DNAME=parts_static_one and _two, and linked together. */
#define EWF_READ_STATIC
#include "ewf_read.h"
#include "parts.h"
#include "verdict.h"

int NAME(const char *path, struct chunkwise_pool *pool, char *out, size_t room)
{
    return verdict_of(path, pool, out, room);
}
