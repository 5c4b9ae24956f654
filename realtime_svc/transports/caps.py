"""How many connections there may be: in all, and from one address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from realtime_svc.errors import Refusal
from realtime_svc.wire.forwarded import address_bucket

SLACK = 100  # connections above the limit that are still told why; more are dropped at accept


class Lease:
    """One connection's place. `release` may be called more than once."""

    __slots__ = ("_bucket", "_caps", "_refusal")

    def __init__(self, caps: Caps, refusal: Refusal | None) -> None:
        self._caps: Caps | None = caps
        self._bucket: str | None = None
        self._refusal = refusal

    def enter(self, bucket: str) -> None:
        """Count the connection for an address."""
        assert self._caps is not None
        if not self._caps.enter(bucket) and self._refusal is None:
            retry = {"Retry-After": "10"}
            text = "too many connections from this address"
            self._refusal = Refusal(429, "connections_per_address", text, retry)
        self._bucket = bucket

    def claim(self, host: str) -> None:
        """The request came, and says who it is: `host`. Raises `Refusal` 503 or 429: it was one too many."""
        if self._bucket is None:
            self.enter(address_bucket(host))
        if self._refusal is not None:
            raise self._refusal

    def release(self) -> None:
        if self._caps is not None:
            self._caps.leave(self._bucket)
            self._caps = None


class Caps:
    """Counts of one process. `total` and `per_address` of 0 mean no limit; `on_empty` is called at no connection.

    A connection counts from accept on, and whether it is one too many is decided there: who holds connections open
    without a request takes places of his own address, and who came in time keeps his.
    """

    def __init__(self, total: int, per_address: int) -> None:
        self._total = total
        self._per_address = per_address
        self._addresses: Counter[str] = Counter()
        self.open = 0
        self.on_empty: Callable[[], None] | None = None

    def accept(self, host: str | None) -> Lease | None:
        """A connection was accepted; None: there are so many that it is not even answered.

        `host` is None for that of a trusted proxy: the address is known when the request names it (`Lease.claim`).
        """
        bucket = address_bucket(host) if host is not None else None
        crowded = self._per_address and bucket and self._addresses[bucket] >= self._per_address + SLACK
        if crowded or (self._total and self.open >= self._total + SLACK):
            return None
        self.open += 1
        refusal = None
        if self._total and self.open > self._total:
            refusal = Refusal(503, "connections", "too many connections", {"Retry-After": "10"})
        lease = Lease(self, refusal)
        if bucket is not None:
            lease.enter(bucket)
        return lease

    def enter(self, bucket: str) -> bool:
        """Count one for an address; False: that is more than it may have."""
        self._addresses[bucket] += 1
        return not self._per_address or self._addresses[bucket] <= self._per_address

    def leave(self, bucket: str | None) -> None:
        self.open -= 1
        if bucket is not None:
            self._addresses[bucket] -= 1
            if self._addresses[bucket] <= 0:
                del self._addresses[bucket]
        if not self.open and self.on_empty is not None:
            self.on_empty()
