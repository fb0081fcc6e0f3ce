/* unzst.c - decompresses .zst files on all cores, tests them, lists their frames, reads ranges.
   SPDX-License-Identifier: MIT OR Unlicense

       cc -O2 -pthread examples/unzst.c -o unzst -lzstd

   One translation unit; see `unzst --help`. The data flow from top to bottom: arguments, the
   output, decompressing, the report of one file, and one file after the other. */
#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif
#if !defined(_FILE_OFFSET_BITS)
#define _FILE_OFFSET_BITS 64 /* files beyond 2 GiB, in a 32-bit program */
#endif
#define ZSTD_PAR_IMPLEMENTATION
#define THREAD_POOL_IMPLEMENTATION
#include "../zstd_par.h"
#include "cli.h"

// ---------------------------------------------------------------------------------- arguments

typedef struct arguments {
    const char *output;     /* "-": standard output; NULL: FILE without .zst */
    const char *dictionary; /* path */
    uint64_t offset, length;
    int has_range, has_length;
    uint32_t threads, mode, window_log;
    uint64_t memory;
    int test, list, force, json, quiet;
} arguments;

static const char *const mode_names[] = {"auto", "frame", "block", "serial"};

static const char *take_mode(void *user, const char *value)
{
    uint32_t i;
    for (i = 0; i < 4; i++)
        if (strcmp(value, mode_names[i]) == 0) {
            ((arguments *)user)->mode = i;
            return NULL;
        }
    return "unknown mode; one of auto, frame, block, serial";
}

static const char *take_range(void *user, const char *value)
{
    arguments *a = (arguments *)user;
    const char *end;
    if (!cli_bytes(value, &end, &a->offset)) return "not OFF:LEN";
    a->has_range = 1;
    a->has_length = *end == ':' && end[1] != 0;
    if (*end == 0 || (*end == ':' && end[1] == 0)) return NULL;
    if (*end != ':' || !cli_bytes(end + 1, &end, &a->length) || *end != 0) return "not OFF:LEN";
    return NULL;
}

static const char *take_threads(void *user, const char *value)
{
    if (cli_number(value, 4096, &((arguments *)user)->threads)) return NULL;
    return "not a whole number from 0 to 4096";
}

static const char *take_memory(void *user, const char *value)
{
    const char *end;
    if (cli_bytes(value, &end, &((arguments *)user)->memory) && *end == 0) return NULL;
    return "not a number of bytes, such as 256M";
}

static const char *take_window(void *user, const char *value)
{
    uint32_t *log = &((arguments *)user)->window_log;
    if (cli_number(value, 31, log) && *log >= 10) return NULL;
    return "not a whole number from 10 to 31";
}

// ---------------------------------------------------------------------------------- one file

enum { STATUS_OK, STATUS_DAMAGED, STATUS_ERROR };
static const char *const status_names[] = {"ok", "damaged", "error"};

/* Everything about one file; the report is printed from this alone. */
typedef struct job {
    const char *path;
    const arguments *asked;
    thread_pool *pool;
    posio_file *file;
    posio_source source;
    zstd_par_desc desc;
    zstd_par_index *index; /* of --list and -t */
    char *output;          /* the name of the output; NULL: none, or standard output */
    posio_file_sink *out;
    posio_pipe pipe;
    posio_sink sink;
    uint64_t skip, take; /* of the bytes that come: drop so many, then write so many */
    uint64_t written;
    int sink_failed, is_complete; /* is_complete: the range is, and more was about to come */
    zstd_par_stats stats;
    int status;
    posio_error error;
    cli_progress progress;
    double seconds;
} job;

static int to_stdout(const arguments *a)
{
    return a->output != NULL && strcmp(a->output, "-") == 0;
}

static posio_result refuse(job *j, posio_result code, const char *why)
{
    return posio_fail(&j->error, code, POSIO_NO_OFFSET, "%s", why);
}

static int report_progress(void *user, uint64_t done, uint64_t total)
{
    return cli_progress_update(&((job *)user)->progress, done, total);
}

// ---------------------------------------------------------------------------------- the output

/* FILE without .zst; .tzst is .tar. NULL: there is no such suffix, or no memory. */
static char *default_output(const char *path)
{
    size_t n = strlen(path), name = posio_path_folder(path);
    int tar = n > name + 5 && strcmp(path + n - 5, ".tzst") == 0;
    char *out = (char *)malloc(n + 1);
    if (out == NULL || (!tar && (n <= name + 4 || strcmp(path + n - 4, ".zst") != 0))) {
        free(out);
        return NULL;
    }
    memcpy(out, path, n - (tar ? 5 : 4));
    memcpy(out + n - (tar ? 5 : 4), tar ? ".tar" : "", tar ? 5 : 1);
    return out;
}

/* Is there a file at this path, and is it the input? */
static int is_the_input(const job *j, const char *path)
{
    posio_file_info in = posio_file_get_info(j->file), out;
    posio_file *file = NULL;
    if (posio_file_open(&file, path, NULL, NULL) != POSIO_OK) return 0;
    out = posio_file_get_info(file);
    posio_file_close(file);
    return in.device == out.device && in.inode == out.inode;
}

static char *part_name(const char *path)
{
    size_t n = strlen(path);
    char *part = (char *)malloc(n + 6);
    if (part == NULL) return NULL;
    memcpy(part, path, n);
    memcpy(part + n, ".part", 6);
    return part;
}

/* Behind the range: what would come is not wanted. */
static int is_behind(job *j, uint64_t n, posio_error *err)
{
    if (j->skip != 0 || j->take != 0 || n == 0) return 0;
    j->is_complete = 1;
    (void)posio_fail(err, POSIO_E_CANCELED, POSIO_NO_OFFSET, "the range is complete");
    return 1;
}

/* Decoded bytes on their way to the sink: only those of the range. */
static posio_result cut_write(void *self, const void *p, size_t n, posio_error *err)
{
    job *j = (job *)self;
    size_t skip = (size_t)posio_min(j->skip, n), take = (size_t)posio_min(j->take, n - skip);
    posio_result r = POSIO_OK;
    if (is_behind(j, n, err)) return POSIO_E_CANCELED;
    if (take != 0 && j->sink.write != NULL)
        r = j->sink.write(j->sink.self, (const unsigned char *)p + skip, take, err);
    j->skip -= skip;
    j->take -= take;
    j->written += take;
    if (r != POSIO_OK) j->sink_failed = 1;
    return r;
}

static posio_result cut_hole(void *self, uint64_t n, posio_error *err)
{
    static const unsigned char zeros[32768] = {0};
    job *j = (job *)self;
    uint64_t skip = posio_min(j->skip, n), take = posio_min(j->take, n - skip);
    posio_result r = POSIO_OK;
    if (is_behind(j, n, err)) return POSIO_E_CANCELED;
    j->skip -= skip;
    j->take -= take;
    j->written += take;
    if (take != 0 && j->sink.hole != NULL) r = j->sink.hole(j->sink.self, take, err);
    else
        for (; take != 0 && r == POSIO_OK; take -= posio_min(take, sizeof zeros))
            if (j->sink.write != NULL)
                r = j->sink.write(j->sink.self, zeros, (size_t)posio_min(take, sizeof zeros), err);
    if (r != POSIO_OK) j->sink_failed = 1;
    return r;
}

static posio_result open_stdout(job *j)
{
    if (cli_is_terminal(stdout) && !j->asked->force)
        return refuse(j, POSIO_E_ARG, "decompressed bytes are not written to a terminal");
    j->pipe.handle = cli_standard_handle(1);
    j->sink = posio_pipe_sink(&j->pipe);
    return POSIO_OK;
}

static posio_result open_file(job *j)
{
    posio_file_sink_desc desc;
    char *part;
    int same;
    posio_result r;
    if (j->asked->output != NULL) {
        j->output = (char *)malloc(strlen(j->asked->output) + 1);
        if (j->output != NULL) memcpy(j->output, j->asked->output, strlen(j->asked->output) + 1);
    } else {
        j->output = default_output(j->path);
        if (j->output == NULL)
            return refuse(j, POSIO_E_ARG, "the name does not end in .zst: -o names the output");
    }
    part = j->output != NULL ? part_name(j->output) : NULL;
    if (part == NULL) return refuse(j, POSIO_E_NOMEM, "out of memory");
    same = is_the_input(j, j->output) || is_the_input(j, part);
    free(part);
    j->sink_failed = 1;
    if (same) return refuse(j, POSIO_E_ARG, "is the input, or its NAME.part would be");
    memset(&desc, 0, sizeof desc);
    desc.flags = j->asked->force ? POSIO_SINK_FORCE : 0;
    r = posio_file_sink_open(&j->out, j->output, &desc, &j->error);
    if (r == POSIO_E_EXISTS) (void)posio_fail_while(&j->error, "--force replaces it");
    if (r != POSIO_OK) return r;
    j->sink_failed = 0;
    j->sink = posio_file_sink_sink(j->out);
    if (posio_file_sink_is_direct(j->out)) j->sink.hole = NULL;
    return POSIO_OK;
}

/* The file is complete and gets its name, or nothing is left of it. */
static posio_result finish_output(job *j, posio_result r)
{
    int direct;
    char *part;
    if (j->out == NULL) return r;
    direct = posio_file_sink_is_direct(j->out);
    if (r == POSIO_OK) {
        r = posio_file_sink_finish(j->out, &j->error);
        if (r != POSIO_OK) j->sink_failed = 1;
    }
    posio_file_sink_close(j->out);
    j->out = NULL;
    part = r != POSIO_OK && !direct ? part_name(j->output) : NULL;
    if (part != NULL) (void)remove(part);
    free(part);
    return r;
}

// ---------------------------------------------------------------------------------- decompressing

/* A range through the index: only the frames that hold it are decoded. */
static posio_result range_at_random(job *j, zstd_par *z)
{
    enum { PIECE = 4 << 20 };
    const uint64_t size = zstd_par_source(z).size, begin = j->asked->offset;
    uint64_t at = begin, end;
    unsigned char *buf = (unsigned char *)malloc(PIECE);
    posio_result r = POSIO_OK;
    if (buf == NULL) return refuse(j, POSIO_E_NOMEM, "out of memory");
    end = j->asked->has_length ? begin + j->asked->length : size;
    if (begin > size || !posio_within(begin, end - begin, size))
        r = posio_fail(&j->error, POSIO_E_RANGE, POSIO_NO_OFFSET,
                       "the range reaches beyond the end of the content, which has %llu bytes",
                       (unsigned long long)size);
    while (at < end && r == POSIO_OK) {
        size_t n = (size_t)posio_min(PIECE, end - at);
        r = zstd_par_read_at(z, at, buf, n, &j->error);
        if (r == POSIO_OK) {
            r = j->sink.write(j->sink.self, buf, n, &j->error);
            j->sink_failed = r != POSIO_OK;
        }
        at += n;
        if (r == POSIO_OK && report_progress(j, at - begin, end - begin))
            r = refuse(j, POSIO_E_CANCELED, "interrupted");
    }
    free(buf);
    j->stats.out_bytes = at - begin;
    j->stats.mode = ZSTD_PAR_FRAME;
    return r;
}

/* Everything, or the range, in order. */
static posio_result decompress_in_order(job *j)
{
    posio_sink cut;
    posio_result r;
    cut.write = cut_write;
    cut.hole = j->sink.hole != NULL || j->sink.write == NULL ? cut_hole : NULL;
    cut.self = j;
    j->skip = j->asked->has_range ? j->asked->offset : 0;
    j->take = j->asked->has_range && j->asked->has_length ? j->asked->length : UINT64_MAX;
    j->desc.progress = report_progress;
    j->desc.user = j;
    r = zstd_par_decompress_sink(&j->source, &cut, &j->desc, &j->stats, &j->error);
    if (r == POSIO_E_CANCELED && j->is_complete && !cli_interrupted) r = POSIO_OK;
    else if (r == POSIO_OK && j->asked->has_range &&
             (j->skip != 0 || (j->asked->has_length && j->take != 0)))
        r = posio_fail(&j->error, POSIO_E_RANGE, POSIO_NO_OFFSET,
                       "the range reaches beyond the end of the content, which has %llu bytes",
                       (unsigned long long)j->stats.out_bytes);
    j->stats.out_bytes = j->written;
    return r;
}

static posio_result decompress(job *j)
{
    zstd_par *z = NULL;
    posio_result r;
    if (!j->asked->has_range) return decompress_in_order(j);
    r = zstd_par_open_source(&z, &j->source, &j->desc, &j->error);
    if (r == POSIO_OK) r = range_at_random(j, z);
    else if (r == POSIO_E_LIMIT || r == POSIO_E_UNSUPPORTED) r = decompress_in_order(j);
    zstd_par_close(z);
    return r;
}

// ---------------------------------------------------------------------------------- the report

/* How --list would decompress it. */
static const char *mode_to_use(const job *j)
{
    return mode_names[j->asked->mode != 0 ? j->asked->mode : zstd_par_index_info(j->index)->mode];
}

static void print_frames(cli_out *f, const job *j)
{
    zstd_par_frame x;
    uint64_t i;
    cli_puts(f, "  frame         offset     compressed        content  blocks  window  check\n");
    for (i = 0; zstd_par_index_get(j->index, i, &x) == POSIO_OK; i++) {
        char content[32] = "-", window[32];
        if (x.flags & ZSTD_PAR_SKIPPABLE) {
            cli_printf(f, "  skip %14llu %14llu              -       -       -  %s\n",
                       (unsigned long long)x.offset, (unsigned long long)x.size,
                       x.flags & ZSTD_PAR_HINT ? "pzstd's hint"
                       : x.variant == 14       ? "seek table"
                                               : "");
            continue;
        }
        if (x.content_size != ZSTD_PAR_UNKNOWN)
            snprintf(content, sizeof content, "%llu", (unsigned long long)x.content_size);
        cli_printf(f, "  %4llu %14llu %14llu %14s %7llu %7s  %s\n", (unsigned long long)x.number,
                   (unsigned long long)x.offset, (unsigned long long)x.size, content,
                   (unsigned long long)x.blocks, cli_size((double)x.window, window),
                   x.flags & ZSTD_PAR_CHECKSUM ? "XXH64" : "none");
    }
}

static void print_list(cli_out *f, const job *j)
{
    const zstd_par_metadata *m = zstd_par_index_info(j->index);
    char a[32], b[32], text[160];
    snprintf(text, sizeof text, "%s, and %s skippable", cli_grouped(m->frames, a),
             cli_grouped(m->skippable_frames, b));
    cli_line(f, "frames", text);
    cli_line(f, "blocks", cli_grouped(m->blocks, a));
    snprintf(text, sizeof text, "%s bytes", cli_grouped(m->file_size, a));
    cli_line(f, "compressed", text);
    if (m->content_size == ZSTD_PAR_UNKNOWN)
        snprintf(text, sizeof text, "not said; at most %s bytes", cli_grouped(m->bound, a));
    else
        snprintf(text, sizeof text, "%s bytes, %.3f times as many", cli_grouped(m->content_size, a),
                 m->file_size != 0 ? (double)m->content_size / (double)m->file_size : 0.0);
    cli_line(f, "content", text);
    cli_line(f, "largest window", cli_size((double)m->largest_window, a));
    snprintf(text, sizeof text, "of %s frames", cli_grouped(m->checksums, a));
    cli_line(f, "checksums", text);
    if (m->dictionary != 0) {
        snprintf(text, sizeof text, "%u", (unsigned)m->dictionary);
        cli_line(f, "dictionary", text);
    }
    cli_line(f, "seek table",
         m->has_seek_table             ? "yes"
         : m->seek_table_fault != NULL ? m->seek_table_fault
                                       : "none");
    if (m->hints != 0) {
        snprintf(text, sizeof text, "%s, %s of them wrong", cli_grouped(m->hints, a),
                 cli_grouped(m->wrong_hints, b));
        cli_line(f, "pzstd's hints", text);
    }
    cli_line(f, "mode", mode_to_use(j));
    if (!j->asked->quiet) print_frames(f, j);
}

static void print_text(cli_out *f, const job *j)
{
    char a[32], b[32];
    if (j->asked->list && j->index != NULL) {
        cli_text(f, j->path);
        cli_puts(f, "\n");
        print_list(f, j);
    } else if (j->status == STATUS_OK && !j->asked->quiet && !to_stdout(j->asked)) {
        cli_text(f, j->path);
        cli_printf(f, ": %s%s in %.2f s, %s/s%s", j->asked->test ? "good: " : "",
                   cli_size((double)j->stats.out_bytes, a), j->seconds,
                   cli_size(j->seconds > 0 ? (double)j->stats.out_bytes / j->seconds : 0, b),
                   j->stats.mode == ZSTD_PAR_FRAME    ? ", by frames"
                   : j->stats.mode == ZSTD_PAR_BLOCK  ? ", by blocks"
                   : j->stats.mode == ZSTD_PAR_SERIAL ? ", by libzstd, serially"
                                                      : "");
        if (j->index != NULL && zstd_par_index_info(j->index)->seek_table_fault != NULL)
            cli_printf(f, "; but its seek table is wrong: %s",
                       zstd_par_index_info(j->index)->seek_table_fault);
        cli_puts(f, "\n");
    }
}

static void json_number(cli_out *f, const char *key, uint64_t v)
{
    if (v == ZSTD_PAR_UNKNOWN) cli_printf(f, ",\"%s\":null", key);
    else cli_printf(f, ",\"%s\":%llu", key, (unsigned long long)v);
}

static void json_index(cli_out *f, const job *j)
{
    const zstd_par_metadata *m = zstd_par_index_info(j->index);
    zstd_par_frame x;
    uint64_t i;
    json_number(f, "frames", m->frames);
    json_number(f, "skippable_frames", m->skippable_frames);
    json_number(f, "blocks", m->blocks);
    json_number(f, "content_size", m->content_size);
    json_number(f, "content_bound", m->bound);
    json_number(f, "largest_window", m->largest_window);
    json_number(f, "checksums", m->checksums);
    json_number(f, "dictionary", m->dictionary);
    cli_puts(f, ",\"seek_table\":");
    cli_json_string(f, m->has_seek_table ? "ok" : m->seek_table_fault);
    json_number(f, "hints", m->hints);
    json_number(f, "wrong_hints", m->wrong_hints);
    cli_printf(f, ",\"mode\":\"%s\"", mode_to_use(j));
    if (!j->asked->list) return;
    cli_puts(f, ",\"list\":[");
    for (i = 0; zstd_par_index_get(j->index, i, &x) == POSIO_OK; i++) {
        cli_printf(f, "%s{\"offset\":%llu,\"size\":%llu", i != 0 ? "," : "",
                   (unsigned long long)x.offset, (unsigned long long)x.size);
        if (x.flags & ZSTD_PAR_SKIPPABLE) {
            cli_printf(f, ",\"skippable\":%u}", (unsigned)x.variant);
            continue;
        }
        json_number(f, "frame", x.number);
        json_number(f, "content_size", x.content_size);
        json_number(f, "blocks", x.blocks);
        json_number(f, "window", x.window);
        cli_printf(f, ",\"checksum\":%s}", x.flags & ZSTD_PAR_CHECKSUM ? "true" : "false");
    }
    cli_puts(f, "]");
}

static void print_json(cli_out *f, const job *j)
{
    cli_puts(f, "{\"path\":");
    cli_json_string(f, j->path);
    cli_printf(f, ",\"status\":\"%s\"", status_names[j->status]);
    json_number(f, "size", j->source.size);
    if (j->index != NULL) json_index(f, j);
    if (!j->asked->list && j->status == STATUS_OK) {
        json_number(f, "bytes", j->stats.out_bytes);
        cli_puts(f, ",\"done_by\":");
        cli_json_string(f, j->stats.mode != 0 ? mode_names[j->stats.mode] : NULL);
        cli_puts(f, ",\"output\":");
        cli_json_string(f, j->output);
    }
    if (j->status != STATUS_OK) {
        cli_puts(f, ",\"error\":");
        cli_json_string(f, j->error.message);
        json_number(f, "error_offset", j->error.offset);
    }
    cli_printf(f, ",\"seconds\":%.3f,\"bytes_per_second\":%.0f,\"threads\":%u}\n", j->seconds,
               j->seconds > 0 ? (double)j->stats.out_bytes / j->seconds : 0.0,
               (unsigned)thread_pool_threads(j->pool));
}

// ---------------------------------------------------------------------------------- main

/* Damage is the file's fault; all else keeps us from finding out. */
static void judge(job *j, posio_result r)
{
    const char *path = j->sink_failed ? (j->output != NULL ? j->output : "-") : j->path;
    if (r == POSIO_OK) return;
    j->status = r == POSIO_E_DATA && !j->sink_failed ? STATUS_DAMAGED : STATUS_ERROR;
    if (r == POSIO_E_CANCELED) (void)refuse(j, r, "interrupted");
    if (j->sink_failed && j->output == NULL && cli_reader_is_gone(&j->error)) return;
    cli_error(path, &j->error);
}

static posio_result run_job(job *j)
{
    const arguments *a = j->asked;
    posio_result r = posio_file_open(&j->file, j->path, NULL, &j->error);
    if (r != POSIO_OK) return r;
    j->source = posio_file_source(j->file);
    if (j->source.size == 0) /* which ZSTD_decompress accepts, and zstd does not */
        return posio_fail(&j->error, POSIO_E_DATA, 0, "not a zstd file: it is empty");
    j->desc.flags = ZSTD_PAR_WALK;
    if (a->list || a->test) r = zstd_par_index_open(&j->index, &j->source, &j->desc, &j->error);
    else r = zstd_par_probe(&j->source, &j->error);
    j->desc.flags = 0;
    if (a->list) return r;
    /* More frames than are listed, and versions of the format that libzstd may know. */
    if (r == POSIO_E_LIMIT || r == POSIO_E_UNSUPPORTED) r = POSIO_OK;
    if (r == POSIO_OK && !a->test) r = to_stdout(a) ? open_stdout(j) : open_file(j);
    if (r != POSIO_OK) return r;
    cli_progress_begin(&j->progress, j->path, !a->quiet);
    r = decompress(j);
    cli_progress_end(&j->progress);
    return finish_output(j, r);
}

static int unzst_one(const char *path, const arguments *a, thread_pool *pool,
                     const zstd_par_desc *desc)
{
    job *j = (job *)calloc(1, sizeof *j);
    double begin = cli_now();
    cli_out f;
    int code;
    if (j == NULL) return fputs("out of memory\n", stderr), CLI_FAILED;
    j->path = path;
    j->asked = a;
    j->pool = pool;
    j->desc = *desc;
    judge(j, run_job(j));
    j->seconds = cli_now() - begin;
    cli_out_to_file(&f, to_stdout(a) ? stderr : stdout);
    if (a->json) print_json(&f, j);
    else print_text(&f, j);
    cli_flush(&f);
    code = j->status == STATUS_OK ? CLI_GOOD : j->status == STATUS_DAMAGED ? CLI_BAD : CLI_FAILED;
    zstd_par_index_close(j->index);
    posio_file_close(j->file);
    free(j->output);
    free(j);
    return code;
}

/* The codec: contexts and the dictionary for all files. */
static posio_result open_codec(zstd_par_codec **codec, const arguments *a, posio_error *err)
{
    zstd_par_desc desc;
    posio_file *file = NULL;
    posio_source source;
    unsigned char *bytes = NULL;
    posio_result r = POSIO_OK;
    memset(&desc, 0, sizeof desc);
    if (a->dictionary != NULL) {
        r = posio_file_open(&file, a->dictionary, NULL, err);
        if (r != POSIO_OK) return r;
        source = posio_file_source(file);
        if (source.size > 1 << 30)
            r = posio_fail(err, POSIO_E_LIMIT, POSIO_NO_OFFSET, "too large for a dictionary");
        else bytes = (unsigned char *)malloc((size_t)source.size + 1);
        if (r == POSIO_OK && bytes == NULL)
            r = posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
        if (r == POSIO_OK) r = posio_read(&source, 0, bytes, (size_t)source.size, err);
        desc.dictionary = bytes;
        desc.dictionary_size = (size_t)source.size;
        posio_file_close(file);
    }
    if (r == POSIO_OK) r = zstd_par_codec_create(codec, &desc, err);
    free(bytes);
    return r;
}

static int unzst_all(char **paths, int count, const arguments *a)
{
    thread_pool *pool = thread_pool_create(a->threads);
    zstd_par_desc desc;
    posio_error err;
    int i, code = CLI_GOOD;
    memset(&desc, 0, sizeof desc);
    if (open_codec(&desc.codec, a, &err) != POSIO_OK) {
        cli_error(a->dictionary != NULL ? a->dictionary : "unzst", &err);
        (void)thread_pool_destroy(pool);
        return CLI_FAILED;
    }
    desc.pool = pool;
    desc.mode = a->mode;
    desc.memory = a->memory;
    desc.window_log_max = a->window_log;
    for (i = 0; i < count && !cli_interrupted; i++) {
        int one = unzst_one(paths[i], a, pool, &desc);
        if (one > code) code = one;
    }
    if (cli_interrupted) code = CLI_FAILED;
    zstd_par_codec_destroy(desc.codec);
    (void)thread_pool_destroy(pool);
    return code;
}

/* What does not go together; NULL when all does. *arg: the option to blame. */
static const char *contradiction(const arguments *a, int count, const char **arg)
{
    *arg = "unzst";
    if (count == 0) return "no file given";
    *arg = "-o";
    if (a->output != NULL && a->output[0] == 0) return "the name is empty";
    if (a->output != NULL && (a->test || a->list)) return "goes without -t and --list";
    if (a->output != NULL && count > 1 && !to_stdout(a)) return "one output for several files";
    *arg = "--range";
    if (a->has_range && (a->test || a->list)) return "goes without -t and --list";
    if (a->has_range && a->output == NULL) return "needs -o FILE, or -o -";
    return NULL;
}

static const char summary[] =
    "Decompresses zstd files on all cores: by frames where a file has several (pzstd, seekable\n"
    "files, files put together), by blocks where it is one large frame, else by libzstd as it is.\n"
    "FILE.zst becomes FILE; FILE.part is renamed when it is complete, and removed when something\n"
    "is wrong. Inputs stay as they are.";

static const char details[] =
    "Offsets and sizes are decimal or 0x hexadecimal, with K, M, G or T (1024 ...) or s (512).\n"
    "With -o - reports go to standard error. --range decodes only the frames that it touches,\n"
    "where the file tells how large its frames are.\n\n"
    "Exit codes: 0 = good, 1 = damaged, 2 = could not do it; of several files the highest.";

int main(int argc, char **argv)
{
    static arguments a;
    const cli_option options[] = {
        {"o", "FILE", "where to write; - is standard output (also --output)", NULL, &a.output, NULL,
         NULL},
        {"output", "FILE", "the same", NULL, &a.output, NULL, NULL},
        {"t", NULL, "test: decompress, check, write nothing (also --test)", &a.test, NULL, NULL,
         NULL},
        {"test", NULL, "the same", &a.test, NULL, NULL, NULL},
        {"list", NULL, "print frames, blocks, sizes, and the mode; decompress nothing", &a.list,
         NULL, NULL, NULL},
        {"range", "OFF:LEN", "only these bytes of the content; without LEN to the end", NULL, NULL,
         take_range, &a},
        {"mode", "NAME", "auto (default), frame, block or serial", NULL, NULL, take_mode, &a},
        {"threads", "N", "threads to use; 0 = all usable cores (default)", NULL, NULL, take_threads,
         &a},
        {"memory", "SIZE", "for frames in flight (default 256M)", NULL, NULL, take_memory, &a},
        {"long", "LOG", "allow windows of 2^LOG bytes (default 27, which is 128 MiB)", NULL, NULL,
         take_window, &a},
        {"D", "FILE", "a dictionary", NULL, &a.dictionary, NULL, NULL},
        {"force", NULL, "replace an existing output", &a.force, NULL, NULL, NULL},
        {"json", NULL, "one JSON object per file, one per line", &a.json, NULL, NULL, NULL},
        {"quiet", NULL, "no progress, and no report for files that are good", &a.quiet, NULL, NULL,
         NULL}};
    const cli_tool tool = {"unzst", "[options] FILE...",
                           summary, details,
                           options, sizeof options / sizeof options[0]};
    const char *wrong, *arg;
    char **operands;
    int count = 0, code;
    argv = cli_begin(&argc, argv);
    operands = (char **)calloc((size_t)argc + 1, sizeof *operands);
    if (operands == NULL) return CLI_FAILED;
    code = cli_parse(&tool, argc, argv, operands, &count);
    wrong = code < 0 ? contradiction(&a, count, &arg) : NULL;
    if (wrong != NULL) code = cli_usage_error(&tool, arg, wrong);
    if (code < 0) code = unzst_all(operands, count, &a);
    free(operands);
    return cli_end(code);
}
