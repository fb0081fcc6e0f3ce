/* The contract of posio.h: sources, files, folders and what they allow, sinks, pipes, errors. */
#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#endif
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The calls of the C library's heap that the headers make can be counted, to show that a caller's
   allocator is used for everything. */
static int heap_watched;
static unsigned heap_calls;
static void *heap_take(size_t n)
{
    if (heap_watched) heap_calls++;
    return malloc(n);
}
#define malloc(n) heap_take(n)
#define THREAD_POOL_IMPLEMENTATION
#include "../thread_pool.h"
#undef malloc
#include "test.h"

#if !defined(_WIN32)
#include <signal.h>
#include <sys/resource.h>
#endif
#if defined(__linux__)
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#endif

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
/* A call that must fail: the same code returned and reported, with a sentence. Wants an `err`. */
#define CHECK_FAILS(call, want) \
    do { \
        memset(&err, 0x55, sizeof err); \
        err.file[sizeof err.file - 1] = err.message[sizeof err.message - 1] = 0; \
        CHECK_EQ((int64_t)(call), want); \
        CHECK_EQ(err.code, want); \
        CHECK(err.message[0] != 0 && err.message[0] != 0x55); \
    } while (0)

// ---------------------------------------------------------------------------------- raw files

/* What follows makes and looks at files without posio.h. */
static char folder[400];

/* A path in the test's folder; the last 8 stay valid. */
static const char *in(const char *name)
{
    static char paths[8][1400];
    static unsigned turn;
    char *p = paths[turn++ % 8];
    snprintf(p, sizeof paths[0], "%s/%s", folder, name);
    return p;
}

#if defined(_WIN32)
static const wchar_t *wide(const char *path)
{
    static wchar_t paths[4][1400];
    static unsigned turn;
    wchar_t *p = paths[turn++ % 4];
    MultiByteToWideChar(CP_UTF8, 0, path, -1, p, 1400);
    return p;
}
static int raw_write_at(const char *path, uint64_t offset, const void *data, size_t n)
{
    HANDLE h = CreateFileW(wide(path), GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                           OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    LARGE_INTEGER at;
    DWORD done = 0;
    int ok;
    at.QuadPart = (LONGLONG)offset;
    ok = h != INVALID_HANDLE_VALUE && SetFilePointerEx(h, at, NULL, FILE_BEGIN) &&
         WriteFile(h, data, (DWORD)n, &done, NULL) && done == n;
    CloseHandle(h);
    return ok;
}
static int raw_set_size(const char *path, uint64_t size)
{
    HANDLE h = CreateFileW(wide(path), GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                           OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    LARGE_INTEGER at;
    DWORD got = 0;
    int ok;
    at.QuadPart = (LONGLONG)size;
    (void)DeviceIoControl(h, FSCTL_SET_SPARSE, NULL, 0, NULL, 0, &got, NULL);
    ok = h != INVALID_HANDLE_VALUE && SetFilePointerEx(h, at, NULL, FILE_BEGIN) && SetEndOfFile(h);
    CloseHandle(h);
    return ok;
}
static int raw_remove(const char *path) { return DeleteFileW(wide(path)) != 0; }
static int raw_exists(const char *path)
{
    return GetFileAttributesW(wide(path)) != INVALID_FILE_ATTRIBUTES;
}
static int raw_rename(const char *from, const char *to)
{
    return MoveFileExW(wide(from), wide(to), MOVEFILE_REPLACE_EXISTING) != 0;
}
static int raw_folder(const char *path) { return CreateDirectoryW(wide(path), NULL) != 0; }
static int raw_go(const char *path) { return SetCurrentDirectoryW(wide(path)) != 0; }
static FILE *raw_open(const char *path) { return _wfopen(wide(path), L"rb"); }

static void remove_all(const char *path)
{
    char below[1400];
    WIN32_FIND_DATAW found;
    HANDLE h;
    snprintf(below, sizeof below, "%s/*", path);
    h = FindFirstFileW(wide(below), &found);
    if (h == INVALID_HANDLE_VALUE) return;
    do {
        char name[800];
        WideCharToMultiByte(CP_UTF8, 0, found.cFileName, -1, name, sizeof name, NULL, NULL);
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        snprintf(below, sizeof below, "%s/%s", path, name);
        if (found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) remove_all(below);
        else DeleteFileW(wide(below));
    } while (FindNextFileW(h, &found));
    FindClose(h);
    RemoveDirectoryW(wide(path));
}
static int make_folder(void)
{
    snprintf(folder, sizeof folder, "chunkwise_test_posio_%lu",
             (unsigned long)GetCurrentProcessId());
    return raw_folder(folder);
}
#else
static int raw_write_at(const char *path, uint64_t offset, const void *data, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0666);
    int ok = fd >= 0 && pwrite(fd, data, n, (off_t)offset) == (ssize_t)n;
    if (fd >= 0) close(fd);
    return ok;
}
static int raw_set_size(const char *path, uint64_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0666);
    int ok = fd >= 0 && ftruncate(fd, (off_t)size) == 0;
    if (fd >= 0) close(fd);
    return ok;
}
static int raw_remove(const char *path) { return unlink(path) == 0; }
static int raw_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}
static int raw_rename(const char *from, const char *to) { return rename(from, to) == 0; }
static int raw_folder(const char *path) { return mkdir(path, 0777) == 0; }
static int raw_go(const char *path) { return chdir(path) == 0; }
static FILE *raw_open(const char *path) { return fopen(path, "rb"); }
static uint64_t raw_blocks(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : UINT64_MAX;
}

static void remove_all(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;
    struct stat st;
    char below[1400];
    if (d == NULL) return;
    while ((e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        snprintf(below, sizeof below, "%s/%s", path, e->d_name);
        if (lstat(below, &st) == 0 && S_ISDIR(st.st_mode)) remove_all(below);
        else (void)unlink(below);
    }
    (void)closedir(d);
    (void)rmdir(path);
}
static int make_folder(void)
{
    const char *where = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/chunkwise_test_posio_XXXXXX",
             where != NULL && where[0] != 0 && strlen(where) < 300 ? where : "/tmp");
    return mkdtemp(folder) != NULL;
}
#endif

static int put(const char *path, const void *data, size_t n)
{
    return raw_set_size(path, 0) && (n == 0 || raw_write_at(path, 0, data, n));
}

/* The size of a file of at most `room` bytes, and its bytes; SIZE_MAX when it is not there. */
static size_t get(const char *path, void *buf, size_t room)
{
    FILE *f = raw_open(path);
    size_t n;
    if (f == NULL) return SIZE_MAX;
    n = fread(buf, 1, room, f);
    fclose(f);
    return n;
}

static int holds(const char *path, const char *text)
{
    char buf[256];
    size_t n = get(path, buf, sizeof buf);
    return n == strlen(text) && memcmp(buf, text, n) == 0;
}

/* Test data is a function of the offset, so that every slice can be checked on its own. */
static void fill(void *buf, uint64_t offset, size_t n)
{
    unsigned char *p = (unsigned char *)buf;
    for (; n != 0; n--, offset++) *p++ = (unsigned char)((offset * 0x9e3779b97f4a7c15u) >> 40);
}
static int is_filled(const void *buf, uint64_t offset, size_t n)
{
    const unsigned char *p = (const unsigned char *)buf;
    for (; n != 0; n--, offset++)
        if (*p++ != (unsigned char)((offset * 0x9e3779b97f4a7c15u) >> 40)) return 0;
    return 1;
}
static int put_filled(const char *path, size_t n)
{
    unsigned char *p = (unsigned char *)malloc(n + 1);
    int ok;
    fill(p, 0, n);
    ok = put(path, p, n);
    free(p);
    return ok;
}

#if !defined(_WIN32)
static int is_device(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISCHR(st.st_mode);
}
#endif

static int is_zero(const void *buf, size_t n)
{
    const unsigned char *p = (const unsigned char *)buf;
    while (n != 0 && *p == 0) p++, n--;
    return n == 0;
}

// ---------------------------------------------------------------------------------- results, text

TEST(every_result_has_its_name)
{
#define NAMED(code) CHECK_STR(posio_result_name(code), #code)
    NAMED(POSIO_OK);
    NAMED(POSIO_E_ARG);
    NAMED(POSIO_E_NOMEM);
    NAMED(POSIO_E_IO);
    NAMED(POSIO_E_NOT_FOUND);
    NAMED(POSIO_E_ACCESS);
    NAMED(POSIO_E_EXISTS);
    NAMED(POSIO_E_RANGE);
    NAMED(POSIO_E_FORMAT);
    NAMED(POSIO_E_DATA);
    NAMED(POSIO_E_UNSUPPORTED);
    NAMED(POSIO_E_LIMIT);
    NAMED(POSIO_E_POLICY);
    NAMED(POSIO_E_MISSING);
    NAMED(POSIO_E_CANCELED);
    NAMED(POSIO_E_BUSY);
    NAMED(POSIO_E_SPACE);
    NAMED(POSIO_E_ABI);
    CHECK_STR(posio_result_name(1), "POSIO_E_?");
    CHECK_STR(posio_result_name(POSIO_E_ABI - 1), "POSIO_E_?");
    CHECK_STR(posio_result_name(INT32_MIN), "POSIO_E_?");
    CHECK_STR(posio_result_name(INT32_MAX), "POSIO_E_?");
}

TEST(format_does_its_subset)
{
    static const int ints[] = {0, 1, -1, 42, INT32_MAX, INT32_MIN};
    static const unsigned long long longs[] = {0, 9, 10, 0xffffffffu, 0x100000000u, UINT64_MAX};
    const char *volatile none = NULL; /* volatile: not for the compiler's eyes */
    char got[200], want[200];
    size_t i;
    for (i = 0; i < COUNT(ints); i++) {
        posio_format(got, sizeof got, "%d|%u|%x|%c%%", ints[i], (unsigned)ints[i],
                     (unsigned)ints[i], 'a' + (int)i);
        snprintf(want, sizeof want, "%d|%u|%x|%c%%", ints[i], (unsigned)ints[i], (unsigned)ints[i],
                 'a' + (int)i);
        CHECK_STR(got, want);
    }
    for (i = 0; i < COUNT(longs); i++) {
        uint64_t digits = longs[i], back = 0;
        size_t k;
        posio_format(got, sizeof got, "%llu", longs[i]);
        for (k = 0; got[k] != 0; k++) back = back * 10 + (uint64_t)(got[k] - '0');
        CHECK_EQ(back, digits);
        posio_format(got, sizeof got, "%llx", longs[i]);
        CHECK_EQ(strtoull(got, NULL, 16), digits);
    }
    posio_format(got, sizeof got, "<%s><%s><%s>", "", "text", none);
    CHECK_STR(got, "<><text><(none)>");
    posio_format(got, 1, "%s", "text");
    CHECK_STR(got, "");
    posio_format(got, 5, "%s", "text");
    CHECK_STR(got, "text");
    posio_format(got, 4, "%s", "text");
    CHECK_STR(got, "tex");
}

/* Whole characters only, and not one fewer than fit. */
TEST(format_never_splits_a_character)
{
    static const char text[] = "a\xc3\xa4\xe2\x82\xac\xf0\x9d\x84\x9ez\xf0\x9d\x84\x9e\xc3\xa4";
    static const size_t borders[] = {0, 1, 3, 6, 10, 11, 15, 17};
    char got[32];
    size_t size, i;
    for (size = 1; size <= sizeof text; size++) {
        size_t fits = 0;
        for (i = 0; i < COUNT(borders); i++)
            if (borders[i] < size) fits = borders[i];
        memset(got, 0x55, sizeof got);
        posio_format(got, size, "%s", text);
        CHECK_EQ(strlen(got), fits);
        CHECK_MEM(got, text, fits);
        CHECK_EQ(got[size], 0x55);
    }
    posio_format(got, 9, "%s", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"); /* hostile: not UTF-8 */
    CHECK_EQ(strlen(got), 8);
}

TEST(errors_keep_what_happened_innermost)
{
    posio_error err;
    char text[600];
    size_t i;
    memset(&err, 0x55, sizeof err);
    CHECK_EQ((int64_t)posio_fail(&err, POSIO_E_DATA, 77, "chunk %u of %s", 5u, "x"), POSIO_E_DATA);
    CHECK_EQ(err.code, POSIO_E_DATA);
    CHECK_EQ(err.os_error, 0);
    CHECK_EQ(err.offset, 77);
    CHECK_EQ(err.segment, 0);
    CHECK_EQ(err.reserved, 0);
    CHECK_STR(err.file, "");
    CHECK_STR(err.message, "chunk 5 of x");
    CHECK_EQ((int64_t)posio_fail_in(&err, NULL, 0), POSIO_E_DATA);
    CHECK_STR(err.file, "");
    CHECK_EQ((int64_t)posio_fail_in(&err, "inner.E02", 2), POSIO_E_DATA);
    CHECK_EQ((int64_t)posio_fail_in(&err, "outer.vmdk", 9), POSIO_E_DATA);
    CHECK_STR(err.file, "inner.E02");
    CHECK_EQ(err.segment, 2);
    CHECK_EQ((int64_t)posio_fail_while(&err, "while reading the table"), POSIO_E_DATA);
    CHECK_STR(err.message, "chunk 5 of x; while reading the table");
    CHECK_EQ(err.offset, 77);

    /* A sentence that is full takes no more, and stays terminated and whole. */
    for (i = 0; i < 30; i++) (void)posio_fail_while(&err, "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac");
    CHECK(strlen(err.message) >= sizeof err.message - 4);
    CHECK(strlen(err.message) < sizeof err.message);
    for (i = strlen(err.message); i > 0 && ((unsigned char)err.message[i - 1] & 0xc0) == 0x80;) i--;
    CHECK((unsigned char)err.message[strlen(err.message) - 1] < 0x80 ||
          strlen(err.message) - i == 2);

    /* Without an error struct only the code is told. */
    CHECK_EQ((int64_t)posio_fail(NULL, POSIO_E_LIMIT, 0, "x"), POSIO_E_LIMIT);
    CHECK_EQ(posio_fail_in(NULL, "x", 1), POSIO_OK);
    CHECK_EQ(posio_fail_while(NULL, "x"), POSIO_OK);

    /* Long paths keep their end. */
    for (i = 198; i < 203; i++) {
        memset(text, 'p', sizeof text);
        memcpy(text + i - 4, ".E01", 5);
        (void)posio_fail(&err, POSIO_E_IO, 0, "x");
        (void)posio_fail_in(&err, text, 0);
        CHECK_EQ(strlen(err.file), i < 200 ? i : 199);
        CHECK_STR(err.file + strlen(err.file) - 5, "p.E01");
    }
    /* ... and begin with a whole character. */
    for (i = 0; i < 300; i += 3) memcpy(text + i, "\xe2\x82\xac", 3);
    for (i = 300; i < 304; i++) { /* the cut falls on each byte of a character */
        text[i] = 0;
        (void)posio_fail(&err, POSIO_E_IO, 0, "x");
        (void)posio_fail_in(&err, text, 0);
        CHECK(strlen(err.file) >= 197 && strlen(err.file) <= 199);
        CHECK(((unsigned char)err.file[0] & 0xc0) != 0x80);
        CHECK_STR(text + i - strlen(err.file), err.file);
        text[i] = '!';
    }
}

// ---------------------------------------------------------------------------------- small things

TEST(arithmetic_is_checked)
{
    uint64_t v = 5;
    CHECK(posio_add(UINT64_MAX - 1, 1, &v) && v == UINT64_MAX);
    CHECK(!posio_add(UINT64_MAX, 1, &v) && v == UINT64_MAX);
    CHECK(!posio_add(1, UINT64_MAX, &v) && v == UINT64_MAX);
    CHECK(posio_add(0, 0, &v) && v == 0);
    CHECK(posio_mul(0xffffffffu, 0xffffffffu, &v) && v == 0xfffffffe00000001u);
    v = 7;
    CHECK(!posio_mul((uint64_t)1 << 32, (uint64_t)1 << 32, &v) && v == 7);
    CHECK(!posio_mul(3, UINT64_MAX / 3 + 1, &v) && v == 7);
    CHECK(posio_mul(3, UINT64_MAX / 3, &v) && v == UINT64_MAX);
    CHECK(posio_mul(0, UINT64_MAX, &v) && v == 0);
    CHECK(posio_mul(UINT64_MAX, 0, &v) && v == 0);
    CHECK(posio_within(0, 0, 0));
    CHECK(posio_within(10, 0, 10));
    CHECK(posio_within(0, 10, 10));
    CHECK(!posio_within(11, 0, 10));
    CHECK(!posio_within(1, 10, 10));
    CHECK(!posio_within(UINT64_MAX, UINT64_MAX, UINT64_MAX - 1));
    CHECK(!posio_within(2, UINT64_MAX, UINT64_MAX));
    CHECK(posio_within(UINT64_MAX, 0, UINT64_MAX));
    CHECK_EQ(posio_min(3, 4), 3);
    CHECK_EQ(posio_min(UINT64_MAX, 4), 4);
}

TEST(endian_loads_at_any_address)
{
    unsigned char b[24];
    size_t i;
    for (i = 0; i < 16; i++) {
        static const unsigned char eight[8] = {0x81, 0x92, 0xa3, 0xb4, 0xc5, 0xd6, 0xe7, 0xf8};
        memset(b, 0, sizeof b);
        memcpy(b + i, eight, 8);
        CHECK_EQ(posio_le16(b + i), 0x9281);
        CHECK_EQ(posio_be16(b + i), 0x8192);
        CHECK_EQ(posio_le32(b + i), 0xb4a39281u);
        CHECK_EQ(posio_be32(b + i), 0x8192a3b4u);
        CHECK_EQ(posio_le64(b + i), 0xf8e7d6c5b4a39281u);
        CHECK_EQ(posio_be64(b + i), 0x8192a3b4c5d6e7f8u);
    }
}

TEST(processor_features_are_the_compilers)
{
    uint32_t f = posio_cpu();
    CHECK(f & POSIO_CPU_KNOWN);
    CHECK_EQ(posio_cpu(), f);
#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
    __builtin_cpu_init();
#define AGREES(bit, name) CHECK_EQ((f & (bit)) != 0, __builtin_cpu_supports(name) != 0)
    AGREES(POSIO_CPU_SSSE3, "ssse3");
    AGREES(POSIO_CPU_SSE41, "sse4.1");
    AGREES(POSIO_CPU_SSE42, "sse4.2");
    AGREES(POSIO_CPU_PCLMUL, "pclmul");
    AGREES(POSIO_CPU_BMI2, "bmi2");
    AGREES(POSIO_CPU_AVX2, "avx2");
    CHECK_EQ((f & POSIO_CPU_AVX512) != 0,
             __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"));
#endif
    posio_cpu_mask(0);
    CHECK_EQ(posio_cpu(), POSIO_CPU_KNOWN);
    posio_cpu_mask(POSIO_CPU_SSE41 | POSIO_CPU_NEON);
    CHECK_EQ(posio_cpu(), (f & (POSIO_CPU_SSE41 | POSIO_CPU_NEON)) | POSIO_CPU_KNOWN);
    posio_cpu_mask(UINT32_MAX);
    CHECK_EQ(posio_cpu(), f);
}

TEST(atomics_alone)
{
    uint32_t w = 5;
    void *p = &w;
    CHECK_EQ(posio_atomic_load(&w), 5);
    posio_atomic_store(&w, 7);
    CHECK_EQ(posio_atomic_add(&w, 3), 7);
    CHECK_EQ(posio_atomic_add(&w, UINT32_MAX), 10);
    CHECK(!posio_atomic_swap_if(&w, 10, 1));
    CHECK_EQ(w, 9);
    CHECK(posio_atomic_swap_if(&w, 9, 1));
    CHECK_EQ(w, 1);
    CHECK(posio_atomic_load_ptr(&p) == &w);
    posio_atomic_store_ptr(&p, NULL);
    CHECK(posio_atomic_load_ptr(&p) == NULL);
}

#ifndef THREAD_POOL_NO_THREADS
typedef struct counters {
    uint32_t added, swapped, handed;
    void *box;
    uint32_t values[16];
} counters;

static posio_result count_up(void *user, uint32_t i, posio_error *err)
{
    counters *c = (counters *)user;
    uint32_t k;
    (void)err;
    for (k = 0; k < 2000; k++) {
        uint32_t seen;
        (void)posio_atomic_add(&c->added, 1);
        do seen = posio_atomic_load(&c->swapped);
        while (!posio_atomic_swap_if(&c->swapped, seen, seen + 1));
    }
    c->values[i] = i + 1; /* published by the pointer */
    posio_atomic_store_ptr(&c->box, &c->values[i]);
    if (*(const uint32_t *)posio_atomic_load_ptr(&c->box) != 0)
        (void)posio_atomic_add(&c->handed, 1);
    return POSIO_OK;
}
#endif

TEST(atomics_among_threads)
{
#ifdef THREAD_POOL_NO_THREADS
    SKIP("no threads in this build");
#else
    thread_pool *pool = thread_pool_create(8);
    counters c;
    memset(&c, 0, sizeof c);
    CHECK_EQ(thread_pool_parallel_for(pool, 16, count_up, &c, NULL), POSIO_OK);
    CHECK_EQ(c.added, 32000);
    CHECK_EQ(c.swapped, 32000);
    CHECK_EQ(c.handed, 16);
    thread_pool_destroy(pool);
#endif
}

// ---------------------------------------------------------------------------------- memory, slices

TEST(memory_is_a_source)
{
    unsigned char bytes[100], got[100];
    posio_memory m;
    posio_source s;
    posio_extent x;
    posio_error err;
    fill(bytes, 0, sizeof bytes);
    m.data = bytes;
    m.size = sizeof bytes;
    s = posio_memory_source(&m);
    CHECK_EQ(s.size, 100);
    CHECK_EQ(posio_read(&s, 0, got, 100, &err), POSIO_OK);
    CHECK_MEM(got, bytes, 100);
    CHECK_EQ(posio_read(&s, 37, got, 1, &err), POSIO_OK);
    CHECK_EQ(got[0], bytes[37]);
    CHECK_EQ(posio_read(&s, 99, got, 1, NULL), POSIO_OK);
    CHECK_EQ(posio_read(&s, 100, NULL, 0, &err), POSIO_OK);
    CHECK_FAILS(posio_read(&s, 100, got, 1, &err), POSIO_E_RANGE);
    CHECK_EQ(err.offset, 100);
    CHECK_FAILS(posio_read(&s, 101, got, 0, &err), POSIO_E_RANGE);
    CHECK_FAILS(posio_read(&s, 1, got, 100, &err), POSIO_E_RANGE);
    CHECK_FAILS(posio_read(&s, 1, got, SIZE_MAX, &err), POSIO_E_RANGE);
    CHECK_FAILS(posio_read(&s, UINT64_MAX, got, 1, &err), POSIO_E_RANGE);
    CHECK_FAILS(posio_read(&s, UINT64_MAX - 50, got, 60, &err), POSIO_E_RANGE);
    /* The source itself checks too. */
    CHECK_FAILS(s.read_at(s.self, 1, got, 100, &err), POSIO_E_RANGE);
    CHECK_EQ(posio_extent_of(&s, 30, &x, &err), POSIO_OK);
    CHECK_EQ(x.length, 70);
    CHECK_EQ(x.kind, POSIO_EXTENT_DATA);
    CHECK_FAILS(posio_extent_of(&s, 100, &x, &err), POSIO_E_RANGE);
    m.size = 0;
    m.data = NULL;
    s = posio_memory_source(&m);
    CHECK_EQ(posio_read(&s, 0, NULL, 0, &err), POSIO_OK);
    CHECK_FAILS(posio_read(&s, 0, got, 1, &err), POSIO_E_RANGE);
    CHECK_FAILS(posio_extent_of(&s, 0, &x, &err), POSIO_E_RANGE);
}

/* A source of 2^63 bytes, filled, in extents of 10 bytes of every kind in turn; fails at 666. */
static posio_result fake_read(void *self, uint64_t offset, void *buf, size_t n, posio_error *err)
{
    (void)self;
    if (offset <= 666 && offset + n > 666) {
        (void)posio_fail(err, POSIO_E_DATA, 666, "bad");
        return posio_fail_in(err, "fake", 3) != POSIO_OK ? POSIO_E_DATA : POSIO_E_DATA;
    }
    fill(buf, offset, n);
    return POSIO_OK;
}
static posio_result fake_extent(void *self, uint64_t offset, posio_extent *out, posio_error *err)
{
    (void)self;
    (void)err;
    out->length = 10 - offset % 10;
    out->kind = (uint32_t)(offset / 10 % 4);
    out->reserved = 0;
    return POSIO_OK;
}
static posio_source fake_source(void)
{
    posio_source s;
    memset(&s, 0, sizeof s);
    s.size = (uint64_t)1 << 63;
    s.unit = 4096;
    s.flags = POSIO_SOURCE_DEVICE;
    s.read_at = fake_read;
    s.extent_at = fake_extent;
    return s;
}

TEST(slices_are_windows)
{
    posio_slice a, b, c;
    posio_source base = fake_source(), s, t, before;
    posio_extent x;
    posio_error err;
    unsigned char got[64];
    uint64_t at, kinds = 0;
    CHECK_EQ(posio_slice_source(&a, base, 1005, 500, &s, &err), POSIO_OK);
    CHECK_EQ(s.size, 500);
    CHECK_EQ(s.unit, 4096);
    CHECK_EQ(s.flags, POSIO_SOURCE_DEVICE);
    CHECK_EQ(posio_read(&s, 0, got, 64, &err), POSIO_OK);
    CHECK(is_filled(got, 1005, 64));
    CHECK_EQ(posio_read(&s, 499, got, 1, &err), POSIO_OK);
    CHECK(is_filled(got, 1504, 1));
    CHECK_EQ(posio_read(&s, 500, got, 0, &err), POSIO_OK);
    CHECK_FAILS(posio_read(&s, 499, got, 2, &err), POSIO_E_RANGE);
    CHECK_EQ(err.offset, 499);
    CHECK_FAILS(posio_read(&s, UINT64_MAX, got, 2, &err), POSIO_E_RANGE);
    CHECK_FAILS(s.read_at(s.self, UINT64_MAX - 1004, got, 2, &err), POSIO_E_RANGE); /* 1 in base */
    CHECK_FAILS(s.extent_at(s.self, 500, &x, &err), POSIO_E_RANGE);
    for (at = 0; at < 500; at += x.length) { /* extents: the base's, cut at both ends */
        REQUIRE(posio_extent_of(&s, at, &x, &err) == POSIO_OK && x.length != 0);
        CHECK_EQ(x.length, at == 0 ? 5 : at == 495 ? 5 : 10);
        CHECK_EQ(x.kind, (at + 1005) / 10 % 4);
        kinds |= (uint64_t)1 << x.kind;
    }
    CHECK_EQ(at, 500);
    CHECK_EQ(kinds, 15);
    /* Slices of slices. */
    CHECK_EQ(posio_slice_source(&b, s, 100, 50, &t, &err), POSIO_OK);
    CHECK_EQ(posio_read(&t, 10, got, 40, &err), POSIO_OK);
    CHECK(is_filled(got, 1115, 40));
    CHECK_EQ(posio_extent_of(&t, 46, &x, &err), POSIO_OK);
    CHECK_EQ(x.length, 4);
    CHECK_EQ(posio_slice_source(&c, t, 50, 0, &t, &err), POSIO_OK); /* out may be the base's copy */
    CHECK_EQ(t.size, 0);
    CHECK_EQ(posio_read(&t, 0, got, 0, &err), POSIO_OK);
    CHECK_FAILS(posio_read(&t, 0, got, 1, &err), POSIO_E_RANGE);
    /* Windows that do not lie within. */
    before = t;
    CHECK_FAILS(posio_slice_source(&c, s, 0, 501, &t, &err), POSIO_E_RANGE);
    CHECK_FAILS(posio_slice_source(&c, s, 501, 0, &t, &err), POSIO_E_RANGE);
    CHECK_FAILS(posio_slice_source(&c, s, UINT64_MAX, 2, &t, &err), POSIO_E_RANGE);
    CHECK_FAILS(posio_slice_source(&c, s, 2, UINT64_MAX, &t, &err), POSIO_E_RANGE);
    CHECK_MEM(&t, &before, sizeof t);
    /* The innermost fault is reported as it is. */
    CHECK_EQ(posio_slice_source(&a, base, 600, 100, &s, &err), POSIO_OK);
    CHECK_FAILS(posio_read(&s, 60, got, 10, &err), POSIO_E_DATA);
    CHECK_EQ(err.offset, 666);
    CHECK_EQ(err.segment, 3);
    CHECK_STR(err.file, "fake");
    /* A base without extents is data to the end of the window. */
    base.extent_at = NULL;
    CHECK_EQ(posio_slice_source(&a, base, 600, 100, &s, &err), POSIO_OK);
    CHECK_EQ(posio_extent_of(&s, 30, &x, &err), POSIO_OK);
    CHECK_EQ(x.length, 70);
    CHECK_EQ(x.kind, POSIO_EXTENT_DATA);
}

// ---------------------------------------------------------------------------------- files

TEST(files_read_at_offsets)
{
    const char *path = in("plain.bin");
    posio_file *f = NULL;
    posio_source s;
    posio_file_info info;
    posio_error err;
    unsigned char got[10000];
    uint64_t seed = 1;
    int i;
    REQUIRE(put_filled(path, 10000));
    REQUIRE(posio_file_open(&f, path, NULL, &err) == POSIO_OK);
    s = posio_file_source(f);
    info = posio_file_get_info(f);
    CHECK_EQ(s.size, 10000);
    CHECK_EQ(info.size, 10000);
    CHECK_EQ(info.alignment, 1);
    CHECK_EQ(info.is_device, 0);
    CHECK_EQ(s.flags, 0);
    CHECK_EQ(posio_read(&s, 0, got, sizeof got, &err), POSIO_OK);
    CHECK(is_filled(got, 0, sizeof got));
    for (i = 0; i < 200; i++) {
        size_t at = (size_t)(test_random(&seed) % 10000), n;
        n = (size_t)(test_random(&seed) % (10000 - at + 1));
        memset(got, 0, sizeof got);
        CHECK_EQ(posio_read(&s, at, got, n, &err), POSIO_OK);
        CHECK(is_filled(got, at, n));
        CHECK(is_zero(got + n, sizeof got - n));
    }
    CHECK_EQ(posio_read(&s, 10000, got, 0, &err), POSIO_OK);
    CHECK_FAILS(posio_read(&s, 9999, got, 2, &err), POSIO_E_RANGE);
    CHECK_EQ(err.offset, 9999);
    CHECK(strstr(err.message, "10000") != NULL);
    CHECK_FAILS(s.read_at(s.self, 9999, got, 2, &err), POSIO_E_RANGE);
    CHECK_STR(err.file, path);
    CHECK_FAILS(posio_read(&s, UINT64_MAX, got, 2, &err), POSIO_E_RANGE);
    CHECK_EQ((int64_t)posio_read(&s, 9999, got, 2, NULL), POSIO_E_RANGE);
    posio_file_close(f);
    posio_file_close(NULL);
}

TEST(an_empty_file_is_a_source_too)
{
    posio_file *f = NULL;
    posio_source s;
    posio_extent x;
    posio_error err;
    char c;
    REQUIRE(put(in("empty.bin"), "", 0));
    REQUIRE(posio_file_open(&f, in("empty.bin"), NULL, &err) == POSIO_OK);
    s = posio_file_source(f);
    CHECK_EQ(s.size, 0);
    CHECK_EQ(posio_read(&s, 0, NULL, 0, &err), POSIO_OK);
    CHECK_FAILS(posio_read(&s, 0, &c, 1, &err), POSIO_E_RANGE);
    CHECK_FAILS(posio_extent_of(&s, 0, &x, &err), POSIO_E_RANGE);
    CHECK_FAILS(s.extent_at(s.self, 0, &x, &err), POSIO_E_RANGE);
    CHECK_STR(err.file, in("empty.bin"));
    posio_file_close(f);
}

TEST(identity_is_the_same_under_two_names)
{
    posio_file *a = NULL, *b = NULL;
    posio_file_info x, y;
    posio_error err;
    REQUIRE(put(in("one.bin"), "1", 1) && put(in("two.bin"), "2", 1));
    REQUIRE(posio_file_open(&a, in("one.bin"), NULL, &err) == POSIO_OK);
    REQUIRE(posio_file_open(&b, in("two.bin"), NULL, &err) == POSIO_OK);
    x = posio_file_get_info(a);
    y = posio_file_get_info(b);
    CHECK(x.inode != y.inode);
    CHECK_EQ(x.device, y.device);
    posio_file_close(b);
    REQUIRE(posio_file_open(&b, in("./one.bin"), NULL, &err) == POSIO_OK);
    y = posio_file_get_info(b);
    CHECK_EQ(x.inode, y.inode);
    CHECK_EQ(x.device, y.device);
    posio_file_close(a);
    posio_file_close(b);
}

TEST(what_is_no_image_is_refused_by_name)
{
    posio_file *f = NULL;
    posio_error err;
    const char *path = in("missing.bin");
    CHECK_FAILS(posio_file_open(&f, path, NULL, &err), POSIO_E_NOT_FOUND);
    CHECK_STR(err.file, path);
    CHECK(strstr(err.message, "no such file") != NULL);
    CHECK(err.os_error != 0);
    CHECK_EQ(err.offset, POSIO_NO_OFFSET);
    CHECK_EQ((int64_t)posio_file_open(&f, path, NULL, NULL), POSIO_E_NOT_FOUND);
    CHECK_FAILS(posio_file_open(&f, in("missing/x.bin"), NULL, &err), POSIO_E_NOT_FOUND);
    CHECK_FAILS(posio_file_open(&f, folder, NULL, &err), POSIO_E_UNSUPPORTED);
    CHECK_STR(err.file, folder);
    CHECK(strstr(err.message, "folder") != NULL);
#if defined(_WIN32)
    CHECK_FAILS(posio_file_open(&f, "NUL", NULL, &err), POSIO_E_UNSUPPORTED);
    CHECK_FAILS(posio_file_open(&f, in("a\xff.bin"), NULL, &err), POSIO_E_ARG); /* not UTF-8 */
#else
    REQUIRE(put(in("plain.bin"), "x", 1));
    CHECK_FAILS(posio_file_open(&f, in("plain.bin/x"), NULL, &err), POSIO_E_NOT_FOUND);
    if (!is_device("/dev/null")) SKIP("/dev/null is no device here");
    CHECK_FAILS(posio_file_open(&f, "/dev/null", NULL, &err), POSIO_E_UNSUPPORTED);
    CHECK(strstr(err.message, "pipe") != NULL);
    CHECK_STR(err.file, "/dev/null");
    CHECK_FAILS(posio_file_open(&f, "/dev/zero", NULL, &err), POSIO_E_UNSUPPORTED);
#endif
    CHECK(f == NULL);
}

TEST(a_named_pipe_is_refused_without_waiting)
{
#if defined(_WIN32)
    SKIP("no named pipes in folders on this system");
#else
    posio_file *f = NULL;
    posio_error err;
    if (mkfifo(in("fifo"), 0666) != 0) SKIP("the file system has no named pipes");
    (void)alarm(20);
    CHECK_FAILS(posio_file_open(&f, in("fifo"), NULL, &err), POSIO_E_UNSUPPORTED);
    CHECK(strstr(err.message, "pipe") != NULL);
    (void)alarm(0);
#endif
}

TEST(no_permission_is_said_so)
{
#if defined(_WIN32)
    SKIP("permissions are other lists on this system");
#else
    posio_file *f = NULL;
    posio_file_sink *k = NULL;
    posio_error err;
    int root = geteuid() == 0;
    REQUIRE(put(in("secret.bin"), "x", 1) && chmod(in("secret.bin"), 0) == 0);
    REQUIRE(raw_folder(in("locked")) && chmod(in("locked"), 0500) == 0);
    if (root && seteuid(65534) != 0) SKIP("root may read everything");
    CHECK_FAILS(posio_file_open(&f, in("secret.bin"), NULL, &err), POSIO_E_ACCESS);
    CHECK_EQ(err.os_error, EACCES);
    CHECK(strstr(err.message, "permission denied") != NULL);
    CHECK_FAILS(posio_file_sink_open(&k, in("locked/x"), NULL, &err), POSIO_E_ACCESS);
    CHECK_EQ((int64_t)posio_file_sink_open(&k, in("locked/x"), NULL, NULL), POSIO_E_ACCESS);
    if (root) REQUIRE(seteuid(0) == 0);
    CHECK(chmod(in("locked"), 0700) == 0);
#endif
}

TEST(a_file_that_shrinks_is_an_error_with_its_offset)
{
    const char *path = in("shrinks.bin");
    int unbuffered;
    for (unbuffered = 0; unbuffered < 2; unbuffered++) {
        posio_file *f = NULL;
        posio_file_desc desc;
        posio_source s;
        posio_error err;
        unsigned char got[20000], *page = got + (4096 - (uintptr_t)got % 4096) % 4096;
        memset(&desc, 0, sizeof desc);
        desc.flags = unbuffered ? POSIO_FILE_UNBUFFERED : POSIO_FILE_SEQUENTIAL;
        REQUIRE(put_filled(path, 20480));
        REQUIRE(posio_file_open(&f, path, &desc, &err) == POSIO_OK);
        s = posio_file_source(f);
        REQUIRE(raw_set_size(path, 9000));
        CHECK_EQ(posio_read(&s, 0, got, 9000, &err), POSIO_OK);
        CHECK(is_filled(got, 0, 9000));
        CHECK_FAILS(posio_read(&s, 8000, got, 2000, &err), POSIO_E_IO);
        CHECK_EQ(err.offset, 9000);
        CHECK_STR(err.file, path);
        CHECK(strstr(err.message, "9000") != NULL);
        CHECK_FAILS(posio_read(&s, 4096, page, 8192, &err), POSIO_E_IO); /* aligned */
        CHECK_EQ(err.offset, 9000);
        CHECK(strstr(err.message, "9000") != NULL);
        CHECK_FAILS(posio_read(&s, 12288, page, 4096, &err), POSIO_E_IO);
        CHECK_EQ(err.offset, 12288);
        CHECK_FAILS(posio_read(&s, 15000, got, 1, &err), POSIO_E_IO);
        CHECK_EQ(err.offset, 15000);
        posio_file_close(f);
    }
}

TEST(offsets_beyond_4_gib)
{
    static const uint64_t marks[] = {0, 2 * GIB - 5, 4 * GIB - 5, 4 * GIB + 12345, 5 * GIB - 10};
    const char *path = in("large.bin");
    posio_file *f = NULL;
    posio_source s;
    posio_error err;
    unsigned char got[64], mark[10];
    size_t i;
    if (!raw_set_size(path, 5 * GIB)) SKIP("the file system takes no file of 5 GiB");
    for (i = 0; i < COUNT(marks); i++) {
        fill(mark, marks[i], sizeof mark);
        REQUIRE(raw_write_at(path, marks[i], mark, sizeof mark));
    }
    REQUIRE(posio_file_open(&f, path, NULL, &err) == POSIO_OK);
    s = posio_file_source(f);
    CHECK_EQ(s.size, 5 * GIB);
    for (i = 0; i < COUNT(marks); i++) {
        CHECK_EQ(posio_read(&s, marks[i], got, 10, &err), POSIO_OK);
        CHECK(is_filled(got, marks[i], 10));
        if (i == 0) continue;
        CHECK_EQ(posio_read(&s, marks[i] - 20, got, 30, &err), POSIO_OK);
        CHECK(is_zero(got, 20) && is_filled(got + 20, marks[i], 10));
    }
    CHECK_EQ(posio_read(&s, 4 * GIB + 20000, got, 64, &err), POSIO_OK);
    CHECK(is_zero(got, 64));
    CHECK_FAILS(posio_read(&s, 5 * GIB - 5, got, 6, &err), POSIO_E_RANGE);
    CHECK_EQ(err.offset, 5 * GIB - 5);
    REQUIRE(raw_set_size(path, 4 * GIB + 4096));
    CHECK_FAILS(posio_read(&s, 4 * GIB + 4090, got, 10, &err), POSIO_E_IO);
    CHECK_EQ(err.offset, 4 * GIB + 4096);
    posio_file_close(f);
    raw_remove(path);
}

TEST(extents_of_a_sparse_file)
{
    const char *path = in("sparse.bin");
    posio_file *f = NULL;
    posio_source s, part;
    posio_slice slice;
    posio_extent x;
    posio_error err;
    unsigned char *data = (unsigned char *)malloc(64 * KIB);
    uint64_t at, holes = 0, wrong = 0;
    fill(data, 0, 64 * KIB);
    REQUIRE(raw_set_size(path, 6 * MIB) && raw_write_at(path, MIB, data, 64 * KIB) &&
            raw_write_at(path, 4 * MIB, data, 64 * KIB));
    REQUIRE(posio_file_open(&f, path, NULL, &err) == POSIO_OK);
    s = posio_file_source(f);
    for (at = 0; at < s.size; at += x.length) {
        REQUIRE(posio_extent_of(&s, at, &x, &err) == POSIO_OK);
        REQUIRE(x.length != 0 && x.length <= s.size - at);
        CHECK(x.kind == POSIO_EXTENT_DATA || x.kind == POSIO_EXTENT_HOLE);
        if (x.kind == POSIO_EXTENT_HOLE) {
            uint64_t end = at + x.length;
            holes += x.length;
            wrong += at < MIB + 64 * KIB && end > MIB;
            wrong += at < 4 * MIB + 64 * KIB && end > 4 * MIB;
        }
    }
    CHECK_EQ(at, 6 * MIB);
    CHECK_EQ(wrong, 0);
    /* Any offset may be asked, not only the first of an extent. */
    CHECK_EQ(posio_extent_of(&s, MIB + 1000, &x, &err), POSIO_OK);
    CHECK_EQ(x.kind, POSIO_EXTENT_DATA);
    CHECK_EQ(posio_slice_source(&slice, s, 2 * MIB, MIB, &part, &err), POSIO_OK);
    CHECK_EQ(posio_extent_of(&part, 7, &x, &err), POSIO_OK);
    CHECK_EQ(x.length, MIB - 7);
    if (holes != 0) CHECK_EQ(x.kind, POSIO_EXTENT_HOLE);
    posio_file_close(f);
    free(data);
    if (holes == 0) SKIP("the file system does not tell holes");
    CHECK(holes >= 5 * MIB && holes <= 6 * MIB - 128 * KIB);
}

typedef struct tally {
    unsigned calls, live, fail_at, failures; /* fail_at: this call and no other fails; 0 = none */
    size_t largest;
} tally;

static void *tally_take(size_t n, void *user)
{
    tally *t = (tally *)user;
    void *p;
    if (++t->calls == t->fail_at) {
        t->failures++;
        errno = 0;
        return NULL;
    }
    t->live++;
    if (n > t->largest) t->largest = n;
    p = malloc(n != 0 ? n : 1);
    memset(p, 0xa5, n); /* nobody may count on zeros */
    return p;
}

static void tally_give(void *p, void *user)
{
    ((tally *)user)->live--;
    free(p);
    errno = 9999; /* an allocator may call the system: nobody may count on its errno */
#if defined(_WIN32)
    SetLastError(9999);
#endif
}

static posio_alloc tally_alloc(tally *t)
{
    posio_alloc a;
    a.alloc_fn = tally_take;
    a.free_fn = tally_give;
    a.user = t;
    return a;
}

TEST(unbuffered_reads_equal_buffered_ones)
{
    static const size_t size = 2 * 1048576 + 8192 + 777;
    static const size_t ats[] = {0, 1, 511, 512, 4095, 4096, 4097, 1048575, 1048576, 1048577,
                                 2 * 1048576, 2 * 1048576 + 8192, 2 * 1048576 + 8192 + 776};
    static const size_t lengths[] = {1, 2, 511, 512, 4095, 4096, 4097, 12288, 1048576, 1048577,
                                     2 * 1048576};
    static const size_t shifts[] = {0, 1, 8, 512, 4095};
    const char *path = in("direct.bin");
    unsigned char *room = (unsigned char *)malloc(size + 8193), *page;
    posio_file *f = NULL;
    posio_file_desc desc;
    posio_source s;
    posio_error err;
    tally t;
    uint64_t seed = 7;
    size_t i, j, k;
    unsigned calls;
    memset(&t, 0, sizeof t);
    memset(&desc, 0, sizeof desc);
    desc.flags = POSIO_FILE_UNBUFFERED;
    desc.alloc = tally_alloc(&t);
    page = room + (4096 - (uintptr_t)room % 4096) % 4096;
    REQUIRE(put_filled(path, size));
    REQUIRE(posio_file_open(&f, path, &desc, &err) == POSIO_OK);
    s = posio_file_source(f);
    CHECK_EQ(s.size, size);
    CHECK(posio_file_get_info(f).alignment >= 512);
    for (i = 0; i < COUNT(ats); i++)
        for (j = 0; j < COUNT(lengths); j++)
            for (k = 0; k < COUNT(shifts); k++) {
                size_t n = lengths[j] < size - ats[i] ? lengths[j] : size - ats[i];
                unsigned char *to = page + shifts[k];
                if (n > 100000 && (i + j + k) % 7 != 0) continue; /* enough of the long ones */
                to[n] = 0x5a;
                CHECK_EQ(posio_read(&s, ats[i], to, n, &err), POSIO_OK);
                CHECK(is_filled(to, ats[i], n));
                CHECK_EQ(to[n], 0x5a);
            }
    for (i = 0; i < 100; i++) {
        size_t at = (size_t)(test_random(&seed) % size), n = (size_t)(test_random(&seed) % 20000);
        if (n > size - at) n = size - at;
        CHECK_EQ(posio_read(&s, at, page + i, n, &err), POSIO_OK);
        CHECK(is_filled(page + i, at, n));
    }
    CHECK_FAILS(posio_read(&s, size - 1, page, 2, &err), POSIO_E_RANGE);
    /* Aligned reads need no memory; others one block while they last. */
    calls = t.calls;
    CHECK_EQ(posio_read(&s, 8192, page, 65536, &err), POSIO_OK);
    CHECK(is_filled(page, 8192, 65536));
    CHECK_EQ(t.calls, calls);
    CHECK_EQ(posio_read(&s, 8191, page, 65536, &err), POSIO_OK);
    CHECK_EQ(t.calls, calls + 1);
    CHECK(t.largest <= (MIB + 64 * KIB));
    t.fail_at = t.calls + 1;
    CHECK_FAILS(posio_read(&s, 8191, page, 65536, &err), POSIO_E_NOMEM);
    CHECK_EQ(err.offset, 8191);
    posio_file_close(f);
    CHECK_EQ(t.live, 0);
    free(room);
}

TEST(file_names_are_utf_8)
{
    static const char name[] = "\xc3\xa4\xe2\x82\xac\xf0\x9d\x84\x9e.bin"; /* umlaut, euro, clef */
    posio_file *f = NULL;
    posio_folder *d = NULL;
    posio_opener o;
    posio_source s;
    posio_file_sink *k = NULL;
    posio_sink sink;
    posio_error err;
    char got[4];
    REQUIRE(posio_file_sink_open(&k, in(name), NULL, &err) == POSIO_OK);
    sink = posio_file_sink_sink(k);
    CHECK_EQ(sink.write(sink.self, "clef", 4, &err), POSIO_OK);
    CHECK_EQ(posio_file_sink_finish(k, &err), POSIO_OK);
    posio_file_sink_close(k);
    CHECK(holds(in(name), "clef"));
    REQUIRE(posio_file_open(&f, in(name), NULL, &err) == POSIO_OK);
    posio_file_close(f);
    REQUIRE(posio_folder_open(&d, in(name), NULL, &err) == POSIO_OK);
    o = posio_folder_opener(d);
    CHECK_EQ(o.open(o.self, name, POSIO_NAME_STORED, &s, &err), POSIO_OK);
    CHECK_EQ(posio_read(&s, 0, got, 4, &err), POSIO_OK);
    CHECK_MEM(got, "clef", 4);
    posio_folder_close(d);
#if defined(__linux__)
    REQUIRE(put(in("\xff\xfe.bin"), "x", 1)); /* on POSIX, any bytes */
    CHECK_EQ(posio_file_open(&f, in("\xff\xfe.bin"), NULL, &err), POSIO_OK);
    posio_file_close(f);
#endif
}

// ---------------------------------------------------------------------------------- folders

static int opens(const posio_opener *o, const char *name, uint32_t rule, const char *content)
{
    posio_source s;
    posio_error err;
    char got[64];
    int same;
    if (o->open(o->self, name, rule, &s, &err) != POSIO_OK) {
        printf("     \"%s\": %s\n", name, err.message);
        return 0;
    }
    same = s.size == strlen(content) && posio_read(&s, 0, got, (size_t)s.size, &err) == POSIO_OK &&
           memcmp(got, content, (size_t)s.size) == 0;
    o->close(o->self, &s);
    return same && s.self == NULL;
}

TEST(the_folder_of_a_path)
{
    CHECK_EQ(posio_path_folder("image.E01"), 0);
    CHECK_EQ(posio_path_folder("a/image.E01"), 2);
    CHECK_EQ(posio_path_folder("/image.E01"), 1);
    CHECK_EQ(posio_path_folder("a/b/"), 4);
    CHECK_EQ(posio_path_folder(""), 0);
#if defined(_WIN32)
    CHECK_EQ(posio_path_folder("a\\image.E01"), 2);
    CHECK_EQ(posio_path_folder("C:image.E01"), 2);
    CHECK_EQ(posio_path_folder("C:\\image.E01"), 3);
    CHECK_EQ(posio_path_folder("a/b\\c"), 4);
#else
    CHECK_EQ(posio_path_folder("a\\image.E01"), 0);
#endif
}

TEST(siblings_open_close_and_open_again)
{
    posio_folder *d = NULL;
    posio_opener o;
    posio_source s, untouched;
    posio_extent x;
    posio_error err;
    char got[8];
    int i;
    REQUIRE(raw_folder(in("set")) && put(in("set/image.E01"), "one", 3) &&
            put(in("set/image.E02"), "two!", 4) && put(in("outside.bin"), "outside", 7));
    REQUIRE(posio_folder_open(&d, in("set/image.E01"), NULL, &err) == POSIO_OK);
    o = posio_folder_opener(d);
    for (i = 0; i < 3; i++) {
        CHECK(opens(&o, "image.E02", POSIO_NAME_SIBLING, "two!"));
        CHECK(opens(&o, "image.E01", POSIO_NAME_STORED, "one"));
    }
    /* Names that follow from the user's own path may lead anywhere. */
    CHECK(opens(&o, "../outside.bin", POSIO_NAME_SIBLING, "outside"));
    memset(&s, 0x55, sizeof s);
    untouched = s;
    CHECK_FAILS(o.open(o.self, "image.E03", POSIO_NAME_SIBLING, &s, &err), POSIO_E_NOT_FOUND);
    CHECK_STR(err.file, "image.E03");
    CHECK(err.os_error != 0);
    CHECK_MEM(&s, &untouched, sizeof s);
    /* Two sources of one file, closed in another order; closing twice is harmless. */
    {
        posio_source a, b;
        REQUIRE(o.open(o.self, "image.E01", 0, &a, &err) == POSIO_OK);
        REQUIRE(o.open(o.self, "image.E01", 0, &b, &err) == POSIO_OK);
        o.close(o.self, &a);
        o.close(o.self, &a);
        CHECK_EQ(posio_read(&b, 1, got, 2, &err), POSIO_OK);
        CHECK_MEM(got, "ne", 2);
        CHECK_EQ(posio_extent_of(&b, 1, &x, &err), POSIO_OK);
        CHECK_EQ(x.length, 2);
        CHECK_FAILS(posio_read(&b, 2, got, 2, &err), POSIO_E_RANGE);
        CHECK_FAILS(b.read_at(b.self, 2, got, 2, &err), POSIO_E_RANGE);
        CHECK_STR(err.file, "image.E01");
    }
    posio_folder_close(d);
    posio_folder_close(NULL);
}

static int note_name(void *user, const char *name)
{
    static const char *const names[] = {"image.E01", "image.E02"};
    unsigned *seen = (unsigned *)user, i;
    for (i = 0; i < 2; i++)
        if (strcmp(name, names[i]) == 0) seen[i]++;
    seen[2]++;
    return 0;
}
static int stop_at_once(void *user, const char *name)
{
    (void)name;
    ++*(unsigned *)user;
    return 1;
}

TEST(folders_are_listed)
{
    posio_folder *d = NULL;
    posio_opener o;
    posio_error err;
    unsigned seen[3] = {0, 0, 0}, calls = 0;
    (void)raw_folder(in("set"));
    REQUIRE(put(in("set/image.E01"), "one", 3) && put(in("set/image.E02"), "two!", 4));
    REQUIRE(posio_folder_open(&d, in("set/image.E01"), NULL, &err) == POSIO_OK);
    o = posio_folder_opener(d);
    CHECK_EQ(o.list(o.self, note_name, seen, &err), POSIO_OK);
    CHECK_EQ(seen[0], 1);
    CHECK_EQ(seen[1], 1);
    CHECK(seen[2] <= 4); /* . and .. may be told too */
    CHECK_EQ(o.list(o.self, stop_at_once, &calls, &err), POSIO_OK);
    CHECK_EQ(calls, 1);
    posio_folder_close(d);
    REQUIRE(posio_folder_open(&d, in("nowhere/image.E01"), NULL, &err) == POSIO_OK);
    o = posio_folder_opener(d);
    CHECK_FAILS(o.list(o.self, note_name, seen, &err), POSIO_E_NOT_FOUND);
    posio_folder_close(d);
}

/* A path without a folder means the current one. */
TEST(the_current_folder)
{
    posio_folder *d = NULL;
    posio_opener o;
    posio_error err;
    posio_source s;
    unsigned seen[3] = {0, 0, 0};
#if defined(_WIN32)
    static const char back[] = "..";
#else
    char back[1024];
    REQUIRE(getcwd(back, sizeof back) != NULL);
#endif
    REQUIRE(put(in("image.E01"), "here", 4) && put(in("image.E02"), "two", 3));
    REQUIRE(raw_go(folder));
    CHECK_EQ(posio_folder_open(&d, "image.E01", NULL, &err), POSIO_OK);
    o = posio_folder_opener(d);
    CHECK(opens(&o, "image.E01", POSIO_NAME_SIBLING, "here"));
    CHECK(opens(&o, "image.E02", POSIO_NAME_STORED, "two"));
    CHECK_FAILS(o.open(o.self, "../x", POSIO_NAME_STORED, &s, &err), POSIO_E_POLICY);
    CHECK_EQ(o.list(o.self, note_name, seen, &err), POSIO_OK);
    CHECK_EQ(seen[0], 1);
    posio_folder_close(d);
    CHECK(raw_go(back));
}

enum { MANY = 300, KEPT = 8, READERS = 16 };
typedef struct crowd {
    posio_source sources[MANY];
    posio_folder *folder;
    uint32_t wrong, most, base, counting;
} crowd;

/* Descriptors of this process; 0 where the system does not tell. */
static uint32_t open_descriptors(void)
{
    uint32_t n = 0;
#if defined(__linux__)
    DIR *d = opendir("/proc/self/fd");
    if (d == NULL) return 0;
    while (readdir(d) != NULL) n++;
    (void)closedir(d);
    n -= 3; /* ".", ".." and this one */
#endif
    return n;
}

static posio_result read_at_random(void *user, uint32_t i, posio_error *err)
{
    crowd *c = (crowd *)user;
    uint64_t seed = i + 1;
    int k;
    for (k = 0; k < 150; k++) {
        uint32_t which = (uint32_t)(test_random(&seed) % MANY), n;
        unsigned char got[64];
        size_t at = (size_t)(test_random(&seed) % 64);
        posio_extent x;
        posio_result r = posio_read(&c->sources[which], at, got, 64 - at, err);
        if (r == POSIO_OK && k % 16 == 0) r = posio_extent_of(&c->sources[which], at, &x, err);
        if (r != POSIO_OK) return r;
        if (!is_filled(got, which * 1000 + at, 64 - at)) (void)posio_atomic_add(&c->wrong, 1);
        /* One thread at a time looks at the bound, or lookers would count each other. */
        if (k % 8 == 0 && posio_atomic_swap_if(&c->counting, 0, 1)) {
            n = posio_atomic_load(&c->folder->open_count);
            if (n > c->most) c->most = n;
            n = open_descriptors();
            if (n > c->base && n - c->base > c->most) c->most = n - c->base;
            posio_atomic_store(&c->counting, 0);
        }
    }
    return POSIO_OK;
}

TEST(the_bound_on_descriptors)
{
    posio_folder *d = NULL;
    posio_folder_desc desc;
    posio_opener o;
    posio_error err;
    crowd *c = (crowd *)calloc(1, sizeof *c);
    thread_pool *pool;
    uint32_t i, threads;
    unsigned char bytes[64];
    (void)raw_folder(in("many"));
    memset(&desc, 0, sizeof desc);
    desc.max_open = KEPT;
    for (i = 0; i < MANY; i++) {
        char name[32];
        snprintf(name, sizeof name, "many/%u.bin", (unsigned)i);
        fill(bytes, i * 1000, sizeof bytes);
        REQUIRE(put(in(name), bytes, sizeof bytes));
    }
#ifdef THREAD_POOL_NO_THREADS
    pool = NULL;
#else
    pool = thread_pool_create(READERS);
#endif
    threads = thread_pool_threads(pool);
    c->base = open_descriptors();
    REQUIRE(posio_folder_open(&d, in("many/0.bin"), &desc, &err) == POSIO_OK);
    c->folder = d;
    o = posio_folder_opener(d);
    for (i = 0; i < MANY; i++) {
        char name[32];
        snprintf(name, sizeof name, "%u.bin", (unsigned)i);
        REQUIRE(o.open(o.self, name, i % 2, &c->sources[i], &err) == POSIO_OK);
        CHECK(d->open_count <= KEPT);
    }
    CHECK(open_descriptors() <= c->base + KEPT);
    CHECK_EQ(thread_pool_parallel_for(pool, READERS, read_at_random, c, &err), POSIO_OK);
    CHECK_EQ(c->wrong, 0);
    CHECK(c->most != 0 && c->most <= KEPT + threads);
    /* What readers at once took beyond the bound is given back by those that follow. */
    for (i = 0; i < 40; i++) CHECK_EQ(posio_read(&c->sources[i], 0, bytes, 64, &err), POSIO_OK);
    CHECK(d->open_count <= KEPT);
    CHECK(open_descriptors() <= c->base + KEPT);
    /* Half of them closed by the user: the rest still works, and so does the count. */
    for (i = 0; i < MANY; i += 2) o.close(o.self, &c->sources[i]);
    for (i = 1; i < MANY; i += 2) {
        CHECK_EQ(posio_read(&c->sources[i], 0, bytes, 64, &err), POSIO_OK);
        CHECK(is_filled(bytes, i * 1000, 64));
    }
    CHECK(d->open_count <= KEPT);
    posio_folder_close(d);
    CHECK_EQ(open_descriptors(), c->base);
    thread_pool_destroy(pool);
    free(c);
#ifdef THREAD_POOL_NO_THREADS
    SKIP("no threads in this build: read from one");
#endif
}

TEST(a_file_that_changed_while_it_was_closed)
{
    posio_folder *d = NULL;
    posio_folder_desc desc;
    posio_opener o;
    posio_source a, b;
    posio_error err;
    char got[8];
    (void)raw_folder(in("swap"));
    memset(&desc, 0, sizeof desc);
    desc.max_open = 1;
    REQUIRE(put(in("swap/a"), "aaaa", 4) && put(in("swap/b"), "bbbb", 4));
    REQUIRE(posio_folder_open(&d, in("swap/a"), &desc, &err) == POSIO_OK);
    o = posio_folder_opener(d);
    REQUIRE(o.open(o.self, "a", POSIO_NAME_SIBLING, &a, &err) == POSIO_OK);
    REQUIRE(o.open(o.self, "b", POSIO_NAME_SIBLING, &b, &err) == POSIO_OK); /* a is closed now */
    /* another file under its name */
    REQUIRE(raw_rename(in("swap/a"), in("swap/kept")) && put(in("swap/a"), "cccc", 4));
    CHECK_FAILS(posio_read(&a, 0, got, 4, &err), POSIO_E_IO);
    CHECK(strstr(err.message, "replaced") != NULL);
    CHECK_STR(err.file, "a");
    CHECK_EQ(posio_read(&b, 0, got, 4, &err), POSIO_OK);
    /* no file */
    REQUIRE(raw_remove(in("swap/a")));
    CHECK_FAILS(posio_read(&a, 0, got, 4, &err), POSIO_E_NOT_FOUND);
    CHECK_STR(err.file, "a");
    /* its own file again */
    REQUIRE(raw_rename(in("swap/kept"), in("swap/a")));
    CHECK_EQ(posio_read(&a, 0, got, 4, &err), POSIO_OK);
    CHECK_MEM(got, "aaaa", 4);
    /* of another size */
    CHECK_EQ(posio_read(&b, 0, got, 4, &err), POSIO_OK);
    REQUIRE(raw_set_size(in("swap/a"), 5));
    CHECK_FAILS(posio_read(&a, 0, got, 4, &err), POSIO_E_IO);
    CHECK(strstr(err.message, "size") != NULL);
    {
        posio_extent x;
        CHECK_FAILS(posio_extent_of(&a, 0, &x, &err), POSIO_E_IO);
        CHECK_STR(err.file, "a");
    }
    CHECK_EQ(posio_read(&b, 0, got, 4, &err), POSIO_OK);
    CHECK_EQ(d->open_count, 1);
    posio_folder_close(d);
}

/* jail/ with files in it, and one outside. */
static int make_jail(void)
{
    static int made;
    if (made) return 1;
    made = raw_folder(in("jail")) && raw_folder(in("jail/sub")) && raw_folder(in("jail2")) &&
           put(in("jail/image.bin"), "image", 5) && put(in("jail/sub/inner.bin"), "inner", 5) &&
           put(in("jail/..foo"), "foo", 3) && put(in("jail/a..b"), "ab", 2) &&
           put(in("jail2/next.bin"), "next", 4) &&
           put(in("outside.bin"), "outside", 7);
    return made;
}

TEST(stored_names_stay_in_the_folder)
{
    static const char *const refused[] = {
        "..", "../outside.bin", "a/../b", "a/../image.bin", "sub/..", "x/..",
        "sub/../../outside.bin", "../jail/image.bin", "/", "/etc/passwd", "//server/share/x",
        "./../outside.bin"};
    static const char *const urls[] = {"http://example.com/x", "nbd://host:1/", "file:///etc/x"};
    posio_folder *d = NULL;
    posio_opener o;
    posio_source s;
    posio_error err;
    size_t i;
    REQUIRE(make_jail());
    REQUIRE(posio_folder_open(&d, in("jail/image.bin"), NULL, &err) == POSIO_OK);
    o = posio_folder_opener(d);
    CHECK(opens(&o, "image.bin", POSIO_NAME_STORED, "image"));
    CHECK(opens(&o, "sub/inner.bin", POSIO_NAME_STORED, "inner"));
    CHECK(opens(&o, "./sub/./inner.bin", POSIO_NAME_STORED, "inner"));
    CHECK(opens(&o, "..foo", POSIO_NAME_STORED, "foo"));
    CHECK(opens(&o, "a..b", POSIO_NAME_STORED, "ab"));
    for (i = 0; i < COUNT(refused); i++) {
        CHECK_FAILS(o.open(o.self, refused[i], POSIO_NAME_STORED, &s, &err), POSIO_E_POLICY);
        CHECK(strstr(err.message, "POSIO_ALLOW_OUTSIDE") != NULL);
        CHECK(strstr(err.message, refused[i]) != NULL);
    }
    for (i = 0; i < COUNT(urls); i++) {
        CHECK_FAILS(o.open(o.self, urls[i], POSIO_NAME_STORED, &s, &err), POSIO_E_POLICY);
        CHECK(strstr(err.message, "URL") != NULL);
    }
    CHECK_FAILS(o.open(o.self, "", POSIO_NAME_STORED, &s, &err), POSIO_E_POLICY);
    CHECK_FAILS(o.open(o.self, "sub", POSIO_NAME_STORED, &s, &err), POSIO_E_UNSUPPORTED);
    CHECK_FAILS(o.open(o.self, "nothing", POSIO_NAME_STORED, &s, &err), POSIO_E_NOT_FOUND);
    CHECK_FAILS(o.open(o.self, "none/nothing", POSIO_NAME_STORED, &s, &err), POSIO_E_NOT_FOUND);
    CHECK_FAILS(o.open(o.self, "image.bin/x", POSIO_NAME_STORED, &s, &err), POSIO_E_NOT_FOUND);
    CHECK_STR(err.file, "image.bin/x");
#if defined(_WIN32)
    {
        static const char *const drives[] = {"C:\\x", "C:x", "C:/x", "image.bin:stream", "\\x",
                                             "\\\\server\\share\\x", "..\\outside.bin",
                                             "sub\\..\\..\\outside.bin", "\\\\.\\PhysicalDrive0"};
        for (i = 0; i < COUNT(drives); i++) {
            CHECK_FAILS(o.open(o.self, drives[i], POSIO_NAME_STORED, &s, &err), POSIO_E_POLICY);
            CHECK(strstr(err.message, "POSIO_ALLOW_OUTSIDE") != NULL);
        }
        CHECK(opens(&o, "sub\\inner.bin", POSIO_NAME_STORED, "inner"));
        CHECK((int64_t)o.open(o.self, "NUL", POSIO_NAME_STORED, &s, &err) != POSIO_OK);
    }
#else
    {
        char name[700];
        memset(name, 'n', 600);
        name[600] = 0;
        CHECK_FAILS(o.open(o.self, name, POSIO_NAME_STORED, &s, &err), POSIO_E_IO);
        CHECK_EQ(err.os_error, ENAMETOOLONG);
        REQUIRE(put(in("jail/sub/..."), "dots", 4));
        CHECK(opens(&o, "sub/...", POSIO_NAME_STORED, "dots"));
    }
#endif
    posio_folder_close(d);
}

TEST(allow_outside_permits)
{
    posio_folder *d = NULL;
    posio_folder_desc desc;
    posio_opener o;
    posio_source s;
    posio_error err;
    char path[1400];
    REQUIRE(make_jail());
    memset(&desc, 0, sizeof desc);
    desc.allow = POSIO_ALLOW_OUTSIDE;
    REQUIRE(posio_folder_open(&d, in("jail/image.bin"), &desc, &err) == POSIO_OK);
    o = posio_folder_opener(d);
#if defined(_WIN32)
    {
        wchar_t full[1400];
        GetFullPathNameW(wide(in("outside.bin")), 1400, full, NULL);
        WideCharToMultiByte(CP_UTF8, 0, full, -1, path, sizeof path, NULL, NULL);
    }
#else
    snprintf(path, sizeof path, "%s", in("outside.bin"));
#endif
    CHECK(opens(&o, path, POSIO_NAME_STORED, "outside"));
    CHECK(opens(&o, "../outside.bin", POSIO_NAME_STORED, "outside"));
    CHECK(opens(&o, "sub/../../jail2/next.bin", POSIO_NAME_STORED, "next"));
    CHECK(opens(&o, "image.bin", POSIO_NAME_STORED, "image"));
    CHECK_FAILS(o.open(o.self, "http://example.com/x", POSIO_NAME_STORED, &s, &err),
                POSIO_E_POLICY);
    CHECK_FAILS(o.open(o.self, "", POSIO_NAME_STORED, &s, &err), POSIO_E_POLICY);
    posio_folder_close(d);
}

TEST(links_may_not_lead_out)
{
#if defined(_WIN32)
    SKIP("links need a privilege on this system");
#else
    static const char *const links[][2] = {
        {"sub/inner.bin", "in_link"}, {"in_link", "in_chain"}, {"sub", "dir_in"},
        {"a..b", "dots"}, {"..foo", "dots2"}, {"../outside.bin", "out_link"},
        {"out_link", "out_chain"}, {"..", "dir_out"}, {"../../outside.bin", "sub/up"},
        {"loop_b", "loop_a"}, {"loop_a", "loop_b"}, {"loop_dir", "loop_dir"},
        {"nothing.bin", "dangling"}, {"/dev/null", "null"}, {"/dev/zero", "sub/zero"},
        {"inner.bin", "sub/beside"}, {"sub/beside", "two_levels"}, {"dir_out/outside.bin", "via"}};
    static const char *const inside[][2] = {
        {"in_link", "inner"}, {"in_chain", "inner"}, {"dir_in/inner.bin", "inner"}, {"dots", "ab"},
        {"dots2", "foo"}, {"sub/beside", "inner"}, {"two_levels", "inner"},
        {"dir_in/beside", "inner"}};
    static const char *const leaving[] = {"out_link", "out_chain", "dir_out/outside.bin", "sub/up",
                                          "dir_in/up", "null", "sub/zero", "via", "dir_out"};
    static const char *const loops[] = {"loop_a", "loop_b", "loop_dir/x"};
    posio_folder *d = NULL;
    posio_folder_desc desc;
    posio_opener o;
    posio_source s;
    posio_error err;
    char name[64], target[1200];
    size_t i;
    REQUIRE(make_jail());
    for (i = 0; i < COUNT(links); i++) {
        snprintf(name, sizeof name, "jail/%s", links[i][1]);
        if (symlink(links[i][0], in(name)) != 0) SKIP("the file system has no links");
    }
    CHECK(symlink(in("jail/image.bin"), in("jail/absolute")) == 0);
    REQUIRE(posio_folder_open(&d, in("jail/image.bin"), NULL, &err) == POSIO_OK);
    o = posio_folder_opener(d);
    for (i = 0; i < COUNT(inside); i++)
        CHECK(opens(&o, inside[i][0], POSIO_NAME_STORED, inside[i][1]));
    for (i = 0; i < COUNT(leaving); i++) {
        CHECK_FAILS(o.open(o.self, leaving[i], POSIO_NAME_STORED, &s, &err), POSIO_E_POLICY);
        CHECK(strstr(err.message, "POSIO_ALLOW_OUTSIDE") != NULL);
        CHECK_STR(err.file, leaving[i]);
    }
    /* An absolute link is not followed, wherever it leads. */
    CHECK_FAILS(o.open(o.self, "absolute", POSIO_NAME_STORED, &s, &err), POSIO_E_POLICY);
    for (i = 0; i < COUNT(loops); i++) {
        CHECK_FAILS(o.open(o.self, loops[i], POSIO_NAME_STORED, &s, &err), POSIO_E_IO);
        CHECK_EQ(err.os_error, ELOOP);
    }
    CHECK_FAILS(o.open(o.self, "dangling", POSIO_NAME_STORED, &s, &err), POSIO_E_NOT_FOUND);
    /* A target that is longer than the room for it must not be followed in part. */
    for (i = 0; i + 2 < sizeof target; i += 2) memcpy(target + i, "./", 2);
    memcpy(target + 1014, "image.binX", 11); /* 1,024 bytes; the first 1,023 name a file */
    if (symlink(target, in("jail/long")) == 0) {
        CHECK_FAILS(o.open(o.self, "long", POSIO_NAME_STORED, &s, &err), POSIO_E_IO);
        CHECK_EQ(err.os_error, ENAMETOOLONG);
    }
    posio_folder_close(d);
    /* Links of the user's own names are followed; and so are all with the option. */
    memset(&desc, 0, sizeof desc);
    REQUIRE(posio_folder_open(&d, in("jail/image.bin"), &desc, &err) == POSIO_OK);
    o = posio_folder_opener(d);
    CHECK(opens(&o, "out_link", POSIO_NAME_SIBLING, "outside"));
    posio_folder_close(d);
    desc.allow = POSIO_ALLOW_OUTSIDE;
    REQUIRE(posio_folder_open(&d, in("jail/image.bin"), &desc, &err) == POSIO_OK);
    o = posio_folder_opener(d);
    CHECK(opens(&o, "out_link", POSIO_NAME_STORED, "outside"));
    CHECK(opens(&o, "dir_out/outside.bin", POSIO_NAME_STORED, "outside"));
    CHECK(opens(&o, "absolute", POSIO_NAME_STORED, "image"));
    if (is_device("/dev/null"))
        CHECK_FAILS(o.open(o.self, "null", POSIO_NAME_STORED, &s, &err), POSIO_E_UNSUPPORTED);
    CHECK_FAILS(o.open(o.self, "loop_a", POSIO_NAME_STORED, &s, &err), POSIO_E_IO);
    posio_folder_close(d);
#endif
}

TEST(stored_names_of_pipes_and_devices)
{
#if !defined(__linux__)
    SKIP("needs a device that can be given a second name");
#else
    static const char *const disks[] = {"/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/xvda",
                                        "/dev/mmcblk0", "/dev/loop0", "/dev/ram0"};
    posio_folder *d = NULL;
    posio_folder_desc desc;
    posio_opener o;
    posio_source s;
    posio_error err;
    struct stat st;
    size_t i;
    int fd = -1;
    REQUIRE(make_jail());
    memset(&desc, 0, sizeof desc);
    REQUIRE(posio_folder_open(&d, in("jail/image.bin"), &desc, &err) == POSIO_OK);
    o = posio_folder_opener(d);
    (void)alarm(20);
    if (mkfifo(in("jail/fifo"), 0666) == 0)
        CHECK_FAILS(o.open(o.self, "fifo", POSIO_NAME_STORED, &s, &err), POSIO_E_UNSUPPORTED);
    (void)alarm(0);
    if (mknod(in("jail/zero"), S_IFCHR | 0600, makedev(1, 5)) == 0 &&
        (fd = open(in("jail/zero"), O_RDONLY)) >= 0) {
        (void)close(fd);
        CHECK_FAILS(o.open(o.self, "zero", POSIO_NAME_STORED, &s, &err), POSIO_E_UNSUPPORTED);
    }
    for (i = 0; i < COUNT(disks); i++) {
        (void)unlink(in("jail/disk"));
        if (stat(disks[i], &st) != 0 || !S_ISBLK(st.st_mode) ||
            mknod(in("jail/disk"), S_IFBLK | 0600, st.st_rdev) != 0 ||
            (fd = open(in("jail/disk"), O_RDONLY | O_NONBLOCK)) < 0)
            continue;
        (void)close(fd);
        break;
    }
    if (i == COUNT(disks)) {
        posio_folder_close(d);
        SKIP("no block device may be opened here");
    }
    CHECK_FAILS(o.open(o.self, "disk", POSIO_NAME_STORED, &s, &err), POSIO_E_POLICY);
    CHECK(strstr(err.message, "POSIO_ALLOW_DEVICE") != NULL);
    CHECK_STR(err.file, "disk");
    CHECK_EQ(o.open(o.self, "disk", POSIO_NAME_SIBLING, &s, &err), POSIO_OK);
    CHECK_EQ(s.flags, POSIO_SOURCE_DEVICE);
    posio_folder_close(d);
    desc.allow = POSIO_ALLOW_DEVICE;
    REQUIRE(posio_folder_open(&d, in("jail/image.bin"), &desc, &err) == POSIO_OK);
    o = posio_folder_opener(d);
    CHECK_EQ(o.open(o.self, "disk", POSIO_NAME_STORED, &s, &err), POSIO_OK);
    CHECK_EQ(s.flags, POSIO_SOURCE_DEVICE);
    if (s.size != 0) { /* a device is data to its end, and has been measured */
        posio_extent x;
        unsigned char sector[512];
        CHECK_EQ(posio_extent_of(&s, 0, &x, &err), POSIO_OK);
        CHECK_EQ(x.length, s.size);
        CHECK_EQ(posio_read(&s, s.size - 512, sector, 512, &err), POSIO_OK);
    }
    posio_folder_close(d);
    /* A drive without a medium is a device all the same. */
    (void)unlink(in("jail/disk"));
    if (mknod(in("jail/disk"), S_IFBLK | 0600, makedev(7, 7)) == 0 &&
        (fd = open(in("jail/disk"), O_RDONLY | O_NONBLOCK)) >= 0) {
        (void)close(fd);
        REQUIRE(posio_folder_open(&d, in("jail/image.bin"), NULL, &err) == POSIO_OK);
        o = posio_folder_opener(d);
        CHECK_FAILS(o.open(o.self, "disk", POSIO_NAME_STORED, &s, &err), POSIO_E_POLICY);
        posio_folder_close(d);
    }
    (void)unlink(in("jail/disk"));
#endif
}

/* Some file systems refuse to bypass the cache: then it is used. */
TEST(unbuffered_where_the_file_system_cannot)
{
#if !defined(__linux__)
    SKIP("needs /proc");
#else
    posio_folder *d = NULL;
    posio_folder_desc desc;
    posio_opener o;
    posio_source s;
    posio_error err;
    if (!raw_exists("/proc/version")) SKIP("needs /proc");
    memset(&desc, 0, sizeof desc);
    desc.file_flags = POSIO_FILE_UNBUFFERED;
    REQUIRE(posio_folder_open(&d, "/proc/version", &desc, &err) == POSIO_OK);
    o = posio_folder_opener(d);
    CHECK_EQ(o.open(o.self, "version", POSIO_NAME_SIBLING, &s, &err), POSIO_OK);
    CHECK_EQ(o.open(o.self, "version", POSIO_NAME_STORED, &s, &err), POSIO_OK);
    posio_folder_close(d);
    desc.file_flags = POSIO_FILE_UNBUFFERED | POSIO_FILE_SEQUENTIAL;
    REQUIRE(put_filled(in("direct2.bin"), 5000));
    REQUIRE(posio_folder_open(&d, in("direct2.bin"), &desc, &err) == POSIO_OK);
    o = posio_folder_opener(d);
    REQUIRE(o.open(o.self, "direct2.bin", POSIO_NAME_STORED, &s, &err) == POSIO_OK);
    {
        unsigned char got[3000];
        CHECK_EQ(posio_read(&s, 1999, got, 3000, &err), POSIO_OK);
        CHECK(is_filled(got, 1999, 3000));
    }
    posio_folder_close(d);
#endif
}

// ---------------------------------------------------------------------------------- sinks

static posio_file_sink *sink_open(posio_sink *k, const char *path, uint32_t flags)
{
    posio_file_sink *s = NULL;
    posio_file_sink_desc desc;
    posio_error err;
    memset(&desc, 0, sizeof desc);
    desc.flags = flags;
    if (posio_file_sink_open(&s, path, &desc, &err) != POSIO_OK) {
        printf("     \"%s\": %s\n", path, err.message);
        return NULL;
    }
    *k = posio_file_sink_sink(s);
    return s;
}

TEST(a_sink_renames_when_complete)
{
    posio_sink k;
    posio_file_sink *s;
    posio_error err;
    REQUIRE((s = sink_open(&k, in("out"), 0)) != NULL);
    CHECK(raw_exists(in("out.part")) && !raw_exists(in("out")));
    CHECK_EQ(posio_file_sink_size(s), 0);
    CHECK_EQ(k.write(k.self, "hello ", 6, &err), POSIO_OK);
    CHECK_EQ(k.write(k.self, NULL, 0, &err), POSIO_OK);
    CHECK_EQ(k.write(k.self, "sink", 4, &err), POSIO_OK);
    CHECK_EQ(posio_file_sink_size(s), 10);
    CHECK(!raw_exists(in("out")));
    CHECK_EQ(posio_file_sink_finish(s, &err), POSIO_OK);
    CHECK(!raw_exists(in("out.part")));
    posio_file_sink_close(s);
    posio_file_sink_close(NULL);
    CHECK(holds(in("out"), "hello sink"));
}

TEST(an_existing_output_is_refused_or_replaced)
{
    posio_sink k;
    posio_file_sink *s = NULL;
    posio_file_sink_desc desc;
    posio_error err;
    const char *path = in("there");
    memset(&desc, 0, sizeof desc);
    REQUIRE(put(path, "old", 3));
    CHECK_FAILS(posio_file_sink_open(&s, path, NULL, &err), POSIO_E_EXISTS);
    CHECK_STR(err.file, path);
    desc.flags = POSIO_SINK_RESUME;
    CHECK_FAILS(posio_file_sink_open(&s, path, &desc, &err), POSIO_E_EXISTS);
    CHECK(s == NULL && !raw_exists(in("there.part")));
    /* FORCE: the old one stays until the new one is complete. */
    REQUIRE((s = sink_open(&k, path, POSIO_SINK_FORCE | POSIO_SINK_NO_SYNC)) != NULL);
    CHECK_EQ(k.write(k.self, "new", 3, &err), POSIO_OK);
    CHECK(holds(path, "old"));
    CHECK_EQ(posio_file_sink_finish(s, &err), POSIO_OK);
    posio_file_sink_close(s);
    CHECK(holds(path, "new") && !raw_exists(in("there.part")));
    /* What appears meanwhile is not replaced, and nothing is lost. */
    REQUIRE((s = sink_open(&k, in("late"), 0)) != NULL);
    CHECK_EQ(k.write(k.self, "mine", 4, &err), POSIO_OK);
    REQUIRE(put(in("late"), "other", 5));
    CHECK_FAILS(posio_file_sink_finish(s, &err), POSIO_E_EXISTS);
    posio_file_sink_close(s);
    CHECK(holds(in("late"), "other") && holds(in("late.part"), "mine"));
#if !defined(_WIN32)
    /* Until then its part is its own; and after a success what is there is another's. */
    {
        posio_file_sink *other = NULL;
        desc.flags = POSIO_SINK_FORCE;
        REQUIRE((s = sink_open(&k, in("late2"), 0)) != NULL);
        REQUIRE(put(in("late2"), "other", 5));
        CHECK_FAILS(posio_file_sink_finish(s, &err), POSIO_E_EXISTS);
        CHECK_STR(err.file, in("late2.part"));
        CHECK_FAILS(posio_file_sink_open(&other, in("late2"), &desc, &err), POSIO_E_BUSY);
        posio_file_sink_abort(s);
        CHECK(holds(in("late2"), "other") && !raw_exists(in("late2.part")));
        REQUIRE((s = sink_open(&k, in("late3"), 0)) != NULL);
        CHECK_EQ(posio_file_sink_finish(s, &err), POSIO_OK);
        REQUIRE((other = sink_open(&k, in("late3"), POSIO_SINK_FORCE)) != NULL);
        posio_file_sink_abort(s);
        CHECK(raw_exists(in("late3.part")));
        posio_file_sink_abort(other);
        CHECK(!raw_exists(in("late3.part")));
    }
#endif
    /* A folder can never be replaced: said at once, not after hours. */
    REQUIRE(raw_folder(in("a_folder")));
    s = NULL;
    desc.flags = POSIO_SINK_FORCE;
    CHECK_FAILS(posio_file_sink_open(&s, in("a_folder"), &desc, &err), POSIO_E_UNSUPPORTED);
    CHECK(strstr(err.message, "folder") != NULL);
    CHECK_FAILS(posio_file_sink_open(&s, in("nowhere/x"), NULL, &err), POSIO_E_NOT_FOUND);
    CHECK_EQ((int64_t)posio_file_sink_open(&s, in("nowhere/x"), NULL, NULL), POSIO_E_NOT_FOUND);
    CHECK(s == NULL);
#if !defined(_WIN32)
    /* A link to nowhere is something too; FORCE replaces the link itself. */
    REQUIRE(symlink("nowhere", in("a_link")) == 0);
    CHECK_FAILS(posio_file_sink_open(&s, in("a_link"), NULL, &err), POSIO_E_EXISTS);
    CHECK(!raw_exists(in("a_link.part")));
    REQUIRE((s = sink_open(&k, in("a_link"), POSIO_SINK_FORCE)) != NULL);
    CHECK_EQ(posio_file_sink_finish(s, &err), POSIO_OK);
    posio_file_sink_close(s);
    CHECK(holds(in("a_link"), "") && !raw_exists(in("nowhere")));
#endif
}

TEST(an_aborted_sink_is_resumed)
{
    posio_sink k;
    posio_file_sink *s;
    posio_error err;
    REQUIRE((s = sink_open(&k, in("broken"), 0)) != NULL);
    CHECK_EQ(k.write(k.self, "first", 5, &err), POSIO_OK);
    CHECK_EQ(k.hole(k.self, 1000, &err), POSIO_OK); /* nothing of it is in the file yet */
    posio_file_sink_close(s);
    CHECK(!raw_exists(in("broken")) && holds(in("broken.part"), "first"));
    REQUIRE((s = sink_open(&k, in("broken"), POSIO_SINK_RESUME)) != NULL);
    CHECK_EQ(posio_file_sink_size(s), 5);
    CHECK_EQ(k.write(k.self, " second", 7, &err), POSIO_OK);
    CHECK_EQ(posio_file_sink_size(s), 12);
    posio_file_sink_close(s);
    /* Without RESUME it begins anew. */
    REQUIRE((s = sink_open(&k, in("broken"), POSIO_SINK_RESUME)) != NULL);
    CHECK_EQ(posio_file_sink_finish(s, &err), POSIO_OK);
    posio_file_sink_close(s);
    CHECK(holds(in("broken"), "first second") && !raw_exists(in("broken.part")));
    REQUIRE(put(in("anew.part"), "very old text", 13));
    REQUIRE((s = sink_open(&k, in("anew"), 0)) != NULL);
    CHECK_EQ(posio_file_sink_size(s), 0);
    CHECK_EQ(k.write(k.self, "x", 1, &err), POSIO_OK);
    CHECK_EQ(posio_file_sink_finish(s, &err), POSIO_OK);
    posio_file_sink_close(s);
    CHECK(holds(in("anew"), "x"));
    /* RESUME of nothing is a beginning. */
    REQUIRE((s = sink_open(&k, in("fresh"), POSIO_SINK_RESUME)) != NULL);
    CHECK_EQ(posio_file_sink_size(s), 0);
    posio_file_sink_close(s);
}

TEST(a_resumed_sink_is_cut)
{
    posio_sink k;
    posio_file_sink *s;
    posio_error err;
    REQUIRE(put(in("cut.part"), "good torn", 9));
    REQUIRE((s = sink_open(&k, in("cut"), POSIO_SINK_RESUME)) != NULL);
    CHECK(!posio_file_sink_is_direct(s));
    CHECK_FAILS(posio_file_sink_cut(s, 10, &err), POSIO_E_ARG);
    CHECK_EQ(posio_file_sink_size(s), 9);
    CHECK_EQ(posio_file_sink_cut(s, 9, &err), POSIO_OK);
    CHECK_EQ(posio_file_sink_cut(s, 5, &err), POSIO_OK);
    CHECK_EQ(posio_file_sink_size(s), 5);
    CHECK_EQ(k.hole(k.self, 2, &err), POSIO_OK); /* zeros, not what was there before */
    CHECK_EQ(k.write(k.self, "new", 3, &err), POSIO_OK);
    CHECK_EQ(posio_file_sink_finish(s, &err), POSIO_OK);
    posio_file_sink_close(s);
    REQUIRE(raw_exists(in("cut")));
    {
        unsigned char bytes[10];
        posio_file *f = NULL;
        posio_source src;
        REQUIRE(posio_file_open(&f, in("cut"), NULL, &err) == POSIO_OK);
        src = posio_file_source(f);
        CHECK_EQ(src.size, 10);
        CHECK_EQ(posio_read(&src, 0, bytes, 10, &err), POSIO_OK);
        CHECK(memcmp(bytes, "good \0\0new", 10) == 0);
        posio_file_close(f);
    }
}

static void write_with_holes(const char *path, uint32_t flags)
{
    unsigned char *data = (unsigned char *)malloc(64 * KIB);
    posio_sink k;
    posio_error err;
    posio_file_sink *s = sink_open(&k, path, flags | POSIO_SINK_FORCE);
    fill(data, 0, 64 * KIB);
    if (s != NULL) {
        CHECK_EQ(k.hole(k.self, 100000, &err), POSIO_OK);
        CHECK_EQ(k.write(k.self, data, 64 * KIB, &err), POSIO_OK);
        CHECK_EQ(k.hole(k.self, 4 * MIB + 1, &err), POSIO_OK);
        CHECK_EQ(k.hole(k.self, 0, &err), POSIO_OK);
        CHECK_EQ(k.write(k.self, data, 64 * KIB, &err), POSIO_OK);
        CHECK_EQ(k.hole(k.self, 2 * MIB, &err), POSIO_OK);
        CHECK_EQ(posio_file_sink_size(s), 100000 + 128 * KIB + 6 * MIB + 1);
        CHECK_EQ(posio_file_sink_finish(s, &err), POSIO_OK);
    }
    posio_file_sink_close(s);
    free(data);
}

TEST(holes_are_kept_and_read_as_zeros)
{
    static const size_t size = 100000 + 131072 + 6 * 1048576 + 1;
    unsigned char *got = (unsigned char *)malloc(size + 1);
    int no_holes;
    for (no_holes = 0; no_holes < 2; no_holes++) {
        const char *path = no_holes ? in("solid") : in("holey");
        size_t second = 100000 + 65536 + 4 * 1048576 + 1;
        write_with_holes(path, no_holes ? POSIO_SINK_NO_HOLES : 0);
        CHECK_EQ(get(path, got, size + 1), size);
        CHECK(is_zero(got, 100000));
        CHECK(is_filled(got + 100000, 0, 65536));
        CHECK(is_zero(got + 165536, second - 165536));
        CHECK(is_filled(got + second, 0, 65536));
        CHECK(is_zero(got + second + 65536, size - second - 65536));
    }
    free(got);
#if defined(__linux__)
    {
        struct statfs fs;
        unsigned long type = statfs(folder, &fs) == 0 ? (unsigned long)fs.f_type : 0;
        if (type != 0xef53 && type != 0x01021994 && type != 0x58465342)
            SKIP("holes are counted on ext4, tmpfs and XFS only");
        CHECK(raw_blocks(in("holey")) <= MIB);
        CHECK(raw_blocks(in("solid")) >= size - KIB * 64);
    }
#endif
}

TEST(impossible_holes_leave_the_sink_as_it_was)
{
    posio_sink k;
    posio_file_sink *s;
    posio_error err;
    posio_result r;
    REQUIRE((s = sink_open(&k, in("hole"), POSIO_SINK_NO_SYNC)) != NULL);
    CHECK_EQ(k.write(k.self, "ab", 2, &err), POSIO_OK);
    CHECK_FAILS(k.hole(k.self, UINT64_MAX, &err), POSIO_E_ARG);
    CHECK(strstr(err.file, "hole.part") != NULL);
    CHECK_EQ(posio_file_sink_size(s), 2);
    CHECK_FAILS(k.hole(k.self, (uint64_t)1 << 63, &err), POSIO_E_ARG);
    CHECK_EQ(posio_file_sink_size(s), 2);
    CHECK_EQ(k.write(k.self, "c", 1, &err), POSIO_OK);
    CHECK_EQ(posio_file_sink_finish(s, &err), POSIO_OK);
    posio_file_sink_close(s);
    CHECK(holds(in("hole"), "abc"));
    /* Larger than the file system takes: an error at the hole or at the end, and no NAME. */
    REQUIRE((s = sink_open(&k, in("huge"), POSIO_SINK_NO_SYNC)) != NULL);
    r = k.hole(k.self, ((uint64_t)1 << 63) - 4096, &err);
    if (r == POSIO_OK) r = posio_file_sink_finish(s, &err);
    if (r != POSIO_OK) {
        CHECK_EQ(err.code, r);
        CHECK(err.os_error != 0 && strstr(err.file, "huge.part") != NULL);
        CHECK(!raw_exists(in("huge")));
    }
    posio_file_sink_close(s);
    (void)raw_remove(in("huge.part"));
    (void)raw_remove(in("huge"));
}

TEST(devices_are_written_straight_to)
{
    posio_sink k;
    posio_file_sink *s;
    posio_error err;
#if defined(_WIN32)
    REQUIRE((s = sink_open(&k, "NUL", 0)) != NULL);
#else
    if (!is_device("/dev/null")) SKIP("/dev/null is no device here");
    REQUIRE((s = sink_open(&k, "/dev/null", 0)) != NULL);
    CHECK(!raw_exists("/dev/null.part"));
#endif
    CHECK_EQ(k.write(k.self, "x", 1, &err), POSIO_OK);
    CHECK_EQ(k.hole(k.self, 5000, &err), POSIO_OK);
    CHECK_EQ(posio_file_sink_size(s), 5001);
    CHECK_EQ(posio_file_sink_finish(s, &err), POSIO_OK);
    posio_file_sink_close(s);
#if defined(__linux__)
    if (!is_device("/dev/full")) SKIP("needs /dev/full");
    REQUIRE((s = sink_open(&k, "/dev/full", 0)) != NULL);
    CHECK_FAILS(k.write(k.self, "x", 1, &err), POSIO_E_IO);
    CHECK_EQ(err.os_error, ENOSPC);
    CHECK_EQ(err.offset, 0);
    CHECK_STR(err.file, "/dev/full");
    CHECK(strstr(err.message, "no space left") != NULL);
    CHECK_FAILS(k.hole(k.self, 9000, &err), POSIO_E_IO);
    CHECK_EQ(posio_file_sink_size(s), 0);
    posio_file_sink_close(s);
    CHECK(!raw_exists("/dev/full.part"));
#endif
}

TEST(named_pipes_and_links_to_them_are_written_straight_to)
{
#if defined(_WIN32)
    SKIP("no named pipes in folders on this system");
#else
    posio_sink k;
    posio_file_sink *s;
    posio_error err;
    char got[64];
    int fd, ends[2];
    (void)unlink(in("pipe"));
    if (mkfifo(in("pipe"), 0666) != 0) SKIP("the file system has no named pipes");
    fd = open(in("pipe"), O_RDONLY | O_NONBLOCK);
    REQUIRE(fd >= 0);
    (void)alarm(20);
    REQUIRE((s = sink_open(&k, in("pipe"), 0)) != NULL);
    (void)alarm(0);
    CHECK_EQ(k.write(k.self, "hello", 5, &err), POSIO_OK);
    CHECK_EQ(k.hole(k.self, 10, &err), POSIO_OK);
    CHECK_EQ(posio_file_sink_finish(s, &err), POSIO_OK);
    posio_file_sink_close(s);
    CHECK_EQ(read(fd, got, sizeof got), 15);
    CHECK(memcmp(got, "hello", 5) == 0 && is_zero(got + 5, 10));
    (void)close(fd);
    CHECK(!raw_exists(in("pipe.part")));
    /* As /dev/stdout is: a link to what is no file. */
    if (!raw_exists("/dev/fd/0")) SKIP("needs /dev/fd");
    REQUIRE(pipe(ends) == 0);
    snprintf(got, sizeof got, "/dev/fd/%d", ends[1]);
    s = sink_open(&k, got, 0);
    CHECK(s != NULL);
    if (s != NULL) {
        CHECK_EQ(k.write(k.self, "link", 4, &err), POSIO_OK);
        CHECK_EQ(posio_file_sink_finish(s, &err), POSIO_OK);
        CHECK_EQ(read(ends[0], got, sizeof got), 4);
    }
    posio_file_sink_close(s);
    (void)close(ends[0]);
    (void)close(ends[1]);
#endif
}

TEST(a_link_at_name_part_is_not_followed)
{
#if defined(_WIN32)
    SKIP("links need a privilege on this system");
#else
    posio_file_sink *s = NULL;
    posio_file_sink_desc desc;
    posio_error err;
    int i;
    REQUIRE(put(in("victim"), "precious", 8));
    REQUIRE(symlink("victim", in("trap.part")) == 0);
    memset(&desc, 0, sizeof desc);
    for (i = 0; i < 4; i++) {
        desc.flags = i & 1 ? POSIO_SINK_RESUME : 0;
        desc.flags |= i & 2 ? POSIO_SINK_FORCE : 0;
        CHECK_FAILS(posio_file_sink_open(&s, in("trap"), &desc, &err), POSIO_E_IO);
        CHECK_EQ(err.os_error, ELOOP);
        CHECK(strstr(err.file, "trap.part") != NULL);
    }
    CHECK(s == NULL);
    CHECK(holds(in("victim"), "precious"));
    CHECK(!raw_exists(in("trap")));
#endif
}

/* A limit on the size of files stands in for a full disk. */
TEST(a_disk_that_fills_up)
{
#if defined(_WIN32)
    SKIP("no limit can be set on this system");
#else
    struct rlimit old, low;
    posio_sink k;
    posio_file_sink *s;
    posio_error err;
    unsigned char *data = (unsigned char *)malloc(64 * KIB);
    fill(data, 0, 64 * KIB);
    (void)signal(SIGXFSZ, SIG_IGN);
    REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
    low = old;
    low.rlim_cur = 100000;
    REQUIRE((s = sink_open(&k, in("full"), 0)) != NULL);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &low) == 0);
    CHECK_EQ(k.write(k.self, data, 64 * KIB, &err), POSIO_OK);
    CHECK_FAILS(k.write(k.self, data, 64 * KIB, &err), POSIO_E_IO);
    (void)setrlimit(RLIMIT_FSIZE, &old);
    CHECK_EQ(err.os_error, EFBIG);
    CHECK_EQ(err.offset, 100000); /* where it stopped */
    CHECK(strstr(err.message, "too large") != NULL);
    CHECK_EQ(posio_file_sink_size(s), 64 * KIB);
    posio_file_sink_close(s);
    CHECK(!raw_exists(in("full")) && raw_exists(in("full.part")));
    free(data);
#endif
}

// ---------------------------------------------------------------------------------- pipes

typedef struct two_ends {
    posio_pipe in, out;
} two_ends;

static int pipe_make(two_ends *p)
{
#if defined(_WIN32)
    HANDLE r, w;
    if (!CreatePipe(&r, &w, NULL, 0)) return 0;
    p->in.handle = (intptr_t)r;
    p->out.handle = (intptr_t)w;
#else
    int ends[2];
    if (pipe(ends) != 0) return 0;
    p->in.handle = ends[0];
    p->out.handle = ends[1];
#endif
    return 1;
}
static void pipe_close(posio_pipe *p)
{
#if defined(_WIN32)
    CloseHandle((HANDLE)p->handle);
#else
    (void)close((int)p->handle);
#endif
}

TEST(pipes_flow)
{
    two_ends p;
    posio_stream in_stream;
    posio_sink k;
    posio_error err;
    char got[64];
    size_t n = 99;
    REQUIRE(pipe_make(&p));
    in_stream = posio_pipe_stream(&p.in);
    k = posio_pipe_sink(&p.out);
    CHECK(k.hole == NULL);
    CHECK_EQ(k.write(k.self, "one two", 7, &err), POSIO_OK);
    CHECK_EQ(in_stream.read(in_stream.self, got, 3, &n, &err), POSIO_OK);
    CHECK_EQ(n, 3);
    CHECK_MEM(got, "one", 3);
    CHECK_EQ(in_stream.read(in_stream.self, got, sizeof got, &n, &err), POSIO_OK);
    CHECK_EQ(n, 4);
    pipe_close(&p.out);
    CHECK_EQ(in_stream.read(in_stream.self, got, sizeof got, &n, &err), POSIO_OK);
    CHECK_EQ(n, 0); /* the end */
    pipe_close(&p.in);
    /* A reader that is gone. */
    REQUIRE(pipe_make(&p));
#if !defined(_WIN32)
    (void)signal(SIGPIPE, SIG_IGN);
#endif
    pipe_close(&p.in);
    k = posio_pipe_sink(&p.out);
    CHECK_FAILS(k.write(k.self, "x", 1, &err), POSIO_E_IO);
    CHECK_EQ(err.offset, POSIO_NO_OFFSET);
    CHECK(err.os_error != 0);
    pipe_close(&p.out);
#if !defined(_WIN32)
    CHECK(strstr(err.message, "the reader of the pipe is gone") != NULL);
    /* Part of it flowed: a pipe has no offsets all the same. */
    REQUIRE(pipe_make(&p) && fcntl((int)p.out.handle, F_SETFL, O_NONBLOCK) == 0);
    {
        void *much = calloc(1, 4 * MIB);
        CHECK_FAILS(k.write(k.self, much, 4 * MIB, &err), POSIO_E_IO);
        CHECK_EQ(err.offset, POSIO_NO_OFFSET);
        free(much);
    }
    pipe_close(&p.in);
    pipe_close(&p.out);
    /* Reading what cannot be read. */
    p.in.handle = open(folder, O_RDONLY);
    in_stream = posio_pipe_stream(&p.in);
    CHECK_FAILS(in_stream.read(in_stream.self, got, 1, &n, &err), POSIO_E_IO);
    CHECK_EQ(err.os_error, EISDIR);
    pipe_close(&p.in);
#endif
}

#ifndef THREAD_POOL_NO_THREADS
enum { FLOW = 3 * 1048576 + 17 };
static posio_result pump(void *user, uint32_t i, posio_error *err)
{
    two_ends *p = (two_ends *)user;
    unsigned char buf[10007];
    uint64_t at = 0;
    posio_result r = POSIO_OK;
    if (i == 0) {
        posio_sink k = posio_pipe_sink(&p->out);
        while (at < FLOW && r == POSIO_OK) {
            size_t n = (size_t)posio_min(sizeof buf, FLOW - at);
            fill(buf, at, n);
            r = k.write(k.self, buf, n, err);
            at += n;
        }
        pipe_close(&p->out);
    } else {
        posio_stream s = posio_pipe_stream(&p->in);
        size_t n = 1;
        while (r == POSIO_OK && n != 0) {
            r = s.read(s.self, buf, sizeof buf, &n, err);
            if (r == POSIO_OK && !is_filled(buf, at, n))
                r = posio_fail(err, POSIO_E_DATA, at, "wrong bytes");
            if (r == POSIO_OK) at += n;
        }
        if (r == POSIO_OK && at != FLOW) r = posio_fail(err, POSIO_E_DATA, at, "wrong length");
        pipe_close(&p->in);
    }
    return r;
}
#endif

TEST(a_pipe_between_two_threads)
{
#ifdef THREAD_POOL_NO_THREADS
    SKIP("no threads in this build");
#else
    thread_pool *pool = thread_pool_create(2);
    two_ends p;
    if (thread_pool_threads(pool) < 2) {
        thread_pool_destroy(pool);
        SKIP("the system gives no second thread");
    }
    REQUIRE(pipe_make(&p));
    CHECK_EQ(thread_pool_parallel_for(pool, 2, pump, &p, NULL), POSIO_OK);
    thread_pool_destroy(pool);
#endif
}

// ---------------------------------------------------------------------------------- memory

/* Opens, reads, lists, writes: the first failure ends it. Files that it made are removed. */
static posio_result use_everything(const posio_alloc *a, posio_error *err)
{
    posio_file_desc fd;
    posio_folder_desc dd;
    posio_file_sink_desc kd;
    posio_file *f = NULL;
    posio_folder *d = NULL;
    posio_file_sink *k = NULL;
    posio_source s, t[3];
    posio_opener o;
    posio_sink sink;
    posio_result r;
    unsigned calls = 0;
    char got[100];
    memset(&fd, 0, sizeof fd);
    memset(&dd, 0, sizeof dd);
    memset(&kd, 0, sizeof kd);
    fd.flags = dd.file_flags = POSIO_FILE_UNBUFFERED;
    fd.alloc = dd.alloc = kd.alloc = *a;
    dd.max_open = 1;
    r = posio_file_open(&f, in("memory.bin"), &fd, err);
    if (r == POSIO_OK) {
        s = posio_file_source(f);
        r = posio_read(&s, 1, got, 99, err);
    }
    if (r == POSIO_OK) r = posio_folder_open(&d, in("memory.bin"), &dd, err);
    if (r == POSIO_OK) {
        o = posio_folder_opener(d);
        r = o.open(o.self, "memory.bin", POSIO_NAME_SIBLING, &t[0], err);
        if (r == POSIO_OK) r = o.open(o.self, "memory.bin", POSIO_NAME_STORED, &t[1], err);
        if (r == POSIO_OK) r = posio_read(&t[0], 3, got, 50, err);
        if (r == POSIO_OK) r = posio_read(&t[1], 3, got, 50, err);
        if (r == POSIO_OK) r = o.list(o.self, stop_at_once, &calls, err);
        if (r == POSIO_OK) o.close(o.self, &t[1]);
        /* A failure of the system keeps its code, whatever the allocator does to errno. */
        if (r == POSIO_OK) {
            r = o.open(o.self, "not there", POSIO_NAME_SIBLING, &t[2], err);
            r = r == POSIO_E_NOT_FOUND ? (posio_result)POSIO_OK : r;
        }
    }
    kd.flags = POSIO_SINK_NO_SYNC;
    if (r == POSIO_OK) r = posio_file_sink_open(&k, in("memory.out"), &kd, err);
    if (r == POSIO_OK) {
        sink = posio_file_sink_sink(k);
        r = sink.write(sink.self, "x", 1, err);
        if (r == POSIO_OK) r = posio_file_sink_finish(k, err);
        if (r != POSIO_OK) CHECK(!raw_exists(in("memory.out")));
    }
    posio_file_sink_close(k);
    posio_folder_close(d);
    posio_file_close(f);
    (void)raw_remove(in("memory.out"));
    (void)raw_remove(in("memory.out.part"));
    return r;
}

TEST(every_allocation_fails_once)
{
    tally t;
    posio_alloc a;
    posio_error err;
    unsigned n, total;
    REQUIRE(put_filled(in("memory.bin"), 9000));
    memset(&t, 0, sizeof t);
    a = tally_alloc(&t);
    heap_watched = 1;
    CHECK_EQ(use_everything(&a, &err), POSIO_OK);
    heap_watched = 0;
    CHECK_EQ(heap_calls, 0); /* the caller's allocator was used for everything */
    CHECK_EQ(t.live, 0);
    total = t.calls;
    CHECK(total >= 8);
    for (n = 1; n <= total; n++) {
        memset(&t, 0, sizeof t);
        t.fail_at = n;
        CHECK_FAILS(use_everything(&a, &err), POSIO_E_NOMEM);
        CHECK_EQ(t.failures, 1);
        CHECK_EQ(t.live, 0);
    }
    /* and without a struct for the error */
    for (n = 1; n <= total; n++) {
        memset(&t, 0, sizeof t);
        t.fail_at = n;
        CHECK_EQ((int64_t)use_everything(&a, NULL), POSIO_E_NOMEM);
        CHECK_EQ(t.live, 0);
    }
}

/* The list keeps the first warnings and the newest one, which tells how many it replaced. */
static void add_warning(posio_warnings *w, uint32_t segment, uint64_t offset, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    posio_warn(w, segment, offset, format, ap);
    va_end(ap);
}

TEST(a_full_list_of_warnings_keeps_the_newest)
{
    static posio_warnings list[2];
    posio_warning w;
    uint32_t i, at;
    for (i = 0; i < POSIO_WARNINGS; i++) add_warning(&list[0], i, 100 + i, "number %u", (unsigned)i);
    for (i = 0; i < POSIO_WARNINGS; i++) {
        at = i;
        CHECK(posio_get_warning(&list[0], &at, NULL, &w));
        CHECK(w.segment == i && w.offset == 100 + i);
    }
    CHECK_STR(w.message, "number 31");
    for (i = 0; i < 5; i++) add_warning(&list[0], 7, i, "late %u", (unsigned)i);
    at = POSIO_WARNINGS - 1;
    CHECK(posio_get_warning(&list[0], &at, NULL, &w));
    CHECK_STR(w.message, "(left out before this one: 5) late 4");
    CHECK(w.segment == 7 && w.offset == 4);
    add_warning(&list[1], 1, 2, "below");
    at = POSIO_WARNINGS; /* goes on in the list of the image below */
    CHECK(!posio_get_warning(&list[0], &at, NULL, &w));
    CHECK_EQ(at, 0);
    CHECK(posio_get_warning(&list[1], &at, "some/where/base.img", &w));
    CHECK_STR(w.message, "base.img: below");
    at = POSIO_WARNINGS + 1;
    CHECK(!posio_get_warning(&list[0], &at, NULL, &w) && !posio_get_warning(&list[1], &at, "x", &w));
}

TEST(errors_are_in_files_of_long_names_too)
{
    char path[600];
    posio_error err;
    size_t n;
    for (n = 1; n < sizeof path; n++) {
        size_t i;
        for (i = 0; i < n; i++) path[i] = "\xe2\x82\xac/"[i % 4]; /* cut anywhere in a character */
        path[n] = 0;
        (void)posio_fail(&err, POSIO_E_DATA, 0, "x");
        CHECK(posio_is_in(&err, path) && posio_is_in(&err, NULL));
        (void)posio_fail_in(&err, path, 0);
        CHECK(posio_is_in(&err, path) && posio_is_in(&err, NULL) && posio_is_in(&err, ""));
        CHECK(!posio_is_in(&err, "other"));
        path[n - 1] ^= 1;
        CHECK(!posio_is_in(&err, path));
    }
}

TEST(the_last_extent_is_kept)
{
    posio_source a, b;
    posio_known k;
    posio_extent e, got;
    memset(&k, 0, sizeof k);
    memset(&e, 0, sizeof e);
    CHECK(!posio_known_find(&k, &a, 0, &got));
    e.length = 100;
    e.kind = POSIO_EXTENT_HOLE;
    posio_known_keep(&k, &a, 50, &e);
    CHECK(posio_known_find(&k, &a, 50, &got) && got.length == 100);
    CHECK(posio_known_find(&k, &a, 149, &got) && got.length == 1 && got.kind == POSIO_EXTENT_HOLE);
    CHECK(!posio_known_find(&k, &a, 49, &got) && !posio_known_find(&k, &a, 150, &got));
    CHECK(!posio_known_find(&k, &b, 50, &got));
}

TEST(half_an_allocator_is_refused)
{
    tally t;
    posio_error err;
    int i;
    for (i = 0; i < 2; i++) {
        posio_file_desc fd;
        posio_folder_desc dd;
        posio_file_sink_desc kd;
        posio_file *f = NULL;
        posio_folder *d = NULL;
        posio_file_sink *k = NULL;
        memset(&fd, 0, sizeof fd);
        memset(&dd, 0, sizeof dd);
        memset(&kd, 0, sizeof kd);
        memset(&t, 0, sizeof t);
        if (i == 0) fd.alloc.alloc_fn = tally_take;
        else fd.alloc.free_fn = tally_give;
        fd.alloc.user = &t;
        dd.alloc = kd.alloc = fd.alloc;
        CHECK_FAILS(posio_file_open(&f, in("memory.bin"), &fd, &err), POSIO_E_ARG);
        CHECK_FAILS(posio_folder_open(&d, in("memory.bin"), &dd, &err), POSIO_E_ARG);
        CHECK_FAILS(posio_file_sink_open(&k, in("half"), &kd, &err), POSIO_E_ARG);
        CHECK(f == NULL && d == NULL && k == NULL);
        CHECK_EQ(t.calls, 0);
    }
    CHECK(posio_alloc_is_valid(NULL));
    posio_release(NULL, posio_allocate(NULL, 0));
    {
        unsigned char *p = (unsigned char *)posio_allocate_zeroed(NULL, 100);
        CHECK(p != NULL && is_zero(p, 100));
        posio_release(NULL, p);
    }
    CHECK(!raw_exists(in("half.part")));
}

// ---------------------------------------------------------------------------------- layers

static int reads(const posio_layer *l, const char *text)
{
    posio_source s = posio_layer_source(l);
    char got[64];
    size_t n = strlen(text);
    return s.size == n && posio_read(&s, 0, got, n, NULL) == POSIO_OK && memcmp(got, text, n) == 0;
}

/* The folder that counts is that of the image which holds the name, not that of the first one. */
TEST(layers_follow_names_from_file_to_file)
{
    posio_layer *top = NULL, *inner = NULL, *other = NULL;
    posio_error err;
    REQUIRE(make_jail());
    REQUIRE(put(in("jail/sub/deep.bin"), "deep", 4));
    REQUIRE(posio_layer_open(&top, in("jail/image.bin"), NULL, &err) == POSIO_OK);
    CHECK(reads(top, "image"));
    CHECK_STR(posio_layer_path(top), in("jail/image.bin"));
    REQUIRE(posio_layer_follow(&inner, top, "sub/inner.bin", &err) == POSIO_OK);
    CHECK(reads(inner, "inner"));
    CHECK_STR(posio_layer_path(inner), in("jail/sub/inner.bin"));
    REQUIRE(posio_layer_follow(&other, inner, "deep.bin", &err) == POSIO_OK);
    CHECK(reads(other, "deep"));
    CHECK_STR(posio_layer_path(other), in("jail/sub/deep.bin"));
    posio_layer_close(other);
    other = NULL;
    /* what lies in the folder of the first is outside of that of the second */
    CHECK_FAILS(posio_layer_follow(&other, inner, "../a..b", &err), POSIO_E_POLICY);
    CHECK(strstr(err.message, "POSIO_ALLOW_OUTSIDE") != NULL);
    CHECK_FAILS(posio_layer_follow(&other, inner, "image.bin", &err), POSIO_E_MISSING);
    CHECK_STR(err.file, in("jail/sub/inner.bin"));
    CHECK(strstr(err.message, "\"image.bin\"") != NULL);
    CHECK_FAILS(posio_layer_follow(&other, top, "sub", &err), POSIO_E_UNSUPPORTED);
    CHECK_FAILS(posio_layer_follow(&other, top, "", &err), POSIO_E_POLICY);
    CHECK(other == NULL);
    posio_layer_close(inner);
    posio_layer_close(top);
    posio_layer_close(NULL);
    CHECK_FAILS(posio_layer_open(&top, in("jail/none"), NULL, &err), POSIO_E_NOT_FOUND);
}

TEST(layers_are_allowed_outside_all_the_way)
{
    posio_layer *top = NULL, *next = NULL, *last = NULL;
    posio_folder_desc desc;
    posio_error err;
    REQUIRE(make_jail());
    memset(&desc, 0, sizeof desc);
    desc.allow = POSIO_ALLOW_OUTSIDE;
    REQUIRE(posio_layer_open(&top, in("jail/image.bin"), &desc, &err) == POSIO_OK);
    REQUIRE(posio_layer_follow(&next, top, "../jail2/next.bin", &err) == POSIO_OK);
    CHECK(reads(next, "next"));
    REQUIRE(posio_layer_follow(&last, next, "../outside.bin", &err) == POSIO_OK);
    CHECK(reads(last, "outside"));
    posio_layer_close(last);
    last = NULL;
#if !defined(_WIN32)
    REQUIRE(posio_layer_follow(&last, next, in("outside.bin"), &err) == POSIO_OK);
    CHECK(reads(last, "outside"));
    CHECK_STR(posio_layer_path(last), in("outside.bin")); /* an absolute name has its own folder */
    posio_layer_close(last);
    last = NULL;
#endif
    CHECK_FAILS(posio_layer_follow(&last, next, "http://example.com/x", &err), POSIO_E_POLICY);
    posio_layer_close(next);
    posio_layer_close(top);
}

TEST(layers_form_no_circle)
{
    posio_layer *top = NULL, *inner = NULL, *again = NULL;
    posio_folder_desc desc;
    posio_error err;
    REQUIRE(make_jail());
    memset(&desc, 0, sizeof desc);
    desc.allow = POSIO_ALLOW_OUTSIDE;
    REQUIRE(posio_layer_open(&top, in("jail/image.bin"), &desc, &err) == POSIO_OK);
    CHECK_FAILS(posio_layer_follow(&again, top, "image.bin", &err), POSIO_E_DATA);
    CHECK(strstr(err.message, "itself") != NULL);
    CHECK_STR(err.file, in("jail/image.bin"));
    CHECK_FAILS(posio_layer_follow(&again, top, "./sub/../image.bin", &err), POSIO_E_DATA);
    REQUIRE(posio_layer_follow(&inner, top, "sub/inner.bin", &err) == POSIO_OK);
    CHECK_FAILS(posio_layer_follow(&again, inner, "../image.bin", &err), POSIO_E_DATA);
    CHECK(strstr(err.message, "circle") != NULL);
    CHECK_STR(err.file, in("jail/sub/inner.bin"));
#if !defined(_WIN32)
    (void)raw_remove(in("jail/hard"));
    REQUIRE(link(in("jail/image.bin"), in("jail/hard")) == 0);
    CHECK_FAILS(posio_layer_follow(&again, top, "hard", &err), POSIO_E_DATA);
    REQUIRE(raw_remove(in("jail/hard")));
#endif
    CHECK(again == NULL);
    posio_layer_close(inner);
    posio_layer_close(top);
}

TEST(layers_have_a_limit)
{
    posio_layer *l[POSIO_LAYERS + 1];
    posio_error err;
    char name[32];
    uint32_t i, base;
    memset(l, 0, sizeof l);
    REQUIRE(raw_folder(in("deep")));
    for (i = 0; i <= POSIO_LAYERS; i++) {
        snprintf(name, sizeof name, "deep/%u", (unsigned)i);
        REQUIRE(put(in(name), "x", 1));
    }
    base = open_descriptors();
    REQUIRE(posio_layer_open(&l[0], in("deep/0"), NULL, &err) == POSIO_OK);
    for (i = 1; i < POSIO_LAYERS; i++) {
        snprintf(name, sizeof name, "%u", (unsigned)i);
        REQUIRE(posio_layer_follow(&l[i], l[i - 1], name, &err) == POSIO_OK);
    }
    snprintf(name, sizeof name, "%u", (unsigned)POSIO_LAYERS);
    CHECK_FAILS(posio_layer_follow(&l[i], l[i - 1], name, &err), POSIO_E_LIMIT);
    CHECK(l[i] == NULL);
    while (i-- > 0) posio_layer_close(l[i]);
    CHECK_EQ(open_descriptors(), base);
}

// ---------------------------------------------------------------------------------- all

TEST_MAIN(if (!make_folder()) return 1;
          RUN(every_result_has_its_name); RUN(format_does_its_subset);
          RUN(format_never_splits_a_character); RUN(errors_keep_what_happened_innermost);
          RUN(arithmetic_is_checked); RUN(endian_loads_at_any_address);
          RUN(processor_features_are_the_compilers); RUN(atomics_alone); RUN(atomics_among_threads);
          RUN(memory_is_a_source); RUN(slices_are_windows); RUN(files_read_at_offsets);
          RUN(an_empty_file_is_a_source_too); RUN(identity_is_the_same_under_two_names);
          RUN(what_is_no_image_is_refused_by_name); RUN(a_named_pipe_is_refused_without_waiting);
          RUN(no_permission_is_said_so); RUN(a_file_that_shrinks_is_an_error_with_its_offset);
          RUN(offsets_beyond_4_gib); RUN(extents_of_a_sparse_file);
          RUN(unbuffered_reads_equal_buffered_ones); RUN(file_names_are_utf_8);
          RUN(the_folder_of_a_path); RUN(siblings_open_close_and_open_again);
          RUN(folders_are_listed); RUN(the_current_folder); RUN(the_bound_on_descriptors);
          RUN(a_file_that_changed_while_it_was_closed); RUN(stored_names_stay_in_the_folder);
          RUN(allow_outside_permits); RUN(links_may_not_lead_out);
          RUN(stored_names_of_pipes_and_devices); RUN(unbuffered_where_the_file_system_cannot);
          RUN(a_sink_renames_when_complete); RUN(an_existing_output_is_refused_or_replaced);
          RUN(an_aborted_sink_is_resumed); RUN(a_resumed_sink_is_cut);
          RUN(holes_are_kept_and_read_as_zeros);
          RUN(impossible_holes_leave_the_sink_as_it_was); RUN(devices_are_written_straight_to);
          RUN(named_pipes_and_links_to_them_are_written_straight_to);
          RUN(a_link_at_name_part_is_not_followed); RUN(a_disk_that_fills_up); RUN(pipes_flow);
          RUN(a_pipe_between_two_threads); RUN(every_allocation_fails_once);
          RUN(a_full_list_of_warnings_keeps_the_newest);
          RUN(errors_are_in_files_of_long_names_too);
          RUN(the_last_extent_is_kept);
          RUN(half_an_allocator_is_refused); RUN(layers_follow_names_from_file_to_file);
          RUN(layers_are_allowed_outside_all_the_way); RUN(layers_form_no_circle);
          RUN(layers_have_a_limit); remove_all(folder);)
