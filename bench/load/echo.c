/* N connections, each of which sends its next message when one of its own has come back; --window are on their way a
 * connection. */
#include "load.h"

#include <stdlib.h>

static struct histogram delays;
static bool measuring, stopping;
static int waiting;

static void on_opened(struct connection *c) { (void)c; }

static void send_next(struct connection *c)
{
    set_sequence(&c->message, ++c->sent);
    connection_send_later(c, c->message.bytes, c->message.size);
}

/* With a window the delay is that of the one after the next: from when its place became free. */
static void on_delivered(struct connection *c, uint64_t sequence)
{
    if (sequence > c->sent)
        fail("connection %d received what it has not sent", c->number);
    if (measuring)
        note(&delays, received_at - c->started);
    c->started = received_at;
    if (stopping)
        waiting--;
    else
        send_next(c);
}

static const struct handler handler = {.opened = on_opened, .chunk = scan};

static void run(uint64_t nanoseconds)
{
    uint64_t ends = now() + nanoseconds, progress = now(), before = 0;

    while (stopping ? waiting > 0 : now() < ends) {
        loop_turn(100);
        if (tally.deliveries != before)
            progress = now();
        else if ((double)(now() - progress) / 1e9 > options.patience)
            return;
        before = tally.deliveries;
    }
}

void run_echo(void)
{
    struct connection *connections = calloc((size_t)options.connections, sizeof *connections);
    struct profile profile = {options.path, &options.first, &handler, false};

    delivered = on_delivered;
    open_all(connections, options.connections, &profile);
    for (int i = 0; i < options.connections; i++) {
        struct connection *c = &connections[i];

        c->message = make_message(options.envelope, c->number);
        c->started = now();
        for (int j = 0; j < options.window; j++)
            send_next(c);
    }
    run((uint64_t)(options.warmup * 1e9));
    tally = (struct tally){0};
    measuring = true;
    meter_start();
    run((uint64_t)(options.seconds * 1e9));
    waiting = options.connections * options.window;
    stopping = true;
    run(0);
    meter_stop();
    for (int i = 0; i < options.connections; i++)
        tally.lost += connections[i].sent - connections[i].last;
    report_text("mode", "echo");
    report_count("connections", (uint64_t)options.connections);
    report_count("window", (uint64_t)options.window);
    report_count("size", (uint64_t)options.size);
    report_tally();
    report_meter(tally.deliveries);
    report_latency("", &delays);
    report_end();
}
