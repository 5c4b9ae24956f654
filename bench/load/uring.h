/* Many sends in one system call, by io_uring (Linux 5.19 or later), without its library. */
#ifndef URING_H
#define URING_H

#include <stdbool.h>
#include <stddef.h>

/* False where the kernel has no io_uring, or does not allow it. */
bool uring_start(void);

/* Is there no room for another send? */
bool uring_full(void);

/* To be sent with the next submission; `data` has to stay as it is until then. */
void uring_send(int fd, const void *data, size_t size, void *owner);

/* Send them all; `done` is told of each, in order, what send(2) would have returned, or -errno. */
void uring_submit(void (*done)(void *owner, int result));

#endif
