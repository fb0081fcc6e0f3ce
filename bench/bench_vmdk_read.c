/* bench_vmdk_read.c - read VMDK images of 512 MiB of mixed media, beside qemu-img and pread.

       cc -O2 -pthread bench/bench_vmdk_read.c -o bench_vmdk_read
       bench_vmdk_read [--json] [--quick] [--rounds N] [--mib N] [--only SECTION] [--image NAME]
                       [--export PROGRAM] [--folder DIR]

   qemu-img makes a streamOptimized, a monolithicSparse and a monolithicFlat image of the media, the
   last two with every grain there; one is there at a time. All lies in /dev/shm, or in DIR (some
   three times the media), and is removed at the end. Figures are the best of N rounds (5);
   --quick is one round of 64 MiB. What is not installed is left out. PROGRAM is the export tool,
   build/export by default.

     null, tmpfs, random   see bench_images.h
     memory                what a reader of a disk of 62 TiB takes at most, whose 2 million tables
                           are all there, after reads all over it by 2 threads

   All that is read is checked against sums of the media, all of it before the rounds and some of
   each request in them, and all that is written, once. Exit code 1 when anything differs, never for
   a time. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif
#define _FILE_OFFSET_BITS 64
#define VMDK_READ_IMPLEMENTATION
#define DIGEST_IMPLEMENTATION
#include "../digest.h"
#include "../vmdk_read.h"

#include "bench_images.h"

static void *open_vmdk(const char *path, thread_pool *pool, uint64_t *media_size, posio_error *err)
{
    vmdk_read *image = NULL;
    vmdk_read_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.pool = pool;
    if (vmdk_read_open(&image, path, &desc, err) != POSIO_OK) return NULL;
    *media_size = vmdk_read_info(image)->media_size;
    return image;
}

static posio_result read_vmdk(void *image, uint64_t at, void *buf, size_t n, posio_error *err)
{
    return vmdk_read_at((vmdk_read *)image, at, buf, n, err);
}

static void close_vmdk(void *image) { vmdk_read_close((vmdk_read *)image); }

static const images_format vmdk = {open_vmdk, read_vmdk, close_vmdk};

static images_image kinds[] = {
    {"streamOptimized", "stream.vmdk", NULL, "vmdk", "subformat=streamOptimized", 1, 5, 4, 0, NULL},
    {"monolithicSparse", "sparse.vmdk", NULL, "vmdk", "subformat=monolithicSparse", 0, 0.95, 0.95,
     0.9, NULL},
    {"monolithicFlat", "flat.vmdk", "flat-flat.vmdk", "vmdk", "subformat=monolithicFlat", 0, 0.95,
     0.95, 0.9, NULL}};

// ---------------------------------------------------------------------------------- 62 TiB

/* One sparse extent. The directory, 8 MiB, is written; the tables, 4 GiB, are a hole of the file
   but for the entries of the grains that are there, one in a million. */
#define HUGE_GRAIN ((uint64_t)65536)
#define HUGE_MEDIA ((uint64_t)62 << 40)
#define HUGE_TABLES (HUGE_MEDIA / (512 * HUGE_GRAIN))
#define HUGE_DIRECTORY ((uint64_t)1 << 20) /* bytes, in the file */
#define HUGE_TABLE_0 ((uint64_t)16 << 20)
#define HUGE_GRAIN_0 ((uint64_t)5 << 30)
enum { HUGE_GRAINS = 900, HUGE_STEP = 1150001, HUGE_FIRST = 7 };

static void put_le(unsigned char *p, uint64_t v, size_t n)
{
    for (; n != 0; n--, v >>= 8) *p++ = (unsigned char)v;
}

/* What lies at a block of the media: zeros, or 8 bytes again and again. */
static uint64_t huge_word(uint64_t at)
{
    uint64_t grain = at / HUGE_GRAIN, k = (grain - HUGE_FIRST) / HUGE_STEP;
    if (grain < HUGE_FIRST || (grain - HUGE_FIRST) % HUGE_STEP != 0 || k >= HUGE_GRAINS) return 0;
    return (at / MEDIA_BLOCK + 1) * 0x9e3779b97f4a7c15u;
}

static int put_at(int f, uint64_t at, const void *p, size_t n)
{
    return pwrite(f, p, n, (off_t)at) == (ssize_t)n;
}

static int huge_header(int f)
{
    static const char text[] = "# Disk DescriptorFile\nversion=1\nCID=00c0ffee\n"
                               "parentCID=ffffffff\ncreateType=\"monolithicSparse\"\n"
                               "RW 133143986176 SPARSE \"huge.vmdk\"\n";
    static unsigned char b[512];
    memcpy(b, "KDMV\1\0\0\0\1\0\0\0", 12);
    put_le(b + 12, HUGE_MEDIA / 512, 8);
    put_le(b + 20, HUGE_GRAIN / 512, 8);
    put_le(b + 28, 1, 8);
    put_le(b + 36, 20, 8);
    put_le(b + 44, 512, 4);
    put_le(b + 56, HUGE_DIRECTORY / 512, 8);
    put_le(b + 64, HUGE_GRAIN_0 / 512, 8);
    memcpy(b + 73, "\n \r\n", 4);
    return put_at(f, 0, b, sizeof b) && put_at(f, 512, text, sizeof text - 1);
}

static int huge_tables(int f)
{
    unsigned char *b = (unsigned char *)malloc(HUGE_TABLES * 4);
    uint64_t i;
    int ok = b != NULL;
    for (i = 0; i < HUGE_TABLES && ok; i++) put_le(b + 4 * i, HUGE_TABLE_0 / 512 + 4 * i, 4);
    ok = ok && put_at(f, HUGE_DIRECTORY, b, HUGE_TABLES * 4);
    free(b);
    return ok;
}

static int huge_grains(int f)
{
    static unsigned char b[65536];
    uint64_t k;
    size_t i;
    int ok = 1;
    for (k = 0; k < HUGE_GRAINS && ok; k++) {
        uint64_t grain = HUGE_FIRST + k * HUGE_STEP, at = HUGE_GRAIN_0 + k * HUGE_GRAIN;
        unsigned char entry[4];
        put_le(entry, at / 512, 4);
        for (i = 0; i < sizeof b; i += 8) put_le(b + i, huge_word(grain * HUGE_GRAIN + i), 8);
        ok = put_at(f, HUGE_TABLE_0 + grain * 4, entry, 4) && put_at(f, at, b, sizeof b);
    }
    return ok;
}

/* In a child, for its memory. */
static int make_huge(const void *user)
{
    char path[BENCH_PATH];
    int f = open(bench_path(path, "huge.vmdk"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    (void)user;
    return f < 0 || !huge_header(f) || !huge_tables(f) || !huge_grains(f) || close(f) != 0;
}

/* Half of the reads are of grains that are there. */
static posio_result huge_reads(void *user, uint32_t part, posio_error *err)
{
    vmdk_read *image = (vmdk_read *)user;
    unsigned char buf[MEDIA_BLOCK], want[8];
    uint64_t x = part + 1;
    uint32_t i, k;
    for (i = 0; i < IMAGES_HUGE_READS / 2; i++) {
        uint64_t at;
        x = x * 6364136223846793005u + 1442695040888963407u;
        at = (x >> 12) % (HUGE_MEDIA / MEDIA_BLOCK) * MEDIA_BLOCK;
        if (i % 2 != 0)
            at = (HUGE_FIRST + (x >> 12) % HUGE_GRAINS * HUGE_STEP) * HUGE_GRAIN +
                 (x >> 40) % 16 * MEDIA_BLOCK;
        if (vmdk_read_at(image, at, buf, sizeof buf, err) != POSIO_OK) return POSIO_E_DATA;
        put_le(want, huge_word(at), 8);
        for (k = 0; k < sizeof buf; k += 8)
            if (memcmp(buf + k, want, 8) != 0)
                return posio_fail(err, POSIO_E_DATA, at, "wrong bytes");
    }
    return POSIO_OK;
}

static const images_huge huge = {"62 TiB", "huge.vmdk", HUGE_MEDIA, make_huge, huge_reads};

// ---------------------------------------------------------------------------------- main

int main(int argc, char **argv)
{
    bench.name = "bench_vmdk_read";
    return images_main(argc, argv, &vmdk, kinds, sizeof kinds / sizeof kinds[0], NULL, &huge);
}
