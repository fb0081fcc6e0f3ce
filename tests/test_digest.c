/* test_digest.c - digest.h against published vectors, other programs' results and definitions.

   Build with -DTEST_PEERS and -lcrypto -ldeflate to run all of it with OpenSSL and libdeflate
   plugged in by the macros of digest.h. No other library is needed without. */
#if defined(TEST_PEERS)
#define OPENSSL_SUPPRESS_DEPRECATED
#include <libdeflate.h>
#include <openssl/md5.h>
#include <openssl/sha.h>

static void peer_md5(uint32_t *s, const uint8_t *p, size_t n)
{
    MD5_CTX c = {s[0], s[1], s[2], s[3], 0, 0, {0}, 0};
    MD5_Update(&c, p, n * 64);
    s[0] = c.A, s[1] = c.B, s[2] = c.C, s[3] = c.D;
}

static void peer_sha1(uint32_t *s, const uint8_t *p, size_t n)
{
    SHA_CTX c = {s[0], s[1], s[2], s[3], s[4], 0, 0, {0}, 0};
    SHA1_Update(&c, p, n * 64);
    s[0] = c.h0, s[1] = c.h1, s[2] = c.h2, s[3] = c.h3, s[4] = c.h4;
}

static void peer_sha256(uint32_t *s, const uint8_t *p, size_t n)
{
    SHA256_CTX c = {{s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]}, 0, 0, {0}, 0, 32};
    size_t i;
    SHA256_Update(&c, p, n * 64);
    for (i = 0; i < 8; i++) s[i] = c.h[i];
}
#define DIGEST_MD5_BLOCKS peer_md5
#define DIGEST_SHA1_BLOCKS peer_sha1
#define DIGEST_SHA256_BLOCKS peer_sha256
#define DIGEST_ADLER32_UPDATE libdeflate_adler32
#endif

#define DIGEST_IMPLEMENTATION
#include "../digest.h"
#include "test.h"
#if !defined(_WIN32)
#include <sys/mman.h>
#endif

/* ------------------------------------------------------------------ helpers */

// The sets of processor features every vector is run with, each cut to what is here.
#define SSSE3 (POSIO_CPU_SSSE3 | POSIO_CPU_SSE41)
#define SHA_NI (POSIO_CPU_SHA | SSSE3)
static const uint32_t masks[] = {0,
                                 POSIO_CPU_SSE42 | POSIO_CPU_NEON,
                                 POSIO_CPU_SHA, // without SSSE3 it must not be used
                                 SHA_NI | POSIO_CPU_ARM_SHA,
                                 SSSE3 | POSIO_CPU_ARM_CRC,
                                 POSIO_CPU_BMI2,
                                 POSIO_CPU_SSE42 | POSIO_CPU_PCLMUL | POSIO_CPU_ARM_CRC,
                                 POSIO_CPU_AVX2,
                                 POSIO_CPU_AVX2 | SHA_NI,
                                 POSIO_CPU_AVX2 | POSIO_CPU_AVX512,
                                 POSIO_CPU_VNNI512,
                                 POSIO_CPU_NEON | POSIO_CPU_ARM_SHA | POSIO_CPU_ARM_CRC,
                                 UINT32_MAX}; // the last: whatever comes after runs with all
enum { MASKS = sizeof masks / sizeof masks[0], LARGE = 102400 };

// Whether masks[m], cut to what is here, is what an earlier one was too: then the rest of a costly
// test is spared.
static int seen_before(size_t m)
{
    uint32_t here;
    size_t i;
    posio_cpu_mask(UINT32_MAX);
    here = posio_cpu();
    for (i = 0; i < m && (masks[i] & here) != (masks[m] & here); i++) {}
    posio_cpu_mask(masks[m]);
    return i < m;
}

// The input of the BLAKE3 project's test vectors: 0, 1, ... 250, 0, 1, ...
static const uint8_t *pattern(void)
{
    static uint8_t data[LARGE];
    size_t i;
    for (i = 0; i < LARGE; i++) data[i] = (uint8_t)(i % 251);
    return data;
}

static void check_hex(int algorithm, const void *data, size_t size, const char *want)
{
    uint8_t sum[DIGEST_MAX_SIZE];
    char got[2 * DIGEST_MAX_SIZE + 1];
    size_t n = digest_of(algorithm, data, size, sum);
    CHECK_EQ(n, digest_size(algorithm));
    digest_hex(sum, n, got);
    CHECK_STR(got, want);
}

static void check_text(int algorithm, const char *text, const char *want)
{
    size_t i;
    for (i = 0; i < MASKS; i++) {
        posio_cpu_mask(masks[i]);
        check_hex(algorithm, text, strlen(text), want);
    }
}

/* ------------------------------------------------------------------ published vectors */

#define DIGITS80 \
    "1234567890123456789012345678901234567890" \
    "1234567890123456789012345678901234567890"
#define ALNUM62 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define BITS448 "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
#define BITS896 \
    "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn" \
    "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu"

TEST(md5_rfc1321) // RFC 1321, A.5
{
    check_text(DIGEST_MD5, "", "d41d8cd98f00b204e9800998ecf8427e");
    check_text(DIGEST_MD5, "a", "0cc175b9c0f1b6a831c399e269772661");
    check_text(DIGEST_MD5, "abc", "900150983cd24fb0d6963f7d28e17f72");
    check_text(DIGEST_MD5, "message digest", "f96b697d7cb7938d525a2f31aaf161d0");
    check_text(DIGEST_MD5, "abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b");
    check_text(DIGEST_MD5, ALNUM62, "d174ab98d277d9f5a5611c2c9f419d9f");
    check_text(DIGEST_MD5, DIGITS80, "57edf4a22be3c955ac49da2e2107b67a");
}

TEST(sha_fips180) // FIPS 180 examples, as on csrc.nist.gov
{
    check_text(DIGEST_SHA1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d");
    check_text(DIGEST_SHA1, BITS448, "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    check_text(DIGEST_SHA1, BITS896, "a49b2446a02c645bf419f995b67091253a04a259");
    check_text(DIGEST_SHA256, "abc",
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check_text(DIGEST_SHA256, BITS448,
               "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    check_text(DIGEST_SHA256, BITS896,
               "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
}

TEST(million_a) // the same sources, and RFC 1321's algorithm by md5sum
{
    uint8_t *data = (uint8_t *)malloc(1000000);
    size_t i;
    REQUIRE(data != NULL);
    memset(data, 'a', 1000000);
    for (i = 0; i < MASKS; i++) {
        posio_cpu_mask(masks[i]);
        check_hex(DIGEST_MD5, data, 1000000, "7707d6ae4e027c70eea2a935c2296f21");
        check_hex(DIGEST_SHA1, data, 1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
        check_hex(DIGEST_SHA256, data, 1000000,
                  "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }
    free(data);
}

TEST(crc32c_rfc3720) // RFC 3720, B.4 (which prints the bytes in wire order: lowest first)
{
    uint8_t zeros[32] = {0}, ones[32], up[32], down[32];
    // The last: an iSCSI READ (10) command PDU.
    uint8_t pdu[48] = {0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0,
                       0x04, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02};
    size_t i;
    for (i = 0; i < 32; i++) ones[i] = 0xff, up[i] = (uint8_t)i, down[i] = (uint8_t)(31 - i);
    for (i = 0; i < MASKS; i++) {
        posio_cpu_mask(masks[i]);
        CHECK_EQ(digest_crc32c(0, zeros, 32), 0x8a9136aau);
        CHECK_EQ(digest_crc32c(0, ones, 32), 0x62a8ab43u);
        CHECK_EQ(digest_crc32c(0, up, 32), 0x46dd794eu);
        CHECK_EQ(digest_crc32c(0, down, 32), 0x113fdb5cu);
        CHECK_EQ(digest_crc32c(0, pdu, 48), 0xd9963a56u);
        CHECK_EQ(digest_crc32c(0, NULL, 0), 0);
        CHECK_EQ(digest_crc32c(7, NULL, 0), 7);
        check_hex(DIGEST_CRC32C, "123456789", 9, "e3069283");
    }
}

TEST(adler32_known)
{
    check_text(DIGEST_ADLER32, "", "00000001");
    check_text(DIGEST_ADLER32, "a", "00620062");
    check_text(DIGEST_ADLER32, "abc", "024d0127");
    check_text(DIGEST_ADLER32, "Wikipedia", "11e60398"); // the article "Adler-32"
    CHECK_EQ(digest_adler32(1, NULL, 0), 1);
    CHECK_EQ(digest_adler32(0xfff0fff0u, NULL, 0), 0xfff0fff0u);
}

TEST(xxh64_seeded) // the xxHash project's sanity check: its generator, lengths, seeds, results
{
    uint8_t data[222];
    const uint64_t seed = 2654435761u;
    uint64_t x = seed;
    size_t i;
    for (i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(x >> 56);
        x *= 11400714785074694797u;
    }
    CHECK_EQ(digest_xxh64(NULL, 0, 0), 0xef46db3751d8e999u);
    CHECK_EQ(digest_xxh64(NULL, 0, seed), 0xac75fda2929b17efu);
    CHECK_EQ(digest_xxh64(data, 1, 0), 0xe934a84adb052768u);
    CHECK_EQ(digest_xxh64(data, 1, seed), 0x5014607643a9b4c3u);
    CHECK_EQ(digest_xxh64(data, 4, 0), 0x9136a0dca57457eeu);
    CHECK_EQ(digest_xxh64(data, 14, 0), 0x8282dcc4994e35c8u);
    CHECK_EQ(digest_xxh64(data, 14, seed), 0xc3bd6bf63deb6df0u);
    CHECK_EQ(digest_xxh64(data, 222, 0), 0xb641ae8cb691c174u);
    CHECK_EQ(digest_xxh64(data, 222, seed), 0x20cb8ab7ae10c14au);
}

/* ------------------------------------------------------------------ other programs' results */

typedef struct vector {
    uint32_t size;
    const char *hex;
} vector;

// python3 -c 'import sys; sys.stdout.buffer.write(bytes(i % 251 for i in range(N)))' | b3sum
// The lengths are those of the BLAKE3 project's test_vectors.json, and 16384.
static const vector blake3_vectors[] = {
    {0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"},
    {1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"},
    {2, "7b7015bb92cf0b318037702a6cdd81dee41224f734684c2c122cd6359cb1ee63"},
    {3, "e1be4d7a8ab5560aa4199eea339849ba8e293d55ca0a81006726d184519e647f"},
    {7, "3f8770f387faad08faa9d8414e9f449ac68e6ff0417f673f602a646a891419fe"},
    {8, "2351207d04fc16ade43ccab08600939c7c1fa70a5c0aaca76063d04c3228eaeb"},
    {63, "e9bc37a594daad83be9470df7f7b3798297c3d834ce80ba85d6e207627b7db7b"},
    {64, "4eed7141ea4a5cd4b788606bd23f46e212af9cacebacdc7d1f4c6dc7f2511b98"},
    {65, "de1e5fa0be70df6d2be8fffd0e99ceaa8eb6e8c93a63f2d8d1c30ecb6b263dee"},
    {127, "d81293fda863f008c09e92fc382a81f5a0b4a1251cba1634016a0f86a6bd640d"},
    {128, "f17e570564b26578c33bb7f44643f539624b05df1a76c81f30acd548c44b45ef"},
    {129, "683aaae9f3c5ba37eaaf072aed0f9e30bac0865137bae68b1fde4ca2aebdcb12"},
    {1023, "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11"},
    {1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"},
    {1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"},
    {2048, "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a"},
    {2049, "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030"},
    {3072, "b98cb0ff3623be03326b373de6b9095218513e64f1ee2edd2525c7ad1e5cffd2"},
    {3073, "7124b49501012f81cc7f11ca069ec9226cecb8a2c850cfe644e327d22d3e1cd3"},
    {4096, "015094013f57a5277b59d8475c0501042c0b642e531b0a1c8f58d2163229e969"},
    {4097, "9b4052b38f1c5fc8b1f9ff7ac7b27cd242487b3d890d15c96a1c25b8aa0fb995"},
    {5120, "9cadc15fed8b5d854562b26a9536d9707cadeda9b143978f319ab34230535833"},
    {5121, "628bd2cb2004694adaab7bbd778a25df25c47b9d4155a55f8fbd79f2fe154cff"},
    {6144, "3e2e5b74e048f3add6d21faab3f83aa44d3b2278afb83b80b3c35164ebeca205"},
    {6145, "f1323a8631446cc50536a9f705ee5cb619424d46887f3c376c695b70e0f0507f"},
    {7168, "61da957ec2499a95d6b8023e2b0e604ec7f6b50e80a9678b89d2628e99ada77a"},
    {7169, "a003fc7a51754a9b3c7fae0367ab3d782dccf28855a03d435f8cfe74605e7817"},
    {8192, "aae792484c8efe4f19e2ca7d371d8c467ffb10748d8a5a1ae579948f718a2a63"},
    {8193, "bab6c09cb8ce8cf459261398d2e7aef35700bf488116ceb94a36d0f5f1b7bc3b"},
    {16384, "f875d6646de28985646f34ee13be9a576fd515f76b5b0a26bb324735041ddde4"},
    {31744, "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47"},
    {102400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"},
};

// ... | xxhsum -H64
static const vector xxh64_vectors[] = {
    {0, "ef46db3751d8e999"},
    {1, "e934a84adb052768"},
    {3, "e5c7bb4533bc65dd"},
    {4, "ffced8604453cc1e"},
    {7, "14cc643f630c72d2"},
    {8, "884a173614b81b8d"},
    {31, "c346d2b59b4d8ee1"},
    {32, "cbf59c5116ff32b4"},
    {33, "0c535d1acafb8ead"},
    {63, "e26aa9e2a95f8e4f"},
    {64, "f7c67301db6713f0"},
    {1000, "f306f04aa88b54d3"},
    {102400, "eb1adcdd9e1369a6"},
};

// ... | md5sum, sha1sum, sha256sum; Adler-32 by python3's zlib.adler32
static const struct {
    uint32_t size;
    const char *md5, *sha1, *sha256;
    uint32_t adler32;
} block_vectors[] = {
    {0, "d41d8cd98f00b204e9800998ecf8427e",
     "da39a3ee5e6b4b0d3255bfef95601890afd80709",
     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 0x00000001},
    {1, "93b885adfe0da089cdf634904fd59f71",
     "5ba93c9db0cff93f52b521d7420e43f6eda2784f",
     "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d", 0x00010001},
    {55, "6912ee65fff2d9f9ce2508cddf8bcda0",
     "8ae2d46729cfe68ff927af5eec9c7d1b66d65ac2",
     "463eb28e72f82e0a96c0a4cc53690c571281131f672aa229e0d45ae59b598b59", 0x6c7f05ce},
    {56, "51fdd1acda72405dfdfa03fcb85896d7",
     "636e2ec698dac903498e648bd2f3af641d3c88cb",
     "da2ae4d6b36748f2a318f23e7ab1dfdf45acdc9d049bd80e59de82a60895f562", 0x72840605},
    {63, "48a6295221902e8e0938f773a7185e72",
     "6d942da0c4392b123528f2905c713a3ce28364bd",
     "29af2686fd53374a36b0846694cc342177e428d1647515f078784d69cdb9e488", 0xa2ff07a2},
    {64, "b2d3f56bc197fd985d5965079b5e7148",
     "c6138d514ffa2135bfce0ed0b8fac65669917ec7",
     "fdeab9acf3710362bd2658cdc9a29e8f9c757fcf9811603a8c447cd1d9151108", 0xaae007e1},
    {65, "8bd7053801c768420faf816fadba971c",
     "69bd728ad6e13cd76ff19751fde427b00e395746",
     "4bfd2c8b6f1eec7a2afeb48b934ee4b2694182027e6d0fc075074f2fabb31781", 0xb3010821},
    {119, "1c772251899a7ff007400b888d6b2042",
     "41c89d06001bab4ab78736b44efe7ce18ce6ae08",
     "da18797ed7c3a777f0847f429724a2d8cd5138e6ed2895c3fa1a6d39d18f7ec6", 0x49bb1b6e},
    {120, "b7ba1efc6022e9ed272f00b8831e26e6",
     "d3dbd653bd8597b7475321b60a36891278e6a04a",
     "f52b23db1fbb6ded89ef42a23ce0c8922c45f25c50b568a93bf1c075420bbb7c", 0x65a01be5},
    {1000, "a24f1e3ef66950e1327f210e3997ba2c",
     "c9c960a0b925474fab83942cc27d504fc24ac37b",
     "4e4c294b331f7a2099a379bec34b9f9fc03dc46ab465d998f4d683da53487e6d", 0x6cf4e66a},
    {102400, "1a0f81547e5ba2e9c4a4b94a74731993",
     "f18b928d893ae172a000efa19b80e1c04fb36414",
     "74588b7f0bcc354ac14d9cf199fa3a20c05f0c7293b9075b2f2e146e718de800", 0xfdfe57a2},
};

TEST(pattern_vectors)
{
    const uint8_t *data = pattern();
    size_t m, i;
    for (m = 0; m < MASKS; m++) {
        posio_cpu_mask(masks[m]);
        for (i = 0; i < sizeof blake3_vectors / sizeof blake3_vectors[0]; i++)
            check_hex(DIGEST_BLAKE3, data, blake3_vectors[i].size, blake3_vectors[i].hex);
        for (i = 0; i < sizeof xxh64_vectors / sizeof xxh64_vectors[0]; i++)
            check_hex(DIGEST_XXH64, data, xxh64_vectors[i].size, xxh64_vectors[i].hex);
        for (i = 0; i < sizeof block_vectors / sizeof block_vectors[0]; i++) {
            const size_t n = block_vectors[i].size;
            check_hex(DIGEST_MD5, data, n, block_vectors[i].md5);
            check_hex(DIGEST_SHA1, data, n, block_vectors[i].sha1);
            check_hex(DIGEST_SHA256, data, n, block_vectors[i].sha256);
            CHECK_EQ(digest_adler32(1, data, n), block_vectors[i].adler32);
        }
    }
}

// head -c 536870921 /dev/zero | md5sum ...: nine bytes more than 2^32 bits.
TEST(more_than_2_to_32_bits)
{
    const size_t piece = (size_t)1 << 20;
    const int algorithms[3] = {DIGEST_MD5, DIGEST_SHA1, DIGEST_SHA256};
    const char *const want[3] = {
        "228bd78447520ca30503e7fccaf57814", "4b1d39abaabc5cad25a9f0a0044a673456342746",
        "04c7bbba5afa7b28c90eea63d1bb840f1ddce576ebdc490e7fb1e53e3463e9db"};
    uint8_t *zeros, sum[DIGEST_MAX_SIZE];
    char hex[2 * DIGEST_MAX_SIZE + 1];
    digest d;
    int a, i;
    posio_cpu_mask(UINT32_MAX);
    if (!(posio_cpu() & POSIO_CPU_SHA)) SKIP("takes too long without SHA instructions");
    zeros = (uint8_t *)calloc(1, piece);
    REQUIRE(zeros != NULL);
    for (a = 0; a < 3; a++) {
        digest_begin(&d, algorithms[a]);
        for (i = 0; i < 512; i++) digest_update(&d, zeros, piece);
        digest_update(&d, zeros, 9);
        digest_hex(sum, digest_result(&d, sum), hex);
        CHECK_STR(hex, want[a]);
    }
    free(zeros);
}

/* ------------------------------------------------------------------ definitions, bit by bit */

static uint32_t naive_adler32(uint32_t adler, const uint8_t *p, size_t size)
{
    uint32_t s1 = adler & 0xffff, s2 = adler >> 16;
    for (; size != 0; size--) s1 = (s1 + *p++) % 65521, s2 = (s2 + s1) % 65521;
    return s2 << 16 | s1;
}

static uint32_t naive_crc32c(uint32_t crc, const uint8_t *p, size_t size)
{
    int i;
    crc = ~crc;
    for (; size != 0; size--)
        for (crc ^= *p++, i = 0; i < 8; i++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    return ~crc;
}

// Lengths around every border of the fast loops, the largest sums that can be, any start.
TEST(checksums_by_definition)
{
    static const size_t sizes[] = {1,    7,    8,    31,   32,    33,    63,   64,
                                   65,   127,  128,  191,  192,   255,   256,  257,
                                   447,  511,  512,  767,  768,   4095,  4097, 6144,
                                   183,  184,  185,  368,   5519,  5520, 5521,
                                   5552, 5553, 11040, 65535, 65536, 65537, 70000, LARGE};
    uint8_t *data = (uint8_t *)malloc(LARGE);
    uint64_t random = 1;
    size_t i, m, kind;
    REQUIRE(data != NULL);
    for (kind = 0; kind < 2; kind++) {
        for (i = 0; i < LARGE; i++) data[i] = kind ? 0xff : (uint8_t)(test_random(&random) >> 56);
        for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            const size_t at = LARGE - sizes[i] > 3 ? 3 : 0;
            const uint32_t adler = naive_adler32(0xfff0fff0u, data + at, sizes[i]);
            const uint32_t crc = naive_crc32c(0x12345678u, data + at, sizes[i]);
            for (m = 0; m < MASKS; m++) {
                posio_cpu_mask(masks[m]);
                CHECK_EQ(digest_adler32(0xfff0fff0u, data + at, sizes[i]), adler);
                CHECK_EQ(digest_crc32c(0x12345678u, data + at, sizes[i]), crc);
            }
        }
    }
    free(data);
}

/* ------------------------------------------------------------------ streaming */

// Every place to cut `size` bytes in two, for every algorithm.
static void check_splits(size_t size)
{
    const uint8_t *data = pattern();
    uint8_t want[DIGEST_MAX_SIZE], got[DIGEST_MAX_SIZE];
    digest d;
    int a;
    size_t cut, n;
    for (a = DIGEST_MD5; a < DIGEST_COUNT; a++) {
        n = digest_of(a, data, size, want);
        for (cut = 0; cut <= size; cut++) {
            digest_begin(&d, a);
            digest_update(&d, data, cut);
            digest_update(&d, data + cut, size - cut);
            CHECK_EQ(digest_result(&d, got), n);
            CHECK_MEM(got, want, n);
        }
    }
}

TEST(every_split)
{
    size_t m;
    for (m = 0; m < MASKS; m++) {
        posio_cpu_mask(masks[m]);
        check_splits(0);
        check_splits(64);
        check_splits(257);
    }
    check_splits(3 * 1024 + 1);
}

// Pieces of any size, and a result asked for in between, which must equal the one-shot and change
// nothing; also a copy of the state taken on the way.
TEST(pieces_and_snapshots)
{
    const uint8_t *data = pattern();
    uint64_t random = 7;
    int a, round;
    for (a = DIGEST_MD5; a < DIGEST_COUNT; a++) {
        for (round = 0; round < 12; round++) {
            uint8_t want[DIGEST_MAX_SIZE], got[DIGEST_MAX_SIZE];
            const size_t n = digest_size(a);
            size_t at = 0, size;
            digest d, copy;
            digest_begin(&d, a);
            while (at < LARGE) {
                size = (size_t)(test_random(&random) >> 32) % (round < 6 ? 300 : 40000);
                if (size > LARGE - at) size = LARGE - at;
                digest_update(&d, data + at, size);
                at += size;
                if (round > 1 && round < 6) continue;
                copy = d;
                digest_of(a, data, at, want);
                digest_result(&d, got);
                CHECK_MEM(got, want, n);
                digest_update(&copy, "x", 1);
                digest_result(&d, got);
                CHECK_MEM(got, want, n);
                if (round < 2 && at > 9000) break;
            }
            digest_of(a, data, at, want);
            digest_result(&d, got);
            CHECK_MEM(got, want, n);
        }
    }
}

TEST(byte_by_byte)
{
    const uint8_t *data = pattern();
    uint8_t want[DIGEST_MAX_SIZE], got[DIGEST_MAX_SIZE];
    int a;
    size_t i;
    for (a = DIGEST_MD5; a < DIGEST_COUNT; a++) {
        digest d;
        digest_begin(&d, a);
        for (i = 0; i < 5000; i++) digest_update(&d, data + i, 1);
        digest_of(a, data, 5000, want);
        digest_result(&d, got);
        CHECK_MEM(got, want, digest_size(a));
    }
}

// Any alignment, in a block that ends where the data does, so that sanitizers see a byte too many.
TEST(misaligned)
{
    static const size_t sizes[] = {1, 63, 64, 65, 127, 128, 200, 1025, 2500};
    size_t i, shift, m;
    int a;
    for (m = 0; m < MASKS; m++) {
        posio_cpu_mask(masks[m]);
        for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            for (shift = 0; shift < 8; shift++) {
                uint8_t *block = (uint8_t *)malloc(shift + sizes[i]);
                uint8_t want[DIGEST_MAX_SIZE], got[DIGEST_MAX_SIZE];
                REQUIRE(block != NULL);
                memcpy(block + shift, pattern(), sizes[i]);
                for (a = DIGEST_MD5; a < DIGEST_COUNT; a++) {
                    digest_of(a, pattern(), sizes[i], want);
                    digest_of(a, block + shift, sizes[i], got);
                    CHECK_MEM(got, want, digest_size(a));
                }
                free(block);
            }
        }
    }
}

TEST(begin_again_and_nothing)
{
    uint8_t want[DIGEST_MAX_SIZE], got[DIGEST_MAX_SIZE];
    digest d;
    int a;
    memset(&d, 0xee, sizeof d); // nothing may depend on what was there
    for (a = DIGEST_MD5; a < DIGEST_COUNT; a++) {
        CHECK_EQ(digest_begin(&d, a), POSIO_OK);
        digest_update(&d, pattern(), 5000);
        CHECK_EQ(digest_begin(&d, a), POSIO_OK);
        digest_update(&d, NULL, 0);
        digest_of(a, NULL, 0, want);
        digest_result(&d, got);
        CHECK_MEM(got, want, digest_size(a));
    }
}

/* ------------------------------------------------------------------ lengths, oracles */

#if !defined(TEST_PEERS)
#define oracle digest_of // by the portable code, which the vectors above have found right
#else
// OpenSSL and libdeflate themselves, not what they do for digest.h.
static size_t oracle(int algorithm, const void *data, size_t size, uint8_t *out)
{
    uint32_t adler;
    int i;
    switch (algorithm) {
    case DIGEST_MD5: MD5((const uint8_t *)data, size, out); return 16;
    case DIGEST_SHA1: SHA1((const uint8_t *)data, size, out); return 20;
    case DIGEST_SHA256: SHA256((const uint8_t *)data, size, out); return 32;
    case DIGEST_ADLER32:
        adler = libdeflate_adler32(1, data, size);
        for (i = 0; i < 4; i++) out[i] = (uint8_t)(adler >> (24 - 8 * i));
        return 4;
    default: return digest_of(algorithm, data, size, out);
    }
}
#endif

// Around every border of chunks and of subtrees, of lanes, of what is hashed at once.
TEST(blake3_lengths)
{
    const size_t most = (size_t)1100 * 1024;
    uint8_t *data = (uint8_t *)malloc(most + 1), want[DIGEST_MAX_SIZE], got[DIGEST_MAX_SIZE];
    uint64_t random = 3;
    size_t i, m, chunks, cut;
    REQUIRE(data != NULL);
    for (i = 0; i <= most; i++) data[i] = (uint8_t)(test_random(&random) >> 56);
    for (chunks = 0; chunks < 1100; chunks += chunks < 20 ? 1 : chunks < 80 ? 7 : 213) {
        for (i = 0; i < 3; i++) {
            const size_t size = chunks * 1024 + i - (i > chunks ? 1 : 0);
            posio_cpu_mask(0);
            digest_of(DIGEST_BLAKE3, data, size, want);
            for (m = 0; m < MASKS; m++) {
                digest d;
                if (seen_before(m)) continue;
                digest_of(DIGEST_BLAKE3, data, size, got);
                CHECK_MEM(got, want, 32);
                // The same in pieces that end on a chunk, or do not.
                cut = (size_t)(test_random(&random) >> 32) % (size + 1);
                if (m & 1) cut -= cut % 1024;
                digest_begin(&d, DIGEST_BLAKE3);
                digest_update(&d, data, cut);
                digest_result(&d, got); // must not disturb
                digest_update(&d, data + cut, size - cut);
                digest_result(&d, got);
                CHECK_MEM(got, want, 32);
            }
        }
    }
    free(data);
}

// python3 -c 'import sys; sys.stdout.buffer.write(bytes(i % 251 for i in range(N)))' | b3sum
TEST(blake3_megabytes)
{
    static const vector vectors[] = {
        {65536, "68d647e619a930e7b1082f74f334b0c65a315725569bdc123f0ee11881717bfe"},
        {65537, "7c99f9840a73dfcb6e5bfe4ff6d1558acab7e015640790c26411818bdbe17eca"},
        {262144, "d57dc906e20d3fd326ffaa85535500486f46a0979f5a323f028dcabfd381fd4a"},
        {262145, "531c319935cf78f34869faebd865e5748266b1799039103bfb851a680d9ed30c"},
        {1048576, "74cb441fd087764ca9c3694da742ebe30cbeb3060a17009ca81825c7a8d10343"},
        {1048577, "2f053cd7472cf0cd2f9adaf45c1180255b91b9a865404a63671a0ee5f792ed33"},
        {1500001, "81c023a08d613d8dbba54c57952755c1b00c364ddf7a1aecebe5f85427d26735"},
    };
    const size_t most = vectors[sizeof vectors / sizeof vectors[0] - 1].size;
    uint8_t *data = (uint8_t *)malloc(most);
    size_t i, m;
    REQUIRE(data != NULL);
    for (i = 0; i < most; i++) data[i] = (uint8_t)(i % 251);
    for (m = 0; m < MASKS; m++) {
        if (seen_before(m)) continue;
        for (i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
            check_hex(DIGEST_BLAKE3, data, vectors[i].size, vectors[i].hex);
    }
    free(data);
}

// Where the low half of a chunk's number wraps, in the midst of the lanes, and as far as it goes.
TEST(blake3_counters)
{
    enum { CHUNKS = 40, RIGHT = 32 };
    const uint64_t carry = (uint64_t)1 << 32, last = (uint64_t)1 << 53;
    const uint64_t numbers[] = {carry - 16, carry - 15, carry - 8, carry - 4,  carry - 3,
                                carry - 2,  carry - 1,  carry,     carry * 7 - 5,
                                last / 2 - 16,     last - 16, last - 1, last};
    uint8_t *data = (uint8_t *)malloc((size_t)CHUNKS * 1024);
    uint8_t want[CHUNKS * 32], got[CHUNKS * 32];
    size_t i, m, n;
    REQUIRE(data != NULL);
    for (i = 0; i < (size_t)CHUNKS * 1024; i++) data[i] = (uint8_t)(i * i >> 7);
    for (i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        // By the definition: one after another, the number in two words.
        posio_cpu_mask(0);
        for (n = 0; n < CHUNKS; n++) digest_i_blake3_one(data + n * 1024, numbers[i] + n, 0,
                                                         want + n * 32);
        for (m = 0; m < MASKS; m++) {
            digest d;
            uint8_t sum[2][DIGEST_MAX_SIZE];
            if (seen_before(m)) continue;
            for (n = 1; n <= CHUNKS; n += n < 18 ? 1 : 11) {
                memset(got, 0xcc, sizeof got);
                digest_i_blake3_many(data, n, numbers[i], 0, got);
                CHECK_MEM(got, want, n * 32);
                CHECK(n == CHUNKS || got[n * 32] == 0xcc);
            }
            // The same by way of the tree: as if so many chunks had been before.
            for (n = 0; n < 2; n++) {
                uint64_t bits = numbers[i];
                if (n == 0) posio_cpu_mask(0);
                else posio_cpu_mask(masks[m]);
                digest_begin(&d, DIGEST_BLAKE3);
                d.chunks = numbers[i];
                memset(d.stack, 0x3c, sizeof d.stack);
                for (; bits != 0; bits &= bits - 1) d.depth++;
                digest_update(&d, data, (size_t)CHUNKS * 1024 - RIGHT);
                CHECK_EQ(d.chunks, numbers[i] + CHUNKS - 1);
                digest_result(&d, sum[n]);
            }
            CHECK_MEM(sum[1], sum[0], 32);
        }
    }
    free(data);
}

/* ------------------------------------------------------------------ many streams */

enum { STREAMS = 37, CALLS = 4 };

// Random sizes for a random number of streams; between calls some leave, join, or rest.
static void many_streams(int algorithm, uint64_t *random, const uint8_t *data)
{
    static digest d[STREAMS], by_itself[STREAMS];
    digest *states[STREAMS];
    const void *from[STREAMS];
    size_t sizes[STREAMS];
    uint32_t i, call, streams = (uint32_t)(test_random(random) >> 32) % STREAMS + 1;
    const uint32_t kind = (uint32_t)(test_random(random) >> 32) % 4;
    for (i = 0; i < streams; i++) {
        digest_begin(&d[i], algorithm);
        digest_begin(&by_itself[i], algorithm);
    }
    for (call = 0; call < CALLS; call++) {
        uint32_t count = 0;
        for (i = 0; i < streams; i++) {
            const uint64_t r = test_random(random);
            size_t size = (size_t)(r >> 32) % 6000;
            if (kind == 1 || r % 7 == 0) size %= 130;
            if (kind == 2) size = 2048;
            if (kind == 3 && i != 0) size %= 700; // the first outlasts the others
            if (r % 11 == 0) continue;
            if (r % 13 == 0) size = 0;
            states[count] = &d[i];
            from[count] = size == 0 ? NULL : data + (r >> 8) % (LARGE - 6000);
            sizes[count] = size;
            digest_update(&by_itself[i], from[count], size);
            count++;
        }
        digest_update_many(states, from, sizes, count);
    }
    for (i = 0; i < streams; i++) {
        uint8_t want[DIGEST_MAX_SIZE], got[DIGEST_MAX_SIZE];
        digest_result(&d[i], got);
        CHECK_MEM(got, want, digest_result(&by_itself[i], want));
        CHECK_EQ(d[i].size, by_itself[i].size);
    }
}

TEST(many_at_random)
{
    uint64_t random = 11;
    size_t m;
    int a, round;
    for (m = 0; m < MASKS; m++) {
        if (seen_before(m)) continue;
        for (a = DIGEST_MD5; a < DIGEST_COUNT; a++)
            for (round = 0; round < (a <= DIGEST_SHA256 ? 12 : 2); round++)
                many_streams(a, &random, pattern());
    }
}

// Every number of streams, each against its oracle: so that every lane is used, and is alone.
TEST(many_by_oracle)
{
    static digest d[STREAMS];
    static uint8_t want[4][STREAMS][DIGEST_MAX_SIZE];
    digest *states[STREAMS];
    const void *from[STREAMS];
    size_t sizes[STREAMS], m;
    uint32_t i, streams;
    int a;
    posio_cpu_mask(0);
    for (i = 0; i < STREAMS; i++) {
        states[i] = &d[i], from[i] = pattern() + 13 * i, sizes[i] = 300 + 67 * i;
        for (a = DIGEST_MD5; a <= DIGEST_SHA256; a++) oracle(a, from[i], sizes[i], want[a][i]);
    }
    for (m = 0; m < MASKS; m++) {
        if (seen_before(m)) continue;
        for (a = DIGEST_MD5; a <= DIGEST_SHA256; a++) {
            for (streams = 0; streams <= STREAMS; streams++) {
                uint8_t got[DIGEST_MAX_SIZE];
                for (i = 0; i < streams; i++) digest_begin(&d[i], a);
                digest_update_many(states, from, sizes, streams);
                for (i = 0; i < streams; i++)
                    CHECK_MEM(got, want[a][i], digest_result(&d[i], got));
            }
        }
    }
}

TEST(many_of_nothing)
{
    digest md5, blake3, none, *states[3];
    const void *from[3] = {"abc", "abc", "abc"};
    const size_t sizes[3] = {3, 3, 3};
    uint8_t want[DIGEST_MAX_SIZE], got[DIGEST_MAX_SIZE];
    memset(&none, 0, sizeof none);
    states[0] = &md5, states[1] = &blake3, states[2] = &none;
    digest_begin(&md5, DIGEST_MD5);
    digest_begin(&blake3, DIGEST_BLAKE3);
    digest_update_many(NULL, NULL, NULL, 0);
    digest_update_many(states, from, sizes, 3); // other algorithms than the first are right too
    digest_of(DIGEST_MD5, "abc", 3, want);
    CHECK_MEM(got, want, digest_result(&md5, got));
    digest_of(DIGEST_BLAKE3, "abc", 3, want);
    CHECK_MEM(got, want, digest_result(&blake3, got));
    CHECK_EQ(digest_result(&none, got), 0);
}

/* ------------------------------------------------------------------ features */

// Every test above is silent about code that the processor, or the compiler, has no use for; here
// that is a SKIP for each feature. `needs` come along, though it is `feature` that is missed.
static void with_feature(uint32_t feature, uint32_t needs, const char *name)
{
    static const size_t sizes[] = {100, 1000, 5000, 40000};
    uint8_t want[DIGEST_MAX_SIZE], got[DIGEST_MAX_SIZE];
    uint64_t random = 5;
    char why[80];
    size_t i;
    int a, round;
    posio_cpu_mask(feature);
    if ((posio_cpu() & feature) != feature) {
        posio_cpu_mask(UINT32_MAX);
        snprintf(why, sizeof why, "this processor has no %s: its code did not run", name);
        SKIP(why);
    }
    for (a = DIGEST_MD5; a < DIGEST_COUNT; a++) {
        for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            posio_cpu_mask(0);
            oracle(a, pattern(), sizes[i], want);
            posio_cpu_mask(feature | needs);
            digest_of(a, pattern(), sizes[i], got);
            CHECK_MEM(got, want, digest_size(a));
        }
        for (round = 0; round < 4; round++) many_streams(a, &random, pattern());
    }
    posio_cpu_mask(UINT32_MAX);
}

#if (defined(__x86_64__) || defined(__i386__)) && !defined(__TINYC__)
TEST(sse41) { with_feature(SSSE3, 0, "SSE4.1"); }
TEST(sse42) { with_feature(POSIO_CPU_SSE42, 0, "SSE4.2"); }
TEST(pclmul) { with_feature(POSIO_CPU_PCLMUL, POSIO_CPU_SSE42, "PCLMUL"); }
TEST(bmi2) { with_feature(POSIO_CPU_BMI2, 0, "BMI2"); }
TEST(sha_ni) { with_feature(POSIO_CPU_SHA, SSSE3, "SHA-NI"); }
#if defined(_WIN64) && !defined(__clang__)
TEST(avx2) { SKIP("not by GCC for 64-bit Windows"); }
TEST(avx512) { SKIP("not by GCC for 64-bit Windows"); }
TEST(avx512_vnni) { SKIP("not by GCC for 64-bit Windows"); }
#else
TEST(avx2) { with_feature(POSIO_CPU_AVX2, 0, "AVX2"); }
TEST(avx512) { with_feature(POSIO_CPU_AVX512, 0, "AVX-512"); }
TEST(avx512_vnni) { with_feature(POSIO_CPU_VNNI512, 0, "AVX-512 VNNI"); }
#endif
#define RUN_FEATURES \
    RUN(sse41); \
    RUN(sse42); \
    RUN(pclmul); \
    RUN(bmi2); \
    RUN(sha_ni); \
    RUN(avx2); \
    RUN(avx512); \
    RUN(avx512_vnni);
#elif defined(__aarch64__)
TEST(neon) { with_feature(POSIO_CPU_NEON, 0, "NEON"); }
TEST(arm_sha) { with_feature(POSIO_CPU_ARM_SHA, 0, "SHA-1 and SHA-2"); }
TEST(arm_crc) { with_feature(POSIO_CPU_ARM_CRC, 0, "CRC-32C"); }
#define RUN_FEATURES RUN(neon); RUN(arm_sha); RUN(arm_crc);
#else
TEST(features) { with_feature(0, 0, "nothing"); }
#define RUN_FEATURES RUN(features);
#endif

/* ------------------------------------------------------------------ guard pages */

#if defined(_WIN32)
TEST(guard_pages) { SKIP("no mmap"); }
#else
enum { EDGES = 30, EDGE_PAGE = 65536, EDGE_ROOM = 2 * EDGE_PAGE }; // a multiple of any page size
static const size_t edge_sizes[EDGES] = {
    1,   15,  16,  63,  64,   65,   127,  128,  129,  191,  192,  193,   255,           256,   257,
    511, 767, 768, 1000, 1024, 1025, 4096, 6143, 6144, 6200, 8192, 16384, 17 * 1024 + 3, 65536,
    EDGE_ROOM};
static uint8_t edge_sums[2][DIGEST_COUNT][EDGES][DIGEST_MAX_SIZE];

// `count` streams that all begin behind the page, or all end before one; stream k has the size
// number `first + k * step` of edge_sizes, round and round. So every lane has an edge on its way.
static void streams_at_edges(int a, const uint8_t *data, size_t end, uint32_t count, size_t first,
                             size_t step, size_t below)
{
    static digest d[16];
    digest *states[16] = {NULL};
    const void *from[16] = {NULL};
    size_t each[16] = {0}, size_of[16];
    uint8_t got[DIGEST_MAX_SIZE];
    uint32_t k;
    for (k = 0; k < count; k++) {
        size_of[k] = (first + k * step) % below;
        each[k] = edge_sizes[size_of[k]];
        from[k] = end ? data + EDGE_ROOM - each[k] : data;
        digest_begin(&d[k], a);
        states[k] = &d[k];
    }
    digest_update_many(states, from, each, count);
    for (k = 0; k < count; k++) {
        digest_result(&d[k], got);
        CHECK_MEM(got, edge_sums[end][a][size_of[k]], digest_size(a));
    }
}

// Data that begins right behind a page that cannot be touched, or ends right before one.
TEST(guard_pages)
{
    const size_t below_20000 = EDGES - 2;
    uint8_t *block = (uint8_t *)mmap(NULL, EDGE_ROOM + 2 * EDGE_PAGE, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *data = block + EDGE_PAGE, got[DIGEST_MAX_SIZE];
    size_t i, m, end;
    int a;
    if (block == (uint8_t *)MAP_FAILED) SKIP("no memory");
    REQUIRE(mprotect(block, EDGE_PAGE, PROT_NONE) == 0);
    REQUIRE(mprotect(data + EDGE_ROOM, EDGE_PAGE, PROT_NONE) == 0);
    for (i = 0; i < EDGE_ROOM; i++) data[i] = (uint8_t)(i * i >> 3);
    posio_cpu_mask(0);
    for (end = 0; end < 2; end++)
        for (a = DIGEST_MD5; a < DIGEST_COUNT; a++)
            for (i = 0; i < EDGES; i++)
                oracle(a, end ? data + EDGE_ROOM - edge_sizes[i] : data, edge_sizes[i],
                       edge_sums[end][a][i]);
    for (m = 0; m < MASKS; m++) {
        if (seen_before(m)) continue;
        for (i = 0; i < EDGES; i++) {
            for (end = 0; end < 2; end++) {
                const uint8_t *p = end ? data + EDGE_ROOM - edge_sizes[i] : data;
                for (a = DIGEST_MD5; a < DIGEST_COUNT; a++) {
                    if (i >= below_20000 && a != DIGEST_BLAKE3 && a < DIGEST_ADLER32) continue;
                    digest_of(a, p, edge_sizes[i], got);
                    CHECK_MEM(got, edge_sums[end][a][i], digest_size(a));
                    streams_at_edges(a, data, end, 3, i, 0, EDGES);
                    if (a > DIGEST_SHA256) continue;
                    streams_at_edges(a, data, end, 8, i, 0, EDGES);
                    streams_at_edges(a, data, end, 16, i, 0, EDGES);
                    streams_at_edges(a, data, end, 8, i, 1, below_20000);
                    streams_at_edges(a, data, end, 16, i, 5, below_20000);
                }
            }
        }
    }
    munmap(block, EDGE_ROOM + 2 * EDGE_PAGE);
}
#endif

/* ------------------------------------------------------------------ arguments, names, hex */

TEST(unknown_algorithms)
{
    uint8_t out[DIGEST_MAX_SIZE] = {1, 2, 3};
    digest d;
    memset(&d, 0x55, sizeof d);
    CHECK(digest_begin(&d, DIGEST_NONE) == POSIO_E_ARG);
    CHECK(digest_begin(&d, DIGEST_COUNT) == POSIO_E_ARG);
    CHECK(digest_begin(&d, -1) == POSIO_E_ARG);
    CHECK(digest_begin(NULL, DIGEST_MD5) == POSIO_E_ARG);
    CHECK_EQ(d.algorithm, 0x55555555);
    CHECK_EQ(digest_of(99, "abc", 3, out), 0);
    memset(&d, 0, sizeof d);
    digest_update(&d, "abc", 3);
    CHECK_EQ(digest_result(&d, out), 0);
    CHECK(out[0] == 1 && out[1] == 2 && out[2] == 3);
    CHECK_EQ(digest_size(DIGEST_NONE), 0);
    CHECK_EQ(digest_size(DIGEST_COUNT), 0);
    CHECK_EQ(digest_size(-1), 0);
    CHECK_STR(digest_name(-1), "none");
    CHECK_STR(digest_name(DIGEST_COUNT), "none");
}

TEST(names)
{
    int a;
    for (a = DIGEST_MD5; a < DIGEST_COUNT; a++) CHECK_EQ(digest_from_name(digest_name(a)), a);
    CHECK_STR(digest_name(DIGEST_BLAKE3), "blake3");
    CHECK_EQ(digest_from_name("SHA-1"), DIGEST_SHA1);
    CHECK_EQ(digest_from_name("sha-256"), DIGEST_SHA256);
    CHECK_EQ(digest_from_name("Sha256"), DIGEST_SHA256);
    CHECK_EQ(digest_from_name("MD5"), DIGEST_MD5);
    CHECK_EQ(digest_from_name("Adler-32"), DIGEST_ADLER32);
    CHECK_EQ(digest_from_name("CRC-32C"), DIGEST_CRC32C);
    CHECK_EQ(digest_from_name("crc32C"), DIGEST_CRC32C);
    CHECK_EQ(digest_from_name(""), DIGEST_NONE);
    CHECK_EQ(digest_from_name("none"), DIGEST_NONE);
    CHECK_EQ(digest_from_name("md"), DIGEST_NONE);
    CHECK_EQ(digest_from_name("md-"), DIGEST_NONE);
    CHECK_EQ(digest_from_name("md55"), DIGEST_NONE);
    CHECK_EQ(digest_from_name("md--5"), DIGEST_NONE);
    CHECK_EQ(digest_from_name("-md5"), DIGEST_NONE);
    CHECK_EQ(digest_from_name("sha-2-56"), DIGEST_NONE);
    CHECK_EQ(digest_from_name("sha512"), DIGEST_NONE);
    CHECK_EQ(digest_from_name("crc32"), DIGEST_NONE);
    CHECK_EQ(digest_from_name(NULL), DIGEST_NONE);
}

TEST(hex)
{
    const uint8_t bytes[4] = {0x00, 0x9a, 0xbc, 0xff};
    uint8_t out[4] = {9, 9, 9, 9};
    char text[9];
    digest_hex(bytes, 4, text);
    CHECK_STR(text, "009abcff");
    digest_hex(bytes, 0, text);
    CHECK_STR(text, "");
    CHECK(digest_from_hex("009abcf", out, 4) == POSIO_E_ARG);
    CHECK(digest_from_hex("009abcff0", out, 4) == POSIO_E_ARG);
    CHECK(digest_from_hex("009abcfg", out, 4) == POSIO_E_ARG);
    CHECK(digest_from_hex(" 09abcff", out, 4) == POSIO_E_ARG);
    CHECK(digest_from_hex("0/:@G`g\xff", out, 4) == POSIO_E_ARG);
    CHECK(digest_from_hex("", out, 4) == POSIO_E_ARG);
    CHECK(digest_from_hex(NULL, out, 4) == POSIO_E_ARG);
    CHECK(out[0] == 9 && out[1] == 9 && out[2] == 9 && out[3] == 9);
    CHECK(digest_from_hex("", out, 0) == POSIO_OK);
    CHECK(digest_from_hex("009ABcfF", out, 4) == POSIO_OK);
    CHECK_MEM(out, bytes, 4);
}

TEST_MAIN(RUN(md5_rfc1321); RUN(sha_fips180); RUN(million_a); RUN(crc32c_rfc3720);
          RUN(adler32_known); RUN(xxh64_seeded); RUN(pattern_vectors);
          RUN(more_than_2_to_32_bits); RUN(checksums_by_definition); RUN(every_split);
          RUN(pieces_and_snapshots); RUN(byte_by_byte); RUN(misaligned);
          RUN(begin_again_and_nothing); RUN(blake3_lengths); RUN(blake3_megabytes);
          RUN(blake3_counters); RUN(many_at_random); RUN(many_by_oracle); RUN(many_of_nothing);
          RUN_FEATURES RUN(guard_pages); RUN(unknown_algorithms); RUN(names); RUN(hex);)
