/* Declarations bring <stddef.h> and <stdint.h> and no other header. -DHEADER='"ewf_read.h"'. */
#include HEADER
#include HEADER
#if defined(_WINDOWS_) || defined(_WINDOWS_H) || defined(_MINWINDEF_)
#error "windows.h leaked"
#endif
#if defined(_PTHREAD_H) || defined(PTHREAD_CREATE_DETACHED)
#error "pthread.h leaked"
#endif
#if defined(_STDLIB_H) || defined(_INC_STDLIB) || defined(EXIT_SUCCESS)
#error "stdlib.h leaked"
#endif
#if defined(_STDIO_H) || defined(_INC_STDIO) || defined(EOF)
#error "stdio.h leaked"
#endif
#if defined(_STRING_H) || defined(_INC_STRING)
#error "string.h leaked"
#endif
#if defined(_ERRNO_H) || defined(_INC_ERRNO) || defined(ENOENT)
#error "errno.h leaked"
#endif
