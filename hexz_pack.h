/* hexz_pack.h - pack, read, inspect and verify a seekable deduplicated archive of one disk image.
   SPDX-License-Identifier: MIT OR Unlicense

   QUICK START

       #define HEXZ_PACK_IMPLEMENTATION
       #define THREAD_POOL_IMPLEMENTATION
       #include "hexz_pack.h"
       #include <stdio.h>

       int main(int argc, char **argv)
       {
           hexz_pack_desc desc = {0};
           hexz_pack_writer *w = NULL;
           hexz_pack *archive = NULL;
           posio_file *file = NULL;
           posio_error err;
           posio_result r = argc < 3 ? POSIO_E_ARG : posio_file_open(&file, argv[1], NULL, &err);
           if (r != POSIO_OK) return 2;
           posio_source image = posio_file_source(file);
           desc.pool = thread_pool_create(0);
           r = hexz_pack_begin(&w, argv[2], &desc, &err);
           if (r == POSIO_OK) r = hexz_pack_append_source(w, &image, &err);
           if (r == POSIO_OK) r = hexz_pack_finish(w, NULL, &err);
           else hexz_pack_abort(w);
           if (r == POSIO_OK) r = hexz_pack_open(&archive, argv[2], &desc, &err);
           if (r == POSIO_OK) r = hexz_pack_verify(archive, NULL, NULL, NULL, &err);
           if (r != POSIO_OK) puts(err.message);
           hexz_pack_close(archive);
           posio_file_close(file);
           return thread_pool_destroy(desc.pool) != POSIO_OK || r != POSIO_OK;
       }

   WHAT IT DOES NOT DO
     One image in one archive: no folders, no archives that build on another one, no signatures and
     no repair; the format has room for them. No encryption. It has no codec of its own: it needs
     <zstd.h> and -lzstd, 1.4.0 or later, of whose API it uses the stable part, and for LZ4
     <lz4.h>, <lz4hc.h> and -llz4. `.hxz` files of the hexz tool are recognised, and refused.
     Chunks are the same when their BLAKE3 and their lengths are: bytes are not compared.

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
     writing   in flight: n x 2.02 x (b + M), where n = 2 T + 2 slots, b = 1 MiB of input each; less
               of both, but one slot of 2.02 x M, where desc.memory (256 MiB) or desc.chunks (1,000)
               are too little for that; and the same b + M again with hexz_pack_append.
               index: 100 bytes for each chunk that is stored, 14 for one that is not; twice that
               while a table grows. At 64 KiB a chunk, 1.6 GB for a TB without any duplicates.
               contexts of the codec, one for each thread: zstd as the level needs (3: 1.5 MiB),
               LZ4 16 KiB, LZ4 HC 256 KiB; and 64 KiB.
     reading   56 bytes for each 512 chunks, checked against desc.index_max (256 MiB) before; a
               cache of 32 KiB pages of the index (desc.index_cache, 16 MiB), and one of decoded
               chunks (desc.cache_bytes, 64 MiB; one chunk at least); a decoder (160 KiB) and a
               stored chunk for each thread.
     verifying for each thread two chunks more, and 2 T + 2 pages of 48 KiB.
     Contexts are libzstd's and liblz4's, from malloc; all else is desc.alloc's.

   ERRORS
     FORMAT (not an archive), UNSUPPORTED (refused by name: a later version, an unknown feature,
     .hxz, no LZ4 here), DATA (damaged), LIMIT (index_max, chunk sizes, too many frames for a seek
     table), SPACE, EXISTS, ACCESS, IO (of the sink or source), RANGE, NOMEM, CANCELED. Errors carry
     the offset in the archive, and name the chunk and its offset in the content; errors of writing
     carry the offset in the content. A writer that has failed stays failed: every later call gives
     the first error again, and hexz_pack_finish writes nothing. hexz_pack_abort, and a finish that
     fails, remove NAME.part; what was NAME before is as it was.

   CHUNKS
     HEXZ_PACK_CDC      content-defined, so that what moved is still found: a gear hash rolls over
                        the bytes (64 bits: h = 2 h + table[byte]), and a chunk ends behind a byte
                        where certain bits of it are zero. More bits are asked for below chunk_avg
                        and fewer above (normalisation), none below chunk_min; at chunk_max it ends
                        in any case. FastCDC: Xia et al., USENIX ATC 2016; IEEE TPDS 31(9), 2020.
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
       root, 8 = encryption. Optional, kept free: 1 = signatures. The hash is BLAKE3; minor versions
       add what may be ignored.

     chunk      zstd   a frame of one segment with its content size, no checksum, no dictionary
                raw    the same by hand: blocks that are not compressed, of 128 KiB but the last
                LZ4    a skippable frame, magic 184d2a5b, that holds one LZ4 block

     entry      what the content is made of, in order, and numbered from 0: a run of zeros; a
                duplicate of a stored chunk before it; or a chunk that is stored.

     table      and page, which is the same, byte for byte. Columns, each for all entries that it
                concerns; a varint has 7 bits in a byte, the lowest first, bit 7: more follow; it is
                as short as it can be.
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

     Limits     a chunk 16 MiB, 512 entries a page, 2^27 - 1 frames, 65,536 items of metadata with
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
    HEXZ_PACK_LZ4 = 4,
    HEXZ_PACK_KINDS = 5
};
/* Flags. */
enum {
    HEXZ_PACK_FORCE = 1,     /* begin: an existing NAME is replaced by finish */
    HEXZ_PACK_NO_SYNC = 2,   /* begin: finish does not wait for the device */
    HEXZ_PACK_FIND_ZEROS = 4 /* process: chunks of zeros are neither hashed nor compressed */
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
   Threads: one per handle. Allocates: yes. Blocks: workers. */
HEXZ_PACK_API posio_result hexz_pack_append_source(hexz_pack_writer *w, const posio_source *source,
                                                   posio_error *err);

/* Appends a chunk that the caller has cut: 1 to chunk_max bytes (of a fixed chunker: its size, or
   less for the last); bytes that wait for an end of their chunk become one first.
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
   Threads: exclusive. Allocates: no. Blocks: I/O. */
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
   decoded side by side straight into buf and pass by the cache.
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
    const char *reason;    /* valid during the call; no text of the archive in it */
    posio_result code;     /* POSIO_E_DATA, or POSIO_E_IO ... where it cannot be read */
    uint32_t reserved;
} hexz_pack_fault;

typedef struct hexz_pack_verdict {
    uint64_t chunks; /* stored ones that were decoded and compared */
    uint64_t bytes;  /* of their content */
    uint64_t faults;
    uint64_t bad_entries, bad_bytes; /* of content, duplicates of a damaged chunk included */
} hexz_pack_verdict;

/* Reads the whole file: every page and table, the CRC-32C of every frame and the BLAKE3 of every
   chunk, what entries refer to, the sums of the directory, the seek table, and that there is
   nothing else in the file. Goes on behind faults; each is told to `fault`, if that is not NULL, in
   the order of the file, by one thread at a time (any): non-zero stops, POSIO_E_CANCELED. Returns
   POSIO_OK, or the result of the first fault, and err is about that one. verdict (may be NULL) is
   filled in either case. Threads: any. Allocates: yes. Blocks: workers. */
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
    uint32_t kind;    /* of stored, HEXZ_PACK_RAW ... or what `compress` said; 0 if that is NULL */
    uint32_t ticket;  /* what `claim` said */
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
    /* Any thread, for chunks that come later: n bytes at offset of the content. May be NULL. */
    posio_result (*load)(void *user, uint64_t offset, void *data, size_t n, posio_error *err);
    /* Any thread, in any order, when the hash is known: *wanted = 0 and it is not compressed;
       *ticket goes along. NULL: all are wanted. */
    posio_result (*claim)(void *user, const hexz_pack_chunk *chunk, int *wanted, uint32_t *ticket,
                          posio_error *err);
    /* Any thread, in any order: *size bytes, room at most, to out; *kind goes along. NULL: `codec`,
       and what does not become smaller is HEXZ_PACK_RAW. */
    posio_result (*compress)(void *user, const hexz_pack_chunk *chunk, void *out, size_t room,
                             size_t *size, uint32_t *kind, posio_error *err);
    size_t room_extra; /* compress: room is n + n / 128 + 1,024 + room_extra for n bytes */
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
