/* A reconnect storm in the Centrifugo protocol: N clients are subscribed and are cut off, messages are published, and all
 * come back at once, each asking for what it missed. Over when the last has all of it. At the end one more message is
 * published, which all have to get: a recovered subscription is a live one. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct connection *clients, publisher;
static struct message message;
static struct profile present, returning, publisher_profile;
static struct texts connect_only, return_first;
static struct histogram delays;
static char epoch[64];
static uint64_t offset, sent, acknowledged, base, complete, unrecovered;
static bool positioned, measuring;

static void on_published(struct connection *c, uint64_t sequence)
{
    (void)c, (void)sequence;
    acknowledged++;
}

static void on_position(const char *data, size_t size)
{
    const char *at = memmem(data, size, "\"epoch\":\"", 9), *number = memmem(data, size, "\"offset\":", 9);

    if (!at || !number)
        fail("no position in %.*s: the channel has no history", (int)size, data);
    snprintf(epoch, sizeof epoch, "%.*s", (int)strcspn(at + 9, "\""), at + 9);
    offset = strtoul(number + 9, NULL, 10);
    positioned = true;
}

static void on_publisher(struct connection *c, char *data, size_t size, bool squeezed)
{
    (void)squeezed;
    take_lines(c, data, size, on_published);
}

static void on_answer(struct connection *c, uint64_t sequence) { (void)c, (void)sequence; }

static void on_client(struct connection *c, char *data, size_t size, bool squeezed)
{
    (void)squeezed;
    if (memmem(data, size, "\"id\":3,", 7)) {
        on_position(data, size);
        return;
    }
    if (measuring && memmem(data, size, "\"id\":2,", 7) && !memmem(data, size, "\"recovered\":true", 16))
        unrecovered++;
    take_lines(c, data, size, on_answer);
}

static void on_delivered(struct connection *c, uint64_t sequence)
{
    if (sequence != sent)
        return;
    complete++;
    if (measuring)
        note(&delays, received_at - c->started);
}

static void on_opened(struct connection *c)
{
    if (c != &publisher)
        c->last = base;
}

static const struct handler client = {.opened = on_opened, .whole = on_client};
static const struct handler publishing = {.opened = on_opened, .whole = on_publisher};

static void publish(int count)
{
    uint64_t begun = now();

    complete = 0;
    for (int i = 0; i < count; i++) {
        set_sequence(&message, ++sent);
        connection_send(&publisher, message.bytes, message.size);
    }
    while (acknowledged < sent) {
        loop_turn(100);
        if ((double)(now() - begun) / 1e9 > options.patience)
            fail("what is published is not acknowledged");
    }
}

/* Until all have the last that was published. */
static void wait_for_all(void)
{
    uint64_t progress = now(), before = tally.deliveries;

    while (complete < (uint64_t)options.connections && (double)(now() - progress) / 1e9 < options.patience) {
        loop_turn(100);
        if (tally.deliveries != before)
            progress = now();
        before = tally.deliveries;
    }
}

static void ask_position(void)
{
    char text[512];
    unsigned char frame[600];
    int size = snprintf(text, sizeof text, "{\"id\":3,\"history\":{\"channel\":\"%s\",\"limit\":0}}", options.channel);

    connection_send(&clients[0], frame, put_frame(frame, 0x81, text, (size_t)size));
    while (!positioned)
        loop_turn(100);
}

/* They are there, they are gone, and they have missed something. */
static void before_the_storm(void)
{
    connect_only = (struct texts){1, {options.first.at[0]}};
    present = (struct profile){options.path, &options.first, &client, false};
    publisher_profile = (struct profile){options.path, &connect_only, &publishing, false};
    open_all(clients, options.connections, &present);
    options.joined = "\"id\":1,\"connect\"";
    open_all(&publisher, 1, &publisher_profile);
    publish(1);
    wait_for_all();
    base = sent;
    ask_position(); /* where all of them are */
    for (int i = 0; i < options.connections; i++)
        connection_drop(&clients[i]);
    publish(options.history);
    complete = 0;
}

static void storm(void)
{
    static char subscribe[1024];

    snprintf(subscribe, sizeof subscribe,
             "{\"id\":2,\"subscribe\":{\"channel\":\"%s\",\"recover\":true,\"offset\":%llu,\"epoch\":\"%s\"}}",
             options.channel, (unsigned long long)offset, epoch);
    return_first = (struct texts){2, {options.first.at[0], subscribe}};
    returning = (struct profile){options.path, &return_first, &client, false};
    options.joined = NULL; /* as the SDKs do: connect and subscribe are sent together */
    tally = (struct tally){0};
    measuring = true;
    meter_start();
    open_all(clients, options.connections, &returning);
    wait_for_all();
    meter_stop();
    measuring = false;
}

void run_recover(void)
{
    uint64_t recovered;

    options.protocol = "centrifugo";
    use_protocol();
    if (strstr(options.channel, "{n}"))
        fail("--channel: all clients are in one channel, which has history");
    clients = calloc((size_t)options.connections, sizeof *clients);
    message = make_message(options.envelope, 1);
    delivered = on_delivered;
    before_the_storm();
    storm();
    recovered = tally.deliveries;
    publish(1);
    wait_for_all();
    for (int i = 0; i < options.connections; i++)
        tally.lost += sent - clients[i].last;
    report_text("mode", "recover");
    report_count("connections", (uint64_t)options.connections);
    report_count("history", (uint64_t)options.history);
    report_count("recovered", recovered);
    report_count("unrecovered_clients", unrecovered);
    report_tally(); /* the message after it is among them */
    report_meter(recovered);
    report_real("clients_per_second", options.connections / meter_seconds());
    report_latency("", &delays);
    report_end();
}
