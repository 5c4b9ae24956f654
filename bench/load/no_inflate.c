/* In the place of inflate.c in a build without zlib. */
#include "load.h"

void scan_squeezed(struct connection *c, char *data, size_t size, bool squeezed)
{
    (void)c, (void)data, (void)size, (void)squeezed;
    fail("built without zlib: no --deflate");
}

void reset_squeezed(void) {}

void report_squeezed(void) {}
