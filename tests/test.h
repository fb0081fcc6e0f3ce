/* test.h - the one test harness: named cases, checks that say what they saw, SKIP that is counted.

       #include "test.h"
       TEST(adds_up) { CHECK_EQ(1 + 1, 2); }
       TEST_MAIN(RUN(adds_up);)

   A test program takes an optional part of a test name as a filter, prints one line per failure or
   skip and a last line "N passed, N failed, N skipped", and exits with 1 when anything failed. A
   program that ran no test at all fails too: a test that cannot fail proves nothing. */
#ifndef CHUNKWISE_TESTS_TEST_H
#define CHUNKWISE_TESTS_TEST_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    const char *filter, *name;
    unsigned long passed, failed, skipped;
    int bad, skip;
} test_state;

/* Of a series that is tried everywhere, every how manieth where each step is slow: under
   ThreadSanitizer; emulated or under valgrind, where the Makefile says so. */
#if !defined(TEST_STRIDE) && defined(__SANITIZE_THREAD__)
#define TEST_STRIDE 5
#elif !defined(TEST_STRIDE)
#define TEST_STRIDE 1
#endif

#define TEST(name) static void test_case_##name(void)
#define RUN(name) test_run(#name, test_case_##name)

#define CHECK(x) \
    do { \
        if (!(x)) test_fail(__FILE__, __LINE__, #x); \
    } while (0)
#define CHECK_EQ(a, b) test_eq(__FILE__, __LINE__, #a " == " #b, (uint64_t)(a), (uint64_t)(b))
#define CHECK_STR(a, b) test_str(__FILE__, __LINE__, #a, (a), (b))
#define CHECK_MEM(a, b, n) test_mem(__FILE__, __LINE__, #a " == " #b, (a), (b), (n))
/* For checks without which the rest of the case makes no sense. */
#define REQUIRE(x) \
    do { \
        if (!(x)) { \
            test_fail(__FILE__, __LINE__, #x); \
            return; \
        } \
    } while (0)
#define SKIP(why) \
    do { \
        test_skip(why); \
        return; \
    } while (0)
#define TEST_MAIN(cases) \
    int main(int argc, char **argv) \
    { \
        test_state.filter = argc > 1 ? argv[1] : NULL; \
        cases return test_summary(); \
    }

static inline void test_fail(const char *file, int line, const char *what)
{
    printf("FAIL %s: %s:%d: %s\n", test_state.name, file, line, what);
    test_state.bad = 1;
}

static inline void test_eq(const char *file, int line, const char *what, uint64_t a, uint64_t b)
{
    char text[512];
    if (a == b) return;
    snprintf(text, sizeof text, "%s: got %lld (0x%llx), want %lld (0x%llx)", what, (long long)a,
             (unsigned long long)a, (long long)b, (unsigned long long)b);
    test_fail(file, line, text);
}

static inline void test_str(const char *file, int line, const char *what, const char *a,
                            const char *b)
{
    char text[1024];
    if (a != NULL && b != NULL && strcmp(a, b) == 0) return;
    if (a == NULL && b == NULL) return;
    snprintf(text, sizeof text, "%s: got \"%s\", want \"%s\"", what, a ? a : "(null)",
             b ? b : "(null)");
    test_fail(file, line, text);
}

static inline void test_mem(const char *file, int line, const char *what, const void *a,
                            const void *b, size_t n)
{
    const unsigned char *x = (const unsigned char *)a, *y = (const unsigned char *)b;
    char text[512];
    size_t i;
    for (i = 0; i < n && x[i] == y[i]; i++) {}
    if (i == n) return;
    snprintf(text, sizeof text, "%s: byte %llu of %llu is %02x, want %02x", what,
             (unsigned long long)i, (unsigned long long)n, x[i], y[i]);
    test_fail(file, line, text);
}

static inline void test_skip(const char *why)
{
    printf("SKIP %s: %s\n", test_state.name, why);
    test_state.skip = 1;
}

static inline void test_run(const char *name, void (*fn)(void))
{
    if (test_state.filter != NULL && strstr(name, test_state.filter) == NULL) return;
    test_state.name = name;
    test_state.bad = test_state.skip = 0;
    fn();
    fflush(stdout);
    if (test_state.bad) test_state.failed++;
    else if (test_state.skip) test_state.skipped++;
    else test_state.passed++;
}

static inline int test_summary(void)
{
    int ran_nothing = test_state.passed + test_state.failed + test_state.skipped == 0;
    if (ran_nothing) printf("FAIL: no test was run\n");
    printf("%lu passed, %lu failed, %lu skipped\n", test_state.passed, test_state.failed,
           test_state.skipped);
    return test_state.failed != 0 || ran_nothing;
}

/* A small deterministic generator for test data (xorshift64*). */
static inline uint64_t test_random(uint64_t *state)
{
    uint64_t x = *state ? *state : 0x9e3779b97f4a7c15u;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1du;
}

#endif
