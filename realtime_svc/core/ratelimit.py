"""Rates that clients must keep, as token buckets that may go into debt.

A client above its rate is not refused: reading from it pauses until the debt is paid, so TCP slows it down. After the
pause its account is even, whatever it has in store. So a flood is told by time: the account is in debt now and was in
debt longer than `patience` ago, and at no moment between was half of the burst free again.

Looking at the clock for every event costs more than many an event. So `ahead` events may be counted first and accounted
for together when the last of them comes: they can't be too many. They count as if all had come just then, so nobody
gets more that way; who comes back after a pause may find its burst a sixteenth smaller.
"""

from __future__ import annotations

from realtime_svc.core.ports import Clock

SHARE = 16  # of a burst: what may be counted before it is accounted for
UNLIMITED = 2**31


class RateLimit:
    """The terms, shared by all clients. `rate` is events a second (0: no limit), `burst` events, `patience` seconds."""

    __slots__ = ("burst", "patience", "rate", "step")

    def __init__(self, rate: float, burst: float, patience: float) -> None:
        self.rate = rate
        self.burst = burst
        self.patience = patience
        self.step = max(1, int(burst / SHARE)) if rate > 0 else UNLIMITED  # events


class TokenBucket:
    """One client's account under a `RateLimit`. A new one is full, so it need not be there before the first event."""

    __slots__ = ("_limit", "_over_since", "_tokens", "_updated")

    def __init__(self, limit: RateLimit, clock: Clock) -> None:
        self._limit = limit
        self._tokens = limit.burst
        self._updated = clock.seconds()
        self._over_since: float | None = None

    @property
    def ahead(self) -> int:
        """At which of the next events it has to be asked again at the latest: 1 for who was in debt lately."""
        if self._limit.rate <= 0:
            return UNLIMITED
        return 1 if self._over_since is not None else min(self._limit.step, int(self._tokens) + 1)

    def take(self, events: int, clock: Clock) -> float:
        """Account for `events`; returns how many seconds to pause (0.0: none), at most `patience`."""
        limit = self._limit
        if limit.rate <= 0:
            return 0.0
        now = clock.seconds()
        self._tokens = min(limit.burst, self._tokens + (now - self._updated) * limit.rate)
        self._updated = now
        if self._tokens >= limit.burst / 2:
            self._over_since = None
        self._tokens = max(self._tokens - events, -limit.rate * limit.patience)
        if self._tokens >= 0:
            return 0.0
        if self._over_since is None:
            self._over_since = now
        return -self._tokens / limit.rate

    def flooded(self, clock: Clock) -> bool:
        """Has the client been at or above the rate for longer than `patience`, without a break?

        Ask where `take` has just told to pause.
        """
        return self._over_since is not None and clock.seconds() - self._over_since > self._limit.patience
