/* The frames a connection receives (RFC 6455, 5), cut anywhere: pings are answered, a close is the end, and the payloads
 * of the others go to the handler, as they come or as whole messages. */
#define _GNU_SOURCE
#include "connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPCODE = 15, FINAL = 0x80, SQUEEZED = 0x40 };

char last_answer[201] = "nothing";

void send_text(struct connection *c, const char *text)
{
    size_t size = strlen(text);
    unsigned char *frame = malloc(size + 14);

    connection_send(c, frame, put_frame(frame, options.binary ? 0x82 : 0x81, text, size));
    free(frame);
}

static void take_control(struct connection *c, const char *data, size_t size, bool last)
{
    unsigned char frame[140];
    char why[200];

    if (!c->control)
        c->control = malloc(126);
    memcpy(c->control + c->control_size, data, size);
    c->control_size = (uint16_t)(c->control_size + size);
    if (!last)
        return;
    size = c->control_size;
    c->control_size = 0;
    switch (c->first_byte & OPCODE) {
    case 8:
        snprintf(why, sizeof why, "closed by the server: %d %.*s",
                 size < 2 ? 1005 : (unsigned char)c->control[0] << 8 | (unsigned char)c->control[1],
                 size < 2 ? 0 : (int)size - 2, c->control + 2);
        connection_end(c, why);
        break;
    case 9:
        connection_send(c, frame, put_frame(frame, 0x8a, c->control, size));
    }
}

/* Is it one of the messages that --answer names? */
static void answer(struct connection *c, const char *data, size_t size)
{
    for (int i = 0; i < options.answers.count; i++) {
        const char *text = options.answers.at[i], *value = strchr(text, '=');

        if (value && (size_t)(value - text) == size && !memcmp(text, data, size))
            send_text(c, value + 1);
    }
}

static void take_message(struct connection *c, char *data, size_t size)
{
    const struct handler *handler = c->profile->handler;

    if (c->state == JOINING) {
        c->frames++;
        snprintf(last_answer, sizeof last_answer, "%.*s", (int)(size < 200 ? size : 200), data);
        if (options.joined ? memmem(data, size, options.joined, strlen(options.joined)) != NULL
                           : c->frames >= options.joined_frames)
            opening_done(c);
    } else if (handler->whole) {
        handler->whole(c, data, size, c->squeezed);
    } else {
        handler->chunk(c, data, size);
    }
}

/* Bytes of the payload of a text or binary frame. */
static void take_payload(struct connection *c, char *data, size_t size, bool last)
{
    bool whole = c->state == JOINING || c->profile->handler->whole, begins = !c->frame_open && !c->in_size;
    bool ends = last && c->first_byte & FINAL;

    if (c->first_byte & OPCODE)
        c->squeezed = c->first_byte & SQUEEZED;
    c->frame_open = !last;
    if (options.answers.count && begins && ends && size < 64)
        answer(c, data, size);
    if (!whole) {
        c->profile->handler->chunk(c, data, size);
    } else if (begins && ends) {
        take_message(c, data, size);
    } else {
        append(&c->in, &c->in_size, &c->in_room, data, size);
        if (ends) {
            size = c->in_size;
            c->in_size = 0;
            take_message(c, c->in, size);
        }
    }
}

/* How many bytes the header has, as far as it is known. */
static uint8_t header_needs(const struct connection *c)
{
    if (c->header_size < 2 || c->header[1] < 126)
        return 2;
    return c->header[1] == 126 ? 4 : 10;
}

static void begin_frame(struct connection *c)
{
    uint64_t left = c->header[1];

    if (left > 127)
        connection_end(c, "sent a masked frame");
    if (left > 125) {
        left = 0;
        for (int i = 2; i < c->header_size; i++)
            left = left << 8 | c->header[i];
    }
    c->left = left;
    c->first_byte = c->header[0];
    if (c->first_byte & OPCODE & 8 && left > 125)
        connection_end(c, "sent a control frame that is too long");
}

void take_frames(struct connection *c, char *at, size_t size)
{
    char *data_end = at + size;

    while (at < data_end) {
        size_t part;
        bool last;

        if (!c->left) { /* in a header: a frame without payload is dealt with as soon as its header is there */
            c->header[c->header_size++] = (uint8_t)*at++;
            if (c->header_size < header_needs(c))
                continue;
            begin_frame(c);
            c->header_size = 0;
            if (c->state == CLOSED)
                return;
        }
        part = (size_t)(data_end - at) < c->left ? (size_t)(data_end - at) : c->left;
        last = part == c->left;
        if (!part && !last)
            return;
        if (c->first_byte & 8)
            take_control(c, at, part, last);
        else
            take_payload(c, at, part, last);
        if (c->state == CLOSED)
            return;
        at += part;
        c->left -= part;
    }
}
