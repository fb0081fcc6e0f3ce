/* mft_scan.c - lists every file, hard link, stream and damaged record of an NTFS $MFT.
   SPDX-License-Identifier: MIT OR Unlicense

       cc -O2 -pthread examples/mft_scan.c -o mft_scan

   One translation unit; see `mft_scan --help`. The data flow from top to bottom: arguments, text
   and times as bytes, one record as CSV, JSON or bodyfile lines, blocks of records formatted on all
   threads, the output, the report, and one input after the other. */
#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif
#if !defined(_FILE_OFFSET_BITS)
#define _FILE_OFFSET_BITS 64 /* images beyond 2 GiB, in a 32-bit program */
#endif
#define MFT_SCAN_IMPLEMENTATION
#define EWF_READ_IMPLEMENTATION
#define QCOW2_READ_IMPLEMENTATION
#define VMDK_READ_IMPLEMENTATION
#define VHDX_READ_IMPLEMENTATION
#include "../mft_scan.h"
#include "../ewf_read.h"
#include "../qcow2_read.h"
#include "../vmdk_read.h"
#include "../vhdx_read.h"
#if defined(OPEN_IMAGE_ZSTD)
#define ZSTD_PAR_IMPLEMENTATION
#include "../zstd_par.h"
#endif
#if defined(OPEN_IMAGE_HEXZ)
#define HEXZ_PACK_IMPLEMENTATION
#include "../hexz_pack.h"
#endif
#include "cli.h"
#include "open_image.h"
#include "image_files.h"
#if defined(__GNUC__) && defined(__SSE2__)
#include <emmintrin.h>
#define SSE2
#endif

// ---------------------------------------------------------------------------------- arguments

enum { FORMAT_DEFAULT, FORMAT_CSV, FORMAT_JSONL, FORMAT_BODYFILE, FORMAT_NONE, FORMATS };
static const char *const format_names[FORMATS] = {"", "csv", "jsonl", "bodyfile", "none"};
enum { DELETED_INCLUDE, DELETED_ONLY, DELETED_EXCLUDE };

typedef struct arguments {
    const char *output; /* "-" or NULL: standard output */
    uint32_t mode, format, deleted, threads, partition, record_size;
    open_image_desc image; /* how it is opened */
    int has_mode, skip_free, list, stats, bench, force, json, quiet;
} arguments;

static const char *take_mode(void *user, const char *value)
{
    arguments *a = (arguments *)user;
    for (a->mode = MFT_SCAN_AUTO; a->mode <= MFT_SCAN_PIPELINED_PARALLEL; a->mode++)
        if (strcmp(value, mft_scan_mode_name(a->mode)) == 0) {
            a->has_mode = 1;
            return NULL;
        }
    return "unknown mode; one of auto, serial, parallel, pipelined-parallel";
}

static const char *take_format(void *user, const char *value)
{
    arguments *a = (arguments *)user;
    for (a->format = FORMAT_CSV; a->format < FORMATS; a->format++)
        if (strcmp(value, format_names[a->format]) == 0) return NULL;
    return "unknown format; one of csv, jsonl, bodyfile, none (that of the image: --image-format)";
}

static const char *take_deleted(void *user, const char *value)
{
    arguments *a = (arguments *)user;
    if (strcmp(value, "include") == 0) a->deleted = DELETED_INCLUDE;
    else if (strcmp(value, "only") == 0) a->deleted = DELETED_ONLY;
    else if (strcmp(value, "exclude") == 0) a->deleted = DELETED_EXCLUDE;
    else return "one of include, only, exclude";
    return NULL;
}

static const char *take_threads(void *user, const char *value)
{
    if (cli_number(value, 4096, &((arguments *)user)->threads)) return NULL;
    return "not a whole number from 0 to 4096";
}

static const char *take_partition(void *user, const char *value)
{
    uint32_t *n = &((arguments *)user)->partition;
    if (cli_number(value, UINT32_MAX, n) && *n != 0) return NULL;
    return "not the number of a partition: --list prints them";
}

static const char *take_record_size(void *user, const char *value)
{
    const char *end;
    uint64_t n = 0;
    if (!cli_bytes(value, &end, &n) || *end != 0 || n < 512 || n > 65536 || (n & (n - 1)) != 0)
        return "not a power of two from 512 to 64K";
    ((arguments *)user)->record_size = (uint32_t)n;
    return NULL;
}

// ---------------------------------------------------------------------------------- text

/* Bytes on their way out. Without a sink they gather, up to TEXT_MOST; with one they are flushed
   when there is no more room. */
enum { TEXT_FIRST = 512 << 10, TEXT_MOST = 8 << 20 };

typedef struct text_out {
    char *bytes;
    size_t used, room;
    posio_sink *sink; /* NULL: none */
    uint64_t written; /* to the sink */
    posio_error error;
} text_out;

static posio_result text_flush(text_out *t)
{
    posio_result r = POSIO_OK;
    if (t->used != 0) r = t->sink->write(t->sink->self, t->bytes, t->used, &t->error);
    t->written += t->used;
    t->used = 0;
    return r;
}

/* Room for n more bytes. POSIO_E_SPACE: too many have gathered; somebody with a sink goes on. */
static posio_result text_reserve(text_out *t, size_t n)
{
    posio_result r = POSIO_OK;
    char *bytes;
    size_t room = t->room != 0 ? t->room : (size_t)TEXT_FIRST;
    if (t->room - t->used >= n) return POSIO_OK;
    if (t->sink != NULL) r = text_flush(t);
    else if (t->used >= TEXT_MOST || n > TEXT_MOST - t->used) return POSIO_E_SPACE;
    if (r != POSIO_OK || t->room - t->used >= n) return r;
    while (room - t->used < n) {
        if (room > SIZE_MAX / 2) break;
        room *= 2;
    }
    bytes = room - t->used >= n ? (char *)realloc(t->bytes, room) : NULL;
    if (bytes == NULL)
        return posio_fail(&t->error, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    t->bytes = bytes;
    t->room = room;
    return POSIO_OK;
}

static char *put(char *p, const char *s, size_t n)
{
    if (n != 0) memcpy(p, s, n); /* an empty text may be nowhere */
    return p + n;
}
#define PUT(p, literal) put(p, literal, sizeof(literal) - 1)

/* Copies `room` bytes, of which n count: a constant, so that it takes a few moves and no call. */
#define PUT_WIDE(p, s, n, room) (memcpy(p, s, room), (p) + (n))

static char *put_char(char *p, char c)
{
    *p = c;
    return p + 1;
}

static char *put_string(char *p, const char *s) { return put(p, s, strlen(s)); }

/* Numbers from 0 to 99 in some lanes of a word, 16 bits or more each (lanes: a 1 at the beginning of
   each), become two digits each, the tens in front. Naive: a division, two stores and a branch on
   the length for each pair; here all pairs at once: 103 / 1024 is a tenth closely enough, and no
   product reaches the next lane. */
static uint64_t pairs(uint64_t values, uint64_t lanes)
{
    const uint64_t tens = (values * 103 >> 10) & (lanes * 15);
    return tens + ((values - 10 * tens) << 8) + lanes * 0x3030;
}

/* The 8 digits of a number below EIGHT_DIGITS, the first one lowest. It is cut in halves, and these
   at once (10486 / 2^20 is a hundredth of what has four digits). */
#define EIGHT_DIGITS 100000000u

static uint64_t eight_digits(uint32_t v)
{
    const uint64_t halves = v / 10000 | (uint64_t)(v % 10000) << 32;
    const uint64_t hundreds = (halves * 10486 >> 20) & UINT64_C(0x7f0000007f);
    return pairs(hundreds | (halves - 100 * hundreds) << 16, UINT64_C(0x0001000100010001));
}

/* The characters of a word, the lowest first. */
static char *put_word(char *p, uint64_t v)
{
    posio_put_le64(p, v);
    return p + 8;
}

/* A number below EIGHT_DIGITS; 8 bytes are written in any case. */
static char *put_short(char *p, uint32_t v)
{
    const uint64_t digits = eight_digits(v);
    uint64_t significant = (digits & UINT64_C(0x0f0f0f0f0f0f0f0f)) | (uint64_t)1 << 56;
    uint32_t zeros = 0;
#if defined(__GNUC__)
    zeros = (uint32_t)__builtin_ctzll(significant) / 8;
#else
    for (; (significant & 255) == 0; significant >>= 8) zeros++;
#endif
    (void)put_word(p, digits >> 8 * zeros);
    return p + 8 - zeros;
}

/* Writes up to 7 bytes more than it says. */
static char *put_number(char *p, uint64_t v)
{
    const uint64_t high = v / EIGHT_DIGITS;
    if (high == 0) return put_short(p, (uint32_t)v);
    if (high < EIGHT_DIGITS) p = put_short(p, (uint32_t)high);
    else p = put_word(put_short(p, (uint32_t)(high / EIGHT_DIGITS)),
                      eight_digits((uint32_t)(high % EIGHT_DIGITS)));
    return put_word(p, eight_digits((uint32_t)(v % EIGHT_DIGITS)));
}

/* At least so many digits. */
static char *put_hex(char *p, uint64_t v, unsigned digits)
{
    while (digits < 16 && v >> (4 * digits) != 0) digits++;
    while (digits-- != 0) *p++ = "0123456789abcdef"[v >> (4 * digits) & 15];
    return p;
}

// ---------------------------------------------------------------------------------- escaping

/* A character of WTF-8, a lone surrogate too: its length. 0 = not one. */
static size_t decode(const unsigned char *s, const unsigned char *end, uint32_t *c)
{
    const unsigned char b = s[0];
    size_t n = b < 0x80 ? 1 : b < 0xc2 ? 0 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : b < 0xf5 ? 4 : 0, i;
    if (n == 0 || (size_t)(end - s) < n) return 0;
    *c = n == 1 ? b : b & (0x7fu >> n);
    for (i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        *c = *c << 6 | (s[i] & 0x3fu);
    }
    return (n == 3 && *c < 0x800) || (n == 4 && (*c < 0x10000 || *c > 0x10ffff)) ? 0 : n;
}

/* What of a character matters to whom. Most names have none of these, and are copied. */
enum { BYTE_ESCAPE = 1, BYTE_QUOTE = 2, BYTE_COMMA = 4, BYTE_BAR = 8, BYTE_SURROGATE = 16 };

#if defined(SSE2)
/* All ones where one of these 16 bytes matters to somebody, or is not ASCII. Signed, and with 1 more,
   all that is below a blank, above ~, or not ASCII, is below '!'; \ and | differ in one bit. */
static __m128i odd_ones(const char *s)
{
    const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)s);
    __m128i odd = _mm_cmplt_epi8(_mm_add_epi8(v, _mm_set1_epi8(1)), _mm_set1_epi8('!'));
    odd = _mm_or_si128(odd, _mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
    odd = _mm_or_si128(odd, _mm_cmpeq_epi8(v, _mm_set1_epi8(',')));
    return _mm_or_si128(
        odd, _mm_cmpeq_epi8(_mm_or_si128(v, _mm_set1_epi8(0x20)), _mm_set1_epi8('|')));
}

/* Is this text ASCII that matters to nobody? It has 16 bytes at least. */
static int is_plain(const char *s, size_t n)
{
    __m128i odd = odd_ones(s + n - 16);
    size_t i;
    for (i = 0; i + 16 < n; i += 16) odd = _mm_or_si128(odd, odd_ones(s + i));
    return _mm_movemask_epi8(odd) == 0;
}
#else
static int is_plain(const char *s, size_t n)
{
    (void)s;
    (void)n;
    return 0; /* not known: all are looked at one by one */
}
#endif

/* Where something is not plain, so many bytes are looked at one by one; then it may be again. */
enum { STRIDE = 16 };

static uint32_t classes_of(const char *s, size_t n)
{
    static const unsigned char classes[128] = {
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 1};
    const unsigned char *at = (const unsigned char *)s;
    const unsigned char *const end = at + n;
    const unsigned char *next = at;
    uint32_t found = 0, c = 0;
    if (n >= STRIDE && is_plain(s, n)) return 0;
    while (at != end) {
        size_t m = 1;
        if (at >= next) {
            while (end - at >= STRIDE && is_plain((const char *)at, STRIDE)) at += STRIDE;
            if (at == end) break;
            next = end - at > STRIDE ? at + STRIDE : end;
        }
        if (*at < 128) {
            found |= classes[*at];
        } else {
            m = decode(at, end, &c);
            if (m == 0 || cli_is_unsafe(c)) found |= BYTE_ESCAPE;
            else if (c >= 0xd800 && c < 0xe000) found |= BYTE_SURROGATE;
            m += m == 0;
        }
        at += m;
    }
    return found;
}

/* Bytes that `n` of the image take at most, however they are escaped: \u00NN in JSON. */
enum { ESCAPED = 6 };

/* As cli_text does: \xNN, \u{...}; and \\, so that it can be undone. bars: | becomes \x7c. */
static char *put_escaped(char *p, const char *s, size_t n, int quotes, int bars)
{
    const unsigned char *at = (const unsigned char *)s, *end = at + n;
    while (at < end) {
        uint32_t c = *at;
        size_t m = decode(at, end, &c);
        if (m <= 1 && (m == 0 || cli_is_unsafe(c) || (c == '|' && bars))) {
            p = put_hex(PUT(p, "\\x"), *at, 2);
        } else if (c == '\\' || (c == '"' && quotes)) {
            *p++ = (char)c;
            *p++ = (char)c;
        } else if (cli_is_unsafe(c)) {
            p = put_hex(PUT(p, "\\u{"), c, 1);
            *p++ = '}';
        } else {
            p = put(p, (const char *)at, m);
        }
        at += m != 0 ? m : 1;
    }
    return p;
}

/* A field of RFC 4180, in which these classes were found. */
static char *put_csv(char *p, const char *s, size_t n, uint32_t found)
{
    const int quoted = (found & (BYTE_QUOTE | BYTE_COMMA)) != 0;
    if ((found & (BYTE_ESCAPE | BYTE_QUOTE | BYTE_COMMA)) == 0) return put(p, s, n);
    if (quoted) *p++ = '"';
    p = put_escaped(p, s, n, quoted, 0);
    if (quoted) *p++ = '"';
    return p;
}

static char *put_body(char *p, const char *s, size_t n, uint32_t found)
{
    if ((found & (BYTE_ESCAPE | BYTE_BAR)) == 0) return put(p, s, n);
    return put_escaped(p, s, n, 0, 1);
}

/* With the quotes. A lone surrogate is \udNNN, as JSON writes it. */
static char *put_json(char *p, const char *s, size_t n)
{
    const unsigned char *at = (const unsigned char *)s, *end = at + n;
    *p++ = '"';
    if ((classes_of(s, n) & (BYTE_ESCAPE | BYTE_QUOTE | BYTE_SURROGATE)) == 0) {
        p = put(p, s, n);
        at = end;
    }
    while (at < end) {
        uint32_t c = *at;
        size_t m = decode(at, end, &c);
        if (m == 0) {
            p = put_hex(PUT(p, "\\udc"), *at, 2);
        } else if (c == '"' || c == '\\') {
            *p++ = '\\';
            *p++ = (char)c;
        } else if (cli_is_unsafe(c) || (c >= 0xd800 && c < 0xe000)) {
            p = put_hex(PUT(p, "\\u"), c, 4);
        } else {
            p = put(p, (const char *)at, m);
        }
        at += m != 0 ? m : 1;
    }
    *p++ = '"';
    return p;
}

// ---------------------------------------------------------------------------------- times

#define TICKS_A_SECOND UINT64_C(10000000)
#define TICKS_A_DAY (TICKS_A_SECOND * 86400)
#define TICKS_TO_1970 UINT64_C(116444736000000000)

enum { TIME_ROOM = 32 };

/* The date of a day, counted from 1601-01-01. Naive: whole cycles of 400, 100, 4 and 1 years, then
   look for the month, which took 190 instructions; a table of 256 days that had been asked for
   missed most of them. Here years begin with March, so that the leap day is the last, and each step
   is a division by a constant: Neri and Schneider, "Euclidean affine functions and their
   application to calendar algorithms", 2022. */
typedef struct date {
    uint32_t year, month, day;
} date;

static date date_of(uint32_t day)
{
    const uint32_t n = 4 * (day + 306) + 3; /* quarters of a day since 1600-03-01 */
    const uint32_t century = n / 146097;
    const uint64_t years = UINT64_C(2939745) * (n % 146097 | 3); /* 2^32 / 1461, rounded up */
    const uint32_t in_year = (uint32_t)(years & UINT32_MAX) / 2939745 / 4;
    const uint32_t months = 2141 * in_year + 197913; /* 2^16 / 30.6, and from 3 on */
    const uint32_t is_next = in_year >= 306;
    date d;
    d.year = 1600 + 100 * century + (uint32_t)(years >> 32) + is_next;
    d.month = (months >> 16) - 12 * is_next;
    d.day = (months & 0xffff) / 2141 + 1;
    return d;
}

/* 2026-01-31T12:34:56.1234567Z; nothing for 0, which means that it is not set. Takes TIME_ROOM bytes
   at most. ISO 8601 wants a sign before a year of five digits. */
static char *put_time(char *p, uint64_t ticks)
{
    static const uint64_t first_two = UINT64_C(0x2d00002d00000000); /* "....-..-" */
    static const uint64_t lanes = UINT64_C(0x0001000001000001);     /* "..x..x.." */
    const date d = date_of((uint32_t)(ticks / TICKS_A_DAY));
    const uint64_t in_day = ticks % TICKS_A_DAY;
    const uint32_t second = (uint32_t)(in_day / TICKS_A_SECOND), minute = second / 60;
    const uint32_t fraction = (uint32_t)(in_day % TICKS_A_SECOND);
    if (ticks == 0) return p;
    if (d.year > 9999) {
        *p = '+';
        p = put_number(p + 1, d.year) - 4; /* its last four digits are written again */
    }
    (void)put_word(p, first_two + pairs(d.year / 100 % 100 | (uint64_t)(d.year % 100) << 16 |
                                            (uint64_t)d.month << 40,
                                        UINT64_C(0x0000010000010001)));
    (void)put_word(p + 8, UINT64_C(0x00003a0000540000) /* "..T..:.." */ +
                              pairs(d.day | (uint64_t)(minute / 60) << 24 |
                                        (uint64_t)(minute % 60) << 48,
                                    lanes));
    (void)put_word(p + 16, pairs((uint64_t)(second % 60) << 8, 0x100) + 0x2e00003a); /* ":..." */
    (void)put_word(p + 20, eight_digits(10 * fraction));
    p[27] = 'Z';
    return p + 28;
}

/* Seconds since 1970, 0 outside of what 32 bits can say, as TSK has them. */
static char *put_seconds(char *p, uint64_t ticks)
{
    uint64_t seconds = ticks >= TICKS_TO_1970 ? (ticks - TICKS_TO_1970) / TICKS_A_SECOND : 0;
    return put_number(p, seconds <= UINT32_MAX ? seconds : 0);
}

// ---------------------------------------------------------------------------------- flags

typedef struct bit_name {
    uint32_t bit;
    const char *name;
} bit_name;

/* The attributes of $STANDARD_INFORMATION. */
static const bit_name attribute_bits[] = {{0x1, "readonly"},
                                          {0x2, "hidden"},
                                          {0x4, "system"},
                                          {0x20, "archive"},
                                          {0x40, "device"},
                                          {0x80, "normal"},
                                          {0x100, "temporary"},
                                          {0x200, "sparse"},
                                          {0x400, "reparse"},
                                          {0x800, "compressed"},
                                          {0x1000, "offline"},
                                          {0x2000, "not_indexed"},
                                          {0x4000, "encrypted"},
                                          {0x8000, "integrity"},
                                          {0x10000, "virtual"},
                                          {0x20000, "no_scrub"},
                                          {0x40000, "ea_recall"},
                                          {0x80000, "pinned"},
                                          {0x100000, "unpinned"},
                                          {0x400000, "recall"},
                                          {0x10000000, "directory"},
                                          {0x20000000, "index_view"},
                                          {0, NULL}};

static const bit_name stream_bits[] = {{MFT_SCAN_RESIDENT, "resident"},
                                       {MFT_SCAN_COMPRESSED, "data_compressed"},
                                       {MFT_SCAN_ENCRYPTED, "data_encrypted"},
                                       {MFT_SCAN_SPARSE, "data_sparse"},
                                       {0, NULL}};

/* Those of mft_scan_record.flags that have no column of their own. */
static const bit_name record_bits[] = {{MFT_SCAN_EXTENSION, "extension"},
                                       {MFT_SCAN_ORPHAN_EXTENSION, "orphan_extension"},
                                       {MFT_SCAN_TORN, "torn"},
                                       {MFT_SCAN_TORN_SLACK, "torn_slack"},
                                       {MFT_SCAN_UNPROTECTED, "unprotected"},
                                       {MFT_SCAN_HAS_LIST, "attribute_list"},
                                       {MFT_SCAN_LIST_NONRESIDENT, "list_nonresident"},
                                       {MFT_SCAN_LIST_MISMATCH, "list_mismatch"},
                                       {MFT_SCAN_HAS_EXTENSIONS, "has_extensions"},
                                       {MFT_SCAN_HAS_EA, "ea"},
                                       {MFT_SCAN_HAS_OBJECT_ID, "object_id"},
                                       {MFT_SCAN_IN_EXTEND, "in_extend"},
                                       {MFT_SCAN_VIEW_INDEX, "view_index"},
                                       {MFT_SCAN_WRONG_NUMBER, "wrong_number"},
                                       {MFT_SCAN_SKIPPED, "skipped"},
                                       {0, NULL}};

/* The names of the bits, each behind a `before` and followed by an `after`; what has no name as
   0x... */
static char *put_bits(char *p, const bit_name *bits, uint32_t value, const char *before,
                      const char *after)
{
    uint32_t known = 0;
    for (; bits->name != NULL; bits++) {
        known |= bits->bit;
        if ((value & bits->bit) == 0) continue;
        p = put_string(put_string(put_string(p, before), bits->name), after);
    }
    if ((value & ~known) == 0) return p;
    p = put_hex(PUT(put_string(p, before), "0x"), value & ~known, 1);
    return put_string(p, after);
}

/* "damaged:attribute_out_of_bounds" */
static char *put_damage(char *p, uint32_t damage)
{
    const char *s = mft_scan_damage_name(damage);
    for (p = PUT(p, "damaged:"); *s != 0; s++) *p++ = *s == ' ' ? '_' : *s;
    return p;
}

enum { FLAGS_ROOM = 1024 };

/* The column `flags`: words with a blank between them. */
static char *put_flags(char *p, uint32_t attributes, const mft_scan_record *record, uint32_t stream)
{
    static const uint32_t mask = ((uint32_t)MFT_SCAN_SKIPPED << 1) - 1;
    const char *begin = p;
    uint32_t kept = record->flags & mask &
                    ~(uint32_t)(MFT_SCAN_DIRECTORY | MFT_SCAN_DAMAGED | MFT_SCAN_HAS_TIMES |
                                MFT_SCAN_HAS_SIZE | MFT_SCAN_HAS_REPARSE | MFT_SCAN_HEADER_IN_USE);
    p = put_bits(p, attribute_bits, attributes, "", " ");
    p = put_bits(p, stream_bits, stream, "", " ");
    p = put_bits(p, record_bits, kept, "", " ");
    if (record->flags & MFT_SCAN_DAMAGED) p = put_char(put_damage(p, record->damage), ' ');
    return p == begin ? p : p - 1;
}

/* Few kinds of files make up most of a volume. */
enum { KINDS = 16 };

typedef struct flags_cache {
    struct {
        uint32_t attributes, flags, damage, stream;
        uint32_t length;
        char text[FLAGS_ROOM];
    } kinds[KINDS];
} flags_cache;

/* The text of the flags, borrowed from the cache. */
static const char *flags_of(flags_cache *cache, const mft_scan_record *record, uint32_t stream,
                            size_t *length)
{
    uint32_t hash = (record->attributes * 31 + record->flags) * 31 + record->damage * 7 + stream;
    uint32_t i = (hash ^ hash >> 5 ^ hash >> 13) % KINDS;
    if (cache->kinds[i].attributes != record->attributes ||
        cache->kinds[i].flags != record->flags || cache->kinds[i].damage != record->damage ||
        cache->kinds[i].stream != stream) {
        char *s = cache->kinds[i].text;
        cache->kinds[i].length = (uint32_t)(put_flags(s, record->attributes, record, stream) - s);
        cache->kinds[i].attributes = record->attributes;
        cache->kinds[i].flags = record->flags;
        cache->kinds[i].damage = record->damage;
        cache->kinds[i].stream = stream;
    }
    *length = cache->kinds[i].length;
    return cache->kinds[i].text;
}

// ---------------------------------------------------------------------------------- one record

enum { HEAD_ROOM = 48, SI_ROOM = 4 * TIME_ROOM + 8 }; /* for what rows of a record have in common */

/* What is needed to write records, one after the other: one for each block under way. */
typedef struct row_writer {
    const mft_scan *scan;
    const arguments *asked;
    const char *label; /* of the input, where there are several; NULL = only one */
    uint32_t *plain;   /* atomic, of all writers: a bit for each record, see path_classes */
    text_out out;
    uint64_t rows;
    char *path; /* of the name under way */
    size_t path_length, path_room;
    uint32_t path_status, path_classes;
    flags_cache flags;
    mft_scan_record record; /* and what is known of it: */
    mft_scan_stream main;   /* its unnamed $DATA */
    int has_main, has_others;
    char head[HEAD_ROOM], si[SI_ROOM];
    size_t head_length, si_length;
} row_writer;

static posio_result writer_fail(row_writer *w)
{
    return posio_fail(&w->out.error, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
}

/* Where the path of a folder is plain, it is for all that lie there, and only the name of one is
   looked at, with as much before it as is_plain needs: not most of the bytes. */
static uint32_t path_classes(const row_writer *w, const mft_scan_name *name)
{
    const uint64_t folder = MFT_SCAN_NUMBER(name->parent);
    const size_t n = name->length > STRIDE ? name->length : STRIDE;
    const uint32_t bit = (uint32_t)1 << (folder % 32);
    uint32_t *word, found;
    if (w->path_status != MFT_SCAN_PARENT_OK || n > w->path_length)
        return classes_of(w->path, w->path_length);
    word = &w->plain[folder / 32]; /* there is such a record, as its parent is what it should be */
    if (posio_atomic_load(word) & bit) return classes_of(w->path + w->path_length - n, n);
    found = classes_of(w->path, w->path_length);
    /* a bit that another thread stores at the same time may be lost, and is found anew */
    if (found == 0) posio_atomic_store(word, posio_atomic_load(word) | bit);
    return found;
}

/* Puts the full path of a name into w->path. */
static posio_result find_path(row_writer *w, const mft_scan_name *name)
{
    posio_result r =
        mft_scan_path(w->scan, name, w->path, w->path_room, &w->path_length, &w->path_status);
    if (r == POSIO_E_SPACE) {
        char *path = (char *)realloc(w->path, w->path_length + 4096);
        if (path == NULL) return writer_fail(w);
        w->path = path;
        w->path_room = w->path_length + 4096;
        r = mft_scan_path(w->scan, name, w->path, w->path_room, &w->path_length, &w->path_status);
    }
    if (r == POSIO_OK) w->path_classes = path_classes(w, name);
    return r;
}

/* No name, no path. */
static void forget_path(row_writer *w)
{
    w->path_length = 0;
    w->path_status = MFT_SCAN_PARENT_OK;
    w->path_classes = 0;
}

/* The path that stream rows have: of the first name that is not a DOS one, else of the first. */
static posio_result find_main_path(row_writer *w)
{
    mft_scan_name name, first;
    posio_result r = mft_scan_first_name(w->scan, w->record.number, &name);
    forget_path(w);
    if (r != POSIO_OK) return POSIO_OK;
    first = name;
    while (r == POSIO_OK && name.name_space == MFT_SCAN_DOS) r = mft_scan_next_name(w->scan, &name);
    return find_path(w, r == POSIO_OK ? &name : &first);
}

/* Many names have the times that their record has, too: nothing has changed since. */
static int has_same_times(const mft_scan_record *r, const mft_scan_name *name)
{
    return r->created == name->created && r->modified == name->modified &&
           r->changed == name->changed && r->accessed == name->accessed;
}

static int is_deleted(const mft_scan_record *r)
{
    return r->state == MFT_SCAN_FREE ||
           (r->state == MFT_SCAN_BAAD && !(r->flags & MFT_SCAN_HEADER_IN_USE));
}

/* Slots that are nothing: never written, or not read because it was asked for. And an extension
   is shown with its base, unless something is wrong with it. */
static int is_shown(const row_writer *w)
{
    const mft_scan_record *r = &w->record;
    const uint32_t wrong = MFT_SCAN_ORPHAN_EXTENSION | MFT_SCAN_TORN | MFT_SCAN_DAMAGED;
    if (r->state == MFT_SCAN_NEVER_WRITTEN || (r->flags & MFT_SCAN_SKIPPED)) return 0;
    if (w->asked->deleted == DELETED_ONLY && !is_deleted(r)) return 0;
    if (w->asked->deleted == DELETED_EXCLUDE && is_deleted(r)) return 0;
    return !(r->flags & MFT_SCAN_EXTENSION) || (r->flags & wrong) != 0 ||
           (r->state != MFT_SCAN_IN_USE && r->state != MFT_SCAN_FREE);
}

static int is_data(const mft_scan_stream *s) { return s->type == MFT_SCAN_DATA; }

/* Its unnamed $DATA, if it has one; and has it others? */
static void find_streams(row_writer *w)
{
    mft_scan_stream s;
    posio_result r;
    w->has_main = w->has_others = 0;
    for (r = mft_scan_first_stream(w->scan, w->record.number, &s);
         r == POSIO_OK && !(w->has_main && w->has_others); r = mft_scan_next_stream(w->scan, &s)) {
        if (!is_data(&s)) continue;
        if (s.length != 0 || w->has_main) {
            w->has_others = 1;
        } else {
            w->has_main = 1;
            w->main = s;
        }
    }
}

// ---------------------------------------------------------------------------------- CSV

static const char csv_header[] =
    "record,sequence,state,in_use,directory,namespace,path,stream,size,allocated_size,si_created,"
    "si_modified,si_changed,si_accessed,fn_created,fn_modified,fn_changed,fn_accessed,"
    "parent_record,parent_sequence,flags,reparse\n";

/* In 16 bytes. */
static const char *namespace_name(uint32_t name_space)
{
    static const char names[5][16] = {"posix", "win32", "dos", "win32_dos", "unknown"};
    return names[name_space < 4 ? name_space : 4];
}

/* What all rows of a record have in common. */
static void begin_csv(row_writer *w)
{
    const mft_scan_record *r = &w->record;
    char *p = put_number(w->head, r->number);
    *p++ = ',';
    p = put_char(put_number(p, r->sequence), ',');
    p = put_char(put_string(p, mft_scan_state_name(r->state)), ',');
    *p++ = r->flags & MFT_SCAN_HEADER_IN_USE ? '1' : '0';
    *p++ = ',';
    *p++ = r->flags & MFT_SCAN_DIRECTORY ? '1' : '0';
    *p++ = ',';
    w->head_length = (size_t)(p - w->head);
    p = w->si;
    *p++ = ',';
    p = put_char(put_time(p, r->created), ',');
    p = put_char(put_time(p, r->modified), ',');
    p = put_char(put_time(p, r->changed), ',');
    p = put_char(put_time(p, r->accessed), ',');
    w->si_length = (size_t)(p - w->si);
}

static char *put_name_fields(char *p, row_writer *w, const mft_scan_name *name)
{
    if (has_same_times(&w->record, name)) {
        p = PUT_WIDE(p, w->si + 1, w->si_length - 1, SI_ROOM - 1);
    } else {
        p = put_char(put_time(p, name->created), ',');
        p = put_char(put_time(p, name->modified), ',');
        p = put_char(put_time(p, name->changed), ',');
        p = put_char(put_time(p, name->accessed), ',');
    }
    p = put_char(put_number(p, MFT_SCAN_NUMBER(name->parent)), ',');
    p = put_char(put_number(p, MFT_SCAN_SEQUENCE(name->parent)), ',');
    return p;
}

/* 0xa000000c -> where it leads */
static char *put_reparse(char *p, uint32_t tag, const char *target, uint32_t length)
{
    const int quoted = (classes_of(target, length) & (BYTE_QUOTE | BYTE_COMMA)) != 0;
    if (quoted) *p++ = '"';
    p = put_hex(PUT(p, "0x"), tag, 8);
    if (length != 0) p = put_escaped(PUT(p, " -> "), target, length, quoted, 0);
    if (quoted) *p++ = '"';
    return p;
}

/* One row, of a name, of a stream, or (both NULL) of a record that has neither. */
static posio_result put_csv_row(row_writer *w, const mft_scan_name *name,
                                const mft_scan_stream *stream)
{
    const char *target = NULL, *flags;
    uint32_t tag = 0, target_length = 0;
    size_t flags_length, label = w->label != NULL ? strlen(w->label) : 0;
    int reparse =
        (w->record.flags & MFT_SCAN_HAS_REPARSE) != 0 && stream == NULL &&
        mft_scan_get_reparse(w->scan, w->record.number, &tag, &target, &target_length) == POSIO_OK;
    const mft_scan_stream *data = stream != NULL ? stream : w->has_main ? &w->main : NULL;
    size_t bytes = w->path_length + label + target_length + (stream != NULL ? stream->length : 0);
    posio_result r =
        text_reserve(&w->out, bytes * ESCAPED + HEAD_ROOM + 2 * SI_ROOM + FLAGS_ROOM + 512);
    char *begin, *p;
    if (r != POSIO_OK) return r;
    begin = p = w->out.bytes + w->out.used;
    if (w->label != NULL)
        p = put_char(put_csv(p, w->label, label, classes_of(w->label, label)), ',');
    p = PUT_WIDE(p, w->head, w->head_length, HEAD_ROOM);
    if (name != NULL) {
        const char *name_space = namespace_name(name->name_space);
        p = PUT_WIDE(p, name_space, strlen(name_space), 16);
    }
    *p++ = ',';
    p = put_csv(p, w->path, w->path_length, w->path_classes);
    *p++ = ',';
    if (stream != NULL)
        p = put_csv(p, stream->name, stream->length, classes_of(stream->name, stream->length));
    *p++ = ',';
    if (data != NULL) p = put_number(p, data->size);
    *p++ = ',';
    if (data != NULL) p = put_number(p, data->allocated);
    p = PUT_WIDE(p, w->si, w->si_length, SI_ROOM);
    if (name != NULL) p = put_name_fields(p, w, name);
    else p = PUT(p, ",,,,,,");
    flags = flags_of(&w->flags, &w->record, data != NULL ? data->flags : 0, &flags_length);
    p = flags_length <= 32 ? PUT_WIDE(p, flags, flags_length, 32) : put(p, flags, flags_length);
    if (w->path_status != MFT_SCAN_PARENT_OK) {
        if (flags_length != 0) *p++ = ' ';
        p = put_string(PUT(p, "parent_"), mft_scan_parent_name(w->path_status));
    }
    *p++ = ',';
    if (reparse) p = put_reparse(p, tag, target, target_length);
    *p++ = '\n';
    w->out.used += (size_t)(p - begin);
    w->rows++;
    return POSIO_OK;
}

static posio_result put_csv_record(row_writer *w)
{
    mft_scan_name name;
    mft_scan_stream stream;
    int names = 0, unnamed = 0, has_path = 0;
    posio_result r;
    find_streams(w);
    begin_csv(w);
    for (r = mft_scan_first_name(w->scan, w->record.number, &name); r == POSIO_OK;
         r = mft_scan_next_name(w->scan, &name)) {
        posio_result made = find_path(w, &name);
        if (made == POSIO_OK) made = put_csv_row(w, &name, NULL);
        if (made != POSIO_OK) return made;
        names++;
    }
    if (names == 0) {
        forget_path(w);
        r = put_csv_row(w, NULL, NULL);
        if (r != POSIO_OK) return r;
    }
    if (!w->has_others) return POSIO_OK;
    for (r = mft_scan_first_stream(w->scan, w->record.number, &stream); r == POSIO_OK;
         r = mft_scan_next_stream(w->scan, &stream)) {
        posio_result made = POSIO_OK;
        if (!is_data(&stream) || (stream.length == 0 && unnamed++ == 0)) continue;
        if (!has_path) made = find_main_path(w);
        has_path = 1;
        if (made == POSIO_OK) made = put_csv_row(w, NULL, &stream);
        if (made != POSIO_OK) return made;
    }
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- JSON

static char *put_json_number(char *p, const char *key, uint64_t v)
{
    p = put_string(PUT(p, ",\""), key);
    return put_number(PUT(p, "\":"), v);
}

static char *put_json_flag(char *p, const char *key, int v)
{
    p = put_string(PUT(p, ",\""), key);
    return v ? PUT(p, "\":true") : PUT(p, "\":false");
}

static char *put_json_words(char *p, const char *key, const char *value)
{
    p = put_string(PUT(p, ",\""), key);
    p = put_string(PUT(p, "\":\""), value);
    return PUT(p, "\"");
}

static char *put_json_times(char *p, const uint64_t ticks[4])
{
    static const char *const keys[4] = {"created", "modified", "changed", "accessed"};
    int i;
    for (i = 0; i < 4; i++) {
        p = put_string(PUT(p, ",\""), keys[i]);
        p = PUT(p, "\":");
        if (ticks[i] == 0) {
            p = PUT(p, "null");
            continue;
        }
        *p++ = '"';
        p = put_time(p, ticks[i]);
        *p++ = '"';
    }
    return p;
}

/* ,"key":["a","b"] */
static char *put_json_bits(char *p, const char *key, const bit_name *bits, uint32_t value)
{
    char *begin;
    p = put_string(PUT(p, ",\""), key);
    begin = p = PUT(p, "\":[");
    p = put_bits(p, bits, value, "\"", "\",");
    if (p != begin) p--;
    *p++ = ']';
    return p;
}

enum { JSON_ROOM = 4096 }; /* for everything but text from the image */

static char *put_json_guid(char *p, const unsigned char id[16])
{
    static const unsigned char order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    int i;
    *p++ = '"';
    for (i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *p++ = '-';
        p = put_hex(p, id[order[i]], 2);
    }
    *p++ = '"';
    return p;
}

static posio_result begin_json(row_writer *w)
{
    const mft_scan_record *r = &w->record;
    const uint32_t columns = MFT_SCAN_DIRECTORY | MFT_SCAN_HEADER_IN_USE | MFT_SCAN_HAS_REPARSE;
    size_t label = w->label != NULL ? strlen(w->label) : 0;
    uint64_t ticks[4];
    posio_result made = text_reserve(&w->out, JSON_ROOM + label * ESCAPED);
    char *begin, *p;
    if (made != POSIO_OK) return made;
    begin = p = w->out.bytes + w->out.used;
    *p++ = '{';
    if (w->label != NULL) p = put_char(put_json(PUT(p, "\"input\":"), w->label, label), ',');
    p = put_number(PUT(p, "\"record\":"), r->number);
    p = put_json_number(p, "sequence", r->sequence);
    p = put_json_words(p, "state", mft_scan_state_name(r->state));
    p = put_json_flag(p, "in_use", (r->flags & MFT_SCAN_HEADER_IN_USE) != 0);
    p = put_json_flag(p, "directory", (r->flags & MFT_SCAN_DIRECTORY) != 0);
    if (r->flags & MFT_SCAN_EXTENSION) {
        p = put_json_number(p, "base_record", MFT_SCAN_NUMBER(r->base));
        p = put_json_number(p, "base_sequence", MFT_SCAN_SEQUENCE(r->base));
    }
    p = put_json_bits(p, "flags", record_bits,
                      r->flags & ~columns &
                          ~(uint32_t)(MFT_SCAN_DAMAGED | MFT_SCAN_HAS_TIMES | MFT_SCAN_HAS_SIZE));
    p = PUT(p, ",\"damage\":");
    if (r->flags & MFT_SCAN_DAMAGED)
        p = PUT(put_string(PUT(p, "\""), mft_scan_damage_name(r->damage)), "\"");
    else p = PUT(p, "null");
    p = put_json_bits(p, "attributes", attribute_bits, r->attributes);
    if (w->has_main) {
        p = put_json_number(p, "size", w->main.size);
        p = put_json_number(p, "allocated_size", w->main.allocated);
    } else {
        p = PUT(p, ",\"size\":null,\"allocated_size\":null");
    }
    ticks[0] = r->created;
    ticks[1] = r->modified;
    ticks[2] = r->changed;
    ticks[3] = r->accessed;
    p = put_json_times(p, ticks);
    p = put_json_number(p, "security_id", r->security_id);
    p = put_json_number(p, "log_sequence", r->log_sequence);
    p = put_json_number(p, "usn", r->usn);
    w->out.used += (size_t)(p - begin);
    return POSIO_OK;
}

static posio_result put_json_name(row_writer *w, const mft_scan_name *name, int first)
{
    posio_result r = find_path(w, name);
    uint64_t ticks[4];
    char *begin, *p;
    if (r == POSIO_OK)
        r = text_reserve(&w->out, JSON_ROOM + (w->path_length + name->length) * ESCAPED);
    if (r != POSIO_OK) return r;
    begin = p = w->out.bytes + w->out.used;
    if (!first) *p++ = ',';
    p = put_json(PUT(p, "{\"name\":"), name->text, name->length);
    p = put_json(PUT(p, ",\"path\":"), w->path, w->path_length);
    p = put_json_words(p, "namespace", namespace_name(name->name_space));
    p = put_json_number(p, "parent_record", MFT_SCAN_NUMBER(name->parent));
    p = put_json_number(p, "parent_sequence", MFT_SCAN_SEQUENCE(name->parent));
    p = put_json_words(p, "parent", mft_scan_parent_name(w->path_status));
    p = put_json_number(p, "slot", name->slot);
    ticks[0] = name->created;
    ticks[1] = name->modified;
    ticks[2] = name->changed;
    ticks[3] = name->accessed;
    p = put_json_times(p, ticks);
    *p++ = '}';
    w->out.used += (size_t)(p - begin);
    return POSIO_OK;
}

static posio_result put_json_stream(row_writer *w, const mft_scan_stream *s, int first)
{
    posio_result r = text_reserve(&w->out, JSON_ROOM + s->length * ESCAPED);
    char *begin, *p;
    if (r != POSIO_OK) return r;
    begin = p = w->out.bytes + w->out.used;
    if (!first) *p++ = ',';
    p = put_json(PUT(p, "{\"name\":"), s->name, s->length);
    p = put_json_words(p, "type",
                       is_data(s)                       ? "data"
                       : s->type == MFT_SCAN_INDEX_ROOT ? "index_root"
                                                        : "index_allocation");
    p = put_json_number(p, "id", s->id);
    p = put_json_number(p, "size", s->size);
    p = put_json_number(p, "allocated_size", s->allocated);
    p = put_json_number(p, "initialised_size", s->initialised);
    p = put_json_number(p, "total_size", s->total);
    p = put_json_bits(p, "flags", stream_bits, s->flags);
    p = put_json_number(p, "slot", s->slot);
    *p++ = '}';
    w->out.used += (size_t)(p - begin);
    return POSIO_OK;
}

static posio_result end_json(row_writer *w)
{
    const char *target = NULL;
    unsigned char id[16];
    uint32_t tag = 0, length = 0;
    posio_result r = mft_scan_get_reparse(w->scan, w->record.number, &tag, &target, &length);
    posio_result made = text_reserve(&w->out, JSON_ROOM + (size_t)length * ESCAPED);
    char *begin, *p;
    if (made != POSIO_OK) return made;
    begin = p = w->out.bytes + w->out.used;
    p = PUT(p, "],\"reparse\":");
    if (r == POSIO_OK) {
        p = put_hex(PUT(p, "{\"tag\":\"0x"), tag, 8);
        p = PUT(p, "\",\"target\":");
        if (length != 0) p = put_json(p, target, length);
        else p = PUT(p, "null");
        *p++ = '}';
    } else {
        p = PUT(p, "null");
    }
    p = PUT(p, ",\"object_id\":");
    if (mft_scan_get_object_id(w->scan, w->record.number, id) == POSIO_OK) p = put_json_guid(p, id);
    else p = PUT(p, "null");
    p = PUT(p, "}\n");
    w->out.used += (size_t)(p - begin);
    w->rows++;
    return POSIO_OK;
}

static posio_result put_json_literal(row_writer *w, const char *literal)
{
    posio_result r = text_reserve(&w->out, 32);
    if (r != POSIO_OK) return r;
    w->out.used = (size_t)(put_string(w->out.bytes + w->out.used, literal) - w->out.bytes);
    return r;
}

static posio_result put_json_record(row_writer *w)
{
    mft_scan_name name;
    mft_scan_stream stream;
    posio_result r, made;
    int first = 1;
    find_streams(w);
    made = begin_json(w);
    if (made == POSIO_OK) made = put_json_literal(w, ",\"names\":[");
    for (r = mft_scan_first_name(w->scan, w->record.number, &name);
         r == POSIO_OK && made == POSIO_OK; r = mft_scan_next_name(w->scan, &name)) {
        made = put_json_name(w, &name, first);
        first = 0;
    }
    if (made == POSIO_OK) made = put_json_literal(w, "],\"streams\":[");
    first = 1;
    for (r = mft_scan_first_stream(w->scan, w->record.number, &stream);
         r == POSIO_OK && made == POSIO_OK; r = mft_scan_next_stream(w->scan, &stream)) {
        made = put_json_stream(w, &stream, first);
        first = 0;
    }
    return made == POSIO_OK ? end_json(w) : made;
}

// ---------------------------------------------------------------------------------- bodyfile

/* TSK makes permissions of $STANDARD_INFORMATION: r unless read-only, w unless hidden, and x. */
static char *put_mode(char *p, const mft_scan_record *r)
{
    int i;
    *p++ = r->flags & MFT_SCAN_DIRECTORY ? 'd' : 'r';
    for (i = 0; i < 3; i++) {
        const int known = (r->flags & MFT_SCAN_HAS_TIMES) != 0;
        *p++ = known && !(r->attributes & 1) ? 'r' : '-';
        *p++ = known && !(r->attributes & 2) ? 'w' : '-';
        *p++ = known ? 'x' : '-';
    }
    return p;
}

enum { BODY_TIMES = 64 }; /* bytes: four times of ten digits, and what is between them */

static char *put_body_times(char *p, uint64_t accessed, uint64_t modified, uint64_t changed,
                            uint64_t created)
{
    p = put_char(put_seconds(put_char(p, '|'), accessed), '|');
    p = put_char(put_seconds(p, modified), '|');
    p = put_char(put_seconds(p, changed), '|');
    return put_char(put_seconds(p, created), '\n');
}

/* Between the address and the size: "|r/rrwxrwxrwx|0|0|". In front of the slash stands what the
   folder says it is; a deleted file is in none. And " (deleted)", which ends the name. */
static void begin_body(row_writer *w)
{
    const mft_scan_record *r = &w->record;
    char *p = w->head;
    *p++ = '|';
    *p++ = is_deleted(r) ? '-' : r->flags & MFT_SCAN_DIRECTORY ? 'd' : 'r';
    *p++ = '/';
    p = PUT(put_mode(p, r), "|0|0|");
    w->head_length = (size_t)(p - w->head);
    p = put_body_times(w->si, r->accessed, r->modified, r->changed, r->created);
    w->si_length = (size_t)(p - w->si);
}

/* "0|/path" */
static char *put_body_path(char *p, const row_writer *w)
{
    p = PUT(p, "0|");
    if (w->label != NULL) {
        const size_t n = strlen(w->label);
        p = put_char(put_body(p, w->label, n, classes_of(w->label, n)), ':');
    }
    return put_body(p, w->path, w->path_length, w->path_classes);
}

static posio_result reserve_body(row_writer *w, size_t more)
{
    size_t label = w->label != NULL ? strlen(w->label) : 0;
    return text_reserve(&w->out, (w->path_length + label + more) * ESCAPED + 512);
}

/* "|number-type-id", the address by which icat finds it. Ids are unique in a record only: sleuthkit
   gives attributes of extension records new ones, counted from the highest of the base's list on in
   the list's order, all types together, 255 at most. That takes lists and attributes that the index
   does not keep, so here they have the ids that are stored. */
static char *put_address(char *p, uint64_t number, uint32_t type, uint32_t id)
{
    p = put_char(put_number(put_char(p, '|'), number), '-');
    p = put_char(put_number(p, type), '-');
    return put_number(p, id);
}

/* A $DATA or $INDEX_ROOT under the path of one of the names; NULL: neither is there. */
static posio_result put_body_stream(row_writer *w, const mft_scan_stream *s)
{
    posio_result r = reserve_body(w, s != NULL ? s->length : 0);
    char *begin, *p;
    if (r != POSIO_OK) return r;
    begin = p = w->out.bytes + w->out.used;
    p = put_body_path(p, w);
    if (s != NULL && s->length != 0 &&
        (is_data(s) || s->length != 4 || memcmp(s->name, "$I30", 4) != 0)) {
        *p++ = ':';
        p = put_body(p, s->name, s->length, classes_of(s->name, s->length));
    }
    if (is_deleted(&w->record)) p = PUT(p, " (deleted)");
    if (s != NULL) {
        p = put_address(p, w->record.number, s->type, s->id);
    } else {
        *p++ = '|';
        p = put_number(p, w->record.number);
    }
    p = PUT_WIDE(p, w->head, w->head_length, HEAD_ROOM);
    p = put_number(p, s != NULL ? s->size : 0);
    p = PUT_WIDE(p, w->si, w->si_length, BODY_TIMES);
    w->out.used += (size_t)(p - begin);
    w->rows++;
    return POSIO_OK;
}

/* UTF-16 units of a name in WTF-8. */
static uint32_t units_of(const char *s, uint32_t n)
{
    uint32_t units = 0, i;
    for (i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)s[i];
        units += (uint32_t)((c & 0xc0) != 0x80) + (uint32_t)(c >= 0xf0);
    }
    return units;
}

/* The name itself, with its own times and its own size: 66 bytes and the text in UTF-16. */
static posio_result put_body_name(row_writer *w, const mft_scan_name *name)
{
    posio_result r = reserve_body(w, 0);
    char *begin, *p;
    if (r != POSIO_OK) return r;
    begin = p = w->out.bytes + w->out.used;
    p = PUT(put_body_path(p, w), " ($FILE_NAME)");
    if (is_deleted(&w->record)) p = PUT(p, " (deleted)");
    p = put_address(p, w->record.number, 48, name->id);
    p = PUT_WIDE(p, w->head, w->head_length, HEAD_ROOM);
    p = put_number(p, 66 + 2 * units_of(name->text, name->length));
    p = has_same_times(&w->record, name)
            ? PUT_WIDE(p, w->si, w->si_length, BODY_TIMES)
            : put_body_times(p, name->accessed, name->modified, name->changed, name->created);
    w->out.used += (size_t)(p - begin);
    w->rows++;
    return POSIO_OK;
}

enum { ROOT = 5, RESERVED_FIRST = 12, RESERVED_LAST = 15 }; /* records with a fixed purpose */

/* All lines of one name, or (NULL) of a record without any. */
static posio_result put_body_link(row_writer *w, const mft_scan_name *name)
{
    const int is_root = w->record.number == ROOT;
    mft_scan_stream s;
    int any = 0;
    posio_result r, made = POSIO_OK;
    for (r = mft_scan_first_stream(w->scan, w->record.number, &s);
         r == POSIO_OK && made == POSIO_OK; r = mft_scan_next_stream(w->scan, &s)) {
        if (!is_data(&s) && s.type != MFT_SCAN_INDEX_ROOT) continue;
        any = 1;
        if (is_data(&s) || !is_root) made = put_body_stream(w, &s);
    }
    if (made == POSIO_OK && !any) made = put_body_stream(w, NULL);
    if (made == POSIO_OK && name != NULL && !is_root) made = put_body_name(w, name);
    return made;
}

/* As TSK calls them. Records 12 to 15 are in use without a name on every volume; and one that was
   deleted and holds nothing is nothing. */
static posio_result put_body_nameless(row_writer *w)
{
    const mft_scan_record *r = &w->record;
    mft_scan_stream s;
    if (r->flags & MFT_SCAN_EXTENSION) return POSIO_OK;
    if (!is_deleted(r) && r->number >= RESERVED_FIRST && r->number <= RESERVED_LAST)
        return POSIO_OK;
    if (!(r->flags & MFT_SCAN_HAS_TIMES) &&
        mft_scan_first_stream(w->scan, r->number, &s) != POSIO_OK)
        return POSIO_OK;
    if (w->path_room < 64) {
        char *path = (char *)realloc(w->path, 4096);
        if (path == NULL) return writer_fail(w);
        w->path = path;
        w->path_room = 4096;
    }
    w->path_length =
        (size_t)(put_number(PUT(w->path, "/$OrphanFiles/OrphanFile-"), r->number) - w->path);
    w->path_classes = 0;
    return put_body_link(w, NULL);
}

static posio_result put_body_record(row_writer *w)
{
    mft_scan_name name;
    posio_result r, made = POSIO_OK;
    int names = 0, only_dos = 1, pass;
    begin_body(w);
    /* DOS names are other words for a link that is there already, unless they are all there is. */
    for (pass = 0; pass < 2 && made == POSIO_OK && only_dos; pass++)
        for (r = mft_scan_first_name(w->scan, w->record.number, &name);
             r == POSIO_OK && made == POSIO_OK; r = mft_scan_next_name(w->scan, &name)) {
            names++;
            if (name.name_space == MFT_SCAN_DOS && pass == 0) continue;
            only_dos = 0;
            made = find_path(w, &name);
            if (made == POSIO_OK && w->record.number == ROOT && w->path_room >= 3) {
                memcpy(w->path, "/.", 3);
                w->path_length = 2;
            }
            if (made == POSIO_OK) made = put_body_link(w, &name);
        }
    return names == 0 ? put_body_nameless(w) : made;
}

// ---------------------------------------------------------------------------------- blocks

/* Records are formatted in blocks, on all threads, and written in order. What comes of a block is
   mostly some 300 KiB. Where it is more than TEXT_MOST (deep folders, thousands of links) the block
   is left where it was, and finished in its turn, straight to the sink: so memory has a bound. */
enum { BLOCK = 256, MOST_BLOCKS = 66 };

typedef struct block {
    row_writer writer;
    uint64_t next, end; /* records that are not written yet */
} block;

typedef struct listing {
    const mft_scan *scan;
    const arguments *asked;
    uint64_t slots, produced;
    block *blocks;
    uint32_t block_count;
    uint32_t *plain; /* as in writers */
    posio_sink sink;
    cli_progress *progress;
    uint64_t rows, bytes;
    int sink_failed;
} listing;

static posio_result put_record(row_writer *w, uint64_t number)
{
    posio_result r = mft_scan_get_record(w->scan, number, &w->record);
    if (r != POSIO_OK) return posio_fail(&w->out.error, r, POSIO_NO_OFFSET, "no such record");
    if (!is_shown(w)) return POSIO_OK;
    if (w->asked->format == FORMAT_CSV) return put_csv_record(w);
    return w->asked->format == FORMAT_JSONL ? put_json_record(w) : put_body_record(w);
}

static posio_result produce_block(void *user, thread_pool_slot *slot, posio_error *err)
{
    listing *l = (listing *)user;
    block *b = &l->blocks[slot->index];
    (void)err;
    if (l->produced == l->slots) return THREAD_POOL_END;
    b->next = l->produced;
    b->end = l->produced = b->next + posio_min(BLOCK, l->slots - b->next);
    slot->parts = 1;
    return POSIO_OK;
}

static posio_result format_block(void *user, const thread_pool_slot *slot, uint32_t part,
                                 posio_error *err)
{
    block *b = &((listing *)user)->blocks[slot->index];
    posio_result r = POSIO_OK;
    (void)part;
    b->writer.out.used = 0;
    b->writer.rows = 0;
    while (b->next < b->end && r == POSIO_OK) {
        const size_t used = b->writer.out.used;
        const uint64_t rows = b->writer.rows;
        r = put_record(&b->writer, b->next);
        if (r == POSIO_OK) {
            b->next++;
        } else { /* none of it, or all */
            b->writer.out.used = used;
            b->writer.rows = rows;
        }
    }
    if (r == POSIO_E_SPACE) return POSIO_OK;
    if (r != POSIO_OK && err != NULL) *err = b->writer.out.error;
    return r;
}

static posio_result write_block(void *user, const thread_pool_slot *slot, uint32_t lane,
                                posio_error *err)
{
    listing *l = (listing *)user;
    block *b = &l->blocks[slot->index];
    posio_result r = POSIO_OK;
    (void)lane;
    b->writer.out.sink = &l->sink;
    b->writer.out.written = 0;
    for (; b->next < b->end && r == POSIO_OK; b->next++) r = put_record(&b->writer, b->next);
    if (r == POSIO_OK) r = text_flush(&b->writer.out);
    b->writer.out.sink = NULL;
    l->bytes += b->writer.out.written;
    l->rows += b->writer.rows;
    if (r == POSIO_OK) return r;
    l->sink_failed = r != POSIO_E_NOMEM;
    if (err != NULL) *err = b->writer.out.error;
    return r;
}

static int show_listing(void *user, uint64_t done)
{
    listing *l = (listing *)user;
    return cli_progress_update(l->progress, posio_min(done * BLOCK, l->slots), l->slots);
}

static void free_blocks(listing *l)
{
    uint32_t i;
    for (i = 0; l->blocks != NULL && i < l->block_count; i++) {
        free(l->blocks[i].writer.out.bytes);
        free(l->blocks[i].writer.path);
    }
    free(l->blocks);
    free(l->plain);
}

/* Writes all records in the format that is asked for; label as in writer. */
static posio_result run_listing(listing *l, thread_pool *pool, const char *label, posio_error *err)
{
    thread_pool_lane lane;
    thread_pool_job job;
    uint32_t i;
    posio_result r;
    memset(&lane, 0, sizeof lane);
    memset(&job, 0, sizeof job);
    l->slots = mft_scan_info(l->scan)->slots;
    l->block_count = (uint32_t)posio_min(2 * (uint64_t)thread_pool_threads(pool) + 2, MOST_BLOCKS);
    l->blocks = (block *)calloc(l->block_count, sizeof *l->blocks);
    l->plain = (uint32_t *)calloc((size_t)(l->slots / 32) + 1, sizeof *l->plain);
    if (l->blocks == NULL || l->plain == NULL) {
        free_blocks(l);
        return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    }
    for (i = 0; i < l->block_count; i++) {
        l->blocks[i].writer.scan = l->scan;
        l->blocks[i].writer.asked = l->asked;
        l->blocks[i].writer.label = label;
        l->blocks[i].writer.plain = l->plain;
    }
    lane.run = write_block;
    job.user = l;
    job.slots = l->block_count;
    job.lane_count = 1;
    job.lanes = &lane;
    job.produce = produce_block;
    job.work = format_block;
    job.progress = show_listing;
    r = thread_pool_run(pool, &job, err);
    free_blocks(l);
    return r;
}

// ---------------------------------------------------------------------------------- one input

enum { STATUS_OK, STATUS_DAMAGED, STATUS_ERROR };
static const char *const status_names[] = {"ok", "damaged", "error"};

/* Where rows go: one output for all inputs. */
typedef struct output_state {
    posio_sink sink;
    posio_file_sink *file; /* NULL: standard output */
    posio_pipe pipe;
    int is_open, has_header;
} output_state;

/* Everything about one input; the report is printed from this alone. */
typedef struct job {
    const arguments *asked;
    const char *path, *label;
    thread_pool *pool;
    output_state *output;
    open_image *image;
    posio_source source;
    mft_scan *scan;
    mft_scan_path_stats paths;
    int status, sink_failed;
    uint64_t rows, bytes;
    double seconds, output_seconds;
    cli_progress progress;
    posio_error error;
} job;

static int exit_code_of(const job *j)
{
    return j->status == STATUS_OK ? CLI_GOOD : j->status == STATUS_DAMAGED ? CLI_BAD : CLI_FAILED;
}

static int to_stdout(const arguments *a)
{
    return a->output == NULL || strcmp(a->output, "-") == 0;
}

static int has_listing(const arguments *a) { return a->format != FORMAT_NONE; }

static int report_progress(void *user, uint64_t done, uint64_t total)
{
    return cli_progress_update(&((job *)user)->progress, done, total);
}

/* open_image.h speaks of --format, which is another option here. */
static void name_option(posio_error *err)
{
    static const char from[] = "--format ", to[] = "--image-format ";
    posio_error before = *err;
    char *out = err->message, *end = out + sizeof err->message - 1;
    const char *in = before.message;
    while (*in != 0 && out < end) {
        if (strncmp(in, from, sizeof from - 1) == 0 && out + sizeof to <= end) {
            memcpy(out, to, sizeof to - 1);
            out += sizeof to - 1;
            in += sizeof from - 1;
        } else {
            *out++ = *in++;
        }
    }
    *out = 0;
}

/* A raw $MFT or volume may have any name: "$MFT", "C_drive.ntfs". What is no image is raw. */
static posio_result open_input(job *j)
{
    /* No pool is lent to the formats: what is read in parts here keeps all threads busy. */
    open_image_desc desc = j->asked->image;
    posio_result r;
    desc.pool_to_measure = j->pool;
    cli_idle(1);
    r = open_image_open(&j->image, j->path, &desc, &j->error);
    if (r == POSIO_E_FORMAT && desc.formats[0] == OPEN_IMAGE_AUTO &&
        open_image_promised(j->path, strlen(j->path)) == OPEN_IMAGE_AUTO) {
        desc.formats[0] = OPEN_IMAGE_RAW;
        r = open_image_open(&j->image, j->path, &desc, &j->error);
    }
    cli_idle(0);
    if (r == POSIO_OK) j->source = open_image_source(j->image);
    else name_option(&j->error);
    return r;
}

static void describe_scan(const job *j, mft_scan_desc *desc)
{
    memset(desc, 0, sizeof *desc);
    desc->pool = j->pool;
    desc->mode = j->asked->mode;
    desc->partition = j->asked->partition;
    desc->record_size = j->asked->record_size;
    desc->flags = j->asked->skip_free ? MFT_SCAN_SKIP_FREE : 0;
    desc->name = cli_name(j->path);
}

/* The columns and tables that the output needs, and no others. */
static posio_result scan_input(job *j)
{
    double begin = cli_now();
    mft_scan_desc desc;
    posio_result r;
    describe_scan(j, &desc);
    desc.columns = MFT_SCAN_FULL;
    if (has_listing(j->asked)) desc.flags |= MFT_SCAN_PATHS;
    desc.progress = report_progress;
    desc.user = j;
    r = mft_scan_open_source(&j->scan, &j->source, &desc, &j->error);
    if (r == POSIO_E_ARG && desc.partition == 0)
        (void)posio_fail_while(&j->error, "--partition N chooses, --list tells more");
    j->seconds = cli_now() - begin;
    return r;
}

// ---------------------------------------------------------------------------------- the output

static posio_result refuse(job *j, posio_result code, const char *why)
{
    j->sink_failed = 1;
    return posio_fail(&j->error, code, POSIO_NO_OFFSET, "%s", why);
}

static posio_result open_output(job *j)
{
    output_state *o = j->output;
    posio_file_sink_desc desc;
    posio_result r;
    if (!to_stdout(j->asked) && image_files_is_read(j->image, j->asked->output))
        return refuse(j, POSIO_E_ARG, "is a file of the image, or its NAME.part would be");
    if (o->is_open) return POSIO_OK;
    if (to_stdout(j->asked)) {
#if defined(_WIN32)
        o->pipe.handle = (intptr_t)GetStdHandle(STD_OUTPUT_HANDLE);
#else
        o->pipe.handle = 1;
#endif
        o->sink = posio_pipe_sink(&o->pipe);
        o->is_open = 1;
        return POSIO_OK;
    }
    memset(&desc, 0, sizeof desc);
    desc.flags = j->asked->force ? POSIO_SINK_FORCE : 0;
    r = posio_file_sink_open(&o->file, j->asked->output, &desc, &j->error);
    if (r == POSIO_E_EXISTS) (void)posio_fail_while(&j->error, "--force replaces it");
    if (r == POSIO_OK) o->sink = posio_file_sink_sink(o->file);
    o->is_open = r == POSIO_OK;
    j->sink_failed = r != POSIO_OK;
    return r;
}

/* The file is complete and gets its name, or nothing is left of it. */
static int finish_output(output_state *o, const arguments *a, int code)
{
    posio_error err;
    int direct;
    char *part;
    if (o->file == NULL) return code;
    direct = posio_file_sink_is_direct(o->file);
    if (code != CLI_FAILED && posio_file_sink_finish(o->file, &err) != POSIO_OK) {
        cli_error(a->output, &err);
        code = CLI_FAILED;
    }
    posio_file_sink_close(o->file);
    part = code == CLI_FAILED && !direct ? image_files_join(a->output, strlen(a->output), ".part")
                                         : NULL;
    if (part != NULL) (void)remove(part);
    free(part);
    return code;
}

static posio_result write_header(job *j)
{
    output_state *o = j->output;
    static const char first[] = "input,";
    posio_result r = POSIO_OK;
    if (o->has_header || j->asked->format != FORMAT_CSV) return POSIO_OK;
    if (j->label != NULL) r = o->sink.write(o->sink.self, first, sizeof first - 1, &j->error);
    if (r == POSIO_OK)
        r = o->sink.write(o->sink.self, csv_header, sizeof csv_header - 1, &j->error);
    o->has_header = 1;
    j->sink_failed = r != POSIO_OK;
    return r;
}

static posio_result write_listing(job *j)
{
    double begin = cli_now();
    listing l;
    posio_result r = write_header(j);
    if (r != POSIO_OK) return r;
    memset(&l, 0, sizeof l);
    l.scan = j->scan;
    l.asked = j->asked;
    l.sink = j->output->sink;
    l.progress = &j->progress;
    r = run_listing(&l, j->pool, j->label, &j->error);
    j->sink_failed = l.sink_failed;
    j->rows = l.rows;
    j->bytes = l.bytes;
    j->output_seconds = cli_now() - begin;
    return r;
}

// ---------------------------------------------------------------------------------- the report

/* Records that could not be read: not those that --skip-free left out. */
static uint64_t count_unread(const job *j)
{
    const mft_scan_stats *s = mft_scan_get_stats(j->scan);
    uint64_t skipped = s->bytes_skipped / mft_scan_info(j->scan)->record_size;
    return s->unread - posio_min(skipped, s->unread);
}

/* Is there anything in the $MFT that could not be read, or is not as NTFS writes it? What was
   deleted, and what lost its folder, is not damage. */
static int is_damaged(const job *j)
{
    const mft_scan_stats *s = mft_scan_get_stats(j->scan);
    const mft_scan_metadata *m = mft_scan_info(j->scan);
    return count_unread(j) != 0 || s->baad != 0 || s->bad_signature != 0 || s->torn != 0 ||
           s->damaged != 0 || s->io_errors != 0 || m->from_backup_boot || m->from_mirror;
}

typedef struct stat_name {
    const char *key, *title;
    uint64_t value;
} stat_name;

enum { STATS = 40 };

/* The counters, as the report names them. Returns how many. */
static uint32_t list_stats(const job *j, stat_name out[STATS])
{
    const mft_scan_stats *s = mft_scan_get_stats(j->scan);
    const stat_name all[] = {
        {"slots", "records", s->slots},
        {"in_use", "  in use", s->in_use},
        {"free", "  deleted", s->free_records},
        {"never_written", "  never written", s->never_written},
        {"baad", "  marked BAAD", s->baad},
        {"bad_signature", "  no record", s->bad_signature},
        {"unread", "  not read", s->unread},
        {"extension", "extension records", s->extension},
        {"orphan_extension", "  without a base", s->orphan_extension},
        {"torn", "torn", s->torn},
        {"torn_slack", "torn in slack only", s->torn_slack},
        {"damaged", "bad structure", s->damaged},
        {"unprotected", "without fixups", s->unprotected},
        {"names", "names", s->names},
        {"dos_names", "  DOS names", s->dos_names},
        {"hard_linked_records", "hard-linked files", s->hard_linked_records},
        {"streams", "data streams", s->streams},
        {"named_streams", "  named", s->named_streams},
        {"directories", "folders", s->directories},
        {"orphans", "orphans", j->paths.orphans},
        {"parents_missing", "  folder missing", j->paths.missing},
        {"parents_stale", "  folder replaced", j->paths.stale},
        {"parents_not_directory", "  no folder", j->paths.not_directory},
        {"parents_freed", "in deleted folders", j->paths.freed},
        {"parents_recovered", "in lost folders", j->paths.recovered},
        {"cycles", "folder cycles", j->paths.cycles},
        {"attribute_lists", "attribute lists", s->lists},
        {"list_mismatches", "  incomplete", s->list_mismatches},
        {"deferred", "spread over records", s->deferred},
        {"bytes_read", "bytes read", s->bytes_read},
        {"bytes_skipped", "bytes skipped", s->bytes_skipped},
        {"io_errors", "read errors", s->io_errors},
        {"ext_name_cache_skipped", "cache overflows", s->ext_name_cache_skipped},
        {"scan_pipeline_fallbacks", "fallbacks", s->scan_pipeline_fallbacks},
        {"deferred_disk_reads", "second reads", s->deferred_disk_reads},
        {"index_bytes", "index bytes", s->index_bytes}};
    uint32_t n = sizeof all / sizeof all[0];
    memcpy(out, all, sizeof all);
    return n;
}

/* How bytes are got: all modes use positioned reads, and one reads ahead. */
static const char *io_name(uint32_t mode)
{
    return mode == MFT_SCAN_PIPELINED_PARALLEL ? "read-ahead" : "positioned";
}

static const char *input_name(uint32_t input)
{
    return input == MFT_SCAN_INPUT_MFT      ? "$MFT"
           : input == MFT_SCAN_INPUT_VOLUME ? "volume"
                                            : "disk";
}

static void json_number(cli_out *f, const char *key, uint64_t v)
{
    cli_printf(f, ",\"%s\":%llu", key, (unsigned long long)v);
}

static void json_metadata(cli_out *f, const job *j)
{
    const mft_scan_metadata *m = mft_scan_info(j->scan);
    cli_printf(f, ",\"mode\":\"%s\",\"threads\":%u,\"io\":\"%s\"", mft_scan_mode_name(m->mode),
               (unsigned)m->threads, io_name(m->mode));
    cli_puts(f, ",\"format\":");
    cli_json_string(f, open_image_format_name(j->image));
    cli_printf(f, ",\"input\":\"%s\",\"partition\":%u", input_name(m->input),
               (unsigned)m->partition);
    json_number(f, "volume_offset", m->volume_offset);
    json_number(f, "volume_size", m->volume_size);
    cli_printf(f, ",\"serial_number\":\"%016llx\"", (unsigned long long)m->serial_number);
    json_number(f, "mft_size", m->mft_size);
    json_number(f, "mft_runs", m->mft_runs);
    json_number(f, "record_size", m->record_size);
    json_number(f, "cluster_size", m->cluster_size);
    json_number(f, "sector_size", m->sector_size);
    cli_printf(f, ",\"pre_fixed\":%s,\"backup_boot\":%s,\"mirror\":%s",
               m->is_pre_fixed ? "true" : "false", m->from_backup_boot ? "true" : "false",
               m->from_mirror ? "true" : "false");
}

static void json_warnings(cli_out *f, const job *j)
{
    mft_scan_warning w;
    open_image_warning iw;
    const open_image *at;
    uint32_t i, k;
    int any = 0;
    cli_puts(f, ",\"warnings\":[");
    for (k = 0; (at = open_image_in_stack(j->image, k)) != NULL; k++)
        for (i = 0; open_image_get_warning(at, i, &iw) == POSIO_OK; i++) {
            if (any++) cli_puts(f, ",");
            cli_json_string(f, iw.message);
        }
    for (i = 0; j->scan != NULL && mft_scan_get_warning(j->scan, i, &w) == POSIO_OK; i++) {
        if (any++) cli_puts(f, ",");
        cli_json_string(f, w.message);
    }
    cli_puts(f, "]");
}

static void print_json(cli_out *f, const job *j)
{
    stat_name stats[STATS];
    uint32_t i, n;
    cli_puts(f, "{\"path\":");
    cli_json_string(f, j->path);
    cli_printf(f, ",\"status\":\"%s\"", status_names[j->status]);
    if (j->scan != NULL) {
        n = list_stats(j, stats);
        for (i = 0; i < n; i++) json_number(f, stats[i].key, stats[i].value);
        json_metadata(f, j);
        cli_printf(f, ",\"deferred_seconds\":%.6f",
                   (double)mft_scan_get_stats(j->scan)->deferred_ns / 1e9);
    }
    if (has_listing(j->asked) && j->status != STATUS_ERROR) {
        json_number(f, "rows", j->rows);
        json_number(f, "bytes_written", j->bytes);
        cli_printf(f, ",\"output_seconds\":%.3f", j->output_seconds);
    }
    json_warnings(f, j);
    if (exit_code_of(j) == CLI_FAILED) { /* what was tried first may have left an error */
        cli_puts(f, ",\"error\":");
        cli_json_string(f, j->error.message);
    }
    cli_printf(f, ",\"seconds\":%.6f,\"records_per_second\":%.0f}\n", j->seconds,
               j->scan != NULL && j->seconds > 0
                   ? (double)mft_scan_info(j->scan)->slots / j->seconds
                   : 0.0);
}

static void line(cli_out *f, const char *name, const char *value)
{
    cli_printf(f, "  %-22s", name);
    cli_text(f, value);
    cli_puts(f, "\n");
}

static void print_metadata(cli_out *f, const job *j)
{
    const mft_scan_metadata *m = mft_scan_info(j->scan);
    char text[160], a[32], b[32], c[32];
    cli_text(f, j->path);
    cli_puts(f, "\n");
    line(f, "format", open_image_format_name(j->image));
    if (m->input != MFT_SCAN_INPUT_MFT) {
        if (m->partition != 0)
            snprintf(text, sizeof text, "partition %u, at byte %s", (unsigned)m->partition,
                     cli_grouped(m->volume_offset, a));
        else snprintf(text, sizeof text, "the whole of it");
        line(f, "volume", text);
        snprintf(text, sizeof text, "%016llx", (unsigned long long)m->serial_number);
        line(f, "serial number", text);
        snprintf(text, sizeof text, "%s, clusters of %s, sectors of %u bytes",
                 cli_size((double)m->volume_size, a), cli_size((double)m->cluster_size, b),
                 (unsigned)m->sector_size);
        line(f, "size", text);
    }
    snprintf(text, sizeof text, "%s, fragments: %s, records of %u bytes",
             cli_size((double)m->mft_size, a), cli_grouped(m->mft_runs, c),
             (unsigned)m->record_size);
    line(f, "$MFT", text);
    snprintf(text, sizeof text, "%s, %u thread%s", mft_scan_mode_name(m->mode),
             (unsigned)m->threads, m->threads == 1 ? "" : "s");
    line(f, "mode", text);
}

static void print_stats(cli_out *f, const job *j)
{
    stat_name stats[STATS];
    char a[32], text[64];
    uint32_t i, n = list_stats(j, stats);
    print_metadata(f, j);
    for (i = 0; i < n; i++) line(f, stats[i].title, cli_grouped(stats[i].value, a));
    snprintf(text, sizeof text, "%.3f s, %s records/s", j->seconds,
             cli_grouped(j->seconds > 0
                             ? (uint64_t)((double)mft_scan_info(j->scan)->slots / j->seconds)
                             : 0,
                         a));
    line(f, "scanned in", text);
    if (has_listing(j->asked)) {
        snprintf(text, sizeof text, "%s, written in %.3f s", cli_grouped(j->rows, a),
                 j->output_seconds);
        line(f, "rows", text);
    }
    line(f, "status", status_names[j->status]);
}

/* What was read around is said even if all came out well. */
static void print_warnings(const job *j)
{
    mft_scan_warning w;
    open_image_warning iw;
    const open_image *at;
    posio_error err;
    uint32_t i, k;
    memset(&err, 0, sizeof err);
    for (k = 0; (at = open_image_in_stack(j->image, k)) != NULL; k++)
        for (i = 0; open_image_get_warning(at, i, &iw) == POSIO_OK; i++) {
            posio_format(err.message, sizeof err.message, "warning: %s", iw.message);
            err.segment = iw.segment;
            err.offset = iw.offset;
            cli_error(j->path, &err);
        }
    err.segment = 0;
    for (i = 0; j->scan != NULL && mft_scan_get_warning(j->scan, i, &w) == POSIO_OK; i++) {
        posio_format(err.message, sizeof err.message, "warning: %s", w.message);
        err.offset = w.offset;
        cli_error(j->path, &err);
    }
}

/* In one line on standard error: what is damaged; otherwise nobody would know why the code is 1. */
static void print_damage(const job *j)
{
    const mft_scan_stats *s = mft_scan_get_stats(j->scan);
    const mft_scan_metadata *m = mft_scan_info(j->scan);
    const stat_name found[] = {{"", "records that could not be read", count_unread(j)},
                               {"", "marked BAAD", s->baad},
                               {"", "that are no records", s->bad_signature},
                               {"", "torn", s->torn},
                               {"", "with a bad structure", s->damaged},
                               {"", "read errors", s->io_errors},
                               {"", "boot sector replaced by its copy", m->from_backup_boot != 0},
                               {"", "record 0 replaced by its copy", m->from_mirror != 0}};
    const char *before = ": damaged: ";
    size_t i;
    cli_out f;
    cli_out_to_file(&f, stderr);
    cli_text(&f, j->path);
    for (i = 0; i < sizeof found / sizeof found[0]; i++) {
        if (found[i].value == 0) continue;
        cli_printf(&f, "%s%llu %s", before, (unsigned long long)found[i].value, found[i].title);
        before = ", ";
    }
    cli_puts(&f, "\n");
    cli_flush(&f);
}

static void print_summary(cli_out *f, const job *j)
{
    char a[32], b[32];
    cli_text(f, j->path);
    cli_printf(f, ": %s records in %.3f s", cli_grouped(mft_scan_info(j->scan)->slots, a),
               j->seconds);
    if (has_listing(j->asked))
        cli_printf(f, "; %s rows in %.3f s", cli_grouped(j->rows, b), j->output_seconds);
    cli_puts(f, "\n");
}

/* Where rows go to standard output, reports go to standard error. */
static void print_report(const job *j)
{
    const arguments *a = j->asked;
    const int beside = has_listing(a) && to_stdout(a);
    cli_out f;
    cli_out_to_file(&f, beside ? stderr : stdout);
    if (a->json) print_json(&f, j);
    else if (j->scan != NULL && a->stats) print_stats(&f, j);
    else if (j->status != STATUS_ERROR && !a->quiet && !beside) print_summary(&f, j);
    cli_flush(&f);
}

// ---------------------------------------------------------------------------------- --list

static void print_volume(cli_out *f, const mft_scan_volume *v, int json, int first)
{
    static const char *const schemes[] = {"none", "MBR", "GPT"};
    const char *scheme = schemes[v->scheme < 3 ? v->scheme : 0];
    char size[32];
    if (json) {
        cli_printf(f, "%s{\"partition\":%u,\"scheme\":\"%s\"", first ? "" : ",",
                   (unsigned)v->number, scheme);
        json_number(f, "offset", v->offset);
        json_number(f, "size", v->size);
        json_number(f, "sector_size", v->sector_size);
        json_number(f, "cluster_size", v->cluster_size);
        json_number(f, "record_size", v->record_size);
        cli_printf(f, ",\"serial_number\":\"%016llx\",\"backup_boot\":%s}",
                   (unsigned long long)v->serial_number, v->from_backup_boot ? "true" : "false");
        return;
    }
    cli_printf(f, "  %9u  %-6s %16llu  %10s  %7u  %6u  %016llx%s\n", (unsigned)v->number, scheme,
               (unsigned long long)v->offset, cli_size((double)v->size, size),
               (unsigned)v->cluster_size, (unsigned)v->record_size,
               (unsigned long long)v->serial_number,
               v->from_backup_boot ? "  (from the backup boot sector)" : "");
}

static posio_result list_volumes(job *j)
{
    mft_scan_volume *volumes = NULL;
    uint32_t count = 0, room, i;
    cli_out f;
    posio_result r = mft_scan_volumes(&j->source, NULL, 0, &count, &j->error);
    if (r != POSIO_OK) return r;
    room = count;
    volumes = (mft_scan_volume *)calloc(room + (size_t)1, sizeof *volumes);
    if (volumes == NULL)
        return posio_fail(&j->error, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    r = mft_scan_volumes(&j->source, volumes, room, &count, &j->error);
    cli_out_to_file(&f, stdout);
    if (r == POSIO_OK && j->asked->json) {
        cli_puts(&f, "{\"path\":");
        cli_json_string(&f, j->path);
        cli_puts(&f, ",\"status\":\"ok\",\"volumes\":[");
    } else if (r == POSIO_OK) {
        cli_text(&f, j->path);
        cli_puts(&f, "\n  partition  scheme           offset        size  cluster  record  serial "
                     "number\n");
    }
    for (i = 0; r == POSIO_OK && i < count && i < room; i++)
        print_volume(&f, &volumes[i], j->asked->json, i == 0);
    if (r == POSIO_OK && j->asked->json) cli_puts(&f, "]}\n");
    cli_flush(&f);
    free(volumes);
    return r;
}

// ---------------------------------------------------------------------------------- --bench

enum { BENCH_MODES = 4, BENCH_ROUNDS = 7 };

typedef struct bench_result {
    double wall, cpu; /* of the best round */
    uint64_t slots;
    uint32_t mode, threads, rounds; /* mode and threads that were used */
} bench_result;

/* Seconds of all threads of this program. */
static double cpu_seconds(void)
{
#if defined(_WIN32)
    FILETIME begin, end, kernel, user;
    ULARGE_INTEGER k, u;
    if (!GetProcessTimes(GetCurrentProcess(), &begin, &end, &kernel, &user)) return 0;
    k.LowPart = kernel.dwLowDateTime;
    k.HighPart = kernel.dwHighDateTime;
    u.LowPart = user.dwLowDateTime;
    u.HighPart = user.dwHighDateTime;
    return (double)(k.QuadPart + u.QuadPart) / 1e7;
#else
    return (double)clock() / CLOCKS_PER_SEC;
#endif
}

static int bench_progress(void *user, uint64_t done, uint64_t total)
{
    (void)user;
    (void)done;
    (void)total;
    return cli_interrupted != 0;
}

/* The columns of `lean`, nothing written. */
static posio_result bench_round(job *j, uint32_t mode, bench_result *best)
{
    mft_scan_desc desc;
    mft_scan *scan = NULL;
    double wall, cpu;
    posio_result r;
    describe_scan(j, &desc);
    desc.mode = mode;
    desc.columns = MFT_SCAN_LEAN;
    desc.progress = bench_progress;
    wall = cli_now();
    cpu = cpu_seconds();
    r = mft_scan_open_source(&scan, &j->source, &desc, &j->error);
    wall = cli_now() - wall;
    cpu = cpu_seconds() - cpu;
    if (r != POSIO_OK) return r;
    if (best->rounds++ == 0 || wall < best->wall) {
        best->wall = wall;
        best->cpu = cpu;
        best->slots = mft_scan_info(scan)->slots;
        best->mode = mft_scan_info(scan)->mode;
        best->threads = mft_scan_info(scan)->threads;
    }
    mft_scan_close(scan);
    return POSIO_OK;
}

static const char *bench_mode(uint32_t asked, const bench_result *b, char text[48])
{
    if (asked == b->mode) snprintf(text, 48, "%s", mft_scan_mode_name(asked));
    else snprintf(text, 48, "%s (%s)", mft_scan_mode_name(asked), mft_scan_mode_name(b->mode));
    return text;
}

static void print_bench(const job *j, const bench_result results[BENCH_MODES])
{
    cli_out f;
    char a[32], text[48];
    int any = 0;
    uint32_t i;
    cli_out_to_file(&f, stdout);
    if (j->asked->json) {
        cli_puts(&f, "{\"path\":");
        cli_json_string(&f, j->path);
        cli_puts(&f, ",\"columns\":\"lean\",\"bench\":[");
    } else {
        cli_text(&f, j->path);
        cli_puts(&f,
                 ": lean columns, no output, best of several\n"
                 "  mode                          threads      records/s     wall s      CPU s\n");
    }
    for (i = 0; i < BENCH_MODES; i++) {
        const bench_result *b = &results[i];
        double rate = b->wall > 0 ? (double)b->slots / b->wall : 0;
        if (b->rounds == 0) continue;
        if (j->asked->json)
            cli_printf(&f,
                       "%s{\"mode\":\"%s\",\"used\":\"%s\",\"threads\":%u,\"slots\":%llu,"
                       "\"records_per_second\":%.0f,\"seconds\":%.6f,\"cpu_seconds\":%.6f,"
                       "\"rounds\":%u}",
                       any ? "," : "", mft_scan_mode_name(i), mft_scan_mode_name(b->mode),
                       (unsigned)b->threads, (unsigned long long)b->slots, rate, b->wall, b->cpu,
                       (unsigned)b->rounds);
        else
            cli_printf(&f, "  %-30s%7u %14s %10.4f %10.4f\n", bench_mode(i, b, text),
                       (unsigned)b->threads, cli_grouped((uint64_t)rate, a), b->wall, b->cpu);
        any = 1;
    }
    if (j->asked->json) cli_puts(&f, "]}\n");
    cli_flush(&f);
}

/* In turn, so that what disturbs one disturbs all; not longer than need be. */
static posio_result bench(job *j)
{
    bench_result results[BENCH_MODES];
    double begin = cli_now();
    uint32_t round, mode;
    memset(results, 0, sizeof results);
    for (round = 0; round < BENCH_ROUNDS; round++) {
        for (mode = 0; mode < BENCH_MODES; mode++) {
            posio_result r;
            if (j->asked->has_mode && mode != j->asked->mode) continue;
            r = bench_round(j, mode, &results[mode]);
            if (r != POSIO_OK) return r;
        }
        if (round >= 1 && cli_now() - begin > 20) break;
    }
    print_bench(j, results);
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- main

static int reader_is_gone(const job *j)
{
#if defined(_WIN32)
    return j->error.os_error == ERROR_NO_DATA || j->error.os_error == ERROR_BROKEN_PIPE;
#else
    return j->error.os_error == EPIPE;
#endif
}

/* Says what happened. A pipe whose reader has enough is no news. */
static void fail(job *j, posio_result r)
{
    const char *path = !j->sink_failed ? j->path : to_stdout(j->asked) ? "-" : j->asked->output;
    j->status = STATUS_ERROR;
    if (r == POSIO_E_CANCELED) (void)posio_fail(&j->error, r, POSIO_NO_OFFSET, "interrupted");
    if (!(j->sink_failed && reader_is_gone(j))) cli_error(path, &j->error);
}

static posio_result run_job(job *j)
{
    const arguments *a = j->asked;
    posio_result r = open_input(j);
    if (r != POSIO_OK) return r;
    if (a->list) return list_volumes(j);
    if (a->bench) return bench(j);
    if (has_listing(a)) r = open_output(j);
    if (r != POSIO_OK) return r;
    /* Rows on a terminal and a bar do not go together. */
    cli_progress_begin(&j->progress, j->path, !a->quiet && !(has_listing(a) && to_stdout(a)));
    r = scan_input(j);
    if (r == POSIO_OK && (a->stats || a->json))
        r = mft_scan_check_paths(j->scan, j->pool, &j->paths, &j->error);
    if (r == POSIO_OK && has_listing(a)) r = write_listing(j);
    cli_progress_end(&j->progress);
    return r;
}

static int scan_one(const char *path, const char *label, const arguments *a, thread_pool *pool,
                    output_state *o)
{
    job *j = (job *)calloc(1, sizeof *j);
    posio_result r;
    int code;
    if (j == NULL) return fputs("out of memory\n", stderr), CLI_FAILED;
    j->path = path;
    j->label = label;
    j->asked = a;
    j->pool = pool;
    j->output = o;
    r = run_job(j);
    if (j->image != NULL && !a->quiet) print_warnings(j);
    if (r != POSIO_OK) {
        fail(j, r);
        if (a->json) print_report(j);
    } else if (!a->list && !a->bench) {
        if (is_damaged(j)) j->status = STATUS_DAMAGED;
        if (j->status == STATUS_DAMAGED) print_damage(j);
        print_report(j);
    }
    code = exit_code_of(j);
    mft_scan_close(j->scan);
    open_image_close(j->image);
    free(j);
    return code;
}

/* Would the output replace a file of one of the inputs? They must not change, not even the last,
   which is opened when the output has begun. */
static int replaces_input(char **paths, int count, const arguments *a, thread_pool *pool)
{
    job j;
    int i, bad = 0;
    for (i = 1; i < count && !to_stdout(a) && !bad; i++) {
        memset(&j, 0, sizeof j);
        j.asked = a;
        j.path = paths[i];
        j.pool = pool;
        if (open_input(&j) != POSIO_OK) continue;
        if (image_files_is_read(j.image, a->output)) {
            (void)refuse(&j, POSIO_E_ARG, "is a file of an image, or its NAME.part would be");
            cli_error(a->output, &j.error);
            bad = 1;
        }
        open_image_close(j.image);
    }
    return bad;
}

static int scan_all(char **paths, int count, const arguments *a)
{
    thread_pool *pool = thread_pool_create(a->threads);
    output_state o;
    int i, code = CLI_GOOD;
    memset(&o, 0, sizeof o);
    if (has_listing(a) && replaces_input(paths, count, a, pool)) {
        code = CLI_FAILED;
        count = 0;
    }
    for (i = 0; i < count && !cli_interrupted; i++) {
        int one = scan_one(paths[i], count > 1 ? paths[i] : NULL, a, pool, &o);
        if (one > code) code = one;
    }
    if (cli_interrupted) code = CLI_FAILED;
    code = finish_output(&o, a, code);
    (void)thread_pool_destroy(pool);
    return code;
}

/* What does not go together; NULL when all does. *arg: the option to blame. */
static const char *contradiction(const arguments *a, int count, const char **arg)
{
    const int lists = a->format != FORMAT_DEFAULT && a->format != FORMAT_NONE;
    *arg = "mft_scan";
    if (count == 0) return "no input given";
    *arg = "-o";
    if (a->output != NULL && a->output[0] == 0) return "the name is empty";
    if (a->output != NULL && (a->list || a->bench || a->format == FORMAT_NONE))
        return "there are no rows to write";
    *arg = "--list";
    if (a->list && (a->bench || a->stats || lists))
        return "goes without --bench, --stats, --format";
    *arg = "--bench";
    if (a->bench && (a->stats || lists)) return "goes without --stats and --format";
    return NULL;
}

/* Rows are what is wanted, unless something else is asked for. */
static void choose_format(arguments *a)
{
    const int other = a->list || a->bench || ((a->stats || a->json) && a->output == NULL);
    if (a->format == FORMAT_DEFAULT) a->format = other ? FORMAT_NONE : FORMAT_CSV;
}

static const char summary[] =
    "Lists every file, hard link, stream, and deleted or damaged record of an NTFS volume from "
    "its\n"
    "$MFT. INPUT is a raw $MFT of any name, a volume, or a disk, in a raw file, a device, or an\n"
    "image of any format that `export` reads. Nothing is silently dropped, inputs never change.";

static const char details[] =
    "Rows go to standard output, or to FILE.part, which becomes FILE when it is complete.\n"
    "With several inputs rows begin with a column (a key, or in a bodyfile a prefix) `input`.\n"
    "\n"
    "csv: a header, then a row for each name (hard links and DOS names, too), one for each named\n"
    "stream, and one for each record without a name. Records that were never written have none,\n"
    "nor those that --skip-free left out; extension records are shown with the file they belong\n"
    "to, and by themselves where something is wrong with them. Columns:\n"
    "  record,sequence   number and sequence of the file's base record\n"
    "  state             in_use, free (deleted), baad, bad_signature, unread\n"
    "  in_use,directory  1 or 0, as its header says\n"
    "  namespace         posix, win32, dos, win32_dos; empty: this row is not a name\n"
    "  path              from the root; /$OrphanFiles/... where the folder is gone\n"
    "  stream            name of the stream; empty: this row is not a stream\n"
    "  size,allocated_size  bytes of the unnamed $DATA, or of the stream; empty: there is none\n"
    "  si_created,si_modified,si_changed,si_accessed  of $STANDARD_INFORMATION, in UTC with seven\n"
    "                    decimals (changed: the record itself); empty: not set\n"
    "  fn_created,fn_modified,fn_changed,fn_accessed  of this $FILE_NAME\n"
    "  parent_record,parent_sequence  of this $FILE_NAME\n"
    "  flags             words with blanks between: file attributes; resident, data_compressed,\n"
    "                    data_sparse, data_encrypted; what is odd about the record: torn,\n"
    "                    damaged:..., orphan_extension, ...; or about the path: parent_freed\n"
    "                    (deleted, too), parent_missing, parent_stale (replaced by another file),\n"
    "                    parent_not_directory, parent_recovered (replaced, but its name is\n"
    "                    left in an orphaned extension), parent_cycle, parent_nameless\n"
    "  reparse           tag, and where a link leads: 0xa000000c -> target\n"
    "Fields are quoted as RFC 4180 says. Control characters are \\xNN or \\u{N}, \\ is \\\\. Text "
    "is\n"
    "UTF-8, but unpaired surrogates stay as three bytes (WTF-8).\n"
    "jsonl: an object for each record, with lists of its names and of all its streams.\n"
    "bodyfile: for mactime, with addresses for icat, as `fls -r -p -m /` prints them; but each\n"
    "hard link has the times of its own $FILE_NAME, the owner is 0, deleted names in folders'\n"
    "slack are not seen, | is \\x7c, and there is no line for $OrphanFiles itself. Attributes in\n"
    "extension records have the ids stored there, where sleuthkit makes up others (istat and icat\n"
    "show those): files with very many links or fragments.\n"
    "none: no rows; the default with --stats, --json, --list and --bench.\n"
    "\n"
    "Exit codes: 0 = good; 1 = damaged: records that could not be read, are torn, BAAD, or not as\n"
    "NTFS writes them, or a boot sector or first record that had to be replaced by its copy (all\n"
    "rows are written nevertheless; deleted files and orphans are not damage); 2 = could not do\n"
    "it. Of several inputs the highest.";

int main(int argc, char **argv)
{
    static arguments a;
    cli_option options[] = {
        {"format", "NAME", "csv (default), jsonl, bodyfile or none", NULL, NULL, take_format, &a},
        {"o", "FILE", "where rows go; - is standard output (also --output)", NULL, &a.output, NULL,
         NULL},
        {"output", "FILE", "the same", NULL, &a.output, NULL, NULL},
        {"force", NULL, "replace an existing FILE", &a.force, NULL, NULL, NULL},
        {"deleted", "HOW", "include (default), only or exclude rows of deleted records", NULL, NULL,
         take_deleted, &a},
        {"partition", "N", "of a disk with several NTFS volumes; --list tells", NULL, NULL,
         take_partition, &a},
        {"list", NULL, "print the NTFS volumes, and scan nothing", &a.list, NULL, NULL, NULL},
        {"stats", NULL, "print what was found and counted", &a.stats, NULL, NULL, NULL},
        {"bench", NULL, "time each mode, with lean columns and no output", &a.bench, NULL, NULL,
         NULL},
        {"mode", "NAME", "auto (default), serial, parallel or pipelined-parallel", NULL, NULL,
         take_mode, &a},
        {"threads", "N", "threads to use; 0 = all usable cores (default)", NULL, NULL, take_threads,
         &a},
        {"skip-free", NULL, "do not read records that are free by $MFT's bitmap", &a.skip_free,
         NULL, NULL, NULL},
        {"record-size", "SIZE", "of a raw $MFT whose records lie about it", NULL, NULL,
         take_record_size, &a},
        OPEN_IMAGE_OPTIONS(&a.image),
        {"json", NULL, "statistics (also --list, --bench) as one JSON object per input", &a.json,
         NULL, NULL, NULL},
        {"quiet", NULL, "no progress, no warnings, no summary", &a.quiet, NULL, NULL, NULL}};
    const cli_tool tool = {"mft_scan", "[options] INPUT...",
                           summary,    details,
                           options,    sizeof options / sizeof options[0]};
    const char *wrong, *arg;
    char **operands;
    int count = 0, code;
    size_t i;
    for (i = 0; i < sizeof options / sizeof options[0]; i++)
        if (options[i].each == open_image_take_format) options[i].name = "image-format";
    argv = cli_begin(&argc, argv);
    operands = (char **)calloc((size_t)argc + 1, sizeof *operands);
    if (operands == NULL) return CLI_FAILED;
    code = cli_parse(&tool, argc, argv, operands, &count);
    wrong = code < 0 ? contradiction(&a, count, &arg) : NULL;
    if (wrong != NULL) code = cli_usage_error(&tool, arg, wrong);
    choose_format(&a);
    if (code < 0) code = scan_all(operands, count, &a);
    free(operands);
    return cli_end(code);
}
