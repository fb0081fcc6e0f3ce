/* fuzz_ewf_read.c - libFuzzer target: images in memory, opened, read with every policy, verified
   and listed. No access outside of the segments, the same answers each time, memory within a bound.

       clang -g -O1 -fsanitize=fuzzer,address,undefined -DFUZZ_MUTATOR -pthread fuzz_ewf_read.c

   Without FUZZ_MUTATOR it needs nothing of libFuzzer, and replay.c can be its main.

   Input: one byte of choices (1 = repair the checksums first, so that what lies behind them is
   reached; 2 and 4: segments - 1; 8 and 16: the damage policy; 32: lend a pool of two threads),
   three bytes of length for each segment but the last, the segments. */
#define EWF_READ_IMPLEMENTATION
#define THREAD_POOL_IMPLEMENTATION
#include "../../ewf_read.h"
#include "fuzz.h"

enum { MAX_SEGMENTS = 4, CHUNK_MAX = 1 << 20, WHOLE_MAX = 2 << 20, VERIFY_MAX = 16 << 20,
       CHUNKS_MAX = 1 << 16 };

/* ------------------------------------------------------------------ memory, counted */

/* What ewf_read.h says it needs, for chunks of at most 1 MiB, two threads and a cache of 1 MiB:
     1 MiB of table pages, 1 of chunks and one chunk more for each thread         4 MiB
     a scratch of a chunk and 64 KiB for each thread, and one to try the copy     4.5
     verify: a ring of 5 slots of 1 MiB                                           5
     a search for chunks (not with verify): a window of 2 chunks, a chunk         3.5
     texts (not with verify): compressed, inflated and recoded                    3.5
     1000 warnings, and the old list while it grows                               1
   and what is in proportion to the file, each three times as a list doubles by copying:
     a table of 150 bytes for 32 bytes of overlapping descriptors                 15 bytes each
     a damage of 48 bytes for an entry of 4                                       36
     ranges of 16 bytes for 8, and the body                                       3
     two chunks found of 8 bytes for 9 bytes                                      6 */
static size_t allowance(size_t input) { return ((size_t)18 << 20) + 60 * input; }

/* ------------------------------------------------------------------ the checksums */

static void put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
}

static void seal(uint8_t *p, size_t n) { put32(p + n, digest_adler32(1, p, n)); }

/* Fixes the checksums in the body b[0 .. n) of a section. */
static void repair_body(const char *type, uint8_t *b, size_t n)
{
    if (strcmp(type, "volume") == 0 || strcmp(type, "disk") == 0 || strcmp(type, "data") == 0) {
        if (n >= 1052) seal(b, 1048);
        else if (n >= 94) seal(b, 90);
    } else if ((strcmp(type, "table") == 0 || strcmp(type, "table2") == 0) && n >= 24) {
        uint64_t entries = (uint64_t)posio_le32(b) * 4;
        seal(b, 20);
        if (entries + 28 <= n) seal(b + 24, (size_t)entries);
    } else if (strcmp(type, "hash") == 0 && n >= 36) {
        seal(b, 32);
    } else if (strcmp(type, "digest") == 0 && n >= 80) {
        seal(b, 76);
    } else if (strcmp(type, "error2") == 0 && n >= 520) {
        seal(b, 516);
    } else if (strcmp(type, "session") == 0 && n >= 36) {
        seal(b, 32);
    }
}

/* Follows the sections of a segment; fixes them, or lists where their descriptors are. */
static size_t walk(uint8_t *p, size_t size, int repair, size_t *list, size_t room)
{
    uint64_t at = 13;
    size_t count = 0;
    while (count < room && posio_within(at, 76, size)) {
        uint8_t *d = p + (size_t)at;
        uint64_t next = posio_le64(d + 16), length = posio_le64(d + 24), end = size;
        char type[17];
        memcpy(type, d, 16);
        type[16] = 0;
        list[count++] = (size_t)at;
        if (next > at && next < end) end = next;
        if (length >= 76 && length <= end - at) end = at + length;
        if (repair) {
            seal(d, 72);
            repair_body(type, d + 76, end > at + 76 ? (size_t)(end - at - 76) : 0);
        }
        if (next > at) at = next;
        else if (length >= 76 && length <= size - at) at += length;
        else break;
    }
    return count;
}

/* ------------------------------------------------------------------ the input */

typedef struct input {
    unsigned choices;
    uint32_t count;
    size_t size[MAX_SEGMENTS], start[MAX_SEGMENTS];
} input;

static int split(input *in, const uint8_t *data, size_t size)
{
    size_t head, left;
    uint32_t i;
    memset(in, 0, sizeof *in);
    if (size == 0) return 0;
    in->choices = data[0];
    in->count = 1 + (data[0] >> 1 & 3);
    head = 1 + 3 * (size_t)(in->count - 1);
    if (size < head) return 0;
    left = size - head;
    for (i = 0; i < in->count; i++) {
        const uint8_t *n = data + 1 + 3 * (size_t)i;
        size_t want = i + 1 == in->count ? left : n[0] | (size_t)n[1] << 8 | (size_t)n[2] << 16;
        in->size[i] = want < left ? want : left;
        in->start[i] = size - left;
        left -= in->size[i];
    }
    return 1;
}

typedef struct set {
    posio_memory memory[MAX_SEGMENTS];
    posio_source source[MAX_SEGMENTS];
    uint8_t *copy[MAX_SEGMENTS]; /* of exactly the segment's size: the sanitizer sees over-reads */
} set;

static void set_make(set *s, const input *in, const uint8_t *data)
{
    static size_t list[4096];
    uint32_t i;
    for (i = 0; i < in->count; i++) {
        s->copy[i] = (uint8_t *)malloc(in->size[i] != 0 ? in->size[i] : 1);
        REQUIRE(s->copy[i] != NULL);
        if (in->size[i] != 0) memcpy(s->copy[i], data + in->start[i], in->size[i]);
        if (in->choices & 1) (void)walk(s->copy[i], in->size[i], 1, list, 4096);
        s->memory[i].data = s->copy[i];
        s->memory[i].size = in->size[i];
        s->source[i] = posio_memory_source(&s->memory[i]);
    }
}

/* ------------------------------------------------------------------ the checks */

static void check_info(const ewf_read *image)
{
    const ewf_read_metadata *m = ewf_read_info(image);
    size_t touched = 0;
    uint32_t i;
    REQUIRE(m->chunk_size != 0 && m->chunk_size <= CHUNK_MAX && m->sector_size != 0);
    REQUIRE(m->chunk_size % m->sector_size == 0);
    REQUIRE(m->media_size <= m->chunk_count * m->chunk_size);
    REQUIRE(m->chunk_count == 0 || m->media_size >= (m->chunk_count - 1) * m->chunk_size);
    REQUIRE(m->sector_count == m->media_size / m->sector_size);
    REQUIRE(m->layout != NULL && m->segment_count != 0);
    for (i = 0; i < EWF_READ_TEXT_COUNT; i++) {
        REQUIRE(ewf_read_text_name(i) != NULL);
        if (m->text[i] != NULL) touched += strlen(m->text[i]);
    }
    for (i = 0; i < m->acquisition_error_count; i++)
        touched += (size_t)m->acquisition_errors[i].count;
    for (i = 0; i < m->session_count; i++) touched += (size_t)m->sessions[i].first;
    REQUIRE(touched != 1 || m->chunk_size != 0); /* so that all was read */
}

/* Damages are in order and apart, warnings in order; returns the damaged chunks. */
static uint64_t check_lists(ewf_read *image)
{
    ewf_read_warning w, before;
    ewf_read_damage d;
    uint64_t from = 0, sum = 0;
    uint32_t i;
    memset(&before, 0, sizeof before);
    for (i = 0; ewf_read_get_warning(image, i, &w) == POSIO_OK; i++) {
        REQUIRE(w.message[0] != 0);
        if (i != 0) REQUIRE(ewf_read_i_warning_order(&before, &w) < 0);
        before = w;
    }
    for (i = 0; ewf_read_get_damage(image, i, &d) == POSIO_OK; i++) {
        REQUIRE(d.count != 0 && d.chunk >= from && d.reason != NULL);
        REQUIRE(d.code == POSIO_E_DATA || d.code == POSIO_E_MISSING);
        REQUIRE(d.count == 1 || d.code == POSIO_E_MISSING);
        from = d.chunk + d.count;
        REQUIRE(from <= ewf_read_info(image)->chunk_count);
        sum += d.count;
    }
    return sum;
}

static void check_extents(ewf_read *image)
{
    posio_source s = ewf_read_source(image);
    posio_extent e;
    posio_error err;
    uint64_t at = 0;
    int i;
    REQUIRE(s.size == ewf_read_info(image)->media_size);
    for (i = 0; i < 1000 && at < s.size; i++) {
        REQUIRE(posio_extent_of(&s, at, &e, &err) == POSIO_OK);
        REQUIRE(e.length != 0 && e.length <= s.size - at);
        at += e.length;
    }
}

/* Reads a range twice, and once more in pieces: the same bytes, or the same error. */
static void check_range(ewf_read *image, uint64_t at, size_t n, size_t piece, int may_fail)
{
    uint8_t *a = (uint8_t *)malloc(n != 0 ? n : 1), *b = (uint8_t *)malloc(n != 0 ? n : 1);
    posio_error err, again;
    posio_result r, s;
    size_t done;
    REQUIRE(a != NULL && b != NULL);
    memset(a, 0x11, n != 0 ? n : 1);
    memset(b, 0x22, n != 0 ? n : 1);
    r = ewf_read_at(image, at, a, n, &err);
    s = ewf_read_at(image, at, b, n, &again);
    REQUIRE(r == s && (r == POSIO_OK || may_fail));
    if (r != POSIO_OK) {
        require_error(r, &err);
        REQUIRE(err.offset == again.offset && strcmp(err.message, again.message) == 0);
    } else {
        REQUIRE(memcmp(a, b, n) == 0);
        memset(b, 0x33, n != 0 ? n : 1);
        for (done = 0; done < n; done += piece)
            REQUIRE(ewf_read_at(image, at + done, b + done, (size_t)posio_min(piece, n - done),
                                &err) == POSIO_OK);
        REQUIRE(memcmp(a, b, n) == 0);
    }
    free(a);
    free(b);
}

static void check_reads(ewf_read *image, int may_fail)
{
    const ewf_read_metadata *m = ewf_read_info(image);
    const uint64_t size = m->media_size;
    size_t some = (size_t)posio_min(size, 3 * (uint64_t)m->chunk_size + 77);
    posio_error err;
    char byte;
    size_t piece = m->chunk_size / 2 + 13;
    if (some > 65536) some = 65536;
    REQUIRE(ewf_read_at(image, size, &byte, 1, &err) == POSIO_E_RANGE);
    REQUIRE(ewf_read_at(image, UINT64_MAX, &byte, 1, &err) == POSIO_E_RANGE);
    check_range(image, size, 0, 1, 0);
    check_range(image, 0, some, piece, may_fail);
    check_range(image, size - some, some, piece, may_fail);
    check_range(image, (size - some) / 2, some, piece, may_fail);
    if (size <= WHOLE_MAX && m->chunk_count <= CHUNKS_MAX)
        check_range(image, 0, (size_t)size, piece + 1000, may_fail);
}

/* The digest of a verify is that of the bytes that are read, damage as it decodes. */
static void check_digest(ewf_read *image, const ewf_read_verdict *v)
{
    const uint64_t size = ewf_read_info(image)->media_size;
    uint8_t *a, sum[DIGEST_MAX_SIZE];
    digest d;
    if (size > WHOLE_MAX || !v->digest[0].has_computed) return;
    a = (uint8_t *)malloc(size != 0 ? (size_t)size : 1);
    REQUIRE(a != NULL && ewf_read_at(image, 0, a, (size_t)size, NULL) == POSIO_OK);
    REQUIRE(v->digest[0].algorithm == EWF_READ_MD5 && digest_begin(&d, DIGEST_MD5) == POSIO_OK);
    digest_update(&d, a, (size_t)size);
    REQUIRE(digest_result(&d, sum) == 16);
    REQUIRE(memcmp(sum, v->digest[0].computed, 16) == 0);
    free(a);
}

static void check_verify(ewf_read *image, unsigned policy, ewf_read_verdict *v)
{
    ewf_read_verify_desc desc;
    posio_error err;
    memset(&desc, 0, sizeof desc);
    desc.digests = EWF_READ_MD5;
    REQUIRE(ewf_read_verify(image, &desc, v, &err) == POSIO_OK);
    REQUIRE(v->digest_count >= 1 && v->bytes <= ewf_read_info(image)->media_size);
    REQUIRE(check_lists(image) == v->damaged_chunks);
    if (policy == EWF_READ_DAMAGE_RAW) check_digest(image, v);
}

static int same_lists(ewf_read *a, ewf_read *b)
{
    ewf_read_warning w, x;
    ewf_read_damage d, e;
    posio_result r, s;
    uint32_t i;
    memset(&d, 0, sizeof d);
    memset(&e, 0, sizeof e);
    for (i = 0;; i++) {
        r = ewf_read_get_warning(a, i, &w);
        s = ewf_read_get_warning(b, i, &x);
        if (r != s) return 0;
        if (r != POSIO_OK) break;
        if (ewf_read_i_warning_order(&w, &x) != 0) return 0;
    }
    for (i = 0;; i++) {
        r = ewf_read_get_damage(a, i, &d);
        s = ewf_read_get_damage(b, i, &e);
        if (r != s) return 0;
        if (r != POSIO_OK) return 1;
        if (d.chunk != e.chunk || d.count != e.count || d.offset != e.offset ||
            d.segment != e.segment || d.code != e.code || strcmp(d.reason, e.reason) != 0)
            return 0;
    }
}

static int same_info(const ewf_read_metadata *a, const ewf_read_metadata *b)
{
    uint32_t i;
    for (i = 0; i < EWF_READ_TEXT_COUNT; i++) {
        if ((a->text[i] == NULL) != (b->text[i] == NULL)) return 0;
        if (a->text[i] != NULL && strcmp(a->text[i], b->text[i]) != 0) return 0;
    }
    return a->media_size == b->media_size && a->sector_count == b->sector_count &&
           a->chunk_count == b->chunk_count && a->chunk_size == b->chunk_size &&
           a->segment_count == b->segment_count && a->missing_segments == b->missing_segments &&
           strcmp(a->layout, b->layout) == 0 && memcmp(a->set_guid, b->set_guid, 16) == 0 &&
           memcmp(a->md5, b->md5, 16) == 0 && memcmp(a->sha1, b->sha1, 20) == 0 &&
           a->has_md5 == b->has_md5 && a->has_sha1 == b->has_sha1 &&
           a->acquisition_error_count == b->acquisition_error_count &&
           a->session_count == b->session_count;
}

/* The same image twice: one is read before it is verified, the other only verified. */
static void check_pair(ewf_read *a, ewf_read *b, unsigned policy)
{
    ewf_read_verdict v, w;
    REQUIRE(same_info(ewf_read_info(a), ewf_read_info(b)));
    check_info(a);
    (void)check_lists(a);
    check_reads(a, policy == EWF_READ_DAMAGE_ERROR);
    check_extents(a);
    (void)check_lists(a);
    if (ewf_read_info(a)->media_size > VERIFY_MAX || ewf_read_info(a)->chunk_count > CHUNKS_MAX)
        return;
    check_verify(a, policy, &v);
    check_verify(b, policy, &w);
    REQUIRE(memcmp(&v, &w, sizeof v) == 0);
    REQUIRE(same_lists(a, b) || ewf_read_get_warning(a, EWF_READ_I_WARNINGS - 1,
                                                     &(ewf_read_warning){0}) == POSIO_OK);
}

/* ------------------------------------------------------------------ entry points */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static thread_pool *pool;
    ledger mine, second;
    input in;
    set s;
    ewf_read_desc desc;
    ewf_read *a = NULL, *b = NULL;
    posio_error err, again;
    posio_result r;
    uint32_t i;
    if (!split(&in, data, size)) return 0;
    if (pool == NULL) REQUIRE((pool = thread_pool_create(2)) != NULL);
    set_make(&s, &in, data);
    memset(&desc, 0, sizeof desc);
    desc.max_chunk_size = CHUNK_MAX;
    desc.cache_bytes = 1 << 20;
    desc.on_damage = (in.choices >> 3 & 3) % 3;
    desc.pool = in.choices & 32 ? pool : NULL;
    desc.alloc = ledger_make(&mine);
    r = ewf_read_open_sources(&a, s.source, in.count, &desc, &err);
    desc.alloc = ledger_make(&second);
    REQUIRE(ewf_read_open_sources(&b, s.source, in.count, &desc, &again) == r);
    if (r == POSIO_OK) {
        check_pair(a, b, desc.on_damage);
    } else {
        require_error(r, &err);
        REQUIRE(err.offset == again.offset && strcmp(err.message, again.message) == 0);
        REQUIRE(a == NULL && b == NULL);
    }
    ewf_read_close(a);
    ewf_read_close(b);
    ledger_end(&mine, allowance(size));
    ledger_end(&second, 0);
    for (i = 0; i < in.count; i++) free(s.copy[i]);
    return 0;
}

#ifdef FUZZ_MUTATOR
/* Changes a number where numbers are: in a descriptor, a geometry, a table or a file header. */
static void mutate_field(uint8_t *p, size_t size, uint64_t *random)
{
    static const uint8_t fields[] = {16, 24, 80, 84, 88, 92, 76, 84, 100, 104, 108, 112, 116};
    static const char *const types[] = {"table", "table2", "sectors", "volume", "data", "disk",
                                        "header", "header2", "xheader", "hash", "digest", "xhash",
                                        "error2", "session", "next", "done", "junk"};
    static size_t list[256];
    size_t count = walk(p, size, 0, list, 256), at, field;
    uint64_t v;
    if (count == 0) return;
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    at = list[(*random >> 33) % count];
    if ((*random >> 20 & 7) == 0) {
        memset(p + at, 0, 16);
        memcpy(p + at, types[(*random >> 23) % 17], strlen(types[(*random >> 23) % 17]));
        return;
    }
    field = fields[(*random >> 50) % sizeof fields];
    if (at + field + 8 > size) return;
    switch (*random >> 60) {
    case 0: v = 0; break;
    case 1: v = 1; break;
    case 2: v = size; break;
    case 3: v = UINT64_MAX >> (*random >> 55 & 31); break;
    case 4: v = at; break;
    case 5: v = list[(*random >> 13) % count]; break;
    case 6: v = posio_le64(p + at + field) * 2; break;
    case 7: v = posio_le64(p + at + field) ^ (uint64_t)1 << (*random >> 13 & 63); break;
    case 8: v = posio_le64(p + at + field) + 1; break;
    case 9: v = posio_le64(p + at + field) - 1; break;
    case 10: v = list[(*random >> 13) % count] - at; break;
    default: v = posio_le64(p + at + field) + (*random >> 13 & 127) - 64; break;
    }
    put32(p + at + field, (uint32_t)v);
    if (field <= 24 || (*random >> 12 & 1)) put32(p + at + field + 4, (uint32_t)(v >> 32));
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    uint64_t random = seed * 0x9e3779b97f4a7c15u + 1;
    input in;
    uint32_t i;
    if (seed % 3 == 0 || !split(&in, data, size)) return LLVMFuzzerMutate(data, size, room);
    i = seed / 3 % in.count;
    for (seed /= 12; seed % 2 == 0 && seed != 0; seed /= 2)
        mutate_field(data + in.start[i], in.size[i], &random);
    mutate_field(data + in.start[i], in.size[i], &random);
    return size;
}
#endif
