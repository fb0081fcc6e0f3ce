/* The user's code that use.c and static.c share: verify an image and say what came out. */
#include <stdio.h>
#include <string.h>

static int verdict_of(const char *path, struct chunkwise_pool *pool, char *out, size_t room)
{
    ewf_read_desc desc;
    ewf_read_verdict verdict;
    ewf_read *image = NULL;
    posio_error err;
    char hex[33];
    int i, good = 0;
    memset(&desc, 0, sizeof desc);
    desc.pool = pool;
    if (ewf_read_open(&image, path, &desc, &err) != POSIO_OK ||
        ewf_read_verify(image, NULL, &verdict, &err) != POSIO_OK) {
        snprintf(out, room, "error %d: %.200s", (int)err.code, err.message);
    } else {
        for (i = 0; i < 16; i++)
            snprintf(hex + 2 * i, 3, "%02x", (unsigned)verdict.digest[0].computed[i]);
        good = verdict.digest_count != 0 && verdict.digest[0].algorithm == EWF_READ_MD5 &&
               verdict.digest[0].match != 0 && verdict.damaged_chunks == 0;
        snprintf(out, room, "%s %s", hex, good ? "match" : "MISMATCH");
    }
    ewf_read_close(image);
    return good ? 0 : 1;
}
