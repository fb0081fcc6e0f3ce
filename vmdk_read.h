/* vmdk_read.h - read VMware disk images and what they stand on, from any number of threads.
   SPDX-License-Identifier: MIT OR Unlicense

   QUICK START

       #define VMDK_READ_IMPLEMENTATION
       #include "vmdk_read.h"
       #include <stdio.h>

       int main(int argc, char **argv)
       {
           vmdk_read *image = NULL;
           posio_error err;
           unsigned char sector[512];
           if (argc < 2 || vmdk_read_open(&image, argv[1], NULL, &err) != POSIO_OK) return 2;
           printf("%llu bytes\n", (unsigned long long)vmdk_read_info(image)->media_size);
           if (vmdk_read_at(image, 0, sector, sizeof sector, &err) != POSIO_OK) puts(err.message);
           vmdk_read_close(image);
           return 0;
       }

   WHAT IT DOES NOT DO
     No writing, no repair, no replay of a seSparse journal. Encrypted disks and vSAN objects are
     refused by name. Guest bytes are never probed: what an extent is its descriptor says, and a
     sparse one its header.

   OPTIONS  (define before the first include; each works alone)
     VMDK_READ_IMPLEMENTATION   the functions too: in exactly one .c or .cpp
     VMDK_READ_STATIC           a private copy with internal linkage, for this file only
     VMDK_READ_API              how public functions are declared (default: nothing)
     THREAD_POOL_NO_THREADS     no locks, no threads: one thread may use an image at a time

   THREADS
     After opening, every function that takes a handle may be called by any number of threads, but
     for vmdk_read_close. No thread is started: large reads use the pool lent in the desc, if any.

   MEMORY
     Tables stay on disk and are read when wanted. An open image keeps 4.5 MiB of tables, and
     desc.cache_bytes (32 MiB) of decompressed grains; its descriptor twice (1 MiB each at most, 3
     MiB if it is in windows-1252, 1.5 MiB in UTF-16); 450 bytes for each extent (65,536 at most)
     and some KiB; a parent that vmdk_read_open finds by itself gets half the cache of the image
     above it. Each thread that decompresses keeps 24 KiB, and two buffers of what it reads: for
     grains in a row (1 MiB and a grain), and for one (at most twice a grain that is decompressed,
     and 512 bytes: of the usual grains 129 KiB, of the largest 64 MiB). A map that is rebuilt takes
     16 bytes for each grain that is found, as much for each loss between two, and three times that
     while it grows.

   ERRORS
     FORMAT (not a VMDK), UNSUPPORTED (refused by name; also reading what is marked NOACCESS), DATA
     (damaged), MISSING (the file of an extent or a parent is absent), POLICY (a stored name leads
     elsewhere), LIMIT, RANGE, IO, NOMEM. Errors name the file, the extent and the byte offset in
     the file. What can be read around is a warning, which may come up as late as when reading.

   THE FORMAT  (VMware, "Virtual Disk Format 5.0", technical note: VMDK)

     A disk is a row of extents. A descriptor, in a file of its own or within a sparse extent, says
     which. All numbers in binary are little-endian; a sector has 512 bytes.

     descriptor   # Disk DescriptorFile
                  version=1
                  encoding="UTF-8"                     of this text, or windows-1252
                  CID=123a4567                         changes when the disk is written to
                  parentCID=ffffffff                   no parent; else this is a delta of it:
                  parentFileNameHint="base.vmdk"       by this name, or beside the image
                  createType="monolithicSparse"        a word for people; the extents decide
                  RW 4192256 SPARSE "disk-s001.vmdk"   access, sectors, type, file, for FLAT an
                  RW 63 FLAT "disk-pt.vmdk" 0          offset in sectors, perhaps IDs
                  ddb.adapterType = "ide"
                  Keys in any case, values with quotes or without, lines that end with LF, CR or
                  both, blanks anywhere; a mark in front, and UTF-16 with one.

     hosted       "KDMV" | version u32 | flags u32 | capacity u64 | sectors of a grain u64 |
     sparse       descriptor: sector u64, sectors u64 | entries of a grain table u32 |
     header       redundant grain directory u64 | grain directory u64 | overhead u64 | unclean u8 |
                  "\n \r\n" | compression u16 (0 none, 1 deflate, with a zlib header)
                  flags: 0 line ends intact, 1 redundant directory, 2 zeroed grains, 16 compressed,
                  17 markers. Grain directory -1: it is in the footer. Capacity 0: a descriptor only
     COWD         "COWD" | version u32 = 1 | flags u32 | capacity u32 | sectors of a grain u32 |
     header       grain directory u32 | its entries u32 | ...; 4,096 entries in each grain table
     seSparse     00000000cafebabe | version 2.1 u64 | capacity | 8 | 64 | flags | 4 reserved |
     header       (sector, sectors) of volatile header, journal header, journal, grain directory,
                  grain tables, free bitmap, back map, grains

     media offset -> grain directory entry (one for each table) -> grain table entry -> grain

     u32 entry    sector of the grain table or grain; 0 = unallocated: the parent; 1 = zeros, if
                  flag 2 allows it
     seSparse     directory: 10000000 in the upper half, in the lower one the index of a table.
     u64 entry    table: the upper 4 bits are 0 unallocated, 1 unmapped by the guest, 2 zeros,
                  3 allocated; bits 48-59 are the lowest of the grain's index, 0-47 the others.
                  What the guest unmapped reads as zeros, in a delta too: never the parent's bytes.
     compressed   with markers: sector of the disk u64 | bytes u32 | stream, padded to a sector; GD,
     grain        GT and footer have markers with bytes = 0. Without: the stream, or u32 and stream.

     variant                                                       |
     monolithicSparse, twoGbMaxExtentSparse, 2GbMaxExtentSparse    | read; versions 1, 2 and 3
     monolithicFlat, twoGbMaxExtentFlat, 2GbMaxExtentFlat          | read
     streamOptimized: directory in the header, in the footer, in   | read; with neither the map is
       both, footer behind padding; with and without markers       |   rebuilt from the markers
     vmfs, vmfsThin, vmfsPreallocated, vmfsEagerZeroedThick        | read
     vmfsSparse (COWD, version 1), seSparse (2.1)                  | read
     seSparse whose journal is to be replayed                      | refused, see the flag
     custom; extents RW, RDONLY, ZERO, in any mixture              | read
     NOACCESS (but of type ZERO)                                   | those bytes cannot be read
     fullDevice, partitionedDevice, vmfsRaw, vmfsRDM, vmfsRDMP     | read, as far as desc.allow goes
     a sparse extent alone, without a descriptor                   | read, with a warning
     deltas, in chains; parents by CID or long content ID          | read; another CID is a warning
     vSAN, encrypted disks, COWD of other versions                 | refused by name

   DAMAGE
     A grain table that cannot be read, or has an entry that cannot be right (outside of the file,
     in the header, the descriptor, a directory or the table itself), or none at all, is taken from
     the redundant directory if that has a better one; a directory that does not fit in the file
     from the footer or the redundant one. What remains is an error that names the entry; it never
     reads as zeros. Flat files that are too short are read as far as they go.
     Streams are written in the order of the media. Where a map that is rebuilt has no grain, there
     was none, but for where one may have been lost: between the grains around what is no marker,
     behind the last one of a stream without an end (a marker of a directory, a footer, or the end
     marker: zeros, 64 KiB at most), and anywhere if grains of a damaged stream are in disorder.
     Those are errors, too. Behind 4 GiB of zeros no more grains are looked for, but for holes. */

#if defined(VMDK_READ_STATIC) && !defined(VMDK_READ_IMPLEMENTATION)
#define VMDK_READ_IMPLEMENTATION
#endif
#if defined(VMDK_READ_IMPLEMENTATION)
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

#ifndef CHUNKWISE_VMDK_READ_H
#define CHUNKWISE_VMDK_READ_H

#define VMDK_READ_VERSION 100 /* 1.0.0 */

#include <stddef.h>
#include <stdint.h>

struct chunkwise_pool;

#if defined(VMDK_READ_STATIC)
#define VMDK_READ_I_STATIC
#endif
#ifndef VMDK_READ_API
#if !defined(VMDK_READ_STATIC)
#define VMDK_READ_API
#elif defined(__GNUC__) || defined(__TINYC__)
#define VMDK_READ_API static __attribute__((unused))
#else
#define VMDK_READ_API static
#endif
#endif

/* ------------------------------------------------------------------ essential */

typedef struct vmdk_read vmdk_read;

enum {
    VMDK_READ_ALONE = 1,        /* no parent: what the image does not hold reads as zeros */
    VMDK_READ_STALE_JOURNAL = 2 /* a seSparse extent whose journal was not replayed is read as its
                                   tables are, with a warning; it is refused else */
};

typedef struct vmdk_read_desc {
    struct chunkwise_pool *pool; /* lent for large reads; NULL = the calling thread */
    uint64_t cache_bytes;        /* of decompressed grains; 0 = 32 MiB */
    uint32_t flags;              /* VMDK_READ_... */
    /* POSIO_ALLOW_... for names stored in the image: for what vmdk_read_open opens by itself. An
       opener and a resolver have rules of their own. */
    uint32_t allow;
    /* Of the file, copied: in errors, and to tell which of several extents in an embedded
       descriptor is the file itself. vmdk_read_open takes the path. */
    const char *name;
    /* Opens the files of extents (POSIO_NAME_STORED); borrowed while the image is open. NULL:
       vmdk_read_open finds them beside the image, vmdk_read_open_source refuses them. */
    const posio_opener *opener;
    /* Opens parents; borrowed while the image is open. NULL: vmdk_read_open finds those in VMDK
       format beside the image, vmdk_read_open_source refuses them. */
    const posio_resolver *resolver;
    posio_alloc alloc;
} vmdk_read_desc;

#ifdef __cplusplus
extern "C" {
#endif

/* Opens the image at path (UTF-8): a descriptor, or a sparse extent with or without one; with the
   files of its extents and its parents. desc NULL or all zero is a complete default. On success
   close *out yourself.
   Source: VMDK, "The Descriptor File", "Hosted Sparse Extents".
   Threads: any. Allocates: open. Blocks: I/O. */
VMDK_READ_API posio_result vmdk_read_open(vmdk_read **out, const char *path,
                                          const vmdk_read_desc *desc, posio_error *err);

/* Reads n bytes of the logical media at offset into buf. POSIO_E_RANGE beyond media_size; on
   failure buf holds anything. A large range is cut into parts for the pool, and its whole grains
   are decompressed straight into buf: they pass by the cache. All other compressed grains are
   decompressed once for all threads that want them. Everything else is read straight into buf.
   Source: VMDK, "Grain Directory", "Grain Table".
   Threads: any. Allocates: yes (a scratch for each thread at once). Blocks: workers. */
VMDK_READ_API posio_result vmdk_read_at(vmdk_read *image, uint64_t offset, void *buf, size_t n,
                                        posio_error *err);

/* Closes; NULL is fine. Nothing may be reading.
   Threads: exclusive. Allocates: no. Blocks: I/O. */
VMDK_READ_API void vmdk_read_close(vmdk_read *image);

/* The logical media as a positioned source; it borrows the image. Its extents are those of the
   whole chain: unallocated grains are what the parent says, holes where there is none.
   Threads: any. Allocates: no. Blocks: no. */
VMDK_READ_API posio_source vmdk_read_source(vmdk_read *image);

/* ------------------------------------------------------------------ inspection */

typedef struct vmdk_read_metadata {
    uint64_t media_size;      /* bytes of logical media */
    uint64_t file_size;       /* of the file that was opened */
    uint64_t descriptor_size; /* bytes of descriptor; 0 = there is none */
    uint32_t version;         /* of the descriptor; of the sparse header where there is none */
    uint32_t header_version;  /* of the opened file's own sparse header; 0 = it has none */
    uint32_t cid;             /* content ID; ffffffff where it is not known */
    uint32_t parent_cid;      /* ffffffff = no parent */
    uint32_t extent_count;
    uint32_t grain_size;      /* bytes, the largest of all extents; 0 = no extent is sparse */
    uint32_t is_compressed;   /* an extent has compressed grains */
    uint32_t rebuilt;         /* the map of an extent was rebuilt by walking its grain markers */
    uint32_t has_parent;      /* one was opened */
    uint32_t parent_mismatch; /* and has another content ID than the image says */
    const char *create_type;  /* as stored, or ""; hostile, as all texts here */
    const char *encoding;     /* of the descriptor, as stored, or "" */
    const char *parent_name;  /* as stored (UTF-8), or NULL */
    char identity[POSIO_IDENTITY]; /* the content ID as 8 hex digits; the long one if CID says so */
} vmdk_read_metadata;

/* Everything known after opening; valid until close. Threads: any. Allocates: no. Blocks: no. */
VMDK_READ_API const vmdk_read_metadata *vmdk_read_info(const vmdk_read *image);

enum { VMDK_READ_RW, VMDK_READ_RDONLY, VMDK_READ_NOACCESS };
enum {
    VMDK_READ_FLAT,
    VMDK_READ_SPARSE,
    VMDK_READ_ZERO,
    VMDK_READ_VMFS,
    VMDK_READ_VMFS_SPARSE,
    VMDK_READ_VMFS_RDM,
    VMDK_READ_VMFS_RAW,
    VMDK_READ_SE_SPARSE,
    VMDK_READ_VSAN_SPARSE
};

typedef struct vmdk_read_extent {
    uint64_t media_offset, size; /* bytes of the media */
    uint64_t file_offset;        /* of an extent that is not sparse: of its first byte */
    uint64_t file_size;          /* 0 = it has no file */
    uint32_t access;             /* VMDK_READ_RW ... */
    uint32_t type;               /* VMDK_READ_FLAT ... */
    uint32_t grain_size;         /* bytes; 0 = not sparse */
    uint32_t header_version;     /* of its sparse header; 0 = it has none */
    uint32_t is_compressed, has_markers;
    uint32_t rebuilt;      /* its map was rebuilt by walking its grain markers */
    uint32_t is_own;       /* its file is the one that was opened */
    const char *name;      /* of its file, as stored (UTF-8); NULL = none is stored */
    const char *type_name; /* "FLAT" ... */
} vmdk_read_extent;

/* The i-th extent, in the order of the media; POSIO_E_RANGE behind the last.
   Threads: any. Allocates: no. Blocks: no. */
VMDK_READ_API posio_result vmdk_read_get_extent(const vmdk_read *image, uint32_t i,
                                                vmdk_read_extent *out);

/* The value of a key of the descriptor, such as "ddb.adapterType", without quotes, as UTF-8, cut to
   room bytes with the terminator. Case does not matter; the first of several counts.
   POSIO_E_NOT_FOUND: there is none. Threads: any. Allocates: no. Blocks: no. */
VMDK_READ_API posio_result vmdk_read_get_value(const vmdk_read *image, const char *key, char *out,
                                               size_t room);

typedef posio_warning vmdk_read_warning; /* segment: number of the extent */

/* The i-th thing that was found wrong and read around, when opening or since; POSIO_E_RANGE behind
   the last. Those of parents that vmdk_read_open found by itself come last, and begin with the
   file's name. Of each image there are 32 at most: the last one tells how many it replaced.
   Threads: any. Allocates: no. Blocks: no. */
VMDK_READ_API posio_result vmdk_read_get_warning(vmdk_read *image, uint32_t i,
                                                 vmdk_read_warning *out);

/* ------------------------------------------------------------------ advanced */

/* Opens an image that is a source already, which is borrowed until close: memory, a slice, or the
   media of another image. Threads: any. Allocates: open. Blocks: I/O. */
VMDK_READ_API posio_result vmdk_read_open_source(vmdk_read **out, const posio_source *file,
                                                 const vmdk_read_desc *desc, posio_error *err);

/* Do these bytes begin a VMDK? OK: a sparse extent (KDMV, COWD, seSparse) or a descriptor.
   UNSUPPORTED: of the family, and refused by name. FORMAT: something else.
   Source: VMDK, "The Descriptor File", "Hosted Sparse Extents".
   Threads: any. Allocates: no. Blocks: I/O. */
VMDK_READ_API posio_result vmdk_read_probe(const posio_source *source, posio_error *err);

#ifdef __cplusplus
}
#endif
#elif VMDK_READ_VERSION < 100
#error "vmdk_read.h: an older copy came first in this file; include the newest header first"
#endif
#if defined(VMDK_READ_STATIC) && !defined(VMDK_READ_I_STATIC)
#error "define VMDK_READ_STATIC before the first include of vmdk_read.h"
#endif

#if defined(VMDK_READ_IMPLEMENTATION) && !defined(VMDK_READ_I_IMPLEMENTED)
#define VMDK_READ_I_IMPLEMENTED 100

#include <stdlib.h>
#include <string.h>

// ---------------------------------------------------------------------------------- structures

enum {
    VMDK_READ_I_SECTOR = 512,       /* bytes, everywhere in the format */
    VMDK_READ_I_TEXT = 1 << 20,     /* bytes of a descriptor, at most */
    VMDK_READ_I_EXTENTS = 65536,    /* as many; disks of 8 TiB in pieces of 2 GiB have 4,096 */
    VMDK_READ_I_PER_TABLE = 4096,   /* entries of a grain table, at most; 512 in hosted extents */
    VMDK_READ_I_GRAIN_MAX = 1 << 30 /* bytes of a grain, as QEMU, */
};
enum {
    VMDK_READ_I_PACKED_MAX = 32 << 20, /* and of a compressed one */
    VMDK_READ_I_PAGE = 4096,           /* bytes of grain directories in a cached page */
    VMDK_READ_I_PAGES = 512 << 10,     /* bytes of these pages, */
    VMDK_READ_I_TABLES = 4 << 20,      /* and of decoded grain tables */
    VMDK_READ_I_BATCH = 256,           /* table entries looked at together */
    VMDK_READ_I_AHEAD = 1024,          /* entries of grain directories looked at to find data */
    VMDK_READ_I_GROUP = 16,            /* compressed grains that are read in one go, */
    VMDK_READ_I_GROUP_BYTES = 1 << 20, /* and their bytes */
    VMDK_READ_I_PART = 256 << 10,      /* bytes in one step of a large read, */
    VMDK_READ_I_PLAIN_PART = 1 << 20,  /* where nothing is decompressed */
    VMDK_READ_I_TAIL = 16 << 20,       /* of the file, in which a footer is looked for */
    VMDK_READ_I_WINDOW = 64 << 10      /* bytes looked at together */
};

/* Bytes of zeros that are read one behind the other to find more grains of a stream. */
#define VMDK_READ_I_EMPTY ((uint64_t)4 << 30)

/* Entries of grain tables, once decoded: an offset in bytes, which is a multiple of 512, or */
#define VMDK_READ_I_GAP ((uint64_t)0)
#define VMDK_READ_I_ZEROS ((uint64_t)1)
#define VMDK_READ_I_BAD UINT64_MAX

/* How an extent holds its bytes. */
enum {
    VMDK_READ_I_NOTHING, /* NOACCESS */
    VMDK_READ_I_ZERO_EXTENT,
    VMDK_READ_I_PLAIN,
    VMDK_READ_I_HOSTED, /* KDMV */
    VMDK_READ_I_COWD,
    VMDK_READ_I_SE
};

/* Where the grain of a rebuilt map is. LOST: this one and those up to the next in the map may have
   been where the file is damaged. */
#define VMDK_READ_I_LOST ((uint64_t)1 << 63)
typedef struct vmdk_read_i_place {
    uint64_t grain, at;
} vmdk_read_i_place;

typedef struct vmdk_read_i_extent {
    uint64_t media, size; /* bytes of the media */
    posio_source file;
    const char *name, *type_name;
    uint64_t start;              /* PLAIN: of its first byte in the file */
    uint64_t capacity;           /* bytes that a sparse extent says it has */
    uint64_t gd, copy;           /* grain directory, and a redundant one or 0: bytes in the file */
    uint64_t tables;             /* entries of a grain directory that matter */
    uint64_t text_at, text_size; /* embedded descriptor: no place for anything else, */
    uint64_t room_at, room_size; /* and what the header keeps free for it: for no grain */
    uint64_t tables_at, tables_size; /* seSparse: grain tables, */
    uint64_t grains_at, grains_size; /* and grains */
    uint64_t gd_key, copy_key;       /* of pages, */
    uint64_t table_key, grain_key;   /* tables and grains in the caches */
    vmdk_read_i_place *map;          /* rebuilt, sorted; then there is no directory */
    uint64_t map_count;
    uint64_t lost_at; /* where what the map does not have may have been; 0 = it says so itself */
    uint32_t kind, access, type;
    uint32_t grain;     /* bytes */
    uint32_t per_table; /* entries */
    uint32_t version;
    uint32_t number; /* 1-based; 0 = it is the only one, in the file that was opened */
    uint32_t has_zeros, is_compressed, has_markers;
    uint32_t is_own, is_shared; /* the file is that of the image; of an extent before */
    uint32_t is_told;           /* that redundant tables are used */
} vmdk_read_i_extent;

/* Where bytes of the media come from. */
enum {
    VMDK_READ_I_UNALLOCATED, /* the parent, or zeros */
    VMDK_READ_I_ZERO,
    VMDK_READ_I_DATA,
    VMDK_READ_I_COMPRESSED
};
typedef struct vmdk_read_i_run {
    vmdk_read_i_extent *extent;
    uint32_t kind;
    uint32_t count;  /* COMPRESSED: grains; more than one only if all are wanted as a whole */
    uint64_t length; /* bytes of the media */
    uint64_t host;   /* DATA: offset in the file of the extent */
    uint64_t grain;  /* the first one, and where they are; behind the last one: where the next */
    uint64_t at[VMDK_READ_I_GROUP + 1]; /* thing in the file begins, or 0 */
} vmdk_read_i_run;

/* What decompressing takes, kept from one grain to the next. */
typedef struct vmdk_read_i_scratch {
    struct vmdk_read_i_scratch *next;
    deflate_read inflater;
    unsigned char *group, *single; /* compressed bytes: of neighbours, and of one grain */
    size_t group_room, single_room;
} vmdk_read_i_scratch;

struct vmdk_read {
    vmdk_read_desc desc;
    posio_source file, parent;
    vmdk_read_metadata info;
    vmdk_read_i_extent *extents;
    char *text; /* the descriptor, as UTF-8 and terminated */
    char *cut;  /* the same, with terminators behind the texts that are pointed to */
    size_t text_size;
    uint32_t is_recoded; /* the text was in windows-1252 */
    uint32_t unit;       /* the largest grain of the chain */
    uint64_t part;       /* bytes in one step of a large read */
    chunk_cache *grains, *tables, *pages;
    posio_warnings warnings;
    thread_pool_mutex lock; /* guards idle, known, the warnings, and is_told of extents */
    int has_lock;
    vmdk_read_i_scratch *idle;
    posio_known known[2]; /* of an extent's file, and the parent */
    posio_resolver own_resolver;
    posio_opener own_opener;
#ifndef POSIO_NO_FILES
    posio_layer *layer; /* of vmdk_read_open */
    posio_folder *folder;
#endif
    vmdk_read *parent_image; /* found by ourselves */
};

static posio_result vmdk_read_i_no_memory(posio_error *err)
{
    return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
}

/* `number` of an extent, or 0. */
static void vmdk_read_i_warn(vmdk_read *v, uint32_t number, uint64_t offset, const char *format,
                             ...)
{
    va_list ap;
    va_start(ap, format);
    thread_pool_lock(&v->lock);
    posio_warn(&v->warnings, number, offset, format, ap);
    thread_pool_unlock(&v->lock);
    va_end(ap);
}

/* The innermost file has been named, or it is the one of this extent (NULL: of the image). */
static posio_result vmdk_read_i_named(const vmdk_read *v, const vmdk_read_i_extent *x,
                                      posio_result r, posio_error *err)
{
    const char *name = x == NULL || x->is_own ? v->desc.name : x->name;
    if (r != POSIO_OK) (void)posio_fail_in(err, name, x != NULL ? x->number : 0);
    return r;
}

// ---------------------------------------------------------------------------------- directories

static int vmdk_read_i_touches(uint64_t at, uint64_t n, uint64_t from, uint64_t size)
{
    return size != 0 && at < from + size && from < at + n;
}

/* Bytes of an entry, on disk. */
static uint32_t vmdk_read_i_entry_size(const vmdk_read_i_extent *x)
{
    return x->kind == VMDK_READ_I_SE ? 8 : 4;
}

/* What lies where n bytes at `at`, which are in the file, cannot be; NULL = nothing. Where the
   redundant directory lies matters to itself only: a header that is wrong about it must not cost
   what the first one knows. */
static const char *vmdk_read_i_area_fault(const vmdk_read_i_extent *x, int copy, uint64_t at,
                                          uint64_t n)
{
    const uint64_t gd_size = x->tables * vmdk_read_i_entry_size(x);
    if (at < (x->kind == VMDK_READ_I_COWD ? 4u : 1u) * VMDK_READ_I_SECTOR)
        return "lies in the header";
    if (vmdk_read_i_touches(at, n, x->text_at, x->text_size)) return "lies in the descriptor";
    if (vmdk_read_i_touches(at, n, x->gd, x->gd != 0 ? gd_size : 0) ||
        (copy && vmdk_read_i_touches(at, n, x->copy, x->copy != 0 ? gd_size : 0)))
        return "lies in a grain directory";
    return NULL;
}

typedef struct vmdk_read_i_page {
    const vmdk_read_i_extent *extent;
    uint64_t key, at; /* of the first page of the directory */
} vmdk_read_i_page;

static posio_result vmdk_read_i_page_flight(void *user, uint64_t key, void *chunk, size_t *size,
                                            posio_error *err)
{
    const vmdk_read_i_page *p = (const vmdk_read_i_page *)user;
    const uint64_t at = (key - p->key) * VMDK_READ_I_PAGE;
    *size = (size_t)posio_min(VMDK_READ_I_PAGE,
                              p->extent->tables * vmdk_read_i_entry_size(p->extent) - at);
    return posio_read(&p->extent->file, p->at + at, chunk, *size, err);
}

/* `count` entries from number `t` on of a grain directory, the redundant one if `copy`. Both lie in
   the file. */
static posio_result vmdk_read_i_directory(vmdk_read *v, const vmdk_read_i_extent *x, int copy,
                                          uint64_t t, uint32_t count, uint64_t *out,
                                          posio_error *err)
{
    const uint32_t size = vmdk_read_i_entry_size(x);
    vmdk_read_i_page p;
    uint32_t i = 0;
    p.extent = x;
    p.key = copy ? x->copy_key : x->gd_key;
    p.at = copy ? x->copy : x->gd;
    while (i < count) {
        unsigned char raw[64 * 8];
        uint64_t at = (t + i) * size;
        size_t within = (size_t)(at % VMDK_READ_I_PAGE);
        uint32_t k,
            n = (uint32_t)posio_min(posio_min(count - i, 64), (VMDK_READ_I_PAGE - within) / size);
        posio_result r = chunk_cache_read(v->pages, p.key + at / VMDK_READ_I_PAGE, within, raw,
                                          (size_t)n * size, vmdk_read_i_page_flight, &p, err);
        if (r != POSIO_OK) return r;
        for (k = 0; k < n; k++)
            out[i + k] = size == 8 ? posio_le64(raw + k * 8) : posio_le32(raw + k * 4);
        i += n;
    }
    return POSIO_OK;
}

/* Do all directories say that table t, and those behind it, are not there? *end: the first that may
   be, at most `last` + 1. Fails where there is one directory, and it cannot be read. */
static posio_result vmdk_read_i_missing_tables(vmdk_read *v, const vmdk_read_i_extent *x,
                                               uint64_t t, uint64_t last, uint64_t *end,
                                               posio_error *err)
{
    const uint64_t first = t;
    uint64_t entries[64], copies[64];
    uint32_t step = 1; /* one table first: mostly it is there */
    last = posio_min(last, t + VMDK_READ_I_AHEAD);
    *end = t;
    while (t <= last) {
        uint32_t k = 0, n = (uint32_t)posio_min(step, last - t + 1);
        posio_result r = vmdk_read_i_directory(v, x, 0, t, n, entries, x->copy != 0 ? NULL : err);
        if (r != POSIO_OK && (x->copy != 0 || t != first)) return POSIO_OK; /* found out later */
        if (r != POSIO_OK) return r;
        while (k < n && entries[k] == 0) k++;
        if (k != 0 && x->copy != 0) {
            n = k;
            r = vmdk_read_i_directory(v, x, 1, t, n, copies, NULL);
            if (r == POSIO_E_NOMEM) return vmdk_read_i_no_memory(err);
            for (k = 0; r == POSIO_OK && k < n && copies[k] == 0;) k++;
            if (r != POSIO_OK) k = n; /* the copy is lost; the directory is not */
        }
        t += k;
        *end = t;
        if (k < n || n < step) break;
        step = 64;
    }
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- grain tables

/* Where the grain table of a directory's entry is, the redundant one if `copy`. NULL, or what is
   wrong with it. An entry of 1 is no table of zeros: only those of grain tables may say so. */
static const char *vmdk_read_i_table_at(const vmdk_read_i_extent *x, int copy, uint64_t entry,
                                        uint32_t count, uint64_t *at)
{
    const uint64_t bytes = (uint64_t)count * vmdk_read_i_entry_size(x);
    if (x->kind == VMDK_READ_I_SE) {
        const uint64_t whole = (uint64_t)x->per_table * 8;
        if (entry >> 32 != 0x10000000) return "is marked as nothing that is known";
        *at = (entry & UINT32_MAX) * whole;
        if (!posio_within(*at, whole, x->tables_size)) return "lies beyond the last table";
        *at += x->tables_at;
    } else {
        *at = entry * VMDK_READ_I_SECTOR;
    }
    if (!posio_within(*at, bytes, x->file.size)) return "reaches beyond the end of the file";
    return vmdk_read_i_area_fault(x, copy, *at, bytes);
}

/* What an entry of a seSparse grain table means. The upper 4 bits: 0 unallocated, 1 unmapped by the
   guest (which then sees zeros: not the parent's bytes), 2 zeros, 3 allocated. Of the index of a
   grain the lowest 12 bits are in bits 48-59. */
static const char *vmdk_read_i_se_entry(const vmdk_read_i_extent *x, uint64_t entry, uint64_t *out)
{
    uint64_t at;
    *out = VMDK_READ_I_BAD;
    switch (entry >> 60) {
    case 0:
        if (entry != 0) return "has bits set, though it is marked as unallocated";
        *out = VMDK_READ_I_GAP;
        return NULL;
    case 1:
    case 2: *out = VMDK_READ_I_ZEROS; return NULL;
    case 3: break;
    default: return "is marked as nothing that is known";
    }
    at = (entry >> 48 & 0xfff) | (entry & 0xffffffffffff) << 12;
    if (at >= x->grains_size / x->grain) return "lies beyond the last grain";
    at = x->grains_at + at * x->grain;
    if (at >= x->file.size) return "lies beyond the end of the file";
    if (vmdk_read_i_touches(at, x->grain, x->tables_at, x->tables_size))
        return "lies in the grain tables";
    *out = at;
    return vmdk_read_i_area_fault(x, 0, at, x->grain);
}

/* What an entry of the grain table at `table`, `count` entries long, means; `copy`: of the redundant
   directory. NULL, or what is wrong with it: then *out is BAD. Source: VMDK, "Grain Table". */
static const char *vmdk_read_i_entry(const vmdk_read_i_extent *x, int copy, uint64_t entry,
                                     uint64_t table, uint32_t count, uint64_t *out)
{
    const char *fault;
    uint64_t at = entry * VMDK_READ_I_SECTOR;
    if (x->kind == VMDK_READ_I_SE) {
        fault = vmdk_read_i_se_entry(x, entry, out);
        if (fault != NULL) *out = VMDK_READ_I_BAD;
        return fault;
    }
    *out = at;
    if (entry == 0) return NULL;
    if (entry == 1 && x->has_zeros) {
        *out = VMDK_READ_I_ZEROS;
        return NULL;
    }
    *out = VMDK_READ_I_BAD;
    if (at >= x->file.size) return "lies beyond the end of the file";
    fault = vmdk_read_i_area_fault(x, copy, at, x->is_compressed ? 1 : x->grain);
    if (fault == NULL &&
        vmdk_read_i_touches(at, x->is_compressed ? 1 : x->grain, x->room_at, x->room_size))
        fault = "lies in the room of the descriptor";
    if (fault != NULL && entry == 1) return "is of zeros, which the header does not provide for";
    if (fault != NULL) return fault;
    if (vmdk_read_i_touches(at, 1, table, (uint64_t)count * 4)) return "lies in its own table";
    *out = at;
    return NULL;
}

/* Grains that a table has entries for, the last one perhaps fewer. */
static uint32_t vmdk_read_i_entries_of(const vmdk_read_i_extent *x, uint64_t t)
{
    uint64_t grains = (posio_min(x->capacity, x->size) + x->grain - 1) / x->grain;
    return (uint32_t)posio_min(x->per_table, grains - t * x->per_table);
}

/* Media offset of a table's first byte. */
static uint64_t vmdk_read_i_media_of(const vmdk_read_i_extent *x, uint64_t t)
{
    return x->media + t * x->per_table * x->grain;
}

/* A table as one directory gives it. */
typedef struct vmdk_read_i_table {
    uint64_t *entries; /* room for per_table */
    uint32_t count;
    uint32_t bad;  /* entries that cannot be right */
    uint32_t used; /* entries that are not GAP */
} vmdk_read_i_table;

/* The stored entries are read to the end of the room: decoding them front to back overtakes them
   only at the last. */
static posio_result vmdk_read_i_load(vmdk_read *v, const vmdk_read_i_extent *x, int copy,
                                     uint64_t t, vmdk_read_i_table *table, posio_error *err)
{
    const uint32_t size = vmdk_read_i_entry_size(x);
    unsigned char *raw =
        (unsigned char *)(void *)table->entries + (size_t)table->count * (8 - size);
    uint64_t entry, at = 0;
    const char *fault;
    uint32_t i;
    posio_result r = vmdk_read_i_directory(v, x, copy, t, 1, &entry, err);
    if (r != POSIO_OK) return r;
    table->bad = table->used = 0;
    if (entry == 0) {
        for (i = 0; i < table->count; i++) table->entries[i] = VMDK_READ_I_GAP;
        return POSIO_OK;
    }
    fault = vmdk_read_i_table_at(x, copy, entry, table->count, &at);
    if (fault != NULL)
        return posio_fail(err, POSIO_E_DATA, (copy ? x->copy : x->gd) + t * size,
                          "the grain table for media offset %llu (grain directory entry %llx) %s",
                          (unsigned long long)vmdk_read_i_media_of(x, t), (unsigned long long)entry,
                          fault);
    r = posio_read(&x->file, at, raw, (size_t)table->count * size, err);
    for (i = 0; i < table->count && r == POSIO_OK; i++) {
        entry = size == 8 ? posio_le64(raw + (size_t)i * 8) : posio_le32(raw + (size_t)i * 4);
        if (entry == 0) {
            table->entries[i] = VMDK_READ_I_GAP;
            continue;
        }
        table->used++;
        if (vmdk_read_i_entry(x, copy, entry, at, table->count, &table->entries[i]) != NULL)
            table->bad++;
    }
    return r;
}

/* Says once for each extent that redundant tables are needed. */
static void vmdk_read_i_tell(vmdk_read *v, vmdk_read_i_extent *x, uint64_t t, const char *why)
{
    uint32_t told;
    thread_pool_lock(&v->lock);
    told = x->is_told;
    x->is_told = 1;
    thread_pool_unlock(&v->lock);
    if (!told)
        vmdk_read_i_warn(
            v, x->number, x->gd + t * vmdk_read_i_entry_size(x),
            "the grain table for media offset %llu %s: its redundant copy is used, and "
            "so it is for all others that are damaged",
            (unsigned long long)vmdk_read_i_media_of(x, t), why);
}

/* Looks at the redundant table where the first one cannot be read (r), has entries that cannot be
   right, or none at all, and takes what is better there. Source: VMDK, "Grain Directory". */
static posio_result vmdk_read_i_consult(vmdk_read *v, vmdk_read_i_extent *x, uint64_t t,
                                        vmdk_read_i_table *table, posio_result r, posio_error *err)
{
    vmdk_read_i_table other = *table;
    posio_error why;
    posio_result second;
    uint32_t i;
    other.entries = (uint64_t *)posio_allocate(&v->desc.alloc, (size_t)table->count * 8);
    if (other.entries == NULL) return vmdk_read_i_no_memory(err);
    memset(&why, 0, sizeof why);
    second = vmdk_read_i_load(v, x, 1, t, &other, &why);
    if (second == POSIO_E_NOMEM || (second == POSIO_E_IO && r != POSIO_OK)) {
        /* not damage: to try again may help. A table that was read is good without its copy. */
        if (err != NULL) *err = why;
        r = second;
    } else if (second != POSIO_OK) {
        /* nothing better is known */
    } else if (r != POSIO_OK) {
        vmdk_read_i_tell(v, x, t, "cannot be read");
        memcpy(table->entries, other.entries, (size_t)table->count * 8);
        r = POSIO_OK;
    } else if (other.used > other.bad) {
        /* Each entry from the table that has a good one: what only one of them has is data, and
           what is bad in one and a gap in the other is an error. */
        uint32_t better = 0;
        for (i = 0; i < table->count; i++) {
            if (table->entries[i] != VMDK_READ_I_BAD && table->entries[i] != VMDK_READ_I_GAP)
                continue;
            if (other.entries[i] == VMDK_READ_I_GAP || other.entries[i] == table->entries[i])
                continue;
            table->entries[i] = other.entries[i];
            better = 1;
        }
        if (better) vmdk_read_i_tell(v, x, t, table->bad != 0 ? "is damaged" : "is empty");
    }
    posio_release(&v->desc.alloc, other.entries);
    return r;
}

typedef struct vmdk_read_i_wanted {
    vmdk_read *image;
    vmdk_read_i_extent *extent;
    uint64_t number; /* of the table, or the grain */
    uint64_t at, next;
} vmdk_read_i_wanted;

static posio_result vmdk_read_i_table_flight(void *user, uint64_t key, void *chunk, size_t *size,
                                             posio_error *err)
{
    const vmdk_read_i_wanted *w = (const vmdk_read_i_wanted *)user;
    vmdk_read_i_extent *x = w->extent;
    vmdk_read_i_table table;
    posio_result r;
    (void)key;
    table.entries = (uint64_t *)chunk;
    table.count = vmdk_read_i_entries_of(x, w->number);
    *size = (size_t)table.count * 8;
    r = vmdk_read_i_load(w->image, x, 0, w->number, &table, err);
    if (x->copy == 0 || r == POSIO_E_NOMEM || (r == POSIO_OK && table.bad == 0 && table.used != 0))
        return r;
    return vmdk_read_i_consult(w->image, x, w->number, &table, r, err);
}

/* An entry that is BAD, said in full: that of the first directory, or of the redundant one where
   the table of the first is lost. */
static posio_result vmdk_read_i_explain(vmdk_read *v, const vmdk_read_i_extent *x, uint64_t grain,
                                        posio_error *err)
{
    const uint64_t t = grain / x->per_table, i = grain % x->per_table;
    const uint32_t size = vmdk_read_i_entry_size(x), count = vmdk_read_i_entries_of(x, t);
    const unsigned long long media = x->media + grain * x->grain;
    int copy;
    for (copy = 0; copy < (x->copy != 0 ? 2 : 1); copy++) {
        unsigned char raw[8];
        uint64_t entry = 0, table = 0, unused;
        const char *fault;
        posio_result r = vmdk_read_i_directory(v, x, copy, t, 1, &entry, NULL);
        if (r == POSIO_E_NOMEM) return vmdk_read_i_no_memory(err);
        if (r != POSIO_OK || vmdk_read_i_table_at(x, copy, entry, count, &table) != NULL ||
            posio_read(&x->file, table + i * size, raw, size, NULL) != POSIO_OK)
            continue;
        entry = size == 8 ? posio_le64(raw) : posio_le32(raw);
        fault = entry == 0 ? NULL : vmdk_read_i_entry(x, copy, entry, table, count, &unused);
        if (fault != NULL)
            return posio_fail(err, POSIO_E_DATA, table + i * size,
                              "the grain for media offset %llu (grain table entry %llx) %s", media,
                              (unsigned long long)entry, fault);
    }
    return posio_fail(err, POSIO_E_DATA, x->gd + t * size,
                      "the grain for media offset %llu has an entry that cannot be right", media);
}

// ---------------------------------------------------------------------------------- mapping

/* The most bytes that a compressed grain may have, with its marker: twice the grain, as QEMU. */
static uint64_t vmdk_read_i_packed_max(const vmdk_read_i_extent *x)
{
    return (uint64_t)x->grain * 2 + VMDK_READ_I_SECTOR;
}

/* Compressed grains from position pos on: one, or as many as are wanted whole and lie one behind
   the other. */
static void vmdk_read_i_group(const vmdk_read_i_extent *x, const uint64_t *entries, uint32_t count,
                              uint32_t known, uint64_t pos, uint64_t n, vmdk_read_i_run *run)
{
    const uint64_t most = vmdk_read_i_packed_max(x);
    uint32_t i = 1;
    run->kind = VMDK_READ_I_COMPRESSED;
    run->grain = pos / x->grain;
    run->length = x->grain - pos % x->grain;
    run->at[0] = entries[0];
    if (pos % x->grain == 0) {
        for (; i < count && i < VMDK_READ_I_GROUP && (uint64_t)(i + 1) * x->grain <= n; i++) {
            if (entries[i] == VMDK_READ_I_BAD || entries[i] <= entries[i - 1] ||
                entries[i] - entries[i - 1] > most ||
                entries[i] - entries[0] > VMDK_READ_I_GROUP_BYTES)
                break;
            run->at[i] = entries[i];
        }
        run->length = (uint64_t)i * x->grain;
    }
    run->count = i;
    run->at[i] = 0;
    if (i < known && entries[i] != VMDK_READ_I_BAD && entries[i] > entries[i - 1] &&
        entries[i] - entries[i - 1] <= most)
        run->at[i] = entries[i];
}

/* The run that begins at position pos of an extent. `count` entries for its grain and those behind
   it; of `known` (>= count) the places matter only as what comes next in the file. */
static posio_result vmdk_read_i_walk(vmdk_read *v, vmdk_read_i_extent *x, const uint64_t *entries,
                                     uint32_t count, uint32_t known, uint64_t pos, uint64_t n,
                                     vmdk_read_i_run *run, posio_error *err)
{
    const uint64_t first = entries[0], within = pos % x->grain;
    uint32_t i = 1;
    if (first == VMDK_READ_I_BAD) return vmdk_read_i_explain(v, x, pos / x->grain, err);
    if (first == VMDK_READ_I_GAP || first == VMDK_READ_I_ZEROS) {
        run->kind = first == VMDK_READ_I_GAP ? VMDK_READ_I_UNALLOCATED : VMDK_READ_I_ZERO;
        while (i < count && entries[i] == first) i++;
    } else if (x->is_compressed) {
        vmdk_read_i_group(x, entries, count, known, pos, n, run);
        return POSIO_OK;
    } else {
        run->kind = VMDK_READ_I_DATA;
        run->host = first + within;
        while (i < count && entries[i] == first + (uint64_t)i * x->grain) i++;
    }
    run->length = (uint64_t)i * x->grain - within;
    if (run->kind != VMDK_READ_I_DATA) return POSIO_OK;
    if (run->host >= x->file.size)
        return posio_fail(err, POSIO_E_DATA, x->file.size,
                          "the grain for media offset %llu, at %llu, reaches beyond the end of the "
                          "file",
                          (unsigned long long)(x->media + pos - within), (unsigned long long)first);
    run->length = posio_min(run->length, x->file.size - run->host);
    return POSIO_OK;
}

/* Index of the first place of a rebuilt map that is not before this grain. */
static uint64_t vmdk_read_i_find_place(const vmdk_read_i_extent *x, uint64_t grain)
{
    uint64_t lo = 0, hi = x->map_count;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (x->map[mid].grain < grain) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* The same by a rebuilt map. */
static posio_result vmdk_read_i_map_rebuilt(vmdk_read *v, vmdk_read_i_extent *x, uint64_t pos,
                                            uint64_t n, vmdk_read_i_run *run, posio_error *err)
{
    const uint64_t grain = pos / x->grain;
    uint64_t entries[VMDK_READ_I_GROUP + 1], i = vmdk_read_i_find_place(x, grain), lost = 0;
    uint32_t count = 0, known;
    const int is_there = i < x->map_count && x->map[i].grain == grain;
    if (is_there && (x->map[i].at & VMDK_READ_I_LOST)) lost = x->map[i].at;
    else if (!is_there && i != 0 && (x->map[i - 1].at & VMDK_READ_I_LOST)) lost = x->map[i - 1].at;
    else if (!is_there && x->lost_at != 0) lost = x->lost_at;
    if (lost != 0)
        return posio_fail(err, POSIO_E_DATA, lost & ~VMDK_READ_I_LOST,
                          "the stream is damaged or ends here, and the grain for media offset %llu "
                          "was not found: it may have been lost",
                          (unsigned long long)(x->media + grain * x->grain));
    if (!is_there) {
        run->kind = VMDK_READ_I_UNALLOCATED;
        run->length = x->size - pos;
        if (i < x->map_count) run->length = x->map[i].grain * x->grain - pos;
        return POSIO_OK;
    }
    while (count < VMDK_READ_I_GROUP && i < x->map_count && x->map[i].grain == grain + count &&
           !(x->map[i].at & VMDK_READ_I_LOST))
        entries[count++] = x->map[i++].at;
    known = count;
    if (i < x->map_count && !(x->map[i].at & VMDK_READ_I_LOST)) entries[known++] = x->map[i].at;
    return vmdk_read_i_walk(v, x, entries, count, known, pos, n, run, err);
}

/* Where the header says how large the extent is. */
static uint64_t vmdk_read_i_capacity_at(const vmdk_read_i_extent *x)
{
    return x->kind == VMDK_READ_I_SE ? 16 : 12;
}

/* n bytes at position pos of a sparse extent, as far as they come from one place. */
static posio_result vmdk_read_i_map_sparse(vmdk_read *v, vmdk_read_i_extent *x, uint64_t pos,
                                           uint64_t n, vmdk_read_i_run *run, posio_error *err)
{
    uint64_t entries[VMDK_READ_I_BATCH], grain, t, i, last, end, count, known;
    vmdk_read_i_wanted w;
    posio_result r;
    if (pos >= x->capacity)
        return posio_fail(err, POSIO_E_DATA, vmdk_read_i_capacity_at(x),
                          "media offset %llu is beyond the capacity of the extent's own header, "
                          "%llu bytes",
                          (unsigned long long)(x->media + pos), (unsigned long long)x->capacity);
    n = posio_min(n, x->capacity - pos);
    if (x->map != NULL) return vmdk_read_i_map_rebuilt(v, x, pos, n, run, err);
    grain = pos / x->grain;
    t = grain / x->per_table;
    i = grain % x->per_table;
    last = (pos + n - 1) / x->grain;
    r = vmdk_read_i_missing_tables(v, x, t, last / x->per_table, &end, err);
    if (r != POSIO_OK) return r;
    if (end > t) {
        run->kind = VMDK_READ_I_UNALLOCATED;
        run->length = posio_min(n, end * x->per_table * x->grain - pos);
        return POSIO_OK;
    }
    known =
        posio_min(posio_min(last - grain + 2, VMDK_READ_I_BATCH), vmdk_read_i_entries_of(x, t) - i);
    count = posio_min(known, last - grain + 1);
    w.image = v;
    w.extent = x;
    w.number = t;
    w.at = w.next = 0;
    r = chunk_cache_read(v->tables, x->table_key + t, (size_t)i * 8, entries, (size_t)known * 8,
                         vmdk_read_i_table_flight, &w, err);
    if (r != POSIO_OK) return r;
    return vmdk_read_i_walk(v, x, entries, (uint32_t)count, (uint32_t)known, pos, n, run, err);
}

/* The extent that a byte of the media belongs to. */
static vmdk_read_i_extent *vmdk_read_i_find(const vmdk_read *v, uint64_t offset)
{
    uint32_t lo = 0, hi = v->info.extent_count;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (v->extents[mid].media <= offset) lo = mid;
        else hi = mid;
    }
    return &v->extents[lo];
}

/* Where the n bytes of media at offset come from, as far as they come from one place. Fails like a
   read would, with the file named. */
static posio_result vmdk_read_i_map(vmdk_read *v, uint64_t offset, uint64_t n, vmdk_read_i_run *run,
                                    posio_error *err)
{
    vmdk_read_i_extent *x = vmdk_read_i_find(v, offset);
    const uint64_t pos = offset - x->media;
    posio_result r = POSIO_OK;
    n = posio_min(n, x->size - pos);
    run->extent = x;
    run->count = 0;
    run->length = n;
    switch (x->kind) {
    case VMDK_READ_I_ZERO_EXTENT: run->kind = VMDK_READ_I_ZERO; break;
    case VMDK_READ_I_NOTHING:
        r = posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET,
                       "media offset %llu lies in an extent that is marked NOACCESS: it cannot be "
                       "read",
                       (unsigned long long)offset);
        break;
    case VMDK_READ_I_PLAIN:
        run->kind = VMDK_READ_I_DATA;
        run->host = x->start + pos;
        if (run->host < x->file.size) run->length = posio_min(n, x->file.size - run->host);
        else
            r = posio_fail(err, POSIO_E_DATA, x->file.size,
                           "the file ends before media offset %llu, which should be at %llu",
                           (unsigned long long)offset, (unsigned long long)run->host);
        break;
    default:
        r = vmdk_read_i_map_sparse(v, x, pos, n, run, err);
        if (r == POSIO_OK) run->length = posio_min(run->length, posio_min(n, x->capacity - pos));
    }
    return vmdk_read_i_named(v, x, r, err);
}

// ---------------------------------------------------------------------------------- decompressing

static void vmdk_read_i_free_scratch(const vmdk_read *v, vmdk_read_i_scratch *s)
{
    posio_release(&v->desc.alloc, s->group);
    posio_release(&v->desc.alloc, s->single);
    posio_release(&v->desc.alloc, s);
}

static vmdk_read_i_scratch *vmdk_read_i_take_scratch(vmdk_read *v)
{
    vmdk_read_i_scratch *s;
    thread_pool_lock(&v->lock);
    s = v->idle;
    if (s != NULL) v->idle = s->next;
    thread_pool_unlock(&v->lock);
    if (s != NULL) return s;
    s = (vmdk_read_i_scratch *)posio_allocate(&v->desc.alloc, sizeof *s);
    if (s == NULL) return NULL;
    s->group = s->single = NULL;
    s->group_room = s->single_room = 0;
    return s;
}

static void vmdk_read_i_give_scratch(vmdk_read *v, vmdk_read_i_scratch *s)
{
    thread_pool_lock(&v->lock);
    s->next = v->idle;
    v->idle = s;
    thread_pool_unlock(&v->lock);
}

/* Room for n bytes, which exist in a file; what it held is lost. */
static int vmdk_read_i_reserve(const vmdk_read *v, unsigned char **buf, size_t *room, size_t n)
{
    if (n <= *room) return 1;
    n = (n + 65535) & ~(size_t)65535;
    posio_release(&v->desc.alloc, *buf);
    *buf = (unsigned char *)posio_allocate(&v->desc.alloc, n);
    *room = *buf != NULL ? n : 0;
    return *buf != NULL;
}

/* One grain in memory, out of the file: where its zlib stream may be. */
typedef struct vmdk_read_i_packed {
    vmdk_read_i_extent *extent;
    uint64_t grain, at;
    const unsigned char *bytes;
    size_t size; /* bytes that are there */
} vmdk_read_i_packed;

static posio_result vmdk_read_i_grain_fault(const vmdk_read_i_packed *p, const char *fault,
                                            posio_error *err)
{
    const vmdk_read_i_extent *x = p->extent;
    return posio_fail(err, POSIO_E_DATA, p->at,
                      "the compressed grain for media offset %llu cannot be decoded: %s",
                      (unsigned long long)(x->media + p->grain * x->grain), fault);
}

/* Checks the marker and tells how many bytes it and its stream have; they may not all be there yet.
   Source: VMDK, "Stream-Optimized Compressed Sparse Extents". */
static posio_result vmdk_read_i_marker(const vmdk_read_i_packed *p, uint64_t *whole,
                                       posio_error *err)
{
    const vmdk_read_i_extent *x = p->extent;
    const uint64_t media = p->grain * (x->grain / VMDK_READ_I_SECTOR);
    if (p->size < 12) return vmdk_read_i_grain_fault(p, "the file ends in its marker", err);
    *whole = 12 + (uint64_t)posio_le32(p->bytes + 8);
    if (posio_le64(p->bytes) != media)
        return posio_fail(err, POSIO_E_DATA, p->at,
                          "the grain marker here is of sector %llu; sector %llu is expected",
                          (unsigned long long)posio_le64(p->bytes), (unsigned long long)media);
    if (*whole == 12 || *whole > vmdk_read_i_packed_max(x))
        return posio_fail(err, POSIO_E_DATA, p->at + 8,
                          "the grain marker here claims %llu bytes for a grain of %u",
                          (unsigned long long)*whole - 12, (unsigned)x->grain);
    if (!posio_within(p->at, *whole, x->file.size))
        return vmdk_read_i_grain_fault(p, "it reaches beyond the end of the file", err);
    return POSIO_OK;
}

/* A zlib stream that makes a grain of `want` to `max` bytes. */
static const char *vmdk_read_i_inflate(vmdk_read_i_scratch *s, const unsigned char *in, size_t n,
                                       unsigned char *out, size_t want, size_t max, size_t slack,
                                       size_t *size, posio_error *why)
{
    deflate_read_end end = {0, 0};
    posio_result r = deflate_read_zlib(&s->inflater, in, n, out, max, slack, 0, &end, why);
    *size = end.out_size;
    if (r == POSIO_E_SPACE) return "the stream makes more than a grain";
    if (r != POSIO_OK) return why->message;
    return end.out_size < want ? "the stream ends before the grain is full" : NULL;
}

/* Decodes a grain whose bytes are all there to out, which has room for max bytes of it. */
static posio_result vmdk_read_i_decode(vmdk_read_i_scratch *s, const vmdk_read_i_packed *p,
                                       unsigned char *out, size_t max, size_t slack, size_t *size,
                                       posio_error *err)
{
    const vmdk_read_i_extent *x = p->extent;
    const size_t want = (size_t)posio_min(x->grain, x->capacity - p->grain * x->grain);
    const char *fault;
    posio_error why, other;
    if (x->has_markers) {
        fault = vmdk_read_i_inflate(s, p->bytes + 12, posio_le32(p->bytes + 8), out, want, max,
                                    slack, size, &why);
    } else {
        /* The stream alone; or, as VMware's own tools have it, its length before it. The Adler-32
           tells which. */
        fault = vmdk_read_i_inflate(s, p->bytes, p->size, out, want, max, slack, size, &why);
        if (fault != NULL && p->size > 4 && posio_le32(p->bytes) <= p->size - 4 &&
            vmdk_read_i_inflate(s, p->bytes + 4, posio_le32(p->bytes), out, want, max, slack, size,
                                &other) == NULL)
            fault = NULL;
    }
    return fault == NULL ? POSIO_OK : vmdk_read_i_grain_fault(p, fault, err);
}

/* Reads one grain, at w->at, and decodes it. w->next: the next thing in the file, or 0. */
static posio_result vmdk_read_i_read_packed(const vmdk_read_i_wanted *w, vmdk_read_i_scratch *s,
                                            unsigned char *out, size_t max, size_t slack,
                                            size_t *size, posio_error *err)
{
    vmdk_read *v = w->image;
    vmdk_read_i_packed p;
    uint64_t left, whole;
    posio_result r;
    p.extent = w->extent;
    p.grain = w->number;
    p.at = w->at;
    left = posio_min(p.extent->file.size - p.at, vmdk_read_i_packed_max(p.extent));
    whole = p.extent->has_markers ? (uint64_t)VMDK_READ_I_SECTOR : left;
    if (w->next != 0) whole = w->next - w->at;
    p.size = (size_t)posio_min(whole, left);
    if (!vmdk_read_i_reserve(v, &s->single, &s->single_room, p.size))
        return vmdk_read_i_no_memory(err);
    p.bytes = s->single;
    r = posio_read(&p.extent->file, p.at, s->single, p.size, err);
    if (r == POSIO_OK && p.extent->has_markers) {
        r = vmdk_read_i_marker(&p, &whole, err);
        if (r == POSIO_OK && whole > p.size) {
            if (!vmdk_read_i_reserve(v, &s->single, &s->single_room, (size_t)whole))
                return vmdk_read_i_no_memory(err);
            p.bytes = s->single;
            p.size = (size_t)whole;
            r = posio_read(&p.extent->file, p.at, s->single, p.size, err);
            if (r == POSIO_OK) r = vmdk_read_i_marker(&p, &whole, err);
            if (r == POSIO_OK && whole > p.size) /* not the marker that was read before */
                r = vmdk_read_i_grain_fault(&p, "its marker changed while it was read", err);
        }
    }
    return r == POSIO_OK ? vmdk_read_i_decode(s, &p, out, max, slack, size, err) : r;
}

static posio_result vmdk_read_i_grain_flight(void *user, uint64_t key, void *chunk, size_t *size,
                                             posio_error *err)
{
    const vmdk_read_i_wanted *w = (const vmdk_read_i_wanted *)user;
    vmdk_read_i_scratch *s = vmdk_read_i_take_scratch(w->image);
    posio_result r;
    (void)key;
    if (s == NULL) return vmdk_read_i_no_memory(err);
    r = vmdk_read_i_read_packed(w, s, (unsigned char *)chunk, w->extent->grain, DEFLATE_READ_SLACK,
                                size, err);
    vmdk_read_i_give_scratch(w->image, s);
    return r;
}

/* Whole grains that lie one behind the other in the file: one read, then each straight to out. What
   is behind it, up to `room`, is written later. */
static posio_result vmdk_read_i_read_group(vmdk_read *v, vmdk_read_i_scratch *s,
                                           const vmdk_read_i_run *run, unsigned char *out,
                                           size_t room, posio_error *err)
{
    vmdk_read_i_extent *x = run->extent;
    const uint32_t last = run->count - 1;
    uint64_t end = run->at[run->count], whole;
    uint32_t i;
    posio_result r;
    if (end == 0) end = run->at[last] + (x->has_markers ? VMDK_READ_I_SECTOR : 0);
    end = posio_min(end, x->file.size);
    if (!vmdk_read_i_reserve(v, &s->group, &s->group_room, (size_t)(end - run->at[0]) | 1))
        return vmdk_read_i_no_memory(err);
    r = posio_read(&x->file, run->at[0], s->group, (size_t)(end - run->at[0]), err);
    for (i = 0; i < run->count && r == POSIO_OK; i++) {
        vmdk_read_i_packed p;
        size_t size = 0;
        p.extent = x;
        p.grain = run->grain + i;
        p.at = run->at[i];
        p.bytes = s->group + (size_t)(p.at - run->at[0]);
        p.size = (size_t)((i < last ? run->at[i + 1] : end) - p.at);
        whole = x->has_markers ? 0 : p.size == 0 ? UINT64_MAX : p.size;
        room -= x->grain;
        if (whole == 0) r = vmdk_read_i_marker(&p, &whole, err);
        if (r != POSIO_OK) break;
        if (whole <= p.size) {
            r = vmdk_read_i_decode(s, &p, out, x->grain, room, &size, err);
        } else { /* the last one of the group, or grains overlap */
            vmdk_read_i_wanted w;
            w.image = v;
            w.extent = x;
            w.number = p.grain;
            w.at = p.at;
            w.next = x->has_markers ? p.at + whole : 0;
            r = vmdk_read_i_read_packed(&w, s, out, x->grain, room, &size, err);
        }
        out += x->grain;
    }
    return r;
}

// ---------------------------------------------------------------------------------- reading

static posio_result vmdk_read_i_read_parent(const vmdk_read *v, uint64_t offset, unsigned char *out,
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

/* Compressed grains, from offset on, n bytes of them, n <= run->length; room: bytes from out on
   that are ours. */
static posio_result vmdk_read_i_read_compressed(vmdk_read *v, const vmdk_read_i_run *run,
                                                uint64_t offset, unsigned char *out, size_t *n,
                                                size_t room, int cached, posio_error *err)
{
    vmdk_read_i_extent *x = run->extent;
    const size_t within = (size_t)((offset - x->media) % x->grain);
    vmdk_read_i_wanted w;
    posio_result r;
    if (!cached && within == 0 && *n == (size_t)run->count * x->grain) {
        vmdk_read_i_scratch *s = vmdk_read_i_take_scratch(v);
        if (s == NULL) return vmdk_read_i_no_memory(err);
        r = vmdk_read_i_read_group(v, s, run, out, room, err);
        vmdk_read_i_give_scratch(v, s);
        return vmdk_read_i_named(v, x, r, err);
    }
    *n = (size_t)posio_min(*n, x->grain - within);
    w.image = v;
    w.extent = x;
    w.number = run->grain;
    w.at = run->at[0];
    w.next = run->at[1];
    r = chunk_cache_read(v->grains, x->grain_key + run->grain, within, out, *n,
                         vmdk_read_i_grain_flight, &w, err);
    return vmdk_read_i_named(v, x, r, err);
}

/* Front to back, on this thread. What lies behind the place that is written, up to the end of out,
   is written later: decoders may scribble on it. */
static posio_result vmdk_read_i_read_span(vmdk_read *v, uint64_t offset, unsigned char *out,
                                          size_t n, int cached, posio_error *err)
{
    posio_result r = POSIO_OK;
    while (n != 0 && r == POSIO_OK) {
        vmdk_read_i_run run;
        size_t take;
        r = vmdk_read_i_map(v, offset, n, &run, err);
        if (r != POSIO_OK) break;
        take = (size_t)posio_min(n, run.length);
        switch (run.kind) {
        case VMDK_READ_I_ZERO: memset(out, 0, take); break;
        case VMDK_READ_I_DATA:
            r = posio_read(&run.extent->file, run.host, out, take, err);
            r = vmdk_read_i_named(v, run.extent, r, err);
            break;
        case VMDK_READ_I_COMPRESSED:
            r = vmdk_read_i_read_compressed(v, &run, offset, out, &take, n, cached, err);
            break;
        default: r = vmdk_read_i_read_parent(v, offset, out, take, err);
        }
        offset += take;
        out += take;
        n -= take;
    }
    return r;
}

/* A large read, cut where grains end. */
typedef struct vmdk_read_i_bulk {
    vmdk_read *image;
    unsigned char *out;
    uint64_t offset, end, first; /* bytes of media; where the first part would begin */
} vmdk_read_i_bulk;

static posio_result vmdk_read_i_bulk_part(void *user, uint32_t i, posio_error *err)
{
    const vmdk_read_i_bulk *b = (const vmdk_read_i_bulk *)user;
    const uint64_t part = b->image->part;
    uint64_t from = b->first + i * part, to = posio_min(from + part, b->end);
    if (from < b->offset) from = b->offset;
    return vmdk_read_i_read_span(b->image, from, b->out + (size_t)(from - b->offset),
                                 (size_t)(to - from), 0, err);
}

/* Parts are counted from the begin of the extent that the range begins in: so they end where its
   grains do. */
static posio_result vmdk_read_i_read_bulk(vmdk_read *v, uint64_t offset, unsigned char *out,
                                          size_t n, posio_error *err)
{
    const uint64_t most = (uint64_t)1 << 20; /* parts in one go */
    const uint64_t part = v->part;
    vmdk_read_i_bulk b;
    posio_result r = POSIO_OK;
    b.image = v;
    while (n != 0 && r == POSIO_OK) {
        const uint64_t media = vmdk_read_i_find(v, offset)->media;
        b.first = media + (offset - media) / part * part;
        b.offset = offset;
        b.out = out;
        b.end = posio_min(offset + n, b.first + most * part);
        r = thread_pool_parallel_for(v->desc.pool, (uint32_t)((b.end - b.first + part - 1) / part),
                                     vmdk_read_i_bulk_part, &b, err);
        out += b.end - offset;
        n -= (size_t)(b.end - offset);
        offset = b.end;
    }
    return r;
}

VMDK_READ_API posio_result vmdk_read_at(vmdk_read *image, uint64_t offset, void *buf, size_t n,
                                        posio_error *err)
{
    unsigned char *out = (unsigned char *)buf;
    posio_result r;
    if (!posio_within(offset, n, image->info.media_size))
        r = posio_fail(err, POSIO_E_RANGE, offset,
                       "%llu bytes at %llu reach beyond the media of %llu bytes",
                       (unsigned long long)n, (unsigned long long)offset,
                       (unsigned long long)image->info.media_size);
    else if (n >= image->part) r = vmdk_read_i_read_bulk(image, offset, out, n, err);
    else r = vmdk_read_i_read_span(image, offset, out, n, 1, err);
    return vmdk_read_i_named(image, NULL, r, err);
}

static posio_result vmdk_read_i_source_read(void *self, uint64_t offset, void *buf, size_t n,
                                            posio_error *err)
{
    return vmdk_read_at((vmdk_read *)self, offset, buf, n, err);
}

/* What the file of an extent (0) or the parent (1) says of the bytes at `at`. */
static posio_result vmdk_read_i_ask_below(vmdk_read *v, int which, const posio_source *source,
                                          uint64_t at, posio_extent *out, posio_error *err)
{
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

/* The source whose extents decide what a run is: of a flat file, of the parent; else 0. */
static int vmdk_read_i_asks_below(const vmdk_read *v, uint64_t offset, const vmdk_read_i_run *run)
{
    if (run->kind == VMDK_READ_I_DATA) return run->extent->kind == VMDK_READ_I_PLAIN;
    return run->kind == VMDK_READ_I_UNALLOCATED && v->parent.extent_at != NULL &&
           offset < v->parent.size;
}

/* The kind of a run, and perhaps less of it: sources below know holes of their own. */
static posio_result vmdk_read_i_extent_of_run(vmdk_read *v, uint64_t offset,
                                              const vmdk_read_i_run *run, posio_extent *out,
                                              posio_error *err)
{
    posio_result r;
    out->length = run->length;
    out->reserved = 0;
    out->kind = POSIO_EXTENT_HOLE;
    if (run->kind == VMDK_READ_I_ZERO) out->kind = POSIO_EXTENT_ZERO;
    if (run->kind == VMDK_READ_I_COMPRESSED) out->kind = POSIO_EXTENT_COMPRESSED;
    if (run->kind == VMDK_READ_I_DATA) {
        out->kind = POSIO_EXTENT_DATA;
        if (run->extent->kind != VMDK_READ_I_PLAIN) return POSIO_OK;
        r = vmdk_read_i_ask_below(v, 0, &run->extent->file, run->host, out, err);
        if (r == POSIO_OK) out->length = posio_min(run->length, out->length);
        return vmdk_read_i_named(v, run->extent, r, err);
    }
    if (run->kind != VMDK_READ_I_UNALLOCATED || v->parent.read_at == NULL ||
        offset >= v->parent.size)
        return POSIO_OK;
    r = vmdk_read_i_ask_below(v, 1, &v->parent, offset, out, err);
    if (r == POSIO_OK) out->length = posio_min(run->length, out->length);
    return r;
}

/* Runs of one kind are put together as long as a few look-ups go. The source below is asked once:
   to look ahead there too would double the work with each layer of a chain. */
static posio_result vmdk_read_i_source_extent(void *self, uint64_t offset, posio_extent *out,
                                              posio_error *err)
{
    vmdk_read *v = (vmdk_read *)self;
    uint64_t pos = offset;
    int i;
    if (offset >= v->info.media_size)
        return posio_fail(err, POSIO_E_RANGE, offset, "no extent beyond the end of the media");
    for (i = 0; i < 64 && pos < v->info.media_size; i++) {
        vmdk_read_i_run run;
        posio_extent e;
        posio_error *why = i == 0 ? err : NULL;
        posio_result r = vmdk_read_i_map(v, pos, v->info.media_size - pos, &run, why);
        if (r == POSIO_OK && i != 0 && vmdk_read_i_asks_below(v, pos, &run)) break;
        if (r == POSIO_OK) r = vmdk_read_i_extent_of_run(v, pos, &run, &e, why);
        if (r != POSIO_OK && i == 0) return vmdk_read_i_named(v, NULL, r, err);
        if (r != POSIO_OK || (i != 0 && e.kind != out->kind)) break;
        out->kind = e.kind;
        out->reserved = 0;
        pos += e.length;
    }
    out->length = pos - offset;
    return POSIO_OK;
}

VMDK_READ_API posio_source vmdk_read_source(vmdk_read *image)
{
    posio_source s;
    memset(&s, 0, sizeof s);
    s.size = image->info.media_size;
    s.unit = image->unit;
    s.read_at = vmdk_read_i_source_read;
    s.extent_at = vmdk_read_i_source_extent;
    s.self = image;
    return s;
}

// ---------------------------------------------------------------------------------- text

static char vmdk_read_i_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

/* Is this text, n bytes long, that word, whatever its case? */
static int vmdk_read_i_is(const char *text, size_t n, const char *word)
{
    size_t i;
    for (i = 0; i < n; i++)
        if (vmdk_read_i_lower(text[i]) != vmdk_read_i_lower(word[i]) || word[i] == 0) return 0;
    return word[n] == 0;
}

/* Does it begin with that word? */
static int vmdk_read_i_begins(const char *text, size_t n, const char *word)
{
    size_t m = strlen(word);
    return n >= m && vmdk_read_i_is(text, m, word);
}

static int vmdk_read_i_blank(char c) { return c == ' ' || c == '\t'; }

/* The next line of a terminated text without the blanks around it; lines end with LF, CR or both.
   0 at the end. */
static int vmdk_read_i_line(const char **at, const char **line, size_t *n)
{
    const char *p = *at, *end;
    if (*p == 0) return 0;
    end = p + strcspn(p, "\r\n");
    *at = end;
    if (end[0] == '\r' && end[1] == '\n') *at += 2;
    else if (end[0] != 0) *at += 1;
    while (p < end && vmdk_read_i_blank(*p)) p++;
    while (end > p && vmdk_read_i_blank(end[-1])) end--;
    *line = p;
    *n = (size_t)(end - p);
    return 1;
}

/* Splits "key = value" and takes the quotes off the value; 0: it is another kind of line. */
static int vmdk_read_i_pair(const char *line, size_t n, size_t *key, const char **value,
                            size_t *size)
{
    size_t i = 0, k;
    if (n == 0 || line[0] == '#') return 0;
    while (i < n && line[i] != '=') i++;
    if (i == n) return 0;
    for (k = i; k > 0 && vmdk_read_i_blank(line[k - 1]);) k--;
    for (i++; i < n && vmdk_read_i_blank(line[i]);) i++;
    if (n - i >= 2 && line[i] == '"') {
        size_t end = n - 1;
        while (end > i + 1 && line[end] != '"') end--;
        if (line[end] == '"') n = end;
        i++;
    }
    *key = k;
    *value = line + i;
    *size = n - i;
    return k != 0;
}

/* The value of the first line of this key; 0: there is none. */
static int vmdk_read_i_value(const vmdk_read *v, const char *key, const char **value, size_t *size)
{
    const char *at = v->text, *line;
    size_t n, k;
    if (at == NULL) return 0;
    while (vmdk_read_i_line(&at, &line, &n))
        if (vmdk_read_i_pair(line, n, &k, value, size) && vmdk_read_i_is(line, k, key)) return 1;
    return 0;
}

/* The same as a terminated text that is kept; `otherwise` where there is none. */
static const char *vmdk_read_i_keep(vmdk_read *v, const char *key, const char *otherwise)
{
    const char *value;
    size_t size;
    char *kept;
    if (!vmdk_read_i_value(v, key, &value, &size)) return otherwise;
    kept = v->cut + (value - v->text);
    kept[size] = 0;
    return kept;
}

/* The number of a hexadecimal or decimal text, n bytes long; 0: it is none. */
static int vmdk_read_i_number(const char *text, size_t n, uint32_t base, uint64_t *out)
{
    uint64_t value = 0;
    size_t i;
    for (i = 0; i < n; i++) {
        char c = vmdk_read_i_lower(text[i]);
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10
                                                : 99;
        if (digit >= base || !posio_mul(value, base, &value) || !posio_add(value, digit, &value))
            return 0;
    }
    *out = value;
    return n != 0;
}

VMDK_READ_API posio_result vmdk_read_get_value(const vmdk_read *image, const char *key, char *out,
                                               size_t room)
{
    const char *value;
    size_t n;
    if (!vmdk_read_i_value(image, key, &value, &n)) return POSIO_E_NOT_FOUND;
    if (room == 0) return POSIO_E_SPACE;
    if (n > room - 1)
        for (n = room - 1; n != 0 && ((unsigned char)value[n] & 0xc0) == 0x80;) n--;
    memcpy(out, value, n);
    out[n] = 0;
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- encodings

/* The characters of windows-1252 from 0x80 to 0x9f; all others are those of Unicode. */
static uint32_t vmdk_read_i_from_1252(unsigned char c)
{
    static const uint16_t high[32] = {
        0x20ac, 0x0081, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
        0x2039, 0x0152, 0x008d, 0x017d, 0x008f, 0x0090, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
        0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x009d, 0x017e, 0x0178};
    return c >= 0x80 && c < 0xa0 ? high[c - 0x80] : c;
}

/* Is a terminated text UTF-8 (RFC 3629), as far as it matters here? */
static int vmdk_read_i_is_utf8(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    while (*p != 0) {
        unsigned more = *p < 0x80 ? 0 : *p < 0xc2 ? 9 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : 3;
        if (more == 9 || *p > 0xf4) return 0;
        for (p++; more != 0; more--, p++)
            if ((*p & 0xc0) != 0x80) return 0;
    }
    return 1;
}

/* Makes v->text UTF-8, from windows-1252. */
static posio_result vmdk_read_i_recode(vmdk_read *v, posio_error *err)
{
    char *out = (char *)posio_allocate(&v->desc.alloc, strlen(v->text) * 3 + 1), *to = out;
    const char *from = v->text;
    if (out == NULL) return vmdk_read_i_no_memory(err);
    for (; *from != 0; from++) {
        uint32_t c = vmdk_read_i_from_1252((unsigned char)*from);
        if (c >= 0x800) {
            *to++ = (char)(0xe0 | c >> 12);
            *to++ = (char)(0x80 | (c >> 6 & 63));
            *to++ = (char)(0x80 | (c & 63));
        } else if (c >= 0x80) {
            *to++ = (char)(0xc0 | c >> 6);
            *to++ = (char)(0x80 | (c & 63));
        } else {
            *to++ = (char)c;
        }
    }
    *to = 0;
    posio_release(&v->desc.alloc, v->text);
    v->text = out;
    v->is_recoded = 1;
    return POSIO_OK;
}

/* The bytes that a name had before it was recoded. In place: they are not more. */
static void vmdk_read_i_unrecode(char *name)
{
    const unsigned char *from = (const unsigned char *)name;
    char *to = name;
    while (*from != 0) {
        uint32_t c = *from++, byte;
        uint32_t more = c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0;
        if (more != 0) c &= more == 2 ? 15 : 31;
        for (; more != 0; more--) c = c << 6 | (*from++ & 63);
        for (byte = c < 0x80 ? c : 0x80; byte < 0xff; byte++)
            if (vmdk_read_i_from_1252((unsigned char)byte) == c) break;
        *to++ = (char)byte;
    }
    *to = 0;
}

static int vmdk_read_i_is_extent(const char *line, size_t n, uint32_t *access);

/* A descriptor of n bytes ends with its first NUL. In a file of its own nothing may follow but more
   of them: extents behind a part that was lost would move forwards. */
static posio_result vmdk_read_i_check_end(vmdk_read *v, size_t n, posio_error *err)
{
    const size_t end = strlen(v->text);
    const char *at = v->text + end, *line;
    size_t size;
    uint32_t access;
    int warned = 0;
    while (at < v->text + n) {
        if (*at == 0) {
            at++;
            continue;
        }
        if (!warned)
            vmdk_read_i_warn(v, 0, end,
                             "the descriptor has a NUL within: what follows is not read");
        warned = 1;
        while (vmdk_read_i_line(&at, &line, &size))
            if (vmdk_read_i_is_extent(line, size, &access))
                return posio_fail(err, POSIO_E_DATA, end,
                                  "the descriptor is damaged: it has a NUL within, and extents "
                                  "behind it");
    }
    return POSIO_OK;
}

/* Reads the descriptor, n bytes at `at` of the file (0: it is all of it), as UTF-8. UTF-16 is no
   dialect of VMware's, but editors make it. */
static posio_result vmdk_read_i_take_text(vmdk_read *v, uint64_t at, size_t n, posio_error *err)
{
    static const char *const latin[] = {"windows-1252", "cp1252",  "iso-8859-1",
                                        "iso_8859-1",   "latin-1", "latin1"};
    const char *encoding = "";
    size_t size = 0, i;
    int declared = 0;
    posio_result r;
    v->text = (char *)posio_allocate(&v->desc.alloc, n + 1);
    if (v->text == NULL) return vmdk_read_i_no_memory(err);
    r = posio_read(&v->file, at, v->text, n, err);
    if (r != POSIO_OK) return r;
    v->text[n] = 0;
    if (n >= 2 && (posio_le16(v->text) == 0xfeff || posio_be16(v->text) == 0xfeff ||
                   (v->text[0] != 0 && v->text[1] == 0))) {
        char *utf8 = posio_utf8_from_utf16(&v->desc.alloc, v->text, n, &i);
        if (utf8 == NULL) return vmdk_read_i_no_memory(err);
        posio_release(&v->desc.alloc, v->text);
        v->text = utf8;
        n = i;
    } else if (n >= 3 && memcmp(v->text, "\xef\xbb\xbf", 3) == 0) {
        memmove(v->text, v->text + 3, n - 2);
        n -= 3;
    }
    if (at == 0) r = vmdk_read_i_check_end(v, n, err);
    if (r != POSIO_OK) return r;
    v->info.descriptor_size = strlen(v->text);
    if (!vmdk_read_i_value(v, "encoding", &encoding, &size)) size = 0;
    for (i = 0; i < sizeof latin / sizeof latin[0]; i++)
        if (vmdk_read_i_is(encoding, size, latin[i])) declared = 1;
    if (!declared && !vmdk_read_i_is_utf8(v->text)) {
        declared = size == 0 || vmdk_read_i_is(encoding, size, "utf-8");
        vmdk_read_i_warn(v, 0, POSIO_NO_OFFSET,
                         "the descriptor is not UTF-8, and its encoding is %s: names in it are %s",
                         size == 0  ? "not given"
                         : declared ? "said to be that"
                                    : "not known",
                         declared ? "taken as windows-1252" : "taken byte for byte");
    }
    if (declared) r = vmdk_read_i_recode(v, err);
    if (r != POSIO_OK) return r;
    v->text_size = strlen(v->text);
    v->cut = (char *)posio_allocate(&v->desc.alloc, v->text_size + 1);
    if (v->cut == NULL) return vmdk_read_i_no_memory(err);
    memcpy(v->cut, v->text, v->text_size + 1);
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- descriptor

static const char *vmdk_read_i_type_name(uint32_t type)
{
    static const char *const names[] = {"FLAT",       "SPARSE",  "ZERO",    "VMFS",
                                        "VMFSSPARSE", "VMFSRDM", "VMFSRAW", "SESPARSE",
                                        "VSANSPARSE", NULL};
    return names[type];
}

/* The next word of a line, or what is in quotes; 0 at the end. -1: the quotes are not closed. */
static int vmdk_read_i_word(const char **at, const char *end, const char **word, size_t *n)
{
    const char *p = *at;
    while (p < end && vmdk_read_i_blank(*p)) p++;
    if (p == end) return 0;
    *word = p;
    if (*p == '"') {
        *word = ++p;
        while (p < end && *p != '"') p++;
        *n = (size_t)(p - *word);
        *at = p < end ? p + 1 : p;
        return p < end ? 1 : -1;
    }
    while (p < end && !vmdk_read_i_blank(*p)) p++;
    *n = (size_t)(p - *word);
    *at = p;
    return 1;
}

/* Does a line describe an extent? *access: how it may be used. */
static int vmdk_read_i_is_extent(const char *line, size_t n, uint32_t *access)
{
    static const char *const words[] = {"RW", "RDONLY", "NOACCESS"};
    const char *at = line, *word;
    size_t size;
    if (!vmdk_read_i_word(&at, line + n, &word, &size)) return 0;
    for (*access = 0; *access < 3; ++*access)
        if (vmdk_read_i_is(word, size, words[*access])) break;
    if (*access == 3) { /* not to be passed over: what is behind it would move forwards */
        uint64_t sectors;
        uint32_t type = 0;
        if (line[0] == '#' || !vmdk_read_i_word(&at, line + n, &word, &size) ||
            !vmdk_read_i_number(word, size, 10, &sectors) ||
            vmdk_read_i_word(&at, line + n, &word, &size) <= 0)
            return 0;
        while (vmdk_read_i_type_name(type) != NULL &&
               !vmdk_read_i_is(word, size, vmdk_read_i_type_name(type)))
            type++;
        return vmdk_read_i_type_name(type) != NULL;
    }
    while (at < line + n && vmdk_read_i_blank(*at)) at++;
    return at == line + n || *at != '=';
}

/* access, sectors, type, and but for ZERO a name; a FLAT extent has an offset in sectors. What
   follows (the UUID of a partition, the ID of a device) does not matter.
   Source: VMDK, "Extent Descriptions". */
static const char *vmdk_read_i_take_extent(vmdk_read *v, vmdk_read_i_extent *x, const char *line,
                                           size_t n)
{
    const char *at = line, *end = line + n, *word = NULL;
    size_t size = 0;
    uint64_t sectors, offset;
    char *name;
    int found;
    while ((found = vmdk_read_i_word(&at, end, &word, &size)) > 0) continue;
    if (found < 0) return "has quotes that are not closed";
    at = line;
    (void)vmdk_read_i_word(&at, end, &word, &size);
    if (!vmdk_read_i_word(&at, end, &word, &size) ||
        !vmdk_read_i_number(word, size, 10, &sectors) || sectors > INT64_MAX / VMDK_READ_I_SECTOR)
        return "has no size that can be";
    x->size = sectors * VMDK_READ_I_SECTOR;
    if (!vmdk_read_i_word(&at, end, &word, &size)) return "has no type";
    while ((x->type_name = vmdk_read_i_type_name(x->type)) != NULL &&
           !vmdk_read_i_is(word, size, x->type_name))
        x->type++;
    if (x->type_name == NULL) return "is of a type that is not known";
    if (!vmdk_read_i_word(&at, end, &word, &size))
        return NULL; /* the type decides whether it may */
    name = v->cut + (word - v->text);
    name[size] = 0;
    x->name = name;
    if (!vmdk_read_i_word(&at, end, &word, &size)) return NULL;
    if (!vmdk_read_i_number(word, size, 10, &offset)) { /* perhaps an ID: but for FLAT */
        const int negative =
            size != 0 && word[0] == '-' && vmdk_read_i_number(word + 1, size - 1, 10, &offset);
        return x->type == VMDK_READ_FLAT || negative ? "has an offset that cannot be" : NULL;
    }
    if (!posio_mul(offset, VMDK_READ_I_SECTOR, &x->start) || x->start > INT64_MAX)
        return "has an offset that cannot be";
    return NULL;
}

/* The base name in a stored path, which may be one of Windows. */
static const char *vmdk_read_i_base(const char *path)
{
    const char *base = path;
    for (; *path != 0; path++)
        if (*path == '/' || *path == '\\') base = path + 1;
    return base;
}

/* Which extent of an embedded descriptor is the file itself? A single one, whatever name it had
   once; of several that of its name, else the first sparse one. Own: extent_count = none. */
static uint32_t vmdk_read_i_find_own(const vmdk_read *v)
{
    uint32_t i, first = v->info.extent_count;
    for (i = v->info.extent_count; i-- > 0;) {
        const vmdk_read_i_extent *x = &v->extents[i];
        if (x->type != VMDK_READ_SPARSE || x->name == NULL) continue;
        first = i;
        if (v->desc.name != NULL &&
            strcmp(vmdk_read_i_base(v->desc.name), vmdk_read_i_base(x->name)) == 0)
            break;
    }
    return first;
}

static posio_result vmdk_read_i_take_extents(vmdk_read *v, posio_error *err)
{
    const char *at = v->text, *line;
    uint64_t count = 0;
    uint32_t access;
    size_t n;
    while (vmdk_read_i_line(&at, &line, &n)) count += vmdk_read_i_is_extent(line, n, &access) != 0;
    if (count > VMDK_READ_I_EXTENTS)
        return posio_fail(err, POSIO_E_LIMIT, POSIO_NO_OFFSET,
                          "the descriptor has %llu extents; at most %d are taken",
                          (unsigned long long)count, VMDK_READ_I_EXTENTS);
    if (count == 0) return POSIO_OK;
    v->extents = (vmdk_read_i_extent *)posio_allocate_zeroed(&v->desc.alloc,
                                                             (size_t)count * sizeof *v->extents);
    if (v->extents == NULL) return vmdk_read_i_no_memory(err);
    at = v->text;
    while (vmdk_read_i_line(&at, &line, &n)) {
        vmdk_read_i_extent *x = &v->extents[v->info.extent_count];
        const char *fault;
        if (!vmdk_read_i_is_extent(line, n, &access)) continue;
        x->access = access;
        x->number = ++v->info.extent_count;
        fault = access == 3 ? "is to be accessed in a way that is not known"
                            : vmdk_read_i_take_extent(v, x, line, n);
        if (fault != NULL) {
            char text[100];
            posio_format(text, n < sizeof text ? n + 1 : sizeof text, "%s", line);
            return posio_fail(
                err, x->type_name == NULL && x->type != 0 ? POSIO_E_UNSUPPORTED : POSIO_E_DATA,
                POSIO_NO_OFFSET, "extent %u of the descriptor %s: %s", (unsigned)x->number, fault,
                text);
        }
    }
    return POSIO_OK;
}

static void vmdk_read_i_take_cid(vmdk_read *v, const char *key, uint32_t *out)
{
    const char *value;
    size_t size;
    uint64_t id;
    *out = UINT32_MAX;
    if (!vmdk_read_i_value(v, key, &value, &size)) return;
    if (vmdk_read_i_begins(value, size, "0x")) {
        value += 2;
        size -= 2;
    }
    if (vmdk_read_i_number(value, size, 16, &id) && id <= UINT32_MAX) *out = (uint32_t)id;
    else vmdk_read_i_warn(v, 0, POSIO_NO_OFFSET, "the descriptor's %s is not a number", key);
}

/* Encrypted disks say so by keys of their own. */
static posio_result vmdk_read_i_check_keys(const vmdk_read *v, posio_error *err)
{
    const char *at = v->text, *line, *value;
    size_t n, k, size, i;
    while (vmdk_read_i_line(&at, &line, &n)) {
        int encrypted;
        if (!vmdk_read_i_pair(line, n, &k, &value, &size)) continue;
        encrypted = vmdk_read_i_begins(line, k, "encryption.") ||
                    vmdk_read_i_begins(line, k, "ddb.encryption");
        if (vmdk_read_i_is(line, k, "ddb.iofilters"))
            for (i = 0; i < size; i++)
                encrypted |= vmdk_read_i_begins(value + i, size - i, "vmcrypt") ||
                             vmdk_read_i_begins(value + i, size - i, "vmwarevmcrypt");
        if (encrypted)
            return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET, "the disk is encrypted");
    }
    return POSIO_OK;
}

/* Source: VMDK, "The Descriptor File". */
static posio_result vmdk_read_i_take_descriptor(vmdk_read *v, posio_error *err)
{
    vmdk_read_metadata *m = &v->info;
    const char *value;
    size_t size;
    uint64_t version;
    posio_result r = vmdk_read_i_check_keys(v, err);
    if (r == POSIO_OK) r = vmdk_read_i_take_extents(v, err);
    if (r != POSIO_OK) return r;
    vmdk_read_i_take_cid(v, "CID", &m->cid);
    vmdk_read_i_take_cid(v, "parentCID", &m->parent_cid);
    if (vmdk_read_i_value(v, "version", &value, &size) &&
        vmdk_read_i_number(value, size, 10, &version) && version <= UINT32_MAX)
        m->version = (uint32_t)version;
    if (m->version == 0 || m->version > 4)
        vmdk_read_i_warn(v, 0, POSIO_NO_OFFSET, "the descriptor is of version %u; 1 to 4 are known",
                         (unsigned)m->version);
    m->create_type = vmdk_read_i_keep(v, "createType", "");
    m->encoding = vmdk_read_i_keep(v, "encoding", "");
    m->parent_name = vmdk_read_i_keep(v, "parentFileNameHint", NULL);
    if (m->parent_name != NULL && m->parent_name[0] == 0) m->parent_name = NULL;
    if (m->parent_name != NULL && m->parent_cid == UINT32_MAX)
        vmdk_read_i_warn(v, 0, POSIO_NO_OFFSET,
                         "the image names a parent, and parentCID says that there is none: what it "
                         "does not hold reads as zeros");
    if (m->cid == UINT32_MAX) return POSIO_OK;
    if (m->cid == UINT32_MAX - 1 &&
        vmdk_read_get_value(v, "ddb.longContentID", m->identity, sizeof m->identity) == POSIO_OK)
        return POSIO_OK;
    for (size = 0; size < 8; size++)
        m->identity[size] = "0123456789abcdef"[m->cid >> (28 - 4 * size) & 15];
    m->identity[8] = 0;
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- headers

/* The header of a hosted sparse extent, or its footer. */
typedef struct vmdk_read_i_header {
    uint32_t version, flags, per_table, method;
    uint64_t capacity, grain, text_at, text_size, copy, gd, overhead; /* sectors */
    uint32_t is_unclean, is_intact;
} vmdk_read_i_header;

enum {
    VMDK_READ_I_NEWLINES = 1, /* flags: the bytes that a transfer as text would change are there */
    VMDK_READ_I_HAS_COPY = 2, /* there is a redundant grain directory */
    VMDK_READ_I_ZERO_GRAINS = 4,
    VMDK_READ_I_IS_PACKED = 1 << 16,
    VMDK_READ_I_MARKERS = 1 << 17
};

/* Source: VMDK, "Hosted Sparse Extents". */
static void vmdk_read_i_parse(const unsigned char *b, vmdk_read_i_header *h)
{
    h->version = posio_le32(b + 4);
    h->flags = posio_le32(b + 8);
    h->capacity = posio_le64(b + 12);
    h->grain = posio_le64(b + 20);
    h->text_at = posio_le64(b + 28);
    h->text_size = posio_le64(b + 36);
    h->per_table = posio_le32(b + 44);
    h->copy = posio_le64(b + 48);
    h->gd = posio_le64(b + 56);
    h->overhead = posio_le64(b + 64);
    h->is_unclean = b[72];
    h->is_intact = memcmp(b + 73, "\n \r\n", 4) == 0;
    h->method = posio_le16(b + 77);
}

static posio_result vmdk_read_i_check_header(const vmdk_read_i_header *h, posio_error *err)
{
    if (h->version < 1 || h->version > 3)
        return posio_fail(err, POSIO_E_UNSUPPORTED, 4,
                          "sparse extents of version %u are not supported; 1 to 3 are",
                          (unsigned)h->version);
    if (h->flags & 0xfffc0000)
        return posio_fail(err, POSIO_E_UNSUPPORTED, 8,
                          "the extent needs a feature that is not known: flags %x",
                          (unsigned)h->flags);
    if (h->method > 1)
        return posio_fail(err, POSIO_E_UNSUPPORTED, 77, "the compression method %u is not known",
                          (unsigned)h->method);
    if ((h->flags & VMDK_READ_I_IS_PACKED) && h->method == 0)
        return posio_fail(err, POSIO_E_DATA, 77,
                          "flags say that grains are compressed, and the method is none");
    return POSIO_OK;
}

static uint64_t vmdk_read_i_round_up(uint64_t n)
{
    return (n + VMDK_READ_I_SECTOR - 1) & ~(uint64_t)(VMDK_READ_I_SECTOR - 1);
}

/* What is wrong with a grain directory at this sector; NULL = nothing. */
static const char *vmdk_read_i_gd_fault(const vmdk_read_i_extent *x, uint64_t sector)
{
    const uint64_t n = x->tables * vmdk_read_i_entry_size(x);
    if (sector == 0) return "has no place";
    if (sector == UINT64_MAX) return "has its place in a footer, which is not found";
    if (sector > x->file.size / VMDK_READ_I_SECTOR ||
        !posio_within(sector * VMDK_READ_I_SECTOR, n, x->file.size))
        return "reaches beyond the end of the file";
    return vmdk_read_i_area_fault(x, 0, sector * VMDK_READ_I_SECTOR, n);
}

/* Capacity and the size of grains and tables, in sectors and entries. */
static posio_result vmdk_read_i_take_shape(vmdk_read *v, vmdk_read_i_extent *x, uint64_t capacity,
                                           uint64_t grain, uint32_t per_table, posio_error *err)
{
    uint64_t span;
    if (capacity == 0)
        return posio_fail(err, POSIO_E_DATA, vmdk_read_i_capacity_at(x),
                          "the header has no capacity: it holds a descriptor and no extent");
    if (capacity > INT64_MAX / VMDK_READ_I_SECTOR)
        return posio_fail(err, POSIO_E_DATA, vmdk_read_i_capacity_at(x),
                          "a capacity of %llu sectors cannot be", (unsigned long long)capacity);
    if (grain == 0 || grain > VMDK_READ_I_GRAIN_MAX / VMDK_READ_I_SECTOR)
        return posio_fail(err, POSIO_E_DATA, x->kind == VMDK_READ_I_COWD ? 16 : 20,
                          "grains of %llu sectors: from 1 to %d are expected",
                          (unsigned long long)grain, VMDK_READ_I_GRAIN_MAX / VMDK_READ_I_SECTOR);
    if (per_table == 0 || per_table > VMDK_READ_I_PER_TABLE)
        return posio_fail(
            err, POSIO_E_DATA, 44,
            "grain tables of %u entries: from 1 to %d are expected, and 512 are usual",
            (unsigned)per_table, VMDK_READ_I_PER_TABLE);
    if (grain & (grain - 1))
        vmdk_read_i_warn(v, x->number, 20, "grains of %llu sectors: no power of 2",
                         (unsigned long long)grain);
    x->capacity = capacity * VMDK_READ_I_SECTOR;
    x->grain = (uint32_t)grain * VMDK_READ_I_SECTOR;
    x->per_table = per_table;
    if (x->number == 0) {
        if (x->size != 0 && x->size != x->capacity)
            vmdk_read_i_warn(v, 0, vmdk_read_i_capacity_at(x),
                             "the descriptor gives the disk %llu bytes, and the header %llu: those "
                             "are taken",
                             (unsigned long long)x->size, (unsigned long long)x->capacity);
        x->size = x->capacity;
    } else if (x->size > x->capacity) {
        vmdk_read_i_warn(v, x->number, vmdk_read_i_capacity_at(x),
                         "the descriptor gives the extent %llu bytes, and its header %llu: those "
                         "behind cannot be read",
                         (unsigned long long)x->size, (unsigned long long)x->capacity);
    }
    span = (uint64_t)x->grain * per_table;
    x->tables = posio_min(x->size, x->capacity) / span;
    if (posio_min(x->size, x->capacity) % span != 0) x->tables++;
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- footers

/* Is there a footer's marker in front of a header? Source: VMDK, "Stream-Optimized Compressed
   Sparse Extents". */
static int vmdk_read_i_is_footer(const unsigned char *b)
{
    return posio_le32(b + 8) == 0 && posio_le32(b + 12) == 3 &&
           memcmp(b + VMDK_READ_I_SECTOR, "KDMV", 4) == 0;
}

/* Is a footer that of this extent, by its shape? */
static int vmdk_read_i_fits(const vmdk_read_i_header *footer, const vmdk_read_i_header *h)
{
    return footer->capacity == h->capacity && footer->grain == h->grain &&
           footer->per_table == h->per_table && footer->method == h->method;
}

/* The last footer of the file, at its end or before padding; *found: is there one that names a
   grain directory? */
static posio_result vmdk_read_i_find_footer(vmdk_read *v, const vmdk_read_i_extent *x,
                                            vmdk_read_i_header *h, int *found, posio_error *err)
{
    const uint64_t sector = VMDK_READ_I_SECTOR;
    uint64_t end = x->file.size & ~(sector - 1), low = end;
    unsigned char *b;
    posio_result r = POSIO_OK;
    low -= posio_min(low, VMDK_READ_I_TAIL);
    *found = 0;
    b = (unsigned char *)posio_allocate(&v->desc.alloc, VMDK_READ_I_WINDOW);
    if (b == NULL) return vmdk_read_i_no_memory(err);
    while (end >= low + 2 * sector && r == POSIO_OK && !*found) {
        const size_t n = (size_t)posio_min(VMDK_READ_I_WINDOW, end - low);
        size_t i = n - (size_t)sector;
        r = posio_read(&x->file, end - n, b, n, err);
        for (; r == POSIO_OK && i >= sector && !*found; i -= (size_t)sector) {
            vmdk_read_i_header footer;
            if (!vmdk_read_i_is_footer(b + i - sector)) continue;
            vmdk_read_i_parse(b + i, &footer);
            if (footer.gd == 0 || footer.gd == UINT64_MAX) continue;
            *h = footer;
            *found = 1;
        }
        end -= n - sector; /* the first sector may be that of a header, without its marker */
    }
    posio_release(&v->desc.alloc, b);
    return r;
}

// ---------------------------------------------------------------------------------- rebuilding

/* Walks from one marker to the next through a file that lost its grain directory. What is no marker
   is passed over, sector by sector: damage costs only what it hit. */
typedef struct vmdk_read_i_walker {
    vmdk_read *image;
    vmdk_read_i_extent *extent;
    unsigned char *window;
    uint64_t window_at, room;
    size_t window_size;
    /* Since the last grain, first each, or NO_OFFSET: what is no marker, a sector of zeros, and the
       marker of a directory or a footer, which is behind all grains. */
    uint64_t junk_at, zeros_at, end_at;
    uint64_t after;   /* number of the last grain, and 1; 0 = there was none yet */
    uint64_t covered; /* up to this grain nothing is missing behind the last one */
    uint64_t hurt_at; /* where a grain may have been lost first, or NO_OFFSET */
    uint64_t losses;  /* places that are LOST */
    uint64_t empty;   /* bytes of zeros that were read last */
    int is_stuck;     /* read ahead: the next marker may be in any sector */
    int is_sorted;
} vmdk_read_i_walker;

/* Makes the sector at `at`, and 16 bytes at least, available. */
static posio_result vmdk_read_i_look(vmdk_read_i_walker *k, uint64_t at, const unsigned char **b,
                                     posio_error *err)
{
    const posio_source *file = &k->extent->file;
    posio_result r = POSIO_OK;
    if (at < k->window_at || at + 2 * VMDK_READ_I_SECTOR > k->window_at + k->window_size) {
        k->window_size = (size_t)posio_min(
            k->is_stuck ? VMDK_READ_I_WINDOW : 2 * VMDK_READ_I_SECTOR, file->size - at);
        k->window_at = at;
        r = posio_read(file, at, k->window, k->window_size, err);
        if (r != POSIO_OK) k->window_size = 0;
    }
    *b = k->window + (size_t)(at - k->window_at);
    return r;
}

/* A grain's marker, whose stream follows with a zlib header, and lies in the file? */
static int vmdk_read_i_is_marker(const vmdk_read_i_extent *x, const unsigned char *b, uint64_t at)
{
    const uint64_t sector = posio_le64(b), size = posio_le32(b + 8);
    return size != 0 && size + 12 <= vmdk_read_i_packed_max(x) &&
           sector < x->capacity / VMDK_READ_I_SECTOR + (x->capacity % VMDK_READ_I_SECTOR != 0) &&
           sector % (x->grain / VMDK_READ_I_SECTOR) == 0 && (b[12] & 15) == 8 && b[12] >> 4 <= 7 &&
           posio_be16(b + 12) % 31 == 0 && posio_within(at, size + 12, x->file.size);
}

static posio_result vmdk_read_i_add_place(vmdk_read_i_walker *k, uint64_t grain, uint64_t at,
                                          posio_error *err)
{
    vmdk_read_i_extent *x = k->extent;
    void *map = x->map;
    if (!posio_grow(&k->image->desc.alloc, &map, x->map_count, &k->room, sizeof *x->map))
        return vmdk_read_i_no_memory(err);
    x->map = (vmdk_read_i_place *)map;
    if (x->map_count != 0 && x->map[x->map_count - 1].grain >= grain) k->is_sorted = 0;
    x->map[x->map_count].grain = grain;
    x->map[x->map_count++].at = at;
    return POSIO_OK;
}

/* Grains up to this one, from the last that was found on, may have been at this offset. */
static posio_result vmdk_read_i_lose(vmdk_read_i_walker *k, uint64_t grain, uint64_t at,
                                     posio_error *err)
{
    const uint64_t from = k->after > k->covered ? k->after : k->covered;
    if (k->hurt_at == POSIO_NO_OFFSET) k->hurt_at = at;
    if (from >= grain) return POSIO_OK;
    k->losses++;
    return vmdk_read_i_add_place(k, from, at | VMDK_READ_I_LOST, err);
}

/* A grain was found. Zeros between two may have been written over others; in front of all they are
   padding, if they are few. */
static posio_result vmdk_read_i_take_grain(vmdk_read_i_walker *k, uint64_t grain, uint64_t at,
                                           posio_error *err)
{
    posio_result r = POSIO_OK;
    uint64_t hurt = k->junk_at;
    if (k->zeros_at < hurt && (k->after != 0 || at - k->zeros_at > VMDK_READ_I_WINDOW))
        hurt = k->zeros_at;
    if (hurt != POSIO_NO_OFFSET) r = vmdk_read_i_lose(k, grain, hurt, err);
    if (r == POSIO_OK) r = vmdk_read_i_add_place(k, grain, at, err);
    k->junk_at = k->zeros_at = k->end_at = POSIO_NO_OFFSET;
    k->after = grain + 1;
    k->covered = 0;
    return r;
}

/* The file ends: did the stream, too? There is a marker behind all grains, or the end marker. But
   for long zeros: those are what a copy of the file that was not finished has. */
static posio_result vmdk_read_i_take_end(vmdk_read_i_walker *k, posio_error *err)
{
    const vmdk_read_i_extent *x = k->extent;
    const uint64_t grains = (x->capacity + x->grain - 1) / x->grain;
    uint64_t at = posio_min(k->junk_at, k->zeros_at);
    if (k->end_at < at) return POSIO_OK;
    if (k->zeros_at < k->junk_at &&
        posio_min(k->end_at, x->file.size) - k->zeros_at <= VMDK_READ_I_WINDOW)
        return POSIO_OK;
    if (k->end_at == POSIO_NO_OFFSET && k->zeros_at == POSIO_NO_OFFSET) at = x->file.size;
    return vmdk_read_i_lose(k, grains, at, err);
}

static int vmdk_read_i_is_before(const vmdk_read_i_place *a, const vmdk_read_i_place *b)
{
    return a->grain != b->grain ? a->grain < b->grain : a->at < b->at;
}

static void vmdk_read_i_sink(vmdk_read_i_place *map, uint64_t i, uint64_t n)
{
    for (;;) {
        uint64_t child = 2 * i + 1;
        vmdk_read_i_place swap;
        if (child >= n) return;
        if (child + 1 < n && vmdk_read_i_is_before(&map[child], &map[child + 1])) child++;
        if (!vmdk_read_i_is_before(&map[i], &map[child])) return;
        swap = map[i];
        map[i] = map[child];
        map[child] = swap;
        i = child;
    }
}

/* By grain (heap sort: no order makes it slow). Of one that was written twice the last counts. What
   was lost was so by the order that there is not. */
static void vmdk_read_i_sort(vmdk_read_i_extent *x)
{
    uint64_t i, kept = 0;
    for (i = 0; i < x->map_count; i++)
        if (!(x->map[i].at & VMDK_READ_I_LOST)) x->map[kept++] = x->map[i];
    x->map_count = kept;
    kept = 0;
    for (i = x->map_count / 2; i-- > 0;) vmdk_read_i_sink(x->map, i, x->map_count);
    for (i = x->map_count; i-- > 1;) {
        vmdk_read_i_place last = x->map[i];
        x->map[i] = x->map[0];
        x->map[0] = last;
        vmdk_read_i_sink(x->map, 0, i);
    }
    for (i = 0; i < x->map_count; i++) {
        if (kept != 0 && x->map[kept - 1].grain == x->map[i].grain) kept--;
        x->map[kept++] = x->map[i];
    }
    x->map_count = kept;
}

/* One step; *next: where the following sector to look at is, further on in any case. A footer that
   is met fills *footer. */
static posio_result vmdk_read_i_step(vmdk_read_i_walker *k, uint64_t at, uint64_t *next,
                                     vmdk_read_i_header *footer, posio_error *err)
{
    const vmdk_read_i_extent *x = k->extent;
    const unsigned char *b = NULL;
    uint64_t skip = 0;
    posio_result r = vmdk_read_i_look(k, at, &b, err);
    if (r != POSIO_OK) return r;
    *next = at + VMDK_READ_I_SECTOR;
    k->is_stuck = 1;
    if (vmdk_read_i_is_marker(x, b, at)) {
        *next = at + vmdk_read_i_round_up(12 + (uint64_t)posio_le32(b + 8));
        k->is_stuck = 0;
        k->empty = 0;
        return vmdk_read_i_take_grain(k, posio_le64(b) * VMDK_READ_I_SECTOR / x->grain, at, err);
    }
    if (b[0] == 0 && memcmp(b, b + 1, VMDK_READ_I_SECTOR - 1) == 0) {
        posio_extent e; /* padding, the end of the stream, or nothing at all */
        k->zeros_at = posio_min(k->zeros_at, at);
        k->empty += VMDK_READ_I_SECTOR;
        if (at == k->window_at && posio_extent_of(&x->file, at, &e, NULL) == POSIO_OK &&
            (e.kind == POSIO_EXTENT_HOLE || e.kind == POSIO_EXTENT_ZERO) &&
            e.length > VMDK_READ_I_SECTOR)
            *next = at + (e.length & ~(uint64_t)(VMDK_READ_I_SECTOR - 1));
        return POSIO_OK;
    }
    k->empty = 0;
    if (posio_le32(b + 8) != 0 || posio_le32(b + 12) < 1 || posio_le32(b + 12) > 4) {
        k->junk_at = posio_min(k->junk_at, at);
        return POSIO_OK;
    }
    if (posio_le32(b + 12) == 2 || posio_le32(b + 12) == 3) {
        k->end_at = posio_min(k->end_at, at);
    } else if (posio_le32(b + 12) == 1 && posio_min(k->junk_at, k->zeros_at) == POSIO_NO_OFFSET) {
        /* A table, which is behind its grains: the one that the last grain is in, or a later one */
        k->covered = (k->after + x->per_table - 1) / x->per_table * x->per_table;
    }
    /* The marker of a table: its value says how many sectors follow, and no table is larger than
       all of them. */
    if (posio_le32(b + 12) <= 2 &&
        posio_le64(b) <=
            x->tables * 4 / VMDK_READ_I_SECTOR + VMDK_READ_I_PER_TABLE * 4 / VMDK_READ_I_SECTOR)
        skip = posio_le64(b) * VMDK_READ_I_SECTOR;
    if (at + 2 * VMDK_READ_I_SECTOR <= x->file.size && vmdk_read_i_is_footer(b)) {
        vmdk_read_i_parse(b + VMDK_READ_I_SECTOR, footer);
        skip = VMDK_READ_I_SECTOR;
    }
    *next += skip;
    return POSIO_OK;
}

/* Source: VMDK, "Stream-Optimized Compressed Sparse Extents": each grain has its place on the disk
   in front. */
static posio_result vmdk_read_i_rebuild(vmdk_read *v, vmdk_read_i_extent *x,
                                        const vmdk_read_i_header *h, posio_error *err)
{
    vmdk_read_i_walker k;
    vmdk_read_i_header footer;
    uint64_t at = vmdk_read_i_round_up(x->text_at + x->text_size), quiet = 0, places;
    posio_result r = POSIO_OK;
    memset(&k, 0, sizeof k);
    memset(&footer, 0, sizeof footer);
    k.image = v;
    k.extent = x;
    k.is_sorted = k.is_stuck = 1;
    k.junk_at = k.zeros_at = k.end_at = k.hurt_at = POSIO_NO_OFFSET;
    k.window = (unsigned char *)posio_allocate(&v->desc.alloc, VMDK_READ_I_WINDOW);
    if (k.window == NULL) return vmdk_read_i_no_memory(err);
    if (at < VMDK_READ_I_SECTOR) at = VMDK_READ_I_SECTOR;
    if (h->overhead < x->file.size / VMDK_READ_I_SECTOR) quiet = h->overhead * VMDK_READ_I_SECTOR;
    while (r == POSIO_OK && x->file.size > at && x->file.size - at >= VMDK_READ_I_SECTOR &&
           k.empty < VMDK_READ_I_EMPTY) {
        if (at >= quiet && k.after == 0) {
            /* Up to here the header says that there is no grain, and so it is: what was there was
               tables, or padding. */
            k.junk_at = k.zeros_at = k.end_at = POSIO_NO_OFFSET;
            memset(&footer, 0, sizeof footer);
            quiet = UINT64_MAX;
        }
        r = vmdk_read_i_step(&k, at, &at, &footer, err);
        if (k.after == 0) at = posio_min(at, quiet); /* tables look like any marker */
    }
    posio_release(&v->desc.alloc, k.window);
    if (r != POSIO_OK) return r;
    if (vmdk_read_i_fits(&footer, h) && vmdk_read_i_gd_fault(x, footer.gd) == NULL) {
        posio_release(&v->desc.alloc, x->map);
        x->map = NULL;
        x->gd = footer.gd * VMDK_READ_I_SECTOR;
        vmdk_read_i_warn(v, x->number, x->gd, "the footer lies far before the end of the file");
        return POSIO_OK;
    }
    if (x->map == NULL)
        return posio_fail(err, POSIO_E_DATA, 56,
                          "there is no grain directory, no footer, and no grain to rebuild the map "
                          "from");
    r = vmdk_read_i_take_end(&k, err);
    if (r != POSIO_OK) return r;
    places = x->map_count - k.losses;
    if (!k.is_sorted) {
        vmdk_read_i_sort(x);
        places = x->map_count;
        if (k.hurt_at != POSIO_NO_OFFSET) x->lost_at = k.hurt_at;
    }
    vmdk_read_i_warn(v, x->number, 56,
                     "there is no grain directory: the map was rebuilt from %llu grain markers; "
                     "what has none reads as unallocated%s",
                     (unsigned long long)places,
                     k.losses != 0 || x->lost_at != 0 ? ", but for where it may have been lost"
                                                      : "");
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- extents

/* Is what lies at x->copy a directory at all? Of its first entries, those that are there, not more
   may be wrong than right. */
static posio_result vmdk_read_i_check_copy(vmdk_read *v, vmdk_read_i_extent *x, posio_error *err)
{
    unsigned char raw[VMDK_READ_I_SECTOR];
    const uint32_t n = (uint32_t)posio_min(x->tables, sizeof raw / 4);
    uint32_t i, good = 0, bad = 0;
    posio_result r = posio_read(&x->file, x->copy, raw, n * 4, err);
    if (r == POSIO_E_NOMEM) return r;
    for (i = 0; i < n && r == POSIO_OK; i++) {
        const uint32_t entry = posio_le32(raw + i * 4);
        uint64_t at;
        if (entry == 0) continue;
        if (vmdk_read_i_table_at(x, 1, entry, vmdk_read_i_entries_of(x, i), &at) == NULL) good++;
        else bad++;
    }
    if (bad <= good) return POSIO_OK; /* also where it cannot be read now: later it may be */
    vmdk_read_i_warn(v, x->number, 48,
                     "what should be the redundant grain directory, at %llu, is none, or all of it "
                     "is damaged: it is not used",
                     (unsigned long long)x->copy);
    x->copy = 0;
    return POSIO_OK;
}

/* Chooses the grain directories of a hosted extent. Source: VMDK, "Grain Directory". */
static posio_result vmdk_read_i_choose_directory(vmdk_read *v, vmdk_read_i_extent *x,
                                                 const vmdk_read_i_header *h, posio_error *err)
{
    uint64_t gd = h->gd, copy = (h->flags & VMDK_READ_I_HAS_COPY) ? h->copy : 0;
    const char *fault = vmdk_read_i_gd_fault(x, gd), *other = vmdk_read_i_gd_fault(x, copy);
    vmdk_read_i_header footer;
    int found = 0;
    posio_result r;
    if (fault != NULL && gd != UINT64_MAX && x->is_compressed) {
        r = vmdk_read_i_find_footer(v, x, &footer, &found, err);
        if (r != POSIO_OK) return r;
        if (found && vmdk_read_i_fits(&footer, h) && vmdk_read_i_gd_fault(x, footer.gd) == NULL) {
            vmdk_read_i_warn(v, x->number, 56,
                             "the grain directory of the header %s: that of the footer is used",
                             fault);
            gd = footer.gd;
            fault = NULL;
        }
    }
    if (fault != NULL && other == NULL) {
        vmdk_read_i_warn(v, x->number, 56, "the grain directory %s: the redundant one is used",
                         fault);
        gd = copy;
    } else if (fault != NULL && x->has_markers) {
        return vmdk_read_i_rebuild(v, x, h, err);
    } else if (fault != NULL) {
        return posio_fail(err, POSIO_E_DATA, 56,
                          "the grain directory (sector %llu, %llu entries) %s, and there is no "
                          "other",
                          (unsigned long long)gd, (unsigned long long)x->tables, fault);
    } else if (other != NULL && copy != 0 && copy != UINT64_MAX) {
        vmdk_read_i_warn(v, x->number, 48, "the redundant grain directory %s", other);
    }
    x->gd = gd * VMDK_READ_I_SECTOR;
    x->copy = other == NULL && copy != gd ? copy * VMDK_READ_I_SECTOR : 0;
    return x->copy != 0 ? vmdk_read_i_check_copy(v, x, err) : POSIO_OK;
}

static void vmdk_read_i_warn_unclean(vmdk_read *v, const vmdk_read_i_extent *x, uint64_t at)
{
    vmdk_read_i_warn(v, x->number, at,
                     "the extent was not closed: what was written last may not be there");
}

/* What the header keeps free for a descriptor, if that can be. */
static void vmdk_read_i_take_room(vmdk_read_i_extent *x, const vmdk_read_i_header *h)
{
    if (h->text_at == 0 || h->text_at >= x->file.size / VMDK_READ_I_SECTOR ||
        h->text_size > VMDK_READ_I_TEXT / VMDK_READ_I_SECTOR)
        return;
    x->room_at = h->text_at * VMDK_READ_I_SECTOR;
    x->room_size = h->text_size * VMDK_READ_I_SECTOR;
}

/* b: its header. Source: VMDK, "Hosted Sparse Extents". */
static posio_result vmdk_read_i_take_hosted(vmdk_read *v, vmdk_read_i_extent *x,
                                            const unsigned char *b, posio_error *err)
{
    vmdk_read_i_header h;
    posio_result r;
    vmdk_read_i_parse(b, &h);
    x->kind = VMDK_READ_I_HOSTED;
    x->version = h.version;
    r = vmdk_read_i_check_header(&h, err);
    if (r != POSIO_OK) return r;
    if ((h.flags & VMDK_READ_I_NEWLINES) && !h.is_intact)
        vmdk_read_i_warn(v, x->number, 73,
                         "ends of lines in the header were changed: the file was transferred as "
                         "text, and is damaged throughout");
    if (h.is_unclean) vmdk_read_i_warn_unclean(v, x, 72);
    if (h.gd == UINT64_MAX) {
        vmdk_read_i_header footer;
        posio_error why;
        int found = 0;
        r = vmdk_read_i_find_footer(v, x, &footer, &found, err);
        if (r != POSIO_OK) return r;
        if (found && vmdk_read_i_check_header(&footer, &why) != POSIO_OK) {
            vmdk_read_i_warn(v, x->number, POSIO_NO_OFFSET, "the footer is not used: %s",
                             why.message);
            found = 0;
        }
        if (found && h.capacity != 0 && (footer.capacity != h.capacity || footer.grain != h.grain))
            vmdk_read_i_warn(v, x->number, 12,
                             "header and footer differ in capacity or grain size: the footer's "
                             "are taken");
        if (found) h = footer;
    }
    vmdk_read_i_take_room(x, &h);
    x->has_zeros = (h.flags & VMDK_READ_I_ZERO_GRAINS) != 0;
    x->is_compressed = h.method == 1;
    x->has_markers = x->is_compressed && (h.flags & VMDK_READ_I_MARKERS);
    r = vmdk_read_i_take_shape(v, x, h.capacity, h.grain, h.per_table, err);
    if (r != POSIO_OK) return r;
    if (x->is_compressed && x->grain > VMDK_READ_I_PACKED_MAX)
        return posio_fail(err, POSIO_E_LIMIT, 20,
                          "compressed grains of %u bytes; at most %d are taken", (unsigned)x->grain,
                          VMDK_READ_I_PACKED_MAX);
    return vmdk_read_i_choose_directory(v, x, &h, err);
}

/* b: its header. Source: VMDK, "ESXi Host Sparse Extents". */
static posio_result vmdk_read_i_take_cowd(vmdk_read *v, vmdk_read_i_extent *x,
                                          const unsigned char *b, posio_error *err)
{
    const uint32_t gd = posio_le32(b + 20), entries = posio_le32(b + 24);
    unsigned char unclean[4] = {0, 0, 0, 0};
    const char *fault;
    posio_result r;
    x->kind = VMDK_READ_I_COWD;
    x->version = posio_le32(b + 4);
    if (x->version != 1)
        return posio_fail(err, POSIO_E_UNSUPPORTED, 4,
                          "COWD extents of version %u are not supported; 1 is",
                          (unsigned)x->version);
    r = vmdk_read_i_take_shape(v, x, posio_le32(b + 12), posio_le32(b + 16), 4096, err);
    if (r != POSIO_OK) return r;
    fault = entries < x->tables ? "has too few entries" : vmdk_read_i_gd_fault(x, gd);
    if (fault != NULL)
        return posio_fail(err, POSIO_E_DATA, entries < x->tables ? 24 : 20,
                          "the grain directory (sector %u, %u entries; %llu are needed) %s",
                          (unsigned)gd, (unsigned)entries, (unsigned long long)x->tables, fault);
    x->gd = (uint64_t)gd * VMDK_READ_I_SECTOR;
    if (posio_within(1648, 4, x->file.size)) r = posio_read(&x->file, 1648, unclean, 4, err);
    if (r == POSIO_OK && posio_le32(unclean) != 0) vmdk_read_i_warn_unclean(v, x, 1648);
    return r;
}

/* An area of a seSparse extent, by its two fields: is it in the file? */
static const char *vmdk_read_i_take_area(const vmdk_read_i_extent *x, const unsigned char *b,
                                         uint64_t *at, uint64_t *size)
{
    const uint64_t most = INT64_MAX / VMDK_READ_I_SECTOR;
    if (posio_le64(b) > most || posio_le64(b + 8) > most) return "cannot be";
    *at = posio_le64(b) * VMDK_READ_I_SECTOR;
    *size = posio_le64(b + 8) * VMDK_READ_I_SECTOR;
    if (*at > x->file.size) return "lies beyond the end of the file";
    return *at == 0 ? "lies in the header" : NULL;
}

static posio_result vmdk_read_i_check_journal(vmdk_read *v, const vmdk_read_i_extent *x,
                                              uint64_t at, posio_error *err)
{
    unsigned char b[32];
    posio_result r;
    if (!posio_within(at, VMDK_READ_I_SECTOR, x->file.size))
        return posio_fail(err, POSIO_E_DATA, 80,
                          "the volatile header, at %llu, lies beyond the end of the file",
                          (unsigned long long)at);
    r = posio_read(&x->file, at, b, sizeof b, err);
    if (r != POSIO_OK) return r;
    if (posio_le64(b) != 0xcafecafe)
        return posio_fail(err, POSIO_E_DATA, at, "there is no volatile header (cafecafe) here");
    if (posio_le64(b + 24) == 0) return POSIO_OK;
    if (!(v->desc.flags & VMDK_READ_STALE_JOURNAL))
        return posio_fail(
            err, POSIO_E_UNSUPPORTED, at + 24,
            "the seSparse extent was not closed: its journal is to be replayed, which "
            "is not supported (VMDK_READ_STALE_JOURNAL reads it as it is)");
    vmdk_read_i_warn(v, x->number, at + 24,
                     "the journal of the seSparse extent was not replayed: what was written last "
                     "may be missing or wrong");
    return POSIO_OK;
}

/* b: its constant header. VMware does not publish this format; what is known of it is in QEMU's
   block driver, and this takes exactly what that takes. */
static posio_result vmdk_read_i_take_se(vmdk_read *v, vmdk_read_i_extent *x, const unsigned char *b,
                                        posio_error *err)
{
    uint64_t at = 0, size = 0;
    const char *fault;
    posio_result r;
    x->kind = VMDK_READ_I_SE;
    x->version = (uint32_t)(posio_le64(b + 8) >> 32);
    if (posio_le64(b + 8) != 0x200000001 || posio_le64(b + 24) != 8 || posio_le64(b + 32) != 64 ||
        posio_le64(b + 40) != 0)
        return posio_fail(
            err, POSIO_E_UNSUPPORTED, 8,
            "seSparse version %llx with grains of %llu and tables of %llu sectors, "
            "flags %llx: 200000001, 8, 64 and 0 are supported",
            (unsigned long long)posio_le64(b + 8), (unsigned long long)posio_le64(b + 24),
            (unsigned long long)posio_le64(b + 32), (unsigned long long)posio_le64(b + 40));
    if (posio_le64(b + 80) > INT64_MAX / VMDK_READ_I_SECTOR)
        return posio_fail(err, POSIO_E_DATA, 80, "the volatile header's place cannot be");
    r = vmdk_read_i_check_journal(v, x, posio_le64(b + 80) * VMDK_READ_I_SECTOR, err);
    if (r == POSIO_OK) r = vmdk_read_i_take_shape(v, x, posio_le64(b + 16), 8, 4096, err);
    if (r != POSIO_OK) return r;
    fault = vmdk_read_i_take_area(x, b + 128, &at, &size);
    if (fault == NULL && size < x->tables * 8) fault = "has too few entries";
    if (fault == NULL) fault = vmdk_read_i_gd_fault(x, at / VMDK_READ_I_SECTOR);
    if (fault != NULL)
        return posio_fail(err, POSIO_E_DATA, 128, "the grain directory (%llu entries) %s",
                          (unsigned long long)x->tables, fault);
    x->gd = at;
    fault = vmdk_read_i_take_area(x, b + 144, &x->tables_at, &x->tables_size);
    if (fault != NULL)
        return posio_fail(err, POSIO_E_DATA, 144, "the area of grain tables %s", fault);
    fault = vmdk_read_i_take_area(x, b + 192, &x->grains_at, &x->grains_size);
    if (fault != NULL) return posio_fail(err, POSIO_E_DATA, 192, "the area of grains %s", fault);
    return POSIO_OK;
}

/* Sparse of which kind its file says itself. */
static posio_result vmdk_read_i_take_sparse(vmdk_read *v, vmdk_read_i_extent *x, posio_error *err)
{
    unsigned char b[VMDK_READ_I_SECTOR];
    posio_result r;
    if (x->file.size < sizeof b)
        return posio_fail(err, POSIO_E_DATA, x->file.size,
                          "the header is cut short after %llu bytes",
                          (unsigned long long)x->file.size);
    r = posio_read(&x->file, 0, b, sizeof b, err);
    if (r != POSIO_OK) return r;
    if (memcmp(b, "KDMV", 4) == 0) return vmdk_read_i_take_hosted(v, x, b, err);
    if (memcmp(b, "COWD", 4) == 0) return vmdk_read_i_take_cowd(v, x, b, err);
    if (posio_le64(b) == 0xcafebabe) return vmdk_read_i_take_se(v, x, b, err);
    return posio_fail(
        err, POSIO_E_DATA, 0,
        "not a sparse extent: it begins neither with KDMV or COWD nor with the number "
        "of seSparse");
}

static posio_result vmdk_read_i_take_plain(vmdk_read *v, vmdk_read_i_extent *x)
{
    x->kind = VMDK_READ_I_PLAIN;
    if (!posio_within(x->start, x->size, x->file.size))
        vmdk_read_i_warn(v, x->number, x->file.size,
                         "the file of the extent ends after %llu bytes; %llu at %llu are expected, "
                         "and those that are missing cannot be read",
                         (unsigned long long)x->file.size, (unsigned long long)x->size,
                         (unsigned long long)x->start);
    return POSIO_OK;
}

/* By its stored name: as UTF-8, or by the very bytes where that was not its encoding. */
static posio_result vmdk_read_i_open_file(vmdk_read *v, vmdk_read_i_extent *x, posio_error *err)
{
    const posio_opener *o = v->desc.opener;
    posio_result r;
    if (o == NULL)
        return posio_fail(err, POSIO_E_POLICY, POSIO_NO_OFFSET,
                          "the image names the file \"%s\", and there is nothing to open it with",
                          x->name);
    r = o->open(o->self, x->name, POSIO_NAME_STORED, &x->file, err);
    if (r == POSIO_E_NOT_FOUND && v->is_recoded) {
        size_t n = strlen(x->name) + 1;
        char *name = (char *)posio_allocate(&v->desc.alloc, n);
        if (name == NULL) return vmdk_read_i_no_memory(err);
        memcpy(name, x->name, n);
        vmdk_read_i_unrecode(name);
        r = o->open(o->self, name, POSIO_NAME_STORED, &x->file, err);
        posio_release(&v->desc.alloc, name);
    }
    if (r == POSIO_OK) return r;
    memset(&x->file, 0, sizeof x->file);
    if (r != POSIO_E_NOT_FOUND) return r;
    return posio_fail(err, POSIO_E_MISSING, POSIO_NO_OFFSET,
                      "the file \"%s\" of extent %u is missing", x->name, (unsigned)x->number);
}

/* A file that an extent shortly before has, too: the partitions of a device are many extents. */
static int vmdk_read_i_share_file(const vmdk_read *v, vmdk_read_i_extent *x)
{
    const vmdk_read_i_extent *before = x;
    int i;
    for (i = 0; i < 8 && before != v->extents; i++) {
        before--;
        if (before->file.read_at == NULL || before->is_own || strcmp(before->name, x->name) != 0)
            continue;
        x->file = before->file;
        x->is_shared = 1;
        return 1;
    }
    return 0;
}

static posio_result vmdk_read_i_open_extent(vmdk_read *v, vmdk_read_i_extent *x, posio_error *err)
{
    const int sparse = x->type == VMDK_READ_SPARSE || x->type == VMDK_READ_VMFS_SPARSE ||
                       x->type == VMDK_READ_SE_SPARSE;
    posio_result r = POSIO_OK;
    x->kind = VMDK_READ_I_ZERO_EXTENT;
    if (x->type == VMDK_READ_ZERO) return POSIO_OK; /* whatever its access: there is nothing else */
    if (x->type == VMDK_READ_VSAN_SPARSE ||
        (x->name != NULL && vmdk_read_i_begins(x->name, strlen(x->name), "vsan://")))
        return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET,
                          "extent %u is a vSAN object (%s \"%s\"), which is not supported",
                          (unsigned)x->number, x->type_name, x->name != NULL ? x->name : "");
    x->kind = VMDK_READ_I_NOTHING;
    if (x->access == VMDK_READ_NOACCESS) {
        vmdk_read_i_warn(v, x->number, POSIO_NO_OFFSET,
                         "%llu bytes of media at %llu are marked NOACCESS and cannot be read",
                         (unsigned long long)x->size, (unsigned long long)x->media);
        return POSIO_OK;
    }
    if (x->is_own) {
        x->file = v->file;
    } else if (x->name == NULL || x->name[0] == 0) {
        return posio_fail(err, POSIO_E_DATA, POSIO_NO_OFFSET,
                          "extent %u of the descriptor (%s) names no file", (unsigned)x->number,
                          x->type_name);
    } else if (!vmdk_read_i_share_file(v, x)) {
        r = vmdk_read_i_open_file(v, x, err);
    }
    if (r == POSIO_OK)
        r = sparse ? vmdk_read_i_take_sparse(v, x, err) : vmdk_read_i_take_plain(v, x);
    return vmdk_read_i_named(v, x, r, err);
}

static posio_result vmdk_read_i_open_extents(vmdk_read *v, posio_error *err)
{
    vmdk_read_metadata *m = &v->info;
    uint64_t media = 0;
    uint32_t i;
    for (i = 0; i < m->extent_count; i++) {
        vmdk_read_i_extent *x = &v->extents[i];
        posio_result r;
        x->media = media;
        r = vmdk_read_i_open_extent(v, x, err);
        if (r != POSIO_OK) return r;
        if (!posio_add(media, x->size, &media) || media > INT64_MAX)
            return posio_fail(err, POSIO_E_DATA, POSIO_NO_OFFSET,
                              "the extents have more bytes together than can be");
        if (x->grain > m->grain_size) m->grain_size = x->grain;
        if (x->is_compressed) m->is_compressed = 1;
        if (x->is_own) m->header_version = x->version;
        if (x->map != NULL) m->rebuilt = 1;
    }
    if (v->text == NULL) m->version = m->header_version;
    m->media_size = media;
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- the file

enum { VMDK_READ_I_OTHER, VMDK_READ_I_TEXT_FILE, VMDK_READ_I_SPARSE_FILE };

/* Does a text begin as a descriptor does: with its title among comments, or with a key that it has
   before all else? */
static int vmdk_read_i_is_descriptor(const char *text)
{
    static const char *const keys[] = {"version",    "encoding",         "CID", "parentCID",
                                       "createType", "isNativeSnapshot", NULL};
    const char *line, *value;
    size_t n, key, size, i;
    while (vmdk_read_i_line(&text, &line, &n)) {
        if (n != 0 && line[0] == '#') {
            size_t skip = 1;
            while (skip < n && vmdk_read_i_blank(line[skip])) skip++;
            if (vmdk_read_i_begins(line + skip, n - skip, "Disk DescriptorFile")) return 1;
        } else if (n != 0) {
            if (!vmdk_read_i_pair(line, n, &key, &value, &size)) return 0;
            for (i = 0; keys[i] != NULL; i++)
                if (vmdk_read_i_is(line, key, keys[i])) return 1;
            return 0;
        }
    }
    return 0;
}

/* What a file is, by its first bytes. */
static posio_result vmdk_read_i_recognise(const posio_source *source, int *is, posio_error *err)
{
    char b[2048 + 1], text[2048 * 3 / 2 + 1];
    size_t n = (size_t)posio_min(source->size, 2048), i, k = 0;
    int wide;
    posio_result r = posio_read(source, 0, b, n, err);
    *is = VMDK_READ_I_OTHER;
    if (r != POSIO_OK) return r;
    b[n] = 0;
    if (n >= 8 &&
        (memcmp(b, "KDMV", 4) == 0 || memcmp(b, "COWD", 4) == 0 || posio_le64(b) == 0xcafebabe)) {
        *is = VMDK_READ_I_SPARSE_FILE;
        return POSIO_OK;
    }
    /* The beginning of a descriptor is ASCII, in bytes or in words of either order. */
    wide =
        n >= 2 && (posio_le16(b) == 0xfeff || posio_be16(b) == 0xfeff || (b[0] != 0 && b[1] == 0));
    i = wide && (posio_le16(b) == 0xfeff || posio_be16(b) == 0xfeff) ? 2
        : !wide && n >= 3 && memcmp(b, "\xef\xbb\xbf", 3) == 0       ? 3
                                                                     : 0;
    for (; i + (size_t)wide < n; i += 1 + (size_t)wide) {
        unsigned c = !wide                     ? (unsigned char)b[i]
                     : posio_be16(b) == 0xfeff ? posio_be16(b + i)
                                               : posio_le16(b + i);
        if (c < 32 && c != '\t' && c != '\r' && c != '\n') break;
        text[k++] = (char)(c < 127 ? c : '?');
    }
    text[k] = 0;
    if (vmdk_read_i_is_descriptor(text)) *is = VMDK_READ_I_TEXT_FILE;
    return POSIO_OK;
}

static posio_result vmdk_read_i_no_vmdk(posio_error *err)
{
    return posio_fail(err, POSIO_E_FORMAT, 0,
                      "not a VMDK: it begins neither with KDMV or COWD or the number of seSparse "
                      "nor as a descriptor");
}

VMDK_READ_API posio_result vmdk_read_probe(const posio_source *source, posio_error *err)
{
    unsigned char b[VMDK_READ_I_SECTOR];
    vmdk_read_i_header h;
    int is;
    posio_result r = vmdk_read_i_recognise(source, &is, err);
    if (r != POSIO_OK) return r;
    if (is == VMDK_READ_I_OTHER) return vmdk_read_i_no_vmdk(err);
    if (is == VMDK_READ_I_TEXT_FILE || source->size < sizeof b) return POSIO_OK;
    r = posio_read(source, 0, b, sizeof b, err);
    if (r != POSIO_OK) return r;
    vmdk_read_i_parse(b, &h);
    if (memcmp(b, "KDMV", 4) == 0) return vmdk_read_i_check_header(&h, err);
    if (memcmp(b, "COWD", 4) == 0 && h.version != 1)
        return posio_fail(err, POSIO_E_UNSUPPORTED, 4,
                          "COWD extents of version %u are not supported; 1 is",
                          (unsigned)h.version);
    return POSIO_OK;
}

/* The file is an extent, and all that is known of the disk. */
static posio_result vmdk_read_i_take_alone(vmdk_read *v, posio_error *err)
{
    vmdk_read_i_extent *x;
    vmdk_read_i_warn(v, 0, POSIO_NO_OFFSET,
                     "there is no descriptor: the file is read as a disk of one extent, without a "
                     "parent");
    x = (vmdk_read_i_extent *)posio_allocate_zeroed(&v->desc.alloc, sizeof *x);
    if (x == NULL) return vmdk_read_i_no_memory(err);
    x->type = VMDK_READ_SPARSE;
    x->type_name = vmdk_read_i_type_name(x->type);
    x->is_own = 1;
    v->extents = x;
    v->info.extent_count = 1;
    return POSIO_OK;
}

/* The embedded descriptor of the opened file, if it has one that says anything.
   Source: VMDK, "The Descriptor File". */
static posio_result vmdk_read_i_take_embedded(vmdk_read *v, const unsigned char *b,
                                              posio_error *err)
{
    vmdk_read_i_header h;
    uint64_t at, n;
    uint32_t own;
    posio_result r;
    vmdk_read_i_parse(b, &h);
    r = vmdk_read_i_check_header(&h, err);
    if (r != POSIO_OK) return r;
    v->info.header_version = h.version;
    if (h.text_at == 0 || h.text_size == 0) return POSIO_OK;
    if (h.text_size > VMDK_READ_I_TEXT / VMDK_READ_I_SECTOR)
        return posio_fail(err, POSIO_E_LIMIT, 36,
                          "the descriptor claims %llu sectors; at most %d are taken",
                          (unsigned long long)h.text_size, VMDK_READ_I_TEXT / VMDK_READ_I_SECTOR);
    if (h.text_at >= v->file.size / VMDK_READ_I_SECTOR) {
        vmdk_read_i_warn(v, 0, 28, "the descriptor lies beyond the end of the file");
        return POSIO_OK;
    }
    at = h.text_at * VMDK_READ_I_SECTOR;
    n = posio_min(h.text_size * VMDK_READ_I_SECTOR, v->file.size - at);
    r = vmdk_read_i_take_text(v, at, (size_t)n, err);
    if (r == POSIO_OK) r = vmdk_read_i_take_descriptor(v, err);
    if (r != POSIO_OK) return r;
    if (v->info.extent_count == 0) vmdk_read_i_warn(v, 0, at, "the descriptor describes no extent");
    if (h.capacity == 0 && h.gd != UINT64_MAX) return POSIO_OK; /* a descriptor, and no extent */
    own = vmdk_read_i_find_own(v);
    if (own == v->info.extent_count) return POSIO_OK;
    v->extents[own].is_own = 1;
    v->extents[own].text_at = at;
    v->extents[own].text_size = v->info.descriptor_size;
    if (v->info.extent_count == 1) v->extents[own].number = 0;
    return POSIO_OK;
}

static posio_result vmdk_read_i_take_file(vmdk_read *v, posio_error *err)
{
    unsigned char b[VMDK_READ_I_SECTOR];
    int is;
    posio_result r = vmdk_read_i_recognise(&v->file, &is, err);
    if (r != POSIO_OK) return r;
    v->info.file_size = v->file.size;
    if (is == VMDK_READ_I_OTHER) return vmdk_read_i_no_vmdk(err);
    if (is == VMDK_READ_I_SPARSE_FILE) {
        if (v->file.size < sizeof b)
            return posio_fail(err, POSIO_E_DATA, v->file.size,
                              "the header is cut short after %u bytes", (unsigned)v->file.size);
        r = posio_read(&v->file, 0, b, sizeof b, err);
        if (r == POSIO_OK && memcmp(b, "KDMV", 4) == 0) r = vmdk_read_i_take_embedded(v, b, err);
        if (r == POSIO_OK && v->info.extent_count == 0) r = vmdk_read_i_take_alone(v, err);
        return r;
    }
    if (v->file.size > VMDK_READ_I_TEXT)
        return posio_fail(err, POSIO_E_LIMIT, 0,
                          "the descriptor has %llu bytes; at most %d are taken",
                          (unsigned long long)v->file.size, VMDK_READ_I_TEXT);
    r = vmdk_read_i_take_text(v, 0, (size_t)v->file.size, err);
    if (r == POSIO_OK) r = vmdk_read_i_take_descriptor(v, err);
    if (r == POSIO_OK && v->info.extent_count == 0)
        r = posio_fail(err, POSIO_E_DATA, POSIO_NO_OFFSET, "the descriptor describes no extent");
    return r;
}

// ---------------------------------------------------------------------------------- parents

/* Asks the resolver for a parent by one name. identity: room for what it says of itself. */
static posio_result vmdk_read_i_ask(const vmdk_read *v, const char *name, posio_source *out,
                                    char *identity, posio_error *err)
{
    posio_reference reference;
    posio_result r;
    memset(&reference, 0, sizeof reference);
    memset(out, 0, sizeof *out);
    memset(identity, 0, POSIO_IDENTITY);
    (void)posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "the resolver does not say why it failed");
    reference.name = name;
    reference.kind = POSIO_REFERENCE_PARENT;
    reference.identity = identity;
    r = v->desc.resolver->open(v->desc.resolver->self, &reference, out, err);
    identity[POSIO_IDENTITY - 1] = 0;
    if (r == POSIO_OK && out->read_at == NULL)
        r = posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "the resolver gave no parent");
    return r;
}

/* What the parent's content ID must be. "" where the image does not tell. */
static void vmdk_read_i_expected(const vmdk_read *v, char expected[POSIO_IDENTITY])
{
    uint32_t i;
    expected[0] = 0;
    if (v->info.parent_cid == UINT32_MAX - 1) {
        if (vmdk_read_get_value(v, "parentLongContentID", expected, POSIO_IDENTITY) != POSIO_OK)
            (void)vmdk_read_get_value(v, "ddb.parentLongContentID", expected, POSIO_IDENTITY);
        return;
    }
    for (i = 0; i < 8; i++)
        expected[i] = "0123456789abcdef"[v->info.parent_cid >> (28 - 4 * i) & 15];
    expected[8] = 0;
}

/* Of a long content ID the last 8 digits are the short one. */
static int vmdk_read_i_is_same(const char *identity, const char *expected)
{
    size_t n = strlen(identity), m = strlen(expected);
    if (n > m && m == 8) identity += n - m;
    return vmdk_read_i_is(identity, strlen(identity), expected);
}

static posio_result vmdk_read_i_no_parent(const vmdk_read *v, const char *const *names,
                                          const posio_error *why, uint32_t count, posio_error *err)
{
    const posio_error *last = &why[count - 1];
    posio_result code = last->code;
    if (err == NULL) return count == 2 && why[0].code == POSIO_E_POLICY ? why[0].code : code;
    *err = *last;
    if (count == 1 || last->code != POSIO_E_MISSING) {
        /* A file further down has been named, or it is about the parent's own. */
        if (posio_is_in(err, v->desc.name))
            posio_format(err->message, sizeof err->message, "parent: %s", last->message);
        return code;
    }
    if (why[0].code == POSIO_E_POLICY || why[0].code != POSIO_E_MISSING) code = why[0].code;
    err->code = code;
    posio_format(err->message, sizeof err->message,
                 "parent: there is no file \"%s\" beside the image, and by the stored name: %s",
                 names[1], why[0].message);
    return code;
}

/* The parent, by its stored name or, as that is mostly a path on another machine, beside the image.
   One with the right content ID is preferred; another one is better than none.
   Source: VMDK, "The Header" (of descriptors: parentCID, parentFileNameHint). */
static posio_result vmdk_read_i_open_parent(vmdk_read *v, posio_error *err)
{
    const char *names[2];
    char identity[POSIO_IDENTITY], expected[POSIO_IDENTITY];
    posio_error why[2];
    uint32_t i, count = 1, best = 2;
    posio_result r = POSIO_OK;
    if (v->info.parent_cid == UINT32_MAX || (v->desc.flags & VMDK_READ_ALONE)) return POSIO_OK;
    if (v->info.parent_name == NULL)
        return posio_fail(err, POSIO_E_MISSING, POSIO_NO_OFFSET,
                          "the image stands on a parent with content ID %x, and does not name it",
                          (unsigned)v->info.parent_cid);
    if (v->desc.resolver == NULL)
        return posio_fail(err, POSIO_E_POLICY, POSIO_NO_OFFSET,
                          "the image names a parent, \"%s\", and there is no resolver to open it",
                          v->info.parent_name);
    vmdk_read_i_expected(v, expected);
    names[0] = v->info.parent_name; /* "./base.vmdk" is the same name as "base.vmdk" */
    while (names[0][0] == '.' && names[0][1] == '/' && names[0][2] != '/') names[0] += 2;
    names[1] = vmdk_read_i_base(names[0]);
    if (names[1] != names[0] && names[1][0] != 0) count = 2;
    for (i = 0; i < count; i++) {
        r = vmdk_read_i_ask(v, names[i], &v->parent, identity, &why[i]);
        if (r == POSIO_E_NOMEM) break;
        if (r != POSIO_OK) continue;
        v->info.has_parent = 1;
        if (expected[0] == 0 || vmdk_read_i_is_same(identity, expected)) break;
        if (best == 2) best = i;
    }
    if (r == POSIO_OK && i < count) {
        if (expected[0] == 0)
            vmdk_read_i_warn(v, 0, POSIO_NO_OFFSET,
                             "the image does not tell the content ID of its parent, so that it is "
                             "not known to be the right one");
        return POSIO_OK;
    }
    if (best == 2) {
        memset(&v->parent, 0, sizeof v->parent);
        return vmdk_read_i_no_parent(v, names, why, i < count ? i + 1 : count, err);
    }
    if (best + 1 != count) r = vmdk_read_i_ask(v, names[best], &v->parent, identity, &why[0]);
    if (r != POSIO_OK) return vmdk_read_i_no_parent(v, names, why, 1, err);
    v->info.parent_mismatch = 1;
    vmdk_read_i_warn(v, 0, POSIO_NO_OFFSET,
                     "the parent has content ID %s, and the image was made on %s: what is read may "
                     "be wrong",
                     identity[0] != 0 ? identity : "unknown", expected);
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- opening

static posio_result vmdk_read_i_make_caches(vmdk_read *v, posio_error *err)
{
    uint64_t pages = 0, tables = 0, grains = 0;
    uint32_t i, per_table = 0, grain = 0;
    chunk_cache_desc d;
    posio_result r = POSIO_OK;
    for (i = 0; i < v->info.extent_count; i++) {
        vmdk_read_i_extent *x = &v->extents[i];
        const uint64_t page = x->tables * vmdk_read_i_entry_size(x) / VMDK_READ_I_PAGE + 1;
        if (x->kind < VMDK_READ_I_HOSTED) continue;
        x->gd_key = pages;
        x->copy_key = pages + page;
        pages += 2 * page;
        x->table_key = tables;
        tables += x->tables;
        x->grain_key = grains;
        grains += x->size / x->grain + 1;
        if (x->per_table > per_table) per_table = x->per_table;
        if (x->is_compressed && x->grain > grain) grain = x->grain;
    }
    memset(&d, 0, sizeof d);
    d.alloc = v->desc.alloc;
    if (per_table != 0) {
        d.bytes = posio_min(VMDK_READ_I_PAGES, pages * VMDK_READ_I_PAGE);
        d.chunk_size = VMDK_READ_I_PAGE;
        r = chunk_cache_create(&v->pages, &d, err);
        d.chunk_size = per_table * 8;
        d.bytes = posio_min(VMDK_READ_I_TABLES, posio_min(tables, 4096) * d.chunk_size);
        if (r == POSIO_OK) r = chunk_cache_create(&v->tables, &d, err);
    }
    v->part = grain != 0 ? VMDK_READ_I_PART : VMDK_READ_I_PLAIN_PART;
    if (v->info.grain_size != 0)
        v->part = (v->part + v->info.grain_size - 1) / v->info.grain_size * v->info.grain_size;
    if (r != POSIO_OK || grain == 0) return r;
    d.bytes = v->desc.cache_bytes;
    d.chunk_size = grain;
    d.slack = DEFLATE_READ_SLACK;
    return chunk_cache_create(&v->grains, &d, err);
}

static posio_result vmdk_read_i_create(vmdk_read **out, const vmdk_read_desc *desc,
                                       posio_error *err)
{
    static const vmdk_read_desc defaults = {NULL, 0, 0, 0, NULL, NULL, NULL, {NULL, NULL, NULL}};
    size_t length;
    vmdk_read *v;
    if (desc == NULL) desc = &defaults;
    if (!posio_alloc_is_valid(&desc->alloc))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "alloc_fn without free_fn");
    length = desc->name != NULL ? strlen(desc->name) : 0;
    v = (vmdk_read *)posio_allocate_zeroed(&desc->alloc, sizeof *v + length + 1);
    if (v == NULL) return vmdk_read_i_no_memory(err);
    v->desc = *desc;
    v->info.cid = v->info.parent_cid = UINT32_MAX;
    v->info.create_type = v->info.encoding = "";
    if (desc->name != NULL) v->desc.name = (char *)memcpy(v + 1, desc->name, length + 1);
    if (v->desc.cache_bytes == 0) v->desc.cache_bytes = (uint64_t)32 << 20;
    v->has_lock = thread_pool_mutex_init(&v->lock);
    if (!v->has_lock) {
        vmdk_read_close(v);
        return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "vmdk_read: no mutex");
    }
    *out = v;
    return POSIO_OK;
}

/* The rest of opening, once v->file is there. */
static posio_result vmdk_read_i_interpret(vmdk_read *v, posio_error *err)
{
    posio_result r = vmdk_read_i_take_file(v, err);
    if (r == POSIO_OK) r = vmdk_read_i_open_extents(v, err);
    if (r == POSIO_OK) r = vmdk_read_i_make_caches(v, err);
    if (r == POSIO_OK) r = vmdk_read_i_open_parent(v, err);
    if (r == POSIO_OK && v->info.has_parent && v->parent.size < v->info.media_size)
        vmdk_read_i_warn(v, 0, POSIO_NO_OFFSET,
                         "the parent has %llu bytes of media, and the image %llu: what neither "
                         "holds reads as zeros",
                         (unsigned long long)v->parent.size,
                         (unsigned long long)v->info.media_size);
    v->unit = v->info.grain_size;
    if (v->parent.unit > v->unit) v->unit = v->parent.unit;
    return vmdk_read_i_named(v, NULL, r, err);
}

VMDK_READ_API posio_result vmdk_read_open_source(vmdk_read **out, const posio_source *file,
                                                 const vmdk_read_desc *desc, posio_error *err)
{
    vmdk_read *v = NULL;
    posio_result r = vmdk_read_i_create(&v, desc, err);
    if (r != POSIO_OK) return r;
    v->file = *file;
    r = vmdk_read_i_interpret(v, err);
    if (r == POSIO_OK) *out = v;
    else vmdk_read_close(v);
    return r;
}

#ifndef POSIO_NO_FILES
static posio_result vmdk_read_i_resolve(void *self, const posio_reference *reference,
                                        posio_source *out, posio_error *err);

/* The image that lies in a layer, which becomes its own. */
static posio_result vmdk_read_i_open_layer(vmdk_read **out, posio_layer *layer,
                                           const vmdk_read_desc *desc, posio_error *err)
{
    vmdk_read *v = NULL;
    vmdk_read_desc named;
    posio_folder_desc folder;
    posio_result r;
    memset(&named, 0, sizeof named);
    if (desc != NULL) named = *desc;
    named.name = posio_layer_path(layer);
    r = vmdk_read_i_create(&v, &named, err);
    if (r != POSIO_OK) {
        posio_layer_close(layer);
        return r;
    }
    v->layer = layer;
    v->file = posio_layer_source(layer);
    if (v->desc.resolver == NULL) {
        v->own_resolver.open = vmdk_read_i_resolve;
        v->own_resolver.self = v;
        v->desc.resolver = &v->own_resolver;
    }
    if (v->desc.opener == NULL) {
        memset(&folder, 0, sizeof folder);
        folder.allow = v->desc.allow;
        folder.alloc = v->desc.alloc;
        r = posio_folder_open(&v->folder, v->desc.name, &folder, err);
        if (r == POSIO_OK) v->own_opener = posio_folder_opener(v->folder);
        v->desc.opener = &v->own_opener;
    }
    if (r == POSIO_OK) r = vmdk_read_i_interpret(v, err);
    if (r == POSIO_OK) *out = v;
    else vmdk_read_close(v);
    return r;
}

/* What vmdk_read_open does for itself: parents in VMDK format. */
static posio_result vmdk_read_i_resolve(void *self, const posio_reference *reference,
                                        posio_source *out, posio_error *err)
{
    vmdk_read *v = (vmdk_read *)self;
    vmdk_read_desc desc = v->desc;
    posio_layer *layer = NULL;
    posio_result r;
    vmdk_read_close(v->parent_image); /* of the name before */
    v->parent_image = NULL;
    r = posio_layer_follow(&layer, v->layer, reference->name, err);
    if (r != POSIO_OK) return r;
    desc.resolver = NULL;
    desc.opener = NULL;
    if (desc.cache_bytes > 1) desc.cache_bytes /= 2; /* 0 would mean the default */
    r = vmdk_read_i_open_layer(&v->parent_image, layer, &desc, err);
    if (r != POSIO_OK) return r;
    *out = vmdk_read_source(v->parent_image);
    if (reference->identity != NULL)
        memcpy(reference->identity, v->parent_image->info.identity, POSIO_IDENTITY);
    return POSIO_OK;
}
#endif

VMDK_READ_API posio_result vmdk_read_open(vmdk_read **out, const char *path,
                                          const vmdk_read_desc *desc, posio_error *err)
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
    return r != POSIO_OK ? r : vmdk_read_i_open_layer(out, layer, desc, err);
#endif
}

VMDK_READ_API void vmdk_read_close(vmdk_read *image)
{
    posio_alloc a;
    uint32_t i;
    if (image == NULL) return;
    a = image->desc.alloc;
#ifndef POSIO_NO_FILES
    vmdk_read_close(image->parent_image);
#endif
    chunk_cache_destroy(image->grains);
    chunk_cache_destroy(image->tables);
    chunk_cache_destroy(image->pages);
    while (image->idle != NULL) {
        vmdk_read_i_scratch *s = image->idle;
        image->idle = s->next;
        vmdk_read_i_free_scratch(image, s);
    }
    for (i = 0; i < image->info.extent_count; i++) {
        vmdk_read_i_extent *x = &image->extents[i];
        if (x->file.read_at != NULL && !x->is_own && !x->is_shared && image->desc.opener != NULL)
            image->desc.opener->close(image->desc.opener->self, &x->file);
        posio_release(&a, x->map);
    }
    posio_release(&a, image->extents);
    posio_release(&a, image->text);
    posio_release(&a, image->cut);
#ifndef POSIO_NO_FILES
    posio_folder_close(image->folder);
    posio_layer_close(image->layer);
#endif
    if (image->has_lock) thread_pool_mutex_destroy(&image->lock);
    posio_release(&a, image);
}

// ---------------------------------------------------------------------------------- inspection

VMDK_READ_API const vmdk_read_metadata *vmdk_read_info(const vmdk_read *image)
{
    return &image->info;
}

VMDK_READ_API posio_result vmdk_read_get_extent(const vmdk_read *image, uint32_t i,
                                                vmdk_read_extent *out)
{
    const vmdk_read_i_extent *x;
    if (i >= image->info.extent_count) return POSIO_E_RANGE;
    x = &image->extents[i];
    memset(out, 0, sizeof *out);
    out->media_offset = x->media;
    out->size = x->size;
    out->file_offset = x->kind == VMDK_READ_I_PLAIN ? x->start : 0;
    out->file_size = x->file.size;
    out->access = x->access;
    out->type = x->type;
    out->grain_size = x->grain;
    out->header_version = x->version;
    out->is_compressed = x->is_compressed;
    out->has_markers = x->has_markers;
    out->rebuilt = x->map != NULL;
    out->is_own = x->is_own;
    out->name = x->name;
    out->type_name = x->type_name;
    return POSIO_OK;
}

VMDK_READ_API posio_result vmdk_read_get_warning(vmdk_read *image, uint32_t i,
                                                 vmdk_read_warning *out)
{
    vmdk_read *v;
    int found = 0;
    for (v = image; v != NULL && !found; v = v->parent_image) {
        thread_pool_lock(&v->lock);
        found = posio_get_warning(&v->warnings, &i, v != image ? v->desc.name : NULL, out);
        thread_pool_unlock(&v->lock);
    }
    return found ? POSIO_OK : POSIO_E_RANGE;
}

#undef VMDK_READ_I_EMPTY
#undef VMDK_READ_I_GAP
#undef VMDK_READ_I_ZEROS
#undef VMDK_READ_I_BAD
#undef VMDK_READ_I_LOST
#elif defined(VMDK_READ_IMPLEMENTATION) && VMDK_READ_I_IMPLEMENTED < 100
#error "vmdk_read.h: the functions of an older copy came first; include the newest header first"
#endif
