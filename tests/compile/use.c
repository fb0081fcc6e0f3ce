/* Declarations only; the functions are elsewhere. */
#include "ewf_read.h"
#include "parts.h"
#include "verdict.h"

int parts_use(const char *path, struct chunkwise_pool *pool, char *out, size_t room)
{
    return verdict_of(path, pool, out, room);
}
