/* media_write.h - a lane for media_run.h that writes: to a file with holes, or to a pipe.
   SPDX-License-Identifier: MIT OR Unlicense

   Everything is static; for programs with one translation unit. Include media_run.h first. */
#ifndef CHUNKWISE_MEDIA_WRITE_H
#define CHUNKWISE_MEDIA_WRITE_H

#include <string.h>

/* What the lane knows; set sink, and file and keeps_holes or pipe. */
typedef struct media_writer {
    posio_sink sink;
    posio_file_sink *file; /* NULL: standard output */
    posio_pipe pipe;
    int keeps_holes;
    uint64_t from; /* offset in the media; what lies before is not written */
    uint64_t written, holes;
    int failed; /* the error is one of writing */
} media_writer;

/* Blocks of zeros become holes in steps of this size, as file systems have them. */
enum { MEDIA_HOLE_STEP = 4096 };

static int media_is_zeros(const unsigned char *p, size_t n)
{
    /* The first and the last byte decide most blocks that hold something. */
    return p[0] == 0 && p[n - 1] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

/* How many of n bytes, which go to this position of the file, can be handled alike. */
static size_t media_alike(const unsigned char *p, size_t n, uint64_t position, int *zeros)
{
    size_t done = (size_t)posio_min(MEDIA_HOLE_STEP - position % MEDIA_HOLE_STEP, n);
    *zeros = media_is_zeros(p, done);
    while (done < n) {
        size_t step = (size_t)posio_min(MEDIA_HOLE_STEP, n - done);
        if (media_is_zeros(p + done, step) != *zeros) break;
        done += step;
    }
    return done;
}

static posio_result media_write_zeros(media_writer *w, uint64_t n, posio_error *err)
{
    posio_result r = POSIO_OK;
    if (w->keeps_holes) {
        w->holes += n;
        return w->sink.hole(w->sink.self, n, err);
    }
    for (; n != 0 && r == POSIO_OK; n -= posio_min(n, MEDIA_ZEROS))
        r = w->sink.write(w->sink.self, media_zeros(), (size_t)posio_min(n, MEDIA_ZEROS), err);
    return r;
}

static posio_result media_write_sparse(media_writer *w, const unsigned char *p, size_t n,
                                       posio_error *err)
{
    posio_result r = POSIO_OK;
    while (n != 0 && r == POSIO_OK) {
        int zeros;
        size_t take = media_alike(p, n, posio_file_sink_size(w->file), &zeros);
        r = zeros ? media_write_zeros(w, take, err) : w->sink.write(w->sink.self, p, take, err);
        p += take;
        n -= take;
    }
    return r;
}

/* The lane; user is a media_writer. */
static posio_result media_write_lane(void *user, const media_piece *piece, posio_error *err)
{
    media_writer *w = (media_writer *)user;
    uint64_t skip = 0, n = piece->size;
    const unsigned char *p = piece->data;
    posio_result r;
    if (piece->offset < w->from) skip = posio_min(w->from - piece->offset, n);
    n -= skip;
    if (n == 0) return POSIO_OK;
    if (p == NULL) r = media_write_zeros(w, n, err);
    else if (w->keeps_holes) r = media_write_sparse(w, p + skip, (size_t)n, err);
    else r = w->sink.write(w->sink.self, p + skip, (size_t)n, err);
    if (r == POSIO_OK) w->written += n;
    else w->failed = 1;
    return r;
}

#endif
