/* What the parts of the load generator share. One thread, one epoll set, one run a process. */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MARKER "#seq:"        /* begins the number of a message within its payload: #seq:0000000123# */
#define MARKER_LENGTH 16      /* of the whole of it */
#define FIRST_ID 1000000000ul /* {id} of message 0: ids have ten digits, as sequence numbers have */
#define MOST_VALUES 16        /* how often an option may be given that may be repeated */

/* options.c: what the command line says */

struct texts {
    int count;
    const char *at[MOST_VALUES];
};

struct options {
    const char *mode, *host, *path, *publisher_path, *probe_path, *joined, *payload, *envelope, *channel, *protocol, *fill;
    const char *tls_version;
    int port, connections, window, size, core, sources, concurrency, joined_frames, probe_every, history;
    long count;
    double seconds, warmup, patience;
    bool json, binary, tls, resume, deflate, uring;
    struct texts headers, first, publisher_first, probe_first, answers, pids;
};

extern struct options options;

void parse_options(int argc, char **argv);

/* stats.c: time, latencies, processor time, the report */

struct histogram {
    uint64_t counts[64 * 32], total, highest;
};

uint64_t now(void); /* monotonic nanoseconds */
void note(struct histogram *h, uint64_t nanoseconds);
double quantile(const struct histogram *h, double q); /* microseconds */
void meter_start(void);
void meter_stop(void);
double meter_seconds(void);
void report_text(const char *name, const char *value);
void report_count(const char *name, uint64_t value);
void report_real(const char *name, double value);
void report_latency(const char *prefix, const struct histogram *h);
void report_meter(uint64_t deliveries); /* seconds and processor time, of this process and of --pid */
void report_end(void);                  /* writes the line out */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* template.c: texts with places to fill in */

/* A copy of `text` in which {n} is `number` and \r and \n are what they stand for in C. */
char *expanded(const char *text, int number);

/* A masked frame that is sent again and again with another number in it. */
struct message {
    unsigned char *bytes;
    size_t size;
    size_t sequence_at, id_at; /* where ten digits go; 0: nowhere */
};

/* A copy of `text` with each `name` replaced by `value`. */
char *replaced(const char *text, const char *name, const char *value);

/* --payload, which is --size bytes, in `envelope`, where {n} is `number`. */
struct message make_message(const char *envelope, int number);
void set_sequence(struct message *message, uint64_t sequence);
size_t put_frame(unsigned char *out, int first, const void *payload, size_t size); /* masked with zeros; returns its size */

/* connection.c: connections and the loop */

struct connection;

struct handler {
    void (*opened)(struct connection *);                             /* the server answered all it has to */
    void (*chunk)(struct connection *, const char *, size_t);        /* bytes of payloads, as they come */
    void (*whole)(struct connection *, char *, size_t, bool squeezed); /* instead of chunk: one message */
    void (*ended)(struct connection *, const char *why);             /* NULL: the run fails */
};

struct profile { /* how a connection is made, and whose it is; outlives its connections */
    const char *path;
    const struct texts *first;
    const struct handler *handler;
    bool squeezes; /* permessage-deflate is offered */
};

enum state { CLOSED, CONNECTING, SECURING, ASKING, JOINING, OPEN };

struct connection {
    const struct profile *profile;
    void *tls;
    int fd, number;
    enum state state;
    bool watches_output, frame_open, squeezed;
    uint8_t header[10], header_size, first_byte, carry_size;
    uint16_t control_size, frames;
    char carry[MARKER_LENGTH];
    uint64_t left;                         /* bytes of the frame still to come */
    char *in, *out, *control;              /* a message or head in parts; what could not be sent yet */
    size_t in_size, in_room, out_size, out_room;
    const char *later;                     /* what is sent at the end of the turn */
    size_t later_size;
    uint64_t last, seen;                   /* highest number received, and which of the 64 up to it */
    uint64_t started;                      /* when it was asked for, or what a mode times */
    struct message message;                /* what it sends, in modes in which each sends */
    uint64_t sent, acknowledged;
};

extern uint64_t received_at; /* when what is being handled was read */
extern uint64_t reads;       /* recv() calls that gave something */
extern int opening;          /* connections that are neither open nor closed */

void loop_start(void);
void loop_turn(int milliseconds);
extern void (*between_events)(void); /* called after every 64 events of a turn, may be NULL */
void connection_start(struct connection *c, const struct profile *profile, int number);
void connection_send(struct connection *c, const void *data, size_t size);
void connection_send_later(struct connection *c, const void *data, size_t size); /* --uring: with the rest of the turn; one a turn */
void connection_drop(struct connection *c); /* at once, with a reset: no port stays in TIME_WAIT */
void connection_ready(struct connection *c); /* read it now, whatever the loop knows */

/* Opens them all, --concurrency at a time, and returns when all are open. */
void open_all(struct connection *connections, int count, const struct profile *profile);

/* tally.c: every delivery counted, in order, none lost */

struct tally {
    uint64_t deliveries, lost, out_of_order, duplicates;
};

extern struct tally tally;
extern void (*delivered)(struct connection *c, uint64_t sequence); /* once for each number and connection; also what is lost */

void scan(struct connection *c, const char *data, size_t size); /* a handler's chunk */
void count_delivery(struct connection *c, uint64_t sequence);
void report_tally(void);

/* inflate.c: permessage-deflate, the receiving side; without zlib: no_inflate.c */
void scan_squeezed(struct connection *c, char *data, size_t size, bool squeezed);
void reset_squeezed(void);
void report_squeezed(void);

/* protocol.c: the protocols that acknowledge */

void use_protocol(void); /* sets the options for --protocol and --channel */

/* One message: publications are scanned, answers to {id} are given to `answered` as sequence numbers. */
void take_lines(struct connection *c, const char *data, size_t size, void (*answered)(struct connection *, uint64_t));

/* the modes */
void run_fanout(void);
void run_echo(void);
void run_connect(void);
void run_idle(void);
void run_recover(void);
void run_publish(void);

#endif
