/* image_files.h - which files belong to an image: so that outputs never replace inputs.
   SPDX-License-Identifier: MIT OR Unlicense

   Everything is static; for programs with one translation unit. Include open_image.h first. */
#ifndef CHUNKWISE_IMAGE_FILES_H
#define CHUNKWISE_IMAGE_FILES_H

#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#define IMAGE_FILES_UNUSED __attribute__((unused))
#else
#define IMAGE_FILES_UNUSED
#endif

// ---------------------------------------------------------------------------------- names

/* Does the file begin like an EWF segment? */
static int image_files_is_segment(const char *path)
{
    posio_file *file = NULL;
    posio_source source;
    int yes;
    if (posio_file_open(&file, path, NULL, NULL) != POSIO_OK) return 0;
    source = posio_file_source(file);
    yes = ewf_read_probe(&source, NULL) == POSIO_OK;
    posio_file_close(file);
    return yes;
}

static int image_files_is_digit(char c) { return c >= '0' && c <= '9'; }
static char image_files_lower(char c) { return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); }

/* .E01 .. .EZZ, or .S01 .. .SZZ, belong together by name; .FAA .. .ZZZ only if the content agrees,
   for image.raw and image.log beside image.E01 are named like that, too. */
static int image_files_is_ewf_set(const char *a, const char *b)
{
    size_t sa = 0, sb = 0;
    uint32_t na = ewf_read_segment_of_name(a, &sa), nb = ewf_read_segment_of_name(b, &sb);
    char fa, fb;
    if (na == 0 || nb == 0 || sa != sb || memcmp(a, b, sa) != 0) return 0;
    fa = image_files_lower(a[sa + 1]);
    fb = image_files_lower(b[sb + 1]);
    if (na < 100 && nb < 100) return fa == fb;
    if (fa == 'e' && fb == 'e') return 1;
    return image_files_is_segment(a) && image_files_is_segment(b);
}

/* Do two paths name segments of one image? `image.E*` names all of them. */
static IMAGE_FILES_UNUSED int image_files_is_set(const char *a, const char *b,
                                                 open_image_format format)
{
    size_t n = strlen(a);
    if (strcmp(a, b) == 0) return 1;
    if (format != OPEN_IMAGE_RAW && image_files_is_ewf_set(a, b)) return 1;
    return open_image_has_extension(a, ".001") && strlen(b) == n && memcmp(a, b, n - 3) == 0 &&
           image_files_is_digit(b[n - 3]) && image_files_is_digit(b[n - 2]) &&
           image_files_is_digit(b[n - 1]);
}

// ---------------------------------------------------------------------------------- files

/* a + b in a block of its own; NULL without memory. */
static char *image_files_join(const char *a, size_t n, const char *b)
{
    size_t m = strlen(b) + 1;
    char *s = (char *)malloc(n + m);
    if (s == NULL) return NULL;
    memcpy(s, a, n);
    memcpy(s + n, b, m);
    return s;
}

/* Two names of one file that is there. */
static IMAGE_FILES_UNUSED int image_files_is_same(const char *a, const char *b)
{
    posio_file *fa = NULL, *fb = NULL;
    int same = 0;
    if (posio_file_open(&fa, a, NULL, NULL) == POSIO_OK &&
        posio_file_open(&fb, b, NULL, NULL) == POSIO_OK) {
        posio_file_info ia = posio_file_get_info(fa), ib = posio_file_get_info(fb);
        same = ia.device == ib.device && ia.inode == ib.inode;
    }
    posio_file_close(fa);
    posio_file_close(fb);
    return same;
}

typedef struct image_files_search {
    const char *image, *output;
    open_image_format format;
    int found;
} image_files_search;

/* One name in the image's folder: is it a segment of the image, and the output under that name? */
static int image_files_visit(void *user, const char *name)
{
    image_files_search *s = (image_files_search *)user;
    char *path = image_files_join(s->image, posio_path_folder(s->image), name);
    s->found = path == NULL || (image_files_is_set(s->image, path, s->format) &&
                                image_files_is_same(path, s->output));
    free(path);
    return s->found;
}

static int image_files_holds(image_files_search *s)
{
    posio_folder *folder = NULL;
    posio_opener opener;
    if (image_files_is_set(s->image, s->output, s->format)) return 1;
    if (image_files_is_same(s->image, s->output)) return 1;
    if (posio_folder_open(&folder, s->image, NULL, NULL) != POSIO_OK) return 0;
    opener = posio_folder_opener(folder);
    if (opener.list != NULL) (void)opener.list(opener.self, image_files_visit, s, NULL);
    posio_folder_close(folder);
    return s->found;
}

/* Would writing to `output`, or to output.part, change a file of the image? Links are followed. */
static IMAGE_FILES_UNUSED int image_files_is_input(const char *image, const char *output,
                                                   open_image_format format)
{
    image_files_search s;
    char *part = image_files_join(output, strlen(output), ".part");
    int found = 1;
    memset(&s, 0, sizeof s);
    s.image = image;
    s.output = output;
    s.format = format;
    if (part != NULL && !image_files_holds(&s)) {
        s.output = part;
        found = image_files_holds(&s);
    }
    free(part);
    return found;
}

/* Does it not begin in the folder of the image that stores it? */
static int image_files_is_rooted(const char *name)
{
#if defined(_WIN32)
    return name[0] == '/' || name[0] == '\\' || strchr(name, ':') != NULL;
#else
    return name[0] == '/';
#endif
}

/* Is the output a file of one of the extents of a VMDK? Those that were opened are looked at, for
   the others are but names that somebody has written. */
static int image_files_is_extent(const open_image *image, const char *output)
{
    const char *path = open_image_path(image);
    vmdk_read_extent x;
    uint32_t i;
    int found = 0;
    for (i = 0; !found && vmdk_read_get_extent(image->vmdk, i, &x) == POSIO_OK; i++) {
        char *name;
        if (path == NULL || x.name == NULL || x.file_size == 0) continue;
        name = image_files_join(path, image_files_is_rooted(x.name) ? 0 : posio_path_folder(path),
                                x.name);
        found = name == NULL || image_files_is_input(name, output, OPEN_IMAGE_RAW);
        free(name);
    }
    return found;
}

/* The same for all that an open image is read from: containers, parents, data files and extents,
   too. */
static IMAGE_FILES_UNUSED int image_files_is_read(const open_image *image, const char *output)
{
    const open_image *at;
    uint32_t i;
    for (i = 0; (at = open_image_in_stack(image, i)) != NULL; i++) {
        const char *path = open_image_path(at);
        if (path != NULL && image_files_is_input(path, output, at->format)) return 1;
        if (at->data != NULL &&
            image_files_is_input(posio_layer_path(at->data), output, OPEN_IMAGE_RAW))
            return 1;
        if (at->vmdk != NULL && image_files_is_extent(at, output)) return 1;
    }
    return 0;
}

#endif
