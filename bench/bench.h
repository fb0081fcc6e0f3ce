/* bench.h - what benches share: processes and what they cost, and a folder for their files.

   A bench is one program. It sets bench_name first; then bench_open_folder() makes a folder that is
   gone when bench_close_folder() was called or a signal ended the program. What is measured runs in
   processes of its own, so that its memory is its own too: a function of the bench, or a program.
   Linux; _GNU_SOURCE comes first. */
#ifndef CHUNKWISE_BENCH_BENCH_H
#define CHUNKWISE_BENCH_BENCH_H

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BENCH_ABSENT = 127, BENCH_PATH = 512 };

typedef struct bench_globals {
    const char *name;    /* of the bench */
    const char *folder;  /* where files are made, --folder */
    const char *section; /* --only; NULL = all */
    char own[BENCH_PATH - 200];
    pid_t owner; /* of the folder: children leave it alone */
    int json, bad;
} bench_globals;

static bench_globals bench;

/* Something is wrong with bytes or counts: the exit code is 1. */
static inline void bench_complain(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s: %s\n", bench.name, what, why);
    bench.bad = 1;
}

static inline int bench_wants(const char *section)
{
    return bench.section == NULL || strcmp(bench.section, section) == 0;
}

static inline void bench_title(const char *text)
{
    if (!bench.json) printf("\n%s\n", text);
}

// ---------------------------------------------------------------------------------- time

typedef struct bench_cost {
    double wall, cpu; /* seconds; 0 = not measured */
    double mib;       /* peak of memory */
} bench_cost;

static inline double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline double bench_cpu_of(const struct rusage *u)
{
    return (double)u->ru_utime.tv_sec + (double)u->ru_utime.tv_usec * 1e-6 +
           (double)u->ru_stime.tv_sec + (double)u->ru_stime.tv_usec * 1e-6;
}

/* Of this process: seconds so far; the peak of its memory, MiB. */
static inline double bench_cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return bench_cpu_of(&u);
}

static inline double bench_peak(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024;
}

static inline void bench_keep_best(bench_cost *best, bench_cost c)
{
    if (best->wall == 0 || c.wall < best->wall) best->wall = c.wall;
    if (best->cpu == 0 || c.cpu < best->cpu) best->cpu = c.cpu;
    if (best->mib == 0 || c.mib < best->mib) best->mib = c.mib;
}

/* How many times less b takes than a; 0 where either was not measured. */
static inline double bench_ratio(double a, double b) { return a > 0 && b > 0 ? a / b : 0; }

/* "4.31 (5.00)": a ratio and, in parentheses, what it should reach; 0 = no ratio, no goal. */
static inline const char *bench_goal(char text[32], double ratio, double goal)
{
    if (ratio == 0) return strcpy(text, "-");
    if (goal == 0) snprintf(text, 32, "%.2f", ratio);
    else snprintf(text, 32, "%.2f (%.2f)", ratio, goal);
    return text;
}

// ---------------------------------------------------------------------------------- processes

/* Runs body in a child process; its exit code, with what it cost. -1: it did not end by itself. */
static inline int bench_child(int (*body)(const void *user), const void *user, bench_cost *c)
{
    struct rusage use;
    double begin = bench_now();
    int state = 0;
    pid_t child;
    fflush(stdout);
    fflush(stderr);
    child = fork();
    if (child == 0) _exit(body(user));
    if (child < 0 || wait4(child, &state, 0, &use) != child) return -1;
    c->wall = bench_now() - begin;
    c->cpu = bench_cpu_of(&use);
    c->mib = (double)use.ru_maxrss / 1024;
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

/* A program, found in PATH. Its standard output goes to `out`, or to nowhere. */
typedef struct bench_command {
    const char *argv[16];
    const char *out;
} bench_command;

static inline int bench_exec(const void *user)
{
    const bench_command *c = (const bench_command *)user;
    int nowhere = open("/dev/null", O_WRONLY);
    int out = c->out == NULL ? nowhere : open(c->out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (nowhere < 0 || out < 0 || dup2(out, 1) < 0 || dup2(nowhere, 2) < 0) return 126;
    execvp(c->argv[0], (char *const *)(uintptr_t)c->argv);
    return BENCH_ABSENT;
}

static inline int bench_run(const bench_command *command, bench_cost *c)
{
    return bench_child(bench_exec, command, c);
}

/* Memory that children write and the parent reads. */
static inline void *bench_shared(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        fprintf(stderr, "%s: out of memory\n", bench.name);
        exit(2);
    }
    return p;
}

// ---------------------------------------------------------------------------------- files

static inline char *bench_path(char path[BENCH_PATH], const char *file)
{
    snprintf(path, BENCH_PATH, "%s/%s", bench.own, file);
    return path;
}

static inline void bench_remove(const char *file)
{
    char path[BENCH_PATH];
    (void)unlink(bench_path(path, file));
}

/* A file, or a folder with all that is in it; no link is followed. */
static inline void bench_remove_tree(const char *path)
{
    char inner[BENCH_PATH + 260];
    struct dirent *e;
    DIR *d = opendir(path);
    struct stat st;
    if (lstat(path, &st) != 0) return;
    if (d == NULL || !S_ISDIR(st.st_mode)) (void)unlink(path);
    while (d != NULL && S_ISDIR(st.st_mode) && (e = readdir(d)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            snprintf(inner, sizeof inner, "%s/%s", path, e->d_name) < BENCH_PATH)
            bench_remove_tree(inner);
    if (d != NULL) closedir(d);
    (void)rmdir(path);
}

static inline void bench_close_folder(void)
{
    if (bench.own[0] == 0 || bench.owner != getpid()) return;
    bench_remove_tree(bench.own);
    bench.own[0] = 0;
}

static inline void bench_on_signal(int number)
{
    bench_close_folder();
    _exit(128 + number);
}

/* Where files are quickest. */
static inline const char *bench_default_folder(void)
{
    const char *tmp = getenv("TMPDIR");
    return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : tmp != NULL ? tmp : "/tmp";
}

static inline int bench_open_folder(void)
{
    snprintf(bench.own, sizeof bench.own, "%s/%s.XXXXXX", bench.folder, bench.name);
    if (mkdtemp(bench.own) == NULL) {
        fprintf(stderr, "%s: %s: cannot make a folder\n", bench.name, bench.folder);
        bench.own[0] = 0;
        return 0;
    }
    bench.owner = getpid();
    signal(SIGINT, bench_on_signal);
    signal(SIGTERM, bench_on_signal);
    return 1;
}

#endif
