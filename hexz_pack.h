/* hexz_pack.h - pack, read, inspect and verify a seekable deduplicated archive of one disk image.
   SPDX-License-Identifier: MIT OR Unlicense

   QUICK START

       #define HEXZ_PACK_IMPLEMENTATION
       #define THREAD_POOL_IMPLEMENTATION
       #include "hexz_pack.h"
       #include <stdio.h>

       int main(int argc, char **argv)
       {
           static hexz_pack_desc desc; // all zero: a complete default
           hexz_pack_writer *w = NULL;
           hexz_pack *archive = NULL;
           posio_file *file = NULL;
           posio_error err;
           posio_source image;
           posio_result r;
           if (argc < 3) return puts("usage: program IMAGE ARCHIVE"), 2;
           r = posio_file_open(&file, argv[1], NULL, &err);
           if (r != POSIO_OK) return printf("%s: %s\n", argv[1], err.message), 2;
           image = posio_file_source(file);
           desc.pool = thread_pool_create(0);
           r = hexz_pack_begin(&w, argv[2], &desc, &err);
           if (r == POSIO_OK) r = hexz_pack_append_source(w, &image, &err);
           if (r == POSIO_OK) r = hexz_pack_finish(w, NULL, &err);
           else hexz_pack_abort(w);
           if (r == POSIO_OK) r = hexz_pack_open(&archive, argv[2], &desc, &err);
           if (r == POSIO_OK) r = hexz_pack_verify(archive, NULL, NULL, NULL, &err);
           if (r != POSIO_OK) printf("%s: %s\n", argv[2], err.message);
           hexz_pack_close(archive);
           posio_file_close(file);
           return thread_pool_destroy(desc.pool) != POSIO_OK || r != POSIO_OK;
       }

   BUILDING
     cc -O2 -pthread program.c -lzstd, with dist/hexz_pack.h beside it, or with this file and what
     it includes: posio.h, thread_pool.h, chunk_cache.h and digest.h. THREAD_POOL_IMPLEMENTATION is
     for files that make a pool; without one all is done by the thread that calls. Who only reads
     needs hexz_pack_open, hexz_pack_info (sums.size), hexz_pack_read_at and hexz_pack_close.

   WHAT IT DOES NOT DO
     One image in one archive: no folders, no archives that build on another one, no signatures and
     no repair; the format has room for them. No encryption. It has no codec of its own: it needs
     <zstd.h> and -lzstd, 1.4.0 or later, of whose API it uses the stable part, and for LZ4
     <lz4.h>, <lz4hc.h> and -llz4. `.hxz` files of the hexz tool are recognised, and refused.
     Chunks are the same when their BLAKE3 is: bytes are not compared.

   OPTIONS  (define before the first include; each works alone)
     HEXZ_PACK_IMPLEMENTATION    the functions too: in exactly one .c or .cpp
     HEXZ_PACK_STATIC            a private copy with internal linkage, for this file only
     HEXZ_PACK_API               how public functions are declared (default: nothing)
     HEXZ_PACK_LZ4               LZ4 chunks, by liblz4; without it they are refused by name
     THREAD_POOL_NO_THREADS      no locks, no threads: one thread may use a handle at a time

   THREADS
     A writer belongs to one thread at a time. An archive that is open may be used by any number of
     threads at once; only close wants it alone. No thread is started: the pool lent in the desc is
     used, if any. The archive, what is read from it, and errors are the same for any number of
     threads. What flows through desc.memory is cut in parts of some 128 KiB, of whole chunks: work
     for that many threads.

   MEMORY
     T threads, chunks of at most M bytes (desc.chunk_max):
     writing   700 KiB. In flight: n x 2.02 x (b + M), where n = 2 T + 2 slots, of b = 4 M of input
               each, but 256 KiB at least and 1 MiB at most, and 300 bytes for each of desc.chunks
               (1,000), at most 4,096 a slot; less of all, but one slot of 2.02 x M, where
               desc.memory (256 MiB) or desc.chunks are too little for that. hexz_pack_append: n x b
               more.
               Index: 60 to 110 bytes for each chunk that is stored (what holds them is doubled from
               time to time), 8 for one that is not. At 64 KiB a chunk, 0.9 to 1.7 GB for a TB
               without any duplicates.
               Contexts of the codec, one for each thread: zstd as the level needs (3: 1.5 MiB),
               LZ4 16 KiB, LZ4 HC 256 KiB.
     reading   6 KiB, 64 bytes for each 512 entries, checked against desc.index_max (256 MiB)
               before, and the metadata; a cache of 37 KB pages of the index (desc.index_cache,
               16 MiB), and one of decoded chunks (desc.cache_bytes, 64 MiB), where each takes M
               bytes and 128, 640 at least: four times the average of content-defined ones. Either
               holds one at least, and for each thread that reads one more while it is decoded. A
               decoder (160 KiB) and a stored chunk for each thread.
     verifying for each thread a decoded chunk more; 2 T + 2 pages of 45 KB; 4 bytes for each entry,
               which are no more than its bytes in the file; with HEXZ_PACK_REMEMBER one bit.
     Contexts are libzstd's and liblz4's, from malloc; all else is desc.alloc's.

   ERRORS
     FORMAT (not an archive), UNSUPPORTED (refused by name: a later version, an unknown feature or
     hash, .hxz, no LZ4 here), DATA (damaged), LIMIT (index_max, chunk sizes, too many frames for a
     seek table), SPACE, EXISTS, ACCESS, IO (of the sink or source), RANGE, NOMEM, CANCELED. Errors
     of reading carry the offset in the archive, and name the chunk and its offset in the content
     (of a duplicate, its original's). Errors of writing carry the offset in the content; those of a
     source that is packed, the one in the source. They are the same for any number of threads:
     where a source cannot be read, the error is that of the fixed chunk, or with content-defined
     ones of the block of 4 KiB, that cannot, and all chunks that end before are written.
     A writer that has failed stays failed (not by what a call refuses to begin; it says so): every
     later call gives the first error again, and hexz_pack_finish writes nothing. hexz_pack_abort,
     and a finish that fails, remove NAME.part; what was NAME before is as it was.

   CHUNKS
     HEXZ_PACK_CDC      content-defined, so that what moved is still found: a gear hash rolls over
                        the bytes (64 bits: h = 2 h + table[byte]), and a chunk ends behind a byte
                        where certain bits of it are zero. More bits are asked for below chunk_avg
                        and fewer above (normalisation), none below chunk_min; at chunk_max it ends
                        in any case. The hash is that of the last 64 bytes, wherever the chunk
                        begins. FastCDC: Xia et al., USENIX ATC 2016, and IEEE TPDS 31(9), 2020.
     HEXZ_PACK_FIXED    chunk_avg bytes each, counted from the beginning of the content.
     (Both begin anew behind a chunk that the caller has cut.)
     A chunk of zeros is not stored, nor is a run of zeros that the source knows of (extent_at),
     which is not even read: with fixed chunks the archive is the same either way; content-defined
     chunks begin anew behind such a run.

   THE FORMAT  (RFC 8878: ZSTD; zstd's contrib/seekable_format/zstd_seekable_compression_format.md:
                SEEK; LZ4's doc/lz4_Block_format.md: LZ4; numbers are little-endian)

     A stream of zstd frames and skippable frames, written from front to back. What zstd makes of
     it: `zstd -d` restores all stored chunks, in order. That is the content, if it has no duplicate
     chunks, no chunks of zeros and none by LZ4; the seek table at the end then gives any reader of
     the seekable format random access.

     superblock | group | group | ... | page | page | ... | directory | trailer | seek table
     group      chunk | chunk | ... | table: what the last 512 entries at most say of them

     All but chunks and the seek table are skippable frames, magic 184d2a5a, and begin and end so:
        0 u32 184d2a5a  4 u32 bytes that follow  8 tag, 4 characters ... u32 CRC-32C of all before

     superblock, 128 bytes
        8 "HXPS"           12 "ARCHIVE\0"        20 u16 version, 1    22 u16 minor version, 0
       24 u32 required     28 u32 optional       32 u8 hash, 4        33 u8 chunker, 1 fixed, 2 CDC
       34 u8 codec, 0 zstd 1 LZ4 2 LZ4 HC 3 none 35 u8 0              36 i32 level
       40 u32 chunk_min    44 u32 chunk_avg      48 u32 chunk_max     52 16 bytes: the archive's id
       68 56 bytes of 0   124 u32 CRC-32C
       An archive with a required feature that is not known is refused; an optional one is ignored.
       Required: 1 = LZ4 chunks. Kept free: 2 = folders, 4 = chunks in a base archive, named by its
       root, 8 = encryption. Optional, kept free: 1 = signatures. What optional features need are
       frames like these, with tags of their own, between directory and trailer: only their form,
       their CRC-32C and their entries in the seek table are verified. The hash is BLAKE3. Minor
       versions add what may be ignored. chunk_min <= chunk_avg <= chunk_max; none is 0.

     chunk      zstd   one frame with its content size, no checksum, no dictionary, and a window of
                       at most chunk_max bytes or 1 KiB
                raw    a frame of one segment whose blocks are not compressed, 128 KiB but the last
                LZ4    a skippable frame, magic 184d2a5b, that holds one LZ4 block

     entry      what the content is made of, in order, and numbered from 0: a run of zeros; a
                duplicate of a stored chunk before it; or a chunk that is stored.

     table      and page, which is the same, byte for byte. All but the last have 512 entries.
                Columns, each for all entries that it concerns; a varint has 7 bits in a byte, the
                lowest first, bit 7: more follow; it is as short as it can be.
        8 "HXPT"           12 u32 n: entries, 1 to 512             16 u32 m: of them stored
       20 u64 number of the first entry                            28 u64 its offset in the content
       36 u64 offset in the file of the first chunk of the group, or of this table if m is 0
       44 n u8 kinds: 0 zeros 1 duplicate 2 raw 3 zstd 4 LZ4
          n varints: bytes of content; at most chunk_max, but for zeros
          n - m - zeros varints: how many entries before this one its original is
          m varints: bytes of the chunk's frame                       m u32: CRC-32C of the frame
          m 32-byte hashes: BLAKE3 of the content                     u32 CRC-32C

     directory  of the pages, which lie behind each other and end where it begins
        8 "HXPD"           12 u32 p: pages       16 u64 bytes of content
       24 u64 entries      32 u64 stored         40 u64 duplicates    48 u64 bytes of zeros
       56 u64 bytes of duplicates                64 u64 bytes of the stored chunks' content
       72 u64 bytes of their frames              80 u32 k: items of metadata
       84 p x 56 bytes: u64 offset in the content, u64 of the group's table in the file,
          u32 bytes of the page, u32 entries, 32 bytes: BLAKE3 of the page
          k x (u32 bytes of key, u32 of value, key, value)            u32 CRC-32C

     trailer, 80 bytes, directly before the seek table
        8 "HXPE"           12 u32 0              16 u64 offset of the directory
       24 u64 bytes of it  32 root, 32 bytes     64 12 bytes of 0     76 u32 CRC-32C

     root       BLAKE3 of: "hexz_pack root" and 18 bytes of 0; the superblock; the directory. By the
                hashes of pages, and in them of chunks, it is that of every byte of the content; all
                that it does not cover follows from what it covers: stored bytes by their CRC-32C,
                tables from pages, the trailer, and the seek table. So verifying finds each bit that
                is wrong, and who trusts the root trusts the content.

     seek table SEEK without checksums, one entry for each frame before it, skippable ones too:
                u32 184d2a5e, u32 size; u32 stored, u32 content; ...; u32 frames, u8 0, u32 8f92eab1

     Limits     a chunk 16 MiB, 512 entries a page, 2^27 frames, 65,536 items of metadata with
                16 MiB in all, keys of 1 to 255 bytes; the content 2^63 - 1 bytes. */

#if defined(HEXZ_PACK_STATIC) && !defined(HEXZ_PACK_IMPLEMENTATION)
#define HEXZ_PACK_IMPLEMENTATION
#endif
#if defined(HEXZ_PACK_IMPLEMENTATION)
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

#ifndef CHUNKWISE_HEXZ_PACK_H
#define CHUNKWISE_HEXZ_PACK_H

#define HEXZ_PACK_VERSION 100 /* 1.0.0 */

#include <stddef.h>
#include <stdint.h>

struct chunkwise_pool;

#if defined(HEXZ_PACK_STATIC)
#define HEXZ_PACK_I_STATIC
#endif
#ifndef HEXZ_PACK_API
#if !defined(HEXZ_PACK_STATIC)
#define HEXZ_PACK_API
#elif defined(__GNUC__) || defined(__TINYC__)
#define HEXZ_PACK_API static __attribute__((unused))
#else
#define HEXZ_PACK_API static
#endif
#endif

/* ------------------------------------------------------------------ essential */

typedef struct hexz_pack hexz_pack;               /* an archive that is read */
typedef struct hexz_pack_writer hexz_pack_writer; /* one that is being written */

/* How chunks are compressed; stored in the superblock. */
enum {
    HEXZ_PACK_CODEC_ZSTD = 0,
    HEXZ_PACK_CODEC_LZ4 = 1,
    HEXZ_PACK_CODEC_LZ4HC = 2,
    HEXZ_PACK_CODEC_NONE = 3 /* not at all */
};
/* Where they are cut. */
enum {
    HEXZ_PACK_AUTO = 0, /* HEXZ_PACK_CDC */
    HEXZ_PACK_FIXED = 1,
    HEXZ_PACK_CDC = 2
};
/* What an entry is. */
enum {
    HEXZ_PACK_ZERO = 0,      /* a run of zeros; not stored */
    HEXZ_PACK_DUPLICATE = 1, /* of a chunk before it */
    HEXZ_PACK_RAW = 2,       /* stored as it is: it would not become smaller */
    HEXZ_PACK_ZSTD = 3,
    HEXZ_PACK_LZ4_BLOCK = 4,
    HEXZ_PACK_KINDS = 5
};
/* Flags. */
enum {
    HEXZ_PACK_FORCE = 1,      /* begin: an existing NAME is replaced by finish */
    HEXZ_PACK_NO_SYNC = 2,    /* begin: finish does not wait for the device */
    HEXZ_PACK_FIND_ZEROS = 4, /* process: chunks of zeros are neither hashed nor compressed */
    HEXZ_PACK_REMEMBER = 8    /* open: what reading finds good, verifying does not decode again */
};
enum { HEXZ_PACK_CHUNK_MAX = 16 << 20, HEXZ_PACK_SIZES = 25 };
#define HEXZ_PACK_NONE UINT64_MAX /* no entry, no offset, unknown */

/* Opaque to this library, stored and covered by the root: what a case needs to be told. */
typedef struct hexz_pack_item {
    const char *key; /* UTF-8, 1 to 255 bytes without a 0; hostile when read from an archive */
    const void *value;
    size_t size; /* of the value, behind which a reader finds a 0 more */
} hexz_pack_item;

/* For all functions; each looks at what concerns it. NULL or all zero is a complete default. */
typedef struct hexz_pack_desc {
    struct chunkwise_pool *pool; /* lent; NULL = the calling thread */
    /* Writing. */
    uint32_t codec;                /* HEXZ_PACK_CODEC_... */
    int32_t level;                 /* zstd: negative ones too, 0 = 3; LZ4 HC: 2 to 12, 0 = 9 */
    uint32_t chunker;              /* HEXZ_PACK_FIXED or _CDC */
    uint32_t chunk_avg;            /* bytes; 0 = 64 KiB. CDC: a power of two, 256 bytes to 4 MiB */
    uint32_t chunk_min, chunk_max; /* CDC; 0 = a quarter, and four times chunk_avg. 64 bytes <= min
                                      <= avg <= max <= 16 MiB. FIXED: both 0 or chunk_avg. */
    uint32_t chunks;               /* in flight, at most; 0 = 1,000 */
    uint64_t memory;               /* bytes in flight, soft by one slot; 0 = 256 MiB */
    uint32_t flags;                /* HEXZ_PACK_FORCE ... */
    uint8_t id[16]; /* of the archive, of your choice; 0 makes equal content equal archives */
    /* Reading. */
    uint32_t read_chunk_max; /* bytes of the largest chunk; 0 = 16 MiB, what the format allows */
    uint64_t cache_bytes;    /* of decoded chunks; 0 = 64 MiB */
    uint64_t index_cache;    /* bytes of decoded pages; 0 = 16 MiB */
    uint64_t index_max;      /* bytes of the largest directory; 0 = 256 MiB */
    /* append_stream, append_source, append, verify: on the calling thread; `done` bytes of the
       content are through, total is HEXZ_PACK_NONE where it is not known. Non-zero cancels. */
    int (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
    posio_alloc alloc;
} hexz_pack_desc;

/* Sums over all entries: of what was written, and of what is in an archive by its directory. */
typedef struct hexz_pack_stats {
    uint64_t size;               /* bytes of content */
    uint64_t entries;            /* runs of zeros, duplicates and stored chunks */
    uint64_t stored, duplicates; /* of them */
    uint64_t zero_bytes;         /* of content: in runs of zeros, */
    uint64_t duplicate_bytes;    /* in duplicates, */
    uint64_t unique_bytes;       /* and in stored chunks */
    uint64_t stored_bytes;       /* in their frames */
    uint64_t file_size;          /* of the archive */
    uint8_t root[32];
} hexz_pack_stats;

#ifdef __cplusplus
extern "C" {
#endif

/* Begins an archive at path (UTF-8): it is written to NAME.part, which becomes NAME in
   hexz_pack_finish. POSIO_E_EXISTS unless desc.flags has HEXZ_PACK_FORCE; a device or a pipe is
   written straight to. POSIO_E_ARG for an impossible desc, POSIO_E_UNSUPPORTED for LZ4 in a build
   without. End *out by hexz_pack_finish or hexz_pack_abort, in any case.
   Threads: any. Allocates: open. Blocks: I/O. */
HEXZ_PACK_API posio_result hexz_pack_begin(hexz_pack_writer **out, const char *path,
                                           const hexz_pack_desc *desc, posio_error *err);

/* The same to a sink, from front to back; it is borrowed until the writer ends, and what to do with
   it then, good or bad, is the caller's.
   Threads: any. Allocates: open. Blocks: I/O. */
HEXZ_PACK_API posio_result hexz_pack_begin_sink(hexz_pack_writer **out, const posio_sink *sink,
                                                const hexz_pack_desc *desc, posio_error *err);

/* Appends bytes to the content. How they are dealt out among calls makes no difference, nor does it
   with the following two: they are gathered, and packed when there are enough.
   Threads: one per handle. Allocates: yes. Blocks: workers. */
HEXZ_PACK_API posio_result hexz_pack_append(hexz_pack_writer *w, const void *data, size_t n,
                                            posio_error *err);

/* Appends all of a stream. Threads: one per handle. Allocates: yes. Blocks: workers. */
HEXZ_PACK_API posio_result hexz_pack_append_stream(hexz_pack_writer *w, const posio_stream *stream,
                                                   posio_error *err);

/* Appends all of a source: a file, or the logical media of an image. Runs of zeros that its
   extent_at knows of are not read. With fixed chunks its bytes are read by the pool's threads. A
   source that ends before its size gives its error, as one that shrinks while it is read does.
   POSIO_E_LIMIT for more than 2^63 - 1 bytes of content in all, which does not spoil the writer.
   Threads: one per handle. Allocates: yes. Blocks: workers. */
HEXZ_PACK_API posio_result hexz_pack_append_source(hexz_pack_writer *w, const posio_source *source,
                                                   posio_error *err);

/* Appends a chunk that the caller has cut: 1 to chunk_max bytes (of a fixed chunker: its size, or
   less for the last); bytes that wait for an end of their chunk become one first. POSIO_E_ARG for
   another size, which does not spoil the writer.
   Threads: one per handle. Allocates: yes. Blocks: workers. */
HEXZ_PACK_API posio_result hexz_pack_append_chunk(hexz_pack_writer *w, const void *data, size_t n,
                                                  posio_error *err);

/* Adds an item of metadata, at any time before finish; key and value are copied. Items are stored
   in the order added, keys may repeat. POSIO_E_ARG for an impossible key, POSIO_E_LIMIT when there
   are too many; neither spoils the writer.
   Threads: one per handle. Allocates: yes. Blocks: no. */
HEXZ_PACK_API posio_result hexz_pack_add_item(hexz_pack_writer *w, const hexz_pack_item *item,
                                              posio_error *err);

/* How far it is; *out is complete but for file_size and root until finish.
   Threads: one per handle. Allocates: no. Blocks: no. */
HEXZ_PACK_API void hexz_pack_so_far(const hexz_pack_writer *w, hexz_pack_stats *out);

/* Completes the archive and frees w, whatever it returns. stats may be NULL; it is untouched on
   failure. Threads: exclusive. Allocates: yes. Blocks: workers. */
HEXZ_PACK_API posio_result hexz_pack_finish(hexz_pack_writer *w, hexz_pack_stats *stats,
                                            posio_error *err);

/* Gives up: frees w and removes NAME.part; NULL is fine.
   Threads: exclusive. Allocates: yes (on Windows). Blocks: I/O. */
HEXZ_PACK_API void hexz_pack_abort(hexz_pack_writer *w);

/* Opens the archive at path (UTF-8). Superblock, trailer, directory and root are checked, and that
   they fit to the file; pages of the index are read and checked when they are needed. On success
   close *out yourself. Threads: any. Allocates: open. Blocks: I/O. */
HEXZ_PACK_API posio_result hexz_pack_open(hexz_pack **out, const char *path,
                                          const hexz_pack_desc *desc, posio_error *err);

/* The same for a source, which is borrowed until close.
   Threads: any. Allocates: open. Blocks: I/O. */
HEXZ_PACK_API posio_result hexz_pack_open_source(hexz_pack **out, const posio_source *source,
                                                 const hexz_pack_desc *desc, posio_error *err);

/* Reads n bytes of the content at offset into buf; POSIO_E_RANGE beyond its end; on failure buf
   holds anything. A chunk is decoded as a whole, and its BLAKE3 compared, once for all threads that
   want it, and kept in the cache; chunks that lie completely within a range of 256 KiB or more are
   decoded side by side straight into buf and pass by the cache, but for duplicates of which there
   are many. A duplicate costs a page of the index, too, if its original's is not in the cache:
   desc.index_cache.
   Threads: any. Allocates: yes (up to the bounds above). Blocks: workers. */
HEXZ_PACK_API posio_result hexz_pack_read_at(hexz_pack *archive, uint64_t offset, void *buf,
                                             size_t n, posio_error *err);

/* The content as a positioned source; it borrows the archive. Extents: POSIO_EXTENT_ZERO for runs
   of zeros, else POSIO_EXTENT_COMPRESSED. Threads: any. Allocates: no. Blocks: no. */
HEXZ_PACK_API posio_source hexz_pack_source(hexz_pack *archive);

/* Closes; NULL is fine. Nothing may be reading. Threads: exclusive. Allocates: no. Blocks: I/O. */
HEXZ_PACK_API void hexz_pack_close(hexz_pack *archive);

/* ------------------------------------------------------------------ essential: verifying */

/* Something that is wrong. */
typedef struct hexz_pack_fault {
    uint64_t entry;        /* number of the chunk; HEXZ_PACK_NONE: a structure */
    uint64_t offset, size; /* bytes of the content that it spoils; size may be 0 */
    uint64_t file_offset;  /* in the archive: where the chunk or structure begins, or the byte */
    const char *what;      /* "chunk", "a page of the index" ...: which structure */
    const char *reason;    /* valid during the call, as `what`; no text of the archive in it */
    posio_result code;     /* POSIO_E_DATA, or POSIO_E_IO ... where it cannot be read */
    uint32_t reserved;
} hexz_pack_fault;

typedef struct hexz_pack_verdict {
    uint64_t chunks; /* stored ones that were decoded and compared */
    uint64_t bytes;  /* of their content */
    uint64_t faults;
    uint64_t bad_entries, bad_bytes; /* of content, duplicates of a damaged chunk included, and all
                                        of a page that is lost */
} hexz_pack_verdict;

/* Reads the whole file: every page and table, the CRC-32C of every frame and the BLAKE3 of every
   chunk, what entries refer to, the sums of the directory, the seek table, and that there is
   nothing else in the file; superblock, directory, trailer and the end of the seek table are those
   that were read and checked when it was opened. Goes on behind faults; each is told to `fault`, if
   that is not NULL, by one thread at a time (any): non-zero stops, POSIO_E_CANCELED. They come in
   the order of the content, group by group, chunks, then the table and its page; then those of the
   directory, of what follows it, and of the seek table, one at most. Returns POSIO_OK, or the
   result of the first fault, and err is about that one. verdict (may be NULL) is filled in either
   case. The time is linear in the size of the file. Chunks that reads of this archive have found
   good, if it was opened with HEXZ_PACK_REMEMBER, CRC-32C and BLAKE3, are not read again, and count
   as compared: who wants a digest of the content as well, reads first and verifies then.
   Threads: any. Allocates: yes. Blocks: workers. */
HEXZ_PACK_API posio_result hexz_pack_verify(hexz_pack *archive,
                                            int (*fault)(void *user, const hexz_pack_fault *fault),
                                            void *user, hexz_pack_verdict *verdict,
                                            posio_error *err);

/* ------------------------------------------------------------------ inspection */

typedef struct hexz_pack_metadata {
    hexz_pack_stats sums; /* what the directory says, and the root */
    uint32_t version, minor_version;
    uint32_t required, optional; /* features */
    uint32_t codec;              /* HEXZ_PACK_CODEC_... */
    int32_t level;               /* never 0 for zstd and LZ4 HC */
    uint32_t chunker, chunk_min, chunk_avg, chunk_max;
    uint32_t items;
    uint64_t pages;
    uint64_t index_offset, directory_offset; /* in the file */
    uint8_t id[16];
} hexz_pack_metadata;

/* An entry: a chunk, or a run of zeros. */
typedef struct hexz_pack_entry {
    uint64_t number;
    uint64_t offset, size; /* in the content */
    uint32_t kind;         /* HEXZ_PACK_ZERO ... */
    uint32_t crc;          /* of the frame; stored ones only, as the next two */
    uint64_t file_offset;  /* of the frame; HEXZ_PACK_NONE: not stored */
    uint32_t stored_size;  /* bytes of the frame */
    uint32_t reserved;
    uint64_t original; /* DUPLICATE: number of the entry that is stored; else HEXZ_PACK_NONE */
    uint8_t hash[32];  /* BLAKE3; of a duplicate see its original, 0 for zeros */
} hexz_pack_entry;

/* Index n of sizes counts chunks of 2^n to 2^(n + 1) - 1 bytes. */
typedef struct hexz_pack_picture {
    uint64_t count[HEXZ_PACK_KINDS];        /* entries of each kind */
    uint64_t bytes[HEXZ_PACK_KINDS];        /* their content */
    uint64_t stored_bytes[HEXZ_PACK_KINDS]; /* their frames */
    uint64_t stored_sizes[HEXZ_PACK_SIZES], duplicate_sizes[HEXZ_PACK_SIZES];
    uint64_t smallest, largest; /* stored chunk; 0 if there is none */
    uint64_t index_bytes;       /* of the file that are neither chunks nor the seek table */
} hexz_pack_picture;

/* All in one; valid until close. Threads: any. Allocates: no. Blocks: no. */
HEXZ_PACK_API const hexz_pack_metadata *hexz_pack_info(const hexz_pack *archive);

/* The i-th item of metadata, valid until close; POSIO_E_RANGE behind the last.
   Threads: any. Allocates: no. Blocks: no. */
HEXZ_PACK_API posio_result hexz_pack_item_at(const hexz_pack *archive, uint32_t i,
                                             hexz_pack_item *out);

/* The entry of that number; POSIO_E_RANGE behind the last.
   Threads: any. Allocates: yes (a page of the index). Blocks: I/O. */
HEXZ_PACK_API posio_result hexz_pack_entry_at(hexz_pack *archive, uint64_t number,
                                              hexz_pack_entry *out, posio_error *err);

/* The entry that holds this offset of the content; POSIO_E_RANGE at its end and behind.
   Threads: any. Allocates: yes (a page of the index). Blocks: I/O. */
HEXZ_PACK_API posio_result hexz_pack_find(hexz_pack *archive, uint64_t offset, hexz_pack_entry *out,
                                          posio_error *err);

/* Looks at every page of the index, and no chunk.
   Threads: any. Allocates: yes (pages of the index). Blocks: I/O. */
HEXZ_PACK_API posio_result hexz_pack_inspect(hexz_pack *archive, hexz_pack_picture *out,
                                             posio_error *err);

/* Do these bytes begin with a superblock? OK: it can be opened, if it is whole. UNSUPPORTED: a
   later version, an unknown feature, or a .hxz file. FORMAT: something else. DATA: a superblock
   that is damaged. Threads: any. Allocates: no. Blocks: I/O. */
HEXZ_PACK_API posio_result hexz_pack_probe(const posio_source *source, posio_error *err);

/* ------------------------------------------------------------------ advanced: the pipeline */

/* What one call of `next` gets and gives. */
typedef struct hexz_pack_feed {
    unsigned char *data; /* where the chunk begins; its first `have` bytes are there already */
    size_t room;         /* bytes at data, chunk_max at least */
    size_t have;         /* in: left by the last call; out: what is there now */
    size_t size;         /* out: bytes of the chunk, at most chunk_max; 0 (and no zeros): the end */
    uint64_t zeros;      /* out, instead: a run of zeros, which takes no room; `have` must be 0 */
    uint32_t later;      /* out: data is not there yet, `load` fetches it; `have` must be 0 */
    uint32_t reserved;
} hexz_pack_feed;

/* A chunk on its way. */
typedef struct hexz_pack_chunk {
    uint64_t number;       /* 0, 1, 2, ... */
    uint64_t offset, size; /* in the content */
    const void *data;      /* NULL: a run of zeros */
    const void *stored;    /* as a frame of the archive, or what `compress` made of it; NULL: zeros,
                              or `claim` did not want it */
    size_t stored_size;
    uint32_t kind;   /* of stored, HEXZ_PACK_RAW ... or what `compress` said; 0 if that is NULL */
    uint32_t ticket; /* what `claim` said */
    uint32_t crc;    /* CRC-32C of stored */
    uint32_t reserved;
    uint8_t hash[32]; /* BLAKE3 of data; 0 of a run of zeros */
} hexz_pack_chunk;

typedef struct hexz_pack_job {
    struct chunkwise_pool *pool; /* lent; NULL = the calling thread */
    void *user;                  /* of all callbacks */
    uint32_t chunk_max;          /* bytes of the largest chunk; 0 = 16 MiB */
    uint32_t chunks;             /* in flight, at most; 0 = 1,000 */
    uint64_t memory;             /* bytes in flight, soft by one chunk; 0 = 256 MiB */
    uint32_t flags;              /* HEXZ_PACK_FIND_ZEROS */
    uint32_t codec;              /* of the compressor, if `compress` is NULL */
    int32_t level;
    uint32_t reserved;
    /* Serial: the next chunk. */
    posio_result (*next)(void *user, hexz_pack_feed *feed, posio_error *err);
    /* Any thread, for chunks that come later: n bytes at offset of the content, one chunk or
       several; what fails with several is asked for again by each chunk. May be NULL. */
    posio_result (*load)(void *user, uint64_t offset, void *data, size_t n, posio_error *err);
    /* Any thread, in any order, when the hash is known: *wanted = 0 and it is not compressed;
       *ticket goes along. NULL: all are wanted. */
    posio_result (*claim)(void *user, const hexz_pack_chunk *chunk, int *wanted, uint32_t *ticket,
                          posio_error *err);
    /* Any thread, in any order: *size bytes, room at most, to out; *kind goes along. NULL: `codec`,
       and what does not become smaller is HEXZ_PACK_RAW. */
    posio_result (*compress)(void *user, const hexz_pack_chunk *chunk, void *out, size_t room,
                             size_t *size, uint32_t *kind, posio_error *err);
    size_t room_extra; /* compress: room is n + n / 128 + 128 + room_extra for n bytes; it counts
                          as memory. 16 MiB at most */
    /* Serial, in the order of the chunks; what it is given lasts as long as the call. */
    posio_result (*write)(void *user, const hexz_pack_chunk *chunk, posio_error *err);
    int (*progress)(void *user, uint64_t done, uint64_t total); /* as in hexz_pack_desc */
    uint64_t total;
    posio_alloc alloc;
} hexz_pack_job;

/* The pipeline by itself: next -> (load, hash, claim, compress, by all threads) -> write. Returns
   when all is written (no chunk at all is fine), or with the first error in the order of the
   chunks: of a chunk before the failed one `write` has got all, of those behind it none. What
   `next` fails with comes behind all chunks before. POSIO_E_CANCELED when progress said so.
   Threads: any. Allocates: yes. Blocks: workers. */
HEXZ_PACK_API posio_result hexz_pack_process(const hexz_pack_job *job, posio_error *err);

#ifdef __cplusplus
}
#endif
#elif HEXZ_PACK_VERSION < 100
#error "hexz_pack.h: an older copy came first in this file; include the newest header first"
#endif
#if defined(HEXZ_PACK_STATIC) && !defined(HEXZ_PACK_I_STATIC)
#error "define HEXZ_PACK_STATIC before the first include of hexz_pack.h"
#endif

#if defined(HEXZ_PACK_IMPLEMENTATION) && !defined(HEXZ_PACK_I_IMPLEMENTED)
#define HEXZ_PACK_I_IMPLEMENTED 100

#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>
#if defined(HEXZ_PACK_LZ4)
#include <lz4.h>
#include <lz4hc.h>
#endif

// ---------------------------------------------------------------------------------- structures

enum {
    HEXZ_PACK_I_SUPERBLOCK = 128, /* bytes */
    HEXZ_PACK_I_TRAILER = 80,
    HEXZ_PACK_I_FOOTER = 9,      /* of the seek table */
    HEXZ_PACK_I_ENTRIES = 512,   /* in a table */
    HEXZ_PACK_I_TABLE_HEAD = 44, /* bytes before its columns */
    HEXZ_PACK_I_TABLE_MAX = 44 + 512 * (1 + 9 + 9 + 4 + 32) + 4,
    HEXZ_PACK_I_DIRECTORY_HEAD = 84,
    HEXZ_PACK_I_RECORD = 56,       /* of a page, in the directory */
    HEXZ_PACK_I_BLOCK = 128 << 10, /* a block of a zstd frame, at most */
    HEXZ_PACK_I_PART = 128 << 10,  /* bytes of chunks that one thread takes at a time, or more */
    HEXZ_PACK_I_BATCH = 1 << 20,   /* of a slot, at most; */
    HEXZ_PACK_I_BATCH_LEAST = 256 << 10, /* if memory allows, at least */
    HEXZ_PACK_I_SLOTS = 130,             /* of a ring, at most */
    HEXZ_PACK_I_OUT = 256 << 10,         /* gathered before it is written */
    HEXZ_PACK_I_OUT_LARGE = 16 << 10,    /* written from where it lies */
    HEXZ_PACK_I_MAPPED = 4096,           /* bytes of a word of the map, */
    HEXZ_PACK_I_MAP_WORDS = 8192,        /* of so many: 32 MiB, more than a slot and a chunk have */
    HEXZ_PACK_I_MAP_BLOCK = 32 << 10,    /* bytes that are mapped together, */
    HEXZ_PACK_I_MAP_AVERAGE = 4096,      /* bytes of chunks that it is made for, at least */
    HEXZ_PACK_I_MAP_PART = 4,            /* blocks that one thread takes at a time */
    HEXZ_PACK_I_SHARDS = 16,
    HEXZ_PACK_I_SEGMENTS = 22,    /* of nodes: 64 << 0, 64 << 1, ... */
    HEXZ_PACK_I_BULK = 256 << 10, /* a read that is dealt out */
    HEXZ_PACK_I_GRAIN = 64 << 10, /* and what one thread gets of it, at least */
    HEXZ_PACK_I_STRETCHES = 64,   /* by as many threads, at most */
    HEXZ_PACK_I_WANTED = 1024,    /* originals that duplicates wanted last */
    HEXZ_PACK_I_ITEMS = 65536,
    HEXZ_PACK_I_ITEM_BYTES = 16 << 20,
    HEXZ_PACK_I_VERIFY_PART = 16, /* stored chunks of a page */
    HEXZ_PACK_I_SOURCE_BLOCK = 4096,
    HEXZ_PACK_I_RUN = 256 /* entries looked at for an extent */
};

#define HEXZ_PACK_I_MAGIC 0xfd2fb528u
#define HEXZ_PACK_I_SKIP 0x184d2a5au
#define HEXZ_PACK_I_SKIP_LZ4 0x184d2a5bu
#define HEXZ_PACK_I_SKIP_SEEK 0x184d2a5eu
#define HEXZ_PACK_I_SEEK_MAGIC 0x8f92eab1u
#define HEXZ_PACK_I_REQUIRED 1u    /* features that are known: LZ4 */
#define HEXZ_PACK_I_JOB_FLAGS 4u   /* HEXZ_PACK_FIND_ZEROS */
#define HEXZ_PACK_I_DESC_FLAGS 11u /* FORCE, NO_SYNC, REMEMBER */
#define HEXZ_PACK_I_COMMITTED ((uint64_t)1 << 63)
#define HEXZ_PACK_I_BAD ((uint32_t)1 << 31)

/* In hexz_pack_i_map_block; without it gcc jumps over each hit, and it takes twice the time. */
#if defined(__GNUC__)
#define HEXZ_PACK_I_UNLIKELY(x) __builtin_expect(!!(x), 0)
#else
#define HEXZ_PACK_I_UNLIKELY(x) (x)
#endif

/* Tests make collisions in the table of claims. */
#ifndef HEXZ_PACK_TEST_KEY
#define HEXZ_PACK_TEST_KEY(key) (key)
#endif
/* And have room for few frames in a seek table. Source: SEEK, "Number_Of_Frames". */
#ifndef HEXZ_PACK_TEST_FRAMES
#define HEXZ_PACK_TEST_FRAMES ((uint64_t)1 << 27)
#endif

/* What one thread needs at a time. */
typedef struct hexz_pack_i_context {
    struct hexz_pack_i_context *next;
    thread_pool_i_id thread; /* that had it last */
    ZSTD_CCtx *encoder;
    ZSTD_DCtx *decoder;
    void *lz4; /* liblz4's state */
    unsigned char *buffer;
    size_t room;
} hexz_pack_i_context;

typedef struct hexz_pack_i_codec {
    posio_alloc alloc;
    uint32_t codec;
    int level;
    thread_pool_mutex lock; /* guards idle */
    hexz_pack_i_context *idle;
} hexz_pack_i_codec;

static posio_result hexz_pack_i_no_memory(posio_error *err)
{
    return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
}

static const hexz_pack_desc *hexz_pack_i_defaults(void)
{
    static const hexz_pack_desc defaults = {NULL, 0,   0, 0, 0, 0, 0,    0,    0,
                                            0,    {0}, 0, 0, 0, 0, NULL, NULL, {NULL, NULL, NULL}};
    return &defaults;
}

static unsigned char *hexz_pack_i_put32(unsigned char *p, uint64_t v)
{
    posio_put_le32(p, (uint32_t)v);
    return p + 4;
}
static unsigned char *hexz_pack_i_put64(unsigned char *p, uint64_t v)
{
    posio_put_le64(p, v);
    return p + 8;
}

static unsigned char *hexz_pack_i_put_varint(unsigned char *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) *p++ = (unsigned char)(v | 0x80);
    *p++ = (unsigned char)v;
    return p;
}

/* One of at most 63 bits, as short as it can be; where it ends, or NULL. */
static const unsigned char *hexz_pack_i_get_varint(const unsigned char *p, const unsigned char *end,
                                                   uint64_t *v)
{
    unsigned shift;
    *v = 0;
    for (shift = 0; shift < 63 && p != end; shift += 7) {
        *v |= (uint64_t)(*p & 0x7f) << shift;
        if (*p++ < 0x80) return p[-1] != 0 || shift == 0 ? p : NULL;
    }
    return NULL;
}

/* Begins a skippable frame of `size` bytes in all. */
static unsigned char *hexz_pack_i_put_head(unsigned char *p, size_t size, const char *tag)
{
    p = hexz_pack_i_put32(p, HEXZ_PACK_I_SKIP);
    p = hexz_pack_i_put32(p, size - 8);
    memcpy(p, tag, 4);
    return p + 4;
}

/* Ends it: `size` bytes in all, of which the last four are the CRC-32C of the others. */
static void hexz_pack_i_seal(unsigned char *frame, size_t size)
{
    (void)hexz_pack_i_put32(frame + size - 4, digest_crc32c(0, frame, size - 4));
}

/* What is wrong with a frame as the last two make it; NULL = nothing. */
static const char *hexz_pack_i_check_frame(const unsigned char *p, uint64_t size, const char *tag)
{
    if (posio_le32(p) != HEXZ_PACK_I_SKIP) return "it does not begin with its magic number";
    if (posio_le32(p + 4) != size - 8) return "its size is wrong";
    if (memcmp(p + 8, tag, 4) != 0) return "its tag is wrong";
    if (digest_crc32c(0, p, (size_t)size - 4) != posio_le32(p + (size_t)size - 4))
        return "its CRC-32C is wrong";
    return NULL;
}

// ---------------------------------------------------------------------------------- contexts

static void hexz_pack_i_codec_end(hexz_pack_i_codec *codec)
{
    while (codec->idle != NULL) {
        hexz_pack_i_context *c = codec->idle;
        codec->idle = c->next;
        (void)ZSTD_freeCCtx(c->encoder);
        (void)ZSTD_freeDCtx(c->decoder);
        posio_release(&codec->alloc, c->lz4);
        posio_release(&codec->alloc, c->buffer);
        posio_release(&codec->alloc, c);
    }
    thread_pool_mutex_destroy(&codec->lock);
}

static posio_result hexz_pack_i_codec_begin(hexz_pack_i_codec *codec, const posio_alloc *alloc,
                                            uint32_t kind, int32_t level, posio_error *err)
{
    memset(codec, 0, sizeof *codec);
    codec->alloc = *alloc;
    codec->codec = kind;
    codec->level = level;
    if (!thread_pool_mutex_init(&codec->lock)) return hexz_pack_i_no_memory(err);
    return POSIO_OK;
}

static void hexz_pack_i_give(hexz_pack_i_codec *codec, hexz_pack_i_context *c)
{
    if (c == NULL) return;
    thread_pool_lock(&codec->lock);
    c->next = codec->idle;
    codec->idle = c;
    thread_pool_unlock(&codec->lock);
}

/* The one that this thread had before, if it is idle: its tables are in this core's cache. With any
   that is idle two threads keep changing theirs, and zstd:3 takes 2 to 3 % more CPU. */
static hexz_pack_i_context *hexz_pack_i_take(hexz_pack_i_codec *codec)
{
    const thread_pool_i_id self = thread_pool_i_self();
    hexz_pack_i_context **at = &codec->idle, *c;
    thread_pool_lock(&codec->lock);
    while (*at != NULL && !thread_pool_i_same((*at)->thread, self)) at = &(*at)->next;
    if (*at == NULL) at = &codec->idle;
    c = *at;
    if (c != NULL) *at = c->next;
    thread_pool_unlock(&codec->lock);
    if (c == NULL) c = (hexz_pack_i_context *)posio_allocate_zeroed(&codec->alloc, sizeof *c);
    if (c != NULL) c->thread = self;
    return c;
}

/* Room for n bytes in a context; NULL without memory. */
static unsigned char *hexz_pack_i_room(const hexz_pack_i_codec *codec, hexz_pack_i_context *c,
                                       size_t n)
{
    if (n <= c->room) return c->buffer;
    posio_release(&codec->alloc, c->buffer);
    n = (n + 0xffff) / 0x10000 * 0x10000;
    c->buffer = (unsigned char *)posio_allocate(&codec->alloc, n);
    c->room = c->buffer != NULL ? n : 0;
    return c->buffer;
}

// ---------------------------------------------------------------------------------- codecs

/* What a chunk of n bytes may take, as a frame; see hexz_pack_job.room_extra. */
static size_t hexz_pack_i_bound(size_t n) { return n + n / 128 + 128; }

/* magic u32 | descriptor: one segment, content size in 1, 2 or 4 bytes | that size | blocks.
   Source: ZSTD, 3.1.1. Returns bytes. */
static size_t hexz_pack_i_raw_head(unsigned char *p, size_t n)
{
    (void)hexz_pack_i_put32(p, HEXZ_PACK_I_MAGIC);
    if (n < 256) {
        p[4] = 0x20;
        p[5] = (unsigned char)n;
        return 6;
    }
    if (n < 65536 + 256) {
        p[4] = 0x60;
        p[5] = (unsigned char)(n - 256);
        p[6] = (unsigned char)((n - 256) >> 8);
        return 7;
    }
    p[4] = 0xa0;
    (void)hexz_pack_i_put32(p + 5, n);
    return 9;
}
static size_t hexz_pack_i_raw_size(size_t n)
{
    return (n < 256           ? 6u
            : n < 65536 + 256 ? 7u
                              : 9u) +
           n + 3 * ((n + HEXZ_PACK_I_BLOCK - 1) / HEXZ_PACK_I_BLOCK);
}
static void hexz_pack_i_block_head(unsigned char *p, size_t block, int is_last)
{
    uint32_t head = (uint32_t)block << 3 | (is_last ? 1u : 0u); /* type 0 */
    p[0] = (unsigned char)head;
    p[1] = (unsigned char)(head >> 8);
    p[2] = (unsigned char)(head >> 16);
}

static size_t hexz_pack_i_encode_raw(const unsigned char *src, size_t n, unsigned char *out)
{
    unsigned char *p = out + hexz_pack_i_raw_head(out, n);
    while (n != 0) {
        size_t block = (size_t)posio_min(n, HEXZ_PACK_I_BLOCK);
        hexz_pack_i_block_head(p, block, block == n);
        memcpy(p + 3, src, block);
        p += 3 + block;
        src += block;
        n -= block;
    }
    return (size_t)(p - out);
}

/* The opposite; 0: these are not the bytes that encode_raw makes. */
static int hexz_pack_i_decode_raw(const unsigned char *p, size_t stored, unsigned char *out,
                                  size_t n)
{
    unsigned char head[9];
    size_t at = hexz_pack_i_raw_head(head, n);
    if (stored != hexz_pack_i_raw_size(n) || memcmp(p, head, at) != 0) return 0;
    while (n != 0) {
        size_t block = (size_t)posio_min(n, HEXZ_PACK_I_BLOCK);
        hexz_pack_i_block_head(head, block, block == n);
        if (memcmp(p + at, head, 3) != 0) return 0;
        memcpy(out, p + at + 3, block);
        at += 3 + block;
        out += block;
        n -= block;
    }
    return 1;
}

static posio_result hexz_pack_i_encode_zstd(const hexz_pack_i_codec *codec, hexz_pack_i_context *c,
                                            const void *src, size_t n, unsigned char *out,
                                            size_t *size, posio_error *err)
{
    size_t z = 0;
    if (c->encoder == NULL) {
        c->encoder = ZSTD_createCCtx();
        if (c->encoder == NULL) return hexz_pack_i_no_memory(err);
        z = ZSTD_CCtx_setParameter(c->encoder, ZSTD_c_compressionLevel, codec->level);
        if (ZSTD_isError(z)) { /* and the next chunk must not be compressed by it */
            (void)ZSTD_freeCCtx(c->encoder);
            c->encoder = NULL;
        }
    }
    if (!ZSTD_isError(z)) z = ZSTD_compress2(c->encoder, out, hexz_pack_i_bound(n), src, n);
    if (ZSTD_isError(z))
        return posio_fail(
            err, ZSTD_getErrorCode(z) == ZSTD_error_memory_allocation ? POSIO_E_NOMEM : POSIO_E_ARG,
            POSIO_NO_OFFSET, "cannot be compressed: %s", ZSTD_getErrorName(z));
    *size = z;
    return POSIO_OK;
}

/* As the block of a skippable frame; *size 0: it would not become smaller. */
static posio_result hexz_pack_i_encode_lz4(const hexz_pack_i_codec *codec, hexz_pack_i_context *c,
                                           const void *src, size_t n, unsigned char *out,
                                           size_t *size, posio_error *err)
{
#if defined(HEXZ_PACK_LZ4)
    const int is_hc = codec->codec == HEXZ_PACK_CODEC_LZ4HC;
    int made, room = (int)n - 1; /* n is at most 16 MiB */
    if (c->lz4 == NULL)
        c->lz4 = posio_allocate(&codec->alloc,
                                (size_t)(is_hc ? LZ4_sizeofStateHC() : LZ4_sizeofState()));
    if (c->lz4 == NULL) return hexz_pack_i_no_memory(err);
    made = is_hc ? LZ4_compress_HC_extStateHC(c->lz4, (const char *)src, (char *)out + 8, (int)n,
                                              room, codec->level)
                 : LZ4_compress_fast_extState(c->lz4, (const char *)src, (char *)out + 8, (int)n,
                                              room, 1);
    if (made > 0) {
        (void)hexz_pack_i_put32(out, HEXZ_PACK_I_SKIP_LZ4);
        (void)hexz_pack_i_put32(out + 4, (uint64_t)made);
    }
    *size = made > 0 ? (size_t)made + 8 : 0;
    return POSIO_OK;
#else
    (void)codec;
    (void)c;
    (void)src;
    (void)n;
    (void)out;
    (void)size;
    return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET,
                      "LZ4: built without it (HEXZ_PACK_LZ4)");
#endif
}

/* Makes a frame of n bytes, in room for hexz_pack_i_bound(n). */
static posio_result hexz_pack_i_encode(const hexz_pack_i_codec *codec, hexz_pack_i_context *c,
                                       const void *src, size_t n, unsigned char *out, size_t *size,
                                       uint32_t *kind, posio_error *err)
{
    size_t made = 0;
    posio_result r = POSIO_OK;
    *kind = codec->codec == HEXZ_PACK_CODEC_ZSTD ? HEXZ_PACK_ZSTD : HEXZ_PACK_LZ4_BLOCK;
    if (codec->codec == HEXZ_PACK_CODEC_ZSTD)
        r = hexz_pack_i_encode_zstd(codec, c, src, n, out, &made, err);
    else if (codec->codec != HEXZ_PACK_CODEC_NONE)
        r = hexz_pack_i_encode_lz4(codec, c, src, n, out, &made, err);
    if (r != POSIO_OK) return r;
    if (made == 0 || made >= hexz_pack_i_raw_size(n)) {
        *kind = HEXZ_PACK_RAW;
        made = hexz_pack_i_encode_raw((const unsigned char *)src, n, out);
    }
    *size = made;
    return POSIO_OK;
}

/* Is this one frame of zstd as the format says, and nothing else: with its content size, without a
   checksum or a dictionary, with a window of no more than `most` bytes? A decoder takes any number
   of frames, skippable ones among them, and older formats. Source: ZSTD, 3.1.1.1. */
static int hexz_pack_i_is_frame(const unsigned char *p, size_t stored, size_t n, size_t most)
{
    if (stored < 9 || posio_le32(p) != HEXZ_PACK_I_MAGIC || (p[4] & 0x1f) != 0) return 0;
    if ((p[4] & 0x20) == 0) {
        const uint64_t base = (uint64_t)1024 << (p[5] >> 3);
        if (base + base / 8 * (p[5] & 7) > (most > 1024 ? most : 1024)) return 0;
    }
    return ZSTD_getFrameContentSize(p, stored) == n &&
           ZSTD_findFrameCompressedSize(p, stored) == stored;
}

/* Decodes a frame to n bytes; no chunk has more than `most`. *reason: what is wrong with it; NULL
   for other errors. */
static posio_result hexz_pack_i_decode(hexz_pack_i_context *c, uint32_t kind,
                                       const unsigned char *p, size_t stored, void *out, size_t n,
                                       size_t most, const char **reason)
{
    size_t z;
    *reason = "its frame is not as it was written";
    if (kind == HEXZ_PACK_RAW)
        return hexz_pack_i_decode_raw(p, stored, (unsigned char *)out, n) ? POSIO_OK : POSIO_E_DATA;
    if (kind == HEXZ_PACK_LZ4_BLOCK) {
        if (stored < 9 || posio_le32(p) != HEXZ_PACK_I_SKIP_LZ4 || posio_le32(p + 4) != stored - 8)
            return POSIO_E_DATA;
#if defined(HEXZ_PACK_LZ4)
        *reason = "its LZ4 block cannot be decoded";
        return LZ4_decompress_safe((const char *)p + 8, (char *)out, (int)stored - 8, (int)n) ==
                       (int)n
                   ? POSIO_OK
                   : POSIO_E_DATA;
#else
        *reason = "LZ4: built without it (HEXZ_PACK_LZ4)";
        return POSIO_E_UNSUPPORTED;
#endif
    }
    if (!hexz_pack_i_is_frame(p, stored, n, most)) return POSIO_E_DATA;
    if (c->decoder == NULL) c->decoder = ZSTD_createDCtx();
    if (c->decoder == NULL) {
        *reason = NULL;
        return POSIO_E_NOMEM;
    }
    z = ZSTD_decompressDCtx(c->decoder, out, n, p, stored);
    if (z == n) return POSIO_OK;
    *reason = ZSTD_isError(z) ? ZSTD_getErrorName(z) : "it is shorter than it should be";
    return POSIO_E_DATA;
}

// ---------------------------------------------------------------------------------- cutting

/* Gear: h = 2 h + once[byte]; a chunk ends behind a byte where the bits of a mask are 0. Such a bit
   depends on as many bytes as its place says, so the masks are at the top. */
typedef struct hexz_pack_i_gear {
    size_t least, average, most;
    uint64_t hard, easy; /* masks, below and above the average; without bit 63 */
    uint64_t once[256], twice[256];
} hexz_pack_i_gear;

static uint64_t hexz_pack_i_mask(unsigned bits)
{
    return (((uint64_t)1 << bits) - 1) << (63 - bits);
}

/* The table is that of SplitMix64 from 0: whoever cuts alike finds the same chunks. */
static void hexz_pack_i_gear_begin(hexz_pack_i_gear *g, uint32_t least, uint32_t average,
                                   uint32_t most)
{
    uint64_t state = 0;
    unsigned bits = 0, i;
    while (((uint32_t)2 << bits) <= average) bits++;
    g->least = least;
    g->average = average;
    g->most = most;
    g->hard = hexz_pack_i_mask(bits + 2);
    g->easy = hexz_pack_i_mask(bits - 2);
    for (i = 0; i < 256; i++) {
        uint64_t x = state += 0x9e3779b97f4a7c15u;
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
        x = (x ^ x >> 27) * 0x94d049bb133111ebu;
        g->once[i] = x ^ x >> 31;
        g->twice[i] = g->once[i] << 1;
    }
}

/* Where the first chunk that ends within p[from, to) ends; 0: nowhere. Naive: one byte a step.
   Fast: two; with a and b the next bytes, 2 (2 h + once[a]) + once[b] = 4 h + twice[a] + once[b];
   and the hash behind a is tested twice as large, with the mask shifted, too: it has no bit 63 to
   lose. 1.3 to 2 times as fast as one byte a step, unrolled. Two halves of the range side by side
   would be 10 % faster; four bytes a step, and bytes taken from one load of eight, are not. */
static size_t hexz_pack_i_scan(const hexz_pack_i_gear *g, const unsigned char *p, size_t from,
                               size_t to, uint64_t mask, uint64_t *hash)
{
    const uint64_t mask2 = mask << 1;
    uint64_t h = *hash;
    size_t i = from;
    for (; to - i >= 2; i += 2) {
        const uint64_t a = g->twice[p[i]], ab = a + g->once[p[i + 1]];
        if (((h * 4 + a) & mask2) == 0) return i + 1;
        h = h * 4 + ab;
        if ((h & mask) == 0) return i + 2;
    }
    if (i < to) {
        h = h * 2 + g->once[p[i]];
        if ((h & mask) == 0) return i + 1;
    }
    *hash = h;
    return 0;
}

/* Where chunks may end: a bit for 64 bytes of content, counted from its beginning, set where the
   easy mask fits one of them; the hard one has all its bits. It is known for the bytes [from, to),
   multiples of 4,096, and kept in a ring for more of them than a slot holds. */
typedef struct hexz_pack_i_map {
    uint64_t from, to;
    uint64_t words[HEXZ_PACK_I_MAP_WORDS];
} hexz_pack_i_map;

static void hexz_pack_i_map_spot(hexz_pack_i_map *m, uint64_t at)
{
    m->words[at / HEXZ_PACK_I_MAPPED % HEXZ_PACK_I_MAP_WORDS] |= (uint64_t)1 << at / 64 % 64;
}

/* The hash behind p[-1]. */
static uint64_t hexz_pack_i_gear_at(const hexz_pack_i_gear *g, const unsigned char *p)
{
    uint64_t h = 0;
    int i;
    for (i = -64; i < 0; i++) h = h * 2 + g->once[p[i]];
    return h;
}

/* Maps the four strides of content at p[0], that is at `at`. Naive: hexz_pack_i_scan. Fast: four of
   them side by side, so that the processor has four chains to follow: 0.25 ns a byte instead of
   0.45, which pays for the bytes that hexz_pack_i_cut does not look at (the first quarter of the
   average). Not better: one byte of each a step (0.27 to 0.36), twice[] as in hexz_pack_i_scan, two
   strides (0.30 to 0.51); AVX-512 and its gathers, 8 or 16 strides (0.25 to 0.29); AVX2 (0.41). */
static void hexz_pack_i_map_block(const hexz_pack_i_gear *g, hexz_pack_i_map *m,
                                  const unsigned char *p, uint64_t at)
{
    enum { STRIDE = HEXZ_PACK_I_MAP_BLOCK / 4 };
    const uint64_t mask = g->easy;
    uint64_t a = hexz_pack_i_gear_at(g, p), b = hexz_pack_i_gear_at(g, p + STRIDE),
             c = hexz_pack_i_gear_at(g, p + 2 * STRIDE), d = hexz_pack_i_gear_at(g, p + 3 * STRIDE);
    uint32_t i;
    for (i = 0; i < HEXZ_PACK_I_MAP_BLOCK / HEXZ_PACK_I_MAPPED; i++)
        m->words[(at / HEXZ_PACK_I_MAPPED + i) % HEXZ_PACK_I_MAP_WORDS] = 0;
#define HEXZ_PACK_I_STEP(i)                                                                    \
    a = a * 2 + g->once[p[i]];                                                                 \
    b = b * 2 + g->once[p[(i) + STRIDE]];                                                      \
    c = c * 2 + g->once[p[(i) + 2 * STRIDE]];                                                  \
    d = d * 2 + g->once[p[(i) + 3 * STRIDE]];                                                  \
    if (HEXZ_PACK_I_UNLIKELY((a & mask) == 0)) hexz_pack_i_map_spot(m, at + (i));              \
    if (HEXZ_PACK_I_UNLIKELY((b & mask) == 0)) hexz_pack_i_map_spot(m, at + (i) + STRIDE);     \
    if (HEXZ_PACK_I_UNLIKELY((c & mask) == 0)) hexz_pack_i_map_spot(m, at + (i) + 2 * STRIDE); \
    if (HEXZ_PACK_I_UNLIKELY((d & mask) == 0)) hexz_pack_i_map_spot(m, at + (i) + 3 * STRIDE)
    for (i = 0; i < STRIDE; i += 2) {
        HEXZ_PACK_I_STEP(i);
        HEXZ_PACK_I_STEP(i + 1);
    }
#undef HEXZ_PACK_I_STEP
}

/* The first range of [*from, to) where a chunk may end, or where the map does not know that none
   does; empty: there is none. Returns its end. */
static uint64_t hexz_pack_i_map_next(const hexz_pack_i_map *m, uint64_t *from, uint64_t to)
{
    uint64_t at = *from;
    if (at < m->from) return posio_min(m->from, to);
    for (; at < to && at < m->to;) {
        const uint64_t rest =
            m->words[at / HEXZ_PACK_I_MAPPED % HEXZ_PACK_I_MAP_WORDS] >> at / 64 % 64;
        const uint64_t unit = rest != 0 ? 64 : HEXZ_PACK_I_MAPPED;
        *from = at;
        at = at - at % unit + unit;
        if (rest & 1) return posio_min(at, to);
    }
    *from = posio_min(at, to);
    return to;
}

/* Where the first chunk that ends within p[from, to) ends; 0: nowhere. p[0] is content at `at`. */
static size_t hexz_pack_i_find_end(const hexz_pack_i_gear *g, const hexz_pack_i_map *m,
                                   const unsigned char *p, uint64_t at, size_t from, size_t to,
                                   uint64_t mask)
{
    size_t cut = 0;
    while (from < to && cut == 0) {
        uint64_t begin = at + from, end = hexz_pack_i_map_next(m, &begin, at + to);
        uint64_t h = hexz_pack_i_gear_at(g, p + (size_t)(begin - at));
        from = (size_t)(end - at);
        cut = hexz_pack_i_scan(g, p, (size_t)(begin - at), from, mask, &h);
    }
    return cut;
}

/* The length of the chunk that p[0, n), content at `at`, begins with; all of it, if it is no more
   than the least. The hash is that of the last 64 bytes from the first place on where a chunk may
   end: places do not depend on where the chunk begins. So they can be found before that is known,
   by all threads: the map. Where it does not reach they are found here. */
static size_t hexz_pack_i_cut(const hexz_pack_i_gear *g, const hexz_pack_i_map *m,
                              const unsigned char *p, size_t n, uint64_t at)
{
    size_t end = (size_t)posio_min(n, g->most), middle = (size_t)posio_min(end, g->average), cut;
    if (n <= g->least) return n;
    cut = hexz_pack_i_find_end(g, m, p, at, g->least, middle, g->hard);
    if (cut == 0) cut = hexz_pack_i_find_end(g, m, p, at, middle, end, g->easy);
    return cut != 0 ? cut : end;
}

static int hexz_pack_i_is_zero(const unsigned char *p, size_t n)
{
    uint64_t a[8], any = 0;
    size_t i = 0;
    if (n == 0 || p[0] != 0) return 0;
    for (; n - i >= sizeof a && any == 0; i += sizeof a) {
        memcpy(a, p + i, sizeof a);
        any = a[0] | a[1] | a[2] | a[3] | a[4] | a[5] | a[6] | a[7];
    }
    for (; i < n && any == 0; i++) any = p[i];
    return any == 0;
}

// ---------------------------------------------------------------------------------- the pipeline

/* A chunk in its slot. */
typedef struct hexz_pack_i_task {
    hexz_pack_chunk chunk;
    unsigned char *data;
    size_t out; /* where in the slot's room for frames its own begins */
    size_t room;
    int later; /* or HEXZ_PACK_I_ALONE */
} hexz_pack_i_task;

enum { HEXZ_PACK_I_ALONE = 2 };

typedef struct hexz_pack_i_slot {
    unsigned char *in, *out;
    hexz_pack_i_task *tasks;
    uint32_t *parts; /* first task of each */
    uint32_t count, part_count;
    size_t used;
} hexz_pack_i_slot;

typedef struct hexz_pack_i_engine {
    hexz_pack_job job;
    hexz_pack_i_codec codec;
    size_t batch, most;      /* bytes: of a slot; of a chunk */
    size_t out_room;         /* for frames in a slot */
    uint32_t slots, tasks;   /* of the ring; of a slot */
    uint64_t number, offset; /* of the next chunk */
    size_t left;             /* bytes that `next` left behind its last chunk, */
    uint32_t left_in;        /* in this slot */
    int ended;
    posio_error stop;       /* `next` has failed: told behind the chunks before */
    thread_pool_mutex lock; /* guards what follows, up to the ring */
    uint64_t through;
    uint64_t failed;     /* number of the lowest chunk that cannot be written, */
    posio_error failure; /* and why: the lane tells it, when all before it are written */
    hexz_pack_i_slot ring[HEXZ_PACK_I_SLOTS];
} hexz_pack_i_engine;

static posio_result hexz_pack_i_slot_begin(hexz_pack_i_engine *e, hexz_pack_i_slot *s,
                                           posio_error *err)
{
    const posio_alloc *a = &e->job.alloc;
    if (s->tasks == NULL)
        s->tasks = (hexz_pack_i_task *)posio_allocate(a, e->tasks * sizeof *s->tasks);
    if (s->parts == NULL) s->parts = (uint32_t *)posio_allocate(a, e->tasks * sizeof *s->parts);
    if (s->in == NULL) s->in = (unsigned char *)posio_allocate(a, e->batch + e->most);
    if (s->out == NULL) s->out = (unsigned char *)posio_allocate(a, e->out_room);
    if (s->tasks == NULL || s->parts == NULL || s->in == NULL || s->out == NULL)
        return hexz_pack_i_no_memory(err);
    if (e->left != 0) /* the old slot is in use still, or it is this one */
        memmove(s->in, e->ring[e->left_in].in + e->ring[e->left_in].used, e->left);
    s->count = s->part_count = 0;
    s->used = 0;
    return POSIO_OK;
}

static posio_result hexz_pack_i_check_feed(const hexz_pack_i_engine *e, const hexz_pack_feed *f,
                                           posio_error *err)
{
    if (f->size <= e->most && f->have <= f->room && (f->size == 0 || f->zeros == 0) &&
        (f->later ? e->job.load != NULL : f->size <= f->have) &&
        (f->have == 0 || (f->zeros == 0 && !f->later)) &&
        f->zeros + f->size <= (uint64_t)INT64_MAX - e->offset)
        return POSIO_OK;
    return posio_fail(err, POSIO_E_ARG, e->offset, "hexz_pack_process: an impossible chunk");
}

static void hexz_pack_i_add_task(hexz_pack_i_engine *e, hexz_pack_i_slot *s,
                                 const hexz_pack_feed *f, size_t *weight)
{
    hexz_pack_i_task *t = &s->tasks[s->count];
    const hexz_pack_i_task *before = t - 1;
    memset(t, 0, sizeof *t);
    t->chunk.number = e->number++;
    t->chunk.offset = e->offset;
    t->chunk.size = f->zeros != 0 ? f->zeros : f->size;
    t->data = f->zeros != 0 ? NULL : s->in + s->used;
    t->chunk.data = t->data;
    t->later = f->later != 0;
    t->room = hexz_pack_i_bound(f->size) + e->job.room_extra;
    t->out = s->count != 0 ? before->out + before->room : 0;
    if (s->count == 0 || *weight >= HEXZ_PACK_I_PART) {
        s->parts[s->part_count++] = s->count;
        *weight = 0;
    }
    *weight += f->size;
    e->offset += t->chunk.size;
    s->used += f->size;
    s->count++;
}

static posio_result hexz_pack_i_produce(void *user, thread_pool_slot *slot, posio_error *err)
{
    hexz_pack_i_engine *e = (hexz_pack_i_engine *)user;
    hexz_pack_i_slot *s = &e->ring[slot->index];
    size_t weight = 0;
    posio_result r = POSIO_OK;
    if (e->stop.code != POSIO_OK) {
        *err = e->stop;
        return err->code;
    }
    if (e->ended) return THREAD_POOL_END;
    r = hexz_pack_i_slot_begin(e, s, err);
    if (r != POSIO_OK) return r;
    while (s->count < e->tasks && s->used < e->batch) {
        hexz_pack_feed f;
        memset(&f, 0, sizeof f);
        f.data = s->in + s->used;
        f.room = e->batch + e->most - s->used;
        f.have = e->left;
        r = e->job.next(e->job.user, &f, err);
        if (r == POSIO_OK) r = hexz_pack_i_check_feed(e, &f, err);
        if (r != POSIO_OK || (f.size == 0 && f.zeros == 0)) break;
        hexz_pack_i_add_task(e, s, &f, &weight);
        e->left = f.later ? 0 : f.have - f.size;
    }
    e->left_in = slot->index;
    if (r != POSIO_OK) {
        if (s->count == 0) return r;
        e->stop = *err;
        e->stop.code = r;
    } else if (s->count < e->tasks && s->used < e->batch) {
        e->ended = 1;
    }
    if (s->count == 0) return THREAD_POOL_END;
    slot->parts = s->part_count;
    return POSIO_OK;
}

/* Fetches chunk i and those behind it that come later and follow it, up to `end`, by one call. If
   that fails each is fetched alone: which chunk fails, and what is said of it, must not depend on
   where parts end. */
static posio_result hexz_pack_i_load(const hexz_pack_i_engine *e, hexz_pack_i_slot *s, uint32_t i,
                                     uint32_t end, posio_error *err)
{
    const hexz_pack_i_task *first = &s->tasks[i];
    const uint32_t begin = i;
    const int alone = first->later == HEXZ_PACK_I_ALONE;
    size_t n = 0;
    posio_result r;
    for (; i < end && s->tasks[i].later && s->tasks[i].data == first->data + n; i++) {
        n += (size_t)s->tasks[i].chunk.size;
        s->tasks[i].later = 0;
        if (alone) break;
    }
    r = e->job.load(e->job.user, first->chunk.offset, first->data, n, err);
    if (r == POSIO_OK || n == first->chunk.size) return r;
    while (--i > begin) s->tasks[i].later = HEXZ_PACK_I_ALONE;
    return e->job.load(e->job.user, first->chunk.offset, first->data, (size_t)first->chunk.size,
                       err);
}

/* Hashes and compresses one. */
static posio_result hexz_pack_i_press(hexz_pack_i_engine *e, hexz_pack_i_slot *s,
                                      hexz_pack_i_task *t, posio_error *err)
{
    hexz_pack_chunk *k = &t->chunk;
    const size_t n = (size_t)k->size;
    unsigned char *out = s->out + t->out;
    int wanted = 1;
    posio_result r = POSIO_OK;
    if ((e->job.flags & HEXZ_PACK_FIND_ZEROS) && hexz_pack_i_is_zero(t->data, n)) {
        k->data = NULL;
        return POSIO_OK;
    }
    (void)digest_of(DIGEST_BLAKE3, k->data, n, k->hash);
    if (e->job.claim != NULL) r = e->job.claim(e->job.user, k, &wanted, &k->ticket, err);
    if (r != POSIO_OK) return r;
    if (!wanted) return POSIO_OK;
    if (e->job.compress != NULL) {
        r = e->job.compress(e->job.user, k, out, t->room, &k->stored_size, &k->kind, err);
        if (r == POSIO_OK && k->stored_size > t->room)
            r = posio_fail(err, POSIO_E_ARG, k->offset, "compress: more than the room");
    } else {
        hexz_pack_i_context *c = hexz_pack_i_take(&e->codec);
        if (c == NULL) return hexz_pack_i_no_memory(err);
        r = hexz_pack_i_encode(&e->codec, c, k->data, n, out, &k->stored_size, &k->kind, err);
        hexz_pack_i_give(&e->codec, c);
    }
    if (r != POSIO_OK) return r;
    k->stored = out;
    k->crc = digest_crc32c(0, out, k->stored_size);
    return POSIO_OK;
}

/* A chunk has failed. That is no failure of its slot, whose chunks before it are to be written:
   what has been written must not depend on where slots end. */
static void hexz_pack_i_note(hexz_pack_i_engine *e, uint64_t number, posio_result r,
                             const posio_error *err)
{
    thread_pool_lock(&e->lock);
    if (number < e->failed) {
        e->failed = number;
        e->failure = *err;
        e->failure.code = r;
    }
    thread_pool_unlock(&e->lock);
}

static posio_result hexz_pack_i_work(void *user, const thread_pool_slot *slot, uint32_t part,
                                     posio_error *err)
{
    hexz_pack_i_engine *e = (hexz_pack_i_engine *)user;
    hexz_pack_i_slot *s = &e->ring[slot->index];
    uint32_t i = s->parts[part];
    const uint32_t end = part + 1 < s->part_count ? s->parts[part + 1] : s->count;
    posio_result r = POSIO_OK;
    for (; i < end && r == POSIO_OK; i++) {
        hexz_pack_i_task *t = &s->tasks[i];
        if (t->data == NULL) continue;
        if (t->later) r = hexz_pack_i_load(e, s, i, end, err);
        if (r == POSIO_OK) {
            r = hexz_pack_i_press(e, s, t, err);
            if (r != POSIO_OK && err->offset == POSIO_NO_OFFSET) err->offset = t->chunk.offset;
        }
        if (r != POSIO_OK) hexz_pack_i_note(e, t->chunk.number, r, err);
    }
    return POSIO_OK;
}

static posio_result hexz_pack_i_lane(void *user, const thread_pool_slot *slot, uint32_t lane,
                                     posio_error *err)
{
    hexz_pack_i_engine *e = (hexz_pack_i_engine *)user;
    const hexz_pack_i_slot *s = &e->ring[slot->index];
    const hexz_pack_chunk *k = NULL;
    posio_result r = POSIO_OK;
    uint64_t failed;
    uint32_t i;
    (void)lane;
    thread_pool_lock(&e->lock);
    failed = e->failed; /* if it is in this slot, it is final: all up to here are done */
    thread_pool_unlock(&e->lock);
    for (i = 0; i < s->count && r == POSIO_OK; i++) {
        if (s->tasks[i].chunk.number == failed) {
            *err = e->failure;
            return err->code;
        }
        k = &s->tasks[i].chunk;
        r = e->job.write(e->job.user, k, err);
    }
    thread_pool_lock(&e->lock);
    if (r == POSIO_OK && k != NULL) e->through = k->offset + k->size;
    thread_pool_unlock(&e->lock);
    return r;
}

static int hexz_pack_i_engine_progress(void *user, uint64_t done)
{
    hexz_pack_i_engine *e = (hexz_pack_i_engine *)user;
    thread_pool_lock(&e->lock);
    done = e->through;
    thread_pool_unlock(&e->lock);
    return e->job.progress(e->job.user, done, e->job.total);
}

/* The codec and level of a desc or job, made definite. */
static posio_result hexz_pack_i_check_codec(uint32_t codec, int32_t *level, posio_error *err)
{
    const char *fault = NULL;
    if (codec == HEXZ_PACK_CODEC_ZSTD) {
        if (*level == 0) *level = 3;
        if (*level < ZSTD_minCLevel() || *level > ZSTD_maxCLevel())
            fault = "zstd has no such level";
    } else if (codec == HEXZ_PACK_CODEC_LZ4HC) {
        if (*level == 0) *level = 9;
        if (*level < 2 || *level > 12) fault = "LZ4 HC has levels 2 to 12";
    } else if (codec > HEXZ_PACK_CODEC_NONE) fault = "no such codec";
    else if (*level != 0) fault = "this codec has no levels";
    if (fault != NULL) return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "hexz_pack: %s", fault);
#if !defined(HEXZ_PACK_LZ4)
    if (codec == HEXZ_PACK_CODEC_LZ4 || codec == HEXZ_PACK_CODEC_LZ4HC)
        return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET,
                          "LZ4: built without it (HEXZ_PACK_LZ4)");
#endif
    return POSIO_OK;
}

static void hexz_pack_i_engine_end(hexz_pack_i_engine *e)
{
    uint32_t i;
    for (i = 0; i < HEXZ_PACK_I_SLOTS; i++) {
        posio_release(&e->job.alloc, e->ring[i].in);
        posio_release(&e->job.alloc, e->ring[i].out);
        posio_release(&e->job.alloc, e->ring[i].tasks);
        posio_release(&e->job.alloc, e->ring[i].parts);
    }
    hexz_pack_i_codec_end(&e->codec);
    thread_pool_mutex_destroy(&e->lock);
}

/* How many slots of how many chunks and bytes fit in job.memory: half of a slot at most is for what
   each chunk needs besides its bytes, the rest for these, twice; see hexz_pack_i_bound. One chunk
   in one slot there is in any case. In 64 bits: 4,096 times room_extra is more than 32 hold.
   Four of the largest chunks are enough for a slot, and better than more: a ring of 1 MiB slots
   does not fit in a cache, and fixed chunks of 64 KiB took 1 to 2 % longer. With fewer than four,
   more of what was read is moved to the next slot. */
static void hexz_pack_i_engine_sizes(hexz_pack_i_engine *e)
{
    const hexz_pack_job *job = &e->job;
    const uint64_t each = sizeof(hexz_pack_i_task) + sizeof(uint32_t) + 128 + job->room_extra;
    const uint64_t least = (uint64_t)e->most * 2 + e->most / 64 + (64 << 10) + each;
    const uint64_t chunks = job->chunks != 0 ? job->chunks : 1000;
    uint64_t memory = job->memory != 0 ? job->memory : (uint64_t)256 << 20;
    uint64_t enough = posio_min((uint64_t)e->most * 4, HEXZ_PACK_I_BATCH);
    uint64_t slots = 2 + 2 * (uint64_t)thread_pool_threads(job->pool), tasks, batch;
    memory = posio_min(memory, SIZE_MAX / 2);
    slots = posio_min(slots, HEXZ_PACK_I_SLOTS);
    slots = posio_min(slots, chunks);
    slots = posio_min(slots, memory / least);
    if (slots == 0) slots = 1;
    if (enough < HEXZ_PACK_I_BATCH_LEAST) enough = HEXZ_PACK_I_BATCH_LEAST;
    memory /= slots;
    tasks = posio_min(chunks / slots, 4096);
    tasks = posio_min(tasks, memory / 2 / each);
    if (tasks == 0) tasks = 1;
    batch = memory > tasks * each ? (memory - tasks * each) / 101 * 50 : 0;
    batch = batch > e->most ? posio_min(batch - e->most, enough) : 1;
    e->slots = (uint32_t)slots;
    e->tasks = (uint32_t)tasks;
    e->batch = (size_t)batch;
    batch += e->most;
    e->out_room = (size_t)(batch + batch / 128 + tasks * (128 + job->room_extra));
}

/* *e is zero before. On failure nothing is left to end. */
static posio_result hexz_pack_i_engine_begin(hexz_pack_i_engine *e, const hexz_pack_job *job,
                                             posio_error *err)
{
    posio_result r;
    e->job = *job;
    e->most = job->chunk_max != 0 ? job->chunk_max : (size_t)HEXZ_PACK_CHUNK_MAX;
    if (e->most > HEXZ_PACK_CHUNK_MAX || job->next == NULL || job->write == NULL ||
        job->room_extra > HEXZ_PACK_CHUNK_MAX || (job->flags & ~HEXZ_PACK_I_JOB_FLAGS) != 0 ||
        !posio_alloc_is_valid(&job->alloc))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "hexz_pack_process: impossible job");
    r = job->compress != NULL ? POSIO_OK : hexz_pack_i_check_codec(job->codec, &e->job.level, err);
    if (r != POSIO_OK) return r;
    hexz_pack_i_engine_sizes(e);
    if (!thread_pool_mutex_init(&e->lock)) return hexz_pack_i_no_memory(err);
    r = hexz_pack_i_codec_begin(&e->codec, &job->alloc, job->codec, e->job.level, err);
    if (r != POSIO_OK) thread_pool_mutex_destroy(&e->lock);
    return r;
}

/* Until `next` says that there is no more. It may be run again, for what follows. */
static posio_result hexz_pack_i_engine_run(hexz_pack_i_engine *e, posio_error *err)
{
    static const thread_pool_lane lane = {hexz_pack_i_lane, 0, 0};
    thread_pool_job job;
    memset(&job, 0, sizeof job);
    e->ended = 0;
    e->left = 0;
    e->failed = UINT64_MAX;
    job.user = e;
    job.slots = e->slots;
    job.lanes = &lane;
    job.lane_count = 1;
    job.flags = THREAD_POOL_PRODUCE_WAITS; /* or cutting comes when all else is done */
    job.produce = hexz_pack_i_produce;
    job.work = hexz_pack_i_work;
    job.progress = e->job.progress != NULL ? hexz_pack_i_engine_progress : NULL;
    job.alloc = e->job.alloc;
    return thread_pool_run(e->job.pool, &job, err);
}

HEXZ_PACK_API posio_result hexz_pack_process(const hexz_pack_job *job, posio_error *err)
{
    hexz_pack_i_engine *e;
    posio_result r;
    if (!posio_alloc_is_valid(&job->alloc))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "alloc_fn without free_fn");
    e = (hexz_pack_i_engine *)posio_allocate_zeroed(&job->alloc, sizeof *e);
    if (e == NULL) return hexz_pack_i_no_memory(err);
    r = hexz_pack_i_engine_begin(e, job, err);
    if (r == POSIO_OK) {
        r = hexz_pack_i_engine_run(e, err);
        hexz_pack_i_engine_end(e);
    }
    posio_release(&job->alloc, e);
    return r;
}

// ---------------------------------------------------------------------------------- claims

/* Who has a chunk with this hash? The lowest number that was ever seen, and then, committed, an
   entry. Sharded, because every thread asks for every chunk. */
typedef struct hexz_pack_i_node {
    uint8_t hash[32];
    uint64_t owner; /* number of a chunk, or HEXZ_PACK_I_COMMITTED + number of an entry */
} hexz_pack_i_node;

typedef struct hexz_pack_i_shard {
    thread_pool_mutex lock;
    uint32_t *table; /* of 1 + node, or 0; open addressing */
    uint32_t mask, count;
    hexz_pack_i_node *segments[HEXZ_PACK_I_SEGMENTS];
} hexz_pack_i_shard;

typedef struct hexz_pack_i_claims {
    posio_alloc alloc;
    uint32_t ready; /* shards with a mutex */
    hexz_pack_i_shard shards[HEXZ_PACK_I_SHARDS];
} hexz_pack_i_claims;

static uint64_t hexz_pack_i_key(const uint8_t *hash)
{
    return HEXZ_PACK_TEST_KEY(posio_le64(hash));
}

/* Nodes never move: segment k holds 64 << k of them, from 64 (2^k - 1) on. */
static hexz_pack_i_node *hexz_pack_i_node_at(const hexz_pack_i_shard *s, uint32_t i)
{
    uint32_t k = 0;
    while (i >= (uint32_t)64 << k) i -= (uint32_t)64 << k++;
    return &s->segments[k][i];
}

static hexz_pack_i_node *hexz_pack_i_ticket(const hexz_pack_i_claims *c, uint32_t ticket)
{
    return hexz_pack_i_node_at(&c->shards[ticket % HEXZ_PACK_I_SHARDS],
                               ticket / HEXZ_PACK_I_SHARDS);
}

static int hexz_pack_i_rehash(const hexz_pack_i_claims *c, hexz_pack_i_shard *s)
{
    const size_t room = s->table != NULL ? ((size_t)s->mask + 1) * 2 : 64;
    uint32_t *table, i;
    table = (uint32_t *)posio_allocate_zeroed(&c->alloc, room * sizeof *table);
    if (table == NULL) return 0;
    for (i = 0; i < s->count; i++) {
        uint64_t at = hexz_pack_i_key(hexz_pack_i_node_at(s, i)->hash) / HEXZ_PACK_I_SHARDS;
        while (table[at & (room - 1)] != 0) at++;
        table[at & (room - 1)] = i + 1;
    }
    posio_release(&c->alloc, s->table);
    s->table = table;
    s->mask = (uint32_t)room - 1;
    return 1;
}

/* A node more; NULL without memory. */
static hexz_pack_i_node *hexz_pack_i_new_node(const hexz_pack_i_claims *c, hexz_pack_i_shard *s)
{
    uint32_t k = 0, i = s->count;
    while (i >= (uint32_t)64 << k) i -= (uint32_t)64 << k++;
    /* 2^28 - 64 nodes, for a ticket has 32 bits; a seek table is full before: see frames_fit. */
    if (k == HEXZ_PACK_I_SEGMENTS) return NULL;
    if (s->segments[k] == NULL)
        s->segments[k] = (hexz_pack_i_node *)posio_allocate(
            &c->alloc, ((size_t)64 << k) * sizeof(hexz_pack_i_node));
    return s->segments[k] != NULL ? &s->segments[k][i] : NULL;
}

/* Claims a hash for chunk `number`: *wanted = 0 when a lower one has it, or an entry. The lowest of
   all that claim it ends up with it, whatever their order; those above see that when they are
   committed. */
static posio_result hexz_pack_i_claim(hexz_pack_i_claims *c, const uint8_t *hash, uint64_t number,
                                      int *wanted, uint32_t *ticket, posio_error *err)
{
    const uint64_t key = hexz_pack_i_key(hash);
    const uint32_t which = (uint32_t)(key % HEXZ_PACK_I_SHARDS);
    hexz_pack_i_shard *s = &c->shards[which];
    hexz_pack_i_node *node = NULL;
    uint64_t at = key / HEXZ_PACK_I_SHARDS;
    int ok = 1;
    thread_pool_lock(&s->lock);
    if (s->table == NULL || s->count >= (s->mask + 1) / 4 * 3) ok = hexz_pack_i_rehash(c, s);
    if (ok) {
        uint32_t i;
        for (; (i = s->table[at & s->mask]) != 0; at++) {
            node = hexz_pack_i_node_at(s, i - 1);
            if (memcmp(node->hash, hash, 32) == 0) break;
        }
        if (i != 0) {
            *ticket = (i - 1) * HEXZ_PACK_I_SHARDS + which;
            *wanted = !(node->owner & HEXZ_PACK_I_COMMITTED) && number < node->owner;
            if (*wanted) node->owner = number;
        } else if ((node = hexz_pack_i_new_node(c, s)) != NULL) {
            memcpy(node->hash, hash, 32);
            node->owner = number;
            *ticket = s->count * HEXZ_PACK_I_SHARDS + which;
            s->table[at & s->mask] = ++s->count;
            *wanted = 1;
        } else {
            ok = 0;
        }
    }
    thread_pool_unlock(&s->lock);
    return ok ? POSIO_OK : hexz_pack_i_no_memory(err);
}

/* Chunk `number`, whose turn it is, becomes `entry` if it has the claim: returns 1. Else the claim
   is an entry's: *original. Lower chunks are committed, and all that is lower has claimed. */
static int hexz_pack_i_commit(hexz_pack_i_claims *c, uint32_t ticket, uint64_t number,
                              uint64_t entry, uint64_t *original)
{
    hexz_pack_i_shard *s = &c->shards[ticket % HEXZ_PACK_I_SHARDS];
    hexz_pack_i_node *node = hexz_pack_i_ticket(c, ticket);
    int mine;
    thread_pool_lock(&s->lock);
    mine = node->owner == number;
    if (mine) node->owner = HEXZ_PACK_I_COMMITTED | entry;
    else *original = node->owner & ~HEXZ_PACK_I_COMMITTED;
    thread_pool_unlock(&s->lock);
    return mine;
}

static void hexz_pack_i_claims_end(hexz_pack_i_claims *c)
{
    uint32_t i, k;
    for (i = 0; i < c->ready; i++) {
        for (k = 0; k < HEXZ_PACK_I_SEGMENTS; k++)
            posio_release(&c->alloc, c->shards[i].segments[k]);
        posio_release(&c->alloc, c->shards[i].table);
        thread_pool_mutex_destroy(&c->shards[i].lock);
    }
    c->ready = 0;
}

/* *c is zero before. */
static posio_result hexz_pack_i_claims_begin(hexz_pack_i_claims *c, const posio_alloc *alloc,
                                             posio_error *err)
{
    c->alloc = *alloc;
    for (; c->ready < HEXZ_PACK_I_SHARDS; c->ready++)
        if (!thread_pool_mutex_init(&c->shards[c->ready].lock)) {
            hexz_pack_i_claims_end(c);
            return hexz_pack_i_no_memory(err);
        }
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- the writer

/* A table that is written: all but its hashes, which the claims hold. */
typedef struct hexz_pack_i_kept {
    unsigned char *bytes; /* head and columns, without hashes; then the tickets */
    uint32_t size, entries, stored, frame;
    uint64_t offset, file_offset; /* of the content; of the table */
    uint8_t hash[32];
} hexz_pack_i_kept;

/* The table that is being filled. */
typedef struct hexz_pack_i_group {
    uint32_t n, m;
    uint64_t entry, offset, file_offset; /* where it begins */
    uint64_t sizes[HEXZ_PACK_I_ENTRIES];
    uint64_t back[HEXZ_PACK_I_ENTRIES]; /* of duplicates */
    uint32_t stored[HEXZ_PACK_I_ENTRIES], crc[HEXZ_PACK_I_ENTRIES], ticket[HEXZ_PACK_I_ENTRIES];
    unsigned char kinds[HEXZ_PACK_I_ENTRIES];
} hexz_pack_i_group;

/* Where bytes come from in a run of the pipeline. */
typedef struct hexz_pack_i_input {
    const unsigned char *memory;
    size_t memory_left;
    const posio_stream *stream;
    const posio_source *source;
    uint64_t at;               /* of the source */
    uint64_t base;             /* of the content, where the source begins */
    uint64_t data_from;        /* of the source: data from here */
    uint64_t data_to, hole_to; /* up to here, then zeros up to there */
    uint64_t careful_to;       /* a read up to here has failed: block by block */
    int ended;                 /* the stream has no more */
    int final;                 /* there is nothing behind it: what is left is a chunk */
} hexz_pack_i_input;

struct hexz_pack_writer {
    hexz_pack_desc desc;
    hexz_pack_i_engine engine;
    hexz_pack_i_claims claims;
    hexz_pack_i_gear gear;
    hexz_pack_i_map map;
    hexz_pack_i_input input;
    hexz_pack_i_group group;
    hexz_pack_stats stats;
    posio_sink sink;
#ifndef POSIO_NO_FILES
    posio_file_sink *file;
#endif
    unsigned char superblock[HEXZ_PACK_I_SUPERBLOCK];
    uint64_t at; /* bytes of the archive so far */
    uint64_t frames;
    uint64_t grid; /* of the content: fixed chunks are counted from here */
    size_t filled; /* bytes in out */
    hexz_pack_i_kept *kept;
    uint64_t kept_count, kept_room;
    hexz_pack_item *items; /* key and value in one block, key first */
    uint64_t item_count, item_room, item_bytes;
    unsigned char *carry; /* content that no chunk is made of yet: [carry_at, carry_n) */
    size_t carry_at, carry_n, carry_room;
    uint32_t *ready; /* sizes of the chunks in carry, when the caller has cut them */
    uint32_t ready_at, ready_n;
    posio_error failure;
    unsigned char out[HEXZ_PACK_I_OUT];
};

enum { HEXZ_PACK_I_READY = 1024 }; /* chunks of the caller's that are gathered */

static posio_result hexz_pack_i_flush(hexz_pack_writer *w, posio_error *err)
{
    posio_result r = POSIO_OK;
    if (w->filled != 0) r = w->sink.write(w->sink.self, w->out, w->filled, err);
    w->filled = 0;
    return r;
}

static posio_result hexz_pack_i_put(hexz_pack_writer *w, const void *p, size_t n, posio_error *err)
{
    posio_result r = POSIO_OK;
    if (n > sizeof w->out - w->filled || n >= HEXZ_PACK_I_OUT_LARGE) r = hexz_pack_i_flush(w, err);
    if (r != POSIO_OK) return r;
    if (n >= HEXZ_PACK_I_OUT_LARGE) {
        r = w->sink.write(w->sink.self, p, n, err);
    } else {
        memcpy(w->out + w->filled, p, n);
        w->filled += n;
    }
    w->at += n;
    return r;
}

/* Is there room for so many frames more? For the pages of the tables so far, the table and page of
   the group, directory and trailer there always is: what was appended can be finished. */
static posio_result hexz_pack_i_frames_fit(const hexz_pack_writer *w, unsigned more,
                                           posio_error *err)
{
    if (w->frames + w->kept_count + 4 + more <= HEXZ_PACK_TEST_FRAMES) return POSIO_OK;
    return posio_fail(err, POSIO_E_LIMIT, w->stats.size,
                      "a seek table has room for 2^27 frames; larger chunks are needed");
}

/* A frame, which gets an entry in the seek table. */
static posio_result hexz_pack_i_put_frame(hexz_pack_writer *w, const void *p, size_t n,
                                          posio_error *err)
{
    w->frames++;
    return hexz_pack_i_put(w, p, n, err);
}

/* The frame of a table, from what is kept of it. Returns bytes. */
static size_t hexz_pack_i_table_frame(const hexz_pack_writer *w, const hexz_pack_i_kept *kept,
                                      unsigned char *frame)
{
    uint32_t i;
    unsigned char *p = frame + kept->size;
    memcpy(frame, kept->bytes, kept->size);
    for (i = 0; i < kept->stored; i++, p += 32) {
        uint32_t ticket = posio_le32(kept->bytes + kept->size + (size_t)4 * i);
        memcpy(p, hexz_pack_i_ticket(&w->claims, ticket)->hash, 32);
    }
    hexz_pack_i_seal(frame, kept->frame);
    return kept->frame;
}

/* The columns of the group, but for its hashes; instead of these its tickets follow. */
static unsigned char *hexz_pack_i_columns_of(const hexz_pack_i_group *g, unsigned char *p)
{
    uint32_t i;
    p = hexz_pack_i_put32(p, g->n);
    p = hexz_pack_i_put32(p, g->m);
    p = hexz_pack_i_put64(p, g->entry);
    p = hexz_pack_i_put64(p, g->offset);
    p = hexz_pack_i_put64(p, g->file_offset);
    memcpy(p, g->kinds, g->n);
    p += g->n;
    for (i = 0; i < g->n; i++) p = hexz_pack_i_put_varint(p, g->sizes[i]);
    for (i = 0; i < g->n; i++)
        if (g->kinds[i] == HEXZ_PACK_DUPLICATE) p = hexz_pack_i_put_varint(p, g->back[i]);
    for (i = 0; i < g->m; i++) p = hexz_pack_i_put_varint(p, g->stored[i]);
    for (i = 0; i < g->m; i++) p = hexz_pack_i_put32(p, g->crc[i]);
    return p;
}

/* Ends the group: writes its table, and keeps what its page needs. */
static posio_result hexz_pack_i_end_group(hexz_pack_writer *w, posio_error *err)
{
    hexz_pack_i_group *g = &w->group;
    unsigned char frame[HEXZ_PACK_I_TABLE_MAX], *p;
    hexz_pack_i_kept *k;
    void *kept = w->kept;
    posio_result r;
    uint32_t i;
    if (g->n == 0) return POSIO_OK;
    if (!posio_grow(&w->desc.alloc, &kept, w->kept_count, &w->kept_room, sizeof *k))
        return hexz_pack_i_no_memory(err);
    w->kept = (hexz_pack_i_kept *)kept;
    k = &w->kept[w->kept_count];
    memset(k, 0, sizeof *k);
    k->size = (uint32_t)(hexz_pack_i_columns_of(g, frame + 12) - frame);
    k->entries = g->n;
    k->stored = g->m;
    k->offset = g->offset;
    k->file_offset = w->at;
    k->frame = k->size + 32 * g->m + 4;
    (void)hexz_pack_i_put_head(frame, k->frame, "HXPT");
    k->bytes = (unsigned char *)posio_allocate(&w->desc.alloc, k->size + (size_t)4 * g->m);
    if (k->bytes == NULL) return hexz_pack_i_no_memory(err);
    w->kept_count++;
    memcpy(k->bytes, frame, k->size);
    for (i = 0, p = k->bytes + k->size; i < g->m; i++) p = hexz_pack_i_put32(p, g->ticket[i]);
    (void)hexz_pack_i_table_frame(w, k, frame);
    (void)digest_of(DIGEST_BLAKE3, frame, k->frame, k->hash);
    r = hexz_pack_i_put_frame(w, frame, k->frame, err);
    g->n = g->m = 0;
    return r;
}

/* Appends an entry of `size` bytes of content; *i is its place in the group. */
static posio_result hexz_pack_i_add_entry(hexz_pack_writer *w, uint32_t kind, uint64_t size,
                                          uint32_t *i, posio_error *err)
{
    hexz_pack_i_group *g = &w->group;
    posio_result r = POSIO_OK;
    if (g->n == HEXZ_PACK_I_ENTRIES) r = hexz_pack_i_end_group(w, err);
    if (r == POSIO_OK && g->n == 0) r = hexz_pack_i_frames_fit(w, 0, err);
    if (r != POSIO_OK) return r;
    if (g->n == 0) {
        g->entry = w->stats.entries;
        g->offset = w->stats.size;
        g->file_offset = w->at;
    }
    *i = g->n++;
    g->kinds[*i] = (unsigned char)kind;
    g->sizes[*i] = size;
    w->stats.entries++;
    w->stats.size += size;
    return POSIO_OK;
}

/* Runs of zeros become one, within a group, however they came. */
static posio_result hexz_pack_i_add_zeros(hexz_pack_writer *w, uint64_t n, posio_error *err)
{
    hexz_pack_i_group *g = &w->group;
    posio_result r = POSIO_OK;
    uint32_t i;
    if (g->n != 0 && g->kinds[g->n - 1] == HEXZ_PACK_ZERO) {
        g->sizes[g->n - 1] += n;
        w->stats.size += n;
    } else {
        r = hexz_pack_i_add_entry(w, HEXZ_PACK_ZERO, n, &i, err);
    }
    if (r == POSIO_OK) w->stats.zero_bytes += n;
    return r;
}

static posio_result hexz_pack_i_add_stored(hexz_pack_writer *w, const hexz_pack_chunk *k,
                                           uint32_t i, posio_error *err)
{
    hexz_pack_i_group *g = &w->group;
    posio_result r = hexz_pack_i_frames_fit(w, 1, err);
    if (r != POSIO_OK) return r;
    g->kinds[i] = (unsigned char)k->kind;
    g->stored[g->m] = (uint32_t)k->stored_size;
    g->crc[g->m] = k->crc;
    g->ticket[g->m++] = k->ticket;
    w->stats.stored++;
    w->stats.unique_bytes += k->size;
    w->stats.stored_bytes += k->stored_size;
    return hexz_pack_i_put_frame(w, k->stored, k->stored_size, err);
}

/* The pipeline's lane. */
static posio_result hexz_pack_i_write(void *user, const hexz_pack_chunk *k, posio_error *err)
{
    hexz_pack_writer *w = (hexz_pack_writer *)user;
    uint64_t original = 0, entry;
    uint32_t i = 0;
    posio_result r;
    if (k->data == NULL) return hexz_pack_i_add_zeros(w, k->size, err);
    r = hexz_pack_i_add_entry(w, HEXZ_PACK_DUPLICATE, k->size, &i, err);
    if (r != POSIO_OK) return r;
    entry = w->stats.entries - 1;
    if (hexz_pack_i_commit(&w->claims, k->ticket, k->number, entry, &original))
        return hexz_pack_i_add_stored(w, k, i, err);
    w->group.back[i] = entry - original;
    w->stats.duplicates++;
    w->stats.duplicate_bytes += k->size;
    return POSIO_OK;
}

static posio_result hexz_pack_i_claim_chunk(void *user, const hexz_pack_chunk *k, int *wanted,
                                            uint32_t *ticket, posio_error *err)
{
    hexz_pack_writer *w = (hexz_pack_writer *)user;
    return hexz_pack_i_claim(&w->claims, k->hash, k->number, wanted, ticket, err);
}

static int hexz_pack_i_write_progress(void *user, uint64_t done, uint64_t total)
{
    const hexz_pack_writer *w = (const hexz_pack_writer *)user;
    return w->desc.progress(w->desc.user, done, total);
}

// ---------------------------------------------------------------------------------- feeding

/* Content that is gathered or under way, in the order of the content: the carry, then memory, a
   stream or a source. */
static size_t hexz_pack_i_from_carry(hexz_pack_writer *w, unsigned char *to, size_t n)
{
    n = (size_t)posio_min(n, w->carry_n - w->carry_at);
    if (n != 0) memcpy(to, w->carry + w->carry_at, n);
    w->carry_at += n;
    return n;
}

/* Asks the source what comes: data up to data_to, then zeros that need not be read up to hole_to.
   Of zeros only whole chunks on the grid are of use for fixed chunks: with others they would not be
   where they are without knowing of the zeros. */
static posio_result hexz_pack_i_next_extent(hexz_pack_writer *w, posio_error *err)
{
    hexz_pack_i_input *in = &w->input;
    const uint64_t size = in->source->size, chunk = w->desc.chunk_avg;
    posio_extent x;
    memset(&x, 0, sizeof x);
    in->data_from = in->data_to = in->hole_to = in->at;
    while (in->data_to < size) {
        uint64_t from = in->data_to, to;
        posio_result r = posio_extent_of(in->source, from, &x, err);
        if (r != POSIO_OK) return r;
        if (x.length == 0)
            return posio_fail(err, POSIO_E_DATA, from, "the source knows of an empty extent");
        to = from + posio_min(x.length, size - from);
        in->data_to = in->hole_to = to;
        if (x.kind != POSIO_EXTENT_ZERO && x.kind != POSIO_EXTENT_HOLE) {
            if (to - in->at >= HEXZ_PACK_I_BATCH) return POSIO_OK;
            continue;
        }
        if (w->desc.chunker == HEXZ_PACK_FIXED) {
            from += (chunk - (in->base + from - w->grid) % chunk) % chunk;
            if (from < to) to -= (in->base + to - w->grid) % chunk;
        }
        if (to > from && to - from >= chunk) {
            in->data_to = from;
            in->hole_to = to;
            return POSIO_OK;
        }
    }
    return POSIO_OK;
}

/* The part of a source's block from in->at on, n bytes at most, by a read of the whole block. */
static posio_result hexz_pack_i_fetch_block(hexz_pack_i_input *in, unsigned char *to, size_t n,
                                            size_t *got, posio_error *err)
{
    unsigned char block[HEXZ_PACK_I_SOURCE_BLOCK];
    uint64_t from = in->at - in->at % sizeof block;
    const uint64_t end = posio_min(from + sizeof block, in->data_to);
    posio_result r;
    if (from < in->data_from) from = in->data_from;
    r = posio_read(in->source, from, block, (size_t)(end - from), err);
    if (r != POSIO_OK) return r;
    *got = (size_t)posio_min(n, end - in->at);
    memcpy(to, block + (size_t)(in->at - from), *got);
    return POSIO_OK;
}

/* Data of the source. How much of it there is room for depends on slots, and so on the number of
   threads; where reading fails, and with which error, must not. So whole blocks are read, and after
   a failure one by one. (Fixed chunks are read as they are.) */
static posio_result hexz_pack_i_fetch_source(hexz_pack_writer *w, unsigned char *to, size_t n,
                                             size_t *got, posio_error *err)
{
    hexz_pack_i_input *in = &w->input;
    uint64_t end = in->at + posio_min(n, in->data_to - in->at);
    posio_result r;
    if (end != in->data_to && w->desc.chunker != HEXZ_PACK_FIXED)
        end -= end % HEXZ_PACK_I_SOURCE_BLOCK;
    if (end <= in->at || in->at < in->careful_to) {
        r = hexz_pack_i_fetch_block(in, to, n, got, err);
    } else {
        *got = (size_t)(end - in->at);
        r = posio_read(in->source, in->at, to, *got, err);
        if (r != POSIO_OK && w->desc.chunker != HEXZ_PACK_FIXED) {
            in->careful_to = end;
            r = hexz_pack_i_fetch_block(in, to, n, got, err);
        }
    }
    if (r == POSIO_OK) in->at += *got;
    return r;
}

/* Up to n bytes more; *got = 0: there is nothing, or zeros that need not be read. */
static posio_result hexz_pack_i_fetch(hexz_pack_writer *w, unsigned char *to, size_t n, size_t *got,
                                      posio_error *err)
{
    hexz_pack_i_input *in = &w->input;
    posio_result r = POSIO_OK;
    *got = hexz_pack_i_from_carry(w, to, n);
    if (*got != 0) return POSIO_OK;
    if (in->memory_left != 0) {
        *got = (size_t)posio_min(n, in->memory_left);
        memcpy(to, in->memory, *got);
        in->memory += *got;
        in->memory_left -= *got;
    } else if (in->stream != NULL && !in->ended) {
        r = in->stream->read(in->stream->self, to, n, got, err);
        in->ended = *got == 0;
    } else if (in->source != NULL && in->at < in->data_to) {
        r = hexz_pack_i_fetch_source(w, to, n, got, err);
    }
    return r;
}

/* Chunks as the caller has cut them. */
static posio_result hexz_pack_i_feed_ready(hexz_pack_writer *w, hexz_pack_feed *f)
{
    if (w->ready_at == w->ready_n) return POSIO_OK;
    f->size = f->have = hexz_pack_i_from_carry(w, f->data, w->ready[w->ready_at++]);
    return POSIO_OK;
}

/* Fixed chunks of a source that nothing waits before: the workers read them. */
static int hexz_pack_i_feed_later(const hexz_pack_writer *w, hexz_pack_feed *f)
{
    const hexz_pack_i_input *in = &w->input;
    return in->source != NULL && w->desc.chunker == HEXZ_PACK_FIXED && f->have == 0 &&
           w->carry_at == w->carry_n && in->at < in->data_to &&
           in->data_to - in->at >= w->desc.chunk_avg;
}

/* Blocks to be mapped, from the end of the map on. */
typedef struct hexz_pack_i_ahead {
    hexz_pack_writer *w;
    const unsigned char *p;
    uint64_t blocks;
} hexz_pack_i_ahead;

static posio_result hexz_pack_i_map_part(void *user, uint32_t part, posio_error *err)
{
    const hexz_pack_i_ahead *a = (const hexz_pack_i_ahead *)user;
    uint64_t i = (uint64_t)part * HEXZ_PACK_I_MAP_PART, at;
    const uint64_t end = posio_min(i + HEXZ_PACK_I_MAP_PART, a->blocks);
    (void)err;
    for (; i < end; i++) {
        at = i * HEXZ_PACK_I_MAP_BLOCK;
        hexz_pack_i_map_block(&a->w->gear, &a->w->map, a->p + (size_t)at, a->w->map.to + at);
    }
    return POSIO_OK;
}

/* The length of the chunk that p[0, n), the next content, begins with. First the map is brought up
   to where whole blocks end, by all threads: one that cuts for others was what duplicates waited
   for (0.51 ns a byte by the clock, of 0.75 ns of CPU on two threads). Not for chunks that are so
   small that the map would hardly have a 0. */
static size_t hexz_pack_i_measure(hexz_pack_writer *w, const unsigned char *p, size_t n)
{
    hexz_pack_i_map *m = &w->map;
    const uint64_t at = w->engine.offset;
    hexz_pack_i_ahead a;
    if (w->desc.chunk_avg >= HEXZ_PACK_I_MAP_AVERAGE) {
        if (m->to < at + 64)
            m->from = m->to = at + 64 + (HEXZ_PACK_I_MAPPED - (at + 64) % HEXZ_PACK_I_MAPPED);
        a.w = w;
        a.p = p + (size_t)(m->to - at);
        a.blocks = m->to - at < n ? (n - (m->to - at)) / HEXZ_PACK_I_MAP_BLOCK : 0;
        if (a.blocks != 0 &&
            thread_pool_parallel_for(
                w->desc.pool,
                (uint32_t)((a.blocks + HEXZ_PACK_I_MAP_PART - 1) / HEXZ_PACK_I_MAP_PART),
                hexz_pack_i_map_part, &a, NULL) == POSIO_OK)
            m->to += a.blocks * HEXZ_PACK_I_MAP_BLOCK;
    }
    return hexz_pack_i_cut(&w->gear, m, p, n, at);
}

static posio_result hexz_pack_i_next(void *user, hexz_pack_feed *f, posio_error *err)
{
    hexz_pack_writer *w = (hexz_pack_writer *)user;
    hexz_pack_i_input *in = &w->input;
    const int fixed = w->desc.chunker == HEXZ_PACK_FIXED;
    const size_t most = w->desc.chunk_max;
    size_t got = 1, want = fixed && in->source != NULL ? most : f->room;
    if (w->ready_n != 0) return hexz_pack_i_feed_ready(w, f);
    while (f->have < most && got != 0) {
        posio_result r = POSIO_OK;
        if (in->source != NULL && in->at == in->hole_to && w->carry_at == w->carry_n)
            r = hexz_pack_i_next_extent(w, err);
        if (r != POSIO_OK) return r;
        if (hexz_pack_i_feed_later(w, f)) {
            f->size = most;
            f->later = 1;
            in->at += most;
            return POSIO_OK;
        }
        r = hexz_pack_i_fetch(w, f->data + f->have, want - f->have, &got, err);
        if (r != POSIO_OK) return r;
        f->have += got;
    }
    if (in->source != NULL && in->at < in->hole_to && in->at >= in->data_to && got == 0) {
        if (f->have == 0) { /* zeros are next */
            f->zeros = in->hole_to - in->at;
            in->at = in->hole_to;
        } else {
            f->size = fixed ? f->have : hexz_pack_i_measure(w, f->data, f->have);
        }
        return POSIO_OK;
    }
    if (f->have >= most || in->final) {
        f->size =
            fixed ? (size_t)posio_min(f->have, most) : hexz_pack_i_measure(w, f->data, f->have);
        return POSIO_OK;
    }
    memcpy(w->carry, f->data, f->have); /* for what is appended next */
    w->carry_at = 0;
    w->carry_n = f->have;
    return POSIO_OK;
}

static posio_result hexz_pack_i_load_chunks(void *user, uint64_t offset, void *data, size_t n,
                                            posio_error *err)
{
    const hexz_pack_writer *w = (const hexz_pack_writer *)user;
    return posio_read(w->input.source, offset - w->input.base, data, n, err);
}

/* Keeps the first error of a writer, and gives it again. */
static posio_result hexz_pack_i_failed(hexz_pack_writer *w, posio_result r, posio_error *err)
{
    if (r != POSIO_OK && w->failure.code == POSIO_OK) w->failure.code = r;
    if (w->failure.code != POSIO_OK && err != NULL) *err = w->failure;
    return w->failure.code;
}

/* Packs the carry and the input. */
static posio_result hexz_pack_i_run(hexz_pack_writer *w, const hexz_pack_i_input *in,
                                    uint64_t total, posio_error *err)
{
    posio_result r;
    w->input = *in;
    w->engine.job.total = total;
    r = hexz_pack_i_engine_run(&w->engine, &w->failure);
    if (w->carry_at == w->carry_n) w->carry_at = w->carry_n = 0;
    if (w->ready_n != 0 && r == POSIO_OK) {
        w->ready_at = w->ready_n = 0;
        w->grid = w->stats.size;
    }
    w->input.source = NULL;
    return hexz_pack_i_failed(w, r, err);
}

/* Makes room in the carry for less than a chunk, or for all that append gathers. */
static posio_result hexz_pack_i_carry_room(hexz_pack_writer *w, int gathers, posio_error *err)
{
    size_t room = w->desc.chunk_max;
    unsigned char *carry;
    if (gathers && w->engine.slots * w->engine.batch > room)
        room = w->engine.slots * w->engine.batch;
    if (gathers && room < 2 * (size_t)w->desc.chunk_max) room = 2 * (size_t)w->desc.chunk_max;
    if (w->carry_room >= room) return POSIO_OK;
    carry = (unsigned char *)posio_allocate(&w->desc.alloc, room);
    if (carry == NULL) return hexz_pack_i_failed(w, hexz_pack_i_no_memory(&w->failure), err);
    if (w->carry_n != 0) memcpy(carry, w->carry, w->carry_n);
    posio_release(&w->desc.alloc, w->carry);
    w->carry = carry;
    w->carry_room = room;
    return POSIO_OK;
}

/* What waits becomes chunks. */
static posio_result hexz_pack_i_settle(hexz_pack_writer *w, posio_error *err)
{
    hexz_pack_i_input in;
    if (w->carry_n == w->carry_at) return POSIO_OK;
    memset(&in, 0, sizeof in);
    in.final = 1;
    return hexz_pack_i_run(w, &in, HEXZ_PACK_NONE, err);
}

/* May bytes be appended now? Chunks of the caller's go first. */
static posio_result hexz_pack_i_ready_for_bytes(hexz_pack_writer *w, int gathers, posio_error *err)
{
    posio_result r = hexz_pack_i_failed(w, POSIO_OK, err);
    if (r == POSIO_OK) r = hexz_pack_i_carry_room(w, gathers, err);
    if (r == POSIO_OK && w->ready_n != 0) r = hexz_pack_i_settle(w, err);
    return r;
}

HEXZ_PACK_API posio_result hexz_pack_append(hexz_pack_writer *w, const void *data, size_t n,
                                            posio_error *err)
{
    hexz_pack_i_input in;
    posio_result r = hexz_pack_i_ready_for_bytes(w, 1, err);
    if (r != POSIO_OK) return r;
    if (n <= w->carry_room - w->carry_n) {
        if (n != 0) memcpy(w->carry + w->carry_n, data, n);
        w->carry_n += n;
        return POSIO_OK;
    }
    memset(&in, 0, sizeof in);
    in.memory = (const unsigned char *)data;
    in.memory_left = n;
    return hexz_pack_i_run(w, &in, HEXZ_PACK_NONE, err);
}

HEXZ_PACK_API posio_result hexz_pack_append_stream(hexz_pack_writer *w, const posio_stream *stream,
                                                   posio_error *err)
{
    hexz_pack_i_input in;
    posio_result r = hexz_pack_i_ready_for_bytes(w, 0, err);
    if (r != POSIO_OK) return r;
    memset(&in, 0, sizeof in);
    in.stream = stream;
    return hexz_pack_i_run(w, &in, HEXZ_PACK_NONE, err);
}

HEXZ_PACK_API posio_result hexz_pack_append_source(hexz_pack_writer *w, const posio_source *source,
                                                   posio_error *err)
{
    hexz_pack_i_input in;
    posio_result r = hexz_pack_i_ready_for_bytes(w, 0, err);
    if (r != POSIO_OK) return r;
    memset(&in, 0, sizeof in);
    in.source = source;
    in.base = w->engine.offset + (w->carry_n - w->carry_at);
    if (source->size > (uint64_t)INT64_MAX - in.base)
        return posio_fail(err, POSIO_E_LIMIT, in.base, "more than 2^63 - 1 bytes of content");
    return hexz_pack_i_run(w, &in, in.base + source->size, err);
}

HEXZ_PACK_API posio_result hexz_pack_append_chunk(hexz_pack_writer *w, const void *data, size_t n,
                                                  posio_error *err)
{
    posio_result r = hexz_pack_i_failed(w, POSIO_OK, err);
    if (r != POSIO_OK) return r;
    if (n == 0 || n > w->desc.chunk_max)
        return posio_fail(err, POSIO_E_ARG, w->stats.size, "a chunk has 1 to chunk_max bytes");
    r = hexz_pack_i_carry_room(w, 1, err);
    if (r == POSIO_OK && w->ready == NULL) {
        w->ready = (uint32_t *)posio_allocate(&w->desc.alloc, HEXZ_PACK_I_READY * sizeof *w->ready);
        if (w->ready == NULL) r = hexz_pack_i_failed(w, hexz_pack_i_no_memory(&w->failure), err);
    }
    if (r == POSIO_OK &&
        (w->ready_n == 0 || w->ready_n == HEXZ_PACK_I_READY || n > w->carry_room - w->carry_n))
        r = hexz_pack_i_settle(w, err);
    if (r != POSIO_OK) return r;
    memcpy(w->carry + w->carry_n, data, n);
    w->carry_n += n;
    w->ready[w->ready_n++] = (uint32_t)n;
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- tables, read

/* The columns of a table, taken apart; pointers are into its bytes. */
typedef struct hexz_pack_i_columns {
    uint32_t n, m;
    uint64_t entry, offset, file_offset;
    uint64_t size, stored_size; /* of all of its content, of its stored chunks' frames */
    const unsigned char *kinds, *crc;
    uint64_t sizes[HEXZ_PACK_I_ENTRIES], back[HEXZ_PACK_I_ENTRIES]; /* 0: not a duplicate */
    uint32_t stored[HEXZ_PACK_I_ENTRIES];
} hexz_pack_i_columns;

static int hexz_pack_i_is_stored(uint32_t kind) { return kind >= HEXZ_PACK_RAW; }

/* Sizes that this one, an entry's, can have. */
static int hexz_pack_i_size_is_good(uint32_t kind, uint64_t size, uint32_t most, uint64_t sum)
{
    if (size == 0 || size > (uint64_t)INT64_MAX - sum) return 0;
    return kind == HEXZ_PACK_ZERO || size <= most;
}
static int hexz_pack_i_stored_is_good(uint32_t kind, uint64_t stored, uint64_t size)
{
    if (kind == HEXZ_PACK_RAW) return stored == hexz_pack_i_raw_size((size_t)size);
    return stored > 8 && stored <= hexz_pack_i_bound((size_t)size);
}

/* Takes the bytes of a table apart, but for its hashes; `end` of these columns. NULL, or what is
   wrong. Everything that a table can say wrongly by itself is found here. */
static const char *hexz_pack_i_parse(hexz_pack_i_columns *c, const unsigned char *p, size_t size,
                                     uint32_t most, const unsigned char **end)
{
    const unsigned char *to = p + size;
    uint32_t i, k = 0;
    c->n = posio_le32(p + 12);
    c->m = posio_le32(p + 16);
    c->entry = posio_le64(p + 20);
    c->offset = posio_le64(p + 28);
    c->file_offset = posio_le64(p + 36);
    c->size = c->stored_size = 0;
    if (c->n == 0 || c->n > HEXZ_PACK_I_ENTRIES || c->m > c->n) return "impossible counts";
    if (c->n > size - HEXZ_PACK_I_TABLE_HEAD) return "it is too short";
    c->kinds = p + HEXZ_PACK_I_TABLE_HEAD;
    p = c->kinds + c->n;
    for (i = 0; i < c->n && p != NULL; i++) {
        if (c->kinds[i] >= HEXZ_PACK_KINDS) return "an entry of a kind that is not known";
        k += hexz_pack_i_is_stored(c->kinds[i]) ? 1u : 0u;
        p = hexz_pack_i_get_varint(p, to, &c->sizes[i]);
        if (p == NULL || !hexz_pack_i_size_is_good(c->kinds[i], c->sizes[i], most, c->size))
            return "an entry of an impossible size";
        c->size += c->sizes[i];
    }
    if (k != c->m) return "impossible counts";
    for (i = 0; i < c->n; i++) {
        c->back[i] = 0;
        if (c->kinds[i] != HEXZ_PACK_DUPLICATE) continue;
        p = hexz_pack_i_get_varint(p, to, &c->back[i]);
        if (p == NULL || c->back[i] == 0 || c->back[i] > c->entry + i)
            return "a duplicate of nothing";
    }
    for (i = k = 0; i < c->n; i++) {
        uint64_t stored;
        if (!hexz_pack_i_is_stored(c->kinds[i])) continue;
        p = hexz_pack_i_get_varint(p, to, &stored);
        if (p == NULL || !hexz_pack_i_stored_is_good(c->kinds[i], stored, c->sizes[i]))
            return "a chunk of an impossible stored size";
        c->stored[k++] = (uint32_t)stored;
        c->stored_size += stored;
    }
    if ((size_t)(to - p) < (size_t)4 * c->m) return "it is too short";
    c->crc = p;
    *end = p + (size_t)4 * c->m;
    return NULL;
}

// ---------------------------------------------------------------------------------- finishing

static posio_result hexz_pack_i_put_pair(hexz_pack_writer *w, uint64_t a, uint64_t b,
                                         posio_error *err)
{
    unsigned char pair[8];
    (void)hexz_pack_i_put32(pair, a);
    (void)hexz_pack_i_put32(pair + 4, b);
    return hexz_pack_i_put(w, pair, 8, err);
}

/* Source: SEEK, "Format". */
static posio_result hexz_pack_i_put_seek_table(hexz_pack_writer *w, uint64_t directory,
                                               posio_error *err)
{
    const uint64_t frames = w->frames;
    unsigned char foot[HEXZ_PACK_I_FOOTER];
    hexz_pack_i_columns c;
    const unsigned char *end;
    uint64_t i;
    uint32_t k, n;
    posio_result r =
        hexz_pack_i_put_pair(w, HEXZ_PACK_I_SKIP_SEEK, frames * 8 + HEXZ_PACK_I_FOOTER, err);
    if (r == POSIO_OK) r = hexz_pack_i_put_pair(w, HEXZ_PACK_I_SUPERBLOCK, 0, err);
    for (i = 0; i < w->kept_count && r == POSIO_OK; i++) {
        const hexz_pack_i_kept *kept = &w->kept[i];
        (void)hexz_pack_i_parse(&c, kept->bytes, kept->size, w->desc.chunk_max, &end);
        for (k = n = 0; k < c.n && r == POSIO_OK; k++)
            if (hexz_pack_i_is_stored(c.kinds[k]))
                r = hexz_pack_i_put_pair(w, c.stored[n++],
                                         c.kinds[k] == HEXZ_PACK_LZ4_BLOCK ? 0 : c.sizes[k], err);
        if (r == POSIO_OK) r = hexz_pack_i_put_pair(w, kept->frame, 0, err);
    }
    for (i = 0; i < w->kept_count && r == POSIO_OK; i++)
        r = hexz_pack_i_put_pair(w, w->kept[i].frame, 0, err);
    if (r == POSIO_OK) r = hexz_pack_i_put_pair(w, directory, 0, err);
    if (r == POSIO_OK) r = hexz_pack_i_put_pair(w, HEXZ_PACK_I_TRAILER, 0, err);
    (void)hexz_pack_i_put32(foot, frames);
    foot[4] = 0;
    (void)hexz_pack_i_put32(foot + 5, HEXZ_PACK_I_SEEK_MAGIC);
    return r == POSIO_OK ? hexz_pack_i_put(w, foot, sizeof foot, err) : r;
}

static void hexz_pack_i_root(const unsigned char *superblock, const unsigned char *directory,
                             size_t size, uint8_t root[32])
{
    static const char tag[32] = "hexz_pack root";
    digest d;
    (void)digest_begin(&d, DIGEST_BLAKE3);
    digest_update(&d, tag, sizeof tag);
    digest_update(&d, superblock, HEXZ_PACK_I_SUPERBLOCK);
    digest_update(&d, directory, size);
    (void)digest_result(&d, root);
}

static void hexz_pack_i_fill_directory(const hexz_pack_writer *w, unsigned char *frame, size_t size)
{
    const hexz_pack_stats *s = &w->stats;
    unsigned char *p = hexz_pack_i_put_head(frame, size, "HXPD");
    uint64_t i;
    p = hexz_pack_i_put32(p, w->kept_count);
    p = hexz_pack_i_put64(p, s->size);
    p = hexz_pack_i_put64(p, s->entries);
    p = hexz_pack_i_put64(p, s->stored);
    p = hexz_pack_i_put64(p, s->duplicates);
    p = hexz_pack_i_put64(p, s->zero_bytes);
    p = hexz_pack_i_put64(p, s->duplicate_bytes);
    p = hexz_pack_i_put64(p, s->unique_bytes);
    p = hexz_pack_i_put64(p, s->stored_bytes);
    p = hexz_pack_i_put32(p, w->item_count);
    for (i = 0; i < w->kept_count; i++) {
        const hexz_pack_i_kept *k = &w->kept[i];
        p = hexz_pack_i_put64(p, k->offset);
        p = hexz_pack_i_put64(p, k->file_offset);
        p = hexz_pack_i_put32(p, k->frame);
        p = hexz_pack_i_put32(p, k->entries);
        memcpy(p, k->hash, 32);
        p += 32;
    }
    for (i = 0; i < w->item_count; i++) {
        const hexz_pack_item *t = &w->items[i];
        const size_t n = strlen(t->key);
        p = hexz_pack_i_put32(p, n);
        p = hexz_pack_i_put32(p, t->size);
        memcpy(p, t->key, n);
        if (t->size != 0) memcpy(p + n, t->value, t->size);
        p += n + t->size;
    }
    hexz_pack_i_seal(frame, size);
}

/* Directory, trailer and seek table. */
static posio_result hexz_pack_i_put_end(hexz_pack_writer *w, posio_error *err)
{
    const uint64_t size = HEXZ_PACK_I_DIRECTORY_HEAD + w->kept_count * HEXZ_PACK_I_RECORD +
                          w->item_count * 8 + w->item_bytes + 4;
    unsigned char trailer[HEXZ_PACK_I_TRAILER], *directory, *p;
    posio_result r;
    if (size > UINT32_MAX || size > SIZE_MAX)
        return posio_fail(err, POSIO_E_LIMIT, w->stats.size, "the directory is too large");
    directory = (unsigned char *)posio_allocate(&w->desc.alloc, (size_t)size);
    if (directory == NULL) return hexz_pack_i_no_memory(err);
    hexz_pack_i_fill_directory(w, directory, (size_t)size);
    hexz_pack_i_root(w->superblock, directory, (size_t)size, w->stats.root);
    memset(trailer, 0, sizeof trailer);
    p = hexz_pack_i_put_head(trailer, sizeof trailer, "HXPE") + 4;
    p = hexz_pack_i_put64(p, w->at);
    p = hexz_pack_i_put64(p, size);
    memcpy(p, w->stats.root, 32);
    hexz_pack_i_seal(trailer, sizeof trailer);
    r = hexz_pack_i_put_frame(w, directory, (size_t)size, err);
    posio_release(&w->desc.alloc, directory);
    if (r == POSIO_OK) r = hexz_pack_i_put_frame(w, trailer, sizeof trailer, err);
    if (r == POSIO_OK) r = hexz_pack_i_put_seek_table(w, size, err);
    return r;
}

static posio_result hexz_pack_i_complete(hexz_pack_writer *w, posio_error *err)
{
    unsigned char frame[HEXZ_PACK_I_TABLE_MAX];
    uint64_t i;
    posio_result r = hexz_pack_i_end_group(w, err);
    for (i = 0; i < w->kept_count && r == POSIO_OK; i++) {
        size_t n = hexz_pack_i_table_frame(w, &w->kept[i], frame);
        r = hexz_pack_i_put_frame(w, frame, n, err);
    }
    if (r == POSIO_OK) r = hexz_pack_i_put_end(w, err);
    if (r == POSIO_OK) r = hexz_pack_i_flush(w, err);
    w->stats.file_size = w->at;
#ifndef POSIO_NO_FILES
    if (r == POSIO_OK && w->file != NULL) r = posio_file_sink_finish(w->file, err);
#endif
    return r;
}

/* Frees; the output has been dealt with. */
static void hexz_pack_i_writer_end(hexz_pack_writer *w)
{
    const posio_alloc a = w->desc.alloc;
    uint64_t i;
    for (i = 0; i < w->kept_count; i++) posio_release(&a, w->kept[i].bytes);
    for (i = 0; i < w->item_count; i++) posio_release(&a, (void *)(uintptr_t)w->items[i].key);
    posio_release(&a, w->kept);
    posio_release(&a, w->items);
    posio_release(&a, w->carry);
    posio_release(&a, w->ready);
    hexz_pack_i_claims_end(&w->claims);
    hexz_pack_i_engine_end(&w->engine);
    posio_release(&a, w);
}

HEXZ_PACK_API posio_result hexz_pack_finish(hexz_pack_writer *w, hexz_pack_stats *stats,
                                            posio_error *err)
{
    posio_result r = hexz_pack_i_failed(w, POSIO_OK, err);
    if (r == POSIO_OK) r = hexz_pack_i_settle(w, err);
    if (r == POSIO_OK) r = hexz_pack_i_complete(w, err);
    if (r != POSIO_OK) {
        hexz_pack_abort(w);
        return r;
    }
    if (stats != NULL) *stats = w->stats;
#ifndef POSIO_NO_FILES
    posio_file_sink_close(w->file);
#endif
    hexz_pack_i_writer_end(w);
    return POSIO_OK;
}

HEXZ_PACK_API void hexz_pack_abort(hexz_pack_writer *w)
{
    if (w == NULL) return;
#ifndef POSIO_NO_FILES
    posio_file_sink_abort(w->file);
#endif
    hexz_pack_i_writer_end(w);
}

HEXZ_PACK_API void hexz_pack_so_far(const hexz_pack_writer *w, hexz_pack_stats *out)
{
    *out = w->stats;
    out->file_size = w->at;
    memset(out->root, 0, sizeof out->root);
}

HEXZ_PACK_API posio_result hexz_pack_add_item(hexz_pack_writer *w, const hexz_pack_item *item,
                                              posio_error *err)
{
    const size_t n = item->key != NULL ? strlen(item->key) : 0;
    void *items = w->items;
    hexz_pack_item copy;
    char *block;
    posio_result r = hexz_pack_i_failed(w, POSIO_OK, err);
    if (r != POSIO_OK) return r;
    if (n == 0 || n > 255 || (item->value == NULL && item->size != 0))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "hexz_pack: an impossible item");
    if (w->item_count == HEXZ_PACK_I_ITEMS || item->size > HEXZ_PACK_I_ITEM_BYTES ||
        w->item_bytes + n + item->size > HEXZ_PACK_I_ITEM_BYTES)
        return posio_fail(err, POSIO_E_LIMIT, POSIO_NO_OFFSET,
                          "metadata: 65,536 items and 16 MiB, and no more");
    block = (char *)posio_allocate(&w->desc.alloc, n + 1 + item->size);
    if (block == NULL) return hexz_pack_i_no_memory(err);
    if (!posio_grow(&w->desc.alloc, &items, w->item_count, &w->item_room, sizeof copy)) {
        posio_release(&w->desc.alloc, block);
        return hexz_pack_i_no_memory(err);
    }
    memcpy(block, item->key, n + 1);
    if (item->size != 0) memcpy(block + n + 1, item->value, item->size);
    copy.key = block;
    copy.value = block + n + 1;
    copy.size = item->size;
    w->items = (hexz_pack_item *)items;
    w->items[w->item_count++] = copy;
    w->item_bytes += n + item->size;
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- beginning

/* Makes the chunker's numbers definite. */
static const char *hexz_pack_i_check_chunker(hexz_pack_desc *d)
{
    if (d->chunker > HEXZ_PACK_CDC) return "no such chunker";
    if (d->chunker == HEXZ_PACK_AUTO) d->chunker = HEXZ_PACK_CDC;
    if (d->chunk_avg == 0) d->chunk_avg = 64 << 10;
    if (d->chunk_avg < 64 || d->chunk_avg > HEXZ_PACK_CHUNK_MAX)
        return "chunks have 64 bytes to 16 MiB";
    if (d->chunker == HEXZ_PACK_FIXED) {
        if ((d->chunk_min != 0 && d->chunk_min != d->chunk_avg) ||
            (d->chunk_max != 0 && d->chunk_max != d->chunk_avg))
            return "fixed chunks have one size";
        d->chunk_min = d->chunk_max = d->chunk_avg;
        return NULL;
    }
    if ((d->chunk_avg & (d->chunk_avg - 1)) != 0 || d->chunk_avg < 256 || d->chunk_avg > 4 << 20)
        return "chunk_avg is a power of two, 256 bytes to 4 MiB";
    if (d->chunk_min == 0) d->chunk_min = d->chunk_avg / 4;
    if (d->chunk_max == 0) d->chunk_max = d->chunk_avg * 4;
    if (d->chunk_min < 64 || d->chunk_min > d->chunk_avg || d->chunk_max < d->chunk_avg ||
        d->chunk_max > HEXZ_PACK_CHUNK_MAX)
        return "64 bytes <= chunk_min <= chunk_avg <= chunk_max <= 16 MiB";
    return NULL;
}

static posio_result hexz_pack_i_check_desc(hexz_pack_desc *d, posio_error *err)
{
    const char *fault = hexz_pack_i_check_chunker(d);
    if (fault == NULL && (d->flags & ~HEXZ_PACK_I_DESC_FLAGS) != 0) fault = "no such flag";
    if (fault != NULL) return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "hexz_pack: %s", fault);
    return hexz_pack_i_check_codec(d->codec, &d->level, err);
}

static void hexz_pack_i_fill_superblock(const hexz_pack_desc *d, unsigned char *block)
{
    const int is_lz4 = d->codec == HEXZ_PACK_CODEC_LZ4 || d->codec == HEXZ_PACK_CODEC_LZ4HC;
    unsigned char *p = hexz_pack_i_put_head(block, HEXZ_PACK_I_SUPERBLOCK, "HXPS");
    memcpy(p, "ARCHIVE", 8);
    p[8] = 1; /* version 1.0 */
    p = hexz_pack_i_put32(p + 12, is_lz4 ? 1 : 0) + 4;
    p[0] = DIGEST_BLAKE3;
    p[1] = (unsigned char)d->chunker;
    p[2] = (unsigned char)d->codec;
    p = hexz_pack_i_put32(p + 4, (uint64_t)(int64_t)d->level);
    p = hexz_pack_i_put32(p, d->chunk_min);
    p = hexz_pack_i_put32(p, d->chunk_avg);
    p = hexz_pack_i_put32(p, d->chunk_max);
    memcpy(p, d->id, 16);
    hexz_pack_i_seal(block, HEXZ_PACK_I_SUPERBLOCK);
}

/* A writer without an output. */
static posio_result hexz_pack_i_new_writer(hexz_pack_writer **out, const hexz_pack_desc *desc,
                                           posio_error *err)
{
    hexz_pack_desc d = desc != NULL ? *desc : *hexz_pack_i_defaults();
    hexz_pack_writer *w;
    hexz_pack_job job;
    posio_result r;
    if (!posio_alloc_is_valid(&d.alloc))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "alloc_fn without free_fn");
    r = hexz_pack_i_check_desc(&d, err);
    if (r != POSIO_OK) return r;
    w = (hexz_pack_writer *)posio_allocate_zeroed(&d.alloc, sizeof *w);
    if (w == NULL) return hexz_pack_i_no_memory(err);
    w->desc = d;
    memset(&job, 0, sizeof job);
    job.pool = d.pool;
    job.user = w;
    job.chunk_max = d.chunk_max;
    job.chunks = d.chunks;
    job.memory = d.memory;
    job.flags = HEXZ_PACK_FIND_ZEROS;
    job.codec = d.codec;
    job.level = d.level;
    job.next = hexz_pack_i_next;
    job.load = hexz_pack_i_load_chunks;
    job.claim = hexz_pack_i_claim_chunk;
    job.write = hexz_pack_i_write;
    job.progress = d.progress != NULL ? hexz_pack_i_write_progress : NULL;
    job.alloc = d.alloc;
    hexz_pack_i_gear_begin(&w->gear, d.chunk_min, d.chunk_avg, d.chunk_max);
    hexz_pack_i_fill_superblock(&d, w->superblock);
    r = hexz_pack_i_engine_begin(&w->engine, &job, err);
    if (r == POSIO_OK) {
        r = hexz_pack_i_claims_begin(&w->claims, &d.alloc, err);
        if (r != POSIO_OK) hexz_pack_i_engine_end(&w->engine);
    }
    if (r == POSIO_OK) *out = w;
    else posio_release(&d.alloc, w);
    return r;
}

/* The superblock waits in the writer's room: nothing is written to a sink before there is more. */
static posio_result hexz_pack_i_begun(hexz_pack_writer **out, hexz_pack_writer *w, posio_error *err)
{
    posio_result r = hexz_pack_i_put_frame(w, w->superblock, sizeof w->superblock, err);
    if (r == POSIO_OK) *out = w;
    else hexz_pack_abort(w);
    return r;
}

HEXZ_PACK_API posio_result hexz_pack_begin_sink(hexz_pack_writer **out, const posio_sink *sink,
                                                const hexz_pack_desc *desc, posio_error *err)
{
    hexz_pack_writer *w = NULL;
    posio_result r = hexz_pack_i_new_writer(&w, desc, err);
    if (r != POSIO_OK) return r;
    w->sink = *sink;
    return hexz_pack_i_begun(out, w, err);
}

HEXZ_PACK_API posio_result hexz_pack_begin(hexz_pack_writer **out, const char *path,
                                           const hexz_pack_desc *desc, posio_error *err)
{
#ifndef POSIO_NO_FILES
    posio_file_sink_desc file;
    hexz_pack_writer *w = NULL;
    posio_result r = hexz_pack_i_new_writer(&w, desc, err);
    if (r != POSIO_OK) return r;
    memset(&file, 0, sizeof file);
    file.alloc = w->desc.alloc;
    if (w->desc.flags & HEXZ_PACK_FORCE) file.flags |= POSIO_SINK_FORCE;
    if (w->desc.flags & HEXZ_PACK_NO_SYNC) file.flags |= POSIO_SINK_NO_SYNC;
    r = posio_file_sink_open(&w->file, path, &file, err);
    if (r != POSIO_OK) {
        hexz_pack_abort(w);
        return r;
    }
    w->sink = posio_file_sink_sink(w->file);
    return hexz_pack_i_begun(out, w, err);
#else
    (void)out;
    (void)desc;
    return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET,
                      "%s: built without files (POSIO_NO_FILES)", path);
#endif
}

// ---------------------------------------------------------------------------------- opening

/* An entry, decoded. */
typedef struct hexz_pack_i_entry {
    uint64_t offset, size;
    uint64_t place; /* of a stored chunk: its frame in the file; of a duplicate: its original */
    uint32_t stored, crc, kind, reserved;
    uint8_t hash[32];
} hexz_pack_i_entry;

typedef struct hexz_pack_i_page {
    uint32_t n, m;
    hexz_pack_i_entry entries[HEXZ_PACK_I_ENTRIES];
} hexz_pack_i_page;

struct hexz_pack {
    hexz_pack_desc desc;
    hexz_pack_metadata info;
    posio_source source;
#ifndef POSIO_NO_FILES
    posio_file *file;
    char *path;
#endif
    unsigned char *directory;
    uint64_t *pages; /* where each begins; and where the last one ends */
    hexz_pack_item *items;
    char *item_bytes;
    uint64_t seek_offset, frames; /* of the seek table */
    uint32_t *good; /* atomic: a bit for each entry that was read whole, CRC-32C and all; or NULL */
    uint32_t wanted[HEXZ_PACK_I_WANTED]; /* atomic: of originals, in the place that is theirs */
    hexz_pack_i_codec codec;
    chunk_cache *chunks, *index;
    unsigned char superblock[HEXZ_PACK_I_SUPERBLOCK];
};

/* What the directory says of a page. */
typedef struct hexz_pack_i_record {
    uint64_t offset, table; /* of the content; of the group's table in the file */
    uint32_t size, entries;
    const unsigned char *hash;
} hexz_pack_i_record;

static hexz_pack_i_record hexz_pack_i_record_of(const hexz_pack *a, uint64_t page)
{
    const unsigned char *p =
        a->directory + HEXZ_PACK_I_DIRECTORY_HEAD + (size_t)page * HEXZ_PACK_I_RECORD;
    hexz_pack_i_record r;
    r.offset = posio_le64(p);
    r.table = posio_le64(p + 8);
    r.size = posio_le32(p + 16);
    r.entries = posio_le32(p + 20);
    r.hash = p + 24;
    return r;
}
/* Where its content ends, and where its group's chunks begin. */
static uint64_t hexz_pack_i_content_end(const hexz_pack *a, uint64_t page)
{
    return page + 1 < a->info.pages ? hexz_pack_i_record_of(a, page + 1).offset : a->info.sums.size;
}
static uint64_t hexz_pack_i_group_begin(const hexz_pack *a, uint64_t page)
{
    hexz_pack_i_record r;
    if (page == 0) return HEXZ_PACK_I_SUPERBLOCK;
    r = hexz_pack_i_record_of(a, page - 1);
    return r.table + r.size;
}

static posio_result hexz_pack_i_damaged(posio_error *err, uint64_t offset, const char *what,
                                        const char *reason)
{
    return posio_fail(err, POSIO_E_DATA, offset, "%s is damaged: %s", what, reason);
}

/* A file that begins otherwise. */
static posio_result hexz_pack_i_not_one(const unsigned char *p, size_t n, posio_error *err)
{
    if (n >= 8 && memcmp(p, "HEXZ", 4) == 0)
        return posio_fail(err, POSIO_E_UNSUPPORTED, 0,
                          "an archive of the hexz tool (.hxz, its version %u): another format, "
                          "which is not read here",
                          (unsigned)posio_le32(p + 4));
    return posio_fail(err, POSIO_E_FORMAT, 0, "not an archive: %s",
                      n == 0 ? "the file is empty" : "it does not begin with a superblock");
}

/* What is kept for later, and is 0 now: no place to carry something around unseen. */
static const char hexz_pack_i_not_zero[] = "what is reserved is not 0";
static int hexz_pack_i_is_reserved(const unsigned char *p, size_t from, size_t to)
{
    while (from < to && p[from] == 0) from++;
    return from == to;
}

/* Is a version that is not known one bit or more that are wrong in version 1? */
static int hexz_pack_i_version_is_damaged(const unsigned char *p)
{
    unsigned char copy[HEXZ_PACK_I_SUPERBLOCK];
    memcpy(copy, p, sizeof copy);
    copy[20] = 1;
    copy[21] = 0;
    return hexz_pack_i_check_frame(copy, sizeof copy, "HXPS") == NULL;
}

/* What is wrong with the parameters in a superblock; NULL = nothing. */
static const char *hexz_pack_i_check_parameters(const unsigned char *p)
{
    const uint32_t least = posio_le32(p + 40), average = posio_le32(p + 44);
    const uint32_t most = posio_le32(p + 48);
    if (posio_le16(p + 22) == 0 &&
        (!hexz_pack_i_is_reserved(p, 35, 36) || !hexz_pack_i_is_reserved(p, 68, 124)))
        return hexz_pack_i_not_zero;
    if (p[33] == HEXZ_PACK_AUTO || p[33] > HEXZ_PACK_CDC || p[34] > HEXZ_PACK_CODEC_NONE)
        return "impossible parameters";
    if (least == 0 || least > average || average > most || most > HEXZ_PACK_CHUNK_MAX)
        return "impossible sizes of chunks";
    return NULL;
}

/* Looks at a superblock. A later version may look otherwise behind the first 24 bytes. */
static posio_result hexz_pack_i_check_superblock(const unsigned char *p, posio_error *err)
{
    const char *fault = NULL;
    uint32_t required;
    if (posio_le16(p + 20) > 1 && memcmp(p + 8, "HXPS", 4) == 0 &&
        !hexz_pack_i_version_is_damaged(p))
        return posio_fail(err, POSIO_E_UNSUPPORTED, 20,
                          "an archive of version %u.%u; this program knows version 1",
                          (unsigned)posio_le16(p + 20), (unsigned)posio_le16(p + 22));
    fault = hexz_pack_i_check_frame(p, HEXZ_PACK_I_SUPERBLOCK, "HXPS");
    if (fault == NULL && posio_le16(p + 20) == 0) fault = "it has no version";
    if (fault != NULL) return hexz_pack_i_damaged(err, 0, "the superblock", fault);
    required = posio_le32(p + 24);
    if (required & ~HEXZ_PACK_I_REQUIRED)
        return posio_fail(err, POSIO_E_UNSUPPORTED, 24,
                          "the archive needs features that this program lacks:%s%s%s%s",
                          required & 2 ? " folders" : "", required & 4 ? " a base archive" : "",
                          required & 8 ? " encryption" : "",
                          required & ~15u ? " others, of a later version" : "");
#if !defined(HEXZ_PACK_LZ4)
    if (required & 1)
        return posio_fail(err, POSIO_E_UNSUPPORTED, 24,
                          "the archive has LZ4 chunks, and this program was built without LZ4 "
                          "(HEXZ_PACK_LZ4)");
#endif
    if (p[32] != DIGEST_BLAKE3)
        return posio_fail(err, POSIO_E_UNSUPPORTED, 32,
                          "the archive's hash is number %u; this program knows BLAKE3, number %u",
                          (unsigned)p[32], (unsigned)DIGEST_BLAKE3);
    fault = hexz_pack_i_check_parameters(p);
    return fault != NULL ? hexz_pack_i_damaged(err, 0, "the superblock", fault) : POSIO_OK;
}

static posio_result hexz_pack_i_read_superblock(const posio_source *source, unsigned char *p,
                                                posio_error *err)
{
    size_t n = (size_t)posio_min(source->size, HEXZ_PACK_I_SUPERBLOCK);
    posio_result r;
    memset(p, 0, HEXZ_PACK_I_SUPERBLOCK);
    r = posio_read(source, 0, p, n, err);
    if (r != POSIO_OK) return r;
    if (n < 20 || memcmp(p + 12, "ARCHIVE", 8) != 0 || memcmp(p + 8, "HXPS", 4) != 0) {
        /* One wrong byte is damage, not another format. */
        size_t i, same = 0;
        static const char first[21] = "\x5a\x2a\x4d\x18\x78\0\0\0HXPSARCHIVE";
        for (i = 0; i < 20; i++) same += p[i] == (unsigned char)first[i];
        if (n < 20 || same < 17) return hexz_pack_i_not_one(p, n, err);
    }
    if (n < HEXZ_PACK_I_SUPERBLOCK)
        return hexz_pack_i_damaged(err, n, "the superblock", "the file ends in it");
    return hexz_pack_i_check_superblock(p, err);
}

HEXZ_PACK_API posio_result hexz_pack_probe(const posio_source *source, posio_error *err)
{
    unsigned char p[HEXZ_PACK_I_SUPERBLOCK];
    return hexz_pack_i_read_superblock(source, p, err);
}

/* Finds the seek table by its footer, and the trailer before it. */
static posio_result hexz_pack_i_open_end(hexz_pack *a, unsigned char trailer[HEXZ_PACK_I_TRAILER],
                                         posio_error *err)
{
    static const char what[] = "the seek table at the end";
    const uint64_t size = a->source.size;
    unsigned char b[HEXZ_PACK_I_FOOTER];
    uint64_t table;
    const char *fault;
    posio_result r;
    if (size < HEXZ_PACK_I_SUPERBLOCK + HEXZ_PACK_I_DIRECTORY_HEAD + 4 + HEXZ_PACK_I_TRAILER + 8 +
                   HEXZ_PACK_I_FOOTER)
        return hexz_pack_i_damaged(err, size, "the archive", "the file ends before it does");
    r = posio_read(&a->source, size - sizeof b, b, sizeof b, err);
    if (r != POSIO_OK) return r;
    if (posio_le32(b + 5) != HEXZ_PACK_I_SEEK_MAGIC || b[4] != 0)
        return hexz_pack_i_damaged(err, size - sizeof b, what,
                                   "its footer is not there; the file is cut off, or bytes follow");
    a->frames = posio_le32(b);
    table = a->frames * 8 + sizeof b;
    if (table > size - HEXZ_PACK_I_SUPERBLOCK - HEXZ_PACK_I_TRAILER - 8)
        return hexz_pack_i_damaged(err, size - sizeof b, what, "its footer says too many frames");
    a->seek_offset = size - table - 8;
    r = posio_read(&a->source, a->seek_offset, b, 8, err);
    if (r != POSIO_OK) return r;
    if (posio_le32(b) != HEXZ_PACK_I_SKIP_SEEK || posio_le32(b + 4) != table)
        return hexz_pack_i_damaged(err, size - HEXZ_PACK_I_FOOTER, what,
                                   "it does not begin where its footer says");
    r = posio_read(&a->source, a->seek_offset - HEXZ_PACK_I_TRAILER, trailer, HEXZ_PACK_I_TRAILER,
                   err);
    if (r != POSIO_OK) return r;
    fault = hexz_pack_i_check_frame(trailer, HEXZ_PACK_I_TRAILER, "HXPE");
    if (fault == NULL && !hexz_pack_i_is_reserved(trailer, 12, 16)) fault = hexz_pack_i_not_zero;
    if (fault == NULL && !hexz_pack_i_is_reserved(trailer, 64, 76)) fault = hexz_pack_i_not_zero;
    return fault == NULL ? POSIO_OK
                         : hexz_pack_i_damaged(err, a->seek_offset - HEXZ_PACK_I_TRAILER,
                                               "the trailer", fault);
}

/* Reads the directory, and compares the root. */
static posio_result hexz_pack_i_read_directory(hexz_pack *a, const unsigned char *trailer,
                                               posio_error *err)
{
    static const char what[] = "the directory";
    const uint64_t at = posio_le64(trailer + 16), size = posio_le64(trailer + 24);
    const uint64_t room = a->seek_offset - HEXZ_PACK_I_TRAILER;
    const uint64_t most = a->desc.index_max != 0 ? a->desc.index_max : (uint64_t)256 << 20;
    const char *fault;
    posio_result r;
    if (size < HEXZ_PACK_I_DIRECTORY_HEAD + 4 || at < HEXZ_PACK_I_SUPERBLOCK ||
        !posio_within(at, size, room) || (at + size != room && a->info.optional == 0))
        return hexz_pack_i_damaged(err, room, "the trailer", "the directory is not where it says");
    if (size > most || size > SIZE_MAX / 2)
        return posio_fail(err, POSIO_E_LIMIT, at,
                          "the directory has %llu bytes; index_max allows %llu",
                          (unsigned long long)size, (unsigned long long)most);
    a->directory = (unsigned char *)posio_allocate(&a->desc.alloc, (size_t)size);
    if (a->directory == NULL) return hexz_pack_i_no_memory(err);
    r = posio_read(&a->source, at, a->directory, (size_t)size, err);
    if (r != POSIO_OK) return r;
    fault = hexz_pack_i_check_frame(a->directory, size, "HXPD");
    if (fault != NULL) return hexz_pack_i_damaged(err, at, what, fault);
    hexz_pack_i_root(a->superblock, a->directory, (size_t)size, a->info.sums.root);
    if (memcmp(a->info.sums.root, trailer + 32, 32) != 0)
        return hexz_pack_i_damaged(err, at, what,
                                   "its root, with the superblock, is not that of the trailer");
    a->info.directory_offset = at;
    return POSIO_OK;
}

/* Takes the records of the pages; all sums and offsets must fit to each other and to the file. */
static const char *hexz_pack_i_take_pages(hexz_pack *a)
{
    const hexz_pack_stats *s = &a->info.sums;
    const uint64_t pages = a->info.pages;
    uint64_t i, at, entries = 0, tables = 0, content = 0;
    if (s->size > INT64_MAX || s->zero_bytes > s->size ||
        s->duplicate_bytes > s->size - s->zero_bytes ||
        s->unique_bytes != s->size - s->zero_bytes - s->duplicate_bytes || s->stored > s->entries ||
        s->duplicates > s->entries - s->stored)
        return "its sums contradict each other";
    for (i = 0, at = HEXZ_PACK_I_SUPERBLOCK; i < pages; i++) {
        const hexz_pack_i_record r = hexz_pack_i_record_of(a, i);
        if (r.entries == 0 || r.entries > HEXZ_PACK_I_ENTRIES ||
            (r.entries != HEXZ_PACK_I_ENTRIES && i + 1 != pages))
            return "a page with an impossible number of entries";
        if (r.size < HEXZ_PACK_I_TABLE_HEAD + 4 + 2 * r.entries || r.size > HEXZ_PACK_I_TABLE_MAX)
            return "a page of an impossible size";
        if (i == 0 ? r.offset != 0 : r.offset <= content) return "pages out of order";
        if (r.offset >= s->size || r.table < at || !posio_within(r.table, r.size, a->source.size))
            return "a page outside of the archive";
        content = r.offset;
        at = r.table + r.size;
        entries += r.entries;
        tables += r.size;
    }
    if (entries != s->entries || (pages == 0 && s->size != 0)) return "its entries do not add up";
    a->info.index_offset = at;
    for (i = 0; i < pages; i++) {
        a->pages[i] = at;
        at += hexz_pack_i_record_of(a, i).size;
    }
    a->pages[pages] = at;
    if (at != a->info.directory_offset) return "the pages do not end where it begins";
    if (s->stored_bytes != a->info.index_offset - HEXZ_PACK_I_SUPERBLOCK - tables)
        return "its sums do not fit to the file";
    return NULL;
}

/* Takes the items of metadata: p up to end. */
static const char *hexz_pack_i_take_items(hexz_pack *a, const unsigned char *p,
                                          const unsigned char *end, char *to)
{
    uint32_t i;
    for (i = 0; i < a->info.items; i++) {
        uint32_t key, value;
        if (end - p < 8) return "metadata reaches beyond it";
        key = posio_le32(p);
        value = posio_le32(p + 4);
        p += 8;
        if (key == 0 || key > 255 || (size_t)(end - p) < key || (size_t)(end - p) - key < value ||
            memchr(p, 0, key) != NULL)
            return "an impossible item of metadata";
        memcpy(to, p, key);
        to[key] = 0;
        a->items[i].key = to;
        memcpy(to + key + 1, p + key, value);
        to[key + 1 + value] = 0;
        a->items[i].value = to + key + 1;
        a->items[i].size = value;
        to += (size_t)key + value + 2;
        p += (size_t)key + value;
    }
    return p == end ? NULL : "bytes follow its metadata";
}

static posio_result hexz_pack_i_take_directory(hexz_pack *a, posio_error *err)
{
    const unsigned char *p = a->directory;
    const uint64_t size = posio_le32(p + 4) + (uint64_t)8, pages = posio_le32(p + 12);
    hexz_pack_stats *s = &a->info.sums;
    const char *fault = NULL;
    uint64_t left = size - HEXZ_PACK_I_DIRECTORY_HEAD - 4;
    s->size = posio_le64(p + 16);
    s->entries = posio_le64(p + 24);
    s->stored = posio_le64(p + 32);
    s->duplicates = posio_le64(p + 40);
    s->zero_bytes = posio_le64(p + 48);
    s->duplicate_bytes = posio_le64(p + 56);
    s->unique_bytes = posio_le64(p + 64);
    s->stored_bytes = posio_le64(p + 72);
    s->file_size = a->source.size;
    a->info.items = posio_le32(p + 80);
    a->info.pages = pages;
    if (pages > left / HEXZ_PACK_I_RECORD) fault = "more pages than it has room for";
    else left -= pages * HEXZ_PACK_I_RECORD;
    if (fault == NULL && (a->info.items > HEXZ_PACK_I_ITEMS || a->info.items > left / 8 ||
                          left > HEXZ_PACK_I_ITEM_BYTES + a->info.items * (uint64_t)8))
        fault = "an impossible number of items";
    if (fault == NULL && (a->info.optional == 0 ? a->frames != 3 + s->stored + 2 * pages
                                                : a->frames < 3 + s->stored + 2 * pages))
        return hexz_pack_i_damaged(err, a->source.size - HEXZ_PACK_I_FOOTER,
                                   "the seek table at the end", "it has another number of frames");
    if (fault == NULL) {
        a->pages =
            (uint64_t *)posio_allocate(&a->desc.alloc, ((size_t)pages + 1) * sizeof *a->pages);
        a->items = (hexz_pack_item *)posio_allocate_zeroed(
            &a->desc.alloc, (a->info.items + (size_t)1) * sizeof *a->items);
        a->item_bytes = (char *)posio_allocate(&a->desc.alloc, (size_t)left + 1);
        if (a->pages == NULL || a->items == NULL || a->item_bytes == NULL)
            return hexz_pack_i_no_memory(err);
        fault = hexz_pack_i_take_pages(a);
    }
    if (fault == NULL)
        fault = hexz_pack_i_take_items(a, p + (size_t)(size - 4 - left), p + (size_t)(size - 4),
                                       a->item_bytes);
    if (fault == NULL) return POSIO_OK;
    return hexz_pack_i_damaged(err, a->info.directory_offset, "the directory", fault);
}

static void hexz_pack_i_take_superblock(hexz_pack *a)
{
    const unsigned char *p = a->superblock;
    hexz_pack_metadata *i = &a->info;
    i->version = posio_le16(p + 20);
    i->minor_version = posio_le16(p + 22);
    i->required = posio_le32(p + 24);
    i->optional = posio_le32(p + 28);
    i->chunker = p[33];
    i->codec = p[34];
    i->level = (int32_t)posio_le32(p + 36);
    i->chunk_min = posio_le32(p + 40);
    i->chunk_avg = posio_le32(p + 44);
    i->chunk_max = posio_le32(p + 48);
    memcpy(i->id, p + 52, 16);
}

/* A cache counts bytes of chunks only; with what it needs for each, it shall not take more. */
static uint64_t hexz_pack_i_cache_bytes(uint64_t bytes, uint64_t otherwise, uint32_t size,
                                        uint64_t chunks)
{
    const uint64_t each = (size > 512 ? size : 512) + (uint64_t)128;
    uint64_t n = (bytes != 0 ? bytes : otherwise) / each;
    if (n > chunks) n = chunks + 1;
    return n != 0 ? n * size : 1;
}

static posio_result hexz_pack_i_open_caches(hexz_pack *a, posio_error *err)
{
    chunk_cache_desc d;
    posio_result r;
    memset(&d, 0, sizeof d);
    d.alloc = a->desc.alloc;
    d.chunk_size = sizeof(hexz_pack_i_page);
    d.bytes = hexz_pack_i_cache_bytes(a->desc.index_cache, 16 << 20, d.chunk_size, a->info.pages);
    r = chunk_cache_create(&a->index, &d, err);
    if (r != POSIO_OK) return r;
    d.chunk_size = a->info.chunk_max;
    d.bytes =
        hexz_pack_i_cache_bytes(a->desc.cache_bytes, 64 << 20, d.chunk_size, a->info.sums.stored);
    return chunk_cache_create(&a->chunks, &d, err);
}

static posio_result hexz_pack_i_open(hexz_pack *a, posio_error *err)
{
    unsigned char trailer[HEXZ_PACK_I_TRAILER];
    posio_result r = hexz_pack_i_read_superblock(&a->source, a->superblock, err);
    if (r != POSIO_OK) return r;
    hexz_pack_i_take_superblock(a);
    if (a->desc.read_chunk_max != 0 && a->info.chunk_max > a->desc.read_chunk_max)
        return posio_fail(err, POSIO_E_LIMIT, 48,
                          "chunks of up to %u bytes; read_chunk_max allows %u",
                          (unsigned)a->info.chunk_max, (unsigned)a->desc.read_chunk_max);
    r = hexz_pack_i_open_end(a, trailer, err);
    if (r == POSIO_OK) r = hexz_pack_i_read_directory(a, trailer, err);
    if (r == POSIO_OK) r = hexz_pack_i_take_directory(a, err);
    if (r == POSIO_OK) r = hexz_pack_i_open_caches(a, err);
    if (r == POSIO_OK && (a->desc.flags & HEXZ_PACK_REMEMBER)) {
        /* no more entries than bytes in pages, by take_pages: */
        a->good = (uint32_t *)posio_allocate_zeroed(
            &a->desc.alloc, ((size_t)(a->info.sums.entries / 32) + 1) * sizeof *a->good);
        if (a->good == NULL) r = hexz_pack_i_no_memory(err);
    }
    return r;
}

static posio_result hexz_pack_i_new(hexz_pack **out, const hexz_pack_desc *desc, posio_error *err)
{
    hexz_pack *a;
    posio_result r;
    if (desc == NULL) desc = hexz_pack_i_defaults();
    if (!posio_alloc_is_valid(&desc->alloc))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "alloc_fn without free_fn");
    a = (hexz_pack *)posio_allocate_zeroed(&desc->alloc, sizeof *a);
    if (a == NULL) return hexz_pack_i_no_memory(err);
    a->desc = *desc;
    r = hexz_pack_i_codec_begin(&a->codec, &desc->alloc, HEXZ_PACK_CODEC_ZSTD, 3, err);
    if (r == POSIO_OK) *out = a;
    else posio_release(&desc->alloc, a);
    return r;
}

static posio_result hexz_pack_i_named(const hexz_pack *a, posio_result r, posio_error *err)
{
#ifndef POSIO_NO_FILES
    if (r != POSIO_OK && a->path != NULL) (void)posio_fail_in(err, a->path, 0);
#else
    (void)a;
    (void)err;
#endif
    return r;
}

HEXZ_PACK_API posio_result hexz_pack_open_source(hexz_pack **out, const posio_source *source,
                                                 const hexz_pack_desc *desc, posio_error *err)
{
    hexz_pack *a = NULL;
    posio_result r = hexz_pack_i_new(&a, desc, err);
    if (r != POSIO_OK) return r;
    a->source = *source;
    r = hexz_pack_i_open(a, err);
    if (r == POSIO_OK) *out = a;
    else hexz_pack_close(a);
    return r;
}

HEXZ_PACK_API posio_result hexz_pack_open(hexz_pack **out, const char *path,
                                          const hexz_pack_desc *desc, posio_error *err)
{
#ifndef POSIO_NO_FILES
    posio_file_desc file;
    hexz_pack *a = NULL;
    posio_result r = hexz_pack_i_new(&a, desc, err);
    if (r != POSIO_OK) return r;
    memset(&file, 0, sizeof file);
    file.alloc = a->desc.alloc;
    r = posio_file_open(&a->file, path, &file, err);
    if (r == POSIO_OK) {
        a->path = (char *)posio_allocate(&a->desc.alloc, strlen(path) + 1);
        if (a->path == NULL) r = hexz_pack_i_no_memory(err);
        else memcpy(a->path, path, strlen(path) + 1);
    }
    if (r == POSIO_OK) {
        a->source = posio_file_source(a->file);
        r = hexz_pack_i_named(a, hexz_pack_i_open(a, err), err);
    }
    if (r == POSIO_OK) *out = a;
    else hexz_pack_close(a);
    return r;
#else
    (void)out;
    (void)desc;
    return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET,
                      "%s: built without files (POSIO_NO_FILES)", path);
#endif
}

HEXZ_PACK_API void hexz_pack_close(hexz_pack *archive)
{
    posio_alloc a;
    if (archive == NULL) return;
    a = archive->desc.alloc;
    chunk_cache_destroy(archive->chunks);
    chunk_cache_destroy(archive->index);
    hexz_pack_i_codec_end(&archive->codec);
    posio_release(&a, archive->directory);
    posio_release(&a, archive->pages);
    posio_release(&a, archive->good);
    posio_release(&a, archive->items);
    posio_release(&a, archive->item_bytes);
#ifndef POSIO_NO_FILES
    posio_file_close(archive->file);
    posio_release(&a, archive->path);
#endif
    posio_release(&a, archive);
}

HEXZ_PACK_API const hexz_pack_metadata *hexz_pack_info(const hexz_pack *archive)
{
    return &archive->info;
}

HEXZ_PACK_API posio_result hexz_pack_item_at(const hexz_pack *archive, uint32_t i,
                                             hexz_pack_item *out)
{
    if (i >= archive->info.items) return POSIO_E_RANGE;
    *out = archive->items[i];
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- the index

/* Decodes a page whose bytes are right by their hash; NULL, or what is wrong still. */
static const char *hexz_pack_i_decode_page(const hexz_pack *a, uint64_t page,
                                           const unsigned char *frame, hexz_pack_i_page *out)
{
    const hexz_pack_i_record r = hexz_pack_i_record_of(a, page);
    hexz_pack_i_columns c;
    const unsigned char *hashes = NULL;
    uint64_t offset, place;
    uint32_t i, k = 0;
    const char *fault = hexz_pack_i_check_frame(frame, r.size, "HXPT");
    if (fault == NULL)
        fault = hexz_pack_i_parse(&c, frame, r.size - (size_t)4, a->info.chunk_max, &hashes);
    if (fault != NULL) return fault;
    place = hexz_pack_i_group_begin(a, page);
    if ((size_t)(frame + r.size - 4 - hashes) != (size_t)32 * c.m) return "it has another size";
    if (c.n != r.entries || c.entry != page * HEXZ_PACK_I_ENTRIES || c.offset != r.offset ||
        c.size != hexz_pack_i_content_end(a, page) - r.offset || c.file_offset != place ||
        c.stored_size != r.table - place)
        return "it is not what the directory says";
    offset = c.offset;
    for (i = 0; i < c.n; i++) {
        hexz_pack_i_entry *e = &out->entries[i];
        memset(e, 0, sizeof *e);
        e->kind = c.kinds[i];
        if (e->kind == HEXZ_PACK_LZ4_BLOCK && !(a->info.required & 1))
            return "an LZ4 chunk, of which the superblock says nothing";
        e->offset = offset;
        e->size = c.sizes[i];
        offset += e->size;
        if (e->kind == HEXZ_PACK_DUPLICATE) e->place = c.entry + i - c.back[i];
        if (!hexz_pack_i_is_stored(e->kind)) continue;
        e->place = place;
        e->stored = c.stored[k];
        e->crc = posio_le32(c.crc + (size_t)4 * k);
        memcpy(e->hash, hashes + (size_t)32 * k, 32);
        place += e->stored;
        k++;
    }
    out->n = c.n;
    out->m = c.m;
    return NULL;
}

/* Reads a page, or the table that is the same, from `at` of the file. */
static posio_result hexz_pack_i_read_page(const hexz_pack *a, uint64_t page, uint64_t at,
                                          unsigned char *frame, hexz_pack_i_page *out,
                                          const char **fault, posio_error *err)
{
    const hexz_pack_i_record record = hexz_pack_i_record_of(a, page);
    uint8_t hash[32];
    posio_result r = posio_read(&a->source, at, frame, record.size, err);
    *fault = NULL;
    if (r != POSIO_OK) return r;
    (void)digest_of(DIGEST_BLAKE3, frame, record.size, hash);
    if (memcmp(hash, record.hash, 32) != 0) *fault = "its BLAKE3 is not that in the directory";
    else *fault = hexz_pack_i_decode_page(a, page, frame, out);
    return POSIO_OK;
}

/* A flight of the index's cache: the page, or where it is damaged the table of its group. */
static posio_result hexz_pack_i_page_flight(void *user, uint64_t page, void *chunk, size_t *size,
                                            posio_error *err)
{
    const hexz_pack *a = (const hexz_pack *)user;
    unsigned char frame[HEXZ_PACK_I_TABLE_MAX];
    hexz_pack_i_page *out = (hexz_pack_i_page *)chunk;
    const char *fault = NULL, *again = NULL;
    posio_result r = hexz_pack_i_read_page(a, page, a->pages[page], frame, out, &fault, err);
    *size = sizeof *out;
    if (r == POSIO_OK && fault == NULL) return POSIO_OK;
    if (hexz_pack_i_read_page(a, page, hexz_pack_i_record_of(a, page).table, frame, out, &again,
                              NULL) == POSIO_OK &&
        again == NULL)
        return POSIO_OK;
    if (r != POSIO_OK) return r;
    return posio_fail(err, POSIO_E_DATA, a->pages[page],
                      "page %llu of the index (content from %llu) and its table are damaged: %s",
                      (unsigned long long)page,
                      (unsigned long long)hexz_pack_i_record_of(a, page).offset, fault);
}

/* Entry number of the archive, which there is. */
static posio_result hexz_pack_i_entry_of(hexz_pack *a, uint64_t number, hexz_pack_i_entry *out,
                                         posio_error *err)
{
    const size_t at =
        offsetof(hexz_pack_i_page, entries) + (size_t)(number % HEXZ_PACK_I_ENTRIES) * sizeof *out;
    return chunk_cache_read(a->index, number / HEXZ_PACK_I_ENTRIES, at, out, sizeof *out,
                            hexz_pack_i_page_flight, a, err);
}

/* The number of the entry at offset, which lies in the content. */
static posio_result hexz_pack_i_search(hexz_pack *a, uint64_t offset, uint64_t *number,
                                       hexz_pack_i_entry *out, posio_error *err)
{
    uint64_t low = 0, high = a->info.pages, middle, from;
    posio_result r;
    while (high - low > 1) {
        middle = low + (high - low) / 2;
        if (hexz_pack_i_record_of(a, middle).offset <= offset) low = middle;
        else high = middle;
    }
    from = hexz_pack_i_record_of(a, low).offset;
    high = hexz_pack_i_record_of(a, low).entries;
    /* Where it is if all entries are of one size; then by halves. */
    middle = (offset - from) / ((hexz_pack_i_content_end(a, low) - from + high - 1) / high);
    low *= HEXZ_PACK_I_ENTRIES;
    high += low;
    middle += low;
    for (;;) {
        r = hexz_pack_i_entry_of(a, middle, out, err);
        if (r != POSIO_OK) return r;
        if (offset < out->offset) high = middle;
        else if (offset - out->offset >= out->size) low = middle + 1;
        else break;
        middle = low + (high - low) / 2;
    }
    *number = middle;
    return POSIO_OK;
}

static void hexz_pack_i_tell(uint64_t number, const hexz_pack_i_entry *e, hexz_pack_entry *out)
{
    memset(out, 0, sizeof *out);
    out->number = number;
    out->offset = e->offset;
    out->size = e->size;
    out->kind = e->kind;
    out->crc = e->crc;
    out->file_offset = hexz_pack_i_is_stored(e->kind) ? e->place : HEXZ_PACK_NONE;
    out->original = e->kind == HEXZ_PACK_DUPLICATE ? e->place : HEXZ_PACK_NONE;
    out->stored_size = e->stored;
    memcpy(out->hash, e->hash, 32);
}

HEXZ_PACK_API posio_result hexz_pack_entry_at(hexz_pack *archive, uint64_t number,
                                              hexz_pack_entry *out, posio_error *err)
{
    hexz_pack_i_entry e;
    posio_result r;
    if (number >= archive->info.sums.entries)
        return posio_fail(err, POSIO_E_RANGE, POSIO_NO_OFFSET, "entry %llu: there are %llu",
                          (unsigned long long)number,
                          (unsigned long long)archive->info.sums.entries);
    r = hexz_pack_i_entry_of(archive, number, &e, err);
    if (r == POSIO_OK) hexz_pack_i_tell(number, &e, out);
    return hexz_pack_i_named(archive, r, err);
}

HEXZ_PACK_API posio_result hexz_pack_find(hexz_pack *archive, uint64_t offset, hexz_pack_entry *out,
                                          posio_error *err)
{
    hexz_pack_i_entry e;
    uint64_t number = 0;
    posio_result r;
    if (offset >= archive->info.sums.size)
        return posio_fail(err, POSIO_E_RANGE, offset, "the content ends at %llu",
                          (unsigned long long)archive->info.sums.size);
    r = hexz_pack_i_search(archive, offset, &number, &e, err);
    if (r == POSIO_OK) hexz_pack_i_tell(number, &e, out);
    return hexz_pack_i_named(archive, r, err);
}

// ---------------------------------------------------------------------------------- reading

static posio_result hexz_pack_i_fail_chunk(posio_error *err, posio_result code, uint64_t number,
                                           const hexz_pack_i_entry *e, const char *reason)
{
    return posio_fail(err, code, e->place,
                      "chunk %llu (%llu bytes of content at %llu) cannot be read: %s",
                      (unsigned long long)number, (unsigned long long)e->size,
                      (unsigned long long)e->offset, reason);
}

/* The archive's source has failed: what it says, and of which chunk. */
static void hexz_pack_i_fail_reading(posio_error *err, uint64_t number, const hexz_pack_i_entry *e,
                                     const posio_error *why)
{
    if (err == NULL) return;
    (void)hexz_pack_i_fail_chunk(err, why->code, number, e, why->message);
    if (why->offset != POSIO_NO_OFFSET) err->offset = why->offset;
    err->os_error = why->os_error;
    err->segment = why->segment;
    memcpy(err->file, why->file, sizeof err->file);
}

/* HEXZ_PACK_REMEMBER: entries whose frame and content were right. */
static void hexz_pack_i_remember(hexz_pack *a, uint64_t number)
{
    uint32_t *word = &a->good[(size_t)(number / 32)], old;
    const uint32_t bit = (uint32_t)1 << (number % 32);
    do old = posio_atomic_load(word);
    while (!(old & bit) && !posio_atomic_swap_if(word, old, old | bit));
}
static int hexz_pack_i_is_good(const hexz_pack *a, uint64_t number)
{
    return a->good != NULL &&
           (posio_atomic_load(&a->good[(size_t)(number / 32)]) >> (number % 32) & 1) != 0;
}

/* Decodes a stored chunk to `out` by means of c, and compares its BLAKE3. */
static posio_result hexz_pack_i_fetch_by(hexz_pack *a, hexz_pack_i_context *c, uint64_t number,
                                         const hexz_pack_i_entry *e, void *out, posio_error *err)
{
    unsigned char *stored = hexz_pack_i_room(&a->codec, c, e->stored);
    const char *reason = NULL;
    uint8_t hash[32];
    posio_error why;
    posio_result r;
    if (stored == NULL) return hexz_pack_i_no_memory(err);
    r = posio_read(&a->source, e->place, stored, e->stored, &why);
    if (r != POSIO_OK) {
        hexz_pack_i_fail_reading(err, number, e, &why);
        return r;
    }
    r = hexz_pack_i_decode(c, e->kind, stored, e->stored, out, (size_t)e->size, a->info.chunk_max,
                           &reason);
    if (r == POSIO_OK) {
        (void)digest_of(DIGEST_BLAKE3, out, (size_t)e->size, hash);
        if (memcmp(hash, e->hash, 32) == 0) {
            if (a->good != NULL && digest_crc32c(0, stored, e->stored) == e->crc)
                hexz_pack_i_remember(a, number);
            return POSIO_OK;
        }
        r = POSIO_E_DATA;
        reason = "its BLAKE3 is another";
    }
    return reason != NULL ? hexz_pack_i_fail_chunk(err, r, number, e, reason)
                          : hexz_pack_i_no_memory(err);
}

static posio_result hexz_pack_i_fetch_chunk(hexz_pack *a, uint64_t number,
                                            const hexz_pack_i_entry *e, void *out, posio_error *err)
{
    hexz_pack_i_context *c = hexz_pack_i_take(&a->codec);
    posio_result r =
        c != NULL ? hexz_pack_i_fetch_by(a, c, number, e, out, err) : hexz_pack_i_no_memory(err);
    hexz_pack_i_give(&a->codec, c);
    return r;
}

/* The original of a duplicate: *e becomes it, with its *number. */
static posio_result hexz_pack_i_resolve(hexz_pack *a, uint64_t *number, hexz_pack_i_entry *e,
                                        posio_error *err)
{
    const hexz_pack_i_entry copy = *e;
    posio_result r;
    if (e->kind != HEXZ_PACK_DUPLICATE) return POSIO_OK;
    r = hexz_pack_i_entry_of(a, copy.place, e, err);
    if (r != POSIO_OK) return r;
    if (!hexz_pack_i_is_stored(e->kind) || e->size != copy.size)
        return posio_fail(err, POSIO_E_DATA, a->pages[*number / HEXZ_PACK_I_ENTRIES],
                          "entry %llu (content at %llu) is a duplicate of entry %llu, which is not "
                          "such a chunk",
                          (unsigned long long)*number, (unsigned long long)copy.offset,
                          (unsigned long long)copy.place);
    *number = copy.place;
    return POSIO_OK;
}

/* Keys of the cache are entries that are stored. */
static posio_result hexz_pack_i_chunk_flight(void *user, uint64_t key, void *chunk, size_t *size,
                                             posio_error *err)
{
    hexz_pack *a = (hexz_pack *)user;
    hexz_pack_i_entry e;
    posio_result r = hexz_pack_i_entry_of(a, key, &e, err);
    if (r != POSIO_OK) return r;
    *size = (size_t)e.size;
    return hexz_pack_i_fetch_chunk(a, key, &e, chunk, err);
}

/* A read of several entries: grains of some 64 KiB, in as many stretches as there are threads.
   Whoever is through with a stretch helps with the others. So a thread stays with its part of buf
   when one piece after the other is read to the same place: lines of memory that another core has
   written last are dear. (Grains handed out in their order took 8 % more of the CPU.) */
typedef struct hexz_pack_i_read {
    hexz_pack *archive;
    unsigned char *out;
    uint64_t offset, end; /* of the content */
    uint64_t first, count;
    uint32_t grains, stretches;
    int straight;                          /* whole chunks pass by the cache */
    uint32_t taken[HEXZ_PACK_I_STRETCHES]; /* atomic: grains of each */
    uint32_t failed;                       /* atomic: the lowest grain that did; or all */
    posio_error error;                     /* its; guarded by the lock of contexts */
} hexz_pack_i_read;

/* Has a duplicate wanted this chunk lately? Then it comes by the cache, which else is only one copy
   more (10 % of the time, where duplicates lie far apart). 32 bits of its number are enough. */
static int hexz_pack_i_wanted_again(hexz_pack *a, uint64_t number)
{
    const uint32_t name = (uint32_t)number + 1;
    uint32_t *place = &a->wanted[chunk_cache_i_hash(number) % HEXZ_PACK_I_WANTED];
    if (posio_atomic_load(place) == name) return 1;
    posio_atomic_store(place, name);
    return 0;
}

/* What entry `number` gives to a read. *c: a context that is kept from entry to entry. */
static posio_result hexz_pack_i_read_entry(const hexz_pack_i_read *b, hexz_pack_i_context **c,
                                           uint64_t number, hexz_pack_i_entry *e, posio_error *err)
{
    hexz_pack *a = b->archive;
    const uint64_t begin = e->offset, size = e->size;
    const uint64_t from = begin > b->offset ? begin : b->offset;
    const uint64_t to = posio_min(begin + size, b->end);
    unsigned char *out = b->out + (size_t)(from - b->offset);
    int straight = b->straight && to - from == size;
    posio_result r;
    if (e->kind == HEXZ_PACK_ZERO) {
        memset(out, 0, (size_t)(to - from));
        return POSIO_OK;
    }
    if (e->kind == HEXZ_PACK_DUPLICATE) {
        r = hexz_pack_i_resolve(a, &number, e, err);
        if (r != POSIO_OK) return r;
        straight = straight && !hexz_pack_i_wanted_again(a, number);
    }
    if (straight) {
        if (*c == NULL) *c = hexz_pack_i_take(&a->codec);
        return *c != NULL ? hexz_pack_i_fetch_by(a, *c, number, e, out, err)
                          : hexz_pack_i_no_memory(err);
    }
    hexz_pack_i_give(&a->codec, *c); /* the flight takes one */
    *c = NULL;
    return chunk_cache_read(a->chunks, number, (size_t)(from - begin), out, (size_t)(to - from),
                            hexz_pack_i_chunk_flight, a, err);
}

static posio_result hexz_pack_i_read_grain(const hexz_pack_i_read *b, hexz_pack_i_context **c,
                                           uint32_t grain, posio_error *err)
{
    uint64_t i = b->first + b->count / b->grains * grain + posio_min(grain, b->count % b->grains);
    uint64_t n = b->count / b->grains + (grain < b->count % b->grains);
    hexz_pack_i_entry e;
    posio_result r = POSIO_OK;
    for (; n != 0 && r == POSIO_OK; n--, i++) {
        r = hexz_pack_i_entry_of(b->archive, i, &e, err);
        if (r == POSIO_OK) r = hexz_pack_i_read_entry(b, c, i, &e, err);
    }
    return r;
}

/* The error of the lowest grain wins. */
static void hexz_pack_i_read_failed(hexz_pack_i_read *b, uint32_t grain, posio_result r,
                                    const posio_error *why)
{
    thread_pool_lock(&b->archive->codec.lock);
    if (grain < posio_atomic_load(&b->failed)) {
        posio_atomic_store(&b->failed, grain);
        b->error = *why;
        b->error.code = r;
    }
    thread_pool_unlock(&b->archive->codec.lock);
}

/* All of a stretch that nobody has taken, and that does not lie behind what has failed. */
static void hexz_pack_i_read_stretch(hexz_pack_i_read *b, hexz_pack_i_context **c, uint32_t stretch)
{
    const uint64_t all = b->grains;
    const uint32_t begin = (uint32_t)(all * stretch / b->stretches);
    const uint32_t size = (uint32_t)(all * (stretch + (uint64_t)1) / b->stretches) - begin;
    posio_error why;
    posio_result r;
    uint32_t i;
    for (;;) { /* the counter goes one beyond the end for each thread that looks */
        i = posio_atomic_add(&b->taken[stretch], 1);
        if (i >= size || begin + i >= posio_atomic_load(&b->failed)) return;
        (void)posio_fail(&why, POSIO_OK, POSIO_NO_OFFSET, "%s", "");
        r = hexz_pack_i_read_grain(b, c, begin + i, &why);
        if (r != POSIO_OK) hexz_pack_i_read_failed(b, begin + i, r, &why);
    }
}

static posio_result hexz_pack_i_read_part(void *user, uint32_t part, posio_error *err)
{
    hexz_pack_i_read *b = (hexz_pack_i_read *)user;
    hexz_pack_i_context *c = NULL;
    uint32_t i;
    (void)err;
    for (i = 0; i < b->stretches; i++) hexz_pack_i_read_stretch(b, &c, (part + i) % b->stretches);
    hexz_pack_i_give(&b->archive->codec, c);
    return POSIO_OK; /* b has what failed: the lowest grain's is not that of the lowest part */
}

/* Entries b->first to `last`. */
static posio_result hexz_pack_i_read_many(hexz_pack_i_read *b, uint64_t last, posio_error *err)
{
    hexz_pack *a = b->archive;
    const uint64_t n = b->end - b->offset;
    const uint32_t threads = thread_pool_threads(a->desc.pool);
    posio_result r;
    b->count = last - b->first + 1;
    b->grains = b->straight ? (uint32_t)posio_min(n / HEXZ_PACK_I_GRAIN, 1u << 30) : 1;
    b->grains = (uint32_t)posio_min(b->count, b->grains);
    b->stretches = (uint32_t)posio_min(posio_min(threads, b->grains), HEXZ_PACK_I_STRETCHES);
    b->failed = b->grains;
    memset(b->taken, 0, sizeof b->taken);
    if (b->stretches > 1)
        r = thread_pool_parallel_for(a->desc.pool, b->stretches, hexz_pack_i_read_part, b, err);
    else r = hexz_pack_i_read_part(b, 0, err);
    if (r != POSIO_OK || b->failed == b->grains) return r;
    if (err != NULL) *err = b->error;
    return b->error.code;
}

HEXZ_PACK_API posio_result hexz_pack_read_at(hexz_pack *archive, uint64_t offset, void *buf,
                                             size_t n, posio_error *err)
{
    const uint64_t size = archive->info.sums.size;
    hexz_pack_i_read b;
    hexz_pack_i_context *c = NULL;
    hexz_pack_i_entry e;
    uint64_t last = 0;
    posio_result r;
    if (!posio_within(offset, n, size))
        return hexz_pack_i_named(
            archive,
            posio_fail(err, POSIO_E_RANGE, offset,
                       "%llu bytes at %llu reach beyond the content of %llu bytes",
                       (unsigned long long)n, (unsigned long long)offset, (unsigned long long)size),
            err);
    if (n == 0) return POSIO_OK;
    b.archive = archive;
    b.out = (unsigned char *)buf;
    b.offset = offset;
    b.end = offset + n;
    b.straight = n >= HEXZ_PACK_I_BULK;
    r = hexz_pack_i_search(archive, offset, &b.first, &e, err);
    if (r == POSIO_OK && b.end - e.offset <= e.size) { /* no more than one */
        r = hexz_pack_i_read_entry(&b, &c, b.first, &e, err);
        hexz_pack_i_give(&archive->codec, c);
    } else if (r == POSIO_OK) {
        r = hexz_pack_i_search(archive, b.end - 1, &last, &e, err);
        if (r == POSIO_OK) r = hexz_pack_i_read_many(&b, last, err);
    }
    return hexz_pack_i_named(archive, r, err);
}

static posio_result hexz_pack_i_source_read(void *self, uint64_t offset, void *buf, size_t n,
                                            posio_error *err)
{
    return hexz_pack_read_at((hexz_pack *)self, offset, buf, n, err);
}

static posio_result hexz_pack_i_source_extent(void *self, uint64_t offset, posio_extent *out,
                                              posio_error *err)
{
    hexz_pack *a = (hexz_pack *)self;
    hexz_pack_i_entry e;
    uint64_t number = 0, end, i;
    uint32_t zero;
    posio_result r;
    if (offset >= a->info.sums.size)
        return posio_fail(err, POSIO_E_RANGE, offset, "no extent beyond the end of the content");
    r = hexz_pack_i_search(a, offset, &number, &e, err);
    if (r != POSIO_OK) return hexz_pack_i_named(a, r, err);
    zero = e.kind == HEXZ_PACK_ZERO;
    end = e.offset + e.size;
    for (i = number + 1; i < a->info.sums.entries && i - number < HEXZ_PACK_I_RUN; i++) {
        if (hexz_pack_i_entry_of(a, i, &e, NULL) != POSIO_OK) break;
        if ((e.kind == HEXZ_PACK_ZERO) != (zero != 0)) break;
        end = e.offset + e.size;
    }
    out->length = end - offset;
    out->kind = zero ? POSIO_EXTENT_ZERO : POSIO_EXTENT_COMPRESSED;
    out->reserved = 0;
    return POSIO_OK;
}

HEXZ_PACK_API posio_source hexz_pack_source(hexz_pack *archive)
{
    posio_source s;
    memset(&s, 0, sizeof s);
    s.size = archive->info.sums.size;
    s.unit = archive->info.chunk_max;
    s.read_at = hexz_pack_i_source_read;
    s.extent_at = hexz_pack_i_source_extent;
    s.self = archive;
    return s;
}

// ---------------------------------------------------------------------------------- inspecting

static uint32_t hexz_pack_i_log2(uint64_t n)
{
    uint32_t k = 0;
    while (n > 1) {
        n >>= 1;
        k++;
    }
    return k;
}

static void hexz_pack_i_picture_entry(hexz_pack_picture *out, const hexz_pack_i_entry *e)
{
    out->count[e->kind]++;
    out->bytes[e->kind] += e->size;
    out->stored_bytes[e->kind] += e->stored;
    if (e->kind == HEXZ_PACK_ZERO) return;
    if (e->kind == HEXZ_PACK_DUPLICATE) {
        out->duplicate_sizes[hexz_pack_i_log2(e->size)]++;
        return;
    }
    out->stored_sizes[hexz_pack_i_log2(e->size)]++;
    if (out->smallest == 0 || e->size < out->smallest) out->smallest = e->size;
    if (e->size > out->largest) out->largest = e->size;
}

HEXZ_PACK_API posio_result hexz_pack_inspect(hexz_pack *archive, hexz_pack_picture *out,
                                             posio_error *err)
{
    hexz_pack_picture picture;
    hexz_pack_i_page *page;
    uint64_t i;
    uint32_t k;
    posio_result r = POSIO_OK;
    memset(&picture, 0, sizeof picture);
    page = (hexz_pack_i_page *)posio_allocate(&archive->desc.alloc, sizeof *page);
    if (page == NULL) return hexz_pack_i_no_memory(err);
    for (i = 0; i < archive->info.pages && r == POSIO_OK; i++) {
        r = chunk_cache_read(archive->index, i, 0, page, sizeof *page, hexz_pack_i_page_flight,
                             archive, err);
        for (k = 0; r == POSIO_OK && k < page->n; k++)
            hexz_pack_i_picture_entry(&picture, &page->entries[k]);
    }
    posio_release(&archive->desc.alloc, page);
    picture.index_bytes = archive->seek_offset - archive->info.sums.stored_bytes;
    if (r == POSIO_OK) *out = picture;
    return hexz_pack_i_named(archive, r, err);
}

// ---------------------------------------------------------------------------------- verifying

/* The pipeline: produce reads a page and its table, work decodes its chunks, the lane tells what is
   wrong and compares the seek table. */
typedef struct hexz_pack_i_check_slot {
    hexz_pack_i_page page;
    const char *page_fault, *table_fault;
    posio_result page_code, table_code;
    const char *reasons[HEXZ_PACK_I_ENTRIES]; /* of stored chunks, in their order; NULL = good */
    posio_result codes[HEXZ_PACK_I_ENTRIES];
    uint32_t places[HEXZ_PACK_I_ENTRIES]; /* their entries */
} hexz_pack_i_check_slot;

typedef struct hexz_pack_i_check {
    hexz_pack *archive;
    int (*fault)(void *user, const hexz_pack_fault *fault);
    void *user;
    hexz_pack_verdict verdict;
    posio_error first; /* the first fault */
    hexz_pack_stats sums;
    uint32_t *chunks; /* of each entry: the size of its chunk, 0 = it is none that is known */
    uint64_t seek_at; /* of the file: the next entry of the seek table */
    int seek_over;    /* it is not compared further */
    uint32_t seek_have, seek_used;
    hexz_pack_fault seek_fault; /* told at the end; NULL as its reason: none so far */
    thread_pool_mutex lock;     /* guards through */
    uint64_t through;
    hexz_pack_i_check_slot *slots;
    unsigned char frames[2][HEXZ_PACK_I_TABLE_MAX]; /* produce's */
    unsigned char seek[4096];
} hexz_pack_i_check;

static posio_result hexz_pack_i_blame(hexz_pack_i_check *k, const hexz_pack_fault *f,
                                      posio_error *err)
{
    k->verdict.faults++;
    if (k->first.code == POSIO_OK) {
        if (f->entry != HEXZ_PACK_NONE)
            (void)posio_fail(&k->first, f->code, f->file_offset,
                             "chunk %llu (%llu bytes of content at %llu) is damaged: %s",
                             (unsigned long long)f->entry, (unsigned long long)f->size,
                             (unsigned long long)f->offset, f->reason);
        else
            (void)posio_fail(&k->first, f->code, f->file_offset, "%s is damaged: %s", f->what,
                             f->reason);
    }
    if (k->fault != NULL && k->fault(k->user, f))
        return posio_fail(err, POSIO_E_CANCELED, POSIO_NO_OFFSET, "canceled");
    return POSIO_OK;
}

static posio_result hexz_pack_i_blame_structure(hexz_pack_i_check *k, posio_result code,
                                                uint64_t file_offset, uint64_t offset,
                                                uint64_t size, const char *what, const char *reason,
                                                posio_error *err)
{
    hexz_pack_fault f;
    memset(&f, 0, sizeof f);
    f.entry = HEXZ_PACK_NONE;
    f.what = what;
    f.offset = offset;
    f.size = size;
    f.file_offset = file_offset;
    f.reason = reason;
    f.code = code;
    k->verdict.bad_bytes += size;
    return hexz_pack_i_blame(k, &f, err);
}

static posio_result hexz_pack_i_check_produce(void *user, thread_pool_slot *slot, posio_error *err)
{
    hexz_pack_i_check *k = (hexz_pack_i_check *)user;
    const hexz_pack *a = k->archive;
    hexz_pack_i_check_slot *s = &k->slots[slot->index];
    hexz_pack_i_record record;
    uint32_t i, n = 0;
    (void)err;
    if (slot->number == a->info.pages) return THREAD_POOL_END;
    record = hexz_pack_i_record_of(a, slot->number);
    s->page.n = 0;
    s->page_fault = s->table_fault = NULL;
    s->table_code = POSIO_E_DATA;
    s->page_code = hexz_pack_i_read_page(a, slot->number, a->pages[slot->number], k->frames[0],
                                         &s->page, &s->page_fault, NULL);
    if (s->page_code != POSIO_OK) s->page_fault = "it cannot be read";
    else s->page_code = POSIO_E_DATA;
    if (s->page_fault != NULL) {
        s->table_code = hexz_pack_i_read_page(a, slot->number, record.table, k->frames[1], &s->page,
                                              &s->table_fault, NULL);
        if (s->table_code != POSIO_OK) s->table_fault = "it cannot be read";
        else s->table_code = POSIO_E_DATA;
        if (s->table_fault != NULL) s->page.n = 0; /* nothing is known */
    } else {
        s->table_code = posio_read(&a->source, record.table, k->frames[1], record.size, NULL);
        if (s->table_code != POSIO_OK) s->table_fault = "it cannot be read";
        else if (memcmp(k->frames[0], k->frames[1], record.size) != 0) {
            s->table_fault = "it is not the same as its page";
            s->table_code = POSIO_E_DATA;
        }
    }
    for (i = 0; i < s->page.n; i++)
        if (hexz_pack_i_is_stored(s->page.entries[i].kind)) s->places[n++] = i;
    slot->parts = (n + HEXZ_PACK_I_VERIFY_PART - 1) / HEXZ_PACK_I_VERIFY_PART;
    return POSIO_OK;
}

/* What is wrong with a stored chunk; NULL = nothing, or *code says NOMEM. */
static const char *hexz_pack_i_check_chunk(hexz_pack *a, hexz_pack_i_context *c,
                                           const hexz_pack_i_entry *e, posio_result *code)
{
    unsigned char *stored = hexz_pack_i_room(&a->codec, c, e->stored + (size_t)e->size), *out;
    const char *reason = NULL;
    uint8_t hash[32];
    if (stored == NULL) {
        *code = POSIO_E_NOMEM;
        return NULL;
    }
    out = stored + e->stored;
    *code = posio_read(&a->source, e->place, stored, e->stored, NULL);
    if (*code != POSIO_OK) return "it cannot be read";
    *code = POSIO_E_DATA;
    if (digest_crc32c(0, stored, e->stored) != e->crc) return "the CRC-32C of its frame is another";
    *code = hexz_pack_i_decode(c, e->kind, stored, e->stored, out, (size_t)e->size,
                               a->info.chunk_max, &reason);
    if (*code != POSIO_OK) return reason;
    (void)digest_of(DIGEST_BLAKE3, out, (size_t)e->size, hash);
    if (memcmp(hash, e->hash, 32) == 0) return NULL;
    *code = POSIO_E_DATA;
    return "its BLAKE3 is another";
}

static posio_result hexz_pack_i_check_work(void *user, const thread_pool_slot *slot, uint32_t part,
                                           posio_error *err)
{
    hexz_pack_i_check *k = (hexz_pack_i_check *)user;
    hexz_pack_i_check_slot *s = &k->slots[slot->index];
    hexz_pack *a = k->archive;
    hexz_pack_i_context *c = hexz_pack_i_take(&a->codec);
    uint32_t i = part * HEXZ_PACK_I_VERIFY_PART;
    const uint32_t end = (uint32_t)posio_min(i + HEXZ_PACK_I_VERIFY_PART, s->page.m);
    posio_result r = POSIO_OK;
    if (c == NULL) return hexz_pack_i_no_memory(err);
    for (; i < end && r == POSIO_OK; i++) {
        s->reasons[i] = NULL;
        s->codes[i] = POSIO_OK;
        if (hexz_pack_i_is_good(a, slot->number * HEXZ_PACK_I_ENTRIES + s->places[i])) continue;
        s->reasons[i] = hexz_pack_i_check_chunk(a, c, &s->page.entries[s->places[i]], &s->codes[i]);
        if (s->reasons[i] == NULL && s->codes[i] == POSIO_E_NOMEM) r = hexz_pack_i_no_memory(err);
    }
    hexz_pack_i_give(&a->codec, c);
    return r;
}

/* An entry that is wrong. */
static posio_result hexz_pack_i_blame_entry(hexz_pack_i_check *k, uint64_t number,
                                            const hexz_pack_i_entry *e, posio_result code,
                                            const char *reason, posio_error *err)
{
    hexz_pack_fault f;
    memset(&f, 0, sizeof f);
    f.entry = number;
    f.what = "chunk";
    f.offset = e->offset;
    f.size = e->size;
    f.file_offset = hexz_pack_i_is_stored(e->kind) ? e->place : HEXZ_PACK_NONE;
    f.reason = reason;
    f.code = code;
    k->verdict.bad_entries++;
    k->verdict.bad_bytes += e->size;
    return hexz_pack_i_blame(k, &f, err);
}

/* A duplicate: is its original one, and good? All before it have been looked at. */
static posio_result hexz_pack_i_check_duplicate(hexz_pack_i_check *k, uint64_t number,
                                                const hexz_pack_i_entry *e, posio_error *err)
{
    const uint32_t original = k->chunks[(size_t)e->place];
    if ((original & ~HEXZ_PACK_I_BAD) != e->size)
        return hexz_pack_i_blame_entry(k, number, e, POSIO_E_DATA, "its original is not known",
                                       err);
    if (original & HEXZ_PACK_I_BAD)
        return hexz_pack_i_blame_entry(k, number, e, POSIO_E_DATA,
                                       "it is a duplicate of a damaged chunk", err);
    return POSIO_OK;
}

/* The seek table is wrong from here on: it comes last in the file, and is told last. */
static void hexz_pack_i_seek_is_bad(hexz_pack_i_check *k, posio_result code, const char *reason)
{
    k->seek_over = 1;
    k->seek_fault.code = code;
    k->seek_fault.file_offset = k->seek_at;
    k->seek_fault.reason = reason;
}

/* Compares the next entry of the seek table. */
static void hexz_pack_i_check_pair(hexz_pack_i_check *k, uint64_t stored, uint64_t content)
{
    const hexz_pack *a = k->archive;
    const uint64_t end = a->source.size - HEXZ_PACK_I_FOOTER;
    const unsigned char *p;
    if (k->seek_over) return;
    if (k->seek_used == k->seek_have) {
        uint32_t n = (uint32_t)posio_min(end - k->seek_at, sizeof k->seek);
        posio_result r = posio_read(&a->source, k->seek_at, k->seek, n, NULL);
        k->seek_have = n;
        k->seek_used = 0;
        if (r != POSIO_OK || n == 0) {
            hexz_pack_i_seek_is_bad(k, r != POSIO_OK ? r : POSIO_E_DATA,
                                    r != POSIO_OK ? "it cannot be read" : "it ends too early");
            return;
        }
    }
    p = k->seek + k->seek_used;
    if (posio_le32(p) != stored || posio_le32(p + 4) != content) {
        hexz_pack_i_seek_is_bad(k, POSIO_E_DATA, "an entry differs from its frame");
        return;
    }
    k->seek_used += 8;
    k->seek_at += 8;
}

/* One entry of a page that is known; *n counts stored ones. */
static posio_result hexz_pack_i_check_entry(hexz_pack_i_check *k, const hexz_pack_i_check_slot *s,
                                            uint64_t number, uint32_t i, uint32_t *n,
                                            posio_error *err)
{
    const hexz_pack_i_entry *e = &s->page.entries[i];
    uint32_t *chunk = &k->chunks[(size_t)number];
    if (e->kind == HEXZ_PACK_ZERO) {
        k->sums.zero_bytes += e->size;
        return POSIO_OK;
    }
    if (e->kind == HEXZ_PACK_DUPLICATE) {
        k->sums.duplicates++;
        k->sums.duplicate_bytes += e->size;
        return hexz_pack_i_check_duplicate(k, number, e, err);
    }
    k->sums.stored++;
    k->sums.unique_bytes += e->size;
    k->verdict.chunks++;
    k->verdict.bytes += e->size;
    hexz_pack_i_check_pair(k, e->stored, e->kind == HEXZ_PACK_LZ4_BLOCK ? 0 : e->size);
    *chunk = (uint32_t)e->size;
    i = (*n)++;
    if (s->reasons[i] == NULL) return POSIO_OK;
    *chunk |= HEXZ_PACK_I_BAD;
    return hexz_pack_i_blame_entry(k, number, e, s->codes[i], s->reasons[i], err);
}

static posio_result hexz_pack_i_check_lane(void *user, const thread_pool_slot *slot, uint32_t lane,
                                           posio_error *err)
{
    hexz_pack_i_check *k = (hexz_pack_i_check *)user;
    const hexz_pack_i_check_slot *s = &k->slots[slot->index];
    const hexz_pack *a = k->archive;
    const hexz_pack_i_record record = hexz_pack_i_record_of(a, slot->number);
    const uint64_t end = hexz_pack_i_content_end(a, slot->number);
    const uint64_t lost = s->page.n == 0 ? end - record.offset : 0;
    posio_result r = POSIO_OK;
    uint32_t i, n = 0;
    (void)lane;
    for (i = 0; i < s->page.n && r == POSIO_OK; i++)
        r = hexz_pack_i_check_entry(k, s, slot->number * HEXZ_PACK_I_ENTRIES + i, i, &n, err);
    if (lost != 0) {
        k->seek_over = 1; /* how many of them are stored is not known */
        k->verdict.bad_entries += record.entries;
    }
    hexz_pack_i_check_pair(k, record.size, 0);
    if (r == POSIO_OK && s->table_fault != NULL)
        r = hexz_pack_i_blame_structure(k, s->table_code, record.table, record.offset, 0,
                                        "the table of a group", s->table_fault, err);
    if (r == POSIO_OK && s->page_fault != NULL)
        r = hexz_pack_i_blame_structure(k, s->page_code, a->pages[slot->number], record.offset,
                                        lost, "a page of the index", s->page_fault, err);
    thread_pool_lock(&k->lock);
    k->through = end;
    thread_pool_unlock(&k->lock);
    return r;
}

static int hexz_pack_i_check_progress(void *user, uint64_t done)
{
    hexz_pack_i_check *k = (hexz_pack_i_check *)user;
    const hexz_pack *a = k->archive;
    thread_pool_lock(&k->lock);
    done = k->through;
    thread_pool_unlock(&k->lock);
    return a->desc.progress(a->desc.user, done, a->info.sums.size);
}

/* If all pages are known: are the directory's sums theirs? */
static posio_result hexz_pack_i_check_sums(hexz_pack_i_check *k, posio_error *err)
{
    const hexz_pack *a = k->archive;
    const hexz_pack_stats *s = &a->info.sums;
    if (k->verdict.faults != 0) return POSIO_OK;
    if (k->sums.stored != s->stored || k->sums.duplicates != s->duplicates ||
        k->sums.zero_bytes != s->zero_bytes || k->sums.unique_bytes != s->unique_bytes ||
        k->sums.duplicate_bytes != s->duplicate_bytes)
        return hexz_pack_i_blame_structure(k, POSIO_E_DATA, a->info.directory_offset, 0, 0,
                                           "the directory", "its sums are not those of the pages",
                                           err);
    return POSIO_OK;
}

/* What is wrong with a frame of an optional feature, that begins at `at` and has no more than
   `room` bytes; its size. NULL: nothing. */
static const char *hexz_pack_i_check_foreign(hexz_pack_i_check *k, uint64_t at, uint64_t room,
                                             uint64_t *size, posio_result *code)
{
    const posio_source *source = &k->archive->source;
    unsigned char *p = k->frames[0];
    uint64_t i, n;
    uint32_t crc = 0;
    *code = POSIO_E_DATA;
    if (room < 16) return "it is too short";
    *code = posio_read(source, at, p, 8, NULL);
    if (*code != POSIO_OK) return "it cannot be read";
    *code = POSIO_E_DATA;
    *size = posio_le32(p + 4) + (uint64_t)8;
    if (posio_le32(p) != HEXZ_PACK_I_SKIP) return "it does not begin with its magic number";
    if (*size < 16 || *size > room) return "its size is wrong";
    for (i = 0; i < *size - 4; i += n) {
        n = posio_min(*size - 4 - i, sizeof k->frames[0]);
        *code = posio_read(source, at + i, p, (size_t)n, NULL);
        if (*code != POSIO_OK) return "it cannot be read";
        crc = digest_crc32c(crc, p, (size_t)n);
    }
    *code = posio_read(source, at + i, p, 4, NULL);
    if (*code != POSIO_OK) return "it cannot be read";
    *code = POSIO_E_DATA;
    return crc == posio_le32(p) ? NULL : "its CRC-32C is wrong";
}

/* The frames of optional features, between directory and trailer. */
static posio_result hexz_pack_i_check_optional(hexz_pack_i_check *k, posio_error *err)
{
    const hexz_pack *a = k->archive;
    const uint64_t end = a->seek_offset - HEXZ_PACK_I_TRAILER;
    uint64_t at = a->info.directory_offset + posio_le32(a->directory + 4) + 8, size = 0;
    posio_result code = POSIO_OK;
    for (; at < end; at += size) {
        const char *reason = hexz_pack_i_check_foreign(k, at, end - at, &size, &code);
        if (reason != NULL) {
            k->seek_over = 1; /* where the next one begins is not known */
            return hexz_pack_i_blame_structure(k, code, at, 0, 0, "a frame of an optional feature",
                                               reason, err);
        }
        hexz_pack_i_check_pair(k, size, 0);
    }
    return POSIO_OK;
}

/* What comes behind the groups. */
static posio_result hexz_pack_i_check_end(hexz_pack_i_check *k, posio_error *err)
{
    const hexz_pack *a = k->archive;
    uint64_t i;
    posio_result r;
    for (i = 0; i < a->info.pages; i++)
        hexz_pack_i_check_pair(k, hexz_pack_i_record_of(a, i).size, 0);
    hexz_pack_i_check_pair(k, posio_le32(a->directory + 4) + (uint64_t)8, 0);
    r = hexz_pack_i_check_sums(k, err);
    if (r == POSIO_OK) r = hexz_pack_i_check_optional(k, err);
    hexz_pack_i_check_pair(k, HEXZ_PACK_I_TRAILER, 0);
    if (!k->seek_over && k->seek_at != a->source.size - HEXZ_PACK_I_FOOTER)
        hexz_pack_i_seek_is_bad(k, POSIO_E_DATA, "it has more entries than there are frames");
    if (r == POSIO_OK && k->seek_fault.reason != NULL)
        r = hexz_pack_i_blame_structure(k, k->seek_fault.code, k->seek_fault.file_offset, 0, 0,
                                        "the seek table at the end", k->seek_fault.reason, err);
    return r;
}

static posio_result hexz_pack_i_check_all(hexz_pack_i_check *k, posio_error *err)
{
    static const thread_pool_lane lane = {hexz_pack_i_check_lane, 0, 0};
    const hexz_pack *a = k->archive;
    uint64_t slots = 2 + 2 * (uint64_t)thread_pool_threads(a->desc.pool);
    thread_pool_job job;
    posio_result r;
    memset(&job, 0, sizeof job);
    slots = posio_min(posio_min(slots, HEXZ_PACK_I_SLOTS), a->info.pages + 1);
    /* An entry has two bytes at least in its table, and in its page: the file has so many. */
    if (a->info.sums.entries > SIZE_MAX / sizeof *k->chunks - 1) return hexz_pack_i_no_memory(err);
    k->chunks = (uint32_t *)posio_allocate_zeroed(
        &a->desc.alloc, ((size_t)a->info.sums.entries + 1) * sizeof *k->chunks);
    k->slots =
        (hexz_pack_i_check_slot *)posio_allocate(&a->desc.alloc, (size_t)slots * sizeof *k->slots);
    if (k->chunks == NULL || k->slots == NULL) return hexz_pack_i_no_memory(err);
    job.user = k;
    job.slots = (uint32_t)slots;
    job.lanes = &lane;
    job.lane_count = 1;
    job.flags = THREAD_POOL_PRODUCE_WAITS;
    job.produce = hexz_pack_i_check_produce;
    job.work = hexz_pack_i_check_work;
    job.progress = a->desc.progress != NULL ? hexz_pack_i_check_progress : NULL;
    job.alloc = a->desc.alloc;
    k->seek_at = a->seek_offset + 8;
    hexz_pack_i_check_pair(k, HEXZ_PACK_I_SUPERBLOCK, 0);
    r = thread_pool_run(a->desc.pool, &job, err);
    if (r == POSIO_OK) r = hexz_pack_i_check_end(k, err);
    return r;
}

HEXZ_PACK_API posio_result hexz_pack_verify(hexz_pack *archive,
                                            int (*fault)(void *user, const hexz_pack_fault *fault),
                                            void *user, hexz_pack_verdict *verdict,
                                            posio_error *err)
{
    const posio_alloc *a = &archive->desc.alloc;
    hexz_pack_i_check *k = (hexz_pack_i_check *)posio_allocate_zeroed(a, sizeof *k);
    posio_result r;
    if (verdict != NULL) memset(verdict, 0, sizeof *verdict);
    if (k == NULL || !thread_pool_mutex_init(&k->lock)) {
        posio_release(a, k);
        return hexz_pack_i_no_memory(err);
    }
    k->archive = archive;
    k->fault = fault;
    k->user = user;
    r = hexz_pack_i_check_all(k, err);
    if (verdict != NULL) *verdict = k->verdict;
    if (r == POSIO_OK && k->first.code != POSIO_OK) {
        r = k->first.code;
        if (err != NULL) *err = k->first;
    }
    thread_pool_mutex_destroy(&k->lock);
    posio_release(a, k->slots);
    posio_release(a, k->chunks);
    posio_release(a, k);
    return hexz_pack_i_named(archive, r, err);
}

#undef HEXZ_PACK_I_MAGIC
#undef HEXZ_PACK_I_SKIP
#undef HEXZ_PACK_I_SKIP_LZ4
#undef HEXZ_PACK_I_SKIP_SEEK
#undef HEXZ_PACK_I_SEEK_MAGIC
#undef HEXZ_PACK_I_REQUIRED
#undef HEXZ_PACK_I_JOB_FLAGS
#undef HEXZ_PACK_I_DESC_FLAGS
#undef HEXZ_PACK_I_COMMITTED
#undef HEXZ_PACK_I_BAD
#undef HEXZ_PACK_I_UNLIKELY
#undef HEXZ_PACK_TEST_KEY
#undef HEXZ_PACK_TEST_FRAMES
#elif defined(HEXZ_PACK_IMPLEMENTATION) && HEXZ_PACK_I_IMPLEMENTED < 100
#error "hexz_pack.h: the functions of an older copy came first; include the newest header first"
#endif
