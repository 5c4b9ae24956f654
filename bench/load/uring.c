/* The two rings of io_uring, as far as sends need them: nothing waits in the kernel, since the sockets do not block. */
#define _GNU_SOURCE
#include "uring.h"

#include <linux/io_uring.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ENTRIES = 4096 };

static int ring;
static unsigned queued, *tail, tail_mask, *answered_head, *answered_tail, answered_mask;
static struct io_uring_sqe *entries;
static struct io_uring_cqe *answers;

static void *map(size_t size, uint64_t offset)
{
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, (off_t)offset);
}

bool uring_start(void)
{
    struct io_uring_params p = {.flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP};
    char *sent, *done;
    unsigned *order;

    ring = (int)syscall(SYS_io_uring_setup, ENTRIES, &p);
    if (ring < 0)
        return false;
    sent = map(p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
    done = map(p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
    entries = map(p.sq_entries * sizeof *entries, IORING_OFF_SQES);
    if ((void *)sent == MAP_FAILED || (void *)done == MAP_FAILED || (void *)entries == MAP_FAILED)
        return false;
    tail = (unsigned *)(void *)(sent + p.sq_off.tail);
    tail_mask = p.sq_entries - 1;
    order = (unsigned *)(void *)(sent + p.sq_off.array);
    for (unsigned i = 0; i < p.sq_entries; i++)
        order[i] = i;
    answered_head = (unsigned *)(void *)(done + p.cq_off.head);
    answered_tail = (unsigned *)(void *)(done + p.cq_off.tail);
    answered_mask = p.cq_entries - 1;
    answers = (struct io_uring_cqe *)(void *)(done + p.cq_off.cqes);
    return true;
}

bool uring_full(void) { return queued > tail_mask; }

void uring_send(int fd, const void *data, size_t size, void *owner)
{
    struct io_uring_sqe *entry = &entries[(*tail + queued++) & tail_mask];

    memset(entry, 0, sizeof *entry);
    entry->opcode = IORING_OP_SEND;
    entry->fd = fd;
    entry->addr = (uint64_t)(uintptr_t)data;
    entry->len = (unsigned)size;
    entry->msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    entry->user_data = (uint64_t)(uintptr_t)owner;
}

void uring_submit(void (*done)(void *owner, int result))
{
    unsigned count = queued, head = *answered_head;

    if (!count)
        return;
    queued = 0;
    __atomic_store_n(tail, *tail + count, __ATOMIC_RELEASE);
    while (syscall(SYS_io_uring_enter, ring, count, count, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
        ;
    while (head != __atomic_load_n(answered_tail, __ATOMIC_ACQUIRE)) {
        struct io_uring_cqe *answer = &answers[head++ & answered_mask];

        done((void *)(uintptr_t)answer->user_data, answer->res);
    }
    __atomic_store_n(answered_head, head, __ATOMIC_RELEASE);
}
