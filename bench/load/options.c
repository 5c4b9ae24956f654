/* The command line. */
#define _GNU_SOURCE
#include "load.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options options = {
    .host = "127.0.0.1",
    .path = "/",
    .payload = "{\"text\":\"{fill}\"}",
    .envelope = "{payload}",
    .channel = "bench{n}",
    .protocol = "centrifugo",
    .connections = 100,
    .window = 1,
    .size = 128,
    .core = -1,
    .sources = 1,
    .concurrency = 32,
    .probe_every = 5,
    .history = 10,
    .seconds = 3,
    .warmup = 0.5,
    .patience = 10,
};

enum kind { FLAG, NUMBER, LONG, REAL, TEXT, TEXTS };

static const struct entry {
    const char *name;
    enum kind kind;
    void *value;
    const char *help;
} entries[] = {
    {"host", TEXT, &options.host, "address of the server, numeric"},
    {"port", NUMBER, &options.port, "its port"},
    {"connections", NUMBER, &options.connections, "connections; fanout: subscribers"},
    {"window", NUMBER, &options.window, "messages on their way at a time"},
    {"size", NUMBER, &options.size, "bytes of a payload"},
    {"seconds", REAL, &options.seconds, "how long is measured"},
    {"count", LONG, &options.count, "fanout: measure this many publications instead"},
    {"warmup", REAL, &options.warmup, "seconds of the same before"},
    {"patience", REAL, &options.patience, "seconds without any progress until the run ends"},
    {"path", TEXT, &options.path, "address of a connection, {n} is its number from 1 on"},
    {"header", TEXTS, &options.headers, "header line of the request; may be repeated"},
    {"first", TEXTS, &options.first, "frame to send after the 101; may be repeated"},
    {"joined", TEXT, &options.joined, "a connection is ready when a message contains this text"},
    {"joined-frames", NUMBER, &options.joined_frames, "or when this many messages have come"},
    {"answer", TEXTS, &options.answers, "MESSAGE=ANSWER: answer such a message (a ping of the protocol)"},
    {"publisher-path", TEXT, &options.publisher_path, "the same for the publisher (default: --path)"},
    {"publisher-first", TEXTS, &options.publisher_first, "the same for the publisher (default: --first)"},
    {"payload", TEXT, &options.payload, "payload; {fill} is the number of the message and what fills it to --size"},
    {"envelope", TEXT, &options.envelope, "frame around {payload}; {id} is a command's number, {n} the connection's"},
    {"binary", FLAG, &options.binary, "send binary frames"},
    {"fill", TEXT, &options.fill, "x: one letter; words (the default with --deflate)"},
    {"probe-path", TEXT, &options.probe_path, "fanout: another channel; its delay is measured meanwhile"},
    {"probe-first", TEXTS, &options.probe_first, "what its two connections send first (default: --first)"},
    {"probe-every", NUMBER, &options.probe_every, "milliseconds between two of its messages"},
    {"protocol", TEXT, &options.protocol, "publish: centrifugo or plain"},
    {"channel", TEXT, &options.channel, "publish, recover: name of the channel, {n} is the connection's number"},
    {"history", NUMBER, &options.history, "recover: messages that each client missed"},
    {"concurrency", NUMBER, &options.concurrency, "handshakes at a time"},
    {"sources", NUMBER, &options.sources, "addresses 127.0.0.x to connect from"},
    {"tls", FLAG, &options.tls, "wss; the certificate is not checked"},
    {"tls-version", TEXT, &options.tls_version, "1.2 or 1.3 only"},
    {"resume", FLAG, &options.resume, "connect: resume the session of the first connection"},
    {"deflate", FLAG, &options.deflate, "offer permessage-deflate without context takeover"},
    {"uring", FLAG, &options.uring, "echo: what is sent in a turn is one system call; less work for the generator"},
    {"core", NUMBER, &options.core, "run on this core"},
    {"pid", TEXTS, &options.pids, "process whose processor time is reported; may be repeated"},
    {"json", FLAG, &options.json, "print one line of JSON"},
};
enum { ENTRIES = sizeof entries / sizeof *entries };

static _Noreturn void usage(void)
{
    puts("load fanout|echo|connect|idle|recover|publish --port N ...\n");
    for (int i = 0; i < ENTRIES; i++)
        printf("  --%-18s%s\n", entries[i].name, entries[i].help);
    exit(2);
}

static void set(const struct entry *entry, const char *value)
{
    struct texts *texts = entry->value;

    switch (entry->kind) {
    case FLAG:
        *(bool *)entry->value = true;
        break;
    case NUMBER:
        *(int *)entry->value = atoi(value);
        break;
    case LONG:
        *(long *)entry->value = atol(value);
        break;
    case REAL:
        *(double *)entry->value = atof(value);
        break;
    case TEXT:
        *(const char **)entry->value = value;
        break;
    case TEXTS:
        if (texts->count == MOST_VALUES)
            fail("--%s is given more than %d times", entry->name, MOST_VALUES);
        texts->at[texts->count++] = value;
    }
}

void parse_options(int argc, char **argv)
{
    struct option list[ENTRIES + 1] = {0};
    int index, found;

    for (int i = 0; i < ENTRIES; i++)
        list[i] = (struct option){entries[i].name, entries[i].kind == FLAG ? no_argument : required_argument, NULL, 0};
    while ((found = getopt_long(argc, argv, "", list, &index)) != -1) {
        if (found)
            usage();
        set(&entries[index], optarg);
    }
    if (optind != argc - 1)
        usage();
    options.mode = argv[optind];
    for (int i = 0; i < options.answers.count; i++)
        options.answers.at[i] = expanded(options.answers.at[i], 0);
    if (!options.publisher_path)
        options.publisher_path = options.path;
    if (!options.publisher_first.count)
        options.publisher_first = options.first;
    if (!options.probe_first.count)
        options.probe_first = options.first;
    if (!options.fill)
        options.fill = options.deflate ? "words" : "x";
    if (options.uring && (options.window > 1 || strcmp(options.mode, "echo")))
        fail("--uring is for echo with --window 1");
    if (options.port <= 0 || options.connections <= 0 || options.window <= 0 || options.concurrency <= 0)
        fail("--port, --connections, --window and --concurrency are numbers above 0");
}
