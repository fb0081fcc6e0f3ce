/* vmdk_read.h against images that tests/fixtures/vmdk_build.h builds byte by byte from the
   published format: what opens, what is refused and how, every byte, the map, extents, warnings;
   cut files, flipped bits, chains, threads, and whatever fails: memory, reads. */
#include "fixtures/folder.h"
#define VMDK_READ_IMPLEMENTATION
#include "../vmdk_read.h"
#include "fixtures/faults.h"
#include "fixtures/image_shelf.h"
#include "fixtures/tally.h"
#include "fixtures/vmdk_build.h"
#include "fixtures/watched.h"
#include "test.h"
#include "fixtures/media_truth.h"
#include "fixtures/media_trial.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MIB ((uint64_t)1 << 20)

enum {
    LARGE = 4 << 20,     /* media that take long where everything is slow: looked at less often */
    MEDIA_MAX = 64 << 20 /* and around the borders of runs only */
};

/* ------------------------------------------------------------------ a set in memory */

enum { SHELF_IMAGES = 90 };

/* A set's files as sources, and what finds the others of them by name: extents, parents. What is
   not in the set is `refused`: then the outcome of opening is our own, and no business of a
   variant. */
typedef struct shelf {
    image_shelf files;
    posio_opener opener;
    posio_resolver resolver;
    vmdk_read_desc desc; /* of the images below the first */
    vmdk_read *opened[SHELF_IMAGES];
    uint32_t opened_count, refused;
    uint32_t files_open; /* by the opener, and not yet closed */
} shelf;

static size_t shelf_find(const shelf *s, const char *name)
{
    return image_shelf_find(&s->files, strncmp(name, "./", 2) == 0 ? name + 2 : name);
}

static posio_result shelf_open_extent(void *self, const char *name, uint32_t rule,
                                      posio_source *out, posio_error *err)
{
    shelf *s = (shelf *)self;
    size_t i = shelf_find(s, name);
    if (rule != POSIO_NAME_STORED) image_build_die("a stored name is not called one");
    if (i == IMAGE_BUILD_FILES) {
        s->refused++;
        return image_shelf_missing(name, err);
    }
    *out = image_shelf_source(&s->files, i);
    s->files_open++;
    return POSIO_OK;
}

static void shelf_close_extent(void *self, posio_source *source)
{
    shelf *s = (shelf *)self;
    (void)source;
    s->files_open--;
}

static posio_result shelf_open_parent(void *self, const posio_reference *reference,
                                      posio_source *out, posio_error *err)
{
    shelf *s = (shelf *)self;
    vmdk_read_desc desc = s->desc;
    vmdk_read *image = NULL;
    posio_source source;
    posio_result r;
    size_t i = shelf_find(s, reference->name);
    if (reference->kind != POSIO_REFERENCE_PARENT) image_build_die("not a parent");
    if (i == 0 || i == IMAGE_BUILD_FILES || s->opened_count == SHELF_IMAGES) {
        s->refused++;
        return image_shelf_missing(reference->name, err);
    }
    source = image_shelf_source(&s->files, i);
    desc.name = s->files.set->file[i].name;
    r = vmdk_read_open_source(&image, &source, &desc, err);
    if (r != POSIO_OK) return r;
    s->opened[s->opened_count++] = image;
    *out = vmdk_read_source(image);
    if (reference->identity != NULL)
        memcpy(reference->identity, vmdk_read_info(image)->identity, POSIO_IDENTITY);
    return POSIO_OK;
}

/* desc: for all images of the set. */
static void shelf_make(shelf *s, const vmdk_build *b, const vmdk_read_desc *desc)
{
    memset(s, 0, sizeof *s);
    image_shelf_make(&s->files, &b->set);
    s->desc = *desc;
    s->opener.open = shelf_open_extent;
    s->opener.close = shelf_close_extent;
    s->opener.self = s;
    s->resolver.open = shelf_open_parent;
    s->resolver.self = s;
    s->desc.opener = &s->opener;
    s->desc.resolver = &s->resolver;
}

static posio_result shelf_open(shelf *s, vmdk_read **out, posio_error *err)
{
    posio_source source = image_shelf_source(&s->files, 0);
    vmdk_read_desc desc = s->desc;
    desc.name = "image.vmdk";
    s->refused = 0;
    return vmdk_read_open_source(out, &source, &desc, err);
}

/* The image is closed before: those that stand on others were opened after them. Returns the files
   that were not closed. */
static uint32_t shelf_close(shelf *s, vmdk_read *image)
{
    vmdk_read_close(image);
    while (s->opened_count > 0) vmdk_read_close(s->opened[--s->opened_count]);
    return s->files_open;
}

/* ------------------------------------------------------------------ what is right */

typedef struct truth {
    media_truth media;
    const vmdk_build *made;
    const vmdk_build_variant *variant;
} truth;

static void truth_make(truth *t, const vmdk_build *b, const vmdk_build_variant *v)
{
    media_truth_make(&t->media, &b->set, MEDIA_MAX);
    t->media.refusal = "NOACCESS";
    t->made = b;
    t->variant = v;
}

/* ------------------------------------------------------------------ every variant */

static uint32_t access_of(const vmdk_build_extent *e)
{
    if (e->access == NULL || strcmp(e->access, "RW") == 0) return VMDK_READ_RW;
    return e->access[0] == 'N' ? VMDK_READ_NOACCESS : VMDK_READ_RDONLY;
}

/* The extents of the descriptor cover the media and are what was made. */
static const char *check_extent_list(vmdk_read *image, const truth *t)
{
    const vmdk_build_disk *d = t->made->disk[0];
    const uint32_t count = vmdk_read_info(image)->extent_count;
    int as_made = strcmp(t->variant->open, "OK") == 0 && count == d->extents;
    vmdk_read_extent e;
    uint64_t at = 0;
    uint32_t i;
    for (i = 0; i < count; i++) {
        if (vmdk_read_get_extent(image, i, &e) != POSIO_OK) return "an extent is not to be had";
        if (e.media_offset != at) return "extents have a gap or an overlap";
        if (e.type_name == NULL || e.type_name[0] == 0) return "an extent without a type";
        if (e.type > VMDK_READ_VSAN_SPARSE) return "an unknown type";
        if (as_made && e.access != access_of(d->extent[i])) return "another access";
        if (as_made && e.access != VMDK_READ_NOACCESS) { /* of which nothing is asked */
            const vmdk_build_extent *made = d->extent[i];
            int sparse = made->kind >= VMDK_BUILD_SPARSE;
            if (e.size != made->sectors * 512) return "an extent of another size";
            if (sparse && e.grain_size != made->o.grain * 512) return "another grain size";
            if (!sparse && e.grain_size != 0) return "a grain size without grains";
            if (made->kind == VMDK_BUILD_FLAT && e.file_offset != made->offset * 512)
                return "an extent begins elsewhere in its file";
            if (sparse && e.is_compressed != ((made->o.flags & VMDK_BUILD_STREAM) != 0))
                return "compressed, or not";
        }
        at += e.size;
    }
    if (vmdk_read_get_extent(image, i, &e) != POSIO_E_RANGE) return "more extents than counted";
    return at == t->media.set->media_size ? NULL : "extents do not cover the media";
}

static const char *check_metadata(vmdk_read *image, const truth *t)
{
    const vmdk_read_metadata *m = vmdk_read_info(image);
    const vmdk_build_disk *d = t->made->disk[0];
    if (m->media_size != t->media.set->media_size) return "the media size is wrong";
    if (m->file_size != t->media.set->file[0].size) return "the file size is wrong";
    if (m->create_type == NULL || m->encoding == NULL) return "a text is NULL";
    if (strcmp(t->variant->open, "OK") == 0 && d->raw == NULL && d->type != NULL &&
        m->descriptor_size != 0) {
        if (strcmp(m->create_type, d->type) != 0 && !media_truth_has_words(m->create_type, d->type))
            return "another createType";
        if (!d->cid_less && m->cid != d->cid) return "another CID";
        if (m->parent_cid != d->parent_cid) return "another parentCID";
        if ((m->has_parent != 0) != (d->parent != NULL && !t->media.set->layer_alone))
            return "a parent, or none";
    }
    if ((t->variant->needs & VMDK_BUILD_REBUILT) && !m->rebuilt) return "rebuilt, and not said";
    if (m->rebuilt && strcmp(t->variant->open, "OK") == 0 &&
        !(t->variant->needs & VMDK_BUILD_REBUILT))
        return "rebuilt without a need";
    return check_extent_list(image, t);
}

/* After all was read: some damage is found on the way. */
static const char *check_warnings(vmdk_read *image, const truth *t)
{
    const vmdk_build_variant *v = t->variant;
    const char *words = v->mentions;
    int said = words == NULL;
    vmdk_read_warning w;
    uint32_t i;
    for (i = 0; vmdk_read_get_warning(image, i, &w) == POSIO_OK; i++) {
        if (w.message[0] == 0) return "an empty warning";
        if (words != NULL && media_truth_has_words(w.message, words)) said = 1;
    }
    if ((v->needs & VMDK_BUILD_WARNS) && i == 0) return "no warning";
    if ((v->needs & VMDK_BUILD_WARNS) && !said) return "no warning says what it is about";
    return NULL;
}

/* All that can be asked of an open image. */
static const char *check_image(vmdk_read *image, const truth *t, thread_pool *pool, int in_files)
{
    const posio_source source = vmdk_read_source(image);
    const size_t odd = vmdk_read_info(image)->grain_size * 2 / 3 + 3007;
    const char *why = check_metadata(image, t);
    if (why == NULL) why = media_truth_borders(&t->media, &source, in_files);
    if (why == NULL && t->media.bytes != NULL && t->media.set->media_size <= LARGE)
        why = media_truth_pieces(&t->media, &source, odd, in_files);
    if (why == NULL && t->media.bytes != NULL)
        why = media_truth_pieces(&t->media, &source, (size_t)larger(source.size, 1), in_files);
    if (why == NULL && t->media.bytes != NULL && t->media.set->media_size > LARGE)
        why = media_truth_pieces(&t->media, &source, MIB + 4096, in_files);
    if (why == NULL) why = media_truth_at_once(&t->media, &source, pool, 12, in_files);
    if (why == NULL) why = media_truth_extents(&t->media, &source, in_files);
    if (why == NULL) why = check_warnings(image, t);
    return why;
}

static vmdk_read_desc desc_for(const vmdk_build_variant *v)
{
    vmdk_read_desc d;
    memset(&d, 0, sizeof d);
    if (v->needs & VMDK_BUILD_ALONE) d.flags |= VMDK_READ_ALONE;
    if (v->needs & VMDK_BUILD_STALE) d.flags |= VMDK_READ_STALE_JOURNAL;
    return d;
}

/* What both ways to open have in common. */
static void finish_variant(const truth *t, const char *how, vmdk_read *image, posio_result r,
                           const posio_error *err, thread_pool *pool, int in_files)
{
    const char *why = media_truth_judge_open(t->variant->open, t->variant->mentions, r, err,
                                             in_files);
    if (why == NULL && r == POSIO_OK) {
        why = check_image(image, t, pool, in_files);
        err = NULL;
    }
    if (why != NULL) blame(t->variant->name, how, why, r != POSIO_OK ? err : NULL);
}

/* From memory, on the calling thread, with a cache that is too small. */
static void variant_in_memory(const truth *t, thread_pool *callers)
{
    const vmdk_build_variant *v = t->variant;
    vmdk_read_desc d = desc_for(v);
    vmdk_read *image = NULL;
    tally used;
    shelf s;
    posio_error err;
    posio_result r;
    d.alloc = tally_of(&used);
    d.cache_bytes = 100000;
    shelf_make(&s, t->made, &d);
    memset(&err, 0, sizeof err);
    r = shelf_open(&s, &image, &err);
    if (r == POSIO_OK || s.refused == 0)
        finish_variant(t, "in memory", image, r, &err, callers, 0);
    else if (strcmp(v->open, "OK") == 0) blame(v->name, "in memory", "a file is missing", &err);
    if (shelf_close(&s, image) != 0) blame(v->name, "in memory", "a file stays open", NULL);
    if (tally_end(&used) != 0) blame(v->name, "in memory", "a leak", NULL);
}

/* From files, with a pool of 16 threads. */
static void variant_in_files(const truth *t, thread_pool *pool)
{
    const vmdk_build_variant *v = t->variant;
    vmdk_read_desc d = desc_for(v);
    vmdk_read *image = NULL;
    tally used;
    posio_error err;
    posio_result r;
    d.alloc = tally_of(&used);
    d.pool = pool;
    memset(&err, 0, sizeof err);
    if (image_build_write(&t->made->set, in("v")) != 0)
        blame(v->name, "in files", "cannot be written", NULL);
    r = vmdk_read_open(&image, in("v/image.vmdk"), &d, &err);
    finish_variant(t, "in files", image, r, &err, pool, 1);
    vmdk_read_close(image);
    image_build_unwrite(&t->made->set, in("v"));
    if (tally_end(&used) != 0) blame(v->name, "in files", "a leak", NULL);
    if (used.peak > 64 * MIB + t->made->disks * 4 * MIB)
        blame(v->name, "in files", "too much memory", NULL);
}

/* Beyond 4 GiB, and where sparse files are not to be had, files cost too much. Windows knows no
   names of bytes that are no text, none that end with a space. */
static int fits_in_files(const vmdk_build_variant *v)
{
#if defined(_WIN32)
    return (v->needs & VMDK_BUILD_HUGE_FILE) == 0 && strcmp(v->name, "encoding-utf8-bad") != 0 &&
           strncmp(v->name, "name-", 5) != 0 && strncmp(v->name, "encoding-", 9) != 0;
#else
    (void)v;
    return 1;
#endif
}

TEST(every_variant_in_memory_and_in_files)
{
    thread_pool *pool = thread_pool_create(16);
    size_t i;
    for (i = 0; i < vmdk_build_variant_count(); i++) {
        const vmdk_build_variant *v = &vmdk_build_variants[i];
        vmdk_build b;
        truth t;
        vmdk_build_make(&b, v);
        truth_make(&t, &b, v);
        variant_in_memory(&t, pool);
        if (fits_in_files(v)) variant_in_files(&t, pool);
        media_truth_free(&t.media);
        vmdk_build_free(&b);
    }
    thread_pool_destroy(pool);
}

/* ------------------------------------------------------------------ cut files, flipped bits */

/* A descriptor that is cut says something else, and may be right. */
static int is_text(const truth *t, size_t file)
{
    char begin[4] = {0};
    size_t i;
    for (i = 0; i < t->made->disks; i++) {
        if (t->made->disk[i]->f != &t->media.set->file[file]) continue;
        image_build_read(&t->media.set->file[file], 0, begin, sizeof begin);
        return begin[0] == '#' || begin[0] == ' ' || begin[0] == '\xef';
    }
    return 0;
}

/* A file of the set ends at `size`. */
static void cut_image(const truth *t, size_t file, uint64_t size)
{
    const vmdk_build_variant *v = t->variant;
    vmdk_read_desc d = desc_for(v);
    vmdk_read *image = NULL;
    const char *why = NULL;
    char how[60];
    tally used;
    shelf s;
    posio_error err;
    posio_result r;
    d.alloc = tally_of(&used);
    d.cache_bytes = 100000;
    shelf_make(&s, t->made, &d);
    s.files.cut_file = file;
    s.files.cut = size;
    memset(&err, 0, sizeof err);
    r = shelf_open(&s, &image, &err);
    if (r != POSIO_OK) {
        if (r != POSIO_E_DATA && r != POSIO_E_FORMAT && r != POSIO_E_UNSUPPORTED &&
            r != POSIO_E_MISSING && r != POSIO_E_NOT_FOUND && r != POSIO_E_POLICY)
            why = "opening ends with a strange code";
        else if (err.code != r || err.message[0] == 0) why = "an error without a message";
    } else if (!is_text(t, file)) {
        posio_source source = vmdk_read_source(image);
        size_t step = (size_t)larger(t->media.set->media_size / 40, 700);
        why = media_truth_what_reads(&t->media, &source, step);
    }
    if (shelf_close(&s, image) != 0) why = "a file stays open";
    if (tally_end(&used) != 0) why = "a leak";
    snprintf(how, sizeof how, "file %u cut at %llu", (unsigned)file, (unsigned long long)size);
    if (why != NULL) blame(v->name, how, why, r != POSIO_OK ? &err : NULL);
}

static void cut_variant(const truth *t)
{
    const image_build *s = t->media.set;
    size_t i, k, step, most;
    for (k = 0; k < s->files; k++) {
        const uint64_t size = s->file[k].size;
        most = size > MIB / 2 ? 6 : k == 0 ? 40 : 16;
        for (i = 1; i < most / 2; i++) cut_image(t, k, size / (most / 2) * i + i);
        for (i = 0; i < 4; i++)
            if (size > i) cut_image(t, k, i == 0 ? 0 : size - i);
        if (k != 0) continue;
        step = s->borders / most + 1;
        for (i = 0; i < s->borders; i += step) {
            if (s->border[i] > 0) cut_image(t, k, s->border[i] - 1);
            cut_image(t, k, s->border[i]);
            if (s->border[i] + 1 < size) cut_image(t, k, s->border[i] + 1);
        }
    }
}

/* Whatever is damaged anyway may be misled by what is cut besides. */
static int is_whole(const vmdk_build *b)
{
    size_t i;
    for (i = 0; i < b->set.run_count; i++)
        if (b->set.run[i].reads != IMAGE_BUILD_READS) return 0;
    return 1;
}

TEST(files_end_anywhere)
{
    size_t i;
    for (i = 0; i < vmdk_build_variant_count(); i += TEST_STRIDE) {
        const vmdk_build_variant *v = &vmdk_build_variants[i];
        vmdk_build b;
        truth t;
        if (strcmp(v->open, "OK") != 0 || (v->needs & VMDK_BUILD_HUGE_FILE)) continue;
        vmdk_build_make(&b, v);
        truth_make(&t, &b, v);
        if (is_whole(&b) && t.media.bytes != NULL && b.set.media_size <= LARGE) cut_variant(&t);
        media_truth_free(&t.media);
        vmdk_build_free(&b);
    }
}

/* Reads, extents, values: they may say anything. */
static const char *use_whatever_opens(vmdk_read *image, uint32_t *reads)
{
    posio_source source = vmdk_read_source(image);
    const char *why = media_truth_use(&source);
    vmdk_read_extent extent;
    vmdk_read_warning w;
    uint64_t at = 0;
    char text[40];
    uint32_t i;
    if (why != NULL) return why;
    for (i = 0; vmdk_read_get_extent(image, i, &extent) == POSIO_OK; i++) at += extent.size;
    if (at != source.size) return "extents do not cover the media";
    (void)vmdk_read_get_value(image, "ddb.adapterType", text, sizeof text);
    for (i = 0; vmdk_read_get_warning(image, i, &w) == POSIO_OK; i++)
        if (w.message[0] == 0) return "an empty warning";
    return posio_atomic_load(reads) > 300000 ? "it reads and reads" : NULL;
}

/* Every bit of a stretch of a file, one after the other. */
static void flip_bits(const char *name, size_t file, uint64_t from, uint64_t to)
{
    const vmdk_build_variant *v = vmdk_build_variant_of(name);
    vmdk_build b;
    uint64_t bit;
    if (v == NULL) image_build_die(name);
    vmdk_build_make(&b, v);
    if (to > b.set.file[file].size) to = b.set.file[file].size;
    for (bit = from * 8; bit < to * 8; bit += TEST_STRIDE) {
        vmdk_read_desc d = desc_for(v);
        vmdk_read *image = NULL;
        const char *why = NULL;
        uint32_t reads = 0;
        uint8_t was, now;
        tally used;
        shelf on;
        posio_error err;
        posio_result r;
        image_build_read(&b.set.file[file], bit / 8, &was, 1);
        now = (uint8_t)(was ^ 1u << bit % 8);
        image_build_put(&b.set.file[file], bit / 8, &now, 1);
        d.alloc = tally_of(&used);
        d.cache_bytes = 100000;
        shelf_make(&on, &b, &d);
        on.files.count = &reads;
        memset(&err, 0, sizeof err);
        r = shelf_open(&on, &image, &err);
        if (r == POSIO_OK) why = use_whatever_opens(image, &reads);
        else if (err.code != r || err.message[0] == 0) why = "an error without a message";
        else if (r == POSIO_E_IO || r == POSIO_E_NOMEM || r == POSIO_E_ARG || r == POSIO_E_RANGE)
            why = "opening ends with a strange code";
        if (shelf_close(&on, image) != 0) why = "a file stays open";
        if (used.peak > 48 * MIB) why = "too much memory";
        if (tally_end(&used) != 0) why = "a leak";
        image_build_put(&b.set.file[file], bit / 8, &was, 1);
        if (why != NULL) {
            printf("  bit %llu\n", (unsigned long long)bit);
            blame(name, "a bit is flipped", why, r != POSIO_OK ? &err : NULL);
        }
    }
    vmdk_build_free(&b);
}

TEST(every_bit_of_the_headers_flips)
{
    const vmdk_build_variant *v = vmdk_build_variant_of("stream-footer");
    vmdk_build b;
    uint64_t footer;
    flip_bits("sparse", 0, 0, 96);
    flip_bits("sparse-v2", 0, 0, 80);
    flip_bits("sparse-no-descriptor", 0, 0, 80);
    flip_bits("stream-header", 0, 0, 80);
    flip_bits("stream-footer", 0, 0, 80);
    flip_bits("stream-walk", 0, 0, 80);
    flip_bits("cowd", 1, 0, 44);
    flip_bits("sesparse", 1, 0, 208);
    flip_bits("sesparse", 1, 512, 544);
    vmdk_build_make(&b, v); /* the markers and the footer at the end of a stream */
    footer = b.disk[0]->extent[0]->footer_at;
    vmdk_build_free(&b);
    flip_bits("stream-footer", 0, footer - 512, footer - 496);
    flip_bits("stream-footer", 0, footer, footer + 80);
    flip_bits("stream-footer", 0, footer + 512, footer + 528);
}

TEST(every_bit_of_descriptors_flips)
{
    flip_bits("delta-flat", 0, 512, 900);
    flip_bits("kinds-100", 0, 0, 600);
    flip_bits("encoding-windows-1252", 0, 0, 400);
    flip_bits("parent-long", 0, 512, 1000);
}

/* ------------------------------------------------------------------ threads */

typedef struct hot {
    vmdk_read *image;
    uint64_t at;
} hot;

static posio_result read_hot(void *user, uint32_t i, posio_error *err)
{
    const hot *h = (const hot *)user;
    char buf[64];
    return vmdk_read_at(h->image, h->at + i * sizeof buf, buf, sizeof buf, err);
}

/* A grain that 16 threads want is read once: what is read, is read by one of them. */
TEST(a_hot_grain_is_read_once)
{
    thread_pool *callers = thread_pool_create(16);
    uint32_t alone = 0, together = 0;
    vmdk_read_desc d;
    vmdk_build b;
    int k;
    vmdk_build_make(&b, vmdk_build_variant_of("stream-footer"));
    d = desc_for(vmdk_build_variant_of("stream-footer"));
    for (k = 0; k < 2; k++) {
        shelf on;
        hot h;
        shelf_make(&on, &b, &d);
        REQUIRE(shelf_open(&on, &h.image, NULL) == POSIO_OK);
        h.at = 2 * VMDK_BUILD_GRAIN;
        on.files.count = k == 0 ? &alone : &together;
        if (k == 0) CHECK_EQ(read_hot(&h, 0, NULL), POSIO_OK);
        else CHECK_EQ(thread_pool_parallel_for(callers, 16, read_hot, &h, NULL), POSIO_OK);
        CHECK_EQ(shelf_close(&on, h.image), 0);
    }
    CHECK(alone >= 1 && alone <= 4);
    CHECK_EQ(together, alone);
    vmdk_build_free(&b);
    thread_pool_destroy(callers);
}

/* 16 callers on a pool of their own, reads cut for another, in caches of one or two grains. */
TEST(many_threads_read_the_same_bytes)
{
    static const char *const names[] = {"sparse", "tables", "stream-footer", "tables-stream",
                                        "stream-walk", "kinds-333", "delta-5", "sesparse",
                                        "split-sparse", "rgd-table-lost", "packed-two-blocks"};
    thread_pool *callers = thread_pool_create(16), *lent = thread_pool_create(3);
    size_t i;
    for (i = 0; i < 2 * COUNT(names); i++) {
        const vmdk_build_variant *v = vmdk_build_variant_of(names[i / 2]);
        vmdk_read *image = NULL;
        vmdk_read_desc d;
        vmdk_build b;
        shelf on;
        truth t;
        posio_source source;
        REQUIRE(v != NULL);
        vmdk_build_make(&b, v);
        truth_make(&t, &b, v);
        d = desc_for(v);
        d.pool = i % 2 != 0 ? lent : callers;
        d.cache_bytes = 20000;
        shelf_make(&on, &b, &d);
        REQUIRE(shelf_open(&on, &image, NULL) == POSIO_OK);
        source = vmdk_read_source(image);
        CHECK_STR(media_truth_at_once(&t.media, &source, callers, 60, 0), NULL);
        CHECK_EQ(shelf_close(&on, image), 0);
        media_truth_free(&t.media);
        vmdk_build_free(&b);
    }
    thread_pool_destroy(callers);
    thread_pool_destroy(lent);
}

/* ------------------------------------------------------------------ chains and policy */

/* One file of a chain: "c<i>.vmdk", grains of a sector, its own data in grain i. */
static void write_link(uint32_t i, const char *parent, uint32_t parent_cid)
{
    vmdk_build_options o = vmdk_build_none();
    vmdk_build_disk *d;
    vmdk_build_extent *e;
    vmdk_build b;
    char name[40], path[60];
    memset(&b, 0, sizeof b);
    snprintf(name, sizeof name, "c%u.vmdk", (unsigned)i);
    snprintf(path, sizeof path, "v/%s", name);
    o.grain = 1;
    d = vmdk_build_begin(&b, name, "monolithicSparse");
    d->cid = 0x1000 + i;
    d->parent_cid = parent_cid;
    d->hint = parent;
    e = vmdk_build_sparse(d, name, 100, &o);
    vmdk_build_data(e, i, IMAGE_BUILD_FILL + i + 1);
    vmdk_build_finish(d);
    CHECK_EQ(image_build_write_file(&b.set.file[0], in(path)), 0);
    vmdk_build_free(&b);
}

static void remove_links(uint32_t n)
{
    char path[60];
    uint32_t i;
    for (i = 0; i < n; i++) {
        snprintf(path, sizeof path, "v/c%u.vmdk", (unsigned)i);
        (void)remove(in(path));
    }
}

static void write_chain(uint32_t n)
{
    char parent[40];
    uint32_t i;
    for (i = 0; i < n; i++) {
        snprintf(parent, sizeof parent, "c%u.vmdk", (unsigned)(i + 1));
        write_link(i, i + 1 < n ? parent : NULL, i + 1 < n ? 0x1001 + i : 0xffffffffu);
    }
}

TEST(chains_have_a_limit)
{
    static uint8_t media[100 * 512];
    vmdk_read *image = NULL;
    vmdk_read_desc d;
    posio_error err;
    uint32_t i;
    memset(&d, 0, sizeof d);
    write_chain(POSIO_LAYERS);
    REQUIRE(vmdk_read_open(&image, in("v/c0.vmdk"), &d, &err) == POSIO_OK);
    CHECK_EQ(vmdk_read_at(image, 0, media, sizeof media, &err), POSIO_OK);
    for (i = 0; i < 100; i++) CHECK_EQ(media[i * 512 + 7], i < POSIO_LAYERS ? i + 1 : 0);
    vmdk_read_close(image);
    image = NULL;
    write_chain(POSIO_LAYERS + 1);
    CHECK_EQ((int64_t)vmdk_read_open(&image, in("v/c0.vmdk"), &d, &err), POSIO_E_LIMIT);
    CHECK(strstr(err.message, "64") != NULL);
    CHECK(image == NULL);
    d.flags = VMDK_READ_ALONE;
    CHECK_EQ(vmdk_read_open(&image, in("v/c0.vmdk"), &d, &err), POSIO_OK);
    CHECK_EQ(vmdk_read_at(image, 0, media, sizeof media, &err), POSIO_OK);
    for (i = 0; i < 100; i++) CHECK_EQ(media[i * 512 + 7], i == 0 ? 1 : 0);
    vmdk_read_close(image);
    remove_links(POSIO_LAYERS + 1);
}

TEST(circles_are_refused)
{
    vmdk_read *image = NULL;
    posio_error err;
    write_link(0, "c1.vmdk", 0x1001);
    write_link(1, "c2.vmdk", 0x1002);
    write_link(2, "c0.vmdk", 0x1000);
    CHECK_EQ((int64_t)vmdk_read_open(&image, in("v/c0.vmdk"), NULL, &err), POSIO_E_DATA);
    CHECK(strstr(err.message, "circle") != NULL);
    CHECK(strstr(err.file, "c2.vmdk") != NULL);
    write_link(0, "c0.vmdk", 0x1000);
    CHECK_EQ((int64_t)vmdk_read_open(&image, in("v/c0.vmdk"), NULL, &err), POSIO_E_DATA);
    CHECK(strstr(err.message, "itself") != NULL);
#if !defined(_WIN32)
    REQUIRE(symlink("c0.vmdk", in("v/link")) == 0);
    write_link(0, "link", 0x1000);
    CHECK_EQ((int64_t)vmdk_read_open(&image, in("v/c0.vmdk"), NULL, &err), POSIO_E_DATA);
    (void)remove(in("v/link"));
    write_link(0, "hard", 0x1000);
    REQUIRE(link(in("v/c0.vmdk"), in("v/hard")) == 0);
    CHECK_EQ((int64_t)vmdk_read_open(&image, in("v/c0.vmdk"), NULL, &err), POSIO_E_DATA);
    (void)remove(in("v/hard"));
#endif
    CHECK(image == NULL);
    remove_links(3);
}

/* Writes "v/d.vmdk" with one extent line, opens it and reads a byte of that extent. */
static posio_result open_line(const char *line, const vmdk_read_desc *d, int *byte,
                              posio_error *err)
{
    char text[2048];
    vmdk_read *image = NULL;
    uint8_t got = 0;
    posio_result r;
    memset(err, 0, sizeof *err);
    *byte = -1;
    snprintf(text, sizeof text,
             "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
             "createType=\"custom\"\n%s\n",
             line);
    if (!put(in("v/d.vmdk"), text, strlen(text))) image_build_die("cannot write");
    r = vmdk_read_open(&image, in("v/d.vmdk"), d, err);
    if (r == POSIO_OK) r = vmdk_read_at(image, 600, &got, 1, err);
    if (r == POSIO_OK) *byte = got;
    vmdk_read_close(image);
    return r;
}

static posio_result open_extent(const char *name, const vmdk_read_desc *d, int *byte,
                                posio_error *err)
{
    char line[1800];
    snprintf(line, sizeof line, "RW 4 FLAT \"%s\" 0", name);
    return open_line(line, d, byte, err);
}

TEST(stored_names_stay_in_the_folder)
{
    static uint8_t raw[4096];
    vmdk_read_desc d;
    posio_error err;
    posio_result r;
    char full[1700];
    int byte;
    memset(&d, 0, sizeof d);
    d.allow = POSIO_ALLOW_OUTSIDE;
    memset(raw, 0x5a, sizeof raw);
    REQUIRE(put(in("outside.raw"), raw, sizeof raw) && put(in("v/base.raw"), raw, sizeof raw));
    CHECK_EQ(open_extent("base.raw", NULL, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 0x5a);
    CHECK_EQ((int64_t)open_extent("../outside.raw", NULL, &byte, &err), POSIO_E_POLICY);
    CHECK(strstr(err.message, "POSIO_ALLOW_OUTSIDE") != NULL);
    CHECK(err.file[0] != 0 && err.segment == 1);
    CHECK_EQ(open_extent("../outside.raw", &d, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 0x5a);
    CHECK_EQ((int64_t)open_extent("absent.raw", NULL, &byte, &err), POSIO_E_MISSING);
    CHECK(strstr(err.message, "absent.raw") != NULL);
#if !defined(_WIN32)
    snprintf(full, sizeof full, "%s", in("outside.raw"));
    if (full[0] == '/') {
        CHECK_EQ((int64_t)open_extent(full, NULL, &byte, &err), POSIO_E_POLICY);
        CHECK_EQ(open_extent(full, &d, &byte, &err), POSIO_OK);
        CHECK_EQ(byte, 0x5a);
    }
    REQUIRE(symlink("../outside.raw", in("v/out")) == 0 && symlink("base.raw", in("v/in")) == 0);
    CHECK_EQ((int64_t)open_extent("out", NULL, &byte, &err), POSIO_E_POLICY);
    CHECK_EQ(open_extent("out", &d, &byte, &err), POSIO_OK);
    CHECK_EQ(open_extent("in", NULL, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 0x5a);
    CHECK_EQ((int64_t)open_extent("/dev/zero", NULL, &byte, &err), POSIO_E_POLICY);
    CHECK((r = open_extent("/dev/zero", &d, &byte, &err)) == POSIO_E_POLICY ||
          r == POSIO_E_UNSUPPORTED);
    (void)remove(in("v/out"));
    (void)remove(in("v/in"));
#else
    (void)full;
    (void)r;
#endif
    (void)remove(in("outside.raw"));
    (void)remove(in("v/base.raw"));
    (void)remove(in("v/d.vmdk"));
}

/* Names of parents are tried as they are and beside the image, and lead nowhere else. */
TEST(parents_are_sought_beside_the_image)
{
    vmdk_read *image = NULL;
    vmdk_read_desc d;
    posio_error err;
    uint8_t got[2];
    memset(&d, 0, sizeof d);
    write_link(1, NULL, 0xffffffffu);
    write_link(0, "/nowhere/at/all/c1.vmdk", 0x1001);
    REQUIRE(vmdk_read_open(&image, in("v/c0.vmdk"), NULL, &err) == POSIO_OK);
    CHECK_EQ(vmdk_read_at(image, 600, got, 2, &err), POSIO_OK);
    CHECK_EQ(got[0], 2);
    CHECK_EQ(vmdk_read_info(image)->has_parent, 1);
    CHECK_EQ(vmdk_read_info(image)->parent_mismatch, 0);
    CHECK_STR(vmdk_read_info(image)->parent_name, "/nowhere/at/all/c1.vmdk");
    CHECK_STR(vmdk_read_info(image)->identity, "00001000");
    vmdk_read_close(image);
    image = NULL;
    write_link(0, "c1.vmdk", 0x1002);
    REQUIRE(vmdk_read_open(&image, in("v/c0.vmdk"), NULL, &err) == POSIO_OK);
    CHECK_EQ(vmdk_read_info(image)->parent_mismatch, 1);
    vmdk_read_close(image);
    image = NULL;
    write_link(0, "../c1.vmdk", 0x1001); /* one level up there is another, with the wrong bytes */
    REQUIRE(put(in("c1.vmdk"), "not this one", 12));
    REQUIRE(vmdk_read_open(&image, in("v/c0.vmdk"), NULL, &err) == POSIO_OK);
    vmdk_read_close(image);
    image = NULL;
    (void)remove(in("c1.vmdk"));
    (void)remove(in("v/c1.vmdk"));
    CHECK_EQ((int64_t)vmdk_read_open(&image, in("v/c0.vmdk"), NULL, &err), POSIO_E_POLICY);
    CHECK(image == NULL && strstr(err.message, "c1.vmdk") != NULL);
    write_link(0, "c1.vmdk", 0x1001);
    CHECK_EQ((int64_t)vmdk_read_open(&image, in("v/c0.vmdk"), NULL, &err), POSIO_E_MISSING);
    CHECK(image == NULL && strstr(err.message, "c1.vmdk") != NULL);
    d.flags = VMDK_READ_ALONE;
    CHECK_EQ(vmdk_read_open(&image, in("v/c0.vmdk"), &d, &err), POSIO_OK);
    vmdk_read_close(image);
    remove_links(2);
}

/* A resolver of the caller: one parent from memory with an identity, and one failure. */
typedef struct exotic {
    posio_memory memory;
    const char *identity;
    posio_result result;
    uint32_t asked;
} exotic;

static posio_result exotic_open(void *self, const posio_reference *reference, posio_source *out,
                                posio_error *err)
{
    exotic *x = (exotic *)self;
    x->asked++;
    if (reference->kind == POSIO_REFERENCE_PARENT && x->result == POSIO_OK) {
        *out = posio_memory_source(&x->memory);
        if (reference->identity != NULL) strcpy(reference->identity, x->identity);
        return POSIO_OK;
    }
    (void)posio_fail(err, x->result, 77, "not for you: %s", reference->name);
    return posio_fail_in(err, "its.file", 3), x->result;
}

TEST(resolvers_open_any_format_and_their_errors_pass)
{
    static uint8_t raw[1000];
    posio_resolver resolver;
    vmdk_read *image = NULL;
    vmdk_read_desc d;
    posio_error err;
    uint8_t got[2];
    exotic x;
    memset(&d, 0, sizeof d);
    memset(&x, 0, sizeof x);
    memset(raw, 0x44, sizeof raw);
    x.memory.data = raw;
    x.memory.size = sizeof raw;
    x.identity = "00001001";
    resolver.open = exotic_open;
    resolver.self = &x;
    d.resolver = &resolver;
    write_link(0, "parent.exotic", 0x1001);
    REQUIRE(vmdk_read_open(&image, in("v/c0.vmdk"), &d, &err) == POSIO_OK);
    CHECK_EQ(vmdk_read_at(image, 999, got, 2, &err), POSIO_OK);
    CHECK_EQ(got[0], 0x44);
    CHECK_EQ(got[1], 0); /* behind the end of the parent */
    CHECK_EQ(vmdk_read_info(image)->parent_mismatch, 0);
    vmdk_read_close(image);
    image = NULL;
    x.identity = "00009999";
    REQUIRE(vmdk_read_open(&image, in("v/c0.vmdk"), &d, &err) == POSIO_OK);
    CHECK_EQ(vmdk_read_info(image)->parent_mismatch, 1);
    vmdk_read_close(image);
    image = NULL;
    x.result = POSIO_E_ACCESS;
    CHECK_EQ((int64_t)vmdk_read_open(&image, in("v/c0.vmdk"), &d, &err), POSIO_E_ACCESS);
    CHECK_EQ(err.code, POSIO_E_ACCESS);
    CHECK_EQ(err.offset, 77);
    CHECK_STR(err.file, "its.file");
    CHECK(strstr(err.message, "parent.exotic") != NULL);
    CHECK(image == NULL);
    x.asked = 0;
    d.flags = VMDK_READ_ALONE;
    CHECK_EQ(vmdk_read_open(&image, in("v/c0.vmdk"), &d, &err), POSIO_OK);
    CHECK_EQ(x.asked, 0);
    vmdk_read_close(image);
    remove_links(1);
}

/* Warnings of parents that are found without the caller's help are not lost. */
TEST(warnings_of_parents_are_shown)
{
    vmdk_read *image = NULL;
    vmdk_read_warning w;
    uint32_t i;
    int found = 0;
    write_link(2, NULL, 0xffffffffu);
    write_link(1, "c2.vmdk", 0x7777);
    write_link(0, "c1.vmdk", 0x1001);
    REQUIRE(vmdk_read_open(&image, in("v/c0.vmdk"), NULL, NULL) == POSIO_OK);
    CHECK_EQ(vmdk_read_info(image)->parent_mismatch, 0);
    for (i = 0; vmdk_read_get_warning(image, i, &w) == POSIO_OK; i++)
        found += strncmp(w.message, "c1.vmdk: the parent has content ID", 34) == 0;
    CHECK_EQ(found, 1);
    CHECK_EQ(i, 1);
    vmdk_read_close(image);
    remove_links(3);
}

TEST(the_newest_warning_tells_of_those_left_out)
{
    static char text[8000];
    vmdk_read *image = NULL;
    vmdk_read_warning w;
    uint32_t i;
    snprintf(text, sizeof text, "# Disk DescriptorFile\nversion=1\nCID=12345678\n"
                                "parentCID=ffffffff\ncreateType=\"custom\"\n");
    for (i = 0; i < 40; i++) strcat(text, "NOACCESS 8 FLAT \"a.raw\" 0\n");
    REQUIRE(put(in("v/d.vmdk"), text, strlen(text)));
    REQUIRE(vmdk_read_open(&image, in("v/d.vmdk"), NULL, NULL) == POSIO_OK);
    for (i = 0; vmdk_read_get_warning(image, i, &w) == POSIO_OK; i++) {
        if (i < 31) CHECK_EQ(w.segment, i + 1);
    }
    CHECK_EQ(i, 32);
    CHECK_EQ(w.segment, 40);
    CHECK(strstr(w.message, "8") != NULL && strstr(w.message, "left out") != NULL);
    CHECK(strstr(w.message, "NOACCESS") != NULL);
    vmdk_read_close(image);
    (void)remove(in("v/d.vmdk"));
}

/* A name of no characters is copied as any other. */
TEST(an_empty_name_is_copied)
{
    vmdk_read *image = NULL;
    vmdk_build b;
    shelf on;
    vmdk_read_desc d;
    posio_source source;
    posio_error err;
    char name[2] = "";
    uint8_t byte;
    memset(&d, 0, sizeof d);
    vmdk_build_make(&b, vmdk_build_variant_of("sparse"));
    shelf_make(&on, &b, &d);
    source = image_shelf_source(&on.files, 0);
    d.name = name;
    REQUIRE(vmdk_read_open_source(&image, &source, &d, &err) == POSIO_OK);
    name[0] = 'x';
    CHECK_EQ((int64_t)vmdk_read_at(image, vmdk_read_info(image)->media_size, &byte, 1, &err),
             POSIO_E_RANGE);
    CHECK_STR(err.file, "");
    vmdk_read_close(image);
    vmdk_build_free(&b);
}

/* A delta with every second grain, on a parent that is asked for its extents once. */
TEST(the_parents_extents_are_asked_once)
{
    static uint8_t raw[100 * 512];
    vmdk_build_options o = vmdk_build_none();
    posio_memory memory;
    posio_resolver resolver;
    posio_source source;
    posio_extent e;
    vmdk_read *image = NULL;
    vmdk_read_desc desc;
    vmdk_build_disk *d;
    vmdk_build_extent *x;
    vmdk_build b;
    watched w;
    uint64_t at;
    uint32_t i;
    memset(&b, 0, sizeof b);
    memset(&w, 0, sizeof w);
    memset(&desc, 0, sizeof desc);
    memory.data = raw;
    memory.size = sizeof raw;
    w.below = posio_memory_source(&memory);
    strcpy(w.identity, "00001001");
    resolver.open = watched_open;
    resolver.self = &w;
    desc.resolver = &resolver;
    o.grain = 1;
    d = vmdk_build_begin(&b, "c0.vmdk", "monolithicSparse");
    d->cid = 0x1000;
    d->parent_cid = 0x1001;
    d->hint = "base";
    x = vmdk_build_sparse(d, "c0.vmdk", 100, &o);
    for (i = 0; i < 100; i += 2) vmdk_build_data(x, i, IMAGE_BUILD_FILL + 1);
    vmdk_build_finish(d);
    REQUIRE(image_build_write_file(&b.set.file[0], in("v/c0.vmdk")) == 0);
    vmdk_build_free(&b);
    REQUIRE(vmdk_read_open(&image, in("v/c0.vmdk"), &desc, NULL) == POSIO_OK);
    source = vmdk_read_source(image);
    w.extents = 0;
    for (at = 0; at < source.size; at += e.length) {
        REQUIRE(posio_extent_of(&source, at, &e, NULL) == POSIO_OK && e.length != 0);
        CHECK_EQ(e.kind, POSIO_EXTENT_DATA);
    }
    CHECK_EQ(w.extents, 1);
    vmdk_read_close(image);
    remove_links(1);
}

/* ------------------------------------------------------------------ damage, one by one */

/* A sparse extent of 20 grains of a sector, of which the first four hold 1, 2, 3, 4. */
static vmdk_build_extent *make_four(vmdk_build *b, uint32_t flags)
{
    vmdk_build_options o = vmdk_build_none();
    vmdk_build_disk *d;
    vmdk_build_extent *e;
    uint32_t i;
    memset(b, 0, sizeof *b);
    o.grain = 1;
    o.flags = flags;
    d = vmdk_build_begin(b, "four.vmdk", flags & VMDK_BUILD_STREAM ? "streamOptimized"
                                                                   : "monolithicSparse");
    d->cid = 0x1000;
    d->parent_cid = 0xffffffffu;
    e = vmdk_build_sparse(d, "four.vmdk", 20, &o);
    for (i = 0; i < 4; i++) vmdk_build_data(e, i, IMAGE_BUILD_FILL + i + 1);
    vmdk_build_finish(d);
    return e;
}

/* Writes it, opens it, and says which of the four grains can be read: "1234", with ! for an error
   of damage and ? for wrong bytes. warning: room for the first that holds `word`. */
static const char *read_four(vmdk_build *b, const char *word, vmdk_read_warning *warning)
{
    static char seen[5];
    vmdk_read *image = NULL;
    vmdk_read_warning w;
    posio_error err;
    uint8_t got[512];
    uint32_t i;
    memset(warning, 0, sizeof *warning);
    if (image_build_write_file(&b->set.file[0], in("v/four.vmdk")) != 0) return "not written";
    vmdk_build_free(b);
    if (vmdk_read_open(&image, in("v/four.vmdk"), NULL, &err) != POSIO_OK) {
        printf("    %s\n", err.message);
        return "not opened";
    }
    for (i = 0; i < 4; i++) {
        posio_result r = vmdk_read_at(image, i * 512, got, 512, &err);
        seen[i] = r == POSIO_E_DATA ? '!' : r != POSIO_OK || got[0] != i + 1 ? '?' : (char)('1' + i);
    }
    for (i = 0; vmdk_read_get_warning(image, i, &w) == POSIO_OK; i++)
        if (warning->message[0] == 0 && strstr(w.message, word) != NULL) *warning = w;
    vmdk_read_close(image);
    (void)remove(in("v/four.vmdk"));
    return seen;
}

/* Each entry of a grain table comes from the directory that has a good one. */
TEST(redundant_tables_merge_by_entry)
{
    vmdk_read_warning w;
    vmdk_build_extent *e;
    vmdk_build b;
    e = make_four(&b, 0); /* the first table lost an entry, the copy lacks two */
    image_build_put_le(e->f, vmdk_build_gte_at(e, 0), 0x7fffffff, 4);
    image_build_put_le(e->f, vmdk_build_rgte_at(e, 2), 0, 8);
    CHECK_STR(read_four(&b, "redundant", &w), "1234");
    CHECK_EQ(w.segment, 0);
    CHECK(w.message[0] != 0);
    e = make_four(&b, 0); /* the first table is gone, and the copy has a bad entry */
    image_build_put_le(e->f, e->gd_at, 0, 4);
    image_build_put_le(e->f, vmdk_build_rgte_at(e, 0), 0x7fffffff, 4);
    CHECK_STR(read_four(&b, "redundant", &w), "!234");
    CHECK(w.message[0] != 0);
}

/* The header names a place within the data as that of the redundant directory. */
TEST(a_wrong_place_of_the_redundant_directory_costs_nothing)
{
    vmdk_read_warning w;
    vmdk_build_extent *e;
    vmdk_build b;
    uint32_t i;
    for (i = 0; i < 4; i++) {
        e = make_four(&b, 0);
        image_build_put_le(e->f, 48, e->grain[i].at / 512, 8);
        CHECK_STR(read_four(&b, "redundant", &w), "1234");
        CHECK_EQ(w.offset, 48);
    }
    e = make_four(&b, 0); /* it is the first table */
    image_build_put_le(e->f, 48, e->table[0] / 512, 8);
    CHECK_STR(read_four(&b, "redundant", &w), "1234");
}

/* An entry of 1 in a grain directory is no table of zeros, though one in a table is a grain of
   them. */
TEST(a_directory_entry_of_1_is_damage)
{
    vmdk_read_warning w;
    vmdk_build_extent *e;
    vmdk_build b;
    e = make_four(&b, VMDK_BUILD_ZEROED);
    image_build_put_le(e->f, e->gd_at, 1, 4);
    CHECK_STR(read_four(&b, "redundant", &w), "1234");
    CHECK(w.message[0] != 0);
    e = make_four(&b, VMDK_BUILD_ZEROED | VMDK_BUILD_NO_RGD);
    image_build_put_le(e->f, e->gd_at, 1, 4);
    CHECK_STR(read_four(&b, "redundant", &w), "!!!!");
}

/* A stream without a directory: where its grains begin is not what the header says. */
TEST(a_map_is_rebuilt_though_the_overhead_is_wrong)
{
    static const uint64_t wrong[] = {0, 1, 2, 22, 23, 24, 26, 28, 1 << 21, UINT64_MAX};
    vmdk_read_warning w;
    vmdk_build_extent *e;
    vmdk_build b;
    size_t i;
    for (i = 0; i < COUNT(wrong); i++) {
        e = make_four(&b, VMDK_BUILD_STREAM | VMDK_BUILD_NO_TABLES);
        image_build_put_le(e->f, 64, wrong[i], 8);
        CHECK_STR(read_four(&b, "rebuilt", &w), "1234");
        CHECK(w.message[0] != 0);
    }
    for (i = 1; i < 4; i++) { /* the first grains lie before it */
        e = make_four(&b, VMDK_BUILD_STREAM | VMDK_BUILD_NO_TABLES);
        image_build_put_le(e->f, 64, e->grain[i].at / 512, 8);
        CHECK_STR(read_four(&b, "rebuilt", &w), "1234");
    }
    e = make_four(&b, VMDK_BUILD_STREAM | VMDK_BUILD_NO_TABLES); /* and what was there is lost */
    image_build_put_le(e->f, 64, e->grain[2].at / 512, 8);
    image_build_put_le(e->f, e->grain[0].at + 8, 0x5a5a5a5a, 4);
    CHECK_STR(read_four(&b, "rebuilt", &w), "!234");
}

/* A file that goes on with zeros for 8 EiB, of which nobody knows that they are a hole. */
static posio_result endless_read(void *self, uint64_t offset, void *buf, size_t n,
                                 posio_error *err)
{
    const posio_memory *m = (const posio_memory *)self;
    const size_t have = (size_t)posio_min(n, m->size - posio_min(m->size, offset));
    (void)err;
    if (have != 0) memcpy(buf, (const uint8_t *)m->data + offset, have);
    memset((uint8_t *)buf + have, 0, n - have);
    return POSIO_OK;
}

TEST(endless_zeros_end_the_search_for_grains)
{
    static uint8_t raw[65536];
    vmdk_read *image = NULL;
    vmdk_build_extent *e;
    posio_source source;
    posio_memory memory;
    posio_error err;
    vmdk_build b;
    uint8_t got[512];
    e = make_four(&b, VMDK_BUILD_STREAM | VMDK_BUILD_NO_TABLES | VMDK_BUILD_NO_EOS);
    REQUIRE(e->f->size <= sizeof raw);
    memory.size = e->f->size;
    memory.data = raw;
    image_build_read(e->f, 0, raw, (size_t)e->f->size);
    vmdk_build_free(&b);
    memset(&source, 0, sizeof source);
    source.size = INT64_MAX;
    source.read_at = endless_read;
    source.self = &memory;
    REQUIRE(vmdk_read_open_source(&image, &source, NULL, &err) == POSIO_OK);
    CHECK_EQ(vmdk_read_at(image, 3 * 512, got, 512, &err), POSIO_OK);
    CHECK_EQ(got[0], 4);
    CHECK_EQ((int64_t)vmdk_read_at(image, 4 * 512, got, 512, &err), POSIO_E_DATA);
    vmdk_read_close(image);
}

/* A footer is taken only if it describes this extent. */
TEST(footers_that_do_not_fit_are_not_used)
{
    vmdk_read_warning w;
    vmdk_build_extent *e;
    vmdk_build b;
    e = make_four(&b, VMDK_BUILD_STREAM | VMDK_BUILD_FOOTER);
    image_build_put_le(e->f, e->footer_at + 4, 9, 4); /* its version */
    CHECK_STR(read_four(&b, "footer", &w), "1234");
    CHECK(strstr(w.message, "version 9") != NULL);
    e = make_four(&b, VMDK_BUILD_STREAM | VMDK_BUILD_FOOTER); /* far before the end */
    image_build_resize(e->f, e->f->size + (17 << 20));
    CHECK_STR(read_four(&b, "far before", &w), "1234");
    CHECK(w.message[0] != 0);
    e = make_four(&b, VMDK_BUILD_STREAM | VMDK_BUILD_FOOTER); /* and of another extent */
    image_build_resize(e->f, e->f->size + (17 << 20));
    image_build_put_le(e->f, e->footer_at + 12, 21, 8);
    image_build_put_le(e->f, e->gd_at, 0, 4);
    CHECK_STR(read_four(&b, "rebuilt", &w), "1234");
    CHECK(w.message[0] != 0);
}

/* The marker of a grain claims more bytes when it is read again than it did before. */
TEST(a_marker_that_changes_is_an_error)
{
    const vmdk_build_variant *v = vmdk_build_variant_of("stream-footer");
    vmdk_read *image = NULL;
    vmdk_build_extent *e;
    vmdk_build_grain *g = NULL;
    posio_source source;
    posio_error err;
    vmdk_build b;
    watched w;
    shelf on;
    truth t;
    uint8_t got[512];
    size_t i;
    vmdk_read_desc d = desc_for(v);
    vmdk_build_make(&b, v);
    truth_make(&t, &b, v);
    shelf_make(&on, &b, &d);
    e = b.disk[0]->extent[0];
    for (i = 0; i < e->count; i++) /* the last one in the file: nothing tells where it ends */
        if (e->grain[i].what == IMAGE_BUILD_COMPRESSED && (g == NULL || e->grain[i].at > g->at))
            g = &e->grain[i];
    REQUIRE(g != NULL && g->size > 512);
    memset(&w, 0, sizeof w);
    w.below = image_shelf_source(&on.files, 0);
    source = watched_source(&w);
    REQUIRE(vmdk_read_open_source(&image, &source, NULL, &err) == POSIO_OK);
    w.change_at = g->at + 10; /* of the size: 65 KiB more */
    w.change_to = 1;
    w.change_after = 2;
    CHECK_EQ((int64_t)vmdk_read_at(image, vmdk_build_media_at(e, g->index), got, 512, &err),
             POSIO_E_DATA);
    CHECK_EQ(w.change_after, 1);
    w.change_after = 0;
    CHECK_EQ(vmdk_read_at(image, vmdk_build_media_at(e, g->index), got, 512, &err), POSIO_OK);
    CHECK(media_truth_same(&t.media, vmdk_build_media_at(e, g->index), got, 512));
    vmdk_read_close(image);
    media_truth_free(&t.media);
    vmdk_build_free(&b);
}

/* What would shift the extents behind it is refused. */
TEST(descriptors_lose_no_extent_without_a_word)
{
    static const char head[] = "# Disk DescriptorFile\nversion=1\nCID=12345678\n"
                               "parentCID=ffffffff\ncreateType=\"custom\"\nRW 8 ZERO\n";
    vmdk_read *image = NULL;
    vmdk_read_warning w;
    posio_error err;
    char text[2000];
    int byte;
    size_t n;
    CHECK_EQ(open_line("RW 8 ZERO\nRW 8 ZERO\nRW 8 ZERO", NULL, &byte, &err), POSIO_OK);
    CHECK_EQ((int64_t)open_line("RW 8 ZERO\nSW 8 ZERO\nRW 8 ZERO", NULL, &byte, &err),
             POSIO_E_DATA);
    CHECK(strstr(err.message, "extent 2") != NULL && strstr(err.message, "SW 8 ZERO") != NULL);
    memset(text, 0, sizeof text);
    memcpy(text, head, sizeof head - 1);
    memcpy(text + 1000, "ZERO\nRW 8 ZERO\n", 15); /* a block of zeros within */
    REQUIRE(put(in("v/d.vmdk"), text, 1015));
    CHECK_EQ((int64_t)vmdk_read_open(&image, in("v/d.vmdk"), NULL, &err), POSIO_E_DATA);
    CHECK_EQ(err.offset, sizeof head - 1);
    CHECK(strstr(err.message, "NUL") != NULL);
    memcpy(text + 1000, "ddb.adapterType\n", 16); /* nothing that matters is behind it */
    REQUIRE(put(in("v/d.vmdk"), text, 1016));
    REQUIRE(vmdk_read_open(&image, in("v/d.vmdk"), NULL, &err) == POSIO_OK);
    CHECK(vmdk_read_get_warning(image, 0, &w) == POSIO_OK && strstr(w.message, "NUL") != NULL);
    vmdk_read_close(image);
    image = NULL;
    memset(text + 1000, 0, 100); /* room */
    REQUIRE(put(in("v/d.vmdk"), text, 2000));
    REQUIRE(vmdk_read_open(&image, in("v/d.vmdk"), NULL, &err) == POSIO_OK);
    CHECK_EQ((int64_t)vmdk_read_get_warning(image, 0, &w), POSIO_E_RANGE);
    vmdk_read_close(image);
    image = NULL;
    n = strlen(head); /* the same in UTF-16 */
    memset(text, 0, sizeof text);
    for (byte = 0; (size_t)byte < n; byte++) text[2 * byte] = head[byte];
    for (byte = 0; byte < 10; byte++) text[2 * (n + 5 + (size_t)byte)] = "\nRW 8 ZERO"[byte];
    REQUIRE(put(in("v/d.vmdk"), text, 2 * (n + 15)));
    CHECK_EQ((int64_t)vmdk_read_open(&image, in("v/d.vmdk"), NULL, &err), POSIO_E_DATA);
    (void)remove(in("v/d.vmdk"));
}

TEST(a_source_stands_alone_without_helpers)
{
    vmdk_read *image = NULL;
    vmdk_read_desc d;
    vmdk_build b;
    shelf on;
    posio_source source;
    posio_error err;
    memset(&d, 0, sizeof d);
    vmdk_build_make(&b, vmdk_build_variant_of("delta"));
    shelf_make(&on, &b, &d);
    source = image_shelf_source(&on.files, 0);
    CHECK_EQ((int64_t)vmdk_read_open_source(&image, &source, NULL, &err), POSIO_E_POLICY);
    CHECK(strstr(err.message, "base.vmdk") != NULL && strstr(err.message, "resolver") != NULL);
    CHECK(image == NULL);
    d.flags = VMDK_READ_ALONE;
    CHECK_EQ(vmdk_read_open_source(&image, &source, &d, &err), POSIO_OK);
    vmdk_read_close(image);
    image = NULL;
    vmdk_build_free(&b);
    vmdk_build_make(&b, vmdk_build_variant_of("flat"));
    shelf_make(&on, &b, &d);
    source = image_shelf_source(&on.files, 0);
    CHECK_EQ((int64_t)vmdk_read_open_source(&image, &source, NULL, &err), POSIO_E_POLICY);
    CHECK(strstr(err.message, "image-flat.vmdk") != NULL);
    CHECK(image == NULL);
    vmdk_build_free(&b);
}

/* A sparse file is its own extent, whatever it is called, and without a name too. */
TEST(a_monolithic_source_needs_no_name)
{
    static const char *const names[] = {"sparse", "renamed", "stream-footer", "stream-walk",
                                        "sparse-no-descriptor"};
    size_t i;
    for (i = 0; i < COUNT(names); i++) {
        const vmdk_build_variant *v = vmdk_build_variant_of(names[i]);
        vmdk_read *image = NULL;
        vmdk_read_extent e;
        vmdk_build b;
        shelf on;
        posio_source source, media;
        vmdk_read_desc d = desc_for(v);
        truth t;
        vmdk_build_make(&b, v);
        truth_make(&t, &b, v);
        shelf_make(&on, &b, &d);
        source = image_shelf_source(&on.files, 0);
        REQUIRE(vmdk_read_open_source(&image, &source, NULL, NULL) == POSIO_OK);
        media = vmdk_read_source(image);
        CHECK_STR(media_truth_pieces(&t.media, &media, 30000, 0), NULL);
        REQUIRE(vmdk_read_get_extent(image, 0, &e) == POSIO_OK);
        CHECK_EQ(e.is_own, 1);
        vmdk_read_close(image);
        media_truth_free(&t.media);
        vmdk_build_free(&b);
    }
}

/* The innermost file is named: an error two layers down has the offset and path of that file. */
TEST(errors_name_the_file_below)
{
    vmdk_build_options o = vmdk_build_none();
    vmdk_read *image = NULL;
    vmdk_build_disk *d;
    vmdk_build_extent *e;
    vmdk_build b;
    posio_error err;
    char buf[10];
    memset(&b, 0, sizeof b);
    o.grain = 1;
    o.flags = VMDK_BUILD_NO_RGD;
    d = vmdk_build_begin(&b, "c2.vmdk", "twoGbMaxExtentSparse");
    d->cid = 0x1002;
    (void)vmdk_build_zero(d, 20);
    e = vmdk_build_sparse(d, "c2-s001.vmdk", 80, &o);
    vmdk_build_data(e, 30, IMAGE_BUILD_FILL + 1);
    vmdk_build_finish(d);
    image_build_put_le(e->f, vmdk_build_gte_at(e, 30), 0x7fffffff, 4);
    CHECK_EQ(image_build_write(&b.set, in("v")), 0);
    write_link(1, "c2.vmdk", 0x1002);
    write_link(0, "c1.vmdk", 0x1001);
    REQUIRE(vmdk_read_open(&image, in("v/c0.vmdk"), NULL, &err) == POSIO_OK);
    CHECK_EQ((int64_t)vmdk_read_at(image, 50 * 512, buf, sizeof buf, &err), POSIO_E_DATA);
    CHECK_EQ(err.offset, vmdk_build_gte_at(e, 30));
    CHECK(strstr(err.file, "c2-s001.vmdk") != NULL);
    CHECK_EQ(err.segment, 2);
    CHECK_EQ(vmdk_read_at(image, 49 * 512, buf, sizeof buf, &err), POSIO_OK);
    vmdk_read_close(image);
    image_build_unwrite(&b.set, in("v"));
    vmdk_build_free(&b);
    remove_links(3);
}

/* ------------------------------------------------------------------ values, arguments */

TEST(values_of_the_descriptor_are_found)
{
    static const char text[] =
        "# Disk DescriptorFile\r\nversion=1\r\nencoding=\"windows-1252\"\r\nCID=0abcdef0\r\n"
        "parentCID=ffffffff\r\ncreateType=\"custom\"\r\nRW 4 ZERO\r\n"
        "ddb.adapterType = \"lsilogic\"\r\nDDB.ADAPTERTYPE = \"second\"\r\n"
        "ddb.empty = \"\"\r\nddb.bare = 17 \r\nddb.comment = \"a # b = c\"\r\n"
        "ddb.name = \"gr\xfc\xdf\"\r\n# ddb.hidden = \"no\"\r\n";
    vmdk_read *image = NULL;
    posio_memory m;
    posio_source source;
    vmdk_read_extent e;
    char out[40];
    m.data = text;
    m.size = sizeof text - 1;
    source = posio_memory_source(&m);
    CHECK_EQ(vmdk_read_probe(&source, NULL), POSIO_OK);
    REQUIRE(vmdk_read_open_source(&image, &source, NULL, NULL) == POSIO_OK);
    CHECK_EQ(vmdk_read_get_value(image, "ddb.adapterType", out, sizeof out), POSIO_OK);
    CHECK_STR(out, "lsilogic");
    CHECK_EQ(vmdk_read_get_value(image, "DDB.ADAPTERtype", out, 4), POSIO_OK);
    CHECK_STR(out, "lsi");
    CHECK_EQ(vmdk_read_get_value(image, "ddb.empty", out, sizeof out), POSIO_OK);
    CHECK_STR(out, "");
    CHECK_EQ(vmdk_read_get_value(image, "ddb.bare", out, sizeof out), POSIO_OK);
    CHECK_STR(out, "17");
    CHECK_EQ(vmdk_read_get_value(image, "ddb.comment", out, sizeof out), POSIO_OK);
    CHECK_STR(out, "a # b = c");
    CHECK_EQ(vmdk_read_get_value(image, "ddb.name", out, sizeof out), POSIO_OK);
    CHECK_STR(out, "gr\xc3\xbc\xc3\x9f");
    CHECK_EQ((int64_t)vmdk_read_get_value(image, "ddb.hidden", out, sizeof out),
             POSIO_E_NOT_FOUND);
    CHECK_EQ((int64_t)vmdk_read_get_value(image, "ddb.adapter", out, sizeof out),
             POSIO_E_NOT_FOUND);
    CHECK_EQ(vmdk_read_info(image)->cid, 0x0abcdef0);
    CHECK_STR(vmdk_read_info(image)->identity, "0abcdef0");
    CHECK_STR(vmdk_read_info(image)->create_type, "custom");
    CHECK_STR(vmdk_read_info(image)->encoding, "windows-1252");
    CHECK_EQ(vmdk_read_info(image)->version, 1);
    CHECK_EQ(vmdk_read_info(image)->header_version, 0);
    CHECK_EQ(vmdk_read_info(image)->media_size, 2048);
    REQUIRE(vmdk_read_get_extent(image, 0, &e) == POSIO_OK);
    CHECK_STR(e.type_name, "ZERO");
    CHECK(e.name == NULL && e.type == VMDK_READ_ZERO && e.file_size == 0);
    vmdk_read_close(image);
}

/* Every type of extent is called by its name. */
TEST(extents_say_what_they_are)
{
    static const char *const types[] = {"FLAT", "ZERO", "SPARSE", "VMFSSPARSE", "SESPARSE"};
    const vmdk_build_variant *v = vmdk_build_variant_of("kinds-333");
    vmdk_read *image = NULL;
    vmdk_read_desc d = desc_for(v);
    vmdk_build b;
    shelf on;
    uint32_t i;
    vmdk_build_make(&b, v);
    shelf_make(&on, &b, &d);
    REQUIRE(shelf_open(&on, &image, NULL) == POSIO_OK);
    CHECK_EQ(vmdk_read_info(image)->extent_count, 6);
    for (i = 0; i < 6; i++) {
        const vmdk_build_extent *made = b.disk[0]->extent[i];
        vmdk_read_extent e;
        REQUIRE(vmdk_read_get_extent(image, i, &e) == POSIO_OK);
        CHECK_STR(e.type_name, made->keyword != NULL ? made->keyword : types[made->kind]);
        if (made->f != NULL) CHECK(strcmp(e.name, made->f->name) == 0);
        else CHECK(e.name == NULL);
        if (made->f != NULL) CHECK_EQ(e.file_size, made->f->size);
        CHECK_EQ(e.is_own, 0);
        CHECK_EQ(e.header_version != 0, made->kind >= VMDK_BUILD_SPARSE);
    }
    CHECK_EQ(shelf_close(&on, image), 0);
    vmdk_build_free(&b);
}

TEST(ranges_arguments_and_families)
{
    static const struct {
        const char *bytes;
        size_t size;
        posio_result code;
    } begins[] = {{"KDMV\1\0\0\0", 8, POSIO_OK},
                  {"KDMV\3\0\0\0", 8, POSIO_OK},
                  {"KDMV\11\0\0\0", 8, POSIO_E_UNSUPPORTED},
                  {"COWD\1\0\0\0", 8, POSIO_OK},
                  {"\xbe\xba\xfe\xca\0\0\0\0\1\0\0\0\2\0\0\0", 16, POSIO_OK},
                  {"# Disk DescriptorFile\nversion=1\n", 32, POSIO_OK},
                  {"#   disk descriptorfile\r\n", 25, POSIO_OK},
                  {"QFI\xfb\0\0\0\3", 8, POSIO_E_FORMAT},
                  {"# some other text\n", 18, POSIO_E_FORMAT},
                  {"KDM", 3, POSIO_E_FORMAT},
                  {"", 0, POSIO_E_FORMAT}};
    vmdk_read *image = NULL;
    vmdk_read_desc d;
    vmdk_build b;
    shelf on;
    posio_error err;
    char buf[4], full[512];
    size_t i;
    for (i = 0; i < COUNT(begins); i++) {
        posio_memory m;
        posio_source source;
        memset(full, 0, sizeof full);
        memcpy(full, begins[i].bytes, begins[i].size);
        m.data = full;
        m.size = begins[i].bytes[0] == 'K' && begins[i].size == 8 ? 512
                 : begins[i].bytes[0] == 'C'                      ? 512
                 : begins[i].size == 16                           ? 512
                                                                  : begins[i].size;
        source = posio_memory_source(&m);
        err.message[0] = 0;
        CHECK_EQ((int64_t)vmdk_read_probe(&source, &err), begins[i].code);
        CHECK((err.message[0] != 0) == (begins[i].code != POSIO_OK));
    }
    memset(&d, 0, sizeof d);
    vmdk_build_make(&b, vmdk_build_variant_of("sparse"));
    shelf_make(&on, &b, &d);
    REQUIRE(shelf_open(&on, &image, &err) == POSIO_OK);
    CHECK_EQ((int64_t)vmdk_read_at(image, b.set.media_size - 3, buf, 4, &err), POSIO_E_RANGE);
    CHECK_EQ((int64_t)vmdk_read_at(image, UINT64_MAX, buf, 4, &err), POSIO_E_RANGE);
    CHECK_EQ(vmdk_read_at(image, b.set.media_size, buf, 0, &err), POSIO_OK);
    CHECK_EQ(vmdk_read_source(image).unit, 8192);
    CHECK_EQ(vmdk_read_info(image)->header_version, 1);
    CHECK_EQ(vmdk_read_info(image)->grain_size, 8192);
    CHECK_EQ(shelf_close(&on, image), 0);
    image = NULL;
    on.desc.alloc.alloc_fn = tally_alloc;
    CHECK_EQ((int64_t)shelf_open(&on, &image, &err), POSIO_E_ARG);
    CHECK(image == NULL);
    CHECK_EQ((int64_t)vmdk_read_open(&image, in("v/nothing"), NULL, &err), POSIO_E_NOT_FOUND);
    CHECK(strstr(err.file, "nothing") != NULL);
    vmdk_read_close(NULL);
    vmdk_build_free(&b);
}

/* ------------------------------------------------------------------ memory */

/* A disk of 62 TiB, made as it is read, every table of which is there. As one seSparse extent, as
   one sparse extent whose grains are shared, as 31 of those. A grain's kind follows from its number
   in the disk. */
enum { HUGE_SESPARSE, HUGE_SPARSE, HUGE_SPLIT, HUGE_SEED = IMAGE_BUILD_NOISE + 9 };
#define HUGE_SECTORS ((uint64_t)62 << 31)
#define HUGE_TABLES ((uint64_t)1 << 30) /* bytes: where tables begin */
#define HUGE_DATA ((uint64_t)1 << 39)   /* seSparse: where grains do */
#define HUGE_SHARED ((uint64_t)1 << 38) /* sparse: the grains that all share, 16 of them */

typedef struct huge {
    int kind;
    uint8_t header[1024];
    char text[4096];
    posio_source source, extent;
} huge;

/* An entry of a table or of the directory, by where it lies. */
static uint64_t huge_entry(const huge *h, uint64_t at)
{
    if (h->kind == HUGE_SESPARSE) {
        uint64_t i = (at - HUGE_TABLES) / 8;
        if (at < HUGE_TABLES) return (uint64_t)1 << 60 | (at - 4096 * 512) / 8;
        return i % 4 == 1 ? 0 : i % 4 == 2 ? (uint64_t)2 << 60 : vmdk_build_se_entry(3, i);
    } else {
        uint64_t i = (at - HUGE_TABLES) / 4;
        if (at < HUGE_TABLES) return HUGE_TABLES / 512 + (at - 4096 * 512) / 4 * 4;
        return i % 4 == 1 ? 0 : i % 4 == 2 ? 1 : HUGE_SHARED / 512 + i % 16 * 128;
    }
}

static posio_result huge_read(void *self, uint64_t offset, void *buf, size_t n, posio_error *err)
{
    const huge *h = (const huge *)self;
    const uint64_t data = h->kind == HUGE_SESPARSE ? HUGE_DATA : HUGE_SHARED;
    const unsigned wide = h->kind == HUGE_SESPARSE ? 8 : 4;
    uint8_t *out = (uint8_t *)buf;
    size_t i;
    (void)err;
    for (i = 0; i < n; i++) {
        uint64_t at = offset + i;
        if (at < sizeof h->header) out[i] = h->header[at];
        else if (at < 4096 * 512) out[i] = 0;
        else if (at >= data) out[i] = image_build_byte(HUGE_SEED, at - data);
        else out[i] = (uint8_t)(huge_entry(h, at / wide * wide) >> at % wide * 8);
    }
    return POSIO_OK;
}

static uint8_t huge_media(const huge *h, uint64_t at)
{
    const uint64_t part = h->kind == HUGE_SPLIT ? at % ((uint64_t)2 << 40) : at;
    const uint64_t unit = h->kind == HUGE_SESPARSE ? 4096 : 65536, i = part / unit;
    if (i % 4 == 1 || i % 4 == 2) return 0;
    if (h->kind == HUGE_SESPARSE) return image_build_byte(HUGE_SEED, at);
    return image_build_byte(HUGE_SEED, i % 16 * unit + part % unit);
}

static posio_result huge_open(void *self, const char *name, uint32_t rule, posio_source *out,
                              posio_error *err)
{
    (void)name;
    (void)rule;
    (void)err;
    *out = ((huge *)self)->extent;
    return POSIO_OK;
}

static void huge_close(void *self, posio_source *source)
{
    (void)self;
    (void)source;
}

static posio_result huge_text(void *self, uint64_t offset, void *buf, size_t n, posio_error *err)
{
    (void)err;
    memcpy(buf, ((huge *)self)->text + offset, n);
    return POSIO_OK;
}

static void huge_le(uint8_t *p, uint64_t v, unsigned n)
{
    while (n-- > 0) {
        *p++ = (uint8_t)v;
        v >>= 8;
    }
}

static void huge_make(huge *h, int kind)
{
    const uint64_t sectors = kind == HUGE_SPLIT ? (uint64_t)2 << 31 : HUGE_SECTORS;
    const uint64_t tables = sectors / (kind == HUGE_SESPARSE ? 32768 : 65536);
    vmdk_build_text t = {NULL, 0, 0};
    int i;
    memset(h, 0, sizeof *h);
    h->kind = kind;
    if (kind == HUGE_SESPARSE) {
        const uint64_t fields[26] = {0xcafebabe, UINT64_C(0x200000001), sectors, 8, 64, 0, 0, 0, 0,
                                     0, 1, 1, 2, 2, 2048, 2048, 4096, tables / 64,
                                     HUGE_TABLES / 512, tables * 64, HUGE_DATA / 512 - 4, 2,
                                     HUGE_DATA / 512 - 2, 2, HUGE_DATA / 512, sectors};
        for (i = 0; i < 26; i++) huge_le(h->header + 8 * i, fields[i], 8);
        huge_le(h->header + 512, 0xcafecafe, 8);
    } else {
        memcpy(h->header, "KDMV\1\0\0\0\5\0\0\0", 12);
        huge_le(h->header + 12, sectors, 8);
        huge_le(h->header + 20, 128, 8);
        huge_le(h->header + 44, 512, 4);
        huge_le(h->header + 56, 4096, 8);
        huge_le(h->header + 64, HUGE_SHARED / 512, 8);
        memcpy(h->header + 73, "\n \r\n", 4);
    }
    vmdk_build_print(&t, VMDK_BUILD_HEAD "createType=\"custom\"\n");
    for (i = 0; i < (kind == HUGE_SPLIT ? 31 : 1); i++)
        vmdk_build_print(&t, "RW %llu %s \"x%d\"\n", (unsigned long long)sectors,
                         kind == HUGE_SESPARSE ? "SESPARSE" : "SPARSE", i);
    memcpy(h->text, t.at, t.size);
    h->source.size = t.size;
    free(t.at);
    h->source.read_at = huge_text;
    h->source.self = h;
    h->extent.size = kind == HUGE_SESPARSE ? HUGE_DATA + sectors * 512 : HUGE_SHARED + 16 * 65536;
    h->extent.read_at = huge_read;
    h->extent.self = h;
}

typedef struct huge_job {
    vmdk_read *image;
    const huge *h;
} huge_job;

static posio_result huge_reads(void *user, uint32_t i, posio_error *err)
{
    const huge_job *job = (const huge_job *)user;
    uint64_t seed = i + 1;
    uint8_t buf[700];
    int k;
    for (k = 0; k < 125 / TEST_STRIDE; k++) {
        uint64_t at = test_random(&seed) % (HUGE_SECTORS * 512 - sizeof buf);
        size_t j;
        posio_result r;
        if (k == 0) at = HUGE_SECTORS * 512 - sizeof buf;
        r = vmdk_read_at(job->image, at, buf, sizeof buf, err);
        if (r != POSIO_OK) return r;
        for (j = 0; j < sizeof buf; j++)
            if (buf[j] != huge_media(job->h, at + j))
                return posio_fail(err, POSIO_E_DATA, at, "wrong bytes");
    }
    return POSIO_OK;
}

TEST(sixty_two_tebibytes_take_less_than_64_mib)
{
    thread_pool *pool = thread_pool_create(16);
    int kind;
    for (kind = 0; kind < 3; kind++) {
        static huge h;
        vmdk_read_desc d;
        posio_opener opener;
        posio_source media;
        posio_extent e;
        posio_error err;
        huge_job job;
        tally used;
        uint64_t at, unit;
        memset(&d, 0, sizeof d);
        memset(&opener, 0, sizeof opener);
        huge_make(&h, kind);
        opener.open = huge_open;
        opener.close = huge_close;
        opener.self = &h;
        d.opener = &opener;
        d.alloc = tally_of(&used);
        d.pool = pool;
        job.h = &h;
        job.image = NULL;
        err.message[0] = 0;
        if (vmdk_read_open_source(&job.image, &h.source, &d, &err) != POSIO_OK) puts(err.message);
        REQUIRE(job.image != NULL);
        CHECK_EQ(vmdk_read_info(job.image)->media_size, HUGE_SECTORS * 512);
        CHECK_EQ(thread_pool_parallel_for(pool, 16, huge_reads, &job, &err), POSIO_OK);
        media = vmdk_read_source(job.image);
        unit = kind == HUGE_SESPARSE ? 4096 : 65536;
        for (at = HUGE_SECTORS * 512 - 20 * unit; at < HUGE_SECTORS * 512; at += e.length) {
            uint64_t i = at / unit % 4;
            REQUIRE(posio_extent_of(&media, at, &e, &err) == POSIO_OK);
            CHECK_EQ(e.kind, i == 1   ? POSIO_EXTENT_HOLE
                             : i == 2 ? POSIO_EXTENT_ZERO
                                      : POSIO_EXTENT_DATA);
        }
        CHECK(used.peak > MIB / 2); /* it was counted */
        CHECK(used.peak < 64 * MIB);
        vmdk_read_close(job.image);
        CHECK_EQ(tally_end(&used), 0);
    }
    thread_pool_destroy(pool);
}

/* Grains of 1 MiB from streams of some KiB: memory as the head of the header says. */
TEST(decompression_is_bounded)
{
    vmdk_build_options o = vmdk_build_none();
    vmdk_build_disk *d;
    vmdk_build_extent *e;
    vmdk_build b;
    uint32_t threads, i;
    const size_t n = (size_t)24 * MIB;
    memset(&b, 0, sizeof b);
    o.grain = 2048;
    o.flags = VMDK_BUILD_S_FOOTER;
    d = vmdk_build_begin(&b, "image.vmdk", "streamOptimized");
    e = vmdk_build_sparse(d, "image.vmdk", 24 * 2048, &o);
    for (i = 0; i < 24; i++) vmdk_build_data(e, i, IMAGE_BUILD_FILL + 7);
    vmdk_build_finish(d);
    for (threads = 1; threads <= 16; threads += 15) {
        thread_pool *pool = thread_pool_create(threads);
        uint8_t *out = (uint8_t *)malloc(n);
        vmdk_read *image = NULL;
        vmdk_read_desc desc;
        size_t k;
        shelf on;
        tally used;
        memset(&desc, 0, sizeof desc);
        desc.alloc = tally_of(&used);
        desc.pool = pool;
        shelf_make(&on, &b, &desc);
        REQUIRE(out != NULL && shelf_open(&on, &image, NULL) == POSIO_OK);
        CHECK_EQ(vmdk_read_at(image, 0, out, n, NULL), POSIO_OK);
        for (k = 0; k < n && out[k] == 7; k++) {}
        CHECK_EQ(k, n);
        for (i = 0; i < 24; i++) /* through the cache, too */
            CHECK_EQ(vmdk_read_at(image, i * MIB + 5, out, 9, NULL), POSIO_OK);
        CHECK(used.peak <= (4 + 32 + 1) * MIB + threads * (4 * MIB + 200 * 1024));
        CHECK_EQ(shelf_close(&on, image), 0);
        CHECK_EQ(tally_end(&used), 0);
        free(out);
        thread_pool_destroy(pool);
    }
    vmdk_build_free(&b);
}

/* ------------------------------------------------------------------ what fails: memory, reads */

static const char *const faulty[] = {"sparse",      "sparse-single", "stream-footer", "stream-walk",
                                     "split-flat",  "kinds-100",     "delta-5",       "delta-3",
                                     "dialect-all", "parent-long",   "rgd-gde-beyond"};

static const char *trial_use(vmdk_read *image, const media_trial *x)
{
    const posio_source source = vmdk_read_source(image);
    const size_t size = (size_t)x->truth->set->media_size, piece = size / 20 + 111;
    const char *why = NULL;
    char text[40];
    uint64_t at;
    for (at = 0; why == NULL && at < size; at += piece)
        why = media_trial_read(x, &source, at, (size_t)posio_min(piece, size - at));
    if (why == NULL) why = media_trial_extents(x, &source);
    (void)vmdk_read_get_value(image, "ddb.adapterType", text, sizeof text);
    if (why == NULL) why = media_trial_read(x, &source, 0, size);
    return why;
}

/* Opens it, from memory or from files, with the allocator and reads that may fail. What cannot be
   read may be read around where it is there twice; memory never is. */
static int run_trial(media_trial *x)
{
    const truth *t = (const truth *)x->user;
    vmdk_read_desc d = desc_for(t->variant);
    vmdk_read *image = NULL;
    const char *why;
    shelf on;
    posio_error err;
    posio_result r;
    d.cache_bytes = 20000;
    d.alloc = media_trial_alloc(x);
    shelf_make(&on, t->made, &d);
    on.files.reads = &x->reads;
    memset(&err, 0, sizeof err);
    if (x->in_files) r = vmdk_read_open(&image, in("v/image.vmdk"), &d, &err);
    else r = shelf_open(&on, &image, &err);
    x->may_open = 1;
    why = media_trial_judge_open(x, r, &err, image != NULL);
    if (why == NULL && r == POSIO_OK) why = trial_use(image, x);
    if (shelf_close(&on, image) != 0) why = "a file stays open";
    return media_trial_end(x, t->variant->name, why, &err);
}

static void every_fault(int is_reads, int in_files)
{
    size_t i;
    for (i = 0; i < COUNT(faulty); i++) {
        const vmdk_build_variant *v = vmdk_build_variant_of(faulty[i]);
        vmdk_build b;
        truth t;
        media_trial x;
        REQUIRE(v != NULL);
        vmdk_build_make(&b, v);
        truth_make(&t, &b, v);
        memset(&x, 0, sizeof x);
        x.truth = &t.media;
        x.run = run_trial;
        x.user = &t;
        if (in_files) REQUIRE(image_build_write(&b.set, in("v")) == 0);
        CHECK(media_trial_all(&x, is_reads, in_files, 1) >= 3);
        if (in_files) image_build_unwrite(&b.set, in("v"));
        media_truth_free(&t.media);
        vmdk_build_free(&b);
    }
}

TEST(every_allocation_fails_in_memory) { every_fault(0, 0); }
TEST(every_allocation_fails_in_files) { every_fault(0, 1); }
TEST(every_read_fails) { every_fault(1, 0); }

TEST_MAIN(if (!folder_make("vmdk")) return 1; RUN(every_variant_in_memory_and_in_files);
          RUN(files_end_anywhere); RUN(every_bit_of_the_headers_flips);
          RUN(every_bit_of_descriptors_flips); RUN(a_hot_grain_is_read_once);
          RUN(many_threads_read_the_same_bytes); RUN(chains_have_a_limit);
          RUN(circles_are_refused); RUN(stored_names_stay_in_the_folder);
          RUN(parents_are_sought_beside_the_image);
          RUN(resolvers_open_any_format_and_their_errors_pass);
          RUN(warnings_of_parents_are_shown);
          RUN(the_newest_warning_tells_of_those_left_out);
          RUN(an_empty_name_is_copied);
          RUN(the_parents_extents_are_asked_once);
          RUN(redundant_tables_merge_by_entry);
          RUN(a_wrong_place_of_the_redundant_directory_costs_nothing);
          RUN(a_directory_entry_of_1_is_damage);
          RUN(a_map_is_rebuilt_though_the_overhead_is_wrong);
          RUN(endless_zeros_end_the_search_for_grains);
          RUN(footers_that_do_not_fit_are_not_used);
          RUN(a_marker_that_changes_is_an_error);
          RUN(descriptors_lose_no_extent_without_a_word);
          RUN(a_source_stands_alone_without_helpers); RUN(a_monolithic_source_needs_no_name);
          RUN(errors_name_the_file_below); RUN(values_of_the_descriptor_are_found);
          RUN(extents_say_what_they_are); RUN(ranges_arguments_and_families);
          RUN(sixty_two_tebibytes_take_less_than_64_mib); RUN(decompression_is_bounded);
          RUN(every_allocation_fails_in_memory); RUN(every_allocation_fails_in_files);
          RUN(every_read_fails); folder_remove();)
