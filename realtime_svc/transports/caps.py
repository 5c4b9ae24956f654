"""How many connections there may be: in all, and from one address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from realtime_svc.errors import Refusal
from realtime_svc.wire.forwarded import address_bucket

SLACK = 100  # connections above the limit that are still told why; more are dropped at accept


class Lease:
    """One connection's place. `release` may be called more than once."""

    __slots__ = ("_bucket", "_caps")

    def __init__(self, caps: Caps) -> None:
        self._caps: Caps | None = caps
        self._bucket: str | None = None

    def claim(self, host: str) -> None:
        """Count the connection for its address, once that is known. Raises `Refusal` 503 or 429."""
        assert self._caps is not None
        self._caps.check_total()
        bucket = address_bucket(host)
        self._caps.enter(bucket)
        self._bucket = bucket

    def release(self) -> None:
        if self._caps is not None:
            self._caps.leave(self._bucket)
            self._caps = None


class Caps:
    """Counts of one process. `total` and `per_address` of 0 mean no limit; `on_empty` is called at no connection."""

    def __init__(self, total: int, per_address: int) -> None:
        self._total = total
        self._per_address = per_address
        self._addresses: Counter[str] = Counter()
        self.open = 0
        self.on_empty: Callable[[], None] | None = None

    def accept(self) -> Lease | None:
        """A connection was accepted; None: there are so many that it is not even answered."""
        if self._total and self.open >= self._total + SLACK:
            return None
        self.open += 1
        return Lease(self)

    def check_total(self) -> None:
        if self._total and self.open > self._total:
            raise Refusal(503, "connections", "too many connections", {"Retry-After": "10"})

    def enter(self, bucket: str) -> None:
        if self._per_address and self._addresses[bucket] >= self._per_address:
            retry = {"Retry-After": "10"}
            raise Refusal(429, "connections_per_address", "too many connections from this address", retry)
        self._addresses[bucket] += 1

    def leave(self, bucket: str | None) -> None:
        self.open -= 1
        if bucket is not None:
            self._addresses[bucket] -= 1
            if self._addresses[bucket] <= 0:
                del self._addresses[bucket]
        if not self.open and self.on_empty is not None:
            self.on_empty()
