/* test_mft_scan.c - the $MFT scanner against images built byte by byte from the documentation
   (fixtures/mft_build.h), in every mode; against real $MFTs; and against failing memory and media.

   test_mft_scan [PART OF A NAME] */
#define MFT_SCAN_IMPLEMENTATION
#define THREAD_POOL_IMPLEMENTATION
#include "../mft_scan.h"
#include "fixtures/faults.h"
#include "fixtures/mft_fixtures.h"
#include "fixtures/mft_render.h"
#include "test.h"

// ---------------------------------------------------------------------------------- the medium

/* A fixture as a source: sparse, and with ranges that cannot be read. */
static posio_result image_read(void *self, uint64_t offset, void *buf, size_t n, posio_error *err)
{
    const mft_build *s = (const mft_build *)self;
    size_t i;
    for (i = 0; i < s->faults; i++)
        if (offset < s->fault[i].start + s->fault[i].length && s->fault[i].start < offset + n)
            return posio_fail(err, POSIO_E_IO, offset, "a bad sector");
    mft_build_read(&s->image, offset, buf, n);
    return POSIO_OK;
}

static posio_source image_source(mft_build *s)
{
    posio_source source;
    memset(&source, 0, sizeof source);
    source.size = s->image.size;
    source.read_at = image_read;
    source.self = s;
    return source;
}

static mft_scan_desc full_desc(void)
{
    mft_scan_desc d;
    memset(&d, 0, sizeof d);
    d.columns = MFT_SCAN_FULL;
    d.segment_bytes = 65536; /* most tests open very often: less memory for each */
    return d;
}

// ---------------------------------------------------------------------------------- expectations

static char failure[1024];

/* What differs from what the fixture says, with the variant and the record; 1 to go on. */
static int expect(int good, const char *variant, uint64_t number, const char *what, uint64_t got,
                  uint64_t want)
{
    if (good) return 1;
    snprintf(failure, sizeof failure, "%s, record %llu: %s is %llx, wanted %llx", variant,
             (unsigned long long)number, what, (unsigned long long)got, (unsigned long long)want);
    test_fail(__FILE__, __LINE__, failure);
    return 0;
}

static const uint32_t state_of[] = {MFT_SCAN_IN_USE, MFT_SCAN_FREE,          MFT_SCAN_NEVER_WRITTEN,
                                    MFT_SCAN_BAAD,   MFT_SCAN_BAD_SIGNATURE, MFT_SCAN_UNREAD};

typedef struct flag_pair {
    uint32_t built, scanned;
    const char *name;
} flag_pair;

/* Flags that must agree; those that the scanner sets for more reasons are looked at one way. */
static const flag_pair flag_pairs[] = {
    {MFT_BUILD_EXTENSION, MFT_SCAN_EXTENSION, "EXTENSION"},
    {MFT_BUILD_DIRECTORY, MFT_SCAN_DIRECTORY, "DIRECTORY"},
    {MFT_BUILD_TORN, MFT_SCAN_TORN, "TORN"},
    {MFT_BUILD_UNPROTECTED | MFT_BUILD_USA_BAD, MFT_SCAN_UNPROTECTED, "UNPROTECTED"},
    {MFT_BUILD_LIST, MFT_SCAN_HAS_LIST, "HAS_LIST"},
    {MFT_BUILD_ORPHAN_EXT, MFT_SCAN_ORPHAN_EXTENSION, "ORPHAN_EXTENSION"},
    {MFT_BUILD_OWN_NUMBER, MFT_SCAN_WRONG_NUMBER, "WRONG_NUMBER"},
    {MFT_BUILD_VIEW_INDEX, MFT_SCAN_VIEW_INDEX, "VIEW_INDEX"},
    {MFT_BUILD_IN_EXTEND, MFT_SCAN_IN_EXTEND, "IN_EXTEND"}};

static void check_flags(const char *variant, const mft_build_slot *e, const mft_scan_record *r)
{
    size_t i;
    for (i = 0; i < sizeof flag_pairs / sizeof flag_pairs[0]; i++)
        expect(((e->flags & flag_pairs[i].built) != 0) == ((r->flags & flag_pairs[i].scanned) != 0),
               variant, r->number, flag_pairs[i].name, r->flags, e->flags);
    if (!(e->flags & MFT_BUILD_TORN))
        expect(((e->flags & MFT_BUILD_TORN_SLACK) != 0) ==
                   ((r->flags & MFT_SCAN_TORN_SLACK) != 0), variant, r->number, "TORN_SLACK",
               r->flags, e->flags);
    if (e->flags & (MFT_BUILD_ATTR_BAD | MFT_BUILD_USA_BAD))
        expect((r->flags & MFT_SCAN_DAMAGED) != 0, variant, r->number, "DAMAGED", r->flags,
               e->flags);
    else if (!(e->flags & MFT_BUILD_LIST_BAD))
        expect(!(r->flags & (MFT_SCAN_DAMAGED | MFT_SCAN_LIST_MISMATCH)), variant, r->number,
               "no damage", r->damage, 0);
    if (e->flags & MFT_BUILD_LIST_BAD && e->state == MFT_BUILD_IN_USE)
        expect((r->flags & (MFT_SCAN_DAMAGED | MFT_SCAN_LIST_MISMATCH)) != 0, variant, r->number,
               "LIST_MISMATCH", r->flags, e->flags);
}

/* The path that the fixture expects, in the scanner's words, and its length; the caller frees it. */
static char *expected_path(const mft_build *s, const mft_build_slot *e, const mft_build_name *n,
                           int *code, size_t *length)
{
    static const char orphans[] = "/$OrphanFiles/";
    size_t k = mft_build_path(s, e, n, NULL, code), at = 0;
    char *text = (char *)malloc(k + sizeof orphans);
    if (text == NULL) abort();
    if (*code != MFT_BUILD_PATH_OK) memcpy(text, orphans, at = sizeof orphans - 1);
    (void)mft_build_path(s, e, n, text + at, code);
    text[at + k] = 0;
    *length = at + k;
    return text;
}

static uint32_t code_of_status(uint32_t status)
{
    switch (status) {
    case MFT_SCAN_PARENT_OK:
    case MFT_SCAN_PARENT_FREED:
    case MFT_SCAN_PARENT_RECOVERED: return MFT_BUILD_PATH_OK;
    case MFT_SCAN_PARENT_STALE: return MFT_BUILD_PATH_STALE;
    case MFT_SCAN_PARENT_NOT_DIRECTORY: return MFT_BUILD_PATH_NOT_DIR;
    case MFT_SCAN_PARENT_CYCLE: return MFT_BUILD_PATH_CYCLE;
    default: return MFT_BUILD_PATH_MISSING;
    }
}

static void check_path(const char *variant, const mft_build *s, const mft_build_slot *e,
                       const mft_build_name *want, const mft_scan *scan, const mft_scan_name *n)
{
    int code = 0;
    size_t wanted = 0, length = 0, room;
    char *text = expected_path(s, e, want, &code, &wanted), *got;
    uint32_t status = 99;
    /* The fixture only says that it is a cycle. */
    room = code == MFT_BUILD_PATH_CYCLE ? (size_t)1 << 20 : wanted + 1;
    got = (char *)malloc(room);
    if (got == NULL) abort();
    expect(mft_scan_path(scan, n, got, room, &length, &status) == POSIO_OK, variant, e->number,
           "length of the path", length, wanted);
    expect(code_of_status(status) == (uint32_t)code, variant, e->number, "path's end", status,
           (uint64_t)code);
    if (code != MFT_BUILD_PATH_CYCLE && (length != wanted || memcmp(got, text, wanted) != 0)) {
        snprintf(failure, sizeof failure, "%s, record %llu: path \"%.300s\", wanted \"%.300s\"",
                 variant, (unsigned long long)e->number, got, text);
        test_fail(__FILE__, __LINE__, failure);
    }
    free(got);
    free(text);
}

static void check_names(const char *variant, const mft_build *s, const mft_build_slot *e,
                        const mft_scan *scan, int lean)
{
    mft_scan_name n;
    char text[255 * 3 + 1];
    posio_result r = mft_scan_first_name(scan, e->number, &n);
    size_t i, k;
    int t;
    for (i = 0; i < e->names && r == POSIO_OK; i++, r = mft_scan_next_name(scan, &n)) {
        const mft_build_name *want = &e->name[i];
        const uint64_t times[4] = {n.created, n.modified, n.changed, n.accessed};
        k = mft_build_wtf8(want->unit, want->units, text);
        expect(n.length == k && memcmp(n.text, text, k) == 0, variant, e->number, "a name", n.length,
               k);
        expect(n.name_space == want->space, variant, e->number, "name space", n.name_space,
               want->space);
        expect(n.parent == want->parent, variant, e->number, "parent", n.parent, want->parent);
        expect(n.slot == want->lies_in, variant, e->number, "slot of a name", n.slot, want->lies_in);
        expect(lean || n.id == want->id, variant, e->number, "id of a name", n.id, want->id);
        expect(n.owner == e->number, variant, e->number, "owner", n.owner, e->number);
        for (t = 0; t < 4 && !lean; t++)
            expect(times[t] == want->time[t], variant, e->number, "a time of a name", times[t],
                   want->time[t]);
        if (s->slots < 4000 || e->number % 97 == 0) /* very deep: each path is long */
            check_path(variant, s, e, want, scan, &n);
    }
    expect(i == e->names && r == POSIO_E_RANGE, variant, e->number, "names", i + (r == POSIO_OK),
           e->names);
}

static int next_data(const mft_scan *scan, uint64_t number, mft_scan_stream *t, int first)
{
    posio_result r = first ? mft_scan_first_stream(scan, number, t) : mft_scan_next_stream(scan, t);
    while (r == POSIO_OK && t->type != MFT_SCAN_DATA) r = mft_scan_next_stream(scan, t);
    return r == POSIO_OK;
}

static void check_stream(const char *variant, uint64_t number, const mft_build_stream *want,
                         const mft_scan_stream *t)
{
    char text[255 * 3 + 1];
    size_t k = mft_build_wtf8(want->unit, want->units, text);
    uint32_t flags = (want->flags & 0xff ? (uint32_t)MFT_SCAN_COMPRESSED : 0u) |
                     (want->flags & 0x4000 ? (uint32_t)MFT_SCAN_ENCRYPTED : 0u) |
                     (want->flags & 0x8000 ? (uint32_t)MFT_SCAN_SPARSE : 0u) |
                     (want->resident ? (uint32_t)MFT_SCAN_RESIDENT : 0u);
    expect(t->length == k && memcmp(t->name, text, k) == 0, variant, number, "name of a stream",
           t->length, k);
    expect(t->size == want->size, variant, number, "size", t->size, want->size);
    expect(t->id == want->id, variant, number, "id", t->id, want->id);
    expect(t->slot == want->lies_in, variant, number, "slot of a stream", t->slot, want->lies_in);
    expect(t->flags == flags, variant, number, "flags of a stream", t->flags, flags);
    if (want->resident) return;
    expect(t->allocated == want->allocated, variant, number, "allocated", t->allocated,
           want->allocated);
    expect(t->initialised == want->initialised, variant, number, "initialised", t->initialised,
           want->initialised);
    if (want->total != MFT_BUILD_NONE)
        expect(t->total == want->total, variant, number, "total", t->total, want->total);
}

/* Streams of which the first part is lost have no size that is known: they are no rows. */
static void check_streams(const char *variant, const mft_build_slot *e, const mft_scan *scan)
{
    mft_scan_stream t;
    int more = next_data(scan, e->number, &t, 1);
    size_t i, n = 0;
    for (i = 0; i < e->streams; i++) {
        if (e->stream[i].lowest != 0) continue;
        n++;
        if (!expect(more, variant, e->number, "a stream", 0, i)) return;
        check_stream(variant, e->number, &e->stream[i], &t);
        more = next_data(scan, e->number, &t, 0);
    }
    expect(!more, variant, e->number, "streams", n + 1, n);
}

static void check_rest(const char *variant, const mft_build_slot *e, const mft_scan *scan,
                       const mft_scan_record *r)
{
    unsigned char id[16];
    const char *target = NULL;
    uint32_t tag = 0, length = 0;
    posio_result k = mft_scan_get_reparse(scan, e->number, &tag, &target, &length);
    if (!(e->unsure & MFT_BUILD_UNSURE_REPARSE)) {
        expect((k == POSIO_OK ? tag : 0) == e->reparse, variant, e->number, "reparse tag", tag,
               e->reparse);
        if (e->print != NULL || e->target != NULL) {
            const char *want = e->target != NULL && e->target[0] != 0 ? e->target : e->print;
            expect(length == strlen(want) && memcmp(target, want, length) == 0, variant, e->number,
                   "target of a link", length, strlen(want));
        }
    }
    if (e->unsure & MFT_BUILD_UNSURE_FLAGS) return;
    k = mft_scan_get_object_id(scan, e->number, id);
    expect((k == POSIO_OK) == (e->has_object_id != 0), variant, e->number, "object ID", (uint64_t)k,
           e->has_object_id);
    if (k == POSIO_OK && e->has_object_id)
        expect(memcmp(id, e->object_id, 16) == 0, variant, e->number, "object ID", id[0],
               e->object_id[0]);
    expect(((r->flags & MFT_SCAN_HAS_EA) != 0) == (e->has_ea != 0), variant, e->number, "EAs",
           r->flags, e->has_ea);
}

static void check_standard(const char *variant, const mft_build_slot *e, const mft_scan_record *r,
                           int lean)
{
    expect(((r->flags & MFT_SCAN_HAS_TIMES) != 0) == (e->standard != 0), variant, e->number,
           "HAS_TIMES", r->flags, e->standard);
    if (e->standard == 0) return;
    expect(r->modified == e->time[1], variant, e->number, "modified", r->modified, e->time[1]);
    expect(r->attributes == e->attributes, variant, e->number, "attributes", r->attributes,
           e->attributes);
    if (lean) return;
    expect(r->created == e->time[0], variant, e->number, "created", r->created, e->time[0]);
    expect(r->changed == e->time[2], variant, e->number, "changed", r->changed, e->time[2]);
    expect(r->accessed == e->time[3], variant, e->number, "accessed", r->accessed, e->time[3]);
    expect(r->log_sequence == e->lsn, variant, e->number, "LSN", r->log_sequence, e->lsn);
    if (e->standard < 72) return;
    expect(r->security_id == e->security_id, variant, e->number, "security ID", r->security_id,
           e->security_id);
    expect(r->usn == e->usn_journal, variant, e->number, "USN", r->usn, e->usn_journal);
}

static void check_slot(const char *variant, const mft_build *s, const mft_build_slot *e,
                       const mft_scan *scan)
{
    const int lean = mft_scan_info(scan)->columns == MFT_SCAN_LEAN;
    mft_scan_record r;
    mft_scan_name n;
    if (!expect(mft_scan_get_record(scan, e->number, &r) == POSIO_OK, variant, e->number, "slot", 0,
                1))
        return;
    if (!(e->unsure & MFT_BUILD_UNSURE_STATE))
        expect(r.state == state_of[e->state], variant, e->number, "state", r.state,
               state_of[e->state]);
    if (r.state == MFT_SCAN_NEVER_WRITTEN || r.state >= MFT_SCAN_BAD_SIGNATURE) {
        expect(mft_scan_first_name(scan, e->number, &n) == POSIO_E_RANGE, variant, e->number,
               "a name", 1, 0);
        return;
    }
    if (e->unsure == MFT_BUILD_UNSURE_ALL) return;
    if (!(e->unsure & MFT_BUILD_UNSURE_FLAGS)) {
        check_flags(variant, e, &r);
        expect(r.sequence == e->sequence, variant, e->number, "sequence", r.sequence, e->sequence);
        expect(r.base == e->base, variant, e->number, "base", r.base, e->base);
    }
    if (!(e->unsure & MFT_BUILD_UNSURE_STANDARD)) check_standard(variant, e, &r, lean);
    /* Names and streams of an extension are those of its base. */
    if (r.flags & MFT_SCAN_EXTENSION && !(r.flags & MFT_SCAN_ORPHAN_EXTENSION)) {
        expect(mft_scan_first_name(scan, e->number, &n) == POSIO_E_RANGE, variant, e->number,
               "name of an extension", 1, 0);
        return;
    }
    if (!(e->unsure & MFT_BUILD_UNSURE_NAMES)) check_names(variant, s, e, scan, lean);
    if (!lean && !(e->unsure & MFT_BUILD_UNSURE_STREAMS)) check_streams(variant, e, scan);
    if (!lean) check_rest(variant, e, scan, &r);
}

static void check_counts(const char *variant, const mft_build *s, const mft_scan *scan)
{
    const mft_scan_stats *t = mft_scan_get_stats(scan);
    const uint64_t got[] = {t->in_use, t->free_records,  t->never_written,
                            t->baad,   t->bad_signature, t->unread};
    static const char *const names[] = {"in_use", "free",          "never_written",
                                        "baad",   "bad_signature", "unread"};
    uint64_t want[MFT_BUILD_STATES] = {0, 0, 0, 0, 0, 0}, sum = 0;
    size_t i;
    for (i = 0; i < s->slots; i++) {
        if (s->slot[i].unsure & MFT_BUILD_UNSURE_STATE) return;
        want[s->slot[i].state]++;
    }
    if (s->tail != 0) want[MFT_BUILD_UNREAD]++;
    for (i = 0; i < MFT_BUILD_STATES; i++) {
        expect(got[i] == want[i], variant, UINT64_MAX, names[i], got[i], want[i]);
        sum += got[i];
    }
    expect(t->slots == sum, variant, UINT64_MAX, "slots", t->slots, sum);
}

/* Is the result one of those that the variant allows: "OK", "FORMAT|DATA"? */
static int is_allowed(const char *list, posio_result r)
{
    const char *name = posio_result_name(r) + strlen("POSIO_");
    size_t n;
    if (r != POSIO_OK) name += 2; /* E_ */
    n = strlen(name);
    while (list != NULL && *list != 0) {
        size_t k = strcspn(list, "|");
        if (k == n && memcmp(list, name, n) == 0) return 1;
        list += k + (list[k] != 0);
    }
    return 0;
}

static void check_variant(const mft_build_variant *v, const mft_scan_desc *desc)
{
    mft_build s;
    mft_scan *scan = NULL;
    posio_source source;
    posio_error err;
    posio_result r;
    size_t i;
    memset(&err, 0, sizeof err);
    mft_build_make(&s, v);
    source = image_source(&s);
    r = mft_scan_open_source(&scan, &source, desc, &err);
    if (!is_allowed(v->open, r)) {
        snprintf(failure, sizeof failure, "%s: opening gives %s (%s), wanted %s", v->name,
                 posio_result_name(r), err.message, v->open);
        test_fail(__FILE__, __LINE__, failure);
    }
    CHECK(r == POSIO_OK || (err.code == r && err.message[0] != 0));
    if (r == POSIO_OK && strcmp(v->open, "OK") == 0) {
        const uint64_t slots = mft_scan_info(scan)->slots;
        const uint64_t cut = s.tail != 0; /* what is left of a record is unread, not nothing */
        expect(slots == s.slots + cut, v->name, UINT64_MAX, "slots", slots, s.slots + cut);
        for (i = 0; i < s.slots; i++) check_slot(v->name, &s, &s.slot[i], scan);
        check_counts(v->name, &s, scan);
    }
    mft_scan_close(scan);
    mft_build_free(&s);
}

TEST(fixtures_in_full)
{
    mft_scan_desc d = full_desc();
    size_t i;
    for (i = 0; i < mft_build_variant_count(); i++) check_variant(&mft_build_variants[i], &d);
}

TEST(fixtures_lean_with_kept_paths)
{
    mft_scan_desc d = full_desc();
    size_t i;
    d.columns = MFT_SCAN_LEAN;
    d.flags = MFT_SCAN_PATHS;
    d.segment_bytes = 8192;
    for (i = 0; i < mft_build_variant_count(); i++) check_variant(&mft_build_variants[i], &d);
}

// ---------------------------------------------------------------------------------- identity

static void require_same(const char *variant, const mft_scan *a, const mft_scan *b, int lean)
{
    uint64_t i, n = mft_scan_info(a)->slots;
    expect(n == mft_scan_info(b)->slots, variant, UINT64_MAX, "slots", mft_scan_info(b)->slots, n);
    for (i = 0; i < n && i < mft_scan_info(b)->slots; i++) {
        mft_render x = {NULL, 0, 0}, y = {NULL, 0, 0};
        mft_render_record(&x, a, i, lean);
        mft_render_record(&y, b, i, lean);
        if (x.length != y.length || memcmp(x.text, y.text, x.length) != 0) {
            snprintf(failure, sizeof failure, "%s: %.400s but %.400s", variant, x.text, y.text);
            test_fail(__FILE__, __LINE__, failure);
            i = n;
        }
        free(x.text);
        free(y.text);
    }
}

/* The segments themselves, byte by byte. */
static void require_same_bytes(const char *variant, const mft_scan *a, const mft_scan *b)
{
    const size_t head = (sizeof(mft_scan_i_columns) + 7) & ~(size_t)7;
    uint64_t i;
    for (i = 0; i < a->segment_count; i++) {
        mft_scan_i_columns x = *a->segments[i], y = *b->segments[i];
        size_t n;
        expect((x.flags == NULL) == (y.flags == NULL), variant, i, "uniform segment", 0, 0);
        if (x.flags == NULL) continue;
        expect(memcmp(x.count, y.count, sizeof x.count) == 0, variant, i, "counts of a segment", 0,
               0);
        n = mft_scan_i_place(&x, NULL, mft_scan_i_wanted_columns(a), NULL);
        expect(memcmp((const char *)a->segments[i] + head, (const char *)b->segments[i] + head, n) ==
                   0, variant, i, "columns of a segment", 1, 0);
    }
}

typedef struct shown {
    const char *variant;
    const mft_scan *index;
    uint64_t records, names;
} shown;

/* A base that does not know of its extensions is shown before them, and once more with them. */
static int comes_twice(const mft_scan_record *r)
{
    return r->flags & MFT_SCAN_HAS_EXTENSIONS && !(r->flags & MFT_SCAN_HAS_LIST);
}

static uint64_t count_names(const mft_scan *scan, uint64_t number)
{
    mft_scan_name n;
    uint64_t count = 0;
    posio_result r;
    for (r = mft_scan_first_name(scan, number, &n); r == POSIO_OK; r = mft_scan_next_name(scan, &n))
        count++;
    return count;
}

static int show(void *user, const mft_scan *view, uint64_t number)
{
    shown *o = (shown *)user;
    mft_render x = {NULL, 0, 0}, y = {NULL, 0, 0};
    mft_scan_record r;
    mft_render_record(&x, o->index, number, 0);
    mft_render_record(&y, view, number, 0);
    (void)mft_scan_get_record(o->index, number, &r);
    if (!comes_twice(&r) && (x.length != y.length || memcmp(x.text, y.text, x.length) != 0)) {
        snprintf(failure, sizeof failure, "%s: index %.400s but visited %.400s", o->variant, x.text,
                 y.text);
        test_fail(__FILE__, __LINE__, failure);
    }
    free(x.text);
    free(y.text);
    o->records++;
    o->names += count_names(view, number);
    return 0;
}

static void visit_like_index(const char *variant, const posio_source *source,
                             const mft_scan_desc *desc, const mft_scan *index)
{
    shown o = {variant, index, 0, 0};
    mft_scan_stats t;
    mft_scan_record record;
    posio_error err;
    posio_result r = mft_scan_visit(source, desc, show, &o, &t, &err);
    const mft_scan_stats *want = mft_scan_get_stats(index);
    uint64_t i, records = 0, twice = 0;
    for (i = 0; mft_scan_get_record(index, i, &record) == POSIO_OK; i++) {
        records += !(record.flags & MFT_SCAN_EXTENSION) || record.flags & MFT_SCAN_ORPHAN_EXTENSION;
        twice += (uint64_t)comes_twice(&record);
    }
    expect(r == POSIO_OK, variant, UINT64_MAX, "visit", (uint64_t)r, 0);
    expect(o.records == records + twice, variant, UINT64_MAX, "visited", o.records, records + twice);
    expect(o.names == want->names && t.names == want->names, variant, UINT64_MAX, "names visited",
           o.names, want->names);
    expect(t.orphan_extension == want->orphan_extension, variant, UINT64_MAX, "orphan extensions",
           t.orphan_extension, want->orphan_extension);
    expect(t.deferred == want->deferred, variant, UINT64_MAX, "deferred", t.deferred, want->deferred);
    expect(t.hard_linked_records == want->hard_linked_records, variant, UINT64_MAX, "hard links",
           t.hard_linked_records, want->hard_linked_records);
}

static void compare_modes(const mft_build_variant *v, thread_pool *const *pools)
{
    static const uint32_t chunks[] = {300000, 5000, 70001};
    mft_build s;
    mft_scan *first = NULL, *scan = NULL;
    mft_scan_desc d = full_desc();
    posio_source source;
    posio_error err;
    uint32_t mode, i, k;
    mft_build_make(&s, v);
    source = image_source(&s);
    d.mode = MFT_SCAN_SERIAL;
    d.segment_bytes = 16384;
    if (mft_scan_open_source(&first, &source, &d, &err) == POSIO_OK) {
        for (mode = MFT_SCAN_PARALLEL; mode <= MFT_SCAN_PIPELINED_PARALLEL; mode++)
            for (i = 0; i < 4; i++)
                for (k = 0; k < (mode == MFT_SCAN_PARALLEL ? 1 : 3); k++) {
                    d.mode = mode;
                    d.pool = pools[i];
                    d.chunk_bytes = chunks[k];
                    REQUIRE(mft_scan_open_source(&scan, &source, &d, &err) == POSIO_OK);
                    require_same_bytes(v->name, first, scan);
                    mft_scan_close(scan);
                }
        d.pool = NULL;
        d.mode = MFT_SCAN_SERIAL;
        d.segment_bytes = 0;
        REQUIRE(mft_scan_open_source(&scan, &source, &d, &err) == POSIO_OK);
        require_same(v->name, first, scan, 0);
        mft_scan_close(scan);
        if (strcmp(v->open, "OK") == 0) {
            visit_like_index(v->name, &source, &d, first);
            d.cache_bytes = 1 << 16; /* some records do not fit, and are read again */
            visit_like_index(v->name, &source, &d, first);
        }
        mft_scan_close(first);
    }
    mft_build_free(&s);
}

TEST(every_mode_gives_the_same_bits)
{
    static const uint32_t threads[] = {1, 2, 3, 8};
    thread_pool *pools[4];
    size_t i;
    for (i = 0; i < 4; i++) pools[i] = thread_pool_create(threads[i]);
    for (i = 0; i < mft_build_variant_count(); i += TEST_STRIDE)
        compare_modes(&mft_build_variants[i], pools);
    for (i = 0; i < 4; i++) thread_pool_destroy(pools[i]);
}

// ---------------------------------------------------------------------------------- by name

static mft_scan *open_variant(mft_build *s, const char *name, const mft_scan_desc *desc)
{
    mft_scan *scan = NULL;
    posio_source source;
    posio_error err;
    const mft_build_variant *v = mft_build_variant_of(name);
    if (v == NULL) {
        test_fail(__FILE__, __LINE__, name);
        return NULL;
    }
    mft_build_make(s, v);
    source = image_source(s);
    memset(&err, 0, sizeof err);
    if (mft_scan_open_source(&scan, &source, desc, &err) != POSIO_OK)
        test_fail(__FILE__, __LINE__, err.message);
    return scan;
}

TEST(children_are_all_names_once)
{
    mft_build s;
    mft_scan_desc d = full_desc();
    mft_scan *scan;
    mft_scan_child c;
    mft_scan_name n;
    uint64_t i, names = 0, children = 0;
    posio_result r;
    d.flags = MFT_SCAN_CHILDREN;
    scan = open_variant(&s, "volume-4k", &d);
    REQUIRE(scan != NULL);
    for (i = 0; i < mft_scan_info(scan)->slots; i++) {
        uint64_t last = 0;
        for (r = mft_scan_first_child(scan, i, &c); r == POSIO_OK; r = mft_scan_next_child(scan, &c)) {
            CHECK_EQ(MFT_SCAN_NUMBER(c.name.parent), i);
            CHECK(c.name.slot >= last);
            last = c.name.slot;
            children++;
            n = c.name; /* a name from here goes on like any other */
            while (mft_scan_next_name(scan, &n) == POSIO_OK) CHECK_EQ(n.owner, c.name.owner);
        }
        for (r = mft_scan_first_name(scan, i, &n); r == POSIO_OK; r = mft_scan_next_name(scan, &n))
            names++;
    }
    CHECK_EQ(children, names - 1); /* the root is nobody's child */
    CHECK_EQ(mft_scan_first_child(scan, UINT64_MAX, &c), POSIO_E_RANGE);
    mft_scan_close(scan);
    mft_build_free(&s);
}

TEST(a_reference_finds_only_its_own_file)
{
    mft_build s;
    mft_scan_desc d = full_desc();
    mft_scan *scan = open_variant(&s, "volume-4k", &d);
    mft_scan_record r;
    REQUIRE(scan != NULL);
    CHECK_EQ(mft_scan_find(scan, MFT_BUILD_REF(5, 5), &r), POSIO_OK);
    CHECK_EQ(r.number, 5);
    CHECK_EQ(mft_scan_find(scan, MFT_BUILD_REF(5, 4), &r), POSIO_E_NOT_FOUND);
    CHECK_EQ(mft_scan_find(scan, MFT_BUILD_REF(1 << 30, 1), &r), POSIO_E_RANGE);
    CHECK_EQ(mft_scan_get_record(scan, mft_scan_info(scan)->slots, &r), POSIO_E_RANGE);
    CHECK_EQ(mft_scan_get_record(scan, UINT64_MAX, &r), POSIO_E_RANGE);
    mft_scan_close(scan);
    mft_build_free(&s);
}

/* A directory was deleted and its record used again, but for an extension that still has its name:
   what lay in the directory finds its path by that. */
typedef struct list_case {
    const char *variant;
    uint32_t mismatch, damage, extension; /* of record 29; whether 30 is flagged, too */
} list_case;

/* Lists are compared with what is there from both sides. Records 25 and 27 have nothing to do with
   it, but for ext-not-back, whose extension names 25. */
static const list_case list_cases[] = {
    {"ext-after", 0, MFT_SCAN_SOUND, 0},
    {"ext-not-back", 1, MFT_SCAN_SOUND, 0},
    {"ext-not-listed", 1, MFT_SCAN_SOUND, 1},
    {"ext-no-list", 1, MFT_SCAN_SOUND, 0},
    {"ext-listed-free", 1, MFT_SCAN_SOUND, 0},
    {"ext-listed-out", 1, MFT_SCAN_SOUND, 1},
    {"ext-list-self", 0, MFT_SCAN_BAD_LIST, 0},
    {"ext-list-cut", 1, MFT_SCAN_BAD_LIST, 0},
    {"ext-list-length-0", 1, MFT_SCAN_BAD_LIST, 1},
    {"ext-list-length-out", 1, MFT_SCAN_BAD_LIST, 1},
    {"ext-list-name-out", 1, MFT_SCAN_BAD_LIST, 1},
    {"ext-list-empty", 1, MFT_SCAN_SOUND, 1},
    {"ext-list-outside", 0, MFT_SCAN_BAD_LIST, 0},
    {"ext-list-huge", 0, MFT_SCAN_BAD_LIST, 0},
    {"ext-list-hole", 0, MFT_SCAN_BAD_LIST, 0},
    {"ext-list-others", 1, MFT_SCAN_SOUND, 0},
    {"ext-list-order", 0, MFT_SCAN_BAD_LIST, 0},
    {"ext-list-lacks", 1, MFT_SCAN_SOUND, 0},
    {"ext-list-more", 1, MFT_SCAN_SOUND, 0},
    {"ext-list-sequence", 1, MFT_SCAN_SOUND, 0}};

TEST(lists_are_checked_both_ways)
{
    size_t i;
    for (i = 0; i < sizeof list_cases / sizeof list_cases[0]; i++) {
        const list_case *t = &list_cases[i];
        const int not_back = strcmp(t->variant, "ext-not-back") == 0;
        mft_build s;
        mft_scan_desc d = full_desc();
        mft_scan *scan = open_variant(&s, t->variant, &d);
        mft_scan_record base, ext, other;
        REQUIRE(scan != NULL);
        REQUIRE(mft_scan_get_record(scan, 29, &base) == POSIO_OK);
        REQUIRE(mft_scan_get_record(scan, 30, &ext) == POSIO_OK);
        REQUIRE(mft_scan_get_record(scan, MFT_BUILD_BEFORE, &other) == POSIO_OK);
        expect(!!(base.flags & MFT_SCAN_LIST_MISMATCH) == (t->mismatch != 0), t->variant, 29,
               "LIST_MISMATCH", base.flags, t->mismatch);
        expect(base.damage == t->damage, t->variant, 29, "damage", base.damage, t->damage);
        expect(!!(ext.flags & MFT_SCAN_LIST_MISMATCH) == (t->extension != 0), t->variant, 30,
               "LIST_MISMATCH", ext.flags, t->extension);
        expect(!!(other.flags & MFT_SCAN_LIST_MISMATCH) == not_back, t->variant, 25,
               "LIST_MISMATCH", other.flags, (uint64_t)not_back);
        CHECK_EQ(mft_scan_get_stats(scan)->list_mismatches, t->mismatch + (uint32_t)not_back);
        mft_scan_close(scan);
        mft_build_free(&s);
    }
}

TEST(a_reused_directory_lives_on_in_its_extension)
{
    mft_build s;
    mft_build_slot *x;
    mft_scan *scan = NULL;
    mft_scan_desc d = full_desc();
    mft_scan_path_stats p;
    posio_source source;
    posio_error err;
    mft_scan_name n;
    char path[64];
    size_t length;
    uint32_t status, kept;
    mft_build_begin(&s, NULL);
    (void)mft_build_data(mft_build_file(&s, 24, 7, "new.txt", MFT_BUILD_ROOT), "", 3);
    x = mft_build_open(&s, 25, 2, 0, MFT_BUILD_REF(24, 5));
    (void)mft_build_link(x, MFT_BUILD_ROOT, "old folder", MFT_BUILD_WIN32);
    (void)mft_build_data(mft_build_file(&s, 26, 1, "child", MFT_BUILD_REF(24, 5)), "", 3);
    (void)mft_build_data(mft_build_file(&s, 27, 1, "lost", MFT_BUILD_REF(24, 4)), "", 3);
    mft_build_finish(&s);
    source = image_source(&s);
    for (kept = 0; kept < 2; kept++) {
        d.flags = kept ? MFT_SCAN_PATHS : 0;
        REQUIRE(mft_scan_open_source(&scan, &source, &d, &err) == POSIO_OK);
        CHECK_EQ(mft_scan_first_name(scan, 26, &n), POSIO_OK);
        CHECK_EQ(mft_scan_parent(scan, &n), MFT_SCAN_PARENT_RECOVERED);
        CHECK_EQ(mft_scan_path(scan, &n, path, sizeof path, &length, &status), POSIO_OK);
        CHECK_STR(path, "/old folder/child");
        CHECK_EQ(status, MFT_SCAN_PARENT_RECOVERED);
        CHECK_EQ(mft_scan_first_name(scan, 27, &n), POSIO_OK);
        CHECK_EQ(mft_scan_parent(scan, &n), MFT_SCAN_PARENT_STALE);
        CHECK_EQ(mft_scan_check_paths(scan, NULL, &p, &err), POSIO_OK);
        CHECK_EQ(p.recovered, 1);
        CHECK_EQ(p.stale, 1);
        mft_scan_close(scan);
    }
    mft_build_free(&s);
}

TEST(impossible_wishes_are_refused)
{
    unsigned char bytes[1024];
    posio_memory m;
    posio_source source;
    mft_scan_desc d = full_desc();
    mft_scan *scan = NULL;
    posio_error err;
    uint32_t count = 9;
    memset(bytes, 0, sizeof bytes);
    m.data = bytes;
    m.size = sizeof bytes;
    source = posio_memory_source(&m);
    d.record_size = 1000;
    CHECK_EQ(mft_scan_open_source(&scan, &source, &d, &err), POSIO_E_ARG);
    d.record_size = 0;
    d.mode = 9;
    CHECK_EQ(mft_scan_open_source(&scan, &source, &d, NULL), POSIO_E_ARG);
    d.mode = 0;
    CHECK_EQ(mft_scan_open_source(&scan, NULL, &d, &err), POSIO_E_ARG);
    CHECK_EQ(mft_scan_open_source(&scan, &source, &d, NULL), POSIO_E_FORMAT);
    CHECK_EQ(mft_scan_volumes(&source, NULL, 1, &count, &err), POSIO_E_ARG);
    CHECK_EQ(mft_scan_volumes(&source, NULL, 0, &count, &err), POSIO_OK);
    CHECK_EQ(count, 0);
    CHECK(scan == NULL);
    mft_scan_close(NULL);
}

static int cancel_at_once(void *user, uint64_t done, uint64_t total)
{
    (void)user;
    (void)done;
    (void)total;
    return 1;
}

static int stop_visit(void *user, const mft_scan *view, uint64_t number)
{
    (void)user;
    (void)view;
    return number == 3;
}

TEST(a_scan_can_be_canceled)
{
    mft_build s;
    mft_scan *scan = NULL;
    mft_scan_desc d = full_desc();
    posio_source source;
    posio_error err;
    d.progress = cancel_at_once;
    mft_build_make(&s, mft_build_variant_of("volume-4k"));
    source = image_source(&s);
    CHECK_EQ(mft_scan_open_source(&scan, &source, &d, &err), POSIO_E_CANCELED);
    CHECK_EQ(mft_scan_visit(&source, &d, stop_visit, NULL, NULL, &err), POSIO_E_CANCELED);
    d.progress = NULL;
    CHECK_EQ(mft_scan_visit(&source, &d, stop_visit, NULL, NULL, &err), POSIO_E_CANCELED);
    mft_build_free(&s);
}

TEST(a_file_that_is_not_there)
{
    mft_scan *scan = NULL;
    posio_error err;
    CHECK_EQ(mft_scan_open(&scan, "/nonexistent/$MFT", NULL, &err), POSIO_E_NOT_FOUND);
    CHECK(strstr(err.file, "$MFT") != NULL);
    CHECK(scan == NULL);
}

/* Every partition that the fixture made is listed where it is. */
TEST(volumes_of_disks)
{
    size_t i, k, disks = 0;
    for (i = 0; i < mft_build_variant_count(); i++) {
        const mft_build_variant *v = &mft_build_variants[i];
        mft_build s;
        mft_scan_volume list[16];
        posio_source source;
        posio_error err;
        uint32_t count = 0;
        mft_build_make(&s, v);
        source = image_source(&s);
        if (s.partitions != 0 && strncmp(v->name, "disk-", 5) == 0 && strstr(v->open, "OK")) {
            disks++;
            CHECK_EQ(mft_scan_volumes(&source, list, 16, &count, &err), POSIO_OK);
            expect(count == s.partitions, v->name, UINT64_MAX, "volumes", count, s.partitions);
            for (k = 0; k < count && k < s.partitions; k++)
                expect(list[k].offset == s.partition[k].start, v->name, k, "offset of a volume",
                       list[k].offset, s.partition[k].start);
        }
        mft_build_free(&s);
    }
    CHECK(disks >= 10);
}

TEST(one_of_two_volumes_is_chosen_by_number)
{
    mft_build s;
    mft_scan *scan = NULL;
    mft_scan_desc d = full_desc();
    mft_scan_volume list[4];
    posio_source source;
    posio_error err;
    uint32_t count = 0, i;
    mft_build_make(&s, mft_build_variant_of("disk-gpt-two"));
    source = image_source(&s);
    CHECK_EQ(mft_scan_open_source(&scan, &source, &d, &err), POSIO_E_ARG);
    CHECK(strstr(err.message, "2 NTFS volumes") != NULL);
    CHECK_EQ(mft_scan_volumes(&source, list, 4, &count, &err), POSIO_OK);
    CHECK_EQ(count, 2);
    for (i = 0; i < count && i < 4; i++) {
        d.partition = list[i].number;
        REQUIRE(mft_scan_open_source(&scan, &source, &d, &err) == POSIO_OK);
        CHECK_EQ(mft_scan_info(scan)->volume_offset, list[i].offset);
        CHECK_EQ(mft_scan_info(scan)->input, MFT_SCAN_INPUT_DISK);
        mft_scan_close(scan);
    }
    d.partition = 77;
    CHECK_EQ(mft_scan_open_source(&scan, &source, &d, &err), POSIO_E_NOT_FOUND);
    mft_build_free(&s);
}

// ---------------------------------------------------------------------------------- ceilings

typedef struct ceiling {
    uint64_t live, peak;
} ceiling;

static void *ceiling_alloc(size_t size, void *user)
{
    ceiling *c = (ceiling *)user;
    size_t *p = (size_t *)malloc(size + 16);
    if (p == NULL) return NULL;
    *p = size;
    c->live += size;
    if (c->live > c->peak) c->peak = c->live;
    return (char *)p + 16;
}

static void ceiling_free(void *block, void *user)
{
    size_t *p = (size_t *)(void *)((char *)block - 16);
    ((ceiling *)user)->live -= *p;
    free(p);
}

/* A source of zeros that says so, or an $MFT whose records are all extensions of record 0. */
static posio_result zeros_read(void *self, uint64_t offset, void *buf, size_t n, posio_error *err)
{
    (void)self;
    (void)err;
    memset(buf, 0, n);
    if (offset == 0 && n >= 1024) mft_build_le((uint8_t *)buf, 0x454c4946, 4);
    if (offset == 0 && n >= 1024) mft_build_le((uint8_t *)buf + 0x1c, 1024, 4);
    return POSIO_OK;
}

static posio_result zeros_extent(void *self, uint64_t offset, posio_extent *out, posio_error *err)
{
    (void)err;
    memset(out, 0, sizeof *out);
    out->kind = offset < 1 << 20 ? POSIO_EXTENT_DATA : POSIO_EXTENT_HOLE;
    out->length = offset < 1 << 20 ? (1 << 20) - offset : *(const uint64_t *)self - offset;
    return POSIO_OK;
}

TEST(a_sparse_source_costs_next_to_nothing)
{
    ceiling c = {0, 0};
    uint64_t size = (uint64_t)1 << 40; /* 2^30 slots */
    mft_scan *scan = NULL;
    mft_scan_desc d = full_desc();
    posio_source source;
    posio_error err;
    d.segment_bytes = 0;
    memset(&source, 0, sizeof source);
    source.size = size;
    source.read_at = zeros_read;
    source.extent_at = zeros_extent;
    source.self = &size;
    d.alloc.alloc_fn = ceiling_alloc;
    d.alloc.free_fn = ceiling_free;
    d.alloc.user = &c;
    REQUIRE(mft_scan_open_source(&scan, &source, &d, &err) == POSIO_OK);
    CHECK_EQ(mft_scan_get_stats(scan)->never_written, ((uint64_t)1 << 30) - 1);
    CHECK(mft_scan_get_stats(scan)->bytes_read <= 1 << 20);
    CHECK(c.peak < 32 << 20);
    mft_scan_close(scan);
    CHECK_EQ(c.live, 0);
}

static posio_result extensions_read(void *self, uint64_t offset, void *buf, size_t n,
                                    posio_error *err)
{
    uint8_t *p = (uint8_t *)buf, rec[1024];
    size_t i;
    (void)self;
    (void)err;
    for (i = 0; i < n; i++) {
        const uint64_t at = offset + i;
        if (i == 0 || at % 1024 == 0) {
            memset(rec, 0, sizeof rec);
            memcpy(rec, "FILE", 4);
            mft_build_le(rec + 4, 0x30, 2);
            mft_build_le(rec + 6, 3, 2);
            mft_build_le(rec + 0x10, 1, 2);
            mft_build_le(rec + 0x14, 0x38, 2);
            mft_build_le(rec + 0x16, 1, 2);
            mft_build_le(rec + 0x18, 0x40, 4);
            mft_build_le(rec + 0x1c, 1024, 4);
            mft_build_le(rec + 0x20, at < 1024 ? 0 : MFT_BUILD_REF(0, 1), 8);
            mft_build_le(rec + 0x38, 0xffffffff, 4);
        }
        p[i] = rec[at % 1024];
    }
    return POSIO_OK;
}

static int count_visits(void *user, const mft_scan *view, uint64_t number)
{
    (void)view;
    (void)number;
    ++*(uint64_t *)user;
    return 0;
}

TEST(visiting_has_a_ceiling)
{
    ceiling c = {0, 0};
    mft_scan_desc d = full_desc();
    posio_source source;
    posio_error err;
    mft_scan_stats t;
    uint64_t visits = 0;
    d.segment_bytes = 0;
    d.segment_bytes = 0;
    memset(&source, 0, sizeof source);
    source.size = (uint64_t)1024 << 14;
    source.read_at = extensions_read;
    d.alloc.alloc_fn = ceiling_alloc;
    d.alloc.free_fn = ceiling_free;
    d.alloc.user = &c;
    d.cache_bytes = 1 << 20;
    CHECK_EQ(mft_scan_visit(&source, &d, count_visits, &visits, &t, &err), POSIO_OK);
    CHECK(t.ext_name_cache_skipped != 0 && t.deferred_disk_reads >= t.ext_name_cache_skipped);
    CHECK(c.peak < 9 << 20);
    CHECK_EQ(c.live, 0);
    CHECK(visits >= 16 && visits < 20); /* 16,383 extensions in pieces of 1,023 */
    d.cache_bytes = 1 << 14;
    CHECK_EQ(mft_scan_visit(&source, &d, count_visits, &visits, &t, &err), POSIO_E_LIMIT);
    CHECK_EQ(c.live, 0);
}

// ---------------------------------------------------------------------------------- faults

static posio_result weak_read(void *self, uint64_t offset, void *buf, size_t n, posio_error *err)
{
    void *const *both = (void *const *)self;
    if (faults_strike((faults *)both[1]))
        return posio_fail(err, POSIO_E_IO, offset, "a fault that was wanted");
    return image_read(both[0], offset, buf, n, err);
}

static void strike_everywhere(const char *name, int memory, int visit)
{
    mft_build s;
    uint64_t at;
    mft_build_make(&s, mft_build_variant_of(name));
    for (at = 1;; at++) {
        faults f = {0, 0, 0, 0, 0}, reads = {0, 0, 0, 0, 0};
        void *both[2];
        mft_scan *scan = NULL;
        mft_scan_desc d = full_desc();
        posio_source source = image_source(&s);
        posio_error err;
        posio_result r;
        uint64_t visits = 0;
        (memory ? &f : &reads)->fail_at = at;
        both[0] = &s;
        both[1] = &reads;
        source.read_at = weak_read;
        source.self = both;
        d.flags = visit ? 0 : MFT_SCAN_PATHS | MFT_SCAN_CHILDREN | MFT_SCAN_SKIP_FREE;
        d.mode = at % 2 != 0 ? MFT_SCAN_SERIAL : MFT_SCAN_PIPELINED_PARALLEL;
        d.alloc.alloc_fn = faults_alloc;
        d.alloc.free_fn = faults_free;
        d.alloc.user = &f;
        memset(&err, 0, sizeof err);
        r = visit ? mft_scan_visit(&source, &d, count_visits, &visits, NULL, &err)
                  : mft_scan_open_source(&scan, &source, &d, &err);
        /* (A visit without memory for its cache reads records again.) */
        if (memory && f.failed != 0 && !(visit && r == POSIO_OK))
            CHECK(r == POSIO_E_NOMEM && err.message[0] != 0);
        if (r != POSIO_OK) CHECK(scan == NULL && err.code == r);
        mft_scan_close(scan);
        CHECK_EQ(f.live, 0);
        if ((memory ? f.failed : reads.failed) == 0) break;
    }
    CHECK(at > (memory ? 5u : 2u));
    mft_build_free(&s);
}

TEST(every_allocation_fails_once)
{
    strike_everywhere("mft-list-out", 1, 0);
    strike_everywhere("volume-4k", 1, 1);
}

TEST(every_read_fails_once)
{
    strike_everywhere("mft-list-out", 0, 0);
    strike_everywhere("mft-bootstrap", 0, 0);
    strike_everywhere("volume-4k", 0, 1);
}

/* Files that end anywhere: no crash, and what is there is read. */
TEST(a_volume_ends_anywhere)
{
    const mft_build_variant *v = mft_build_variant_of("mft-bootstrap-512");
    mft_build s;
    uint64_t size, step;
    mft_build_make(&s, v);
    step = s.image.size / 211 * TEST_STRIDE;
    for (size = 0; size < s.image.size; size += step) {
        mft_scan *scan = NULL;
        mft_scan_desc d = full_desc();
        posio_source source = image_source(&s);
        posio_error err;
        source.size = size;
        if (mft_scan_open_source(&scan, &source, &d, &err) == POSIO_OK) {
            const mft_scan_stats *t = mft_scan_get_stats(scan);
            CHECK(t->slots != 0);
        } else {
            CHECK(err.message[0] != 0);
        }
        mft_scan_close(scan);
    }
    mft_build_free(&s);
}

/* The first sector of the medium cannot be read: there are copies of what it says. */
TEST(an_unreadable_first_sector)
{
    static const char *const names[] = {"volume-4k", "disk-gpt", "raw-1k"};
    size_t i;
    for (i = 0; i < 3; i++) {
        mft_build s;
        mft_scan *scan = NULL;
        mft_scan_desc d = full_desc();
        mft_scan_record r;
        mft_scan_warning w;
        posio_source source;
        posio_error err;
        mft_build_make(&s, mft_build_variant_of(names[i]));
        s.fault[0].start = 0;
        s.fault[0].length = 512;
        s.faults = 1;
        source = image_source(&s);
        if (mft_scan_open_source(&scan, &source, &d, &err) != POSIO_OK) {
            test_fail(__FILE__, __LINE__, err.message);
        } else {
            CHECK_EQ(mft_scan_info(scan)->slots, s.slots);
            CHECK_EQ(mft_scan_info(scan)->from_backup_boot, i == 0);
            CHECK_EQ(mft_scan_get_record(scan, 0, &r), POSIO_OK);
            CHECK_EQ(r.state, i == 2 ? MFT_SCAN_UNREAD : MFT_SCAN_IN_USE);
            CHECK(i == 1 || mft_scan_get_warning(scan, 0, &w) == POSIO_OK);
            CHECK(i != 2 || strstr(w.message, "a bad sector") != NULL);
        }
        mft_scan_close(scan);
        mft_build_free(&s);
    }
}

/* With this sector bad; returns how many records are lost. */
static uint64_t lost_with_bad_sector(mft_build *s, uint64_t sector)
{
    mft_scan *a = NULL, *b = NULL;
    mft_scan_desc d = full_desc();
    posio_source source;
    posio_error err;
    uint64_t lost;
    s->fault[0].start = sector * 512;
    source = image_source(s);
    d.mode = MFT_SCAN_SERIAL;
    d.segment_bytes = 4096;
    d.chunk_bytes = 16384;
    if (mft_scan_open_source(&a, &source, &d, &err) != POSIO_OK) return 0;
    d.mode = MFT_SCAN_PIPELINED_PARALLEL;
    CHECK_EQ(mft_scan_open_source(&b, &source, &d, &err), POSIO_OK);
    if (b != NULL) require_same_bytes("mft-straddle", a, b);
    lost = mft_scan_get_stats(a)->unread;
    CHECK(lost <= 1);
    mft_scan_close(a);
    mft_scan_close(b);
    return lost;
}

/* Runs that begin within a record, and a bad sector in any of them: the same records are lost. */
TEST(a_bad_sector_loses_the_same_in_every_mode)
{
    mft_build s;
    uint64_t lost = 0, sectors = 0, k;
    size_t i;
    mft_build_make(&s, mft_build_variant_of("mft-straddle"));
    s.faults = 1;
    s.fault[0].length = 512;
    for (i = 0; i < s.runs; i++)
        for (k = 0; k < s.run[i].length; k++) /* clusters of one sector */
            if (sectors++ % TEST_STRIDE == 0)
                lost += lost_with_bad_sector(&s, (uint64_t)s.run[i].lcn + k);
    CHECK(lost != 0);
    mft_build_free(&s);
}

/* Records stuffed with $FILE_NAMEs whose value would begin in the attribute's header: as names of 68
   bytes there would be more of them than a segment has room for. */
TEST(a_value_within_the_header_of_its_attribute)
{
    const size_t records = 1024;
    uint8_t *bytes = (uint8_t *)calloc(records, 1024);
    mft_scan *scan = NULL;
    mft_scan_desc d = full_desc();
    posio_memory m;
    posio_source source;
    posio_error err;
    size_t i, at;
    d.segment_bytes = 0;
    if (bytes == NULL) abort();
    for (i = 0; i < records; i++) {
        uint8_t *rec = bytes + i * 1024;
        memcpy(rec, "FILE", 4);
        mft_build_le(rec + 4, 0x30, 2);
        mft_build_le(rec + 6, 1, 2);
        mft_build_le(rec + 0x14, 0x38, 2);
        mft_build_le(rec + 0x16, 1, 2);
        mft_build_le(rec + 0x18, 1024, 4);
        mft_build_le(rec + 0x1c, 1024, 4);
        for (at = 0x38; at + 72 <= 1016; at += 72) {
            mft_build_le(rec + at, 0x30, 4);
            mft_build_le(rec + at + 4, 72, 4);
            mft_build_le(rec + at + 16, 72, 4);
            rec[at + 64] = 1;
            rec[at + 66] = 'x';
        }
        mft_build_le(rec + at, 0xffffffff, 4);
    }
    m.data = bytes;
    m.size = records * 1024;
    source = posio_memory_source(&m);
    REQUIRE(mft_scan_open_source(&scan, &source, &d, &err) == POSIO_OK);
    CHECK_EQ(mft_scan_get_stats(scan)->names, 0);
    CHECK_EQ(mft_scan_get_stats(scan)->damaged, records);
    mft_scan_close(scan);
    free(bytes);
}

// ---------------------------------------------------------------------------------- real $MFTs

typedef struct sample {
    const char *name;
    uint64_t slots, in_use, free_records, never, extension, directories;
} sample;

/* Counts by another reader, of ../shared/samples/mft/MANIFEST.tsv. */
static const sample samples[] = {
    {"EricZimmerman_MFT__NIST_DFR-16_MFT.mft", 154, 117, 0, 37, 0, 50},
    {"Velocidex_go-ntfs__charlie.dd.bz2.icat0.mft", 256, 33, 0, 223, 2, 7},
    {"fox-it_dissect.ntfs__ntfs.bin.icat0.mft", 2304, 2086, 210, 8, 0, 2059},
    {"libyal_libfsntfs__mft_metadata_file.1", 256, 45, 1, 210, 0, 12},
    {"msuhanov_dfir_ntfs__4k-large.mft", 256, 36, 0, 220, 0, 9},
    {"msuhanov_dfir_ntfs__compressed_sparse.mft", 256, 36, 0, 220, 0, 9},
    {"msuhanov_dfir_ntfs__deleted.mft", 256, 35, 6, 215, 0, 9},
    {"msuhanov_ntfs-samples__ntfs-2m.raw.gz.ntfscat_prefixed.mft", 2048, 31, 2017, 0, 0, 7}};

TEST(real_mfts_have_the_known_counts)
{
    size_t i, found = 0;
    for (i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        char path[512];
        mft_scan *scan = NULL;
        mft_scan_desc d = full_desc();
        const mft_scan_stats *t;
        posio_error err;
        FILE *f;
        snprintf(path, sizeof path, "../shared/samples/mft/%s", samples[i].name);
        f = fopen(path, "rb");
        if (f == NULL) continue;
        fclose(f);
        found++;
        REQUIRE(mft_scan_open(&scan, path, &d, &err) == POSIO_OK);
        t = mft_scan_get_stats(scan);
        CHECK_EQ(t->slots, samples[i].slots);
        CHECK_EQ(t->in_use, samples[i].in_use);
        CHECK_EQ(t->free_records, samples[i].free_records);
        CHECK_EQ(t->never_written, samples[i].never);
        CHECK_EQ(t->extension, samples[i].extension);
        CHECK_EQ(t->directories, samples[i].directories);
        CHECK_EQ(t->damaged + t->torn + t->baad + t->unread + t->bad_signature, 0);
        CHECK_EQ(mft_scan_info(scan)->is_pre_fixed, strstr(path, "prefixed") != NULL);
        mft_scan_close(scan);
    }
    if (found == 0) SKIP("../shared/samples/mft is not there");
}

TEST_MAIN(
    RUN(fixtures_in_full);
    RUN(fixtures_lean_with_kept_paths);
    RUN(every_mode_gives_the_same_bits);
    RUN(children_are_all_names_once);
    RUN(a_reference_finds_only_its_own_file);
    RUN(lists_are_checked_both_ways);
    RUN(a_reused_directory_lives_on_in_its_extension);
    RUN(impossible_wishes_are_refused);
    RUN(a_scan_can_be_canceled);
    RUN(a_file_that_is_not_there);
    RUN(volumes_of_disks);
    RUN(one_of_two_volumes_is_chosen_by_number);
    RUN(a_sparse_source_costs_next_to_nothing);
    RUN(visiting_has_a_ceiling);
    RUN(every_allocation_fails_once);
    RUN(every_read_fails_once);
    RUN(a_volume_ends_anywhere);
    RUN(an_unreadable_first_sector);
    RUN(a_bad_sector_loses_the_same_in_every_mode);
    RUN(a_value_within_the_header_of_its_attribute);
    RUN(real_mfts_have_the_known_counts);)
