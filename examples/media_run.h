/* media_run.h - reads a source from front to back on all cores and hands it, in order, to lanes.
   SPDX-License-Identifier: MIT OR Unlicense

       static posio_result hash(void *user, const media_piece *piece, posio_error *err) { ... }

       media_lane lane = {hash, &state, 0};
       media_desc d;
       memset(&d, 0, sizeof d);
       d.source = source;
       d.length = source.size;
       d.pool = pool;
       d.lanes = &lane;
       d.lane_count = 1;
       r = media_run(&d, &err);

   It is the ordered pipeline of thread_pool.h, with sources on one end:

     extents --> slots: zeros of any length, without parts    --> lane, lane, ...  each serial and
                        data of about 1 MiB, in parts that    --> in order; and one that reports
                        begin at multiples of source.unit         what could not be read

   A part that cannot be read is read again unit by unit, to find out which of its units are bad,
   and between which sectors of them.
   What the lanes are given, the error and the reports are the same for any number of threads.

   Memory: a ring of at most 24 MiB. Where the source's unit is larger than 1 MiB, slots are as
   large as that, and there is one for each thread within 256 MiB, but at least three. For every
   unit that is bad, 552 bytes until it is reported.

   Everything is static; for programs with one translation unit. Include thread_pool.h with
   THREAD_POOL_IMPLEMENTATION first. */
#ifndef CHUNKWISE_MEDIA_RUN_H
#define CHUNKWISE_MEDIA_RUN_H

#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#define MEDIA_UNUSED __attribute__((unused))
#else
#define MEDIA_UNUSED
#endif

/* What a lane is given: pieces lie one behind the other and together are the whole range. */
typedef struct media_piece {
    uint64_t offset;           /* in the source */
    uint64_t size;             /* at least 1; fits a size_t where there is data */
    const unsigned char *data; /* NULL: zeros */
} media_piece;

typedef struct media_lane {
    posio_result (*run)(void *user, const media_piece *piece, posio_error *err);
    void *user;
    uint32_t after; /* 0 = independent; k = takes a piece only when the k-th lane has left it */
} media_lane;

enum {
    MEDIA_DAMAGE_ERROR = 0, /* the run ends with the error of the lowest offset */
    MEDIA_DAMAGE_ZEROS = 1  /* a unit that cannot be read is zeros, and reported */
};

enum { MEDIA_MOST_LANES = THREAD_POOL_MAX_LANES - 1 };

typedef struct media_desc {
    posio_source source;
    uint64_t offset, length; /* the range; must lie within the source */
    thread_pool *pool;       /* NULL = the calling thread */
    uint32_t threads;        /* at most this many of the pool; 0 = all */
    uint32_t lane_count;     /* 0 to MEDIA_MOST_LANES */
    const media_lane *lanes;
    uint64_t most_zeros; /* the longest piece of zeros; 0 = 64 MiB, some 0.1 s of hashing: no lane
                            can be interrupted within a piece */
    uint32_t on_damage;  /* MEDIA_DAMAGE_... */
    uint32_t reserved;
    void *user; /* of the two below */
    /* Under MEDIA_DAMAGE_ZEROS, once for each bad unit, in order, serially; on any thread. */
    void (*damage)(void *user, uint64_t offset, uint64_t length, const posio_error *why);
    /* On the calling thread, after its steps and every 100 ms: `done` bytes have left all lanes.
       Non-zero cancels. */
    int (*progress)(void *user, uint64_t done);
} media_desc;

enum {
    MEDIA_I_PART = 1 << 18,
    MEDIA_I_SLOT = 1 << 20,
    MEDIA_I_RING = 24 << 20,
    MEDIA_I_LARGE_RING = 256 << 20,
    MEDIA_I_MOST_UNIT = 128 << 20, /* the largest chunk there is; a hint beyond is not followed */
    MEDIA_I_SMALL_UNIT = 4096,     /* where a source has no unit: a sector of most disks */
    MEDIA_I_SECTOR = 512,          /* the least that is given up */
    MEDIA_I_LONG_ZEROS = 1 << 18,  /* shorter runs are cheaper read than handled */
    MEDIA_I_MOST_EXTENTS = 4096    /* asked at once: so that a run of them can be cancelled */
};

/* One unit that could not be read. */
typedef struct media_i_bad {
    uint64_t offset, length;
    posio_error why;
} media_i_bad;

typedef struct media_i_part {
    media_i_bad *bad;
    uint64_t count, room;
} media_i_part;

typedef struct media_i_slot {
    media_piece piece;
    unsigned char *buffer;
    media_i_part *parts;
} media_i_slot;

typedef struct media_i_run {
    const media_desc *desc;
    uint64_t at, end;    /* of the range; at: where the next slot begins */
    uint64_t known_to;   /* the extent that was asked for last ends here, */
    uint64_t known_from; /* begins here, */
    int known_zeros;     /* and reads as zeros */
    uint32_t unit;       /* of reading again */
    uint64_t part, slot; /* bytes */
    uint32_t slot_count;
    media_i_slot *slots;
    unsigned char *ring;
    thread_pool_mutex lock;                  /* of: */
    uint64_t lane_at[THREAD_POOL_MAX_LANES]; /* how far each lane has come */
} media_i_run;

// ---------------------------------------------------------------------------------- extents

/* Asks for the extent at `at`, unless it is the one that is known. A source that fails to tell is
   read: that shows what is wrong with it, and where. */
static void media_i_look(media_i_run *run, uint64_t at)
{
    posio_extent x;
    if (at >= run->known_from && at < run->known_to) return;
    memset(&x, 0, sizeof x);
    if (posio_extent_of(&run->desc->source, at, &x, NULL) != POSIO_OK || x.length == 0) {
        x.length = run->slot - at % run->slot;
        x.kind = POSIO_EXTENT_DATA;
    }
    run->known_from = at;
    run->known_to = at + posio_min(x.length, run->end - at);
    run->known_zeros = x.kind == POSIO_EXTENT_ZERO || x.kind == POSIO_EXTENT_HOLE;
}

/* How many bytes from `at` on are known to be zeros; at most `most`. */
static uint64_t media_i_zeros(media_i_run *run, uint64_t at, uint64_t most)
{
    uint64_t n = 0;
    uint32_t asked;
    for (asked = 0; asked < MEDIA_I_MOST_EXTENTS && n < most && at + n < run->end; asked++) {
        media_i_look(run, at + n);
        if (!run->known_zeros) break;
        n = run->known_to - at;
    }
    return posio_min(n, most);
}

/* How many bytes from `at` on are to be read: up to a long run of zeros, or to the next multiple
   of a slot. */
static uint64_t media_i_data(media_i_run *run, uint64_t at)
{
    uint64_t end = posio_min(at + (run->slot - at % run->slot), run->end), q = at;
    while (q < end) {
        uint64_t zeros;
        media_i_look(run, q);
        if (!run->known_zeros) {
            q = run->known_to;
            continue;
        }
        zeros = media_i_zeros(run, q, MEDIA_I_LONG_ZEROS);
        if (zeros >= MEDIA_I_LONG_ZEROS && q != at) break;
        q += zeros;
    }
    return posio_min(q, end) - at;
}

// ---------------------------------------------------------------------------------- the pipeline

static posio_result media_i_produce(void *user, thread_pool_slot *slot, posio_error *err)
{
    media_i_run *run = (media_i_run *)user;
    media_i_slot *s = &run->slots[slot->index];
    uint64_t most = run->desc->most_zeros != 0 ? run->desc->most_zeros : (uint64_t)64 << 20;
    uint64_t zeros, last;
    (void)err;
    if (run->at == run->end) return THREAD_POOL_END;
    zeros = media_i_zeros(run, run->at, most);
    s->piece.offset = run->at;
    s->piece.data = NULL;
    slot->parts = 0;
    if (zeros >= MEDIA_I_LONG_ZEROS) {
        s->piece.size = zeros;
    } else {
        s->piece.size = media_i_data(run, run->at);
        s->piece.data = s->buffer;
        last = run->at + s->piece.size - 1;
        slot->parts = (uint32_t)(last / run->part - run->at / run->part + 1);
    }
    run->at += s->piece.size;
    return POSIO_OK;
}

/* Errors that concern some bytes only, so that others can be read. */
static int media_i_is_damage(posio_result r)
{
    return r == POSIO_E_DATA || r == POSIO_E_MISSING || r == POSIO_E_IO;
}

static posio_result media_i_add_bad(media_i_part *p, uint64_t offset, uint64_t length,
                                    const posio_error *why)
{
    void *list = p->bad;
    if (!posio_grow(NULL, &list, p->count, &p->room, sizeof *p->bad)) return POSIO_E_NOMEM;
    p->bad = (media_i_bad *)list;
    p->bad[p->count].offset = offset;
    p->bad[p->count].length = length;
    p->bad[p->count++].why = *why;
    return POSIO_OK;
}

/* Halves [*from, *to), of which something cannot be read, until *from is where the first bad sector
   begins, or (`last`) *to where the last one ends. The first sector of all is tried first: mostly
   everything is bad. `out` is where `at` goes. An error that is no damage ends it. */
static posio_result media_i_halve(const media_i_run *run, uint64_t *from, uint64_t *to, int last,
                                  uint64_t at, unsigned char *out, posio_error *err)
{
    const uint64_t sector = MEDIA_I_SECTOR;
    uint64_t middle = last ? (*to - 1) / sector * sector : (*from / sector + 1) * sector;
    while (*to - *from > sector) {
        const uint64_t begin = last ? middle : *from, end = last ? *to : middle;
        posio_error why;
        posio_result r = posio_read(&run->desc->source, begin, out + (begin - at),
                                    (size_t)(end - begin), &why);
        if (r != POSIO_OK && (!last || !media_i_is_damage(r)) && err != NULL) *err = why;
        if (r != POSIO_OK && !media_i_is_damage(r)) return r;
        if ((r == POSIO_OK) == !last) *from = middle;
        else *to = middle;
        middle = (*from + (*to - *from) / 2 + sector - 1) / sector * sector;
        if (middle >= *to) middle -= sector;
    }
    return POSIO_OK;
}

/* Narrows n bytes at `at` that cannot be read down to what lies between the first and the last bad
   sector: a unit may be that of a whole stack of images, and one small cluster of it bad, or the
   largest of all units, and this one short. */
static posio_result media_i_narrow(const media_i_run *run, uint64_t *at, uint64_t *n,
                                   unsigned char *out, posio_result r, posio_error *err)
{
    const posio_source *source = &run->desc->source;
    const uint64_t begin = *at, end = *at + *n;
    uint64_t first = begin, last = end, rest;
    posio_result stop;
    if (!media_i_is_damage(r)) return r;
    stop = media_i_halve(run, &first, &last, 0, begin, out, err);
    rest = first;
    last = end;
    if (stop == POSIO_OK) stop = media_i_halve(run, &rest, &last, 1, begin, out, err);
    if (stop != POSIO_OK) return stop;
    /* What is good before and behind it; a read that failed may have spoilt its buffer. */
    if (posio_read(source, begin, out, (size_t)(first - begin), NULL) != POSIO_OK ||
        posio_read(source, last, out + (last - begin), (size_t)(end - last), NULL) != POSIO_OK)
        return r; /* this device is fickle */
    *at = first;
    *n = last - first;
    return r;
}

/* Reads a part that cannot be read at once, unit by unit. */
static posio_result media_i_rescue(const media_i_run *run, media_i_part *p, uint64_t from,
                                   uint64_t to, unsigned char *out, posio_error *err)
{
    char where[64];
    uint64_t at, next;
    for (at = from; at < to; out += next - at, at = next) {
        uint64_t bad = at, n = posio_min(run->unit - at % run->unit, to - at);
        posio_result r = posio_read(&run->desc->source, at, out, (size_t)n, err);
        next = at + n;
        if (r != POSIO_OK) r = media_i_narrow(run, &bad, &n, out, r, err);
        if (r == POSIO_OK) continue;
        posio_format(where, sizeof where, "at offset %llu of the media", (unsigned long long)bad);
        (void)posio_fail_while(err, where);
        if (!media_i_is_damage(r) || run->desc->on_damage == MEDIA_DAMAGE_ERROR) return r;
        memset(out + (bad - at), 0, (size_t)n);
        if (media_i_add_bad(p, bad, n, err) != POSIO_OK)
            return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    }
    return POSIO_OK;
}

static posio_result media_i_work(void *user, const thread_pool_slot *slot, uint32_t part,
                                 posio_error *err)
{
    const media_i_run *run = (const media_i_run *)user;
    const media_i_slot *s = &run->slots[slot->index];
    uint64_t begin = s->piece.offset, end = begin + s->piece.size;
    uint64_t from = begin / run->part * run->part + part * run->part;
    uint64_t to = posio_min(from + run->part, end);
    unsigned char *out;
    posio_result r;
    if (from < begin) from = begin;
    out = s->buffer + (size_t)(from - begin);
    r = posio_read(&run->desc->source, from, out, (size_t)(to - from), err);
    return media_i_is_damage(r) ? media_i_rescue(run, &s->parts[part], from, to, out, err) : r;
}

static void media_i_advance(media_i_run *run, uint32_t lane, const media_i_slot *s)
{
    thread_pool_lock(&run->lock);
    run->lane_at[lane] = s->piece.offset + s->piece.size;
    thread_pool_unlock(&run->lock);
}

static posio_result media_i_lane(void *user, const thread_pool_slot *slot, uint32_t lane,
                                 posio_error *err)
{
    media_i_run *run = (media_i_run *)user;
    const media_i_slot *s = &run->slots[slot->index];
    const media_lane *l = &run->desc->lanes[lane];
    posio_result r = l->run(l->user, &s->piece, err);
    if (r == POSIO_OK) media_i_advance(run, lane, s);
    return r;
}

/* Our own lane, behind the caller's. */
static posio_result media_i_report(void *user, const thread_pool_slot *slot, uint32_t lane,
                                   posio_error *err)
{
    media_i_run *run = (media_i_run *)user;
    const media_i_slot *s = &run->slots[slot->index];
    uint32_t i;
    uint64_t k;
    (void)err;
    for (i = 0; i < slot->parts; i++) {
        media_i_part *p = &s->parts[i];
        for (k = 0; k < p->count && run->desc->damage != NULL; k++)
            run->desc->damage(run->desc->user, p->bad[k].offset, p->bad[k].length, &p->bad[k].why);
        p->count = 0;
    }
    media_i_advance(run, lane, s);
    return POSIO_OK;
}

static int media_i_progress(void *user, uint64_t done)
{
    media_i_run *run = (media_i_run *)user;
    uint64_t low = run->end;
    uint32_t i;
    (void)done;
    thread_pool_lock(&run->lock);
    for (i = 0; i <= run->desc->lane_count; i++) low = posio_min(low, run->lane_at[i]);
    thread_pool_unlock(&run->lock);
    return run->desc->progress(run->desc->user, low - run->desc->offset);
}

// ---------------------------------------------------------------------------------- running

/* Parts are whole units, slots are whole parts. */
static void media_i_measure(media_i_run *run)
{
    const media_desc *d = run->desc;
    uint64_t unit = d->source.unit, threads = thread_pool_threads(d->pool), n;
    const uint64_t part = MEDIA_I_PART, slot = MEDIA_I_SLOT;
    if (unit > MEDIA_I_MOST_UNIT) unit = 0;
    run->unit = unit != 0 ? (uint32_t)unit : (uint32_t)MEDIA_I_SMALL_UNIT;
    run->part = unit != 0 ? (part + unit - 1) / unit * unit : part;
    run->slot = run->part >= slot ? run->part : slot / run->part * run->part;
    /* One slot for each thread, and some in which the slowest lane may lag behind. */
    n = posio_min(threads + 4, MEDIA_I_RING / run->slot);
    if (run->slot > slot && n < threads) n = posio_min(threads + 1, MEDIA_I_LARGE_RING / run->slot);
    run->slot_count = n < 3 ? 3 : (uint32_t)n;
}

static posio_result media_i_allocate(media_i_run *run)
{
    size_t most_parts = (size_t)(run->slot / run->part), i;
    media_i_part *parts;
    if (run->slot > SIZE_MAX / run->slot_count) return POSIO_E_NOMEM;
    /* One block: the ring's places, then their parts. */
    run->slots =
        (media_i_slot *)calloc(run->slot_count, sizeof *run->slots + most_parts * sizeof *parts);
    run->ring = (unsigned char *)malloc((size_t)run->slot * run->slot_count);
    if (run->slots == NULL || run->ring == NULL) return POSIO_E_NOMEM;
    parts = (media_i_part *)(void *)(run->slots + run->slot_count);
    for (i = 0; i < run->slot_count; i++) {
        run->slots[i].buffer = run->ring + i * (size_t)run->slot;
        run->slots[i].parts = parts + i * most_parts;
    }
    return POSIO_OK;
}

static void media_i_release(media_i_run *run)
{
    size_t i, n = (size_t)(run->slot / run->part) * run->slot_count;
    for (i = 0; run->slots != NULL && run->ring != NULL && i < n; i++)
        free(run->slots[0].parts[i].bad);
    free(run->slots);
    free(run->ring);
}

static posio_result media_i_start(media_i_run *run, posio_error *err)
{
    const media_desc *d = run->desc;
    thread_pool_lane lanes[THREAD_POOL_MAX_LANES];
    thread_pool_job job;
    uint32_t i;
    memset(lanes, 0, sizeof lanes);
    for (i = 0; i < d->lane_count; i++) {
        lanes[i].run = media_i_lane;
        lanes[i].after = d->lanes[i].after;
    }
    lanes[i].run = media_i_report;
    for (i = 0; i <= d->lane_count; i++) run->lane_at[i] = d->offset;
    memset(&job, 0, sizeof job);
    job.user = run;
    job.slots = run->slot_count;
    job.lanes = lanes;
    job.lane_count = d->lane_count + 1;
    job.threads = d->threads;
    job.produce = media_i_produce;
    job.work = media_i_work;
    job.progress = d->progress != NULL ? media_i_progress : NULL;
    return thread_pool_run(d->pool, &job, err);
}

/* Runs to the end of the range. Errors: those of lanes and of the source (see on_damage; such an
   error says where in the media, too); ARG, RANGE, NOMEM, CANCELED. Lanes have then had all pieces
   before the one that failed. */
static MEDIA_UNUSED posio_result media_run(const media_desc *desc, posio_error *err)
{
    media_i_run run;
    posio_result r;
    memset(&run, 0, sizeof run);
    if (desc->lane_count > MEDIA_MOST_LANES)
        return posio_fail(err, POSIO_E_ARG, POSIO_NO_OFFSET, "media_run: too many lanes");
    if (!posio_within(desc->offset, desc->length, desc->source.size))
        return posio_fail(err, POSIO_E_RANGE, desc->offset,
                          "the range reaches beyond the end of the media at %llu",
                          (unsigned long long)desc->source.size);
    run.desc = desc;
    run.at = desc->offset;
    run.end = desc->offset + desc->length;
    media_i_measure(&run);
    if (media_i_allocate(&run) != POSIO_OK || !thread_pool_mutex_init(&run.lock)) {
        media_i_release(&run);
        return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    }
    r = media_i_start(&run, err);
    thread_pool_mutex_destroy(&run.lock);
    media_i_release(&run);
    return r;
}

// ---------------------------------------------------------------------------------- for lanes

/* Zeros to hash or to write where a piece has no data. */
enum { MEDIA_ZEROS = 1 << 16 };
static MEDIA_UNUSED const unsigned char *media_zeros(void)
{
    static const unsigned char zeros[MEDIA_ZEROS] = {0};
    return zeros;
}

#if defined(CHUNKWISE_DIGEST_H)
/* A lane that hashes; user is a digest. */
static MEDIA_UNUSED posio_result media_digest_lane(void *user, const media_piece *piece,
                                                   posio_error *err)
{
    digest *d = (digest *)user;
    uint64_t left;
    (void)err;
    if (piece->data != NULL) {
        digest_update(d, piece->data, (size_t)piece->size);
        return POSIO_OK;
    }
    for (left = piece->size; left != 0; left -= posio_min(left, MEDIA_ZEROS))
        digest_update(d, media_zeros(), (size_t)posio_min(left, MEDIA_ZEROS));
    return POSIO_OK;
}
#endif

#endif
