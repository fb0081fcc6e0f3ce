/* ewf_read.h against images that tests/fixtures/ewf_build.h builds byte by byte from the published
   format, and against samples and images by other tools where they are at hand. */
#define EWF_READ_IMPLEMENTATION
#include "../ewf_read.h"
#include "fixtures/ewf_build.h"
#include "fixtures/faults.h"
#include "test.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ------------------------------------------------------------------ helpers */

/* A built image as sources in memory. */
typedef struct sources {
    posio_memory *memory;
    posio_source *source;
    uint32_t count;
} sources;

static void sources_make(sources *s, const ewf_build *b)
{
    size_t i;
    s->memory = (posio_memory *)calloc(b->segment_count + 1, sizeof *s->memory);
    s->source = (posio_source *)calloc(b->segment_count + 1, sizeof *s->source);
    s->count = 0;
    for (i = 0; i < b->segment_count; i++) {
        if (b->segment[i].absent) continue;
        s->memory[s->count].data = b->segment[i].data;
        s->memory[s->count].size = b->segment[i].size;
        s->source[s->count] = posio_memory_source(&s->memory[s->count]);
        s->count++;
    }
}

static void sources_free(sources *s)
{
    free(s->memory);
    free(s->source);
}

static uint32_t warnings_of(ewf_read *image)
{
    ewf_read_warning w;
    uint32_t n = 0;
    while (ewf_read_get_warning(image, n, &w) == POSIO_OK) n++;
    return n;
}

static void print_notes(ewf_read *image)
{
    ewf_read_warning w;
    ewf_read_damage d;
    uint32_t i;
    for (i = 0; ewf_read_get_warning(image, i, &w) == POSIO_OK; i++)
        printf("    warning: segment %u: %s\n", (unsigned)w.segment, w.message);
    for (i = 0; ewf_read_get_damage(image, i, &d) == POSIO_OK && i < 8; i++)
        printf("    damage: chunk %llu+%llu segment %u: %s\n", (unsigned long long)d.chunk,
               (unsigned long long)d.count, (unsigned)d.segment, d.reason);
}

/* Reports a failure of one variant with everything the image had to say. */
static void blame(const char *variant, const char *what, ewf_read *image)
{
    printf("  %s: %s\n", variant, what);
    if (image != NULL) print_notes(image);
    test_fail(__FILE__, __LINE__, variant);
}

static int is_bad(const ewf_build_recipe *r, uint64_t chunk)
{
    return r->expect == EWF_BUILD_DAMAGED && chunk >= r->bad_first &&
           chunk < r->bad_first + r->bad_count;
}

/* All chunks but the lost ones read as the media; with each way to cut the reads. */
static const char *compare_media(ewf_read *image, const ewf_build *b, const ewf_build_recipe *r,
                                 size_t step)
{
    uint8_t *out = (uint8_t *)malloc((size_t)b->media_size + 1);
    uint64_t at, chunk;
    const char *why = NULL;
    posio_error err;
    for (at = 0; at < b->media_size && why == NULL; at += step) {
        size_t n = (size_t)posio_min(step, b->media_size - at);
        if (ewf_read_at(image, at, out + at, n, &err) != POSIO_OK) why = "a read failed";
    }
    for (chunk = 0; why == NULL && chunk * b->chunk_size < b->media_size; chunk++) {
        at = chunk * b->chunk_size;
        if (!is_bad(r, chunk) &&
            memcmp(out + at, b->media + at,
                   (size_t)posio_min(b->chunk_size, b->media_size - at)) != 0)
            why = "media bytes differ";
    }
    free(out);
    return why;
}

/* The damage list is exactly what the recipe lost. */
static const char *compare_damage(ewf_read *image, const ewf_build_recipe *r)
{
    ewf_read_damage d;
    uint32_t i;
    uint64_t lost = 0, want = r->expect == EWF_BUILD_DAMAGED ? r->bad_count : 0;
    for (i = 0; ewf_read_get_damage(image, i, &d) == POSIO_OK; i++) {
        if (!is_bad(r, d.chunk) || !is_bad(r, d.chunk + d.count - 1))
            return "a good chunk is called damaged";
        lost += d.count;
    }
    return lost == want ? NULL : "damaged chunks are not listed";
}

static const char *compare_digests(const ewf_read_verdict *v, const ewf_build *b,
                                   const ewf_build_recipe *r)
{
    uint32_t i;
    for (i = 0; i < v->digest_count; i++) {
        const ewf_read_digest *d = &v->digest[i];
        const uint8_t *want = d->algorithm == EWF_READ_MD5 ? b->media_md5 : b->media_sha1;
        if (r->expect == EWF_BUILD_DAMAGED || d->size > 20) continue;
        if (!d->has_computed || memcmp(d->computed, want, d->size) != 0)
            return "the computed digest is wrong";
    }
    if (r->expect == EWF_BUILD_CLEAN && v->mismatches != 0) return "a stored digest does not match";
    return NULL;
}

/* Opens, reads, verifies; returns what is wrong, or NULL. */
static const char *check_image(ewf_read *image, const ewf_build *b, const ewf_build_recipe *r,
                               ewf_read_verdict *v)
{
    const ewf_read_metadata *m = ewf_read_info(image);
    ewf_read_verify_desc desc;
    const char *why;
    posio_error err;
    memset(&desc, 0, sizeof desc);
    desc.digests = EWF_READ_MD5 | EWF_READ_SHA1;
    if (m->media_size != b->media_size) return "the media size is wrong";
    why = compare_media(image, b, r, 100003);
    if (why == NULL) why = compare_media(image, b, r, 4u << 20);
    if (why != NULL) return why;
    if (ewf_read_verify(image, &desc, v, &err) != POSIO_OK) return "verify failed";
    why = compare_damage(image, r);
    if (why == NULL) why = compare_digests(v, b, r);
    if (why == NULL && r->expect == EWF_BUILD_CLEAN && warnings_of(image) != 0)
        why = "warnings about a clean image";
    return why;
}

static void check_built(const ewf_build_recipe *r, const ewf_build *b, thread_pool *pool)
{
    sources s;
    ewf_read *image = NULL;
    ewf_read_desc desc;
    ewf_read_verdict v;
    posio_error err;
    posio_result result;
    memset(&desc, 0, sizeof desc);
    desc.pool = pool;
    desc.on_damage = EWF_READ_DAMAGE_ZEROS;
    sources_make(&s, b);
    result = ewf_read_open_sources(&image, s.source, s.count, &desc, &err);
    if (r->expect == EWF_BUILD_HOSTILE) {
        if (result == POSIO_OK) (void)ewf_read_verify(image, NULL, &v, &err);
        else CHECK(err.message[0] != 0);
    } else if (result != POSIO_OK) {
        printf("    %s\n", err.message);
        blame(r->name, "cannot be opened", NULL);
    } else {
        const char *why = check_image(image, b, r, &v);
        if (why != NULL) blame(r->name, why, image);
    }
    ewf_read_close(image);
    sources_free(&s);
}

/* ------------------------------------------------------------------ every variant */

TEST(every_variant_on_1_and_16_threads)
{
    thread_pool *pool = thread_pool_create(16);
    const ewf_build_recipe *r;
    size_t i;
    for (i = 0; (r = ewf_build_recipe_at(i)) != NULL; i += TEST_STRIDE) {
        ewf_build b;
        (void)ewf_build_variant(&b, r->name);
        check_built(r, &b, NULL);
        check_built(r, &b, pool);
        ewf_build_free(&b);
    }
    thread_pool_destroy(pool);
}

/* ------------------------------------------------------------------ beyond 2 GiB */

static posio_result read_huge(void *self, uint64_t offset, void *buf, size_t n, posio_error *err)
{
    (void)err;
    ewf_build_huge_read((const ewf_build_huge *)self, offset, (uint8_t *)buf, n);
    return POSIO_OK;
}

/* EnCase 6.7.1: entries switch to 32 bits when offset + size pass 2 GiB. */
TEST(entries_beyond_2_gib)
{
    static const uint32_t shapes[2][2] = {{66000, 64}, {2080, 2048}};
    size_t k;
    for (k = 0; k < 2; k++) {
        ewf_build_huge h;
        posio_source source;
        ewf_read *image = NULL;
        posio_error err;
        uint8_t got[3000], want[3000];
        uint64_t at, seed = 7;
        int i;
        ewf_build_huge_make(&h, shapes[k][0], shapes[k][1], 0);
        memset(&source, 0, sizeof source);
        source.size = h.file_size;
        source.read_at = read_huge;
        source.self = &h;
        REQUIRE(ewf_read_open_sources(&image, &source, 1, NULL, &err) == POSIO_OK);
        CHECK_EQ(ewf_read_info(image)->media_size, h.media_size);
        for (i = 0; i < 400; i++) {
            at = test_random(&seed) % (h.media_size - sizeof got);
            if (i % 4 == 0) at = h.media_size - sizeof got - (uint64_t)i * 9000;
            ewf_build_huge_media(&h, at, want, sizeof want);
            CHECK_EQ(ewf_read_at(image, at, got, sizeof got, &err), POSIO_OK);
            CHECK_MEM(got, want, sizeof got);
        }
        CHECK_EQ(warnings_of(image), 0);
        ewf_read_close(image);
        ewf_build_huge_free(&h);
    }
}

/* ------------------------------------------------------------------ threads */

typedef struct readers {
    ewf_read *image;
    const ewf_build *b;
    uint32_t wrong;
} readers;

static posio_result random_reads(void *user, uint32_t i, posio_error *err)
{
    readers *r = (readers *)user;
    uint8_t *buf = (uint8_t *)malloc(200000);
    uint64_t seed = i + 1;
    int k;
    for (k = 0; k < 60; k++) {
        uint64_t at = test_random(&seed) % r->b->media_size;
        size_t n = (size_t)(test_random(&seed) % (k % 8 == 0 ? 200000 : 5000));
        n = (size_t)posio_min(n, r->b->media_size - at);
        if (ewf_read_at(r->image, at, buf, n, err) != POSIO_OK ||
            memcmp(buf, r->b->media + at, n) != 0)
            posio_atomic_store(&r->wrong, 1);
    }
    free(buf);
    return POSIO_OK;
}

/* 64 threads at random offsets, with and without a lent pool, in a cache that is far too small. */
TEST(many_threads_read_the_same_bytes)
{
    static const char *const variants[] = {"mixed", "encase6-many", "ewf-many", "no-tables-many"};
    thread_pool *callers = thread_pool_create(64), *lent = thread_pool_create(3);
    size_t k;
    for (k = 0; k < 2 * COUNT(variants); k += TEST_STRIDE) {
        ewf_build b;
        sources s;
        readers r;
        ewf_read_desc desc;
        memset(&desc, 0, sizeof desc);
        desc.pool = k % 2 ? lent : NULL;
        desc.cache_bytes = 100000;
        (void)ewf_build_variant(&b, variants[k / 2]);
        sources_make(&s, &b);
        memset(&r, 0, sizeof r);
        r.b = &b;
        REQUIRE(ewf_read_open_sources(&r.image, s.source, s.count, &desc, NULL) == POSIO_OK);
        CHECK_EQ(thread_pool_parallel_for(callers, 64, random_reads, &r, NULL), POSIO_OK);
        CHECK_EQ(r.wrong, 0);
        ewf_read_close(r.image);
        sources_free(&s);
        ewf_build_free(&b);
    }
    thread_pool_destroy(callers);
    thread_pool_destroy(lent);
}

/* A source that counts, and is slow enough that all threads want the chunk while it is decoded. */
typedef struct counted {
    posio_source base;
    uint64_t from, to; /* reads that touch these bytes are counted */
    uint32_t count;
} counted;

static posio_result read_counted(void *self, uint64_t offset, void *buf, size_t n, posio_error *err)
{
    counted *c = (counted *)self;
    if (offset < c->to && offset + n > c->from) (void)posio_atomic_add(&c->count, 1);
    return posio_read(&c->base, offset, buf, n, err);
}

static posio_result read_hot(void *user, uint32_t i, posio_error *err)
{
    char buf[512];
    return ewf_read_at((ewf_read *)user, 32768 * 5 + i * 512, buf, sizeof buf, err);
}

TEST(a_hot_chunk_is_decoded_once)
{
    thread_pool *callers = thread_pool_create(16);
    ewf_build b;
    sources s;
    counted c;
    posio_source source;
    ewf_read *image = NULL;
    (void)ewf_build_variant(&b, "encase6");
    sources_make(&s, &b);
    memset(&c, 0, sizeof c);
    c.base = s.source[0];
    c.from = b.chunk[5].offset;
    c.to = c.from + b.chunk[5].size;
    source = c.base;
    source.read_at = read_counted;
    source.self = &c;
    REQUIRE(ewf_read_open_sources(&image, &source, 1, NULL, NULL) == POSIO_OK);
    CHECK_EQ(thread_pool_parallel_for(callers, 16, read_hot, image, NULL), POSIO_OK);
    CHECK_EQ(c.count, 1);
    ewf_read_close(image);
    sources_free(&s);
    ewf_build_free(&b);
    thread_pool_destroy(callers);
}

/* ------------------------------------------------------------------ damage policies */

static ewf_read *open_variant(const char *name, uint32_t on_damage, ewf_build *b, sources *s)
{
    ewf_read *image = NULL;
    ewf_read_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.on_damage = on_damage;
    (void)ewf_build_variant(b, name);
    sources_make(s, b);
    (void)ewf_read_open_sources(&image, s->source, s->count, &desc, NULL);
    return image;
}

TEST(damage_is_an_error_zeros_or_raw)
{
    static uint8_t got[32768], zeros[32768];
    uint32_t policy;
    for (policy = EWF_READ_DAMAGE_ERROR; policy <= EWF_READ_DAMAGE_RAW; policy++) {
        ewf_build b;
        sources s;
        ewf_read *image = open_variant("flip-raw", policy, &b, &s);
        ewf_read_damage d = {0, 0, 0, 0, 0, NULL};
        posio_error err;
        posio_result r;
        REQUIRE(image != NULL);
        memset(got, 0xee, sizeof got);
        r = ewf_read_at(image, 3 * 32768, got, sizeof got, &err);
        if (policy == EWF_READ_DAMAGE_ERROR) {
            CHECK_EQ((int64_t)r, POSIO_E_DATA);
            CHECK_EQ(err.segment, 1);
            CHECK_EQ(err.offset, b.chunk[3].offset);
            CHECK(strstr(err.message, "chunk 3") != NULL);
        } else {
            CHECK_EQ(r, POSIO_OK);
            if (policy == EWF_READ_DAMAGE_ZEROS) CHECK_MEM(got, zeros, sizeof got);
            else CHECK_MEM(got, b.segment[0].data + b.chunk[3].offset, sizeof got);
        }
        CHECK_EQ(ewf_read_get_damage(image, 0, &d), POSIO_OK);
        CHECK_EQ(d.chunk, 3);
        CHECK_EQ(d.offset, b.chunk[3].offset);
        CHECK_EQ((int64_t)ewf_read_get_damage(image, 1, &d), POSIO_E_RANGE);
        ewf_read_close(image);
        sources_free(&s);
        ewf_build_free(&b);
    }
}

TEST(a_missing_segment_is_named)
{
    ewf_build b;
    sources s;
    ewf_read *image = open_variant("missing-middle", EWF_READ_DAMAGE_ERROR, &b, &s);
    ewf_read_verdict v;
    ewf_read_warning w;
    ewf_read_damage d = {0, 0, 0, 0, 0, NULL};
    posio_error err;
    char buf[10];
    uint32_t i;
    int named = 0;
    REQUIRE(image != NULL);
    CHECK_EQ(ewf_read_info(image)->missing_segments, 1);
    for (i = 0; ewf_read_get_warning(image, i, &w) == POSIO_OK; i++)
        named |= strcmp(w.message, "segment 2 is missing") == 0;
    CHECK(named);
    CHECK_EQ((int64_t)ewf_read_at(image, 10 * 32768, buf, sizeof buf, &err), POSIO_E_MISSING);
    CHECK_EQ(ewf_read_verify(image, NULL, &v, &err), POSIO_OK);
    CHECK_EQ(v.damaged_chunks, 9);
    CHECK_EQ(v.digest[0].has_computed, 0);
    CHECK(v.mismatches != 0);
    CHECK_EQ(ewf_read_get_damage(image, 0, &d), POSIO_OK);
    CHECK_EQ(d.segment, 2);
    ewf_read_close(image);
    sources_free(&s);
    ewf_build_free(&b);
}

/* ------------------------------------------------------------------ metadata */

TEST(metadata_is_read)
{
    ewf_build b;
    sources s;
    ewf_read *image = open_variant("text", 0, &b, &s);
    const ewf_read_metadata *m;
    REQUIRE(image != NULL);
    m = ewf_read_info(image);
    CHECK_STR(m->text[EWF_READ_CASE_NUMBER], "\xc3\x85-7 \xe2\x82\xac");
    CHECK_STR(m->text[EWF_READ_EXAMINER], "\xe6\xb0\xb4 \xf0\x9f\x94\x8d");
    CHECK_EQ(m->has_md5, 1);
    CHECK_MEM(m->md5, b.md5, 16);
    CHECK_EQ(m->has_sha1, 1);
    CHECK_MEM(m->sha1, b.sha1, 20);
    ewf_read_close(image);
    sources_free(&s);
    ewf_build_free(&b);
}

TEST(acquisition_errors_and_sessions_are_read)
{
    ewf_build b;
    sources s;
    ewf_read *image = open_variant("errors", 0, &b, &s);
    const ewf_read_metadata *m;
    REQUIRE(image != NULL);
    m = ewf_read_info(image);
    REQUIRE(m->acquisition_error_count == 3);
    CHECK_EQ(m->acquisition_errors[1].first, 200);
    CHECK_EQ(m->acquisition_errors[1].count, 64);
    ewf_read_close(image);
    sources_free(&s);
    ewf_build_free(&b);
    image = open_variant("sector-2048", 0, &b, &s);
    REQUIRE(image != NULL);
    m = ewf_read_info(image);
    CHECK_EQ(m->media_type, 3);
    REQUIRE(m->session_count == 3);
    CHECK_EQ(m->sessions[0].first, 16);
    CHECK_EQ(m->sessions[0].count, 44);
    CHECK_EQ(m->sessions[2].first, 100);
    ewf_read_close(image);
    sources_free(&s);
    ewf_build_free(&b);
}

TEST(the_digest_may_cover_a_partial_sector)
{
    static const char *const variants[] = {"partial-sector", "partial-raw", "partial-chunk"};
    size_t i;
    for (i = 0; i < COUNT(variants); i++) {
        ewf_build b;
        sources s;
        ewf_read *image = open_variant(variants[i], 0, &b, &s);
        ewf_read_verdict v;
        REQUIRE(image != NULL);
        CHECK_EQ(ewf_read_info(image)->media_size, b.media_size);
        CHECK_EQ(ewf_read_verify(image, NULL, &v, NULL), POSIO_OK);
        CHECK_EQ(v.mismatches, 0);
        CHECK_EQ(v.digest[0].untrimmed, 1);
        CHECK_MEM(v.digest[0].computed, b.media_md5, 16);
        ewf_read_close(image);
        sources_free(&s);
        ewf_build_free(&b);
    }
}

/* ------------------------------------------------------------------ refusals and names */

TEST(other_families_are_refused_by_name)
{
    static const struct {
        const char *bytes, *word;
        posio_result code;
    } cases[] = {{"LVF\x09\x0d\x0a\xff\x00\x01\x01\x00\x00\x00", "L01", POSIO_E_UNSUPPORTED},
                 {"EVF2\x0d\x0a\x81\x00\x02\x01\x00\x00\x00", "Ex01", POSIO_E_UNSUPPORTED},
                 {"LEF2\x0d\x0a\x81\x00\x02\x01\x00\x00\x00", "Lx01", POSIO_E_UNSUPPORTED},
                 {"ADCRYPT\x00\x00\x00\x00\x00\x00", "AD encryption", POSIO_E_UNSUPPORTED},
                 {"hello, world.", "not an EWF file", POSIO_E_FORMAT}};
    size_t i;
    for (i = 0; i < COUNT(cases); i++) {
        posio_memory m;
        posio_source source;
        ewf_read *image = NULL;
        posio_error err;
        m.data = cases[i].bytes;
        m.size = 13;
        source = posio_memory_source(&m);
        CHECK_EQ((int64_t)ewf_read_open_sources(&image, &source, 1, NULL, &err), cases[i].code);
        CHECK(strstr(err.message, cases[i].word) != NULL);
        CHECK(image == NULL);
    }
}

TEST(segment_names_follow_the_scheme)
{
    static const struct {
        const char *name;
        uint32_t number;
    } cases[] = {{"x.E01", 1},   {"x.e99", 99},  {"x.EAA", 100}, {"x.eaz", 125}, {"x.EBA", 126},
                 {"x.EZZ", 775}, {"x.FAA", 776}, {"x.ZZZ", 99 + 22 * 676}, {"x.E00", 0},
                 {"x.D01", 0},   {"E01", 0},     {"x.E1", 0},    {"x.E0A", 0},   {"x.dd", 0}};
    size_t i, stem = 0;
    for (i = 0; i < COUNT(cases); i++)
        CHECK_EQ(ewf_read_segment_of_name(cases[i].name, &stem), cases[i].number);
    CHECK_EQ(ewf_read_segment_of_name("a.b.E07", &stem), 7);
    CHECK_EQ(stem, 3);
    CHECK_EQ(ewf_read_i_ordinal("x.SAA", 's'), 100);
    CHECK_EQ(ewf_read_i_ordinal("x.E02", 's'), 0);
}

/* An opener that has files in memory and cannot list them. */
typedef struct shelf {
    const ewf_build *b;
    posio_memory memory[64];
    uint32_t opened;
} shelf;

static posio_result shelf_open(void *self, const char *name, uint32_t rule, posio_source *out,
                               posio_error *err)
{
    shelf *s = (shelf *)self;
    uint32_t n = ewf_read_segment_of_name(name, NULL);
    if (rule != POSIO_NAME_SIBLING || n == 0 || n > s->b->segment_count)
        return posio_fail(err, POSIO_E_NOT_FOUND, POSIO_NO_OFFSET, "no %s", name);
    s->memory[n - 1].data = s->b->segment[n - 1].data;
    s->memory[n - 1].size = s->b->segment[n - 1].size;
    *out = posio_memory_source(&s->memory[n - 1]);
    s->opened++;
    return POSIO_OK;
}
static void shelf_close(void *self, posio_source *src)
{
    (void)src;
    ((shelf *)self)->opened--;
}

TEST(segments_come_through_any_opener)
{
    ewf_build b;
    shelf s;
    posio_opener opener;
    ewf_read *image = NULL;
    ewf_read_verdict v;
    (void)ewf_build_variant(&b, "encase6-many");
    memset(&s, 0, sizeof s);
    s.b = &b;
    memset(&opener, 0, sizeof opener);
    opener.open = shelf_open;
    opener.close = shelf_close;
    opener.self = &s;
    REQUIRE(ewf_read_open_with(&image, &opener, "evidence.E02", NULL, NULL) == POSIO_OK);
    CHECK_EQ(ewf_read_info(image)->segment_count, b.segment_count);
    CHECK_EQ(ewf_read_verify(image, NULL, &v, NULL), POSIO_OK);
    CHECK_EQ(v.mismatches + v.damaged_chunks, 0);
    ewf_read_close(image);
    CHECK_EQ(s.opened, 0);
    ewf_build_free(&b);
}

TEST(extents_cover_the_media)
{
    ewf_build b;
    sources s;
    ewf_read *image = open_variant("mixed", 0, &b, &s);
    posio_source source;
    posio_extent e;
    uint64_t at;
    REQUIRE(image != NULL);
    source = ewf_read_source(image);
    CHECK_EQ(source.size, b.media_size);
    CHECK_EQ(source.unit, b.chunk_size);
    for (at = 0; at < source.size; at += e.length) {
        REQUIRE(posio_extent_of(&source, at, &e, NULL) == POSIO_OK && e.length != 0);
        CHECK_EQ(e.kind, b.chunk[at / b.chunk_size].compressed ? POSIO_EXTENT_COMPRESSED
                                                               : POSIO_EXTENT_DATA);
    }
    CHECK_EQ(at, source.size);
    ewf_read_close(image);
    sources_free(&s);
    ewf_build_free(&b);
}

TEST(limits_and_bad_arguments)
{
    ewf_build b;
    sources s;
    ewf_read *image = NULL;
    ewf_read_desc desc;
    posio_error err;
    char buf[4];
    (void)ewf_build_variant(&b, "chunk-2048");
    sources_make(&s, &b);
    memset(&desc, 0, sizeof desc);
    desc.max_chunk_size = 1u << 19;
    CHECK_EQ((int64_t)ewf_read_open_sources(&image, s.source, s.count, &desc, &err), POSIO_E_LIMIT);
    desc.max_chunk_size = 0;
    desc.on_damage = 9;
    CHECK_EQ((int64_t)ewf_read_open_sources(&image, s.source, s.count, &desc, &err), POSIO_E_ARG);
    CHECK_EQ((int64_t)ewf_read_open_sources(&image, s.source, 0, NULL, &err), POSIO_E_ARG);
    REQUIRE(ewf_read_open_sources(&image, s.source, s.count, NULL, &err) == POSIO_OK);
    CHECK_EQ((int64_t)ewf_read_at(image, b.media_size - 3, buf, 4, &err), POSIO_E_RANGE);
    CHECK_EQ((int64_t)ewf_read_at(image, UINT64_MAX, buf, 4, &err), POSIO_E_RANGE);
    CHECK_EQ(ewf_read_at(image, b.media_size, buf, 0, &err), POSIO_OK);
    ewf_read_close(image);
    ewf_read_close(NULL);
    sources_free(&s);
    ewf_build_free(&b);
}

static int cancel_at_once(void *user, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    ++*(int *)user;
    return 1;
}

TEST(verify_can_be_canceled)
{
    ewf_build b;
    sources s;
    ewf_read *image = open_variant("encase6", 0, &b, &s);
    ewf_read_verify_desc desc;
    ewf_read_verdict v;
    posio_error err;
    int calls = 0;
    REQUIRE(image != NULL);
    memset(&desc, 0, sizeof desc);
    desc.progress = cancel_at_once;
    desc.user = &calls;
    CHECK_EQ((int64_t)ewf_read_verify(image, &desc, &v, &err), POSIO_E_CANCELED);
    CHECK(calls >= 1);
    ewf_read_close(image);
    sources_free(&s);
    ewf_build_free(&b);
}

/* Of four segments the second and the last are absent: what is between the gaps cannot be numbered,
   and must not be given out under a wrong number. */
TEST(two_gaps_never_give_wrong_bytes)
{
    static const unsigned absent[][2] = {{1, 3}, {0, 2}, {1, 2}, {0, 3}, {2, 3}};
    ewf_build_options o;
    static uint8_t media[25 * 32768], got[32768];
    size_t k;
    memset(&o, 0, sizeof o);
    o.layout = EWF_BUILD_ENCASE6;
    o.chunks_per_segment = 7;
    ewf_build_media(media, sizeof media, 3);
    for (k = 0; k < COUNT(absent); k++) {
        ewf_build b;
        sources s;
        ewf_read *image = NULL;
        uint64_t chunk, right = 0;
        ewf_build_make(&b, &o, media, sizeof media);
        b.segment[absent[k][0]].absent = b.segment[absent[k][1]].absent = 1;
        sources_make(&s, &b);
        REQUIRE(ewf_read_open_sources(&image, s.source, s.count, NULL, NULL) == POSIO_OK);
        CHECK_EQ(ewf_read_info(image)->media_size, sizeof media);
        for (chunk = 0; chunk < 25; chunk++) {
            posio_result r = ewf_read_at(image, chunk * 32768, got, sizeof got, NULL);
            if (r != POSIO_OK) {
                CHECK_EQ((int64_t)r, POSIO_E_MISSING);
                continue;
            }
            CHECK_MEM(got, media + chunk * 32768, sizeof got);
            right++;
        }
        CHECK(right >= (k == 2 ? 11 : k == 4 ? 14 : k == 0 ? 7 : 0));
        ewf_read_close(image);
        sources_free(&s);
        ewf_build_free(&b);
    }
}

/* A segment that turns out to be foreign takes its tables with it, and a place between them, noted
   while they were there, must not lead beyond those that are left. */
TEST(a_hole_in_a_foreign_segment_leads_nowhere)
{
    ewf_build_options o;
    static uint8_t media[25 * 32768];
    ewf_build ours, other;
    posio_memory memory[2];
    posio_source source[2];
    ewf_read *image = NULL;
    ewf_read_verdict v;
    uint8_t *p;
    memset(&o, 0, sizeof o);
    o.layout = EWF_BUILD_ENCASE6;
    o.chunks_per_segment = 13;
    ewf_build_media(media, sizeof media, 3);
    ewf_build_make(&ours, &o, media, sizeof media);
    o.chunks_per_segment = 0;
    o.chunks_per_table = 5;
    o.guid = 0x77;
    ewf_build_make(&other, &o, media, sizeof media);
    other.segment[0].data[9] = 2;
    ewf_build_set_type(ewf_build_at(&other, 0, "volume", 0), "incomplete");
    p = ewf_build_at(&other, 0, "table", 4);
    memset(p, 0xff, 76);
    memory[0].data = ours.segment[0].data;
    memory[0].size = ours.segment[0].size;
    memory[1].data = other.segment[0].data;
    memory[1].size = other.segment[0].size;
    source[0] = posio_memory_source(&memory[0]);
    source[1] = posio_memory_source(&memory[1]);
    REQUIRE(ewf_read_open_sources(&image, source, 2, NULL, NULL) == POSIO_OK);
    CHECK_EQ(ewf_read_info(image)->segment_count, 1);
    CHECK_EQ(ewf_read_verify(image, NULL, &v, NULL), POSIO_OK);
    CHECK_EQ(v.damaged_chunks, 12);
    ewf_read_close(image);
    ewf_build_free(&ours);
    ewf_build_free(&other);
}

/* Where the file system does not mind the case, the listing may spell the given name otherwise. */
static const char *const folded_names[] = {"set.E01", "SET.e02", "Set.E03", "set.raw"};

static posio_result folding_open(void *self, const char *name, uint32_t rule, posio_source *out,
                                 posio_error *err)
{
    shelf *s = (shelf *)self;
    uint32_t n = ewf_read_segment_of_name(name, NULL);
    (void)rule;
    if (n > s->b->segment_count) return posio_fail(err, POSIO_E_FORMAT, 0, "not a segment");
    s->memory[n - 1].data = s->b->segment[n - 1].data;
    s->memory[n - 1].size = s->b->segment[n - 1].size;
    *out = posio_memory_source(&s->memory[n - 1]);
    s->opened++;
    return POSIO_OK;
}

static posio_result folding_list(void *self, int (*each)(void *user, const char *name), void *user,
                                 posio_error *err)
{
    size_t i;
    (void)self;
    (void)err;
    for (i = 0; i < COUNT(folded_names) && !each(user, folded_names[i]); i++) {}
    return POSIO_OK;
}

TEST(the_case_of_names_may_not_matter)
{
    ewf_build b;
    shelf s;
    posio_opener opener;
    ewf_read *image = NULL;
    (void)ewf_build_variant(&b, "encase6-many");
    memset(&s, 0, sizeof s);
    s.b = &b;
    opener.open = folding_open;
    opener.close = shelf_close;
    opener.list = folding_list;
    opener.self = &s;
    REQUIRE(ewf_read_open_with(&image, &opener, "SET.E01", NULL, NULL) == POSIO_OK);
    CHECK_EQ(ewf_read_info(image)->segment_count, 3);
    CHECK_EQ(warnings_of(image), 0);
    ewf_read_close(image);
    image = NULL;
    REQUIRE(ewf_read_open_with(&image, &opener, "set.E01", NULL, NULL) == POSIO_OK);
    /* the others have another stem, letter by letter */
    CHECK_EQ(ewf_read_info(image)->segment_count, 1);
    ewf_read_close(image);
    CHECK_EQ(s.opened, 0);
    ewf_build_free(&b);
}

/* ------------------------------------------------------------------ many images side by side */

/* Sizes, layouts, chunks of 512 bytes to 2 MiB, every kind of damage, digests stored and not; some
   have no chunk at all, and several of those follow each other. */
static const char *const many_variants[] = {
    "encase6",        "empty",        "chunk-16",   "flip-raw",       "missing-middle",
    "segments-124",   "large-chunks", "empty",      "empty",          "partial-sector",
    "hash-wrong",     "small-chunks", "stored-64k", "no-tables-many", "raw-one-sector",
    "no-hash",        "cut-many",     "smart-many", "sha1-only",      "partial-chunk",
    "tables-destroyed", "entry-beyond", "raw-exact"};
enum { MANY = sizeof many_variants / sizeof many_variants[0] };

/* Everything that is known of an image after it was verified. */
typedef struct said {
    ewf_read_verdict verdict;
    char *notes; /* warnings, then damage, in the order in which they are given */
} said;

static char *notes_of(ewf_read *image)
{
    enum { ROOM = 400 };
    ewf_read_warning w;
    ewf_read_damage d;
    uint32_t i, warnings = warnings_of(image), damages = 0;
    size_t used = 0, room;
    char *text;
    while (ewf_read_get_damage(image, damages, &d) == POSIO_OK) damages++;
    room = (size_t)(warnings + damages + 1) * ROOM;
    text = (char *)calloc(1, room);
    if (text == NULL) abort();
    for (i = 0; ewf_read_get_warning(image, i, &w) == POSIO_OK; i++)
        used += (size_t)snprintf(text + used, room - used, "%u %llu %s\n", (unsigned)w.segment,
                                 (unsigned long long)w.offset, w.message);
    for (i = 0; ewf_read_get_damage(image, i, &d) == POSIO_OK; i++)
        used += (size_t)snprintf(text + used, room - used, "chunk %llu %llu %llu %u %d %s\n",
                                 (unsigned long long)d.chunk, (unsigned long long)d.count,
                                 (unsigned long long)d.offset, (unsigned)d.segment, (int)d.code,
                                 d.reason);
    return text;
}

/* The images, and what ewf_read_verify says of each. */
typedef struct shelf_of_many {
    ewf_build build[MANY];
    sources source[MANY];
    said alone[MANY];
} shelf_of_many;

/* What is wanted of the i-th image, besides what it stores: another set for each. */
static uint32_t digests_of(uint32_t i)
{
    static const uint32_t sets[] = {0, EWF_READ_MD5, EWF_READ_SHA256, EWF_READ_SHA1,
                                    EWF_READ_BLAKE3 | EWF_READ_MD5, EWF_READ_MD5};
    return i == 3 ? 15u : sets[i % COUNT(sets)];
}

static ewf_read *many_open(const shelf_of_many *m, uint32_t i, const posio_alloc *alloc)
{
    ewf_read *image = NULL;
    ewf_read_desc desc;
    posio_error err;
    memset(&desc, 0, sizeof desc);
    desc.on_damage = i % 3; /* says nothing of verify */
    if (alloc != NULL) desc.alloc = *alloc;
    if (ewf_read_open_sources(&image, m->source[i].source, m->source[i].count, &desc, &err) !=
        POSIO_OK)
        blame(many_variants[i], err.message, NULL);
    return image;
}

/* An image of `size` bytes, with so many sectors in a chunk. */
static void build_chunks(ewf_build *b, uint32_t sectors, size_t size)
{
    ewf_build_options o;
    uint8_t *media = (uint8_t *)malloc(size);
    if (media == NULL) abort();
    memset(&o, 0, sizeof o);
    o.layout = EWF_BUILD_ENCASE6;
    o.sectors_per_chunk = sectors;
    ewf_build_media(media, size, 9);
    ewf_build_make(b, &o, media, size);
    free(media);
}

static void many_make(shelf_of_many *m)
{
    uint32_t i;
    memset(m, 0, sizeof *m);
    for (i = 0; i < MANY; i++) {
        ewf_read_verify_desc desc;
        ewf_read *image;
        if (strcmp(many_variants[i], "large-chunks") == 0) { /* than a slot of any verify */
            build_chunks(&m->build[i], 4096, (4 << 20) + 512);
        } else if (strcmp(many_variants[i], "small-chunks") == 0) {
            build_chunks(&m->build[i], 1, 300 << 10);
        } else if (ewf_build_variant(&m->build[i], many_variants[i]) == NULL) {
            blame(many_variants[i], "no such variant", NULL);
        }
        sources_make(&m->source[i], &m->build[i]);
        image = many_open(m, i, NULL);
        memset(&desc, 0, sizeof desc);
        desc.digests = digests_of(i);
        if (ewf_read_verify(image, &desc, &m->alone[i].verdict, NULL) != POSIO_OK)
            blame(many_variants[i], "cannot be verified", image);
        m->alone[i].notes = notes_of(image);
        ewf_read_close(image);
    }
}

static void many_free(shelf_of_many *m)
{
    uint32_t i;
    for (i = 0; i < MANY; i++) {
        free(m->alone[i].notes);
        sources_free(&m->source[i]);
        ewf_build_free(&m->build[i]);
    }
}

/* One run. Whatever is not as promised is counted or named in `why`. */
typedef struct many_run {
    const shelf_of_many *m;
    uint32_t count, at_once; /* images that there are */
    uint32_t wanted;         /* desc.digests, which next must see */
    uint32_t asked, ended;   /* calls of next and done */
    uint32_t refused;        /* next has said that there are no more */
    uint32_t done[MANY];
    ewf_read *image[MANY];
    uint32_t inside; /* next and done are called one at a time */
    uint32_t calls, cancel_at; /* of progress; 0 = never */
    const char *why;
    uint32_t wrong; /* an image */
    uint32_t starved; /* images that failed for want of memory */
} many_run;

static void many_blame(many_run *r, uint32_t i, const char *why)
{
    if (r->why == NULL) {
        r->why = why;
        r->wrong = i;
    }
}

static ewf_read *many_next(void *user, uint32_t i, uint32_t *digests)
{
    many_run *r = (many_run *)user;
    if (posio_atomic_add(&r->inside, 1) != 0) many_blame(r, i, "two callbacks at a time");
    if (i != r->asked) many_blame(r, i, "images are not asked for in order");
    if (*digests != r->wanted) many_blame(r, i, "digests are not those of the desc");
    if (r->refused++ != 0) many_blame(r, i, "asked for more though there are none");
    if (i < r->count) {
        r->refused = 0;
        *digests = digests_of(i);
        r->image[i] = many_open(r->m, i, NULL);
        r->asked++;
        if (r->asked - r->ended > r->at_once) many_blame(r, i, "too many are in flight");
    }
    (void)posio_atomic_add(&r->inside, UINT32_MAX);
    return i < r->count ? r->image[i] : NULL;
}

static void many_done(void *user, uint32_t i, const ewf_read_verdict *verdict,
                      const posio_error *why)
{
    many_run *r = (many_run *)user;
    char *notes;
    if (posio_atomic_add(&r->inside, 1) != 0) many_blame(r, i, "two callbacks at a time");
    r->ended++;
    if (i >= r->asked) many_blame(r, 0, "done with an image that was never asked for");
    else if (r->done[i]++ != 0) many_blame(r, i, "done twice");
    else {
        notes = notes_of(r->image[i]);
        if (verdict == NULL) many_blame(r, i, why->message);
        else if (memcmp(verdict, &r->m->alone[i].verdict, sizeof *verdict) != 0)
            many_blame(r, i, "another verdict");
        else if (strcmp(notes, r->m->alone[i].notes) != 0)
            many_blame(r, i, "other warnings or damage");
        free(notes);
        ewf_read_close(r->image[i]); /* it need not outlive this */
        r->image[i] = NULL;
    }
    (void)posio_atomic_add(&r->inside, UINT32_MAX);
}

static int many_progress(void *user, uint32_t i, uint64_t done, uint64_t total)
{
    many_run *r = (many_run *)user;
    if (i >= r->count) many_blame(r, 0, "progress of an image that there is not");
    else if (done > total || total > r->m->build[i].media_size + (1u << 20))
        many_blame(r, i, "progress beyond the end");
    return ++r->calls == r->cancel_at;
}

static posio_result many_verify(many_run *r, const shelf_of_many *m, thread_pool *pool,
                                uint32_t threads, uint32_t at_once, uint32_t count,
                                uint32_t cancel_at)
{
    ewf_read_many_desc d;
    posio_error err;
    posio_result result;
    memset(r, 0, sizeof *r);
    memset(&d, 0, sizeof d);
    r->m = m;
    r->count = count;
    r->at_once = at_once != 0 ? at_once : 64;
    r->cancel_at = cancel_at;
    r->wanted = at_once % 2 ? EWF_READ_SHA1 : 0; /* next has the last word */
    d.pool = pool;
    d.threads = threads;
    d.at_once = at_once;
    d.digests = r->wanted;
    d.next = many_next;
    d.done = many_done;
    d.progress = at_once == 2 && cancel_at == 0 ? NULL : many_progress;
    d.user = r;
    memset(&err, 0, sizeof err);
    result = ewf_read_verify_many(&d, &err);
    if (result != POSIO_OK && (err.code != result || err.message[0] == 0))
        many_blame(r, 0, "an error without words");
    return result;
}

static void many_report(const many_run *r, uint32_t at_once, uint32_t threads)
{
    if (r->why == NULL) return;
    printf("  %u at once, %u threads, image %u:\n", (unsigned)at_once, (unsigned)threads,
           (unsigned)r->wrong);
    blame(many_variants[r->wrong], r->why, NULL);
}

/* Verdicts, warnings and damages are those of one image after another, for any number. */
TEST(many_images_are_verified_as_one_by_one)
{
    static const uint32_t at_once[] = {1, 2, 3, 8, 64};
    static const uint32_t threads[] = {1, 2, 3, 16}; /* 1: no pool */
    static shelf_of_many m;
    static many_run r;
    size_t k, t;
    uint32_t i;
    many_make(&m);
    CHECK_EQ(m.alone[3].verdict.digest_count, 4);
    CHECK(m.alone[3].verdict.damaged_chunks == 1 && strstr(m.alone[3].notes, "chunk 3 ") != NULL);
    CHECK_EQ(m.alone[1].verdict.bytes, 0);
    for (t = 0; t < COUNT(threads); t++) {
        thread_pool *pool = threads[t] != 1 ? thread_pool_create(threads[t]) : NULL;
        for (k = 0; k < COUNT(at_once); k += TEST_STRIDE) {
            CHECK_EQ(many_verify(&r, &m, pool, 0, at_once[k], MANY, 0), POSIO_OK);
            many_report(&r, at_once[k], threads[t]);
            CHECK_EQ(r.asked, MANY);
            CHECK_EQ(r.ended, MANY);
            CHECK_EQ(r.refused, 1);
            CHECK(r.calls != 0 || at_once[k] == 2);
            for (i = 0; i < MANY; i++) CHECK_EQ(r.done[i], 1);
        }
        if (threads[t] == 16) { /* a part of a pool */
            CHECK_EQ(many_verify(&r, &m, pool, 2, 0, MANY, 0), POSIO_OK);
            many_report(&r, 0, 2);
            CHECK_EQ(r.ended, MANY);
        }
        thread_pool_destroy(pool);
    }
    /* few, and none */
    for (k = 0; k < COUNT(at_once); k++)
        for (i = 0; i < 4; i++) {
            CHECK_EQ(many_verify(&r, &m, NULL, 0, at_once[k], i, 0), POSIO_OK);
            many_report(&r, at_once[k], 0);
            CHECK_EQ(r.ended, i);
            CHECK_EQ(r.refused, 1);
        }
    many_free(&m);
}

/* Progress cancels at any of its calls: those that are done have been done once, and whole. */
TEST(many_images_can_be_canceled)
{
    static shelf_of_many m;
    static many_run r;
    thread_pool *pool = thread_pool_create(3);
    uint32_t k, i, canceled = 0, some = 0;
    many_make(&m);
    for (k = 0; k < 32; k++) {
        const uint32_t at_once = k % 4 == 0 ? 1 : k % 4 == 1 ? 2 : k % 4 == 2 ? 8 : 64;
        posio_result result = many_verify(&r, &m, k % 3 == 0 ? NULL : pool, 0, at_once, MANY,
                                          k < 12 ? k + 1 : 5 * k - 48);
        many_report(&r, at_once, k % 3 == 0 ? 0 : 3);
        CHECK(result == POSIO_E_CANCELED || (result == POSIO_OK && r.calls < r.cancel_at));
        if (result == POSIO_E_CANCELED) CHECK_EQ(r.calls, r.cancel_at); /* not called again */
        if (result == POSIO_OK) CHECK_EQ(r.ended, MANY);
        canceled += result == POSIO_E_CANCELED;
        some += result == POSIO_E_CANCELED && r.ended != 0 && r.ended != MANY;
        for (i = 0; i < MANY; i++) {
            CHECK(r.done[i] == (i < r.asked && r.image[i] == NULL));
            ewf_read_close(r.image[i]);
        }
    }
    CHECK(canceled >= 12);
    CHECK(some != 0);
    many_free(&m);
    thread_pool_destroy(pool);
}

TEST(many_images_need_their_callbacks)
{
    static shelf_of_many m;
    static many_run r;
    ewf_read_many_desc d;
    posio_error err;
    faults f;
    memset(&d, 0, sizeof d);
    memset(&r, 0, sizeof r);
    memset(&f, 0, sizeof f);
    r.m = &m;
    r.at_once = 64;
    CHECK_EQ((int64_t)ewf_read_verify_many(NULL, &err), POSIO_E_ARG);
    CHECK_EQ((int64_t)ewf_read_verify_many(&d, &err), POSIO_E_ARG);
    d.next = many_next;
    d.user = &r;
    CHECK_EQ((int64_t)ewf_read_verify_many(&d, &err), POSIO_E_ARG);
    CHECK(strstr(err.message, "done") != NULL);
    d.done = many_done;
    d.next = NULL;
    CHECK_EQ((int64_t)ewf_read_verify_many(&d, &err), POSIO_E_ARG);
    d.next = many_next;
    d.digests = 16;
    CHECK_EQ((int64_t)ewf_read_verify_many(&d, &err), POSIO_E_ARG);
    d.digests = 0;
    d.alloc.alloc_fn = faults_alloc;
    d.alloc.user = &f;
    CHECK_EQ((int64_t)ewf_read_verify_many(&d, &err), POSIO_E_ARG);
    CHECK_EQ(r.refused, 0);
    d.alloc.free_fn = faults_free;
    CHECK_EQ(ewf_read_verify_many(&d, &err), POSIO_OK);
    CHECK_EQ(r.refused, 1);
    CHECK(f.calls != 0); /* from desc.alloc */
    CHECK_EQ(f.live, 0);
    d.at_once = UINT32_MAX; /* 64 */
    r.refused = 0;
    CHECK_EQ(ewf_read_verify_many(&d, NULL), POSIO_OK);
    CHECK_EQ(f.live, 0);
}

/* Images that are open already; what is done is compared, and stays open. */
static ewf_read *again_next(void *user, uint32_t i, uint32_t *digests)
{
    many_run *r = (many_run *)user;
    (void)digests;
    return i < r->count ? r->image[i] : NULL;
}

static void again_done(void *user, uint32_t i, const ewf_read_verdict *verdict,
                       const posio_error *why)
{
    many_run *r = (many_run *)user;
    r->done[i]++;
    if (verdict == NULL) r->starved++;
    if (verdict == NULL && (why->code != POSIO_E_NOMEM || why->message[0] == 0))
        many_blame(r, i, "failed, and not for memory");
    if (verdict != NULL && memcmp(verdict, &r->m->alone[i].verdict, sizeof *verdict) != 0)
        many_blame(r, i, "another verdict");
}

/* Three images of few chunks, one damaged: their truth with MD5. */
static void small_make(shelf_of_many *m)
{
    static const ewf_build_layout layouts[] = {EWF_BUILD_ENCASE6, EWF_BUILD_EWF,
                                               EWF_BUILD_ENCASE5, EWF_BUILD_ENCASE1};
    static uint8_t media[24 * 1024];
    uint32_t i;
    memset(m, 0, sizeof *m);
    ewf_build_media(media, sizeof media, 5);
    for (i = 0; i < COUNT(layouts); i++) {
        ewf_build_options o;
        ewf_read *image;
        memset(&o, 0, sizeof o);
        o.layout = layouts[i];
        o.sectors_per_chunk = 2 + i;
        o.chunks_per_segment = i == 2 ? 5 : 0;
        ewf_build_make(&m->build[i], &o, media, sizeof media - 512 * i);
        if (i == 0) ewf_build_flip(&m->build[i], 0, m->build[i].chunk[3].offset + 5, 0x40);
        sources_make(&m->source[i], &m->build[i]);
        image = many_open(m, i, NULL);
        if (ewf_read_verify(image, NULL, &m->alone[i].verdict, NULL) != POSIO_OK)
            blame("small", "cannot be verified", image);
        ewf_read_close(image);
    }
}

/* 0 when no allocation was left to fail. */
static int fail_many(const shelf_of_many *m, uint64_t at, int for_good, uint32_t at_once)
{
    enum { SMALL = 4 };
    static many_run r;
    ewf_read_many_desc d;
    faults f;
    posio_error err;
    posio_result result;
    uint32_t i;
    uint64_t failed;
    memset(&r, 0, sizeof r);
    memset(&d, 0, sizeof d);
    memset(&f, 0, sizeof f);
    memset(&err, 0, sizeof err);
    r.m = m;
    d.alloc.alloc_fn = faults_alloc;
    d.alloc.free_fn = faults_free;
    d.alloc.user = &f;
    for (; r.count < SMALL; r.count++) r.image[r.count] = many_open(m, r.count, &d.alloc);
    d.at_once = at_once;
    d.next = again_next;
    d.done = again_done;
    d.user = &r;
    f.calls = 0;
    f.fail_at = at;
    f.for_good = for_good;
    result = ewf_read_verify_many(&d, &err);
    failed = f.failed;
    if (failed != 0 && result == POSIO_OK && r.starved == 0)
        many_blame(&r, 0, "nobody lacked the memory");
    if (result != POSIO_OK && (failed == 0 || result != POSIO_E_NOMEM || err.code != result ||
                               err.message[0] == 0))
        many_blame(&r, 0, "not NOMEM");
    for (i = 0; i < SMALL; i++)
        if (r.done[i] > 1 || (result == POSIO_OK && r.done[i] != 1))
            many_blame(&r, i, "not done once");
    if (failed != 0) { /* the images are as good as before */
        memset(r.done, 0, sizeof r.done);
        f.fail_at = 0;
        if (ewf_read_verify_many(&d, &err) != POSIO_OK || r.done[SMALL - 1] != 1)
            many_blame(&r, 0, "cannot be verified again");
    }
    for (i = 0; i < SMALL; i++) ewf_read_close(r.image[i]);
    if (f.live != 0) many_blame(&r, 0, "a leak");
    if (r.why != NULL) {
        printf("  %s %llu, %u at once:\n", for_good ? "from" : "at", (unsigned long long)at,
               (unsigned)at_once);
        blame("an allocation fails", r.why, NULL);
    }
    return failed != 0 && r.why == NULL;
}

TEST(many_images_without_memory)
{
    static const uint32_t at_once[] = {1, 2, 3, 64};
    static shelf_of_many m;
    uint64_t n;
    size_t k;
    small_make(&m);
    CHECK_EQ(m.alone[0].verdict.damaged_chunks, 1);
    for (k = 0; k < COUNT(at_once); k++) {
        for (n = 1; fail_many(&m, n, 0, at_once[k]); n++) {}
        CHECK(n > 10);
        for (n = 1; fail_many(&m, n, 1, at_once[k]); n++) {}
        CHECK(n > 10);
    }
    many_free(&m);
}

TEST_MAIN(RUN(every_variant_on_1_and_16_threads); RUN(entries_beyond_2_gib);
          RUN(many_threads_read_the_same_bytes); RUN(a_hot_chunk_is_decoded_once);
          RUN(damage_is_an_error_zeros_or_raw); RUN(a_missing_segment_is_named);
          RUN(metadata_is_read); RUN(acquisition_errors_and_sessions_are_read);
          RUN(the_digest_may_cover_a_partial_sector); RUN(other_families_are_refused_by_name);
          RUN(segment_names_follow_the_scheme); RUN(segments_come_through_any_opener);
          RUN(extents_cover_the_media); RUN(limits_and_bad_arguments);
          RUN(verify_can_be_canceled); RUN(two_gaps_never_give_wrong_bytes);
          RUN(a_hole_in_a_foreign_segment_leads_nowhere);
          RUN(the_case_of_names_may_not_matter);
          RUN(many_images_are_verified_as_one_by_one); RUN(many_images_can_be_canceled);
          RUN(many_images_need_their_callbacks); RUN(many_images_without_memory);)
