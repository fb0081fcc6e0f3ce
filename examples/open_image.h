/* open_image.h - opens an image in any format of the collection: the one place where formats meet.
   SPDX-License-Identifier: MIT OR Unlicense

       open_image *image = NULL;
       posio_error err;
       if (open_image_open(&image, "evidence.E01", NULL, &err) != POSIO_OK) return 2;
       posio_source media = open_image_source(image);      // read it with posio_read
       open_image_close(image);

   The format follows from the content, and the name must not contradict it:
     EWF            *.E01 ... (any segment), or any other file that begins with its signature
     raw            *.raw *.dd *.img *.bin, a device, or whatever desc.format says is raw
     split raw      *.001 with *.002 ... beside it
   A raw image could begin with the signature of a format by the will of whoever wrote it, so a file
   that is raw by its name and something else by its content is refused unless desc.format decides.

   Everything is static; for programs with one translation unit. Include the formats' headers with
   their IMPLEMENTATION macros first. */
#ifndef CHUNKWISE_OPEN_IMAGE_H
#define CHUNKWISE_OPEN_IMAGE_H

#include <string.h>

typedef enum open_image_format { OPEN_IMAGE_AUTO, OPEN_IMAGE_RAW, OPEN_IMAGE_EWF } open_image_format;

typedef struct open_image_desc {
    struct chunkwise_pool *pool; /* lent to the format */
    open_image_format format;    /* AUTO: by content and name */
} open_image_desc;

typedef struct open_image {
    posio_source source; /* the logical media */
    open_image_format format;
    ewf_read *ewf;
    posio_file *file;     /* raw */
    posio_folder *folder; /* split raw: its parts one after the other */
    posio_source *parts;
    uint64_t *starts;
    uint32_t part_count;
} open_image;

// ---------------------------------------------------------------------------------- names

/* Does the path end in this extension, in either case? */
static int open_image_has_extension(const char *path, const char *extension)
{
    size_t n = strlen(path), m = strlen(extension), i;
    if (n < m) return 0;
    for (i = 0; i < m; i++) {
        char c = path[n - m + i];
        if ((c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c) != extension[i]) return 0;
    }
    return 1;
}

/* The number of .FAA: from here on the naming scheme takes in what other files are called, too
   (.iso, .log, .raw). */
enum { OPEN_IMAGE_FAA = 100 + 26 * 26 };

enum { OPEN_IMAGE_EWF_HEADER = 13 }; /* bytes that begin each segment */

static int open_image_is_raw_name(const char *path)
{
    static const char *const names[] = {".raw", ".dd", ".img", ".bin", ".001"};
    size_t i;
    for (i = 0; i < sizeof names / sizeof names[0]; i++)
        if (open_image_has_extension(path, names[i])) return 1;
    return 0;
}

static const char *open_image_format_name(const open_image *image)
{
    if (image->format == OPEN_IMAGE_EWF) return ewf_read_info(image->ewf)->layout;
    return image->part_count != 0 ? "split raw" : "raw";
}

// ---------------------------------------------------------------------------------- split raw

static posio_result open_image_read_split(void *self, uint64_t offset, void *buf, size_t n,
                                          posio_error *err)
{
    const open_image *image = (const open_image *)self;
    unsigned char *out = (unsigned char *)buf;
    uint32_t lo = 0, hi = image->part_count;
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
typedef struct open_image_parts {
    const char *stem;
    size_t length;
    uint32_t highest;
} open_image_parts;

static int open_image_count_part(void *user, const char *name)
{
    open_image_parts *p = (open_image_parts *)user;
    uint32_t v = 0;
    const char *s = name + p->length;
    if (strlen(name) < p->length + 3 || memcmp(name, p->stem, p->length) != 0) return 0;
    for (; *s >= '0' && *s <= '9' && v < 100000; s++) v = v * 10 + (uint32_t)(*s - '0');
    if (*s == 0 && v > p->highest) p->highest = v;
    return 0;
}

static posio_result open_image_add_parts(open_image *image, const posio_opener *opener,
                                         const open_image_parts *names, char *name,
                                         posio_error *err)
{
    uint32_t i;
    uint64_t at = 0;
    for (i = 0; i < names->highest; i++) {
        posio_result r;
        posio_format(name + names->length, 8, i + 1 < 10 ? "00%u" : i + 1 < 100 ? "0%u" : "%u",
                     (unsigned)(i + 1));
        r = opener->open(opener->self, name, POSIO_NAME_SIBLING, &image->parts[i], err);
        if (r == POSIO_E_NOT_FOUND)
            return posio_fail(err, POSIO_E_MISSING, POSIO_NO_OFFSET,
                              "part %s is missing, though higher ones are there", name);
        if (r != POSIO_OK) return r;
        image->starts[i] = at;
        if (!posio_add(at, image->parts[i].size, &at))
            return posio_fail(err, POSIO_E_DATA, POSIO_NO_OFFSET, "the parts are too large");
        image->part_count = i + 1;
    }
    memset(&image->source, 0, sizeof image->source);
    image->source.size = at;
    image->source.read_at = open_image_read_split;
    image->source.self = image;
    return POSIO_OK;
}

static posio_result open_image_open_split(open_image *image, const char *path, posio_error *err)
{
    const char *base = path + posio_path_folder(path);
    open_image_parts names;
    posio_opener opener;
    char *name = (char *)malloc(strlen(base) + 16);
    posio_result r = posio_folder_open(&image->folder, path, NULL, err);
    memset(&names, 0, sizeof names);
    names.stem = base;
    names.length = strlen(base) - 3;
    names.highest = 1;
    if (r == POSIO_OK) {
        opener = posio_folder_opener(image->folder);
        (void)opener.list(opener.self, open_image_count_part, &names, NULL);
        image->parts = (posio_source *)calloc(names.highest, sizeof *image->parts);
        image->starts = (uint64_t *)calloc(names.highest, sizeof *image->starts);
        if (name == NULL || image->parts == NULL || image->starts == NULL) {
            r = posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
        } else {
            memcpy(name, base, names.length);
            r = open_image_add_parts(image, &opener, &names, name, err);
        }
    }
    free(name);
    return r;
}

// ---------------------------------------------------------------------------------- opening

/* Closes; NULL is fine. Nothing may be reading. */
static void open_image_close(open_image *image)
{
    if (image == NULL) return;
    ewf_read_close(image->ewf);
    posio_file_close(image->file);
    posio_folder_close(image->folder);
    free(image->parts);
    free(image->starts);
    free(image);
}

/* Decides the format by what the file begins with and what its name promises. */
static posio_result open_image_decide(const char *path, open_image_format *format,
                                      posio_error *err)
{
    posio_file *file = NULL;
    posio_source source;
    uint32_t number = ewf_read_segment_of_name(path, NULL);
    uint64_t size;
    int raw_name = open_image_is_raw_name(path), device;
    posio_result r = posio_file_open(&file, path, NULL, err), probed;
    if (r != POSIO_OK) return r;
    source = posio_file_source(file);
    size = source.size;
    device = posio_file_get_info(file).is_device != 0;
    probed = ewf_read_probe(&source, err);
    posio_file_close(file);
    if (device) {
        *format = OPEN_IMAGE_RAW;
    } else if (probed == POSIO_OK || probed == POSIO_E_UNSUPPORTED) {
        if (raw_name)
            return posio_fail(err, POSIO_E_FORMAT, 0,
                              "raw by its name, but it begins like an EWF file: say --format raw "
                              "or --format ewf");
        *format = OPEN_IMAGE_EWF; /* which says why, if it refuses */
    } else if (raw_name) { /* before segments: .raw and .img are names of that scheme, too */
        *format = OPEN_IMAGE_RAW;
    } else if (number != 0 && number < OPEN_IMAGE_FAA && size < OPEN_IMAGE_EWF_HEADER) {
        *format = OPEN_IMAGE_EWF; /* which says that it is empty, or how short */
    } else if (number != 0 && number < OPEN_IMAGE_FAA) {
        return posio_fail_in(err, path, 0), probed; /* the name promises what is not there */
    } else {
        return posio_fail(err, POSIO_E_FORMAT, 0,
                          "not an image of a known format; a raw image of any name is read with "
                          "--format raw");
    }
    return POSIO_OK;
}

/* Opens path; desc NULL is a complete default. On success close *out with open_image_close. */
static posio_result open_image_open(open_image **out, const char *path, const open_image_desc *desc,
                                    posio_error *err)
{
    open_image_format format = desc != NULL ? desc->format : OPEN_IMAGE_AUTO;
    open_image *image;
    posio_result r = POSIO_OK;
    if (format == OPEN_IMAGE_AUTO) r = open_image_decide(path, &format, err);
    if (r != POSIO_OK) return r;
    image = (open_image *)calloc(1, sizeof *image);
    if (image == NULL) return posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
    image->format = format;
    if (format == OPEN_IMAGE_EWF) {
        ewf_read_desc d;
        memset(&d, 0, sizeof d);
        d.pool = desc != NULL ? desc->pool : NULL;
        r = ewf_read_open(&image->ewf, path, &d, err);
        if (r == POSIO_OK) image->source = ewf_read_source(image->ewf);
    } else if (open_image_has_extension(path, ".001")) {
        r = open_image_open_split(image, path, err);
    } else {
        r = posio_file_open(&image->file, path, NULL, err);
        if (r == POSIO_OK) image->source = posio_file_source(image->file);
    }
    if (r == POSIO_OK) *out = image;
    else open_image_close(image);
    return r;
}

/* The logical media; borrows the image. */
static posio_source open_image_source(const open_image *image) { return image->source; }

#endif
