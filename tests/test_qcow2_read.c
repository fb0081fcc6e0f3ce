/* qcow2_read.h against images that tests/fixtures/qcow2_build.h builds byte by byte from the
   published format: what opens, what is refused and how, every byte, the map, the check; cut files,
   flipped bits, chains, threads, and whatever fails: memory, reads. */
#include "fixtures/folder.h"
#define QCOW2_READ_IMPLEMENTATION
#include "../qcow2_read.h"
#include "fixtures/faults.h"
#include "fixtures/image_shelf.h"
#include "fixtures/tally.h"
#include "fixtures/qcow2_build.h"
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

/* A set's files as sources, and a resolver that finds the others of them by name. What is not in
   the set is `refused`: then the outcome of opening is our own, and no business of a variant. */
typedef struct shelf {
    image_shelf files;
    posio_resolver resolver;
    qcow2_read_desc desc; /* of the images below the first */
    qcow2_read *opened[IMAGE_BUILD_FILES];
    uint32_t opened_count, refused;
} shelf;

static posio_result shelf_open(void *self, const posio_reference *reference, posio_source *out,
                               posio_error *err)
{
    shelf *s = (shelf *)self;
    size_t i = image_shelf_find(&s->files, reference->name);
    qcow2_read *image = NULL;
    posio_source source;
    posio_result r;
    if (i == 0 || i == IMAGE_BUILD_FILES || s->opened_count == IMAGE_BUILD_FILES) {
        s->refused++;
        return image_shelf_missing(reference->name, err);
    }
    source = image_shelf_source(&s->files, i);
    if (reference->kind == POSIO_REFERENCE_DATA || strcmp(reference->format, "raw") == 0) {
        *out = source;
        return POSIO_OK;
    }
    if (strcmp(reference->format, "qcow2") != 0)
        return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET, "the format %s",
                          reference->format);
    r = qcow2_read_open_source(&image, &source, &s->desc, err);
    if (r != POSIO_OK) return r;
    s->opened[s->opened_count++] = image;
    *out = qcow2_read_source(image);
    return POSIO_OK;
}

/* desc: for all images of the set. */
static void shelf_make(shelf *s, const qcow2_build *b, const qcow2_read_desc *desc)
{
    memset(s, 0, sizeof *s);
    image_shelf_make(&s->files, &b->set);
    s->desc = *desc;
    s->desc.snapshot = NULL;
    s->resolver.open = shelf_open;
    s->resolver.self = s;
    s->desc.resolver = &s->resolver;
}

static posio_result shelf_open_image(shelf *s, qcow2_read **out, const char *snapshot,
                                     posio_error *err)
{
    posio_source source = image_shelf_source(&s->files, 0);
    qcow2_read_desc desc = s->desc;
    desc.snapshot = snapshot;
    s->refused = 0;
    return qcow2_read_open_source(out, &source, &desc, err);
}

/* The image is closed before: those that stand on others were opened after them. */
static void shelf_close(shelf *s, qcow2_read *image)
{
    qcow2_read_close(image);
    while (s->opened_count > 0) qcow2_read_close(s->opened[--s->opened_count]);
}

/* ------------------------------------------------------------------ what is right */

typedef struct truth {
    media_truth media;
    const qcow2_build *made;
    const qcow2_build_variant *variant;
} truth;

static int has_zstd(void)
{
#if defined(QCOW2_READ_ZSTD)
    return 1;
#else
    return 0;
#endif
}

static void truth_make(truth *t, const qcow2_build *b, const qcow2_build_variant *v)
{
    media_truth_make(&t->media, &b->set, MEDIA_MAX);
    t->made = b;
    t->variant = v;
}

/* ------------------------------------------------------------------ the check */

/* What was said, as sums: of all that was said, and of the same in its order. */
typedef struct said {
    uint64_t count, corruptions, leaks, bag, list;
    uint32_t calls, cancel_at;
    uint64_t done;
    int backwards;
} said;

static void hear(void *user, const qcow2_read_issue *issue)
{
    said *s = (said *)user;
    uint64_t h = 1469598103934665603u ^ issue->offset ^ issue->severity;
    const char *p;
    for (p = issue->message; *p != 0; p++) h = (h ^ (uint8_t)*p) * 1099511628211u;
    s->count++;
    s->corruptions += issue->severity == QCOW2_READ_CORRUPTION;
    s->leaks += issue->severity == QCOW2_READ_LEAK;
    s->bag += image_build_mix(h);
    s->list = image_build_mix(s->list ^ h);
}

static int watch(void *user, uint64_t done, uint64_t total)
{
    said *s = (said *)user;
    if (done < s->done || done > total) s->backwards = 1;
    s->done = done;
    return s->cancel_at != 0 && ++s->calls >= s->cancel_at;
}

static posio_result run_check(qcow2_read *image, uint64_t memory, said *s,
                              qcow2_read_check_report *report, posio_error *err)
{
    qcow2_read_check_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.issue = hear;
    desc.progress = watch;
    desc.user = s;
    desc.memory = memory;
    return qcow2_read_check(image, &desc, report, err);
}

static int answers(uint8_t wanted, uint64_t found)
{
    return wanted == QCOW2_BUILD_ANY || (found != 0) == (wanted == QCOW2_BUILD_YES);
}

static const char *check_check(qcow2_read *image, const truth *t)
{
    qcow2_read_check_report one, many;
    said first, again;
    uint64_t cs = qcow2_read_info(image)->cluster_size, size = qcow2_read_info(image)->file_size;
    memset(&first, 0, sizeof first);
    memset(&again, 0, sizeof again);
    if (run_check(image, 0, &first, &one, NULL) != POSIO_OK) return "the check fails";
    if (first.backwards) return "progress goes backwards";
    if (first.corruptions != one.corruptions || first.leaks != one.leaks)
        return "the check counts other issues than it names";
    if (!answers(t->variant->corruptions, one.corruptions)) return "corruptions, or none";
    if (!answers(t->variant->leaks, one.leaks)) return "leaks, or none";
    if (one.file_clusters != (size + cs - 1) / cs) return "file_clusters is wrong";
    if (one.end_of_data > one.file_clusters * cs) return "end_of_data lies beyond the file";
    if (!one.is_complete) return "the check gave up";
    /* a few clusters, or a few windows */
    if (run_check(image, larger(4, one.file_clusters / 6), &again, &many, NULL) != POSIO_OK)
        return "the check fails in several passes";
    if (memcmp(&one, &many, sizeof one) != 0) return "several passes report otherwise";
    if (first.bag != again.bag) return "several passes name other issues";
    memset(&again, 0, sizeof again);
    if (run_check(image, 0, &again, &many, NULL) != POSIO_OK || again.list != first.list)
        return "the same check names issues in another order";
    return NULL;
}

/* ------------------------------------------------------------------ every variant */

static const char *check_metadata(qcow2_read *image, const truth *t)
{
    const qcow2_read_metadata *m = qcow2_read_info(image);
    const qcow2_build_image *made = t->made->image[0];
    qcow2_read_snapshot s;
    qcow2_read_warning w;
    uint32_t i;
    if (m->media_size != t->media.set->media_size) return "the media size is wrong";
    if (m->cluster_size != made->cs) return "the cluster size is wrong";
    if (image_build_allows(t->variant->open, "DATA")) return NULL; /* not what was made any more */
    if (m->version != made->o.version || m->refcount_bits != (made->o.refcount_bits != 0 ?
                                                                  made->o.refcount_bits : 16))
        return "version or refcount bits are wrong";
    if (m->snapshot_count != t->variant->snapshots) return "another number of snapshots";
    for (i = 0; i < m->snapshot_count; i++) {
        if (qcow2_read_get_snapshot(image, i, &s, NULL) != POSIO_OK) return "no snapshot";
        if (strcmp(s.id, made->snapshot[i].id) != 0) return "another ID of a snapshot";
        if (made->snapshot[i].extra >= 16 && s.media_size > MEDIA_MAX) return "a snapshot's size";
    }
    if (qcow2_read_get_snapshot(image, i, &s, NULL) != POSIO_E_RANGE) return "too many snapshots";
    for (i = 0; qcow2_read_get_warning(image, i, &w) == POSIO_OK; i++)
        if (w.message[0] == 0) return "an empty warning";
    return NULL;
}

/* All that can be asked of an open image. */
static const char *check_image(qcow2_read *image, const truth *t, thread_pool *pool, int in_files)
{
    const posio_source source = qcow2_read_source(image);
    const size_t odd = qcow2_read_info(image)->cluster_size * 2 / 3 + 7;
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
    if (why == NULL) why = check_check(image, t);
    return why;
}

/* Is this how opening must end? */
static const char *judge_open(const qcow2_build_variant *v, posio_result r, const posio_error *err,
                              int in_files)
{
    if ((v->needs & QCOW2_BUILD_NEEDS_ZSTD) && !has_zstd())
        return r == POSIO_E_UNSUPPORTED && strstr(err->message, "zstd") != NULL
                   ? NULL
                   : "zstd must be refused by name";
    return media_truth_judge_open(v->open, v->mentions, r, err, in_files);
}

static qcow2_read_desc desc_for(const qcow2_build *s, const qcow2_build_variant *v)
{
    qcow2_read_desc d;
    memset(&d, 0, sizeof d);
    if (v->needs & QCOW2_BUILD_RAW_OK) d.flags |= QCOW2_READ_RAW_BACKING;
    if (v->needs & QCOW2_BUILD_ALONE) d.flags |= QCOW2_READ_ALONE;
    if (v->needs & QCOW2_BUILD_SNAPSHOT) d.snapshot = s->image[0]->snapshot[v->snapshot - 1].id;
    return d;
}

/* What both ways to open have in common. */
static void finish_variant(const truth *t, const char *how, qcow2_read *image, posio_result r,
                           const posio_error *err, thread_pool *pool, int in_files)
{
    const char *why = judge_open(t->variant, r, err, in_files);
    if (why == NULL && r == POSIO_OK) {
        why = check_image(image, t, pool, in_files);
        err = NULL;
    }
    if (why != NULL) blame(t->variant->name, how, why, r != POSIO_OK ? err : NULL);
}

/* From memory, on the calling thread, with a cache that is too small. */
static void variant_in_memory(const truth *t, thread_pool *callers)
{
    const qcow2_build_variant *v = t->variant;
    qcow2_read_desc d = desc_for(t->made, v);
    qcow2_read *image = NULL;
    tally used;
    shelf s;
    posio_error err;
    posio_result r;
    d.alloc = tally_of(&used);
    d.cache_bytes = 100000;
    shelf_make(&s, t->made, &d);
    memset(&err, 0, sizeof err);
    r = shelf_open_image(&s, &image, d.snapshot, &err);
    if (s.refused == 0) finish_variant(t, "in memory", image, r, &err, callers, 0);
    else if (image_build_allows(v->open, "OK") && strcmp(v->open, "OK") == 0)
        blame(v->name, "in memory", "a file is missing", &err);
    shelf_close(&s, image);
    if (tally_end(&used) != 0) blame(v->name, "in memory", "a leak", NULL);
}

/* From files, with a pool of 16 threads. */
static void variant_in_files(const truth *t, thread_pool *pool)
{
    const qcow2_build_variant *v = t->variant;
    qcow2_read_desc d = desc_for(t->made, v);
    qcow2_read *image = NULL;
    tally used;
    posio_error err;
    posio_result r;
    d.alloc = tally_of(&used);
    d.pool = pool;
    memset(&err, 0, sizeof err);
    if (image_build_write(&t->made->set, in("v")) != 0)
        blame(v->name, "in files", "cannot be written", NULL);
    r = qcow2_read_open(&image, in("v/image.qcow2"), &d, &err);
    finish_variant(t, "in files", image, r, &err, pool, 1);
    qcow2_read_close(image);
    image_build_unwrite(&t->made->set, in("v"));
    if (tally_end(&used) != 0) blame(v->name, "in files", "a leak", NULL);
    if (used.peak > 64 * MIB + t->media.set->files * 4 * MIB)
        blame(v->name, "in files", "too much memory", NULL);
}

/* Beyond 4 GiB, and where sparse files are not to be had, files cost too much. */
static int fits_in_files(const qcow2_build_variant *v)
{
#if defined(_WIN32)
    return (v->needs & QCOW2_BUILD_HUGE_FILE) == 0;
#else
    (void)v;
    return 1;
#endif
}

TEST(every_variant_in_memory_and_in_files)
{
    thread_pool *pool = thread_pool_create(16);
    size_t i;
    for (i = 0; i < qcow2_build_variant_count(); i += TEST_STRIDE) {
        const qcow2_build_variant *v = &qcow2_build_variants[i];
        qcow2_build s;
        truth t;
        qcow2_build_make(&s, v);
        truth_make(&t, &s, v);
        variant_in_memory(&t, pool);
        if (fits_in_files(v)) variant_in_files(&t, pool);
        media_truth_free(&t.media);
        qcow2_build_free(&s);
    }
    thread_pool_destroy(pool);
}

TEST(zstd_is_compiled_in)
{
#if !defined(QCOW2_READ_ZSTD)
    SKIP("built without zstd: its variants are refused by name");
#endif
}

/* ------------------------------------------------------------------ cut files, flipped bits */

/* The image ends at `size`. */
static void cut_image(const truth *t, uint64_t size)
{
    const qcow2_build_variant *v = t->variant;
    qcow2_read_desc d = desc_for(t->made, v);
    qcow2_read *image = NULL;
    qcow2_read_check_report report;
    const char *why = NULL;
    char how[40];
    said issues;
    tally used;
    shelf s;
    posio_error err;
    posio_result r;
    d.alloc = tally_of(&used);
    d.cache_bytes = 100000;
    shelf_make(&s, t->made, &d);
    s.files.cut = size;
    memset(&err, 0, sizeof err);
    r = shelf_open_image(&s, &image, d.snapshot, &err);
    if (r != POSIO_OK) {
        if (r != POSIO_E_DATA && r != POSIO_E_FORMAT && r != POSIO_E_UNSUPPORTED &&
            r != POSIO_E_MISSING && r != POSIO_E_NOT_FOUND && r != POSIO_E_POLICY)
            why = "opening ends with a strange code";
        else if (err.code != r || err.message[0] == 0) why = "an error without a message";
    } else {
        size_t step = (size_t)larger(t->media.set->media_size / 40, 700);
        memset(&issues, 0, sizeof issues);
        posio_source source = qcow2_read_source(image);
        why = media_truth_what_reads(&t->media, &source, step);
        if (why == NULL && run_check(image, 0, &issues, &report, &err) != POSIO_OK)
            why = "the check fails";
    }
    shelf_close(&s, image);
    if (tally_end(&used) != 0) why = "a leak";
    snprintf(how, sizeof how, "cut at %llu", (unsigned long long)size);
    if (why != NULL) blame(v->name, how, why, r != POSIO_OK ? &err : NULL);
}

static void cut_variant(const truth *t)
{
    const image_build *s = t->media.set;
    const uint64_t size = s->file[0].size;
    const size_t most = size > MIB / 2 ? 6 : 40;
    size_t i, step = s->borders / most + 1;
    for (i = 0; i < s->borders; i += step) {
        if (s->border[i] > 0) cut_image(t, s->border[i] - 1);
        cut_image(t, s->border[i]);
        if (s->border[i] + 1 < size) cut_image(t, s->border[i] + 1);
    }
    for (i = 1; i < most / 2; i++) cut_image(t, size / (most / 2) * i + i);
    for (i = 1; i < 4; i++)
        if (size > i) cut_image(t, size - i);
}

TEST(files_end_anywhere)
{
    size_t i;
    for (i = 0; i < qcow2_build_variant_count(); i += TEST_STRIDE) {
        const qcow2_build_variant *v = &qcow2_build_variants[i];
        qcow2_build s;
        truth t;
        if (strcmp(v->open, "OK") != 0 || (v->needs & QCOW2_BUILD_HUGE_FILE)) continue;
        if ((v->needs & QCOW2_BUILD_NEEDS_ZSTD) && !has_zstd()) continue;
        qcow2_build_make(&s, v);
        truth_make(&t, &s, v);
        if (t.media.bytes != NULL && s.set.media_size <= LARGE) cut_variant(&t);
        media_truth_free(&t.media);
        qcow2_build_free(&s);
    }
}

/* Reads, extents, snapshots, the check: they may say anything. */
static const char *use_whatever_opens(qcow2_read *image, uint32_t *reads)
{
    posio_source source = qcow2_read_source(image);
    const char *why = media_truth_use(&source);
    qcow2_read_check_report report;
    qcow2_read_snapshot snapshot;
    uint32_t i;
    said s;
    memset(&s, 0, sizeof s);
    if (why != NULL) return why;
    for (i = 0; qcow2_read_get_snapshot(image, i, &snapshot, NULL) == POSIO_OK; i++) {}
    (void)run_check(image, 0, &s, &report, NULL);
    return posio_atomic_load(reads) > 300000 ? "it reads and reads" : NULL;
}

/* Every bit of the header, its extensions and the backing name, one after the other. */
static void flip_header(const char *name)
{
    const qcow2_build_variant *v = qcow2_build_variant_of(name);
    qcow2_build s;
    uint64_t bit, end;
    if (v == NULL || ((v->needs & QCOW2_BUILD_NEEDS_ZSTD) && !has_zstd())) return;
    qcow2_build_make(&s, v);
    end = larger(112, s.image[0]->ext_end) + 16;
    for (bit = 0; bit < end * 8; bit++) {
        qcow2_read_desc d = desc_for(&s, v);
        qcow2_read *image = NULL;
        const char *why = NULL;
        uint32_t reads = 0;
        uint8_t was, now;
        tally used;
        shelf shelf_of;
        posio_error err;
        posio_result r;
        image_build_read(&s.set.file[0], bit / 8, &was, 1);
        now = (uint8_t)(was ^ 1u << bit % 8);
        image_build_put(&s.set.file[0], bit / 8, &now, 1);
        d.alloc = tally_of(&used);
        d.cache_bytes = 100000;
        shelf_make(&shelf_of, &s, &d);
        shelf_of.files.count = &reads;
        memset(&err, 0, sizeof err);
        r = shelf_open_image(&shelf_of, &image, d.snapshot, &err);
        if (r == POSIO_OK) why = use_whatever_opens(image, &reads);
        else if (err.code != r || err.message[0] == 0) why = "an error without a message";
        else if (r == POSIO_E_IO || r == POSIO_E_NOMEM || r == POSIO_E_ARG || r == POSIO_E_RANGE)
            why = "opening ends with a strange code";
        shelf_close(&shelf_of, image);
        if (used.peak > 48 * MIB) why = "too much memory";
        if (tally_end(&used) != 0) why = "a leak";
        image_build_put(&s.set.file[0], bit / 8, &was, 1);
        if (why != NULL) {
            printf("  bit %llu\n", (unsigned long long)bit);
            blame(name, "a bit is flipped", why, r != POSIO_OK ? &err : NULL);
        }
    }
    qcow2_build_free(&s);
}

TEST(every_bit_of_the_header_flips)
{
    static const char *const names[] = {"plain",    "v2",       "header-120-zstd", "on-qcow2",
                                        "datafile", "snapshots", "bitmaps",         "extended-14"};
    size_t i;
    for (i = 0; i < COUNT(names); i += TEST_STRIDE) flip_header(names[i]);
}

/* ------------------------------------------------------------------ threads */

typedef struct hot {
    qcow2_read *image;
    uint64_t at;
} hot;

static posio_result read_hot(void *user, uint32_t i, posio_error *err)
{
    const hot *h = (const hot *)user;
    char buf[64];
    return qcow2_read_at(h->image, h->at + i * sizeof buf, buf, sizeof buf, err);
}

/* Two reads to begin with, of the L1 and the L2 table; and then one of the cluster itself. */
TEST(a_hot_cluster_is_read_once)
{
    const qcow2_build_variant *v = qcow2_build_variant_of("plain");
    thread_pool *callers = thread_pool_create(16);
    uint32_t reads = 0;
    qcow2_read_desc d;
    qcow2_build s;
    shelf on;
    hot h;
    qcow2_build_make(&s, v);
    d = desc_for(&s, v);
    shelf_make(&on, &s, &d);
    REQUIRE(shelf_open_image(&on, &h.image, NULL, NULL) == POSIO_OK);
    h.at = 2 * 4096; /* compressed */
    on.files.count = &reads;
    CHECK_EQ(thread_pool_parallel_for(callers, 16, read_hot, &h, NULL), POSIO_OK);
    CHECK_EQ(reads, 3);
    shelf_close(&on, h.image);
    qcow2_build_free(&s);
    thread_pool_destroy(callers);
}

/* 16 callers on a pool of their own, reads cut for another, in caches of one or two clusters. */
TEST(many_threads_read_the_same_bytes)
{
    static const char *const names[] = {"plain", "chain-30", "on-qcow2-512", "cluster-16",
                                        "snapshots-1", "extended-16", "datafile"};
    thread_pool *callers = thread_pool_create(16), *lent = thread_pool_create(3);
    size_t i;
    for (i = 0; i < 2 * COUNT(names); i++) {
        const qcow2_build_variant *v = qcow2_build_variant_of(names[i / 2]);
        qcow2_read *image = NULL;
        qcow2_read_desc d;
        qcow2_build s;
        shelf on;
        truth t;
        posio_source source;
        if (v == NULL) continue;
        qcow2_build_make(&s, v);
        truth_make(&t, &s, v);
        d = desc_for(&s, v);
        d.pool = i % 2 != 0 ? lent : callers;
        d.cache_bytes = 20000;
        shelf_make(&on, &s, &d);
        REQUIRE(shelf_open_image(&on, &image, d.snapshot, NULL) == POSIO_OK);
        source = qcow2_read_source(image);
        CHECK_STR(media_truth_at_once(&t.media, &source, callers, 60, 0), NULL);
        shelf_close(&on, image);
        media_truth_free(&t.media);
        qcow2_build_free(&s);
    }
    thread_pool_destroy(callers);
    thread_pool_destroy(lent);
}

/* ------------------------------------------------------------------ chains and policy */

/* One file of a chain: "c<i>.qcow2", 512-byte clusters, its own data in cluster i. */
static void write_link(uint32_t i, const char *backing, const char *format)
{
    qcow2_build_options o = qcow2_build_none();
    qcow2_build_image *m;
    qcow2_build s;
    char name[40], path[60];
    memset(&s, 0, sizeof s);
    snprintf(name, sizeof name, "c%u.qcow2", (unsigned)i);
    snprintf(path, sizeof path, "v/%s", name);
    o.cluster_bits = 9;
    o.size = 100 * 512;
    o.backing = backing;
    o.backing_format = format;
    m = qcow2_build_begin(&s, name, &o);
    qcow2_build_data(m, i, IMAGE_BUILD_FILL + i + 1);
    qcow2_build_finish(m);
    CHECK_EQ(image_build_write_file(&s.set.file[0], in(path)), 0);
    qcow2_build_free(&s);
}

static void remove_links(uint32_t n)
{
    char path[60];
    uint32_t i;
    for (i = 0; i < n; i++) {
        snprintf(path, sizeof path, "v/c%u.qcow2", (unsigned)i);
        (void)remove(in(path));
    }
}

static void write_chain(uint32_t n)
{
    char backing[40];
    uint32_t i;
    for (i = 0; i < n; i++) {
        snprintf(backing, sizeof backing, "c%u.qcow2", (unsigned)(i + 1));
        write_link(i, i + 1 < n ? backing : NULL, i + 1 < n ? "qcow2" : NULL);
    }
}

TEST(chains_have_a_limit)
{
    static uint8_t media[100 * 512];
    qcow2_read *image = NULL;
    qcow2_read_desc d;
    posio_error err;
    uint32_t i;
    memset(&d, 0, sizeof d);
    write_chain(POSIO_LAYERS);
    REQUIRE(qcow2_read_open(&image, in("v/c0.qcow2"), &d, &err) == POSIO_OK);
    CHECK_EQ(qcow2_read_at(image, 0, media, sizeof media, &err), POSIO_OK);
    for (i = 0; i < 100; i++) CHECK_EQ(media[i * 512 + 7], i < POSIO_LAYERS ? i + 1 : 0);
    qcow2_read_close(image);
    image = NULL;
    write_chain(POSIO_LAYERS + 1);
    CHECK_EQ((int64_t)qcow2_read_open(&image, in("v/c0.qcow2"), &d, &err), POSIO_E_LIMIT);
    CHECK(strstr(err.message, "64") != NULL);
    CHECK(image == NULL);
    d.flags = QCOW2_READ_ALONE;
    CHECK_EQ(qcow2_read_open(&image, in("v/c0.qcow2"), &d, &err), POSIO_OK);
    CHECK_EQ(qcow2_read_at(image, 0, media, sizeof media, &err), POSIO_OK);
    for (i = 0; i < 100; i++) CHECK_EQ(media[i * 512 + 7], i == 0 ? 1 : 0);
    qcow2_read_close(image);
    remove_links(POSIO_LAYERS + 1);
}

/* Opens c0, which names `backing`; reads a byte that lies there. */
static posio_result open_on(const char *backing, const char *format, const qcow2_read_desc *d,
                            int *byte, posio_error *err)
{
    qcow2_read *image = NULL;
    uint8_t got = 0;
    posio_result r;
    memset(err, 0, sizeof *err);
    write_link(0, backing, format);
    r = qcow2_read_open(&image, in("v/c0.qcow2"), d, err);
    if (r == POSIO_OK) r = qcow2_read_at(image, 600, &got, 1, err);
    *byte = got;
    qcow2_read_close(image);
    return r;
}

TEST(circles_are_refused)
{
    posio_error err;
    int byte;
    write_link(1, "c2.qcow2", "qcow2");
    write_link(2, "c0.qcow2", "qcow2");
    CHECK_EQ((int64_t)open_on("c1.qcow2", "qcow2", NULL, &byte, &err), POSIO_E_DATA);
    CHECK(strstr(err.message, "circle") != NULL);
    CHECK(strstr(err.file, "c2.qcow2") != NULL);
    CHECK_EQ((int64_t)open_on("c0.qcow2", "qcow2", NULL, &byte, &err), POSIO_E_DATA);
    CHECK(strstr(err.message, "itself") != NULL);
    CHECK_EQ((int64_t)open_on("./c0.qcow2", "raw", NULL, &byte, &err), POSIO_E_DATA);
#if !defined(_WIN32)
    REQUIRE(symlink("c0.qcow2", in("v/link")) == 0);
    CHECK_EQ((int64_t)open_on("link", "qcow2", NULL, &byte, &err), POSIO_E_DATA);
    (void)remove(in("v/link"));
    REQUIRE(link(in("v/c0.qcow2"), in("v/hard")) == 0);
    {
        qcow2_read *image = NULL; /* open_on would write a new file */
        write_link(0, "hard", "qcow2");
        CHECK_EQ((int64_t)qcow2_read_open(&image, in("v/c0.qcow2"), NULL, &err), POSIO_E_DATA);
    }
    (void)remove(in("v/hard"));
#endif
    remove_links(3);
}

TEST(stored_names_stay_in_the_folder)
{
    static uint8_t raw[4096];
    qcow2_read_desc d;
    posio_error err;
    char full[1700];
    int byte;
    memset(&d, 0, sizeof d);
    d.allow = POSIO_ALLOW_OUTSIDE;
    memset(raw, 0x5a, sizeof raw);
    REQUIRE(put(in("outside.raw"), raw, sizeof raw) && put(in("v/base.raw"), raw, sizeof raw));
    CHECK_EQ(open_on("base.raw", "raw", NULL, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 0x5a);
    CHECK_EQ(open_on("file:base.raw", "raw", NULL, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 0x5a);
    CHECK_EQ((int64_t)open_on("../outside.raw", "raw", NULL, &byte, &err), POSIO_E_POLICY);
    CHECK(strstr(err.message, "POSIO_ALLOW_OUTSIDE") != NULL);
    CHECK(strstr(err.message, "backing file") != NULL);
    CHECK(strstr(err.file, "c0.qcow2") != NULL);
    CHECK_EQ((int64_t)open_on("file:../outside.raw", "raw", NULL, &byte, &err), POSIO_E_POLICY);
    CHECK_EQ(open_on("../outside.raw", "raw", &d, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 0x5a);
    CHECK_EQ((int64_t)open_on("json:{\"driver\":\"file\"}", "raw", &d, &byte, &err),
             POSIO_E_UNSUPPORTED);
#if !defined(_WIN32)
    snprintf(full, sizeof full, "%s", in("outside.raw"));
    if (full[0] == '/') {
        CHECK_EQ((int64_t)open_on(full, "raw", NULL, &byte, &err), POSIO_E_POLICY);
        CHECK_EQ(open_on(full, "raw", &d, &byte, &err), POSIO_OK);
        CHECK_EQ(byte, 0x5a);
    }
    REQUIRE(symlink("../outside.raw", in("v/out")) == 0 && symlink("base.raw", in("v/in")) == 0);
    CHECK_EQ((int64_t)open_on("out", "raw", NULL, &byte, &err), POSIO_E_POLICY);
    CHECK_EQ(open_on("out", "raw", &d, &byte, &err), POSIO_OK);
    CHECK_EQ(open_on("in", "raw", NULL, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 0x5a);
    (void)remove(in("v/out"));
    (void)remove(in("v/in"));
#else
    (void)full;
#endif
    (void)remove(in("outside.raw"));
    (void)remove(in("v/base.raw"));
    remove_links(1);
}

/* A raw file that begins like a QCOW2 image is raw when the image says so, or the caller. */
TEST(formats_are_not_guessed)
{
    static uint8_t raw[4096];
    qcow2_read_desc d;
    posio_error err;
    int byte;
    memset(&d, 0, sizeof d);
    memset(raw, 0x33, sizeof raw);
    memcpy(raw, "QFI\xfb\0\0\0\3", 8);
    REQUIRE(put(in("v/base"), raw, sizeof raw));
    CHECK_EQ((int64_t)open_on("base", NULL, NULL, &byte, &err), POSIO_E_POLICY);
    CHECK(strstr(err.message, "QCOW2_READ_RAW_BACKING") != NULL);
    CHECK_EQ((int64_t)open_on("base", "qcow2", NULL, &byte, &err), POSIO_E_DATA);
    CHECK(strstr(err.file, "base") != NULL);
    CHECK_EQ(open_on("base", "raw", NULL, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 0x33);
    d.flags = QCOW2_READ_RAW_BACKING;
    CHECK_EQ(open_on("base", NULL, &d, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 0x33);
    CHECK_EQ((int64_t)open_on("base", "vmdk", &d, &byte, &err), POSIO_E_UNSUPPORTED);
    CHECK(strstr(err.message, "vmdk") != NULL);
    d.flags = QCOW2_READ_ALONE;
    CHECK_EQ(open_on("base", NULL, &d, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 0);
    CHECK_EQ(open_on("../../etc/passwd", "raw", &d, &byte, &err), POSIO_OK); /* nothing is opened */
    (void)remove(in("v/base"));
    remove_links(1);
}

/* A resolver of the caller: one format from memory, and one failure. */
static posio_result exotic_open(void *self, const posio_reference *reference, posio_source *out,
                                posio_error *err)
{
    if (reference->kind == POSIO_REFERENCE_PARENT && reference->format != NULL &&
        strcmp(reference->format, "exotic") == 0) {
        *out = posio_memory_source((posio_memory *)self);
        return POSIO_OK;
    }
    (void)posio_fail(err, POSIO_E_ACCESS, 77, "not for you: %s", reference->name);
    return posio_fail_in(err, "its.file", 3), POSIO_E_ACCESS;
}

TEST(resolvers_open_any_format_and_their_errors_pass)
{
    static uint8_t raw[1000];
    posio_memory memory;
    posio_resolver resolver;
    qcow2_read_desc d;
    posio_error err;
    int byte;
    memset(&d, 0, sizeof d);
    memset(raw, 0x44, sizeof raw);
    memory.data = raw;
    memory.size = sizeof raw;
    resolver.open = exotic_open;
    resolver.self = &memory;
    d.resolver = &resolver;
    CHECK_EQ(open_on("nbd://x", "exotic", &d, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 0x44);
    memory.size = 100; /* shorter: zeros behind its end */
    CHECK_EQ(open_on("nbd://x", "exotic", &d, &byte, &err), POSIO_OK);
    CHECK_EQ(byte, 0);
    CHECK_EQ((int64_t)open_on("nbd://x", "raw", &d, &byte, &err), POSIO_E_ACCESS);
    CHECK_EQ(err.code, POSIO_E_ACCESS);
    CHECK_EQ(err.offset, 77);
    CHECK_EQ(err.segment, 3);
    CHECK_STR(err.file, "its.file");
    CHECK_STR(err.message, "not for you: nbd://x");
    remove_links(1);
}

/* Warnings of backing files that are found without the caller's help are not lost. */
TEST(warnings_of_backing_files_are_shown)
{
    static const char *const wanted[] = {"the image is marked as corrupt",
                                         "c1.qcow2: the image is marked as corrupt"};
    qcow2_read *image = NULL;
    qcow2_read_warning w;
    qcow2_build_options o = qcow2_build_none();
    qcow2_build_image *m;
    qcow2_build s;
    uint32_t i;
    for (i = 0; i < 2; i++) {
        memset(&s, 0, sizeof s);
        o.cluster_bits = 9;
        o.size = 512;
        o.backing = i == 0 ? "c1.qcow2" : NULL;
        o.backing_format = i == 0 ? "qcow2" : NULL;
        m = qcow2_build_begin(&s, "x", &o);
        qcow2_build_finish(m);
        image_build_put(&s.set.file[0], 79, "\2", 1); /* of the incompatible features */
        REQUIRE(image_build_write_file(&s.set.file[0],
                                       in_v(i == 0 ? "c0.qcow2" : "c1.qcow2")) == 0);
        qcow2_build_free(&s);
    }
    REQUIRE(qcow2_read_open(&image, in("v/c0.qcow2"), NULL, NULL) == POSIO_OK);
    for (i = 0; qcow2_read_get_warning(image, i, &w) == POSIO_OK; i++)
        CHECK(i < 2 && strncmp(w.message, wanted[i], strlen(wanted[i])) == 0);
    CHECK_EQ(i, 2);
    qcow2_read_close(image);
    remove_links(2);
}

/* A name of no characters is copied as any other. */
TEST(an_empty_name_is_copied)
{
    qcow2_read *image = NULL;
    qcow2_build s;
    qcow2_read_desc d;
    posio_source source;
    posio_error err;
    watched w;
    shelf on;
    char name[2] = "";
    uint8_t byte;
    memset(&d, 0, sizeof d);
    memset(&w, 0, sizeof w);
    qcow2_build_make(&s, qcow2_build_variant_of("plain"));
    shelf_make(&on, &s, &d);
    w.below = image_shelf_source(&on.files, 0);
    source = watched_source(&w);
    d.name = name;
    REQUIRE(qcow2_read_open_source(&image, &source, &d, &err) == POSIO_OK);
    name[0] = 'x';
    w.fails = 1;
    CHECK_EQ((int64_t)qcow2_read_at(image, 0, &byte, 1, &err), POSIO_E_IO);
    CHECK_STR(err.file, "");
    qcow2_read_close(image);
    qcow2_build_free(&s);
}

/* An overlay with every second cluster, on a backing file that is asked for its extents once. */
TEST(the_backing_files_extents_are_asked_once)
{
    static uint8_t raw[100 * 512];
    qcow2_build_options o = qcow2_build_none();
    posio_memory memory;
    posio_resolver resolver;
    posio_source source;
    posio_extent e;
    qcow2_read *image = NULL;
    qcow2_read_desc d;
    qcow2_build_image *m;
    qcow2_build s;
    watched w;
    uint64_t at;
    uint32_t i;
    memset(&s, 0, sizeof s);
    memset(&w, 0, sizeof w);
    memset(&d, 0, sizeof d);
    memory.data = raw;
    memory.size = sizeof raw;
    w.below = posio_memory_source(&memory);
    resolver.open = watched_open;
    resolver.self = &w;
    d.resolver = &resolver;
    o.cluster_bits = 9;
    o.size = 100 * 512;
    o.backing = "base";
    o.backing_format = "raw";
    m = qcow2_build_begin(&s, "c0.qcow2", &o);
    for (i = 0; i < 100; i += 2) qcow2_build_data(m, i, IMAGE_BUILD_FILL + 1);
    qcow2_build_finish(m);
    REQUIRE(image_build_write_file(&s.set.file[0], in("v/c0.qcow2")) == 0);
    qcow2_build_free(&s);
    REQUIRE(qcow2_read_open(&image, in("v/c0.qcow2"), &d, NULL) == POSIO_OK);
    source = qcow2_read_source(image);
    w.extents = 0;
    for (at = 0; at < source.size; at += e.length) {
        REQUIRE(posio_extent_of(&source, at, &e, NULL) == POSIO_OK && e.length != 0);
        CHECK_EQ(e.kind, POSIO_EXTENT_DATA);
    }
    CHECK_EQ(w.extents, 1);
    qcow2_read_close(image);
    remove_links(1);
}

TEST(without_a_resolver_a_source_stands_alone)
{
    const qcow2_build_variant *v = qcow2_build_variant_of("on-raw");
    qcow2_read *image = NULL;
    qcow2_read_desc d;
    qcow2_build s;
    shelf on;
    posio_source source;
    posio_error err;
    memset(&d, 0, sizeof d);
    qcow2_build_make(&s, v);
    shelf_make(&on, &s, &d);
    source = image_shelf_source(&on.files, 0);
    CHECK_EQ((int64_t)qcow2_read_open_source(&image, &source, NULL, &err), POSIO_E_POLICY);
    CHECK(strstr(err.message, "base.raw") != NULL && strstr(err.message, "resolver") != NULL);
    CHECK(image == NULL);
    d.flags = QCOW2_READ_ALONE;
    CHECK_EQ(qcow2_read_open_source(&image, &source, &d, &err), POSIO_OK);
    qcow2_read_close(image);
    qcow2_build_free(&s);
}

/* The innermost file is named: an error two layers down has the offset and path of that file. */
TEST(errors_name_the_file_below)
{
    qcow2_build_options o = qcow2_build_none();
    qcow2_read *image = NULL;
    qcow2_build_image *m;
    qcow2_build s;
    posio_error err;
    uint64_t at;
    char buf[10];
    memset(&s, 0, sizeof s);
    o.cluster_bits = 9;
    o.size = 100 * 512;
    m = qcow2_build_begin(&s, "c2.qcow2", &o);
    qcow2_build_data(m, 50, IMAGE_BUILD_FILL + 1);
    qcow2_build_finish(m);
    at = qcow2_build_l2_at(m, 50);
    qcow2_build_put64(m->f, at, (uint64_t)1 << 40);
    CHECK_EQ(image_build_write_file(&s.set.file[0], in("v/c2.qcow2")), 0);
    write_link(1, "c2.qcow2", "qcow2");
    write_link(0, "c1.qcow2", "qcow2");
    REQUIRE(qcow2_read_open(&image, in("v/c0.qcow2"), NULL, &err) == POSIO_OK);
    CHECK_EQ((int64_t)qcow2_read_at(image, 50 * 512, buf, sizeof buf, &err), POSIO_E_DATA);
    CHECK_EQ(err.offset, at);
    CHECK(strstr(err.file, "c2.qcow2") != NULL);
    CHECK_EQ(qcow2_read_at(image, 49 * 512, buf, sizeof buf, &err), POSIO_OK);
    qcow2_read_close(image);
    qcow2_build_free(&s);
    remove_links(3);
}

/* ------------------------------------------------------------------ snapshots, arguments */

TEST(snapshots_are_found_by_id_and_by_name)
{
    qcow2_read *image = NULL;
    qcow2_read_snapshot found;
    qcow2_read_desc d;
    qcow2_build s;
    shelf on;
    posio_error err;
    memset(&d, 0, sizeof d);
    qcow2_build_make(&s, qcow2_build_variant_of("snapshots"));
    shelf_make(&on, &s, &d);
    REQUIRE(shelf_open_image(&on, &image, "first", NULL) == POSIO_OK);
    CHECK_EQ(qcow2_read_info(image)->snapshot_count, 3);
    CHECK_EQ(qcow2_read_get_snapshot(image, 2, &found, &err), POSIO_OK);
    CHECK_STR(found.id, "30");
    CHECK_STR(found.name, "\x1b[31m bad \xff\xfe\n n"); /* as stored: escaped by who shows it */
    CHECK_EQ(found.media_size, 4096 * 600);
    CHECK_EQ(found.date_ns, 123456789);
    CHECK_EQ(found.icount, UINT64_MAX);
    CHECK_EQ(found.is_cut, 0);
    CHECK_EQ((int64_t)qcow2_read_get_snapshot(image, 3, &found, &err), POSIO_E_RANGE);
    shelf_close(&on, image);
    image = NULL;
    REQUIRE(shelf_open_image(&on, &image, "2", NULL) == POSIO_OK);
    CHECK_EQ(qcow2_read_info(image)->media_size, 4096 * 3 + 1024);
    shelf_close(&on, image);
    image = NULL;
    CHECK_EQ((int64_t)shelf_open_image(&on, &image, "3", &err), POSIO_E_NOT_FOUND);
    CHECK(strstr(err.message, "\"3\"") != NULL);
    CHECK(image == NULL);
    qcow2_build_free(&s);
}

/* A snapshot whose name is the ID of another one: the ID wins. */
TEST(an_id_comes_before_a_name)
{
    qcow2_build_options o = qcow2_build_none();
    qcow2_read *image = NULL;
    qcow2_build_image *m;
    qcow2_read_desc d;
    qcow2_build s;
    shelf on;
    char got[2];
    memset(&d, 0, sizeof d);
    memset(&s, 0, sizeof s);
    o.size = 4096;
    m = qcow2_build_begin(&s, "image.qcow2", &o);
    (void)qcow2_build_new_snapshot(m, "1", "2", 4096);
    qcow2_build_data(m, 0, IMAGE_BUILD_FILL + 0x11);
    (void)qcow2_build_new_snapshot(m, "2", "other", 4096);
    qcow2_build_data(m, 0, IMAGE_BUILD_FILL + 0x22);
    m->current = 0;
    qcow2_build_finish(m);
    shelf_make(&on, &s, &d);
    REQUIRE(shelf_open_image(&on, &image, "2", NULL) == POSIO_OK);
    CHECK_EQ(qcow2_read_at(image, 5, got, 2, NULL), POSIO_OK);
    CHECK_EQ(got[0], 0x22);
    shelf_close(&on, image);
    qcow2_build_free(&s);
}

TEST(ranges_arguments_and_families)
{
    static const struct {
        const char *bytes;
        posio_result code;
        const char *word;
    } begins[] = {{"QFI\xfb\0\0\0\2", POSIO_OK, ""}, {"QFI\xfb\0\0\0\3", POSIO_OK, ""},
                  {"QFI\xfb\0\0\0\1", POSIO_E_UNSUPPORTED, "version 1"},
                  {"QFI\xfb\1\0\0\3", POSIO_E_UNSUPPORTED, "version"},
                  {"KDMV\1\0\0\0", POSIO_E_FORMAT, "not a QCOW2"}};
    qcow2_read *image = NULL;
    qcow2_read_desc d;
    qcow2_build s;
    shelf on;
    posio_error err;
    char buf[4];
    size_t i;
    for (i = 0; i < COUNT(begins); i++) {
        posio_memory m;
        posio_source source;
        m.data = begins[i].bytes;
        m.size = 8;
        source = posio_memory_source(&m);
        err.message[0] = 0;
        CHECK_EQ((int64_t)qcow2_read_probe(&source, &err), begins[i].code);
        CHECK(strstr(err.message, begins[i].word) != NULL);
        m.size = 7;
        source = posio_memory_source(&m);
        CHECK_EQ((int64_t)qcow2_read_probe(&source, &err), POSIO_E_FORMAT);
    }
    memset(&d, 0, sizeof d);
    qcow2_build_make(&s, qcow2_build_variant_of("plain"));
    shelf_make(&on, &s, &d);
    REQUIRE(shelf_open_image(&on, &image, NULL, &err) == POSIO_OK);
    CHECK_EQ((int64_t)qcow2_read_at(image, s.set.media_size - 3, buf, 4, &err), POSIO_E_RANGE);
    CHECK_EQ((int64_t)qcow2_read_at(image, UINT64_MAX, buf, 4, &err), POSIO_E_RANGE);
    CHECK_EQ(qcow2_read_at(image, s.set.media_size, buf, 0, &err), POSIO_OK);
    CHECK_EQ(qcow2_read_source(image).unit, 4096);
    shelf_close(&on, image);
    image = NULL;
    on.desc.alloc.alloc_fn = tally_alloc;
    CHECK_EQ((int64_t)shelf_open_image(&on, &image, NULL, &err), POSIO_E_ARG);
    CHECK(image == NULL);
    CHECK_EQ((int64_t)qcow2_read_open(&image, in("v/nothing"), NULL, &err), POSIO_E_NOT_FOUND);
    CHECK(strstr(err.file, "nothing") != NULL);
    qcow2_read_close(NULL);
    qcow2_build_free(&s);
}

/* More L1 entries are claimed than the file has bytes for: those that the media need are there. */
TEST(an_l1_table_that_claims_too_much_is_a_warning)
{
    const qcow2_build_variant *v = qcow2_build_variant_of("l1-size-huge");
    qcow2_read *image = NULL;
    qcow2_read_warning w;
    qcow2_read_desc d;
    qcow2_build s;
    shelf on;
    qcow2_build_make(&s, v);
    d = desc_for(&s, v);
    shelf_make(&on, &s, &d);
    REQUIRE(shelf_open_image(&on, &image, NULL, NULL) == POSIO_OK);
    REQUIRE(qcow2_read_get_warning(image, 0, &w) == POSIO_OK);
    CHECK(strstr(w.message, "L1 table claims 4294967295 entries") != NULL);
    CHECK_EQ(w.offset, 36);
    CHECK_EQ((int64_t)qcow2_read_get_warning(image, 1, &w), POSIO_E_RANGE);
    shelf_close(&on, image);
    qcow2_build_free(&s);
}

/* ------------------------------------------------------------------ the check */

typedef struct wanted {
    uint32_t severity, found;
    uint64_t offset;
} wanted;

static void seek_issue(void *user, const qcow2_read_issue *issue)
{
    wanted *w = (wanted *)user;
    if (issue->severity == w->severity && issue->offset == w->offset) w->found++;
}

/* The check of a set names an issue of this severity at this offset, once, and so many in all. */
static void names_issue(const qcow2_build *s, uint32_t severity, uint64_t offset, uint64_t all)
{
    qcow2_read *image = NULL;
    qcow2_read_check_desc desc;
    qcow2_read_check_report report;
    qcow2_read_desc d;
    wanted w;
    shelf on;
    memset(&d, 0, sizeof d);
    memset(&desc, 0, sizeof desc);
    memset(&w, 0, sizeof w);
    shelf_make(&on, s, &d);
    w.severity = severity;
    w.offset = offset;
    desc.issue = seek_issue;
    desc.user = &w;
    REQUIRE(shelf_open_image(&on, &image, NULL, NULL) == POSIO_OK);
    CHECK_EQ(qcow2_read_check(image, &desc, &report, NULL), POSIO_OK);
    CHECK_EQ(w.found, 1);
    CHECK_EQ(report.corruptions + report.leaks, all);
    shelf_close(&on, image);
}

TEST(the_check_says_where)
{
    qcow2_build_options o = qcow2_build_none();
    qcow2_build_image *m;
    qcow2_build s;
    uint64_t data, entry;
    memset(&s, 0, sizeof s);
    o.size = 4096 * 3;
    m = qcow2_build_begin(&s, "image.qcow2", &o);
    qcow2_build_data(m, 0, IMAGE_BUILD_NOISE + 1);
    qcow2_build_data(m, 1, IMAGE_BUILD_NOISE + 2);
    qcow2_build_finish(m);
    data = qcow2_build_at(m, 1)->host;
    entry = qcow2_build_l2_at(m, 1);
    qcow2_build_set_refcount(m, data, 7); /* not 1, as bit 63 says; and 6 too many */
    names_issue(&s, QCOW2_READ_LEAK, data, 2);
    names_issue(&s, QCOW2_READ_CORRUPTION, entry, 2);
    qcow2_build_set_refcount(m, data, 0);
    names_issue(&s, QCOW2_READ_CORRUPTION, data, 2);
    qcow2_build_set_refcount(m, data, 1);
    qcow2_build_put64(m->f, entry, data | (uint64_t)1 << 63 | 2); /* a reserved bit */
    names_issue(&s, QCOW2_READ_CORRUPTION, entry, 1);
    qcow2_build_put64(m->f, entry, (data + 512) | (uint64_t)1 << 63); /* and then it is lost */
    names_issue(&s, QCOW2_READ_CORRUPTION, entry, 2);
    names_issue(&s, QCOW2_READ_LEAK, data, 2);
    qcow2_build_put64(m->f, entry, (uint64_t)1 << 40 | (uint64_t)1 << 63);
    names_issue(&s, QCOW2_READ_CORRUPTION, entry, 2);
    qcow2_build_put64(m->f, entry, m->view[0].l1_at | (uint64_t)1 << 63); /* shared with the L1 */
    names_issue(&s, QCOW2_READ_CORRUPTION, entry, 3);
    names_issue(&s, QCOW2_READ_CORRUPTION, m->view[0].l1_at, 3);
    qcow2_build_free(&s);
}

/* One L2 table under twenty L1 entries: counted the same way, however many passes there are. */
TEST(a_shared_table_counts_the_same_in_every_pass)
{
    qcow2_build_options o = qcow2_build_none();
    qcow2_read *image = NULL;
    qcow2_read_check_report one, many;
    qcow2_build_image *m;
    qcow2_read_desc d;
    qcow2_build s;
    said first, again;
    shelf on;
    uint64_t i;
    memset(&d, 0, sizeof d);
    memset(&s, 0, sizeof s);
    memset(&first, 0, sizeof first);
    o.size = (uint64_t)4096 * 512 * 20;
    m = qcow2_build_begin(&s, "image.qcow2", &o);
    for (i = 0; i < 9; i++) qcow2_build_data(m, i, IMAGE_BUILD_NOISE + 1);
    qcow2_build_finish(m);
    for (i = 1; i < 20; i++)
        qcow2_build_put64(m->f, m->view[0].l1_at + i * 8,
                          image_build_get_be(m->f, m->view[0].l1_at, 8));
    shelf_make(&on, &s, &d);
    REQUIRE(shelf_open_image(&on, &image, NULL, NULL) == POSIO_OK);
    CHECK_EQ(run_check(image, 0, &first, &one, NULL), POSIO_OK);
    CHECK(one.corruptions != 0);
    for (i = 2; i < 40; i += 3) {
        memset(&again, 0, sizeof again);
        CHECK_EQ(run_check(image, i, &again, &many, NULL), POSIO_OK);
        CHECK_EQ(many.corruptions, one.corruptions);
        CHECK_EQ(many.leaks, one.leaks);
        CHECK_EQ(again.bag, first.bag);
    }
    shelf_close(&on, image);
    qcow2_build_free(&s);
}

TEST(the_check_can_be_canceled)
{
    qcow2_read *image = NULL;
    qcow2_read_check_report report;
    qcow2_read_desc d;
    qcow2_build s;
    said issues;
    shelf on;
    tally used;
    posio_error err;
    uint32_t at;
    memset(&d, 0, sizeof d);
    d.alloc = tally_of(&used);
    qcow2_build_make(&s, qcow2_build_variant_of("tables"));
    shelf_make(&on, &s, &d);
    REQUIRE(shelf_open_image(&on, &image, NULL, NULL) == POSIO_OK);
    for (at = 1; at < 5; at++) {
        memset(&issues, 0, sizeof issues);
        memset(&report, 0xee, sizeof report);
        issues.cancel_at = at;
        CHECK_EQ((int64_t)run_check(image, 8, &issues, &report, &err), POSIO_E_CANCELED);
        CHECK_EQ(err.code, POSIO_E_CANCELED);
        CHECK_EQ(issues.calls, at);
        CHECK_EQ(report.is_complete, 0xeeeeeeeeu); /* untouched */
    }
    CHECK_EQ(qcow2_read_check(image, NULL, &report, &err), POSIO_OK);
    CHECK_EQ(report.corruptions + report.leaks, 0);
    shelf_close(&on, image);
    CHECK_EQ(tally_end(&used), 0);
    qcow2_build_free(&s);
}

/* ------------------------------------------------------------------ memory */

/* A disk of 16 TiB, every table of which is there: 32,768 L2 tables of 64 KiB. Of four clusters two
   are data, one is not allocated, one is compressed (all are one stream). Made as it is read. */
enum { HUGE_BITS = 16, HUGE_L2S = 32768, HUGE_ENTRIES = 8192 };
#define HUGE_L1 ((uint64_t)1 << HUGE_BITS)
#define HUGE_L2 ((uint64_t)8 << HUGE_BITS)
#define HUGE_PACKED (HUGE_L2 + ((uint64_t)HUGE_L2S << HUGE_BITS))
#define HUGE_DATA (HUGE_PACKED + ((uint64_t)1 << HUGE_BITS))
#define HUGE_MEDIA ((uint64_t)16 << 40)
enum { HUGE_SEED = IMAGE_BUILD_NOISE + 9, HUGE_FILL = 0x61 };

typedef struct huge {
    uint8_t header[112];
    qcow2_build_bytes stream;
} huge;

static uint64_t huge_entry(uint64_t cluster, const huge *h)
{
    uint64_t sectors = (h->stream.size + 511) / 512;
    switch (cluster % 4) {
    case 2: return 0;
    case 3: return (uint64_t)1 << 62 | (sectors - 1) << (62 - (HUGE_BITS - 8)) | HUGE_PACKED;
    default: return (HUGE_DATA + (cluster << HUGE_BITS)) | (uint64_t)1 << 63;
    }
}

/* The byte of the file. Tables come in words of 8 bytes; what is around them is zeros. */
static uint8_t huge_byte(const huge *h, uint64_t at)
{
    uint64_t word = 0;
    if (at < sizeof h->header) return h->header[at];
    if (at >= HUGE_DATA) return image_build_byte(HUGE_SEED, at - HUGE_DATA);
    if (at >= HUGE_PACKED)
        return at - HUGE_PACKED < h->stream.size ? h->stream.data[at - HUGE_PACKED] : 0;
    if (at >= HUGE_L2) word = huge_entry((at - HUGE_L2) / 8, h);
    else if (at >= HUGE_L1 && at < HUGE_L1 + HUGE_L2S * 8)
        word = (HUGE_L2 + ((at - HUGE_L1) / 8 << HUGE_BITS)) | (uint64_t)1 << 63;
    return (uint8_t)(word >> (7 - at % 8) * 8);
}

static uint8_t huge_media(uint64_t at)
{
    uint64_t kind = (at >> HUGE_BITS) % 4;
    return kind == 2 ? 0 : kind == 3 ? HUGE_FILL : image_build_byte(HUGE_SEED, at);
}

static posio_result huge_read(void *self, uint64_t offset, void *buf, size_t n, posio_error *err)
{
    uint8_t *out = (uint8_t *)buf;
    size_t i;
    (void)err;
    for (i = 0; i < n; i++) out[i] = huge_byte((const huge *)self, offset + i);
    return POSIO_OK;
}

static posio_source huge_make(huge *h)
{
    posio_source source;
    uint8_t reads;
    memset(h, 0, sizeof *h);
    memset(&source, 0, sizeof source);
    memcpy(h->header, "QFI\xfb\0\0\0\3", 8);
    image_build_be(h->header + 20, HUGE_BITS, 4);
    image_build_be(h->header + 24, HUGE_MEDIA, 8);
    image_build_be(h->header + 36, HUGE_L2S, 4);
    image_build_be(h->header + 40, HUGE_L1, 8);
    image_build_be(h->header + 96, 4, 4);
    image_build_be(h->header + 100, 112, 4);
    h->stream = qcow2_build_pack(IMAGE_BUILD_FILL + HUGE_FILL, 0, (size_t)1 << HUGE_BITS,
                                 QCOW2_BUILD_FIXED, &reads);
    source.size = HUGE_DATA + HUGE_MEDIA;
    source.read_at = huge_read;
    source.self = h;
    return source;
}

static posio_result huge_reads(void *user, uint32_t i, posio_error *err)
{
    qcow2_read *image = (qcow2_read *)user;
    uint64_t seed = i + 1;
    uint8_t buf[700];
    int k;
    for (k = 0; k < 125; k++) {
        uint64_t at = test_random(&seed) % (HUGE_MEDIA - sizeof buf);
        size_t j;
        posio_result r;
        if (k == 0) at = HUGE_MEDIA - sizeof buf;
        r = qcow2_read_at(image, at, buf, sizeof buf, err);
        if (r != POSIO_OK) return r;
        for (j = 0; j < sizeof buf; j++)
            if (buf[j] != huge_media(at + j))
                return posio_fail(err, POSIO_E_DATA, at, "wrong bytes");
    }
    return POSIO_OK;
}

TEST(sixteen_tebibytes_take_less_than_64_mib)
{
    thread_pool *pool = thread_pool_create(16);
    qcow2_read *image = NULL;
    qcow2_read_desc d;
    posio_source source, media;
    posio_extent e;
    posio_error err;
    tally used;
    huge h;
    uint64_t at;
    memset(&d, 0, sizeof d);
    d.alloc = tally_of(&used);
    d.pool = pool;
    source = huge_make(&h);
    REQUIRE(qcow2_read_open_source(&image, &source, &d, &err) == POSIO_OK);
    CHECK_EQ(qcow2_read_info(image)->media_size, HUGE_MEDIA);
    CHECK_EQ(thread_pool_parallel_for(pool, 16, huge_reads, image, &err), POSIO_OK);
    media = qcow2_read_source(image);
    for (at = HUGE_MEDIA - ((uint64_t)20 << HUGE_BITS); at < HUGE_MEDIA; at += e.length) {
        uint64_t kind = (at >> HUGE_BITS) % 4;
        REQUIRE(posio_extent_of(&media, at, &e, &err) == POSIO_OK);
        CHECK_EQ(e.kind, kind == 2   ? POSIO_EXTENT_HOLE
                         : kind == 3 ? POSIO_EXTENT_COMPRESSED
                                     : POSIO_EXTENT_DATA);
    }
    CHECK(used.peak > 2 * MIB); /* it was counted */
    CHECK(used.peak < 64 * MIB);
    qcow2_read_close(image);
    CHECK_EQ(tally_end(&used), 0);
    free(h.stream.data);
    thread_pool_destroy(pool);
}

/* Clusters of 2 MiB from streams of some KiB: no more memory than the head of the header says. */
TEST(decompression_is_bounded)
{
    qcow2_build_options o = qcow2_build_none();
    uint32_t threads, i;
    qcow2_build_image *m;
    qcow2_build s;
    memset(&s, 0, sizeof s);
    o.cluster_bits = 21;
    o.size = 24 * 2 * MIB;
    m = qcow2_build_begin(&s, "image.qcow2", &o);
    qcow2_build_packed(m, 0, IMAGE_BUILD_FILL + 7, QCOW2_BUILD_FIXED);
    qcow2_build_finish(m);
    for (i = 1; i < 24; i++) /* all are that one */
        qcow2_build_put64(m->f, qcow2_build_l2_at(m, i),
                          image_build_get_be(m->f, qcow2_build_l2_at(m, 0), 8));
    for (threads = 1; threads <= 16; threads += 15) {
        thread_pool *pool = thread_pool_create(threads);
        size_t n = (size_t)o.size, k;
        uint8_t *out = (uint8_t *)malloc(n);
        qcow2_read *image = NULL;
        qcow2_read_desc d;
        shelf on;
        tally used;
        memset(&d, 0, sizeof d);
        d.alloc = tally_of(&used);
        d.pool = pool;
        shelf_make(&on, &s, &d);
        REQUIRE(out != NULL && shelf_open_image(&on, &image, NULL, NULL) == POSIO_OK);
        CHECK_EQ(qcow2_read_at(image, 0, out, n, NULL), POSIO_OK);
        for (k = 0; k < n && out[k] == 7; k++) {}
        CHECK_EQ(k, n);
        for (i = 0; i < 24; i++) /* through the cache, too */
            CHECK_EQ(qcow2_read_at(image, i * 2 * MIB + 5, out, 9, NULL), POSIO_OK);
        CHECK(used.peak <= (2 + 32 + 1) * MIB + threads * (3 * 2 * MIB + 200 * 1024));
        shelf_close(&on, image);
        CHECK_EQ(tally_end(&used), 0);
        free(out);
        thread_pool_destroy(pool);
    }
    qcow2_build_free(&s);
}

/* ------------------------------------------------------------------ what fails: memory, reads */

static const char *const faulty[] = {"plain",       "header-120-zstd", "on-qcow2",   "datafile",
                                     "snapshots-2", "bitmaps",         "extended-14", "tables"};

/* list: what the check says when nothing fails. */
static const char *trial_check(qcow2_read *image, const media_trial *x, uint64_t list)
{
    qcow2_read_check_report report;
    uint64_t failed = x->f->failed;
    posio_error err;
    said s;
    int again;
    const char *why;
    posio_result r;
    memset(&s, 0, sizeof s);
    r = run_check(image, 0, &s, &report, &err);
    why = media_trial_explain(x, r, &err, failed, &again);
    if (why == NULL && again) {
        memset(&s, 0, sizeof s);
        r = run_check(image, 0, &s, &report, &err);
    }
    if (why == NULL && r != POSIO_OK) why = "the check fails when tried again";
    if (why == NULL && s.list != list) why = "the check says something else";
    return why;
}

static const char *trial_snapshots(qcow2_read *image, const media_trial *x, uint32_t count)
{
    uint32_t i = 0;
    if (qcow2_read_info(image)->snapshot_count != count) return "another number of snapshots";
    while (i < count) {
        uint64_t failed = x->f->failed;
        qcow2_read_snapshot s;
        posio_error err;
        int again;
        posio_result r = qcow2_read_get_snapshot(image, i, &s, &err);
        const char *why = media_trial_explain(x, r, &err, failed, &again);
        if (why != NULL) return why;
        if (!again) i++;
    }
    return NULL;
}

/* What a trial is made of. */
typedef struct trial {
    truth t;
    uint64_t said; /* by the check, when nothing fails */
} trial;

static const char *trial_use(qcow2_read *image, const media_trial *x)
{
    const trial *used = (const trial *)x->user;
    const posio_source source = qcow2_read_source(image);
    const size_t size = (size_t)x->truth->set->media_size, piece = size / 20 + 111;
    const char *why = NULL;
    uint64_t at;
    for (at = 0; why == NULL && at < size; at += piece)
        why = media_trial_read(x, &source, at, (size_t)posio_min(piece, size - at));
    if (why == NULL) why = media_trial_extents(x, &source);
    if (why == NULL) why = trial_snapshots(image, x, used->t.variant->snapshots);
    if (why == NULL) why = trial_check(image, x, used->said);
    if (why == NULL) why = media_trial_read(x, &source, 0, size);
    return why;
}

/* Opens it, from memory or from files, with the allocator and reads that may fail. */
static int run_trial(media_trial *x)
{
    const truth *t = &((const trial *)x->user)->t;
    qcow2_read_desc d = desc_for(t->made, t->variant);
    qcow2_read *image = NULL;
    const char *why;
    shelf on;
    posio_error err;
    posio_result r;
    d.cache_bytes = 20000;
    d.alloc = media_trial_alloc(x);
    shelf_make(&on, t->made, &d);
    on.files.reads = &x->reads;
    memset(&err, 0, sizeof err);
    if (x->in_files) r = qcow2_read_open(&image, in("v/image.qcow2"), &d, &err);
    else r = shelf_open_image(&on, &image, d.snapshot, &err);
    why = media_trial_judge_open(x, r, &err, image != NULL);
    if (why == NULL && r == POSIO_OK) why = trial_use(image, x);
    shelf_close(&on, image);
    return media_trial_end(x, t->variant->name, why, &err);
}

static void every_fault(int is_reads, int in_files)
{
    size_t i;
    for (i = 0; i < COUNT(faulty); i++) {
        const qcow2_build_variant *v = qcow2_build_variant_of(faulty[i]);
        qcow2_read *image = NULL;
        qcow2_read_check_report report;
        qcow2_read_desc d;
        qcow2_build s;
        trial used;
        media_trial x;
        said issues;
        shelf on;
        if (v == NULL || ((v->needs & QCOW2_BUILD_NEEDS_ZSTD) && !has_zstd())) continue;
        qcow2_build_make(&s, v);
        truth_make(&used.t, &s, v);
        memset(&x, 0, sizeof x);
        memset(&issues, 0, sizeof issues);
        x.truth = &used.t.media;
        x.run = run_trial;
        x.user = &used;
        d = desc_for(&s, v);
        shelf_make(&on, &s, &d);
        REQUIRE(shelf_open_image(&on, &image, d.snapshot, NULL) == POSIO_OK);
        CHECK_EQ(run_check(image, 0, &issues, &report, NULL), POSIO_OK);
        used.said = issues.list;
        shelf_close(&on, image);
        if (in_files) REQUIRE(image_build_write(&s.set, in("v")) == 0);
        CHECK(media_trial_all(&x, is_reads, in_files, 1) >= 10);
        if (in_files) image_build_unwrite(&s.set, in("v"));
        media_truth_free(&used.t.media);
        qcow2_build_free(&s);
    }
}

TEST(every_allocation_fails_in_memory) { every_fault(0, 0); }
TEST(every_allocation_fails_in_files) { every_fault(0, 1); }
TEST(every_read_fails) { every_fault(1, 0); }

TEST_MAIN(if (!folder_make("qcow2")) return 1; RUN(every_variant_in_memory_and_in_files);
          RUN(zstd_is_compiled_in); RUN(files_end_anywhere); RUN(every_bit_of_the_header_flips);
          RUN(a_hot_cluster_is_read_once); RUN(many_threads_read_the_same_bytes);
          RUN(chains_have_a_limit); RUN(circles_are_refused);
          RUN(stored_names_stay_in_the_folder); RUN(formats_are_not_guessed);
          RUN(resolvers_open_any_format_and_their_errors_pass);
          RUN(warnings_of_backing_files_are_shown);
          RUN(an_empty_name_is_copied);
          RUN(the_backing_files_extents_are_asked_once);
          RUN(without_a_resolver_a_source_stands_alone); RUN(errors_name_the_file_below);
          RUN(snapshots_are_found_by_id_and_by_name); RUN(an_id_comes_before_a_name);
          RUN(ranges_arguments_and_families);
          RUN(an_l1_table_that_claims_too_much_is_a_warning); RUN(the_check_says_where);
          RUN(a_shared_table_counts_the_same_in_every_pass); RUN(the_check_can_be_canceled);
          RUN(sixteen_tebibytes_take_less_than_64_mib); RUN(decompression_is_bounded);
          RUN(every_allocation_fails_in_memory); RUN(every_allocation_fails_in_files);
          RUN(every_read_fails); folder_remove();)
