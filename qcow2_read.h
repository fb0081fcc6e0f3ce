/* qcow2_read.h - read QCOW2 disk images and what they stand on, from any number of threads.
   SPDX-License-Identifier: MIT OR Unlicense

   QUICK START

       #define QCOW2_READ_IMPLEMENTATION
       #include "qcow2_read.h"
       #include <stdio.h>

       int main(int argc, char **argv)
       {
           qcow2_read *image = NULL;
           posio_error err;
           unsigned char sector[512];
           if (argc < 2 || qcow2_read_open(&image, argv[1], NULL, &err) != POSIO_OK) return 2;
           printf("%llu bytes\n", (unsigned long long)qcow2_read_info(image)->media_size);
           if (qcow2_read_at(image, 0, sector, sizeof sector, &err) != POSIO_OK) puts(err.message);
           qcow2_read_close(image);
           return 0;
       }

   WHAT IT DOES NOT DO
     No writing, no repair. Encrypted images (AES, LUKS) and unknown incompatible features are
     refused by name. Version 1 (QCOW) is another format. Dirty bitmaps are checked, not read.
     Guest bytes are never probed: a backing file is what the image says it is, or nothing.

   OPTIONS  (define before the first include; each works alone)
     QCOW2_READ_IMPLEMENTATION   the functions too: in exactly one .c or .cpp
     QCOW2_READ_STATIC           a private copy with internal linkage, for this file only
     QCOW2_READ_API              how public functions are declared (default: nothing)
     QCOW2_READ_ZSTD             decompress zstd clusters: needs <zstd.h> and -lzstd. Without it,
                                 images of compression type 1 are refused by name.
     THREAD_POOL_NO_THREADS      no locks, no threads: one thread may use an image at a time

   THREADS
     After opening, every function that takes a handle may be called by any number of threads, but
     for qcow2_read_close. No thread is started: large reads use the pool lent in the desc, if any.

   MEMORY
     Tables stay on disk and are read when wanted. An open image keeps 2 MiB of table pages,
     desc.cache_bytes (32 MiB) of decompressed clusters, 8 bytes for each snapshot (65,536 at most)
     and some KiB; a backing file that qcow2_read_open finds by itself gets half the cache of the
     image above it. Each thread that decompresses keeps two clusters and 25 KiB (zstd: 160 KiB, and
     8 MiB where a frame does not decode in one piece, which no known writer makes).
     qcow2_read_check takes 2 bytes for each cluster of the file, 32 MiB at most, and one L2 table.

   ERRORS
     FORMAT (not QCOW2), UNSUPPORTED (refused by name), DATA (damaged), MISSING (a backing or data
     file is absent), POLICY (a stored name leads elsewhere), LIMIT, RANGE, IO, NOMEM. Errors name
     the file and the byte offset in it. What can be read around is a warning.

   THE FORMAT  (QEMU's "Qcow2 Image File Format", docs/interop/qcow2: QCOW2)

     All numbers are big-endian. The file is made of clusters of 512 bytes to 2 MiB.

     header     "QFI\xfb" | version u32 | backing name: offset u64, length u32 | cluster bits u32 |
                media size u64 | encryption u32 | L1: entries u32, offset u64 |
                refcount table: offset u64, clusters u32 | snapshots: count u32, offset u64
     version 3  incompatible, compatible, autoclear features u64 each | refcount order u32 |
                header length u32 | compression type u8 | ...
     extensions type u32 | length u32 | data, padded to 8; type 0 ends them

     media offset -> L1 entry (one for each L2 table) -> L2 entry (one for each cluster)

     L1 entry   bits 9-55: offset of an L2 table, one cluster large; 0 = all of it is unallocated
     L2 entry   bit 62 = 0   bits 9-55: offset of the cluster; 0 = unallocated: the backing file
                             bit 0: reads as zeros, whatever the offset (version 3)
                bit 62 = 1   compressed: the low x = 62 - (cluster bits - 8) bits are the byte
                             offset, the others count the 512-byte sectors behind the first
     extended   incompatible bit 4: L2 entries have 16 bytes. The second word has, for each of 32
     L2 entry   subclusters, a bit "allocated" (0-31) and a bit "zeros" (32-63)

     variant                                            |
     versions 2 and 3, clusters of 512 bytes to 2 MiB   | read
     deflate and zstd clusters, zero clusters           | read
     extended L2 entries                                | read
     external data file, raw or not                     | read; its offsets must equal the media's
     backing files                                      | read, in any format a resolver knows
     internal snapshots                                 | listed; desc.snapshot reads one
     dirty, corrupt                                     | read, with a warning
     AES, LUKS; unknown incompatible features           | refused by name

   DAMAGE
     An entry that cannot be right (unaligned, outside of the file, in the L1 table or in its own
     L2 table, a zero cluster in version 2, a subcluster both allocated and zero) is an error that
     names it; it never reads as zeros. Of a cluster that the end of the file cuts, what is there is
     read. Other overlaps, reserved bits and reference counts do not matter for reading:
     qcow2_read_check examines them. */

#if defined(QCOW2_READ_STATIC) && !defined(QCOW2_READ_IMPLEMENTATION)
#define QCOW2_READ_IMPLEMENTATION
#endif
#if defined(QCOW2_READ_IMPLEMENTATION)
#ifndef CHUNK_CACHE_IMPLEMENTATION
#define CHUNK_CACHE_IMPLEMENTATION
#endif
#ifndef DEFLATE_READ_IMPLEMENTATION
#define DEFLATE_READ_IMPLEMENTATION
#endif
#endif
#if defined(CHUNK_CACHE_IMPLEMENTATION) && !defined(THREAD_POOL_IMPLEMENTATION)
#define THREAD_POOL_IMPLEMENTATION
#endif
#if !defined(POSIO_IMPLEMENTATION) && \
    (defined(THREAD_POOL_IMPLEMENTATION) || defined(DEFLATE_READ_IMPLEMENTATION))
#define POSIO_IMPLEMENTATION
#endif
#include "posio.h"
#if defined(THREAD_POOL_IMPLEMENTATION)
#include "thread_pool.h"
#endif
#if defined(CHUNK_CACHE_IMPLEMENTATION)
#include "chunk_cache.h"
#endif
#if defined(DEFLATE_READ_IMPLEMENTATION)
#include "deflate_read.h"
#endif

#ifndef CHUNKWISE_QCOW2_READ_H
#define CHUNKWISE_QCOW2_READ_H

#define QCOW2_READ_VERSION 100 /* 1.0.0 */

#include <stddef.h>
#include <stdint.h>

struct chunkwise_pool;

#if defined(QCOW2_READ_STATIC)
#define QCOW2_READ_I_STATIC
#endif
#ifndef QCOW2_READ_API
#if !defined(QCOW2_READ_STATIC)
#define QCOW2_READ_API
#elif defined(__GNUC__) || defined(__TINYC__)
#define QCOW2_READ_API static __attribute__((unused))
#else
#define QCOW2_READ_API static
#endif
#endif

/* ------------------------------------------------------------------ essential */

typedef struct qcow2_read qcow2_read;

enum {
    QCOW2_READ_ALONE = 1,      /* no backing file: what the image does not hold reads as zeros */
    QCOW2_READ_RAW_BACKING = 2 /* a backing file whose format the image does not name is raw */
};

typedef struct qcow2_read_desc {
    struct chunkwise_pool *pool; /* lent for large reads; NULL = the calling thread */
    uint64_t cache_bytes;        /* of decompressed clusters; 0 = 32 MiB */
    uint32_t flags;              /* QCOW2_READ_ALONE, QCOW2_READ_RAW_BACKING */
    uint32_t allow;              /* POSIO_ALLOW_... for names stored in the image */
    const char *snapshot;        /* ID, or else name, of one to read; NULL = the active state */
    const char *name;            /* of the file in errors, copied; qcow2_read_open takes the path */
    /* Opens backing and data files; borrowed while the image is open. NULL: qcow2_read_open finds
       those in QCOW2 and raw format beside the image, qcow2_read_open_source refuses them. */
    const posio_resolver *resolver;
    posio_alloc alloc;
} qcow2_read_desc;

#ifdef __cplusplus
extern "C" {
#endif

/* Opens the image at path (UTF-8), with its backing and data files. desc NULL or all zero is a
   complete default. On success close *out yourself.
   Source: QCOW2, "Header", "Header extensions".
   Threads: any. Allocates: open. Blocks: I/O. */
QCOW2_READ_API posio_result qcow2_read_open(qcow2_read **out, const char *path,
                                            const qcow2_read_desc *desc, posio_error *err);

/* Reads n bytes of the logical media at offset into buf. POSIO_E_RANGE beyond media_size; on
   failure buf holds anything. A range of 256 KiB or more is cut into parts for the pool, and its
   whole clusters are decompressed straight into buf: they pass by the cache. All other compressed
   clusters are decompressed once for all threads that want them. Everything else is read straight
   into buf. Source: QCOW2, "Cluster mapping".
   Threads: any. Allocates: yes (a scratch for each thread at once). Blocks: workers. */
QCOW2_READ_API posio_result qcow2_read_at(qcow2_read *image, uint64_t offset, void *buf, size_t n,
                                          posio_error *err);

/* Closes; NULL is fine. Nothing may be reading.
   Threads: exclusive. Allocates: no. Blocks: I/O. */
QCOW2_READ_API void qcow2_read_close(qcow2_read *image);

/* The logical media as a positioned source; it borrows the image. Its extents are those of the
   whole chain: unallocated clusters are what the backing file says, holes where there is none.
   Threads: any. Allocates: no. Blocks: no. */
QCOW2_READ_API posio_source qcow2_read_source(qcow2_read *image);

/* ------------------------------------------------------------------ inspection */

typedef struct qcow2_read_metadata {
    uint64_t media_size; /* bytes of logical media, of the snapshot if one was asked for */
    uint64_t file_size;
    uint64_t incompatible_features, compatible_features, autoclear_features; /* bit masks */
    uint32_t version;                                                        /* 2 or 3 */
    uint32_t header_length, cluster_size;                                    /* bytes */
    uint32_t subcluster_size; /* bytes; cluster_size without extended L2 entries */
    uint32_t refcount_bits;
    uint32_t snapshot_count;
    uint32_t is_dirty, is_corrupt, has_extended_l2;
    uint32_t has_data_file, data_file_is_raw;
    const char *compression;    /* "deflate" or "zstd" */
    const char *backing_name;   /* as stored, or NULL; hostile, as all names here */
    const char *backing_format; /* as stored, or NULL */
    const char *data_name;      /* as stored, or NULL */
} qcow2_read_metadata;

/* Everything known after opening; valid until close. Threads: any. Allocates: no. Blocks: no. */
QCOW2_READ_API const qcow2_read_metadata *qcow2_read_info(const qcow2_read *image);

typedef struct qcow2_read_snapshot {
    uint64_t media_size;    /* bytes; of the active state where the snapshot does not say */
    uint64_t vm_state_size; /* bytes */
    uint64_t vm_clock;      /* nanoseconds the guest had run */
    uint64_t icount;        /* instructions; UINT64_MAX where it was not recorded */
    uint32_t date, date_ns; /* seconds since 1970, UTC, and nanoseconds */
    uint64_t l1_offset;     /* in the file */
    uint32_t l1_entries;
    uint32_t is_cut;         /* id or name was longer than there is room for */
    char id[128], name[256]; /* terminated */
} qcow2_read_snapshot;

/* The i-th internal snapshot; POSIO_E_RANGE behind the last. Source: QCOW2, "Snapshots".
   Threads: any. Allocates: no. Blocks: I/O. */
QCOW2_READ_API posio_result qcow2_read_get_snapshot(qcow2_read *image, uint32_t i,
                                                    qcow2_read_snapshot *out, posio_error *err);

typedef posio_warning qcow2_read_warning; /* segment is 0 */

/* The i-th thing that opening found wrong and read around; POSIO_E_RANGE behind the last. Those of
   backing files that qcow2_read_open found by itself come last, and begin with the file's name. Of
   each file there are 32 at most: the last one tells how many it replaced.
   Threads: any. Allocates: no. Blocks: no. */
QCOW2_READ_API posio_result qcow2_read_get_warning(const qcow2_read *image, uint32_t i,
                                                   qcow2_read_warning *out);

/* ------------------------------------------------------------------ advanced: the check */

enum {
    QCOW2_READ_CORRUPTION = 1, /* data is, or with the next write would be, wrong */
    QCOW2_READ_LEAK = 2        /* space is lost, nothing else */
};

typedef struct qcow2_read_issue {
    uint32_t severity; /* QCOW2_READ_CORRUPTION or QCOW2_READ_LEAK */
    uint32_t reserved;
    uint64_t offset; /* in the file, of the entry or cluster that is meant */
    char message[240];
} qcow2_read_issue;

typedef struct qcow2_read_check_desc {
    /* Every issue, on the calling thread; for the same `memory` always in the same order. May be
       NULL. */
    void (*issue)(void *user, const qcow2_read_issue *issue);
    /* On the calling thread, now and then; non-zero cancels. May be NULL. */
    int (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
    uint64_t memory; /* bytes to count references in; 0 = 32 MiB. Less takes more passes. */
} qcow2_read_check_desc;

typedef struct qcow2_read_check_report {
    uint64_t corruptions, leaks; /* issues; a leak is a cluster */
    uint64_t file_clusters;      /* the size of the file */
    uint64_t allocated_clusters; /* of media in the active state: data, and */
    uint64_t compressed_clusters;
    uint64_t zero_clusters;
    uint64_t end_of_data; /* bytes of the file up to the end of the last cluster in use */
    uint32_t is_complete; /* 0: given up, the tables cost more to walk than any sane image's */
    uint32_t reserved;
} qcow2_read_check_report;

/* Compares what refers to each cluster of the file with its reference count; looks for overlaps,
   entries that lead outside or are not aligned, and reserved bits. As `qemu-img check`, on the file
   itself: not on backing files, and not on what clusters hold. POSIO_OK means that there is a
   report, whatever it says; see is_complete.
   Source: QCOW2, "Host cluster management", "Snapshots", "Bitmaps".
   Threads: any. Allocates: yes. Blocks: I/O. */
QCOW2_READ_API posio_result qcow2_read_check(qcow2_read *image, const qcow2_read_check_desc *desc,
                                             qcow2_read_check_report *report, posio_error *err);

/* ------------------------------------------------------------------ advanced */

/* Opens an image that is a source already, which is borrowed until close: memory, a slice, or the
   media of another image. Threads: any. Allocates: open. Blocks: I/O. */
QCOW2_READ_API posio_result qcow2_read_open_source(qcow2_read **out, const posio_source *file,
                                                   const qcow2_read_desc *desc, posio_error *err);

/* Do these bytes begin a QCOW2 file? OK: version 2 or 3. UNSUPPORTED: of the family, and refused by
   name. FORMAT: something else. Source: QCOW2, "Header".
   Threads: any. Allocates: no. Blocks: I/O. */
QCOW2_READ_API posio_result qcow2_read_probe(const posio_source *source, posio_error *err);

#ifdef __cplusplus
}
#endif
#elif QCOW2_READ_VERSION < 100
#error "qcow2_read.h: an older copy came first in this file; include the newest header first"
#endif
#if defined(QCOW2_READ_STATIC) && !defined(QCOW2_READ_I_STATIC)
#error "define QCOW2_READ_STATIC before the first include of qcow2_read.h"
#endif

#if defined(QCOW2_READ_IMPLEMENTATION) && !defined(QCOW2_READ_I_IMPLEMENTED)
#define QCOW2_READ_I_IMPLEMENTED 100

#include <stdlib.h>
#include <string.h>
#if defined(QCOW2_READ_ZSTD)
#include <zstd.h>
#endif

// ---------------------------------------------------------------------------------- structures

enum {
    QCOW2_READ_I_HEADER_2 = 72,  /* bytes */
    QCOW2_READ_I_HEADER_3 = 104, /* at least */
    QCOW2_READ_I_BACKING_MAX = 1023,
    QCOW2_READ_I_SNAPSHOTS = 65536, /* as QEMU */
    QCOW2_READ_I_SNAPSHOT = 40,     /* bytes of an entry that are always there */
    QCOW2_READ_I_PAGE = 4096,       /* bytes of tables in a cached page */
    QCOW2_READ_I_PAGES = 2 << 20,   /* bytes of them all */
    QCOW2_READ_I_BATCH = 64,        /* table entries looked at together */
    QCOW2_READ_I_PART = 256 << 10,  /* bytes in one step of a large read */
    QCOW2_READ_I_WINDOW_LOG = 23    /* of a zstd frame that does not decode in one piece */
};

/* Incompatible, compatible and autoclear features. */
enum {
    QCOW2_READ_I_DIRTY = 1,
    QCOW2_READ_I_CORRUPT = 2,
    QCOW2_READ_I_DATA_FILE = 4,
    QCOW2_READ_I_COMPRESSION = 8,
    QCOW2_READ_I_EXTENDED_L2 = 16,
    QCOW2_READ_I_KNOWN = 31,
    QCOW2_READ_I_BITMAPS = 1,
    QCOW2_READ_I_RAW_DATA = 2
};

/* Of table entries. */
#define QCOW2_READ_I_OFFSET ((uint64_t)0x00fffffffffffe00)
#define QCOW2_READ_I_COPIED ((uint64_t)1 << 63)
#define QCOW2_READ_I_COMPRESSED_BIT ((uint64_t)1 << 62)

/* Where bytes of the media come from. */
enum {
    QCOW2_READ_I_UNALLOCATED, /* the backing file, or zeros */
    QCOW2_READ_I_ZERO,
    QCOW2_READ_I_DATA,
    QCOW2_READ_I_COMPRESSED
};
typedef struct qcow2_read_i_run {
    uint32_t kind;
    uint64_t length; /* bytes of the media; of a compressed cluster, up to its end */
    uint64_t host;   /* offset in the data file, of compressed bytes in the image */
    uint64_t stored; /* compressed bytes */
} qcow2_read_i_run;

/* What decompressing takes, kept from one cluster to the next. */
typedef struct qcow2_read_i_scratch {
    struct qcow2_read_i_scratch *next;
    deflate_read inflater;
#if defined(QCOW2_READ_ZSTD)
    ZSTD_DCtx *zstd;
#endif
    unsigned char *stored; /* two clusters: a compressed one counts its sectors in so many bits */
} qcow2_read_i_scratch;

struct qcow2_read {
    qcow2_read_desc desc;
    posio_source file, data, backing; /* data is file, unless there is an external data file */
    qcow2_read_metadata info;
    uint32_t cluster_bits;
    uint32_t l2_bits;   /* 2^l2_bits entries in an L2 table */
    uint32_t zstd;      /* compressed clusters are zstd, not deflate */
    uint32_t unit;      /* the largest cluster of the chain */
    uint64_t l1_offset; /* of the state that is read */
    uint64_t l1_entries;
    uint64_t active_l1_offset, active_size;
    uint32_t active_l1_entries;
    uint64_t refcount_offset, refcount_clusters;
    uint64_t snapshots_offset, snapshots_end;
    uint64_t bitmaps_offset, bitmaps_size; /* of the directory */
    uint32_t bitmap_count;
    uint64_t data_field; /* where the name of the data file is stored */
    uint64_t *snapshots; /* where each begins */
    char *names;         /* backing name and format, data name */
    chunk_cache *clusters, *pages;
    posio_warnings warnings;
    thread_pool_mutex lock; /* guards idle and known */
    int has_lock;
    qcow2_read_i_scratch *idle;
    posio_known known[2]; /* of data and backing */
    posio_resolver own_resolver;
#ifndef POSIO_NO_FILES
    posio_layer *layer;        /* of qcow2_read_open */
    posio_layer *backing_file; /* found by ourselves, raw, */
    posio_layer *data_file;
#endif
    qcow2_read *backing_image; /* or QCOW2 */
};

static posio_result qcow2_read_i_no_memory(posio_error *err)
{
    return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
}

static void qcow2_read_i_warn(qcow2_read *q, uint64_t offset, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    posio_warn(&q->warnings, 0, offset, format, ap);
    va_end(ap);
}

// ---------------------------------------------------------------------------------- tables

static posio_result qcow2_read_i_page_flight(void *user, uint64_t key, void *chunk, size_t *size,
                                             posio_error *err)
{
    const qcow2_read *q = (const qcow2_read *)user;
    uint64_t at = key * QCOW2_READ_I_PAGE;
    *size = (size_t)posio_min(QCOW2_READ_I_PAGE, q->file.size - at);
    return posio_read(&q->file, at, chunk, *size, err);
}

/* n bytes of a table, which lies within the file, through the cache of pages. */
static posio_result qcow2_read_i_table(qcow2_read *q, uint64_t at, void *buf, size_t n,
                                       posio_error *err)
{
    unsigned char *out = (unsigned char *)buf;
    posio_result r = POSIO_OK;
    while (n != 0 && r == POSIO_OK) {
        size_t within = (size_t)(at % QCOW2_READ_I_PAGE);
        size_t take = (size_t)posio_min(n, QCOW2_READ_I_PAGE - within);
        r = chunk_cache_read(q->pages, at / QCOW2_READ_I_PAGE, within, out, take,
                             qcow2_read_i_page_flight, q, err);
        at += take;
        out += take;
        n -= take;
    }
    return r;
}

/* Bytes of an L2 entry. */
static uint32_t qcow2_read_i_entry_size(const qcow2_read *q)
{
    return q->info.has_extended_l2 ? 16 : 8;
}

// ---------------------------------------------------------------------------------- mapping

static int qcow2_read_i_touches(uint64_t at, uint64_t n, uint64_t from, uint64_t size)
{
    return at < from + size && from < at + n;
}

/* What is wrong with an L2 table at this offset; NULL = nothing. */
static const char *qcow2_read_i_table_fault(const qcow2_read *q, uint64_t at)
{
    uint32_t cs = q->info.cluster_size;
    if (at % cs != 0) return "is not aligned to a cluster";
    if (!posio_within(at, cs, q->file.size)) return "reaches beyond the end of the file";
    if (qcow2_read_i_touches(at, cs, q->l1_offset, q->l1_entries * 8))
        return "lies in the L1 table";
    return NULL;
}

/* The bytes that a compressed cluster's entry claims: whole sectors, but for what lies before its
   first byte, which is at *at. Source: QCOW2, "Compressed Clusters Descriptor". */
static uint64_t qcow2_read_i_claimed(const qcow2_read *q, uint64_t entry, uint64_t *at)
{
    uint32_t x = 62 - (q->cluster_bits - 8);
    *at = entry & (((uint64_t)1 << x) - 1);
    return ((entry >> x & (((uint64_t)1 << (62 - x)) - 1)) + 1) * 512 - *at % 512;
}

/* The compressed bytes that an entry means, cut at the end of the file: the last sector need not be
   there. */
static const char *qcow2_read_i_compressed(const qcow2_read *q, uint64_t entry,
                                           qcow2_read_i_run *run)
{
    uint64_t at, claimed = qcow2_read_i_claimed(q, entry, &at);
    run->kind = QCOW2_READ_I_COMPRESSED;
    if (q->info.has_data_file) return "is compressed, though there is an external data file";
    if (at >= q->file.size) return "lies beyond the end of the file";
    if (at < q->info.cluster_size) return "lies in the header";
    run->host = at;
    run->stored = posio_min(claimed, q->file.size - at);
    return NULL;
}

/* What is wrong with a data cluster at this offset, which an L2 table at `table` names. */
static const char *qcow2_read_i_cluster_fault(const qcow2_read *q, uint64_t at, uint64_t media,
                                              uint64_t table)
{
    uint32_t cs = q->info.cluster_size;
    if (at % cs != 0) return "is not aligned to a cluster";
    if (q->info.has_data_file)
        return at != media ? "is not where it belongs in the external data file" : NULL;
    if (at == table) return "lies in its own L2 table";
    if (qcow2_read_i_touches(at, cs, q->l1_offset, q->l1_entries * 8))
        return "lies in the L1 table";
    return NULL;
}

/* Subcluster `sub` of the cluster at media offset `media`, by its entry in the L2 table at `table`;
   fills kind and host. Source: QCOW2, "Standard Cluster Descriptor", "Extended L2 Entries". */
static const char *qcow2_read_i_standard(const qcow2_read *q, uint64_t entry, uint64_t bits,
                                         uint64_t media, uint32_t sub, uint64_t table,
                                         qcow2_read_i_run *run)
{
    uint64_t at = entry & QCOW2_READ_I_OFFSET;
    int present = at != 0 || (q->info.has_data_file && (entry & QCOW2_READ_I_COPIED));
    run->kind = QCOW2_READ_I_UNALLOCATED;
    if (q->info.has_extended_l2) {
        int allocated = (bits >> sub & 1) != 0, zero = (bits >> (32 + sub) & 1) != 0;
        if ((uint32_t)bits & (uint32_t)(bits >> 32))
            return "has a subcluster that is both allocated and zero";
        if (allocated && !present) return "has an allocated subcluster and no place";
        run->kind = zero        ? QCOW2_READ_I_ZERO
                    : allocated ? QCOW2_READ_I_DATA
                                : QCOW2_READ_I_UNALLOCATED;
    } else if (entry & 1) {
        if (q->info.version < 3) return "is marked as zero, which version 2 does not know";
        run->kind = QCOW2_READ_I_ZERO;
    } else if (present) {
        run->kind = QCOW2_READ_I_DATA;
    }
    if (run->kind != QCOW2_READ_I_DATA) return NULL;
    run->host = at + (uint64_t)sub * q->info.subcluster_size;
    return qcow2_read_i_cluster_fault(q, at, media, table);
}

/* How many bytes from offset on, at most n, belong to L1 entries that are 0; some thousand entries
   are looked at, so that asking again and again within a large gap costs little. */
static posio_result qcow2_read_i_gap(qcow2_read *q, uint64_t offset, uint64_t n,
                                     qcow2_read_i_run *run, posio_error *err)
{
    const uint32_t span_bits = q->cluster_bits + q->l2_bits;
    unsigned char raw[QCOW2_READ_I_BATCH * 8];
    uint64_t i = (offset >> span_bits) + 1, last = (offset + n - 1) >> span_bits;
    last = posio_min(last, i + 16 * QCOW2_READ_I_BATCH);
    run->kind = QCOW2_READ_I_UNALLOCATED;
    while (i <= last) {
        uint32_t k = 0, count = (uint32_t)posio_min(QCOW2_READ_I_BATCH, last - i + 1);
        posio_result r = qcow2_read_i_table(q, q->l1_offset + i * 8, raw, (size_t)count * 8, err);
        if (r != POSIO_OK) return r;
        while (k < count && (posio_be64(raw + k * 8) & QCOW2_READ_I_OFFSET) == 0) k++;
        i += k;
        if (k < count) break;
    }
    run->length = posio_min(n, (i << span_bits) - offset);
    return POSIO_OK;
}

/* Can `next` be read in one go with the run before it? */
static int qcow2_read_i_continues(const qcow2_read_i_run *run, const qcow2_read_i_run *next)
{
    return next->kind == run->kind && run->kind != QCOW2_READ_I_COMPRESSED &&
           (run->kind != QCOW2_READ_I_DATA || next->host == run->host + run->length);
}

/* The run that begins at media offset `pos`, by the one L2 entry at `e`: it ends with its
   subcluster, or where the file was cut. The entry lies at `at` in the file. */
static const char *qcow2_read_i_run_of(const qcow2_read *q, const unsigned char *e, uint64_t at,
                                       uint64_t pos, qcow2_read_i_run *run)
{
    const uint64_t cs = q->info.cluster_size, ss = q->info.subcluster_size;
    const uint64_t entry = posio_be64(e), bits = q->info.has_extended_l2 ? posio_be64(e + 8) : 0;
    const uint64_t media = pos & ~(cs - 1);
    const char *fault;
    memset(run, 0, sizeof *run);
    run->length = cs - (pos - media);
    if (entry & QCOW2_READ_I_COMPRESSED_BIT) return qcow2_read_i_compressed(q, entry, run);
    fault = qcow2_read_i_standard(q, entry, bits, media, (uint32_t)((pos - media) / ss),
                                  at & ~(cs - 1), run);
    run->length = ss - pos % ss;
    if (fault != NULL || run->kind != QCOW2_READ_I_DATA) return fault;
    run->host += pos % ss;
    if (run->host >= q->data.size) return "reaches beyond the end of the file";
    run->length = posio_min(run->length, q->data.size - run->host);
    return NULL;
}

/* The run that begins at offset, by the entries of one L2 table: subcluster after subcluster. */
static posio_result qcow2_read_i_walk_l2(const qcow2_read *q, const unsigned char *raw,
                                         uint32_t count, uint64_t offset, uint64_t n, uint64_t at,
                                         qcow2_read_i_run *run, posio_error *err)
{
    const uint64_t cs = q->info.cluster_size, first = offset & ~(cs - 1), end = offset + n;
    uint64_t pos = offset;
    run->length = 0;
    while (pos < end && (pos - first) / cs < count) {
        size_t place = (size_t)((pos - first) / cs) * qcow2_read_i_entry_size(q);
        qcow2_read_i_run next;
        const char *fault = qcow2_read_i_run_of(q, raw + place, at + place, pos, &next);
        if (fault != NULL && run->length == 0)
            return posio_fail(err, POSIO_E_DATA, at + place,
                              "the cluster for media offset %llu (L2 entry %llx) %s",
                              (unsigned long long)(pos & ~(cs - 1)),
                              (unsigned long long)posio_be64(raw + place), fault);
        if (fault != NULL) break;
        next.length = posio_min(next.length, end - pos);
        pos += next.length;
        if (run->length == 0) *run = next;
        else if (qcow2_read_i_continues(run, &next)) run->length += next.length;
        else break;
        if (run->kind == QCOW2_READ_I_COMPRESSED) break;
    }
    return POSIO_OK;
}

/* Where the n bytes of media at offset come from, as far as they come from one place. */
static posio_result qcow2_read_i_map(qcow2_read *q, uint64_t offset, uint64_t n,
                                     qcow2_read_i_run *run, posio_error *err)
{
    const uint32_t cb = q->cluster_bits, span_bits = cb + q->l2_bits;
    const uint64_t entries = (uint64_t)1 << q->l2_bits;
    unsigned char raw[QCOW2_READ_I_BATCH * 16];
    uint64_t l2, i = (offset >> cb) & (entries - 1), count, l1_at;
    const char *fault;
    posio_result r;
    memset(run, 0, sizeof *run);
    l1_at = q->l1_offset + (offset >> span_bits) * 8;
    r = qcow2_read_i_table(q, l1_at, raw, 8, err);
    if (r != POSIO_OK) return r;
    l2 = posio_be64(raw) & QCOW2_READ_I_OFFSET;
    if (l2 == 0) return qcow2_read_i_gap(q, offset, n, run, err);
    fault = qcow2_read_i_table_fault(q, l2);
    if (fault != NULL)
        return posio_fail(
            err, POSIO_E_DATA, l1_at, "the L2 table for media offset %llu, at %llu, %s",
            (unsigned long long)(offset >> span_bits << span_bits), (unsigned long long)l2, fault);
    count = ((offset & (((uint64_t)1 << cb) - 1)) + n + (((uint64_t)1 << cb) - 1)) >> cb;
    count = posio_min(posio_min(count, QCOW2_READ_I_BATCH), entries - i);
    l2 += i * qcow2_read_i_entry_size(q);
    r = qcow2_read_i_table(q, l2, raw, (size_t)count * qcow2_read_i_entry_size(q), err);
    if (r != POSIO_OK) return r;
    return qcow2_read_i_walk_l2(q, raw, (uint32_t)count, offset, n, l2, run, err);
}

// ---------------------------------------------------------------------------------- decompressing

static void qcow2_read_i_free_scratch(const qcow2_read *q, qcow2_read_i_scratch *s)
{
#if defined(QCOW2_READ_ZSTD)
    ZSTD_freeDCtx(s->zstd);
#endif
    posio_release(&q->desc.alloc, s);
}

static qcow2_read_i_scratch *qcow2_read_i_take_scratch(qcow2_read *q)
{
    qcow2_read_i_scratch *s;
    thread_pool_lock(&q->lock);
    s = q->idle;
    if (s != NULL) q->idle = s->next;
    thread_pool_unlock(&q->lock);
    if (s != NULL) return s;
    s = (qcow2_read_i_scratch *)posio_allocate(&q->desc.alloc,
                                               sizeof *s + (size_t)q->info.cluster_size * 2);
    if (s == NULL) return NULL;
    s->stored = (unsigned char *)(s + 1);
#if defined(QCOW2_READ_ZSTD)
    s->zstd = q->zstd ? ZSTD_createDCtx() : NULL;
    if (q->zstd &&
        (s->zstd == NULL || ZSTD_isError(ZSTD_DCtx_setParameter(s->zstd, ZSTD_d_windowLogMax,
                                                                QCOW2_READ_I_WINDOW_LOG)))) {
        qcow2_read_i_free_scratch(q, s);
        return NULL;
    }
#endif
    return s;
}

static void qcow2_read_i_give_scratch(qcow2_read *q, qcow2_read_i_scratch *s)
{
    thread_pool_lock(&q->lock);
    s->next = q->idle;
    q->idle = s;
    thread_pool_unlock(&q->lock);
}

/* Raw deflate that makes a whole cluster; what lies behind in the last sector is not ours. A stream
   that goes on when the cluster is full is accepted, as QEMU does. */
static const char *qcow2_read_i_inflate(const qcow2_read *q, qcow2_read_i_scratch *s, size_t n,
                                        unsigned char *out, size_t slack, posio_error *why)
{
    deflate_read_end end;
    posio_result r = deflate_read_raw(&s->inflater, s->stored, n, out, q->info.cluster_size, slack,
                                      0, &end, why);
    if ((r == POSIO_OK || r == POSIO_E_SPACE) && end.out_size == q->info.cluster_size) return NULL;
    return r == POSIO_OK ? "the deflate stream ends before the cluster is full" : why->message;
}

#if defined(QCOW2_READ_ZSTD)
/* zstd frames that make a whole cluster together. Each is decoded in one piece, which needs no
   window; what does not decode so (a frame of a later cluster may follow in the last sector) is
   decoded as a stream, as QEMU does with all: the last frame must end where the cluster is full. */
static const char *qcow2_read_i_unzstd(const qcow2_read *q, qcow2_read_i_scratch *s, size_t n,
                                       unsigned char *out)
{
    const size_t size = q->info.cluster_size;
    size_t used = 0, made = 0, more = 0;
    ZSTD_inBuffer in;
    ZSTD_outBuffer to;
    while (made < size && used < n) {
        size_t frame = ZSTD_findFrameCompressedSize(s->stored + used, n - used), got;
        if (ZSTD_isError(frame)) break;
        got = ZSTD_decompressDCtx(s->zstd, out + made, size - made, s->stored + used, frame);
        if (ZSTD_isError(got)) break;
        used += frame;
        made += got;
    }
    if (made == size) return NULL;
    (void)ZSTD_DCtx_reset(s->zstd, ZSTD_reset_session_only);
    in.src = s->stored;
    in.size = n;
    in.pos = used;
    to.dst = out;
    to.size = size;
    to.pos = made;
    while (to.pos < size) {
        size_t before = in.pos, filled = to.pos;
        more = ZSTD_decompressStream(s->zstd, &to, &in);
        if (ZSTD_isError(more)) return ZSTD_getErrorName(more);
        if (in.pos == before && to.pos == filled)
            return "the zstd frames end before the cluster is full";
    }
    return more != 0 ? "a zstd frame does not end where the cluster is full" : NULL;
}
#endif

/* Decompresses the cluster of a run into out, which has cluster_size bytes, and `slack` more behind
   them that may be scribbled on. */
static posio_result qcow2_read_i_decompress(qcow2_read *q, const qcow2_read_i_run *run,
                                            unsigned char *out, size_t slack, posio_error *err)
{
    qcow2_read_i_scratch *s = qcow2_read_i_take_scratch(q);
    size_t n = (size_t)run->stored;
    const char *fault = NULL;
    posio_error why;
    posio_result r;
    if (s == NULL) return qcow2_read_i_no_memory(err);
    r = posio_read(&q->file, run->host, s->stored, n, err);
    if (r == POSIO_OK) {
#if defined(QCOW2_READ_ZSTD)
        if (q->zstd) fault = qcow2_read_i_unzstd(q, s, n, out);
        else
#endif
            fault = qcow2_read_i_inflate(q, s, n, out, slack, &why);
    }
    qcow2_read_i_give_scratch(q, s);
    if (fault == NULL) return r;
    return posio_fail(err, POSIO_E_DATA, run->host, "the compressed cluster cannot be decoded: %s",
                      fault);
}

/* Keys of the cache are clusters of media. */
static posio_result qcow2_read_i_cluster_flight(void *user, uint64_t key, void *chunk, size_t *size,
                                                posio_error *err)
{
    qcow2_read *q = (qcow2_read *)user;
    qcow2_read_i_run run;
    posio_result r = qcow2_read_i_map(q, key << q->cluster_bits, 1, &run, err);
    *size = q->info.cluster_size;
    if (r != POSIO_OK) return r;
    return qcow2_read_i_decompress(q, &run, (unsigned char *)chunk, DEFLATE_READ_SLACK, err);
}

// ---------------------------------------------------------------------------------- reading

static posio_result qcow2_read_i_read_backing(const qcow2_read *q, uint64_t offset,
                                              unsigned char *out, size_t n, posio_error *err)
{
    size_t have = 0;
    posio_result r = POSIO_OK;
    if (q->backing.read_at != NULL && offset < q->backing.size)
        have = (size_t)posio_min(n, q->backing.size - offset);
    if (have != 0) r = posio_read(&q->backing, offset, out, have, err);
    if (r == POSIO_OK) memset(out + have, 0, n - have);
    return r;
}

/* A compressed cluster, from offset on, n bytes of it; room: bytes from out on that are ours. */
static posio_result qcow2_read_i_read_compressed(qcow2_read *q, const qcow2_read_i_run *run,
                                                 uint64_t offset, unsigned char *out, size_t n,
                                                 size_t room, int cached, posio_error *err)
{
    size_t cs = q->info.cluster_size, within = (size_t)(offset & (cs - 1));
    if (!cached && n == cs) return qcow2_read_i_decompress(q, run, out, room - cs, err);
    return chunk_cache_read(q->clusters, offset >> q->cluster_bits, within, out, n,
                            qcow2_read_i_cluster_flight, q, err);
}

/* Front to back, on this thread. What lies behind the place that is written, up to the end of out,
   is written later: decoders may scribble on it. */
static posio_result qcow2_read_i_read_span(qcow2_read *q, uint64_t offset, unsigned char *out,
                                           size_t n, int cached, posio_error *err)
{
    posio_result r = POSIO_OK;
    while (n != 0 && r == POSIO_OK) {
        qcow2_read_i_run run;
        size_t take;
        r = qcow2_read_i_map(q, offset, n, &run, err);
        if (r != POSIO_OK) break;
        take = (size_t)posio_min(n, run.length);
        switch (run.kind) {
        case QCOW2_READ_I_ZERO: memset(out, 0, take); break;
        case QCOW2_READ_I_DATA: r = posio_read(&q->data, run.host, out, take, err); break;
        case QCOW2_READ_I_COMPRESSED:
            r = qcow2_read_i_read_compressed(q, &run, offset, out, take, n, cached, err);
            break;
        default: r = qcow2_read_i_read_backing(q, offset, out, take, err);
        }
        offset += take;
        out += take;
        n -= take;
    }
    return r;
}

/* A large read, cut where clusters end. */
typedef struct qcow2_read_i_bulk {
    qcow2_read *image;
    unsigned char *out;
    uint64_t offset, end, first; /* bytes of media; where the first part would begin */
    uint64_t part;
} qcow2_read_i_bulk;

static posio_result qcow2_read_i_bulk_part(void *user, uint32_t i, posio_error *err)
{
    const qcow2_read_i_bulk *b = (const qcow2_read_i_bulk *)user;
    uint64_t from = b->first + i * b->part, to = posio_min(from + b->part, b->end);
    if (from < b->offset) from = b->offset;
    return qcow2_read_i_read_span(b->image, from, b->out + (size_t)(from - b->offset),
                                  (size_t)(to - from), 0, err);
}

static posio_result qcow2_read_i_read_bulk(qcow2_read *q, uint64_t offset, unsigned char *out,
                                           size_t n, posio_error *err)
{
    const uint64_t most = (uint64_t)1 << 20; /* parts in one go */
    qcow2_read_i_bulk b;
    posio_result r = POSIO_OK;
    b.image = q;
    b.part = QCOW2_READ_I_PART;
    if (b.part < q->info.cluster_size) b.part = q->info.cluster_size;
    while (n != 0 && r == POSIO_OK) {
        b.first = offset & ~(b.part - 1);
        b.offset = offset;
        b.out = out;
        b.end = posio_min(offset + n, b.first + most * b.part);
        r = thread_pool_parallel_for(q->desc.pool,
                                     (uint32_t)((b.end - b.first + b.part - 1) / b.part),
                                     qcow2_read_i_bulk_part, &b, err);
        out += b.end - offset;
        n -= (size_t)(b.end - offset);
        offset = b.end;
    }
    return r;
}

/* The innermost file has been named, or it is the image itself. */
static posio_result qcow2_read_i_named(const qcow2_read *q, posio_result r, posio_error *err)
{
    if (r != POSIO_OK && q->desc.name != NULL) (void)posio_fail_in(err, q->desc.name, 0);
    return r;
}

QCOW2_READ_API posio_result qcow2_read_at(qcow2_read *image, uint64_t offset, void *buf, size_t n,
                                          posio_error *err)
{
    unsigned char *out = (unsigned char *)buf;
    posio_result r;
    if (!posio_within(offset, n, image->info.media_size))
        return posio_fail(err, POSIO_E_RANGE, offset,
                          "%llu bytes at %llu reach beyond the media of %llu bytes",
                          (unsigned long long)n, (unsigned long long)offset,
                          (unsigned long long)image->info.media_size);
    if (n >= QCOW2_READ_I_PART) r = qcow2_read_i_read_bulk(image, offset, out, n, err);
    else r = qcow2_read_i_read_span(image, offset, out, n, 1, err);
    return qcow2_read_i_named(image, r, err);
}

static posio_result qcow2_read_i_source_read(void *self, uint64_t offset, void *buf, size_t n,
                                             posio_error *err)
{
    return qcow2_read_at((qcow2_read *)self, offset, buf, n, err);
}

/* Does the kind of a run depend on the extents of the source below? */
static int qcow2_read_i_asks_below(const qcow2_read *q, uint64_t offset,
                                   const qcow2_read_i_run *run)
{
    if (run->kind == QCOW2_READ_I_DATA) return q->data.extent_at != NULL;
    return run->kind == QCOW2_READ_I_UNALLOCATED && q->backing.extent_at != NULL &&
           offset < q->backing.size;
}

/* What data (0) or the backing file (1) says of the bytes at `at`. An answer that is kept is asked
   for again where it has less than n of them: perhaps there are more. */
static posio_result qcow2_read_i_ask_below(qcow2_read *q, int which, uint64_t at, uint64_t n,
                                           posio_extent *out, posio_error *err)
{
    const posio_source *source = which == 0 ? &q->data : &q->backing;
    int is_known;
    posio_result r;
    thread_pool_lock(&q->lock);
    is_known = posio_known_find(&q->known[which], source, at, out);
    thread_pool_unlock(&q->lock);
    if (is_known && out->length >= n) return POSIO_OK;
    r = posio_extent_of(source, at, out, err);
    if (r != POSIO_OK) return r;
    thread_pool_lock(&q->lock);
    posio_known_keep(&q->known[which], source, at, out);
    thread_pool_unlock(&q->lock);
    return POSIO_OK;
}

/* What the file knows of the clusters of a run: one (or a subcluster) that is all hole there is a
   hole, as after preallocation. One that has a hole is data, as for qemu-img map: writers leave out
   zeros within a cluster, and that is no statement about the guest. */
static posio_result qcow2_read_i_extent_of_data(qcow2_read *q, uint64_t offset,
                                                const qcow2_read_i_run *run, posio_extent *out,
                                                posio_error *err)
{
    const uint64_t ss = q->info.subcluster_size, within = offset & (ss - 1);
    uint64_t n;
    posio_extent e;
    posio_result r =
        qcow2_read_i_ask_below(q, 0, run->host - within, within + run->length, &e, err);
    if (r != POSIO_OK) return r;
    n = e.length;
    out->kind = e.kind;
    if (n < within + run->length && e.kind == POSIO_EXTENT_HOLE) n &= ~(ss - 1);
    else if (n < within + run->length) n = (n + ss - 1) & ~(ss - 1);
    if (n == 0) {
        n = ss;
        out->kind = POSIO_EXTENT_DATA;
    }
    out->length = posio_min(n, within + run->length) - within;
    return POSIO_OK;
}

/* The kind of a run, and perhaps less of it: sources below know holes of their own. */
static posio_result qcow2_read_i_extent_of_run(qcow2_read *q, uint64_t offset,
                                               const qcow2_read_i_run *run, posio_extent *out,
                                               posio_error *err)
{
    posio_result r;
    out->length = run->length;
    out->reserved = 0;
    out->kind = POSIO_EXTENT_HOLE;
    if (run->kind == QCOW2_READ_I_ZERO) out->kind = POSIO_EXTENT_ZERO;
    if (run->kind == QCOW2_READ_I_COMPRESSED) out->kind = POSIO_EXTENT_COMPRESSED;
    if (run->kind == QCOW2_READ_I_DATA)
        return qcow2_read_i_extent_of_data(q, offset, run, out, err);
    if (run->kind != QCOW2_READ_I_UNALLOCATED || q->backing.read_at == NULL ||
        offset >= q->backing.size)
        return POSIO_OK;
    r = qcow2_read_i_ask_below(q, 1, offset, 1, out, err);
    if (r == POSIO_OK) out->length = posio_min(run->length, out->length);
    return r;
}

/* Runs of one kind are put together as long as a few look-ups go. The source below is asked once:
   to look ahead there too would double the work with each layer of a chain. */
static posio_result qcow2_read_i_source_extent(void *self, uint64_t offset, posio_extent *out,
                                               posio_error *err)
{
    qcow2_read *q = (qcow2_read *)self;
    uint64_t pos = offset;
    int i;
    if (offset >= q->info.media_size)
        return posio_fail(err, POSIO_E_RANGE, offset, "no extent beyond the end of the media");
    for (i = 0; i < QCOW2_READ_I_BATCH && pos < q->info.media_size; i++) {
        qcow2_read_i_run run;
        posio_extent e;
        posio_error *why = i == 0 ? err : NULL;
        posio_result r = qcow2_read_i_map(q, pos, q->info.media_size - pos, &run, why);
        if (r == POSIO_OK && i != 0 && qcow2_read_i_asks_below(q, pos, &run)) break;
        if (r == POSIO_OK) r = qcow2_read_i_extent_of_run(q, pos, &run, &e, why);
        if (r != POSIO_OK && i == 0) return qcow2_read_i_named(q, r, err);
        if (r != POSIO_OK || (i != 0 && e.kind != out->kind)) break;
        out->kind = e.kind;
        out->reserved = 0;
        pos += e.length;
    }
    out->length = pos - offset;
    return POSIO_OK;
}

QCOW2_READ_API posio_source qcow2_read_source(qcow2_read *image)
{
    posio_source s;
    memset(&s, 0, sizeof s);
    s.size = image->info.media_size;
    s.unit = image->unit;
    s.read_at = qcow2_read_i_source_read;
    s.extent_at = qcow2_read_i_source_extent;
    s.self = image;
    return s;
}

// ---------------------------------------------------------------------------------- the header

static posio_result qcow2_read_i_signature(const unsigned char *b, posio_error *err)
{
    if (memcmp(b, "QFI\xfb", 4) != 0)
        return posio_fail(err, POSIO_E_FORMAT, 0,
                          "not a QCOW2 file: it does not begin with QFI\\xfb");
    if (posio_be32(b + 4) < 2 || posio_be32(b + 4) > 3)
        return posio_fail(err, POSIO_E_UNSUPPORTED, 4,
                          "QCOW version %u is not supported; version 2 and 3 are",
                          (unsigned)posio_be32(b + 4));
    return POSIO_OK;
}

QCOW2_READ_API posio_result qcow2_read_probe(const posio_source *source, posio_error *err)
{
    unsigned char b[8];
    posio_result r;
    if (source->size < sizeof b)
        return posio_fail(err, POSIO_E_FORMAT, 0, "not a QCOW2 file: it has %llu bytes",
                          (unsigned long long)source->size);
    r = posio_read(source, 0, b, sizeof b, err);
    return r != POSIO_OK ? r : qcow2_read_i_signature(b, err);
}

/* The name that the feature name table has for an incompatible feature, or "". */
static void qcow2_read_i_feature_name(const unsigned char *table, size_t n, uint32_t bit,
                                      char name[47])
{
    size_t i;
    name[0] = 0;
    for (i = 0; table != NULL && i + 48 <= n; i += 48)
        if (table[i] == 0 && table[i + 1] == bit) {
            memcpy(name, table + i + 2, 46);
            name[46] = 0;
            return;
        }
}

static posio_result qcow2_read_i_check_features(const qcow2_read *q, const unsigned char *names,
                                                size_t n, posio_error *err)
{
    uint64_t unknown = q->info.incompatible_features & ~(uint64_t)QCOW2_READ_I_KNOWN;
    char name[47];
    uint32_t bit = 0;
    if (unknown == 0) return POSIO_OK;
    while ((unknown >> bit & 1) == 0) bit++;
    qcow2_read_i_feature_name(names, n, bit, name);
    return posio_fail(err, POSIO_E_UNSUPPORTED, 72,
                      "the image needs a feature that is not known: incompatible bit %u%s%s%s",
                      (unsigned)bit, name[0] != 0 ? " (" : "", name, name[0] != 0 ? ")" : "");
}

/* What the compression type and its feature bit say together.
   Source: QCOW2, "Additional fields". */
static posio_result qcow2_read_i_compression(qcow2_read *q, const unsigned char *b,
                                             posio_error *err)
{
    uint32_t type = q->info.header_length > 104 ? b[104] : 0;
    int bit = (q->info.incompatible_features & QCOW2_READ_I_COMPRESSION) != 0;
    q->info.compression = "deflate";
    if (bit != (type != 0))
        return posio_fail(err, POSIO_E_DATA, 104,
                          "compression type %u does not go with its incompatible feature bit (%d)",
                          (unsigned)type, bit);
    if (type > 1)
        return posio_fail(err, POSIO_E_UNSUPPORTED, 104, "the compression type %u is not known",
                          (unsigned)type);
    if (type == 0) return POSIO_OK;
    q->info.compression = "zstd";
    q->zstd = 1;
#if !defined(QCOW2_READ_ZSTD)
    return posio_fail(err, POSIO_E_UNSUPPORTED, 104,
                      "compressed with zstd, which this program was built without "
                      "(QCOW2_READ_ZSTD)");
#else
    return POSIO_OK;
#endif
}

/* The fields of fixed place; b has a whole header. Source: QCOW2, "Header". */
static posio_result qcow2_read_i_take_fields(qcow2_read *q, const unsigned char *b,
                                             posio_error *err)
{
    qcow2_read_metadata *m = &q->info;
    uint32_t crypt = posio_be32(b + 32), order = 4;
    m->version = posio_be32(b + 4);
    m->media_size = posio_be64(b + 24);
    q->active_size = m->media_size;
    q->active_l1_entries = posio_be32(b + 36);
    q->active_l1_offset = posio_be64(b + 40);
    q->refcount_offset = posio_be64(b + 48);
    q->refcount_clusters = posio_be32(b + 56);
    m->snapshot_count = posio_be32(b + 60);
    q->snapshots_offset = posio_be64(b + 64);
    m->header_length = QCOW2_READ_I_HEADER_2;
    if (m->version >= 3) {
        m->incompatible_features = posio_be64(b + 72);
        m->compatible_features = posio_be64(b + 80);
        m->autoclear_features = posio_be64(b + 88);
        order = posio_be32(b + 96);
        m->header_length = posio_be32(b + 100);
        if (m->header_length < QCOW2_READ_I_HEADER_3 || m->header_length > m->cluster_size)
            return posio_fail(err, POSIO_E_DATA, 100,
                              "the header claims a length of %u bytes; at least %d and at most a "
                              "cluster (%u) are expected",
                              (unsigned)m->header_length, QCOW2_READ_I_HEADER_3,
                              (unsigned)m->cluster_size);
        if (m->header_length % 8 != 0)
            qcow2_read_i_warn(q, 100, "the length of the header, %u, is not a multiple of 8",
                              (unsigned)m->header_length);
    }
    if (order > 6)
        return posio_fail(err, POSIO_E_DATA, 96, "reference counts of 2^%u bits: at most 2^6",
                          (unsigned)order);
    if (crypt != 0)
        return posio_fail(err, POSIO_E_UNSUPPORTED, 32, "the image is encrypted (%s)",
                          crypt == 1   ? "AES"
                          : crypt == 2 ? "LUKS"
                                       : "by an unknown method");
    if (m->media_size > INT64_MAX)
        return posio_fail(err, POSIO_E_DATA, 24, "a media size of %llu bytes cannot be",
                          (unsigned long long)m->media_size);
    m->refcount_bits = 1u << order;
    m->is_dirty = (m->incompatible_features & QCOW2_READ_I_DIRTY) != 0;
    m->is_corrupt = (m->incompatible_features & QCOW2_READ_I_CORRUPT) != 0;
    m->has_data_file = (m->incompatible_features & QCOW2_READ_I_DATA_FILE) != 0;
    m->data_file_is_raw = m->has_data_file && (m->autoclear_features & QCOW2_READ_I_RAW_DATA) != 0;
    m->has_extended_l2 = (m->incompatible_features & QCOW2_READ_I_EXTENDED_L2) != 0;
    if (m->has_extended_l2 && q->cluster_bits < 14)
        return posio_fail(
            err, POSIO_E_DATA, 20,
            "extended L2 entries need clusters of 16 KiB at least; they have %u bytes",
            (unsigned)m->cluster_size);
    m->subcluster_size = m->has_extended_l2 ? m->cluster_size / 32 : m->cluster_size;
    q->l2_bits = q->cluster_bits - (m->has_extended_l2 ? 4 : 3);
    return POSIO_OK;
}

/* Keeps n bytes as a terminated name. */
static posio_result qcow2_read_i_keep(const char **to, char **at, const unsigned char *from,
                                      size_t n)
{
    memcpy(*at, from, n);
    (*at)[n] = 0;
    *to = *at;
    *at += n + 1;
    return POSIO_OK;
}

/* The extensions between the header and its backing name. b is the first cluster, or as much of it
   as there is. Source: QCOW2, "Header extensions". */
static posio_result qcow2_read_i_take_extensions(qcow2_read *q, const unsigned char *b, size_t size,
                                                 char **names, const unsigned char **features,
                                                 size_t *features_size, posio_error *err)
{
    uint64_t backing = posio_be64(b + 8);
    size_t at = q->info.header_length;
    size_t end = backing != 0 && backing < size ? (size_t)backing : size;
    while (at + 8 <= end) {
        uint32_t type = posio_be32(b + at), n = posio_be32(b + at + 4);
        const unsigned char *body = b + at + 8;
        if (type == 0) break;
        if (n > end - at - 8)
            return posio_fail(err, POSIO_E_DATA, at,
                              "the header extension %08x claims %u bytes; %llu are left",
                              (unsigned)type, (unsigned)n, (unsigned long long)(end - at - 8));
        if (type == 0xe2792aca && q->info.backing_format == NULL) {
            qcow2_read_i_keep(&q->info.backing_format, names, body, n);
        } else if (type == 0x44415441 && q->info.data_name == NULL) {
            q->data_field = at;
            qcow2_read_i_keep(&q->info.data_name, names, body, n);
        } else if (type == 0x6803f857) {
            *features = body;
            *features_size = n;
        } else if (type == 0x23852875 && n >= 24) {
            q->bitmap_count = posio_be32(body);
            q->bitmaps_size = posio_be64(body + 8);
            q->bitmaps_offset = posio_be64(body + 16);
        }
        at += 8 + (((size_t)n + 7) & ~(size_t)7);
    }
    return POSIO_OK;
}

static posio_result qcow2_read_i_take_backing(qcow2_read *q, const unsigned char *b, size_t size,
                                              char **names, posio_error *err)
{
    uint64_t at = posio_be64(b + 8);
    uint32_t n = posio_be32(b + 16);
    if (at == 0 || n == 0) return POSIO_OK;
    if (n > QCOW2_READ_I_BACKING_MAX || !posio_within(at, n, size))
        return posio_fail(
            err, POSIO_E_DATA, 8,
            "the name of the backing file (%u bytes at %llu) is longer than %d bytes, "
            "or does not lie in the first cluster",
            (unsigned)n, (unsigned long long)at, QCOW2_READ_I_BACKING_MAX);
    return qcow2_read_i_keep(&q->info.backing_name, names, b + at, n);
}

static posio_result qcow2_read_i_take_header(qcow2_read *q, const unsigned char *b, size_t size,
                                             posio_error *err)
{
    const unsigned char *features = NULL;
    size_t features_size = 0;
    char *names;
    posio_result r = qcow2_read_i_take_fields(q, b, err);
    if (r != POSIO_OK) return r;
    if (q->info.header_length > size)
        return posio_fail(err, POSIO_E_DATA, 100, "the header claims %u bytes; the file has %llu",
                          (unsigned)q->info.header_length, (unsigned long long)size);
    q->names = names = (char *)posio_allocate(&q->desc.alloc, size + 3);
    if (names == NULL) return qcow2_read_i_no_memory(err);
    r = qcow2_read_i_take_extensions(q, b, size, &names, &features, &features_size, err);
    if (r == POSIO_OK) r = qcow2_read_i_check_features(q, features, features_size, err);
    if (r == POSIO_OK) r = qcow2_read_i_compression(q, b, err);
    if (r == POSIO_OK) r = qcow2_read_i_take_backing(q, b, size, &names, err);
    if (r != POSIO_OK) return r;
    if (q->info.is_corrupt)
        qcow2_read_i_warn(q, 72, "the image is marked as corrupt: what it holds may be wrong");
    if (q->info.is_dirty)
        qcow2_read_i_warn(q, 72,
                          "the image is marked as dirty: it was not closed, and its "
                          "reference counts may be wrong");
    if (q->info.data_file_is_raw && q->info.backing_name != NULL)
        qcow2_read_i_warn(q, 88, "a raw external data file and a backing file exclude each other");
    return POSIO_OK;
}

static posio_result qcow2_read_i_read_header(qcow2_read *q, posio_error *err)
{
    unsigned char fixed[QCOW2_READ_I_HEADER_2], *b;
    size_t size;
    posio_result r = qcow2_read_probe(&q->file, err);
    if (r != POSIO_OK) return r;
    if (q->file.size < sizeof fixed)
        return posio_fail(err, POSIO_E_DATA, q->file.size, "the header is cut short after %u bytes",
                          (unsigned)q->file.size);
    r = posio_read(&q->file, 0, fixed, sizeof fixed, err);
    if (r != POSIO_OK) return r;
    q->cluster_bits = posio_be32(fixed + 20);
    if (q->cluster_bits < 9 || q->cluster_bits > 21)
        return posio_fail(err, POSIO_E_DATA, 20,
                          "clusters of 2^%u bytes: from 2^9 to 2^21 are expected",
                          (unsigned)q->cluster_bits);
    q->info.cluster_size = (uint32_t)1 << q->cluster_bits;
    q->info.file_size = q->file.size;
    size = (size_t)posio_min(q->info.cluster_size, q->file.size);
    if (posio_be32(fixed + 4) >= 3 && size < QCOW2_READ_I_HEADER_3)
        return posio_fail(err, POSIO_E_DATA, size, "the header is cut short after %u bytes",
                          (unsigned)size);
    b = (unsigned char *)posio_allocate(&q->desc.alloc, size);
    if (b == NULL) return qcow2_read_i_no_memory(err);
    r = posio_read(&q->file, 0, b, size, err);
    if (r == POSIO_OK) r = qcow2_read_i_take_header(q, b, size, err);
    posio_release(&q->desc.alloc, b);
    return r;
}

// ---------------------------------------------------------------------------------- snapshots

/* The entry at `at`, without its strings: their lengths. *end = where the next one begins. */
static posio_result qcow2_read_i_read_snapshot(const qcow2_read *q, uint64_t at,
                                               qcow2_read_snapshot *s, uint32_t length[3],
                                               uint64_t *end, posio_error *err)
{
    unsigned char b[QCOW2_READ_I_SNAPSHOT + 24];
    size_t have;
    posio_result r;
    if (!posio_within(at, QCOW2_READ_I_SNAPSHOT, q->file.size))
        return posio_fail(err, POSIO_E_DATA, at,
                          "the snapshot table reaches beyond the end of the "
                          "file");
    have = (size_t)posio_min(sizeof b, q->file.size - at);
    r = posio_read(&q->file, at, b, have, err);
    if (r != POSIO_OK) return r;
    memset(s, 0, sizeof *s);
    s->l1_offset = posio_be64(b);
    s->l1_entries = posio_be32(b + 8);
    length[0] = posio_be32(b + 36); /* extra data, ID, name */
    length[1] = posio_be16(b + 12);
    length[2] = posio_be16(b + 14);
    *end = at + QCOW2_READ_I_SNAPSHOT + (uint64_t)length[0] + length[1] + length[2];
    if (*end > q->file.size)
        return posio_fail(
            err, POSIO_E_DATA, at,
            "a snapshot's entry (%u bytes of extra data, %u of ID, %u of name) reaches "
            "beyond the end of the file",
            (unsigned)length[0], (unsigned)length[1], (unsigned)length[2]);
    *end = (*end + 7) & ~(uint64_t)7;
    s->date = posio_be32(b + 16);
    s->date_ns = posio_be32(b + 20);
    s->vm_clock = posio_be64(b + 24);
    s->vm_state_size = length[0] >= 8 ? posio_be64(b + 40) : posio_be32(b + 32);
    s->media_size = length[0] >= 16 ? posio_be64(b + 48) : q->active_size;
    s->icount = length[0] >= 24 ? posio_be64(b + 56) : UINT64_MAX;
    return POSIO_OK;
}

/* Where the snapshots begin. A damaged table costs those behind the damage. */
static posio_result qcow2_read_i_find_snapshots(qcow2_read *q, posio_error *err)
{
    uint32_t i, count = q->info.snapshot_count, length[3];
    uint64_t at = q->snapshots_offset;
    qcow2_read_snapshot s;
    posio_error why;
    q->info.snapshot_count = 0;
    q->snapshots_end = at;
    if (count == 0) return POSIO_OK;
    if (count > QCOW2_READ_I_SNAPSHOTS)
        return posio_fail(err, POSIO_E_LIMIT, 60,
                          "the header claims %u snapshots; at most %u are "
                          "taken",
                          (unsigned)count, (unsigned)QCOW2_READ_I_SNAPSHOTS);
    q->snapshots = (uint64_t *)posio_allocate(&q->desc.alloc, count * sizeof *q->snapshots);
    if (q->snapshots == NULL) return qcow2_read_i_no_memory(err);
    if (at % q->info.cluster_size != 0)
        qcow2_read_i_warn(q, 64, "the snapshot table, at %llu, is not aligned to a cluster",
                          (unsigned long long)at);
    for (i = 0; i < count; i++) {
        posio_result r = qcow2_read_i_read_snapshot(q, at, &s, length, &q->snapshots_end, &why);
        if (r == POSIO_E_IO || r == POSIO_E_NOMEM) {
            if (err != NULL) *err = why;
            return r;
        }
        if (r != POSIO_OK) {
            qcow2_read_i_warn(q, at, "only %u of %u snapshots can be found: %s", (unsigned)i,
                              (unsigned)count, why.message);
            q->snapshots_end = at;
            return POSIO_OK;
        }
        q->snapshots[q->info.snapshot_count++] = at;
        at = q->snapshots_end;
    }
    q->snapshots_end = posio_min(at, q->file.size); /* padding need not be there */
    return POSIO_OK;
}

/* Reads a string of the table into a field of `room` bytes. */
static posio_result qcow2_read_i_snapshot_text(const qcow2_read *q, uint64_t at, size_t n, char *to,
                                               size_t room, uint32_t *is_cut, posio_error *err)
{
    size_t take = (size_t)posio_min(n, room - 1);
    posio_result r = posio_read(&q->file, at, to, take, err);
    to[take] = 0;
    if (take < n) *is_cut = 1;
    return r;
}

QCOW2_READ_API posio_result qcow2_read_get_snapshot(qcow2_read *image, uint32_t i,
                                                    qcow2_read_snapshot *out, posio_error *err)
{
    uint32_t length[3];
    uint64_t end, at;
    qcow2_read_snapshot s;
    posio_result r;
    if (i >= image->info.snapshot_count)
        return posio_fail(err, POSIO_E_RANGE, POSIO_NO_OFFSET, "there are %u snapshots",
                          (unsigned)image->info.snapshot_count);
    r = qcow2_read_i_read_snapshot(image, image->snapshots[i], &s, length, &end, err);
    if (r != POSIO_OK) return qcow2_read_i_named(image, r, err);
    at = image->snapshots[i] + QCOW2_READ_I_SNAPSHOT + length[0];
    r = qcow2_read_i_snapshot_text(image, at, length[1], s.id, sizeof s.id, &s.is_cut, err);
    if (r == POSIO_OK)
        r = qcow2_read_i_snapshot_text(image, at + length[1], length[2], s.name, sizeof s.name,
                                       &s.is_cut, err);
    if (r == POSIO_OK) *out = s;
    return qcow2_read_i_named(image, r, err);
}

/* The snapshot of this ID; where no ID is equal, that of this name. */
static posio_result qcow2_read_i_find_snapshot(qcow2_read *q, const char *wanted, uint32_t *which,
                                               qcow2_read_snapshot *out, posio_error *err)
{
    uint32_t i, by_name = UINT32_MAX;
    for (i = 0; i < q->info.snapshot_count; i++) {
        posio_result r = qcow2_read_get_snapshot(q, i, out, err);
        if (r != POSIO_OK) return r;
        *which = i;
        if (strcmp(out->id, wanted) == 0) return POSIO_OK;
        if (by_name == UINT32_MAX && strcmp(out->name, wanted) == 0) by_name = i;
    }
    *which = by_name;
    if (by_name != UINT32_MAX) return qcow2_read_get_snapshot(q, by_name, out, err);
    return posio_fail(err, POSIO_E_NOT_FOUND, POSIO_NO_OFFSET, "there is no snapshot \"%s\"",
                      wanted);
}

// ---------------------------------------------------------------------------------- opening

/* Chooses the L1 table that is read, and makes sure that it covers the media. */
static posio_result qcow2_read_i_choose_state(qcow2_read *q, posio_error *err)
{
    const uint32_t span_bits = q->cluster_bits + q->l2_bits;
    qcow2_read_snapshot s;
    uint64_t size_at = 24, entries_at = 36, offset_at = 40, needed; /* fields, for errors */
    q->l1_offset = q->active_l1_offset;
    q->l1_entries = q->active_l1_entries;
    if (q->desc.snapshot != NULL) {
        uint32_t which = 0;
        posio_result r = qcow2_read_i_find_snapshot(q, q->desc.snapshot, &which, &s, err);
        if (r != POSIO_OK) return r;
        q->l1_offset = s.l1_offset;
        q->l1_entries = s.l1_entries;
        q->info.media_size = s.media_size;
        offset_at = q->snapshots[which];
        entries_at = offset_at + 8;
        size_at = offset_at + 48;
        if (s.media_size > INT64_MAX)
            return posio_fail(err, POSIO_E_DATA, size_at, "a media size of %llu bytes cannot be",
                              (unsigned long long)s.media_size);
    }
    needed = (q->info.media_size >> span_bits) +
             ((q->info.media_size & (((uint64_t)1 << span_bits) - 1)) != 0);
    if (needed > q->l1_entries)
        return posio_fail(err, POSIO_E_DATA, entries_at,
                          "the L1 table has %llu entries; media of %llu bytes need %llu",
                          (unsigned long long)q->l1_entries, (unsigned long long)q->info.media_size,
                          (unsigned long long)needed);
    if (needed == 0) {
        q->l1_entries = 0;
        return POSIO_OK;
    }
    if (q->l1_offset % q->info.cluster_size != 0)
        return posio_fail(err, POSIO_E_DATA, offset_at,
                          "the L1 table, at %llu, is not aligned to a cluster",
                          (unsigned long long)q->l1_offset);
    if (q->l1_offset == 0)
        return posio_fail(err, POSIO_E_DATA, offset_at, "the L1 table lies in the header");
    if (!posio_within(q->l1_offset, needed * 8, q->file.size))
        return posio_fail(err, POSIO_E_DATA, offset_at,
                          "the L1 table (%llu entries at %llu) reaches beyond the end of the file",
                          (unsigned long long)needed, (unsigned long long)q->l1_offset);
    if (!posio_within(q->l1_offset, q->l1_entries * 8, q->file.size))
        qcow2_read_i_warn(q, entries_at,
                          "the L1 table claims %llu entries, which reach beyond the end of the "
                          "file; media of %llu bytes need %llu",
                          (unsigned long long)q->l1_entries, (unsigned long long)q->info.media_size,
                          (unsigned long long)needed);
    q->l1_entries = needed;
    return POSIO_OK;
}

static posio_result qcow2_read_i_make_caches(qcow2_read *q, posio_error *err)
{
    chunk_cache_desc d;
    posio_result r;
    memset(&d, 0, sizeof d);
    d.bytes = QCOW2_READ_I_PAGES;
    d.chunk_size = QCOW2_READ_I_PAGE;
    d.alloc = q->desc.alloc;
    r = chunk_cache_create(&q->pages, &d, err);
    if (r != POSIO_OK) return r;
    d.bytes = q->desc.cache_bytes;
    d.chunk_size = q->info.cluster_size;
    d.slack = DEFLATE_READ_SLACK;
    return chunk_cache_create(&q->clusters, &d, err);
}

/* Asks the resolver for a file that the image names; `field`: where. */
static posio_result qcow2_read_i_refer(const qcow2_read *q, uint32_t kind, uint64_t field,
                                       const char *name, const char *format, posio_source *out,
                                       posio_error *err)
{
    const char *what = kind == POSIO_REFERENCE_DATA ? "data" : "backing";
    posio_reference reference;
    posio_source found;
    posio_error why;
    posio_result r;
    if (q->desc.resolver == NULL)
        return posio_fail(err, POSIO_E_POLICY, field,
                          "the image names a %s file, \"%s\", and there is no resolver to open it",
                          what, name);
    memset(&reference, 0, sizeof reference);
    memset(&found, 0, sizeof found);
    (void)posio_fail(&why, POSIO_E_ARG, POSIO_NO_OFFSET, "the resolver does not say why it failed");
    reference.name = strncmp(name, "file:", 5) == 0 ? name + 5 : name; /* QEMU's name for a path */
    reference.format = format;
    reference.kind = kind;
    r = q->desc.resolver->open(q->desc.resolver->self, &reference, &found, &why);
    if (r == POSIO_OK && found.read_at == NULL)
        return posio_fail(err, POSIO_E_ARG, field, "the resolver gave no %s file", what);
    if (r == POSIO_OK) *out = found;
    if (r == POSIO_OK || err == NULL) return r;
    *err = why;
    err->code = r;
    if (!posio_is_in(&why, q->desc.name)) return r; /* it failed further down */
    posio_format(err->message, sizeof err->message, "%s file: %s", what, why.message);
    if (err->offset == POSIO_NO_OFFSET) err->offset = field;
    return r;
}

/* A JSON description may name anything, of any protocol (CVE-2024-4467). */
static posio_result qcow2_read_i_check_name(const char *name, uint64_t field, posio_error *err)
{
    if (strncmp(name, "json:", 5) != 0) return POSIO_OK;
    return posio_fail(err, POSIO_E_UNSUPPORTED, field,
                      "the name of a file in JSON is not supported: \"%s\"", name);
}

static posio_result qcow2_read_i_open_others(qcow2_read *q, posio_error *err)
{
    const qcow2_read_metadata *m = &q->info;
    const char *format = m->backing_format;
    posio_result r;
    q->data = q->file;
    q->unit = m->cluster_size;
    if (m->has_data_file) {
        if (m->data_name == NULL || m->data_name[0] == 0)
            return posio_fail(err, POSIO_E_MISSING, 72,
                              "the image has an external data file and does not say which");
        r = qcow2_read_i_check_name(m->data_name, q->data_field, err);
        if (r == POSIO_OK)
            r = qcow2_read_i_refer(q, POSIO_REFERENCE_DATA, q->data_field, m->data_name, "raw",
                                   &q->data, err);
        if (r != POSIO_OK) return r;
    }
    if (m->backing_name == NULL || (q->desc.flags & QCOW2_READ_ALONE)) return POSIO_OK;
    r = qcow2_read_i_check_name(m->backing_name, 8, err);
    if (r != POSIO_OK) return r;
    if (format == NULL || format[0] == 0) {
        if (!(q->desc.flags & QCOW2_READ_RAW_BACKING))
            return posio_fail(err, POSIO_E_POLICY, 8,
                              "the image does not name the format of its backing file, \"%s\", and "
                              "it is not guessed (QCOW2_READ_RAW_BACKING takes it as raw)",
                              m->backing_name);
        format = "raw";
    }
    r = qcow2_read_i_refer(q, POSIO_REFERENCE_PARENT, 8, m->backing_name, format, &q->backing, err);
    if (r == POSIO_OK && q->backing.unit > q->unit) q->unit = q->backing.unit;
    return r;
}

static posio_result qcow2_read_i_create(qcow2_read **out, const qcow2_read_desc *desc,
                                        posio_error *err)
{
    static const qcow2_read_desc defaults = {NULL, 0, 0, 0, NULL, NULL, NULL, {NULL, NULL, NULL}};
    size_t length;
    qcow2_read *q;
    if (desc == NULL) desc = &defaults;
    if (!posio_alloc_is_valid(&desc->alloc))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "alloc_fn without free_fn");
    length = desc->name != NULL ? strlen(desc->name) : 0;
    q = (qcow2_read *)posio_allocate_zeroed(&desc->alloc, sizeof *q + length + 1);
    if (q == NULL) return qcow2_read_i_no_memory(err);
    q->desc = *desc;
    if (desc->name != NULL) q->desc.name = (char *)memcpy(q + 1, desc->name, length + 1);
    if (q->desc.cache_bytes == 0) q->desc.cache_bytes = (uint64_t)32 << 20;
    q->has_lock = thread_pool_mutex_init(&q->lock);
    if (!q->has_lock) {
        qcow2_read_close(q);
        return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "qcow2_read: no mutex");
    }
    *out = q;
    return POSIO_OK;
}

/* The rest of opening, once q->file is there. */
static posio_result qcow2_read_i_interpret(qcow2_read *q, posio_error *err)
{
    posio_result r = qcow2_read_i_read_header(q, err);
    if (r == POSIO_OK) r = qcow2_read_i_find_snapshots(q, err);
    if (r == POSIO_OK) r = qcow2_read_i_choose_state(q, err);
    if (r == POSIO_OK) r = qcow2_read_i_make_caches(q, err);
    if (r == POSIO_OK) r = qcow2_read_i_open_others(q, err);
    return qcow2_read_i_named(q, r, err);
}

QCOW2_READ_API posio_result qcow2_read_open_source(qcow2_read **out, const posio_source *file,
                                                   const qcow2_read_desc *desc, posio_error *err)
{
    qcow2_read *q = NULL;
    posio_result r = qcow2_read_i_create(&q, desc, err);
    if (r != POSIO_OK) return r;
    q->file = *file;
    r = qcow2_read_i_interpret(q, err);
    if (r == POSIO_OK) *out = q;
    else qcow2_read_close(q);
    return r;
}

#ifndef POSIO_NO_FILES
static posio_result qcow2_read_i_resolve(void *self, const posio_reference *reference,
                                         posio_source *out, posio_error *err);

/* The image that lies in a layer, which becomes its own. */
static posio_result qcow2_read_i_open_layer(qcow2_read **out, posio_layer *layer,
                                            const qcow2_read_desc *desc, posio_error *err)
{
    qcow2_read *q = NULL;
    qcow2_read_desc named;
    posio_result r;
    memset(&named, 0, sizeof named);
    if (desc != NULL) named = *desc;
    named.name = posio_layer_path(layer);
    r = qcow2_read_i_create(&q, &named, err);
    if (r != POSIO_OK) {
        posio_layer_close(layer);
        return r;
    }
    q->layer = layer;
    q->file = posio_layer_source(layer);
    if (q->desc.resolver == NULL) {
        q->own_resolver.open = qcow2_read_i_resolve;
        q->own_resolver.self = q;
        q->desc.resolver = &q->own_resolver;
    }
    r = qcow2_read_i_interpret(q, err);
    if (r == POSIO_OK) *out = q;
    else qcow2_read_close(q);
    return r;
}

/* What qcow2_read_open does for itself: data files, and backing files in raw and QCOW2 format. */
static posio_result qcow2_read_i_resolve(void *self, const posio_reference *reference,
                                         posio_source *out, posio_error *err)
{
    qcow2_read *q = (qcow2_read *)self;
    int data = reference->kind == POSIO_REFERENCE_DATA;
    int raw = data || strcmp(reference->format, "raw") == 0;
    qcow2_read_desc desc = q->desc;
    posio_layer *layer = NULL;
    posio_result r;
    if (!raw && strcmp(reference->format, "qcow2") != 0)
        return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET,
                          "\"%s\" is in the format \"%s\", which needs a resolver that knows it",
                          reference->name, reference->format);
    r = posio_layer_follow(&layer, q->layer, reference->name, err);
    if (r != POSIO_OK) return r;
    if (raw) {
        if (data) q->data_file = layer;
        else q->backing_file = layer;
        *out = posio_layer_source(layer);
        return POSIO_OK;
    }
    desc.resolver = NULL;
    desc.snapshot = NULL;
    if (desc.cache_bytes > 1) desc.cache_bytes /= 2; /* 0 would mean the default */
    r = qcow2_read_i_open_layer(&q->backing_image, layer, &desc, err);
    if (r == POSIO_OK) *out = qcow2_read_source(q->backing_image);
    return r;
}
#endif

QCOW2_READ_API posio_result qcow2_read_open(qcow2_read **out, const char *path,
                                            const qcow2_read_desc *desc, posio_error *err)
{
#ifdef POSIO_NO_FILES
    (void)out;
    (void)path;
    (void)desc;
    return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET, "built with POSIO_NO_FILES");
#else
    posio_folder_desc folder;
    posio_layer *layer = NULL;
    posio_result r;
    memset(&folder, 0, sizeof folder);
    if (desc != NULL) {
        folder.allow = desc->allow;
        folder.alloc = desc->alloc;
    }
    r = posio_layer_open(&layer, path, &folder, err);
    return r != POSIO_OK ? r : qcow2_read_i_open_layer(out, layer, desc, err);
#endif
}

QCOW2_READ_API void qcow2_read_close(qcow2_read *image)
{
    posio_alloc a;
    if (image == NULL) return;
    a = image->desc.alloc;
    qcow2_read_close(image->backing_image);
    chunk_cache_destroy(image->clusters);
    chunk_cache_destroy(image->pages);
    while (image->idle != NULL) {
        qcow2_read_i_scratch *s = image->idle;
        image->idle = s->next;
        qcow2_read_i_free_scratch(image, s);
    }
    posio_release(&a, image->snapshots);
    posio_release(&a, image->names);
#ifndef POSIO_NO_FILES
    posio_layer_close(image->backing_file);
    posio_layer_close(image->data_file);
    posio_layer_close(image->layer);
#endif
    if (image->has_lock) thread_pool_mutex_destroy(&image->lock);
    posio_release(&a, image);
}

// ---------------------------------------------------------------------------------- inspection

QCOW2_READ_API const qcow2_read_metadata *qcow2_read_info(const qcow2_read *image)
{
    return &image->info;
}

QCOW2_READ_API posio_result qcow2_read_get_warning(const qcow2_read *image, uint32_t i,
                                                   qcow2_read_warning *out)
{
    const qcow2_read *q;
    for (q = image; q != NULL; q = q->backing_image)
        if (posio_get_warning(&q->warnings, &i, q != image ? q->desc.name : NULL, out))
            return POSIO_OK;
    return POSIO_E_RANGE;
}

// ---------------------------------------------------------------------------------- the check

/* References to the clusters of the file are counted in 16-bit words, for a window of clusters at a
   time; a file that is larger takes several passes over all tables. A word has 14 bits of count,
   which stick at the top, and two bits that say what the cluster is used for. */
enum {
    QCOW2_READ_I_IS_TABLE = 0x8000, /* header, L1, refcount or snapshot table: nobody else's */
    QCOW2_READ_I_IS_L2 = 0x4000,    /* an L2 table: snapshots may share it */
    QCOW2_READ_I_COUNT = 0x3fff,
    QCOW2_READ_I_SPARE = 1 << 20,    /* bytes of tables that are read in any case */
    QCOW2_READ_I_L1 = 4 << 20,       /* entries of an L1 table, at most, */
    QCOW2_READ_I_REFCOUNTS = 8 << 20 /* and bytes of the refcount table, as QEMU */
};

typedef struct qcow2_read_i_check {
    qcow2_read *image;
    const qcow2_read_check_desc *desc;
    qcow2_read_check_report *report;
    uint16_t *words;
    uint64_t from, to;    /* the window, in clusters */
    uint64_t clusters;    /* of the file */
    uint64_t left, share; /* bytes of tables that may still be read: see qcow2_read_i_spend */
    uint32_t ticks;
    unsigned char *table;
} qcow2_read_i_check;

static void qcow2_read_i_issue(qcow2_read_i_check *c, uint32_t severity, uint64_t offset,
                               const char *format, ...)
{
    qcow2_read_issue issue;
    va_list ap;
    if (severity == QCOW2_READ_LEAK) c->report->leaks++;
    else c->report->corruptions++;
    if (c->desc->issue == NULL) return;
    memset(&issue, 0, sizeof issue);
    issue.severity = severity;
    issue.offset = offset;
    va_start(ap, format);
    posio_vformat(issue.message, sizeof issue.message, format, ap);
    va_end(ap);
    c->desc->issue(c->desc->user, &issue);
}

/* Once for some hundred entries: lets the caller cancel. */
static posio_result qcow2_read_i_tick(qcow2_read_i_check *c, posio_error *err)
{
    if (c->desc->progress == NULL || c->ticks++ % 64 != 0 ||
        !c->desc->progress(c->desc->user, c->from, c->clusters))
        return POSIO_OK;
    return posio_fail(err, POSIO_E_CANCELED, POSIO_NO_OFFSET, "canceled");
}

/* Some things are found by the first pass only, so that they are said once. */
static int qcow2_read_i_is_first_pass(const qcow2_read_i_check *c) { return c->from == 0; }

/* Before a table is read, each time: snapshots share L2 tables, and a damaged image refers to one
   as often as it likes. Sane tables take less than the file for each state and for the bitmaps, and
   come nowhere near 64 times the file together. What takes more is given up, in every pass at the
   same place; tables that are small are looked at nevertheless. */
static int qcow2_read_i_spend(qcow2_read_i_check *c, uint64_t bytes, uint64_t by)
{
    if (bytes <= c->left && bytes <= c->share) {
        c->left -= bytes;
        c->share -= bytes;
        return 1;
    }
    if (c->left != 0 && qcow2_read_i_is_first_pass(c))
        qcow2_read_i_issue(c, QCOW2_READ_CORRUPTION, by,
                           "from here on the tables would take more than the whole file: some are "
                           "referred to again and again, and the check is given up");
    c->report->is_complete = 0;
    c->left = 0;
    return 0;
}

/* What one state, or all bitmaps, may take; what the whole pass may. */
static uint64_t qcow2_read_i_allowance(const qcow2_read_i_check *c, uint64_t times)
{
    return times * posio_min(c->image->file.size, UINT64_MAX / 128) + QCOW2_READ_I_SPARE;
}

/* One more reference to the clusters that n bytes at `at` lie in. `is`: what for. `by`: where the
   reference is. */
static void qcow2_read_i_count(qcow2_read_i_check *c, uint64_t at, uint64_t n, uint32_t is,
                               uint64_t by, const char *what)
{
    const uint32_t cb = c->image->cluster_bits;
    uint64_t i = at >> cb, last;
    if (n == 0) return;
    last = posio_min((at + n - 1) >> cb, c->to - 1);
    if (i < c->from) i = c->from;
    for (; i <= last; i++) {
        uint16_t *w = &c->words[i - c->from];
        uint32_t uses = *w & ~(uint32_t)QCOW2_READ_I_COUNT;
        if (*w != 0 && (uses != is || is == QCOW2_READ_I_IS_TABLE))
            qcow2_read_i_issue(c, QCOW2_READ_CORRUPTION, by,
                               "the %s here shares the cluster at %llu with %s", what,
                               (unsigned long long)(i << cb),
                               uses == QCOW2_READ_I_IS_TABLE ? "a table of the image"
                               : uses == QCOW2_READ_I_IS_L2  ? "an L2 table"
                                                             : "data");
        if ((*w & QCOW2_READ_I_COUNT) != QCOW2_READ_I_COUNT) *w = (uint16_t)(*w + 1);
        *w = (uint16_t)(*w | is);
    }
}

/* The i-th refcount block; 0 = there is none, and its counts are 0. *known = 0 when it cannot be
   looked up, which is said elsewhere. Source: QCOW2, "Host cluster management". */
static posio_result qcow2_read_i_block(qcow2_read_i_check *c, uint64_t i, uint64_t *block,
                                       int *known, posio_error *err)
{
    qcow2_read *q = c->image;
    const uint32_t cs = q->info.cluster_size;
    const uint64_t at = q->refcount_offset + i * 8;
    unsigned char raw[8];
    posio_result r;
    *block = 0;
    *known = i >= q->refcount_clusters * (cs / 8); /* beyond the table */
    if (*known || q->refcount_offset == 0 || !posio_within(at, 8, q->file.size)) return POSIO_OK;
    r = qcow2_read_i_table(q, at, raw, 8, err);
    if (r != POSIO_OK) return r;
    *block = posio_be64(raw) & ~(uint64_t)511;
    *known = *block == 0 || (*block % cs == 0 && posio_within(*block, cs, q->file.size));
    return POSIO_OK;
}

static uint64_t qcow2_read_i_blocks_entries(const qcow2_read *q)
{
    return (uint64_t)q->info.cluster_size * 8 / q->info.refcount_bits;
}

/* The k-th count of `bits` bits. */
static uint64_t qcow2_read_i_count_at(const unsigned char *block, uint64_t k, uint32_t bits)
{
    const unsigned char *p = block + k * bits / 8;
    switch (bits) {
    case 8: return p[0];
    case 16: return posio_be16(p);
    case 32: return posio_be32(p);
    case 64: return posio_be64(p);
    default: return (uint32_t)p[0] >> (k * bits % 8) & ((1u << bits) - 1);
    }
}

/* The reference count that the image has for one cluster. */
static posio_result qcow2_read_i_refcount(qcow2_read_i_check *c, uint64_t cluster, uint64_t *count,
                                          int *known, posio_error *err)
{
    const uint32_t bits = c->image->info.refcount_bits;
    const uint64_t entries = qcow2_read_i_blocks_entries(c->image), k = cluster % entries;
    unsigned char raw[8];
    uint64_t block;
    posio_result r = qcow2_read_i_block(c, cluster / entries, &block, known, err);
    *count = 0;
    if (r != POSIO_OK || !*known || block == 0) return r;
    r = qcow2_read_i_table(c->image, block + k * bits / 8, raw, bits < 8 ? 1 : bits / 8, err);
    if (r == POSIO_OK) *count = qcow2_read_i_count_at(raw, bits < 8 ? k % (8 / bits) : 0, bits);
    return r;
}

/* Is bit 63, "reference count is exactly 1", right? Only in the active state does it mean anything.
   Source: QCOW2, "L1 table entry", "L2 table entry". */
static posio_result qcow2_read_i_check_copied(qcow2_read_i_check *c, uint64_t entry, uint64_t by,
                                              uint64_t at, const char *what, posio_error *err)
{
    uint64_t count;
    int known, copied = (entry & QCOW2_READ_I_COPIED) != 0;
    posio_result r = qcow2_read_i_refcount(c, at >> c->image->cluster_bits, &count, &known, err);
    if (r == POSIO_OK && known && copied != (count == 1))
        qcow2_read_i_issue(c, QCOW2_READ_CORRUPTION, by,
                           "bit 63 of the %s here is %d, and the reference count of the cluster at "
                           "%llu is %llu",
                           what, copied, (unsigned long long)at, (unsigned long long)count);
    return r;
}

/* The end of what is in use: of a cluster. */
static void qcow2_read_i_reaches(qcow2_read_i_check *c, uint64_t end)
{
    uint32_t cs = c->image->info.cluster_size;
    end = (end + cs - 1) & ~(uint64_t)(cs - 1);
    if (end > c->report->end_of_data) c->report->end_of_data = end;
}

/* A part of the image itself: within the file, and nobody else's. Returns whether it is usable. */
static int qcow2_read_i_own(qcow2_read_i_check *c, uint64_t at, uint64_t n, uint64_t by,
                            const char *what)
{
    const qcow2_read *q = c->image;
    const char *fault = at % q->info.cluster_size != 0       ? "is not aligned to a cluster"
                        : !posio_within(at, n, q->file.size) ? "reaches beyond the end of the file"
                                                             : NULL;
    if (n == 0) return 0;
    if (fault == NULL) {
        qcow2_read_i_count(c, at, n, QCOW2_READ_I_IS_TABLE, by, what);
        qcow2_read_i_reaches(c, at + n);
        return 1;
    }
    if (qcow2_read_i_is_first_pass(c))
        qcow2_read_i_issue(c, QCOW2_READ_CORRUPTION, by, "the %s, at %llu, %s", what,
                           (unsigned long long)at, fault);
    return 0;
}

/* The same for a table that will be read. */
static int qcow2_read_i_own_table(qcow2_read_i_check *c, uint64_t at, uint64_t n, uint64_t by,
                                  const char *what)
{
    if (posio_within(at, n, c->image->file.size) && !qcow2_read_i_spend(c, n, by)) return 0;
    return qcow2_read_i_own(c, at, n, by, what);
}

/* What is wrong with a compressed cluster's entry; if it has a place, that is referred to. */
static const char *qcow2_read_i_check_compressed(qcow2_read_i_check *c, uint64_t entry,
                                                 uint64_t bits, uint64_t by)
{
    const uint32_t cs = c->image->info.cluster_size;
    qcow2_read_i_run run;
    uint64_t at;
    const char *fault = qcow2_read_i_compressed(c->image, entry, &run);
    if (fault != NULL) return fault;
    if (qcow2_read_i_claimed(c->image, entry, &at) >= c->image->file.size - at + cs)
        return "reaches beyond the end of the file by a cluster or more";
    qcow2_read_i_count(c, run.host, run.stored, 0, by, "compressed cluster");
    qcow2_read_i_reaches(c, run.host + run.stored);
    if (bits != 0) return "is compressed, and has subclusters";
    return (entry & QCOW2_READ_I_COPIED) ? "is compressed, with bit 63 set" : NULL;
}

/* What a standard entry's bits say, without its place. */
static const char *qcow2_read_i_bits_fault(const qcow2_read *q, uint64_t entry, uint64_t bits)
{
    const uint64_t reserved = 0x3f000000000001fe;
    int may_be_zero = q->info.version >= 3 && !q->info.has_extended_l2;
    if ((entry & reserved) || ((entry & 1) && !may_be_zero)) return "has reserved bits set";
    if ((uint32_t)bits & (uint32_t)(bits >> 32))
        return "has a subcluster that is both allocated and zero";
    if ((uint32_t)bits != 0 && (entry & QCOW2_READ_I_OFFSET) == 0 && !q->info.has_data_file)
        return "has an allocated subcluster and no place";
    return NULL;
}

static void qcow2_read_i_count_media(qcow2_read_i_check *c, uint64_t entry, uint64_t bits)
{
    const qcow2_read *q = c->image;
    int zero = q->info.has_extended_l2 ? (uint32_t)(bits >> 32) == UINT32_MAX : (entry & 1) != 0;
    if (entry & QCOW2_READ_I_COMPRESSED_BIT) c->report->compressed_clusters++;
    else if (zero) c->report->zero_clusters++;
    if ((entry & QCOW2_READ_I_COMPRESSED_BIT) ||
        (!zero && ((entry & QCOW2_READ_I_OFFSET) || (q->info.has_data_file && entry != 0))))
        c->report->allocated_clusters++;
}

/* An L2 entry: what it says of itself, and a reference to each cluster that it means. */
static posio_result qcow2_read_i_check_entry(qcow2_read_i_check *c, const unsigned char *e,
                                             uint64_t by, int active, posio_error *err)
{
    const qcow2_read *q = c->image;
    const int first = qcow2_read_i_is_first_pass(c);
    uint64_t entry = posio_be64(e), at = entry & QCOW2_READ_I_OFFSET;
    uint64_t bits = q->info.has_extended_l2 ? posio_be64(e + 8) : 0;
    const char *fault, *misplaced = NULL;
    posio_result r = POSIO_OK;
    if (first && active) qcow2_read_i_count_media(c, entry, bits);
    if (entry & QCOW2_READ_I_COMPRESSED_BIT) {
        fault = qcow2_read_i_check_compressed(c, entry, bits, by);
    } else {
        fault = qcow2_read_i_bits_fault(q, entry, bits);
        if (at != 0 && !q->info.has_data_file) {
            if (at % q->info.cluster_size != 0) misplaced = "is not aligned to a cluster";
            else if (at >= q->file.size) misplaced = "lies beyond the end of the file";
            else qcow2_read_i_count(c, at, q->info.cluster_size, 0, by, "data cluster");
            if (misplaced == NULL) qcow2_read_i_reaches(c, at + q->info.cluster_size);
            if (misplaced == NULL && first && active)
                r = qcow2_read_i_check_copied(c, entry, by, at, "L2 entry", err);
        }
    }
    if (first && fault != NULL)
        qcow2_read_i_issue(c, QCOW2_READ_CORRUPTION, by, "the L2 entry here (%llx) %s",
                           (unsigned long long)entry, fault);
    if (first && misplaced != NULL)
        qcow2_read_i_issue(c, QCOW2_READ_CORRUPTION, by,
                           "the cluster of the L2 entry here (%llx) %s", (unsigned long long)entry,
                           misplaced);
    return r;
}

/* All entries of an L2 table, for one state of the image. */
static posio_result qcow2_read_i_walk_table(qcow2_read_i_check *c, uint64_t at, int active,
                                            posio_error *err)
{
    const qcow2_read *q = c->image;
    const uint32_t size = qcow2_read_i_entry_size(q), cs = q->info.cluster_size;
    uint32_t i;
    posio_result r = posio_read(&q->file, at, c->table, cs, err);
    for (i = 0; i < cs && r == POSIO_OK; i += size)
        if (posio_be64(c->table + i) != 0 || (size == 16 && posio_be64(c->table + i + 8) != 0))
            r = qcow2_read_i_check_entry(c, c->table + i, at + i, active, err);
    return r;
}

static posio_result qcow2_read_i_check_l1_entry(qcow2_read_i_check *c, uint64_t entry, uint64_t by,
                                                int active, posio_error *err)
{
    const qcow2_read *q = c->image;
    uint64_t at = entry & QCOW2_READ_I_OFFSET;
    const char *fault = NULL;
    posio_result r = POSIO_OK;
    if (entry & ~(QCOW2_READ_I_OFFSET | QCOW2_READ_I_COPIED)) fault = "has reserved bits set";
    else if (at % q->info.cluster_size != 0) fault = "is not aligned to a cluster";
    else if (at != 0 && !posio_within(at, q->info.cluster_size, q->file.size))
        fault = "leads beyond the end of the file";
    if (fault != NULL && qcow2_read_i_is_first_pass(c))
        qcow2_read_i_issue(c, QCOW2_READ_CORRUPTION, by, "the L1 entry here (%llx) %s",
                           (unsigned long long)entry, fault);
    if (at == 0 || at % q->info.cluster_size != 0 ||
        !posio_within(at, q->info.cluster_size, q->file.size))
        return POSIO_OK;
    qcow2_read_i_reaches(c, at + q->info.cluster_size);
    qcow2_read_i_count(c, at, q->info.cluster_size, QCOW2_READ_I_IS_L2, by, "L2 table");
    if (!qcow2_read_i_spend(c, q->info.cluster_size, by)) return POSIO_OK;
    if (active && qcow2_read_i_is_first_pass(c))
        r = qcow2_read_i_check_copied(c, entry, by, at, "L1 entry", err);
    return r == POSIO_OK ? qcow2_read_i_walk_table(c, at, active, err) : r;
}

/* Tables beyond what QEMU accepts are not walked: a sparse file makes room for any. */
static posio_result qcow2_read_i_too_large(qcow2_read_i_check *c, uint64_t by, const char *what,
                                           uint64_t size)
{
    if (qcow2_read_i_is_first_pass(c))
        qcow2_read_i_issue(c, QCOW2_READ_CORRUPTION, by,
                           "the %s claims %llu bytes, more than any program makes", what,
                           (unsigned long long)size);
    c->report->is_complete = 0;
    return POSIO_OK;
}

/* The L1 table of a state, and all below it. */
static posio_result qcow2_read_i_check_state(qcow2_read_i_check *c, uint64_t at, uint64_t entries,
                                             uint64_t by, int active, posio_error *err)
{
    unsigned char raw[QCOW2_READ_I_BATCH * 8];
    uint64_t i, k;
    posio_result r = POSIO_OK;
    c->share = qcow2_read_i_allowance(c, 1);
    if (entries > QCOW2_READ_I_L1 && posio_within(at, entries * 8, c->image->file.size))
        return qcow2_read_i_too_large(c, by, "L1 table", entries * 8);
    if (!qcow2_read_i_own_table(c, at, entries * 8, by, "L1 table")) return POSIO_OK;
    for (i = 0; i < entries && r == POSIO_OK; i += QCOW2_READ_I_BATCH) {
        uint64_t count = posio_min(QCOW2_READ_I_BATCH, entries - i);
        r = posio_read(&c->image->file, at + i * 8, raw, (size_t)count * 8, err);
        for (k = 0; k < count && r == POSIO_OK; k++)
            if (posio_be64(raw + k * 8) != 0)
                r = qcow2_read_i_check_l1_entry(c, posio_be64(raw + k * 8), at + (i + k) * 8,
                                                active, err);
        if (r == POSIO_OK) r = qcow2_read_i_tick(c, err);
    }
    return r;
}

/* The refcount table and its blocks, as users of clusters. */
static posio_result qcow2_read_i_check_blocks(qcow2_read_i_check *c, posio_error *err)
{
    const qcow2_read *q = c->image;
    const uint64_t size = q->refcount_clusters * q->info.cluster_size;
    unsigned char raw[QCOW2_READ_I_BATCH * 8];
    uint64_t i, k;
    posio_result r = POSIO_OK;
    if (size > QCOW2_READ_I_REFCOUNTS && posio_within(q->refcount_offset, size, q->file.size))
        return qcow2_read_i_too_large(c, 56, "refcount table", size);
    if (!qcow2_read_i_own_table(c, q->refcount_offset, size, 48, "refcount table")) return r;
    for (i = 0; i < size && r == POSIO_OK; i += sizeof raw) {
        r = posio_read(&q->file, q->refcount_offset + i, raw, sizeof raw, err);
        for (k = 0; k < sizeof raw && r == POSIO_OK; k += 8) {
            uint64_t block = posio_be64(raw + k);
            if (block != 0)
                (void)qcow2_read_i_own(c, block, q->info.cluster_size, q->refcount_offset + i + k,
                                       "refcount block");
        }
        if (r == POSIO_OK) r = qcow2_read_i_tick(c, err);
    }
    return r;
}

/* One bitmap: its table, and the clusters of its bits. Source: QCOW2, "Bitmap table". */
static posio_result qcow2_read_i_check_bitmap(qcow2_read_i_check *c, uint64_t table, uint64_t count,
                                              uint64_t by, posio_error *err)
{
    const qcow2_read *q = c->image;
    unsigned char raw[8];
    uint64_t i;
    posio_result r = POSIO_OK;
    if (!qcow2_read_i_own_table(c, table, count * 8, by, "bitmap table")) return POSIO_OK;
    for (i = 0; i < count && r == POSIO_OK; i++) {
        r = qcow2_read_i_table(c->image, table + i * 8, raw, 8, err);
        if (r == POSIO_OK && (posio_be64(raw) & QCOW2_READ_I_OFFSET) != 0)
            (void)qcow2_read_i_own(c, posio_be64(raw) & QCOW2_READ_I_OFFSET, q->info.cluster_size,
                                   table + i * 8, "bitmap");
        if (r == POSIO_OK) r = qcow2_read_i_tick(c, err);
    }
    return r;
}

/* The directory of dirty bitmaps. Source: QCOW2, "Bitmap directory". */
static posio_result qcow2_read_i_check_bitmaps(qcow2_read_i_check *c, posio_error *err)
{
    qcow2_read *q = c->image;
    uint64_t at = q->bitmaps_offset, end = at + q->bitmaps_size;
    uint32_t i;
    posio_result r = POSIO_OK;
    if (!(q->info.autoclear_features & QCOW2_READ_I_BITMAPS) ||
        !qcow2_read_i_own_table(c, at, q->bitmaps_size, at, "bitmap directory"))
        return POSIO_OK;
    for (i = 0; i < q->bitmap_count && end - at >= 24 && r == POSIO_OK; i++) {
        unsigned char e[24];
        uint64_t n;
        r = qcow2_read_i_table(q, at, e, sizeof e, err);
        if (r != POSIO_OK) return r;
        r = qcow2_read_i_check_bitmap(c, posio_be64(e), posio_be32(e + 8), at, err);
        n = (24 + (uint64_t)posio_be16(e + 18) + posio_be32(e + 20) + 7) & ~(uint64_t)7;
        at += posio_min(n, end - at);
    }
    return r;
}

/* What is counted against what the image has, for one cluster. */
static void qcow2_read_i_compare_one(qcow2_read_i_check *c, uint64_t cluster, uint64_t stored)
{
    uint32_t counted = c->words[cluster - c->from] & QCOW2_READ_I_COUNT;
    if (stored == counted || (counted == QCOW2_READ_I_COUNT && stored > counted)) return;
    qcow2_read_i_issue(c, stored < counted ? QCOW2_READ_CORRUPTION : QCOW2_READ_LEAK,
                       cluster << c->image->cluster_bits,
                       "the cluster here has a reference count of %llu and %u references",
                       (unsigned long long)stored, (unsigned)counted);
}

/* The same for the clusters of the window, one refcount block after the other. */
static posio_result qcow2_read_i_compare(qcow2_read_i_check *c, posio_error *err)
{
    const uint64_t entries = qcow2_read_i_blocks_entries(c->image);
    uint64_t i = c->from, first, end, block;
    posio_result r = POSIO_OK;
    for (; i < c->to && r == POSIO_OK; i = end) {
        int known;
        first = i - i % entries;
        end = posio_min(first + entries, c->to);
        r = qcow2_read_i_block(c, first / entries, &block, &known, err);
        if (r == POSIO_OK && block != 0 && known)
            r = posio_read(&c->image->file, block, c->table, c->image->info.cluster_size, err);
        for (; r == POSIO_OK && known && i < end; i++)
            if (block != 0 || c->words[i - c->from] != 0)
                qcow2_read_i_compare_one(
                    c, i,
                    block == 0
                        ? 0
                        : qcow2_read_i_count_at(c->table, i - first, c->image->info.refcount_bits));
        if (r == POSIO_OK) r = qcow2_read_i_tick(c, err);
    }
    return r;
}

static posio_result qcow2_read_i_check_pass(qcow2_read_i_check *c, posio_error *err)
{
    qcow2_read *q = c->image;
    uint32_t i;
    posio_result r;
    memset(c->words, 0, (size_t)(c->to - c->from) * sizeof *c->words);
    c->ticks = 0;
    c->left = qcow2_read_i_allowance(c, 64);
    c->share = qcow2_read_i_allowance(c, 1);
    (void)qcow2_read_i_own(c, 0, q->info.cluster_size, 0, "header");
    r = qcow2_read_i_check_state(c, q->active_l1_offset, q->active_l1_entries, 40, 1, err);
    if (r == POSIO_OK) r = qcow2_read_i_check_blocks(c, err);
    c->share = qcow2_read_i_allowance(c, 1);
    (void)qcow2_read_i_own_table(c, q->snapshots_offset, q->snapshots_end - q->snapshots_offset, 64,
                                 "snapshot table");
    for (i = 0; i < q->info.snapshot_count && r == POSIO_OK; i++) {
        uint32_t length[3];
        uint64_t end;
        qcow2_read_snapshot s;
        r = qcow2_read_i_read_snapshot(q, q->snapshots[i], &s, length, &end, err);
        if (r == POSIO_OK)
            r = qcow2_read_i_check_state(c, s.l1_offset, s.l1_entries, q->snapshots[i], 0, err);
    }
    c->share = qcow2_read_i_allowance(c, 1);
    if (r == POSIO_OK) r = qcow2_read_i_check_bitmaps(c, err);
    if (r != POSIO_OK || !c->report->is_complete) return r;
    return qcow2_read_i_compare(c, err);
}

QCOW2_READ_API posio_result qcow2_read_check(qcow2_read *image, const qcow2_read_check_desc *desc,
                                             qcow2_read_check_report *report, posio_error *err)
{
    static const qcow2_read_check_desc defaults = {NULL, NULL, NULL, 0};
    const uint64_t memory = desc != NULL && desc->memory != 0 ? desc->memory : (uint64_t)32 << 20;
    const uint32_t cs = image->info.cluster_size;
    uint64_t window;
    qcow2_read_i_check c;
    qcow2_read_check_report found;
    posio_result r = POSIO_OK;
    memset(&c, 0, sizeof c);
    memset(&found, 0, sizeof found);
    c.image = image;
    c.desc = desc != NULL ? desc : &defaults;
    c.report = &found;
    c.clusters = (image->file.size + cs - 1) / cs;
    found.file_clusters = c.clusters;
    found.is_complete = 1;
    window = posio_min(memory / 2 + 1, SIZE_MAX / 4);
    if (window >= c.clusters) window = c.clusters;
    else window = c.clusters / (c.clusters / window + 1) + 1; /* passes of one size */
    c.words = (uint16_t *)posio_allocate(&image->desc.alloc, (size_t)window * sizeof *c.words);
    c.table = (unsigned char *)posio_allocate(&image->desc.alloc, cs);
    if (c.words == NULL || c.table == NULL) r = qcow2_read_i_no_memory(err);
    for (c.from = 0; c.from < c.clusters && r == POSIO_OK; c.from = c.to) {
        c.to = posio_min(c.from + window, c.clusters);
        r = qcow2_read_i_check_pass(&c, err);
    }
    posio_release(&image->desc.alloc, c.words);
    posio_release(&image->desc.alloc, c.table);
    if (r == POSIO_OK) *report = found;
    return qcow2_read_i_named(image, r, err);
}

#undef QCOW2_READ_I_OFFSET
#undef QCOW2_READ_I_COPIED
#undef QCOW2_READ_I_COMPRESSED_BIT
#elif defined(QCOW2_READ_IMPLEMENTATION) && QCOW2_READ_I_IMPLEMENTED < 100
#error "qcow2_read.h: the functions of an older copy came first; include the newest header first"
#endif
