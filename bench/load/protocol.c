/* The two JSON protocols in which realtime_svc acknowledges what is published: how a client joins and publishes, and how
 * its answers are told from what is pushed to it. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *path, *connect, *subscribe, *joined, *answer, *envelope;
} protocols[] = {
    {"centrifugo", "/connection/websocket", "{\"id\":1,\"connect\":{}}",
     "{\"id\":2,\"subscribe\":{\"channel\":\"{channel}\"}}", "\"id\":2,\"subscribe\"", "{}={}",
     "{\"id\":{id},\"publish\":{\"channel\":\"{channel}\",\"data\":{payload}}}"},
    {"plain", "/ws", NULL, "{\"subscribe\":\"{channel}\",\"id\":2}", "\"ok\":\"subscribe\"", NULL,
     "{\"publish\":\"{channel}\",\"data\":{payload},\"id\":{id}}"},
};

static void add(struct texts *texts, const char *text)
{
    if (text)
        texts->at[texts->count++] = text;
}

void use_protocol(void)
{
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++) {
        if (strcmp(protocols[i].name, options.protocol))
            continue;
        if (!strcmp(options.path, "/"))
            options.path = protocols[i].path;
        options.first = (struct texts){0};
        add(&options.first, protocols[i].connect);
        add(&options.first, replaced(protocols[i].subscribe, "{channel}", options.channel));
        add(&options.answers, protocols[i].answer);
        options.joined = protocols[i].joined;
        options.envelope = replaced(protocols[i].envelope, "{channel}", options.channel);
        return;
    }
    fail("--protocol is centrifugo or plain");
}

static void take_line(struct connection *c, const char *line, size_t size, void (*answered)(struct connection *, uint64_t))
{
    const char *id;

    if (memmem(line, size, MARKER, strlen(MARKER))) {
        scan(c, line, size);
        return;
    }
    if (memmem(line, size, "\"error\"", 7))
        fail("connection %d: %.*s", c->number, (int)size, line);
    id = memmem(line, size, "\"id\":", 5);
    if (id && strtoul(id + 5, NULL, 10) >= FIRST_ID)
        answered(c, strtoul(id + 5, NULL, 10) - FIRST_ID);
}

void take_lines(struct connection *c, const char *data, size_t size, void (*answered)(struct connection *, uint64_t))
{
    const char *end = data + size, *line_end;

    for (; data < end; data = line_end + 1) {
        line_end = memchr(data, '\n', (size_t)(end - data));
        if (!line_end)
            line_end = end;
        take_line(c, data, (size_t)(line_end - data), answered);
    }
}
