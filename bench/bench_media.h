/* bench_media.h - what the benches of image formats share: media made of what lies on this system,
   sums of its blocks, and readers at random places. Include digest.h's implementation before. */
#ifndef CHUNKWISE_BENCH_MEDIA_H
#define CHUNKWISE_BENCH_MEDIA_H

#include "bench.h"
#include <pthread.h>

enum { MEDIA_MIB = 1 << 20, MEDIA_BLOCK = 4096, MEDIA_THREADS = 64 };

static inline uint64_t media_sum(const void *p, size_t n)
{
    uint8_t out[DIGEST_MAX_SIZE];
    uint64_t v;
    (void)digest_of(DIGEST_XXH64, p, n, out);
    memcpy(&v, out, sizeof v);
    return v;
}

static inline void media_random(unsigned char *p, size_t n)
{
    static uint64_t x = 88172645463325252u;
    size_t i;
    for (i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p[i] = (unsigned char)(x >> 24);
    }
}

// ---------------------------------------------------------------------------------- files

/* Files of this system of one kind, one behind the other; when all are used up it begins again, at
   another place of each, so that no two passes cut them into the same chunks. */
typedef struct media_collector {
    int (*take)(void *user, const unsigned char *p, size_t n); /* 0: it could not */
    void *user;
    int text;      /* or anything but text */
    uint64_t left; /* bytes wanted */
    uint64_t got;  /* in this pass */
    unsigned pass;
    int failed;
    unsigned char buf[65536];
} media_collector;

static inline void media_collect_file(media_collector *c, const char *path)
{
    FILE *f = fopen(path, "rb");
    size_t n;
    int text;
    if (f == NULL) return;
    n = fread(c->buf, 1, 4096, f);
    text = memchr(c->buf, 0, n) == NULL && memchr(c->buf, '\n', n) != NULL;
    if (n >= 512 && text == c->text && fseek(f, (long)(c->pass * 1237), SEEK_SET) == 0)
        while (c->left != 0 && !c->failed && (n = fread(c->buf, 1, sizeof c->buf, f)) != 0) {
            if (n > c->left) n = (size_t)c->left;
            if (!c->take(c->user, c->buf, n)) c->failed = 1;
            c->left -= n;
            c->got += n;
        }
    fclose(f);
}

static inline void media_collect_tree(media_collector *c, const char *path, int depth)
{
    char inner[1024];
    struct dirent *e;
    struct stat st;
    DIR *d;
    if (c->left == 0 || c->failed || depth > 12 || lstat(path, &st) != 0) return;
    if (S_ISREG(st.st_mode) && st.st_size >= 512) media_collect_file(c, path);
    if (!S_ISDIR(st.st_mode) || (d = opendir(path)) == NULL) return;
    while ((e = readdir(d)) != NULL && c->left != 0)
        if (e->d_name[0] != '.' &&
            snprintf(inner, sizeof inner, "%s/%s", path, e->d_name) < (int)sizeof inner)
            media_collect_tree(c, inner, depth + 1);
    closedir(d);
}

/* Of take, user, text, left in c. The folders end with NULL. */
static inline int media_collect(media_collector *c, const char *const *folders)
{
    size_t i;
    c->pass = 0;
    c->failed = 0;
    do {
        c->got = 0;
        for (i = 0; folders[i] != NULL; i++) media_collect_tree(c, folders[i], 0);
        c->pass++;
    } while (c->left != 0 && c->got != 0 && !c->failed);
    return c->left == 0 && !c->failed;
}

static inline int media_append(void *user, const unsigned char *p, size_t n)
{
    unsigned char **at = (unsigned char **)user;
    memcpy(*at, p, n);
    *at += n;
    return 1;
}

/* The same into memory: text, or programs and other binary files. */
static inline int media_collect_memory(unsigned char *out, size_t size, int text)
{
    static const char *const folders[2][4] = {{"/usr/lib", "/usr/bin", "/usr/libexec", NULL},
                                              {"/usr/include", "/usr/share", "/etc", NULL}};
    media_collector c;
    c.take = media_append;
    c.user = &out;
    c.text = text;
    c.left = size;
    return media_collect(&c, folders[text]);
}

// ---------------------------------------------------------------------------------- random reads

typedef struct media_reading {
    int (*read)(void *image, uint64_t at, void *buf); /* a block; 0: it could not */
    void *image;
    const uint64_t *sums; /* of all blocks */
    uint64_t range;       /* bytes of media to read in */
    uint32_t threads, reads;
} media_reading;

/* One reader of several; `gate` lets all begin together. */
typedef struct media_reader {
    const media_reading *of;
    pthread_barrier_t *gate;
    uint64_t seed; /* where its sequence begins */
    int failed;
} media_reader;

static inline void *media_read_randomly(void *user)
{
    media_reader *r = (media_reader *)user;
    const media_reading *of = r->of;
    unsigned char buf[MEDIA_BLOCK];
    uint64_t x = r->seed * 0x9e3779b97f4a7c15u + 1;
    uint32_t i;
    (void)pthread_barrier_wait(r->gate);
    for (i = 0; i < of->reads / of->threads; i++) {
        uint64_t block;
        x = x * 6364136223846793005u + 1442695040888963407u;
        block = (x >> 16) % (of->range / MEDIA_BLOCK);
        if (!of->read(of->image, block * MEDIA_BLOCK, buf) ||
            media_sum(buf, MEDIA_BLOCK) != of->sums[block])
            r->failed = 1;
    }
    return NULL;
}

/* Seconds from the moment that all threads are there. */
static inline double media_read_with_threads(const media_reading *of, const char *what)
{
    pthread_t id[MEDIA_THREADS];
    media_reader readers[MEDIA_THREADS];
    pthread_barrier_t gate;
    double begin;
    uint32_t i;
    pthread_barrier_init(&gate, NULL, of->threads + 1);
    for (i = 0; i < of->threads; i++) {
        readers[i].of = of;
        readers[i].gate = &gate;
        readers[i].seed = i + 1;
        readers[i].failed = 0;
        if (pthread_create(&id[i], NULL, media_read_randomly, &readers[i]) != 0) abort();
    }
    begin = bench_now();
    (void)pthread_barrier_wait(&gate);
    for (i = 0; i < of->threads; i++) (void)pthread_join(id[i], NULL);
    begin = bench_now() - begin;
    for (i = 0; i < of->threads; i++)
        if (readers[i].failed) bench_complain(what, "random reads: not the content");
    pthread_barrier_destroy(&gate);
    return begin;
}

#endif
