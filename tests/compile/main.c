/* main IMAGE: verifies without a pool and with one of four threads; prints the verdict if both
   agree. -DWITH_STATIC: by two private copies, which also must agree. */
#include "parts.h"
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct chunkwise_pool *pool = parts_pool_make(4);
    char alone[300], lent[300];
    int bad;
    if (argc < 2 || pool == NULL) return 2;
#ifdef WITH_STATIC
    bad = parts_static_one(argv[1], NULL, alone, sizeof alone) |
          parts_static_two(argv[1], pool, lent, sizeof lent);
#else
    bad = parts_use(argv[1], NULL, alone, sizeof alone) |
          parts_use(argv[1], pool, lent, sizeof lent);
#endif
    printf("%s threads %u\n", strcmp(alone, lent) == 0 ? lent : "DIFFERENT",
           parts_pool_threads(pool));
    if (parts_pool_end(pool) != 0) return 2;
    return bad;
}
