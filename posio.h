/* posio.h - bytes at an offset: one small struct for files, memory, slices and any image reader.
   SPDX-License-Identifier: MIT OR Unlicense

   QUICK START

       #define POSIO_IMPLEMENTATION
       #include "posio.h"
       #include <stdio.h>

       int main(int argc, char **argv)
       {
           posio_file *file = NULL;
           posio_error err;
           unsigned char sector[512];
           if (argc < 2 || posio_file_open(&file, argv[1], NULL, &err) != POSIO_OK) return 2;
           posio_source src = posio_file_source(file);
           if (posio_read(&src, 0, sector, sizeof sector, &err) != POSIO_OK) puts(err.message);
           posio_file_close(file);
           return 0;
       }

   WHAT IT DOES NOT DO
       No seek and no cursor: every read names its offset, so any number of threads may share a
       source. No asynchronous I/O, no writing at an offset, no caching of its own.

   OPTIONS  (define before the first include; each works alone)
       POSIO_IMPLEMENTATION   the functions too, with internal linkage; legal in many files
       POSIO_API              how those functions are declared (default: static, unused allowed)
       POSIO_NO_FILES         only sources in memory: no operating system is needed at all

   THREADS
       Sources are values. read_at and extent_at may be called by any number of threads at once on
       the same source. Streams and sinks belong to one thread at a time. No thread is started.

   MEMORY
       Each open file or folder is one block (under 1 KiB plus its path) from the desc's allocator.
       Reads allocate nothing, but for unaligned reads of an unbuffered file: 1 MiB while it lasts.

   ERRORS
       Every call returns a posio_result; 0 is success. An optional posio_error receives what
       happened in the innermost place that failed: code, OS error, file, segment, byte offset and
       a sentence. Outer layers keep these and only add to the sentence. Outputs are untouched on
       failure unless a function says otherwise.

   LIFETIMES
       A posio_source borrows: what it was made from must outlive it. Stacks are acyclic. */

/* >>types */
#ifndef CHUNKWISE_POSIO_H
#define CHUNKWISE_POSIO_H

#define POSIO_VERSION 100 /* 1.0.0: major * 100 + minor */
#if defined(THREAD_POOL_NO_THREADS)
#define POSIO_I_NO_THREADS /* one switch for all of a file, checked below */
#endif

#include <stddef.h>
#include <stdint.h>

/* ------------------------------------------------------------------ essential: results, errors */

/* 0 is success, failures are negative. The list is append-only. */
typedef int32_t posio_result;
enum {
    POSIO_OK = 0,
    POSIO_E_ARG = -1,          /* the caller passed something impossible */
    POSIO_E_NOMEM = -2,        /* no memory is left, or no descriptor for a file */
    POSIO_E_IO = -3,           /* the system could not read or write; os_error tells */
    POSIO_E_NOT_FOUND = -4,    /* no such file */
    POSIO_E_ACCESS = -5,       /* the system denies permission */
    POSIO_E_EXISTS = -6,       /* an output is there already */
    POSIO_E_RANGE = -7,        /* bytes beyond the end were asked for */
    POSIO_E_FORMAT = -8,       /* this is not that format: its signature is absent */
    POSIO_E_DATA = -9,         /* it is that format, but damaged or inconsistent */
    POSIO_E_UNSUPPORTED = -10, /* recognised, and refused by name */
    POSIO_E_LIMIT = -11,       /* a limit of the desc would be passed */
    POSIO_E_POLICY = -12,      /* a name inside an image leads where it may not; names the option */
    POSIO_E_MISSING = -13,     /* another file of the set is needed and absent */
    POSIO_E_CANCELED = -14,    /* a callback asked to stop */
    POSIO_E_BUSY = -15,        /* still in use */
    POSIO_E_SPACE = -16,       /* the output buffer is too small */
    POSIO_E_ABI = -17          /* made by an incompatible version of this collection */
};

#define POSIO_NO_OFFSET UINT64_MAX

/* What went wrong, in the innermost place. Frozen within a major version (512 bytes). */
typedef struct posio_error {
    posio_result code;
    int32_t os_error; /* errno or GetLastError(); 0 = not from the system */
    uint64_t offset;  /* byte offset in `file`, or POSIO_NO_OFFSET */
    uint32_t segment; /* 1-based number of the segment or extent file; 0 = does not apply */
    uint32_t reserved;
    char file[200];    /* name of the innermost file; the tail of it when longer; may be empty */
    char message[288]; /* one sentence in English, UTF-8, without a newline. May quote hostile
                           text: escape control characters before showing it on a terminal. */
} posio_error;

/* Something that was found wrong, and read around. Frozen within a major version (256 bytes). */
typedef struct posio_warning {
    uint64_t offset;  /* in the file, or POSIO_NO_OFFSET */
    uint32_t segment; /* 1-based number of the segment or extent file; 0 = does not apply */
    uint32_t reserved;
    char message[240]; /* as that of an error */
} posio_warning;

/* Where an allocator may be chosen: all three zero means malloc and free. Thread-safe. */
typedef struct posio_alloc {
    void *(*alloc_fn)(size_t size, void *user);
    void (*free_fn)(void *block, void *user);
    void *user;
} posio_alloc;

/* ------------------------------------------------------------------ essential: the source */

/* What is known of a run of bytes without reading it. */
enum {
    POSIO_EXTENT_DATA = 0,      /* stored as it is (also: nothing is known) */
    POSIO_EXTENT_ZERO = 1,      /* reads as zeros because the format says so */
    POSIO_EXTENT_HOLE = 2,      /* reads as zeros because nothing is allocated */
    POSIO_EXTENT_COMPRESSED = 3 /* stored compressed */
};
typedef struct posio_extent {
    uint64_t length; /* how many bytes from the asked offset are of this kind; at least 1 */
    uint32_t kind;
    uint32_t reserved;
} posio_extent;

enum {
    POSIO_SOURCE_DEVICE = 1 /* a block device: no useful extents, reads may block for long */
};

/* A positioned source of bytes: a small value to copy. Frozen within a major version.
   read_at delivers exactly n bytes from offset, or an error (then buf holds anything).
   extent_at may be NULL.
   Both: Threads: any. Allocates: yes (where a source needs room to decode). Blocks: I/O. */
typedef struct posio_source {
    uint64_t size;  /* bytes */
    uint32_t unit;  /* natural chunk in bytes; 0 = none. A hint for cutting reads. */
    uint32_t flags; /* POSIO_SOURCE_... */
    posio_result (*read_at)(void *self, uint64_t offset, void *buf, size_t n, posio_error *err);
    posio_result (*extent_at)(void *self, uint64_t offset, posio_extent *out, posio_error *err);
    void *self;
    void *reserved; /* NULL */
} posio_source;

/* Bytes that must flow, because a pipe cannot be positioned. */
typedef struct posio_stream {
    /* Up to n bytes; *got = 0 only at the end. */
    posio_result (*read)(void *self, void *buf, size_t n, size_t *got, posio_error *err);
    void *self;
} posio_stream;

typedef struct posio_sink {
    /* Appends all n bytes or fails. */
    posio_result (*write)(void *self, const void *buf, size_t n, posio_error *err);
    /* Appends n zero bytes, as a hole where the sink can; may be NULL. */
    posio_result (*hole)(void *self, uint64_t n, posio_error *err);
    void *self;
} posio_sink;

/* Opens the other files of a set. Frozen within a major version.
   `rule` says where the name comes from, and so what it may be. */
enum {
    POSIO_NAME_SIBLING = 0, /* derived from the user's own path by the format's naming scheme */
    POSIO_NAME_STORED = 1   /* found inside an image: only below the image's own folder */
};
typedef struct posio_opener {
    posio_result (*open)(void *self, const char *name, uint32_t rule, posio_source *out,
                         posio_error *err);
    void (*close)(void *self, posio_source *src);
    /* Calls each(user, name) for every plain name in the folder until it returns non-zero; NULL
       where names cannot be listed. */
    posio_result (*list)(void *self, int (*each)(void *user, const char *name), void *user,
                         posio_error *err);
    void *self;
} posio_opener;

/* What an image is built on, as it says itself. */
enum {
    POSIO_REFERENCE_PARENT = 0, /* another image, which holds what this one does not */
    POSIO_REFERENCE_DATA = 1    /* a plain file that holds the bytes of this one */
};
enum { POSIO_IDENTITY = 64 }; /* bytes, the terminator included */
typedef struct posio_reference {
    const char *name;   /* as stored, terminated; hostile */
    const char *format; /* of a parent, as the image names it; NULL = it does not */
    uint32_t kind;      /* POSIO_REFERENCE_... */
    uint32_t reserved;
    /* Where parents are known by an ID (VMDK, VHDX, VHD): room for POSIO_IDENTITY bytes, in which
       the resolver puts what the image it opened says of itself. NULL: nobody asks. */
    char *identity;
} posio_reference;

/* Opens what an image refers to: it may lie in a format that the image's reader does not know, so
   the application decides. What it opens stays open until the image is closed, and is then closed
   by whoever made the resolver. An image that stores several names for its parent asks for one
   after the other, until one opens and has the right identity; only the last answer is used, the
   others may be closed. */
typedef struct posio_resolver {
    posio_result (*open)(void *self, const posio_reference *reference, posio_source *out,
                         posio_error *err);
    void *self;
} posio_resolver;

/* ------------------------------------------------------------------ essential: memory, slices */

/* The caller keeps these structs (and what they point to) alive while the source is used. */
typedef struct posio_memory {
    const void *data;
    uint64_t size;
} posio_memory;

typedef struct posio_slice {
    posio_source base;
    uint64_t offset, size;
} posio_slice;

/* ------------------------------------------------------------------ essential: files */

typedef struct posio_file posio_file;

enum {
    POSIO_FILE_SEQUENTIAL = 1, /* hint: mostly read front to back */
    POSIO_FILE_UNBUFFERED = 2  /* bypass the system's cache if it can; see alignment in the info */
};
typedef struct posio_file_desc {
    uint32_t flags;
    uint32_t reserved;
    posio_alloc alloc;
} posio_file_desc;

typedef struct posio_file_info {
    uint64_t size;          /* bytes; block devices are measured */
    uint64_t device, inode; /* identity: equal for the same file under two names */
    uint32_t alignment;     /* reads aligned to this avoid a copy; 1 = anything goes */
    uint32_t is_device;
} posio_file_info;

/* ------------------------------------------------------------------ advanced: folders, sinks */

typedef struct posio_folder posio_folder;

enum {
    POSIO_ALLOW_OUTSIDE = 1, /* stored names may be absolute, hold .. or follow links out */
    POSIO_ALLOW_DEVICE = 2   /* stored names may be devices */
};
typedef struct posio_folder_desc {
    uint32_t allow;      /* POSIO_ALLOW_..., for POSIO_NAME_STORED; 0 = only next to the image */
    uint32_t max_open;   /* descriptors kept open; 0 = 64. Soft by one for each reading thread. */
    uint32_t file_flags; /* POSIO_FILE_... for every file opened */
    uint32_t reserved;
    posio_alloc alloc;
} posio_folder_desc;

typedef struct posio_layer posio_layer;

enum { POSIO_LAYERS = 64 }; /* files that may stand on each other */

typedef struct posio_file_sink posio_file_sink;

enum {
    POSIO_SINK_FORCE = 1,  /* an existing NAME is replaced at the end */
    POSIO_SINK_RESUME = 2, /* NAME.part is continued, not begun anew */
    POSIO_SINK_NO_HOLES = 4,
    POSIO_SINK_NO_SYNC = 8
};
typedef struct posio_file_sink_desc {
    uint32_t flags;
    uint32_t reserved;
    posio_alloc alloc;
} posio_file_sink_desc;

/* An open descriptor (POSIX) or HANDLE (Windows) that only flows: standard input, a pipe. */
typedef struct posio_pipe {
    intptr_t handle;
} posio_pipe;

/* ------------------------------------------------------------------ advanced: for readers */

/* What a reader keeps of its warnings: the first ones, and the newest. All zero: there are none. */
enum { POSIO_WARNINGS = 32 };
typedef struct posio_warnings {
    posio_warning list[POSIO_WARNINGS];
    uint32_t count, left_out;
} posio_warnings;

/* The last answer of a source's extent_at. All zero: there is none. */
typedef struct posio_known {
    const posio_source *of;
    uint64_t at;
    posio_extent extent;
} posio_known;

/* ------------------------------------------------------------------ advanced: the processor */

/* What the processor can do and the system has switched on. */
enum {
    POSIO_CPU_SSE41 = 1 << 0,
    POSIO_CPU_SSSE3 = 1 << 1,
    POSIO_CPU_SHA = 1 << 2,
    POSIO_CPU_BMI2 = 1 << 3,
    POSIO_CPU_AVX2 = 1 << 4,
    POSIO_CPU_AVX512 = 1 << 5, /* F, BW, DQ, VL */
    POSIO_CPU_PCLMUL = 1 << 6,
    POSIO_CPU_SSE42 = 1 << 7,
    POSIO_CPU_VNNI512 = 1 << 8,
    POSIO_CPU_NEON = 1 << 16,
    POSIO_CPU_ARM_SHA = 1 << 17,
    POSIO_CPU_ARM_CRC = 1 << 18,
    POSIO_CPU_KNOWN = 1 << 30 /* internal: the word has been filled */
};

#elif POSIO_VERSION < 100
#error "posio.h: an older copy came first in this file; include the newest chunkwise header first"
#endif
#if defined(THREAD_POOL_NO_THREADS) && !defined(POSIO_I_NO_THREADS)
#error "define THREAD_POOL_NO_THREADS before the first chunkwise header of the file"
#endif
/* >>end types */

/* >>functions */
#if defined(POSIO_IMPLEMENTATION) && !defined(POSIO_I_IMPLEMENTED)
#define POSIO_I_IMPLEMENTED 100

#ifndef POSIO_API
#if defined(__GNUC__) || defined(__TINYC__)
#define POSIO_API static __attribute__((unused))
#else
#define POSIO_API static
#endif
#endif

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* The structs that cross between translation units and versions keep their size. */
typedef char posio_i_error_is_frozen[sizeof(posio_error) == 512 ? 1 : -1];
typedef char posio_i_warning_is_frozen[sizeof(posio_warning) == 256 ? 1 : -1];
typedef char posio_i_source_is_frozen[sizeof(posio_source) == 16 + 4 * sizeof(void *) ? 1 : -1];
typedef char posio_i_opener_is_frozen[sizeof(posio_opener) == 4 * sizeof(void *) ? 1 : -1];

#if defined(__GNUC__) && defined(_WIN32) && !defined(__clang__)
#define POSIO_I_PRINTF(at) __attribute__((format(gnu_printf, at, at + 1)))
#elif defined(__GNUC__)
#define POSIO_I_PRINTF(at) __attribute__((format(printf, at, at + 1)))
#else
#define POSIO_I_PRINTF(at)
#endif

// ---------------------------------------------------------------------------------- results

/* The constant's name, such as "POSIO_E_DATA"; "POSIO_E_?" for a code this version lacks.
   Threads: any. Allocates: no. Blocks: no. */
POSIO_API const char *posio_result_name(posio_result r)
{
    static const char *const names[] = {"POSIO_OK",       "POSIO_E_ARG",         "POSIO_E_NOMEM",
                                        "POSIO_E_IO",     "POSIO_E_NOT_FOUND",   "POSIO_E_ACCESS",
                                        "POSIO_E_EXISTS", "POSIO_E_RANGE",       "POSIO_E_FORMAT",
                                        "POSIO_E_DATA",   "POSIO_E_UNSUPPORTED", "POSIO_E_LIMIT",
                                        "POSIO_E_POLICY", "POSIO_E_MISSING",     "POSIO_E_CANCELED",
                                        "POSIO_E_BUSY",   "POSIO_E_SPACE",       "POSIO_E_ABI"};
    if (r > 0 || r < -17) return "POSIO_E_?";
    return names[-r];
}

typedef struct posio_i_text {
    char *at, *end; /* end: the last byte, kept for the terminator */
} posio_i_text;

POSIO_API void posio_i_put(posio_i_text *t, char c)
{
    if (t->at < t->end) *t->at++ = c;
}

POSIO_API void posio_i_put_number(posio_i_text *t, uint64_t v, unsigned base)
{
    char digits[24];
    unsigned n = 0;
    do {
        unsigned d = (unsigned)(v % base);
        digits[n++] = (char)(d < 10 ? '0' + (int)d : 'a' + (int)d - 10);
        v /= base;
    } while (v != 0);
    while (n != 0) posio_i_put(t, digits[--n]);
}

/* Writes a formatted text into out, always terminated. A subset of printf (%s %u %x %d %c %llu %llx
   %%), so that messages are the same on every C library, old Windows ones included, and need no
   stdio. Cuts, never splits, UTF-8. Threads: any. Allocates: no. Blocks: no. */
POSIO_API void posio_vformat(char *out, size_t size, const char *format, va_list ap)
{
    posio_i_text t;
    const char *f, *s;
    t.at = out;
    t.end = out + size - 1;
    for (f = format; *f != 0; f++) {
        int wide = 0;
        if (*f != '%') {
            posio_i_put(&t, *f);
            continue;
        }
        f++;
        if (f[0] == 'l' && f[1] == 'l') {
            wide = 1;
            f += 2;
        }
        switch (*f) {
        case 's':
            s = va_arg(ap, const char *);
            for (s = s != NULL ? s : "(none)"; *s != 0; s++) posio_i_put(&t, *s);
            break;
        case 'c': posio_i_put(&t, (char)va_arg(ap, int)); break;
        case 'd': {
            int v = va_arg(ap, int);
            if (v < 0) posio_i_put(&t, '-');
            posio_i_put_number(&t, v < 0 ? 0u - (unsigned)v : (unsigned)v, 10);
            break;
        }
        case 'u':
        case 'x': {
            uint64_t v =
                wide ? (uint64_t)va_arg(ap, unsigned long long) : (uint64_t)va_arg(ap, unsigned);
            posio_i_put_number(&t, v, *f == 'x' ? 16 : 10);
            break;
        }
        default: posio_i_put(&t, *f); break;
        }
    }
    if (t.at == t.end) {         /* full: do not leave half a UTF-8 sequence, keep a whole one */
        const char *tail = t.at; /* what may be the end of a character */
        unsigned lead;
        while (t.at - tail < 3 && tail > out && ((unsigned char)tail[-1] & 0xc0) == 0x80) tail--;
        lead = tail > out ? (unsigned char)tail[-1] : 0;
        if (lead >= 0xc0 && t.at - tail < (lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1))
            t.at -= t.at - tail + 1;
    }
    *t.at = 0;
}

/* Writes a formatted text (the subset above) into out, always terminated.
   Threads: any. Allocates: no. Blocks: no. */
POSIO_API void posio_format(char *out, size_t size, const char *format, ...) POSIO_I_PRINTF(3);
POSIO_API void posio_format(char *out, size_t size, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    posio_vformat(out, size, format, ap);
    va_end(ap);
}

/* Fills *err (may be NULL) and returns code, so that `return posio_fail(...)` is one line.
   Threads: any. Allocates: no. Blocks: no. */
POSIO_API posio_result posio_fail(posio_error *err, posio_result code, uint64_t offset,
                                  const char *format, ...) POSIO_I_PRINTF(4);
POSIO_API posio_result posio_fail(posio_error *err, posio_result code, uint64_t offset,
                                  const char *format, ...)
{
    va_list ap;
    if (err == NULL) return code;
    memset(err, 0, sizeof *err);
    err->code = code;
    err->offset = offset;
    va_start(ap, format);
    posio_vformat(err->message, sizeof err->message, format, ap);
    va_end(ap);
    return code;
}

/* Names the file of the innermost fault: does nothing when an inner layer has named one.
   A long path keeps its end. Returns err->code.
   Threads: any. Allocates: no. Blocks: no. */
POSIO_API posio_result posio_fail_in(posio_error *err, const char *file, uint32_t segment)
{
    size_t n, skip = 0, i;
    if (err == NULL) return POSIO_OK;
    if (err->segment == 0) err->segment = segment;
    if (err->file[0] != 0 || file == NULL) return err->code;
    n = strlen(file);
    if (n >= sizeof err->file) skip = n - (sizeof err->file - 1);
    for (i = 0; skip != 0 && i < 3 && ((unsigned char)file[skip] & 0xc0) == 0x80; i++) skip++;
    memcpy(err->file, file + skip, n - skip + 1);
    return err->code;
}

/* Adds "; context" to the sentence of an error that came from below. Returns err->code.
   Threads: any. Allocates: no. Blocks: no. */
POSIO_API posio_result posio_fail_while(posio_error *err, const char *context)
{
    size_t n;
    if (err == NULL) return POSIO_OK;
    n = strlen(err->message);
    posio_format(err->message + n, sizeof err->message - n, "; %s", context);
    return err->code;
}

/* Is this error about `file` itself, and not about one further down? So it is if it names that file
   (of a long path it has the end), or if one of them has no name.
   Threads: any. Allocates: no. Blocks: no. */
POSIO_API int posio_is_in(const posio_error *err, const char *file)
{
    const size_t n = strlen(err->file), m = file != NULL ? strlen(file) : 0;
    if (n == 0 || m == 0) return 1;
    if (m < sizeof err->file) return strcmp(err->file, file) == 0;
    /* posio_fail_in may leave out 3 bytes more, to begin with a whole character. */
    return n + 4 >= sizeof err->file && strcmp(err->file, file + (m - n)) == 0;
}

// ---------------------------------------------------------------------------------- warnings

/* Adds a warning. Where there is no room for more, the newest one replaces the last one, and tells
   how many were left out so. Threads: exclusive. Allocates: no. Blocks: no. */
POSIO_API void posio_warn(posio_warnings *w, uint32_t segment, uint64_t offset, const char *format,
                          va_list ap)
{
    posio_warning *to;
    size_t n = 0;
    if (w->count < POSIO_WARNINGS) w->count++;
    else w->left_out++;
    to = &w->list[w->count - 1];
    to->offset = offset;
    to->segment = segment;
    if (w->left_out != 0) {
        posio_format(to->message, sizeof to->message, "(left out before this one: %u) ",
                     (unsigned)w->left_out);
        n = strlen(to->message);
    }
    posio_vformat(to->message + n, sizeof to->message - n, format, ap);
}

/* The *i-th warning, and 1; or 0, and *i less by as many as there are, to go on with the list of
   the image below. `file` is put in front of the message, without its folder; NULL = nothing is.
   Threads: any, while none is added. Allocates: no. Blocks: no. */
POSIO_API int posio_get_warning(const posio_warnings *w, uint32_t *i, const char *file,
                                posio_warning *out)
{
    const char *base = file;
    char name[80];
    if (*i >= POSIO_WARNINGS || *i >= w->count) { /* the first tells compilers what holds anyway */
        *i -= w->count;
        return 0;
    }
    *out = w->list[*i];
    if (file == NULL) return 1;
    for (; *file != 0; file++)
        if (*file == '/' || *file == '\\') base = file + 1;
    posio_format(name, sizeof name, "%s", base);
    posio_format(out->message, sizeof out->message, "%s: %s", name, w->list[*i].message);
    return 1;
}

// ---------------------------------------------------------------------------------- memory

/* Memory from the desc's allocator, or malloc where that is all zero. NULL when there is none.
   Threads: any. Allocates: yes. Blocks: no. */
POSIO_API void *posio_allocate(const posio_alloc *a, size_t size)
{
    if (a != NULL && a->alloc_fn != NULL) return a->alloc_fn(size, a->user);
    return malloc(size != 0 ? size : 1);
}

/* The same, filled with zeros. Threads: any. Allocates: yes. Blocks: no. */
POSIO_API void *posio_allocate_zeroed(const posio_alloc *a, size_t size)
{
    void *p = posio_allocate(a, size);
    if (p != NULL) memset(p, 0, size);
    return p;
}

/* Gives memory back to where it came from; NULL is fine.
   Threads: any. Allocates: no. Blocks: no. */
POSIO_API void posio_release(const posio_alloc *a, void *p)
{
    if (p == NULL) return;
    if (a != NULL && a->free_fn != NULL) a->free_fn(p, a->user);
    else free(p);
}

/* Both functions of an allocator are given, or neither. Threads: any. Allocates: no. Blocks: no. */
POSIO_API int posio_alloc_is_valid(const posio_alloc *a)
{
    return a == NULL || (a->alloc_fn == NULL) == (a->free_fn == NULL);
}

// ---------------------------------------------------------------------------------- arithmetic

/* *out = a + b or a * b and 1, or 0 and *out untouched when the result does not fit.
   Threads: any. Allocates: no. Blocks: no. */
POSIO_API int posio_add(uint64_t a, uint64_t b, uint64_t *out)
{
    if (b > UINT64_MAX - a) return 0;
    *out = a + b;
    return 1;
}
POSIO_API int posio_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    if (a != 0 && b > UINT64_MAX / a) return 0;
    *out = a * b;
    return 1;
}
/* Do n bytes at offset lie within size bytes? Never overflows. */
POSIO_API int posio_within(uint64_t offset, uint64_t n, uint64_t size)
{
    return offset <= size && n <= size - offset;
}
POSIO_API uint64_t posio_min(uint64_t a, uint64_t b) { return a < b ? a : b; }

// ---------------------------------------------------------------------------------- endian

/* Loads and stores of any alignment, in the named byte order. Compilers make one instruction of
   each; of some gcc 12 does so too late to inline them, so hot loops get them from memcpy, inlined.
   Threads: any. Allocates: no. Blocks: no. */
#if defined(__BYTE_ORDER__) && defined(__ORDER_LITTLE_ENDIAN__)
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define POSIO_I_LITTLE 1
#endif
#elif defined(_WIN32) || defined(__x86_64__) || defined(__i386__)
#define POSIO_I_LITTLE 1
#endif
#if defined(__GNUC__) && !defined(__TINYC__)
#define POSIO_I_INLINE static inline __attribute__((always_inline, unused))
#else
#define POSIO_I_INLINE POSIO_API
#endif
POSIO_API uint16_t posio_le16(const void *p)
{
    const unsigned char *b = (const unsigned char *)p;
    return (uint16_t)(b[0] | b[1] << 8);
}
POSIO_API uint32_t posio_le32(const void *p)
{
    const unsigned char *b = (const unsigned char *)p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}
POSIO_I_INLINE uint64_t posio_le64(const void *p)
{
#ifdef POSIO_I_LITTLE
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
#else
    const unsigned char *b = (const unsigned char *)p;
    return (uint64_t)posio_le32(b) | (uint64_t)posio_le32(b + 4) << 32;
#endif
}
POSIO_I_INLINE void posio_put_le16(void *p, uint32_t v)
{
#ifdef POSIO_I_LITTLE
    uint16_t w = (uint16_t)v;
    memcpy(p, &w, sizeof w);
#else
    unsigned char *b = (unsigned char *)p;
    b[0] = (unsigned char)v;
    b[1] = (unsigned char)(v >> 8);
#endif
}
POSIO_API void posio_put_le32(void *p, uint32_t v)
{
    unsigned char *b = (unsigned char *)p;
    b[0] = (unsigned char)v;
    b[1] = (unsigned char)(v >> 8);
    b[2] = (unsigned char)(v >> 16);
    b[3] = (unsigned char)(v >> 24);
}
POSIO_I_INLINE void posio_put_le64(void *p, uint64_t v)
{
#ifdef POSIO_I_LITTLE
    memcpy(p, &v, sizeof v);
#else
    posio_put_le32(p, (uint32_t)v);
    posio_put_le32((unsigned char *)p + 4, (uint32_t)(v >> 32));
#endif
}
#undef POSIO_I_LITTLE
#undef POSIO_I_INLINE
POSIO_API uint16_t posio_be16(const void *p)
{
    const unsigned char *b = (const unsigned char *)p;
    return (uint16_t)(b[0] << 8 | b[1]);
}
POSIO_API uint32_t posio_be32(const void *p)
{
    const unsigned char *b = (const unsigned char *)p;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | (uint32_t)b[3];
}
POSIO_API uint64_t posio_be64(const void *p)
{
    const unsigned char *b = (const unsigned char *)p;
    return (uint64_t)posio_be32(b) << 32 | (uint64_t)posio_be32(b + 4);
}

// ---------------------------------------------------------------------------------- growing, text

/* Makes sure that an array of *room elements has room for one more than count, by moving it to a
   block twice as large; 0 = no memory, and nothing has changed.
   Threads: any. Allocates: yes. Blocks: no. */
POSIO_API int posio_grow(const posio_alloc *a, void **array, uint64_t count, uint64_t *room,
                         size_t element)
{
    uint64_t want = *room != 0 ? *room * 2 : 16, bytes;
    void *p;
    if (count < *room) return 1;
    if (!posio_mul(want, element, &bytes) || bytes > SIZE_MAX / 2) return 0;
    p = posio_allocate(a, (size_t)bytes);
    if (p == NULL) return 0;
    if (count != 0) memcpy(p, *array, (size_t)count * element);
    posio_release(a, *array);
    *array = p;
    *room = want;
    return 1;
}

/* Writes a character as UTF-8 (RFC 3629, section 3); returns its length, 1 to 4 bytes. */
POSIO_API size_t posio_i_put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* n bytes of UTF-16, little-endian unless a mark says otherwise, as terminated UTF-8 in a block of
   its own, which the caller releases; unpaired surrogates become U+FFFD. NULL without memory.
   Source: RFC 2781, sections 2.2 and 3.2. Threads: any. Allocates: yes. Blocks: no. */
POSIO_API char *posio_utf8_from_utf16(const posio_alloc *a, const void *utf16, size_t n,
                                      size_t *length)
{
    const unsigned char *s = (const unsigned char *)utf16;
    char *out = (char *)posio_allocate(a, n / 2 * 3 + 1); /* 2 bytes make 3 at most, 4 make 4 */
    size_t i = 0, k = 0;
    int big = n >= 2 && posio_be16(s) == 0xfeff;
    if (out == NULL) return NULL;
    if (big || (n >= 2 && posio_le16(s) == 0xfeff)) i = 2;
    for (; i + 1 < n; i += 2) {
        uint32_t c = big ? posio_be16(s + i) : posio_le16(s + i), d;
        if (c >= 0xd800 && c < 0xdc00 && i + 3 < n) {
            d = big ? posio_be16(s + i + 2) : posio_le16(s + i + 2);
            if (d >= 0xdc00 && d < 0xe000) {
                c = 0x10000 + ((c - 0xd800) << 10) + (d - 0xdc00);
                i += 2;
            }
        }
        k += posio_i_put_utf8(out + k, c >= 0xd800 && c < 0xe000 ? 0xfffd : c);
    }
    out[k] = 0;
    *length = k;
    return out;
}

// ---------------------------------------------------------------------------------- atomics

/* 32-bit words and pointers; loads acquire, stores release, the rest both. With a compiler that
   has neither the GNU builtins nor Interlocked (tcc), they are plain accesses: such a build must
   define THREAD_POOL_NO_THREADS, which thread_pool.h insists on.
   Threads: any. Allocates: no. Blocks: no. */
#if defined(__GNUC__) || defined(__clang__)
#define POSIO_I_ATOMICS 1
POSIO_API uint32_t posio_atomic_load(const uint32_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
POSIO_API void posio_atomic_store(uint32_t *p, uint32_t v)
{
    __atomic_store_n(p, v, __ATOMIC_RELEASE);
}
POSIO_API uint32_t posio_atomic_add(uint32_t *p, uint32_t v) /* returns the value before */
{
    return __atomic_fetch_add(p, v, __ATOMIC_ACQ_REL);
}
POSIO_API int posio_atomic_swap_if(uint32_t *p, uint32_t want, uint32_t v)
{
    return __atomic_compare_exchange_n(p, &want, v, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}
POSIO_API void *posio_atomic_load_ptr(void *const *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
POSIO_API void posio_atomic_store_ptr(void **p, void *v)
{
    __atomic_store_n(p, v, __ATOMIC_RELEASE);
}
#elif defined(_MSC_VER)
#define POSIO_I_ATOMICS 1
#include <intrin.h>
POSIO_API uint32_t posio_atomic_load(const uint32_t *p)
{
    return (uint32_t)_InterlockedOr((volatile long *)p, 0);
}
POSIO_API void posio_atomic_store(uint32_t *p, uint32_t v)
{
    _InterlockedExchange((volatile long *)p, (long)v);
}
POSIO_API uint32_t posio_atomic_add(uint32_t *p, uint32_t v)
{
    return (uint32_t)_InterlockedExchangeAdd((volatile long *)p, (long)v);
}
POSIO_API int posio_atomic_swap_if(uint32_t *p, uint32_t want, uint32_t v)
{
    return _InterlockedCompareExchange((volatile long *)p, (long)v, (long)want) == (long)want;
}
POSIO_API void *posio_atomic_load_ptr(void *const *p)
{
    return _InterlockedCompareExchangePointer((void *volatile *)p, NULL, NULL);
}
POSIO_API void posio_atomic_store_ptr(void **p, void *v)
{
    _InterlockedExchangePointer((void *volatile *)p, v);
}
#else
#define POSIO_I_ATOMICS 0
POSIO_API uint32_t posio_atomic_load(const uint32_t *p) { return *p; }
POSIO_API void posio_atomic_store(uint32_t *p, uint32_t v) { *p = v; }
POSIO_API uint32_t posio_atomic_add(uint32_t *p, uint32_t v)
{
    uint32_t old = *p;
    *p = old + v;
    return old;
}
POSIO_API int posio_atomic_swap_if(uint32_t *p, uint32_t want, uint32_t v)
{
    if (*p != want) return 0;
    *p = v;
    return 1;
}
POSIO_API void *posio_atomic_load_ptr(void *const *p) { return *p; }
POSIO_API void posio_atomic_store_ptr(void **p, void *v) { *p = v; }
#endif

// ---------------------------------------------------------------------------------- processor

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__)) && \
    !defined(__TINYC__)
#define POSIO_I_X86_GNU 1
#include <cpuid.h>
#elif defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
#define POSIO_I_X86_MSVC 1
#include <intrin.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(POSIO_I_X86_GNU) || defined(POSIO_I_X86_MSVC)
POSIO_API void posio_i_cpuid(uint32_t leaf, uint32_t r[4])
{
#if defined(POSIO_I_X86_GNU)
    r[0] = r[1] = r[2] = r[3] = 0;
    if ((uint32_t)__get_cpuid_max(0, NULL) >= leaf) __cpuid_count(leaf, 0, r[0], r[1], r[2], r[3]);
#else
    int v[4];
    __cpuid(v, 0);
    if ((uint32_t)v[0] < leaf) v[0] = v[1] = v[2] = v[3] = 0;
    else __cpuidex(v, (int)leaf, 0);
    memcpy(r, v, sizeof v);
#endif
}

/* Which register files the system saves (XCR0); only legal where OSXSAVE is set. */
POSIO_API uint32_t posio_i_xcr0(void)
{
#if defined(POSIO_I_X86_GNU)
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo;
#else
    return (uint32_t)_xgetbv(0);
#endif
}

POSIO_API uint32_t posio_i_cpu_detect(void)
{
    uint32_t one[4], seven[4], xcr0, f = 0;
    posio_i_cpuid(1, one);
    posio_i_cpuid(7, seven);
    xcr0 = (one[2] >> 27 & 1) != 0 ? posio_i_xcr0() : 0;
    if (one[2] >> 1 & 1) f |= POSIO_CPU_PCLMUL;
    if (one[2] >> 9 & 1) f |= POSIO_CPU_SSSE3;
    if (one[2] >> 19 & 1) f |= POSIO_CPU_SSE41;
    if (one[2] >> 20 & 1) f |= POSIO_CPU_SSE42;
    if (seven[1] >> 8 & 1) f |= POSIO_CPU_BMI2;
    if (seven[1] >> 29 & 1) f |= POSIO_CPU_SHA;
    if ((xcr0 & 0x06) == 0x06 && (seven[1] >> 5 & 1)) f |= POSIO_CPU_AVX2;
    if ((xcr0 & 0xe6) == 0xe6 && (seven[1] & 0xc0030000u) == 0xc0030000u) {
        f |= POSIO_CPU_AVX512;
        if (seven[2] >> 11 & 1) f |= POSIO_CPU_VNNI512;
    }
    return f;
}
#elif defined(__aarch64__)
POSIO_API uint32_t posio_i_cpu_detect(void)
{
    uint32_t f = POSIO_CPU_NEON;
#if defined(__linux__)
    unsigned long caps = getauxval(AT_HWCAP);
    if ((caps >> 5 & 3) == 3) f |= POSIO_CPU_ARM_SHA; /* SHA1 and SHA2 */
    if (caps >> 7 & 1) f |= POSIO_CPU_ARM_CRC;
#elif defined(__APPLE__)
    f |= POSIO_CPU_ARM_SHA | POSIO_CPU_ARM_CRC;
#endif
    return f;
}
#else
POSIO_API uint32_t posio_i_cpu_detect(void) { return 0; }
#endif

/* The collection's one writable global: a relaxed word that any thread may fill, always with the
   same value. Racing fillers are harmless. */
POSIO_API uint32_t *posio_i_cpu_word(void)
{
    static uint32_t word;
    return &word;
}

/* POSIO_CPU_... bits of this processor. Threads: any. Allocates: no. Blocks: no. */
POSIO_API uint32_t posio_cpu(void)
{
    uint32_t f = posio_atomic_load(posio_i_cpu_word());
    if (f == 0) {
        f = posio_i_cpu_detect() | POSIO_CPU_KNOWN;
        posio_atomic_store(posio_i_cpu_word(), f);
    }
    return f;
}

/* For tests: from now on this translation unit sees only the features in `keep`.
   Threads: exclusive. Allocates: no. Blocks: no. */
POSIO_API void posio_cpu_mask(uint32_t keep)
{
    posio_atomic_store(posio_i_cpu_word(), (posio_i_cpu_detect() & keep) | POSIO_CPU_KNOWN);
}

// ---------------------------------------------------------------------------------- sources

/* Reads exactly n bytes of a source at offset, or fails: POSIO_E_RANGE beyond the end, or what the
   source says. The one way to read: it checks the bounds, so sources need not trust callers.
   Threads: any. Allocates: yes (as the source does). Blocks: I/O. */
POSIO_API posio_result posio_read(const posio_source *s, uint64_t offset, void *buf, size_t n,
                                  posio_error *err)
{
    if (!posio_within(offset, n, s->size))
        return posio_fail(err, POSIO_E_RANGE, offset,
                          "%llu bytes at %llu reach beyond the end at %llu", (unsigned long long)n,
                          (unsigned long long)offset, (unsigned long long)s->size);
    if (n == 0) return POSIO_OK;
    return s->read_at(s->self, offset, buf, n, err);
}

/* What is known of the bytes at offset (< size); a source that cannot tell says data to the end.
   Threads: any. Allocates: yes (as the source does). Blocks: I/O. */
POSIO_API posio_result posio_extent_of(const posio_source *s, uint64_t offset, posio_extent *out,
                                       posio_error *err)
{
    if (offset >= s->size)
        return posio_fail(err, POSIO_E_RANGE, offset, "no extent at %llu: the size is %llu",
                          (unsigned long long)offset, (unsigned long long)s->size);
    if (s->extent_at != NULL) return s->extent_at(s->self, offset, out, err);
    out->length = s->size - offset;
    out->kind = POSIO_EXTENT_DATA;
    out->reserved = 0;
    return POSIO_OK;
}

/* Takes from the last answer what a source says of the bytes at `at`; 0: it must be asked. Some file
   systems, and images in chains, walk through all of a long extent for every question.
   Threads: any, while nothing is kept. Allocates: no. Blocks: no. */
POSIO_API int posio_known_find(const posio_known *k, const posio_source *s, uint64_t at,
                               posio_extent *out)
{
    const uint64_t past = at - k->at;
    if (k->of != s || past >= k->extent.length) return 0;
    *out = k->extent;
    out->length -= past;
    return 1;
}

/* Keeps an answer in place of the last one. Threads: exclusive. Allocates: no. Blocks: no. */
POSIO_API void posio_known_keep(posio_known *k, const posio_source *s, uint64_t at,
                                const posio_extent *answer)
{
    k->of = s;
    k->at = at;
    k->extent = *answer;
}

POSIO_API posio_result posio_i_memory_read(void *self, uint64_t offset, void *buf, size_t n,
                                           posio_error *err)
{
    const posio_memory *m = (const posio_memory *)self;
    if (!posio_within(offset, n, m->size))
        return posio_fail(err, POSIO_E_RANGE, offset, "beyond the end of the memory");
    memcpy(buf, (const unsigned char *)m->data + (size_t)offset, n);
    return POSIO_OK;
}

/* A source over memory; *m and its bytes are borrowed. Threads: any. Allocates: no. Blocks: no. */
POSIO_API posio_source posio_memory_source(posio_memory *m)
{
    posio_source s;
    memset(&s, 0, sizeof s);
    s.size = m->size;
    s.read_at = posio_i_memory_read;
    s.self = m;
    return s;
}

POSIO_API posio_result posio_i_slice_read(void *self, uint64_t offset, void *buf, size_t n,
                                          posio_error *err)
{
    const posio_slice *p = (const posio_slice *)self;
    if (!posio_within(offset, n, p->size))
        return posio_fail(err, POSIO_E_RANGE, offset, "beyond the end of the slice");
    return posio_read(&p->base, p->offset + offset, buf, n, err);
}

POSIO_API posio_result posio_i_slice_extent(void *self, uint64_t offset, posio_extent *out,
                                            posio_error *err)
{
    const posio_slice *p = (const posio_slice *)self;
    posio_result r;
    if (offset >= p->size) return posio_fail(err, POSIO_E_RANGE, offset, "beyond the slice");
    r = posio_extent_of(&p->base, p->offset + offset, out, err);
    if (r == POSIO_OK) out->length = posio_min(out->length, p->size - offset);
    return r;
}

/* A window of a source, such as a partition: *p is filled and borrowed, *out is the source.
   POSIO_E_RANGE when the window does not lie within base.
   Threads: any. Allocates: no. Blocks: no. */
POSIO_API posio_result posio_slice_source(posio_slice *p, posio_source base, uint64_t offset,
                                          uint64_t size, posio_source *out, posio_error *err)
{
    if (!posio_within(offset, size, base.size))
        return posio_fail(err, POSIO_E_RANGE, offset, "the slice reaches beyond its source");
    p->base = base;
    p->offset = offset;
    p->size = size;
    *out = base;
    out->size = size;
    out->read_at = posio_i_slice_read;
    out->extent_at = posio_i_slice_extent;
    out->self = p;
    return POSIO_OK;
}

#if !defined(POSIO_NO_FILES) && !defined(_WIN32)
#include <fcntl.h>
#ifndef O_CLOEXEC
#error \
    "posio.h needs POSIX.1-2008: compile with -std=gnu99 (or later), or -D_POSIX_C_SOURCE=200809L"
#define POSIO_NO_FILES /* so that no other errors follow */
#endif
#endif

#ifndef POSIO_NO_FILES
// ---------------------------------------------------------------------------------- the system

/* Everything below up to "files" is the only code that knows the operating system. */

#if defined(_WIN32)
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#define POSIO_I_UNDEF_LEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#define POSIO_I_UNDEF_NOMINMAX
#endif
#include <windows.h>
#include <winioctl.h>
#ifdef POSIO_I_UNDEF_LEAN
#undef WIN32_LEAN_AND_MEAN
#undef POSIO_I_UNDEF_LEAN
#endif
#ifdef POSIO_I_UNDEF_NOMINMAX
#undef NOMINMAX
#undef POSIO_I_UNDEF_NOMINMAX
#endif
typedef HANDLE posio_i_handle;
#define POSIO_I_NO_HANDLE INVALID_HANDLE_VALUE
#else
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h> /* rename */
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <sys/disk.h>
#include <sys/ioctl.h>
#endif
#if defined(O_DIRECT)
#define POSIO_I_O_DIRECT O_DIRECT
#elif defined(__O_DIRECT)
#define POSIO_I_O_DIRECT __O_DIRECT /* glibc: the public name needs _GNU_SOURCE */
#else
#define POSIO_I_O_DIRECT 0
#endif
typedef char posio_i_off_t_must_be_64_bits__add__D_FILE_OFFSET_BITS_64[sizeof(off_t) >= 8 ? 1 : -1];
typedef int posio_i_handle;
#define POSIO_I_NO_HANDLE (-1)
#endif

/* How a name is opened. */
enum { POSIO_I_STORED_NAME = 1 << 16, POSIO_I_OUTSIDE_OK = 1 << 17, POSIO_I_DEVICE_OK = 1 << 18 };

/* One request to the system: the most it takes at once (Linux stops at 2 GiB - 4 KiB, others at
   INT_MAX), and the bounce buffer of unaligned unbuffered reads. */
#define POSIO_I_REQUEST_MAX ((size_t)1 << 30)
#define POSIO_I_BOUNCE ((size_t)1 << 20)

POSIO_API posio_result posio_i_code_of(int32_t os)
{
#if defined(_WIN32)
    switch (os) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME: return POSIO_E_NOT_FOUND;
    case ERROR_ACCESS_DENIED:
    case ERROR_SHARING_VIOLATION: return POSIO_E_ACCESS;
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS: return POSIO_E_EXISTS;
    case ERROR_TOO_MANY_OPEN_FILES:
    case ERROR_NOT_ENOUGH_MEMORY: return POSIO_E_NOMEM;
    default: return POSIO_E_IO;
    }
#else
    switch (os) {
    case ENOENT:
    case ENOTDIR: return POSIO_E_NOT_FOUND;
    case EACCES:
    case EPERM: return POSIO_E_ACCESS;
    case EEXIST: return POSIO_E_EXISTS;
    case EMFILE:
    case ENFILE:
    case ENOMEM: return POSIO_E_NOMEM;
    default: return POSIO_E_IO;
    }
#endif
}

/* Words for the errors people meet; strerror is not thread-safe and strerror_r has two forms. */
POSIO_API const char *posio_i_words_of(int32_t os)
{
#if defined(_WIN32)
    switch (os) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND: return "no such file";
    case ERROR_INVALID_NAME: return "not a valid file name";
    case ERROR_ACCESS_DENIED: return "permission denied";
    case ERROR_SHARING_VIOLATION: return "in use by another program";
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL: return "no space left on the device";
    case ERROR_TOO_MANY_OPEN_FILES: return "too many open files";
    case ERROR_CRC: return "the device reports a read error (CRC)";
    case ERROR_NOT_READY: return "the device is not ready";
    default: return "system error";
    }
#else
    switch (os) {
    case ENOENT: return "no such file";
    case ENOTDIR: return "a part of the path is not a folder";
    case EACCES:
    case EPERM: return "permission denied";
    case EISDIR: return "is a folder";
    case EEXIST: return "exists already";
    case EIO: return "the device reports a read error";
    case ENOSPC: return "no space left on the device";
    case EFBIG: return "too large for this file system";
    case EMFILE:
    case ENFILE: return "too many open files";
    case ELOOP: return "too many symbolic links";
    case ENAMETOOLONG: return "the name is too long";
    case ENOMEM: return "out of memory";
    case EROFS: return "the file system is read-only";
    case EPIPE: return "the reader of the pipe is gone";
    case ENXIO: return "no such device";
    default: return "system error";
    }
#endif
}

POSIO_API int32_t posio_i_last_error(void)
{
#if defined(_WIN32)
    return (int32_t)GetLastError();
#else
    return (int32_t)errno;
#endif
}

POSIO_API posio_result posio_i_fail_os(posio_error *err, int32_t os, uint64_t offset,
                                       const char *what)
{
    (void)posio_fail(err, posio_i_code_of(os), offset, "%s: %s (%d)", what, posio_i_words_of(os),
                     (int)os);
    if (err != NULL) err->os_error = os;
    return posio_i_code_of(os);
}

POSIO_API void posio_i_yield(void)
{
#if defined(_WIN32)
    SwitchToThread();
#else
    (void)sched_yield();
#endif
}

POSIO_API int posio_i_is_separator(char c)
{
#if defined(_WIN32)
    return c == '/' || c == '\\';
#else
    return c == '/';
#endif
}

/* Is one of the parts of a path ".."? */
POSIO_API int posio_i_leads_up(const char *path)
{
    const char *p;
    for (p = path; *p != 0; p++)
        if (p[0] == '.' && p[1] == '.' && (p == path || posio_i_is_separator(p[-1])) &&
            (p[2] == 0 || posio_i_is_separator(p[2])))
            return 1;
    return 0;
}

/* What the system says of an open handle. */
typedef struct posio_i_stat {
    posio_file_info info;
    int is_regular, is_folder, is_pipe;
} posio_i_stat;

#if defined(_WIN32)
/* folder and name, in one string that the system takes; *out is NULL on failure. */
POSIO_API posio_result posio_i_wide(wchar_t **out, const char *folder, const char *name,
                                    const posio_alloc *a, posio_error *err)
{
    int nf = (int)strlen(folder), nn = (int)strlen(name) + 1; /* with the terminator */
    int wf = nf == 0 ? 0 : MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, folder, nf, NULL, 0);
    int wn = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, name, nn, NULL, 0);
    *out = NULL;
    if ((nf != 0 && wf <= 0) || wn <= 0)
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "the path is not valid UTF-8");
    *out = (wchar_t *)posio_allocate(a, (size_t)(wf + wn) * sizeof **out);
    if (*out == NULL) return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    if (nf != 0) MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, folder, nf, *out, wf);
    MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, name, nn, *out + wf, wn);
    return POSIO_OK;
}

/* A name that says where it lies itself: no folder may be put before it. */
POSIO_API int posio_i_is_absolute(const char *name)
{
    return name[0] == '/' || name[0] == '\\' || (name[0] != 0 && name[1] == ':');
}

POSIO_API int posio_i_get_stat(posio_i_handle h, posio_i_stat *s)
{
    BY_HANDLE_FILE_INFORMATION b;
    GET_LENGTH_INFORMATION length;
    DISK_GEOMETRY geometry;
    DWORD got = 0;
    memset(s, 0, sizeof *s);
    s->info.alignment = 1;
    if (GetFileType(h) == FILE_TYPE_PIPE || GetFileType(h) == FILE_TYPE_CHAR) {
        s->is_pipe = 1;
        return 1;
    }
    if (GetFileInformationByHandle(h, &b)) {
        s->is_folder = (b.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
        s->is_regular = !s->is_folder;
        s->info.size = (uint64_t)b.nFileSizeHigh << 32 | b.nFileSizeLow;
        s->info.device = b.dwVolumeSerialNumber;
        s->info.inode = (uint64_t)b.nFileIndexHigh << 32 | b.nFileIndexLow;
        return 1;
    }
    if (!DeviceIoControl(h, IOCTL_DISK_GET_LENGTH_INFO, NULL, 0, &length, sizeof length, &got,
                         NULL))
        return 0;
    s->info.size = (uint64_t)length.Length.QuadPart;
    s->info.is_device = 1;
    /* Of a volume, also the sectors behind the end of its file system. */
    (void)DeviceIoControl(h, FSCTL_ALLOW_EXTENDED_DASD_IO, NULL, 0, NULL, 0, &got, NULL);
    s->info.alignment = 4096;
    if (DeviceIoControl(h, IOCTL_DISK_GET_DRIVE_GEOMETRY, NULL, 0, &geometry, sizeof geometry, &got,
                        NULL) &&
        geometry.BytesPerSector >= 512)
        s->info.alignment = geometry.BytesPerSector;
    return 1;
}

POSIO_API void posio_i_close(posio_i_handle h) { CloseHandle(h); }

/* The path a handle really leads to, compared with the folder's: links cannot lead out. */
POSIO_API posio_result posio_i_is_below(posio_i_handle h, const char *folder, int *out,
                                        const posio_alloc *a, posio_error *err)
{
    const DWORD room = 32768;
    wchar_t *paths, *wide;
    HANDLE f;
    DWORD n = 0, m = 0;
    int below = 0;
    posio_result r = posio_i_wide(&wide, folder, folder[0] != 0 ? "" : ".", a, err);
    if (r != POSIO_OK) return r;
    f = CreateFileW(wide, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                    OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    posio_release(a, wide);
    paths = (wchar_t *)posio_allocate(a, 2 * room * sizeof *paths);
    if (paths != NULL && f != INVALID_HANDLE_VALUE) {
        n = GetFinalPathNameByHandleW(f, paths, room, 0);
        m = GetFinalPathNameByHandleW(h, paths + room, room, 0);
        while (n > 0 && n < room && paths[n - 1] == L'\\') n--;
        below = n > 0 && n < room && m > n && m < room && paths[room + n] == L'\\' &&
                memcmp(paths, paths + room, n * sizeof *paths) == 0;
    }
    if (f != INVALID_HANDLE_VALUE) CloseHandle(f);
    if (paths == NULL) return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    posio_release(a, paths);
    *out = below;
    return POSIO_OK;
}

POSIO_API posio_result posio_i_open(posio_i_handle *out, const char *folder, const char *name,
                                    uint32_t flags, const posio_alloc *a, posio_error *err)
{
    wchar_t *wide;
    DWORD how = FILE_ATTRIBUTE_NORMAL | FILE_FLAG_BACKUP_SEMANTICS;
    posio_i_handle h;
    int32_t os;
    posio_result r = posio_i_wide(&wide, posio_i_is_absolute(name) ? "" : folder, name, a, err);
    if (r != POSIO_OK) return r;
    if (flags & POSIO_FILE_SEQUENTIAL) how |= FILE_FLAG_SEQUENTIAL_SCAN;
    if (flags & POSIO_FILE_UNBUFFERED) how |= FILE_FLAG_NO_BUFFERING;
    h = CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                    NULL, OPEN_EXISTING, how, NULL);
    os = posio_i_last_error(); /* before the allocator's own system calls */
    posio_release(a, wide);
    if (h == INVALID_HANDLE_VALUE) return posio_i_fail_os(err, os, POSIO_NO_OFFSET, "cannot open");
    if ((flags & POSIO_I_STORED_NAME) && !(flags & POSIO_I_OUTSIDE_OK)) {
        int below = 0;
        r = posio_i_is_below(h, folder, &below, a, err);
        if (r == POSIO_OK && !below)
            r = posio_fail(err, POSIO_E_POLICY, POSIO_NO_OFFSET,
                           "\"%s\" leads out of the image's folder (POSIO_ALLOW_OUTSIDE "
                           "permits it)",
                           name);
        if (r != POSIO_OK) {
            CloseHandle(h);
            return r;
        }
    }
    *out = h;
    return POSIO_OK;
}

/* One request. 1 = *got bytes (0 at the end), 0 = error. */
POSIO_API int posio_i_pread(posio_i_handle h, void *buf, size_t n, uint64_t offset, size_t *got)
{
    OVERLAPPED o;
    DWORD done = 0;
    memset(&o, 0, sizeof o);
    o.Offset = (DWORD)(offset & 0xffffffffu);
    o.OffsetHigh = (DWORD)(offset >> 32);
    if (!ReadFile(h, buf, (DWORD)n, &done, &o) && GetLastError() != ERROR_HANDLE_EOF) return 0;
    *got = done;
    return 1;
}

POSIO_API int posio_i_file_extent(posio_i_handle h, uint64_t size, uint64_t offset,
                                  posio_extent *out)
{
    FILE_ALLOCATED_RANGE_BUFFER ask, ranges[1];
    DWORD got = 0;
    uint64_t start, end;
    ask.FileOffset.QuadPart = (LONGLONG)offset;
    ask.Length.QuadPart = (LONGLONG)(size - offset);
    if (!DeviceIoControl(h, FSCTL_QUERY_ALLOCATED_RANGES, &ask, sizeof ask, ranges, sizeof ranges,
                         &got, NULL) &&
        GetLastError() != ERROR_MORE_DATA)
        return 0;
    start = got < sizeof ranges[0] ? size : (uint64_t)ranges[0].FileOffset.QuadPart;
    if (start > offset) {
        out->kind = POSIO_EXTENT_HOLE;
        out->length = posio_min(start, size) - offset;
        return 1;
    }
    end = posio_min(start + (uint64_t)ranges[0].Length.QuadPart, size);
    if (end <= offset) return 0;
    out->kind = POSIO_EXTENT_DATA;
    out->length = end - offset;
    return 1;
}

#else /* POSIX */

POSIO_API void posio_i_close(posio_i_handle h) { (void)close(h); }

POSIO_API int posio_i_get_stat(posio_i_handle h, posio_i_stat *s)
{
    struct stat st;
    memset(s, 0, sizeof *s);
    s->info.alignment = 1;
    if (fstat(h, &st) != 0) return 0;
    s->info.device = (uint64_t)st.st_dev;
    s->info.inode = (uint64_t)st.st_ino;
    s->is_regular = S_ISREG(st.st_mode);
    s->is_folder = S_ISDIR(st.st_mode);
    if (s->is_regular) {
        s->info.size = (uint64_t)st.st_size;
    } else if (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode)) {
#if defined(__APPLE__)
        uint64_t blocks = 0;
        uint32_t block = 0;
        if (ioctl(h, DKIOCGETBLOCKCOUNT, &blocks) != 0 || ioctl(h, DKIOCGETBLOCKSIZE, &block) != 0)
            blocks = 0;
        s->info.size = blocks * block;
        if (S_ISCHR(st.st_mode) && block != 0) s->info.alignment = block;
#else
        off_t end = lseek(h, 0, SEEK_END); /* the cursor is nobody's: all reads are positioned */
        s->info.size = end > 0 ? (uint64_t)end : 0;
#if !defined(__linux__)
        if (S_ISCHR(st.st_mode)) s->info.alignment = 4096; /* the BSDs' disks take whole sectors */
#endif
#endif
        s->info.is_device = s->info.size != 0 || S_ISBLK(st.st_mode); /* a drive may be empty */
        s->is_pipe = !s->info.is_device;
    } else if (!s->is_folder) {
        s->is_pipe = 1;
    }
    return 1;
}

/* Opens a relative name component by component without following links, so that a name stored in
   an image cannot lead out of the folder, whatever is changed meanwhile. A link that stays below
   its own place (relative, without "..") is spliced into the name and followed; depth is bounded.
   0 = *out is open; an errno; -1 = a link leads out, or may. */
POSIO_API int posio_i_open_below(int folder, const char *name, int how, int *out, int depth)
{
    char part[512], target[1024];
    const char *rest = name;
    int dir = folder, next, result = 0;
    for (;;) {
        size_t n = strcspn(rest, "/");
        int last = rest[n] == 0;
        ssize_t link;
        if (n >= sizeof part) {
            result = ENAMETOOLONG;
            break;
        }
        memcpy(part, rest, n);
        part[n] = 0;
        do
            next =
                openat(dir, part,
                       last ? how | O_NOFOLLOW : O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        while (next < 0 && errno == EINTR);
        if (next < 0) {
            result = errno;
            link = readlinkat(dir, part, target, sizeof target - 1);
            if (link <= 0) break;
            target[link] = 0;
            result = target[0] == '/' || posio_i_leads_up(target) ? -1
                     : depth >= 8 ? ELOOP
                     : (size_t)link + strlen(rest + n) >= sizeof target - 1 ? ENAMETOOLONG
                                                                            : 0;
            if (result != 0) break;
            memcpy(target + link, rest + n, strlen(rest + n) + 1);
            result = posio_i_open_below(dir, target, how, out, depth + 1);
            break;
        }
        if (last) {
            *out = next;
            break;
        }
        if (dir != folder) (void)close(dir);
        dir = next;
        rest += n + 1;
    }
    if (dir != folder) (void)close(dir);
    return result;
}

POSIO_API posio_result posio_i_open_stored(posio_i_handle *out, const char *folder,
                                           const char *name, int how, posio_error *err)
{
    int r, dir = open(folder[0] != 0 ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) return posio_i_fail_os(err, errno, POSIO_NO_OFFSET, "cannot open the folder");
    r = posio_i_open_below(dir, name, how, out, 0);
    if (r == EINVAL && (how & POSIO_I_O_DIRECT)) /* not every file system can */
        r = posio_i_open_below(dir, name, how & ~POSIO_I_O_DIRECT, out, 0);
    (void)close(dir);
    if (r == 0) return POSIO_OK;
    if (r > 0) return posio_i_fail_os(err, r, POSIO_NO_OFFSET, "cannot open");
    return posio_fail(err, POSIO_E_POLICY, POSIO_NO_OFFSET,
                      "\"%s\" is a link that leads out of the image's folder "
                      "(POSIO_ALLOW_OUTSIDE permits it)",
                      name);
}

POSIO_API posio_result posio_i_open(posio_i_handle *out, const char *folder, const char *name,
                                    uint32_t flags, const posio_alloc *a, posio_error *err)
{
    /* O_NONBLOCK: opening a named pipe by mistake must not wait for a writer. */
    int fd = -1, how = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    if (flags & POSIO_FILE_UNBUFFERED) how |= POSIO_I_O_DIRECT;
    if ((flags & POSIO_I_STORED_NAME) && !(flags & POSIO_I_OUTSIDE_OK)) {
        posio_result r = posio_i_open_stored(&fd, folder, name, how, err);
        if (r != POSIO_OK) return r;
    } else {
        size_t nf = name[0] == '/' ? 0 : strlen(folder), nn = strlen(name);
        char *path = (char *)posio_allocate(a, nf + nn + 1);
        int os;
        if (path == NULL) return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
        memcpy(path, folder, nf);
        memcpy(path + nf, name, nn + 1);
        do fd = open(path, how);
        while (fd < 0 && errno == EINTR);
        if (fd < 0 && errno == EINVAL && (how & POSIO_I_O_DIRECT))
            fd = open(path, how & ~POSIO_I_O_DIRECT);
        os = errno; /* before the allocator's own system calls */
        posio_release(a, path);
        if (fd < 0) return posio_i_fail_os(err, os, POSIO_NO_OFFSET, "cannot open");
    }
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
#if defined(POSIX_FADV_SEQUENTIAL)
    if (flags & POSIO_FILE_SEQUENTIAL) (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
#endif
#if defined(F_NOCACHE)
    if (flags & POSIO_FILE_UNBUFFERED) (void)fcntl(fd, F_NOCACHE, 1);
#endif
    *out = fd;
    return POSIO_OK;
}

/* One request. 1 = *got bytes (0 at the end), 0 = error. */
POSIO_API int posio_i_pread(posio_i_handle h, void *buf, size_t n, uint64_t offset, size_t *got)
{
    ssize_t r;
    do r = pread(h, buf, n, (off_t)offset);
    while (r < 0 && errno == EINTR);
    if (r < 0) return 0;
    *got = (size_t)r;
    return 1;
}

/* lseek's SEEK_DATA and SEEK_HOLE move a cursor that nothing uses, so this too is safe from any
   thread. The constants are the same wherever they exist, but hidden by strict feature macros. */
POSIO_API int posio_i_file_extent(posio_i_handle h, uint64_t size, uint64_t offset,
                                  posio_extent *out)
{
#if defined(__linux__) || defined(__FreeBSD__) || defined(__APPLE__)
#if defined(__APPLE__)
    enum { POSIO_I_SEEK_HOLE = 3, POSIO_I_SEEK_DATA = 4 };
#else
    enum { POSIO_I_SEEK_DATA = 3, POSIO_I_SEEK_HOLE = 4 };
#endif
    off_t data = lseek(h, (off_t)offset, POSIO_I_SEEK_DATA);
    off_t hole;
    if (data < 0 && errno != ENXIO) return 0;
    if (data < 0 || (uint64_t)data > offset) {
        out->kind = POSIO_EXTENT_HOLE;
        out->length = (data < 0 ? size : posio_min((uint64_t)data, size)) - offset;
        return out->length != 0;
    }
    hole = lseek(h, (off_t)offset, POSIO_I_SEEK_HOLE);
    if (hole < 0) return 0;
    out->kind = POSIO_EXTENT_DATA;
    out->length = posio_min((uint64_t)hole, size) - offset;
    return (uint64_t)hole > offset;
#else
    (void)h;
    (void)size;
    (void)offset;
    (void)out;
    return 0;
#endif
}
#endif /* POSIX */

/* Opens a file to read it at offsets: refuses folders and pipes by name, measures devices. */
POSIO_API posio_result posio_i_open_image(posio_i_handle *out, posio_i_stat *st, const char *folder,
                                          const char *name, uint32_t flags, const posio_alloc *a,
                                          posio_error *err)
{
    posio_i_handle h = POSIO_I_NO_HANDLE;
    const char *wrong = NULL;
    posio_result r = posio_i_open(&h, folder, name, flags, a, err), code = POSIO_E_UNSUPPORTED;
    if (r != POSIO_OK) return r;
    if (!posio_i_get_stat(h, st)) {
        r = posio_i_fail_os(err, posio_i_last_error(), POSIO_NO_OFFSET, "cannot examine");
        posio_i_close(h);
        return r;
    }
    if (st->is_folder) wrong = "is a folder; an image file is expected";
    else if (st->is_pipe) wrong = "is a pipe or terminal; an image must be readable at any offset";
    if (wrong == NULL && st->info.is_device && (flags & POSIO_I_STORED_NAME) &&
        !(flags & POSIO_I_DEVICE_OK)) {
        wrong = "is a device, named inside an image (POSIO_ALLOW_DEVICE permits it)";
        code = POSIO_E_POLICY;
    }
    if (wrong != NULL) {
        posio_i_close(h);
        return posio_fail(err, code, POSIO_NO_OFFSET, "%s", wrong);
    }
    if ((flags & POSIO_FILE_UNBUFFERED) && st->info.alignment < 4096) st->info.alignment = 4096;
    *out = h;
    return POSIO_OK;
}

POSIO_API posio_result posio_i_read_direct(posio_i_handle h, uint64_t offset, unsigned char *buf,
                                           size_t n, posio_error *err)
{
    while (n != 0) {
        size_t want = n < POSIO_I_REQUEST_MAX ? n : POSIO_I_REQUEST_MAX, got = 0;
        if (!posio_i_pread(h, buf, want, offset, &got))
            return posio_i_fail_os(err, posio_i_last_error(), offset, "cannot read");
        if (got == 0)
            return posio_fail(err, POSIO_E_IO, offset,
                              "the file has no more than %llu bytes: it has become shorter since "
                              "it was opened",
                              (unsigned long long)offset);
        buf += got;
        offset += got;
        n -= got;
    }
    return POSIO_OK;
}

/* Unbuffered files and raw devices take only aligned requests: whole blocks go through a bounce
   buffer, at most 1 MiB at a time. The tail of a file may be shorter than a block. */
POSIO_API posio_result posio_i_read_bounced(posio_i_handle h, uint32_t align, uint64_t offset,
                                            unsigned char *buf, size_t n, const posio_alloc *a,
                                            posio_error *err)
{
    unsigned char *block = (unsigned char *)posio_allocate(a, POSIO_I_BOUNCE + align), *start;
    posio_result r = POSIO_OK;
    if (block == NULL) return posio_fail(err, POSIO_E_NOMEM, offset, "out of memory");
    start = block + (align - (size_t)((uintptr_t)block % align)) % align;
    while (n != 0 && r == POSIO_OK) {
        size_t head = (size_t)(offset % align), got = 0;
        size_t take = (size_t)posio_min(n, POSIO_I_BOUNCE - head);
        size_t whole = (head + take + align - 1) / align * align;
        if (!posio_i_pread(h, start, whole, offset - head, &got)) {
            r = posio_i_fail_os(err, posio_i_last_error(), offset, "cannot read");
        } else if (got <= head) {
            r = posio_fail(err, POSIO_E_IO, offset,
                           "the file has no more than %llu bytes: it has become shorter since it "
                           "was opened",
                           (unsigned long long)(offset - head + got));
        } else {
            take = (size_t)posio_min(take, got - head);
            memcpy(buf, start + head, take);
            buf += take;
            offset += take;
            n -= take;
        }
    }
    posio_release(a, block);
    return r;
}

POSIO_API posio_result posio_i_read_handle(posio_i_handle h, const posio_file_info *info,
                                           uint64_t offset, void *buf, size_t n,
                                           const posio_alloc *a, posio_error *err)
{
    uint32_t align = info->alignment;
    if (!posio_within(offset, n, info->size))
        return posio_fail(err, POSIO_E_RANGE, offset, "%llu bytes at %llu: the file has %llu",
                          (unsigned long long)n, (unsigned long long)offset,
                          (unsigned long long)info->size);
    if (align > 1 && (offset % align != 0 || n % align != 0 || (uintptr_t)buf % align != 0))
        return posio_i_read_bounced(h, align, offset, (unsigned char *)buf, n, a, err);
    return posio_i_read_direct(h, offset, (unsigned char *)buf, n, err);
}

POSIO_API posio_result posio_i_extent_of_handle(posio_i_handle h, const posio_file_info *info,
                                                uint64_t offset, posio_extent *out,
                                                posio_error *err)
{
    if (offset >= info->size)
        return posio_fail(err, POSIO_E_RANGE, offset, "no extent at %llu: the file has %llu bytes",
                          (unsigned long long)offset, (unsigned long long)info->size);
    out->reserved = 0;
    if (!info->is_device && posio_i_file_extent(h, info->size, offset, out)) return POSIO_OK;
    out->length = info->size - offset;
    out->kind = POSIO_EXTENT_DATA;
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- files

struct posio_file {
    posio_alloc alloc;
    posio_i_handle handle;
    posio_file_info info;
    char *path;
};

/* Opens a file or block device for reading at offsets. path is UTF-8 (on POSIX any bytes).
   desc NULL or all zero is a complete default. On success *out is to be closed by the caller.
   Errors: NOT_FOUND, ACCESS, IO, NOMEM; UNSUPPORTED for a folder or a pipe.
   Threads: any. Allocates: open. Blocks: I/O. */
POSIO_API posio_result posio_file_open(posio_file **out, const char *path,
                                       const posio_file_desc *desc, posio_error *err)
{
    static const posio_file_desc defaults = {0, 0, {NULL, NULL, NULL}};
    size_t n = strlen(path);
    posio_file *f;
    posio_i_stat st;
    posio_result r;
    if (desc == NULL) desc = &defaults;
    if (!posio_alloc_is_valid(&desc->alloc))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "alloc_fn without free_fn");
    f = (posio_file *)posio_allocate_zeroed(&desc->alloc, sizeof *f + n + 1);
    if (f == NULL) return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    f->alloc = desc->alloc;
    f->path = (char *)(f + 1);
    memcpy(f->path, path, n + 1);
    r = posio_i_open_image(&f->handle, &st, "", path, desc->flags, &f->alloc, err);
    if (r != POSIO_OK) {
        (void)posio_fail_in(err, path, 0);
        posio_release(&desc->alloc, f);
        return r;
    }
    f->info = st.info;
    *out = f;
    return POSIO_OK;
}

/* Closes; NULL is fine. Sources made from it must no longer be used.
   Threads: exclusive. Allocates: no. Blocks: I/O. */
POSIO_API void posio_file_close(posio_file *f)
{
    posio_alloc a;
    if (f == NULL) return;
    a = f->alloc;
    posio_i_close(f->handle);
    posio_release(&a, f);
}

/* Size, identity and alignment as found when it was opened.
   Threads: any. Allocates: no. Blocks: no. */
POSIO_API posio_file_info posio_file_get_info(const posio_file *f) { return f->info; }

POSIO_API posio_result posio_i_file_read(void *self, uint64_t offset, void *buf, size_t n,
                                         posio_error *err)
{
    const posio_file *f = (const posio_file *)self;
    posio_result r = posio_i_read_handle(f->handle, &f->info, offset, buf, n, &f->alloc, err);
    if (r != POSIO_OK) (void)posio_fail_in(err, f->path, 0);
    return r;
}

POSIO_API posio_result posio_i_file_extent_at(void *self, uint64_t offset, posio_extent *out,
                                              posio_error *err)
{
    const posio_file *f = (const posio_file *)self;
    posio_result r = posio_i_extent_of_handle(f->handle, &f->info, offset, out, err);
    if (r != POSIO_OK) (void)posio_fail_in(err, f->path, 0);
    return r;
}

/* The file as a source; it borrows the file. Threads: any. Allocates: no. Blocks: no. */
POSIO_API posio_source posio_file_source(posio_file *f)
{
    posio_source s;
    memset(&s, 0, sizeof s);
    s.size = f->info.size;
    s.flags = f->info.is_device ? POSIO_SOURCE_DEVICE : 0;
    s.read_at = posio_i_file_read;
    s.extent_at = posio_i_file_extent_at;
    s.self = f;
    return s;
}

// ---------------------------------------------------------------------------------- folders

/* A folder opens the other files of a set and keeps at most max_open descriptors: an image may
   have 10,000 segments. A member's descriptor is opened when it is read, and closed when others
   need the room. The word `state` is its lock:

       bits 0-15   readers at work      bit 16 OPEN   handle is valid
       bit 17 BUSY one thread opens or closes it; others spin (the system call is short)
       bit 18 USED read since the clock hand last passed

   Members are pushed on a list that only grows until the folder is closed, so that the clock hand
   may walk it without a lock. */
enum { POSIO_I_OPEN = 1 << 16, POSIO_I_BUSY = 1 << 17, POSIO_I_USED = 1 << 18 };

typedef struct posio_i_member {
    struct posio_i_member *next;
    posio_folder *folder;
    posio_i_handle handle;
    posio_file_info info;
    uint32_t state, flags;
    char *name;
} posio_i_member;

struct posio_folder {
    posio_folder_desc desc;
    void *members; /* posio_i_member, newest first */
    void *hand;    /* where the clock goes on */
    uint32_t open_count;
    char *path; /* of the folder, ending in a separator, or empty */
};

/* How many bytes of a path are folder: up to and with the last separator.
   Threads: any. Allocates: no. Blocks: no. */
POSIO_API size_t posio_path_folder(const char *path)
{
    size_t n = strlen(path);
    while (n != 0 && !posio_i_is_separator(path[n - 1])) {
#if defined(_WIN32)
        if (n == 2 && path[1] == ':') break; /* "C:name" */
#endif
        n--;
    }
    return n;
}

/* Opens the folder that a path lies in, for an image's other files. Nothing is read yet.
   On success *out is to be closed by the caller, after all its sources.
   Threads: any. Allocates: open. Blocks: no. */
POSIO_API posio_result posio_folder_open(posio_folder **out, const char *path_of_image,
                                         const posio_folder_desc *desc, posio_error *err)
{
    static const posio_folder_desc defaults = {0, 0, 0, 0, {NULL, NULL, NULL}};
    size_t n = posio_path_folder(path_of_image);
    posio_folder *f;
    if (desc == NULL) desc = &defaults;
    if (!posio_alloc_is_valid(&desc->alloc))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "alloc_fn without free_fn");
    f = (posio_folder *)posio_allocate_zeroed(&desc->alloc, sizeof *f + n + 1);
    if (f == NULL) return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    f->desc = *desc;
    if (f->desc.max_open == 0) f->desc.max_open = 64;
    f->path = (char *)(f + 1);
    memcpy(f->path, path_of_image, n);
    *out = f;
    return POSIO_OK;
}

/* Closes all files opened through it; NULL is fine.
   Threads: exclusive. Allocates: no. Blocks: I/O. */
POSIO_API void posio_folder_close(posio_folder *f)
{
    posio_i_member *m, *next;
    posio_alloc a;
    if (f == NULL) return;
    a = f->desc.alloc;
    for (m = (posio_i_member *)f->members; m != NULL; m = next) {
        next = m->next;
        if (m->state & POSIO_I_OPEN) posio_i_close(m->handle);
        posio_release(&a, m);
    }
    posio_release(&a, f);
}

/* Closes one idle descriptor, as a clock does: a member read since the last round gets another. */
POSIO_API int posio_i_folder_evict(posio_folder *f)
{
    posio_i_member *m = (posio_i_member *)posio_atomic_load_ptr(&f->hand);
    int rounds = 0;
    while (rounds < 3) {
        uint32_t s;
        if (m == NULL) {
            m = (posio_i_member *)posio_atomic_load_ptr(&f->members);
            rounds++;
            if (m == NULL) return 0;
        }
        s = posio_atomic_load(&m->state);
        if (s == (POSIO_I_OPEN | POSIO_I_USED)) {
            (void)posio_atomic_swap_if(&m->state, s, POSIO_I_OPEN);
        } else if (s == POSIO_I_OPEN && posio_atomic_swap_if(&m->state, s, POSIO_I_BUSY)) {
            posio_i_close(m->handle);
            m->handle = POSIO_I_NO_HANDLE;
            (void)posio_atomic_add(&f->open_count, UINT32_MAX);
            posio_atomic_store_ptr(&f->hand, m->next);
            posio_atomic_store(&m->state, 0);
            return 1;
        }
        m = m->next;
    }
    return 0;
}

/* Opens one more file; idle ones give up their descriptors where there are too many. Where memory is
   lacking that is no help. */
POSIO_API posio_result posio_i_folder_open_handle(posio_folder *f, posio_i_handle *out,
                                                  posio_i_stat *st, const char *name,
                                                  uint32_t flags, posio_error *err)
{
    posio_error own;
    posio_result r;
    if (err == NULL) err = &own;
    while (posio_atomic_load(&f->open_count) >= f->desc.max_open && posio_i_folder_evict(f)) {}
    do r = posio_i_open_image(out, st, f->path, name, flags, &f->desc.alloc, err);
    while (r == POSIO_E_NOMEM && err->os_error != 0 && posio_i_folder_evict(f));
    return r;
}

POSIO_API posio_result posio_i_member_reopen(posio_i_member *m, posio_error *err)
{
    posio_folder *f = m->folder;
    posio_i_stat st;
    posio_result r;
    r = posio_i_folder_open_handle(f, &m->handle, &st, m->name, m->flags, err);
    if (r != POSIO_OK) return r;
    if (m->info.inode != st.info.inode || m->info.device != st.info.device ||
        m->info.size != st.info.size) {
        posio_i_close(m->handle);
        return posio_fail(err, POSIO_E_IO, POSIO_NO_OFFSET,
                          "the file was replaced or changed its size while the image was open");
    }
    (void)posio_atomic_add(&f->open_count, 1);
    return POSIO_OK;
}

/* Makes sure that the handle is valid and stays so until the matching release. */
POSIO_API posio_result posio_i_member_acquire(posio_i_member *m, posio_error *err)
{
    for (;;) {
        uint32_t s = posio_atomic_load(&m->state);
        if (s & POSIO_I_BUSY) {
            posio_i_yield();
        } else if (s & POSIO_I_OPEN) {
            if (posio_atomic_swap_if(&m->state, s, (s | POSIO_I_USED) + 1)) return POSIO_OK;
        } else if (posio_atomic_swap_if(&m->state, s, POSIO_I_BUSY)) {
            posio_result r = posio_i_member_reopen(m, err);
            posio_atomic_store(&m->state, r == POSIO_OK ? (POSIO_I_OPEN | POSIO_I_USED) + 1u : 0);
            return r;
        }
    }
}

POSIO_API posio_result posio_i_member_read(void *self, uint64_t offset, void *buf, size_t n,
                                           posio_error *err)
{
    posio_i_member *m = (posio_i_member *)self;
    posio_result r = posio_i_member_acquire(m, err);
    if (r == POSIO_OK) {
        r = posio_i_read_handle(m->handle, &m->info, offset, buf, n, &m->folder->desc.alloc, err);
        (void)posio_atomic_add(&m->state, UINT32_MAX);
    }
    if (r != POSIO_OK) (void)posio_fail_in(err, m->name, 0);
    return r;
}

POSIO_API posio_result posio_i_member_extent(void *self, uint64_t offset, posio_extent *out,
                                             posio_error *err)
{
    posio_i_member *m = (posio_i_member *)self;
    posio_result r = posio_i_member_acquire(m, err);
    if (r == POSIO_OK) {
        r = posio_i_extent_of_handle(m->handle, &m->info, offset, out, err);
        (void)posio_atomic_add(&m->state, UINT32_MAX);
    }
    if (r != POSIO_OK) (void)posio_fail_in(err, m->name, 0);
    return r;
}

/* A name found inside an image: plain and relative, or refused before the system sees it. */
POSIO_API posio_result posio_i_check_stored(const char *name, uint32_t allow, posio_error *err)
{
    const char *why = NULL;
    if (name[0] == 0) why = "is empty";
    else if (strstr(name, "://") != NULL) why = "is a URL";
    if (why != NULL)
        return posio_fail(err, POSIO_E_POLICY, POSIO_NO_OFFSET, "the stored name \"%s\" %s", name,
                          why);
    if (allow & POSIO_ALLOW_OUTSIDE) return POSIO_OK;
    if (posio_i_is_separator(name[0])) why = "is an absolute path";
#if defined(_WIN32)
    if (strchr(name, ':') != NULL) why = "names a drive or a stream";
#endif
    if (why == NULL && posio_i_leads_up(name)) why = "leads upwards (..)";
    if (why == NULL) return POSIO_OK;
    return posio_fail(err, POSIO_E_POLICY, POSIO_NO_OFFSET,
                      "the stored name \"%s\" %s (POSIO_ALLOW_OUTSIDE permits it)", name, why);
}

POSIO_API posio_result posio_i_folder_open_file(void *self, const char *name, uint32_t rule,
                                                posio_source *out, posio_error *err)
{
    posio_folder *f = (posio_folder *)self;
    size_t n = strlen(name);
    posio_i_member *m;
    posio_i_stat st;
    posio_result r = POSIO_OK;
    uint32_t flags = f->desc.file_flags;
    if (rule == POSIO_NAME_STORED) {
        flags |= POSIO_I_STORED_NAME;
        if (f->desc.allow & POSIO_ALLOW_OUTSIDE) flags |= POSIO_I_OUTSIDE_OK;
        if (f->desc.allow & POSIO_ALLOW_DEVICE) flags |= POSIO_I_DEVICE_OK;
        r = posio_i_check_stored(name, f->desc.allow, err);
        if (r != POSIO_OK) return r;
    }
    m = (posio_i_member *)posio_allocate_zeroed(&f->desc.alloc, sizeof *m + n + 1);
    if (m == NULL) return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    r = posio_i_folder_open_handle(f, &m->handle, &st, name, flags, err);
    if (r != POSIO_OK) {
        (void)posio_fail_in(err, name, 0);
        posio_release(&f->desc.alloc, m);
        return r;
    }
    m->folder = f;
    m->info = st.info;
    m->flags = flags;
    m->name = (char *)(m + 1);
    memcpy(m->name, name, n + 1);
    m->state = POSIO_I_OPEN;
    m->next = (posio_i_member *)f->members;
    (void)posio_atomic_add(&f->open_count, 1);
    posio_atomic_store_ptr(&f->members, m);
    memset(out, 0, sizeof *out);
    out->size = m->info.size;
    out->flags = m->info.is_device ? POSIO_SOURCE_DEVICE : 0;
    out->read_at = posio_i_member_read;
    out->extent_at = posio_i_member_extent;
    out->self = m;
    return POSIO_OK;
}

/* The member's memory stays with the folder: the clock hand may stand on it. */
POSIO_API void posio_i_folder_close_file(void *self, posio_source *src)
{
    posio_i_member *m = (posio_i_member *)src->self;
    (void)self;
    if (m == NULL) return;
    src->self = NULL;
    while (!posio_atomic_swap_if(&m->state, POSIO_I_OPEN, POSIO_I_BUSY) &&
           !posio_atomic_swap_if(&m->state, POSIO_I_OPEN | POSIO_I_USED, POSIO_I_BUSY)) {
        if (posio_atomic_load(&m->state) == 0) return;
        posio_i_yield();
    }
    posio_i_close(m->handle);
    m->handle = POSIO_I_NO_HANDLE;
    (void)posio_atomic_add(&m->folder->open_count, UINT32_MAX);
    posio_atomic_store(&m->state, 0);
}

POSIO_API posio_result posio_i_folder_list(void *self, int (*each)(void *user, const char *name),
                                           void *user, posio_error *err)
{
    const posio_folder *f = (const posio_folder *)self;
#if defined(_WIN32)
    char name[1024];
    wchar_t *wide;
    WIN32_FIND_DATAW found;
    HANDLE h;
    int32_t os;
    int more = 1;
    posio_result r = posio_i_wide(&wide, f->path, "*", &f->desc.alloc, err);
    if (r != POSIO_OK) return r;
    h = FindFirstFileW(wide, &found);
    os = posio_i_last_error();
    posio_release(&f->desc.alloc, wide);
    if (h == INVALID_HANDLE_VALUE)
        return posio_i_fail_os(err, os, POSIO_NO_OFFSET, "cannot list the folder");
    do {
        if (WideCharToMultiByte(CP_UTF8, 0, found.cFileName, -1, name, (int)sizeof name, NULL,
                                NULL) > 0)
            more = !each(user, name);
    } while (more && FindNextFileW(h, &found));
    FindClose(h);
#else
    DIR *d = opendir(f->path[0] != 0 ? f->path : ".");
    struct dirent *e;
    if (d == NULL) return posio_i_fail_os(err, errno, POSIO_NO_OFFSET, "cannot list the folder");
    while ((e = readdir(d)) != NULL && !each(user, e->d_name)) {}
    (void)closedir(d);
#endif
    return POSIO_OK;
}

/* The folder as an opener; it borrows the folder. Opening and closing files: one thread at a time.
   Reading them: any thread. Threads: any. Allocates: no. Blocks: no. */
POSIO_API posio_opener posio_folder_opener(posio_folder *f)
{
    posio_opener o;
    o.open = posio_i_folder_open_file;
    o.close = posio_i_folder_close_file;
    o.list = posio_i_folder_list;
    o.self = f;
    return o;
}

// ---------------------------------------------------------------------------------- layers

/* A file that an image lies in, and the way to the files which that image names: its backing file
   or parent, its data file. Each is opened by the policy for stored names, relative to the image
   that names it, and refused when it is a file on the way already. */
enum { POSIO_I_FOLLOWS = 8 * POSIO_LAYERS };
struct posio_layer {
    const posio_layer *from; /* the image that named it; NULL: the user did */
    uint32_t depth;          /* 1 = named by the user */
    uint32_t followed;       /* of the one that the user named: names followed so far, */
    uint32_t *count;         /* which all layers on it share */
    posio_folder_desc desc;
    posio_file *file;     /* named by the user, */
    posio_folder *folder; /* or a member of this folder */
    posio_source source;
    posio_file_info info;
    char *path;
};

/* Closes; NULL is fine. Layers that were followed from it must be closed before.
   Threads: exclusive. Allocates: no. Blocks: I/O. */
POSIO_API void posio_layer_close(posio_layer *l)
{
    posio_alloc a;
    if (l == NULL) return;
    a = l->desc.alloc;
    posio_file_close(l->file);
    posio_folder_close(l->folder);
    posio_release(&a, l);
}

/* A layer without its file, with the path "folder of `from`" + name. */
POSIO_API posio_result posio_i_layer_create(posio_layer **out, const posio_layer *from,
                                            const char *name, const posio_folder_desc *desc,
                                            posio_error *err)
{
    size_t n = strlen(name), folder = from != NULL ? posio_path_folder(from->path) : 0;
    posio_layer *l;
#if defined(_WIN32)
    if (posio_i_is_separator(name[0]) || strchr(name, ':') != NULL) folder = 0;
#else
    if (posio_i_is_separator(name[0])) folder = 0;
#endif
    l = (posio_layer *)posio_allocate_zeroed(&desc->alloc, sizeof *l + folder + n + 1);
    if (l == NULL) return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    l->from = from;
    l->depth = from != NULL ? from->depth + 1 : 1;
    l->count = from != NULL ? from->count : &l->followed;
    l->desc = *desc;
    l->path = (char *)(l + 1);
    if (folder != 0) memcpy(l->path, from->path, folder);
    memcpy(l->path + folder, name, n + 1);
    *out = l;
    return POSIO_OK;
}

/* The file at the user's own path. desc (NULL = defaults) holds for the names that follow.
   Errors: as posio_file_open. Threads: any. Allocates: open. Blocks: I/O. */
POSIO_API posio_result posio_layer_open(posio_layer **out, const char *path,
                                        const posio_folder_desc *desc, posio_error *err)
{
    static const posio_folder_desc defaults = {0, 0, 0, 0, {NULL, NULL, NULL}};
    posio_file_desc file;
    posio_layer *l = NULL;
    posio_result r;
    if (desc == NULL) desc = &defaults;
    if (!posio_alloc_is_valid(&desc->alloc))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "alloc_fn without free_fn");
    r = posio_i_layer_create(&l, NULL, path, desc, err);
    if (r != POSIO_OK) return r;
    memset(&file, 0, sizeof file);
    file.flags = desc->file_flags;
    file.alloc = desc->alloc;
    r = posio_file_open(&l->file, path, &file, err);
    if (r != POSIO_OK) {
        posio_layer_close(l);
        return r;
    }
    l->source = posio_file_source(l->file);
    l->info = posio_file_get_info(l->file);
    *out = l;
    return POSIO_OK;
}

/* The file that the image in `from`, which is borrowed, calls `name`.
   Errors: POLICY for a name that leads elsewhere, DATA for a file that is on the way already (by
   device and inode), LIMIT for one below POSIO_LAYERS others, and when too many names were followed
   in all, MISSING when there is none, and those of posio_file_open.
   Threads: any. Allocates: open. Blocks: I/O. */
POSIO_API posio_result posio_layer_follow(posio_layer **out, const posio_layer *from,
                                          const char *name, posio_error *err)
{
    posio_layer *l = NULL;
    const posio_layer *above;
    posio_opener opener;
    posio_result r;
    if (from->depth >= POSIO_LAYERS)
        return posio_fail(err, POSIO_E_LIMIT, POSIO_NO_OFFSET,
                          "more than %u files stand on each other", (unsigned)POSIO_LAYERS);
    /* An image may have several names for its parent, each of which opens a chain: without a bound
       on all together they would be exponentially many. */
    if (++*from->count > POSIO_I_FOLLOWS) {
        *from->count = POSIO_I_FOLLOWS;
        return posio_fail(err, POSIO_E_LIMIT, POSIO_NO_OFFSET,
                          "more than %u names of parents were followed", (unsigned)POSIO_I_FOLLOWS);
    }
    r = posio_i_layer_create(&l, from, name, &from->desc, err);
    if (r == POSIO_OK) r = posio_folder_open(&l->folder, from->path, &from->desc, err);
    if (r == POSIO_OK) {
        opener = posio_folder_opener(l->folder);
        r = opener.open(opener.self, name, POSIO_NAME_STORED, &l->source, err);
        if (r == POSIO_E_NOT_FOUND) {
            r = posio_fail(err, POSIO_E_MISSING, POSIO_NO_OFFSET, "there is no file \"%s\"", name);
            (void)posio_fail_in(err, from->path, 0);
        }
    }
    if (r == POSIO_OK) l->info = ((const posio_i_member *)l->source.self)->info;
    for (above = from; above != NULL && r == POSIO_OK; above = above->from)
        if (above->info.device == l->info.device && above->info.inode == l->info.inode) {
            r = posio_fail(err, POSIO_E_DATA, POSIO_NO_OFFSET,
                           above == from ? "\"%s\" is the image itself"
                                         : "\"%s\" stands on this image: they form a circle",
                           name);
            (void)posio_fail_in(err, from->path, 0);
        }
    if (r == POSIO_OK) *out = l;
    else posio_layer_close(l);
    return r;
}

/* The file as a source; it borrows l. Threads: any. Allocates: no. Blocks: no. */
POSIO_API posio_source posio_layer_source(const posio_layer *l) { return l->source; }

/* Its path: the user's, or the folder of the image that named it and that name.
   Threads: any. Allocates: no. Blocks: no. */
POSIO_API const char *posio_layer_path(const posio_layer *l) { return l->path; }

// ---------------------------------------------------------------------------------- sinks

struct posio_file_sink {
    posio_alloc alloc;
    posio_i_handle handle;
    uint64_t size; /* bytes appended so far, holes included */
    uint32_t flags;
    int direct;         /* a device or pipe: no .part, no rename */
    char *part, *final; /* NAME.part and NAME */
};

/* What lies at an output's path, and so how it is written. */
enum { POSIO_I_NOTHING, POSIO_I_REGULAR, POSIO_I_FOLDER, POSIO_I_STRAIGHT };

#if defined(_WIN32)
POSIO_API posio_result posio_i_create(posio_i_handle *out, const char *path, int keep, int straight,
                                      const posio_alloc *a, posio_error *err)
{
    wchar_t *w;
    DWORD got = 0;
    int32_t os;
    posio_result r = posio_i_wide(&w, "", path, a, err);
    if (r != POSIO_OK) return r;
    *out = CreateFileW(w, straight ? GENERIC_WRITE : GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ,
                       NULL,
                       straight ? OPEN_EXISTING
                       : keep   ? OPEN_ALWAYS
                                : CREATE_ALWAYS,
                       FILE_ATTRIBUTE_NORMAL, NULL);
    os = posio_i_last_error();
    posio_release(a, w);
    if (*out == INVALID_HANDLE_VALUE)
        return posio_i_fail_os(err, os, POSIO_NO_OFFSET, "cannot create");
    if (!straight) (void)DeviceIoControl(*out, FSCTL_SET_SPARSE, NULL, 0, NULL, 0, &got, NULL);
    return POSIO_OK;
}
POSIO_API int posio_i_write(posio_i_handle h, const void *buf, size_t n, size_t *done)
{
    DWORD wrote = 0;
    if (!WriteFile(h, buf, (DWORD)n, &wrote, NULL)) return 0;
    *done = wrote;
    return 1;
}
POSIO_API int posio_i_seek(posio_i_handle h, uint64_t offset)
{
    LARGE_INTEGER at;
    at.QuadPart = (LONGLONG)offset;
    return SetFilePointerEx(h, at, NULL, FILE_BEGIN) != 0;
}
POSIO_API int posio_i_set_end(posio_i_handle h, uint64_t size)
{
    return posio_i_seek(h, size) && SetEndOfFile(h);
}
POSIO_API int posio_i_sync(posio_i_handle h) { return FlushFileBuffers(h) != 0; }
POSIO_API posio_result posio_i_output_kind(int *kind, const char *path, const posio_alloc *a,
                                           posio_error *err)
{
    wchar_t *w;
    DWORD attributes;
    posio_result r = posio_i_wide(&w, "", path, a, err);
    if (r != POSIO_OK) return r;
    attributes = GetFileAttributesW(w);
    if (lstrcmpiW(w, L"NUL") == 0 || wcsncmp(w, L"\\\\.\\", 4) == 0) *kind = POSIO_I_STRAIGHT;
    else if (attributes == INVALID_FILE_ATTRIBUTES) *kind = POSIO_I_NOTHING;
    else *kind = attributes & FILE_ATTRIBUTE_DIRECTORY ? POSIO_I_FOLDER : POSIO_I_REGULAR;
    posio_release(a, w);
    return POSIO_OK;
}
POSIO_API int posio_i_rename(const char *from, const char *to, int replace, const posio_alloc *a)
{
    wchar_t *f, *t = NULL;
    DWORD e = ERROR_NOT_ENOUGH_MEMORY;
    int ok = posio_i_wide(&f, "", from, a, NULL) == POSIO_OK &&
             posio_i_wide(&t, "", to, a, NULL) == POSIO_OK;
    if (ok) {
        ok = MoveFileExW(f, t, replace ? MOVEFILE_REPLACE_EXISTING : 0) != 0;
        e = GetLastError();
    }
    posio_release(a, f);
    posio_release(a, t);
    SetLastError(e);
    return ok;
}
#else
/* NAME.part belongs to one program at a time, which holds a lock on it until it has become NAME. */
POSIO_API posio_result posio_i_take_part(posio_i_handle h, const char *path, posio_error *err)
{
    struct stat opened, named;
    if (fstat(h, &opened) != 0)
        return posio_i_fail_os(err, errno, POSIO_NO_OFFSET, "cannot examine");
    if (!S_ISREG(opened.st_mode))
        return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET, "is not a plain file");
#if defined(LOCK_EX)
    if (flock(h, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return posio_fail(err, POSIO_E_BUSY, POSIO_NO_OFFSET, "another program is writing it");
#endif
    if (lstat(path, &named) != 0 || named.st_dev != opened.st_dev || named.st_ino != opened.st_ino)
        return posio_fail(err, POSIO_E_BUSY, POSIO_NO_OFFSET,
                          "another program has just written it");
    return POSIO_OK;
}
/* Links are followed for what is written straight to only: /dev/stdout is one. */
POSIO_API posio_result posio_i_create(posio_i_handle *out, const char *path, int keep, int straight,
                                      const posio_alloc *a, posio_error *err)
{
    int h, how = O_WRONLY | O_CLOEXEC | (straight ? O_NOCTTY : O_CREAT | O_NOFOLLOW | O_NONBLOCK);
    posio_result r;
    (void)a;
    h = open(path, how, 0666);
    if (h < 0 && errno == ELOOP && !straight)
        return posio_i_fail_os(err, ELOOP, POSIO_NO_OFFSET, "is a link, which is not followed");
    if (h < 0) return posio_i_fail_os(err, errno, POSIO_NO_OFFSET, "cannot create");
    r = straight ? POSIO_OK : posio_i_take_part(h, path, err);
    /* Only what has bytes is emptied: ext4 writes all of a file that was, when it is closed. */
    if (r == POSIO_OK && !straight && !keep && lseek(h, 0, SEEK_END) > 0 && ftruncate(h, 0) != 0)
        r = posio_i_fail_os(err, errno, POSIO_NO_OFFSET, "cannot empty");
    if (r == POSIO_OK) *out = h;
    else posio_i_close(h);
    return r;
}
POSIO_API int posio_i_write(posio_i_handle h, const void *buf, size_t n, size_t *done)
{
    ssize_t r;
    do r = write(h, buf, n);
    while (r < 0 && errno == EINTR);
    if (r < 0) return 0;
    *done = (size_t)r;
    return 1;
}
POSIO_API int posio_i_seek(posio_i_handle h, uint64_t offset)
{
    return lseek(h, (off_t)offset, SEEK_SET) >= 0;
}
POSIO_API int posio_i_set_end(posio_i_handle h, uint64_t size)
{
    return ftruncate(h, (off_t)size) == 0;
}
POSIO_API int posio_i_sync(posio_i_handle h) { return fsync(h) == 0 || errno == EINVAL; }
POSIO_API posio_result posio_i_output_kind(int *kind, const char *path, const posio_alloc *a,
                                           posio_error *err)
{
    struct stat st;
    (void)a;
    (void)err;
    *kind = POSIO_I_NOTHING;
    if (stat(path, &st) == 0)
        *kind = S_ISREG(st.st_mode) ? POSIO_I_REGULAR
                : S_ISDIR(st.st_mode) ? POSIO_I_FOLDER
                                      : POSIO_I_STRAIGHT;
    else if (lstat(path, &st) == 0) *kind = POSIO_I_REGULAR; /* a link to nowhere is in the way */
    return POSIO_OK;
}
/* link + unlink never replaces what appeared meanwhile; file systems without links get rename. */
POSIO_API int posio_i_rename(const char *from, const char *to, int replace, const posio_alloc *a)
{
    (void)a;
    if (!replace) {
        if (link(from, to) == 0) return unlink(from) == 0;
        if (errno == EEXIST) return 0;
    }
    return rename(from, to) == 0;
}
#endif

POSIO_API posio_result posio_i_write_all(posio_i_handle h, const void *buf, size_t n,
                                         uint64_t offset, posio_error *err)
{
    const unsigned char *p = (const unsigned char *)buf;
    while (n != 0) {
        size_t want = n < POSIO_I_REQUEST_MAX ? n : POSIO_I_REQUEST_MAX, done = 0;
        if (!posio_i_write(h, p, want, &done))
            return posio_i_fail_os(err, posio_i_last_error(), offset, "cannot write");
        p += done;
        if (offset != POSIO_NO_OFFSET) offset += done;
        n -= done;
    }
    return POSIO_OK;
}

POSIO_API void posio_i_sink_release(posio_file_sink *s)
{
    posio_alloc a = s->alloc;
    posio_release(&a, s);
}

/* Begins an output file: bytes go to NAME.part, which becomes NAME at posio_file_sink_finish.
   An existing NAME is refused (POSIO_E_EXISTS) unless POSIO_SINK_FORCE, and so is a NAME.part that
   another program is writing (POSIO_E_BUSY). With POSIO_SINK_RESUME an
   existing NAME.part is continued; posio_file_sink_size tells from where. A device, pipe or
   /dev/null is written straight to.
   Threads: any. Allocates: open. Blocks: I/O. */
POSIO_API posio_result posio_file_sink_open(posio_file_sink **out, const char *path,
                                            const posio_file_sink_desc *desc, posio_error *err)
{
    static const posio_file_sink_desc defaults = {0, 0, {NULL, NULL, NULL}};
    size_t n = strlen(path);
    posio_file_sink *s;
    posio_i_stat st;
    posio_result r;
    int kind = POSIO_I_NOTHING;
    if (desc == NULL) desc = &defaults;
    if (!posio_alloc_is_valid(&desc->alloc))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "alloc_fn without free_fn");
    r = posio_i_output_kind(&kind, path, &desc->alloc, err);
    if (r != POSIO_OK) return r;
    if (kind == POSIO_I_FOLDER || (kind == POSIO_I_REGULAR && !(desc->flags & POSIO_SINK_FORCE))) {
        r = kind == POSIO_I_FOLDER ? POSIO_E_UNSUPPORTED : POSIO_E_EXISTS;
        (void)posio_fail(err, r, POSIO_NO_OFFSET,
                         kind == POSIO_I_FOLDER ? "is a folder" : "exists already");
        (void)posio_fail_in(err, path, 0);
        return r;
    }
    s = (posio_file_sink *)posio_allocate_zeroed(&desc->alloc, sizeof *s + 2 * n + 8);
    if (s == NULL) return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    s->alloc = desc->alloc;
    s->flags = desc->flags;
    s->direct = kind == POSIO_I_STRAIGHT;
    s->final = (char *)(s + 1);
    s->part = s->final + n + 1;
    memcpy(s->final, path, n);
    memcpy(s->part, path, n);
    if (!s->direct) memcpy(s->part + n, ".part", 5);
    r = posio_i_create(&s->handle, s->part, (desc->flags & POSIO_SINK_RESUME) != 0, s->direct,
                       &s->alloc, err);
    if (r != POSIO_OK) {
        (void)posio_fail_in(err, s->part, 0);
        posio_i_sink_release(s);
        return r;
    }
    if (!s->direct && posio_i_get_stat(s->handle, &st)) s->size = st.info.size;
    if (!s->direct) (void)posio_i_seek(s->handle, s->size);
    *out = s;
    return POSIO_OK;
}

/* Bytes so far; right after opening with POSIO_SINK_RESUME, where to go on.
   Threads: any. Allocates: no. Blocks: no. */
POSIO_API uint64_t posio_file_sink_size(const posio_file_sink *s) { return s->size; }

/* Is it a device or pipe, written straight to: no NAME.part, no holes, nothing to resume?
   Threads: any. Allocates: no. Blocks: no. */
POSIO_API int posio_file_sink_is_direct(const posio_file_sink *s) { return s->direct; }

/* Drops what lies behind the first size bytes; size is at most posio_file_sink_size. To go on, in
   a NAME.part that is continued, before its end. POSIO_E_ARG for a device or pipe.
   Threads: one per handle. Allocates: no. Blocks: I/O. */
POSIO_API posio_result posio_file_sink_cut(posio_file_sink *s, uint64_t size, posio_error *err)
{
    if (s->direct || size > s->size)
        return posio_fail(err, POSIO_E_ARG, size, "posio_file_sink_cut: not a place to cut at");
    if (!posio_i_set_end(s->handle, size) || !posio_i_seek(s->handle, size)) {
        (void)posio_i_fail_os(err, posio_i_last_error(), size, "cannot shorten the file");
        (void)posio_fail_in(err, s->part, 0);
        return POSIO_E_IO;
    }
    s->size = size;
    return POSIO_OK;
}

POSIO_API posio_result posio_i_sink_write(void *self, const void *buf, size_t n, posio_error *err)
{
    posio_file_sink *s = (posio_file_sink *)self;
    posio_result r = posio_i_write_all(s->handle, buf, n, s->size, err);
    if (r == POSIO_OK) s->size += n;
    else (void)posio_fail_in(err, s->part, 0);
    return r;
}

POSIO_API posio_result posio_i_sink_hole(void *self, uint64_t n, posio_error *err)
{
    static const unsigned char zeros[4096] = {0};
    posio_file_sink *s = (posio_file_sink *)self;
    posio_result r = POSIO_OK;
    if (!s->direct && !(s->flags & POSIO_SINK_NO_HOLES)) {
        uint64_t end = s->size;
        if (!posio_add(s->size, n, &end) || end > INT64_MAX)
            r = posio_fail(err, POSIO_E_ARG, s->size, "a hole of %llu bytes: no file is so large",
                           (unsigned long long)n);
        else if (!posio_i_seek(s->handle, end))
            r = posio_i_fail_os(err, posio_i_last_error(), s->size, "cannot leave a hole");
        if (r == POSIO_OK) s->size = end;
        else (void)posio_fail_in(err, s->part, 0);
        return r;
    }
    for (; n != 0 && r == POSIO_OK; n -= posio_min(n, sizeof zeros))
        r = posio_i_sink_write(s, zeros, (size_t)posio_min(n, sizeof zeros), err);
    return r;
}

/* The file as a sink; it borrows s. Threads: one per handle. Allocates: no. Blocks: no. */
POSIO_API posio_sink posio_file_sink_sink(posio_file_sink *s)
{
    posio_sink k;
    k.write = posio_i_sink_write;
    k.hole = posio_i_sink_hole;
    k.self = s;
    return k;
}

/* Completes: sets the size, syncs, renames NAME.part to NAME. On failure NAME.part stays, and stays
   locked (but on Windows, if it cannot be renamed), and NAME is untouched. Call
   posio_file_sink_close or posio_file_sink_abort afterwards in either case.
   Threads: one per handle. Allocates: no. Blocks: I/O. */
POSIO_API posio_result posio_file_sink_finish(posio_file_sink *s, posio_error *err)
{
    posio_result r = POSIO_OK;
    if (s->direct) return POSIO_OK;
    if (!posio_i_set_end(s->handle, s->size) ||
        (!(s->flags & POSIO_SINK_NO_SYNC) && !posio_i_sync(s->handle)))
        r = posio_i_fail_os(err, posio_i_last_error(), s->size, "cannot complete the file");
#if defined(_WIN32)
    if (r == POSIO_OK) { /* an open file keeps its name */
        posio_i_close(s->handle);
        s->handle = POSIO_I_NO_HANDLE;
    }
#endif
    if (r == POSIO_OK &&
        !posio_i_rename(s->part, s->final, (s->flags & POSIO_SINK_FORCE) != 0, &s->alloc))
        r = posio_i_fail_os(err, posio_i_last_error(), POSIO_NO_OFFSET, "cannot rename to NAME");
    if (r != POSIO_OK) {
        (void)posio_fail_in(err, s->part, 0);
        return r;
    }
#if !defined(_WIN32)
    posio_i_close(s->handle); /* and with it goes the lock; not before NAME.part has gone */
    s->handle = POSIO_I_NO_HANDLE;
#endif
    return POSIO_OK;
}

/* Closes; without a finish before, NAME.part stays for a later resume. NULL is fine.
   Threads: exclusive. Allocates: no. Blocks: I/O. */
POSIO_API void posio_file_sink_close(posio_file_sink *s)
{
    if (s == NULL) return;
    if (s->handle != POSIO_I_NO_HANDLE) posio_i_close(s->handle);
    posio_i_sink_release(s);
}

/* Closes, and removes NAME.part: what was written is of no use. NULL is fine. What was renamed, or
   written straight to, stays. Threads: exclusive. Allocates: yes (on Windows). Blocks: I/O. */
POSIO_API void posio_file_sink_abort(posio_file_sink *s)
{
    if (s == NULL) return;
#if defined(_WIN32)
    if (s->handle != POSIO_I_NO_HANDLE) posio_i_close(s->handle); /* an open file stays */
    s->handle = POSIO_I_NO_HANDLE;
    if (!s->direct) {
        wchar_t *w;
        if (posio_i_wide(&w, "", s->part, &s->alloc, NULL) == POSIO_OK) {
            (void)DeleteFileW(w);
            posio_release(&s->alloc, w);
        }
    }
#else
    /* While it is locked: what is there after a finish is another program's. */
    if (!s->direct && s->handle != POSIO_I_NO_HANDLE) (void)unlink(s->part);
#endif
    posio_file_sink_close(s);
}

// ---------------------------------------------------------------------------------- pipes

POSIO_API posio_result posio_i_pipe_read(void *self, void *buf, size_t n, size_t *got,
                                         posio_error *err)
{
    const posio_pipe *p = (const posio_pipe *)self;
    size_t want = n < POSIO_I_REQUEST_MAX ? n : POSIO_I_REQUEST_MAX;
#if defined(_WIN32)
    DWORD done = 0;
    if (!ReadFile((HANDLE)p->handle, buf, (DWORD)want, &done, NULL) &&
        GetLastError() != ERROR_BROKEN_PIPE && GetLastError() != ERROR_HANDLE_EOF)
        return posio_i_fail_os(err, posio_i_last_error(), POSIO_NO_OFFSET, "cannot read the pipe");
    *got = done;
#else
    ssize_t r;
    do r = read((int)p->handle, buf, want);
    while (r < 0 && errno == EINTR);
    if (r < 0) return posio_i_fail_os(err, errno, POSIO_NO_OFFSET, "cannot read the pipe");
    *got = (size_t)r;
#endif
    return POSIO_OK;
}

POSIO_API posio_result posio_i_pipe_write(void *self, const void *buf, size_t n, posio_error *err)
{
    const posio_pipe *p = (const posio_pipe *)self;
    return posio_i_write_all((posio_i_handle)p->handle, buf, n, POSIO_NO_OFFSET, err);
}

/* A descriptor or HANDLE as a stream or as a sink (without holes); *p is borrowed and stays open.
   Threads: one per handle. Allocates: no. Blocks: no. */
POSIO_API posio_stream posio_pipe_stream(posio_pipe *p)
{
    posio_stream s;
    s.read = posio_i_pipe_read;
    s.self = p;
    return s;
}
POSIO_API posio_sink posio_pipe_sink(posio_pipe *p)
{
    posio_sink s;
    s.write = posio_i_pipe_write;
    s.hole = NULL;
    s.self = p;
    return s;
}

#undef POSIO_I_NO_HANDLE
#undef POSIO_I_O_DIRECT
#undef POSIO_I_REQUEST_MAX
#undef POSIO_I_BOUNCE
#endif /* POSIO_NO_FILES */

#undef POSIO_I_PRINTF
#undef POSIO_I_X86_GNU
#undef POSIO_I_X86_MSVC
#elif defined(POSIO_IMPLEMENTATION) && POSIO_I_IMPLEMENTED < 100
#error "posio.h: the functions of an older copy came first; include the newest header first"
#endif
/* >>end */
