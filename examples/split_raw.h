/* split_raw.h - the parts NAME.001, NAME.002 ... of a raw image, as one source.
   SPDX-License-Identifier: MIT OR Unlicense

   Everything is static; for programs with one translation unit. Include posio.h with
   POSIO_IMPLEMENTATION first. */
#ifndef CHUNKWISE_SPLIT_RAW_H
#define CHUNKWISE_SPLIT_RAW_H

#include <stdlib.h>
#include <string.h>

typedef struct split_raw {
    posio_source source; /* borrows it */
    posio_folder *folder;
    posio_source *parts;
    uint64_t *starts; /* of the parts, in the source */
    uint32_t count;
} split_raw;

static posio_result split_raw_read(void *self, uint64_t offset, void *buf, size_t n,
                                   posio_error *err)
{
    const split_raw *image = (const split_raw *)self;
    unsigned char *out = (unsigned char *)buf;
    uint32_t lo = 0, hi = image->count;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (image->starts[mid] <= offset) lo = mid;
        else hi = mid;
    }
    for (; n != 0; lo++) {
        uint64_t within = offset - image->starts[lo];
        size_t take = (size_t)posio_min(n, image->parts[lo].size - within);
        posio_result r = posio_read(&image->parts[lo], within, out, take, err);
        if (r != POSIO_OK) return posio_fail_in(err, NULL, lo + 1), r;
        offset += take;
        out += take;
        n -= take;
    }
    return POSIO_OK;
}

/* The highest number among the names STEM.NNN: to see whether a part is missing. */
typedef struct split_raw_names {
    const char *stem;
    size_t length;
    uint32_t highest;
} split_raw_names;

static int split_raw_count(void *user, const char *name)
{
    split_raw_names *p = (split_raw_names *)user;
    uint32_t v = 0;
    const char *s = name + p->length;
    if (strlen(name) < p->length + 3 || memcmp(name, p->stem, p->length) != 0) return 0;
    for (; *s >= '0' && *s <= '9' && v < 100000; s++) v = v * 10 + (uint32_t)(*s - '0');
    if (*s == 0 && v > p->highest) p->highest = v;
    return 0;
}

static posio_result split_raw_add_parts(split_raw *image, const posio_opener *opener,
                                        const split_raw_names *names, char *name, posio_error *err)
{
    uint32_t i;
    uint64_t at = 0;
    for (i = 0; i < names->highest; i++) {
        posio_result r;
        posio_format(name + names->length, 8,
                     i + 1 < 10    ? "00%u"
                     : i + 1 < 100 ? "0%u"
                                   : "%u",
                     (unsigned)(i + 1));
        r = opener->open(opener->self, name, POSIO_NAME_SIBLING, &image->parts[i], err);
        if (r == POSIO_E_NOT_FOUND)
            return posio_fail(err, POSIO_E_MISSING, POSIO_NO_OFFSET,
                              "part %s is missing, though higher ones are there", name);
        if (r != POSIO_OK) return r;
        image->starts[i] = at;
        if (!posio_add(at, image->parts[i].size, &at))
            return posio_fail(err, POSIO_E_DATA, POSIO_NO_OFFSET, "the parts are too large");
        image->count = i + 1;
    }
    image->source.size = at;
    image->source.read_at = split_raw_read;
    image->source.self = image;
    return POSIO_OK;
}

/* Closes; NULL is fine. */
static void split_raw_close(split_raw *image)
{
    if (image == NULL) return;
    posio_folder_close(image->folder);
    free(image->parts);
    free(image->starts);
    free(image);
}

/* Opens all parts; path is that of the first, NAME.001. */
static posio_result split_raw_open(split_raw **out, const char *path, posio_error *err)
{
    const char *base = path + posio_path_folder(path);
    split_raw *image = (split_raw *)calloc(1, sizeof *image);
    char *name = (char *)malloc(strlen(base) + 16);
    split_raw_names names;
    posio_opener opener;
    posio_result r = POSIO_OK;
    memset(&names, 0, sizeof names);
    memset(&opener, 0, sizeof opener);
    names.stem = base;
    names.length = strlen(base) - 3;
    names.highest = 1;
    if (image != NULL) r = posio_folder_open(&image->folder, path, NULL, err);
    if (image != NULL && r == POSIO_OK) {
        opener = posio_folder_opener(image->folder);
        (void)opener.list(opener.self, split_raw_count, &names, NULL);
        image->parts = (posio_source *)calloc(names.highest, sizeof *image->parts);
        image->starts = (uint64_t *)calloc(names.highest, sizeof *image->starts);
    }
    if (r == POSIO_OK &&
        (image == NULL || name == NULL || image->parts == NULL || image->starts == NULL))
        r = posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    if (r == POSIO_OK) {
        memcpy(name, base, names.length);
        r = split_raw_add_parts(image, &opener, &names, name, err);
    }
    free(name);
    if (r == POSIO_OK) *out = image;
    else split_raw_close(image);
    return r;
}

#endif
