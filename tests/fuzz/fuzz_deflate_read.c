/* fuzz_deflate_read.c - libFuzzer target: no access outside of the buffers, slack and processor
   features change nothing, and with -DHAVE_ZLIB (-lz) exactly what zlib accepts is accepted.

       clang -g -O1 -fsanitize=fuzzer,address,undefined -DHAVE_ZLIB fuzz_deflate_read.c -lz

   Input: one byte of choices (1 = zlib format, 2 = no checksum, 4 = NLEN 0 accepted, 8 = without
   processor features, 16 = the least slack for the fast loop), two bytes for the output's size,
   then the stream. With HAVE_ZLIB and 32 it is instead what zlib makes (64 = fixed codes, 128 =
   level 1) of what follows, 33 times over; but for 8 bytes that damage up to 4 bytes of it. */
#define DEFLATE_READ_IMPLEMENTATION
#include "../../deflate_read.h"

#include <stdlib.h>
#include <string.h>
#ifdef HAVE_ZLIB
#include <zlib.h>
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct outcome {
    posio_result result;
    deflate_read_end end;
    posio_error err;
    unsigned char *out;
} outcome;

static void require(int x)
{
    if (!x) abort();
}

/* From and into blocks of exactly the promised size: the sanitizer sees every step aside. */
static outcome decode(const uint8_t *in, size_t n, size_t out_max, size_t slack, unsigned choices)
{
    outcome o;
    deflate_read *d = (deflate_read *)malloc(sizeof *d);
    unsigned char *copy = (unsigned char *)malloc(n != 0 ? n : 1);
    memset(&o, 0, sizeof o);
    o.out = (unsigned char *)malloc(out_max + slack != 0 ? out_max + slack : 1);
    require(d != NULL && copy != NULL && o.out != NULL);
    if (n != 0) memcpy(copy, in, n);
    o.result = (choices & 1 ? deflate_read_zlib : deflate_read_raw)(
        d, copy, n, o.out, out_max, slack, choices >> 1 & 3, &o.end, &o.err);
    require(o.end.in_used <= n && o.end.out_size <= out_max);
    require(o.result <= 0 && (o.result == POSIO_OK || o.err.code == o.result));
    free(copy);
    free(d);
    return o;
}

#ifdef HAVE_ZLIB
static void compare_with_zlib(const uint8_t *in, size_t n, size_t out_max, unsigned choices,
                              const outcome *o)
{
    z_stream z;
    unsigned char *out = (unsigned char *)malloc(out_max + 1);
    size_t common;
    int good;
    memset(&z, 0, sizeof z);
    require(out != NULL && inflateInit2(&z, choices & 1 ? 15 : -15) == Z_OK);
    z.next_in = (Bytef *)(uintptr_t)in;
    z.avail_in = (uInt)n;
    z.next_out = out;
    z.avail_out = (uInt)out_max;
    good = inflate(&z, Z_FINISH) == Z_STREAM_END;
    require(good == (o->result == POSIO_OK));
    if (good) require(o->end.out_size == z.total_out && o->end.in_used == z.total_in);
    common = o->end.out_size < z.total_out ? o->end.out_size : (size_t)z.total_out;
    require(memcmp(out, o->out, common) == 0);
    inflateEnd(&z);
    free(out);
}
#endif

static void check(const uint8_t *data, size_t size, size_t out_max, unsigned choices)
{
    outcome a, b;
    if (choices & 8) posio_cpu_mask(0);
    a = decode(data, size, out_max, 0, choices);
    if (choices & 8) posio_cpu_mask(UINT32_MAX);
    b = decode(data, size, out_max,
               choices & 16 ? (size_t)DEFLATE_READ_I_OUT_MARGIN : DEFLATE_READ_SLACK, choices);
    require(a.result == b.result && a.end.in_used == b.end.in_used);
    require(a.end.out_size == b.end.out_size && memcmp(a.out, b.out, a.end.out_size) == 0);
    require(a.err.offset == b.err.offset && strcmp(a.err.message, b.err.message) == 0);
#ifdef HAVE_ZLIB
    if ((choices & 6) == 0) compare_with_zlib(data, size, out_max, choices, &a);
#endif
    free(a.out);
    free(b.out);
}

#ifdef HAVE_ZLIB
/* The stream that zlib makes of the data, several times over, then damaged where `flips` says. */
static void check_made(const uint8_t *data, size_t size, size_t out_max, unsigned choices)
{
    enum { TIMES = 33, ROOM = 1 << 18 };
    uint8_t flips[8], *made = (uint8_t *)malloc(ROOM);
    z_stream z;
    size_t i, n;
    require(made != NULL);
    memset(&z, 0, sizeof z);
    memcpy(flips, data, 8);
    data += 8;
    size -= 8;
    if (size > 4096) size = 4096;
    require(deflateInit2(&z, choices & 128 ? 1 : 6, Z_DEFLATED, choices & 1 ? 15 : -15, 8,
                         choices & 64 ? Z_FIXED : Z_DEFAULT_STRATEGY) == Z_OK);
    z.next_out = made;
    z.avail_out = ROOM;
    for (i = 0; i < TIMES; i++) { // not exactly the same, or there were only long matches
        z.next_in = (Bytef *)(uintptr_t)(data + (i * i) % (size / 2 + 1));
        z.avail_in = (uInt)(size - (i * i) % (size / 2 + 1) - i % (size / 3 + 1));
        require(deflate(&z, i % 16 == 15 ? Z_FULL_FLUSH : Z_NO_FLUSH) == Z_OK || size == 0);
    }
    require(deflate(&z, Z_FINISH) == Z_STREAM_END);
    n = (size_t)z.total_out;
    if (flips[0] & 1) out_max = (size_t)z.total_in + flips[0] / 2; // enough for all, or just so
    deflateEnd(&z);
    for (i = 0; i < 8; i += 2)
        if (flips[i + 1] != 0)
            made[(flips[i] * flips[i] / 8u) % n] ^= (uint8_t)(1u << (flips[i + 1] & 7));
    check(made, n, out_max, choices);
    free(made);
}
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t out_max;
    unsigned choices;
    if (size < 3) return 0;
    choices = data[0];
    out_max = posio_le16(data + 1);
    data += 3;
    size -= 3;
#ifdef HAVE_ZLIB
    if (choices & 32 && size > 8) {
        check_made(data, size, out_max, choices);
        return 0;
    }
#endif
    check(data, size, out_max, choices);
    return 0;
}
