/* Any header of the collection, included twice. -DHEADER='"ewf_read.h"', and its _IMPLEMENTATION
   unless only the declarations are meant. C and C++. */
#include HEADER
#include HEADER
