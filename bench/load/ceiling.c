/* The ceiling: a WebSocket server that does nothing but the system calls. It answers any upgrade; what comes in a frame
 * goes to all other connections in a frame that is built once, one send() each; on a path with "echo" in it, back to the
 * sender. With --batched, what one recv() gave leaves in one send() a connection; with --uring the sends of a publication are one submission. It is no server for anyone else: it
 * trusts its peer, and waits for one that does not read.
 *
 *     ceiling --port 0 [--core N] [--batched] [--uring] [--tls CERTIFICATE KEY]
 */
#define _GNU_SOURCE
#include "handshake.h"
#include "tls.h"
#include "uring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, READ_SIZE = 256 * 1024, MOST = 65536, CONTROL = 8 };

struct peer {
    int fd, place;
    void *tls;
    bool secured, upgraded, echoes;
    char *rest; /* the beginning of a head or frame */
    size_t rest_size;
};

static struct peer *peers[MOST]; /* those that have upgraded */
static int peer_count, epoll_fd;
static bool batched, secure, joined;
static const char *spreading; /* what is sent to many at once, and how much it is */
static size_t spreading_size;
static char buffer[READ_SIZE], out[2 * READ_SIZE];

static _Noreturn void end(const char *what)
{
    perror(what);
    exit(1);
}

static void leave(struct peer *peer)
{
    if (peer->upgraded) {
        peers[peer->place] = peers[--peer_count];
        peers[peer->place]->place = peer->place;
    }
    if (peer->tls)
        tls_free(peer->tls);
    close(peer->fd);
    free(peer->rest);
    free(peer);
}

static void send_all(const struct peer *peer, const char *data, size_t size)
{
    while (size) {
        ssize_t n = peer->tls ? tls_send(peer->tls, data, size) : send(peer->fd, data, size, MSG_NOSIGNAL);

        if (n > 0) {
            data += n;
            size -= (size_t)n;
        } else if (errno == EAGAIN) {
            poll(&(struct pollfd){peer->fd, POLLOUT, 0}, 1, -1);
        } else if (errno != EINTR) {
            return; /* its own event ends it */
        }
    }
}

/* One of many sends has been done, or a part of it. */
static void sent(void *peer, int result)
{
    if (result == -EAGAIN || (result >= 0 && (size_t)result < spreading_size))
        send_all(peer, spreading + (result > 0 ? result : 0), spreading_size - (result > 0 ? (size_t)result : 0));
}

static void spread_joined(const struct peer *from, const char *data, size_t size)
{
    spreading = data;
    spreading_size = size;
    for (int i = 0; i < peer_count; i++) {
        if (peers[i] == from)
            continue;
        if (uring_full())
            uring_submit(sent);
        uring_send(peers[i]->fd, data, size, peers[i]);
    }
    uring_submit(sent);
}

static void spread(const struct peer *from, const char *data, size_t size)
{
    if (from->echoes) {
        send_all(from, data, size);
        return;
    }
    if (joined && !secure) {
        spread_joined(from, data, size);
        return;
    }
    for (int i = 0; i < peer_count; i++)
        if (peers[i] != from)
            send_all(peers[i], data, size);
}

/* A server's frame header for what a client's frame had; returns its size. */
static size_t put_header(char *to, char first, size_t size)
{
    to[0] = first;
    if (size < 126) {
        to[1] = (char)size;
        return 2;
    }
    if (size > 65535)
        end("frame too long");
    to[1] = 126;
    to[2] = (char)(size >> 8);
    to[3] = (char)size;
    return 4;
}

/* The frames in data; returns how many bytes they are. A frame of control is dropped. */
static size_t take_frames(const struct peer *from, const char *data, size_t size)
{
    size_t at = 0, made = 0;

    while (size - at >= 6) {
        const char *frame = data + at;
        size_t length = frame[1] & 127, head = 2;

        if (length == 126) {
            length = (size_t)(unsigned char)frame[2] << 8 | (unsigned char)frame[3];
            head = 4;
        }
        if (length == 127)
            end("frame too long");
        if (size - at < head + 4 + length)
            break;
        at += head + 4 + length;
        if (frame[0] & CONTROL)
            continue;
        if (made + length + 4 > sizeof out || (!batched && made)) {
            spread(from, out, made);
            made = 0;
        }
        made += put_header(out + made, frame[0], length);
        for (size_t i = 0; i < length; i++)
            out[made++] = frame[head + 4 + i] ^ frame[head + (i & 3)];
    }
    if (made)
        spread(from, out, made);
    return at;
}

static size_t take_head(struct peer *peer, char *data, size_t size)
{
    static const char name[] = "\nSec-WebSocket-Key: ";
    char *head_end = memmem(data, size, "\r\n\r\n", 4), *key, accept[ACCEPT_LENGTH + 1], answer[256];
    int length;

    if (!head_end)
        return 0;
    *head_end = 0;
    key = strcasestr(data, name);
    if (!key)
        end("a request without Sec-WebSocket-Key");
    accept_for(key + sizeof name - 1, accept);
    length = snprintf(answer, sizeof answer,
                      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      "Sec-WebSocket-Accept: %s\r\n\r\n",
                      accept);
    peer->echoes = memmem(data, strcspn(data, "\r"), "echo", 4) != NULL;
    peer->upgraded = true;
    peer->place = peer_count;
    peers[peer_count++] = peer;
    send_all(peer, answer, (size_t)length);
    return (size_t)(head_end + 4 - data);
}

static size_t take(struct peer *peer, char *data, size_t size)
{
    size_t used = 0;

    if (!peer->upgraded)
        used = take_head(peer, data, size);
    return peer->upgraded ? used + take_frames(peer, data + used, size - used) : 0;
}

/* False: it is gone. */
static bool receive(struct peer *peer)
{
    size_t before = peer->rest_size, used, size;
    ssize_t n;

    if (before)
        memcpy(buffer, peer->rest, before);
    n = peer->tls ? tls_receive(peer->tls, buffer + before, sizeof buffer - before)
                  : recv(peer->fd, buffer + before, sizeof buffer - before, 0);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    size = before + (size_t)n;
    used = take(peer, buffer, size);
    peer->rest_size = size - used;
    if (peer->rest_size) {
        peer->rest = realloc(peer->rest, peer->rest_size);
        memcpy(peer->rest, buffer + used, peer->rest_size);
    }
    return peer->tls && tls_pending(peer->tls) ? receive(peer) : true;
}

static void ready(struct peer *peer)
{
    if (peer->tls && !peer->secured) {
        int done = tls_handshake(peer->tls);

        if (done < 0)
            leave(peer);
        if (done <= 0)
            return;
        peer->secured = true;
    }
    if (!receive(peer))
        leave(peer);
}

static void accept_all(int listener)
{
    int fd, on = 1;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct peer *peer = calloc(1, sizeof *peer);
        struct epoll_event event = {EPOLLIN | EPOLLRDHUP, {.ptr = peer}};

        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        peer->fd = fd;
        peer->tls = secure ? tls_open(fd) : NULL;
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static int listen_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct epoll_event event = {EPOLLIN, {.ptr = NULL}};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1024))
        end("listen");
    getsockname(fd, (struct sockaddr *)&address, &size);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void pin(int core)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set))
        end("--core");
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    int port = 0, listener;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--batched"))
            batched = true;
        else if (!strcmp(argv[i], "--uring"))
            joined = uring_start() || (end("io_uring"), false);
        else if (!strcmp(argv[i], "--port") && i + 1 < argc)
            port = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--core") && i + 1 < argc)
            pin(atoi(argv[++i]));
        else if (!strcmp(argv[i], "--tls") && i + 2 < argc)
            tls_start_server(argv[i + 1], argv[i + 2]), secure = true, i += 2;
        else
            return fputs("ceiling --port N [--core N] [--batched] [--uring] [--tls CERTIFICATE KEY]\n", stderr), 2;
    }
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    listener = listen_on(port);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);

        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                ready(events[i].data.ptr);
            else
                accept_all(listener);
        }
    }
}
