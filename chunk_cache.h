/* chunk_cache.h - a bounded cache of decoded chunks; a chunk wanted by 16 threads is decoded once.
   SPDX-License-Identifier: MIT OR Unlicense

   QUICK START

       #define CHUNK_CACHE_IMPLEMENTATION
       #include "chunk_cache.h"

       static posio_result decode(void *user, uint64_t key, void *chunk, size_t *size,
                                  posio_error *err)
       {
           (void)user;
           (void)err;
           memset(chunk, (int)key, *size);    // *size is the room on entry, the length on return
           return POSIO_OK;
       }
       int main(void)
       {
           chunk_cache_desc desc = {32u << 20, 65536, 0, 0, 0, {NULL, NULL, NULL}};
           chunk_cache *cache = NULL;
           char text[16];
           if (chunk_cache_create(&cache, &desc, NULL) != POSIO_OK) return 1;
           chunk_cache_read(cache, 7, 100, text, sizeof text, decode, NULL, NULL);
           chunk_cache_destroy(cache);
           return 0;
       }

   HOW IT WORKS
     Single flight: the first thread that misses decodes, without a lock; others that want the same
       chunk meanwhile wait for it, and share its error. Failures are not cached.
     Scan resistance (2Q; Johnson and Shasha, VLDB 1994): a chunk seen for the first time enters a
       FIFO of a quarter of the room. Only a chunk that is wanted again after it left that FIFO (its
       key is remembered for a while) enters the LRU list of the rest. One pass over an image, in
       reads of any size, leaves the LRU list alone.
     A hit pins the chunk, and copies only the wanted bytes, without a lock.

   WHAT IT DOES NOT DO
     It does not wait for room, write back, expire, or read ahead.

   OPTIONS  (define before the first include; each works alone)
     CHUNK_CACHE_IMPLEMENTATION  the functions too, internal linkage; legal in many files
     CHUNK_CACHE_API             how functions are declared (default: static, unused allowed)

   THREADS    chunk_cache_read: any number at once. With THREAD_POOL_NO_THREADS: one.
   MEMORY     (bytes / chunk_size) x (chunk_size + slack + 120) and one chunk more for each thread
              that decodes while all are in use; a chunk takes 512 bytes at least. Chunks are
              allocated when first needed.
   ERRORS     Those of the decoder; POSIO_E_ARG, POSIO_E_NOMEM, POSIO_E_RANGE. */

#if defined(CHUNK_CACHE_IMPLEMENTATION) && !defined(THREAD_POOL_IMPLEMENTATION)
#define THREAD_POOL_IMPLEMENTATION
#endif
#if defined(THREAD_POOL_IMPLEMENTATION) && !defined(POSIO_IMPLEMENTATION)
#define POSIO_IMPLEMENTATION
#endif
#include "posio.h"
#if defined(THREAD_POOL_IMPLEMENTATION)
#include "thread_pool.h"
#endif

/* >>types */
#ifndef CHUNKWISE_CHUNK_CACHE_H
#define CHUNKWISE_CHUNK_CACHE_H

#define CHUNK_CACHE_VERSION 100

#include <stddef.h>
#include <stdint.h>

typedef struct chunk_cache chunk_cache;

typedef struct chunk_cache_desc {
    uint64_t bytes;      /* of decoded chunks; 0 = 32 MiB. At least one chunk is kept. */
    uint32_t chunk_size; /* the largest chunk, in bytes; required */
    uint32_t slack;      /* bytes behind each chunk that the decoder may scribble on */
    uint32_t shards;     /* 0 = chosen: up to 16, with at least 8 chunks in each. Rounded up to a
                            power of two, then down until each has room for a chunk. */
    uint32_t reserved;
    posio_alloc alloc;
} chunk_cache_desc;

/* Decodes chunk `key` into chunk[0 .. *size), *size being the room (chunk_size) on entry and the
   length on return. Called without a lock; must not want the same chunk of the same cache. */
typedef posio_result (*chunk_cache_decode)(void *user, uint64_t key, void *chunk, size_t *size,
                                           posio_error *err);

typedef struct chunk_cache_stats {
    uint64_t hits, decodes, waits, evictions; /* waits: wanted while another thread decoded it */
    uint64_t chunks;                          /* held now */
} chunk_cache_stats;

#elif CHUNK_CACHE_VERSION < 100
#error "chunk_cache.h: an older copy came first in this file; include the newest header first"
#endif
/* >>end types */

/* >>functions */
#if defined(CHUNK_CACHE_IMPLEMENTATION) && !defined(CHUNK_CACHE_I_IMPLEMENTED)
#define CHUNK_CACHE_I_IMPLEMENTED 100

#ifndef CHUNK_CACHE_API
#if defined(__GNUC__) || defined(__TINYC__)
#define CHUNK_CACHE_API static __attribute__((unused))
#else
#define CHUNK_CACHE_API static
#endif
#endif

#include <string.h>

// ---------------------------------------------------------------------------------- structures

enum { CHUNK_CACHE_I_DECODING, CHUNK_CACHE_I_READY, CHUNK_CACHE_I_FAILED };
enum { CHUNK_CACHE_I_FRESH, CHUNK_CACHE_I_MAIN, CHUNK_CACHE_I_LISTS };

typedef struct chunk_cache_i_entry {
    struct chunk_cache_i_entry *newer, *older; /* in its list */
    struct chunk_cache_i_entry *next;          /* in its bucket */
    uint64_t key;
    size_t size;
    uint32_t pins; /* raised under the lock, lowered without it: at 0 under the lock it is idle */
    uint32_t state;
    uint32_t list;
    unsigned char *data; /* chunk_size + slack; of a failed flight: its posio_error */
} chunk_cache_i_entry;

typedef struct chunk_cache_i_list {
    chunk_cache_i_entry *newest, *oldest;
    uint32_t count;
} chunk_cache_i_list;

typedef struct chunk_cache_i_shard {
    thread_pool_mutex lock;
    thread_pool_cond landed; /* a flight of this shard is over */
    chunk_cache_i_list lists[CHUNK_CACHE_I_LISTS];
    chunk_cache_i_entry **buckets;
    uint64_t *ghosts; /* keys + 1 that left the FIFO, in a table with one place for each hash */
    chunk_cache_stats stats;
} chunk_cache_i_shard;

struct chunk_cache {
    chunk_cache_desc desc;
    uint32_t shard_count, bucket_mask, ghost_mask; /* powers of two (minus 1) */
    uint32_t room, fresh_room;                     /* chunks in a shard, and in its FIFO */
    chunk_cache_i_shard *shards;
};

/* A bijective mixer (the finaliser of SplitMix64), so that runs of keys spread over the shards. */
CHUNK_CACHE_API uint64_t chunk_cache_i_hash(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

CHUNK_CACHE_API void chunk_cache_i_link(chunk_cache_i_shard *s, chunk_cache_i_entry *e,
                                        uint32_t list)
{
    chunk_cache_i_list *l = &s->lists[list];
    e->list = list;
    e->newer = NULL;
    e->older = l->newest;
    if (l->newest != NULL) l->newest->newer = e;
    else l->oldest = e;
    l->newest = e;
    l->count++;
}

CHUNK_CACHE_API void chunk_cache_i_unlink(chunk_cache_i_shard *s, chunk_cache_i_entry *e)
{
    chunk_cache_i_list *l = &s->lists[e->list];
    if (e->newer != NULL) e->newer->older = e->older;
    else l->newest = e->older;
    if (e->older != NULL) e->older->newer = e->newer;
    else l->oldest = e->newer;
    l->count--;
}

CHUNK_CACHE_API chunk_cache_i_entry **chunk_cache_i_bucket(const chunk_cache *c,
                                                           chunk_cache_i_shard *s, uint64_t key)
{
    return &s->buckets[(chunk_cache_i_hash(key) >> 32) & c->bucket_mask];
}

CHUNK_CACHE_API void chunk_cache_i_forget(const chunk_cache *c, chunk_cache_i_shard *s,
                                          chunk_cache_i_entry *e)
{
    chunk_cache_i_entry **at = chunk_cache_i_bucket(c, s, e->key);
    while (*at != e) at = &(*at)->next;
    *at = e->next;
    chunk_cache_i_unlink(s, e);
}

CHUNK_CACHE_API void chunk_cache_i_free(const chunk_cache *c, chunk_cache_i_entry *e)
{
    posio_release(&c->desc.alloc, e);
}

// ---------------------------------------------------------------------------------- room

CHUNK_CACHE_API chunk_cache_i_entry *chunk_cache_i_idle(chunk_cache_i_shard *s, uint32_t list)
{
    chunk_cache_i_entry *e = s->lists[list].oldest;
    while (e != NULL && posio_atomic_load(&e->pins) != 0) e = e->newer;
    return e;
}

/* Takes the next victim out: of the FIFO while that is over its share, else of the LRU list. NULL
   when every chunk is in use. */
CHUNK_CACHE_API chunk_cache_i_entry *chunk_cache_i_evict(const chunk_cache *c,
                                                         chunk_cache_i_shard *s)
{
    uint32_t first = s->lists[CHUNK_CACHE_I_FRESH].count > c->fresh_room ? CHUNK_CACHE_I_FRESH
                                                                         : CHUNK_CACHE_I_MAIN;
    chunk_cache_i_entry *e = chunk_cache_i_idle(s, first);
    if (e == NULL) e = chunk_cache_i_idle(s, 1 - first);
    if (e == NULL) return NULL;
    if (e->list == CHUNK_CACHE_I_FRESH)
        s->ghosts[chunk_cache_i_hash(e->key) & c->ghost_mask] = e->key + 1;
    chunk_cache_i_forget(c, s, e);
    s->stats.evictions++;
    return e;
}

/* An entry to decode into: a victim's when the shard is full, else a new one. The bound is soft:
   when everything is in use there is one more, and later misses give it back. */
CHUNK_CACHE_API chunk_cache_i_entry *chunk_cache_i_make_room(const chunk_cache *c,
                                                             chunk_cache_i_shard *s)
{
    chunk_cache_i_entry *e = NULL, *extra;
    size_t head = (sizeof *e + 63) / 64 * 64, data = (size_t)c->desc.chunk_size + c->desc.slack;
    if (s->lists[0].count + s->lists[1].count >= c->room) e = chunk_cache_i_evict(c, s);
    while (e != NULL && s->lists[0].count + s->lists[1].count >= c->room &&
           (extra = chunk_cache_i_evict(c, s)) != NULL)
        chunk_cache_i_free(c, extra);
    if (e != NULL) return e;
    if (data < sizeof(posio_error)) data = sizeof(posio_error);
    e = (chunk_cache_i_entry *)posio_allocate(&c->desc.alloc, head + data);
    if (e != NULL) e->data = (unsigned char *)e + head;
    return e;
}

// ---------------------------------------------------------------------------------- reading

CHUNK_CACHE_API posio_result chunk_cache_i_copy(chunk_cache_i_entry *e, size_t offset, void *buf,
                                                size_t n, posio_error *err)
{
    if (e->state == CHUNK_CACHE_I_FAILED) {
        const posio_error *why = (const posio_error *)(void *)e->data;
        if (err != NULL) memcpy(err, why, sizeof *err);
        return why->code;
    }
    if (!posio_within(offset, n, e->size))
        return posio_fail(err, POSIO_E_RANGE, offset, "beyond the end of the chunk");
    if (n != 0) memcpy(buf, e->data + offset, n); /* buf may be NULL else */
    return POSIO_OK;
}

/* Ends the use of an entry. A failed one is in no list: its last user frees it. */
CHUNK_CACHE_API void chunk_cache_i_unpin(const chunk_cache *c, chunk_cache_i_entry *e)
{
    int failed = e->state == CHUNK_CACHE_I_FAILED;
    if (posio_atomic_add(&e->pins, UINT32_MAX) == 1 && failed) chunk_cache_i_free(c, e);
}

/* Waits, under the lock, until the flight of a pinned entry is over. */
CHUNK_CACHE_API void chunk_cache_i_await(chunk_cache_i_shard *s, chunk_cache_i_entry *e)
{
    s->stats.waits++;
    while (e->state == CHUNK_CACHE_I_DECODING) thread_pool_wait(&s->landed, &s->lock, 0);
}

/* Decodes without the lock and publishes the outcome. The entry is pinned and in its bucket. */
CHUNK_CACHE_API void chunk_cache_i_fly(const chunk_cache *c, chunk_cache_i_shard *s,
                                       chunk_cache_i_entry *e, chunk_cache_decode decode,
                                       void *user)
{
    size_t size = c->desc.chunk_size;
    posio_error why;
    posio_result r;
    memset(&why, 0, sizeof why);
    why.offset = POSIO_NO_OFFSET; /* for a decoder that fails without a word */
    thread_pool_unlock(&s->lock);
    r = decode(user, e->key, e->data, &size, &why);
    if (r == POSIO_OK && size > c->desc.chunk_size)
        r = posio_fail(&why, POSIO_E_ARG, POSIO_NO_OFFSET, "the decoder claims more than the room");
    thread_pool_lock(&s->lock);
    if (r == POSIO_OK) {
        e->size = size;
        e->state = CHUNK_CACHE_I_READY;
    } else {
        why.code = r;
        memcpy(e->data, &why, sizeof why);
        e->state = CHUNK_CACHE_I_FAILED;
        chunk_cache_i_forget(c, s, e);
    }
    s->stats.decodes++;
    thread_pool_wake_all(&s->landed);
}

/* Copies n bytes at `offset` within chunk `key` to buf, decoding the chunk if it is not here.
   Bytes beyond the chunk's own length are POSIO_E_RANGE; other errors are the decoder's.
   Threads: any. Allocates: yes (up to the bound). Blocks: I/O (the decoder's, or another's). */
CHUNK_CACHE_API posio_result chunk_cache_read(chunk_cache *c, uint64_t key, size_t offset,
                                              void *buf, size_t n, chunk_cache_decode decode,
                                              void *user, posio_error *err)
{
    uint64_t hash = chunk_cache_i_hash(key);
    chunk_cache_i_shard *s = &c->shards[hash >> 56 & (c->shard_count - 1)];
    chunk_cache_i_entry **bucket = chunk_cache_i_bucket(c, s, key), *e;
    posio_result r;
    thread_pool_lock(&s->lock);
    for (e = *bucket; e != NULL && e->key != key; e = e->next) {}
    if (e != NULL) {
        (void)posio_atomic_add(&e->pins, 1);
        if (e->state == CHUNK_CACHE_I_DECODING) {
            chunk_cache_i_await(s, e);
        } else {
            s->stats.hits++;
            if (e->list == CHUNK_CACHE_I_MAIN && s->lists[CHUNK_CACHE_I_MAIN].newest != e) {
                chunk_cache_i_unlink(s, e);
                chunk_cache_i_link(s, e, CHUNK_CACHE_I_MAIN);
            }
        }
    } else {
        uint64_t *ghost = &s->ghosts[hash & c->ghost_mask];
        e = chunk_cache_i_make_room(c, s);
        if (e == NULL) {
            thread_pool_unlock(&s->lock);
            return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "no memory for a chunk");
        }
        e->key = key;
        e->state = CHUNK_CACHE_I_DECODING;
        e->pins = 1;
        e->next = *bucket;
        *bucket = e;
        chunk_cache_i_link(s, e, *ghost == key + 1 ? CHUNK_CACHE_I_MAIN : CHUNK_CACHE_I_FRESH);
        chunk_cache_i_fly(c, s, e, decode, user);
    }
    thread_pool_unlock(&s->lock);
    r = chunk_cache_i_copy(e, offset, buf, n, err);
    chunk_cache_i_unpin(c, e);
    return r;
}

// ---------------------------------------------------------------------------------- life

/* Frees everything; NULL is fine. No read may be under way.
   Threads: exclusive. Allocates: no. Blocks: no. */
CHUNK_CACHE_API void chunk_cache_destroy(chunk_cache *c)
{
    posio_alloc a;
    uint32_t i, l;
    if (c == NULL) return;
    a = c->desc.alloc;
    for (i = 0; i < c->shard_count; i++) {
        chunk_cache_i_shard *s = &c->shards[i];
        for (l = 0; l < CHUNK_CACHE_I_LISTS; l++) {
            chunk_cache_i_entry *e = s->lists[l].newest, *older;
            for (; e != NULL; e = older) {
                older = e->older;
                chunk_cache_i_free(c, e);
            }
        }
        thread_pool_mutex_destroy(&s->lock);
        thread_pool_cond_destroy(&s->landed);
    }
    posio_release(&a, c);
}

CHUNK_CACHE_API uint32_t chunk_cache_i_power_of_two(uint32_t at_least)
{
    uint32_t n = 1;
    while (n < at_least) n *= 2;
    return n;
}

/* Makes a cache of desc->bytes for chunks of at most desc->chunk_size bytes.
   Threads: any. Allocates: open. Blocks: no. */
CHUNK_CACHE_API posio_result chunk_cache_create(chunk_cache **out, const chunk_cache_desc *desc,
                                                posio_error *err)
{
    const uint64_t largest = posio_min(UINT32_MAX, (uint64_t)SIZE_MAX / 2); /* and a header fits */
    uint64_t bytes, chunks;
    uint32_t shards, room, buckets, ghosts, i;
    chunk_cache *c;
    unsigned char *at;
    if (desc == NULL || desc->chunk_size == 0 ||
        (uint64_t)desc->chunk_size + desc->slack > largest || desc->shards > 256 ||
        !posio_alloc_is_valid(&desc->alloc))
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "chunk_cache: impossible desc");
    bytes = desc->bytes != 0 ? desc->bytes : (uint64_t)32 << 20;
    chunks = posio_min(bytes / desc->chunk_size, 1u << 24);
    shards = desc->shards != 0 ? chunk_cache_i_power_of_two(desc->shards) : 16;
    while (shards > 1 && chunks / shards < (desc->shards != 0 ? 1u : 8u)) shards /= 2;
    room = (uint32_t)(chunks / shards);
    if (room == 0) room = 1;
    buckets = chunk_cache_i_power_of_two(room);
    ghosts = chunk_cache_i_power_of_two(2 * room);
    c = (chunk_cache *)posio_allocate_zeroed(
        &desc->alloc, sizeof *c + shards * (sizeof *c->shards + buckets * sizeof(void *) +
                                            ghosts * sizeof(uint64_t)));
    if (c == NULL) return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    c->desc = *desc;
    c->bucket_mask = buckets - 1;
    c->ghost_mask = ghosts - 1;
    c->room = room;
    c->fresh_room = room / 4;
    c->shards = (chunk_cache_i_shard *)(void *)(c + 1);
    at = (unsigned char *)(c->shards + shards);
    for (i = 0; i < shards; i++) { /* the ghosts first: they want the stricter alignment */
        c->shards[i].ghosts = (uint64_t *)(void *)(at + i * ghosts * sizeof(uint64_t));
        c->shards[i].buckets =
            (chunk_cache_i_entry **)(void *)(at + shards * ghosts * sizeof(uint64_t)) + i * buckets;
    }
    for (; c->shard_count < shards; c->shard_count++) {
        chunk_cache_i_shard *s = &c->shards[c->shard_count];
        if (!thread_pool_mutex_init(&s->lock)) break;
        if (!thread_pool_cond_init(&s->landed)) {
            thread_pool_mutex_destroy(&s->lock);
            break;
        }
    }
    if (c->shard_count != shards) {
        chunk_cache_destroy(c);
        return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "chunk_cache: no mutex");
    }
    *out = c;
    return POSIO_OK;
}

/* What happened so far, over all shards. Threads: any. Allocates: no. Blocks: no. */
CHUNK_CACHE_API chunk_cache_stats chunk_cache_get_stats(chunk_cache *c)
{
    chunk_cache_stats sum;
    uint32_t i;
    memset(&sum, 0, sizeof sum);
    for (i = 0; i < c->shard_count; i++) {
        chunk_cache_i_shard *s = &c->shards[i];
        thread_pool_lock(&s->lock);
        sum.hits += s->stats.hits;
        sum.decodes += s->stats.decodes;
        sum.waits += s->stats.waits;
        sum.evictions += s->stats.evictions;
        sum.chunks += s->lists[0].count + s->lists[1].count;
        thread_pool_unlock(&s->lock);
    }
    return sum;
}

#elif defined(CHUNK_CACHE_IMPLEMENTATION) && CHUNK_CACHE_I_IMPLEMENTED < 100
#error "chunk_cache.h: the functions of an older copy came first; include the newest header first"
#endif
/* >>end */
