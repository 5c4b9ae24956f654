/* One publishes, N receive. A publication is on its way until all have it (or it is known to be lost for them); at most
 * --window are at a time. With --probe-path a pair on another channel measures the delay of its own messages meanwhile.
 */
#define _GNU_SOURCE
#include "load.h"

#include <stdlib.h>
#include <string.h>

enum { RING = 65536 }; /* publications whose times are known; the window is smaller */

static struct connection *subscribers, publisher, probe_in, probe_out;
static struct message publication, probe;
static uint64_t sent, completed, sent_at[RING], probe_sent_at, probe_sequence, probe_due;
static int missing[RING];
static struct histogram delays, probe_delays;
static bool measuring;
static unsigned char *together;

static void on_opened(struct connection *c) { (void)c; }

static void ignore(struct connection *c, const char *data, size_t size) { (void)c, (void)data, (void)size; }

static void on_delivered(struct connection *c, uint64_t sequence)
{
    if (sequence > sent)
        fail("connection %d received a message that was not sent", c->number);
    missing[sequence % RING]--;
    while (completed < sent && missing[(completed + 1) % RING] <= 0)
        completed++;
    if (measuring)
        note(&delays, received_at - sent_at[sequence % RING]);
}

static void on_probe(struct connection *c, const char *data, size_t size)
{
    (void)c;
    if (probe_sent_at && memmem(data, size, MARKER, strlen(MARKER))) {
        if (measuring)
            note(&probe_delays, received_at - probe_sent_at);
        probe_sent_at = 0;
        probe_due = received_at + (uint64_t)options.probe_every * 1000000;
    }
}

/* The other channel: its answer is looked for between the events of the many, so that they don't delay it here. */
static void do_probe(void)
{
    if (probe_sent_at) {
        connection_ready(&probe_in);
        if (probe_sent_at && (double)(now() - probe_sent_at) / 1e9 > options.patience)
            fail("a message on %s did not arrive", options.probe_path);
    } else if (now() >= probe_due) {
        set_sequence(&probe, ++probe_sequence);
        probe_sent_at = now();
        connection_send(&probe_out, probe.bytes, probe.size);
    }
}

static const struct handler subscribing = {.opened = on_opened, .chunk = scan};
static const struct handler squeezed = {.opened = on_opened, .whole = scan_squeezed};
static const struct handler publishing = {.opened = on_opened, .chunk = ignore};
static const struct handler probing = {.opened = on_opened, .chunk = on_probe};
static struct profile subscriber_profile, publisher_profile, probe_profile, probe_out_profile;

/* As many as the window allows leave in one send. */
static void publish(uint64_t most)
{
    size_t size = 0;
    uint64_t at = now();

    for (; sent < most && sent - completed < (uint64_t)options.window; size += publication.size) {
        set_sequence(&publication, ++sent);
        memcpy(together + size, publication.bytes, publication.size);
        missing[sent % RING] = options.connections;
        sent_at[sent % RING] = at;
    }
    if (size)
        connection_send(&publisher, together, size);
}

static bool all_have(uint64_t sequence)
{
    for (int i = 0; i < options.connections; i++)
        if (subscribers[i].last < sequence)
            return false;
    return true;
}

/* Publish until each has received something: how a server tells that a subscription is in force differs. Again only when
 * nothing of what was published comes any more, so that a slow server is not buried. */
static void prime(void)
{
    uint64_t begun = now(), quiet_since = 0, before = 0;

    while (!all_have(1)) {
        if (tally.deliveries != before)
            quiet_since = now();
        before = tally.deliveries;
        if (now() - quiet_since > 250000000) {
            completed = sent;
            publish(sent + 1);
            quiet_since = now();
        }
        loop_turn(10);
        if ((double)(now() - begun) / 1e9 > options.patience)
            fail("not all subscribers receive what is published");
    }
    completed = sent;
}

/* Keep the window full until `ends`, or until number `most` has arrived everywhere; false: it came to a halt. */
static bool run(uint64_t ends, uint64_t most)
{
    uint64_t before = 0, progress = now();

    while (completed < most && now() < ends) {
        publish(most);
        if (probe_in.state == OPEN)
            do_probe();
        loop_turn(probe_in.state == OPEN ? 1 : 100);
        if (tally.deliveries != before)
            progress = now();
        else if ((double)(now() - progress) / 1e9 > options.patience)
            return false;
        before = tally.deliveries;
    }
    return true;
}

static void open_connections(void)
{
    subscriber_profile = (struct profile){options.path, &options.first, options.deflate ? &squeezed : &subscribing, options.deflate};
    publisher_profile = (struct profile){options.publisher_path, &options.publisher_first, &publishing, false};
    probe_profile = (struct profile){options.probe_path, &options.probe_first, &probing, false};
    probe_out_profile = (struct profile){options.probe_path, &options.probe_first, &publishing, false};
    open_all(subscribers, options.connections, &subscriber_profile);
    open_all(&publisher, 1, &publisher_profile);
    if (options.probe_path) {
        open_all(&probe_in, 1, &probe_profile);
        open_all(&probe_out, 1, &probe_out_profile);
        between_events = do_probe;
    }
}

/* What never came, although what came later did not come either. */
static void count_tails(void)
{
    for (int i = 0; i < options.connections; i++)
        tally.lost += sent - subscribers[i].last;
}

static void report(uint64_t publications, uint64_t reads_before)
{
    report_text("mode", "fanout");
    report_count("subscribers", (uint64_t)options.connections);
    report_count("window", (uint64_t)options.window);
    report_count("size", (uint64_t)options.size);
    report_count("publications", publications);
    report_tally();
    report_meter(tally.deliveries);
    report_latency("", &delays);
    report_real("deliveries_per_read", (double)tally.deliveries / (double)(reads - reads_before + 1));
    if (options.probe_path) {
        report_count("probes", probe_delays.total);
        report_latency("probe_", &probe_delays);
    }
    if (options.deflate)
        report_squeezed();
    report_end();
}

void run_fanout(void)
{
    uint64_t first, reads_before, forever = UINT64_MAX;

    if (options.window > RING / 2)
        fail("--window is at most %d", RING / 2);
    subscribers = calloc((size_t)options.connections, sizeof *subscribers);
    publication = make_message(options.envelope, 1);
    probe = make_message(options.envelope, 1);
    together = malloc(publication.size * (size_t)options.window);
    delivered = on_delivered;
    open_connections();
    prime();
    run(now() + (uint64_t)(options.warmup * 1e9), forever);
    run(forever, sent);
    tally = (struct tally){0};
    first = sent;
    reads_before = reads;
    reset_squeezed();
    measuring = true;
    meter_start();
    run(options.count ? forever : now() + (uint64_t)(options.seconds * 1e9), options.count ? first + (uint64_t)options.count : forever);
    run(forever, sent);
    meter_stop();
    count_tails();
    report(sent - first, reads_before);
}
