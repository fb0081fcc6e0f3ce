/* digest.h - the digests of the field: MD5, SHA-1, SHA-256, BLAKE3, XXH64, Adler-32, CRC-32C.
   SPDX-License-Identifier: MIT OR Unlicense   (texts in the LICENSE file)

   QUICK START

       #define DIGEST_IMPLEMENTATION
       #include "digest.h"
       #include <stdio.h>

       int main(void)
       {
           digest d;
           uint8_t sum[DIGEST_MAX_SIZE];
           char hex[2 * DIGEST_MAX_SIZE + 1];
           digest_begin(&d, DIGEST_SHA256);
           digest_update(&d, "hello ", 6);
           digest_update(&d, "world", 5);
           digest_hex(sum, digest_result(&d, sum), hex);
           puts(hex);
           return 0;
       }

   WHAT IT DOES NOT DO
       No keys, no key derivation, no extended output (BLAKE3 here is its 32-byte hash). Nothing is
       wiped from memory and comparing is the caller's: these digests identify evidence, they do
       not guard secrets. MD5 and SHA-1 are here because evidence files hold them; neither resists
       an attacker, so pair them with SHA-256 or BLAKE3. No threads are started.

   OPTIONS  (define before the first include; each works alone)
       DIGEST_IMPLEMENTATION   the functions too, with internal linkage; legal in many files
       DIGEST_API              how those functions are declared (default: static, unused allowed)
       DIGEST_NO_SIMD          portable C only; no instruction set is ever looked for

       Each digest may be computed by other code. A macro below names a function or function-like
       macro, declared before this file; it takes the place of ours, which is then left out. The
       first five take whole blocks, so that buffering, lengths and padding stay here, once; the
       last two any bytes, at least one, after those that made the checksum so far:
       DIGEST_MD5_BLOCKS(s, p, n)      n blocks of 64 bytes at p into uint32_t s[4] = A, B, C, D
       DIGEST_SHA1_BLOCKS(s, p, n)     the same, uint32_t s[5] = H0 ... H4
       DIGEST_SHA256_BLOCKS(s, p, n)   the same, uint32_t s[8] = H0 ... H7
       DIGEST_XXH64_BLOCKS(s, p, n)    n stripes of 32 bytes into uint64_t s[4]
       DIGEST_BLAKE3_MANY(p, n, chunk, parents, out)   n chaining values, see digest_i_blake3_many
       DIGEST_ADLER32_UPDATE(adler, p, size)           returns the new uint32_t
       DIGEST_CRC32C_UPDATE(crc, p, size)              returns the new uint32_t

       With OpenSSL, for example (the padding is never reached, so these calls may be mixed):
           static void my_md5(uint32_t *s, const uint8_t *p, size_t n)
           {
               MD5_CTX c = {s[0], s[1], s[2], s[3], 0, 0, {0}, 0};
               MD5_Update(&c, p, n * 64);
               s[0] = c.A, s[1] = c.B, s[2] = c.C, s[3] = c.D;
           }
           #define DIGEST_MD5_BLOCKS my_md5

   THREADS
       A `digest` belongs to one thread at a time; different ones are independent. There is no
       writable global here: posio.h's word of processor features is the only one.

   MEMORY
       The caller keeps the `digest`: under 2 KiB, the same size whatever is defined, no pointers,
       so that an assignment is a snapshot. Nothing is allocated and nothing needs an end. Whole
       blocks are read where they lie; only a partial block is copied. BLAKE3 takes up to 12 KiB of
       stack, all others less than 4.

   ERRORS
       Only an unknown algorithm and malformed hex can fail, with POSIO_E_ARG. Data cannot.

   ALGORITHMS

       id        bytes  defined in                              one stream, by processor feature
       MD5         16   RFC 1321                                portable; AVX-512VL
       SHA1        20   FIPS 180-4, 6.1                         portable; SHA-NI; ARMv8
       SHA256      32   FIPS 180-4, 6.2                         portable; BMI2; SHA-NI; ARMv8
       BLAKE3      32   "BLAKE3", O'Connor et al. 2020, hash    portable; lanes
       XXH64        8   xxHash specification 0.1.1, seed 0      portable
       ADLER32      4   RFC 1950, 8.2 and 9                     portable (SWAR); AVX2; AVX-512VNNI;
                                                                NEON
       CRC32C       4   RFC 3720, 12.1 and B.4 (Castagnoli)     portable (tables); SSE4.2;
                                                                SSE4.2 + PCLMUL; ARMv8

       Many streams of MD5, SHA-1 or SHA-256 (digest_update_many) and the many chunks of one BLAKE3
       are computed side by side, in the lanes of vector registers: 4 (SSE4.1; NEON), 8 (AVX2) or 16
       (AVX-512). GCC for 64-bit Windows gets no more than 4, because it misaligns wider variables.

       Every one is bytes in, bytes out: the results of the last three are big-endian, the order in
       which tools print them. Three shapes of data flow are behind all seven:

       MD5 SHA1 SHA256 XXH64   state <- blocks(state, whole blocks)       + one partial block
       ADLER32 CRC32C          state <- update(state, any bytes)
       BLAKE3                  16 blocks make a chunk (1 KiB), chunks make a binary tree:

                       root                      digest.stack holds the chaining values of the
                     /      \                    complete subtrees to the left of the current
                parent      parent               chunk, largest first: one for each bit set in
                /    \      /    \               digest.chunks. Two are merged only when more input
           chunk 0    1    2     3  ...          follows, because the root is flagged. */

/* >>types */
#if defined(DIGEST_IMPLEMENTATION) && !defined(POSIO_IMPLEMENTATION)
#define POSIO_IMPLEMENTATION
#endif
#include "posio.h"

#ifndef CHUNKWISE_DIGEST_H
#define CHUNKWISE_DIGEST_H

#define DIGEST_VERSION 100 /* 1.0.0: major * 100 + minor */

#include <stddef.h>
#include <stdint.h>

/* ------------------------------------------------------------------ essential */

/* Append-only: these numbers may be stored. */
enum {
    DIGEST_NONE = 0,
    DIGEST_MD5 = 1,
    DIGEST_SHA1 = 2,
    DIGEST_SHA256 = 3,
    DIGEST_BLAKE3 = 4,
    DIGEST_XXH64 = 5,
    DIGEST_ADLER32 = 6,
    DIGEST_CRC32C = 7,
    DIGEST_COUNT = 8 /* one more than the last */
};

#define DIGEST_MAX_SIZE 32   /* bytes of the longest result */
#define DIGEST_BLOCK_SIZE 64 /* bytes of the longest block: updates of a multiple copy nothing */

/* A digest under way. Made by digest_begin; copied by assignment; its members are internal. */
typedef struct digest {
    int32_t algorithm;
    uint32_t fill;    /* bytes waiting in block */
    uint64_t size;    /* bytes so far */
    uint32_t state[8];
    uint64_t lanes[4];/* XXH64's state */
    uint64_t chunks;  /* BLAKE3: complete chunks */
    uint32_t blocks;  /* BLAKE3: blocks of the current chunk that are in state */
    uint32_t depth;   /* BLAKE3: chaining values on the stack */
    uint8_t block[DIGEST_BLOCK_SIZE];
    uint8_t stack[55][32]; /* 2^64 bytes are 2^54 chunks; one more may wait to be merged */
} digest;

#elif DIGEST_VERSION < 100
#error "digest.h: an older copy came first in this file; include the newest chunkwise header first"
#endif
/* >>end types */

/* >>functions */
#if defined(DIGEST_IMPLEMENTATION) && !defined(DIGEST_I_IMPLEMENTED)
#define DIGEST_I_IMPLEMENTED 100

/* The functions, each with its contract where it stands:

   essential    digest_begin  digest_update  digest_update_many  digest_result  digest_of
   inspection   digest_size  digest_name  digest_from_name  digest_hex  digest_from_hex
   advanced     digest_adler32  digest_crc32c  digest_xxh64 */

#include <string.h>

#ifndef DIGEST_API
#if defined(__GNUC__) || defined(__clang__) || defined(__TINYC__)
#define DIGEST_API static __attribute__((unused))
#else
#define DIGEST_API static
#endif
#endif

#if defined(__GNUC__) && !defined(__TINYC__)
#define DIGEST_I_INLINE inline __attribute__((always_inline))
#else
#define DIGEST_I_INLINE inline
#endif

// DIGEST_I_X86: code for later processors can be compiled here, function by function.
#if !defined(DIGEST_NO_SIMD) && !defined(__TINYC__)
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
#define DIGEST_I_X86
#define DIGEST_I_TARGET(features) __attribute__((target(features)))
#include <immintrin.h>
#elif defined(__GNUC__) && defined(__AARCH64EL__)
#define DIGEST_I_NEON
#include <arm_acle.h>
#include <arm_neon.h>
// Clang's headers have these instructions only where the whole file is compiled for them, as for
// Apple's processors.
#if !defined(__clang__)
#define DIGEST_I_TARGET(features) __attribute__((target(features)))
#define DIGEST_I_ARM_SHA
#define DIGEST_I_ARM_CRC
#else
#define DIGEST_I_TARGET(features)
#if defined(__ARM_FEATURE_SHA2) || defined(__ARM_FEATURE_CRYPTO)
#define DIGEST_I_ARM_SHA
#endif
#if defined(__ARM_FEATURE_CRC32)
#define DIGEST_I_ARM_CRC
#endif
#endif
#elif defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
#define DIGEST_I_X86
#define DIGEST_I_TARGET(features)
#include <immintrin.h>
#endif
#endif

// DIGEST_I_WIDE: registers of 256 and 512 bits too. On 64-bit Windows the stack is aligned to 16
// bytes, and GCC, unlike clang and MSVC, keeps wider variables there as if it were to 32 (its bug
// 54412): any of them may crash. So there it gets 128 bits only. GCC knows VNNI from 8 on.
#if defined(DIGEST_I_X86) && defined(__GNUC__) && !defined(__clang__)
#if !defined(_WIN64) && !defined(__CYGWIN__) && __GNUC__ >= 8
#define DIGEST_I_WIDE
#endif
#elif defined(DIGEST_I_X86)
#define DIGEST_I_WIDE
#endif

/* ------------------------------------------------------------------ >>bytes and words */

// Rotation: compilers see one instruction. n is 1 ... width - 1.
#define DIGEST_I_ROL32(x, n) ((uint32_t)((x) << (n)) | ((x) >> (32 - (n))))
#define DIGEST_I_ROR32(x, n) ((uint32_t)((x) >> (n)) | ((x) << (32 - (n))))
#define DIGEST_I_ROL64(x, n) ((uint64_t)((x) << (n)) | ((x) >> (64 - (n))))

#if defined(__BYTE_ORDER__) && defined(__ORDER_LITTLE_ENDIAN__)
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define DIGEST_I_LITTLE
#endif
#elif defined(_MSC_VER) || defined(__TINYC__)
#define DIGEST_I_LITTLE
#endif

DIGEST_API uint32_t digest_i_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

// Shifts alone would do: gcc and clang make one load of them. memcpy is for older and smaller ones.
DIGEST_API uint32_t digest_i_le32(const uint8_t *p)
{
#if defined(DIGEST_I_LITTLE)
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
#else
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
#endif
}

DIGEST_API uint64_t digest_i_le64(const uint8_t *p)
{
#if defined(DIGEST_I_LITTLE)
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
#else
    return (uint64_t)digest_i_le32(p + 4) << 32 | digest_i_le32(p);
#endif
}

DIGEST_API void digest_i_put_be32(uint8_t *p, uint32_t x)
{
    p[0] = (uint8_t)(x >> 24);
    p[1] = (uint8_t)(x >> 16);
    p[2] = (uint8_t)(x >> 8);
    p[3] = (uint8_t)x;
}

DIGEST_API void digest_i_put_be64(uint8_t *p, uint64_t x)
{
    digest_i_put_be32(p, (uint32_t)(x >> 32));
    digest_i_put_be32(p + 4, (uint32_t)x);
}

// DIGEST_I_SHA: what the SHA instructions need. DIGEST_I_LANES4: what lanes of four need; SSE2 has
// all but shuffles of bytes, which are half of BLAKE3's rotations.
#if defined(DIGEST_I_X86)
#define DIGEST_I_SHA (POSIO_CPU_SHA | POSIO_CPU_SSSE3 | POSIO_CPU_SSE41)
#define DIGEST_I_LANES4 (POSIO_CPU_SSSE3 | POSIO_CPU_SSE41)
#elif defined(DIGEST_I_NEON)
#define DIGEST_I_SHA POSIO_CPU_ARM_SHA
#define DIGEST_I_LANES4 POSIO_CPU_NEON
#endif

#if defined(DIGEST_I_X86) || defined(DIGEST_I_NEON)
// Whether every feature named (POSIO_CPU_...) is there.
DIGEST_API int digest_i_has(uint32_t features)
{
    return (posio_cpu() & features) == features;
}
#endif

/* ------------------------------------------------------------------ >>md5 */

// Compilers reorder sums, and often add first the one operand that is late, being the end of a long
// chain. This makes of x, as it is now, a value they cannot look into: what follows is added after.
// Measured on MD5: clang 14 gains 25 % in the portable code, gcc 12 16 % with AVX-512.
#if defined(__GNUC__) && !defined(__TINYC__)
#define DIGEST_I_FIRST(kind, x) __asm__("" : "+" kind(x))
#else
#define DIGEST_I_FIRST(kind, x) (void)0
#endif

#if !defined(DIGEST_MD5_BLOCKS)
/* The 64 steps of RFC 1321, 3.4: X(a, b, c, d, word, shift, constant), once for every way to
   compute them. The four functions are parameters; the state lives in four variables.

   A step is  a = b + rol(a + f(b, c, d) + word + constant, shift).  Only b is new, made by the step
   before, and all else is early. So the operations on the way from b to a, one behind the other,
   are the time of a step: a core could do several times the work meanwhile, but only for other
   streams. Those are what digest_update_many is for. */
#define DIGEST_I_MD5_STEPS(F, G, H, I) \
    F(a, b, c, d,  0,  7, 0xd76aa478u) F(d, a, b, c,  1, 12, 0xe8c7b756u) \
    F(c, d, a, b,  2, 17, 0x242070dbu) F(b, c, d, a,  3, 22, 0xc1bdceeeu) \
    F(a, b, c, d,  4,  7, 0xf57c0fafu) F(d, a, b, c,  5, 12, 0x4787c62au) \
    F(c, d, a, b,  6, 17, 0xa8304613u) F(b, c, d, a,  7, 22, 0xfd469501u) \
    F(a, b, c, d,  8,  7, 0x698098d8u) F(d, a, b, c,  9, 12, 0x8b44f7afu) \
    F(c, d, a, b, 10, 17, 0xffff5bb1u) F(b, c, d, a, 11, 22, 0x895cd7beu) \
    F(a, b, c, d, 12,  7, 0x6b901122u) F(d, a, b, c, 13, 12, 0xfd987193u) \
    F(c, d, a, b, 14, 17, 0xa679438eu) F(b, c, d, a, 15, 22, 0x49b40821u) \
    G(a, b, c, d,  1,  5, 0xf61e2562u) G(d, a, b, c,  6,  9, 0xc040b340u) \
    G(c, d, a, b, 11, 14, 0x265e5a51u) G(b, c, d, a,  0, 20, 0xe9b6c7aau) \
    G(a, b, c, d,  5,  5, 0xd62f105du) G(d, a, b, c, 10,  9, 0x02441453u) \
    G(c, d, a, b, 15, 14, 0xd8a1e681u) G(b, c, d, a,  4, 20, 0xe7d3fbc8u) \
    G(a, b, c, d,  9,  5, 0x21e1cde6u) G(d, a, b, c, 14,  9, 0xc33707d6u) \
    G(c, d, a, b,  3, 14, 0xf4d50d87u) G(b, c, d, a,  8, 20, 0x455a14edu) \
    G(a, b, c, d, 13,  5, 0xa9e3e905u) G(d, a, b, c,  2,  9, 0xfcefa3f8u) \
    G(c, d, a, b,  7, 14, 0x676f02d9u) G(b, c, d, a, 12, 20, 0x8d2a4c8au) \
    H(a, b, c, d,  5,  4, 0xfffa3942u) H(d, a, b, c,  8, 11, 0x8771f681u) \
    H(c, d, a, b, 11, 16, 0x6d9d6122u) H(b, c, d, a, 14, 23, 0xfde5380cu) \
    H(a, b, c, d,  1,  4, 0xa4beea44u) H(d, a, b, c,  4, 11, 0x4bdecfa9u) \
    H(c, d, a, b,  7, 16, 0xf6bb4b60u) H(b, c, d, a, 10, 23, 0xbebfbc70u) \
    H(a, b, c, d, 13,  4, 0x289b7ec6u) H(d, a, b, c,  0, 11, 0xeaa127fau) \
    H(c, d, a, b,  3, 16, 0xd4ef3085u) H(b, c, d, a,  6, 23, 0x04881d05u) \
    H(a, b, c, d,  9,  4, 0xd9d4d039u) H(d, a, b, c, 12, 11, 0xe6db99e5u) \
    H(c, d, a, b, 15, 16, 0x1fa27cf8u) H(b, c, d, a,  2, 23, 0xc4ac5665u) \
    I(a, b, c, d,  0,  6, 0xf4292244u) I(d, a, b, c,  7, 10, 0x432aff97u) \
    I(c, d, a, b, 14, 15, 0xab9423a7u) I(b, c, d, a,  5, 21, 0xfc93a039u) \
    I(a, b, c, d, 12,  6, 0x655b59c3u) I(d, a, b, c,  3, 10, 0x8f0ccc92u) \
    I(c, d, a, b, 10, 15, 0xffeff47du) I(b, c, d, a,  1, 21, 0x85845dd1u) \
    I(a, b, c, d,  8,  6, 0x6fa87e4fu) I(d, a, b, c, 15, 10, 0xfe2ce6e0u) \
    I(c, d, a, b,  6, 15, 0xa3014314u) I(b, c, d, a, 13, 21, 0x4e0811a1u) \
    I(a, b, c, d,  4,  6, 0xf7537e82u) I(d, a, b, c, 11, 10, 0xbd3af235u) \
    I(c, d, a, b,  2, 15, 0x2ad7d2bbu) I(b, c, d, a,  9, 21, 0xeb86d391u)

DIGEST_API void digest_i_md5_portable(uint32_t *state, const uint8_t *p, size_t count)
{
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
// F: (b & c) | (~b & d)  ==  d ^ (b & (c ^ d)): c ^ d is early, so b -> and, xor, add, rol, add.
// G: (d & b) | (~d & c): the two never share a bit, so | is +, and the half without b is added
//    early: b -> and, add, rol, add, one operation shorter than any form of G as a whole.
// H: b ^ (c ^ d), I: c ^ (b | ~d): the parts without b are early.
// Together 16 * (5 + 4 + 4 + 5) = 288 operations in a row for a block: 4.5 cycles a byte.
#define DIGEST_I_STEP(early, late, a, b, k, s, t) \
    a += digest_i_le32(p + 4 * (k)) + (t) + (early); \
    DIGEST_I_FIRST("r", a); \
    a += (late); \
    a = DIGEST_I_ROL32(a, s) + b;
#define DIGEST_I_F(a, b, c, d, k, s, t) DIGEST_I_STEP(0, d ^ (b & (c ^ d)), a, b, k, s, t)
#define DIGEST_I_G(a, b, c, d, k, s, t) DIGEST_I_STEP(~d & c, d & b, a, b, k, s, t)
#define DIGEST_I_H(a, b, c, d, k, s, t) DIGEST_I_STEP(0, b ^ (c ^ d), a, b, k, s, t)
#define DIGEST_I_I(a, b, c, d, k, s, t) DIGEST_I_STEP(0, c ^ (b | ~d), a, b, k, s, t)
    for (; count != 0; count--, p += 64) {
        const uint32_t a0 = a, b0 = b, c0 = c, d0 = d;
        DIGEST_I_MD5_STEPS(DIGEST_I_F, DIGEST_I_G, DIGEST_I_H, DIGEST_I_I)
        a += a0, b += b0, c += c0, d += d0;
    }
    state[0] = a, state[1] = b, state[2] = c, state[3] = d;
#undef DIGEST_I_STEP
#undef DIGEST_I_F
#undef DIGEST_I_G
#undef DIGEST_I_H
#undef DIGEST_I_I
}

#if defined(DIGEST_I_X86)
/* The same chain in the lowest lane of vector registers: there vpternlogd makes any function of
   three inputs in one operation, so that each step is ternlog, add, rol, add: 256 in a row instead
   of 288, with every one of them a single cycle. The other three lanes compute nothing of use. */
DIGEST_I_TARGET("avx512f,avx512vl")
DIGEST_API void digest_i_md5_avx512(uint32_t *state, const uint8_t *p, size_t count)
{
    __m128i a = _mm_set1_epi32((int)state[0]), b = _mm_set1_epi32((int)state[1]);
    __m128i c = _mm_set1_epi32((int)state[2]), d = _mm_set1_epi32((int)state[3]);
// The truth table of f: bit 4b + 2c + d is f(b, c, d).
#define DIGEST_I_STEP(table, a, b, c, d, k, s, t) \
    a = _mm_add_epi32(a, _mm_set1_epi32((int)digest_i_le32(p + 4 * (k)))); \
    a = _mm_add_epi32(a, _mm_set1_epi32((int)(t))); \
    DIGEST_I_FIRST("v", a); \
    a = _mm_add_epi32(a, _mm_ternarylogic_epi32(b, c, d, table)); \
    a = _mm_add_epi32(_mm_rol_epi32(a, s), b);
#define DIGEST_I_F(a, b, c, d, k, s, t) DIGEST_I_STEP(0xca, a, b, c, d, k, s, t)
#define DIGEST_I_G(a, b, c, d, k, s, t) DIGEST_I_STEP(0xe4, a, b, c, d, k, s, t)
#define DIGEST_I_H(a, b, c, d, k, s, t) DIGEST_I_STEP(0x96, a, b, c, d, k, s, t)
#define DIGEST_I_I(a, b, c, d, k, s, t) DIGEST_I_STEP(0x39, a, b, c, d, k, s, t)
    for (; count != 0; count--, p += 64) {
        const __m128i a0 = a, b0 = b, c0 = c, d0 = d;
        DIGEST_I_MD5_STEPS(DIGEST_I_F, DIGEST_I_G, DIGEST_I_H, DIGEST_I_I)
        a = _mm_add_epi32(a, a0), b = _mm_add_epi32(b, b0);
        c = _mm_add_epi32(c, c0), d = _mm_add_epi32(d, d0);
    }
    state[0] = (uint32_t)_mm_cvtsi128_si32(a), state[1] = (uint32_t)_mm_cvtsi128_si32(b);
    state[2] = (uint32_t)_mm_cvtsi128_si32(c), state[3] = (uint32_t)_mm_cvtsi128_si32(d);
#undef DIGEST_I_STEP
#undef DIGEST_I_F
#undef DIGEST_I_G
#undef DIGEST_I_H
#undef DIGEST_I_I
}
#endif

DIGEST_API void digest_i_md5_blocks(uint32_t *state, const uint8_t *p, size_t count)
{
#if defined(DIGEST_I_X86)
    if (digest_i_has(POSIO_CPU_AVX512)) {
        digest_i_md5_avx512(state, p, count);
        return;
    }
#endif
    digest_i_md5_portable(state, p, count);
}
#define DIGEST_I_MD5_BLOCKS digest_i_md5_blocks
#else
#define DIGEST_I_MD5_BLOCKS DIGEST_MD5_BLOCKS
#endif

/* ------------------------------------------------------------------ >>sha1 */

#if !defined(DIGEST_SHA1_BLOCKS)
/* FIPS 180-4, 6.1.2, steps 1 and 3, once for every way to compute them: R(f, k, a, ... e, word) is
   a round, LOAD(i) word i of the block, NEXT(i) the scheduled one. Only the last sixteen words are
   kept, and every index is a constant. Five rounds return every variable to its name, so that none
   is moved. */
#define DIGEST_I_SHA1_FIVE(R, f, k, FIRST, WORD, i) \
    R(f, k, a, b, c, d, e, FIRST(i)) \
    R(f, k, e, a, b, c, d, WORD((i) + 1)) \
    R(f, k, d, e, a, b, c, WORD((i) + 2)) \
    R(f, k, c, d, e, a, b, WORD((i) + 3)) \
    R(f, k, b, c, d, e, a, WORD((i) + 4))
#define DIGEST_I_SHA1_TWENTY(R, f, k, NEXT, i) \
    DIGEST_I_SHA1_FIVE(R, f, k, NEXT, NEXT, i) \
    DIGEST_I_SHA1_FIVE(R, f, k, NEXT, NEXT, (i) + 5) \
    DIGEST_I_SHA1_FIVE(R, f, k, NEXT, NEXT, (i) + 10) \
    DIGEST_I_SHA1_FIVE(R, f, k, NEXT, NEXT, (i) + 15)
#define DIGEST_I_SHA1_ROUNDS(R, CH, PARITY, MAJ, LOAD, NEXT) \
    DIGEST_I_SHA1_FIVE(R, CH, 0x5a827999u, LOAD, LOAD, 0) \
    DIGEST_I_SHA1_FIVE(R, CH, 0x5a827999u, LOAD, LOAD, 5) \
    DIGEST_I_SHA1_FIVE(R, CH, 0x5a827999u, LOAD, LOAD, 10) \
    DIGEST_I_SHA1_FIVE(R, CH, 0x5a827999u, LOAD, NEXT, 15) \
    DIGEST_I_SHA1_TWENTY(R, PARITY, 0x6ed9eba1u, NEXT, 20) \
    DIGEST_I_SHA1_TWENTY(R, MAJ, 0x8f1bbcdcu, NEXT, 40) \
    DIGEST_I_SHA1_TWENTY(R, PARITY, 0xca62c1d6u, NEXT, 60)

DIGEST_API void digest_i_sha1_portable(uint32_t *state, const uint8_t *p, size_t count)
{
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    uint32_t w[16];
// Ch = (b & c) | (~b & d) is a choice in one operation less; the halves of Maj share no bit, so
// that + may stand for | and the half without b is added early.
#define DIGEST_I_CH(b, c, d) (d ^ (b & (c ^ d)))
#define DIGEST_I_PARITY(b, c, d) (b ^ c ^ d)
#define DIGEST_I_MAJ(b, c, d) ((c & d) + (b & (c ^ d)))
#define DIGEST_I_W(i) w[(i) & 15]
#define DIGEST_I_LOAD(i) (w[i] = digest_i_be32(p + 4 * (i)))
#define DIGEST_I_NEXT(i) \
    (DIGEST_I_W(i) ^= DIGEST_I_W(i + 2) ^ DIGEST_I_W(i + 8) ^ DIGEST_I_W(i + 13), \
     DIGEST_I_W(i) = DIGEST_I_ROL32(DIGEST_I_W(i), 1))
#define DIGEST_I_ROUND(f, k, a, b, c, d, e, word) \
    e += (word) + (k) + f(b, c, d) + DIGEST_I_ROL32(a, 5); \
    b = DIGEST_I_ROL32(b, 30);
    for (; count != 0; count--, p += 64) {
        const uint32_t a0 = a, b0 = b, c0 = c, d0 = d, e0 = e;
        DIGEST_I_SHA1_ROUNDS(DIGEST_I_ROUND, DIGEST_I_CH, DIGEST_I_PARITY, DIGEST_I_MAJ,
                             DIGEST_I_LOAD, DIGEST_I_NEXT)
        a += a0, b += b0, c += c0, d += d0, e += e0;
    }
    state[0] = a, state[1] = b, state[2] = c, state[3] = d, state[4] = e;
#undef DIGEST_I_CH
#undef DIGEST_I_PARITY
#undef DIGEST_I_MAJ
#undef DIGEST_I_W
#undef DIGEST_I_LOAD
#undef DIGEST_I_NEXT
#undef DIGEST_I_ROUND
}

#if defined(DIGEST_I_X86)
/* SHA-NI: four rounds in one instruction. `abcd` holds a in its highest lane, a message register
   its first word there. sha1nexte(old, w) adds e of the next four rounds, which is a of four
   rounds ago rotated by 30, to w's highest lane: so e is never kept, only the abcd before. */
DIGEST_I_TARGET("sha,sse4.1,ssse3")
DIGEST_API void digest_i_sha1_ni(uint32_t *state, const uint8_t *p, size_t count)
{
    const __m128i swap = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m128i abcd = _mm_set_epi32((int)state[0], (int)state[1], (int)state[2], (int)state[3]);
    __m128i e = _mm_set_epi32((int)state[4], 0, 0, 0), old, w0, w1, w2, w3;
    uint32_t out[4];
#define DIGEST_I_LOAD(i) \
    _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * (i))), swap)
#define DIGEST_I_FOUR(f, w) \
    e = _mm_sha1nexte_epu32(old, w), old = abcd, abcd = _mm_sha1rnds4_epu32(abcd, e, f)
// FIPS 180-4, 6.1.2, step 1, four words at once: w0 ... w3 are the last sixteen, w0 is replaced.
#define DIGEST_I_NEXT(f, w0, w1, w2, w3) \
    w0 = _mm_sha1msg2_epu32(_mm_xor_si128(_mm_sha1msg1_epu32(w0, w1), w2), w3); \
    DIGEST_I_FOUR(f, w0)
    for (; count != 0; count--, p += 64) {
        const __m128i abcd0 = abcd, e0 = e;
        w0 = DIGEST_I_LOAD(0), w1 = DIGEST_I_LOAD(1);
        w2 = DIGEST_I_LOAD(2), w3 = DIGEST_I_LOAD(3);
        e = _mm_add_epi32(e, w0), old = abcd, abcd = _mm_sha1rnds4_epu32(abcd, e, 0);
        DIGEST_I_FOUR(0, w1);
        DIGEST_I_FOUR(0, w2);
        DIGEST_I_FOUR(0, w3);
        DIGEST_I_NEXT(0, w0, w1, w2, w3);
        DIGEST_I_NEXT(1, w1, w2, w3, w0);
        DIGEST_I_NEXT(1, w2, w3, w0, w1);
        DIGEST_I_NEXT(1, w3, w0, w1, w2);
        DIGEST_I_NEXT(1, w0, w1, w2, w3);
        DIGEST_I_NEXT(1, w1, w2, w3, w0);
        DIGEST_I_NEXT(2, w2, w3, w0, w1);
        DIGEST_I_NEXT(2, w3, w0, w1, w2);
        DIGEST_I_NEXT(2, w0, w1, w2, w3);
        DIGEST_I_NEXT(2, w1, w2, w3, w0);
        DIGEST_I_NEXT(2, w2, w3, w0, w1);
        DIGEST_I_NEXT(3, w3, w0, w1, w2);
        DIGEST_I_NEXT(3, w0, w1, w2, w3);
        DIGEST_I_NEXT(3, w1, w2, w3, w0);
        DIGEST_I_NEXT(3, w2, w3, w0, w1);
        DIGEST_I_NEXT(3, w3, w0, w1, w2);
        e = _mm_sha1nexte_epu32(old, e0), abcd = _mm_add_epi32(abcd, abcd0);
    }
    _mm_storeu_si128((__m128i *)(void *)out, abcd);
    state[0] = out[3], state[1] = out[2], state[2] = out[1], state[3] = out[0];
    state[4] = (uint32_t)_mm_extract_epi32(e, 3);
#undef DIGEST_I_LOAD
#undef DIGEST_I_FOUR
#undef DIGEST_I_NEXT
}
#endif

#if defined(DIGEST_I_ARM_SHA)
/* The same on ARMv8: a is in the lowest lane, as is the first word; e is kept. */
DIGEST_I_TARGET("+crypto")
DIGEST_API void digest_i_sha1_arm(uint32_t *state, const uint8_t *p, size_t count)
{
    uint32x4_t abcd = vld1q_u32(state), w0, w1, w2, w3, k;
    uint32_t e = state[4], next;
#define DIGEST_I_LOAD(i) vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p + 16 * (i))))
#define DIGEST_I_FOUR(rounds, w) \
    next = vsha1h_u32(vgetq_lane_u32(abcd, 0)); \
    abcd = rounds(abcd, e, vaddq_u32(w, k)), e = next
#define DIGEST_I_NEXT(rounds, w0, w1, w2, w3) \
    w0 = vsha1su1q_u32(vsha1su0q_u32(w0, w1, w2), w3); \
    DIGEST_I_FOUR(rounds, w0)
    for (; count != 0; count--, p += 64) {
        const uint32x4_t abcd0 = abcd;
        const uint32_t e0 = e;
        w0 = DIGEST_I_LOAD(0), w1 = DIGEST_I_LOAD(1);
        w2 = DIGEST_I_LOAD(2), w3 = DIGEST_I_LOAD(3);
        k = vdupq_n_u32(0x5a827999u);
        DIGEST_I_FOUR(vsha1cq_u32, w0);
        DIGEST_I_FOUR(vsha1cq_u32, w1);
        DIGEST_I_FOUR(vsha1cq_u32, w2);
        DIGEST_I_FOUR(vsha1cq_u32, w3);
        DIGEST_I_NEXT(vsha1cq_u32, w0, w1, w2, w3);
        k = vdupq_n_u32(0x6ed9eba1u);
        DIGEST_I_NEXT(vsha1pq_u32, w1, w2, w3, w0);
        DIGEST_I_NEXT(vsha1pq_u32, w2, w3, w0, w1);
        DIGEST_I_NEXT(vsha1pq_u32, w3, w0, w1, w2);
        DIGEST_I_NEXT(vsha1pq_u32, w0, w1, w2, w3);
        DIGEST_I_NEXT(vsha1pq_u32, w1, w2, w3, w0);
        k = vdupq_n_u32(0x8f1bbcdcu);
        DIGEST_I_NEXT(vsha1mq_u32, w2, w3, w0, w1);
        DIGEST_I_NEXT(vsha1mq_u32, w3, w0, w1, w2);
        DIGEST_I_NEXT(vsha1mq_u32, w0, w1, w2, w3);
        DIGEST_I_NEXT(vsha1mq_u32, w1, w2, w3, w0);
        DIGEST_I_NEXT(vsha1mq_u32, w2, w3, w0, w1);
        k = vdupq_n_u32(0xca62c1d6u);
        DIGEST_I_NEXT(vsha1pq_u32, w3, w0, w1, w2);
        DIGEST_I_NEXT(vsha1pq_u32, w0, w1, w2, w3);
        DIGEST_I_NEXT(vsha1pq_u32, w1, w2, w3, w0);
        DIGEST_I_NEXT(vsha1pq_u32, w2, w3, w0, w1);
        DIGEST_I_NEXT(vsha1pq_u32, w3, w0, w1, w2);
        abcd = vaddq_u32(abcd, abcd0), e += e0;
    }
    vst1q_u32(state, abcd);
    state[4] = e;
#undef DIGEST_I_LOAD
#undef DIGEST_I_FOUR
#undef DIGEST_I_NEXT
}
#endif

DIGEST_API void digest_i_sha1_blocks(uint32_t *state, const uint8_t *p, size_t count)
{
#if defined(DIGEST_I_X86)
    if (digest_i_has(DIGEST_I_SHA)) {
        digest_i_sha1_ni(state, p, count);
        return;
    }
#elif defined(DIGEST_I_ARM_SHA)
    if (digest_i_has(DIGEST_I_SHA)) {
        digest_i_sha1_arm(state, p, count);
        return;
    }
#endif
    digest_i_sha1_portable(state, p, count);
}
#define DIGEST_I_SHA1_BLOCKS digest_i_sha1_blocks
#else
#define DIGEST_I_SHA1_BLOCKS DIGEST_SHA1_BLOCKS
#endif

/* ------------------------------------------------------------------ >>sha256 */

#if !defined(DIGEST_SHA256_BLOCKS)
// FIPS 180-4, 4.2.2: the first 32 fractional bits of the cube roots of the first 64 primes.
DIGEST_API const uint32_t *digest_i_sha256_k(void)
{
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
        0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
        0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
        0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
        0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
        0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
        0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
        0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
        0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
    };
    return k;
}

// Eight rounds return every variable to its name. R(a, ... h, WORD, i) is a round of FIPS 180-4,
// 6.2.2, step 3.
#define DIGEST_I_SHA256_EIGHT(R, WORD, i) \
    R(a, b, c, d, e, f, g, h, WORD, i) \
    R(h, a, b, c, d, e, f, g, WORD, (i) + 1) \
    R(g, h, a, b, c, d, e, f, WORD, (i) + 2) \
    R(f, g, h, a, b, c, d, e, WORD, (i) + 3) \
    R(e, f, g, h, a, b, c, d, WORD, (i) + 4) \
    R(d, e, f, g, h, a, b, c, WORD, (i) + 5) \
    R(c, d, e, f, g, h, a, b, WORD, (i) + 6) \
    R(b, c, d, e, f, g, h, a, WORD, (i) + 7)

// Inlined into each of its callers, and so compiled for what each of them may use.
DIGEST_API DIGEST_I_INLINE void digest_i_sha256_body(uint32_t *state, const uint8_t *p,
                                                     size_t count)
{
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    uint32_t w[16], ab, bc = b ^ c;
    int j;
// FIPS 180-4, 4.1.2 and 6.2.2, with the last sixteen words kept: W(t) replaces W(t - 16). Ch is
// e ? f : g. Maj is b where a and b agree and c where not: b ^ ((a ^ b) & (b ^ c)), and a ^ b here
// is b ^ c in the next round.
#define DIGEST_I_S(x, r, s, t) (DIGEST_I_ROR32(x, r) ^ DIGEST_I_ROR32(x, s) ^ DIGEST_I_ROR32(x, t))
#define DIGEST_I_T(x, r, s, t) (DIGEST_I_ROR32(x, r) ^ DIGEST_I_ROR32(x, s) ^ ((x) >> (t)))
#define DIGEST_I_W(i) w[(i) & 15]
#define DIGEST_I_LOAD(i) (w[i] = digest_i_be32(p + 4 * (i)))
#define DIGEST_I_NEXT(i) \
    (w[i] += DIGEST_I_T(DIGEST_I_W(i + 1), 7, 18, 3) + DIGEST_I_W(i + 9) + \
             DIGEST_I_T(DIGEST_I_W(i + 14), 17, 19, 10))
#define DIGEST_I_ROUND(a, b, c, d, e, f, g, h, word, i) \
    h += word(i) + k[i] + (g ^ (e & (f ^ g))) + DIGEST_I_S(e, 6, 11, 25); \
    d += h; \
    ab = a ^ b; \
    h += (b ^ (ab & bc)) + DIGEST_I_S(a, 2, 13, 22); \
    bc = ab;
    for (; count != 0; count--, p += 64) {
        const uint32_t a0 = a, b0 = b, c0 = c, d0 = d, e0 = e, f0 = f, g0 = g, h0 = h;
        const uint32_t *k = digest_i_sha256_k();
        DIGEST_I_SHA256_EIGHT(DIGEST_I_ROUND, DIGEST_I_LOAD, 0)
        DIGEST_I_SHA256_EIGHT(DIGEST_I_ROUND, DIGEST_I_LOAD, 8)
        for (j = 0; j < 3; j++) {
            k += 16;
            DIGEST_I_SHA256_EIGHT(DIGEST_I_ROUND, DIGEST_I_NEXT, 0)
            DIGEST_I_SHA256_EIGHT(DIGEST_I_ROUND, DIGEST_I_NEXT, 8)
        }
        a += a0, b += b0, c += c0, d += d0, e += e0, f += f0, g += g0, h += h0;
        bc = b ^ c;
    }
    state[0] = a, state[1] = b, state[2] = c, state[3] = d;
    state[4] = e, state[5] = f, state[6] = g, state[7] = h;
#undef DIGEST_I_S
#undef DIGEST_I_T
#undef DIGEST_I_W
#undef DIGEST_I_LOAD
#undef DIGEST_I_NEXT
#undef DIGEST_I_ROUND
}

DIGEST_API void digest_i_sha256_portable(uint32_t *state, const uint8_t *p, size_t count)
{
    digest_i_sha256_body(state, p, count);
}

#if defined(DIGEST_I_X86)
// The same C: rorx rotates into another register, one operation where a copy and a rotation of two
// stood. SHA-1 gains nothing by it, MD5 waits for its chain anyway.
DIGEST_I_TARGET("bmi2")
DIGEST_API void digest_i_sha256_bmi2(uint32_t *state, const uint8_t *p, size_t count)
{
    digest_i_sha256_body(state, p, count);
}

/* SHA-NI: two rounds in one instruction, on the state as two registers that it wants as a, b, e, f
   and c, d, g, h (first named = highest lane), each becoming the other's past. */
DIGEST_I_TARGET("sha,sse4.1,ssse3")
DIGEST_API void digest_i_sha256_ni(uint32_t *state, const uint8_t *p, size_t count)
{
    const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    __m128i abef = _mm_set_epi32((int)state[0], (int)state[1], (int)state[4], (int)state[5]);
    __m128i cdgh = _mm_set_epi32((int)state[2], (int)state[3], (int)state[6], (int)state[7]);
    __m128i w0, w1, w2, w3, wk;
    uint32_t out[8];
#define DIGEST_I_AT(q) _mm_loadu_si128((const __m128i *)(const void *)(q))
#define DIGEST_I_LOAD(i) _mm_shuffle_epi8(DIGEST_I_AT(p + 16 * (i)), swap)
#define DIGEST_I_FOUR(w, i) \
    wk = _mm_add_epi32(w, DIGEST_I_AT(k + 4 * (i))); \
    cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk); \
    abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(wk, 0x0e))
// FIPS 180-4, 6.2.2, step 1, four words at once: msg1 adds sigma0 of W(t - 15) to W(t - 16), the
// middle term is W(t - 7) from two registers, msg2 adds sigma1 of W(t - 2).
#define DIGEST_I_NEXT(w0, w1, w2, w3, i) \
    w0 = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4)); \
    w0 = _mm_sha256msg2_epu32(w0, w3); \
    DIGEST_I_FOUR(w0, i)
    for (; count != 0; count--, p += 64) {
        const __m128i abef0 = abef, cdgh0 = cdgh;
        const uint32_t *k = digest_i_sha256_k();
        int i;
        w0 = DIGEST_I_LOAD(0), w1 = DIGEST_I_LOAD(1);
        w2 = DIGEST_I_LOAD(2), w3 = DIGEST_I_LOAD(3);
        DIGEST_I_FOUR(w0, 0);
        DIGEST_I_FOUR(w1, 1);
        DIGEST_I_FOUR(w2, 2);
        DIGEST_I_FOUR(w3, 3);
        for (i = 4; i < 16; i += 4) {
            DIGEST_I_NEXT(w0, w1, w2, w3, i);
            DIGEST_I_NEXT(w1, w2, w3, w0, i + 1);
            DIGEST_I_NEXT(w2, w3, w0, w1, i + 2);
            DIGEST_I_NEXT(w3, w0, w1, w2, i + 3);
        }
        abef = _mm_add_epi32(abef, abef0), cdgh = _mm_add_epi32(cdgh, cdgh0);
    }
    _mm_storeu_si128((__m128i *)(void *)out, abef);
    _mm_storeu_si128((__m128i *)(void *)(out + 4), cdgh);
    state[0] = out[3], state[1] = out[2], state[4] = out[1], state[5] = out[0];
    state[2] = out[7], state[3] = out[6], state[6] = out[5], state[7] = out[4];
#undef DIGEST_I_AT
#undef DIGEST_I_LOAD
#undef DIGEST_I_FOUR
#undef DIGEST_I_NEXT
}
#endif

#if defined(DIGEST_I_ARM_SHA)
// The same on ARMv8, on the state as it lies. Four words of the schedule follow their four rounds.
DIGEST_I_TARGET("+crypto")
DIGEST_API void digest_i_sha256_arm(uint32_t *state, const uint8_t *p, size_t count)
{
    uint32x4_t abcd = vld1q_u32(state), efgh = vld1q_u32(state + 4), w0, w1, w2, w3, wk, old;
#define DIGEST_I_LOAD(i) vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p + 16 * (i))))
#define DIGEST_I_FOUR(w, i) \
    wk = vaddq_u32(w, vld1q_u32(k + 4 * (i))), old = abcd; \
    abcd = vsha256hq_u32(abcd, efgh, wk), efgh = vsha256h2q_u32(efgh, old, wk)
#define DIGEST_I_NEXT(w0, w1, w2, w3, i) \
    DIGEST_I_FOUR(w0, i); \
    w0 = vsha256su1q_u32(vsha256su0q_u32(w0, w1), w2, w3)
    for (; count != 0; count--, p += 64) {
        const uint32x4_t abcd0 = abcd, efgh0 = efgh;
        const uint32_t *k = digest_i_sha256_k();
        int i;
        w0 = DIGEST_I_LOAD(0), w1 = DIGEST_I_LOAD(1);
        w2 = DIGEST_I_LOAD(2), w3 = DIGEST_I_LOAD(3);
        for (i = 0; i < 12; i += 4) {
            DIGEST_I_NEXT(w0, w1, w2, w3, i);
            DIGEST_I_NEXT(w1, w2, w3, w0, i + 1);
            DIGEST_I_NEXT(w2, w3, w0, w1, i + 2);
            DIGEST_I_NEXT(w3, w0, w1, w2, i + 3);
        }
        DIGEST_I_FOUR(w0, 12);
        DIGEST_I_FOUR(w1, 13);
        DIGEST_I_FOUR(w2, 14);
        DIGEST_I_FOUR(w3, 15);
        abcd = vaddq_u32(abcd, abcd0), efgh = vaddq_u32(efgh, efgh0);
    }
    vst1q_u32(state, abcd);
    vst1q_u32(state + 4, efgh);
#undef DIGEST_I_LOAD
#undef DIGEST_I_FOUR
#undef DIGEST_I_NEXT
}
#endif

DIGEST_API void digest_i_sha256_blocks(uint32_t *state, const uint8_t *p, size_t count)
{
#if defined(DIGEST_I_ARM_SHA)
    if (digest_i_has(DIGEST_I_SHA)) {
        digest_i_sha256_arm(state, p, count);
        return;
    }
#endif
#if defined(DIGEST_I_X86)
    if (digest_i_has(DIGEST_I_SHA)) {
        digest_i_sha256_ni(state, p, count);
        return;
    }
    if (digest_i_has(POSIO_CPU_BMI2)) {
        digest_i_sha256_bmi2(state, p, count);
        return;
    }
#endif
    digest_i_sha256_portable(state, p, count);
}
#define DIGEST_I_SHA256_BLOCKS digest_i_sha256_blocks
#else
#define DIGEST_I_SHA256_BLOCKS DIGEST_SHA256_BLOCKS
#endif

/* ------------------------------------------------------------------ >>blake3 */

// BLAKE3 paper, 2.2, table 3.
#define DIGEST_I_CHUNK_START 1u
#define DIGEST_I_CHUNK_END 2u
#define DIGEST_I_PARENT 4u
#define DIGEST_I_ROOT 8u

// BLAKE3 and SHA-256 begin with the same eight words (FIPS 180-4, 5.3.3).
DIGEST_API void digest_i_iv(uint32_t *state)
{
    state[0] = 0x6a09e667u, state[1] = 0xbb67ae85u, state[2] = 0x3c6ef372u, state[3] = 0xa54ff53au;
    state[4] = 0x510e527fu, state[5] = 0x9b05688cu, state[6] = 0x1f83d9abu, state[7] = 0x5be0cd19u;
}

// BLAKE3 paper, 2.2: the seven rounds, once for every way to compute them. Columns, then diagonals.
// Each row of words is the one before, permuted (table 2), written out so that no word is moved.
#define DIGEST_I_BLAKE3_ROUND(MIX, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) \
    MIX(0, 4, 8, 12, a, b); \
    MIX(1, 5, 9, 13, c, d); \
    MIX(2, 6, 10, 14, e, f); \
    MIX(3, 7, 11, 15, g, h); \
    MIX(0, 5, 10, 15, i, j); \
    MIX(1, 6, 11, 12, k, l); \
    MIX(2, 7, 8, 13, m, n); \
    MIX(3, 4, 9, 14, o, p)
#define DIGEST_I_BLAKE3_ROUNDS(MIX) \
    DIGEST_I_BLAKE3_ROUND(MIX, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); \
    DIGEST_I_BLAKE3_ROUND(MIX, 2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8); \
    DIGEST_I_BLAKE3_ROUND(MIX, 3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1); \
    DIGEST_I_BLAKE3_ROUND(MIX, 10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6); \
    DIGEST_I_BLAKE3_ROUND(MIX, 12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4); \
    DIGEST_I_BLAKE3_ROUND(MIX, 9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7); \
    DIGEST_I_BLAKE3_ROUND(MIX, 11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13)

// BLAKE3 paper, 2.2: the compression function, its first eight words of output written over cv.
DIGEST_API void digest_i_blake3_compress(uint32_t *cv, const uint8_t *block, uint32_t size,
                                         uint64_t counter, uint32_t flags)
{
    uint32_t m[16], v[16];
    int i;
    for (i = 0; i < 16; i++) m[i] = digest_i_le32(block + 4 * i);
    memcpy(v, cv, 32);
    digest_i_iv(v + 8); // four words of it are used
    v[12] = (uint32_t)counter, v[13] = (uint32_t)(counter >> 32), v[14] = size, v[15] = flags;
#define DIGEST_I_MIX(a, b, c, d, x, y) \
    v[a] += v[b] + m[x], v[d] ^= v[a], v[d] = DIGEST_I_ROR32(v[d], 16); \
    v[c] += v[d], v[b] ^= v[c], v[b] = DIGEST_I_ROR32(v[b], 12); \
    v[a] += v[b] + m[y], v[d] ^= v[a], v[d] = DIGEST_I_ROR32(v[d], 8); \
    v[c] += v[d], v[b] ^= v[c], v[b] = DIGEST_I_ROR32(v[b], 7)
    DIGEST_I_BLAKE3_ROUNDS(DIGEST_I_MIX);
    for (i = 0; i < 8; i++) cv[i] = v[i] ^ v[i + 8];
#undef DIGEST_I_MIX
}

/* ------------------------------------------------------------------ >>lanes */

#if defined(__GNUC__)
// Of what lies `ahead` bytes behind p, which may be behind the data: an address, not a pointer.
#define DIGEST_I_PREFETCH(p, ahead) __builtin_prefetch((const void *)((uintptr_t)(p) + (ahead)))
#else
#define DIGEST_I_PREFETCH(p, ahead) (void)0
#endif

#if defined(DIGEST_I_X86) || defined(DIGEST_I_NEON)
/* Many streams at once: a vector register holds one word of the state, or of a block, of each of 4,
   8 or 16 streams, its lanes. The rounds are those above; what they are made of is a kit:

       V LANES              the type, how many streams
       LANES_TARGET         what the compiler may use
       LANES_FIRST(x)       see DIGEST_I_FIRST
       SET(x) READ(p)       a uint32_t in every lane; LANES of them at p
       ADD SUB XOR AND OR   of lanes
       ANDN(x, y)           ~x & y
       SHR(x, n) ROL(x, n)  of lanes, by a constant
       SWAP(x)              the bytes of each lane, reversed
       XOR3(x, y, z)        x ^ y ^ z
       SEL(x, y, z)         x ? y : z, bit by bit
       MAJ(x, y, z)         what two of them say
       MAJ2(a, b, c)        the same, where ab is a ^ b and bc is b ^ c
       ADD_G(a, b, c, d)    a + G(b, c, d) of MD5
       ADD_I(a, b, c, d)    a + I(b, c, d) + I_LESS of MD5
       GET(p, j, at)        16 bytes at p[j] + at; in the next 128 bits those at p[j + 4] + at; ...
       PUT(p, j, at, x)     the reverse
       LOW32 HIGH32 LOW64 HIGH64   interleave the lower or upper halves of every 128 bits

   Words that belong into one register lie in as many places as there are lanes. Naive: a load and
   an insert for each word of each lane. Here GET loads 16 bytes, four words, of each lane; then
   every 128 bits of four registers are a square of four words by four, which TURN transposes in 8
   operations, in all widths alike. */
#define DIGEST_I_TURN(a, b, c, d) \
    do { \
        const DIGEST_I_V low0 = DIGEST_I_LOW32(a, b), high0 = DIGEST_I_HIGH32(a, b); \
        const DIGEST_I_V low1 = DIGEST_I_LOW32(c, d), high1 = DIGEST_I_HIGH32(c, d); \
        a = DIGEST_I_LOW64(low0, low1), b = DIGEST_I_HIGH64(low0, low1); \
        c = DIGEST_I_LOW64(high0, high1), d = DIGEST_I_HIGH64(high0, high1); \
    } while (0)
#define DIGEST_I_GET4(x, i, p, at) \
    x[i] = DIGEST_I_GET(p, 0, at), x[(i) + 1] = DIGEST_I_GET(p, 1, at); \
    x[(i) + 2] = DIGEST_I_GET(p, 2, at), x[(i) + 3] = DIGEST_I_GET(p, 3, at); \
    DIGEST_I_TURN(x[i], x[(i) + 1], x[(i) + 2], x[(i) + 3])
#define DIGEST_I_PUT4(x, i, p, at) \
    DIGEST_I_TURN(x[i], x[(i) + 1], x[(i) + 2], x[(i) + 3]); \
    DIGEST_I_PUT(p, 0, at, x[i]); \
    DIGEST_I_PUT(p, 1, at, x[(i) + 1]); \
    DIGEST_I_PUT(p, 2, at, x[(i) + 2]); \
    DIGEST_I_PUT(p, 3, at, x[(i) + 3])
#define DIGEST_I_GET_BLOCKS(p, at) \
    DIGEST_I_GET4(w, 0, p, at); \
    DIGEST_I_GET4(w, 4, p, (at) + 16); \
    DIGEST_I_GET4(w, 8, p, (at) + 32); \
    DIGEST_I_GET4(w, 12, p, (at) + 48)

/* A function as digest_i_many describes it, by the kit in force; `rounds` turns the words w[16] of
   a block and the state s[8] into the next state. */
#define DIGEST_I_LANES_FUNCTION(name, rounds) \
    DIGEST_I_LANES_TARGET DIGEST_API void name(uint32_t *const *states, const uint8_t *const *p, \
                                               size_t count) \
    { \
        DIGEST_I_V s[8], w[16]; \
        size_t at; \
        DIGEST_I_GET4(s, 0, states, 0); \
        DIGEST_I_GET4(s, 4, states, 16); \
        for (at = 0; at != 64 * count; at += 64) { \
            DIGEST_I_GET_BLOCKS(p, at); \
            rounds \
        } \
        DIGEST_I_PUT4(s, 0, states, 0); \
        DIGEST_I_PUT4(s, 4, states, 16); \
    }

#if !defined(DIGEST_MD5_BLOCKS)
#define DIGEST_I_LANES_STEP(sum, a, b, k, s, t) \
    a = DIGEST_I_ADD(a, DIGEST_I_ADD(w[k], DIGEST_I_SET(t))); \
    DIGEST_I_LANES_FIRST(a); \
    a = sum; \
    a = DIGEST_I_ADD(DIGEST_I_ROL(a, s), b);
#define DIGEST_I_LANES_F(a, b, c, d, k, s, t) \
    DIGEST_I_LANES_STEP(DIGEST_I_ADD(a, DIGEST_I_SEL(b, c, d)), a, b, k, s, t)
#define DIGEST_I_LANES_G(a, b, c, d, k, s, t) \
    DIGEST_I_LANES_STEP(DIGEST_I_ADD_G(a, b, c, d), a, b, k, s, t)
#define DIGEST_I_LANES_H(a, b, c, d, k, s, t) \
    DIGEST_I_LANES_STEP(DIGEST_I_ADD(a, DIGEST_I_XOR3(c, d, b)), a, b, k, s, t)
#define DIGEST_I_LANES_I(a, b, c, d, k, s, t) \
    DIGEST_I_LANES_STEP(DIGEST_I_ADD_I(a, b, c, d), a, b, k, s, (t) - DIGEST_I_I_LESS)
#define DIGEST_I_LANES_MD5_ROUNDS \
    DIGEST_I_V a = s[0], b = s[1], c = s[2], d = s[3]; \
    DIGEST_I_MD5_STEPS(DIGEST_I_LANES_F, DIGEST_I_LANES_G, DIGEST_I_LANES_H, DIGEST_I_LANES_I) \
    s[0] = DIGEST_I_ADD(a, s[0]), s[1] = DIGEST_I_ADD(b, s[1]); \
    s[2] = DIGEST_I_ADD(c, s[2]), s[3] = DIGEST_I_ADD(d, s[3]);
#define DIGEST_I_LANES_MD5(width) \
    DIGEST_I_LANES_FUNCTION(digest_i_md5_##width, DIGEST_I_LANES_MD5_ROUNDS)
#else
#define DIGEST_I_LANES_MD5(width)
#endif

// Not loops: an array that is ever indexed by a variable is kept in memory by GCC at -O2.
#define DIGEST_I_FOUR(f, i) f(i), f((i) + 1), f((i) + 2), f((i) + 3)
#define DIGEST_I_LANES_SWAP(i) w[i] = DIGEST_I_SWAP(w[i])
#define DIGEST_I_LANES_SWAPS \
    DIGEST_I_FOUR(DIGEST_I_LANES_SWAP, 0), DIGEST_I_FOUR(DIGEST_I_LANES_SWAP, 4); \
    DIGEST_I_FOUR(DIGEST_I_LANES_SWAP, 8), DIGEST_I_FOUR(DIGEST_I_LANES_SWAP, 12);
#define DIGEST_I_LANES_W(i) w[(i) & 15]

#if !defined(DIGEST_SHA1_BLOCKS)
#define DIGEST_I_LANES_NEXT1(i) \
    (DIGEST_I_LANES_W(i) = DIGEST_I_XOR( \
         DIGEST_I_XOR3(DIGEST_I_LANES_W(i), DIGEST_I_LANES_W(i + 2), DIGEST_I_LANES_W(i + 8)), \
         DIGEST_I_LANES_W(i + 13)), \
     DIGEST_I_LANES_W(i) = DIGEST_I_ROL(DIGEST_I_LANES_W(i), 1))
#define DIGEST_I_LANES_ROUND1(f, k, a, b, c, d, e, word) \
    e = DIGEST_I_ADD(e, DIGEST_I_ADD(word, DIGEST_I_SET(k))); \
    e = DIGEST_I_ADD(DIGEST_I_ADD(e, f(b, c, d)), DIGEST_I_ROL(a, 5)); \
    b = DIGEST_I_ROL(b, 30);
#define DIGEST_I_LANES_SHA1_ROUNDS \
    DIGEST_I_V a = s[0], b = s[1], c = s[2], d = s[3], e = s[4]; \
    DIGEST_I_LANES_SWAPS \
    DIGEST_I_SHA1_ROUNDS(DIGEST_I_LANES_ROUND1, DIGEST_I_SEL, DIGEST_I_XOR3, DIGEST_I_MAJ, \
                         DIGEST_I_LANES_W, DIGEST_I_LANES_NEXT1) \
    s[0] = DIGEST_I_ADD(a, s[0]), s[1] = DIGEST_I_ADD(b, s[1]), s[2] = DIGEST_I_ADD(c, s[2]); \
    s[3] = DIGEST_I_ADD(d, s[3]), s[4] = DIGEST_I_ADD(e, s[4]);
#define DIGEST_I_LANES_SHA1(width) \
    DIGEST_I_LANES_FUNCTION(digest_i_sha1_##width, DIGEST_I_LANES_SHA1_ROUNDS)
#else
#define DIGEST_I_LANES_SHA1(width)
#endif

#if !defined(DIGEST_SHA256_BLOCKS)
#define DIGEST_I_LANES_S(x, r, s, t) \
    DIGEST_I_XOR3(DIGEST_I_ROL(x, 32 - r), DIGEST_I_ROL(x, 32 - s), DIGEST_I_ROL(x, 32 - t))
#define DIGEST_I_LANES_T(x, r, s, t) \
    DIGEST_I_XOR3(DIGEST_I_ROL(x, 32 - r), DIGEST_I_ROL(x, 32 - s), DIGEST_I_SHR(x, t))
#define DIGEST_I_LANES_NEXT256(i) \
    (w[i] = DIGEST_I_ADD( \
         DIGEST_I_ADD(w[i], DIGEST_I_LANES_T(DIGEST_I_LANES_W(i + 1), 7, 18, 3)), \
         DIGEST_I_ADD(DIGEST_I_LANES_W(i + 9), \
                      DIGEST_I_LANES_T(DIGEST_I_LANES_W(i + 14), 17, 19, 10))))
#define DIGEST_I_LANES_ROUND256(a, b, c, d, e, f, g, h, word, i) \
    h = DIGEST_I_ADD(h, DIGEST_I_ADD(word(i), DIGEST_I_SET(k[i]))); \
    h = DIGEST_I_ADD(DIGEST_I_ADD(h, DIGEST_I_SEL(e, f, g)), DIGEST_I_LANES_S(e, 6, 11, 25)); \
    d = DIGEST_I_ADD(d, h); \
    ab = DIGEST_I_XOR(a, b); \
    h = DIGEST_I_ADD(DIGEST_I_ADD(h, DIGEST_I_MAJ2(a, b, c)), DIGEST_I_LANES_S(a, 2, 13, 22)); \
    bc = ab;
#define DIGEST_I_LANES_SHA256_ROUNDS \
    DIGEST_I_V a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7]; \
    DIGEST_I_V ab, bc = DIGEST_I_XOR(b, c); \
    const uint32_t *k = digest_i_sha256_k(); \
    int i; \
    DIGEST_I_LANES_SWAPS \
    DIGEST_I_SHA256_EIGHT(DIGEST_I_LANES_ROUND256, DIGEST_I_LANES_W, 0) \
    DIGEST_I_SHA256_EIGHT(DIGEST_I_LANES_ROUND256, DIGEST_I_LANES_W, 8) \
    for (i = 0; i < 3; i++) { \
        k += 16; \
        DIGEST_I_SHA256_EIGHT(DIGEST_I_LANES_ROUND256, DIGEST_I_LANES_NEXT256, 0) \
        DIGEST_I_SHA256_EIGHT(DIGEST_I_LANES_ROUND256, DIGEST_I_LANES_NEXT256, 8) \
    } \
    (void)bc; \
    s[0] = DIGEST_I_ADD(a, s[0]), s[1] = DIGEST_I_ADD(b, s[1]), s[2] = DIGEST_I_ADD(c, s[2]); \
    s[3] = DIGEST_I_ADD(d, s[3]), s[4] = DIGEST_I_ADD(e, s[4]), s[5] = DIGEST_I_ADD(f, s[5]); \
    s[6] = DIGEST_I_ADD(g, s[6]), s[7] = DIGEST_I_ADD(h, s[7]);
#define DIGEST_I_LANES_SHA256(width) \
    DIGEST_I_LANES_FUNCTION(digest_i_sha256_##width, DIGEST_I_LANES_SHA256_ROUNDS)
#else
#define DIGEST_I_LANES_SHA256(width)
#endif

#if !defined(DIGEST_BLAKE3_MANY)
#define DIGEST_I_LANES_MIX(a, b, c, d, x, y) \
    v[a] = DIGEST_I_ADD(DIGEST_I_ADD(v[a], w[x]), v[b]), v[d] = DIGEST_I_XOR(v[d], v[a]); \
    v[d] = DIGEST_I_ROL(v[d], 16), v[c] = DIGEST_I_ADD(v[c], v[d]); \
    v[b] = DIGEST_I_XOR(v[b], v[c]), v[b] = DIGEST_I_ROL(v[b], 20); \
    v[a] = DIGEST_I_ADD(DIGEST_I_ADD(v[a], w[y]), v[b]), v[d] = DIGEST_I_XOR(v[d], v[a]); \
    v[d] = DIGEST_I_ROL(v[d], 24), v[c] = DIGEST_I_ADD(v[c], v[d]); \
    v[b] = DIGEST_I_XOR(v[b], v[c]), v[b] = DIGEST_I_ROL(v[b], 25)
#define DIGEST_I_LANES_FIRST_CV(i) s[i] = DIGEST_I_SET(iv[i])
#define DIGEST_I_LANES_OLD(i) v[i] = s[i]
#define DIGEST_I_LANES_IV(i) v[i] = DIGEST_I_SET(iv[(i) - 8])
#define DIGEST_I_LANES_NEW(i) s[i] = DIGEST_I_XOR(v[i], v[(i) + 8])
/* As digest_i_blake3_many, for 1 ... LANES inputs. Lanes without one repeat the last. Processors
   fetch ahead what is read in order, which this is not: so it names the blocks that the next call
   will want, if there is one. Where there is none it does no harm: a prefetch never faults. With
   16 lanes it gains 38 % on data in memory; on data in the cache it costs 1 %. */
#define DIGEST_I_LANES_BLAKE3(width) \
    DIGEST_I_LANES_TARGET DIGEST_API void digest_i_blake3_##width( \
        const uint8_t *p, size_t n, uint64_t chunk, int parents, uint8_t *out) \
    { \
        const uint8_t *in[DIGEST_I_LANES]; \
        uint8_t *to[DIGEST_I_LANES], unused[32]; \
        uint32_t low[DIGEST_I_LANES], high[DIGEST_I_LANES], iv[8]; \
        const size_t size = parents ? 64 : 1024; \
        DIGEST_I_V s[8], v[16], w[16]; \
        size_t i, at; \
        for (i = 0; i < DIGEST_I_LANES; i++) { \
            const size_t j = i < n ? i : n - 1; \
            in[i] = p + j * size; \
            to[i] = i < n ? out + 32 * i : unused; \
            low[i] = parents ? 0 : (uint32_t)(chunk + j); \
            high[i] = parents ? 0 : (uint32_t)((chunk + j) >> 32); \
        } \
        digest_i_iv(iv); \
        DIGEST_I_FOUR(DIGEST_I_LANES_FIRST_CV, 0), DIGEST_I_FOUR(DIGEST_I_LANES_FIRST_CV, 4); \
        for (at = 0; at != size; at += 64) { \
            uint32_t flags = parents ? DIGEST_I_PARENT : 0; \
            if (!parents && at == 0) flags = DIGEST_I_CHUNK_START; \
            if (!parents && at == 960) flags = DIGEST_I_CHUNK_END; \
            for (i = 0; i < (parents ? 0 : DIGEST_I_LANES); i++) \
                DIGEST_I_PREFETCH(in[i], DIGEST_I_LANES * 1024 + at); \
            DIGEST_I_GET_BLOCKS(in, at); \
            DIGEST_I_FOUR(DIGEST_I_LANES_OLD, 0), DIGEST_I_FOUR(DIGEST_I_LANES_OLD, 4); \
            DIGEST_I_FOUR(DIGEST_I_LANES_IV, 8); \
            v[12] = DIGEST_I_READ(low), v[13] = DIGEST_I_READ(high); \
            v[14] = DIGEST_I_SET(64), v[15] = DIGEST_I_SET(flags); \
            DIGEST_I_BLAKE3_ROUNDS(DIGEST_I_LANES_MIX); \
            DIGEST_I_FOUR(DIGEST_I_LANES_NEW, 0), DIGEST_I_FOUR(DIGEST_I_LANES_NEW, 4); \
        } \
        DIGEST_I_PUT4(s, 0, to, 0); \
        DIGEST_I_PUT4(s, 4, to, 16); \
    }
#else
#define DIGEST_I_LANES_BLAKE3(width)
#endif

#define DIGEST_I_LANES_ALL(width) \
    DIGEST_I_LANES_MD5(width) \
    DIGEST_I_LANES_SHA1(width) \
    DIGEST_I_LANES_SHA256(width) \
    DIGEST_I_LANES_BLAKE3(width)
#endif

#if defined(DIGEST_I_X86)
// 4 lanes: SSE4.1, and SSSE3, which it implies.
#define DIGEST_I_V __m128i
#define DIGEST_I_LANES 4
#define DIGEST_I_LANES_TARGET DIGEST_I_TARGET("sse4.1")
#define DIGEST_I_LANES_FIRST(x) DIGEST_I_FIRST("x", x)
#define DIGEST_I_SET(x) _mm_set1_epi32((int)(x))
#define DIGEST_I_READ(p) _mm_loadu_si128((const __m128i *)(const void *)(p))
#define DIGEST_I_ADD(x, y) _mm_add_epi32(x, y)
#define DIGEST_I_SUB(x, y) _mm_sub_epi32(x, y)
#define DIGEST_I_XOR(x, y) _mm_xor_si128(x, y)
#define DIGEST_I_AND(x, y) _mm_and_si128(x, y)
#define DIGEST_I_OR(x, y) _mm_or_si128(x, y)
#define DIGEST_I_ANDN(x, y) _mm_andnot_si128(x, y)
#define DIGEST_I_SHR(x, n) _mm_srli_epi32(x, n)
#define DIGEST_I_SHL(x, n) _mm_slli_epi32(x, n)
#define DIGEST_I_BYTES(x, order) _mm_shuffle_epi8(x, order)
#define DIGEST_I_ORDER(a, b, c, d) \
    _mm_setr_epi8(a, b, c, d, a + 4, b + 4, c + 4, d + 4, a + 8, b + 8, c + 8, d + 8, a + 12, \
                  b + 12, c + 12, d + 12)
#define DIGEST_I_GET(p, j, at) DIGEST_I_READ((const uint8_t *)(const void *)(p)[j] + (at))
#define DIGEST_I_PUT(p, j, at, x) \
    _mm_storeu_si128((__m128i *)(void *)((uint8_t *)(void *)(p)[j] + (at)), x)
#define DIGEST_I_LOW32(x, y) _mm_unpacklo_epi32(x, y)
#define DIGEST_I_HIGH32(x, y) _mm_unpackhi_epi32(x, y)
#define DIGEST_I_LOW64(x, y) _mm_unpacklo_epi64(x, y)
#define DIGEST_I_HIGH64(x, y) _mm_unpackhi_epi64(x, y)

// What SSE and AVX2 make of these alike. A rotation by whole bytes is a shuffle.
#define DIGEST_I_SWAP(x) DIGEST_I_BYTES(x, DIGEST_I_ORDER(3, 2, 1, 0))
#define DIGEST_I_ROL(x, n) \
    ((n) == 16 ? DIGEST_I_BYTES(x, DIGEST_I_ORDER(2, 3, 0, 1)) : \
     (n) == 24 ? DIGEST_I_BYTES(x, DIGEST_I_ORDER(1, 2, 3, 0)) : \
                 DIGEST_I_OR(DIGEST_I_SHL(x, n), DIGEST_I_SHR(x, 32 - (n))))
#define DIGEST_I_XOR3(x, y, z) DIGEST_I_XOR(DIGEST_I_XOR(x, y), z)
#define DIGEST_I_SEL(x, y, z) DIGEST_I_XOR(z, DIGEST_I_AND(x, DIGEST_I_XOR(y, z)))
#define DIGEST_I_MAJ(x, y, z) \
    DIGEST_I_OR(DIGEST_I_AND(y, z), DIGEST_I_AND(x, DIGEST_I_OR(y, z)))
#define DIGEST_I_MAJ2(a, b, c) DIGEST_I_XOR(b, DIGEST_I_AND(ab, bc))
// G as in digest_i_md5_portable. I: c ^ (b | ~d) = ~(c ^ (d & ~b)), and a + ~x = a - x - 1.
#define DIGEST_I_ADD_G(a, b, c, d) \
    DIGEST_I_ADD(DIGEST_I_ADD(a, DIGEST_I_ANDN(d, c)), DIGEST_I_AND(d, b))
#define DIGEST_I_ADD_I(a, b, c, d) DIGEST_I_SUB(a, DIGEST_I_XOR(c, DIGEST_I_ANDN(b, d)))
#define DIGEST_I_I_LESS 1
DIGEST_I_LANES_ALL(x4)

#undef DIGEST_I_V
#undef DIGEST_I_LANES
#undef DIGEST_I_LANES_TARGET
#undef DIGEST_I_SET
#undef DIGEST_I_READ
#undef DIGEST_I_ADD
#undef DIGEST_I_SUB
#undef DIGEST_I_XOR
#undef DIGEST_I_AND
#undef DIGEST_I_OR
#undef DIGEST_I_ANDN
#undef DIGEST_I_SHR
#undef DIGEST_I_SHL
#undef DIGEST_I_BYTES
#undef DIGEST_I_GET
#undef DIGEST_I_PUT
#undef DIGEST_I_LOW32
#undef DIGEST_I_HIGH32
#undef DIGEST_I_LOW64
#undef DIGEST_I_HIGH64
#endif

#if defined(DIGEST_I_WIDE)
// 8 lanes: AVX2.
#define DIGEST_I_V __m256i
#define DIGEST_I_LANES 8
#define DIGEST_I_LANES_TARGET DIGEST_I_TARGET("avx2")
#define DIGEST_I_SET(x) _mm256_set1_epi32((int)(x))
#define DIGEST_I_READ(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define DIGEST_I_ADD(x, y) _mm256_add_epi32(x, y)
#define DIGEST_I_SUB(x, y) _mm256_sub_epi32(x, y)
#define DIGEST_I_XOR(x, y) _mm256_xor_si256(x, y)
#define DIGEST_I_AND(x, y) _mm256_and_si256(x, y)
#define DIGEST_I_OR(x, y) _mm256_or_si256(x, y)
#define DIGEST_I_ANDN(x, y) _mm256_andnot_si256(x, y)
#define DIGEST_I_SHR(x, n) _mm256_srli_epi32(x, n)
#define DIGEST_I_SHL(x, n) _mm256_slli_epi32(x, n)
#define DIGEST_I_BYTES(x, order) _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(order))
#define DIGEST_I_HALF(p, j, at) \
    _mm_loadu_si128((const __m128i *)(const void *)((const uint8_t *)(const void *)(p)[j] + (at)))
#define DIGEST_I_PUT_HALF(p, j, at, x) \
    _mm_storeu_si128((__m128i *)(void *)((uint8_t *)(void *)(p)[j] + (at)), x)
#define DIGEST_I_GET(p, j, at) \
    _mm256_inserti128_si256(_mm256_castsi128_si256(DIGEST_I_HALF(p, j, at)), \
                            DIGEST_I_HALF(p, (j) + 4, at), 1)
#define DIGEST_I_PUT(p, j, at, x) \
    DIGEST_I_PUT_HALF(p, j, at, _mm256_castsi256_si128(x)); \
    DIGEST_I_PUT_HALF(p, (j) + 4, at, _mm256_extracti128_si256(x, 1))
#define DIGEST_I_LOW32(x, y) _mm256_unpacklo_epi32(x, y)
#define DIGEST_I_HIGH32(x, y) _mm256_unpackhi_epi32(x, y)
#define DIGEST_I_LOW64(x, y) _mm256_unpacklo_epi64(x, y)
#define DIGEST_I_HIGH64(x, y) _mm256_unpackhi_epi64(x, y)
DIGEST_I_LANES_ALL(x8)

#undef DIGEST_I_V
#undef DIGEST_I_LANES
#undef DIGEST_I_LANES_TARGET
#undef DIGEST_I_LANES_FIRST
#undef DIGEST_I_SET
#undef DIGEST_I_READ
#undef DIGEST_I_ADD
#undef DIGEST_I_XOR
#undef DIGEST_I_SHR
#undef DIGEST_I_GET
#undef DIGEST_I_PUT
#undef DIGEST_I_LOW32
#undef DIGEST_I_HIGH32
#undef DIGEST_I_LOW64
#undef DIGEST_I_HIGH64
#undef DIGEST_I_SWAP
#undef DIGEST_I_ROL
#undef DIGEST_I_XOR3
#undef DIGEST_I_SEL
#undef DIGEST_I_MAJ
#undef DIGEST_I_MAJ2
#undef DIGEST_I_ADD_G
#undef DIGEST_I_ADD_I
#undef DIGEST_I_I_LESS

// 16 lanes: AVX-512, which rotates, and makes any function of three inputs by its truth table: bit
// 4x + 2y + z of that is f(x, y, z). The masks of all lanes are no instructions; without them GCC's
// headers warn about themselves when compiled as C++.
#define DIGEST_I_V __m512i
#define DIGEST_I_LANES 16
#define DIGEST_I_LANES_TARGET DIGEST_I_TARGET("avx512f,avx512bw,avx512vl")
#define DIGEST_I_LANES_FIRST(x) DIGEST_I_FIRST("v", x)
#define DIGEST_I_SET(x) _mm512_set1_epi32((int)(x))
#define DIGEST_I_READ(p) _mm512_loadu_si512((const void *)(p))
#define DIGEST_I_ADD(x, y) _mm512_add_epi32(x, y)
#define DIGEST_I_XOR(x, y) _mm512_xor_si512(x, y)
#define DIGEST_I_SHR(x, n) _mm512_maskz_srli_epi32(0xffff, x, n)
#define DIGEST_I_ROL(x, n) _mm512_maskz_rol_epi32(0xffff, x, n)
#define DIGEST_I_SWAP(x) \
    _mm512_shuffle_epi8(x, _mm512_maskz_broadcast_i32x4(0xffff, DIGEST_I_ORDER(3, 2, 1, 0)))
#define DIGEST_I_XOR3(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0x96)
#define DIGEST_I_SEL(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xca)
#define DIGEST_I_MAJ(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xe8)
#define DIGEST_I_MAJ2(a, b, c) DIGEST_I_MAJ(a, b, c)
#define DIGEST_I_ADD_G(a, b, c, d) DIGEST_I_ADD(a, _mm512_ternarylogic_epi32(b, c, d, 0xe4))
#define DIGEST_I_ADD_I(a, b, c, d) DIGEST_I_ADD(a, _mm512_ternarylogic_epi32(b, c, d, 0x39))
#define DIGEST_I_I_LESS 0
#define DIGEST_I_GET_HALF(p, j, at) \
    _mm256_inserti128_si256(_mm256_castsi128_si256(DIGEST_I_HALF(p, j, at)), \
                            DIGEST_I_HALF(p, (j) + 4, at), 1)
#define DIGEST_I_GET(p, j, at) \
    _mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(DIGEST_I_GET_HALF(p, j, at)), \
                             DIGEST_I_GET_HALF(p, (j) + 8, at), 1)
#define DIGEST_I_QUARTER(x, i) _mm512_maskz_extracti32x4_epi32(0xf, x, i)
#define DIGEST_I_PUT(p, j, at, x) \
    DIGEST_I_PUT_HALF(p, j, at, DIGEST_I_QUARTER(x, 0)); \
    DIGEST_I_PUT_HALF(p, (j) + 4, at, DIGEST_I_QUARTER(x, 1)); \
    DIGEST_I_PUT_HALF(p, (j) + 8, at, DIGEST_I_QUARTER(x, 2)); \
    DIGEST_I_PUT_HALF(p, (j) + 12, at, DIGEST_I_QUARTER(x, 3))
#define DIGEST_I_LOW32(x, y) _mm512_maskz_unpacklo_epi32(0xffff, x, y)
#define DIGEST_I_HIGH32(x, y) _mm512_maskz_unpackhi_epi32(0xffff, x, y)
#define DIGEST_I_LOW64(x, y) _mm512_maskz_unpacklo_epi64(0xff, x, y)
#define DIGEST_I_HIGH64(x, y) _mm512_maskz_unpackhi_epi64(0xff, x, y)
DIGEST_I_LANES_ALL(x16)
#endif

#if defined(DIGEST_I_NEON)
// 4 lanes: NEON, which has a choice between two inputs, and shifts that insert.
#define DIGEST_I_V uint32x4_t
#define DIGEST_I_LANES 4
#define DIGEST_I_LANES_TARGET
#define DIGEST_I_LANES_FIRST(x) DIGEST_I_FIRST("w", x)
#define DIGEST_I_SET(x) vdupq_n_u32(x)
#define DIGEST_I_READ(p) vld1q_u32(p)
#define DIGEST_I_ADD(x, y) vaddq_u32(x, y)
#define DIGEST_I_XOR(x, y) veorq_u32(x, y)
#define DIGEST_I_SHR(x, n) vshrq_n_u32(x, n)
#define DIGEST_I_ROL(x, n) \
    ((n) == 16 ? vreinterpretq_u32_u16(vrev32q_u16(vreinterpretq_u16_u32(x))) : \
                 vsriq_n_u32(vshlq_n_u32(x, n), x, 32 - (n)))
#define DIGEST_I_SWAP(x) vreinterpretq_u32_u8(vrev32q_u8(vreinterpretq_u8_u32(x)))
#define DIGEST_I_XOR3(x, y, z) veorq_u32(veorq_u32(x, y), z)
#define DIGEST_I_SEL(x, y, z) vbslq_u32(x, y, z)
#define DIGEST_I_MAJ(x, y, z) vbslq_u32(veorq_u32(x, y), z, y)
#define DIGEST_I_MAJ2(a, b, c) vbslq_u32(ab, c, b)
#define DIGEST_I_ADD_G(a, b, c, d) vaddq_u32(a, vbslq_u32(d, b, c))
#define DIGEST_I_ADD_I(a, b, c, d) vaddq_u32(a, veorq_u32(c, vornq_u32(b, d)))
#define DIGEST_I_I_LESS 0
#define DIGEST_I_GET(p, j, at) \
    vreinterpretq_u32_u8(vld1q_u8((const uint8_t *)(const void *)(p)[j] + (at)))
#define DIGEST_I_PUT(p, j, at, x) \
    vst1q_u8((uint8_t *)(void *)(p)[j] + (at), vreinterpretq_u8_u32(x))
#define DIGEST_I_64(x) vreinterpretq_u64_u32(x)
#define DIGEST_I_LOW32(x, y) vzip1q_u32(x, y)
#define DIGEST_I_HIGH32(x, y) vzip2q_u32(x, y)
#define DIGEST_I_LOW64(x, y) \
    vreinterpretq_u32_u64(vzip1q_u64(DIGEST_I_64(x), DIGEST_I_64(y)))
#define DIGEST_I_HIGH64(x, y) \
    vreinterpretq_u32_u64(vzip2q_u64(DIGEST_I_64(x), DIGEST_I_64(y)))
DIGEST_I_LANES_ALL(x4)
#undef DIGEST_I_64
#endif
#undef DIGEST_I_V
#undef DIGEST_I_LANES
#undef DIGEST_I_LANES_TARGET
#undef DIGEST_I_LANES_FIRST
#undef DIGEST_I_SET
#undef DIGEST_I_READ
#undef DIGEST_I_ADD
#undef DIGEST_I_SUB
#undef DIGEST_I_XOR
#undef DIGEST_I_AND
#undef DIGEST_I_OR
#undef DIGEST_I_ANDN
#undef DIGEST_I_SHR
#undef DIGEST_I_SHL
#undef DIGEST_I_BYTES
#undef DIGEST_I_ORDER
#undef DIGEST_I_HALF
#undef DIGEST_I_PUT_HALF
#undef DIGEST_I_GET_HALF
#undef DIGEST_I_QUARTER
#undef DIGEST_I_GET
#undef DIGEST_I_PUT
#undef DIGEST_I_LOW32
#undef DIGEST_I_HIGH32
#undef DIGEST_I_LOW64
#undef DIGEST_I_HIGH64
#undef DIGEST_I_SWAP
#undef DIGEST_I_ROL
#undef DIGEST_I_XOR3
#undef DIGEST_I_SEL
#undef DIGEST_I_MAJ
#undef DIGEST_I_MAJ2
#undef DIGEST_I_ADD_G
#undef DIGEST_I_ADD_I
#undef DIGEST_I_I_LESS
#undef DIGEST_I_TURN
#undef DIGEST_I_GET4
#undef DIGEST_I_PUT4
#undef DIGEST_I_GET_BLOCKS
#undef DIGEST_I_LANES_FUNCTION
#undef DIGEST_I_LANES_STEP
#undef DIGEST_I_LANES_F
#undef DIGEST_I_LANES_G
#undef DIGEST_I_LANES_H
#undef DIGEST_I_LANES_I
#undef DIGEST_I_LANES_MD5_ROUNDS
#undef DIGEST_I_LANES_MD5
#undef DIGEST_I_LANES_SWAP
#undef DIGEST_I_FOUR
#undef DIGEST_I_LANES_SWAPS
#undef DIGEST_I_LANES_FIRST_CV
#undef DIGEST_I_LANES_OLD
#undef DIGEST_I_LANES_IV
#undef DIGEST_I_LANES_NEW
#undef DIGEST_I_LANES_W
#undef DIGEST_I_LANES_NEXT1
#undef DIGEST_I_LANES_ROUND1
#undef DIGEST_I_LANES_SHA1_ROUNDS
#undef DIGEST_I_LANES_SHA1
#undef DIGEST_I_LANES_S
#undef DIGEST_I_LANES_T
#undef DIGEST_I_LANES_NEXT256
#undef DIGEST_I_LANES_ROUND256
#undef DIGEST_I_LANES_SHA256_ROUNDS
#undef DIGEST_I_LANES_SHA256
#undef DIGEST_I_LANES_MIX
#undef DIGEST_I_LANES_BLAKE3
#undef DIGEST_I_LANES_ALL
#undef DIGEST_I_PREFETCH
#undef DIGEST_I_MD5_STEPS
#undef DIGEST_I_SHA1_FIVE
#undef DIGEST_I_SHA1_TWENTY
#undef DIGEST_I_SHA1_ROUNDS
#undef DIGEST_I_SHA256_EIGHT
#undef DIGEST_I_BLAKE3_ROUND
#undef DIGEST_I_BLAKE3_ROUNDS

/* ------------------------------------------------------------------ >>blake3's tree */

#if !defined(DIGEST_BLAKE3_MANY)
// One input as digest_i_blake3_many takes many.
DIGEST_API void digest_i_blake3_one(const uint8_t *p, uint64_t chunk, int parents, uint8_t *out)
{
    uint32_t cv[8];
    int i;
    digest_i_iv(cv);
    if (parents) digest_i_blake3_compress(cv, p, 64, 0, DIGEST_I_PARENT);
    else
        for (i = 0; i < 16; i++, p += 64)
            digest_i_blake3_compress(cv, p, 64, chunk,
                                     (i == 0 ? DIGEST_I_CHUNK_START : 0) |
                                         (i == 15 ? DIGEST_I_CHUNK_END : 0));
    for (i = 0; i < 8; i++) posio_put_le32(out + 4 * i, cv[i]);
}

// The first of `count` inputs, as many as there are lanes; returns how many. The widest lanes, even
// when few are used: 16, 8 or 4 take the time of two inputs alone.
DIGEST_API size_t digest_i_blake3_some(const uint8_t *p, size_t count, uint64_t chunk, int parents,
                                       uint8_t *out)
{
#if defined(DIGEST_I_WIDE)
    if (count > 1 && digest_i_has(POSIO_CPU_AVX512)) {
        if (count > 16) count = 16;
        digest_i_blake3_x16(p, count, chunk, parents, out);
        return count;
    }
    if (count > 1 && digest_i_has(POSIO_CPU_AVX2)) {
        if (count > 8) count = 8;
        digest_i_blake3_x8(p, count, chunk, parents, out);
        return count;
    }
#endif
#if defined(DIGEST_I_X86) || defined(DIGEST_I_NEON)
    if (count > 1 && digest_i_has(DIGEST_I_LANES4)) {
        if (count > 4) count = 4;
        digest_i_blake3_x4(p, count, chunk, parents, out);
        return count;
    }
#endif
    (void)count;
    digest_i_blake3_one(p, chunk, parents, out);
    return 1;
}

/* The one place where many inputs are hashed at once. `count` inputs lie one behind the other at p:
   chunks of 1024 bytes, numbered from `chunk` on, or with `parents` pairs of chaining values, 64
   bytes each (`chunk` is then 0). Their own chaining values, 32 bytes each, go to out, which may be
   p itself: an output is written after its input, and all before it, have been read. */
DIGEST_API void digest_i_blake3_many(const uint8_t *p, size_t count, uint64_t chunk, int parents,
                                     uint8_t *out)
{
    while (count != 0) {
        const size_t n = digest_i_blake3_some(p, count, chunk, parents, out);
        p += n * (parents ? 64 : 1024), out += 32 * n, count -= n;
        if (!parents) chunk += n;
    }
}
#define DIGEST_I_BLAKE3_MANY digest_i_blake3_many
#else
#define DIGEST_I_BLAKE3_MANY DIGEST_BLAKE3_MANY
#endif

/* The stack holds the chaining values of complete subtrees, largest first. Where input follows
   them, those are one for each bit set in `chunks`: two of one size are merged into their parent,
   and as they lie side by side, they are its block as they stand. But while nothing follows, the
   last merge would be that of the root: so merges are left undone until there is more. */
DIGEST_API void digest_i_blake3_merge(digest *d)
{
    uint64_t bits = d->chunks;
    uint32_t depth = 0;
    for (; bits != 0; bits &= bits - 1) depth++;
    for (; d->depth > depth; d->depth--) {
        uint8_t *pair = d->stack[d->depth - 2];
        (void)pair;
        DIGEST_I_BLAKE3_MANY(pair, 1, 0, 1, pair);
    }
}

// One whole block of the current chunk; its last only where input follows, or went before it.
DIGEST_API void digest_i_blake3_block(digest *d, const uint8_t *block)
{
    int i;
    uint32_t flags = d->blocks == 0 ? DIGEST_I_CHUNK_START : 0;
    if (d->blocks == 15) flags |= DIGEST_I_CHUNK_END;
    digest_i_blake3_compress(d->state, block, 64, d->chunks, flags);
    if (++d->blocks < 16) return;
    digest_i_blake3_merge(d);
    for (i = 0; i < 8; i++) posio_put_le32(d->stack[d->depth] + 4 * i, d->state[i]);
    d->depth++, d->chunks++;
    digest_i_iv(d->state);
    d->blocks = 0;
}

/* At the start of a chunk, with `leaves` or more chunks of input that are not all of it: hashes the
   largest complete subtree (at most DIGEST_I_LEAVES chunks) that may begin here, but not its root:
   pushes the halves. Returns its bytes. */
#define DIGEST_I_LEAVES 256
DIGEST_API size_t digest_i_blake3_subtree(digest *d, const uint8_t *p, size_t size)
{
    uint8_t cv[DIGEST_I_LEAVES * 32];
    size_t leaves = 1, n;
    (void)p;
    while (leaves < DIGEST_I_LEAVES && leaves * 2 * 1024 <= size &&
           (d->chunks & (leaves * 2 - 1)) == 0)
        leaves *= 2;
    DIGEST_I_BLAKE3_MANY(p, leaves, d->chunks, 0, cv);
    for (n = leaves; n > 2; n /= 2) DIGEST_I_BLAKE3_MANY(cv, n / 2, 0, 1, cv);
    digest_i_blake3_merge(d);
    memcpy(d->stack[d->depth], cv, 32 * n);
    d->depth += (uint32_t)n, d->chunks += leaves;
    return leaves * 1024;
}

// BLAKE3 paper, 2.4 and 5.1. The last block of a chunk that is not complete, or the only one, stays
// in d->block, even when whole: it may be the root.
DIGEST_API void digest_i_blake3_update(digest *d, const uint8_t *p, size_t size)
{
    size_t n = 64 - d->fill;
    if (d->fill != 0) {
        if (n > size) n = size;
        memcpy(d->block + d->fill, p, n);
        d->fill += (uint32_t)n, p += n, size -= n;
        if (size == 0) return;
        digest_i_blake3_block(d, d->block);
        d->fill = 0;
    }
    while (size > 64) {
        n = 64;
        if (d->blocks == 0 && size >= 1024 && d->chunks * 1024 + size > 1024)
            n = digest_i_blake3_subtree(d, p, size);
        else digest_i_blake3_block(d, p);
        p += n, size -= n;
    }
    if (size != 0) digest_i_blake3_merge(d);
    memcpy(d->block, p, size);
    d->fill = (uint32_t)size;
}

// The current chunk as it stands, if there is anything of it, then the stack from the top: what is
// merged last is the root.
DIGEST_API void digest_i_blake3_result(const digest *d, uint8_t *out)
{
    uint32_t cv[8], depth = d->depth, flags = DIGEST_I_CHUNK_END;
    uint8_t block[64] = {0};
    int i;
    if (d->fill != 0 || d->chunks == 0) {
        memcpy(cv, d->state, sizeof cv);
        memcpy(block, d->block, d->fill);
        if (d->blocks == 0) flags |= DIGEST_I_CHUNK_START;
        if (depth == 0) flags |= DIGEST_I_ROOT;
        digest_i_blake3_compress(cv, block, d->fill, d->chunks, flags);
    } else {
        depth--;
        for (i = 0; i < 8; i++) cv[i] = digest_i_le32(d->stack[depth] + 4 * i);
    }
    for (; depth != 0; depth--) {
        memcpy(block, d->stack[depth - 1], 32);
        for (i = 0; i < 8; i++) posio_put_le32(block + 32 + 4 * i, cv[i]);
        digest_i_iv(cv);
        digest_i_blake3_compress(cv, block, 64, 0,
                                 depth == 1 ? DIGEST_I_PARENT | DIGEST_I_ROOT : DIGEST_I_PARENT);
    }
    for (i = 0; i < 8; i++) posio_put_le32(out + 4 * i, cv[i]);
}

/* ------------------------------------------------------------------ >>xxh64 */

// xxHash specification, XXH64: the primes, the round, the merge.
#define DIGEST_I_P1 0x9e3779b185ebca87u
#define DIGEST_I_P2 0xc2b2ae3d27d4eb4fu
#define DIGEST_I_P3 0x165667b19e3779f9u
#define DIGEST_I_P4 0x85ebca77c2b2ae63u
#define DIGEST_I_P5 0x27d4eb2f165667c5u

DIGEST_API uint64_t digest_i_xxh64_round(uint64_t lane, uint64_t word)
{
    lane += word * DIGEST_I_P2;
    return DIGEST_I_ROL64(lane, 31) * DIGEST_I_P1;
}

DIGEST_API void digest_i_xxh64_begin(uint64_t *lanes, uint64_t seed)
{
    lanes[0] = seed + DIGEST_I_P1 + DIGEST_I_P2;
    lanes[1] = seed + DIGEST_I_P2;
    lanes[2] = seed;
    lanes[3] = seed - DIGEST_I_P1;
}

#if !defined(DIGEST_XXH64_BLOCKS)
// Step 2: four independent chains, so that the multiplier is busy all the time.
DIGEST_API void digest_i_xxh64_blocks(uint64_t *lanes, const uint8_t *p, size_t count)
{
    uint64_t a = lanes[0], b = lanes[1], c = lanes[2], d = lanes[3];
    for (; count != 0; count--, p += 32) {
        a = digest_i_xxh64_round(a, digest_i_le64(p));
        b = digest_i_xxh64_round(b, digest_i_le64(p + 8));
        c = digest_i_xxh64_round(c, digest_i_le64(p + 16));
        d = digest_i_xxh64_round(d, digest_i_le64(p + 24));
    }
    lanes[0] = a, lanes[1] = b, lanes[2] = c, lanes[3] = d;
}
#define DIGEST_I_XXH64_BLOCKS digest_i_xxh64_blocks
#else
#define DIGEST_I_XXH64_BLOCKS DIGEST_XXH64_BLOCKS
#endif

// Steps 3 to 6. total is the whole length; the size bytes at p (under 32) are its end.
DIGEST_API uint64_t digest_i_xxh64_end(const uint64_t *lanes, uint64_t seed, uint64_t total,
                                       const uint8_t *p, size_t size)
{
    uint64_t h = seed + DIGEST_I_P5;
    if (total >= 32) {
        int i;
        h = DIGEST_I_ROL64(lanes[0], 1) + DIGEST_I_ROL64(lanes[1], 7) +
            DIGEST_I_ROL64(lanes[2], 12) + DIGEST_I_ROL64(lanes[3], 18);
        for (i = 0; i < 4; i++)
            h = (h ^ digest_i_xxh64_round(0, lanes[i])) * DIGEST_I_P1 + DIGEST_I_P4;
    }
    h += total;
    for (; size >= 8; size -= 8, p += 8) {
        h ^= digest_i_xxh64_round(0, digest_i_le64(p));
        h = DIGEST_I_ROL64(h, 27) * DIGEST_I_P1 + DIGEST_I_P4;
    }
    if (size >= 4) {
        h ^= digest_i_le32(p) * DIGEST_I_P1;
        h = DIGEST_I_ROL64(h, 23) * DIGEST_I_P2 + DIGEST_I_P3;
        size -= 4, p += 4;
    }
    for (; size != 0; size--, p++) {
        h ^= *p * DIGEST_I_P5;
        h = DIGEST_I_ROL64(h, 11) * DIGEST_I_P1;
    }
    h = (h ^ (h >> 33)) * DIGEST_I_P2;
    h = (h ^ (h >> 29)) * DIGEST_I_P3;
    return h ^ (h >> 32);
}

/* ------------------------------------------------------------------ >>adler32 */

#if !defined(DIGEST_ADLER32_UPDATE)
/* RFC 1950, 8.2:  for each byte: s1 += byte, s2 += s1, both modulo 65521.  Over n bytes that is
       s1' = s1 + sum of byte[i]         s2' = s2 + n * s1 + sum of (n - i) * byte[i]
   and all that is needed modulo 65521 are sums that have not overflowed.

   Portable, eight bytes in one 64-bit word: the even bytes are four 16-bit lanes, the odd ones
   four more. For each lane two sums are kept, S of its bytes and R, of S before each word: a byte
   of word j of n is in R n - 1 - j times, so that with lane k of a word (8 - k) from its end
       sum of (n - i) * byte[i]  =  sum over lanes of 8 * R[k] + (8 - k) * S[k].
   R grows to 255 * (0 + 1 + ... + 22) = 64515 < 65536 in 23 words, 184 bytes: then lanes are
   folded into s1 and s2. Those are reduced after 30 folds, 5520 bytes: the most that 32 bits hold
   from s1, s2 <= 65520 on is 5552 (zlib's NMAX). */
DIGEST_API uint32_t digest_i_adler32_portable(uint32_t adler, const uint8_t *p, size_t size)
{
    uint32_t s1 = adler & 0xffff, s2 = adler >> 16;
    while (size != 0) {
        size_t n = size < 5520 ? size : 5520;
        size -= n;
        for (; n >= 184; n -= 184) {
            const uint64_t mask = 0x00ff00ff00ff00ffu;
            uint64_t even = 0, odd = 0, even_before = 0, odd_before = 0;
            uint32_t sum = 0, weighted = 0;
            int i;
            for (i = 0; i < 23; i++, p += 8) {
                const uint64_t x = digest_i_le64(p);
                even_before += even, odd_before += odd;
                even += x & mask, odd += (x >> 8) & mask;
            }
            for (i = 0; i < 8; i += 2) {
                const uint32_t e = (uint32_t)(even >> 8 * i) & 0xffff;
                const uint32_t o = (uint32_t)(odd >> 8 * i) & 0xffff;
                const uint32_t b = (uint32_t)(even_before >> 8 * i) & 0xffff;
                const uint32_t c = (uint32_t)(odd_before >> 8 * i) & 0xffff;
                sum += e + o;
                weighted += 8 * (b + c) + (uint32_t)(8 - i) * e + (uint32_t)(7 - i) * o;
            }
            s2 += 184 * s1 + weighted;
            s1 += sum;
        }
        for (; n != 0; n--) s1 += *p++, s2 += s1;
        s1 %= 65521, s2 %= 65521;
    }
    return s2 << 16 | s1;
}

#if defined(DIGEST_I_WIDE)
/* The same sums, 64 bytes at a time. Naive: a multiplication of each byte by its distance from the
   end of the 64. But vpsadbw adds eight bytes in each 64-bit lane, and the sums of the lanes, kept
   apart, can be weighed by 24, 16, 8 and 0 at the end. So vpmaddubsw weighs only by the distance
   from the end of the lane, plus 32 in the first half: both halves together are at most
   255 * (40 + 39 + 8 + 7) = 23970 < 32768, one vpmaddwd is enough for them, and a lane of
   `weighted` grows to 2 * 23970 * 16384 < 2^31 in a turn of 1 MiB. */
DIGEST_I_TARGET("avx2")
DIGEST_API uint32_t digest_i_adler32_avx2(uint32_t adler, const uint8_t *p, size_t size)
{
    const __m256i weights = _mm256_set1_epi64x(0x0102030405060708);
    const __m256i weights_far = _mm256_add_epi8(weights, _mm256_set1_epi8(32));
    const __m256i ones = _mm256_set1_epi16(1), zero = _mm256_setzero_si256();
    uint64_t s1 = adler & 0xffff, s2 = adler >> 16;
    while (size >= 64) {
        const size_t rounds = size / 64 < 16384 ? size / 64 : 16384;
        __m256i sum = zero, before = zero, weighted = zero;
        uint64_t sums[4], befores[4];
        uint32_t products[8];
        size_t i;
        for (i = 0; i < rounds; i++, p += 64) {
            const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)p);
            const __m256i y = _mm256_loadu_si256((const __m256i *)(const void *)(p + 32));
            const __m256i both = _mm256_add_epi16(_mm256_maddubs_epi16(x, weights_far),
                                                  _mm256_maddubs_epi16(y, weights));
            before = _mm256_add_epi64(before, sum);
            sum = _mm256_add_epi64(sum, _mm256_add_epi64(_mm256_sad_epu8(x, zero),
                                                         _mm256_sad_epu8(y, zero)));
            weighted = _mm256_add_epi32(weighted, _mm256_madd_epi16(both, ones));
        }
        _mm256_storeu_si256((__m256i *)(void *)sums, sum);
        _mm256_storeu_si256((__m256i *)(void *)befores, before);
        _mm256_storeu_si256((__m256i *)(void *)products, weighted);
        s2 += 64 * rounds * s1;
        for (i = 0; i < 4; i++) {
            s1 += sums[i];
            s2 += 64 * befores[i] + 8 * (3 - i) * sums[i];
            s2 += products[2 * i] + products[2 * i + 1];
        }
        s1 %= 65521, s2 %= 65521;
        size -= 64 * rounds;
    }
    return digest_i_adler32_portable((uint32_t)(s2 << 16 | s1), p, size);
}

/* VNNI multiplies bytes, adds four products and adds that to 32 bits in one instruction. 256 bytes
   at a time in four registers, each with a sum of its own: within 64 bytes those are weighed by 64
   ... 1 at once, and by 192, 128, 64 and 0 for the registers at the end. What is not a multiple of
   256 comes first, as 256 bytes that begin with zeros, which count for nothing (masked loads touch
   no byte outside). In a turn of 1024 times 256 bytes a lane of `before` grows to
   4 * 4 * 255 * (0 + 1 + ... + 1023) < 2^31, `sum` and `weighted` to less. */
DIGEST_I_TARGET("avx512f,avx512bw,avx512vnni")
DIGEST_API uint32_t digest_i_adler32_vnni(uint32_t adler, const uint8_t *p, size_t size)
{
    static const uint8_t distance[64] = {
        64, 63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43,
        42, 41, 40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21,
        20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9,  8,  7,  6,  5,  4,  3,  2,  1};
    const __m512i weights = _mm512_loadu_si512(distance), ones = _mm512_set1_epi8(1);
    const __m512i zero = _mm512_setzero_si512();
    uint64_t s1 = adler & 0xffff, s2 = adler >> 16;
    size_t i;
#define DIGEST_I_STEP(x, sum, weighted) \
    do { \
        const __m512i bytes = x; \
        sum = _mm512_dpbusd_epi32(sum, bytes, ones); \
        weighted = _mm512_dpbusd_epi32(weighted, bytes, weights); \
    } while (0)
    while (size != 0) {
        const size_t n = size < 1024 * 256 ? size : 1024 * 256, zeros = (256 - n % 256) % 256;
        uint32_t lanes[4][16];
        __m512i a = zero, b = zero, c = zero, d = zero, u = zero, v = zero, before = zero;
        if (zeros != 0) {
            const size_t head = 256 - zeros; // the first register of those that is not all zeros
            // Up to 63 bytes before the data: an address that is no pointer into it.
            const uintptr_t before_p = (uintptr_t)p - zeros % 64;
            const __m512i first = _mm512_maskz_loadu_epi8(UINT64_MAX << zeros % 64,
                                                          (const void *)before_p);
            const uint8_t *end = p + head;
            if (head > 192) DIGEST_I_STEP(first, a, u);
            if (head > 192) DIGEST_I_STEP(_mm512_loadu_si512(end - 192), b, v);
            else if (head > 128) DIGEST_I_STEP(first, b, v);
            if (head > 128) DIGEST_I_STEP(_mm512_loadu_si512(end - 128), c, u);
            else if (head > 64) DIGEST_I_STEP(first, c, u);
            if (head > 64) DIGEST_I_STEP(_mm512_loadu_si512(end - 64), d, v);
            else DIGEST_I_STEP(first, d, v);
            p = end;
        }
        for (i = n / 256; i != 0; i--, p += 256) {
            before = _mm512_add_epi32(before, _mm512_add_epi32(_mm512_add_epi32(a, b),
                                                               _mm512_add_epi32(c, d)));
            DIGEST_I_STEP(_mm512_loadu_si512(p), a, u);
            DIGEST_I_STEP(_mm512_loadu_si512(p + 64), b, v);
            DIGEST_I_STEP(_mm512_loadu_si512(p + 128), c, u);
            DIGEST_I_STEP(_mm512_loadu_si512(p + 192), d, v);
        }
        b = _mm512_add_epi32(a, b), c = _mm512_add_epi32(b, c), d = _mm512_add_epi32(c, d);
        a = _mm512_add_epi32(a, _mm512_add_epi32(b, c)); // 3a + 2b + c as they were
        _mm512_storeu_si512(lanes[0], a);
        _mm512_storeu_si512(lanes[1], d);
        _mm512_storeu_si512(lanes[2], before);
        _mm512_storeu_si512(lanes[3], _mm512_add_epi32(u, v));
        s2 += n * s1;
        for (i = 0; i < 16; i++) {
            s1 += lanes[1][i];
            s2 += (uint64_t)256 * lanes[2][i] + 64 * lanes[0][i] + lanes[3][i];
        }
        s1 %= 65521, s2 %= 65521;
        size -= n;
    }
    return (uint32_t)(s2 << 16 | s1);
#undef DIGEST_I_STEP
}
#endif

#if defined(DIGEST_I_NEON)
/* The same sums, 16 bytes at a time: the bytes of each of the 16 places are summed in 16 bits, at
   most 256 of them, and weighed once at the end. `sum` counts them again, for `before`. */
DIGEST_API uint32_t digest_i_adler32_neon(uint32_t adler, const uint8_t *p, size_t size)
{
    static const uint16_t distance[16] = {16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1};
    const uint16x8_t weights_far = vld1q_u16(distance), weights = vld1q_u16(distance + 8);
    uint64_t s1 = adler & 0xffff, s2 = adler >> 16;
    while (size >= 16) {
        const size_t rounds = size / 16 < 256 ? size / 16 : 256;
        uint32x4_t sum = vdupq_n_u32(0), before = sum, weighted;
        uint16x8_t low = vdupq_n_u16(0), high = low;
        size_t i;
        for (i = 0; i < rounds; i++, p += 16) {
            const uint8x16_t x = vld1q_u8(p);
            before = vaddq_u32(before, sum);
            sum = vpadalq_u16(sum, vpaddlq_u8(x));
            low = vaddw_u8(low, vget_low_u8(x)), high = vaddw_u8(high, vget_high_u8(x));
        }
        weighted = vmull_u16(vget_low_u16(low), vget_low_u16(weights_far));
        weighted = vmlal_u16(weighted, vget_high_u16(low), vget_high_u16(weights_far));
        weighted = vmlal_u16(weighted, vget_low_u16(high), vget_low_u16(weights));
        weighted = vmlal_u16(weighted, vget_high_u16(high), vget_high_u16(weights));
        s2 += 16 * rounds * s1 + (uint64_t)16 * vaddvq_u32(before) + vaddvq_u32(weighted);
        s1 += vaddvq_u32(sum);
        s1 %= 65521, s2 %= 65521;
        size -= 16 * rounds;
    }
    return digest_i_adler32_portable((uint32_t)(s2 << 16 | s1), p, size);
}
#endif

DIGEST_API uint32_t digest_i_adler32(uint32_t adler, const uint8_t *p, size_t size)
{
#if defined(DIGEST_I_NEON)
    if (size >= 16 && digest_i_has(POSIO_CPU_NEON)) return digest_i_adler32_neon(adler, p, size);
#endif
#if defined(DIGEST_I_WIDE)
    if (size >= 256 && digest_i_has(POSIO_CPU_VNNI512))
        return digest_i_adler32_vnni(adler, p, size);
    if (size >= 64 && digest_i_has(POSIO_CPU_AVX2)) return digest_i_adler32_avx2(adler, p, size);
#endif
    return digest_i_adler32_portable(adler, p, size);
}
#define DIGEST_I_ADLER32_UPDATE digest_i_adler32
#else
#define DIGEST_I_ADLER32_UPDATE DIGEST_ADLER32_UPDATE
#endif

/* ------------------------------------------------------------------ >>crc32c */

#if !defined(DIGEST_CRC32C_UPDATE)
/* Bit by bit:  crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0).  That is linear, so that what 64 bits
   do to the crc is the xor of what each of their 16 nibbles does alone: table[j][n] is nibble n
   with 15 - j nibbles of zeros behind it. 1 KiB, the size of the usual table for a byte at a time,
   takes eight bytes at a time; tables by byte would be twice as fast and eight times as large. */
DIGEST_API uint32_t digest_i_crc32c_portable(uint32_t crc, const uint8_t *p, size_t size)
{
    static const uint32_t table[16][16] = {
        {0x00000000, 0x493c7d27, 0x9278fa4e, 0xdb448769, 0x211d826d, 0x6821ff4a,
         0xb3657823, 0xfa590504, 0x423b04da, 0x0b0779fd, 0xd043fe94,
         0x997f83b3, 0x632686b7, 0x2a1afb90, 0xf15e7cf9, 0xb86201de},
        {0x00000000, 0x847609b4, 0x0d006599, 0x89766c2d, 0x1a00cb32, 0x9e76c286,
         0x1700aeab, 0x9376a71f, 0x34019664, 0xb0779fd0, 0x3901f3fd,
         0xbd77fa49, 0x2e015d56, 0xaa7754e2, 0x230138cf, 0xa777317b},
        {0x00000000, 0x68032cc8, 0xd0065990, 0xb8057558, 0xa5e0c5d1, 0xcde3e919,
         0x75e69c41, 0x1de5b089, 0x4e2dfd53, 0x262ed19b, 0x9e2ba4c3,
         0xf628880b, 0xebcd3882, 0x83ce144a, 0x3bcb6112, 0x53c84dda},
        {0x00000000, 0x9c5bfaa6, 0x3d5b83bd, 0xa100791b, 0x7ab7077a, 0xe6ecfddc,
         0x47ec84c7, 0xdbb77e61, 0xf56e0ef4, 0x6935f452, 0xc8358d49,
         0x546e77ef, 0x8fd9098e, 0x1382f328, 0xb2828a33, 0x2ed97095},
        {0x00000000, 0xef306b19, 0xdb8ca0c3, 0x34bccbda, 0xb2f53777, 0x5dc55c6e,
         0x697997b4, 0x8649fcad, 0x6006181f, 0x8f367306, 0xbb8ab8dc,
         0x54bad3c5, 0xd2f32f68, 0x3dc34471, 0x097f8fab, 0xe64fe4b2},
        {0x00000000, 0xc00c303e, 0x85f4168d, 0x45f826b3, 0x0e045beb, 0xce086bd5,
         0x8bf04d66, 0x4bfc7d58, 0x1c08b7d6, 0xdc0487e8, 0x99fca15b,
         0x59f09165, 0x120cec3d, 0xd200dc03, 0x97f8fab0, 0x57f4ca8e},
        {0x00000000, 0x38116fac, 0x7022df58, 0x4833b0f4, 0xe045beb0, 0xd854d11c,
         0x906761e8, 0xa8760e44, 0xc5670b91, 0xfd76643d, 0xb545d4c9,
         0x8d54bb65, 0x2522b521, 0x1d33da8d, 0x55006a79, 0x6d1105d5},
        {0x00000000, 0x8f2261d3, 0x1ba8b557, 0x948ad484, 0x37516aae, 0xb8730b7d,
         0x2cf9dff9, 0xa3dbbe2a, 0x6ea2d55c, 0xe180b48f, 0x750a600b,
         0xfa2801d8, 0x59f3bff2, 0xd6d1de21, 0x425b0aa5, 0xcd796b76},
        {0x00000000, 0xdd45aab8, 0xbf672381, 0x62228939, 0x7b2231f3, 0xa6679b4b,
         0xc4451272, 0x1900b8ca, 0xf64463e6, 0x2b01c95e, 0x49234067,
         0x9466eadf, 0x8d665215, 0x5023f8ad, 0x32017194, 0xef44db2c},
        {0x00000000, 0xe964b13d, 0xd725148b, 0x3e41a5b6, 0xaba65fe7, 0x42c2eeda,
         0x7c834b6c, 0x95e7fa51, 0x52a0c93f, 0xbbc47802, 0x8585ddb4,
         0x6ce16c89, 0xf90696d8, 0x106227e5, 0x2e238253, 0xc747336e},
        {0x00000000, 0xa541927e, 0x4f6f520d, 0xea2ec073, 0x9edea41a, 0x3b9f3664,
         0xd1b1f617, 0x74f06469, 0x38513ec5, 0x9d10acbb, 0x773e6cc8,
         0xd27ffeb6, 0xa68f9adf, 0x03ce08a1, 0xe9e0c8d2, 0x4ca15aac},
        {0x00000000, 0x70a27d8a, 0xe144fb14, 0x91e6869e, 0xc76580d9, 0xb7c7fd53,
         0x26217bcd, 0x56830647, 0x8b277743, 0xfb850ac9, 0x6a638c57,
         0x1ac1f1dd, 0x4c42f79a, 0x3ce08a10, 0xad060c8e, 0xdda47104},
        {0x00000000, 0x13a29877, 0x274530ee, 0x34e7a899, 0x4e8a61dc, 0x5d28f9ab,
         0x69cf5132, 0x7a6dc945, 0x9d14c3b8, 0x8eb65bcf, 0xba51f356,
         0xa9f36b21, 0xd39ea264, 0xc03c3a13, 0xf4db928a, 0xe7790afd},
        {0x00000000, 0x3fc5f181, 0x7f8be302, 0x404e1283, 0xff17c604, 0xc0d23785,
         0x809c2506, 0xbf59d487, 0xfbc3faf9, 0xc4060b78, 0x844819fb,
         0xbb8de87a, 0x04d43cfd, 0x3b11cd7c, 0x7b5fdfff, 0x449a2e7e},
        {0x00000000, 0xf26b8303, 0xe13b70f7, 0x1350f3f4, 0xc79a971f, 0x35f1141c,
         0x26a1e7e8, 0xd4ca64eb, 0x8ad958cf, 0x78b2dbcc, 0x6be22838,
         0x9989ab3b, 0x4d43cfd0, 0xbf284cd3, 0xac78bf27, 0x5e133c24},
        {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
         0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6,
         0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75}
    };
#define DIGEST_I_TWO(j) (table[j][x >> 4 * (j) & 15] ^ table[j + 1][x >> (4 * (j) + 4) & 15])
    for (; size >= 8; size -= 8, p += 8) {
        const uint64_t x = digest_i_le64(p) ^ crc;
        crc = DIGEST_I_TWO(0) ^ DIGEST_I_TWO(2) ^ DIGEST_I_TWO(4) ^ DIGEST_I_TWO(6) ^
              DIGEST_I_TWO(8) ^ DIGEST_I_TWO(10) ^ DIGEST_I_TWO(12) ^ DIGEST_I_TWO(14);
    }
#undef DIGEST_I_TWO
    for (; size != 0; size--, p++) {
        const uint32_t x = (crc ^ *p) & 0xff;
        crc = crc >> 8 ^ table[14][x & 15] ^ table[15][x >> 4];
    }
    return crc;
}

#if defined(DIGEST_I_X86)
// An instruction for up to eight bytes. It takes three cycles, though another may begin in each.
DIGEST_I_TARGET("sse4.2")
DIGEST_API uint32_t digest_i_crc32c_sse42(uint32_t crc, const uint8_t *p, size_t size)
{
#if defined(__x86_64__) || defined(_M_X64)
    uint64_t wide = crc;
    for (; size >= 8; size -= 8, p += 8) wide = _mm_crc32_u64(wide, digest_i_le64(p));
    crc = (uint32_t)wide;
#endif
    for (; size >= 4; size -= 4, p += 4) crc = _mm_crc32_u32(crc, digest_i_le32(p));
    for (; size != 0; size--, p++) crc = _mm_crc32_u8(crc, *p);
    return crc;
}
#endif

#if defined(DIGEST_I_X86) && (defined(__x86_64__) || defined(_M_X64))
/* So three chains at once, over three neighbouring pieces of `piece` bytes; the second and third
   begin with 0. As polynomials, with X for crc after zeros of one piece, the whole is
       a * x^(16 piece) + b * x^(8 piece) + c    modulo P.
   A carry-less product of two such 32-bit (bit-reversed) numbers is, read as 64 bits, theirs times
   x, and the crc instruction of 64 bits multiplies by x^32 and reduces: a constant x^(n - 33)
   mod P makes of the two a multiplication by x^n. */
DIGEST_I_TARGET("sse4.2,pclmul")
DIGEST_API uint32_t digest_i_crc32c_pclmul(uint32_t crc, const uint8_t *p, size_t size)
{
    // x^(16 piece - 33) and x^(8 piece - 33), for pieces of 2048 and of 256 bytes.
    static const uint32_t factors[2][2] = {{0x82f89c77, 0xa51b6135}, {0xdd7e3b0c, 0xb9e02b86}};
    size_t piece = 2048;
    int k;
    for (k = 0; k < 2; k++, piece = 256) {
        const __m128i factor = _mm_set_epi64x(factors[k][1], factors[k][0]);
        for (; size >= 3 * piece; size -= 3 * piece, p += 3 * piece) {
            uint64_t a = crc, b = 0, c = 0;
            __m128i x, y;
            size_t i;
            for (i = 0; i < piece; i += 8) {
                a = _mm_crc32_u64(a, digest_i_le64(p + i));
                b = _mm_crc32_u64(b, digest_i_le64(p + piece + i));
                c = _mm_crc32_u64(c, digest_i_le64(p + 2 * piece + i));
            }
            x = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)a), factor, 0x00);
            y = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)b), factor, 0x10);
            a = (uint64_t)_mm_cvtsi128_si64(_mm_xor_si128(x, y));
            crc = (uint32_t)(_mm_crc32_u64(0, a) ^ c);
        }
    }
    return digest_i_crc32c_sse42(crc, p, size);
}
#define DIGEST_I_CRC32C_PCLMUL
#endif

#if defined(DIGEST_I_ARM_CRC)
DIGEST_I_TARGET("+crc")
DIGEST_API uint32_t digest_i_crc32c_arm(uint32_t crc, const uint8_t *p, size_t size)
{
    for (; size >= 8; size -= 8, p += 8) crc = __crc32cd(crc, digest_i_le64(p));
    for (; size != 0; size--, p++) crc = __crc32cb(crc, *p);
    return crc;
}
#endif

DIGEST_API uint32_t digest_i_crc32c(uint32_t crc, const uint8_t *p, size_t size)
{
#if defined(DIGEST_I_ARM_CRC)
    if (digest_i_has(POSIO_CPU_ARM_CRC)) return ~digest_i_crc32c_arm(~crc, p, size);
#endif
#if defined(DIGEST_I_CRC32C_PCLMUL)
    if (size >= 768 && digest_i_has(POSIO_CPU_SSE42 | POSIO_CPU_PCLMUL))
        return ~digest_i_crc32c_pclmul(~crc, p, size);
#endif
#if defined(DIGEST_I_X86)
    if (digest_i_has(POSIO_CPU_SSE42)) return ~digest_i_crc32c_sse42(~crc, p, size);
#endif
    return ~digest_i_crc32c_portable(~crc, p, size);
}
#define DIGEST_I_CRC32C_UPDATE digest_i_crc32c
#else
#define DIGEST_I_CRC32C_UPDATE DIGEST_CRC32C_UPDATE
#endif

/* ------------------------------------------------------------------ >>digests made of blocks */

DIGEST_API void digest_i_blocks(digest *d, const uint8_t *p, size_t count)
{
    (void)p, (void)count; // macros in place of ours may ignore them, here and below
    switch (d->algorithm) {
    case DIGEST_MD5: DIGEST_I_MD5_BLOCKS(d->state, p, count); break;
    case DIGEST_SHA1: DIGEST_I_SHA1_BLOCKS(d->state, p, count); break;
    case DIGEST_SHA256: DIGEST_I_SHA256_BLOCKS(d->state, p, count); break;
    case DIGEST_XXH64: DIGEST_I_XXH64_BLOCKS(d->lanes, p, count); break;
    default: break;
    }
}

// Completes a waiting block, runs over whole blocks where they lie, keeps what is left.
DIGEST_API void digest_i_blocks_update(digest *d, const uint8_t *p, size_t size, size_t block)
{
    size_t n;
    if (d->fill != 0) {
        n = block - d->fill < size ? block - d->fill : size;
        memcpy(d->block + d->fill, p, n);
        d->fill += (uint32_t)n, p += n, size -= n;
        if (d->fill < block) return;
        digest_i_blocks(d, d->block, 1);
        d->fill = 0;
    }
    n = size / block;
    if (n != 0) digest_i_blocks(d, p, n);
    memcpy(d->block, p + n * block, size - n * block);
    d->fill = (uint32_t)(size - n * block);
}

// RFC 1321, 3.1 and 3.2; FIPS 180-4, 5.1.1: a bit, zeros, and the count of bits in 64 bits. `words`
// of the state are the result.
DIGEST_API void digest_i_blocks_result(const digest *d, uint8_t *out, size_t words)
{
    digest end;
    uint8_t tail[2 * DIGEST_BLOCK_SIZE] = {0};
    size_t i, pad = (d->fill < 56 ? 64 : 128) - d->fill;
    end.algorithm = d->algorithm;
    memcpy(end.state, d->state, sizeof end.state);
    memcpy(tail, d->block, d->fill);
    tail[d->fill] = 0x80;
    if (d->algorithm == DIGEST_MD5) posio_put_le64(tail + d->fill + pad - 8, d->size * 8);
    else digest_i_put_be64(tail + d->fill + pad - 8, d->size * 8);
    digest_i_blocks(&end, tail, (d->fill + pad) / 64);
    for (i = 0; i < words; i++) {
        if (d->algorithm == DIGEST_MD5) posio_put_le32(out + 4 * i, end.state[i]);
        else digest_i_put_be32(out + 4 * i, end.state[i]);
    }
}

/* ------------------------------------------------------------------ >>many streams */

/* `count` blocks from each p[i] into each states[i], which has eight words: for as many i as the
   function has lanes. */
typedef void digest_i_many(uint32_t *const *states, const uint8_t *const *p, size_t count);

/* The fastest way to go on with `active` streams, and how many of them it takes; without *run they
   are taken one by one. Measured on an Intel of 2023 (Emerald Rapids), in units of one portable
   stream's time for a block:

                  portable   best alone            x4     x8    x16
         MD5         1       0.89 (AVX-512VL)     1.4    1.5    1.05
         SHA-1       1       0.46 (SHA-NI)        2.1    2.2    1.9
         SHA-256     1       0.21 (SHA-NI)        1.9    1.9    1.5

   So SHA-NI is beaten by 16 lanes that hold at least 5 streams of SHA-1, or 8 of SHA-256. Lanes
   without a stream cost nothing more, so that wider is better even when they are few. Two streams
   interleaved in SHA-NI took 0.90 and 0.36 for both: not worth a second copy of the rounds. */
DIGEST_API uint32_t digest_i_many_of(int algorithm, uint32_t active, digest_i_many **run)
{
    *run = NULL;
#if defined(DIGEST_I_X86) || defined(DIGEST_I_NEON)
    {
        static const struct {
            int algorithm;
            uint32_t with, without, least, lanes;
            digest_i_many *run;
        } ways[] = {
#if !defined(DIGEST_MD5_BLOCKS)
#if defined(DIGEST_I_WIDE)
            {DIGEST_MD5, POSIO_CPU_AVX512, 0, 2, 16, digest_i_md5_x16},
            {DIGEST_MD5, POSIO_CPU_AVX2, 0, 5, 8, digest_i_md5_x8},
#endif
            {DIGEST_MD5, DIGEST_I_LANES4, 0, 2, 4, digest_i_md5_x4},
#endif
#if !defined(DIGEST_SHA1_BLOCKS)
#if defined(DIGEST_I_WIDE)
            {DIGEST_SHA1, POSIO_CPU_AVX512, 0, 5, 16, digest_i_sha1_x16},
            {DIGEST_SHA1, POSIO_CPU_AVX512, DIGEST_I_SHA, 2, 16, digest_i_sha1_x16},
            {DIGEST_SHA1, POSIO_CPU_AVX2, 0, 5, 8, digest_i_sha1_x8},
#endif
            {DIGEST_SHA1, DIGEST_I_LANES4, DIGEST_I_SHA, 3, 4, digest_i_sha1_x4},
#endif
#if !defined(DIGEST_SHA256_BLOCKS)
#if defined(DIGEST_I_WIDE)
            {DIGEST_SHA256, POSIO_CPU_AVX512, 0, 8, 16, digest_i_sha256_x16},
            {DIGEST_SHA256, POSIO_CPU_AVX512, DIGEST_I_SHA, 2, 16, digest_i_sha256_x16},
            {DIGEST_SHA256, POSIO_CPU_AVX2, DIGEST_I_SHA, 5, 8, digest_i_sha256_x8},
#endif
            {DIGEST_SHA256, DIGEST_I_LANES4, DIGEST_I_SHA, 3, 4, digest_i_sha256_x4},
#endif
            {DIGEST_NONE, 0, 0, 0, 1, NULL}};
        const uint32_t here = posio_cpu();
        size_t i;
        for (i = 0; ways[i].algorithm != DIGEST_NONE; i++) {
            if (ways[i].algorithm != algorithm || active < ways[i].least) continue;
            if ((here & ways[i].with) != ways[i].with) continue;
            if (ways[i].without != 0 && (here & ways[i].without) == ways[i].without) continue;
            *run = ways[i].run;
            return ways[i].lanes;
        }
    }
#else
    (void)algorithm, (void)active;
#endif
    return 1;
}

// Takes the size bytes at *p, but for the whole blocks in their midst: *p is then the first of
// those, and their count is returned. What is behind them is kept in d already.
DIGEST_API size_t digest_i_many_join(digest *d, const uint8_t **p, size_t size)
{
    const size_t head = d->fill == 0 ? 0 : d->fill + size < 64 ? size : 64 - d->fill;
    const size_t blocks = (size - head) / 64;
    d->size += size;
    if (head != 0) digest_i_blocks_update(d, *p, head, 64);
    *p += head;
    if (head != size) {
        memcpy(d->block, *p + 64 * blocks, (size - head) % 64);
        d->fill = (uint32_t)((size - head) % 64);
    }
    return blocks;
}

/* ------------------------------------------------------------------ >>essential */

/* Begins a digest: d is ready for digest_update. d need not be initialised; beginning again is
   allowed at any time. algorithm is one of DIGEST_MD5 ... DIGEST_CRC32C; otherwise POSIO_E_ARG, and
   d is untouched. Initial values: RFC 1321, 3.3; FIPS 180-4, 5.3.1 and 5.3.3.
   Threads: one per handle. Allocates: no. Blocks: no. */
DIGEST_API posio_result digest_begin(digest *d, int algorithm)
{
    if (d == NULL || algorithm <= DIGEST_NONE || algorithm >= DIGEST_COUNT) return POSIO_E_ARG;
    d->algorithm = algorithm;
    d->fill = 0, d->size = 0, d->chunks = 0, d->blocks = 0, d->depth = 0;
    memset(d->block, 0, sizeof d->block);
    digest_i_iv(d->state);
    digest_i_xxh64_begin(d->lanes, 0);
    if (algorithm == DIGEST_MD5 || algorithm == DIGEST_SHA1) {
        d->state[0] = 0x67452301u, d->state[1] = 0xefcdab89u, d->state[2] = 0x98badcfeu;
        d->state[3] = 0x10325476u, d->state[4] = 0xc3d2e1f0u;
    }
    if (algorithm == DIGEST_ADLER32) d->state[0] = 1;
    if (algorithm == DIGEST_CRC32C) d->state[0] = 0;
    return POSIO_OK;
}

/* Appends size bytes. data may be NULL when size is 0; any alignment. How the bytes are cut into
   calls does not matter to the result. Fastest are multiples of DIGEST_BLOCK_SIZE; of 64 KiB and
   more for BLAKE3, which takes up to 256 chunks at once. At most 2^61 - 1 bytes in all for MD5,
   SHA-1 and SHA-256. An all-zero digest is of DIGEST_NONE: it takes bytes, and its result has none.
   Threads: one per handle. Allocates: no. Blocks: no. */
DIGEST_API void digest_update(digest *d, const void *data, size_t size)
{
    const uint8_t *p = (const uint8_t *)data;
    if (size == 0) return;
    d->size += size;
    switch (d->algorithm) {
    case DIGEST_MD5:
    case DIGEST_SHA1:
    case DIGEST_SHA256: digest_i_blocks_update(d, p, size, 64); break;
    case DIGEST_XXH64: digest_i_blocks_update(d, p, size, 32); break;
    case DIGEST_BLAKE3: digest_i_blake3_update(d, p, size); break;
    case DIGEST_ADLER32: d->state[0] = DIGEST_I_ADLER32_UPDATE(d->state[0], p, size); break;
    case DIGEST_CRC32C: d->state[0] = DIGEST_I_CRC32C_UPDATE(d->state[0], p, size); break;
    default: break;
    }
}

/* As digest_update(states[i], data[i], sizes[i]) for each i below count, but faster: MD5, SHA-1 and
   SHA-256 of different streams are computed side by side, each in a lane of the vector registers,
   up to 16 at a time. A lane whose stream has no more whole blocks takes the next stream: sizes may
   differ and be 0 (data[i] may then be NULL), and from call to call streams join and leave. All
   states are distinct digests, of one algorithm; those of another than the first, of algorithms
   without lanes, or replaced by a macro, are updated one by one. Fastest are sizes from 16 KiB on,
   and multiples of DIGEST_BLOCK_SIZE.
   Threads: one per handle. Allocates: no. Blocks: no. */
DIGEST_API void digest_update_many(digest *const *states, const void *const *data,
                                   const size_t *sizes, uint32_t count)
{
    struct {
        digest *d;
        const uint8_t *p;
        size_t left; // blocks
    } lane[16], ran[16];
    uint32_t *words[16], unused[8] = {0};
    const uint8_t *from[16];
    const int algorithm = count != 0 ? states[0]->algorithm : DIGEST_NONE;
    uint32_t next = 0, active = 0, lanes, used, i;
    digest_i_many *run;
    for (;;) {
        size_t n;
        for (; active < 16 && next < count; next++) {
            const uint8_t *p = (const uint8_t *)data[next];
            if (sizes[next] == 0) continue;
            if (states[next]->algorithm != algorithm ||
                digest_i_many_of(algorithm, UINT32_MAX, &run) == 1) {
                digest_update(states[next], p, sizes[next]);
                continue;
            }
            n = digest_i_many_join(states[next], &p, sizes[next]);
            if (n == 0) continue;
            lane[active].d = states[next], lane[active].p = p, lane[active].left = n;
            active++;
        }
        if (active == 0) return;
        lanes = digest_i_many_of(algorithm, active, &run);
        used = lanes < active ? lanes : active;
        for (n = lane[0].left, i = 1; i < used; i++)
            if (lane[i].left < n) n = lane[i].left;
        // Streams that wait for a lane take turns, so that no long one is left to the end alone.
        if (lanes > 1 && used < active && n > 64) n = 64;
        for (i = 0; i < lanes; i++) { // those without a stream repeat the first
            words[i] = i < used ? lane[i].d->state : unused;
            from[i] = lane[i < used ? i : 0].p;
        }
        if (lanes > 1) run(words, from, n);
        else digest_i_blocks(lane[0].d, lane[0].p, n);
        memcpy(ran, lane, used * sizeof lane[0]);
        memmove(lane, lane + used, (active - used) * sizeof lane[0]);
        active -= used;
        for (i = 0; i < used; i++) {
            ran[i].p += 64 * n, ran[i].left -= n;
            if (ran[i].left != 0) lane[active++] = ran[i];
        }
    }
}

/* The digest of all bytes so far, written to out; returns its size in bytes (digest_size). d is not
   changed: it may be asked again, and updating may go on. XXH64, Adler-32 and CRC-32C are written
   big-endian, as tools print them. out has room for DIGEST_MAX_SIZE bytes.
   Threads: one per handle. Allocates: no. Blocks: no. */
DIGEST_API size_t digest_result(const digest *d, uint8_t out[DIGEST_MAX_SIZE])
{
    switch (d->algorithm) {
    case DIGEST_MD5: digest_i_blocks_result(d, out, 4); return 16;
    case DIGEST_SHA1: digest_i_blocks_result(d, out, 5); return 20;
    case DIGEST_SHA256: digest_i_blocks_result(d, out, 8); return 32;
    case DIGEST_BLAKE3: digest_i_blake3_result(d, out); return 32;
    case DIGEST_XXH64:
        digest_i_put_be64(out, digest_i_xxh64_end(d->lanes, 0, d->size, d->block, d->fill));
        return 8;
    case DIGEST_ADLER32:
    case DIGEST_CRC32C: digest_i_put_be32(out, d->state[0]); return 4;
    default: return 0;
    }
}

/* The digest of size bytes in one call: as digest_begin, digest_update, digest_result. Returns 0,
   and leaves out alone, when there is no such algorithm.
   Threads: any. Allocates: no. Blocks: no. */
DIGEST_API size_t digest_of(int algorithm, const void *data, size_t size,
                            uint8_t out[DIGEST_MAX_SIZE])
{
    digest d;
    if (digest_begin(&d, algorithm) != POSIO_OK) return 0;
    digest_update(&d, data, size);
    return digest_result(&d, out);
}

/* ------------------------------------------------------------------ >>inspection */

/* Bytes of an algorithm's result; 0 when there is no such algorithm.
   Threads: any. Allocates: no. Blocks: no. */
DIGEST_API size_t digest_size(int algorithm)
{
    static const uint8_t sizes[DIGEST_COUNT] = {0, 16, 20, 32, 32, 8, 4, 4};
    return algorithm > DIGEST_NONE && algorithm < DIGEST_COUNT ? sizes[algorithm] : 0;
}

/* "md5", "sha1", "sha256", "blake3", "xxh64", "adler32", "crc32c"; "none" for anything else. The
   string is constant. Threads: any. Allocates: no. Blocks: no. */
DIGEST_API const char *digest_name(int algorithm)
{
    static const char *const names[DIGEST_COUNT] = {"none",   "md5",   "sha1",    "sha256",
                                                    "blake3", "xxh64", "adler32", "crc32c"};
    return names[algorithm > DIGEST_NONE && algorithm < DIGEST_COUNT ? algorithm : DIGEST_NONE];
}

/* The algorithm of a name as digest_name gives it, in any case of letters and with or without a
   hyphen before its number ("SHA-256"). DIGEST_NONE when there is none, or name is NULL.
   Threads: any. Allocates: no. Blocks: no. */
DIGEST_API int digest_from_name(const char *name)
{
    int algorithm;
    for (algorithm = 1; name != NULL && algorithm < DIGEST_COUNT; algorithm++) {
        const char *a = digest_name(algorithm), *b = name;
        int letters = 1;
        for (;; a++, b++) {
            const char lower = (char)(*b >= 'A' && *b <= 'Z' ? *b - 'A' + 'a' : *b);
            if (letters && *a >= '0' && *a <= '9') {
                letters = 0;
                if (*b == '-' && b != name) b++;
                if (*b != *a) break;
                continue;
            }
            if (lower != *a) break;
            if (*a == 0) return algorithm;
        }
    }
    return DIGEST_NONE;
}

/* Writes size bytes as 2 * size lower-case digits and a NUL: out has room for 2 * size + 1.
   Threads: any. Allocates: no. Blocks: no. */
DIGEST_API void digest_hex(const uint8_t *bytes, size_t size, char *out)
{
    size_t i;
    for (i = 0; i < size; i++) {
        *out++ = "0123456789abcdef"[bytes[i] >> 4];
        *out++ = "0123456789abcdef"[bytes[i] & 15];
    }
    *out = 0;
}

// 0 ... 15, or 16 when c is not a digit. In words, not by table: the end of a string is no digit.
DIGEST_API unsigned digest_i_nibble(char c)
{
    if (c >= '0' && c <= '9') return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f') return (unsigned)(c - 'a' + 10);
    return c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10) : 16;
}

/* The reverse: hex is exactly 2 * size digits of either case and a NUL. Otherwise, or when it is
   NULL, POSIO_E_ARG, and out is untouched. Threads: any. Allocates: no. Blocks: no. */
DIGEST_API posio_result digest_from_hex(const char *hex, uint8_t *out, size_t size)
{
    size_t i;
    if (hex == NULL) return POSIO_E_ARG;
    for (i = 0; i / 2 < size; i++)
        if (digest_i_nibble(hex[i]) > 15) return POSIO_E_ARG;
    if (hex[i] != 0) return POSIO_E_ARG;
    for (i = 0; i < size; i++)
        out[i] = (uint8_t)(digest_i_nibble(hex[2 * i]) << 4 | digest_i_nibble(hex[2 * i + 1]));
    return POSIO_OK;
}

/* ------------------------------------------------------------------ >>advanced */

/* Adler-32 (RFC 1950, 8.2) of what came before and size more bytes; begin with 1. data may be NULL
   when size is 0. Threads: any. Allocates: no. Blocks: no. */
DIGEST_API uint32_t digest_adler32(uint32_t adler, const void *data, size_t size)
{
    (void)data;
    return size == 0 ? adler : DIGEST_I_ADLER32_UPDATE(adler, (const uint8_t *)data, size);
}

/* CRC-32C (RFC 3720, 12.1) of what came before and size more bytes; begin with 0. data may be NULL
   when size is 0. Threads: any. Allocates: no. Blocks: no. */
DIGEST_API uint32_t digest_crc32c(uint32_t crc, const void *data, size_t size)
{
    (void)data;
    return size == 0 ? crc : DIGEST_I_CRC32C_UPDATE(crc, (const uint8_t *)data, size);
}

/* XXH64 of size bytes with a seed, as a number. data may be NULL when size is 0.
   Threads: any. Allocates: no. Blocks: no. */
DIGEST_API uint64_t digest_xxh64(const void *data, size_t size, uint64_t seed)
{
    const uint8_t *p = (const uint8_t *)data;
    const size_t whole = size / 32;
    uint64_t lanes[4];
    digest_i_xxh64_begin(lanes, seed);
    if (whole != 0) {
        DIGEST_I_XXH64_BLOCKS(lanes, p, whole);
        p += whole * 32;
    }
    return digest_i_xxh64_end(lanes, seed, size, p, size % 32);
}

#undef DIGEST_I_INLINE
#undef DIGEST_I_X86
#undef DIGEST_I_TARGET
#undef DIGEST_I_LITTLE
#undef DIGEST_I_NEON
#undef DIGEST_I_ARM_SHA
#undef DIGEST_I_ARM_CRC
#undef DIGEST_I_CRC32C_PCLMUL
#undef DIGEST_I_WIDE
#undef DIGEST_I_SHA
#undef DIGEST_I_LANES4
#undef DIGEST_I_LEAVES
#undef DIGEST_I_FIRST
#undef DIGEST_I_ROL32
#undef DIGEST_I_ROR32
#undef DIGEST_I_ROL64
#undef DIGEST_I_MD5_BLOCKS
#undef DIGEST_I_SHA1_BLOCKS
#undef DIGEST_I_SHA256_BLOCKS
#undef DIGEST_I_XXH64_BLOCKS
#undef DIGEST_I_BLAKE3_MANY
#undef DIGEST_I_ADLER32_UPDATE
#undef DIGEST_I_CRC32C_UPDATE
#undef DIGEST_I_CHUNK_START
#undef DIGEST_I_CHUNK_END
#undef DIGEST_I_PARENT
#undef DIGEST_I_ROOT
#undef DIGEST_I_P1
#undef DIGEST_I_P2
#undef DIGEST_I_P3
#undef DIGEST_I_P4
#undef DIGEST_I_P5
#elif defined(DIGEST_IMPLEMENTATION) && DIGEST_I_IMPLEMENTED < 100
#error "digest.h: the functions of an older copy came first; include the newest header first"
#endif
/* >>end functions */
