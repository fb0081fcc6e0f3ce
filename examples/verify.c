/* verify.c - checks forensic images: every chunk, every stored digest.
   SPDX-License-Identifier: MIT OR Unlicense

       cc -O2 -pthread examples/verify.c -o verify

   One translation unit; see `verify --help`. The data flow from top to bottom: arguments; images
   are opened and verified, each into a report, E01 images several at once; a report is rendered as
   text or as one line of JSON when its image is done, and printed when those before it are. */
#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1 /* O_DIRECT, where there is one */
#endif
#if !defined(_FILE_OFFSET_BITS)
#define _FILE_OFFSET_BITS 64 /* images beyond 2 GiB, in a 32-bit program */
#endif
#define EWF_READ_IMPLEMENTATION
#define QCOW2_READ_IMPLEMENTATION
#define VMDK_READ_IMPLEMENTATION
#define VHDX_READ_IMPLEMENTATION
#include "../ewf_read.h"
#include "../qcow2_read.h"
#include "../vmdk_read.h"
#include "../vhdx_read.h"
#if defined(OPEN_IMAGE_ZSTD)
#define ZSTD_PAR_IMPLEMENTATION
#include "../zstd_par.h"
#endif
#if defined(OPEN_IMAGE_HEXZ)
#define HEXZ_PACK_IMPLEMENTATION
#include "../hexz_pack.h"
#endif
#include "cli.h"
#include "open_image.h"
#include "image_files.h"
#include "media_run.h"
#if defined(OPEN_IMAGE_HEXZ)
#include "pack_items.h"
#endif

// ---------------------------------------------------------------------------------- arguments

typedef struct arguments {
    uint32_t digests;   /* EWF_READ_MD5 | ... that were asked for */
    uint32_t expected;  /* those with an --expect */
    uint8_t expect[EWF_READ_MAX_DIGESTS][32];
    open_image_desc open;
    uint32_t threads, at_once;
    int info, json, quiet, force;
    const char *log_path;
} arguments;

static const uint32_t algorithms[EWF_READ_MAX_DIGESTS] = {EWF_READ_MD5, EWF_READ_SHA1,
                                                          EWF_READ_SHA256, EWF_READ_BLAKE3};
static const int digest_ids[EWF_READ_MAX_DIGESTS] = {DIGEST_MD5, DIGEST_SHA1, DIGEST_SHA256,
                                                     DIGEST_BLAKE3};

static const char unknown_digest[] = "unknown digest; one of md5, sha1, sha256, blake3";

/* The index of EWF_READ_MD5 ... in the lists above. */
static uint32_t index_of_algorithm(uint32_t algorithm)
{
    uint32_t i = 0;
    while (algorithms[i] != algorithm) i++;
    return i;
}

/* The index of a digest's name of n bytes; EWF_READ_MAX_DIGESTS when there is none. */
static uint32_t index_of_digest(const char *name, size_t n)
{
    char text[16];
    uint32_t i = EWF_READ_MAX_DIGESTS;
    if (n < sizeof text) {
        memcpy(text, name, n);
        text[n] = 0;
        for (i = 0; i < EWF_READ_MAX_DIGESTS && digest_from_name(text) != digest_ids[i]; i++) {}
    }
    return i;
}

static const char *take_digests(void *user, const char *value)
{
    arguments *a = (arguments *)user;
    for (;;) {
        size_t n = strcspn(value, ",");
        uint32_t i = index_of_digest(value, n);
        if (i == EWF_READ_MAX_DIGESTS) return unknown_digest;
        a->digests |= algorithms[i];
        if (value[n] == 0) return NULL;
        value += n + 1;
    }
}

static const char *take_expect(void *user, const char *value)
{
    arguments *a = (arguments *)user;
    const char *colon = strchr(value, ':');
    uint32_t i;
    if (colon == NULL) return "not ALGO:HEX, such as sha1:2fd4...";
    i = index_of_digest(value, (size_t)(colon - value));
    if (i == EWF_READ_MAX_DIGESTS) return unknown_digest;
    if (digest_from_hex(colon + 1, a->expect[i], digest_size(digest_ids[i])) != POSIO_OK)
        return "not the hexadecimal digits of one: 32 for md5, 40 for sha1, 64 for the others";
    a->digests |= algorithms[i];
    a->expected |= algorithms[i];
    return NULL;
}

static const char *take_threads(void *user, const char *value)
{
    if (cli_number(value, 4096, &((arguments *)user)->threads)) return NULL;
    return "not a whole number from 0 to 4096";
}

static const char *take_at_once(void *user, const char *value)
{
    if (cli_number(value, 64, &((arguments *)user)->at_once)) return NULL;
    return "not a whole number from 0 to 64";
}

// ---------------------------------------------------------------------------------- the report

enum { STATUS_OK, STATUS_MISMATCH, STATUS_DAMAGED, STATUS_ERROR };
static const char *const status_names[] = {"ok", "mismatch", "damaged", "error"};

/* Bytes of media that could not be read; of images that are not EWF, which keep such a list. */
typedef struct bad_range {
    uint64_t offset, length; /* media */
    posio_error why;
} bad_range;

/* Something wrong with the structure of an image of the stack. */
typedef struct issue {
    const open_image *image;
    qcow2_read_issue what;
} issue;

enum { MOST_BAD_RANGES = 65536, MOST_ISSUES = 1000 }; /* kept; all are counted */

/* Everything about one image; text and JSON are printed from this alone. */
typedef struct report {
    const char *path;
    const arguments *asked;
    open_image *image; /* NULL when it could not be opened */
    int verified;
    ewf_read_verdict verdict;
    bad_range *bad;
    uint64_t bad_count, bad_room;
    issue *issues;
    uint64_t issue_count, issue_room;
    uint64_t corruptions, leaks;
    int checked;         /* the structure, of as many images */
    int incomplete;      /* the check was given up */
    uint32_t unexpected; /* digests that are not what --expect says */
    int status;
    posio_error error;
    cli_progress progress;
    uint64_t done, total; /* bytes of media, for the progress */
    double begin, seconds;
    uint32_t threads;
    char *text[2]; /* rendered: for standard output, for the log */
    int finished;
} report;

static ewf_read *ewf_of(const report *r) { return r->image != NULL ? r->image->ewf : NULL; }

static int exit_code_of(const report *r)
{
    return r->status == STATUS_OK ? CLI_GOOD : r->status == STATUS_ERROR ? CLI_FAILED : CLI_BAD;
}

static void judge(report *r)
{
    const arguments *a = r->asked;
    uint32_t i;
    for (i = 0; i < r->verdict.digest_count; i++) {
        const ewf_read_digest *d = &r->verdict.digest[i];
        uint32_t k = index_of_algorithm(d->algorithm);
        if ((a->expected & d->algorithm) &&
            !(d->has_computed && memcmp(d->computed, a->expect[k], d->size) == 0))
            r->unexpected |= d->algorithm;
    }
    if (r->verdict.damaged_chunks != 0 || r->corruptions != 0) r->status = STATUS_DAMAGED;
    else if (r->verdict.mismatches != 0 || r->unexpected != 0) r->status = STATUS_MISMATCH;
    else r->status = STATUS_OK;
}

// ---------------------------------------------------------------------------------- any media

/* Keeps a range that could not be read, with the one before it if the reason is the same. */
static void keep_bad_range(void *user, uint64_t offset, uint64_t length, const posio_error *why)
{
    report *r = (report *)user;
    bad_range *last = r->bad_count != 0 ? &r->bad[r->bad_count - 1] : NULL;
    void *list = r->bad;
    r->verdict.damaged_chunks++;
    if (last != NULL && last->offset + last->length == offset &&
        strcmp(last->why.message, why->message) == 0) {
        last->length += length;
    } else if (r->bad_count < MOST_BAD_RANGES &&
               posio_grow(NULL, &list, r->bad_count, &r->bad_room, sizeof *r->bad)) {
        r->bad = (bad_range *)list;
        last = &r->bad[r->bad_count++];
        last->offset = offset;
        last->length = length;
        last->why = *why;
    }
}

static int media_progress(void *user, uint64_t done)
{
    report *r = (report *)user;
    return cli_progress_update(&r->progress, done, r->verdict.bytes);
}

/* The digest of the media that was stored in the E01 that an archive was made from. */
static int find_stored(const report *r, uint32_t i, uint8_t *out)
{
#if defined(OPEN_IMAGE_HEXZ)
    const char *value = NULL;
    if (r->image->hexz != NULL && algorithms[i] == EWF_READ_MD5)
        value = pack_items_find(r->image->hexz, "ewf.md5");
    if (r->image->hexz != NULL && algorithms[i] == EWF_READ_SHA1)
        value = pack_items_find(r->image->hexz, "ewf.sha1");
    return value != NULL && digest_from_hex(value, out, digest_size(digest_ids[i])) == POSIO_OK;
#else
    (void)r;
    (void)i;
    (void)out;
    return 0;
#endif
}

static void compare_with_stored(report *r, ewf_read_digest *d, uint32_t i)
{
    d->has_stored = (uint32_t)find_stored(r, i, d->stored);
    d->match = d->has_stored && d->has_computed && memcmp(d->stored, d->computed, d->size) == 0;
    if (d->has_stored && d->has_computed && !d->match) r->verdict.mismatches++;
}

/* Where an image has nothing to compare with, digests are computed by the pipeline that exports
   use. Media that is not all there has none. */
static posio_result verify_media(report *r, uint32_t digests, thread_pool *pool)
{
    digest *state = (digest *)calloc(EWF_READ_MAX_DIGESTS, sizeof *state);
    media_lane lanes[EWF_READ_MAX_DIGESTS];
    media_desc d;
    posio_result result;
    uint32_t i;
    if (state == NULL)
        return posio_fail(&r->error, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    memset(&d, 0, sizeof d);
    memset(lanes, 0, sizeof lanes);
    d.source = open_image_source(r->image);
    d.length = r->verdict.bytes = d.source.size;
    d.pool = pool;
    d.lanes = lanes;
    d.on_damage = MEDIA_DAMAGE_ZEROS;
    d.damage = keep_bad_range;
    d.progress = media_progress;
    d.user = r;
    for (i = 0; i < EWF_READ_MAX_DIGESTS; i++) {
        if (!(digests & algorithms[i])) continue;
        (void)digest_begin(&state[i], digest_ids[i]);
        lanes[d.lane_count].run = media_digest_lane;
        lanes[d.lane_count++].user = &state[i];
    }
    result = media_run(&d, &r->error);
    for (i = 0; i < EWF_READ_MAX_DIGESTS && result == POSIO_OK; i++) {
        ewf_read_digest *out = &r->verdict.digest[r->verdict.digest_count];
        if (!(digests & algorithms[i])) continue;
        r->verdict.digest_count++;
        out->algorithm = algorithms[i];
        out->size = (uint32_t)digest_result(&state[i], out->computed);
        out->has_computed = r->verdict.damaged_chunks == 0;
        compare_with_stored(r, out, i);
    }
    free(state);
    return result;
}

// ---------------------------------------------------------------------------------- structure

typedef struct check {
    report *report;
    const open_image *image;
} check;

static void keep_issue(void *user, const qcow2_read_issue *what)
{
    const check *c = (const check *)user;
    report *r = c->report;
    void *list = r->issues;
    if (r->issue_count == MOST_ISSUES ||
        !posio_grow(NULL, &list, r->issue_count, &r->issue_room, sizeof *r->issues))
        return;
    r->issues = (issue *)list;
    r->issues[r->issue_count].image = c->image;
    r->issues[r->issue_count++].what = *what;
}

static int check_progress(void *user, uint64_t done, uint64_t total)
{
    return cli_progress_update(&((const check *)user)->report->progress, done, total);
}

static posio_result check_qcow2(check *c)
{
    report *r = c->report;
    qcow2_read_check_report found;
    qcow2_read_check_desc d;
    posio_result result;
    memset(&d, 0, sizeof d);
    d.issue = keep_issue;
    d.progress = check_progress;
    d.user = c;
    result = qcow2_read_check(c->image->qcow2, &d, &found, &r->error);
    if (result != POSIO_OK) return result;
    r->corruptions += found.corruptions;
    r->leaks += found.leaks;
    r->incomplete |= !found.is_complete;
    r->checked++;
    return POSIO_OK;
}

#if defined(OPEN_IMAGE_HEXZ)
static int keep_fault(void *user, const hexz_pack_fault *fault)
{
    const check *c = (const check *)user;
    qcow2_read_issue what;
    memset(&what, 0, sizeof what);
    what.severity = QCOW2_READ_CORRUPTION;
    what.offset = fault->file_offset;
    if (fault->entry == HEXZ_PACK_NONE)
        posio_format(what.message, sizeof what.message, "%s: %s", fault->what, fault->reason);
    else
        posio_format(what.message, sizeof what.message, "chunk %llu: %s",
                     (unsigned long long)fault->entry, fault->reason);
    c->report->corruptions++;
    keep_issue(user, &what);
    return 0;
}

static int archive_progress(void *user, uint64_t done, uint64_t total)
{
    return cli_progress_update(&((report *)user)->progress, done, total);
}

/* All of the file, with every hash and checksum, but for what the digests have read. */
static posio_result check_archive(check *c)
{
    report *r = c->report;
    hexz_pack_verdict verdict;
    posio_result result = hexz_pack_verify(c->image->hexz, keep_fault, c, &verdict, &r->error);
    r->checked++;
    return result != POSIO_E_CANCELED && verdict.faults != 0 ? POSIO_OK : result;
}
#endif

/* The structure of every image of the stack that has one to check; of archives when the media has
   been read: no chunk is decoded twice. */
static posio_result check_structure(report *r, int is_read)
{
    posio_result result = POSIO_OK;
    uint32_t i;
    check c;
    c.report = r;
    for (i = 0; (c.image = open_image_in_stack(r->image, i)) != NULL && result == POSIO_OK; i++) {
        if (!is_read && c.image->qcow2 != NULL) result = check_qcow2(&c);
#if defined(OPEN_IMAGE_HEXZ)
        if (is_read && c.image->hexz != NULL) result = check_archive(&c);
#endif
    }
    return result;
}

// ---------------------------------------------------------------------------------- verifying

/* Without a wish and without a stored digest there is still one worth having: MD5. */
static uint32_t digests_to_compute(const report *r)
{
    const ewf_read_metadata *m = ewf_of(r) != NULL ? ewf_read_info(ewf_of(r)) : NULL;
    uint8_t stored[DIGEST_MAX_SIZE];
    uint32_t i, wanted = r->asked->digests;
    for (i = 0; i < EWF_READ_MAX_DIGESTS && ewf_of(r) == NULL; i++)
        if (find_stored(r, i, stored)) wanted |= algorithms[i];
    return wanted != 0 || (m != NULL && (m->has_md5 || m->has_sha1)) ? wanted : EWF_READ_MD5;
}

/* A new report on an image, which is opened if it can be; NULL without memory. is_first: none is in
   flight, and all that is known has been printed. */
static report *open_report(const char *path, const arguments *a, thread_pool *pool, int is_first)
{
    report *r = (report *)calloc(1, sizeof *r);
    open_image_desc desc = a->open;
    posio_result result;
    if (r == NULL) return NULL;
    r->path = path;
    r->asked = a;
    r->begin = cli_now();
    r->threads = thread_pool_threads(pool);
    r->status = STATUS_ERROR;
    desc.pool = pool;
#if defined(OPEN_IMAGE_HEXZ)
    desc.verify_progress = archive_progress;
    desc.user = r;
#endif
    cli_idle(is_first);
    result = open_image_open(&r->image, path, &desc, &r->error);
    cli_idle(0);
    if (result != POSIO_OK) return r;
    if (a->info) r->status = STATUS_OK;
    cli_progress_begin(&r->progress, path, !a->quiet);
    return r;
}

static void end_verification(report *r, posio_result result)
{
    r->seconds = cli_now() - r->begin;
    if (result != POSIO_OK) return;
    r->verified = 1;
    judge(r);
}

/* An image that is not EWF. */
static void verify_other(report *r, thread_pool *pool)
{
    posio_result result;
    r->begin = cli_now(); /* others may have been verified since it was opened */
    cli_progress_begin(&r->progress, r->path, !r->asked->quiet);
    result = check_structure(r, 0);
    if (result == POSIO_OK) result = verify_media(r, digests_to_compute(r), pool);
    if (result == POSIO_OK) result = check_structure(r, 1);
    cli_progress_end(&r->progress);
    end_verification(r, result);
}

// ---------------------------------------------------------------------------------- as text

static void print_texts(cli_out *f, const ewf_read_metadata *m)
{
    char name[64];
    uint32_t i;
    size_t k;
    for (i = 0; i < EWF_READ_TEXT_COUNT; i++) {
        if (m->text[i] == NULL) continue;
        snprintf(name, sizeof name, "%s", ewf_read_text_name(i));
        for (k = 0; name[k] != 0; k++)
            if (name[k] == '_') name[k] = ' ';
        cli_line(f, name, m->text[i]);
    }
}

static const char *media_type_name(uint32_t type)
{
    switch (type) {
    case 0: return "removable disk";
    case 1: return "fixed disk";
    case 3: return "optical disc";
    case 14: return "logical files";
    case 16: return "memory";
    default: return "unknown media";
    }
}

/* An image can name millions of them; JSON has them all. */
enum { MOST_RANGES = 100 };

static void print_ranges(cli_out *f, const char *name, const ewf_read_range *ranges,
                         uint32_t count)
{
    char more[32];
    uint32_t i;
    for (i = 0; i < count && i < MOST_RANGES; i++)
        cli_printf(f, "  %-18ssectors %llu to %llu\n", i == 0 ? name : "",
                   (unsigned long long)ranges[i].first,
                   (unsigned long long)(ranges[i].first + ranges[i].count -
                                        (ranges[i].count != 0)));
    if (i < count) cli_printf(f, "  %-18s... and %s more\n", "", cli_grouped(count - i, more));
}

static void print_guid(cli_out *f, const uint8_t g[16])
{
    cli_printf(f, "  %-18s%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x\n",
               "set identifier", g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10],
               g[11], g[12], g[13], g[14], g[15]);
}

/* What the image lies in and stands on. */
static void print_stack(cli_out *f, const report *r)
{
    const open_image *image;
    uint32_t i;
    for (i = 1; (image = open_image_in_stack(r->image, i)) != NULL; i++) {
        char size[32];
        const char *path = open_image_path(image);
        cli_printf(f, "  %-18s", image->role);
        if (path != NULL) cli_text(f, path);
        cli_printf(f, "%s%s, %s\n", path != NULL ? ": " : "", open_image_format_name(image),
                   cli_size((double)open_image_source(image).size, size));
    }
}

/* 2026-11-20 14:22:59 UTC */
static const char *utc(uint32_t seconds, char out[40])
{
    time_t t = (time_t)seconds;
    const struct tm *u = gmtime(&t);
    if (u == NULL || strftime(out, 40, "%Y-%m-%d %H:%M:%S UTC", u) == 0) out[0] = 0;
    return out;
}

static void print_snapshots(cli_out *f, qcow2_read *q)
{
    qcow2_read_snapshot s;
    char when[40], size[32], more[32];
    uint32_t i, count = qcow2_read_info(q)->snapshot_count;
    for (i = 0; i < count && i < MOST_RANGES && qcow2_read_get_snapshot(q, i, &s, NULL) == POSIO_OK;
         i++) {
        cli_printf(f, "  %-18sID ", i == 0 ? "snapshots" : "");
        cli_text(f, s.id);
        cli_puts(f, " \"");
        cli_text(f, s.name);
        cli_printf(f, "\", %s, %s\n", utc(s.date, when), cli_size((double)s.media_size, size));
    }
    if (i < count && i < MOST_RANGES) cli_line(f, "", "the others cannot be read");
    else if (i < count)
        cli_printf(f, "  %-18s... and %s more\n", "", cli_grouped(count - i, more));
}

static void print_qcow2(cli_out *f, qcow2_read *q)
{
    const qcow2_read_metadata *m = qcow2_read_info(q);
    char size[32];
    cli_printf(f, "  %-18s%s, %s%s\n", "clusters", cli_size(m->cluster_size, size), m->compression,
               m->has_extended_l2 ? ", extended L2 entries" : "");
    if (m->data_name != NULL) cli_line(f, "data file", m->data_name);
    if (m->backing_name != NULL) {
        cli_printf(f, "  %-18s", "stands on");
        cli_text(f, m->backing_name);
        cli_puts(f, m->backing_format != NULL ? " (" : "");
        cli_text(f, m->backing_format != NULL ? m->backing_format : "");
        cli_puts(f, m->backing_format != NULL ? ")\n" : "\n");
    }
    print_snapshots(f, q);
}

/* The name of a parent or extent, as the image stores it. */
static void print_name(cli_out *f, const char *name)
{
    if (name == NULL) return;
    cli_puts(f, " \"");
    cli_text(f, name);
    cli_puts(f, "\"");
}

static void print_vmdk(cli_out *f, const vmdk_read *v)
{
    const vmdk_read_metadata *m = vmdk_read_info(v);
    char size[32], more[32];
    vmdk_read_extent x;
    uint32_t i;
    cli_printf(f, "  %-18s%08x\n", "content ID", (unsigned)m->cid);
    if (m->parent_cid != 0xffffffff) {
        cli_printf(f, "  %-18s%08x", "stands on", (unsigned)m->parent_cid);
        print_name(f, m->parent_name);
        cli_puts(f, "\n");
    }
    for (i = 0; i < MOST_RANGES && vmdk_read_get_extent(v, i, &x) == POSIO_OK; i++) {
        cli_printf(f, "  %-18s%s, %s", i == 0 ? "extents" : "", x.type_name,
                   cli_size((double)x.size, size));
        if (x.grain_size != 0)
            cli_printf(f, ", grains of %s%s", cli_size(x.grain_size, size),
                       x.is_compressed ? ", deflate" : "");
        print_name(f, x.name);
        cli_puts(f, x.access == VMDK_READ_NOACCESS ? ", NOACCESS\n" : "\n");
    }
    if (i < m->extent_count)
        cli_printf(f, "  %-18s... and %s more\n", "", cli_grouped(m->extent_count - i, more));
}

static void print_vhdx(cli_out *f, const vhdx_read *v)
{
    const vhdx_read_metadata *m = vhdx_read_info(v);
    const char *key, *name;
    char size[32];
    uint32_t i;
    if (m->block_size != 0) cli_line(f, "blocks", cli_size(m->block_size, size));
    cli_printf(f, "  %-18s%u bytes, physical %u\n", "sectors", (unsigned)m->logical_sector_size,
               (unsigned)m->physical_sector_size);
    if (m->identity != NULL) cli_line(f, "identifier", m->identity);
    if (m->disk_id != NULL) cli_line(f, "disk identifier", m->disk_id);
    if (m->parent_identity != NULL) cli_line(f, "stands on", m->parent_identity);
    for (i = 0; i < MOST_RANGES && vhdx_read_get_parent_name(v, i, &key, &name) == POSIO_OK; i++) {
        cli_printf(f, "  %-18s", "");
        cli_text(f, key);
        print_name(f, name);
        cli_puts(f, "\n");
    }
    if (m->creator != NULL) cli_line(f, "creator", m->creator);
    if (m->log_entries_replayed != 0)
        cli_printf(f, "  %-18s%llu entries replayed in memory\n", "log",
                   (unsigned long long)m->log_entries_replayed);
}

#if defined(OPEN_IMAGE_HEXZ)
static void print_hexz(cli_out *f, const hexz_pack *archive)
{
    const hexz_pack_metadata *m = hexz_pack_info(archive);
    char a[32], b[32], hex[65];
    cli_printf(f, "  %-18s%s stored, %s duplicates\n", "chunks", cli_grouped(m->sums.stored, a),
               cli_grouped(m->sums.duplicates, b));
    digest_hex(m->sums.root, 32, hex);
    cli_line(f, "root", hex);
    pack_items_print(f, archive);
}
#endif

static void print_media(cli_out *f, const report *r)
{
    static const uint8_t no_guid[16] = {0};
    const ewf_read_metadata *m = ewf_of(r) != NULL ? ewf_read_info(ewf_of(r)) : NULL;
    uint64_t size = open_image_source(r->image).size;
    char a[32], b[32];
    cli_printf(f, "  %-18s%s", "format", open_image_format_name(r->image));
    if (m != NULL)
        cli_printf(f, ", %u segment%s", (unsigned)m->segment_count,
                   m->segment_count == 1 ? "" : "s");
    cli_printf(f, "\n  %-18s%s (%s bytes)\n", "media size", cli_size((double)size, a),
               cli_grouped(size, b));
    print_stack(f, r);
    if (r->image->qcow2 != NULL) print_qcow2(f, r->image->qcow2);
    if (r->image->vmdk != NULL) print_vmdk(f, r->image->vmdk);
    if (r->image->vhdx != NULL) print_vhdx(f, r->image->vhdx);
#if defined(OPEN_IMAGE_HEXZ)
    if (r->image->hexz != NULL) print_hexz(f, r->image->hexz);
#endif
    if (m == NULL) return;
    cli_printf(f, "  %-18s%s, %s sectors of %u bytes\n", "media", media_type_name(m->media_type),
               cli_grouped(m->sector_count, a), (unsigned)m->sector_size);
    cli_printf(f, "  %-18s%s of %s\n", "chunks", cli_grouped(m->chunk_count, a),
               cli_size(m->chunk_size, b));
    if (memcmp(m->set_guid, no_guid, 16) != 0) print_guid(f, m->set_guid);
    print_texts(f, m);
    print_ranges(f, "unread at source", m->acquisition_errors, m->acquisition_error_count);
    print_ranges(f, "sessions", m->sessions, m->session_count);
}

static void print_stored(cli_out *f, const ewf_read_metadata *m)
{
    char hex[65];
    if (m->has_md5) {
        digest_hex(m->md5, 16, hex);
        cli_line(f, "MD5 stored", hex);
    }
    if (m->has_sha1) {
        digest_hex(m->sha1, 20, hex);
        cli_line(f, "SHA-1 stored", hex);
    }
}

static const char *digest_title(uint32_t algorithm)
{
    switch (algorithm) {
    case EWF_READ_MD5: return "MD5";
    case EWF_READ_SHA1: return "SHA-1";
    case EWF_READ_SHA256: return "SHA-256";
    default: return "BLAKE3";
    }
}

static const char *digest_verdict(const report *r, const ewf_read_digest *d)
{
    int expected = (r->asked->expected & d->algorithm) != 0;
    if (r->unexpected & d->algorithm) return "NOT what was expected";
    if (!d->has_computed) return "";
    if (d->untrimmed)
        return expected ? "as expected; match, with the bytes behind the last whole sector"
                        : "match, with the bytes behind the last whole sector";
    if (d->match) return expected ? "match, as expected" : "match";
    if (d->has_stored) return expected ? "MISMATCH, though as expected" : "MISMATCH";
    return expected ? "as expected" : "nothing stored to compare with";
}

static void print_digests(cli_out *f, const report *r)
{
    char hex[65], name[32];
    uint32_t i;
    for (i = 0; i < r->verdict.digest_count; i++) {
        const ewf_read_digest *d = &r->verdict.digest[i];
        snprintf(name, sizeof name, "%s computed", digest_title(d->algorithm));
        if (d->has_stored) {
            char stored[32];
            snprintf(stored, sizeof stored, "%s stored", digest_title(d->algorithm));
            digest_hex(d->stored, d->size, hex);
            cli_line(f, stored, hex);
        }
        digest_hex(d->computed, d->size, hex);
        cli_printf(f, "  %-18s%s  %s\n", name,
                   d->has_computed ? hex : "not possible: parts of the media cannot be read",
                   digest_verdict(r, d));
    }
}

static void print_bad_ranges(cli_out *f, const report *r)
{
    uint64_t i;
    for (i = 0; i < r->bad_count; i++) {
        const bad_range *b = &r->bad[i];
        cli_printf(f, "  %-18smedia %llu to %llu: ", i == 0 ? "damaged" : "",
                   (unsigned long long)b->offset, (unsigned long long)(b->offset + b->length - 1));
        cli_text(f, b->why.message);
        cli_puts(f, b->why.file[0] != 0 ? " (" : "");
        cli_text(f, b->why.file);
        cli_puts(f, b->why.file[0] != 0 ? ")\n" : "\n");
    }
}

static void print_issues(cli_out *f, const report *r)
{
    uint64_t i;
    char more[32];
    for (i = 0; i < r->issue_count && i < MOST_RANGES; i++) {
        const issue *s = &r->issues[i];
        const char *path = s->image != r->image ? open_image_path(s->image) : NULL;
        cli_printf(f, "  %-18s", s->what.severity == QCOW2_READ_LEAK ? "leak" : "corruption");
        if (path != NULL) cli_text(f, path);
        cli_printf(f, "%soffset %llu: ", path != NULL ? ", " : "",
                   (unsigned long long)s->what.offset);
        cli_text(f, s->what.message);
        cli_puts(f, "\n");
    }
    if (r->corruptions + r->leaks > i)
        cli_printf(f, "  %-18s... and %s more\n", "",
                   cli_grouped(r->corruptions + r->leaks - i, more));
    if (r->incomplete)
        cli_line(f, "structure", "not checked to the end: its tables refer to each other too often");
    else if (r->checked != 0 && r->corruptions == 0)
        cli_line(f, "structure", r->leaks == 0 ? "no errors" : "no errors, but space is lost");
}

static void print_damage(cli_out *f, const report *r)
{
    ewf_read_damage d;
    uint32_t i;
    print_bad_ranges(f, r);
    print_issues(f, r);
    if (ewf_of(r) == NULL) return;
    for (i = 0; ewf_read_get_damage(ewf_of(r), i, &d) == POSIO_OK; i++) {
        cli_printf(f, "  %-18schunk %llu", i == 0 ? "damaged" : "", (unsigned long long)d.chunk);
        if (d.count > 1) cli_printf(f, " to %llu", (unsigned long long)(d.chunk + d.count - 1));
        if (d.segment != 0) cli_printf(f, ", segment %u", (unsigned)d.segment);
        if (d.offset != POSIO_NO_OFFSET)
            cli_printf(f, ", offset %llu", (unsigned long long)d.offset);
        cli_printf(f, ": %s\n", d.reason);
    }
}

/* "segment 2: what it is (offset 76)"; a message that begins with its segment stays as it is. */
static const char *warning_text(const open_image_warning *w, char out[320])
{
    char where[32] = "", offset[48] = "";
    if (w->segment != 0 && strncmp(w->message, "segment", 7) != 0)
        snprintf(where, sizeof where, "segment %u: ", (unsigned)w->segment);
    if (w->offset != POSIO_NO_OFFSET)
        snprintf(offset, sizeof offset, " (offset %llu)", (unsigned long long)w->offset);
    snprintf(out, 320, "%s%s%s", where, w->message, offset);
    return out;
}

/* Warnings of the whole stack: *layer and *i go on from one call to the next. */
static const open_image *next_warning(const report *r, uint32_t *layer, uint32_t *i,
                                      open_image_warning *out)
{
    const open_image *image;
    for (; (image = open_image_in_stack(r->image, *layer)) != NULL; ++*layer, *i = 0)
        if (open_image_get_warning(image, (*i)++, out) == POSIO_OK) return image;
    return NULL;
}

static void print_warnings(cli_out *f, const report *r)
{
    open_image_warning w;
    char text[320];
    uint32_t layer = 0, i = 0;
    const open_image *image;
    const char *title = "warnings";
    while ((image = next_warning(r, &layer, &i, &w)) != NULL) {
        cli_printf(f, "  %-18s", title);
        if (image != r->image && open_image_path(image) != NULL) {
            cli_text(f, open_image_path(image));
            cli_puts(f, ": ");
        }
        cli_text(f, warning_text(&w, text));
        cli_puts(f, "\n");
        title = "";
    }
}

/* It has hashes of its own for every chunk. */
static int is_archive(const report *r)
{
    return r->image->format == OPEN_IMAGE_HEXZ_FILE && r->checked != 0;
}

static void print_verdict(cli_out *f, const report *r)
{
    char a[32], b[32];
    uint32_t i, stored = 0;
    double bytes = (double)r->verdict.bytes;
    for (i = 0; i < r->verdict.digest_count; i++) stored += r->verdict.digest[i].has_stored;
    cli_printf(f, "  %-18s", "verdict");
    if (r->status == STATUS_DAMAGED && r->verdict.damaged_chunks == 0)
        cli_printf(f, "DAMAGED: all of the media can be read, but the structure has %s error%s\n",
                   cli_grouped(r->corruptions, a), r->corruptions == 1 ? "" : "s");
    else if (r->status == STATUS_DAMAGED)
        cli_printf(f, "DAMAGED: %s chunk%s cannot be trusted\n",
                   cli_grouped(r->verdict.damaged_chunks, a),
                   r->verdict.damaged_chunks == 1 ? "" : "s");
    else if (r->status == STATUS_MISMATCH)
        cli_puts(f, "MISMATCH: all chunks are intact, but a digest differs\n");
    else if (stored == 0 && r->asked->expected == 0 && is_archive(r))
        cli_puts(f, "OK: every hash and checksum of the archive matches\n");
    else if (stored == 0 && r->asked->expected == 0)
        cli_puts(f, "OK as far as can be told: no digest is stored in the image\n");
    else
        cli_printf(f, "OK: all chunks are intact and every %s digest matches\n",
                   stored == 0               ? "expected"
                   : r->asked->expected == 0 ? "stored"
                                             : "stored and every expected");
    cli_printf(f, "  %-18s%s in %.2f s, %s/s, %u thread%s\n", "speed", cli_size(bytes, a),
               r->seconds, cli_size(r->seconds > 0 ? bytes / r->seconds : 0, b),
               (unsigned)r->threads, r->threads == 1 ? "" : "s");
}

static void print_text(cli_out *f, const report *r)
{
    cli_text(f, r->path);
    cli_puts(f, "\n");
    if (r->image == NULL) {
        cli_line(f, "error", r->error.message);
        return;
    }
    print_media(f, r);
    if (r->verified) {
        print_digests(f, r);
        print_damage(f, r);
    } else if (ewf_of(r) != NULL) {
        print_stored(f, ewf_read_info(ewf_of(r)));
    }
    print_warnings(f, r);
    if (r->verified) print_verdict(f, r);
    else if (r->status == STATUS_ERROR) cli_line(f, "error", r->error.message);
}

// ---------------------------------------------------------------------------------- as JSON

static void json_hex(cli_out *f, const char *key, int present, const uint8_t *bytes, size_t n)
{
    char hex[65];
    digest_hex(bytes, n, hex);
    if (present) cli_printf(f, "\"%s\":\"%s\"", key, hex);
    else cli_printf(f, "\"%s\":null", key);
}

static void json_digests(cli_out *f, const report *r)
{
    uint32_t i;
    cli_puts(f, "\"digests\":{");
    for (i = 0; i < r->verdict.digest_count; i++) {
        const ewf_read_digest *d = &r->verdict.digest[i];
        uint32_t k = index_of_algorithm(d->algorithm);
        cli_printf(f, "%s\"%s\":{", i != 0 ? "," : "", digest_name(digest_ids[k]));
        json_hex(f, "computed", d->has_computed != 0, d->computed, d->size);
        cli_puts(f, ",");
        json_hex(f, "stored", d->has_stored != 0, d->stored, d->size);
        cli_printf(f, ",\"match\":%s", !d->has_stored ? "null" : d->match ? "true" : "false");
        if (r->asked->expected & d->algorithm) {
            cli_puts(f, ",");
            json_hex(f, "expected", 1, r->asked->expect[k], d->size);
            cli_printf(f, ",\"expected_match\":%s",
                       r->unexpected & d->algorithm ? "false" : "true");
        }
        cli_puts(f, "}");
    }
    cli_puts(f, "}");
}

/* Chunks are units of the media here, as large as its clusters. */
static void json_bad_ranges(cli_out *f, const report *r)
{
    uint64_t i, unit = r->bad_count != 0 ? open_image_source(r->image).unit : 0;
    if (unit == 0) unit = MEDIA_I_SMALL_UNIT;
    for (i = 0; i < r->bad_count; i++) {
        const bad_range *b = &r->bad[i];
        cli_printf(f, "%s{\"chunk\":%llu,\"media_offset\":%llu,\"length\":%llu,",
                   i != 0 ? "," : "", (unsigned long long)(b->offset / unit),
                   (unsigned long long)b->offset, (unsigned long long)b->length);
        if (b->why.offset != POSIO_NO_OFFSET)
            cli_printf(f, "\"offset\":%llu,", (unsigned long long)b->why.offset);
        else cli_puts(f, "\"offset\":null,");
        if (b->why.segment != 0) cli_printf(f, "\"segment\":%u,", (unsigned)b->why.segment);
        else cli_puts(f, "\"segment\":null,");
        cli_puts(f, "\"file\":");
        cli_json_string(f, b->why.file[0] != 0 ? b->why.file : NULL);
        cli_puts(f, ",\"reason\":");
        cli_json_string(f, b->why.message);
        cli_puts(f, "}");
    }
}

static void json_damage(cli_out *f, const report *r)
{
    ewf_read_damage d;
    uint32_t i;
    cli_puts(f, ",\"damaged_chunks\":[");
    json_bad_ranges(f, r);
    for (i = 0; ewf_of(r) != NULL && ewf_read_get_damage(ewf_of(r), i, &d) == POSIO_OK; i++) {
        cli_printf(f, "%s{\"chunk\":%llu,", i != 0 ? "," : "", (unsigned long long)d.chunk);
        if (d.count > 1) cli_printf(f, "\"count\":%llu,", (unsigned long long)d.count);
        if (d.offset != POSIO_NO_OFFSET)
            cli_printf(f, "\"offset\":%llu,", (unsigned long long)d.offset);
        else cli_puts(f, "\"offset\":null,");
        if (d.segment != 0) cli_printf(f, "\"segment\":%u,", (unsigned)d.segment);
        else cli_puts(f, "\"segment\":null,");
        cli_puts(f, "\"reason\":");
        cli_json_string(f, d.reason);
        cli_puts(f, "}");
    }
    cli_puts(f, "]");
}

/* The library's warnings, and those that follow from the verdict. */
static void json_warnings(cli_out *f, const report *r)
{
    open_image_warning w;
    char text[320];
    const char *sep = "";
    uint32_t i = 0, layer = 0;
    cli_puts(f, ",\"warnings\":[");
    while (next_warning(r, &layer, &i, &w) != NULL) {
        cli_puts(f, sep);
        cli_json_string(f, warning_text(&w, text));
        sep = ",";
    }
    for (i = 0; i < r->verdict.digest_count; i++) {
        const ewf_read_digest *d = &r->verdict.digest[i];
        const char *what = d->untrimmed ? "the stored digest matches only with the bytes behind "
                                          "the last whole sector"
                           : !d->has_stored ? "no such digest is stored in the image"
                                            : NULL;
        if (what == NULL) continue;
        snprintf(text, sizeof text, "%s: %s", digest_title(d->algorithm), what);
        cli_puts(f, sep);
        cli_json_string(f, text);
        sep = ",";
    }
    cli_puts(f, "]");
}

static void json_ranges(cli_out *f, const char *key, const ewf_read_range *ranges, uint32_t count)
{
    uint32_t i;
    cli_printf(f, ",\"%s\":[", key);
    for (i = 0; i < count; i++)
        cli_printf(f, "%s{\"sector\":%llu,\"count\":%llu}", i != 0 ? "," : "",
                   (unsigned long long)ranges[i].first, (unsigned long long)ranges[i].count);
    cli_puts(f, "]");
}

static void json_metadata(cli_out *f, const ewf_read_metadata *m)
{
    uint32_t i;
    cli_printf(f, ",\"segments\":%u,\"missing_segments\":%u,\"sector_size\":%u,\"sectors\":%llu,"
               "\"chunk_size\":%u,\"chunks\":%llu,\"media_type\":\"%s\",",
               (unsigned)m->segment_count, (unsigned)m->missing_segments, (unsigned)m->sector_size,
               (unsigned long long)m->sector_count, (unsigned)m->chunk_size,
               (unsigned long long)m->chunk_count, media_type_name(m->media_type));
    json_hex(f, "set_identifier", 1, m->set_guid, 16);
    cli_puts(f, ",");
    json_hex(f, "stored_md5", m->has_md5 != 0, m->md5, 16);
    cli_puts(f, ",");
    json_hex(f, "stored_sha1", m->has_sha1 != 0, m->sha1, 20);
    cli_puts(f, ",\"metadata\":{");
    {
        const char *sep = "";
        for (i = 0; i < EWF_READ_TEXT_COUNT; i++) {
            if (m->text[i] == NULL) continue;
            cli_printf(f, "%s\"%s\":", sep, ewf_read_text_name(i));
            cli_json_string(f, m->text[i]);
            sep = ",";
        }
    }
    cli_puts(f, "}");
    json_ranges(f, "acquisition_errors", m->acquisition_errors, m->acquisition_error_count);
    json_ranges(f, "sessions", m->sessions, m->session_count);
}

/* What the image lies in and stands on. */
static void json_stack(cli_out *f, const report *r)
{
    const open_image *image;
    uint32_t i;
    cli_puts(f, ",\"stack\":[");
    for (i = 1; (image = open_image_in_stack(r->image, i)) != NULL; i++) {
        cli_printf(f, "%s{\"role\":\"%s\",\"format\":", i != 1 ? "," : "", image->role);
        cli_json_string(f, open_image_format_name(image));
        cli_puts(f, ",\"path\":");
        cli_json_string(f, open_image_path(image));
        cli_printf(f, ",\"media_size\":%llu}", (unsigned long long)open_image_source(image).size);
    }
    cli_puts(f, "]");
}

static void json_check(cli_out *f, const report *r)
{
    uint64_t i;
    cli_printf(f, ",\"check\":{\"corruptions\":%llu,\"leaks\":%llu,\"complete\":%s,\"issues\":[",
               (unsigned long long)r->corruptions, (unsigned long long)r->leaks,
               r->incomplete ? "false" : "true");
    for (i = 0; i < r->issue_count; i++) {
        const issue *s = &r->issues[i];
        cli_printf(f, "%s{\"severity\":\"%s\",\"offset\":%llu,\"file\":", i != 0 ? "," : "",
                   s->what.severity == QCOW2_READ_LEAK ? "leak" : "corruption",
                   (unsigned long long)s->what.offset);
        cli_json_string(f, open_image_path(s->image));
        cli_puts(f, ",\"message\":");
        cli_json_string(f, s->what.message);
        cli_puts(f, "}");
    }
    cli_puts(f, "]}");
}

static void json_snapshots(cli_out *f, qcow2_read *q)
{
    qcow2_read_snapshot s;
    uint32_t i;
    cli_puts(f, ",\"snapshots\":[");
    for (i = 0; qcow2_read_get_snapshot(q, i, &s, NULL) == POSIO_OK; i++) {
        cli_puts(f, i != 0 ? ",{\"id\":" : "{\"id\":");
        cli_json_string(f, s.id);
        cli_puts(f, ",\"name\":");
        cli_json_string(f, s.name);
        cli_printf(f, ",\"date\":%u,\"media_size\":%llu,\"vm_state_size\":%llu}", (unsigned)s.date,
                   (unsigned long long)s.media_size, (unsigned long long)s.vm_state_size);
    }
    cli_puts(f, "]");
}

static void json_qcow2(cli_out *f, qcow2_read *q)
{
    const qcow2_read_metadata *m = qcow2_read_info(q);
    cli_printf(f, ",\"version\":%u,\"cluster_size\":%u,\"compression\":\"%s\",\"refcount_bits\":%u,"
               "\"extended_l2\":%s,\"dirty\":%s,\"corrupt\":%s,\"backing_file\":",
               (unsigned)m->version, (unsigned)m->cluster_size, m->compression,
               (unsigned)m->refcount_bits, m->has_extended_l2 ? "true" : "false",
               m->is_dirty ? "true" : "false", m->is_corrupt ? "true" : "false");
    cli_json_string(f, m->backing_name);
    cli_puts(f, ",\"backing_format\":");
    cli_json_string(f, m->backing_format);
    cli_puts(f, ",\"data_file\":");
    cli_json_string(f, m->data_name);
    json_snapshots(f, q);
}

static void json_text(cli_out *f, const char *key, const char *value)
{
    cli_printf(f, ",\"%s\":", key);
    cli_json_string(f, value);
}

static void json_vmdk(cli_out *f, const vmdk_read *v)
{
    const vmdk_read_metadata *m = vmdk_read_info(v);
    vmdk_read_extent x;
    uint32_t i;
    json_text(f, "create_type", m->create_type);
    cli_printf(f, ",\"version\":%u,\"cid\":\"%08x\",\"parent_cid\":", (unsigned)m->version,
               (unsigned)m->cid);
    if (m->parent_cid != 0xffffffff) cli_printf(f, "\"%08x\"", (unsigned)m->parent_cid);
    else cli_puts(f, "null");
    json_text(f, "parent_name", m->parent_name);
    cli_printf(f, ",\"parent_mismatch\":%s,\"rebuilt\":%s,\"extents\":[",
               m->parent_mismatch ? "true" : "false", m->rebuilt ? "true" : "false");
    for (i = 0; vmdk_read_get_extent(v, i, &x) == POSIO_OK; i++) {
        static const char *const access[] = {"RW", "RDONLY", "NOACCESS"};
        cli_printf(f, "%s{\"media_offset\":%llu,\"size\":%llu,\"access\":\"%s\"", i != 0 ? "," : "",
                   (unsigned long long)x.media_offset, (unsigned long long)x.size,
                   access[x.access <= VMDK_READ_NOACCESS ? x.access : 2]);
        json_text(f, "type", x.type_name);
        json_text(f, "name", x.name);
        cli_printf(f, ",\"grain_size\":%u,\"compressed\":%s,\"rebuilt\":%s}",
                   (unsigned)x.grain_size, x.is_compressed ? "true" : "false",
                   x.rebuilt ? "true" : "false");
    }
    cli_puts(f, "]");
}

static void json_vhdx(cli_out *f, const vhdx_read *v)
{
    const vhdx_read_metadata *m = vhdx_read_info(v);
    const char *key, *name;
    uint32_t i;
    cli_printf(f, ",\"block_size\":%u,\"logical_sector_size\":%u,\"physical_sector_size\":%u",
               (unsigned)m->block_size, (unsigned)m->logical_sector_size,
               (unsigned)m->physical_sector_size);
    json_text(f, "identity", m->identity);
    json_text(f, "disk_id", m->disk_id);
    json_text(f, "creator", m->creator);
    cli_printf(f, ",\"log_entries_replayed\":%llu", (unsigned long long)m->log_entries_replayed);
    json_text(f, "parent_identity", m->parent_identity);
    cli_puts(f, ",\"parent_names\":[");
    for (i = 0; vhdx_read_get_parent_name(v, i, &key, &name) == POSIO_OK; i++) {
        cli_puts(f, i != 0 ? ",{\"key\":" : "{\"key\":");
        cli_json_string(f, key);
        json_text(f, "name", name);
        cli_puts(f, "}");
    }
    cli_puts(f, "]");
}

#if defined(OPEN_IMAGE_HEXZ)
static void json_hexz(cli_out *f, const hexz_pack *archive)
{
    const hexz_pack_metadata *m = hexz_pack_info(archive);
    cli_printf(f, ",\"stored_chunks\":%llu,\"duplicate_chunks\":%llu,",
               (unsigned long long)m->sums.stored, (unsigned long long)m->sums.duplicates);
    json_hex(f, "root", 1, m->sums.root, 32);
    pack_items_json(f, archive);
}
#endif

static void json_error(cli_out *f, const posio_error *err)
{
    cli_puts(f, ",\"error\":");
    cli_json_string(f, err->message);
    if (err->segment != 0) cli_printf(f, ",\"error_segment\":%u", (unsigned)err->segment);
    else cli_puts(f, ",\"error_segment\":null");
    cli_puts(f, ",\"error_file\":");
    cli_json_string(f, err->file[0] != 0 ? err->file : NULL);
    if (err->offset != POSIO_NO_OFFSET)
        cli_printf(f, ",\"error_offset\":%llu", (unsigned long long)err->offset);
    else cli_puts(f, ",\"error_offset\":null");
}

static void print_json(cli_out *f, const report *r)
{
    cli_puts(f, "{\"path\":");
    cli_json_string(f, r->path);
    if (r->image == NULL) {
        cli_puts(f, ",\"format\":null,\"media_size\":null");
    } else {
        cli_puts(f, ",\"format\":");
        cli_json_string(f, open_image_format_name(r->image));
        cli_printf(f, ",\"media_size\":%llu", (unsigned long long)open_image_source(r->image).size);
    }
    cli_printf(f, ",\"status\":\"%s\",\"verified\":%s,", status_names[r->status],
               r->verified ? "true" : "false");
    json_digests(f, r);
    json_damage(f, r);
    json_warnings(f, r);
    if (r->image != NULL) json_stack(f, r);
    if (r->checked != 0) json_check(f, r);
    if (ewf_of(r) != NULL) json_metadata(f, ewf_read_info(ewf_of(r)));
    else if (r->image != NULL && r->image->qcow2 != NULL) json_qcow2(f, r->image->qcow2);
    else if (r->image != NULL && r->image->vmdk != NULL) json_vmdk(f, r->image->vmdk);
    else if (r->image != NULL && r->image->vhdx != NULL) json_vhdx(f, r->image->vhdx);
#if defined(OPEN_IMAGE_HEXZ)
    if (r->image != NULL && r->image->hexz != NULL) json_hexz(f, r->image->hexz);
#endif
    if (r->status == STATUS_ERROR) json_error(f, &r->error);
    cli_printf(f, ",\"seconds\":%.3f,\"bytes_per_second\":%.0f,\"threads\":%u}\n", r->seconds,
               r->seconds > 0 ? (double)r->verdict.bytes / r->seconds : 0.0, (unsigned)r->threads);
}

/* `image.E*` names all segments of one image: of each set only the first name counts. */
static int is_named_before(char **paths, int i, open_image_format format)
{
    int k;
    for (k = 0; k < i; k++)
        if (image_files_is_set(paths[k], paths[i], format)) return 1;
    return 0;
}

/* Inputs are never written, not even with --force; nor when the log's own .part is one. */
static int log_is_an_input(char **paths, int count, const arguments *a)
{
    int i;
    for (i = 0; i < count; i++)
        if (image_files_is_input(paths[i], a->log_path, a->open.formats[0])) return 1;
    return 0;
}

/* The log is a complete file or none: it is written beside its name and renamed at the end. */
static int finish_log(posio_file_sink *log, cli_out *text, const char *path)
{
    posio_result r;
    cli_flush(text);
    r = text->error.code;
    if (r == POSIO_OK) r = posio_file_sink_finish(log, &text->error);
    if (r != POSIO_OK) cli_error(path, &text->error);
    return r == POSIO_OK ? CLI_GOOD : CLI_FAILED;
}

// ---------------------------------------------------------------------------------- all images

/* Everything that is to be verified, in the order of the command line. */
typedef struct batch {
    const arguments *asked;
    char **paths;
    report **reports; /* NULL: not opened yet, or named before */
    int *run;         /* the numbers that ewf_read_verify_many counts with */
    int count, at;    /* at: the next to be opened */
    int printed;      /* all before are */
    int first;        /* of the run that images are opened for */
    report *held;     /* opened, and not for ewf_read_verify_many */
    int code, out_of_memory;
    thread_pool *pool;
    thread_pool_mutex lock; /* guards what is finished: images end on any thread */
    cli_bars bars;
    cli_out *log;
} batch;

/* A growing text in memory, as a sink. */
typedef struct text_buffer {
    char *text;
    size_t used;
    uint64_t room;
} text_buffer;

static posio_result append_text(void *self, const void *buf, size_t n, posio_error *err)
{
    text_buffer *b = (text_buffer *)self;
    while (b->room < b->used + n + 1) {
        void *list = b->text;
        if (!posio_grow(NULL, &list, b->room, &b->room, 1))
            return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
        b->text = (char *)list;
    }
    memcpy(b->text + b->used, buf, n);
    b->used += n;
    b->text[b->used] = 0;
    return POSIO_OK;
}

static char *render(const report *r, void (*print)(cli_out *f, const report *r))
{
    text_buffer b;
    cli_out out;
    posio_sink sink;
    memset(&b, 0, sizeof b);
    sink.write = append_text;
    sink.hole = NULL;
    sink.self = &b;
    cli_out_to_sink(&out, sink);
    print(&out, r);
    cli_flush(&out);
    if (out.error.code == POSIO_OK) return b.text;
    free(b.text);
    return NULL;
}

/* The image is done: only what is to be printed of it stays. */
static void finish_report(batch *b, report *r)
{
    const arguments *a = r->asked;
    int wanted = a->json || (r->image != NULL && !(a->quiet && r->status == STATUS_OK));
    if (wanted) r->text[0] = render(r, a->json ? print_json : print_text);
    if (b->log != NULL) r->text[1] = render(r, print_text);
    open_image_close(r->image);
    free(r->bad);
    free(r->issues);
    r->image = NULL;
    r->bad = NULL;
    r->issues = NULL;
    thread_pool_lock(&b->lock);
    if ((wanted && r->text[0] == NULL) || (b->log != NULL && r->text[1] == NULL))
        b->out_of_memory = 1;
    if (exit_code_of(r) > b->code) b->code = exit_code_of(r);
    r->finished = 1;
    thread_pool_unlock(&b->lock);
}

/* Prints what is finished and has nothing unfinished before it. */
static void print_finished(batch *b)
{
    for (;; b->printed++) {
        report *r = NULL;
        int ready;
        thread_pool_lock(&b->lock);
        ready = b->printed < b->at;
        if (ready) r = b->reports[b->printed];
        ready = ready && (r == NULL || r->finished); /* NULL: named before */
        thread_pool_unlock(&b->lock);
        if (!ready) return;
        if (r == NULL) continue;
        cli_bars_clear(&b->bars);
        if (r->status == STATUS_ERROR) cli_error(r->path, &r->error);
        if (r->text[0] != NULL) fputs(r->text[0], stdout);
        fflush(stdout);
        if (b->log != NULL && r->text[1] != NULL) {
            cli_puts(b->log, r->text[1]);
            cli_flush(b->log);
        }
        free(r->text[0]);
        free(r->text[1]);
        free(r);
        b->reports[b->printed] = NULL;
    }
}

/* Opens the next image; NULL: there is none, or no memory. Those that fail are finished with. */
static report *open_next(batch *b)
{
    while (b->at < b->count && !cli_interrupted && !b->out_of_memory) {
        int i = b->at;
        report *r = NULL;
        if (!is_named_before(b->paths, i, b->asked->open.formats[0])) {
            r = open_report(b->paths[i], b->asked, b->pool, i == b->first);
            if (r == NULL) b->out_of_memory = 1;
        }
        thread_pool_lock(&b->lock);
        b->reports[i] = r;
        b->at = i + 1;
        thread_pool_unlock(&b->lock);
        if (r == NULL) continue;
        if (r->image != NULL && !b->asked->info) return r;
        finish_report(b, r);
    }
    return NULL;
}

/* Images that are not EWF end the run of those that are verified together. */
static ewf_read *next_image(void *user, uint32_t i, uint32_t *digests)
{
    batch *b = (batch *)user;
    report *r = b->held == NULL ? open_next(b) : NULL;
    if (r == NULL) return NULL;
    if (ewf_of(r) == NULL) {
        b->held = r;
        return NULL;
    }
    *digests = digests_to_compute(r);
    b->run[i] = b->at - 1;
    return ewf_of(r);
}

static void image_is_done(void *user, uint32_t i, const ewf_read_verdict *verdict,
                          const posio_error *why)
{
    batch *b = (batch *)user;
    report *r = b->reports[b->run[i]];
    if (verdict != NULL) r->verdict = *verdict;
    else r->error = *why;
    end_verification(r, verdict != NULL ? POSIO_OK : why->code);
    finish_report(b, r);
}

/* Bars of the images in flight, and the reports that can be printed. Called for one image after the
   other, in any order. */
static int batch_progress(void *user, uint32_t i, uint64_t done, uint64_t total)
{
    batch *b = (batch *)user;
    report *r;
    int k, at;
    thread_pool_lock(&b->lock);
    r = b->reports[b->run[i]];
    at = b->at;
    thread_pool_unlock(&b->lock);
    if (r == NULL) return cli_interrupted != 0;
    r->done = done;
    r->total = total;
    if (!cli_bars_are_due(&b->bars)) return cli_interrupted != 0;
    print_finished(b);
    cli_bars_clear(&b->bars);
    for (k = b->printed; k < at; k++) {
        int shown = 0;
        thread_pool_lock(&b->lock);
        r = b->reports[k];
        shown = r != NULL && !r->finished && r->total != 0;
        thread_pool_unlock(&b->lock);
        if (shown) cli_bars_line(&b->bars, &r->progress, r->done, r->total);
    }
    return cli_interrupted != 0;
}

/* What was in flight when a run was given up. */
static void fail_unfinished(batch *b, const posio_error *why)
{
    int i;
    for (i = b->printed; i < b->at; i++) {
        report *r = b->reports[i];
        if (r == NULL || r->finished || r == b->held) continue;
        r->error = *why;
        r->seconds = cli_now() - r->begin;
        finish_report(b, r);
    }
}

/* From b->at on: EWF images, together, up to the first that is none. */
static void verify_run(batch *b)
{
    ewf_read_many_desc d;
    posio_error why;
    memset(&d, 0, sizeof d);
    d.pool = b->pool;
    d.at_once = b->asked->at_once;
    if (b->count - b->at == 1) d.at_once = 1;
    d.next = next_image;
    d.done = image_is_done;
    d.progress = batch_progress;
    d.user = b;
    b->first = b->at;
    if (ewf_read_verify_many(&d, &why) != POSIO_OK) fail_unfinished(b, &why);
    print_finished(b);
    cli_bars_clear(&b->bars);
    if (b->held == NULL) return;
    if (cli_interrupted)
        (void)posio_fail(&b->held->error, POSIO_E_CANCELED, POSIO_NO_OFFSET, "canceled");
    else verify_other(b->held, b->pool);
    finish_report(b, b->held);
    b->held = NULL;
    print_finished(b);
}

static int verify_batch(batch *b)
{
    b->reports = (report **)calloc((size_t)b->count, sizeof(report *));
    b->run = (int *)calloc((size_t)b->count, sizeof *b->run);
    if (b->reports == NULL || b->run == NULL || !thread_pool_mutex_init(&b->lock)) {
        b->out_of_memory = 1;
    } else {
        cli_bars_init(&b->bars, !b->asked->quiet);
        while (b->at < b->count && !cli_interrupted && !b->out_of_memory) verify_run(b);
        thread_pool_mutex_destroy(&b->lock);
    }
    free(b->reports);
    free(b->run);
    if (b->out_of_memory) fputs("verify: out of memory\n", stderr);
    return b->out_of_memory || cli_interrupted ? CLI_FAILED : b->code;
}

// ---------------------------------------------------------------------------------- main

static int open_log(posio_file_sink **log, char **paths, int count, const arguments *a)
{
    posio_file_sink_desc desc;
    posio_error err;
    posio_result r;
    memset(&desc, 0, sizeof desc);
    desc.flags = a->force ? POSIO_SINK_FORCE : 0;
    if (log_is_an_input(paths, count, a))
        r = posio_fail(&err, POSIO_E_ARG, POSIO_NO_OFFSET, "is an image to be verified");
    else r = posio_file_sink_open(log, a->log_path, &desc, &err);
    if (r == POSIO_E_EXISTS) (void)posio_fail_while(&err, "--force replaces it");
    if (r != POSIO_OK) cli_error(a->log_path, &err);
    return r == POSIO_OK;
}

static int verify_all(char **paths, int count, const arguments *a)
{
    posio_file_sink *log = NULL;
    cli_out text;
    batch b;
    int code;
    memset(&b, 0, sizeof b);
    b.asked = a;
    b.paths = paths;
    b.count = count;
    if (a->log_path != NULL) {
        if (!open_log(&log, paths, count, a)) return CLI_FAILED;
        cli_out_to_sink(&text, posio_file_sink_sink(log));
        b.log = &text;
    }
    b.pool = thread_pool_create(a->threads);
    code = verify_batch(&b);
    if (!cli_interrupted && log != NULL && finish_log(log, &text, a->log_path) != CLI_GOOD)
        code = CLI_FAILED;
    posio_file_sink_close(log);
    thread_pool_destroy(b.pool);
    return code;
}

int main(int argc, char **argv)
{
    static arguments a;
    const cli_option options[] = {
        {"digest", "LIST", "md5, sha1, sha256, blake3, with commas: besides the stored ones", NULL,
         NULL, take_digests, &a},
        {"expect", "ALGO:HEX", "a digest that the media must have, such as sha1:2fd4...", NULL, NULL,
         take_expect, &a},
        {"info", NULL, "print what the image says of itself; read no chunk", &a.info, NULL, NULL,
         NULL},
        OPEN_IMAGE_OPTIONS(&a.open),
        {"threads", "N", "threads to use; 0 = all usable cores (default)", NULL, NULL, take_threads,
         &a},
        {"at-once", "N", "E01 images verified side by side; 0 = cores - 2, at least 8 (default)",
         NULL, NULL, take_at_once, &a},
        {"json", NULL, "one JSON object per image, one per line", &a.json, NULL, NULL, NULL},
        {"quiet", NULL, "no progress, and no report for images that are good", &a.quiet, NULL, NULL,
         NULL},
        {"log", "FILE", "write the report to FILE as well", NULL, &a.log_path, NULL, NULL},
        {"force", NULL, "let --log replace an existing file", &a.force, NULL, NULL, NULL}};
    const cli_tool tool = {
        "verify", "[options] IMAGE...",
        "Checks forensic images: decodes every chunk, computes digests, and compares them with\n"
        "those stored in the image; checks the structure of QCOW2. Reads EnCase E01 (any segment\n"
        "names the set), SMART S01, QCOW2, VMDK, VHDX and VHD with what they stand on, raw and\n"
        "split raw (.001) images, archives of pack, and all of these in zstd files. Images are\n"
        "never written.",
        "Exit codes: 0 = good, 1 = damaged or mismatch, 2 = could not do it; of several images\n"
        "the highest.",
        options, sizeof options / sizeof options[0]};
    char **operands;
    int count = 0, code;
    argv = cli_begin(&argc, argv);
    operands = (char **)calloc((size_t)argc + 1, sizeof *operands);
    if (operands == NULL) return CLI_FAILED;
    code = cli_parse(&tool, argc, argv, operands, &count);
    if (code < 0 && count == 0) code = cli_usage_error(&tool, "verify", "no image given");
    if (code < 0 && a.info && a.digests != 0)
        code = cli_usage_error(&tool, "--info", "reads no chunk: it goes without --digest and "
                                                "--expect");
    a.open.max_open = count > 1 ? 8 : 0; /* of each image: 64 may be open, of 1024 descriptors */
    if (code < 0) code = verify_all(operands, count, &a);
    free(operands);
    return cli_end(code);
}
