/* mft_scan.h - read an NTFS $MFT into an index of records, names and streams, on many cores.
   SPDX-License-Identifier: MIT OR Unlicense

   QUICK START

       #define MFT_SCAN_IMPLEMENTATION
       #include "mft_scan.h"
       #include <stdio.h>

       int main(int argc, char **argv)
       {
           mft_scan *scan = NULL;
           mft_scan_name name;
           posio_error err;
           uint64_t i;
           if (argc < 2 || mft_scan_open(&scan, argv[1], NULL, &err) != POSIO_OK) return 2;
           for (i = 0; i < mft_scan_info(scan)->slots; i++)
               if (mft_scan_first_name(scan, i, &name) == POSIO_OK)
                   printf("%llu %.*s\n", (unsigned long long)i, (int)name.length, name.text);
           mft_scan_close(scan);
           return 0;
       }

   WHAT IT DOES NOT DO
     No file content, no index ($I30), $LogFile or $UsnJrnl, no decryption, no writing. Images are
     read through a posio_source: open them with the reader of their format first.

   OPTIONS  (define before the first include; each works alone)
     MFT_SCAN_IMPLEMENTATION   the functions too: in exactly one .c or .cpp
     MFT_SCAN_STATIC           a private copy with internal linkage, for this file only
     MFT_SCAN_API              how public functions are declared (default: nothing)
     THREAD_POOL_NO_THREADS    no locks, no threads: one thread may use a scan at a time

   THREADS
     mft_scan_open does all the work, on the pool lent in the desc or the calling thread. The index
     is the same to the bit for any mode, number of threads and size of reads. From then on every
     function that takes a scan may be called by any number of threads, but for mft_scan_close.

   MEMORY
     The index is cut into segments, one for each MiB of $MFT, that hold columns (not structures)
     and the text of their names in WTF-8. Bytes:
         for each slot            10 (lean), 12 (full)
         for each record          20 (lean), 56 (full)
         for each name            13 (lean), 47 (full), and its text
         for each stream          0 (lean), 23 (full), and its name; 10 more where the initialised
                                  size is not the size, 10 where the total size differs
         for each extension       14, and 12 in a table over all of them; 14 where a list names it
         with MFT_SCAN_PATHS      4 for each slot, and the paths of directories
         with MFT_SCAN_CHILDREN   4 for each slot, 8 for each name
     Segments in which there is nothing take 8 bytes in all.
     While scanning: 5 MiB for each thread; in the pipelined mode also 3 buffers of 16 MiB.
     mft_scan_visit keeps no index: 6 MiB, and desc.cache_bytes for what must wait.

   ERRORS
     FORMAT (no $MFT, no NTFS here; says what it is instead), DATA (so damaged that there is nothing
     to read), NOT_FOUND (no such file or partition), ACCESS, IO, ARG, LIMIT, NOMEM, CANCELED. A
     record that is damaged or cannot be read is not an error: it is in the index, flagged and
     counted. The scan never ends early for one.

   THE FORMAT  (little-endian; as documented by the Linux-NTFS project and by libfsntfs)

     volume   boot sector: where the $MFT and $MFTMirr begin, how large clusters and records are.
              Record 0 describes $MFT itself: the runs of its $DATA, which may go on in extension
              records that only the runs known by then make readable.
     record   "FILE" or "BAAD" | update sequence array: offset u16, count u16 | $LogFile sequence
              number u64 | sequence u16 | links u16 | first attribute u16 | flags u16 (1 in use,
              2 directory, 4 in $Extend, 8 view index) | bytes used u32, allocated u32 | base record
              u64 | next attribute id u16 | own number u32 (NTFS 3.1)
     fixup    the last two bytes of every 512 (whatever the sector size) are replaced by the update
              sequence number; the array holds the originals. A difference is a torn write.
     attribute  type u32 | length u32 | non-resident u8 | name length u8, offset u16 | flags u16 |
              id u16 | value length u32, offset u16; or lowest and highest VCN u64, run list
              offset u16, unit u8; allocated, real, initialised (and total) sizes u64
     reference  a record's number in 48 bits, its sequence in 16: MFT_SCAN_NUMBER, MFT_SCAN_SEQUENCE

     What does not fit into a record lies in extension records, which name their base. The index
     joins them by that reference, and sequence; the base's $ATTRIBUTE_LIST is only compared. */

#if defined(MFT_SCAN_STATIC) && !defined(MFT_SCAN_IMPLEMENTATION)
#define MFT_SCAN_IMPLEMENTATION
#endif
#if defined(MFT_SCAN_IMPLEMENTATION) && !defined(THREAD_POOL_IMPLEMENTATION)
#define THREAD_POOL_IMPLEMENTATION
#endif
#if defined(THREAD_POOL_IMPLEMENTATION) && !defined(POSIO_IMPLEMENTATION)
#define POSIO_IMPLEMENTATION
#endif
#include "posio.h"
#if defined(THREAD_POOL_IMPLEMENTATION)
#include "thread_pool.h"
#endif

#ifndef CHUNKWISE_MFT_SCAN_H
#define CHUNKWISE_MFT_SCAN_H

#define MFT_SCAN_VERSION 100 /* 1.0.0 */

#include <stddef.h>
#include <stdint.h>

struct chunkwise_pool;

#if defined(MFT_SCAN_STATIC)
#define MFT_SCAN_I_STATIC
#endif
#ifndef MFT_SCAN_API
#if !defined(MFT_SCAN_STATIC)
#define MFT_SCAN_API
#elif defined(__GNUC__) || defined(__TINYC__)
#define MFT_SCAN_API static __attribute__((unused))
#else
#define MFT_SCAN_API static
#endif
#endif

/* ------------------------------------------------------------------ essential */

typedef struct mft_scan mft_scan;

/* desc.mode: how reading and parsing share the threads. */
enum {
    MFT_SCAN_AUTO = 0,              /* what suits the source, by a probe of the first chunks */
    MFT_SCAN_SERIAL = 1,            /* one thread reads and parses in turn */
    MFT_SCAN_PARALLEL = 2,          /* every thread reads and parses its own MiB */
    MFT_SCAN_PIPELINED_PARALLEL = 3 /* one reads ahead in large chunks, all parse */
};
/* desc.input: what the source is. */
enum {
    MFT_SCAN_INPUT_AUTO = 0, /* by its content */
    MFT_SCAN_INPUT_MFT = 1,  /* a raw $MFT */
    MFT_SCAN_INPUT_VOLUME = 2,
    MFT_SCAN_INPUT_DISK = 3 /* with a partition table */
};
enum { MFT_SCAN_LEAN = 0, MFT_SCAN_FULL = 1 }; /* desc.columns */
/* desc.flags */
enum {
    MFT_SCAN_SKIP_FREE = 1, /* what $MFT's $BITMAP says is free is not read, deleted files neither;
                               runs of 64 KiB or more within a segment */
    MFT_SCAN_PATHS = 2,     /* keep the paths of directories: mft_scan_path is much faster */
    MFT_SCAN_CHILDREN = 4   /* keep who lies in which directory, for mft_scan_first_child */
};

typedef struct mft_scan_desc {
    struct chunkwise_pool *pool; /* lent while opening; NULL = the calling thread */
    uint32_t mode, input, columns, flags;
    uint32_t partition;     /* of a disk, as numbered by mft_scan_volumes; 0 = the only one */
    uint32_t record_size;   /* bytes, of a raw $MFT; 0 = by the records' own word */
    uint32_t threads;       /* at most this many of the pool; 0 = all */
    uint32_t segment_bytes; /* of $MFT in a segment; 0 = 1 MiB, which is the most */
    uint32_t chunk_bytes;   /* in one read of the pipelined mode; 0 = 16 MiB */
    uint32_t reserved;
    uint64_t cache_bytes; /* mft_scan_visit: of records that wait; 0 = 128 MiB */
    /* On the calling thread, now and then, in bytes of $MFT; non-zero cancels. May be NULL. */
    int (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
    const char *name; /* of the source in errors; NULL = the path, or nothing */
    posio_alloc alloc;
} mft_scan_desc;

#ifdef __cplusplus
extern "C" {
#endif

/* Scans the $MFT in the file at path (UTF-8): a raw $MFT, an NTFS volume, or a raw disk image with
   partitions. desc NULL or all zero is a complete default. On success close *out yourself.
   Threads: any. Allocates: open. Blocks: I/O, workers. */
MFT_SCAN_API posio_result mft_scan_open(mft_scan **out, const char *path, const mft_scan_desc *desc,
                                        posio_error *err);

/* The same of a source, which is borrowed until this returns: memory, a slice, the media of an
   image in any format.
   Threads: any. Allocates: open. Blocks: I/O, workers. */
MFT_SCAN_API posio_result mft_scan_open_source(mft_scan **out, const posio_source *source,
                                               const mft_scan_desc *desc, posio_error *err);

/* Frees the index; NULL is fine. Threads: exclusive. Allocates: no. Blocks: no. */
MFT_SCAN_API void mft_scan_close(mft_scan *scan);

/* What a slot of the $MFT is. Every slot is one of these. */
enum {
    MFT_SCAN_NEVER_WRITTEN = 0, /* all zeros */
    MFT_SCAN_FREE = 1,          /* a deleted file: its record is still there */
    MFT_SCAN_IN_USE = 2,
    MFT_SCAN_BAAD = 3,          /* NTFS itself has marked it as torn; read as far as it goes */
    MFT_SCAN_BAD_SIGNATURE = 4, /* something else lies there */
    MFT_SCAN_UNREAD = 5         /* a hole of the $MFT, a read error, cut off, or skipped */
};

/* mft_scan_record.flags */
enum {
    MFT_SCAN_DIRECTORY = 1 << 0,
    MFT_SCAN_EXTENSION = 1 << 1,   /* holds attributes of another record, its base */
    MFT_SCAN_TORN = 1 << 2,        /* a fixup differs: parts are of different writes */
    MFT_SCAN_TORN_SLACK = 1 << 3,  /* the same, behind the bytes in use: harmless */
    MFT_SCAN_UNPROTECTED = 1 << 4, /* no usable update sequence array: nothing to verify */
    MFT_SCAN_DAMAGED = 1 << 5,     /* see mft_scan_record.damage */
    MFT_SCAN_HAS_LIST = 1 << 6,    /* $ATTRIBUTE_LIST */
    MFT_SCAN_LIST_NONRESIDENT = 1 << 7,
    MFT_SCAN_LIST_MISMATCH = 1 << 8,     /* of a base: its extensions and their attributes are not
                                            those that its list (if resident) names, or it has no
                                            list; of an extension: its base's list lacks it */
    MFT_SCAN_HAS_EXTENSIONS = 1 << 9,    /* names and streams of extensions belong to it */
    MFT_SCAN_ORPHAN_EXTENSION = 1 << 10, /* an extension whose base is gone or another file */
    MFT_SCAN_HAS_TIMES = 1 << 11,        /* $STANDARD_INFORMATION */
    MFT_SCAN_HAS_SIZE = 1 << 12,         /* an unnamed $DATA that begins with VCN 0 */
    MFT_SCAN_HAS_EA = 1 << 13,
    MFT_SCAN_HAS_OBJECT_ID = 1 << 14,
    MFT_SCAN_HAS_REPARSE = 1 << 15,
    MFT_SCAN_IN_EXTEND = 1 << 16,
    MFT_SCAN_VIEW_INDEX = 1 << 17,
    MFT_SCAN_HEADER_IN_USE = 1 << 18, /* the header's own flag (of BAAD records, too) */
    MFT_SCAN_WRONG_NUMBER = 1 << 19,  /* the header gives another number (mkntfs does that) */
    MFT_SCAN_SKIPPED = 1 << 20,       /* UNREAD by MFT_SCAN_SKIP_FREE */
    MFT_SCAN_CONTINUED = 1 << 21      /* mft_scan_visit: only what was found later is in the view */
};

/* mft_scan_record.damage: the first thing wrong with a record's structure. */
enum {
    MFT_SCAN_SOUND = 0,
    MFT_SCAN_BAD_FIXUP_ARRAY = 1,
    MFT_SCAN_BAD_USED_SIZE = 2, /* bytes in use beyond the record, or before its attributes; or it
                                   says that it has another size than all have */
    MFT_SCAN_BAD_ATTRIBUTE_BOUNDS = 3, /* an attribute ends outside: nothing behind it is read */
    MFT_SCAN_BAD_ATTRIBUTE_TYPE = 4,
    MFT_SCAN_BAD_ATTRIBUTE_ORDER = 5,
    MFT_SCAN_BAD_ATTRIBUTE_NAME = 6,
    MFT_SCAN_BAD_VALUE = 7, /* a value ends outside of its attribute */
    MFT_SCAN_BAD_SIZES = 8, /* initialised <= real <= allocated, or total <= allocated, does not
                               hold, or VCNs */
    MFT_SCAN_BAD_FILE_NAME = 9,
    MFT_SCAN_BAD_STANDARD_INFORMATION = 10,
    MFT_SCAN_BAD_LIST = 11,
    MFT_SCAN_BAD_REPARSE = 12,
    MFT_SCAN_NO_END = 13 /* the end marker is missing */
};

#define MFT_SCAN_NUMBER(reference) ((reference)&0xffffffffffffu)
#define MFT_SCAN_SEQUENCE(reference) ((uint32_t)((reference) >> 48))

/* One slot. Times are FILETIME: units of 100 ns since 1601-01-01 UTC; 0 = not set. */
typedef struct mft_scan_record {
    uint64_t number; /* of the slot */
    uint64_t base;   /* reference: of an extension, else 0 */
    uint64_t size;   /* bytes, of the unnamed $DATA (MFT_SCAN_HAS_SIZE) */
    uint64_t modified;
    uint32_t state, flags,
        damage; /* MFT_SCAN_IN_USE ..., MFT_SCAN_DIRECTORY ..., MFT_SCAN_BAD_... */
    uint32_t sequence;
    uint32_t attributes; /* of $STANDARD_INFORMATION: 1 read-only, 2 hidden, 4 system, ... */
    /* From here on with MFT_SCAN_FULL only, else 0. */
    uint32_t security_id;
    uint64_t created, changed, accessed; /* changed: the record itself */
    uint64_t log_sequence, usn;
} mft_scan_record;

/* The slot with this number; POSIO_E_RANGE behind the last.
   Threads: any. Allocates: no. Blocks: no. */
MFT_SCAN_API posio_result mft_scan_get_record(const mft_scan *scan, uint64_t number,
                                              mft_scan_record *out);

/* By reference: POSIO_E_NOT_FOUND where the record has another sequence by now. A deleted record is
   found under the sequence it had while it was in use.
   Threads: any. Allocates: no. Blocks: no. */
MFT_SCAN_API posio_result mft_scan_find(const mft_scan *scan, uint64_t reference,
                                        mft_scan_record *out);

enum { MFT_SCAN_POSIX = 0, MFT_SCAN_WIN32 = 1, MFT_SCAN_DOS = 2, MFT_SCAN_WIN32_DOS = 3 };

/* A $FILE_NAME: one for each hard link, and one more for each DOS name. */
typedef struct mft_scan_name {
    const char *text;    /* WTF-8 (unpaired surrogates as three bytes), not terminated; borrowed */
    uint32_t length;     /* bytes */
    uint32_t name_space; /* MFT_SCAN_POSIX ... */
    uint64_t parent;     /* reference */
    uint64_t owner;      /* the record it belongs to */
    uint64_t slot;       /* the record it lies in: owner, or one of its extensions */
    uint64_t created, modified, changed, accessed; /* its own; MFT_SCAN_FULL, else 0 */
    uint32_t id;                                   /* of the attribute; MFT_SCAN_FULL, else 0 */
    uint32_t i_row, i_extension;
} mft_scan_name;

/* The first name of a record, and the one after *name: its own in the order of attributes, then
   those of its extensions in the order of slots. POSIO_E_RANGE when there is none. An extension has
   names of its own only where it is an orphan. Threads: any. Allocates: no. Blocks: no. */
MFT_SCAN_API posio_result mft_scan_first_name(const mft_scan *scan, uint64_t number,
                                              mft_scan_name *out);
MFT_SCAN_API posio_result mft_scan_next_name(const mft_scan *scan, mft_scan_name *name);

enum {
    MFT_SCAN_RESIDENT = 1,
    MFT_SCAN_COMPRESSED = 2,
    MFT_SCAN_ENCRYPTED = 4,
    MFT_SCAN_SPARSE = 8
};
enum { MFT_SCAN_DATA = 0x80, MFT_SCAN_INDEX_ROOT = 0x90, MFT_SCAN_INDEX_ALLOCATION = 0xa0 };

/* A $DATA, or what a directory or view index is made of: an attribute that begins with VCN 0. */
typedef struct mft_scan_stream {
    const char *name; /* WTF-8, not terminated; borrowed */
    uint32_t length;  /* bytes; 0 = the unnamed one */
    uint32_t type;    /* MFT_SCAN_DATA, MFT_SCAN_INDEX_ROOT, MFT_SCAN_INDEX_ALLOCATION */
    uint32_t id;      /* of the attribute; not always unique */
    uint32_t flags;   /* MFT_SCAN_RESIDENT ... */
    uint64_t size, allocated, initialised; /* bytes */
    uint64_t total;                        /* bytes on disk of a compressed or sparse one */
    uint64_t owner, slot;                  /* as of names */
    uint32_t i_row, i_extension;
} mft_scan_stream;

/* As for names. With MFT_SCAN_FULL only. Threads: any. Allocates: no. Blocks: no. */
MFT_SCAN_API posio_result mft_scan_first_stream(const mft_scan *scan, uint64_t number,
                                                mft_scan_stream *out);
MFT_SCAN_API posio_result mft_scan_next_stream(const mft_scan *scan, mft_scan_stream *stream);

/* How a name's parent stands. NTFS gives a record another sequence when it is deleted. */
enum {
    MFT_SCAN_PARENT_OK = 0,
    MFT_SCAN_PARENT_FREED = 1,     /* deleted, too, and not used again: the path is known */
    MFT_SCAN_PARENT_RECOVERED = 2, /* another file by now, but an orphaned extension has its name */
    MFT_SCAN_PARENT_MISSING = 3,   /* no such record, or nothing readable in it */
    MFT_SCAN_PARENT_STALE = 4,     /* the record is another file by now */
    MFT_SCAN_PARENT_NOT_DIRECTORY = 5,
    MFT_SCAN_PARENT_CYCLE = 6,   /* in a path: a directory that is above itself */
    MFT_SCAN_PARENT_NAMELESS = 7 /* in a path: a directory without a name */
};

/* The direct parent of a name: MFT_SCAN_PARENT_OK to _NOT_DIRECTORY.
   Threads: any. Allocates: no. Blocks: no. */
MFT_SCAN_API uint32_t mft_scan_parent(const mft_scan *scan, const mft_scan_name *name);

/* The full path of a name, "/" and the names from the root on, WTF-8 and terminated. *length
   (without the terminator) is set in any case; POSIO_E_SPACE when it does not fit into room.
   *status is MFT_SCAN_PARENT_OK or what is wrong first on the way up; FREED or RECOVERED if that is
   all. A path that does not lead to the root begins with "/$OrphanFiles/". Directories are called
   by their first name that is not a DOS one. Any depth. A directory that is above itself is an
   orphan, too.
   Threads: any. Allocates: no. Blocks: no. */
MFT_SCAN_API posio_result mft_scan_path(const mft_scan *scan, const mft_scan_name *name, char *buf,
                                        size_t room, size_t *length, uint32_t *status);

/* Names whose parent is this record by number (whether the sequence fits: mft_scan_parent), in the
   order of slots. POSIO_E_RANGE when there is none; POSIO_E_ARG without MFT_SCAN_CHILDREN.
   Threads: any. Allocates: no. Blocks: no. */
typedef struct mft_scan_child {
    mft_scan_name name;
    uint64_t i_at, i_end;
} mft_scan_child;
MFT_SCAN_API posio_result mft_scan_first_child(const mft_scan *scan, uint64_t number,
                                               mft_scan_child *out);
MFT_SCAN_API posio_result mft_scan_next_child(const mft_scan *scan, mft_scan_child *child);

/* ------------------------------------------------------------------ inspection */

typedef struct mft_scan_metadata {
    uint64_t slots;                                  /* places for records */
    uint64_t mft_size;                               /* bytes of the $MFT */
    uint64_t volume_offset, volume_size;             /* bytes, in the source; 0 for a raw $MFT */
    uint64_t serial_number;                          /* of the volume */
    uint32_t input;                                  /* MFT_SCAN_INPUT_MFT, _VOLUME or _DISK */
    uint32_t partition;                              /* 0 = not of a disk */
    uint32_t record_size, cluster_size, sector_size; /* bytes */
    uint32_t mft_runs;                               /* fragments of the $MFT */
    uint32_t mode, threads;                          /* used */
    uint32_t is_pre_fixed;                           /* the dump was fixed up by whoever made it */
    uint32_t from_backup_boot, from_mirror; /* the first boot sector, record 0 was unusable */
    uint32_t columns;
} mft_scan_metadata;

/* Threads: any. Allocates: no. Blocks: no. */
MFT_SCAN_API const mft_scan_metadata *mft_scan_info(const mft_scan *scan);

typedef struct mft_scan_stats {
    uint64_t slots; /* the sum of the next six */
    uint64_t in_use, free_records, never_written, baad, bad_signature, unread;
    uint64_t extension;        /* records of another one, whatever their state */
    uint64_t orphan_extension; /* of these: whose base is gone */
    uint64_t torn, torn_slack, damaged, unprotected;
    uint64_t names, dos_names;       /* $FILE_NAMEs in all records; those in the DOS name space */
    uint64_t hard_linked_records;    /* in use, with more than one name that is not a DOS name */
    uint64_t streams, named_streams; /* $DATA in all records */
    uint64_t directories;            /* in use, not extensions */
    uint64_t lists, list_mismatches; /* records with $ATTRIBUTE_LIST; that their extensions belie */
    uint64_t deferred;               /* records with extensions */
    uint64_t bytes_read, bytes_skipped, io_errors;
    uint64_t ext_name_cache_skipped; /* records that found no room in the cache of mft_scan_visit */
    uint64_t scan_pipeline_fallbacks; /* reads done again in small pieces after an error */
    uint64_t deferred_disk_reads;     /* records read a second time */
    uint64_t deferred_ns;             /* time that joining extensions took */
    uint64_t index_bytes;             /* used by the index; 32 MiB more may be allocated */
} mft_scan_stats;

/* Threads: any. Allocates: no. Blocks: no. */
MFT_SCAN_API const mft_scan_stats *mft_scan_get_stats(const mft_scan *scan);

typedef struct mft_scan_path_stats {
    uint64_t orphans; /* names in use or deleted whose direct parent is missing, stale or no
                               directory; the sum of the next three */
    uint64_t missing, stale, not_directory;
    uint64_t freed, recovered; /* names whose direct parent is deleted, or known by extensions */
    uint64_t cycles;           /* directories that are above themselves */
} mft_scan_path_stats;

/* Looks at the parent of every name. Threads: any. Allocates: yes (1 byte for each slot).
   Blocks: workers of `pool`, which may be NULL. */
MFT_SCAN_API posio_result mft_scan_check_paths(const mft_scan *scan, struct chunkwise_pool *pool,
                                               mft_scan_path_stats *out, posio_error *err);

/* The reparse point of a file: its tag (0 = it lies outside of the record, and no name tells), and
   where a link leads: the name that is followed, such as "\??\C:\there", not the one to be shown
   (WTF-8, of Linux's links bytes as stored; not terminated, borrowed; length 0 = not a link, or
   outside of the record). POSIO_E_NOT_FOUND where there is none.
   With MFT_SCAN_FULL only. Threads: any. Allocates: no. Blocks: no. */
MFT_SCAN_API posio_result mft_scan_get_reparse(const mft_scan *scan, uint64_t number, uint32_t *tag,
                                               const char **target, uint32_t *length);

/* The object ID of a record, 16 bytes as stored; else as above. */
MFT_SCAN_API posio_result mft_scan_get_object_id(const mft_scan *scan, uint64_t number,
                                                 unsigned char id[16]);

typedef posio_warning mft_scan_warning; /* offset: in the source; segment is 0 */

/* The i-th thing that opening found wrong and read around; POSIO_E_RANGE behind the last. There are
   32 at most: the last one tells how many it replaced.
   Threads: any. Allocates: no. Blocks: no. */
MFT_SCAN_API posio_result mft_scan_get_warning(const mft_scan *scan, uint32_t i,
                                               mft_scan_warning *out);

/* "in_use", "free", ... Threads: any. Allocates: no. Blocks: no. */
MFT_SCAN_API const char *mft_scan_state_name(uint32_t state);
MFT_SCAN_API const char *mft_scan_mode_name(uint32_t mode);     /* "pipelined-parallel" */
MFT_SCAN_API const char *mft_scan_parent_name(uint32_t status); /* "stale" */
MFT_SCAN_API const char *mft_scan_damage_name(uint32_t damage); /* "attribute out of bounds" */

/* ------------------------------------------------------------------ advanced */

typedef struct mft_scan_volume {
    uint64_t offset,
        size;        /* bytes, in the source; size by the partition table, or the boot sector */
    uint32_t number; /* 1, 2, ... as in the partition tables: primary, then logical; or GPT */
    uint32_t sector_size, cluster_size, record_size; /* bytes; 0 where the boot sector is lost */
    uint64_t serial_number;
    uint32_t from_backup_boot;
    uint32_t scheme; /* 0 = no table: the source is the volume; 1 = MBR, 2 = GPT */
} mft_scan_volume;

/* Lists the NTFS volumes of a disk: at most `room` into out; *count is how many there are.
   Partition tables: MBR with chains of extended partitions, GPT with its backup.
   Threads: any. Allocates: no. Blocks: I/O. */
MFT_SCAN_API posio_result mft_scan_volumes(const posio_source *source, mft_scan_volume *out,
                                           uint32_t room, uint32_t *count, posio_error *err);

/* For machines smaller than the index: calls visit for every slot that is not an extension of
   another, with a view that knows only this record: mft_scan_get_record, the names, streams,
   reparse point and object ID of `number` work on it, until visit returns. First those that are
   complete, in order; at the end those whose attributes are spread over records, in order too:
   these wait in a cache of desc.cache_bytes, or are read a second time. A number comes again, with
   MFT_SCAN_CONTINUED, where a file has more extensions than fit into a segment, or a base does not
   know of them: then only what was not shown before is in the view. (LIST_MISMATCH is not found in
   the first case.) Non-zero from visit cancels. Paths need the index. *stats (may be NULL) is
   filled in also after an error. desc.mode is not used: it reads and parses in turn.
   Threads: any. Allocates: yes. Blocks: I/O. */
MFT_SCAN_API posio_result mft_scan_visit(const posio_source *source, const mft_scan_desc *desc,
                                         int (*visit)(void *user, const mft_scan *view,
                                                      uint64_t number),
                                         void *user, mft_scan_stats *stats, posio_error *err);

#ifdef __cplusplus
}
#endif
#elif MFT_SCAN_VERSION < 100
#error "mft_scan.h: an older copy came first in this file; include the newest header first"
#endif
#if defined(MFT_SCAN_STATIC) && !defined(MFT_SCAN_I_STATIC)
#error "define MFT_SCAN_STATIC before the first include of mft_scan.h"
#endif

#if defined(MFT_SCAN_IMPLEMENTATION) && !defined(MFT_SCAN_I_IMPLEMENTED)
#define MFT_SCAN_I_IMPLEMENTED 100

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__linux__)
#include <sys/mman.h>
#if defined(MADV_HUGEPAGE)
#define MFT_SCAN_I_HUGE_PAGES
#endif
#endif
#if defined(__GNUC__) && defined(__SSE2__)
#include <emmintrin.h>
#define MFT_SCAN_I_SSE2
#endif
#if defined(__GNUC__)
#define MFT_SCAN_I_INLINE static inline __attribute__((always_inline, unused))
#define MFT_SCAN_I_PREFETCH(p) __builtin_prefetch(p)
#else
#define MFT_SCAN_I_INLINE static
#define MFT_SCAN_I_PREFETCH(p) (void)(p)
#endif

// ---------------------------------------------------------------------------------- structures

enum {
    MFT_SCAN_I_STRIDE = 512, /* bytes a fixup protects, whatever the sector size */
    MFT_SCAN_I_RECORD_MAX = 65536,
    MFT_SCAN_I_SEGMENT = 1 << 20, /* what stays in a core's own cache while it is parsed */
    MFT_SCAN_I_SEGMENT_MIN = 4096,
    MFT_SCAN_I_CHUNK = 16 << 20, /* one read ahead */
    MFT_SCAN_I_CHUNK_MAX = 256 << 20,
    MFT_SCAN_I_RING = 3,         /* chunks: the ceiling of memory */
    MFT_SCAN_I_BLOCK = 32 << 20, /* of the index, from the allocator */
    MFT_SCAN_I_PIECE = 64 << 10, /* of the cache of mft_scan_visit, a record fits in; of paths */
    MFT_SCAN_I_BLOCK_FIRST = 64 << 10,
    MFT_SCAN_I_HUGE = 2 << 20, /* a huge page */
    MFT_SCAN_I_PARTS = 16,     /* segments in a slot of the parallel mode */
    MFT_SCAN_I_CLUSTER_MAX = 2 << 20,
    MFT_SCAN_I_LIST_MAX = 1 << 20,  /* bytes of an $ATTRIBUTE_LIST; NTFS allows 256 KiB */
    MFT_SCAN_I_RUNS_MAX = 1 << 22,  /* of the $MFT */
    MFT_SCAN_I_SKIP_MIN = 64 << 10, /* shorter free runs are cheaper to read than to step over */
    MFT_SCAN_I_VOTES = 1 << 20,     /* bytes of a raw $MFT that say how large records are */
    MFT_SCAN_I_MEMO_PATH = 1024,    /* bytes: longer paths of directories are not kept */
    MFT_SCAN_I_MEMO_DEPTH = 256
};
static const uint32_t mft_scan_i_file = 0x454c4946u, mft_scan_i_baad = 0x44414142u;

#define MFT_SCAN_I_MFT_MAX ((uint64_t)1 << 42) /* bytes: records have numbers of 32 bits */

/* The word of a slot: flags in bits 0-21, state 22-24, damage 25-28. */
#define MFT_SCAN_I_FLAGS 0x3fffffu
#define MFT_SCAN_I_STATE(word) ((word) >> 22 & 7)
#define MFT_SCAN_I_DAMAGE(word) ((word) >> 25 & 15)
#define MFT_SCAN_I_WORD(state, flags, damage) \
    ((uint32_t)(flags) | (uint32_t)(state) << 22 | (uint32_t)(damage) << 25)

/* Text is named by where it begins in its segment (22 bits) and its bytes (10 bits: a name has 255
   units of UTF-16, 765 bytes of WTF-8). Targets of links, which are longer, have a row of their
   own. */
#define MFT_SCAN_I_TEXT(at, length) ((uint32_t)(at) << 10 | (uint32_t)(length))

enum {
    MFT_SCAN_I_SLOTS,
    MFT_SCAN_I_EDGES, /* slots + 1 */
    MFT_SCAN_I_INFOS,
    MFT_SCAN_I_NAMES,
    MFT_SCAN_I_STREAMS,
    MFT_SCAN_I_EXTENSIONS,
    MFT_SCAN_I_LISTED,
    MFT_SCAN_I_REPARSES,
    MFT_SCAN_I_OBJECTS,
    MFT_SCAN_I_INITIALS,
    MFT_SCAN_I_TOTALS,
    MFT_SCAN_I_BYTES, /* of text */
    MFT_SCAN_I_COUNTS
};

/* A segment of the index: the columns of consecutive slots. Rows belong to slots by edges: the
   names of slot s are rows name_at[s] to name_at[s + 1] - 1. */
typedef struct mft_scan_i_columns {
    uint32_t count[MFT_SCAN_I_COUNTS];
    uint32_t uniform;   /* where flags is NULL: the word of every slot, and there are no rows */
    uint32_t *flags;    /* slots: words */
    uint32_t *path_at;  /* place in mft_scan.memo, in units, and 1; 0 = none */
    uint32_t *child_at; /* edges, of mft_scan.child_slot */
    uint16_t *sequence, *info_at, *name_at, *stream_at;
    uint64_t *size, *modified; /* infos; size in lean columns only */
    uint64_t *created, *changed, *accessed, *log_sequence, *usn;
    uint32_t *attributes, *security_id;
    uint64_t *parent; /* names */
    uint64_t *name_created, *name_modified, *name_changed, *name_accessed;
    uint32_t *name_text;
    uint16_t *name_id;
    uint8_t *name_space;
    uint64_t *stream_size, *allocated; /* streams */
    uint32_t *stream_text;
    uint16_t *stream_id;
    uint8_t *stream_kind;
    uint64_t *base;          /* extensions */
    uint32_t *extension_sum; /* of its attributes */
    uint16_t *extension_slot;
    uint64_t *listed;     /* what resident lists name; the first of each is the record itself */
    uint32_t *listed_sum; /* there: of the attributes that should lie in extensions */
    uint16_t *listed_slot;
    uint32_t *reparse_tag, *reparse_text, *reparse_length;
    uint16_t *reparse_slot;
    uint64_t *object_low, *object_high;
    uint16_t *object_slot;
    uint64_t *initial; /* streams whose initialised size is not the size */
    uint16_t *initial_row;
    uint64_t *total; /* streams whose total size is not the allocated */
    uint16_t *total_row;
    char *text;
} mft_scan_i_columns;

/* mft_scan_i_columns.stream_kind: MFT_SCAN_RESIDENT ... in bits 0-3, and */
enum {
    MFT_SCAN_I_HAS_INITIAL = 16,
    MFT_SCAN_I_HAS_TOTAL = 32,
    MFT_SCAN_I_ROOT = 64,
    MFT_SCAN_I_ALLOCATION = 128
};

/* Where bytes of the $MFT lie. */
typedef struct mft_scan_i_run {
    uint64_t at, length; /* bytes, in the $MFT */
    uint64_t offset;     /* in the source, or POSIO_NO_OFFSET: a hole */
} mft_scan_i_run;

typedef struct mft_scan_i_runs {
    mft_scan_i_run *run;
    uint64_t count, room;
    uint64_t end; /* bytes mapped */
} mft_scan_i_runs;

typedef struct mft_scan_i_volume {
    uint64_t offset, size; /* bytes, in the source */
    uint64_t mft, mirror;  /* byte offsets in the volume */
    uint64_t serial_number;
    uint32_t sector_size, cluster_size, record_size;
} mft_scan_i_volume;

typedef struct mft_scan_i_link {
    uint32_t base, extension; /* numbers */
    uint32_t sum;             /* of the extension's attributes */
} mft_scan_i_link;

typedef struct mft_scan_i_orphan {
    uint64_t base; /* reference */
    uint64_t slot;
} mft_scan_i_orphan;

/* Memory that segments are cut from. */
typedef struct mft_scan_i_block {
    struct mft_scan_i_block *next;
    size_t used, size; /* bytes, this head included */
} mft_scan_i_block;

/* Who reads the source: what was counted, and the last thing that the source said about its extents.
   Asked for each segment anew, files answered with 4,000 system calls for each GiB. */
typedef struct mft_scan_i_reader {
    mft_scan_stats tally;
    posio_known known;
} mft_scan_i_reader;

typedef struct mft_scan_i_scratch {
    struct mft_scan_i_scratch *next, *all;
    unsigned char *buffer; /* a segment */
    uint8_t *unread;       /* a byte for each of its records */
    void *block;           /* what the columns lie in */
    mft_scan_i_columns columns;
    mft_scan_i_reader reader;
} mft_scan_i_scratch;

/* What could not be read. */
typedef struct mft_scan_i_failure {
    thread_pool_mutex lock;
    uint64_t offset; /* of the first in the source, UINT64_MAX: there was none */
    posio_error error, fatal;
} mft_scan_i_failure;

struct mft_scan {
    mft_scan_desc desc;
    posio_source source;
    mft_scan_metadata info;
    mft_scan_stats stats;
    mft_scan_i_volume volume;
    uint64_t volume_room; /* bytes of the partition, or source, that it lies in */
    mft_scan_i_runs runs;
    unsigned char *bitmap; /* of the $MFT, for MFT_SCAN_SKIP_FREE */
    uint64_t bitmap_slots;
    uint32_t record_size, segment_bytes, slot_bits; /* 2^slot_bits slots in a segment */
    mft_scan_i_columns **segments;
    uint64_t segment_count;
    mft_scan_i_block *blocks; /* the first is the one that is being cut */
    size_t block_bytes;
    mft_scan_i_columns uniform[4];
    uint64_t first, visible; /* slots that can be looked up: of a view, not all */
    const uint64_t *numbers; /* of a view of records that do not follow each other */
    mft_scan_i_link *links;  /* extensions by base */
    uint64_t link_count;
    mft_scan_i_orphan *orphans; /* orphaned extensions with names, by what was their base */
    uint64_t orphan_count;
    unsigned char **memo; /* kept paths, in pieces of MFT_SCAN_I_PIECE: they are never moved */
    uint64_t memo_pieces, memo_room;
    uint32_t memo_used;               /* bytes of the last piece */
    uint32_t *child_slot, *child_row; /* MFT_SCAN_CHILDREN */
    mft_scan_i_scratch *idle, *scratches;
    thread_pool_mutex lock; /* guards idle, scratches, blocks */
    int has_lock;
    mft_scan_i_failure *failure;
    posio_warnings warnings;
};

static posio_result mft_scan_i_no_memory(posio_error *err)
{
    return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
}

static void mft_scan_i_warn(mft_scan *s, uint64_t offset, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    posio_warn(&s->warnings, 0, offset, format, ap);
    va_end(ap);
}

/* Nanoseconds, to measure a difference. */
static uint64_t mft_scan_i_now(void)
{
#if defined(_WIN32)
    LARGE_INTEGER t, f;
    if (!QueryPerformanceCounter(&t) || !QueryPerformanceFrequency(&f)) return 0;
    return (uint64_t)((double)t.QuadPart * 1e9 / (double)f.QuadPart);
#elif defined(CLOCK_MONOTONIC)
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) != 0) return 0;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
#else
    return (uint64_t)clock() * (1000000000u / CLOCKS_PER_SEC);
#endif
}

// ---------------------------------------------------------------------------------- columns

typedef struct mft_scan_i_column {
    size_t member; /* where the pointer is in mft_scan_i_columns */
    uint32_t element, count;
    uint32_t in; /* which index it is in */
} mft_scan_i_column;

enum {
    MFT_SCAN_I_IN_LEAN = 1,
    MFT_SCAN_I_IN_FULL = 2,
    MFT_SCAN_I_IN_ALL = 3,
    MFT_SCAN_I_IN_PATHS = 4,   /* MFT_SCAN_PATHS */
    MFT_SCAN_I_IN_CHILDREN = 8 /* MFT_SCAN_CHILDREN */
};

#define MFT_SCAN_I_COLUMN(member, element, count, in)                            \
    {                                                                            \
        offsetof(mft_scan_i_columns, member), element, count, MFT_SCAN_I_IN_##in \
    }

/* By falling alignment, so that one block holds them without gaps. */
static const mft_scan_i_column *mft_scan_i_layout(size_t *n)
{
    static const mft_scan_i_column table[] = {
        MFT_SCAN_I_COLUMN(size, 8, MFT_SCAN_I_INFOS, LEAN),
        MFT_SCAN_I_COLUMN(modified, 8, MFT_SCAN_I_INFOS, ALL),
        MFT_SCAN_I_COLUMN(created, 8, MFT_SCAN_I_INFOS, FULL),
        MFT_SCAN_I_COLUMN(changed, 8, MFT_SCAN_I_INFOS, FULL),
        MFT_SCAN_I_COLUMN(accessed, 8, MFT_SCAN_I_INFOS, FULL),
        MFT_SCAN_I_COLUMN(log_sequence, 8, MFT_SCAN_I_INFOS, FULL),
        MFT_SCAN_I_COLUMN(usn, 8, MFT_SCAN_I_INFOS, FULL),
        MFT_SCAN_I_COLUMN(parent, 8, MFT_SCAN_I_NAMES, ALL),
        MFT_SCAN_I_COLUMN(name_created, 8, MFT_SCAN_I_NAMES, FULL),
        MFT_SCAN_I_COLUMN(name_modified, 8, MFT_SCAN_I_NAMES, FULL),
        MFT_SCAN_I_COLUMN(name_changed, 8, MFT_SCAN_I_NAMES, FULL),
        MFT_SCAN_I_COLUMN(name_accessed, 8, MFT_SCAN_I_NAMES, FULL),
        MFT_SCAN_I_COLUMN(stream_size, 8, MFT_SCAN_I_STREAMS, FULL),
        MFT_SCAN_I_COLUMN(allocated, 8, MFT_SCAN_I_STREAMS, FULL),
        MFT_SCAN_I_COLUMN(base, 8, MFT_SCAN_I_EXTENSIONS, ALL),
        MFT_SCAN_I_COLUMN(listed, 8, MFT_SCAN_I_LISTED, ALL),
        MFT_SCAN_I_COLUMN(object_low, 8, MFT_SCAN_I_OBJECTS, FULL),
        MFT_SCAN_I_COLUMN(object_high, 8, MFT_SCAN_I_OBJECTS, FULL),
        MFT_SCAN_I_COLUMN(initial, 8, MFT_SCAN_I_INITIALS, FULL),
        MFT_SCAN_I_COLUMN(total, 8, MFT_SCAN_I_TOTALS, FULL),
        MFT_SCAN_I_COLUMN(flags, 4, MFT_SCAN_I_SLOTS, ALL),
        MFT_SCAN_I_COLUMN(path_at, 4, MFT_SCAN_I_SLOTS, PATHS),
        MFT_SCAN_I_COLUMN(child_at, 4, MFT_SCAN_I_EDGES, CHILDREN),
        MFT_SCAN_I_COLUMN(extension_sum, 4, MFT_SCAN_I_EXTENSIONS, ALL),
        MFT_SCAN_I_COLUMN(listed_sum, 4, MFT_SCAN_I_LISTED, ALL),
        MFT_SCAN_I_COLUMN(attributes, 4, MFT_SCAN_I_INFOS, ALL),
        MFT_SCAN_I_COLUMN(security_id, 4, MFT_SCAN_I_INFOS, FULL),
        MFT_SCAN_I_COLUMN(name_text, 4, MFT_SCAN_I_NAMES, ALL),
        MFT_SCAN_I_COLUMN(stream_text, 4, MFT_SCAN_I_STREAMS, FULL),
        MFT_SCAN_I_COLUMN(reparse_tag, 4, MFT_SCAN_I_REPARSES, FULL),
        MFT_SCAN_I_COLUMN(reparse_text, 4, MFT_SCAN_I_REPARSES, FULL),
        MFT_SCAN_I_COLUMN(reparse_length, 4, MFT_SCAN_I_REPARSES, FULL),
        MFT_SCAN_I_COLUMN(sequence, 2, MFT_SCAN_I_SLOTS, ALL),
        MFT_SCAN_I_COLUMN(info_at, 2, MFT_SCAN_I_EDGES, ALL),
        MFT_SCAN_I_COLUMN(name_at, 2, MFT_SCAN_I_EDGES, ALL),
        MFT_SCAN_I_COLUMN(stream_at, 2, MFT_SCAN_I_EDGES, FULL),
        MFT_SCAN_I_COLUMN(name_id, 2, MFT_SCAN_I_NAMES, FULL),
        MFT_SCAN_I_COLUMN(stream_id, 2, MFT_SCAN_I_STREAMS, FULL),
        MFT_SCAN_I_COLUMN(extension_slot, 2, MFT_SCAN_I_EXTENSIONS, ALL),
        MFT_SCAN_I_COLUMN(listed_slot, 2, MFT_SCAN_I_LISTED, ALL),
        MFT_SCAN_I_COLUMN(reparse_slot, 2, MFT_SCAN_I_REPARSES, FULL),
        MFT_SCAN_I_COLUMN(object_slot, 2, MFT_SCAN_I_OBJECTS, FULL),
        MFT_SCAN_I_COLUMN(initial_row, 2, MFT_SCAN_I_INITIALS, FULL),
        MFT_SCAN_I_COLUMN(total_row, 2, MFT_SCAN_I_TOTALS, FULL),
        MFT_SCAN_I_COLUMN(name_space, 1, MFT_SCAN_I_NAMES, ALL),
        MFT_SCAN_I_COLUMN(stream_kind, 1, MFT_SCAN_I_STREAMS, FULL),
        MFT_SCAN_I_COLUMN(text, 1, MFT_SCAN_I_BYTES, ALL)};
    *n = sizeof table / sizeof table[0];
    return table;
}

/* Points the columns of the indexes `in` into a block, by their counts; the bytes they need. Copies
   them from `from` unless that is NULL; what is not there becomes zeros. */
static size_t mft_scan_i_place(mft_scan_i_columns *c, unsigned char *block, uint32_t in,
                               const mft_scan_i_columns *from)
{
    size_t i, n, used = 0;
    const mft_scan_i_column *table = mft_scan_i_layout(&n);
    for (i = 0; i < n; i++) {
        size_t bytes = (size_t)c->count[table[i].count] * table[i].element;
        void *place, *old = NULL;
        if (!(table[i].in & in)) continue;
        if (block != NULL) {
            place = block + used;
            if (from != NULL) memcpy(&old, (const char *)from + table[i].member, sizeof old);
            if (old != NULL) memcpy(place, old, bytes);
            else if (from != NULL) memset(place, 0, bytes);
            memcpy((char *)c + table[i].member, &place, sizeof place);
        }
        used += bytes;
    }
    return used;
}

/* The columns that the desc asks for. */
static uint32_t mft_scan_i_wanted_columns(const mft_scan *s)
{
    return (s->info.columns == MFT_SCAN_FULL ? (uint32_t)MFT_SCAN_I_IN_FULL
                                             : (uint32_t)MFT_SCAN_I_IN_LEAN) |
           (s->desc.flags & MFT_SCAN_PATHS ? (uint32_t)MFT_SCAN_I_IN_PATHS : 0u) |
           (s->desc.flags & MFT_SCAN_CHILDREN ? (uint32_t)MFT_SCAN_I_IN_CHILDREN : 0u);
}

/* A block from the allocator, for `size` bytes. Where the system has huge pages for those who ask, a
   large index is cheaper with them: of 180 MB, 45,000 page faults took as long as a third of the
   parsing. What lies in front of the first of them is never touched, and takes no memory. */
static mft_scan_i_block *mft_scan_i_new_block(const mft_scan *s, size_t size)
{
    size_t begin = sizeof(mft_scan_i_block);
    mft_scan_i_block *block;
#if defined(MFT_SCAN_I_HUGE_PAGES)
    const int large = s->desc.alloc.alloc_fn == NULL && size >= MFT_SCAN_I_HUGE;
    if (large) begin += MFT_SCAN_I_HUGE;
#endif
    if (size > SIZE_MAX - begin) return NULL;
    block = (mft_scan_i_block *)posio_allocate(&s->desc.alloc, begin + size);
    if (block == NULL) return NULL;
#if defined(MFT_SCAN_I_HUGE_PAGES)
    if (large) {
        const uintptr_t mask = MFT_SCAN_I_HUGE - 1;
        const uintptr_t from = ((uintptr_t)block + sizeof *block + mask) & ~mask;
        begin = from - (uintptr_t)block;
        (void)madvise((void *)from, size & ~mask, MADV_HUGEPAGE); /* a wish, no more */
    }
#endif
    block->used = begin;
    block->size = begin + size;
    return block;
}

/* Bytes that live as long as the index; NULL without memory. Blocks grow with it. */
static unsigned char *mft_scan_i_cut(mft_scan *s, size_t bytes)
{
    mft_scan_i_block *fresh = NULL;
    unsigned char *place = NULL;
    size_t size;
    bytes = (bytes + 7) & ~(size_t)7;
    for (;;) {
        thread_pool_lock(&s->lock);
        if (fresh != NULL) {
            fresh->next = s->blocks;
            s->blocks = fresh;
            if (s->block_bytes < MFT_SCAN_I_BLOCK) s->block_bytes *= 8; /* three steps */
        }
        if (s->blocks != NULL && bytes <= s->blocks->size - s->blocks->used) {
            place = (unsigned char *)s->blocks + s->blocks->used;
            s->blocks->used += bytes;
        }
        size = s->block_bytes;
        thread_pool_unlock(&s->lock);
        if (place != NULL) return place;
        if (size < bytes) size = bytes;
        fresh = mft_scan_i_new_block(s, size);
        if (fresh == NULL) return NULL;
    }
}

/* What was parsed becomes a segment of the index, of just its size. */
static posio_result mft_scan_i_keep(mft_scan *s, uint64_t segment, const mft_scan_i_columns *from,
                                    mft_scan_stats *tally, posio_error *err)
{
    const uint32_t in = mft_scan_i_wanted_columns(s);
    mft_scan_i_columns head = *from, *c;
    const size_t place = (sizeof *c + 7) & ~(size_t)7;
    size_t bytes = mft_scan_i_place(&head, NULL, in, NULL);
    c = (mft_scan_i_columns *)(void *)mft_scan_i_cut(s, place + bytes);
    if (c == NULL) return mft_scan_i_no_memory(err);
    memset(c, 0, sizeof *c);
    memcpy(c->count, from->count, sizeof c->count);
    (void)mft_scan_i_place(c, (unsigned char *)c + place, in, from);
    s->segments[segment] = c;
    tally->index_bytes += place + bytes;
    return POSIO_OK;
}

/* A segment whose slots are all alike, and hold nothing. */
static void mft_scan_i_keep_uniform(mft_scan *s, uint64_t segment, uint32_t word)
{
    uint32_t i;
    for (i = 0; i < 3 && s->uniform[i].uniform != word; i++) {}
    s->segments[segment] = &s->uniform[i];
}

// ---------------------------------------------------------------------------------- scratch

static void mft_scan_i_free_scratches(mft_scan *s)
{
    while (s->scratches != NULL) {
        mft_scan_i_scratch *x = s->scratches;
        s->scratches = x->all;
        posio_release(&s->desc.alloc, x->block);
        posio_release(&s->desc.alloc, x->buffer);
        posio_release(&s->desc.alloc, x);
    }
    s->idle = NULL;
}

/* As many rows as a segment can hold at the very most: an attribute has a header of 24 bytes, a
   $FILE_NAME 66 more; 2 bytes of UTF-16 become 3 of WTF-8. So no row needs a check. */
static void mft_scan_i_most(const mft_scan *s, mft_scan_i_columns *c)
{
    const uint32_t n = s->segment_bytes, slots = n / s->record_size, rows = n / 24 + 1;
    memset(c, 0, sizeof *c);
    c->count[MFT_SCAN_I_SLOTS] = slots;
    c->count[MFT_SCAN_I_EDGES] = slots + 1;
    c->count[MFT_SCAN_I_INFOS] = slots;
    c->count[MFT_SCAN_I_EXTENSIONS] = slots;
    c->count[MFT_SCAN_I_NAMES] = n / (24 + 66) + 1;
    c->count[MFT_SCAN_I_STREAMS] = rows;
    c->count[MFT_SCAN_I_LISTED] = rows; /* one for each list, and one for an entry of 26 bytes */
    c->count[MFT_SCAN_I_REPARSES] = slots;
    c->count[MFT_SCAN_I_OBJECTS] = slots;
    c->count[MFT_SCAN_I_INITIALS] = n / 64 + 1;
    c->count[MFT_SCAN_I_TOTALS] = n / 64 + 1;
    c->count[MFT_SCAN_I_BYTES] = n / 2 * 3 + 16;
}

static mft_scan_i_scratch *mft_scan_i_new_scratch(mft_scan *s)
{
    const size_t slots = s->segment_bytes / s->record_size;
    mft_scan_i_scratch *x = (mft_scan_i_scratch *)posio_allocate_zeroed(&s->desc.alloc, sizeof *x);
    if (x == NULL) return NULL;
    mft_scan_i_most(s, &x->columns);
    x->buffer = (unsigned char *)posio_allocate(&s->desc.alloc,
                                                s->segment_bytes + MFT_SCAN_I_STRIDE + slots);
    x->block = posio_allocate(&s->desc.alloc,
                              mft_scan_i_place(&x->columns, NULL, MFT_SCAN_I_IN_ALL, NULL));
    if (x->buffer == NULL || x->block == NULL) {
        posio_release(&s->desc.alloc, x->block);
        posio_release(&s->desc.alloc, x->buffer);
        posio_release(&s->desc.alloc, x);
        return NULL;
    }
    x->unread = x->buffer + s->segment_bytes + MFT_SCAN_I_STRIDE;
    (void)mft_scan_i_place(&x->columns, (unsigned char *)x->block, MFT_SCAN_I_IN_ALL, NULL);
    return x;
}

static mft_scan_i_scratch *mft_scan_i_take_scratch(mft_scan *s)
{
    mft_scan_i_scratch *x;
    thread_pool_lock(&s->lock);
    x = s->idle;
    if (x != NULL) s->idle = x->next;
    thread_pool_unlock(&s->lock);
    if (x != NULL) return x;
    x = mft_scan_i_new_scratch(s);
    if (x == NULL) return NULL;
    thread_pool_lock(&s->lock);
    x->all = s->scratches;
    s->scratches = x;
    thread_pool_unlock(&s->lock);
    return x;
}

static void mft_scan_i_give_scratch(mft_scan *s, mft_scan_i_scratch *x)
{
    thread_pool_lock(&s->lock);
    x->next = s->idle;
    s->idle = x;
    thread_pool_unlock(&s->lock);
}

static void mft_scan_i_add_stats(mft_scan_stats *to, const mft_scan_stats *from)
{
    uint64_t a[sizeof *to / 8], b[sizeof *to / 8]; /* nothing but numbers of 64 bits */
    size_t i;
    memcpy(a, to, sizeof a);
    memcpy(b, from, sizeof b);
    for (i = 0; i < sizeof *to / 8; i++) a[i] += b[i];
    memcpy(to, a, sizeof a);
}

// ---------------------------------------------------------------------------------- fixup

/* The header of a record: where its parts are. */
enum {
    MFT_SCAN_I_AT_LOG = 0x08,
    MFT_SCAN_I_AT_SEQUENCE = 0x10,
    MFT_SCAN_I_AT_ATTRIBUTES = 0x14,
    MFT_SCAN_I_AT_FLAGS = 0x16,
    MFT_SCAN_I_AT_USED = 0x18,
    MFT_SCAN_I_AT_ALLOCATED = 0x1c,
    MFT_SCAN_I_AT_BASE = 0x20,
    MFT_SCAN_I_AT_NUMBER = 0x2c,
    MFT_SCAN_I_HEADER = 0x2a,      /* bytes that every version has */
    MFT_SCAN_I_HEADER_LONG = 0x30, /* with the record's own number */
    MFT_SCAN_I_RECORD_IN_USE = 1,
    MFT_SCAN_I_RECORD_DIRECTORY = 2,
    MFT_SCAN_I_RECORD_EXTEND = 4,
    MFT_SCAN_I_RECORD_VIEW = 8
};

/* Is there an update sequence array that can be used? It has one entry for each 512 bytes, and ends
   before the first bytes that it protects. */
MFT_SCAN_I_INLINE int mft_scan_i_has_fixups(const unsigned char *rec, uint32_t size)
{
    uint32_t at = posio_le16(rec + 4), count = posio_le16(rec + 6);
    return count == size / MFT_SCAN_I_STRIDE + 1 && at >= MFT_SCAN_I_HEADER && at % 2 == 0 &&
           at + 2 * count <= MFT_SCAN_I_STRIDE - 2;
}

/* Do the ends of all strides already hold the array's values? (Some tools write out an $MFT as
   NTFS hands it over.) */
static int mft_scan_i_is_fixed(const unsigned char *rec, uint32_t size)
{
    const unsigned char *array = rec + posio_le16(rec + 4);
    uint32_t i;
    for (i = 1; i <= size / MFT_SCAN_I_STRIDE; i++)
        if (posio_le16(rec + i * MFT_SCAN_I_STRIDE - 2) != posio_le16(array + 2 * i)) return 0;
    return 1;
}

/* Verifies all strides, then puts the array's values in their places; the flags of what was found.
   A stride behind the bytes in use may differ: a writer that knew its place has left it out. */
MFT_SCAN_I_INLINE uint32_t mft_scan_i_fix(unsigned char *rec, uint32_t size, int pre_fixed)
{
    const unsigned char *array = rec + posio_le16(rec + 4);
    const uint32_t strides = size / MFT_SCAN_I_STRIDE, used = posio_le32(rec + MFT_SCAN_I_AT_USED);
    const unsigned usn = posio_le16(array);
    uint32_t i, flags = 0;
    for (i = 1; i <= strides; i++)
        if (posio_le16(rec + i * MFT_SCAN_I_STRIDE - 2) != usn)
            flags |= (i - 1) * MFT_SCAN_I_STRIDE >= used ? (uint32_t)MFT_SCAN_TORN_SLACK
                                                         : (uint32_t)MFT_SCAN_TORN;
    if (flags != 0 && pre_fixed && mft_scan_i_is_fixed(rec, size)) return 0;
    for (i = 1; i <= strides; i++) {
        unsigned char *tail = rec + i * MFT_SCAN_I_STRIDE - 2;
        tail[0] = array[2 * i];
        tail[1] = array[2 * i + 1];
    }
    return flags;
}

static int mft_scan_i_is_zero(const unsigned char *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

// ---------------------------------------------------------------------------------- text

/* Copies units of UTF-16LE while they are ASCII, and returns how many there were; the next may be
   ASCII, too. May read 14 bytes behind the last unit, and write 8 that do not count. */
MFT_SCAN_I_INLINE uint32_t mft_scan_i_ascii(char *out, const unsigned char *s, uint32_t units)
{
#if defined(MFT_SCAN_I_SSE2)
    const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)s);
    const __m128i high = _mm_and_si128(v, _mm_set1_epi16((short)0xff80));
    const uint32_t n = units < 8 ? units : 8;
    /* Two bits for each unit that counts and is not ASCII. */
    const uint32_t others =
        ~(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi16(high, _mm_setzero_si128())) &
        (((uint32_t)1 << 2 * n) - 1);
    _mm_storel_epi64((__m128i *)(void *)out, _mm_packus_epi16(v, v));
    return others == 0 ? n : (uint32_t)__builtin_ctz(others) / 2;
#else
    uint32_t n = 0;
    for (; units - n >= 4; n += 4) {
        uint64_t v = posio_le64(s + 2 * n);
        if (v & 0xff80ff80ff80ff80u) break;
        v = (v | v >> 8) & 0x0000ffff0000ffffu;
        v |= v >> 16;
        out[n] = (char)v;
        out[n + 1] = (char)(v >> 8);
        out[n + 2] = (char)(v >> 16);
        out[n + 3] = (char)(v >> 24);
    }
    for (; n != units && posio_le16(s + 2 * n) < 0x80; n++) out[n] = (char)s[2 * n];
    return n;
#endif
}

/* `units` of UTF-16LE as WTF-8: UTF-8, with unpaired surrogates as if they were characters. Writes
   up to 3 bytes for each unit, and 8 more that do not count. */
static uint32_t mft_scan_i_text(char *out, const unsigned char *s, uint32_t units)
{
    char *o = out;
    while (units != 0) {
        uint32_t c = mft_scan_i_ascii(o, s, units);
        o += c;
        s += 2 * c;
        units -= c;
        if (units == 0) break;
        c = posio_le16(s);
        if (c < 0x80) continue;
        s += 2;
        units--;
        if ((c & 0xfc00) == 0xd800 && units != 0 && (posio_le16(s) & 0xfc00) == 0xdc00) {
            c = 0x10000 + ((c & 0x3ff) << 10) + (posio_le16(s) & 0x3ffu);
            s += 2;
            units--;
        }
        o += posio_i_put_utf8(o, c);
    }
    return (uint32_t)(o - out);
}

// ---------------------------------------------------------------------------------- attributes

enum {
    MFT_SCAN_I_STANDARD_INFORMATION = 0x10,
    MFT_SCAN_I_ATTRIBUTE_LIST = 0x20,
    MFT_SCAN_I_FILE_NAME = 0x30,
    MFT_SCAN_I_OBJECT_ID = 0x40,
    MFT_SCAN_I_BITMAP = 0xb0,
    MFT_SCAN_I_REPARSE_POINT = 0xc0,
    MFT_SCAN_I_EA_INFORMATION = 0xd0,
    MFT_SCAN_I_EA = 0xe0,
    MFT_SCAN_I_LAST_TYPE = 0x100,
    MFT_SCAN_I_ATTRIBUTE = 24,         /* bytes of the smallest header */
    MFT_SCAN_I_ATTRIBUTE_OUTSIDE = 64, /* non-resident */
    MFT_SCAN_I_ATTRIBUTE_TOTAL = 72    /* with a total size */
};
#define MFT_SCAN_I_END 0xffffffffu

/* An attribute whose bounds have been checked. */
typedef struct mft_scan_i_attribute {
    const unsigned char *at;
    uint32_t type, size; /* bytes of it all */
    const unsigned char *name;
    uint32_t name_units;
    int resident;
    const unsigned char
        *value; /* resident; else where the run list begins, and how long it may be */
    uint32_t value_size;
    uint64_t lowest, highest; /* non-resident: clusters, of its value */
} mft_scan_i_attribute;

/* Reads the attribute at `offset` of a record in which `used` bytes count. 1: it is there; 0: the
   end; -1: its bounds are broken, so that nothing behind it can be found. *damage is the first
   thing that is wrong with it, if any; a value that ends outside is none. */
MFT_SCAN_I_INLINE int mft_scan_i_get_attribute(const unsigned char *rec, uint32_t offset,
                                               uint32_t used, mft_scan_i_attribute *a,
                                               uint32_t *damage)
{
    const unsigned char *p = rec + offset;
    uint32_t at;
    if (offset > used || used - offset < 4) return *damage = MFT_SCAN_NO_END, -1;
    a->type = posio_le32(p);
    if (a->type == MFT_SCAN_I_END) return 0;
    *damage = MFT_SCAN_BAD_ATTRIBUTE_BOUNDS;
    if (used - offset < MFT_SCAN_I_ATTRIBUTE) return -1;
    a->size = posio_le32(p + 4);
    if (a->size < MFT_SCAN_I_ATTRIBUTE || a->size > used - offset) return -1;
    *damage = a->size % 8 != 0 ? MFT_SCAN_BAD_ATTRIBUTE_BOUNDS : MFT_SCAN_SOUND;
    a->at = p;
    a->name_units = p[9];
    a->name = p + posio_le16(p + 10);
    a->resident = p[8] == 0;
    at = a->resident ? MFT_SCAN_I_ATTRIBUTE : MFT_SCAN_I_ATTRIBUTE_OUTSIDE;
    if (a->name_units != 0 && (posio_le16(p + 10) < at ||
                               !posio_within(posio_le16(p + 10), 2u * a->name_units, a->size))) {
        *damage = MFT_SCAN_BAD_ATTRIBUTE_NAME;
        a->name_units = 0;
    }
    a->lowest = a->highest = 0;
    a->value = p;
    a->value_size = 0;
    if (a->resident) {
        at = posio_le16(p + 0x14);
        if (at >= MFT_SCAN_I_ATTRIBUTE && posio_within(at, posio_le32(p + 0x10), a->size)) {
            a->value = p + at;
            a->value_size = posio_le32(p + 0x10);
        } else {
            *damage = MFT_SCAN_BAD_VALUE;
        }
    } else if (a->size >= MFT_SCAN_I_ATTRIBUTE_OUTSIDE) {
        at = posio_le16(p + 0x20);
        a->lowest = posio_le64(p + 0x10);
        a->highest = posio_le64(p + 0x18);
        if (at >= MFT_SCAN_I_ATTRIBUTE_OUTSIDE && at <= a->size) {
            a->value = p + at;
            a->value_size = a->size - at;
        } else {
            *damage = MFT_SCAN_BAD_VALUE;
        }
        /* highest is lowest - 1 where there are no clusters: -1 for the first. */
        if (a->lowest > a->highest + 1 || (a->highest >> 63 && a->highest + 1 != 0))
            *damage = MFT_SCAN_BAD_SIZES;
    } else {
        *damage = MFT_SCAN_BAD_ATTRIBUTE_BOUNDS;
    }
    return 1;
}

// ---------------------------------------------------------------------------------- one record

/* A record on its way into the columns. */
typedef struct mft_scan_i_parse {
    const mft_scan *scan;
    mft_scan_i_columns *c;
    mft_scan_stats *tally;
    const unsigned char *rec;
    uint64_t number;
    uint32_t slot, used, flags, damage, links, lists;
    uint32_t list; /* row of its $ATTRIBUTE_LIST, UINT32_MAX: none */
    uint32_t sum;  /* of attributes that a list names */
    int sums;      /* whether there may be one */
    uint64_t reference;
    uint32_t attributes, security_id, name_tag;
    uint64_t size, created, modified, changed, accessed, usn;
    int full, needs_tag;
} mft_scan_i_parse;

static void mft_scan_i_blame(mft_scan_i_parse *p, uint32_t damage)
{
    if (p->damage == MFT_SCAN_SOUND) p->damage = damage;
}

static void mft_scan_i_take_information(mft_scan_i_parse *p, const mft_scan_i_attribute *a)
{
    const unsigned char *v = a->value;
    if (!a->resident || a->value_size < 48) {
        mft_scan_i_blame(p, MFT_SCAN_BAD_STANDARD_INFORMATION);
        return;
    }
    if (p->flags & MFT_SCAN_HAS_TIMES) return;
    p->flags |= MFT_SCAN_HAS_TIMES;
    p->created = posio_le64(v);
    p->modified = posio_le64(v + 8);
    p->changed = posio_le64(v + 16);
    p->accessed = posio_le64(v + 24);
    p->attributes = posio_le32(v + 32);
    if (a->value_size < 72) return; /* before NTFS 3.0 */
    p->security_id = posio_le32(v + 52);
    p->usn = posio_le64(v + 64);
}

static void mft_scan_i_take_name(mft_scan_i_parse *p, const mft_scan_i_attribute *a)
{
    mft_scan_i_columns *c = p->c;
    const unsigned char *v = a->value;
    const uint32_t row = c->count[MFT_SCAN_I_NAMES], at = c->count[MFT_SCAN_I_BYTES];
    uint32_t n;
    if (!a->resident || a->value_size < 66 || v[64] == 0 || 66 + 2u * v[64] > a->value_size) {
        mft_scan_i_blame(p, MFT_SCAN_BAD_FILE_NAME);
        return;
    }
    n = mft_scan_i_text(c->text + at, v + 66, v[64]);
    c->count[MFT_SCAN_I_BYTES] = at + n;
    c->count[MFT_SCAN_I_NAMES] = row + 1;
    c->parent[row] = posio_le64(v);
    c->name_text[row] = MFT_SCAN_I_TEXT(at, n);
    c->name_space[row] = v[65];
    p->tally->names++;
    if (v[65] == MFT_SCAN_DOS) p->tally->dos_names++;
    else p->links++;
    if (posio_le32(v + 56) & 0x400) p->name_tag = posio_le32(v + 60); /* or it is the size of EAs */
    if (!p->full) return;
    c->name_created[row] = posio_le64(v + 8);
    c->name_modified[row] = posio_le64(v + 16);
    c->name_changed[row] = posio_le64(v + 24);
    c->name_accessed[row] = posio_le64(v + 32);
    c->name_id[row] = (uint16_t)posio_le16(a->at + 14);
}

/* Bytes of the clusters that a run list really has. */
static uint64_t mft_scan_i_allocated(const unsigned char *p, uint32_t n, uint32_t cluster)
{
    uint64_t sum = 0;
    while (n != 0 && *p != 0) {
        uint32_t length = *p & 15u, offset = *p >> 4, i;
        uint64_t clusters = 0;
        if (length > 8 || n < 1 + length + offset) break;
        for (i = length; i != 0; i--) clusters = clusters << 8 | p[i];
        if (offset != 0) sum += clusters * cluster;
        p += 1 + length + offset;
        n -= 1 + length + offset;
    }
    return sum;
}

/* $BadClus:$Bad says that it has all clusters of the volume; those that are not bad are a hole. */
static int mft_scan_i_is_bad_clusters(const mft_scan_i_parse *p, const mft_scan_i_attribute *a)
{
    return p->number == 8 && a->name_units == 4 && memcmp(a->name, "$\0B\0a\0d", 8) == 0;
}

/* Where the bytes on disk of a non-resident stream are given; 0 = nowhere. Windows gives sparse
   streams a compression unit, Linux's ntfs3 does not; the header's flags tell, too. */
static uint32_t mft_scan_i_total_at(const mft_scan_i_attribute *a)
{
    const unsigned char *v = a->at;
    const int partly = posio_le16(v + 0x22) != 0 || (posio_le16(v + 12) & 0x80ff) != 0;
    return partly && a->size >= MFT_SCAN_I_ATTRIBUTE_TOTAL &&
                   posio_le16(v + 0x20) >= MFT_SCAN_I_ATTRIBUTE_TOTAL
               ? 0x40
               : 0;
}

/* Does initialised <= real <= allocated hold, in whole clusters, and total <= allocated? As the
   Linux driver's ntfs3 asks. */
static int mft_scan_i_are_sizes_sound(const mft_scan_i_parse *p, const mft_scan_i_attribute *a)
{
    const unsigned char *v = a->at;
    const uint64_t allocated = posio_le64(v + 0x28), size = posio_le64(v + 0x30);
    const uint32_t cluster = p->scan->info.cluster_size, total = mft_scan_i_total_at(a);
    return posio_le64(v + 0x38) <= size && size <= allocated &&
           (cluster == 0 || allocated % cluster == 0) &&
           (total == 0 || posio_le64(v + total) <= allocated);
}

/* A row for a stream; its sizes, where it lies outside, are those that the part with VCN 0 has. */
static void mft_scan_i_keep_stream(mft_scan_i_parse *p, const mft_scan_i_attribute *a)
{
    mft_scan_i_columns *c = p->c;
    const unsigned char *v = a->at;
    const uint32_t row = c->count[MFT_SCAN_I_STREAMS], at = c->count[MFT_SCAN_I_BYTES];
    const uint32_t flags = posio_le16(v + 12),
                   n = mft_scan_i_text(c->text + at, a->name, a->name_units);
    uint32_t kind = a->type == MFT_SCAN_INDEX_ROOT         ? (uint32_t)MFT_SCAN_I_ROOT
                    : a->type == MFT_SCAN_INDEX_ALLOCATION ? (uint32_t)MFT_SCAN_I_ALLOCATION
                                                           : 0u;
    uint64_t size = a->value_size, allocated = (size + 7) & ~(uint64_t)7, initial = size;
    uint64_t total = allocated;
    if (flags & 0x00ff) kind |= MFT_SCAN_COMPRESSED;
    if (flags & 0x4000) kind |= MFT_SCAN_ENCRYPTED;
    if (flags & 0x8000) kind |= MFT_SCAN_SPARSE;
    if (a->resident) {
        kind |= MFT_SCAN_RESIDENT;
    } else {
        allocated = total = posio_le64(v + 0x28);
        size = posio_le64(v + 0x30);
        initial = posio_le64(v + 0x38);
        if (mft_scan_i_total_at(a) != 0) total = posio_le64(v + mft_scan_i_total_at(a));
        if (mft_scan_i_is_bad_clusters(p, a))
            total = mft_scan_i_allocated(a->value, a->value_size, p->scan->info.cluster_size);
    }
    if (initial != size) {
        const uint32_t k = c->count[MFT_SCAN_I_INITIALS]++;
        c->initial[k] = initial;
        c->initial_row[k] = (uint16_t)row;
        kind |= MFT_SCAN_I_HAS_INITIAL;
    }
    if (total != allocated) {
        const uint32_t k = c->count[MFT_SCAN_I_TOTALS]++;
        c->total[k] = total;
        c->total_row[k] = (uint16_t)row;
        kind |= MFT_SCAN_I_HAS_TOTAL;
    }
    c->count[MFT_SCAN_I_STREAMS] = row + 1;
    c->count[MFT_SCAN_I_BYTES] = at + n;
    c->stream_size[row] = size;
    c->allocated[row] = allocated;
    c->stream_text[row] = MFT_SCAN_I_TEXT(at, n);
    c->stream_id[row] = (uint16_t)posio_le16(v + 14);
    c->stream_kind[row] = (uint8_t)kind;
}

static void mft_scan_i_take_stream(mft_scan_i_parse *p, const mft_scan_i_attribute *a)
{
    if (!a->resident) {
        if (a->size < MFT_SCAN_I_ATTRIBUTE_OUTSIDE) return; /* was blamed */
        if (a->lowest != 0) return; /* goes on from another record; its sizes mean nothing */
        if (!mft_scan_i_are_sizes_sound(p, a)) mft_scan_i_blame(p, MFT_SCAN_BAD_SIZES);
    }
    if (a->type == MFT_SCAN_DATA) {
        p->tally->streams++;
        if (a->name_units != 0) {
            p->tally->named_streams++;
        } else if (!(p->flags & MFT_SCAN_HAS_SIZE)) {
            p->flags |= MFT_SCAN_HAS_SIZE;
            p->size = a->resident ? a->value_size : posio_le64(a->at + 0x30);
        }
    }
    if (p->full) mft_scan_i_keep_stream(p, a);
}

/* A number for an attribute by what a list's entry tells of it. Attributes of a file and entries of
   its list are the same when their sums are, but for one in 2^32, so no row is needed for each. */
static uint32_t mft_scan_i_sum(uint64_t reference, uint32_t type, uint32_t id, uint32_t name_units,
                               uint64_t lowest)
{
    uint64_t x = reference * 0x9e3779b97f4a7c15u + lowest * 0xd6e8feb86659fd93u +
                 ((uint64_t)type << 32 | (uint64_t)id << 8 | name_units);
    x = (x ^ x >> 29) * 0x94d049bb133111ebu;
    return (uint32_t)(x >> 32);
}

static int mft_scan_i_next_run(const unsigned char **list, uint32_t *left, uint64_t *at,
                               uint64_t *clusters, uint64_t *lcn);

/* Can a list that is not resident be where it should? */
static int mft_scan_i_is_list_in_volume(const mft_scan_i_parse *p, const mft_scan_i_attribute *a)
{
    const mft_scan_i_volume *v = &p->scan->volume;
    const unsigned char *runs = a->value;
    uint32_t left = a->value_size;
    uint64_t at = 0, clusters, lcn, all = 0;
    int r;
    if (a->lowest != 0 || a->size < MFT_SCAN_I_ATTRIBUTE_OUTSIDE ||
        posio_le64(a->at + 0x30) > MFT_SCAN_I_LIST_MAX)
        return 0;
    while ((r = mft_scan_i_next_run(&runs, &left, &at, &clusters, &lcn)) > 0) {
        if (lcn == UINT64_MAX) return 0; /* a hole: a list has none */
        if (v->cluster_size != 0 && !posio_within(lcn, clusters, v->size / v->cluster_size))
            return 0;
        all = posio_min(all + posio_min(clusters, UINT32_MAX), UINT32_MAX);
    }
    return r == 0 && (v->cluster_size == 0 || posio_le64(a->at + 0x30) <= all * v->cluster_size);
}

/* Entries are sorted by type, name, and first cluster; names by a table that is not known here. */
static int mft_scan_i_is_list_sorted(const unsigned char *a, const unsigned char *b)
{
    const uint32_t x = posio_le32(a), y = posio_le32(b);
    if (x != y) return x < y;
    if (a[6] != b[6] || memcmp(a + a[7], b + b[7], 2u * a[6]) != 0) return 1;
    return posio_le64(a + 8) <= posio_le64(b + 8);
}

/* The extensions that a resident list names, each once in a row of entries; before them a row for
   the record itself. */
static void mft_scan_i_take_list(mft_scan_i_parse *p, const mft_scan_i_attribute *a)
{
    mft_scan_i_columns *c = p->c;
    const unsigned char *v = a->value, *before = NULL;
    uint32_t left = a->value_size, k = c->count[MFT_SCAN_I_LISTED], sum = 0;
    uint64_t last = 0;
    p->flags |= MFT_SCAN_HAS_LIST;
    p->lists++;
    if (!a->resident) {
        p->flags |= MFT_SCAN_LIST_NONRESIDENT;
        if (!mft_scan_i_is_list_in_volume(p, a)) mft_scan_i_blame(p, MFT_SCAN_BAD_LIST);
        return;
    }
    p->sums = 1;
    p->list = k;
    c->listed[k] = p->number;
    c->listed_slot[k++] = (uint16_t)p->slot;
    while (left != 0) {
        uint32_t n = left >= 26 ? posio_le16(v + 4) : 0;
        uint64_t reference;
        if (n < 26 || n > left || !posio_within(v[7], 2u * v[6], n)) {
            mft_scan_i_blame(p, MFT_SCAN_BAD_LIST);
            break;
        }
        if (before != NULL && !mft_scan_i_is_list_sorted(before, v))
            mft_scan_i_blame(p, MFT_SCAN_BAD_LIST);
        before = v;
        reference = posio_le64(v + 16);
        if (posio_le32(v) > MFT_SCAN_I_ATTRIBUTE_LIST)
            sum += mft_scan_i_sum(reference, posio_le32(v), posio_le16(v + 24), v[6],
                                  posio_le64(v + 8));
        else if (posio_le32(v) == MFT_SCAN_I_ATTRIBUTE_LIST) /* no list names itself */
            mft_scan_i_blame(p, MFT_SCAN_BAD_LIST);
        if (MFT_SCAN_NUMBER(reference) != p->number && reference != last) {
            c->listed_sum[k] = 0;
            c->listed[k] = last = reference;
            c->listed_slot[k++] = (uint16_t)p->slot;
        }
        v += n;
        left -= n;
    }
    c->listed_sum[p->list] = sum;
    c->count[MFT_SCAN_I_LISTED] = k;
}

/* What of a list is not about the record itself; what of an extension its base's list names. */
static void mft_scan_i_keep_sum(mft_scan_i_parse *p)
{
    mft_scan_i_columns *c = p->c;
    if (p->list != UINT32_MAX) c->listed_sum[p->list] -= p->sum;
    if (p->flags & MFT_SCAN_EXTENSION)
        c->extension_sum[c->count[MFT_SCAN_I_EXTENSIONS] - 1] = p->sum;
}

static void mft_scan_i_take_object_id(mft_scan_i_parse *p, const mft_scan_i_attribute *a)
{
    mft_scan_i_columns *c = p->c;
    const uint32_t k = c->count[MFT_SCAN_I_OBJECTS];
    if (!a->resident || a->value_size < 16 || p->flags & MFT_SCAN_HAS_OBJECT_ID) return;
    p->flags |= MFT_SCAN_HAS_OBJECT_ID;
    if (!p->full) return;
    c->count[MFT_SCAN_I_OBJECTS] = k + 1;
    c->object_low[k] = posio_le64(a->value);
    c->object_high[k] = posio_le64(a->value + 8);
    c->object_slot[k] = (uint16_t)p->slot;
}

/* Where a link leads, as WTF-8 in the text; its length. Junctions and symbolic links hold two
   names, one to be shown and one to be followed; links of the Subsystem for Linux hold UTF-8. */
static uint32_t mft_scan_i_take_target(mft_scan_i_parse *p, uint32_t tag, const unsigned char *v,
                                       uint32_t n)
{
    const uint32_t junction = 0xa0000003u, symlink = 0xa000000cu, wsl = 0xa000001du;
    mft_scan_i_columns *c = p->c;
    char *out = c->text + c->count[MFT_SCAN_I_BYTES];
    uint32_t names = tag == symlink ? 20 : 16, field, at, size;
    if (tag == wsl && n > 12) {
        memcpy(out, v + 12, n - 12);
        return n - 12;
    }
    if ((tag != junction && tag != symlink) || n < names) return 0;
    field =
        posio_le16(v + 10) != 0 ? 8 : 12; /* the one that is followed; the other may say anything */
    at = posio_le16(v + field);
    size = posio_le16(v + field + 2);
    if (!posio_within(at, size, n - names)) {
        mft_scan_i_blame(p, MFT_SCAN_BAD_REPARSE);
        return 0;
    }
    return mft_scan_i_text(out, v + names + at, size / 2);
}

static void mft_scan_i_keep_reparse(mft_scan_i_parse *p, uint32_t tag, const unsigned char *v,
                                    uint32_t n)
{
    mft_scan_i_columns *c = p->c;
    const uint32_t k = c->count[MFT_SCAN_I_REPARSES], at = c->count[MFT_SCAN_I_BYTES];
    uint32_t length = v != NULL ? mft_scan_i_take_target(p, tag, v, n) : 0;
    if (!p->full) return; /* was only looked at */
    c->count[MFT_SCAN_I_REPARSES] = k + 1;
    c->count[MFT_SCAN_I_BYTES] = at + length;
    c->reparse_tag[k] = tag;
    c->reparse_text[k] = at;
    c->reparse_length[k] = length;
    c->reparse_slot[k] = (uint16_t)p->slot;
}

/* Source of the layout: [MS-FSCC], section 2.1.2. */
static void mft_scan_i_take_reparse(mft_scan_i_parse *p, const mft_scan_i_attribute *a)
{
    if (p->flags & MFT_SCAN_HAS_REPARSE) return;
    p->flags |= MFT_SCAN_HAS_REPARSE;
    if (!a->resident) {
        p->needs_tag = 1; /* its name may tell */
    } else if (a->value_size < 8 || posio_le16(a->value + 4) > a->value_size - 8) {
        mft_scan_i_blame(p, MFT_SCAN_BAD_REPARSE);
        p->needs_tag = 1;
    } else {
        mft_scan_i_keep_reparse(p, posio_le32(a->value), a->value, 8u + posio_le16(a->value + 4));
    }
}

static void mft_scan_i_take(mft_scan_i_parse *p, const mft_scan_i_attribute *a)
{
    switch (a->type) {
    case MFT_SCAN_I_STANDARD_INFORMATION: mft_scan_i_take_information(p, a); break;
    case MFT_SCAN_I_ATTRIBUTE_LIST: mft_scan_i_take_list(p, a); break;
    case MFT_SCAN_I_FILE_NAME: mft_scan_i_take_name(p, a); break;
    case MFT_SCAN_I_OBJECT_ID: mft_scan_i_take_object_id(p, a); break;
    case MFT_SCAN_DATA:
    case MFT_SCAN_INDEX_ROOT:
    case MFT_SCAN_INDEX_ALLOCATION: mft_scan_i_take_stream(p, a); break;
    case MFT_SCAN_I_REPARSE_POINT: mft_scan_i_take_reparse(p, a); break;
    case MFT_SCAN_I_EA_INFORMATION:
    case MFT_SCAN_I_EA: p->flags |= MFT_SCAN_HAS_EA; break;
    default: break;
    }
}

/* All attributes, as far as their bounds can be trusted. */
static void mft_scan_i_walk(mft_scan_i_parse *p)
{
    uint32_t offset = posio_le16(p->rec + MFT_SCAN_I_AT_ATTRIBUTES), last = 0;
    mft_scan_i_attribute a;
    for (;;) {
        uint32_t damage = MFT_SCAN_SOUND;
        int r = mft_scan_i_get_attribute(p->rec, offset, p->used, &a, &damage);
        if (damage != MFT_SCAN_SOUND) mft_scan_i_blame(p, damage);
        if (r <= 0) return;
        if (a.type % 16 != 0 || a.type == 0 || a.type > MFT_SCAN_I_LAST_TYPE)
            mft_scan_i_blame(p, MFT_SCAN_BAD_ATTRIBUTE_TYPE);
        else if (a.type < last) mft_scan_i_blame(p, MFT_SCAN_BAD_ATTRIBUTE_ORDER);
        last = a.type;
        if (p->sums && a.type > MFT_SCAN_I_ATTRIBUTE_LIST)
            p->sum +=
                mft_scan_i_sum(p->reference, a.type, posio_le16(a.at + 14), a.at[9], a.lowest);
        if (damage != MFT_SCAN_BAD_VALUE && damage != MFT_SCAN_BAD_ATTRIBUTE_NAME)
            mft_scan_i_take(p, &a);
        offset += a.size;
    }
}

static void mft_scan_i_take_header(mft_scan_i_parse *p)
{
    const unsigned char *rec = p->rec;
    const uint32_t flags = posio_le16(rec + MFT_SCAN_I_AT_FLAGS);
    if (flags & MFT_SCAN_I_RECORD_IN_USE) p->flags |= MFT_SCAN_HEADER_IN_USE;
    if (flags & MFT_SCAN_I_RECORD_DIRECTORY) p->flags |= MFT_SCAN_DIRECTORY;
    if (flags & MFT_SCAN_I_RECORD_EXTEND) p->flags |= MFT_SCAN_IN_EXTEND;
    if (flags & MFT_SCAN_I_RECORD_VIEW) p->flags |= MFT_SCAN_VIEW_INDEX;
    if (posio_le64(rec + MFT_SCAN_I_AT_BASE) != 0) {
        const uint32_t k = p->c->count[MFT_SCAN_I_EXTENSIONS]++;
        p->c->base[k] = posio_le64(rec + MFT_SCAN_I_AT_BASE);
        p->c->extension_slot[k] = (uint16_t)p->slot;
        p->flags |= MFT_SCAN_EXTENSION;
        p->sums = 1;
        p->tally->extension++;
    }
    if (posio_le16(rec + 4) >= MFT_SCAN_I_HEADER_LONG &&
        posio_le32(rec + MFT_SCAN_I_AT_NUMBER) != (uint32_t)p->number)
        p->flags |= MFT_SCAN_WRONG_NUMBER;
}

/* What is not a row of its own becomes one of the record's. */
static void mft_scan_i_keep_information(mft_scan_i_parse *p)
{
    mft_scan_i_columns *c = p->c;
    const uint32_t row = c->count[MFT_SCAN_I_INFOS];
    if (!p->full && !(p->flags & (MFT_SCAN_HAS_TIMES | MFT_SCAN_HAS_SIZE))) return;
    c->count[MFT_SCAN_I_INFOS] = row + 1;
    c->modified[row] = p->modified;
    c->attributes[row] = p->attributes;
    c->size[row] = p->size; /* (a full index does not keep it: its rows of streams have it) */
    if (!p->full) return;
    c->created[row] = p->created;
    c->changed[row] = p->changed;
    c->accessed[row] = p->accessed;
    c->log_sequence[row] = posio_le64(p->rec + MFT_SCAN_I_AT_LOG);
    c->usn[row] = p->usn;
    c->security_id[row] = p->security_id;
}

/* A record with a signature. Everything in it is read that can be; what is wrong is flagged. */
static void mft_scan_i_parse_record(mft_scan_i_parse *p, unsigned char *rec)
{
    const uint32_t size = p->scan->record_size;
    const int fixups = mft_scan_i_has_fixups(rec, size);
    p->rec = rec;
    p->flags = p->damage = p->links = p->lists = p->sum = 0;
    p->list = UINT32_MAX;
    p->sums = 0;
    p->reference = p->number | (uint64_t)posio_le16(rec + MFT_SCAN_I_AT_SEQUENCE) << 48;
    p->attributes = p->security_id = p->name_tag = 0;
    p->size = p->created = p->modified = p->changed = p->accessed = p->usn = 0;
    p->needs_tag = 0;
    if (fixups) {
        p->flags |= mft_scan_i_fix(rec, size, (int)p->scan->info.is_pre_fixed);
    } else {
        p->flags |= MFT_SCAN_UNPROTECTED;
        if (posio_le16(rec + 6) > 1) mft_scan_i_blame(p, MFT_SCAN_BAD_FIXUP_ARRAY);
    }
    mft_scan_i_take_header(p);
    p->used = posio_le32(rec + MFT_SCAN_I_AT_USED);
    if (posio_le32(rec + MFT_SCAN_I_AT_ALLOCATED) != size)
        mft_scan_i_blame(p, MFT_SCAN_BAD_USED_SIZE);
    if (p->used > size) {
        p->used = size;
        mft_scan_i_blame(p, MFT_SCAN_BAD_USED_SIZE);
    }
    if (posio_le16(rec + MFT_SCAN_I_AT_ATTRIBUTES) < MFT_SCAN_I_HEADER ||
        posio_le16(rec + MFT_SCAN_I_AT_ATTRIBUTES) >= p->used)
        mft_scan_i_blame(p, MFT_SCAN_BAD_USED_SIZE);
    else mft_scan_i_walk(p);
    if (p->needs_tag) mft_scan_i_keep_reparse(p, p->name_tag, NULL, 0);
    if (p->sums) mft_scan_i_keep_sum(p);
    mft_scan_i_keep_information(p);
    if (p->damage != MFT_SCAN_SOUND) p->flags |= MFT_SCAN_DAMAGED;
}

static void mft_scan_i_count(mft_scan_i_parse *p, uint32_t state)
{
    mft_scan_stats *t = p->tally;
    const uint32_t flags = p->flags;
    switch (state) {
    case MFT_SCAN_NEVER_WRITTEN: t->never_written++; return;
    case MFT_SCAN_BAD_SIGNATURE: t->bad_signature++; return;
    case MFT_SCAN_UNREAD: t->unread++; return;
    case MFT_SCAN_BAAD: t->baad++; break;
    case MFT_SCAN_FREE: t->free_records++; break;
    default: t->in_use++; break;
    }
    if (flags & MFT_SCAN_TORN) t->torn++;
    else if (flags & MFT_SCAN_TORN_SLACK) t->torn_slack++;
    if (flags & MFT_SCAN_DAMAGED) t->damaged++;
    if (flags & MFT_SCAN_UNPROTECTED) t->unprotected++;
    if (p->lists != 0) t->lists++;
    if (state != MFT_SCAN_IN_USE || flags & MFT_SCAN_EXTENSION) return;
    if (flags & MFT_SCAN_DIRECTORY) t->directories++;
    if (p->links > 1) t->hard_linked_records++;
}

/* One slot into the columns; its word. `unread`: 0, or the flags of a slot that has no bytes. */
static uint32_t mft_scan_i_parse_slot(mft_scan_i_parse *p, unsigned char *rec, uint32_t unread)
{
    mft_scan_i_columns *c = p->c;
    uint32_t signature = posio_le32(rec), state = MFT_SCAN_BAD_SIGNATURE, word;
    c->info_at[p->slot] = (uint16_t)c->count[MFT_SCAN_I_INFOS];
    c->name_at[p->slot] = (uint16_t)c->count[MFT_SCAN_I_NAMES];
    c->stream_at[p->slot] = (uint16_t)c->count[MFT_SCAN_I_STREAMS];
    c->sequence[p->slot] = 0;
    p->flags = p->damage = p->links = 0;
    if (unread != 0) {
        state = MFT_SCAN_UNREAD;
        p->flags = unread & MFT_SCAN_SKIPPED;
    } else if (signature == mft_scan_i_file || signature == mft_scan_i_baad) {
        mft_scan_i_parse_record(p, rec);
        c->sequence[p->slot] = (uint16_t)posio_le16(rec + MFT_SCAN_I_AT_SEQUENCE);
        state = signature == mft_scan_i_baad        ? (uint32_t)MFT_SCAN_BAAD
                : p->flags & MFT_SCAN_HEADER_IN_USE ? (uint32_t)MFT_SCAN_IN_USE
                                                    : (uint32_t)MFT_SCAN_FREE;
    } else if (signature == 0 && mft_scan_i_is_zero(rec, p->scan->record_size)) {
        state = MFT_SCAN_NEVER_WRITTEN;
    }
    mft_scan_i_count(p, state);
    word = MFT_SCAN_I_WORD(state, p->flags, p->damage);
    c->flags[p->slot] = word;
    return word;
}

static void mft_scan_i_begin_columns(mft_scan_i_columns *c)
{
    memset(c->count, 0, sizeof c->count);
}

/* Closes the edges behind the last slot. */
static void mft_scan_i_end_columns(mft_scan_i_columns *c, uint32_t slots)
{
    c->count[MFT_SCAN_I_SLOTS] = slots;
    c->count[MFT_SCAN_I_EDGES] = slots + 1;
    c->info_at[slots] = (uint16_t)c->count[MFT_SCAN_I_INFOS];
    c->name_at[slots] = (uint16_t)c->count[MFT_SCAN_I_NAMES];
    c->stream_at[slots] = (uint16_t)c->count[MFT_SCAN_I_STREAMS];
}

static void mft_scan_i_init_parse(mft_scan_i_parse *p, const mft_scan *scan, mft_scan_i_scratch *x)
{
    memset(p, 0, sizeof *p);
    p->scan = scan;
    p->c = &x->columns;
    p->tally = &x->reader.tally;
    p->full = scan->info.columns == MFT_SCAN_FULL;
}

/* The records of a segment, fixed up in place, become its columns in the scratch. `uniform` is set
   where all slots are alike and hold nothing.
   Of a scan of cached data two thirds are the system's copy and its clearing of new memory. Not
   better: segments of 64 to 256 KiB (3 % worse), asking for the next records' lines of memory ahead
   (no difference), -O3 (none). Mapping the file would save the copy, but a file that is cut, or
   cannot be read, while it is mapped kills the process. */
static void mft_scan_i_parse_segment(const mft_scan *s, mft_scan_i_scratch *x, uint64_t segment,
                                     unsigned char *bytes, const uint8_t *unread, uint32_t slots,
                                     int *uniform)
{
    mft_scan_i_parse p;
    uint32_t i, word = 0, first = 0, differ = 0;
    mft_scan_i_init_parse(&p, s, x);
    mft_scan_i_begin_columns(p.c);
    for (i = 0; i < slots; i++) {
        p.slot = i;
        p.number = (segment << s->slot_bits) + i;
        word = mft_scan_i_parse_slot(&p, bytes + (size_t)i * s->record_size,
                                     unread[i] == 0   ? 0u
                                     : unread[i] == 2 ? (uint32_t)MFT_SCAN_SKIPPED | 1u << 31
                                                      : 1u << 31);
        if (i == 0) first = word;
        differ |= word ^ first;
    }
    mft_scan_i_end_columns(p.c, slots);
    x->reader.tally.slots += slots;
    *uniform = differ == 0 && (MFT_SCAN_I_STATE(first) == MFT_SCAN_NEVER_WRITTEN ||
                               MFT_SCAN_I_STATE(first) >= MFT_SCAN_BAD_SIGNATURE);
}

// ---------------------------------------------------------------------------------- run lists

/* Appends a run of the $MFT; 0 = no memory, or too many. */
static int mft_scan_i_add_run(mft_scan *s, uint64_t length, uint64_t offset)
{
    mft_scan_i_runs *r = &s->runs;
    mft_scan_i_run *last = r->count != 0 ? &r->run[r->count - 1] : NULL;
    if (length == 0) return 1;
    if (last != NULL && (offset == POSIO_NO_OFFSET ? last->offset == POSIO_NO_OFFSET
                                                   : last->offset != POSIO_NO_OFFSET &&
                                                         last->offset + last->length == offset)) {
        last->length += length;
    } else {
        void *array = r->run;
        if (r->count == MFT_SCAN_I_RUNS_MAX ||
            !posio_grow(&s->desc.alloc, &array, r->count, &r->room, sizeof *r->run))
            return 0;
        r->run = (mft_scan_i_run *)array;
        r->run[r->count].at = r->end;
        r->run[r->count].length = length;
        r->run[r->count].offset = offset;
        r->count++;
    }
    r->end += length;
    return 1;
}

/* One step through a run list. 1: a run of *clusters at cluster *lcn, or a hole (*lcn UINT64_MAX);
   0: the end; -1: it is cut or means nothing. *at is the last cluster, to which the next is given
   relatively. Source: libfsntfs, "Data runs". */
static int mft_scan_i_next_run(const unsigned char **list, uint32_t *left, uint64_t *at,
                               uint64_t *clusters, uint64_t *lcn)
{
    const unsigned char *p = *list;
    uint32_t length, offset, i;
    uint64_t delta = 0;
    if (*left == 0) return -1;
    if (*p == 0) return 0;
    length = *p & 15u;
    offset = *p >> 4;
    if (length == 0 || length > 8 || offset > 8 || *left < 1 + length + offset) return -1;
    *clusters = 0;
    for (i = length; i != 0; i--) *clusters = *clusters << 8 | p[i];
    if (*clusters == 0 || *clusters >> 63) return -1;
    if (offset != 0) {
        delta = p[length + offset] & 0x80 ? UINT64_MAX : 0; /* it is signed */
        for (i = offset; i != 0; i--) delta = delta << 8 | p[length + i];
        *at += delta;
        *lcn = *at;
    } else {
        *lcn = UINT64_MAX;
    }
    *list = p + 1 + length + offset;
    *left -= 1 + length + offset;
    return 1;
}

/* Appends the runs of an extent of the $MFT's $DATA. What leads outside the volume is a hole: its
   slots are unread. */
static posio_result mft_scan_i_map_extent(mft_scan *s, const mft_scan_i_attribute *a,
                                          uint64_t where, posio_error *err)
{
    const uint64_t cluster = s->volume.cluster_size, limit = s->volume.size;
    const unsigned char *list = a->value;
    uint32_t left = a->value_size;
    uint64_t at = 0, clusters = 0, lcn = 0, bytes;
    int r;
    while ((r = mft_scan_i_next_run(&list, &left, &at, &clusters, &lcn)) > 0) {
        uint64_t offset = POSIO_NO_OFFSET;
        if (!posio_mul(clusters, cluster, &bytes) || bytes > limit || s->runs.end > limit - bytes) {
            r = -1; /* no file is larger than its volume */
            break;
        }
        if (lcn != UINT64_MAX && lcn < limit / cluster && bytes <= limit - lcn * cluster)
            offset = s->volume.offset + lcn * cluster;
        else if (lcn != UINT64_MAX)
            mft_scan_i_warn(s, where,
                            "a run of the $MFT, %llu clusters at %llu, leads outside of "
                            "the volume: its records are unread",
                            (unsigned long long)clusters, (unsigned long long)lcn);
        if (!mft_scan_i_add_run(s, bytes, offset)) return mft_scan_i_no_memory(err);
    }
    if (r < 0)
        mft_scan_i_warn(s, where, "the run list of the $MFT breaks off after %llu bytes of it",
                        (unsigned long long)s->runs.end);
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- reading

static void mft_scan_i_mark(const mft_scan *s, uint8_t *unread, uint64_t from, uint64_t to,
                            uint8_t how)
{
    uint64_t i;
    for (i = from / s->record_size; i * s->record_size < to; i++) unread[i] = how;
}

/* Remembers the failure that lies first in the source, whoever meets it first. */
static void mft_scan_i_note(const mft_scan *s, uint64_t offset, const posio_error *err)
{
    mft_scan_i_failure *f = s->failure;
    thread_pool_lock(&f->lock);
    if (err->code == POSIO_E_NOMEM || err->code == POSIO_E_CANCELED) f->fatal = *err;
    if (offset < f->offset) {
        f->offset = offset;
        f->error = *err;
    }
    thread_pool_unlock(&f->lock);
}

/* After an error: the same bytes again, and where that fails, record by record, so that only what
   is really lost is unread. Pieces end where records do, so it does not matter how large the read
   was. */
static void mft_scan_i_salvage(const mft_scan *s, uint64_t offset, unsigned char *buf,
                               uint64_t from, uint64_t n, uint8_t *unread, mft_scan_stats *tally)
{
    const uint64_t whole = 64 << 10;
    uint64_t i = 0, singly = 0; /* bytes still to be read record by record */
    posio_error err;
    tally->scan_pipeline_fallbacks++;
    while (i < n) {
        const uint64_t record = s->record_size - (from + i) % s->record_size;
        const uint64_t take = posio_min(singly != 0 ? record : whole, n - i);
        if (posio_read(&s->source, offset + i, buf + i, (size_t)take, &err) != POSIO_OK) {
            if (singly == 0) {
                singly = whole;
                continue;
            }
            mft_scan_i_note(s, offset + i, &err);
            tally->io_errors++;
            memset(buf + i, 0, (size_t)take);
            mft_scan_i_mark(s, unread, from + i, from + i + take, 1);
        }
        singly -= posio_min(singly, take);
        i += take;
    }
}

/* How many bytes from `offset` on, which lies in the source, are alike: zeros that need not be read,
   or data. */
static uint64_t mft_scan_i_alike(const mft_scan *s, mft_scan_i_reader *x, uint64_t offset,
                                 int *zeros)
{
    posio_extent e;
    *zeros = 0;
    if (!posio_known_find(&x->known, &s->source, offset, &e)) {
        if (posio_extent_of(&s->source, offset, &e, NULL) != POSIO_OK || e.length == 0)
            return s->source.size - offset; /* it does not know */
        posio_known_keep(&x->known, &s->source, offset, &e);
    }
    *zeros = e.kind == POSIO_EXTENT_ZERO || e.kind == POSIO_EXTENT_HOLE;
    return e.length;
}

/* Reads n bytes at `offset` of the source into buf, which begins `from` bytes behind the start of
   what `unread` describes. What a sparse source has no blocks for is not read. */
static void mft_scan_i_read_run(const mft_scan *s, uint64_t offset, unsigned char *buf,
                                uint64_t from, uint64_t n, uint8_t *unread, mft_scan_i_reader *x)
{
    uint64_t there = offset < s->source.size ? posio_min(n, s->source.size - offset) : 0;
    if (there < n) { /* the source is cut */
        memset(buf + there, 0, (size_t)(n - there));
        mft_scan_i_mark(s, unread, from + there, from + n, 1);
    }
    while (there != 0) {
        int zeros = 0;
        uint64_t take = posio_min(there, mft_scan_i_alike(s, x, offset, &zeros));
        if (zeros) {
            memset(buf, 0, (size_t)take);
        } else {
            if (take < 64 << 10) take = posio_min(there, 64 << 10); /* not in crumbs */
            x->tally.bytes_read += take;
            if (posio_read(&s->source, offset, buf, (size_t)take, NULL) != POSIO_OK)
                mft_scan_i_salvage(s, offset, buf, from, take, unread, &x->tally);
        }
        offset += take;
        buf += take;
        from += take;
        there -= take;
    }
}

/* The run that holds byte `at` of the $MFT, or the first behind it. */
static uint64_t mft_scan_i_find_run(const mft_scan *s, uint64_t at)
{
    uint64_t low = 0, high = s->runs.count;
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (s->runs.run[mid].at + s->runs.run[mid].length <= at) low = mid + 1;
        else high = mid;
    }
    return low;
}

/* Bytes of the $MFT, wherever its runs lie; `from` as above. Holes, and what is behind the last
   run, are unread. */
static void mft_scan_i_read_mft(const mft_scan *s, uint64_t at, unsigned char *buf, uint64_t from,
                                uint64_t n, uint8_t *unread, mft_scan_i_reader *x)
{
    uint64_t i = mft_scan_i_find_run(s, at);
    while (n != 0) {
        const mft_scan_i_run *run = i < s->runs.count ? &s->runs.run[i] : NULL;
        uint64_t take = n;
        if (run != NULL) take = posio_min(n, run->at + run->length - at);
        if (run != NULL && run->offset != POSIO_NO_OFFSET) {
            mft_scan_i_read_run(s, run->offset + (at - run->at), buf, from, take, unread, x);
        } else {
            memset(buf, 0, (size_t)take);
            mft_scan_i_mark(s, unread, from, from + take, 1);
        }
        at += take;
        buf += take;
        from += take;
        n -= take;
        i++;
    }
}

// ---------------------------------------------------------------------------------- skipping

static int mft_scan_i_is_free(const mft_scan *s, uint64_t slot)
{
    return slot < s->bitmap_slots && !(s->bitmap[slot / 8] >> (slot % 8) & 1);
}

/* Free slots from slot i on, up to `to`. */
static uint64_t mft_scan_i_free_run(const mft_scan *s, uint64_t i, uint64_t to)
{
    uint64_t begin = i;
    while (i < to && mft_scan_i_is_free(s, i)) i++;
    return i - begin;
}

/* The next part of [*from, to) that is to be read, in slots; its end. Free runs are stepped over
   when they are long enough; that is decided for each segment alone, before reads of neighbouring
   segments are joined, so that joining cannot swallow a gap. */
static uint64_t mft_scan_i_wanted(const mft_scan *s, uint64_t *from, uint64_t to)
{
    const uint64_t shortest = MFT_SCAN_I_SKIP_MIN / s->record_size;
    uint64_t i = *from, gap = mft_scan_i_free_run(s, i, to);
    if (gap >= shortest) i += gap;
    *from = i;
    while (i < to) {
        gap = mft_scan_i_free_run(s, i, to);
        if (gap >= shortest) return i;
        i += gap != 0 ? gap : 1;
    }
    return to;
}

/* Loads `count` segments, from number `first` on, into buf; unread has a byte for each slot. */
static void mft_scan_i_load(const mft_scan *s, uint64_t first, uint64_t count, unsigned char *buf,
                            uint8_t *unread, mft_scan_i_reader *x)
{
    const uint64_t begin = first << s->slot_bits, rs = s->record_size;
    const uint64_t slots = posio_min(count << s->slot_bits, s->info.slots - begin);
    uint64_t i, from = 0, end = 0;
    memset(unread, 0, (size_t)slots);
    if (s->bitmap == NULL) {
        mft_scan_i_read_mft(s, begin * rs, buf, 0, slots * rs, unread, x);
        return;
    }
    memset(unread, 2, (size_t)slots);
    for (i = 0; i < slots;) { /* [from, end) is wanted, and not yet read */
        uint64_t border = posio_min(slots, ((i >> s->slot_bits) + 1) << s->slot_bits);
        uint64_t at = begin + i, stop = mft_scan_i_wanted(s, &at, begin + border);
        at -= begin;
        stop -= begin;
        if (at < stop && at == end) {
            end = stop;
        } else if (at < stop) {
            if (from < end)
                mft_scan_i_read_mft(s, (begin + from) * rs, buf + from * rs, from * rs,
                                    (end - from) * rs, unread, x);
            from = at;
            end = stop;
        }
        if (at < stop) memset(unread + at, 0, (size_t)(stop - at));
        i = at < stop ? stop : border;
    }
    if (from < end)
        mft_scan_i_read_mft(s, (begin + from) * rs, buf + from * rs, from * rs, (end - from) * rs,
                            unread, x);
    for (i = 0; i < slots; i++)
        if (unread[i] == 2) x->tally.bytes_skipped += rs;
}

/* Segments of which nothing has to be read: a hole of the $MFT, or of a sparse source. Their word.
   */
static int mft_scan_i_is_blank(const mft_scan *s, uint64_t first, uint64_t count,
                               mft_scan_i_reader *x, uint32_t *word)
{
    const uint64_t at = (first << s->slot_bits) * s->record_size;
    const uint64_t n = posio_min(count * s->segment_bytes, s->info.slots * s->record_size - at);
    const uint64_t i = mft_scan_i_find_run(s, at);
    const mft_scan_i_run *run = i < s->runs.count ? &s->runs.run[i] : NULL;
    uint64_t offset;
    int zeros = 0;
    *word = MFT_SCAN_I_WORD(MFT_SCAN_UNREAD, 0, 0);
    if (run == NULL) return 1;
    if (n > run->at + run->length - at) return 0;
    if (run->offset == POSIO_NO_OFFSET) return 1;
    offset = run->offset + (at - run->at);
    if (offset >= s->source.size) return 1;
    *word = MFT_SCAN_I_WORD(MFT_SCAN_NEVER_WRITTEN, 0, 0);
    return posio_within(offset, n, s->source.size) && mft_scan_i_alike(s, x, offset, &zeros) >= n &&
           zeros;
}

// ---------------------------------------------------------------------------------- the scan

typedef struct mft_scan_i_chunk {
    unsigned char *buffer;
    uint8_t *unread;
    int blank; /* nothing was read: all its slots have this word */
    uint32_t word;
} mft_scan_i_chunk;

/* The pipeline of the modes (thread_pool.h):

       parallel             produce names 16 segments; a part reads one into its scratch, parses it
       pipelined-parallel   produce reads a chunk; a part parses a segment in it, in place

   Nothing needs to be merged: segments are columns of their own, and each has its place. */
typedef struct mft_scan_i_job {
    mft_scan *scan;
    uint64_t next, per_slot; /* segments */
    mft_scan_i_chunk ring[MFT_SCAN_I_RING];
    mft_scan_i_reader reader; /* of produce */
} mft_scan_i_job;

static uint64_t mft_scan_i_segments_of(const mft_scan_i_job *job, const thread_pool_slot *slot)
{
    return posio_min(job->per_slot, job->scan->segment_count - slot->number * job->per_slot);
}

static posio_result mft_scan_i_produce(void *user, thread_pool_slot *slot, posio_error *err)
{
    mft_scan_i_job *job = (mft_scan_i_job *)user;
    mft_scan_i_chunk *chunk = &job->ring[slot->index];
    const uint64_t first = slot->number * job->per_slot;
    (void)err;
    if (first >= job->scan->segment_count) return THREAD_POOL_END;
    slot->parts = (uint32_t)mft_scan_i_segments_of(job, slot);
    if (chunk->buffer == NULL) return POSIO_OK;
    chunk->blank = mft_scan_i_is_blank(job->scan, first, slot->parts, &job->reader, &chunk->word);
    if (!chunk->blank)
        mft_scan_i_load(job->scan, first, slot->parts, chunk->buffer, chunk->unread, &job->reader);
    return POSIO_OK;
}

/* A segment whose bytes are in `bytes` goes into the index. */
static posio_result mft_scan_i_index(mft_scan *s, mft_scan_i_scratch *x, uint64_t segment,
                                     unsigned char *bytes, const uint8_t *unread, uint32_t slots,
                                     posio_error *err)
{
    int uniform = 0;
    mft_scan_i_parse_segment(s, x, segment, bytes, unread, slots, &uniform);
    if (!uniform) return mft_scan_i_keep(s, segment, &x->columns, &x->reader.tally, err);
    mft_scan_i_keep_uniform(s, segment, x->columns.flags[0]);
    return POSIO_OK;
}

static posio_result mft_scan_i_work(void *user, const thread_pool_slot *slot, uint32_t part,
                                    posio_error *err)
{
    mft_scan_i_job *job = (mft_scan_i_job *)user;
    mft_scan *s = job->scan;
    const mft_scan_i_chunk *chunk = &job->ring[slot->index];
    const uint64_t segment = slot->number * job->per_slot + part;
    const uint32_t slots =
        (uint32_t)posio_min((uint64_t)1 << s->slot_bits, s->info.slots - (segment << s->slot_bits));
    mft_scan_i_scratch *x = mft_scan_i_take_scratch(s);
    uint32_t word = chunk->word;
    posio_result r = POSIO_OK;
    if (x == NULL) return mft_scan_i_no_memory(err);
    if (chunk->buffer != NULL ? chunk->blank
                              : mft_scan_i_is_blank(s, segment, 1, &x->reader, &word)) {
        x->reader.tally.slots += slots;
        if (MFT_SCAN_I_STATE(word) == MFT_SCAN_UNREAD) x->reader.tally.unread += slots;
        else x->reader.tally.never_written += slots;
        mft_scan_i_keep_uniform(s, segment, word);
    } else if (chunk->buffer != NULL) {
        r = mft_scan_i_index(s, x, segment, chunk->buffer + (size_t)part * s->segment_bytes,
                             chunk->unread + ((size_t)part << s->slot_bits), slots, err);
    } else {
        mft_scan_i_load(s, segment, 1, x->buffer, x->unread, &x->reader);
        r = mft_scan_i_index(s, x, segment, x->buffer, x->unread, slots, err);
    }
    mft_scan_i_give_scratch(s, x);
    return r;
}

static int mft_scan_i_progress(void *user, uint64_t done)
{
    mft_scan_i_job *job = (mft_scan_i_job *)user;
    const mft_scan *s = job->scan;
    uint64_t bytes = posio_min(done * job->per_slot * s->segment_bytes, s->info.mft_size);
    return s->desc.progress(s->desc.user, bytes, s->info.mft_size);
}

static posio_result mft_scan_i_make_ring(mft_scan_i_job *job, posio_error *err)
{
    mft_scan *s = job->scan;
    size_t segments = s->desc.chunk_bytes;
    uint32_t i;
    if (segments == 0) segments = MFT_SCAN_I_CHUNK;
    segments = (segments + s->segment_bytes - 1) / s->segment_bytes;
    job->per_slot = segments;
    for (i = 0; i < MFT_SCAN_I_RING; i++) {
        job->ring[i].buffer = (unsigned char *)posio_allocate(
            &s->desc.alloc,
            segments * s->segment_bytes + MFT_SCAN_I_STRIDE + (segments << s->slot_bits));
        if (job->ring[i].buffer == NULL) return mft_scan_i_no_memory(err);
        job->ring[i].unread = job->ring[i].buffer + segments * s->segment_bytes + MFT_SCAN_I_STRIDE;
    }
    return POSIO_OK;
}

static posio_result mft_scan_i_run_pipeline(mft_scan *s, posio_error *err)
{
    mft_scan_i_job job;
    thread_pool_job pipeline;
    mft_scan_i_scratch *x;
    posio_result r = POSIO_OK;
    uint32_t i;
    memset(&job, 0, sizeof job);
    memset(&pipeline, 0, sizeof pipeline);
    job.scan = s;
    job.per_slot = MFT_SCAN_I_PARTS;
    pipeline.user = &job;
    pipeline.slots = MFT_SCAN_I_RING;
    pipeline.threads = s->desc.threads;
    pipeline.produce = mft_scan_i_produce;
    pipeline.work = mft_scan_i_work;
    pipeline.progress = s->desc.progress != NULL ? mft_scan_i_progress : NULL;
    pipeline.alloc = s->desc.alloc;
    if (s->info.mode == MFT_SCAN_PIPELINED_PARALLEL) {
        pipeline.flags = THREAD_POOL_PRODUCE_WAITS;
        r = mft_scan_i_make_ring(&job, err);
    }
    if (r == POSIO_OK)
        r = thread_pool_run(s->info.mode == MFT_SCAN_SERIAL ? NULL : s->desc.pool, &pipeline, err);
    for (i = 0; i < MFT_SCAN_I_RING; i++) posio_release(&s->desc.alloc, job.ring[i].buffer);
    mft_scan_i_add_stats(&s->stats, &job.reader.tally);
    for (x = s->scratches; x != NULL; x = x->all) mft_scan_i_add_stats(&s->stats, &x->reader.tally);
    mft_scan_i_free_scratches(s);
    return r;
}

// ---------------------------------------------------------------------------------- the mode

/* How many nanoseconds reading 256 KiB takes, the middle one of three places. What is cached comes
   at memory speed; a device, or an image that must be decompressed, is worth reading ahead. */
static uint64_t mft_scan_i_probe_speed(const mft_scan *s, unsigned char *buf)
{
    const uint64_t n = 256 << 10;
    uint64_t t[3], begin;
    uint32_t i;
    memset(buf, 0, (size_t)n); /* its page faults are not to be measured */
    for (i = 0; i < 3; i++) {
        const mft_scan_i_run *run = &s->runs.run[s->runs.count * i / 3];
        uint64_t take = posio_min(run->length, n), at = run->offset;
        if (s->runs.count == 1) at += (run->length - take) / 3 * i;
        t[i] = 0;
        if (run->offset == POSIO_NO_OFFSET || !posio_within(at, take, s->source.size)) continue;
        begin = mft_scan_i_now();
        (void)posio_read(&s->source, at, buf, (size_t)take, NULL);
        t[i] = (mft_scan_i_now() - begin) * n / take;
    }
    if ((t[0] <= t[1]) == (t[1] <= t[2])) return t[1];
    return (t[1] <= t[0]) == (t[0] <= t[2]) ? t[0] : t[2];
}

static posio_result mft_scan_i_choose_mode(mft_scan *s, posio_error *err)
{
    const uint64_t slow = 100000; /* for 256 KiB: 2.6 GB/s */
    uint32_t threads = thread_pool_threads(s->desc.pool);
    if (s->desc.threads != 0) threads = (uint32_t)posio_min(threads, s->desc.threads);
    s->info.mode = s->desc.mode;
    if (s->desc.mode == MFT_SCAN_AUTO) {
        s->info.mode = MFT_SCAN_PARALLEL;
        if (threads == 1) s->info.mode = MFT_SCAN_SERIAL;
        else if (s->source.flags & POSIO_SOURCE_DEVICE) s->info.mode = MFT_SCAN_PIPELINED_PARALLEL;
        else if (s->info.mft_size >= 4 * (uint64_t)MFT_SCAN_I_CHUNK && s->runs.count != 0 &&
                 s->segment_bytes >= 256 << 10) {
            mft_scan_i_scratch *x = mft_scan_i_take_scratch(s);
            if (x == NULL) return mft_scan_i_no_memory(err);
            if (mft_scan_i_probe_speed(s, x->buffer) > slow)
                s->info.mode = MFT_SCAN_PIPELINED_PARALLEL;
            mft_scan_i_give_scratch(s, x);
        }
    }
    s->info.threads = s->info.mode == MFT_SCAN_SERIAL ? 1 : threads;
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- boot sector

enum { MFT_SCAN_I_BOOT = 512 }; /* bytes of a boot sector that mean something */

static int mft_scan_i_is_power(uint64_t v) { return v != 0 && (v & (v - 1)) == 0; }

/* Takes a boot sector in; NULL, or what is wrong with it. Above 0x80, sectors per cluster are a
   power of two: clusters of 64 KiB and more. Source: libfsntfs, "The volume header". */
static const char *mft_scan_i_parse_boot(const unsigned char *b, mft_scan_i_volume *v)
{
    const uint32_t sectors = b[13], sector = posio_le16(b + 11);
    const uint32_t exponent = 256 - b[0x40];
    uint64_t clusters, mft = posio_le64(b + 0x30), mirror = posio_le64(b + 0x38);
    if (memcmp(b + 3, "NTFS    ", 8) != 0) return "no NTFS boot sector";
    if (!mft_scan_i_is_power(sector) || sector < 256 || sector > 4096)
        return "the boot sector gives an impossible sector size";
    if (sectors > 0x80 ? sectors < 256 - 12 : !mft_scan_i_is_power(sectors))
        return "the boot sector gives an impossible cluster size";
    v->sector_size = sector;
    v->cluster_size = sectors > 0x80 ? sector << (256 - sectors) : sector * sectors;
    if (v->cluster_size > MFT_SCAN_I_CLUSTER_MAX)
        return "the boot sector gives clusters of more than 2 MiB";
    if (b[0x40] == 0) return "the boot sector gives a record size of 0";
    if (b[0x40] < 0x80) v->record_size = b[0x40] * v->cluster_size;
    else v->record_size = exponent < 32 ? (uint32_t)1 << exponent : 0;
    if (!mft_scan_i_is_power(v->record_size) || v->record_size < MFT_SCAN_I_STRIDE ||
        v->record_size > MFT_SCAN_I_RECORD_MAX)
        return "the boot sector gives an impossible record size";
    if (!posio_mul(posio_le64(b + 0x28), sector, &v->size) || v->size < v->cluster_size)
        return "the boot sector gives an impossible volume size";
    clusters = v->size / v->cluster_size;
    if (mft >= clusters && mirror >= clusters) return "the $MFT lies outside of the volume";
    v->mft = mft < clusters ? mft * v->cluster_size : POSIO_NO_OFFSET;
    v->mirror = mirror < clusters ? mirror * v->cluster_size : POSIO_NO_OFFSET;
    v->serial_number = posio_le64(b + 0x48);
    return NULL;
}

/* Does a record lie there? Partitions that were formatted anew still have NTFS's last sector. */
static int mft_scan_i_is_record(const posio_source *source, uint64_t volume, uint64_t at)
{
    unsigned char sign[4];
    if (at == POSIO_NO_OFFSET || at > source->size || volume > source->size - at) return 0;
    if (posio_read(source, volume + at, sign, sizeof sign, NULL) != POSIO_OK) return 0;
    return posio_le32(sign) == mft_scan_i_file || posio_le32(sign) == mft_scan_i_baad;
}

/* The boot sector of a volume of `size` bytes at `offset`, or (`backup`: only) the copy in its last
   sector. */
static posio_result mft_scan_i_find_boot(const posio_source *source, uint64_t offset, uint64_t size,
                                         int backup, mft_scan_i_volume *v, uint32_t *from_backup,
                                         posio_error *err)
{
    static const uint32_t sectors[] = {512, 4096, 1024, 2048};
    unsigned char boot[MFT_SCAN_I_BOOT];
    const char *fault = "the volume is too small", *other;
    posio_result r = POSIO_OK;
    posio_error local;
    size_t i;
    if (err == NULL) err = &local;
    memset(v, 0, sizeof *v);
    *from_backup = 0;
    if (size >= sizeof boot && !backup) {
        r = posio_read(source, offset, boot, sizeof boot, err);
        fault = r == POSIO_OK ? mft_scan_i_parse_boot(boot, v) : err->message;
    }
    for (i = 0; fault != NULL && i < sizeof sectors / sizeof sectors[0]; i++) {
        if (size < 2 * (uint64_t)sectors[i]) continue;
        if (posio_read(source, offset + size - sectors[i], boot, sizeof boot, NULL) != POSIO_OK)
            continue;
        other = mft_scan_i_parse_boot(boot, v);
        if (other == NULL && v->sector_size == sectors[i] &&
            (mft_scan_i_is_record(source, offset, v->mft) ||
             mft_scan_i_is_record(source, offset, v->mirror))) {
            *from_backup = 1;
            fault = NULL;
        }
    }
    if (fault != NULL)
        return r != POSIO_OK ? r : posio_fail(err, POSIO_E_FORMAT, offset, "%s", fault);
    v->offset = offset; /* its size is what it says: an image that is cut lacks the rest */
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- partitions

/* Calls each for every partition; non-zero stops. Numbers are those that Linux gives. */
typedef struct mft_scan_i_partitions {
    const posio_source *source;
    uint32_t sector; /* bytes */
    uint32_t number, scheme;
    void (*each)(struct mft_scan_i_partitions *p, uint64_t offset, uint64_t size);
    mft_scan_volume *out;
    uint32_t room, count;
} mft_scan_i_partitions;

/* An NTFS volume goes into the list. Its sectors may be counted in another size than the table's.
   */
static void mft_scan_i_add_volume(mft_scan_i_partitions *p, uint64_t offset, uint64_t size)
{
    mft_scan_i_volume v;
    mft_scan_volume *o;
    uint32_t backup = 0;
    posio_error unused;
    if (offset >= p->source->size) return;
    size = posio_min(size, p->source->size - offset);
    if (mft_scan_i_find_boot(p->source, offset, size, 0, &v, &backup, &unused) != POSIO_OK) return;
    if (p->count < p->room) {
        o = &p->out[p->count];
        memset(o, 0, sizeof *o);
        o->offset = offset;
        o->size = size;
        o->number = p->number;
        o->sector_size = v.sector_size;
        o->cluster_size = v.cluster_size;
        o->record_size = v.record_size;
        o->serial_number = v.serial_number;
        o->from_backup_boot = backup;
        o->scheme = p->scheme;
    }
    p->count++;
}

enum {
    MFT_SCAN_I_TABLE = 0x1be, /* of four partitions, 16 bytes each */
    MFT_SCAN_I_LOGICAL_MAX = 256,
    MFT_SCAN_I_GPT_MAX = 1024
};

static int mft_scan_i_is_extended(unsigned type) { return type == 5 || type == 15 || type == 0x85; }

/* Is this a sector with a partition table, and not the boot sector of some file system? */
static int mft_scan_i_is_table(const unsigned char *b)
{
    uint32_t i, used = 0;
    if (b[510] != 0x55 || b[511] != 0xaa) return 0;
    for (i = 0; i < 4; i++) {
        const unsigned char *e = b + MFT_SCAN_I_TABLE + 16 * i;
        if (e[0] & 0x7f) return 0;
        if (e[4] != 0 && posio_le32(e + 12) != 0) used++;
    }
    return used != 0;
}

/* A chain of tables, one for each logical partition: itself relative to this table, the next
   relative to the whole extended partition. Strictly bounded: chains in circles are known. */
static void mft_scan_i_walk_extended(mft_scan_i_partitions *p, uint64_t extended)
{
    unsigned char b[MFT_SCAN_I_BOOT];
    uint64_t at = extended, seen[MFT_SCAN_I_LOGICAL_MAX];
    uint32_t i, steps;
    for (steps = 0; steps < MFT_SCAN_I_LOGICAL_MAX; steps++) {
        uint64_t next = 0;
        seen[steps] = at;
        if (posio_read(p->source, at * p->sector, b, sizeof b, NULL) != POSIO_OK) return;
        if (b[510] != 0x55 || b[511] != 0xaa) return;
        for (i = 0; i < 4; i++) {
            const unsigned char *e = b + MFT_SCAN_I_TABLE + 16 * i;
            uint64_t first = posio_le32(e + 8), n = posio_le32(e + 12);
            if (e[4] == 0 || n == 0) continue;
            if (mft_scan_i_is_extended(e[4])) {
                if (next == 0) next = extended + first;
            } else {
                p->number++;
                p->each(p, (at + first) * p->sector, n * p->sector);
            }
        }
        if (next == 0) return;
        for (i = 0; i <= steps; i++)
            if (seen[i] == next) return;
        at = next;
    }
}

static void mft_scan_i_walk_mbr(mft_scan_i_partitions *p, const unsigned char *b)
{
    uint32_t i;
    p->scheme = 1;
    for (i = 0; i < 4; i++) {
        const unsigned char *e = b + MFT_SCAN_I_TABLE + 16 * i;
        p->number = i + 1;
        if (e[4] != 0 && !mft_scan_i_is_extended(e[4]))
            p->each(p, (uint64_t)posio_le32(e + 8) * p->sector,
                    (uint64_t)posio_le32(e + 12) * p->sector);
    }
    p->number = 4;
    for (i = 0; i < 4; i++) {
        const unsigned char *e = b + MFT_SCAN_I_TABLE + 16 * i;
        if (mft_scan_i_is_extended(e[4])) mft_scan_i_walk_extended(p, posio_le32(e + 8));
    }
}

/* CRC-32 (IEEE 802.3), continued from `crc`; for a few KiB. */
static uint32_t mft_scan_i_crc32(uint32_t crc, const unsigned char *p, size_t n)
{
    uint32_t i;
    for (crc = ~crc; n != 0; n--)
        for (crc ^= *p++, i = 0; i < 8; i++) crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1)));
    return ~crc;
}

/* Do header and entries have their checksums? */
static int mft_scan_i_is_gpt_sound(const mft_scan_i_partitions *p, const unsigned char *header,
                                   uint64_t at, uint64_t count, uint64_t size)
{
    unsigned char h[92], e[128];
    uint32_t crc = 0;
    uint64_t n = count * size, i;
    memcpy(h, header, sizeof h);
    memset(h + 16, 0, 4);
    if (posio_le32(header + 12) != sizeof h || count > MFT_SCAN_I_GPT_MAX ||
        mft_scan_i_crc32(0, h, sizeof h) != posio_le32(header + 16))
        return 0;
    for (i = 0; i < n; i += sizeof e) { /* size is a multiple of 128 */
        if (posio_read(p->source, at + i, e, sizeof e, NULL) != POSIO_OK) return 0;
        crc = mft_scan_i_crc32(crc, e, sizeof e);
    }
    return crc == posio_le32(header + 88);
}

/* The table whose header lies at `header`; 0: there is none that can be used, or `sound` is wanted
   and it is not. Source: UEFI specification, section 5.3. */
static int mft_scan_i_walk_gpt(mft_scan_i_partitions *p, uint64_t header, int sound)
{
    unsigned char h[92], e[128];
    uint64_t at, i, count, size, first, last;
    if (posio_read(p->source, header, h, sizeof h, NULL) != POSIO_OK) return 0;
    if (memcmp(h, "EFI PART", 8) != 0) return 0;
    count = posio_le32(h + 80);
    size = posio_le32(h + 84);
    if (size < 128 || size > 4096 || size % 128 != 0 ||
        !posio_mul(posio_le64(h + 72), p->sector, &at) || at > p->source->size)
        return 0;
    if (sound && !mft_scan_i_is_gpt_sound(p, h, at, count, size)) return 0;
    p->count = 0;
    p->scheme = 2;
    for (i = 0; i < count && i < MFT_SCAN_I_GPT_MAX; i++) {
        if (posio_read(p->source, at + i * size, e, sizeof e, NULL) != POSIO_OK) break;
        first = posio_le64(e + 32);
        last = posio_le64(e + 40);
        if (mft_scan_i_is_zero(e, 16) || last < first || first >= p->source->size / p->sector)
            continue;
        last =
            posio_min(last, p->source->size / p->sector); /* an image that is cut lacks the rest */
        p->number = (uint32_t)i + 1;
        p->each(p, first * p->sector, (last - first + 1) * p->sector);
    }
    return p->count != 0;
}

/* The volumes of a disk with sectors of this size: by the GPT, its copy in the last sector, or the
   MBR. A GPT without its checksums is better than none. */
static void mft_scan_i_walk_tables(mft_scan_i_partitions *p, const unsigned char *b)
{
    const uint64_t sectors = p->source->size / p->sector;
    int sound;
    for (sound = 1; sound >= 0 && sectors >= 3; sound--)
        if (mft_scan_i_walk_gpt(p, p->sector, sound) ||
            mft_scan_i_walk_gpt(p, (sectors - 1) * p->sector, sound))
            return;
    p->count = 0;
    if (mft_scan_i_is_table(b)) mft_scan_i_walk_mbr(p, b);
}

MFT_SCAN_API posio_result mft_scan_volumes(const posio_source *source, mft_scan_volume *out,
                                           uint32_t room, uint32_t *count, posio_error *err)
{
    static const uint32_t sectors[] = {512, 4096};
    unsigned char b[MFT_SCAN_I_BOOT];
    mft_scan_i_partitions p;
    posio_result r;
    size_t i;
    if (source == NULL || count == NULL || (out == NULL && room != 0))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "mft_scan_volumes: NULL argument");
    memset(&p, 0, sizeof p);
    p.source = source;
    p.out = out;
    p.room = room;
    p.each = mft_scan_i_add_volume;
    *count = 0;
    if (source->size < sizeof b) return POSIO_OK;
    r = posio_read(source, 0, b, sizeof b, err);
    if (r != POSIO_OK) memset(b, 0, sizeof b); /* there are copies */
    if (memcmp(b + 3, "NTFS    ", 8) == 0) mft_scan_i_add_volume(&p, 0, source->size);
    for (i = 0; p.count == 0 && i < 2; i++) {
        p.sector = sectors[i];
        p.number = p.scheme = 0;
        mft_scan_i_walk_tables(&p, b);
    }
    if (p.count == 0) { /* a volume whose first sector is lost */
        p.number = p.scheme = 0;
        mft_scan_i_add_volume(&p, 0, source->size);
    }
    *count = p.count;
    return p.count != 0 ? POSIO_OK : r;
}

// ---------------------------------------------------------------------------------- record 0

/* Reads a record of the $MFT through the runs known so far. 0: it is not there. Who reads many has
   one reader for all: on some file systems asking for an extent costs a walk over all pages. */
static int mft_scan_i_read_record(const mft_scan *s, uint64_t number, unsigned char *rec,
                                  mft_scan_i_reader *x)
{
    const uint32_t n = s->record_size;
    uint8_t unread[2] = {0, 0};
    if (number >= s->runs.end / n) return 0;
    mft_scan_i_read_mft(s, number * n, rec, 0, n, unread, x);
    return !unread[0];
}

/* `strict`: its fixups must be right, too. */
static int mft_scan_i_is_sound(const mft_scan *s, unsigned char *rec, int strict)
{
    if (posio_le32(rec) != mft_scan_i_file && (strict || posio_le32(rec) != mft_scan_i_baad))
        return 0;
    if (posio_le32(rec + MFT_SCAN_I_AT_USED) > s->record_size) return 0;
    if (!mft_scan_i_has_fixups(rec, s->record_size)) return !strict;
    return !(mft_scan_i_fix(rec, s->record_size, 1) & MFT_SCAN_TORN) || !strict;
}

/* The unnamed attribute of this type that begins with this cluster; 0: it is not there. */
static int mft_scan_i_find_attribute(const unsigned char *rec, uint32_t type, uint64_t lowest,
                                     mft_scan_i_attribute *a)
{
    uint32_t offset = posio_le16(rec + MFT_SCAN_I_AT_ATTRIBUTES), damage;
    while (mft_scan_i_get_attribute(rec, offset, posio_le32(rec + MFT_SCAN_I_AT_USED), a, &damage) >
           0) {
        if (a->type == type && a->name_units == 0 && a->lowest == lowest) return 1;
        offset += a->size;
    }
    return 0;
}

/* The size that the $MFT has by a record's $DATA; 0: it has no run that can be. *whole: all of its
   runs can be, and are as many clusters as it says. (The record itself need not map all of the
   $MFT: extensions may go on.) */
static uint64_t mft_scan_i_size_of_mft(const mft_scan *s, const mft_scan_i_attribute *data,
                                       int *whole)
{
    const uint64_t limit = s->volume.size / s->volume.cluster_size;
    const unsigned char *list = data->value;
    uint32_t left = data->value_size;
    uint64_t at = 0, clusters = 0, lcn = 0, sum = 0;
    int r = 0;
    if (data->resident || data->size < MFT_SCAN_I_ATTRIBUTE_OUTSIDE) return 0;
    while ((r = mft_scan_i_next_run(&list, &left, &at, &clusters, &lcn)) > 0 &&
           clusters <= limit - sum && (lcn == UINT64_MAX || posio_within(lcn, clusters, limit)))
        sum += clusters;
    *whole = r == 0 && sum == data->highest + 1;
    return sum != 0 ? posio_le64(data->at + 0x30) : 0;
}

/* Reads what should be record 0, or its copy; the size that it gives the $MFT, 0 where it cannot be
   used. */
static uint64_t mft_scan_i_try_record_0(const mft_scan *s, uint64_t place, int strict,
                                        unsigned char *rec, mft_scan_i_attribute *data, int *whole)
{
    *whole = 0;
    if (place == POSIO_NO_OFFSET ||
        posio_read(&s->source, s->volume.offset + place, rec, s->record_size, NULL) != POSIO_OK ||
        !mft_scan_i_is_sound(s, rec, strict) || posio_le64(rec + MFT_SCAN_I_AT_BASE) != 0 ||
        !mft_scan_i_find_attribute(rec, MFT_SCAN_DATA, 0, data))
        return 0;
    return mft_scan_i_size_of_mft(s, data, whole);
}

/* Record 0; its copy in $MFTMirr only where that is better: where record 0 cannot be used, or its
   runs break off, or it says less (an $MFT never shrinks). What is torn or not protected is better
   than nothing. `other` has room for a record; *where: its offset. */
static posio_result mft_scan_i_find_record_0(mft_scan *s, unsigned char *rec, unsigned char *other,
                                             mft_scan_i_attribute *data, uint64_t *where,
                                             posio_error *err)
{
    const mft_scan_i_volume *v = &s->volume;
    mft_scan_i_attribute copy;
    int strict, whole, copy_whole;
    for (strict = 1; strict >= 0; strict--) {
        const uint64_t size = mft_scan_i_try_record_0(s, v->mft, strict, rec, data, &whole);
        const uint64_t copied =
            mft_scan_i_try_record_0(s, v->mirror, strict, other, &copy, &copy_whole);
        const int turn = copied != 0 && (size == 0 || (copy_whole && (!whole || copied > size)));
        if (size == 0 && copied == 0) continue;
        *where = v->offset + (turn ? v->mirror : v->mft);
        if (!strict)
            mft_scan_i_warn(s, *where, "record 0 is torn or not protected; it is used as it is");
        if (!turn) return POSIO_OK;
        s->info.from_mirror = 1;
        mft_scan_i_warn(s, v->mft != POSIO_NO_OFFSET ? v->offset + v->mft : POSIO_NO_OFFSET,
                        size == 0 ? "record 0 is unusable; its copy in $MFTMirr is used"
                                  : "record 0 says less than its copy in $MFTMirr: that is used");
        memcpy(rec, other, s->record_size);
        (void)mft_scan_i_find_attribute(rec, MFT_SCAN_DATA, 0, data);
        return POSIO_OK;
    }
    return posio_fail(err, POSIO_E_DATA, v->offset + (v->mft != POSIO_NO_OFFSET ? v->mft : 0),
                      "neither record 0 of the $MFT nor its copy in $MFTMirr can be used");
}

/* The bytes of a value that may lie outside; at most `most`. The caller releases *out. */
static posio_result mft_scan_i_read_value(mft_scan *s, const mft_scan_i_attribute *a, uint64_t most,
                                          unsigned char **out, uint64_t *size, posio_error *err)
{
    const uint64_t cluster = s->volume.cluster_size;
    const unsigned char *list = a->value;
    uint32_t left = a->value_size;
    uint64_t at = 0, clusters = 0, lcn = 0, done = 0;
    *size = a->resident                               ? a->value_size
            : a->size >= MFT_SCAN_I_ATTRIBUTE_OUTSIDE ? posio_min(most, posio_le64(a->at + 0x30))
                                                      : 0;
    *size = posio_min(*size, s->source.size);
    *out = (unsigned char *)posio_allocate_zeroed(&s->desc.alloc, (size_t)*size);
    if (*out == NULL) return mft_scan_i_no_memory(err);
    if (a->resident) memcpy(*out, a->value, (size_t)*size);
    while (!a->resident && done < *size &&
           mft_scan_i_next_run(&list, &left, &at, &clusters, &lcn) > 0) {
        uint64_t take =
            posio_min(*size - done, clusters > *size / cluster ? *size - done : clusters * cluster);
        if (lcn >= s->volume.size / cluster || /* a hole: neither a list nor a bitmap has any */
            posio_read(&s->source, s->volume.offset + lcn * cluster, *out + done, (size_t)take,
                       NULL) != POSIO_OK)
            break;
        done += take;
    }
    if (!a->resident) *size = done;
    return POSIO_OK;
}

/* The extension record that goes on with an attribute of $MFT; 0: it cannot be used. Only runs
   that are known already are used to read it. */
static int mft_scan_i_get_extension(const mft_scan *s, uint64_t reference, uint32_t type,
                                    uint64_t lowest, unsigned char *rec, mft_scan_i_attribute *a)
{
    mft_scan_i_reader x;
    memset(&x, 0, sizeof x);
    return mft_scan_i_read_record(s, MFT_SCAN_NUMBER(reference), rec, &x) &&
           mft_scan_i_is_sound(s, rec, 1) &&
           MFT_SCAN_NUMBER(posio_le64(rec + MFT_SCAN_I_AT_BASE)) == 0 &&
           posio_le64(rec + MFT_SCAN_I_AT_BASE) != 0 &&
           mft_scan_i_find_attribute(rec, type, lowest, a) && !a->resident &&
           a->size >= MFT_SCAN_I_ATTRIBUTE_OUTSIDE;
}

/* The reference in a list's entry for the unnamed attribute of this type and first cluster, from
   *at on, which moves on to it: entries are sorted. 0: there is none. */
static uint64_t mft_scan_i_look_up_list(const unsigned char *list, uint64_t size, uint64_t *at,
                                        uint32_t type, uint64_t lowest)
{
    while (posio_within(*at, 26, size)) {
        const unsigned char *e = list + *at;
        uint32_t n = posio_le16(e + 4);
        if (n < 26) break;
        if (posio_le32(e) == type && e[6] == 0 && posio_le64(e + 8) == lowest)
            return posio_le64(e + 16);
        *at += n;
    }
    return 0;
}

/* Extents of the $MFT behind the first, in order. */
static posio_result mft_scan_i_map_rest(mft_scan *s, const unsigned char *list, uint64_t size,
                                        unsigned char *rec, posio_error *err)
{
    mft_scan_i_attribute a;
    uint64_t at = 0;
    while (s->runs.end < s->info.mft_size) {
        const uint64_t known = s->runs.end, lowest = known / s->volume.cluster_size;
        const uint64_t reference = mft_scan_i_look_up_list(list, size, &at, MFT_SCAN_DATA, lowest);
        posio_result r = POSIO_OK;
        if (reference != 0 &&
            mft_scan_i_get_extension(s, reference, MFT_SCAN_DATA, lowest, rec, &a))
            r = mft_scan_i_map_extent(s, &a, POSIO_NO_OFFSET, err);
        if (r != POSIO_OK) return r;
        if (s->runs.end == known) {
            mft_scan_i_warn(s, POSIO_NO_OFFSET,
                            "where the $MFT goes on after %llu bytes cannot be found: records from "
                            "%llu on are unread",
                            (unsigned long long)known,
                            (unsigned long long)(known / s->record_size));
            return POSIO_OK;
        }
    }
    return POSIO_OK;
}

/* $MFT's $BITMAP, of which parts may lie in extensions. Without it nothing is skipped. */
static posio_result mft_scan_i_load_bitmap(mft_scan *s, const unsigned char *rec,
                                           const unsigned char *list, uint64_t list_size,
                                           unsigned char *other, posio_error *err)
{
    mft_scan_i_attribute a;
    const uint64_t want = (s->info.slots + 7) / 8;
    uint64_t size = 0, reference, at = 0;
    int found = mft_scan_i_find_attribute(rec, MFT_SCAN_I_BITMAP, 0, &a);
    posio_result r = POSIO_OK;
    if (!found) {
        reference = mft_scan_i_look_up_list(list, list_size, &at, MFT_SCAN_I_BITMAP, 0);
        found = reference != 0 &&
                mft_scan_i_get_extension(s, reference, MFT_SCAN_I_BITMAP, 0, other, &a);
    }
    if (found) r = mft_scan_i_read_value(s, &a, want, &s->bitmap, &size, err);
    if (r != POSIO_OK) return r;
    s->bitmap_slots = posio_min(size * 8, s->info.slots);
    if (s->bitmap_slots == 0)
        mft_scan_i_warn(s, POSIO_NO_OFFSET,
                        "the $MFT's $BITMAP cannot be read: nothing is skipped");
    return POSIO_OK;
}

/* Segments hold a power of two of slots, so that a number tells its segment by a shift. */
static void mft_scan_i_set_geometry(mft_scan *s)
{
    uint32_t want = s->desc.segment_bytes;
    if (want == 0) want = MFT_SCAN_I_SEGMENT;
    s->record_size = s->volume.record_size;
    s->segment_bytes = 2 * s->record_size; /* a base and an extension */
    if (s->segment_bytes < MFT_SCAN_I_SEGMENT_MIN) s->segment_bytes = MFT_SCAN_I_SEGMENT_MIN;
    while (s->segment_bytes * 2 <= want && s->segment_bytes < MFT_SCAN_I_SEGMENT)
        s->segment_bytes *= 2;
    s->slot_bits = 0;
    while (((uint64_t)s->record_size << s->slot_bits) < s->segment_bytes) s->slot_bits++;
    s->info.record_size = s->record_size;
    s->info.cluster_size = s->volume.cluster_size;
    s->info.sector_size = s->volume.sector_size;
    s->info.volume_offset = s->volume.offset;
    s->info.volume_size = s->volume.size;
    s->info.serial_number = s->volume.serial_number;
}

/* Turns to the copy of a boot sector that leads nowhere, where it says something else. */
static int mft_scan_i_use_other_boot(mft_scan *s)
{
    mft_scan_i_volume v;
    uint32_t backup = 0;
    if (s->info.from_backup_boot ||
        mft_scan_i_find_boot(&s->source, s->volume.offset, s->volume_room, 1, &v, &backup, NULL) !=
            POSIO_OK ||
        v.record_size != s->record_size)
        return 0;
    s->volume = v;
    s->info.from_backup_boot = 1;
    mft_scan_i_set_geometry(s);
    mft_scan_i_warn(s, v.offset,
                    "the boot sector leads nowhere; its copy in the last sector is used");
    return 1;
}

/* Finds all runs of a volume's $MFT: from record 0, and, where it is fragmented, from extension
   records that lie in the $MFT themselves. */
static posio_result mft_scan_i_map_volume(mft_scan *s, posio_error *err)
{
    const uint32_t n = s->record_size;
    unsigned char *rec = (unsigned char *)posio_allocate(&s->desc.alloc, 2 * (size_t)n);
    unsigned char *list = NULL;
    mft_scan_i_attribute data, a;
    uint64_t list_size = 0, where = 0, limit;
    posio_result r;
    if (rec == NULL) return mft_scan_i_no_memory(err);
    r = mft_scan_i_find_record_0(s, rec, rec + n, &data, &where, err);
    if (r != POSIO_OK && mft_scan_i_use_other_boot(s))
        r = mft_scan_i_find_record_0(s, rec, rec + n, &data, &where, err);
    if (r == POSIO_OK) {
        s->info.mft_size = posio_le64(data.at + 0x30);
        limit = posio_min(posio_min(s->volume.size, MFT_SCAN_I_MFT_MAX), (uint64_t)UINT32_MAX * n);
        if (s->info.mft_size > limit) {
            mft_scan_i_warn(s, where, "the $MFT claims %llu bytes: more than it can have",
                            (unsigned long long)s->info.mft_size);
            s->info.mft_size = limit;
        }
        r = mft_scan_i_map_extent(s, &data, where, err);
    }
    if (r == POSIO_OK && mft_scan_i_find_attribute(rec, MFT_SCAN_I_ATTRIBUTE_LIST, 0, &a))
        r = mft_scan_i_read_value(s, &a, MFT_SCAN_I_LIST_MAX, &list, &list_size, err);
    if (r == POSIO_OK) r = mft_scan_i_map_rest(s, list, list_size, rec + n, err);
    if (r == POSIO_OK) s->info.slots = (s->info.mft_size + n - 1) / n;
    if (r == POSIO_OK && s->desc.flags & MFT_SCAN_SKIP_FREE)
        r = mft_scan_i_load_bitmap(s, rec, list, list_size, rec + n, err);
    posio_release(&s->desc.alloc, list);
    posio_release(&s->desc.alloc, rec);
    return r;
}

// ---------------------------------------------------------------------------------- raw $MFT

/* How large the records of a raw $MFT are: what most of its first records say, since any one of
   them may be lost, damaged or lie. 0: there are none. *placed: more of them than not lie where
   their own number says, as they do not in a volume. */
static uint32_t mft_scan_i_vote(const unsigned char *p, size_t n, int *placed)
{
    uint32_t votes[8] = {0, 0, 0, 0, 0, 0, 0, 0}, best = 0, i; /* for 512 << i */
    uint32_t right = 0, wrong = 0;
    size_t at;
    for (at = 0; at + MFT_SCAN_I_STRIDE <= n; at += MFT_SCAN_I_STRIDE) {
        uint32_t sign = posio_le32(p + at), size = posio_le32(p + at + MFT_SCAN_I_AT_ALLOCATED);
        if (sign != mft_scan_i_file && sign != mft_scan_i_baad) continue;
        for (i = 0; i < 8; i++)
            if (size == 512u << i && at % size == 0)
                votes[i] += posio_le16(p + at + 6) == size / MFT_SCAN_I_STRIDE + 1 ? 2u : 1u;
        if (posio_le16(p + at + 4) < MFT_SCAN_I_HEADER_LONG || size < MFT_SCAN_I_STRIDE) continue;
        if (at / size == posio_le32(p + at + MFT_SCAN_I_AT_NUMBER)) right++;
        else wrong++;
    }
    for (i = 1; i < 8; i++)
        if (votes[i] > votes[best]) best = i;
    *placed = right > wrong;
    return votes[best] != 0 ? 512u << best : 0;
}

/* The first bytes of the source, for votes; *n of them. */
static posio_result mft_scan_i_read_head(const mft_scan *s, unsigned char **out, size_t *n,
                                         posio_error *err)
{
    posio_result r;
    size_t at;
    *n = (size_t)posio_min(s->source.size, MFT_SCAN_I_VOTES);
    *out = (unsigned char *)posio_allocate(&s->desc.alloc, *n);
    if (*out == NULL) return mft_scan_i_no_memory(err);
    r = posio_read(&s->source, 0, *out, *n, err);
    if (r == POSIO_E_NOMEM) return r;
    for (at = 0; r != POSIO_OK && at < *n; at += 4096) { /* a damaged medium: what can be read */
        const size_t take = (size_t)posio_min(4096, *n - at);
        if (posio_read(&s->source, at, *out + at, take, NULL) != POSIO_OK)
            memset(*out + at, 0, take);
    }
    return POSIO_OK;
}

static posio_result mft_scan_i_map_raw(mft_scan *s, posio_error *err)
{
    uint64_t size = s->source.size;
    s->info.slots = (size + s->record_size - 1) / s->record_size;
    if (s->info.slots > UINT32_MAX || size > MFT_SCAN_I_MFT_MAX)
        return posio_fail(err, POSIO_E_LIMIT, POSIO_NO_OFFSET,
                          "%llu records in %llu bytes: more than NTFS can have",
                          (unsigned long long)s->info.slots, (unsigned long long)size);
    s->info.mft_size = size;
    if (size % s->record_size != 0)
        mft_scan_i_warn(s, size - size % s->record_size, "the last record is cut off");
    /* A record of which only a part is there counts as unread. */
    if (!mft_scan_i_add_run(s, size - size % s->record_size, 0)) return mft_scan_i_no_memory(err);
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- the input

/* What a source without an $MFT is instead, as far as its first sector tells. */
static const char *mft_scan_i_guess(const unsigned char *b, size_t n)
{
    if (n == 0) return "it is empty";
    if (n < MFT_SCAN_I_BOOT) return "it is too short";
    if (memcmp(b + 3, "EXFAT   ", 8) == 0) return "it begins like an exFAT volume";
    if (memcmp(b + 3, "ReFS", 4) == 0) return "it begins like a ReFS volume";
    if (memcmp(b + 3, "-FVE-FS-", 8) == 0) return "it begins like a BitLocker volume";
    if (memcmp(b + 0x52, "FAT32   ", 8) == 0 || memcmp(b + 0x36, "FAT", 3) == 0)
        return "it begins like a FAT volume";
    return "there is no NTFS boot sector, no partition with one, and no FILE record";
}

/* The volume to scan: the only one, or desc.partition. */
static posio_result mft_scan_i_choose_volume(mft_scan *s, const unsigned char *head, size_t n,
                                             posio_error *err)
{
    mft_scan_volume v[128];
    uint32_t count = 0, i, chosen = 0;
    posio_result r = mft_scan_volumes(&s->source, v, 128, &count, err);
    if (r != POSIO_OK) return r;
    if (count == 0 && n >= MFT_SCAN_I_BOOT && memcmp(head + 3, "NTFS    ", 8) == 0)
        return mft_scan_i_find_boot(&s->source, 0, s->source.size, 0, &s->volume,
                                    &s->info.from_backup_boot, err); /* which says why not */
    if (count == 0)
        return posio_fail(err, POSIO_E_FORMAT, 0, "no NTFS volume and no $MFT: %s",
                          mft_scan_i_guess(head, n));
    if (count > 128) count = 128;
    while (chosen < count && s->desc.partition != 0 && v[chosen].number != s->desc.partition)
        chosen++;
    if (chosen == count && v[0].scheme == 0)
        return posio_fail(err, POSIO_E_NOT_FOUND, POSIO_NO_OFFSET,
                          "there is no partition %u: this is a volume, not a disk",
                          s->desc.partition);
    if (chosen == count)
        return posio_fail(err, POSIO_E_NOT_FOUND, POSIO_NO_OFFSET,
                          "partition %u is no NTFS volume; partition %u is", s->desc.partition,
                          v[0].number);
    if (s->desc.partition == 0 && count > 1) {
        char list[160];
        size_t at = 0;
        for (i = 0; i < count && at + 16 < sizeof list; i++) {
            posio_format(list + at, sizeof list - at, i != 0 ? ", %u" : "%u", v[i].number);
            at += strlen(list + at);
        }
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET,
                          "%u NTFS volumes: choose one by the number of its partition (%s)", count,
                          list);
    }
    s->info.input = v[chosen].scheme != 0 ? MFT_SCAN_INPUT_DISK : MFT_SCAN_INPUT_VOLUME;
    s->info.partition = v[chosen].number;
    s->volume_room = v[chosen].size;
    r = mft_scan_i_find_boot(&s->source, v[chosen].offset, v[chosen].size, 0, &s->volume,
                             &s->info.from_backup_boot, err);
    if (r == POSIO_OK && s->info.from_backup_boot)
        mft_scan_i_warn(s, v[chosen].offset,
                        "the boot sector is unusable; its copy in the last sector is used");
    return r;
}

/* Is it a raw $MFT? It begins with a record; or with what was one, and others follow in their
   places. (A volume has records somewhere, too.) */
static posio_result mft_scan_i_identify(mft_scan *s, const unsigned char *head, size_t n,
                                        posio_error *err)
{
    const int record =
        n >= 4 && (posio_le32(head) == mft_scan_i_file || posio_le32(head) == mft_scan_i_baad);
    const int ntfs = n >= MFT_SCAN_I_BOOT && memcmp(head + 3, "NTFS    ", 8) == 0;
    int placed = 0;
    uint32_t voted = mft_scan_i_vote(head, n, &placed), input = s->desc.input;
    if (input == MFT_SCAN_INPUT_AUTO) {
        input = MFT_SCAN_INPUT_VOLUME;
        if (record || (placed && !ntfs)) input = MFT_SCAN_INPUT_MFT;
    }
    if (input != MFT_SCAN_INPUT_MFT) return mft_scan_i_choose_volume(s, head, n, err);
    s->info.input = MFT_SCAN_INPUT_MFT;
    s->volume.record_size = s->desc.record_size != 0 ? s->desc.record_size : voted;
    if (s->volume.record_size == 0)
        return posio_fail(err, POSIO_E_FORMAT, 0, "no $MFT: %s", mft_scan_i_guess(head, n));
    return POSIO_OK;
}

/* Was the dump fixed up by whoever made it? Then the strides of most records end with the values
   that the array holds, and not with the update sequence number. */
static posio_result mft_scan_i_detect_fixed(mft_scan *s, posio_error *err)
{
    const uint32_t n = s->record_size;
    uint64_t i, slots = posio_min(s->info.slots, 256);
    uint32_t fixed = 0, raw = 0;
    mft_scan_i_reader x;
    unsigned char *rec;
    memset(&x, 0, sizeof x);
    if (s->info.input != MFT_SCAN_INPUT_MFT) return POSIO_OK;
    rec = (unsigned char *)posio_allocate(&s->desc.alloc, n);
    if (rec == NULL) return mft_scan_i_no_memory(err);
    for (i = 0; i < 2 * slots && (i < slots || fixed + raw == 0); i++) {
        int as_written, as_on_disk; /* the first ones; if these say nothing, some of all */
        if (!mft_scan_i_read_record(s, i < slots ? i : s->info.slots * (i - slots) / slots, rec,
                                    &x) ||
            posio_le32(rec) != mft_scan_i_file || !mft_scan_i_has_fixups(rec, n))
            continue;
        as_written = mft_scan_i_is_fixed(rec, n);
        as_on_disk = mft_scan_i_fix(rec, n, 0) == 0; /* right both ways: that says nothing */
        if (as_written && !as_on_disk) fixed++;
        if (as_on_disk && !as_written) raw++;
    }
    posio_release(&s->desc.alloc, rec);
    s->info.is_pre_fixed = fixed > raw;
    if (s->info.is_pre_fixed)
        mft_scan_i_warn(s, POSIO_NO_OFFSET,
                        "the $MFT was fixed up by whoever wrote it: torn records cannot be told");
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- look-up

/* Which slot of a view it is whose records do not follow each other. */
static uint64_t mft_scan_i_find_number(const mft_scan *s, uint64_t number)
{
    uint64_t i = 0;
    while (i < s->visible && s->numbers[i] != number) i++;
    return i;
}

/* The number of a slot's segment, and its place there; UINT64_MAX where it cannot be looked up. */
MFT_SCAN_I_INLINE uint64_t mft_scan_i_place_of(const mft_scan *s, uint64_t number, uint32_t *slot)
{
    const uint64_t i = s->numbers == NULL ? number - s->first : mft_scan_i_find_number(s, number);
    if (i >= s->visible) return UINT64_MAX;
    *slot = (uint32_t)i & (((uint32_t)1 << s->slot_bits) - 1);
    return i >> s->slot_bits;
}

MFT_SCAN_I_INLINE const mft_scan_i_columns *mft_scan_i_locate(const mft_scan *s, uint64_t number,
                                                              uint32_t *slot)
{
    const uint64_t segment = mft_scan_i_place_of(s, number, slot);
    return segment != UINT64_MAX ? s->segments[segment] : NULL;
}

static uint32_t mft_scan_i_word(const mft_scan_i_columns *c, uint32_t slot)
{
    return c->flags != NULL ? c->flags[slot] : c->uniform;
}

/* Is this what the record had, or has, as its sequence? A record gets the next one when it is
   deleted; 0 is left out, and 1 may be one that was never used before. */
static int mft_scan_i_is_sequence(uint32_t word, uint32_t header, uint32_t sequence)
{
    const uint32_t state = MFT_SCAN_I_STATE(word);
    if (state == MFT_SCAN_IN_USE || (state == MFT_SCAN_BAAD && word & MFT_SCAN_HEADER_IN_USE))
        return sequence == header;
    if (state != MFT_SCAN_FREE && state != MFT_SCAN_BAAD) return 0;
    return sequence == (header == 0 ? 0xffff : header == 1 ? 1 : header - 1);
}

// ---------------------------------------------------------------------------------- extensions

static int mft_scan_i_compare_links(const void *a, const void *b)
{
    const mft_scan_i_link *x = (const mft_scan_i_link *)a, *y = (const mft_scan_i_link *)b;
    if (x->base != y->base) return x->base < y->base ? -1 : 1;
    return x->extension < y->extension ? -1 : x->extension > y->extension;
}

/* Does the extension in this slot belong to its base as it is now? Both must be in use, or both
   deleted: a record that gave an extension back does not have its names any more. */
static int mft_scan_i_belongs(const mft_scan *s, uint32_t word, uint64_t base)
{
    uint32_t slot = 0, other;
    const mft_scan_i_columns *c = mft_scan_i_locate(s, MFT_SCAN_NUMBER(base), &slot);
    if (c == NULL || c->flags == NULL) return 0;
    other = c->flags[slot];
    return !(other & MFT_SCAN_EXTENSION) &&
           ((other ^ word) & (uint32_t)MFT_SCAN_HEADER_IN_USE) == 0 &&
           mft_scan_i_is_sequence(other, c->sequence[slot], MFT_SCAN_SEQUENCE(base));
}

/* The first link of a base; link_count where there is none. */
static uint64_t mft_scan_i_find_link(const mft_scan *s, uint64_t base)
{
    uint64_t low = 0, high = s->link_count;
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (s->links[mid].base < base) low = mid + 1;
        else high = mid;
    }
    return low < s->link_count && s->links[low].base == base ? low : s->link_count;
}

static uint32_t mft_scan_i_count_links(const mft_scan_i_columns *c, uint32_t slot)
{
    uint32_t i, n = 0;
    for (i = c->name_at[slot]; i < c->name_at[slot + 1]; i++) n += c->name_space[i] != MFT_SCAN_DOS;
    return n;
}

/* What a base has from its extensions; their hard links. */
static uint64_t mft_scan_i_join(mft_scan *s, uint64_t from, uint64_t to)
{
    const uint32_t theirs = MFT_SCAN_HAS_REPARSE | MFT_SCAN_HAS_OBJECT_ID | MFT_SCAN_HAS_EA;
    uint32_t slot = 0, other = 0;
    mft_scan_i_columns *c = s->segments[mft_scan_i_place_of(s, s->links[from].base, &slot)];
    uint64_t i, links = 0;
    c->flags[slot] |= MFT_SCAN_HAS_EXTENSIONS;
    for (i = from; i < to; i++) {
        const mft_scan_i_columns *e = mft_scan_i_locate(s, s->links[i].extension, &other);
        const uint32_t row = c->info_at[slot];
        links += mft_scan_i_count_links(e, other);
        c->flags[slot] |= e->flags[other] & theirs;
        if (!(e->flags[other] & MFT_SCAN_HAS_SIZE) || c->flags[slot] & MFT_SCAN_HAS_SIZE) continue;
        c->flags[slot] |= MFT_SCAN_HAS_SIZE;
        if (c->size != NULL && e->size != NULL && row != c->info_at[slot + 1])
            c->size[row] = e->size[e->info_at[other]];
    }
    return links;
}

/* Counts a file that is spread over records: with `own` hard links in its base, which were counted,
   and `others` in its extensions, which were not. */
static void mft_scan_i_count_joined(mft_scan *s, uint32_t word, uint64_t own, uint64_t others)
{
    s->stats.deferred++;
    if (MFT_SCAN_I_STATE(word) == MFT_SCAN_IN_USE && own <= 1 && own + others > 1)
        s->stats.hard_linked_records++;
}

static void mft_scan_i_blame_list(mft_scan *s, uint32_t *word)
{
    if (!(*word & MFT_SCAN_HEADER_IN_USE) || *word & MFT_SCAN_LIST_MISMATCH) return;
    *word |= MFT_SCAN_LIST_MISMATCH;
    s->stats.list_mismatches++;
}

/* A base and its list, rows `row` to `end`, of which the first tells its sum. That of its
   extensions must be the same; else those that the list does not name are flagged, too. */
static void mft_scan_i_check_list(mft_scan *s, mft_scan_i_columns *c, uint64_t number, uint32_t row,
                                  uint32_t end)
{
    uint64_t i, from = mft_scan_i_find_link(s, number);
    uint32_t sum = 0, slot = 0, k;
    for (i = from; i < s->link_count && s->links[i].base == number; i++) sum += s->links[i].sum;
    if (sum == c->listed_sum[row]) return;
    mft_scan_i_blame_list(s, &c->flags[c->listed_slot[row]]);
    for (i = from; i < s->link_count && s->links[i].base == number; i++) {
        const uint64_t segment = mft_scan_i_place_of(s, s->links[i].extension, &slot);
        for (k = row + 1; k < end && MFT_SCAN_NUMBER(c->listed[k]) != s->links[i].extension;) k++;
        if (k == end) s->segments[segment]->flags[slot] |= MFT_SCAN_LIST_MISMATCH;
    }
}

/* Compares resident lists with the extensions that name their bases. */
static void mft_scan_i_check_lists(mft_scan *s, uint64_t segment)
{
    mft_scan_i_columns *c = s->segments[segment];
    const uint32_t n = c->count[MFT_SCAN_I_LISTED];
    uint32_t i = 0, end;
    while (i < n) {
        const uint32_t slot = c->listed_slot[i];
        const uint64_t number =
            s->numbers != NULL ? s->numbers[slot] : (segment << s->slot_bits) + slot;
        for (end = i + 1; end < n && c->listed_slot[end] == slot && c->listed[end] != number;)
            end++;
        mft_scan_i_check_list(s, c, number, i, end);
        i = end;
    }
}

static int mft_scan_i_compare_orphans(const void *a, const void *b)
{
    const mft_scan_i_orphan *x = (const mft_scan_i_orphan *)a, *y = (const mft_scan_i_orphan *)b;
    if (x->base != y->base) return x->base < y->base ? -1 : 1;
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

/* Names of directories outlive them in extensions whose base has become another file: children that
   are left find their way by them. */
static posio_result mft_scan_i_keep_orphans(mft_scan *s, posio_error *err)
{
    uint64_t i;
    uint32_t k;
    s->orphans = (mft_scan_i_orphan *)posio_allocate(
        &s->desc.alloc, (size_t)s->stats.orphan_extension * sizeof *s->orphans);
    if (s->orphans == NULL) return mft_scan_i_no_memory(err);
    for (i = 0; i < s->segment_count; i++) {
        const mft_scan_i_columns *c = s->segments[i];
        for (k = 0; k < c->count[MFT_SCAN_I_EXTENSIONS]; k++) {
            const uint32_t slot = c->extension_slot[k];
            if (!(c->flags[slot] & MFT_SCAN_ORPHAN_EXTENSION) ||
                c->name_at[slot] == c->name_at[slot + 1])
                continue;
            s->orphans[s->orphan_count].base = c->base[k];
            s->orphans[s->orphan_count++].slot = (i << s->slot_bits) + slot;
        }
    }
    if (s->orphan_count != 0)
        qsort(s->orphans, (size_t)s->orphan_count, sizeof *s->orphans, mft_scan_i_compare_orphans);
    s->stats.index_bytes += s->stats.orphan_extension * sizeof *s->orphans;
    return POSIO_OK;
}

/* Joins extensions with their bases. All of them are in the index by now, whatever came first, so
   nothing has to be read for it. */
static posio_result mft_scan_i_link_all(mft_scan *s, posio_error *err)
{
    uint64_t begin = mft_scan_i_now(), i, from;
    uint32_t slot = 0;
    if (s->stats.extension > SIZE_MAX / sizeof *s->links) return mft_scan_i_no_memory(err);
    s->links = (mft_scan_i_link *)posio_allocate(&s->desc.alloc,
                                                 (size_t)s->stats.extension * sizeof *s->links);
    if (s->links == NULL) return mft_scan_i_no_memory(err);
    for (i = 0; i < s->segment_count; i++) {
        mft_scan_i_columns *c = s->segments[i];
        uint32_t k;
        for (k = 0; k < c->count[MFT_SCAN_I_EXTENSIONS]; k++) {
            uint32_t *word = &c->flags[c->extension_slot[k]];
            if (mft_scan_i_belongs(s, *word, c->base[k])) {
                s->links[s->link_count].base = (uint32_t)MFT_SCAN_NUMBER(c->base[k]);
                s->links[s->link_count].sum = c->extension_sum[k];
                s->links[s->link_count++].extension =
                    (uint32_t)((i << s->slot_bits) + c->extension_slot[k]);
            } else {
                *word |= MFT_SCAN_ORPHAN_EXTENSION;
                s->stats.orphan_extension++;
            }
        }
    }
    if (s->link_count != 0)
        qsort(s->links, (size_t)s->link_count, sizeof *s->links, mft_scan_i_compare_links);
    for (i = from = 0; i < s->link_count; i++)
        if (i + 1 == s->link_count || s->links[i + 1].base != s->links[i].base) {
            mft_scan_i_columns *c = s->segments[mft_scan_i_place_of(s, s->links[i].base, &slot)];
            const uint64_t others = mft_scan_i_join(s, from, i + 1);
            if (!(c->flags[slot] & MFT_SCAN_HAS_LIST)) mft_scan_i_blame_list(s, &c->flags[slot]);
            mft_scan_i_count_joined(s, c->flags[slot], mft_scan_i_count_links(c, slot), others);
            from = i + 1;
        }
    for (i = 0; i < s->segment_count; i++) mft_scan_i_check_lists(s, i);
    s->stats.index_bytes += s->stats.extension * sizeof *s->links;
    s->stats.deferred_ns = mft_scan_i_now() - begin;
    return mft_scan_i_keep_orphans(s, err);
}

// ---------------------------------------------------------------------------------- rows

/* The path of a directory, kept: its status u8 | how it stands as a parent u8 | the sequence that
   references to it have u16 | length u16 | 0 u16 | the directory whose path stands before the text,
   UINT32_MAX for none, u32 | text. So a deep path is a short chain of texts; and what a name in it
   needs lies in one place, where the columns would be five. */
enum {
    MFT_SCAN_I_MEMO_HEAD = 12,
    MFT_SCAN_I_MEMO_UNIT = 8,
    MFT_SCAN_I_MEMO_UNITS = MFT_SCAN_I_PIECE / MFT_SCAN_I_MEMO_UNIT,
    MFT_SCAN_I_MEMO_STRANGER = 255 /* no reference leads to it */
};
#define MFT_SCAN_I_MEMO_LENGTH(memo) ((size_t)posio_le16((memo) + 4))
#define MFT_SCAN_I_MEMO_PREFIX(memo) posio_le32((memo) + 8)
#define MFT_SCAN_I_MEMO_NAMELESS (UINT32_MAX - 1) /* in path_at, instead of a place */
#define MFT_SCAN_I_MEMO_PENDING UINT32_MAX

MFT_SCAN_I_INLINE uint32_t *mft_scan_i_memo_of(const mft_scan *s, uint64_t directory)
{
    uint32_t slot = 0;
    const mft_scan_i_columns *c = mft_scan_i_locate(s, directory, &slot);
    return c != NULL && c->path_at != NULL ? &c->path_at[slot] : NULL;
}

MFT_SCAN_I_INLINE const unsigned char *mft_scan_i_find_memo(const mft_scan *s, uint64_t directory)
{
    const uint32_t *place = mft_scan_i_memo_of(s, directory);
    uint32_t at;
    if (place == NULL) return NULL;
    at = *place;
    if (at == 0 || at >= MFT_SCAN_I_MEMO_NAMELESS) return NULL;
    at--;
    return s->memo[at / MFT_SCAN_I_MEMO_UNITS] +
           (size_t)(at % MFT_SCAN_I_MEMO_UNITS) * MFT_SCAN_I_MEMO_UNIT;
}

/* Names are mostly looked at one after the other, and their folders lie anywhere: waiting for two
   lines of memory was half of the time that a path took. So the names that come get theirs on the
   way: first the place of what is kept of the folder, later that itself. (Inline, as gcc drops calls
   of a function that does nothing but this.) */
MFT_SCAN_I_INLINE void mft_scan_i_ahead_of_place(const mft_scan *s, const mft_scan_i_columns *c,
                                                 uint32_t row)
{
    const uint32_t *place = NULL;
    if (row < c->count[MFT_SCAN_I_NAMES])
        place = mft_scan_i_memo_of(s, MFT_SCAN_NUMBER(c->parent[row]));
    if (place != NULL) MFT_SCAN_I_PREFETCH(place);
}

MFT_SCAN_I_INLINE void mft_scan_i_ahead_of_memo(const mft_scan *s, const mft_scan_i_columns *c,
                                                uint32_t row)
{
    const unsigned char *memo = NULL;
    if (row < c->count[MFT_SCAN_I_NAMES])
        memo = mft_scan_i_find_memo(s, MFT_SCAN_NUMBER(c->parent[row]));
    if (memo == NULL) return;
    MFT_SCAN_I_PREFETCH(memo);
    MFT_SCAN_I_PREFETCH(memo + 64);
    MFT_SCAN_I_PREFETCH(memo + 128);
}

/* Moves on to the next record of a file: from slot *at to its extension number *link (0: it is the
   base). 0: there are no more. */
static int mft_scan_i_next_part(const mft_scan *s, uint64_t owner, uint64_t *at, uint32_t *link)
{
    uint64_t next = *link;
    if (next == 0) {
        uint32_t slot = 0;
        const mft_scan_i_columns *c = mft_scan_i_locate(s, owner, &slot);
        if (c == NULL || c->flags == NULL || !(c->flags[slot] & MFT_SCAN_HAS_EXTENSIONS)) return 0;
        next = mft_scan_i_find_link(s, owner);
    }
    if (next >= s->link_count || s->links[next].base != owner) return 0;
    *link = (uint32_t)next + 1;
    *at = s->links[next].extension;
    return 1;
}

/* The rows of slot s in a segment begin with edges[s] and end with edges[s + 1]. */
MFT_SCAN_I_INLINE const uint16_t *mft_scan_i_edges(const mft_scan_i_columns *c, int streams)
{
    return streams ? c->stream_at : c->name_at;
}

/* Moves on to the first row of the next record of a file that has rows. NULL: there are no more. */
static const mft_scan_i_columns *mft_scan_i_further_row(const mft_scan *s, uint64_t owner,
                                                        uint64_t *at, uint32_t *row, uint32_t *link,
                                                        int streams)
{
    while (mft_scan_i_next_part(s, owner, at, link)) {
        uint32_t slot = 0;
        const mft_scan_i_columns *c = mft_scan_i_locate(s, *at, &slot);
        if (c == NULL || c->flags == NULL) return NULL;
        *row = mft_scan_i_edges(c, streams)[slot];
        if (*row < mft_scan_i_edges(c, streams)[slot + 1]) return c;
    }
    return NULL;
}

/* Moves on to a row that exists: *row of the record in slot *at, which is `owner` or its extension
   number *link; `c` and `slot` are where that lies. NULL: there are no more. Nearly all files are
   one record, which says so. */
MFT_SCAN_I_INLINE const mft_scan_i_columns *mft_scan_i_row_in(const mft_scan *s,
                                                              const mft_scan_i_columns *c,
                                                              uint32_t slot, uint64_t owner,
                                                              uint64_t *at, uint32_t *row,
                                                              uint32_t *link, int streams)
{
    if (*row < mft_scan_i_edges(c, streams)[slot + 1]) return c;
    if (*link == 0 && !(c->flags[slot] & MFT_SCAN_HAS_EXTENSIONS)) return NULL;
    return mft_scan_i_further_row(s, owner, at, row, link, streams);
}

MFT_SCAN_I_INLINE const mft_scan_i_columns *mft_scan_i_find_row(const mft_scan *s, uint64_t owner,
                                                                uint64_t *at, uint32_t *row,
                                                                uint32_t *link, int streams)
{
    uint32_t slot = 0;
    const mft_scan_i_columns *c = mft_scan_i_locate(s, *at, &slot);
    if (c == NULL || c->flags == NULL) return NULL;
    return mft_scan_i_row_in(s, c, slot, owner, at, row, link, streams);
}

/* The first row of a record; NULL for an extension whose rows belong to its base. */
MFT_SCAN_I_INLINE const mft_scan_i_columns *mft_scan_i_first_row(const mft_scan *s, uint64_t number,
                                                                 uint64_t *at, uint32_t *row,
                                                                 uint32_t *link, int streams)
{
    uint32_t slot = 0;
    const mft_scan_i_columns *c = mft_scan_i_locate(s, number, &slot);
    if (c == NULL || c->flags == NULL) return NULL;
    if ((c->flags[slot] & (MFT_SCAN_EXTENSION | MFT_SCAN_ORPHAN_EXTENSION)) == MFT_SCAN_EXTENSION)
        return NULL;
    *at = number;
    *row = mft_scan_i_edges(c, streams)[slot];
    *link = 0;
    return mft_scan_i_row_in(s, c, slot, number, at, row, link, streams);
}

/* `brief`: where it leads and what it is called, which is all that paths need. */
MFT_SCAN_I_INLINE void mft_scan_i_fill_name(const mft_scan *s, const mft_scan_i_columns *c,
                                            mft_scan_name *n, int brief)
{
    const uint32_t row = n->i_row;
    n->text = c->text + (c->name_text[row] >> 10);
    n->length = c->name_text[row] & 1023;
    n->name_space = c->name_space[row];
    n->parent = c->parent[row];
    if (brief) return;
    if (c->path_at != NULL) {
        mft_scan_i_ahead_of_place(s, c, row + 16);
        mft_scan_i_ahead_of_memo(s, c, row + 8);
    }
    if (s->info.columns == MFT_SCAN_LEAN) return;
    n->created = c->name_created[row];
    n->modified = c->name_modified[row];
    n->changed = c->name_changed[row];
    n->accessed = c->name_accessed[row];
    n->id = c->name_id[row];
}

MFT_SCAN_I_INLINE posio_result mft_scan_i_first_name(const mft_scan *s, uint64_t number,
                                                     mft_scan_name *out, int brief)
{
    uint64_t at;
    uint32_t row, link;
    const mft_scan_i_columns *c = mft_scan_i_first_row(s, number, &at, &row, &link, 0);
    if (c == NULL) return POSIO_E_RANGE;
    memset(out, 0, sizeof *out);
    out->owner = number;
    out->slot = at;
    out->i_row = row;
    out->i_extension = link;
    mft_scan_i_fill_name(s, c, out, brief);
    return POSIO_OK;
}

MFT_SCAN_I_INLINE posio_result mft_scan_i_next_name(const mft_scan *s, mft_scan_name *name,
                                                    int brief)
{
    uint64_t at = name->slot;
    uint32_t row = name->i_row + 1, link = name->i_extension;
    const mft_scan_i_columns *c = mft_scan_i_find_row(s, name->owner, &at, &row, &link, 0);
    if (c == NULL) return POSIO_E_RANGE;
    name->slot = at;
    name->i_row = row;
    name->i_extension = link;
    mft_scan_i_fill_name(s, c, name, brief);
    return POSIO_OK;
}

MFT_SCAN_API posio_result mft_scan_first_name(const mft_scan *scan, uint64_t number,
                                              mft_scan_name *out)
{
    return mft_scan_i_first_name(scan, number, out, 0);
}

MFT_SCAN_API posio_result mft_scan_next_name(const mft_scan *scan, mft_scan_name *name)
{
    return mft_scan_i_next_name(scan, name, 0);
}

/* Where in a sorted column a row is; its value, or `otherwise`. */
static uint64_t mft_scan_i_exception(const uint16_t *rows, const uint64_t *values, uint32_t n,
                                     uint32_t row, uint64_t otherwise)
{
    uint32_t low = 0, high = n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (rows[mid] < row) low = mid + 1;
        else high = mid;
    }
    return low < n && rows[low] == row ? values[low] : otherwise;
}

MFT_SCAN_I_INLINE void mft_scan_i_fill_stream(const mft_scan_i_columns *c, mft_scan_stream *t)
{
    const uint32_t row = t->i_row, kind = c->stream_kind[row];
    t->name = c->text + (c->stream_text[row] >> 10);
    t->length = c->stream_text[row] & 1023;
    t->type = kind & MFT_SCAN_I_ROOT         ? (uint32_t)MFT_SCAN_INDEX_ROOT
              : kind & MFT_SCAN_I_ALLOCATION ? (uint32_t)MFT_SCAN_INDEX_ALLOCATION
                                             : (uint32_t)MFT_SCAN_DATA;
    t->id = c->stream_id[row];
    t->flags = kind & 15;
    t->size = c->stream_size[row];
    t->allocated = c->allocated[row];
    t->initialised = t->size;
    t->total = t->allocated;
    if (kind & MFT_SCAN_I_HAS_INITIAL)
        t->initialised = mft_scan_i_exception(c->initial_row, c->initial,
                                              c->count[MFT_SCAN_I_INITIALS], row, t->size);
    if (kind & MFT_SCAN_I_HAS_TOTAL)
        t->total = mft_scan_i_exception(c->total_row, c->total, c->count[MFT_SCAN_I_TOTALS], row,
                                        t->allocated);
}

MFT_SCAN_API posio_result mft_scan_first_stream(const mft_scan *scan, uint64_t number,
                                                mft_scan_stream *out)
{
    uint64_t at;
    uint32_t row, link;
    const mft_scan_i_columns *c;
    if (scan->info.columns == MFT_SCAN_LEAN) return POSIO_E_RANGE;
    c = mft_scan_i_first_row(scan, number, &at, &row, &link, 1);
    if (c == NULL) return POSIO_E_RANGE;
    out->owner = number;
    out->slot = at;
    out->i_row = row;
    out->i_extension = link;
    mft_scan_i_fill_stream(c, out);
    return POSIO_OK;
}

MFT_SCAN_API posio_result mft_scan_next_stream(const mft_scan *scan, mft_scan_stream *stream)
{
    uint64_t at = stream->slot;
    uint32_t row = stream->i_row + 1, link = stream->i_extension;
    const mft_scan_i_columns *c = mft_scan_i_find_row(scan, stream->owner, &at, &row, &link, 1);
    if (c == NULL) return POSIO_E_RANGE;
    stream->slot = at;
    stream->i_row = row;
    stream->i_extension = link;
    mft_scan_i_fill_stream(c, stream);
    return POSIO_OK;
}

/* A full index has the size of a record, which lies in this slot, in the row of its unnamed
   $DATA. */
static uint64_t mft_scan_i_size(const mft_scan *s, const mft_scan_i_columns *c, uint32_t slot,
                                uint64_t number)
{
    const uint32_t other = MFT_SCAN_I_ROOT | MFT_SCAN_I_ALLOCATION;
    uint64_t at = number;
    uint32_t link = 0, row;
    for (;;) {
        for (row = c->stream_at[slot]; row < c->stream_at[slot + 1]; row++)
            if (!(c->stream_kind[row] & other) && (c->stream_text[row] & 1023) == 0)
                return c->stream_size[row];
        if (!mft_scan_i_next_part(s, number, &at, &link)) return 0;
        c = mft_scan_i_locate(s, at, &slot);
    }
}

static void mft_scan_i_fill_information(const mft_scan *s, const mft_scan_i_columns *c,
                                        uint32_t row, mft_scan_record *out)
{
    out->modified = c->modified[row];
    out->attributes = c->attributes[row];
    if (c->size != NULL) out->size = c->size[row];
    if (s->info.columns == MFT_SCAN_LEAN) return;
    out->created = c->created[row];
    out->changed = c->changed[row];
    out->accessed = c->accessed[row];
    out->log_sequence = c->log_sequence[row];
    out->usn = c->usn[row];
    out->security_id = c->security_id[row];
}

/* The row of a slot in a column of slots; count where there is none. */
static uint32_t mft_scan_i_row_of_slot(const uint16_t *slots, uint32_t count, uint32_t slot)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (slots[mid] < slot) low = mid + 1;
        else high = mid;
    }
    return low < count && slots[low] == slot ? low : count;
}

MFT_SCAN_API posio_result mft_scan_get_record(const mft_scan *scan, uint64_t number,
                                              mft_scan_record *out)
{
    uint32_t slot = 0, word, i, n;
    const mft_scan_i_columns *c = mft_scan_i_locate(scan, number, &slot);
    if (c == NULL) return POSIO_E_RANGE;
    memset(out, 0, sizeof *out);
    word = mft_scan_i_word(c, slot);
    out->number = number;
    out->state = MFT_SCAN_I_STATE(word);
    out->flags = word & MFT_SCAN_I_FLAGS;
    out->damage = MFT_SCAN_I_DAMAGE(word);
    if (c->flags == NULL) return POSIO_OK;
    out->sequence = c->sequence[slot];
    if (word & MFT_SCAN_EXTENSION) {
        n = c->count[MFT_SCAN_I_EXTENSIONS];
        i = mft_scan_i_row_of_slot(c->extension_slot, n, slot);
        if (i != n) out->base = c->base[i];
    }
    i = c->info_at[slot];
    if (i != c->info_at[slot + 1]) mft_scan_i_fill_information(scan, c, i, out);
    if (c->size == NULL && word & MFT_SCAN_HAS_SIZE)
        out->size = mft_scan_i_size(scan, c, slot, number);
    return POSIO_OK;
}

MFT_SCAN_API posio_result mft_scan_find(const mft_scan *scan, uint64_t reference,
                                        mft_scan_record *out)
{
    uint32_t slot = 0, sequence = MFT_SCAN_SEQUENCE(reference);
    const mft_scan_i_columns *c = mft_scan_i_locate(scan, MFT_SCAN_NUMBER(reference), &slot);
    if (c == NULL) return POSIO_E_RANGE;
    if (c->flags == NULL || !mft_scan_i_is_sequence(c->flags[slot], c->sequence[slot], sequence))
        return POSIO_E_NOT_FOUND;
    return mft_scan_get_record(scan, MFT_SCAN_NUMBER(reference), out);
}

MFT_SCAN_API posio_result mft_scan_get_reparse(const mft_scan *scan, uint64_t number, uint32_t *tag,
                                               const char **target, uint32_t *length)
{
    uint64_t at = number;
    uint32_t link = 0, slot = 0, i, n;
    const mft_scan_i_columns *c = mft_scan_i_locate(scan, number, &slot);
    if (c == NULL) return POSIO_E_RANGE;
    if (!(mft_scan_i_word(c, slot) & MFT_SCAN_HAS_REPARSE)) return POSIO_E_NOT_FOUND;
    do {
        c = mft_scan_i_locate(scan, at, &slot);
        n = c->count[MFT_SCAN_I_REPARSES];
        i = mft_scan_i_row_of_slot(c->reparse_slot, n, slot);
        if (i == n) continue;
        *tag = c->reparse_tag[i];
        *target = c->text + c->reparse_text[i];
        *length = c->reparse_length[i];
        return POSIO_OK;
    } while (mft_scan_i_next_part(scan, number, &at, &link));
    return POSIO_E_NOT_FOUND;
}

MFT_SCAN_API posio_result mft_scan_get_object_id(const mft_scan *scan, uint64_t number,
                                                 unsigned char id[16])
{
    uint64_t at = number;
    uint32_t link = 0, slot = 0, i, k, n;
    const mft_scan_i_columns *c = mft_scan_i_locate(scan, number, &slot);
    if (c == NULL) return POSIO_E_RANGE;
    if (!(mft_scan_i_word(c, slot) & MFT_SCAN_HAS_OBJECT_ID)) return POSIO_E_NOT_FOUND;
    do {
        c = mft_scan_i_locate(scan, at, &slot);
        n = c->count[MFT_SCAN_I_OBJECTS];
        i = mft_scan_i_row_of_slot(c->object_slot, n, slot);
        if (i == n) continue;
        for (k = 0; k < 8; k++) {
            id[k] = (unsigned char)(c->object_low[i] >> 8 * k);
            id[k + 8] = (unsigned char)(c->object_high[i] >> 8 * k);
        }
        return POSIO_OK;
    } while (mft_scan_i_next_part(scan, number, &at, &link));
    return POSIO_E_NOT_FOUND;
}

// ---------------------------------------------------------------------------------- paths

/* An orphaned extension that has a name of what this reference meant; UINT64_MAX: there is none. */
static uint64_t mft_scan_i_find_orphan(const mft_scan *s, uint64_t reference)
{
    uint64_t low = 0, high = s->orphan_count;
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (s->orphans[mid].base < reference) low = mid + 1;
        else high = mid;
    }
    return low < s->orphan_count && s->orphans[low].base == reference ? s->orphans[low].slot
                                                                      : UINT64_MAX;
}

/* How a parent stands; *up is the record that has its name, where there is one. */
static uint32_t mft_scan_i_parent_of(const mft_scan *s, uint64_t parent, uint64_t *up)
{
    uint32_t slot = 0, word = 0, state = MFT_SCAN_NEVER_WRITTEN, status;
    const mft_scan_i_columns *c = mft_scan_i_locate(s, MFT_SCAN_NUMBER(parent), &slot);
    *up = MFT_SCAN_NUMBER(parent);
    if (c != NULL && c->flags != NULL) {
        word = c->flags[slot];
        state = MFT_SCAN_I_STATE(word);
    }
    if (state != MFT_SCAN_IN_USE && state != MFT_SCAN_FREE && state != MFT_SCAN_BAAD)
        status = MFT_SCAN_PARENT_MISSING;
    else if (!mft_scan_i_is_sequence(word, c->sequence[slot], MFT_SCAN_SEQUENCE(parent)))
        status = MFT_SCAN_PARENT_STALE;
    else if (!(word & MFT_SCAN_DIRECTORY) || word & MFT_SCAN_EXTENSION)
        return MFT_SCAN_PARENT_NOT_DIRECTORY;
    else return word & MFT_SCAN_HEADER_IN_USE ? MFT_SCAN_PARENT_OK : MFT_SCAN_PARENT_FREED;
    if (s->orphan_count == 0) return status;
    *up = mft_scan_i_find_orphan(s, parent);
    return *up != UINT64_MAX ? (uint32_t)MFT_SCAN_PARENT_RECOVERED : status;
}

MFT_SCAN_API uint32_t mft_scan_parent(const mft_scan *scan, const mft_scan_name *name)
{
    uint64_t up;
    return mft_scan_i_parent_of(scan, name->parent, &up);
}

/* What a directory is called in paths: its first name that is not a DOS one, or its first. (Each
   DOS name stands beside another; who writes thousands of them wants to keep us busy.) */
static int mft_scan_i_name_directory(const mft_scan *s, uint64_t number, mft_scan_name *out)
{
    mft_scan_name n;
    uint32_t left = 16;
    posio_result r = mft_scan_i_first_name(s, number, out, 1);
    if (r != POSIO_OK) return 0;
    for (n = *out; r == POSIO_OK && left-- != 0; r = mft_scan_i_next_name(s, &n, 1))
        if (n.name_space != MFT_SCAN_DOS) {
            *out = n;
            break;
        }
    return 1;
}

enum { MFT_SCAN_I_ROOT_NUMBER = 5 };

/* The first thing that is wrong counts; what is merely deleted does not. */
static void mft_scan_i_merge_status(uint32_t *status, uint32_t further_up)
{
    if (*status <= MFT_SCAN_PARENT_RECOVERED && further_up > *status) *status = further_up;
}

/* One step up a path: from the name `n` to that of its parent. 1: *n is a directory; 0: the top is
   reached, and *status says how. */
static int mft_scan_i_climb(const mft_scan *s, mft_scan_name *n, uint32_t *status)
{
    uint64_t up;
    const uint32_t parent = mft_scan_i_parent_of(s, n->parent, &up);
    mft_scan_i_merge_status(status, parent);
    if (parent > MFT_SCAN_PARENT_RECOVERED || up == MFT_SCAN_I_ROOT_NUMBER) return 0;
    if (mft_scan_i_name_directory(s, up, n)) return 1;
    *status = MFT_SCAN_PARENT_NAMELESS;
    return 0;
}

/* Writes a path from its end to its beginning; what has no room is only counted. */
typedef struct mft_scan_i_path {
    char *buf;
    size_t room, at, length; /* at: where the next part ends */
} mft_scan_i_path;

static void mft_scan_i_prepend(mft_scan_i_path *p, const char *text, size_t n)
{
    p->length += n;
    if (p->at < n) {
        p->at = 0;
        return;
    }
    p->at -= n;
    memcpy(p->buf + p->at, text, n);
}

static int mft_scan_i_is_same(const mft_scan_name *a, const mft_scan_name *b)
{
    return a->slot == b->slot && a->i_row == b->i_row && a->owner == b->owner;
}

/* How many steps up it is to a directory that is above itself; UINT64_MAX: there is none. Brent's
   algorithm: the length of the cycle first, then where it begins. */
static uint64_t mft_scan_i_steps_to_cycle(const mft_scan *s, const mft_scan_name *from)
{
    mft_scan_name slow = *from, quick = *from;
    uint64_t length = 0, power = 1, i;
    uint32_t unused = 0;
    do {
        if (length == power) {
            slow = quick;
            power *= 2;
            length = 0;
        }
        if (!mft_scan_i_climb(s, &quick, &unused)) return UINT64_MAX;
        length++;
    } while (!mft_scan_i_is_same(&slow, &quick));
    slow = quick = *from;
    for (i = 0; i < length; i++) (void)mft_scan_i_climb(s, &quick, &unused);
    for (i = 0; !mft_scan_i_is_same(&slow, &quick); i++) {
        (void)mft_scan_i_climb(s, &slow, &unused);
        (void)mft_scan_i_climb(s, &quick, &unused);
    }
    return i;
}

/* What is kept of a parent by its reference, and how that stands, as mft_scan_i_parent_of says. NULL:
   the reference must be looked at. */
static const unsigned char *mft_scan_i_find_parent(const mft_scan *s, uint64_t parent,
                                                   uint32_t *status)
{
    const unsigned char *memo = mft_scan_i_find_memo(s, MFT_SCAN_NUMBER(parent));
    if (memo == NULL || posio_le16(memo + 2) != MFT_SCAN_SEQUENCE(parent)) return NULL;
    *status = memo[1];
    return *status != MFT_SCAN_I_MEMO_STRANGER ? memo : NULL;
}

/* What stands at the beginning: a path that is kept, the root, or the place of orphans. */
static void mft_scan_i_begin_path(const mft_scan *s, mft_scan_i_path *p, const unsigned char *memo,
                                  uint32_t status)
{
    static const char orphans[] = "/$OrphanFiles/";
    if (memo == NULL && status > MFT_SCAN_PARENT_RECOVERED)
        mft_scan_i_prepend(p, orphans, sizeof orphans - 1);
    else mft_scan_i_prepend(p, "/", 1);
    for (; memo != NULL; memo = mft_scan_i_find_memo(s, MFT_SCAN_I_MEMO_PREFIX(memo)))
        mft_scan_i_prepend(p, (const char *)memo + MFT_SCAN_I_MEMO_HEAD,
                           MFT_SCAN_I_MEMO_LENGTH(memo));
}

/* Follows a name up and writes its path, in at most `most` steps. 0: there are more. */
static int mft_scan_i_follow(const mft_scan *s, const mft_scan_name *name, uint64_t most,
                             mft_scan_i_path *p, uint32_t *status)
{
    mft_scan_name n = *name;
    const unsigned char *memo = NULL;
    uint64_t steps;
    for (steps = 0;; steps++) {
        uint64_t up;
        uint32_t parent = MFT_SCAN_PARENT_OK;
        mft_scan_i_prepend(p, n.text, n.length);
        memo = mft_scan_i_find_parent(s, n.parent, &parent);
        if (memo == NULL) parent = mft_scan_i_parent_of(s, n.parent, &up);
        mft_scan_i_merge_status(status, parent);
        if (memo != NULL || parent > MFT_SCAN_PARENT_RECOVERED || up == MFT_SCAN_I_ROOT_NUMBER)
            break;
        memo = mft_scan_i_find_memo(s, up);
        if (memo != NULL) break;
        if (steps == most) return 0;
        if (!mft_scan_i_name_directory(s, up, &n)) {
            *status = MFT_SCAN_PARENT_NAMELESS;
            break;
        }
        mft_scan_i_prepend(p, "/", 1);
    }
    if (memo != NULL) mft_scan_i_merge_status(status, memo[0]);
    mft_scan_i_begin_path(s, p, memo, *status);
    return 1;
}

static void mft_scan_i_reset_path(mft_scan_i_path *p, char *buf, size_t room)
{
    p->buf = buf;
    p->at = room != 0 ? room - 1 : 0;
    p->length = 0;
}

/* The path of a directory by its own name, if it is kept; 0 if not. */
static int mft_scan_i_recall(const mft_scan *s, const mft_scan_name *name, mft_scan_i_path *p,
                             uint32_t *status)
{
    const unsigned char *memo = mft_scan_i_find_memo(s, name->owner);
    mft_scan_name own;
    if (memo == NULL || !mft_scan_i_name_directory(s, name->owner, &own) ||
        !mft_scan_i_is_same(&own, name))
        return 0;
    *status = memo[0];
    for (; memo != NULL; memo = mft_scan_i_find_memo(s, MFT_SCAN_I_MEMO_PREFIX(memo)))
        mft_scan_i_prepend(p, (const char *)memo + MFT_SCAN_I_MEMO_HEAD,
                           MFT_SCAN_I_MEMO_LENGTH(memo));
    return 1;
}

/* Nearly all paths are short: only a long one is looked at for a cycle, before it is written. */
static void mft_scan_i_write_path(const mft_scan *s, const mft_scan_name *name, char *buf,
                                  size_t room, mft_scan_i_path *p, uint32_t *status)
{
    mft_scan_i_reset_path(p, buf, room);
    *status = MFT_SCAN_PARENT_OK;
    if (name->owner == MFT_SCAN_I_ROOT_NUMBER &&
        MFT_SCAN_NUMBER(name->parent) == MFT_SCAN_I_ROOT_NUMBER) {
        mft_scan_i_prepend(p, "/", 1);
        return;
    }
    if (mft_scan_i_recall(s, name, p, status) || mft_scan_i_follow(s, name, 64, p, status)) return;
    mft_scan_i_reset_path(p, buf, room);
    *status = MFT_SCAN_PARENT_OK;
    if (mft_scan_i_follow(s, name, mft_scan_i_steps_to_cycle(s, name), p, status)) return;
    *status = MFT_SCAN_PARENT_CYCLE;
    mft_scan_i_begin_path(s, p, NULL, *status);
}

/* The path of nearly every name: what is kept of its parent, and it. 0: it must be looked for. (Not
   below a cycle, where directories hang on themselves.) */
static int mft_scan_i_join_path(const mft_scan *s, const mft_scan_name *name, char *buf,
                                size_t room, size_t *length, uint32_t *status)
{
    uint32_t found = MFT_SCAN_PARENT_OK;
    const unsigned char *memo = mft_scan_i_find_parent(s, name->parent, &found);
    size_t n;
    if (memo == NULL || MFT_SCAN_I_MEMO_PREFIX(memo) != UINT32_MAX ||
        memo[0] > MFT_SCAN_PARENT_RECOVERED)
        return 0;
    n = MFT_SCAN_I_MEMO_LENGTH(memo);
    if (n + name->length + 2 > room) return 0;
    mft_scan_i_merge_status(&found, memo[0]);
    memcpy(buf, memo + MFT_SCAN_I_MEMO_HEAD, n);
    buf[n] = '/';
    memcpy(buf + n + 1, name->text, name->length);
    *length = n + 1 + name->length;
    buf[*length] = 0;
    *status = found;
    return 1;
}

MFT_SCAN_API posio_result mft_scan_path(const mft_scan *scan, const mft_scan_name *name, char *buf,
                                        size_t room, size_t *length, uint32_t *status)
{
    mft_scan_i_path p;
    if (mft_scan_i_join_path(scan, name, buf, room, length, status)) return POSIO_OK;
    mft_scan_i_write_path(scan, name, buf, room, &p, status);
    *length = p.length;
    if (p.length >= room) return POSIO_E_SPACE;
    memmove(buf, buf + p.at, p.length);
    buf[p.length] = 0;
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- kept paths

/* The sequence that references to a record have; see mft_scan_i_is_sequence. */
static uint32_t mft_scan_i_own_sequence(uint32_t word, uint32_t header)
{
    if (word & MFT_SCAN_HEADER_IN_USE || header == 1) return header;
    return header == 0 ? 0xffff : header - 1;
}

/* Room for what is kept of a directory; NULL without memory. */
static unsigned char *mft_scan_i_add_memo(mft_scan *s, uint64_t directory, uint32_t bytes)
{
    uint32_t at;
    bytes = (bytes + MFT_SCAN_I_MEMO_UNIT - 1) & ~(uint32_t)(MFT_SCAN_I_MEMO_UNIT - 1);
    if (s->memo_pieces == 0 || bytes > MFT_SCAN_I_PIECE - s->memo_used) {
        void *array = s->memo;
        if (!posio_grow(&s->desc.alloc, &array, s->memo_pieces, &s->memo_room, sizeof *s->memo))
            return NULL;
        s->memo = (unsigned char **)array;
        s->memo[s->memo_pieces] = mft_scan_i_cut(s, MFT_SCAN_I_PIECE);
        if (s->memo[s->memo_pieces] == NULL) return NULL;
        s->memo_pieces++;
        s->memo_used = 0;
    }
    at = s->memo_used;
    s->memo_used += bytes;
    *mft_scan_i_memo_of(s, directory) =
        (uint32_t)(s->memo_pieces - 1) * MFT_SCAN_I_MEMO_UNITS + at / MFT_SCAN_I_MEMO_UNIT + 1;
    return s->memo[s->memo_pieces - 1] + at;
}

/* Writes what is kept of a directory: its name behind the path of the one above, which is kept
   already; behind a reference to that where it is long. */
static posio_result mft_scan_i_keep_path(mft_scan *s, uint64_t directory, int in_cycle,
                                         posio_error *err)
{
    mft_scan_name n;
    mft_scan_i_path p;
    unsigned char *at;
    char text[MFT_SCAN_I_MEMO_PATH + 1];
    uint32_t status, prefix = UINT32_MAX, slot = 0, sequence, i;
    uint64_t up;
    const unsigned char *above = NULL;
    const mft_scan_i_columns *c = mft_scan_i_locate(s, directory, &slot);
    if (!mft_scan_i_name_directory(s, directory, &n)) {
        *mft_scan_i_memo_of(s, directory) = MFT_SCAN_I_MEMO_NAMELESS;
        return POSIO_OK;
    }
    above = mft_scan_i_find_parent(s, n.parent, &status);
    up = MFT_SCAN_NUMBER(n.parent);
    if (above == NULL) status = mft_scan_i_parent_of(s, n.parent, &up);
    if (in_cycle) status = MFT_SCAN_PARENT_CYCLE;
    mft_scan_i_reset_path(&p, text, sizeof text);
    mft_scan_i_prepend(&p, n.text, n.length);
    if (status <= MFT_SCAN_PARENT_RECOVERED && up != MFT_SCAN_I_ROOT_NUMBER) {
        if (above == NULL) above = mft_scan_i_find_memo(s, up);
        if (above == NULL) status = MFT_SCAN_PARENT_NAMELESS;
        else mft_scan_i_merge_status(&status, above[0]);
    } else {
        above = NULL;
    }
    if (above == NULL) {
        mft_scan_i_begin_path(s, &p, NULL, status);
    } else {
        mft_scan_i_prepend(&p, "/", 1);
        prefix = (uint32_t)up;
        if (MFT_SCAN_I_MEMO_LENGTH(above) + p.length <= MFT_SCAN_I_MEMO_PATH) {
            mft_scan_i_prepend(&p, (const char *)above + MFT_SCAN_I_MEMO_HEAD,
                               MFT_SCAN_I_MEMO_LENGTH(above));
            prefix = MFT_SCAN_I_MEMO_PREFIX(above);
        }
    }
    at = mft_scan_i_add_memo(s, directory, (uint32_t)(MFT_SCAN_I_MEMO_HEAD + p.length));
    if (at == NULL) return mft_scan_i_no_memory(err);
    sequence = mft_scan_i_own_sequence(c->flags[slot], c->sequence[slot]);
    at[0] = (unsigned char)status;
    at[1] = (unsigned char)MFT_SCAN_I_MEMO_STRANGER;
    if ((c->flags[slot] & (MFT_SCAN_DIRECTORY | MFT_SCAN_EXTENSION)) == MFT_SCAN_DIRECTORY)
        at[1] =
            c->flags[slot] & MFT_SCAN_HEADER_IN_USE ? MFT_SCAN_PARENT_OK : MFT_SCAN_PARENT_FREED;
    at[2] = (unsigned char)(sequence & 255);
    at[3] = (unsigned char)(sequence >> 8);
    at[4] = (unsigned char)(p.length & 255);
    at[5] = (unsigned char)(p.length >> 8);
    at[6] = at[7] = 0;
    for (i = 0; i < 4; i++) at[8 + i] = (unsigned char)(prefix >> 8 * i);
    memcpy(at + MFT_SCAN_I_MEMO_HEAD, text + p.at, p.length);
    return POSIO_OK;
}

/* The directories above one that are not kept yet, from it upwards. */
typedef struct mft_scan_i_climbed {
    uint32_t *number;
    uint64_t count, room;
} mft_scan_i_climbed;

/* Keeps the path of a directory, and of all above it: up first, until something known, then down
   again. Each directory is climbed through once. */
static posio_result mft_scan_i_keep_chain(mft_scan *s, uint64_t directory, mft_scan_i_climbed *c,
                                          posio_error *err)
{
    uint64_t at = directory, cycle = UINT64_MAX, up;
    uint32_t *place = mft_scan_i_memo_of(s, at), status;
    posio_result r = POSIO_OK;
    c->count = 0;
    while (*place == 0) { /* a parent that is one has columns */
        void *array = c->number;
        mft_scan_name n;
        if (!posio_grow(&s->desc.alloc, &array, c->count, &c->room, sizeof *c->number))
            return mft_scan_i_no_memory(err);
        c->number = (uint32_t *)array;
        c->number[c->count++] = (uint32_t)at;
        *place = MFT_SCAN_I_MEMO_PENDING;
        if (!mft_scan_i_name_directory(s, at, &n) ||
            mft_scan_i_find_parent(s, n.parent, &status) != NULL ||
            mft_scan_i_parent_of(s, n.parent, &up) > MFT_SCAN_PARENT_RECOVERED ||
            up == MFT_SCAN_I_ROOT_NUMBER)
            break;
        at = up;
        place = mft_scan_i_memo_of(s, at);
        if (*place == MFT_SCAN_I_MEMO_PENDING) cycle = at;
    }
    while (c->count != 0 && r == POSIO_OK) {
        const uint32_t number = c->number[--c->count];
        r = mft_scan_i_keep_path(s, number, cycle != UINT64_MAX, err);
        if (number == cycle) cycle = UINT64_MAX; /* what is below it hangs on the cycle */
    }
    return r;
}

/* Is it a directory that has a path: none of an extension, and the root is where paths begin. */
static int mft_scan_i_is_directory(const mft_scan_i_columns *c, uint32_t slot, uint64_t number)
{
    return (c->flags[slot] & (MFT_SCAN_DIRECTORY | MFT_SCAN_EXTENSION)) == MFT_SCAN_DIRECTORY &&
           number != MFT_SCAN_I_ROOT_NUMBER;
}

/* As for names, see there; of directories 64 and 32 slots further on. */
MFT_SCAN_I_INLINE void mft_scan_i_ahead_of_path(const mft_scan *s, const mft_scan_i_columns *c,
                                                uint32_t slot, uint64_t number)
{
    if (slot + 64 >= c->count[MFT_SCAN_I_SLOTS]) return;
    if (mft_scan_i_is_directory(c, slot + 64, number + 64))
        mft_scan_i_ahead_of_place(s, c, c->name_at[slot + 64]);
    if (mft_scan_i_is_directory(c, slot + 32, number + 32)) {
        const uint32_t row = c->name_at[slot + 32];
        mft_scan_i_ahead_of_memo(s, c, row);
        if (row < c->count[MFT_SCAN_I_NAMES])
            MFT_SCAN_I_PREFETCH(c->text + (c->name_text[row] >> 10));
    }
}

static posio_result mft_scan_i_keep_paths(mft_scan *s, posio_error *err)
{
    mft_scan_i_climbed climbed;
    posio_result r = POSIO_OK;
    uint64_t i;
    uint32_t slot;
    memset(&climbed, 0, sizeof climbed);
    for (i = 0; i < s->segment_count && r == POSIO_OK; i++) {
        const mft_scan_i_columns *c = s->segments[i];
        for (slot = 0; c->flags != NULL && slot < c->count[MFT_SCAN_I_SLOTS]; slot++) {
            const uint64_t number = (i << s->slot_bits) + slot;
            mft_scan_i_ahead_of_path(s, c, slot, number);
            if (mft_scan_i_is_directory(c, slot, number) && s->memo_pieces < (uint64_t)1 << 18)
                r = mft_scan_i_keep_chain(s, number, &climbed, err);
            if (r != POSIO_OK) break;
        }
    }
    posio_release(&s->desc.alloc, climbed.number);
    s->stats.index_bytes += s->memo_pieces * MFT_SCAN_I_PIECE;
    return r;
}

// ---------------------------------------------------------------------------------- surveys

typedef struct mft_scan_i_survey {
    const mft_scan *scan;
    mft_scan_path_stats part[64];
    uint32_t parts;
} mft_scan_i_survey;

static posio_result mft_scan_i_survey_part(void *user, uint32_t part, posio_error *err)
{
    mft_scan_i_survey *v = (mft_scan_i_survey *)user;
    const mft_scan *s = v->scan;
    mft_scan_path_stats *t = &v->part[part];
    uint64_t up, i = s->segment_count * part / v->parts,
                 end = s->segment_count * (part + 1) / v->parts;
    (void)err;
    for (; i < end; i++) {
        const mft_scan_i_columns *c = s->segments[i];
        uint32_t row;
        for (row = 0; row < c->count[MFT_SCAN_I_NAMES]; row++)
            switch (mft_scan_i_parent_of(s, c->parent[row], &up)) {
            case MFT_SCAN_PARENT_OK: break;
            case MFT_SCAN_PARENT_RECOVERED: t->recovered++; break;
            case MFT_SCAN_PARENT_FREED: t->freed++; break;
            case MFT_SCAN_PARENT_MISSING: t->missing++; break;
            case MFT_SCAN_PARENT_STALE: t->stale++; break;
            default: t->not_directory++; break;
            }
    }
    return POSIO_OK;
}

/* The number of the directory above, UINT64_MAX at the top. */
static uint64_t mft_scan_i_above(const mft_scan *s, uint64_t number)
{
    mft_scan_name n;
    uint32_t unused = 0;
    if (!mft_scan_i_name_directory(s, number, &n) || !mft_scan_i_climb(s, &n, &unused))
        return UINT64_MAX;
    return n.owner;
}

/* What is known of directories while cycles are counted: a byte for each slot of the segments that
   have columns, in their order. */
typedef struct mft_scan_i_marks {
    const mft_scan *scan;
    uint32_t *order; /* of each segment among these */
    unsigned char *mark;
} mft_scan_i_marks;
enum { MFT_SCAN_I_NEW, MFT_SCAN_I_WALKED, MFT_SCAN_I_KNOWN };

static unsigned char *mft_scan_i_mark_of(const mft_scan_i_marks *m, uint64_t number)
{
    const uint32_t bits = m->scan->slot_bits;
    return &m->mark[((size_t)m->order[number >> bits] << bits) +
                    (size_t)(number & (((uint64_t)1 << bits) - 1))];
}

/* Directories above this one, and itself, that are above themselves. Each is passed a fixed number
   of times: once it is known where it leads, walks that come by stop there. */
static uint64_t mft_scan_i_count_cycle(const mft_scan_i_marks *m, uint64_t number)
{
    uint64_t at, count = 0;
    for (at = number; at != UINT64_MAX && *mft_scan_i_mark_of(m, at) == MFT_SCAN_I_NEW;
         at = mft_scan_i_above(m->scan, at))
        *mft_scan_i_mark_of(m, at) = MFT_SCAN_I_WALKED;
    for (; at != UINT64_MAX && *mft_scan_i_mark_of(m, at) == MFT_SCAN_I_WALKED; count++) {
        *mft_scan_i_mark_of(m, at) = MFT_SCAN_I_KNOWN;
        at = mft_scan_i_above(m->scan, at);
    }
    for (at = number; at != UINT64_MAX && *mft_scan_i_mark_of(m, at) == MFT_SCAN_I_WALKED;
         at = mft_scan_i_above(m->scan, at))
        *mft_scan_i_mark_of(m, at) = MFT_SCAN_I_KNOWN;
    return count;
}

static posio_result mft_scan_i_count_cycles(const mft_scan *s, uint64_t *count, posio_error *err)
{
    const posio_alloc *a = &s->desc.alloc;
    mft_scan_i_marks m;
    uint64_t i, dense = 0;
    uint32_t slot;
    posio_result r = POSIO_OK;
    m.scan = s;
    m.mark = NULL;
    m.order = (uint32_t *)posio_allocate(a, (size_t)s->segment_count * sizeof *m.order);
    if (m.order != NULL) {
        for (i = 0; i < s->segment_count; i++)
            if (s->segments[i]->flags != NULL) m.order[i] = (uint32_t)dense++;
        m.mark = (unsigned char *)posio_allocate_zeroed(a, (size_t)(dense << s->slot_bits));
    }
    if (m.mark == NULL) r = mft_scan_i_no_memory(err);
    for (i = 0, *count = 0; r == POSIO_OK && i < s->segment_count; i++) {
        const mft_scan_i_columns *c = s->segments[i];
        for (slot = 0; c->flags != NULL && slot < c->count[MFT_SCAN_I_SLOTS]; slot++)
            if (mft_scan_i_is_directory(c, slot, (i << s->slot_bits) + slot))
                *count += mft_scan_i_count_cycle(&m, (i << s->slot_bits) + slot);
    }
    posio_release(a, m.mark);
    posio_release(a, m.order);
    return r;
}

MFT_SCAN_API posio_result mft_scan_check_paths(const mft_scan *scan, struct chunkwise_pool *pool,
                                               mft_scan_path_stats *out, posio_error *err)
{
    mft_scan_i_survey v;
    mft_scan_path_stats t;
    posio_result r;
    uint32_t i;
    memset(&v, 0, sizeof v);
    memset(&t, 0, sizeof t);
    v.scan = scan;
    v.parts = 64;
    r = thread_pool_parallel_for(pool, v.parts, mft_scan_i_survey_part, &v, err);
    for (i = 0; i < v.parts; i++) {
        t.missing += v.part[i].missing;
        t.stale += v.part[i].stale;
        t.not_directory += v.part[i].not_directory;
        t.freed += v.part[i].freed;
        t.recovered += v.part[i].recovered;
    }
    t.orphans = t.missing + t.stale + t.not_directory;
    if (r == POSIO_OK) r = mft_scan_i_count_cycles(scan, &t.cycles, err);
    if (r == POSIO_OK) *out = t;
    return r;
}

// ---------------------------------------------------------------------------------- children

/* The place in child_at of the directory that the name in this row lies in; NULL: that is no
   record. The root is not its own child. */
static uint32_t *mft_scan_i_child_place(const mft_scan *s, const mft_scan_i_columns *c,
                                        uint64_t number, uint32_t row)
{
    const uint64_t parent = MFT_SCAN_NUMBER(c->parent[row]);
    uint32_t slot = 0;
    const mft_scan_i_columns *up = mft_scan_i_locate(s, parent, &slot);
    uint32_t state;
    if (up == NULL || up->flags == NULL || parent == number) return NULL;
    state = MFT_SCAN_I_STATE(up->flags[slot]);
    return state == MFT_SCAN_IN_USE || state == MFT_SCAN_FREE || state == MFT_SCAN_BAAD
               ? &up->child_at[slot]
               : NULL;
}

/* Counts the children of every directory, or (fill) puts them where they belong. */
static void mft_scan_i_pass_children(mft_scan *s, int fill)
{
    uint64_t i;
    uint32_t slot, row;
    for (i = 0; i < s->segment_count; i++) {
        const mft_scan_i_columns *c = s->segments[i];
        for (slot = 0; c->flags != NULL && slot < c->count[MFT_SCAN_I_SLOTS]; slot++)
            for (row = c->name_at[slot]; row < c->name_at[slot + 1]; row++) {
                const uint64_t number = (i << s->slot_bits) + slot;
                uint32_t *place = mft_scan_i_child_place(s, c, number, row);
                if (place == NULL) continue;
                if (fill) {
                    s->child_slot[*place] = (uint32_t)number;
                    s->child_row[*place] = row;
                }
                ++*place;
            }
    }
}

/* child_at counts; then it is where each directory's children begin; filling moves that to where
   they end, which is where the next one's begin. */
static posio_result mft_scan_i_keep_children(mft_scan *s, posio_error *err)
{
    const posio_alloc *a = &s->desc.alloc;
    uint64_t i, sum = 0;
    uint32_t slot, n;
    if (s->stats.names > UINT32_MAX)
        return posio_fail(err, POSIO_E_LIMIT, POSIO_NO_OFFSET, "too many names to index children");
    s->child_slot = (uint32_t *)posio_allocate(a, (size_t)s->stats.names * 4);
    s->child_row = (uint32_t *)posio_allocate(a, (size_t)s->stats.names * 4);
    if (s->child_slot == NULL || s->child_row == NULL) return mft_scan_i_no_memory(err);
    mft_scan_i_pass_children(s, 0);
    for (i = 0; i < s->segment_count; i++) {
        mft_scan_i_columns *c = s->segments[i];
        for (slot = 0; c->flags != NULL && slot < c->count[MFT_SCAN_I_SLOTS]; slot++) {
            n = c->child_at[slot];
            c->child_at[slot] = (uint32_t)sum;
            sum += n;
        }
    }
    mft_scan_i_pass_children(s, 1);
    for (i = 0, sum = 0; i < s->segment_count; i++) { /* ends become beginnings again */
        mft_scan_i_columns *c = s->segments[i];
        for (slot = 0; c->flags != NULL && slot <= c->count[MFT_SCAN_I_SLOTS]; slot++) {
            n = c->child_at[slot];
            c->child_at[slot] = (uint32_t)sum;
            if (slot < c->count[MFT_SCAN_I_SLOTS]) sum = n;
        }
    }
    s->stats.index_bytes += s->stats.names * 8;
    return POSIO_OK;
}

static posio_result mft_scan_i_fill_child(const mft_scan *s, mft_scan_child *child)
{
    uint32_t slot = 0;
    mft_scan_name *n = &child->name;
    const mft_scan_i_columns *c;
    mft_scan_record record;
    if (child->i_at == child->i_end) return POSIO_E_RANGE;
    memset(n, 0, sizeof *n);
    n->slot = n->owner = s->child_slot[child->i_at];
    n->i_row = s->child_row[child->i_at];
    c = mft_scan_i_locate(s, n->slot, &slot);
    if ((c->flags[slot] & (MFT_SCAN_EXTENSION | MFT_SCAN_ORPHAN_EXTENSION)) == MFT_SCAN_EXTENSION) {
        mft_scan_i_link want;
        const mft_scan_i_link *hit;
        (void)mft_scan_get_record(s, n->slot, &record);
        n->owner = MFT_SCAN_NUMBER(record.base);
        want.base = (uint32_t)n->owner;
        want.extension = (uint32_t)n->slot;
        hit = (const mft_scan_i_link *)bsearch(&want, s->links, (size_t)s->link_count, sizeof want,
                                               mft_scan_i_compare_links);
        n->i_extension = (uint32_t)(hit - s->links) + 1;
    }
    mft_scan_i_fill_name(s, c, n, 0);
    return POSIO_OK;
}

MFT_SCAN_API posio_result mft_scan_first_child(const mft_scan *scan, uint64_t number,
                                               mft_scan_child *out)
{
    mft_scan_child child;
    uint32_t slot = 0;
    const mft_scan_i_columns *c = mft_scan_i_locate(scan, number, &slot);
    posio_result r;
    if (scan->child_slot == NULL) return POSIO_E_ARG;
    if (c == NULL || c->flags == NULL) return POSIO_E_RANGE;
    memset(&child, 0, sizeof child);
    child.i_at = c->child_at[slot];
    child.i_end = c->child_at[slot + 1];
    r = mft_scan_i_fill_child(scan, &child);
    if (r == POSIO_OK) *out = child;
    return r;
}

MFT_SCAN_API posio_result mft_scan_next_child(const mft_scan *scan, mft_scan_child *child)
{
    mft_scan_child next = *child;
    posio_result r;
    next.i_at++;
    r = mft_scan_i_fill_child(scan, &next);
    if (r == POSIO_OK) *child = next;
    return r;
}

// ---------------------------------------------------------------------------------- opening

static posio_result mft_scan_i_check_desc(const mft_scan_desc *d, posio_error *err)
{
    const char *wrong = NULL;
    if (d->mode > MFT_SCAN_PIPELINED_PARALLEL) wrong = "mode";
    if (d->input > MFT_SCAN_INPUT_DISK) wrong = "input";
    if (d->columns > MFT_SCAN_FULL) wrong = "columns";
    if (d->chunk_bytes > MFT_SCAN_I_CHUNK_MAX) wrong = "chunk_bytes";
    if (d->record_size != 0 &&
        (!mft_scan_i_is_power(d->record_size) || d->record_size < MFT_SCAN_I_STRIDE ||
         d->record_size > MFT_SCAN_I_RECORD_MAX))
        wrong = "record_size";
    if (!posio_alloc_is_valid(&d->alloc)) wrong = "alloc";
    if (wrong == NULL) return POSIO_OK;
    return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "mft_scan: impossible desc.%s", wrong);
}

static posio_result mft_scan_i_create(mft_scan **out, const posio_source *source,
                                      const mft_scan_desc *desc, posio_error *err)
{
    static const uint32_t words[] = {MFT_SCAN_I_WORD(MFT_SCAN_NEVER_WRITTEN, 0, 0),
                                     MFT_SCAN_I_WORD(MFT_SCAN_UNREAD, 0, 0),
                                     MFT_SCAN_I_WORD(MFT_SCAN_UNREAD, MFT_SCAN_SKIPPED, 0),
                                     MFT_SCAN_I_WORD(MFT_SCAN_BAD_SIGNATURE, 0, 0)};
    mft_scan_desc d;
    mft_scan *s;
    uint32_t i;
    posio_result r;
    memset(&d, 0, sizeof d);
    if (desc != NULL) d = *desc;
    if (source == NULL) return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "mft_scan: no source");
    r = mft_scan_i_check_desc(&d, err);
    if (r != POSIO_OK) return r;
    s = (mft_scan *)posio_allocate_zeroed(&d.alloc, sizeof *s);
    if (s == NULL) return mft_scan_i_no_memory(err);
    s->desc = d;
    s->source = *source;
    s->info.columns = d.columns;
    s->has_lock = thread_pool_mutex_init(&s->lock);
    for (i = 0; i < 4; i++) s->uniform[i].uniform = words[i];
    s->failure = (mft_scan_i_failure *)posio_allocate_zeroed(&d.alloc, sizeof *s->failure);
    if (s->failure != NULL) s->failure->offset = UINT64_MAX;
    if (s->failure != NULL && !thread_pool_mutex_init(&s->failure->lock)) {
        posio_release(&d.alloc, s->failure);
        s->failure = NULL;
    }
    if (s->failure == NULL || !s->has_lock) {
        mft_scan_close(s);
        return mft_scan_i_no_memory(err);
    }
    *out = s;
    return POSIO_OK;
}

/* Finds the $MFT in the source, and how it is laid out. */
static posio_result mft_scan_i_locate_mft(mft_scan *s, posio_error *err)
{
    unsigned char *head = NULL;
    size_t n = 0;
    posio_result r = mft_scan_i_read_head(s, &head, &n, err);
    if (r == POSIO_OK) r = mft_scan_i_identify(s, head, n, err);
    posio_release(&s->desc.alloc, head);
    if (r != POSIO_OK) return r;
    mft_scan_i_set_geometry(s);
    r = s->info.input == MFT_SCAN_INPUT_MFT ? mft_scan_i_map_raw(s, err)
                                            : mft_scan_i_map_volume(s, err);
    if (r != POSIO_OK) return r;
    s->info.mft_runs = (uint32_t)s->runs.count;
    if (s->info.slots == 0)
        return posio_fail(err, POSIO_E_DATA, s->info.volume_offset, "the $MFT has no records");
    return mft_scan_i_detect_fixed(s, err);
}

static posio_result mft_scan_i_make_segments(mft_scan *s, posio_error *err)
{
    s->segment_count = (s->info.slots + ((uint64_t)1 << s->slot_bits) - 1) >> s->slot_bits;
    if (s->segment_count > SIZE_MAX / sizeof *s->segments) return mft_scan_i_no_memory(err);
    s->segments = (mft_scan_i_columns **)posio_allocate_zeroed(
        &s->desc.alloc, (size_t)s->segment_count * sizeof *s->segments);
    if (s->segments == NULL) return mft_scan_i_no_memory(err);
    s->visible = s->info.slots;
    s->block_bytes = MFT_SCAN_I_BLOCK_FIRST;
    s->stats.index_bytes += s->segment_count * sizeof *s->segments;
    return POSIO_OK;
}

/* What could not be read becomes a warning; a lack of memory is not the medium's fault. */
static posio_result mft_scan_i_judge(mft_scan *s, posio_error *err)
{
    const mft_scan_i_failure *f = s->failure;
    if (f->fatal.code != POSIO_OK) {
        if (err != NULL) *err = f->fatal;
        return f->fatal.code;
    }
    if (f->offset != UINT64_MAX)
        mft_scan_i_warn(s, f->offset, "records could not be read: %s", f->error.message);
    return POSIO_OK;
}

static posio_result mft_scan_i_scan(mft_scan *s, posio_error *err)
{
    posio_result r = mft_scan_i_locate_mft(s, err);
    if (r == POSIO_OK) r = mft_scan_i_make_segments(s, err);
    if (r == POSIO_OK) r = mft_scan_i_choose_mode(s, err);
    if (r == POSIO_OK) r = mft_scan_i_run_pipeline(s, err);
    if (r == POSIO_OK) r = mft_scan_i_judge(s, err);
    if (r == POSIO_OK) r = mft_scan_i_link_all(s, err);
    if (r == POSIO_OK && s->desc.flags & MFT_SCAN_PATHS) r = mft_scan_i_keep_paths(s, err);
    if (r == POSIO_OK && s->desc.flags & MFT_SCAN_CHILDREN) r = mft_scan_i_keep_children(s, err);
    return r;
}

MFT_SCAN_API posio_result mft_scan_open_source(mft_scan **out, const posio_source *source,
                                               const mft_scan_desc *desc, posio_error *err)
{
    mft_scan *s = NULL;
    posio_error local;
    posio_result r = mft_scan_i_create(&s, source, desc, err);
    if (r != POSIO_OK) return r;
    if (err == NULL) err = &local;
    r = mft_scan_i_scan(s, err);
    if (r == POSIO_OK) {
        posio_release(&s->desc.alloc, s->bitmap);
        s->bitmap = NULL;
        memset(&s->source, 0, sizeof s->source);
        *out = s;
        return r;
    }
    (void)posio_fail_in(err, s->desc.name, 0);
    mft_scan_close(s);
    return r;
}

MFT_SCAN_API posio_result mft_scan_open(mft_scan **out, const char *path, const mft_scan_desc *desc,
                                        posio_error *err)
#ifdef POSIO_NO_FILES
{
    (void)out;
    (void)path;
    (void)desc;
    return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET, "built with POSIO_NO_FILES");
}
#else
{
    posio_file *file = NULL;
    posio_source source;
    mft_scan_desc d;
    posio_result r;
    memset(&d, 0, sizeof d);
    if (desc != NULL) d = *desc;
    if (d.name == NULL) d.name = path;
    r = posio_file_open(&file, path, NULL, err);
    if (r != POSIO_OK) return r;
    source = posio_file_source(file);
    r = mft_scan_open_source(out, &source, &d, err);
    posio_file_close(file);
    return r;
}
#endif

MFT_SCAN_API void mft_scan_close(mft_scan *scan)
{
    posio_alloc a;
    if (scan == NULL) return;
    a = scan->desc.alloc;
    mft_scan_i_free_scratches(scan);
    while (scan->blocks != NULL) {
        mft_scan_i_block *block = scan->blocks;
        scan->blocks = block->next;
        posio_release(&a, block);
    }
    posio_release(&a, scan->segments);
    posio_release(&a, scan->runs.run);
    posio_release(&a, scan->bitmap);
    posio_release(&a, scan->links);
    posio_release(&a, scan->orphans);
    posio_release(&a, scan->memo);
    posio_release(&a, scan->child_slot);
    posio_release(&a, scan->child_row);
    if (scan->failure != NULL) thread_pool_mutex_destroy(&scan->failure->lock);
    posio_release(&a, scan->failure);
    if (scan->has_lock) thread_pool_mutex_destroy(&scan->lock);
    posio_release(&a, scan);
}

MFT_SCAN_API const mft_scan_metadata *mft_scan_info(const mft_scan *scan) { return &scan->info; }

MFT_SCAN_API const mft_scan_stats *mft_scan_get_stats(const mft_scan *scan) { return &scan->stats; }

MFT_SCAN_API posio_result mft_scan_get_warning(const mft_scan *scan, uint32_t i,
                                               mft_scan_warning *out)
{
    return posio_get_warning(&scan->warnings, &i, NULL, out) ? POSIO_OK : POSIO_E_RANGE;
}

static const char *mft_scan_i_word_of(const char *const *words, size_t n, uint32_t i)
{
    return i < n ? words[i] : "?";
}

MFT_SCAN_API const char *mft_scan_state_name(uint32_t state)
{
    static const char *const words[] = {"never_written", "free",          "in_use",
                                        "baad",          "bad_signature", "unread"};
    return mft_scan_i_word_of(words, sizeof words / sizeof words[0], state);
}

MFT_SCAN_API const char *mft_scan_mode_name(uint32_t mode)
{
    static const char *const words[] = {"auto", "serial", "parallel", "pipelined-parallel"};
    return mft_scan_i_word_of(words, sizeof words / sizeof words[0], mode);
}

MFT_SCAN_API const char *mft_scan_parent_name(uint32_t status)
{
    static const char *const words[] = {"ok",    "freed",         "recovered", "missing",
                                        "stale", "not_directory", "cycle",     "nameless"};
    return mft_scan_i_word_of(words, sizeof words / sizeof words[0], status);
}

MFT_SCAN_API const char *mft_scan_damage_name(uint32_t damage)
{
    static const char *const words[] = {"sound",
                                        "fixup_array",
                                        "used_size",
                                        "attribute_bounds",
                                        "attribute_type",
                                        "attribute_order",
                                        "attribute_name",
                                        "value",
                                        "sizes",
                                        "file_name",
                                        "standard_information",
                                        "attribute_list",
                                        "reparse_point",
                                        "no_end_marker"};
    return mft_scan_i_word_of(words, sizeof words / sizeof words[0], damage);
}

// ---------------------------------------------------------------------------------- visiting

/* A record that must wait for others, because a file is spread over them. */
typedef struct mft_scan_i_waiting {
    uint32_t base, number; /* equal: the base itself */
    uint64_t at;           /* in the cache, or POSIO_NO_OFFSET: read again */
    uint32_t torn;         /* flags that cannot be found again in a record that was fixed up */
    uint32_t reserved;
} mft_scan_i_waiting;

typedef struct mft_scan_i_visitor {
    mft_scan *scan; /* also what visit gets to see */
    mft_scan_i_scratch *x;
    mft_scan_i_columns *segment; /* the only one of the view */
    int (*visit)(void *user, const mft_scan *view, uint64_t number);
    void *user;
    unsigned char **cache; /* in pieces, so that it need not be moved */
    uint64_t used;         /* bytes */
    uint64_t pieces, piece_room;
    mft_scan_i_waiting *waiting;
    uint64_t count, count_room;
    uint64_t *numbers;
    mft_scan_i_link *links;
    uint64_t others; /* of the group: hard links in its extensions */
    int joined;      /* has it any? */
} mft_scan_i_visitor;

static posio_result mft_scan_i_call(mft_scan_i_visitor *v, uint64_t number, posio_error *err)
{
    if (v->visit(v->user, v->scan, number) == 0) return POSIO_OK;
    return posio_fail(err, POSIO_E_CANCELED, POSIO_NO_OFFSET, "canceled");
}

/* Where in the cache the bytes from `at` on are. */
static unsigned char *mft_scan_i_cached(const mft_scan_i_visitor *v, uint64_t at)
{
    return v->cache[at / MFT_SCAN_I_PIECE] + at % MFT_SCAN_I_PIECE;
}

/* Room in the cache for a record; NULL when it is full. */
static unsigned char *mft_scan_i_make_room(mft_scan_i_visitor *v, uint64_t budget)
{
    const posio_alloc *a = &v->scan->desc.alloc;
    void *array = v->cache;
    if (v->used == v->pieces * MFT_SCAN_I_PIECE) {
        if ((v->pieces + 1) * MFT_SCAN_I_PIECE > budget ||
            !posio_grow(a, &array, v->pieces, &v->piece_room, sizeof *v->cache))
            return NULL;
        v->cache = (unsigned char **)array;
        v->cache[v->pieces] = (unsigned char *)posio_allocate(a, MFT_SCAN_I_PIECE);
        if (v->cache[v->pieces] == NULL) return NULL;
        v->pieces++;
    }
    v->used += v->scan->record_size;
    return mft_scan_i_cached(v, v->used - v->scan->record_size);
}

/* Keeps a record that waits. Its bytes, where there is room; else only that there is one. */
static posio_result mft_scan_i_wait(mft_scan_i_visitor *v, uint32_t base, uint32_t number,
                                    uint32_t word, const unsigned char *rec, posio_error *err)
{
    mft_scan *s = v->scan;
    const uint64_t most = s->desc.cache_bytes != 0 ? s->desc.cache_bytes : (uint64_t)128 << 20;
    void *array = v->waiting;
    mft_scan_i_waiting *w;
    unsigned char *room;
    uint64_t lists;
    if (v->count == v->count_room && 3 * v->count_room * sizeof *w > most)
        return posio_fail(err, POSIO_E_LIMIT, POSIO_NO_OFFSET,
                          "%llu records wait for others: more than desc.cache_bytes can list",
                          (unsigned long long)v->count);
    if (!posio_grow(&s->desc.alloc, &array, v->count, &v->count_room, sizeof *w))
        return mft_scan_i_no_memory(err);
    v->waiting = (mft_scan_i_waiting *)array;
    w = &v->waiting[v->count++];
    w->base = base;
    w->number = number;
    w->at = POSIO_NO_OFFSET;
    w->torn = word & (uint32_t)(MFT_SCAN_TORN | MFT_SCAN_TORN_SLACK);
    w->reserved = 0;
    lists = v->count_room * sizeof *w;
    room = mft_scan_i_make_room(v, most > lists ? most - lists : 0);
    if (room != NULL) {
        memcpy(room, rec, s->record_size);
        w->at = v->used - s->record_size;
    } else {
        s->stats.ext_name_cache_skipped++;
    }
    return POSIO_OK;
}

/* The view of consecutive slots from `first` on, as they lie in the scratch. */
static void mft_scan_i_view(mft_scan_i_visitor *v, uint64_t first, uint64_t visible,
                            const uint64_t *numbers)
{
    v->segment = &v->x->columns;
    v->scan->segments = &v->segment;
    v->scan->first = first;
    v->scan->visible = visible;
    v->scan->numbers = numbers;
}

/* One segment: what is complete is visited, the rest waits. */
static posio_result mft_scan_i_visit_segment(mft_scan_i_visitor *v, uint64_t segment,
                                             posio_error *err)
{
    mft_scan *s = v->scan;
    const uint64_t first = segment << s->slot_bits;
    const uint32_t slots = (uint32_t)posio_min((uint64_t)1 << s->slot_bits, s->info.slots - first);
    const mft_scan_i_columns *c = &v->x->columns;
    uint32_t i, extension = 0;
    int uniform;
    posio_result r = POSIO_OK;
    mft_scan_i_load(s, segment, 1, v->x->buffer, v->x->unread, &v->x->reader);
    mft_scan_i_parse_segment(s, v->x, segment, v->x->buffer, v->x->unread, slots, &uniform);
    mft_scan_i_view(v, first, slots, NULL);
    for (i = 0; i < slots && r == POSIO_OK; i++) {
        const uint32_t word = c->flags[i], number = (uint32_t)(first + i);
        const unsigned char *rec = v->x->buffer + (size_t)i * s->record_size;
        if (word & MFT_SCAN_EXTENSION)
            r = mft_scan_i_wait(
                v, (uint32_t)posio_min(MFT_SCAN_NUMBER(c->base[extension]), UINT32_MAX), number,
                word, rec, err);
        else if (word & MFT_SCAN_HAS_LIST) r = mft_scan_i_wait(v, number, number, word, rec, err);
        else r = mft_scan_i_call(v, number, err);
        extension += (word & MFT_SCAN_EXTENSION) != 0;
    }
    return r;
}

static int mft_scan_i_compare_waiting(const void *a, const void *b)
{
    const mft_scan_i_waiting *x = (const mft_scan_i_waiting *)a, *y = (const mft_scan_i_waiting *)b;
    if (x->base != y->base) return x->base < y->base ? -1 : 1;
    if ((x->base == x->number) != (y->base == y->number)) return x->base == x->number ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Parses a record that waited into place `slot` of the scratch; its word. What is cached is fixed
   up already. It was counted before. */
static void mft_scan_i_parse_waiting(mft_scan_i_visitor *v, mft_scan_i_parse *p, uint32_t slot,
                                     const mft_scan_i_waiting *w)
{
    mft_scan *s = v->scan;
    const uint32_t n = s->record_size, fixed = s->info.is_pre_fixed;
    unsigned char *rec = v->x->buffer + (size_t)slot * n;
    uint8_t unread[2] = {0, 0};
    if (w->at != POSIO_NO_OFFSET) {
        memcpy(rec, mft_scan_i_cached(v, w->at), n);
        s->info.is_pre_fixed = 1;
    } else {
        mft_scan_i_read_mft(s, (uint64_t)w->number * n, rec, 0, n, unread, &v->x->reader);
        s->stats.deferred_disk_reads++;
    }
    p->slot = slot;
    p->number = w->number;
    v->numbers[slot] = w->number;
    (void)mft_scan_i_parse_slot(p, rec, unread[0]);
    p->c->flags[slot] |= w->torn;
    s->info.is_pre_fixed = fixed;
}

/* Takes the rows of the only slot away: they have been visited. */
static void mft_scan_i_drop_rows(mft_scan_i_columns *c)
{
    c->count[MFT_SCAN_I_NAMES] = c->count[MFT_SCAN_I_STREAMS] = c->count[MFT_SCAN_I_BYTES] = 0;
    c->count[MFT_SCAN_I_INITIALS] = c->count[MFT_SCAN_I_TOTALS] = c->count[MFT_SCAN_I_LISTED] = 0;
    c->count[MFT_SCAN_I_REPARSES] = c->count[MFT_SCAN_I_OBJECTS] = 0;
}

/* Visits a base (slot 0 of the view) with the extensions that belong to it, then the others. */
static posio_result mft_scan_i_visit_view(mft_scan_i_visitor *v, uint32_t slots, int with_base,
                                          int complete, posio_error *err)
{
    mft_scan *s = v->scan;
    mft_scan_i_columns *c = &v->x->columns;
    uint32_t i, k = 0;
    posio_result r = POSIO_OK;
    mft_scan_i_end_columns(c, slots);
    mft_scan_i_view(v, 0, slots, v->numbers);
    s->links = v->links;
    s->link_count = 0;
    for (i = 0; i < slots; i++) {
        uint64_t base;
        if (!(c->flags[i] & MFT_SCAN_EXTENSION)) continue;
        base = c->base[k++];
        if (i == 0 && !with_base) continue; /* what should be a base is one of another's */
        if (mft_scan_i_belongs(s, c->flags[i], base)) {
            s->links[s->link_count].base = (uint32_t)v->numbers[0];
            s->links[s->link_count].sum = c->extension_sum[k - 1];
            s->links[s->link_count++].extension = (uint32_t)v->numbers[i];
        } else {
            c->flags[i] |= MFT_SCAN_ORPHAN_EXTENSION;
            s->stats.orphan_extension++;
        }
    }
    if (!with_base) c->flags[0] |= MFT_SCAN_CONTINUED;
    if (s->link_count != 0) v->others += mft_scan_i_join(s, 0, s->link_count);
    v->joined |= s->link_count != 0;
    if (complete) mft_scan_i_check_lists(s, 0);
    if (s->link_count != 0 && with_base && !(c->flags[0] & MFT_SCAN_HAS_LIST))
        mft_scan_i_blame_list(s, &c->flags[0]);
    for (i = 0; i < slots && r == POSIO_OK; i++)
        if (i == 0 ? with_base || s->link_count != 0
                   : (c->flags[i] & MFT_SCAN_ORPHAN_EXTENSION) != 0)
            r = mft_scan_i_call(v, v->numbers[i], err);
    return r;
}

/* Everything that waits for one base. What does not fit into the view at once is visited in pieces,
   of which only the first has the base's own rows; none has where these were visited before. */
static posio_result mft_scan_i_visit_group(mft_scan_i_visitor *v, const mft_scan_i_waiting *w,
                                           uint64_t n, posio_error *err)
{
    mft_scan *s = v->scan;
    const uint64_t most = ((uint64_t)1 << s->slot_bits) - 1;
    const int waits = w[0].base == w[0].number;
    mft_scan_i_waiting base = w[0];
    mft_scan_stats unused;
    mft_scan_i_parse p;
    uint64_t done = waits ? 1 : 0;
    uint32_t word, own;
    posio_result r = POSIO_OK;
    memset(&unused, 0, sizeof unused);
    mft_scan_i_init_parse(&p, s, v->x);
    p.tally = &unused;
    if (!waits) {
        base.number = base.base;
        base.at = POSIO_NO_OFFSET;
        base.torn = 0;
    }
    v->others = 0;
    v->joined = 0;
    do {
        const int with_base = waits && done == 1;
        const uint32_t slots = (uint32_t)posio_min(n - done, most) + 1;
        uint32_t slot;
        mft_scan_i_begin_columns(p.c);
        mft_scan_i_parse_waiting(v, &p, 0, &base);
        word = p.c->flags[0];
        own = p.links;
        if (!with_base) mft_scan_i_drop_rows(p.c);
        for (slot = 1; slot < slots; slot++) mft_scan_i_parse_waiting(v, &p, slot, &w[done++]);
        r = mft_scan_i_visit_view(v, slots, with_base, slots == n + (waits ? 0 : 1), err);
    } while (r == POSIO_OK && done < n);
    if (v->joined) mft_scan_i_count_joined(s, word, own, v->others);
    return r;
}

static posio_result mft_scan_i_visit_waiting(mft_scan_i_visitor *v, posio_error *err)
{
    uint64_t i, from, begin = mft_scan_i_now();
    posio_result r = POSIO_OK;
    if (v->count != 0)
        qsort(v->waiting, (size_t)v->count, sizeof *v->waiting, mft_scan_i_compare_waiting);
    for (i = from = 0; i < v->count && r == POSIO_OK; i++) {
        if (i + 1 < v->count && v->waiting[i + 1].base == v->waiting[i].base) continue;
        r = mft_scan_i_visit_group(v, v->waiting + from, i + 1 - from, err);
        from = i + 1;
    }
    v->scan->stats.deferred_ns = mft_scan_i_now() - begin;
    return r;
}

static posio_result mft_scan_i_visit_all(mft_scan_i_visitor *v, posio_error *err)
{
    mft_scan *s = v->scan;
    uint64_t i, count = (s->info.slots + ((uint64_t)1 << s->slot_bits) - 1) >> s->slot_bits;
    posio_result r = POSIO_OK;
    for (i = 0; i < count && r == POSIO_OK; i++) {
        r = mft_scan_i_visit_segment(v, i, err);
        if (r == POSIO_OK && s->desc.progress != NULL &&
            s->desc.progress(s->desc.user, posio_min((i + 1) * s->segment_bytes, s->info.mft_size),
                             s->info.mft_size) != 0)
            r = posio_fail(err, POSIO_E_CANCELED, POSIO_NO_OFFSET, "canceled");
    }
    return r == POSIO_OK ? mft_scan_i_visit_waiting(v, err) : r;
}

static posio_result mft_scan_i_begin_visit(mft_scan_i_visitor *v, posio_error *err)
{
    mft_scan *s = v->scan;
    const size_t slots = (size_t)1 << s->slot_bits;
    v->x = mft_scan_i_take_scratch(s);
    v->numbers = (uint64_t *)posio_allocate(&s->desc.alloc, slots * sizeof *v->numbers);
    v->links = (mft_scan_i_link *)posio_allocate(&s->desc.alloc, slots * sizeof *v->links);
    if (v->x == NULL || v->numbers == NULL || v->links == NULL) return mft_scan_i_no_memory(err);
    s->info.mode = MFT_SCAN_SERIAL;
    s->info.threads = 1;
    return POSIO_OK;
}

MFT_SCAN_API posio_result mft_scan_visit(const posio_source *source, const mft_scan_desc *desc,
                                         int (*visit)(void *user, const mft_scan *view,
                                                      uint64_t number),
                                         void *user, mft_scan_stats *stats, posio_error *err)
{
    mft_scan_i_visitor v;
    mft_scan *s = NULL;
    posio_error local;
    posio_result r;
    memset(&v, 0, sizeof v);
    r = mft_scan_i_create(&s, source, desc, err);
    if (r != POSIO_OK) return r;
    if (err == NULL) err = &local;
    v.scan = s;
    v.visit = visit;
    v.user = user;
    r = mft_scan_i_locate_mft(s, err);
    if (r == POSIO_OK) r = mft_scan_i_begin_visit(&v, err);
    if (r == POSIO_OK) r = mft_scan_i_visit_all(&v, err);
    if (r == POSIO_OK) r = mft_scan_i_judge(s, err);
    if (v.x != NULL) mft_scan_i_add_stats(&s->stats, &v.x->reader.tally);
    if (stats != NULL) *stats = s->stats;
    if (r != POSIO_OK) (void)posio_fail_in(err, s->desc.name, 0);
    posio_release(&s->desc.alloc, v.numbers);
    posio_release(&s->desc.alloc, v.links);
    posio_release(&s->desc.alloc, v.waiting);
    while (v.pieces != 0) posio_release(&s->desc.alloc, v.cache[--v.pieces]);
    posio_release(&s->desc.alloc, v.cache);
    s->segments = NULL; /* these were the visitor's */
    s->links = NULL;
    mft_scan_close(s);
    return r;
}

#undef MFT_SCAN_I_COLUMN
#undef MFT_SCAN_I_DAMAGE
#undef MFT_SCAN_I_END
#undef MFT_SCAN_I_FLAGS
#undef MFT_SCAN_I_HUGE_PAGES
#undef MFT_SCAN_I_INLINE
#undef MFT_SCAN_I_MEMO_LENGTH
#undef MFT_SCAN_I_MEMO_NAMELESS
#undef MFT_SCAN_I_MEMO_PENDING
#undef MFT_SCAN_I_MEMO_PREFIX
#undef MFT_SCAN_I_MFT_MAX
#undef MFT_SCAN_I_PREFETCH
#undef MFT_SCAN_I_SSE2
#undef MFT_SCAN_I_STATE
#undef MFT_SCAN_I_TEXT
#undef MFT_SCAN_I_WORD

#elif defined(MFT_SCAN_IMPLEMENTATION) && MFT_SCAN_I_IMPLEMENTED < 100
#error "mft_scan.h: the functions of an older copy came first; include the newest header first"
#endif
