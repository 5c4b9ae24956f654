/* Every delivery is counted, has to be the next of its connection, and is looked for in the bytes of the payloads: what
 * is around it, and how a server cuts it into frames, does not matter. */
#define _GNU_SOURCE
#include "load.h"

#include <string.h>

struct tally tally;
void (*delivered)(struct connection *c, uint64_t sequence);

void count_delivery(struct connection *c, uint64_t sequence)
{
    uint64_t behind;

    if (sequence == c->last + 1) {
        c->seen = c->seen << 1 | 1;
    } else if (!c->last) { /* the first that it gets at all: it had not joined before */
        c->seen = ~0ull;
    } else if (sequence > c->last) {
        for (uint64_t missed = c->last + 1; missed < sequence; missed++) {
            tally.lost++;
            delivered(c, missed);
        }
        behind = sequence - c->last;
        c->seen = behind < 64 ? c->seen << behind | 1 : 1;
    } else {
        behind = c->last - sequence;
        if (behind < 64 && !(c->seen >> behind & 1)) { /* it was thought lost */
            c->seen |= 1ull << behind;
            tally.lost--;
            tally.out_of_order++;
            tally.deliveries++;
        } else {
            tally.duplicates++;
        }
        return;
    }
    c->last = sequence;
    tally.deliveries++;
    delivered(c, sequence);
}

/* The number of a marker that is there in full; 0: it is none. */
static uint64_t number_in(const char *marker)
{
    uint64_t number = 0;

    if (memcmp(marker, MARKER, sizeof MARKER - 1) || marker[MARKER_LENGTH - 1] != '#')
        return 0;
    for (int i = sizeof MARKER - 1; i < MARKER_LENGTH - 1; i++)
        number = number * 10 + (uint64_t)(marker[i] - '0');
    return number;
}

static void keep_end(struct connection *c, const char *from, const char *end)
{
    c->carry_size = (uint8_t)(end - from);
    memcpy(c->carry, from, c->carry_size);
}

/* A marker that began in the bytes before: look at it together with the first of these. */
static void scan_seam(struct connection *c, const char *data, size_t size)
{
    char seam[2 * MARKER_LENGTH];
    size_t before = c->carry_size, more = size < MARKER_LENGTH - 1 ? size : MARKER_LENGTH - 1, end = before + more;
    uint64_t number;

    memcpy(seam, c->carry, before);
    memcpy(seam + before, data, more);
    c->carry_size = 0;
    for (size_t at = 0; at < before; at++) {
        if (seam[at] != MARKER[0])
            continue;
        if (at + MARKER_LENGTH <= end) {
            if ((number = number_in(seam + at))) {
                count_delivery(c, number);
                return;
            }
        } else if (more == size) { /* still not all of it */
            keep_end(c, seam + at, seam + end);
            return;
        }
    }
}

void scan(struct connection *c, const char *data, size_t size)
{
    const char *at = data, *end = data + size;
    bool seam = c->carry_size > 0;
    uint64_t number;

    if (seam) {
        scan_seam(c, data, size);
        if (c->carry_size)
            return;
    }
    while ((at = memchr(at, MARKER[0], (size_t)(end - at)))) {
        if (end - at < MARKER_LENGTH) {
            keep_end(c, at, end);
            return;
        }
        if ((number = number_in(at))) {
            count_delivery(c, number);
            at += MARKER_LENGTH;
        } else {
            at++;
        }
    }
}

void report_tally(void)
{
    report_count("deliveries", tally.deliveries);
    report_count("lost", tally.lost);
    report_count("out_of_order", tally.out_of_order);
    report_count("duplicates", tally.duplicates);
}
