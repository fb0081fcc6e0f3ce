/* zstd_par.h - zstd on many cores: many frames at once, the blocks of one frame, random access.
   SPDX-License-Identifier: MIT OR Unlicense

   QUICK START

       #define ZSTD_PAR_IMPLEMENTATION
       #define THREAD_POOL_IMPLEMENTATION
       #include "zstd_par.h"
       #include <stdio.h>

       int main(int argc, char **argv)
       {
           zstd_par_desc desc = {0};
           zstd_par *file = NULL;
           posio_error err;
           char text[16];
           desc.pool = thread_pool_create(0);
           if (argc < 2 || zstd_par_open(&file, argv[1], &desc, &err) != POSIO_OK) return 2;
           posio_source content = zstd_par_source(file);
           printf("%llu bytes\n", (unsigned long long)content.size);
           if (zstd_par_read_at(file, 0, text, sizeof text, &err) != POSIO_OK) puts(err.message);
           zstd_par_close(file);
           return thread_pool_destroy(desc.pool) != POSIO_OK;
       }

   WHAT IT DOES NOT DO
     It needs <zstd.h> and -lzstd, 1.4.0 or later, and uses the stable part of that API only. It
     compresses one frame by one thread, and a random read decodes whole frames. Frames without a
     magic number are refused by name. So are those of zstd v0.1 to v0.7, unless they are
     decompressed as a whole and the installed libzstd knows their version.

   MODES  (desc.mode; all give the same bytes and refuse the same files)
     ZSTD_PAR_FRAME   each frame by one thread: what `pzstd`, `zstd_par_compress` and tools of the
                      seekable format write. As fast as there are threads and frames.
     ZSTD_PAR_BLOCK   the blocks of one frame by all threads: what `zstd` and `zstd -T0` write is
                      one frame. The entropy decoding, about two thirds of the work, is done for
                      many blocks at once by zstd_block.h, from RFC 8878; matches are then copied
                      in order, which bounds what more than 3 or 4 threads can gain. Whatever is
                      wrong or unusual in a frame, libzstd decodes it anew: it has the last word.
     ZSTD_PAR_SERIAL  libzstd as it is.
     ZSTD_PAR_AUTO    frames; by blocks those of 1 MiB and more that are more than a thread's share
                      of all. With one thread, or a dictionary, no blocks; nor, to a sink, where the
                      window is larger than a sixteenth of desc.memory and the frame larger than a
                      quarter.

   OPTIONS  (define before the first include; each works alone)
     ZSTD_PAR_IMPLEMENTATION     the functions too: in exactly one .c or .cpp
     ZSTD_PAR_STATIC             a private copy with internal linkage, for this file only
     ZSTD_PAR_API                how public functions are declared (default: nothing)
     THREAD_POOL_NO_THREADS      no locks, no threads: one thread may use a handle at a time

   THREADS
     Every function may be called by any number of threads at once, also with the same codec, index
     or file; only what ends a handle wants it alone. No thread is started: the pool lent in the
     desc is used, if any. Output and errors are the same for any number of threads.

   MEMORY
     zstd_par_decompress_batch   nothing but contexts: one for each thread, 160 KiB
     zstd_par_decompress         the same, and 64 bytes for each frame, 6 MiB at most
     by blocks, also             0.5 MiB for each of 4 + 2 * threads strips, 16 at most, and 31 KiB
                                 for each thread, 12 at most: below 8.5 MiB; with a sink 3.5 MiB of
                                 input more, and of desc.memory what is in flight, twice: a window
                                 and 8 MiB, or 4 windows where that is more, rounded up by a quarter
                                 at most. A window of 2 MiB: below 32 MiB in all
     zstd_par_decompress_sink    desc.memory (256 MiB) for compressed and decoded frames; a window
                                 (2^window_log_max) where a frame is larger than a quarter of that
     zstd_par_compress           desc.memory, or two frames where that is more; contexts, as the
                                 level needs them; 12 to 36 bytes for each frame
     zstd_par_open               80 to 240 bytes for each frame, skippable ones included;
                                 desc.cache_bytes (64 MiB) of decoded frames, one frame at least;
                                 for each thread a compressed frame
     Contexts and digested dictionaries are libzstd's, from malloc; all else is desc.alloc's.

   ERRORS
     FORMAT (not zstd), DATA (damaged), UNSUPPORTED (refused by name), MISSING (the dictionary),
     LIMIT (window, memory, frames), SPACE (dst is too small), IO, NOMEM, CANCELED. Errors name the
     frame, counted from 0 without skippable ones, and the byte offset where it begins. What is
     accepted, and the bytes, are those of ZSTD_decompress of the installed libzstd. A sink has the
     limit for windows of ZSTD_decompressStream, too, and refuses what some versions of libzstd let
     pass: blocks that decode to more than the format allows, and, in a frame that is decoded in
     pieces, blocks that are stored in more (ZSTD_decompressStream does so, too).

   THE FORMAT  (RFC 8878: ZSTD; zstd's contrib/seekable_format/zstd_seekable_compression_format.md:
                SEEK; all numbers are little-endian)

     file       frame | frame | ...
     frame      magic fd2fb528 u32 | descriptor u8 | window u8? | dictionary u8, u16 or u32? |
                content size u8, u16, u32 or u64? | block | block | ... | checksum u32?
     block      u24: last (bit 0), type (1-2), size (3-23); then `size` bytes, for a run (RLE) one
     skippable  magic 184d2a50 to 184d2a5f u32 | size u32 | anything
     hint       pzstd: a skippable frame 184d2a50 of 4 bytes: the compressed size of the next frame
     seek table a skippable frame 184d2a5e, the last: for each frame compressed u32, content u32 and
                perhaps checksum u32; then frames u32 | descriptor u8 | magic 8f92eab1 u32

     A block decodes to 128 KiB at most, or to the window where that is smaller; blocks without
     compression say their size. So headers alone, 3 bytes for each block, give the compressed size
     of a frame and a bound of what it decodes to: that is all that is needed to decode frames side
     by side. Whatever a hint or a seek table says is compared with the frames. */

#if defined(ZSTD_PAR_STATIC) && !defined(ZSTD_PAR_IMPLEMENTATION)
#define ZSTD_PAR_IMPLEMENTATION
#endif
#if defined(ZSTD_PAR_IMPLEMENTATION)
#ifndef CHUNK_CACHE_IMPLEMENTATION
#define CHUNK_CACHE_IMPLEMENTATION
#endif
#ifndef DIGEST_IMPLEMENTATION
#define DIGEST_IMPLEMENTATION
#endif
#ifndef ZSTD_BLOCK_IMPLEMENTATION
#define ZSTD_BLOCK_IMPLEMENTATION
#endif
#endif
#if defined(CHUNK_CACHE_IMPLEMENTATION) && !defined(THREAD_POOL_IMPLEMENTATION)
#define THREAD_POOL_IMPLEMENTATION
#endif
#if !defined(POSIO_IMPLEMENTATION) &&                                         \
    (defined(THREAD_POOL_IMPLEMENTATION) || defined(DIGEST_IMPLEMENTATION) || \
     defined(ZSTD_BLOCK_IMPLEMENTATION))
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
#if defined(ZSTD_BLOCK_IMPLEMENTATION)
#include "zstd_block.h"
#endif

#ifndef CHUNKWISE_ZSTD_PAR_H
#define CHUNKWISE_ZSTD_PAR_H

#define ZSTD_PAR_VERSION 100 /* 1.0.0 */

#include <stddef.h>
#include <stdint.h>

struct chunkwise_pool;

#if defined(ZSTD_PAR_STATIC)
#define ZSTD_PAR_I_STATIC
#endif
#ifndef ZSTD_PAR_API
#if !defined(ZSTD_PAR_STATIC)
#define ZSTD_PAR_API
#elif defined(__GNUC__) || defined(__TINYC__)
#define ZSTD_PAR_API static __attribute__((unused))
#else
#define ZSTD_PAR_API static
#endif
#endif

/* ------------------------------------------------------------------ essential */

typedef struct zstd_par zstd_par;             /* a file that is read at random */
typedef struct zstd_par_codec zstd_par_codec; /* contexts and a dictionary, kept between calls */
typedef struct zstd_par_index zstd_par_index; /* what is where in a file */

/* How the threads share the work. */
enum {
    ZSTD_PAR_AUTO = 0,  /* by frames where there are several, else by blocks */
    ZSTD_PAR_FRAME = 1, /* each frame by one thread */
    ZSTD_PAR_BLOCK = 2, /* the blocks of a frame by all threads, frame after frame */
    ZSTD_PAR_SERIAL = 3 /* one frame after the other, by libzstd as it is */
};

enum {
    ZSTD_PAR_WALK = 1,         /* index, open: visit every block, whatever a seek table says */
    ZSTD_PAR_MEASURE = 2,      /* open: decode frames that do not say their size, to learn it */
    ZSTD_PAR_NO_CHECKSUM = 4,  /* compress: frames without checksums */
    ZSTD_PAR_NO_SEEK_TABLE = 8 /* compress: nothing behind the last frame */
};

#define ZSTD_PAR_UNKNOWN UINT64_MAX /* of sizes and offsets */

/* For all functions; each looks at what concerns it. NULL or all zero is a complete default. */
typedef struct zstd_par_desc {
    struct chunkwise_pool *pool; /* lent; NULL = the calling thread */
    /* To use (not to compress); lives as long as what was opened with it. NULL = contexts are made
       for the call. */
    zstd_par_codec *codec;
    /* Raw content, or made by `zstd --train`; copied. Not together with a codec, which has its
       own. */
    const void *dictionary;
    size_t dictionary_size;
    uint64_t memory;         /* bytes of frames in flight; 0 = 256 MiB, at least 1 MiB; what block
                                mode has for itself is not of it: 12 MiB at most, see MEMORY */
    uint64_t cache_bytes;    /* open: of decoded frames; 0 = 64 MiB */
    uint64_t frame_max;      /* open: bytes of the largest frame; 0 = 128 MiB, 1 GiB at most */
    uint64_t max_frames;     /* index, open: skippable ones included; 0 = 4 Mi */
    uint64_t frame_size;     /* compress: bytes in a frame, 1 GiB at most; 0 = 4 to 16 MiB */
    int32_t level;           /* compress: 0 = libzstd's default, 3 */
    uint32_t window_log_max; /* sink: refuse larger windows, as zstd; 10 to 31, 0 = 27 */
    uint32_t mode;           /* ZSTD_PAR_AUTO ... */
    uint32_t flags;          /* ZSTD_PAR_WALK ... */
    /* sink, compress: on the calling thread; `done` bytes of the input are through, total is
       ZSTD_PAR_UNKNOWN for a stream. Non-zero cancels. May be NULL. */
    int (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
    posio_alloc alloc;
} zstd_par_desc;

/* One of many decompressions. */
typedef struct zstd_par_item {
    const void *src; /* frames, as ZSTD_decompress takes them */
    size_t size;
    void *dst;
    size_t capacity;
    size_t produced;     /* out: bytes in dst, 0 on failure */
    const char *reason;  /* out: of a failure, in libzstd's words (static text), else NULL */
    posio_result result; /* out */
    uint32_t reserved;
} zstd_par_item;

typedef struct zstd_par_stats {
    uint64_t in_bytes, out_bytes;
    uint64_t frames;   /* without skippable ones */
    uint64_t streamed; /* of them: decoded serially, in pieces */
    uint32_t mode;     /* how it was done; ZSTD_PAR_BLOCK if any frame was done by blocks */
    uint32_t reserved;
} zstd_par_stats;

#ifdef __cplusplus
extern "C" {
#endif

/* Decompresses many independent buffers, each as ZSTD_decompress would. Every item gets its result:
   a bad one spoils no other. Returns POSIO_OK when all are good, else the result of the first that
   is not. A few small items are decoded at once on the calling thread; more are dealt out to the
   pool. Lend a codec when this is called often: to make contexts takes longer than small frames.
   An impossible desc or 4 Gi items fail the call, and the items are left as they are.
   Source: ZSTD, 3.1.
   Threads: any. Allocates: yes. Blocks: workers. */
ZSTD_PAR_API posio_result zstd_par_decompress_batch(zstd_par_item *items, size_t count,
                                                    const zstd_par_desc *desc, posio_error *err);

/* Decompresses memory to memory, as ZSTD_decompress: by frames side by side where there are several
   (dst with room for the bounds of unknown sizes helps), by blocks a large one, each straight to
   its place. Of dst nothing is written behind what a frame can have. *produced is
   untouched on failure; dst then holds anything. Source: ZSTD, 3.1.
   Threads: any. Allocates: yes. Blocks: workers. */
ZSTD_PAR_API posio_result zstd_par_decompress(const void *src, size_t size, void *dst,
                                              size_t capacity, size_t *produced,
                                              const zstd_par_desc *desc, posio_error *err);

/* Decompresses a source to a sink, in order, within a bounded memory. Frames are read and decoded
   side by side; one that is too large for that is decoded in pieces. Runs of zeros of 32 KiB become
   holes where the sink has them. On failure the sink has got everything before the failed frame, or
   more. stats may be NULL; it is untouched on failure. Source: ZSTD, 3.1.
   Threads: any. Allocates: yes. Blocks: workers. */
ZSTD_PAR_API posio_result zstd_par_decompress_sink(const posio_source *source,
                                                   const posio_sink *sink,
                                                   const zstd_par_desc *desc, zstd_par_stats *stats,
                                                   posio_error *err);

/* Compresses a stream or a source to a sink: frames of desc.frame_size bytes with content sizes and
   checksums, and a seek table with the same checksums. The bytes do not depend on the pool. Any
   zstd decompresses it; readers of the seekable format, zstd_par_open among them, read it at
   random. The sink gets its bytes in order. stats may be NULL; it is untouched on failure.
   Source: ZSTD, 3.1; SEEK. Threads: any. Allocates: yes. Blocks: workers. */
ZSTD_PAR_API posio_result zstd_par_compress(const posio_stream *stream, const posio_sink *sink,
                                            const zstd_par_desc *desc, zstd_par_stats *stats,
                                            posio_error *err);
ZSTD_PAR_API posio_result zstd_par_compress_source(const posio_source *source,
                                                   const posio_sink *sink,
                                                   const zstd_par_desc *desc, zstd_par_stats *stats,
                                                   posio_error *err);

/* ------------------------------------------------------------------ essential: random access */

/* Opens the file at path (UTF-8) to be read at random. Every frame must say its size, itself or in
   the seek table (or desc.flags has ZSTD_PAR_MEASURE), and be no larger than desc.frame_max: else
   POSIO_E_LIMIT or POSIO_E_UNSUPPORTED, and the error names it. On success close *out yourself.
   Source: ZSTD, 3.1; SEEK. Threads: any. Allocates: open. Blocks: workers. */
ZSTD_PAR_API posio_result zstd_par_open(zstd_par **out, const char *path, const zstd_par_desc *desc,
                                        posio_error *err);

/* The same for a source, which is borrowed until close.
   Threads: any. Allocates: open. Blocks: workers. */
ZSTD_PAR_API posio_result zstd_par_open_source(zstd_par **out, const posio_source *source,
                                               const zstd_par_desc *desc, posio_error *err);

/* Reads n bytes of the content at offset into buf; POSIO_E_RANGE beyond its end; on failure buf
   holds anything. A frame is decoded as a whole, once for all threads that want it, and kept in the
   cache; frames that lie completely within a range of 256 KiB or more are decoded side by side
   straight into buf and pass by the cache.
   Threads: any. Allocates: yes (a context for each thread at once). Blocks: workers. */
ZSTD_PAR_API posio_result zstd_par_read_at(zstd_par *file, uint64_t offset, void *buf, size_t n,
                                           posio_error *err);

/* The content as a positioned source; it borrows the file. Extents: frames are compressed, or zeros
   where an index with blocks (ZSTD_PAR_WALK) shows it.
   Threads: any. Allocates: no. Blocks: no. */
ZSTD_PAR_API posio_source zstd_par_source(zstd_par *file);

/* Its index; valid until close. Threads: any. Allocates: no. Blocks: no. */
ZSTD_PAR_API const zstd_par_index *zstd_par_index_of(const zstd_par *file);

/* Closes; NULL is fine. Nothing may be reading. Threads: exclusive. Allocates: no. Blocks: I/O. */
ZSTD_PAR_API void zstd_par_close(zstd_par *file);

/* ------------------------------------------------------------------ inspection: the index */

enum {
    ZSTD_PAR_SKIPPABLE = 1, /* a skippable frame: size and variant, nothing else */
    ZSTD_PAR_CHECKSUM = 2,  /* a checksum behind the last block */
    ZSTD_PAR_SINGLE = 4,    /* a single segment: the window is the content */
    ZSTD_PAR_ZERO = 8,      /* all content is zeros: nothing but runs of zeros was seen */
    ZSTD_PAR_SAID = 16,     /* content_size is what the seek table says, or was measured */
    ZSTD_PAR_OVERSIZE = 32, /* has a block larger than the format allows */
    ZSTD_PAR_HINT = 64      /* skippable: pzstd's, with the size of the next frame */
};
typedef struct zstd_par_frame {
    uint64_t offset, size; /* in the file, checksum included */
    uint64_t number;       /* of the frame, from 0, without skippable ones */
    uint64_t content_size; /* bytes; ZSTD_PAR_UNKNOWN; 0 of a skippable frame */
    uint64_t bound;        /* content_size, or as much as it can be */
    uint64_t output;       /* where its content begins in that of the file, or ZSTD_PAR_UNKNOWN */
    uint64_t window;       /* bytes */
    uint64_t blocks;       /* 0 where a seek table was believed */
    uint32_t dictionary;   /* its number; 0 = none, or not said */
    uint32_t flags;        /* ZSTD_PAR_SKIPPABLE ... */
    uint32_t variant;      /* of a skippable frame: 0 to 15; of others the checksum in the seek */
    uint32_t has_variant;  /* table, if there is one */
} zstd_par_frame;

typedef struct zstd_par_metadata {
    uint64_t file_size;
    uint64_t frames, skippable_frames, skippable_bytes;
    uint64_t blocks;         /* of all frames; 0 where a seek table was believed */
    uint64_t content_size;   /* ZSTD_PAR_UNKNOWN when a frame does not say */
    uint64_t bound;          /* of the content */
    uint64_t largest_frame;  /* bound of one frame */
    uint64_t largest_stored; /* compressed */
    uint64_t largest_window;
    uint64_t checksums;           /* frames with one */
    uint64_t hints, wrong_hints;  /* of pzstd */
    uint64_t unknown_sizes;       /* frames that do not say their size, nor does the table */
    uint32_t dictionary;          /* of the first frame that names one */
    uint32_t has_seek_table;      /* a sound one: it agrees with the frames */
    uint32_t is_walked;           /* 0: the seek table was believed, frame headers were checked */
    uint32_t mode;                /* what ZSTD_PAR_AUTO means for this file */
    const char *seek_table_fault; /* why a seek table is not used; NULL = sound, or none */
} zstd_par_metadata;

/* Makes an index of every frame of a source, which is needed during the call only: by its seek
   table, if there is a sound one, else by its headers. Nothing is decompressed.
   Source: ZSTD, 3.1.1, 3.1.2; SEEK. Threads: any. Allocates: open. Blocks: I/O. */
ZSTD_PAR_API posio_result zstd_par_index_open(zstd_par_index **out, const posio_source *source,
                                              const zstd_par_desc *desc, posio_error *err);

/* Frees it; NULL is fine. Threads: exclusive. Allocates: no. Blocks: no. */
ZSTD_PAR_API void zstd_par_index_close(zstd_par_index *index);

/* All in one; valid until close. Threads: any. Allocates: no. Blocks: no. */
ZSTD_PAR_API const zstd_par_metadata *zstd_par_index_info(const zstd_par_index *index);

/* The i-th frame in the order of the file, skippable ones included; POSIO_E_RANGE behind the last.
   Threads: any. Allocates: no. Blocks: no. */
ZSTD_PAR_API posio_result zstd_par_index_get(const zstd_par_index *index, uint64_t i,
                                             zstd_par_frame *out);

/* The i for zstd_par_index_get of the frame that holds this offset of the content; POSIO_E_RANGE at
   its end and behind, POSIO_E_UNSUPPORTED when sizes are not known.
   Threads: any. Allocates: no. Blocks: no. */
ZSTD_PAR_API posio_result zstd_par_index_find(const zstd_par_index *index, uint64_t offset,
                                              uint64_t *i);

/* ------------------------------------------------------------------ advanced */

/* Contexts (made when first needed) and the digested dictionary of desc, whose bytes are copied,
   for any number of calls at once. Threads: any. Allocates: open. Blocks: no. */
ZSTD_PAR_API posio_result zstd_par_codec_create(zstd_par_codec **out, const zstd_par_desc *desc,
                                                posio_error *err);

/* Frees it; NULL is fine. Nothing may use it.
   Threads: exclusive. Allocates: no. Blocks: no. */
ZSTD_PAR_API void zstd_par_codec_destroy(zstd_par_codec *codec);

/* Do these bytes begin with a zstd frame, or a skippable one? OK: it can be tried. UNSUPPORTED: of
   the family, and refused by name. FORMAT: something else. Source: ZSTD, 3.1.1, 3.1.2.
   Threads: any. Allocates: no. Blocks: I/O. */
ZSTD_PAR_API posio_result zstd_par_probe(const posio_source *source, posio_error *err);

#ifdef __cplusplus
}
#endif
#elif ZSTD_PAR_VERSION < 100
#error "zstd_par.h: an older copy came first in this file; include the newest header first"
#endif
#if defined(ZSTD_PAR_STATIC) && !defined(ZSTD_PAR_I_STATIC)
#error "define ZSTD_PAR_STATIC before the first include of zstd_par.h"
#endif

#if defined(ZSTD_PAR_IMPLEMENTATION) && !defined(ZSTD_PAR_I_IMPLEMENTED)
#define ZSTD_PAR_I_IMPLEMENTED 100

#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

// ---------------------------------------------------------------------------------- structures

enum {
    ZSTD_PAR_I_AHEAD = 4096,       /* bytes of headers read at once where they lie close */
    ZSTD_PAR_I_PEEK = 32,          /* and where they do not: a frame header and a block header */
    ZSTD_PAR_I_BLOCK = 128 << 10,  /* bytes that a block decodes to, at most */
    ZSTD_PAR_I_SERIAL = 128 << 10, /* bytes not worth waking a thread for */
    ZSTD_PAR_I_LEAST_GRAIN = 16 << 10,
    ZSTD_PAR_I_MOST_GRAIN = 256 << 10,
    ZSTD_PAR_I_WAVE = 64 << 20, /* bytes placed in memory before any is decoded */
    ZSTD_PAR_I_WAVE_ITEMS = 65536,
    ZSTD_PAR_I_GROUP = 1 << 20,   /* bytes of small frames in one slot */
    ZSTD_PAR_I_PIECE = 1 << 20,   /* bytes of a streamed frame in one slot */
    ZSTD_PAR_I_INPUT = 256 << 10, /* compressed bytes of it read at once */
    ZSTD_PAR_I_ROUND = 64 << 10,  /* buffers are multiples of this, so that they fit again */
    ZSTD_PAR_I_HOLE = 32 << 10,   /* zeros that become a hole */
    ZSTD_PAR_I_CHUNK = 4 << 10,   /* of the cache, at least */
    ZSTD_PAR_I_BULK = 256 << 10,  /* a read that is dealt out */
    ZSTD_PAR_I_SLOTS = 130,       /* of a ring, at most */
    ZSTD_PAR_I_PIECES = 16,       /* blocks of a strip, at most */
    ZSTD_PAR_I_STRIPS = 16,       /* of a ring, at most */
    ZSTD_PAR_I_STRIP =
        96 << 10,              /* bytes of blocks, literals and sequences that are enough for one */
    ZSTD_PAR_I_WEAVERS = 12,   /* threads in block mode, at most: more find nothing to do */
    ZSTD_PAR_I_RUN = 4 << 20,  /* bytes of content, at most, that go to a sink at once */
    ZSTD_PAR_I_HELD = 3 << 20, /* compressed bytes of them in memory, at most */
    ZSTD_PAR_I_LEAST_WEAVE = 1 << 20, /* bytes of a frame worth it */
    ZSTD_PAR_I_FOOTER = 9,            /* bytes of a seek table behind its entries */
    ZSTD_PAR_I_MAGICLESS = 1 << 16    /* blocks looked at to tell a frame without magic number */
};

#define ZSTD_PAR_I_MAGIC 0xfd2fb528u
#define ZSTD_PAR_I_SKIP_MAGIC 0x184d2a50u /* and the 15 behind it */
#define ZSTD_PAR_I_SEEK_MAGIC 0x8f92eab1u
#define ZSTD_PAR_I_MOST_FRAMES ((uint64_t)1 << 27) /* in a seek table */

/* What one thread needs at a time. */
typedef struct zstd_par_i_context {
    struct zstd_par_i_context *next;
    ZSTD_DCtx *decoder;
    ZSTD_CCtx *encoder;
    unsigned char *stored; /* compressed bytes, where they must be read */
    size_t room;
} zstd_par_i_context;

struct zstd_par_codec {
    posio_alloc alloc;
    ZSTD_DDict *dictionary;
    ZSTD_CDict *compressing; /* of a call that compresses; else NULL */
    uint32_t dictionary_id;
    int level, checksum;    /* of encoders */
    thread_pool_mutex lock; /* guards idle */
    zstd_par_i_context *idle;
};

struct zstd_par_index {
    posio_alloc alloc;
    zstd_par_metadata info;
    zstd_par_frame *frames; /* skippable ones included */
    uint64_t count, room, most;
};

struct zstd_par {
    zstd_par_desc desc;
    posio_source source;
#ifndef POSIO_NO_FILES
    posio_file *file; /* of zstd_par_open */
    char *path;
#endif
    zstd_par_codec own, *codec;
    zstd_par_index *index;
    chunk_cache *cache;
};

static posio_result zstd_par_i_no_memory(posio_error *err)
{
    return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
}

static const zstd_par_desc *zstd_par_i_defaults(void)
{
    static const zstd_par_desc defaults = {NULL, NULL, NULL, 0, 0, 0,    0,    0,
                                           0,    0,    0,    0, 0, NULL, NULL, {NULL, NULL, NULL}};
    return &defaults;
}

static posio_result zstd_par_i_check(const zstd_par_desc *desc, posio_error *err)
{
    const char *fault = NULL;
    if (!posio_alloc_is_valid(&desc->alloc)) fault = "alloc_fn without free_fn";
    else if (desc->mode > ZSTD_PAR_SERIAL) fault = "no such mode";
    else if (desc->flags > 15) fault = "no such flag";
    else if (desc->codec != NULL && desc->dictionary != NULL) fault = "a codec and a dictionary";
    else if (desc->dictionary == NULL && desc->dictionary_size != 0) fault = "no dictionary there";
    else if (desc->window_log_max != 0 && (desc->window_log_max < 10 || desc->window_log_max > 31))
        fault = "window_log_max is 10 to 31";
    if (fault != NULL) return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "zstd_par: %s", fault);
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- results

static posio_result zstd_par_i_result(size_t code)
{
    if (!ZSTD_isError(code)) return POSIO_OK;
    switch (ZSTD_getErrorCode(code)) {
    case ZSTD_error_prefix_unknown: return POSIO_E_FORMAT;
    case ZSTD_error_version_unsupported:
    case ZSTD_error_frameParameter_unsupported: return POSIO_E_UNSUPPORTED;
    case ZSTD_error_frameParameter_windowTooLarge: return POSIO_E_LIMIT;
    case ZSTD_error_dictionary_wrong: return POSIO_E_MISSING;
    case ZSTD_error_memory_allocation: return POSIO_E_NOMEM;
    case ZSTD_error_dstSize_tooSmall: return POSIO_E_SPACE;
    default: return POSIO_E_DATA;
    }
}

static posio_result zstd_par_i_fail_frame(posio_error *err, posio_result r, uint64_t number,
                                          uint64_t offset, const char *reason)
{
    return posio_fail(err, r, offset, "frame %llu cannot be decoded: %s",
                      (unsigned long long)number, reason);
}

/* The same for what libzstd says, where the frame had all the room that it can need. */
static posio_result zstd_par_i_fail_code(posio_error *err, size_t code, uint64_t number,
                                         uint64_t offset)
{
    posio_result r = zstd_par_i_result(code);
    if (r != POSIO_E_SPACE)
        return zstd_par_i_fail_frame(err, r, number, offset, ZSTD_getErrorName(code));
    return zstd_par_i_fail_frame(err, POSIO_E_DATA, number, offset,
                                 "it is larger than it says, or than its blocks can be");
}

/* A frame names a dictionary: is it the one that there is? */
static posio_result zstd_par_i_check_dictionary(const zstd_par_codec *codec,
                                                const zstd_par_frame *f, posio_error *err)
{
    if (f->dictionary == 0 || f->dictionary == codec->dictionary_id) return POSIO_OK;
    if (codec->dictionary == NULL)
        return posio_fail(err, POSIO_E_MISSING, f->offset,
                          "frame %llu needs dictionary %u, and none was given",
                          (unsigned long long)f->number, (unsigned)f->dictionary);
    return posio_fail(
        err, POSIO_E_MISSING, f->offset, "frame %llu needs dictionary %u, and the one given is %u",
        (unsigned long long)f->number, (unsigned)f->dictionary, (unsigned)codec->dictionary_id);
}

// ---------------------------------------------------------------------------------- contexts

static void zstd_par_i_end_codec(zstd_par_codec *codec)
{
    zstd_par_i_context *c = codec->idle, *next;
    for (; c != NULL; c = next) {
        next = c->next;
        ZSTD_freeDCtx(c->decoder);
        ZSTD_freeCCtx(c->encoder);
        posio_release(&codec->alloc, c->stored);
        posio_release(&codec->alloc, c);
    }
    ZSTD_freeDDict(codec->dictionary);
    ZSTD_freeCDict(codec->compressing);
    thread_pool_mutex_destroy(&codec->lock);
}

static posio_result zstd_par_i_begin_codec(zstd_par_codec *codec, const zstd_par_desc *desc,
                                           posio_error *err)
{
    memset(codec, 0, sizeof *codec);
    codec->alloc = desc->alloc;
    if (!thread_pool_mutex_init(&codec->lock)) return zstd_par_i_no_memory(err);
    if (desc->dictionary == NULL || desc->dictionary_size == 0) return POSIO_OK;
    codec->dictionary = ZSTD_createDDict(desc->dictionary, desc->dictionary_size);
    if (codec->dictionary != NULL) {
        codec->dictionary_id = ZSTD_getDictID_fromDDict(codec->dictionary);
        return POSIO_OK;
    }
    zstd_par_i_end_codec(codec);
    return posio_fail(err, POSIO_E_DATA, POSIO_NO_OFFSET, "the dictionary cannot be used");
}

/* The codec of a call: the one lent, or *local, for which zstd_par_i_end_codec is then due. */
static posio_result zstd_par_i_begin(const zstd_par_desc *desc, zstd_par_codec *local,
                                     zstd_par_codec **codec, posio_error *err)
{
    posio_result r = zstd_par_i_check(desc, err);
    if (r != POSIO_OK) return r;
    *codec = desc->codec != NULL ? desc->codec : local;
    return desc->codec != NULL ? POSIO_OK : zstd_par_i_begin_codec(local, desc, err);
}

static void zstd_par_i_end(const zstd_par_desc *desc, zstd_par_codec *local)
{
    if (desc->codec == NULL) zstd_par_i_end_codec(local);
}

static void zstd_par_i_give(zstd_par_codec *codec, zstd_par_i_context *c)
{
    if (c == NULL) return;
    thread_pool_lock(&codec->lock);
    c->next = codec->idle;
    codec->idle = c;
    thread_pool_unlock(&codec->lock);
}

/* A context, with a decoder if it is to decode; NULL without memory. */
static zstd_par_i_context *zstd_par_i_take(zstd_par_codec *codec, int decode)
{
    zstd_par_i_context *c;
    thread_pool_lock(&codec->lock);
    c = codec->idle;
    if (c != NULL) codec->idle = c->next;
    thread_pool_unlock(&codec->lock);
    if (c == NULL) c = (zstd_par_i_context *)posio_allocate_zeroed(&codec->alloc, sizeof *c);
    if (c == NULL || !decode || c->decoder != NULL) return c;
    c->decoder = ZSTD_createDCtx();
    if (c->decoder != NULL && !ZSTD_isError(ZSTD_DCtx_refDDict(c->decoder, codec->dictionary)))
        return c;
    ZSTD_freeDCtx(c->decoder);
    c->decoder = NULL;
    zstd_par_i_give(codec, c);
    return NULL;
}

/* Room for n compressed bytes in a context. */
static unsigned char *zstd_par_i_stored(zstd_par_codec *codec, zstd_par_i_context *c, uint64_t n)
{
    if (n <= c->room) return c->stored;
    posio_release(&codec->alloc, c->stored);
    c->room = 0;
    c->stored = NULL;
    if (n > SIZE_MAX / 2) return NULL;
    c->stored = (unsigned char *)posio_allocate(&codec->alloc, (size_t)n);
    if (c->stored != NULL) c->room = (size_t)n;
    return c->stored;
}

ZSTD_PAR_API posio_result zstd_par_codec_create(zstd_par_codec **out, const zstd_par_desc *desc,
                                                posio_error *err)
{
    zstd_par_codec *codec;
    posio_result r;
    if (desc == NULL) desc = zstd_par_i_defaults();
    r = zstd_par_i_check(desc, err);
    if (r != POSIO_OK) return r;
    codec = (zstd_par_codec *)posio_allocate(&desc->alloc, sizeof *codec);
    if (codec == NULL) return zstd_par_i_no_memory(err);
    r = zstd_par_i_begin_codec(codec, desc, err);
    if (r == POSIO_OK) *out = codec;
    else posio_release(&desc->alloc, codec);
    return r;
}

ZSTD_PAR_API void zstd_par_codec_destroy(zstd_par_codec *codec)
{
    posio_alloc a;
    if (codec == NULL) return;
    a = codec->alloc;
    zstd_par_i_end_codec(codec);
    posio_release(&a, codec);
}

// ---------------------------------------------------------------------------------- headers

enum { ZSTD_PAR_I_END, ZSTD_PAR_I_SKIP, ZSTD_PAR_I_FRAME, ZSTD_PAR_I_LARGE, ZSTD_PAR_I_OLD };

/* Goes from frame to frame, in memory or in a source. */
typedef struct zstd_par_i_walk {
    const unsigned char *memory;
    const posio_source *source; /* where memory is NULL */
    uint64_t size;
    uint64_t at;     /* where the next frame begins */
    uint64_t number; /* of it */
    uint64_t header; /* bytes of the last frame before its blocks */
    uint64_t from;   /* the buffer has `have` bytes from here */
    size_t have;
    unsigned char buffer[ZSTD_PAR_I_AHEAD];
} zstd_par_i_walk;

static void zstd_par_i_walk_begin(zstd_par_i_walk *w, const void *memory,
                                  const posio_source *source, uint64_t size)
{
    w->memory = (const unsigned char *)memory;
    w->source = source;
    w->size = size;
    w->at = w->number = w->header = w->from = 0;
    w->have = 0;
}

/* n bytes at `at`, which lie within the source; n is at most ZSTD_PAR_I_PEEK. Headers that lie far
   apart are read one by one, those that follow each other many at a time. */
static posio_result zstd_par_i_peek(zstd_par_i_walk *w, uint64_t at, size_t n,
                                    const unsigned char **p, posio_error *err)
{
    posio_result r = POSIO_OK;
    if (w->memory != NULL) {
        *p = w->memory + (size_t)at;
        return POSIO_OK;
    }
    if (at < w->from || at + n > w->from + w->have) {
        int is_near = at >= w->from && at - w->from < 2 * ZSTD_PAR_I_AHEAD;
        size_t take = (size_t)posio_min(is_near ? ZSTD_PAR_I_AHEAD : ZSTD_PAR_I_PEEK, w->size - at);
        w->have = 0;
        r = posio_read(w->source, at, w->buffer, take, err);
        if (r != POSIO_OK) return r;
        w->from = at;
        w->have = take;
    }
    *p = w->buffer + (size_t)(at - w->from);
    return r;
}

static posio_result zstd_par_i_truncated(const zstd_par_i_walk *w, const zstd_par_frame *f,
                                         posio_error *err)
{
    return posio_fail(err, POSIO_E_DATA, f->offset, "frame %llu is cut short: the end is at %llu",
                      (unsigned long long)f->number, (unsigned long long)w->size);
}

/* The header of a frame behind its magic number (at `at`); *length: of it, of what is there.
   Source: ZSTD, 3.1.1.1. */
static posio_result zstd_par_i_header(zstd_par_i_walk *w, uint64_t at, zstd_par_frame *f,
                                      size_t *length, posio_error *err)
{
    static const uint8_t id_sizes[4] = {0, 1, 2, 4}, content_sizes[4] = {0, 2, 4, 8};
    const uint64_t left = w->size - at;
    const unsigned char *p;
    uint32_t single, window_log;
    size_t id, content;
    posio_result r;
    if (left < 2) return zstd_par_i_truncated(w, f, err);
    r = zstd_par_i_peek(w, at, (size_t)posio_min(14, left), &p, err);
    if (r != POSIO_OK) return r;
    single = p[0] >> 5 & 1;
    id = id_sizes[p[0] & 3];
    content = content_sizes[p[0] >> 6] + (single && p[0] >> 6 == 0 ? 1u : 0u);
    *length = 1 + (single ? 0u : 1u) + id + content;
    if (left < *length) return zstd_par_i_truncated(w, f, err);
    if (p[0] & 8)
        return posio_fail(err, POSIO_E_UNSUPPORTED, f->offset,
                          "frame %llu uses the reserved bit of its header",
                          (unsigned long long)f->number);
    if (p[0] & 4) f->flags |= ZSTD_PAR_CHECKSUM;
    if (single) f->flags |= ZSTD_PAR_SINGLE;
    p++;
    if (!single) {
        window_log = 10 + (*p >> 3u);
        if (window_log > (sizeof(size_t) == 4 ? 30 : 31))
            return posio_fail(err, POSIO_E_LIMIT, f->offset,
                              "frame %llu has a window of 2^%u bytes or more; zstd allows 2^%u",
                              (unsigned long long)f->number, (unsigned)window_log,
                              sizeof(size_t) == 4 ? 30u : 31u);
        f->window = ((uint64_t)1 << window_log) + ((uint64_t)1 << (window_log - 3)) * (*p & 7u);
        p++;
    }
    f->dictionary = id == 1 ? p[0] : id == 2 ? posio_le16(p) : id == 4 ? posio_le32(p) : 0;
    p += id;
    f->content_size = content == 1   ? p[0]
                      : content == 2 ? posio_le16(p) + (uint64_t)256
                      : content == 4 ? posio_le32(p)
                      : content == 8 ? posio_le64(p)
                                     : ZSTD_PAR_UNKNOWN;
    if (single) f->window = f->content_size;
    return POSIO_OK;
}

/* A block, whose header is at *at; goes on behind it. *bound grows by what it decodes to at most,
   and *zero ends when that is anything but zeros. Source: ZSTD, 3.1.1.2. */
static posio_result zstd_par_i_block(zstd_par_i_walk *w, uint64_t *at, zstd_par_frame *f,
                                     uint64_t *bound, int *zero, int *last, posio_error *err)
{
    const uint64_t left = w->size - *at, block_max = posio_min(f->window, ZSTD_PAR_I_BLOCK);
    const unsigned char *p;
    uint32_t head, type;
    uint64_t size, stored;
    posio_result r;
    if (left < 3) return zstd_par_i_truncated(w, f, err);
    r = zstd_par_i_peek(w, *at, (size_t)posio_min(4, left), &p, err);
    if (r != POSIO_OK) return r;
    head = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
    type = head >> 1 & 3;
    size = head >> 3;
    stored = type == 1 ? 1 : size;
    if (type == 3)
        return posio_fail(err, POSIO_E_DATA, f->offset,
                          "block %llu of frame %llu, at %llu, has the reserved type",
                          (unsigned long long)f->blocks, (unsigned long long)f->number,
                          (unsigned long long)*at);
    if (left - 3 < stored) return zstd_par_i_truncated(w, f, err);
    if (size > block_max) f->flags |= ZSTD_PAR_OVERSIZE;
    if (size != 0 && (type != 1 || p[3] != 0)) *zero = 0;
    *bound += type == 2 ? block_max : size;
    *at += 3 + stored;
    *last = head & 1;
    f->blocks++;
    return POSIO_OK;
}

/* The blocks of a frame, from `at` on: size, bound and blocks of *f. Gives up, with *large, when
   the frame takes more than `most` bytes, compressed or not. */
static posio_result zstd_par_i_blocks(zstd_par_i_walk *w, uint64_t at, uint64_t most,
                                      zstd_par_frame *f, int *large, posio_error *err)
{
    uint64_t bound = 0;
    int zero = 1, last = 0;
    while (!last) {
        posio_result r = zstd_par_i_block(w, &at, f, &bound, &zero, &last, err);
        if (r != POSIO_OK) return r;
        if (at - f->offset > most || (bound > most && f->content_size == ZSTD_PAR_UNKNOWN)) {
            *large = 1;
            return POSIO_OK;
        }
    }
    if (f->flags & ZSTD_PAR_CHECKSUM) {
        if (w->size - at < 4) return zstd_par_i_truncated(w, f, err);
        at += 4;
    }
    if (zero && bound != 0) f->flags |= ZSTD_PAR_ZERO;
    f->bound = f->content_size != ZSTD_PAR_UNKNOWN ? f->content_size : bound;
    f->size = at - f->offset;
    return POSIO_OK;
}

/* Is this a frame, up to the end of the source, whose magic number was left out? What is no frame
   is soon seen not to be one; a disk full of zeros would be a chain of empty blocks. */
static int zstd_par_i_is_magicless(zstd_par_i_walk *w)
{
    zstd_par_frame f;
    size_t length;
    uint64_t at, bound = 0;
    int zero = 1, last = 0;
    memset(&f, 0, sizeof f);
    if (w->size < 5 || zstd_par_i_header(w, 0, &f, &length, NULL) != POSIO_OK) return 0;
    for (at = length; !last;)
        if (f.blocks == ZSTD_PAR_I_MAGICLESS || (f.flags & ZSTD_PAR_OVERSIZE) ||
            zstd_par_i_block(w, &at, &f, &bound, &zero, &last, NULL) != POSIO_OK)
            return 0;
    return w->size - at == (f.flags & ZSTD_PAR_CHECKSUM ? 4u : 0u);
}

/* What is wrong with a magic number that is none of ours. */
static posio_result zstd_par_i_fail_magic(zstd_par_i_walk *w, uint32_t magic, int *kind,
                                          posio_error *err)
{
    uint32_t old = magic == 0x1eb52ffd ? 1 : magic - 0xfd2fb520u;
    if (old >= 1 && old <= 7) {
        *kind = ZSTD_PAR_I_OLD;
        return posio_fail(err, POSIO_E_UNSUPPORTED, w->at,
                          "frame %llu is of zstd v0.%u, whose format is not that of RFC 8878",
                          (unsigned long long)w->number, (unsigned)old);
    }
    if (w->at != 0)
        return posio_fail(err, POSIO_E_DATA, w->at,
                          "what comes before frame %llu is no frame: it begins with %x",
                          (unsigned long long)w->number, (unsigned)magic);
    if (magic == 0xec30a437u)
        return posio_fail(err, POSIO_E_FORMAT, 0, "a zstd dictionary, not a compressed file");
    if (zstd_par_i_is_magicless(w))
        return posio_fail(err, POSIO_E_UNSUPPORTED, 0,
                          "not a zstd file, or one frame without its magic number");
    return posio_fail(err, POSIO_E_FORMAT, 0, "not a zstd file: it begins with %x",
                      (unsigned)magic);
}

/* A skippable frame. Source: ZSTD, 3.1.2. */
static posio_result zstd_par_i_skippable(zstd_par_i_walk *w, const unsigned char *p, uint64_t left,
                                         zstd_par_frame *f, posio_error *err)
{
    f->flags = ZSTD_PAR_SKIPPABLE;
    f->variant = p[0] & 15;
    if (left >= 8) f->size = (uint64_t)posio_le32(p + 4) + 8;
    if (left >= 8 && f->size > UINT32_MAX)
        return posio_fail(err, POSIO_E_UNSUPPORTED, f->offset,
                          "the skippable frame before frame %llu has %llu bytes; zstd takes less "
                          "than 4 GiB",
                          (unsigned long long)f->number, (unsigned long long)f->size);
    if (left < 8 || f->size > left)
        return posio_fail(err, POSIO_E_DATA, f->offset,
                          "the skippable frame before frame %llu is cut short: the end is at %llu",
                          (unsigned long long)f->number, (unsigned long long)w->size);
    if (f->variant == 0 && f->size == 12) f->flags |= ZSTD_PAR_HINT;
    w->at += f->size;
    return POSIO_OK;
}

/* Fewer bytes than any frame has. */
static posio_result zstd_par_i_fail_short(const zstd_par_i_walk *w, const unsigned char *p,
                                          size_t n, const zstd_par_frame *f, posio_error *err)
{
    static const unsigned char magic[4] = {0x28, 0xb5, 0x2f, 0xfd};
    if (memcmp(p, magic, n < 4 ? n : 4) == 0) return zstd_par_i_truncated(w, f, err);
    return posio_fail(err, w->at == 0 ? POSIO_E_FORMAT : POSIO_E_DATA, w->at,
                      w->at == 0 ? "not a zstd file: it has %llu bytes"
                                 : "%llu bytes are left behind the last frame",
                      (unsigned long long)n);
}

/* The next frame, and what it is: END, SKIP, FRAME; or LARGE (if it takes more than `most` bytes):
   then only its header has been looked at, and the walk stays before it. OLD: an error, but one
   that libzstd may think better of. */
static posio_result zstd_par_i_next(zstd_par_i_walk *w, uint64_t most, zstd_par_frame *f, int *kind,
                                    posio_error *err)
{
    const uint64_t left = w->size - w->at;
    const unsigned char *p;
    uint32_t magic;
    size_t length = 0;
    int large = 0;
    posio_result r;
    memset(f, 0, sizeof *f);
    f->offset = w->at;
    f->number = w->number;
    f->output = ZSTD_PAR_UNKNOWN;
    *kind = ZSTD_PAR_I_END;
    if (left == 0) return POSIO_OK;
    r = zstd_par_i_peek(w, w->at, (size_t)posio_min(18, left), &p, err);
    if (r != POSIO_OK) return r;
    if (left < 5) return zstd_par_i_fail_short(w, p, (size_t)left, f, err);
    magic = posio_le32(p);
    if ((magic & 0xfffffff0u) == ZSTD_PAR_I_SKIP_MAGIC) {
        *kind = ZSTD_PAR_I_SKIP;
        return zstd_par_i_skippable(w, p, left, f, err);
    }
    if (magic != ZSTD_PAR_I_MAGIC) return zstd_par_i_fail_magic(w, magic, kind, err);
    *kind = ZSTD_PAR_I_FRAME;
    r = zstd_par_i_header(w, w->at + 4, f, &length, err);
    if (r != POSIO_OK) return r;
    w->header = 4 + (uint64_t)length;
    f->bound = f->content_size;
    if (most == 0 || (f->content_size != ZSTD_PAR_UNKNOWN && f->content_size > most)) large = 1;
    else r = zstd_par_i_blocks(w, w->at + w->header, most, f, &large, err);
    if (r != POSIO_OK) return r;
    if (large) {
        *kind = ZSTD_PAR_I_LARGE;
        return POSIO_OK;
    }
    w->at += f->size;
    w->number++;
    return POSIO_OK;
}

ZSTD_PAR_API posio_result zstd_par_probe(const posio_source *source, posio_error *err)
{
    zstd_par_i_walk w;
    zstd_par_frame f;
    int kind;
    posio_result r;
    zstd_par_i_walk_begin(&w, NULL, source, source->size);
    r = zstd_par_i_next(&w, 0, &f, &kind, err);
    if (r == POSIO_OK && kind == ZSTD_PAR_I_END)
        return posio_fail(err, POSIO_E_FORMAT, 0, "not a zstd file: it is empty");
    return r;
}

// ---------------------------------------------------------------------------------- the seek table

typedef struct zstd_par_i_table {
    uint64_t offset;        /* of the skippable frame */
    uint64_t entries, left; /* left: not yet read */
    uint32_t entry_size;
    uint64_t at; /* of the next entry */
    uint32_t have, used;
    unsigned char buffer[12 * 256];
} zstd_par_i_table;

/* Looks for a seek table at the end; 1 = there is one, *fault says what is wrong with it, if so.
   Source: SEEK, "Seek_Table_Footer". */
static posio_result zstd_par_i_find_table(const posio_source *s, zstd_par_i_table *t, int *found,
                                          const char **fault, posio_error *err)
{
    unsigned char b[ZSTD_PAR_I_FOOTER];
    uint64_t size;
    posio_result r;
    memset(t, 0, offsetof(zstd_par_i_table, buffer));
    *found = 0;
    if (s->size < ZSTD_PAR_I_FOOTER + 8) return POSIO_OK;
    r = posio_read(s, s->size - ZSTD_PAR_I_FOOTER, b, sizeof b, err);
    if (r != POSIO_OK || posio_le32(b + 5) != ZSTD_PAR_I_SEEK_MAGIC) return r;
    t->entries = t->left = posio_le32(b);
    t->entry_size = b[4] & 0x80 ? 12 : 8;
    size = t->entries * t->entry_size + ZSTD_PAR_I_FOOTER;
    if (s->size - 8 < size) return POSIO_OK; /* the magic number by chance */
    t->offset = s->size - 8 - size;
    t->at = t->offset + 8;
    r = posio_read(s, t->offset, b, 8, err);
    if (r != POSIO_OK || posio_le32(b) != (ZSTD_PAR_I_SKIP_MAGIC | 14) || posio_le32(b + 4) != size)
        return r;
    *found = 1;
    r = posio_read(s, s->size - ZSTD_PAR_I_FOOTER, b, sizeof b, err);
    if (r == POSIO_OK && b[4] & 0x7c) *fault = "its descriptor has reserved bits";
    if (r == POSIO_OK && t->entries > ZSTD_PAR_I_MOST_FRAMES) *fault = "it has too many entries";
    return r;
}

/* The next entry; there must be one. Source: SEEK, "Seek_Table_Entries". */
static posio_result zstd_par_i_entry(const posio_source *s, zstd_par_i_table *t, uint32_t entry[3],
                                     posio_error *err)
{
    const unsigned char *p;
    if (t->used == t->have) {
        uint32_t n = (uint32_t)posio_min(t->left, 256) * t->entry_size;
        posio_result r = posio_read(s, t->at, t->buffer, n, err);
        if (r != POSIO_OK) return r;
        t->at += n;
        t->have = n;
        t->used = 0;
    }
    p = t->buffer + t->used;
    entry[0] = posio_le32(p);
    entry[1] = posio_le32(p + 4);
    entry[2] = t->entry_size == 12 ? posio_le32(p + 8) : 0;
    t->used += t->entry_size;
    t->left--;
    return POSIO_OK;
}

/* What an entry says of a frame is right, as far as the frame's header tells, and becomes part of
   it. */
static int zstd_par_i_agrees(const zstd_par_i_table *t, const uint32_t entry[3], zstd_par_frame *f)
{
    if (f->size != entry[0]) return 0;
    if (f->flags & ZSTD_PAR_SKIPPABLE) return entry[1] == 0;
    if (f->content_size == ZSTD_PAR_UNKNOWN && f->bound >= entry[1]) {
        f->content_size = f->bound = entry[1];
        f->flags |= ZSTD_PAR_SAID;
    }
    f->variant = entry[2];
    f->has_variant = t->entry_size == 12;
    return f->content_size == entry[1];
}

// ---------------------------------------------------------------------------------- the index

static posio_result zstd_par_i_add(zstd_par_index *x, const zstd_par_frame *f, posio_error *err)
{
    void *frames = x->frames;
    int ok;
    if (x->count == x->most)
        return posio_fail(err, POSIO_E_LIMIT, f->offset,
                          "more than %llu frames; max_frames allows more",
                          (unsigned long long)x->most);
    ok = posio_grow(&x->alloc, &frames, x->count, &x->room, sizeof *f);
    x->frames = (zstd_par_frame *)frames;
    if (!ok) return zstd_par_i_no_memory(err);
    x->frames[x->count++] = *f;
    return POSIO_OK;
}

/* From the headers of all frames and blocks. */
static posio_result zstd_par_i_walk_all(zstd_par_index *x, const posio_source *source,
                                        posio_error *err)
{
    zstd_par_i_walk w;
    zstd_par_frame f;
    int kind;
    posio_result r;
    zstd_par_i_walk_begin(&w, NULL, source, source->size);
    do {
        r = zstd_par_i_next(&w, UINT64_MAX, &f, &kind, err);
        if (r == POSIO_OK && kind != ZSTD_PAR_I_END) r = zstd_par_i_add(x, &f, err);
    } while (r == POSIO_OK && kind != ZSTD_PAR_I_END);
    x->info.is_walked = 1;
    return r;
}

/* The frame of an entry, at w->at, if its header does not contradict it; else *fault. */
static posio_result zstd_par_i_frame_of(zstd_par_i_walk *w, const zstd_par_i_table *t,
                                        const uint32_t entry[3], zstd_par_frame *f,
                                        const char **fault, posio_error *err)
{
    const uint64_t at = w->at, left = t->offset - at;
    const unsigned char *p;
    size_t length;
    posio_result r;
    memset(f, 0, sizeof *f);
    f->offset = at;
    f->number = w->number;
    f->bound = f->output = ZSTD_PAR_UNKNOWN;
    *fault = "its frames reach into it, or are too short";
    if (entry[0] < 8 || entry[0] > left) return POSIO_OK;
    r = zstd_par_i_peek(w, at, (size_t)posio_min(18, left), &p, err);
    if (r != POSIO_OK) return r;
    *fault = "an entry and its frame differ";
    if ((posio_le32(p) & 0xfffffff0u) == ZSTD_PAR_I_SKIP_MAGIC) {
        if (zstd_par_i_skippable(w, p, left, f, NULL) != POSIO_OK) return POSIO_OK;
    } else {
        if (posio_le32(p) != ZSTD_PAR_I_MAGIC ||
            zstd_par_i_header(w, at + 4, f, &length, NULL) != POSIO_OK)
            return POSIO_OK;
        f->size = entry[0];
        w->number++;
    }
    w->at = at + f->size;
    if (!zstd_par_i_agrees(t, entry, f)) return POSIO_OK;
    f->bound = f->content_size;
    *fault = NULL;
    return POSIO_OK;
}

/* From the seek table; each frame's header is compared with it. *fault: where it is wrong. */
static posio_result zstd_par_i_believe(zstd_par_index *x, const posio_source *source,
                                       zstd_par_i_table *t, const char **fault, posio_error *err)
{
    zstd_par_i_walk w;
    zstd_par_frame f;
    uint32_t entry[3];
    posio_result r = POSIO_OK;
    zstd_par_i_walk_begin(&w, NULL, source, t->offset);
    while (t->left != 0 && r == POSIO_OK) {
        r = zstd_par_i_entry(source, t, entry, err);
        if (r == POSIO_OK) r = zstd_par_i_frame_of(&w, t, entry, &f, fault, err);
        if (r != POSIO_OK || *fault != NULL) return r;
        r = zstd_par_i_add(x, &f, err);
    }
    if (r == POSIO_OK && w.at != t->offset) *fault = "its frames end before it begins";
    if (r != POSIO_OK || *fault != NULL) return r;
    memset(&f, 0, sizeof f); /* the table itself */
    f.offset = t->offset;
    f.size = source->size - t->offset;
    f.number = w.number;
    f.flags = ZSTD_PAR_SKIPPABLE;
    f.variant = 14;
    return zstd_par_i_add(x, &f, err);
}

/* Compares a seek table with frames that have been walked. Sizes that only the table says are taken
   from it when all of it is right. */
static posio_result zstd_par_i_compare(zstd_par_index *x, const posio_source *source,
                                       zstd_par_i_table *t, const char **fault, posio_error *err)
{
    zstd_par_i_table again = *t;
    uint64_t i = 0, at = 0;
    uint32_t entry[3];
    int change;
    for (change = 0; change < 2; change++, *t = again, i = 0, at = 0) {
        while (t->left != 0) {
            zstd_par_frame f;
            posio_result r = zstd_par_i_entry(source, t, entry, err);
            if (r != POSIO_OK) return r;
            *fault = "an entry and its frame differ";
            while (i < x->count && x->frames[i].offset < at) i++;
            if (i == x->count || x->frames[i].offset != at) return POSIO_OK;
            f = x->frames[i];
            if (!zstd_par_i_agrees(t, entry, &f)) return POSIO_OK;
            if (change) x->frames[i] = f;
            at += entry[0];
        }
        *fault = at == t->offset ? NULL : "its frames end before it begins";
        if (*fault != NULL) return POSIO_OK;
    }
    return POSIO_OK;
}

/* The sums, and where the content of each frame begins. */
static posio_result zstd_par_i_sum_up(zstd_par_index *x, uint64_t memory, posio_error *err)
{
    zstd_par_metadata *m = &x->info;
    uint64_t output = 0, i, side_by_side = 0;
    m->frames = m->skippable_frames = m->skippable_bytes = m->blocks = m->bound = 0;
    m->unknown_sizes = m->checksums = 0;
    m->largest_frame = m->largest_stored = m->largest_window = 0;
    for (i = 0; i < x->count; i++) {
        zstd_par_frame *f = &x->frames[i];
        f->output = output;
        if (f->flags & ZSTD_PAR_SKIPPABLE) {
            m->skippable_frames++;
            m->skippable_bytes += f->size;
            continue;
        }
        m->frames++;
        m->blocks += f->blocks;
        m->checksums += (f->flags & ZSTD_PAR_CHECKSUM) != 0;
        if (m->dictionary == 0) m->dictionary = f->dictionary;
        if (f->bound > m->largest_frame) m->largest_frame = f->bound;
        if (f->size > m->largest_stored) m->largest_stored = f->size;
        if (f->window > m->largest_window) m->largest_window = f->window;
        if (f->bound <= memory / 4 && f->size <= memory / 4) side_by_side++;
        if (!posio_add(m->bound, f->bound, &m->bound))
            return posio_fail(err, POSIO_E_DATA, f->offset,
                              "all frames up to frame %llu claim more than 2^64 bytes of content",
                              (unsigned long long)f->number);
        if (f->content_size == ZSTD_PAR_UNKNOWN) m->unknown_sizes++;
        if (m->unknown_sizes == 0) output = m->bound;
        else output = ZSTD_PAR_UNKNOWN;
    }
    m->content_size = output;
    m->mode = side_by_side >= 2                                                  ? ZSTD_PAR_FRAME
              : m->largest_frame >= ZSTD_PAR_I_LEAST_WEAVE && m->dictionary == 0 ? ZSTD_PAR_BLOCK
                                                                                 : ZSTD_PAR_SERIAL;
    return POSIO_OK;
}

/* pzstd's hints, where frames were walked. */
static posio_result zstd_par_i_check_hints(zstd_par_index *x, const posio_source *source,
                                           posio_error *err)
{
    uint64_t i;
    for (i = 0; i < x->count; i++) {
        unsigned char b[4];
        posio_result r;
        if (!(x->frames[i].flags & ZSTD_PAR_HINT)) continue;
        r = posio_read(source, x->frames[i].offset + 8, b, 4, err);
        if (r != POSIO_OK) return r;
        x->info.hints++;
        if (i + 1 == x->count || (x->frames[i + 1].flags & ZSTD_PAR_SKIPPABLE) ||
            x->frames[i + 1].size != posio_le32(b))
            x->info.wrong_hints++;
    }
    return POSIO_OK;
}

static uint64_t zstd_par_i_memory(const zstd_par_desc *desc)
{
    if (desc->memory == 0) return (uint64_t)256 << 20;
    return desc->memory < (1u << 20) ? 1u << 20 : posio_min(desc->memory, SIZE_MAX / 4);
}

static posio_result zstd_par_i_fill(zstd_par_index *x, const posio_source *source,
                                    const zstd_par_desc *desc, posio_error *err)
{
    zstd_par_i_table t;
    const char *fault = NULL;
    int found = 0, walk = (desc->flags & ZSTD_PAR_WALK) != 0;
    posio_result r = zstd_par_i_find_table(source, &t, &found, &fault, err);
    if (r == POSIO_OK && found && fault == NULL && !walk) {
        r = zstd_par_i_believe(x, source, &t, &fault, err);
        if (fault != NULL) x->count = 0;
    }
    if (r == POSIO_OK && (!found || walk || fault != NULL)) {
        r = zstd_par_i_walk_all(x, source, err);
        if (r == POSIO_OK && found && fault == NULL)
            r = zstd_par_i_compare(x, source, &t, &fault, err);
    }
    x->info.has_seek_table = found && fault == NULL;
    x->info.seek_table_fault = fault;
    if (r == POSIO_OK) r = zstd_par_i_check_hints(x, source, err);
    return r == POSIO_OK ? zstd_par_i_sum_up(x, zstd_par_i_memory(desc), err) : r;
}

ZSTD_PAR_API posio_result zstd_par_index_open(zstd_par_index **out, const posio_source *source,
                                              const zstd_par_desc *desc, posio_error *err)
{
    zstd_par_index *x;
    posio_result r;
    if (desc == NULL) desc = zstd_par_i_defaults();
    r = zstd_par_i_check(desc, err);
    if (r != POSIO_OK) return r;
    x = (zstd_par_index *)posio_allocate_zeroed(&desc->alloc, sizeof *x);
    if (x == NULL) return zstd_par_i_no_memory(err);
    x->alloc = desc->alloc;
    x->most = desc->max_frames != 0 ? desc->max_frames : (uint64_t)4 << 20;
    x->info.file_size = source->size;
    r = zstd_par_i_fill(x, source, desc, err);
    if (r == POSIO_OK) *out = x;
    else zstd_par_index_close(x);
    return r;
}

ZSTD_PAR_API void zstd_par_index_close(zstd_par_index *index)
{
    posio_alloc a;
    if (index == NULL) return;
    a = index->alloc;
    posio_release(&a, index->frames);
    posio_release(&a, index);
}

ZSTD_PAR_API const zstd_par_metadata *zstd_par_index_info(const zstd_par_index *index)
{
    return &index->info;
}

ZSTD_PAR_API posio_result zstd_par_index_get(const zstd_par_index *index, uint64_t i,
                                             zstd_par_frame *out)
{
    if (i >= index->count) return POSIO_E_RANGE;
    *out = index->frames[(size_t)i];
    return POSIO_OK;
}

/* The last frame whose content begins at the offset or before: those of size 0 that begin where
   another does come before it. */
ZSTD_PAR_API posio_result zstd_par_index_find(const zstd_par_index *index, uint64_t offset,
                                              uint64_t *i)
{
    uint64_t low = 0, high = index->count;
    if (index->info.content_size == ZSTD_PAR_UNKNOWN) return POSIO_E_UNSUPPORTED;
    if (offset >= index->info.content_size) return POSIO_E_RANGE;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (index->frames[(size_t)middle].output <= offset) low = middle;
        else high = middle;
    }
    *i = low;
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- batches

typedef struct zstd_par_i_batch {
    zstd_par_codec *codec;
    zstd_par_item *items;
    uint32_t count;
    uint32_t next;  /* the first item that no thread has claimed */
    uint64_t grain; /* bytes, about, that a thread claims at once */
} zstd_par_i_batch;

/* About how much an item decodes to. */
static uint64_t zstd_par_i_weight(const zstd_par_item *t)
{
    unsigned long long n = ZSTD_getFrameContentSize(t->src, t->size);
    return posio_min(n < ZSTD_CONTENTSIZE_ERROR ? n : (uint64_t)t->size * 4, t->capacity) + 256;
}

static void zstd_par_i_decode_item(zstd_par_i_context *c, zstd_par_item *t)
{
    unsigned char none; /* NULL would be another error, which old versions do not have */
    size_t n = ZSTD_decompressDCtx(c->decoder, t->dst != NULL ? t->dst : &none,
                                   t->dst != NULL ? t->capacity : 0, t->src, t->size);
    t->result = zstd_par_i_result(n);
    t->produced = t->result == POSIO_OK ? n : 0;
    t->reason = t->result == POSIO_OK ? NULL : ZSTD_getErrorName(n);
}

/* Claims items until none is left. */
static posio_result zstd_par_i_batch_part(void *user, uint32_t part, posio_error *err)
{
    zstd_par_i_batch *b = (zstd_par_i_batch *)user;
    zstd_par_i_context *c = zstd_par_i_take(b->codec, 1);
    uint32_t first = posio_atomic_load(&b->next), end;
    (void)part;
    (void)err;
    while (c != NULL && first < b->count) {
        uint64_t bytes = 0;
        if (b->grain == UINT64_MAX) end = b->count;
        else
            for (end = first; end < b->count && bytes < b->grain; end++)
                bytes += zstd_par_i_weight(&b->items[end]);
        if (posio_atomic_swap_if(&b->next, first, end))
            for (; first < end; first++) zstd_par_i_decode_item(c, &b->items[first]);
        first = posio_atomic_load(&b->next);
    }
    zstd_par_i_give(b->codec, c);
    return POSIO_OK; /* without a context: others may have one */
}

/* All items; which of them failed is in them. */
static posio_result zstd_par_i_run_batch(zstd_par_codec *codec, struct chunkwise_pool *pool,
                                         zstd_par_item *items, uint32_t count, posio_error *err)
{
    uint32_t threads = 1, i;
    zstd_par_i_batch b;
    uint64_t bytes = 0;
    posio_result r = POSIO_OK;
    for (i = 0; i < count && bytes < ZSTD_PAR_I_SERIAL; i++) bytes += items[i].capacity;
    if (pool != NULL && count > 1 && bytes >= ZSTD_PAR_I_SERIAL) {
        for (i = 0, bytes = 0; i < count && bytes < ZSTD_PAR_I_SERIAL; i++)
            bytes += zstd_par_i_weight(&items[i]);
        if (bytes >= ZSTD_PAR_I_SERIAL) threads = thread_pool_threads(pool);
        if (threads > count) threads = count;
    }
    b.codec = codec;
    b.items = items;
    b.count = count;
    b.next = 0;
    b.grain = UINT64_MAX;
    if (threads > 1) { /* some claims for each thread, neither tiny nor long */
        b.grain = bytes / i * count / threads / 4;
        b.grain = posio_min(b.grain, ZSTD_PAR_I_MOST_GRAIN);
        if (b.grain < ZSTD_PAR_I_LEAST_GRAIN) b.grain = ZSTD_PAR_I_LEAST_GRAIN;
    }
    if (threads > 1) r = thread_pool_parallel_for(pool, threads, zstd_par_i_batch_part, &b, err);
    else (void)zstd_par_i_batch_part(&b, 0, NULL);
    if (r == POSIO_OK && b.next < count) r = zstd_par_i_no_memory(err);
    for (i = b.next; i < count; i++) {
        items[i].produced = 0;
        items[i].reason = "it was not begun";
        items[i].result = r;
    }
    return r;
}

ZSTD_PAR_API posio_result zstd_par_decompress_batch(zstd_par_item *items, size_t count,
                                                    const zstd_par_desc *desc, posio_error *err)
{
    zstd_par_codec local, *codec;
    uint32_t i;
    posio_result r;
    if (desc == NULL) desc = zstd_par_i_defaults();
    if (count > UINT32_MAX - 1)
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "zstd_par: too many items");
    r = zstd_par_i_begin(desc, &local, &codec, err);
    if (r != POSIO_OK) return r;
    r = zstd_par_i_run_batch(codec, desc->mode == ZSTD_PAR_SERIAL ? NULL : desc->pool, items,
                             (uint32_t)count, err);
    zstd_par_i_end(desc, &local);
    for (i = 0; i < count && r == POSIO_OK; i++)
        if (items[i].result != POSIO_OK)
            r = posio_fail(err, items[i].result, POSIO_NO_OFFSET,
                           "item %u of the batch cannot be decoded: %s", (unsigned)i,
                           items[i].reason);
    return r;
}

// ---------------------------------------------------------------------------------- by blocks

/* One frame by all threads. The pipeline: produce walks the headers of the blocks and names those
   that define tables for others; work undoes the entropy coding of a strip of blocks; then, in
   order, one lane executes their sequences and one computes the checksum. Whatever goes wrong only
   means that libzstd decodes the frame anew: what is accepted here it accepts, too. */
typedef struct zstd_par_i_piece {
    const unsigned char *data; /* a block's content */
    uint32_t size, type;
    zstd_block_head head;
    zstd_block_names names;
    zstd_block_decoded decoded;
    unsigned char *literals;
    uint64_t *sequences;
} zstd_par_i_piece;

typedef struct zstd_par_i_strip {
    uint32_t count;
    size_t made; /* bytes at `out`, when executed */
    const unsigned char *out;
    uint64_t *sequences;     /* room for those of any block, */
    unsigned char *literals; /* and for literals */
    zstd_par_i_piece pieces[ZSTD_PAR_I_PIECES];
} zstd_par_i_strip;

typedef struct zstd_par_i_decoder {
    struct zstd_par_i_decoder *next;
    zstd_block block;
} zstd_par_i_decoder;

typedef struct zstd_par_i_weave {
    const unsigned char *at, *end; /* the header of the next block; the end of the frame */
    uint64_t window, number;       /* number: of the next block, from 1 */
    uint32_t most;                 /* bytes of a block */
    size_t room_for_literals, room_for_sequences; /* of a strip: any block's, at least */
    int last, has_checksum, apart;                /* apart: the checksum has a lane of its own */
    zstd_block_names names;
    uint32_t repeats[3];
    unsigned char *begin, *out, *limit; /* of what is decoded; begin: as far back as is kept */
    const posio_source *source;         /* NULL: all is in memory */
    unsigned char *input;               /* `held` bytes, of which those up to `end` */
    size_t held;
    uint64_t read, stop; /* are those of the source up to here; the end of the frame, if known */
    size_t bound, room;  /* of what is produced in this run, and for it */
    int pause;           /* that, or the input, has no room for another block */
    digest checksum;
    thread_pool_mutex lock; /* guards idle */
    zstd_par_i_decoder *idle;
    zstd_par_i_strip *strips;
} zstd_par_i_weave;

/* Why does not matter. */
static posio_result zstd_par_i_unfit(posio_error *err)
{
    return posio_fail(err, POSIO_E_DATA, POSIO_NO_OFFSET, "not for block mode");
}

/* Are n bytes there at w->at? Reads them, and more, if they must be read. */
static posio_result zstd_par_i_need(zstd_par_i_weave *w, size_t n, posio_error *err)
{
    const size_t have = (size_t)(w->end - w->at);
    size_t take;
    posio_result r;
    if (have >= n) return POSIO_OK;
    if (w->source == NULL || n - have > w->stop - w->read) return zstd_par_i_unfit(err);
    take = (size_t)ZSTD_PAR_I_INPUT; /* more than any block */
    take = (size_t)posio_min(take, w->stop - w->read);
    r = posio_read(w->source, w->read, w->input + (w->end - w->input), take, err);
    if (r != POSIO_OK) return r;
    w->end += take;
    w->read += take;
    return POSIO_OK;
}

/* Is there room for another block in this run? In memory there is, or execution fails. */
static int zstd_par_i_has_room(const zstd_par_i_weave *w)
{
    return w->source == NULL || (w->bound + w->most <= w->room && w->bound < ZSTD_PAR_I_RUN &&
                                 (size_t)(w->at - w->input) <= ZSTD_PAR_I_HELD - ZSTD_PAR_I_INPUT -
                                                                   2 * (size_t)ZSTD_PAR_I_BLOCK);
}

/* The block whose header is at w->at, if it fits into the strip behind what is there; *cost grows
   by bytes that take about as long as a byte of literals. */
static posio_result zstd_par_i_add_block(zstd_par_i_weave *w, zstd_par_i_strip *s, size_t *literals,
                                         size_t *sequences, size_t *cost, int *full,
                                         posio_error *err)
{
    zstd_par_i_piece *p = &s->pieces[s->count];
    uint32_t head, stored;
    posio_result r;
    *full = s->count == ZSTD_PAR_I_PIECES || *cost >= ZSTD_PAR_I_STRIP;
    if (*full) return POSIO_OK;
    if (!zstd_par_i_has_room(w)) {
        w->pause = *full = 1;
        return POSIO_OK;
    }
    r = zstd_par_i_need(w, 3, err);
    if (r != POSIO_OK) return r;
    head = (uint32_t)w->at[0] | (uint32_t)w->at[1] << 8 | (uint32_t)w->at[2] << 16;
    p->type = head >> 1 & 3;
    p->size = head >> 3;
    p->data = w->at + 3;
    stored = p->type == 1 ? 1 : p->size;
    if (p->type == 3 || p->size > w->most) return zstd_par_i_unfit(err);
    r = zstd_par_i_need(w, 3 + (size_t)stored, err);
    if (r != POSIO_OK) return r;
    *cost += p->size;
    if (p->type == 2) {
        if (!zstd_block_look(p->data, p->size, w->most, &p->head) ||
            p->head.sequences > w->room_for_sequences)
            return zstd_par_i_unfit(err);
        *full = p->head.literals + (size_t)ZSTD_BLOCK_SLACK > w->room_for_literals - *literals ||
                p->head.sequences > w->room_for_sequences - *sequences;
        if (*full) return POSIO_OK;
        if (!zstd_block_name(&w->names, p->data, p->size, w->number, &p->head))
            return zstd_par_i_unfit(err);
        p->names = w->names;
        p->literals = s->literals + *literals;
        p->sequences = s->sequences + *sequences;
        *literals += p->head.literals + (size_t)ZSTD_BLOCK_SLACK;
        *sequences += p->head.sequences;
        *cost += p->head.literals + 8 * (size_t)p->head.sequences;
    }
    s->count++;
    w->number++;
    w->bound += p->type == 2 ? w->most : p->size;
    w->last = head & 1;
    w->at += 3 + (size_t)stored;
    return POSIO_OK;
}

static posio_result zstd_par_i_weave_produce(void *user, thread_pool_slot *slot, posio_error *err)
{
    zstd_par_i_weave *w = (zstd_par_i_weave *)user;
    zstd_par_i_strip *s = &w->strips[slot->index];
    size_t literals = 0, sequences = 0, cost = 0;
    uint32_t i;
    int full = 0;
    posio_result r = POSIO_OK;
    if (w->last || w->pause) return THREAD_POOL_END;
    s->count = 0;
    while (r == POSIO_OK && !w->last && !full)
        r = zstd_par_i_add_block(w, s, &literals, &sequences, &cost, &full, err);
    slot->parts = 0;
    for (i = 0; i < s->count; i++)
        if (s->pieces[i].type == 2) slot->parts = 1;
    return r;
}

static posio_result zstd_par_i_weave_work(void *user, const thread_pool_slot *slot, uint32_t part,
                                          posio_error *err)
{
    zstd_par_i_weave *w = (zstd_par_i_weave *)user;
    zstd_par_i_strip *s = &w->strips[slot->index];
    zstd_par_i_decoder *d;
    uint32_t i;
    int ok = 1;
    (void)part;
    thread_pool_lock(&w->lock);
    d = w->idle; /* there are as many as threads */
    w->idle = d->next;
    thread_pool_unlock(&w->lock);
    for (i = 0; i < s->count && ok; i++) {
        zstd_par_i_piece *p = &s->pieces[i];
        if (p->type == 2)
            ok = zstd_block_decode(&d->block, p->data, p->size, &p->head, &p->names, w->most,
                                   p->literals, p->sequences, &p->decoded);
    }
    thread_pool_lock(&w->lock);
    d->next = w->idle;
    w->idle = d;
    thread_pool_unlock(&w->lock);
    return ok ? POSIO_OK : zstd_par_i_unfit(err);
}

/* Executes a block, whatever its type. */
static int zstd_par_i_execute(zstd_par_i_weave *w, zstd_par_i_piece *p)
{
    if (p->type == 2) {
        if (!zstd_block_resolve(&p->decoded, p->sequences, w->repeats) ||
            !zstd_block_execute(&p->decoded, p->sequences, w->begin, w->out, w->limit, w->window))
            return 0;
        w->out += p->decoded.size;
        return 1;
    }
    if (p->size > (size_t)(w->limit - w->out)) return 0;
    if (p->type == 0) memcpy(w->out, p->data, p->size);
    else memset(w->out, p->data[0], p->size);
    w->out += p->size;
    return 1;
}

static posio_result zstd_par_i_weave_execute(void *user, const thread_pool_slot *slot,
                                             uint32_t lane, posio_error *err)
{
    zstd_par_i_weave *w = (zstd_par_i_weave *)user;
    zstd_par_i_strip *s = &w->strips[slot->index];
    uint32_t i;
    (void)lane;
    s->out = w->out;
    for (i = 0; i < s->count; i++)
        if (!zstd_par_i_execute(w, &s->pieces[i])) return zstd_par_i_unfit(err);
    s->made = (size_t)(w->out - s->out);
    if (w->has_checksum && !w->apart) digest_update(&w->checksum, s->out, s->made);
    return POSIO_OK;
}

static posio_result zstd_par_i_weave_checksum(void *user, const thread_pool_slot *slot,
                                              uint32_t lane, posio_error *err)
{
    zstd_par_i_weave *w = (zstd_par_i_weave *)user;
    const zstd_par_i_strip *s = &w->strips[slot->index];
    (void)lane;
    (void)err;
    digest_update(&w->checksum, s->out, s->made);
    return POSIO_OK;
}

/* Runs the pipeline from w->at on: in memory to the end of the frame. */
static posio_result zstd_par_i_weave_run(zstd_par_i_weave *w, struct chunkwise_pool *pool,
                                         uint32_t threads, uint32_t slots, const posio_alloc *alloc,
                                         posio_error *err)
{
    thread_pool_lane lanes[2];
    thread_pool_job job;
    memset(&job, 0, sizeof job);
    memset(lanes, 0, sizeof lanes);
    lanes[0].run = zstd_par_i_weave_execute;
    lanes[1].run = zstd_par_i_weave_checksum;
    lanes[1].after = 1;
    job.user = w;
    job.slots = slots;
    job.threads = threads;
    job.lanes = lanes;
    job.lane_count = w->has_checksum && w->apart ? 2 : 1;
    job.produce = zstd_par_i_weave_produce;
    job.work = zstd_par_i_weave_work;
    job.alloc = *alloc;
    return thread_pool_run(pool, &job, err);
}

/* Is the checksum behind the last block that of the content? Source: ZSTD, 3.1.1. */
static int zstd_par_i_checks(const zstd_par_i_weave *w)
{
    unsigned char b[DIGEST_MAX_SIZE]; /* the most significant byte first */
    if (!w->has_checksum) return w->source != NULL || w->at == w->end;
    if (w->end - w->at < 4 || (w->source == NULL && w->end - w->at != 4)) return 0;
    digest_result(&w->checksum, b);
    return posio_be32(b + 4) == posio_le32(w->at);
}

/* The memory of block mode: strips, and a decoder for each thread. */
static void *zstd_par_i_weave_memory(zstd_par_i_weave *w, uint32_t threads, uint32_t slots,
                                     const posio_alloc *alloc)
{
    const size_t sequences = w->room_for_sequences * sizeof(uint64_t);
    const size_t literals = (w->room_for_literals + 7) & ~(size_t)7;
    const size_t strip = sizeof(zstd_par_i_strip) + sequences + literals;
    unsigned char *all = (unsigned char *)posio_allocate(
        alloc, slots * strip + threads * sizeof(zstd_par_i_decoder));
    unsigned char *p = all;
    uint32_t i;
    if (all == NULL) return NULL;
    w->strips = (zstd_par_i_strip *)(void *)p;
    p += slots * sizeof *w->strips;
    for (i = 0; i < threads; i++, p += sizeof(zstd_par_i_decoder)) {
        zstd_par_i_decoder *d = (zstd_par_i_decoder *)(void *)p;
        zstd_block_begin(&d->block);
        d->next = w->idle;
        w->idle = d;
    }
    for (i = 0; i < slots; i++, p += sequences) w->strips[i].sequences = (uint64_t *)(void *)p;
    for (i = 0; i < slots; i++, p += literals) w->strips[i].literals = p;
    return all;
}

/* Begins a frame that has `bound` bytes at most, but for where they are. */
static void zstd_par_i_weave_begin(zstd_par_i_weave *w, const zstd_par_frame *f, uint64_t bound,
                                   uint32_t threads)
{
    w->window = f->window;
    w->most = (uint32_t)posio_min(posio_min(f->window, bound), ZSTD_BLOCK_MAX);
    w->room_for_literals = w->most + (ZSTD_PAR_I_PIECES + 1) * (size_t)ZSTD_BLOCK_SLACK;
    w->room_for_sequences = w->most / 3 + 1;
    w->number = 1;
    w->has_checksum = (f->flags & ZSTD_PAR_CHECKSUM) != 0;
    w->apart = threads > 2;
    w->repeats[0] = 1; /* ZSTD, 3.1.1.5 */
    w->repeats[1] = 4;
    w->repeats[2] = 8;
    zstd_block_begin_frame(&w->names);
    (void)digest_begin(&w->checksum, DIGEST_XXH64);
}

static uint32_t zstd_par_i_weavers(const zstd_par_desc *desc)
{
    return (uint32_t)posio_min(thread_pool_threads(desc->pool), ZSTD_PAR_I_WEAVERS);
}

static uint32_t zstd_par_i_strips(uint32_t threads)
{
    return (uint32_t)posio_min(4 + 2 * threads, ZSTD_PAR_I_STRIPS);
}

/* Decodes one frame by blocks. 0: libzstd must do it, and the item is as it was. */
static int zstd_par_i_by_blocks(const zstd_par_codec *codec, const zstd_par_desc *desc,
                                zstd_par_item *t)
{
    const uint32_t threads = zstd_par_i_weavers(desc), slots = zstd_par_i_strips(threads);
    zstd_par_i_weave w;
    zstd_par_i_walk walk;
    zstd_par_frame f;
    size_t header;
    void *memory;
    int ok;
    memset(&w, 0, sizeof w);
    memset(&f, 0, sizeof f);
    zstd_par_i_walk_begin(&walk, t->src, NULL, t->size);
    if (codec->dictionary != NULL || t->dst == NULL ||
        zstd_par_i_header(&walk, 4, &f, &header, NULL) != POSIO_OK || f.dictionary != 0)
        return 0;
    zstd_par_i_weave_begin(&w, &f, t->capacity, threads);
    w.at = (const unsigned char *)t->src + 4 + header;
    w.end = (const unsigned char *)t->src + t->size;
    w.begin = w.out = (unsigned char *)t->dst;
    w.limit = w.out + t->capacity;
    if (!thread_pool_mutex_init(&w.lock)) return 0;
    memory = zstd_par_i_weave_memory(&w, threads, slots, &desc->alloc);
    ok = memory != NULL &&
         zstd_par_i_weave_run(&w, desc->pool, threads, slots, &desc->alloc, NULL) == POSIO_OK &&
         zstd_par_i_checks(&w);
    posio_release(&desc->alloc, memory);
    thread_pool_mutex_destroy(&w.lock);
    if (!ok || (f.content_size != ZSTD_PAR_UNKNOWN && f.content_size != (size_t)(w.out - w.begin)))
        return 0;
    t->produced = (size_t)(w.out - w.begin);
    t->result = POSIO_OK;
    t->reason = NULL;
    return 1;
}

/* By blocks: if it was asked for, or where a frame has more than a thread's share of all. */
static int zstd_par_i_wants_blocks(const zstd_par_desc *desc, const zstd_par_item *t,
                                   uint64_t bytes)
{
    const uint32_t threads = thread_pool_threads(desc->pool);
    if (desc->mode != ZSTD_PAR_AUTO) return desc->mode == ZSTD_PAR_BLOCK;
    return threads > 1 && t->capacity >= ZSTD_PAR_I_LEAST_WEAVE && t->capacity > bytes / threads;
}

/* All items: those for block mode one by one, those between them side by side. */
static posio_result zstd_par_i_run_mixed(zstd_par_codec *codec, const zstd_par_desc *desc,
                                         zstd_par_item *items, uint32_t count, posio_error *err)
{
    uint32_t from = 0, i;
    uint64_t bytes = 0;
    posio_result r = POSIO_OK;
    for (i = 0; i < count; i++) bytes += items[i].capacity;
    for (i = 0; i <= count && r == POSIO_OK; i++) {
        if (i != count && (!zstd_par_i_wants_blocks(desc, &items[i], bytes) ||
                           !zstd_par_i_by_blocks(codec, desc, &items[i])))
            continue;
        if (i != from) r = zstd_par_i_run_batch(codec, desc->pool, items + from, i - from, err);
        from = i + 1;
    }
    return r;
}

// ---------------------------------------------------------------------------------- to memory

/* Frames are placed behind each other in waves, decoded, and moved up where one was smaller than it
   could have been. */
typedef struct zstd_par_i_placing {
    zstd_par_codec *codec;
    posio_alloc alloc;
    zstd_par_i_walk walk;
    zstd_par_frame next; /* to be placed, if kind is FRAME */
    int kind;
    unsigned char *dst;
    size_t capacity, made; /* made: bytes in their place */
    zstd_par_item *items;  /* one for each frame of a wave */
    uint64_t count, room;
    uint64_t number;     /* of the first frame of the wave */
    posio_result failed; /* what ends the walk, once all frames before are decoded */
} zstd_par_i_placing;

static posio_result zstd_par_i_place(zstd_par_i_placing *p, size_t at, size_t capacity)
{
    void *items = p->items;
    int ok = posio_grow(&p->alloc, &items, p->count, &p->room, sizeof *p->items);
    zstd_par_item *t;
    p->items = (zstd_par_item *)items;
    if (!ok) return POSIO_E_NOMEM;
    if (p->count == 0) p->number = p->next.number;
    t = &p->items[(size_t)p->count++];
    t->src = p->walk.memory + (size_t)p->next.offset;
    t->size = (size_t)p->next.size;
    t->dst = p->dst != NULL ? p->dst + at : NULL;
    t->capacity = capacity;
    p->kind = ZSTD_PAR_I_SKIP;
    return POSIO_OK;
}

/* The next frames, as many as fit behind each other if each is as large as it can be. The last may
   get less room than that. */
static void zstd_par_i_gather_wave(zstd_par_i_placing *p, posio_error *err)
{
    size_t at = p->made;
    uint64_t bytes = 0;
    p->count = 0;
    while (p->failed == POSIO_OK && p->kind != ZSTD_PAR_I_END) {
        size_t take;
        if (p->kind == ZSTD_PAR_I_SKIP) {
            p->failed = zstd_par_i_next(&p->walk, UINT64_MAX, &p->next, &p->kind, err);
            if (p->failed == POSIO_OK && p->kind == ZSTD_PAR_I_FRAME)
                p->failed = zstd_par_i_check_dictionary(p->codec, &p->next, err);
            continue;
        }
        take = (size_t)posio_min(p->next.bound, p->capacity - at);
        if (take < p->next.bound && p->count != 0 && p->next.content_size != ZSTD_PAR_UNKNOWN)
            return;
        bytes += take;
        p->failed = zstd_par_i_place(p, at, take);
        if (p->failed != POSIO_OK) (void)zstd_par_i_no_memory(err);
        at += take;
        if (take < p->next.bound || p->count == ZSTD_PAR_I_WAVE_ITEMS ||
            (bytes >= ZSTD_PAR_I_WAVE && p->count >= 1024))
            return;
    }
}

/* Moves what was decoded to its place. A frame that had too little room is decoded again with all
   that is left, and so is what comes behind it: libzstd has the last word. */
static posio_result zstd_par_i_settle_wave(zstd_par_i_placing *p, posio_error *err)
{
    uint64_t i;
    int again = 0;
    for (i = 0; i < p->count; i++) {
        zstd_par_item *t = &p->items[(size_t)i];
        unsigned char *place = p->dst != NULL ? p->dst + p->made : NULL;
        if (t->result == POSIO_E_SPACE && t->capacity < p->capacity - p->made) again = 1;
        if (again) {
            posio_result r;
            t->dst = place;
            t->capacity = p->capacity - p->made;
            r = zstd_par_i_run_batch(p->codec, NULL, t, 1, err);
            if (r != POSIO_OK) return r;
        }
        if (t->result != POSIO_OK)
            return zstd_par_i_fail_frame(err, t->result, p->number + i,
                                         (uint64_t)((const unsigned char *)t->src - p->walk.memory),
                                         t->reason);
        if (t->produced != 0 && t->dst != place) memmove(place, t->dst, t->produced);
        p->made += t->produced;
    }
    return POSIO_OK;
}

static posio_result zstd_par_i_to_memory(zstd_par_i_placing *p, const zstd_par_desc *desc,
                                         posio_error *err)
{
    posio_result r = POSIO_OK;
    do {
        zstd_par_i_gather_wave(p, err);
        if (p->count != 0)
            r = zstd_par_i_run_mixed(p->codec, desc, p->items, (uint32_t)p->count, err);
        if (r == POSIO_OK) r = zstd_par_i_settle_wave(p, err);
    } while (r == POSIO_OK && p->count != 0);
    return r == POSIO_OK ? p->failed : r;
}

/* By libzstd as it is. */
static posio_result zstd_par_i_as_it_is(zstd_par_i_placing *p, posio_error *err)
{
    zstd_par_item all;
    posio_result r;
    memset(&all, 0, sizeof all);
    all.src = p->walk.memory;
    all.size = (size_t)p->walk.size;
    all.dst = p->dst;
    all.capacity = p->capacity;
    r = zstd_par_i_run_batch(p->codec, NULL, &all, 1, err);
    if (r == POSIO_OK && all.result != POSIO_OK)
        r = posio_fail(err, all.result, POSIO_NO_OFFSET, "cannot be decoded: %s", all.reason);
    if (r == POSIO_OK) p->made = all.produced;
    return r;
}

/* By libzstd as it is; frame by frame only to tell which is the bad one. */
static posio_result zstd_par_i_serially(zstd_par_i_placing *p, posio_error *err)
{
    posio_result r = zstd_par_i_as_it_is(p, err), named;
    posio_error error;
    if (r == POSIO_OK || r == POSIO_E_NOMEM) return r;
    named = zstd_par_i_to_memory(p, zstd_par_i_defaults(), &error);
    if (named == POSIO_OK) return r;
    if (err != NULL) *err = error;
    return named;
}

ZSTD_PAR_API posio_result zstd_par_decompress(const void *src, size_t size, void *dst,
                                              size_t capacity, size_t *produced,
                                              const zstd_par_desc *desc, posio_error *err)
{
    zstd_par_i_placing p;
    zstd_par_codec local;
    posio_result r;
    if (desc == NULL) desc = zstd_par_i_defaults();
    memset(&p, 0, offsetof(zstd_par_i_placing, walk));
    memset(&p.next, 0, sizeof p - offsetof(zstd_par_i_placing, next));
    r = zstd_par_i_begin(desc, &local, &p.codec, err);
    if (r != POSIO_OK) return r;
    p.alloc = desc->alloc;
    p.dst = (unsigned char *)dst;
    p.capacity = capacity;
    p.kind = ZSTD_PAR_I_SKIP;
    zstd_par_i_walk_begin(&p.walk, src, NULL, size);
    if (desc->mode == ZSTD_PAR_SERIAL) r = zstd_par_i_serially(&p, err);
    else r = zstd_par_i_to_memory(&p, desc, err);
    if (r == POSIO_E_UNSUPPORTED && desc->mode != ZSTD_PAR_SERIAL &&
        zstd_par_i_as_it_is(&p, NULL) == POSIO_OK)
        r = POSIO_OK; /* libzstd knows what we do not */
    posio_release(&desc->alloc, p.items);
    zstd_par_i_end(desc, &local);
    if (r == POSIO_OK) *produced = p.made;
    return r;
}

// ---------------------------------------------------------------------------------- buffers

/* Memory for frames in flight, within a budget. Only produce takes; any thread gives back. */
typedef struct zstd_par_i_buffer {
    unsigned char *data;
    uint64_t size;
    uint32_t used; /* atomic */
} zstd_par_i_buffer;

typedef struct zstd_par_i_buffers {
    posio_alloc alloc;
    uint64_t budget, held;
    zstd_par_i_buffer all[ZSTD_PAR_I_SLOTS];
} zstd_par_i_buffers;

static void zstd_par_i_drop(zstd_par_i_buffers *p, zstd_par_i_buffer *b)
{
    posio_release(&p->alloc, b->data);
    p->held -= b->size;
    b->data = NULL;
    b->size = 0;
}

/* Sizes are rounded up by a quarter at most, so that a buffer fits the next frame, too: what is not
   touched costs nothing, and what has been touched before costs less. */
static uint64_t zstd_par_i_round(uint64_t n)
{
    uint64_t step = ZSTD_PAR_I_ROUND;
    while (step * 8 <= n) step *= 2;
    return (n / step + 1) * step;
}

/* A buffer of n bytes at least: an idle one, the smallest that is large enough; else a new one, for
   which an idle one goes, or more. *out NULL: the budget is spent until another is given back. */
static posio_result zstd_par_i_take_buffer(zstd_par_i_buffers *p, uint64_t n,
                                           zstd_par_i_buffer **out, posio_error *err)
{
    zstd_par_i_buffer *best = NULL, *empty = NULL, *b;
    uint32_t in_use = 0, dropped = 0;
    n = zstd_par_i_round(n);
    *out = NULL;
    for (b = p->all; b < p->all + ZSTD_PAR_I_SLOTS; b++) {
        if (b->data == NULL) empty = empty == NULL ? b : empty;
        else if (posio_atomic_load(&b->used)) in_use++;
        else if (b->size >= n && (best == NULL || b->size < best->size)) best = b;
    }
    for (b = p->all; best == NULL && b < p->all + ZSTD_PAR_I_SLOTS; b++)
        if (b->data != NULL && !posio_atomic_load(&b->used) &&
            (dropped++ == 0 || p->held + n > p->budget)) {
            zstd_par_i_drop(p, b);
            empty = b;
        }
    if (best == NULL && (empty == NULL || (in_use != 0 && p->held + n > p->budget)))
        return POSIO_OK;
    if (best == NULL) {
        best = empty;
        best->data = n <= SIZE_MAX ? (unsigned char *)posio_allocate(&p->alloc, (size_t)n) : NULL;
        if (best->data == NULL) return zstd_par_i_no_memory(err);
        best->size = n;
        p->held += n;
    }
    posio_atomic_store(&best->used, 1);
    *out = best;
    return POSIO_OK;
}

static void zstd_par_i_give_buffer(zstd_par_i_buffer *b) { posio_atomic_store(&b->used, 0); }

static void zstd_par_i_free_buffers(zstd_par_i_buffers *p)
{
    uint32_t i;
    for (i = 0; i < ZSTD_PAR_I_SLOTS; i++) zstd_par_i_drop(p, &p->all[i]);
}

/* Appends decoded bytes to a sink, long runs of zeros as holes. */
static posio_result zstd_par_i_put(const posio_sink *sink, const unsigned char *p, size_t n,
                                   posio_error *err)
{
    size_t data = 0, zeros, i; /* data: bytes from p on that are to be written */
    posio_result r = POSIO_OK;
    if (sink->hole == NULL) return n != 0 ? sink->write(sink->self, p, n, err) : POSIO_OK;
    while (n - data >= ZSTD_PAR_I_HOLE && r == POSIO_OK) {
        for (zeros = 0; n - data - zeros >= ZSTD_PAR_I_HOLE; zeros += ZSTD_PAR_I_HOLE) {
            const unsigned char *q = p + data + zeros;
            if (*q != 0 || memcmp(q, q + 1, ZSTD_PAR_I_HOLE - 1) != 0) break;
        }
        if (zeros == 0) {
            data += ZSTD_PAR_I_HOLE;
            continue;
        }
        i = data + zeros;
        if (data != 0) r = sink->write(sink->self, p, data, err);
        if (r == POSIO_OK) r = sink->hole(sink->self, zeros, err);
        p += i;
        n -= i;
        data = 0;
    }
    if (r == POSIO_OK && n != 0) r = sink->write(sink->self, p, n, err);
    return r;
}

// ---------------------------------------------------------------------------------- to a sink

/* The pipeline: produce walks the headers and names whole frames, or decodes a piece of one that is
   too large; work reads and decodes what was named; the lane writes. Where the budget is spent,
   produce makes an empty slot: the ring is full before long, and then waits for the lane. */
typedef struct zstd_par_i_slot {
    zstd_par_i_buffer *buffer; /* NULL: an empty slot, unless there is data */
    const unsigned char *data; /* NULL: that in the buffer, which is given back in any case */
    uint64_t from, to;         /* of the source: whole frames, or up to where the stream has read */
    uint64_t number;           /* of the first frame */
    size_t room, made;         /* decoded bytes: at most, and there */
    size_t skip;               /* of the first frame the sink has so many already */
} zstd_par_i_slot;

typedef struct zstd_par_i_run {
    const zstd_par_desc *desc;
    const posio_source *source;
    const posio_sink *sink;
    zstd_par_codec *codec;
    uint64_t most, window_max; /* bytes: of a frame that is decoded as a whole; of a window */
    zstd_par_i_walk walk;
    zstd_par_frame next; /* not yet in a slot, if kind is FRAME, LARGE or OLD */
    int kind, has_group;
    zstd_par_i_slot group; /* waits for a buffer */
    posio_result failed;   /* of produce; reported when all frames before are through */
    posio_error error;
    zstd_par_i_context *streaming; /* of a frame that is decoded in pieces; else NULL */
    uint64_t read;                 /* of the source, by it: up to here */
    uint64_t streamed;             /* bytes of its content so far */
    uint64_t skip;                 /* of them the sink has so many already */
    uint64_t pass;                 /* bytes of it up to the next block header, */
    uint32_t head, head_bytes;     /* of which so many are here */
    struct zstd_par_i_flow *flow;  /* of a frame that is decoded by blocks; else NULL */
    uint64_t unfit;                /* offset of the last frame that could not be, or UNKNOWN */
    uint64_t flowed;               /* frames that were */
    zstd_par_i_buffer *spent;      /* of one, to be given back */
    ZSTD_inBuffer in;
    zstd_par_stats stats;
    thread_pool_mutex lock; /* guards through */
    uint64_t through;       /* bytes of the source that the lane has done with */
    zstd_par_i_slot slots[ZSTD_PAR_I_SLOTS];
    zstd_par_i_buffers buffers;
} zstd_par_i_run;

/* Rules for any frame of a sink, so that it does not matter which are decoded in pieces. */
static posio_result zstd_par_i_check_frame(const zstd_par_i_run *run, const zstd_par_frame *f,
                                           posio_error *err)
{
    if (f->window > run->window_max)
        return posio_fail(err, POSIO_E_LIMIT, f->offset,
                          "frame %llu needs a window of %llu bytes; the limit is %llu "
                          "(window_log_max)",
                          (unsigned long long)f->number, (unsigned long long)f->window,
                          (unsigned long long)run->window_max);
    return zstd_par_i_check_dictionary(run->codec, f, err);
}

/* Fetches the next frame into run->next. One of v0.x is for libzstd to try, as a large one is; the
   error stays, in case that it cannot. */
static void zstd_par_i_fetch(zstd_par_i_run *run)
{
    posio_result r = zstd_par_i_next(&run->walk, run->most, &run->next, &run->kind, &run->error);
    if (run->kind == ZSTD_PAR_I_OLD) {
        run->next.content_size = ZSTD_PAR_UNKNOWN;
        r = POSIO_OK;
    }
    if (r == POSIO_OK && run->kind >= ZSTD_PAR_I_FRAME) {
        r = zstd_par_i_check_frame(run, &run->next, &run->error);
        run->stats.frames++;
    }
    run->failed = r;
}

static int zstd_par_i_wants_flow(const zstd_par_i_run *run);

/* Puts frames together until there is enough for a slot. Skippable ones in between are read along
   when they are small. */
static void zstd_par_i_gather(zstd_par_i_run *run)
{
    zstd_par_i_slot *g = &run->group;
    while (run->failed == POSIO_OK && run->kind != ZSTD_PAR_I_END) {
        const zstd_par_frame *f = &run->next;
        if (run->kind == ZSTD_PAR_I_SKIP) {
            zstd_par_i_fetch(run);
            continue;
        }
        if (run->kind != ZSTD_PAR_I_FRAME || zstd_par_i_wants_flow(run) ||
            (run->has_group && (g->room + f->bound > ZSTD_PAR_I_GROUP ||
                                f->offset + f->size - g->from > ZSTD_PAR_I_GROUP)))
            return;
        if (!run->has_group) {
            g->from = f->offset;
            g->number = f->number;
            g->room = g->made = 0;
            g->skip = (size_t)run->skip;
            run->skip = 0;
            run->has_group = 1;
        }
        g->room += (size_t)f->bound;
        g->to = f->offset + f->size;
        run->kind = ZSTD_PAR_I_SKIP;
    }
}

static posio_result zstd_par_i_stream_begin(zstd_par_i_run *run, posio_error *err)
{
    zstd_par_i_context *c = zstd_par_i_take(run->codec, 1);
    size_t z;
    if (c == NULL || zstd_par_i_stored(run->codec, c, ZSTD_PAR_I_INPUT) == NULL) {
        zstd_par_i_give(run->codec, c);
        return zstd_par_i_no_memory(err);
    }
    /* libzstd's own limit, 2^27 + 1, cannot be set: it comes with a reset. */
    z = ZSTD_DCtx_reset(c->decoder, ZSTD_reset_session_and_parameters);
    if (!ZSTD_isError(z)) z = ZSTD_DCtx_refDDict(c->decoder, run->codec->dictionary);
    if (!ZSTD_isError(z) && run->desc->window_log_max != 0)
        z = ZSTD_DCtx_setParameter(c->decoder, ZSTD_d_windowLogMax, (int)run->desc->window_log_max);
    if (ZSTD_isError(z)) {
        zstd_par_i_give(run->codec, c);
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "zstd_par: %s", ZSTD_getErrorName(z));
    }
    run->streaming = c;
    run->read = run->next.offset;
    run->in.src = c->stored;
    run->in.size = run->in.pos = 0;
    run->streamed = 0;
    run->pass = run->kind == ZSTD_PAR_I_OLD ? UINT64_MAX : run->walk.header;
    run->head = run->head_bytes = 0;
    run->stats.streamed++;
    return POSIO_OK;
}

static void zstd_par_i_stream_end(zstd_par_i_run *run)
{
    if (run->streaming == NULL) return;
    (void)ZSTD_DCtx_reset(run->streaming->decoder, ZSTD_reset_session_only);
    zstd_par_i_give(run->codec, run->streaming);
    run->streaming = NULL;
}

/* Bytes for the stream, when it has used up what it had. */
static posio_result zstd_par_i_feed(zstd_par_i_run *run, posio_error *err)
{
    posio_result r;
    if (run->in.pos < run->in.size || run->read == run->source->size) return POSIO_OK;
    run->in.size = (size_t)posio_min(ZSTD_PAR_I_INPUT, run->source->size - run->read);
    run->in.pos = 0;
    r = posio_read(run->source, run->read, run->streaming->stored, run->in.size, err);
    if (r == POSIO_OK) run->read += run->in.size;
    return r;
}

static posio_result zstd_par_i_fail_stream(const zstd_par_i_run *run, size_t code, posio_error *err)
{
    if (run->kind != ZSTD_PAR_I_OLD)
        return zstd_par_i_fail_code(err, code, run->next.number, run->next.offset);
    if (err != NULL) *err = run->error;
    return run->error.code;
}

/* The end of the frame. ZSTD_decompressStream does not always compare its size. */
static posio_result zstd_par_i_streamed(zstd_par_i_run *run, uint64_t end, posio_error *err)
{
    if (run->next.content_size != ZSTD_PAR_UNKNOWN && run->streamed != run->next.content_size)
        return posio_fail(err, POSIO_E_DATA, run->next.offset,
                          "frame %llu has %llu bytes; its header says %llu",
                          (unsigned long long)run->next.number, (unsigned long long)run->streamed,
                          (unsigned long long)run->next.content_size);
    run->walk.at = end;
    run->walk.number++;
    run->kind = ZSTD_PAR_I_SKIP;
    run->skip = 0;
    zstd_par_i_stream_end(run);
    return POSIO_OK;
}

/* Follows block headers through the n bytes at p, which the stream has used; they are at `at`. A
   compressed block of no bytes is nothing to ZSTD_decompressStream, but damage to ZSTD_decompress.
   Source: ZSTD, 3.1.1.2. */
static posio_result zstd_par_i_follow(zstd_par_i_run *run, const unsigned char *p, size_t n,
                                      uint64_t at, posio_error *err)
{
    size_t i = 0;
    while (i < n) {
        uint32_t type, size;
        if (run->pass != 0) {
            size_t take = (size_t)posio_min(run->pass, n - i);
            run->pass -= take;
            i += take;
            continue;
        }
        run->head |= (uint32_t)p[i++] << (8 * run->head_bytes++);
        if (run->head_bytes < 3) continue;
        type = run->head >> 1 & 3;
        size = run->head >> 3;
        if (type == 2 && size == 0)
            return posio_fail(err, POSIO_E_DATA, run->next.offset,
                              "frame %llu has a compressed block of no bytes, at %llu",
                              (unsigned long long)run->next.number,
                              (unsigned long long)(at + i - 3));
        run->pass = run->head & 1 ? UINT64_MAX : type == 1 ? 1 : size;
        run->head = run->head_bytes = 0;
    }
    return POSIO_OK;
}

/* The next piece of a frame that is decoded as a stream. */
static posio_result zstd_par_i_stream(zstd_par_i_run *run, zstd_par_i_slot *s, posio_error *err)
{
    ZSTD_outBuffer out;
    size_t z = 1;
    out.dst = s->buffer->data;
    out.size = ZSTD_PAR_I_PIECE;
    out.pos = 0;
    while (z != 0 && out.pos < out.size) {
        size_t made = out.pos, used;
        posio_result r = zstd_par_i_feed(run, err);
        if (r != POSIO_OK) return r;
        used = run->in.pos;
        z = ZSTD_decompressStream(run->streaming->decoder, &out, &run->in);
        if (ZSTD_isError(z)) return zstd_par_i_fail_stream(run, z, err);
        r = zstd_par_i_follow(run, run->streaming->stored + used, run->in.pos - used,
                              run->read - run->in.size + used, err);
        if (r != POSIO_OK) return r;
        if (z != 0 && out.pos == made && run->in.pos == used && used == run->in.size)
            return zstd_par_i_truncated(&run->walk, &run->next, err);
    }
    s->made = out.pos;
    s->from = run->next.offset;
    s->to = run->read - (run->in.size - run->in.pos);
    if (run->streamed < run->skip) {
        size_t cut = (size_t)posio_min(run->skip - run->streamed, out.pos);
        s->data = s->buffer->data + cut;
        s->made -= cut;
    }
    run->streamed += out.pos;
    return z == 0 ? zstd_par_i_streamed(run, s->to, err) : POSIO_OK;
}

/* A frame by blocks to a sink. Its content goes behind each other into an arena, a run of the
   pipeline at a time; where that is full, the window is copied to the begin of the next. */
typedef struct zstd_par_i_flow {
    zstd_par_i_weave weave;
    uint32_t threads, slots;
    void *memory;
    unsigned char *keep; /* 4 blocks: those that define tables, when the input moves on */
    zstd_par_i_buffer *arena, *before; /* before: the one that was full */
    size_t room;                       /* bytes of an arena */
    int is_whole;                      /* it has room for all of the frame */
    uint64_t done;                     /* bytes of content */
} zstd_par_i_flow;

/* Bytes of an arena for this frame; 0 = it cannot be decoded so within the memory. There are two: a
   run goes into one while what is in the other, and runs before in the same, are written. Larger
   ones would spare copies of the window, but memory that is touched for the first time costs
   more. */
static size_t zstd_par_i_arena(const zstd_par_i_run *run)
{
    const zstd_par_frame *f = &run->next;
    const uint64_t most = run->buffers.budget / 4;
    uint64_t room;
    if (run->codec->dictionary != NULL || f->dictionary != 0) return 0;
    room = most;
    if (f->window <= most / 4) {
        room = f->window +
               (3 * f->window > 2 * ZSTD_PAR_I_RUN ? 3 * f->window : 2 * (uint64_t)ZSTD_PAR_I_RUN);
        room = posio_min(room - 1, most); /* see zstd_par_i_round */
    }
    if (f->bound <= room - ZSTD_BLOCK_SLACK) return (size_t)f->bound + ZSTD_BLOCK_SLACK;
    /* The window is a quarter at most: behind it there is room for a strip, and more. */
    return f->window <= most / 4 && room >= 4 * (uint64_t)ZSTD_PAR_I_PIECES * ZSTD_PAR_I_BLOCK
               ? (size_t)room
               : 0;
}

/* Is the next frame one for block mode? It is if that was asked for, or where a frame is large, or
   has more than a thread's share of the source. */
static int zstd_par_i_wants_flow(const zstd_par_i_run *run)
{
    const zstd_par_frame *f = &run->next;
    const uint32_t threads = thread_pool_threads(run->desc->pool);
    if (run->kind != ZSTD_PAR_I_FRAME && run->kind != ZSTD_PAR_I_LARGE) return 0;
    if (run->unfit == f->offset || zstd_par_i_arena(run) == 0) return 0;
    if (run->desc->mode != ZSTD_PAR_AUTO) return run->desc->mode == ZSTD_PAR_BLOCK;
    return threads > 1 &&
           (run->kind == ZSTD_PAR_I_LARGE ||
            (f->bound >= ZSTD_PAR_I_LEAST_WEAVE && f->size > run->source->size / threads));
}

static void zstd_par_i_flow_end(zstd_par_i_run *run)
{
    zstd_par_i_flow *flow = run->flow;
    if (flow == NULL) return;
    posio_release(&run->desc->alloc, flow->memory);
    posio_release(&run->desc->alloc, flow->weave.input);
    posio_release(&run->desc->alloc, flow->keep);
    thread_pool_mutex_destroy(&flow->weave.lock);
    posio_release(&run->desc->alloc, flow);
    run->flow = NULL;
}

/* Begins run->next. If there is no memory, libzstd does it. */
static void zstd_par_i_flow_begin(zstd_par_i_run *run)
{
    const posio_alloc *alloc = &run->desc->alloc;
    const zstd_par_frame *f = &run->next;
    zstd_par_i_weave *w;
    zstd_par_i_flow *flow = (zstd_par_i_flow *)posio_allocate_zeroed(alloc, sizeof *flow);
    run->unfit = f->offset; /* until it is at its end */
    if (flow == NULL) return;
    if (!thread_pool_mutex_init(&flow->weave.lock)) {
        posio_release(alloc, flow);
        return;
    }
    run->flow = flow;
    flow->threads = zstd_par_i_weavers(run->desc);
    flow->slots = zstd_par_i_strips(flow->threads);
    flow->room = zstd_par_i_arena(run);
    flow->is_whole = f->bound != ZSTD_PAR_UNKNOWN && flow->room > f->bound;
    w = &flow->weave;
    zstd_par_i_weave_begin(w, f, f->bound, flow->threads);
    w->source = run->source;
    w->read = f->offset + run->walk.header;
    w->stop = run->kind == ZSTD_PAR_I_FRAME ? f->offset + f->size : run->source->size;
    w->held = (size_t)posio_min(ZSTD_PAR_I_HELD, w->stop - w->read + 1);
    flow->memory = zstd_par_i_weave_memory(w, flow->threads, flow->slots, alloc);
    w->input = (unsigned char *)posio_allocate(alloc, w->held);
    w->at = w->end = w->input;
    flow->keep = (unsigned char *)posio_allocate(alloc, 4 * (size_t)w->most + 1);
    if (flow->memory == NULL || w->input == NULL || flow->keep == NULL) zstd_par_i_flow_end(run);
}

/* Moves what is left of the input to its begin; blocks that define tables go to flow->keep. */
static void zstd_par_i_flow_input(zstd_par_i_flow *flow)
{
    zstd_par_i_weave *w = &flow->weave;
    const size_t left = (size_t)(w->end - w->at);
    uint32_t i;
    for (i = 0; i < 4; i++) {
        zstd_block_definer *of = i < 3 ? &w->names.tables[i] : &w->names.tree;
        unsigned char *to = flow->keep + i * (size_t)w->most;
        if (of->data == NULL || of->data == to) continue;
        memcpy(to, of->data, of->size);
        of->data = to;
    }
    memmove(w->input, w->at, left);
    w->at = w->input;
    w->end = w->input + left;
}

/* Has the arena room for another run? A new one has: behind the window, of which it begins with a
   copy, it has room for more than 16 blocks (zstd_par_i_arena). */
static int zstd_par_i_flow_has_room(const zstd_par_i_flow *flow)
{
    const zstd_par_i_weave *w = &flow->weave;
    return flow->arena != NULL &&
           (flow->is_whole || (size_t)(w->limit - w->out) >= (size_t)w->most * ZSTD_PAR_I_PIECES);
}

/* Goes on to the next arena, when the one before the last is free; slot s gives back the last. */
static posio_result zstd_par_i_flow_arena(zstd_par_i_run *run, zstd_par_i_slot *s)
{
    zstd_par_i_flow *flow = run->flow;
    zstd_par_i_weave *w = &flow->weave;
    zstd_par_i_buffer *next = NULL;
    size_t history = 0;
    posio_result r;
    if (flow->before != NULL && posio_atomic_load(&flow->before->used)) return POSIO_OK;
    r = zstd_par_i_take_buffer(&run->buffers, flow->room, &next, NULL);
    if (r != POSIO_OK || next == NULL) return r;
    if (flow->arena != NULL) history = (size_t)posio_min((uint64_t)(w->out - w->begin), w->window);
    if (history != 0) memcpy(next->data, w->out - history, history);
    s->buffer = flow->before = flow->arena;
    flow->arena = next;
    w->begin = next->data;
    w->out = w->begin + history;
    w->limit = w->begin + flow->room;
    return POSIO_OK;
}

/* The frame is at its end: is all as it says? */
static int zstd_par_i_flow_checks(zstd_par_i_run *run)
{
    zstd_par_i_weave *w = &run->flow->weave;
    if (run->next.content_size != ZSTD_PAR_UNKNOWN && run->next.content_size != run->flow->done)
        return 0;
    if (w->has_checksum && zstd_par_i_need(w, 4, NULL) != POSIO_OK) return 0;
    if (!zstd_par_i_checks(w)) return 0;
    run->walk.at = w->read - (uint64_t)(w->end - w->at) + (w->has_checksum ? 4 : 0);
    run->walk.number = run->next.number + 1;
    run->kind = ZSTD_PAR_I_SKIP;
    run->unfit = ZSTD_PAR_UNKNOWN;
    run->flowed++;
    return 1;
}

/* The next run of a frame, or an empty slot where there is no memory for it yet. A frame that is
   not for block mode, or for which there is no memory, is decoded by libzstd from its begin on, as
   it would have been without block mode, but for what the sink has already. */
static void zstd_par_i_flow_run(zstd_par_i_run *run, zstd_par_i_slot *s)
{
    zstd_par_i_flow *flow = run->flow;
    zstd_par_i_weave *w = &flow->weave;
    posio_result r = POSIO_OK;
    if (!zstd_par_i_flow_has_room(flow)) r = zstd_par_i_flow_arena(run, s);
    if (r != POSIO_OK) {
        s->buffer = flow->arena;
        run->skip = flow->done;
        zstd_par_i_flow_end(run);
        return;
    }
    if (!zstd_par_i_flow_has_room(flow)) return;
    zstd_par_i_flow_input(flow);
    w->pause = 0;
    w->bound = 0;
    w->room = flow->is_whole ? SIZE_MAX : (size_t)(w->limit - w->out);
    s->data = w->out;
    s->from = run->next.offset;
    r = zstd_par_i_weave_run(w, run->desc->pool, flow->threads, flow->slots, &run->desc->alloc,
                             NULL);
    s->made = (size_t)(w->out - s->data);
    s->to = w->read - (uint64_t)(w->end - w->at);
    flow->done += s->made;
    if (r == POSIO_OK && !w->last) return;
    if (r != POSIO_OK || !zstd_par_i_flow_checks(run)) {
        flow->done -= s->made;
        s->made = 0;
        s->to = s->from;
        run->skip = flow->done;
    }
    if (s->buffer == NULL) s->buffer = flow->arena;
    else run->spent = flow->arena;
    zstd_par_i_flow_end(run);
}

static posio_result zstd_par_i_sink_produce(void *user, thread_pool_slot *slot, posio_error *err)
{
    zstd_par_i_run *run = (zstd_par_i_run *)user;
    zstd_par_i_slot *s = &run->slots[slot->index];
    posio_result r;
    slot->parts = 0;
    s->buffer = run->spent;
    s->data = NULL;
    s->made = 0;
    s->to = run->read;
    if (run->spent != NULL) {
        s->to = run->walk.at;
        run->spent = NULL;
        return POSIO_OK;
    }
    if (run->streaming == NULL && run->flow == NULL) zstd_par_i_gather(run);
    if (run->has_group) {
        const zstd_par_i_slot *g = &run->group;
        zstd_par_i_buffer *b;
        r = zstd_par_i_take_buffer(&run->buffers, g->room + (g->to - g->from), &b, err);
        if (r != POSIO_OK || b == NULL) return r;
        *s = *g;
        s->buffer = b;
        run->has_group = 0;
        slot->parts = 1;
        return POSIO_OK;
    }
    if (run->failed != POSIO_OK) {
        if (err != NULL) *err = run->error;
        return run->failed;
    }
    if (run->kind == ZSTD_PAR_I_END) return THREAD_POOL_END;
    if (run->streaming == NULL && run->flow == NULL && zstd_par_i_wants_flow(run))
        zstd_par_i_flow_begin(run);
    if (run->flow != NULL) {
        zstd_par_i_flow_run(run, s);
        return POSIO_OK;
    }
    if (run->kind == ZSTD_PAR_I_FRAME) return POSIO_OK; /* not by blocks, but with others */
    r = run->streaming == NULL ? zstd_par_i_stream_begin(run, err) : POSIO_OK;
    if (r == POSIO_OK) r = zstd_par_i_take_buffer(&run->buffers, ZSTD_PAR_I_PIECE, &s->buffer, err);
    if (r != POSIO_OK || s->buffer == NULL) return r;
    return zstd_par_i_stream(run, s, err);
}

/* Which frame of a slot is the bad one. Its compressed bytes are at `stored`. */
static posio_result zstd_par_i_blame(zstd_par_i_context *c, const zstd_par_i_slot *s,
                                     const unsigned char *stored, size_t code, posio_error *err)
{
    zstd_par_i_walk w;
    zstd_par_frame f;
    int kind = ZSTD_PAR_I_SKIP;
    size_t at = 0, n = 0;
    zstd_par_i_walk_begin(&w, stored, NULL, s->to - s->from);
    w.number = s->number;
    while (zstd_par_i_next(&w, UINT64_MAX, &f, &kind, NULL) == POSIO_OK && kind != ZSTD_PAR_I_END) {
        n = ZSTD_decompressDCtx(c->decoder, s->buffer->data + at, s->room - at,
                                stored + (size_t)f.offset, (size_t)f.size);
        if (ZSTD_isError(n)) break;
        at += n;
    }
    if (!ZSTD_isError(n)) n = code;
    return zstd_par_i_fail_code(err, n, f.number, s->from + f.offset);
}

/* The sink has more of a frame than it has now. */
static posio_result zstd_par_i_fail_changed(const zstd_par_i_slot *s, posio_error *err)
{
    return posio_fail(err, POSIO_E_DATA, s->from, "frame %llu changed while it was read",
                      (unsigned long long)s->number);
}

static posio_result zstd_par_i_sink_work(void *user, const thread_pool_slot *slot, uint32_t part,
                                         posio_error *err)
{
    zstd_par_i_run *run = (zstd_par_i_run *)user;
    zstd_par_i_slot *s = &run->slots[slot->index];
    size_t stored = (size_t)(s->to - s->from), n;
    unsigned char *in = s->buffer->data + s->room;
    zstd_par_i_context *c = zstd_par_i_take(run->codec, 1);
    posio_result r = c == NULL ? zstd_par_i_no_memory(err) : POSIO_OK;
    (void)part;
    if (r == POSIO_OK) r = posio_read(run->source, s->from, in, stored, err);
    if (r == POSIO_OK) {
        n = ZSTD_decompressDCtx(c->decoder, s->buffer->data, s->room, in, stored);
        if (ZSTD_isError(n)) r = zstd_par_i_blame(c, s, in, n, err);
        else if (n < s->skip) r = zstd_par_i_fail_changed(s, err);
        else {
            s->data = s->buffer->data + s->skip;
            s->made = n - s->skip;
        }
    }
    zstd_par_i_give(run->codec, c);
    return r;
}

static posio_result zstd_par_i_sink_lane(void *user, const thread_pool_slot *slot, uint32_t lane,
                                         posio_error *err)
{
    zstd_par_i_run *run = (zstd_par_i_run *)user;
    zstd_par_i_slot *s = &run->slots[slot->index];
    posio_result r;
    (void)lane;
    if (s->buffer == NULL && s->data == NULL) return POSIO_OK;
    r = zstd_par_i_put(run->sink, s->data != NULL ? s->data : s->buffer->data, s->made, err);
    run->stats.out_bytes += s->made;
    if (s->buffer != NULL) zstd_par_i_give_buffer(s->buffer);
    thread_pool_lock(&run->lock);
    if (s->to > run->through) run->through = s->to; /* empty slots, and frames begun anew */
    thread_pool_unlock(&run->lock);
    return r;
}

static int zstd_par_i_sink_progress(void *user, uint64_t done)
{
    zstd_par_i_run *run = (zstd_par_i_run *)user;
    (void)done;
    thread_pool_lock(&run->lock);
    done = run->through;
    thread_pool_unlock(&run->lock);
    return run->desc->progress(run->desc->user, done, run->source->size);
}

static posio_result zstd_par_i_to_sink(zstd_par_i_run *run, posio_error *err)
{
    static const thread_pool_lane lane = {zstd_par_i_sink_lane, 0, 0};
    struct chunkwise_pool *pool = run->desc->mode == ZSTD_PAR_SERIAL ? NULL : run->desc->pool;
    uint64_t slots = 2 + 2 * (uint64_t)thread_pool_threads(pool);
    thread_pool_job job;
    memset(&job, 0, sizeof job);
    job.user = run;
    job.slots = (uint32_t)posio_min(slots, ZSTD_PAR_I_SLOTS);
    job.lanes = &lane;
    job.lane_count = 1;
    job.produce = zstd_par_i_sink_produce;
    job.work = zstd_par_i_sink_work;
    job.progress = run->desc->progress != NULL ? zstd_par_i_sink_progress : NULL;
    job.alloc = run->desc->alloc;
    return thread_pool_run(pool, &job, err);
}

/* By frames: where there were two that could be decoded side by side, or it was asked for. */
static uint32_t zstd_par_i_mode_used(const zstd_par_i_run *run)
{
    if (run->flowed != 0) return ZSTD_PAR_BLOCK;
    if (run->desc->mode == ZSTD_PAR_FRAME || run->desc->mode == ZSTD_PAR_SERIAL)
        return run->desc->mode;
    return run->stats.frames - run->stats.streamed >= 2 ? ZSTD_PAR_FRAME : ZSTD_PAR_SERIAL;
}

ZSTD_PAR_API posio_result zstd_par_decompress_sink(const posio_source *source,
                                                   const posio_sink *sink,
                                                   const zstd_par_desc *desc, zstd_par_stats *stats,
                                                   posio_error *err)
{
    zstd_par_i_run *run;
    zstd_par_codec local;
    posio_result r;
    if (desc == NULL) desc = zstd_par_i_defaults();
    r = zstd_par_i_check(desc, err);
    if (r != POSIO_OK) return r;
    run = (zstd_par_i_run *)posio_allocate_zeroed(&desc->alloc, sizeof *run);
    if (run == NULL) return zstd_par_i_no_memory(err);
    r = zstd_par_i_begin(desc, &local, &run->codec, err);
    if (r == POSIO_OK && !thread_pool_mutex_init(&run->lock)) {
        zstd_par_i_end(desc, &local);
        r = zstd_par_i_no_memory(err);
    }
    if (r != POSIO_OK) {
        posio_release(&desc->alloc, run);
        return r;
    }
    run->desc = desc;
    run->source = source;
    run->sink = sink;
    run->buffers.alloc = desc->alloc;
    run->buffers.budget = zstd_par_i_memory(desc);
    run->most = run->buffers.budget / 4;
    run->window_max = desc->window_log_max != 0 ? (uint64_t)1 << desc->window_log_max
                                                : ((uint64_t)1 << 27) + 1; /* as libzstd */
    run->kind = ZSTD_PAR_I_SKIP;
    run->unfit = ZSTD_PAR_UNKNOWN;
    zstd_par_i_walk_begin(&run->walk, NULL, source, source->size);
    r = zstd_par_i_to_sink(run, err);
    run->stats.in_bytes = source->size;
    run->stats.mode = zstd_par_i_mode_used(run);
    if (r == POSIO_OK && stats != NULL) *stats = run->stats;
    zstd_par_i_stream_end(run);
    zstd_par_i_flow_end(run);
    zstd_par_i_free_buffers(&run->buffers);
    thread_pool_mutex_destroy(&run->lock);
    zstd_par_i_end(desc, &local);
    posio_release(&desc->alloc, run);
    return r;
}

// ---------------------------------------------------------------------------------- compressing

/* The pipeline: produce reads a frame's worth of a stream (of a source, work does), work compresses
   it, the lane writes it and notes an entry of the seek table. */
typedef struct zstd_par_i_press_slot {
    unsigned char *in, *out;
    uint64_t offset; /* of the input */
    size_t size, made;
} zstd_par_i_press_slot;

typedef struct zstd_par_i_press {
    const zstd_par_desc *desc;
    const posio_stream *stream; /* or */
    const posio_source *source;
    const posio_sink *sink;
    zstd_par_codec *codec;
    size_t frame, bound; /* bytes of input in a frame, and room for it compressed */
    uint64_t at;         /* of the input */
    uint64_t produced;   /* frames */
    int ended;
    unsigned char *table; /* entries, as they are written */
    uint64_t entries, room;
    zstd_par_stats stats;
    thread_pool_mutex lock; /* guards through */
    uint64_t through;
    zstd_par_i_press_slot slots[ZSTD_PAR_I_SLOTS];
} zstd_par_i_press;

/* As much of the stream as there is, up to a frame. */
static posio_result zstd_par_i_fill_frame(zstd_par_i_press *run, zstd_par_i_press_slot *s,
                                          posio_error *err)
{
    while (s->size < run->frame && !run->ended) {
        size_t got = 0;
        posio_result r =
            run->stream->read(run->stream->self, s->in + s->size, run->frame - s->size, &got, err);
        if (r != POSIO_OK) return r;
        if (got == 0) run->ended = 1;
        s->size += got;
    }
    return POSIO_OK;
}

static posio_result zstd_par_i_press_produce(void *user, thread_pool_slot *slot, posio_error *err)
{
    zstd_par_i_press *run = (zstd_par_i_press *)user;
    zstd_par_i_press_slot *s = &run->slots[slot->index];
    posio_result r = POSIO_OK;
    s->offset = run->at;
    s->size = s->made = 0;
    if (run->stream != NULL) r = zstd_par_i_fill_frame(run, s, err);
    else s->size = (size_t)posio_min(run->frame, run->source->size - run->at);
    if (r != POSIO_OK) return r;
    if (s->size == 0 && run->produced != 0) return THREAD_POOL_END; /* nothing at all is a frame */
    if (run->produced == ZSTD_PAR_I_MOST_FRAMES && !(run->desc->flags & ZSTD_PAR_NO_SEEK_TABLE))
        return posio_fail(err, POSIO_E_LIMIT, run->at,
                          "a seek table has room for 2^27 frames; larger ones are needed");
    run->at += s->size;
    run->produced++;
    slot->parts = 1;
    return POSIO_OK;
}

/* An encoder as all frames want it. */
static posio_result zstd_par_i_encoder(const zstd_par_codec *codec, zstd_par_i_context *c,
                                       posio_error *err)
{
    size_t z = 0;
    if (c == NULL) return zstd_par_i_no_memory(err);
    if (c->encoder != NULL) return POSIO_OK;
    c->encoder = ZSTD_createCCtx();
    if (c->encoder == NULL) return zstd_par_i_no_memory(err);
    z = ZSTD_CCtx_setParameter(c->encoder, ZSTD_c_compressionLevel, codec->level);
    if (!ZSTD_isError(z))
        z = ZSTD_CCtx_setParameter(c->encoder, ZSTD_c_checksumFlag, codec->checksum);
    if (!ZSTD_isError(z)) z = ZSTD_CCtx_refCDict(c->encoder, codec->compressing);
    if (!ZSTD_isError(z)) return POSIO_OK;
    ZSTD_freeCCtx(c->encoder);
    c->encoder = NULL;
    return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "zstd_par: %s", ZSTD_getErrorName(z));
}

static posio_result zstd_par_i_press_work(void *user, const thread_pool_slot *slot, uint32_t part,
                                          posio_error *err)
{
    zstd_par_i_press *run = (zstd_par_i_press *)user;
    zstd_par_i_press_slot *s = &run->slots[slot->index];
    zstd_par_i_context *c = zstd_par_i_take(run->codec, 0);
    posio_result r = zstd_par_i_encoder(run->codec, c, err);
    (void)part;
    if (r == POSIO_OK && run->stream == NULL)
        r = posio_read(run->source, s->offset, s->in, s->size, err);
    if (r == POSIO_OK) {
        s->made = ZSTD_compress2(c->encoder, s->out, run->bound, s->in, s->size);
        if (ZSTD_isError(s->made))
            r = posio_fail(err, zstd_par_i_result(s->made), s->offset, "cannot be compressed: %s",
                           ZSTD_getErrorName(s->made));
    }
    zstd_par_i_give(run->codec, c);
    return r;
}

/* A frame's own checksum is what the seek table wants: the low 32 bits of XXH64 of its content. */
static posio_result zstd_par_i_press_lane(void *user, const thread_pool_slot *slot, uint32_t lane,
                                          posio_error *err)
{
    zstd_par_i_press *run = (zstd_par_i_press *)user;
    const zstd_par_i_press_slot *s = &run->slots[slot->index];
    const size_t entry = run->codec->checksum ? 12 : 8;
    void *table = run->table;
    int ok = 1;
    posio_result r;
    (void)lane;
    if (!(run->desc->flags & ZSTD_PAR_NO_SEEK_TABLE)) {
        ok = posio_grow(&run->desc->alloc, &table, run->entries, &run->room, entry);
        run->table = (unsigned char *)table;
    }
    if (!ok) return zstd_par_i_no_memory(err);
    r = run->sink->write(run->sink->self, s->out, s->made, err);
    if (r != POSIO_OK) return r;
    if (run->table != NULL) {
        unsigned char *p = run->table + (size_t)run->entries * entry;
        posio_put_le32(p, (uint32_t)s->made);
        posio_put_le32(p + 4, (uint32_t)s->size);
        if (entry == 12) memcpy(p + 8, s->out + s->made - 4, 4);
    }
    run->entries++;
    run->stats.frames++;
    run->stats.in_bytes += s->size;
    run->stats.out_bytes += s->made;
    thread_pool_lock(&run->lock);
    run->through = s->offset + s->size;
    thread_pool_unlock(&run->lock);
    return POSIO_OK;
}

static int zstd_par_i_press_progress(void *user, uint64_t done)
{
    zstd_par_i_press *run = (zstd_par_i_press *)user;
    thread_pool_lock(&run->lock);
    done = run->through;
    thread_pool_unlock(&run->lock);
    return run->desc->progress(run->desc->user, done,
                               run->source != NULL ? run->source->size : ZSTD_PAR_UNKNOWN);
}

/* Source: SEEK, "Format". */
static posio_result zstd_par_i_write_table(zstd_par_i_press *run, posio_error *err)
{
    const size_t size = (size_t)run->entries * (run->codec->checksum ? 12 : 8);
    unsigned char head[8], foot[ZSTD_PAR_I_FOOTER];
    posio_result r;
    posio_put_le32(head, ZSTD_PAR_I_SKIP_MAGIC | 14);
    posio_put_le32(head + 4, (uint32_t)(size + ZSTD_PAR_I_FOOTER));
    posio_put_le32(foot, (uint32_t)run->entries);
    foot[4] = run->codec->checksum ? 0x80 : 0;
    posio_put_le32(foot + 5, ZSTD_PAR_I_SEEK_MAGIC);
    r = run->sink->write(run->sink->self, head, sizeof head, err);
    if (r == POSIO_OK) r = run->sink->write(run->sink->self, run->table, size, err);
    if (r == POSIO_OK) r = run->sink->write(run->sink->self, foot, sizeof foot, err);
    run->stats.out_bytes += sizeof head + size + sizeof foot;
    return r;
}

/* Frames that are some windows long lose little: libzstd's window grows from 512 KiB (level 1) by
   2 MiB (3 to 8) and 4 MiB (to 15) to 8 MiB (to 19). */
static uint64_t zstd_par_i_frame_size(const zstd_par_desc *desc)
{
    int level = desc->level != 0 ? desc->level : 3;
    if (desc->frame_size != 0) return desc->frame_size;
    return (uint64_t)(level < 3 ? 4 : level < 16 ? 8 : 16) << 20;
}

/* The ring: two slots and more, within desc.memory. */
static posio_result zstd_par_i_press_ring(zstd_par_i_press *run, unsigned char **memory,
                                          uint32_t *slots, posio_error *err)
{
    uint64_t frame = zstd_par_i_frame_size(run->desc), one, n, i;
    if (run->source != NULL) frame = posio_min(frame, run->source->size + (run->source->size == 0));
    run->frame = (size_t)frame;
    run->bound = ZSTD_compressBound(run->frame);
    one = (uint64_t)run->frame + run->bound;
    n = posio_min(1 + 2 * (uint64_t)thread_pool_threads(run->desc->pool), ZSTD_PAR_I_SLOTS);
    n = posio_min(n, zstd_par_i_memory(run->desc) / one);
    if (run->source != NULL) n = posio_min(n, run->source->size / frame + 1);
    if (n < 2) n = 2;
    if (one > SIZE_MAX / 2 / n) return zstd_par_i_no_memory(err);
    *memory = (unsigned char *)posio_allocate(&run->desc->alloc, (size_t)(n * one));
    if (*memory == NULL) return zstd_par_i_no_memory(err);
    for (i = 0; i < n; i++) {
        run->slots[i].in = *memory + (size_t)(i * one);
        run->slots[i].out = run->slots[i].in + run->frame;
    }
    *slots = (uint32_t)n;
    return POSIO_OK;
}

static posio_result zstd_par_i_press_all(zstd_par_i_press *run, posio_error *err)
{
    static const thread_pool_lane lane = {zstd_par_i_press_lane, 0, 0};
    unsigned char *memory = NULL;
    thread_pool_job job;
    posio_result r;
    memset(&job, 0, sizeof job);
    r = zstd_par_i_press_ring(run, &memory, &job.slots, err);
    if (r != POSIO_OK) return r;
    job.user = run;
    job.lanes = &lane;
    job.lane_count = 1;
    job.flags = run->stream != NULL ? THREAD_POOL_PRODUCE_WAITS : 0;
    job.produce = zstd_par_i_press_produce;
    job.work = zstd_par_i_press_work;
    job.progress = run->desc->progress != NULL ? zstd_par_i_press_progress : NULL;
    job.alloc = run->desc->alloc;
    r = thread_pool_run(run->desc->mode == ZSTD_PAR_SERIAL ? NULL : run->desc->pool, &job, err);
    if (r == POSIO_OK && !(run->desc->flags & ZSTD_PAR_NO_SEEK_TABLE))
        r = zstd_par_i_write_table(run, err);
    posio_release(&run->desc->alloc, run->table);
    posio_release(&run->desc->alloc, memory);
    return r;
}

/* A codec of the call's own: encoders are not kept. */
static posio_result zstd_par_i_press_codec(zstd_par_codec *codec, const zstd_par_desc *desc,
                                           posio_error *err)
{
    const int level = desc->level != 0 ? desc->level : 3;
    zstd_par_desc plain = *desc;
    posio_result r = zstd_par_i_check(desc, err);
    if (r != POSIO_OK) return r;
    if (desc->codec != NULL || level < ZSTD_minCLevel() || level > ZSTD_maxCLevel() ||
        desc->frame_size > 1u << 30)
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "zstd_par_compress: %s",
                          desc->codec != NULL             ? "a codec is for decompression"
                          : desc->frame_size > (1u << 30) ? "a frame has 1 GiB at most"
                                                          : "no such level");
    plain.dictionary = NULL;
    plain.dictionary_size = 0;
    r = zstd_par_i_begin_codec(codec, &plain, err);
    if (r != POSIO_OK) return r;
    codec->level = level;
    codec->checksum = !(desc->flags & ZSTD_PAR_NO_CHECKSUM);
    if (desc->dictionary == NULL || desc->dictionary_size == 0) return POSIO_OK;
    codec->compressing = ZSTD_createCDict(desc->dictionary, desc->dictionary_size, level);
    if (codec->compressing != NULL) return POSIO_OK;
    zstd_par_i_end_codec(codec);
    return posio_fail(err, POSIO_E_DATA, POSIO_NO_OFFSET, "the dictionary cannot be used");
}

static posio_result zstd_par_i_press_from(const posio_stream *stream, const posio_source *source,
                                          const posio_sink *sink, const zstd_par_desc *desc,
                                          zstd_par_stats *stats, posio_error *err)
{
    zstd_par_i_press *run;
    zstd_par_codec local;
    posio_result r;
    if (desc == NULL) desc = zstd_par_i_defaults();
    r = zstd_par_i_press_codec(&local, desc, err);
    if (r != POSIO_OK) return r;
    run = (zstd_par_i_press *)posio_allocate_zeroed(&desc->alloc, sizeof *run);
    if (run == NULL || !thread_pool_mutex_init(&run->lock)) {
        posio_release(&desc->alloc, run);
        zstd_par_i_end_codec(&local);
        return zstd_par_i_no_memory(err);
    }
    run->desc = desc;
    run->stream = stream;
    run->source = source;
    run->sink = sink;
    run->codec = &local;
    r = zstd_par_i_press_all(run, err);
    run->stats.mode = ZSTD_PAR_FRAME;
    if (r == POSIO_OK && stats != NULL) *stats = run->stats;
    thread_pool_mutex_destroy(&run->lock);
    posio_release(&desc->alloc, run);
    zstd_par_i_end_codec(&local);
    return r;
}

ZSTD_PAR_API posio_result zstd_par_compress(const posio_stream *stream, const posio_sink *sink,
                                            const zstd_par_desc *desc, zstd_par_stats *stats,
                                            posio_error *err)
{
    return zstd_par_i_press_from(stream, NULL, sink, desc, stats, err);
}

ZSTD_PAR_API posio_result zstd_par_compress_source(const posio_source *source,
                                                   const posio_sink *sink,
                                                   const zstd_par_desc *desc, zstd_par_stats *stats,
                                                   posio_error *err)
{
    return zstd_par_i_press_from(NULL, source, sink, desc, stats, err);
}

// ---------------------------------------------------------------------------------- random access

/* Decodes a frame of which `out` has room for all bytes there are known to be; *made. */
static posio_result zstd_par_i_decode_frame(zstd_par *z, const zstd_par_frame *f, void *out,
                                            size_t room, size_t *made, posio_error *err)
{
    zstd_par_i_context *c;
    unsigned char *stored;
    size_t n = 0;
    posio_result r = zstd_par_i_check_dictionary(z->codec, f, err);
    if (r != POSIO_OK) return r;
    c = zstd_par_i_take(z->codec, 1);
    stored = c != NULL ? zstd_par_i_stored(z->codec, c, f->size) : NULL;
    if (stored == NULL) r = zstd_par_i_no_memory(err);
    if (r == POSIO_OK) r = posio_read(&z->source, f->offset, stored, (size_t)f->size, err);
    if (r == POSIO_OK) n = ZSTD_decompressDCtx(c->decoder, out, room, stored, (size_t)f->size);
    zstd_par_i_give(z->codec, c);
    if (r != POSIO_OK) return r;
    if (ZSTD_isError(n)) return zstd_par_i_fail_code(err, n, f->number, f->offset);
    *made = n;
    return POSIO_OK;
}

/* The same for one whose size is known; what the seek table says is checked, too. */
static posio_result zstd_par_i_decode_known(zstd_par *z, const zstd_par_frame *f, void *out,
                                            posio_error *err)
{
    size_t made = 0;
    posio_result r = zstd_par_i_decode_frame(z, f, out, (size_t)f->content_size, &made, err);
    if (r != POSIO_OK) return r;
    if (made != f->content_size)
        return posio_fail(err, POSIO_E_DATA, f->offset,
                          "frame %llu has %llu bytes; the seek table says %llu",
                          (unsigned long long)f->number, (unsigned long long)made,
                          (unsigned long long)f->content_size);
    if (f->has_variant && !(f->flags & ZSTD_PAR_CHECKSUM) &&
        (uint32_t)digest_xxh64(out, made, 0) != f->variant)
        return zstd_par_i_fail_frame(err, POSIO_E_DATA, f->number, f->offset,
                                     "the checksum in the seek table is another");
    return POSIO_OK;
}

/* Keys of the cache are frames of the index. */
static posio_result zstd_par_i_flight(void *user, uint64_t key, void *chunk, size_t *size,
                                      posio_error *err)
{
    zstd_par *z = (zstd_par *)user;
    const zstd_par_frame *f = &z->index->frames[(size_t)key];
    *size = (size_t)f->content_size;
    return zstd_par_i_decode_known(z, f, chunk, err);
}

typedef struct zstd_par_i_read {
    zstd_par *file;
    unsigned char *out;
    uint64_t offset, end; /* of the content */
    uint64_t first;       /* frame */
    int straight;         /* whole frames pass by the cache */
} zstd_par_i_read;

static posio_result zstd_par_i_read_part(void *user, uint32_t i, posio_error *err)
{
    const zstd_par_i_read *b = (const zstd_par_i_read *)user;
    const uint64_t key = b->first + i;
    const zstd_par_frame *f = &b->file->index->frames[(size_t)key];
    uint64_t from = f->output > b->offset ? f->output : b->offset;
    uint64_t to = posio_min(f->output + f->content_size, b->end);
    unsigned char *out = b->out + (size_t)(from - b->offset);
    if (to <= from) return POSIO_OK; /* skippable, or empty */
    if (b->straight && to - from == f->content_size)
        return zstd_par_i_decode_known(b->file, f, out, err);
    return chunk_cache_read(b->file->cache, key, (size_t)(from - f->output), out,
                            (size_t)(to - from), zstd_par_i_flight, b->file, err);
}

static posio_result zstd_par_i_named(const zstd_par *z, posio_result r, posio_error *err)
{
#ifndef POSIO_NO_FILES
    if (r != POSIO_OK && z->path != NULL) (void)posio_fail_in(err, z->path, 0);
#else
    (void)z;
    (void)err;
#endif
    return r;
}

ZSTD_PAR_API posio_result zstd_par_read_at(zstd_par *file, uint64_t offset, void *buf, size_t n,
                                           posio_error *err)
{
    const uint64_t size = file->index->info.content_size;
    zstd_par_i_read b;
    uint64_t i = 0, count = 1;
    posio_result r = POSIO_OK;
    if (!posio_within(offset, n, size))
        return posio_fail(
            err, POSIO_E_RANGE, offset, "%llu bytes at %llu reach beyond the content of %llu bytes",
            (unsigned long long)n, (unsigned long long)offset, (unsigned long long)size);
    if (n == 0) return POSIO_OK;
    b.file = file;
    b.out = (unsigned char *)buf;
    b.offset = offset;
    b.end = offset + n;
    b.first = 0;
    b.straight = n >= ZSTD_PAR_I_BULK;
    (void)zstd_par_index_find(file->index, offset, &b.first);
    (void)zstd_par_index_find(file->index, b.end - 1, &i);
    count = i - b.first + 1; /* max_frames is far below 2^32, unless the user insists */
    if (b.straight && count > 1 && count <= UINT32_MAX)
        r = thread_pool_parallel_for(file->desc.pool, (uint32_t)count, zstd_par_i_read_part, &b,
                                     err);
    else
        for (i = 0; i < count && r == POSIO_OK; i++, b.first++)
            r = zstd_par_i_read_part(&b, 0, err);
    return zstd_par_i_named(file, r, err);
}

static posio_result zstd_par_i_source_read(void *self, uint64_t offset, void *buf, size_t n,
                                           posio_error *err)
{
    return zstd_par_read_at((zstd_par *)self, offset, buf, n, err);
}

static posio_result zstd_par_i_source_extent(void *self, uint64_t offset, posio_extent *out,
                                             posio_error *err)
{
    const zstd_par_index *x = ((const zstd_par *)self)->index;
    uint64_t i = 0, first;
    uint32_t zero;
    if (zstd_par_index_find(x, offset, &i) != POSIO_OK)
        return posio_fail(err, POSIO_E_RANGE, offset, "no extent beyond the end of the content");
    zero = x->frames[(size_t)i].flags & ZSTD_PAR_ZERO;
    for (first = i; i < x->count && i - first < 1024; i++) { /* frames of the same kind */
        const zstd_par_frame *f = &x->frames[(size_t)i];
        if (f->content_size != 0 && (f->flags & ZSTD_PAR_ZERO) != zero) break;
        out->length = f->output + f->content_size - offset;
    }
    out->kind = zero ? POSIO_EXTENT_ZERO : POSIO_EXTENT_COMPRESSED;
    out->reserved = 0;
    return POSIO_OK;
}

ZSTD_PAR_API posio_source zstd_par_source(zstd_par *file)
{
    posio_source s;
    memset(&s, 0, sizeof s);
    s.size = file->index->info.content_size;
    s.unit = (uint32_t)posio_min(file->index->info.largest_frame, UINT32_MAX);
    s.read_at = zstd_par_i_source_read;
    s.extent_at = zstd_par_i_source_extent;
    s.self = file;
    return s;
}

ZSTD_PAR_API const zstd_par_index *zstd_par_index_of(const zstd_par *file) { return file->index; }

/* Decodes a frame that does not say its size, and forgets it but for that. */
static posio_result zstd_par_i_measure_part(void *user, uint32_t i, posio_error *err)
{
    zstd_par *z = (zstd_par *)user;
    zstd_par_frame *f = &z->index->frames[i];
    void *scratch;
    size_t made = 0;
    posio_result r;
    if (f->content_size != ZSTD_PAR_UNKNOWN) return POSIO_OK;
    scratch = posio_allocate(&z->desc.alloc, (size_t)f->bound);
    if (scratch == NULL) return zstd_par_i_no_memory(err);
    r = zstd_par_i_decode_frame(z, f, scratch, (size_t)f->bound, &made, err);
    posio_release(&z->desc.alloc, scratch);
    if (r != POSIO_OK) return r;
    f->content_size = f->bound = made;
    f->flags |= ZSTD_PAR_SAID;
    return POSIO_OK;
}

/* Can each frame be decoded as a whole? */
static posio_result zstd_par_i_check_frames(const zstd_par *z, posio_error *err)
{
    const uint64_t most = z->desc.frame_max;
    uint64_t i;
    for (i = 0; i < z->index->count; i++) {
        const zstd_par_frame *f = &z->index->frames[(size_t)i];
        if (f->flags & ZSTD_PAR_SKIPPABLE) continue;
        if (f->bound > most || f->size > most + most / 128 + 1024)
            return posio_fail(err, POSIO_E_LIMIT, f->offset,
                              "frame %llu has %llu bytes (%llu compressed), which is too much to "
                              "decode for a random read; frame_max allows %llu",
                              (unsigned long long)f->number, (unsigned long long)f->bound,
                              (unsigned long long)f->size, (unsigned long long)most);
        if (f->content_size == ZSTD_PAR_UNKNOWN && !(z->desc.flags & ZSTD_PAR_MEASURE))
            return posio_fail(err, POSIO_E_UNSUPPORTED, f->offset,
                              "frame %llu does not say how large its content is; ZSTD_PAR_MEASURE "
                              "decodes the file once to learn it",
                              (unsigned long long)f->number);
    }
    return POSIO_OK;
}

static posio_result zstd_par_i_open(zstd_par *z, posio_error *err)
{
    chunk_cache_desc cache;
    posio_result r = zstd_par_i_begin(&z->desc, &z->own, &z->codec, err);
    if (r != POSIO_OK) return r;
    if (z->desc.frame_max == 0) z->desc.frame_max = (uint64_t)128 << 20;
    if (z->desc.frame_max > 1u << 30) z->desc.frame_max = 1u << 30;
    r = zstd_par_index_open(&z->index, &z->source, &z->desc, err);
    if (r == POSIO_OK) r = zstd_par_i_check_frames(z, err);
    if (r == POSIO_OK && z->index->info.unknown_sizes != 0) {
        if (z->index->count > UINT32_MAX)
            return posio_fail(err, POSIO_E_LIMIT, POSIO_NO_OFFSET, "too many frames to measure");
        r = thread_pool_parallel_for(z->desc.pool, (uint32_t)z->index->count,
                                     zstd_par_i_measure_part, z, err);
        if (r == POSIO_OK) r = zstd_par_i_sum_up(z->index, zstd_par_i_memory(&z->desc), err);
    }
    if (r != POSIO_OK) return r;
    memset(&cache, 0, sizeof cache);
    cache.bytes = z->desc.cache_bytes != 0 ? z->desc.cache_bytes : (uint64_t)64 << 20;
    cache.chunk_size = (uint32_t)z->index->info.largest_frame;
    if (cache.chunk_size < ZSTD_PAR_I_CHUNK) cache.chunk_size = ZSTD_PAR_I_CHUNK;
    if (cache.bytes / cache.chunk_size > z->index->info.frames) /* no more places than frames */
        cache.bytes = (z->index->info.frames + 1) * cache.chunk_size;
    cache.alloc = z->desc.alloc;
    return chunk_cache_create(&z->cache, &cache, err);
}

static zstd_par *zstd_par_i_new(const zstd_par_desc *desc)
{
    zstd_par *z;
    if (desc == NULL) desc = zstd_par_i_defaults();
    z = (zstd_par *)posio_allocate_zeroed(&desc->alloc, sizeof *z);
    if (z != NULL) z->desc = *desc;
    return z;
}

ZSTD_PAR_API posio_result zstd_par_open_source(zstd_par **out, const posio_source *source,
                                               const zstd_par_desc *desc, posio_error *err)
{
    zstd_par *z;
    posio_result r;
    if (desc != NULL && !posio_alloc_is_valid(&desc->alloc)) return zstd_par_i_check(desc, err);
    z = zstd_par_i_new(desc);
    if (z == NULL) return zstd_par_i_no_memory(err);
    z->source = *source;
    r = zstd_par_i_open(z, err);
    if (r == POSIO_OK) *out = z;
    else zstd_par_close(z);
    return r;
}

ZSTD_PAR_API posio_result zstd_par_open(zstd_par **out, const char *path, const zstd_par_desc *desc,
                                        posio_error *err)
{
#ifndef POSIO_NO_FILES
    posio_file_desc file;
    zstd_par *z;
    posio_result r;
    if (desc != NULL && !posio_alloc_is_valid(&desc->alloc)) return zstd_par_i_check(desc, err);
    z = zstd_par_i_new(desc);
    if (z == NULL) return zstd_par_i_no_memory(err);
    memset(&file, 0, sizeof file);
    file.alloc = z->desc.alloc;
    r = posio_file_open(&z->file, path, &file, err);
    if (r == POSIO_OK) {
        z->path = (char *)posio_allocate(&z->desc.alloc, strlen(path) + 1);
        if (z->path == NULL) r = zstd_par_i_no_memory(err);
        else memcpy(z->path, path, strlen(path) + 1);
    }
    if (r == POSIO_OK) {
        z->source = posio_file_source(z->file);
        r = zstd_par_i_named(z, zstd_par_i_open(z, err), err);
    }
    if (r == POSIO_OK) *out = z;
    else zstd_par_close(z);
    return r;
#else
    (void)out;
    (void)desc;
    return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET,
                      "%s: built without files (POSIO_NO_FILES)", path);
#endif
}

ZSTD_PAR_API void zstd_par_close(zstd_par *file)
{
    posio_alloc a;
    if (file == NULL) return;
    a = file->desc.alloc;
    chunk_cache_destroy(file->cache);
    zstd_par_index_close(file->index);
    if (file->codec == &file->own) zstd_par_i_end_codec(&file->own);
#ifndef POSIO_NO_FILES
    posio_file_close(file->file);
    posio_release(&a, file->path);
#endif
    posio_release(&a, file);
}

#undef ZSTD_PAR_I_MAGIC
#undef ZSTD_PAR_I_SKIP_MAGIC
#undef ZSTD_PAR_I_SEEK_MAGIC
#undef ZSTD_PAR_I_MOST_FRAMES
#elif defined(ZSTD_PAR_IMPLEMENTATION) && ZSTD_PAR_I_IMPLEMENTED < 100
#error "zstd_par.h: the functions of an older copy came first; include the newest header first"
#endif
