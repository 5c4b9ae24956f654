/* As many connections a second as possible: opened, answered with 101 (and joined, if that is asked for), reset. */
#include "load.h"
#include "tls.h"

#include <stdio.h>
#include <stdlib.h>

static struct connection *connections;
static struct profile profile;
static struct histogram delays;
static uint64_t accepted, failed, resumed;
static bool measuring;
static char first_failure[200];

/* In TLS 1.3 the ticket comes after the handshake: the first connections wait for it. */
static bool counts(void) { return !options.resume || tls_can_resume(); }

static void on_opened(struct connection *c)
{
    if (!counts())
        return;
    accepted++;
    resumed += options.tls && tls_resumed(c->tls);
    if (measuring)
        note(&delays, received_at - c->started);
}

static void on_ended(struct connection *c, const char *why)
{
    (void)c;
    if (!failed++)
        snprintf(first_failure, sizeof first_failure, "%s", why);
}

static void ignore(struct connection *c, const char *data, size_t size) { (void)c, (void)data, (void)size; }

static const struct handler handler = {.opened = on_opened, .chunk = ignore, .ended = on_ended};

static void run(double seconds)
{
    uint64_t ends = now() + (uint64_t)(seconds * 1e9);

    while (now() < ends) {
        loop_turn(100);
        for (int i = 0; i < options.concurrency; i++) {
            struct connection *c = &connections[i];

            if (c->state == OPEN && counts())
                connection_drop(c);
            if (c->state == CLOSED)
                connection_start(c, &profile, c->number);
        }
    }
}

void run_connect(void)
{
    connections = calloc((size_t)options.concurrency, sizeof *connections);
    profile = (struct profile){options.path, &options.first, &handler, false};
    for (int i = 0; i < options.concurrency; i++)
        connection_start(&connections[i], &profile, i + 1);
    run(options.warmup);
    accepted = failed = resumed = 0;
    measuring = true;
    meter_start();
    run(options.seconds);
    meter_stop();
    report_text("mode", "connect");
    report_count("concurrency", (uint64_t)options.concurrency);
    report_count("accepted", accepted);
    report_count("failed", failed);
    if (failed)
        report_text("first_failure", first_failure);
    report_meter(accepted);
    report_latency("", &delays);
    if (options.tls)
        report_count("resumed", resumed);
    report_end();
}
