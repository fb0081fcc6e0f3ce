/* vhdx_read.h - read VHDX and VHD disk images and their parents, from any number of threads.
   SPDX-License-Identifier: MIT OR Unlicense

   QUICK START

       #define VHDX_READ_IMPLEMENTATION
       #include "vhdx_read.h"
       #include <stdio.h>

       int main(int argc, char **argv)
       {
           vhdx_read *image = NULL;
           posio_error err;
           unsigned char sector[512];
           if (argc < 2 || vhdx_read_open(&image, argv[1], NULL, &err) != POSIO_OK) return 2;
           printf("%llu bytes\n", (unsigned long long)vhdx_read_info(image)->media_size);
           if (vhdx_read_at(image, 0, sector, sizeof sector, &err) != POSIO_OK) puts(err.message);
           vhdx_read_close(image);
           return 0;
       }

   WHAT IT DOES NOT DO
     No writing, no repair: the log of a VHDX file is replayed in memory, the file stays as it is.
     Saved states of virtual machines are other files. VHD sets (.vhds) and the split parts of old
     VHD files (.v01) are not put together. Guest bytes are never probed: a file that may be either
     format is refused unless VHDX_READ_AS_... says which it is.

   OPTIONS  (define before the first include; each works alone)
     VHDX_READ_IMPLEMENTATION   the functions too: in exactly one .c or .cpp
     VHDX_READ_STATIC           a private copy with internal linkage, for this file only
     VHDX_READ_API              how public functions are declared (default: nothing)
     THREAD_POOL_NO_THREADS     no locks, no threads: one thread may use an image at a time

   THREADS
     After opening, every function that takes a handle may be called by any number of threads, but
     for vhdx_read_close. No thread is started: large reads use the pool lent in the desc, if any.
     Block tables are read without a lock once they are in memory.

   MEMORY
     The block allocation table (BAT) is read when wanted, in pages of 64 KiB. Kept are the first
     16 MiB that are asked for, 2 MiB of pages of what is beyond and of sector bitmaps, 1 byte for
     each 8 KiB of the table, and the text of the parent locator (3 MiB at most). A replayed log
     takes 80 bytes for each 4 KiB sector or range of zeros, 20 MiB at most (while opening: 60 MiB);
     its data stay in the file. Reads allocate nothing else.

   ERRORS
     FORMAT (neither VHDX nor VHD), UNSUPPORTED (refused by name), DATA (damaged, or the parent is
     not the recorded one), MISSING (no parent is found), POLICY (a stored name leads elsewhere),
     LIMIT, RANGE, IO, NOMEM, ARG (a desc that contradicts itself, a resolver that gives nothing).
     Errors name the file and the byte offset in it. What can be read around is a warning.

   VHDX  ([MS-VHDX], "Virtual Hard Disk v2 (VHDX) File Format": VHDX; little-endian)

     0     "vhdxfile", creator (UTF-16)
     64 K  header 1, 128 K header 2 (4 KiB each): "head" | CRC-32C | sequence number u64 |
           FileWriteGuid | DataWriteGuid | LogGuid | log version u16 | version u16 |
           log: length u32, offset u64                         the higher sequence number is current
     192 K region table 1, 256 K region table 2 (64 KiB each): "regi" | CRC-32C | count u32 |
           entries: GUID, offset u64, length u32, required u32                     either one serves
     from 1 MiB on, aligned to it, in any order: log, metadata region, BAT, blocks

     metadata   a table of (GUID, offset, length, flags), and items: block size and flags, media
                size, disk ID, logical and physical sector size, parent locator (keys and values)
     BAT        u64 for each block of 1 to 256 MiB: bits 0-2 state, bits 20-63 offset in MiB. After
                each chunk of (2^23 * logical sector size / block size) entries one for the chunk's
                sector bitmap: 1 MiB, a bit for each logical sector, lowest bit first
     states     0 not present: the parent, or zeros     2 zero     1 undefined, 3 and 5 unmapped:
                read as zeros     6 in the file     7 each sector by its bit: in the file (1) or
                the parent (0)
     log        a ring of 4 KiB sectors. Entry: "loge" | CRC-32C | length u32 | tail u32 | sequence
                number u64 | descriptors u32 | LogGuid | flushed and last file offset u64; then
                descriptors of 32 bytes, "zero" (a range) or "desc" (12 bytes of a sector, and the
                rest of it in a data sector behind the descriptors)

     The log is in use when the current header's LogGuid is not zero. Then entries with this GUID,
     whole and with all signatures, sequence numbers and checksums right, that follow each other
     with sequence numbers that do, make a sequence. It is complete when the tail which its last
     entry names is in it. That with the highest number is replayed from that tail on: over
     everything but the headers and the log, which are read as they are (VHDX, 2.3.3).

   VHD  ("Virtual Hard Disk Image Format Specification" 1.0, Microsoft 2006: VHD; big-endian)

     footer     512 bytes (before Virtual PC 2004: 511) at the end of the file; dynamic and
                differencing disks have a copy at 0. "conectix" | features u32 | version u32 |
                offset of the dynamic header u64 | time u32 | creator: application, version, system
                u32 each | original and current size u64 | cylinders u16, heads u8, sectors u8 |
                type u32: 2 fixed, 3 dynamic, 4 differencing | checksum u32 | unique ID | saved u8
     header     1024 bytes: "cxsparse" | next u64 | offset of the BAT u64 | version u32 | entries
                of the BAT u32 | block size u32 | checksum u32 | parent: ID, time u32, reserved
                u32, name (512 bytes of UTF-16) | 8 parent locators: platform u32, space u32,
                length u32, reserved u32, offset u64
     BAT        u32 for each block: its first 512-byte sector, or 0xffffffff
     block      a bitmap of its sectors, highest bit first, padded to 512 bytes; then its data

     Size. The footer has two: the current size in bytes, and the geometry, whose product may be
     smaller or larger. Virtual PC ("vpc ") and QEMU without force_size ("qemu") give the guest the
     product, unless it is the largest there is (65535 x 16 x 255); Virtual Server, Hyper-V and
     VirtualBox go by the current size. So does this reader, for every other creator too: the disk
     has the size that its machine saw. (QEMU counts by geometry for creators that it does not
     know.) A difference is a warning. VHDX_READ_CURRENT_SIZE takes the current size in any case.
     (The product is not taken either when it is 0 or when the file has no room for it.)

     Bitmaps of dynamic disks are not looked at, as in QEMU and Windows: a block that is there is
     read whole. Sectors that were never written hold zeros in it. In differencing disks a bit says
     whether the sector is in the file (1) or in the parent (0).

     variant                                                       |
     VHDX: fixed, dynamic, differencing; 512 and 4096-byte sectors | read
     VHDX: log in use                                              | replayed in memory
     VHDX: one header or region table damaged                      | read, with a warning
     VHDX: unknown required region or metadata item, other locator | refused by name
     VHD: fixed, dynamic, differencing; 511-byte footers           | read
     VHD: footer damaged or cut off, the copy at 0 intact          | read, with a warning
     VHDX at its beginning, fixed VHD at its end                   | as VHDX_READ_AS_... says
     parents                                                       | read, by name and ID, in any
                                                                   | format a resolver knows

   DAMAGE
     A table entry that cannot be right (beyond the end of the file, in a header, the log, the
     metadata or the table itself, a reserved state, a partial block without a bitmap) is an error
     that names it; it never reads as zeros. Of a file that was cut, what is there is read. Blocks
     that lie over each other do not matter for reading. A log that is in use but has no complete
     sequence, and a file shorter than its log says, are refused: VHDX_READ_NO_LOG reads what the
     file holds without the log, which may be a state that the disk never had. */

#if defined(VHDX_READ_STATIC) && !defined(VHDX_READ_IMPLEMENTATION)
#define VHDX_READ_IMPLEMENTATION
#endif
#if defined(VHDX_READ_IMPLEMENTATION)
#ifndef CHUNK_CACHE_IMPLEMENTATION
#define CHUNK_CACHE_IMPLEMENTATION
#endif
#ifndef DIGEST_IMPLEMENTATION
#define DIGEST_IMPLEMENTATION
#endif
#endif
#if defined(CHUNK_CACHE_IMPLEMENTATION) && !defined(THREAD_POOL_IMPLEMENTATION)
#define THREAD_POOL_IMPLEMENTATION
#endif
#if !defined(POSIO_IMPLEMENTATION) && \
    (defined(THREAD_POOL_IMPLEMENTATION) || defined(DIGEST_IMPLEMENTATION))
#define POSIO_IMPLEMENTATION
#endif
#include "posio.h"
#if defined(THREAD_POOL_IMPLEMENTATION)
#include "thread_pool.h"
#endif
#if defined(CHUNK_CACHE_IMPLEMENTATION)
#include "chunk_cache.h"
#endif
#if defined(DIGEST_IMPLEMENTATION)
#include "digest.h"
#endif

#ifndef CHUNKWISE_VHDX_READ_H
#define CHUNKWISE_VHDX_READ_H

#define VHDX_READ_VERSION 100 /* 1.0.0 */

#include <stddef.h>
#include <stdint.h>

struct chunkwise_pool;

#if defined(VHDX_READ_STATIC)
#define VHDX_READ_I_STATIC
#endif
#ifndef VHDX_READ_API
#if !defined(VHDX_READ_STATIC)
#define VHDX_READ_API
#elif defined(__GNUC__) || defined(__TINYC__)
#define VHDX_READ_API static __attribute__((unused))
#else
#define VHDX_READ_API static
#endif
#endif

/* ------------------------------------------------------------------ essential */

typedef struct vhdx_read vhdx_read;

enum {
    VHDX_READ_ALONE = 1,        /* no parent: what the image does not hold reads as zeros */
    VHDX_READ_ANY_PARENT = 2,   /* where no parent has the recorded ID, the first that opens */
    VHDX_READ_NO_LOG = 4,       /* VHDX: read what the file holds without its log */
    VHDX_READ_CURRENT_SIZE = 8, /* VHD: the footer's current size, whoever created it */
    /* Which of the two a file is that begins as a VHDX and ends as a fixed VHD: the guest of a VHD
       writes its first bytes, that of a VHDX perhaps its last ones. Without one of these flags it
       is refused. Other files are what they are, whatever the flag. */
    VHDX_READ_AS_VHDX = 16,
    VHDX_READ_AS_VHD = 32
};

typedef struct vhdx_read_desc {
    struct chunkwise_pool *pool; /* lent for large reads; NULL = the calling thread */
    uint32_t flags;              /* VHDX_READ_... */
    uint32_t allow;              /* POSIO_ALLOW_... for names stored in the image */
    const char *name;            /* of the file in errors, copied; vhdx_read_open takes the path */
    /* Opens parents; borrowed while the image is open. It is asked with kind PARENT, format NULL
       and room for the identity. NULL: vhdx_read_open finds VHDX and VHD parents beside the image,
       vhdx_read_open_source refuses them. */
    const posio_resolver *resolver;
    posio_alloc alloc;
} vhdx_read_desc;

#ifdef __cplusplus
extern "C" {
#endif

/* Opens the image at path (UTF-8), with its parents. desc NULL or all zero is a complete default.
   On success close *out yourself.
   Source: VHDX, 2.2 to 2.6; VHD, "Hard Disk Footer Format", "Dynamic Disk Header Format".
   Threads: any. Allocates: open. Blocks: I/O. */
VHDX_READ_API posio_result vhdx_read_open(vhdx_read **out, const char *path,
                                          const vhdx_read_desc *desc, posio_error *err);

/* Reads n bytes of the logical media at offset straight into buf. POSIO_E_RANGE beyond media_size;
   on failure buf holds anything. A range of 1 MiB or more is cut into parts for the pool.
   Source: VHDX, 2.4, 2.5; VHD, "Block Allocation Table and Data Blocks".
   Threads: any. Allocates: yes (pages of tables, up to the bound). Blocks: workers. */
VHDX_READ_API posio_result vhdx_read_at(vhdx_read *image, uint64_t offset, void *buf, size_t n,
                                        posio_error *err);

/* Closes; NULL is fine. Nothing may be reading.
   Threads: exclusive. Allocates: no. Blocks: I/O. */
VHDX_READ_API void vhdx_read_close(vhdx_read *image);

/* The logical media as a positioned source; it borrows the image. Its extents are those of the
   whole chain: what an image does not hold is what its parent says, a hole where there is none.
   Threads: any. Allocates: no. Blocks: no. */
VHDX_READ_API posio_source vhdx_read_source(vhdx_read *image);

/* ------------------------------------------------------------------ inspection */

typedef struct vhdx_read_metadata {
    uint64_t media_size; /* bytes of logical media */
    uint64_t file_size;
    const char *layout;  /* "VHDX fixed", "VHDX dynamic", "VHDX differencing"; "VHD fixed" ... */
    uint32_t is_vhd;     /* 0: VHDX */
    uint32_t version;    /* of the format: 1 */
    uint32_t has_parent; /* differencing */
    uint32_t block_size; /* bytes; 0 for a fixed VHD, which has no blocks */
    uint32_t logical_sector_size, physical_sector_size; /* bytes; of a VHD always 512 */
    /* GUIDs as text, in lower case and without braces; NULL where there is none. */
    const char *identity;        /* what children know it by: DataWriteGuid; VHD: unique ID */
    const char *parent_identity; /* recorded in a differencing disk; VHDX: parent_linkage */
    const char *disk_id;         /* VHDX: virtual disk ID (SCSI page 83) */
    const char *file_write_id;   /* VHDX: FileWriteGuid */
    /* Texts are hostile. */
    const char *creator;        /* VHDX: the string; VHD: the application, such as "win " */
    const char *creator_system; /* VHD: "Wi2k", "Mac "; VHDX: NULL */
    uint32_t creator_version;   /* VHD: major << 16 | minor */
    uint32_t parent_name_count; /* for vhdx_read_get_parent_name */
    /* VHDX only: */
    uint64_t header_sequence;      /* of the current header */
    uint32_t header, region_table; /* which copy is read: 1 or 2 */
    uint64_t log_entries_replayed; /* 0: the log is not in use */
    uint64_t log_bytes;            /* of the file, that read as the log says */
    /* VHD only: */
    uint64_t created;                     /* seconds since 1970, UTC */
    uint64_t original_size, current_size; /* as the footer says, bytes */
    uint32_t cylinders, heads, sectors;   /* geometry, as the footer says */
    uint32_t is_saved_state, is_temporary;
} vhdx_read_metadata;

/* Everything known after opening; valid until close. Threads: any. Allocates: no. Blocks: no. */
VHDX_READ_API const vhdx_read_metadata *vhdx_read_info(const vhdx_read *image);

/* The i-th entry that says where the parent is, as stored, in UTF-8; valid until close. VHDX: key
   and value ("relative_path", ".\parent.vhdx"; "parent_linkage", "{...}"). VHD: the platform code
   and its text ("W2ru", "W2ku"), last "parent_name". POSIO_E_RANGE behind the last.
   Source: VHDX, 2.6.2.6; VHD, "Dynamic Disk Header Format".
   Threads: any. Allocates: no. Blocks: no. */
VHDX_READ_API posio_result vhdx_read_get_parent_name(const vhdx_read *image, uint32_t i,
                                                     const char **key, const char **name);

typedef posio_warning vhdx_read_warning; /* segment is 0 */

/* The i-th thing that opening found wrong and read around; POSIO_E_RANGE behind the last. Those of
   parents that vhdx_read_open found by itself come last, and begin with the file's name. Of each
   file there are 32 at most: the last one tells how many it replaced.
   Threads: any. Allocates: no. Blocks: no. */
VHDX_READ_API posio_result vhdx_read_get_warning(const vhdx_read *image, uint32_t i,
                                                 vhdx_read_warning *out);

/* ------------------------------------------------------------------ advanced */

/* Opens an image that is a source already, which is borrowed until close: memory, a slice, or the
   media of another image. Threads: any. Allocates: open. Blocks: I/O. */
VHDX_READ_API posio_result vhdx_read_open_source(vhdx_read **out, const posio_source *file,
                                                 const vhdx_read_desc *desc, posio_error *err);

/* Is this a VHDX or VHD file? OK: it begins with "vhdxfile" or "conectix", or ends in a VHD footer
   with a good checksum. FORMAT: neither. See vhdx_read_probe_footer, too.
   Threads: any. Allocates: no. Blocks: I/O. */
VHDX_READ_API posio_result vhdx_read_probe(const posio_source *source, posio_error *err);

/* Is a footer at the end all that makes this a VHD file? OK: so it is, and nothing at the beginning
   does. Then it is a fixed VHD, or the end of a dynamic one; but a raw image of a disk may end so,
   too, by accident or because whoever wrote it wants it to. FORMAT: no.
   Threads: any. Allocates: no. Blocks: I/O. */
VHDX_READ_API posio_result vhdx_read_probe_footer(const posio_source *source, posio_error *err);

#ifdef __cplusplus
}
#endif
#elif VHDX_READ_VERSION < 100
#error "vhdx_read.h: an older copy came first in this file; include the newest header first"
#endif
#if defined(VHDX_READ_STATIC) && !defined(VHDX_READ_I_STATIC)
#error "define VHDX_READ_STATIC before the first include of vhdx_read.h"
#endif

#if defined(VHDX_READ_IMPLEMENTATION) && !defined(VHDX_READ_I_IMPLEMENTED)
#define VHDX_READ_I_IMPLEMENTED 100

#include <stdlib.h>
#include <string.h>

// ---------------------------------------------------------------------------------- structures

enum {
    VHDX_READ_I_MIB = 1 << 20,
    VHDX_READ_I_HEADER = 4096,         /* bytes of a VHDX header, */
    VHDX_READ_I_REGION_TABLE = 65536,  /* a region table */
    VHDX_READ_I_METADATA_TABLE = 65536 /* and the metadata table, */
};
enum {
    VHDX_READ_I_FOOTER = 512,      /* of a VHD footer, */
    VHDX_READ_I_DYNAMIC = 1024,    /* and of a dynamic header */
    VHDX_READ_I_SECTOR = 4096,     /* bytes of the log that are one sector */
    VHDX_READ_I_PADDING = 16,      /* sectors behind what an entry of the log needs, fewer than */
    VHDX_READ_I_CHANGES = 1 << 18, /* that a log may make */
    VHDX_READ_I_ENTRIES = 2047,    /* of region and metadata tables, at most */
    VHDX_READ_I_REGIONS = 16       /* that are remembered: header, log, BAT, metadata, others */
};
enum {
    VHDX_READ_I_PAGE = 64 << 10,       /* bytes of the BAT in a page */
    VHDX_READ_I_RESIDENT = 256,        /* pages that are kept */
    VHDX_READ_I_TABLE_PAGE = 4096,     /* bytes of other tables in a cached page */
    VHDX_READ_I_TABLE_PAGES = 2 << 20, /* bytes of them all */
    VHDX_READ_I_LOOKS = 1024,          /* BAT entries looked at for one run */
    VHDX_READ_I_BATCH = 64,            /* runs put together in an extent */
    VHDX_READ_I_PART = 512 << 10,      /* bytes in one step of a large read */
    VHDX_READ_I_UNIT = 64 << 10,       /* of the source: what is lost where the file was cut */
    VHDX_READ_I_CANDIDATES = 8         /* names that a parent is looked for by */
};

/* Where bytes of the media come from. */
enum {
    VHDX_READ_I_HOLE, /* nothing is allocated */
    VHDX_READ_I_ZERO,
    VHDX_READ_I_DATA,
    VHDX_READ_I_PARENT
};
typedef struct vhdx_read_i_run {
    uint32_t kind;
    uint64_t length; /* bytes of the media */
    uint64_t host;   /* of data: offset in the file */
} vhdx_read_i_run;

/* A part of the file that blocks must stay out of. */
typedef struct vhdx_read_i_region {
    uint64_t from, to;
    const char *name;
} vhdx_read_i_region;

/* Bytes of the file that a log replaced. Sorted, and apart from each other. */
typedef struct vhdx_read_i_patch {
    uint64_t from, to;
    uint64_t data;           /* where the data sector lies in the file; 0 = the bytes are zeros */
    unsigned char edges[12]; /* the first 8 and the last 4 bytes of that sector */
    uint32_t reserved;
} vhdx_read_i_patch;

typedef struct vhdx_read_i_name {
    char *key, *name;
} vhdx_read_i_name;

struct vhdx_read {
    vhdx_read_desc desc;
    posio_source file, parent;
    vhdx_read_metadata info;
    uint64_t size;       /* of the file with its log replayed */
    uint64_t data_end;   /* fixed VHD: where the footer begins */
    uint32_t unit;       /* the largest of the chain */
    uint32_t entry_size; /* bytes of a BAT entry: 8, of a VHD 4; 0 = there is no BAT */
    uint32_t block_bits, sector_bits;
    uint32_t ratio_bits;  /* VHDX: 2^ratio_bits blocks in a chunk */
    uint32_t bitmap_size; /* VHD: bytes in front of a block */
    uint64_t bat_offset;
    uint64_t bat_entries; /* that the media need */
    uint64_t bat_there;   /* of them in the file */
    void **pages;         /* of the BAT, read when wanted; NULL = not yet */
    uint32_t resident;    /* pages that are there */
    chunk_cache *tables;
    vhdx_read_i_region regions[VHDX_READ_I_REGIONS];
    uint32_t region_count;
    vhdx_read_i_patch *patches;
    uint64_t patch_count;
    char identity[40], disk_id[40], file_write_id[40], creator_text[8], creator_system[8];
    char linkage[2][40]; /* the parent's identity is one of these */
    uint64_t linkage_at; /* where that is stored */
    int any_parent;      /* parents are taken as they come */
    char *creator;
    vhdx_read_i_name *names;
    uint64_t name_room;
    posio_warnings warnings;
    thread_pool_mutex lock; /* guards known, and pages when one is added */
    int has_lock;
    posio_known known[2]; /* of file and parent */
    posio_resolver own_resolver;
#ifndef POSIO_NO_FILES
    posio_layer *layer; /* of vhdx_read_open */
#endif
    vhdx_read *parent_image; /* found by ourselves */
};

static posio_result vhdx_read_i_no_memory(posio_error *err)
{
    return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
}

static void vhdx_read_i_warn(vhdx_read *v, uint64_t offset, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    posio_warn(&v->warnings, 0, offset, format, ap);
    va_end(ap);
}

/* The first region that the n bytes at `at` touch; NULL = none. */
static const vhdx_read_i_region *vhdx_read_i_region_at(const vhdx_read *v, uint64_t at, uint64_t n)
{
    uint32_t i;
    for (i = 0; i < v->region_count; i++)
        if (at < v->regions[i].to && v->regions[i].from < at + n) return &v->regions[i];
    return NULL;
}

/* What does not find room is not remembered: blocks in it are not noticed. */
static void vhdx_read_i_add_region(vhdx_read *v, uint64_t at, uint64_t n, const char *name)
{
    vhdx_read_i_region *r = &v->regions[v->region_count];
    if (v->region_count == VHDX_READ_I_REGIONS) return;
    v->region_count++;
    r->from = at;
    r->to = at + n;
    r->name = name;
}

// ---------------------------------------------------------------------------------- the file

/* Bytes of one patch from `at` on. */
static posio_result vhdx_read_i_read_patch(const vhdx_read *v, const vhdx_read_i_patch *p,
                                           uint64_t at, unsigned char *out, size_t n,
                                           posio_error *err)
{
    size_t within = (size_t)(at - p->from), i;
    posio_result r;
    if (p->data == 0) {
        memset(out, 0, n);
        return POSIO_OK;
    }
    r = posio_read(&v->file, p->data + within, out, n, err);
    for (i = 0; r == POSIO_OK && i < n && within + i < 8; i++) out[i] = p->edges[within + i];
    i = within < VHDX_READ_I_SECTOR - 4 ? VHDX_READ_I_SECTOR - 4 - within : 0;
    for (; r == POSIO_OK && i < n; i++)
        out[i] = p->edges[8 + within + i - (VHDX_READ_I_SECTOR - 4)];
    return r;
}

/* The first patch that ends behind `at`. */
static uint64_t vhdx_read_i_find_patch(const vhdx_read *v, uint64_t at)
{
    uint64_t lo = 0, hi = v->patch_count;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (v->patches[mid].to <= at) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* n bytes at `at` of the file as its log left it. What the file would be extended by is zeros. */
static posio_result vhdx_read_i_pread(const vhdx_read *v, uint64_t at, void *buf, size_t n,
                                      posio_error *err)
{
    unsigned char *out = (unsigned char *)buf;
    posio_result r = POSIO_OK;
    uint64_t i;
    if (v->patch_count == 0 && v->size == v->file.size)
        return posio_read(&v->file, at, buf, n, err);
    if (!posio_within(at, n, v->size))
        return posio_fail(err, POSIO_E_RANGE, at, "%llu bytes at %llu reach beyond the end at %llu",
                          (unsigned long long)n, (unsigned long long)at,
                          (unsigned long long)v->size);
    for (i = vhdx_read_i_find_patch(v, at); n != 0 && r == POSIO_OK;) {
        const vhdx_read_i_patch *p = i < v->patch_count ? &v->patches[i] : NULL;
        size_t take = n, have = 0;
        if (p != NULL && p->from <= at) {
            take = (size_t)posio_min(n, p->to - at);
            r = vhdx_read_i_read_patch(v, p, at, out, take, err);
            i++;
        } else {
            if (p != NULL) take = (size_t)posio_min(n, p->from - at);
            if (at < v->file.size) have = (size_t)posio_min(take, v->file.size - at);
            if (have != 0) r = posio_read(&v->file, at, out, have, err);
            if (r == POSIO_OK) memset(out + have, 0, take - have);
        }
        at += take;
        out += take;
        n -= take;
    }
    return r;
}

// ---------------------------------------------------------------------------------- tables

static posio_result vhdx_read_i_table_flight(void *user, uint64_t key, void *chunk, size_t *size,
                                             posio_error *err)
{
    const vhdx_read *v = (const vhdx_read *)user;
    uint64_t at = key * VHDX_READ_I_TABLE_PAGE;
    *size = (size_t)posio_min(VHDX_READ_I_TABLE_PAGE, v->size - at);
    return vhdx_read_i_pread(v, at, chunk, *size, err);
}

/* n bytes of a table, which lies within the file, through the cache of pages. */
static posio_result vhdx_read_i_table(vhdx_read *v, uint64_t at, void *buf, size_t n,
                                      posio_error *err)
{
    unsigned char *out = (unsigned char *)buf;
    posio_result r = POSIO_OK;
    while (n != 0 && r == POSIO_OK) {
        size_t within = (size_t)(at % VHDX_READ_I_TABLE_PAGE);
        size_t take = (size_t)posio_min(n, VHDX_READ_I_TABLE_PAGE - within);
        r = chunk_cache_read(v->tables, at / VHDX_READ_I_TABLE_PAGE, within, out, take,
                             vhdx_read_i_table_flight, v, err);
        at += take;
        out += take;
        n -= take;
    }
    return r;
}

/* The bytes of the entry at `at` within the BAT, whose page is not there: it is read, and kept if
   there is room. Two threads may do so at once; one of them keeps its page. */
static posio_result vhdx_read_i_add_page(vhdx_read *v, uint64_t at, unsigned char raw[8],
                                         posio_error *err)
{
    const uint64_t k = at / VHDX_READ_I_PAGE, from = k * VHDX_READ_I_PAGE;
    const size_t n = (size_t)posio_min(VHDX_READ_I_PAGE, v->bat_there * v->entry_size - from);
    unsigned char *page;
    int keep;
    posio_result r;
    if (posio_atomic_load(&v->resident) >= VHDX_READ_I_RESIDENT)
        return vhdx_read_i_table(v, v->bat_offset + at, raw, v->entry_size, err);
    page = (unsigned char *)posio_allocate(&v->desc.alloc, VHDX_READ_I_PAGE);
    if (page == NULL) return vhdx_read_i_no_memory(err);
    r = vhdx_read_i_pread(v, v->bat_offset + from, page, n, err);
    if (r == POSIO_OK) memcpy(raw, page + (at - from), v->entry_size);
    thread_pool_lock(&v->lock);
    keep = r == POSIO_OK && v->pages[k] == NULL && v->resident < VHDX_READ_I_RESIDENT;
    if (keep) {
        posio_atomic_store_ptr(&v->pages[k], page);
        posio_atomic_store(&v->resident, v->resident + 1);
    }
    thread_pool_unlock(&v->lock);
    if (!keep) posio_release(&v->desc.alloc, page);
    return r;
}

/* Entry i of the BAT. Without a lock, once its page is there. */
static posio_result vhdx_read_i_entry(vhdx_read *v, uint64_t i, uint64_t *entry, posio_error *err)
{
    const uint64_t at = i * v->entry_size;
    const unsigned char *page;
    unsigned char raw[8];
    if (i >= v->bat_there)
        return posio_fail(err, POSIO_E_DATA, v->bat_offset + at,
                          i < v->bat_entries
                              ? "entry %llu of the BAT lies beyond the end of the file"
                              : "the BAT has no entry %llu",
                          (unsigned long long)i);
    page = (const unsigned char *)posio_atomic_load_ptr(&v->pages[at / VHDX_READ_I_PAGE]);
    if (page != NULL) {
        page += at % VHDX_READ_I_PAGE;
    } else {
        posio_result r = vhdx_read_i_add_page(v, at, raw, err);
        if (r != POSIO_OK) return r;
        page = raw;
    }
    *entry = v->entry_size == 8 ? posio_le64(page) : posio_be32(page);
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- mapping

/* Is what the BAT says at `entry_at` possible: `size` bytes at `at` for media offset `media`, of
   which those from `need` on are wanted? */
static posio_result vhdx_read_i_check_place(const vhdx_read *v, uint64_t at, uint64_t size,
                                            uint64_t need, const char *what, uint64_t media,
                                            uint64_t entry, uint64_t entry_at, posio_error *err)
{
    const vhdx_read_i_region *region;
    if (at >= v->size || need >= v->size - at)
        return posio_fail(
            err, POSIO_E_DATA, entry_at,
            "the %s for media offset %llu (BAT entry %llx) lies beyond the end of the "
            "file, or the file is cut",
            what, (unsigned long long)media, (unsigned long long)entry);
    region = vhdx_read_i_region_at(v, at, size);
    if (region == NULL) return POSIO_OK;
    return posio_fail(err, POSIO_E_DATA, entry_at,
                      "the %s for media offset %llu (BAT entry %llx) lies in the %s", what,
                      (unsigned long long)media, (unsigned long long)entry, region->name);
}

/* How many of the `count` sectors from `first` on, by the bitmap at `at`, are like the first one:
   in the file (*set) or not. Bits are counted from the lowest one of a byte, in a VHD from the
   highest. */
static posio_result vhdx_read_i_bits(vhdx_read *v, uint64_t at, uint64_t first, uint64_t count,
                                     int *set, uint64_t *run, posio_error *err)
{
    const unsigned flip = v->info.is_vhd ? 7 : 0;
    unsigned char raw[512], same = 0;
    uint64_t done = 0;
    while (done < count) {
        const uint64_t base = (first + done) / 8;
        const size_t want = (size_t)posio_min(sizeof raw, (first + count + 7) / 8 - base);
        const size_t have = (size_t)posio_min(want, v->size - posio_min(v->size, at + base));
        posio_result r = vhdx_read_i_table(v, at + base, raw, have, err);
        if (have == 0) break; /* the file is cut: the first byte is known to be there */
        if (r != POSIO_OK && done == 0) return r;
        if (r != POSIO_OK) break;
        if (done == 0) {
            *set = raw[0] >> ((first & 7) ^ flip) & 1;
            same = *set ? 0xff : 0;
        }
        while (done < count && (first + done) / 8 - base < have) {
            const unsigned char byte = raw[(first + done) / 8 - base];
            if (byte == same) {
                done += 8 - ((first + done) & 7);
                continue;
            }
            if ((byte >> (((first + done) & 7) ^ flip) & 1) != *set) break;
            done++;
        }
        if ((first + done) / 8 - base < have) break;
    }
    *run = posio_min(done, count);
    return POSIO_OK;
}

/* The run that begins at media offset pos, n bytes at most, in a block of which some sectors are in
   the file; that of pos is then at `data`. Their bitmap counts from media offset `from` on, and is
   at `bits`. */
static posio_result vhdx_read_i_map_sectors(vhdx_read *v, uint64_t pos, uint64_t n, uint64_t data,
                                            uint64_t from, uint64_t bits, vhdx_read_i_run *run,
                                            posio_error *err)
{
    const uint64_t first = (pos - from) >> v->sector_bits;
    const uint64_t behind = (pos + n - from + (((uint64_t)1 << v->sector_bits) - 1));
    uint64_t same = 0;
    int set = 0;
    posio_result r =
        vhdx_read_i_bits(v, bits, first, (behind >> v->sector_bits) - first, &set, &same, err);
    if (r != POSIO_OK) return r;
    run->kind = set ? VHDX_READ_I_DATA : VHDX_READ_I_PARENT;
    run->host = data;
    run->length = posio_min(n, from + ((first + same) << v->sector_bits) - pos);
    return POSIO_OK;
}

/* The sector bitmap of a chunk: where it is in the file. Source: VHDX, 2.5.1.2. */
static posio_result vhdx_read_i_find_bitmap(vhdx_read *v, uint64_t pos, uint64_t chunk,
                                            uint64_t need, uint64_t *at, posio_error *err)
{
    const uint64_t i = ((chunk + 1) << v->ratio_bits) + chunk, entry_at = v->bat_offset + i * 8;
    uint64_t entry = 0;
    posio_result r = vhdx_read_i_entry(v, i, &entry, err);
    if (r != POSIO_OK) return r;
    if ((entry & 7) != 6)
        return posio_fail(err, POSIO_E_DATA, entry_at,
                          "the block for media offset %llu is in the file in part, and its sector "
                          "bitmap is not there (BAT entry %llx)",
                          (unsigned long long)pos, (unsigned long long)entry);
    *at = entry & ~(uint64_t)(VHDX_READ_I_MIB - 1);
    return vhdx_read_i_check_place(v, *at, VHDX_READ_I_MIB, need, "sector bitmap", pos, entry,
                                   entry_at, err);
}

/* The run that begins at media offset pos and ends with its block. Source: VHDX, 2.5.1.1. */
static posio_result vhdx_read_i_map_vhdx(vhdx_read *v, uint64_t pos, uint64_t n,
                                         vhdx_read_i_run *run, posio_error *err)
{
    const uint64_t bs = (uint64_t)1 << v->block_bits, within = pos & (bs - 1);
    const uint64_t block = pos >> v->block_bits, i = block + (block >> v->ratio_bits);
    const uint64_t entry_at = v->bat_offset + i * 8;
    uint64_t entry = 0, data, bits = 0, chunk, from;
    posio_result r = vhdx_read_i_entry(v, i, &entry, err);
    if (r != POSIO_OK) return r;
    run->length = posio_min(n, bs - within);
    run->host = 0;
    switch (entry & 7) {
    case 0: run->kind = v->info.has_parent ? VHDX_READ_I_PARENT : VHDX_READ_I_HOLE; return POSIO_OK;
    case 2: run->kind = VHDX_READ_I_ZERO; return POSIO_OK;
    case 1: /* undefined: zeros are as good as anything */
    case 3:
    case 5: run->kind = VHDX_READ_I_HOLE; return POSIO_OK;
    case 6: break;
    case 7:
        if (v->info.has_parent) break;
        return posio_fail(
            err, POSIO_E_DATA, entry_at,
            "the block for media offset %llu (BAT entry %llx) is in the file in part, "
            "and the image has no parent",
            (unsigned long long)(pos - within), (unsigned long long)entry);
    default:
        return posio_fail(err, POSIO_E_DATA, entry_at,
                          "the block for media offset %llu (BAT entry %llx) has the reserved state "
                          "%u",
                          (unsigned long long)(pos - within), (unsigned long long)entry,
                          (unsigned)(entry & 7));
    }
    data = entry & ~(uint64_t)(VHDX_READ_I_MIB - 1);
    if ((entry & 7) == 7) {
        chunk = block >> v->ratio_bits;
        from = chunk << v->ratio_bits << v->block_bits;
        r = vhdx_read_i_find_bitmap(v, pos - within, chunk, (pos - from) >> v->sector_bits >> 3,
                                    &bits, err);
        if (r == POSIO_OK)
            r = vhdx_read_i_map_sectors(v, pos, run->length, data + within, from, bits, run, err);
        if (r != POSIO_OK || run->kind != VHDX_READ_I_DATA) return r;
    }
    run->kind = VHDX_READ_I_DATA;
    run->host = data + within;
    r = vhdx_read_i_check_place(v, data, bs, within, "block", pos - within, entry, entry_at, err);
    if (r == POSIO_OK) run->length = posio_min(run->length, v->size - run->host);
    return r;
}

/* The same for a VHD. Source: VHD, "Block Allocation Table and Data Blocks". */
static posio_result vhdx_read_i_map_vhd(vhdx_read *v, uint64_t pos, uint64_t n,
                                        vhdx_read_i_run *run, posio_error *err)
{
    const uint64_t bs = (uint64_t)1 << v->block_bits, within = pos & (bs - 1);
    const uint64_t i = pos >> v->block_bits, entry_at = v->bat_offset + i * 4;
    uint64_t entry = 0, bits, need = v->bitmap_size + within;
    posio_result r = vhdx_read_i_entry(v, i, &entry, err);
    if (r != POSIO_OK) return r;
    run->length = posio_min(n, bs - within);
    run->host = 0;
    run->kind = v->info.has_parent ? VHDX_READ_I_PARENT : VHDX_READ_I_HOLE;
    if (entry == 0xffffffff) return POSIO_OK;
    bits = entry * 512;
    if (v->info.has_parent) {
        r = vhdx_read_i_check_place(v, bits, v->bitmap_size + bs, within >> 12, "block",
                                    pos - within, entry, entry_at, err);
        if (r == POSIO_OK)
            r = vhdx_read_i_map_sectors(v, pos, run->length, bits + need, pos - within, bits, run,
                                        err);
        if (r != POSIO_OK || run->kind != VHDX_READ_I_DATA) return r;
    }
    run->kind = VHDX_READ_I_DATA;
    run->host = bits + need;
    r = vhdx_read_i_check_place(v, bits, v->bitmap_size + bs, need, "block", pos - within, entry,
                                entry_at, err);
    if (r == POSIO_OK) run->length = posio_min(run->length, v->size - run->host);
    return r;
}

/* A fixed VHD is the media, and a footer. */
static posio_result vhdx_read_i_map_fixed(const vhdx_read *v, uint64_t pos, uint64_t n,
                                          vhdx_read_i_run *run, posio_error *err)
{
    if (pos >= v->data_end)
        return posio_fail(err, POSIO_E_DATA, pos,
                          "the file is cut: its data end at %llu, and media of %llu bytes were "
                          "expected",
                          (unsigned long long)v->data_end, (unsigned long long)v->info.media_size);
    run->kind = VHDX_READ_I_DATA;
    run->host = pos;
    run->length = posio_min(n, v->data_end - pos);
    return POSIO_OK;
}

/* Where the n bytes of media at offset come from, as far as they come from one place: blocks that
   follow each other in the file are one run. An error behind the first run waits for its turn. */
static posio_result vhdx_read_i_map(vhdx_read *v, uint64_t offset, uint64_t n, vhdx_read_i_run *run,
                                    posio_error *err)
{
    const uint64_t end = offset + n;
    uint64_t pos = offset;
    int i;
    if (v->entry_size == 0) return vhdx_read_i_map_fixed(v, offset, n, run, err);
    run->length = 0;
    for (i = 0; i < VHDX_READ_I_LOOKS && pos < end; i++) {
        vhdx_read_i_run next;
        posio_error *why = i == 0 ? err : NULL;
        posio_result r = v->info.is_vhd ? vhdx_read_i_map_vhd(v, pos, end - pos, &next, why)
                                        : vhdx_read_i_map_vhdx(v, pos, end - pos, &next, why);
        if (r != POSIO_OK && i == 0) return r;
        if (r != POSIO_OK) break;
        pos += next.length;
        if (i == 0) *run = next;
        else if (next.kind == run->kind &&
                 (run->kind != VHDX_READ_I_DATA || next.host == run->host + run->length))
            run->length += next.length;
        else break;
    }
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- reading

static posio_result vhdx_read_i_read_parent(const vhdx_read *v, uint64_t offset, unsigned char *out,
                                            size_t n, posio_error *err)
{
    size_t have = 0;
    posio_result r = POSIO_OK;
    if (v->parent.read_at != NULL && offset < v->parent.size)
        have = (size_t)posio_min(n, v->parent.size - offset);
    if (have != 0) r = posio_read(&v->parent, offset, out, have, err);
    if (r == POSIO_OK) memset(out + have, 0, n - have);
    return r;
}

/* Front to back, on this thread. */
static posio_result vhdx_read_i_read_span(vhdx_read *v, uint64_t offset, unsigned char *out,
                                          size_t n, posio_error *err)
{
    posio_result r = POSIO_OK;
    while (n != 0 && r == POSIO_OK) {
        vhdx_read_i_run run;
        size_t take;
        r = vhdx_read_i_map(v, offset, n, &run, err);
        if (r != POSIO_OK) break;
        take = (size_t)posio_min(n, run.length);
        switch (run.kind) {
        case VHDX_READ_I_DATA: r = vhdx_read_i_pread(v, run.host, out, take, err); break;
        case VHDX_READ_I_PARENT: r = vhdx_read_i_read_parent(v, offset, out, take, err); break;
        default: memset(out, 0, take);
        }
        offset += take;
        out += take;
        n -= take;
    }
    return r;
}

/* A large read, in parts. */
typedef struct vhdx_read_i_bulk {
    vhdx_read *image;
    unsigned char *out;
    uint64_t offset, end, first; /* bytes of media; where the first part would begin */
} vhdx_read_i_bulk;

static posio_result vhdx_read_i_bulk_part(void *user, uint32_t i, posio_error *err)
{
    const vhdx_read_i_bulk *b = (const vhdx_read_i_bulk *)user;
    uint64_t from = b->first + (uint64_t)i * VHDX_READ_I_PART;
    uint64_t to = posio_min(from + VHDX_READ_I_PART, b->end);
    if (from < b->offset) from = b->offset;
    return vhdx_read_i_read_span(b->image, from, b->out + (size_t)(from - b->offset),
                                 (size_t)(to - from), err);
}

static posio_result vhdx_read_i_read_bulk(vhdx_read *v, uint64_t offset, unsigned char *out,
                                          size_t n, posio_error *err)
{
    const uint64_t most = (uint64_t)1 << 20; /* parts in one go */
    vhdx_read_i_bulk b;
    posio_result r = POSIO_OK;
    b.image = v;
    while (n != 0 && r == POSIO_OK) {
        b.first = offset & ~(uint64_t)(VHDX_READ_I_PART - 1);
        b.offset = offset;
        b.out = out;
        b.end = posio_min(offset + n, b.first + most * VHDX_READ_I_PART);
        r = thread_pool_parallel_for(
            v->desc.pool, (uint32_t)((b.end - b.first + VHDX_READ_I_PART - 1) / VHDX_READ_I_PART),
            vhdx_read_i_bulk_part, &b, err);
        out += b.end - offset;
        n -= (size_t)(b.end - offset);
        offset = b.end;
    }
    return r;
}

/* The innermost file has been named, or it is the image itself. */
static posio_result vhdx_read_i_named(const vhdx_read *v, posio_result r, posio_error *err)
{
    if (r != POSIO_OK && v->desc.name != NULL) (void)posio_fail_in(err, v->desc.name, 0);
    return r;
}

VHDX_READ_API posio_result vhdx_read_at(vhdx_read *image, uint64_t offset, void *buf, size_t n,
                                        posio_error *err)
{
    unsigned char *out = (unsigned char *)buf;
    posio_result r;
    if (!posio_within(offset, n, image->info.media_size))
        return posio_fail(err, POSIO_E_RANGE, offset,
                          "%llu bytes at %llu reach beyond the media of %llu bytes",
                          (unsigned long long)n, (unsigned long long)offset,
                          (unsigned long long)image->info.media_size);
    if (image->desc.pool != NULL && n >= 2 * VHDX_READ_I_PART)
        r = vhdx_read_i_read_bulk(image, offset, out, n, err);
    else r = vhdx_read_i_read_span(image, offset, out, n, err);
    return vhdx_read_i_named(image, r, err);
}

static posio_result vhdx_read_i_source_read(void *self, uint64_t offset, void *buf, size_t n,
                                            posio_error *err)
{
    return vhdx_read_at((vhdx_read *)self, offset, buf, n, err);
}

// ---------------------------------------------------------------------------------- extents

/* Does the kind of a run depend on the extents of the source below? */
static int vhdx_read_i_asks_below(const vhdx_read *v, uint64_t offset, const vhdx_read_i_run *run)
{
    if (run->kind == VHDX_READ_I_DATA) return v->file.extent_at != NULL;
    return run->kind == VHDX_READ_I_PARENT && v->parent.extent_at != NULL &&
           offset < v->parent.size;
}

/* What the file (0) or the parent (1) says of the bytes at `at`. */
static posio_result vhdx_read_i_ask_below(vhdx_read *v, int which, uint64_t at, posio_extent *out,
                                          posio_error *err)
{
    const posio_source *source = which == 0 ? &v->file : &v->parent;
    int is_known;
    posio_result r;
    thread_pool_lock(&v->lock);
    is_known = posio_known_find(&v->known[which], source, at, out);
    thread_pool_unlock(&v->lock);
    if (is_known) return POSIO_OK;
    r = posio_extent_of(source, at, out, err);
    if (r != POSIO_OK) return r;
    thread_pool_lock(&v->lock);
    posio_known_keep(&v->known[which], source, at, out);
    thread_pool_unlock(&v->lock);
    return POSIO_OK;
}

/* What is known of data: the file may have a hole there (fixed disks are often made so), or the log
   a part of it. */
static posio_result vhdx_read_i_extent_of_data(vhdx_read *v, uint64_t host, posio_extent *out,
                                               posio_error *err)
{
    const uint64_t i = vhdx_read_i_find_patch(v, host), n = out->length;
    const vhdx_read_i_patch *p = i < v->patch_count ? &v->patches[i] : NULL;
    posio_extent e;
    posio_result r;
    out->kind = POSIO_EXTENT_DATA;
    if (p != NULL && p->from <= host) {
        if (p->data == 0) out->kind = POSIO_EXTENT_ZERO;
        out->length = posio_min(n, p->to - host);
        return POSIO_OK;
    }
    if (p != NULL) out->length = posio_min(n, p->from - host);
    if (host >= v->file.size) {
        out->kind = POSIO_EXTENT_HOLE;
        return POSIO_OK;
    }
    r = vhdx_read_i_ask_below(v, 0, host, &e, err);
    if (r != POSIO_OK) return r;
    out->kind = e.kind;
    out->length = posio_min(posio_min(out->length, e.length), v->file.size - host);
    return POSIO_OK;
}

/* The kind of a run, and perhaps less of it: sources below know holes of their own. */
static posio_result vhdx_read_i_extent_of_run(vhdx_read *v, uint64_t offset,
                                              const vhdx_read_i_run *run, posio_extent *out,
                                              posio_error *err)
{
    posio_result r;
    out->length = run->length;
    out->reserved = 0;
    out->kind =
        run->kind == VHDX_READ_I_ZERO ? (uint32_t)POSIO_EXTENT_ZERO : (uint32_t)POSIO_EXTENT_HOLE;
    if (run->kind == VHDX_READ_I_DATA) return vhdx_read_i_extent_of_data(v, run->host, out, err);
    if (run->kind != VHDX_READ_I_PARENT || v->parent.read_at == NULL || offset >= v->parent.size)
        return POSIO_OK;
    r = vhdx_read_i_ask_below(v, 1, offset, out, err);
    if (r == POSIO_OK) out->length = posio_min(run->length, out->length);
    return r;
}

/* Runs of one kind are put together as long as a few look-ups go. The source below is asked once:
   to look ahead there too would double the work with each layer of a chain. */
static posio_result vhdx_read_i_source_extent(void *self, uint64_t offset, posio_extent *out,
                                              posio_error *err)
{
    vhdx_read *v = (vhdx_read *)self;
    const uint64_t end = v->info.media_size;
    uint64_t pos = offset;
    int i;
    if (offset >= end)
        return posio_fail(err, POSIO_E_RANGE, offset, "no extent beyond the end of the media");
    for (i = 0; i < VHDX_READ_I_BATCH && pos < end; i++) {
        vhdx_read_i_run run;
        posio_extent e;
        posio_error *why = i == 0 ? err : NULL;
        posio_result r = vhdx_read_i_map(v, pos, end - pos, &run, why);
        if (r == POSIO_OK && i != 0 && vhdx_read_i_asks_below(v, pos, &run)) break;
        if (r == POSIO_OK) r = vhdx_read_i_extent_of_run(v, pos, &run, &e, why);
        if (r != POSIO_OK && i == 0) return vhdx_read_i_named(v, r, err);
        if (r != POSIO_OK || (i != 0 && e.kind != out->kind)) break;
        out->kind = e.kind;
        out->reserved = 0;
        pos += e.length;
    }
    out->length = pos - offset;
    return POSIO_OK;
}

VHDX_READ_API posio_source vhdx_read_source(vhdx_read *image)
{
    posio_source s;
    memset(&s, 0, sizeof s);
    s.size = image->info.media_size;
    s.unit = image->unit;
    s.read_at = vhdx_read_i_source_read;
    s.extent_at = vhdx_read_i_source_extent;
    s.self = image;
    return s;
}

// ---------------------------------------------------------------------------------- GUIDs, sums

/* A GUID as text. That of a VHD is not a Windows structure: its bytes stand in their order. */
static void vhdx_read_i_put_guid(const unsigned char *g, int is_vhd, char out[40])
{
    static const unsigned char mixed[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    size_t i;
    for (i = 0; i < 16; i++) {
        const unsigned char b = g[is_vhd ? i : mixed[i]];
        if (i == 4 || i == 6 || i == 8 || i == 10) *out++ = '-';
        *out++ = "0123456789abcdef"[b >> 4];
        *out++ = "0123456789abcdef"[b & 15];
    }
    *out = 0;
}

/* Text of a GUID as ours are: in lower case, without braces. What is longer is no GUID. */
static void vhdx_read_i_normal_guid(const char *text, char out[40])
{
    size_t n = 0;
    for (; *text != 0; text++) {
        char c = *text;
        if (c == '{' || c == '}') continue;
        if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
        if (n == 39) {
            n = 0;
            break;
        }
        out[n++] = c;
    }
    out[n] = 0;
}

static int vhdx_read_i_is_zero(const unsigned char *p, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++)
        if (p[i] != 0) return 0;
    return 1;
}

/* The CRC-32C of a structure that has it at byte 4, where zeros are summed. */
static int vhdx_read_i_crc_is_right(const unsigned char *p, size_t n)
{
    static const unsigned char zeros[4] = {0, 0, 0, 0};
    uint32_t crc = digest_crc32c(0, p, 4);
    crc = digest_crc32c(crc, zeros, 4);
    return digest_crc32c(crc, p + 8, n - 8) == posio_le32(p + 4);
}

/* The checksum of a VHD structure, which lies at `field`: the complement of the sum of all other
   bytes. Source: VHD, "Hard Disk Footer Format", Checksum. */
static int vhdx_read_i_sum_is_right(const unsigned char *p, size_t n, size_t field)
{
    uint32_t sum = 0;
    size_t i;
    for (i = 0; i < n; i++)
        if (i < field || i >= field + 4) sum += p[i];
    return ~sum == posio_be32(p + field);
}

// ---------------------------------------------------------------------------------- VHDX: headers

/* *fault: NULL, or what is wrong with the header; b has it if not. */
static posio_result vhdx_read_i_read_header(const vhdx_read *v, int which, unsigned char *b,
                                            const char **fault, posio_error *err)
{
    const uint64_t at = (uint64_t)(which + 1) << 16;
    posio_result r;
    *fault = "lies beyond the end of the file";
    if (!posio_within(at, VHDX_READ_I_HEADER, v->file.size)) return POSIO_OK;
    r = posio_read(&v->file, at, b, VHDX_READ_I_HEADER, err);
    if (r != POSIO_OK) return r;
    *fault = NULL;
    if (memcmp(b, "head", 4) != 0) *fault = "does not begin with \"head\"";
    else if (!vhdx_read_i_crc_is_right(b, VHDX_READ_I_HEADER)) *fault = "has a wrong checksum";
    return POSIO_OK;
}

/* The current header: the valid one of the higher sequence number. Source: VHDX, 2.2.2. */
static posio_result vhdx_read_i_choose_header(vhdx_read *v, unsigned char *b, uint64_t *at,
                                              posio_error *err)
{
    unsigned char *both[2];
    const char *fault[2];
    int i, k = 0;
    posio_result r = POSIO_OK;
    both[0] = b;
    both[1] = b + VHDX_READ_I_HEADER;
    for (i = 0; i < 2 && r == POSIO_OK; i++)
        r = vhdx_read_i_read_header(v, i, both[i], &fault[i], err);
    if (r != POSIO_OK) return r;
    if (fault[0] != NULL && fault[1] != NULL)
        return posio_fail(err, POSIO_E_DATA, 1 << 16,
                          "no header is valid: the first %s, the second %s", fault[0], fault[1]);
    if (fault[0] != NULL || fault[1] != NULL) {
        k = fault[0] != NULL;
        vhdx_read_i_warn(v, (uint64_t)(2 - k) << 16, "the %s header %s; the other one is read",
                         k ? "first" : "second", fault[1 - k]);
    } else {
        const uint64_t first = posio_le64(both[0] + 8), second = posio_le64(both[1] + 8);
        if (first == second && memcmp(both[0], both[1], VHDX_READ_I_HEADER) != 0)
            return posio_fail(err, POSIO_E_DATA, 1 << 16,
                              "no header is current: both have the sequence number %llu, and they "
                              "differ",
                              (unsigned long long)first);
        k = second > first;
    }
    if (k) memcpy(both[0], both[1], VHDX_READ_I_HEADER);
    *at = (uint64_t)(k + 1) << 16;
    v->info.header = (uint32_t)k + 1;
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- VHDX: the log

/* A valid entry of the log, and what follows it. */
typedef struct vhdx_read_i_log_entry {
    uint64_t sequence, flushed, last;
    uint32_t at, length, tail; /* bytes of the ring */
    uint32_t next;             /* the entry behind it with the next sequence number, or NONE */
    uint32_t head;             /* the last one that is reached so */
} vhdx_read_i_log_entry;

typedef struct vhdx_read_i_log {
    vhdx_read *image;
    uint64_t offset; /* of the ring in the file, and its bytes */
    uint32_t length;
    const unsigned char *guid;
    unsigned char *buffer;          /* VHDX_READ_I_PAGE bytes */
    vhdx_read_i_log_entry *entries; /* in the order of their places */
    uint64_t count, room;
    vhdx_read_i_patch *changes; /* in the order in which they are made */
    uint64_t change_count, change_room;
} vhdx_read_i_log;

#define VHDX_READ_I_NONE UINT32_MAX

/* n bytes of the ring from `at` on. POSIO_E_RANGE where the file is cut. */
static posio_result vhdx_read_i_read_ring(const vhdx_read_i_log *l, uint64_t at, unsigned char *out,
                                          size_t n, posio_error *err)
{
    const posio_source *file = &l->image->file;
    size_t first;
    posio_result r;
    at %= l->length;
    first = (size_t)posio_min(n, l->length - at);
    r = posio_read(file, l->offset + at, out, first, err);
    if (r == POSIO_OK && first < n) r = posio_read(file, l->offset, out + first, n - first, err);
    return r;
}

/* Sectors that the header and `count` descriptors take. */
static uint64_t vhdx_read_i_descriptor_sectors(uint32_t count)
{
    return (64 + (uint64_t)count * 32 + VHDX_READ_I_SECTOR - 1) / VHDX_READ_I_SECTOR;
}

/* Is this a descriptor of the entry with this sequence number? *is_data: of a sector. */
static int vhdx_read_i_is_descriptor(const unsigned char *d, uint64_t sequence, int *is_data)
{
    const uint64_t at = posio_le64(d + 16), n = posio_le64(d + 8);
    *is_data = memcmp(d, "desc", 4) == 0;
    if (posio_le64(d + 24) != sequence || at % VHDX_READ_I_SECTOR != 0 || at > INT64_MAX / 2)
        return 0;
    if (*is_data) return 1;
    return memcmp(d, "zero", 4) == 0 && n % VHDX_READ_I_SECTOR == 0 && n <= INT64_MAX / 2;
}

/* An entry while it is checked: sector after sector, so that it may be as long as the ring. */
typedef struct vhdx_read_i_log_walk {
    uint64_t sequence;
    uint64_t sectors;     /* of the entry */
    uint64_t descriptors; /* sectors of them */
    uint64_t data;        /* sectors that the descriptors seen so far need */
    uint32_t left;        /* descriptors not seen yet */
} vhdx_read_i_log_walk;

/* Is sector k of the entry what it must be? Every sector but padding tells by its first bytes what
   it is, so that claims of one entry upon another's sectors end at once: the cost of checking all
   places of a log is bounded by its length. */
static int vhdx_read_i_check_sector(vhdx_read_i_log_walk *w, uint64_t k, const unsigned char *b)
{
    size_t at = k == 0 ? 64 : 0;
    int is_data;
    if (k < w->descriptors) {
        for (; at < VHDX_READ_I_SECTOR && w->left != 0; at += 32, w->left--) {
            if (!vhdx_read_i_is_descriptor(b + at, w->sequence, &is_data)) return 0;
            w->data += (uint64_t)is_data;
        }
        return w->descriptors + w->data <= w->sectors;
    }
    if (k < w->descriptors + w->data)
        return memcmp(b, "data", 4) == 0 && posio_le32(b + 4) == (uint32_t)(w->sequence >> 32) &&
               posio_le32(b + VHDX_READ_I_SECTOR - 4) == (uint32_t)w->sequence;
    return k < w->descriptors + w->data + VHDX_READ_I_PADDING;
}

/* The fields of an entry's header, which b begins with. Source: VHDX, 2.3.1.1. */
static int vhdx_read_i_take_log_header(const vhdx_read_i_log *l, const unsigned char *b,
                                       vhdx_read_i_log_entry *e, vhdx_read_i_log_walk *w)
{
    memset(e, 0, sizeof *e);
    memset(w, 0, sizeof *w);
    if (memcmp(b, "loge", 4) != 0 || memcmp(b + 32, l->guid, 16) != 0) return 0;
    e->length = posio_le32(b + 8);
    e->tail = posio_le32(b + 12);
    e->sequence = posio_le64(b + 16);
    e->flushed = posio_le64(b + 48);
    e->last = posio_le64(b + 56);
    w->sequence = e->sequence;
    w->sectors = e->length / VHDX_READ_I_SECTOR;
    w->left = posio_le32(b + 24);
    w->descriptors = vhdx_read_i_descriptor_sectors(w->left);
    return e->sequence != 0 && e->length != 0 && e->length % VHDX_READ_I_SECTOR == 0 &&
           e->length <= l->length && e->tail % VHDX_READ_I_SECTOR == 0 && e->tail < l->length &&
           w->descriptors <= w->sectors;
}

/* Is there a valid entry at `at`? */
static posio_result vhdx_read_i_check_entry(const vhdx_read_i_log *l, uint32_t at,
                                            vhdx_read_i_log_entry *e, int *is_valid,
                                            posio_error *err)
{
    vhdx_read_i_log_walk w;
    uint64_t k, i, n = 1;
    uint32_t crc = 0, stored = 0;
    *is_valid = 0;
    memset(&w, 0, sizeof w);
    for (k = 0; k == 0 || k < w.sectors; k += n) {
        posio_result r;
        if (k != 0) /* few at first: most of what is no entry shows so at once */
            n = posio_min(posio_min(k, (uint32_t)VHDX_READ_I_PAGE / VHDX_READ_I_SECTOR),
                          w.sectors - k);
        r = vhdx_read_i_read_ring(l, at + k * VHDX_READ_I_SECTOR, l->buffer,
                                  (size_t)n * VHDX_READ_I_SECTOR, err);
        if (r == POSIO_E_RANGE) return POSIO_OK;
        if (r != POSIO_OK) return r;
        if (k == 0) {
            if (!vhdx_read_i_take_log_header(l, l->buffer, e, &w)) return POSIO_OK;
            stored = posio_le32(l->buffer + 4);
            memset(l->buffer + 4, 0, 4);
        }
        for (i = 0; i < n; i++)
            if (!vhdx_read_i_check_sector(&w, k + i, l->buffer + i * VHDX_READ_I_SECTOR))
                return POSIO_OK;
        crc = digest_crc32c(crc, l->buffer, (size_t)n * VHDX_READ_I_SECTOR);
    }
    e->at = at;
    *is_valid = crc == stored;
    return POSIO_OK;
}

/* Does the file have nothing but a hole in the n bytes at `at`? */
static int vhdx_read_i_is_hole(const posio_source *file, uint64_t at, uint64_t n)
{
    posio_extent e;
    return file->extent_at != NULL && at < file->size &&
           posio_extent_of(file, at, &e, NULL) == POSIO_OK && e.kind != POSIO_EXTENT_DATA &&
           e.kind != POSIO_EXTENT_COMPRESSED && e.length >= n;
}

/* Finds the valid entries: at every sector of the ring one may begin. */
static posio_result vhdx_read_i_scan_log(vhdx_read_i_log *l, posio_error *err)
{
    uint32_t at, k;
    for (at = 0; at < l->length; at += VHDX_READ_I_PAGE) {
        const posio_source *file = &l->image->file;
        uint32_t begins = 0, bit; /* where entries may begin: the buffer is used to check them */
        uint32_t n = (uint32_t)posio_min(VHDX_READ_I_PAGE, l->length - at);
        void *list;
        posio_result r;
        if (l->offset + at >= file->size) break;
        if (vhdx_read_i_is_hole(file, l->offset + at, n)) continue;
        n = (uint32_t)posio_min(n, file->size - l->offset - at);
        r = vhdx_read_i_read_ring(l, at, l->buffer, n, err);
        if (r != POSIO_OK) return r;
        for (k = 0, bit = 1; k + VHDX_READ_I_SECTOR <= n; k += VHDX_READ_I_SECTOR, bit <<= 1)
            if (memcmp(l->buffer + k, "loge", 4) == 0) begins |= bit;
        for (k = 0; begins != 0; k += VHDX_READ_I_SECTOR, begins >>= 1) {
            vhdx_read_i_log_entry e;
            int is_valid;
            if ((begins & 1) == 0) continue;
            r = vhdx_read_i_check_entry(l, at + k, &e, &is_valid, err);
            if (r != POSIO_OK) return r;
            if (!is_valid) continue;
            if (l->count == VHDX_READ_I_CHANGES)
                return posio_fail(err, POSIO_E_LIMIT, l->offset + at + k,
                                  "the log has more than %u entries",
                                  (unsigned)VHDX_READ_I_CHANGES);
            list = l->entries;
            if (!posio_grow(&l->image->desc.alloc, &list, l->count, &l->room, sizeof e))
                return vhdx_read_i_no_memory(err);
            l->entries = (vhdx_read_i_log_entry *)list;
            l->entries[l->count++] = e;
        }
    }
    return POSIO_OK;
}

/* The valid entry at `at` of the ring, or NONE. */
static uint32_t vhdx_read_i_find_entry(const vhdx_read_i_log *l, uint32_t at)
{
    uint64_t lo = 0, hi = l->count;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (l->entries[mid].at < at) lo = mid + 1;
        else hi = mid;
    }
    return lo < l->count && l->entries[lo].at == at ? (uint32_t)lo : VHDX_READ_I_NONE;
}

/* Chains the entries, and finds the last one of the active sequence; NONE if there is none. This is
   what the steps of VHDX, 2.3.3, come to, in one pass: from wherever a sequence is begun, it goes
   on to the same last entry; so it is complete if that entry's tail leads to it. */
static uint32_t vhdx_read_i_find_active(const vhdx_read_i_log *l)
{
    uint32_t i, k, best = VHDX_READ_I_NONE;
    for (i = 0; i < l->count; i++) {
        vhdx_read_i_log_entry *e = &l->entries[i];
        const uint64_t behind = (uint64_t)e->at + e->length;
        e->head = VHDX_READ_I_NONE;
        e->next = vhdx_read_i_find_entry(l, (uint32_t)(behind % l->length));
        if (e->next != VHDX_READ_I_NONE &&
            (e->sequence == UINT64_MAX || l->entries[e->next].sequence != e->sequence + 1))
            e->next = VHDX_READ_I_NONE;
    }
    for (i = 0; i < l->count; i++) { /* each entry is passed twice at most */
        uint32_t head = i;
        while (l->entries[head].head == VHDX_READ_I_NONE &&
               l->entries[head].next != VHDX_READ_I_NONE)
            head = l->entries[head].next;
        if (l->entries[head].head != VHDX_READ_I_NONE) head = l->entries[head].head;
        for (k = i; k != VHDX_READ_I_NONE && l->entries[k].head == VHDX_READ_I_NONE;
             k = l->entries[k].next)
            l->entries[k].head = head;
    }
    for (i = 0; i < l->count; i++) {
        const vhdx_read_i_log_entry *e = &l->entries[i];
        uint32_t tail =
            e->next == VHDX_READ_I_NONE ? vhdx_read_i_find_entry(l, e->tail) : VHDX_READ_I_NONE;
        if (tail == VHDX_READ_I_NONE || l->entries[tail].head != i) continue;
        if (best == VHDX_READ_I_NONE || e->sequence > l->entries[best].sequence) best = i;
    }
    return best;
}

static posio_result vhdx_read_i_add_change(vhdx_read_i_log *l, const vhdx_read_i_patch *p,
                                           posio_error *err)
{
    void *list = l->changes;
    if (p->from == p->to) return POSIO_OK;
    if (l->change_count == VHDX_READ_I_CHANGES)
        return posio_fail(err, POSIO_E_LIMIT, l->offset, "the log makes more than %u changes",
                          (unsigned)VHDX_READ_I_CHANGES);
    if (!posio_grow(&l->image->desc.alloc, &list, l->change_count, &l->change_room, sizeof *p))
        return vhdx_read_i_no_memory(err);
    l->changes = (vhdx_read_i_patch *)list;
    l->changes[l->change_count++] = *p;
    return POSIO_OK;
}

/* What an entry changes. Source: VHDX, 2.3.1.2, 2.3.1.3. */
static posio_result vhdx_read_i_replay_entry(vhdx_read_i_log *l, const vhdx_read_i_log_entry *e,
                                             posio_error *err)
{
    vhdx_read_i_log_entry again;
    vhdx_read_i_log_walk w;
    uint64_t k;
    size_t at = 64;
    posio_result r = vhdx_read_i_read_ring(l, e->at, l->buffer, VHDX_READ_I_SECTOR, err);
    if (r != POSIO_OK) return r;
    if (!vhdx_read_i_take_log_header(l, l->buffer, &again, &w) || again.sequence != e->sequence)
        return posio_fail(err, POSIO_E_DATA, l->offset + e->at,
                          "the log was changed while it was read");
    for (k = 0; r == POSIO_OK && w.left != 0; k++, at = 0) {
        if (k != 0)
            r = vhdx_read_i_read_ring(l, e->at + k * VHDX_READ_I_SECTOR, l->buffer,
                                      VHDX_READ_I_SECTOR, err);
        for (; r == POSIO_OK && at < VHDX_READ_I_SECTOR && w.left != 0; at += 32, w.left--) {
            const unsigned char *d = l->buffer + at;
            vhdx_read_i_patch p;
            int is_data;
            if (!vhdx_read_i_is_descriptor(d, w.sequence, &is_data))
                return posio_fail(err, POSIO_E_DATA, l->offset + e->at,
                                  "the log was changed while it was read");
            memset(&p, 0, sizeof p);
            p.from = posio_le64(d + 16);
            p.to = p.from + (is_data ? (uint64_t)VHDX_READ_I_SECTOR : posio_le64(d + 8));
            if (is_data) {
                memcpy(p.edges, d + 8, 8);
                memcpy(p.edges + 8, d + 4, 4);
                p.data = l->offset +
                         (e->at + (w.descriptors + w.data++) * VHDX_READ_I_SECTOR) % l->length;
            }
            r = vhdx_read_i_add_change(l, &p, err);
        }
    }
    return r;
}

/* Heap sort: no recursion, no memory, and no bad case. */
static void vhdx_read_i_sift(uint64_t *a, uint64_t root, uint64_t n)
{
    const uint64_t value = a[root];
    for (;;) {
        uint64_t child = root * 2 + 1;
        if (child >= n) break;
        if (child + 1 < n && a[child + 1] > a[child]) child++;
        if (a[child] <= value) break;
        a[root] = a[child];
        root = child;
    }
    a[root] = value;
}
static void vhdx_read_i_sort(uint64_t *a, uint64_t n)
{
    uint64_t i;
    for (i = n / 2; i-- > 0;) vhdx_read_i_sift(a, i, n);
    for (i = n; i-- > 1;) {
        const uint64_t top = a[0];
        a[0] = a[i];
        a[i] = top;
        vhdx_read_i_sift(a, 0, i);
    }
}

/* The first of the borders that is not below x, which is one of them. */
static uint64_t vhdx_read_i_border(const uint64_t *borders, uint64_t n, uint64_t x)
{
    uint64_t lo = 0, hi = n;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (borders[mid] < x) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* The next piece, from k on, that has no owner yet: `skip` leads there, and is shortened. */
static uint64_t vhdx_read_i_next_free(uint32_t *skip, uint64_t k)
{
    uint64_t end = k, next;
    while (skip[end] != end) end = skip[end];
    for (; skip[k] != end; k = next) {
        next = skip[k];
        skip[k] = (uint32_t)end;
    }
    return end;
}

/* Turns the changes into patches: the file is cut at all their borders, the pieces are given to the
   changes from the last one to the first, and those that one change gets in a row are put together.
   `borders`, `owner` and `skip` have room for two elements for each change, and one more. */
static void vhdx_read_i_flatten(vhdx_read_i_log *l, vhdx_read_i_patch *out, uint64_t *borders,
                                uint32_t *owner, uint32_t *skip)
{
    vhdx_read *v = l->image;
    uint64_t i, k, n = 0, end = 0;
    for (i = 0; i < l->change_count; i++) {
        borders[n++] = l->changes[i].from;
        borders[n++] = l->changes[i].to;
    }
    vhdx_read_i_sort(borders, n);
    for (i = 0; i <= n; i++) {
        skip[i] = (uint32_t)i;
        owner[i] = VHDX_READ_I_NONE;
    }
    for (i = l->change_count; i-- > 0;) {
        const vhdx_read_i_patch *p = &l->changes[i];
        k = vhdx_read_i_next_free(skip, vhdx_read_i_border(borders, n, p->from));
        for (; k < n && borders[k] < p->to; k = vhdx_read_i_next_free(skip, k)) {
            owner[k] = (uint32_t)i;
            skip[k] = (uint32_t)k + 1;
        }
    }
    for (k = 0; k + 1 < n; k++) {
        if (owner[k] == VHDX_READ_I_NONE || borders[k] == borders[k + 1]) continue;
        if (v->patch_count != 0 && end == borders[k] &&
            owner[k] == out[v->patch_count - 1].reserved)
            v->patch_count--;
        else {
            out[v->patch_count] = l->changes[owner[k]];
            out[v->patch_count].from = borders[k];
            out[v->patch_count].reserved = owner[k];
        }
        end = out[v->patch_count++].to = borders[k + 1];
    }
    for (k = 0; k < v->patch_count; k++) v->info.log_bytes += out[k].to - out[k].from;
    if (end > v->size) v->size = end;
    v->patches = out;
}

static posio_result vhdx_read_i_take_changes(vhdx_read_i_log *l, posio_error *err)
{
    vhdx_read *v = l->image;
    const posio_alloc *a = &v->desc.alloc;
    const size_t n = (size_t)l->change_count * 2 + 1;
    uint64_t *borders;
    uint32_t *words;
    vhdx_read_i_patch *out;
    if (l->change_count == 0) return POSIO_OK;
    out = (vhdx_read_i_patch *)posio_allocate(a, n * sizeof *out);
    borders = (uint64_t *)posio_allocate(a, n * sizeof *borders);
    words = (uint32_t *)posio_allocate(a, n * 2 * sizeof *words);
    if (out != NULL && borders != NULL && words != NULL) {
        vhdx_read_i_flatten(l, out, borders, words, words + n);
        out = NULL;
    }
    posio_release(a, borders);
    posio_release(a, words);
    if (v->patch_count != 0) return POSIO_OK;
    posio_release(a, out);
    return vhdx_read_i_no_memory(err);
}

/* Replays the active sequence in memory. Source: VHDX, 2.3.3. */
static posio_result vhdx_read_i_replay(vhdx_read_i_log *l, posio_error *err)
{
    vhdx_read *v = l->image;
    uint32_t last, i;
    posio_result r = vhdx_read_i_scan_log(l, err);
    if (r != POSIO_OK) return r;
    last = vhdx_read_i_find_active(l);
    if (last == VHDX_READ_I_NONE)
        return posio_fail(err, POSIO_E_DATA, l->offset,
                          "the log is in use and has no complete sequence of entries (%u of them "
                          "are valid); VHDX_READ_NO_LOG reads the file without it",
                          (unsigned)l->count);
    if (v->file.size < l->entries[last].flushed)
        return posio_fail(
            err, POSIO_E_DATA, l->offset + l->entries[last].at,
            "the file is cut: it has %llu bytes, and had %llu when its log was written "
            "(VHDX_READ_NO_LOG reads it without its log)",
            (unsigned long long)v->file.size, (unsigned long long)l->entries[last].flushed);
    i = vhdx_read_i_find_entry(l, l->entries[last].tail);
    for (; r == POSIO_OK; i = l->entries[i].next) {
        r = vhdx_read_i_replay_entry(l, &l->entries[i], err);
        v->info.log_entries_replayed++;
        if (i == last) break;
    }
    if (r != POSIO_OK) return r;
    if (l->entries[last].last > v->size && l->entries[last].last <= INT64_MAX)
        v->size = l->entries[last].last;
    r = vhdx_read_i_take_changes(l, err);
    if (r == POSIO_OK && v->patch_count != 0)
        vhdx_read_i_warn(v, l->offset,
                         "the image was not closed: %llu entries of its log are replayed in memory",
                         (unsigned long long)v->info.log_entries_replayed);
    return r;
}

/* The log that the current header, b, names. Source: VHDX, 2.2.2. */
static posio_result vhdx_read_i_take_log(vhdx_read *v, const unsigned char *b, uint64_t field,
                                         posio_error *err)
{
    const int in_use = !vhdx_read_i_is_zero(b + 48, 16);
    vhdx_read_i_log l;
    const char *fault = NULL;
    posio_result r;
    memset(&l, 0, sizeof l);
    l.image = v;
    l.guid = b + 48;
    l.length = posio_le32(b + 68);
    l.offset = posio_le64(b + 72);
    if (l.length == 0 || l.length % VHDX_READ_I_MIB != 0) fault = "is not a number of MiB long";
    else if (l.offset % VHDX_READ_I_MIB != 0) fault = "does not begin at a MiB";
    else if (l.offset < VHDX_READ_I_MIB) fault = "lies in the header section";
    else if (l.offset > (uint64_t)INT64_MAX - l.length) fault = "lies beyond the end of the file";
    if (in_use && (v->desc.flags & VHDX_READ_NO_LOG))
        vhdx_read_i_warn(v, field + 48, "the log is in use, and is not looked at");
    else if (in_use && posio_le16(b + 64) != 0)
        return posio_fail(err, POSIO_E_UNSUPPORTED, field + 64,
                          "log version %u is not supported; version 0 is",
                          (unsigned)posio_le16(b + 64));
    else if (in_use && fault != NULL)
        return posio_fail(err, POSIO_E_DATA, field + 68, "the log (%u bytes at %llu) %s",
                          (unsigned)l.length, (unsigned long long)l.offset, fault);
    else if (fault != NULL && (l.length != 0 || l.offset != 0))
        vhdx_read_i_warn(v, field + 68, "the log, which is not in use (%u bytes at %llu), %s",
                         (unsigned)l.length, (unsigned long long)l.offset, fault);
    if (fault == NULL) vhdx_read_i_add_region(v, l.offset, l.length, "log");
    if (!in_use || (v->desc.flags & VHDX_READ_NO_LOG)) return POSIO_OK;
    l.buffer = (unsigned char *)posio_allocate(&v->desc.alloc, VHDX_READ_I_PAGE);
    r = l.buffer != NULL ? vhdx_read_i_replay(&l, err) : vhdx_read_i_no_memory(err);
    posio_release(&v->desc.alloc, l.buffer);
    posio_release(&v->desc.alloc, l.entries);
    posio_release(&v->desc.alloc, l.changes);
    return r;
}

// ---------------------------------------------------------------------------------- VHDX: regions

/* n bytes of a structure at `at`, which must be there. */
static posio_result vhdx_read_i_structure(const vhdx_read *v, const char *what, uint64_t at,
                                          void *buf, size_t n, posio_error *err)
{
    if (!posio_within(at, n, v->size))
        return posio_fail(err, POSIO_E_DATA, at,
                          "the %s (%llu bytes at %llu) lies beyond the end of the file, at %llu",
                          what, (unsigned long long)n, (unsigned long long)at,
                          (unsigned long long)v->size);
    return vhdx_read_i_pread(v, at, buf, n, err);
}

/* Copy `which` of the region table. */
static posio_result vhdx_read_i_read_regions(const vhdx_read *v, int which, unsigned char *b,
                                             const char **fault, posio_error *err)
{
    const uint64_t at = (uint64_t)(which + 3) << 16;
    posio_result r;
    *fault = "lies beyond the end of the file";
    if (!posio_within(at, VHDX_READ_I_REGION_TABLE, v->size)) return POSIO_OK;
    r = vhdx_read_i_pread(v, at, b, VHDX_READ_I_REGION_TABLE, err);
    if (r != POSIO_OK) return r;
    *fault = NULL;
    if (memcmp(b, "regi", 4) != 0) *fault = "does not begin with \"regi\"";
    else if (!vhdx_read_i_crc_is_right(b, VHDX_READ_I_REGION_TABLE))
        *fault = "has a wrong checksum";
    else if (posio_le32(b + 8) > VHDX_READ_I_ENTRIES) *fault = "claims more than 2047 entries";
    return POSIO_OK;
}

enum { VHDX_READ_I_UNKNOWN, VHDX_READ_I_BAT, VHDX_READ_I_METADATA };

/* What a region is, by its GUID. Source: VHDX, 2.2.3.2. */
static int vhdx_read_i_region_of(const unsigned char *guid)
{
    static const unsigned char bat[16] = {0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
                                          0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
    static const unsigned char metadata[16] = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                               0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
    if (memcmp(guid, bat, 16) == 0) return VHDX_READ_I_BAT;
    return memcmp(guid, metadata, 16) == 0 ? VHDX_READ_I_METADATA : VHDX_READ_I_UNKNOWN;
}

/* One entry of the region table. */
static posio_result vhdx_read_i_take_region(vhdx_read *v, const unsigned char *e, uint64_t field,
                                            vhdx_read_i_region *bat, vhdx_read_i_region *metadata,
                                            posio_error *err)
{
    const uint64_t at = posio_le64(e + 16), n = posio_le32(e + 24);
    const int is = vhdx_read_i_region_of(e);
    const vhdx_read_i_region *other;
    const char *name = "region of an unknown kind", *fault = NULL;
    vhdx_read_i_region *known = NULL;
    char guid[40];
    vhdx_read_i_put_guid(e, 0, guid);
    if (is == VHDX_READ_I_BAT) known = bat, name = "BAT";
    if (is == VHDX_READ_I_METADATA) known = metadata, name = "metadata region";
    if (known == NULL && (posio_le32(e + 28) & 1) != 0)
        return posio_fail(err, POSIO_E_UNSUPPORTED, field,
                          "the image needs a region of an unknown kind: {%s}", guid);
    if (known != NULL && known->to != 0)
        return posio_fail(err, POSIO_E_DATA, field, "the region table has a second %s", name);
    if (at % VHDX_READ_I_MIB != 0 || n % VHDX_READ_I_MIB != 0) fault = "is not aligned to a MiB";
    else if (n == 0) fault = "is empty";
    else if (at < VHDX_READ_I_MIB) fault = "lies in the header section";
    else if (at > (uint64_t)INT64_MAX - n || at >= v->size)
        fault = "lies beyond the end of the file";
    if (fault != NULL && known == NULL) {
        vhdx_read_i_warn(v, field, "the region {%s} (%llu bytes at %llu) %s", guid,
                         (unsigned long long)n, (unsigned long long)at, fault);
        return POSIO_OK;
    }
    if (fault != NULL)
        return posio_fail(err, POSIO_E_DATA, field, "the %s (%llu bytes at %llu) %s", name,
                          (unsigned long long)n, (unsigned long long)at, fault);
    other = vhdx_read_i_region_at(v, at, n);
    if (other != NULL && known == NULL) { /* one that nobody needs, and that cannot be right */
        vhdx_read_i_warn(v, field, "the %s (%llu bytes at %llu) lies over the %s", name,
                         (unsigned long long)n, (unsigned long long)at, other->name);
        return POSIO_OK;
    }
    if (other != NULL)
        return posio_fail(err, POSIO_E_DATA, field, "the %s (%llu bytes at %llu) lies over the %s",
                          name, (unsigned long long)n, (unsigned long long)at, other->name);
    if (n > v->size - at)
        vhdx_read_i_warn(v, field, "the file is cut: the %s (%llu bytes at %llu) reaches beyond it",
                         name, (unsigned long long)n, (unsigned long long)at);
    if (known != NULL || v->region_count < VHDX_READ_I_REGIONS - 2)
        vhdx_read_i_add_region(v, at, n, name);
    if (known == NULL) return POSIO_OK;
    known->from = at;
    known->to = at + n;
    return POSIO_OK;
}

/* Where BAT and metadata are, by the first region table that is valid. Source: VHDX, 2.2.3. */
static posio_result vhdx_read_i_find_regions(vhdx_read *v, unsigned char *b,
                                             vhdx_read_i_region *bat, vhdx_read_i_region *metadata,
                                             posio_error *err)
{
    const char *fault[2] = {NULL, NULL};
    uint64_t base;
    uint32_t i, count, other = 0;
    int which = 0, unknown;
    posio_result r = vhdx_read_i_read_regions(v, 1, b, &fault[1], err);
    if (r == POSIO_OK && fault[1] == NULL) other = posio_le32(b + 4); /* its checksum */
    if (r == POSIO_OK) r = vhdx_read_i_read_regions(v, 0, b, &fault[0], err);
    if (r == POSIO_OK && fault[0] == NULL && fault[1] == NULL && posio_le32(b + 4) != other)
        vhdx_read_i_warn(v, (uint64_t)4 << 16, "the region tables differ; the first one is read");
    if (r == POSIO_OK && fault[0] != NULL && fault[1] == NULL) {
        which = 1;
        r = vhdx_read_i_read_regions(v, 1, b, &fault[1], err);
    }
    if (r != POSIO_OK) return r;
    if (fault[which] != NULL)
        return posio_fail(err, POSIO_E_DATA, (uint64_t)3 << 16,
                          "no region table is valid: the first %s, the second %s", fault[0],
                          fault[1]);
    if (fault[1 - which] != NULL)
        vhdx_read_i_warn(v, (uint64_t)(4 - which) << 16,
                         "the %s region table %s; the other one is read",
                         which ? "first" : "second", fault[1 - which]);
    v->info.region_table = (uint32_t)which + 1;
    base = (uint64_t)(which + 3) << 16;
    count = posio_le32(b + 8);
    for (unknown = 0; unknown < 2; unknown++) /* regions that are known, in whatever order, first */
        for (i = 0; i < count && r == POSIO_OK; i++) {
            const unsigned char *e = b + 16 + i * 32;
            if ((vhdx_read_i_region_of(e) == VHDX_READ_I_UNKNOWN) == unknown)
                r = vhdx_read_i_take_region(v, e, base + 16 + i * 32, bat, metadata, err);
        }
    if (r == POSIO_OK && (bat->to == 0 || metadata->to == 0))
        return posio_fail(err, POSIO_E_DATA, base, "the region table names no %s",
                          bat->to == 0 ? "BAT" : "metadata region");
    return r;
}

// ---------------------------------------------------------------------------------- VHDX: metadata

/* The items that are known: where each lies in the file, and how long it is; at 0 = not there. */
enum {
    VHDX_READ_I_PARAMETERS,
    VHDX_READ_I_SIZE,
    VHDX_READ_I_DISK_ID,
    VHDX_READ_I_LOGICAL,
    VHDX_READ_I_PHYSICAL,
    VHDX_READ_I_LOCATOR,
    VHDX_READ_I_ITEMS
};
typedef struct vhdx_read_i_item {
    uint64_t at, field; /* field: of the table, for errors */
    uint32_t length;
} vhdx_read_i_item;

static const char *vhdx_read_i_item_name(uint32_t which)
{
    static const char *const names[VHDX_READ_I_ITEMS] = {
        "file parameters",     "virtual disk size",    "virtual disk ID",
        "logical sector size", "physical sector size", "parent locator"};
    return names[which];
}

/* Which item a GUID means; VHDX_READ_I_ITEMS = none that is known. Source: VHDX, 2.6.2. */
static uint32_t vhdx_read_i_item_of(const unsigned char *guid)
{
    static const unsigned char guids[VHDX_READ_I_ITEMS][16] = {
        {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7,
         0x6b},
        {0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4,
         0xb8},
        {0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7,
         0x46},
        {0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab,
         0x5f},
        {0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5,
         0x56},
        {0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab,
         0x0c}};
    uint32_t i;
    for (i = 0; i < VHDX_READ_I_ITEMS && memcmp(guid, guids[i], 16) != 0; i++) {}
    return i;
}

/* One entry of the metadata table. Source: VHDX, 2.6.1.2. */
static posio_result vhdx_read_i_take_item(const vhdx_read_i_region *metadata,
                                          const unsigned char *e, uint64_t field,
                                          vhdx_read_i_item *items, posio_error *err)
{
    const uint32_t at = posio_le32(e + 16), n = posio_le32(e + 20), flags = posio_le32(e + 24);
    const uint32_t which = flags & 1 ? (uint32_t)VHDX_READ_I_ITEMS : vhdx_read_i_item_of(e);
    char guid[40];
    if (which == VHDX_READ_I_ITEMS) {
        vhdx_read_i_put_guid(e, 0, guid);
        if ((flags & 4) == 0) return POSIO_OK;
        return posio_fail(err, POSIO_E_UNSUPPORTED, field,
                          "the image needs a metadata item of an unknown kind: {%s}%s", guid,
                          flags & 1 ? " (of a user)" : "");
    }
    if (items[which].at != 0)
        return posio_fail(err, POSIO_E_DATA, field, "the metadata have a second %s",
                          vhdx_read_i_item_name(which));
    if (at < VHDX_READ_I_METADATA_TABLE || n > VHDX_READ_I_MIB ||
        !posio_within(at, n, metadata->to - metadata->from))
        return posio_fail(err, POSIO_E_DATA, field,
                          "the metadata item %s (%u bytes at %u) does not lie in the metadata "
                          "region, behind the table",
                          vhdx_read_i_item_name(which), (unsigned)n, (unsigned)at);
    items[which].at = metadata->from + at;
    items[which].length = n;
    items[which].field = field;
    return POSIO_OK;
}

static posio_result vhdx_read_i_find_items(const vhdx_read *v, unsigned char *b,
                                           const vhdx_read_i_region *metadata,
                                           vhdx_read_i_item *items, posio_error *err)
{
    uint32_t i, count;
    posio_result r = vhdx_read_i_structure(v, "metadata table", metadata->from, b,
                                           VHDX_READ_I_METADATA_TABLE, err);
    if (r != POSIO_OK) return r;
    if (memcmp(b, "metadata", 8) != 0)
        return posio_fail(err, POSIO_E_DATA, metadata->from,
                          "the metadata table does not begin with \"metadata\"");
    count = posio_le16(b + 10);
    if (count > VHDX_READ_I_ENTRIES)
        return posio_fail(err, POSIO_E_DATA, metadata->from + 10,
                          "the metadata table claims %u entries; at most %u are expected",
                          (unsigned)count, (unsigned)VHDX_READ_I_ENTRIES);
    for (i = 0; i < count && r == POSIO_OK; i++)
        r = vhdx_read_i_take_item(metadata, b + 32 + i * 32, metadata->from + 32 + i * 32, items,
                                  err);
    return r;
}

/* The n bytes of an item, which must be there. */
static posio_result vhdx_read_i_read_item(const vhdx_read *v, const vhdx_read_i_item *items,
                                          uint32_t which, unsigned char *b, uint32_t n,
                                          posio_error *err)
{
    const vhdx_read_i_item *item = &items[which];
    if (item->at == 0)
        return posio_fail(err, POSIO_E_DATA, POSIO_NO_OFFSET, "the metadata have no %s",
                          vhdx_read_i_item_name(which));
    if (item->length < n)
        return posio_fail(err, POSIO_E_DATA, item->field,
                          "the metadata item %s has %u bytes; %u are expected",
                          vhdx_read_i_item_name(which), (unsigned)item->length, (unsigned)n);
    return vhdx_read_i_structure(v, vhdx_read_i_item_name(which), item->at, b, n, err);
}

static uint32_t vhdx_read_i_log2(uint64_t power)
{
    uint32_t bits = 0;
    while (power >> bits > 1) bits++;
    return bits;
}

/* Block size, media size, sector sizes. Source: VHDX, 2.6.2.1 to 2.6.2.5. */
static posio_result vhdx_read_i_take_sizes(vhdx_read *v, const vhdx_read_i_item *items,
                                           posio_error *err)
{
    vhdx_read_metadata *m = &v->info;
    unsigned char parameters[8], size[8], logical[4], physical[4];
    posio_result r = vhdx_read_i_read_item(v, items, VHDX_READ_I_PARAMETERS, parameters, 8, err);
    if (r == POSIO_OK) r = vhdx_read_i_read_item(v, items, VHDX_READ_I_SIZE, size, 8, err);
    if (r == POSIO_OK) r = vhdx_read_i_read_item(v, items, VHDX_READ_I_LOGICAL, logical, 4, err);
    if (r != POSIO_OK) return r;
    m->block_size = posio_le32(parameters);
    m->has_parent = posio_le32(parameters + 4) >> 1 & 1;
    m->media_size = posio_le64(size);
    m->logical_sector_size = m->physical_sector_size = posio_le32(logical);
    m->layout = m->has_parent                      ? "VHDX differencing"
                : (posio_le32(parameters + 4) & 1) ? "VHDX fixed"
                                                   : "VHDX dynamic";
    if (m->block_size < VHDX_READ_I_MIB || m->block_size > 256u * VHDX_READ_I_MIB ||
        (m->block_size & (m->block_size - 1)) != 0)
        return posio_fail(err, POSIO_E_DATA, items[VHDX_READ_I_PARAMETERS].at,
                          "blocks of %u bytes; a power of two from 1 MiB to 256 MiB is expected",
                          (unsigned)m->block_size);
    if (m->logical_sector_size != 512 && m->logical_sector_size != 4096)
        return posio_fail(err, POSIO_E_DATA, items[VHDX_READ_I_LOGICAL].at,
                          "logical sectors of %u bytes; 512 or 4096 are expected",
                          (unsigned)m->logical_sector_size);
    if (m->media_size > (uint64_t)64 << 40)
        return posio_fail(err, POSIO_E_DATA, items[VHDX_READ_I_SIZE].at,
                          "a media size of %llu bytes is more than the 64 TiB that there may be",
                          (unsigned long long)m->media_size);
    if (m->media_size % m->logical_sector_size != 0)
        vhdx_read_i_warn(v, items[VHDX_READ_I_SIZE].at,
                         "the media size of %llu bytes is no multiple of the logical sector size",
                         (unsigned long long)m->media_size);
    r = vhdx_read_i_read_item(v, items, VHDX_READ_I_PHYSICAL, physical, 4, err);
    if (r != POSIO_OK && r != POSIO_E_DATA) return r;
    if (r == POSIO_OK) m->physical_sector_size = posio_le32(physical);
    if (r != POSIO_OK || (m->physical_sector_size != 512 && m->physical_sector_size != 4096))
        vhdx_read_i_warn(v, items[VHDX_READ_I_PHYSICAL].field,
                         "the physical sector size is not there, or neither 512 nor 4096 bytes");
    return POSIO_OK;
}

static posio_result vhdx_read_i_make_pages(vhdx_read *v, posio_error *err)
{
    chunk_cache_desc d;
    uint64_t bytes = v->bat_there * v->entry_size;
    size_t pages = (size_t)((bytes + VHDX_READ_I_PAGE - 1) / VHDX_READ_I_PAGE);
    v->pages = (void **)posio_allocate_zeroed(&v->desc.alloc, (pages + 1) * sizeof *v->pages);
    if (v->pages == NULL) return vhdx_read_i_no_memory(err);
    memset(&d, 0, sizeof d);
    d.bytes = VHDX_READ_I_TABLE_PAGES;
    d.chunk_size = VHDX_READ_I_TABLE_PAGE;
    d.alloc = v->desc.alloc;
    return chunk_cache_create(&v->tables, &d, err);
}

/* The part of the BAT that the media need. Source: VHDX, 2.5. */
static posio_result vhdx_read_i_take_bat(vhdx_read *v, const vhdx_read_i_region *bat,
                                         posio_error *err)
{
    const uint64_t has = (bat->to - bat->from) / 8;
    uint64_t blocks, chunks, needed;
    v->entry_size = 8;
    v->block_bits = vhdx_read_i_log2(v->info.block_size);
    v->sector_bits = vhdx_read_i_log2(v->info.logical_sector_size);
    v->ratio_bits = 23 + v->sector_bits - v->block_bits; /* at least 23 + 9 - 28 */
    blocks = (v->info.media_size >> v->block_bits) +
             ((v->info.media_size & (v->info.block_size - 1)) != 0);
    chunks = (blocks >> v->ratio_bits) + ((blocks & (((uint64_t)1 << v->ratio_bits) - 1)) != 0);
    needed = blocks + (chunks != 0 ? chunks - 1 : 0);
    if (needed > has)
        return posio_fail(err, POSIO_E_DATA, bat->from,
                          "the BAT has %llu entries; media of %llu bytes need %llu",
                          (unsigned long long)has, (unsigned long long)v->info.media_size,
                          (unsigned long long)needed);
    v->bat_offset = bat->from;
    v->bat_entries = needed;
    if (v->info.has_parent) v->bat_entries = posio_min(has, (chunks << v->ratio_bits) + chunks);
    v->bat_there = posio_min(v->bat_entries, (v->size - v->bat_offset) / 8);
    return vhdx_read_i_make_pages(v, err);
}

// ---------------------------------------------------------------------------------- parent names

/* Keeps key and name, which are UTF-16 (little-endian) of a and b bytes; key_text in place of the
   first where that is not NULL. */
static posio_result vhdx_read_i_add_name(vhdx_read *v, const char *key_text,
                                         const unsigned char *key, size_t a,
                                         const unsigned char *name, size_t b, posio_error *err)
{
    const posio_alloc *alloc = &v->desc.alloc;
    vhdx_read_i_name *n;
    void *list = v->names;
    size_t length;
    if (!posio_grow(alloc, &list, v->info.parent_name_count, &v->name_room, sizeof *n))
        return vhdx_read_i_no_memory(err);
    v->names = (vhdx_read_i_name *)list;
    n = &v->names[v->info.parent_name_count];
    n->name = posio_utf8_from_utf16(alloc, name, b, &length);
    if (key_text != NULL) {
        length = strlen(key_text);
        n->key = (char *)posio_allocate(alloc, length + 1);
        if (n->key != NULL) memcpy(n->key, key_text, length + 1);
    } else {
        n->key = posio_utf8_from_utf16(alloc, key, a, &length);
    }
    if (n->key != NULL && n->name != NULL) {
        v->info.parent_name_count++;
        return POSIO_OK;
    }
    posio_release(alloc, n->key);
    posio_release(alloc, n->name);
    return vhdx_read_i_no_memory(err);
}

static const char *vhdx_read_i_name_of(const vhdx_read *v, const char *key)
{
    uint32_t i;
    for (i = 0; i < v->info.parent_name_count; i++)
        if (strcmp(v->names[i].key, key) == 0) return v->names[i].name;
    return NULL;
}

/* The parent locator, n bytes. Source: VHDX, 2.6.2.6. */
static posio_result vhdx_read_i_take_locator(vhdx_read *v, const unsigned char *b, uint32_t n,
                                             uint64_t at, posio_error *err)
{
    static const unsigned char is_vhdx[16] = {0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a,
                                              0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13};
    const char *linkage;
    uint32_t i, count = posio_le16(b + 18);
    uint64_t used = 20 + (uint64_t)count * 12;
    posio_result r = POSIO_OK;
    char guid[40];
    vhdx_read_i_put_guid(b, 0, guid);
    if (memcmp(b, is_vhdx, 16) != 0)
        return posio_fail(err, POSIO_E_UNSUPPORTED, at,
                          "the parent is named by a locator of an unknown kind: {%s}", guid);
    if (used > n)
        return posio_fail(err, POSIO_E_DATA, at + 18,
                          "the parent locator claims %u entries; it has %u bytes", (unsigned)count,
                          (unsigned)n);
    for (i = 0; i < count && r == POSIO_OK; i++) {
        const unsigned char *e = b + 20 + i * 12;
        const uint32_t key = posio_le32(e), name = posio_le32(e + 4);
        const uint32_t key_n = posio_le16(e + 8), name_n = posio_le16(e + 10);
        used += key_n + name_n; /* the text of entries that overlap could be without end */
        if (!posio_within(key, key_n, n) || !posio_within(name, name_n, n) || used > n)
            return posio_fail(err, POSIO_E_DATA, at + 20 + i * 12,
                              "entry %u of the parent locator (key of %u bytes at %u, value of %u "
                              "at %u) does not lie in its %u bytes, or over another one",
                              (unsigned)i, (unsigned)key_n, (unsigned)key, (unsigned)name_n,
                              (unsigned)name, (unsigned)n);
        r = vhdx_read_i_add_name(v, NULL, b + key, key_n, b + name, name_n, err);
    }
    v->linkage_at = at;
    linkage = vhdx_read_i_name_of(v, "parent_linkage");
    if (linkage != NULL) vhdx_read_i_normal_guid(linkage, v->linkage[0]);
    linkage = vhdx_read_i_name_of(v, "parent_linkage2");
    if (linkage != NULL) vhdx_read_i_normal_guid(linkage, v->linkage[1]);
    return r;
}

static posio_result vhdx_read_i_find_locator(vhdx_read *v, const vhdx_read_i_item *items,
                                             posio_error *err)
{
    const vhdx_read_i_item *item = &items[VHDX_READ_I_LOCATOR];
    const int alone = (v->desc.flags & VHDX_READ_ALONE) != 0;
    unsigned char *b;
    posio_error why;
    posio_result r;
    if (!v->info.has_parent && item->at != 0)
        vhdx_read_i_warn(v, item->field,
                         "there is a parent locator, and the file parameters say that there is no "
                         "parent");
    if (!v->info.has_parent) return POSIO_OK;
    b = (unsigned char *)posio_allocate(&v->desc.alloc, item->length + (size_t)20);
    if (b == NULL) return vhdx_read_i_no_memory(err);
    r = vhdx_read_i_read_item(v, items, VHDX_READ_I_LOCATOR, b, 20, &why);
    if (r == POSIO_OK)
        r = vhdx_read_i_structure(v, "parent locator", item->at, b, item->length, &why);
    if (r == POSIO_OK) r = vhdx_read_i_take_locator(v, b, item->length, item->at, &why);
    posio_release(&v->desc.alloc, b);
    if (r == POSIO_OK) return r;
    if (alone && r != POSIO_E_NOMEM && r != POSIO_E_IO) { /* nobody asks for the parent */
        vhdx_read_i_warn(v, item->at, "where the parent is cannot be read: %s", why.message);
        return POSIO_OK;
    }
    if (err != NULL) *err = why;
    return r;
}

// ---------------------------------------------------------------------------------- VHDX: opening

/* The identifier and its creator. Source: VHDX, 2.2.1. */
static posio_result vhdx_read_i_take_creator(vhdx_read *v, posio_error *err)
{
    unsigned char b[520];
    size_t n = 8, length;
    posio_result r;
    if (v->file.size < sizeof b)
        return posio_fail(err, POSIO_E_DATA, v->file.size, "the file is cut after %llu bytes",
                          (unsigned long long)v->file.size);
    r = posio_read(&v->file, 0, b, sizeof b, err);
    if (r != POSIO_OK) return r;
    while (n < sizeof b && posio_le16(b + n) != 0) n += 2;
    v->creator = posio_utf8_from_utf16(&v->desc.alloc, b + 8, n - 8, &length);
    if (v->creator == NULL) return vhdx_read_i_no_memory(err);
    v->info.creator = v->creator;
    return POSIO_OK;
}

/* What regions and metadata say; b has room for a table. */
static posio_result vhdx_read_i_take_tables(vhdx_read *v, unsigned char *b, posio_error *err)
{
    vhdx_read_i_region bat = {0, 0, NULL}, metadata = {0, 0, NULL};
    vhdx_read_i_item items[VHDX_READ_I_ITEMS];
    unsigned char id[16];
    posio_result r;
    memset(items, 0, sizeof items);
    r = vhdx_read_i_find_regions(v, b, &bat, &metadata, err);
    if (r == POSIO_OK) r = vhdx_read_i_find_items(v, b, &metadata, items, err);
    if (r == POSIO_OK) r = vhdx_read_i_take_sizes(v, items, err);
    if (r != POSIO_OK) return r;
    r = vhdx_read_i_read_item(v, items, VHDX_READ_I_DISK_ID, id, 16, err);
    if (r != POSIO_OK && r != POSIO_E_DATA) return r;
    if (r == POSIO_OK) {
        vhdx_read_i_put_guid(id, 0, v->disk_id);
        v->info.disk_id = v->disk_id;
    } else {
        vhdx_read_i_warn(v, metadata.from, "the virtual disk ID is not there");
    }
    r = vhdx_read_i_find_locator(v, items, err);
    return r == POSIO_OK ? vhdx_read_i_take_bat(v, &bat, err) : r;
}

static posio_result vhdx_read_i_interpret_vhdx(vhdx_read *v, posio_error *err)
{
    unsigned char *b;
    uint64_t at = 0;
    posio_result r = vhdx_read_i_take_creator(v, err);
    if (r != POSIO_OK) return r;
    b = (unsigned char *)posio_allocate(&v->desc.alloc, VHDX_READ_I_REGION_TABLE);
    if (b == NULL) return vhdx_read_i_no_memory(err);
    vhdx_read_i_add_region(v, 0, VHDX_READ_I_MIB, "header section");
    r = vhdx_read_i_choose_header(v, b, &at, err);
    if (r == POSIO_OK && posio_le16(b + 66) != 1)
        r = posio_fail(err, POSIO_E_UNSUPPORTED, at + 66,
                       "VHDX version %u is not supported; version 1 is",
                       (unsigned)posio_le16(b + 66));
    if (r == POSIO_OK) {
        v->info.version = 1;
        v->info.header_sequence = posio_le64(b + 8);
        vhdx_read_i_put_guid(b + 16, 0, v->file_write_id);
        vhdx_read_i_put_guid(b + 32, 0, v->identity);
        v->info.file_write_id = v->file_write_id;
        v->info.identity = v->identity;
        r = vhdx_read_i_take_log(v, b, at, err);
    }
    if (r == POSIO_OK) r = vhdx_read_i_take_tables(v, b, err);
    posio_release(&v->desc.alloc, b);
    return r;
}

// ---------------------------------------------------------------------------------- VHD: footers

/* NULL, or what is wrong with this footer. */
static const char *vhdx_read_i_footer_fault(const unsigned char *b)
{
    if (memcmp(b, "conectix", 8) != 0) return "does not begin with \"conectix\"";
    return vhdx_read_i_sum_is_right(b, VHDX_READ_I_FOOTER, 64) ? NULL : "has a wrong checksum";
}

/* Reads the last 512 bytes of a file, or 511, as a footer. Those of before 2004 lack the last byte,
   which is reserved. */
static posio_result vhdx_read_i_read_footer(const posio_source *file, uint32_t n, unsigned char *b,
                                            const char **fault, posio_error *err)
{
    posio_result r;
    *fault = "is not there";
    if (file->size < n) return POSIO_OK;
    b[VHDX_READ_I_FOOTER - 1] = 0;
    r = posio_read(file, file->size - n, b, n, err);
    if (r == POSIO_OK) *fault = vhdx_read_i_footer_fault(b);
    return r;
}

/* The footer at the end; *at: where. */
static posio_result vhdx_read_i_last_footer(const posio_source *file, unsigned char *b,
                                            uint64_t *at, const char **fault, posio_error *err)
{
    unsigned char old[VHDX_READ_I_FOOTER];
    const char *old_fault;
    posio_result r = vhdx_read_i_read_footer(file, VHDX_READ_I_FOOTER, b, fault, err);
    *at = file->size - posio_min(file->size, VHDX_READ_I_FOOTER);
    if (r != POSIO_OK || *fault == NULL) return r;
    r = vhdx_read_i_read_footer(file, VHDX_READ_I_FOOTER - 1, old, &old_fault, err);
    if (r != POSIO_OK || old_fault != NULL) return r;
    memcpy(b, old, VHDX_READ_I_FOOTER);
    *fault = NULL;
    *at = file->size - (VHDX_READ_I_FOOTER - 1);
    return r;
}

/* The footer that is read: the last one, else the copy at the beginning. */
static posio_result vhdx_read_i_choose_footer(vhdx_read *v, unsigned char *b, uint64_t *at,
                                              posio_error *err)
{
    unsigned char copy[VHDX_READ_I_FOOTER];
    const char *fault, *copy_fault = "is not there";
    posio_result r;
    memset(copy, 0, sizeof copy);
    r = vhdx_read_i_last_footer(&v->file, b, at, &fault, err);
    if (r == POSIO_OK && v->file.size >= sizeof copy) {
        r = posio_read(&v->file, 0, copy, sizeof copy, err);
        if (r == POSIO_OK) copy_fault = vhdx_read_i_footer_fault(copy);
    }
    if (r != POSIO_OK) return r;
    v->data_end = *at;
    if (fault == NULL) {
        if (posio_be32(b + 60) > 2 && memcmp(b, copy, sizeof copy) != 0)
            vhdx_read_i_warn(v, 0, "the copy of the footer at the beginning %s",
                             copy_fault != NULL ? copy_fault : "differs from the footer");
        return POSIO_OK;
    }
    if (copy_fault != NULL && memcmp(b, "conectix", 8) != 0 &&
        (v->file.size < sizeof copy || memcmp(copy, "conectix", 8) != 0))
        return posio_fail(err, POSIO_E_FORMAT, 0,
                          "neither a VHDX nor a VHD file: it does not begin with \"vhdxfile\", and "
                          "there is no footer");
    if (copy_fault != NULL || posio_be32(copy + 60) == 2)
        return posio_fail(err, POSIO_E_DATA, *at,
                          "no footer is valid: the last %s, the copy at the beginning %s", fault,
                          copy_fault != NULL ? copy_fault : "is of a fixed disk");
    vhdx_read_i_warn(v, *at, "the footer %s; its copy at the beginning is read", fault);
    memcpy(b, copy, sizeof copy);
    v->data_end = v->file.size;
    *at = 0;
    return POSIO_OK;
}

VHDX_READ_API posio_result vhdx_read_probe(const posio_source *source, posio_error *err)
{
    unsigned char b[VHDX_READ_I_FOOTER];
    const char *fault = "";
    uint64_t at;
    posio_result r = POSIO_OK;
    if (source->size >= 8) r = posio_read(source, 0, b, 8, err);
    if (r != POSIO_OK) return r;
    if (source->size >= 8 && (memcmp(b, "vhdxfile", 8) == 0 || memcmp(b, "conectix", 8) == 0))
        return POSIO_OK;
    r = vhdx_read_i_last_footer(source, b, &at, &fault, err);
    if (r != POSIO_OK || fault == NULL) return r;
    return posio_fail(err, POSIO_E_FORMAT, 0, "neither a VHDX nor a VHD file");
}

VHDX_READ_API posio_result vhdx_read_probe_footer(const posio_source *source, posio_error *err)
{
    unsigned char b[8];
    posio_result r = vhdx_read_probe(source, err);
    if (r == POSIO_OK) r = posio_read(source, 0, b, sizeof b, err); /* a footer is longer */
    if (r != POSIO_OK) return r;
    if (memcmp(b, "vhdxfile", 8) != 0 && memcmp(b, "conectix", 8) != 0) return POSIO_OK;
    return posio_fail(err, POSIO_E_FORMAT, 0, "it begins as a VHDX or VHD file does");
}

// ---------------------------------------------------------------------------------- VHD: opening

/* n bytes of text, cut at the first zero. */
static void vhdx_read_i_keep_text(char *to, const unsigned char *from, size_t n)
{
    memcpy(to, from, n);
    to[n] = 0;
}

/* What the footer says. Source: VHD, "Hard Disk Footer Format". */
static posio_result vhdx_read_i_take_footer(vhdx_read *v, const unsigned char *b, uint64_t at,
                                            posio_error *err)
{
    vhdx_read_metadata *m = &v->info;
    const uint32_t type = posio_be32(b + 60);
    m->is_vhd = 1;
    m->version = posio_be16(b + 12);
    m->logical_sector_size = m->physical_sector_size = 512;
    m->created = posio_be32(b + 24) + (uint64_t)946684800; /* counted from 2000 */
    m->creator_version = posio_be32(b + 32);
    m->original_size = posio_be64(b + 40);
    m->current_size = posio_be64(b + 48);
    m->cylinders = posio_be16(b + 56);
    m->heads = b[58];
    m->sectors = b[59];
    m->is_temporary = posio_be32(b + 8) & 1;
    m->is_saved_state = b[84] != 0;
    m->has_parent = type == 4;
    m->layout = type == 2 ? "VHD fixed" : type == 3 ? "VHD dynamic" : "VHD differencing";
    vhdx_read_i_keep_text(v->creator_text, b + 28, 4);
    vhdx_read_i_keep_text(v->creator_system, b + 36, 4);
    vhdx_read_i_put_guid(b + 68, 1, v->identity);
    m->creator = v->creator_text;
    m->creator_system = v->creator_system;
    m->identity = v->identity;
    if (m->version != 1)
        return posio_fail(err, POSIO_E_UNSUPPORTED, at + 12,
                          "VHD version %u.%u is not supported; version 1 is", (unsigned)m->version,
                          (unsigned)posio_be16(b + 14));
    if (type < 2 || type > 4)
        return posio_fail(err, POSIO_E_UNSUPPORTED, at + 60,
                          "VHD disk type %u is not supported; fixed (2), dynamic (3) and "
                          "differencing (4) are",
                          (unsigned)type);
    if (m->is_saved_state)
        vhdx_read_i_warn(v, at + 84,
                         "the disk belongs to a saved state: its machine is not shut "
                         "down");
    return POSIO_OK;
}

/* Which of the two sizes the disk has (see the top of this file); `room`: bytes of media that the
   file has place for. */
static posio_result vhdx_read_i_choose_size(vhdx_read *v, uint64_t room, uint64_t at,
                                            posio_error *err)
{
    vhdx_read_metadata *m = &v->info;
    const uint64_t geometry = (uint64_t)m->cylinders * m->heads * m->sectors * 512;
    const uint64_t largest = (uint64_t)65535 * 16 * 255 * 512;
    const int by_geometry = (strcmp(m->creator, "vpc ") == 0 || strcmp(m->creator, "qemu") == 0) &&
                            !(v->desc.flags & VHDX_READ_CURRENT_SIZE) && geometry != 0 &&
                            geometry != largest && geometry <= room;
    m->media_size = by_geometry ? geometry : m->current_size;
    if (by_geometry && geometry != m->current_size)
        vhdx_read_i_warn(
            v, at + 48,
            "the disk has %llu bytes by its geometry, as \"%s\" counts, and %llu by the "
            "current size (VHDX_READ_CURRENT_SIZE takes that)",
            (unsigned long long)geometry, m->creator, (unsigned long long)m->current_size);
    if (m->media_size > INT64_MAX)
        return posio_fail(err, POSIO_E_DATA, at + 48, "a media size of %llu bytes cannot be",
                          (unsigned long long)m->media_size);
    if (m->media_size % 512 != 0)
        vhdx_read_i_warn(v, at + 48, "the media size of %llu bytes is no multiple of 512",
                         (unsigned long long)m->media_size);
    return POSIO_OK;
}

static posio_result vhdx_read_i_take_fixed(vhdx_read *v, uint64_t at, posio_error *err)
{
    posio_result r = vhdx_read_i_choose_size(v, v->data_end, at, err);
    if (r == POSIO_OK && v->info.media_size > v->data_end)
        vhdx_read_i_warn(v, at + 48, "the file is cut: the disk has %llu bytes, %llu are there",
                         (unsigned long long)v->info.media_size, (unsigned long long)v->data_end);
    else if (r == POSIO_OK && v->info.current_size < v->data_end)
        vhdx_read_i_warn(v, at + 48, "the disk has %llu bytes; %llu are there before the footer",
                         (unsigned long long)v->info.current_size, (unsigned long long)v->data_end);
    return r;
}

/* One parent locator of the dynamic header. Source: VHD, "Dynamic Disk Header Format". */
static posio_result vhdx_read_i_take_vhd_locator(vhdx_read *v, const unsigned char *e,
                                                 uint64_t field, posio_error *err)
{
    const uint32_t n = posio_be32(e + 8);
    const uint64_t at = posio_be64(e + 16);
    char code[5];
    unsigned char *b;
    posio_result r;
    vhdx_read_i_keep_text(code, e, 4);
    if (strcmp(code, "W2ru") != 0 && strcmp(code, "W2ku") != 0) return POSIO_OK;
    if (n > VHDX_READ_I_PAGE || !posio_within(at, n, v->size)) {
        vhdx_read_i_warn(v, field,
                         "the parent locator %s (%u bytes at %llu) is longer than 64 KiB, or lies "
                         "beyond the end of the file",
                         code, (unsigned)n, (unsigned long long)at);
        return POSIO_OK;
    }
    b = (unsigned char *)posio_allocate(&v->desc.alloc, n);
    if (b == NULL) return vhdx_read_i_no_memory(err);
    r = vhdx_read_i_pread(v, at, b, n, err);
    if (r == POSIO_OK) {
        size_t have = 0; /* some writers count a terminator, too */
        while (have + 1 < n && posio_le16(b + have) != 0) have += 2;
        r = vhdx_read_i_add_name(v, code, NULL, 0, b, have, err);
    }
    posio_release(&v->desc.alloc, b);
    return r;
}

/* Everything about the parent in a dynamic header, which lies at `at`. */
static posio_result vhdx_read_i_take_vhd_parent(vhdx_read *v, const unsigned char *b, uint64_t at,
                                                posio_error *err)
{
    unsigned char name[512];
    size_t i, n = 0;
    posio_result r = POSIO_OK;
    vhdx_read_i_put_guid(b + 40, 1, v->linkage[0]);
    v->linkage_at = at + 40;
    for (i = 0; i < 8 && r == POSIO_OK; i++)
        r = vhdx_read_i_take_vhd_locator(v, b + 576 + i * 24, at + 576 + i * 24, err);
    for (; n < sizeof name && posio_be16(b + 64 + n) != 0; n += 2) { /* it is big-endian */
        name[n] = b[64 + n + 1];
        name[n + 1] = b[64 + n];
    }
    if (r == POSIO_OK && n != 0) r = vhdx_read_i_add_name(v, "parent_name", NULL, 0, name, n, err);
    return r;
}

/* What the dynamic header at `at` says of the BAT. */
static posio_result vhdx_read_i_take_vhd_bat(vhdx_read *v, const unsigned char *b, uint64_t at,
                                             uint64_t footer_at, posio_error *err)
{
    vhdx_read_metadata *m = &v->info;
    const uint64_t has = posio_be32(b + 28);
    const vhdx_read_i_region *other;
    posio_result r;
    m->block_size = posio_be32(b + 32);
    v->bat_offset = posio_be64(b + 16);
    if (m->block_size < 512 || (m->block_size & (m->block_size - 1)) != 0)
        return posio_fail(err, POSIO_E_DATA, at + 32,
                          "blocks of %u bytes; a power of two from 512 on is expected",
                          (unsigned)m->block_size);
    r = vhdx_read_i_choose_size(v, has * m->block_size, footer_at, err);
    if (r != POSIO_OK) return r;
    v->entry_size = 4;
    v->block_bits = vhdx_read_i_log2(m->block_size);
    v->sector_bits = 9;
    v->bitmap_size = ((m->block_size >> 12) + 511) & ~(uint32_t)511;
    if (v->bitmap_size == 0) v->bitmap_size = 512;
    v->bat_entries =
        (m->media_size >> v->block_bits) + ((m->media_size & (m->block_size - 1)) != 0);
    if (v->bat_entries > has)
        return posio_fail(err, POSIO_E_DATA, at + 28,
                          "the BAT has %llu entries; media of %llu bytes need %llu",
                          (unsigned long long)has, (unsigned long long)m->media_size,
                          (unsigned long long)v->bat_entries);
    if (v->bat_offset >= v->size)
        return posio_fail(err, POSIO_E_DATA, at + 16,
                          "the BAT, at %llu, lies beyond the end of the file",
                          (unsigned long long)v->bat_offset);
    other = vhdx_read_i_region_at(v, v->bat_offset, v->bat_entries * 4);
    if (other != NULL)
        return posio_fail(err, POSIO_E_DATA, at + 16, "the BAT, at %llu, lies over the %s",
                          (unsigned long long)v->bat_offset, other->name);
    v->bat_there = posio_min(v->bat_entries, (v->size - v->bat_offset) / 4);
    if (v->bat_there < v->bat_entries)
        vhdx_read_i_warn(v, at + 16,
                         "the file is cut: the BAT (%llu entries at %llu) reaches beyond it",
                         (unsigned long long)v->bat_entries, (unsigned long long)v->bat_offset);
    vhdx_read_i_add_region(v, v->bat_offset, v->bat_entries * 4, "BAT");
    return vhdx_read_i_make_pages(v, err);
}

static posio_result vhdx_read_i_interpret_vhd(vhdx_read *v, posio_error *err)
{
    unsigned char footer[VHDX_READ_I_FOOTER], b[VHDX_READ_I_DYNAMIC];
    uint64_t at, footer_at = 0;
    posio_result r;
    memset(footer, 0, sizeof footer);
    r = vhdx_read_i_choose_footer(v, footer, &footer_at, err);
    if (r == POSIO_OK) r = vhdx_read_i_take_footer(v, footer, footer_at, err);
    if (r != POSIO_OK) return r;
    if (posio_be32(footer + 60) == 2) return vhdx_read_i_take_fixed(v, footer_at, err);
    v->size = v->data_end; /* no block reaches into the footer */
    at = posio_be64(footer + 16);
    r = vhdx_read_i_structure(v, "dynamic header", at, b, sizeof b, err);
    if (r != POSIO_OK) return r;
    if (memcmp(b, "cxsparse", 8) != 0)
        return posio_fail(err, POSIO_E_DATA, at,
                          "the dynamic header does not begin with \"cxsparse\"");
    if (!vhdx_read_i_sum_is_right(b, sizeof b, 36))
        return posio_fail(err, POSIO_E_DATA, at + 36, "the dynamic header has a wrong checksum");
    if (posio_be16(b + 24) != 1)
        return posio_fail(err, POSIO_E_UNSUPPORTED, at + 24,
                          "dynamic header version %u.%u is not supported; version 1 is",
                          (unsigned)posio_be16(b + 24), (unsigned)posio_be16(b + 26));
    vhdx_read_i_add_region(v, 0, VHDX_READ_I_FOOTER, "copy of the footer");
    vhdx_read_i_add_region(v, at, sizeof b, "dynamic header");
    r = vhdx_read_i_take_vhd_bat(v, b, at, footer_at, err);
    if (r == POSIO_OK && v->info.has_parent) r = vhdx_read_i_take_vhd_parent(v, b, at, err);
    return r;
}

// ---------------------------------------------------------------------------------- parents

/* A name that the parent is looked for by, once. */
static posio_result vhdx_read_i_add_candidate(const vhdx_read *v, char **list, uint32_t *count,
                                              const char *from, posio_error *err)
{
    const size_t n = strlen(from);
    size_t i;
    uint32_t k;
    char *name;
    if (n == 0 || strcmp(from, ".") == 0 || strcmp(from, "..") == 0 ||
        *count == VHDX_READ_I_CANDIDATES)
        return POSIO_OK;
    name = (char *)posio_allocate(&v->desc.alloc, n + 1);
    if (name == NULL) return vhdx_read_i_no_memory(err);
    for (i = 0; i <= n; i++) name[i] = from[i] == '\\' ? '/' : from[i];
    for (k = 0; k < *count && strcmp(list[k], name) != 0; k++) {}
    if (k == *count) list[(*count)++] = name;
    else posio_release(&v->desc.alloc, name);
    return POSIO_OK;
}

/* What follows the last separator of a Windows path. */
static const char *vhdx_read_i_base_name(const char *path)
{
    const char *s = path;
    for (; *s != 0; s++)
        if (*s == '\\' || *s == '/' || *s == ':') path = s + 1;
    return path;
}

/* The names in the order in which they are tried: the path that is relative to the image, then what
   the paths end in, beside the image: disks move together. Absolute paths are tried last, as they
   are, and only where the user allows it; the policy for stored names judges all of them. */
static posio_result vhdx_read_i_list_candidates(const vhdx_read *v, char **list, uint32_t *count,
                                                posio_error *err)
{
    static const char *const keys[2][3] = {{"relative_path", "volume_path", "absolute_win32_path"},
                                           {"W2ru", "W2ku", "parent_name"}};
    posio_result r = POSIO_OK;
    int pass, i;
    for (pass = 0; pass < 3; pass++)
        for (i = 0; i < 3 && r == POSIO_OK; i++) {
            const char *name = vhdx_read_i_name_of(v, keys[v->info.is_vhd != 0][i]);
            if (name == NULL || (pass == 0 && i != 0) || (pass == 2 && i == 0)) continue;
            if (pass == 2 && !(v->desc.allow & POSIO_ALLOW_OUTSIDE)) continue;
            while (pass == 0 && name[0] == '.' && (name[1] == '\\' || name[1] == '/')) name += 2;
            if (pass == 1) name = vhdx_read_i_base_name(name);
            if (pass == 1 && v->desc.name != NULL &&
                strcmp(name, vhdx_read_i_base_name(v->desc.name)) == 0)
                continue; /* its parent lay elsewhere: beside it lies the image itself */
            if (pass == 2 && strncmp(name, "\\\\?\\", 4) == 0) name += 4;
            r = vhdx_read_i_add_candidate(v, list, count, name, err);
        }
    return r;
}

static int vhdx_read_i_is_parent(const vhdx_read *v, const char *identity)
{
    static const char none[] = "00000000-0000-0000-0000-000000000000";
    char id[40];
    int i;
    vhdx_read_i_normal_guid(identity, id);
    for (i = 0; i < 2; i++)
        if (id[0] != 0 && strcmp(id, v->linkage[i]) == 0 && (i == 0 || strcmp(id, none) != 0))
            return 1;
    return 0;
}

/* Asks for a parent by one name. */
static posio_result vhdx_read_i_ask(const vhdx_read *v, const char *name, posio_source *out,
                                    char identity[POSIO_IDENTITY], posio_error *why)
{
    posio_reference reference;
    posio_source found;
    posio_result r;
    memset(&reference, 0, sizeof reference);
    memset(&found, 0, sizeof found);
    memset(identity, 0, POSIO_IDENTITY);
    (void)posio_fail(why, POSIO_E_ARG, POSIO_NO_OFFSET, "the resolver does not say why it failed");
    reference.name = name;
    reference.kind = POSIO_REFERENCE_PARENT;
    reference.identity = identity;
    r = v->desc.resolver->open(v->desc.resolver->self, &reference, &found, why);
    identity[POSIO_IDENTITY - 1] = 0;
    if (r == POSIO_OK && found.read_at == NULL)
        return posio_fail(why, POSIO_E_ARG, v->linkage_at, "the resolver gave no parent");
    if (r == POSIO_OK) *out = found;
    else why->code = r;
    return r;
}

/* Is this only the absence of one name, so that the next one may be tried? If what failed was a
   parent that is there, no other name is tried: chains of such names would have no end. */
static int vhdx_read_i_is_absent(const vhdx_read *v, posio_result r, const posio_error *why)
{
    if (v->parent_image != NULL) return 0; /* found by ourselves, and lacks its own parent */
    if (r != POSIO_E_POLICY && r != POSIO_E_MISSING && r != POSIO_E_NOT_FOUND) return 0;
    return posio_is_in(why, v->desc.name);
}

/* A failure below this image, in words of this one. */
static posio_result vhdx_read_i_parent_failed(const vhdx_read *v, const posio_error *why,
                                              posio_error *err)
{
    if (err == NULL) return why->code;
    *err = *why;
    if (!posio_is_in(why, v->desc.name)) return err->code; /* it failed further down */
    posio_format(err->message, sizeof err->message, "parent: %s", why->message);
    if (err->offset == POSIO_NO_OFFSET) err->offset = v->linkage_at;
    return err->code;
}

/* None of the names is there. */
static posio_result vhdx_read_i_no_parent(const vhdx_read *v, char *const *list, uint32_t count,
                                          posio_error *err)
{
    char names[200];
    size_t n = 0;
    uint32_t i;
    names[0] = 0;
    for (i = 0; i < count; i++) {
        posio_format(names + n, sizeof names - n, "%s\"%s\"", i == 0 ? "" : ", ", list[i]);
        n = strlen(names);
    }
    return posio_fail(err, POSIO_E_MISSING, v->linkage_at, "the parent is not there: %s", names);
}

/* Tries the names one after the other. Source: VHDX, 2.6.2.6.3; VHD, "Identification of the Parent
   Hard Disk Image". */
static posio_result vhdx_read_i_try_candidates(vhdx_read *v, char *const *list, uint32_t count,
                                               posio_error *err)
{
    char identity[POSIO_IDENTITY], other[POSIO_IDENTITY];
    uint32_t i, opened = count, refused = count;
    posio_error why, policy;
    posio_result r;
    other[0] = 0;
    for (i = 0; i < count; i++) {
        r = vhdx_read_i_ask(v, list[i], &v->parent, identity, &why);
        if (r == POSIO_OK && vhdx_read_i_is_parent(v, identity)) return POSIO_OK;
        if (r != POSIO_OK && !vhdx_read_i_is_absent(v, r, &why))
            return vhdx_read_i_parent_failed(v, &why, err);
        if (r == POSIO_E_POLICY && refused == count) {
            refused = i;
            policy = why;
        }
        if (r == POSIO_OK && opened == count) {
            opened = i;
            memcpy(other, identity, sizeof other);
        }
    }
    memset(&v->parent, 0, sizeof v->parent);
    if (opened != count && !(v->desc.flags & VHDX_READ_ANY_PARENT))
        return posio_fail(err, POSIO_E_DATA, v->linkage_at,
                          "the parent is recorded as {%s}, and \"%s\" is {%s} "
                          "(VHDX_READ_ANY_PARENT uses it all the same)",
                          v->linkage[0], list[opened], other);
    if (opened == count && refused != count) return vhdx_read_i_parent_failed(v, &policy, err);
    if (opened == count) return vhdx_read_i_no_parent(v, list, count, err);
    v->any_parent = 1;
    r = vhdx_read_i_ask(v, list[opened], &v->parent, identity, &why);
    if (r != POSIO_OK) return vhdx_read_i_parent_failed(v, &why, err);
    vhdx_read_i_warn(
        v, v->linkage_at,
        "the parent is recorded as {%s}, and \"%s\" is {%s}: what is read may be wrong",
        v->linkage[0], list[opened], identity);
    return POSIO_OK;
}

static posio_result vhdx_read_i_open_parent(vhdx_read *v, posio_error *err)
{
    char *list[VHDX_READ_I_CANDIDATES];
    uint32_t count = 0, i;
    posio_result r = vhdx_read_i_list_candidates(v, list, &count, err);
    if (r == POSIO_OK && count == 0)
        r = posio_fail(err, POSIO_E_MISSING, v->linkage_at,
                       "the image has a parent, and does not say where");
    else if (r == POSIO_OK && v->desc.resolver == NULL)
        r = posio_fail(err, POSIO_E_POLICY, v->linkage_at,
                       "the image has a parent, \"%s\", and there is no resolver to open it "
                       "(VHDX_READ_ALONE reads the image without it)",
                       list[0]);
    else if (r == POSIO_OK) r = vhdx_read_i_try_candidates(v, list, count, err);
    for (i = 0; i < count; i++) posio_release(&v->desc.alloc, list[i]);
    if (r == POSIO_OK && v->parent.unit > v->unit) v->unit = v->parent.unit;
    return r;
}

// ---------------------------------------------------------------------------------- opening

static posio_result vhdx_read_i_create(vhdx_read **out, const vhdx_read_desc *desc,
                                       posio_error *err)
{
    static const vhdx_read_desc defaults = {NULL, 0, 0, NULL, NULL, {NULL, NULL, NULL}};
    size_t length;
    vhdx_read *v;
    if (desc == NULL) desc = &defaults;
    if (!posio_alloc_is_valid(&desc->alloc))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "alloc_fn without free_fn");
    if ((desc->flags & VHDX_READ_AS_VHDX) && (desc->flags & VHDX_READ_AS_VHD))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET,
                          "VHDX_READ_AS_VHDX and VHDX_READ_AS_VHD exclude each other");
    length = desc->name != NULL ? strlen(desc->name) : 0;
    v = (vhdx_read *)posio_allocate_zeroed(&desc->alloc, sizeof *v + length + 1);
    if (v == NULL) return vhdx_read_i_no_memory(err);
    v->desc = *desc;
    if (desc->name != NULL) v->desc.name = (char *)memcpy(v + 1, desc->name, length + 1);
    v->has_lock = thread_pool_mutex_init(&v->lock);
    if (!v->has_lock) {
        vhdx_read_close(v);
        return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "vhdx_read: no mutex");
    }
    *out = v;
    return POSIO_OK;
}

/* Is the file a VHDX? One that ends as a fixed VHD may be either: in neither format a guest is kept
   from writing what makes the other one. */
static posio_result vhdx_read_i_tell(const vhdx_read *v, int *is_vhdx, posio_error *err)
{
    unsigned char b[VHDX_READ_I_FOOTER];
    const char *fault = NULL;
    uint64_t at = 0;
    posio_result r = POSIO_OK;
    *is_vhdx = 0;
    if (v->file.size >= 8) r = posio_read(&v->file, 0, b, 8, err);
    if (r != POSIO_OK || v->file.size < 8 || memcmp(b, "vhdxfile", 8) != 0) return r;
    *is_vhdx = 1;
    if (v->desc.flags & VHDX_READ_AS_VHDX) return POSIO_OK;
    r = vhdx_read_i_last_footer(&v->file, b, &at, &fault, err);
    if (r != POSIO_OK || fault != NULL || posio_be32(b + 60) != 2) return r;
    *is_vhdx = 0;
    if (v->desc.flags & VHDX_READ_AS_VHD) return POSIO_OK;
    return posio_fail(err, POSIO_E_UNSUPPORTED, at,
                      "the file begins as a VHDX and ends as a fixed VHD: VHDX_READ_AS_VHDX or "
                      "VHDX_READ_AS_VHD must say which it is");
}

/* The rest of opening, once v->file is there. */
static posio_result vhdx_read_i_interpret(vhdx_read *v, posio_error *err)
{
    int is_vhdx = 0;
    posio_result r = vhdx_read_i_tell(v, &is_vhdx, err);
    v->size = v->info.file_size = v->file.size;
    if (r == POSIO_OK)
        r = is_vhdx ? vhdx_read_i_interpret_vhdx(v, err) : vhdx_read_i_interpret_vhd(v, err);
    if (r == POSIO_OK && v->info.has_parent && v->linkage[0][0] != 0)
        v->info.parent_identity = v->linkage[0];
    v->unit = VHDX_READ_I_UNIT;
    if (r == POSIO_OK && v->info.has_parent && !(v->desc.flags & VHDX_READ_ALONE))
        r = vhdx_read_i_open_parent(v, err);
    return vhdx_read_i_named(v, r, err);
}

VHDX_READ_API posio_result vhdx_read_open_source(vhdx_read **out, const posio_source *file,
                                                 const vhdx_read_desc *desc, posio_error *err)
{
    vhdx_read *v = NULL;
    posio_result r = vhdx_read_i_create(&v, desc, err);
    if (r != POSIO_OK) return r;
    v->file = *file;
    r = vhdx_read_i_interpret(v, err);
    if (r == POSIO_OK) *out = v;
    else vhdx_read_close(v);
    return r;
}

#ifndef POSIO_NO_FILES
static posio_result vhdx_read_i_resolve(void *self, const posio_reference *reference,
                                        posio_source *out, posio_error *err);

/* The image that lies in a layer, which becomes its own. */
static posio_result vhdx_read_i_open_layer(vhdx_read **out, posio_layer *layer,
                                           const vhdx_read_desc *desc, posio_error *err)
{
    vhdx_read *v = NULL;
    vhdx_read_desc named;
    posio_result r;
    memset(&named, 0, sizeof named);
    if (desc != NULL) named = *desc;
    named.name = posio_layer_path(layer);
    r = vhdx_read_i_create(&v, &named, err);
    if (r != POSIO_OK) {
        posio_layer_close(layer);
        return r;
    }
    v->layer = layer;
    v->file = posio_layer_source(layer);
    if (v->desc.resolver == NULL) {
        v->own_resolver.open = vhdx_read_i_resolve;
        v->own_resolver.self = v;
        v->desc.resolver = &v->own_resolver;
    }
    r = vhdx_read_i_interpret(v, err);
    if (r == POSIO_OK) *out = v;
    else vhdx_read_close(v);
    return r;
}

/* What vhdx_read_open does for itself: parents that are VHDX or VHD files. The parents of one are
   looked for only when it is the right one: each name could lead to a chain, and the names in it to
   more of them. One that may be either format is of its child's, as Windows demands of all. */
static posio_result vhdx_read_i_resolve(void *self, const posio_reference *reference,
                                        posio_source *out, posio_error *err)
{
    vhdx_read *v = (vhdx_read *)self, *parent = NULL;
    vhdx_read_desc desc = v->desc;
    posio_layer *layer = NULL;
    posio_result r;
    vhdx_read_close(v->parent_image);
    v->parent_image = NULL;
    r = posio_layer_follow(&layer, v->layer, reference->name, err);
    if (r != POSIO_OK) return r;
    desc.resolver = NULL;
    desc.flags &= ~(uint32_t)(VHDX_READ_AS_VHDX | VHDX_READ_AS_VHD);
    desc.flags |= (uint32_t)VHDX_READ_ALONE |
                  (v->info.is_vhd ? (uint32_t)VHDX_READ_AS_VHD : (uint32_t)VHDX_READ_AS_VHDX);
    r = vhdx_read_i_open_layer(&parent, layer, &desc, err);
    if (r != POSIO_OK) return r;
    v->parent_image = parent;
    if (parent->info.has_parent && (v->any_parent || vhdx_read_i_is_parent(v, parent->identity))) {
        parent->desc.flags = v->desc.flags;
        r = vhdx_read_i_named(parent, vhdx_read_i_open_parent(parent, err), err);
        if (r != POSIO_OK) return r;
    }
    if (reference->identity != NULL)
        memcpy(reference->identity, parent->identity, sizeof parent->identity);
    *out = vhdx_read_source(parent);
    return POSIO_OK;
}
#endif

VHDX_READ_API posio_result vhdx_read_open(vhdx_read **out, const char *path,
                                          const vhdx_read_desc *desc, posio_error *err)
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
    return r != POSIO_OK ? r : vhdx_read_i_open_layer(out, layer, desc, err);
#endif
}

VHDX_READ_API void vhdx_read_close(vhdx_read *image)
{
    posio_alloc a;
    uint64_t i;
    if (image == NULL) return;
    a = image->desc.alloc;
    vhdx_read_close(image->parent_image);
    chunk_cache_destroy(image->tables);
    if (image->pages != NULL)
        for (i = 0; i * VHDX_READ_I_PAGE < image->bat_there * image->entry_size; i++)
            posio_release(&a, image->pages[i]);
    posio_release(&a, image->pages);
    posio_release(&a, image->patches);
    for (i = 0; i < image->info.parent_name_count; i++) {
        posio_release(&a, image->names[i].key);
        posio_release(&a, image->names[i].name);
    }
    posio_release(&a, image->names);
    posio_release(&a, image->creator);
#ifndef POSIO_NO_FILES
    posio_layer_close(image->layer);
#endif
    if (image->has_lock) thread_pool_mutex_destroy(&image->lock);
    posio_release(&a, image);
}

// ---------------------------------------------------------------------------------- inspection

VHDX_READ_API const vhdx_read_metadata *vhdx_read_info(const vhdx_read *image)
{
    return &image->info;
}

VHDX_READ_API posio_result vhdx_read_get_parent_name(const vhdx_read *image, uint32_t i,
                                                     const char **key, const char **name)
{
    if (i >= image->info.parent_name_count) return POSIO_E_RANGE;
    *key = image->names[i].key;
    *name = image->names[i].name;
    return POSIO_OK;
}

VHDX_READ_API posio_result vhdx_read_get_warning(const vhdx_read *image, uint32_t i,
                                                 vhdx_read_warning *out)
{
    const vhdx_read *v;
    for (v = image; v != NULL; v = v->parent_image)
        if (posio_get_warning(&v->warnings, &i, v != image ? v->desc.name : NULL, out))
            return POSIO_OK;
    return POSIO_E_RANGE;
}

#undef VHDX_READ_I_NONE
#elif defined(VHDX_READ_IMPLEMENTATION) && VHDX_READ_I_IMPLEMENTED < 100
#error "vhdx_read.h: the functions of an older copy came first; include the newest header first"
#endif
