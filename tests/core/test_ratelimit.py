"""Token buckets that go into debt, and the patience with who stays there."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.core.ratelimit import SHARE, RateLimit, TokenBucket


class TokenBucketTests(SynchronousTestCase):
    """10 events a second, 20 at once, 5 seconds of patience."""

    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.bucket = TokenBucket(RateLimit(10, 20, 5), self.clock)

    def take(self, events: int = 1) -> float:
        return self.bucket.take(events, self.clock)

    def test_burst_is_free(self) -> None:
        self.assertEqual([0.0] * 20, [self.take() for _ in range(20)])
        self.assertEqual(0.1, self.take())

    def test_debt_says_how_long_to_pause(self) -> None:
        """And once it is paid, the next event is free."""
        self.assertEqual(1.0, self.take(30))
        self.clock.advance(1.1)
        self.assertEqual(0.0, self.take())

    def test_debt_is_no_longer_than_the_patience(self) -> None:
        self.assertEqual(5.0, self.take(10_000))

    def test_idle_time_saves_a_burst_at_most(self) -> None:
        self.clock.advance(1000)
        self.assertEqual(0.0, self.take(20))
        self.assertAlmostEqual(0.1, self.take(1))

    def test_rate_can_be_kept_for_ever(self) -> None:
        self.take(20)
        for _ in range(300):
            self.clock.advance(0.125)
            self.assertEqual(0.0, self.take())

    def test_who_pays_the_debt_is_no_flood(self) -> None:
        """Bursts with pauses that pay the debt and save half a burst: it is below the rate now and then."""
        for _ in range(50):
            self.clock.advance(self.take(40) + 1.01)
            self.assertFalse(self.bucket.flooded(self.clock))

    def test_who_is_in_debt_for_longer_than_the_patience_is_a_flood(self) -> None:
        flooded = []
        self.take(21)
        for _ in range(52):
            self.clock.advance(0.1)
            self.take(2)
            flooded.append(self.bucket.flooded(self.clock))
        self.assertEqual([False] * 49, flooded[:49])
        self.assertTrue(flooded[-1])

    def test_zero_is_no_limit(self) -> None:
        bucket = TokenBucket(RateLimit(0, 0, 0), self.clock)
        self.assertEqual((0.0, False), (bucket.take(10**9, self.clock), bucket.flooded(self.clock)))

    @given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 50)), max_size=40))
    def test_pause_is_never_negative_nor_longer_than_the_patience(self, steps: list[tuple[float, int]]) -> None:
        clock: Any = Clock()
        bucket = TokenBucket(RateLimit(10, 20, 5), clock)
        for wait, events in steps:
            clock.advance(wait)
            self.assertTrue(0.0 <= bucket.take(events, clock) <= 5.0)

    @given(st.lists(st.floats(0, 3), max_size=200), st.integers(1, 100))
    def test_who_asks_at_the_last_event_of_a_batch_is_told_no_later(self, waits: list[float], burst: int) -> None:
        """An account that is looked at `ahead` events later says nothing else than one that is looked at for each,
        until it says to pause; and it says so not later, nor with more in store."""
        limit = RateLimit(10, burst, 5)
        clock: Any = Clock()
        exact, batched = TokenBucket(limit, clock), TokenBucket(limit, clock)
        left = batch = batched.ahead
        self.assertTrue(1 <= batch <= max(1, burst // SHARE))
        for wait in waits:
            clock.advance(wait)
            pause = exact.take(1, clock)
            left -= 1
            if left:
                self.assertEqual(0.0, pause)
                continue
            told = batched.take(batch, clock)
            self.assertGreaterEqual(told + 1e-6, pause)
            if told:
                self.assertEqual(1, batched.ahead)
                return
            left = batch = batched.ahead
