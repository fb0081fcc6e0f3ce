/* Fault injection, on one thread: every allocation fails once, every read of a segment fails once,
   and segments end at every place where that could matter. Each gives a clear error, or an image
   that says what it lacks; no crash, no leak, and no wrong byte without a record. */
#define EWF_READ_IMPLEMENTATION
#include "../ewf_read.h"
#include "fixtures/ewf_build.h"
#include "fixtures/faults.h"
#include "test.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Layouts, damage of tables, scans, texts, lists: each takes other paths. */
static const char *const variants[] = {
    "encase6-many", "ewf-many",      "smart",          "encase1-many", "ewfx",
    "no-tables-many", "table-entry", "tables-header-crc", "tables-differ", "tables-differ1",
    "tables-footer", "tables-hidden", "text",          "errors",       "sector-2048",
    "counts-zero",  "partial-sector", "zlib-long",     "flip-raw",     "entry-beyond",
    "sectors-descriptor", "missing-middle", "cut-many", "foreign",     "two-hashes",
    "two-sectors-raw"};

/* ------------------------------------------------------------------ small images */

/* Pieces of a chunk's size: noise, text, zeros. */
static void small_media(uint8_t *p, size_t n, size_t piece)
{
    uint64_t x = 7;
    size_t i;
    for (i = 0; i < n; i++)
        p[i] = (uint8_t)(i / piece % 3 == 0 ? test_random(&x) >> 24
                                            : i / piece % 3 == 1 ? 'a' + i % 7 : 0);
}

/* The named variant with chunks of two sectors. */
static void build_small(ewf_build *b, const char *name)
{
    const ewf_build_recipe *r;
    ewf_build_options o;
    uint8_t *media;
    size_t i, bps, size;
    for (i = 0; (r = ewf_build_recipe_at(i)) != NULL && strcmp(r->name, name) != 0; i++) {}
    if (r == NULL) {
        printf("no variant %s\n", name);
        exit(2);
    }
    o = r->options;
    o.sectors_per_chunk = 2;
    bps = o.bytes_per_sector != 0 ? o.bytes_per_sector : 512;
    size = (o.chunks_per_segment == 1 ? 13u : 51u) * bps + r->bytes;
    media = (uint8_t *)malloc(size);
    if (media == NULL) exit(2);
    small_media(media, size, 2 * bps);
    ewf_build_make(b, &o, media, size);
    free(media);
    if (r->edit != NULL) r->edit(b);
}

/* ------------------------------------------------------------------ what fails */

enum { SEGMENTS_MAX = 8 };

typedef struct segment {
    posio_memory memory;
    posio_source inner;
    faults *reads;
} segment;

typedef struct segments {
    segment of[SEGMENTS_MAX];
    posio_source source[SEGMENTS_MAX];
    uint32_t count;
} segments;

static posio_result segment_read(void *self, uint64_t offset, void *buf, size_t n, posio_error *err)
{
    segment *s = (segment *)self;
    if (faults_strike(s->reads))
        return posio_fail(err, POSIO_E_IO, offset, "a read that fails on purpose");
    return posio_read(&s->inner, offset, buf, n, err);
}

static void segments_make(segments *s, const ewf_build *b, faults *reads)
{
    size_t i;
    memset(s, 0, sizeof *s);
    for (i = 0; i < b->segment_count && s->count < SEGMENTS_MAX; i++) {
        segment *one = &s->of[s->count];
        if (b->segment[i].absent) continue;
        one->memory.data = b->segment[i].data;
        one->memory.size = b->segment[i].size;
        one->inner = posio_memory_source(&one->memory);
        one->reads = reads;
        s->source[s->count].size = b->segment[i].size;
        s->source[s->count].read_at = segment_read;
        s->source[s->count].self = one;
        s->count++;
    }
}

/* ------------------------------------------------------------------ what is right */

/* All that an image says when nothing fails. */
typedef struct truth {
    uint64_t media_size;
    uint8_t *media; /* damage as zeros */
    ewf_read_verdict verdict;
    uint32_t warnings, damages;
} truth;

static uint32_t warnings_of(ewf_read *image)
{
    ewf_read_warning w;
    uint32_t n = 0;
    while (ewf_read_get_warning(image, n, &w) == POSIO_OK) n++;
    return n;
}

static uint32_t damages_of(ewf_read *image)
{
    ewf_read_damage d;
    uint32_t n = 0;
    while (ewf_read_get_damage(image, n, &d) == POSIO_OK) n++;
    return n;
}

static posio_result verify(ewf_read *image, ewf_read_verdict *v, posio_error *err)
{
    ewf_read_verify_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.digests = EWF_READ_MD5 | EWF_READ_BLAKE3;
    return ewf_read_verify(image, &desc, v, err);
}

static void fail(const char *variant, uint64_t at, int for_good, const char *what)
{
    printf("  %s: %s %llu: %s\n", variant, for_good ? "from" : "at", (unsigned long long)at, what);
    test_fail(__FILE__, __LINE__, variant);
}

static int truth_make(truth *t, const ewf_build *b, ewf_read_desc desc)
{
    faults none;
    segments s;
    ewf_read *image = NULL;
    int ok;
    memset(&none, 0, sizeof none);
    memset(t, 0, sizeof *t);
    memset(&desc.alloc, 0, sizeof desc.alloc);
    segments_make(&s, b, &none);
    if (ewf_read_open_sources(&image, s.source, s.count, &desc, NULL) != POSIO_OK) return 0;
    t->media_size = ewf_read_info(image)->media_size;
    t->media = (uint8_t *)malloc((size_t)t->media_size + 1);
    ok = t->media != NULL &&
         ewf_read_at(image, 0, t->media, (size_t)t->media_size, NULL) == POSIO_OK &&
         verify(image, &t->verdict, NULL) == POSIO_OK;
    t->warnings = warnings_of(image);
    t->damages = damages_of(image);
    ewf_read_close(image);
    return ok;
}

/* ------------------------------------------------------------------ memory */

/* One read that may fail for want of memory, and succeeds when tried again. */
static const char *read_again(ewf_read *image, const truth *t, uint64_t at, size_t n, faults *f)
{
    uint8_t *out = (uint8_t *)malloc(n + 1);
    uint64_t failed = f->failed;
    const char *why = NULL;
    posio_error err;
    posio_result r;
    if (out == NULL) return "no memory for the test";
    r = ewf_read_at(image, at, out, n, &err);
    if (r != POSIO_OK) {
        if (r != POSIO_E_NOMEM || err.code != r || err.message[0] == 0) why = "not NOMEM";
        if (f->failed == failed) why = "a read failed without a reason";
        f->fail_at = 0;
        r = ewf_read_at(image, at, out, n, &err);
    }
    if (r != POSIO_OK) why = "a read fails when tried again";
    else if (memcmp(out, t->media + at, n) != 0) why = "wrong bytes";
    free(out);
    return why;
}

static const char *use_image(ewf_read *image, const truth *t, faults *f)
{
    const size_t size = (size_t)t->media_size, piece = 700;
    const char *why = NULL;
    ewf_read_verdict v;
    posio_error err;
    posio_result r;
    size_t at;
    if (ewf_read_info(image)->media_size != t->media_size) return "the media size is wrong";
    if (size > 100) why = read_again(image, t, size - 100, 100, f);
    for (at = 0; why == NULL && at < size / 2; at += piece) /* the rest is read whole below */
        why = read_again(image, t, at, (size_t)posio_min(piece, size - at), f);
    if (why == NULL) why = read_again(image, t, 0, size, f);
    if (why != NULL) return why;
    r = verify(image, &v, &err);
    if (r != POSIO_OK) {
        if (r != POSIO_E_NOMEM || err.code != r || err.message[0] == 0) return "not NOMEM";
        f->fail_at = 0;
        r = verify(image, &v, &err);
    }
    if (r != POSIO_OK) return "verify fails when tried again";
    if (memcmp(&v, &t->verdict, sizeof v) != 0) return "another verdict";
    if (damages_of(image) != t->damages) return "other damage";
    if (warnings_of(image) > t->warnings) return "more warnings";
    return NULL;
}

/* 0 when no allocation was left to fail. */
static int fail_allocation(const char *variant, const ewf_build *b, const truth *t,
                           ewf_read_desc desc, uint64_t at, int for_good)
{
    faults memory, none;
    segments s;
    ewf_read *image = NULL;
    const char *why = NULL;
    posio_error err;
    posio_result r;
    memset(&none, 0, sizeof none);
    memset(&memory, 0, sizeof memory);
    memset(&err, 0, sizeof err);
    memory.fail_at = at;
    memory.for_good = for_good;
    desc.alloc.alloc_fn = faults_alloc;
    desc.alloc.free_fn = faults_free;
    desc.alloc.user = &memory;
    segments_make(&s, b, &none);
    r = ewf_read_open_sources(&image, s.source, s.count, &desc, &err);
    if (r == POSIO_OK && memory.failed != 0) why = "opened, though something had no memory";
    else if (r == POSIO_OK) why = use_image(image, t, &memory);
    else if (r != POSIO_E_NOMEM || err.code != r || err.message[0] == 0) why = "not NOMEM";
    else if (image != NULL) why = "the out-parameter was touched";
    ewf_read_close(image);
    if (memory.live != 0) why = "a leak";
    if (why != NULL) fail(variant, at, for_good, why);
    return memory.failed != 0 && why == NULL;
}

TEST(every_allocation_fails)
{
    ewf_read_desc desc;
    size_t i;
    memset(&desc, 0, sizeof desc);
    desc.on_damage = EWF_READ_DAMAGE_ZEROS;
    desc.cache_bytes = 4096; /* so that entries come and go */
    for (i = 0; i < COUNT(variants); i++) {
        ewf_build b;
        truth t;
        uint64_t n;
        build_small(&b, variants[i]);
        if (!truth_make(&t, &b, desc)) fail(variants[i], 0, 0, "cannot be read at all");
        else {
            for (n = 1; fail_allocation(variants[i], &b, &t, desc, n, 0); n++) {}
            if (n < 10) fail(variants[i], n, 0, "hardly anything was allocated");
            for (n = 1; fail_allocation(variants[i], &b, &t, desc, n, 1); n++) {}
        }
        free(t.media);
        ewf_build_free(&b);
    }
}

/* ------------------------------------------------------------------ reads */

static int is_damaged(ewf_read *image, uint64_t chunk)
{
    ewf_read_damage d;
    uint32_t i;
    for (i = 0; ewf_read_get_damage(image, i, &d) == POSIO_OK; i++)
        if (chunk >= d.chunk && chunk - d.chunk < d.count) return 1;
    return 0;
}

/* Does a warning say that something could not be read? */
static int tells_of_reads(ewf_read *image)
{
    ewf_read_warning w;
    uint32_t i;
    for (i = 0; ewf_read_get_warning(image, i, &w) == POSIO_OK; i++)
        if (strstr(w.message, "cannot be read") != NULL) return 1;
    return 0;
}

/* Damage is that of the file, or has an IO code, or a warning tells how it came about. */
static const char *check_damages(ewf_read *image, const truth *t)
{
    ewf_read_damage d;
    uint32_t i, fresh = 0;
    for (i = 0; ewf_read_get_damage(image, i, &d) == POSIO_OK; i++) {
        if (d.reason == NULL || (d.segment == 0 && d.code == POSIO_E_IO))
            return "damage without a place";
        if (d.code != POSIO_E_IO) fresh++;
    }
    if (fresh > t->damages && !tells_of_reads(image)) return "damage out of nothing";
    return NULL;
}

static const char *compare_bytes(ewf_read *image, const truth *t, const uint8_t *out)
{
    const uint64_t cs = ewf_read_info(image)->chunk_size;
    uint64_t at;
    for (at = 0; at < t->media_size; at += cs)
        if (memcmp(out + at, t->media + at, (size_t)posio_min(cs, t->media_size - at)) != 0 &&
            !is_damaged(image, at / cs))
            return "wrong bytes without a record";
    return NULL;
}

/* A segment whose `data` cannot be read may belong to another image: that is said, and all. */
static const char *read_with_faults(ewf_read *image, const truth *t, int may_be_foreign)
{
    uint8_t *out;
    const char *why = NULL;
    ewf_read_verdict v;
    posio_error err;
    posio_result r;
    if (ewf_read_info(image)->media_size != t->media_size)
        return tells_of_reads(image) ? NULL : "another media size without a warning";
    out = (uint8_t *)malloc((size_t)t->media_size + 1);
    if (out == NULL) return "no memory for the test";
    r = ewf_read_at(image, 0, out, (size_t)t->media_size, &err);
    if (r == POSIO_OK && !(may_be_foreign && tells_of_reads(image)))
        why = compare_bytes(image, t, out);
    else if (r != POSIO_OK &&
             (err.code != r || err.message[0] == 0 || (r == POSIO_E_IO && err.segment == 0)))
        why = "an unclear error";
    if (why == NULL && verify(image, &v, &err) != POSIO_OK) why = "verify failed";
    else if (why == NULL && memcmp(&v.digest, &t->verdict.digest, sizeof v.digest) != 0 &&
             damages_of(image) <= t->damages && !tells_of_reads(image))
        why = "another digest without a record";
    if (why == NULL) why = check_damages(image, t);
    free(out);
    return why;
}

static int fail_read(const char *variant, const ewf_build *b, const truth *t,
                     const ewf_read_desc *desc, uint64_t at, int for_good)
{
    faults reads;
    segments s;
    ewf_read *image = NULL;
    const char *why = NULL;
    posio_error err;
    posio_result r;
    memset(&reads, 0, sizeof reads);
    memset(&err, 0, sizeof err);
    reads.fail_at = at;
    reads.for_good = for_good;
    segments_make(&s, b, &reads);
    r = ewf_read_open_sources(&image, s.source, s.count, desc, &err);
    if (r == POSIO_OK) why = read_with_faults(image, t, strcmp(variant, "foreign") == 0);
    else if (err.code != r || err.message[0] == 0) why = "an unclear error";
    else if (r == POSIO_E_IO && err.file[0] == 0) why = "an error without a place";
    else if (r != POSIO_E_IO && r != POSIO_E_DATA) why = "an unlikely error";
    ewf_read_close(image);
    if (why != NULL) fail(variant, at, for_good, why);
    return reads.failed != 0 && why == NULL;
}

TEST(every_read_fails)
{
    ewf_read_desc desc;
    uint32_t policy;
    size_t i;
    memset(&desc, 0, sizeof desc);
    desc.cache_bytes = 4096;
    for (i = 0; i < COUNT(variants); i++) {
        ewf_build b;
        truth t;
        uint64_t n;
        build_small(&b, variants[i]);
        desc.on_damage = EWF_READ_DAMAGE_ZEROS;
        if (!truth_make(&t, &b, desc)) fail(variants[i], 0, 0, "cannot be read at all");
        else {
            for (policy = EWF_READ_DAMAGE_ERROR; policy <= EWF_READ_DAMAGE_ZEROS; policy++) {
                desc.on_damage = policy;
                for (n = 1; fail_read(variants[i], &b, &t, &desc, n, 0); n++) {}
                if (n < 10) fail(variants[i], n, 0, "hardly anything was read");
                for (n = 1; fail_read(variants[i], &b, &t, &desc, n, 1); n++) {}
            }
        }
        free(t.media);
        ewf_build_free(&b);
    }
}

/* ------------------------------------------------------------------ short files */

/* Opens the image with segment `which` cut to `size` bytes, in a block of just that size. */
static void cut_segment(const char *variant, const ewf_build *b, size_t which, uint64_t size)
{
    faults none;
    segments s;
    ewf_read *image = NULL;
    ewf_read_desc desc;
    ewf_read_verdict v;
    const ewf_build_segment *seg = &b->segment[which];
    uint64_t end = seg->section[seg->section_count - 1].offset + EWF_READ_I_DESCRIPTOR;
    uint8_t *copy = (uint8_t *)malloc(size != 0 ? (size_t)size : 1);
    const char *why = NULL;
    posio_error err;
    posio_result r;
    if (copy == NULL || size >= seg->size) {
        free(copy);
        return;
    }
    if (size != 0) memcpy(copy, seg->data, (size_t)size);
    memset(&none, 0, sizeof none);
    memset(&desc, 0, sizeof desc);
    desc.on_damage = EWF_READ_DAMAGE_RAW;
    segments_make(&s, b, &none);
    s.of[which].memory.data = copy;
    s.of[which].memory.size = s.source[which].size = size;
    s.of[which].inner = posio_memory_source(&s.of[which].memory);
    r = ewf_read_open_sources(&image, s.source, s.count, &desc, &err);
    if (r != POSIO_OK) {
        if (err.code != r || err.message[0] == 0) why = "an unclear error";
    } else if (verify(image, &v, &err) != POSIO_OK) {
        why = "verify failed";
    } else if (size < end && v.damaged_chunks == 0 && v.mismatches == 0 &&
               warnings_of(image) == 0) {
        why = "a clean verdict";
    }
    ewf_read_close(image);
    free(copy);
    if (why != NULL) fail(variant, size, 0, why);
}

TEST(segments_end_at_every_border)
{
    static const char *const cut[] = {"encase6-many", "ewf-many", "smart", "encase1-many", "ewfx",
                                      "linen7", "encase4", "no-tables-many", "sector-2048", "tail",
                                      "errors", "two-sectors", "only-table"};
    size_t i, seg, k;
    for (i = 0; i < COUNT(cut); i++) {
        ewf_build b;
        build_small(&b, cut[i]);
        for (seg = 0; seg < b.segment_count; seg++) {
            for (k = 0; k < b.segment[seg].section_count; k++) {
                const ewf_build_section *at = &b.segment[seg].section[k];
                uint64_t body = at->offset + EWF_READ_I_DESCRIPTOR;
                cut_segment(cut[i], &b, seg, at->offset - 1);
                cut_segment(cut[i], &b, seg, at->offset);
                cut_segment(cut[i], &b, seg, at->offset + 1);
                cut_segment(cut[i], &b, seg, body - 1);
                cut_segment(cut[i], &b, seg, body);
                cut_segment(cut[i], &b, seg, body + 1);
            }
            cut_segment(cut[i], &b, seg, b.segment[seg].size - 1);
            cut_segment(cut[i], &b, seg, 0);
        }
        ewf_build_free(&b);
    }
}

TEST(segments_end_at_every_byte_of_the_headers)
{
    static const char *const cut[] = {"encase6", "ewf", "ewfx"};
    size_t i, k;
    for (i = 0; i < COUNT(cut); i++) {
        ewf_build b;
        const ewf_build_segment *s;
        uint64_t at, data = 0;
        build_small(&b, cut[i]);
        s = &b.segment[0];
        for (k = 0; k < s->section_count; k++) {
            const char *type = s->section[k].type;
            if (strcmp(type, "sectors") != 0 && strcmp(type, "table") != 0) continue;
            if (data == 0) data = s->section[k].offset;
            /* all of a table in the layouts where it holds no chunks */
            for (at = 0; at < s->section[k].size && at < 200; at++)
                cut_segment(cut[i], &b, 0, s->section[k].offset + at);
        }
        for (at = 0; at < data; at++) cut_segment(cut[i], &b, 0, at);
        for (at = data; at < s->size; at += 97) cut_segment(cut[i], &b, 0, at);
        for (at = s->size - 400; at < s->size; at++) cut_segment(cut[i], &b, 0, at);
        ewf_build_free(&b);
    }
}

TEST_MAIN(RUN(every_allocation_fails); RUN(every_read_fails); RUN(segments_end_at_every_border);
          RUN(segments_end_at_every_byte_of_the_headers);)
