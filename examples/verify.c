/* verify.c - checks forensic images: every chunk, every stored digest.
   SPDX-License-Identifier: MIT OR Unlicense

       cc -O2 -pthread examples/verify.c -o verify

   One translation unit; see `verify --help`. The data flow from top to bottom: arguments, one image
   after the other is opened, described, verified into a report, and the report printed as text or
   as one line of JSON. */
#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1 /* O_DIRECT, where there is one */
#endif
#if !defined(_FILE_OFFSET_BITS)
#define _FILE_OFFSET_BITS 64 /* images beyond 2 GiB, in a 32-bit program */
#endif
#define EWF_READ_IMPLEMENTATION
#define QCOW2_READ_IMPLEMENTATION
#include "../ewf_read.h"
#include "../qcow2_read.h"
#include "cli.h"
#include "open_image.h"
#include "image_files.h"
#include "media_run.h"

// ---------------------------------------------------------------------------------- arguments

typedef struct arguments {
    uint32_t digests;   /* EWF_READ_MD5 | ... that were asked for */
    uint32_t expected;  /* those with an --expect */
    uint8_t expect[EWF_READ_MAX_DIGESTS][32];
    open_image_format format;
    uint32_t threads;
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

static const char *take_format(void *user, const char *value)
{
    arguments *a = (arguments *)user;
    if (strcmp(value, "raw") == 0) a->format = OPEN_IMAGE_RAW;
    else if (strcmp(value, "ewf") == 0) a->format = OPEN_IMAGE_EWF;
    else if (strcmp(value, "auto") == 0) a->format = OPEN_IMAGE_AUTO;
    else return "unknown format; one of raw, ewf, auto";
    return NULL;
}

static const char *take_threads(void *user, const char *value)
{
    if (cli_number(value, 4096, &((arguments *)user)->threads)) return NULL;
    return "not a whole number from 0 to 4096";
}

// ---------------------------------------------------------------------------------- the report

enum { STATUS_OK, STATUS_MISMATCH, STATUS_DAMAGED, STATUS_ERROR };
static const char *const status_names[] = {"ok", "mismatch", "damaged", "error"};

/* Everything about one image; text and JSON are printed from this alone. */
typedef struct report {
    const char *path;
    const arguments *asked;
    open_image *image; /* NULL when it could not be opened */
    int verified;
    ewf_read_verdict verdict;
    uint32_t unexpected; /* digests that are not what --expect says */
    int status;
    posio_error error;
    cli_progress *progress;
    double seconds;
    uint32_t threads;
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
    if (r->verdict.damaged_chunks != 0) r->status = STATUS_DAMAGED;
    else if (r->verdict.mismatches != 0 || r->unexpected != 0) r->status = STATUS_MISMATCH;
    else r->status = STATUS_OK;
}

// ---------------------------------------------------------------------------------- raw images

/* A raw image has nothing to check; its digests are computed by the pipeline that exports use. */
static int raw_progress(void *user, uint64_t done)
{
    const report *r = (const report *)user;
    return cli_progress_update(r->progress, done, r->verdict.bytes);
}

static posio_result verify_raw(report *r, uint32_t digests, thread_pool *pool)
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
    d.progress = raw_progress;
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
        out->has_computed = 1;
    }
    free(state);
    return result;
}

// ---------------------------------------------------------------------------------- verifying

static int ewf_progress(void *user, uint64_t done, uint64_t total)
{
    return cli_progress_update((cli_progress *)user, done, total);
}

static posio_result verify_ewf(report *r, uint32_t digests, cli_progress *progress)
{
    ewf_read_verify_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.digests = digests;
    desc.progress = ewf_progress;
    desc.user = progress;
    return ewf_read_verify(ewf_of(r), &desc, &r->verdict, &r->error);
}

/* Without a wish and without a stored digest there is still one worth having: MD5. */
static uint32_t digests_to_compute(const report *r)
{
    const ewf_read_metadata *m = ewf_of(r) != NULL ? ewf_read_info(ewf_of(r)) : NULL;
    if (r->asked->digests != 0 || (m != NULL && (m->has_md5 || m->has_sha1)))
        return r->asked->digests;
    return EWF_READ_MD5;
}

static void verify_image(report *r, thread_pool *pool)
{
    const arguments *a = r->asked;
    open_image_desc desc;
    cli_progress progress;
    posio_result result;
    double begin = cli_now();
    memset(&desc, 0, sizeof desc);
    desc.pool = pool;
    desc.formats[0] = a->format;
    r->threads = thread_pool_threads(pool);
    r->status = STATUS_ERROR;
    if (open_image_open(&r->image, r->path, &desc, &r->error) != POSIO_OK) return;
    if (a->info) {
        r->status = STATUS_OK;
        return;
    }
    cli_progress_begin(&progress, r->path, !a->quiet);
    r->progress = &progress;
    if (ewf_of(r) != NULL) result = verify_ewf(r, digests_to_compute(r), &progress);
    else result = verify_raw(r, digests_to_compute(r), pool);
    cli_progress_end(&progress);
    r->seconds = cli_now() - begin;
    if (result != POSIO_OK) return;
    r->verified = 1;
    judge(r);
}

// ---------------------------------------------------------------------------------- as text

static void line(cli_out *f, const char *name, const char *value)
{
    cli_printf(f, "  %-18s", name);
    cli_text(f, value);
    cli_puts(f, "\n");
}

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
        line(f, name, m->text[i]);
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
        line(f, "MD5 stored", hex);
    }
    if (m->has_sha1) {
        digest_hex(m->sha1, 20, hex);
        line(f, "SHA-1 stored", hex);
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
            line(f, stored, hex);
        }
        digest_hex(d->computed, d->size, hex);
        cli_printf(f, "  %-18s%s  %s\n", name,
                   d->has_computed ? hex : "not possible: parts of the media are missing",
                   digest_verdict(r, d));
    }
}

static void print_damage(cli_out *f, const report *r)
{
    ewf_read_damage d;
    uint32_t i;
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
static const char *warning_text(const ewf_read_warning *w, char out[320])
{
    char where[32] = "", offset[48] = "";
    if (w->segment != 0 && strncmp(w->message, "segment", 7) != 0)
        snprintf(where, sizeof where, "segment %u: ", (unsigned)w->segment);
    if (w->offset != POSIO_NO_OFFSET)
        snprintf(offset, sizeof offset, " (offset %llu)", (unsigned long long)w->offset);
    snprintf(out, 320, "%s%s%s", where, w->message, offset);
    return out;
}

static void print_warnings(cli_out *f, const report *r)
{
    ewf_read_warning w;
    char text[320];
    uint32_t i;
    if (ewf_of(r) == NULL) return;
    for (i = 0; ewf_read_get_warning(ewf_of(r), i, &w) == POSIO_OK; i++) {
        cli_printf(f, "  %-18s", i == 0 ? "warnings" : "");
        cli_text(f, warning_text(&w, text));
        cli_puts(f, "\n");
    }
}

static void print_verdict(cli_out *f, const report *r)
{
    char a[32], b[32];
    uint32_t i, stored = 0;
    double bytes = (double)r->verdict.bytes;
    for (i = 0; i < r->verdict.digest_count; i++) stored += r->verdict.digest[i].has_stored;
    cli_printf(f, "  %-18s", "verdict");
    if (r->status == STATUS_DAMAGED)
        cli_printf(f, "DAMAGED: %s chunk%s cannot be trusted\n",
                   cli_grouped(r->verdict.damaged_chunks, a),
                   r->verdict.damaged_chunks == 1 ? "" : "s");
    else if (r->status == STATUS_MISMATCH)
        cli_puts(f, "MISMATCH: all chunks are intact, but a digest differs\n");
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
        line(f, "error", r->error.message);
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
    else if (r->status == STATUS_ERROR) line(f, "error", r->error.message);
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

static void json_damage(cli_out *f, const report *r)
{
    ewf_read_damage d;
    uint32_t i;
    cli_puts(f, ",\"damaged_chunks\":[");
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
    ewf_read_warning w;
    char text[320];
    const char *sep = "";
    uint32_t i;
    cli_puts(f, ",\"warnings\":[");
    for (i = 0; ewf_of(r) != NULL && ewf_read_get_warning(ewf_of(r), i, &w) == POSIO_OK; i++) {
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
    if (ewf_of(r) != NULL) json_metadata(f, ewf_read_info(ewf_of(r)));
    if (r->status == STATUS_ERROR) json_error(f, &r->error);
    cli_printf(f, ",\"seconds\":%.3f,\"bytes_per_second\":%.0f,\"threads\":%u}\n", r->seconds,
               r->seconds > 0 ? (double)r->verdict.bytes / r->seconds : 0.0, (unsigned)r->threads);
}

// ---------------------------------------------------------------------------------- main

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
        if (image_files_is_input(paths[i], a->log_path, a->format)) return 1;
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

static int verify_one(const char *path, const arguments *a, thread_pool *pool, cli_out *log)
{
    report *r = (report *)calloc(1, sizeof *r);
    cli_out out;
    int code = CLI_FAILED;
    if (r == NULL) return fprintf(stderr, "%s: out of memory\n", path), CLI_FAILED;
    cli_out_to_file(&out, stdout);
    r->path = path;
    r->asked = a;
    verify_image(r, pool);
    code = exit_code_of(r);
    if (r->status == STATUS_ERROR) cli_error(path, &r->error);
    if (a->json) print_json(&out, r);
    else if (!(a->quiet && r->status == STATUS_OK) && (r->image != NULL)) print_text(&out, r);
    cli_flush(&out);
    if (log != NULL) {
        print_text(log, r);
        cli_flush(log);
    }
    open_image_close(r->image);
    free(r);
    return code;
}

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
    thread_pool *pool;
    posio_file_sink *log = NULL;
    cli_out text;
    int i, code = CLI_GOOD;
    if (a->log_path != NULL) {
        if (!open_log(&log, paths, count, a)) return CLI_FAILED;
        cli_out_to_sink(&text, posio_file_sink_sink(log));
    }
    pool = thread_pool_create(a->threads);
    for (i = 0; i < count && !cli_interrupted; i++) {
        int one;
        if (is_named_before(paths, i, a->format)) continue;
        one = verify_one(paths[i], a, pool, log != NULL ? &text : NULL);
        if (one > code) code = one;
    }
    if (cli_interrupted) code = CLI_FAILED;
    else if (log != NULL && finish_log(log, &text, a->log_path) != CLI_GOOD) code = CLI_FAILED;
    posio_file_sink_close(log);
    thread_pool_destroy(pool);
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
        {"format", "NAME", "raw, ewf or auto (default: by content and name)", NULL, NULL,
         take_format, &a},
        {"threads", "N", "threads to use; 0 = all usable cores (default)", NULL, NULL, take_threads,
         &a},
        {"json", NULL, "one JSON object per image, one per line", &a.json, NULL, NULL, NULL},
        {"quiet", NULL, "no progress, and no report for images that are good", &a.quiet, NULL, NULL,
         NULL},
        {"log", "FILE", "write the report to FILE as well", NULL, &a.log_path, NULL, NULL},
        {"force", NULL, "let --log replace an existing file", &a.force, NULL, NULL, NULL}};
    const cli_tool tool = {
        "verify", "[options] IMAGE...",
        "Checks forensic images: decodes every chunk, computes digests, and compares them with\n"
        "those stored in the image. Reads EnCase E01 (any segment names the set), SMART S01, raw\n"
        "and split raw (.001) images. Images are never written.",
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
    if (code < 0) code = verify_all(operands, count, &a);
    free(operands);
    return cli_end(code);
}
