/* vhdx_read.h against images that tests/fixtures/vhdx_build.h builds byte by byte from the
   published formats: what opens, what is refused and how, every byte, the map, the log; cut files,
   flipped bits, parents, threads, and whatever fails: memory, reads. */
#include "fixtures/folder.h"
#define VHDX_READ_IMPLEMENTATION
#include "../vhdx_read.h"
#include "fixtures/faults.h"
#include "fixtures/image_shelf.h"
#include "fixtures/tally.h"
#include "fixtures/vhdx_build.h"
#include "fixtures/watched.h"
#include "test.h"
#include "fixtures/media_truth.h"
#include "fixtures/media_trial.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MIB ((uint64_t)1 << 20)

enum {
    WHOLE = 32 << 20,                 /* media that is read completely */
    STRIDE = TEST_STRIDE == 1 ? 1 : 5 /* of series that take long under ThreadSanitizer */
};

/* ------------------------------------------------------------------ files */

/* Is a file still what was written? At the places that were; all of it would take too long. */
static int is_unchanged(const image_build_file *f)
{
    static uint8_t got[4096], want[4096];
    FILE *file = fopen(in_v(f->name), "rb");
    int same = file != NULL;
    size_t i;
    for (i = 0; i < f->pages && same; i++) {
        size_t n = (size_t)posio_min(4096, f->size - f->page[i].at);
        image_build_read(f, f->page[i].at, want, n);
        same = image_build_seek(file, f->page[i].at) == 0 && fread(got, 1, n, file) == n &&
               memcmp(got, want, n) == 0;
    }
    if (same) same = image_build_seek(file, f->size) == 0 && fread(got, 1, 1, file) == 0;
    if (file != NULL) fclose(file);
    return same;
}

/* ------------------------------------------------------------------ a set in memory */

/* A set's files as sources, and a resolver that finds the others of them by the last part of a
   name, whatever the path. What is not in the set is `refused`: then the outcome of opening is our
   own, and no business of a variant. */
enum { SHELF_OPEN = 60 };
typedef struct shelf {
    image_shelf files;
    int is_opening[IMAGE_BUILD_FILES]; /* what such a file stands on may not lead back to it */
    posio_resolver resolver;
    vhdx_read_desc desc; /* of the images below the first */
    vhdx_read *opened[SHELF_OPEN];
    uint32_t opened_count, refused, asked;
} shelf;

static const char *last_part(const char *name)
{
    const char *p = name + strlen(name);
    while (p > name && p[-1] != '/' && p[-1] != '\\') p--;
    return p;
}

static posio_result shelf_open(void *self, const posio_reference *reference, posio_source *out,
                               posio_error *err)
{
    shelf *s = (shelf *)self;
    size_t i = image_shelf_find(&s->files, last_part(reference->name));
    vhdx_read *image = NULL;
    posio_source source;
    posio_result r;
    s->asked++;
    if (i == 0 || i == IMAGE_BUILD_FILES || s->opened_count == SHELF_OPEN || s->is_opening[i]) {
        s->refused++;
        return image_shelf_missing(reference->name, err);
    }
    if (reference->kind != POSIO_REFERENCE_PARENT || reference->identity == NULL)
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "not asked for a parent and its ID");
    source = image_shelf_source(&s->files, i);
    s->is_opening[i] = 1;
    r = vhdx_read_open_source(&image, &source, &s->desc, err);
    s->is_opening[i] = 0;
    if (r != POSIO_OK) return r;
    s->opened[s->opened_count++] = image;
    posio_format(reference->identity, POSIO_IDENTITY, "%s", vhdx_read_info(image)->identity);
    *out = vhdx_read_source(image);
    return POSIO_OK;
}

/* desc: for all images of the set. */
static void shelf_make(shelf *s, const vhdx_build *b, const vhdx_read_desc *desc)
{
    memset(s, 0, sizeof *s);
    image_shelf_make(&s->files, &b->set);
    s->desc = *desc;
    s->resolver.open = shelf_open;
    s->resolver.self = s;
    s->desc.resolver = &s->resolver;
}

static posio_result shelf_open_image(shelf *s, vhdx_read **out, posio_error *err)
{
    posio_source source = image_shelf_source(&s->files, 0);
    s->refused = 0;
    return vhdx_read_open_source(out, &source, &s->desc, err);
}

/* The image is closed before: those that stand on others were opened after them. */
static void shelf_close(shelf *s, vhdx_read *image)
{
    vhdx_read_close(image);
    while (s->opened_count > 0) vhdx_read_close(s->opened[--s->opened_count]);
}

/* ------------------------------------------------------------------ what is right */

typedef struct truth {
    media_truth media;
    const vhdx_build *made;
    const vhdx_build_variant *variant;
} truth;

static void truth_make(truth *t, const vhdx_build *b, const vhdx_build_variant *v)
{
    media_truth_make(&t->media, &b->set, 0);
    t->media.may_show_as_zero = 1; /* of a log, of blocks */
    t->made = b;
    t->variant = v;
}

/* ------------------------------------------------------------------ every variant */

static const char *check_warnings(vhdx_read *image, const truth *t)
{
    vhdx_read_warning w;
    uint32_t i;
    int found = 0;
    for (i = 0; vhdx_read_get_warning(image, i, &w) == POSIO_OK; i++) {
        if (w.message[0] == 0) return "an empty warning";
        if (t->variant->warns != NULL && t->variant->warns[0] == 0) {
            printf("  it warns: %s\n", w.message);
            return "a warning where all is well";
        }
        if (t->variant->warns != NULL) found |= media_truth_has_words(w.message, t->variant->warns);
    }
    if (t->variant->warns != NULL && t->variant->warns[0] != 0 && !found) return "no warning";
    return NULL;
}

static const char *check_metadata(vhdx_read *image, const truth *t)
{
    const vhdx_read_metadata *m = vhdx_read_info(image);
    const vhdx_build_image *made = t->made->image[0];
    char id[40];
    const char *key, *name, *why;
    uint32_t i;
    if (m->media_size != t->media.set->media_size) return "the media size is wrong";
    if (m->is_vhd != (made->o.vhd != 0)) return "VHD, or not";
    if (m->file_size != made->f->size && t->variant->peers != 0) return "the file size is wrong";
    why = check_warnings(image, t);
    if (why != NULL) return why;
    if (image_build_allows(t->variant->open, "DATA")) return NULL; /* not what was made any more */
    if (m->block_size != (made->o.vhd == VHDX_BUILD_FIXED ? 0 : made->bs))
        return "the block size is wrong";
    if (m->logical_sector_size != made->ss) return "the sector size is wrong";
    if ((m->has_parent != 0) != (made->o.parent != 0)) return "a parent, or none";
    vhdx_build_guid_text(id, made->data_guid, made->o.vhd != 0);
    if (m->identity == NULL || strcmp(m->identity, id) != 0) return "another identity";
    if (m->version != 1) return "another version";
    for (i = 0; vhdx_read_get_parent_name(image, i, &key, &name) == POSIO_OK; i++)
        if (key == NULL || name == NULL || key[0] == 0) return "a parent's name without a key";
    if (i != m->parent_name_count || (made->o.parent && i == 0)) return "the parent has no name";
    if ((t->variant->needs & VHDX_BUILD_DIRTY) && m->log_entries_replayed == 0 &&
        strcmp(t->variant->name, "log-no-descriptors") != 0)
        return "no log was replayed";
    if (!(t->variant->needs & VHDX_BUILD_DIRTY) && m->log_entries_replayed != 0)
        return "a log was replayed";
    return NULL;
}

/* All that can be asked of an open image. */
static const char *check_image(vhdx_read *image, const truth *t, thread_pool *pool, int in_files,
                               int whole)
{
    const posio_source source = vhdx_read_source(image);
    const uint64_t size = t->media.set->media_size;
    const char *why = check_metadata(image, t);
    if (why == NULL) why = media_truth_borders(&t->media, &source, in_files);
    if (why == NULL && whole && size <= WHOLE) {
        if (in_files) why = media_truth_pieces(&t->media, &source, (size_t)larger(size, 1), 1);
        else why = media_truth_pieces(&t->media, &source, (size_t)size / 9 + 777, 0);
    }
    if (why == NULL) why = media_truth_at_once(&t->media, &source, pool,
                                               in_files ? 12 : 6, in_files);
    if (why == NULL) why = media_truth_extents(&t->media, &source, in_files);
    return why;
}

static vhdx_read_desc desc_for(const vhdx_build_variant *v)
{
    vhdx_read_desc d;
    memset(&d, 0, sizeof d);
    if (v->needs & VHDX_BUILD_ALONE) d.flags |= VHDX_READ_ALONE;
    if (v->needs & VHDX_BUILD_FORCE) d.flags |= VHDX_READ_ANY_PARENT;
    if (v->needs & VHDX_BUILD_NO_LOG) d.flags |= VHDX_READ_NO_LOG;
    if (v->needs & VHDX_BUILD_CURRENT) d.flags |= VHDX_READ_CURRENT_SIZE;
    return d;
}

/* What both ways to open have in common. */
static void finish_variant(const truth *t, const char *how, vhdx_read *image, posio_result r,
                           const posio_error *err, thread_pool *pool, int in_files, int whole)
{
    const char *why = media_truth_judge_open(t->variant->open, t->variant->mentions, r, err,
                                             in_files);
    if (why == NULL && r == POSIO_OK) {
        why = check_image(image, t, pool, in_files, whole);
        err = NULL;
    }
    if (why == NULL && r != POSIO_OK && image != NULL) why = "the out-parameter was touched";
    if (why != NULL) blame(t->variant->name, how, why, r != POSIO_OK ? err : NULL);
}

/* From memory, on the calling thread. whole: nobody else reads all of it. */
static void variant_in_memory(const truth *t, thread_pool *callers, int whole)
{
    const vhdx_build_variant *v = t->variant;
    vhdx_read_desc d = desc_for(v);
    vhdx_read *image = NULL;
    tally used;
    shelf s;
    posio_error err;
    posio_result r;
    d.alloc = tally_of(&used);
    shelf_make(&s, t->made, &d);
    memset(&err, 0, sizeof err);
    r = shelf_open_image(&s, &image, &err);
    if (s.refused == 0 || r == POSIO_OK)
        finish_variant(t, "in memory", image, r, &err, callers, 0, whole);
    else if (strcmp(v->open, "OK") == 0) blame(v->name, "in memory", "a file is missing", &err);
    shelf_close(&s, image);
    if (tally_end(&used) != 0) blame(v->name, "in memory", "a leak", NULL);
}

/* From files, with a pool of 16 threads. Nothing of them is changed. */
static void variant_in_files(const truth *t, thread_pool *pool)
{
    const vhdx_build_variant *v = t->variant;
    vhdx_read_desc d = desc_for(v);
    vhdx_read *image = NULL;
    tally used;
    posio_error err;
    posio_result r;
    size_t i;
    d.alloc = tally_of(&used);
    d.pool = pool;
    memset(&err, 0, sizeof err);
    if (image_build_write(&t->made->set, in("v")) != 0)
        blame(v->name, "in files", "cannot be written", NULL);
    r = vhdx_read_open(&image, in_v(t->media.set->file[0].name), &d, &err);
    finish_variant(t, "in files", image, r, &err, pool, 1, 1);
    vhdx_read_close(image);
    for (i = 0; i < t->media.set->files; i++)
        if (!is_unchanged(&t->made->set.file[i]))
            blame(v->name, "in files", "a file changed", NULL);
    image_build_unwrite(&t->made->set, in("v"));
    if (tally_end(&used) != 0) blame(v->name, "in files", "a leak", NULL);
    if (used.peak > 64 * MIB) blame(v->name, "in files", "too much memory", NULL);
}

/* Those with parents and logs, and of the others every third; sparse files are not to be had
   everywhere. */
static int goes_through_files(const vhdx_build *s, size_t i)
{
    uint64_t all = 0;
    size_t k;
    for (k = 0; k < s->set.files; k++) all += s->set.file[k].size;
#if defined(_WIN32)
    if (all > 64 * MIB) return 0;
#endif
    if (all > 8 * VHDX_BUILD_GIB) return 0;
    return s->set.files > 1 || (s->image[0]->o.parent && s->image[0]->below == 0) || i % 3 == 0;
}

TEST(every_variant_in_memory_and_in_files)
{
    thread_pool *pool = thread_pool_create(16);
    size_t i;
    for (i = 0; i < vhdx_build_variant_count(); i += STRIDE) {
        const vhdx_build_variant *v = &vhdx_build_variants[i];
        static vhdx_build s;
        truth t;
        vhdx_build_make(&s, v);
        truth_make(&t, &s, v);
        variant_in_memory(&t, pool, i % 3 == 1); /* the borders of runs always are */
        if (goes_through_files(&s, i)) variant_in_files(&t, pool);
        vhdx_build_free(&s);
    }
    thread_pool_destroy(pool);
}

/* ------------------------------------------------------------------ cut files, flipped bits */

/* Whatever reads is right; nothing is asked of what does not. */
static const char *read_what_reads(vhdx_read *image, const truth *t)
{
    const posio_source source = vhdx_read_source(image);
    const image_build *s = t->media.set;
    static uint8_t buf[9000];
    const char *why = NULL;
    size_t i;
    for (i = 0; i < s->run_count && why == NULL; i += s->run_count / 30 + 1) {
        uint64_t at = s->run[i].start, place[3], k;
        place[0] = at;
        place[1] = at + s->run[i].length / 2;
        place[2] = at + s->run[i].length - 1;
        for (k = 0; k < 3 && why == NULL; k++) {
            size_t n = (size_t)posio_min(sizeof buf, s->media_size - place[k]);
            posio_error err;
            posio_result r = posio_read(&source, place[k], buf, n, &err);
            why = r != POSIO_OK
                      ? media_truth_judge_error(&t->media, r, &err, 0)
                      : media_truth_judge_read(&t->media, place[k], buf, n, r, &err, 0);
        }
    }
    return why;
}

static int is_code_of_damage(posio_result r)
{
    return r == POSIO_E_DATA || r == POSIO_E_FORMAT || r == POSIO_E_UNSUPPORTED ||
           r == POSIO_E_MISSING || r == POSIO_E_NOT_FOUND || r == POSIO_E_POLICY ||
           r == POSIO_E_LIMIT;
}

/* The image ends at `size`. */
static void cut_image(const truth *t, uint64_t size)
{
    const vhdx_build_variant *v = t->variant;
    vhdx_read_desc d = desc_for(v);
    vhdx_read *image = NULL;
    const char *why = NULL;
    char how[40];
    tally used;
    shelf s;
    posio_error err;
    posio_result r;
    d.alloc = tally_of(&used);
    shelf_make(&s, t->made, &d);
    s.files.cut = size;
    memset(&err, 0, sizeof err);
    r = shelf_open_image(&s, &image, &err);
    if (r == POSIO_OK) why = read_what_reads(image, t);
    else if (!is_code_of_damage(r)) why = "opening ends with a strange code";
    else if (err.code != r || err.message[0] == 0) why = "an error without a message";
    shelf_close(&s, image);
    if (tally_end(&used) != 0) why = "a leak";
    snprintf(how, sizeof how, "cut at %llu", (unsigned long long)size);
    if (why != NULL) blame(v->name, how, why, r != POSIO_OK ? &err : NULL);
}

static void cut_variant(const truth *t)
{
    const image_build *s = t->media.set;
    const uint64_t size = s->file[0].size;
    size_t i;
    for (i = 0; i < s->borders; i++) {
        if (s->border[i] > 0) cut_image(t, s->border[i] - 1);
        cut_image(t, s->border[i]);
        if (s->border[i] + 1 < size) cut_image(t, s->border[i] + 1);
    }
    for (i = 1; i < 30; i++) cut_image(t, size / 30 * i + i);
    for (i = 1; i < 600; i += 7) cut_image(t, size - i);
}

TEST(files_end_anywhere)
{
    static const char *const names[] = {
        "plain",       "sector-4096", "data-first", "data-first-bat", "log-behind", "diff",
        "diff-alone",  "log-multi",   "log-wrap",   "log-last",       "log-zero",   "vhd-fixed",
        "vhd-dynamic", "vhd-511",     "vhd-diff",   "chain-3",        "fixed",      "vhd-block-4k"};
    size_t i;
    for (i = 0; i < COUNT(names); i += STRIDE) {
        const vhdx_build_variant *v = vhdx_build_variant_of(names[i]);
        static vhdx_build s;
        truth t;
        REQUIRE(v != NULL);
        vhdx_build_make(&s, v);
        truth_make(&t, &s, v);
        cut_variant(&t);
        vhdx_build_free(&s);
    }
}

/* Reads, extents, texts: they may say anything. */
static const char *use_whatever_opens(vhdx_read *image, uint32_t *reads)
{
    posio_source source = vhdx_read_source(image);
    const char *why = media_truth_use(&source);
    const char *key, *name;
    uint32_t i;
    if (why != NULL) return why;
    for (i = 0; vhdx_read_get_parent_name(image, i, &key, &name) == POSIO_OK; i++) {}
    return posio_atomic_load(reads) > 100000 ? "it reads and reads" : NULL;
}

typedef enum flip_rule { FLIP_ANY, FLIP_SAME_MEDIA, FLIP_REFUSED } flip_rule;

/* One bit of the image is another one. */
static void flip_bit(vhdx_build *s, const vhdx_build_variant *v, uint64_t at, unsigned bit,
                     flip_rule rule)
{
    vhdx_read_desc d = desc_for(v);
    vhdx_read *image = NULL;
    const char *why = NULL;
    uint32_t reads = 0;
    uint8_t was, now;
    char how[60];
    tally used;
    shelf on;
    truth t;
    posio_error err;
    posio_result r;
    image_build_read(&s->set.file[0], at, &was, 1);
    now = (uint8_t)(was ^ 1u << bit);
    image_build_put(&s->set.file[0], at, &now, 1);
    d.alloc = tally_of(&used);
    shelf_make(&on, s, &d);
    on.files.count = &reads;
    memset(&err, 0, sizeof err);
    truth_make(&t, s, v);
    r = shelf_open_image(&on, &image, &err);
    if (rule == FLIP_SAME_MEDIA && r != POSIO_OK) why = "the other copy is not used";
    else if (rule == FLIP_REFUSED && r != POSIO_E_DATA) why = "a damaged log is not refused";
    else if (rule == FLIP_SAME_MEDIA) why = read_what_reads(image, &t);
    else if (r == POSIO_OK) why = use_whatever_opens(image, &reads);
    else if (err.code != r || err.message[0] == 0) why = "an error without a message";
    else if (!is_code_of_damage(r)) why = "opening ends with a strange code";
    if (why == NULL && rule == FLIP_SAME_MEDIA &&
        vhdx_read_info(image)->media_size != s->set.media_size)
        why = "another media size";
    shelf_close(&on, image);
    if (used.peak > 48 * MIB) why = "too much memory";
    if (tally_end(&used) != 0) why = "a leak";
    image_build_put(&s->set.file[0], at, &was, 1);
    snprintf(how, sizeof how, "bit %u of byte %llu is flipped", bit, (unsigned long long)at);
    if (why != NULL) blame(v->name, how, why, r != POSIO_OK ? &err : NULL);
}

/* All bits of n bytes, and one of every `step` bytes up to `more`. */
static void flip_range(const char *name, uint64_t at, uint64_t n, uint64_t more, uint64_t step,
                       flip_rule rule)
{
    const vhdx_build_variant *v = vhdx_build_variant_of(name);
    static vhdx_build s;
    uint64_t i;
    REQUIRE(v != NULL);
    vhdx_build_make(&s, v);
    for (i = 0; i < n * 8; i += STRIDE) flip_bit(&s, v, at + i / 8, (unsigned)(i % 8), rule);
    for (i = n; i < more; i += step * STRIDE)
        flip_bit(&s, v, at + i, (unsigned)(i / step % 8), rule);
    vhdx_build_free(&s);
}

/* Structures with a checksum and a copy: no bit matters. */
TEST(flipped_bits_in_what_has_a_copy_do_not_matter)
{
    static vhdx_build s;
    uint64_t end;
    flip_range("plain", 65536, 80, 4096, 61, FLIP_SAME_MEDIA);
    flip_range("plain", 131072, 80, 4096, 61, FLIP_SAME_MEDIA);
    flip_range("plain", 196608, 80, 65536, 997, FLIP_SAME_MEDIA);
    flip_range("plain", 262144, 80, 65536, 997, FLIP_SAME_MEDIA);
    vhdx_build_make(&s, vhdx_build_variant_of("vhd-dynamic"));
    end = s.set.file[0].size;
    vhdx_build_free(&s);
    flip_range("vhd-dynamic", end - 512, 90, 512, 7, FLIP_SAME_MEDIA);
    flip_range("vhd-dynamic", 0, 90, 512, 7, FLIP_SAME_MEDIA);
}

/* A log of one entry: with it the whole log is gone, and that must not pass unnoticed. The bits of
   padding are those of the entry, too. */
TEST(flipped_bits_in_the_log_are_noticed)
{
    flip_range("log-one", MIB, 64 + 32, 8192, 97, FLIP_REFUSED);
}

TEST(flipped_bits_elsewhere_do_no_harm)
{
    flip_range("plain", 0, 16, 520, 64, FLIP_ANY);
    flip_range("plain", 2 * MIB, 32 + 5 * 32, 4096, 331, FLIP_ANY);  /* metadata table */
    flip_range("plain", 2 * MIB + 65536, 40, 64, 8, FLIP_ANY);       /* items */
    flip_range("diff", 2 * MIB + 65536 + 64, 90, 600, 11, FLIP_ANY); /* parent locator */
    flip_range("plain", 3 * MIB, 8 * 8, 4096, 512, FLIP_ANY);        /* BAT */
    flip_range("diff", 3 * MIB, 8 * 8, 65536, 3000, FLIP_ANY);
    flip_range("log-multi", MIB + 16384, 64 + 64, 40000, 811, FLIP_ANY);
    flip_range("vhd-diff", 512, 64, 1024, 13, FLIP_ANY); /* dynamic header */
    flip_range("vhd-diff", 512 + 576, 48, 60, 5, FLIP_ANY);
}

/* ------------------------------------------------------------------ threads */

/* The BAT and the bitmap are in memory after the first read: then a read is a read. */
TEST(tables_are_read_once)
{
    static const char *const names[] = {"plain", "vhd-dynamic", "sector-4096"};
    static vhdx_build s;
    size_t i;
    for (i = 0; i < COUNT(names); i++) {
        const vhdx_build_variant *v = vhdx_build_variant_of(names[i]);
        vhdx_read_desc d = desc_for(v);
        vhdx_read *image = NULL;
        uint32_t reads = 0;
        uint8_t buf[4096];
        shelf on;
        int k;
        vhdx_build_make(&s, v);
        shelf_make(&on, &s, &d);
        REQUIRE(shelf_open_image(&on, &image, NULL) == POSIO_OK);
        CHECK_EQ(vhdx_read_at(image, 8192, buf, sizeof buf, NULL), POSIO_OK);
        on.files.count = &reads;
        for (k = 0; k < 10; k++)
            CHECK_EQ(vhdx_read_at(image, 4096 * (uint64_t)k, buf, sizeof buf, NULL), POSIO_OK);
        CHECK_EQ(reads, 10);
        shelf_close(&on, image);
        vhdx_build_free(&s);
    }
}

/* 16 callers on a pool of their own, reads cut for another. */
TEST(many_threads_read_the_same_bytes)
{
    static const char *const names[] = {"plain",    "chain-8",     "diff",     "diff-chunks",
                                        "log-wrap", "vhd-chain-3", "vhd-diff", "chunks-1m"};
    thread_pool *callers = thread_pool_create(16), *lent = thread_pool_create(3);
    static vhdx_build s;
    size_t i;
    for (i = 0; i < 2 * COUNT(names); i++) {
        const vhdx_build_variant *v = vhdx_build_variant_of(names[i / 2]);
        vhdx_read *image = NULL;
        vhdx_read_desc d;
        shelf on;
        truth t;
        posio_source source;
        REQUIRE(v != NULL);
        vhdx_build_make(&s, v);
        truth_make(&t, &s, v);
        d = desc_for(v);
        d.pool = i % 2 != 0 ? lent : callers;
        shelf_make(&on, &s, &d);
        REQUIRE(shelf_open_image(&on, &image, NULL) == POSIO_OK);
        source = vhdx_read_source(image);
        CHECK_STR(media_truth_at_once(&t.media, &source, callers, 60, 0), NULL);
        if (source.size <= WHOLE)
            CHECK_STR(media_truth_pieces(&t.media, &source, (size_t)source.size, 0), NULL);
        shelf_close(&on, image);
        vhdx_build_free(&s);
    }
    thread_pool_destroy(callers);
    thread_pool_destroy(lent);
}

/* ------------------------------------------------------------------ chains and policy */

/* One file of a chain: "c<i>.vhd", its own byte in sector i of 200. */
static void write_link(uint32_t i, const char *parent, uint32_t parent_id)
{
    vhdx_build_options o = vhdx_build_none();
    vhdx_build_image *m;
    static vhdx_build s;
    char name[40];
    snprintf(name, sizeof name, "c%u.vhd", (unsigned)i);
    o.vhd = parent != NULL ? VHDX_BUILD_DIFFERENCING : VHDX_BUILD_DYNAMIC;
    o.block_size = 4096;
    o.size = 200 * 512;
    o.parent = parent != NULL;
    o.w2ru = o.unicode = parent;
    m = vhdx_build_begin(&s, name, &o);
    m->below = 0;
    m->parent_guid_of = 0;
    m->data_guid[15] = (uint8_t)parent_id; /* recorded first as the parent's, then its own */
    vhdx_build_block(m, i / 8, VHDX_BUILD_FULL, IMAGE_BUILD_FILL + i + 1);
    if (parent != NULL) vhdx_build_present(m, i, 1);
    vhdx_build_finish(m);
    m->data_guid[15] = (uint8_t)i;
    vhdx_build_write_footer(m, 0);
    vhdx_build_write_footer(m, m->f->size - 512);
    CHECK_EQ(image_build_write_file(&s.set.file[0], in_v(name)), 0);
    vhdx_build_free(&s);
}

static void remove_links(uint32_t n)
{
    char name[60];
    uint32_t i;
    for (i = 0; i < n; i++) {
        snprintf(name, sizeof name, "c%u.vhd", (unsigned)i);
        (void)remove(in_v(name));
    }
}

static void write_chain(uint32_t n)
{
    char parent[40];
    uint32_t i;
    for (i = 0; i < n; i++) {
        snprintf(parent, sizeof parent, ".\\c%u.vhd", (unsigned)(i + 1));
        write_link(i, i + 1 < n ? parent : NULL, i + 1);
    }
}

TEST(chains_have_a_limit)
{
    static uint8_t media[200 * 512];
    vhdx_read *image = NULL;
    vhdx_read_desc d;
    posio_error err;
    uint32_t i;
    memset(&d, 0, sizeof d);
    write_chain(POSIO_LAYERS);
    memset(&err, 0, sizeof err);
    if (vhdx_read_open(&image, in_v("c0.vhd"), &d, &err) != POSIO_OK) printf("%s\n", err.message);
    REQUIRE(image != NULL);
    CHECK_EQ(vhdx_read_at(image, 0, media, sizeof media, &err), POSIO_OK);
    for (i = 0; i < POSIO_LAYERS - 1; i++) CHECK_EQ(media[i * 512 + 7], i + 1);
    vhdx_read_close(image);
    image = NULL;
    write_chain(POSIO_LAYERS + 1);
    CHECK_EQ((int64_t)vhdx_read_open(&image, in_v("c0.vhd"), &d, &err), POSIO_E_LIMIT);
    CHECK(strstr(err.message, "64") != NULL);
    CHECK(image == NULL);
    d.flags = VHDX_READ_ALONE;
    CHECK_EQ(vhdx_read_open(&image, in_v("c0.vhd"), &d, &err), POSIO_OK);
    CHECK_EQ(vhdx_read_at(image, 0, media, sizeof media, &err), POSIO_OK);
    for (i = 0; i < 200; i++) CHECK_EQ(media[i * 512 + 7], i == 0 ? 1 : 0);
    vhdx_read_close(image);
    remove_links(POSIO_LAYERS + 1);
}

/* Opens c0, whose parent this is; reads a byte that lies there. */
static posio_result open_on(const char *parent, const vhdx_read_desc *d, int *byte,
                            posio_error *err)
{
    vhdx_read *image = NULL;
    uint8_t got = 0;
    posio_result r;
    memset(err, 0, sizeof *err);
    write_link(0, parent, 1);
    r = vhdx_read_open(&image, in_v("c0.vhd"), d, err);
    if (r == POSIO_OK) r = vhdx_read_at(image, 512, &got, 1, err);
    *byte = got;
    vhdx_read_close(image);
    return r;
}

TEST(stored_names_stay_in_the_folder)
{
    vhdx_read_desc d;
    posio_error err;
    char full[1700];
    int byte;
    memset(&d, 0, sizeof d);
    d.allow = POSIO_ALLOW_OUTSIDE;
    write_link(1, NULL, 0);
    CHECK_EQ(open_on(".\\c1.vhd", NULL, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 2);
    CHECK_EQ(open_on("c1.vhd", NULL, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 2);
    CHECK_EQ(rename(in_v("c1.vhd"), in("outside.vhd")), 0);
    CHECK_EQ((int64_t)open_on("..\\outside.vhd", NULL, &byte, &err), POSIO_E_POLICY);
    CHECK(strstr(err.message, "POSIO_ALLOW_OUTSIDE") != NULL);
    CHECK(strstr(err.message, "parent") != NULL);
    CHECK(strstr(err.file, "c0.vhd") != NULL);
    CHECK_EQ((int64_t)open_on("..\\outside.vhd", &d, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 2);
#if !defined(_WIN32)
    snprintf(full, sizeof full, "%s", in("outside.vhd"));
    if (full[0] == '/' && strlen(full) < 200) {
        CHECK_EQ((int64_t)open_on(full, NULL, &byte, &err), POSIO_E_POLICY);
        CHECK_EQ((int64_t)open_on(full, &d, &byte, &err), POSIO_OK);
        CHECK_EQ(byte, 2);
    }
    REQUIRE(symlink("../outside.vhd", in_v("out.vhd")) == 0);
    CHECK_EQ((int64_t)open_on("out.vhd", NULL, &byte, &err), POSIO_E_POLICY);
    CHECK_EQ((int64_t)open_on("out.vhd", &d, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 2);
    (void)remove(in_v("out.vhd"));
    REQUIRE(symlink("/dev/zero", in_v("zero.vhd")) == 0);
    CHECK(open_on("zero.vhd", NULL, &byte, &err) != POSIO_OK);
    CHECK(open_on("zero.vhd", &d, &byte, &err) != POSIO_OK);
    (void)remove(in_v("zero.vhd"));
    REQUIRE(mkfifo(in_v("pipe.vhd"), 0600) == 0); /* opening it would wait for a writer */
    CHECK(open_on("pipe.vhd", NULL, &byte, &err) != POSIO_OK);
    (void)remove(in_v("pipe.vhd"));
#else
    (void)full;
#endif
    (void)remove(in("outside.vhd"));
    remove_links(1);
}

/* A resolver of the caller: bytes from memory with an ID, and one failure. */
typedef struct exotic {
    posio_memory memory;
    const char *id;
    uint32_t asked;
} exotic;

static posio_result exotic_open(void *self, const posio_reference *reference, posio_source *out,
                                posio_error *err)
{
    exotic *x = (exotic *)self;
    x->asked++;
    if (reference->kind == POSIO_REFERENCE_PARENT && x->id != NULL) {
        if (reference->identity != NULL)
            posio_format(reference->identity, POSIO_IDENTITY, "%s", x->id);
        *out = posio_memory_source(&x->memory);
        return POSIO_OK;
    }
    (void)posio_fail(err, POSIO_E_ACCESS, 77, "not for you: %s", reference->name);
    return posio_fail_in(err, "its.file", 3), POSIO_E_ACCESS;
}

TEST(resolvers_open_any_format_and_their_errors_pass)
{
    static uint8_t raw[100000];
    vhdx_read *image = NULL;
    posio_resolver resolver;
    vhdx_read_desc d;
    posio_error err;
    char id[40];
    exotic x;
    int byte;
    memset(&d, 0, sizeof d);
    memset(raw, 0x44, sizeof raw);
    x.memory.data = raw;
    x.memory.size = sizeof raw;
    x.asked = 0;
    resolver.open = exotic_open;
    resolver.self = &x;
    d.resolver = &resolver;
    write_link(0, "x", 1);
    d.flags = VHDX_READ_ALONE;
    REQUIRE(vhdx_read_open(&image, in_v("c0.vhd"), &d, &err) == POSIO_OK);
    REQUIRE(vhdx_read_info(image)->parent_identity != NULL);
    snprintf(id, sizeof id, "%s", vhdx_read_info(image)->parent_identity);
    vhdx_read_close(image);
    CHECK_EQ(x.asked, 0);
    d.flags = 0;
    x.id = id;
    CHECK_EQ((int64_t)open_on("any", &d, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 0x44);
    x.memory.size = 100; /* shorter: zeros behind its end */
    CHECK_EQ((int64_t)open_on("any", &d, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 0);
    x.id = "00000000-1111-2222-3333-444444444444";
    CHECK_EQ((int64_t)open_on("any", &d, &byte, &err), POSIO_E_DATA);
    CHECK(strstr(err.message, "00000000-1111") != NULL || strstr(err.message, id) != NULL);
    d.flags = VHDX_READ_ANY_PARENT;
    x.memory.size = sizeof raw;
    CHECK_EQ((int64_t)open_on("any", &d, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 0x44);
    d.flags = 0;
    x.id = NULL;
    CHECK_EQ((int64_t)open_on("any", &d, &byte, &err), POSIO_E_ACCESS);
    CHECK_EQ(err.code, POSIO_E_ACCESS);
    CHECK_EQ(err.offset, 77);
    CHECK_EQ(err.segment, 3);
    CHECK_STR(err.file, "its.file");
    CHECK(strstr(err.message, "not for you: any") != NULL);
    remove_links(1);
}

/* Warnings of parents that are found without the caller's help are not lost. */
TEST(warnings_of_parents_are_shown)
{
    vhdx_read *image = NULL;
    vhdx_read_warning w;
    vhdx_read_desc d;
    uint32_t i, found = 0;
    memset(&d, 0, sizeof d);
    d.flags = VHDX_READ_ANY_PARENT;
    write_link(2, NULL, 0);
    write_link(1, ".\\c2.vhd", 77);
    write_link(0, ".\\c1.vhd", 1);
    REQUIRE(vhdx_read_open(&image, in_v("c0.vhd"), &d, NULL) == POSIO_OK);
    for (i = 0; vhdx_read_get_warning(image, i, &w) == POSIO_OK; i++)
        found += strncmp(w.message, "c1.vhd: the parent is recorded as", 33) == 0;
    CHECK_EQ(found, 1);
    vhdx_read_close(image);
    remove_links(3);
}

/* A name of no characters is copied as any other. */
TEST(an_empty_name_is_copied)
{
    static uint8_t raw[1024];
    posio_memory memory;
    posio_source source;
    vhdx_read *image = NULL;
    vhdx_read_desc d;
    posio_error err;
    vhdx_build_options o = vhdx_build_none();
    static vhdx_build s;
    vhdx_build_image *m;
    watched w;
    char name[2] = "";
    uint8_t byte;
    memset(&d, 0, sizeof d);
    memset(&w, 0, sizeof w);
    o.vhd = VHDX_BUILD_FIXED;
    o.size = 512;
    m = vhdx_build_begin(&s, "f.vhd", &o);
    vhdx_build_block(m, 0, VHDX_BUILD_FULL, IMAGE_BUILD_FILL + 1);
    vhdx_build_finish(m);
    REQUIRE(m->f->size == sizeof raw);
    image_build_read(m->f, 0, raw, sizeof raw);
    vhdx_build_free(&s);
    memory.data = raw;
    memory.size = sizeof raw;
    w.below = posio_memory_source(&memory);
    source = watched_source(&w);
    d.name = name;
    REQUIRE(vhdx_read_open_source(&image, &source, &d, &err) == POSIO_OK);
    name[0] = 'x';
    w.fails = 1;
    CHECK_EQ((int64_t)vhdx_read_at(image, 0, &byte, 1, &err), POSIO_E_IO);
    CHECK_STR(err.file, "");
    vhdx_read_close(image);
}

/* A child with every second sector, on a parent that is asked for its extents once. */
TEST(the_parents_extents_are_asked_once)
{
    static uint8_t raw[200 * 512];
    vhdx_build_options o = vhdx_build_none();
    static vhdx_build s;
    posio_memory memory;
    posio_resolver resolver;
    posio_source source;
    posio_extent e;
    vhdx_read *image = NULL;
    vhdx_read_desc d;
    vhdx_build_image *m;
    watched w;
    uint64_t at;
    uint32_t i;
    memset(&w, 0, sizeof w);
    memset(&d, 0, sizeof d);
    memory.data = raw;
    memory.size = sizeof raw;
    w.below = posio_memory_source(&memory);
    resolver.open = watched_open;
    resolver.self = &w;
    d.resolver = &resolver;
    d.flags = VHDX_READ_ANY_PARENT;
    o.vhd = VHDX_BUILD_DIFFERENCING;
    o.block_size = 4096;
    o.size = 200 * 512;
    o.parent = 1;
    o.unicode = "base";
    m = vhdx_build_begin(&s, "c0.vhd", &o);
    m->below = 0;
    m->parent_guid_of = 0;
    for (i = 0; i < 25; i++) vhdx_build_block(m, i, VHDX_BUILD_FULL, IMAGE_BUILD_FILL + 1);
    for (i = 0; i < 200; i += 2) vhdx_build_present(m, i, 1);
    vhdx_build_finish(m);
    REQUIRE(image_build_write_file(&s.set.file[0], in_v("c0.vhd")) == 0);
    vhdx_build_free(&s);
    REQUIRE(vhdx_read_open(&image, in_v("c0.vhd"), &d, NULL) == POSIO_OK);
    source = vhdx_read_source(image);
    w.extents = 0;
    for (at = 0; at < source.size; at += e.length) {
        REQUIRE(posio_extent_of(&source, at, &e, NULL) == POSIO_OK && e.length != 0);
        CHECK_EQ(e.kind, POSIO_EXTENT_DATA);
    }
    CHECK_EQ(w.extents, 1);
    vhdx_read_close(image);
    remove_links(1);
}

/* A file that begins as a VHDX and ends as a fixed VHD: the media of the VHD are a whole VHDX, of
   other bytes and another size, which is what its guest wants to be seen. */
TEST(a_file_that_may_be_either_is_refused)
{
    static const struct {
        uint32_t flags;
        posio_result result;
        uint64_t size;
    } tests[] = {{0, POSIO_E_UNSUPPORTED, 0},
                 {VHDX_READ_AS_VHDX, POSIO_OK, 7 * VHDX_BUILD_MIB + 51 * 4096},
                 {VHDX_READ_AS_VHD, POSIO_OK, 16 * VHDX_BUILD_MIB},
                 {VHDX_READ_AS_VHD | VHDX_READ_AS_VHDX, POSIO_E_ARG, 0}};
    static vhdx_build s;
    vhdx_build_image *m;
    posio_error err;
    uint8_t got[512];
    uint32_t i, k;
    vhdx_build_make(&s, vhdx_build_variant_of("plain"));
    m = s.image[0];
    m->o.vhd = VHDX_BUILD_FIXED;
    m->o.size = 16 * VHDX_BUILD_MIB; /* more than the VHDX takes */
    REQUIRE(m->f->size <= m->o.size);
    image_build_resize(m->f, m->o.size + 512);
    vhdx_build_write_footer(m, m->o.size);
    REQUIRE(image_build_write_file(m->f, in_v("either")) == 0);
    for (i = 0; i < COUNT(tests); i++) {
        vhdx_read *image = NULL;
        vhdx_read_desc d;
        memset(&d, 0, sizeof d);
        d.flags = tests[i].flags;
        CHECK_EQ((int64_t)vhdx_read_open(&image, in_v("either"), &d, &err), tests[i].result);
        if (tests[i].flags == 0)
            CHECK(strstr(err.message, "VHDX_READ_AS_VHD ") && strstr(err.message, "_AS_VHDX "));
        if (image == NULL) continue;
        CHECK_EQ(vhdx_read_info(image)->media_size, tests[i].size);
        CHECK_EQ(vhdx_read_at(image, 0, got, sizeof got, &err), POSIO_OK);
        CHECK_EQ(memcmp(got, "vhdxfile", 8) == 0, vhdx_read_info(image)->is_vhd);
        vhdx_read_close(image);
    }
    for (k = 0; k < 2; k++) { /* as a parent it is what stands on it */
        vhdx_read *image = NULL;
        vhdx_read_desc d;
        memset(&d, 0, sizeof d);
        d.flags = VHDX_READ_ANY_PARENT | (k == 0 ? 0u : (uint32_t)VHDX_READ_AS_VHDX);
        write_link(0, ".\\either", 0);
        REQUIRE(vhdx_read_open(&image, in_v("c0.vhd"), &d, &err) == POSIO_OK);
        CHECK_EQ(vhdx_read_at(image, 512, got, 512, &err), POSIO_OK); /* not the VHDX's texture */
        for (i = 0; i < 512 && got[i] == 0; i++) {}
        CHECK_EQ(i, 512);
        vhdx_read_close(image);
    }
    for (i = 1; i < 3; i++) { /* the flags force nothing on others */
        vhdx_read *image = NULL;
        vhdx_read_desc d;
        memset(&d, 0, sizeof d);
        d.flags = tests[i].flags;
        image_build_resize(m->f, m->o.size);
        REQUIRE(image_build_write_file(m->f, in_v("either")) == 0);
        REQUIRE(vhdx_read_open(&image, in_v("either"), &d, &err) == POSIO_OK);
        CHECK_EQ(vhdx_read_info(image)->is_vhd, 0);
        vhdx_read_close(image);
    }
    vhdx_build_free(&s);
    (void)remove(in_v("either"));
    remove_links(1);
}

/* A log in which every sector begins like an entry as long as the ring: each is given up at once. */
TEST(a_log_of_false_entries_is_read_a_few_times)
{
    vhdx_build_options o = vhdx_build_none();
    static vhdx_build s;
    vhdx_build_image *m;
    vhdx_read *image = NULL;
    posio_source source;
    posio_error err;
    vhdx_read_desc d;
    uint8_t head[96];
    uint64_t at;
    watched w;
    shelf on;
    memset(&w, 0, sizeof w);
    memset(&d, 0, sizeof d);
    memset(head, 0, sizeof head);
    o.size = VHDX_BUILD_MIB;
    o.log_mib = 4;
    m = vhdx_build_plain(&s, &o);
    memcpy(head, "loge", 4);
    image_build_le(head + 8, m->log_size, 4);
    image_build_le(head + 16, 5, 8);
    image_build_le(head + 24, 1, 4); /* a descriptor, so that the next sector must be data */
    memcpy(head + 32, m->log_guid, 16);
    memcpy(head + 64, "desc", 4);
    image_build_le(head + 64 + 24, 5, 8);
    for (at = 0; at < m->log_size; at += 4096)
        image_build_put(m->f, m->log_at + at, head, sizeof head);
    vhdx_build_log_dirty(m);
    shelf_make(&on, &s, &d);
    w.below = image_shelf_source(&on.files, 0);
    source = watched_source(&w);
    CHECK_EQ((int64_t)vhdx_read_open_source(&image, &source, &d, &err), POSIO_E_DATA);
    CHECK(strstr(err.message, "log") != NULL);
    CHECK(w.bytes > m->log_size && w.bytes < 4 * m->log_size);
    CHECK(image == NULL);
    vhdx_build_free(&s);
}

/* A region that nobody needs is in nobody's way, wherever it stands in the table. */
TEST(unknown_regions_over_known_ones_are_warnings)
{
    static const char unknown[] = "12345678-0000-4000-8000-000000000001";
    static const char bat[] = "2dc27766-f623-4200-9d64-115e9bfd4a08";
    uint32_t i;
    for (i = 0; i < 2; i++) {
        static vhdx_build s;
        vhdx_build_image *m;
        vhdx_read *image = NULL;
        vhdx_read_warning w;
        vhdx_read_desc d;
        posio_error err;
        shelf on;
        posio_source source;
        truth t;
        memset(&d, 0, sizeof d);
        vhdx_build_make(&s, vhdx_build_variant_of("plain"));
        m = s.image[0];
        if (i == 0) { /* in the place of the BAT in the table, which goes behind it */
            vhdx_build_write_region(m, 1, unknown, m->bat_at, m->bat_size, 0);
            vhdx_build_write_region(m, 2, bat, m->bat_at, m->bat_size, 1);
        } else { /* over all there is */
            vhdx_build_write_region(m, 2, unknown, VHDX_BUILD_MIB, 64 * VHDX_BUILD_MIB, 0);
        }
        vhdx_build_seal(m);
        shelf_make(&on, &s, &d);
        REQUIRE(shelf_open_image(&on, &image, &err) == POSIO_OK);
        REQUIRE(vhdx_read_get_warning(image, 0, &w) == POSIO_OK);
        CHECK(strstr(w.message, "unknown kind") != NULL && strstr(w.message, "over") != NULL);
        truth_make(&t, &s, vhdx_build_variant_of("plain"));
        source = vhdx_read_source(image);
        CHECK_STR(media_truth_pieces(&t.media, &source, 300000, 0), NULL);
        shelf_close(&on, image);
        vhdx_build_free(&s);
    }
}

TEST(region_tables_that_differ_are_a_warning)
{
    static vhdx_build s;
    vhdx_build_image *m;
    vhdx_read *image = NULL;
    vhdx_read_warning w;
    vhdx_read_desc d;
    shelf on;
    memset(&d, 0, sizeof d);
    vhdx_build_make(&s, vhdx_build_variant_of("plain"));
    m = s.image[0];
    vhdx_build_put64(m->f, 262144 + 16 + 16, m->meta_at + VHDX_BUILD_MIB);
    vhdx_build_seal(m);
    shelf_make(&on, &s, &d);
    REQUIRE(shelf_open_image(&on, &image, NULL) == POSIO_OK);
    CHECK(vhdx_read_get_warning(image, 0, &w) == POSIO_OK && strstr(w.message, "differ") != NULL);
    shelf_close(&on, image);
    vhdx_build_free(&s);
}

TEST(without_a_resolver_a_source_stands_alone)
{
    const vhdx_build_variant *v = vhdx_build_variant_of("diff");
    vhdx_read *image = NULL;
    static vhdx_build s;
    vhdx_read_desc d;
    shelf on;
    posio_source source;
    posio_error err;
    memset(&d, 0, sizeof d);
    vhdx_build_make(&s, v);
    shelf_make(&on, &s, &d);
    source = image_shelf_source(&on.files, 0);
    CHECK_EQ((int64_t)vhdx_read_open_source(&image, &source, NULL, &err), POSIO_E_POLICY);
    CHECK(strstr(err.message, "resolver") != NULL);
    CHECK(image == NULL);
    d.flags = VHDX_READ_ALONE;
    CHECK_EQ(vhdx_read_open_source(&image, &source, &d, &err), POSIO_OK);
    vhdx_read_close(image);
    vhdx_build_free(&s);
}

/* The innermost file is named: an error two layers down has the offset and path of that file. */
TEST(errors_name_the_file_below)
{
    const vhdx_build_variant *v = vhdx_build_variant_of("chain-3");
    vhdx_read *image = NULL;
    static vhdx_build s;
    posio_error err;
    uint64_t at;
    char buf[10];
    vhdx_build_make(&s, v);
    at = vhdx_build_entry_at(s.image[2], 1);
    vhdx_build_put64(s.image[2]->f, at, VHDX_BUILD_TIB | 6);
    REQUIRE(image_build_write(&s.set, in("v")) == 0);
    REQUIRE(vhdx_read_open(&image, in_v("image.vhdx"), NULL, &err) == POSIO_OK);
    /* 4 MiB blocks there; block 1 begins at 4 MiB, where the others have nothing */
    CHECK_EQ((int64_t)vhdx_read_at(image, 5 * MIB, buf, sizeof buf, &err), POSIO_E_DATA);
    CHECK_EQ(err.offset, at);
    CHECK(strstr(err.file, "base2.vhdx") != NULL);
    CHECK_EQ(vhdx_read_at(image, 3 * MIB, buf, sizeof buf, &err), POSIO_OK);
    vhdx_read_close(image);
    image_build_unwrite(&s.set, in("v"));
    vhdx_build_free(&s);
}

/* ------------------------------------------------------------------ what is said of an image */

/* Opens a variant in memory; the shelf and the set stay. */
static vhdx_read *open_variant(vhdx_build *s, shelf *on, const char *name)
{
    const vhdx_build_variant *v = vhdx_build_variant_of(name);
    vhdx_read *image = NULL;
    vhdx_read_desc d;
    posio_error err;
    if (v == NULL) return NULL;
    memset(&err, 0, sizeof err);
    d = desc_for(v);
    vhdx_build_make(s, v);
    shelf_make(on, s, &d);
    if (shelf_open_image(on, &image, &err) != POSIO_OK) printf("  %s: %s\n", name, err.message);
    return image;
}

TEST(facts_of_vhdx_images)
{
    static vhdx_build s;
    const vhdx_read_metadata *m;
    const char *key = NULL, *name = NULL;
    vhdx_read *image;
    shelf on;
    REQUIRE((image = open_variant(&s, &on, "plain")) != NULL);
    m = vhdx_read_info(image);
    CHECK_STR(m->layout, "VHDX dynamic");
    CHECK_EQ(m->file_size, s.set.file[0].size);
    CHECK_EQ(m->block_size, MIB);
    CHECK_EQ(m->physical_sector_size, 4096);
    CHECK_EQ(m->header_sequence, 7);
    CHECK_EQ(m->header, 2);
    CHECK_EQ(m->region_table, 1);
    CHECK_STR(m->creator, "chunkwise test images");
    CHECK_STR(m->disk_id, "83838383-0000-4000-8000-838383838300");
    CHECK_STR(m->file_write_id, "f11e3a17-0000-4a4b-9c9d-0e0f10111200");
    CHECK_STR(m->identity, "00d4a940-5b1e-4f77-8e21-0badc0de0001");
    CHECK_STR(m->parent_identity, NULL);
    CHECK_EQ((int64_t)vhdx_read_get_parent_name(image, 0, &key, &name), POSIO_E_RANGE);
    shelf_close(&on, image);
    vhdx_build_free(&s);
    REQUIRE((image = open_variant(&s, &on, "fixed")) != NULL);
    CHECK_STR(vhdx_read_info(image)->layout, "VHDX fixed");
    shelf_close(&on, image);
    vhdx_build_free(&s);
    REQUIRE((image = open_variant(&s, &on, "header-2-crc")) != NULL);
    CHECK_EQ(vhdx_read_info(image)->header, 1);
    CHECK_EQ(vhdx_read_info(image)->header_sequence, 6);
    shelf_close(&on, image);
    vhdx_build_free(&s);
    REQUIRE((image = open_variant(&s, &on, "region-1-crc")) != NULL);
    CHECK_EQ(vhdx_read_info(image)->region_table, 2);
    shelf_close(&on, image);
    vhdx_build_free(&s);
    REQUIRE((image = open_variant(&s, &on, "diff")) != NULL);
    CHECK_STR(vhdx_read_info(image)->layout, "VHDX differencing");
    CHECK_STR(vhdx_read_info(image)->parent_identity, "00d4a941-5b1e-4f77-8e21-0badc0de0001");
    CHECK_EQ(vhdx_read_info(image)->parent_name_count, 5);
    CHECK_EQ(vhdx_read_get_parent_name(image, 2, &key, &name), POSIO_OK);
    CHECK_STR(key, "relative_path");
    CHECK_STR(name, ".\\base.vhdx");
    shelf_close(&on, image);
    vhdx_build_free(&s);
    REQUIRE((image = open_variant(&s, &on, "log-multi")) != NULL);
    CHECK_EQ(vhdx_read_info(image)->log_entries_replayed, 5);
    CHECK_EQ(vhdx_read_info(image)->log_bytes, 10 * 4096);
    shelf_close(&on, image);
    vhdx_build_free(&s);
    REQUIRE((image = open_variant(&s, &on, "log-tail")) != NULL);
    CHECK_EQ(vhdx_read_info(image)->log_entries_replayed, 1);
    shelf_close(&on, image);
    vhdx_build_free(&s);
}

TEST(facts_of_vhd_images)
{
    static vhdx_build s;
    const vhdx_read_metadata *m;
    vhdx_read *image;
    shelf on;
    REQUIRE((image = open_variant(&s, &on, "vhd-creator-vpc")) != NULL);
    m = vhdx_read_info(image);
    CHECK_STR(m->layout, "VHD dynamic");
    CHECK_EQ(m->current_size, (VHDX_BUILD_SECTORS + 37) * 512);
    CHECK_EQ(m->original_size, (VHDX_BUILD_SECTORS + 37) * 512);
    CHECK_EQ(m->media_size, VHDX_BUILD_SECTORS * 512);
    CHECK_EQ(m->cylinders, 271);
    CHECK_EQ(m->heads, 4);
    CHECK_EQ(m->sectors, 17);
    CHECK_STR(m->creator, "vpc ");
    CHECK_STR(m->creator_system, "Wi2k");
    CHECK_EQ(m->creator_version, 0x60001);
    CHECK_EQ(m->created, 946684800u + 0x1c000000u); /* VHD counts from 2000-01-01 */
    CHECK_EQ(m->block_size, 2 * MIB);
    CHECK_EQ(m->is_saved_state, 0);
    shelf_close(&on, image);
    vhdx_build_free(&s);
    REQUIRE((image = open_variant(&s, &on, "vhd-fixed")) != NULL);
    CHECK_STR(vhdx_read_info(image)->layout, "VHD fixed");
    shelf_close(&on, image);
    vhdx_build_free(&s);
    REQUIRE((image = open_variant(&s, &on, "vhd-saved")) != NULL);
    CHECK_EQ(vhdx_read_info(image)->is_saved_state, 1);
    shelf_close(&on, image);
    vhdx_build_free(&s);
    REQUIRE((image = open_variant(&s, &on, "vhd-diff")) != NULL);
    CHECK_STR(vhdx_read_info(image)->layout, "VHD differencing");
    CHECK_STR(vhdx_read_info(image)->parent_identity, "41a9d400-1e5b-774f-8e21-0badc0de0001");
    shelf_close(&on, image);
    vhdx_build_free(&s);
}

/* Twice the same image: as its log leaves it, and as the file is. */
TEST(the_log_can_be_ignored)
{
    const vhdx_build_variant *v = vhdx_build_variant_of("log-one");
    static vhdx_build s;
    static uint8_t buf[4096], junk[4096];
    vhdx_read *image = NULL;
    uint64_t host;
    vhdx_read_desc d;
    shelf on;
    vhdx_build_make(&s, v);
    d = desc_for(v);
    d.flags |= VHDX_READ_NO_LOG;
    shelf_make(&on, &s, &d);
    REQUIRE(shelf_open_image(&on, &image, NULL) == POSIO_OK);
    CHECK_EQ(vhdx_read_info(image)->log_entries_replayed, 0);
    CHECK_EQ(vhdx_read_at(image, 3 * MIB + 200 * 4096, buf, sizeof buf, NULL), POSIO_OK);
    host = vhdx_build_at(s.image[0], 3)->host;
    image_build_fill(IMAGE_BUILD_POISON, host + 200 * 4096, junk, sizeof junk);
    CHECK_MEM(buf, junk, sizeof buf);
    shelf_close(&on, image);
    vhdx_build_free(&s);
}

TEST(probes)
{
    static const struct {
        const char *variant;
        posio_result probe, footer;
    } tests[] = {{"plain", POSIO_OK, POSIO_E_FORMAT},
                 {"header-both", POSIO_OK, POSIO_E_FORMAT},
                 {"vhd-fixed", POSIO_OK, POSIO_OK},
                 {"vhd-dynamic", POSIO_OK, POSIO_E_FORMAT},
                 {"vhd-copy-cookie", POSIO_OK, POSIO_OK},
                 {"vhd-footer-cookie", POSIO_OK, POSIO_E_FORMAT},
                 {"vhd-both-cookie", POSIO_E_FORMAT, POSIO_E_FORMAT},
                 {"vhd-fixed-cookie", POSIO_E_FORMAT, POSIO_E_FORMAT},
                 {"vhd-fixed-checksum", POSIO_E_FORMAT, POSIO_E_FORMAT},
                 {"vhd-fixed-cut", POSIO_E_FORMAT, POSIO_E_FORMAT},
                 {"cut-0", POSIO_E_FORMAT, POSIO_E_FORMAT},
                 {"cut-7", POSIO_E_FORMAT, POSIO_E_FORMAT},
                 {"cut-8", POSIO_OK, POSIO_E_FORMAT}};
    static vhdx_build s;
    size_t i;
    for (i = 0; i < COUNT(tests); i++) {
        const vhdx_build_variant *v = vhdx_build_variant_of(tests[i].variant);
        posio_source source;
        vhdx_read_desc d;
        posio_error err;
        posio_result r;
        shelf on;
        REQUIRE(v != NULL);
        vhdx_build_make(&s, v);
        d = desc_for(v);
        shelf_make(&on, &s, &d);
        source = image_shelf_source(&on.files, 0);
        memset(&err, 0, sizeof err);
        r = vhdx_read_probe(&source, &err);
        if (r != tests[i].probe) blame(v->name, "probe", posio_result_name(r), &err);
        if (r != POSIO_OK) CHECK(err.code == r && err.message[0] != 0);
        r = vhdx_read_probe_footer(&source, &err);
        if (r != tests[i].footer) blame(v->name, "probe_footer", posio_result_name(r), &err);
        vhdx_build_free(&s);
    }
}

TEST(ranges_and_arguments)
{
    static vhdx_build s;
    vhdx_read *image;
    vhdx_read_warning w;
    posio_error err;
    char buf[4];
    shelf on;
    REQUIRE((image = open_variant(&s, &on, "plain")) != NULL);
    CHECK_EQ((int64_t)vhdx_read_at(image, s.set.media_size - 3, buf, 4, &err), POSIO_E_RANGE);
    CHECK_EQ(err.code, POSIO_E_RANGE);
    CHECK_EQ((int64_t)vhdx_read_at(image, UINT64_MAX, buf, 4, &err), POSIO_E_RANGE);
    CHECK_EQ((int64_t)vhdx_read_at(image, s.set.media_size, buf, 1, NULL), POSIO_E_RANGE);
    CHECK_EQ(vhdx_read_at(image, s.set.media_size, buf, 0, &err), POSIO_OK);
    CHECK_EQ(vhdx_read_source(image).size, s.set.media_size);
    CHECK_EQ((int64_t)vhdx_read_get_warning(image, 0, &w), POSIO_E_RANGE);
    shelf_close(&on, image);
    image = NULL;
    on.desc.alloc.alloc_fn = tally_alloc;
    CHECK_EQ((int64_t)shelf_open_image(&on, &image, &err), POSIO_E_ARG);
    CHECK(image == NULL);
    CHECK_EQ((int64_t)vhdx_read_open(&image, in("v/nothing"), NULL, &err), POSIO_E_NOT_FOUND);
    CHECK(strstr(err.file, "nothing") != NULL);
    vhdx_read_close(NULL);
    vhdx_build_free(&s);
}

/* ------------------------------------------------------------------ memory */

/* A disk of 64 TiB in blocks of 1 MiB, all of whose BAT is there: 512 MiB of it, and 16,384
   bitmaps. Of four blocks two are full, one is absent, one is partial. Made as it is read. */
#define HUGE_MEDIA (64 * VHDX_BUILD_TIB)
#define HUGE_DATA (VHDX_BUILD_TIB) /* where block 0 would lie, and the others behind it */
#define HUGE_BITMAPS (VHDX_BUILD_TIB / 2)
enum { HUGE_SEED = IMAGE_BUILD_NOISE + 9, HUGE_BITS = 0xa5 };

typedef struct huge {
    vhdx_build s;
    const vhdx_build_image *m;
} huge;

static uint64_t huge_entry(const huge *h, uint64_t i)
{
    uint64_t chunk = i / (h->m->ratio + 1), within = i % (h->m->ratio + 1);
    uint64_t block = chunk * h->m->ratio + within;
    if (within == h->m->ratio) return (HUGE_BITMAPS + chunk * MIB) | VHDX_BUILD_FULL;
    switch (block % 4) {
    case 2: return VHDX_BUILD_ABSENT;
    case 3: return (HUGE_DATA + block * MIB) | VHDX_BUILD_PARTIAL;
    default: return (HUGE_DATA + block * MIB) | VHDX_BUILD_FULL;
    }
}

static posio_result huge_read(void *self, uint64_t offset, void *buf, size_t n, posio_error *err)
{
    const huge *h = (const huge *)self;
    uint8_t *out = (uint8_t *)buf;
    size_t i;
    (void)err;
    if (offset >= HUGE_DATA) {
        image_build_fill(HUGE_SEED, offset - HUGE_DATA, out, n);
    } else if (offset >= HUGE_BITMAPS) {
        memset(buf, HUGE_BITS, n);
    } else if (offset >= h->m->bat_at && offset < h->m->bat_at + h->m->bat_size) {
        for (i = 0; i < n; i++) {
            uint64_t at = offset + i - h->m->bat_at;
            out[i] = (uint8_t)(at / 8 < h->m->entries ? huge_entry(h, at / 8) >> at % 8 * 8 : 0);
        }
    } else {
        image_build_read(h->m->f, offset, buf, n);
    }
    return POSIO_OK;
}

/* Without its parent: what is not there is zeros. */
static uint8_t huge_media(uint64_t at)
{
    uint64_t block = at / MIB;
    int here = block % 4 < 2 || (block % 4 == 3 && (HUGE_BITS >> at / 512 % 8 & 1));
    return here ? image_build_byte(HUGE_SEED, at) : 0;
}

static posio_result huge_reads(void *user, uint32_t i, posio_error *err)
{
    vhdx_read *image = (vhdx_read *)user;
    uint64_t seed = i + 1;
    uint8_t buf[700];
    int k;
    for (k = 0; k < 125; k++) {
        uint64_t at = test_random(&seed) % (HUGE_MEDIA - sizeof buf);
        size_t j;
        posio_result r;
        if (k == 0) at = HUGE_MEDIA - sizeof buf;
        r = vhdx_read_at(image, at, buf, sizeof buf, err);
        if (r != POSIO_OK) return r;
        for (j = 0; j < sizeof buf; j++)
            if (buf[j] != huge_media(at + j))
                return posio_fail(err, POSIO_E_DATA, at, "wrong bytes");
    }
    return POSIO_OK;
}

static void huge_make(huge *h)
{
    vhdx_build_options o = vhdx_build_none();
    vhdx_build_image *m;
    o.size = HUGE_MEDIA;
    vhdx_build_name_parent(&o, ".\\gone.vhdx");
    o.pair[0].value = "{11111111-2222-3333-4444-555555555555}";
    m = vhdx_build_begin(&h->s, "image.vhdx", &o);
    m->below = 0;
    vhdx_build_finish(m);
    h->m = m;
}

TEST(sixty_four_tebibytes_take_less_than_64_mib)
{
    thread_pool *pool = thread_pool_create(16);
    vhdx_read *image = NULL;
    static huge h;
    vhdx_read_desc d;
    posio_source source, media;
    posio_extent e;
    posio_error err;
    tally used;
    uint64_t at, seed = 5;
    uint32_t i;
    memset(&d, 0, sizeof d);
    memset(&source, 0, sizeof source);
    memset(&err, 0, sizeof err);
    huge_make(&h);
    d.alloc = tally_of(&used);
    d.pool = pool;
    d.flags = VHDX_READ_ALONE;
    source.size = HUGE_DATA + HUGE_MEDIA;
    source.read_at = huge_read;
    source.self = &h;
    if (vhdx_read_open_source(&image, &source, &d, &err) != POSIO_OK) printf("%s\n", err.message);
    REQUIRE(image != NULL);
    CHECK_EQ(vhdx_read_info(image)->media_size, HUGE_MEDIA);
    err.message[0] = 0;
    if (thread_pool_parallel_for(pool, 16, huge_reads, image, &err) != POSIO_OK)
        printf("%s at %llu\n", err.message, (unsigned long long)err.offset);
    CHECK_STR(err.message, "");
    media = vhdx_read_source(image);
    for (i = 0; i < 60; i++) {
        at = test_random(&seed) % HUGE_MEDIA;
        REQUIRE(posio_extent_of(&media, at, &e, &err) == POSIO_OK);
        CHECK(e.length <= HUGE_MEDIA - at);
        if (at / MIB % 4 == 2) CHECK_EQ(e.kind, POSIO_EXTENT_HOLE);
        if (at / MIB % 4 < 2) CHECK_EQ(e.kind, POSIO_EXTENT_DATA);
    }
    for (at = HUGE_MEDIA - 4 * MIB; at < HUGE_MEDIA; at += e.length)
        REQUIRE(posio_extent_of(&media, at, &e, &err) == POSIO_OK && e.length != 0);
    CHECK(used.peak > MIB / 2); /* it was counted */
    CHECK(used.peak < 64 * MIB);
    vhdx_read_close(image);
    CHECK_EQ(tally_end(&used), 0);
    vhdx_build_free(&h.s);
    thread_pool_destroy(pool);
}

/* ------------------------------------------------------------------ what fails: memory, reads */

static const char *const faulty[] = {"plain",   "diff",     "log-multi",   "log-bitmap",  "chain-3",
                                     "vhd-511", "vhd-diff", "vhd-dynamic", "header-2-crc"};

static const char *trial_use(vhdx_read *image, const media_trial *x)
{
    const posio_source source = vhdx_read_source(image);
    const uint64_t size = x->truth->set->media_size, piece = size / 20 + 111;
    const char *why = NULL;
    uint64_t at;
    for (at = 0; why == NULL && at < size; at += piece)
        why = media_trial_read(x, &source, at, (size_t)posio_min(20000, size - at));
    if (why == NULL) why = media_trial_extents(x, &source);
    if (why == NULL) why = media_trial_read(x, &source, 0, 5000);
    return why;
}

/* Opens it, from memory or from files, with the allocator and reads that may fail. A header or
   footer that cannot be read may be made up for by its copy, with a warning. */
static int run_trial(media_trial *x)
{
    const truth *t = (const truth *)x->user;
    vhdx_read_desc d = desc_for(t->variant);
    vhdx_read *image = NULL;
    vhdx_read_warning w;
    const char *why;
    shelf on;
    posio_error err;
    posio_result r;
    d.alloc = media_trial_alloc(x);
    shelf_make(&on, t->made, &d);
    on.files.reads = &x->reads;
    memset(&err, 0, sizeof err);
    if (x->in_files) r = vhdx_read_open(&image, in_v(t->made->set.file[0].name), &d, &err);
    else r = shelf_open_image(&on, &image, &err);
    x->may_open = r == POSIO_OK && vhdx_read_get_warning(image, 0, &w) == POSIO_OK;
    why = media_trial_judge_open(x, r, &err, image != NULL);
    if (why == NULL && r == POSIO_OK) why = trial_use(image, x);
    shelf_close(&on, image);
    return media_trial_end(x, t->variant->name, why, &err);
}

static void every_fault(int is_reads, int in_files)
{
    static vhdx_build b;
    size_t i;
    for (i = 0; i < COUNT(faulty); i++) {
        const vhdx_build_variant *v = vhdx_build_variant_of(faulty[i]);
        truth t;
        media_trial x;
        REQUIRE(v != NULL);
        vhdx_build_make(&b, v);
        truth_make(&t, &b, v);
        memset(&x, 0, sizeof x);
        x.truth = &t.media;
        x.run = run_trial;
        x.user = &t;
        if (in_files) REQUIRE(image_build_write(&b.set, in("v")) == 0);
        CHECK(media_trial_all(&x, is_reads, in_files, TEST_STRIDE) >= 3);
        if (in_files) image_build_unwrite(&b.set, in("v"));
        media_truth_free(&t.media);
        vhdx_build_free(&b);
    }
}

TEST(every_allocation_fails_in_memory) { every_fault(0, 0); }
TEST(every_allocation_fails_in_files) { every_fault(0, 1); }
TEST(every_read_fails) { every_fault(1, 0); }

TEST_MAIN(if (!folder_make("vhdx")) return 1; RUN(every_variant_in_memory_and_in_files);
          RUN(files_end_anywhere); RUN(flipped_bits_in_what_has_a_copy_do_not_matter);
          RUN(flipped_bits_in_the_log_are_noticed); RUN(flipped_bits_elsewhere_do_no_harm);
          RUN(tables_are_read_once); RUN(many_threads_read_the_same_bytes);
          RUN(chains_have_a_limit); RUN(stored_names_stay_in_the_folder);
          RUN(resolvers_open_any_format_and_their_errors_pass);
          RUN(warnings_of_parents_are_shown);
          RUN(an_empty_name_is_copied);
          RUN(the_parents_extents_are_asked_once);
          RUN(a_file_that_may_be_either_is_refused);
          RUN(a_log_of_false_entries_is_read_a_few_times);
          RUN(unknown_regions_over_known_ones_are_warnings);
          RUN(region_tables_that_differ_are_a_warning);
          RUN(without_a_resolver_a_source_stands_alone); RUN(errors_name_the_file_below);
          RUN(facts_of_vhdx_images); RUN(facts_of_vhd_images); RUN(the_log_can_be_ignored);
          RUN(probes); RUN(ranges_and_arguments); RUN(sixty_four_tebibytes_take_less_than_64_mib);
          RUN(every_allocation_fails_in_memory); RUN(every_allocation_fails_in_files);
          RUN(every_read_fails); folder_remove();)
