/* pack.c - packs images into seekable, deduplicated archives; reads, inspects and verifies them.
   SPDX-License-Identifier: MIT OR Unlicense

       cc -O2 -pthread examples/pack.c -o pack -lzstd

   and for LZ4 -DHEXZ_PACK_LZ4 -llz4. One translation unit; see `pack --help`. The data flow from
   top to bottom: arguments; what all commands share; create, with what is kept of an image's own
   words; cat and extract; info; list; verify; the reports. */
#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1 /* O_DIRECT, where there is one */
#endif
#if !defined(_FILE_OFFSET_BITS)
#define _FILE_OFFSET_BITS 64 /* images beyond 2 GiB, in a 32-bit program */
#endif
#if !defined(OPEN_IMAGE_HEXZ) /* zstd is there in any case: */
#define OPEN_IMAGE_HEXZ
#endif
#if !defined(OPEN_IMAGE_ZSTD)
#define OPEN_IMAGE_ZSTD
#endif
#if !defined(QCOW2_READ_ZSTD)
#define QCOW2_READ_ZSTD
#endif
#define EWF_READ_IMPLEMENTATION
#define QCOW2_READ_IMPLEMENTATION
#define VMDK_READ_IMPLEMENTATION
#define VHDX_READ_IMPLEMENTATION
#define ZSTD_PAR_IMPLEMENTATION
#define HEXZ_PACK_IMPLEMENTATION
#include "../ewf_read.h"
#include "../qcow2_read.h"
#include "../vmdk_read.h"
#include "../vhdx_read.h"
#include "../zstd_par.h"
#include "../hexz_pack.h"
#include "cli.h"
#include "open_image.h"
#include "image_files.h"
#include "media_run.h"
#include "media_write.h"
#include "pack_items.h"
#if !defined(_WIN32)
#include <poll.h>
#endif

// ---------------------------------------------------------------------------------- arguments

enum { CREATE, INFO, LIST, CAT, EXTRACT, VERIFY, COMMANDS };
static const char *const command_names[] = {"create", "info", "list", "cat", "extract", "verify"};

typedef struct arguments {
    int command;
    const char *codec, *chunk; /* as given; NULL = the default */
    hexz_pack_desc desc;       /* what they say */
    const char *output;        /* of extract; NULL: ARCHIVE without .hexz */
    uint64_t offset, length;
    int has_offset, has_length;
    open_image_desc image; /* how INPUT is opened */
    uint32_t threads;
    int force, json, quiet;
} arguments;

/* "NAME" or "NAME:LEVEL"; which of them, or -1. */
static int split_codec(const char *value, int32_t *level)
{
    static const char *const names[] = {"zstd", "lz4", "lz4hc", "none"};
    const size_t n = strcspn(value, ":");
    const int minus = value[n] == ':' && value[n + 1] == '-';
    uint32_t number = 0;
    int i;
    for (i = 0; i < 4; i++)
        if (strlen(names[i]) == n && memcmp(names[i], value, n) == 0) break;
    if (i == 4) return -1;
    if (value[n] == ':' && !cli_number(value + n + 1 + minus, 1 << 17, &number)) return -1;
    *level = minus ? -(int32_t)number : (int32_t)number;
    return i;
}

static const char *take_codec(void *user, const char *value)
{
    arguments *a = (arguments *)user;
    const int has_level = strchr(value, ':') != NULL;
    int32_t level = 0;
    int codec = split_codec(value, &level);
    if (codec < 0) return "unknown codec; one of zstd, zstd:LEVEL, lz4, lz4hc, lz4hc:LEVEL, none";
    if (has_level && (codec == HEXZ_PACK_CODEC_LZ4 || codec == HEXZ_PACK_CODEC_NONE))
        return "this codec has no levels";
    if (codec == HEXZ_PACK_CODEC_ZSTD && (level < ZSTD_minCLevel() || level > ZSTD_maxCLevel()))
        return "its levels end at 22";
    if (codec == HEXZ_PACK_CODEC_LZ4HC && has_level && (level < 2 || level > 12))
        return "its levels are 2 to 12";
    a->codec = value;
    a->desc.codec = (uint32_t)codec;
    a->desc.level = level;
    return NULL;
}

static const char *take_cdc(hexz_pack_desc *d, const char *value)
{
    uint64_t size[3];
    int i;
    d->chunker = HEXZ_PACK_CDC;
    d->chunk_min = d->chunk_avg = d->chunk_max = 0;
    if (*value == 0) return NULL;
    for (i = 0; i < 3; i++)
        if (*value++ != (i == 0 ? ':' : ',') || !cli_bytes(value, &value, &size[i]))
            return "not cdc or cdc:MIN,AVG,MAX, such as cdc:16K,64K,256K";
    if (*value != 0) return "not cdc or cdc:MIN,AVG,MAX, such as cdc:16K,64K,256K";
    if (size[1] < 256 || size[1] > (4 << 20) || (size[1] & (size[1] - 1)) != 0)
        return "AVG is not a power of two from 256 to 4M";
    if (size[0] < 64 || size[0] > size[1] || size[1] > size[2] || size[2] > HEXZ_PACK_CHUNK_MAX)
        return "not 64 <= MIN <= AVG <= MAX <= 16M";
    d->chunk_min = (uint32_t)size[0];
    d->chunk_avg = (uint32_t)size[1];
    d->chunk_max = (uint32_t)size[2];
    return NULL;
}

static const char *take_chunk(void *user, const char *value)
{
    arguments *a = (arguments *)user;
    uint64_t size;
    const char *end;
    a->chunk = value;
    if (strncmp(value, "cdc", 3) == 0) return take_cdc(&a->desc, value + 3);
    if (!cli_bytes(value, &end, &size) || *end != 0 || size < 64 || size > HEXZ_PACK_CHUNK_MAX)
        return "not a size from 64 to 16M, such as 64K, nor cdc or cdc:MIN,AVG,MAX";
    a->desc.chunker = HEXZ_PACK_FIXED;
    a->desc.chunk_min = a->desc.chunk_max = 0;
    a->desc.chunk_avg = (uint32_t)size;
    return NULL;
}

static const char no_bytes[] = "not a number of bytes, such as 4096, 0x1000, 8s or 4K";

static const char *take_offset(void *user, const char *value)
{
    arguments *a = (arguments *)user;
    a->has_offset = 1;
    return cli_bytes(value, &value, &a->offset) && *value == 0 ? NULL : no_bytes;
}

static const char *take_length(void *user, const char *value)
{
    arguments *a = (arguments *)user;
    a->has_length = 1;
    return cli_bytes(value, &value, &a->length) && *value == 0 ? NULL : no_bytes;
}

static const char *take_memory(void *user, const char *value)
{
    arguments *a = (arguments *)user;
    if (cli_bytes(value, &value, &a->desc.memory) && *value == 0 && a->desc.memory != 0)
        return NULL;
    return "not a number of bytes, such as 256M";
}

static const char *take_threads(void *user, const char *value)
{
    if (cli_number(value, 4096, &((arguments *)user)->threads)) return NULL;
    return "not a whole number from 0 to 4096";
}

// ---------------------------------------------------------------------------------- the job

enum { STATUS_OK, STATUS_DAMAGED, STATUS_ERROR };
static const char *const status_names[] = {"ok", "damaged", "error"};

enum { MOST_FAULTS = 65536, MOST_PRINTED = 100 }; /* kept; of them in text. JSON has all */

typedef struct fault {
    hexz_pack_fault what;
    char reason[160];
} fault;

/* One archive; the report is printed from this. */
typedef struct job {
    const arguments *asked;
    const char *path;
    const char *input; /* of create */
    thread_pool *pool;
    cli_out out; /* where the report goes: not where the bytes go */
    cli_progress progress;
    double seconds;
    int status;
    posio_error error;
    /* create */
    hexz_pack_desc desc;
    open_image *image; /* NULL: standard input */
    posio_source media;
    posio_pipe input_pipe, output_pipe;
    posio_sink sink;
    hexz_pack_writer *packer;
    hexz_pack_stats stats;
    uint32_t input_failed; /* atomic: the error is one of INPUT */
    /* all others */
    hexz_pack *archive;
    uint64_t offset, length; /* of the content */
    char *output;            /* the name of extract's; NULL: standard output, or none */
    media_writer writer;
    hexz_pack_verdict verdict;
    fault *faults;
    uint64_t fault_count, fault_room, faults_unlisted;
} job;

static posio_result refuse(job *j, posio_result code, const char *why)
{
    return posio_fail(&j->error, code, POSIO_NO_OFFSET, "%s", why);
}

static int report_progress(void *user, uint64_t done, uint64_t total)
{
    return cli_progress_update(&((job *)user)->progress, done, total);
}

static int is_stdio(const char *path) { return strcmp(path, "-") == 0; }

/* Do the bytes, of an archive or of its content, go to standard output? */
static int fills_stdout(const arguments *a, const char *path)
{
    if (a->command == CREATE) return is_stdio(path);
    return a->command == CAT || (a->output != NULL && is_stdio(a->output));
}

/* Is the error one of reading what was to be read, and no fault of the system? */
static int is_damage(const job *j, posio_result r)
{
    return r == POSIO_E_DATA && !j->writer.failed;
}

/* Says what happened, and to which of the files. */
static void fail(job *j, posio_result r)
{
    const char *path = j->path;
    if (j->input_failed != 0) path = j->input;
    if (j->writer.failed) path = j->output != NULL ? j->output : "-";
    j->status = is_damage(j, r) ? STATUS_DAMAGED : STATUS_ERROR;
    if (r == POSIO_E_CANCELED) (void)refuse(j, r, "interrupted");
    if (!(fills_stdout(j->asked, j->path) && cli_reader_is_gone(&j->error)))
        cli_error(path, &j->error);
}

static posio_result open_archive(job *j)
{
    hexz_pack_desc d;
    memset(&d, 0, sizeof d);
    d.pool = j->pool;
    d.progress = report_progress;
    d.user = j;
    return hexz_pack_open(&j->archive, j->path, &d, &j->error);
}

// ---------------------------------------------------------------------------------- create: input

/* What cannot be read is not the archive's fault. */
static posio_result input_read(void *self, uint64_t offset, void *buf, size_t n, posio_error *err)
{
    job *j = (job *)self;
    posio_result r = posio_read(&j->media, offset, buf, n, err);
    if (r != POSIO_OK) (void)posio_atomic_add(&j->input_failed, 1);
    return r;
}

/* A source that fails to tell is read: that shows what is wrong with it, and where. */
static posio_result input_extent(void *self, uint64_t offset, posio_extent *out, posio_error *err)
{
    const job *j = (const job *)self;
    (void)err;
    if (posio_extent_of(&j->media, offset, out, NULL) == POSIO_OK) return POSIO_OK;
    memset(out, 0, sizeof *out);
    out->length = posio_min(1 << 16, j->media.size - offset);
    return POSIO_OK;
}

static posio_source input_source(job *j)
{
    posio_source s = j->media;
    s.read_at = input_read;
    s.extent_at = input_extent;
    s.self = j;
    return s;
}

/* Standard input may keep silent for long: Ctrl-C is looked for meanwhile. */
static posio_result input_stream_read(void *self, void *buf, size_t n, size_t *got,
                                      posio_error *err)
{
    job *j = (job *)self;
    posio_stream s = posio_pipe_stream(&j->input_pipe);
    posio_result r;
#if !defined(_WIN32)
    struct pollfd p;
    p.fd = 0;
    p.events = POLLIN;
    p.revents = 0;
    while (!cli_interrupted && poll(&p, 1, 100) <= 0) {}
#endif
    if (cli_interrupted) return posio_fail(err, POSIO_E_CANCELED, POSIO_NO_OFFSET, "interrupted");
    r = s.read(s.self, buf, n, got, err);
    if (r != POSIO_OK) (void)posio_atomic_add(&j->input_failed, 1);
    return r;
}

static posio_result open_input(job *j)
{
    open_image_desc desc = j->asked->image;
    posio_result r;
    j->input_failed = 1;
    if (is_stdio(j->input)) {
        j->input_pipe.handle = cli_standard_handle(0);
        j->input_failed = 0;
        return POSIO_OK;
    }
    /* Fixed chunks are read by all threads; what is to be cut, by one: it gets help. */
    if (j->desc.chunker != HEXZ_PACK_FIXED) desc.pool = j->pool;
    desc.pool_to_measure = j->pool;
    cli_idle(1);
    r = open_image_open(&j->image, j->input, &desc, &j->error);
    cli_idle(0);
    if (r != POSIO_OK) return r;
    j->media = open_image_source(j->image);
    if (!is_stdio(j->path) && image_files_is_read(j->image, j->path)) {
        j->input_failed = 0;
        return refuse(j, POSIO_E_ARG, "is a file of the input, or its NAME.part would be");
    }
    j->input_failed = 0;
    return POSIO_OK;
}

// ---------------------------------------------------------------------------------- create: items

/* An item of metadata: what an image says of itself goes along with its media. The layer it is of:
   "" for the image, "container." for the one it lies in. */
static posio_result keep(job *j, const char *layer, const char *key, const char *value)
{
    char name[128];
    hexz_pack_item item;
    if (value == NULL || value[0] == 0) return POSIO_OK;
    snprintf(name, sizeof name, "%s%s", layer, key);
    item.key = name;
    item.value = value;
    item.size = strlen(value);
    return hexz_pack_add_item(j->packer, &item, &j->error);
}

static posio_result keep_number(job *j, const char *layer, const char *key, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return keep(j, layer, key, text);
}

static posio_result keep_bytes(job *j, const char *layer, const char *key, const uint8_t *bytes,
                               size_t n)
{
    char hex[2 * DIGEST_MAX_SIZE + 1];
    digest_hex(bytes, n, hex);
    return keep(j, layer, key, hex);
}

/* "FIRST+COUNT,FIRST+COUNT": sectors. */
static posio_result keep_ranges(job *j, const char *layer, const char *key,
                                const ewf_read_range *ranges, uint32_t count)
{
    char *text = (char *)malloc((size_t)count * 48 + 1);
    size_t used = 0;
    uint32_t i;
    posio_result r;
    if (text == NULL) return refuse(j, POSIO_E_NOMEM, "out of memory");
    text[0] = 0;
    for (i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, 48, "%s%llu+%llu", i != 0 ? "," : "",
                                 (unsigned long long)ranges[i].first,
                                 (unsigned long long)ranges[i].count);
    r = keep(j, layer, key, text);
    free(text);
    return r;
}

static posio_result keep_ewf(job *j, const char *layer, const ewf_read_metadata *m)
{
    static const uint8_t no_guid[16] = {0};
    char key[96];
    uint32_t i;
    posio_result r = POSIO_OK;
    for (i = 0; i < EWF_READ_TEXT_COUNT && r == POSIO_OK; i++) {
        snprintf(key, sizeof key, "ewf.%s", ewf_read_text_name(i));
        r = keep(j, layer, key, m->text[i]);
    }
    if (r == POSIO_OK && m->has_md5) r = keep_bytes(j, layer, "ewf.md5", m->md5, 16);
    if (r == POSIO_OK && m->has_sha1) r = keep_bytes(j, layer, "ewf.sha1", m->sha1, 20);
    if (r == POSIO_OK && memcmp(m->set_guid, no_guid, 16) != 0)
        r = keep_bytes(j, layer, "ewf.set_identifier", m->set_guid, 16);
    if (r == POSIO_OK) r = keep_number(j, layer, "ewf.sector_size", m->sector_size);
    if (r == POSIO_OK) r = keep_number(j, layer, "ewf.media_type", m->media_type);
    if (r == POSIO_OK) r = keep_number(j, layer, "ewf.media_flags", m->media_flags);
    if (r == POSIO_OK) r = keep_number(j, layer, "ewf.error_granularity", m->error_granularity);
    if (r == POSIO_OK)
        r = keep_ranges(j, layer, "ewf.acquisition_errors", m->acquisition_errors,
                        m->acquisition_error_count);
    if (r == POSIO_OK)
        r = keep_ranges(j, layer, "ewf.sessions", m->sessions, m->session_count);
    return r;
}

static posio_result keep_vmdk(job *j, const char *layer, const vmdk_read_metadata *m)
{
    posio_result r = keep(j, layer, "vmdk.create_type", m->create_type);
    return r == POSIO_OK ? keep(j, layer, "vmdk.identity", m->identity) : r;
}

static posio_result keep_vhdx(job *j, const char *layer, const vhdx_read_metadata *m)
{
    posio_result r = keep(j, layer, "vhdx.identity", m->identity);
    if (r == POSIO_OK) r = keep(j, layer, "vhdx.disk_id", m->disk_id);
    return r == POSIO_OK ? keep(j, layer, "vhdx.creator", m->creator) : r;
}

/* The items of an archive that is packed anew stay as they are. */
static posio_result keep_items(job *j, const hexz_pack *archive)
{
    hexz_pack_item item;
    uint32_t i;
    posio_result r = POSIO_OK;
    for (i = 0; r == POSIO_OK && hexz_pack_item_at(archive, i, &item) == POSIO_OK; i++)
        r = hexz_pack_add_item(j->packer, &item, &j->error);
    return r;
}

static posio_result keep_image(job *j, const char *layer, const open_image *image)
{
    posio_result r = POSIO_OK;
    if (image->hexz != NULL) return keep_items(j, image->hexz);
    if (image->format == OPEN_IMAGE_RAW || image->format == OPEN_IMAGE_ZSTD_FILE) return POSIO_OK;
    r = keep(j, layer, "source.format", open_image_format_name(image));
    if (r == POSIO_OK && image->ewf != NULL) r = keep_ewf(j, layer, ewf_read_info(image->ewf));
    if (r == POSIO_OK && image->vmdk != NULL) r = keep_vmdk(j, layer, vmdk_read_info(image->vmdk));
    if (r == POSIO_OK && image->vhdx != NULL) r = keep_vhdx(j, layer, vhdx_read_info(image->vhdx));
    return r;
}

static posio_result keep_stack(job *j)
{
    const open_image *image = j->image;
    char layer[64] = "";
    posio_result r = POSIO_OK;
    for (; image != NULL && r == POSIO_OK; image = image->container) {
        r = keep_image(j, layer, image);
        if (strlen(layer) + 11 < sizeof layer) strcat(layer, "container.");
    }
    return r;
}

// ---------------------------------------------------------------------------------- create

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

static posio_result begin_archive(job *j)
{
    const arguments *a = j->asked;
    posio_result r;
    if (is_stdio(j->path)) {
        if (cli_is_terminal(stdout) && !a->force)
            return refuse(j, POSIO_E_ARG, "an archive is not written to a terminal");
        j->output_pipe.handle = cli_standard_handle(1);
        j->sink = posio_pipe_sink(&j->output_pipe);
        return hexz_pack_begin_sink(&j->packer, &j->sink, &j->desc, &j->error);
    }
    if (!a->force && is_device(j->path))
        return refuse(j, POSIO_E_EXISTS, "is a device; --force overwrites it");
    r = hexz_pack_begin(&j->packer, j->path, &j->desc, &j->error);
    if (r == POSIO_E_EXISTS) (void)posio_fail_while(&j->error, "--force replaces it");
    return r;
}

static posio_result pack_all(job *j)
{
    posio_source source;
    posio_stream stream;
    posio_result r = keep_stack(j);
    if (r != POSIO_OK) return r;
    if (j->image != NULL) {
        source = input_source(j);
        return hexz_pack_append_source(j->packer, &source, &j->error);
    }
    stream.read = input_stream_read;
    stream.self = j;
    return hexz_pack_append_stream(j->packer, &stream, &j->error);
}

static posio_result create(job *j)
{
    const arguments *a = j->asked;
    posio_result r;
    j->desc = a->desc;
    j->desc.pool = j->pool;
    j->desc.flags = a->force ? (uint32_t)HEXZ_PACK_FORCE : 0;
    j->desc.progress = report_progress;
    j->desc.user = j;
    r = open_input(j);
    if (r == POSIO_OK) r = begin_archive(j);
    if (r != POSIO_OK) return r;
    cli_progress_begin(&j->progress, is_stdio(j->input) ? j->path : j->input, !a->quiet);
    r = pack_all(j);
    if (r == POSIO_OK) {
        r = hexz_pack_finish(j->packer, &j->stats, &j->error);
        j->packer = NULL;
    }
    hexz_pack_abort(j->packer);
    j->packer = NULL;
    cli_progress_end(&j->progress);
    return r;
}

static void create_text(job *j)
{
    const hexz_pack_stats *s = &j->stats;
    char a[32], b[32], c[32];
    cli_out *f = &j->out;
    cli_text(f, j->path);
    cli_printf(f, ": %s in, %s unique, %s out, ratio %.3f, %.2f s, %.3f GB/s\n",
               cli_size((double)s->size, a), cli_size((double)s->unique_bytes, b),
               cli_size((double)s->file_size, c), (double)s->size / (double)s->file_size,
               j->seconds, j->seconds > 0 ? (double)s->size / j->seconds / 1e9 : 0.0);
}

static void json_number(cli_out *f, const char *key, uint64_t v)
{
    if (v == HEXZ_PACK_NONE) cli_printf(f, ",\"%s\":null", key);
    else cli_printf(f, ",\"%s\":%llu", key, (unsigned long long)v);
}

static void json_hex(cli_out *f, const char *key, const uint8_t *bytes, size_t n)
{
    char hex[2 * DIGEST_MAX_SIZE + 1];
    digest_hex(bytes, n, hex);
    cli_printf(f, ",\"%s\":\"%s\"", key, hex);
}

static void json_stats(cli_out *f, const hexz_pack_stats *s)
{
    json_number(f, "size", s->size);
    json_number(f, "archive_size", s->file_size);
    json_number(f, "chunks", s->entries);
    json_number(f, "stored_chunks", s->stored);
    json_number(f, "duplicate_chunks", s->duplicates);
    json_number(f, "zero_bytes", s->zero_bytes);
    json_number(f, "duplicate_bytes", s->duplicate_bytes);
    json_number(f, "unique_bytes", s->unique_bytes);
    json_number(f, "stored_bytes", s->stored_bytes);
    cli_printf(f, ",\"ratio\":%.4f",
               s->file_size != 0 ? (double)s->size / (double)s->file_size : 0.0);
    json_hex(f, "root", s->root, 32);
}

static void create_json(job *j)
{
    cli_puts(&j->out, ",\"input\":");
    cli_json_string(&j->out, j->input);
    cli_puts(&j->out, ",\"format\":");
    cli_json_string(&j->out, j->image != NULL ? open_image_format_name(j->image) : NULL);
    if (j->status == STATUS_OK) json_stats(&j->out, &j->stats);
}

// ---------------------------------------------------------------------------------- cat, extract

static posio_result choose_range(job *j)
{
    const arguments *a = j->asked;
    const uint64_t size = hexz_pack_source(j->archive).size;
    j->offset = a->offset;
    j->length = a->has_length ? a->length : size - posio_min(a->offset, size);
    if (a->offset <= size && posio_within(j->offset, j->length, size)) return POSIO_OK;
    return posio_fail(&j->error, POSIO_E_RANGE, POSIO_NO_OFFSET,
                      "the range reaches beyond the end of the content, which has %llu bytes",
                      (unsigned long long)size);
}

static posio_result open_stdout(job *j)
{
    if (cli_is_terminal(stdout) && !j->asked->force)
        return refuse(j, POSIO_E_ARG, "raw bytes are not written to a terminal");
    j->writer.pipe.handle = cli_standard_handle(1);
    j->writer.sink = posio_pipe_sink(&j->writer.pipe);
    return POSIO_OK;
}

static posio_result open_file(job *j)
{
    const arguments *a = j->asked;
    media_writer *w = &j->writer;
    posio_file_sink_desc desc;
    posio_result r;
    if (a->output != NULL) j->output = image_files_join(a->output, strlen(a->output), "");
    else if (open_image_has_extension(cli_name(j->path), ".hexz"))
        j->output = image_files_join(j->path, strlen(j->path) - 5, "");
    else return refuse(j, POSIO_E_ARG, "the name does not end in .hexz: -o names the output");
    w->failed = 1;
    if (j->output == NULL) return refuse(j, POSIO_E_NOMEM, "out of memory");
    if (image_files_is_input(j->path, j->output, OPEN_IMAGE_RAW))
        return refuse(j, POSIO_E_ARG, "is the archive, or its NAME.part would be");
    if (!a->force && is_device(j->output))
        return refuse(j, POSIO_E_EXISTS, "is a device; --force overwrites it");
    memset(&desc, 0, sizeof desc);
    desc.flags = a->force ? (uint32_t)POSIO_SINK_FORCE : 0;
    r = posio_file_sink_open(&w->file, j->output, &desc, &j->error);
    if (r == POSIO_E_EXISTS) (void)posio_fail_while(&j->error, "--force replaces it");
    if (r != POSIO_OK) return r;
    w->sink = posio_file_sink_sink(w->file);
    w->keeps_holes = !posio_file_sink_is_direct(w->file);
    w->failed = 0;
    return POSIO_OK;
}

static int media_progress(void *user, uint64_t done)
{
    job *j = (job *)user;
    return cli_progress_update(&j->progress, done, j->length);
}

static posio_result write_content(job *j)
{
    media_lane lane;
    media_desc d;
    posio_result r;
    memset(&lane, 0, sizeof lane);
    memset(&d, 0, sizeof d);
    lane.run = media_write_lane;
    lane.user = &j->writer;
    d.source = hexz_pack_source(j->archive);
    d.offset = j->offset;
    d.length = j->length;
    d.pool = j->pool;
    d.lanes = &lane;
    d.lane_count = 1;
    d.most_zeros = j->writer.keeps_holes ? (uint64_t)1 << 40 : 0;
    d.progress = media_progress;
    d.user = j;
    cli_progress_begin(&j->progress, j->path, !j->asked->quiet);
    r = media_run(&d, &j->error);
    if (r == POSIO_OK && j->writer.file != NULL) {
        r = posio_file_sink_finish(j->writer.file, &j->error);
        j->writer.failed = r != POSIO_OK;
    }
    cli_progress_end(&j->progress);
    return r;
}

/* cat, too. The file is complete, or nothing is left of it. */
static posio_result extract(job *j)
{
    posio_result r = open_archive(j);
    if (r == POSIO_OK) r = choose_range(j);
    if (r == POSIO_OK) r = fills_stdout(j->asked, j->path) ? open_stdout(j) : open_file(j);
    if (r == POSIO_OK) r = write_content(j);
    if (r == POSIO_OK) posio_file_sink_close(j->writer.file);
    else posio_file_sink_abort(j->writer.file);
    j->writer.file = NULL;
    return r;
}

static void extract_text(job *j)
{
    char a[32], b[32];
    if (fills_stdout(j->asked, j->path)) return;
    cli_text(&j->out, j->path);
    cli_puts(&j->out, ": ");
    cli_text(&j->out, j->output);
    cli_printf(&j->out, ", %s, %s of holes, %.2f s, %.3f GB/s\n", cli_size((double)j->length, a),
               cli_size((double)j->writer.holes, b), j->seconds,
               j->seconds > 0 ? (double)j->length / j->seconds / 1e9 : 0.0);
}

static void extract_json(job *j)
{
    cli_puts(&j->out, ",\"output\":");
    cli_json_string(&j->out, fills_stdout(j->asked, j->path) ? "-" : j->output);
    json_number(&j->out, "offset", j->offset);
    json_number(&j->out, "bytes", j->status == STATUS_OK ? j->length : 0);
    json_number(&j->out, "holes", j->writer.holes);
}

// ---------------------------------------------------------------------------------- info

static const char *const codec_names[] = {"zstd", "lz4", "lz4hc", "none"};
static const char *const kind_names[HEXZ_PACK_KINDS] = {"zero", "duplicate", "raw", "zstd", "lz4"};

/* "zstd:3"; no text of the archive. */
static const char *codec_name(const hexz_pack_metadata *m, char out[32])
{
    const char *name = codec_names[m->codec <= HEXZ_PACK_CODEC_NONE ? m->codec : 3];
    if (m->codec == HEXZ_PACK_CODEC_ZSTD || m->codec == HEXZ_PACK_CODEC_LZ4HC)
        snprintf(out, 32, "%s:%d", name, (int)m->level);
    else snprintf(out, 32, "%s", name);
    return out;
}

static const char *chunker_name(const hexz_pack_metadata *m, char out[96])
{
    char a[32], b[32], c[32];
    if (m->chunker == HEXZ_PACK_FIXED)
        snprintf(out, 96, "fixed, %s", cli_size(m->chunk_avg, a));
    else
        snprintf(out, 96, "content-defined, %s, %s, %s", cli_size(m->chunk_min, a),
                 cli_size(m->chunk_avg, b), cli_size(m->chunk_max, c));
    return out;
}

static void print_count(cli_out *f, const char *name, uint64_t count, uint64_t bytes)
{
    char a[32], b[32];
    cli_printf(f, "  %-18s%s, %s bytes\n", name, cli_grouped(count, a), cli_grouped(bytes, b));
}

/* How many chunks of each size there are: '#' stored, '+' duplicates. */
static void print_histogram(cli_out *f, const hexz_pack_picture *p)
{
    enum { COLUMNS = 36 };
    char low[32], stored[32], again[32];
    uint64_t most = 1;
    int i, k, first = HEXZ_PACK_SIZES, last = -1;
    for (i = 0; i < HEXZ_PACK_SIZES; i++) {
        const uint64_t n = p->stored_sizes[i] + p->duplicate_sizes[i];
        if (n > most) most = n;
        if (n != 0 && first > i) first = i;
        if (n != 0) last = i;
    }
    if (last < 0) return;
    cli_puts(f, "  size of chunks          stored   duplicates\n");
    for (i = first; i <= last; i++) {
        const uint64_t n = p->stored_sizes[i] + p->duplicate_sizes[i];
        const double scale = (double)COLUMNS / (double)most;
        int bar = (int)((double)n * scale + 0.5), mark;
        if (n != 0 && bar == 0) bar = 1;
        mark = n != 0 ? (int)((double)bar * (double)p->stored_sizes[i] / (double)n + 0.5) : 0;
        cli_printf(f, "  from %10s %13s %12s  ", cli_size((double)((uint64_t)1 << i), low),
                   cli_grouped(p->stored_sizes[i], stored),
                   cli_grouped(p->duplicate_sizes[i], again));
        for (k = 0; k < bar; k++) cli_puts(f, k < mark ? "#" : "+");
        cli_puts(f, "\n");
    }
}

/* Codecs by how much went through them, and what came of it. */
static void print_codecs(cli_out *f, const hexz_pack_picture *p)
{
    const char *title = "stored by";
    int i;
    for (i = HEXZ_PACK_RAW; i < HEXZ_PACK_KINDS; i++) {
        const double bytes = (double)p->bytes[i], stored = (double)p->stored_bytes[i];
        char a[32], b[32], c[32];
        if (p->count[i] == 0) continue;
        cli_printf(f, "  %-18s%s: %s chunks, %s to %s, ratio %.3f\n", title, kind_names[i],
                   cli_grouped(p->count[i], a), cli_size(bytes, b), cli_size(stored, c),
                   stored > 0 ? bytes / stored : 0.0);
        title = "";
    }
}

static posio_result info(job *j)
{
    posio_result r = open_archive(j);
    if (r == POSIO_OK) j->stats = hexz_pack_info(j->archive)->sums;
    return r;
}

static void print_archive(cli_out *f, const hexz_pack_metadata *m)
{
    const hexz_pack_stats *s = &m->sums;
    char a[32], b[96];
    cli_printf(f, "  %-18s%u.%u\n", "version", (unsigned)m->version, (unsigned)m->minor_version);
    cli_line(f, "codec", codec_name(m, a));
    cli_line(f, "chunks", chunker_name(m, b));
    cli_printf(f, "  %-18s%s bytes\n", "content", cli_grouped(s->size, a));
    cli_printf(f, "  %-18s%s bytes, ratio %.3f\n", "archive", cli_grouped(s->file_size, a),
               s->file_size != 0 ? (double)s->size / (double)s->file_size : 0.0);
}

static void info_text(job *j)
{
    cli_out *f = &j->out;
    const hexz_pack_metadata *m = hexz_pack_info(j->archive);
    const hexz_pack_stats *s = &m->sums;
    hexz_pack_picture p;
    char hex[65];
    posio_result r;
    memset(&p, 0, sizeof p);
    r = hexz_pack_inspect(j->archive, &p, &j->error);
    cli_text(f, j->path);
    cli_puts(f, "\n");
    print_archive(f, m);
    print_count(f, "stored", s->stored, s->unique_bytes);
    print_count(f, "duplicates", s->duplicates, s->duplicate_bytes);
    print_count(f, "runs of zeros", s->entries - s->stored - s->duplicates, s->zero_bytes);
    if (r == POSIO_OK) {
        print_codecs(f, &p);
        cli_printf(f, "  %-18s%s bytes\n", "index", cli_grouped(p.index_bytes, hex));
    }
    digest_hex(s->root, 32, hex);
    cli_line(f, "root", hex);
    pack_items_print(f, j->archive);
    if (r == POSIO_OK) print_histogram(f, &p);
    else fail(j, r);
}

static void json_picture(cli_out *f, const hexz_pack_picture *p)
{
    int i;
    const char *sep = "";
    cli_puts(f, ",\"kinds\":{");
    for (i = 0; i < HEXZ_PACK_KINDS; i++)
        cli_printf(f, "%s\"%s\":{\"chunks\":%llu,\"bytes\":%llu,\"stored_bytes\":%llu}",
                   i != 0 ? "," : "", kind_names[i], (unsigned long long)p->count[i],
                   (unsigned long long)p->bytes[i], (unsigned long long)p->stored_bytes[i]);
    cli_puts(f, "},\"sizes\":[");
    for (i = 0; i < HEXZ_PACK_SIZES; i++) {
        if (p->stored_sizes[i] + p->duplicate_sizes[i] == 0) continue;
        cli_printf(f, "%s{\"from\":%llu,\"stored\":%llu,\"duplicates\":%llu}", sep,
                   (unsigned long long)1 << i, (unsigned long long)p->stored_sizes[i],
                   (unsigned long long)p->duplicate_sizes[i]);
        sep = ",";
    }
    cli_puts(f, "]");
    json_number(f, "smallest", p->smallest);
    json_number(f, "largest", p->largest);
    json_number(f, "index_bytes", p->index_bytes);
}

static void json_archive(cli_out *f, const hexz_pack_metadata *m)
{
    char name[32];
    cli_printf(f, ",\"version\":%u,\"minor_version\":%u", (unsigned)m->version,
               (unsigned)m->minor_version);
    cli_printf(f, ",\"codec\":\"%s\",\"chunker\":\"%s\"", codec_name(m, name),
               m->chunker == HEXZ_PACK_FIXED ? "fixed" : "cdc");
    json_number(f, "chunk_min", m->chunk_min);
    json_number(f, "chunk_avg", m->chunk_avg);
    json_number(f, "chunk_max", m->chunk_max);
    json_hex(f, "id", m->id, 16);
    json_stats(f, &m->sums);
}

static void info_json(job *j)
{
    hexz_pack_picture p;
    posio_result r;
    if (j->archive == NULL) return;
    memset(&p, 0, sizeof p);
    json_archive(&j->out, hexz_pack_info(j->archive));
    pack_items_json(&j->out, j->archive);
    r = hexz_pack_inspect(j->archive, &p, &j->error);
    if (r == POSIO_OK) json_picture(&j->out, &p);
    else fail(j, r);
}

// ---------------------------------------------------------------------------------- list

static void print_entry(cli_out *f, const hexz_pack_entry *x)
{
    char hex[65];
    cli_printf(f, "%10llu %15llu %12llu  %-9s ", (unsigned long long)x->number,
               (unsigned long long)x->offset, (unsigned long long)x->size, kind_names[x->kind]);
    if (x->kind == HEXZ_PACK_DUPLICATE) {
        cli_printf(f, "of chunk %llu\n", (unsigned long long)x->original);
    } else if (x->kind == HEXZ_PACK_ZERO) {
        cli_puts(f, "\n");
    } else {
        digest_hex(x->hash, 32, hex);
        cli_printf(f, "%10u %15llu  %s\n", (unsigned)x->stored_size,
                   (unsigned long long)x->file_offset, hex);
    }
}

static void entry_json(cli_out *f, const hexz_pack_entry *x)
{
    cli_printf(f, "%s{\"chunk\":%llu", x->number != 0 ? "," : "", (unsigned long long)x->number);
    json_number(f, "offset", x->offset);
    json_number(f, "size", x->size);
    cli_printf(f, ",\"kind\":\"%s\"", kind_names[x->kind]);
    if (x->kind == HEXZ_PACK_DUPLICATE) json_number(f, "original", x->original);
    if (x->kind != HEXZ_PACK_DUPLICATE && x->kind != HEXZ_PACK_ZERO) {
        json_number(f, "stored_size", x->stored_size);
        json_number(f, "file_offset", x->file_offset);
        cli_printf(f, ",\"crc32c\":\"%08x\"", (unsigned)x->crc);
        json_hex(f, "blake3", x->hash, 32);
    }
    cli_puts(f, "}");
}

/* Prints as it goes: a list can be larger than memory. */
static void list(job *j)
{
    const uint64_t entries = hexz_pack_info(j->archive)->sums.entries;
    hexz_pack_entry x;
    uint64_t i;
    posio_result r = POSIO_OK;
    for (i = 0; i < entries && r == POSIO_OK; i++) {
        r = hexz_pack_entry_at(j->archive, i, &x, &j->error);
        if (r == POSIO_OK && cli_interrupted) r = refuse(j, POSIO_E_CANCELED, "interrupted");
        if (r != POSIO_OK) break;
        if (j->asked->json) entry_json(&j->out, &x);
        else print_entry(&j->out, &x);
    }
    if (r != POSIO_OK) fail(j, r);
}

static void list_text(job *j)
{
    if (!j->asked->quiet)
        cli_printf(&j->out, "%10s %15s %12s  %-9s %10s %15s  %s\n", "chunk", "offset", "size",
                   "kind", "stored", "file offset", "BLAKE3");
    list(j);
}

static void list_json(job *j)
{
    if (j->archive == NULL) return;
    json_archive(&j->out, hexz_pack_info(j->archive));
    cli_puts(&j->out, ",\"list\":[");
    list(j);
    cli_puts(&j->out, "]");
}

// ---------------------------------------------------------------------------------- verify

static int keep_fault(void *user, const hexz_pack_fault *what)
{
    job *j = (job *)user;
    void *list = j->faults;
    fault *x;
    if (j->fault_count == MOST_FAULTS ||
        !posio_grow(NULL, &list, j->fault_count, &j->fault_room, sizeof *j->faults)) {
        j->faults_unlisted++;
        return 0;
    }
    j->faults = (fault *)list;
    x = &j->faults[j->fault_count++];
    x->what = *what;
    if (what->entry != HEXZ_PACK_NONE)
        posio_format(x->reason, sizeof x->reason, "%s", what->reason);
    else posio_format(x->reason, sizeof x->reason, "%s: %s", what->what, what->reason);
    x->what.what = x->what.reason = NULL;
    return 0;
}

/* Faults are what was asked for: they are told by the report. */
static posio_result verify(job *j)
{
    posio_result r = open_archive(j);
    if (r != POSIO_OK) return r;
    j->stats = hexz_pack_info(j->archive)->sums;
    cli_progress_begin(&j->progress, j->path, !j->asked->quiet);
    r = hexz_pack_verify(j->archive, keep_fault, j, &j->verdict, &j->error);
    cli_progress_end(&j->progress);
    if (r == POSIO_E_CANCELED || j->verdict.faults == 0) return r;
    j->status = r == POSIO_E_DATA ? STATUS_DAMAGED : STATUS_ERROR;
    return POSIO_OK;
}

static void print_fault(cli_out *f, const fault *x)
{
    char size[32];
    if (x->what.entry != HEXZ_PACK_NONE)
        cli_printf(f, "chunk %llu, ", (unsigned long long)x->what.entry);
    if (x->what.size != 0)
        cli_printf(f, "offset %llu, %s bytes, ", (unsigned long long)x->what.offset,
                   cli_grouped(x->what.size, size));
    if (x->what.file_offset != HEXZ_PACK_NONE)
        cli_printf(f, "at %llu of the archive: ", (unsigned long long)x->what.file_offset);
    cli_text(f, x->reason);
    cli_puts(f, "\n");
}

static void print_faults(job *j)
{
    const uint64_t all = j->fault_count + j->faults_unlisted;
    char more[32];
    uint64_t i;
    for (i = 0; i < j->fault_count && i < MOST_PRINTED; i++) {
        cli_puts(&j->out, "  ");
        print_fault(&j->out, &j->faults[i]);
    }
    if (i < all) cli_printf(&j->out, "  ... and %s more\n", cli_grouped(all - i, more));
}

static void verify_text(job *j)
{
    const hexz_pack_verdict *v = &j->verdict;
    cli_out *f = &j->out;
    char a[32], b[32];
    if (j->asked->quiet && j->status == STATUS_OK) return;
    cli_text(f, j->path);
    if (j->status == STATUS_OK)
        cli_printf(f, ": good: %s chunks, %s of content, every hash; %.2f s, %.3f GB/s\n",
                   cli_grouped(v->chunks, a), cli_size((double)j->stats.size, b), j->seconds,
                   j->seconds > 0 ? (double)v->bytes / j->seconds / 1e9 : 0.0);
    else if (j->status == STATUS_DAMAGED && v->bad_bytes == 0)
        cli_puts(f, ": DAMAGED, but all of the content is good\n");
    else
        cli_printf(f, ": %s: %s bytes of the content cannot be trusted\n",
                   j->status == STATUS_DAMAGED ? "DAMAGED" : "cannot be read",
                   cli_grouped(v->bad_bytes, a));
    print_faults(j);
}

static void verify_json(job *j)
{
    cli_out *f = &j->out;
    uint64_t i;
    if (j->archive == NULL) return;
    json_stats(f, &j->stats);
    json_number(f, "verified_chunks", j->verdict.chunks);
    json_number(f, "verified_bytes", j->verdict.bytes);
    json_number(f, "faults", j->verdict.faults);
    json_number(f, "bad_chunks", j->verdict.bad_entries);
    json_number(f, "bad_bytes", j->verdict.bad_bytes);
    cli_puts(f, ",\"damaged\":[");
    for (i = 0; i < j->fault_count; i++) {
        const fault *x = &j->faults[i];
        cli_puts(f, i != 0 ? ",{\"reason\":" : "{\"reason\":");
        cli_json_string(f, x->reason);
        json_number(f, "chunk", x->what.entry);
        json_number(f, "offset", x->what.offset);
        json_number(f, "size", x->what.size);
        json_number(f, "file_offset", x->what.file_offset);
        cli_puts(f, "}");
    }
    cli_puts(f, "]");
}

// ---------------------------------------------------------------------------------- the report

typedef struct command {
    posio_result (*run)(job *j);
    void (*text)(job *j); /* of one that went well */
    void (*json)(job *j); /* of any */
} command;

static const command commands[COMMANDS] = {{create, create_text, create_json},
                                           {info, info_text, info_json},
                                           {info, list_text, list_json},
                                           {extract, extract_text, extract_json},
                                           {extract, extract_text, extract_json},
                                           {verify, verify_text, verify_json}};

static uint64_t bytes_done(const job *j)
{
    if (j->status != STATUS_OK) return 0;
    if (j->asked->command == CREATE) return j->stats.size;
    return j->asked->command == VERIFY ? j->verdict.bytes : j->length;
}

static void report_json(job *j)
{
    cli_out *f = &j->out;
    cli_puts(f, "{\"path\":");
    cli_json_string(f, j->path);
    cli_printf(f, ",\"command\":\"%s\"", command_names[j->asked->command]);
    commands[j->asked->command].json(j);
    cli_printf(f, ",\"status\":\"%s\"", status_names[j->status]);
    if (j->error.code != POSIO_OK) {
        cli_puts(f, ",\"error\":");
        cli_json_string(f, j->error.message);
        json_number(f, "error_offset", j->error.offset);
    }
    cli_printf(f, ",\"seconds\":%.3f,\"bytes_per_second\":%.0f,\"threads\":%u}\n", j->seconds,
               j->seconds > 0 ? (double)bytes_done(j) / j->seconds : 0.0,
               (unsigned)thread_pool_threads(j->pool));
}

static void report(job *j, posio_result r)
{
    const arguments *a = j->asked;
    const int asked_for = a->command == INFO || a->command == LIST || a->command == VERIFY;
    if (a->json) report_json(j);
    else if (r == POSIO_OK && (asked_for || !a->quiet)) commands[a->command].text(j);
    cli_flush(&j->out);
}

/* One archive, from opening to the report. */
static int run_one(const arguments *a, const char *path, const char *input, thread_pool *pool)
{
    job *j = (job *)calloc(1, sizeof *j);
    double begin = cli_now();
    posio_result r;
    int code;
    if (j == NULL) return fputs("out of memory\n", stderr), CLI_FAILED;
    j->asked = a;
    j->path = path;
    j->input = input;
    j->pool = pool;
    cli_out_to_file(&j->out, fills_stdout(a, path) ? stderr : stdout);
    r = commands[a->command].run(j);
    if (r != POSIO_OK) fail(j, r);
    j->seconds = cli_now() - begin;
    report(j, r);
    code = j->status == STATUS_OK ? CLI_GOOD : j->status == STATUS_DAMAGED ? CLI_BAD : CLI_FAILED;
    hexz_pack_close(j->archive);
    open_image_close(j->image);
    free(j->output);
    free(j->faults);
    free(j);
    return code;
}

static int run_all(const arguments *a, char **operands, int count)
{
    thread_pool *pool = thread_pool_create(a->threads);
    int i, code = CLI_GOOD;
    if (a->command == CREATE) {
        code = run_one(a, operands[0], operands[1], pool);
    } else {
        for (i = 0; i < count && !cli_interrupted; i++) {
            int one = run_one(a, operands[i], NULL, pool);
            if (one > code) code = one;
        }
        if (cli_interrupted) code = CLI_FAILED;
    }
    (void)thread_pool_destroy(pool);
    return code;
}

// ---------------------------------------------------------------------------------- main

/* Options that the command does not have. */
static const char *misplaced(const arguments *a, const char **arg)
{
    const int is_create = a->command == CREATE, reads = a->command == CAT || a->command == EXTRACT;
    open_image_desc none;
    memset(&none, 0, sizeof none);
    *arg = "--codec";
    if (a->codec != NULL && !is_create) return "goes with create only";
    *arg = "--chunk";
    if (a->chunk != NULL && !is_create) return "goes with create only";
    *arg = "--memory";
    if (a->desc.memory != 0 && !is_create) return "goes with create only";
    *arg = "--format";
    if (memcmp(&a->image, &none, sizeof none) != 0 && !is_create)
        return "how an image is opened goes with create only";
    *arg = "--force";
    if (a->force && !is_create && !reads) return "goes with create, cat and extract only";
    *arg = "--offset";
    if (a->has_offset && !reads) return "goes with cat and extract only";
    *arg = "--length";
    if (a->has_length && !reads) return "goes with cat and extract only";
    *arg = "-o";
    if (a->output != NULL && a->command != EXTRACT) return "goes with extract only";
    if (a->output != NULL && a->output[0] == 0) return "the name is empty";
    return NULL;
}

/* Standard input is no image: its bytes are packed as they are. */
static int opens_as_image(const arguments *a)
{
    open_image_desc as_it_is;
    memset(&as_it_is, 0, sizeof as_it_is);
    if (memcmp(&a->image, &as_it_is, sizeof as_it_is) == 0) return 0;
    as_it_is.formats[0] = OPEN_IMAGE_RAW;
    return memcmp(&a->image, &as_it_is, sizeof as_it_is) != 0;
}

/* Finds the command, and what is wrong with the rest; NULL when nothing is. *arg: to blame. */
static const char *choose(arguments *a, char **operands, int count, const char **arg)
{
    const char *wrong;
    int i;
    *arg = "pack";
    if (count == 0) return "no command given; one of create, info, list, cat, extract, verify";
    for (i = 0; i < COMMANDS && strcmp(command_names[i], operands[0]) != 0; i++) {}
    *arg = operands[0];
    if (i == COMMANDS) return "no such command; one of create, info, list, cat, extract, verify";
    a->command = i;
    wrong = misplaced(a, arg);
    if (wrong != NULL) return wrong;
    *arg = operands[0];
    if (i == CREATE && count != 3) return "needs two names: of the archive, then of the input";
    if (i == CREATE && is_stdio(operands[2]) && opens_as_image(a))
        return "standard input is packed as it is: images are read at random";
    if (i == CREATE) return NULL;
    if (count == 1) return "no archive given";
    if ((i == CAT || i == EXTRACT) && count != 2) return "one archive at a time";
    for (i = 1; i < count; i++)
        if (is_stdio(operands[i])) return "an archive is read at random: not from a pipe";
    return NULL;
}

static const char summary[] =
    "create packs INPUT into ARCHIVE, on all cores: chunks cut by content or of one size, each\n"
    "stored once, compressed, hashed with BLAKE3. INPUT is E01, S01, QCOW2, VMDK, VHDX, VHD, raw\n"
    "or split raw, an archive, or one of these in a zstd file: its media is packed, holes are\n"
    "skipped, and what it says of itself is kept. --format raw packs the bytes of any file. - is\n"
    "standard input or output. info, list and verify take several archives.\n"
    "  create ARCHIVE INPUT    pack\n"
    "  info ARCHIVE...         sums, codecs, sizes of chunks, metadata, the root hash\n"
    "  list ARCHIVE...         one line for each chunk\n"
    "  cat ARCHIVE             the content, or a range, to standard output\n"
    "  extract ARCHIVE         the content to a file (-o; else NAME for NAME.hexz), with holes\n"
    "  verify ARCHIVE...       every byte, every hash; names what is damaged";

static const char details[] =
    "Offsets and sizes are decimal or 0x hexadecimal, with K, M, G or T (1024 ...) or s (512).\n"
    "FILE.part becomes FILE when it is complete, and is removed when something is wrong. The\n"
    "archive is the same for any number of threads. zstd -d reads one that holds no duplicates,\n"
    "no zeros and no LZ4, and any seekable zstd reader reads it at random.\n\n"
    "Exit codes: 0 = good, 1 = damaged, 2 = could not do it; of several archives the highest.";

int main(int argc, char **argv)
{
    static arguments a;
    const cli_option options[] = {
        {"codec", "NAME", "create: zstd[:LEVEL] (default zstd:3), lz4, lz4hc[:LEVEL] or none", NULL,
         NULL, take_codec, &a},
        {"chunk", "SIZE", "create: 64K, cdc or cdc:MIN,AVG,MAX (default cdc:16K,64K,256K)", NULL,
         NULL, take_chunk, &a},
        {"memory", "SIZE", "create: for chunks in flight (default 256M)", NULL, NULL, take_memory,
         &a},
        {"o", "FILE", "extract: where to write; - is standard output (also --output)", NULL,
         &a.output, NULL, NULL},
        {"output", "FILE", "the same", NULL, &a.output, NULL, NULL},
        {"offset", "N", "cat, extract: the first byte (default 0)", NULL, NULL, take_offset, &a},
        {"length", "N", "cat, extract: how many (default: to the end)", NULL, NULL, take_length,
         &a},
        {"force", NULL, "replace an existing output", &a.force, NULL, NULL, NULL},
        OPEN_IMAGE_OPTIONS(&a.image),
        {"threads", "N", "threads to use; 0 = all usable cores (default)", NULL, NULL, take_threads,
         &a},
        {"json", NULL, "one JSON object per archive, one per line", &a.json, NULL, NULL, NULL},
        {"quiet", NULL, "no progress, and no report but what was asked for", &a.quiet, NULL, NULL,
         NULL}};
    const cli_tool tool = {"pack",  "COMMAND [options] ARCHIVE...",
                           summary, details,
                           options, sizeof options / sizeof options[0]};
    const char *wrong, *arg;
    char **operands;
    int count = 0, code;
    argv = cli_begin(&argc, argv);
    operands = (char **)calloc((size_t)argc + 1, sizeof *operands);
    if (operands == NULL) return CLI_FAILED;
    code = cli_parse(&tool, argc, argv, operands, &count);
    wrong = code < 0 ? choose(&a, operands, count, &arg) : NULL;
    if (wrong != NULL) code = cli_usage_error(&tool, arg, wrong);
    if (code < 0) code = run_all(&a, operands + 1, count - 1);
    free(operands);
    return cli_end(code);
}
