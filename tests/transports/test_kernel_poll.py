"""What tells which sockets can be read, and reads them: the compiled kernel and its twin do the same."""

from __future__ import annotations

import errno
import gc
import os
import select
import socket
import weakref

from realtime_svc.transports.kernel import Poll
from tests.transports.kernels import KernelCase, OnCompiled, OnTwin, wait_for

MOST = 64 * 1024


class Reader:
    """Something that can be in a cycle and seen to go."""

    def __init__(self, poll: Poll | None = None) -> None:
        self.poll = poll


class PollContract(KernelCase):
    """A set of descriptors."""

    def make(self) -> Poll:
        poll = self.kernel.Poll()
        self.addCleanup(poll.close)
        return poll

    def watched(self, poll: Poll, reader: object, straight: bool = True) -> tuple[socket.socket, socket.socket]:
        near, far = self.pair()
        poll.add(near.fileno(), reader, straight)
        return near, far

    def test_reads_what_is_there_and_says_whose_it_is(self) -> None:
        poll = self.make()
        ends = [self.watched(poll, reader) for reader in ("a", "b", "c")]
        self.assertEqual([], poll.poll())
        ends[0][1].send(b"one")
        ends[2][1].send(b"two")
        self.assertEqual({("a", b"one"), ("c", b"two")}, set(poll.poll()))
        self.assertEqual([], poll.poll())

    def test_reads_at_most_64_kib_at_once_and_the_rest_next_time(self) -> None:
        poll = self.make()
        _, far = self.watched(poll, "r")
        sent = far.send(bytes(MOST + 5))
        self.assertEqual(MOST + 5, sent)
        sizes = [len(data) for _, data in poll.poll() + poll.poll() if isinstance(data, bytes)]
        self.assertEqual([MOST, 5], sizes)

    def test_empty_bytes_at_the_end_again_and_again(self) -> None:
        poll = self.make()
        near, far = self.watched(poll, "r")
        far.send(b"last")
        far.shutdown(socket.SHUT_WR)
        self.assertEqual([[("r", b"last")], [("r", b"")], [("r", b"")]], [poll.poll(), poll.poll(), poll.poll()])
        poll.remove(near.fileno())
        self.assertEqual([], poll.poll())

    def test_errno_of_a_connection_that_was_reset(self) -> None:
        poll = self.make()
        near = self.reset_pair()
        poll.add(near.fileno(), "r", True)
        self.assertEqual([("r", errno.ECONNRESET)], poll.poll())
        self.assertEqual([("r", b"")], poll.poll())

    def test_only_tells_where_it_is_not_to_read(self) -> None:
        poll = self.make()
        near, far = self.watched(poll, "r", straight=False)
        far.send(b"data")
        self.assertEqual([[("r", None)], [("r", None)]], [poll.poll(), poll.poll()])
        self.assertEqual(b"data", near.recv(100))
        self.assertEqual([], poll.poll())
        far.close()
        self.assertEqual([("r", None)], poll.poll())

    def test_tells_of_a_hang_up_with_nothing_to_read(self) -> None:
        poll = self.make()
        reading, writing = os.pipe()
        self.addCleanup(os.close, writing)
        poll.add(writing, "r", True)
        self.assertEqual([], poll.poll())
        os.close(reading)
        self.assertEqual([("r", None)], poll.poll())

    def test_tells_of_so_many_and_of_the_others_next_time(self) -> None:
        poll = self.make()
        for reader in range(5):
            self.watched(poll, reader)[1].send(b"x")
        first, second = poll.poll(3), poll.poll(most=3)
        self.assertEqual((3, 2), (len(first), len(second)))
        self.assertEqual(set(range(5)), {reader for reader, _ in first + second})
        for most in (0, -1):
            with self.assertRaises(ValueError):
                poll.poll(most)

    def test_removed_and_added_again(self) -> None:
        poll = self.make()
        near, far = self.watched(poll, "first")
        far.send(b"x")
        poll.remove(near.fileno())
        self.assertEqual([], poll.poll())
        poll.add(near.fileno(), "second", False)
        self.assertEqual([("second", None)], poll.poll())

    def test_removing_what_is_not_there_does_nothing(self) -> None:
        poll = self.make()
        near, far = self.watched(poll, "r")
        for fd in (far.fileno(), -1, 1 << 20, 1 << 80):
            poll.remove(fd)
        number = near.fileno()
        near.close()
        poll.remove(number)
        poll.remove(number)
        self.assertEqual([], poll.poll())

    def test_descriptor_closed_without_removing_it_may_come_again_as_another(self) -> None:
        poll = self.make()
        again, far = self.pair()
        near, _ = self.watched(poll, "old")
        number = near.fileno()
        near.close()
        os.dup2(again.fileno(), number)
        self.addCleanup(os.close, number)
        poll.add(number, "new", True)
        far.send(b"x")
        self.assertEqual([("new", b"x")], poll.poll())
        poll.remove(number)

    def test_refuses_what_it_cannot_watch(self) -> None:
        poll = self.make()
        near, _ = self.watched(poll, "r")
        with self.assertRaises(FileExistsError):
            poll.add(near.fileno(), "other", True)
        number = near.fileno()
        near.close()
        with self.assertRaises(OSError) as caught:
            poll.add(number, "r", True)
        self.assertEqual(errno.EBADF, caught.exception.errno)
        with self.assertRaises(ValueError):
            poll.add(-1, "r", True)

    def test_its_own_descriptor_is_readable_while_something_is_there(self) -> None:
        poll = self.make()
        _, far = self.watched(poll, "r")
        self.assertEqual(([], [], []), select.select([poll.fileno()], [], [], 0))
        far.send(b"x")
        self.assertEqual(([poll.fileno()], [], []), select.select([poll.fileno()], [], [], 0))

    def test_closed(self) -> None:
        poll = self.make()
        near, _ = self.watched(poll, "r")
        number = poll.fileno()
        poll.close()
        poll.close()
        poll.remove(near.fileno())
        with self.assertRaises(OSError):
            os.fstat(number)
        for call in (poll.fileno, poll.poll, lambda: poll.add(near.fileno(), "r", True)):
            with self.assertRaises(ValueError):
                call()

    def test_gives_up_descriptor_and_readers_with_itself(self) -> None:
        poll = self.kernel.Poll()
        reader = Reader()
        seen = weakref.ref(reader)
        number = poll.fileno()
        self.watched(poll, reader)
        del reader
        gc.collect()
        self.assertIsNotNone(seen())
        del poll
        self.assertIsNone(seen())
        with self.assertRaises(OSError):
            os.fstat(number)

    def test_reader_is_given_up_when_removed_or_closed(self) -> None:
        poll = self.make()
        reader, other = Reader(), Reader()
        seen, seen_other = weakref.ref(reader), weakref.ref(other)
        near, far = self.watched(poll, reader)
        self.watched(poll, other)
        far.send(b"x")
        poll.poll()
        del reader, other
        poll.remove(near.fileno())
        self.assertIsNone(seen())
        poll.close()
        self.assertIsNone(seen_other())

    def test_cycle_through_a_reader_is_collected(self) -> None:
        poll = self.kernel.Poll()
        reader = Reader(poll)
        seen = weakref.ref(reader)
        self.watched(poll, reader)
        del poll, reader
        gc.collect()
        self.assertIsNone(seen())

    def test_over_tcp(self) -> None:
        poll = self.make()
        near, far = self.tcp_pair()
        poll.add(near.fileno(), "r", True)
        far.send(b"hello")
        wait_for(near, select.POLLIN)
        self.assertEqual([("r", b"hello")], poll.poll())
        far.close()
        wait_for(near, select.POLLIN)
        self.assertEqual([("r", b"")], poll.poll())


class TwinPollTests(PollContract, OnTwin):
    """In Python."""


class CompiledPollTests(PollContract, OnCompiled):
    """Compiled."""
