/* test_zstd_block.c - the examples of RFC 8878, and blocks built by hand.

   Whole files, damaged ones and the rare paths are compared with libzstd in test_zstd_par.c. */
#define ZSTD_BLOCK_IMPLEMENTATION
#include "../zstd_block.h"
#include "test.h"

// ---------------------------------------------------------------------------------- tables

typedef struct row {
    uint8_t symbol, bits;
    uint16_t base;
} row;

static void check_table(const zstd_block *d, uint32_t table, const row *rows, uint32_t count)
{
    const zstd_block_i_alphabet *a = zstd_block_i_alphabet_of(table);
    uint32_t i;
    CHECK_EQ(1u << a->predefined_log, count);
    for (i = 0; i < count; i++) {
        const zstd_block_entry *e = &d->predefined[table][i];
        CHECK_EQ(e->state & 255, a->extra[rows[i].symbol]);
        CHECK_EQ(e->state >> 8 & 255, rows[i].bits);
        CHECK_EQ(e->state >> 16, rows[i].base);
        CHECK_EQ(e->base, a->base[rows[i].symbol]);
    }
}

/* RFC 8878, appendix A: symbol, bits and base of each state. */
TEST(predefined_tables)
{
    static const row lengths[64] = {
        {0, 4, 0}, {0, 4, 16}, {1, 5, 32}, {3, 5, 0}, {4, 5, 0}, {6, 5, 0}, {7, 5, 0}, {9, 5, 0},
        {10, 5, 0}, {12, 5, 0}, {14, 6, 0}, {16, 5, 0}, {18, 5, 0}, {19, 5, 0}, {21, 5, 0},
        {22, 5, 0}, {24, 5, 0}, {25, 5, 32}, {26, 5, 0}, {27, 6, 0}, {29, 6, 0}, {31, 6, 0},
        {0, 4, 32}, {1, 4, 0}, {2, 5, 0}, {4, 5, 32}, {5, 5, 0}, {7, 5, 32}, {8, 5, 0},
        {10, 5, 32}, {11, 5, 0}, {13, 6, 0}, {16, 5, 32}, {17, 5, 0}, {19, 5, 32}, {20, 5, 0},
        {22, 5, 32}, {23, 5, 0}, {25, 4, 0}, {25, 4, 16}, {26, 5, 32}, {28, 6, 0}, {30, 6, 0},
        {0, 4, 48}, {1, 4, 16}, {2, 5, 32}, {3, 5, 32}, {5, 5, 32}, {6, 5, 32}, {8, 5, 32},
        {9, 5, 32}, {11, 5, 32}, {12, 5, 32}, {15, 6, 0}, {17, 5, 32}, {18, 5, 32}, {20, 5, 32},
        {21, 5, 32}, {23, 5, 32}, {24, 5, 32}, {35, 6, 0}, {34, 6, 0}, {33, 6, 0}, {32, 6, 0}};
    static const row matches[64] = {
        {0, 6, 0}, {1, 4, 0}, {2, 5, 32}, {3, 5, 0}, {5, 5, 0}, {6, 5, 0}, {8, 5, 0}, {10, 6, 0},
        {13, 6, 0}, {16, 6, 0}, {19, 6, 0}, {22, 6, 0}, {25, 6, 0}, {28, 6, 0}, {31, 6, 0},
        {33, 6, 0}, {35, 6, 0}, {37, 6, 0}, {39, 6, 0}, {41, 6, 0}, {43, 6, 0}, {45, 6, 0},
        {1, 4, 16}, {2, 4, 0}, {3, 5, 32}, {4, 5, 0}, {6, 5, 32}, {7, 5, 0}, {9, 6, 0},
        {12, 6, 0}, {15, 6, 0}, {18, 6, 0}, {21, 6, 0}, {24, 6, 0}, {27, 6, 0}, {30, 6, 0},
        {32, 6, 0}, {34, 6, 0}, {36, 6, 0}, {38, 6, 0}, {40, 6, 0}, {42, 6, 0}, {44, 6, 0},
        {1, 4, 32}, {1, 4, 48}, {2, 4, 16}, {4, 5, 32}, {5, 5, 32}, {7, 5, 32}, {8, 5, 32},
        {11, 6, 0}, {14, 6, 0}, {17, 6, 0}, {20, 6, 0}, {23, 6, 0}, {26, 6, 0}, {29, 6, 0},
        {52, 6, 0}, {51, 6, 0}, {50, 6, 0}, {49, 6, 0}, {48, 6, 0}, {47, 6, 0}, {46, 6, 0}};
    static const row offsets[32] = {
        {0, 5, 0}, {6, 4, 0}, {9, 5, 0}, {15, 5, 0}, {21, 5, 0}, {3, 5, 0}, {7, 4, 0},
        {12, 5, 0}, {18, 5, 0}, {23, 5, 0}, {5, 5, 0}, {8, 4, 0}, {14, 5, 0}, {20, 5, 0},
        {2, 5, 0}, {7, 4, 16}, {11, 5, 0}, {17, 5, 0}, {22, 5, 0}, {4, 5, 0}, {8, 4, 16},
        {13, 5, 0}, {19, 5, 0}, {1, 5, 0}, {6, 4, 16}, {10, 5, 0}, {16, 5, 0}, {28, 5, 0},
        {27, 5, 0}, {26, 5, 0}, {25, 5, 0}, {24, 5, 0}};
    static zstd_block d;
    zstd_block_begin(&d);
    check_table(&d, ZSTD_BLOCK_I_LENGTHS, lengths, 64);
    check_table(&d, ZSTD_BLOCK_I_MATCHES, matches, 64);
    check_table(&d, ZSTD_BLOCK_I_OFFSETS, offsets, 32);
}

/* RFC 8878, 3.1.1.3.2.1.1: where the ranges of the codes end. */
TEST(alphabets)
{
    static const uint32_t ends[3] = {131072, 0, 131075 - 3};
    uint32_t k, i;
    for (k = 0; k < 3; k += 2) {
        const zstd_block_i_alphabet *a = zstd_block_i_alphabet_of(k);
        uint32_t next = 0;
        for (i = 0; i < a->symbols; i++) {
            CHECK_EQ(a->base[i], next);
            next += 1u << a->extra[i];
        }
        CHECK_EQ(next, ends[k]);
    }
    for (i = 2; i < 29; i++)
        CHECK_EQ(zstd_block_i_alphabet_of(ZSTD_BLOCK_I_OFFSETS)->base[i], (1u << i) - 3);
}

// ---------------------------------------------------------------------------------- literals

static zstd_block decoder;
static uint8_t literals[ZSTD_BLOCK_MAX + ZSTD_BLOCK_SLACK];
static uint64_t sequences[ZSTD_BLOCK_SEQUENCES];

/* Decodes a block; 0 if it is refused. */
static int decode(const uint8_t *p, size_t n, zstd_block_names *names, uint64_t number,
                  zstd_block_decoded *out)
{
    zstd_block_head head;
    return zstd_block_look(p, n, ZSTD_BLOCK_MAX, &head) &&
           zstd_block_name(names, p, n, number, &head) &&
           zstd_block_decode(&decoder, p, n, &head, names, ZSTD_BLOCK_MAX, literals, sequences,
                             out);
}

/* RFC 8878, 4.2.1 and 4.2.2: the tree with weights 4 3 2 0 1 1, and the symbols 0 1 4 5. (The
   stream there has the codes of 4 and 5 the other way round than the table above it; decoders
   follow the table.) */
TEST(huffman_example)
{
    static const uint8_t tree[] = {0x42, 0x80, 0x01, 132, 0x43, 0x20, 0x10, 0x01, 0x0d, 0};
    static const uint8_t treeless[] = {0x43, 0x80, 0, 0x01, 0x0d, 0};
    static const uint8_t bits[6] = {1, 2, 3, 0, 4, 4}, want[4] = {0, 1, 4, 5};
    zstd_block_names names;
    zstd_block_decoded out;
    uint8_t damaged[sizeof tree];
    size_t i;
    zstd_block_begin(&decoder);
    zstd_block_begin_frame(&names);
    CHECK(!decode(treeless, sizeof treeless, &names, 1, &out)); /* no tree yet */
    REQUIRE(decode(tree, sizeof tree, &names, 2, &out));
    CHECK_MEM(decoder.code_bits, bits, 6);
    CHECK_EQ(out.literal_count, 4);
    CHECK_EQ(out.size, 4);
    CHECK_MEM(out.literals, want, 4);
    memset(literals, 9, 4);
    REQUIRE(decode(treeless, sizeof treeless, &names, 3, &out));
    CHECK_MEM(out.literals, want, 4);
    zstd_block_begin(&decoder); /* another decoder builds the tree for itself */
    memset(literals, 9, 4);
    REQUIRE(decode(treeless, sizeof treeless, &names, 4, &out));
    CHECK_MEM(out.literals, want, 4);
    for (i = 0; i < sizeof tree; i++) CHECK(!decode(tree, i, &names, 5, &out));
    memcpy(damaged, tree, sizeof tree);
    damaged[8] = 0x0e; /* another bit behind the last symbol, or one too few */
    CHECK(!decode(damaged, sizeof tree, &names, 6, &out));
    damaged[8] = 0; /* no end mark */
    CHECK(!decode(damaged, sizeof tree, &names, 7, &out));
    memcpy(damaged, tree, sizeof tree);
    damaged[6] = 0x30; /* the weights do not come to a power of 2 less one */
    CHECK(!decode(damaged, sizeof tree, &names, 8, &out));
}

/* Literals in four streams, by a tree of two codes of one bit: libzstd wants 6, of which the last
   stream has none. What is behind them is not what was there. */
TEST(four_streams)
{
    static const uint8_t nothing[ZSTD_BLOCK_SLACK];
    zstd_block_names names;
    zstd_block_decoded out;
    uint32_t n, i;
    zstd_block_begin(&decoder);
    for (n = 1; n <= 28; n++) {
        const uint32_t quarter = (n + 3) / 4, v = 2 | 1 << 2 | n << 4 | 12u << 14;
        uint8_t p[16], want[28], *q = p;
        uint32_t done = 0, k;
        *q++ = (uint8_t)v, *q++ = (uint8_t)(v >> 8), *q++ = (uint8_t)(v >> 16);
        *q++ = 128, *q++ = 0x10;
        for (i = 0; i < 3; i++) *q++ = 1, *q++ = 0;
        for (i = 0; i < 4; i++) {
            const uint32_t left = n - done, count = i < 3 && quarter < left ? quarter : left;
            uint32_t bits = 1;
            for (k = 0; k < count; k++, done++) {
                want[done] = (uint8_t)((n * 37 + done * done) >> 1 & 1);
                bits = bits << 1 | want[done];
            }
            *q++ = (uint8_t)bits;
        }
        *q++ = 0; /* no sequences */
        zstd_block_begin_frame(&names);
        memset(literals, 0xee, 256);
        CHECK_EQ(decode(p, (size_t)(q - p), &names, n, &out), n >= 6);
        if (n < 6) continue;
        CHECK_EQ(out.literal_count, n);
        CHECK_MEM(out.literals, want, n);
        CHECK_MEM(out.literals + n, nothing, ZSTD_BLOCK_SLACK);
    }
}

/* Tables may name the codes of offsets that are too far; one that is used is refused. */
TEST(offset_codes_too_far)
{
    uint8_t p[16];
    uint32_t code;
    zstd_block_names names;
    zstd_block_decoded out;
    zstd_block_begin(&decoder);
    zstd_block_begin_frame(&names);
    for (code = 27; code <= 34; code++) { /* RLE literals "x", one sequence by RLE tables */
        static const uint8_t block[] = {9, 'x', 1, 0x54, 1, 0, 0, 0, 0, 0, 0, 0};
        const uint64_t mark = (uint64_t)1 << (code < 29 ? code : 2);
        uint32_t i;
        memcpy(p, block, sizeof block);
        p[5] = (uint8_t)code;
        for (i = 0; mark >> 8 * i != 0; i++) p[7 + i] = (uint8_t)(mark >> 8 * i);
        CHECK_EQ(decode(p, 7 + i, &names, code, &out), code < 29);
    }
}

// ---------------------------------------------------------------------------------- offsets

/* A block of one sequence by RLE tables: so many RLE literals, an offset value, a match of 3. */
static size_t one_sequence(uint8_t *p, uint32_t value, uint32_t count)
{
    const zstd_block_i_alphabet *a = zstd_block_i_alphabet_of(ZSTD_BLOCK_I_LENGTHS);
    uint32_t length = 35, code = 31, bits;
    while (a->base[length] > count) length--;
    while (value >> code == 0) code--;
    bits = value - (1u << code);
    bits = bits << a->extra[length] | (count - a->base[length]);
    bits |= 1u << (code + a->extra[length]);
    p[0] = (uint8_t)(1 | 3 << 2 | count << 4);
    p[1] = (uint8_t)(count >> 4);
    p[2] = (uint8_t)(count >> 12);
    p[3] = 'x';
    p[4] = 1;
    p[5] = 0x54;
    p[6] = (uint8_t)length;
    p[7] = (uint8_t)code;
    p[8] = 0;
    for (length = 9; bits != 0; bits >>= 8) p[length++] = (uint8_t)bits;
    return length;
}

/* RFC 8878, 3.1.1.5: the table of offset values, literals, and the recent offsets behind. */
TEST(repeated_offsets)
{
    static const uint32_t rows[10][5] = {
        {1114, 11, 1111, 1, 4},         {1, 22, 1111, 1, 4},
        {2225, 22, 2222, 1111, 1},      {1114, 111, 1111, 2222, 1111},
        {3336, 33, 3333, 1111, 2222},   {2, 22, 1111, 3333, 2222},
        {3, 33, 2222, 1111, 3333},      {3, 0, 2221, 2222, 1111},
        {1, 0, 2222, 2221, 1111},       {2, 0, 1111, 2222, 2221}};
    uint32_t repeats[3] = {1, 4, 8}, i, k;
    zstd_block_names names;
    zstd_block_decoded out;
    uint8_t p[16];
    zstd_block_begin(&decoder);
    zstd_block_begin_frame(&names);
    for (i = 0; i < 10; i++) {
        size_t n = one_sequence(p, rows[i][0], rows[i][1]);
        REQUIRE(decode(p, n, &names, i + 1, &out));
        CHECK_EQ(out.size, rows[i][1] + 3);
        REQUIRE(zstd_block_resolve(&out, sequences, repeats));
        for (k = 0; k < 3; k++) CHECK_EQ(repeats[k], rows[i][2 + k]);
        CHECK_EQ(sequences[0] >> ZSTD_BLOCK_I_OFFSET_AT, rows[i][2]);
    }
    repeats[0] = 1; /* less 1: no offset */
    REQUIRE(decode(p, one_sequence(p, 3, 0), &names, 20, &out));
    CHECK(!zstd_block_resolve(&out, sequences, repeats));
    CHECK_EQ(repeats[0], 1);
}

/* Matches at every offset and of every length, near the end of the room and far from it. */
TEST(matches)
{
    static uint8_t text[600], want[600];
    uint32_t offset, length, room, i;
    uint64_t s;
    zstd_block_decoded b;
    memset(&b, 0, sizeof b);
    memset(literals, 'l', sizeof literals);
    b.literals = literals;
    b.sequence_count = 1;
    for (offset = 1; offset <= 70; offset++)
        for (length = 3; length <= 100; length++)
            for (room = 0; room < 70; room += 3) {
                for (i = 0; i < 600; i++) text[i] = want[i] = (uint8_t)(i * 7 + offset);
                b.literal_count = length % 41;
                b.size = length + b.literal_count;
                b.reach = offset;
                s = (uint64_t)offset << ZSTD_BLOCK_I_OFFSET_AT |
                    (uint64_t)(length - 3) << ZSTD_BLOCK_I_MATCH_AT | b.literal_count;
                memset(want + 100, 'l', b.literal_count);
                for (i = 100 + b.literal_count; i < 100 + b.size; i++) want[i] = want[i - offset];
                CHECK(zstd_block_execute(&b, &s, text, text + 100, text + 100 + b.size + room,
                                         1000));
                CHECK_MEM(text, want, 100 + b.size);
                CHECK_MEM(text + 100 + b.size + room, want + 100 + b.size + room,
                          500 - b.size - room);
                CHECK(!zstd_block_execute(&b, &s, text, text + 100, text + 99 + b.size, 1000));
                CHECK(!zstd_block_execute(&b, &s, text, text + 100, text + 600, offset - 1));
            }
    s = (uint64_t)200 << ZSTD_BLOCK_I_OFFSET_AT; /* before the begin of the frame */
    b.literal_count = 0;
    b.size = 3;
    b.reach = 200;
    CHECK(!zstd_block_execute(&b, &s, text, text + 100, text + 600, 1000));
    CHECK(zstd_block_execute(&b, &s, text, text + 200, text + 600, 1000));
}

TEST_MAIN(RUN(predefined_tables); RUN(alphabets); RUN(huffman_example); RUN(four_streams);
          RUN(offset_codes_too_far); RUN(repeated_offsets); RUN(matches);)
