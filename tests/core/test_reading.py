"""What makes a session stop reading, and go on."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.core.reading import Hold, Reading
from tests.fakes import FakeTransport


class ReadingTests(SynchronousTestCase):
    """Several reasons at once."""

    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.transport = FakeTransport()
        self.worked_off = 0
        self.reading = Reading(self.transport, self.clock, self.work_off)

    def work_off(self) -> None:
        self.worked_off += 1

    def test_line_is_worked_off_before_reading_goes_on(self) -> None:
        """When what waits in line is the last reason."""
        self.reading.hold(Hold.RATE, 1.0)
        self.reading.hold(Hold.ERRORS, 2.0)
        self.reading.pause(Hold.BACKLOG)
        self.clock.advance(1.5)
        self.assertEqual((True, 0), (self.reading.throttled, self.worked_off))
        self.clock.advance(1)
        self.assertEqual((False, 1, ["pause"]), (self.reading.throttled, self.worked_off, self.transport.events))

    def test_reads(self) -> None:
        self.assertTrue(self.reading)
        self.reading.resume(Hold.RATE)
        self.assertEqual([], self.transport.events)

    def test_hold_ends_by_itself(self) -> None:
        self.reading.hold(Hold.RATE, 2.0)
        self.assertFalse(self.reading)
        self.clock.advance(1.9)
        self.assertEqual(["pause"], self.transport.events)
        self.clock.advance(0.2)
        self.assertEqual(["pause", "resume"], self.transport.events)

    def test_goes_on_when_the_last_reason_is_gone(self) -> None:
        self.reading.hold(Hold.RATE, 1.0)
        self.reading.hold(Hold.FRAMES, 3.0)
        self.reading.pause(Hold.BACKLOG)
        self.clock.advance(2)
        self.reading.resume(Hold.BACKLOG)
        self.assertEqual(["pause"], self.transport.events)
        self.clock.advance(2)
        self.assertEqual(["pause", "resume"], self.transport.events)

    def test_reason_that_holds_already_is_not_prolonged(self) -> None:
        self.reading.hold(Hold.RATE, 1.0)
        self.reading.hold(Hold.RATE, 50.0)
        self.clock.advance(1)
        self.assertTrue(self.reading)

    def test_released_for_good(self) -> None:
        """A session that closes reads whatever comes."""
        self.reading.hold(Hold.RATE, 1.0)
        self.reading.release()
        self.reading.pause(Hold.BACKLOG)
        self.reading.hold(Hold.ERRORS, 1.0)
        self.clock.advance(5)
        self.assertEqual(["pause", "resume"], self.transport.events)

    def test_release_of_one_that_reads(self) -> None:
        self.reading.release()
        self.assertEqual([], self.transport.events)
