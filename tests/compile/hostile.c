/* Any header behind the macros that other headers are known for: of old Windows compilers,
   <windows.h>, <rpcndr.h>, <sys/sysmacros.h>, <complex.h>. -DHEADER='"digest.h"'. What the headers
   include themselves comes first: it is not what is tested. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(_WIN32)
#include <windows.h>
#include <winioctl.h>
#include <process.h>
#else
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/syscall.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <arm_neon.h>
#endif
#if defined(WITH_ZSTD)
#include <zstd.h>
#include <zstd_errors.h>
#endif

#undef near
#undef far
#undef huge
#undef min
#undef max
#undef small
#undef hyper
#undef interface
#undef major
#undef minor
#undef I
#undef ERROR
#undef IN
#undef OUT
#undef OPTIONAL
#define near
#define far
#define huge
#define min(a, b) min_is_a_macro
#define max(a, b) max_is_a_macro
#define small char
#define hyper long
#define interface struct
#define major(device) major_is_a_macro
#define minor(device) minor_is_a_macro
#define I i_is_a_macro
#define ERROR 0
#define IN
#define OUT
#define OPTIONAL
#include HEADER
