/* ewf_read.h - read and verify EnCase E01 and SMART S01 evidence files, from any number of threads.
   SPDX-License-Identifier: MIT OR Unlicense

   QUICK START

       #define EWF_READ_IMPLEMENTATION
       #include "ewf_read.h"
       #include <stdio.h>

       int main(int argc, char **argv)
       {
           ewf_read *image = NULL;
           posio_error err;
           unsigned char sector[512];
           if (argc < 2 || ewf_read_open(&image, argv[1], NULL, &err) != POSIO_OK) return 2;
           printf("%llu bytes\n", (unsigned long long)ewf_read_info(image)->media_size);
           if (ewf_read_at(image, 0, sector, sizeof sector, &err) != POSIO_OK) puts(err.message);
           ewf_read_close(image);
           return 0;
       }

   WHAT IT DOES NOT DO
     No writing. Ex01 and Lx01 (EWF version 2), L01 (logical evidence) and AD encryption are
     recognised and refused by name. Images are never repaired on disk, only read around damage.

   OPTIONS  (define before the first include; each works alone)
     EWF_READ_IMPLEMENTATION   the functions too: in exactly one .c or .cpp
     EWF_READ_STATIC           a private copy with internal linkage, for this file only
     EWF_READ_API              how public functions are declared (default: nothing)
     THREAD_POOL_NO_THREADS    no locks, no threads: one thread may use an image at a time

   THREADS
     After opening, every function that takes a handle may be called by any number of threads, but
     for ewf_read_close. No thread is started: large reads and ewf_read_verify use the pool lent in
     the desc, if there is one.

   MEMORY
     Chunk tables stay on disk and are read when wanted. An open image keeps about 500 bytes for
     each segment, 200 bytes for each table section (2 GiB of media with EnCase 6 and later, 512 MiB
     before), 1 MiB of table pages and desc.cache_bytes (32 MiB) of chunks; for texts, lists of
     sectors and warnings 3 MiB at most. Each thread that decodes keeps one scratch of 280 KiB, or
     for larger chunks of the chunk plus 90 KiB. Verify adds a ring of slots of 1 MiB (or one chunk,
     if larger): at most 24 MiB, or three slots. A search for chunks without a table takes three
     chunks (2 MiB, if they are small) and 8 bytes for each chunk found; damaged chunks are listed
     in 40 bytes each, at most 1,048,576. While a list grows, the old one is there too.

   WORK
     An image costs time in proportion to its size and that of its media, whatever its bytes say:
     sections do not overlap, texts are inflated to 1 MiB at most and 8 MiB together, and a search
     for chunks gives up when attempts in vain have cost 32 times the bytes that it searches, and
     2 MiB for each segment.

   ERRORS
     FORMAT (not EWF), UNSUPPORTED (refused by name), DATA (damaged), MISSING (a segment is absent),
     LIMIT (larger than desc allows), RANGE, IO, NOMEM. Errors name segment, file and byte offset.
     Damage that can be read around is a warning, see ewf_read_get_warning. Opening is complete or
     fails; when reading, a warning for which there is no memory is left out, a damage never.

   THE FORMAT  (libewf's "Expert Witness Compression Format" document is the reference: EWF)

     An image is a set of segment files .E01 .. .E99, .EAA .. .EZZ, .FAA .. .ZZZ (S01 likewise).

     segment  = file header (13): "EVF" 09 0d 0a ff 00 | 01 | segment number u16 | 00 00
                sections: each a descriptor of 76 bytes and a body
     section  = type, 16 bytes | offset of the next section u64 | size with descriptor u64 |
                40 bytes padding | Adler-32 of the 72 bytes before

     header, header2, xheader   case metadata, zlib: text, UTF-16 text, XML
     volume, disk, data         geometry: chunk count, sectors per chunk, bytes per sector, sectors
     sectors                    the chunks, one after the other
     table, table2              where the chunks of the sectors section before it begin (and a copy)

       count u32 | 4 | base u64 | 4 | Adler-32 of these 20 | entries u32 ... | Adler-32 of entries

       An entry is base + the low 31 bits; the high bit says zlib. A chunk ends where the next
       begins, the last one with its sectors section. Raw chunks end in their Adler-32.
       EnCase 6.7.1: when offset + size pass 2 GiB - 1, the entries behind use all 32 bits, and
       their chunks are raw.

     layout              | base | footer of entries | chunks are in       | volume body
     EWF, SMART (S01)    | 0    | no                | table, behind it    | 94 bytes
     EnCase 1            | 0    | yes               | table, behind it    | 1052
     EnCase 2-5, linen 5, FTK, EWF-X | 0 | yes      | sectors             | 1052
     EnCase 6-7, linen 6-7 | used | yes             | sectors             | 1052

     hash (MD5), digest (MD5 and SHA-1), xhash (XML)   of the media as acquired
     error2, session            sectors that could not be read; starts of sessions on optical media
     next, done                 ends of a segment, and of the last one

   DAMAGE
     A table that fails its checksum is replaced by table2, and when both are unusable the chunks
     are found again by walking the sectors section: zlib streams end themselves, raw chunks have a
     known size and an Adler-32. Each of these is a warning. A damaged section descriptor is passed
     over, or the next good one is searched. Loops and backward links end the walk. */

#if defined(EWF_READ_STATIC) && !defined(EWF_READ_IMPLEMENTATION)
#define EWF_READ_IMPLEMENTATION
#endif
#if defined(EWF_READ_IMPLEMENTATION)
#ifndef CHUNK_CACHE_IMPLEMENTATION
#define CHUNK_CACHE_IMPLEMENTATION
#endif
#ifndef DEFLATE_READ_IMPLEMENTATION
#define DEFLATE_READ_IMPLEMENTATION
#endif
#ifndef DIGEST_IMPLEMENTATION
#define DIGEST_IMPLEMENTATION
#endif
#endif
#if defined(CHUNK_CACHE_IMPLEMENTATION) && !defined(THREAD_POOL_IMPLEMENTATION)
#define THREAD_POOL_IMPLEMENTATION
#endif
#if !defined(POSIO_IMPLEMENTATION) &&                                               \
    (defined(THREAD_POOL_IMPLEMENTATION) || defined(DEFLATE_READ_IMPLEMENTATION) || \
     defined(DIGEST_IMPLEMENTATION))
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
#if defined(DIGEST_IMPLEMENTATION)
#include "digest.h"
#endif

#ifndef CHUNKWISE_EWF_READ_H
#define CHUNKWISE_EWF_READ_H

#define EWF_READ_VERSION 100 /* 1.0.0 */

#include <stddef.h>
#include <stdint.h>

struct chunkwise_pool;

#if defined(EWF_READ_STATIC)
#define EWF_READ_I_STATIC
#endif
#ifndef EWF_READ_API
#if !defined(EWF_READ_STATIC)
#define EWF_READ_API
#elif defined(__GNUC__) || defined(__TINYC__)
#define EWF_READ_API static __attribute__((unused))
#else
#define EWF_READ_API static
#endif
#endif

/* ------------------------------------------------------------------ essential */

typedef struct ewf_read ewf_read;

/* What a read of a damaged chunk gives. It is recorded in every case. */
enum {
    EWF_READ_DAMAGE_ERROR = 0, /* an error that names chunk, segment and offset */
    EWF_READ_DAMAGE_ZEROS = 1, /* zeros for the whole chunk */
    EWF_READ_DAMAGE_RAW = 2    /* the bytes as stored or as far as they decode, then zeros */
};

typedef struct ewf_read_desc {
    struct chunkwise_pool *pool; /* lent for large reads and verify; NULL = the calling thread */
    uint64_t cache_bytes;        /* of decoded chunks; 0 = 32 MiB */
    uint32_t on_damage;          /* EWF_READ_DAMAGE_... */
    uint32_t max_open;           /* descriptors kept open; 0 = 64 */
    uint32_t max_chunk_size;     /* bytes; 0 = 128 MiB, the largest that tools can write */
    uint32_t max_tables;         /* 0 = 1,048,576 table sections (64 TiB in the smallest tables) */
    posio_alloc alloc;
} ewf_read_desc;

#ifdef __cplusplus
extern "C" {
#endif

/* Opens the image that a path belongs to: any of its segments, the others are found beside it by
   the naming scheme, in either case. Segments are ordered by the number in their headers. Missing,
   duplicate and foreign ones become warnings as long as something can be read.
   path is UTF-8. desc NULL or all zero is a complete default. On success close *out yourself.
   Source: EWF, "Segment files", "Section descriptor".
   Threads: any. Allocates: open. Blocks: I/O. */
EWF_READ_API posio_result ewf_read_open(ewf_read **out, const char *path, const ewf_read_desc *desc,
                                        posio_error *err);

/* Reads n bytes of the logical media at offset into buf. POSIO_E_RANGE beyond media_size.
   A chunk that is damaged is handled as desc.on_damage says; a missing one likewise, with
   POSIO_E_MISSING. Whole chunks of a range of 256 KiB or more are decoded on the pool, straight
   into buf: they pass by the cache. Everything else is decoded once for all threads that want it.
   Threads: any. Allocates: yes (a scratch for each thread at once). Blocks: workers. */
EWF_READ_API posio_result ewf_read_at(ewf_read *image, uint64_t offset, void *buf, size_t n,
                                      posio_error *err);

/* Closes; NULL is fine. Nothing may be reading.
   Threads: exclusive. Allocates: no. Blocks: I/O. */
EWF_READ_API void ewf_read_close(ewf_read *image);

/* The logical media as a positioned source; it borrows the image.
   Threads: any. Allocates: no. Blocks: no. */
EWF_READ_API posio_source ewf_read_source(ewf_read *image);

/* ------------------------------------------------------------------ essential: verify */

enum { EWF_READ_MD5 = 1, EWF_READ_SHA1 = 2, EWF_READ_SHA256 = 4, EWF_READ_BLAKE3 = 8 };
enum { EWF_READ_MAX_DIGESTS = 4 };

typedef struct ewf_read_verify_desc {
    uint32_t digests; /* EWF_READ_MD5 | ... to compute besides those stored in the image */
    uint32_t threads; /* at most this many of the pool; 0 = all */
    /* On the calling thread, after its steps and every 100 ms; non-zero cancels. May be NULL. */
    int (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
} ewf_read_verify_desc;

typedef struct ewf_read_digest {
    uint32_t algorithm;   /* EWF_READ_MD5, ... */
    uint32_t size;        /* bytes: 16, 20 or 32 */
    uint8_t computed[32]; /* over the logical media, damaged chunks as far as they decode */
    uint8_t stored[32];
    uint32_t has_computed; /* 0 when parts of the media are missing altogether */
    uint32_t has_stored;
    uint32_t match;     /* has both, and they are equal */
    uint32_t untrimmed; /* match holds only with the bytes behind the last whole sector */
} ewf_read_digest;

typedef struct ewf_read_verdict {
    ewf_read_digest digest[EWF_READ_MAX_DIGESTS];
    uint32_t digest_count;
    uint32_t mismatches;     /* stored digests that do not match */
    uint64_t damaged_chunks; /* missing ones included; see ewf_read_get_damage */
    uint64_t bytes;          /* of media that were decoded */
} ewf_read_verdict;

/* Reads and checks every chunk on the pool and computes the digests, each in a lane of its own.
   Goes on after damage. POSIO_OK means that the verdict is complete, whatever it says.
   Errors: CANCELED, NOMEM, ARG, ABI. Results are the same for any number of threads.
   Threads: any. Allocates: yes. Blocks: workers. */
EWF_READ_API posio_result ewf_read_verify(ewf_read *image, const ewf_read_verify_desc *desc,
                                          ewf_read_verdict *verdict, posio_error *err);

/* Many images. */
typedef struct ewf_read_many_desc {
    struct chunkwise_pool *pool; /* lent; NULL = the calling thread. Those of the images rest. */
    uint32_t digests;            /* EWF_READ_MD5 | ... to compute besides those stored in each */
    uint32_t threads;            /* at most this many of the pool; 0 = all */
    /* Images in flight, 64 at most; 0 = usable cores - 2, at least 8, which fill the lanes of
       vector registers. Where seeking is slow (a spinning disk), one at a time is the fastest. */
    uint32_t at_once;
    uint32_t reserved;
    /* The i-th image (0, 1, ...), open until it is done, or NULL: there are no more. *digests is
       the member above, and may be changed for this image. */
    ewf_read *(*next)(void *user, uint32_t i, uint32_t *digests);
    /* The i-th image is done with, and may be closed; in any order. verdict NULL: it could not be
       verified, for the reason in why (NOMEM, ARG); the others go on. */
    void (*done)(void *user, uint32_t i, const ewf_read_verdict *verdict, const posio_error *why);
    /* As in ewf_read_verify_desc, for each image in flight in turn, on the calling thread while
       next and done may run on others: it may hear of an image once more after its done. May be
       NULL. */
    int (*progress)(void *user, uint32_t i, uint64_t done, uint64_t total);
    void *user; /* next and done are called one at a time, on any thread */
    posio_alloc alloc;
} ewf_read_many_desc;

/* Verifies images side by side: some are in flight at once, and a digest that several of them want
   is computed for all of them together, in the lanes of vector registers. Each verdict, and what
   each image records, is what ewf_read_verify would have given. Memory: three to nine buffers of
   256 KiB (or one chunk, if larger) for each image in flight; an image waits while all together
   would exceed 64 MiB, unless it is the only one.
   Errors: CANCELED, NOMEM, ARG, ABI; images in flight are not done then.
   Threads: any. Allocates: yes. Blocks: workers. */
EWF_READ_API posio_result ewf_read_verify_many(const ewf_read_many_desc *desc, posio_error *err);

/* ------------------------------------------------------------------ inspection */

/* Texts of header, header2 and xheader, in UTF-8 as far as the image says how they are encoded. */
enum {
    EWF_READ_CASE_NUMBER,
    EWF_READ_EVIDENCE_NUMBER,
    EWF_READ_DESCRIPTION,
    EWF_READ_EXAMINER,
    EWF_READ_NOTES,
    EWF_READ_MODEL,
    EWF_READ_SERIAL_NUMBER,
    EWF_READ_DEVICE_LABEL,
    EWF_READ_SOFTWARE_VERSION, /* of the program that acquired */
    EWF_READ_SOFTWARE_OS,
    EWF_READ_ACQUIRED,    /* ISO 8601; with a zone only where the image states one */
    EWF_READ_SYSTEM_DATE, /* the same */
    EWF_READ_PASSWORD_HASH,
    EWF_READ_PROCESS_ID,
    EWF_READ_EXTENTS,
    EWF_READ_COMPRESSION, /* n, f or b: none, fast, best */
    EWF_READ_TEXT_COUNT
};

typedef struct ewf_read_range {
    uint64_t first, count; /* sectors */
} ewf_read_range;

typedef struct ewf_read_metadata {
    uint64_t media_size; /* bytes of logical media */
    uint64_t sector_count, chunk_count;
    uint32_t sector_size, chunk_size; /* bytes */
    uint32_t segment_count;           /* that are there */
    uint32_t missing_segments;
    const char *layout;         /* "EWF-E01", "EWF-S01 (SMART)", ... */
    uint8_t set_guid[16];       /* all zero where the layout has none */
    uint32_t media_type;        /* 0 removable, 1 fixed, 3 optical, 14 logical files, 16 memory */
    uint32_t media_flags;       /* 1 image, 2 physical, 4 Fastbloc, 8 Tableau write blocker */
    uint32_t compression_level; /* 0 none, 1 fast, 2 best, as declared */
    uint32_t error_granularity; /* sectors */
    uint8_t md5[16], sha1[20];  /* as stored */
    uint32_t has_md5, has_sha1;
    const char *text[EWF_READ_TEXT_COUNT];    /* NULL where absent */
    const ewf_read_range *acquisition_errors; /* sectors the source could not deliver */
    const ewf_read_range *sessions;
    uint32_t acquisition_error_count, session_count;
} ewf_read_metadata;

/* Everything known after opening; valid until close. Opening reads no chunk, unless damage makes it
   search for them. Threads: any. Allocates: no. Blocks: no. */
EWF_READ_API const ewf_read_metadata *ewf_read_info(const ewf_read *image);

/* "case_number", ...: stable names for the texts; NULL beyond the last.
   Threads: any. Allocates: no. Blocks: no. */
EWF_READ_API const char *ewf_read_text_name(uint32_t which);

typedef struct ewf_read_warning {
    uint32_t segment; /* 0 = the image as a whole */
    uint32_t reserved;
    uint64_t offset; /* in the segment file, or POSIO_NO_OFFSET */
    char message[240];
} ewf_read_warning;

/* The i-th warning so far, in order of segment and offset; POSIO_E_RANGE behind the last. Reading
   may add some. Threads: any. Allocates: no. Blocks: no. */
EWF_READ_API posio_result ewf_read_get_warning(ewf_read *image, uint32_t i, ewf_read_warning *out);

typedef struct ewf_read_damage {
    uint64_t chunk, count; /* count > 1 only for chunks that are missing altogether */
    uint64_t offset;       /* of the chunk in the segment file, or POSIO_NO_OFFSET */
    uint32_t segment;      /* 0 = unknown */
    posio_result code;     /* DATA, MISSING or IO */
    const char *reason;    /* constant text */
} ewf_read_damage;

/* The i-th damaged chunk seen so far, in order of chunks; POSIO_E_RANGE behind the last. The first
   1,048,576 seen are listed.
   Threads: any. Allocates: no. Blocks: no. */
EWF_READ_API posio_result ewf_read_get_damage(ewf_read *image, uint32_t i, ewf_read_damage *out);

/* ------------------------------------------------------------------ advanced */

/* Opens `name` and its siblings through an opener (archives, remote stores, sandboxes), which is
   borrowed until close. Threads: any. Allocates: open. Blocks: I/O. */
EWF_READ_API posio_result ewf_read_open_with(ewf_read **out, const posio_opener *opener,
                                             const char *name, const ewf_read_desc *desc,
                                             posio_error *err);

/* Opens segments that are sources already, in any order; both are borrowed until close.
   Threads: any. Allocates: open. Blocks: I/O. */
EWF_READ_API posio_result ewf_read_open_sources(ewf_read **out, const posio_source *segments,
                                                uint32_t count, const ewf_read_desc *desc,
                                                posio_error *err);

/* Do these bytes begin an EWF file? OK: an E01 or S01 segment. UNSUPPORTED: of the family, and
   refused by name. FORMAT: something else. Source: EWF, "File header".
   Threads: any. Allocates: no. Blocks: I/O. */
EWF_READ_API posio_result ewf_read_probe(const posio_source *source, posio_error *err);

/* The number (from 1) that the naming scheme gives to a file name with this extension, and the
   length of its stem; 0 when the name is not of the scheme. "x.E01" and "x.e01" are 1, "x.EAA" is
   100. Source: EWF, "Segment file extensions". Threads: any. Allocates: no. Blocks: no. */
EWF_READ_API uint32_t ewf_read_segment_of_name(const char *name, size_t *stem);

#ifdef __cplusplus
}
#endif
#elif EWF_READ_VERSION < 100
#error "ewf_read.h: an older copy came first in this file; include the newest header first"
#endif
#if defined(EWF_READ_STATIC) && !defined(EWF_READ_I_STATIC)
#error "define EWF_READ_STATIC before the first include of ewf_read.h"
#endif

#if defined(EWF_READ_IMPLEMENTATION) && !defined(EWF_READ_I_IMPLEMENTED)
#define EWF_READ_I_IMPLEMENTED 100

#include <stdlib.h>
#include <string.h>

// ---------------------------------------------------------------------------------- structures

enum {
    EWF_READ_I_FILE_HEADER = 13,
    EWF_READ_I_DESCRIPTOR = 76,
    EWF_READ_I_TABLE_HEADER = 24,
    EWF_READ_I_PAGE = 4096,        /* table entries in a cached page */
    EWF_READ_I_PART = 128 << 10,   /* bytes of media in one step of work */
    EWF_READ_I_BULK = 256 << 10,   /* a read of so much passes by the cache */
    EWF_READ_I_SLOT = 1 << 20,     /* bytes of media in one slot of verify */
    EWF_READ_I_RING = 24 << 20,    /* all slots together, unless chunks are larger than 8 MiB */
    EWF_READ_I_TEXT_MAX = 1 << 20, /* an inflated header, at most */
    EWF_READ_I_TEXTS = 8 << 20,    /* all that may be inflated for texts, attempts included */
    EWF_READ_I_FIELDS = 1000,      /* looked at in one header; some 20 exist */
    EWF_READ_I_RANGES = 65536,     /* acquisition errors or sessions kept */
    EWF_READ_I_WARNINGS = 1000,    /* kept; a hostile image could make any number */
    EWF_READ_I_DAMAGES = 1 << 20,
    EWF_READ_I_AT_ONCE = 64,       /* images verified at the same time, at most, */
    EWF_READ_I_BUFFERS = 64 << 20, /* and bytes of their buffers */
    EWF_READ_I_LAST_SEGMENT = 99 + 22 * 676 /* .E01-.E99, .EAA-.ZZZ */
};

/* How a table's chunks are found. Set once, by the first reader (see ewf_read_i_settle). */
enum {
    EWF_READ_I_UNSETTLED = 0,
    EWF_READ_I_USE_TABLE = 1,
    EWF_READ_I_USE_TABLE2 = 2,
    EWF_READ_I_USE_SCAN = 3, /* found by walking the chunks themselves */
    EWF_READ_I_USE_NONE = 4
};

/* Why chunks are missing altogether. */
enum { EWF_READ_I_NO_TABLE = 1, EWF_READ_I_NO_SEGMENT = 2, EWF_READ_I_NO_END = 3 };

typedef struct ewf_read_i_copy {
    uint64_t entries; /* file offset; 0 = this copy is absent or unusable */
    uint64_t base;
} ewf_read_i_copy;

typedef struct ewf_read_i_table {
    uint64_t first;      /* number of its first chunk */
    uint64_t count;      /* chunks */
    uint64_t start, end; /* of the chunk data in the segment file */
    uint32_t segment;    /* index; for missing chunks the number of the absent segment or 0 */
    uint32_t state;      /* EWF_READ_I_USE_..., atomic */
    uint32_t has_footer;
    uint32_t missing;            /* EWF_READ_I_NO_...: nothing is known of these chunks */
    uint32_t leads_with_entries; /* a scan begins among the entries of a damaged table */
    uint32_t doubtful;           /* a scan passed over something that may be any number of chunks */
    uint64_t overflow_at;        /* entries from here on use 32 bits and are raw */
    ewf_read_i_copy copy[2];
    uint64_t *found; /* USE_SCAN: offset of each chunk, bit 63 = zlib */
    uint64_t found_count;
    uint64_t doubt, lost_at; /* found[doubt .. lost_at) is found, but cannot be numbered */
    uint64_t lost; /* so many chunks behind that were not found: found[lost_at] is lost_at + lost */
} ewf_read_i_table;

/* Where chunks may be missing, as places between tables: before tables[first], and so on up to
   tables[last]; first > last: nowhere. */
typedef struct ewf_read_i_gaps {
    uint64_t first, last;
    uint32_t why, segment; /* at the first one: EWF_READ_I_NO_..., the number of a segment */
} ewf_read_i_gaps;

typedef struct ewf_read_i_segment {
    posio_source source;
    char *name;        /* as in errors */
    uint32_t number;   /* from the file header */
    uint32_t ordinal;  /* from the name; 0 = unknown */
    uint32_t owned;    /* opened by us through the opener */
    uint32_t ends_set; /* has a `done` section */
    uint32_t complete; /* has `next` or `done` */
    uint32_t foreign;  /* its volume or data section names another set */
    uint64_t first_table, table_count;
} ewf_read_i_segment;

/* What one thread needs to decode; kept in a list on the image while idle. */
typedef struct ewf_read_i_scratch {
    struct ewf_read_i_scratch *next;
    size_t room;
    unsigned char *stored;
    deflate_read inflate;
} ewf_read_i_scratch;

struct ewf_read {
    ewf_read_desc desc;
    posio_opener opener;
#ifndef POSIO_NO_FILES
    posio_folder *folder;
#endif
    ewf_read_i_segment *segments;
    uint32_t segment_count;
    uint64_t segment_room;
    ewf_read_i_table *tables;
    uint64_t table_count, table_room;
    ewf_read_metadata info;
    uint64_t declared_chunks, declared_sectors; /* of the volume section, then of data */
    int have_volume, volume_is_old;
    int text_rank[EWF_READ_TEXT_COUNT];
    uint64_t missing_chunks;
    ewf_read_i_gaps holes; /* that the walk through the sections passed over */
    size_t stored_max;     /* no chunk takes more bytes in the file */
    size_t texts_left;     /* of EWF_READ_I_TEXTS */
    int starved;           /* something was left out for want of memory: opening fails */
    chunk_cache *chunks, *pages;
    thread_pool_mutex lock; /* guards everything below */
    int has_lock;
    ewf_read_i_scratch *idle;
    ewf_read_warning *warnings;
    uint32_t warning_count;
    uint64_t warning_room;
    ewf_read_damage *damages;
    uint32_t damage_count;
    uint64_t damage_room;
};

static posio_result ewf_read_i_no_memory(posio_error *err)
{
    return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
}

/* Text and lists of the metadata are const for callers, and ours to release. */
static void ewf_read_i_free_const(const posio_alloc *a, const void *p)
{
    union {
        const void *read;
        void *write;
    } u;
    u.read = p;
    posio_release(a, u.write);
}

// ---------------------------------------------------------------------------------- warnings

static int ewf_read_i_warning_order(const ewf_read_warning *a, const ewf_read_warning *b)
{
    uint64_t x = a->offset + 1, y = b->offset + 1; /* no offset comes first */
    if (a->segment != b->segment) return a->segment < b->segment ? -1 : 1;
    if (x != y) return x < y ? -1 : 1;
    return strcmp(a->message, b->message);
}

/* Files a warning in order of place, so that the list is the same whichever thread came first; when
   it is full, the first places stay. */
static void ewf_read_i_file_warning(ewf_read *image, const ewf_read_warning *w)
{
    void *list = image->warnings;
    uint32_t at = image->warning_count;
    while (at != 0 && ewf_read_i_warning_order(&image->warnings[at - 1], w) > 0) at--;
    if (at != 0 && ewf_read_i_warning_order(&image->warnings[at - 1], w) == 0) return;
    if (at == EWF_READ_I_WARNINGS) return;
    if (image->warning_count == EWF_READ_I_WARNINGS) image->warning_count--;
    if (!posio_grow(&image->desc.alloc, &list, image->warning_count, &image->warning_room,
                    sizeof *w)) {
        image->starved = 1;
        return;
    }
    image->warnings = (ewf_read_warning *)list;
    memmove(image->warnings + at + 1, image->warnings + at,
            (image->warning_count - at) * sizeof *w);
    image->warnings[at] = *w;
    image->warning_count++;
}

static void ewf_read_i_warn(ewf_read *image, uint32_t segment, uint64_t offset, const char *format,
                            ...)
{
    ewf_read_warning w;
    va_list ap;
    memset(&w, 0, sizeof w);
    w.segment = segment;
    w.offset = offset;
    va_start(ap, format);
    posio_vformat(w.message, sizeof w.message, format, ap);
    va_end(ap);
    thread_pool_lock(&image->lock);
    ewf_read_i_file_warning(image, &w);
    thread_pool_unlock(&image->lock);
}

/* The place of a chunk in the list of damages. */
static uint32_t ewf_read_i_damage_at(const ewf_read *image, uint64_t chunk)
{
    uint32_t lo = 0, hi = image->damage_count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (image->damages[mid].chunk < chunk) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* Files a damaged chunk once, in order of chunks; when the list is full, the first ones stay.
   0 = no memory for it. */
static int ewf_read_i_file_damage(ewf_read *image, const ewf_read_damage *d)
{
    void *list = image->damages;
    uint32_t at = ewf_read_i_damage_at(image, d->chunk);
    if (at < image->damage_count && image->damages[at].chunk == d->chunk) return 1;
    if (at == EWF_READ_I_DAMAGES) return 1;
    if (image->damage_count == EWF_READ_I_DAMAGES) image->damage_count--;
    if (!posio_grow(&image->desc.alloc, &list, image->damage_count, &image->damage_room, sizeof *d))
        return 0;
    image->damages = (ewf_read_damage *)list;
    memmove(image->damages + at + 1, image->damages + at, (image->damage_count - at) * sizeof *d);
    image->damages[at] = *d;
    image->damage_count++;
    return 1;
}

static int ewf_read_i_record(ewf_read *image, const ewf_read_damage *d)
{
    int ok;
    thread_pool_lock(&image->lock);
    ok = ewf_read_i_file_damage(image, d);
    thread_pool_unlock(&image->lock);
    return ok;
}

// ---------------------------------------------------------------------------------- scratch

static ewf_read_i_scratch *ewf_read_i_take_scratch(ewf_read *image)
{
    ewf_read_i_scratch *s;
    size_t room = image->stored_max > (size_t)(256 << 10) ? image->stored_max : (size_t)(256 << 10);
    thread_pool_lock(&image->lock);
    s = image->idle;
    if (s != NULL) image->idle = s->next;
    thread_pool_unlock(&image->lock);
    if (s != NULL && s->room >= room) return s;
    posio_release(&image->desc.alloc, s); /* from before the chunk size was known */
    s = (ewf_read_i_scratch *)posio_allocate(&image->desc.alloc, sizeof *s + room);
    if (s == NULL) return NULL;
    s->room = room;
    s->stored = (unsigned char *)(s + 1);
    return s;
}

static void ewf_read_i_give_scratch(ewf_read *image, ewf_read_i_scratch *s)
{
    thread_pool_lock(&image->lock);
    s->next = image->idle;
    image->idle = s;
    thread_pool_unlock(&image->lock);
}

// ---------------------------------------------------------------------------------- file names

static char ewf_read_i_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

EWF_READ_API uint32_t ewf_read_segment_of_name(const char *name, size_t *stem)
{
    size_t n = strlen(name);
    char a, b, c;
    uint32_t letters;
    if (n < 4 || name[n - 4] != '.') return 0;
    a = ewf_read_i_lower(name[n - 3]);
    b = ewf_read_i_lower(name[n - 2]);
    c = ewf_read_i_lower(name[n - 1]);
    if (stem != NULL) *stem = n - 4;
    if (b >= '0' && b <= '9' && c >= '0' && c <= '9') {
        if ((a != 'e' && a != 's') || (b == '0' && c == '0')) return 0;
        return (uint32_t)(b - '0') * 10 + (uint32_t)(c - '0');
    }
    if (a < 'e' || a > 'z' || b < 'a' || b > 'z' || c < 'a' || c > 'z') return 0;
    letters = (uint32_t)(b - 'a') * 26 + (uint32_t)(c - 'a');
    return 100 + (uint32_t)(a - 'e') * 676 + letters;
}

/* S01 sets begin their letters at S: .SAA is their 100th, where an E01 set has 100 + 14 * 676. */
static uint32_t ewf_read_i_ordinal(const char *name, char family)
{
    uint32_t n = ewf_read_segment_of_name(name, NULL);
    const uint32_t s = ('s' - 'e') * 676u;
    char first = n != 0 ? ewf_read_i_lower(name[strlen(name) - 3]) : 0;
    if (n != 0 && n < 100) return first == family ? n : 0;
    if (n == 0 || family == 'e') return n;
    return n >= 100 + s ? n - s : 0;
}

// ---------------------------------------------------------------------------------- file headers

/* Source: EWF, "File header"; EWF2, "File header"; the signatures of both families. */
static posio_result ewf_read_i_check_signature(const unsigned char *b, posio_error *err)
{
    static const unsigned char magic[8] = {'E', 'V', 'F', 9, 13, 10, 255, 0};
    const char *refused = NULL;
    if (memcmp(b, magic, 8) == 0) return POSIO_OK;
    if (memcmp(b, "LVF\x09\x0d\x0a\xff", 8) == 0) refused = "L01 (logical evidence, EWF-L01)";
    else if (memcmp(b, "EVF2\x0d\x0a\x81", 8) == 0) refused = "Ex01 (EWF version 2)";
    else if (memcmp(b, "LEF2\x0d\x0a\x81", 8) == 0) refused = "Lx01 (EWF version 2)";
    else if (memcmp(b, "ADCRYPT", 8) == 0) refused = "an encrypted image (AD encryption)";
    if (refused != NULL)
        return posio_fail(err, POSIO_E_UNSUPPORTED, 0, "this is %s, which is not supported",
                          refused);
    return posio_fail(err, POSIO_E_FORMAT, 0, "not an EWF file: no signature \"EVF\" at offset 0");
}

static posio_result ewf_read_i_file_header(const posio_source *s, uint32_t *number,
                                           posio_error *err)
{
    unsigned char b[EWF_READ_I_FILE_HEADER];
    posio_result r;
    if (s->size < sizeof b)
        return posio_fail(err, POSIO_E_FORMAT, 0,
                          s->size == 0 ? "the file is empty"
                                       : "not an EWF file: %llu bytes are less than a file header",
                          (unsigned long long)s->size);
    r = posio_read(s, 0, b, sizeof b, err);
    if (r == POSIO_OK) r = ewf_read_i_check_signature(b, err);
    if (r != POSIO_OK) return r;
    *number = posio_le16(b + 9);
    if (*number == 0)
        return posio_fail(err, POSIO_E_DATA, 9, "segment number 0 in the file header");
    return POSIO_OK;
}

EWF_READ_API posio_result ewf_read_probe(const posio_source *source, posio_error *err)
{
    unsigned char b[8];
    posio_result r;
    if (source->size < sizeof b)
        return posio_fail(err, POSIO_E_FORMAT, 0, "not an EWF file: too short");
    r = posio_read(source, 0, b, sizeof b, err);
    return r != POSIO_OK ? r : ewf_read_i_check_signature(b, err);
}

// ---------------------------------------------------------------------------------- metadata text

/* Stores n bytes as a text of the metadata; a text of a higher rank replaces one of a lower. Takes
   leading and trailing spaces off. */
static void ewf_read_i_set_text(ewf_read *image, uint32_t which, const char *s, size_t n, int rank)
{
    char *copy;
    while (n != 0 && *s == ' ') {
        s++;
        n--;
    }
    while (n != 0 && (s[n - 1] == ' ' || s[n - 1] == '\r')) n--;
    if (n == 0 || rank <= image->text_rank[which]) return;
    copy = (char *)posio_allocate(&image->desc.alloc, n + 1);
    if (copy == NULL) {
        image->starved = 1;
        return;
    }
    memcpy(copy, s, n);
    copy[n] = 0;
    image->text_rank[which] = rank;
    ewf_read_i_free_const(&image->desc.alloc, image->info.text[which]);
    image->info.text[which] = copy;
}

static void ewf_read_i_put2(char *out, unsigned v)
{
    out[0] = (char)('0' + v / 10 % 10);
    out[1] = (char)('0' + v % 10);
}

/* "YYYY-MM-DDThh:mm:ss" and a zone; 0 when no such time can be. */
static int ewf_read_i_iso(char out[40], const unsigned v[6], const char *zone)
{
    if (v[0] > 9999 || v[1] < 1 || v[1] > 12 || v[2] < 1 || v[2] > 31 || v[3] > 23 || v[4] > 59 ||
        v[5] > 60)
        return 0;
    memcpy(out, "0000-00-00T00:00:00", 20);
    ewf_read_i_put2(out, v[0] / 100);
    ewf_read_i_put2(out + 2, v[0] % 100);
    ewf_read_i_put2(out + 5, v[1]);
    ewf_read_i_put2(out + 8, v[2]);
    ewf_read_i_put2(out + 11, v[3]);
    ewf_read_i_put2(out + 14, v[4]);
    ewf_read_i_put2(out + 17, v[5]);
    posio_format(out + 19, 21, "%s", zone);
    return 1;
}

/* Civil date of a day count since 1970-01-01 (proleptic Gregorian, years of 400-year eras). */
static void ewf_read_i_civil(uint64_t days, unsigned v[3])
{
    uint64_t z = days + 719468, era = z / 146097, doe = z % 146097;
    uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    v[2] = (unsigned)(doy - (153 * mp + 2) / 5 + 1);
    v[1] = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
    v[0] = (unsigned)(yoe + era * 400 + (v[1] <= 2 ? 1 : 0));
}

/* Reads up to max unsigned numbers, separated by anything else. */
static int ewf_read_i_numbers(const char *s, size_t n, uint64_t *out, int max)
{
    size_t i = 0;
    int count = 0;
    while (i < n && count < max) {
        uint64_t v = 0;
        if (s[i] < '0' || s[i] > '9') {
            i++;
            continue;
        }
        for (; i < n && s[i] >= '0' && s[i] <= '9' && v < UINT64_MAX / 16; i++)
            v = v * 10 + (uint64_t)(s[i] - '0');
        out[count++] = v;
    }
    return count;
}

/* Three spellings: header2 has seconds since 1970 (UTC), header "Y M D h m s" without a zone,
   xheader "Sat Jan 20 18:32:08 2007 CET". What is none of these is kept as it is. */
static void ewf_read_i_set_date(ewf_read *image, uint32_t which, const char *s, size_t n, int rank)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char text[40], zone[20];
    uint64_t v[6];
    unsigned t[6], i;
    int count;
    memset(zone, 0, sizeof zone);
    memset(v, 0, sizeof v);
    count = ewf_read_i_numbers(s, n, v, 6);
    for (i = 0; i < 6; i++) t[i] = v[i] > 99999 ? 99999 : (unsigned)v[i];
    if (n != 0 && s[0] >= '0' && s[0] <= '9' && count == 6) {
        if (ewf_read_i_iso(text, t, "")) s = text;
    } else if (n != 0 && s[0] >= '0' && s[0] <= '9' && count == 1 && v[0] < 253402300800u) {
        ewf_read_i_civil(v[0] / 86400, t);
        t[3] = (unsigned)(v[0] / 3600 % 24);
        t[4] = (unsigned)(v[0] / 60 % 60);
        t[5] = (unsigned)(v[0] % 60);
        if (ewf_read_i_iso(text, t, "Z")) s = text;
    } else if (n > 20 && count >= 5) { /* weekday month day h m s year zone */
        for (i = 0; i < 12 && memcmp(months + 3 * i, s + 4, 3) != 0; i++) {}
        t[5] = t[3];
        t[4] = t[2];
        t[3] = t[1];
        t[2] = t[0];
        t[0] = v[4] > 99999 ? 99999 : (unsigned)v[4];
        t[1] = i + 1;
        for (i = (unsigned)n; i != 0 && s[i - 1] != ' '; i--) {}
        if (i != 0 && n - i < sizeof zone - 2 && (s[i] < '0' || s[i] > '9')) {
            int utc =
                (n - i == 3 && (memcmp(s + i, "UTC", 3) == 0 || memcmp(s + i, "GMT", 3) == 0));
            if (utc) zone[0] = 'Z';
            else if (s[i] == '+' || s[i] == '-') memcpy(zone, s + i, n - i);
            else { /* an abbreviation: RFC 9557, section 3.1, "2007-01-20T18:32:08[CET]" */
                zone[0] = '[';
                memcpy(zone + 1, s + i, n - i);
                zone[1 + n - i] = ']';
            }
        }
        if (ewf_read_i_iso(text, t, zone)) s = text;
    }
    if (s == text) n = strlen(text);
    ewf_read_i_set_text(image, which, s, n, rank);
}

static int ewf_read_i_is_date(uint32_t which)
{
    return which == EWF_READ_ACQUIRED || which == EWF_READ_SYSTEM_DATE;
}

static void ewf_read_i_set_value(ewf_read *image, uint32_t which, const char *s, size_t n, int rank)
{
    if (ewf_read_i_is_date(which)) ewf_read_i_set_date(image, which, s, n, rank);
    else if (which == EWF_READ_PASSWORD_HASH && n == 1 && *s == '0') return; /* no password */
    else ewf_read_i_set_text(image, which, s, n, rank);
}

/* The short names of header and header2; the order is that of the EWF_READ_... texts. */
static uint32_t ewf_read_i_field(const char *s, size_t n)
{
    static const char names[EWF_READ_TEXT_COUNT][4] = {
        "c", "n", "a", "e", "t", "md", "sn", "l", "av", "ov", "m", "u", "p", "pid", "ext", "r"};
    uint32_t i;
    for (i = 0; i < EWF_READ_TEXT_COUNT; i++)
        if (strlen(names[i]) == n && memcmp(names[i], s, n) == 0) break;
    return i;
}

static size_t ewf_read_i_line(const char *s, size_t n)
{
    const char *end = (const char *)memchr(s, '\n', n);
    return end != NULL ? (size_t)(end - s) : n;
}

/* header and header2: a count, "main", a line of names and a line of values, tabs between.
   Source: EWF, "Header section", "Header2 section". */
static void ewf_read_i_parse_header(ewf_read *image, const char *s, size_t n, int rank)
{
    const char *name, *value;
    size_t line, names, values, i;
    int left = EWF_READ_I_FIELDS;
    for (i = 0; i < 2; i++) {
        line = ewf_read_i_line(s, n);
        if (line >= n) return;
        s += line + 1;
        n -= line + 1;
    }
    name = s;
    names = ewf_read_i_line(s, n);
    if (names >= n) return;
    value = s + names + 1;
    values = ewf_read_i_line(value, n - names - 1);
    if (names != 0 && name[names - 1] == '\r') names--;
    if (values != 0 && value[values - 1] == '\r') values--;
    for (;;) {
        const char *t = (const char *)memchr(name, '\t', names);
        const char *u = (const char *)memchr(value, '\t', values);
        size_t a = t != NULL ? (size_t)(t - name) : names;
        size_t b = u != NULL ? (size_t)(u - value) : values;
        uint32_t field = ewf_read_i_field(name, a);
        if (field < EWF_READ_TEXT_COUNT) ewf_read_i_set_value(image, field, value, b, rank);
        if (t == NULL || u == NULL || --left == 0) return;
        name += a + 1;
        names -= a + 1;
        value += b + 1;
        values -= b + 1;
    }
}

/* Replaces the five entities of XML in place; returns the new length. */
static size_t ewf_read_i_unescape(char *s, size_t n)
{
    static const char *const entity[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&apos;"};
    static const char plain[] = "&<>\"'";
    size_t in = 0, out = 0;
    while (in < n) {
        size_t e, len = 1;
        char c = s[in];
        for (e = 0; c == '&' && e < 5; e++)
            if (strlen(entity[e]) <= n - in && memcmp(s + in, entity[e], strlen(entity[e])) == 0) {
                len = strlen(entity[e]);
                s[out] = plain[e];
                break;
            }
        if (len == 1) s[out] = c;
        out++;
        in += len;
    }
    return out;
}

/* The text between <tag> and </tag>; NULL when there is none among the first tags. */
static char *ewf_read_i_element(char *s, size_t n, const char *tag, size_t *length)
{
    size_t t = strlen(tag);
    char *at = (char *)memchr(s, '<', n), *value = NULL, *end = s + n;
    int left = EWF_READ_I_FIELDS;
    for (; at != NULL && left-- != 0; at = (char *)memchr(at, '<', (size_t)(end - at))) {
        size_t rest = (size_t)(end - ++at); /* behind '<' */
        if (value == NULL && rest > t && memcmp(at, tag, t) == 0 && at[t] == '>') {
            value = at + t + 1;
        } else if (value != NULL && rest > t + 1 && *at == '/' && memcmp(at + 1, tag, t) == 0) {
            *length = (size_t)(at - 1 - value);
            return value;
        }
    }
    return NULL;
}

/* xheader: XML with one element for each value. Source: EWF, "Xheader section". */
static void ewf_read_i_parse_xheader(ewf_read *image, char *s, size_t n, int rank)
{
    static const struct {
        const char *tag;
        uint32_t which;
    } tags[] = {{"case_number", EWF_READ_CASE_NUMBER},
                {"evidence_number", EWF_READ_EVIDENCE_NUMBER},
                {"description", EWF_READ_DESCRIPTION},
                {"examiner_name", EWF_READ_EXAMINER},
                {"notes", EWF_READ_NOTES},
                {"model", EWF_READ_MODEL},
                {"serial_number", EWF_READ_SERIAL_NUMBER},
                {"acquiry_software_version", EWF_READ_SOFTWARE_VERSION},
                {"acquiry_operating_system", EWF_READ_SOFTWARE_OS},
                {"acquiry_date", EWF_READ_ACQUIRED},
                {"system_date", EWF_READ_SYSTEM_DATE},
                {"password", EWF_READ_PASSWORD_HASH}};
    size_t i, length;
    char *copy;
    for (i = 0; i < sizeof tags / sizeof tags[0]; i++) {
        char *value = ewf_read_i_element(s, n, tags[i].tag, &length);
        if (value == NULL) continue;
        copy = (char *)posio_allocate(&image->desc.alloc, length + 1);
        if (copy == NULL) {
            image->starved = 1;
            return;
        }
        memcpy(copy, value, length); /* unescaped apart, lest it look like more elements */
        ewf_read_i_set_value(image, tags[i].which, copy, ewf_read_i_unescape(copy, length), rank);
        posio_release(&image->desc.alloc, copy);
    }
}

// ---------------------------------------------------------------------------------- sections

typedef struct ewf_read_i_section {
    uint64_t at, next, size;
    uint64_t body, end; /* file offsets; end is the tighter sane bound of size and next */
    char type[17];
    int intact; /* its checksum holds */
} ewf_read_i_section;

static int ewf_read_i_known_type(const char *type)
{
    static const char *const names[] = {"table",  "table2", "sectors", "volume",    "disk",
                                        "data",   "header", "header2", "xheader",   "hash",
                                        "digest", "xhash",  "error2",  "session",   "next",
                                        "done",   "ltree",  "ltypes",  "incomplete"};
    size_t i;
    for (i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], type) == 0) return 1;
    return 0;
}

/* Source: EWF, "Section descriptor". next and size may disagree, and either may be unusable. */
static void ewf_read_i_parse_descriptor(ewf_read_i_section *s, const unsigned char *b, uint64_t at,
                                        uint64_t file_size)
{
    memset(s, 0, sizeof *s);
    memcpy(s->type, b, 16);
    s->at = at;
    s->body = at + EWF_READ_I_DESCRIPTOR;
    s->next = posio_le64(b + 16);
    s->size = posio_le64(b + 24);
    s->intact = digest_adler32(1, b, 72) == posio_le32(b + 72);
    s->end = file_size;
    if (s->next > at && s->next < s->end) s->end = s->next;
    if (s->size >= EWF_READ_I_DESCRIPTOR && s->size <= s->end - at) s->end = at + s->size;
    if (s->end < s->body) s->end = s->body;
}

static posio_result ewf_read_i_read_descriptor(const posio_source *src, uint64_t at,
                                               ewf_read_i_section *s, posio_error *err)
{
    unsigned char b[EWF_READ_I_DESCRIPTOR];
    posio_result r = posio_read(src, at, b, sizeof b, err);
    if (r == POSIO_OK) ewf_read_i_parse_descriptor(s, b, at, src->size);
    return r;
}

/* Is there an intact descriptor at this offset? One that cannot be read may be; who goes there gets
   the error. */
static int ewf_read_i_is_section(const posio_source *src, uint64_t at)
{
    ewf_read_i_section s;
    if (!posio_within(at, EWF_READ_I_DESCRIPTOR, src->size)) return 0;
    if (ewf_read_i_read_descriptor(src, at, &s, NULL) != POSIO_OK) return 1;
    return s.intact && ewf_read_i_known_type(s.type);
}

/* Searches the next intact descriptor of a known type at or behind `from`. */
static int ewf_read_i_search(ewf_read *image, const ewf_read_i_segment *seg, uint64_t from,
                             uint64_t *at)
{
    const posio_source *src = &seg->source;
    unsigned char b[16384];
    int found = 0;
    while (!found && posio_within(from, EWF_READ_I_DESCRIPTOR, src->size)) {
        size_t n = (size_t)posio_min(sizeof b, src->size - from), i;
        if (posio_read(src, from, b, n, NULL) != POSIO_OK) {
            ewf_read_i_warn(image, seg->number, from,
                            "cannot be read while searching for a section");
            memset(b, 0, n);
        }
        for (i = 0; i + EWF_READ_I_DESCRIPTOR <= n && !found; i++) {
            ewf_read_i_section s;
            if (b[i] < 'd' || b[i] > 'x' || b[i + 15] != 0) continue; /* all types: d .. x */
            if (b[i + 1] < 'a' || b[i + 1] > 'x') continue;
            ewf_read_i_parse_descriptor(&s, b + i, from + i, src->size);
            if (ewf_read_i_known_type(s.type) && s.intact) {
                *at = from + i;
                found = 1;
            }
        }
        from += n - (EWF_READ_I_DESCRIPTOR - 1);
    }
    return found;
}

static void ewf_read_i_note_gap(ewf_read_i_gaps *g, uint64_t table, uint32_t why, uint32_t segment)
{
    if (g->first > g->last || table < g->first) {
        if (g->first > g->last) g->last = table;
        g->first = table;
        g->why = why;
        g->segment = segment;
    }
    if (table > g->last) g->last = table;
}

/* Reads the section at `at`, or, where that is damaged, decides how to go on. What is passed over
   may hold chunks, before or (pending) behind those that wait for their table. END: no more. */
static posio_result ewf_read_i_find_section(ewf_read *image, const ewf_read_i_segment *seg,
                                            uint64_t at, int pending, ewf_read_i_section *s,
                                            posio_error *err)
{
    const posio_source *src = &seg->source;
    posio_result r;
    uint64_t other;
    if (!posio_within(at, EWF_READ_I_DESCRIPTOR, src->size)) {
        ewf_read_i_warn(image, seg->number, src->size,
                        "the segment ends here, without a \"next\" or \"done\" section%s",
                        at > src->size ? ": it is cut short" : "");
        return THREAD_POOL_END;
    }
    r = ewf_read_i_read_descriptor(src, at, s, err);
    if (r == POSIO_E_IO) {
        memset(s, 0, sizeof *s);
        ewf_read_i_warn(image, seg->number, at, "the section descriptor here cannot be read");
    } else if (r != POSIO_OK) {
        return posio_fail_in(err, seg->name, seg->number), r;
    }
    if (s->intact) return POSIO_OK;
    if (s->next > at && ewf_read_i_is_section(src, s->next)) {
        ewf_read_i_warn(image, seg->number, at,
                        "the checksum of the section descriptor is wrong; the section is used as "
                        "far as its contents check");
        return POSIO_OK;
    }
    if (!ewf_read_i_search(image, seg, at + 1, &other)) {
        ewf_read_i_warn(image, seg->number, at,
                        "no section descriptor here, and none behind: the rest of the segment "
                        "cannot be interpreted");
        return THREAD_POOL_END;
    }
    ewf_read_i_warn(image, seg->number, at,
                    "no section descriptor here; went on with the next one found, at %llu",
                    (unsigned long long)other);
    ewf_read_i_note_gap(&image->holes, image->table_count, EWF_READ_I_NO_TABLE, seg->number);
    if (pending)
        ewf_read_i_note_gap(&image->holes, image->table_count + 1, EWF_READ_I_NO_TABLE,
                            seg->number);
    r = ewf_read_i_read_descriptor(src, other, s, err);
    return r == POSIO_OK ? r : (posio_fail_in(err, seg->name, seg->number), r);
}

/* Where the section behind s begins. A link that leads backwards or nowhere is replaced by the
   section's size, so that every walk makes progress. 0 = nowhere. */
static uint64_t ewf_read_i_following(ewf_read *image, const ewf_read_i_segment *seg,
                                     const ewf_read_i_section *s)
{
    const posio_source *src = &seg->source;
    uint64_t by_size = 0;
    if (s->size >= EWF_READ_I_DESCRIPTOR && s->size <= src->size - s->at) by_size = s->at + s->size;
    if (s->next > s->at && s->next < src->size &&
        (by_size == 0 || by_size == s->next || ewf_read_i_is_section(src, s->next) ||
         !ewf_read_i_is_section(src, by_size)))
        return s->next;
    if (s->next > s->at && (by_size == 0 || by_size == s->next)) return s->next; /* cut short */
    if (s->next <= s->at)
        ewf_read_i_warn(image, seg->number, s->at,
                        "section \"%s\" links back to %llu: a loop; the link is not followed",
                        s->type, (unsigned long long)s->next);
    return by_size != 0 && ewf_read_i_is_section(src, by_size) ? by_size : 0;
}

// ---------------------------------------------------------------------------------- bodies

/* Reads a small section body of at most `max` bytes into a new block. */
static unsigned char *ewf_read_i_body(ewf_read *image, const ewf_read_i_segment *seg,
                                      const ewf_read_i_section *s, size_t max, size_t *n)
{
    unsigned char *b;
    *n = (size_t)posio_min(s->end - s->body, max);
    b = (unsigned char *)posio_allocate(&image->desc.alloc, *n + 1);
    if (b == NULL) {
        image->starved = 1;
        return NULL;
    }
    if (posio_read(&seg->source, s->body, b, *n, NULL) != POSIO_OK) {
        posio_release(&image->desc.alloc, b);
        ewf_read_i_warn(image, seg->number, s->body, "section \"%s\" cannot be read", s->type);
        return NULL;
    }
    return b;
}

/* Inflates a zlib section of text into a new block, terminated; its size is only known when it is
   done, so the room grows to a limit. */
static char *ewf_read_i_inflate_text(ewf_read *image, const ewf_read_i_segment *seg,
                                     const ewf_read_i_section *s, size_t *length)
{
    size_t n, room;
    unsigned char *b;
    ewf_read_i_scratch *scratch;
    char *out = NULL;
    posio_result r = POSIO_E_SPACE;
    posio_error why;
    if (image->texts_left == 0) {
        ewf_read_i_warn(image, seg->number, s->at,
                        "section \"%s\" is not read: those before it inflate to %u bytes", s->type,
                        (unsigned)EWF_READ_I_TEXTS);
        return NULL;
    }
    b = ewf_read_i_body(image, seg, s, EWF_READ_I_TEXT_MAX, &n);
    scratch = ewf_read_i_take_scratch(image);
    if (scratch == NULL) image->starved = 1;
    memset(&why, 0, sizeof why);
    for (room = 16384;
         b != NULL && scratch != NULL && r == POSIO_E_SPACE && room <= EWF_READ_I_TEXT_MAX;
         room *= 4) {
        deflate_read_end end;
        posio_release(&image->desc.alloc, out);
        out = (char *)posio_allocate(&image->desc.alloc, room + 1);
        if (out == NULL) {
            image->starved = 1;
            break;
        }
        r = deflate_read_zlib(&scratch->inflate, b, n, out, room, 0, 0, &end, &why);
        *length = end.out_size;
        image->texts_left -= (size_t)posio_min(end.out_size, image->texts_left);
    }
    posio_release(&image->desc.alloc, b);
    if (scratch != NULL) ewf_read_i_give_scratch(image, scratch);
    if (out != NULL && r == POSIO_OK) {
        out[*length] = 0;
        return out;
    }
    if (b != NULL && out != NULL)
        ewf_read_i_warn(image, seg->number, s->at, "section \"%s\" cannot be decompressed: %s",
                        s->type, why.message);
    posio_release(&image->desc.alloc, out);
    return NULL;
}

static void ewf_read_i_read_texts(ewf_read *image, const ewf_read_i_segment *seg,
                                  const ewf_read_i_section *s)
{
    size_t n = 0, m = 0;
    char *text = ewf_read_i_inflate_text(image, seg, s, &n), *utf8;
    if (text == NULL) return;
    if (strcmp(s->type, "header2") == 0) {
        utf8 = posio_utf8_from_utf16(&image->desc.alloc, text, n, &m);
        if (utf8 != NULL) ewf_read_i_parse_header(image, utf8, m, 3);
        else image->starved = 1;
        posio_release(&image->desc.alloc, utf8);
    } else if (strcmp(s->type, "xheader") == 0) {
        ewf_read_i_parse_xheader(image, text, n, 2);
    } else {
        ewf_read_i_parse_header(image, text, n, 1);
    }
    posio_release(&image->desc.alloc, text);
}

/* What a volume, disk or data section says; the 94 bytes of EWF and SMART, or 1052.
   Source: EWF, "Volume section" (its four variants), "Data section". */
typedef struct ewf_read_i_geometry {
    uint64_t sectors;
    uint32_t chunks, sectors_per_chunk, sector_size;
    uint32_t media_type, media_flags, compression, granularity;
    uint8_t guid[16];
    int old, intact, smart;
} ewf_read_i_geometry;

static int ewf_read_i_read_geometry(const ewf_read_i_segment *seg, const ewf_read_i_section *s,
                                    ewf_read_i_geometry *g)
{
    unsigned char b[1052];
    uint64_t n = s->end - s->body;
    memset(g, 0, sizeof *g);
    if (n < 94) return 0;
    g->old = n < sizeof b;
    n = g->old ? 94 : sizeof b;
    if (posio_read(&seg->source, s->body, b, (size_t)n, NULL) != POSIO_OK) return 0;
    g->chunks = posio_le32(b + 4);
    g->sectors_per_chunk = posio_le32(b + 8);
    g->sector_size = posio_le32(b + 12);
    g->intact = digest_adler32(1, b, (size_t)n - 4) == posio_le32(b + n - 4);
    if (g->old) {
        g->media_type = 1; /* a byte that was "reserved" then */
        g->sectors = posio_le32(b + 16);
        g->smart = memcmp(b + 85, "SMART", 5) == 0;
        return 1;
    }
    g->media_type = b[0];
    g->sectors = posio_le64(b + 16);
    g->media_flags = b[36];
    g->compression = b[52];
    g->granularity = posio_le32(b + 56);
    memcpy(g->guid, b + 64, 16);
    return 1;
}

static int ewf_read_i_geometry_is_sane(const ewf_read_i_geometry *g)
{
    return g->sectors_per_chunk != 0 && g->sector_size != 0 &&
           (uint64_t)g->sectors_per_chunk * g->sector_size <= UINT32_MAX;
}

static int ewf_read_i_is_zero(const void *p, size_t n)
{
    const unsigned char *b = (const unsigned char *)p;
    while (n != 0 && *b == 0) {
        b++;
        n--;
    }
    return n == 0;
}

/* The first volume or disk section gives the geometry; damaged ones give way to a later `data`. */
static void ewf_read_i_take_geometry(ewf_read *image, ewf_read_i_segment *seg,
                                     const ewf_read_i_section *s)
{
    ewf_read_i_geometry g;
    ewf_read_metadata *info = &image->info;
    int is_data = strcmp(s->type, "data") == 0;
    if (!ewf_read_i_read_geometry(seg, s, &g)) {
        ewf_read_i_warn(image, seg->number, s->at, "section \"%s\" is cut short or cannot be read",
                        s->type);
        return;
    }
    /* Logicube devices leave the checksum of `data` at 0. */
    if (!g.intact && !is_data)
        ewf_read_i_warn(image, seg->number, s->body, "the checksum of section \"%s\" is wrong",
                        s->type);
    if (image->have_volume && g.intact && !ewf_read_i_is_zero(g.guid, 16) &&
        !ewf_read_i_is_zero(info->set_guid, 16) && memcmp(g.guid, info->set_guid, 16) != 0) {
        seg->foreign = 1;
        return;
    }
    if (image->have_volume >= (g.intact ? 2 : 1)) {
        uint64_t chunks = image->declared_chunks, sectors = image->declared_sectors;
        if (is_data && g.intact && (g.chunks != chunks || g.sectors != sectors)) {
            if (chunks != 0 && sectors != 0)
                ewf_read_i_warn(image, seg->number, s->body,
                                "section \"data\" counts %u chunks and %llu sectors, the volume "
                                "section %llu and %llu",
                                (unsigned)g.chunks, (unsigned long long)g.sectors,
                                (unsigned long long)chunks, (unsigned long long)sectors);
            if (chunks == 0) image->declared_chunks = g.chunks;
            if (sectors == 0) image->declared_sectors = g.sectors;
        }
        return;
    }
    if (!ewf_read_i_geometry_is_sane(&g)) {
        ewf_read_i_warn(image, seg->number, s->body,
                        "section \"%s\" is impossible: %u sectors per chunk, %u bytes per sector",
                        s->type, (unsigned)g.sectors_per_chunk, (unsigned)g.sector_size);
        return;
    }
    image->have_volume = g.intact ? 2 : 1;
    image->volume_is_old = g.old;
    image->declared_chunks = g.chunks;
    image->declared_sectors = g.sectors;
    info->chunk_size = g.sectors_per_chunk * g.sector_size;
    info->sector_size = g.sector_size;
    info->media_type = g.media_type;
    info->media_flags = g.media_flags;
    info->compression_level = g.compression;
    info->error_granularity = g.granularity;
    memcpy(info->set_guid, g.guid, 16);
    /* Deflate grows incompressible data by 5 bytes in 16 KiB at worst; 64 KiB on top are ample. */
    image->stored_max = (size_t)info->chunk_size + info->chunk_size / 1000 + 65536;
    if (info->chunk_size > image->desc.max_chunk_size) image->stored_max = 0; /* refused later on */
    info->layout = !g.old ? "EWF-E01" : g.smart ? "EWF-S01 (SMART)" : "EWF (original)";
}

/* Stored digests: all zero means absent, and the last complete set wins (EnCase writes an earlier
   one when an acquisition is incomplete). Source: EWF, "Hash section", "Digest section". */
static void ewf_read_i_take_hash(ewf_read *image, const ewf_read_i_segment *seg,
                                 const ewf_read_i_section *s)
{
    unsigned char b[80];
    int is_digest = strcmp(s->type, "digest") == 0;
    size_t n = is_digest ? 80 : 36;
    ewf_read_metadata *info = &image->info;
    if (s->end - s->body < n || posio_read(&seg->source, s->body, b, n, NULL) != POSIO_OK) {
        ewf_read_i_warn(image, seg->number, s->at, "section \"%s\" is cut short or cannot be read",
                        s->type);
        return;
    }
    if (digest_adler32(1, b, n - 4) != posio_le32(b + n - 4)) {
        ewf_read_i_warn(image, seg->number, s->body,
                        "section \"%s\" is damaged (checksum): its digest is not used", s->type);
        return;
    }
    if (!ewf_read_i_is_zero(b, 16)) {
        if (info->has_md5 && memcmp(info->md5, b, 16) != 0)
            ewf_read_i_warn(image, seg->number, s->body,
                            "a second stored MD5 differs from the first; the last one is used");
        memcpy(info->md5, b, 16);
        info->has_md5 = 1;
    }
    if (is_digest && !ewf_read_i_is_zero(b + 16, 20)) {
        memcpy(info->sha1, b + 16, 20);
        info->has_sha1 = 1;
    }
}

/* EWF-X: <MD5> and <SHA1> in XML. Source: EWF, "Xhash section". */
static void ewf_read_i_take_xhash(ewf_read *image, const ewf_read_i_segment *seg,
                                  const ewf_read_i_section *s)
{
    size_t n = 0, length = 0;
    char *text = ewf_read_i_inflate_text(image, seg, s, &n), *hex, kept[41];
    uint8_t bytes[20];
    ewf_read_metadata *info = &image->info;
    if (text == NULL) return;
    hex = ewf_read_i_element(text, n, "MD5", &length);
    if (hex != NULL && length == 32) {
        memcpy(kept, hex, 32);
        kept[32] = 0;
        if (digest_from_hex(kept, bytes, 16) == POSIO_OK && !info->has_md5) {
            memcpy(info->md5, bytes, 16);
            info->has_md5 = 1;
        }
    }
    hex = ewf_read_i_element(text, n, "SHA1", &length);
    if (hex != NULL && length == 40) {
        memcpy(kept, hex, 40);
        kept[40] = 0;
        if (digest_from_hex(kept, bytes, 20) == POSIO_OK) {
            memcpy(info->sha1, bytes, 20);
            info->has_sha1 = 1;
        }
    }
    posio_release(&image->desc.alloc, text);
}

/* error2 and session: a count, and entries behind a header, each part with its own checksum.
   Source: EWF, "Error2 section", "Session section". */
static void ewf_read_i_take_ranges(ewf_read *image, const ewf_read_i_segment *seg,
                                   const ewf_read_i_section *s)
{
    int is_session = strcmp(s->type, "session") == 0;
    size_t head = is_session ? 36 : 520, entry = is_session ? 32 : 8, n, i;
    unsigned char *b = ewf_read_i_body(image, seg, s, head + entry * EWF_READ_I_RANGES + 4, &n);
    ewf_read_range *list = NULL;
    uint32_t count = b != NULL && n >= head ? posio_le32(b) : 0;
    const char *why = NULL;
    if (b == NULL) return;
    if (count > EWF_READ_I_RANGES) {
        ewf_read_i_warn(image, seg->number, s->at,
                        "section \"%s\" counts %u entries; the first %u "
                        "are kept",
                        s->type, (unsigned)count, (unsigned)EWF_READ_I_RANGES);
        count = EWF_READ_I_RANGES;
    } else if (n >= head && n - head >= count * entry + 4 &&
               digest_adler32(1, b + head, count * entry) != posio_le32(b + head + count * entry)) {
        why = "has a wrong checksum behind its entries, which are not used";
    }
    if (n < head || (n - head) / entry < count) why = "is cut short";
    else if (digest_adler32(1, b, head - 4) != posio_le32(b + head - 4))
        why = "has a wrong checksum";
    if (why == NULL && count != 0) {
        list = (ewf_read_range *)posio_allocate_zeroed(&image->desc.alloc, count * sizeof *list);
        if (list == NULL) image->starved = 1;
        for (i = 0; list != NULL && i < count; i++) {
            const unsigned char *e = b + head + i * entry;
            list[i].first = is_session ? posio_le64(e + 4) : posio_le32(e);
            list[i].count = is_session ? 0 : posio_le32(e + 4);
        }
    }
    posio_release(&image->desc.alloc, b);
    if (why != NULL) ewf_read_i_warn(image, seg->number, s->at, "section \"%s\" %s", s->type, why);
    if (list == NULL) return;
    if (is_session ? image->info.sessions != NULL : image->info.acquisition_errors != NULL) {
        posio_release(&image->desc.alloc, list); /* the first one counts */
    } else if (is_session) {
        for (i = 0; i < count; i++) /* a session lasts until the next begins */
            list[i].count = (i + 1 < count ? list[i + 1].first : image->declared_sectors) -
                            posio_min(list[i].first,
                                      i + 1 < count ? list[i + 1].first : image->declared_sectors);
        image->info.sessions = list;
        image->info.session_count = count;
    } else {
        image->info.acquisition_errors = list;
        image->info.acquisition_error_count = count;
    }
}

// ---------------------------------------------------------------------------------- tables

/* Appends an empty table; *out is valid until the next one is added. */
static posio_result ewf_read_i_add_table(ewf_read *image, ewf_read_i_table **out, posio_error *err)
{
    void *list = image->tables;
    if (image->table_count >= image->desc.max_tables)
        return posio_fail(err, POSIO_E_LIMIT, POSIO_NO_OFFSET,
                          "more than %u table sections (desc.max_tables)",
                          (unsigned)image->desc.max_tables);
    if (!posio_grow(&image->desc.alloc, &list, image->table_count, &image->table_room,
                    sizeof **out))
        return ewf_read_i_no_memory(err);
    image->tables = (ewf_read_i_table *)list;
    *out = &image->tables[image->table_count++];
    memset(*out, 0, sizeof **out);
    return POSIO_OK;
}

/* The search for chunks in a region that no table describes. */
typedef struct ewf_read_i_walk {
    ewf_read *image;
    const ewf_read_i_segment *segment;
    ewf_read_i_scratch *scratch;
    unsigned char *window, *chunk; /* bytes of the file; room for one decoded chunk */
    size_t room, held;
    uint64_t window_at, end;
    uint64_t patience; /* what attempts in vain may still cost, in bytes read and written */
} ewf_read_i_walk;

/* Reads the window. What cannot be read is zero, so that a bad sector costs its own chunk only. */
static void ewf_read_i_fill(ewf_read_i_walk *w)
{
    const posio_source *src = &w->segment->source;
    size_t done, n;
    if (posio_read(src, w->window_at, w->window, w->held, NULL) == POSIO_OK) return;
    for (done = 0; done < w->held; done += n) {
        n = (size_t)posio_min(4096, w->held - done);
        if (posio_read(src, w->window_at + done, w->window + done, n, NULL) == POSIO_OK) continue;
        memset(w->window + done, 0, n);
        ewf_read_i_warn(w->image, w->segment->number, w->window_at + done,
                        "cannot be read while searching chunks without a table");
    }
}

/* Makes up to stored_max bytes at `at` available; fewer only before the end of the region. */
static const unsigned char *ewf_read_i_peek(ewf_read_i_walk *w, uint64_t at, size_t *n)
{
    size_t want = (size_t)posio_min(w->image->stored_max, w->end - at);
    if (at < w->window_at || at + want > w->window_at + w->held) {
        w->window_at = at;
        w->held = (size_t)posio_min(w->room, w->end - at);
        ewf_read_i_fill(w);
    }
    *n = want;
    return w->window + (at - w->window_at);
}

/* Is there a whole zlib chunk at `at`, where p[0 .. n) is? Returns its size in the file, or 0. The
   last chunk of the region may be short. Hostile bytes can look like a chunk at every other
   place and inflate to a whole one before they fail, so failures are counted: an attempt that fails
   at once costs about as much as inflating 256 bytes, code tables as much as 4096. */
static size_t ewf_read_i_recognise_zlib(ewf_read_i_walk *w, uint64_t at, const unsigned char *p,
                                        size_t n)
{
    size_t chunk = w->image->info.chunk_size;
    deflate_read_end end;
    if (n <= 6 || (p[0] & 15) != 8 || posio_be16(p) % 31 != 0 || (p[1] & 0x20) != 0) return 0;
    memset(&end, 0, sizeof end);
    if (deflate_read_zlib(&w->scratch->inflate, p, n, w->chunk, chunk, DEFLATE_READ_SLACK, 0, &end,
                          NULL) == POSIO_OK &&
        (end.out_size == chunk || at + end.in_used == w->end))
        return end.in_used;
    w->patience -= posio_min(w->patience, (uint64_t)end.in_used + end.out_size +
                                              (end.out_size != 0 || end.in_used > 16 ? 4096 : 256));
    return 0;
}

/* Is there a whole chunk at `at`? Returns its size in the file, 0 when not. The last chunk of the
   region may be short. */
static size_t ewf_read_i_recognise(ewf_read_i_walk *w, uint64_t at, int *compressed)
{
    size_t n, chunk = w->image->info.chunk_size;
    const unsigned char *p = ewf_read_i_peek(w, at, &n);
    size_t size = ewf_read_i_recognise_zlib(w, at, p, n);
    *compressed = size != 0;
    if (size != 0) return size;
    if (n >= chunk + 4 && digest_adler32(1, p, chunk) == posio_le32(p + chunk)) return chunk + 4;
    if (at + n == w->end && n > 4 && n < chunk + 4 &&
        digest_adler32(1, p, n - 4) == posio_le32(p + n - 4))
        return n;
    return 0;
}

/* Behind a damaged chunk at `at`: where is the next whole one? A raw chunk keeps its size even when
   damaged; else every zlib header within the reach of one chunk is tried, while patience lasts.
   0 = lost. */
static uint64_t ewf_read_i_resynchronise(ewf_read_i_walk *w, uint64_t at)
{
    size_t chunk = w->image->info.chunk_size, n, i, reach;
    int compressed;
    const unsigned char *p;
    if (at + chunk + 4 < w->end && ewf_read_i_recognise(w, at + chunk + 4, &compressed) != 0)
        return at + chunk + 4;
    (void)ewf_read_i_peek(w, at, &reach);
    for (i = 1; i < reach && w->patience != 0; i++) {
        p = ewf_read_i_peek(w, at + i, &n);
        if (ewf_read_i_recognise_zlib(w, at + i, p, n) != 0) return at + i;
    }
    return 0;
}

static int ewf_read_i_found(ewf_read *image, ewf_read_i_table *t, uint64_t *room, uint64_t entry)
{
    void *list = t->found;
    if (!posio_grow(&image->desc.alloc, &list, t->found_count, room, sizeof *t->found)) return 0;
    t->found = (uint64_t *)list;
    t->found[t->found_count++] = entry;
    return 1;
}

/* Here the scan passes over what is one damaged chunk, or several. */
static void ewf_read_i_doubt(ewf_read_i_table *t)
{
    if (!t->doubtful) t->doubt = t->found_count;
    t->doubtful = 1;
    t->lost_at = t->found_count;
}

/* There are `lost` chunks more than the scan found. They are where it passed over something; what
   was found between two such places could have several numbers, and so has none. */
static void ewf_read_i_lose(ewf_read_i_table *t, uint64_t lost)
{
    uint64_t i;
    if (!t->doubtful) t->doubt = t->lost_at = t->found_count;
    for (i = t->doubt; i < t->lost_at; i++) t->found[i] = 0;
    t->lost = lost; /* t->count stays: others may be reading it */
}

/* Finds the chunks of a region by walking them; `want` of them, or all there are for 0. */
static posio_result ewf_read_i_scan_region(ewf_read_i_walk *w, ewf_read_i_table *t, uint64_t want,
                                           posio_error *err)
{
    uint64_t at = t->start, room = 0, next;
    int compressed;
    while (at + 4 < w->end && (want == 0 || t->found_count < want)) {
        size_t n = ewf_read_i_recognise(w, at, &compressed);
        if (n == 0 && at == t->start && t->leads_with_entries &&
            (next = ewf_read_i_resynchronise(w, at)) != 0) {
            ewf_read_i_doubt(t);
            at = next;
            continue;
        }
        if (!ewf_read_i_found(w->image, t, &room, at | (uint64_t)(n != 0 && compressed) << 63))
            return ewf_read_i_no_memory(err);
        if (n != 0) {
            at += n;
            continue;
        }
        ewf_read_i_doubt(t);
        next = ewf_read_i_resynchronise(w, at);
        ewf_read_i_warn(w->image, w->segment->number, at,
                        "no whole chunk found here while searching chunks without a table%s",
                        next == 0 ? "; gave up" : "");
        if (next == 0) break;
        at = next;
    }
    return POSIO_OK;
}

static posio_result ewf_read_i_scan(ewf_read *image, ewf_read_i_table *t, uint64_t want,
                                    posio_error *err)
{
    ewf_read_i_walk w;
    posio_result r = POSIO_OK;
    const uint64_t region = t->end - t->start;
    size_t window =
        image->stored_max > (size_t)(1 << 20) ? 2 * image->stored_max : (size_t)(2 << 20);
    window = (size_t)posio_min(window, region + 1);
    memset(&w, 0, sizeof w);
    w.patience = 32 * region; /* and for small images 2 MiB, shared by all regions of a segment */
    if (region != 0)
        w.patience += ((uint64_t)2 << 20) * posio_min(region, (uint64_t)1 << 40) /
                      image->segments[t->segment].source.size;
    w.image = image;
    w.segment = &image->segments[t->segment];
    w.room = window;
    w.end = t->end;
    if (region > 4) {
        w.scratch = ewf_read_i_take_scratch(image);
        w.window = (unsigned char *)posio_allocate(&image->desc.alloc, window);
        w.chunk = (unsigned char *)posio_allocate(
            &image->desc.alloc, (size_t)image->info.chunk_size + DEFLATE_READ_SLACK);
        if (w.scratch == NULL || w.window == NULL || w.chunk == NULL) r = ewf_read_i_no_memory(err);
        else r = ewf_read_i_scan_region(&w, t, want, err);
    }
    if (w.scratch != NULL) ewf_read_i_give_scratch(image, w.scratch);
    posio_release(&image->desc.alloc, w.window);
    posio_release(&image->desc.alloc, w.chunk);
    if (r != POSIO_OK) { /* the next reader begins anew */
        posio_release(&image->desc.alloc, t->found);
        t->found = NULL;
        t->found_count = 0;
        t->doubtful = 0;
    } else
        ewf_read_i_warn(image, w.segment->number, t->start,
                        "no usable table: %llu chunks were found by walking the data",
                        (unsigned long long)t->found_count);
    return r;
}

// ---------------------------------------------------------------------------------- walking

/* The state of the walk through the sections of one segment. */
typedef struct ewf_read_i_tour {
    ewf_read_i_segment *segment;
    ewf_read_i_section sectors; /* the chunks that wait for a table; type[0] = 0: none */
    ewf_read_i_section older;   /* `sectors` before these, still without a table */
    int open_table;             /* the last table of the list may still get its table2 */
} ewf_read_i_tour;

/* Needed before tables can be understood. */
static posio_result ewf_read_i_need_geometry(const ewf_read *image, const ewf_read_i_segment *seg,
                                             posio_error *err)
{
    if (image->have_volume && image->info.chunk_size <= image->desc.max_chunk_size) return POSIO_OK;
    if (image->have_volume)
        (void)posio_fail(err, POSIO_E_LIMIT, POSIO_NO_OFFSET,
                         "chunks of %u bytes are larger than the limit of %u "
                         "(desc.max_chunk_size)",
                         (unsigned)image->info.chunk_size, (unsigned)image->desc.max_chunk_size);
    else
        (void)posio_fail(err, POSIO_E_DATA, POSIO_NO_OFFSET,
                         "no usable volume section: the chunk size is unknown");
    (void)posio_fail_in(err, seg->name, seg->number);
    return image->have_volume ? POSIO_E_LIMIT : POSIO_E_DATA;
}

/* A table is only believed when its header checks, and its entries lie within the file. */
typedef struct ewf_read_i_table_header {
    uint64_t count, base, entries;
    int usable;
} ewf_read_i_table_header;

static void ewf_read_i_read_table_header(ewf_read *image, const ewf_read_i_segment *seg,
                                         const ewf_read_i_section *s, ewf_read_i_table_header *h)
{
    unsigned char b[EWF_READ_I_TABLE_HEADER];
    uint64_t room = s->end - s->body, footer = image->volume_is_old ? 0 : 4;
    const char *why = NULL;
    memset(h, 0, sizeof *h);
    if (room < sizeof b || posio_read(&seg->source, s->body, b, sizeof b, NULL) != POSIO_OK) {
        ewf_read_i_warn(image, seg->number, s->at, "section \"%s\" is cut short or cannot be read",
                        s->type);
        return;
    }
    room -= sizeof b;
    h->count = posio_le32(b);
    h->base = posio_le64(b + 8);
    h->entries = s->body + sizeof b;
    if (digest_adler32(1, b, 20) != posio_le32(b + 20)) why = "has a wrong checksum";
    else if (h->count * 4 + footer > room) why = "counts more entries than its section holds";
    else if (h->base > seg->source.size) why = "has a base beyond the end of the file";
    if (why == NULL) h->usable = 1;
    else
        ewf_read_i_warn(image, seg->number, s->body, "the header of \"%s\" (%llu entries) %s",
                        s->type, (unsigned long long)h->count, why);
}

/* Finds the chunks of `sectors` that no table describes. */
static posio_result ewf_read_i_scan_lost(ewf_read *image, ewf_read_i_segment *seg,
                                         ewf_read_i_section *sectors, posio_error *err)
{
    ewf_read_i_table *t;
    posio_result r;
    if (sectors->type[0] == 0) return POSIO_OK;
    r = ewf_read_i_need_geometry(image, seg, err);
    if (r != POSIO_OK) return r;
    ewf_read_i_warn(image, seg->number, sectors->at, "this \"sectors\" section has no table");
    r = ewf_read_i_add_table(image, &t, err);
    if (r != POSIO_OK) return r;
    seg->table_count++;
    t->segment = (uint32_t)(seg - image->segments);
    t->start = sectors->body;
    t->end = sectors->end;
    t->state = EWF_READ_I_USE_SCAN;
    sectors->type[0] = 0;
    r = ewf_read_i_scan(image, t, 0, err);
    t->count = t->found_count;
    return r;
}

/* The last table is complete: if both its copies are unusable, its chunks are found by walking. */
static posio_result ewf_read_i_close_table(ewf_read *image, ewf_read_i_tour *tour, posio_error *err)
{
    ewf_read_i_table *t;
    posio_result r;
    tour->open_table = 0;
    if (tour->segment->table_count == 0) return POSIO_OK;
    t = &image->tables[image->table_count - 1];
    if (t->copy[0].entries != 0 || t->copy[1].entries != 0 || t->state != EWF_READ_I_UNSETTLED)
        return POSIO_OK;
    t->state = EWF_READ_I_USE_SCAN;
    r = ewf_read_i_scan(image, t, 0, err);
    t->count = t->found_count;
    return r;
}

/* Does the first entry of a table point into `older`, so that it describes both `sectors`? */
static int ewf_read_i_spans_both(ewf_read *image, const ewf_read_i_tour *tour,
                                 const ewf_read_i_table_header *h)
{
    unsigned char b[4];
    uint64_t at;
    if (!h->usable || h->count == 0) return 0;
    if (posio_read(&tour->segment->source, h->entries, b, 4, NULL) != POSIO_OK) {
        ewf_read_i_warn(image, tour->segment->number, h->entries,
                        "the first entry of the table cannot be read");
        return 0;
    }
    at = h->base + (posio_le32(b) & 0x7fffffff);
    return at >= tour->older.body && at < tour->older.end;
}

/* A table begins the description of the chunks before it (or, in old layouts, behind its entries).
   Source: EWF, "Table section". */
static posio_result ewf_read_i_begin_table(ewf_read *image, ewf_read_i_tour *tour,
                                           const ewf_read_i_section *s,
                                           const ewf_read_i_table_header *h, posio_error *err)
{
    ewf_read_i_segment *seg = tour->segment;
    ewf_read_i_table *t;
    int own_data = tour->sectors.type[0] == 0;
    uint64_t start = own_data ? s->body : tour->sectors.body;
    posio_result r = ewf_read_i_close_table(image, tour, err);
    if (r != POSIO_OK) return r;
    if (tour->older.type[0] != 0) {
        if (ewf_read_i_spans_both(image, tour, h)) start = tour->older.body;
        else r = ewf_read_i_scan_lost(image, seg, &tour->older, err);
        if (r != POSIO_OK) return r;
        tour->older.type[0] = 0;
    }
    r = ewf_read_i_add_table(image, &t, err);
    if (r != POSIO_OK) return r;
    seg->table_count++;
    t->segment = (uint32_t)(seg - image->segments);
    t->has_footer = !image->volume_is_old;
    t->start = start;
    t->end = own_data ? s->end : tour->sectors.end;
    if (own_data) {
        t->leads_with_entries = !h->usable;
        if (h->usable) t->start = h->entries + h->count * 4 + (t->has_footer ? 4 : 0);
        if (t->start > t->end) t->start = t->end;
    }
    tour->sectors.type[0] = 0;
    return POSIO_OK;
}

static posio_result ewf_read_i_take_table(ewf_read *image, ewf_read_i_tour *tour,
                                          const ewf_read_i_section *s, posio_error *err)
{
    ewf_read_i_segment *seg = tour->segment;
    ewf_read_i_table_header h;
    ewf_read_i_table *t;
    uint32_t which = s->type[5] == '2' ? 1 : 0;
    posio_result r = ewf_read_i_need_geometry(image, seg, err);
    if (r != POSIO_OK) return r;
    ewf_read_i_read_table_header(image, seg, s, &h);
    if (which == 0 || !tour->open_table) {
        if (which == 1 && tour->sectors.type[0] == 0) return POSIO_OK; /* a second table2 */
        r = ewf_read_i_begin_table(image, tour, s, &h, err);
        if (r != POSIO_OK) return r;
    }
    tour->open_table = which == 0;
    t = &image->tables[image->table_count - 1];
    if (!h.usable) return POSIO_OK;
    if (t->copy[0].entries != 0 && t->count != h.count) {
        ewf_read_i_warn(image, seg->number, s->body,
                        "table2 counts %llu entries, its table %llu; the table is used",
                        (unsigned long long)h.count, (unsigned long long)t->count);
        return POSIO_OK;
    }
    t->count = h.count;
    t->copy[which].entries = h.entries;
    t->copy[which].base = h.base;
    return POSIO_OK;
}

/* The end of a segment, wherever it came. */
static posio_result ewf_read_i_end_tour(ewf_read *image, ewf_read_i_tour *tour, posio_error *err)
{
    posio_result r = ewf_read_i_close_table(image, tour, err);
    if (r == POSIO_OK) r = ewf_read_i_scan_lost(image, tour->segment, &tour->older, err);
    if (r == POSIO_OK) r = ewf_read_i_scan_lost(image, tour->segment, &tour->sectors, err);
    return r;
}

/* Writers put a `sectors` descriptor of size 76 first, and the right size in when the chunks are
   written. When an acquisition was interrupted the chunks are there and the size is not. */
static void ewf_read_i_extend_stub(ewf_read *image, const ewf_read_i_segment *seg,
                                   ewf_read_i_section *sectors)
{
    if (sectors->end != sectors->body || ewf_read_i_is_section(&seg->source, sectors->end)) return;
    if (!ewf_read_i_search(image, seg, sectors->body, &sectors->end))
        sectors->end = seg->source.size;
    ewf_read_i_warn(image, seg->number, sectors->at,
                    "an unfinished \"sectors\" section (size 76): the acquisition was interrupted; "
                    "its chunks are searched up to %llu",
                    (unsigned long long)sectors->end);
}

static posio_result ewf_read_i_take_section(ewf_read *image, ewf_read_i_tour *tour,
                                            const ewf_read_i_section *s, posio_error *err)
{
    const char *type = s->type;
    ewf_read_i_segment *seg = tour->segment;
    posio_result r = POSIO_OK;
    if (strcmp(type, "table") == 0 || strcmp(type, "table2") == 0)
        return ewf_read_i_take_table(image, tour, s, err);
    if (strcmp(type, "sectors") == 0) {
        r = ewf_read_i_close_table(image, tour, err);
        if (tour->older.type[0] == 0) tour->older = tour->sectors;
        else if (tour->sectors.type[0] != 0) tour->older.end = tour->sectors.end;
        tour->sectors = *s;
        ewf_read_i_extend_stub(image, seg, &tour->sectors);
    } else if (strcmp(type, "volume") == 0 || strcmp(type, "disk") == 0 ||
               strcmp(type, "data") == 0) {
        ewf_read_i_take_geometry(image, seg, s);
        if (seg->foreign) r = THREAD_POOL_END;
    } else if (strcmp(type, "header") == 0 || strcmp(type, "header2") == 0 ||
               strcmp(type, "xheader") == 0) {
        ewf_read_i_read_texts(image, seg, s);
    } else if (strcmp(type, "hash") == 0 || strcmp(type, "digest") == 0) {
        ewf_read_i_take_hash(image, seg, s);
    } else if (strcmp(type, "xhash") == 0) {
        ewf_read_i_take_xhash(image, seg, s);
    } else if (strcmp(type, "error2") == 0 || strcmp(type, "session") == 0) {
        ewf_read_i_take_ranges(image, seg, s);
    } else if (strcmp(type, "ltree") == 0) {
        r = posio_fail(err, POSIO_E_UNSUPPORTED, s->at,
                       "this is logical evidence (a file tree), which is not supported");
        (void)posio_fail_in(err, seg->name, seg->number);
    } else if (strcmp(type, "next") == 0 || strcmp(type, "done") == 0) {
        seg->complete = 1;
        seg->ends_set = type[0] == 'd';
        r = THREAD_POOL_END;
    }
    return r;
}

/* The tour that only looks for the geometry; it ends at the first intact one. */
static posio_result ewf_read_i_seek_geometry(ewf_read *image, ewf_read_i_tour *tour,
                                             const ewf_read_i_section *s)
{
    if (strcmp(s->type, "volume") == 0 || strcmp(s->type, "disk") == 0 ||
        strcmp(s->type, "data") == 0)
        ewf_read_i_take_geometry(image, tour->segment, s);
    if (image->have_volume == 2 || strcmp(s->type, "done") == 0 || strcmp(s->type, "next") == 0)
        return THREAD_POOL_END;
    return POSIO_OK;
}

/* Walks the sections of one segment. Every step leads forwards, so it ends. */
static posio_result ewf_read_i_walk_segment(ewf_read *image, ewf_read_i_segment *seg,
                                            int geometry_only, posio_error *err)
{
    ewf_read_i_tour tour;
    ewf_read_i_section s;
    uint64_t at = EWF_READ_I_FILE_HEADER;
    posio_result r = POSIO_OK;
    memset(&tour, 0, sizeof tour);
    tour.segment = seg;
    seg->first_table = image->table_count;
    while (r == POSIO_OK && at != 0) {
        r = ewf_read_i_find_section(image, seg, at, tour.sectors.type[0] != 0, &s, err);
        if (r != POSIO_OK) break;
        r = geometry_only ? ewf_read_i_seek_geometry(image, &tour, &s)
                          : ewf_read_i_take_section(image, &tour, &s, err);
        if (r == POSIO_OK) at = ewf_read_i_following(image, seg, &s);
    }
    return r < 0 ? r : ewf_read_i_end_tour(image, &tour, err);
}

// ---------------------------------------------------------------------------------- settling

/* A table is settled when its first chunk is wanted: which copy to use is decided by reading the
   entries through once. The answer is kept in the table; a flight of the page cache makes sure
   that only one thread does it. */

typedef struct ewf_read_i_exam {
    int readable, checksum, ascending;
    uint64_t overflow_at;
} ewf_read_i_exam;

typedef struct ewf_read_i_exam_state {
    uint64_t index, previous;
    int overflow;
} ewf_read_i_exam_state;

/* The rule of EnCase 6.7.1: a masked offset that falls back, while the full 32 bits go on upwards
   by no more than a chunk, is where entries stop having a compression bit. Anything else that falls
   back is damage. */
static void ewf_read_i_examine_entry(const ewf_read *image, const ewf_read_i_table *t,
                                     uint64_t base, uint32_t entry, ewf_read_i_exam_state *st,
                                     ewf_read_i_exam *e)
{
    uint64_t offset = st->overflow ? entry : entry & 0x7fffffff;
    if (st->index != 0 && offset <= st->previous && !st->overflow && entry > st->previous &&
        entry - st->previous <= image->stored_max && base + entry < t->end) {
        st->overflow = 1;
        e->overflow_at = st->index;
        offset = entry;
    }
    if ((st->index != 0 && offset <= st->previous) || base + offset < t->start ||
        base + offset >= t->end)
        e->ascending = 0;
    st->previous = offset;
    st->index++;
}

static void ewf_read_i_examine(ewf_read *image, const ewf_read_i_table *t, uint32_t which,
                               ewf_read_i_exam *e)
{
    const ewf_read_i_copy *copy = &t->copy[which];
    const posio_source *src = &image->segments[t->segment].source;
    unsigned char b[4096];
    ewf_read_i_exam_state st;
    uint32_t adler = 1;
    uint64_t left = t->count * 4, at = copy->entries;
    memset(e, 0, sizeof *e);
    memset(&st, 0, sizeof st);
    e->overflow_at = UINT64_MAX;
    if (copy->entries == 0) return;
    e->ascending = 1;
    while (left != 0) {
        size_t n = (size_t)posio_min(left, sizeof b), i;
        if (posio_read(src, at, b, n, NULL) != POSIO_OK) {
            e->ascending = 0; /* as far as is known */
            return;
        }
        adler = digest_adler32(adler, b, n);
        for (i = 0; i < n; i += 4)
            ewf_read_i_examine_entry(image, t, copy->base, posio_le32(b + i), &st, e);
        at += n;
        left -= n;
    }
    e->readable = 1;
    e->checksum = e->ascending;
    if (t->has_footer)
        e->checksum = posio_read(src, at, b, 4, NULL) == POSIO_OK && posio_le32(b) == adler;
}

/* table if it checks; else table2 if that does; else whichever at least ascends; else a scan. */
static posio_result ewf_read_i_choose_copy(ewf_read *image, ewf_read_i_table *t, posio_error *err)
{
    uint32_t number = image->segments[t->segment].number, use = EWF_READ_I_USE_NONE;
    ewf_read_i_exam e[2];
    posio_result r = POSIO_OK;
    ewf_read_i_examine(image, t, 0, &e[0]);
    memset(&e[1], 0, sizeof e[1]);
    if (!(e[0].checksum && e[0].ascending)) ewf_read_i_examine(image, t, 1, &e[1]);
    if (e[0].checksum && e[0].ascending) use = EWF_READ_I_USE_TABLE;
    else if (e[1].checksum && e[1].ascending) use = EWF_READ_I_USE_TABLE2;
    else if (e[0].checksum) use = EWF_READ_I_USE_TABLE;
    else if (e[1].checksum) use = EWF_READ_I_USE_TABLE2;
    else if (e[0].ascending) use = EWF_READ_I_USE_TABLE;
    else if (e[1].ascending) use = EWF_READ_I_USE_TABLE2;
    else if (t->copy[0].entries != 0 && !e[0].readable) use = EWF_READ_I_USE_TABLE;
    else if (t->copy[1].entries != 0 && !e[1].readable) use = EWF_READ_I_USE_TABLE2;
    if (use == EWF_READ_I_USE_TABLE2)
        ewf_read_i_warn(image, number, t->copy[0].entries != 0 ? t->copy[0].entries : t->start,
                        "the table of these chunks is damaged or absent; table2 is used");
    else if (use == EWF_READ_I_USE_TABLE && !e[0].readable)
        ewf_read_i_warn(image, number, t->copy[0].entries,
                        "the table cannot be read to its end, and table2 is of no use; the table "
                        "is used as far as it can be read");
    else if (use == EWF_READ_I_USE_TABLE && !e[0].checksum)
        ewf_read_i_warn(
            image, number, t->copy[0].entries,
            "the checksum of the table is wrong, and there is no good table2; the table "
            "is used as its entries are plausible");
    else if (use == EWF_READ_I_USE_TABLE && !e[0].ascending)
        ewf_read_i_warn(image, number, t->copy[0].entries,
                        "the entries of the table do not ascend within the chunk data, though its "
                        "checksum is right");
    if (use == EWF_READ_I_USE_NONE) {
        use = EWF_READ_I_USE_SCAN;
        r = ewf_read_i_scan(image, t, t->count, err);
        if (r == POSIO_OK && t->found_count < t->count)
            ewf_read_i_lose(t, t->count - t->found_count);
    } else {
        t->overflow_at = e[use - EWF_READ_I_USE_TABLE].overflow_at;
    }
    if (r == POSIO_OK) posio_atomic_store(&t->state, use);
    return r;
}

typedef struct ewf_read_i_page {
    ewf_read *image;
    ewf_read_i_table *table;
} ewf_read_i_page;

#define EWF_READ_I_SETTLE_KEY ((uint64_t)1 << 63)

static posio_result ewf_read_i_settle_flight(void *user, uint64_t key, void *chunk, size_t *size,
                                             posio_error *err)
{
    const ewf_read_i_page *p = (const ewf_read_i_page *)user;
    (void)key;
    (void)chunk;
    *size = 0;
    return ewf_read_i_choose_copy(p->image, p->table, err);
}

static posio_result ewf_read_i_settle(ewf_read *image, ewf_read_i_table *t, posio_error *err)
{
    ewf_read_i_page p;
    char none;
    if (posio_atomic_load(&t->state) != EWF_READ_I_UNSETTLED) return POSIO_OK;
    p.image = image;
    p.table = t;
    return chunk_cache_read(image->pages, EWF_READ_I_SETTLE_KEY | (uint64_t)(t - image->tables), 0,
                            &none, 0, ewf_read_i_settle_flight, &p, err);
}

static posio_result ewf_read_i_page_flight(void *user, uint64_t key, void *chunk, size_t *size,
                                           posio_error *err)
{
    const ewf_read_i_page *p = (const ewf_read_i_page *)user;
    const ewf_read_i_table *t = p->table;
    const ewf_read_i_segment *seg = &p->image->segments[t->segment];
    uint64_t page = key & 0xfffff, first = page * EWF_READ_I_PAGE;
    const ewf_read_i_copy *copy = &t->copy[key >> 62 & 1];
    uint64_t count = posio_min(EWF_READ_I_PAGE, t->count - first);
    posio_result r;
    *size = (size_t)count * 4;
    r = posio_read(&seg->source, copy->entries + first * 4, chunk, *size, err);
    if (r != POSIO_OK) (void)posio_fail_in(err, seg->name, seg->number);
    return r;
}

/* Copies n entries of table (which = 0) or table2 (1) from number i on, as stored. */
static posio_result ewf_read_i_entries(ewf_read *image, ewf_read_i_table *t, uint32_t which,
                                       uint64_t i, uint32_t n, unsigned char *out, posio_error *err)
{
    ewf_read_i_page p;
    p.image = image;
    p.table = t;
    while (n != 0) {
        uint64_t key =
            (uint64_t)which << 62 | (uint64_t)(t - image->tables) << 20 | i / EWF_READ_I_PAGE;
        uint32_t in_page = (uint32_t)(i % EWF_READ_I_PAGE);
        uint32_t take = (uint32_t)posio_min(n, EWF_READ_I_PAGE - in_page);
        posio_result r = chunk_cache_read(image->pages, key, (size_t)in_page * 4, out,
                                          (size_t)take * 4, ewf_read_i_page_flight, &p, err);
        if (r != POSIO_OK) return r;
        i += take;
        n -= take;
        out += (size_t)take * 4;
    }
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- locating

/* Where a chunk is. With a fault there is nothing to read. */
typedef struct ewf_read_i_place {
    uint64_t offset, stored; /* in the segment file; never more than image->stored_max bytes */
    uint32_t segment;        /* index */
    int compressed;
    posio_result code;
    const char *fault;
} ewf_read_i_place;

enum { EWF_READ_I_BATCH = 64 }; /* chunks located at once */

/* The table that holds a chunk; tables are in order of chunks and leave no holes. */
static ewf_read_i_table *ewf_read_i_table_of(const ewf_read *image, uint64_t chunk)
{
    uint64_t lo = 0, hi = image->table_count;
    while (hi - lo > 1) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (image->tables[mid].first <= chunk) lo = mid;
        else hi = mid;
    }
    return &image->tables[lo];
}

static void ewf_read_i_place_at(const ewf_read *image, const ewf_read_i_table *t, uint64_t offset,
                                uint64_t next, int compressed, ewf_read_i_place *p)
{
    memset(p, 0, sizeof *p);
    p->segment = t->segment;
    p->offset = offset;
    p->compressed = compressed;
    if (offset < t->start || offset >= t->end) {
        p->code = POSIO_E_DATA;
        p->fault = "its table entry points outside the chunk data";
        return;
    }
    if (next == offset) {
        p->code = POSIO_E_DATA;
        p->fault = "its table entries leave it no bytes";
        return;
    }
    if (next < offset || next > t->end) next = t->end;
    p->stored = posio_min(next - offset,
                          compressed ? image->stored_max : (uint64_t)image->info.chunk_size + 4);
}

/* The i-th chunk of those that were found by walking the data; 0 = not found. */
static uint64_t ewf_read_i_found_at(const ewf_read_i_table *t, uint64_t i)
{
    if (t->lost != 0 && i >= t->lost_at) {
        if (i - t->lost_at < t->lost) return 0;
        i -= t->lost;
    }
    return i < t->found_count ? t->found[i] : 0;
}

static void ewf_read_i_locate_found(const ewf_read *image, const ewf_read_i_table *t, uint64_t i,
                                    uint32_t n, ewf_read_i_place *places)
{
    uint32_t k;
    for (k = 0; k < n; k++, i++) {
        uint64_t e = ewf_read_i_found_at(t, i), next = ewf_read_i_found_at(t, i + 1) & INT64_MAX;
        ewf_read_i_place_at(image, t, e & INT64_MAX, next != 0 ? next : t->end, (e >> 63) != 0,
                            &places[k]);
        if (e != 0) continue;
        places[k].offset = POSIO_NO_OFFSET;
        places[k].code = POSIO_E_MISSING;
        places[k].fault = "no usable table holds it, and it was not found by walking the data";
    }
}

/* Fills places[0 .. n) for chunks of one table; i counts within the table. */
static posio_result ewf_read_i_locate_in(ewf_read *image, ewf_read_i_table *t, uint32_t which,
                                         uint64_t i, uint32_t n, ewf_read_i_place *places,
                                         posio_error *err)
{
    unsigned char raw[4 * (EWF_READ_I_BATCH + 1)];
    uint32_t k, extra = i + n < t->count ? 1 : 0;
    uint64_t base = t->copy[which].base;
    posio_result r = ewf_read_i_entries(image, t, which, i, n + extra, raw, err);
    if (r != POSIO_OK) return r;
    for (k = 0; k < n; k++) {
        uint32_t e = posio_le32(raw + 4 * k), f = 0;
        int wide = i + k >= t->overflow_at, next_wide = i + k + 1 >= t->overflow_at;
        uint64_t next = t->end;
        if (k + 1 < n + extra) {
            f = posio_le32(raw + 4 * (k + 1));
            next = base + (next_wide ? f : f & 0x7fffffff);
        }
        ewf_read_i_place_at(image, t, base + (wide ? e : e & 0x7fffffff), next,
                            !wide && (e >> 31) != 0, &places[k]);
    }
    return POSIO_OK;
}

static posio_result ewf_read_i_locate_settled(ewf_read *image, ewf_read_i_table *t, uint64_t i,
                                              uint32_t n, ewf_read_i_place *places,
                                              posio_error *err)
{
    if (t->state != EWF_READ_I_USE_SCAN)
        return ewf_read_i_locate_in(image, t, t->state - EWF_READ_I_USE_TABLE, i, n, places, err);
    ewf_read_i_locate_found(image, t, i, n, places);
    return POSIO_OK;
}

static void ewf_read_i_place_missing(const ewf_read_i_table *t, ewf_read_i_place *p)
{
    memset(p, 0, sizeof *p);
    p->offset = POSIO_NO_OFFSET;
    p->segment = UINT32_MAX;
    p->code = POSIO_E_MISSING;
    p->fault = t->missing == EWF_READ_I_NO_SEGMENT ? "its segment is missing"
               : t->missing == EWF_READ_I_NO_END   ? "its segment is cut short before it"
                                                   : "no table holds it";
}

/* Fills up to n (<= EWF_READ_I_BATCH) places from a chunk on; returns how many by *got. */
static posio_result ewf_read_i_locate(ewf_read *image, uint64_t chunk, uint32_t n,
                                      ewf_read_i_place *places, uint32_t *got, posio_error *err)
{
    ewf_read_i_table *t = ewf_read_i_table_of(image, chunk);
    uint32_t k;
    posio_result r;
    n = (uint32_t)posio_min(n, t->first + t->count - chunk);
    *got = n;
    if (t->missing) {
        for (k = 0; k < n; k++) ewf_read_i_place_missing(t, &places[k]);
        return POSIO_OK;
    }
    r = ewf_read_i_settle(image, t, err);
    if (r != POSIO_OK) return r;
    return ewf_read_i_locate_settled(image, t, chunk - t->first, n, places, err);
}

// ---------------------------------------------------------------------------------- decoding

/* Bytes of logical media in a chunk; less than chunk_size only in the last. */
static uint32_t ewf_read_i_expected(const ewf_read *image, uint64_t chunk)
{
    uint64_t at = chunk * image->info.chunk_size;
    return (uint32_t)posio_min(image->info.chunk_size, image->info.media_size - at);
}

/* A raw chunk: bytes and their Adler-32. The last one of the media may be short, or hold more than
   the media (a source that was no multiple of the sector). */
static const char *ewf_read_i_decode_raw(const ewf_read *image, const unsigned char *stored,
                                         size_t n, unsigned char *out, uint32_t expected,
                                         size_t *size)
{
    size_t data = n > 4 ? n - 4 : 0;
    int last = expected < image->info.chunk_size;
    *size = data < image->info.chunk_size ? data : image->info.chunk_size;
    memcpy(out, stored, *size);
    if (data < expected) return "the raw chunk is cut short";
    if (digest_adler32(1, stored, data) == posio_le32(stored + data)) return NULL;
    if (last && data > expected && /* junk between the last chunk and the end of its section */
        digest_adler32(1, stored, expected) == posio_le32(stored + expected)) {
        *size = expected;
        return NULL;
    }
    return "the checksum (Adler-32) of the raw chunk is wrong";
}

static const char *ewf_read_i_decode_zlib(ewf_read *image, ewf_read_i_scratch *s,
                                          const ewf_read_i_place *p, const unsigned char *stored,
                                          unsigned char *out, size_t slack, uint32_t expected,
                                          size_t *size)
{
    deflate_read_end end;
    size_t chunk = image->info.chunk_size;
    posio_result r =
        deflate_read_zlib(&s->inflate, stored, (size_t)p->stored, out, chunk, slack, 0, &end, NULL);
    if (r == POSIO_E_DATA) { /* Tableau TD3 writes stored blocks with NLEN 0 */
        deflate_read_end again;
        if (deflate_read_zlib(&s->inflate, stored, (size_t)p->stored, out, chunk, slack,
                              DEFLATE_READ_ACCEPT_NLEN_0, &again, NULL) == POSIO_OK &&
            again.out_size >= expected) {
            ewf_read_i_warn(image, image->segments[p->segment].number, p->offset,
                            "a stored block with NLEN 0 (a known fault of some writers) was "
                            "accepted; its Adler-32 is right");
            end = again;
            r = POSIO_OK;
        }
    }
    *size = end.out_size;
    if (r == POSIO_E_SPACE) return "the compressed chunk inflates to more than a chunk";
    if (r == POSIO_E_FORMAT) return "the compressed chunk does not begin with a zlib header";
    if (r == POSIO_E_UNSUPPORTED) return "the compressed chunk wants a preset dictionary";
    if (r != POSIO_OK) return "the compressed chunk is damaged (deflate or its Adler-32)";
    if (end.out_size < expected) return "the compressed chunk inflates to less than a chunk";
    return NULL;
}

/* How one call of decode_run wants it. */
typedef struct ewf_read_i_order {
    uint64_t first; /* chunk */
    uint32_t count;
    uint32_t on_damage;
    unsigned char *out; /* count x chunk_size; of the last chunk what the media has */
    size_t slack;       /* bytes behind out that may be scribbled on */
    uint64_t decoded;   /* result: bytes of media that are good */
    uint64_t damaged;   /* result: chunks */
    uint64_t missing;   /* result: those of them of which nothing is there */
    size_t beyond;      /* result: bytes of the media's last chunk behind the media */
} ewf_read_i_order;

/* Missing chunks are recorded together, as one entry. */
static int ewf_read_i_record_missing(ewf_read *image, const ewf_read_i_table *t, uint64_t chunk,
                                     const char *reason)
{
    ewf_read_damage d;
    uint64_t i = chunk - t->first;
    memset(&d, 0, sizeof d);
    d.chunk = chunk;
    d.count = 1;
    d.offset = POSIO_NO_OFFSET;
    d.segment = t->missing ? t->segment : image->segments[t->segment].number;
    d.code = POSIO_E_MISSING;
    d.reason = reason;
    if (t->missing) {
        d.chunk = t->first;
        d.count = t->count;
    } else if (i >= t->lost_at && i - t->lost_at < t->lost) {
        d.chunk = t->first + t->lost_at;
        d.count = t->lost;
    }
    return ewf_read_i_record(image, &d);
}

static posio_result ewf_read_i_damaged(ewf_read *image, uint64_t chunk, const ewf_read_i_place *p,
                                       uint32_t on_damage, posio_error *err)
{
    const ewf_read_i_segment *seg =
        p->segment < image->segment_count ? &image->segments[p->segment] : NULL;
    const ewf_read_i_table *t = NULL;
    ewf_read_damage d;
    memset(&d, 0, sizeof d);
    d.chunk = chunk;
    d.count = 1;
    d.offset = p->offset;
    d.segment = seg != NULL ? seg->number : 0;
    d.code = p->code;
    d.reason = p->fault;
    if (p->code == POSIO_E_MISSING) t = ewf_read_i_table_of(image, chunk);
    if (t != NULL ? !ewf_read_i_record_missing(image, t, chunk, p->fault)
                  : !ewf_read_i_record(image, &d))
        return ewf_read_i_no_memory(err);
    if (on_damage != EWF_READ_DAMAGE_ERROR) return POSIO_OK;
    (void)posio_fail(err, p->code, p->offset, "chunk %llu: %s", (unsigned long long)chunk,
                     p->fault);
    if (seg != NULL) (void)posio_fail_in(err, seg->name, seg->number);
    else if (t != NULL) (void)posio_fail_in(err, NULL, t->segment);
    return p->code;
}

/* Decodes what a place says; NULL, or what is wrong. *good: bytes of out that hold something. */
static const char *ewf_read_i_decode_place(ewf_read *image, ewf_read_i_scratch *s,
                                           const ewf_read_i_place *p, const unsigned char *stored,
                                           unsigned char *out, size_t slack, uint32_t expected,
                                           size_t *good)
{
    if (p->compressed)
        return ewf_read_i_decode_zlib(image, s, p, stored, out, slack, expected, good);
    return ewf_read_i_decode_raw(image, stored, (size_t)p->stored, out, expected, good);
}

/* A chunk that does not decode where its table says may be where the other copy of the table says
   it is: both can have right checksums and differ. OK, DATA (it is not), IO or NOMEM. */
static posio_result ewf_read_i_decode_by_copy(ewf_read *image, uint64_t chunk,
                                              const ewf_read_i_place *failed, unsigned char *out,
                                              size_t slack, uint32_t expected, size_t *good)
{
    ewf_read_i_table *t = ewf_read_i_table_of(image, chunk);
    uint32_t other = t->state == EWF_READ_I_USE_TABLE ? 1 : 0;
    ewf_read_i_place p;
    ewf_read_i_scratch *s;
    posio_result r;
    if (t->missing || t->state == EWF_READ_I_USE_SCAN || t->copy[other].entries == 0)
        return POSIO_E_DATA;
    r = ewf_read_i_locate_in(image, t, other, chunk - t->first, 1, &p, NULL);
    if (r != POSIO_OK) return r;
    if (p.fault != NULL || (p.offset == failed->offset && p.stored == failed->stored &&
                            p.compressed == failed->compressed))
        return POSIO_E_DATA;
    s = ewf_read_i_take_scratch(image); /* the caller's still holds the chunks behind this one */
    if (s == NULL) return POSIO_E_NOMEM;
    r = posio_read(&image->segments[p.segment].source, p.offset, s->stored, (size_t)p.stored, NULL);
    if (r == POSIO_OK &&
        ewf_read_i_decode_place(image, s, &p, s->stored, out, slack, expected, good) != NULL)
        r = POSIO_E_DATA;
    ewf_read_i_give_scratch(image, s);
    if (r == POSIO_OK)
        ewf_read_i_warn(image, image->segments[p.segment].number, p.offset,
                        "chunk %llu is here, as %s says, and not where the other table does",
                        (unsigned long long)chunk, other == 1 ? "table2" : "table");
    return r;
}

/* Decodes one chunk whose stored bytes are in memory (NULL: they could not be read). */
static posio_result ewf_read_i_decode_chunk(ewf_read *image, ewf_read_i_scratch *s,
                                            ewf_read_i_order *o, uint32_t k, ewf_read_i_place *p,
                                            const unsigned char *stored, posio_error *err)
{
    uint64_t chunk = o->first + k;
    uint32_t expected = ewf_read_i_expected(image, chunk), cs = image->info.chunk_size;
    unsigned char *out = o->out + (size_t)k * cs;
    /* What follows in `out` is decoded later by this same thread, so it may be scribbled on. */
    size_t after = (size_t)(o->count - 1 - k) * cs + o->slack, good = 0;
    posio_result r = POSIO_OK;
    if (p->fault == NULL)
        p->fault = ewf_read_i_decode_place(image, s, p, stored, out, after, expected, &good);
    if (p->fault != NULL)
        r = ewf_read_i_decode_by_copy(image, chunk, p, out, after, expected, &good);
    if (r == POSIO_E_NOMEM) return ewf_read_i_no_memory(err);
    if (r == POSIO_OK) {
        o->decoded += expected;
        if (chunk + 1 == image->info.chunk_count) o->beyond = good - expected;
        return POSIO_OK;
    }
    o->damaged++;
    if (p->code == POSIO_E_MISSING) o->missing++;
    if (r != POSIO_E_DATA && p->code != POSIO_E_IO) {
        p->code = POSIO_E_IO;
        p->fault = "it is not where its table says, and cannot be read where the other table does";
    }
    if (p->code == POSIO_OK) p->code = POSIO_E_DATA;
    if (o->on_damage == EWF_READ_DAMAGE_RAW && stored != NULL) /* once more, for what there is */
        (void)ewf_read_i_decode_place(image, s, p, stored, out, after, expected, &good);
    else good = 0;
    if (good < expected) memset(out + good, 0, expected - good);
    return ewf_read_i_damaged(image, chunk, p, o->on_damage, err);
}

/* How many of the places from k on lie one behind the other and fit the scratch together. */
static uint32_t ewf_read_i_adjacent(const ewf_read_i_place *p, uint32_t k, uint32_t n, size_t room,
                                    size_t *bytes)
{
    uint32_t m = k + 1;
    uint64_t end = p[k].offset + p[k].stored;
    while (m < n && p[m].fault == NULL && p[m].segment == p[k].segment && p[m].offset == end &&
           end + p[m].stored - p[k].offset <= room) {
        end += p[m].stored;
        m++;
    }
    *bytes = (size_t)(end - p[k].offset);
    return m - k;
}

/* Reads and decodes places[k .. k + n), which are adjacent, with one request. When that fails each
   chunk gets a request of its own, so that a bad sector costs one chunk only. */
static posio_result ewf_read_i_decode_adjacent(ewf_read *image, ewf_read_i_scratch *s,
                                               ewf_read_i_order *o, uint32_t base,
                                               ewf_read_i_place *p, uint32_t n, size_t bytes,
                                               posio_error *err)
{
    const posio_source *src = &image->segments[p->segment].source;
    int whole = posio_read(src, p->offset, s->stored, bytes, NULL) == POSIO_OK;
    unsigned char *at = s->stored;
    uint32_t i;
    posio_result r = POSIO_OK;
    for (i = 0; i < n && r == POSIO_OK; i++) {
        const unsigned char *stored = at;
        if (!whole) r = posio_read(src, p[i].offset, at, (size_t)p[i].stored, err);
        if (r == POSIO_E_NOMEM) return r; /* that says nothing about the segment */
        if (r != POSIO_OK) {
            p[i].fault = "the segment file cannot be read here";
            p[i].code = POSIO_E_IO;
            stored = NULL;
        }
        r = ewf_read_i_decode_chunk(image, s, o, base + i, &p[i], stored, err);
        at += p[i].stored;
    }
    return r;
}

static posio_result ewf_read_i_decode_batch(ewf_read *image, ewf_read_i_scratch *s,
                                            ewf_read_i_order *o, uint32_t k, uint32_t *done,
                                            posio_error *err)
{
    ewf_read_i_place places[EWF_READ_I_BATCH];
    uint32_t want = (uint32_t)posio_min(EWF_READ_I_BATCH, o->count - k), n = 0, i = 0;
    posio_result r = ewf_read_i_locate(image, o->first + k, want, places, &n, err);
    if (r == POSIO_E_IO) { /* the table cannot be read: its chunks are lost, not the others */
        memset(places, 0, sizeof places);
        places[0].code = POSIO_E_IO;
        places[0].offset = POSIO_NO_OFFSET;
        places[0].segment = ewf_read_i_table_of(image, o->first + k)->segment;
        places[0].fault = "its table cannot be read";
        n = 1;
        r = POSIO_OK;
    }
    while (r == POSIO_OK && i < n) {
        size_t bytes = 0;
        uint32_t m = 1;
        if (places[i].fault != NULL) {
            r = ewf_read_i_decode_chunk(image, s, o, k + i, &places[i], NULL, err);
        } else {
            m = ewf_read_i_adjacent(places, i, n, s->room, &bytes);
            r = ewf_read_i_decode_adjacent(image, s, o, k + i, &places[i], m, bytes, err);
        }
        i += m;
    }
    *done = n;
    return r;
}

/* Decodes o->count chunks into o->out, on this thread. */
static posio_result ewf_read_i_decode(ewf_read *image, ewf_read_i_order *o, posio_error *err)
{
    ewf_read_i_scratch *s = ewf_read_i_take_scratch(image);
    uint32_t k = 0, n = 0;
    posio_result r = POSIO_OK;
    if (s == NULL) return ewf_read_i_no_memory(err);
    o->decoded = 0;
    o->damaged = o->missing = 0;
    o->beyond = 0;
    for (; k < o->count && r == POSIO_OK; k += n)
        r = ewf_read_i_decode_batch(image, s, o, k, &n, err);
    ewf_read_i_give_scratch(image, s);
    return r;
}

// ---------------------------------------------------------------------------------- reading

static posio_result ewf_read_i_chunk_flight(void *user, uint64_t key, void *chunk, size_t *size,
                                            posio_error *err)
{
    ewf_read *image = (ewf_read *)user;
    ewf_read_i_order o;
    memset(&o, 0, sizeof o);
    o.first = key;
    o.count = 1;
    o.on_damage = image->desc.on_damage;
    o.out = (unsigned char *)chunk;
    o.slack = DEFLATE_READ_SLACK;
    *size = ewf_read_i_expected(image, key);
    return ewf_read_i_decode(image, &o, err);
}

/* A large read: many whole chunks straight into the caller's buffer, in parts. */
typedef struct ewf_read_i_bulk {
    ewf_read *image;
    unsigned char *out;
    uint64_t first, count;
    uint32_t per_part;
} ewf_read_i_bulk;

static uint32_t ewf_read_i_chunks_in(const ewf_read *image, uint32_t bytes)
{
    uint32_t n = bytes / image->info.chunk_size;
    return n != 0 ? n : 1;
}

static posio_result ewf_read_i_bulk_part(void *user, uint32_t i, posio_error *err)
{
    const ewf_read_i_bulk *b = (const ewf_read_i_bulk *)user;
    ewf_read_i_order o;
    memset(&o, 0, sizeof o);
    o.first = b->first + (uint64_t)i * b->per_part;
    o.count = (uint32_t)posio_min(b->per_part, b->first + b->count - o.first);
    o.on_damage = b->image->desc.on_damage;
    o.out = b->out + (size_t)(o.first - b->first) * b->image->info.chunk_size;
    return ewf_read_i_decode(b->image, &o, err);
}

static posio_result ewf_read_i_read_bulk(ewf_read *image, uint64_t first, uint64_t count,
                                         unsigned char *out, posio_error *err)
{
    ewf_read_i_bulk b;
    b.image = image;
    b.out = out;
    b.first = first;
    b.count = count;
    b.per_part = ewf_read_i_chunks_in(image, EWF_READ_I_PART);
    return thread_pool_parallel_for(image->desc.pool,
                                    (uint32_t)((count + b.per_part - 1) / b.per_part),
                                    ewf_read_i_bulk_part, &b, err);
}

EWF_READ_API posio_result ewf_read_at(ewf_read *image, uint64_t offset, void *buf, size_t n,
                                      posio_error *err)
{
    const uint64_t cs = image->info.chunk_size, bulk_max = (uint64_t)1 << 24;
    unsigned char *out = (unsigned char *)buf;
    posio_result r = POSIO_OK;
    if (!posio_within(offset, n, image->info.media_size))
        return posio_fail(err, POSIO_E_RANGE, offset,
                          "%llu bytes at %llu reach beyond the media of %llu bytes",
                          (unsigned long long)n, (unsigned long long)offset,
                          (unsigned long long)image->info.media_size);
    while (n != 0 && r == POSIO_OK) {
        uint64_t chunk = offset / cs, within = offset % cs;
        size_t take;
        if (within == 0 && n >= EWF_READ_I_BULK && n / cs >= 2) {
            uint64_t count = posio_min(n / cs, bulk_max);
            take = (size_t)(count * cs);
            r = ewf_read_i_read_bulk(image, chunk, count, out, err);
        } else {
            take = (size_t)posio_min(n, cs - within);
            r = chunk_cache_read(image->chunks, chunk, (size_t)within, out, take,
                                 ewf_read_i_chunk_flight, image, err);
        }
        offset += take;
        out += take;
        n -= take;
    }
    return r;
}

static posio_result ewf_read_i_source_read(void *self, uint64_t offset, void *buf, size_t n,
                                           posio_error *err)
{
    return ewf_read_at((ewf_read *)self, offset, buf, n, err);
}

static posio_result ewf_read_i_source_extent(void *self, uint64_t offset, posio_extent *out,
                                             posio_error *err)
{
    ewf_read *image = (ewf_read *)self;
    ewf_read_i_place places[EWF_READ_I_BATCH];
    const uint64_t cs = image->info.chunk_size;
    uint64_t chunk = offset / cs, end;
    uint32_t n = 0, k = 1;
    posio_result r;
    if (offset >= image->info.media_size)
        return posio_fail(err, POSIO_E_RANGE, offset, "no extent beyond the end of the media");
    r = ewf_read_i_locate(image, chunk, EWF_READ_I_BATCH, places, &n, err);
    if (r != POSIO_OK) return r;
    while (k < n && places[k].compressed == places[0].compressed) k++;
    end = posio_min((chunk + k) * cs, image->info.media_size);
    out->length = end - offset;
    out->kind = places[0].compressed ? POSIO_EXTENT_COMPRESSED : POSIO_EXTENT_DATA;
    out->reserved = 0;
    return POSIO_OK;
}

EWF_READ_API posio_source ewf_read_source(ewf_read *image)
{
    posio_source s;
    memset(&s, 0, sizeof s);
    s.size = image->info.media_size;
    s.unit = image->info.chunk_size;
    s.read_at = ewf_read_i_source_read;
    s.extent_at = ewf_read_i_source_extent;
    s.self = image;
    return s;
}

// ---------------------------------------------------------------------------------- verify

/* The pipeline of a verify, of one image or of many: produce names the next chunks of every image
   in flight, work reads and decodes parts of them into the slot's buffers, and each digest is a
   lane, which takes the batches of all images at once. An image in flight has a column: a state, and one
   buffer in every slot. */
typedef struct ewf_read_i_column {
    ewf_read *image; /* NULL: free */
    uint32_t number; /* of the image, as the caller counts */
    uint32_t wanted; /* EWF_READ_MD5 | ... */
    int digesting;
    int drains;            /* all chunks are produced, or it failed; */
    uint64_t drained;      /* when produce fills this slot, they have left the ring */
    uint64_t next;         /* chunk */
    uint64_t total, bytes; /* bytes of media present; good bytes decoded */
    uint64_t worked;       /* bytes of media that work has done with */
    uint64_t damaged;      /* chunks, missing ones included */
    uint64_t missing;      /* of media that is not all there is no digest */
    uint32_t per_slot, per_part;
    posio_error why; /* its code is POSIO_OK while nothing has failed */
    int has_untrimmed[EWF_READ_MAX_DIGESTS];
    digest state[EWF_READ_MAX_DIGESTS];
    uint8_t media[EWF_READ_MAX_DIGESTS][DIGEST_MAX_SIZE];     /* results */
    uint8_t untrimmed[EWF_READ_MAX_DIGESTS][DIGEST_MAX_SIZE]; /* with the bytes beyond */
} ewf_read_i_column;

typedef struct ewf_read_i_batch {
    unsigned char *data;
    size_t room;
    uint64_t first; /* chunk */
    uint32_t count; /* 0: nothing of this column in the slot */
    uint32_t parts;
    uint64_t bytes; /* of media */
    size_t beyond;  /* bytes behind the media in its last chunk */
} ewf_read_i_batch;

typedef struct ewf_read_i_verify_run {
    const ewf_read_many_desc *desc;
    ewf_read_i_column *columns;
    ewf_read_i_batch *batches; /* of slot i, column k: [i * column_count + k] */
    uint32_t column_count, slot_count;
    uint32_t batch_bytes; /* of media of one image in a slot, unless a chunk is larger */
    uint32_t asked;       /* images, of the caller */
    int no_more;
    ewf_read *waiting; /* has been asked for, and no room for its buffers */
    uint32_t waiting_digests;
    uint32_t lane_count, lane_digest[EWF_READ_MAX_DIGESTS]; /* index of the digest of each lane */
    thread_pool_mutex lock; /* guards what the columns count, and which image they have */
} ewf_read_i_verify_run;

static const uint8_t *ewf_read_i_stored(const ewf_read *image, uint32_t algorithm)
{
    if (algorithm == EWF_READ_MD5 && image->info.has_md5) return image->info.md5;
    if (algorithm == EWF_READ_SHA1 && image->info.has_sha1) return image->info.sha1;
    return NULL;
}

static void ewf_read_i_verdict(const ewf_read_i_column *c, ewf_read_verdict *out)
{
    static const uint32_t sizes[EWF_READ_MAX_DIGESTS] = {16, 20, 32, 32};
    uint32_t i;
    memset(out, 0, sizeof *out);
    for (i = 0; i < EWF_READ_MAX_DIGESTS; i++) {
        ewf_read_digest *d = &out->digest[out->digest_count];
        const uint8_t *stored = ewf_read_i_stored(c->image, 1u << i);
        if (!(c->wanted >> i & 1)) continue;
        out->digest_count++;
        d->algorithm = 1u << i;
        d->size = sizes[i];
        if (stored != NULL) {
            memcpy(d->stored, stored, d->size);
            d->has_stored = 1;
        }
        if (c->missing == 0) {
            memcpy(d->computed, c->media[i], d->size);
            d->has_computed = 1;
            d->match = stored != NULL && memcmp(d->computed, stored, d->size) == 0;
            d->untrimmed = stored != NULL && !d->match && c->has_untrimmed[i] &&
                           memcmp(c->untrimmed[i], stored, d->size) == 0;
            if (d->untrimmed) d->match = 1;
        }
        if (d->has_stored && !d->match) out->mismatches++;
    }
    out->bytes = c->bytes;
    out->damaged_chunks = c->damaged;
}

/* Tells the caller about an image that is done, and frees its column. */
static void ewf_read_i_finish_column(ewf_read_i_verify_run *v, ewf_read_i_column *c)
{
    ewf_read_verdict verdict;
    int failed = c->why.code != POSIO_OK;
    if (!failed) ewf_read_i_verdict(c, &verdict);
    thread_pool_lock(&v->lock);
    c->image = NULL;
    thread_pool_unlock(&v->lock);
    v->desc->done(v->desc->user, c->number, failed ? NULL : &verdict, failed ? &c->why : NULL);
}

/* One image fails; the others go on. */
static void ewf_read_i_fail_column(ewf_read_i_verify_run *v, ewf_read_i_column *c,
                                   const posio_error *why)
{
    thread_pool_lock(&v->lock);
    if (c->why.code == POSIO_OK) c->why = *why;
    thread_pool_unlock(&v->lock);
}

static int ewf_read_i_has_failed(ewf_read_i_verify_run *v, const ewf_read_i_column *c)
{
    int failed;
    thread_pool_lock(&v->lock);
    failed = c->why.code != POSIO_OK;
    thread_pool_unlock(&v->lock);
    return failed;
}

/* Bytes of the buffers of an image, in all slots together. */
static uint64_t ewf_read_i_buffers(const ewf_read_i_verify_run *v, const ewf_read *image)
{
    uint64_t n = (uint64_t)ewf_read_i_chunks_in(image, v->batch_bytes) * image->info.chunk_size;
    return (n + DEFLATE_READ_SLACK) * v->slot_count;
}

/* Asks for the next image, unless one waits. Is there one, and room for its buffers? */
static int ewf_read_i_may_begin(ewf_read_i_verify_run *v)
{
    uint64_t used = 0;
    uint32_t k;
    if (v->waiting == NULL && !v->no_more) {
        v->waiting_digests = v->desc->digests;
        v->waiting = v->desc->next(v->desc->user, v->asked, &v->waiting_digests);
        v->no_more = v->waiting == NULL;
        v->asked += v->waiting != NULL;
    }
    if (v->waiting == NULL) return 0;
    for (k = 0; k < v->column_count; k++)
        if (v->columns[k].image != NULL) used += ewf_read_i_buffers(v, v->columns[k].image);
    return used == 0 || used + ewf_read_i_buffers(v, v->waiting) <= EWF_READ_I_BUFFERS;
}

/* Takes the image that waits into a free column. */
static void ewf_read_i_begin_column(ewf_read_i_verify_run *v, ewf_read_i_column *c)
{
    static const int ids[EWF_READ_MAX_DIGESTS] = {DIGEST_MD5, DIGEST_SHA1, DIGEST_SHA256,
                                                  DIGEST_BLAKE3};
    ewf_read *image = v->waiting;
    uint32_t i, digests = v->waiting_digests;
    v->waiting = NULL;
    thread_pool_lock(&v->lock);
    memset(c, 0, sizeof *c);
    c->image = image;
    c->number = v->asked - 1;
    c->total = image->info.media_size -
               posio_min(image->missing_chunks * image->info.chunk_size, image->info.media_size);
    thread_pool_unlock(&v->lock);
    if (digests >> EWF_READ_MAX_DIGESTS)
        (void)posio_fail(&c->why, POSIO_E_ARG, POSIO_NO_OFFSET, "ewf_read: unknown digest");
    c->wanted = digests | (image->info.has_md5 ? (uint32_t)EWF_READ_MD5 : 0u) |
                (image->info.has_sha1 ? (uint32_t)EWF_READ_SHA1 : 0u);
    c->missing = image->missing_chunks;
    c->digesting = c->missing == 0;
    c->per_part = ewf_read_i_chunks_in(image, EWF_READ_I_PART);
    c->per_slot = ewf_read_i_chunks_in(image, v->batch_bytes);
    for (i = 0; i < EWF_READ_MAX_DIGESTS; i++) {
        if (!(c->wanted >> i & 1)) continue;
        (void)digest_begin(&c->state[i], ids[i]);
        (void)digest_result(&c->state[i], c->media[i]); /* of media without a byte */
    }
}

/* Passes by chunks that are missing altogether; *t = the table of the next chunk that is there. */
static posio_result ewf_read_i_pass_missing(ewf_read_i_verify_run *v, ewf_read_i_column *c,
                                            const ewf_read_i_table **t, posio_error *err)
{
    ewf_read_i_place place;
    for (; c->next < c->image->info.chunk_count; c->next = (*t)->first + (*t)->count) {
        *t = ewf_read_i_table_of(c->image, c->next);
        if (!(*t)->missing) break;
        ewf_read_i_place_missing(*t, &place);
        if (!ewf_read_i_record_missing(c->image, *t, (*t)->first, place.fault))
            return ewf_read_i_no_memory(err);
        thread_pool_lock(&v->lock);
        c->damaged += (*t)->count;
        thread_pool_unlock(&v->lock);
    }
    return POSIO_OK;
}

/* Names the next chunks of an image, up to the next missing one. */
static posio_result ewf_read_i_fill_batch(ewf_read_i_verify_run *v, ewf_read_i_column *c,
                                          ewf_read_i_batch *b, uint64_t slot, posio_error *err)
{
    const ewf_read *image = c->image;
    const uint64_t chunks = image->info.chunk_count, cs = image->info.chunk_size;
    const uint64_t need = c->per_slot * cs + DEFLATE_READ_SLACK;
    const ewf_read_i_table *t = NULL;
    uint64_t end;
    posio_result r = POSIO_OK;
    int failed = ewf_read_i_has_failed(v, c);
    if (!failed) r = ewf_read_i_pass_missing(v, c, &t, err);
    if (r != POSIO_OK) return r;
    if (failed || c->next >= chunks) {
        c->drains = 1;
        c->drained = slot + v->slot_count;
        return POSIO_OK;
    }
    if (b->room < need || b->room / 4 > need) {
        posio_release(&v->desc->alloc, b->data);
        b->room = 0;
        b->data = need < SIZE_MAX / 2
                      ? (unsigned char *)posio_allocate(&v->desc->alloc, (size_t)need)
                      : NULL;
        if (b->data == NULL) return ewf_read_i_no_memory(err);
        b->room = (size_t)need;
    }
    end = posio_min(c->next + c->per_slot, chunks);
    while (t->first + t->count < end) {
        t = ewf_read_i_table_of(image, t->first + t->count);
        if (t->missing) end = t->first;
    }
    b->first = c->next;
    b->count = (uint32_t)(end - c->next);
    b->bytes = posio_min(end * cs, image->info.media_size) - c->next * cs;
    b->beyond = 0;
    b->parts = (b->count + c->per_part - 1) / c->per_part;
    c->next = end;
    return POSIO_OK;
}

static posio_result ewf_read_i_verify_produce(void *user, thread_pool_slot *slot, posio_error *err)
{
    ewf_read_i_verify_run *v = (ewf_read_i_verify_run *)user;
    uint32_t k, busy = 0;
    slot->parts = 0;
    for (k = 0; k < v->column_count; k++) {
        ewf_read_i_column *c = &v->columns[k];
        ewf_read_i_batch *b = &v->batches[(size_t)slot->index * v->column_count + k];
        b->count = b->parts = 0;
        if (c->image != NULL && c->drains && slot->number >= c->drained)
            ewf_read_i_finish_column(v, c);
        if (c->image == NULL && ewf_read_i_may_begin(v)) ewf_read_i_begin_column(v, c);
        if (c->image == NULL) continue;
        if (!c->drains && ewf_read_i_fill_batch(v, c, b, slot->number, err) != POSIO_OK) {
            ewf_read_i_fail_column(v, c, err);
            c->drains = 1;
            c->drained = slot->number + v->slot_count;
        }
        slot->parts += b->parts;
        busy += !c->drains || !v->no_more; /* draining makes room for the next one */
    }
    if (busy == 0 && v->waiting == NULL) return THREAD_POOL_END;
    return POSIO_OK;
}

static posio_result ewf_read_i_verify_work(void *user, const thread_pool_slot *slot, uint32_t part,
                                           posio_error *err)
{
    ewf_read_i_verify_run *v = (ewf_read_i_verify_run *)user;
    ewf_read_i_batch *b = &v->batches[(size_t)slot->index * v->column_count];
    ewf_read_i_column *c = v->columns;
    ewf_read_i_order o;
    uint32_t k;
    for (; part >= b->parts; b++, c++) part -= b->parts;
    k = part * c->per_part;
    memset(&o, 0, sizeof o);
    o.first = b->first + k;
    o.count = (uint32_t)posio_min(c->per_part, b->count - k);
    o.on_damage = EWF_READ_DAMAGE_RAW;
    o.out = b->data + (size_t)k * c->image->info.chunk_size;
    if (k + o.count == c->per_slot)
        o.slack = DEFLATE_READ_SLACK; /* the buffer's, behind the batch */
    if (ewf_read_i_decode(c->image, &o, err) != POSIO_OK) ewf_read_i_fail_column(v, c, err);
    if (o.beyond != 0) b->beyond = o.beyond;
    thread_pool_lock(&v->lock);
    c->bytes += o.decoded;
    c->worked += (uint64_t)o.count * c->image->info.chunk_size;
    c->damaged += o.damaged;
    c->missing += o.missing;
    thread_pool_unlock(&v->lock);
    return POSIO_OK;
}

/* Results of an image whose last chunk has been digested, without and with what lies beyond. */
static void ewf_read_i_end_digest(ewf_read_i_column *c, const ewf_read_i_batch *b, uint32_t which)
{
    digest *d = &c->state[which];
    (void)digest_result(d, c->media[which]);
    if (b->beyond == 0) return;
    digest_update(d, b->data + b->bytes, b->beyond);
    (void)digest_result(d, c->untrimmed[which]);
    c->has_untrimmed[which] = 1;
}

/* One digest, over the batches of all images that want it. */
static posio_result ewf_read_i_verify_lane(void *user, const thread_pool_slot *slot, uint32_t lane,
                                           posio_error *err)
{
    ewf_read_i_verify_run *v = (ewf_read_i_verify_run *)user;
    const ewf_read_i_batch *batches = &v->batches[(size_t)slot->index * v->column_count];
    const uint32_t which = v->lane_digest[lane];
    digest *states[EWF_READ_I_AT_ONCE];
    const void *data[EWF_READ_I_AT_ONCE];
    size_t sizes[EWF_READ_I_AT_ONCE];
    uint32_t k, n = 0;
    (void)err;
    for (k = 0; k < v->column_count; k++) {
        ewf_read_i_column *c = &v->columns[k];
        if (batches[k].count == 0 || !c->digesting || !(c->wanted >> which & 1)) continue;
        states[n] = &c->state[which];
        data[n] = batches[k].data;
        sizes[n++] = (size_t)batches[k].bytes;
    }
    digest_update_many(states, data, sizes, n);
    for (k = 0; k < v->column_count; k++) {
        ewf_read_i_column *c = &v->columns[k];
        const ewf_read_i_batch *b = &batches[k];
        if (b->count != 0 && c->digesting && (c->wanted >> which & 1) &&
            b->first + b->count == c->image->info.chunk_count)
            ewf_read_i_end_digest(c, b, which);
    }
    return POSIO_OK;
}

static int ewf_read_i_verify_progress(void *user, uint64_t done)
{
    ewf_read_i_verify_run *v = (ewf_read_i_verify_run *)user;
    uint32_t k, number = 0;
    int stop = 0;
    (void)done;
    for (k = 0; k < v->column_count && !stop; k++) {
        const ewf_read_i_column *c = &v->columns[k];
        uint64_t worked = 0, total = 0;
        int running;
        thread_pool_lock(&v->lock);
        running = c->image != NULL;
        if (running) {
            number = c->number;
            total = c->total;
            worked = posio_min(c->worked, total);
        }
        thread_pool_unlock(&v->lock);
        if (running) stop = v->desc->progress(v->desc->user, number, worked, total);
    }
    return stop;
}

/* The ring: enough slots that all threads have a part to work on while the lanes digest others. */
static void ewf_read_i_size_ring(ewf_read_i_verify_run *v)
{
    const uint32_t threads = thread_pool_threads(v->desc->pool);
    const uint32_t want =
        v->desc->threads != 0 && v->desc->threads < threads ? v->desc->threads : threads;
    uint32_t parts, most;
    v->batch_bytes = v->column_count == 1 ? EWF_READ_I_SLOT : EWF_READ_I_SLOT / 4;
    parts = v->column_count * (v->batch_bytes / EWF_READ_I_PART);
    v->slot_count = 3 + 2 * ((want + parts - 1) / parts);
    /* A digest takes some 0.7 GB/s, so no number of threads needs more than this in flight. */
    most = EWF_READ_I_RING / v->batch_bytes / v->column_count;
    if (v->slot_count > most) v->slot_count = most > 3 ? most : 3;
}

static posio_result ewf_read_i_verify_run_job(ewf_read_i_verify_run *v, posio_error *err)
{
    static const thread_pool_lane lane = {ewf_read_i_verify_lane, 0, 0};
    thread_pool_lane lanes[EWF_READ_MAX_DIGESTS];
    thread_pool_job job;
    posio_result r;
    uint32_t i;
    memset(&job, 0, sizeof job);
    for (i = 0; i < v->lane_count; i++) lanes[i] = lane;
    job.user = v;
    job.slots = v->slot_count;
    job.lanes = lanes;
    job.lane_count = v->lane_count;
    job.threads = v->desc->threads;
    job.produce = ewf_read_i_verify_produce;
    job.work = ewf_read_i_verify_work;
    job.progress = v->desc->progress != NULL ? ewf_read_i_verify_progress : NULL;
    job.alloc = v->desc->alloc;
    r = thread_pool_run(v->desc->pool, &job, err);
    for (i = 0; i < v->column_count && r == POSIO_OK; i++)
        if (v->columns[i].image != NULL) ewf_read_i_finish_column(v, &v->columns[i]);
    return r;
}

/* `lanes`: the digests that any of the images may want. */
static posio_result ewf_read_i_verify(const ewf_read_many_desc *desc, uint32_t at_once,
                                      uint32_t lanes, posio_error *err)
{
    ewf_read_i_verify_run *v;
    posio_result r = POSIO_OK;
    uint32_t i;
    if (desc->digests >> EWF_READ_MAX_DIGESTS)
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "ewf_read: unknown digest");
    v = (ewf_read_i_verify_run *)posio_allocate_zeroed(&desc->alloc, sizeof *v);
    if (v == NULL || !thread_pool_mutex_init(&v->lock)) {
        posio_release(&desc->alloc, v);
        return ewf_read_i_no_memory(err);
    }
    v->desc = desc;
    v->column_count = at_once;
    for (i = 0; i < EWF_READ_MAX_DIGESTS; i++)
        if (lanes >> i & 1) v->lane_digest[v->lane_count++] = i;
    ewf_read_i_size_ring(v);
    v->columns = (ewf_read_i_column *)posio_allocate_zeroed(
        &desc->alloc, at_once * sizeof *v->columns);
    v->batches = (ewf_read_i_batch *)posio_allocate_zeroed(
        &desc->alloc, (size_t)at_once * v->slot_count * sizeof *v->batches);
    if (v->columns == NULL || v->batches == NULL) r = ewf_read_i_no_memory(err);
    else r = ewf_read_i_verify_run_job(v, err);
    for (i = 0; v->batches != NULL && i < at_once * v->slot_count; i++)
        posio_release(&desc->alloc, v->batches[i].data);
    posio_release(&desc->alloc, v->batches);
    posio_release(&desc->alloc, v->columns);
    thread_pool_mutex_destroy(&v->lock);
    posio_release(&desc->alloc, v);
    return r;
}

EWF_READ_API posio_result ewf_read_verify_many(const ewf_read_many_desc *desc, posio_error *err)
{
    const uint32_t cores = thread_pool_usable_cores();
    uint32_t at_once;
    if (desc == NULL || desc->next == NULL || desc->done == NULL ||
        !posio_alloc_is_valid(&desc->alloc))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET,
                          "ewf_read: next and done are needed, and alloc_fn with free_fn");
    at_once = desc->at_once;
    if (at_once == 0) at_once = cores > 8 + 2 ? cores - 2 : 8;
    if (at_once > EWF_READ_I_AT_ONCE) at_once = EWF_READ_I_AT_ONCE;
    return ewf_read_i_verify(desc, at_once, (1u << EWF_READ_MAX_DIGESTS) - 1, err);
}

/* One image, as many of which there is one. */
typedef struct ewf_read_i_single {
    ewf_read *image;
    const ewf_read_verify_desc *desc;
    ewf_read_verdict *verdict;
    posio_error why; /* code POSIO_OK: the verdict is there */
} ewf_read_i_single;

static ewf_read *ewf_read_i_single_next(void *user, uint32_t i, uint32_t *digests)
{
    (void)digests;
    return i == 0 ? ((const ewf_read_i_single *)user)->image : NULL;
}
static void ewf_read_i_single_done(void *user, uint32_t i, const ewf_read_verdict *verdict,
                                   const posio_error *why)
{
    ewf_read_i_single *single = (ewf_read_i_single *)user;
    (void)i;
    if (verdict != NULL) *single->verdict = *verdict;
    else single->why = *why;
}
static int ewf_read_i_single_progress(void *user, uint32_t i, uint64_t done, uint64_t total)
{
    const ewf_read_verify_desc *desc = ((const ewf_read_i_single *)user)->desc;
    (void)i;
    return desc->progress(desc->user, done, total);
}

EWF_READ_API posio_result ewf_read_verify(ewf_read *image, const ewf_read_verify_desc *desc,
                                          ewf_read_verdict *verdict, posio_error *err)
{
    static const ewf_read_verify_desc defaults = {0, 0, NULL, NULL};
    ewf_read_many_desc many;
    ewf_read_i_single single;
    uint32_t lanes = 0;
    posio_result r;
    memset(&single, 0, sizeof single);
    single.image = image;
    single.desc = desc != NULL ? desc : &defaults;
    single.verdict = verdict;
    memset(&many, 0, sizeof many);
    many.pool = image->desc.pool;
    many.digests = single.desc->digests;
    many.threads = single.desc->threads;
    many.next = ewf_read_i_single_next;
    many.done = ewf_read_i_single_done;
    many.progress = single.desc->progress != NULL ? ewf_read_i_single_progress : NULL;
    many.user = &single;
    many.alloc = image->desc.alloc;
    if (image->missing_chunks == 0) { /* or there will be no digest */
        lanes = many.digests;
        if (image->info.has_md5) lanes |= EWF_READ_MD5;
        if (image->info.has_sha1) lanes |= EWF_READ_SHA1;
    }
    r = ewf_read_i_verify(&many, 1, lanes, err);
    if (r == POSIO_OK && single.why.code != POSIO_OK) {
        r = single.why.code;
        if (err != NULL) *err = single.why;
    }
    return r;
}

// ---------------------------------------------------------------------------------- numbering

/* After the walk: chunk numbers for all tables. Where segments are absent, what lies before the
   first gap is counted from the start, what lies behind the last gap from the end; in between
   nothing can be placed. */

static uint64_t ewf_read_i_chunks_of(const ewf_read *image, uint64_t first, uint64_t count)
{
    uint64_t sum = 0, i;
    for (i = first; i < first + count; i++) sum += image->tables[i].count;
    return sum;
}

static posio_result ewf_read_i_insert_missing(ewf_read *image, uint64_t at, uint64_t count,
                                              uint32_t segment, uint32_t why, posio_error *err)
{
    ewf_read_i_table *t, missing;
    posio_result r;
    if (count == 0) return POSIO_OK;
    r = ewf_read_i_add_table(image, &t, err);
    if (r != POSIO_OK) return r;
    memset(&missing, 0, sizeof missing);
    missing.count = count;
    missing.segment = segment;
    missing.missing = why;
    missing.state = EWF_READ_I_USE_NONE;
    memmove(image->tables + at + 1, image->tables + at,
            (size_t)(image->table_count - 1 - at) * sizeof *t);
    image->tables[at] = missing;
    image->missing_chunks += count;
    return POSIO_OK;
}

/* The length of the last chunk by what is stored, when no count says it. One that cannot be read
   counts as whole. */
static posio_result ewf_read_i_measure_last(ewf_read *image, ewf_read_i_table *t, uint64_t *size,
                                            posio_error *err)
{
    ewf_read_i_scratch *s = ewf_read_i_take_scratch(image);
    unsigned char *out =
        (unsigned char *)posio_allocate(&image->desc.alloc, image->info.chunk_size);
    ewf_read_i_place p;
    deflate_read_end end;
    posio_result r = s == NULL || out == NULL ? POSIO_E_NOMEM : ewf_read_i_settle(image, t, NULL);
    memset(&p, 0, sizeof p);
    *size = image->info.chunk_size;
    if (r == POSIO_OK) r = ewf_read_i_locate_settled(image, t, t->count - 1, 1, &p, NULL);
    if (r == POSIO_OK && p.fault == NULL) {
        r = posio_read(&image->segments[t->segment].source, p.offset, s->stored, (size_t)p.stored,
                       NULL);
        if (r == POSIO_OK && !p.compressed && p.stored > 4) *size = p.stored - 4;
        else if (r == POSIO_OK && p.compressed &&
                 deflate_read_zlib(&s->inflate, s->stored, (size_t)p.stored, out,
                                   image->info.chunk_size, 0, 0, &end, NULL) == POSIO_OK)
            *size = end.out_size;
    }
    if (s != NULL) ewf_read_i_give_scratch(image, s);
    posio_release(&image->desc.alloc, out);
    if (r == POSIO_E_NOMEM) return ewf_read_i_no_memory(err);
    if (r != POSIO_OK)
        ewf_read_i_warn(image, image->segments[t->segment].number, t->start,
                        "the last chunk cannot be read: it counts as a whole one");
    return POSIO_OK;
}

/* How many chunks the media has: what the sections declare, unless the tables know better.
   *measure: the declared size of the media cannot be right. */
static uint64_t ewf_read_i_total(ewf_read *image, uint64_t known, int gaps, int *measure)
{
    uint64_t bytes = 0, by_sectors, declared = image->declared_chunks;
    const uint64_t cs = image->info.chunk_size;
    if (!posio_mul(image->declared_sectors, image->info.sector_size, &bytes)) {
        ewf_read_i_warn(image, 0, POSIO_NO_OFFSET,
                        "%llu sectors of %u bytes are more than 2^64 bytes; the tables are trusted",
                        (unsigned long long)image->declared_sectors,
                        (unsigned)image->info.sector_size);
        bytes = 0;
    }
    by_sectors = bytes / cs + (bytes % cs != 0);
    *measure = by_sectors == 0;
    if (by_sectors != 0 && declared != 0 && by_sectors != declared)
        ewf_read_i_warn(image, 0, POSIO_NO_OFFSET,
                        "the volume section declares %llu chunks, but its %llu sectors are %llu",
                        (unsigned long long)declared, (unsigned long long)image->declared_sectors,
                        (unsigned long long)by_sectors);
    if (known == by_sectors || (gaps && by_sectors > known)) return by_sectors;
    if (known == declared || by_sectors < known) {
        if (!(known == 0 && by_sectors == 0) && !(by_sectors == 0 && declared == 0))
            ewf_read_i_warn(image, 0, POSIO_NO_OFFSET,
                            "the tables hold %llu chunks, the declared sectors %llu; the tables "
                            "are trusted",
                            (unsigned long long)known, (unsigned long long)by_sectors);
        *measure = 1;
        if (by_sectors == 0 && declared > known) return declared;
        return known;
    }
    return by_sectors;
}

/* The absent segments before segments[i]. */
static uint32_t ewf_read_i_gap_before(const ewf_read *image, uint32_t i)
{
    uint32_t previous = i != 0 ? image->segments[i - 1].number : 0;
    return image->segments[i].number - previous - 1;
}

static void ewf_read_i_warn_gap(ewf_read *image, uint32_t first, uint32_t count)
{
    image->info.missing_segments += count;
    if (count == 1)
        ewf_read_i_warn(image, first, POSIO_NO_OFFSET, "segment %u is missing", (unsigned)first);
    else
        ewf_read_i_warn(image, first, POSIO_NO_OFFSET, "segments %u to %u are missing",
                        (unsigned)first, (unsigned)(first + count - 1));
}

/* Chunks may be missing before segments[i]: segments are absent, or the one before is cut short. */
static int ewf_read_i_may_lack_before(const ewf_read *image, uint32_t i)
{
    return ewf_read_i_gap_before(image, i) != 0 || (i != 0 && !image->segments[i - 1].complete);
}

/* Notes that chunks may be missing before segments[i] (or at the end), and why. */
static void ewf_read_i_note_absent(const ewf_read *image, uint32_t i, ewf_read_i_gaps *g)
{
    const ewf_read_i_segment *before = i != 0 ? &image->segments[i - 1] : NULL;
    uint64_t table = i < image->segment_count ? image->segments[i].first_table : image->table_count;
    if (before != NULL && !before->complete)
        ewf_read_i_note_gap(g, table, EWF_READ_I_NO_END, before->number);
    else
        ewf_read_i_note_gap(g, table, EWF_READ_I_NO_SEGMENT,
                            before != NULL ? before->number + 1 : 1);
}

/* All places where chunks may be missing, but for those that a scan passed over. */
static ewf_read_i_gaps ewf_read_i_find_gaps(const ewf_read *image)
{
    const uint32_t n = image->segment_count;
    ewf_read_i_gaps g = image->holes;
    uint32_t i;
    if (g.first <= g.last) { /* tables noted then may be gone with a foreign segment */
        g.first = posio_min(g.first, image->table_count);
        g.last = posio_min(g.last, image->table_count);
    }
    for (i = 0; i < n; i++)
        if (ewf_read_i_may_lack_before(image, i)) ewf_read_i_note_absent(image, i, &g);
    if (n != 0 && !image->segments[n - 1].ends_set) ewf_read_i_note_absent(image, n, &g);
    return g;
}

/* Could the bytes of this table hold so many chunks? Deflate makes 1032 bytes of one at most. */
static int ewf_read_i_has_room(const ewf_read *image, const ewf_read_i_table *t, uint64_t count)
{
    return count <= (t->end - t->start) / (image->info.chunk_size / 1032 + 6);
}

/* A scan that passed over something may have found too few chunks: then they are missing there. */
static uint64_t ewf_read_i_note_doubts(const ewf_read *image, ewf_read_i_gaps *g)
{
    uint64_t i, count = 0;
    for (i = 0; i < image->table_count; i++) {
        const ewf_read_i_table *t = &image->tables[i];
        uint32_t number = image->segments[t->segment].number;
        if (!t->doubtful) continue;
        count++; /* within the table: before and behind it, unless all found is on one side */
        if (t->doubt != t->found_count) ewf_read_i_note_gap(g, i, EWF_READ_I_NO_TABLE, number);
        if (t->lost_at != 0) ewf_read_i_note_gap(g, i + 1, EWF_READ_I_NO_TABLE, number);
    }
    return count;
}

/* The tables between two gaps: their chunks could have several numbers, and so have none. */
static void ewf_read_i_drop_tables(ewf_read *image, uint64_t first, uint64_t last)
{
    uint64_t i;
    if (first == last) return;
    ewf_read_i_warn(image, 0, POSIO_NO_OFFSET,
                    "%llu chunks that are there cannot be placed, as chunks before and behind them "
                    "are missing",
                    (unsigned long long)ewf_read_i_chunks_of(image, first, last - first));
    for (i = first; i < last; i++) posio_release(&image->desc.alloc, image->tables[i].found);
    memmove(image->tables + first, image->tables + last,
            (size_t)(image->table_count - last) * sizeof *image->tables);
    image->table_count -= last - first;
}

/* Makes the tables hold `total` chunks, by putting what is missing where it may be. */
static posio_result ewf_read_i_place_tables(ewf_read *image, uint64_t total, ewf_read_i_gaps g,
                                            posio_error *err)
{
    uint64_t known = ewf_read_i_chunks_of(image, 0, image->table_count), doubts;
    int scans_only = g.first > g.last;
    if (known >= total) return POSIO_OK; /* whatever is absent held no chunks */
    doubts = ewf_read_i_note_doubts(image, &g);
    if (scans_only && doubts == 1 &&
        ewf_read_i_has_room(image, &image->tables[g.first], total - known)) {
        ewf_read_i_lose(&image->tables[g.first], total - known);
        image->tables[g.first].count += total - known;
        return POSIO_OK;
    }
    if (g.first > g.last) ewf_read_i_note_gap(&g, image->table_count, EWF_READ_I_NO_TABLE, 0);
    known -= ewf_read_i_chunks_of(image, g.first, g.last - g.first);
    ewf_read_i_drop_tables(image, g.first, g.last);
    return ewf_read_i_insert_missing(image, g.first, total - known, g.segment, g.why, err);
}

static void ewf_read_i_number_tables(ewf_read *image)
{
    uint64_t i, chunk = 0, kept = 0;
    for (i = 0; i < image->table_count; i++) { /* empty tables would break the search */
        if (image->tables[i].count == 0) {
            posio_release(&image->desc.alloc, image->tables[i].found);
            continue;
        }
        image->tables[kept] = image->tables[i];
        image->tables[kept].first = chunk;
        chunk += image->tables[kept].count;
        kept++;
    }
    image->table_count = kept;
    image->info.chunk_count = chunk;
}

static posio_result ewf_read_i_number(ewf_read *image, posio_error *err)
{
    const uint32_t n = image->segment_count;
    const ewf_read_i_gaps gaps = ewf_read_i_find_gaps(image);
    uint32_t i;
    uint64_t known = ewf_read_i_chunks_of(image, 0, image->table_count), total, bytes = 0;
    int measure = 0;
    posio_result r;
    for (i = 0; i < n; i++) {
        uint32_t gap = ewf_read_i_gap_before(image, i);
        if (gap != 0) ewf_read_i_warn_gap(image, image->segments[i].number - gap, gap);
    }
    if (n != 0 && image->segments[n - 1].complete && !image->segments[n - 1].ends_set)
        ewf_read_i_warn_gap(image, image->segments[n - 1].number + 1, 1);
    total = ewf_read_i_total(image, known, gaps.first <= gaps.last, &measure);
    r = ewf_read_i_place_tables(image, total, gaps, err);
    if (r != POSIO_OK) return r;
    ewf_read_i_number_tables(image);
    if (!posio_mul(image->info.chunk_count, image->info.chunk_size, &bytes) || bytes > INT64_MAX)
        return posio_fail(
            err, POSIO_E_DATA, POSIO_NO_OFFSET, "%llu chunks of %u bytes are more than 2^63 bytes",
            (unsigned long long)image->info.chunk_count, (unsigned)image->info.chunk_size);
    image->info.media_size = bytes;
    if (!measure) {
        image->info.media_size =
            posio_min(bytes, image->declared_sectors * image->info.sector_size);
    } else if (image->table_count != 0 && !image->tables[image->table_count - 1].missing) {
        uint64_t last;
        r = ewf_read_i_measure_last(image, &image->tables[image->table_count - 1], &last, err);
        if (r != POSIO_OK) return r;
        image->info.media_size = bytes - image->info.chunk_size + last;
    }
    image->info.sector_count = image->info.media_size / image->info.sector_size;
    if (measure && image->info.sector_count == image->declared_sectors &&
        image->declared_sectors != 0) /* the last chunk holds only a part of a sector */
        image->info.media_size = image->declared_sectors * image->info.sector_size;
    if (image->missing_chunks != 0)
        ewf_read_i_warn(
            image, 0, POSIO_NO_OFFSET, "%llu of %llu chunks are missing: the image is incomplete",
            (unsigned long long)image->missing_chunks, (unsigned long long)image->info.chunk_count);
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- opening

static posio_result ewf_read_i_add_segment(ewf_read *image, const posio_source *source,
                                           const char *name, uint32_t ordinal, posio_error *err)
{
    void *list = image->segments;
    size_t n = strlen(name);
    ewf_read_i_segment *s;
    if (!posio_grow(&image->desc.alloc, &list, image->segment_count, &image->segment_room,
                    sizeof *s))
        return ewf_read_i_no_memory(err);
    image->segments = (ewf_read_i_segment *)list;
    s = &image->segments[image->segment_count];
    memset(s, 0, sizeof *s);
    s->name = (char *)posio_allocate(&image->desc.alloc, n + 1);
    if (s->name == NULL) return ewf_read_i_no_memory(err);
    memcpy(s->name, name, n + 1);
    s->source = *source;
    s->ordinal = ordinal;
    image->segment_count++;
    return POSIO_OK;
}

static void ewf_read_i_drop_segment(ewf_read *image, uint32_t i)
{
    ewf_read_i_segment *s = &image->segments[i];
    if (s->owned) image->opener.close(image->opener.self, &s->source);
    posio_release(&image->desc.alloc, s->name);
    memmove(s, s + 1, (image->segment_count - i - 1) * sizeof *s);
    image->segment_count--;
}

static int ewf_read_i_segment_order(const void *a, const void *b)
{
    const ewf_read_i_segment *x = (const ewf_read_i_segment *)a;
    const ewf_read_i_segment *y = (const ewf_read_i_segment *)b;
    int x_wrong = x->ordinal != x->number, y_wrong = y->ordinal != y->number;
    if (x->number != y->number) return x->number < y->number ? -1 : 1;
    if (x_wrong != y_wrong) return x_wrong - y_wrong; /* the one under its own name first */
    return strcmp(x->name, y->name);
}

/* Orders the segments by their numbers; of duplicates the one that has the right name stays. */
static void ewf_read_i_order_segments(ewf_read *image)
{
    uint32_t i;
    if (image->segment_count > 1)
        qsort(image->segments, image->segment_count, sizeof *image->segments,
              ewf_read_i_segment_order);
    for (i = 1; i < image->segment_count;) {
        if (image->segments[i].number == image->segments[i - 1].number) {
            ewf_read_i_warn(image, image->segments[i].number, POSIO_NO_OFFSET,
                            "\"%s\" is a second file with segment number %u; \"%s\" is used",
                            image->segments[i].name, (unsigned)image->segments[i].number,
                            image->segments[i - 1].name);
            ewf_read_i_drop_segment(image, i);
        } else {
            i++;
        }
    }
    for (i = 0; i < image->segment_count; i++)
        if (image->segments[i].ordinal != 0 &&
            image->segments[i].ordinal != image->segments[i].number)
            ewf_read_i_warn(image, image->segments[i].number, 9,
                            "\"%s\" holds segment %u, by its name it would be %u; the header is "
                            "right",
                            image->segments[i].name, (unsigned)image->segments[i].number,
                            (unsigned)image->segments[i].ordinal);
}

static posio_result ewf_read_i_walk_segments(ewf_read *image, posio_error *err)
{
    uint32_t i;
    uint64_t k;
    posio_result r;
    /* The geometry first: tables mean nothing without it. It is near the start, unless damaged. */
    for (i = 0; i < image->segment_count && image->have_volume != 2; i++) {
        r = ewf_read_i_walk_segment(image, &image->segments[i], 1, err);
        if (r != POSIO_OK) return r;
    }
    image->holes.first = 1; /* none; the walk for the geometry does not count */
    image->holes.last = 0;
    for (i = 0; i < image->segment_count;) {
        ewf_read_i_segment *s = &image->segments[i];
        r = ewf_read_i_walk_segment(image, s, 0, err);
        if (r != POSIO_OK) return r;
        if (!s->foreign) {
            i++;
            continue;
        }
        ewf_read_i_warn(image, s->number, POSIO_NO_OFFSET,
                        "\"%s\" belongs to another image (its set identifier differs) and is not "
                        "used",
                        s->name);
        for (k = s->first_table; k < image->table_count; k++)
            posio_release(&image->desc.alloc, image->tables[k].found);
        image->table_count = s->first_table;
        ewf_read_i_drop_segment(image, i);
    }
    return POSIO_OK;
}

static posio_result ewf_read_i_make_caches(ewf_read *image, int of_chunks, posio_error *err)
{
    chunk_cache_desc d;
    memset(&d, 0, sizeof d);
    d.alloc = image->desc.alloc;
    if (!of_chunks) {
        d.bytes = 1 << 20;
        d.chunk_size = EWF_READ_I_PAGE * 4;
        return chunk_cache_create(&image->pages, &d, err);
    }
    d.bytes = image->desc.cache_bytes != 0 ? image->desc.cache_bytes : (uint64_t)32 << 20;
    if (image->info.chunk_size < 512) /* each costs the cache some 600 bytes, however small */
        d.bytes = d.bytes / 512 * image->info.chunk_size + 1;
    d.chunk_size = image->info.chunk_size;
    d.slack = DEFLATE_READ_SLACK;
    return chunk_cache_create(&image->chunks, &d, err);
}

/* All segments are there as sources: read their headers, walk them, number the chunks. */
static posio_result ewf_read_i_interpret(ewf_read *image, posio_error *err)
{
    posio_result r;
    ewf_read_i_order_segments(image);
    r = ewf_read_i_make_caches(image, 0, err);
    if (r == POSIO_OK) r = ewf_read_i_walk_segments(image, err);
    if (r != POSIO_OK) return r;
    if (image->segment_count == 0)
        return posio_fail(err, POSIO_E_DATA, POSIO_NO_OFFSET, "no usable segment");
    r = ewf_read_i_need_geometry(image, &image->segments[0], err);
    if (r == POSIO_OK) r = ewf_read_i_number(image, err);
    if (r == POSIO_OK) r = ewf_read_i_make_caches(image, 1, err);
    image->info.segment_count = image->segment_count;
    if (r == POSIO_OK && image->starved) r = ewf_read_i_no_memory(err);
    return r;
}

static posio_result ewf_read_i_create(ewf_read **out, const ewf_read_desc *desc, posio_error *err)
{
    ewf_read *image;
    if (desc != NULL &&
        (!posio_alloc_is_valid(&desc->alloc) || desc->on_damage > EWF_READ_DAMAGE_RAW))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "ewf_read: impossible desc");
    image = (ewf_read *)posio_allocate_zeroed(desc != NULL ? &desc->alloc : NULL, sizeof *image);
    if (image == NULL) return ewf_read_i_no_memory(err);
    if (desc != NULL) image->desc = *desc;
    if (image->desc.max_chunk_size == 0) image->desc.max_chunk_size = 128u << 20;
    /* An address space of 32 bits has room for eight of them at the most. */
    image->desc.max_chunk_size = (uint32_t)posio_min(image->desc.max_chunk_size, SIZE_MAX / 8);
    if (image->desc.max_tables == 0) image->desc.max_tables = 1u << 20;
    image->texts_left = EWF_READ_I_TEXTS;
    image->has_lock = thread_pool_mutex_init(&image->lock);
    *out = image;
    if (image->has_lock) return POSIO_OK;
    ewf_read_close(image);
    return ewf_read_i_no_memory(err);
}

/* The names of the folder that belong to the set of the name given. */
typedef struct ewf_read_i_names {
    ewf_read *image;
    const char *given;
    size_t stem;
    char family; /* e or s */
    char **name;
    uint64_t count, room;
    int out_of_memory;
    int given_is_listed; /* letter by letter; if not, the file system does not mind the case */
} ewf_read_i_names;

static int ewf_read_i_equal_folded(const char *a, const char *b, size_t n)
{
    size_t i;
    for (i = 0; i < n && ewf_read_i_lower(a[i]) == ewf_read_i_lower(b[i]); i++) {}
    return i == n;
}

static int ewf_read_i_collect(void *user, const char *name)
{
    ewf_read_i_names *l = (ewf_read_i_names *)user;
    void *list = l->name;
    size_t n = strlen(name), stem = 0;
    char *copy;
    l->given_is_listed |= strcmp(name, l->given) == 0;
    if (ewf_read_segment_of_name(name, &stem) == 0 || stem != l->stem ||
        !ewf_read_i_equal_folded(name, l->given, stem) || ewf_read_i_ordinal(name, l->family) == 0)
        return 0;
    copy = (char *)posio_allocate(&l->image->desc.alloc, n + 1);
    if (copy == NULL ||
        !posio_grow(&l->image->desc.alloc, &list, l->count, &l->room, sizeof *l->name)) {
        posio_release(&l->image->desc.alloc, copy);
        l->out_of_memory = 1;
        return 1;
    }
    memcpy(copy, name, n + 1);
    l->name = (char **)list;
    l->name[l->count++] = copy;
    return 0;
}

/* Is this listed name another file of the set? Where case matters the stems are equal and the given
   name is in the list; where it does not, the given name may be listed in another case. */
static int ewf_read_i_is_sibling(const ewf_read_i_names *l, const char *name)
{
    if (l->given_is_listed)
        return memcmp(name, l->given, l->stem) == 0 && strcmp(name, l->given) != 0;
    return !ewf_read_i_equal_folded(name, l->given, strlen(name));
}

/* x.raw, x.txt and x.zip have names of the scheme, too: beyond .E99 a file is only suspected to be
   a segment when the one before it is there. */
static int ewf_read_i_is_expected(const ewf_read_i_names *l, uint32_t ordinal)
{
    uint64_t i;
    if (ordinal < 100 || ewf_read_i_ordinal(l->given, l->family) == ordinal - 1) return 1;
    for (i = 0; i < l->count; i++)
        if (ewf_read_i_ordinal(l->name[i], l->family) == ordinal - 1) return 1;
    return 0;
}

/* Opens one file of the set. A sibling (l not NULL) that cannot be used is a warning, and so counts
   as absent (NOT_FOUND without a word); the file that the user named is an error. */
static posio_result ewf_read_i_open_segment(ewf_read *image, const char *name, uint32_t ordinal,
                                            const ewf_read_i_names *l, posio_error *err)
{
    posio_source source;
    posio_error why;
    uint32_t number = 0;
    posio_result r =
        image->opener.open(image->opener.self, name, POSIO_NAME_SIBLING, &source, &why);
    if (r == POSIO_OK) {
        r = ewf_read_i_file_header(&source, &number, &why);
        if (r != POSIO_OK) (void)posio_fail_in(&why, name, 0);
        else r = ewf_read_i_add_segment(image, &source, name, ordinal, &why);
        if (r == POSIO_OK) {
            image->segments[image->segment_count - 1].owned = 1;
            image->segments[image->segment_count - 1].number = number;
            return POSIO_OK;
        }
        image->opener.close(image->opener.self, &source);
    }
    if (l == NULL || r == POSIO_E_NOMEM || r == POSIO_E_NOT_FOUND) {
        if (err != NULL) *err = why;
        return r;
    }
    if (r == POSIO_E_FORMAT && !ewf_read_i_is_expected(l, ordinal)) return POSIO_OK;
    ewf_read_i_warn(image, ordinal, POSIO_NO_OFFSET, "\"%s\" cannot be used: %s", name,
                    why.message);
    return POSIO_OK;
}

/* Without a listing, names are tried one after the other, in the case of the name given, until four
   behind it are absent. */
static posio_result ewf_read_i_probe_names(ewf_read *image, const ewf_read_i_names *l,
                                           posio_error *err)
{
    char name[512];
    uint32_t i, family = l->family == 'e' ? 4 : 18, misses = 0;
    uint32_t given = ewf_read_i_ordinal(l->given, l->family);
    int upper = l->given[l->stem + 1] >= 'A' && l->given[l->stem + 1] <= 'Z';
    char a = upper ? 'A' : 'a';
    posio_result r = POSIO_OK;
    if (l->stem + 5 > sizeof name) return POSIO_OK;
    memcpy(name, l->given, l->stem);
    for (i = 1; i <= EWF_READ_I_LAST_SEGMENT && misses < 4 && r == POSIO_OK; i++) {
        uint32_t letters = i >= 100 ? i - 100 : 0;
        char *e = name + l->stem;
        if (family + letters / 676 > 25) break;
        e[0] = '.';
        e[1] = (char)(a + (int)(family + letters / 676));
        e[2] = i < 100 ? (char)('0' + i / 10) : (char)(a + (int)(letters / 26 % 26));
        e[3] = i < 100 ? (char)('0' + i % 10) : (char)(a + (int)(letters % 26));
        e[4] = 0;
        if (strcmp(name, l->given) == 0) continue;
        r = ewf_read_i_open_segment(image, name, i, l, err);
        misses = r == POSIO_E_NOT_FOUND ? misses + (i > given) : 0;
        if (r == POSIO_E_NOT_FOUND) r = POSIO_OK;
    }
    return r;
}

static posio_result ewf_read_i_open_siblings(ewf_read *image, const char *given, posio_error *err)
{
    ewf_read_i_names l;
    posio_result r = POSIO_OK;
    posio_error why;
    uint64_t i;
    memset(&l, 0, sizeof l);
    l.image = image;
    l.given = given;
    if (ewf_read_segment_of_name(given, &l.stem) == 0)
        return POSIO_OK; /* renamed: it stands alone */
    l.family = ewf_read_i_lower(given[l.stem + 1]) >= 's' ? 's' : 'e';
    if (image->opener.list == NULL) return ewf_read_i_probe_names(image, &l, err);
    if (image->opener.list(image->opener.self, ewf_read_i_collect, &l, &why) != POSIO_OK)
        r = ewf_read_i_probe_names(image, &l, err); /* a folder may be entered but not listed */
    else if (l.out_of_memory) r = ewf_read_i_no_memory(err);
    for (i = 0; i < l.count && r == POSIO_OK; i++) {
        if (!ewf_read_i_is_sibling(&l, l.name[i])) continue;
        r = ewf_read_i_open_segment(image, l.name[i], ewf_read_i_ordinal(l.name[i], l.family), &l,
                                    err);
        if (r == POSIO_E_NOT_FOUND) r = POSIO_OK;
    }
    for (i = 0; i < l.count; i++) posio_release(&image->desc.alloc, l.name[i]);
    posio_release(&image->desc.alloc, l.name);
    return r;
}

static posio_result ewf_read_i_open_set(ewf_read *image, const char *name, posio_error *err)
{
    size_t stem = 0;
    uint32_t ordinal = ewf_read_segment_of_name(name, &stem);
    posio_result r;
    if (ordinal != 0)
        ordinal = ewf_read_i_ordinal(name, ewf_read_i_lower(name[stem + 1]) >= 's' ? 's' : 'e');
    r = ewf_read_i_open_segment(image, name, ordinal, NULL, err);
    if (r == POSIO_OK) r = ewf_read_i_open_siblings(image, name, err);
    return r == POSIO_OK ? ewf_read_i_interpret(image, err) : r;
}

EWF_READ_API posio_result ewf_read_open_with(ewf_read **out, const posio_opener *opener,
                                             const char *name, const ewf_read_desc *desc,
                                             posio_error *err)
{
    ewf_read *image = NULL;
    posio_result r = ewf_read_i_create(&image, desc, err);
    if (r != POSIO_OK) return r;
    image->opener = *opener;
    r = ewf_read_i_open_set(image, name, err);
    if (r == POSIO_OK) *out = image;
    else ewf_read_close(image);
    return r;
}

EWF_READ_API posio_result ewf_read_open_sources(ewf_read **out, const posio_source *segments,
                                                uint32_t count, const ewf_read_desc *desc,
                                                posio_error *err)
{
    ewf_read *image = NULL;
    char name[32];
    uint32_t i, number = 0;
    posio_result r = ewf_read_i_create(&image, desc, err);
    if (r != POSIO_OK) return r;
    if (count == 0) r = posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "ewf_read: no segments");
    for (i = 0; i < count && r == POSIO_OK; i++) {
        posio_format(name, sizeof name, "source %u", (unsigned)(i + 1));
        r = ewf_read_i_file_header(&segments[i], &number, err);
        if (r != POSIO_OK) (void)posio_fail_in(err, name, 0);
        else r = ewf_read_i_add_segment(image, &segments[i], name, 0, err);
        if (r == POSIO_OK) image->segments[image->segment_count - 1].number = number;
    }
    if (r == POSIO_OK) r = ewf_read_i_interpret(image, err);
    if (r == POSIO_OK) *out = image;
    else ewf_read_close(image);
    return r;
}

EWF_READ_API posio_result ewf_read_open(ewf_read **out, const char *path, const ewf_read_desc *desc,
                                        posio_error *err)
{
#ifdef POSIO_NO_FILES
    (void)out;
    (void)path;
    (void)desc;
    return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET, "built with POSIO_NO_FILES");
#else
    posio_folder_desc folder;
    ewf_read *image = NULL;
    posio_result r = ewf_read_i_create(&image, desc, err);
    if (r != POSIO_OK) return r;
    memset(&folder, 0, sizeof folder);
    folder.max_open = image->desc.max_open;
    folder.alloc = image->desc.alloc;
    r = posio_folder_open(&image->folder, path, &folder, err);
    if (r == POSIO_OK) {
        image->opener = posio_folder_opener(image->folder);
        r = ewf_read_i_open_set(image, path + posio_path_folder(path), err);
    }
    if (r == POSIO_OK) *out = image;
    else ewf_read_close(image);
    return r;
#endif
}

EWF_READ_API void ewf_read_close(ewf_read *image)
{
    posio_alloc a;
    uint64_t i;
    if (image == NULL) return;
    a = image->desc.alloc;
    chunk_cache_destroy(image->chunks);
    chunk_cache_destroy(image->pages);
    while (image->segment_count != 0) ewf_read_i_drop_segment(image, image->segment_count - 1);
    for (i = 0; i < image->table_count; i++) posio_release(&a, image->tables[i].found);
    while (image->idle != NULL) {
        ewf_read_i_scratch *s = image->idle;
        image->idle = s->next;
        posio_release(&a, s);
    }
    for (i = 0; i < EWF_READ_TEXT_COUNT; i++) ewf_read_i_free_const(&a, image->info.text[i]);
    ewf_read_i_free_const(&a, image->info.acquisition_errors);
    ewf_read_i_free_const(&a, image->info.sessions);
    posio_release(&a, image->segments);
    posio_release(&a, image->tables);
    posio_release(&a, image->warnings);
    posio_release(&a, image->damages);
#ifndef POSIO_NO_FILES
    posio_folder_close(image->folder);
#endif
    if (image->has_lock) thread_pool_mutex_destroy(&image->lock);
    posio_release(&a, image);
}

// ---------------------------------------------------------------------------------- inspection

EWF_READ_API const ewf_read_metadata *ewf_read_info(const ewf_read *image) { return &image->info; }

EWF_READ_API const char *ewf_read_text_name(uint32_t which)
{
    static const char *const names[EWF_READ_TEXT_COUNT] = {
        "case_number", "evidence_number", "description",   "examiner",         "notes",
        "model",       "serial_number",   "device_label",  "software_version", "software_os",
        "acquired",    "system_date",     "password_hash", "process_id",       "extents",
        "compression"};
    return which < EWF_READ_TEXT_COUNT ? names[which] : NULL;
}

EWF_READ_API posio_result ewf_read_get_warning(ewf_read *image, uint32_t i, ewf_read_warning *out)
{
    posio_result r = POSIO_E_RANGE;
    thread_pool_lock(&image->lock);
    if (i < image->warning_count) {
        *out = image->warnings[i];
        r = POSIO_OK;
    }
    thread_pool_unlock(&image->lock);
    return r;
}

EWF_READ_API posio_result ewf_read_get_damage(ewf_read *image, uint32_t i, ewf_read_damage *out)
{
    posio_result r = POSIO_E_RANGE;
    thread_pool_lock(&image->lock);
    if (i < image->damage_count) {
        *out = image->damages[i];
        r = POSIO_OK;
    }
    thread_pool_unlock(&image->lock);
    return r;
}

#undef EWF_READ_I_SETTLE_KEY
#elif defined(EWF_READ_IMPLEMENTATION) && EWF_READ_I_IMPLEMENTED < 100
#error "ewf_read.h: the functions of an older copy came first; include the newest header first"
#endif
