/* permessage-deflate (RFC 7692) without context takeover, the receiving side. A server that compresses a publication the
 * same way for all sends the same bytes to all: what was inflated once is known again by comparing. What differs is
 * inflated too, so that every delivery is checked. */
#define _GNU_SOURCE
#include "load.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { KNOWN = 64, LARGEST = 1024 * 1024 };

static struct known {
    uint64_t sequence;
    size_t size;
    char *data;
} known[KNOWN];

static uint64_t squeezed_frames, plain_frames, inflated_frames, squeezed_bytes;
static char *plain;

static size_t inflate_message(const char *data, size_t size)
{
    static const unsigned char tail[] = {0, 0, 0xff, 0xff};
    static z_stream stream;
    static bool ready;

    if (!ready)
        ready = inflateInit2(&stream, -15) == Z_OK;
    inflateReset(&stream);
    if (!plain)
        plain = malloc(LARGEST);
    stream.next_out = (unsigned char *)plain;
    stream.avail_out = LARGEST;
    stream.next_in = (unsigned char *)(uintptr_t)data;
    stream.avail_in = (unsigned)size;
    if (inflate(&stream, Z_SYNC_FLUSH) == Z_OK || !stream.avail_in) {
        stream.next_in = (unsigned char *)(uintptr_t)tail;
        stream.avail_in = sizeof tail;
        inflate(&stream, Z_SYNC_FLUSH);
    }
    if (stream.avail_in || !stream.avail_out)
        fail("a compressed message can't be inflated");
    inflated_frames++;
    return LARGEST - stream.avail_out;
}

static void remember(uint64_t sequence, const char *data, size_t size)
{
    struct known *place = &known[sequence % KNOWN];

    place->data = realloc(place->data, size);
    memcpy(place->data, data, size);
    place->sequence = sequence;
    place->size = size;
}

void scan_squeezed(struct connection *c, char *data, size_t size, bool squeezed)
{
    struct known *next = &known[(c->last + 1) % KNOWN];
    uint64_t before = c->last;

    if (!squeezed) {
        plain_frames++;
        scan(c, data, size);
        return;
    }
    squeezed_frames++;
    squeezed_bytes += size;
    if (next->sequence == before + 1 && next->size == size && !memcmp(next->data, data, size)) {
        count_delivery(c, before + 1);
        return;
    }
    scan(c, plain, inflate_message(data, size));
    if (c->last == before + 1) /* one message, the one that was due */
        remember(c->last, data, size);
}

void reset_squeezed(void) { squeezed_frames = plain_frames = inflated_frames = squeezed_bytes = 0; }

void report_squeezed(void)
{
    report_count("compressed_frames", squeezed_frames);
    report_count("plain_frames", plain_frames);
    report_count("inflated_frames", inflated_frames);
    report_real("compressed_size", squeezed_frames ? (double)squeezed_bytes / (double)squeezed_frames : 0);
}
