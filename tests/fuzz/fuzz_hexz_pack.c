/* fuzz_hexz_pack.c - libFuzzer target: an archive that an attacker made. Whatever opens keeps its
   word: entries tile the content, reads give what the hashes say, verifying and reading agree, the
   memory stays within the limits.

       clang -g -O1 -fsanitize=fuzzer,address,undefined -pthread fuzz_hexz_pack.c -lzstd

   It needs nothing of libFuzzer, and replay.c can be its main.

   Input: choices (1 = lend a pool of two threads, 2 = make the checksums right, 4 = small caches);
   then the file. */
#define HEXZ_PACK_IMPLEMENTATION
#define THREAD_POOL_IMPLEMENTATION
#include "../../hexz_pack.h"
#include "../fixtures/hexz_build.h"
#include "fuzz.h"

enum { POOL = 1, REPAIR = 2, LITTLE = 4, CONTENT = 200000, LIMIT = 64 << 20 };

/* No single block is larger than the limits allow. */
static void *limited_alloc(size_t n, void *user)
{
    (void)user;
    REQUIRE(n <= LIMIT);
    return malloc(n);
}
static void limited_free(void *p, void *user)
{
    (void)user;
    free(p);
}

static uint64_t spoiled; /* bytes of content */
static int on_fault(void *user, const hexz_pack_fault *f)
{
    (void)user;
    REQUIRE(f->what != NULL && f->reason != NULL && f->code != POSIO_OK);
    spoiled += f->size;
    return 0;
}

/* Entries lie behind each other; what they say of themselves is what there is. */
static void check_entries(hexz_pack *a)
{
    const hexz_pack_metadata *m = hexz_pack_info(a);
    hexz_pack_entry e, f;
    uint64_t i, at = 0;
    for (i = 0; i < m->sums.entries && i < 2000; i++) {
        posio_error err;
        if (hexz_pack_entry_at(a, i, &e, &err) != POSIO_OK) {
            REQUIRE(err.message[0] != 0);
            return;
        }
        REQUIRE(e.number == i && e.offset == at && e.size != 0 && e.size <= m->sums.size - at);
        at += e.size;
        REQUIRE(hexz_pack_find(a, at - 1, &f, NULL) == POSIO_OK && f.number == i);
        if (e.kind == HEXZ_PACK_DUPLICATE) REQUIRE(e.original < i);
        else REQUIRE(e.original == HEXZ_PACK_NONE);
        if (e.kind >= HEXZ_PACK_RAW)
            REQUIRE(e.file_offset >= 128 && e.size <= m->chunk_max && e.stored_size != 0);
        else REQUIRE(e.file_offset == HEXZ_PACK_NONE);
    }
    if (i == m->sums.entries) REQUIRE(at == m->sums.size);
}

/* The content by pieces is that in one go. */
static void check_content(hexz_pack *a, int is_good)
{
    static unsigned char whole[CONTENT], piece[5000];
    posio_source s = hexz_pack_source(a);
    uint64_t at;
    posio_extent x;
    posio_result r;
    size_t n = (size_t)posio_min(s.size, CONTENT);
    r = posio_read(&s, 0, whole, n, NULL);
    REQUIRE(!is_good || r == POSIO_OK);
    for (at = 0; at < n; at += sizeof piece) {
        size_t k = (size_t)posio_min(sizeof piece, n - at);
        posio_result p = posio_read(&s, at, piece, k, NULL);
        REQUIRE(!is_good || p == POSIO_OK);
        if (r == POSIO_OK) REQUIRE(p == POSIO_OK && memcmp(piece, whole + at, k) == 0);
    }
    for (at = 0; at < s.size && at < 100000; at += x.length) {
        if (posio_extent_of(&s, at, &x, NULL) != POSIO_OK) return;
        REQUIRE(x.length != 0 && x.length <= s.size - at);
        if (x.kind == POSIO_EXTENT_ZERO && at < n && r == POSIO_OK)
            REQUIRE(whole[at] == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static thread_pool *pool;
    hexz_pack_desc desc;
    hexz_pack_picture picture;
    hexz_pack_verdict verdict, again;
    hexz_pack *a = NULL;
    posio_memory m;
    posio_source source;
    posio_error err;
    posio_result r, inspected;
    unsigned choices;
    uint8_t *copy;
    if (size < 1) return 0;
    if (pool == NULL) REQUIRE((pool = thread_pool_create(2)) != NULL);
    choices = data[0];
    size--;
    copy = (uint8_t *)malloc(size + 1);
    REQUIRE(copy != NULL);
    memcpy(copy, data + 1, size);
    if (choices & REPAIR) (void)hexz_build_repair(copy, size);
    memset(&desc, 0, sizeof desc);
    memset(&err, 0, sizeof err);
    desc.alloc.alloc_fn = limited_alloc;
    desc.alloc.free_fn = limited_free;
    desc.index_max = 1 << 20;
    desc.flags = HEXZ_PACK_REMEMBER;
    if (choices & POOL) desc.pool = pool;
    if (choices & LITTLE) desc.cache_bytes = desc.index_cache = 1;
    m.data = copy;
    m.size = size;
    source = posio_memory_source(&m);
    r = hexz_pack_probe(&source, &err);
    if (hexz_pack_open_source(&a, &source, &desc, &err) == POSIO_OK) {
        REQUIRE(r == POSIO_OK);
        spoiled = 0;
        memset(&verdict, 0, sizeof verdict);
        r = hexz_pack_verify(a, on_fault, NULL, &verdict, &err);
        REQUIRE((r == POSIO_OK) == (verdict.faults == 0));
        REQUIRE(spoiled == verdict.bad_bytes);
        REQUIRE(r == POSIO_OK || err.message[0] != 0);
        inspected = hexz_pack_inspect(a, &picture, &err);
        REQUIRE(inspected == POSIO_OK || r != POSIO_OK);
        check_entries(a);
        check_content(a, verdict.bad_bytes == 0);
        /* what has been read does not change what is found */
        REQUIRE(hexz_pack_verify(a, on_fault, NULL, &again, &err) == r);
        REQUIRE(memcmp(&again, &verdict, sizeof again) == 0);
        hexz_pack_close(a);
    } else {
        REQUIRE(err.message[0] != 0);
    }
    free(copy);
    return 0;
}
