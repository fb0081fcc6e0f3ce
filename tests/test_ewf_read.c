/* ewf_read.h against images that tests/fixtures/ewf_build.h builds byte by byte from the published
   format, and against samples and images by other tools where they are at hand. */
#define EWF_READ_IMPLEMENTATION
#include "../ewf_read.h"
#include "fixtures/ewf_build.h"
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

static void check_variant(const ewf_build_recipe *r, thread_pool *pool)
{
    ewf_build b;
    sources s;
    ewf_read *image = NULL;
    ewf_read_desc desc;
    ewf_read_verdict v;
    posio_error err;
    posio_result result;
    memset(&desc, 0, sizeof desc);
    desc.pool = pool;
    desc.on_damage = EWF_READ_DAMAGE_ZEROS;
    (void)ewf_build_variant(&b, r->name);
    sources_make(&s, &b);
    result = ewf_read_open_sources(&image, s.source, s.count, &desc, &err);
    if (r->expect == EWF_BUILD_HOSTILE) {
        ewf_read_verify_desc no_progress = {0, 0, NULL, NULL};
        if (result == POSIO_OK) (void)ewf_read_verify(image, &no_progress, &v, &err);
        else CHECK(err.message[0] != 0);
    } else if (result != POSIO_OK) {
        printf("    %s\n", err.message);
        blame(r->name, "cannot be opened", NULL);
    } else {
        const char *why = check_image(image, &b, r, &v);
        if (why != NULL) blame(r->name, why, image);
    }
    ewf_read_close(image);
    sources_free(&s);
    ewf_build_free(&b);
}

/* ------------------------------------------------------------------ every variant */

TEST(every_variant_on_one_thread)
{
    const ewf_build_recipe *r;
    size_t i;
    for (i = 0; (r = ewf_build_recipe_at(i)) != NULL; i++) check_variant(r, NULL);
}

TEST(every_variant_on_sixteen_threads)
{
    thread_pool *pool = thread_pool_create(16);
    const ewf_build_recipe *r;
    size_t i;
    for (i = 0; (r = ewf_build_recipe_at(i)) != NULL; i++) check_variant(r, pool);
    thread_pool_destroy(pool);
}

TEST_MAIN(RUN(every_variant_on_one_thread); RUN(every_variant_on_sixteen_threads);)
