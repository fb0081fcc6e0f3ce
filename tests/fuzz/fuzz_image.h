/* fuzz_image.h - what the targets of images in sparse files share: the input, its files as sources,
   two handles that must read the same, extents that tell the truth, and a mutator's draft. For one
   thread but for the sources.

   Input, little-endian: choices, files (1 to 8), segments in COUNT_BYTES; for each file its size in
   5 bytes; for each segment its offset in 5 bytes, file in 1, length in 2; the bytes of the
   segments. What is in no segment is zeros, so a file may be large and its input small. Of the
   choices HOLES says that files know their holes; the others are the target's.

   Before it is included: COUNT_BYTES, MAX_SEGMENTS, MAX_PATCHES (segments that the target adds),
   and FILE_MAX, to which a file is cut, however much its input claims. */
#ifndef CHUNKWISE_TESTS_FUZZ_IMAGE_H
#define CHUNKWISE_TESTS_FUZZ_IMAGE_H

#include "fuzz.h"

enum {
    HOLES = 32, /* of the choices */
    MAX_FILES = 8,
    HEAD = 2 + COUNT_BYTES,
    FILE_HEAD = 5,
    SEGMENT_HEAD = 8,
    EXTENTS = 300,    /* that are walked, */
    PROBES = 1 << 20, /* and bytes of them that are read */
    PATTERN_SIZE = 100000
};

/* ------------------------------------------------------------------ the input */

typedef struct segment {
    const uint8_t *data;
    uint64_t at;
    uint32_t file;
    size_t size;
} segment;

typedef struct input {
    unsigned choices;
    uint32_t files, segments, patches;
    uint64_t size[MAX_FILES];
    segment segment[MAX_SEGMENTS + MAX_PATCHES];
} input;

static inline uint64_t get_le(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    while (n-- != 0) v = v << 8 | p[n];
    return v;
}

static inline int split(input *in, const uint8_t *data, size_t size)
{
    const uint8_t *p = data + HEAD, *end = data + size;
    uint32_t i;
    if (size < HEAD) return 0;
    in->choices = data[0];
    in->files = 1 + data[1] % MAX_FILES;
    in->segments = (uint32_t)get_le(data + 2, COUNT_BYTES);
    in->patches = 0;
    if (in->segments > MAX_SEGMENTS) return 0;
    if (size - HEAD < in->files * FILE_HEAD + in->segments * SEGMENT_HEAD) return 0;
    for (i = 0; i < in->files; i++, p += FILE_HEAD)
        in->size[i] = posio_min(get_le(p, FILE_HEAD), FILE_MAX);
    for (i = 0; i < in->segments; i++, p += SEGMENT_HEAD) {
        in->segment[i].at = get_le(p, 5);
        in->segment[i].file = p[5] % in->files;
        in->segment[i].size = (size_t)get_le(p + 6, 2);
    }
    for (i = 0; i < in->segments; i++) {
        segment *s = &in->segment[i];
        s->size = (size_t)posio_min(s->size, (uint64_t)(end - p));
        s->data = p;
        p += s->size;
    }
    return 1;
}

/* ------------------------------------------------------------------ its files */

typedef struct sparse {
    const input *in;
    uint32_t number;
} sparse;

/* Zeros, and the segments in their order. */
static inline void get_bytes(const input *in, uint32_t file, uint64_t at, void *buf, size_t n)
{
    uint32_t i;
    memset(buf, 0, n);
    for (i = 0; i < in->segments + in->patches; i++) {
        const segment *s = &in->segment[i];
        uint64_t from = at > s->at ? at : s->at, to = posio_min(at + n, s->at + s->size);
        if (s->file == file && from < to)
            memcpy((uint8_t *)buf + (from - at), s->data + (from - s->at), (size_t)(to - from));
    }
}

/* 0 where the file has no such bytes. */
static inline uint64_t get_number(const input *in, uint32_t file, uint64_t at, unsigned n, int big)
{
    uint8_t raw[8];
    uint64_t v = 0;
    unsigned i;
    if (!posio_within(at, n, in->size[file])) return 0;
    get_bytes(in, file, at, raw, n);
    for (i = 0; i < n; i++) v = v << 8 | raw[big ? i : n - 1 - i];
    return v;
}

static inline posio_result sparse_read(void *self, uint64_t at, void *buf, size_t n,
                                       posio_error *err)
{
    const sparse *f = (const sparse *)self;
    (void)err;
    REQUIRE(n != 0 && posio_within(at, n, f->in->size[f->number]));
    get_bytes(f->in, f->number, at, buf, n);
    return POSIO_OK;
}

/* Holes where there is no segment. */
static inline posio_result sparse_extent(void *self, uint64_t at, posio_extent *out,
                                         posio_error *err)
{
    const sparse *f = (const sparse *)self;
    const uint64_t size = f->in->size[f->number];
    uint64_t end = size;
    uint32_t i;
    (void)err;
    REQUIRE(at < size);
    memset(out, 0, sizeof *out);
    out->kind = POSIO_EXTENT_HOLE;
    for (i = 0; i < f->in->segments + f->in->patches && out->kind == POSIO_EXTENT_HOLE; i++) {
        const segment *s = &f->in->segment[i];
        if (s->file != f->number || s->size == 0 || s->at + s->size <= at) continue;
        if (s->at > at) {
            end = posio_min(end, s->at);
        } else {
            out->kind = POSIO_EXTENT_DATA;
            end = posio_min(size, s->at + s->size);
        }
    }
    out->length = end - at;
    return POSIO_OK;
}

static inline posio_source sparse_source(sparse *f)
{
    posio_source s;
    memset(&s, 0, sizeof s);
    s.size = f->in->size[f->number];
    s.read_at = sparse_read;
    if (f->in->choices & HOLES) s.extent_at = sparse_extent;
    s.self = f;
    return s;
}

/* A raw file of a pattern, behind the last one of the input. */
typedef struct pattern {
    uint8_t bytes[PATTERN_SIZE];
    posio_memory memory;
} pattern;

static inline posio_source pattern_source(pattern *p)
{
    uint32_t i;
    for (i = 0; i < PATTERN_SIZE; i++) p->bytes[i] = (uint8_t)(1 + i % 255);
    p->memory.data = p->bytes;
    p->memory.size = PATTERN_SIZE;
    return posio_memory_source(&p->memory);
}

/* ------------------------------------------------------------------ the checks */

/* A range at once by one handle, in pieces by the other: the same bytes, or the same error. */
static inline void check_range(const posio_source *a, const posio_source *b, uint64_t at, size_t n,
                               size_t piece)
{
    uint8_t *x = (uint8_t *)malloc(n != 0 ? n : 1), *y = (uint8_t *)malloc(n != 0 ? n : 1);
    posio_error err, other;
    posio_result r, s = POSIO_OK;
    size_t done;
    REQUIRE(x != NULL && y != NULL);
    memset(x, 0x11, n != 0 ? n : 1);
    memset(y, 0x22, n != 0 ? n : 1);
    r = posio_read(a, at, x, n, &err);
    for (done = 0; done < n && s == POSIO_OK; done += piece)
        s = posio_read(b, at + done, y + done, (size_t)posio_min(piece, n - done), &other);
    if (r != s || (r != POSIO_OK && !same_error(&err, &other)))
        fprintf(stderr, "%s\n%s\n", r != POSIO_OK ? err.message : "", s != 0 ? other.message : "");
    REQUIRE(r == s);
    if (r == POSIO_OK) {
        REQUIRE(memcmp(x, y, n) == 0);
    } else {
        require_error(r, &err);
        REQUIRE(same_error(&err, &other));
    }
    free(x);
    free(y);
}

/* So many ranges here and there. */
static inline void check_places(const posio_source *a, const posio_source *b, uint64_t seed,
                                int times)
{
    uint64_t x = a->size * 0x9e3779b97f4a7c15u + seed;
    int i;
    for (i = 0; i < times && a->size != 0; i++) {
        size_t n;
        x = x * 6364136223846793005u + 1442695040888963407u;
        n = (size_t)posio_min((x >> 5) % 9000, a->size);
        check_range(a, b, (x >> 16) % (a->size - n + 1), n, n / 3 + 1);
    }
}

/* What an extent says is so: for zeros, and at its last byte. Returns the bytes read. */
static inline size_t check_extent(const posio_source *s, uint64_t at, const posio_extent *e)
{
    static uint8_t buf[65536];
    size_t n = (size_t)posio_min(sizeof buf, e->length), i;
    posio_extent last;
    posio_error err;
    REQUIRE(e->length != 0 && e->length <= s->size - at);
    REQUIRE(posio_extent_of(s, at + e->length - 1, &last, &err) == POSIO_OK);
    REQUIRE(last.kind == e->kind);
    if (e->kind != POSIO_EXTENT_ZERO && e->kind != POSIO_EXTENT_HOLE) return 0;
    REQUIRE(posio_read(s, at, buf, n, &err) == POSIO_OK);
    for (i = 0; i < n; i++) REQUIRE(buf[i] == 0);
    REQUIRE(posio_read(s, at + e->length - n, buf, n, &err) == POSIO_OK);
    for (i = 0; i < n; i++) REQUIRE(buf[i] == 0);
    return 2 * n;
}

/* Extents from `at` on, of kinds up to `kinds`; where there is none, nothing can be read: then on
   with the next `unit`. */
static inline void walk_extents(const posio_source *s, uint64_t at, uint64_t unit, uint32_t kinds)
{
    posio_error err;
    size_t done = 0;
    int i;
    for (i = 0; i < EXTENTS && at < s->size && done < PROBES; i++) {
        posio_extent e;
        char byte;
        if (posio_extent_of(s, at, &e, &err) == POSIO_OK) {
            REQUIRE(e.kind <= kinds);
            done += check_extent(s, at, &e);
            at += e.length;
        } else {
            require_error(err.code, &err);
            REQUIRE(posio_read(s, at, &byte, 1, &err) < 0);
            at += unit - at % unit;
        }
    }
}

/* ------------------------------------------------------------------ the mutator */

/* An input that is changed in place. */
typedef struct draft {
    uint8_t *data;
    size_t size, room;
    uint32_t file; /* whose fields are changed */
    uint64_t random;
    input in;
} draft;

static inline uint32_t next_random(draft *d, uint32_t below)
{
    d->random = d->random * 6364136223846793005u + 1442695040888963407u;
    return below == 0 ? 0 : (uint32_t)(d->random >> 33) % below;
}

/* How many changes are to be made; 0: it is left to libFuzzer. */
static inline uint32_t draft_begin(draft *d, uint8_t *data, size_t size, size_t room, unsigned seed)
{
    uint32_t n;
    if (seed % 4 == 0 || !split(&d->in, data, size)) return 0;
    d->data = data;
    d->size = size;
    d->room = room;
    d->file = 0;
    d->random = seed * 0x9e3779b97f4a7c15u + 1;
    for (n = 1; n < 6 && next_random(d, 2); n++) {}
    return n;
}

static inline void put_le(uint8_t *p, uint64_t v, unsigned n)
{
    unsigned i;
    for (i = 0; i < n; i++) p[i] = (uint8_t)(v >> 8 * i);
}

/* Makes room for n bytes at `at` of the file: one more segment, the last, which wins. */
static inline uint8_t *add_segment(draft *d, uint64_t at, size_t n)
{
    uint32_t count = d->in.segments;
    size_t head = HEAD + (size_t)d->in.files * FILE_HEAD + count * (size_t)SEGMENT_HEAD;
    uint8_t *p = d->data + head;
    if (count == MAX_SEGMENTS || d->room - d->size < n + SEGMENT_HEAD || at > FILE_MAX) return NULL;
    memmove(p + SEGMENT_HEAD, p, d->size - head);
    put_le(p, at, 5);
    p[5] = (uint8_t)d->file;
    put_le(p + 6, n, 2);
    put_le(d->data + 2, count + 1, COUNT_BYTES);
    memset(d->data + d->size + SEGMENT_HEAD, 0, n);
    d->size += SEGMENT_HEAD + n;
    (void)split(&d->in, d->data, d->size);
    return d->data + d->size - n;
}

/* n bytes of the file, little-endian or big-endian. */
static inline uint64_t draft_get(const draft *d, uint64_t at, unsigned n, int big)
{
    return get_number(&d->in, d->file, at, n, big);
}

static inline void draft_put(draft *d, uint64_t at, uint64_t v, unsigned n, int big)
{
    uint32_t i = d->in.segments;
    uint8_t *p = NULL;
    unsigned k;
    while (i-- != 0 && p == NULL) {
        const segment *s = &d->in.segment[i];
        if (s->file == d->file && at >= s->at && posio_within(at - s->at, n, s->size))
            p = d->data + (s->data - d->data) + (at - s->at);
    }
    if (p == NULL) p = add_segment(d, at, n);
    if (p == NULL) return;
    for (k = 0; k < n; k++) p[k] = (uint8_t)(v >> 8 * (big ? n - 1 - k : k));
}

#endif
