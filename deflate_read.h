/* deflate_read.h - raw deflate (RFC 1951) and zlib (RFC 1950), whole buffer to whole buffer.
   SPDX-License-Identifier: MIT OR Unlicense

   QUICK START

       #define DEFLATE_READ_IMPLEMENTATION
       #include "deflate_read.h"
       #include <stdio.h>

       int main(void)
       {
           static const unsigned char packed[] = {
               0x78, 0xda, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0xd7, 0x51, 0x48,
               0xce, 0x28, 0xcd, 0xcb, 0x06, 0x00, 0x1c, 0xe8, 0x04, 0x7a};
           static deflate_read decoder; // 24 KiB of tables, not for a deep stack
           deflate_read_end end;
           posio_error err;
           char text[64];
           if (deflate_read_zlib(&decoder, packed, sizeof packed, text, sizeof text, 0, 0, &end,
                                 &err) != POSIO_OK) return puts(err.message), 1;
           return printf("%.*s\n", (int)end.out_size, text) < 0;
       }

   WHAT IT DOES NOT DO
       No streaming: a stream and its output are in memory as a whole, as the chunks, grains and
       clusters of disk images are. No gzip header, no preset dictionaries, no compression. The
       window size a zlib header declares is not enforced (zlib does not either).

   OPTIONS  (define before the first include; each works alone)
       DEFLATE_READ_IMPLEMENTATION  the functions too, with internal linkage; legal in many files
       DEFLATE_READ_API             how those are declared (default: static, unused allowed)
       DEFLATE_READ_ADLER32(adler, data, size)
                                    an expression that continues an Adler-32 (default: built in)
       DEFLATE_READ_CUSTOM(d, in, in_size, out, out_max, zlib_wrapped, end)
                                    another inflater that is asked first: an expression that is
                                    POSIO_OK if it decoded (and, zlib_wrapped, checked) the whole
                                    stream and filled *end. Anything else: the built-in decoder
                                    starts anew and tells what is wrong. Not called with flags.

   THREADS
       No state outside of the caller's decoder but posio's word of processor features.

   MEMORY
       Nothing is allocated. The decoder is 24 KiB. The stack needs less than 1 KiB.

   ERRORS
       POSIO_E_DATA         the stream is broken or cut short, or its Adler-32 is wrong
       POSIO_E_SPACE        the output is full before the stream ends
       POSIO_E_FORMAT       not a zlib header: method, window, or its check bits
       POSIO_E_UNSUPPORTED  zlib: a preset dictionary is needed
       POSIO_E_ARG          a pointer is NULL
       err->offset is the position in the input near the fault. Exactly what zlib's inflate accepts
       is accepted, code by code: no more (as faster decoders do), no less.

   THE FORMAT  (RFC 1950 for zlib, RFC 1951 for all else)

       zlib    +---------+---------+===================+---------------------------+
       2.2     | CMF     | FLG     |  deflate stream   | Adler-32 of the output,   |
               | 0x.8    |         |                   | most significant first    |
               +---------+---------+===================+---------------------------+
               CMF: method 8, window 2^(8 + high nibble) with the nibble <= 7
               FLG: bit 5 = preset dictionary; (CMF * 256 + FLG) % 31 == 0

       Bits are taken from each byte lowest first; a Huffman code comes with its first bit lowest,
       any other number with its lowest bit lowest (3.1.1).

       block   | final: 1 | type: 2 | ...                                            (3.2.3)
       type 0  | to the next byte | LEN: 16 | NLEN: 16 = ~LEN | LEN bytes            (3.2.4)
       type 1  | symbols by the fixed codes                                          (3.2.6)
       type 2  | HLIT: 5 | HDIST: 5 | HCLEN: 4 | (HCLEN + 4) x 3 bits                (3.2.7)
               | 257 + HLIT and 1 + HDIST code lengths | symbols
       type 3  refused

       The 3-bit numbers are the lengths of the code that code lengths are written in, in the order
       16 17 18 0 8 7 9 6 10 5 11 4 12 3 13 2 14 1 15. Its symbols: 0-15 a length; 16 + 2 bits: the
       length before, 3-6 times; 17 + 3 bits: 3-10 zeros; 18 + 7 bits: 11-138 zeros. A run may
       cross from the first code's lengths to the second's.

       literal/length symbols (3.2.5)           distance symbols
         0-255    that byte                       0-3    distance 1-4
         256      end of the block                4-29   symbol / 2 - 1 extra bits
         257-264  length 3-10                     30-31  only in the fixed code: refused
         265-284  (symbol - 261) / 4 extra bits
         285      length 258
         286-287  only in the fixed code: refused

       Both codes must be complete. Exceptions, as in zlib: a code of one symbol with one bit, and
       no distance code at all; a bit pattern without a symbol is refused where it is met. */

/* >>types */
#ifdef DEFLATE_READ_IMPLEMENTATION
#ifndef POSIO_IMPLEMENTATION
#define POSIO_IMPLEMENTATION
#endif
#endif
#include "posio.h"

#ifndef CHUNKWISE_DEFLATE_READ_H
#define CHUNKWISE_DEFLATE_READ_H

#define DEFLATE_READ_VERSION 100 /* 1.0.0: major * 100 + minor */

#include <stddef.h>
#include <stdint.h>

/* ------------------------------------------------------------------ essential */

enum {
    DEFLATE_READ_NO_CHECKSUM = 1,  /* zlib: do not compute the Adler-32 (it is skipped) */
    DEFLATE_READ_ACCEPT_NLEN_0 = 2 /* stored blocks whose NLEN is 0 are taken as if it were right:
                                      a known writer bug of Tableau TD3 firmware */
};

/* This many bytes of slack let the fast loop run to the very end of the output. */
#define DEFLATE_READ_SLACK 512

/* Where decoding stopped. Filled on success and on failure. */
typedef struct deflate_read_end {
    size_t in_used;  /* input consumed; on success up to the byte after the stream */
    size_t out_size; /* bytes of the output that are decoded and valid */
} deflate_read_end;

/* The decoder's workspace: about 24 KiB that the caller provides, in any state. It needs no
   initialisation and no destruction and carries nothing from one call to the next. The members
   are private. */
typedef struct deflate_read {
    uint32_t litlen[4096 + 576];  /* first table of 12 bits, then its sub-tables */
    uint32_t distance[256 + 160]; /* first table of 8 bits, then its sub-tables */
    uint32_t entry[288];          /* while building: each symbol's entry, shortest code first, */
    uint32_t second[288];         /* what it adds to an entry as the second of a pair, */
    uint16_t code[288];           /* and its code, bits reversed */
    uint8_t lengths[480];         /* code lengths: 286 + 30, and room for a run too long */
    uint8_t length_code[128];     /* table of the code that the code lengths are written in */
} deflate_read;

#elif DEFLATE_READ_VERSION < 100
#error "deflate_read.h: an older copy came first in this file; include the newest header first"
#endif
/* >>end types */

/* >>functions */
#if defined(DEFLATE_READ_IMPLEMENTATION) && !defined(DEFLATE_READ_I_IMPLEMENTED)
#define DEFLATE_READ_I_IMPLEMENTED 100

#ifndef DEFLATE_READ_API
#if defined(__GNUC__) || defined(__TINYC__)
#define DEFLATE_READ_API static __attribute__((unused))
#else
#define DEFLATE_READ_API static
#endif
#endif

#include <string.h>

#if defined(__GNUC__) && !defined(__TINYC__)
#define DEFLATE_READ_I_INLINE static inline __attribute__((always_inline, unused))
#define DEFLATE_READ_I_LIKELY(x) __builtin_expect(!!(x), 1)
#define DEFLATE_READ_I_UNLIKELY(x) __builtin_expect(!!(x), 0)
#elif defined(_MSC_VER)
#define DEFLATE_READ_I_INLINE static __forceinline
#define DEFLATE_READ_I_LIKELY(x) (x)
#define DEFLATE_READ_I_UNLIKELY(x) (x)
#else
#define DEFLATE_READ_I_INLINE static inline
#define DEFLATE_READ_I_LIKELY(x) (x)
#define DEFLATE_READ_I_UNLIKELY(x) (x)
#endif

/* Variants for x86-64 processors, chosen at run time. */
#if defined(__GNUC__) && defined(__x86_64__) && !defined(__TINYC__)
#define DEFLATE_READ_I_X86 1
#include <immintrin.h>
#else
#define DEFLATE_READ_I_X86 0
#endif

/* 256-bit variables too. On 64-bit Windows the stack is aligned to 16 bytes, and GCC, unlike clang,
   keeps them there as if it were to 32 (its bug 54412): any of them may crash. */
#if DEFLATE_READ_I_X86 && \
    (defined(__clang__) || !(defined(_WIN64) || defined(__CYGWIN__)))
#define DEFLATE_READ_I_WIDE 1
#else
#define DEFLATE_READ_I_WIDE 0
#endif

/* For the compiler, x and y are made here, in registers, and not later. */
#if defined(__GNUC__) && !defined(__TINYC__) && UINTPTR_MAX > 0xffffffffu
#define DEFLATE_READ_I_PIN(x, y) __asm__("" : "+r"(x), "+r"(y))
#else
#define DEFLATE_READ_I_PIN(x, y) (void)0
#endif

#define DEFLATE_READ_I_ASSERT(name, x) typedef char deflate_read_i_assert_##name[(x) ? 1 : -1]

// ---------------------------------------------------------------------------------- bytes

DEFLATE_READ_I_INLINE void deflate_read_i_copy8(uint8_t *to, const uint8_t *from)
{
    uint64_t v;
    memcpy(&v, from, 8);
    memcpy(to, &v, 8);
}

/* The n lowest bits of v, without its `skip` lowest: an extra-bits field that follows a code. Only
   the low bytes of n and skip count, so that a table's entry can be passed as it is. */
DEFLATE_READ_I_INLINE uint32_t deflate_read_i_field(uint64_t v, uint32_t n, uint32_t skip)
{
    return (uint32_t)((v & (((uint64_t)1 << (uint8_t)n) - 1)) >> (uint8_t)skip);
}

/* The same where BMI2 is known to be there. clang makes one instruction of the mask by itself; gcc
   12 makes three, which costs 6 % of the whole decoder. (The intrinsic cannot be inlined into a
   body that the plain variant shares.) */
DEFLATE_READ_I_INLINE uint32_t deflate_read_i_field_in(int bmi2, uint64_t v, uint32_t n,
                                                       uint32_t skip)
{
#if DEFLATE_READ_I_X86 && !defined(__clang__)
    if (bmi2) {
        __asm__("bzhi\t{%2, %1, %0|%0, %1, %2}" : "=r"(v) : "r"(v), "r"((uint64_t)n) : "cc");
        return (uint32_t)(v >> (uint8_t)skip);
    }
#endif
    (void)bmi2;
    return deflate_read_i_field(v, n, skip);
}

// ---------------------------------------------------------------------------------- faults

/* How a step ended. The first three are not faults. */
enum {
    DEFLATE_READ_I_DONE,    /* end of the block */
    DEFLATE_READ_I_LEAVE,   /* fast loop: too near an end of a buffer, go on carefully */
    DEFLATE_READ_I_OVERRUN, /* fast loop: the output ends within the slack */
    DEFLATE_READ_I_FULL,
    DEFLATE_READ_I_TRUNCATED,
    DEFLATE_READ_I_BAD_TYPE,
    DEFLATE_READ_I_BAD_STORED,
    DEFLATE_READ_I_BAD_COUNTS,
    DEFLATE_READ_I_BAD_LENGTH_CODE,
    DEFLATE_READ_I_BAD_REPEAT,
    DEFLATE_READ_I_NO_END,
    DEFLATE_READ_I_BAD_LITLEN_CODE,
    DEFLATE_READ_I_BAD_DISTANCE_CODE,
    DEFLATE_READ_I_BAD_LITLEN,
    DEFLATE_READ_I_BAD_DISTANCE,
    DEFLATE_READ_I_TOO_FAR
};

/* One decoding under way. */
typedef struct deflate_read_i_run {
    const uint8_t *in, *in_begin, *in_end;
    uint8_t *out, *out_begin, *out_end;
    size_t slack;
    uint64_t bits;   /* the next bits of the input, lowest first; above `count` either zeros or the
                        bits that follow, but nothing else */
    uint32_t count;  /* bits taken from the input and not used: 0..63 */
    uint32_t value;  /* what the fault's message shows */
    uint32_t flags;
    uint32_t cpu;
} deflate_read_i_run;

// ---------------------------------------------------------------------------------- bit input

/* Fills the bit buffer to 56 bits or more, or with all that is left. */
DEFLATE_READ_I_INLINE void deflate_read_i_refill(deflate_read_i_run *r)
{
    if (DEFLATE_READ_I_LIKELY(r->in_end - r->in >= 8)) {
        r->bits |= posio_le64(r->in) << r->count;
        r->in += (63 - r->count) >> 3;
        r->count |= 56;
        return;
    }
    while (r->count < 56 && r->in < r->in_end) {
        r->bits |= (uint64_t)*r->in++ << r->count;
        r->count += 8;
    }
}

DEFLATE_READ_I_INLINE void deflate_read_i_skip(deflate_read_i_run *r, uint32_t n)
{
    r->bits >>= n;
    r->count -= n;
}

/* The next n <= 32 bits into *v; 0 if the input has not that many. */
DEFLATE_READ_I_INLINE int deflate_read_i_take(deflate_read_i_run *r, uint32_t n, uint32_t *v)
{
    if (r->count < n) deflate_read_i_refill(r);
    if (r->count < n) return 0;
    *v = deflate_read_i_field(r->bits, n, 0);
    deflate_read_i_skip(r, n);
    return 1;
}

/* Drops the rest of a byte and gives whole unread bytes back: `in` is then the true position. */
DEFLATE_READ_I_INLINE void deflate_read_i_align(deflate_read_i_run *r)
{
    r->in -= r->count >> 3;
    r->bits = 0;
    r->count = 0;
}

// ---------------------------------------------------------------------------------- tables

/* One look-up with the next 12 bits answers as much as these bits hold: one literal, two, a length
   or a literal and a length. The entry of the literal/length table:

       31 30      29     28         27..24           23..16            15..8       7..0
     +----------+------+-----------+----------------+-----------------+-----------+---------------+
     | literals | more | exception | bits before    | literal 2, or   | literal 1 | bits used, the|
     | (0..2)   |      |           | the extra bits | length - 3      |           | extra ones too|
     +----------+------+-----------+----------------+-----------------+-----------+---------------+
     exception:                     sub-table: width  8..23: 0 = end of block, 1 = invalid code,
                                                      else where the sub-table begins

   The literals are stored, and the bits dropped, before it is asked what else an entry holds: so an
   exception has no literals, and says truly how many bits it uses. Bits 24-27 mean nothing where
   there are only literals. The distance table:

       31..16                      15        14          11..8                     7..0
     +---------------------------+---------+-----------+-------------------------+----------------+
     | distance, or where the    | invalid | exception | bits before the extra   | bits used, the |
     | sub-table begins          | code    |           | bits; sub-table: width  | extra ones too |
     +---------------------------+---------+-----------+-------------------------+----------------+

   A sub-table decodes what follows the first 12 (8) bits of longer codes. Those of the literal/
   length table are 3 bits wide at most, and one of width w holds w + 1 symbols or more: together
   they have no more than twice as many entries as there are symbols. For the distances' an
   exhaustive count of all codes of 30 symbols gives 144 entries. */
enum {
    DEFLATE_READ_I_LITLEN_BITS = 12,
    DEFLATE_READ_I_DISTANCE_BITS = 8,
    DEFLATE_READ_I_MAX_BITS = 15,

    /* litlen entry: kind, with the number of literals in the two bits above */
    DEFLATE_READ_I_EXCEPTION = 1 << 28, /* end of block, invalid code or sub-table */
    DEFLATE_READ_I_MORE = 1 << 29,      /* not literals only */
    DEFLATE_READ_I_END = 0,             /* exceptions, by bits 8-23 */
    DEFLATE_READ_I_INVALID = 1,         /* larger: where the sub-table begins */

    /* distance entry */
    DEFLATE_READ_I_DISTANCE_EXCEPTION = 1 << 14,
    DEFLATE_READ_I_DISTANCE_INVALID = 1 << 15
};
#define DEFLATE_READ_I_ONE_LITERAL ((uint32_t)1 << 30)

/* The codes of a set of symbols, count[l] of which have l bits (RFC 1951, 3.2.2): afterwards
   d->code holds them by length and symbol, first bit lowest, those of l bits at first[l] ..
   first[l + 1] - 1. Returns how much of the code space is left, in units of the longest code:
   0 = a complete code, negative = over-subscribed. */
DEFLATE_READ_API int32_t deflate_read_i_codes(deflate_read *d, const uint16_t *count,
                                              uint16_t first[DEFLATE_READ_I_MAX_BITS + 2])
{
    int32_t left = (int32_t)1 << DEFLATE_READ_I_MAX_BITS;
    uint32_t i, k, l, n, code = 0;
    first[1] = 0;
    for (l = 1; l <= DEFLATE_READ_I_MAX_BITS; l++) {
        left -= (int32_t)count[l] << (DEFLATE_READ_I_MAX_BITS - l);
        first[l + 1] = (uint16_t)(first[l] + count[l]);
    }
    if (left < 0) return left;
    n = first[DEFLATE_READ_I_MAX_BITS + 1];
    first[0] = (uint16_t)n; // symbols without a code go behind the others
    // A code aligned to the left of 15 bits grows by the unit of its length; turned around, it is
    // aligned to the right.
    for (l = 1; l <= DEFLATE_READ_I_MAX_BITS; l++)
        for (i = first[l]; i < first[l + 1]; i++) {
            d->code[i] = (uint16_t)(code << 1);
            code += (uint32_t)1 << (DEFLATE_READ_I_MAX_BITS - l);
        }
    for (i = 0; i < n; i += 32) { // so many that compilers make vectors of it at -O2, too
        uint16_t *c = d->code + i;
        for (k = 0; k < 32; k++) {
            uint16_t v = c[k];
            v = (uint16_t)((v & 0x5555) << 1 | (v >> 1 & 0x5555));
            v = (uint16_t)((v & 0x3333) << 2 | (v >> 2 & 0x3333));
            v = (uint16_t)((v & 0x0f0f) << 4 | (v >> 4 & 0x0f0f));
            c[k] = (uint16_t)(v << 8 | v >> 8);
        }
    }
    return left;
}

/* 0 unless the code is over-subscribed or incomplete. As in zlib, a code of a single symbol of one
   bit passes, and so does one without symbols: an unused bit pattern is refused where it is met. */
DEFLATE_READ_I_INLINE int deflate_read_i_is_bad(int32_t left, const uint16_t *first)
{
    return left < 0 || (left > 0 && first[DEFLATE_READ_I_MAX_BITS + 1] != first[2]);
}

/* Sub-tables for the codes longer than `bits`: table[1 << bits ...]. Codes that begin alike follow
   each other, the longest last, and its length gives the sub-table's width. `link` is the entry
   that leads to a sub-table, but for its place (shifted by place_shift) and width (width_shift). */
DEFLATE_READ_API void deflate_read_i_sub_tables(deflate_read *d, uint32_t *table, uint32_t bits,
                                                const uint16_t *first, uint32_t link,
                                                uint32_t place_shift, uint32_t width_shift)
{
    uint32_t mask = ((uint32_t)1 << bits) - 1, place = mask + 1, l = bits + 1;
    uint32_t i = first[bits + 1], end = first[DEFLATE_READ_I_MAX_BITS + 1];
    while (i < end) {
        uint32_t prefix = d->code[i] & mask, stop = i, width;
        while (stop < end && (d->code[stop] & mask) == prefix) stop++;
        for (width = l - bits; first[bits + width + 1] < stop; width++) {}
        table[prefix] = link | place << place_shift | width << width_shift;
        for (; i < stop; i++) {
            uint32_t at = (uint32_t)d->code[i] >> bits;
            while (first[l + 1] <= i) l++;
            for (; at >> width == 0; at += (uint32_t)1 << (l - bits))
                table[place + at] = d->entry[i];
        }
        place += (uint32_t)1 << width;
    }
}

/* The entry of a symbol from 256 on whose code has `bits` bits from where it is looked up. */
DEFLATE_READ_I_INLINE uint32_t deflate_read_i_litlen_entry(uint32_t symbol, uint32_t bits)
{
    static const uint8_t base[29] = {0,  1,  2,  3,  4,  5,  6,  7,   8,   10,
                                     12, 14, 16, 20, 24, 28, 32, 40,  48,  56,
                                     64, 80, 96, 112, 128, 160, 192, 224, 255}; // length - 3
    static const uint8_t extra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                      2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    if (symbol >= 257 && symbol < 286)
        return (bits + extra[symbol - 257]) | (uint32_t)base[symbol - 257] << 16 | bits << 24 |
               DEFLATE_READ_I_MORE;
    return bits | (uint32_t)(symbol == 256 ? DEFLATE_READ_I_END : DEFLATE_READ_I_INVALID) << 8 |
           DEFLATE_READ_I_MORE | DEFLATE_READ_I_EXCEPTION;
}

/* The entry of a distance symbol, likewise. */
DEFLATE_READ_I_INLINE uint32_t deflate_read_i_distance_entry(uint32_t symbol, uint32_t bits)
{
    uint32_t extra = symbol < 2 ? 0 : (symbol >> 1) - 1;
    uint32_t base = symbol < 2 ? symbol + 1 : ((2 | (symbol & 1)) << extra) + 1;
    if (symbol < 30) return (bits + extra) | bits << 8 | base << 16;
    return bits | DEFLATE_READ_I_DISTANCE_EXCEPTION | DEFLATE_READ_I_DISTANCE_INVALID;
}

/* Begins a table that is to grow by doubling: all entries of as many bits as the shortest code has
   (returned) are `invalid`, which only an incomplete code leaves there. */
DEFLATE_READ_I_INLINE uint32_t deflate_read_i_begin(uint32_t *table, uint32_t bits,
                                                    const uint16_t *first, uint32_t invalid)
{
    uint32_t l = 1, i;
    while (l < bits && first[l + 1] == 0) l++;
    for (i = 0; i < (uint32_t)1 << l; i++) table[i] = invalid;
    return l;
}

/* Puts all pairs of a literal and another symbol whose codes have `bits` bits together: naively a
   second look-up, here one entry that says both. Its index is the one code behind the other, its
   value the sum of the literal's entry and of what the other symbol adds: the bits used add up, and
   so do the bits before the extra bits, which literals also have for this; the other fields are set
   by one of the two. The end of the block adds nothing: after a literal it is looked up by itself.
   literals[l] is where in first[l] .. first[l + 1] the literals end. */
DEFLATE_READ_I_INLINE void deflate_read_i_pairs(deflate_read *d, uint32_t bits, uint32_t shortest,
                                                const uint16_t *first, const uint16_t *literals)
{
    uint32_t l, i, k;
    for (l = shortest; l + shortest <= bits; l++) {
        uint32_t begin = first[bits - l], end = first[bits - l + 1];
        if (begin == end) continue;
        for (i = first[l]; i < literals[l]; i++) {
            uint32_t *at = d->litlen + d->code[i];
            uint32_t literal = d->entry[i];
            for (k = begin; k < end; k++)
                at[(uint32_t)d->code[k] << l] = literal + d->second[k];
        }
    }
}

/* Sorts n >= 257 symbols by length into d->entry and d->second; then first[] and literals[] are as
   above. It is a counting sort: count the lengths, then put each symbol at the next place for its
   length. Naively each step waits for what the one before has written, as lengths repeat. So the
   four quarters of the literals take turns, each with counts and places of its own: the places are
   the same. Returns what deflate_read_i_codes does. */
DEFLATE_READ_API int32_t deflate_read_i_sort_litlen(deflate_read *d, uint32_t n, uint16_t *first,
                                                    uint16_t *literals)
{
    const uint32_t bits = DEFLATE_READ_I_LITLEN_BITS;
    const uint8_t *lengths = d->lengths;
    uint16_t count[4][DEFLATE_READ_I_MAX_BITS + 1], next[4][DEFLATE_READ_I_MAX_BITS + 1];
    uint32_t own[DEFLATE_READ_I_MAX_BITS + 1]; // what its length gives to a literal's entry
    uint32_t l, i, at;
    int32_t left;
    memset(count, 0, sizeof count);
    for (i = 0; i < 64; i++) {
        count[0][lengths[i]]++;
        count[1][lengths[i + 64]]++;
        count[2][lengths[i + 128]]++;
        count[3][lengths[i + 192]]++;
    }
    for (l = 0; l <= DEFLATE_READ_I_MAX_BITS; l++) {
        next[1][l] = count[0][l];
        next[2][l] = (uint16_t)(next[1][l] + count[1][l]);
        next[3][l] = (uint16_t)(next[2][l] + count[2][l]);
        count[0][l] = (uint16_t)(next[3][l] + count[3][l]);
    }
    for (i = 256; i < n; i++) count[0][lengths[i]]++;
    left = deflate_read_i_codes(d, count[0], first);
    if (left < 0) return left;
    for (l = 0; l <= DEFLATE_READ_I_MAX_BITS; l++) {
        own[l] = (l > bits ? l - bits : l) * 0x01000001u + DEFLATE_READ_I_ONE_LITERAL;
        next[0][l] = first[l];
        next[1][l] = (uint16_t)(next[1][l] + first[l]);
        next[2][l] = (uint16_t)(next[2][l] + first[l]);
        next[3][l] = (uint16_t)(next[3][l] + first[l]);
    }
#define DEFLATE_READ_I_PUT(quarter, symbol) \
    do { \
        l = lengths[symbol]; \
        at = next[quarter][l]++; \
        d->entry[at] = own[l] + ((symbol) << 8); \
        d->second[at] = own[l] + ((symbol) << 16); \
    } while (0)
    for (i = 0; i < 64; i++) {
        DEFLATE_READ_I_PUT(0, i);
        DEFLATE_READ_I_PUT(1, i + 64);
        DEFLATE_READ_I_PUT(2, i + 128);
        DEFLATE_READ_I_PUT(3, i + 192);
    }
#undef DEFLATE_READ_I_PUT
    memcpy(literals, next[3], sizeof next[3]);
    for (i = 256; i < n; i++) {
        l = lengths[i];
        at = next[3][l]++;
        d->entry[at] = deflate_read_i_litlen_entry(i, l > bits ? l - bits : l);
        d->second[at] = d->entry[at] & DEFLATE_READ_I_EXCEPTION ? 0 : d->entry[at];
    }
    return left;
}

DEFLATE_READ_API int deflate_read_i_build_litlen(deflate_read *d, uint32_t n)
{
    const uint32_t bits = DEFLATE_READ_I_LITLEN_BITS;
    uint16_t first[DEFLATE_READ_I_MAX_BITS + 2], literals[DEFLATE_READ_I_MAX_BITS + 1];
    uint32_t l, i, shortest;
    int32_t left = deflate_read_i_sort_litlen(d, n, first, literals);
    if (deflate_read_i_is_bad(left, first)) return DEFLATE_READ_I_BAD_LITLEN_CODE;
    shortest = deflate_read_i_begin(d->litlen, bits, first, deflate_read_i_litlen_entry(287, 1));
    for (l = shortest;; l++) {
        for (i = first[l]; i < first[l + 1]; i++) d->litlen[d->code[i]] = d->entry[i];
        deflate_read_i_pairs(d, l, shortest, first, literals);
        if (l == bits) break;
        memcpy(d->litlen + ((size_t)1 << l), d->litlen, sizeof d->litlen[0] << l);
    }
    deflate_read_i_sub_tables(d, d->litlen, bits, first,
                              bits | DEFLATE_READ_I_EXCEPTION | DEFLATE_READ_I_MORE, 8, 24);
    return DEFLATE_READ_I_DONE;
}

DEFLATE_READ_API int deflate_read_i_build_distance(deflate_read *d, const uint8_t *code_lengths,
                                                   uint32_t n)
{
    const uint32_t bits = DEFLATE_READ_I_DISTANCE_BITS;
    uint16_t first[DEFLATE_READ_I_MAX_BITS + 2], next[DEFLATE_READ_I_MAX_BITS + 1];
    uint32_t l, i;
    int32_t left;
    memset(next, 0, sizeof next);
    for (i = 0; i < n; i++) next[code_lengths[i]]++;
    left = deflate_read_i_codes(d, next, first);
    if (deflate_read_i_is_bad(left, first)) return DEFLATE_READ_I_BAD_DISTANCE_CODE;
    memcpy(next, first, sizeof next);
    for (i = 0; i < n; i++) {
        l = code_lengths[i];
        d->entry[next[l]++] = deflate_read_i_distance_entry(i, l > bits ? l - bits : l);
    }
    l = deflate_read_i_begin(d->distance, bits, first, deflate_read_i_distance_entry(31, 1));
    for (;;) {
        for (i = first[l]; i < first[l + 1]; i++) d->distance[d->code[i]] = d->entry[i];
        if (l == bits) break;
        memcpy(d->distance + ((size_t)1 << l), d->distance, sizeof d->distance[0] << l);
        l++;
    }
    deflate_read_i_sub_tables(d, d->distance, bits, first,
                              bits | DEFLATE_READ_I_DISTANCE_EXCEPTION, 16, 8);
    return DEFLATE_READ_I_DONE;
}

// ---------------------------------------------------------------------------------- block headers

/* The table of the code-length code: symbol | length << 5. Unlike the other two codes it must be
   complete (RFC 1951, 3.2.7, and zlib). */
DEFLATE_READ_I_INLINE int deflate_read_i_read_length_code(deflate_read *d, deflate_read_i_run *r,
                                                          uint32_t n)
{
    static const uint8_t order[19] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                      11, 4,  12, 3, 13, 2, 14, 1, 15};
    uint16_t first[DEFLATE_READ_I_MAX_BITS + 2], count[DEFLATE_READ_I_MAX_BITS + 1];
    uint8_t lengths[19];
    uint32_t i, l, v;
    memset(lengths, 0, sizeof lengths);
    memset(count, 0, sizeof count);
    for (i = 0; i < n; i++) {
        if (!deflate_read_i_take(r, 3, &v)) return DEFLATE_READ_I_TRUNCATED;
        lengths[order[i]] = (uint8_t)v;
        count[v]++;
    }
    if (deflate_read_i_codes(d, count, first) != 0) return DEFLATE_READ_I_BAD_LENGTH_CODE;
    for (i = 0; i < 19; i++) {
        l = lengths[i];
        if (l == 0) continue;
        for (v = d->code[first[l]++]; v < 128; v += (uint32_t)1 << l)
            d->length_code[v] = (uint8_t)(i | l << 5);
    }
    return DEFLATE_READ_I_DONE;
}

/* The n code lengths of a dynamic block. Runs are written whole, with room behind for the longest,
   and judged afterwards: one may cross from the literal/length to the distance code, but none may
   pass the end.
   Tried without success: a length as a run of 1, so without a branch between lengths and runs. It
   takes a fifth longer, as each symbol then waits for all that the one before needs. */
DEFLATE_READ_I_INLINE int deflate_read_i_read_lengths(deflate_read *d, deflate_read_i_run *r,
                                                      uint32_t n)
{
    uint32_t i = 0;
    while (i < n) {
        uint32_t symbol, bits, repeat;
        uint8_t value = 0;
        if (r->count < 7 + 7) deflate_read_i_refill(r);
        symbol = d->length_code[r->bits & 127];
        bits = symbol >> 5;
        symbol &= 31;
        if (bits > r->count) return DEFLATE_READ_I_TRUNCATED;
        deflate_read_i_skip(r, bits);
        if (symbol < 16) {
            d->lengths[i++] = (uint8_t)symbol;
            continue;
        }
        if (symbol == 16) {
            if (i == 0) return DEFLATE_READ_I_BAD_REPEAT;
            value = d->lengths[i - 1];
        }
        if (!deflate_read_i_take(r, symbol == 16 ? 2 : symbol == 17 ? 3 : 7, &repeat))
            return DEFLATE_READ_I_TRUNCATED;
        repeat += symbol == 18 ? 11 : 3;
        if (repeat > 16) memset(d->lengths + i + 16, value, 138 - 16);
        memset(d->lengths + i, value, 16);
        i += repeat;
    }
    return i == n ? DEFLATE_READ_I_DONE : DEFLATE_READ_I_BAD_REPEAT;
}

DEFLATE_READ_I_INLINE int deflate_read_i_read_header(deflate_read *d, deflate_read_i_run *r,
                                                     uint32_t *litlens, uint32_t *distances)
{
    uint32_t v;
    int fault;
    if (!deflate_read_i_take(r, 14, &v)) return DEFLATE_READ_I_TRUNCATED;
    *litlens = 257 + (v & 31);
    *distances = 1 + (v >> 5 & 31);
    r->value = *litlens << 16 | *distances;
    if (*litlens > 286 || *distances > 30) return DEFLATE_READ_I_BAD_COUNTS;
    fault = deflate_read_i_read_length_code(d, r, 4 + (v >> 10));
    if (fault != DEFLATE_READ_I_DONE) return fault;
    fault = deflate_read_i_read_lengths(d, r, *litlens + *distances);
    if (fault != DEFLATE_READ_I_DONE) return fault;
    return d->lengths[256] == 0 ? DEFLATE_READ_I_NO_END : DEFLATE_READ_I_DONE;
}

/* The header is read through a copy of *run, which stays in registers: for all a compiler knows the
   bytes stored meanwhile could be *run's, which would have to be written and read at each field. */
DEFLATE_READ_API int deflate_read_i_dynamic(deflate_read *d, deflate_read_i_run *run)
{
    deflate_read_i_run r = *run;
    uint32_t litlens = 0, distances = 0;
    int fault = deflate_read_i_read_header(d, &r, &litlens, &distances);
    *run = r;
    if (fault == DEFLATE_READ_I_DONE) fault = deflate_read_i_build_litlen(d, litlens);
    if (fault != DEFLATE_READ_I_DONE) return fault;
    return deflate_read_i_build_distance(d, d->lengths + litlens, distances);
}

/* The fixed codes (RFC 1951, 3.2.6). Symbols 286, 287, 30 and 31 have codes that must not occur.
   The tables are built once for all fixed blocks of a stream that follow each other: 1.5 us, as
   long as 1.5 KiB of output take. They are not kept from call to call: a decoder may come in any
   state, and nothing says both safely and quickly that it still holds them. */
DEFLATE_READ_API void deflate_read_i_fixed(deflate_read *d)
{
    memset(d->lengths, 8, 144);
    memset(d->lengths + 144, 9, 256 - 144);
    memset(d->lengths + 256, 7, 280 - 256);
    memset(d->lengths + 280, 8, 288 - 280);
    (void)deflate_read_i_build_litlen(d, 288);
    memset(d->lengths, 5, 32);
    (void)deflate_read_i_build_distance(d, d->lengths, 32);
}

// ---------------------------------------------------------------------------------- blocks

DEFLATE_READ_API int deflate_read_i_stored(deflate_read_i_run *r)
{
    uint32_t size, check;
    size_t n, in_left, out_left;
    deflate_read_i_align(r);
    if (r->in_end - r->in < 4) return DEFLATE_READ_I_TRUNCATED;
    size = posio_le16(r->in);
    check = posio_le16(r->in + 2);
    r->value = size << 16 | check;
    if ((size ^ check) != 0xffff && !(check == 0 && (r->flags & DEFLATE_READ_ACCEPT_NLEN_0)))
        return DEFLATE_READ_I_BAD_STORED;
    r->in += 4;
    in_left = (size_t)(r->in_end - r->in);
    out_left = (size_t)(r->out_end - r->out);
    n = size;
    if (n > in_left) n = in_left;
    if (n > out_left) n = out_left;
    memmove(r->out, r->in, n);
    r->in += n;
    r->out += n;
    if (n == size) return DEFLATE_READ_I_DONE;
    return n == out_left ? DEFLATE_READ_I_FULL : DEFLATE_READ_I_TRUNCATED;
}

/* The distance of a match, and its copy byte for byte. */
DEFLATE_READ_API int deflate_read_i_careful_match(const deflate_read *d, deflate_read_i_run *r,
                                                  uint32_t length)
{
    uint32_t entry, n;
    size_t left = (size_t)(r->out_end - r->out), m = length < left ? length : left;
    const uint8_t *from;
    uint8_t *to = r->out;
    deflate_read_i_refill(r);
    entry = d->distance[r->bits & ((1 << DEFLATE_READ_I_DISTANCE_BITS) - 1)];
    n = entry & 63;
    if (n > r->count) return DEFLATE_READ_I_TRUNCATED;
    if (entry & DEFLATE_READ_I_DISTANCE_EXCEPTION) {
        if (entry & DEFLATE_READ_I_DISTANCE_INVALID) return DEFLATE_READ_I_BAD_DISTANCE;
        deflate_read_i_skip(r, n);
        entry = d->distance[(entry >> 16) + deflate_read_i_field(r->bits, entry >> 8 & 15, 0)];
        n = entry & 63;
        if (n > r->count) return DEFLATE_READ_I_TRUNCATED;
        if (entry & DEFLATE_READ_I_DISTANCE_EXCEPTION) return DEFLATE_READ_I_BAD_DISTANCE;
    }
    r->value = (entry >> 16) + deflate_read_i_field(r->bits, n, entry >> 8 & 15);
    deflate_read_i_skip(r, n);
    if (r->value > (size_t)(r->out - r->out_begin)) return DEFLATE_READ_I_TOO_FAR;
    from = to - r->value;
    r->out += m;
    if (r->value >= m) memcpy(to, from, m);
    else if (r->value == 1) memset(to, *from, m);
    else while (to != r->out) *to++ = *from++; // the copy feeds itself
    return m < length ? DEFLATE_READ_I_FULL : DEFLATE_READ_I_DONE;
}

/* Symbols up to the end of the block, one entry at a time, with every bound checked. Where the
   input ends the look-ups see zeros behind it; an entry that needs more bits than there are tells
   that the stream was cut. */
DEFLATE_READ_API int deflate_read_i_careful(const deflate_read *d, deflate_read_i_run *r)
{
    for (;;) {
        uint32_t entry, n, k, literals;
        uint64_t saved;
        int status;
        deflate_read_i_refill(r);
        entry = d->litlen[r->bits & ((1 << DEFLATE_READ_I_LITLEN_BITS) - 1)];
        if ((entry & DEFLATE_READ_I_EXCEPTION) && (entry >> 8 & 0xffff) > DEFLATE_READ_I_INVALID) {
            if (DEFLATE_READ_I_LITLEN_BITS > r->count) return DEFLATE_READ_I_TRUNCATED;
            deflate_read_i_skip(r, DEFLATE_READ_I_LITLEN_BITS);
            k = (entry >> 8 & 0xffff) + deflate_read_i_field(r->bits, entry >> 24 & 15, 0);
            entry = d->litlen[k];
        }
        n = entry & 63;
        if (n > r->count) return DEFLATE_READ_I_TRUNCATED;
        literals = entry >> 30;
        for (k = 0; k < literals; k++) {
            if (r->out == r->out_end) return DEFLATE_READ_I_FULL;
            *r->out++ = (uint8_t)(entry >> (8 + 8 * k));
        }
        saved = r->bits;
        deflate_read_i_skip(r, n);
        if (!(entry & DEFLATE_READ_I_MORE)) continue;
        if (entry & DEFLATE_READ_I_EXCEPTION)
            return (entry >> 8 & 0xffff) == DEFLATE_READ_I_END ? DEFLATE_READ_I_DONE
                                                               : DEFLATE_READ_I_BAD_LITLEN;
        n = 3 + (entry >> 16 & 255) + deflate_read_i_field(saved, n, entry >> 24 & 15);
        status = deflate_read_i_careful_match(d, r, n);
        if (status != DEFLATE_READ_I_DONE) return status;
    }
}

// ---------------------------------------------------------------------------------- fast loop

enum {
    /* Longest codes looked up, extra bits and length of a match. */
    DEFLATE_READ_I_LENGTH_EXTRA = 5,
    DEFLATE_READ_I_DISTANCE_EXTRA = 13,
    DEFLATE_READ_I_MATCH_MAX = 258,
    DEFLATE_READ_I_COPY_FIRST = 32, /* bytes of a match copied without asking for its length */
    DEFLATE_READ_I_COPY_STEP = 32,  /* then so many at a time */

    /* What one turn of the fast loop may read and write from where it begins.
       Input: two refills, each of which loads 8 bytes and moves on by 7 at most.
       Output: three steps of two literals, the longest match, and what its copy writes behind it. A
       short match reaches less far, and so do the two bytes that each step stores. */
    DEFLATE_READ_I_IN_MARGIN = 7 + 8,
    DEFLATE_READ_I_OUT_MARGIN = 3 * 2 + DEFLATE_READ_I_MATCH_MAX + DEFLATE_READ_I_COPY_STEP - 1
};

/* A refill leaves 56 bits or more. From one to the next the turn takes two table lookups of
   literals, one code that may need a sub-table, the length's extra bits, and the index of the
   distance table; or three lookups of literals and the index of the next turn; then, after the
   second refill, a distance and the index of the next turn. */
DEFLATE_READ_I_ASSERT(bits_to_distance,
                      2 * DEFLATE_READ_I_LITLEN_BITS + DEFLATE_READ_I_MAX_BITS +
                              DEFLATE_READ_I_LENGTH_EXTRA + DEFLATE_READ_I_DISTANCE_BITS <= 56);
DEFLATE_READ_I_ASSERT(bits_of_literals, 4 * DEFLATE_READ_I_LITLEN_BITS <= 56);
DEFLATE_READ_I_ASSERT(bits_to_next_turn,
                      DEFLATE_READ_I_MAX_BITS + (int)DEFLATE_READ_I_DISTANCE_EXTRA +
                              DEFLATE_READ_I_LITLEN_BITS <= 56);
DEFLATE_READ_I_ASSERT(first_copy_reaches_less, DEFLATE_READ_I_COPY_FIRST + 2 <=
                                                   DEFLATE_READ_I_MATCH_MAX);
DEFLATE_READ_I_ASSERT(slack_suffices, DEFLATE_READ_I_OUT_MARGIN <= DEFLATE_READ_SLACK);

/* Refill without a branch. Naive: while there is room for a byte, append one. Here all eight bytes
   are or-ed in at once, and `in` moves on by as many whole bytes as fitted: (63 - left) / 8, which
   is 7 - left / 8. The count becomes 56 + left % 8, that is, left | 56. Bits beyond the count are
   in the buffer too, but they equal what the next refill puts there, and or-ing twice is harmless.
   Only the low 6 bits of `left` count: whole entries are subtracted from it, whose low byte is the
   number of bits used. */
#define DEFLATE_READ_I_REFILL() \
    do { \
        bits |= posio_le64(in) << (left & 63); \
        in += 7; \
        in -= left >> 3 & 7; \
        left |= 56; \
    } while (0)

#define DEFLATE_READ_I_LOOK_UP() (litlen[bits & ((1 << DEFLATE_READ_I_LITLEN_BITS) - 1)])

/* Takes an entry's literals and bits. Naive: ask how many literals there are, store each. Here two
   bytes are always stored and `out` moves on by the true number, 0 to 2: what was stored behind it
   is overwritten by what comes next. */
#define DEFLATE_READ_I_STEP() \
    do { \
        posio_put_le16(out, entry >> 8); \
        out += entry >> 30; \
        saved = bits; \
        bits >>= (uint8_t)entry; \
        left -= entry; \
    } while (0)

/* Looks up what may come next before it is known which: after literals the next entry, else a
   distance. Naively each is looked up where it is needed, behind the branch that asks for MORE. But
   whether a literal or a match comes is hard to foretell, and wrong guesses are what this loop
   spends most of its time on: done before the branch, the look-up is ready when the guess turns out
   wrong. This is worth 6 % of the whole; either of the two alone 2-3 % less. The pin keeps the
   compiler from moving them back behind the branch. The look-up that is not needed may see bits
   beyond the count: the index is masked as always, and the entry is dropped. */
#define DEFLATE_READ_I_AHEAD() \
    do { \
        next = DEFLATE_READ_I_LOOK_UP(); \
        match = d->distance[bits & ((1 << DEFLATE_READ_I_DISTANCE_BITS) - 1)]; \
        DEFLATE_READ_I_PIN(next, match); \
    } while (0)

/* A match, copied in words and not beyond the margin. From a distance of 8 on, a word of the source
   is complete before it is read. Words of 8 bytes, not wider: wide loads of bytes that small stores
   have just written must wait for these. Nearer matches repeat a pattern of 1 to 7 bytes: a
   multiplication fills a word with it, and each store moves on by a multiple of the pattern. */
DEFLATE_READ_I_INLINE void deflate_read_i_copy(uint8_t *to, uint32_t distance, uint32_t length)
{
    static const uint64_t repeat[8] = {0, 0x0101010101010101u, 0x0001000100010001u,
                                       0x0001000001000001u, 0x0000000100000001u,
                                       0x0000010000000001u, 0x0001000000000001u,
                                       0x0100000000000001u};
    static const uint8_t stride[8] = {0, 8, 8, 6, 8, 5, 6, 7};
    const uint8_t *from = to - distance;
    uint8_t *end = to + length;
    if (DEFLATE_READ_I_LIKELY(distance >= 8)) {
        deflate_read_i_copy8(to, from);
        deflate_read_i_copy8(to + 8, from + 8);
        deflate_read_i_copy8(to + 16, from + 16);
        deflate_read_i_copy8(to + 24, from + 24);
        if (DEFLATE_READ_I_LIKELY(length <= DEFLATE_READ_I_COPY_FIRST)) return;
        to += DEFLATE_READ_I_COPY_FIRST;
        from += DEFLATE_READ_I_COPY_FIRST;
        do {
            deflate_read_i_copy8(to, from);
            deflate_read_i_copy8(to + 8, from + 8);
            deflate_read_i_copy8(to + 16, from + 16);
            deflate_read_i_copy8(to + 24, from + 24);
            to += DEFLATE_READ_I_COPY_STEP;
            from += DEFLATE_READ_I_COPY_STEP;
        } while (to < end);
    } else {
        uint64_t word = posio_le64(from) & (((uint64_t)1 << (8 * distance)) - 1);
        word *= repeat[distance];
        do {
            posio_put_le64(to, word);
            to += stride[distance];
        } while (to < end);
    }
}

/* The fast loop. It runs while a whole turn fits into both buffers (or the slack) and so checks
   nothing on the way but what the stream can get wrong. The entry at the top of a turn was looked
   up before the last refill and copy, to have it in time: they leave its bits alone.

   Tried without success, on text, binaries and disk data at levels 1 and 6 (Sapphire Rapids, gcc 12
   and clang 14 at -O2): first tables of 10 or 11 bits, 8 and 4 % slower; of 13 bits, 0-2 % faster
   here, but 16 KiB more than fits beside a chunk into caches of 32 KiB. Distance tables of 7 or 9
   bits, 1-2 % slower. Two, four or five steps of literals in place of three, or looking up two
   entries ahead: no difference. First copies of 24 bytes, 3 % slower; of 40, 48 or 64, no better;
   by 16 bytes at a time where the distance allows, 1-2 % slower. Four words a turn for near
   matches, 1 % slower. The table build for BMI2 and AVX2, no faster. */
DEFLATE_READ_I_INLINE int deflate_read_i_fast_body(const deflate_read *d, deflate_read_i_run *r,
                                                   int bmi2)
{
    const uint32_t *litlen = d->litlen;
    const uint8_t *in = r->in, *in_limit;
    uint8_t *out = r->out, *out_limit, *const out_begin = r->out_begin;
    uint64_t bits = r->bits, saved;
    uint32_t left = r->count, entry;
    size_t room = (size_t)(r->out_end - out) + r->slack;
    int status = DEFLATE_READ_I_LEAVE;

    if (r->in_end - in < 8 + DEFLATE_READ_I_IN_MARGIN || room < DEFLATE_READ_I_OUT_MARGIN)
        return status;
    in_limit = r->in_end - DEFLATE_READ_I_IN_MARGIN;
    room -= DEFLATE_READ_I_OUT_MARGIN;
    out_limit = room < (size_t)(r->out_end - out) ? out + room : r->out_end;

    DEFLATE_READ_I_REFILL();
    entry = DEFLATE_READ_I_LOOK_UP();
    do {
        uint32_t length, distance, next, match;
        DEFLATE_READ_I_STEP();
        DEFLATE_READ_I_AHEAD();
        if (!(entry & DEFLATE_READ_I_MORE)) {
            entry = next;
            DEFLATE_READ_I_STEP();
            DEFLATE_READ_I_AHEAD();
            if (!(entry & DEFLATE_READ_I_MORE)) {
                entry = next;
                DEFLATE_READ_I_STEP();
                DEFLATE_READ_I_AHEAD();
                if (!(entry & DEFLATE_READ_I_MORE)) {
                    entry = next;
                    DEFLATE_READ_I_REFILL();
                    continue;
                }
            }
        }
        if (DEFLATE_READ_I_UNLIKELY(entry & DEFLATE_READ_I_EXCEPTION)) {
            uint32_t place = entry >> 8 & 0xffff;
            if (place > DEFLATE_READ_I_INVALID) {
                entry = litlen[place + deflate_read_i_field_in(bmi2, bits, entry >> 24 & 15, 0)];
                DEFLATE_READ_I_STEP();
                if (!(entry & DEFLATE_READ_I_MORE)) {
                    DEFLATE_READ_I_REFILL();
                    entry = DEFLATE_READ_I_LOOK_UP();
                    continue;
                }
                place = entry >> 8 & 0xffff;
            }
            if (entry & DEFLATE_READ_I_EXCEPTION) {
                status = place == DEFLATE_READ_I_END ? DEFLATE_READ_I_DONE
                                                     : DEFLATE_READ_I_BAD_LITLEN;
                break;
            }
            match = d->distance[bits & ((1 << DEFLATE_READ_I_DISTANCE_BITS) - 1)];
        }
        length = 3 + (entry >> 16 & 255) +
                 deflate_read_i_field_in(bmi2, saved, entry, entry >> 24 & 15);

        entry = match;
        DEFLATE_READ_I_REFILL();
        if (DEFLATE_READ_I_UNLIKELY(entry & DEFLATE_READ_I_DISTANCE_EXCEPTION)) {
            if (!(entry & DEFLATE_READ_I_DISTANCE_INVALID)) {
                bits >>= DEFLATE_READ_I_DISTANCE_BITS;
                left -= DEFLATE_READ_I_DISTANCE_BITS;
                entry = d->distance[(entry >> 16) +
                                  deflate_read_i_field_in(bmi2, bits, entry >> 8 & 15, 0)];
            }
            if (entry & DEFLATE_READ_I_DISTANCE_EXCEPTION) {
                status = DEFLATE_READ_I_BAD_DISTANCE;
                break;
            }
        }
        distance = (entry >> 16) + deflate_read_i_field_in(bmi2, bits, entry, entry >> 8 & 15);
        bits >>= (uint8_t)entry;
        left -= entry;
        if (DEFLATE_READ_I_UNLIKELY(distance > (size_t)(out - out_begin))) {
            r->value = distance;
            status = DEFLATE_READ_I_TOO_FAR;
            break;
        }
        entry = DEFLATE_READ_I_LOOK_UP();
        DEFLATE_READ_I_REFILL();

        deflate_read_i_copy(out, distance, length);
        out += length;
    } while (in <= in_limit && out <= out_limit);

    r->in = in;
    r->out = out;
    r->bits = bits;
    r->count = left & 63;
    return out > r->out_end ? DEFLATE_READ_I_OVERRUN : status;
}

#if DEFLATE_READ_I_X86
__attribute__((target("bmi2"), unused)) static int deflate_read_i_fast_bmi2(
    const deflate_read *d, deflate_read_i_run *r)
{
    return deflate_read_i_fast_body(d, r, 1);
}
#endif

DEFLATE_READ_API int deflate_read_i_fast(const deflate_read *d, deflate_read_i_run *r)
{
    return deflate_read_i_fast_body(d, r, 0);
}

// ---------------------------------------------------------------------------------- streams

DEFLATE_READ_API int deflate_read_i_symbols(const deflate_read *d, deflate_read_i_run *r)
{
    int status;
#if DEFLATE_READ_I_X86
    if (r->cpu & POSIO_CPU_BMI2) status = deflate_read_i_fast_bmi2(d, r);
    else
#endif
        status = deflate_read_i_fast(d, r);
    return status == DEFLATE_READ_I_LEAVE ? deflate_read_i_careful(d, r) : status;
}

/* All blocks of a raw stream (RFC 1951, 3.2.3). */
DEFLATE_READ_API int deflate_read_i_blocks(deflate_read *d, deflate_read_i_run *r)
{
    int have_fixed = 0;
    for (;;) {
        int status = DEFLATE_READ_I_BAD_TYPE;
        uint32_t header;
        if (!deflate_read_i_take(r, 3, &header)) return DEFLATE_READ_I_TRUNCATED;
        switch (header >> 1) {
        case 0: status = deflate_read_i_stored(r); break;
        case 1:
            if (!have_fixed) deflate_read_i_fixed(d);
            have_fixed = 1;
            status = deflate_read_i_symbols(d, r);
            break;
        case 2:
            have_fixed = 0;
            status = deflate_read_i_dynamic(d, r);
            if (status == DEFLATE_READ_I_DONE) status = deflate_read_i_symbols(d, r);
            break;
        default: break;
        }
        if (status != DEFLATE_READ_I_DONE) return status;
        if (header & 1) break;
    }
    deflate_read_i_align(r);
    return DEFLATE_READ_I_DONE;
}

DEFLATE_READ_API posio_result deflate_read_i_explain(int fault, uint32_t value, uint64_t at,
                                                     uint64_t out_size, posio_error *err)
{
    const posio_result bad = POSIO_E_DATA;
    switch (fault) {
    case DEFLATE_READ_I_FULL:
        return posio_fail(err, POSIO_E_SPACE, at,
                          "deflate: output is full (%llu bytes) before the stream ends",
                          (unsigned long long)out_size);
    case DEFLATE_READ_I_TRUNCATED:
        return posio_fail(err, bad, at, "deflate: input ends inside the stream");
    case DEFLATE_READ_I_BAD_TYPE:
        return posio_fail(err, bad, at, "deflate: invalid block type 3");
    case DEFLATE_READ_I_BAD_STORED:
        return posio_fail(err, bad, at, "deflate: stored block of 0x%x bytes has NLEN 0x%x",
                          value >> 16, value & 0xffff);
    case DEFLATE_READ_I_BAD_COUNTS:
        return posio_fail(err, bad, at,
                          "deflate: %u literal/length and %u distance codes (at most 286 and 30)",
                          value >> 16, value & 0xffff);
    case DEFLATE_READ_I_BAD_LENGTH_CODE:
        return posio_fail(err, bad, at, "deflate: invalid code-length code");
    case DEFLATE_READ_I_BAD_REPEAT:
        return posio_fail(err, bad, at, "deflate: invalid repeat of code lengths");
    case DEFLATE_READ_I_NO_END:
        return posio_fail(err, bad, at, "deflate: no code for the end of the block");
    case DEFLATE_READ_I_BAD_LITLEN_CODE:
        return posio_fail(err, bad, at, "deflate: invalid literal/length code");
    case DEFLATE_READ_I_BAD_DISTANCE_CODE:
        return posio_fail(err, bad, at, "deflate: invalid distance code");
    case DEFLATE_READ_I_BAD_LITLEN:
        return posio_fail(err, bad, at, "deflate: invalid literal/length symbol");
    case DEFLATE_READ_I_BAD_DISTANCE:
        return posio_fail(err, bad, at, "deflate: invalid distance symbol");
    default:
        return posio_fail(err, bad, at, "deflate: distance %u, but only %llu bytes of output",
                          value, (unsigned long long)out_size);
    }
}

// ---------------------------------------------------------------------------------- Adler-32

#ifndef DEFLATE_READ_ADLER32
#define DEFLATE_READ_ADLER32(adler, data, size) deflate_read_i_adler32(adler, data, size)

/* a is the sum of all bytes, b the sum of all a on the way; both modulo 65521, which can wait for
   5,552 bytes before 32 bits overflow. Naive: a += *p++, b += a. For a block of k bytes that comes
   to b += k * a + k * p[0] + (k - 1) * p[1] + ... + p[k - 1], then a += p[0] + ... + p[k - 1]: sums
   without an order. The functions do whole blocks of 64, and of 8, bytes. */
#if DEFLATE_READ_I_WIDE
__attribute__((target("avx2"), unused)) static void deflate_read_i_adler32_avx2(
    uint32_t *a, uint32_t *b, const uint8_t *p, size_t n)
{
    const __m256i weights_32 =
        _mm256_setr_epi8(32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14,
                         13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1);
    const __m256i weights = _mm256_add_epi8(weights_32, _mm256_set1_epi8(32));
    const __m256i zero = _mm256_setzero_si256(), ones = _mm256_set1_epi16(1);
    __m256i sum = zero, before = zero, weighted = zero;
    uint32_t lanes[8], i;
    *b += *a * (uint32_t)n;
    for (; n != 0; n -= 64, p += 64) {
        __m256i v, w;
        memcpy(&v, p, 32);
        memcpy(&w, p + 32, 32);
        before = _mm256_add_epi32(before, sum);
        sum = _mm256_add_epi32(sum, _mm256_sad_epu8(v, zero));
        sum = _mm256_add_epi32(sum, _mm256_sad_epu8(w, zero));
        v = _mm256_madd_epi16(_mm256_maddubs_epi16(v, weights), ones);
        w = _mm256_madd_epi16(_mm256_maddubs_epi16(w, weights_32), ones);
        weighted = _mm256_add_epi32(weighted, _mm256_add_epi32(v, w));
    }
    weighted = _mm256_add_epi32(weighted, _mm256_slli_epi32(before, 6));
    memcpy(lanes, &weighted, 32);
    for (i = 0; i < 8; i++) *b += lanes[i];
    memcpy(lanes, &sum, 32);
    for (i = 0; i < 8; i += 2) *a += lanes[i];
}
#endif

/* The 32-bit halves of v, weighted and added up. */
DEFLATE_READ_I_INLINE uint32_t deflate_read_i_weigh(uint64_t v, uint32_t low, uint32_t high)
{
    return (uint32_t)((v * ((uint64_t)low << 32 | high)) >> 32);
}

DEFLATE_READ_API void deflate_read_i_adler32_plain(uint32_t *a, uint32_t *b, const uint8_t *p,
                                                   size_t n)
{
    // Columns of 8 bytes, added up in 16-bit fields, the even and the odd ones; and the sums before
    // each row, whose fields hold at most 255 * (0 + 1 + ... + 22).
    const uint64_t bytes = 0x00ff00ff00ff00ffu, words = 0x0000ffff0000ffffu;
    while (n != 0) {
        size_t rows = n / 8 < 23 ? n / 8 : 23, i;
        uint64_t even = 0, odd = 0, even_before = 0, odd_before = 0;
        for (i = 0; i < rows; i++, p += 8) {
            uint64_t v = posio_le64(p);
            even_before += even;
            odd_before += odd;
            even += v & bytes;
            odd += v >> 8 & bytes;
        }
        n -= 8 * rows;
        even_before = (even_before & words) + (even_before >> 16 & words) + (odd_before & words) +
                      (odd_before >> 16 & words);
        *b += *a * (uint32_t)(8 * rows) + deflate_read_i_weigh(even_before, 8, 8) +
              deflate_read_i_weigh(even & words, 8, 4) +
              deflate_read_i_weigh(even >> 16 & words, 6, 2) +
              deflate_read_i_weigh(odd & words, 7, 3) +
              deflate_read_i_weigh(odd >> 16 & words, 5, 1);
        even = (even & words) + (even >> 16 & words) + (odd & words) + (odd >> 16 & words);
        *a += deflate_read_i_weigh(even, 1, 1);
    }
}

DEFLATE_READ_API uint32_t deflate_read_i_adler32(uint32_t adler, const void *data, size_t size)
{
    const uint8_t *p = (const uint8_t *)data;
    uint32_t a = adler & 0xffff, b = adler >> 16;
    while (size != 0) {
        size_t n = size < 5504 ? size : 5504, tail = n & 63;
        size -= n;
        n -= tail;
#if DEFLATE_READ_I_WIDE
        if (posio_cpu() & POSIO_CPU_AVX2) deflate_read_i_adler32_avx2(&a, &b, p, n);
        else
#endif
            deflate_read_i_adler32_plain(&a, &b, p, n);
        for (p += n; tail != 0; tail--) {
            a += *p++;
            b += a;
        }
        a %= 65521;
        b %= 65521;
    }
    return b << 16 | a;
}
#endif

// ---------------------------------------------------------------------------------- public

/* Decodes the raw stream at r->in. Should the output end within the slack, that is, too early, it
   is done again without slack: rare, and so the outcome does not depend on the slack. */
DEFLATE_READ_API posio_result deflate_read_i_decode(deflate_read *d, deflate_read_i_run *r,
                                                    deflate_read_end *end, posio_error *err)
{
    const uint8_t *in = r->in;
    int status = deflate_read_i_blocks(d, r);
    if (status == DEFLATE_READ_I_OVERRUN) {
        r->in = in;
        r->out = r->out_begin;
        r->bits = 0;
        r->count = 0;
        r->slack = 0;
        status = deflate_read_i_blocks(d, r);
    }
    end->in_used = (size_t)(r->in - r->in_begin) - (r->count >> 3);
    end->out_size = (size_t)(r->out - r->out_begin);
    if (status == DEFLATE_READ_I_DONE) return POSIO_OK;
    return deflate_read_i_explain(status, r->value, end->in_used, end->out_size, err);
}

/* Checks the arguments and fills *r; 0 if a pointer is missing. */
DEFLATE_READ_API int deflate_read_i_begin_run(deflate_read_i_run *r, deflate_read *d,
                                              const void *in, size_t in_size, void *out,
                                              size_t out_max, size_t slack, uint32_t flags,
                                              deflate_read_end *end)
{
    memset(r, 0, sizeof *r);
    if (d == NULL || end == NULL) return 0;
    if ((in == NULL && in_size != 0) || (out == NULL && out_max != 0)) return 0;
    memset(end, 0, sizeof *end);
    r->in_begin = in != NULL ? (const uint8_t *)in : (const uint8_t *)d; // no NULL + 0 below
    r->in = r->in_begin;
    r->in_end = r->in + in_size;
    r->out_begin = out != NULL ? (uint8_t *)out : (uint8_t *)d;
    r->out = r->out_begin;
    r->out_end = r->out + out_max;
    r->slack = out == NULL ? 0 : slack < DEFLATE_READ_SLACK ? slack : DEFLATE_READ_SLACK;
    r->flags = flags;
    r->cpu = posio_cpu();
    return 1;
}

/* Decodes a raw deflate stream (RFC 1951) from in[0 .. in_size) to out[0 .. out_max).

   `slack` is how many bytes behind out + out_max the caller allows to be scribbled on; 0 is always
   right. With DEFLATE_READ_SLACK or more the last few hundred bytes decode as fast as the others.
   Never the neighbouring chunk of a shared buffer! Apart from that nothing outside of the buffers
   is read or written, whatever the input, and the slack changes no result. in and out must not
   overlap; in and out may be NULL where they have no bytes.

   flags: DEFLATE_READ_ACCEPT_NLEN_0. Input that follows the stream is left alone: see
   end->in_used. *end is filled on failure too: out[0 .. out_size) is what was decoded before the
   fault, and in_used is near it.

   POSIO_E_DATA, POSIO_E_SPACE (out_max bytes are decoded, but the stream goes on), POSIO_E_ARG.
   A stream that ends exactly where the output is full is a success.
   Threads: one per handle. Allocates: no. Blocks: no. */
DEFLATE_READ_API posio_result deflate_read_raw(deflate_read *d, const void *in, size_t in_size,
                                               void *out, size_t out_max, size_t slack,
                                               uint32_t flags, deflate_read_end *end,
                                               posio_error *err)
{
    deflate_read_i_run r;
    if (!deflate_read_i_begin_run(&r, d, in, in_size, out, out_max, slack, flags, end))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "deflate: a pointer is NULL");
#ifdef DEFLATE_READ_CUSTOM
    if (flags == 0 && DEFLATE_READ_CUSTOM(d, r.in, in_size, r.out, out_max, 0, end) == POSIO_OK)
        return POSIO_OK;
    memset(end, 0, sizeof *end);
#endif
    return deflate_read_i_decode(d, &r, end, err);
}

/* Decodes a zlib stream (RFC 1950), as deflate_read_raw, plus its header and its Adler-32.

   flags: DEFLATE_READ_NO_CHECKSUM (the four bytes must be there, but may be wrong),
   DEFLATE_READ_ACCEPT_NLEN_0. When only the Adler-32 is wrong, *end is as on success and
   err->offset is where it is stored.

   As deflate_read_raw, and POSIO_E_FORMAT, POSIO_E_UNSUPPORTED for the header.
   Threads: one per handle. Allocates: no. Blocks: no. */
DEFLATE_READ_API posio_result deflate_read_zlib(deflate_read *d, const void *in, size_t in_size,
                                                void *out, size_t out_max, size_t slack,
                                                uint32_t flags, deflate_read_end *end,
                                                posio_error *err)
{
    deflate_read_i_run r;
    uint32_t adler, stored;
    posio_result result;
    if (!deflate_read_i_begin_run(&r, d, in, in_size, out, out_max, slack, flags, end))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "zlib: a pointer is NULL");
#ifdef DEFLATE_READ_CUSTOM
    if (flags == 0 && DEFLATE_READ_CUSTOM(d, r.in, in_size, r.out, out_max, 1, end) == POSIO_OK)
        return POSIO_OK;
    memset(end, 0, sizeof *end);
#endif
    if (in_size < 2)
        return posio_fail(err, POSIO_E_DATA, in_size, "zlib: input ends inside the header");
    if (posio_be16(r.in) % 31 != 0 || (r.in[0] & 15) != 8 || r.in[0] >> 4 > 7)
        return posio_fail(err, POSIO_E_FORMAT, 0, "zlib: 0x%x is not a zlib header",
                          (unsigned)posio_be16(r.in));
    if (r.in[1] & 0x20)
        return posio_fail(err, POSIO_E_UNSUPPORTED, 1, "zlib: needs a preset dictionary");
    r.in += 2;
    result = deflate_read_i_decode(d, &r, end, err);
    if (result != POSIO_OK) return result;
    if (r.in_end - r.in < 4)
        return posio_fail(err, POSIO_E_DATA, end->in_used, "zlib: input ends inside the Adler-32");
    stored = posio_be32(r.in);
    end->in_used += 4;
    if (flags & DEFLATE_READ_NO_CHECKSUM) return POSIO_OK;
    adler = DEFLATE_READ_ADLER32(1, r.out_begin, end->out_size);
    if (adler == stored) return POSIO_OK;
    return posio_fail(err, POSIO_E_DATA, end->in_used - 4, "zlib: Adler-32 is 0x%x, expected 0x%x",
                      adler, stored);
}

#undef DEFLATE_READ_I_INLINE
#undef DEFLATE_READ_I_LIKELY
#undef DEFLATE_READ_I_UNLIKELY
#undef DEFLATE_READ_I_X86
#undef DEFLATE_READ_I_WIDE
#undef DEFLATE_READ_I_PIN
#undef DEFLATE_READ_I_ASSERT
#undef DEFLATE_READ_I_ONE_LITERAL
#undef DEFLATE_READ_I_REFILL
#undef DEFLATE_READ_I_LOOK_UP
#undef DEFLATE_READ_I_STEP
#undef DEFLATE_READ_I_AHEAD
#elif defined(DEFLATE_READ_IMPLEMENTATION) && DEFLATE_READ_I_IMPLEMENTED < 100
#error "deflate_read.h: the functions of an older copy came first; include the newest header first"
#endif
/* >>end */
