"""A channel that is empty for a moment is no news."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.model import LifecycleEvent
from realtime_svc.webhooks.occupancy import Occupancy


class OccupancyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[tuple[str, str]] = []
        self.occupancy = Occupancy(self.clock, 3.0, lambda event: self.told.append((event.kind, event.channel)))

    def occupied(self, channel: str = "x") -> None:
        self.occupancy.occupied(LifecycleEvent("occupied", self.clock.seconds(), channel))

    def vacated(self, channel: str = "x") -> None:
        self.occupancy.vacated(LifecycleEvent("vacated", self.clock.seconds(), channel))

    def test_vacated_for_long_enough(self) -> None:
        self.occupied()
        self.vacated()
        self.clock.advance(2.9)
        self.assertEqual(([("occupied", "x")], 1), (self.told, len(self.occupancy)))
        self.clock.advance(0.2)
        self.assertEqual(([("occupied", "x"), ("vacated", "x")], 0), (self.told, len(self.occupancy)))

    def test_occupied_again_in_time(self) -> None:
        """Neither is told, however often; other channels don't matter."""
        self.occupied()
        for _ in range(5):
            self.vacated()
            self.clock.advance(2)
            self.occupied("y")
            self.occupied()
        self.clock.advance(10)
        self.assertEqual([("occupied", "x")], [told for told in self.told if told[1] == "x"])
        self.vacated()
        self.clock.advance(4)
        self.assertEqual(("vacated", "x"), self.told[-1])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_flush(self) -> None:
        for channel in "xy":
            self.vacated(channel)
        self.occupancy.flush()
        self.assertEqual([("vacated", "x"), ("vacated", "y")], self.told)
        self.clock.advance(10)
        self.assertEqual(2, len(self.told))

    def test_vacated_twice_is_told_once(self) -> None:
        self.vacated()
        self.vacated()
        self.clock.advance(10)
        self.assertEqual([("vacated", "x")], self.told)
