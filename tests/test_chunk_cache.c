/* The contract of chunk_cache.h: contents, bound, 2Q, single flight, shared failures, memory. */
#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#endif
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The calls of the C library's heap that the headers make can be counted, to show that a caller's
   allocator is used for everything. */
static int heap_watched;
static unsigned heap_calls;
static void *heap_take(size_t n)
{
    if (heap_watched) heap_calls++;
    return malloc(n);
}
#define malloc(n) heap_take(n)
#define CHUNK_CACHE_IMPLEMENTATION
#include "../chunk_cache.h"
#undef malloc
#include "test.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define NEVER UINT64_MAX
/* A call that must fail: the same code returned and reported, with a sentence. Wants an `err`. */
#define CHECK_FAILS(call, want) \
    do { \
        memset(&err, 0x55, sizeof err); \
        err.file[sizeof err.file - 1] = err.message[sizeof err.message - 1] = 0; \
        CHECK_EQ((int64_t)(call), want); \
        CHECK_EQ(err.code, want); \
        CHECK(err.message[0] != 0 && err.message[0] != 0x55); \
    } while (0)

// ---------------------------------------------------------------------------------- a decoder

/* Chunks are functions of their key: every byte, and the length of every seventh. */
typedef struct source {
    chunk_cache *cache;
    uint32_t chunk_size, slack;
    uint32_t decodes, wrong;
    uint64_t fail_key;      /* this key fails ... */
    uint32_t fail_left;     /* ... so many times */
    uint32_t wait_for;      /* a decode returns when so many wait for it, or are inside too */
    uint32_t inside, late;
    uint32_t depth;         /* a decode reads key + 1000 first, so many levels deep */
} source;

static unsigned char byte_of(uint64_t key, uint64_t i)
{
    return (unsigned char)((((key + 1) * 0x9e3779b97f4a7c15u) ^ (i * 0xbf58476d1ce4e5b9u)) >> 37);
}

static size_t length_of(const source *s, uint64_t key)
{
    return key % 7 == 3 ? (size_t)(key % s->chunk_size) : s->chunk_size;
}

static int is_chunk(const void *buf, uint64_t key, size_t offset, size_t n)
{
    const unsigned char *p = (const unsigned char *)buf;
    size_t i;
    for (i = 0; i < n && p[i] == byte_of(key, offset + i); i++) {}
    return i == n;
}

static void source_init(source *s, uint32_t chunk_size)
{
    memset(s, 0, sizeof *s);
    s->chunk_size = chunk_size;
    s->fail_key = NEVER;
}

static posio_result decode(void *user, uint64_t key, void *chunk, size_t *size, posio_error *err)
{
    source *s = (source *)user;
    unsigned char *p = (unsigned char *)chunk;
    size_t i, n = length_of(s, key);
    (void)posio_atomic_add(&s->decodes, 1);
    if (*size != s->chunk_size) posio_atomic_store(&s->wrong, 1);
    if (key == s->fail_key && s->fail_left != 0) {
        s->fail_left--;
        (void)posio_fail(err, POSIO_E_DATA, 77 + key, "chunk %u is damaged", (unsigned)key);
        (void)posio_fail_in(err, "image.E02", 2);
        return POSIO_E_DATA;
    }
    if (key < s->depth * (uint64_t)1000) {
        unsigned char one;
        posio_result r = chunk_cache_read(s->cache, key + 1000, 0, &one, 1, decode, s, err);
        if (r != POSIO_OK) return r;
        if (one != byte_of(key + 1000, 0)) posio_atomic_store(&s->wrong, 2);
    }
    for (i = 0; i < n; i++) p[i] = byte_of(key, i);
    memset(p + n, 0xee, s->chunk_size - n + s->slack); /* all of the room may be scribbled on */
    *size = n;
    return POSIO_OK;
}

static chunk_cache *cache_of(source *s, uint64_t chunks, uint32_t shards)
{
    chunk_cache_desc desc;
    posio_error err;
    memset(&desc, 0, sizeof desc);
    desc.bytes = chunks * s->chunk_size;
    desc.chunk_size = s->chunk_size;
    desc.slack = s->slack;
    desc.shards = shards;
    s->cache = NULL;
    CHECK_EQ(chunk_cache_create(&s->cache, &desc, &err), POSIO_OK);
    return s->cache;
}

/* Reads a whole chunk, or `step` bytes at a time; 0 when anything is wrong. */
static int read_chunk(source *s, uint64_t key, size_t step)
{
    size_t at, size = length_of(s, key);
    unsigned char *buf = (unsigned char *)malloc(step + 1);
    int ok = 1;
    for (at = 0; at < size && ok; at += step) {
        size_t n = step < size - at ? step : size - at;
        posio_error err;
        buf[n] = 0x5a;
        ok = chunk_cache_read(s->cache, key, at, buf, n, decode, s, &err) == POSIO_OK &&
             is_chunk(buf, key, at, n) && buf[n] == 0x5a;
    }
    free(buf);
    return ok;
}

// ---------------------------------------------------------------------------------- one thread

TEST(hits_misses_and_contents)
{
    source s;
    chunk_cache *c;
    chunk_cache_stats stats;
    posio_error err;
    unsigned char buf[513];
    size_t at, n;
    source_init(&s, 512);
    s.slack = 32;
    c = cache_of(&s, 16, 1);
    CHECK_EQ(chunk_cache_read(c, 7, 100, buf, 16, decode, &s, &err), POSIO_OK);
    CHECK(is_chunk(buf, 7, 100, 16));
    CHECK_EQ(s.decodes, 1);
    stats = chunk_cache_get_stats(c);
    CHECK_EQ(stats.decodes, 1);
    CHECK_EQ(stats.hits, 0);
    CHECK_EQ(stats.chunks, 1);
    for (at = 0; at <= 512; at += 31)
        for (n = 0; n <= 512 - at; n += 67) {
            memset(buf, 0x5a, sizeof buf);
            CHECK_EQ(chunk_cache_read(c, 7, at, buf, n, decode, &s, NULL), POSIO_OK);
            CHECK(is_chunk(buf, 7, at, n));
            CHECK_EQ(buf[n], 0x5a);
        }
    CHECK_EQ(chunk_cache_read(c, 7, 512, NULL, 0, decode, &s, &err), POSIO_OK);
    CHECK_EQ(s.decodes, 1);
    /* Keys of any kind. */
    CHECK(read_chunk(&s, 0, 512) && read_chunk(&s, NEVER, 512) && read_chunk(&s, NEVER - 1, 100));
    CHECK(read_chunk(&s, 0, 512) && read_chunk(&s, NEVER, 512) && read_chunk(&s, NEVER - 1, 100));
    stats = chunk_cache_get_stats(c);
    CHECK_EQ(stats.decodes, 4);
    CHECK_EQ(stats.chunks, 4);
    CHECK_EQ(stats.waits, 0);
    CHECK_EQ(stats.evictions, 0);
    CHECK_EQ(s.wrong, 0);
    chunk_cache_destroy(c);
    chunk_cache_destroy(NULL);
}

TEST(bytes_beyond_a_chunks_length)
{
    source s;
    chunk_cache *c;
    posio_error err;
    unsigned char buf[600];
    uint64_t key = 7 * 40 + 3; /* 283 bytes */
    source_init(&s, 512);
    c = cache_of(&s, 4, 1);
    REQUIRE(length_of(&s, key) == 283);
    memset(buf, 0x5a, sizeof buf);
    CHECK_FAILS(chunk_cache_read(c, key, 0, buf, 284, decode, &s, &err), POSIO_E_RANGE);
    CHECK_FAILS(chunk_cache_read(c, key, 283, buf, 1, decode, &s, &err), POSIO_E_RANGE);
    CHECK_FAILS(chunk_cache_read(c, key, 284, buf, 0, decode, &s, &err), POSIO_E_RANGE);
    CHECK_FAILS(chunk_cache_read(c, key, 1, buf, SIZE_MAX, decode, &s, &err), POSIO_E_RANGE);
    CHECK_FAILS(chunk_cache_read(c, key, SIZE_MAX, buf, 2, decode, &s, &err), POSIO_E_RANGE);
    CHECK_FAILS(chunk_cache_read(c, 1, 0, buf, 513, decode, &s, &err), POSIO_E_RANGE);
    CHECK_EQ((int64_t)chunk_cache_read(c, 1, 0, buf, 513, decode, &s, NULL), POSIO_E_RANGE);
    CHECK(buf[0] == 0x5a && memcmp(buf, buf + 1, sizeof buf - 1) == 0);
    /* The chunk itself is in the cache, and good. */
    CHECK(read_chunk(&s, key, 283) && read_chunk(&s, 1, 512));
    CHECK_EQ(s.decodes, 2);
    /* A chunk of no bytes at all. */
    for (key = 3; length_of(&s, key) != 0; key += 7) {}
    CHECK_EQ(chunk_cache_read(c, key, 0, buf, 0, decode, &s, &err), POSIO_OK);
    CHECK_FAILS(chunk_cache_read(c, key, 0, buf, 1, decode, &s, &err), POSIO_E_RANGE);
    CHECK_EQ(s.decodes, 3);
    chunk_cache_destroy(c);
}

/* Never more chunks than were asked for, whatever the shape; every read right and accounted for. */
TEST(the_bound_holds_for_every_shape)
{
    static const uint32_t sizes[] = {1, 512, 65536};
    static const uint32_t shards[] = {0, 1, 2, 16, 3, 256};
    static const uint64_t rooms[] = {0, 1, 2, 3, 5, 16, 33, 129};
    size_t i, j, k;
    for (i = 0; i < COUNT(sizes); i++)
        for (j = 0; j < COUNT(shards); j++)
            for (k = 0; k < COUNT(rooms); k++) {
                source s;
                chunk_cache *c;
                chunk_cache_stats stats;
                chunk_cache_desc desc;
                uint64_t seed = i * 100 + j * 10 + k + 1, n, reads = 0, most = rooms[k];
                memset(&desc, 0, sizeof desc);
                source_init(&s, sizes[i]);
                desc.chunk_size = sizes[i];
                desc.bytes = rooms[k] * sizes[i] + sizes[i] / 2;
                if (desc.bytes == 0) desc.bytes = 1; /* 0 is the default, not nothing */
                if (desc.bytes / sizes[i] > most) most = desc.bytes / sizes[i];
                desc.shards = shards[j];
                if (most == 0) most = 1; /* at least one chunk is kept */
                REQUIRE(chunk_cache_create(&c, &desc, NULL) == POSIO_OK);
                s.cache = c;
                for (n = 0; n < (sizes[i] > 1000 ? 40u : 400u); n++) {
                    uint64_t key = test_random(&seed) % (most * 3);
                    unsigned char b;
                    size_t length = length_of(&s, key), at;
                    if (length == 0) continue;
                    at = (size_t)(test_random(&seed) % length);
                    CHECK_EQ(chunk_cache_read(c, key, at, &b, 1, decode, &s, NULL), POSIO_OK);
                    CHECK_EQ(b, byte_of(key, at));
                    reads++;
                    if (n % 8 != 0) continue;
                    stats = chunk_cache_get_stats(c);
                    CHECK(stats.chunks <= most);
                }
                stats = chunk_cache_get_stats(c);
                CHECK_EQ(stats.hits + stats.decodes, reads);
                CHECK_EQ(stats.decodes, s.decodes);
                CHECK_EQ(stats.chunks + stats.evictions, stats.decodes);
                CHECK(stats.chunks <= most && stats.chunks != 0);
                CHECK_EQ(s.wrong, 0);
                chunk_cache_destroy(c);
            }
}

/* Which list a key is in: -1 = none. */
static int list_of(const chunk_cache *c, uint64_t key)
{
    uint32_t i;
    int l;
    for (i = 0; i < c->shard_count; i++)
        for (l = 0; l < CHUNK_CACHE_I_LISTS; l++) {
            const chunk_cache_i_entry *e = c->shards[i].lists[l].newest;
            for (; e != NULL; e = e->older)
                if (e->key == key) return l;
        }
    return -1;
}

/* Reads fresh keys until `key` has left the FIFO, then `key` again: a second interest. */
static int promote(source *s, uint64_t key, uint64_t *fresh)
{
    int tries;
    for (tries = 0; tries < 20 && list_of(s->cache, key) != CHUNK_CACHE_I_MAIN; tries++) {
        if (!read_chunk(s, key, s->chunk_size)) return 0;
        while (list_of(s->cache, key) == CHUNK_CACHE_I_FRESH)
            if (!read_chunk(s, (*fresh)++, s->chunk_size)) return 0;
    }
    return list_of(s->cache, key) == CHUNK_CACHE_I_MAIN;
}

TEST(a_second_interest_promotes)
{
    source s;
    chunk_cache *c;
    uint64_t fresh = 7000, i;
    uint32_t before;
    source_init(&s, 64);
    c = cache_of(&s, 8, 1);
    /* Reads of a chunk in the FIFO, as of one scan in small steps, promote nothing. */
    CHECK(read_chunk(&s, 1, 64) && read_chunk(&s, 1, 1) && read_chunk(&s, 1, 64));
    CHECK_EQ(list_of(c, 1), CHUNK_CACHE_I_FRESH);
    CHECK_EQ(s.decodes, 1);
    for (i = 0; i < 8; i++) CHECK(read_chunk(&s, fresh++, 64));
    CHECK_EQ(list_of(c, 1), -1);
    CHECK(read_chunk(&s, 1, 64)); /* remembered, although its bytes are gone */
    CHECK_EQ(s.decodes, 10);
    CHECK_EQ(list_of(c, 1), CHUNK_CACHE_I_MAIN);
    for (i = 0; i < 800; i++) CHECK(read_chunk(&s, fresh++, 64));
    before = s.decodes;
    CHECK(read_chunk(&s, 1, 64));
    CHECK_EQ(s.decodes, before);
    /* Among the promoted, the one that was wanted longest ago goes first. */
    for (i = 2; i <= 5; i++) CHECK(promote(&s, i, &fresh));
    for (i = 1; i <= 5; i++) CHECK_EQ(list_of(c, i), CHUNK_CACHE_I_MAIN);
    CHECK(read_chunk(&s, 1, 64)); /* 2 is the oldest now */
    for (i = 6; list_of(c, 2) != -1 && i < 20; i++) CHECK(promote(&s, i, &fresh));
    CHECK_EQ(list_of(c, 2), -1);
    CHECK_EQ(list_of(c, 1), CHUNK_CACHE_I_MAIN);
    CHECK_EQ(list_of(c, 3), CHUNK_CACHE_I_MAIN);
    CHECK(chunk_cache_get_stats(c).chunks <= 8);
    chunk_cache_destroy(c);
}

/* Decodes of a hot set during and after a scan of 100 times the cache. */
static void scan_with_hot_set(uint32_t chunk_size, uint32_t room, uint32_t hot, uint32_t shards,
                              size_t step, uint32_t *during, uint32_t *after)
{
    source s;
    chunk_cache *c;
    uint64_t fresh = 1 << 20, i;
    uint32_t scanned, before, rounds;
    source_init(&s, chunk_size);
    c = cache_of(&s, room, shards);
    for (rounds = 0; rounds < 30; rounds++) { /* the set becomes known as hot */
        before = s.decodes;
        for (i = 0; i < hot; i++) CHECK(read_chunk(&s, i * 7, step));
        if (s.decodes == before && rounds > 2) break;
        for (i = 0; i < room; i++) CHECK(read_chunk(&s, fresh++, chunk_size));
    }
    before = s.decodes;
    for (i = 0, scanned = 0; i < room * 100u; i++) {
        scanned += length_of(&s, fresh) != 0; /* nothing is read of an empty chunk */
        CHECK(read_chunk(&s, fresh++, step));
        if (i % 8 == 0) CHECK(read_chunk(&s, i / 8 % hot * 7, step));
    }
    *during = s.decodes - before - scanned;
    for (i = 0; i < room * 100u; i++) CHECK(read_chunk(&s, fresh++, step));
    before = s.decodes;
    for (i = 0; i < hot; i++) CHECK(read_chunk(&s, i * 7, step));
    *after = s.decodes - before;
    CHECK(chunk_cache_get_stats(c).chunks <= room);
    chunk_cache_destroy(c);
}

TEST(a_hot_set_survives_a_scan)
{
    uint32_t during = 99, after = 99;
    /* Half of the cache is hot. Whole chunks, and the same in reads of 4 KiB: no decode at all. */
    scan_with_hot_set(128, 64, 32, 1, 128, &during, &after);
    CHECK_EQ(during, 0);
    CHECK_EQ(after, 0);
    scan_with_hot_set(16384, 16, 8, 1, 4096, &during, &after);
    CHECK_EQ(during, 0);
    CHECK_EQ(after, 0);
    scan_with_hot_set(64, 64, 40, 1, 8, &during, &after);
    CHECK_EQ(during, 0);
    CHECK_EQ(after, 0);
    /* In shards the hot keys are spread by chance: nearly none. */
    scan_with_hot_set(32, 512, 200, 0, 32, &during, &after);
    CHECK(during <= 10);
    CHECK(after <= 10);
}

TEST(a_cache_smaller_than_one_chunk)
{
    source s;
    chunk_cache_desc desc;
    chunk_cache_stats stats;
    uint32_t shards;
    for (shards = 0; shards < 3; shards++) {
        uint64_t i;
        source_init(&s, 4096);
        memset(&desc, 0, sizeof desc);
        desc.bytes = 1;
        desc.chunk_size = 4096;
        desc.shards = shards * 8;
        REQUIRE(chunk_cache_create(&s.cache, &desc, NULL) == POSIO_OK);
        for (i = 0; i < 50; i++) CHECK(read_chunk(&s, i / 2 * 7, 4096));
        stats = chunk_cache_get_stats(s.cache);
        CHECK_EQ(stats.decodes, 25);
        CHECK_EQ(stats.hits, 25);
        CHECK_EQ(stats.chunks, 1);
        chunk_cache_destroy(s.cache);
    }
}

TEST(decoders_may_read_the_cache)
{
    uint64_t room;
    for (room = 1; room < 9; room++) { /* even one that holds less than the chain of decodes */
        source s;
        chunk_cache *c;
        chunk_cache_stats stats;
        posio_error err;
        unsigned char b;
        uint64_t i;
        source_init(&s, 256);
        s.depth = 3;
        c = cache_of(&s, room, 1);
        for (i = 0; i < 100; i += 7) CHECK(read_chunk(&s, i, 256));
        CHECK_EQ(s.wrong, 0);
        CHECK(read_chunk(&s, 9000, 256)); /* what was taken beyond the bound is given back */
        stats = chunk_cache_get_stats(c);
        CHECK(stats.chunks <= room);
        /* The innermost error comes out, and neither chunk is kept. */
        s.fail_key = 3005;
        s.fail_left = 2;
        CHECK_FAILS(chunk_cache_read(c, 5, 0, &b, 1, decode, &s, &err), POSIO_E_DATA);
        CHECK_EQ(err.offset, 3082);
        CHECK_EQ(err.segment, 2);
        CHECK_STR(err.file, "image.E02");
        CHECK_STR(err.message, "chunk 3005 is damaged");
        CHECK_FAILS(chunk_cache_read(c, 2005, 0, &b, 1, decode, &s, &err), POSIO_E_DATA);
        CHECK_EQ(list_of(c, 5), -1);
        CHECK_EQ(list_of(c, 2005), -1);
        CHECK_EQ(list_of(c, 3005), -1);
        CHECK(read_chunk(&s, 5, 256));
        chunk_cache_destroy(c);
    }
}

TEST(failures_are_not_kept)
{
    source s;
    chunk_cache *c;
    chunk_cache_stats stats;
    posio_error err;
    unsigned char b = 0x5a;
    int i;
    source_init(&s, 512);
    c = cache_of(&s, 4, 1);
    s.fail_key = 21;
    s.fail_left = 12;
    for (i = 0; i < 10; i++) {
        CHECK_FAILS(chunk_cache_read(c, 21, 0, &b, 1, decode, &s, &err), POSIO_E_DATA);
        CHECK_EQ(err.offset, 98);
        CHECK_EQ(err.segment, 2);
        CHECK_STR(err.file, "image.E02");
        CHECK_STR(err.message, "chunk 21 is damaged");
        CHECK_EQ(b, 0x5a);
        CHECK_EQ(chunk_cache_get_stats(c).chunks, 0);
    }
    CHECK_EQ((int64_t)chunk_cache_read(c, 21, 0, &b, 1, decode, &s, NULL), POSIO_E_DATA);
    for (i = 0; i < 40; i++) CHECK(read_chunk(&s, 700 + (uint64_t)i * 7, 512)); /* a full cache */
    CHECK_FAILS(chunk_cache_read(c, 21, 0, &b, 1, decode, &s, &err), POSIO_E_DATA);
    CHECK(read_chunk(&s, 21, 512)); /* the thirteenth time it is good */
    stats = chunk_cache_get_stats(c);
    CHECK_EQ(stats.decodes, 53);
    CHECK(stats.chunks <= 4);
    chunk_cache_destroy(c);
}

static posio_result decode_silent(void *user, uint64_t key, void *chunk, size_t *size,
                                  posio_error *err)
{
    (void)user;
    (void)chunk;
    (void)size;
    (void)err;
    return key == 1 ? POSIO_E_IO : POSIO_E_CANCELED;
}
static posio_result decode_boastful(void *user, uint64_t key, void *chunk, size_t *size,
                                    posio_error *err)
{
    (void)user;
    (void)key;
    (void)err;
    memset(chunk, 1, *size);
    *size += 1;
    return POSIO_OK;
}

TEST(decoders_that_misbehave)
{
    source s;
    chunk_cache *c;
    posio_error err;
    unsigned char buf[65];
    source_init(&s, 64);
    c = cache_of(&s, 4, 1);
    memset(&err, 0x55, sizeof err);
    CHECK_EQ((int64_t)chunk_cache_read(c, 1, 0, buf, 1, decode_silent, NULL, &err), POSIO_E_IO);
    CHECK_EQ(err.code, POSIO_E_IO); /* failed without a word */
    CHECK_EQ(err.offset, POSIO_NO_OFFSET);
    CHECK_STR(err.message, "");
    CHECK_EQ((int64_t)chunk_cache_read(c, 2, 0, buf, 1, decode_silent, NULL, &err),
             POSIO_E_CANCELED);
    CHECK_FAILS(chunk_cache_read(c, 3, 0, buf, 65, decode_boastful, NULL, &err), POSIO_E_ARG);
    CHECK_EQ(chunk_cache_get_stats(c).chunks, 0);
    CHECK(read_chunk(&s, 1, 64) && read_chunk(&s, 2, 64));
    chunk_cache_destroy(c);
}

// ---------------------------------------------------------------------------------- memory

typedef struct tally {
    unsigned calls, live, fail_at; /* fail_at: this call and no other fails; 0 = none */
    uint64_t bytes, most;
} tally;

static void *tally_take(size_t n, void *user)
{
    tally *t = (tally *)user;
    uint64_t *p;
    if (++t->calls == t->fail_at) return NULL;
    t->live++;
    t->bytes += n;
    if (t->bytes > t->most) t->most = t->bytes;
    p = (uint64_t *)malloc(n + 16);
    memset(p, 0xa5, n + 16); /* nobody may count on zeros */
    p[0] = n;
    return p + 2;
}

static void tally_give(void *block, void *user)
{
    tally *t = (tally *)user;
    uint64_t *p = (uint64_t *)block - 2;
    t->live--;
    t->bytes -= p[0];
    memset(p, 0xdd, (size_t)p[0] + 16);
    free(p);
}

static void desc_with(chunk_cache_desc *desc, tally *t)
{
    memset(desc, 0, sizeof *desc);
    memset(t, 0, sizeof *t);
    desc->alloc.alloc_fn = tally_take;
    desc->alloc.free_fn = tally_give;
    desc->alloc.user = t;
}

TEST(impossible_descs_are_refused)
{
    chunk_cache_desc desc, good;
    chunk_cache *c = NULL;
    posio_error err;
    memset(&good, 0, sizeof good);
    good.chunk_size = 512;
    CHECK_FAILS(chunk_cache_create(&c, NULL, &err), POSIO_E_ARG);
    desc = good;
    desc.chunk_size = 0;
    CHECK_FAILS(chunk_cache_create(&c, &desc, &err), POSIO_E_ARG);
    CHECK_EQ((int64_t)chunk_cache_create(&c, &desc, NULL), POSIO_E_ARG);
    desc = good;
    desc.slack = UINT32_MAX - 511;
    CHECK_FAILS(chunk_cache_create(&c, &desc, &err), POSIO_E_ARG);
    desc = good;
    desc.shards = 257;
    CHECK_FAILS(chunk_cache_create(&c, &desc, &err), POSIO_E_ARG);
    desc = good;
    desc.alloc.alloc_fn = tally_take;
    CHECK_FAILS(chunk_cache_create(&c, &desc, &err), POSIO_E_ARG);
    desc = good;
    desc.alloc.free_fn = tally_give;
    CHECK_FAILS(chunk_cache_create(&c, &desc, &err), POSIO_E_ARG);
    CHECK(c == NULL);
    /* Where addresses have 32 bits, a chunk of nearly 4 GiB and its header would wrap around. */
    desc = good;
    desc.chunk_size = UINT32_MAX;
    if (sizeof(size_t) == 4) CHECK_FAILS(chunk_cache_create(&c, &desc, &err), POSIO_E_ARG);
    else CHECK_EQ(chunk_cache_create(&c, &desc, &err), POSIO_OK);
    chunk_cache_destroy(c);
    /* All defaults: 32 MiB in 16 shards. */
    REQUIRE(chunk_cache_create(&c, &good, &err) == POSIO_OK);
    CHECK_EQ(c->shard_count, 16);
    CHECK_EQ((uint64_t)c->room * c->shard_count * 512, (uint64_t)32 << 20);
    chunk_cache_destroy(c);
}

TEST(memory_is_bounded_as_promised)
{
    static const uint32_t sizes[] = {1, 512, 600, 65536};
    static const uint64_t rooms[] = {1, 9, 16, 100, 129};
    size_t i, j;
    for (i = 0; i < COUNT(sizes); i++)
        for (j = 0; j < COUNT(rooms); j++) {
            source s;
            chunk_cache_desc desc;
            tally t;
            uint64_t k, each, chunk;
            source_init(&s, sizes[i]);
            desc_with(&desc, &t);
            desc.chunk_size = s.chunk_size;
            desc.bytes = rooms[j] * s.chunk_size;
            desc.slack = s.slack = 16;
            heap_watched = 1;
            heap_calls = 0;
            REQUIRE(chunk_cache_create(&s.cache, &desc, NULL) == POSIO_OK);
            CHECK_EQ(t.calls, 1);
            for (k = 0; k < rooms[j] * 3; k++) {
                unsigned char b;
                CHECK_EQ(chunk_cache_read(s.cache, k * 7, 0, &b, 1, decode, &s, NULL), POSIO_OK);
            }
            heap_watched = 0;
            CHECK_EQ(heap_calls, 0);
            CHECK(t.calls <= 1 + rooms[j]); /* later chunks take the room of earlier ones */
            chunk = (uint64_t)s.chunk_size + 16;
            each = (chunk > 512 ? chunk : 512) + 120;
            CHECK(t.most <= rooms[j] * each + 16 * 300 + 200); /* and the shards themselves */
            chunk_cache_destroy(s.cache);
            CHECK_EQ(t.live, 0);
            CHECK_EQ(t.bytes, 0);
        }
}

TEST(every_allocation_fails_once)
{
    unsigned n, total = 99;
    for (n = 0; n <= total; n++) { /* first without a failure, to count */
        source s;
        chunk_cache_desc desc;
        tally t;
        posio_error err;
        posio_result r;
        uint64_t key;
        unsigned failed = 0;
        source_init(&s, 256);
        s.depth = 2; /* decodes within decodes: chunks beyond the bound are asked for too */
        desc_with(&desc, &t);
        desc.chunk_size = 256;
        desc.bytes = 3 * 256;
        desc.shards = 1;
        t.fail_at = n;
        s.cache = NULL;
        memset(&err, 0x55, sizeof err);
        r = chunk_cache_create(&s.cache, &desc, &err);
        if (n == 1) {
            CHECK_EQ((int64_t)r, POSIO_E_NOMEM);
            CHECK_EQ(err.code, POSIO_E_NOMEM);
            CHECK(s.cache == NULL);
            CHECK_EQ(t.live, 0);
            continue;
        }
        REQUIRE(r == POSIO_OK);
        for (key = 0; key < 70; key += 7) {
            unsigned char b = 0x5a;
            memset(&err, 0x55, sizeof err);
            r = chunk_cache_read(s.cache, key, 1, &b, 1, decode, &s, &err);
            if (r != POSIO_OK) {
                CHECK_EQ((int64_t)r, POSIO_E_NOMEM);
                CHECK_EQ(err.code, POSIO_E_NOMEM);
                CHECK_EQ(b, 0x5a);
                failed++;
                CHECK(read_chunk(&s, key, 256)); /* usable at once */
            } else {
                CHECK_EQ(b, byte_of(key, 1));
            }
        }
        CHECK_EQ(failed, n != 0);
        CHECK(chunk_cache_get_stats(s.cache).chunks <= 3 + 2);
        CHECK(read_chunk(&s, 9002, 256));
        CHECK(chunk_cache_get_stats(s.cache).chunks <= 3);
        chunk_cache_destroy(s.cache);
        CHECK_EQ(t.live, 0);
        if (n == 0) total = t.calls;
        CHECK(total >= 4 && total < 60);
    }
}

// ---------------------------------------------------------------------------------- many threads

#ifdef THREAD_POOL_NO_THREADS
#define NEEDS_THREADS SKIP("no threads in this build")
#else
#define NEEDS_THREADS (void)0

static void nap(void)
{
#if defined(_WIN32)
    Sleep(1);
#else
    struct timespec t = {0, 500000};
    (void)nanosleep(&t, NULL);
#endif
}

/* Decodes when `wait_for` other readers wait for the same flight; gives up after some seconds. */
static posio_result decode_awaited(void *user, uint64_t key, void *chunk, size_t *size,
                                   posio_error *err)
{
    source *s = (source *)user;
    uint64_t waits = key * s->wait_for; /* keys are read in turn: 1, 2, ... */
    int tries;
    for (tries = 0; tries < 8000 && chunk_cache_get_stats(s->cache).waits < waits; tries++) nap();
    if (tries == 8000) posio_atomic_store(&s->late, 1);
    return decode(user, key, chunk, size, err);
}

/* Decodes when `wait_for` decodes are under way at once. */
static posio_result decode_together(void *user, uint64_t key, void *chunk, size_t *size,
                                    posio_error *err)
{
    source *s = (source *)user;
    int tries;
    (void)posio_atomic_add(&s->inside, 1);
    for (tries = 0; tries < 8000 && posio_atomic_load(&s->inside) < s->wait_for; tries++) nap();
    if (tries == 8000) posio_atomic_store(&s->late, 1);
    return decode(user, key, chunk, size, err);
}

typedef struct flight {
    source *s;
    uint64_t key;
    posio_result results[64];
    posio_error errors[64];
    uint32_t right;
} flight;

static posio_result board(void *user, uint32_t i, posio_error *err)
{
    flight *f = (flight *)user;
    unsigned char buf[16];
    (void)err;
    f->results[i] = chunk_cache_read(f->s->cache, f->key, i, buf, 16, decode_awaited, f->s,
                                     i % 4 == 3 ? NULL : &f->errors[i]);
    if (f->results[i] == POSIO_OK && is_chunk(buf, f->key, i, 16))
        (void)posio_atomic_add(&f->right, 1);
    return POSIO_OK;
}

static posio_result own_key(void *user, uint32_t i, posio_error *err)
{
    flight *f = (flight *)user;
    unsigned char buf[16];
    uint64_t key = (i + 1) * 7;
    posio_result r = chunk_cache_read(f->s->cache, key, i, buf, 16, decode_together, f->s, err);
    if (r == POSIO_OK && is_chunk(buf, key, i, 16)) (void)posio_atomic_add(&f->right, 1);
    return r;
}
#endif

/* A pool of n threads, or of as many as the system gives. */
#define POOL(n) \
    thread_pool *pool = thread_pool_create(n); \
    const uint32_t threads = thread_pool_threads(pool)

TEST(sixteen_threads_one_decode)
{
    NEEDS_THREADS;
#ifndef THREAD_POOL_NO_THREADS
    POOL(16);
    source s;
    chunk_cache *c;
    flight *f = (flight *)calloc(1, sizeof *f);
    uint64_t key;
    source_init(&s, 512);
    s.wait_for = threads - 1;
    c = cache_of(&s, 64, 0);
    f->s = &s;
    for (key = 1; key < 3; key++) {
        f->key = key;
        f->right = 0;
        CHECK_EQ(thread_pool_parallel_for(pool, threads, board, f, NULL), POSIO_OK);
        CHECK_EQ(f->right, threads);
        CHECK_EQ(s.decodes, key);
        CHECK_EQ(s.late, 0);
        CHECK_EQ(chunk_cache_get_stats(c).waits, key * (threads - 1));
    }
    CHECK_EQ(chunk_cache_get_stats(c).decodes, 2);
    CHECK_EQ(s.wrong, 0);
    chunk_cache_destroy(c);
    thread_pool_destroy(pool);
    free(f);
#endif
}

TEST(waiters_share_the_failure)
{
    NEEDS_THREADS;
#ifndef THREAD_POOL_NO_THREADS
    POOL(16);
    source s;
    chunk_cache *c;
    flight *f = (flight *)calloc(1, sizeof *f);
    uint32_t i;
    source_init(&s, 512);
    s.wait_for = threads - 1;
    s.fail_key = 1;
    s.fail_left = 1;
    c = cache_of(&s, 4, 1);
    f->s = &s;
    f->key = 1;
    CHECK_EQ(thread_pool_parallel_for(pool, threads, board, f, NULL), POSIO_OK);
    CHECK_EQ(f->right, 0);
    CHECK_EQ(s.decodes, 1);
    CHECK_EQ(s.late, 0);
    for (i = 0; i < threads; i++) {
        CHECK_EQ((int64_t)f->results[i], POSIO_E_DATA);
        if (i % 4 == 3) continue; /* read without a struct for the error */
        CHECK_EQ(f->errors[i].code, POSIO_E_DATA);
        CHECK_EQ(f->errors[i].offset, 78);
        CHECK_EQ(f->errors[i].segment, 2);
        CHECK_STR(f->errors[i].file, "image.E02");
        CHECK_STR(f->errors[i].message, "chunk 1 is damaged");
    }
    CHECK_EQ(chunk_cache_get_stats(c).chunks, 0);
    s.wait_for = 0; /* the next one tries again */
    CHECK_EQ(thread_pool_parallel_for(pool, threads, board, f, NULL), POSIO_OK);
    CHECK_EQ(f->right, threads);
    CHECK_EQ(s.decodes, 2);
    chunk_cache_destroy(c);
    thread_pool_destroy(pool);
    free(f);
#endif
}

TEST(all_chunks_in_flight_is_no_deadlock)
{
    NEEDS_THREADS;
#ifndef THREAD_POOL_NO_THREADS
    POOL(16);
    uint64_t room;
    for (room = 1; room < 9; room *= 2) {
        source s;
        chunk_cache *c;
        chunk_cache_desc desc;
        flight *f = (flight *)calloc(1, sizeof *f);
        source_init(&s, 512);
        s.wait_for = threads;
        memset(&desc, 0, sizeof desc);
        desc.chunk_size = 512;
        desc.bytes = room * 512;
        REQUIRE(chunk_cache_create(&c, &desc, NULL) == POSIO_OK);
        s.cache = c;
        f->s = &s;
        CHECK_EQ(thread_pool_parallel_for(pool, threads, own_key, f, NULL), POSIO_OK);
        CHECK_EQ(f->right, threads);
        CHECK_EQ(s.decodes, threads);
        CHECK_EQ(s.late, 0);
        CHECK(chunk_cache_get_stats(c).chunks <= room + threads); /* soft by one for each thread */
        CHECK(chunk_cache_get_stats(c).chunks >= posio_min(room, threads));
        CHECK(read_chunk(&s, 70000, 512));
        CHECK(chunk_cache_get_stats(c).chunks <= room);
        chunk_cache_destroy(c);
        free(f);
    }
    thread_pool_destroy(pool);
#endif
}

#ifndef THREAD_POOL_NO_THREADS
enum { KEYS = 700, DAMAGED = 50 }; /* every fiftieth key fails, always */

static posio_result decode_some(void *user, uint64_t key, void *chunk, size_t *size,
                                posio_error *err)
{
    if (key % DAMAGED == 13) {
        (void)posio_atomic_add(&((source *)user)->decodes, 1);
        return posio_fail(err, POSIO_E_DATA, key, "damaged");
    }
    return decode(user, key, chunk, size, err);
}

static posio_result read_at_random(void *user, uint32_t i, posio_error *err)
{
    source *s = (source *)user;
    uint64_t seed = i + 1;
    unsigned char buf[256];
    uint32_t k, reads = s->chunk_size > 1000 ? 16 : 150;
    for (k = 0; k < reads; k++) {
        /* Half of the reads go to a few keys. */
        uint64_t key = test_random(&seed) % (k % 2 ? KEYS : 20);
        size_t length = length_of(s, key), at = 0, n = 0;
        posio_result r;
        if (length != 0) at = (size_t)(test_random(&seed) % length);
        n = (size_t)(test_random(&seed) % sizeof buf);
        if (n > length - at) n = length - at;
        r = chunk_cache_read(s->cache, key, at, buf, n, decode_some, s, err);
        if (key % DAMAGED == 13) {
            if (r != POSIO_E_DATA || err->offset != key || strcmp(err->message, "damaged") != 0)
                return posio_fail(err, POSIO_E_DATA, key, "the wrong error");
        } else if (r != POSIO_OK) {
            return r;
        } else if (!is_chunk(buf, key, at, n)) {
            return posio_fail(err, POSIO_E_DATA, key, "the wrong bytes");
        }
        if (k % 16 == 0 && n != 0 &&
            chunk_cache_read(s->cache, key, length, buf, 1, decode_some, s, err) == POSIO_OK)
            return posio_fail(err, POSIO_E_DATA, key, "bytes beyond the end");
    }
    return POSIO_OK;
}
#endif

TEST(sixty_four_threads_at_random)
{
    NEEDS_THREADS;
#ifndef THREAD_POOL_NO_THREADS
    static const uint32_t sizes[] = {1, 512, 65536};
    static const uint32_t shards[] = {0, 1, 2, 16};
    static const uint64_t rooms[] = {1, 37};
    POOL(64);
    size_t i, j, k;
    for (i = 0; i < COUNT(sizes); i++)
        for (j = 0; j < COUNT(shards); j++)
            for (k = 0; k < COUNT(rooms); k++) {
                source s;
                chunk_cache *c;
                chunk_cache_stats stats;
                chunk_cache_desc desc;
                posio_error err;
                uint64_t key;
                if (sizes[i] > 1000 && j != k) continue; /* enough of the slow ones */
                memset(&err, 0, sizeof err);
                memset(&desc, 0, sizeof desc);
                source_init(&s, sizes[i]);
                desc.chunk_size = sizes[i];
                desc.bytes = rooms[k] * sizes[i];
                desc.shards = shards[j];
                REQUIRE(chunk_cache_create(&c, &desc, NULL) == POSIO_OK);
                s.cache = c;
                CHECK_EQ(thread_pool_parallel_for(pool, 64, read_at_random, &s, &err), POSIO_OK);
                CHECK_STR(err.message, "");
                stats = chunk_cache_get_stats(c);
                CHECK_EQ(stats.decodes, s.decodes);
                CHECK(stats.chunks <= rooms[k] + threads);
                CHECK_EQ(s.wrong, 0);
                for (key = 0; key < 200; key++) /* every shard misses once, and so shrinks */
                    (void)read_chunk(&s, 100000 + key * 7, sizes[i]);
                CHECK(chunk_cache_get_stats(c).chunks <= rooms[k]);
                chunk_cache_destroy(c);
            }
    thread_pool_destroy(pool);
#endif
}

TEST_MAIN(RUN(hits_misses_and_contents); RUN(bytes_beyond_a_chunks_length);
          RUN(the_bound_holds_for_every_shape); RUN(a_second_interest_promotes);
          RUN(a_hot_set_survives_a_scan); RUN(a_cache_smaller_than_one_chunk);
          RUN(decoders_may_read_the_cache); RUN(failures_are_not_kept);
          RUN(decoders_that_misbehave); RUN(impossible_descs_are_refused);
          RUN(memory_is_bounded_as_promised); RUN(every_allocation_fails_once);
          RUN(sixteen_threads_one_decode); RUN(waiters_share_the_failure);
          RUN(all_chunks_in_flight_is_no_deadlock); RUN(sixty_four_threads_at_random);)
