/* bench_vhdx_read.c - read VHDX and VHD images of 512 MiB of mixed media, beside qemu-img, pread.

       cc -O2 -pthread bench/bench_vhdx_read.c -o bench_vhdx_read
       bench_vhdx_read [--json] [--quick] [--rounds N] [--mib N] [--only SECTION] [--image NAME]
                       [--export PROGRAM] [--folder DIR]

   qemu-img makes dynamic and fixed VHDX images with blocks of 1 and 32 MiB, and a dynamic and a
   fixed VHD, all with every block there; one image is there at a time. "chain" is three VHDX: two
   differencing disks, made byte by byte, on a dynamic one by qemu-img; of 16 blocks of 1 MiB the
   upper one has 3, and some of the sectors of 2 more, the lower one has others. All lies in
   /dev/shm, or in DIR (some three times the media), and is removed at the end. Figures are the best
   of N rounds (5); --quick is one round of 64 MiB. What is not installed is left out. PROGRAM is
   the export tool, build/export by default.

     null, tmpfs, random   see bench_images.h; qemu-img does not read chains
     memory                what a reader of a disk of 64 TiB takes at most, with a block allocation
                           table of 512 MiB, after reads all over it by 2 threads

   All that is read is checked against sums of the media, all of it before the rounds and some of
   each request in them, and all that is written, once. Exit code 1 when anything differs, never for
   a time. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif
#define _FILE_OFFSET_BITS 64
#define VHDX_READ_IMPLEMENTATION
#include "../vhdx_read.h"

#include "../tests/fixtures/vhdx_build.h"
#include "bench_images.h"

static void *open_vhdx(const char *path, thread_pool *pool, uint64_t *media_size, posio_error *err)
{
    vhdx_read *image = NULL;
    vhdx_read_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.pool = pool;
    if (vhdx_read_open(&image, path, &desc, err) != POSIO_OK) return NULL;
    *media_size = vhdx_read_info(image)->media_size;
    return image;
}

static posio_result read_vhdx(void *image, uint64_t at, void *buf, size_t n, posio_error *err)
{
    return vhdx_read_at((vhdx_read *)image, at, buf, n, err);
}

static void close_vhdx(void *image) { vhdx_read_close((vhdx_read *)image); }

static const images_format vhdx = {open_vhdx, read_vhdx, close_vhdx};

#define GOALS 0, 0.95, 0.95, 0.9, NULL
static images_image kinds[] = {
    {"dynamic-1m", "d1.vhdx", NULL, "vhdx", "subformat=dynamic,block_size=1M", GOALS},
    {"dynamic-32m", "d32.vhdx", NULL, "vhdx", "subformat=dynamic,block_size=32M", GOALS},
    {"fixed-1m", "f1.vhdx", NULL, "vhdx", "subformat=fixed,block_size=1M", GOALS},
    {"fixed-32m", "f32.vhdx", NULL, "vhdx", "subformat=fixed,block_size=32M", GOALS},
    {"vhd-dynamic", "d.vhd", NULL, "vpc", "subformat=dynamic,force_size=on", GOALS},
    {"vhd-fixed", "f.vhd", NULL, "vpc", "subformat=fixed,force_size=on", GOALS},
    {"chain", "upper.vhdx", "lower.vhdx base.vhdx", NULL, NULL, 0, 0, 0, 0, NULL}};

// ---------------------------------------------------------------------------------- the chain

/* Of every 16 blocks: 0 not there, 1 there, 2 some of its sectors. */
static const char chain_states[2][17] = {"0101020000120020", "1001000200200001"}; /* lower, upper */
enum { RUN_FROM = 265, RUN_SECTORS = 999, RUNS_MOST = 1500 /* MiB of media */ };

static uint32_t chain_texture(int upper) { return IMAGE_BUILD_NOISE + 1 + (uint32_t)upper; }

/* The content of a sector in the chain: a texture, or 0 = the media's own bytes. */
static uint32_t chain_seed(uint64_t at)
{
    const uint64_t sector = at % MEDIA_MIB / 512;
    int upper;
    for (upper = 1; upper >= 0; upper--) {
        char state = chain_states[upper][at / MEDIA_MIB % 16];
        if (state == '1') return chain_texture(upper);
        if (state == '2' && sector >= RUN_FROM && sector < RUN_FROM + RUN_SECTORS)
            return chain_texture(upper);
    }
    return 0;
}

static void chain_layer(vhdx_build_image *m, int upper)
{
    uint64_t i;
    for (i = 0; i < m->count; i++) {
        char state = chain_states[upper][i % 16];
        if (state == '0') continue;
        vhdx_build_block(m, i, state == '1' ? VHDX_BUILD_FULL : VHDX_BUILD_PARTIAL,
                         chain_texture(upper));
        if (state == '2') vhdx_build_present(m, i * (MEDIA_MIB / 512) + RUN_FROM, RUN_SECTORS);
    }
    vhdx_build_finish(m);
}

/* Of the chain, into sums. */
static int chain_sums(uint64_t *sums)
{
    static unsigned char b[MEDIA_BLOCK];
    char path[BENCH_PATH];
    FILE *raw = fopen(bench_path(path, "media.raw"), "rb");
    uint64_t at;
    size_t i;
    int ok = raw != NULL;
    for (at = 0; at < images.media_size && ok; at += sizeof b) {
        ok = fread(b, 1, sizeof b, raw) == sizeof b;
        for (i = 0; i < sizeof b; i += 512) {
            uint32_t seed = chain_seed(at + i);
            if (seed != 0) image_build_fill(seed, at + i, b + i, 512);
        }
        sums[at / sizeof b] = media_sum(b, sizeof b);
    }
    if (raw != NULL) fclose(raw);
    return ok;
}

/* Two differencing disks on the file base.vhdx, which knows itself as `identity`. */
static int chain_write(const char *identity)
{
    static const char *const names[2] = {"upper.vhdx", "lower.vhdx"};
    static vhdx_build s;
    vhdx_build_options o[2];
    vhdx_build_image *m[2];
    char link[64], path[BENCH_PATH];
    int i, bad = 0;
    memset(&s, 0, sizeof s);
    snprintf(link, sizeof link, "{%s}", identity);
    for (i = 0; i < 2; i++) {
        o[i] = vhdx_build_none();
        o[i].size = images.media_size;
        o[i].parent = 1;
        o[i].pair[0].key = "parent_linkage";
        o[i].pair[0].value = i == 0 ? "$" : link;
        o[i].pair[1].key = "relative_path";
        o[i].pair[1].value = i == 0 ? ".\\lower.vhdx" : ".\\base.vhdx";
        m[i] = vhdx_build_begin(&s, names[i], &o[i]);
    }
    m[1]->below = 0;
    for (i = 0; i < 2; i++) {
        chain_layer(m[i], i == 0);
        bad |= image_build_write_file(m[i]->f, bench_path(path, names[i]));
    }
    vhdx_build_free(&s);
    return !bad;
}

static int make_layers(const void *user)
{
    vhdx_read *base = NULL;
    char path[BENCH_PATH];
    uint64_t size = 0;
    posio_error err;
    int ok;
    memset(&err, 0, sizeof err);
    base = (vhdx_read *)open_vhdx(bench_path(path, "base.vhdx"), NULL, &size, &err);
    if (base == NULL) fprintf(stderr, "%s\n", err.message);
    ok = base != NULL && chain_sums((uint64_t *)(uintptr_t)user) &&
         chain_write(vhdx_read_info(base)->identity);
    vhdx_read_close(base);
    return !ok;
}

static int make_chain(images_image *m)
{
    const images_image base = {
        "chain", "base.vhdx", NULL, "vhdx", "subformat=dynamic,block_size=1M", GOALS};
    uint64_t *sums;
    bench_cost c;
    if (images.media_size > (uint64_t)RUNS_MOST * MEDIA_MIB) {
        fprintf(stderr, "SKIP chain: it needs --mib up to %d\n", RUNS_MOST);
        return 0;
    }
    sums = (uint64_t *)bench_shared((size_t)(images.media_size / MEDIA_BLOCK) * 8);
    if (!images_convert(&base)) return 0;
    m->sums = sums;
    if (bench_child(make_layers, sums, &c) == 0) return 1;
    bench_complain("chain", "cannot be made");
    return 0;
}

// ---------------------------------------------------------------------------------- 64 TiB

#define HUGE_MEDIA (64 * VHDX_BUILD_TIB)
enum { HUGE_BLOCKS = 64, HUGE_STEP = 1048570, HUGE_FIRST = 5 };

static uint32_t huge_seed(uint64_t block)
{
    if (block < HUGE_FIRST || (block - HUGE_FIRST) % HUGE_STEP != 0) return 0;
    return IMAGE_BUILD_NOISE + 10 + (uint32_t)((block - HUGE_FIRST) / HUGE_STEP);
}

/* Blocks of 1 MiB, 64 of which are there; the rest of their table is a hole of the file. */
static int make_huge(const void *user)
{
    static vhdx_build s;
    vhdx_build_options o = vhdx_build_none();
    vhdx_build_image *m;
    char path[BENCH_PATH];
    uint64_t i;
    (void)user;
    o.size = HUGE_MEDIA;
    m = vhdx_build_begin(&s, "huge.vhdx", &o);
    for (i = 0; i < HUGE_BLOCKS; i++) {
        uint64_t block = HUGE_FIRST + i * HUGE_STEP;
        vhdx_build_block(m, block, VHDX_BUILD_FULL, huge_seed(block));
    }
    vhdx_build_finish(m);
    return image_build_write_file(m->f, bench_path(path, "huge.vhdx")) != 0;
}

/* Half of the reads are of blocks that are there. */
static posio_result huge_reads(void *user, uint32_t part, posio_error *err)
{
    vhdx_read *image = (vhdx_read *)user;
    static const unsigned char zeros[MEDIA_BLOCK] = {0};
    unsigned char buf[MEDIA_BLOCK], want[MEDIA_BLOCK];
    uint64_t x = part + 1;
    uint32_t i;
    for (i = 0; i < IMAGES_HUGE_READS / 2; i++) {
        uint64_t at;
        uint32_t seed;
        x = x * 6364136223846793005u + 1442695040888963407u;
        at = (x >> 12) % (HUGE_MEDIA / MEDIA_BLOCK) * MEDIA_BLOCK;
        if (i % 2 != 0)
            at = (HUGE_FIRST + (x >> 12) % HUGE_BLOCKS * HUGE_STEP) * MEDIA_MIB +
                 (x >> 40) % 256 * MEDIA_BLOCK;
        if (vhdx_read_at(image, at, buf, sizeof buf, err) != POSIO_OK) return POSIO_E_DATA;
        seed = huge_seed(at / MEDIA_MIB);
        if (seed != 0) image_build_fill(seed, at, want, sizeof want);
        if (memcmp(buf, seed != 0 ? want : zeros, sizeof buf) != 0)
            return posio_fail(err, POSIO_E_DATA, at, "wrong bytes");
    }
    return POSIO_OK;
}

static const images_huge huge = {"64 TiB", "huge.vhdx", HUGE_MEDIA, make_huge, huge_reads};

// ---------------------------------------------------------------------------------- main

int main(int argc, char **argv)
{
    bench.name = "bench_vhdx_read";
    return images_main(argc, argv, &vhdx, kinds, sizeof kinds / sizeof kinds[0], make_chain, &huge);
}
