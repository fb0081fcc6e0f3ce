/* The one translation unit with the functions. */
#define EWF_READ_IMPLEMENTATION
#include "ewf_read.h"
