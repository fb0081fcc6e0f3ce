/* replay.c - runs a libFuzzer target over files and folders, so that any compiler can replay a
   corpus.

       cc -I. -pthread tests/fuzz/fuzz_deflate_read.c tests/fuzz/replay.c -o replay_deflate_read
       ./replay_deflate_read FOLDER FILE ...

   Prints how many inputs were run; exits with 1 when there was none, or one could not be read. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C"
#endif
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long replay_count, replay_failed;

/* Keeps exactly the file's bytes in a block of their own, so that a sanitizer sees over-reads. */
static void replay_file(const char *path)
{
    size_t n = 0, room = 1 << 16, got;
    uint8_t *data = (uint8_t *)malloc(room), *exact;
    FILE *f = fopen(path, "rb");
    if (f == NULL || data == NULL) {
        perror(path);
        replay_failed++;
    } else {
        while ((got = fread(data + n, 1, room - n, f)) != 0) {
            n += got;
            if (n < room) continue;
            room *= 2;
            data = (uint8_t *)realloc(data, room);
            if (data == NULL) abort();
        }
        exact = (uint8_t *)malloc(n != 0 ? n : 1);
        if (exact == NULL) abort();
        memcpy(exact, data, n);
        (void)LLVMFuzzerTestOneInput(exact, n);
        free(exact);
        replay_count++;
    }
    if (f != NULL) fclose(f);
    free(data);
}

/* A folder one level deep, or a file. */
static void replay_path(const char *path, int deep)
{
    DIR *d = deep ? opendir(path) : NULL;
    struct dirent *e;
    if (d == NULL) {
        replay_file(path);
        return;
    }
    while ((e = readdir(d)) != NULL) {
        size_t n = strlen(path) + strlen(e->d_name) + 2;
        char *name;
        if (e->d_name[0] == '.') continue;
        name = (char *)malloc(n);
        if (name == NULL) abort();
        snprintf(name, n, "%s/%s", path, e->d_name);
        replay_path(name, 0);
        free(name);
    }
    closedir(d);
}

int main(int argc, char **argv)
{
    int i;
    for (i = 1; i < argc; i++) replay_path(argv[i], 1);
    printf("%lu inputs replayed\n", replay_count);
    return replay_count == 0 || replay_failed != 0;
}
