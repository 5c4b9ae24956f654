/* N connections are held, and do nothing but answer pings. Who measures says on stdin what comes next: a line of any text
 * publishes one message, which all have to get; the end of the input ends the run. */
#include "load.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct connection *connections, publisher;
static struct message message;
static uint64_t sequence, arrived;

static void on_opened(struct connection *c) { (void)c; }

static void on_delivered(struct connection *c, uint64_t number)
{
    (void)c;
    arrived += number == sequence;
}

static void ignore(struct connection *c, const char *data, size_t size) { (void)c, (void)data, (void)size; }

static const struct handler holding = {.opened = on_opened, .chunk = scan};
static const struct handler squeezed = {.opened = on_opened, .whole = scan_squeezed};
static const struct handler publishing = {.opened = on_opened, .chunk = ignore};

static void publish(void)
{
    uint64_t begun = now();

    arrived = 0;
    set_sequence(&message, ++sequence);
    connection_send(&publisher, message.bytes, message.size);
    while (arrived < (uint64_t)options.connections && (double)(now() - begun) / 1e9 < options.patience)
        loop_turn(100);
    report_text("mode", "idle");
    report_count("delivered", arrived);
    report_real("seconds", (double)(now() - begun) / 1e9);
    report_end();
}

/* False: the input has ended. */
static bool take_line(void)
{
    char line[256];
    ssize_t size = read(STDIN_FILENO, line, sizeof line);

    for (ssize_t i = 0; i < size; i++)
        if (line[i] == '\n')
            publish();
    return size != 0;
}

void run_idle(void)
{
    struct profile profile = {options.path, &options.first, options.deflate ? &squeezed : &holding, options.deflate};
    struct profile publisher_profile = {options.publisher_path, &options.publisher_first, &publishing, false};
    uint64_t begun;

    delivered = on_delivered;
    message = make_message(options.envelope, 1);
    connections = calloc((size_t)options.connections, sizeof *connections);
    begun = now();
    open_all(connections, options.connections, &profile);
    report_text("mode", "idle");
    report_count("held", (uint64_t)options.connections);
    report_real("seconds", (double)(now() - begun) / 1e9);
    report_end();
    open_all(&publisher, 1, &publisher_profile);
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    while (take_line())
        loop_turn(50);
}
