/* open_image.h - opens an image in any format of the collection: the one place where formats meet.
   SPDX-License-Identifier: MIT OR Unlicense

       open_image *image = NULL;
       posio_error err;
       if (open_image_open(&image, "evidence.E01", NULL, &err) != POSIO_OK) return 2;
       posio_source media = open_image_source(image);      // read it with posio_read
       open_image_close(image);

   The format follows from the content, and the name must not contradict it:
     EWF            *.E01 ... (any segment), or another name, and its signature
     QCOW2          *.qcow2, or another name, and its signature
     VMDK           *.vmdk, or another name, and the signature of a sparse extent, or the text of a
                    descriptor, whose extents are opened beside it
     VHDX           *.vhdx *.avhdx, or another name, and its signature
     VHD            *.vhd *.avhd; or another name, if it begins with the signature. A fixed VHD has
                    it at the end only, as a raw image might: there the name decides.
     hexz           *.hexz, or another name, and the superblock of a hexz_pack archive
     zstd           *.zst *.zstd that is one; what lies in it follows from the name under that:
                    evidence.raw.zst, disk.qcow2.zst, evidence.E01.zst (one segment)
     raw            *.raw *.dd *.img *.bin *-flat.vmdk, a device, or whatever desc says is raw
     split raw      *.001 with *.002 ... beside it
   A raw image, and a fixed VHD or a flat extent, could begin with the signature of a format by the
   will of whoever wrote it; so a file that is one thing by its name and another by its content is
   refused unless desc decides, and so is one that begins as a VHDX and ends as a fixed VHD if its
   name is neither's. For the same reason what an image holds is never looked at: that the
   media of an E01 is itself a QCOW2 must be said (desc.formats = EWF, QCOW2), and so must be what
   lies in a zstd file whose name does not tell (ZSTD_FILE, RAW).

   zstd files are read at random, frame by frame: those of pzstd, of the seekable format, or put
   together from several; in one frame of at most 128 MiB; larger ones are refused. They need
   zstd_par.h, and OPEN_IMAGE_ZSTD defined: otherwise they are recognised, and refused. So are
   archives without hexz_pack.h and OPEN_IMAGE_HEXZ. They are zstd files, too, but of what they hold
   only once: under the name of a zstd file they are refused.

   Images form a stack. An image may lie in another one, its container; and it may stand on others,
   its parents. A QCOW2 names the format of its parent (backing file): raw, ewf, qcow2, vmdk, vhdx,
   or vpc, which is VHD. A VMDK stands on a VMDK. A VHDX or VHD stands on one of the two: which is
   told by the parent's content, for neither can be taken for anything else, and its ID must be the
   one that is recorded; if it could be both, it is what stands on it.

   Everything is static; for programs with one translation unit. Include the formats' headers with
   their IMPLEMENTATION macros first. */
#ifndef CHUNKWISE_OPEN_IMAGE_H
#define CHUNKWISE_OPEN_IMAGE_H

#include <string.h>
#include "split_raw.h"

#if defined(__GNUC__)
#define OPEN_IMAGE_UNUSED __attribute__((unused))
#else
#define OPEN_IMAGE_UNUSED
#endif

typedef enum open_image_format {
    OPEN_IMAGE_AUTO,
    OPEN_IMAGE_RAW,
    OPEN_IMAGE_EWF,
    OPEN_IMAGE_QCOW2,
    OPEN_IMAGE_VMDK,
    OPEN_IMAGE_VHDX,
    OPEN_IMAGE_VHD,
    OPEN_IMAGE_HEXZ_FILE,
    OPEN_IMAGE_ZSTD_FILE, /* of one frame or many; a container */
    OPEN_IMAGE_FORMATS
} open_image_format;

enum { OPEN_IMAGE_NESTED = 4 };

enum { OPEN_IMAGE_LARGE_FRAME = 32 << 20 }; /* of zstd: worth a warning */

typedef struct open_image_desc {
    struct chunkwise_pool *pool; /* lent to the formats */
    /* Lent to zstd files, which may have to be decoded to learn their size; NULL = pool. */
    struct chunkwise_pool *pool_to_measure;
    /* Of the file, then of the image in its media, and so on; the first AUTO ends the list, and as
       the very first one it means: by content and name; behind a ZSTD that is the only one: by the
       file's name. */
    open_image_format formats[OPEN_IMAGE_NESTED];
    const char *snapshot; /* QCOW2: its ID or name; NULL = the active state */
    int alone;            /* parents are not opened: what the image does not hold is zeros */
    int raw_backing;      /* a parent whose format is not named is raw */
    int any_parent;       /* VHDX, VHD: a parent may have another ID than the one recorded */
    int stale_journal;    /* VMDK: a seSparse extent is read without its journal */
    int no_log;           /* VHDX: the file as it is, its log not replayed */
    int current_size;     /* VHD: the footer's current size, whoever created it */
    int allow_outside;    /* names in an image may lead out of its folder, */
    int allow_devices;    /* and be devices */
    uint32_t max_open;    /* of segments and extents: descriptors kept open; 0 = 64 */
    /* Archives that are verified when they have been read (HEXZ_PACK_REMEMBER): as in
       hexz_pack_desc; NULL: they are not. */
    int (*verify_progress)(void *user, uint64_t done, uint64_t total);
    void *user;
} open_image_desc;

typedef struct open_image {
    posio_source source; /* the logical media */
    open_image_format format;
    const char *role; /* "image", "container", "parent", "backing file" */
    open_image_desc desc;
    char *path; /* of its file; NULL: it lies in its container, or was named by an image */
    struct open_image *container, *parent;
    uint32_t depth; /* images above it */
    int is_either;  /* a VHDX or a VHD: `format` is only what it is if it could be both */
    ewf_read *ewf;  /* the one of these that it is; all NULL: raw */
    qcow2_read *qcow2;
    vmdk_read *vmdk;
    vhdx_read *vhdx; /* VHD, too */
    split_raw *split;
#if defined(OPEN_IMAGE_HEXZ)
    hexz_pack *hexz;
#endif
#if defined(OPEN_IMAGE_ZSTD)
    zstd_par *zstd;
#endif
    posio_layer *layer; /* its file; NULL: the format has opened it, or it lies in its container */
    posio_layer *data;  /* QCOW2: the external data file */
    posio_resolver resolver;
    posio_folder *folder; /* VMDK: where its extents are; EWF as a parent: its segments */
    posio_opener opener;
} open_image;

// ---------------------------------------------------------------------------------- names

/* Do the first n characters of the path end in this extension, in either case? */
static int open_image_ends_in(const char *path, size_t n, const char *extension)
{
    size_t m = strlen(extension), i;
    if (n < m) return 0;
    for (i = 0; i < m; i++) {
        char c = path[n - m + i];
        if ((c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c) != extension[i]) return 0;
    }
    return 1;
}
static int open_image_has_extension(const char *path, const char *extension)
{
    return open_image_ends_in(path, strlen(path), extension);
}

/* The number of .FAA: from here on the naming scheme takes in what other files are called, too
   (.iso, .log, .raw, .zst). */
enum { OPEN_IMAGE_FAA = 100 + 26 * 26 };

enum { OPEN_IMAGE_EWF_HEADER = 13 }; /* bytes that begin each segment */

static int open_image_begins(const posio_source *source, const char *magic)
{
    char first[8];
    return source->size >= sizeof first &&
           posio_read(source, 0, first, sizeof first, NULL) == POSIO_OK &&
           memcmp(first, magic, sizeof first) == 0;
}

/* vhdx_read_probe tells both formats, and VHD by its end, too: that is left to the name. */
static posio_result open_image_probe_either(const posio_source *source, const char *magic,
                                            posio_error *err)
{
    posio_result r = vhdx_read_probe(source, err);
    if (r != POSIO_OK || open_image_begins(source, magic)) return r;
    return posio_fail(err, POSIO_E_FORMAT, 0, "it does not begin with \"%s\"", magic);
}
static posio_result open_image_probe_vhdx(const posio_source *source, posio_error *err)
{
    return open_image_probe_either(source, "vhdxfile", err);
}
static posio_result open_image_probe_vhd(const posio_source *source, posio_error *err)
{
    return open_image_probe_either(source, "conectix", err);
}

/* Archives of this collection, and those of the hexz tool (*.hxz), which are refused by name. */
static posio_result open_image_probe_hexz(const posio_source *source, posio_error *err)
{
#if defined(OPEN_IMAGE_HEXZ)
    return hexz_pack_probe(source, err);
#else
    unsigned char p[20];
    if (source->size >= sizeof p && posio_read(source, 0, p, sizeof p, NULL) == POSIO_OK &&
        posio_le32(p) == 0x184d2a5a && memcmp(p + 8, "HXPSARCHIVE", 12) == 0)
        return POSIO_OK;
    return posio_fail(err, POSIO_E_FORMAT, 0, "it does not begin with a superblock");
#endif
}

/* What is to be known of a format, but for how it is opened. */
typedef struct open_image_kind {
    const char *name, *alias;  /* what --format and other images call it */
    const char *title;         /* in sentences */
    const char *extensions[8]; /* EWF: by the naming scheme */
    int is_parent;             /* an image may stand on one */
    posio_result (*probe)(const posio_source *source, posio_error *err);
} open_image_kind;

static const open_image_kind *open_image_kind_of(open_image_format format)
{
    static const open_image_kind kinds[OPEN_IMAGE_FORMATS] = {
        {"auto", "", "", {NULL}, 0, NULL},
        {"raw", "", "a raw image", {".raw", ".dd", ".img", ".bin", ".001", "-flat.vmdk"}, 1, NULL},
        {"ewf", "", "an EWF file", {NULL}, 1, ewf_read_probe},
        {"qcow2", "", "a QCOW2 file", {".qcow2"}, 1, qcow2_read_probe},
        {"vmdk", "", "a VMDK file", {".vmdk"}, 1, vmdk_read_probe},
        {"vhdx", "", "a VHDX file", {".vhdx", ".avhdx"}, 1, open_image_probe_vhdx},
        {"vhd", "vpc", "a VHD file", {".vhd", ".avhd"}, 1, open_image_probe_vhd},
        {"hexz", "", "a hexz_pack archive", {".hexz"}, 0, open_image_probe_hexz},
        {"zstd", "", "a zstd file", {".zst", ".zstd"}, 0, NULL}};
    return &kinds[format];
}

/* What the first n characters of a path promise; AUTO: nothing. */
static open_image_format open_image_promised(const char *path, size_t n)
{
    uint32_t format, i, number;
    char extension[8] = "x"; /* of an EWF segment, behind a name */
    for (format = OPEN_IMAGE_RAW; format < OPEN_IMAGE_FORMATS; format++) {
        const char *const *e = open_image_kind_of((open_image_format)format)->extensions;
        for (i = 0; e[i] != NULL; i++)
            if (open_image_ends_in(path, n, e[i])) return (open_image_format)format;
    }
    if (n < 5) return OPEN_IMAGE_AUTO;
    memcpy(extension + 1, path + n - 4, 4);
    number = ewf_read_segment_of_name(extension, NULL);
    return number != 0 && number < OPEN_IMAGE_FAA ? OPEN_IMAGE_EWF : OPEN_IMAGE_AUTO;
}

/* The name that is asked for, and that an image may give to its parent. */
static open_image_format open_image_format_of(const char *name, size_t n)
{
    uint32_t i;
    for (i = OPEN_IMAGE_RAW; i < OPEN_IMAGE_FORMATS; i++) {
        const open_image_kind *kind = open_image_kind_of((open_image_format)i);
        if (n != 0 && ((strlen(kind->name) == n && memcmp(kind->name, name, n) == 0) ||
                       (strlen(kind->alias) == n && memcmp(kind->alias, name, n) == 0)))
            return (open_image_format)i;
    }
    return OPEN_IMAGE_AUTO;
}

/* Takes a list such as "ewf/qcow2" into desc->formats; NULL, or what is wrong with it. */
static OPEN_IMAGE_UNUSED const char *open_image_take_format(void *user, const char *value)
{
    open_image_desc *desc = (open_image_desc *)user;
    int i;
    memset(desc->formats, 0, sizeof desc->formats);
    if (strcmp(value, "auto") == 0) return NULL;
    for (i = 0; i < OPEN_IMAGE_NESTED; i++) {
        size_t n = strcspn(value, "/");
        desc->formats[i] = open_image_format_of(value, n);
        if (desc->formats[i] == OPEN_IMAGE_AUTO)
            return "unknown format; one of raw, ewf, qcow2, vmdk, vhdx, vhd, hexz, zstd, auto, or "
                   "with an image in an image ewf/qcow2";
        if (value[n] == 0 && i != 0 && desc->formats[i] == OPEN_IMAGE_ZSTD_FILE)
            return "what lies in the zstd file must be said: zstd/raw, for example";
        if (value[n] == 0) return NULL;
        value += n + 1;
    }
    return "images are nested too deep";
}

/* The options of the tools that say how images are opened, for their tables. */
#define OPEN_IMAGE_OPTIONS(d)                                                                     \
    {"format", "NAME", "raw, ewf, qcow2, vmdk, vhdx, vhd, hexz, zstd, auto (content and name); "  \
     "ewf/qcow2 for one in the other", NULL, NULL, open_image_take_format, (d)},                  \
    {"snapshot", "NAME", "read this internal snapshot (ID or name) of a QCOW2 image", NULL,       \
     &(d)->snapshot, NULL, NULL},                                                                 \
    {"alone", NULL, "without parents, backing files: what the image does not hold is zeros",      \
     &(d)->alone, NULL, NULL, NULL},                                                              \
    {"raw-backing", NULL, "a backing file whose format the image does not name is raw",           \
     &(d)->raw_backing, NULL, NULL, NULL},                                                        \
    {"any-parent", NULL, "the parent of a VHDX or VHD need not have the recorded ID",             \
     &(d)->any_parent, NULL, NULL, NULL},                                                         \
    {"no-log", NULL, "read a VHDX as it is, without replaying its log in memory", &(d)->no_log,   \
     NULL, NULL, NULL},                                                                           \
    {"stale-journal", NULL, "read a seSparse VMDK without its journal", &(d)->stale_journal,      \
     NULL, NULL, NULL},                                                                           \
    {"current-size", NULL, "a VHD is as large as its current size says, whoever created it",      \
     &(d)->current_size, NULL, NULL, NULL},                                                       \
    {"allow-outside", NULL, "files named in an image may lie outside of its folder",              \
     &(d)->allow_outside, NULL, NULL, NULL},                                                      \
    {"allow-devices", NULL, "files named in an image may be devices", &(d)->allow_devices, NULL,  \
     NULL, NULL}

/* The createType of a VMDK is text from the image: only what is known is repeated. */
static const char *open_image_vmdk_name(const vmdk_read *vmdk)
{
    static const char *const names[] = {
        "VMDK monolithicSparse", "VMDK monolithicFlat",   "VMDK twoGbMaxExtentSparse",
        "VMDK twoGbMaxExtentFlat", "VMDK 2GbMaxExtentSparse", "VMDK 2GbMaxExtentFlat",
        "VMDK streamOptimized", "VMDK vmfs", "VMDK vmfsSparse", "VMDK vmfsThin",
        "VMDK vmfsPreallocated", "VMDK vmfsEagerZeroedThick", "VMDK seSparse", "VMDK custom",
        "VMDK fullDevice", "VMDK partitionedDevice", "VMDK vmfsRaw", "VMDK vmfsRDM",
        "VMDK vmfsRawDeviceMap", "VMDK vmfsPassthroughRawDeviceMap"};
    const char *type = vmdk_read_info(vmdk)->create_type;
    size_t i, k;
    for (i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *known = names[i] + 5;
        for (k = 0; known[k] != 0; k++)
            if ((known[k] | 0x20) != (type[k] | 0x20)) break;
        if (known[k] == 0 && type[k] == 0) return names[i];
    }
    return "VMDK";
}

/* What to call the format of an image; no text of its own. */
static OPEN_IMAGE_UNUSED const char *open_image_format_name(const open_image *image)
{
    switch (image->format) {
    case OPEN_IMAGE_EWF: return ewf_read_info(image->ewf)->layout;
    case OPEN_IMAGE_QCOW2:
        return qcow2_read_info(image->qcow2)->version == 2 ? "QCOW2 version 2" : "QCOW2 version 3";
    case OPEN_IMAGE_VMDK: return open_image_vmdk_name(image->vmdk);
    case OPEN_IMAGE_VHDX:
    case OPEN_IMAGE_VHD: return vhdx_read_info(image->vhdx)->layout;
    case OPEN_IMAGE_HEXZ_FILE: return "hexz_pack archive";
#if defined(OPEN_IMAGE_ZSTD)
    case OPEN_IMAGE_ZSTD_FILE:
        return zstd_par_index_info(zstd_par_index_of(image->zstd))->has_seek_table ? "seekable zstd"
                                                                                   : "zstd";
#endif
    default: return image->split != NULL ? "split raw" : "raw";
    }
}

// ---------------------------------------------------------------------------------- opening

/* Closes; NULL is fine. Nothing may be reading. */
static void open_image_close(open_image *image)
{
    if (image == NULL) return;
    ewf_read_close(image->ewf);
    qcow2_read_close(image->qcow2);
    vmdk_read_close(image->vmdk);
    vhdx_read_close(image->vhdx);
    split_raw_close(image->split);
#if defined(OPEN_IMAGE_HEXZ)
    hexz_pack_close(image->hexz);
#endif
#if defined(OPEN_IMAGE_ZSTD)
    zstd_par_close(image->zstd);
#endif
    open_image_close(image->parent);
    posio_layer_close(image->data);
    posio_folder_close(image->folder);
    posio_layer_close(image->layer);
    open_image_close(image->container);
    free(image->path);
    free(image);
}

static uint32_t open_image_allowed(const open_image_desc *desc)
{
    return (desc->allow_outside ? (uint32_t)POSIO_ALLOW_OUTSIDE : 0u) |
           (desc->allow_devices ? (uint32_t)POSIO_ALLOW_DEVICE : 0u);
}

static open_image *open_image_create(open_image_format format, const char *path, const char *role,
                                     const open_image_desc *desc, posio_error *err)
{
    open_image *image = (open_image *)calloc(1, sizeof *image);
    if (image != NULL && path != NULL) {
        image->path = (char *)malloc(strlen(path) + 1);
        if (image->path != NULL) memcpy(image->path, path, strlen(path) + 1);
    }
    if (image == NULL || (path != NULL && image->path == NULL)) {
        free(image);
        (void)posio_fail(err, POSIO_E_NOMEM, POSIO_NO_OFFSET, "out of memory");
        return NULL;
    }
    image->format = format;
    image->role = role;
    if (desc != NULL) image->desc = *desc;
    return image;
}

/* What the content begins like; AUTO: nothing that is known. IO, or the reason of *promised why it
   is not that. */
static posio_result open_image_look(const posio_source *source, open_image_format promised,
                                    open_image_format *found, posio_error *err)
{
    uint32_t i;
    for (i = OPEN_IMAGE_RAW; i < OPEN_IMAGE_FORMATS; i++) {
        const open_image_kind *kind = open_image_kind_of((open_image_format)i);
        posio_error why;
        posio_result r = kind->probe != NULL ? kind->probe(source, &why) : POSIO_E_FORMAT;
        if (r == POSIO_OK || r == POSIO_E_UNSUPPORTED) {
            *found = (open_image_format)i;
            return POSIO_OK;
        }
        if (kind->probe != NULL && (r != POSIO_E_FORMAT || i == (uint32_t)promised)) *err = why;
        if (r != POSIO_E_FORMAT) return r;
    }
    *found = OPEN_IMAGE_AUTO;
    return POSIO_OK;
}

static int open_image_is_archive(const posio_source *source)
{
    const posio_result r = open_image_probe_hexz(source, NULL);
    return r == POSIO_OK || r == POSIO_E_UNSUPPORTED || r == POSIO_E_DATA;
}

/* Decides the format by what the file begins with and what its name promises. */
static posio_result open_image_decide(const char *path, open_image_format *format,
                                      posio_error *err)
{
    const open_image_format promised = open_image_promised(path, strlen(path));
    open_image_format found = OPEN_IMAGE_AUTO;
    posio_file *file = NULL;
    posio_source source;
    posio_error why;
    int device;
    posio_result r = posio_file_open(&file, path, NULL, err);
    if (r != POSIO_OK) return r;
    source = posio_file_source(file);
    device = posio_file_get_info(file).is_device != 0;
    if (!device && promised != OPEN_IMAGE_ZSTD_FILE)
        r = open_image_look(&source, promised, &found, &why);
    else if (!device && open_image_is_archive(&source))
        found = OPEN_IMAGE_HEXZ_FILE; /* what zstd makes of it need not be what it holds */
    posio_file_close(file);
    if (r != POSIO_OK) {
        if (err != NULL) *err = why;
    } else if (device) {
        *format = OPEN_IMAGE_RAW;
    } else if (found != OPEN_IMAGE_AUTO && promised != OPEN_IMAGE_AUTO && found != promised) {
        const open_image_kind *is = open_image_kind_of(found);
        const open_image_kind *named = open_image_kind_of(promised);
        return posio_fail(err, POSIO_E_FORMAT, 0,
                          "%s by its name, but it begins like %s: say --format %s or --format %s",
                          named->title, is->title, named->name, is->name);
    } else if (found != OPEN_IMAGE_AUTO) {
        *format = found; /* which says why, if it refuses */
    } else if (promised == OPEN_IMAGE_EWF && source.size >= OPEN_IMAGE_EWF_HEADER) {
        if (err != NULL) *err = why; /* the name promises what is not there */
        r = POSIO_E_FORMAT;
    } else if (promised != OPEN_IMAGE_AUTO) {
        *format = promised; /* which says what is wrong with it */
    } else {
        return posio_fail(err, POSIO_E_FORMAT, 0,
                          "not an image of a known format; a raw image of any name is read with "
                          "--format raw");
    }
    if (r != POSIO_OK) (void)posio_fail_in(err, path, 0);
    return r;
}

/* What lies in a zstd file is told by the name under its own, for a raw image could begin like any
   other. The parts of a split one are not looked for, so that it is not taken for the first. */
static posio_result open_image_decide_inner(const char *path, open_image_format *format,
                                            posio_error *err)
{
    if (open_image_promised(path, strlen(path)) == OPEN_IMAGE_ZSTD_FILE) {
        size_t n = (size_t)(strrchr(path, '.') - path);
        *format = open_image_promised(path, n);
        if (*format != OPEN_IMAGE_AUTO && *format != OPEN_IMAGE_ZSTD_FILE &&
            !open_image_ends_in(path, n, ".001"))
            return POSIO_OK;
    }
    return posio_fail(err, POSIO_E_FORMAT, POSIO_NO_OFFSET,
                      "its name does not tell what lies in the zstd file: say --format zstd/raw, "
                      "or another format behind the slash");
}

static posio_result open_image_open_layer(open_image *image, posio_error *err);

/* The parent that an image in a file names, beside it. */
static posio_result open_image_open_parent(open_image **out, open_image *above,
                                           const posio_reference *reference, posio_error *err)
{
    const char *role = above->format == OPEN_IMAGE_QCOW2 ? "backing file" : "parent";
    open_image_format format = above->format;
    open_image *image;
    posio_result r;
    if (reference->format != NULL) {
        format = open_image_format_of(reference->format, strlen(reference->format));
        if (!open_image_kind_of(format)->is_parent)
            return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET,
                              "\"%s\" is in the format \"%s\", which is not supported",
                              reference->name, reference->format);
    }
    image = open_image_create(format, NULL, role, &above->desc, err);
    if (image == NULL) return POSIO_E_NOMEM;
    image->depth = above->depth + 1;
    image->desc.snapshot = NULL;
    r = posio_layer_follow(&image->layer, above->layer, reference->name, err);
    image->is_either = reference->format == NULL && format != OPEN_IMAGE_VMDK;
    if (r == POSIO_OK) r = open_image_open_layer(image, err);
    if (r == POSIO_OK) *out = image;
    else open_image_close(image);
    return r;
}

/* The ID by which images know their parents; "" where there is none. */
static const char *open_image_identity(const open_image *image)
{
    const char *id = NULL;
    if (image->vmdk != NULL) id = vmdk_read_info(image->vmdk)->identity;
    if (image->vhdx != NULL) id = vhdx_read_info(image->vhdx)->identity;
    return id != NULL ? id : "";
}

/* What an image in a file names: parents and data files, beside it. */
static posio_result open_image_resolve(void *self, const posio_reference *reference,
                                       posio_source *out, posio_error *err)
{
    open_image *above = (open_image *)self;
    posio_result r;
    if (above->layer == NULL)
        return posio_fail(err, POSIO_E_POLICY, POSIO_NO_OFFSET,
                          "\"%s\" is named by an image in an image, which has no folder",
                          reference->name);
    if (reference->kind == POSIO_REFERENCE_DATA) {
        r = posio_layer_follow(&above->data, above->layer, reference->name, err);
        if (r == POSIO_OK) *out = posio_layer_source(above->data);
        return r;
    }
    open_image_close(above->parent); /* opened under another name, and not the right one */
    above->parent = NULL;
    r = open_image_open_parent(&above->parent, above, reference, err);
    if (r != POSIO_OK) return r;
    if (reference->identity != NULL)
        posio_format(reference->identity, POSIO_IDENTITY, "%s", open_image_identity(above->parent));
    *out = above->parent->source;
    return POSIO_OK;
}

/* What the descs of all formats with parents have in common. */
static const posio_resolver *open_image_resolver(open_image *image)
{
    image->resolver.open = open_image_resolve;
    image->resolver.self = image;
    return &image->resolver;
}
static const char *open_image_layer_name(const open_image *image)
{
    return image->layer != NULL ? posio_layer_path(image->layer) : NULL;
}
static uint64_t open_image_cache(const open_image *image)
{
    uint64_t bytes = ((uint64_t)32 << 20) >> image->depth; /* of a chain, twice as much together */
    return bytes < (1 << 20) ? 1 << 20 : bytes;
}
static uint32_t open_image_flag(int asked, uint32_t flag) { return asked ? flag : 0; }

/* Opens image->folder: that of its file, where the names stored in the image lead. */
static posio_result open_image_open_folder(open_image *image, posio_error *err)
{
    posio_folder_desc d;
    memset(&d, 0, sizeof d);
    d.allow = open_image_allowed(&image->desc);
    d.max_open = image->desc.max_open;
    return posio_folder_open(&image->folder, posio_layer_path(image->layer), &d, err);
}

static posio_result open_image_open_qcow2(open_image *image, const posio_source *file,
                                          posio_error *err)
{
    qcow2_read_desc d;
    posio_result r;
    memset(&d, 0, sizeof d);
    d.pool = image->desc.pool;
    d.cache_bytes = open_image_cache(image);
    d.flags = open_image_flag(image->desc.alone, QCOW2_READ_ALONE) |
              open_image_flag(image->desc.raw_backing, QCOW2_READ_RAW_BACKING);
    d.snapshot = image->desc.snapshot;
    d.name = open_image_layer_name(image);
    d.resolver = open_image_resolver(image);
    r = qcow2_read_open_source(&image->qcow2, file, &d, err);
    if (r == POSIO_OK) image->source = qcow2_read_source(image->qcow2);
    return r;
}

/* The files of its extents lie beside a file; in a container there are none. */
static posio_result open_image_open_vmdk(open_image *image, const posio_source *file,
                                         posio_error *err)
{
    vmdk_read_desc d;
    posio_result r = POSIO_OK;
    memset(&d, 0, sizeof d);
    d.pool = image->desc.pool;
    d.cache_bytes = open_image_cache(image);
    d.flags = open_image_flag(image->desc.alone, VMDK_READ_ALONE) |
              open_image_flag(image->desc.stale_journal, VMDK_READ_STALE_JOURNAL);
    d.allow = open_image_allowed(&image->desc);
    d.name = open_image_layer_name(image);
    d.resolver = open_image_resolver(image);
    if (image->layer != NULL) {
        r = open_image_open_folder(image, err);
        if (r != POSIO_OK) return r;
        image->opener = posio_folder_opener(image->folder);
        d.opener = &image->opener;
    }
    r = vmdk_read_open_source(&image->vmdk, file, &d, err);
    if (r == POSIO_OK) image->source = vmdk_read_source(image->vmdk);
    return r;
}

/* Which of the two a file is that may be either, if anything but its content has decided that: the
   desc, its extension, or the image above it. */
static uint32_t open_image_vhdx_or_vhd(const open_image *image)
{
    const char *path = open_image_layer_name(image);
    const int decided = image->desc.formats[0] != OPEN_IMAGE_AUTO || image->depth != 0 ||
                        path == NULL || open_image_promised(path, strlen(path)) == image->format;
    if (!decided) return 0;
    return image->format == OPEN_IMAGE_VHD ? (uint32_t)VHDX_READ_AS_VHD
                                           : (uint32_t)VHDX_READ_AS_VHDX;
}

/* VHDX or VHD, as it was decided: what the reader finds in the file must agree. */
static posio_result open_image_open_vhdx(open_image *image, const posio_source *file,
                                         posio_error *err)
{
    vhdx_read_desc d;
    posio_result r;
    memset(&d, 0, sizeof d);
    d.pool = image->desc.pool;
    d.flags = open_image_flag(image->desc.alone, VHDX_READ_ALONE) |
              open_image_flag(image->desc.any_parent, VHDX_READ_ANY_PARENT) |
              open_image_flag(image->desc.no_log, VHDX_READ_NO_LOG) |
              open_image_flag(image->desc.current_size, VHDX_READ_CURRENT_SIZE) |
              open_image_vhdx_or_vhd(image);
    d.allow = open_image_allowed(&image->desc);
    d.name = open_image_layer_name(image);
    d.resolver = open_image_resolver(image);
    r = vhdx_read_open_source(&image->vhdx, file, &d, err);
    if (r != POSIO_OK) return r;
    image->source = vhdx_read_source(image->vhdx);
    if (image->is_either)
        image->format = vhdx_read_info(image->vhdx)->is_vhd ? OPEN_IMAGE_VHD : OPEN_IMAGE_VHDX;
    if ((image->format == OPEN_IMAGE_VHD) == (vhdx_read_info(image->vhdx)->is_vhd != 0)) return r;
    return posio_fail(err, POSIO_E_FORMAT, 0, "not %s, but one of %s",
                      image->format == OPEN_IMAGE_VHD ? "a VHD file" : "a VHDX file",
                      image->format == OPEN_IMAGE_VHD ? "VHDX" : "VHD");
}

/* Segments of a parent: found by the naming scheme, but from a name inside an image. */
static posio_result open_image_open_stored(void *self, const char *name, uint32_t rule,
                                           posio_source *out, posio_error *err)
{
    open_image *image = (open_image *)self;
    posio_opener folder = posio_folder_opener(image->folder);
    (void)rule;
    return folder.open(folder.self, name, POSIO_NAME_STORED, out, err);
}

static void open_image_close_stored(void *self, posio_source *source)
{
    open_image *image = (open_image *)self;
    posio_opener folder = posio_folder_opener(image->folder);
    folder.close(folder.self, source);
}

static posio_result open_image_list_stored(void *self, int (*each)(void *user, const char *name),
                                           void *user, posio_error *err)
{
    open_image *image = (open_image *)self;
    posio_opener folder = posio_folder_opener(image->folder);
    return folder.list(folder.self, each, user, err);
}

static posio_result open_image_open_ewf_parent(open_image *image, const ewf_read_desc *d,
                                               posio_error *err)
{
    const char *path = posio_layer_path(image->layer);
    posio_result r = open_image_open_folder(image, err);
    if (r != POSIO_OK) return r;
    image->opener.open = open_image_open_stored;
    image->opener.close = open_image_close_stored;
    image->opener.list = open_image_list_stored;
    image->opener.self = image;
    return ewf_read_open_with(&image->ewf, &image->opener, path + posio_path_folder(path), d, err);
}

/* EWF: in one source (a container), named by an image, or by the user. */
static posio_result open_image_open_ewf(open_image *image, const posio_source *file,
                                        posio_error *err)
{
    ewf_read_desc d;
    posio_result r;
    memset(&d, 0, sizeof d);
    d.pool = image->desc.pool;
    d.max_open = image->desc.max_open;
    if (image->container != NULL) r = ewf_read_open_sources(&image->ewf, file, 1, &d, err);
    else if (image->layer != NULL) r = open_image_open_ewf_parent(image, &d, err);
    else r = ewf_read_open(&image->ewf, image->path, &d, err);
    if (r == POSIO_OK) image->source = ewf_read_source(image->ewf);
    return r;
}

static posio_result open_image_open_hexz(open_image *image, const posio_source *file,
                                         posio_error *err)
{
#if defined(OPEN_IMAGE_HEXZ)
    hexz_pack_desc d;
    posio_result r;
    memset(&d, 0, sizeof d);
    d.pool = image->desc.pool;
    d.cache_bytes = open_image_cache(image);
    d.progress = image->desc.verify_progress;
    d.user = image->desc.user;
    if (d.progress != NULL) d.flags = HEXZ_PACK_REMEMBER;
    r = hexz_pack_open_source(&image->hexz, file, &d, err);
    if (r == POSIO_OK) image->source = hexz_pack_source(image->hexz);
    return r;
#else
    (void)image;
    (void)file;
    return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET,
                      "a hexz_pack archive; this program was built without zstd "
                      "(-DOPEN_IMAGE_HEXZ -lzstd)");
#endif
}

/* zstd: in a container, or named by the user. Frames that do not say their size, as those of pzstd,
   are decoded once to learn it. */
static posio_result open_image_open_zstd(open_image *image, const posio_source *file,
                                         posio_error *err)
{
#if defined(OPEN_IMAGE_ZSTD)
    zstd_par_desc d;
    uint32_t dictionary;
    posio_result r;
    memset(&d, 0, sizeof d);
    d.pool = image->desc.pool_to_measure != NULL ? image->desc.pool_to_measure : image->desc.pool;
    d.flags = ZSTD_PAR_MEASURE;
    if (file != NULL) r = zstd_par_open_source(&image->zstd, file, &d, err);
    else r = zstd_par_open(&image->zstd, image->path, &d, err);
    if (r == POSIO_E_LIMIT) (void)posio_fail_while(err, "unzst decompresses it as a whole");
    if (r != POSIO_OK) return r;
    image->source = zstd_par_source(image->zstd);
    if (zstd_par_index_info(zstd_par_index_of(image->zstd))->file_size == 0) /* libzstd takes it */
        return posio_fail(err, POSIO_E_DATA, POSIO_NO_OFFSET, "not a zstd file: it is empty");
    dictionary = zstd_par_index_info(zstd_par_index_of(image->zstd))->dictionary;
    if (dictionary == 0) return POSIO_OK;
    return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET,
                      "its frames need dictionary %u; unzst -D decompresses it",
                      (unsigned)dictionary);
#else
    (void)image;
    (void)file;
    return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET,
                      "a zstd file; this program was built without zstd (-DOPEN_IMAGE_ZSTD "
                      "-lzstd)");
#endif
}

/* The image in `file`; NULL: in the files that the format itself opens. */
static posio_result open_image_open_in(open_image *image, const posio_source *file,
                                       posio_error *err)
{
    posio_result r = POSIO_OK;
    switch (image->format) {
    case OPEN_IMAGE_EWF: return open_image_open_ewf(image, file, err);
    case OPEN_IMAGE_QCOW2: return open_image_open_qcow2(image, file, err);
    case OPEN_IMAGE_VMDK: return open_image_open_vmdk(image, file, err);
    case OPEN_IMAGE_VHDX:
    case OPEN_IMAGE_VHD: return open_image_open_vhdx(image, file, err);
    case OPEN_IMAGE_HEXZ_FILE: return open_image_open_hexz(image, file, err);
    case OPEN_IMAGE_ZSTD_FILE: return open_image_open_zstd(image, file, err);
    default: break;
    }
    if (file == NULL) r = split_raw_open(&image->split, image->path, err);
    if (r == POSIO_OK) image->source = file != NULL ? *file : image->split->source;
    return r;
}

/* The image whose file is open as a layer. */
static posio_result open_image_open_layer(open_image *image, posio_error *err)
{
    posio_source file = posio_layer_source(image->layer);
    posio_result r = open_image_open_in(image, &file, err);
    if (r != POSIO_OK) (void)posio_fail_in(err, posio_layer_path(image->layer), 0);
    return r;
}

/* The image in the file that the user named. */
static posio_result open_image_open_file(open_image *image, posio_error *err)
{
    posio_folder_desc folder;
    posio_result r;
    memset(&folder, 0, sizeof folder);
    folder.allow = open_image_allowed(&image->desc);
    if (image->format == OPEN_IMAGE_EWF || image->format == OPEN_IMAGE_ZSTD_FILE ||
        (image->format == OPEN_IMAGE_RAW && open_image_has_extension(image->path, ".001")))
        return open_image_open_in(image, NULL, err);
    r = posio_layer_open(&image->layer, image->path, &folder, err);
    return r != POSIO_OK ? r : open_image_open_layer(image, err);
}

/* The image in the media of `container`, which it owns from now on. */
static posio_result open_image_open_inner(open_image **out, open_image *container,
                                          open_image_format format, const open_image_desc *desc,
                                          posio_error *err)
{
    open_image *image = open_image_create(format, NULL, container->role, desc, err);
    posio_result r;
    if (image == NULL) {
        open_image_close(container);
        return POSIO_E_NOMEM;
    }
    container->role = "container";
    image->container = container;
    r = open_image_open_in(image, &container->source, err);
    if (r == POSIO_OK) *out = image;
    else open_image_close(image);
    return r;
}

/* Puts the tools' words for the libraries' options into an error, or a warning. */
static void open_image_name_options(char *message)
{
    static const char *const words[][2] = {{"POSIO_ALLOW_OUTSIDE", "--allow-outside"},
                                           {"POSIO_ALLOW_DEVICE", "--allow-devices"},
                                           {"QCOW2_READ_RAW_BACKING", "--raw-backing"},
                                           {"VMDK_READ_STALE_JOURNAL", "--stale-journal"},
                                           {"VMDK_READ_ALONE", "--alone"},
                                           {"VHDX_READ_ANY_PARENT", "--any-parent"},
                                           {"VHDX_READ_CURRENT_SIZE", "--current-size"},
                                           {"VHDX_READ_NO_LOG", "--no-log"},
                                           {"VHDX_READ_AS_VHDX", "--format vhdx"},
                                           {"VHDX_READ_AS_VHD", "--format vhd"},
                                           {"VHDX_READ_ALONE", "--alone"}};
    size_t i;
    for (i = 0; i < sizeof words / sizeof words[0]; i++) {
        char *at = strstr(message, words[i][0]);
        size_t n = strlen(words[i][0]), m = strlen(words[i][1]);
        if (at == NULL) continue; /* options are shorter than constants */
        memcpy(at, words[i][1], m);
        memmove(at + m, at + n, strlen(at + n) + 1);
    }
}

/* Is a snapshot asked for where no image has any? Another state must not be read in its place. */
static int open_image_lacks_snapshots(const open_image *image, const open_image_desc *desc)
{
    while (image != NULL && image->qcow2 == NULL) image = image->container;
    return desc != NULL && desc->snapshot != NULL && image == NULL;
}

/* The formats of path, from the outside in; the list ends with AUTO. */
static posio_result open_image_formats(const char *path, const open_image_desc *desc,
                                       open_image_format formats[OPEN_IMAGE_NESTED + 1],
                                       posio_error *err)
{
    posio_result r = POSIO_OK;
    memset(formats, 0, (OPEN_IMAGE_NESTED + 1) * sizeof formats[0]);
    if (desc != NULL) memcpy(formats, desc->formats, sizeof desc->formats);
    if (formats[0] == OPEN_IMAGE_AUTO) {
        memset(formats, 0, (OPEN_IMAGE_NESTED + 1) * sizeof formats[0]);
        r = open_image_decide(path, &formats[0], err);
    }
    if (r == POSIO_OK && formats[0] == OPEN_IMAGE_ZSTD_FILE && formats[1] == OPEN_IMAGE_AUTO)
        r = open_image_decide_inner(path, &formats[1], err);
    return r;
}

/* Opens path; desc NULL is a complete default. On success close *out with open_image_close. */
static posio_result open_image_open(open_image **out, const char *path, const open_image_desc *desc,
                                    posio_error *err)
{
    open_image_format formats[OPEN_IMAGE_NESTED + 1];
    open_image *image = NULL;
    int i;
    posio_result r = open_image_formats(path, desc, formats, err);
    if (r != POSIO_OK) return r;
    image = open_image_create(formats[0], path, "image", desc, err);
    if (image == NULL) return POSIO_E_NOMEM;
    r = open_image_open_file(image, err);
    if (r != POSIO_OK) open_image_close(image);
    for (i = 1; r == POSIO_OK && formats[i] != OPEN_IMAGE_AUTO; i++)
        r = open_image_open_inner(&image, image, formats[i], desc, err);
    if (r == POSIO_OK && open_image_lacks_snapshots(image, desc)) {
        open_image_close(image);
        return posio_fail(err, POSIO_E_UNSUPPORTED, POSIO_NO_OFFSET,
                          "there is no snapshot \"%s\": only QCOW2 images have any",
                          desc->snapshot);
    }
    if (r == POSIO_OK) {
        *out = image;
        return r;
    }
    if (err != NULL) open_image_name_options(err->message);
    return r;
}

/* The logical media; borrows the image. */
static OPEN_IMAGE_UNUSED posio_source open_image_source(const open_image *image)
{
    return image->source;
}

// ---------------------------------------------------------------------------------- the stack

/* The i-th image of a stack: itself (0), its container and what that lies in and stands on, then
   its parent and so on. NULL behind the last. */
static const open_image *open_image_visit(const open_image *image, uint32_t *i)
{
    const open_image *found;
    if (image == NULL || (*i)-- == 0) return image;
    found = open_image_visit(image->container, i);
    return found != NULL ? found : open_image_visit(image->parent, i);
}
static OPEN_IMAGE_UNUSED const open_image *open_image_in_stack(const open_image *image, uint32_t i)
{
    return open_image_visit(image, &i);
}

/* The path of an image's file; NULL when it lies in its container. */
static OPEN_IMAGE_UNUSED const char *open_image_path(const open_image *image)
{
    return image->layer != NULL ? posio_layer_path(image->layer) : image->path;
}

typedef struct open_image_warning {
    uint32_t segment; /* 0 = does not apply */
    uint64_t offset;  /* in the file or segment, or POSIO_NO_OFFSET */
    char message[240];
} open_image_warning;

#if defined(OPEN_IMAGE_ZSTD)
/* How many frames have no checksum, neither of their own nor in the seek table. */
static uint64_t open_image_zstd_unchecked(zstd_par *file)
{
    const zstd_par_index *index = zstd_par_index_of(file);
    const zstd_par_metadata *m = zstd_par_index_info(index);
    zstd_par_frame x;
    uint64_t i;
    memset(&x, 0, sizeof x);
    if (m->checksums == m->frames) return 0;
    for (i = 0; zstd_par_index_get(index, i, &x) == POSIO_OK; i++)
        if (!(x.flags & ZSTD_PAR_SKIPPABLE)) break;
    return x.has_variant ? 0 : m->frames - m->checksums; /* a table has them for all or none */
}

/* What is odd about a zstd file, though it can be read. */
static posio_result open_image_zstd_warning(zstd_par *file, uint32_t i, open_image_warning *out)
{
    const zstd_par_metadata *m = zstd_par_index_info(zstd_par_index_of(file));
    const uint64_t unchecked = open_image_zstd_unchecked(file);
    if (m->seek_table_fault != NULL && i-- == 0)
        posio_format(out->message, sizeof out->message,
                     "its seek table is wrong, and not used: %s", m->seek_table_fault);
    else if (m->wrong_hints != 0 && i-- == 0)
        posio_format(out->message, sizeof out->message,
                     "%llu of %llu hints of pzstd are wrong, and not used",
                     (unsigned long long)m->wrong_hints, (unsigned long long)m->hints);
    else if (unchecked != 0 && i-- == 0)
        posio_format(out->message, sizeof out->message,
                     "%llu of %llu frames have no checksum: damage in them may go unnoticed",
                     (unsigned long long)unchecked, (unsigned long long)m->frames);
    else if (m->largest_frame > OPEN_IMAGE_LARGE_FRAME && i-- == 0)
        posio_format(out->message, sizeof out->message,
                     "its frames have up to %llu bytes, each of which is decoded as a whole: slow, "
                     "and one bad byte spoils as many",
                     (unsigned long long)m->largest_frame);
    else return POSIO_E_RANGE;
    out->offset = POSIO_NO_OFFSET;
    return POSIO_OK;
}
#endif

/* The i-th warning of an image, not of its stack; POSIO_E_RANGE behind the last. */
static OPEN_IMAGE_UNUSED posio_result open_image_get_warning(const open_image *image, uint32_t i,
                                                             open_image_warning *out)
{
    posio_result r = POSIO_E_RANGE;
    memset(out, 0, sizeof *out);
#define OPEN_IMAGE_TAKE_WARNING(stem, segment_of_it)                                               \
    if (image->stem != NULL) {                                                                     \
        stem##_read_warning w;                                                                     \
        r = stem##_read_get_warning(image->stem, i, &w);                                           \
        if (r == POSIO_OK) {                                                                       \
            out->segment = segment_of_it;                                                          \
            out->offset = w.offset;                                                                \
            memcpy(out->message, w.message, sizeof out->message);                                  \
        }                                                                                          \
    }
    OPEN_IMAGE_TAKE_WARNING(ewf, w.segment)
    OPEN_IMAGE_TAKE_WARNING(qcow2, 0)
    OPEN_IMAGE_TAKE_WARNING(vmdk, w.segment)
    OPEN_IMAGE_TAKE_WARNING(vhdx, 0)
#undef OPEN_IMAGE_TAKE_WARNING
#if defined(OPEN_IMAGE_ZSTD)
    if (image->zstd != NULL) r = open_image_zstd_warning(image->zstd, i, out);
#endif
    open_image_name_options(out->message);
    return r;
}

#endif
