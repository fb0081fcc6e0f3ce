/* One folded header in an otherwise empty folder. */
#define EWF_READ_IMPLEMENTATION
#include "ewf_read.h"
#include <stdio.h>

int main(int argc, char **argv)
{
    ewf_read *image = NULL;
    ewf_read_verdict verdict;
    int i;
    if (argc < 2 || ewf_read_open(&image, argv[1], NULL, NULL) != POSIO_OK) return 2;
    if (ewf_read_verify(image, NULL, &verdict, NULL) != POSIO_OK) return 2;
    for (i = 0; i < 16; i++) printf("%02x", (unsigned)verdict.digest[0].computed[i]);
    puts(verdict.digest[0].match ? " match" : " MISMATCH");
    ewf_read_close(image);
    return 0;
}
