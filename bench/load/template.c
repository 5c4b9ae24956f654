/* Texts with places to fill in: addresses, first frames, and the messages that are sent again and again. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *replaced(const char *text, const char *name, const char *value)
{
    size_t room = strlen(text) + 1, name_size = strlen(name), value_size = strlen(value);
    char *copy, *to;

    for (const char *at = text; (at = strstr(at, name)); at += name_size)
        room += value_size;
    copy = to = malloc(room);
    for (const char *at; (at = strstr(text, name)); text = at + name_size) {
        to = mempcpy(to, text, (size_t)(at - text));
        to = mempcpy(to, value, value_size);
    }
    strcpy(to, text);
    return copy;
}

char *expanded(const char *text, int number)
{
    char digits[16], *one, *two, *three;

    snprintf(digits, sizeof digits, "%d", number);
    one = replaced(text, "{n}", digits);
    two = replaced(one, "\\r", "\r");
    three = replaced(two, "\\n", "\n");
    free(one);
    free(two);
    return three;
}

/* Text of a length, after the number of the message. */
static void fill(char *to, size_t size)
{
    static const char *words[] = {"order", "price", "of", "the", "room", "hello", "and", "status", "moved", "to",
                                  "sold", "market", "user", "left", "channel", "is", "ready", "again", "for", "update"};
    uint32_t random = 12345;
    size_t at = 0;

    if (strcmp(options.fill, "words")) {
        memset(to, options.fill[0], size);
        return;
    }
    while (at < size) {
        random = random * 1664525 + 1013904223;
        for (const char *word = words[(random >> 16) % 20]; *word && at < size; word++)
            to[at++] = *word;
        if (at < size)
            to[at++] = (random >> 28) ? ' ' : (char)('0' + (random >> 8) % 10);
    }
}

/* --payload, exactly --size bytes, with the marker of number 0 in it. */
static char *make_payload(void)
{
    size_t around = strlen(options.payload) - strlen("{fill}"), inside = (size_t)options.size - around;
    char *filling, *payload;

    if (!strstr(options.payload, "{fill}"))
        fail("--payload has no {fill}");
    if ((size_t)options.size < around + MARKER_LENGTH)
        fail("--size has to be at least %zu with this --payload", around + MARKER_LENGTH);
    filling = malloc(inside + 1);
    filling[inside] = 0;
    memcpy(filling, MARKER "0000000000#", MARKER_LENGTH);
    fill(filling + MARKER_LENGTH, inside - MARKER_LENGTH);
    payload = replaced(options.payload, "{fill}", filling);
    free(filling);
    return payload;
}

size_t put_frame(unsigned char *out, int first, const void *payload, size_t size)
{
    size_t at = 2;

    out[0] = (unsigned char)first;
    if (size < 126) {
        out[1] = (unsigned char)(0x80 | size);
    } else if (size < 65536) {
        out[1] = 0x80 | 126;
        out[at++] = (unsigned char)(size >> 8);
        out[at++] = (unsigned char)size;
    } else {
        out[1] = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            out[at++] = (unsigned char)((uint64_t)size >> shift);
    }
    memset(out + at, 0, 4); /* a mask of zeros is a mask */
    memcpy(out + at + 4, payload, size);
    return at + 4 + size;
}

struct message make_message(const char *envelope, int number)
{
    struct message made = {0};
    char *payload = make_payload(), digits[16], *parts[3], *found;
    size_t size;

    snprintf(digits, sizeof digits, "%lu", FIRST_ID);
    parts[0] = expanded(envelope, number);
    parts[1] = replaced(parts[0], "{id}", digits);
    parts[2] = replaced(parts[1], "{payload}", payload);
    size = strlen(parts[2]);
    made.bytes = malloc(size + 14);
    made.size = put_frame(made.bytes, options.binary ? 0x82 : 0x81, parts[2], size);
    found = strstr(parts[2], MARKER);
    if (!found)
        fail("--envelope has no {payload}");
    made.sequence_at = made.size - size + (size_t)(found - parts[2]) + strlen(MARKER);
    if (strstr(envelope, "{id}"))
        made.id_at = made.size - size + (size_t)(strstr(parts[2], digits) - parts[2]);
    for (int i = 0; i < 3; i++)
        free(parts[i]);
    free(payload);
    return made;
}

static void put_number(unsigned char *to, uint64_t number)
{
    for (int i = 9; i >= 0; i--, number /= 10)
        to[i] = (unsigned char)('0' + number % 10);
}

void set_sequence(struct message *message, uint64_t sequence)
{
    put_number(message->bytes + message->sequence_at, sequence);
    if (message->id_at)
        put_number(message->bytes + message->id_at, FIRST_ID + sequence);
}
