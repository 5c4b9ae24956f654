/* The sockets: connecting, sending, receiving, ending, and the loop around epoll. */
#define _GNU_SOURCE
#include "load.h"
#include "connection.h"
#include "tls.h"
#include "uring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 512, READ_SIZE = 256 * 1024 };

uint64_t received_at, reads;
int opening;
void (*between_events)(void);

static int epoll_fd;
static char buffer[READ_SIZE];

void loop_start(void)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (options.uring && !uring_start())
        fail("--uring: this kernel has it not, or does not allow it");
    opening_start();
}

void append(char **to, size_t *size, size_t *room, const void *data, size_t more)
{
    if (*size + more > *room) {
        *room = *size + more < 1024 ? 1024 : 2 * (*size + more);
        *to = realloc(*to, *room);
    }
    memcpy(*to + *size, data, more);
    *size += more;
}

void connection_drop(struct connection *c)
{
    struct linger at_once = {1, 0};

    if (c->state == CLOSED)
        return;
    opening -= c->state != OPEN;
    c->state = CLOSED;
    if (c->tls)
        tls_free(c->tls);
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c->control);
    c->in = c->out = c->control = NULL;
}

void connection_end(struct connection *c, const char *why)
{
    if (c->state == CLOSED)
        return;
    if (!c->profile->handler->ended)
        fail("connection %d to %s: %s", c->number, c->profile->path, why);
    connection_drop(c);
    c->profile->handler->ended(c, why);
}

/* Each event is told once, and a read that brings less than it could has brought all: but TLS does not say how much that
 * was. There it is told until it is read. */
void connection_watch(struct connection *c, int operation, uint32_t more)
{
    struct epoll_event event = {EPOLLIN | EPOLLRDHUP | (options.tls ? 0 : EPOLLET) | more, {.ptr = c}};

    c->watches_output = more & EPOLLOUT;
    if (epoll_ctl(epoll_fd, operation, c->fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
}

void connection_start(struct connection *c, const struct profile *profile, int number)
{
    static int source;
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    struct sockaddr_in own = {.sin_family = AF_INET};
    int on = 1, failed;

    memset(c, 0, sizeof *c);
    c->profile = profile;
    c->number = number;
    c->started = now();
    c->state = CONNECTING;
    opening++;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("socket: %s", strerror(errno));
    if (inet_pton(AF_INET, options.host, &server.sin_addr) != 1)
        fail("--host is not a numeric IPv4 address");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (options.sources > 1 && !strncmp(options.host, "127.", 4)) { /* more ports than one address has */
        own.sin_addr.s_addr = htonl(0x7f000001u + (uint32_t)(source++ % options.sources));
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(c->fd, (struct sockaddr *)&own, sizeof own))
            fail("bind: %s", strerror(errno));
    }
    failed = connect(c->fd, (struct sockaddr *)&server, sizeof server);
    if (failed && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    connection_watch(c, EPOLL_CTL_ADD, failed ? EPOLLOUT : 0);
    if (!failed) /* over loopback it is there at once */
        opening_connected(c);
}

static void flush(struct connection *c, const void *data, size_t size)
{
    size_t sent = 0;

    while (sent < size) {
        ssize_t n = c->tls ? tls_send(c->tls, (const char *)data + sent, size - sent)
                           : send(c->fd, (const char *)data + sent, size - sent, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break; /* later, or reading finds out what is wrong */
        sent += (size_t)n;
    }
    if (data == c->out) {
        memmove(c->out, c->out + sent, c->out_size - sent);
        c->out_size -= sent;
        if (!c->out_size && options.tls)
            connection_watch(c, EPOLL_CTL_MOD, 0);
    } else if (sent < size) {
        append(&c->out, &c->out_size, &c->out_room, (const char *)data + sent, size - sent);
        if (!c->watches_output)
            connection_watch(c, EPOLL_CTL_MOD, EPOLLOUT);
    }
}

/* What is left of a send that was not done, or not in full. */
static void sent(void *owner, int result)
{
    struct connection *c = owner;
    size_t done = result > 0 ? (size_t)result : 0;

    if (c->state != CLOSED && done < c->later_size)
        connection_send(c, c->later + done, c->later_size - done);
}

void connection_send(struct connection *c, const void *data, size_t size)
{
    if (c->out_size)
        append(&c->out, &c->out_size, &c->out_room, data, size);
    else
        flush(c, data, size);
}

void connection_send_later(struct connection *c, const void *data, size_t size)
{
    if (!options.uring || c->tls || c->out_size) {
        connection_send(c, data, size);
        return;
    }
    if (uring_full())
        uring_submit(sent);
    c->later = data;
    c->later_size = size;
    uring_send(c->fd, data, size, c);
}

static void receive(struct connection *c)
{
    while (c->state >= ASKING) {
        ssize_t n = c->tls ? tls_receive(c->tls, buffer, sizeof buffer) : recv(c->fd, buffer, sizeof buffer, 0);

        if (n > 0) {
            received_at = now();
            reads++;
            connection_take(c, buffer, (size_t)n);
            if (c->state == CLOSED || (c->tls ? !tls_pending(c->tls) : (size_t)n < sizeof buffer))
                return; /* that was all: what comes next is told again */
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            connection_end(c, n ? strerror(errno) : "ended by the server");
        } else if (errno == EAGAIN) {
            return;
        }
    }
}

static void ready(struct connection *c, uint32_t events)
{
    if (c->state == CONNECTING && events & (EPOLLERR | EPOLLHUP))
        connection_end(c, "could not connect");
    else if (c->state == CONNECTING)
        opening_connected(c);
    else if (c->state == SECURING)
        opening_secure(c);
    if (c->state >= ASKING && c->out_size)
        flush(c, c->out, c->out_size);
    if (c->state >= ASKING && (c->tls || events & ~(uint32_t)EPOLLOUT))
        receive(c);
}

void connection_ready(struct connection *c)
{
    if (c->state == OPEN)
        receive(c);
}

void loop_turn(int milliseconds)
{
    struct epoll_event events[EVENTS];
    int count;

    if (options.uring)
        uring_submit(sent);
    count = epoll_wait(epoll_fd, events, EVENTS, milliseconds);
    for (int i = 0; i < count; i++) {
        ready(events[i].data.ptr, events[i].events);
        if (between_events && i % 64 == 63)
            between_events();
    }
}

void open_all(struct connection *connections, int count, const struct profile *profile)
{
    int started = 0, before = 0;
    uint64_t progress = now();

    while (started < count || opening) {
        while (started < count && opening < options.concurrency)
            connection_start(&connections[started], profile, started + 1), started++;
        loop_turn(100);
        if (started - opening != before)
            progress = now();
        before = started - opening;
        if ((double)(now() - progress) / 1e9 > options.patience)
            fail("%d of %d connections to %s did not get ready; the last answer was %s", count - before, count,
                 profile->path, last_answer);
    }
}
