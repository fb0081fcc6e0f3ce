/* cli.h - what the command-line tools share: options, safe text, JSON, progress, Ctrl-C.
   SPDX-License-Identifier: MIT OR Unlicense

   Only for programs with one translation unit: everything is static. Include after the libraries. */
#ifndef CHUNKWISE_CLI_H
#define CHUNKWISE_CLI_H

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(_WIN32)
#include <io.h>
#include <windows.h>
#include <shellapi.h> /* behind windows.h */
#else
#include <sys/ioctl.h>
#include <sys/time.h>
#include <unistd.h>
#endif

#define CLI_VERSION "1.0.0"

#if defined(__GNUC__)
#define CLI_UNUSED __attribute__((unused))
#else
#define CLI_UNUSED
#endif
#if defined(__MINGW_PRINTF_FORMAT)
#define CLI_PRINTF(f, a) __attribute__((format(__MINGW_PRINTF_FORMAT, f, a)))
#elif defined(__GNUC__)
#define CLI_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define CLI_PRINTF(f, a)
#endif

enum { CLI_GOOD = 0, CLI_BAD = 1, CLI_FAILED = 2 }; /* exit codes */

// ---------------------------------------------------------------------------------- the system

/* Seconds since some moment, for measuring. */
static CLI_UNUSED double cli_now(void)
{
#if defined(_WIN32)
    LARGE_INTEGER t, f;
    QueryPerformanceCounter(&t);
    QueryPerformanceFrequency(&f);
    return (double)t.QuadPart / (double)f.QuadPart;
#else
    struct timeval t;
    gettimeofday(&t, NULL);
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
#endif
}

static CLI_UNUSED int cli_is_terminal(FILE *f)
{
#if defined(_WIN32)
    return _isatty(_fileno(f));
#else
    return isatty(fileno(f));
#endif
}

/* Columns of the terminal that standard error goes to. */
static CLI_UNUSED int cli_columns(void)
{
#if defined(_WIN32)
    CONSOLE_SCREEN_BUFFER_INFO info;
    if (GetConsoleScreenBufferInfo(GetStdHandle(STD_ERROR_HANDLE), &info))
        return info.srWindow.Right - info.srWindow.Left + 1;
#elif defined(TIOCGWINSZ)
    struct winsize w;
    if (ioctl(2, TIOCGWINSZ, &w) == 0 && w.ws_col > 0) return w.ws_col;
#endif
    return 80;
}

/* Standard input (0) or output (1), for posio_pipe. */
static CLI_UNUSED intptr_t cli_standard_handle(int output)
{
#if defined(_WIN32)
    return (intptr_t)GetStdHandle(output ? STD_OUTPUT_HANDLE : STD_INPUT_HANDLE);
#else
    return output;
#endif
}

/* Has the reader of a pipe gone away? It has enough: that is no news. */
static CLI_UNUSED int cli_reader_is_gone(const posio_error *err)
{
#if defined(_WIN32)
    return err->os_error == ERROR_NO_DATA || err->os_error == ERROR_BROKEN_PIPE;
#else
    return err->os_error == EPIPE;
#endif
}

/* A signal asks; whoever reports progress answers. A second one, a moment later, ends the program at
   once. Not sooner: timeout(1) and some shells send the same signal to the process and its group.
   While nothing has begun that would have to be brought to an end, the first one does. */
static volatile sig_atomic_t cli_interrupted;
static volatile time_t cli_interrupted_at;
static volatile sig_atomic_t cli_is_idle;

/* Around what may take long and reports no progress, as opening an image may. */
static CLI_UNUSED void cli_idle(int yes)
{
    if (yes) fflush(stdout);
    cli_is_idle = yes;
}

static CLI_UNUSED void cli_on_signal(int number)
{
    time_t now = time(NULL);
    if (!cli_interrupted) cli_interrupted_at = now;
    cli_interrupted = 1;
    if (cli_is_idle || now - cli_interrupted_at > 1) {
        signal(number, SIG_DFL);
        raise(number);
    } else {
        signal(number, cli_on_signal); /* System V and Windows forget it */
    }
}

#if defined(_WIN32)
/* The arguments as UTF-8; main's are in the code page of the system. */
static CLI_UNUSED char **cli_utf8_arguments(int *count, char **fallback)
{
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), count);
    char **out = wide != NULL ? (char **)calloc((size_t)*count + 1, sizeof *out) : NULL;
    int i;
    if (out == NULL) return fallback;
    for (i = 0; i < *count; i++) {
        int n = WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, NULL, 0, NULL, NULL);
        out[i] = (char *)malloc(n > 0 ? (size_t)n : 1);
        if (out[i] == NULL || n <= 0) return fallback;
        WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, out[i], n, NULL, NULL);
    }
    return out;
}
#endif

/* Call first: signals, UTF-8 arguments, binary-safe console. Returns the arguments to use. */
static CLI_UNUSED char **cli_begin(int *argc, char **argv)
{
    signal(SIGINT, cli_on_signal);
    signal(SIGTERM, cli_on_signal);
#if defined(SIGPIPE)
    signal(SIGPIPE, SIG_IGN);
#endif
#if defined(_WIN32)
    {
        HANDLE console = GetStdHandle(STD_ERROR_HANDLE);
        DWORD mode;
        if (GetConsoleMode(console, &mode)) /* 4: ENABLE_VIRTUAL_TERMINAL_PROCESSING */
            (void)SetConsoleMode(console, mode | 4);
    }
    SetConsoleOutputCP(CP_UTF8);
    return cli_utf8_arguments(argc, argv);
#else
    (void)argc;
    return argv;
#endif
}

/* Call last: what was printed must have arrived. Returns the exit code. */
static CLI_UNUSED int cli_end(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    fputs("standard output: cannot write\n", stderr);
    return CLI_FAILED;
}

// ---------------------------------------------------------------------------------- output

/* Where text goes: a stream of stdio or a sink, in pieces of this size. */
typedef struct cli_out {
    FILE *file; /* NULL: the sink */
    posio_sink sink;
    posio_error error; /* the first that a sink gave: nothing is written after it */
    size_t used;
    char text[4096];
} cli_out;

static CLI_UNUSED void cli_out_to_file(cli_out *f, FILE *file)
{
    memset(f, 0, sizeof *f);
    f->file = file;
}

static CLI_UNUSED void cli_out_to_sink(cli_out *f, posio_sink sink)
{
    memset(f, 0, sizeof *f);
    f->sink = sink;
}

/* Call it at the end, too: what is in f->text has been written nowhere. */
static CLI_UNUSED void cli_flush(cli_out *f)
{
    if (f->file != NULL) {
        fwrite(f->text, 1, f->used, f->file);
        fflush(f->file);
    } else if (f->error.code == POSIO_OK && f->used != 0) {
        (void)f->sink.write(f->sink.self, f->text, f->used, &f->error);
    }
    f->used = 0;
}

static CLI_UNUSED void cli_write(cli_out *f, const char *s, size_t n)
{
    while (n != 0) {
        size_t take = sizeof f->text - f->used < n ? sizeof f->text - f->used : n;
        memcpy(f->text + f->used, s, take);
        f->used += take;
        s += take;
        n -= take;
        if (f->used == sizeof f->text) cli_flush(f);
    }
}

static CLI_UNUSED void cli_puts(cli_out *f, const char *s) { cli_write(f, s, strlen(s)); }

/* For what is short: the result is cut at 511 bytes. */
static CLI_UNUSED void cli_printf(cli_out *f, const char *format, ...) CLI_PRINTF(2, 3);
static CLI_UNUSED void cli_printf(cli_out *f, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cli_puts(f, text);
}

// ---------------------------------------------------------------------------------- text

/* Decodes one character of UTF-8; returns its length, 0 when the bytes are not UTF-8. */
static CLI_UNUSED size_t cli_decode(const char *s, uint32_t *c)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    size_t i;
    if (n == 0) return 0;
    *c = n == 1 ? p[0] : p[0] & (0x7fu >> n);
    for (i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        *c = *c << 6 | (p[i] & 0x3fu);
    }
    if ((n == 3 && (*c < 0x800 || (*c >= 0xd800 && *c < 0xe000))) ||
        (n == 4 && (*c < 0x10000 || *c > 0x10ffff)))
        return 0;
    return n;
}

/* Control characters, and those that turn the direction of text, could deceive whoever reads. */
static CLI_UNUSED int cli_is_unsafe(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

/* Text from outside, with \xNN for bytes and \u{...} for characters that a terminal would obey. */
static CLI_UNUSED void cli_text(cli_out *f, const char *s)
{
    while (*s != 0) {
        uint32_t c = 0;
        size_t n = cli_decode(s, &c);
        if (n == 0) cli_printf(f, "\\x%02x", (unsigned char)*s);
        else if (n == 1 && cli_is_unsafe(c)) cli_printf(f, "\\x%02x", (unsigned)c);
        else if (cli_is_unsafe(c)) cli_printf(f, "\\u{%x}", (unsigned)c);
        else cli_write(f, s, n);
        s += n != 0 ? n : 1;
    }
}

/* A line of a report. */
static CLI_UNUSED void cli_line(cli_out *f, const char *name, const char *value)
{
    cli_printf(f, "  %-18s", name);
    cli_text(f, value);
    cli_puts(f, "\n");
}

/* 1,234,567 */
static CLI_UNUSED const char *cli_grouped(uint64_t v, char out[32])
{
    char digits[32];
    int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)v), i, k = 0;
    for (i = 0; i < n; i++) {
        if (i != 0 && (n - i) % 3 == 0) out[k++] = ',';
        out[k++] = digits[i];
    }
    out[k] = 0;
    return out;
}

/* 1.5 GiB */
static CLI_UNUSED const char *cli_size(double v, char out[32])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    int u = 0;
    while (v >= 1024 && u < 6) {
        v /= 1024;
        u++;
    }
    snprintf(out, 32, v == (double)(int)v ? "%.0f %s" : v < 10 ? "%.2f %s" : v < 100 ? "%.1f %s" : "%.0f %s", v,
             units[u]);
    return out;
}

/* The name in a path, without its folder. */
static CLI_UNUSED const char *cli_name(const char *path) { return path + posio_path_folder(path); }

/* "PATH: message (segment 2, x.E02, offset 76)" on standard error; PATH is what was typed. */
static CLI_UNUSED void cli_error(const char *path, const posio_error *err)
{
    const int is_other = err->file[0] != 0 && strcmp(err->file, cli_name(path)) != 0 &&
                         strcmp(err->file, path) != 0;
    cli_out f;
    cli_out_to_file(&f, stderr);
    cli_text(&f, path);
    cli_puts(&f, ": ");
    cli_text(&f, err->message);
    if (err->segment != 0 || err->offset != POSIO_NO_OFFSET || is_other) {
        const char *sep = "";
        cli_puts(&f, " (");
        if (err->segment != 0) {
            cli_printf(&f, "segment %u", (unsigned)err->segment);
            sep = ", ";
        }
        if (is_other) {
            cli_puts(&f, sep);
            cli_text(&f, err->file);
            sep = ", ";
        }
        if (err->offset != POSIO_NO_OFFSET)
            cli_printf(&f, "%soffset %llu", sep, (unsigned long long)err->offset);
        cli_puts(&f, ")");
    }
    cli_puts(&f, "\n");
    cli_flush(&f);
}

// ---------------------------------------------------------------------------------- options

/* One option of a tool. value NULL: a flag, counted in *flag. */
typedef struct cli_option {
    const char *name;   /* without the dashes; of one letter: -o, else --output */
    const char *metavar;/* of its value; NULL for a flag */
    const char *help;
    int *flag;
    const char **value;
    /* Instead of value: called each time; NULL = taken, else what is wrong with it. */
    const char *(*each)(void *user, const char *value);
    void *user;
} cli_option;

typedef struct cli_tool {
    const char *name, *usage, *summary, *details;
    const cli_option *options;
    size_t option_count;
} cli_tool;

static CLI_UNUSED const char *cli_dashes(const cli_option *o)
{
    return o->name[1] == 0 ? "-" : "--";
}

static CLI_UNUSED void cli_help(const cli_tool *t)
{
    size_t i;
    printf("usage: %s %s\n\n%s\n\noptions:\n", t->name, t->usage, t->summary);
    for (i = 0; i < t->option_count; i++) {
        char left[64];
        snprintf(left, sizeof left, "%s%s%s%s", cli_dashes(&t->options[i]), t->options[i].name,
                 t->options[i].metavar != NULL ? " " : "",
                 t->options[i].metavar != NULL ? t->options[i].metavar : "");
        printf("  %-22s %s\n", left, t->options[i].help);
    }
    printf("  %-22s %s\n  %-22s %s\n", "--help", "print this", "--version", "print the version");
    printf("\n%s\n", t->details);
}

/* "ARG: what", or with a value "--option value: what". */
static CLI_UNUSED int cli_bad_value(const cli_tool *t, const char *arg, const char *value,
                                    const char *what)
{
    cli_out f;
    cli_out_to_file(&f, stderr);
    cli_text(&f, arg);
    if (value != NULL) {
        cli_puts(&f, " ");
        cli_text(&f, value);
    }
    cli_printf(&f, ": %s\ntry: %s --help\n", what, t->name);
    cli_flush(&f);
    return CLI_FAILED;
}

static CLI_UNUSED int cli_usage_error(const cli_tool *t, const char *arg, const char *what)
{
    return cli_bad_value(t, arg, NULL, what);
}

static CLI_UNUSED int cli_take_option(const cli_tool *t, const cli_option *o, const char *arg,
                                      const char *value)
{
    if (o->metavar == NULL) {
        if (value != NULL) return cli_usage_error(t, arg, "this option takes no value");
        ++*o->flag;
        return -1;
    }
    if (value == NULL) return cli_usage_error(t, arg, "this option needs a value");
    if (o->each != NULL) {
        char option[64];
        const char *what = o->each(o->user, value);
        snprintf(option, sizeof option, "%s%s", cli_dashes(o), o->name);
        return what == NULL ? -1 : cli_bad_value(t, option, value, what);
    }
    *o->value = value;
    return -1;
}

/* The option that an argument names (NULL: none), and the value that is part of it: --name=value or
   -nvalue. */
static CLI_UNUSED const cli_option *cli_find_option(const cli_tool *t, const char *arg,
                                                    const char **value)
{
    const char *equals = strchr(arg, '=');
    size_t n = equals != NULL ? (size_t)(equals - arg) : strlen(arg), k;
    *value = equals != NULL ? equals + 1 : NULL;
    for (k = 0; k < t->option_count; k++) {
        const cli_option *o = &t->options[k];
        if (o->name[1] == 0 && arg[1] == o->name[0]) {
            *value = arg[2] != 0 ? arg + 2 : NULL;
            return o;
        }
        if (o->name[1] != 0 && arg[1] == '-' && strlen(o->name) == n - 2 &&
            memcmp(arg + 2, o->name, n - 2) == 0)
            return o;
    }
    return NULL;
}

/* Splits argv into options and operands (moved to the front, *count). -1 = go on, else exit code. */
static CLI_UNUSED int cli_parse(const cli_tool *t, int argc, char **argv, char **operands,
                                int *count)
{
    int i, rest = 0;
    *count = 0;
    for (i = 1; i < argc; i++) {
        const char *arg = argv[i], *value = NULL;
        const cli_option *o;
        int r;
        if (rest || arg[0] != '-' || arg[1] == 0) {
            operands[(*count)++] = argv[i];
            continue;
        }
        if (strcmp(arg, "--") == 0) {
            rest = 1;
            continue;
        }
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) return cli_help(t), CLI_GOOD;
        if (strcmp(arg, "--version") == 0)
            return printf("%s (chunkwise) %s\n", t->name, CLI_VERSION), CLI_GOOD;
        o = cli_find_option(t, arg, &value);
        if (o == NULL) return cli_usage_error(t, arg, "no such option");
        if (value == NULL && o->metavar != NULL && i + 1 < argc) value = argv[++i];
        r = cli_take_option(t, o, arg, value);
        if (r >= 0) return r;
    }
    return -1;
}

/* A whole number from 0 to max; 0 = not one. */
static CLI_UNUSED int cli_number(const char *s, uint32_t max, uint32_t *out)
{
    uint64_t v = 0;
    const char *p = s;
    for (; *p >= '0' && *p <= '9' && v <= max; p++) v = v * 10 + (uint64_t)(*p - '0');
    if (p == s || *p != 0 || v > max) return 0;
    *out = (uint32_t)v;
    return 1;
}

/* 16 for what is no digit. */
static CLI_UNUSED uint64_t cli_hex_digit(char c)
{
    if (c >= '0' && c <= '9') return (uint64_t)(c - '0');
    if (c >= 'a' && c <= 'f') return (uint64_t)(c - 'a') + 10;
    return c >= 'A' && c <= 'F' ? (uint64_t)(c - 'A') + 10 : 16;
}

/* A number of bytes at the beginning of s: decimal or 0x and hexadecimal, then K, M, G or T (1024,
   1024 * 1024, ...) or s (512, a sector). *end: behind it. 0 = not one, or too large. */
static CLI_UNUSED int cli_bytes(const char *s, const char **end, uint64_t *out)
{
    static const char suffixes[] = "KMGTs";
    static const uint64_t worth[] = {(uint64_t)1 << 10, (uint64_t)1 << 20, (uint64_t)1 << 30,
                                     (uint64_t)1 << 40, 512};
    uint64_t v = 0, base = 10, d;
    const char *first, *p;
    char suffix;
    if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
        base = 16;
        s += 2;
    }
    for (first = s; (d = cli_hex_digit(*s)) < base; s++)
        if (!posio_mul(v, base, &v) || !posio_add(v, d, &v)) return 0;
    if (s == first) return 0;
    suffix = *s == 'k' || *s == 'm' || *s == 'g' || *s == 't' ? (char)(*s - 'a' + 'A') : *s;
    p = suffix != 0 ? strchr(suffixes, suffix) : NULL;
    if (p != NULL && !posio_mul(v, worth[p - suffixes], &v)) return 0;
    *end = p != NULL ? s + 1 : s;
    *out = v;
    return 1;
}

// ---------------------------------------------------------------------------------- JSON

/* What stands between the quotes of a JSON string. Bytes that are not UTF-8 become \udcXX, as
   Python's surrogateescape reads them. */
static CLI_UNUSED void cli_json_text(cli_out *f, const char *s)
{
    while (*s != 0) {
        uint32_t c = 0;
        size_t n = cli_decode(s, &c);
        if (n == 0) cli_printf(f, "\\udc%02x", (unsigned char)*s);
        else if (c == '"' || c == '\\') cli_printf(f, "\\%c", (int)c);
        else if (cli_is_unsafe(c)) cli_printf(f, "\\u%04x", (unsigned)c);
        else cli_write(f, s, n);
        s += n != 0 ? n : 1;
    }
}

static CLI_UNUSED void cli_json_string(cli_out *f, const char *s)
{
    if (s == NULL) {
        cli_puts(f, "null");
        return;
    }
    cli_puts(f, "\"");
    cli_json_text(f, s);
    cli_puts(f, "\"");
}

// ---------------------------------------------------------------------------------- progress

/* A bar on standard error while that is a terminal; nothing otherwise. */
typedef struct cli_progress {
    const char *label;
    double begin, last;
    int shown, enabled;
} cli_progress;

static CLI_UNUSED void cli_progress_begin(cli_progress *p, const char *label, int enabled)
{
    memset(p, 0, sizeof *p);
    p->label = cli_name(label);
    p->begin = p->last = cli_now();
    p->enabled = enabled && cli_is_terminal(stderr);
}

static CLI_UNUSED void cli_progress_end(cli_progress *p)
{
    if (p->shown) fprintf(stderr, "\r%*s\r", cli_columns() - 1, "");
    p->shown = 0;
}

/* 1:05, from an hour on 1:00:05; --:-- while there is no rate to tell it by. */
static CLI_UNUSED const char *cli_duration(double left, double rate, char out[32])
{
    double seconds = rate > 0 ? left / rate : -1;
    unsigned s;
    if (!(seconds >= 0 && seconds < 1e9)) return "--:--";
    s = (unsigned)seconds;
    if (s < 3600) snprintf(out, 32, "%u:%02u", s / 60, s % 60);
    else snprintf(out, 32, "%u:%02u:%02u", s / 3600, s / 60 % 60, s % 60);
    return out;
}

/* "name [####....]  42 %  1.2 GiB/s  ETA 0:03", without an end of line; of what has no known end
   (total UINT64_MAX) "name  4.2 GiB  1.2 GiB/s". */
static CLI_UNUSED void cli_progress_print(const cli_progress *p, uint64_t done, uint64_t total)
{
    double rate = (double)done / (cli_now() - p->begin);
    char speed[32], left[32], tail[128], label[256];
    int width, filled, i, endless = total == UINT64_MAX;
    snprintf(tail, sizeof tail, " %3d %%  %s/s  ETA %s",
             total != 0 ? (int)((double)done * 100 / (double)total) : 100, cli_size(rate, speed),
             cli_duration((double)(total - done), rate, left));
    if (endless)
        snprintf(tail, sizeof tail, "  %s  %s/s", cli_size((double)done, left),
                 cli_size(rate, speed));
    for (i = 0; i < 32 && p->label[i] != 0; i++) /* a name, of plain characters only */
        label[i] = p->label[i] >= 0x20 && p->label[i] < 0x7f ? p->label[i] : '?';
    label[i] = 0;
    if (endless) {
        fprintf(stderr, "%s%s", label, tail);
        return;
    }
    width = cli_columns() - 1 - (int)strlen(tail) - i - 3;
    if (width > 50) width = 50;
    if (width < 0) width = 0;
    filled = total != 0 ? (int)((double)done * width / (double)total) : width;
    fprintf(stderr, "%s [", label);
    for (i = 0; i < width; i++) fputc(i < filled ? '#' : '.', stderr);
    fprintf(stderr, "]%s", tail);
}

/* Draws at most ten times a second. Returns non-zero once Ctrl-C was pressed. */
static CLI_UNUSED int cli_progress_update(cli_progress *p, uint64_t done, uint64_t total)
{
    if (!p->enabled || cli_now() - p->last < 0.1) return cli_interrupted != 0;
    p->last = cli_now();
    fputc('\r', stderr);
    cli_progress_print(p, done, total);
    fputs("  ", stderr);
    fflush(stderr);
    p->shown = 1;
    return cli_interrupted != 0;
}

/* Several bars, one below the other, on a terminal that knows the sequences of ECMA-48 (8.3.14 CPL,
   8.3.39 ED). Ten times a second: if (cli_bars_are_due) cli_bars_clear, cli_bars_line ... */
typedef struct cli_bars {
    int enabled, rows;
    double last;
} cli_bars;

static CLI_UNUSED void cli_bars_init(cli_bars *b, int enabled)
{
    memset(b, 0, sizeof *b);
    b->last = cli_now();
    b->enabled = enabled && cli_is_terminal(stderr);
}
static CLI_UNUSED int cli_bars_are_due(cli_bars *b)
{
    if (cli_now() - b->last < 0.1) return 0;
    b->last = cli_now();
    return 1;
}
/* Takes all bars away, so that something else may be printed. */
static CLI_UNUSED void cli_bars_clear(cli_bars *b)
{
    if (b->rows != 0) fprintf(stderr, "\033[%dF\033[J", b->rows);
    if (b->rows != 0) fflush(stderr);
    b->rows = 0;
}
static CLI_UNUSED void cli_bars_line(cli_bars *b, const cli_progress *p, uint64_t done,
                                     uint64_t total)
{
    if (!b->enabled) return;
    cli_progress_print(p, done, total);
    fputc('\n', stderr);
    b->rows++;
}

#endif
