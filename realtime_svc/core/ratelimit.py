"""Rates that clients must keep, as token buckets that may go into debt.

A client above its rate is not refused: reading from it pauses until the debt is paid, so TCP slows it down. After the
pause its account is even, whatever it has in store. So a flood is told by time: the account is in debt now and was in
debt longer than `patience` ago, and at no moment between was half of the burst free again.
"""

from __future__ import annotations

from realtime_svc.core.ports import Clock


class RateLimit:
    """The terms, shared by all clients. `rate` is events a second (0: no limit), `burst` events, `patience` seconds."""

    __slots__ = ("burst", "patience", "rate")

    def __init__(self, rate: float, burst: float, patience: float) -> None:
        self.rate = rate
        self.burst = burst
        self.patience = patience


class TokenBucket:
    """One client's account under a `RateLimit`."""

    __slots__ = ("_limit", "_over_since", "_tokens", "_updated")

    def __init__(self, limit: RateLimit, clock: Clock) -> None:
        self._limit = limit
        self._tokens = limit.burst
        self._updated = clock.seconds()
        self._over_since: float | None = None

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
