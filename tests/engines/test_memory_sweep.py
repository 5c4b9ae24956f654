"""What perishes is visited in time, by one timer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.engines.memory_sweep import FINEST, VISITS, Sweeper
from tests.engines.clocks import pass_time


class Item:
    """Remembers when it was visited; `deadline` is when it is over."""

    def __init__(self, deadline: float = math.inf) -> None:
        self.due = math.inf
        self.deadline = deadline
        self.visits: list[float] = []

    def give_back(self, now: float) -> float:
        self.visits.append(now)
        return self.deadline if now < self.deadline else math.inf


class CountingClock(Clock):
    """`timers_set`: how many there were."""

    timers_set = 0

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> Any:  # noqa: N802
        self.timers_set += 1
        return super().callLater(delay, callable, *args, **kw)


class SweeperTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = CountingClock()
        self.sweeper = Sweeper(self.clock)

    def timers(self) -> int:
        return len(self.clock.getDelayedCalls())

    def test_visits_in_time(self) -> None:
        """Never before the deadline, and at most a sixteenth of the time after it."""

        @given(st.floats(0, 1e9), st.lists(st.floats(0, 1e8), min_size=1, max_size=20))
        @settings(deadline=None)
        def check(start: float, delays: list[float]) -> None:
            self.setUp()
            self.clock.advance(start)
            items = [Item(start + delay) for delay in delays]
            for item in items:
                self.sweeper.watch(item, item.deadline)
            pass_time(self.clock, 2e8)
            for item, delay in zip(items, delays, strict=True):
                (visit,) = item.visits
                self.assertGreaterEqual(visit, item.deadline)
                self.assertLessEqual(visit, item.deadline + max(FINEST, delay / 16) + 1e-6)
            self.assertEqual(0, self.timers())

        check()

    def test_one_timer(self) -> None:
        """However many things wait; none where nothing waits."""
        items = [Item(float(n)) for n in range(50, 0, -1)]
        for item in items:
            self.sweeper.watch(item, item.deadline)
            self.assertEqual(1, self.timers())
        for item in items:
            self.assertEqual(1, self.timers())
            self.sweeper.forget(item)
        self.assertEqual(0, self.timers())
        pass_time(self.clock, 100)
        self.assertEqual([], [item for item in items if item.visits])

    def test_renewed_again_and_again(self) -> None:
        """Renewing costs nothing: who is renewed is visited once in its time, not once for each renewal."""
        item = Item()
        for _ in range(3600):
            item.deadline = self.clock.seconds() + 60
            self.sweeper.watch(item, item.deadline)
            pass_time(self.clock, 1)
        self.assertLessEqual(len(item.visits), 60)
        pass_time(self.clock, 64)
        self.assertEqual(0, self.timers())
        self.assertGreaterEqual(item.visits[-1], item.deadline)

    def test_an_earlier_deadline(self) -> None:
        """It takes the place of the later one."""
        item, other = Item(), Item(5000.0)
        self.sweeper.watch(other, 5000.0)
        for item.deadline in (1000.0, 100.0, 10.0):
            self.sweeper.watch(item, item.deadline)
        pass_time(self.clock, 9)
        self.assertEqual([], item.visits)
        pass_time(self.clock, 2)
        self.assertEqual(1, len(item.visits))
        pass_time(self.clock, 10000)
        self.assertEqual((1, 1), (len(item.visits), len(other.visits)))

    def test_forgotten_among_others(self) -> None:
        kept, forgotten = Item(10.0), Item(10.0)
        for item in (kept, forgotten):
            self.sweeper.watch(item, 10.0)
        self.sweeper.forget(forgotten)
        self.sweeper.forget(forgotten)
        pass_time(self.clock, 11)
        self.assertEqual((1, 0), (len(kept.visits), len(forgotten.visits)))

    def test_some_in_each_turn(self) -> None:
        """Very many that are due at the same moment leave room for other work of the reactor."""
        items = [Item(10.0) for _ in range(2 * VISITS + 1)]
        for item in items:
            self.sweeper.watch(item, item.deadline)
        self.assertEqual(1, self.clock.timers_set)
        pass_time(self.clock, 11)
        self.assertEqual({1}, {len(item.visits) for item in items})
        self.assertEqual(3, self.clock.timers_set)
        self.assertEqual(0, self.timers())

    def test_used_again_after_it_was_empty(self) -> None:
        for _ in range(2):
            item = Item(self.clock.seconds() + 10)
            self.sweeper.watch(item, item.deadline)
            pass_time(self.clock, 11)
            self.assertEqual(1, len(item.visits))

    def test_stop(self) -> None:
        """No timer is left, and none comes."""
        item, late = Item(10.0), Item(10.0)
        self.sweeper.watch(item, 10.0)
        self.sweeper.stop()
        self.sweeper.watch(late, 5.0)
        self.assertEqual(0, self.timers())
        self.sweeper.forget(item)
        self.sweeper.forget(late)
        self.assertEqual(0, self.timers())
        self.sweeper.stop()
