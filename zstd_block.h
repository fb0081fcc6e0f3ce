/* zstd_block.h - the compressed blocks of zstd frames (RFC 8878), each decoded by itself.
   SPDX-License-Identifier: MIT OR Unlicense

   A compressed block is literals and sequences. A sequence says: so many literals, then so many
   bytes copied from an offset back. What takes most of the time, undoing the entropy coding, needs
   nothing of the blocks before but the tables which they define, and three offsets to repeat. So it
   can be done for many blocks at once; only copying must follow the order of the blocks.

   QUICK START

       #define ZSTD_BLOCK_IMPLEMENTATION
       #include "zstd_block.h"
       #include <stdio.h>

       int main(void)
       {
           // Raw literals "ab"; one sequence, RLE tables: 2 literals, then 6 bytes from 2 back.
           static const unsigned char packed[] = {0x10, 'a', 'b', 0x01, 0x54, 2, 2, 3, 5};
           static zstd_block decoder; // 31 KiB of tables, not for a deep stack
           zstd_block_names names;
           zstd_block_head head;
           zstd_block_decoded decoded;
           uint32_t repeats[3] = {1, 4, 8};
           uint8_t literals[2 + ZSTD_BLOCK_SLACK], text[8];
           uint64_t sequences[1];
           zstd_block_begin_frame(&names);
           if (!zstd_block_look(packed, sizeof packed, sizeof text, &head) ||
               !zstd_block_name(&names, packed, sizeof packed, 1, &head)) return 1;
           zstd_block_begin(&decoder);
           if (!zstd_block_decode(&decoder, packed, sizeof packed, &head, &names, sizeof text,
                                  literals, sequences, &decoded) ||
               !zstd_block_resolve(&decoded, sequences, repeats) ||
               !zstd_block_execute(&decoded, sequences, text, text, text + 8, 8)) return 1;
           return printf("%.8s\n", (const char *)text) < 0;
       }

   WHAT IT DOES NOT DO
       No frames, no raw and RLE blocks (they need no decoder), no checksums, no dictionaries, no
       block that reaches back 512 MiB or more. It does not say what is wrong with a block, only
       that something is: whoever wants to know asks libzstd. It is strict: what it accepts, any
       decoder of the format does, and to the same bytes. It refuses what only some accept.

   OPTIONS  (define before the first include; each works alone)
       ZSTD_BLOCK_IMPLEMENTATION    the functions too, with internal linkage; legal in many files
       ZSTD_BLOCK_API               how those are declared (default: static, unused allowed)

   THREADS
       No state outside of the caller's decoder but posio's word of processor features.

   MEMORY
       Nothing is allocated. The decoder is 31 KiB; for a block the caller provides a byte for each
       literal and 8 for each sequence: 128 KiB and 342 KiB at most. The stack needs 3 KiB.

   ERRORS
       Functions return 0 for a block that is damaged or not supported, else 1.

   THE FORMAT  (RFC 8878, by section)

       literals    3.1.1.3.1.1   kind: 2 | format: 1 or 2 | regenerated size | compressed size?
         kind 0  raw             format 0, 2: 5 bits of size in 1 byte; 1: 12 in 2; 3: 20 in 3
         kind 1  one byte, repeated                 (the same)
         kind 2  a Huffman tree, 1 or 4 streams   format 0: 1 stream, 10 + 10 bits in 3 bytes;
         kind 3  streams, tree of a block before  1: 4, the same; 2: 14 + 14 in 4; 3: 18 + 18 in 5
         4 streams  3 x u16: the sizes of the first three; each but the last decodes to a quarter
       tree        4.2.1         u8 n: n < 128: n bytes, an FSE table and weights coded by it;
                                 else n - 127 weights of 4 bits, the first one highest
         weights   4.2.1.3       code length = longest + 1 - weight, 0 = no code; the last weight is
                                 not stored; it completes the code. At most 11 bits. Codes ascend
                                 from the longest on, in the order of symbols
       sequences   3.1.1.3.2.1   count: u8 below 128 | 2 bytes (b0 - 128) * 256 + b1 |
                                 255, u16 + 0x7f00; count 0 ends the block
         modes     u8            2 bits each for literal lengths, offsets, match lengths; 0 below
           0 predefined | 1 one symbol: u8 | 2 an FSE table | 3 table of the block before
         tables, then one bit stream read from its end: states of literal lengths, offsets, match
         lengths; for each sequence the extra bits of offset, match length, literal length, then
         (but after the last) the bits to the next states, literal length, match length, offset
       FSE table   4.1.1         log - 5: 4 bits, then a probability for each symbol
       streams that are read from their end (4.1, 4.2.2) begin below the highest 1 of the last byte
       and are used to the last bit
       offsets     3.1.1.5       value 1 to 3: one of the three most recent offsets, the next one if
                                 there are no literals, then 3 is the first less 1; else value - 3

   Offsets to be repeated may come from the block before, which is not decoded yet. So a block
   begins with three symbols in place of them, numbers above all true offsets, which are carried
   about as offsets are, also "less 1". In the order of the blocks zstd_block_resolve replaces
   them. */

/* >>types */
#ifdef ZSTD_BLOCK_IMPLEMENTATION
#ifndef POSIO_IMPLEMENTATION
#define POSIO_IMPLEMENTATION
#endif
#endif
#include "posio.h"

#ifndef CHUNKWISE_ZSTD_BLOCK_H
#define CHUNKWISE_ZSTD_BLOCK_H

#define ZSTD_BLOCK_VERSION 100 /* 1.0.0: major * 100 + minor */

#include <stddef.h>
#include <stdint.h>

/* ------------------------------------------------------------------ essential */

#define ZSTD_BLOCK_MAX ((uint32_t)128 << 10) /* bytes a block decodes to, or is stored in */
#define ZSTD_BLOCK_SEQUENCES (ZSTD_BLOCK_MAX / 3 + 1) /* more do not fit: a match has 3 bytes */
#define ZSTD_BLOCK_SLACK 64                           /* bytes of room behind literals */

/* What the headers within a block say; found in O(1). */
typedef struct zstd_block_head {
    uint32_t kind;      /* of the literals: 0 raw, 1 RLE, 2 with a tree, 3 without */
    uint32_t streams;   /* 1 or 4 */
    uint32_t at;        /* where the literals begin, behind their header */
    uint32_t stored;    /* bytes of them */
    uint32_t literals;  /* that they decode to */
    uint32_t sequences; /* how many */
    uint32_t modes[3];  /* of the tables: literal lengths, offsets, match lengths */
    uint32_t tables;    /* where they begin */
} zstd_block_head;

/* A block that defines tables for others. */
typedef struct zstd_block_definer {
    const uint8_t *data;
    uint32_t size, reserved;
    uint64_t number; /* the caller's: 1 to 2^63, another one for each block */
} zstd_block_definer;

/* The blocks that define the tables of a block: Huffman tree, literal lengths, offsets, match
   lengths. */
typedef struct zstd_block_names {
    zstd_block_definer tree, tables[3];
} zstd_block_names;

typedef struct zstd_block_entry {
    uint32_t state; /* extra bits: 8 | bits to the next state: 8 | the next state's base: 16 */
    uint32_t base;
} zstd_block_entry;

/* The decoder's workspace. The members are private. */
typedef struct zstd_block {
    uint32_t huffman[2048];
    uint32_t pairs[2048]; /* while building */
    uint8_t code_bits[256];
    zstd_block_entry tables[3][512];
    zstd_block_entry predefined[3][64];
    uint64_t number_of_tree,
        number_of[3]; /* of the definers of what is in the tables; 0 = nothing */
    uint32_t logs[3];
    uint32_t cpu;
} zstd_block;

/* A decoded block, still to be executed. */
typedef struct zstd_block_decoded {
    const uint8_t *literals;
    uint32_t literal_count, sequence_count;
    uint32_t size;       /* that it executes to */
    uint32_t reach;      /* no less than any offset that is new in this block */
    uint32_t symbols;    /* no sequence from this one on has a symbol for its offset */
    uint32_t repeats[3]; /* behind the block, may be symbols */
} zstd_block_decoded;

#elif ZSTD_BLOCK_VERSION < 100
#error "zstd_block.h: an older copy came first in this file; include the newest header first"
#endif
/* >>end types */

/* >>functions */
#if defined(ZSTD_BLOCK_IMPLEMENTATION) && !defined(ZSTD_BLOCK_I_IMPLEMENTED)
#define ZSTD_BLOCK_I_IMPLEMENTED 100

#ifndef ZSTD_BLOCK_API
#if defined(__GNUC__) || defined(__TINYC__)
#define ZSTD_BLOCK_API static __attribute__((unused))
#else
#define ZSTD_BLOCK_API static
#endif
#endif

#include <string.h>

#if defined(__GNUC__) && !defined(__TINYC__)
#define ZSTD_BLOCK_I_INLINE static inline __attribute__((always_inline, unused))
#define ZSTD_BLOCK_I_LIKELY(x) __builtin_expect(!!(x), 1)
#define ZSTD_BLOCK_I_UNLIKELY(x) __builtin_expect(!!(x), 0)
#elif defined(_MSC_VER)
#define ZSTD_BLOCK_I_INLINE static __forceinline
#define ZSTD_BLOCK_I_LIKELY(x) (x)
#define ZSTD_BLOCK_I_UNLIKELY(x) (x)
#else
#define ZSTD_BLOCK_I_INLINE static inline
#define ZSTD_BLOCK_I_LIKELY(x) (x)
#define ZSTD_BLOCK_I_UNLIKELY(x) (x)
#endif

/* Variants for x86-64 processors, chosen at run time. */
#if defined(__GNUC__) && defined(__x86_64__) && !defined(__TINYC__)
#define ZSTD_BLOCK_I_X86 1
#else
#define ZSTD_BLOCK_I_X86 0
#endif

#define ZSTD_BLOCK_I_NUMBER UINT64_MAX /* of predefined tables */

#define ZSTD_BLOCK_I_ASSERT(name, x) typedef char zstd_block_i_assert_##name[(x) ? 1 : -1]

enum {
    ZSTD_BLOCK_I_LENGTHS, /* tables: of literals, */
    ZSTD_BLOCK_I_OFFSETS,
    ZSTD_BLOCK_I_MATCHES, /* and of matches */

    ZSTD_BLOCK_I_PREDEFINED = 0, /* modes */
    ZSTD_BLOCK_I_RLE = 1,
    ZSTD_BLOCK_I_FSE = 2,
    ZSTD_BLOCK_I_REPEAT = 3,

    ZSTD_BLOCK_I_RAW = 0, /* kinds of literals, and RLE */
    ZSTD_BLOCK_I_TREE = 2,
    ZSTD_BLOCK_I_TREELESS = 3,

    ZSTD_BLOCK_I_HUFFMAN_BITS = 11, /* 4.2.1 */
    ZSTD_BLOCK_I_WEIGHT_LOG = 6,    /* 4.2.1.2 */
    ZSTD_BLOCK_I_LENGTH_LOG = 9,    /* 3.1.1.3.2.1 */
    ZSTD_BLOCK_I_OFFSET_LOG = 8,
    ZSTD_BLOCK_I_OFFSET_CODES = 29, /* 0 to 28: offsets below 2^29, so that symbols are above */
    ZSTD_BLOCK_I_TOO_FAR = 1 << 29, /* and what the other codes are taken for, plus up to 3 */
    ZSTD_BLOCK_I_LENGTH_EXTRA = 16,
    ZSTD_BLOCK_I_STATE_BITS = 2 * ZSTD_BLOCK_I_LENGTH_LOG + ZSTD_BLOCK_I_OFFSET_LOG,

    /* A sequence in 64 bits: literals: 17 | match - 3: 17 | offset: 30. */
    ZSTD_BLOCK_I_LEAST_MATCH = 3,
    ZSTD_BLOCK_I_MATCH_AT = 17,
    ZSTD_BLOCK_I_OFFSET_AT = 34,
    ZSTD_BLOCK_I_LENGTH_MASK = (1 << 17) - 1,

    /* Symbols for the offsets behind the block before: SYMBOL + (i << 24) - n stands for offset i
       (0, 1, 2) less n. Each sequence takes away 1 at most. */
    ZSTD_BLOCK_I_SYMBOL = 0x30000000,
    ZSTD_BLOCK_I_SYMBOL_SHIFT = 24,
    ZSTD_BLOCK_I_SYMBOL_MOST = (1 << 20) - 1
};
ZSTD_BLOCK_I_ASSERT(lengths_fit, ZSTD_BLOCK_MAX - ZSTD_BLOCK_I_LEAST_MATCH <=
                                     (uint32_t)ZSTD_BLOCK_I_LENGTH_MASK);
ZSTD_BLOCK_I_ASSERT(symbols_keep_apart, ZSTD_BLOCK_SEQUENCES < (uint32_t)ZSTD_BLOCK_I_SYMBOL_MOST);
ZSTD_BLOCK_I_ASSERT(too_far, (int)ZSTD_BLOCK_I_TOO_FAR == 1 << ZSTD_BLOCK_I_OFFSET_CODES);
ZSTD_BLOCK_I_ASSERT(symbols_above, ZSTD_BLOCK_I_SYMBOL - ZSTD_BLOCK_I_SYMBOL_MOST >=
                                       (1 << ZSTD_BLOCK_I_OFFSET_CODES) + 4);
ZSTD_BLOCK_I_ASSERT(symbols_fit, ZSTD_BLOCK_I_SYMBOL + (3 << ZSTD_BLOCK_I_SYMBOL_SHIFT) < 1 << 30);

// ---------------------------------------------------------------------------------- bytes and bits

ZSTD_BLOCK_I_INLINE void zstd_block_i_copy8(uint8_t *to, const uint8_t *from)
{
    uint64_t v;
    memcpy(&v, from, 8);
    memcpy(to, &v, 8);
}

/* Both words are read before either is written; compilers make one 16-byte move of it. */
ZSTD_BLOCK_I_INLINE void zstd_block_i_copy16(uint8_t *to, const uint8_t *from)
{
    struct zstd_block_i_words {
        uint64_t a, b;
    } v;
    memcpy(&v, from, 16);
    memcpy(to, &v, 16);
}

/* The place of the highest 1 of v, which is not 0. */
ZSTD_BLOCK_I_INLINE uint32_t zstd_block_i_highest(uint32_t v)
{
#if defined(__GNUC__) && !defined(__TINYC__)
    return 31 - (uint32_t)__builtin_clz(v);
#else
    uint32_t n = 0;
    while (v >>= 1) n++;
    return n;
#endif
}

/* The place of the lowest 1 of v, which is not 0. */
ZSTD_BLOCK_I_INLINE uint32_t zstd_block_i_lowest(uint64_t v)
{
#if defined(__GNUC__) && !defined(__TINYC__)
    return (uint32_t)__builtin_ctzll(v);
#else
    uint32_t n = 0;
    for (; (v & 255) == 0; v >>= 8) n += 8;
    for (; (v & 1) == 0; v >>= 1) n++;
    return n;
#endif
}

/* n bits of v, of which the lowest is at `at`. Of `at` only the low 6 bits count, of n the low 8,
   so that sums and entries can be passed as they are. */
ZSTD_BLOCK_I_INLINE uint64_t zstd_block_i_bits(int bmi2, uint64_t v, uint64_t at, uint64_t n)
{
    v >>= at & 63;
#if ZSTD_BLOCK_I_X86 && !defined(__clang__)
    if (bmi2) { // gcc 12 makes three instructions of the mask
        __asm__("bzhi\t{%2, %1, %0|%0, %1, %2}" : "=r"(v) : "r"(v), "r"(n) : "cc");
        return v;
    }
#endif
    (void)bmi2;
    return v & (((uint64_t)1 << (n & 63)) - 1);
}

/* *bits: how many bits a stream has that is read from its end, none if it is the byte 1. Returns 0
   if it is damaged: it must have a last byte, and a 1 in it. */
ZSTD_BLOCK_I_INLINE int zstd_block_i_begin_stream(const uint8_t *p, size_t n, size_t *bits)
{
    if (n == 0 || p[n - 1] == 0) return 0;
    *bits = (n - 1) * 8 + zstd_block_i_highest(p[n - 1]);
    return 1;
}

/* Bits of a stream from its end, checked. What is missing below its start is read as zeros, and
   `left` becomes negative. */
typedef struct zstd_block_i_stream {
    const uint8_t *data;
    size_t size;
    int64_t left; /* bits */
} zstd_block_i_stream;

/* The next n <= 32 bits. */
ZSTD_BLOCK_I_INLINE uint32_t zstd_block_i_peek(const zstd_block_i_stream *s, uint32_t n)
{
    uint64_t v = 0;
    int64_t low = s->left - n;
    size_t first, i;
    if (s->left <= 0) return 0;
    first = low > 0 ? (size_t)low >> 3 : 0;
    for (i = 0; i < 5 && first + i < s->size; i++) v |= (uint64_t)s->data[first + i] << (8 * i);
    if (low >= 0) v >>= low & 7;
    else v <<= -low;
    return (uint32_t)(v & (((uint64_t)1 << n) - 1));
}

ZSTD_BLOCK_I_INLINE uint32_t zstd_block_i_take(zstd_block_i_stream *s, uint32_t n)
{
    uint32_t v = zstd_block_i_peek(s, n);
    s->left -= n;
    return v;
}

// ---------------------------------------------------------------------------------- FSE tables

/* Bits of a stream from its start, with zeros behind its end: 25 of them at least. */
ZSTD_BLOCK_I_INLINE uint32_t zstd_block_i_ahead(const uint8_t *p, size_t n, size_t at)
{
    size_t i = at >> 3;
    uint32_t v = 0, k;
    if (i + 4 <= n) v = posio_le32(p + i);
    else
        for (k = 0; i + k < n && k < 4; k++) v |= (uint32_t)p[i + k] << (8 * k);
    return v >> (at & 7);
}

/* The probabilities of symbols 0 to most, from p[0 .. n); the bytes used, 0 if they are damaged.
   *log is the table's. Source: RFC 8878, 4.1.1. */
ZSTD_BLOCK_API size_t zstd_block_i_probabilities(const uint8_t *p, size_t n, uint32_t most,
                                                 uint32_t most_log, int16_t *probability,
                                                 uint32_t *log)
{
    uint32_t symbol = 0, used = 0, bits, v;
    int32_t left, half; /* points not given out, and 1; the greatest power of 2 up to that */
    size_t at = 4;
    if (n == 0) return 0;
    *log = (p[0] & 15u) + 5;
    if (*log > most_log) return 0;
    left = (1 << *log) + 1;
    half = 1 << *log;
    bits = *log + 1;
    memset(probability, 0, (most + 1) * sizeof *probability);
    while (left > 1 && symbol <= most) {
        int32_t short_ones = 2 * half - 1 - left, value; /* values that take one bit less */
        v = zstd_block_i_ahead(p, n, at);
        value = (int32_t)(v & ((uint32_t)half - 1));
        at += bits - 1;
        if (value >= short_ones) {
            value = (int32_t)(v & (2 * (uint32_t)half - 1));
            if (value >= half) value -= short_ones;
            at++;
        }
        value--;
        left -= value < 0 ? 1 : value;
        used += value != 0;
        probability[symbol++] = (int16_t)value;
        while (left < half) {
            half >>= 1;
            bits--;
        }
        if (value != 0) continue;
        do { // so many more symbols do not occur
            v = zstd_block_i_ahead(p, n, at) & 3;
            at += 2;
            symbol += v;
        } while (v == 3 && symbol <= most);
    }
    if (left != 1 || used < 2 || symbol > most + 1 || (at + 7) / 8 > n) return 0;
    return (at + 7) / 8;
}

/* The table of 1 << log entries for these probabilities. Source: RFC 8878, 4.1.1.

   Symbols get places in steps that visit each place once. Naively one goes from place to place and
   asks each whether it is taken by a symbol of probability -1; here, where there is none of those,
   the symbols are first written in a row, eight at a time, and then dealt out four at a time. */
ZSTD_BLOCK_API void zstd_block_i_build(zstd_block_entry *table, uint32_t log,
                                       const int16_t *probability, uint32_t symbols,
                                       const uint32_t *base, const uint8_t *extra)
{
    const uint32_t size = (uint32_t)1 << log, mask = size - 1, step = (size >> 1) + (size >> 3) + 3;
    uint16_t next[64]; /* the number that the next place of a symbol gets */
    uint8_t row[512 + 8], place[512];
    uint32_t top = size, i, at = 0, n = 0;
    for (i = 0; i < symbols; i++) {
        next[i] = (uint16_t)(probability[i] < 0 ? 1 : probability[i]);
        if (probability[i] < 0) place[--top] = (uint8_t)i;
    }
    for (i = 0; i < symbols; i++) {
        const uint64_t word = i * (uint64_t)0x0101010101010101u;
        const int32_t count = probability[i];
        uint32_t k;
        if (count <= 0) continue;
        for (k = 0; k < (uint32_t)count; k += 8) memcpy(row + n + k, &word, 8);
        n += (uint32_t)count;
    }
    if (top == size) {
        for (i = 0; i < size; i += 4) {
            place[at] = row[i];
            place[(at + step) & mask] = row[i + 1];
            place[(at + 2 * step) & mask] = row[i + 2];
            place[(at + 3 * step) & mask] = row[i + 3];
            at = (at + 4 * step) & mask;
        }
    } else {
        for (i = 0; i < n; i++) {
            place[at] = row[i];
            do at = (at + step) & mask;
            while (at >= top);
        }
    }
    for (i = 0; i < size; i++) {
        uint32_t symbol = place[i], number = next[symbol]++;
        uint32_t bits = log - zstd_block_i_highest(number);
        table[i].state = extra[symbol] | bits << 8 | ((number << bits) - size) << 16;
        table[i].base = base[symbol];
    }
}

/* What the codes of the three tables stand for. Source: RFC 8878, 3.1.1.3.2.1.1. Offset codes 0 and
   1 have the numbers 0 to 2 of a repeated offset; others the offset itself, that is, value - 3.
   Lengths of matches are less 3, so that 17 bits suffice. */
typedef struct zstd_block_i_alphabet {
    uint32_t symbols, most_log, predefined_log;
    uint32_t base[53];
    uint8_t extra[53];
    int8_t predefined[53]; /* 3.1.1.3.2.2 */
} zstd_block_i_alphabet;

ZSTD_BLOCK_API const zstd_block_i_alphabet *zstd_block_i_alphabet_of(uint32_t table)
{
    static const zstd_block_i_alphabet all[3] = {
        {36,
         ZSTD_BLOCK_I_LENGTH_LOG,
         6,
         {0,  1,  2,   3,   4,   5,    6,    7,    8,    9,     10,    11,
          12, 13, 14,  15,  16,  18,   20,   22,   24,   28,    32,    40,
          48, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536},
         {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  0,  0,  0,  0,  1,  1,
          1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
         {4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1,  1,  2,  2,
          2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1}},
        {32, // those from 29 on may be named; to use one is TOO_FAR
         ZSTD_BLOCK_I_OFFSET_LOG,
         5,
         {0,        1,        1,        5,         13,        29,      61,      125,
          253,      509,      1021,     2045,      4093,      8189,    16381,   32765,
          65533,    131069,   262141,   524285,    1048573,   2097149, 4194301, 8388605,
          16777213, 33554429, 67108861, 134217725, 268435453, 1 << 29, 1 << 29, 1 << 29},
         {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
          16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 2,  2,  2},
         {1, 1, 1, 1, 1, 1, 2, 2, 2, 1,  1,  1,  1,  1, 1,
          1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1}},
        {53,
         ZSTD_BLOCK_I_LENGTH_LOG,
         6,
         {0,  1,  2,  3,  4,  5,  6,  7,   8,   9,   10,   11,   12,   13,   14,    15,    16,   17,
          18, 19, 20, 21, 22, 23, 24, 25,  26,  27,  28,   29,   30,   31,   32,    34,    36,   38,
          40, 44, 48, 56, 64, 80, 96, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536},
         {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  0,  0,  0,  0,  0,  0, 0,
          0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
         {1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,  1,  1,  1,  1,  1,  1, 1,
          1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1}}};
    return &all[table];
}

/* Makes a decoder ready; once, before its first use, and when numbers of blocks are used anew.
   Threads: one per handle. Allocates: no. Blocks: no. */
ZSTD_BLOCK_API void zstd_block_begin(zstd_block *d)
{
    uint32_t k, i;
    for (k = 0; k < 3; k++) {
        const zstd_block_i_alphabet *a = zstd_block_i_alphabet_of(k);
        int16_t probability[53];
        for (i = 0; i < a->symbols; i++) probability[i] = a->predefined[i];
        zstd_block_i_build(d->predefined[k], a->predefined_log, probability, a->symbols, a->base,
                           a->extra);
        d->number_of[k] = 0;
        d->logs[k] = 0;
    }
    d->number_of_tree = 0;
    d->cpu = posio_cpu();
}

// ---------------------------------------------------------------------------------- headers

/* The header of the literals. Source: RFC 8878, 3.1.1.3.1.1. */
ZSTD_BLOCK_I_INLINE int zstd_block_i_look_at_literals(const uint8_t *p, size_t n,
                                                      zstd_block_head *h)
{
    static const uint8_t lengths[4] = {1, 2, 1, 3};
    const uint32_t format = p[0] >> 2 & 3;
    uint64_t v;
    h->kind = p[0] & 3;
    h->streams = 1;
    if (h->kind < ZSTD_BLOCK_I_TREE) {
        h->at = lengths[format];
        v = (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16;
        h->literals = (uint32_t)(h->at == 1   ? (v & 255) >> 3
                                 : h->at == 2 ? (v & 65535) >> 4
                                              : v >> 4);
        h->stored = h->kind == ZSTD_BLOCK_I_RAW ? h->literals : 1;
    } else {
        uint32_t bits = format < 2 ? 10 : format == 2 ? 14 : 18;
        if (n < 5) return 0;
        v = (uint64_t)posio_le32(p) | (uint64_t)p[4] << 32;
        h->at = format < 2 ? 3 : format + 2;
        h->literals = (uint32_t)(v >> 4) & (((uint32_t)1 << bits) - 1);
        h->stored = (uint32_t)(v >> (4 + bits)) & (((uint32_t)1 << bits) - 1);
        if (format != 0) h->streams = 4;
        if (h->literals == 0 || h->stored == 0) return 0;
        if (h->streams == 4 && h->literals < 6) return 0; // 5: less than none for the last
    }
    return h->stored <= n - h->at;
}

/* Reads the headers within the block p[0 .. n), which may decode to `most` bytes: the window, or
   ZSTD_BLOCK_MAX where that is less. Source: RFC 8878, 3.1.1.3.1.1, 3.1.1.3.2.1.
   Threads: any. Allocates: no. Blocks: no. */
ZSTD_BLOCK_API int zstd_block_look(const uint8_t *p, size_t n, size_t most, zstd_block_head *h)
{
    size_t at;
    uint32_t k;
    memset(h, 0, sizeof *h);
    if (n < 3 || n >= ZSTD_BLOCK_MAX) return 0;
    if (!zstd_block_i_look_at_literals(p, n, h) || h->literals > most) return 0;
    at = h->at + (size_t)h->stored;
    if (at == n) return 0;
    h->sequences = p[at++];
    h->tables = (uint32_t)at;
    if (h->sequences == 0) return at == n; // else longer forms of 0, which not all decoders take
    if (h->sequences >= 128) {
        size_t more = h->sequences == 255 ? 2 : 1;
        if (n - at < more) return 0;
        h->sequences =
            more == 2 ? posio_le16(p + at) + (uint32_t)0x7f00 : (h->sequences - 128) << 8 | p[at];
        at += more;
    }
    if (h->sequences == 0 || h->sequences >= ZSTD_BLOCK_SEQUENCES || at == n || (p[at] & 3) != 0)
        return 0;
    for (k = 0; k < 3; k++) h->modes[k] = p[at] >> (6 - 2 * k) & 3;
    h->tables = (uint32_t)at + 1;
    return 1;
}

/* The names for the first block of a frame. Threads: any. Allocates: no. Blocks: no. */
ZSTD_BLOCK_API void zstd_block_begin_frame(zstd_block_names *names)
{
    memset(names, 0, sizeof *names);
}

/* Goes from the names of the block before to those of the block p[0 .. n), whose number is that:
   once for each block of a frame, in order. Blocks that are named must stay in memory as long as
   others need their tables. 0: it needs a table that no block defines.
   Source: RFC 8878, 3.1.1.3. Threads: any. Allocates: no. Blocks: no. */
ZSTD_BLOCK_API int zstd_block_name(zstd_block_names *names, const uint8_t *p, size_t n,
                                   uint64_t number, const zstd_block_head *h)
{
    zstd_block_definer own;
    uint32_t k;
    own.data = p;
    own.size = (uint32_t)n;
    own.reserved = 0;
    own.number = number;
    if (h->kind == ZSTD_BLOCK_I_TREE) names->tree = own;
    if (h->kind == ZSTD_BLOCK_I_TREELESS && names->tree.number == 0) return 0;
    for (k = 0; k < 3 && h->sequences != 0; k++) {
        if (h->modes[k] != ZSTD_BLOCK_I_REPEAT) names->tables[k] = own;
        else if (names->tables[k].number == 0) return 0;
    }
    return 1;
}

// ---------------------------------------------------------------------------------- Huffman trees

/* Weights coded by FSE, from p[0 .. n); their number, 0 if they are damaged. Two states take turns.
   The end is where a state would need more bits than there are: then the other has one weight more.
   Source: RFC 8878, 4.2.1.2. */
ZSTD_BLOCK_API uint32_t zstd_block_i_coded_weights(const uint8_t *p, size_t n, uint8_t *weights)
{
    static const uint32_t base[13] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    static const uint8_t extra[13] = {0};
    zstd_block_entry table[1 << ZSTD_BLOCK_I_WEIGHT_LOG];
    int16_t probability[13];
    zstd_block_i_stream s;
    uint32_t log, state[2], count = 0;
    size_t used = zstd_block_i_probabilities(p, n, 12, ZSTD_BLOCK_I_WEIGHT_LOG, probability, &log);
    size_t bits;
    if (used == 0 || !zstd_block_i_begin_stream(p + used, n - used, &bits)) return 0;
    zstd_block_i_build(table, log, probability, 13, base, extra);
    s.data = p + used;
    s.size = n - used;
    s.left = (int64_t)bits;
    state[0] = zstd_block_i_take(&s, log);
    state[1] = zstd_block_i_take(&s, log);
    if (s.left < 0) return 0;
    for (;;) {
        const zstd_block_entry *e = &table[state[count & 1]];
        if (count + 2 > 255) return 0;
        weights[count] = (uint8_t)e->base;
        state[count & 1] = (e->state >> 16) + zstd_block_i_take(&s, e->state >> 8 & 255);
        count++;
        if (s.left < 0) break;
    }
    weights[count] = (uint8_t)table[state[count & 1]].base;
    return count + 1;
}

/* Weights from the tree at p[0 .. n); *used: its bytes. */
ZSTD_BLOCK_I_INLINE uint32_t zstd_block_i_weights(const uint8_t *p, size_t n, uint8_t *weights,
                                                  size_t *used)
{
    uint32_t count, i;
    if (n == 0) return 0;
    if (p[0] < 128) {
        *used = (size_t)p[0] + 1;
        return *used <= n ? zstd_block_i_coded_weights(p + 1, p[0], weights) : 0;
    }
    count = p[0] - 127u;
    *used = 1 + (count + 1) / 2;
    if (*used > n) return 0;
    for (i = 0; i < count; i++) weights[i] = i & 1 ? p[1 + i / 2] & 15 : p[1 + i / 2] >> 4;
    return count;
}

/* The entry of the Huffman table for 11 bits:

       31..24           23..16        15..8         7..0
     +----------------+-------------+-------------+----------------+
     | symbols (1, 2) | symbol 2    | symbol 1    | bits used      |
     +----------------+-------------+-------------+----------------+

   so that the entry of a pair is the sum of that of one symbol and of what another adds.

   Codes ascend from the longest on (4.2.1.3), so those of one length stand together in the table,
   the longest in front, and a code of l bits has 2^(11 - l) entries. Behind those l bits the next
   code may follow: for the entry r of them, the one at r << l of the table of single symbols, if
   it has no more than 11 - l bits, which is so from some r on. So for each l there is one array of
   what to add, which all codes of l bits share: d->pairs at 2^(11 - l), of as many entries, zeros
   where nothing fits. Naively each entry is looked up and asked. */
ZSTD_BLOCK_API void zstd_block_i_fill(zstd_block *d, const uint8_t *symbols, const uint32_t *first)
{
    const uint32_t bits = ZSTD_BLOCK_I_HUFFMAN_BITS;
    uint32_t *add = d->pairs, l, i, r, at = 0;
    for (l = bits; l >= 1; l--) { /* by code length, the longest first */
        uint32_t run = (uint32_t)1 << (bits - l);
        for (i = first[l]; i < first[l - 1]; i++, at += run) {
            uint32_t e = l | (uint32_t)symbols[i] << 8 | (uint32_t)1 << 24;
            for (r = 0; r < run; r++) d->huffman[at + r] = e;
        }
    }
    /* Every second entry, as something to add, is the array for l = 1; every second one of that is
       the array for l = 2, and so on. */
    for (r = 0; r < 1024; r++) {
        uint32_t e = d->huffman[2 * r];
        add[1024 + r] = (e & 0xff0000ffu) | (e & 0xff00) << 8;
    }
    for (l = 2; l <= bits; l++) {
        uint32_t n = (uint32_t)1 << (bits - l);
        for (r = 0; r < n; r++) add[n + r] = add[2 * n + 2 * r];
    }
    for (l = 1; l <= bits; l++) { /* what does not fit behind l bits */
        uint32_t n = (uint32_t)1 << (bits - l);
        for (r = 0; r < n && (add[n + r] & 255) > bits - l; r++) add[n + r] = 0;
    }
    for (l = 1; l <= bits; l++) {
        uint32_t n = (uint32_t)1 << (bits - l), *t = d->huffman;
        uint32_t count = first[l - 1] - first[l];
        if (count == 0 || add[2 * n - 1] == 0) continue;
        for (i = bits; i > l; i--) t += (first[i - 1] - first[i]) << (bits - i);
        for (i = 0; i < count; i++, t += n)
            for (r = 0; r < n; r++) t[r] += add[n + r];
    }
}

/* Reads the tree at p[0 .. n) and builds the table; the bytes used, 0 if it is damaged.
   Source: RFC 8878, 4.2.1. */
ZSTD_BLOCK_API size_t zstd_block_i_tree(zstd_block *d, const uint8_t *p, size_t n)
{
    uint8_t weights[256], symbols[256];
    uint32_t count[16], first[16], next[16];
    uint32_t number, i, total = 0, longest, rest;
    size_t used = 0;
    d->number_of_tree = 0;
    number = zstd_block_i_weights(p, n, weights, &used);
    if (number == 0) return 0;
    memset(count, 0, sizeof count);
    for (i = 0; i < number; i++) {
        count[weights[i]]++;
        total += ((uint32_t)1 << weights[i]) >> 1;
    }
    if (total == 0) return 0;
    longest = zstd_block_i_highest(total) + 1;
    if (longest > ZSTD_BLOCK_I_HUFFMAN_BITS) return 0;
    rest = ((uint32_t)1 << longest) - total;
    if ((rest & (rest - 1)) != 0) return 0; // what is left must be a single code
    weights[number] = (uint8_t)(zstd_block_i_highest(rest) + 1);
    count[weights[number]]++;
    number++;
    if (count[1] < 2) return 0; // the total being even, the longest codes are 2 or more
    memset(d->code_bits, 0, sizeof d->code_bits);
    /* first[l]: in symbols, sorted by weight, those of code length l begin; first[l - 1] is their
       end. */
    memset(first, 0, sizeof first);
    for (i = 0; i < longest; i++) first[longest - i - 1] = first[longest - i] + count[i + 1];
    memcpy(next, first, sizeof next);
    for (i = 0; i < number; i++) {
        uint32_t l = longest + 1 - weights[i];
        if (weights[i] == 0) continue;
        d->code_bits[i] = (uint8_t)l;
        symbols[next[l]++] = (uint8_t)i;
    }
    zstd_block_i_fill(d, symbols, first);
    return used;
}

// ---------------------------------------------------------------------------------- literals

/* A Huffman stream under way. */
typedef struct zstd_block_i_huffman {
    const uint8_t *begin, *in; /* in: where `bits` was loaded from */
    uint64_t bits;             /* the next bits highest, a 1 behind the last */
    uint8_t *out, *end;
    size_t left; /* bits, before and after the fast loop */
    size_t size;
} zstd_block_i_huffman;

enum {
    ZSTD_BLOCK_I_LOOK_UPS = 5,                         /* of a stream in a turn of the fast loop */
    ZSTD_BLOCK_I_TURN_OUT = 2 * ZSTD_BLOCK_I_LOOK_UPS, /* bytes that it may write, */
    ZSTD_BLOCK_I_TURN_IN = 7                           /* and by which `in` may move */
};
/* A load has 64 bits, one of which the end mark takes; up to 8 are used before the first turn and
   up to 7 before others; a turn uses at most 5 codes. The mark stays within the word. */
ZSTD_BLOCK_I_ASSERT(bits_of_turn, 8 + (int)ZSTD_BLOCK_I_LOOK_UPS * ZSTD_BLOCK_I_HUFFMAN_BITS <= 63);
ZSTD_BLOCK_I_ASSERT(in_of_turn, 63 / 8 <= ZSTD_BLOCK_I_TURN_IN);

ZSTD_BLOCK_I_INLINE int zstd_block_i_begin_huffman(zstd_block_i_huffman *s, const uint8_t *p,
                                                   size_t n, uint8_t *out, size_t count)
{
    s->begin = p;
    s->size = n;
    s->out = out;
    s->end = out + count;
    return zstd_block_i_begin_stream(p, n, &s->left);
}

/* Turns that all streams have input and output for. */
ZSTD_BLOCK_I_INLINE size_t zstd_block_i_turns(const zstd_block_i_huffman *s, uint32_t streams)
{
    size_t turns = SIZE_MAX;
    uint32_t i;
    for (i = 0; i < streams; i++) {
        size_t in = (size_t)(s[i].in - s[i].begin) / ZSTD_BLOCK_I_TURN_IN;
        size_t out = (size_t)(s[i].end - s[i].out) / ZSTD_BLOCK_I_TURN_OUT;
        if (in < turns) turns = in;
        if (out < turns) turns = out;
    }
    return turns;
}

/* One look-up of stream k. Two bytes are always stored, and `out` moves on by the true number. */
#define ZSTD_BLOCK_I_SYMBOLS(k)                                          \
    do {                                                                 \
        uint32_t e = table[bits##k >> (64 - ZSTD_BLOCK_I_HUFFMAN_BITS)]; \
        bits##k <<= e & 63;                                              \
        posio_put_le16(out##k, e >> 8);                                  \
        out##k += e >> 24;                                               \
    } while (0)

/* The 1 behind the last bit tells how many were used. */
#define ZSTD_BLOCK_I_RELOAD(k)                           \
    do {                                                 \
        uint32_t used = zstd_block_i_lowest(bits##k);    \
        in##k -= used >> 3;                              \
        bits##k = (posio_le64(in##k) | 1) << (used & 7); \
    } while (0)

/* Four streams in turn, so that each look-up has time while the others are done. */
ZSTD_BLOCK_I_INLINE void zstd_block_i_four_body(const uint32_t *table, zstd_block_i_huffman *s,
                                                size_t turns)
{
    const uint8_t *in0 = s[0].in, *in1 = s[1].in, *in2 = s[2].in, *in3 = s[3].in;
    uint8_t *out0 = s[0].out, *out1 = s[1].out, *out2 = s[2].out, *out3 = s[3].out;
    uint64_t bits0 = s[0].bits, bits1 = s[1].bits, bits2 = s[2].bits, bits3 = s[3].bits;
#define ZSTD_BLOCK_I_FOUR()      \
    do {                         \
        ZSTD_BLOCK_I_SYMBOLS(0); \
        ZSTD_BLOCK_I_SYMBOLS(1); \
        ZSTD_BLOCK_I_SYMBOLS(2); \
        ZSTD_BLOCK_I_SYMBOLS(3); \
    } while (0)
    do {
        ZSTD_BLOCK_I_FOUR();
        ZSTD_BLOCK_I_FOUR();
        ZSTD_BLOCK_I_FOUR();
        ZSTD_BLOCK_I_FOUR();
        ZSTD_BLOCK_I_FOUR();
        ZSTD_BLOCK_I_RELOAD(0);
        ZSTD_BLOCK_I_RELOAD(1);
        ZSTD_BLOCK_I_RELOAD(2);
        ZSTD_BLOCK_I_RELOAD(3);
    } while (--turns != 0);
#undef ZSTD_BLOCK_I_FOUR
    s[0].in = in0, s[1].in = in1, s[2].in = in2, s[3].in = in3;
    s[0].out = out0, s[1].out = out1, s[2].out = out2, s[3].out = out3;
    s[0].bits = bits0, s[1].bits = bits1, s[2].bits = bits2, s[3].bits = bits3;
}

ZSTD_BLOCK_I_INLINE void zstd_block_i_one_body(const uint32_t *table, zstd_block_i_huffman *s,
                                               size_t turns)
{
    const uint8_t *in0 = s->in;
    uint8_t *out0 = s->out;
    uint64_t bits0 = s->bits;
    do {
        ZSTD_BLOCK_I_SYMBOLS(0);
        ZSTD_BLOCK_I_SYMBOLS(0);
        ZSTD_BLOCK_I_SYMBOLS(0);
        ZSTD_BLOCK_I_SYMBOLS(0);
        ZSTD_BLOCK_I_SYMBOLS(0);
        ZSTD_BLOCK_I_RELOAD(0);
    } while (--turns != 0);
    s->in = in0;
    s->out = out0;
    s->bits = bits0;
}

#if ZSTD_BLOCK_I_X86
__attribute__((target("bmi2"), unused)) static void zstd_block_i_four_bmi2(const uint32_t *table,
                                                                           zstd_block_i_huffman *s,
                                                                           size_t turns)
{
    zstd_block_i_four_body(table, s, turns);
}

__attribute__((target("bmi2"), unused)) static void zstd_block_i_one_bmi2(const uint32_t *table,
                                                                          zstd_block_i_huffman *s,
                                                                          size_t turns)
{
    zstd_block_i_one_body(table, s, turns);
}
#endif

ZSTD_BLOCK_API void zstd_block_i_four(const zstd_block *d, zstd_block_i_huffman *s, size_t turns)
{
#if ZSTD_BLOCK_I_X86
    if (d->cpu & POSIO_CPU_BMI2) zstd_block_i_four_bmi2(d->huffman, s, turns);
    else
#endif
        zstd_block_i_four_body(d->huffman, s, turns);
}

ZSTD_BLOCK_API void zstd_block_i_one(const zstd_block *d, zstd_block_i_huffman *s, size_t turns)
{
#if ZSTD_BLOCK_I_X86
    if (d->cpu & POSIO_CPU_BMI2) zstd_block_i_one_bmi2(d->huffman, s, turns);
    else
#endif
        zstd_block_i_one_body(d->huffman, s, turns);
}

/* The rest of a stream, one symbol at a time. The stream must be used to its last bit. */
ZSTD_BLOCK_API int zstd_block_i_finish(const zstd_block *d, zstd_block_i_huffman *s)
{
    const uint32_t bits = ZSTD_BLOCK_I_HUFFMAN_BITS;
    const uint8_t *begin = s->begin;
    uint8_t few[8];
    size_t left = s->left;
    if (s->size < 8) {
        memset(few, 0, sizeof few);
        memcpy(few, begin, s->size);
        begin = few;
    }
    for (; s->out != s->end; s->out++) {
        uint64_t v;
        uint32_t have, used;
        if (left >= 56) {
            v = posio_le64(begin + (left >> 3) - 7);
            have = 56 + (left & 7);
        } else {
            v = posio_le64(begin);
            have = (uint32_t)left;
        }
        v = have >= bits ? v >> (have - bits) : v << (bits - have);
        *s->out = (uint8_t)(d->huffman[v & ((1 << ZSTD_BLOCK_I_HUFFMAN_BITS) - 1)] >> 8);
        used = d->code_bits[*s->out];
        if (used > left) return 0;
        left -= used;
    }
    return left == 0;
}

/* Decodes 1 or 4 streams. Source: RFC 8878, 3.1.1.3.1.6, 4.2.2. */
ZSTD_BLOCK_API int zstd_block_i_streams(const zstd_block *d, zstd_block_i_huffman *s,
                                        uint32_t streams)
{
    size_t turns;
    uint32_t i;
    for (i = 0; i < streams; i++)
        if (s[i].size < 8) break;
    if (i == streams) {
        for (i = 0; i < streams; i++) {
            s[i].in = s[i].begin + s[i].size - 8;
            s[i].bits = (posio_le64(s[i].in) | 1) << (s[i].size * 8 - s[i].left);
        }
        // Streams of as many symbols need more or fewer look-ups: what one has left when another is
        // near its end it goes on with alone.
        while (streams == 4 && (turns = zstd_block_i_turns(s, 4)) != 0)
            zstd_block_i_four(d, s, turns);
        for (i = 0; i < streams; i++) {
            while ((turns = zstd_block_i_turns(&s[i], 1)) != 0) zstd_block_i_one(d, &s[i], turns);
            s[i].left = (size_t)(s[i].in - s[i].begin) * 8 + 64 - zstd_block_i_lowest(s[i].bits);
        }
    }
    for (i = 0; i < streams; i++)
        if (!zstd_block_i_finish(d, &s[i])) return 0;
    return 1;
}

/* Huffman literals from the block p, `at` being where the streams begin, behind the tree. */
ZSTD_BLOCK_I_INLINE int zstd_block_i_huffman_literals(const zstd_block *d, const uint8_t *p,
                                                      const zstd_block_head *h, size_t at,
                                                      uint8_t *out)
{
    zstd_block_i_huffman s[4];
    size_t n = h->at + (size_t)h->stored - at, quarter = (h->literals + (size_t)3) / 4, last, i;
    p += at;
    if (h->streams == 1)
        return zstd_block_i_begin_huffman(s, p, n, out, h->literals) &&
               zstd_block_i_streams(d, s, 1);
    if (n < 10) return 0;
    last = n - 6; // bytes; of 6 or 9 literals it has none, and is the byte 1
    for (i = 0; i < 3; i++) {
        size_t size = posio_le16(p + 2 * i);
        if (size >= last) return 0;
        last -= size;
    }
    for (i = 0; i < 4; i++) {
        size_t size = i < 3 ? posio_le16(p + 2 * i) : last;
        const uint8_t *from = p + 6;
        size_t k;
        for (k = 0; k < i; k++) from += posio_le16(p + 2 * k);
        if (!zstd_block_i_begin_huffman(&s[i], from, size, out + i * quarter,
                                        i < 3 ? quarter : h->literals - 3 * quarter))
            return 0;
    }
    return zstd_block_i_streams(d, s, 4);
}

/* The literals of a block; *literals: where they are, in `out` or in the block, with slack behind
   them that may be read: what is copied along must not be what the caller's memory had before. */
ZSTD_BLOCK_API int zstd_block_i_literals(zstd_block *d, const uint8_t *p, size_t n,
                                         const zstd_block_head *h, const zstd_block_definer *tree,
                                         uint8_t *out, const uint8_t **literals)
{
    size_t at = h->at;
    *literals = out;
    if (h->kind == ZSTD_BLOCK_I_RAW) {
        if (n - at - h->stored >= ZSTD_BLOCK_SLACK) {
            *literals = p + at;
            return 1;
        }
        memcpy(out, p + at, h->literals);
    }
    memset(out + h->literals, 0, ZSTD_BLOCK_SLACK);
    if (h->kind == ZSTD_BLOCK_I_RAW) return 1;
    if (h->kind == ZSTD_BLOCK_I_RLE) {
        memset(out, p[at], h->literals);
        return 1;
    }
    if (h->kind == ZSTD_BLOCK_I_TREE) {
        size_t used = zstd_block_i_tree(d, p + at, h->stored);
        if (used == 0) return 0;
        at += used;
        d->number_of_tree = tree->number;
    } else if (d->number_of_tree != tree->number) {
        zstd_block_head of;
        if (!zstd_block_look(tree->data, tree->size, ZSTD_BLOCK_MAX, &of) ||
            zstd_block_i_tree(d, tree->data + of.at, of.stored) == 0)
            return 0;
        d->number_of_tree = tree->number;
    }
    return zstd_block_i_huffman_literals(d, p, h, at, out);
}

// ---------------------------------------------------------------------------------- table sets

/* Reads the tables in the block of `own`, up to `until` (2: all), and builds those in `wanted`, a
   mask. Returns where what follows begins, 0 if they are damaged.
   Source: RFC 8878, 3.1.1.3.2.1. */
ZSTD_BLOCK_API size_t zstd_block_i_read_tables(zstd_block *d, const zstd_block_definer *own,
                                               const zstd_block_head *h, uint32_t until,
                                               uint32_t wanted)
{
    const uint8_t *p = own->data;
    size_t at = h->tables;
    uint32_t k;
    for (k = 0; k <= until; k++) {
        const zstd_block_i_alphabet *a = zstd_block_i_alphabet_of(k);
        int16_t probability[53];
        uint32_t log = 0, build = wanted >> k & 1;
        if (build) d->number_of[k] = 0;
        if (h->modes[k] == ZSTD_BLOCK_I_RLE) {
            if (at == own->size || p[at] >= a->symbols) return 0;
            if (build) {
                d->tables[k][0].state = a->extra[p[at]];
                d->tables[k][0].base = a->base[p[at]];
            }
            at++;
        } else if (h->modes[k] == ZSTD_BLOCK_I_FSE) {
            size_t used = zstd_block_i_probabilities(p + at, own->size - at, a->symbols - 1,
                                                     a->most_log, probability, &log);
            if (used == 0) return 0;
            at += used;
            if (build)
                zstd_block_i_build(d->tables[k], log, probability, a->symbols, a->base, a->extra);
        }
        if (build) {
            d->logs[k] = log;
            d->number_of[k] = own->number;
        }
    }
    return at;
}

/* All tables of a block into d->tables; returns where its bit stream begins, 0 if something is
   damaged. */
ZSTD_BLOCK_API size_t zstd_block_i_tables_of(zstd_block *d, const zstd_block_definer *own,
                                             const zstd_block_head *h,
                                             const zstd_block_names *names)
{
    uint32_t wanted = 0, mode, k;
    size_t at;
    for (k = 0; k < 3; k++)
        if (h->modes[k] == ZSTD_BLOCK_I_RLE || h->modes[k] == ZSTD_BLOCK_I_FSE) wanted |= 1u << k;
    at = zstd_block_i_read_tables(d, own, h, 2, wanted);
    for (k = 0; k < 3 && at != 0; k++) {
        const zstd_block_definer *of = &names->tables[k];
        zstd_block_head head;
        mode = h->modes[k];
        if (mode == ZSTD_BLOCK_I_REPEAT) {
            if (!zstd_block_look(of->data, of->size, ZSTD_BLOCK_MAX, &head)) return 0;
            mode = head.modes[k];
            if (mode != ZSTD_BLOCK_I_PREDEFINED && d->number_of[k] != of->number &&
                zstd_block_i_read_tables(d, of, &head, k, 1u << k) == 0)
                return 0;
        }
        if (mode == ZSTD_BLOCK_I_PREDEFINED && d->number_of[k] != ZSTD_BLOCK_I_NUMBER) {
            memcpy(d->tables[k], d->predefined[k], sizeof d->predefined[k]);
            d->logs[k] = zstd_block_i_alphabet_of(k)->predefined_log;
            d->number_of[k] = ZSTD_BLOCK_I_NUMBER;
        }
    }
    return at;
}

// ---------------------------------------------------------------------------------- sequences

/* The bit stream of sequences, and what they come to. */
typedef struct zstd_block_i_run {
    const uint8_t *begin;
    size_t size;
    size_t left; /* bits */
    uint32_t state[3];
    uint64_t literals, matches; /* sums */
    uint32_t repeats[3];
    uint32_t reach, symbols;
    uint32_t done; /* sequences */
} zstd_block_i_run;

enum {
    /* Bits that a load surely has; extra bits which leave enough of them for the next states. */
    ZSTD_BLOCK_I_LOAD_BITS = 56,
    ZSTD_BLOCK_I_EXTRA_BITS = ZSTD_BLOCK_I_LOAD_BITS - ZSTD_BLOCK_I_STATE_BITS,
    ZSTD_BLOCK_I_OFFSET_EXTRA = ZSTD_BLOCK_I_OFFSET_CODES - 1,
    /* Bits that there must be for a turn of the fast loop: the second load may come behind so many
       extra bits. */
    ZSTD_BLOCK_I_FAST_BITS =
        ZSTD_BLOCK_I_LOAD_BITS + ZSTD_BLOCK_I_OFFSET_EXTRA + ZSTD_BLOCK_I_LENGTH_EXTRA,
    /* Bits a sequence may take in all. */
    ZSTD_BLOCK_I_SEQUENCE_BITS =
        ZSTD_BLOCK_I_OFFSET_EXTRA + 2 * ZSTD_BLOCK_I_LENGTH_EXTRA + ZSTD_BLOCK_I_STATE_BITS
};
/* With many extra bits the stream is loaded again before those of the literals' length. */
ZSTD_BLOCK_I_ASSERT(bits_before_lengths,
                    (int)ZSTD_BLOCK_I_OFFSET_EXTRA + ZSTD_BLOCK_I_LENGTH_EXTRA <=
                        ZSTD_BLOCK_I_LOAD_BITS);
ZSTD_BLOCK_I_ASSERT(bits_behind,
                    ZSTD_BLOCK_I_LENGTH_EXTRA + ZSTD_BLOCK_I_STATE_BITS <= ZSTD_BLOCK_I_LOAD_BITS);
ZSTD_BLOCK_I_ASSERT(bits_of_sequence, (int)ZSTD_BLOCK_I_SEQUENCE_BITS <= ZSTD_BLOCK_I_FAST_BITS);
/* Sums of the low bytes of three entries stay in their bytes. */
ZSTD_BLOCK_I_ASSERT(sums_fit, ZSTD_BLOCK_I_SEQUENCE_BITS < 256);

/* An offset, which the entry's `extra` bits tell to be new or repeated, and the new order of the
   recent ones. Source: RFC 8878, 3.1.1.5. */
#define ZSTD_BLOCK_I_OFFSET(extra, behind, bad)                                       \
    do {                                                                              \
        if (ZSTD_BLOCK_I_LIKELY((uint8_t)(extra) > 1)) {                              \
            reach |= offset;                                                          \
            r2 = r1;                                                                  \
            r1 = r0;                                                                  \
            r0 = offset;                                                              \
        } else {                                                                      \
            offset += literals == 0;                                                  \
            if (offset != 0) {                                                        \
                uint32_t which = offset;                                              \
                offset = which == 1 ? r1 : which == 2 ? r2 : r0 - 1;                  \
                if (which != 1) r2 = r1;                                              \
                r1 = r0;                                                              \
                r0 = offset;                                                          \
                if (offset == 0) { bad; }                                             \
            }                                                                         \
            offset = r0;                                                              \
            if (offset >= (uint32_t)(ZSTD_BLOCK_I_SYMBOL - ZSTD_BLOCK_I_SYMBOL_MOST)) \
                symbols = (behind);                                                   \
        }                                                                             \
    } while (0)

/* The fast loop: as long as a sequence cannot reach the begin of the stream, and there is another
   behind it. `left` bits are unread; 8 bytes are loaded so that the next bit is in the highest one,
   at (left | 56) - 1. Fields are taken from there by their places: each depends on the sum of bits
   before it, but not on the fields. Entries are added as they are: the low bytes are the extra
   bits, the bytes above them the bits to the next state.
   Tried without success: repeated offsets without branches, by conditional moves or by a shuffle of
   a vector. Tables with a pointer of their own for each kind are 5 to 8 % slower: registers. */
ZSTD_BLOCK_I_INLINE int zstd_block_i_fast_body(const zstd_block *d, zstd_block_i_run *run,
                                               uint32_t count, uint64_t *sequences, int bmi2)
{
    const uint64_t *const first = sequences, *const last = sequences + (count - 1);
    const uint8_t *begin = run->begin;
    size_t left = run->left;
    uint32_t length_state = run->state[0], offset_state = run->state[1],
             match_state = run->state[2];
    uint64_t literal_sum = 0, match_sum = 0;
    uint32_t r0 = run->repeats[0], r1 = run->repeats[1], r2 = run->repeats[2];
    uint32_t reach = 0, symbols = 0;
    for (; sequences != last && left >= ZSTD_BLOCK_I_FAST_BITS; sequences++) {
        const zstd_block_entry *eo = &d->tables[ZSTD_BLOCK_I_OFFSETS][offset_state];
        const zstd_block_entry *em = &d->tables[ZSTD_BLOCK_I_MATCHES][match_state];
        const zstd_block_entry *el = &d->tables[ZSTD_BLOCK_I_LENGTHS][length_state];
        const uint64_t o = eo->state, m = em->state, l = el->state, sum = o + m + l;
        uint64_t v = posio_le64(begin + (left >> 3) - 7), at = left | 56;
        uint32_t offset, match, literals;
        at -= o;
        offset = eo->base + (uint32_t)zstd_block_i_bits(bmi2, v, at, o);
        at -= m;
        match = em->base + (uint32_t)zstd_block_i_bits(bmi2, v, at, m);
        left -= sum & 255;
        if (ZSTD_BLOCK_I_UNLIKELY((sum & 255) > ZSTD_BLOCK_I_EXTRA_BITS)) {
            left += l & 255;
            v = posio_le64(begin + (left >> 3) - 7);
            at = left | 56;
            left -= l & 255;
        }
        at -= l;
        literals = el->base + (uint32_t)zstd_block_i_bits(bmi2, v, at, l);
        at -= l >> 8;
        length_state = (uint32_t)(l >> 16) + (uint32_t)zstd_block_i_bits(bmi2, v, at, l >> 8);
        at -= m >> 8;
        match_state = (uint32_t)(m >> 16) + (uint32_t)zstd_block_i_bits(bmi2, v, at, m >> 8);
        at -= o >> 8;
        offset_state = (uint32_t)(o >> 16) + (uint32_t)zstd_block_i_bits(bmi2, v, at, o >> 8);
        left -= sum >> 8 & 255;
        literal_sum += literals;
        match_sum += match;
        ZSTD_BLOCK_I_OFFSET(o, (uint32_t)(sequences - first) + 1, return 0);
        *sequences = (uint64_t)offset << ZSTD_BLOCK_I_OFFSET_AT |
                     (uint64_t)match << ZSTD_BLOCK_I_MATCH_AT | literals;
    }
    run->left = left;
    run->state[0] = length_state, run->state[1] = offset_state, run->state[2] = match_state;
    run->literals = literal_sum;
    run->matches = match_sum;
    run->repeats[0] = r0, run->repeats[1] = r1, run->repeats[2] = r2;
    run->reach = reach;
    run->symbols = symbols;
    run->done = (uint32_t)(sequences - first);
    return 1;
}

ZSTD_BLOCK_API int zstd_block_i_fast(const zstd_block *d, zstd_block_i_run *run, uint32_t count,
                                     uint64_t *sequences)
{
    return zstd_block_i_fast_body(d, run, count, sequences, 0);
}

#if ZSTD_BLOCK_I_X86
__attribute__((target("bmi2"), unused)) static int zstd_block_i_fast_bmi2(const zstd_block *d,
                                                                          zstd_block_i_run *run,
                                                                          uint32_t count,
                                                                          uint64_t *sequences)
{
    return zstd_block_i_fast_body(d, run, count, sequences, 1);
}
#endif

/* The rest, with every bit checked. The stream must be used to its last bit. */
ZSTD_BLOCK_API int zstd_block_i_careful(const zstd_block *d, zstd_block_i_run *run, uint32_t count,
                                        uint64_t *sequences)
{
    zstd_block_i_stream s;
    uint32_t r0 = run->repeats[0], r1 = run->repeats[1], r2 = run->repeats[2];
    uint32_t reach = run->reach, symbols = run->symbols, i;
    s.data = run->begin;
    s.size = run->size;
    s.left = (int64_t)run->left;
    for (i = run->done; i < count; i++) {
        const zstd_block_entry *eo = &d->tables[ZSTD_BLOCK_I_OFFSETS][run->state[1]];
        const zstd_block_entry *em = &d->tables[ZSTD_BLOCK_I_MATCHES][run->state[2]];
        const zstd_block_entry *el = &d->tables[ZSTD_BLOCK_I_LENGTHS][run->state[0]];
        uint32_t offset = eo->base + zstd_block_i_take(&s, eo->state & 255);
        uint32_t match = em->base + zstd_block_i_take(&s, em->state & 255);
        uint32_t literals = el->base + zstd_block_i_take(&s, el->state & 255);
        if (i + 1 != count) {
            run->state[0] = (el->state >> 16) + zstd_block_i_take(&s, el->state >> 8 & 255);
            run->state[2] = (em->state >> 16) + zstd_block_i_take(&s, em->state >> 8 & 255);
            run->state[1] = (eo->state >> 16) + zstd_block_i_take(&s, eo->state >> 8 & 255);
        }
        if (s.left < 0) return 0;
        run->literals += literals;
        run->matches += match;
        ZSTD_BLOCK_I_OFFSET(eo->state, i + 1, return 0);
        sequences[i] = (uint64_t)offset << ZSTD_BLOCK_I_OFFSET_AT |
                       (uint64_t)match << ZSTD_BLOCK_I_MATCH_AT | literals;
    }
    run->repeats[0] = r0, run->repeats[1] = r1, run->repeats[2] = r2;
    run->reach = reach;
    run->symbols = symbols;
    return s.left == 0;
}

/* The sequences of a block. */
ZSTD_BLOCK_API int zstd_block_i_sequences(zstd_block *d, const zstd_block_definer *own,
                                          const zstd_block_head *h, const zstd_block_names *names,
                                          uint64_t *sequences, zstd_block_i_run *run)
{
    zstd_block_i_stream s;
    uint32_t k;
    int ok;
    size_t at = zstd_block_i_tables_of(d, own, h, names);
    if (at == 0 || !zstd_block_i_begin_stream(own->data + at, own->size - at, &run->left)) return 0;
    run->begin = s.data = own->data + at;
    run->size = s.size = own->size - at;
    s.left = (int64_t)run->left;
    for (k = 0; k < 3; k++) run->state[k] = zstd_block_i_take(&s, d->logs[k]);
    if (s.left < 0) return 0;
    run->left = (size_t)s.left;
#if ZSTD_BLOCK_I_X86
    if (d->cpu & POSIO_CPU_BMI2) ok = zstd_block_i_fast_bmi2(d, run, h->sequences, sequences);
    else
#endif
        ok = zstd_block_i_fast(d, run, h->sequences, sequences);
    return ok && zstd_block_i_careful(d, run, h->sequences, sequences);
}

/* Decodes the block p[0 .. n), whose names are those which zstd_block_name made for it and whose
   head zstd_block_look found, with the same `most`. `literals` has room for head->literals and
   ZSTD_BLOCK_SLACK bytes, `sequences` for head->sequences. They, and the block, must stay until it
   is executed. Blocks may be decoded in any order, by any decoder.
   Source: RFC 8878, 3.1.1.3. Threads: one per handle. Allocates: no. Blocks: no. */
ZSTD_BLOCK_API int zstd_block_decode(zstd_block *d, const uint8_t *p, size_t n,
                                     const zstd_block_head *head, const zstd_block_names *names,
                                     size_t most, uint8_t *literals, uint64_t *sequences,
                                     zstd_block_decoded *out)
{
    zstd_block_definer own;
    zstd_block_i_run run;
    uint32_t k;
    memset(&run, 0, sizeof run);
    own.data = p;
    own.size = (uint32_t)n;
    own.reserved = 0;
    own.number = 0;
    for (k = 0; k < 3; k++) /* its own number, where it is named */
        if (names->tables[k].data == p) own.number = names->tables[k].number;
    if (!zstd_block_i_literals(d, p, n, head, &names->tree, literals, &out->literals)) return 0;
    for (k = 0; k < 3; k++)
        run.repeats[k] = (uint32_t)ZSTD_BLOCK_I_SYMBOL + (k << (uint32_t)ZSTD_BLOCK_I_SYMBOL_SHIFT);
    if (head->sequences != 0 && !zstd_block_i_sequences(d, &own, head, names, sequences, &run))
        return 0;
    run.matches += (uint64_t)ZSTD_BLOCK_I_LEAST_MATCH * head->sequences;
    if (run.literals > head->literals || run.matches + head->literals > most) return 0;
    if (run.reach >= (uint32_t)ZSTD_BLOCK_I_TOO_FAR) return 0;
    out->literal_count = head->literals;
    out->sequence_count = head->sequences;
    out->size = (uint32_t)(run.matches + head->literals);
    out->reach = run.reach;
    out->symbols = run.symbols;
    for (k = 0; k < 3; k++) out->repeats[k] = run.repeats[k];
    return 1;
}

// ---------------------------------------------------------------------------------- execution

/* What an offset that may be a symbol stands for, given the offsets behind the block before; 0: not
   an offset. */
ZSTD_BLOCK_I_INLINE uint32_t zstd_block_i_true_offset(uint32_t offset, const uint32_t *repeats)
{
    uint32_t which, less;
    if (offset < (uint32_t)(ZSTD_BLOCK_I_SYMBOL - ZSTD_BLOCK_I_SYMBOL_MOST)) return offset;
    offset -= (uint32_t)(ZSTD_BLOCK_I_SYMBOL - ZSTD_BLOCK_I_SYMBOL_MOST);
    which = offset >> ZSTD_BLOCK_I_SYMBOL_SHIFT;
    less = (uint32_t)ZSTD_BLOCK_I_SYMBOL_MOST - (offset & ((1u << ZSTD_BLOCK_I_SYMBOL_SHIFT) - 1));
    return repeats[which] > less ? repeats[which] - less : 0;
}

/* Replaces the symbols of a decoded block; repeats are the offsets behind the block before (1, 4, 8
   in front of the first one), afterwards those behind this one. 0: the block is damaged.
   Source: RFC 8878, 3.1.1.5. Threads: any. Allocates: no. Blocks: no. */
ZSTD_BLOCK_API int zstd_block_resolve(zstd_block_decoded *b, uint64_t *sequences,
                                      uint32_t repeats[3])
{
    uint32_t behind[3], i;
    for (i = 0; i < b->symbols; i++) {
        uint64_t s = sequences[i];
        uint32_t offset = (uint32_t)(s >> ZSTD_BLOCK_I_OFFSET_AT), now;
        now = zstd_block_i_true_offset(offset, repeats);
        if (now == 0) return 0;
        sequences[i] = (s & (((uint64_t)1 << ZSTD_BLOCK_I_OFFSET_AT) - 1)) |
                       (uint64_t)now << ZSTD_BLOCK_I_OFFSET_AT;
    }
    for (i = 0; i < 3; i++) {
        behind[i] = zstd_block_i_true_offset(b->repeats[i], repeats);
        if (behind[i] == 0) return 0;
    }
    for (i = 0; i < 3; i++) repeats[i] = behind[i];
    return 1;
}

/* Bytes that the fast loop may write behind the end of a block, or read behind the literals: its
   copies move on by so many, or fewer. */
enum { ZSTD_BLOCK_I_MARGIN = 32 };
ZSTD_BLOCK_I_ASSERT(slack, ZSTD_BLOCK_I_MARGIN <= ZSTD_BLOCK_SLACK);

/* A match at an offset below 16 may feed itself. From 8 on, a word of the source is complete before
   it is read. A nearer one repeats a pattern of 1 to 7 bytes: a multiplication fills a word with
   it, and each store moves on by a multiple of the pattern. */
ZSTD_BLOCK_I_INLINE void zstd_block_i_overlap(uint8_t *to, size_t offset, size_t length)
{
    static const uint64_t repeat[8] = {0,
                                       0x0101010101010101u,
                                       0x0001000100010001u,
                                       0x0001000001000001u,
                                       0x0000000100000001u,
                                       0x0000010000000001u,
                                       0x0001000000000001u,
                                       0x0100000000000001u};
    static const uint8_t stride[8] = {0, 8, 8, 6, 8, 5, 6, 7};
    const uint8_t *from = to - offset, *end = to + length;
    if (offset >= 8) {
        do {
            zstd_block_i_copy8(to, from);
            to += 8;
            from += 8;
        } while (to < end);
    } else {
        uint64_t word = posio_le64(from) & (((uint64_t)1 << (8 * offset)) - 1);
        word *= repeat[offset];
        do {
            posio_put_le64(to, word);
            to += stride[offset];
        } while (to < end);
    }
}

/* The fast loop: nothing is checked, the block having been found to fit. 16 literals and 32 bytes
   of a match are copied without asking how many there are: what is too much is overwritten by what
   comes next. To ask whether a match has more than 16 bytes takes up to a quarter longer; 32
   literals at once make no difference. */
ZSTD_BLOCK_I_INLINE uint8_t *zstd_block_i_copy_body(const uint64_t *s, const uint64_t *end,
                                                    const uint8_t **literals, uint8_t *out)
{
    const uint8_t *from = *literals;
    for (; s != end; s++) {
        const uint64_t v = *s;
        const size_t count = (size_t)(v & ZSTD_BLOCK_I_LENGTH_MASK);
        const size_t length = (size_t)(v >> ZSTD_BLOCK_I_MATCH_AT & ZSTD_BLOCK_I_LENGTH_MASK) +
                              ZSTD_BLOCK_I_LEAST_MATCH;
        const size_t offset = (size_t)(v >> ZSTD_BLOCK_I_OFFSET_AT);
        const uint8_t *match;
        zstd_block_i_copy16(out, from);
        if (ZSTD_BLOCK_I_UNLIKELY(count > 16)) {
            size_t i = 16;
            zstd_block_i_copy16(out + 16, from + 16);
            for (i = 32; i < count; i += 32) {
                zstd_block_i_copy16(out + i, from + i);
                zstd_block_i_copy16(out + i + 16, from + i + 16);
            }
        }
        out += count;
        from += count;
        match = out - offset;
        if (ZSTD_BLOCK_I_LIKELY(offset >= 16)) {
            zstd_block_i_copy16(out, match);
            zstd_block_i_copy16(out + 16, match + 16);
            if (ZSTD_BLOCK_I_UNLIKELY(length > 32)) {
                size_t i;
                for (i = 32; i < length; i += 32) {
                    zstd_block_i_copy16(out + i, match + i);
                    zstd_block_i_copy16(out + i + 16, match + i + 16);
                }
            }
        } else {
            zstd_block_i_overlap(out, offset, length);
        }
        out += length;
    }
    *literals = from;
    return out;
}

ZSTD_BLOCK_API uint8_t *zstd_block_i_copy(const uint64_t *s, const uint64_t *end,
                                          const uint8_t **literals, uint8_t *out)
{
    return zstd_block_i_copy_body(s, end, literals, out);
}

/* The same with every offset checked, and nothing written behind the end. */
ZSTD_BLOCK_API uint8_t *zstd_block_i_copy_checked(const uint64_t *s, const uint64_t *end,
                                                  const uint8_t **literals, uint8_t *out,
                                                  const uint8_t *begin, uint64_t window)
{
    const uint8_t *from = *literals;
    for (; s != end; s++) {
        size_t count = (size_t)(*s & ZSTD_BLOCK_I_LENGTH_MASK);
        size_t length = (size_t)(*s >> ZSTD_BLOCK_I_MATCH_AT & ZSTD_BLOCK_I_LENGTH_MASK) +
                        ZSTD_BLOCK_I_LEAST_MATCH;
        size_t offset = (size_t)(*s >> ZSTD_BLOCK_I_OFFSET_AT);
        const uint8_t *match;
        memcpy(out, from, count);
        out += count;
        from += count;
        if (offset > (size_t)(out - begin) || offset > window) return NULL;
        match = out - offset;
        if (offset >= length) memcpy(out, match, length);
        else
            for (count = 0; count < length; count++) out[count] = match[count];
        out += length;
    }
    *literals = from;
    return out;
}

/* The largest offset. */
ZSTD_BLOCK_API size_t zstd_block_i_farthest(const uint64_t *s, const uint64_t *end)
{
    uint64_t most = 0;
    for (; s != end; s++) most = *s > most ? *s : most;
    return (size_t)(most >> ZSTD_BLOCK_I_OFFSET_AT);
}

/* Executes a resolved block at `out`, behind what the frame has decoded to since `begin`. The block
   has b->size bytes; up to `end` more may be written. Offsets larger than the window are refused.
   All compressed blocks of a frame are executed so, in order, with the same window; `begin` may
   move on, but at least a window before `out`, or all of the frame, must stay: an offset that is
   repeated is not looked at again.
   Source: RFC 8878, 3.1.1.4. Threads: any. Allocates: no. Blocks: no. */
ZSTD_BLOCK_API int zstd_block_execute(const zstd_block_decoded *b, const uint64_t *sequences,
                                      const uint8_t *begin, uint8_t *out, const uint8_t *end,
                                      uint64_t window)
{
    const size_t room = (size_t)(end - out), before = (size_t)(out - begin);
    const uint64_t *stop = sequences + b->sequence_count, whole = window;
    const uint8_t *literals = b->literals, *to;
    if (b->size > room) return 0;
    to = out + b->size;
    if (window > before) window = before;
    /* Offsets that are repeated were checked where they were new, but for the 1, 4 and 8 which a
       frame begins with. */
    if (room - b->size >= ZSTD_BLOCK_I_MARGIN && window >= 8 &&
        (b->reach <= window || zstd_block_i_farthest(sequences, stop) <= window))
        out = zstd_block_i_copy(sequences, stop, &literals, out);
    else out = zstd_block_i_copy_checked(sequences, stop, &literals, out, begin, whole);
    if (out == NULL) return 0;
    memcpy(out, literals, (size_t)(to - out));
    return 1;
}

#undef ZSTD_BLOCK_I_INLINE
#undef ZSTD_BLOCK_I_LIKELY
#undef ZSTD_BLOCK_I_UNLIKELY
#undef ZSTD_BLOCK_I_X86
#undef ZSTD_BLOCK_I_ASSERT
#undef ZSTD_BLOCK_I_NUMBER
#undef ZSTD_BLOCK_I_SYMBOLS
#undef ZSTD_BLOCK_I_RELOAD
#undef ZSTD_BLOCK_I_OFFSET
#elif defined(ZSTD_BLOCK_IMPLEMENTATION) && ZSTD_BLOCK_I_IMPLEMENTED < 100
#error "zstd_block.h: the functions of an older copy came first; include the newest header first"
#endif
/* >>end */
