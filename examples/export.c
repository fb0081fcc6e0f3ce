/* export.c - any image out as raw bytes: to a file, a pipe, digests or a map.
   SPDX-License-Identifier: MIT OR Unlicense

       cc -O2 -pthread examples/export.c -o export

   One translation unit; see `export --help`. The data flow from top to bottom: arguments, the
   lanes that take the media as it is decoded (writing, digests, windows), the map, resuming, the
   report, and the run that ties them together. */
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
#include "media_write.h"

// ---------------------------------------------------------------------------------- arguments

enum { DIGESTS = 4 };
static const int digest_ids[DIGESTS] = {DIGEST_MD5, DIGEST_SHA1, DIGEST_SHA256, DIGEST_BLAKE3};
static const char *const digest_titles[DIGESTS] = {"MD5", "SHA-1", "SHA-256", "BLAKE3"};

typedef struct arguments {
    const char *output; /* "-": standard output; NULL: nothing is written */
    uint64_t offset, length;
    int has_range, has_length;
    uint32_t digests; /* bit i: digest_ids[i] */
    uint64_t window;  /* bytes of --piecewise; 0 = none */
    uint32_t on_damage;
    open_image_desc image; /* how it is opened */
    uint32_t threads;
    int map, sparse, no_sparse, resume, force, json, quiet;
} arguments;

static const char *take_digests(void *user, const char *value)
{
    arguments *a = (arguments *)user;
    for (;;) {
        char name[16];
        size_t n = strcspn(value, ",");
        uint32_t i = DIGESTS;
        if (n < sizeof name) {
            memcpy(name, value, n);
            name[n] = 0;
            for (i = 0; i < DIGESTS && digest_from_name(name) != digest_ids[i]; i++) {}
        }
        if (i == DIGESTS) return "unknown digest; one of md5, sha1, sha256, blake3";
        a->digests |= 1u << i;
        if (value[n] == 0) return NULL;
        value += n + 1;
    }
}

static const char *take_range(void *user, const char *value)
{
    arguments *a = (arguments *)user;
    const char *p;
    if (!cli_bytes(value, &p, &a->offset) || *p != ':')
        return "not OFFSET:LENGTH, such as 1M:64K or 63s: (to the end)";
    a->has_range = 1;
    a->has_length = p[1] != 0;
    if (!a->has_length) return NULL;
    if (!cli_bytes(p + 1, &p, &a->length) || *p != 0)
        return "its length is no number of bytes, such as 4096, 0x1000, 8s or 4K";
    return NULL;
}

static const char *take_window(void *user, const char *value)
{
    arguments *a = (arguments *)user;
    const char *p;
    if (cli_bytes(value, &p, &a->window) && *p == 0 && a->window != 0) return NULL;
    a->window = 0;
    return "not a number of bytes, such as 4096, 8s or 1M";
}

static const char *take_damage(void *user, const char *value)
{
    arguments *a = (arguments *)user;
    if (strcmp(value, "stop") == 0) a->on_damage = MEDIA_DAMAGE_ERROR;
    else if (strcmp(value, "zeros") == 0) a->on_damage = MEDIA_DAMAGE_ZEROS;
    else return "one of stop, zeros";
    return NULL;
}

static const char *take_threads(void *user, const char *value)
{
    if (cli_number(value, 4096, &((arguments *)user)->threads)) return NULL;
    return "not a whole number from 0 to 4096";
}

// ---------------------------------------------------------------------------------- the job

enum { STATUS_OK, STATUS_MISMATCH, STATUS_DAMAGED, STATUS_ERROR };
static const char *const status_names[] = {"ok", "mismatch", "damaged", "error"};

enum { MATCH_NOT, MATCH_EXACT, MATCH_UNTRIMMED };

/* The lane that hashes windows: one digest of each kind at a time. */
typedef struct window_state {
    digest state[DIGESTS];
    uint64_t begin, fill; /* of the window under way */
    int any;
} window_state;

/* Adjacent units that cannot be read for the same reason; the words are about the first. */
typedef struct damage {
    uint64_t offset, length;
    uint64_t file_offset;
    uint32_t segment;
    posio_result code;
    char file[104], reason[192];
} damage;

enum { MOST_DAMAGES = 65536 };

typedef struct job {
    const arguments *asked;
    const char *path;
    open_image *image; /* NULL: not opened */
    thread_pool *pool;
    posio_source source;
    uint64_t offset, length; /* of the range */
    cli_out out;             /* where the report goes: not where the bytes go */
    int begun;               /* the report is */
    media_writer writer;
    uint32_t digests; /* bit i: digest_ids[i] */
    digest state[DIGESTS];
    uint8_t computed[DIGESTS][DIGEST_MAX_SIZE];
    int has_stored[DIGESTS], match[DIGESTS]; /* MATCH_... */
    uint8_t stored[DIGESTS][DIGEST_MAX_SIZE];
    window_state windows;
    damage *damages;
    uint64_t damage_count, damage_room, damaged_bytes, damage_unlisted;
    cli_progress progress;
    uint64_t total; /* bytes of the run */
    int done;       /* the run has come to its end */
    int status;
    posio_error error;
    double seconds;
} job;

static int exit_code_of(const job *j)
{
    return j->status == STATUS_OK ? CLI_GOOD : j->status == STATUS_ERROR ? CLI_FAILED : CLI_BAD;
}

static int to_stdout(const arguments *a)
{
    return a->output != NULL && strcmp(a->output, "-") == 0;
}

// ---------------------------------------------------------------------------------- windows

static void print_window(job *j)
{
    cli_out *f = &j->out;
    window_state *w = &j->windows;
    uint8_t result[DIGEST_MAX_SIZE];
    char hex[2 * DIGEST_MAX_SIZE + 1];
    uint64_t end = w->begin + w->fill;
    uint32_t i;
    if (j->asked->json)
        cli_printf(f, "%s{\"offset\":%llu,\"length\":%llu", w->any ? "," : "",
                   (unsigned long long)w->begin, (unsigned long long)w->fill);
    else cli_printf(f, "%llu-%llu", (unsigned long long)w->begin, (unsigned long long)(end - 1));
    for (i = 0; i < DIGESTS; i++) {
        if (!(j->digests & 1u << i)) continue;
        digest_hex(result, digest_result(&w->state[i], result), hex);
        cli_printf(f, j->asked->json ? ",\"%s\":\"%s\"" : "  %s %s", digest_name(digest_ids[i]),
                   hex);
        (void)digest_begin(&w->state[i], digest_ids[i]);
    }
    cli_puts(f, j->asked->json ? "}" : "\n");
    w->any = 1;
    w->begin = end;
    w->fill = 0;
}

static posio_result window_lane(void *user, const media_piece *piece, posio_error *err)
{
    job *j = (job *)user;
    window_state *w = &j->windows;
    uint64_t done, n;
    uint32_t i;
    (void)err;
    for (done = 0; done < piece->size; done += n) {
        const unsigned char *p = piece->data != NULL ? piece->data + done : media_zeros();
        n = posio_min(j->asked->window - w->fill, piece->size - done);
        if (piece->data == NULL) n = posio_min(n, MEDIA_ZEROS);
        for (i = 0; i < DIGESTS; i++)
            if (j->digests & 1u << i) digest_update(&w->state[i], p, (size_t)n);
        w->fill += n;
        if (w->fill == j->asked->window) print_window(j);
    }
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- damage

static void cut_copy(char *out, size_t size, const char *s)
{
    posio_format(out, size, "%s", s); /* cuts no character in two */
}

static void add_damage(void *user, uint64_t offset, uint64_t length, const posio_error *why)
{
    job *j = (job *)user;
    damage *d = j->damage_count != 0 ? &j->damages[j->damage_count - 1] : NULL;
    void *list = j->damages;
    j->damaged_bytes += length;
    if (j->damage_unlisted == 0 && d != NULL && d->offset + d->length == offset &&
        d->code == why->code && d->segment == why->segment) {
        d->length += length;
        return;
    }
    if (j->damage_count == MOST_DAMAGES ||
        !posio_grow(NULL, &list, j->damage_count, &j->damage_room, sizeof *d)) {
        j->damage_unlisted++;
        return;
    }
    j->damages = (damage *)list;
    d = &j->damages[j->damage_count++];
    memset(d, 0, sizeof *d);
    d->offset = offset;
    d->length = length;
    d->code = why->code;
    d->segment = why->segment;
    d->file_offset = why->offset;
    cut_copy(d->file, sizeof d->file, why->file);
    cut_copy(d->reason, sizeof d->reason, why->message);
}

// ---------------------------------------------------------------------------------- the map

static void print_extent(job *j, uint64_t from, uint64_t to, uint32_t kind)
{
    static const char *const names[] = {"data", "zero", "hole", "compressed"};
    int zero = kind == POSIO_EXTENT_ZERO || kind == POSIO_EXTENT_HOLE;
    if (j->asked->json)
        cli_printf(
            &j->out, "%s{\"start\":%llu,\"length\":%llu,\"kind\":\"%s\",\"data\":%s,\"zero\":%s}",
            from != j->offset ? "," : "", (unsigned long long)from, (unsigned long long)(to - from),
            names[kind], zero ? "false" : "true", zero ? "true" : "false");
    else
        cli_printf(&j->out, "%20llu %20llu  %s\n", (unsigned long long)from,
                   (unsigned long long)(to - from), names[kind]);
}

/* The extent at `at`. What cannot be told is data up to the end of the unit, as long as it is known
   to be there; the first error is kept. */
static posio_extent extent_at(job *j, uint64_t at)
{
    uint64_t unit = j->source.unit != 0 ? j->source.unit : 1 << 16;
    posio_extent x;
    posio_error err;
    memset(&x, 0, sizeof x);
    memset(&err, 0, sizeof err);
    if (posio_extent_of(&j->source, at, &x, &err) != POSIO_OK) {
        if (j->status == STATUS_OK) {
            j->error = err;
            j->status = media_i_is_damage(err.code) ? STATUS_DAMAGED : STATUS_ERROR;
            cli_error(j->path, &err);
        }
        x.length = unit - at % unit;
        x.kind = POSIO_EXTENT_DATA;
    }
    if (x.length == 0 || x.length > j->offset + j->length - at)
        x.length = j->offset + j->length - at;
    if (x.kind > POSIO_EXTENT_COMPRESSED) x.kind = POSIO_EXTENT_DATA;
    return x;
}

/* Prints as it goes: a map can be larger than memory. */
static void print_map(job *j)
{
    uint64_t end = j->offset + j->length, from = j->offset, at = from;
    uint32_t kind = POSIO_EXTENT_DATA;
    if (j->asked->json) cli_puts(&j->out, ",\"map\":[");
    else if (!j->asked->quiet) cli_printf(&j->out, "%20s %20s  %s\n", "start", "length", "kind");
    while (at < end && !cli_interrupted) {
        posio_extent x = extent_at(j, at);
        if (at != from && x.kind != kind) {
            print_extent(j, from, at, kind);
            from = at;
        }
        kind = x.kind;
        at += x.length;
    }
    if (at != from) print_extent(j, from, at, kind);
    if (j->asked->json) cli_puts(&j->out, "]");
    if (cli_interrupted) {
        j->status = STATUS_ERROR;
        (void)posio_fail(&j->error, POSIO_E_CANCELED, POSIO_NO_OFFSET, "interrupted");
        cli_error(j->path, &j->error);
    }
}

// ---------------------------------------------------------------------------------- resuming

/* How much of NAME.part is compared with the image: its beginning, and its end. */
enum { COMPARE_FIRST = 1 << 20, COMPARE_LAST = 16 << 20, COMPARE_STEP = 1 << 16 };

/* The lane that compares. */
typedef struct comparison {
    posio_source part;
    uint64_t range;   /* offset of the part's first byte in the media */
    uint64_t good_to; /* where in the part it ended: behind what is equal */
    int differs;      /* and what is there is not from this image */
    int unread;       /* or the part could not be read, and not the image */
    unsigned char bytes[COMPARE_STEP];
} comparison;

/* Bytes differ at `at` of the part. A crash can leave blocks that were never written, which read as
   zeros to their end: these are not another image's. */
static posio_result judge_difference(comparison *c, uint64_t at, posio_error *err)
{
    size_t n = (size_t)posio_min(MEDIA_HOLE_STEP - at % MEDIA_HOLE_STEP, c->part.size - at);
    posio_result r = posio_read(&c->part, at, c->bytes, n, err);
    c->good_to = at - at % MEDIA_HOLE_STEP;
    c->unread = r != POSIO_OK;
    if (r != POSIO_OK) return r;
    c->differs = !media_is_zeros(c->bytes, n);
    if (c->differs) c->good_to = at;
    return POSIO_E_CANCELED; /* there is nothing more to compare */
}

static posio_result compare_lane(void *user, const media_piece *piece, posio_error *err)
{
    comparison *c = (comparison *)user;
    uint64_t done, at = piece->offset - c->range;
    size_t n, k;
    for (done = 0; done < piece->size; done += n) {
        const unsigned char *p = piece->data != NULL ? piece->data + done : media_zeros();
        posio_result r;
        n = (size_t)posio_min(COMPARE_STEP, piece->size - done);
        r = posio_read(&c->part, at + done, c->bytes, n, err);
        c->unread = r != POSIO_OK;
        if (r != POSIO_OK) return r;
        if (memcmp(c->bytes, p, n) == 0) continue;
        for (k = 0; c->bytes[k] == p[k]; k++) {}
        return judge_difference(c, at + done + k, err);
    }
    c->good_to = at + piece->size;
    return POSIO_OK;
}

static int compare_progress(void *user, uint64_t done)
{
    (void)user;
    (void)done;
    return cli_interrupted != 0;
}

static void ignore_damage(void *user, uint64_t offset, uint64_t length, const posio_error *why)
{
    (void)user;
    (void)offset;
    (void)length;
    (void)why;
}

/* Compares [from, to) of the part; true: all of it is equal. */
static int compare(job *j, comparison *c, uint64_t from, uint64_t to, posio_result *r)
{
    media_lane lane;
    media_desc d;
    memset(&lane, 0, sizeof lane);
    memset(&d, 0, sizeof d);
    lane.run = compare_lane;
    lane.user = c;
    d.source = j->source;
    d.offset = c->range + from;
    d.length = to - from;
    d.pool = j->pool;
    d.lanes = &lane;
    d.lane_count = 1;
    d.on_damage = j->asked->on_damage;
    d.damage = ignore_damage; /* the run itself will come upon it */
    d.progress = compare_progress;
    c->good_to = from;
    *r = media_run(&d, &j->error);
    if (*r == POSIO_E_CANCELED && !cli_interrupted) *r = POSIO_OK; /* by judge_difference */
    return *r == POSIO_OK && c->good_to == to;
}

/* Must the whole range be decoded, whatever is in NAME.part already? */
static int decodes_all(const job *j)
{
    return j->digests != 0 || j->asked->on_damage == MEDIA_DAMAGE_ZEROS;
}

/* How much of NAME.part is good; or an error. The part may end anywhere, and end in blocks that a
   crash kept from being written. Digests are of what the file holds: then all of it is compared. */
static posio_result measure_part(job *j, comparison *c, uint64_t *good)
{
    uint64_t size = c->part.size, first = decodes_all(j) ? size : posio_min(COMPARE_FIRST, size);
    uint64_t last = size - first > COMPARE_LAST ? size - COMPARE_LAST : first;
    posio_result r = POSIO_OK;
    if (size > j->length)
        return posio_fail(&j->error, POSIO_E_DATA, POSIO_NO_OFFSET,
                          "its .part has %llu bytes, the export only %llu: it is from another one",
                          (unsigned long long)size, (unsigned long long)j->length);
    if (first != 0 && compare(j, c, 0, first, &r) && last < size)
        (void)compare(j, c, last, size, &r);
    if (r == POSIO_OK && c->differs)
        r = posio_fail(&j->error, POSIO_E_DATA, c->good_to,
                       "its .part differs from the image: it is not from this export; without "
                       "--resume it is begun anew");
    else if (r != POSIO_OK && !c->unread && r != POSIO_E_CANCELED) j->writer.failed = 0;
    *good = c->good_to;
    return r;
}

/* Finds out where to go on, and cuts NAME.part there. */
static posio_result resume(job *j)
{
    media_writer *w = &j->writer;
    char *name = image_files_join(j->asked->output, strlen(j->asked->output), ".part");
    comparison *c = (comparison *)calloc(1, sizeof *c);
    posio_file *file = NULL;
    uint64_t good = 0;
    posio_result r;
    if (name == NULL || c == NULL)
        r = posio_fail(&j->error, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    else r = posio_file_open(&file, name, NULL, &j->error);
    if (r == POSIO_OK) {
        c->part = posio_file_source(file);
        c->range = j->offset;
        r = measure_part(j, c, &good);
    }
    posio_file_close(file);
    if (r == POSIO_OK) r = posio_file_sink_cut(w->file, good, &j->error);
    if (r == POSIO_OK) w->from = j->offset + good;
    free(name);
    free(c);
    return r;
}

// ---------------------------------------------------------------------------------- the output

static posio_result refuse_output(job *j, posio_result code, const char *why)
{
    return posio_fail(&j->error, code, POSIO_NO_OFFSET, "%s", why);
}

/* A device is no file that could be begun anew and renamed. */
static int is_device(const char *path)
{
    posio_file *file = NULL;
    int yes;
    if (posio_file_open(&file, path, NULL, NULL) != POSIO_OK) return 0;
    yes = posio_file_get_info(file).is_device != 0;
    posio_file_close(file);
    return yes;
}

static posio_result open_stdout(job *j)
{
    media_writer *w = &j->writer;
    if (cli_is_terminal(stdout) && !j->asked->force)
        return refuse_output(j, POSIO_E_ARG, "raw bytes are not written to a terminal");
    w->pipe.handle = cli_standard_handle(1);
    w->sink = posio_pipe_sink(&w->pipe);
    return POSIO_OK;
}

static posio_result open_file(job *j)
{
    const arguments *a = j->asked;
    media_writer *w = &j->writer;
    posio_file_sink_desc desc;
    posio_result r;
    memset(&desc, 0, sizeof desc);
    desc.flags = (a->force ? (uint32_t)POSIO_SINK_FORCE : 0) |
                 (a->resume ? (uint32_t)POSIO_SINK_RESUME : 0) |
                 (a->no_sparse ? (uint32_t)POSIO_SINK_NO_HOLES : 0);
    if (image_files_is_read(j->image, a->output))
        return refuse_output(j, POSIO_E_ARG, "is a file of the image, or its NAME.part would be");
    if (!a->force && is_device(a->output))
        return refuse_output(j, POSIO_E_EXISTS, "is a device; --force overwrites it");
    r = posio_file_sink_open(&w->file, a->output, &desc, &j->error);
    if (r == POSIO_E_EXISTS) (void)posio_fail_while(&j->error, "--force replaces it");
    if (r != POSIO_OK) return r;
    w->sink = posio_file_sink_sink(w->file);
    w->keeps_holes = !a->no_sparse && !posio_file_sink_is_direct(w->file);
    if (!a->resume) return POSIO_OK;
    if (posio_file_sink_is_direct(w->file))
        return refuse_output(j, POSIO_E_ARG, "is a device or pipe: there is nothing to resume");
    return resume(j);
}

/* On failure writer.failed says whether it is the output's. */
static posio_result open_output(job *j)
{
    posio_result r = POSIO_OK;
    j->writer.from = j->offset;
    j->writer.failed = 1;
    if (to_stdout(j->asked)) r = open_stdout(j);
    else if (j->asked->output != NULL) r = open_file(j);
    if (r == POSIO_OK) j->writer.failed = 0;
    return r;
}

// ---------------------------------------------------------------------------------- the report

static void begin_json(job *j)
{
    cli_out *f = &j->out;
    cli_puts(f, "{\"path\":");
    cli_json_string(f, j->path);
    cli_puts(f, ",\"output\":");
    cli_json_string(f, j->asked->output);
    if (j->image == NULL) {
        cli_puts(f, ",\"format\":null,\"media_size\":null,\"range\":null");
        return;
    }
    cli_puts(f, ",\"format\":");
    cli_json_string(f, open_image_format_name(j->image));
    cli_printf(f, ",\"media_size\":%llu,\"range\":{\"offset\":%llu,\"length\":%llu}",
               (unsigned long long)j->source.size, (unsigned long long)j->offset,
               (unsigned long long)j->length);
}

static void begin_text(job *j)
{
    cli_out *f = &j->out;
    char a[32], b[32];
    if (j->asked->quiet) return;
    cli_text(f, j->path);
    cli_puts(f, "\n");
    cli_line(f, "format", open_image_format_name(j->image));
    cli_printf(f, "  %-18s%s (%s bytes)\n", "media size", cli_size((double)j->source.size, a),
               cli_grouped(j->source.size, b));
    if (j->asked->has_range)
        cli_printf(f, "  %-18s%s bytes at offset %llu\n", "range", cli_grouped(j->length, a),
                   (unsigned long long)j->offset);
    if (j->asked->output != NULL) cli_line(f, "output", j->asked->output);
    if (j->writer.from != j->offset)
        cli_printf(f, "  %-18s%s bytes were there already\n", "resumed",
                   cli_grouped(j->writer.from - j->offset, a));
}

/* What is known before the run; maps and windows follow it as they come. */
static void begin_report(job *j)
{
    if (j->begun) return;
    j->begun = 1;
    if (j->asked->json) begin_json(j);
    else if (j->image != NULL && j->status == STATUS_OK) begin_text(j);
}

static const char *match_words(const job *j, uint32_t i)
{
    if (!j->has_stored[i]) return "";
    if (j->match[i] == MATCH_UNTRIMMED)
        return "  the image stores another one, with the bytes behind the last whole sector: match";
    return j->match[i] ? "  match" : "  MISMATCH: the image stores another one";
}

static void print_digests(job *j)
{
    char hex[2 * DIGEST_MAX_SIZE + 1];
    uint32_t i;
    for (i = 0; i < DIGESTS; i++) {
        if (!(j->digests & 1u << i)) continue;
        digest_hex(j->computed[i], digest_size(digest_ids[i]), hex);
        cli_printf(&j->out, "  %-18s%s%s\n", digest_titles[i], hex, match_words(j, i));
        if (!j->has_stored[i] || j->match[i] == MATCH_EXACT) continue;
        digest_hex(j->stored[i], digest_size(digest_ids[i]), hex);
        cli_printf(&j->out, "  %-18s%s\n", "stored", hex);
    }
}

/* JSON has them all. */
enum { MOST_PRINTED = 100 };

static void print_damage(job *j)
{
    char number[32];
    uint64_t i;
    for (i = 0; i < j->damage_count && i < MOST_PRINTED; i++) {
        const damage *d = &j->damages[i];
        cli_printf(&j->out, "  %-18soffset %llu, %s bytes are zeros: ", i == 0 ? "damaged" : "",
                   (unsigned long long)d->offset, cli_grouped(d->length, number));
        cli_text(&j->out, d->reason);
        if (d->segment != 0) cli_printf(&j->out, ", segment %u", (unsigned)d->segment);
        if (d->file_offset != POSIO_NO_OFFSET)
            cli_printf(&j->out, ", file offset %llu", (unsigned long long)d->file_offset);
        cli_puts(&j->out, "\n");
    }
    if (i < j->damage_count + j->damage_unlisted)
        cli_printf(&j->out, "  %-18s... and %s more\n", "",
                   cli_grouped(j->damage_count + j->damage_unlisted - i, number));
}

static void print_summary(job *j)
{
    char a[32], b[32];
    double bytes = (double)j->total;
    if (j->damaged_bytes != 0)
        cli_printf(&j->out, "  %-18sDAMAGED: %s bytes cannot be read\n", "verdict",
                   cli_grouped(j->damaged_bytes, a));
    else if (j->status == STATUS_DAMAGED)
        cli_printf(&j->out, "  %-18sDAMAGED: some of the map cannot be read\n", "verdict");
    else if (j->status == STATUS_MISMATCH)
        cli_printf(&j->out, "  %-18sMISMATCH: a digest differs from the one that is stored\n",
                   "verdict");
    cli_printf(&j->out, "  %-18s%s in %.2f s, %s/s", j->asked->output != NULL ? "exported" : "read",
               cli_size(bytes, a), j->seconds,
               cli_size(j->seconds > 0 ? bytes / j->seconds : 0, b));
    if (j->writer.holes != 0)
        cli_printf(&j->out, ", %s of holes", cli_size((double)j->writer.holes, a));
    cli_printf(&j->out, ", %u thread%s\n", (unsigned)thread_pool_threads(j->pool),
               thread_pool_threads(j->pool) == 1 ? "" : "s");
}

static void json_digests(job *j)
{
    char hex[2 * DIGEST_MAX_SIZE + 1];
    const char *sep = "";
    uint32_t i;
    cli_puts(&j->out, ",\"digests\":{");
    for (i = 0; i < DIGESTS; i++) {
        if (!j->done || !(j->digests & 1u << i)) continue;
        digest_hex(j->computed[i], digest_size(digest_ids[i]), hex);
        cli_printf(&j->out, "%s\"%s\":{\"computed\":\"%s\"", sep, digest_name(digest_ids[i]), hex);
        digest_hex(j->stored[i], digest_size(digest_ids[i]), hex);
        if (j->has_stored[i])
            cli_printf(&j->out, ",\"stored\":\"%s\",\"match\":%s}", hex,
                       j->match[i] ? "true" : "false");
        else cli_puts(&j->out, ",\"stored\":null,\"match\":null}");
        sep = ",";
    }
    cli_puts(&j->out, "}");
}

static void json_place(cli_out *f, const char *prefix, uint32_t segment, const char *file,
                       uint64_t offset)
{
    if (segment != 0) cli_printf(f, ",\"%ssegment\":%u", prefix, (unsigned)segment);
    else cli_printf(f, ",\"%ssegment\":null", prefix);
    cli_printf(f, ",\"%sfile\":", prefix);
    cli_json_string(f, file[0] != 0 ? file : NULL);
    if (offset != POSIO_NO_OFFSET)
        cli_printf(f, ",\"%soffset\":%llu", prefix, (unsigned long long)offset);
    else cli_printf(f, ",\"%soffset\":null", prefix);
}

static void json_damage(job *j)
{
    uint64_t i;
    cli_puts(&j->out, ",\"damaged\":[");
    for (i = 0; i < j->damage_count; i++) {
        const damage *d = &j->damages[i];
        cli_printf(&j->out, "%s{\"offset\":%llu,\"length\":%llu", i != 0 ? "," : "",
                   (unsigned long long)d->offset, (unsigned long long)d->length);
        cli_puts(&j->out, ",\"reason\":");
        cli_json_string(&j->out, d->reason);
        json_place(&j->out, "in_", d->segment, d->file, d->file_offset);
        cli_puts(&j->out, "}");
    }
    cli_printf(&j->out, "],\"damaged_bytes\":%llu,\"damaged_unlisted\":%llu",
               (unsigned long long)j->damaged_bytes, (unsigned long long)j->damage_unlisted);
}

static void end_json(job *j)
{
    cli_out *f = &j->out;
    cli_printf(f, ",\"bytes\":%llu,\"written\":%llu,\"holes\":%llu,\"resumed\":%llu",
               (unsigned long long)(j->done ? j->length : 0), (unsigned long long)j->writer.written,
               (unsigned long long)j->writer.holes,
               (unsigned long long)(j->writer.from - j->offset));
    cli_printf(f, ",\"status\":\"%s\"", status_names[j->status]);
    json_digests(j);
    json_damage(j);
    if (j->error.code != POSIO_OK) {
        cli_puts(f, ",\"error\":");
        cli_json_string(f, j->error.message);
        json_place(f, "error_", j->error.segment, j->error.file, j->error.offset);
    }
    cli_printf(f, ",\"seconds\":%.3f,\"bytes_per_second\":%.0f,\"threads\":%u}\n", j->seconds,
               j->done && j->seconds > 0 ? (double)j->total / j->seconds : 0.0,
               (unsigned)thread_pool_threads(j->pool));
}

static void end_report(job *j)
{
    begin_report(j);
    if (j->asked->json) {
        end_json(j);
    } else if (j->done) {
        print_digests(j);
        if (!j->asked->quiet || j->status != STATUS_OK) print_damage(j);
        if (!j->asked->quiet || j->status != STATUS_OK) print_summary(j);
    }
    cli_flush(&j->out);
}

// ---------------------------------------------------------------------------------- the run

static int report_progress(void *user, uint64_t done)
{
    job *j = (job *)user;
    return cli_progress_update(&j->progress, done, j->total);
}

/* One lane for each purpose: they take the same bytes side by side. */
static uint32_t make_lanes(job *j, media_lane lanes[DIGESTS + 2])
{
    uint32_t n = 0, i;
    memset(lanes, 0, (DIGESTS + 2) * sizeof lanes[0]);
    if (j->asked->output != NULL) {
        lanes[n].run = media_write_lane;
        lanes[n++].user = &j->writer;
    }
    for (i = 0; i < DIGESTS; i++) {
        if (!(j->digests & 1u << i)) continue;
        (void)digest_begin(&j->state[i], digest_ids[i]);
        (void)digest_begin(&j->windows.state[i], digest_ids[i]);
        lanes[n].run = media_digest_lane;
        lanes[n++].user = &j->state[i];
    }
    if (j->asked->window != 0) {
        j->windows.begin = j->offset;
        lanes[n].run = window_lane;
        lanes[n++].user = j;
    }
    return n;
}

/* What an earlier run has written is decoded again only for what must know all of the range: the
   digests, and the report of damage. */
static posio_result run_lanes(job *j)
{
    const arguments *a = j->asked;
    media_lane lanes[DIGESTS + 2];
    media_desc d;
    posio_result r;
    memset(&d, 0, sizeof d);
    d.source = j->source;
    d.offset =
        decodes_all(j) ? j->offset : j->writer.from;
    d.length = j->total = j->offset + j->length - d.offset;
    d.pool = j->pool;
    d.lanes = lanes;
    d.lane_count = make_lanes(j, lanes);
    d.most_zeros = j->digests == 0 && j->writer.keeps_holes ? (uint64_t)1 << 40 : 0;
    d.on_damage = a->on_damage;
    d.damage = add_damage;
    d.progress = report_progress;
    d.user = j;
    if (a->window != 0 && a->json) cli_puts(&j->out, ",\"pieces\":[");
    cli_flush(&j->out);
    /* Windows are printed while it runs: not into the bar. */
    cli_progress_begin(&j->progress, j->path,
                       !a->quiet && !(a->window != 0 && cli_is_terminal(j->out.file)));
    r = media_run(&d, &j->error);
    cli_progress_end(&j->progress);
    if (r == POSIO_OK && j->windows.fill != 0) print_window(j);
    if (a->window != 0 && a->json) cli_puts(&j->out, "]");
    return r;
}

/* What the image itself says the digest of its media is; NULL when it does not. */
static const uint8_t *stored_digest(const job *j, int id)
{
    const ewf_read_metadata *m = j->image->ewf != NULL ? ewf_read_info(j->image->ewf) : NULL;
    if (m == NULL || j->offset != 0 || j->length != j->source.size) return NULL;
    if (id == DIGEST_MD5 && m->has_md5) return m->md5;
    if (id == DIGEST_SHA1 && m->has_sha1) return m->sha1;
    return NULL;
}

/* Some programs hash the bytes behind the last whole sector, too: a verify knows. It reads the
   image once more, but only where this makes the difference between good and bad. */
static int matches_untrimmed(job *j, uint32_t i)
{
    ewf_read_verdict v;
    uint32_t k;
    if (j->damaged_bytes != 0 || ewf_read_verify(j->image->ewf, NULL, &v, NULL) != POSIO_OK)
        return 0;
    for (k = 0; k < v.digest_count; k++)
        if (v.digest[k].algorithm == (i == 0 ? EWF_READ_MD5 : EWF_READ_SHA1))
            return v.digest[k].match != 0;
    return 0;
}

static void judge(job *j)
{
    uint32_t i;
    for (i = 0; i < DIGESTS; i++) {
        const uint8_t *stored = stored_digest(j, digest_ids[i]);
        size_t n;
        if (!(j->digests & 1u << i)) continue;
        n = digest_result(&j->state[i], j->computed[i]);
        if (stored == NULL) continue;
        memcpy(j->stored[i], stored, n);
        j->has_stored[i] = 1;
        j->match[i] = memcmp(stored, j->computed[i], n) == 0 ? MATCH_EXACT
                      : matches_untrimmed(j, i)              ? MATCH_UNTRIMMED
                                                             : MATCH_NOT;
        if (j->match[i] == MATCH_NOT && j->status == STATUS_OK) j->status = STATUS_MISMATCH;
    }
    if (j->damaged_bytes != 0) j->status = STATUS_DAMAGED;
}

/* Says what happened, and how to go on. A pipe whose reader has enough is no news. */
static void fail(job *j, posio_result r)
{
    const arguments *a = j->asked;
    const char *path = j->writer.failed ? a->output : j->path;
    j->status = !j->writer.failed && media_i_is_damage(r) ? STATUS_DAMAGED : STATUS_ERROR;
    if (r == POSIO_E_CANCELED) (void)posio_fail(&j->error, r, POSIO_NO_OFFSET, "interrupted");
    else if (j->status == STATUS_DAMAGED && a->on_damage == MEDIA_DAMAGE_ERROR)
        (void)posio_fail_while(&j->error, "--damage zeros goes on");
    if (!(j->writer.failed && cli_reader_is_gone(&j->error))) cli_error(path, &j->error);
}

/* The file is complete, or what there is of it waits for --resume. */
static posio_result finish_output(job *j, posio_result r)
{
    media_writer *w = &j->writer;
    cli_out f;
    if (w->file == NULL) return r;
    if (r == POSIO_OK) {
        r = posio_file_sink_finish(w->file, &j->error);
        w->failed = r != POSIO_OK;
    }
    if (r == POSIO_OK) return r;
    fail(j, r);
    if (posio_file_sink_is_direct(w->file)) return r;
    cli_out_to_file(&f, stderr);
    cli_text(&f, j->asked->output);
    cli_puts(&f, ".part: keeps what was written; --resume goes on from there\n");
    cli_flush(&f);
    return r;
}

static posio_result choose_range(job *j)
{
    const arguments *a = j->asked;
    uint64_t size = j->source.size;
    uint64_t length = a->has_length ? a->length : size - posio_min(a->offset, size);
    if (a->offset > size || !posio_within(a->offset, length, size))
        return posio_fail(&j->error, POSIO_E_RANGE, POSIO_NO_OFFSET,
                          "the range reaches beyond the end of the media, which has %llu bytes",
                          (unsigned long long)size);
    j->offset = j->writer.from = a->offset;
    j->length = length;
    return POSIO_OK;
}

static posio_result open_input(job *j)
{
    /* No pool is lent to the formats: what is read in parts here keeps all threads busy. */
    open_image_desc desc = j->asked->image;
    posio_result r;
    desc.pool_to_measure = j->pool;
    cli_idle(1);
    r = open_image_open(&j->image, j->path, &desc, &j->error);
    cli_idle(0);
    if (r != POSIO_OK) return r;
    j->source = open_image_source(j->image);
    return choose_range(j);
}

static void export_image(job *j)
{
    const arguments *a = j->asked;
    double begin = cli_now();
    posio_result r = open_input(j);
    if (r != POSIO_OK) {
        j->status = STATUS_ERROR;
        cli_error(j->path, &j->error);
        return;
    }
    r = open_output(j);
    if (r != POSIO_OK) {
        fail(j, r);
        return;
    }
    begin_report(j);
    if (a->map) print_map(j);
    if (j->status == STATUS_ERROR || (a->output == NULL && j->digests == 0)) return;
    r = run_lanes(j);
    if (j->writer.file != NULL) r = finish_output(j, r);
    else if (r != POSIO_OK) fail(j, r);
    j->seconds = cli_now() - begin;
    j->done = r == POSIO_OK;
    if (j->done) judge(j);
}

static int export_one(const char *path, const arguments *a)
{
    job *j = (job *)calloc(1, sizeof *j);
    int code = CLI_FAILED;
    if (j == NULL) return fputs("out of memory\n", stderr), CLI_FAILED;
    j->path = path;
    j->asked = a;
    j->digests = a->digests != 0 || a->window == 0 ? a->digests : 1; /* MD5 */
    cli_out_to_file(&j->out, to_stdout(a) ? stderr : stdout);
    j->pool = thread_pool_create(a->threads);
    export_image(j);
    end_report(j);
    code = exit_code_of(j);
    posio_file_sink_close(j->writer.file);
    open_image_close(j->image);
    thread_pool_destroy(j->pool);
    free(j->damages);
    free(j);
    return code;
}

// ---------------------------------------------------------------------------------- main

/* What does not go together; NULL when all does. *arg: the option to blame. */
static const char *contradiction(const arguments *a, int count, const char **arg)
{
    *arg = "export";
    if (count == 0) return "no image given";
    if (count > 1) return "one image at a time";
    if (a->output == NULL && a->digests == 0 && a->window == 0 && !a->map)
        return "nothing to do: give -o FILE (or -o -), --digest, --piecewise or --map";
    *arg = "-o";
    if (a->output != NULL && a->output[0] == 0) return "the name is empty";
    *arg = "--resume";
    if (a->resume && (a->output == NULL || to_stdout(a))) return "only a file, -o FILE, is resumed";
    *arg = "--sparse";
    if (a->sparse && a->no_sparse) return "contradicts --no-sparse";
    if (a->sparse && to_stdout(a)) return "a pipe has no holes";
    return NULL;
}

static const char summary[] =
    "Writes the media of an image as raw bytes: decoded on all cores, written in order, holes\n"
    "kept. Reads EnCase E01 (any segment names the set), SMART S01, QCOW2, VMDK, VHDX, VHD, raw\n"
    "and split raw (.001) images, archives of pack, and all of these in zstd files. Images are\n"
    "never written. FILE.part becomes FILE when it is complete.";

static const char details[] =
    "Without -o nothing is written: --digest, --piecewise and --map may be used alone.\n"
    "Offsets and sizes are decimal or 0x hexadecimal, with K, M, G or T (1024 ...) or s (512).\n"
    "With -o - the report goes to standard error. Offsets in it are those of the media.\n"
    "--resume compares the first 1 MiB and the last 16 MiB of FILE.part with the image and goes\n"
    "on behind them; --digest, --piecewise and --damage zeros decode all of the range again.\n"
    "A digest of the whole media is compared with the one stored in the image, if there is one.\n\n"
    "Exit codes: 0 = good, 1 = damaged (with --damage zeros, too) or mismatch, 2 = could not do\n"
    "it.";

int main(int argc, char **argv)
{
    static arguments a;
    const cli_option options[] = {
        {"o", "FILE", "where to write; - is standard output (also --output)", NULL, &a.output, NULL,
         NULL},
        {"output", "FILE", "the same", NULL, &a.output, NULL, NULL},
        {"range", "OFF:LEN", "only these bytes of the media; without LEN to the end", NULL, NULL,
         take_range, &a},
        {"digest", "LIST", "md5, sha1, sha256, blake3, with commas: of the range", NULL, NULL,
         take_digests, &a},
        {"piecewise", "SIZE", "digests of each window of SIZE bytes, too (default md5)", NULL, NULL,
         take_window, &a},
        {"map", NULL, "print which parts are data, compressed, zeros, holes", &a.map, NULL, NULL,
         NULL},
        {"sparse", NULL, "leave holes for zeros (default, where FILE can have them)", &a.sparse,
         NULL, NULL, NULL},
        {"no-sparse", NULL, "write every byte", &a.no_sparse, NULL, NULL, NULL},
        {"damage", "HOW", "at what cannot be read: stop (default), or write zeros", NULL, NULL,
         take_damage, &a},
        {"resume", NULL, "go on with FILE.part of an interrupted export", &a.resume, NULL, NULL,
         NULL},
        {"force", NULL, "replace an existing FILE", &a.force, NULL, NULL, NULL},
        OPEN_IMAGE_OPTIONS(&a.image),
        {"threads", "N", "threads to use; 0 = all usable cores (default)", NULL, NULL, take_threads,
         &a},
        {"json", NULL, "the report as one JSON object", &a.json, NULL, NULL, NULL},
        {"quiet", NULL, "no progress, and no report but what was asked for", &a.quiet, NULL, NULL,
         NULL}};
    const cli_tool tool = {"export", "[options] IMAGE", summary,
                           details,  options,           sizeof options / sizeof options[0]};
    const char *wrong, *arg;
    char **operands;
    int count = 0, code;
    argv = cli_begin(&argc, argv);
    operands = (char **)calloc((size_t)argc + 1, sizeof *operands);
    if (operands == NULL) return CLI_FAILED;
    code = cli_parse(&tool, argc, argv, operands, &count);
    wrong = code < 0 ? contradiction(&a, count, &arg) : NULL;
    if (wrong != NULL) code = cli_usage_error(&tool, arg, wrong);
    if (code < 0) code = export_one(operands[0], &a);
    free(operands);
    return cli_end(code);
}
