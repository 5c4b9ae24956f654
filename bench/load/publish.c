/* N connections, each subscribed to a channel of its own, into which it publishes: one command a frame, --window of them
 * not acknowledged. Acknowledgements have to come in order, and so have the pushes. */
#include "load.h"

#include <stdlib.h>

static struct connection *connections;
static struct profile profile;
static struct histogram delays;
static uint64_t acknowledged, disordered, *sent_at;
static bool measuring, stopping;

static void on_opened(struct connection *c) { (void)c; }

static uint64_t *time_of(const struct connection *c, uint64_t sequence)
{
    uint64_t window = (uint64_t)options.window;

    return &sent_at[(uint64_t)(c->number - 1) * window + sequence % window];
}

static void send_next(struct connection *c)
{
    set_sequence(&c->message, ++c->sent);
    *time_of(c, c->sent) = now();
    connection_send(c, c->message.bytes, c->message.size);
}

static void on_answer(struct connection *c, uint64_t sequence)
{
    if (sequence > c->sent)
        fail("connection %d: an answer to what was not asked", c->number);
    disordered += sequence != c->acknowledged + 1;
    c->acknowledged = sequence;
    acknowledged++;
    if (measuring)
        note(&delays, received_at - *time_of(c, sequence));
    if (!stopping)
        send_next(c);
}

static void on_delivered(struct connection *c, uint64_t sequence)
{
    if (sequence > c->sent)
        fail("connection %d received what it has not sent", c->number);
}

static void on_message(struct connection *c, char *data, size_t size, bool squeezed)
{
    (void)squeezed;
    take_lines(c, data, size, on_answer);
}

static const struct handler handler = {.opened = on_opened, .whole = on_message};

static bool all_through(void)
{
    for (int i = 0; i < options.connections; i++)
        if (connections[i].acknowledged < connections[i].sent || connections[i].last < connections[i].sent)
            return false;
    return true;
}

static void run(uint64_t nanoseconds)
{
    uint64_t ends = now() + nanoseconds, progress = now(), before = 0;

    while (stopping ? !all_through() : now() < ends) {
        loop_turn(100);
        if (tally.deliveries + acknowledged != before)
            progress = now();
        else if ((double)(now() - progress) / 1e9 > options.patience)
            return;
        before = tally.deliveries + acknowledged;
    }
}

static void open_connections(void)
{
    profile = (struct profile){options.path, &options.first, &handler, false};
    connections = calloc((size_t)options.connections, sizeof *connections);
    sent_at = calloc((size_t)options.connections * (size_t)options.window, sizeof *sent_at);
    open_all(connections, options.connections, &profile);
    for (int i = 0; i < options.connections; i++)
        connections[i].message = make_message(options.envelope, connections[i].number);
    for (int i = 0; i < options.connections; i++)
        for (int j = 0; j < options.window; j++)
            send_next(&connections[i]);
}

static void report(void)
{
    report_text("mode", "publish");
    report_text("protocol", options.protocol);
    report_count("connections", (uint64_t)options.connections);
    report_count("window", (uint64_t)options.window);
    report_count("size", (uint64_t)options.size);
    report_count("acknowledged", acknowledged);
    report_count("acknowledged_out_of_order", disordered);
    report_tally();
    report_meter(acknowledged);
    report_latency("", &delays);
    report_end();
}

void run_publish(void)
{
    use_protocol();
    delivered = on_delivered;
    open_connections();
    run((uint64_t)(options.warmup * 1e9));
    tally = (struct tally){0};
    acknowledged = disordered = 0;
    measuring = true;
    meter_start();
    run((uint64_t)(options.seconds * 1e9));
    stopping = true;
    run(0);
    meter_stop();
    for (int i = 0; i < options.connections; i++)
        tally.lost += connections[i].sent - connections[i].last;
    report();
}
