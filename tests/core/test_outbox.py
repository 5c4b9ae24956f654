"""What waits for one client: order, bounds in bytes and in time, and what happens when it is to be flushed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.core.outbox import BLOCKED, INDIRECT, MOST_AT_ONCE, WAITING, Outbox
from realtime_svc.core.session import Session
from realtime_svc.wire.frames import Frame, message_frame
from tests.fakes import ALICE, PEER, RAW, FakeTransport, World, limits


class Counting(Session):
    """Counts how often it is told that its client is too slow, and lives on. `outbox` is the one under test."""

    slow = 0
    outbox: Outbox

    def too_slow(self) -> None:
        self.slow += 1

    def blocked(self) -> None:
        self.outbox.block()


def frame(number: int, size: int = 8) -> Frame:
    return message_frame(str(number).encode().rjust(size))


class OutboxTests(SynchronousTestCase):
    """An outbox of 100 bytes and 15 seconds."""

    def setUp(self) -> None:
        self.turn: list[Callable[[], None]] = []
        self.world = World(queue_size=100, stall_timeout=15.0, after_turn=self.turn.append)
        self.clock: Any = self.world.clock
        self.transport = FakeTransport()
        self.transport.session = self.session = Counting(self.world.node, RAW, self.transport, ALICE, PEER)
        self.session.outbox = self.outbox = Outbox(self.session)
        self.flushed = 0

    @property
    def slow(self) -> int:
        return self.session.slow

    def end_turn(self) -> None:
        calls, self.turn[:] = self.turn[:], []
        for call in calls:
            call()

    def flush(self) -> None:
        self.flushed += 1

    def written(self) -> list[int]:
        return [int(frame.payload) for frame in self.transport.frames]

    def test_writes_through(self) -> None:
        """At the end of the turn, in one write; meanwhile nothing may pass by."""
        for number in (1, 2):
            self.outbox.send(frame(number))
            self.assertEqual(([], WAITING), (self.written(), self.session.outlet.holds & ~INDIRECT))
        self.end_turn()
        self.assertEqual(([1, 2], 0, 0), (self.written(), self.outbox.size, self.session.outlet.holds & ~INDIRECT))
        self.assertEqual(1, self.transport.writes)
        self.end_turn()
        self.assertEqual(([1, 2], []), (self.written(), self.turn))

    def test_much_does_not_wait_for_the_end_of_the_turn(self) -> None:
        for number in range(5):
            self.outbox.send(frame(number, MOST_AT_ONCE // 4))
        self.assertEqual([0, 1, 2, 3], self.written())
        self.end_turn()
        self.assertEqual([0, 1, 2, 3, 4], self.written())

    def test_keeps_the_order_behind_what_waits(self) -> None:
        self.outbox.block()
        for number in range(3):
            self.outbox.send(frame(number))
        self.assertEqual(([], 30), (self.written(), self.outbox.size))
        self.outbox.unblock()
        self.outbox.send(frame(3))
        self.end_turn()
        self.assertEqual(([0, 1, 2, 3], 0), (self.written(), self.outbox.size))

    def test_stops_when_the_transport_has_enough_again(self) -> None:
        """It is written to as much at once as makes a large write."""
        self.world.node.limits = limits(queue_size=10 * MOST_AT_ONCE)
        self.outbox.block()
        for number in range(5):
            self.outbox.send(frame(number, MOST_AT_ONCE // 2))
        self.transport.room = 2
        self.outbox.unblock()
        self.assertEqual([0, 1], self.written())
        self.assertEqual(WAITING | BLOCKED | INDIRECT, self.session.outlet.holds)
        self.outbox.send(frame(5))
        self.transport.room = None
        self.outbox.unblock()
        self.assertEqual(([0, 1, 2, 3, 4, 5], 0), (self.written(), self.outbox.size))
        self.assertEqual(INDIRECT, self.session.outlet.holds)

    def test_too_many_bytes(self) -> None:
        """A hundred wait; the next one is too many. What is on its way already does not count."""
        self.outbox.send(frame(0, 5000))
        self.end_turn()
        self.outbox.block()
        for number in range(10):
            self.outbox.send(frame(number))
        self.assertEqual((0, 100), (self.slow, self.outbox.size))
        self.outbox.send(frame(11))
        self.assertEqual(1, self.slow)

    def test_takes_too_long(self) -> None:
        """Counted from when the transport had enough, whether or not something more waits."""
        self.outbox.block()
        self.clock.advance(10)
        self.outbox.block()
        self.clock.advance(4.9)
        self.assertEqual(0, self.slow)
        self.clock.advance(0.2)
        self.assertEqual(1, self.slow)
        self.clock.advance(100)
        self.assertEqual(1, self.slow, "once")

    def test_every_sign_of_life_starts_the_time_anew(self) -> None:
        self.outbox.block()
        self.world.node.limits = limits(queue_size=10 * MOST_AT_ONCE, stall_timeout=15.0)
        for number in range(4):
            self.outbox.send(frame(number, MOST_AT_ONCE))
        for _ in range(4):
            self.clock.advance(14)
            self.transport.room = 1
            self.outbox.unblock()
        self.transport.room = None
        self.outbox.unblock()
        self.assertEqual((0, 4), (self.slow, len(self.written())))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_flushed_at_once_where_nothing_waits(self) -> None:
        self.outbox.when_flushed(self.flush)
        self.outbox.block()
        self.outbox.when_flushed(self.flush)
        self.assertEqual(2, self.flushed)

    def test_flushed_behind_the_last_frame(self) -> None:
        self.outbox.block()
        self.outbox.send(frame(1))
        self.outbox.send(frame(2))
        self.outbox.when_flushed(lambda: self.assertEqual([1, 2], self.written()))
        self.outbox.when_flushed(self.flush)
        self.transport.room = 1
        self.outbox.unblock()
        self.assertEqual(0, self.flushed)
        self.transport.room = None
        self.outbox.unblock()
        self.outbox.unblock()
        self.assertEqual(1, self.flushed, "once")

    def test_drop_forgets_everything(self) -> None:
        self.outbox.block()
        self.outbox.send(frame(1))
        self.outbox.when_flushed(self.flush)
        self.outbox.drop()
        self.clock.advance(100)
        self.outbox.unblock()
        self.assertEqual(([], 0, 0, 0), (self.written(), self.outbox.size, self.flushed, self.slow))
