"""Who owes a first request: one timer, and each is due when its own time is up."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.transports.arrivals import Arrivals

PATIENCE = 5.0


class Guest:
    def __init__(self, clock: Clock, arrivals: Arrivals) -> None:
        self.cut: float | None = None
        self.friend: Guest | None = None
        self._clock = clock
        self._arrivals = arrivals

    def too_slow(self) -> None:
        self.cut = self._clock.seconds()
        if self.friend is not None:
            self._arrivals.remove(self.friend)


class ArrivalsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.arrivals = Arrivals(self.clock, PATIENCE)

    def guest(self) -> Guest:
        guest = Guest(self.clock, self.arrivals)
        self.arrivals.add(guest)
        return guest

    def test_each_has_its_time(self) -> None:
        """Whoever came later is due later, with one timer for all."""
        guests = []
        for _ in range(10):
            guests.append(self.guest())
            self.clock.advance(0.5)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for _ in range(20):
            self.clock.advance(0.5)
        self.assertEqual([guest.cut for guest in guests], [number * 0.5 + PATIENCE for number in range(10)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_is_served_is_forgotten(self) -> None:
        """Also in the middle, and more than once."""
        first, second, third = self.guest(), self.guest(), self.guest()
        for guest in (second, second, first):
            self.arrivals.remove(guest)
        self.clock.advance(PATIENCE - 1)
        last = self.guest()
        self.clock.advance(1)
        self.assertEqual([guest.cut for guest in (first, second, third, last)], [None, None, PATIENCE, None])
        self.arrivals.remove(last)
        self.clock.advance(PATIENCE)
        self.assertIsNone(last.cut)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_end(self) -> None:
        """With nobody left and nobody to come, there is no timer."""
        guest = self.guest()
        self.arrivals.end()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.arrivals.remove(guest)
        self.arrivals.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_goes_meanwhile(self) -> None:
        """Cutting one may take others along."""
        first, second = self.guest(), self.guest()
        first.friend = second
        self.clock.advance(PATIENCE)
        self.assertEqual((first.cut, second.cut), (PATIENCE, None))
        self.assertEqual(self.clock.getDelayedCalls(), [])
