/* How a connection is opened: TLS, the request and its answer (RFC 6455, 4.1), and what it sends to be subscribed. */
#define _GNU_SOURCE
#include "connection.h"
#include "handshake.h"
#include "tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { HEAD_LIMIT = 16 * 1024 };

static char key[KEY_LENGTH + 1], accept_line[ACCEPT_LENGTH + 1];

void opening_start(void)
{
    unsigned char random[16];
    uint64_t seed = now() ^ (uint64_t)getpid() << 32;

    for (int i = 0; i < 16; i++, seed = seed * 6364136223846793005u + 1442695040888963407u)
        random[i] = (unsigned char)(seed >> 56);
    base64(random, sizeof random, key);
    accept_for(key, accept_line);
}

static void ask(struct connection *c)
{
    char head[HEAD_LIMIT], *path = expanded(c->profile->path, c->number);
    int size = snprintf(head, sizeof head,
                        "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n%s",
                        path, options.host, options.port, key,
                        c->profile->squeezes ? "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
                                               "client_no_context_takeover\r\n"
                                             : "");

    if ((size_t)size + 3 > sizeof head)
        fail("the request is longer than %d bytes", HEAD_LIMIT);
    for (int i = 0; i < options.headers.count; i++) {
        char *header = expanded(options.headers.at[i], c->number);

        if ((size_t)size + strlen(header) + 5 > sizeof head)
            fail("the request is longer than %d bytes", HEAD_LIMIT);
        size += sprintf(head + size, "%s\r\n", header);
        free(header);
    }
    size += sprintf(head + size, "\r\n");
    free(path);
    c->state = ASKING;
    connection_send(c, head, (size_t)size);
}

void opening_secure(struct connection *c)
{
    switch (tls_handshake(c->tls)) {
    case 1:
        ask(c);
        break;
    case -1:
        connection_end(c, "the TLS handshake failed");
    }
}

void opening_connected(struct connection *c)
{
    if (options.tls) {
        if (c->watches_output)
            connection_watch(c, EPOLL_CTL_MOD, 0);
        c->tls = tls_open(c->fd);
        c->state = SECURING;
        opening_secure(c);
    } else {
        ask(c);
    }
}

void opening_done(struct connection *c)
{
    c->state = OPEN;
    opening--;
    c->profile->handler->opened(c);
}

/* The 101 is there: ask for what the connection is to be subscribed to. */
static void join(struct connection *c)
{
    c->state = JOINING;
    for (int i = 0; i < c->profile->first->count; i++) {
        char *text = expanded(c->profile->first->at[i], c->number);

        send_text(c, text);
        free(text);
    }
    if (!options.joined && !options.joined_frames)
        opening_done(c);
}

static void check_answer(struct connection *c, const char *head)
{
    if (strncmp(head, "HTTP/1.1 101", 12)) {
        char status[64];
        size_t line = strcspn(head, "\r\n");

        snprintf(status, sizeof status, "answered %.*s", line < 40 ? (int)line : 40, head);
        connection_end(c, status);
    } else if (!strstr(head, accept_line)) {
        connection_end(c, "answered another Sec-WebSocket-Accept");
    } else if (strcasestr(head, "\nSec-WebSocket-Extensions:")) {
        if (!c->profile->squeezes || !strstr(head, "server_no_context_takeover"))
            connection_end(c, "answered with an extension that was not offered in this way");
    } else if (c->profile->squeezes) {
        connection_end(c, "did not accept permessage-deflate");
    }
}

/* Bytes of the answer to the request; what follows it are frames. */
static void take_head(struct connection *c, const char *data, size_t size)
{
    char *head_end, *rest;
    size_t rest_size;

    append(&c->in, &c->in_size, &c->in_room, data, size);
    head_end = memmem(c->in, c->in_size, "\r\n\r\n", 4);
    if (!head_end) {
        if (c->in_size > HEAD_LIMIT)
            connection_end(c, "answered with a head that does not end");
        return;
    }
    head_end[2] = 0;
    check_answer(c, c->in);
    if (c->state == CLOSED)
        return;
    rest = c->in;
    rest_size = c->in_size - (size_t)(head_end + 4 - c->in);
    memmove(rest, head_end + 4, rest_size);
    c->in = NULL;
    c->in_size = c->in_room = 0;
    join(c);
    if (c->state != CLOSED && rest_size)
        take_frames(c, rest, rest_size);
    free(rest);
}

void connection_take(struct connection *c, char *data, size_t size)
{
    if (c->state == ASKING)
        take_head(c, data, size);
    else
        take_frames(c, data, size);
}
